import { connect as tcp } from 'node:net'
import { createServer } from 'node:http'
import { describe, expect, test } from '@jest/globals'
import { Server as Engine } from 'engine.io'
import { Server } from 'socket.io'
import { ConfigError, deny, guard, type Code, type Fate, type Gate, type Next } from 'portcullis'
import { origin } from 'portcullis/policies'
import { ask, askUpgrade, client, closeAfterTest, connectPacket, entered, entry, eventPacket, heard, Latch, listen, polling, raw, refusal, serve, until, watch, type Host } from '../support/server.ts'

const admit = (_ctx: unknown, next: Next) => next()
const HOME = 'https://app.example'
const EVIL = 'https://evil.example'

/** A gate that lets everybody into `/`. */
const open = (io: Server): Gate => guard(io).connect(admit)

const errorOf = ({ body }: { readonly body: string }): any => (JSON.parse(body) as { error: unknown }).error

describe('requests of a session (facts 1.1, 1.3)', () => {
  test('a bare server asks allowRequest once, and engine.use for each request', async () => {
    const allowed: string[] = []
    const used: string[] = []
    const host = await serve((io) => io.engine.use((request: any, _response: unknown, next: () => void) => {
      used.push(`${request.method} ${request._query.transport} ${request._query.sid === undefined ? 'opening' : 'later'}`)
      next()
    }), {
      allowRequest: (request, done) => {
        allowed.push(request.method ?? '')
        done(null, true)
      },
    })
    const session = await polling(host)
    await session.post([connectPacket()])
    await session.poll()
    expect((await session.upgrade()).status).toBe(101)
    expect(used).toEqual(['GET polling opening', 'POST polling later', 'GET polling later', 'GET websocket later'])
    expect(allowed).toEqual(['GET'])
  })

  test('the gate asks its request hooks for each of them, and tells the one that opens the session', async () => {
    const asked: unknown[] = []
    const host = await serve((io) => open(io).request((ctx, next) => {
      asked.push({ method: ctx.method, opening: ctx.opening, upgrade: ctx.upgrade, step: ctx.headers['x-step'] })
      return next()
    }))
    const session = await polling(host, { 'x-step': '1' })
    await session.post([connectPacket()], { 'x-step': '2' })
    await session.poll({ 'x-step': '3' })
    await session.upgrade({ 'x-step': '4' })
    await askUpgrade(host)
    expect(asked).toEqual([
      { method: 'GET', opening: true, upgrade: false, step: '1' },
      { method: 'POST', opening: false, upgrade: false, step: '2' },
      { method: 'GET', opening: false, upgrade: false, step: '3' },
      { method: 'GET', opening: false, upgrade: true, step: '4' },
      { method: 'GET', opening: true, upgrade: true, step: undefined },
    ])
  })

  test.each([
    ['synchronous', admit],
    ['asynchronous', async (_ctx: unknown, next: Next) => {
      await new Promise(setImmediate)
      await next()
    }],
  ])('a stock client polls and then upgrades past %s request hooks', async (_kind, hook) => {
    const host = await serve((io) => {
      io.on('connection', (socket) => socket.on('ping', (ack) => ack(socket.conn.transport.name)))
      return open(io).request(hook).event('ping')
    })
    const socket = client(host, { transports: ['polling', 'websocket'] })
    await entry(socket)
    await until(() => socket.io.engine.transport.name === 'websocket')
    expect(await socket.emitWithAck('ping')).toBe('websocket')
  })

  test('the request of the socket stays the first one, and each hook sees its own', async () => {
    const seen: unknown[] = []
    const host = await serve((io) => {
      io.on('connection', ({ request, handshake }) => seen.push(request.headers['x-step'], handshake.headers['x-step'], (request as unknown as { _query: { transport: string } })._query.transport))
      return open(io).request((ctx, next) => {
        seen.push(ctx.headers['x-step'])
        return next()
      })
    })
    const session = await polling(host, { 'x-step': 'first' })
    await session.post([connectPacket()], { 'x-step': 'second' })
    expect(seen).toEqual(['first', 'second', 'first', 'first', 'polling'])
  })
})

