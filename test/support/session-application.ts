import { createServer } from 'node:http'
import express, { type NextFunction, type Request, type Response } from 'express'
import session from 'express-session'
import { guard, memoryStore, type Gate, type GuardOptions, type Principal } from 'portcullis'
import { sessions, type LiveSession, type SessionsOptions } from 'portcullis/adapters/express-session'
import { authenticate, csrf } from 'portcullis/policies'
import { Server, type ServerOptions, type Socket } from 'socket.io'
import { PAGE } from './browser.ts'
import { withPassport } from './session-passport.ts'
import { SECRET } from './session-cookies.ts'
import { backing, type Backing, type Kind } from './session-stores.ts'
import { expectedRefusal } from './credentials.ts'
import { closeAfterTest, Latch, listen, watch } from './server.ts'

/** What the application keeps in a session. */
export interface Data {
  user?: { readonly id: string; readonly role?: string } | undefined
  passport?: { readonly user?: { readonly id: string; readonly role?: string } }
  [key: string]: unknown
}

export type Facts = { readonly principal: Principal | undefined; readonly session: LiveSession<Data> | undefined }

export interface Settings {
  readonly live?: Partial<SessionsOptions>
  readonly guarding?: GuardOptions
  readonly serving?: Partial<ServerOptions>
  /** Who has no session, or has not signed in, may enter as nobody. */
  readonly optional?: boolean
  readonly withCsrf?: boolean
  readonly withPassport?: boolean
  /** Where the application reads bodies: before the handler, which then finds its own one read, or after it. */
  readonly parsing?: 'before' | 'after'
  /** A web server whose sockets are elsewhere. */
  readonly withoutGate?: boolean
  /** Mounts the handler in the place of express-session's middleware. */
  readonly handlerAlone?: boolean
  /** Of express-session. */
  readonly session?: Partial<session.SessionOptions>
  /** First of all policies. */
  readonly first?: (gate: Gate) => unknown
  /** After the policies of the session. */
  readonly declare?: (gate: Gate<Facts>) => unknown
}

const CSRF_SECRET = 'the secret of the csrf tokens of an application'

/** Who a session belongs to: by hand, or by passport. */
export const userOf = ({ passport, user: own }: Data): { subject: string; claims: { role?: string } } | undefined => {
  const user = passport?.user ?? own
  return user && { subject: user.id, claims: user.role === undefined ? {} : { role: user.role } }
}

/** An Express application with sessions and a Socket.IO server behind a gate, as one process has them. */
export async function application(where: Kind | Backing, settings: Settings = {}) {
  const { live: terms, guarding, serving, optional = false, withCsrf = false, parsing = 'after', first, declare } = settings
  const kept = typeof where === 'string' ? await backing(where) : where
  const store = await kept.store()
  const middleware = session({ name: 'sid', secret: SECRET, store, resave: false, saveUninitialized: false, cookie: { httpOnly: true, sameSite: 'lax' }, ...settings.session })
  const [live, warned] = quietly(() => sessions({ middleware, store, secret: SECRET, name: 'sid', user: userOf as never, ...(withCsrf ? {} : { dangerouslyWithoutCsrf: true as const }), ...terms } as SessionsOptions))
  const sameSite = csrf({ origins: [PAGE], secret: CSRF_SECRET, session: live.cookie })

  const app = express()
  const http = createServer(app)
  const io = new Server(http, { serveClient: false, ...serving })
  const gate = settings.withoutGate ? undefined : declared()
  function declared(): Gate<Facts> {
    const opening = guard(io, { undeclared: 'allow', ...guarding })
    first?.(opening)
    if (withCsrf) opening.use(sameSite)
    const identified = opening.use(authenticate(live.scheme(), { optional } as { optional: true })).use(live.policy({ optional })) as unknown as Gate<Facts>
    declare?.(identified)
    return identified
  }

  if (parsing === 'before') app.use(express.json())
  if (!settings.handlerAlone) app.use(middleware)
  app.use(live.handler)
  if (parsing === 'after') app.use(express.json())
  if (settings.withPassport) withPassport(app)

  /** Holds `/slow-set` after it has changed its session and before it saves it. */
  const hold = { begun: new Latch(), go: new Latch() }
  /** What is to happen in the tick in which a session has been destroyed. */
  const hooks = { destroyed: (): void => {} }
  pages(app, { live, sameSite, hold, hooks })

  const sockets: Socket[] = []
  const handled: unknown[] = []
  for (const name of ['/', '/admin']) {
    io.of(name).on('connection', (socket) => {
      sockets.push(socket)
      handle(socket, () => gate!.peerOf(socket), handled)
    })
  }
  const seen = watch(gate ?? { on: () => {} })
  const port = await listen(http)
  closeAfterTest(async () => {
    await io.close()
    await gate?.close()
  })
  return { app, http, io, gate: gate!, live, port, url: `http://127.0.0.1:${port}`, backing: kept, store, warned, sameSite, seen, sockets, handled, hold, hooks }
}

