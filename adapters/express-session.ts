import type { IncomingMessage } from 'node:http'
import { ATTACH, BESIDE } from '../lib/attach.ts'
import type { Attachment, GateControls } from '../lib/attach.ts'
import { fromCookie } from '../lib/carriers.ts'
import { systemClock } from '../lib/clock.ts'
import type { EventContext, RequestContext } from '../lib/context.ts'
import { controlsWithoutGate } from '../lib/controls.ts'
import type { Hook, Policy } from '../lib/policy.ts'
import type { NOBODY, CredentialReader, Principal, Scheme } from '../lib/principal.ts'
import { Changes } from './express-session/changes.ts'
import type { Entry, Who } from './express-session/directory.ts'
import { Engine } from './express-session/engine.ts'
import { sessionHandler } from './express-session/handler.ts'
import type { SessionHandler } from './express-session/handler.ts'
import { Keeper } from './express-session/keeper.ts'
import type { LiveSession } from './express-session/live-session.ts'
import { checkOptions, checkOwner, textsOf } from './express-session/options.ts'
import type { SessionOwner, SessionsOptions } from './express-session/options.ts'
import { SessionHooks } from './express-session/policy.ts'
import type { SessionData } from './express-session/record.ts'
import { Rotation } from './express-session/rotation.ts'
import { cookieWarnings, settingsOf } from './express-session/settings.ts'
import { secretsOf } from './express-session/signed-cookie.ts'
import { defaultUser } from './express-session/speaker.ts'
import type { UserOf } from './express-session/speaker.ts'
import type { SessionRequest, SessionStore } from './express-session/store.ts'
import { tap } from './express-session/tap.ts'

export { secureCookie } from './express-session/secure-cookie.ts'
export type { SecureCookie, SecureCookieOptions } from './express-session/secure-cookie.ts'
export type { SessionHandler } from './express-session/handler.ts'
export type { LiveSession } from './express-session/live-session.ts'
export type { SessionOwner, SessionsOptions } from './express-session/options.ts'
export type { SessionData } from './express-session/record.ts'
export type { SessionUser } from './express-session/speaker.ts'
export type { SessionMiddleware, SessionStore } from './express-session/store.ts'

/** One session in a list. */
export type SessionListing = Entry

/** What {@link Sessions.policy} makes. */
export interface SessionPolicy<Fact> extends Policy<object, { session: Fact }> {
  readonly request: Hook<RequestContext>
  readonly event: Hook<EventContext>
}

/** Sessions of express-session that live sockets agree with. */
export interface Sessions<Data extends SessionData = SessionData> {
  /** For `authenticate`: the session's user becomes the principal. */
  scheme(): Scheme<any, Principal | typeof NOBODY>
  /** Binds each peer to its session, and gives that as `peer.session`. Stands behind `authenticate`. A peer without one is refused, unless `optional`. */
  policy(options?: { readonly optional?: false }): SessionPolicy<LiveSession<Data>>
  policy(options: { readonly optional: boolean }): SessionPolicy<LiveSession<Data> | undefined>
  /** For the application, behind its session middleware or in the place of it: gives sessions new ids, and answers renewal tickets. */
  readonly handler: SessionHandler
  /** The cookie, as `csrf({ session })` asks for it. */
  readonly cookie: CredentialReader
  /** The sessions of one user, oldest first. @throws Denied `UNAVAILABLE` (rejects) where a store does not answer */
  list(owner: SessionOwner): Promise<readonly SessionListing[]>
  /** Ends a session by its lineage: the HTTP session, and every socket. @returns whether there was one */
  end(id: string, options: { readonly reason: string }): Promise<boolean>
  /** Ends all sessions of one user. @param options `except`: the lineage to spare, such as that of whoever asks @returns how many */
  endAll(owner: SessionOwner, options: { readonly reason: string; readonly except?: string | undefined }): Promise<number>
  /** The lineage of the session a request has; undefined where it has none that is kept. */
  idOf(request: IncomingMessage): string | undefined
}

/** Stores that are watched already: gates in one process may share one. */
const engines = new WeakMap<SessionStore, { readonly engine: Engine; readonly changes: Changes }>()

/**
 * Makes the sessions of an application that uses express-session and the live sockets of its users agree: a session that is regenerated keeps its
 * sockets, one that ends closes them, and nothing that a socket does brings it back (ASVS 5.0 7.2 to 7.4). The application need not be
 * changed: what it does to its sessions is noticed at their store.
 *
 * @example
 * const live = sessions({ middleware, store, secret, name: '__Host-sid' })
 * app.use(middleware).use(live.handler)
 * guard(io).use(csrf({ origins, secret, session: live.cookie })).use(authenticate(live.scheme())).use(live.policy())
 * @throws ConfigError for a bad option, and for a store that the middleware was not made with
 */
