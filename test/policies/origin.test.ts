import { describe, expect, test } from '@jest/globals'
import { ConfigError } from 'portcullis'
import { origin } from 'portcullis/policies'
import { admitted, denied, harness } from 'portcullis/testing'

const app = 'https://app.example'
const allowed = ['https://app.example', 'https://xn--bcher-kva.example', 'http://localhost:3000', 'http://[::1]:3000', 'https://*.team.example', 'https://*.dev.example:8443', 'http://*.localhost:3000', 'capacitor://localhost']
const probe = (options: Partial<Parameters<typeof origin>[0]> = {}) => harness(origin({ allow: allowed, ...options }))

describe('origin admits', () => {
  test.each([
    'https://app.example',
    'https://xn--bcher-kva.example',
    'http://localhost:3000',
    'http://[::1]:3000',
    'https://a.team.example',
    'https://a-b_c9.team.example',
    `https://${'l'.repeat(63)}.team.example`,
    'https://x.dev.example:8443',
    'http://tenant.localhost:3000',
    'capacitor://localhost',
  ])('%s, which the list says', async (given) => {
    for (const question of [{}, { method: 'POST', opening: false }, { upgrade: true }, { upgrade: true, opening: false }]) {
      expect(await probe().request({ ...question, headers: { origin: given } })).toEqual(admitted())
    }
  })

  test('in the same tick', async () => {
    expect(await probe().request({ headers: { origin: app } })).toMatchObject({ sync: true })
  })
})

describe('origin refuses', () => {
  test.each([
    ['null', 'a sandboxed frame, a local file'],
    ['', 'an empty value'],
    ['https://evil.example', 'another site'],
    ['http://app.example', 'another scheme'],
    ['https://app.example:8443', 'another port'],
    ['https://app.example:443', 'the default port, spelt out'],
    ['https://APP.example', 'upper case'],
    ['HTTPS://app.example', 'an upper case scheme'],
    ['https://app.example.', 'a trailing dot'],
    ['https://app.example/', 'a trailing slash'],
    ['https://app.example/page', 'a path'],
    ['https://app.example?', 'a query'],
    ['https://app.example#', 'a fragment'],
    [' https://app.example', 'a leading blank'],
    ['https://app.example\u0000', 'a null byte'],
    ['https://user@app.example', 'user information'],
    ['https://app.example@evil.example', 'the name as user information'],
    ['https://evil.example#https://app.example', 'the name behind a fragment'],
    ['https://app.example, https://app.example', 'two headers, both right'],
    ['https://app.example, https://evil.example', 'two headers'],
    ['https://evil.example https://app.example', 'a list, as RFC 6454 once allowed'],
    ['https://notapp.example', 'the name as a suffix'],
    ['https://app.example.evil.example', 'the name as a prefix'],
    ['https://appxexample', 'another character for the dot'],
    ['https://bücher.example', 'a name that is not in punycode'],
    ['https://xn--bcher-kva.example.evil.example', 'punycode as a prefix'],
    ['app.example', 'no scheme'],
    ['//app.example', 'no scheme, with slashes'],
    ['capacitor://localhost.evil.example', 'a longer host of another scheme'],
    ['__proto__', 'the name of a property'],
    ['x'.repeat(50_000), 'fifty thousand characters'],
  ])('%j: %s', async (given) => {
    for (const question of [{}, { method: 'POST', opening: false }, { opening: false }, { upgrade: true, opening: false }]) {
      expect(await probe().request({ ...question, headers: { origin: given } })).toEqual(denied('ORIGIN_NOT_ALLOWED'))
      expect(await probe({ missing: 'allow' }).request({ ...question, headers: { origin: given } })).toEqual(denied('ORIGIN_NOT_ALLOWED'))
    }
  })

  test.each([
    ['https://team.example', 'the domain itself'],
    ['https://a.b.team.example', 'two labels'],
    ['https://evilteam.example', 'the name as a suffix'],
    ['https://evil-team.example', 'the name behind a hyphen'],
    ['https://.team.example', 'an empty label'],
    ['https://a.team.example.evil.example', 'the name as a prefix'],
    ['https://evil.example/.team.example', 'the name in a path'],
    ['https://evil.example?.team.example', 'the name in a query'],
    ['https://evil.example#.team.example', 'the name in a fragment'],
    ['https://evil.example:1@a.team.example', 'the pattern behind user information'],
    ['https://a.team.example:8443', 'another port'],
    ['http://a.team.example', 'another scheme'],
    ['http://ab.team.example', 'another scheme, with a character more'],
    ['xttps://a.team.example', 'another scheme of the same length'],
    ['https://A.team.example', 'upper case'],
    ['https://ä.team.example', 'a label that is not in punycode'],
    ['https://a.team.example.', 'a trailing dot'],
    ['https://a\n.team.example', 'a line break in the label'],
    ['https://a.team.example\n', 'a line break at the end'],
    [`https://${'l'.repeat(64)}.team.example`, 'a label that is too long'],
    ['https://x.dev.example', 'a pattern without its port'],
    ['https://*.team.example', 'the pattern itself'],
  ])('%j, which is not one label in place of the star: %s', async (given) => {
    expect(await probe().request({ headers: { origin: given } })).toEqual(denied('ORIGIN_NOT_ALLOWED'))
  })

  test('a right Referer or Host beside a wrong Origin, since nobody looks at them', async () => {
    const headers = { 'origin': 'https://evil.example', 'referer': `${app}/page`, 'host': 'app.example', 'x-forwarded-host': 'app.example', 'sec-websocket-origin': app }
    expect(await probe().request({ headers })).toEqual(denied('ORIGIN_NOT_ALLOWED'))
  })

  test('with 403, a fixed message and nothing of what was sent; operators see the Origin', async () => {
    const result = await probe().request({ headers: { origin: 'https://evil.example' } })
    expect(result.sent).toMatchObject({ status: 403 })
    expect(JSON.stringify(result.sent)).not.toContain('evil')
    expect(result.error).toMatchObject({ cause: 'Origin https://evil.example' })
    expect(result.policy).toBe('origin')
  })
})

