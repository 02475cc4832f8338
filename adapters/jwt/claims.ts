import type { Principal } from '../../lib/principal.ts'
import { canonicalTokenId } from '../../lib/revocation.ts'
import { refuse } from './refuse.ts'
import type { Unproved } from './token.ts'

/** What a token must say besides being well signed. */
export interface Expected {
  readonly issuer: string
  /** Any of them will do. */
  readonly audiences: readonly string[]
  /** As RFC 7515 4.1.9 compares it: in small letters, without `application/`. */
  readonly typ: string | undefined
  readonly subjectClaim: string
  readonly clockToleranceMs: number
  readonly maxAgeMs: number | undefined
}

/** What a verified token proves, and when. */
export interface Proof {
  readonly principal: Principal
  readonly notBeforeMs: number
  readonly expiresAtMs: number
}

/** OpenID Connect Core 1.0, section 2, bounds `sub` so; nothing that identifies needs more. */
const MAX_ID_LENGTH = 255
const MAX_FACTORS = 32
/** The last second of the year 9999, and of RFC 3339. An issuer that counts milliseconds is found out, too: its tokens would never end. */
const MAX_SECONDS = 253_402_300_799
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/

/**
 * The principal a verified set of claims speaks for. Judges the shape of each claim it uses: an issuer can be careless, too.
 *
 * @throws Denied for a claim that is missing, of a wrong shape, or not as expected
 */
export function proofOf({ token, claims }: Unproved, { issuer, audiences, subjectClaim, clockToleranceMs, maxAgeMs }: Expected): Proof {
  if (claims['iss'] !== issuer) refuse('another issuer')
  const named = audiencesOf(claims['aud'])
  if (!audiences.some((audience) => named.includes(audience))) refuse('another audience')
  const subject = identifier(claims, subjectClaim)
  if (subject === undefined) return refuse(`no ${subjectClaim}`)
  if (subjectClaim !== 'sub') identifier(claims, 'sub')
  const tokenId = identifier(claims, 'jti') ?? canonicalTokenId(token)
  const factors = factorsOf(claims['amr'])
  const { notBeforeMs, expiresAtMs } = lifeOf(claims, clockToleranceMs, maxAgeMs)
  const principal: Principal = { subject, issuer, claims: freeze(claims), expiresAtMs, tokenId, factors }
  return { principal: Object.freeze(principal), notBeforeMs, expiresAtMs }
}

function lifeOf(claims: Record<string, unknown>, clockToleranceMs: number, maxAgeMs: number | undefined): { readonly notBeforeMs: number; readonly expiresAtMs: number } {
  const iat = seconds(claims, 'iat')
  const exp = seconds(claims, 'exp')
  if (exp === undefined) return refuse('no exp')
  const nbf = seconds(claims, 'nbf') ?? 0
  if (maxAgeMs === undefined) return { notBeforeMs: nbf * 1_000 - clockToleranceMs, expiresAtMs: exp * 1_000 + clockToleranceMs }
  if (iat === undefined) return refuse('no iat')
  return { notBeforeMs: Math.max(nbf, iat) * 1_000 - clockToleranceMs, expiresAtMs: Math.min(exp * 1_000, iat * 1_000 + maxAgeMs) + clockToleranceMs }
}

/** @throws Denied for a header without the type that is asked for */
export function checkType(typ: unknown, expected: string): void {
  if (typeof typ !== 'string' || mediaType(typ) !== expected) refuse('another type')
}

/** RFC 7515 4.1.9: `application/` may be left out, and the case of letters says nothing. */
export function mediaType(typ: string): string {
  return typ.toLowerCase().replace(/^application\/(?=[^/]+$)/, '')
}

/** @returns the principal, where the time of its token has come and is not over */
export function current({ principal, notBeforeMs, expiresAtMs }: Proof, now: number): Principal {
  if (now >= expiresAtMs) refuse('expired')
  if (now < notBeforeMs) refuse('not valid yet')
  return principal
}

function audiencesOf(aud: unknown): readonly unknown[] {
  const audiences: readonly unknown[] = Array.isArray(aud) ? aud : [aud]
  if (audiences.some((each) => typeof each !== 'string')) refuse('aud is neither a text nor a list of texts')
  return audiences
}

function identifier(claims: Record<string, unknown>, name: string): string | undefined {
  const value = own(claims, name)
  if (value === undefined) return undefined
  if (typeof value !== 'string' || value.trim() === '' || value.length > MAX_ID_LENGTH || CONTROL.test(value) || !isWellFormed(value)) return refuse(`${name} is not a text of 1 to ${MAX_ID_LENGTH} printable characters`)
  return value
}

/** RFC 7519 2: seconds since the epoch, fractions allowed. */
function seconds(claims: Record<string, unknown>, name: string): number | undefined {
  const value = own(claims, name)
  if (value === undefined) return undefined
  if (typeof value !== 'number' || !Number.isFinite(value) || value < 0 || value > MAX_SECONDS) return refuse(`${name} is no date`)
  return value
}

function factorsOf(amr: unknown): readonly string[] {
  if (amr === undefined) return NO_FACTORS
  if (!Array.isArray(amr) || amr.length > MAX_FACTORS || amr.some((factor) => typeof factor !== 'string' || factor === '')) refuse('amr is no list of texts')
  return Object.freeze(amr as string[])
}

const NO_FACTORS: readonly string[] = Object.freeze([])

function own(claims: Record<string, unknown>, name: string): unknown {
  return Object.hasOwn(claims, name) ? claims[name] : undefined
}

/** Half a surrogate pair becomes another text in the next store or log. */
function isWellFormed(text: string): boolean {
  return !/\p{Surrogate}/u.test(text)
}

/** One principal serves every connection that brings its token: nobody may change it. How deep it goes was bounded before. */
function freeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null) return value
  for (const member of Object.values(value)) freeze(member)
  return Object.freeze(value)
}