describe('refusing a request (facts 1.2 to 1.4)', () => {
  test('a bare server answers 400 when an engine middleware says no, whatever it says', async () => {
    const host = await serve((io) => io.engine.use((_request: unknown, _response: unknown, next: (error: Error) => void) => next(new Error('too many'))))
    expect(await ask(host, {})).toMatchObject({ status: 400, body: '{"code":3,"message":"Bad request"}' })
    expect(await askUpgrade(host)).toMatchObject({ status: 400, body: 'Bad request' })
  })

  test('a bare server cuts an upgrade off without any answer when an engine middleware ends the response', async () => {
    const host = await serve((io) => io.engine.use((_request: unknown, response: { writeHead(status: number): void; end(): void }) => {
      response.writeHead(429)
      response.end()
    }))
    await expect(askUpgrade(host)).rejects.toThrow('socket hang up')
  })

  test('a bare server tells the client the words of allowRequest, with 403 to a poll and 400 to an upgrade', async () => {
    const host = await serve(() => undefined, { allowRequest: (_request, done) => done('user 17 is banned', false) })
    expect(await ask(host, {})).toMatchObject({ status: 403, body: '{"code":4,"message":"user 17 is banned"}' })
    expect(await askUpgrade(host)).toMatchObject({ status: 400, body: 'user 17 is banned' })
  })

  describe.each([
    ['UNAUTHENTICATED', 401],
    ['FORBIDDEN', 403],
    ['RATE_LIMITED', 429],
    ['UNAVAILABLE', 503],
  ] as [Code, number][])('the gate refuses with %s', (code, status) => {
    test.each([
      ['synchronously', () => deny(code, { retryAfterMs: 1_200 })],
      ['asynchronously', async () => {
        await new Promise(setImmediate)
        deny(code, { retryAfterMs: 1_200 })
      }],
    ])(`%s: ${status} to polls and to upgrades, and the refusal in the body`, async (_how, refuse) => {
      let closed = false
      const host = await serve((io) => open(io).request((_ctx, next) => (closed ? refuse() : next())))
      const seen = watch(host.gate)
      const session = await polling(host)
      closed = true
      const answers = [await ask(host, {}), await session.poll(), await session.post([connectPacket()]), await session.upgrade(), await askUpgrade(host)]
      for (const answer of answers) {
        expect(answer.status).toBe(status)
        expect(answer.headers).toMatchObject({ 'content-type': 'application/json', 'cache-control': 'no-store', 'retry-after': '2' })
        expect(errorOf(answer)).toMatchObject({ code, retryAfterMs: 1_200, message: expect.any(String) })
      }
      expect(seen.denied.map(({ id, stage }) => [stage, id])).toEqual(answers.map((answer) => ['request', errorOf(answer).id]))
      closed = false
      expect((await session.post([connectPacket()])).status).toBe(200)
    })
  })

  test('the gate answers a hook that breaks with 503 and says nothing of it', async () => {
    const host = await serve((io) => open(io).request(() => {
      throw new Error('password of the database')
    }))
    const { fault } = watch(host.gate)
    for (const answer of [await ask(host, {}), await askUpgrade(host)]) {
      expect(answer.status).toBe(503)
      expect(Object.keys(errorOf(answer)).sort()).toEqual(['code', 'id', 'message'])
      expect(answer.body).not.toContain('password')
    }
    expect(fault.map(({ error }) => (error?.cause as Error).message)).toEqual(['password of the database', 'password of the database'])
  })

  test('the gate keeps the headers of cors on its refusals, so that the page can read them', async () => {
    const host = await serve((io) => open(io).request(() => deny('RATE_LIMITED')), { cors: { origin: HOME } })
    expect(await ask(host, {}, { headers: { origin: HOME } })).toMatchObject({ status: 429, headers: { 'access-control-allow-origin': HOME } })
  })

  test('the gate leaves the allowRequest of the application in force', async () => {
    const host = await serve(open, { allowRequest: (_request, done) => done('closed', false) })
    expect(await ask(host, {})).toMatchObject({ status: 403, body: '{"code":4,"message":"closed"}' })
  })
})

