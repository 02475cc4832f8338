import { types } from 'node:util'
import { ConfigError } from '../../lib/errors.ts'
import type { Clock } from '../../lib/clock.ts'
import { describe } from '../../lib/policy.ts'
import type { Store } from '../../lib/store.ts'
import type { SessionData } from './record.ts'
import type { Secret } from './signed-cookie.ts'
import type { SessionUser } from './speaker.ts'
import type { SessionMiddleware, SessionStore } from './store.ts'

export interface SessionsOptions<Data extends SessionData = SessionData> {
  /** The application's own: what `session({ ... })` of express-session made. */
  readonly middleware: SessionMiddleware
  /** The very store that it was made with. */
  readonly store: SessionStore
  /** The very secret, or list of secrets: the first signs, all are accepted. */
  readonly secret: Secret | readonly Secret[]
  /** The name of the cookie. Default `'connect.sid'`, as in express-session. */
  readonly name?: string
  /** Whom the data of a session speaks for; undefined for a visitor. Default: `passport.user`, or `user`, which is an id or has one (`id`, `subject`, `sub`). */
  readonly user?: (data: Data) => SessionUser | string | undefined | null
  /** How old a snapshot may be when an event is decided, in milliseconds. Default 5,000. */
  readonly freshMs?: number
  /** How soon it is found that an entry has vanished from the store by itself, in milliseconds. Default 30,000. */
  readonly recheckMs?: number
  /** How often, at most, events prolong the session, in milliseconds. Default 60,000. */
  readonly touchEveryMs?: number
  /** How long the session store may take to answer, in milliseconds. Default 2,000. */
  readonly timeoutMs?: number
  /** How long a session keeps its id, in milliseconds. Default: until the application changes it. */
  readonly rotateEveryMs?: number
  /** How long the preceding id is served, in milliseconds. Default 30,000. */
  readonly graceMs?: number
  /** Where pages bring their renewal tickets. Default `'/session/renew'`. */
  readonly renewPath?: string
  /** How many sessions one user may have, and who has to go when there is one more. Default: no limit. */
  readonly concurrent?: { readonly limit: number; readonly full: 'refuse' | 'end-oldest' }
  /** For a store that tells when an entry has gone: called with a function to tell by, it returns how to stop. Nothing is looked for then. */
  readonly watch?: (gone: (id: string) => void) => () => void
  /** The store of the gates, for a process that has none of its own, such as a web server beside the socket servers. Default: that of the gate. */
  readonly gateStore?: Store
  /** Declines the demand for `csrf(...)` beside the cookie, in so many words. */
  readonly dangerouslyWithoutCsrf?: boolean
  readonly clock?: Clock
}

/** Of whom sessions are listed, or ended. */
export interface SessionOwner {
  readonly subject: string
  readonly issuer?: string | undefined
}

const KNOWN = ['middleware', 'store', 'secret', 'name', 'user', 'freshMs', 'recheckMs', 'touchEveryMs', 'timeoutMs', 'rotateEveryMs', 'graceMs', 'renewPath', 'concurrent', 'watch', 'gateStore', 'dangerouslyWithoutCsrf', 'clock']
const TIMES = ['freshMs', 'recheckMs', 'touchEveryMs', 'timeoutMs', 'rotateEveryMs', 'graceMs'] as const
const MAX_MS = 2_147_483_647
const METHODS = ['get', 'set', 'destroy', 'createSession', 'regenerate'] as const

/** @throws ConfigError that says which option is wrong, and what to write instead */
export function checkOptions(options: SessionsOptions<any>): void {
  if (typeof options !== 'object' || options === null) throw new ConfigError(`sessions takes options such as { middleware, store, secret }; got ${describe(options)}.`)
  const unknown = Object.keys(options).find((key) => !KNOWN.includes(key))
  if (unknown !== undefined) throw new ConfigError(`sessions: unknown option "${unknown}". The options are ${KNOWN.join(', ')}.`)
  const { middleware, store, user, renewPath, concurrent, watch, gateStore } = options as { readonly [Key in keyof SessionsOptions]?: unknown }
  if (typeof middleware !== 'function') throw new ConfigError(`sessions: middleware is what session({ ... }) of express-session made; got ${describe(middleware)}.`)
  if (!METHODS.every((method) => typeof (store as Partial<SessionStore> | undefined)?.[method] === 'function')) {
    throw new ConfigError('sessions: store is a store of express-session, the very one that the middleware was made with. Where that was made without one, make it: new session.MemoryStore().')
  }
  if (typeof (store as SessionStore).generate !== 'function') throw new ConfigError('sessions: this store is not the one that the middleware was made with: session({ store, ... }) and sessions({ store, ... }) take the same.')
  if (user !== undefined && typeof user !== 'function') throw new ConfigError(`sessions: user is a function (data) => ({ subject }) | undefined; got ${describe(user)}.`)
  for (const name of TIMES) {
    const value: unknown = options[name]
    if (value !== undefined && !(typeof value === 'number' && value >= 1 && value <= MAX_MS)) throw new ConfigError(`sessions: ${name} is a number of milliseconds from 1 to ${MAX_MS}; got ${describe(value)}.`)
  }
  if (options.rotateEveryMs !== undefined && options.graceMs !== undefined && options.graceMs > options.rotateEveryMs * 10) {
    throw new ConfigError('sessions: graceMs is longer than ten times rotateEveryMs. Only the preceding id has grace: make it the time that a slow request takes.')
  }
  if (renewPath !== undefined && !(typeof renewPath === 'string' && /^(?:\/(?!\.{0,2}(?:\/|$))[\w\-.~]+)+$/.test(renewPath))) {
    throw new ConfigError(`sessions: renewPath is a path such as '/session/renew'; got ${describe(renewPath)}.`)
  }
  if (concurrent !== undefined) checkConcurrent(concurrent)
  if (watch !== undefined && typeof watch !== 'function') throw new ConfigError(`sessions: watch is a function (gone) => stop; got ${describe(watch)}.`)
  const { enlist } = (gateStore ?? {}) as Partial<Store>
  if (gateStore !== undefined && typeof enlist !== 'function') throw new ConfigError('sessions: gateStore is the store that the gates have: guard(io, { store }).')
}

function checkConcurrent(concurrent: unknown): void {
  const { limit, full, ...rest } = (typeof concurrent === 'object' && concurrent !== null ? concurrent : {}) as Record<string, unknown>
  if (!Number.isInteger(limit) || (limit as number) < 1 || (full !== 'refuse' && full !== 'end-oldest') || Object.keys(rest).length > 0) {
    throw new ConfigError("sessions: concurrent is { limit, full }, with a whole number of 1 or more, and 'refuse' or 'end-oldest'.")
  }
}

/** @throws TypeError for what is nobody */
export function checkOwner(owner: unknown): void {
  const { subject, issuer } = (typeof owner === 'object' && owner !== null ? owner : {}) as { readonly subject?: unknown; readonly issuer?: unknown }
  if (typeof subject !== 'string' || subject === '' || (issuer !== undefined && typeof issuer !== 'string')) throw new TypeError('sessions are those of { subject, issuer? }.')
}

/** The secrets as text, to make keys from. */
export function textsOf(secrets: readonly Secret[]): readonly string[] {
  return secrets.map((secret) => (typeof secret === 'string' ? secret : `bytes:${Buffer.from(types.isKeyObject(secret) ? secret.export() : secret).toString('base64')}`))
}
