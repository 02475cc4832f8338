import type { IncomingMessage } from 'node:http'
import type { ConnectContext } from '../../lib/context.ts'
import { handshakeFor } from './request.ts'
import type { HandshakeView } from './request.ts'
import { StandInError } from './trial.ts'
import type { Trial } from './trial.ts'

/**
 * What a `(socket, next)` middleware gets, and then the mapping: there is no socket yet. The members named here are all there is, beside what
 * the middleware puts there itself.
 */
export interface SocketStandIn {
  /** A copy: nothing that is set here is seen elsewhere. In a refresh, `auth` is what was brought. */
  readonly handshake: HandshakeView
  /** A copy of the first request, with what the application has put there. */
  readonly request: IncomingMessage & Record<string, any>
  readonly nsp: { readonly name: string }
  /** Empty at first. It is not the `data` of the socket that comes after. */
  data: any
  readonly conn: { readonly remoteAddress: string; readonly request: IncomingMessage }
  readonly client: { readonly conn: SocketStandIn['conn']; readonly request: IncomingMessage }
  readonly connected: false
  readonly recovered: boolean
  /** What a middleware has put there, such as `user`. */
  [member: string]: any
}

/** The members of a socket of Socket.IO 4.8.4. */
export const MEMBERS: ReadonlySet<string> = new Set(
  (
    'ack acks adapter addListener broadcast buildHandshake client compress conn connected data disconnect disconnected dispatch emit emitReserved emitUntyped emitWithAck ' +
    'eventNames except flags fns getMaxListeners handshake id in join leave leaveAll listenerCount listeners listenersAny listenersAnyOutgoing local newBroadcastOperator ' +
    'notifyOutgoingListeners nsp off offAny offAnyOutgoing on onAny onAnyOutgoing onack once ondisconnect onevent packet prependAny prependAnyOutgoing prependListener ' +
    'prependOnceListener rawListeners recovered registerAckCallback removeAllListeners removeListener request rooms run send server setMaxListeners timeout to use volatile write'
  ).split(' '),
)

/** Answers for a member that is not there. */
type Missing = (message: string) => unknown

/** @returns the stand-in as the middleware sees it, and as the mapping does: there a member that nobody has set is undefined */
export function socketFor(ctx: ConnectContext, request: IncomingMessage, trial: Trial): { readonly strict: SocketStandIn; readonly lenient: SocketStandIn } {
  const members = { handshake: handshakeFor(ctx, request), request, data: {}, connected: false, recovered: ctx.cause === 'recover' }
  const view = (missing: Missing, unset: (key: string) => unknown): SocketStandIn => {
    const conn = limited('socket.conn', { remoteAddress: ctx.address, request }, missing)
    const parts: Record<string, unknown> = { nsp: limited('socket.nsp', { name: ctx.namespace }, missing), conn, client: limited('socket.client', { conn, request }, missing) }
    return new Proxy(members, {
      get(target, key) {
        if (typeof key === 'symbol' || PASSING.has(key) || key in target) return Reflect.get(target, key) as unknown
        if (Object.hasOwn(parts, key)) return parts[key]
        return MEMBERS.has(key) ? missing(absent(key)) : unset(key)
      },
      has: (target, key) => Reflect.has(target, key) || Object.hasOwn(parts, key),
      set(target, key, value) {
        if (typeof key === 'symbol' || key === 'data' || !MEMBERS.has(key)) return Reflect.set(target, key, value)
        missing(`socket.${key} cannot be set here: there is no socket yet, and this one is gone when there is one.`)
        return true
      },
    }) as unknown as SocketStandIn
  }
  const throwing = (message: string): never => {
    throw new StandInError(message)
  }
  const contained = (message: string): unknown => trial.missing(message)
  const there = 'handshake, request, nsp, data, conn, client, connected and recovered'
  return {
    strict: view(contained, (key) => contained(`socket.${key} has not been set: of a socket there is ${there} here, and what a middleware puts there. Ask with 'in'.`)),
    lenient: view(throwing, () => undefined),
  }
}

/** What the language looks for by itself, in whatever a promise or JSON is made of. */
const PASSING = new Set(['then', 'toJSON'])

function absent(key: string): string {
  if (key === 'id') return 'socket.id is not known here: there is no socket yet, and a client that is refused never gets one. Take it in a connection handler.'
  return `socket.${key} is not here: there is no socket yet. What a middleware does with the socket itself belongs in a connection handler; what it finds out goes through the mapping to the principal.`
}

/** An object that has these members and no others. */
function limited<T extends object>(where: string, members: T, missing: Missing): T {
  return new Proxy(members, {
    get(target, key) {
      if (typeof key === 'symbol' || PASSING.has(key) || key in target) return Reflect.get(target, key) as unknown
      return missing(`${where}.${key} is not here: there is no socket yet. Of ${where} there is ${Object.keys(members).join(', ')}.`)
    },
    set(_target, key) {
      missing(`${where}.${String(key)} cannot be set here.`)
      return true
    },
  })
}
