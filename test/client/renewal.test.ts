import { Agent, createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { GateError, type ConnectionError, type ConnectOptions } from 'portcullis/client'
import { CookieJar } from 'tough-cookie'
import { closeAfterTest, Latch, listen, until } from '../support/server.ts'
import { cut, refusal, standIn, watched, type HandSchedule, type StandIn, type Watched } from './stand-in.ts'

const PATH = '/session/renew'
const SECOND = 1_000

/** Nothing here may be left to the process, whatever happens to a promise. */
const unhandled: unknown[] = []
const note = (reason: unknown): void => void unhandled.push(reason)
beforeEach(() => void process.on('unhandledRejection', note))
afterEach(async () => {
  await new Promise(setImmediate)
  process.off('unhandledRejection', note)
  expect(unhandled.splice(0)).toEqual([])
})

interface Asked {
  readonly method: string | undefined
  readonly url: string | undefined
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

type Answer = (response: ServerResponse, nth: number, asked: Asked) => unknown

const done: Answer = (response, nth) => response.writeHead(204, { 'Set-Cookie': `sid=${nth}; Path=/; HttpOnly` }).end()

/** Answers all that is asked for over HTTP beside the socket; what was asked for, in order. */
function desk({ http }: Pick<StandIn, 'http'>, answer: Answer = done): Asked[] {
  const all: Asked[] = []
  http.on('request', (request: IncomingMessage, response: ServerResponse) => {
    const { method, url, headers } = request
    if (url?.startsWith('/socket.io/')) return
    let body = ''
    request.setEncoding('utf8').on('data', (chunk: string) => (body += chunk))
    request.on('end', () => {
      const asked = { method, url, headers, body }
      all.push(asked)
      answer(response, all.length, asked)
    })
  })
  return all
}

type Fetch = typeof globalThis.fetch

/** The fetch of a program with a cookie jar. */
function jarred(jar: CookieJar): Fetch {
  return async (url, init) => {
    const at = String(url)
    const response = await fetch(at, { ...init, headers: { ...(init?.headers as Record<string, string>), cookie: await jar.getCookieString(at) } })
    for (const cookie of response.headers.getSetCookie()) await jar.setCookie(cookie, at)
    return response
  }
}

/** A fetch that is in the hands of a test: each call waits for what the test makes of it. */
class HandFetch {
  readonly calls: { readonly url: string; readonly init: any; answer(status: number, body?: unknown): void; fail(cause?: unknown): void }[] = []
  /** How many are under way, and how many were at most. */
  open = 0
  most = 0

  constructor(private readonly listens = true) {}

  readonly fetch: Fetch = (url, init) => {
    this.most = Math.max(this.most, ++this.open)
    return new Promise<Response>((resolve, reject) => {
      if (this.listens) init!.signal!.addEventListener('abort', () => reject(init!.signal!.reason))
      this.calls.push({
        url: String(url),
        init,
        answer: (status, body) => resolve(new Response(body === undefined ? null : JSON.stringify(body), { status })),
        fail: (cause = new TypeError('fetch failed')) => reject(cause),
      })
    }).finally(() => this.open--)
  }

  get tickets(): unknown[] {
    return this.calls.map(({ init }) => (JSON.parse(init.body as string) as { ticket: unknown }).ticket)
  }
}

interface Renewing extends Watched {
  /** How often the cookie was said to be renewed. */
  readonly renewed: number
  /** Of what failed: codes of the error and its cause, and the number. */
  readonly failures: [code: unknown, cause: unknown, attempt: number][]
}

async function connected(host: StandIn, options: Partial<ConnectOptions> = {}, credentials?: ConnectOptions['credentials'], schedule?: HandSchedule): Promise<Renewing> {
  const seen = watched(host, credentials, options, schedule)
  const failures: Renewing['failures'] = []
  let renewed = 0
  seen.connection.on('renewed', () => renewed++)
  seen.connection.on('failed', (error, attempt) => failures.push([(error as ConnectionError).code, (error.cause as ConnectionError | undefined)?.code ?? (error.cause as Error | undefined)?.message, attempt]))
  await seen.is('connected')
  return Object.defineProperties(seen, { renewed: { get: () => renewed }, failures: { value: failures } }) as Renewing
}

const tell = (host: StandIn, ticket: unknown = 'a', more: object = {}): unknown => host.last.emit('gate:renew', { ticket, path: PATH, expiresInMs: 30 * SECOND, ...more })

/** Waits until the client has heard all that it was told. */
async function settled(host: StandIn, { connection }: Watched): Promise<void> {
  connection.socket.off('there?')
  connection.socket.on('there?', (ack: () => void) => ack())
  await host.last.emitWithAck('there?')
  for (let n = 0; n < 5; n++) await new Promise(setImmediate)
}

describe('a renewal ticket', () => {
  test('is posted with the cookie of now, and the answer’s cookie is the next', async () => {
    const host = await standIn()
    const asked = desk(host)
    const jar = new CookieJar()
    await jar.setCookie('sid=0; Path=/; HttpOnly', host.url)
    const seen = await connected(host, { fetch: jarred(jar) })
    for (const n of [1, 2, 3]) {
      tell(host, `ticket ${n}`)
      await until(() => seen.renewed === n)
      expect(await jar.getCookieString(host.url)).toBe(`sid=${n}`)
    }
    expect(asked.map(({ method, url, headers, body }) => [method, url, headers.cookie, headers['content-type'], body])).toEqual(
      [1, 2, 3].map((n) => ['POST', PATH, `sid=${n - 1}`, 'application/json', `{"ticket":"ticket ${n}"}`]),
    )
    expect([seen.failed, seen.states, seen.schedule.pending]).toEqual([[], ['connected'], 1])
  })

  test('is asked for with cookies, past every cache, to be followed nowhere, and to outlive the page', async () => {
    const host = await standIn()
    const hand = new HandFetch()
    const seen = await connected(host, { fetch: hand.fetch, extraHeaders: { authorization: 'Bearer of the socket' } })
    tell(host)
    await until(() => hand.calls.length === 1)
    const { url, init } = hand.calls[0]!
    expect(url).toBe(host.url + PATH)
    expect(init).toEqual({
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: '{"ticket":"a"}',
      credentials: 'include',
      redirect: 'error',
      cache: 'no-store',
      keepalive: true,
      signal: expect.any(AbortSignal),
    })
    hand.calls[0]!.answer(200, { anything: 1 })
    await until(() => seen.renewed === 1)
  })

  test.each<[what: string, url: (url: string) => string]>([
    ['a namespace', (url) => `${url}/chat?a=1`],
    ['a WebSocket URL', (url) => url.replace('http', 'ws')],
    ['a name and a password', (url) => url.replace('//', '//user:word@')],
  ])('goes to the root of the server, whatever the URL of the connection: %s', async (_, of) => {
    const host = await standIn()
    const into = new Latch<any>()
    for (const namespace of ['/', '/chat']) host.io.of(namespace).on('connection', into.open)
    const hand = new HandFetch()
    const seen = watched({ url: of(host.url) }, undefined, { fetch: hand.fetch })
    await seen.is('connected')
    ;(await into.opened).emit('gate:renew', { ticket: 'a', path: PATH, expiresInMs: 1 })
    await until(() => hand.calls.length === 1)
    expect(hand.calls[0]!.url).toBe(host.url + PATH)
  })

  test.each(['/renew', '/', '/a/b/c', '/a//b', '/.well-known/renew', '/renew?a=1&b=%20', '/a..b/...', '/caf%C3%A9'])('may have a path such as %s', async (path) => {
    const host = await standIn()
    const asked = desk(host)
    const seen = await connected(host)
    tell(host, 'a', { path })
    await until(() => seen.renewed === 1)
    expect(asked.map(({ url }) => url)).toEqual([path])
  })
})

describe('nobody else gets a ticket', () => {
  test.each<[path: string]>([
    ['//evil.example/renew'], ['///evil.example/renew'], ['//127.0.0.1/renew'], ['//user@127.0.0.1/renew'],
    ['http://evil.example/renew'], ['https:/evil.example'], ['https:evil.example'], ['javascript:alert(1)'], ['data:,a'], ['blob:a'], ['file:///etc'],
    ['/\\evil.example/renew'], ['\\\\evil.example/renew'], ['\\/evil.example'], ['/a\\b'], ['\\a'],
    ['/../renew'], ['/..'], ['/.'], ['/a/../renew'], ['/a/..'], ['/a/./renew'], ['/a/.'],
    ['/%2e%2e/renew'], ['/%2E./renew'], ['/.%2e/renew'], ['/%2e/renew'], ['/..%2frenew'], ['/a%2Fb'], ['/..%5crenew'], ['/a%5Cb'],
    ['/\t/evil.example'], ['/\n/evil.example'], ['/\r\n/evil.example'], ['\t//evil.example'], ['/renew\u0000'], ['/ren ew'], [' /renew'], ['/renew '],
    ['renew'], ['./renew'], ['?a'], ['#a'], ['/renew#a'], ['.evil.example/renew'], ['@evil.example/renew'], [':1/renew'], ['1/renew'],
    ['/é'], ['/\u{ff0e}\u{ff0e}/renew'], ['/\u2215evil.example'], ['/a"b'], ['/a<b'],
  ])('by the path %j', async (path) => {
    const host = await standIn()
    const hand = new HandFetch()
    const seen = await connected(host, { fetch: hand.fetch })
    tell(host, 'a', { path })
    await until(() => seen.failures.length === 1)
    await settled(host, seen)
    expect(hand.calls).toEqual([])
    expect(seen.failures).toEqual([['RENEWAL', expect.stringMatching(/no path of this server|Invalid URL/), 0]])
    expect(seen.connection.state).toBe('connected')
  })

  test('not even the same server under its full URL', async () => {
    const host = await standIn()
    const hand = new HandFetch()
    const seen = await connected(host, { fetch: hand.fetch })
    for (const path of [host.url + PATH, `${host.url.replace('http:', '')}${PATH}`]) tell(host, 'a', { path })
    await until(() => seen.failures.length === 2)
    expect(hand.calls).toEqual([])
  })

  test('nor whoever the server sends it on to', async () => {
    const other = createServer()
    const elsewhere = desk({ http: other })
    const port = await listen(other)
    closeAfterTest(() => other.close())
    const host = await standIn()
    const asked = desk(host, (response) => response.writeHead(307, { Location: `http://127.0.0.1:${port}${PATH}` }).end())
    const seen = await connected(host, { maxAttempts: 2 })
    tell(host)
    await until(() => seen.failures.length === 1 && seen.schedule.pending === 3)
    seen.schedule.advance(SECOND)
    await until(() => seen.failures.length === 2)
    expect(seen.failures).toEqual([['RENEWAL', 'UNREACHABLE', 1], ['RENEWAL', 'UNREACHABLE', 2]])
    expect([asked.length, elsewhere, seen.renewed]).toEqual([2, [], 0])
  })
})

describe('a notice that is none', () => {
  const bad: [what: string, notice: any][] = [
    ['nothing', undefined],
    ['null', null],
    ['a text', 'ticket'],
    ['a number', 7],
    ['a list', ['a', PATH, 1_000]],
    ['an empty object', {}],
    ['no ticket', { path: PATH, expiresInMs: 1_000 }],
    ['an empty ticket', { ticket: '', path: PATH, expiresInMs: 1_000 }],
    ['a ticket that is a number', { ticket: 7, path: PATH, expiresInMs: 1_000 }],
    ['a ticket that is a list', { ticket: ['a'], path: PATH, expiresInMs: 1_000 }],
    ['a ticket that is bytes', { ticket: Buffer.from('a'), path: PATH, expiresInMs: 1_000 }],
    ['a giant ticket', { ticket: 'x'.repeat(2_049), path: PATH, expiresInMs: 1_000 }],
    ['a ticket of half a megabyte', { ticket: 'x'.repeat(500_000), path: PATH, expiresInMs: 1_000 }],
    ['no path', { ticket: 'a', expiresInMs: 1_000 }],
    ['a path that is null', { ticket: 'a', path: null, expiresInMs: 1_000 }],
    ['a path that is a list', { ticket: 'a', path: [PATH], expiresInMs: 1_000 }],
    ['a path that is an object', { ticket: 'a', path: { href: PATH }, expiresInMs: 1_000 }],
    ['no time', { ticket: 'a', path: PATH }],
    ['a time that is a text', { ticket: 'a', path: PATH, expiresInMs: '1000' }],
    ['a time that is null', { ticket: 'a', path: PATH, expiresInMs: null }],
    ['no time left', { ticket: 'a', path: PATH, expiresInMs: 0 }],
    ['a time gone by', { ticket: 'a', path: PATH, expiresInMs: -1 }],
  ]

  test.each(bad)('%s: is reported, and no more', async (_, notice) => {
    const host = await standIn()
    const hand = new HandFetch()
    const seen = await connected(host, { fetch: hand.fetch })
    host.last.emit('gate:renew', notice)
    await until(() => seen.failures.length === 1)
    expect(seen.failures[0]![0]).toBe('RENEWAL')
    expect(seen.failures[0]![2]).toBe(0)
    expect(seen.failed[0]!.message).toBe('The session cookie was not renewed.')
    expect(seen.failed[0]!.cause).toBeInstanceOf(TypeError)
    expect(JSON.stringify([String(seen.failed[0]!.cause), (seen.failed[0]!.cause as Error).stack])).not.toContain('xxx')
    await settled(host, seen)
    expect([hand.calls, seen.connection.state, seen.closed]).toEqual([[], 'connected', []])
    tell(host, 'x'.repeat(2_048))
    await until(() => hand.calls.length === 1)
    hand.calls[0]!.answer(204)
    await until(() => seen.renewed === 1)
  })
})

describe('one at a time', () => {
  test('a storm of a thousand tickets is two requests: the first, and the last', async () => {
    const host = await standIn()
    const hand = new HandFetch()
    const seen = await connected(host, { fetch: hand.fetch })
    tell(host, 't0')
    await until(() => hand.calls.length === 1)
    for (let n = 1; n < 1_000; n++) tell(host, `t${n}`)
    await settled(host, seen)
    expect(hand.tickets).toEqual(['t0'])
    hand.calls[0]!.answer(204)
    await until(() => hand.calls.length === 2)
    hand.calls[1]!.answer(204)
    await until(() => seen.renewed === 2)
    await settled(host, seen)
    expect(hand.tickets).toEqual(['t0', 't999'])
    expect([hand.most, seen.failed, seen.schedule.pending]).toEqual([1, [], 1])
  })

  test('a storm against a real server is as many requests as it takes, one after the other', async () => {
    const host = await standIn()
    let open = 0
    let most = 0
    const asked = desk(host, (response, nth, request) => {
      most = Math.max(most, ++open)
      setImmediate(() => {
        open--
        done(response, nth, request)
      })
    })
    const seen = await connected(host)
    for (let n = 0; n < 1_000; n++) tell(host, `t${n}`)
    await until(() => asked.at(-1)?.body === '{"ticket":"t999"}' && seen.renewed === asked.length)
    expect(most).toBe(1)
    expect(new Set(asked.map(({ body }) => body)).size).toBe(asked.length)
    expect(seen.failed).toEqual([])
  })

  test('the same ticket a thousand times, before and after its answer, is one request', async () => {
    const host = await standIn()
    const hand = new HandFetch()
    const seen = await connected(host, { fetch: hand.fetch })
    for (let n = 0; n < 500; n++) tell(host)
    await until(() => hand.calls.length === 1)
    hand.calls[0]!.answer(204)
    await until(() => seen.renewed === 1)
    for (let n = 0; n < 500; n++) tell(host)
    await settled(host, seen)
    expect(hand.tickets).toEqual(['a'])
  })

  test('of two tickets in turn, a thousand times, the last is one request', async () => {
    const host = await standIn()
    const hand = new HandFetch()
    const seen = await connected(host, { fetch: hand.fetch })
    tell(host, 'a')
    await until(() => hand.calls.length === 1)
    for (let n = 0; n < 1_000; n++) tell(host, n % 2 ? 'c' : 'b')
    await settled(host, seen)
    hand.calls[0]!.answer(204)
    await until(() => hand.calls.length === 2)
    hand.calls[1]!.answer(204)
    await settled(host, seen)
    expect([hand.tickets, seen.renewed, seen.schedule.pending]).toEqual([['a', 'c'], 2, 1])
  })

  test('a ticket that was refused is not sent again; one nobody has answered for may be told again', async () => {
    const host = await standIn()
    const hand = new HandFetch()
    const seen = await connected(host, { fetch: hand.fetch, maxAttempts: 1 })
    tell(host, 'refused')
    await until(() => hand.calls.length === 1)
    hand.calls[0]!.answer(403)
    await until(() => seen.failures.length === 1)
    tell(host, 'refused')
    await settled(host, seen)
    expect(hand.tickets).toEqual(['refused'])
    tell(host, 'unanswered')
    await until(() => hand.calls.length === 2)
    hand.calls[1]!.fail()
    await until(() => seen.failures.length === 2)
    tell(host, 'unanswered')
    await until(() => hand.calls.length === 3)
    hand.calls[2]!.answer(204)
    await until(() => seen.renewed === 1)
    expect(hand.tickets).toEqual(['refused', 'unanswered', 'unanswered'])
  })

  test.each(['fails', 'hangs'])('a newer ticket has its turn at once when the one on its way %s', async (how) => {
    const host = await standIn()
    const hand = new HandFetch()
    const seen = await connected(host, { fetch: hand.fetch })
    tell(host, 'old', { expiresInMs: 5 * SECOND })
    await until(() => hand.calls.length === 1)
    tell(host, 'new')
    await settled(host, seen)
    if (how === 'fails') hand.calls[0]!.fail()
    else seen.schedule.advance(5 * SECOND)
    await until(() => hand.calls.length === 2)
    hand.calls[1]!.answer(204)
    await until(() => seen.renewed === 1)
    expect([hand.tickets, seen.failures.length]).toEqual([['old', 'new'], 1])
  })

  test('a newer ticket takes the place of one that is to be tried again', async () => {
    const host = await standIn()
    const hand = new HandFetch()
    const seen = await connected(host, { fetch: hand.fetch })
    tell(host, 'old')
    await until(() => hand.calls.length === 1)
    hand.calls[0]!.fail()
    await until(() => seen.failures.length === 1)
    tell(host, 'new')
    await until(() => hand.calls.length === 2)
    hand.calls[1]!.answer(204)
    await until(() => seen.renewed === 1)
    seen.schedule.advance(20 * SECOND)
    await settled(host, seen)
    expect([hand.tickets, seen.schedule.pending]).toEqual([['old', 'new'], 1])
  })
})

describe('an answer other than 2xx', () => {
  test('of the gate is reported with its code and the id of the record, and not tried again', async () => {
    const host = await standIn()
    const asked = desk(host, (response) => response.writeHead(403, { 'Content-Type': 'application/json' }).end(JSON.stringify({ error: refusal('FORBIDDEN') })))
    const seen = await connected(host)
    tell(host)
    await until(() => seen.failures.length === 1)
    expect(seen.failed[0]).toMatchObject({ name: 'ConnectionError', code: 'RENEWAL' })
    expect(seen.failed[0]!.cause).toBeInstanceOf(GateError)
    expect(seen.failed[0]!.cause).toMatchObject({ code: 'FORBIDDEN', id: 'id of FORBIDDEN' })
    await settled(host, seen)
    expect([asked.length, seen.renewed, seen.refused, seen.connection.state, seen.schedule.pending]).toEqual([1, 0, [], 'connected', 1])
  })

  test.each<[status: number, body: string]>([
    [500, ''], [500, '<html>'], [502, '{"error":null}'], [404, '{"error":{"code":"x"}}'], [403, 'null'], [401, '[]'], [400, '{'], [304, ''],
  ])('of somebody else is reported with its status, and not tried again: %i %s', async (status, body) => {
    const host = await standIn()
    const asked = desk(host, (response) => response.writeHead(status).end(body))
    const seen = await connected(host)
    tell(host)
    await until(() => seen.failures.length === 1)
    await settled(host, seen)
    expect(seen.failures).toEqual([['RENEWAL', `HTTP ${status}`, 1]])
    expect([asked.length, seen.schedule.pending]).toEqual([1, 1])
  })

  test('that time may turn is another try, not before it is said', async () => {
    const host = await standIn()
    const asked = desk(host, (response, nth, request) => {
      if (nth > 1) done(response, nth, request)
      else response.writeHead(503, { 'Content-Type': 'application/json' }).end(JSON.stringify({ error: refusal('UNAVAILABLE', { retryAfterMs: 3 * SECOND }) }))
    })
    const seen = await connected(host)
    tell(host)
    await until(() => seen.failures.length === 1 && seen.schedule.pending === 3)
    seen.schedule.advance(3 * SECOND)
    await settled(host, seen)
    expect(asked).toHaveLength(1)
    seen.schedule.advance(500)
    await until(() => seen.renewed === 1)
    expect(seen.failures).toEqual([['RENEWAL', 'UNAVAILABLE', 1]])
    expect(asked.map(({ body }) => body)).toEqual(['{"ticket":"a"}', '{"ticket":"a"}'])
  })

  test('a thousand answers of 500 to a thousand tickets harm nothing', async () => {
    const host = await standIn()
    desk(host, (response) => response.writeHead(500).end())
    const seen = await connected(host)
    for (let n = 0; n < 1_000; n++) tell(host, `t${n}`)
    await settled(host, seen)
    expect(await Promise.race([host.last.emitWithAck('there?')])).toBe(undefined)
    expect([seen.renewed, seen.connection.state, seen.asks.length]).toEqual([0, 'connected', 1])
  })
})

describe('where the server is not reached', () => {
  test('it is tried again with growing pauses, so many times and no more', async () => {
    const host = await standIn()
    const asked = desk(host, (response) => response.socket!.destroy())
    const seen = await connected(host, { maxAttempts: 4 })
    tell(host)
    for (const [n, ms] of [500, 1_000, 2_000].entries()) {
      await until(() => seen.failures.length === n + 1 && seen.schedule.pending === 3)
      seen.schedule.advance(ms - 1)
      await settled(host, seen)
      expect(asked).toHaveLength(n + 1)
      seen.schedule.advance(1)
    }
    await until(() => seen.failures.length === 4)
    expect(seen.failures).toEqual([1, 2, 3, 4].map((n) => ['RENEWAL', 'UNREACHABLE', n]))
    await until(() => seen.schedule.pending === 1)
    seen.schedule.advance(10 ** 9)
    await settled(host, seen)
    expect([asked.length, seen.connection.state, seen.closed]).toEqual([4, 'connected', []])
  })

  test('and comes back, it is renewed', async () => {
    const host = await standIn()
    const asked = desk(host, (response, nth, request) => (nth < 3 ? response.socket!.destroy() : done(response, nth, request)))
    const seen = await connected(host)
    tell(host)
    for (const n of [1, 2]) {
      await until(() => seen.failures.length === n && seen.schedule.pending === 3)
      seen.schedule.advance(2 * SECOND)
    }
    await until(() => seen.renewed === 1)
    await until(() => seen.schedule.pending === 1)
    expect(asked).toHaveLength(3)
  })

  test('it is not tried again after the ticket has ended', async () => {
    const host = await standIn()
    const hand = new HandFetch()
    const seen = await connected(host, { fetch: hand.fetch, maxAttempts: Infinity })
    tell(host, 'a', { expiresInMs: 1_400 })
    await until(() => hand.calls.length === 1)
    hand.calls[0]!.fail()
    await until(() => seen.schedule.pending === 3)
    seen.schedule.advance(500)
    await until(() => hand.calls.length === 2)
    hand.calls[1]!.fail()
    await until(() => seen.schedule.pending === 3)
    seen.schedule.advance(899)
    expect(seen.schedule.pending).toBe(3)
    seen.schedule.advance(10 * SECOND)
    await settled(host, seen)
    expect(hand.calls).toHaveLength(2)
    expect(seen.failures.at(-1)).toEqual(['RENEWAL', 'TIMEOUT', 3])
    await until(() => seen.schedule.pending === 1)
  })

  test('a ticket that ends before its turn is not sent', async () => {
    const host = await standIn()
    const hand = new HandFetch()
    const seen = await connected(host, { fetch: hand.fetch })
    tell(host, 'long', { expiresInMs: 10 * SECOND })
    await until(() => hand.calls.length === 1)
    tell(host, 'short', { expiresInMs: 1 * SECOND })
    await settled(host, seen)
    seen.schedule.advance(SECOND)
    hand.calls[0]!.answer(204)
    await until(() => seen.failures.length === 1)
    await settled(host, seen)
    expect([hand.tickets, seen.renewed, seen.failures]).toEqual([['long'], 1, [['RENEWAL', 'TIMEOUT', 1]]])
  })

  test.each([true, false])('a server that hangs is given up with the ticket (a fetch that listens to its signal: %p)', async (listens) => {
    const host = await standIn()
    const hand = new HandFetch(listens)
    const seen = await connected(host, { fetch: hand.fetch })
    tell(host, 'a', { expiresInMs: 5 * SECOND })
    await until(() => hand.calls.length === 1)
    seen.schedule.advance(5 * SECOND - 1)
    await settled(host, seen)
    const { signal } = hand.calls[0]!.init as { signal: AbortSignal }
    expect([signal.aborted, seen.failures]).toEqual([false, []])
    seen.schedule.advance(1)
    await until(() => seen.failures.length === 1)
    expect([signal.aborted, seen.failures]).toEqual([true, [['RENEWAL', 'TIMEOUT', 1]]])
    hand.calls[0]!.answer(204)
    tell(host, 'b')
    await until(() => hand.calls.length === 2)
    hand.calls[1]!.answer(204)
    await until(() => seen.renewed === 1)
    expect(seen.failures).toHaveLength(1)
  })

  test('a ticket that lasts for ever is not waited for longer than for any answer', async () => {
    const host = await standIn()
    const hand = new HandFetch()
    const seen = await connected(host, { fetch: hand.fetch, requestTimeoutMs: 7 * SECOND })
    tell(host, 'a', { expiresInMs: 10 ** 15 })
    await until(() => hand.calls.length === 1)
    seen.schedule.advance(7 * SECOND - 1)
    await settled(host, seen)
    expect(seen.failures).toEqual([])
    seen.schedule.advance(1)
    await until(() => seen.failures.length === 1)
  })

  test('a refusal whose body never ends is given up as well, and the server is let go', async () => {
    const host = await standIn()
    const gone = new Latch()
    desk(host, (response) => {
      response.on('close', () => gone.open())
      response.writeHead(500).write('{')
    })
    const begun = new Latch()
    const seen = await connected(host, { fetch: (...request) => fetch(...request).finally(begun.open) })
    tell(host, 'a', { expiresInMs: 5 * SECOND })
    await begun.opened
    await settled(host, seen)
    expect(seen.failures).toEqual([])
    seen.schedule.advance(5 * SECOND)
    await until(() => seen.failures.length === 1)
    await gone.opened
    expect(seen.failures).toEqual([['RENEWAL', 'TIMEOUT', 1]])
  })

  test.each<[what: string, fetch: any]>([
    ['throws', () => { throw new Error('no') }],
    ['gives nothing', () => undefined],
    ['gives no response', async () => ({})],
    ['rejects with nothing', () => Promise.reject()],
    ['rejects with a text', () => Promise.reject('no')],
  ])('a fetch that %s is one that has failed', async (_, fetch) => {
    const host = await standIn()
    const seen = await connected(host, { fetch, maxAttempts: 2 })
    tell(host)
    await until(() => seen.failures.length === 1 && seen.schedule.pending === 3)
    seen.schedule.advance(SECOND)
    await until(() => seen.failures.length === 2)
    expect([seen.failed.map((error) => (error as ConnectionError).code), seen.renewed, seen.connection.state]).toEqual([['RENEWAL', 'RENEWAL'], 0, 'connected'])
  })
})

describe('when the connection ends meanwhile', () => {
  test('close() ends the request, and nothing is heard of it any more', async () => {
    const host = await standIn()
    const cutOff = new Latch()
    const asked = desk(host, (response) => response.on('close', () => cutOff.open()))
    const seen = await connected(host)
    tell(host, 'a')
    await until(() => asked.length === 1)
    tell(host, 'b')
    await settled(host, seen)
    seen.connection.close()
    expect(seen.closed).toEqual([{ reason: 'asked', error: undefined }])
    await cutOff.opened
    await until(() => seen.schedule.pending === 0)
    for (let n = 0; n < 5; n++) await new Promise(setImmediate)
    expect([asked.length, seen.failures, seen.renewed]).toEqual([1, [], 0])
  })

  test('close() in a pause leaves no timer, and no further try', async () => {
    const host = await standIn()
    const hand = new HandFetch()
    const seen = await connected(host, { fetch: hand.fetch })
    tell(host)
    await until(() => hand.calls.length === 1)
    hand.calls[0]!.fail()
    await until(() => seen.schedule.pending === 3)
    seen.connection.close()
    await until(() => seen.schedule.pending === 0)
    seen.schedule.advance(10 ** 9)
    await new Promise(setImmediate)
    expect([hand.calls.length, seen.failures.length]).toEqual([1, 1])
  })

  test.each(['failed', 'renewed'] as const)('close() may be asked for by a listener of %s', async (name) => {
    const host = await standIn()
    const hand = new HandFetch()
    const seen = await connected(host, { fetch: hand.fetch })
    seen.connection.on(name, () => seen.connection.close())
    tell(host, 'a')
    await until(() => hand.calls.length === 1)
    tell(host, 'b')
    await settled(host, seen)
    if (name === 'failed') hand.calls[0]!.fail()
    else hand.calls[0]!.answer(204)
    await seen.is('closed')
    await until(() => seen.schedule.pending === 0)
    await new Promise(setImmediate)
    expect([hand.calls.length, seen.failures.length, seen.renewed]).toEqual(name === 'failed' ? [1, 1, 0] : [1, 0, 1])
  })

  test('a connection that is lost waits for the answer before it asks for a credential, for the cookie may be another one', async () => {
    const host = await standIn()
    const answer = new Latch()
    const asked = desk(host, (response, nth, request) => void answer.opened.then(() => done(response, nth, request)))
    const jar = new CookieJar()
    await jar.setCookie('sid=0; Path=/', host.url)
    const seen = await connected(host, { fetch: jarred(jar) }, async () => ({ csrf: `for ${await jar.getCookieString(host.url)}` }))
    tell(host)
    await until(() => asked.length === 1)
    cut(host)
    await seen.pause()
    await seen.is('connecting')
    for (let n = 0; n < 20; n++) await new Promise(setImmediate)
    expect(seen.asks).toHaveLength(1)
    answer.open()
    await until(() => host.auths.length === 2)
    expect(host.auths).toEqual([{ csrf: 'for sid=0' }, { csrf: 'for sid=1' }])
    expect([seen.renewed, seen.failures]).toEqual([1, []])
  })

  test('close() ends that wait', async () => {
    const host = await standIn()
    const hand = new HandFetch(false)
    const seen = await connected(host, { fetch: hand.fetch })
    tell(host)
    await until(() => hand.calls.length === 1)
    cut(host)
    await seen.pause()
    await seen.is('connecting')
    seen.connection.close()
    await until(() => seen.schedule.pending === 0)
    await new Promise(setImmediate)
    expect([seen.asks.length, seen.closed.length, host.auths.length, seen.states.at(-1)]).toEqual([1, 1, 1, 'closed'])
  })

  test('it waits for no server that hangs, beyond the time of the ticket', async () => {
    const host = await standIn()
    const hand = new HandFetch(false)
    const seen = await connected(host, { fetch: hand.fetch })
    tell(host, 'a', { expiresInMs: 5 * SECOND })
    await until(() => hand.calls.length === 1)
    cut(host)
    await seen.pause()
    await seen.is('connecting')
    seen.schedule.advance(5 * SECOND)
    await seen.is('connected')
    expect([host.auths.length, seen.failures]).toEqual([2, [['RENEWAL', 'TIMEOUT', 1]]])
  })

  test('what was not sent is not sent any more: no further try, and not the next ticket', async () => {
    const host = await standIn()
    const hand = new HandFetch()
    const seen = await connected(host, { fetch: hand.fetch })
    tell(host, 'a')
    await until(() => hand.calls.length === 1)
    tell(host, 'b')
    await settled(host, seen)
    cut(host)
    await seen.is('waiting')
    hand.calls[0]!.fail()
    await until(() => seen.failures.length === 1)
    await seen.pause()
    await seen.is('connected')
    seen.schedule.advance(25 * SECOND)
    await settled(host, seen)
    expect(hand.tickets).toEqual(['a'])
    tell(host, 'b')
    await until(() => hand.calls.length === 2)
    hand.calls[1]!.answer(204)
    await until(() => seen.renewed === 1)
  })

  test('a pause before another try does not keep it from coming back', async () => {
    const host = await standIn()
    const hand = new HandFetch()
    const seen = await connected(host, { fetch: hand.fetch, requestTimeoutMs: 10 ** 6 })
    tell(host, 'a', { expiresInMs: 10 ** 6 })
    await until(() => hand.calls.length === 1)
    hand.calls[0]!.answer(503, { error: refusal('UNAVAILABLE', { retryAfterMs: 10 ** 5 }) })
    await until(() => seen.failures.length === 1)
    cut(host)
    await seen.pause()
    await seen.is('connected')
    await settled(host, seen)
    expect([host.auths.length, hand.calls.length]).toEqual([2, 1])
    await until(() => seen.schedule.pending === 1)
  })
})

describe('the fetch', () => {
  test('is that of the platform, called as it wants to be called', async () => {
    const host = await standIn()
    const asked = desk(host)
    const platform = globalThis.fetch
    const receivers: unknown[] = []
    globalThis.fetch = function (this: unknown, ...args: Parameters<Fetch>) {
      receivers.push(this)
      return platform(...args)
    }
    closeAfterTest(() => (globalThis.fetch = platform))
    const seen = await connected(host)
    tell(host)
    await until(() => seen.renewed === 1)
    expect([asked.length, receivers]).toEqual([1, [undefined]])
  })

  test.each<[what: string, options: Partial<ConnectOptions>]>([
    ['the platform has none', {}],
    ['an agent would have to be used, of which that of the platform knows nothing', { agent: new Agent() }],
  ])('is reported to be missing where %s', async (_, options) => {
    const host = await standIn()
    const asked = desk(host)
    const platform = globalThis.fetch
    if (!options.agent) delete (globalThis as { fetch?: Fetch }).fetch
    closeAfterTest(() => (globalThis.fetch = platform))
    const seen = await connected(host, options)
    tell(host)
    await until(() => seen.failures.length === 1)
    expect(seen.failures).toEqual([['RENEWAL', 'There is no fetch.', 0]])
    expect([asked, seen.connection.state]).toEqual([[], 'connected'])
  })

  test('of the application is used beside an agent', async () => {
    const host = await standIn()
    const hand = new HandFetch()
    const seen = await connected(host, { agent: new Agent(), fetch: hand.fetch })
    tell(host)
    await until(() => hand.calls.length === 1)
    expect(seen.failures).toEqual([])
  })
})

describe('a page with a cookie session', () => {
  test.each<[what: string, auth: object]>([
    ['the same token', { csrf: 'token' }],
    ['nothing at all', {}],
  ])('comes back after `now` though it has %s to bring, as often as it is said', async (_, auth) => {
    const host = await standIn()
    const seen = await connected(host, {}, () => auth)
    for (let n = 2; n < 8; n++) {
      host.dismiss(refusal('REVOKED', { details: { reason: 'signed in' }, reconnect: 'now' }))
      await seen.pause()
      await seen.is('connected')
      expect(host.auths).toHaveLength(n)
    }
    expect(seen.asks.every(({ reason }) => reason === 'connect')).toBe(true)
    expect([host.auths.every((each) => JSON.stringify(each) === JSON.stringify(auth)), seen.refused, seen.closed]).toEqual([true, [], []])
  })

  test.each<[what: string, auth: object]>([
    ['the same token', { csrf: 'token' }],
    ['nothing at all', {}],
  ])('is not let in after `after-credential` with %s: it does not even ask', async (_, auth) => {
    const host = await standIn()
    const seen = await connected(host, {}, () => auth)
    host.dismiss(refusal('REVOKED', { details: { reason: 'signed out' }, reconnect: 'after-credential' }))
    await seen.pause()
    await seen.is('closed')
    expect(host.auths).toHaveLength(1)
    expect(seen.asks.map(({ reason }) => reason)).toEqual(['connect', 'refused'])
    expect(seen.closed).toEqual([{ reason: 'refused', error: expect.objectContaining({ code: 'REVOKED', details: { reason: 'signed out' } }) }])
  })

  test('comes back after `after-credential` with the token of a new sign-in', async () => {
    const host = await standIn()
    let n = 0
    const seen = await connected(host, {}, () => ({ csrf: `token ${++n}` }))
    host.dismiss(refusal('REVOKED', { reconnect: 'after-credential' }))
    await seen.pause()
    await seen.is('connected')
    expect(host.auths).toEqual([{ csrf: 'token 1' }, { csrf: 'token 2' }])
  })

  test('that is refused with the token of no sign-in asks once, and no more', async () => {
    const host = await standIn((_, nth) => (nth === 1 ? undefined : refusal('UNAUTHENTICATED')))
    let n = 0
    const seen = await connected(host, {}, () => ({ csrf: `token ${++n}` }))
    host.dismiss(refusal('REVOKED', { reconnect: 'after-credential' }))
    await seen.pause()
    await seen.is('closed')
    expect([host.auths.length, seen.closed[0]!.reason]).toEqual([2, 'refused'])
  })

  test('that comes back after a mere loss brings the same again', async () => {
    const host = await standIn()
    const seen = await connected(host, {}, () => ({}))
    for (let n = 2; n < 5; n++) {
      cut(host)
      await seen.pause()
      await seen.is('connected')
      expect(host.auths).toHaveLength(n)
    }
  })
})
