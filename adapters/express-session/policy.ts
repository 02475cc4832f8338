import { CARRIERS, carriersOf } from '../../lib/carriers.ts'
import type { ConnectContext, EventContext, Handshake, Opener, RequestContext } from '../../lib/context.ts'
import { isThenable } from '../../lib/compose.ts'
import { Denied } from '../../lib/errors.ts'
import type { Awaitable, Next } from '../../lib/policy.ts'
import { NOBODY } from '../../lib/principal.ts'
import type { CredentialReader, Principal, Scheme } from '../../lib/principal.ts'
import type { Keeper } from './keeper.ts'
import type { Bound, Lineage } from './lineage.ts'
import { PeerSession } from './live-session.ts'
import { isSessionId } from './record.ts'
import { sessionIdOf } from './signed-cookie.ts'
import type { Secret } from './signed-cookie.ts'

/** Where the cookie is, and what it is signed with. */
export interface CookieTerms {
  readonly name: string
  readonly secrets: readonly Secret[]
  /** `fromCookie(name)`. */
  readonly reader: CredentialReader
}

const RETRY_MS = 1_000

/** A session that was read for a handshake, and who it spoke for then. */
interface Read {
  readonly lineage: Lineage
  readonly version: number
}

/** The session an engine session was opened with: ids change, and the lineage stays. */
interface Opening {
  readonly id: string | undefined
  lineage: string | undefined
}

interface Connection {
  readonly atMs: number
  lineage?: string
  /** Where that was last. */
  id?: string
}

/** What a gate asks about sessions. */
export class SessionHooks {
  readonly #keeper: Keeper
  readonly #cookie: CookieTerms
  /** What has been read for a handshake already, so that the scheme and the policy ask the store once. */
  readonly #read = new WeakMap<Handshake, Promise<Read | undefined>>()
  readonly #bound = new WeakMap<PeerSession, Bound>()
  readonly #openers = new WeakMap<Opener, Opening>()
  /** Of the request that has opened a connection: when it came, and what its session has become. Its cookie is not looked at twice. */
  readonly #connections = new WeakMap<object, Connection>()

  constructor(keeper: Keeper, cookie: CookieTerms) {
    this.#keeper = keeper
    this.#cookie = cookie
  }

