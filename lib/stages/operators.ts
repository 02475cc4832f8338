import { isThenable } from '../compose.ts'
import type { Listener, RawNamespace, RawServer } from './socket-io.ts'

// Seam (Socket.IO 4.8.4): the prototype of `BroadcastOperator`, where all ways of naming rooms and of sending to many end.
// It is one for the whole process; servers that are not guarded are left as they are.

/** A room nobody can join: names with this prefix are the gate's. */
const NOWHERE = 'gate:nowhere'

/** What a guarded server makes of its broadcasts. */
export interface OperatorGuard {
  /** Somebody named an explicit empty list of rooms. @returns whether it is refused */
  emptyList(namespace: RawNamespace): boolean
  /** The application's callback for the acks of a broadcast has failed. */
  ackFailed(namespace: RawNamespace, event: string, error: unknown): void
}

interface Operator {
  readonly adapter: { readonly nsp: RawNamespace }
}

interface OperatorPrototype {
  to(this: Operator, room: unknown): unknown
  emit(this: Operator, ...event: unknown[]): unknown
}

const patched = new WeakSet<object>()
const guarded = new WeakMap<object, OperatorGuard>()

/**
 * `to([])` and `in([])` mean everybody in Socket.IO: on a guarded server they reach nobody. A callback of a broadcast is called from a
 * timer, or where a client's answer comes in: on a guarded server its failure ends nothing.
 */
export function guardOperators(server: RawServer, guard: OperatorGuard): void {
  guarded.set(server, guard)
  const { prototype } = server.to(NOWHERE).constructor as { prototype: OperatorPrototype }
  if (patched.has(prototype)) return
  patched.add(prototype)
  const { to, emit } = prototype
  prototype.to = function (room) {
    const { nsp } = this.adapter
    const empty = Array.isArray(room) && room.length === 0
    return to.call(this, empty && guarded.get(nsp.server)?.emptyList(nsp) === true ? NOWHERE : room)
  }
  prototype.emit = function (...event) {
    const { nsp } = this.adapter
    const callback = event.at(-1)
    const own = typeof callback === 'function' ? guarded.get(nsp.server) : undefined
    if (own !== undefined) event[event.length - 1] = contained(callback as Listener, (error) => own.ackFailed(nsp, String(event[0]), error))
    return emit.apply(this, event)
  }
}

function contained(callback: Listener, failed: (error: unknown) => void): Listener {
  return function (this: unknown, ...answer) {
    try {
      const returned = callback.apply(this, answer)
      if (isThenable(returned)) Promise.resolve(returned).catch(failed)
    } catch (error) {
      failed(error)
    }
  }
}
