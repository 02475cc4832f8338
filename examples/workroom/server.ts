import { randomUUID } from 'node:crypto'
import { createServer, type Server as HttpServer } from 'node:http'
import { fileURLToPath } from 'node:url'
import express, { type Express, type Request, type RequestHandler } from 'express'
import session from 'express-session'
import { Server, type DefaultEventsMap, type Socket } from 'socket.io'
import { createData, type Account, type ChatMessage, type WorkroomData } from './data.ts'
import { issueToken, subjectOf } from './tokens.ts'

declare module 'express-session' {
  interface SessionData {
    /** The account that is signed in. */
    user: string
  }
}

interface SocketData {
  user: Account
  documentId?: string
}

export type WorkroomServer = Server<DefaultEventsMap, DefaultEventsMap, DefaultEventsMap, SocketData>
export type WorkroomSocket = Socket<DefaultEventsMap, DefaultEventsMap, DefaultEventsMap, SocketData>

export interface WorkroomOptions {
  /** The key tokens are signed with. */
  readonly secret: Uint8Array
  /** What the ids of sessions are signed with. */
  readonly sessionSecret: string
  /** Which account a socket speaks for. By default that of the token it has brought, which is verified here. */
  readonly identify?: ((socket: WorkroomSocket) => string) | undefined
}

/** How the application keeps its sessions. */
export interface WorkroomSessions {
  readonly name: string
  readonly secret: string
  readonly store: session.Store
  readonly middleware: RequestHandler
}

export interface Workroom {
  readonly app: Express
  readonly httpServer: HttpServer
  readonly io: WorkroomServer
  readonly data: WorkroomData
  readonly sessions: WorkroomSessions
  /** Whom a request speaks for: the owner of the token it brings, or else the user of its session. */
  accountOf(request: Request): Promise<Account | undefined>
  close(): Promise<void>
}

/**
 * The application as its team wrote it, long before it heard of a gate: Express for the page and the sign-in, Socket.IO
 * for everything live. It works, and it trusts its own page.
 */
