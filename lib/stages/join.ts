import type { Refused, Verdict } from '../compose.ts'
import { JoinContext } from '../context.ts'
import type { Core } from '../core.ts'
import { Denied, PolicyFault } from '../errors.ts'
import { OWN_PREFIX } from '../wire.ts'
import type { PeerState } from '../peer.ts'
import type { NamespacePlan } from '../plan.ts'
import { underlying } from './socket-io.ts'
import type { BroadcastOptions, RawNamespace, RawSocket } from './socket-io.ts'

// Seam (Socket.IO 4.8.4): `socket.join`, which knows the actor and where `io.socketsJoin` ends on every node, with a
// backstop in `adapter.addAll`. `adapter.apply` is wrapped so that one refusal does not stop a loop over many sockets.

export class JoinStage {
  readonly #core: Core
  readonly #peers: WeakMap<object, PeerState>
  /** Rooms that were decided just now, on their way to the adapter. */
  #admitted: Set<unknown> | undefined
  /** How many loops over sockets are running: `io.socketsJoin` among them. */
  #loops = 0
  readonly #join: (this: RawSocket, rooms: unknown) => unknown

  /** Whether a name is the id of a socket that may be recovered. */
  readonly #isAway: (name: unknown) => boolean

  constructor(core: Core, peers: WeakMap<object, PeerState>, isAway: (name: unknown) => boolean) {
    this.#core = core
    this.#peers = peers
    this.#isAway = isAway
    const stage = this
    this.#join = function (rooms) {
      return stage.#enter(this, rooms)
    }
  }

  install(socket: RawSocket): void {
    // A plain property: Socket.IO assigns a no-op to it when it gives the socket up.
    socket.join = this.#join
  }

  guardAdapter(namespace: RawNamespace, plan: () => NamespacePlan): void {
    const { adapter } = namespace
    const [addAll, apply] = [underlying(adapter, 'addAll'), underlying(adapter, 'apply')]
    adapter.addAll = (id, rooms) => {
      if (rooms === this.#admitted || !plan().guardsRooms) return addAll().call(adapter, id, rooms)
      return addAll().call(adapter, id, this.#filter(namespace, id, rooms))
    }
    adapter.apply = (options: BroadcastOptions, callback) => {
      // Every broadcast comes here, also one of another node: nothing is delivered past the end of a credential, however late its timer.
      this.#core.agenda.catchUp()
      this.#loops++
      try {
        return apply().call(adapter, options, callback)
      } finally {
        this.#loops--
      }
    }
  }

  #enter(socket: RawSocket, given: unknown): unknown {
    // Its own `join` was taken away with the rest; somebody has kept this one.
    if (!isPresent(socket)) return undefined
    const state = this.#peers.get(socket)!
    const rooms = new Set<unknown>(Array.isArray(given) ? given : [given])
    const { facts } = state
    let before = 0
    const verdicts: (Verdict | Promise<Verdict>)[] = []
    const contexts: JoinContext[] = []
    for (const room of rooms) {
      if (room === socket.id) continue
      const context = new JoinContext(this.#core, socket, state.plan.name, String(room), 'join', state)
      const verdict = this.#decide(socket, room, state, context, before)
      if (!isIn(socket, room)) before++
      contexts.push(context)
      verdicts.push(verdict)
      if (verdict !== undefined && !(verdict instanceof Promise)) return this.#refuse(context, verdict, contexts)
    }
    if (verdicts.every((verdict) => verdict === undefined)) return this.#admit(socket, rooms, contexts)
    state.plan.sawAsynchronousJoin = true

    const joined = Promise.all(verdicts as Promise<Verdict>[]).then((late) => {
      const index = late.findIndex((verdict) => verdict !== undefined)
      if (index !== -1) throw this.#denied(contexts[index]!, late[index]!, contexts)
      const over = state.barredBy(this.#core.clock)
      if (over !== undefined) throw this.#denied(contexts[0]!, over, contexts)
      // What was decided was decided about who it was then.
      if (state.facts !== facts) {
        for (const context of contexts) context.settle({ outcome: 'unacked' })
        return this.#enter(socket, given) as void
      }
      // Others may have been decided at the same time.
      if (state.plan.mode !== 'observe' && roomsOf(socket, rooms) > state.plan.limits.maxRooms) throw this.#denied(contexts.at(-1)!, tooMany(), contexts)
      if (isPresent(socket)) return this.#admit(socket, rooms, contexts) as void
      for (const context of contexts) context.settle({ outcome: 'unacked' })
    })
    // Reported already; a handler that does not wait for it must not end the process.
    joined.catch(noop)
    return joined
  }

  #decide(socket: RawSocket, room: unknown, state: PeerState, context: JoinContext, before: number): Verdict | Promise<Verdict> {
    const { plan } = state
    const over = state.barred(context)
    if (over !== undefined) return over
    const barred = this.#bar(socket, room, plan, before)
    if (barred !== undefined) {
      if (plan.mode !== 'observe') return barred
      this.#core.unenforced(context, barred)
    }
    const { known, chain } = plan.room(context.room)
    if (!known) {
      const unknown = { error: new Denied('UNKNOWN_ROOM'), policy: 'gate' }
      if (plan.mode !== 'observe') return unknown
      this.#core.unenforced(context, unknown)
    }
    return chain(context)
  }

  /** What is refused whatever was declared. `before`: how many rooms of the same call come to it before this one. */
  #bar(socket: RawSocket, room: unknown, plan: NamespacePlan, before: number): Verdict {
    // A room named like another socket's id hears what is meant for that socket alone, also while it is away and may be recovered.
    if (socket.nsp.sockets.has(room as string) || this.#isAway(room) || (typeof room === 'string' && room.startsWith(OWN_PREFIX))) return { error: new Denied('FORBIDDEN'), policy: 'gate' }
    return !isIn(socket, room) && roomsOf(socket) + before >= plan.limits.maxRooms ? tooMany() : undefined
  }

  #admit(socket: RawSocket, rooms: Set<unknown>, contexts: readonly JoinContext[]): unknown {
    for (const context of contexts) {
      this.#core.admitted(context)
      context.settle({ outcome: 'handled' })
    }
    const outer = this.#admitted
    this.#admitted = rooms
    try {
      return socket.adapter.addAll(socket.id, rooms)
    } finally {
      this.#admitted = outer
    }
  }

  /** Throws at the handler's own call, so that it cannot go on. In a loop over many sockets a refusal is this socket's alone. */
  #refuse(context: JoinContext, refused: Refused, contexts: readonly JoinContext[]): undefined {
    const denied = this.#denied(context, refused, contexts)
    if (this.#loops === 0) throw denied
    return undefined
  }

  /** Reports a refused join. All rooms of one call are refused together. @returns what the calling code gets */
  #denied(context: JoinContext, refused: Refused, contexts: readonly JoinContext[]): Denied {
    const refusal = this.#core.refused(context, refused)
    for (const each of contexts) each.settle({ outcome: 'refused', refusal, error: refused.error })
    // A new one for each refusal: it carries the id of this one, and policies may throw the same object again.
    const denied = new Denied(refusal.code, { ...refusal.details, ...(refusal.retryAfterMs === undefined ? {} : { retryAfterMs: refusal.retryAfterMs }) }, refused.error)
    denied.id = refusal.id
    return denied
  }

  /** The backstop: rooms that reach the adapter without `socket.join` are decided here, one by one. */
  #filter(namespace: RawNamespace, id: string, rooms: Set<unknown>): Set<unknown> {
    const socket = namespace.sockets.get(id) ?? namespace._preConnectSockets.get(id)
    const state = socket === undefined ? undefined : this.#peers.get(socket)
    const kept = new Set<unknown>()
    let before = 0
    for (const room of rooms) {
      if (room === id) {
        kept.add(room)
        continue
      }
      if (socket === undefined || state === undefined) continue
      const context = new JoinContext(this.#core, socket, namespace.name, String(room), 'join', state)
      const verdict = this.#decide(socket, room, state, context, before)
      const refused = verdict instanceof Promise ? { error: new PolicyFault('an asynchronous join policy cannot decide for adapter.addAll; use socket.join', 'join'), policy: 'join' } : verdict
      if (refused === undefined) {
        this.#core.admitted(context)
        context.settle({ outcome: 'handled' })
        kept.add(room)
        if (!isIn(socket, room)) before++
      } else this.#denied(context, refused, [context])
    }
    return kept
  }
}

function isIn({ id, adapter }: RawSocket, room: unknown): boolean {
  return adapter.sids.get(id)?.has(room) === true
}

/** How many rooms a socket is in, with those it comes to; its own is not counted. */
function roomsOf(socket: RawSocket, more: Iterable<unknown> = []): number {
  const own = socket.adapter.sids.get(socket.id)
  let size = own === undefined ? 0 : own.has(socket.id) ? own.size - 1 : own.size
  for (const room of more) if (room !== socket.id && !isIn(socket, room)) size++
  return size
}

function tooMany(): Refused {
  return { error: new Denied('FORBIDDEN', { limit: 'maxRooms' }), policy: 'limits' }
}

/** In the namespace, or waiting for its middleware. */
function isPresent(socket: RawSocket): boolean {
  return socket.connected || socket.nsp._preConnectSockets.get(socket.id) === socket
}

function noop(): void {}
