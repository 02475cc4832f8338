import { defaultLimits, measure } from '../../lib/limits.ts'
import type { Principal } from '../../lib/principal.ts'
import { canonicalTokenId } from '../../lib/revocation.ts'
import { Failure } from './failure.ts'

/** What an answer must say, besides that the token is active. */
export interface Expected {
  readonly issuer: string | undefined
  /** Who speaks, where the answer does not say it and none is configured. */
  readonly origin: string
  /** Any of them will do. */
  readonly audiences: readonly string[] | undefined
  readonly expiresInMs: number | undefined
  readonly usernameAsSubject: boolean
  readonly untyped: boolean
  readonly clockToleranceMs: number
}

/** What an answer proves, and when. */
export interface Proof {
  readonly principal: Principal
  readonly notBeforeMs: number
  readonly expiresAtMs: number
}

/** What an endpoint says of a token. */
export type Answer = Readonly<Record<string, unknown>>

/** OpenID Connect Core 1.0, section 2, bounds `sub` so; nothing that identifies needs more. */
const MAX_ID_LENGTH = 255
const MAX_FACTORS = 32
/** The last second of the year 9999. A provider that counts milliseconds is found out, too: its tokens would never end. */
const MAX_SECONDS = 253_402_300_799
const UNPRINTABLE = /[\u0000-\u001f\u007f-\u009f]|\p{Surrogate}/u
/** How providers mark what is no access token, where they mark it: Hydra and Cognito in `token_use`, Keycloak in `typ`. */
const OTHER_KINDS = /^(?:refresh(?:_token)?|offline|id(?:_token)?|rt\+jwt)$/i

/**
 * The principal an answer of RFC 7662 2.2 speaks for.
 *
 * @throws Failure `UNAUTHENTICATED` for anything but the answer to an active bearer token, whole and as expected
 */
export function proofOf(answer: Answer, token: string, now: number, expected: Expected): Proof {
  // `"true"` and 1 are not true.
  if (answer['active'] !== true) refuse('the token is not active')
  if (measure([answer], defaultLimits) < 0) refuse('the answer is too deep, too wide, or holds a prototype')
  checkKind(answer, expected.untyped)
  const issuer = issuerOf(answer, expected)
  checkAudience(answer['aud'], expected.audiences)
  const subject = identifier(answer, 'sub') ?? (expected.usernameAsSubject ? identifier(answer, 'username') : undefined)
  if (subject === undefined) return refuse('the answer has no sub')
  const jti = answer['jti'] === token ? undefined : identifier(answer, 'jti')
  seconds(answer, 'iat')
  const notBeforeMs = (seconds(answer, 'nbf') ?? 0) * 1_000 - expected.clockToleranceMs
  const expiresAtMs = endOf(answer, now, expected)
  const principal: Principal = { subject, issuer, claims: claimsOf(answer, token), expiresAtMs, tokenId: jti ?? canonicalTokenId(token), factors: factorsOf(answer['amr']) }
  return { principal: Object.freeze(principal), notBeforeMs, expiresAtMs }
}

/** @throws Failure `UNAUTHENTICATED` where the time of the token has not come, or is over */
export function current({ principal, notBeforeMs, expiresAtMs }: Proof, now: number): Principal {
  if (now >= expiresAtMs) refuse('the token has expired')
  if (now < notBeforeMs) refuse('the token is not valid yet')
  return principal
}

/** A provider calls a refresh token active as well. And one that is bound to a key proves nothing without a proof of that key. */
function checkKind(answer: Answer, untyped: boolean): void {
  const type = answer['token_type']
  if (type === undefined ? !untyped : typeof type !== 'string' || type.toLowerCase() !== 'bearer') refuse('the answer does not say that it is a bearer token')
  for (const name of ['token_use', 'typ']) {
    const kind = answer[name]
    if (typeof kind === 'string' && OTHER_KINDS.test(kind)) refuse('not an access token')
  }
  if (answer['cnf'] !== undefined && answer['cnf'] !== null) refuse('the token is bound to a key, which is not checked here')
}

/** An answer that names no issuer is that of whose endpoint gave it. */
function issuerOf(answer: Answer, { issuer, origin }: Expected): string {
  const iss = identifier(answer, 'iss')
  if (iss !== undefined && issuer !== undefined && iss !== issuer) refuse('another issuer')
  return iss ?? issuer ?? origin
}

function checkAudience(aud: unknown, audiences: readonly string[] | undefined): void {
  if (aud === undefined && audiences === undefined) return
  const named: readonly unknown[] = Array.isArray(aud) ? aud : [aud]
  if (named.some((each) => typeof each !== 'string')) refuse('aud is neither a text nor a list of texts')
  if (audiences !== undefined && !audiences.some((audience) => named.includes(audience))) refuse('another audience')
}

/** A token whose end is not told ends when its answer does; an answer never outlives its token. */
function endOf(answer: Answer, now: number, { expiresInMs, clockToleranceMs }: Expected): number {
  const exp = seconds(answer, 'exp')
  if (exp === undefined && expiresInMs === undefined) return refuse('the answer has no exp, and no expiresInMs is configured')
  return Math.min(exp === undefined ? Infinity : exp * 1_000 + clockToleranceMs, expiresInMs === undefined ? Infinity : now + expiresInMs)
}

function identifier(answer: Answer, name: string): string | undefined {
  const value = answer[name]
  if (value === undefined) return undefined
  if (typeof value !== 'string' || value.trim() === '' || value.length > MAX_ID_LENGTH || UNPRINTABLE.test(value)) return refuse(`${name} is not a text of 1 to ${MAX_ID_LENGTH} printable characters`)
  return value
}

/** RFC 7662 2.2 has whole seconds since the epoch. */
function seconds(answer: Answer, name: string): number | undefined {
  const value = answer[name]
  if (value === undefined) return undefined
  if (typeof value !== 'number' || !Number.isFinite(value) || value < 0 || value > MAX_SECONDS) return refuse(`${name} is no date`)
  return value
}

const NO_FACTORS: readonly string[] = Object.freeze([])

function factorsOf(amr: unknown): readonly string[] {
  if (amr === undefined) return NO_FACTORS
  if (!Array.isArray(amr) || amr.length > MAX_FACTORS || amr.some((factor) => typeof factor !== 'string' || factor === '')) refuse('amr is no list of texts')
  return Object.freeze([...(amr as string[])])
}

/** Claims end in records: a provider that repeats the token must not bring it there. */
function claimsOf(answer: Answer, token: string): Answer {
  return freeze(Object.fromEntries(Object.entries(answer).filter(([, value]) => value !== token)))
}

/** One principal serves every connection that brings its token: nobody may change it. How deep it goes was bounded before. */
function freeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null) return value
  for (const member of Object.values(value)) freeze(member)
  return Object.freeze(value)
}

function refuse(reason: string): never {
  throw new Failure('UNAUTHENTICATED', reason)
}
