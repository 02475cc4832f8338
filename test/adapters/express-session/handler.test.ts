import { describe, expect, test } from '@jest/globals'
import { createServer, request as httpRequest } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import session from 'express-session'
import { sessionHandler } from '../../../adapters/express-session/handler.ts'
import type { SessionRequest } from '../../../adapters/express-session/store.ts'
import { closeAfterTest, listen, until } from '../../support/server.ts'
import { unsign } from '../../support/session-cookies.ts'
import { rig, SECRET, settled } from './rig.ts'

type Page = (request: SessionRequest, response: ServerResponse) => unknown

/** An application of Node alone, without Express: `page` answers each request. */
async function application({ page = (_request, response) => response.end('ok'), terms = {}, before, renewPath = '/session/renew', settings = {} }: { page?: Page; terms?: Parameters<typeof rig>[0]; before?: (request: any) => void; renewPath?: string; settings?: object } = {}) {
  const own = rig({ graceMs: 10_000, ...terms })
  const middleware = session({ store: own.store, secret: SECRET, name: 'sid', resave: false, saveUninitialized: false, ...settings })
  const handler = sessionHandler(own.engine, own.rotation, middleware, renewPath)
  const asked: string[] = []
  const http = createServer((request: IncomingMessage, response) => {
    before?.(request)
    handler(request, response, (error?: unknown) => {
      asked.push(`${request.method} ${request.url}`)
      if (error !== undefined) {
        response.statusCode = 500
        response.end(String(error))
        return
      }
      void page(request, response)
    })
  })
  const port = await listen(http)
  closeAfterTest(() => http.close())
  let cookie = ''
  const ask = async (path: string, { method = 'GET', body, headers = {} }: { method?: string; body?: string; headers?: Record<string, string> } = {}) => {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, { method, headers: { ...(cookie === '' ? {} : { cookie }), ...headers }, ...(body === undefined ? {} : { body }) })
    const [set] = response.headers.getSetCookie()
    if (set !== undefined) cookie = set.split(';')[0]!
    return { status: response.status, text: await response.text(), headers: response.headers, set }
  }
  const id = (): string => unsign(cookie.slice('sid='.length))
  return { ...own, port, asked, ask, id, cookie: () => cookie, put: (other: string) => void (cookie = other) }
}

const counting: Page = ({ session: own }, response) => {
  own!['n'] = Number(own!['n'] ?? 0) + 1
  response.end(String(own!['n']))
}

describe('a page', () => {
  test('gets a new id when that is due, and not before', async () => {
    const { ask, id, clock } = await application({ page: counting, terms: { rotateEveryMs: 60_000 } })
    await ask('/')
    const first = id()
    clock.advance(59_999)
    expect((await ask('/')).set).toBeUndefined()
    clock.advance(1)
    expect([(await ask('/')).text, id() === first]).toEqual(['3', false])
    expect([(await ask('/')).text, (await ask('/')).set]).toEqual(['4', undefined])
  })

  test('keeps the id it has where it cannot get another one, and that is reported', async () => {
    const { ask, id, clock, engine, faults } = await application({ page: counting, terms: { rotateEveryMs: 60_000 } })
    await ask('/')
    const first = id()
    clock.advance(60_000)
    const { set } = engine.backing
    engine.backing.set = (...entry) => {
      engine.backing.set = set
      return entry[0] === first ? set.apply(engine.backing, entry) : Promise.reject(new Error('down'))
    }
    expect([(await ask('/')).text, id(), faults.map(String)]).toEqual(['2', first, ['Error: down']])
  })

  test('gets none with the preceding id', async () => {
    const { ask, id, clock, cookie, put } = await application({ page: counting, terms: { rotateEveryMs: 1_000 } })
    await ask('/')
    const old = cookie()
    clock.advance(1_000)
    await ask('/')
    const next = cookie()
    put(old)
    clock.advance(5_000)
    expect((await ask('/')).set).toBeUndefined()
    put(next)
    expect(id()).toBe(unsign(next.slice(4)))
  })

  test('without a session is served without one', async () => {
    const { ask, store } = await application()
    expect(await ask('/')).toMatchObject({ status: 200, text: 'ok', set: undefined })
    expect(store.entries).toEqual({})
  })

  test('is told what the session middleware fails with, and nothing else is done', async () => {
    const { ask, store } = await application({ page: counting })
    await ask('/')
    store.trouble = 'rejects'
    expect(await ask('/')).toMatchObject({ status: 500, text: 'Error: the session store is down' })
  })

  test('that has been through the session middleware already goes on', async () => {
    const own = rig()
    const middleware = session({ store: own.store, secret: SECRET, name: 'sid', resave: false, saveUninitialized: false })
    const handler = sessionHandler(own.engine, own.rotation, middleware, '/session/renew')
    const http = createServer((request, response) => middleware(request as never, response as never, () => handler(request, response, () => counting(request, response))))
    const port = await listen(http)
    closeAfterTest(() => http.close())
    const response = await fetch(`http://127.0.0.1:${port}/`)
    expect([await response.text(), response.headers.getSetCookie().length]).toEqual(['1', 1])
  })
})

