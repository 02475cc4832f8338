import { ServerResponse, type IncomingMessage } from 'node:http'
import { describe, expect, test } from '@jest/globals'
import express, { type NextFunction, type Request, type Response } from 'express'
import { Denied, fromCookie, type ConnectContext, type Principal, type Scheme } from 'portcullis'
import { expressMiddleware, socketMiddleware, type ExpressMiddleware, type MiddlewareOptions, type RequestStandIn, type SocketMiddleware, type SocketStandIn } from 'portcullis/adapters/middleware'
import { authenticate, csrf, type CsrfPolicy } from 'portcullis/policies'
import { admitted, denied, faulted, harness, testClock } from 'portcullis/testing'

const NOW = Date.UTC(2025, 0, 1)
const user = { subject: 'alice', expiresAtMs: NOW + 60_000 }

const socketScheme = (middleware: SocketMiddleware, options: Partial<MiddlewareOptions<SocketStandIn>> = {}) => socketMiddleware(middleware, { cookies: [], principal: () => user, dangerouslyWithoutCsrf: true, ...options })
const expressScheme = (middleware: ExpressMiddleware, options: Partial<MiddlewareOptions<RequestStandIn>> = {}) => expressMiddleware(middleware, { cookies: [], principal: () => user, dangerouslyWithoutCsrf: true, ...options })

type Question = NonNullable<Parameters<ReturnType<typeof harness>['connect']>[0]>

/** Asks a scheme once; the clock is the last word on a middleware that never answers. */
async function ask(scheme: Scheme, question: Question = {}) {
  const clock = testClock(NOW)
  const connecting = harness(authenticate(scheme), { clock }).connect(question)
  // Express takes a few turns of its own.
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve))
  clock.advance(5_000)
  return connecting
}

/** What the mapping is given. */
async function left<S>(make: (principal: (source: S) => typeof user) => Scheme, question: Question = {}): Promise<S> {
  let source: S | undefined
  const result = await ask(make((given) => ((source = given), user)), question)
  expect(result).toEqual(admitted())
  return source!
}

const principalIn = ({ facts }: { facts?: unknown }): Principal => (facts as { principal: Principal }).principal
const later = (fn: () => void): void => void setImmediate(fn)

type Next = (error?: unknown) => void
/** One behaviour, for both kinds. */
const kinds: [string, (act: (next: Next) => unknown) => Scheme][] = [
  ['socket', (act) => socketScheme((_socket, next) => act(next))],
  ['express', (act) => expressScheme((_request, _response, next) => act(next))],
]

