import { randomBytes } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { describe, expect, test } from '@jest/globals'
import express, { type NextFunction, type Request, type Response } from 'express'
import { jwtVerify, SignJWT } from 'jose'
import { fromCookie, guard } from 'portcullis'
import { expressMiddleware, socketMiddleware, type ExpressMiddleware, type MiddlewareOptions, type RequestStandIn } from 'portcullis/adapters/middleware'
import { authenticate, csrf } from 'portcullis/policies'
import type { Server, Socket } from 'socket.io'
import { MEMBERS } from '../../adapters/middleware/socket.ts'
import { client, entered, raw, refusal, serve, watch } from '../support/server.ts'

const HOUR_MS = 3_600_000
const secret = randomBytes(32)
const sign = (sub: string, role = 'user', inS = 3_600): Promise<string> => new SignJWT({ sub, role }).setProtectedHeader({ alg: 'HS256' }).setExpirationTime(Math.floor(Date.now() / 1_000) + inS).sign(secret)

/** An application that greets whoever has entered. */
function greet(io: Server, principalOf: (socket: Socket) => object | undefined, names = ['/']): void {
  for (const name of names) {
    io.of(name).on('connection', (socket) => {
      socket.on('whoami', (ack: (answer: unknown) => void) => ack({ principal: principalOf(socket), data: socket.data, user: (socket as { user?: unknown }).user, request: Object.keys(socket.request).filter((key) => ['user', 'session'].includes(key)) }))
    })
  }
}