describe('a missing Origin', () => {
  test('is not judged on polling GETs, where browsers send none to the own server', async () => {
    expect(await probe().request({ opening: true })).toEqual(admitted())
    expect(await probe().request({ opening: false })).toEqual(admitted())
  })

  test.each([{ method: 'POST' }, { upgrade: true }, { method: 'OPTIONS' }, { method: 'HEAD' }, { method: 'get' }, { method: '' }])('is refused on %j by default, opening or not', async (question) => {
    for (const opening of [true, false]) {
      expect(await probe().request({ ...question, opening })).toEqual(denied('ORIGIN_NOT_ALLOWED'))
      expect(await probe({ missing: 'deny' }).request({ ...question, opening })).toEqual(denied('ORIGIN_NOT_ALLOWED'))
    }
  })

  test.each([{ method: 'POST' }, { upgrade: true }])("passes on %j with missing: 'allow', for clients that are no browsers", async (question) => {
    expect(await probe({ missing: 'allow' }).request(question)).toEqual(admitted())
  })

  test('an empty list lets in those clients only, and has to be said', async () => {
    const machines = probe({ allow: [], missing: 'allow' })
    expect(await machines.request({ upgrade: true })).toEqual(admitted())
    expect(await machines.request({ upgrade: true, headers: { origin: app } })).toEqual(denied('ORIGIN_NOT_ALLOWED'))
    expect(() => origin({ allow: [] })).toThrow(ConfigError)
  })
})

describe('origin is a ConfigError', () => {
  test.each([
    ['*', /every page of the world/],
    ['null', /sandboxed/],
    [/^https:\/\/app\.example$/, /not anchored/],
    ['https://APP.example', /"https:\/\/app\.example"\. Write that/],
    ['https://app.example/', /"https:\/\/app\.example"\. Write that/],
    ['https://app.example:443', /"https:\/\/app\.example"\. Write that/],
    ['http://app.example:80', /"http:\/\/app\.example"\. Write that/],
    ['https://app.example/page', /Write that/],
    ['https://user:word@app.example', /Write that/],
    [' https://app.example', /Write that/],
    ['https://bücher.example', /"https:\/\/xn--bcher-kva\.example"\. Write that/],
    ['https://a.example, https://b.example', /origin/],
    ['wss://app.example', /write 'https:\/\/app\.example'/],
    ['ws://app.example:3000', /write 'http:\/\/app\.example:3000'/],
    ['app.example', /not an origin/],
    ['', /not an origin/],
    ['https://', /not an origin/],
    ['file:///page', /not an origin/],
    ['data:text/html,x', /not an origin/],
    ['capacitor://localhost/', /not an origin/],
    ['https://*', /one whole label/],
    ['*.app.example', /one whole label/],
    ['https://app-*.example.com', /one whole label/],
    ['https://*app.example.com', /one whole label/],
    ['https://*.*.example.com', /one whole label/],
    ['https://app.*.example.com', /one whole label/],
    ['https://app.example.*', /one whole label/],
    ['https://*.example', /top-level domain/],
    ['https://*.example:8443', /top-level domain/],
    ['https://*.APP.example', /"https:\/\/\*\.app\.example"\. Write that/],
    ['https://*.app.example:443', /"https:\/\/\*\.app\.example"\. Write that/],
    ['https://*.app.example/', /Write that/],
    ['https://*.0.0.1', /not an origin/],
    [42, /not text/],
    [null, /not text/],
  ])('for the entry %p', (entry, why) => {
    expect(() => origin({ allow: ['https://ok.example', entry as string] })).toThrow(why)
    expect(() => origin({ allow: [entry as string] })).toThrow(ConfigError)
  })

  test.each([undefined, null, 'https://app.example', {}, { allow: app }, { allow: [app], missing: true }, { allow: [app], missing: 'ignore' }, { allow: [app], mising: 'allow' }])('for the options %p', (options) => {
    expect(() => origin(options as never)).toThrow(ConfigError)
  })
})

test('origin does nothing at stages that are not its own', async () => {
  expect(Object.keys(origin({ allow: [app] }))).toEqual(['name', 'request'])
  const headers = { origin: 'https://evil.example' }
  expect(await probe().connect({ headers })).toEqual(admitted())
  expect(await probe().event('ping')).toEqual(admitted())
  expect(await probe().join('room')).toEqual(admitted())
  expect(await probe().deliver('pong', 1)).toEqual(admitted())
})
