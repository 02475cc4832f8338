import { createServer as createHttp, request as askHttp } from 'node:http'
import { Agent, createServer as createHttps, request as askHttps } from 'node:https'
import type { IncomingMessage, RequestListener } from 'node:http'
import { describe, expect, test } from '@jest/globals'
import express from 'express'
import session from 'express-session'
import { ConfigError } from 'portcullis'
import { CookieJar } from 'tough-cookie'
import { secureCookie, type SecureCookieOptions } from '../../../adapters/express-session/secure-cookie.ts'
import { cookieWarnings, settingsOf } from '../../../adapters/express-session/settings.ts'
import { sessionIdOf } from '../../../adapters/express-session/signed-cookie.ts'
import { ca, purposes } from '../../support/certificates.ts'
import { browserTest, launch } from '../../support/chromium.ts'
import { closeAfterTest, listen } from '../../support/server.ts'

const SECRET = 'what the cookies of the application are signed with'
const DAY_MS = 86_400_000

const authority = await ca()
const certificate = await authority.issue({ dn: [{ CN: 'localhost' }], san: [{ type: 'dns', value: 'localhost' }], eku: [purposes.server] })

/** An application that keeps a session for whoever asks; `/look` does so without changing it. */
function application(options: SecureCookieOptions, more: Partial<session.SessionOptions> = {}) {
  const store = new session.MemoryStore()
  const middleware = session({ ...secureCookie(options), store, secret: SECRET, ...more })
  const app = express()
  app.use(middleware)
  app.get('/look', (asked, response) => void response.send(asked.sessionID))
  app.get(['/', '/app'], (asked, response) => {
    Object.assign(asked.session, { visits: 1 })
    response.send(asked.sessionID)
  })
  return { app, store }
}

interface Answer {
  readonly id: string
  readonly set: readonly string[]
}

const answered = (response: IncomingMessage): Promise<Answer> =>
  new Promise((resolve) => {
    let id = ''
    response.setEncoding('utf8').on('data', (text: string) => (id += text)).on('end', () => resolve({ id, set: response.headers['set-cookie'] ?? [] }))
  })

async function overTls(listener: RequestListener) {
  const http = createHttps({ cert: certificate.cert, key: certificate.key }, listener)
  const port = await listen(http)
  const agent = new Agent({ ca: authority.cert, lookup: (_, __, done) => done(null, [{ address: '127.0.0.1', family: 4 }]) })
  closeAfterTest(() => (agent.destroy(), http.close()))
  const ask = (path = '/', cookie = ''): Promise<Answer> =>
    new Promise((resolve, reject) => askHttps({ port, host: 'localhost', path, agent, headers: cookie ? { cookie } : {} }, (response) => resolve(answered(response))).on('error', reject).end())
  return { ask, url: `https://localhost:${port}` }
}

async function overHttp(listener: RequestListener) {
  const http = createHttp(listener)
  const port = await listen(http)
  closeAfterTest(() => http.close())
  return (headers: Record<string, string> = {}): Promise<Answer> =>
    new Promise((resolve, reject) => askHttp({ port, host: '127.0.0.1', headers }, (response) => resolve(answered(response))).on('error', reject).end())
}

/** The attributes of a Set-Cookie header, and its name. */
const parts = (text: string): string[] => text.replace(/=[^;]*/, '').split('; ')