/** Runs with warnings kept apart: the cookies of these tests go over plain http, which each application is warned of. */
function quietly<T>(run: () => T): [T, readonly string[]] {
  const { emitWarning } = process
  const warned: string[] = []
  process.emitWarning = (warning: string | Error) => void warned.push(String(warning))
  try {
    return [run(), warned]
  } finally {
    process.emitWarning = emitWarning
  }
}

export type Application = Awaited<ReturnType<typeof application>>

const dataOf = (request: Request): Data => request.session as unknown as Data

/** The part of express-session's callbacks that is a promise. */
const done = (run: (callback: (error?: unknown) => void) => unknown): Promise<void> => new Promise((resolve, reject) => void run((error) => (error ? reject(error) : resolve())))

/** A handler whose answer is 204, unless it gives another one. */
const answer = (work: (request: Request, response: Response) => unknown) => async (request: Request, response: Response, next: NextFunction) => {
  try {
    const body = await work(request, response)
    if (response.headersSent) return
    if (body === undefined) response.sendStatus(204)
    else response.json(body)
  } catch (error) {
    next(error)
  }
}

type Inner = Pick<Application, 'live' | 'sameSite' | 'hold' | 'hooks'>

function pages(app: express.Express, { live, sameSite, hold, hooks }: Inner): void {
  const ownerOf = (request: Request): { subject: string } => ({ subject: userOf(dataOf(request))?.subject ?? 'nobody' })
  const signIn = (request: Request): Data['user'] => {
    const { user, role } = request.body as { user: string; role?: string }
    return { id: user, ...(role === undefined ? {} : { role }) }
  }
  const set = (request: Request): void => {
    const { key, value } = request.body as { key: string; value: unknown }
    dataOf(request)[key] = value
  }

  app.get('/me', answer((request) => ({ ...(request.session as object), cookie: undefined, lineage: live.idOf(request) })))
  app.get('/touch', answer(() => undefined))
  app.post(
    '/login',
    answer(async (request) => {
      await done((callback) => request.session.regenerate(callback))
      dataOf(request).user = signIn(request)
      await done((callback) => request.session.save(callback))
    }),
  )
  app.post(
    '/login-carelessly',
    answer(async (request) => {
      dataOf(request).user = signIn(request)
      await done((callback) => request.session.save(callback))
    }),
  )
  app.post(
    '/logout',
    answer(async (request) => {
      const destroyed = done((callback) => request.session.destroy(callback))
      hooks.destroyed()
      await destroyed
    }),
  )
  app.post('/logout-by-regenerate', answer((request) => done((callback) => request.session.regenerate(callback))))
  app.post(
    '/regenerate',
    answer(async (request) => {
      const { cookie: _, ...data } = request.session
      await done((callback) => request.session.regenerate(callback))
      Object.assign(request.session, data)
    }),
  )
  app.post(
    '/role',
    answer(async (request) => {
      const { role, regenerate } = request.body as { role: string; regenerate?: boolean }
      const { cookie: _, ...data } = request.session
      if (regenerate) await done((callback) => request.session.regenerate(callback))
      Object.assign(request.session, data, { user: { ...dataOf(request).user, ...(data as unknown as Data).user, role } })
    }),
  )
  app.post('/logout-by-null', answer((request) => void Object.assign(request, { session: null })))
  app.post('/forget-user', answer((request) => void delete dataOf(request).user))
  app.post('/set', answer(set))
  app.post(
    '/slow-set',
    answer(async (request) => {
      set(request)
      hold.begun.open()
      await hold.go.opened
    }),
  )
  app.get('/csrf', answer((request) => ({ token: sameSite.tokenFor(request) })))
  app.get('/sessions', answer((request) => live.list(ownerOf(request))))
  app.delete(
    '/sessions/:id',
    answer(async (request) => {
      const id = String(request.params['id'])
      const own = await live.list(ownerOf(request))
      return { ended: own.some((each) => each.id === id) && (await live.end(id, { reason: 'ended by its user' })) }
    }),
  )
  app.post(
    '/sessions/end-others',
    answer(async (request) => {
      const own = live.idOf(request)
      return { ended: await live.endAll(ownerOf(request), { reason: 'signed out elsewhere', ...(own === undefined ? {} : { except: own }) }) }
    }),
  )
}

