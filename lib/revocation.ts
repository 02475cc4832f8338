import { createHash } from 'node:crypto'
import { ConfigError, Denied } from './errors.ts'
import { isThenable } from './compose.ts'
import { boundedKey } from './keys.ts'
import { describe } from './policy.ts'
import type { Principal } from './principal.ts'
import type { Store } from './store.ts'

/** What is to be revoked. */
export type RevocationTarget =
  /** Everything of one subject; of any issuer, where none is named. */
  | { readonly subject: string; readonly issuer?: string }
  /** One credential: its `tokenId` (the `jti` of a JWT), or a whole JWT. */
  | { readonly token: string }
  /** What belongs to one session: the `sid` claim of OpenID Connect, or the session of an adapter. */
  | { readonly session: string }
  /** One live socket, by its id or the object itself. */
  | { readonly socket: string | { readonly id: string } }

export interface RevocationOptions {
  /** Why. Told to the clients that are closed, and kept for operators. */
  readonly reason: string
  /**
   * For how long it is remembered, in milliseconds. Default: until the credential would have ended anyway, where that is known;
   * else 30 days. Longer than any credential of the target lives.
   */
  readonly forMs?: number
  /** Only credentials that were issued before (their `iat`), in milliseconds since the epoch: whoever signs in again may enter. */
  readonly issuedBefore?: number
}

/** What {@link RevocationTarget | revoking} did. */
export interface RevocationReceipt {
  /** The sockets of this node that were closed. Other nodes that share the store close theirs. */
  readonly closed: readonly { readonly socket: string; readonly namespace: string; readonly subject: string | undefined }[]
  /** Until when it is remembered, in milliseconds since the epoch; undefined for a socket, of which nothing is. */
  readonly untilMs: number | undefined
}

/** What is kept of a revocation. */
interface Kept {
  readonly reason: string
  readonly untilMs: number
  readonly issuedBefore: number | undefined
}

/** A target as it is looked for, here and on other nodes. */
export interface Sought {
  readonly kind: 'subject' | 'token' | 'session' | 'socket'
  readonly id: string
  /** Of a subject. */
  readonly issuer: string | undefined
}

const UNKNOWN_LIFE_MS = 30 * 24 * 60 * 60 * 1_000
const NEVER_MS = 10 * 365 * 24 * 60 * 60 * 1_000
/** How much longer than the credential itself: a scheme may tolerate five minutes, and the clock of another node may be behind. */
const MARGIN_MS = 360_000
const MAX_REASON = 256
const NONE: readonly string[] = []

/** The id under which a credential without one of its own is revoked: what was signed, so that another encoding of the signature is no other token. */
export function canonicalTokenId(token: string): string {
  const signed = JWS.test(token) ? token.slice(0, token.lastIndexOf('.')) : token
  return `sha256:${createHash('sha256').update(signed).digest('base64url')}`
}

/** The compact form of RFC 7515. Anything else is opaque, and is what it is as a whole. */
const JWS = /^[\w-]+\.([\w-]+)\.[\w-]+$/

/** What a token may be known by: the id it is, or its `jti`; and the canonical form. Nothing of it needs to be verified: an id that nobody has harms nobody. */
function tokenIdsOf(token: string): { readonly ids: readonly string[]; readonly expiresAtMs: number | undefined } {
  const canonical = canonicalTokenId(token)
  const payload = JWS.exec(token)?.[1]
  if (payload === undefined) return { ids: [token, canonical], expiresAtMs: undefined }
  try {
    const { jti, exp } = JSON.parse(Buffer.from(payload, 'base64url').toString()) as { jti?: unknown; exp?: unknown }
    return { ids: typeof jti === 'string' && jti !== '' ? [jti, canonical] : [canonical], expiresAtMs: typeof exp === 'number' && Number.isFinite(exp) ? exp * 1_000 : undefined }
  } catch {
    return { ids: [token, canonical], expiresAtMs: undefined }
  }
}

/** Hashed: what was given may be the token itself. */
const keyOfToken = (id: string): string => `revoked:token:${createHash('sha256').update(id).digest('base64url')}`
const keyOfSession = (id: string): string => boundedKey('revoked:session', id)
const keyOfSubject = (issuer: string | undefined, subject: string): string => boundedKey('revoked:subject', JSON.stringify([issuer ?? null, subject]))