describe('secureCookie', () => {
  test('makes options for express-session', () => {
    expect(secureCookie()).toEqual({ name: '__Host-sid', cookie: { httpOnly: true, secure: true, sameSite: 'lax', path: '/' }, resave: false, saveUninitialized: false })
    expect(secureCookie({ name: 'app', maxAgeMs: DAY_MS, sameSite: 'strict' })).toEqual({
      name: '__Host-app',
      cookie: { httpOnly: true, secure: true, sameSite: 'strict', path: '/', maxAge: DAY_MS },
      resave: false,
      saveUninitialized: false,
    })
  })

  test('gives each caller options of its own', () => {
    expect(secureCookie()).not.toBe(secureCookie())
    expect(secureCookie().cookie).not.toBe(secureCookie().cookie)
  })

  test('leaves out the prefix and Secure, and nothing else, where plain http is asked for', () => {
    expect(secureCookie({ dangerouslyOverHttp: true })).toEqual({ name: 'sid', cookie: { httpOnly: true, secure: false, sameSite: 'lax', path: '/' }, resave: false, saveUninitialized: false })
    expect(secureCookie({ dangerouslyOverHttp: false })).toEqual(secureCookie())
  })

  test('has no way to other sites, scripts or hosts in its types', () => {
    // @ts-expect-error: other sites
    expect(() => secureCookie({ sameSite: 'none' })).toThrow(ConfigError)
    // @ts-expect-error: other hosts
    expect(() => secureCookie({ domain: 'example.com' })).toThrow(ConfigError)
    // @ts-expect-error: scripts
    expect(() => secureCookie({ httpOnly: false })).toThrow(ConfigError)
  })

  test.each([
    [null, /takes options such as .*got null/],
    ['sid', /takes options/],
    [{ secure: false }, /unknown option "secure"\. The options are name, maxAgeMs, sameSite, dangerouslyOverHttp/],
    [{ maxAge: DAY_MS }, /unknown option "maxAge"/],
    [{ name: '' }, /name is one that a cookie can have/],
    [{ name: 7 }, /name is one .*got number 7/],
    [{ name: 'a b' }, /name is one/],
    [{ name: 'a=b' }, /name is one/],
    [{ name: 'a;b' }, /name is one/],
    [{ name: 'sid\n' }, /name is one/],
    [{ name: 'sïd' }, /name is one/],
    [{ name: 's'.repeat(129) }, /name is one/],
    [{ name: '__proto__', dangerouslyOverHttp: true }, /name is one/],
    [{ name: 'constructor', dangerouslyOverHttp: true }, /name is one/],
    [{ name: '__Host-sid' }, /what follows the prefix.*write "sid"/],
    [{ name: '__host-app' }, /write "app"/],
    [{ name: '__Secure-sid' }, /write "sid"/],
    [{ name: '__Host-' }, /write "sid"/],
    [{ name: '__Host-sid', dangerouslyOverHttp: true }, /write "sid"/],
    [{ maxAgeMs: 0 }, /maxAgeMs is a number of milliseconds/],
    [{ maxAgeMs: -1 }, /maxAgeMs/],
    [{ maxAgeMs: 999 }, /maxAgeMs/],
    [{ maxAgeMs: NaN }, /maxAgeMs/],
    [{ maxAgeMs: Infinity }, /maxAgeMs/],
    [{ maxAgeMs: 401 * DAY_MS }, /400 days/],
    [{ maxAgeMs: '1d' }, /maxAgeMs/],
    [{ maxAgeMs: null }, /maxAgeMs/],
    [{ sameSite: 'none' }, /sameSite is 'lax' or 'strict'/],
    [{ sameSite: 'Lax' }, /sameSite/],
    [{ sameSite: true }, /sameSite/],
    [{ sameSite: false }, /sameSite/],
    [{ dangerouslyOverHttp: 'yes' }, /dangerouslyOverHttp is true or false/],
    [{ dangerouslyOverHttp: 1 }, /dangerouslyOverHttp/],
  ])('refuses %j when it is made', (options, words) => {
    expect(() => secureCookie(options as never)).toThrow(ConfigError)
    expect(() => secureCookie(options as never)).toThrow(words)
  })
})