describe('an answer to a request that came with an id which has been replaced', () => {
  test.each<[string, object, object]>([
    ['rolls', { rolling: true }, {}],
    ['has an age', { cookie: { maxAge: 3_600_000 } }, { cookie: { maxAge: 3_600_000 } }],
  ])('brings that back to no browser, where the cookie %s', async (_how, settings, terms) => {
    let last: SessionRequest | undefined
    const { ask, clock, cookie, put } = await application({ page: (request, answer) => counting((last = request), answer), terms: { rotateEveryMs: 60_000, ...terms }, settings })
    await ask('/')
    expect((await ask('/')).set).toMatch(/^sid=/)
    const old = cookie()
    clock.advance(60_000)
    expect((await ask('/')).set).toMatch(/^sid=/)
    const next = cookie()
    put(old)
    // What it has changed is kept all the same.
    expect(await ask('/')).toMatchObject({ status: 200, text: '4', set: undefined })
    expect([cookie(), last?.sessionID]).toEqual([old, unsign(old.slice(4))])
    put(next)
    expect(await ask('/')).toMatchObject({ text: '5', set: expect.stringMatching(/^sid=/) })
  })

  test('is one also where the request had been read before', async () => {
    let go = (): void => {}
    let first = true
    const slow: Page = async (request, response) => {
      if (request.url === '/slow' && first) {
        first = false
        await new Promise<void>((resolve) => (go = resolve))
      }
      counting(request, response)
    }
    const { ask, clock, cookie, put } = await application({ page: slow, terms: { rotateEveryMs: 60_000 }, settings: { rolling: true } })
    await ask('/')
    const old = cookie()
    const waiting = ask('/slow')
    await until(() => !first)
    clock.advance(60_000)
    await ask('/')
    expect(cookie()).not.toBe(old)
    const next = cookie()
    go()
    expect((await waiting).set).toBeUndefined()
    expect(cookie()).toBe(next)
    put(next)
    // Both have made 2 of 1: the same field, changed by both.
    expect((await ask('/')).text).toBe('3')
  })
})

describe('a page that puts a user into the session a visitor had', () => {
  const careless: Page = (request, response) => {
    const own = request.session!
    if (request.url === '/login') own['user'] = 'alice'
    else if (request.url === '/other') own['user'] = 'bob'
    else if (request.url === '/rest') own['theme'] = 'dark'
    else own['visits'] = 1
    response.setHeader('content-type', 'text/plain')
    response.end('done', 'utf8')
  }

  test('is answered with another id, and the first is nobody any more', async () => {
    const { ask, id, store } = await application({ page: careless })
    await ask('/')
    const planted = id()
    expect(await ask('/login')).toMatchObject({ status: 200, text: 'done', set: expect.stringMatching(/^sid=/) })
    expect(id()).not.toBe(planted)
    expect(Object.keys(store.entries)).toEqual([id()])
    expect(store.entry(id())).toMatchObject({ user: 'alice', visits: 1 })
    const signedIn = id()
    await ask('/other')
    expect(id()).not.toBe(signedIn)
    expect(store.entry(id())).toMatchObject({ user: 'bob', visits: 1 })
  })

  test('and changes only something else keeps its id', async () => {
    const { ask, id } = await application({ page: careless })
    await ask('/login')
    const first = id()
    expect((await ask('/rest')).set).toBeUndefined()
    expect(id()).toBe(first)
  })

  test('is answered with it also where the page has begun to answer before the session is saved', async () => {
    const early: Page = (request, response) => {
      if (request.url === '/login') request.session!['user'] = 'alice'
      else request.session!['visits'] = 1
      response.writeHead(200, { 'content-type': 'text/plain' })
      response.write('begun, ')
      response.end('done')
    }
    const { ask, id, store } = await application({ page: early })
    await ask('/')
    const planted = id()
    expect(await ask('/login')).toMatchObject({ text: 'begun, done', set: expect.stringMatching(/^sid=/) })
    expect([Object.keys(store.entries), id() === planted]).toEqual([[id()], false])
  })

  test('fails where that session cannot be kept, and what was there stays', async () => {
    const { ask, engine, id, store } = await application({ page: async ({ session: own, url }, response) => {
      if (url === '/login') own!['user'] = 'alice'
      else own!['visits'] = 1
      own!.save((error) => {
        response.statusCode = error === undefined || error === null ? 200 : 500
        response.end(String(error))
      })
    } })
    await ask('/')
    const before = id()
    const { set } = engine.backing
    engine.backing.set = () => Promise.reject(new Error('down'))
    expect(await ask('/login')).toMatchObject({ status: 500, text: 'Error: down' })
    engine.backing.set = set
    expect(store.entry(before)).not.toHaveProperty('user')
  })
})

