import { EventEmitter } from 'node:events'
import { describe, expect, test } from '@jest/globals'
import session from 'express-session'
import { secureCookie } from '../../../adapters/express-session/secure-cookie.ts'
import { cookieWarnings, settingsOf, type CookieSettings } from '../../../adapters/express-session/settings.ts'

const DAY_MS = 86_400_000

/** A store with the real express-session on it. */
function storeWith(options: Partial<session.SessionOptions> = {}): session.MemoryStore {
  const store = new session.MemoryStore()
  session({ secret: 'secret', resave: false, saveUninitialized: false, store, ...options })
  return store
}

const settings = (cookie: unknown, more: Partial<session.SessionOptions> = {}): CookieSettings | undefined => settingsOf(storeWith({ cookie: cookie as never, ...more }))

const own: CookieSettings = { secure: true, httpOnly: true, sameSite: 'lax', domain: undefined, path: '/', maxAgeMs: undefined }

describe('the settings in force on a store', () => {
  test('are those of the middleware that was made with it', () => {
    expect(settingsOf(storeWith(secureCookie() as never))).toEqual(own)
    expect(settings(undefined)).toEqual({ secure: false, httpOnly: true, sameSite: undefined, domain: undefined, path: '/', maxAgeMs: undefined })
    expect(settings({ secure: true, httpOnly: false, sameSite: 'none', domain: 'example.com', path: '/app' })).toEqual({
      secure: true,
      httpOnly: false,
      sameSite: 'none',
      domain: 'example.com',
      path: '/app',
      maxAgeMs: undefined,
    })
  })

  test.each([
    [true, 'strict'],
    ['strict', 'strict'],
    ['Strict', 'strict'],
    ['LAX', 'lax'],
    ['none', 'none'],
    [false, undefined],
    [undefined, undefined],
    ['', undefined],
    ['sometimes', undefined],
  ])('take SameSite %p as it is written: %p', (sameSite, written) => {
    expect(settings({ sameSite })?.sameSite).toBe(written)
  })

  test.each(['', null, false])('know no path and no domain where none is written: %p', (none) => {
    expect(settings({ path: none, domain: none })).toMatchObject({ path: undefined, domain: undefined })
  })

  test('know how long it is kept', () => {
    // express-session counts from now to a time that it has just made of this.
    expect(Math.round(settings({ maxAge: 40 * DAY_MS })!.maxAgeMs! / 1_000)).toBe((40 * DAY_MS) / 1_000)
    expect(Math.round(settings({ expires: new Date(Date.now() + DAY_MS) })!.maxAgeMs! / 1_000)).toBe(DAY_MS / 1_000)
    expect(settings({ maxAge: null })?.maxAgeMs).toBeUndefined()
  })

  test('know what goes by the connection, with and without a proxy', () => {
    for (const proxy of [undefined, true, false]) {
      expect(settings({ secure: 'auto' }, { proxy })?.secure).toBe('auto')
      expect(settings({ secure: true, sameSite: 'auto' }, { proxy })).toMatchObject({ secure: true, sameSite: 'none' })
    }
    expect(settings(({ secure }: { secure: boolean }) => ({ secure }))?.secure).toBe('auto')
  })

  test('are those of a function, as long as it does not look at the request', () => {
    expect(settings(() => ({ secure: true, sameSite: 'lax' }))).toEqual(own)
  })

  const looking: readonly (readonly [string, (request: any) => object])[] = [
    ['reads the URL, as in the README of express-session', (request) => ({ path: /^\/([^/]+)/.exec(request.url)?.[0] ?? '/' })],
    ['reads the host', (request) => ({ domain: request.hostname })],
    ['reads the host with care', (request) => ({ domain: request?.hostname ?? undefined, secure: true })],
    ['calls for a header', (request) => ({ domain: request.get('host') })],
    ['reads a header', (request) => ({ domain: request.headers.host })],
    ['reads an address', (request) => ({ secure: request.connection.remoteAddress !== '127.0.0.1' })],
    ['asks whether there is a header', (request) => ({ domain: 'host' in request.headers ? 'example.com' : undefined })],
    ['asks for an own property', (request) => ({ domain: Object.hasOwn(request, 'hostname') ? 'example.com' : undefined })],
    ['copies the headers', (request) => ({ domain: { ...request.headers }.host })],
    ['swallows what it comes across', (request) => {
      try {
        return { domain: request.socket.servername.toLowerCase() }
      } catch {
        return { secure: true, sameSite: 'lax' }
      }
    }],
    ['sets another domain by the connection', ({ secure }) => ({ domain: secure ? 'example.com' : undefined })],
    ['sets another path by the connection', ({ secure }) => ({ path: secure ? '/' : '/plain' })],
    ['hides from scripts by the connection', ({ secure }) => ({ httpOnly: secure })],
    ['throws', () => {
      throw new Error('not today')
    }],
  ]
  test.each(looking)('are not known where a function %s', (_, cookie) => {
    expect(settings(cookie)).toBeUndefined()
  })

  test('are express-session’s own where a function has no answer', () => {
    expect(settings(() => undefined)).toMatchObject({ secure: false, sameSite: undefined })
  })

  test('are known with an id of the application’s own making, whatever it reads', () => {
    const cookie = secureCookie().cookie as never
    expect(settings(cookie, { genid: (request) => `id-${request.ip}-${request.headers['user-agent']}-${String(request.query)}` })).toEqual(own)
    expect(settings(cookie, { genid: () => undefined as never })).toEqual(own)
  })

  test('are not known where the id cannot be made for a stand-in', () => {
    const cookie = secureCookie().cookie as never
    expect(settings(cookie, { genid: (request) => request.get('host')! })).toBeUndefined()
    expect(settings(cookie, { genid: () => { throw new Error('no request') } })).toBeUndefined()
  })

  test.each([undefined, null, 7, 'store', {}, new EventEmitter(), new session.MemoryStore(), { generate: 'yes' }, { generate: () => undefined }, { generate: (request: any) => (request.session = {}) }, { generate: (request: any) => (request.session = { cookie: null }) }])(
    'are not known without a middleware: %#',
    (store) => {
      expect(settingsOf(store)).toBeUndefined()
    },
  )

  test('are not known of a store that does not want to be looked at', () => {
    const hostile = new Proxy({}, { get: () => { throw new Error('no') } })
    expect(settingsOf(hostile)).toBeUndefined()
    expect(settingsOf({ generate: (request: any) => (request.session = { get cookie() { throw new Error('no') } }) })).toBeUndefined()
  })

  test('are found without a question to the store, or a change of it', () => {
    const calls: PropertyKey[] = []
    class Watched extends session.MemoryStore {}
    for (const name of ['get', 'set', 'destroy', 'touch', 'all', 'length', 'clear', 'regenerate', 'load', 'createSession', 'on', 'emit'] as const) {
      const inherited = session.MemoryStore.prototype[name] as (...given: unknown[]) => unknown
      Object.defineProperty(Watched.prototype, name, { value(this: unknown, ...given: unknown[]) { calls.push(name); return inherited.apply(this, given) } })
    }
    const store = new Watched()
    session({ ...secureCookie(), store, secret: 'secret' })
    const before = { listeners: store.eventNames(), keys: Reflect.ownKeys(store), generate: (store as unknown as { generate: unknown }).generate }
    calls.length = 0
    expect(settingsOf(store)).toEqual(own)
    expect(calls).toEqual([])
    expect({ listeners: store.eventNames(), keys: Reflect.ownKeys(store), generate: (store as unknown as { generate: unknown }).generate }).toEqual(before)
    expect((store as unknown as { sessions: object }).sessions).toEqual(Object.create(null))
  })
})

