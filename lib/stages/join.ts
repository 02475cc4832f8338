import type { Refused } from '../compose.ts'
import { JoinContext } from '../context.ts'
import type { Core } from '../core.ts'
import { Denied, PolicyFault } from '../errors.ts'
import { OWN_PREFIX } from '../wire.ts'
import type { PeerState } from '../peer.ts'
import type { NamespacePlan } from '../plan.ts'
import { inherited } from './socket-io.ts'
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

  constructor(core: Core, peers: WeakMap<object, PeerState>) {
    this.#core = core
    this.#peers = peers
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
    adapter.addAll = (id, rooms) => {
      if (rooms === this.#admitted || !plan().guardsRooms) return inherited(adapter, 'addAll').call(adapter, id, rooms)
      return inherited(adapter, 'addAll').call(adapter, id, this.#filter(namespace, id, rooms))
    }
    adapter.apply = (options: BroadcastOptions, callback) => {
      this.#loops++
      try {
        return inherited(adapter, 'apply').call(adapter, options, callback)
      } finally {
        this.#loops--
      }
    }
  }

  #enter(socket: RawSocket, given: unknown): unknown {
    const state = this.#peers.get(socket)!
    const rooms: unknown[] = Array.isArray(given) ? given : [given]
    const pending: Promise<Refused | undefined>[] = []
    const contexts: JoinContext[] = []
    for (const room of rooms) {
      if (room === socket.id) continue
      const context = new JoinContext(this.#core, socket, state.plan.name, String(room), 'join', state)
      const verdict = this.#decide(socket, room, state, context, contexts.length)
      contexts.push(context)
      if (verdict instanceof Promise) pending.push(verdict)
      else if (verdict !== undefined) return this.#refuse(context, verdict, contexts)
    }
    if (pending.length === 0) return this.#admit(socket, rooms, contexts)
    state.plan.sawAsynchronousJoin = true

    const joined = Promise.all(pending).then((verdicts) => {
      const index = verdicts.findIndex((verdict) => verdict !== undefined)
      if (index !== -1) throw this.#denied(contexts[index]!, verdicts[index]!, contexts)
      if (socket.connected || socket.nsp._preConnectSockets.has(socket.id)) return this.#admit(socket, rooms, contexts) as void
      for (const context of contexts) context.settle({ outcome: 'unacked' })
    })
    // Reported already; a handler that does not wait for it must not end the process.
    joined.catch(noop)
    return joined
  }

  #decide(socket: RawSocket, room: unknown, state: PeerState, context: JoinContext, before: number): Refused | undefined | Promise<Refused | undefined> {
    const { plan } = state
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

  /** What is refused whatever was declared. `before`: how many rooms of the same call stand before this one. */
  #bar(socket: RawSocket, room: unknown, plan: NamespacePlan, before: number): Refused | undefined {
    const { nsp, adapter } = socket
    // A room named like another socket's id hears what is meant for that socket alone.
    if (nsp.sockets.has(room as string) || (typeof room === 'string' && room.startsWith(OWN_PREFIX))) return { error: new Denied('FORBIDDEN'), policy: 'gate' }
    const own = adapter.sids.get(socket.id)
    if (own !== undefined && own.size + before > plan.limits.maxRooms && !own.has(room)) return { error: new Denied('FORBIDDEN', { limit: 'maxRooms' }), policy: 'limits' }
    return undefined
  }

  #admit(socket: RawSocket, rooms: unknown[], contexts: readonly JoinContext[]): unknown {
    for (const context of contexts) {
      this.#core.admitted(context)
      context.settle({ outcome: 'handled' })
    }
    const set = new Set(rooms)
    const outer = this.#admitted
    this.#admitted = set
    try {
      return socket.adapter.addAll(socket.id, set)
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
    if (refused.error instanceof Denied) return refused.error
    const denied = new Denied(refusal.code, undefined, refused.error)
    denied.id = refusal.id
    return denied
  }

  /** The backstop: rooms that reach the adapter without `socket.join` are decided here, one by one. */
  #filter(namespace: RawNamespace, id: string, rooms: Set<unknown>): Set<unknown> {
    const socket = namespace.sockets.get(id) ?? namespace._preConnectSockets.get(id)
    const state = socket === undefined ? undefined : this.#peers.get(socket)
    const kept = new Set<unknown>()
    for (const room of rooms) {
      if (room === id) {
        kept.add(room)
        continue
      }
      if (socket === undefined || state === undefined) continue
      const context = new JoinContext(this.#core, socket, namespace.name, String(room), 'join', state)
      const verdict = this.#decide(socket, room, state, context, kept.size)
      const refused = verdict instanceof Promise ? { error: new PolicyFault('an asynchronous join policy cannot decide for adapter.addAll; use socket.join', 'join'), policy: 'join' } : verdict
      if (refused === undefined) {
        this.#core.admitted(context)
        context.settle({ outcome: 'handled' })
        kept.add(room)
      } else this.#denied(context, refused, [context])
    }
    return kept
  }
}

function noop(): void {}
