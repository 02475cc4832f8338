import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Namespace, Server, Socket } from 'socket.io'
import type { Handshake } from '../context.ts'

// The members of Socket.IO 4.8 the gate touches that its own types leave out. Nothing outside lib/stages reads them.

export type AnyServer = Server<any, any, any, any>
export type AnyNamespace = Namespace<any, any, any, any>
export type AnySocket = Socket<any, any, any, any>

export const PacketType = { CONNECT: 0, DISCONNECT: 1, EVENT: 2, ACK: 3, CONNECT_ERROR: 4, BINARY_EVENT: 5, BINARY_ACK: 6 } as const

export interface Packet {
  type: number
  nsp?: string
  data?: any
  id?: number | undefined
}

export type Listener = (...args: any[]) => unknown

/** What an `EventEmitter` brings, as far as it is used here. */
interface Emitter {
  on(name: string, listener: Listener): unknown
  once(name: string, listener: Listener): unknown
  prependListener(name: string, listener: Listener): unknown
  removeListener(name: string, listener: Listener): unknown
  listenerCount(name: string): number
  emitReserved(name: string, ...args: unknown[]): unknown
  emitUntyped(...event: unknown[]): unknown
}

export interface RawEngine extends Emitter {
  opts: { allowEIO3?: boolean; transports?: string[]; maxHttpBufferSize?: number }
  middlewares: EngineMiddleware[]
  clients: Record<string, RawConnection | undefined>
  use(middleware: EngineMiddleware): void
  _applyMiddlewares(request: EngineRequest, response: unknown, done: (error?: unknown) => void): void
  verify(request: EngineRequest, upgrade: boolean, done: (code?: number, context?: unknown) => void): unknown
  onWebTransportSession?(session: unknown): Promise<void>
}

export type EngineMiddleware = (request: EngineRequest, response: unknown, next: (error?: unknown) => void) => unknown

export interface EngineRequest extends IncomingMessage {
  _query: Record<string, string | undefined>
  res?: unknown
  socket: IncomingMessage['socket'] & Duplex
}

export interface RawConnection extends Emitter {
  id: string
  protocol: number
  readyState: string
  remoteAddress: string | undefined
  request: IncomingMessage | null | undefined
  close(discard?: boolean): void
}

export interface RawClient {
  readonly conn: RawConnection
  readonly request: IncomingMessage | null | undefined
  readonly nsps: Map<string, RawSocket>
  readonly encoder: { encode(packet: Packet): unknown[] }
  _packet(packet: Packet, opts?: WriteOptions): void
  writeToEngine(encoded: unknown, opts: WriteOptions): void
}

export interface WriteOptions {
  preEncoded?: boolean
  volatile?: boolean | undefined
  compress?: boolean | undefined
  wsPreEncodedFrame?: unknown
}

export interface BroadcastOptions {
  rooms: Set<unknown>
  except?: Set<unknown>
  flags?: { volatile?: boolean; local?: boolean }
}

export interface RawAdapter {
  readonly sids: Map<string, Set<unknown>>
  addAll(id: string, rooms: Set<unknown>): unknown
  broadcast(packet: Packet, opts: BroadcastOptions): unknown
  /** Adapters of clusters that support recovery have it. */
  addOffsetIfNecessary?: unknown
  apply(opts: BroadcastOptions, callback: (socket: RawSocket) => void): void
  serverCount(): Promise<number>
  close(): unknown
  /** Of the in-memory adapter: what has been sent, for those who may come back. */
  readonly packets?: readonly StoredPacket[]
  persistSession(session: RawSession): unknown
  restoreSession(pid: string, offset: string): Promise<RestoredSession | null> | null
  _encode(packet: Packet, opts: WriteOptions): unknown[]
}

export interface StoredPacket {
  readonly data: unknown[]
  readonly opts: BroadcastOptions
}

