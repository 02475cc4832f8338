import { isThenable } from './compose.ts'
import type { EventContext } from './context.ts'
import type { Lane } from './lane.ts'
import type { NamespacePlan } from './plan.ts'

/** An answer that a handler owes a peer. It is given up with the peer, whose socket it would keep in memory otherwise. */
export interface Owed {
  earlier: Owed | undefined
  later: Owed | undefined
  giveUp(): void
}

/**
 * What the gate keeps for one socket (a client in one namespace). Lives in a WeakMap beside the socket,
 * never in `socket.data`, which crosses the cluster.
 */
export class PeerState {
  /** What policies have proved about the other end; frozen once the connect stage has agreed. */
  facts: object = {}
  lane: Lane | undefined = undefined
  /** Admitted events whose fate somebody waits for and that are not settled yet. */
  unsettled: Set<EventContext> | undefined = undefined
  /** Answers that handlers owe: the newest. */
  owed: Owed | undefined = undefined
  closers: (() => void)[] | undefined = undefined
  /** Its socket has begun to close. */
  leaving = false
  gone = false
  /** When the next `gate:denied` may be sent: those events are limited themselves. */
  noticeAt = 0

  constructor(
    readonly address: string,
    readonly plan: NamespacePlan,
  ) {}

  /** Calls `fn` when the peer is gone, which it may be already: a hook may run on past its deadline. */
  onClose(fn: () => void, failed: (error: unknown) => void): void {
    if (this.gone) call(fn, failed)
    else (this.closers ??= []).push(fn)
  }

  owe(answer: Owed): void {
    answer.earlier = this.owed
    if (this.owed !== undefined) this.owed.later = answer
    this.owed = answer
  }

  /** An answer was given, or given up. */
  settle(answer: Owed): void {
    const { earlier, later } = answer
    if (later !== undefined) later.earlier = earlier
    else if (this.owed === answer) this.owed = earlier
    if (earlier !== undefined) earlier.later = later
    answer.earlier = answer.later = undefined
  }

  /** Ends what was waiting on this peer. Safe to call again. */
  close(failed: (error: unknown) => void): void {
    this.gone = true
    this.lane?.clear()
    while (this.owed !== undefined) this.owed.giveUp()
    const { closers, unsettled } = this
    this.closers = this.unsettled = undefined
    for (const context of unsettled ?? []) context.settle({ outcome: 'unacked' })
    for (const closer of closers ?? []) call(closer, failed)
  }
}

function call(fn: () => unknown, failed: (error: unknown) => void): void {
  try {
    const returned = fn()
    if (isThenable(returned)) Promise.resolve(returned).catch(failed)
  } catch (error) {
    failed(error)
  }
}

/** Who a peer is, for comparing one connection with an earlier one; undefined when no policy has proved it. */
export function identityOf(facts: object): string | undefined {
  const { principal } = facts as { principal?: { subject?: unknown; issuer?: unknown } }
  if (typeof principal?.subject !== 'string') return undefined
  return JSON.stringify([principal.issuer ?? null, principal.subject])
}

/** The subject for records; undefined when no policy has proved one. */
export function subjectOf(facts: object): string | undefined {
  const { principal } = facts as { principal?: { subject?: unknown } }
  return typeof principal?.subject === 'string' ? principal.subject : undefined
}
