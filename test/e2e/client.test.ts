import { randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { createServer, type IncomingMessage } from 'node:http'
import { createServer as createTcpServer, type Socket as TcpSocket } from 'node:net'
import { transform } from '@swc/core'
import { afterAll, describe, expect, test } from '@jest/globals'
import express from 'express'
import { deny, fromAuth, fromCookie, guard, memoryStore, type GuardOptions, type Principal, type Scheme } from 'portcullis'
import { tickets } from 'portcullis/adapters/ticket'
import { connect, GateError, type ChangedNotice, type Closed, type Connection, type ConnectOptions, type Pause } from 'portcullis/client'
import { contract } from 'portcullis/contract'
import { authenticate, csrf, rateLimit } from 'portcullis/policies'
import { testClock } from 'portcullis/testing'
import type { Browser } from 'playwright-core'
import { Server } from 'socket.io'
import { CookieJar } from 'tough-cookie'
import { z } from 'zod'
import { browserTest, launch } from '../support/chromium.ts'
import { closeAfterTest, Latch, listen, serve, until, watch } from '../support/server.ts'

const NOW = Date.UTC(2025, 0, 1)
const MINUTE = 60_000
const transports: [name: string, transports: string[]][] = [
  ['polling', ['polling']],
  ['WebSocket', ['websocket']],
  ['polling and its upgrade', ['polling', 'websocket']],
]

const shop = contract({
  events: {
    add: { args: [z.number(), z.number()], reply: z.number() },
    often: { reply: z.string() },
    secret: {},
  },
  deliveries: { news: { data: z.string() } },
})

/** Tokens of the form `subject:minutes:serial`, good for so many minutes from the start; each is a credential of its own. */
function word(seen: string[]): Scheme<string> {
  return {
    name: 'word',
    read: fromAuth('token'),
    verify: (token, { now }): Principal => {
      seen.push(token)
      const [subject = '', minutes] = token.split(':')
      const expiresAtMs = NOW + Number(minutes) * MINUTE
      if (subject === '' || !(expiresAtMs > now)) deny('UNAUTHENTICATED')
      return { subject, claims: {}, expiresAtMs, tokenId: token, factors: ['pwd'] }
    },
  }
}

/** A server under a gate, whose clock a test moves. `seen` are the credentials that were looked at, in order. */
async function start(options: GuardOptions = {}, serving: Parameters<typeof serve>[1] = {}) {
  const clock = testClock(NOW)
  const seen: string[] = []
  const host = await serve((io) => {
    const gate = guard(io, { clock, ...options }).use(authenticate(word(seen)))
    gate
      .of('/', shop)
      .event(['add', 'secret'])
      .event('often', rateLimit({ limit: 1, perMs: 5_000 }))
      .event('secret', () => deny('FORBIDDEN', { reason: 'closed' }))
    io.on('connection', (socket) => {
      socket.on('add', (a: number, b: number, ack: (sum: number) => void) => ack(a + b))
      socket.on('often', (ack: (answer: string) => void) => ack('yes'))
      socket.on('secret', () => {})
    })
    return gate
  }, serving)
  return { ...host, clock, seen, watched: watch(host.gate) }
}

function join({ url }: { readonly url: string }, credentials: ConnectOptions['credentials'], options: Partial<ConnectOptions> = {}) {
  const connection = connect<typeof shop>(url, { credentials, transports: ['websocket'], minDelayMs: 10, ...options })
  closeAfterTest(() => connection.close())
  const closed: Closed[] = []
  const pauses: Pause[] = []
  connection.on('closed', (last) => closed.push(last))
  connection.on('state', (_, pause) => pause && pauses.push(pause))
  return { connection, closed, pauses }
}

const connected = (connection: Pick<Connection, 'state'>): Promise<void> => until(() => connection.state === 'connected')

describe('a server that goes away and comes back (A26)', () => {
  async function port(): Promise<number> {
    const probe = createServer()
    const found = await listen(probe)
    await new Promise((resolve) => probe.close(resolve))
    return found
  }

  const forEver: Scheme<string> = { ...word([]), verify: (subject) => ({ subject, claims: {}, expiresAtMs: 'never', factors: [] }) }

  test('is found again, with a credential asked for anew', async () => {
    const at = await port()
    const serveAt = async (): Promise<Server> => {
      const http = createServer()
      const io = new Server(http, { serveClient: false })
      guard(io).use(authenticate(forEver)).of('/', shop)
      closeAfterTest(() => io.close())
      await new Promise<void>((resolve) => http.listen(at, '127.0.0.1', resolve))
      return io
    }
    const first = await serveAt()
    let asked = 0
    const { connection, pauses } = join({ url: `http://127.0.0.1:${at}` }, () => ({ token: `alice ${++asked}` }), { maxAttempts: 1_000, maxDelayMs: 40 })
    await connected(connection)
    await first.close()
    await until(() => pauses.length >= 4)
    await serveAt()
    await connected(connection)
    expect(asked).toBeGreaterThanOrEqual(5)
  })

  test('when it does not come back: five tries at most, ever longer pauses, then one last event', async () => {
    let tries = 0
    const tcp = createTcpServer((socket: TcpSocket) => {
      tries++
      socket.destroy()
    })
    const at = await listen(tcp as never)
    closeAfterTest(() => tcp.close())
    const { connection, closed, pauses } = join({ url: `http://127.0.0.1:${at}` }, () => ({ token: 'alice:9' }))
    await until(() => connection.state === 'closed')
    expect(tries).toBe(5)
    const waits = pauses.map(({ inMs }) => inMs)
    expect(waits).toHaveLength(4)
    expect(waits).toEqual([...waits].sort((a, b) => a - b))
    expect(closed).toEqual([{ reason: 'attempts', error: expect.objectContaining({ code: 'UNREACHABLE' }) }])
    await new Promise((resolve) => setTimeout(resolve, 100))
    expect(tries).toBe(5)
    expect(closed).toHaveLength(1)
  })

  test('gives back what was sent meanwhile, where it recovers connections, to the next credential of the same subject', async () => {
    const host = await start({}, { connectionStateRecovery: {} })
    let n = 0
    const { connection } = join(host, () => ({ token: `alice:60:${n++}` }), { minDelayMs: 200 })
    await connected(connection)
    const news: string[] = []
    connection.socket.on('news', (text) => news.push(text))
    host.io.emit('news', 'first')
    await until(() => news.length === 1)
    const { conn } = [...host.io.sockets.sockets.values()][0]! as { conn: any }
    conn.transport.socket._socket.destroy()
    await until(() => connection.state === 'waiting')
    host.io.emit('news', 'second')
    await until(() => news.length === 2)
    await connected(connection)
    expect(news).toEqual(['first', 'second'])
    expect(connection.socket.recovered).toBe(true)
    expect(host.seen).toEqual(['alice:60:0', 'alice:60:1'])
  })

  test('one that refuses gets one credential, and at most one other', async () => {
    const { seen, ...host } = await start()
    const same = join(host, () => ({ token: 'bad:-1' }))
    await until(() => same.connection.state === 'closed')
    expect(seen).toEqual(['bad:-1'])
    expect(same.closed).toEqual([{ reason: 'refused', error: expect.objectContaining({ name: 'GateError', code: 'UNAUTHENTICATED' }) }])

    seen.length = 0
    let n = 0
    const other = join(host, () => ({ token: `bad:-1:${n++}` }))
    await until(() => other.connection.state === 'closed')
    expect(seen).toEqual(['bad:-1:0', 'bad:-1:1'])
    expect(other.closed).toMatchObject([{ reason: 'refused', error: { code: 'UNAUTHENTICATED' } }])
  })
})

describe.each(transports)('over %s', (_, over) => {
  test('a credential is renewed before it ends, without reconnecting', async () => {
    const { clock, seen, ...host } = await start()
    const { connection } = join(host, ({ reason }) => ({ token: reason === 'connect' ? 'alice:10' : 'alice:60:2' }), { transports: over })
    const states: string[] = []
    connection.on('state', (state) => states.push(state))
    await connected(connection)
    const { id } = connection.socket
    const refreshed = new Promise((resolve) => connection.on('refreshed', resolve))
    const expiring = new Promise((resolve) => connection.on('expiring', resolve))
    clock.advance(9 * MINUTE)
    expect(await expiring).toEqual({ expiresAtMs: NOW + 10 * MINUTE, inMs: MINUTE })
    expect(await refreshed).toEqual({ expiresAtMs: NOW + 60 * MINUTE, lost: { rooms: [], rights: [] } })
    clock.advance(2 * MINUTE)
    expect(await connection.request('add', 1, 2)).toBe(3)
    expect(connection.socket.id).toBe(id)
    expect(states).toEqual(['connected'])
    expect(seen).toEqual(['alice:10', 'alice:60:2'])
  })

  test('a revoked credential is not sent again', async () => {
    const { gate, seen, ...host } = await start()
    const { connection, closed } = join(host, () => ({ token: 'alice:60' }), { transports: over })
    const refused: GateError[] = []
    connection.on('refused', (error) => refused.push(error))
    await connected(connection)
    await gate.revoke({ subject: 'alice' }, { reason: 'left' })
    await until(() => connection.state === 'closed')
    expect(seen).toEqual(['alice:60'])
    expect(refused).toEqual([expect.objectContaining({ code: 'REVOKED', details: { reason: 'left' } })])
    expect(closed).toEqual([{ reason: 'refused', error: refused[0] }])
  })
})

describe('the life of a credential', () => {
  test('another one of a revoked subject is tried once, and then it is over', async () => {
    const { gate, seen, ...host } = await start()
    let n = 0
    const { connection, closed } = join(host, () => ({ token: `alice:60:${n++}` }))
    await connected(connection)
    await gate.revoke({ subject: 'alice' }, { reason: 'left' })
    await until(() => connection.state === 'closed')
    expect(seen).toEqual(['alice:60:0', 'alice:60:1'])
    expect(closed).toMatchObject([{ reason: 'refused', error: { code: 'UNAUTHENTICATED' } }])
  })

  test('where only one token was revoked, the next one is let in', async () => {
    const { gate, seen, ...host } = await start()
    let n = 0
    const { connection } = join(host, () => ({ token: `alice:60:${n++}` }))
    await connected(connection)
    await gate.revoke({ token: 'alice:60:0' }, { reason: 'stolen' })
    await until(() => seen.length === 2)
    await connected(connection)
    expect(await connection.request('add', 1, 2)).toBe(3)
  })

  test('one that ended for want of another is come back for with a fresh one', async () => {
    const { clock, seen, ...host } = await start()
    const { connection } = join(host, ({ reason }) => (reason === 'expiring' ? Promise.reject(new Error('offline')) : { token: reason === 'connect' ? 'alice:10' : 'alice:60' }), { minDelayMs: 1_000 })
    await connected(connection)
    const failed = new Promise((resolve) => connection.on('failed', resolve))
    clock.advance(9 * MINUTE)
    expect(await failed).toMatchObject({ code: 'CREDENTIALS' })
    clock.advance(MINUTE)
    await until(() => seen.length === 2)
    await connected(connection)
    expect(seen).toEqual(['alice:10', 'alice:60'])
  })

  test('a refresh by somebody else is refused, and the connection stays who it was', async () => {
    const host = await start()
    const { connection } = join(host, () => ({ token: 'alice:60' }))
    await connected(connection)
    await expect(connection.refresh({ token: 'bob:60' })).rejects.toBeInstanceOf(GateError)
    expect(await connection.request('add', 1, 2)).toBe(3)
    expect(host.gate.peerOf(host.io.sockets.sockets.get(connection.socket.id!)!).principal.subject).toBe('alice')
  })

  test('what the server decides anew is told', async () => {
    const host = await start()
    const { connection } = join(host, () => ({ token: 'alice:60' }))
    await connected(connection)
    const changed = new Promise<ChangedNotice>((resolve) => connection.on('changed', resolve))
    await host.gate.reauthorize({ subject: 'alice' })
    expect(await changed).toEqual({ cause: 'reauthorized', expiresAtMs: NOW + 60 * MINUTE, lost: { rooms: [], rights: [] } })
  })

  test('a ticket is fetched for every connect, and none is used twice', async () => {
    const store = memoryStore()
    const own = tickets({ store })
    const used: string[] = []
    const host = await serve((io) => {
      const gate = guard(io, { store }).use(authenticate(own.scheme()))
      gate.of('/', shop)
      io.on('connection', (socket) => used.push(String(socket.handshake.auth['ticket'])))
      return gate
    })
    const request = { headers: {}, socket: { remoteAddress: '127.0.0.1' } } as IncomingMessage
    const fetchTicket = async () => ({ ticket: (await own.issue({ subject: 'alice', expiresAtMs: Date.now() + MINUTE }, request)).ticket })
    const { connection } = join(host, fetchTicket)
    await connected(connection)
    for (const n of [2, 3]) {
      const { conn } = [...host.io.sockets.sockets.values()][0]! as { conn: any }
      conn.transport.socket._socket.destroy()
      await until(() => used.length === n)
      await connected(connection)
    }
    expect(new Set(used).size).toBe(3)

    const again = join(host, () => ({ ticket: used[0]! }))
    await until(() => again.connection.state === 'closed')
    expect(again.closed).toMatchObject([{ reason: 'refused', error: { code: 'UNAUTHENTICATED' } }])
  })
})

describe('errors', () => {
  test('of requests have the code, the id of the record, and what the gate says more', async () => {
    const host = await start()
    const { connection } = join(host, () => ({ token: 'alice:60' }))
    await connected(connection)
    expect(await connection.request('often')).toBe('yes')
    const limited = (await connection.request('often').catch((error: unknown) => error)) as GateError
    expect(limited).toBeInstanceOf(GateError)
    expect(limited).toMatchObject({ code: 'RATE_LIMITED', retryAfterMs: 5_000 })
    expect(limited.id).toBe(host.watched.denied.at(-1)!.id)
    await expect(connection.request('secret')).rejects.toMatchObject({ code: 'FORBIDDEN', message: 'This is not allowed.', details: { reason: 'closed' } })
    await expect(connection.request('add', 'one' as never, 2)).rejects.toMatchObject({ code: 'INVALID_PAYLOAD' })
    await expect((connection as unknown as Connection).request('unheard of')).rejects.toMatchObject({ code: 'UNKNOWN_EVENT' })
    await expect(connection.stepUp('123456')).rejects.toMatchObject({ code: 'UNKNOWN_EVENT' })
  })

  test('at the door are final where time cannot turn them', async () => {
    const host = await start()
    const { connection, closed } = join({ url: `${host.url}/nowhere` }, () => ({ token: 'alice:60' }))
    await until(() => connection.state === 'closed')
    expect(closed).toMatchObject([{ reason: 'refused' }])
  })

  test('of the HTTP request are read, where the transport lets them through', async () => {
    const host = await serve((io) => guard(io).request(() => deny('FORBIDDEN', { reason: 'closed' })))
    const { connection, closed } = join(host, () => ({}), { transports: ['polling'] })
    await until(() => connection.state === 'closed')
    expect(closed).toEqual([{ reason: 'refused', error: expect.objectContaining({ name: 'GateError', code: 'FORBIDDEN', details: { reason: 'closed' } }) }])
  })
})

/**
 * An application with cookie sessions: `/login`, `/logout`, `/csrf`, and a way to get a new session id for a ticket, which is good once
 * and beside the old cookie alone. A socket is asked to renew with `renew`.
 */
async function signedIn({ before = async () => {}, page }: { readonly before?: (request: express.Request, response: express.Response) => Promise<unknown>; readonly page?: string } = {}) {
  const sessions = new Map<string, string>()
  const tickets = new Map<string, string>()
  const entered: string[] = []
  const app = express()
  const http = createServer(app)
  const io = new Server(http, page === undefined ? {} : { cors: { origin: page, credentials: true } })
  const port = await listen(http)
  closeAfterTest(() => io.close())
  if (page !== undefined) {
    app.use((request, response, next) => {
      response.set({ 'Access-Control-Allow-Origin': page, 'Access-Control-Allow-Credentials': 'true', 'Access-Control-Allow-Headers': 'content-type' })
      if (request.method === 'OPTIONS') response.sendStatus(204)
      else next()
    })
  }
  const url = `http://127.0.0.1:${port}`

  const sameSite = csrf({ origins: [page ?? url], secret: 'a secret of thirty-two characters!', session: fromCookie('sid') })
  const bySession: Scheme<string> = {
    name: 'session',
    read: fromCookie('sid'),
    verify: (sid) => ({ subject: sessions.get(sid) ?? deny('UNAUTHENTICATED'), claims: {}, expiresAtMs: 'never', tokenId: sid, factors: [] }),
  }
  const gate = guard(io).use(sameSite).use(authenticate(bySession))
  gate.of('/', shop).event('add')
  io.on('connection', (socket) => {
    entered.push(sidOf(socket.request)!)
    socket.on('add', (a: number, b: number, ack: (sum: number) => void) => ack(a + b))
  })

  const sidOf = ({ headers }: IncomingMessage): string | undefined => /(?:^|; )sid=([^;]*)/.exec(headers.cookie ?? '')?.[1]
  const begin = (response: express.Response, subject: string): express.Response => {
    const sid = randomUUID()
    sessions.set(sid, subject)
    return response.cookie('sid', sid, { httpOnly: true, sameSite: 'lax' })
  }
  app.post('/login', (_, response) => void begin(response, 'alice').sendStatus(204))
  app.post('/logout', async (request, response) => {
    const sid = sidOf(request)!
    sessions.delete(sid)
    await gate.revoke({ token: sid }, { reason: 'signed out' })
    response.sendStatus(204)
  })
  app.get('/csrf', (request, response) => void response.json({ csrf: sameSite.tokenFor(request) ?? null }))
  const posts: string[] = []
  app.post('/session/renew', express.json(), async (request, response) => {
    const { ticket } = request.body as { ticket: string }
    posts.push(ticket)
    await before(request, response)
    if (response.headersSent) return
    const sid = sidOf(request)
    const good = sid !== undefined && tickets.get(ticket) === sid
    tickets.delete(ticket)
    if (!good) return void response.status(403).json({ error: { code: 'FORBIDDEN', message: 'This is not allowed.', id: 'a1' } })
    const subject = sessions.get(sid)!
    sessions.delete(sid)
    begin(response, subject).sendStatus(204)
  })

  return {
    app, io, url, sessions, posts, entered, begin,
    /** Asks the socket there is for a new session id. */
    renew({ path = '/session/renew', sid = [...sessions.keys()].at(-1)! } = {}): void {
      const ticket = randomUUID()
      tickets.set(ticket, sid)
      io.emit('gate:renew', { ticket, path, expiresInMs: 30_000 })
    },
    cut: () => (([...io.sockets.sockets.values()][0]!.conn as any).transport.socket._socket as TcpSocket).destroy(),
  }
}

describe('a cookie session, in a program with a cookie jar', () => {
  /** As the guide shows it. */
  async function program({ url }: { readonly url: string }) {
    const jar = new CookieJar()
    const extraHeaders: Record<string, string> = { origin: url }
    const withJar: typeof fetch = async (input, init) => {
      const at = input instanceof Request ? input.url : String(input)
      const headers = new Headers(init?.headers)
      headers.set('cookie', await jar.getCookieString(at))
      const response = await fetch(input, { ...init, headers })
      for (const cookie of response.headers.getSetCookie()) await jar.setCookie(cookie, at)
      return response
    }
    const sid = async (): Promise<string | undefined> => (await jar.getCookies(url)).find(({ key }) => key === 'sid')?.value
    await withJar(`${url}/login`, { method: 'POST' })
    const begin = (first: () => Promise<unknown> = async () => {}) => {
      const joined = join(
        { url },
        async ({ signal }) => {
          await first()
          const response = await withJar(`${url}/csrf`, { signal })
          extraHeaders['cookie'] = await jar.getCookieString(url)
          return (await response.json()) as { csrf: string }
        },
        { extraHeaders, fetch: withJar },
      )
      const failed: unknown[] = []
      joined.connection.on('failed', (error) => failed.push([(error as { code?: string }).code, (error.cause as { code?: string } | undefined)?.code]))
      return { ...joined, failed }
    }
    return { jar, sid, begin, withJar }
  }

  test('gets a new id when it is asked to, and connects with that', async () => {
    const host = await signedIn()
    const { begin, sid } = await program(host)
    const first = await sid()
    const { connection, failed } = begin()
    await connected(connection)
    const ids = [first]
    for (let n = 0; n < 3; n++) {
      const renewed = new Promise<void>((resolve) => connection.on('renewed', resolve))
      host.renew()
      await renewed
      ids.push(await sid())
      expect(await connection.request('add', 1, n)).toBe(n + 1)
    }
    expect(new Set(ids).size).toBe(4)
    expect([...host.sessions.keys()]).toEqual([ids[3]])
    host.cut()
    await until(() => host.entered.length === 2)
    await connected(connection)
    expect(host.entered).toEqual([first, ids[3]])
    expect(failed).toEqual([])
  })

  test('a ticket is taken beside the cookie it was made for alone', async () => {
    const host = await signedIn()
    const { begin, sid, withJar } = await program(host)
    const first = (await sid())!
    const { connection, failed } = begin()
    await connected(connection)
    await withJar(`${host.url}/login`, { method: 'POST' })
    const own = await sid()
    host.renew({ sid: first })
    await until(() => failed.length === 1)
    expect(failed).toEqual([['RENEWAL', 'FORBIDDEN']])
    expect(await sid()).toBe(own)
    expect(await connection.request('add', 1, 1)).toBe(2)
  })

  test('that is lost while its cookie is on its way comes back with the new one, and the token that belongs to it', async () => {
    const [asked, held] = [new Latch(), new Latch()]
    const host = await signedIn({ before: () => (asked.open(), held.opened) })
    const { begin, sid } = await program(host)
    const { connection, failed, closed } = begin()
    await connected(connection)
    host.renew()
    await asked.opened
    host.cut()
    await until(() => connection.state === 'connecting')
    held.open()
    await until(() => host.entered.length === 2)
    await connected(connection)
    expect([host.entered[1], failed, closed]).toEqual([await sid(), [], []])
  })

  test('that is closed while it signs in comes back as who has signed in, where its credentials wait for that', async () => {
    const host = await signedIn()
    const held = new Latch()
    host.app.post('/slowly', async (_, response) => {
      host.sessions.clear()
      host.io.emit('gate:closing', { code: 'REVOKED', message: 'text', id: 'a1', reconnect: 'now' })
      host.io.disconnectSockets(true)
      await held.opened
      host.begin(response, 'bob').sendStatus(204)
    })
    const { sid, withJar, begin } = await program(host)
    let signingIn: Promise<unknown> = Promise.resolve()
    const { connection, failed, closed } = begin(() => signingIn)
    await connected(connection)
    signingIn = withJar(`${host.url}/slowly`, { method: 'POST' })
    await until(() => connection.state === 'connecting')
    held.open()
    await connected(connection)
    expect([host.entered.at(-1), failed, closed]).toEqual([await sid(), [], []])
  })

  test('that has signed out is not let in again; after the next sign-in it is', async () => {
    const host = await signedIn()
    const { begin, sid, withJar } = await program(host)
    const { connection, closed } = begin()
    await connected(connection)
    await withJar(`${host.url}/logout`, { method: 'POST' })
    await until(() => connection.state === 'closed')
    expect(closed).toMatchObject([{ reason: 'refused' }])
    expect(host.entered).toHaveLength(1)
    await withJar(`${host.url}/login`, { method: 'POST' })
    const again = begin()
    await connected(again.connection)
    expect(host.entered[1]).toBe(await sid())
  })
})

describe('in a browser', () => {
  let browser: Browser | undefined
  afterAll(() => browser?.close())

  browserTest('the very files, as modules, with the client that Socket.IO serves', async () => {
    const clock = testClock(NOW)
    const seen: string[] = []
    const http = createServer((request, response) => void answer(request.url!).then(
      ([type, body]) => response.writeHead(200, { 'Content-Type': type }).end(body),
      () => response.writeHead(404).end(),
    ))
    const io = new Server(http)
    const gate = guard(io, { clock }).use(authenticate(word(seen)))
    gate.of('/', shop).event('add').event('secret', () => deny('FORBIDDEN'))
    io.on('connection', (socket) => {
      socket.on('add', (a: number, b: number, ack: (sum: number) => void) => ack(a + b))
    })
    const port = await listen(http)
    closeAfterTest(() => io.close())

    browser ??= await launch()
    const page = await browser.newPage()
    const errors: Error[] = []
    page.on('pageerror', (error) => errors.push(error))
    await page.goto(`http://127.0.0.1:${port}/`)
    const result = await page.evaluate(async () => {
      const { connect, GateError, isRefusal } = (await import('portcullis/client'))
      const connection = connect(location.href, { credentials: ({ reason }) => ({ token: reason === 'connect' ? 'alice:10' : 'alice:60' }), minDelayMs: 10 })
      ;(window as any).refreshed = new Promise((resolve) => connection.on('refreshed', resolve))
      ;(window as any).ended = new Promise((resolve) => connection.on('closed', ({ reason, error }) => resolve([reason, (error as any)?.code])))
      const sum: unknown = await connection.request('add', 1, 2)
      const error = await connection.request('secret').catch((thrown: unknown) => thrown)
      return { sum, typed: error instanceof GateError && error.code, is: isRefusal(error), state: connection.state }
    })
    expect(result).toEqual({ sum: 3, typed: 'FORBIDDEN', is: true, state: 'connected' })
    clock.advance(9 * MINUTE)
    expect(await page.evaluate(() => (window as any).refreshed)).toMatchObject({ expiresAtMs: NOW + 60 * MINUTE })
    await gate.revoke({ subject: 'alice' }, { reason: 'left' })
    expect(await page.evaluate(() => (window as any).ended)).toEqual(['refused', 'REVOKED'])
    expect(seen).toEqual(['alice:10', 'alice:60'])
    expect(errors).toEqual([])
    await page.close()
  })

  /** A page of an application with cookie sessions, signed in and connected. */
  async function open(host: Awaited<ReturnType<typeof signedIn>>, at = host.url) {
    host.app.get(['/', '/client/:file'], (request, response) => void answer(request.url).then(
      ([type, body]) => response.type(type).send(body),
      () => response.sendStatus(404),
    ))
    browser ??= await launch()
    const context = await browser.newContext()
    closeAfterTest(() => context.close())
    const page = await context.newPage()
    await page.goto(at)
    await page.evaluate(async (server) => {
      await fetch(`${server}/login`, { method: 'POST', credentials: 'include' })
      const { connect } = await import('portcullis/client')
      const connection = connect(server || '/', {
        credentials: async () => (await (await fetch(`${server}/csrf`, { credentials: 'include' })).json()) as object,
        minDelayMs: 10,
        transports: ['websocket'],
      })
      const told: string[] = []
      Object.assign(window, { told, connection })
      connection.on('renewed', () => told.push('renewed'))
      connection.on('failed', (error) => told.push(`failed: ${String((error.cause as Error | undefined)?.message)}`))
      connection.on('closed', ({ reason }) => told.push(`closed: ${reason}`))
      await connection.request('add', 1, 2)
    }, at === host.url ? '' : host.url)
    return {
      page,
      told: () => page.evaluate(() => (window as any).told as string[]),
      sid: async () => (await context.cookies()).find(({ name }) => name === 'sid')!.value,
    }
  }

  browserTest('a page with a cookie that no script can read gets a new one, and connects with that', async () => {
    const host = await signedIn()
    const { page, told, sid } = await open(host)
    const first = await sid()
    for (let n = 1; n <= 3; n++) {
      host.renew()
      await page.waitForFunction((count) => (window as any).told.length === count, n)
    }
    expect(await told()).toEqual(['renewed', 'renewed', 'renewed'])
    expect([...host.sessions.keys()]).toEqual([await sid()])
    expect(host.posts).toHaveLength(3)
    host.cut()
    await until(() => host.entered.length === 2)
    expect(host.entered).toEqual([first, await sid()])
  })

  browserTest('a page of another origin gets it from the server of its connection, which allows that', async () => {
    const own = createServer((request, response) => void answer(request.url!, host.url).then(([type, body]) => response.writeHead(200, { 'Content-Type': type }).end(body), () => response.writeHead(404).end()))
    const at = `http://127.0.0.1:${await listen(own)}`
    closeAfterTest(() => own.close())
    const host = await signedIn({ page: at })
    const { page, told, sid } = await open(host, at)
    const first = await sid()
    host.renew()
    await page.waitForFunction(() => (window as any).told.length === 1)
    expect(await told()).toEqual(['renewed'])
    expect([...host.sessions.keys()]).toEqual([await sid()])
    expect(await sid()).not.toBe(first)
  })

  browserTest('nobody else gets the ticket: not by the path, and not by a redirect', async () => {
    let elsewhere = 0
    const other = createServer((_, response) => {
      elsewhere++
      response.writeHead(204, { 'Access-Control-Allow-Origin': '*' }).end()
    })
    const port = await listen(other)
    closeAfterTest(() => other.close())
    const host = await signedIn({ before: async (_, response) => response.redirect(307, `http://127.0.0.1:${port}/`) })
    const { page, told, sid } = await open(host)
    const first = await sid()
    const paths = [`//127.0.0.1:${port}/`, `http://127.0.0.1:${port}/`, `/\\127.0.0.1:${port}/`, `/\t/127.0.0.1:${port}/`, `\\\\127.0.0.1:${port}`, '/a/../session/renew']
    for (const path of paths) host.renew({ path })
    await page.waitForFunction((count) => (window as any).told.length === count, paths.length)
    expect([elsewhere, host.posts]).toEqual([0, []])
    host.renew()
    await page.waitForFunction((count) => (window as any).told.length > count, paths.length)
    expect((await told()).slice(0, paths.length + 1)).toEqual([...paths.map(() => 'failed: gate:renew has no ticket, or no path of this server.'), 'failed: The server could not be reached.'])
    expect([elsewhere, await sid()]).toEqual([0, first])
  })

  browserTest('a page that is left while its cookie is on its way leaves the new one behind', async () => {
    const [asked, held] = [new Latch(), new Latch()]
    const host = await signedIn({ before: () => (asked.open(), held.opened) })
    const { page, sid } = await open(host)
    const first = await sid()
    host.renew()
    await asked.opened
    await page.goto('about:blank')
    held.open()
    await until(() => !host.sessions.has(first))
    let now = first
    for (let n = 0; n < 100 && now === first; n++) now = await sid()
    expect([...host.sessions.keys()]).toEqual([now])
  })

  /** The page, and the sources of the client with their types taken out. */
  async function answer(url: string, server = ''): Promise<[type: string, body: string]> {
    if (url === '/') {
      const map = { imports: { 'socket.io-client': `${server}/socket.io/socket.io.esm.min.js`, 'portcullis/client': '/client/index.ts' } }
      return ['text/html', `<!doctype html><script type="importmap">${JSON.stringify(map)}</script>`]
    }
    if (!/^\/client\/\w+\.ts$/.test(url)) throw new Error('no such file')
    const { code } = await transform(await readFile(new URL(`../..${url}`, import.meta.url), 'utf8'), { jsc: { target: 'es2022', parser: { syntax: 'typescript' } } })
    return ['text/javascript', code]
  }
})
