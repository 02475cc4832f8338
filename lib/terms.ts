/** On what terms a gate admits who has a credential: said by the policy that authenticates, kept by the gate. */
export interface Terms {
  /** How long a connection may be open before it has entered a namespace, in milliseconds. */
  readonly withinMs: number
  /** What becomes of a peer when its credential ends. */
  readonly onExpiry: OnExpiry
  /** How long before the end a peer is told, in milliseconds. 0: it is not. */
  readonly expiringMs: number
  /** Whether a refresh may bring somebody else. */
  readonly allowSwitch: boolean
}

/**
 * What becomes of a peer when its credential ends. `disconnect`: it is closed. `anonymous`: it leaves every room and goes on as nobody.
 * `graceMs`: it stays for so many milliseconds, sending and hearing nothing, so that it may still refresh.
 */
export type OnExpiry = 'disconnect' | 'anonymous' | { readonly graceMs: number }

/** On a policy: its terms. */
export const TERMS: unique symbol = Symbol.for('portcullis.terms')

/** Where a policy of the application gives a principal and says nothing of terms. */
export const DEFAULT_TERMS: Terms = { withinMs: 10_000, onExpiry: 'disconnect', expiringMs: 60_000, allowSwitch: false }

/** Of what was left at admission, at most this part lies between the warning and the end: a credential of seconds must not be renewed all the time. */
const WARNED_PART = 0.2

/** When a peer is told that its credential will end; undefined where it is not to be. */
export function warningAt(expiresAtMs: number, now: number, { expiringMs }: Terms): number | undefined {
  return expiringMs === 0 ? undefined : Math.ceil(expiresAtMs - Math.min(expiringMs, (expiresAtMs - now) * WARNED_PART))
}
