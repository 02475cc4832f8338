import { guard, type Gate, type GuardOptions, type Refusal } from 'portcullis'
import type { Server, ServerOptions, Socket } from 'socket.io'
import { raw, serve, watch, type Host, type Place, type RawClient } from './server.ts'

/** What the application does with each socket, written before any gate. */
export type Handlers = (socket: Socket) => void

/** An application, with `ping` for a round trip: when it is answered, everything sent before has been taken in. */
export interface Application<G> extends Host<G> {
  /** The server side of the newest connection. */
  readonly peer: () => Socket
}

export interface Guarded extends Application<Gate> {
  /** What the gate has decided so far. */
  readonly seen: ReturnType<typeof watch>
}

function run(io: Server, handlers: Handlers, entered: (socket: Socket) => void): void {
  io.on('connection', (socket) => {
    entered(socket)
    handlers(socket)
    socket.on('ping', (ack?: (answer: string) => void) => ack?.('pong'))
  })
}

/** An application as it is without a gate. */
export async function bare(handlers: Handlers, options: Partial<ServerOptions> = {}): Promise<Application<undefined>> {
  let peer: Socket | undefined
  const host = await serve((io) => run(io, handlers, (socket) => (peer = socket)) as undefined, options)
  return { ...host, peer: () => peer! }
}

/** The same application under a gate that declares `ping`, and whatever else a test declares. */
export async function guarded(handlers: Handlers, declare: (gate: Gate) => unknown = () => {}, options: GuardOptions = {}, server: Partial<ServerOptions> = {}): Promise<Guarded> {
  let peer: Socket | undefined
  let seen: ReturnType<typeof watch> | undefined
  const host = await serve((io) => {
    run(io, handlers, (socket) => (peer = socket))
    const gate = guard(io, options).event('ping')
    declare(gate)
    seen = watch(gate)
    return gate
  }, server)
  return { ...host, seen: seen!, peer: () => peer! }
}

/** A client that has entered a namespace, and speaks by hand. */
export async function inside(place: Place, namespace = '/'): Promise<RawClient> {
  const client = await raw(place)
  const answer: unknown = await client.enter(namespace)
  if (!Object.hasOwn(answer as object, 'sid')) throw new Error(`refused: ${JSON.stringify(answer)}`)
  return client
}

/** The refusal in the arguments of an ack. */
export function refusalIn(args: readonly unknown[]): Refusal {
  return (args[0] as { error: Refusal }).error
}

/** The arguments of each ACK packet with this id that a client got. */
export function acksOf(client: RawClient, id: number): unknown[][] {
  const prefix = `3${id}[`
  return client.received.filter((packet) => packet.startsWith(prefix)).map((packet) => JSON.parse(packet.slice(prefix.length - 1)) as unknown[])
}

/** The `gate:denied` events a client got. */
export function noticesOf(client: RawClient, namespace = '/'): (Refusal & { event: string })[] {
  return client.events(namespace).flatMap(([name, data]) => (name === 'gate:denied' ? [data] : []))
}

/** `{ a: { a: ... } }` or `[[[...]]]` as text: a parser takes it, and what walks it by recursion may not. */
export const deepArray = (levels: number): string => '['.repeat(levels) + ']'.repeat(levels)