describe.each(kinds)('a middleware of the %s kind', (_, scheme) => {
  test.each<[string, (next: Next) => unknown]>([
    ['calls next()', (next) => next()],
    ['calls next(undefined)', (next) => next(undefined)],
    ['calls next(null)', (next) => next(null)],
    ['calls next() later', (next) => later(next)],
    ['is asynchronous and calls next()', async (next) => next()],
    ['is asynchronous, and calls next() when it is done', async (next) => later(next)],
  ])('that %s lets in', async (_name, act) => {
    expect(principalIn(await ask(scheme(act)))).toEqual({ ...user, claims: {}, factors: [] })
  })

  test.each<[string, (next: Next) => unknown]>([
    ['calls next(error)', (next) => next(new Error('secret detail'))],
    ['calls next with a text', (next) => next('secret detail')],
    ["calls next('route')", (next) => next('route')],
    ['calls next(error) later', (next) => later(() => next(new Error('secret detail')))],
    ['throws', () => { throw new Error('secret detail') }],
    ['throws nothing in particular', () => { throw undefined }],
    ['rejects', () => Promise.reject(new Error('secret detail'))],
    ['calls next() twice', (next) => { next(); next() }],
    ['calls next() twice, later', (next) => later(() => { next(); next() })],
    ['calls next() and takes it back', (next) => { next(); next(new Error('secret detail')) }],
    ['calls next() and takes it back, later', (next) => later(() => { next(); next(new Error('secret detail')) })],
    ['calls next() and throws', (next) => { next(); throw new Error('secret detail') }],
    ['calls next() and rejects', async (next) => { next(); await Promise.resolve(); throw new Error('secret detail') }],
    ['fails and then calls next()', (next) => { next(new Error('secret detail')); next() }],
    ['returns what cannot be looked at', () => ({ get then() { throw new Error('secret detail') } })],
  ])('that %s refuses, always in the same words', async (_name, act) => {
    const result = await ask(scheme(act))
    expect(result).toEqual(denied('UNAUTHENTICATED'))
    expect(result.refusal).toEqual({ code: 'UNAUTHENTICATED', message: 'Valid credentials are required.', id: expect.any(String) })
    expect(result.error).toHaveProperty('cause')
  })

  test.each<[string, (next: Next) => unknown]>([
    ['never calls next()', () => undefined],
    ['is asynchronous and never calls next()', async () => undefined],
    ['never settles', () => new Promise(() => undefined)],
    ['calls next() and never settles', (next) => { next(); return new Promise(() => undefined) }],
  ])('that %s is refused at the deadline of the gate', async (_name, act) => {
    expect(await ask(scheme(act))).toEqual(faulted('DEADLINE_EXCEEDED'))
  })

  test('may do what it likes once it is decided: nothing comes of it, and nothing is left unhandled', async () => {
    const unhandled: unknown[] = []
    const note = (error: unknown) => void unhandled.push(error)
    process.on('unhandledRejection', note)
    const next: Next[] = []
    expect(await ask(scheme((given) => (next.push(given), given())))).toEqual(admitted())
    next[0]!(new Error('late'))
    next[0]!()
    const late: Next[] = []
    expect(await ask(scheme((given) => void late.push(given)))).toEqual(faulted('DEADLINE_EXCEEDED'))
    late[0]!()
    late[0]!(new Error('late'))
    expect(await ask(scheme(async (given) => { given(new Error('no')); throw new Error('late') }))).toEqual(denied('UNAUTHENTICATED'))
    expect(await ask(scheme((given) => { given(new Error('no')); return Promise.reject(new Error('late')) }))).toEqual(denied('UNAUTHENTICATED'))
    await new Promise((resolve) => setTimeout(resolve, 5))
    process.off('unhandledRejection', note)
    expect(unhandled).toEqual([])
  })

  test('that refuses in the words of the gate is taken at its word', async () => {
    expect(await ask(scheme((next) => next(new Denied('RATE_LIMITED', { retryAfterMs: 5 }))))).toEqual(denied('RATE_LIMITED', { retryAfterMs: 5 }))
    expect(await ask(scheme(() => { throw new Denied('UNAVAILABLE') }))).toEqual(denied('UNAVAILABLE'))
  })

  test('that is synchronous is decided in the same tick', async () => {
    const { sync } = await harness(authenticate(scheme((next) => next()))).connect()
    expect(sync).toBe(true)
  })
})