export function sessions<Data extends SessionData = SessionData>(options: SessionsOptions<Data>): Sessions<Data> {
  checkOptions(options)
  const { middleware, store, name = 'connect.sid', user = defaultUser, gateStore, watch, clock = systemClock, renewPath = '/session/renew', touchEveryMs = 60_000 } = options
  const secrets = secretsOf(options.secret, 'sessions')
  const cookie = fromCookie(name, { dangerouslyWithoutCsrf: options.dangerouslyWithoutCsrf === true })

  const { engine, changes } = engineOf(store, {
    store,
    userOf: user as UserOf,
    secrets: textsOf(secrets),
    clock,
    timeoutMs: options.timeoutMs ?? 2_000,
    rotateEveryMs: options.rotateEveryMs,
    graceMs: options.graceMs ?? 30_000,
    touchEveryMs,
    concurrent: options.concurrent,
  })
  const rotation = new Rotation(engine, changes, { name, secret: secrets[0]! })
  const keeper = new Keeper(engine, changes, {
    rotation,
    freshMs: options.freshMs ?? 5_000,
    recheckMs: watch === undefined ? (options.recheckMs ?? 30_000) : Infinity,
    touchEveryMs,
    renewPath,
  })
  engine.watchers.add(keeper)
  const hooks = new SessionHooks(keeper, { name, secrets, reader: cookie })

  const weak = cookieWarnings(settingsOf(store), name)
  for (const warning of weak) process.emitWarning(warning, { code: 'PORTCULLIS_SESSION_COOKIE' })
  const warnings = (): readonly string[] =>
    engine.careless ? [...weak, 'sessions: a user has signed in under the id that a visitor had (session fixation). Call request.session.regenerate() before the user is put into the session.'] : weak

  let stopWatching: (() => void) | undefined
  if (gateStore !== undefined) engine.attach(controlsWithoutGate(gateStore, clock))
  const attach = (controls: GateControls): Attachment => {
    const part = engine.attach(controls)
    const leave = keeper.attach(controls.agenda)
    stopWatching ??= watch?.((id) => keeper.gone(id))
    return {
      revoked: (sought) => engine.revoked(sought),
      warnings,
      close() {
        part()
        if (!leave()) return
        stopWatching?.()
        stopWatching = undefined
      },
    }
  }

  /** What the scheme and the policy know each other by. */
  const own = {}
  const scheme: Scheme<any, Principal | typeof NOBODY> = {
    name: 'session',
    ...hooks.scheme(),
    [BESIDE]: [{ needs: own, instead: 'authenticate has the scheme of sessions(...), which binds nothing by itself. Declare use(live.policy()) behind it.' }],
  }
  const policy = ({ optional = false }: { readonly optional?: boolean } = {}): SessionPolicy<any> =>
    ({
      name: 'sessions',
      request: (ctx, next) => hooks.request(ctx, next),
      connect: (ctx, next) => hooks.connect(ctx, next, optional),
      event: (ctx, next) => hooks.event(ctx, next),
      [ATTACH]: attach,
      [BESIDE]: [{ is: own }],
    }) as SessionPolicy<any>

  const end = async (id: string, reason: string): Promise<boolean> => {
    const place = await engine.directory.find(id)
    const ids = keeper.idsOf(id)
    if (place === undefined && ids.length === 0) return false
    await engine.end(id, { reason, advice: 'after-credential' }, place?.sid === undefined ? ids : [...ids, place.sid], place?.who)
    return true
  }
  const list = (owner: SessionOwner): Promise<readonly Entry[]> => engine.directory.list(whoOf(owner), engine.isAlive)

  return {
    scheme: () => scheme,
    policy: policy as Sessions<Data>['policy'],
    handler: sessionHandler(engine, rotation, middleware, renewPath),
    cookie,
    list,
    end: (id, { reason }) => end(id, reason),
    async endAll(owner, { reason, except }) {
      const those = (await list(owner)).filter(({ id }) => id !== except)
      const ended = await Promise.all(those.map(({ id }) => end(id, reason)))
      return ended.filter(Boolean).length
    },
    idOf: (request) => engine.originOf((request as SessionRequest).session)?.mark.lineage,
  }
}

function engineOf(store: SessionStore, options: ConstructorParameters<typeof Engine>[0]): { readonly engine: Engine; readonly changes: Changes } {
  const known = engines.get(store)
  if (known !== undefined) {
    known.engine.checkSame(options)
    return known
  }
  const engine = new Engine(options)
  const changes = new Changes(engine)
  engines.set(store, { engine, changes })
  tap(store, engine, changes)
  return { engine, changes }
}

function whoOf(owner: SessionOwner): Who {
  checkOwner(owner)
  return { subject: owner.subject, issuer: owner.issuer }
}