export function createWorkroom({ secret, sessionSecret, identify }: WorkroomOptions): Workroom {
  const data = createData()
  const sessions = createSessions(sessionSecret)
  const { accounts, documents, messages } = data
  const app = express()
  const httpServer = createServer(app)
  const io: WorkroomServer = new Server(httpServer)

  app.disable('x-powered-by')
  app.use((_request, response, next) => {
    response.setHeader('Content-Security-Policy', "default-src 'self'; base-uri 'none'; frame-ancestors 'none'")
    next()
  })
  app.use(express.json())
  app.use(express.static(fileURLToPath(new URL('./public', import.meta.url))))
  app.use(sessions.middleware)

  app.get('/accounts', (_request, response) => {
    response.json([...accounts.values()].map(({ id, name, tenant, role }) => ({ id, name, tenant, role })))
  })

  app.get('/documents', (_request, response) => {
    response.json([...documents.values()].map(({ id, tenant, title }) => ({ id, tenant, title })))
  })

  // A demonstration: whoever asks is who they say. The page says so as well.
  const claimed = (request: Request): Account | undefined => {
    const { user } = (request.body ?? {}) as { user?: unknown }
    return typeof user === 'string' ? accounts.get(user) : undefined
  }

  // For pages: a session.
  app.post('/login', (request, response, next) => {
    const account = claimed(request)
    if (account === undefined) return void response.status(401).json({ message: 'No such account' })
    // Under a new id: one that somebody has planted in a browser is worth nothing after a sign-in.
    request.session.regenerate((error: unknown) => {
      if (error) return next(error)
      request.session.user = account.id
      request.session.save((failure: unknown) => (failure ? next(failure) : response.status(204).end()))
    })
  })

  app.post('/logout', (request, response, next) => {
    request.session.destroy((error: unknown) => (error ? next(error) : response.clearCookie(sessions.name).status(204).end()))
  })

  app.get('/me', (request, response) => {
    response.setHeader('cache-control', 'no-store')
    response.json({ user: request.session.user ?? null })
  })

  // For programs: a token to connect with.
  app.post('/token', async (request, response) => {
    const account = claimed(request)
    if (account === undefined) return void response.status(401).json({ message: 'No such account' })
    response.json({ token: await issueToken(secret, account) })
  })

  const accountOf = async ({ headers, session: { user } }: Request): Promise<Account | undefined> => {
    const token = /^Bearer (.+)$/.exec(headers.authorization ?? '')?.[1]
    const id = token === undefined ? user : await subjectOf(secret, token).catch(() => undefined)
    return accounts.get(id ?? '')
  }

  const subjectFor = async (socket: WorkroomSocket): Promise<string | undefined> =>
    identify === undefined ? subjectOf(secret, (socket.handshake.auth as { token: string }).token) : identify(socket)

  io.use((socket, next) => {
    subjectFor(socket).then(
      (id) => {
        const user = accounts.get(id ?? '')
        if (user === undefined) return next(new Error('No such account'))
        socket.data.user = user
        next()
      },
      (error: Error) => next(error),
    )
  })

  const announceRoster = () => {
    const here = new Map([...io.sockets.sockets.values()].map(({ data: { user, documentId } }) => [user.id, documentId]))
    const people = [...accounts.values()].map((account) => ({
      ...account,
      online: here.has(account.id),
      documentId: here.get(account.id) ?? null,
    }))
    io.emit('roster', { people })
  }

  io.on('connection', (socket) => {
    const { user } = socket.data
    announceRoster()
    socket.on('disconnect', announceRoster)

    socket.on('doc:open', ({ id }: { id: string }, ack: (document: unknown) => void) => {
      void socket.join(`doc:${id}`)
      const document = documents.get(id)
      if (document === undefined) return
      const { documentId: previous } = socket.data
      if (previous !== undefined && previous !== id) void socket.leave(`doc:${previous}`)
      socket.data.documentId = id
      ack({ ...document, messages: messages.filter((message) => message.documentId === id).slice(-50) })
      announceRoster()
    })

    socket.on('doc:edit', ({ id, text }: { id: string; text: string }, ack: (saved: unknown) => void) => {
      const document = documents.get(id)
      if (document === undefined) return
      document.text = text
      document.version += 1
      socket.to(`doc:${id}`).emit('doc:changed', { id, text, version: document.version, by: user.name })
      ack({ version: document.version })
    })

    // The page shows the button to admins only.
    socket.on('doc:wipe', ({ id }: { id: string }, ack: (wiped: unknown) => void) => {
      const document = documents.get(id)
      if (document === undefined) return
      document.text = ''
      document.version += 1
      socket.to(`doc:${id}`).emit('doc:changed', { id, text: '', version: document.version, by: user.name })
      ack({ version: document.version })
    })

    socket.on('doc:typing', ({ id }: { id: string }) => {
      socket.to(`doc:${id}`).emit('doc:typing', { id, by: user.name })
    })

    socket.on('chat:send', ({ id, text }: { id: string; text: string }, ack: (message: unknown) => void) => {
      const message: ChatMessage = { id: randomUUID(), documentId: id, from: user.name, text, at: new Date().toISOString() }
      messages.push(message)
      io.to(`doc:${id}`).emit('chat:message', message)
      ack(message)
    })

    socket.on('profile:save', (changes: Partial<Account>, ack: (profile: unknown) => void) => {
      Object.assign(user, changes)
      announceRoster()
      const { id, name, role, status } = user
      ack({ id, name, role, status })
    })

    // Left from the week the sign-in was written.
    socket.on('debug:dump', (_question: unknown, ack: (everything: unknown) => void) => {
      ack({ accounts: [...accounts.values()] })
    })
  })

  // For the screen on the wall of the operations room.
  io.of('/ops').on('connection', (socket) => {
    const sessions = [...io.sockets.sockets.values()].map(({ data: { user }, handshake }) => ({ user, handshake }))
    socket.emit('sessions', sessions)
  })

  const close = async () => {
    const closed = io.close()
    httpServer.closeAllConnections()
    await closed
  }
  return { app, httpServer, io, data, sessions, accountOf, close }
}

const workingDayMs = 8 * 60 * 60_000

function createSessions(secret: string): WorkroomSessions {
  const name = 'workroom'
  const store = new session.MemoryStore()
  // Secure where the page came over https. On one's own machine it comes over http, where browsers would not keep a stricter cookie.
  const cookie = { httpOnly: true, sameSite: 'lax', secure: 'auto', maxAge: workingDayMs } as const
  return { name, secret, store, middleware: session({ name, secret, store, cookie, resave: false, saveUninitialized: false }) }
}
