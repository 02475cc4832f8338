import { PolicyFault } from '../../lib/errors.ts'
import { canonicalText } from '../../lib/plain.ts'
import { describe } from '../../lib/policy.ts'
import type { Who } from './directory.ts'
import type { SessionData } from './record.ts'

/** Whom a session speaks for. */
export interface SessionUser {
  readonly subject: string
  readonly issuer?: string
  /** What policies are to know: a change of it is a change of rights. Default `{}`. */
  readonly claims?: Readonly<Record<string, unknown>>
  /** How the user was authenticated (RFC 8176). Default none. */
  readonly factors?: readonly string[]
}

/** Whom the data of a session speaks for, as far as it matters who it is and what that is worth. */
export interface Speaker {
  readonly user: SessionUser
  /** Who, comparable. */
  readonly identity: string
  /** With what, comparable. */
  readonly privileges: string
}

export type UserOf = (data: SessionData) => SessionUser | string | undefined | null

/** Where applications keep their user: passport's, or `session.user`, which is an id or has one. */
export function defaultUser(data: SessionData): SessionUser | undefined {
  const passport = data['passport'] as { readonly user?: unknown } | undefined
  const user: unknown = passport?.user ?? data['user']
  const named = typeof user === 'object' && user !== null ? (user as Record<string, unknown>) : undefined
  const subject: unknown = named === undefined ? user : (named['id'] ?? named['subject'] ?? named['sub'])
  return typeof subject === 'string' || typeof subject === 'number' ? { subject: String(subject) } : undefined
}

/** @throws PolicyFault for what is no user */
export function speakerOf(data: SessionData, userOf: UserOf): Speaker | undefined {
  const given = userOf(data)
  if (given === undefined || given === null) return undefined
  const user: SessionUser = typeof given === 'string' ? { subject: given } : given
  const { subject, issuer } = user
  if (typeof subject !== 'string' || subject === '') throw new PolicyFault(`user gave ${describe(given)}, and a user has a subject: a non-empty text`, 'sessions')
  const plain = plainly(user)
  return { user: { subject, ...(issuer === undefined ? {} : { issuer }), ...plain }, identity: JSON.stringify([issuer ?? null, subject]), privileges: canonicalText(plain)! }
}

/** As JSON would keep it: a claim that is undefined is none. */
function plainly({ claims = {}, factors = [] }: SessionUser): Required<Pick<SessionUser, 'claims' | 'factors'>> {
  try {
    return JSON.parse(JSON.stringify({ claims, factors })) as Required<Pick<SessionUser, 'claims' | 'factors'>>
  } catch (cause) {
    throw new PolicyFault('user gave claims or factors that are not plain data', 'sessions', { cause })
  }
}

export function whoIs(speaker: Speaker): Who
export function whoIs(speaker: Speaker | undefined): Who | undefined
export function whoIs(speaker: Speaker | undefined): Who | undefined {
  return speaker === undefined ? undefined : { subject: speaker.user.subject, issuer: speaker.user.issuer }
}

/** What the change from one to the other means for whoever is bound to the session. */
export type Change = 'none' | 'privileges' | 'signed in' | 'signed out' | 'another user'

export function changeBetween(before: Speaker | undefined, after: Speaker | undefined): Change {
  if (before === undefined) return after === undefined ? 'none' : 'signed in'
  if (after === undefined) return 'signed out'
  if (before.identity !== after.identity) return 'another user'
  return before.privileges === after.privileges ? 'none' : 'privileges'
}