describe('who was let in', () => {
  const mapped = (principal: unknown) => ask(socketScheme((_socket, next) => next(), { principal: principal as never }))

  test('is what the mapping says, and nothing else', async () => {
    const whole = { subject: 'alice', issuer: 'https://id.example', claims: { role: 'admin' }, expiresAtMs: NOW + 1, tokenId: 's1', factors: ['pwd'] }
    expect(principalIn(await mapped(() => whole))).toEqual(whole)
    expect(principalIn(await mapped(async () => user))).toEqual({ ...user, claims: {}, factors: [] })
    expect(principalIn(await mapped(({ data }: SocketStandIn, ctx: ConnectContext) => ({ subject: 'bob', expiresAtMs: ctx.now + 5, claims: data })))).toEqual({ subject: 'bob', expiresAtMs: NOW + 5, claims: {}, factors: [] })
  })

  test.each([undefined, null])('is nobody where it says %p', async (nobody) => {
    expect(await mapped(() => nobody)).toEqual(denied('UNAUTHENTICATED'))
    expect(await mapped(async () => nobody)).toEqual(denied('UNAUTHENTICATED'))
  })

  test('is refused where it has ended already', async () => {
    expect(await mapped(() => ({ ...user, expiresAtMs: NOW }))).toEqual(denied('UNAUTHENTICATED'))
  })

  test.each<[string, unknown]>([
    ['forgets to say when it ends', () => ({ subject: 'alice' })],
    ['forgets to say who', () => ({ expiresAtMs: NOW + 1 })],
    ['returns a text', () => 'alice'],
    ['misspells a member', () => ({ ...user, tokenID: 's1' })],
    ['throws', () => { throw new Error('broken') }],
    ['rejects', async () => { throw new Error('broken') }],
    ['reads what no stand-in has', ({ id }: SocketStandIn) => ({ ...user, tokenId: id })],
    ['reads what no stand-in has of the namespace', ({ nsp }: SocketStandIn) => ({ ...user, claims: { n: (nsp as any).sockets } })],
  ])('is a fault where the mapping %s', async (_, principal) => {
    expect(await mapped(principal)).toEqual(faulted())
  })
})