  scheme(): Pick<Scheme<string | PeerSession, Principal | typeof NOBODY>, 'read' | 'verify'> {
    const read = (ctx: ConnectContext): string | PeerSession | undefined => {
      if (ctx.cause === 'connect' || ctx.cause === 'recover') return this.#idOf(ctx.headers.cookie)
      return this.#sessionOf(ctx.before)
    }
    return {
      read: Object.assign(read, { [CARRIERS]: carriersOf(this.#cookie.reader) }),
      verify: async (_credential, ctx) => {
        const found = await this.#load(ctx)
        return found === undefined ? NOBODY : principalOf(found.lineage)
      },
    }
  }

  async connect(ctx: ConnectContext, next: (facts: { session: PeerSession | undefined }) => Awaitable, optional: boolean): Promise<void> {
    const found = await this.#load(ctx)
    if (found === undefined) {
      if (!optional) throw new Denied('UNAUTHENTICATED', undefined, 'sessions: no session')
      return next({ session: undefined })
    }
    const { lineage, version } = found
    const session = this.#keeper.session(lineage)
    let bound: Bound | undefined
    let isOver = false
    ctx.onClose(() => {
      isOver = true
      if (bound !== undefined) lineage.unbind(bound)
    })
    // Who a peer is holds in observe mode, too.
    ctx.onEntered((presence) => {
      if (isOver) return
      PeerSession.enter(session, presence)
      bound = lineage.bind(presence, version, { address: ctx.address, userAgent: ctx.headers['user-agent'] })
      if (bound !== undefined) this.#bound.set(session, bound)
    }, true)
    return next({ session })
  }

  event(ctx: EventContext, next: Next): Awaitable {
    const session = this.#sessionOf(ctx.peer)
    if (session === undefined) return next()
    const lineage = PeerSession.lineageOf(session)!
    const wait = lineage.ready(ctx.now)
    if (wait === undefined) return this.#goOn(session, lineage, ctx, next)
    return wait.then(() => {
      // Who it is, or what that is worth, may have been found to be something else.
      ctx.rebase()
      return this.#goOn(session, lineage, ctx, next)
    })
  }

  #goOn(session: PeerSession, lineage: Lineage, { now }: EventContext, next: Next): Awaitable {
    const agreed = next()
    const active = (): void => {
      const bound = this.#bound.get(session)
      if (bound !== undefined) lineage.active(bound, now)
    }
    if (isThenable(agreed)) return agreed.then(active)
    active()
  }

  /** A later request of an engine session comes with the session that this was opened with, under the id that it has now (or had a moment ago). */
  request(ctx: RequestContext, next: Next): Awaitable {
    const { opener } = ctx
    if (opener === undefined) {
      this.#connections.set(ctx.request, { atMs: ctx.now })
      return next()
    }
    const opening = this.#openedWith(opener)
    if (opening.id === undefined) return next()
    const id = this.#idOf(ctx.headers.cookie)
    const lineage = opening.lineage === undefined ? this.#keeper.at(opening.id) : this.#keeper.of(opening.lineage)
    opening.lineage ??= lineage?.id
    if (lineage === undefined ? id === opening.id : id !== undefined && lineage.accepts(id, ctx.now)) return next()
    // Its peers are closed. What is left to be fetched is what they were told at last.
    if (opening.lineage !== undefined && (lineage === undefined || lineage.ended !== undefined) && ctx.method === 'GET' && !ctx.upgrade) return next()
    if (id === undefined || lineage === undefined || lineage.ended !== undefined) throw foreign()
    // It may have got a new id on another node, a moment ago.
    return lineage.look().then(() => {
      if (!lineage.accepts(id, ctx.now)) throw foreign()
      return next()
    })
  }

  #openedWith(opener: Opener): Opening {
    const known = this.#openers.get(opener)
    if (known !== undefined) return known
    let id: string | undefined
    try {
      const value = opener.cookie(this.#cookie.name)
      id = value === undefined ? undefined : this.#idOf(`${this.#cookie.name}=${value}`)
    } catch {
      // There twice: no session.
    }
    const opening: Opening = { id, lineage: undefined }
    this.#openers.set(opener, opening)
    return opening
  }

  #idOf(header: string | undefined): string | undefined {
    const id = sessionIdOf(header, this.#cookie.name, this.#cookie.secrets)
    return isSessionId(id) ? id : undefined
  }

  #sessionOf(facts: object | undefined): PeerSession | undefined {
    const session: unknown = (facts as { readonly session?: unknown } | undefined)?.session
    return session instanceof PeerSession ? session : undefined
  }

  /** The session of whoever is being decided about: read once, and held until the decision is over. */
  #load(ctx: ConnectContext): Promise<Read | undefined> {
    const known = this.#read.get(ctx.handshake)
    if (known !== undefined) return known
    const reading = this.#readFor(ctx).catch((error: unknown) => {
      throw error instanceof Denied ? error : new Denied('UNAVAILABLE', undefined, error)
    })
    this.#read.set(ctx.handshake, reading)
    return reading
  }

  async #readFor(ctx: ConnectContext): Promise<Read | undefined> {
    if (ctx.cause === 'refresh' || ctx.cause === 'reauthorize') return this.#readAgain(ctx)
    const connection = this.#connectionOf(ctx)
    if (connection.lineage !== undefined) return this.#readBeside(ctx, connection.lineage, connection.id!)
    const id = this.#idOf(ctx.headers.cookie)
    const lineage = id === undefined ? undefined : await this.#keeper.read(async () => (await this.#keeper.engine.open(id, connection.atMs))?.entry)
    if (lineage === undefined) return undefined
    connection.lineage = lineage.id
    connection.id = lineage.currentId
    return held(ctx, lineage)
  }

  /** Another namespace on a connection that is open: the session goes by the id that it has by now, whatever the first request had. */
  async #readBeside(ctx: ConnectContext, lineage: string, id: string): Promise<Read | undefined> {
    const now = await this.#keeper.read(async () => {
      const now = await this.#keeper.engine.current(this.#keeper.of(lineage)?.currentId ?? id, lineage)
      if (now === 'moving') throw new Denied('UNAVAILABLE', { retryAfterMs: RETRY_MS }, 'sessions: the session is about to get another id')
      return now
    })
    return now === undefined ? undefined : held(ctx, now)
  }

  #connectionOf({ request, now }: ConnectContext): Connection {
    const known = request === undefined ? undefined : this.#connections.get(request)
    if (known !== undefined) return known
    const connection: Connection = { atMs: now }
    if (request !== undefined) this.#connections.set(request, connection)
    return connection
  }

  async #readAgain(ctx: ConnectContext): Promise<Read | undefined> {
    const session = this.#sessionOf(ctx.before)
    if (session === undefined) return undefined
    const lineage = PeerSession.lineageOf(session)!
    await lineage.look()
    if (lineage.ended !== undefined) throw new Denied('UNAUTHENTICATED', undefined, lineage.ended.reason)
    return held(ctx, lineage)
  }
}

/** It stays until the decision is over, and the peer gone. */
function held(ctx: ConnectContext, lineage: Lineage): Read {
  ctx.onClose(lineage.hold())
  return { lineage, version: lineage.version }
}

function principalOf({ id, speaker }: Lineage): Principal | typeof NOBODY {
  if (speaker === undefined) return NOBODY
  const { subject, issuer, claims = {}, factors = [] } = speaker.user
  // When a session ends, its store knows: it is asked, and the peer is closed.
  return { subject, ...(issuer === undefined ? {} : { issuer }), claims, expiresAtMs: 'never', tokenId: id, factors }
}

function foreign(): Denied {
  return new Denied('FORBIDDEN', undefined, 'sessions: the connection was opened with another session')
}
