import { spawn } from 'node:child_process'
import { createServer, type Server as HttpServer } from 'node:http'
import type { AddressInfo, Socket as TcpSocket } from 'node:net'
import { fileURLToPath } from 'node:url'
import { setTimeout } from 'node:timers/promises'
import { afterEach } from '@jest/globals'
import { Server, type ServerOptions } from 'socket.io'
import { io as stockClient, type ManagerOptions, type Socket as ClientSocket, type SocketOptions } from 'socket.io-client'
import type { Decision, Observer, Outcome } from 'portcullis'
import { Polling, RawClient, type Place, type RawOptions } from './raw-client.ts'

export { ask, askUpgrade, connectPacket, eventPacket, Polling, RawClient, type Answer, type Place } from './raw-client.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))

/** What is to be closed after each test, the newest first. */
const opened: (() => unknown)[] = []

afterEach(async () => {
  for (const close of opened.splice(0).reverse()) await close()
})

/** Has something closed after the test, before what was opened earlier. */
export function closeAfterTest(close: () => unknown): void {
  opened.push(close)
}

export type Client = ClientSocket

/** A running server and, when its set-up returned one, its gate. */
export interface Host<G> extends Place {
  readonly io: Server
  readonly http: HttpServer
  readonly url: string
  readonly gate: G
}

/**
 * Starts a Socket.IO server on a free port of the loopback. `setUp` runs before it listens: handlers, and a gate if it is to have one.
 *
 * @example
 * const bare = await serve((io) => app(io))
 * const guarded = await serve((io) => (app(io), guard(io).of('/chat')))
 */
export async function serve<G>(setUp: (io: Server) => G, options: Partial<ServerOptions> = {}): Promise<Host<G>> {
  const http = createServer()
  const io = new Server(http, { serveClient: false, ...options })
  const gate = setUp(io)
  const port = await listen(http)
  closeAfterTest(async () => {
    await io.close()
    // A server that was attached again closes the last one only.
    if (http.listening) await new Promise((resolve) => http.close(resolve))
    await (gate as { close?: () => Promise<void> } | undefined)?.close?.()
  })
  return { io, http, port, url: `http://127.0.0.1:${port}`, gate }
}

/** Lets an HTTP server listen on a free port. Its connections are dropped after the test, whatever state they are in. */
export async function listen(http: HttpServer): Promise<number> {
  const sockets = new Set<TcpSocket>()
  http.on('connection', (socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  const close = http.close.bind(http)
  // A client that vanished half-way must not keep the server from closing.
  http.close = (done) => {
    const closing = close(done)
    for (const socket of sockets) socket.destroy()
    return closing
  }
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve))
  return (http.address() as AddressInfo).port
}

/** A stock client of one namespace, over WebSocket unless told otherwise, that does not reconnect by itself. */
export function client({ url }: { readonly url: string }, { namespace = '/', ...options }: { readonly namespace?: string } & Partial<ManagerOptions & SocketOptions> = {}): Client {
  const socket = stockClient(url + (namespace === '/' ? '' : namespace), { transports: ['websocket'], reconnection: false, forceNew: true, ...options })
  closeAfterTest(() => socket.disconnect())
  return socket
}

/** A client that has entered. */
export async function entered(host: { readonly url: string }, options?: Parameters<typeof client>[1]): Promise<Client> {
  const socket = client(host, options)
  await entry(socket)
  return socket
}

/** Waits until a client has entered. @throws its connect error */
export function entry(socket: Client): Promise<void> {
  return new Promise((resolve, reject) => {
    if (socket.connected) resolve()
    socket.once('connect', resolve)
    socket.once('connect_error', reject)
  })
}

/** The connect error of a client that is refused: `message` is the code, `data` the refusal. @throws when it enters */
export function refusal(socket: Client): Promise<Error & { data?: any; description?: any }> {
  return new Promise((resolve, reject) => {
    socket.once('connect_error', resolve)
    socket.once('connect', () => reject(new Error('the client has entered')))
  })
}

/** The arguments of the next event of this name. */
export function heard(emitter: { once(name: any, listener: (...args: any[]) => void): unknown }, name: string): Promise<any[]> {
  return new Promise((resolve) => emitter.once(name, (...args) => resolve(args)))
}

/** A client that speaks the protocol by hand over one WebSocket. */
export async function raw(place: Place, options: RawOptions = {}): Promise<RawClient> {
  const client = await RawClient.open(place, options)
  closeAfterTest(() => client.close())
  return client
}

/** A client that polls by hand. */
export function polling(place: Place, headers: Record<string, string> = {}): Promise<Polling> {
  return Polling.open(place, headers)
}

/** Waits for a condition that no event announces. @throws when it has not come true for half a minute */
export async function until(condition: () => boolean): Promise<void> {
  const end = Date.now() + 30_000
  while (!condition()) {
    if (Date.now() > end) throw new Error(`never came true: ${String(condition)}`)
    await setTimeout(1)
  }
}

/** Collects the decisions of a gate, and keeps its faults off the console. */
export function watch(gate: { on(outcome: Outcome, observer: Observer): unknown }): { readonly admitted: Decision[]; readonly denied: Decision[]; readonly fault: Decision[] } {
  const seen = { admitted: [] as Decision[], denied: [] as Decision[], fault: [] as Decision[] }
  for (const outcome of ['admitted', 'denied', 'fault'] as const) gate.on(outcome, (decision) => seen[outcome].push(decision))
  return seen
}

/** A promise somebody else resolves: how a test holds a policy open for as long as it needs to. */
export class Latch<T = void> {
  readonly opened: Promise<T>
  open!: (value: T) => void

  constructor() {
    this.opened = new Promise((resolve) => (this.open = resolve))
  }
}

/** How a child process ended. */
export interface Ending {
  /** Exit status; null when it was killed. */
  readonly code: number | null
  readonly output: string
  readonly errors: string
}

/** Runs one of our TypeScript files in a process of its own, to see whether it survives. */
export function runChild(file: string, args: readonly string[] = []): Promise<Ending> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['--import', './scripts/typescript.js', file, ...args], { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    let errors = ''
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => (output += chunk))
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => (errors += chunk))
    child.once('error', reject)
    child.once('close', (code) => resolve({ code, output, errors }))
    // Only a child that hangs is still there after the test.
    closeAfterTest(() => child.kill('SIGKILL'))
  })
}