describe('warnings', () => {
  const about = (changed: Partial<CookieSettings>, name = '__Host-sid'): readonly string[] => cookieWarnings({ ...own, ...changed }, name)

  test('there are none where all is as secureCookie makes it', () => {
    expect(about({})).toEqual([])
    expect(about({ sameSite: 'strict', maxAgeMs: 30 * DAY_MS })).toEqual([])
  })

  test.each<[Partial<CookieSettings>, RegExp]>([
    [{ secure: 'auto' }, /^session cookie "__Host-sid": Secure over https only/],
    [{ httpOnly: false }, /: not HttpOnly, so any script/],
    [{ sameSite: 'none' }, /: SameSite=None, so browsers send it with what other sites request, WebSockets included/],
    [{ sameSite: undefined }, /: no SameSite/],
    [{ maxAgeMs: 45.5 * DAY_MS }, /: kept by browsers for 45 days/],
  ])('one for %j', (changed, words) => {
    expect(about(changed)).toEqual([expect.stringMatching(words)])
  })

  test.each<[Partial<CookieSettings>, RegExp]>([
    [{ secure: false }, /: not Secure/],
    [{ domain: 'example.com' }, /: Domain=example\.com, so every host/],
    [{ path: '/app' }, /: Path=\/app, so it comes with no request outside of it/],
    [{ path: undefined }, /: no Path, so/],
  ])('one for %j, and one more where browsers refuse that under its name', (changed, words) => {
    const prefix = /^session cookie "connect\.sid": without the prefix __Host- in its name, another host of the same domain can plant a session/
    expect(about(changed, 'connect.sid')).toEqual([expect.stringMatching(words), expect.stringMatching(prefix)])
    expect(about(changed)).toEqual([expect.stringMatching(/browsers do not keep it: a name of this kind asks for Secure, Path=\/ and no Domain/), expect.stringMatching(words)])
  })

  test('the prefix counts as it is written', () => {
    expect(about({}, '__host-sid')).toHaveLength(1)
    expect(about({}, '__Secure-sid')).toHaveLength(1)
    expect(about({ secure: false }, '__Secure-sid')).toEqual([expect.stringMatching(/browsers do not keep it: a name of this kind asks for Secure\.$/), expect.stringMatching(/not Secure/), expect.stringMatching(/without the prefix/)])
  })

  test('nothing is said to be well that cannot be seen', () => {
    expect(cookieWarnings(undefined, '__Host-sid')).toEqual([expect.stringMatching(/cannot be seen from here/)])
    expect(cookieWarnings(undefined, 'connect.sid')).toHaveLength(2)
  })

  test('express-session’s defaults have three, development over http two, and none holds an id or a secret', () => {
    expect(cookieWarnings(settingsOf(storeWith()), 'connect.sid')).toEqual([expect.stringMatching(/not Secure/), expect.stringMatching(/no SameSite/), expect.stringMatching(/without the prefix/)])
    const { name, ...options } = secureCookie({ dangerouslyOverHttp: true })
    const warnings = cookieWarnings(settingsOf(storeWith(options)), name)
    expect(warnings).toEqual([expect.stringMatching(/not Secure/), expect.stringMatching(/without the prefix/)])
  })
})