describe('what the real express-session writes with it', () => {
  test('is a cookie as browsers want those of that prefix', async () => {
    const { ask } = await overTls(application({}).app)
    const { set } = await ask()
    expect(set).toHaveLength(1)
    expect(parts(set[0]!)).toEqual(['__Host-sid', 'Path=/', 'HttpOnly', 'Secure', 'SameSite=Lax'])
  })

  test('says what else was asked for', async () => {
    const { ask } = await overTls(application({ name: 'app', sameSite: 'strict', maxAgeMs: 7 * DAY_MS }).app)
    const written = parts((await ask()).set[0]!)
    const expires = written.find((part) => part.startsWith('Expires='))!
    expect(written).toEqual(['__Host-app', 'Path=/', expires, 'HttpOnly', 'Secure', 'SameSite=Strict'])
    const days = (Date.parse(expires.slice('Expires='.length)) - Date.now()) / DAY_MS
    expect(Math.round(days)).toBe(7)
  })

  test('is kept by a client that holds names to their prefix, and is the session again', async () => {
    const { ask, url } = await overTls(application({}).app)
    const jar = new CookieJar(undefined, { prefixSecurity: 'strict', allowSecureOnLocal: false })
    const { id, set } = await ask()
    await jar.setCookie(set[0]!, url)
    const cookies = await jar.getCookieString(url)
    expect(sessionIdOf(cookies, secureCookie().name, [SECRET])).toBe(id)
    expect(await ask('/look', cookies)).toEqual({ id, set: [] })
    expect(await jar.getCookieString(url.replace('localhost', 'app.localhost'))).toBe('')
    expect(await jar.getCookieString(url.replace('https', 'http'))).toBe('')
  })

  test('would not be kept by that client with anything else', async () => {
    for (const weaker of [{ secure: true, domain: 'localhost' }, { secure: true, path: '/app' }, { secure: false }]) {
      const { ask, url } = await overTls(application({}, { cookie: weaker }).app)
      const jar = new CookieJar(undefined, { prefixSecurity: 'strict', rejectPublicSuffixes: false })
      const { set } = await ask('/app')
      expect(set).toEqual([expect.stringMatching(/^__Host-sid=/)])
      await expect(jar.setCookie(set[0]!, `${url}/app`)).rejects.toThrow(/__Host prefix/)
    }
  })

  test('is not there for who changes nothing, and nothing is stored', async () => {
    const { app, store } = application({})
    const { ask } = await overTls(app)
    expect((await ask('/look')).set).toEqual([])
    expect(Object.keys((store as unknown as { readonly sessions: object }).sessions)).toEqual([])
  })

  test('leaves nothing to warn of', () => {
    const { store } = application({})
    expect(cookieWarnings(settingsOf(store), secureCookie().name)).toEqual([])
  })

  browserTest('is kept by a browser, which shows it to no script and sends it again', async () => {
    const { url } = await overTls(application({}).app)
    const browser = await launch()
    closeAfterTest(() => browser.close())
    const context = await browser.newContext({ ignoreHTTPSErrors: true })
    const page = await context.newPage()
    const id = await (await page.goto(url))!.text()
    expect(await context.cookies()).toEqual([expect.objectContaining({ name: '__Host-sid', domain: 'localhost', path: '/', httpOnly: true, secure: true, sameSite: 'Lax', expires: -1 })])
    expect(await page.evaluate(() => document.cookie)).toBe('')
    expect(await (await page.goto(`${url}/look`))!.text()).toBe(id)
    const kept = (await context.cookies())[0]!
    expect(sessionIdOf(`${kept.name}=${kept.value}`, '__Host-sid', [SECRET])).toBe(id)
  })
})

describe('without TLS up to the application', () => {
  test('express-session sets no cookie at all', async () => {
    const ask = await overHttp(application({}).app)
    expect((await ask()).set).toEqual([])
    expect((await ask({ 'x-forwarded-proto': 'https' })).set).toEqual([])
  })

  test('it does behind a proxy that the application trusts, for what came to that over https', async () => {
    const { app } = application({})
    app.set('trust proxy', 1)
    const trusting = await overHttp(app)
    const told = await overHttp(application({}, { proxy: true }).app)
    for (const ask of [trusting, told]) {
      expect(parts((await ask({ 'x-forwarded-proto': 'https' })).set[0]!)).toEqual(['__Host-sid', 'Path=/', 'HttpOnly', 'Secure', 'SameSite=Lax'])
      expect((await ask({ 'x-forwarded-proto': 'http' })).set).toEqual([])
      expect((await ask()).set).toEqual([])
    }
  })

  test('it does where plain http was asked for', async () => {
    const ask = await overHttp(application({ dangerouslyOverHttp: true }).app)
    const { id, set } = await ask()
    expect(parts(set[0]!)).toEqual(['sid', 'Path=/', 'HttpOnly', 'SameSite=Lax'])
    expect(sessionIdOf(set[0]!.split(';')[0], 'sid', [SECRET])).toBe(id)
  })
})