describe('pages of other origins (fact 1.6)', () => {
  const foreign = { origin: EVIL, cookie: 'session=of-the-victim' }

  test('a bare server with cors lets a foreign page open a session by polling, and connect by WebSocket', async () => {
    const host = await serve(() => undefined, { cors: { origin: HOME, credentials: true } })
    expect((await ask(host, {}, { headers: foreign })).status).toBe(200)
    const socket = await raw(host, { headers: foreign })
    expect(await socket.enter()).toHaveProperty('sid')
  })

  test('the gate refuses both, and the POST and the upgrade of a session as well', async () => {
    const host = await serve((io) => open(io).use(origin({ allow: [HOME] })), { cors: { origin: HOME, credentials: true } })
    // A same-origin GET of a browser: without an Origin.
    const session = await polling(host)
    for (const answer of [await ask(host, {}, { headers: foreign }), await askUpgrade(host, {}, foreign), await session.post([connectPacket()], foreign), await session.upgrade(foreign)]) {
      expect(answer.status).toBe(403)
      expect(errorOf(answer).code).toBe('ORIGIN_NOT_ALLOWED')
    }
    expect(host.io.sockets.sockets.size).toBe(0)
    expect((await session.post([connectPacket()], { origin: HOME })).status).toBe(200)
  })

  test('the gate accepts no CONNECT of a session that never showed an Origin', async () => {
    const host = await serve((io) => open(io).use(origin({ allow: [HOME] })))
    const session = await polling(host)
    expect((await session.post([connectPacket()])).status).toBe(403)
    expect((await session.upgrade()).status).toBe(403)
    expect(host.io.sockets.sockets.size).toBe(0)
  })
})

describe('the sid is a bearer secret (fact 1.9)', () => {
  test('a bare server takes packets for a session from any origin that knows its sid', async () => {
    const events: string[] = []
    const host = await serve((io) => void io.on('connection', (socket) => socket.on('pay', () => events.push('pay'))))
    const victim = await polling(host, { origin: HOME, cookie: 'session=1' })
    await victim.post([connectPacket()])
    expect((await victim.post(['2["pay"]'], { origin: EVIL })).status).toBe(200)
    await until(() => events.length > 0)
    expect((await victim.upgrade({ origin: EVIL })).status).toBe(101)
  })

  test('the gate refuses a session to another Origin than its first, at polls, posts and upgrades, and leaves it to its owner', async () => {
    const events: string[] = []
    const host = await serve((io) => {
      io.on('connection', (socket) => socket.on('pay', (who) => events.push(who)))
      return open(io).event('pay')
    })
    const { denied } = watch(host.gate)
    const victim = await polling(host, { origin: HOME })
    await victim.post([connectPacket()])
    for (const answer of [await victim.post(['2["pay","evil"]'], { origin: EVIL }), await victim.poll({ origin: EVIL }), await victim.upgrade({ origin: EVIL })]) {
      expect([answer.status, errorOf(answer).code]).toEqual([403, 'ORIGIN_NOT_ALLOWED'])
    }
    expect(denied.map(({ policy }) => policy)).toEqual(['origin-pin', 'origin-pin', 'origin-pin'])
    await victim.post(['2["pay","home"]'])
    await until(() => events.length > 0)
    expect(events).toEqual(['home'])
    expect((await victim.upgrade()).status).toBe(101)
  })

  test('the gate takes the first Origin present, wherever in the session it comes', async () => {
    const host = await serve(open)
    const session = await polling(host)
    expect((await session.post([connectPacket()])).status).toBe(200)
    expect((await session.post([eventPacket(["x"])], { origin: HOME })).status).toBe(200)
    expect((await session.upgrade({ origin: EVIL })).status).toBe(403)
    // Absent is not another one: a page polls its own server without.
    expect((await session.poll({})).status).toBe(200)
    expect((await session.upgrade({ origin: HOME })).status).toBe(101)
  })

  test('a refused request pins nothing: a thief with an Origin that is not allowed cannot lock the owner out', async () => {
    const host = await serve((io) => open(io).use(origin({ allow: [HOME] })))
    const session = await polling(host)
    expect((await session.upgrade({ origin: EVIL })).status).toBe(403)
    expect((await session.post([connectPacket()], { origin: HOME })).status).toBe(200)
  })

  test('of two Origins that are decided at one time, one has the session', async () => {
    const latch = new Latch()
    let waiting = 0
    const host = await serve((io) => open(io).request(async ({ opening }, next) => {
      waiting++
      if (!opening) await latch.opened
      await next()
    }))
    const session = await polling(host)
    const posts = Promise.all([session.post([connectPacket()], { origin: HOME }), session.upgrade({ origin: EVIL })])
    await until(() => waiting === 3)
    latch.open()
    expect((await posts).map(({ status }) => status).sort()).toEqual([200, 403].sort())
  })

  test('the gate keeps the Origin of a session whose request the application has dropped', async () => {
    const host = await serve((io) => {
      io.engine.on('connection', (connection: { request: unknown }) => (connection.request = null))
      return open(io)
    })
    const session = await polling(host, { origin: HOME })
    expect((await session.post([connectPacket()], { origin: EVIL })).status).toBe(403)
    expect((await session.post([connectPacket()])).status).toBe(200)
  })
})

