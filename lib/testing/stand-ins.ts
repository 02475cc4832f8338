import { IncomingMessage } from 'node:http'
import type { IncomingHttpHeaders } from 'node:http'
import { Socket as TcpSocket } from 'node:net'
import type { Handshake, PeerSocket } from '../context.ts'

/** What a client shows of itself when it connects. */
export interface Presence {
  readonly address: string
  readonly headers: Readonly<Record<string, string | string[]>>
  readonly auth: Readonly<Record<string, any>>
  readonly secure: boolean
  readonly url: string
}

/** A request of Node's own class, on a connection that is never opened. */
export function requestOf({ address, headers, secure, url }: Presence, method: string): IncomingMessage {
  const connection = new TcpSocket()
  Object.defineProperty(connection, 'remoteAddress', { value: address })
  if (secure) Object.defineProperty(connection, 'encrypted', { value: true })
  const request = new IncomingMessage(connection)
  request.method = method
  request.url = url
  request.headers = lowerCased(headers)
  return Object.assign(request, { _query: queryOf(url) })
}

export function handshakeOf(presence: Presence, at: number): Handshake {
  const { address, auth, secure, url } = presence
  const headers = lowerCased(presence.headers)
  return { headers, address, auth, secure, url, query: queryOf(url), issued: at, time: new Date(at).toString(), xdomain: headers.origin !== undefined }
}

function lowerCased(headers: Presence['headers']): IncomingHttpHeaders {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]))
}

function queryOf(url: string): Record<string, string> {
  return Object.fromEntries(new URL(url, 'http://localhost').searchParams)
}

/** The socket of a peer, as far as policies see one. */
export class ProbeSocket implements PeerSocket {
  connected = true
  readonly rooms: Set<string>
  readonly data: any = {}

  constructor(
    readonly id: string,
    readonly handshake: Handshake,
  ) {
    this.rooms = new Set([id])
  }
}