describe('where tickets are brought', () => {
  const signedIn = async (more: Parameters<typeof application>[0] = {}) => {
    const own = await application({ page: counting, ...more })
    await own.ask('/')
    const lineage = await own.lineage(own.id())
    const ticket = async (): Promise<string> => (await own.rotation.ticketFor(own.id(), lineage.id)).ticket
    own.asked.length = 0
    return { ...own, own: lineage, ticket }
  }
  const renewal = (ticket: unknown): { method: string; body: string } => ({ method: 'POST', body: JSON.stringify({ ticket }) })

  test('a good one is answered with nothing but the cookie', async () => {
    const { ask, ticket, id, asked } = await signedIn()
    const before = id()
    const { status, text, set, headers } = await ask('/session/renew', renewal(await ticket()))
    expect([status, text, headers.get('cache-control'), id() === before, asked]).toEqual([204, '', 'no-store', false, []])
    expect(set).toMatch(/^sid=/)
  })

  test('also with a query, and behind a prefix that a router has taken off', async () => {
    const first = await signedIn()
    expect((await first.ask('/session/renew?x=1', renewal(await first.ticket()))).status).toBe(204)
    const second = await signedIn({ renewPath: '/app/session/renew', before: (request) => Object.assign(request, { originalUrl: request.url, url: request.url.replace(/^\/app/, '') }) })
    expect((await second.ask('/app/session/renew', renewal(await second.ticket()))).status).toBe(204)
    expect((await second.ask('/session/renew', renewal(await second.ticket()))).status).toBe(200)
  })

  test.each<[string, string]>([
    ['nothing', ''],
    ['no JSON', '{'],
    ['text', '"text"'],
    ['null', 'null'],
    ['a list', '[]'],
    ['no ticket', '{}'],
    ['another ticket', JSON.stringify({ ticket: 'A'.repeat(43) })],
    ['a ticket that is none', JSON.stringify({ ticket: { length: 43 } })],
  ])('%s is answered 403 as any refusal is', async (_what, body) => {
    const { ask, faults, id } = await signedIn()
    const before = id()
    const { status, text, headers, set } = await ask('/session/renew', { method: 'POST', body })
    expect([status, JSON.parse(text), set]).toEqual([403, { error: { code: 'FORBIDDEN', message: expect.any(String), id: expect.any(String) } }, undefined])
    expect([headers.get('content-type'), id(), faults]).toEqual([expect.stringContaining('json'), before, []])
  })

  test('more than a ticket and the JSON around it is not read', async () => {
    const { ask, ticket } = await signedIn()
    const good = await ticket()
    const padded = (length: number): string => JSON.stringify({ ticket: good }).padEnd(length)
    expect((await ask('/session/renew', { method: 'POST', body: padded(1_025) })).status).toBe(403)
    expect((await ask('/session/renew', { method: 'POST', body: padded(1_024) })).status).toBe(204)
  })

  test('a body that a parser has read before is as good', async () => {
    const given: { body?: unknown } = {}
    const { ask, ticket } = await signedIn({ before: (request) => Object.assign(request, given) })
    given.body = 'text'
    expect((await ask('/session/renew', { method: 'POST' })).status).toBe(403)
    given.body = { ticket: await ticket() }
    expect((await ask('/session/renew', { method: 'POST' })).status).toBe(204)
  })

  test.each(['GET', 'PUT', 'DELETE', 'HEAD'])('%s is a page of the application', async (method) => {
    const { ask, asked } = await signedIn()
    await ask('/session/renew', { method })
    expect(asked).toEqual([`${method} /session/renew`])
  })

  test('a store that fails is answered 503, and reported; nothing is let out of it', async () => {
    const { ask, ticket, shared, faults } = await signedIn()
    const good = await ticket()
    shared.take = () => Promise.reject(new Error('redis://user:password@host is down'))
    const { status, text } = await ask('/session/renew', renewal(good))
    expect([status, JSON.parse(text).error.code, faults.map(String)]).toEqual([503, 'UNAVAILABLE', ['Error: redis://user:password@host is down']])
    expect(text).not.toContain('redis')
  })

  test('who goes away half-way does no harm', async () => {
    const { port, cookie, ask } = await signedIn()
    await new Promise<void>((resolve) => {
      const half = httpRequest({ port, host: '127.0.0.1', path: '/session/renew', method: 'POST', headers: { 'cookie': cookie(), 'content-length': '100' } })
      half.on('error', () => resolve())
      half.write('{"ticket":', () => setImmediate(() => half.destroy(new Error('gone'))))
    })
    await settled()
    expect((await ask('/')).status).toBe(200)
  })
})