/** @returns what to look for; a credential may be known by several ids. @throws ConfigError for anything but one target */
export function soughtBy(target: RevocationTarget): { readonly all: readonly Sought[]; readonly expiresAtMs: number | undefined } {
  const { subject, issuer, token, session, socket, ...rest } = (typeof target === 'object' && target !== null ? target : {}) as Record<string, unknown>
  const given = [subject, token, session, socket].filter((each) => each !== undefined)
  if (given.length !== 1 || Object.keys(rest).length > 0 || (issuer !== undefined && subject === undefined)) {
    throw new ConfigError('revoke takes one of { subject, issuer? }, { token }, { session } and { socket }.')
  }
  const one = (sought: Sought) => ({ all: [sought], expiresAtMs: undefined })
  if (subject !== undefined) return one({ kind: 'subject', id: text(subject, 'subject'), issuer: issuer === undefined ? undefined : text(issuer, 'issuer') })
  if (session !== undefined) return one({ kind: 'session', id: text(session, 'session'), issuer: undefined })
  if (socket !== undefined) return one({ kind: 'socket', id: text(typeof socket === 'object' ? (socket as { id?: unknown } | null)?.id : socket, 'socket'), issuer: undefined })
  const { ids, expiresAtMs } = tokenIdsOf(text(token, 'token'))
  return { all: ids.map((id) => ({ kind: 'token', id, issuer: undefined })), expiresAtMs }
}

/** One that spares what is issued later has a key of its own: it must not lift one that spares nothing. */
const SPARING = 'sparing:'

/** The key under which it is remembered; undefined for a socket, which is gone once it is closed. */
export function keyOf({ kind, id, issuer }: Sought, issuedBefore: number | undefined): string | undefined {
  if (kind === 'socket') return undefined
  const key = kind === 'subject' ? keyOfSubject(issuer, id) : kind === 'token' ? keyOfToken(id) : keyOfSession(id)
  return issuedBefore === undefined ? key : SPARING + key
}

/** All keys of a target. */
export function keysOfTarget(sought: Sought): string[] {
  return [undefined, 0].flatMap((issuedBefore) => keyOf(sought, issuedBefore) ?? [])
}

/** Whether a peer is one of those that are meant. */
export function isSought({ kind, id, issuer }: Sought, facts: object, socket: string): boolean {
  if (kind === 'socket') return socket === id
  if (kind === 'session') return sessionsOf(facts).includes(id)
  const { principal } = facts as { readonly principal?: Principal }
  if (kind === 'token') return principal?.tokenId === id
  return principal?.subject === id && (issuer === undefined || principal.issuer === issuer)
}

/** @throws ConfigError for a reason that is none, or a time that is none */
export function checkRevocation(options: RevocationOptions): void {
  const { reason, forMs, issuedBefore, ...rest } = (typeof options === 'object' && options !== null ? options : {}) as Record<string, unknown>
  if (typeof reason !== 'string' || reason === '' || reason.length > MAX_REASON) throw new ConfigError(`revoke: reason is a text of 1 to ${MAX_REASON} characters, which clients are told; got ${describe(reason)}.`)
  if (forMs !== undefined && !(typeof forMs === 'number' && Number.isFinite(forMs) && forMs > 0)) throw new ConfigError(`revoke: forMs is a positive number of milliseconds; got ${describe(forMs)}.`)
  if (issuedBefore !== undefined && !(typeof issuedBefore === 'number' && Number.isFinite(issuedBefore))) throw new ConfigError(`revoke: issuedBefore is a time in milliseconds since the epoch; got ${describe(issuedBefore)}.`)
  const unknown = Object.keys(rest)[0]
  if (unknown !== undefined) throw new ConfigError(`revoke: unknown option "${unknown}". The options are reason, forMs and issuedBefore.`)
}

/**
 * How long it is remembered. Of a subject, and of a session, there may be credentials that nobody has shown yet.
 *
 * @param ends when the credentials it applies to end, as far as that is known
 */
export function lifeOf({ kind }: Sought, ends: readonly (number | 'never' | undefined)[], now: number, forMs: number | undefined): number {
  if (forMs !== undefined) return forMs
  const known = ends.filter((end) => end !== undefined)
  const least = kind === 'token' && known.length > 0 ? MARGIN_MS : UNKNOWN_LIFE_MS
  return Math.max(least, ...known.map((end) => (end === 'never' ? NEVER_MS : end - now + MARGIN_MS)))
}