describe('the stand-in of a socket', () => {
  const question = { auth: { token: 't', nested: { a: 1 } }, address: '203.0.113.9', headers: { 'user-agent': 'test', authorization: 'Bearer x' }, namespace: '/chat', url: '/socket.io/?EIO=4&transport=websocket&room=7' }
  const through = (act: (socket: any) => void, options: Partial<MiddlewareOptions<SocketStandIn>> = {}) => (principal: (source: SocketStandIn) => typeof user) =>
    socketScheme((socket, next) => { act(socket); next() }, { ...options, principal })

  test('has the handshake, the request and the namespace', async () => {
    const socket = await left<SocketStandIn>(through(() => undefined), question)
    expect(socket.handshake).toMatchObject({ auth: question.auth, address: '203.0.113.9', headers: question.headers, query: { room: '7' }, url: question.url, secure: false, xdomain: false, issued: NOW })
    expect(Object.keys(socket.handshake).sort()).toEqual(['address', 'auth', 'headers', 'issued', 'query', 'secure', 'time', 'url', 'xdomain'])
    expect([socket.nsp.name, socket.conn.remoteAddress, socket.connected, socket.recovered, socket.data]).toEqual(['/chat', '203.0.113.9', false, false, {}])
    expect([socket.request.url, socket.request.headers.authorization, socket.client.request === socket.request, socket.client.conn === socket.conn]).toEqual([question.url, 'Bearer x', true, true])
  })

  test('keeps what the middleware puts there for the mapping, and for nobody else', async () => {
    const contexts: ConnectContext[] = []
    const socket = await left<SocketStandIn>(
      through(
        (given) => {
          given.data.user = { id: 7 }
          given.user = 'alice'
          given.handshake.session = 's'
          given.handshake.auth.token = 'changed'
          given.handshake.headers['x-user'] = 'forged'
          given.handshake.query.room = '8'
          given.request.user = 'alice'
          given.request.headers.authorization = 'changed'
        },
        { has: (ctx) => (contexts.push(ctx), true) },
      ),
      question,
    )
    expect([socket.data.user, socket.user, socket.handshake.session, socket.request.user]).toEqual([{ id: 7 }, 'alice', 's', 'alice'])
    const [ctx] = contexts
    expect(ctx!.handshake).toMatchObject({ auth: { token: 't' }, query: { room: '7' }, headers: { authorization: 'Bearer x' } })
    expect(ctx!.headers['x-user']).toBeUndefined()
    expect(ctx!.handshake).not.toHaveProperty('session')
    expect(ctx!.request).not.toHaveProperty('user')
    expect(ctx!.request!.headers.authorization).toBe('Bearer x')
  })

  test('can have its data replaced, as on a socket', async () => {
    expect((await left<SocketStandIn>(through((socket) => (socket.data = { user: 1 })))).data).toEqual({ user: 1 })
  })

  test.each<[string, (socket: any) => unknown, RegExp]>([
    ['its id', ({ id }) => id, /^socket\.id is not known here/],
    ['join', (socket) => socket.join('room'), /^socket\.join is not here/],
    ['emit', (socket) => socket.emit('hello'), /^socket\.emit is not here/],
    ['on', (socket) => socket.on('disconnect', () => undefined), /^socket\.on is not here/],
    ['disconnect', (socket) => socket.disconnect(), /^socket\.disconnect is not here/],
    ['a property nobody has set', ({ user: nobody }) => nobody, /^socket\.user has not been set/],
    ['the sockets of the namespace', ({ nsp }) => nsp.sockets, /^socket\.nsp\.sockets is not here/],
    ['the id of the connection', ({ conn }) => conn.id, /^socket\.conn\.id is not here/],
    ['the server of the client', ({ client }) => client.server, /^socket\.client\.server is not here/],
    ['an id of its own making', (socket) => (socket.id = 'x'), /^socket\.id cannot be set here/],
    ['a wrapped emit', (socket) => (socket.emit = () => true), /^socket\.emit cannot be set here/],
    ['a namespace of another name', ({ nsp }) => (nsp.name = '/admin'), /^socket\.nsp\.name cannot be set here/],
  ])('does not have %s: that is a fault which says so, however the middleware takes it', async (_, act, message) => {
    const ways: SocketMiddleware[] = [
      (socket, next) => { act(socket); next() },
      (socket, next) => { try { act(socket); next() } catch (error) { next(error) } },
      async (socket, next) => { act(socket); next() },
      async (socket, next) => { await Promise.resolve(); act(socket); next() },
      (socket, next) => later(() => { act(socket); next() }),
    ]
    for (const way of ways) {
      const result = await ask(socketScheme(way))
      expect(result).toEqual(faulted())
      expect((result.error as Error).cause ?? result.error).toMatchObject({ name: 'TypeError', message: expect.stringMatching(message) })
    }
  })

  test('throws on the stack of the middleware, so that this does not go on without', async () => {
    const thrown: unknown[] = []
    const result = await ask(
      socketScheme((socket, next) => {
        try {
          socket.join('room')
          thrown.push('went on')
        } catch (error) {
          thrown.push(error)
        }
        next(new Error('no'))
      }),
    )
    expect(thrown).toEqual([expect.objectContaining({ name: 'TypeError' })])
    expect(result).toEqual(denied('UNAUTHENTICATED'))
  })

  test('throws nothing where nobody would catch it: in a callback it does nothing, and refuses', async () => {
    let reached = false
    const result = await ask(
      socketScheme((socket, next) =>
        later(() => {
          for (const room of socket.rooms) expect(room).toBe('never')
          socket.to(`room-${socket.id}`).timeout(5).emit('x', socket.server.engine.clientsCount + 1)
          socket.data.late = new socket.server.Thing()
          delete socket.server.of
          socket.server.name = 'x'
          socket.nsp.name = 'x'
          void Promise.resolve(socket.broadcast).then(() => (reached = true))
          next()
        }),
      ),
    )
    expect(result).toEqual(faulted())
    await new Promise((resolve) => setImmediate(resolve))
    expect(reached).toBe(true)
  })

  test('answers honestly what is in it, and may be looked at', async () => {
    const seen: unknown[] = []
    await left<SocketStandIn>(through((socket) => seen.push('handshake' in socket, 'nsp' in socket, 'join' in socket, 'user' in socket, `${Object.prototype.toString.call(socket)}`)))
    expect(seen).toEqual([true, true, false, false, '[object Object]'])
  })

  test('may be handed through promises', async () => {
    const handedOn = async (socket: unknown): Promise<any> => socket
    const scheme = socketScheme(async (socket, next) => {
      ;(await handedOn(socket)).user = 'alice'
      next()
      return socket
    })
    expect(await ask(scheme)).toEqual(admitted())
  })

  test('is one that the mapping may ask for what was not set', async () => {
    const socket = await left<SocketStandIn>(through(() => undefined))
    expect(socket.user).toBeUndefined()
    expect(() => socket['join']('room')).toThrow(TypeError)
  })

  test('does not share its request between two namespaces that are decided at the same time', async () => {
    const names = new Map<string, string>()
    const wait: (() => void)[] = []
    const scheme = socketMiddleware(
      (socket, next) => {
        socket.request.user = socket.handshake.auth.name
        wait.push(next)
      },
      { cookies: [], principal: ({ nsp, request }) => (names.set(nsp.name, request.user), { ...user, subject: request.user }) },
    )
    const request = { headers: {}, rawHeaders: [] } as unknown as IncomingMessage
    const context = (namespace: string, name: string) =>
      ({ namespace, request, headers: {}, cause: 'connect', address: '', secure: false, handshake: { headers: {}, query: {}, auth: { name } } }) as unknown as ConnectContext
    const both = [context('/a', 'alice'), context('/b', 'bob')].map((ctx) => scheme.verify({}, ctx))
    for (const next of wait) next()
    expect((await Promise.all(both.map((each) => Promise.resolve(each)))).map(({ subject }) => subject)).toEqual(['alice', 'bob'])
    expect(request).not.toHaveProperty('user')
  })
})