describe.each(['polling', 'websocket'] as const)('over %s', (transport) => {
  const transports = [transport]

  describe('a middleware that verifies a token at io.use', () => {
    // As it stood in the application before there was a gate.
    const verifyToken = async (socket: Socket, next: (error?: Error) => void): Promise<void> => {
      try {
        const { payload } = await jwtVerify(socket.handshake.auth['token'] as string, secret)
        socket.data.user = { id: payload.sub, role: payload['role'], exp: payload.exp }
        next()
      } catch {
        const refused = new Error('invalid token') as Error & { data?: unknown }
        refused.data = { why: 'secret detail' }
        next(refused)
      }
    }
    const scheme = () =>
      socketMiddleware(verifyToken, {
        cookies: [],
        principal: ({ data }) => ({ subject: data.user.id, claims: { role: data.user.role }, expiresAtMs: data.user.exp * 1_000 }),
      })
    const start = () =>
      serve((io) => {
        const gate = guard(io, { undeclared: 'allow' }).use(authenticate(scheme()))
        greet(io, (socket) => gate.peerOf(socket).principal)
        return gate
      })

    test('lets in by the token, and hands on what was mapped, and nothing else', async () => {
      const host = await start()
      const socket = await entered(host, { transports, auth: { token: await sign('alice', 'admin') } })
      expect(await socket.emitWithAck('whoami')).toMatchObject({ principal: { subject: 'alice', claims: { role: 'admin' }, expiresAtMs: expect.any(Number) }, data: {}, request: [] })
    })

    test('refuses in the words of the gate, not in its own', async () => {
      const host = await start()
      for (const auth of [{}, { token: 'x' }, { token: (await sign('alice')).slice(0, -2) }, { token: { a: 1 } }, { token: await sign('alice', 'user', -10) }]) {
        const { message, data } = await refusal(client(host, { transports, auth: auth as { [key: string]: any } }))
        expect([message, data]).toEqual(['UNAUTHENTICATED', { code: 'UNAUTHENTICATED', message: 'Valid credentials are required.', id: expect.any(String) }])
      }
    })

    test('takes a refresh on the same socket, for the same subject', async () => {
      const host = await start()
      const socket = await entered(host, { transports, auth: { token: await sign('alice', 'user', 60) } })
      const { expiresAtMs } = (await socket.emitWithAck('gate:refresh', { token: await sign('alice', 'admin', 600) })) as { expiresAtMs: number }
      expect(expiresAtMs).toBeGreaterThan(Date.now() + 500_000)
      expect(await socket.emitWithAck('whoami')).toMatchObject({ principal: { claims: { role: 'admin' } } })
      expect(await socket.emitWithAck('gate:refresh', { token: await sign('bob') })).toMatchObject({ error: { code: 'UNAUTHENTICATED' } })
      expect(await socket.emitWithAck('gate:refresh', {})).toMatchObject({ error: { code: 'UNAUTHENTICATED' } })
      expect(await socket.emitWithAck('whoami')).toMatchObject({ principal: { subject: 'alice', claims: { role: 'admin' } } })
    })
  })

  describe('a session of a cookie, with a sign-in as passport has it', () => {
    interface Session {
      user?: string
      expiresAtMs: number
    }
    const sessions = new Map<string, Session>()
    const open = (user: string | undefined, expiresAtMs = Date.now() + HOUR_MS): string => {
      const sid = randomBytes(16).toString('hex')
      sessions.set(sid, user === undefined ? { expiresAtMs } : { user, expiresAtMs })
      return sid
    }

    // Like cookie-parser, like express-session (which wraps res.end and looks its session up in a store), and like passport.session().
    const parseCookies = (request: any, _response: unknown, next: () => void): void => {
      if (request.cookies) return next()
      request.cookies = Object.fromEntries((request.headers.cookie ?? '').split(';').map((pair: string) => pair.trim().split('=')))
      next()
    }
    const session = (request: any, response: ServerResponse, next: (error?: unknown) => void): void => {
      const end = response.end.bind(response)
      response.end = ((...args: unknown[]) => {
        if (!response.headersSent) response.setHeader('set-cookie', 'sid=renewed')
        return (end as (...args: unknown[]) => ServerResponse)(...args)
      }) as typeof response.end
      setImmediate(() => {
        request.session = sessions.get(request.cookies.sid) ?? {}
        next()
      })
    }
    const passport = (request: any, _response: unknown, next: () => void): void => {
      request.isAuthenticated = function (this: { user?: unknown }) {
        return this.user !== undefined
      }
      if (request.session.user !== undefined) request.user = { id: request.session.user }
      next()
    }
    const ensureLoggedIn = (request: Request & { isAuthenticated?: () => boolean }, response: Response, next: NextFunction): void => {
      if (request.isAuthenticated?.() === true) next()
      else response.redirect('/login')
    }
    const sameSite = () => csrf({ origins: ['https://app.example'], secret: 's'.repeat(32), session: fromCookie('sid') })
    const options: MiddlewareOptions<RequestStandIn> = {
      cookies: ['sid'],
      principal: ({ user, session: own }) => ({ subject: user.id, expiresAtMs: own.expiresAtMs }),
    }
    const chains: [string, () => ExpressMiddleware][] = [
      ['as a router', () => express.Router().use(parseCookies, session, passport, ensureLoggedIn)],
      ['as the application itself', () => express().use(parseCookies, session, passport, ensureLoggedIn) as ExpressMiddleware],
    ]

    const start = async (middleware: ExpressMiddleware) => {
      const protection = sameSite()
      const host = await serve((io) => {
        const gate = guard(io, { undeclared: 'allow' }).use(protection).use(authenticate(expressMiddleware(middleware, options)))
        greet(io, (socket) => gate.peerOf(socket).principal)
        return gate
      })
      const presents = (sid: string) => ({ transports, extraHeaders: { cookie: `theme=dark; sid=${sid}`, origin: 'https://app.example' }, auth: { csrf: protection.token(sid) } })
      return { ...host, presents, seen: watch(host.gate) }
    }

    test.each(chains)('lets in by the session, %s', async (_, make) => {
      const host = await start(make())
      const sid = open('alice')
      const socket = await entered(host, host.presents(sid))
      expect(await socket.emitWithAck('whoami')).toMatchObject({ principal: { subject: 'alice', expiresAtMs: sessions.get(sid)!.expiresAtMs }, request: [] })
    })

    test.each(chains)('refuses where it would have sent to the login, %s', async (_, make) => {
      const host = await start(make())
      for (const sid of [open(undefined), open('alice', Date.now() - 1), 'unknown']) expect((await refusal(client(host, host.presents(sid)))).message).toBe('UNAUTHENTICATED')
      const reasons = host.seen.denied.map(({ error }) => String((error as Error | undefined)?.cause))
      expect(reasons).toContainEqual(expect.stringContaining('answered: response.redirect'))
      expect(host.seen.fault).toEqual([])
    })

    test('answers nothing of its own to the client: neither a status nor a cookie', async () => {
      const host = await start(chains[0]![1]())
      const headers: unknown[] = []
      host.io.engine.on('headers', (given: unknown) => headers.push(given))
      await refusal(client(host, host.presents(open(undefined))))
      expect(JSON.stringify(headers)).not.toContain('renewed')
    })

    test('is read by io.engine.use and judged at io.use, as the documentation of Socket.IO has it', async () => {
      const seen = new Set<string>()
      const onlyUsers = (socket: Socket, next: (error?: Error) => void): void => {
        for (const key of Object.keys(socket.request)) seen.add(key)
        const own = (socket.request as unknown as { session: Session }).session
        if (own?.user !== undefined) next()
        else next(new Error('unauthorized'))
      }
      const host = await serve((io) => {
        for (const middleware of [parseCookies, session]) io.engine.use(middleware as (request: IncomingMessage, response: ServerResponse, next: (error?: unknown) => void) => void)
        const gate = guard(io, { undeclared: 'allow' }).use(
          authenticate(socketMiddleware(onlyUsers, { cookies: ['sid'], dangerouslyWithoutCsrf: true, principal: ({ request }) => ({ subject: request.session.user, expiresAtMs: request.session.expiresAtMs }) })),
        )
        greet(io, (socket) => gate.peerOf(socket).principal)
        return gate
      })
      const socket = await entered(host, { transports, extraHeaders: { cookie: `sid=${open('alice')}` } })
      expect(await socket.emitWithAck('whoami')).toMatchObject({ principal: { subject: 'alice' } })
      expect((await refusal(client(host, { transports, extraHeaders: { cookie: `sid=${open(undefined)}` } }))).message).toBe('UNAUTHENTICATED')
      // What the engine has put there is its own.
      expect([seen.has('cookies'), seen.has('res'), seen.has('websocket')]).toEqual([true, false, false])
    })
  })

  test('an API key that a middleware of Express looks up', async () => {
    const keys = new Map([['k-1', 'robot']])
    const apiKey = async (request: any, response: any, next: () => void): Promise<void> => {
      request.client_name = await Promise.resolve(keys.get(request.get('X-Api-Key')))
      if (request.client_name === undefined) response.status(401).json({ error: 'unknown key' })
      else next()
    }
    const host = await serve((io) => {
      const scheme = expressMiddleware(apiKey, { cookies: [], principal: ({ client_name }, ctx) => ({ subject: client_name as string, expiresAtMs: ctx.now + HOUR_MS }) })
      const gate = guard(io, { undeclared: 'allow' }).use(authenticate(scheme))
      greet(io, (socket) => gate.peerOf(socket).principal)
      return gate
    })
    const socket = await entered(host, { transports, extraHeaders: { 'x-api-key': 'k-1' } })
    expect(await socket.emitWithAck('whoami')).toMatchObject({ principal: { subject: 'robot' } })
    expect((await refusal(client(host, { transports, extraHeaders: { 'x-api-key': 'k-2' } }))).message).toBe('UNAUTHENTICATED')
  })
})

