import type { Fate } from '../context.ts'
import type { Code, Denied, PolicyFault } from '../errors.ts'
import type { Decision, Outcome } from '../observe.ts'
import type { Stage } from '../policy.ts'
import type { Refusal } from '../wire.ts'

/** What came of one question to a probe. */
export class Result {
  /** `fault`: refused because a policy broke. `replied`: admitted, and a hook answered in place of the handler. */
  readonly outcome: Outcome | 'replied'
  /** Whether the decision was made in the tick of the call, without a promise. */
  readonly sync: boolean
  /** What the client is told of a refusal. */
  readonly refusal: Refusal | undefined
  /** The policy that refused. */
  readonly policy: string | undefined
  /** What was thrown. Operators see it; the client never does. */
  readonly error: unknown
  /**
   * What travels to the client, in the form of its stage: the HTTP answer of a refused request, the CONNECT_ERROR of a refused
   * connect, the arguments of an ack, or `['gate:denied', ...]`. Undefined where nothing does.
   */
  readonly sent: unknown
  /** The arguments the handler (at the event stage) or the recipient (at the deliver stage) gets; undefined unless admitted. */
  readonly args: readonly unknown[] | undefined
  /** What the policies have proved about the peer; set for an admitted connect. Give it as `peer` to the other questions. */
  readonly facts: any
  /** The answer of a hook that called `ctx.reply`. */
  readonly value: unknown
  readonly #ends: Ends

  /** @internal */
  constructor(parts: ResultParts, ends: Ends = {}) {
    this.outcome = parts.outcome
    this.sync = parts.sync
    this.refusal = parts.refusal
    this.policy = parts.policy
    this.error = parts.error
    this.sent = parts.sent
    this.args = parts.args
    this.facts = parts.facts
    this.value = parts.value
    this.#ends = ends
  }

  get code(): Code | undefined {
    return this.refusal?.code
  }

  /** The first of the arguments. */
  get data(): any {
    return this.args?.[0]
  }

  /** Ends an admitted event as its handler would: without an ack, unless another fate is given. Runs the `onSettled` callbacks. */
  settle(fate: Fate = { outcome: 'handled' }): void {
    this.#ends.settle?.(fate)
  }

  /**
   * Calls the ack of an admitted event as its handler would: what the contract and the `reply` items say of it is asked.
   *
   * @returns the arguments the client gets
   * @throws TypeError for anything but an admitted event that was sent with `ack: true`
   */
  async ack(...args: unknown[]): Promise<readonly unknown[]> {
    if (this.#ends.ack === undefined) throw new TypeError('ack: only an admitted event that was sent with { ack: true } has an ack.')
    return this.#ends.ack(args)
  }

  /** Ends the peer of a connect, as a disconnect does: runs its `onClose` callbacks. Safe to call again. */
  close(): void {
    this.#ends.close?.()
  }
}

export interface ResultParts {
  readonly outcome: Result['outcome']
  readonly sync: boolean
  readonly refusal?: Refusal | undefined
  readonly policy?: string | undefined
  readonly error?: unknown
  readonly sent?: unknown
  readonly args?: readonly unknown[] | undefined
  readonly facts?: object | undefined
  readonly value?: unknown
}

/** How what was admitted ends. */
export interface Ends {
  readonly settle?: (fate: Fate) => void
  readonly ack?: (args: unknown[]) => Promise<readonly unknown[]>
  readonly close?: () => void
}

/** One decision, as an operator's record would show it: the members of `Decision`, kept. */
export interface RecordedDecision {
  readonly outcome: Outcome
  readonly stage: Stage
  readonly enforced: boolean
  readonly policy: string | undefined
  readonly code: Code | undefined
  readonly refusal: Refusal | undefined
  readonly error: Denied | PolicyFault | undefined
  readonly namespace: string | undefined
  readonly event: string | undefined
  readonly room: string | undefined
  readonly subject: string | undefined
  readonly address: string
  readonly userAgent: string | undefined
  /** In milliseconds since the epoch. */
  readonly at: number
  readonly id: string
}

/** A decision reads from its context, which lives on: what it said is copied. */
export function record(decision: Decision): RecordedDecision {
  const { outcome, stage, enforced, policy, code, refusal, error, namespace, event, room, subject, address, userAgent, at, id } = decision
  return { outcome, stage, enforced, policy, code, refusal, error, namespace, event, room, subject, address, userAgent, at, id }
}