describe('cookies', () => {
  const headers = { cookie: 'theme=dark; sid=s1; other=o', 'x-other': '1' }
  const seenBy = async (cookies: readonly string[], kind: 'socket' | 'express', from: Record<string, string> = headers) => {
    const seen: (string | undefined)[] = []
    const scheme =
      kind === 'socket'
        ? socketScheme((socket, next) => (seen.push(socket.handshake.headers.cookie, socket.request.headers.cookie), next()), { cookies })
        : expressScheme((request, _response, next) => (seen.push(request.headers.cookie, request.get('Cookie')), next()), { cookies })
    return { result: await ask(scheme, { headers: from }), seen: [...new Set(seen)] }
  }

  test.each(['socket', 'express'] as const)('are seen by a middleware of the %s kind where they are named, and others are not', async (kind) => {
    expect((await seenBy(['sid'], kind)).seen).toEqual(['sid=s1'])
    expect((await seenBy(['sid', 'other', 'absent'], kind)).seen).toEqual(['sid=s1; other=o'])
    expect((await seenBy([], kind)).seen).toEqual([undefined])
  })

  test('are nowhere else either', async () => {
    const socket = await left<SocketStandIn>((principal) => socketScheme((_socket, next) => next(), { principal }), { headers })
    expect(JSON.stringify([socket.request.rawHeaders, socket.request.headersDistinct, socket.request.headers])).not.toContain('sid=s1')
    expect(socket.request.headers['x-other']).toBe('1')
  })

  test('that are there twice are refused before the middleware is asked', async () => {
    const { result, seen } = await seenBy(['sid'], 'socket', { cookie: 'sid=s1; sid=s2' })
    expect(result).toEqual(denied('UNAUTHENTICATED'))
    expect(seen).toEqual([])
    expect((await seenBy(['other'], 'socket', { cookie: 'sid=s1; sid=s2; other=o' })).result).toEqual(admitted())
  })
})