/** The keys one principal may be revoked under. */
export function keysOf(facts: object): string[] {
  const { principal } = facts as { readonly principal?: Principal }
  if (typeof principal !== 'object' || principal === null || typeof principal.subject !== 'string') return []
  const { subject, issuer, tokenId } = principal
  const keys = [keyOfSubject(undefined, subject)]
  if (issuer !== undefined) keys.push(keyOfSubject(issuer, subject))
  if (typeof tokenId === 'string') keys.push(keyOfToken(tokenId))
  for (const session of sessionsOf(facts)) keys.push(keyOfSession(session))
  return [...keys, ...keys.map((key) => SPARING + key)]
}

/** The sessions a peer belongs to: that of an adapter, and the one its identity provider names (OpenID Connect Front-Channel Logout 1.0, section 3). */
export function sessionsOf(facts: object): readonly string[] {
  const { session, principal } = facts as { readonly session?: { readonly id?: unknown }; readonly principal?: Principal }
  const own = typeof session === 'object' && session !== null ? session.id : undefined
  const sid = principal?.claims?.['sid']
  if (typeof own !== 'string') return typeof sid === 'string' ? [sid] : NONE
  return typeof sid === 'string' && sid !== own ? [own, sid] : [own]
}

/** Whether it is meant: one may spare what was issued after it. */
export function applies({ issuedBefore }: Pick<Kept, 'issuedBefore'>, facts: object): boolean {
  if (issuedBefore === undefined) return true
  const iat = (facts as { readonly principal?: Principal }).principal?.claims?.['iat']
  return typeof iat !== 'number' || !(iat * 1_000 >= issuedBefore)
}

/** What is kept of a revocation in the store. */
export function recordOf({ reason, issuedBefore }: RevocationOptions, untilMs: number): string {
  return JSON.stringify({ reason, issuedBefore, untilMs })
}

/** A second revocation takes nothing back of the first: the later end counts, and the later time of issue. */
export function together(options: RevocationOptions, untilMs: number, record: string | undefined): { readonly options: RevocationOptions; readonly untilMs: number } {
  if (record === undefined) return { options, untilMs }
  const known = readRecord(record)
  const issuedBefore = options.issuedBefore === undefined || known.issuedBefore === undefined ? undefined : Math.max(options.issuedBefore, known.issuedBefore)
  return { options: issuedBefore === undefined ? options : { ...options, issuedBefore }, untilMs: Math.max(untilMs, known.untilMs) }
}

function readRecord(record: string): Kept {
  try {
    const { reason, issuedBefore, untilMs } = JSON.parse(record) as Record<string, unknown>
    return { reason: String(reason), issuedBefore: typeof issuedBefore === 'number' ? issuedBefore : undefined, untilMs: typeof untilMs === 'number' ? untilMs : 0 }
  } catch {
    // Whatever stands there, it stands for a revocation.
    return { reason: 'unknown', issuedBefore: undefined, untilMs: 0 }
  }
}

/**
 * Asks the store whether what a peer has proved was revoked: one operation.
 *
 * @returns the refusal; `UNAVAILABLE` where the store cannot say
 */
export function revokedBy(store: Store, facts: object): Denied | undefined | Promise<Denied | undefined> {
  const keys = keysOf(facts)
  if (keys.length === 0) return undefined
  const judge = (records: readonly (string | undefined)[] | undefined): Denied | undefined => {
    // Of a store that is not ours, whatever its types say.
    if (!isList(records) || records.length !== keys.length) throw new TypeError('the store has not answered for each key')
    for (const record of records) {
      if (record === undefined) continue
      const revocation = readRecord(record)
      if (applies(revocation, facts)) return new Denied('REVOKED', undefined, revocation.reason)
    }
    return undefined
  }
  const failed = (error: unknown): Denied => new Denied('UNAVAILABLE', undefined, error)
  try {
    const records = store.getMany(keys)
    return isThenable(records) ? Promise.resolve(records).then(judge).catch(failed) : judge(records)
  } catch (error) {
    return failed(error)
  }
}

const isList = (value: unknown): value is readonly (string | undefined)[] => Array.isArray(value)

function text(value: unknown, name: string): string {
  if (typeof value !== 'string' || value === '') throw new ConfigError(`revoke: ${name} is a non-empty text; got ${describe(value)}.`)
  return value
}