test('two namespaces of one connection that are decided at the same time do not see each other', async () => {
  const wait: (() => void)[] = []
  const slow = (socket: any, next: () => void): void => {
    socket.request.user = socket.handshake.auth.name
    socket.data.user = socket.handshake.auth.name
    wait.push(next)
    if (wait.length === 2) for (const go of wait) go()
  }
  const host = await serve((io) => {
    const gate = guard(io, { undeclared: 'allow' }).use(authenticate(socketMiddleware(slow, { cookies: [], principal: ({ request, data }) => ({ subject: `${request.user}/${data.user}`, expiresAtMs: 'never' }) })))
    greet(io, (socket) => gate.peerOf(socket).principal, ['/', '/other'])
    return gate
  })
  const one = await raw(host)
  one.send('0{"name":"alice"}', '0/other,{"name":"bob"}')
  await Promise.all([one.entry('/'), one.entry('/other')])
  expect([await one.ask(['whoami']), await one.ask(['whoami'], '/other')]).toMatchObject([[{ principal: { subject: 'alice/alice' } }], [{ principal: { subject: 'bob/bob' } }]])
})

test('a middleware that is not made for this stage is a fault that says so, and the server goes on', async () => {
  const joins = (socket: Socket, next: () => void): void => {
    setImmediate(() => {
      void socket.join(`user:${socket.id}`)
      socket.on('disconnect', () => undefined)
      next()
    })
  }
  const host = await serve((io) => guard(io, { undeclared: 'allow' }).use(authenticate(socketMiddleware(joins, { cookies: [], principal: () => ({ subject: 'x', expiresAtMs: 'never' }) }))))
  const seen = watch(host.gate)
  for (let time = 0; time < 3; time++) expect((await refusal(client(host))).message).toBe('INTERNAL')
  expect(seen.fault.map(({ error }) => String((error as Error).cause ?? error))).toEqual(Array.from({ length: 3 }, () => expect.stringContaining('socket.join is not here')))
})

test('a client that leaves while the middleware thinks leaves nothing behind, whatever that does then', async () => {
  const wait: ((error?: unknown) => void)[] = []
  const rejecting: ((error: Error) => void)[] = []
  const host = await serve((io) =>
    guard(io, { undeclared: 'allow' }).use(
      authenticate(
        socketMiddleware(
          (_socket, next) => {
            wait.push(next)
            return new Promise((_resolve, reject) => rejecting.push(reject))
          },
          { cookies: [], principal: () => ({ subject: 'x', expiresAtMs: 'never' }) },
        ),
      ),
    ),
  )
  const seen = watch(host.gate)
  for (let time = 0; time < 5; time++) {
    const gone = await raw(host)
    gone.send('0')
    while (wait.length <= time) await new Promise((resolve) => setImmediate(resolve))
    gone.vanish()
    await gone.closed
  }
  for (const next of wait) {
    next()
    next(new Error('late'))
  }
  for (const reject of rejecting) reject(new Error('later'))
  await new Promise((resolve) => setImmediate(resolve))
  expect(host.io.of('/').sockets.size).toBe(0)
  expect(seen.fault).toEqual([])
})

test('every member of a socket of Socket.IO 4.8.4 is known by name, so that a mapping that reads one is told so', async () => {
  const names = new Set<string>()
  const host = await serve((io) => {
    io.use((socket, next) => {
      for (let at: object = socket, above = Object.getPrototypeOf(at); above !== null; at = above, above = Object.getPrototypeOf(at)) for (const name of Object.getOwnPropertyNames(at)) names.add(name)
      next()
    })
  })
  await entered(host)
  expect([...names].filter((name) => !name.startsWith('_') && name !== 'constructor').sort()).toEqual([...MEMBERS].sort())
})