describe('protection against other sites', () => {
  const gateOf = (options: Partial<MiddlewareOptions<SocketStandIn>>, ...policies: CsrfPolicy[]) =>
    harness([...policies, authenticate(socketMiddleware((_socket, next) => next(), { cookies: [], principal: () => user, ...options }))], { clock: testClock(NOW) }).connect()
  const sameSite = csrf({ origins: ['https://app.example'], secret: 'x'.repeat(32), session: fromCookie('sid') })

  test('is demanded for a cookie that signs in, unless it is declined in so many words', async () => {
    expect(await gateOf({ cookies: [] })).toEqual(admitted())
    await expect(gateOf({ cookies: ['sid', 'sid.sig'] })).rejects.toThrow('csrf')
    expect(await gateOf({ cookies: ['sid', 'sid.sig'], dangerouslyWithoutCsrf: true })).toEqual(admitted())
    expect(await gateOf({ cookies: ['sid', 'sid.sig'] }, sameSite)).toEqual(admitted())
    await expect(gateOf({ cookies: ['other'] }, sameSite)).rejects.toThrow('csrf')
  })
})

describe('a refresh', () => {
  const question: Question = { cause: 'refresh', auth: { token: 'new' }, headers: { cookie: 'sid=s1', authorization: 'Bearer old', 'x-api-key': 'old', host: 'app.example', origin: 'https://app.example' }, url: '/socket.io/?EIO=4&token=old' }

  test('shows a socket middleware what was brought, and nothing that was brought before', async () => {
    const socket = await left<SocketStandIn>((principal) => socketScheme((_socket, next) => next(), { cookies: ['sid'], principal }), question)
    expect(socket.handshake.auth).toEqual({ token: 'new' })
    expect(socket.handshake.headers).toEqual({ host: 'app.example', origin: 'https://app.example' })
    expect([socket.handshake.query, socket.handshake.url, socket.request.url, socket.request.headers]).toEqual([{}, '/socket.io/', '/socket.io/', socket.handshake.headers])
    expect(socket.request.socket.remoteAddress).toBeUndefined()
  })

  test('brings nothing that an Express middleware could read', async () => {
    let isAsked = false
    const scheme = expressScheme((_request, _response, next) => ((isAsked = true), next()), { cookies: ['sid'] })
    expect(await ask(scheme, question)).toEqual(denied('UNAUTHENTICATED'))
    expect(isAsked).toBe(false)
  })
})

describe('beside other schemes', () => {
  const other: Scheme = { name: 'other', read: ({ handshake: { auth } }) => auth['other'] as string | undefined, verify: () => ({ ...user, subject: 'other', claims: {}, factors: [] }) }
  const both = (has?: MiddlewareOptions<SocketStandIn>['has']) => authenticate(other, socketScheme((_socket, next) => next(), has === undefined ? {} : { has }))
  const subject = async (policy: ReturnType<typeof both>, auth: object) => {
    const result = await harness(policy, { clock: testClock(NOW) }).connect({ auth: auth as Record<string, unknown> })
    return result.outcome === 'admitted' ? principalIn(result).subject : result.code
  }

  test('it finds a credential where `has` says so', async () => {
    const policy = both(({ handshake }) => 'token' in handshake.auth)
    expect(await subject(policy, { token: 't' })).toBe('alice')
    expect(await subject(policy, { other: 'o' })).toBe('other')
    expect(await subject(policy, { other: 'o', token: 't' })).toBe('UNAUTHENTICATED')
    expect(await subject(policy, {})).toBe('UNAUTHENTICATED')
  })

  test('it always finds one without, so that it stands alone', async () => {
    expect(await subject(both(), {})).toBe('alice')
    expect(await subject(both(), { other: 'o' })).toBe('UNAUTHENTICATED')
  })

  test('a `has` that throws is a fault', async () => {
    expect(await subject(both(() => { throw new Error('broken') }), {})).toBe('INTERNAL')
  })
})

