import { createHash } from 'node:crypto'
import type { Principal } from './principal.ts'
import type { Store } from './store.ts'

/** A further way to prove who a peer is, brought in-band by `gate:step-up`. */
export interface Factor {
  /** As RFC 8176 names it where it does: `otp`, `hwk`, ... */
  readonly name: string
  /**
   * Called for one code at a time of one socket, after the attempt was counted.
   *
   * @returns whether the code proves it
   * @throws Denied `UNAVAILABLE` when it cannot be judged. Anything else thrown is a fault, and proves nothing as well.
   */
  verify(code: string, ctx: StepUpContext): boolean | Promise<boolean>
}

/** What a factor is told of whoever brings a code. */
export interface StepUpContext {
  readonly principal: Principal
  readonly namespace: string
  readonly address: string
  /** Milliseconds since the epoch: one clock read for the whole attempt. */
  readonly now: number
  readonly store: Store
  /** Correlation id of the attempt, as records show it. */
  readonly id: string
  readonly peer: object
}

/** How a policy tells the gate which factors its peers may bring. */
export const STEP_UP: unique symbol = Symbol.for('portcullis.step-up')

/** What a policy asks of a step-up: the factor, and how many wrong codes a subject may bring. */
export interface StepUpTerms {
  readonly factor: Factor
  /** Wrong codes at once, regained evenly over `perMs`. */
  readonly limit: number
  readonly perMs: number
  /** Whether a proof on one socket counts for all sockets of its subject. */
  readonly shared: boolean
  /** How long a shared proof is kept, in milliseconds. */
  readonly sharedForMs: number
}

/** The store key under which a factor stands that was proved for all sockets of a subject. Hashed: how long a subject is, its issuer decides. */
export function sharedFactorKey(identity: string, factor: string): string {
  return `factor:${createHash('sha256').update(identity).digest('base64url')}:${factor}`
}