function handle(socket: Socket, peer: () => Facts, handled: unknown[]): void {
  type Ack = (answer: unknown) => void
  const own = (): LiveSession<Data> => peer().session!

  socket.on('say', (what: unknown, ack?: Ack) => {
    handled.push(what)
    ack?.(what)
  })
  socket.on('peer', (ack: Ack) => {
    const { principal, session: now } = peer()
    ack({ subject: principal?.subject ?? null, claims: principal?.claims ?? null, id: now?.id ?? null, data: now?.data ?? null })
  })
  socket.on('set', async (fields: object, ack: Ack) => {
    await own().update((data) => void Object.assign(data, fields))
    ack('set')
  })
  socket.on('add', async (key: string, ack: Ack) => ack((await own().update((data) => void (data[key] = Number(data[key] ?? 0) + 1)))[key]))
  socket.on('regenerate', async (ack: Ack) => ack((await own().regenerate()) ?? 'regenerated'))
  socket.on('end', async (ack: Ack) => ack((await own().end('signed out on a page')) ?? 'ended'))
}

/** Asks the application who a socket is. */
export const peerOf = (socket: { emitWithAck(event: string): Promise<any> }): Promise<{ subject: string | null; claims: any; id: string | null; data: Data | null }> => socket.emitWithAck('peer')

/** Two processes of one application: each with a client of its own where the sessions are, and a store their gates share. */
export async function twoNodes(where: Kind | Backing, settings: Settings = {}, ofTheOther: Settings = {}): Promise<[Application, Application]> {
  const kept = typeof where === 'string' ? await backing(where) : where
  const shared = { ...settings, guarding: { store: memoryStore(), ...settings.guarding } }
  return [await application(kept, shared), await application(kept, { ...shared, ...ofTheOther })]
}

/** What a client is told when its session lets it go. */
export const closing = (reason: string, reconnect: 'now' | 'never' | 'after-credential'): object => ({ ...expectedRefusal('REVOKED', { details: { reason }, ...(reconnect === 'now' ? { retryAfterMs: 500 } : {}) }), reconnect })

/** Waits for what only asking tells. @throws when it has not come true for half a minute */
export async function eventually(condition: () => Promise<boolean>): Promise<void> {
  const end = Date.now() + 30_000
  while (!(await condition())) if (Date.now() > end) throw new Error(`never came true: ${String(condition)}`)
}