describe('the request and the response of Express', () => {
  test('say where the request comes from, as the gate knows it', async () => {
    const headers = { host: 'app.example:8443', referer: 'https://app.example/', cookie: 'a=1' }
    const request = await left<RequestStandIn>((principal) => expressScheme((_request, _response, next) => next(), { principal }), { headers, address: '203.0.113.9', secure: true, url: '/socket.io/?EIO=4&room=7' })
    expect(request).toMatchObject({ originalUrl: '/socket.io/?EIO=4&room=7', path: '/socket.io/', baseUrl: '', ip: '203.0.113.9', secure: true, protocol: 'https', hostname: 'app.example', method: 'GET', query: { room: '7' } })
    expect([request.get('Host'), request.header('Referrer'), request.get('cookie')]).toEqual(['app.example:8443', 'https://app.example/', undefined])
    const body: unknown[] = []
    for await (const chunk of request) body.push(chunk)
    expect([body, request.socket.destroyed]).toEqual([[], false])
  })

  const answers: [string, (response: Response & Record<string, any>) => unknown][] = [
    ['end', (response) => response.end()],
    ['end with a text', (response) => response.end('no')],
    ['write', (response) => response.write('no')],
    ['writeHead', (response) => response.writeHead(401)],
    ['flushHeaders', (response) => response.flushHeaders()],
    ['destroy', (response) => response.destroy()],
    ['status and json', (response) => response.status(401).json({ error: 'no' })],
    ['status 200 and json', (response) => response.status(200).json({ ok: true })],
    ['send', (response) => response.send('no')],
    ['sendStatus', (response) => response.sendStatus(401)],
    ['jsonp', (response) => response.jsonp({})],
    ['redirect', (response) => response.redirect('/login')],
    ['render', (response) => response.render('login')],
    ['sendFile', (response) => response.sendFile('/login.html')],
    ['download', (response) => response.download('/login.html')],
    ['end of a statusCode', (response) => { response.statusCode = 403; response.setHeader('content-type', 'text/plain'); response.end('no', () => undefined) }],
  ]

  test.each(answers)('an answer by %s is a refusal', async (_, answer) => {
    const ways: ExpressMiddleware[] = [
      (_request, response, _next) => void answer(response),
      (_request, response, next) => { answer(response); next() },
      (_request, response, next) => { next(); answer(response) },
      (_request, response, _next) => later(() => void answer(response)),
      async (_request, response, next) => { answer(response); await Promise.resolve(); next() },
    ]
    for (const way of ways) {
      const result = await ask(expressScheme(way))
      expect(result).toEqual(denied('UNAUTHENTICATED'))
      expect(String((result.error as Error).cause)).toContain('the middleware has answered')
    }
  })

  test('what is done to the response besides is harmless, and says what has become of it', async () => {
    const seen: unknown[] = []
    const middleware = (_request: Request, response: Response, next: NextFunction): void => {
      response.setHeader('x-a', '1')
      response.set('x-b', '2').type('html').vary('Origin').cookie('sid', 's').clearCookie('sid').location('/').append('x-c', '3').links({}).status(200)
      response.on('finish', () => seen.push('finished')).once('close', () => seen.push('closed'))
      response.writeContinue()
      response.locals['user'] = 1
      seen.push(response instanceof ServerResponse, response.get('x-a'), response.headersSent, response.writableEnded, response.locals)
      next()
      response.end('too late')
    }
    await ask(expressScheme(middleware))
    expect(seen).toEqual([true, '1', false, false, { user: 1 }])

    const after: boolean[] = []
    await ask(expressScheme((_request, response, _next) => { response.end(); after.push(response.headersSent, response.writableEnded) }))
    expect(after).toEqual([true, true])
  })

  test('a connection is not closed by a middleware that destroys the request', async () => {
    let real: IncomingMessage | undefined
    const scheme = expressScheme((request, _response, next) => { request.destroy(new Error('gone')); next() }, { has: (ctx) => ((real = ctx.request), true) })
    expect(await ask(scheme)).toEqual(admitted())
    expect([real!.destroyed, real!.socket.destroyed]).toEqual([false, false])
  })
})

