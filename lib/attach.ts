import type { Agenda } from './agenda.ts'
import type { Clock } from './clock.ts'
import type { RevocationOptions, RevocationReceipt, RevocationTarget, Sought } from './revocation.ts'
import type { Store } from './store.ts'

/** On a policy that has work of its own beside the decisions it is asked for: called with the gate it is declared on. */
export const ATTACH: unique symbol = Symbol.for('portcullis.attach')
/** On a policy: what has to stand beside it, and what it is to others that ask for that. */
export const BESIDE: unique symbol = Symbol.for('portcullis.beside')

/** What a gate does for a policy at any time. */
export interface GateControls {
  readonly store: Store
  readonly clock: Clock
  readonly agenda: Agenda
  revoke(target: RevocationTarget, options: RevocationOptions): Promise<RevocationReceipt>
  /** Reports what went wrong, to whoever listens for faults. */
  fault(error: unknown): void
}

/** What a gate tells a policy that is attached to it. */
export interface Attachment {
  /** Somebody was revoked on this node. The revocation waits for what is done here. */
  revoked?(sought: Sought): void | Promise<void>
  /** What weakens it, in plain words: shown by `coverage()`. */
  warnings?(): readonly string[]
  /** The gate has been closed. */
  close?(): void
}

/** Something one policy asks of another one that is declared on the same gate. */
export interface Beside {
  /** What this policy is. */
  readonly is?: object
  /** What it asks for. */
  readonly needs?: object
  /** What is to be written where it is missing. */
  readonly instead?: string
}