export interface RawSession {
  sid: string
  pid: string
  rooms: unknown[]
  data: unknown
  /** Added by the gate: whose session it is. */
  subject?: string
}

export interface RestoredSession extends RawSession {
  missedPackets: unknown[][]
}

export interface RawSocket extends Emitter {
  id: string
  pid?: string
  recovered: boolean
  connected: boolean
  data: any
  handshake: Handshake & { auth: Record<string, unknown> }
  readonly nsp: RawNamespace
  readonly client: RawClient
  readonly conn: RawConnection
  readonly adapter: RawAdapter
  readonly fns: ((event: unknown[], next: (error?: unknown) => void) => unknown)[]
  readonly acks: Map<number, Listener>
  readonly rooms: Set<string>
  readonly _anyListeners?: Listener[]
  readonly _anyOutgoingListeners?: Listener[]
  onAnyOutgoing(listener: Listener): RawSocket
  prependAnyOutgoing(listener: Listener): RawSocket
  packet(packet: Packet, opts?: WriteOptions): void
  join(rooms: unknown): unknown
  leave(room: string): unknown
  disconnect(close?: boolean): unknown
  dispatch(event: unknown[]): void
  onevent(packet: Packet): void
  onack(packet: Packet): void
  registerAckCallback(id: number, ack: Listener): void
  notifyOutgoingListeners(packet: Packet): void
  _onpacket(packet: Packet): void
  _onerror(error: unknown): void
  _cleanup(): void
  _error(data: unknown): void
  _onclose(...reason: unknown[]): unknown
}

export interface RawNamespace extends Emitter {
  readonly name: string
  readonly server: RawServer
  readonly sockets: Map<string, RawSocket>
  readonly _preConnectSockets: Map<string, RawSocket>
  readonly _fns: ((socket: RawSocket, next: (error?: unknown) => void) => unknown)[]
  adapter: RawAdapter
  run(socket: RawSocket, done: (error?: unknown) => void): void
  _add(client: RawClient, auth: unknown, done?: (socket: RawSocket) => void): Promise<void>
  _createSocket(client: RawClient, auth: Record<string, unknown>): Promise<RawSocket>
  _doConnect(socket: RawSocket, done?: (socket: RawSocket) => void): void
  _remove(socket: RawSocket): void
  _initAdapter(): void
  _onServerSideEmit(event: unknown[]): void
}

export interface RawParent extends RawNamespace {
  readonly children: Set<RawNamespace>
  createChild(name: string): RawNamespace
}

export type NamespaceMatcher = (name: string, auth: unknown, done: (error: unknown, allow: unknown) => void) => unknown

export interface RawServer {
  readonly _nsps: Map<string, RawNamespace>
  readonly parentNsps: Map<NamespaceMatcher, RawParent>
  readonly engine: RawEngine | undefined
  readonly opts: { connectionStateRecovery?: { skipMiddlewares?: boolean; maxDisconnectionDuration?: number }; cleanupEmptyChildNamespaces?: boolean; allowEIO3?: boolean; transports?: string[]; maxHttpBufferSize?: number }
  bind(engine: RawEngine): unknown
  to(room: unknown): { readonly constructor: { readonly prototype: object } }
  _checkNamespace(name: string, auth: unknown, done: (namespace: RawNamespace | false) => void): void
  close(done?: (error?: Error) => void): Promise<void>
}

/** The method an object has at this moment: one of its own, else whatever it inherits whenever it is asked for. */
export function underlying<T extends object, K extends keyof T>(object: T, key: K): () => T[K] {
  const own = Object.getOwnPropertyDescriptor(object, key)?.value as T[K] | undefined
  return own === undefined ? () => inherited(object, key) : () => own
}

/** The method an object inherits, under whatever was assigned to the object itself. */
export function inherited<T extends object, K extends keyof T>(object: T, key: K): T[K] {
  return (Object.getPrototypeOf(object) as T)[key]
}