describe('whole applications of Express', () => {
  const signIn = (request: any, _response: unknown, next: Next): void => {
    request.user = request.get('authorization') === 'Bearer good' ? { id: 'alice' } : undefined
    next()
  }
  const requireUser = (request: any, response: Response, next: Next): void => void (request.user === undefined ? response.status(401).json({ error: 'no' }) : next())
  const principal = ({ user: found }: RequestStandIn) => ({ ...user, subject: found.id as string })
  const good = { headers: { authorization: 'Bearer good' } }

  test.each<[string, () => ExpressMiddleware]>([
    ['a router', () => express.Router().use(signIn).use(requireUser)],
    ['an application', () => express().use(signIn).use(requireUser) as ExpressMiddleware],
    ['an application inside another', () => express().use('/socket.io', express().use(signIn).use(requireUser)) as ExpressMiddleware],
    ['an application with routes, and a parser for bodies', () => {
      const app = express().use(express.json()).use(express.urlencoded()).use(signIn)
      app.get('/me', (_request, response) => void response.json({}))
      return app.use(requireUser) as ExpressMiddleware
    }],
  ])('%s lets in, and refuses', async (_, make) => {
    expect(principalIn(await ask(expressScheme(make(), { principal }), good)).subject).toBe('alice')
    expect(await ask(expressScheme(make(), { principal }))).toEqual(denied('UNAUTHENTICATED'))
  })

  test.each<[string, (app: express.Express) => unknown]>([
    ['throws', (app) => app.use(() => { throw new Error('secret detail') })],
    ['rejects', (app) => app.use(async () => { throw new Error('secret detail') })],
    ['handles its errors by itself', (app) => app.use(() => { throw new Error('secret detail') }).use((_error: unknown, _request: Request, response: Response, _next: NextFunction) => void response.status(500).send('no'))],
    ['answers by a route', (app) => app.use((_request, response) => void response.redirect(302, '/login'))],
    ['streams an answer', (app) => app.use((_request, response) => void response.cookie('a', 'b').type('json').send({ a: 1 }))],
  ])('one that %s refuses', async (_, build) => {
    const app = express()
    build(app)
    expect(await ask(expressScheme(app as ExpressMiddleware))).toEqual(denied('UNAUTHENTICATED'))
  })
})

describe('the options', () => {
  const pass: SocketMiddleware = (_socket, next: Next) => next()
  test.each<[string, () => unknown, string]>([
    ['no function', () => socketScheme({} as never), 'takes a middleware (socket, next)'],
    ['a list of functions', () => expressScheme([pass] as never), 'express.Router()'],
    ['an Express middleware where one of Socket.IO belongs', () => socketScheme(((_request: unknown, _response: unknown, next: Next) => next()) as never), 'expressMiddleware takes'],
    ['a Socket.IO middleware where one of Express belongs', () => expressScheme(pass as never), 'socketMiddleware takes'],
    ['a handler of errors', () => expressScheme(((_error: unknown, _request: unknown, _response: unknown, next: Next) => next()) as never), 'handles errors'],
    ['no options', () => socketMiddleware(pass, undefined as never), 'takes options { principal, cookies }'],
    ['no mapping', () => socketMiddleware(pass, { cookies: [] } as never), 'principal is a function'],
    ['nothing said of cookies', () => socketMiddleware(pass, { principal: () => user } as never), "as ['connect.sid'], or none: []"],
    ['a cookie of no name', () => socketScheme(pass, { cookies: ['a b'] }), 'cookies names the cookie'],
    ['an unknown option', () => socketScheme(pass, { expiresAtMs: 1 } as never), 'unknown option "expiresAtMs"'],
    ['a `has` that is no function', () => socketScheme(pass, { has: true } as never), 'has is a function'],
    ['a flag that is none', () => expressScheme((_request, _response, next) => next(), { dangerouslyWithoutCsrf: 'yes' } as never), 'true or false'],
  ])('%s is a mistake', (_, make, message) => {
    expect(make).toThrow(message)
  })
})