describe('JSONP', () => {
  test('a bare server answers it, so that a script tag of a foreign page reads the sid', async () => {
    const host = await serve(() => undefined)
    expect(await ask(host, 'j=0')).toMatchObject({ status: 200, body: expect.stringMatching(/^___eio\[0\]\("0\{\\"sid/) })
  })

  test.each(['j=0', 'j=', 'j', 'j=1&j=', 'j=__proto__'])('the gate refuses it with %s in the query, at the opening, at polls and at posts', async (query) => {
    const host = await serve(open)
    const session = await polling(host)
    for (const answer of [await ask(host, query), await ask(host, `sid=${session.sid}&${query}`), await ask(host, `sid=${session.sid}&${query}`, { method: 'POST', body: 'd=40' }), await askUpgrade(host, query)]) {
      expect([answer.status, errorOf(answer).code]).toEqual([403, 'ORIGIN_NOT_ALLOWED'])
      expect(answer.body).not.toContain('sid')
    }
    expect(host.io.engine.clientsCount).toBe(1)
  })
})

describe('what the query holds (fact 1.15)', () => {
  test.each(['sid=__proto__', 'sid=constructor', 'sid=toString', 'sid=nobody'])('the gate lets the engine answer an unknown session: %s', async (query) => {
    const host = await serve(open)
    expect(await ask(host, query, { headers: { origin: HOME } })).toMatchObject({ status: 400, body: '{"code":1,"message":"Session ID unknown"}' })
    expect((await askUpgrade(host, query, { origin: EVIL })).status).toBe(400)
  })

  test('the gate takes the last of several sids, as the engine does', async () => {
    const asked: boolean[] = []
    const host = await serve((io) => open(io).request(({ opening }, next) => {
      asked.push(opening)
      return next()
    }))
    const { sid } = await polling(host, { origin: HOME })
    expect((await ask(host, `sid=nobody&sid=${sid}`, { headers: { origin: EVIL } })).status).toBe(403)
    expect((await ask(host, `sid=${sid}&sid=`)).status).toBe(200)
    expect(asked).toEqual([true, true])
    expect(host.io.engine.clientsCount).toBe(2)
  })

  test('a connect hook sees the keys of the query as plain data', async () => {
    let query: any
    const host = await serve((io) => guard(io).connect((ctx, next) => {
      query = ctx.handshake.query
      return next()
    }))
    const socket = await raw(host, { query: 'token=a&token=b&__proto__=x&constructor=y' })
    await socket.enter()
    expect(query.token).toBe('b')
    expect(Object.entries(query)).toEqual(expect.arrayContaining([['__proto__', 'x'], ['constructor', 'y']]))
    expect(({} as Record<string, unknown>)['x']).toBeUndefined()
  })
})

describe('the address (fact 1.8)', () => {
  const forged = { 'x-forwarded-for': '203.0.113.9, 198.51.100.7' }

  async function addresses(options: Parameters<typeof guard>[1]): Promise<string[]> {
    const seen: string[] = []
    const note = (ctx: { readonly address: string }, next: Next) => {
      seen.push(ctx.address)
      return next()
    }
    const host = await serve((io) => {
      io.on('connection', (socket) => socket.on('ping', (ack) => ack(socket.handshake.address)))
      return guard(io, options).request(note).connect(note).event('ping', note)
    })
    const socket = await raw(host, { headers: forged })
    await socket.enter()
    // What Socket.IO itself says is the proxy, if there is one.
    expect(await socket.ask(['ping'])).toEqual(['127.0.0.1'])
    return seen
  }

  test('the gate believes no forwarding header unless told to', async () => {
    expect(await addresses({})).toEqual(['127.0.0.1', '127.0.0.1', '127.0.0.1'])
  })

  test('behind one trusted proxy the gate takes what that proxy wrote, at every stage', async () => {
    expect(await addresses({ trustProxy: 1 })).toEqual(['198.51.100.7', '198.51.100.7', '198.51.100.7'])
  })
})

describe('a connection without its request (fact 1.11)', () => {
  test('connect hooks get empty headers, no request and still the address', async () => {
    const seen: unknown[] = []
    const host = await serve((io) => {
      io.engine.on('connection', (connection: { request: unknown }) => (connection.request = null))
      io.on('connection', (socket) => seen.push(socket.request, socket.handshake.headers))
      return guard(io).connect((ctx, next) => {
        seen.push(ctx.request, ctx.headers, ctx.address, ctx.handshake.query)
        return next()
      })
    })
    await entered(host)
    expect(seen).toEqual([undefined, {}, '127.0.0.1', {}, null, {}])
  })
})

describe('engines (fact 1.13)', () => {
  const refuseAll = (io: Server): Gate => guard(io).connect(admit).request(() => deny('UNAVAILABLE'))

  test('a server has no engine before it is attached, and the gate guards the one it gets', async () => {
    const io = new Server({ serveClient: false })
    closeAfterTest(() => io.close())
    expect(io.engine).toBeUndefined()
    const gate = refuseAll(io)
    closeAfterTest(() => gate.close())
    const http = createServer()
    io.attach(http)
    const port = await listen(http)
    expect((await ask({ port }, {})).status).toBe(503)
  })

  test('the gate guards each of several engines: attached twice, and bound by hand', async () => {
    const host = await serve(refuseAll)
    const first = host.io.engine
    const second = createServer()
    host.io.attach(second)
    expect(host.io.engine).not.toBe(first)
    const third = createServer()
    const engine = new Engine()
    engine.attach(third, { path: '/socket.io' })
    host.io.bind(engine)
    closeAfterTest(() => Promise.all([second, third].map((http) => new Promise((resolve) => http.close(resolve)))))
    for (const { port } of [host, { port: await listen(second) }, { port: await listen(third) }]) {
      expect((await ask({ port }, {})).status).toBe(503)
      expect((await askUpgrade({ port })).status).toBe(503)
    }
  })

  test('an engine that is bound again is not asked twice', async () => {
    let asked = 0
    const host = await serve((io) => {
      const gate = open(io).request((_ctx, next) => {
        asked++
        return next()
      })
      io.bind(io.engine)
      return gate
    })
    await ask(host, {})
    expect(asked).toBe(1)
  })
})

describe('clients that vanish while a request hook is pending', () => {
  /** Sends the head of a request, and resets the connection once the hook has it. */
  async function vanish(host: Host<unknown>, head: string, pending: () => boolean): Promise<void> {
    const socket = tcp(host.port, '127.0.0.1')
    socket.write(head)
    await until(pending)
    socket.resetAndDestroy()
  }

  test.each([
    ['an upgrade', 'GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAECAwQFBgcICQoLDA0ODw==\r\n\r\n'],
    ['a poll', 'GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n'],
  ])('%s that is reset opens no session, and its policies hear that it is over', async (_kind, head) => {
    const latch = new Latch()
    const fates: Fate[] = []
    let pending = false
    const host = await serve((io) => {
      const gate = open(io).request(async (ctx, next) => {
        if (ctx.headers['x-later'] === undefined) {
          ctx.onSettled((fate) => fates.push(fate))
          pending = true
          await latch.opened
        }
        await next()
      })
      return gate
    })
    await vanish(host, head, () => pending)
    // A later connection has been answered, so the reset has been seen as well.
    expect((await ask(host, {}, { headers: { 'x-later': '1' } })).status).toBe(200)
    latch.open()
    await until(() => fates.length > 0)
    expect(fates).toEqual([{ outcome: 'unacked' }])
    expect(host.io.engine.clientsCount).toBe(1)
  })
})

describe('ways in that pass no request (facts 1.14, 1.16)', () => {
  const text = new TextEncoder()
  const packet = (data: string) => Uint8Array.of(data.length, ...text.encode(data))

  /** A WebTransport session, as the engine sees one. */
  class FakeSession {
    readonly received: string[] = []
    readonly incomingBidirectionalStreams: ReadableStream
    readonly closed: Promise<void>
    isClosed = false
    close!: () => void
    #send!: (data: string) => void

    constructor() {
      const readable = new ReadableStream({ start: (controller) => void (this.#send = (data) => controller.enqueue(packet(data))) })
      const writable = new WritableStream({ write: (chunk: Uint8Array) => void this.received.push(new TextDecoder().decode(chunk)) })
      this.incomingBidirectionalStreams = new ReadableStream({ start: (controller) => controller.enqueue({ readable, writable }) })
      this.closed = new Promise((resolve) => (this.close = () => resolve(void (this.isClosed = true))))
      this.#send('0')
    }

    send(data: string): void {
      this.#send(data)
    }
  }

  const options = { transports: ['polling', 'websocket', 'webtransport'] as const, allowRequest: (_request: unknown, done: (message: string, allowed: boolean) => void) => done('closed', false) }
  const engineOf = (host: Host<unknown>) => host.io.engine as { onWebTransportSession(session: unknown): Promise<void> }

  test('a bare server lets a WebTransport session in although allowRequest refuses everybody', async () => {
    const host = await serve(() => undefined, options as never)
    const session = new FakeSession()
    await engineOf(host).onWebTransportSession(session)
    session.send('40')
    const [socket] = await heard(host.io, 'connection')
    expect(socket.request).toBeNull()
    session.close()
  })

  test('a bare server with any engine middleware closes every WebTransport session', async () => {
    const host = await serve((io) => io.engine.use((_request: unknown, _response: unknown, next: () => void) => next()), options as never)
    const session = new FakeSession()
    await engineOf(host).onWebTransportSession(session)
    expect(session.isClosed).toBe(true)
  })

  test('guard refuses a server with WebTransport', () => {
    const io = new Server(createServer(), options as never)
    expect(() => guard(io)).toThrow(ConfigError)
    expect(() => guard(io)).toThrow(/dangerouslyAllow: \['webtransport'\]/)
  })

  test('the gate asks its connect hooks about a WebTransport session that was accepted dangerously', async () => {
    const seen: unknown[] = []
    const host = await serve((io) => guard(io, { dangerouslyAllow: ['webtransport'] }).connect((ctx) => {
      seen.push(ctx.request, ctx.headers)
      deny('UNAUTHENTICATED')
    }), options as never)
    const session = new FakeSession()
    await engineOf(host).onWebTransportSession(session)
    session.send('40')
    await until(() => session.received.some((data) => data.includes('UNAUTHENTICATED')))
    expect(seen).toEqual([undefined, {}])
    expect(host.io.sockets.sockets.size).toBe(0)
    // The engine's own middleware is where it was.
    expect((await ask(host, 'j=1')).status).toBe(403)
    session.close()
  })

  test('a bare server with allowEIO3 lets a client into "/" without a CONNECT, and shows its session secret as the socket id', async () => {
    const host = await serve(() => undefined, { allowEIO3: true })
    const connection = heard(host.io, 'connection')
    const socket = await raw(host, { query: { EIO: '3' } })
    expect((await connection)[0].id).toBe(socket.sid)
  })

  test('guard refuses a server with allowEIO3, and an engine bound later that has it', async () => {
    expect(() => guard(new Server(createServer(), { allowEIO3: true }))).toThrow(/dangerouslyAllow: \['eio3'\]/)
    const host = await serve(open)
    expect(() => host.io.bind(new Engine({ allowEIO3: true }) as never)).toThrow(ConfigError)
  })

  test('the gate asks its connect hooks about a revision 3 client that was accepted dangerously', async () => {
    const host = await serve((io) => guard(io, { dangerouslyAllow: ['eio3'] }).connect(() => deny('UNAUTHENTICATED')), { allowEIO3: true })
    const socket = await raw(host, { query: { EIO: '3' } })
    expect(JSON.parse((await socket.next('4{')).slice(1))).toMatchObject({ code: 'UNAUTHENTICATED' })
    expect(host.io.sockets.sockets.size).toBe(0)
    expect((await refusal(client(host))).message).toBe('UNAUTHENTICATED')
  })
})
