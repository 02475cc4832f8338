import type { Clock } from './clock.ts'
import { isThenable } from './compose.ts'
import type { Refused } from './compose.ts'
import type { EventContext } from './context.ts'
import { Denied } from './errors.ts'
import type { Code } from './errors.ts'
import type { Lane } from './lane.ts'
import type { NamespacePlan } from './plan.ts'
import type { Call, Presence } from './presence.ts'
import type { Principal } from './principal.ts'

/** `gate:denied` events one socket may get: a burst of ten, then ten a second. */
const NOTICE_INTERVAL_MS = 100
const NOTICE_BURST_MS = 1_000

/** An answer that a handler owes a peer. It is given up with the peer, whose socket it would keep in memory otherwise. */
export interface Owed {
  earlier: Owed | undefined
  later: Owed | undefined
  giveUp(): void
}

/** Who waits for a peer to be there. */
export interface Entrant {
  readonly fn: (presence: Presence) => void
  /** False where a policy is only observed: what it does then is reported, and not done. */
  readonly enforced: boolean
}

/** What one peer has asked of the gate itself. */
export interface Control {
  /** Whether a message is being answered: one at a time. */
  busy: boolean
  /** Refreshes that proved nothing. */
  failures: number
  /** When the next message is free of charge. */
  at: number
}

/**
 * What the gate keeps for one socket (a client in one namespace). Lives in a WeakMap beside the socket,
 * never in `socket.data`, which crosses the cluster.
 */
export class PeerState {
  /** What policies have proved about the other end; frozen once the connect stage has agreed. */
  facts: object = {}
  /** When its credential ends; `Infinity` for never, and for nobody. */
  endsAt = Infinity
  /** Why nothing of it is admitted any more. */
  ended: Code | undefined = undefined
  /** Whether it has been admitted. */
  established = false
  /** Sends and hears nothing, and may still refresh. */
  muted = false
  /** Whether it has been somebody else before. */
  hasChanged = false
  /** In whose place it has put what it proved: what hangs on this one hangs on that one then. */
  #heir: PeerState | undefined = undefined
  /** Who it was, where it has become nobody: it may come back as nobody else. */
  fence: string | undefined = undefined
  /** Factors it has proved in-band, and when. */
  proved: Map<string, number> | undefined = undefined
  /** The messages to the gate itself it is being answered, and what they may cost. */
  control: Control | undefined = undefined
  lane: Lane | undefined = undefined
  /** Admitted events whose fate somebody waits for and that are not settled yet. */
  unsettled: Set<EventContext> | undefined = undefined
  /** Answers that handlers owe: the newest. */
  owed: Owed | undefined = undefined
  closers: (() => void)[] | undefined = undefined
  /** Policies that wait for it to be there. */
  entrants: Entrant[] | undefined = undefined
  /** Times that policies have set for it. */
  alarms: Call[] | undefined = undefined
  /** Its socket has begun to close. */
  leaving = false
  gone = false
  /** When the next `gate:denied` is free of charge. */
  #noticeAt = 0

  constructor(
    readonly address: string,
    readonly plan: NamespacePlan,
  ) {}

  /** Why nothing is admitted of it at this time; undefined while its credential holds. */
  standing(now: number): Code | undefined {
    // An end that has come stays, also where the clock is set back.
    return this.ended ?? (this.muted || now >= this.endsAt ? 'CREDENTIAL_EXPIRED' : undefined)
  }

  /** What refuses before any policy is asked, in either mode: identity is never only observed. The time is read only where there is an end. */
  barred(context: { readonly now: number }): Refused | undefined {
    return this.endsAt === Infinity && this.ended === undefined ? undefined : overdue(this.standing(context.now))
  }

  /** The same, at this moment: a decision may have taken its time. */
  barredBy(clock: Clock): Refused | undefined {
    return this.endsAt === Infinity && this.ended === undefined ? undefined : overdue(this.standing(clock.now()))
  }

  /** Whether one more `gate:denied` may be sent: those events are limited themselves. */
  mayNotice(now: number): boolean {
    // Never more than a burst ahead of a clock that stands still; it is where the clock was turned back.
    const at = this.#noticeAt > now + NOTICE_BURST_MS ? now : Math.max(this.#noticeAt, now)
    if (at + NOTICE_INTERVAL_MS - now > NOTICE_BURST_MS) return false
    this.#noticeAt = at + NOTICE_INTERVAL_MS
    return true
  }

  /** Fixes what policies have proved. */
  establish(): void {
    Object.freeze(this.facts)
    this.established = true
    const { principal } = this.facts as { readonly principal?: { readonly expiresAtMs?: unknown } }
    const end = principal?.expiresAtMs
    // A time that is none has come: it must not stand for never.
    this.endsAt = typeof end === 'number' ? (Number.isFinite(end) ? end : 0) : Infinity
  }

  /** Puts what was proved anew in the place of what was. What hung on the earlier proof ends. */
  renew(next: PeerState, failed: (error: unknown) => void): void {
    const { closers } = this
    this.facts = next.facts
    this.endsAt = next.endsAt
    this.closers = next.closers
    next.closers = undefined
    next.#heir = this
    for (const closer of closers ?? []) call(closer, failed)
  }

  provedAt(factor: string, now: number): number | undefined {
    const here = this.proved?.get(factor)
    const { principal } = this.facts as { readonly principal?: Principal }
    if (principal?.factors?.includes(factor) !== true) return here
    const at: unknown = principal.claims['auth_time']
    if (typeof at !== 'number' || !Number.isFinite(at)) return here
    // A sign-in that lies ahead must not stand in front of what was proved here.
    return here !== undefined && (at * 1_000 > now || at * 1_000 < here) ? here : at * 1_000
  }

  /** Calls `fn` when the peer is gone, which it may be already: a hook may run on past its deadline. */
  onClose(fn: () => void, failed: (error: unknown) => void): void {
    if (this.#heir !== undefined) this.#heir.onClose(fn, failed)
    else if (this.gone) call(fn, failed)
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

function overdue(code: Code | undefined): Refused | undefined {
  return code === undefined ? undefined : { error: new Denied(code), policy: 'gate' }
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
