/**
 * A real Socket.IO server whose clients exist in memory only: packets enter where a transport would hand them over, and
 * leave where the engine would write them. What is left is the cost of Socket.IO and of whatever stands in front of it.
 */
import { EventEmitter } from 'node:events'
import { createServer } from 'node:http'
import { Server, type Socket } from 'socket.io'
import type { Message } from '../job.ts'

/** What an engine needs of a transport (engine.io 6.6). */
class NullTransport extends EventEmitter {
  readonly name = 'websocket'
  readonly protocol = 4
  readonly supportsBinary = true
  writable = true
  readyState = 'open'
  sid = ''
  send(): void {}
  discard(): void {}
  onRequest(): void {}
  close(): void {
    this.readyState = 'closed'
    this.emit('close')
  }
}

function request(more: Readonly<Record<string, string>>): object {
  const url = '/socket.io/?EIO=4&transport=websocket'
  const socket = Object.assign(new EventEmitter(), { remoteAddress: '192.0.2.1', encrypted: false })
  const headers = { 'host': 'app.example', 'origin': 'https://app.example', 'user-agent': 'bench', 'upgrade': 'websocket', 'connection': 'Upgrade', ...more }
  return { url, method: 'GET', headers, _query: { EIO: '4', transport: 'websocket' }, connection: socket, socket }
}

interface EngineSocket { id: string; write: (data: string) => unknown }

/** One connected client: hands packets to the server, and sees what it answers. */
export interface MemoryClient {
  feed(packet: string): void
  /** As a client does that goes away. */
  leave(): void
  socket: Socket
}

export class MemoryServer {
  readonly io: Server
  /** Packets that went out to clients. */
  written = 0
  /** The last of them. */
  last = ''

  constructor(install: (io: Server) => void) {
    this.io = new Server(createServer(), { serveClient: false, pingInterval: 3_600_000, pingTimeout: 3_600_000 })
    install(this.io)
    this.io.on('connection', (socket) => {
      socket.on('message:send', (message: Message, ack: (answer: { ok: true; length: number }) => void) => {
        ack({ ok: true, length: message.text.length })
      })
    })
  }

  /** @param headers more of the request that opens the connection @throws Error when the server refuses */
  async connect(token: string, headers: Readonly<Record<string, string>> = {}): Promise<MemoryClient> {
    const engine: any = this.io.engine
    const transport = new NullTransport()
    engine.createTransport = (): NullTransport => transport
    const opened = new Promise<EngineSocket>((resolve) => engine.once('connection', resolve))
    const opening = request(headers)
    await new Promise<void>((resolve, reject) => {
      engine._applyMiddlewares(opening, {}, (error?: Error) => (error ? reject(error) : resolve()))
    })
    await engine.handshake('websocket', opening, () => undefined)
    const conn = await opened
    const refused = new Promise<never>((_, reject) => {
      conn.write = (data) => {
        if (data.startsWith('44')) reject(new Error(`not connected: ${data}`))
        return conn
      }
    })
    const connected = new Promise<Socket>((resolve) => this.io.once('connection', resolve))
    const feed = (packet: string): void => {
      transport.emit('packet', { type: 'message', data: packet })
    }
    feed(`0${JSON.stringify({ token })}`)
    const socket = await Promise.race([connected, refused])
    conn.write = (data) => {
      this.written += 1
      this.last = data
      return conn
    }
    return { feed, socket, leave: () => transport.close() }
  }

  async close(): Promise<void> {
    await this.io.close()
  }
}
