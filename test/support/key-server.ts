import type { KeyObject } from 'node:crypto'
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http'
import { closeAfterTest, listen } from './server.ts'
import { signer, token } from './tokens.ts'
import type { Part } from './tokens.ts'

/** One key of an issuer, as it signs and as it is published. */
export interface PublishedKey {
  readonly kid: string
  readonly alg: string
  readonly privateKey: KeyObject
  readonly jwk: Record<string, unknown>
}

export function publish(kid: string, alg: string, { privateKey, publicKey }: { readonly privateKey: KeyObject; readonly publicKey: KeyObject }, more: object = {}): PublishedKey {
  return { kid, alg, privateKey, jwk: { ...publicKey.export({ format: 'jwk' }), kid, alg, use: 'sig', ...more } }
}

/** A token by one of the keys. The header names that key, unless it is changed. */
export function tokenBy({ kid, alg, privateKey }: PublishedKey, claims: Part, header: object = {}): string {
  return token({ alg, kid, ...header }, claims, signer(alg, privateKey))
}

/** A real HTTP server of keys, which counts who asks. */
export class KeyServer {
  /** What it was asked for, in order. */
  readonly asked: string[] = []
  readonly uri: string
  /** What it answers with; the set of its keys, unless told otherwise. */
  answer: RequestListener = (_, response) => this.sendKeys(response)
  keys: readonly Record<string, unknown>[] = []

  private constructor(readonly port: number) {
    this.uri = `http://127.0.0.1:${port}/keys`
  }

  static async start(...keys: readonly PublishedKey[]): Promise<KeyServer> {
    const http = createServer((request, response) => server.#take(request, response))
    const server = new KeyServer(await listen(http))
    closeAfterTest(() => new Promise((resolve) => http.close(resolve)))
    server.publish(...keys)
    return server
  }

  get count(): number {
    return this.asked.length
  }

  publish(...keys: readonly PublishedKey[]): void {
    this.keys = keys.map(({ jwk }) => jwk)
  }

  sendKeys(response: ServerResponse): void {
    response.setHeader('content-type', 'application/jwk-set+json').end(JSON.stringify({ keys: this.keys }))
  }

  /** Back to normal. */
  recover(): void {
    this.answer = (_, response) => this.sendKeys(response)
  }

  /** Drops every connection, as a server that is down. */
  goDown(): void {
    this.answer = ({ socket }) => socket.resetAndDestroy()
  }

  #take(request: IncomingMessage, response: ServerResponse): void {
    this.asked.push(request.url ?? '')
    this.answer(request, response)
  }
}
