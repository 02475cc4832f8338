import { canonicalText } from '../../lib/plain.ts'
import { describe } from '../../lib/policy.ts'
import type { Principal } from '../../lib/principal.ts'

/** Whom a ticket is issued for: a principal, whose `claims` and `factors` may be left out where there are none. */
export type TicketPrincipal = Omit<Principal, 'claims' | 'factors'> & Partial<Pick<Principal, 'claims' | 'factors'>>

const MEMBERS = ['subject', 'issuer', 'claims', 'expiresAtMs', 'tokenId', 'factors']
const MAX_BYTES = 16_384

/**
 * The principal as it is kept.
 *
 * @throws TypeError for one of a wrong shape or size, one that JSON would change, and one whose time is over
 */
export function keptPrincipal(given: TicketPrincipal, now: number): Principal {
  if (typeof given !== 'object' || given === null) throw wrong(`is ${describe(given)}. Write { subject, expiresAtMs }`)
  const unknown = Object.keys(given).find((key) => !MEMBERS.includes(key))
  // A row of a user table, for instance: what else is in it must not travel unnoticed.
  if (unknown !== undefined) throw wrong(`has an unknown member "${unknown}". What else is known of the subject belongs in claims`)
  const { subject, issuer, claims = {}, expiresAtMs, tokenId, factors = [] } = given
  const principal: Principal = { subject, ...(issuer === undefined ? {} : { issuer }), claims, expiresAtMs, ...(tokenId === undefined ? {} : { tokenId }), factors }
  const flaw = flawOf(principal)
  if (flaw !== undefined) throw wrong(flaw)
  if (expiresAtMs !== 'never' && expiresAtMs <= now) throw wrong('has expired')
  const text = canonicalText(claims)
  if (text === undefined) throw wrong('has claims that JSON would not keep as they are: a Date, undefined, NaN, a class, a circle')
  if (text.includes('"__proto__":')) throw wrong('has a claim named __proto__')
  if (Buffer.byteLength(JSON.stringify(principal)) > MAX_BYTES) throw wrong(`is larger than ${MAX_BYTES} bytes. Keep in claims what policies need, and look up the rest`)
  return principal
}

/** What keeps a value from being a principal; undefined when nothing does. */
export function flawOf(principal: unknown): string | undefined {
  if (typeof principal !== 'object' || principal === null) return 'is no object'
  const { subject, issuer, claims, expiresAtMs, tokenId, factors } = principal as Record<keyof Principal, unknown>
  if (!isText(subject)) return 'has no subject, a non-empty text'
  if (issuer !== undefined && !isText(issuer)) return 'has an issuer that is no text'
  if (tokenId !== undefined && !isText(tokenId)) return 'has a tokenId that is no text'
  if (typeof claims !== 'object' || claims === null || Array.isArray(claims)) return 'has claims that are no object'
  if (!Array.isArray(factors) || !factors.every(isText)) return 'has factors that are no list of texts'
  if (expiresAtMs !== 'never' && !(typeof expiresAtMs === 'number' && Number.isFinite(expiresAtMs))) {
    return "has no expiresAtMs: until when it holds, in milliseconds since the epoch, or 'never'"
  }
  return undefined
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== ''
}

function wrong(what: string): TypeError {
  return new TypeError(`issue: the principal ${what}.`)
}
