import { createHmac, createSecretKey, generateKeyPairSync, randomBytes } from 'node:crypto'
import { describe, expect, jest, test } from '@jest/globals'
import { ConfigError, fromAuth, fromBearer, fromCookie } from 'portcullis'
import type { CredentialReader } from 'portcullis'
import { csrf, type CsrfOptions } from 'portcullis/policies'
import { admitted, denied, faulted, harness } from 'portcullis/testing'

const app = 'https://app.example'
const evil = 'https://evil.example'
const secret = 'a secret of more than thirty-two bytes'
const session = fromCookie('sid')
const options: CsrfOptions = { origins: [app, 'https://*.team.example'], secret, session }
const made = (more: Partial<CsrfOptions> = {}) => csrf({ ...options, ...more })

/** What a browser sends with a request of a page, whichever page it is. */
const browser = (cookie: string, origin: string | undefined = app) => ({
  'user-agent': 'Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0',
  'accept-language': 'en',
  'sec-fetch-site': 'cross-site',
  ...(cookie === '' ? {} : { cookie }),
  ...(origin === '' ? {} : { origin }),
})
const victim = 'theme=dark; sid=s-victim; lang=en'
const entering = (policy: ReturnType<typeof csrf>, auth: object = {}, headers: object = browser(victim), cause: 'connect' | 'recover' | 'refresh' | 'reauthorize' = 'connect') =>
  harness(policy).connect({ auth: auth as Record<string, unknown>, headers: headers as Record<string, string>, cause })

describe('whoever enters with the cookie', () => {
  test('is let in with a token of that session, made by this server', async () => {
    const policy = made()
    expect(await entering(policy, { csrf: policy.token('s-victim') })).toEqual(admitted({ sync: true }))
    expect(await entering(policy, { csrf: policy.tokenFor({ headers: { cookie: victim } }) })).toEqual(admitted())
    expect(await entering(made(), { csrf: policy.token('s-victim') })).toEqual(admitted())
    expect(await entering(policy, {}, { ...browser(victim), 'x-csrf-token': policy.token('s-victim') })).toEqual(admitted())
  })

  const policy = made()
  const good = policy.token('s-victim')
  const [nonce, mac] = good.split('.') as [string, string]
  const other = policy.token('s-other').split('.') as [string, string]
  /** The same 32 bytes, spelt differently: the last two bits of 43 characters are spare. */
  const respelt = mac.slice(0, -1) + 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'['ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'.indexOf(mac.at(-1)!) ^ 1]!

  const wrong: readonly (readonly [string, unknown])[] = [
    ['no token', undefined],
    ['null', null],
    ['an empty one', ''],
    ['that of another session', policy.token('s-other')],
    ['that of a session whose name begins alike', policy.token('s-victim2')],
    ['that of an empty-looking session', policy.token(' ')],
    ['one of another secret', made({ secret: randomBytes(32) }).token('s-victim')],
    ['the nonce of one and the seal of another', `${nonce}.${other[1]}`],
    ['the nonce of another', `${other[0]}.${mac}`],
    ['a nonce alone', nonce],
    ['a nonce and a dot', `${nonce}.`],
    ['a seal alone', `.${mac}`],
    ['a seal that is cut', good.slice(0, -1)],
    ['a seal that is longer', `${good}A`],
    ['a seal spelt otherwise', `${nonce}.${respelt}`],
    ['padding', `${good}=`],
    ['a blank before', ` ${good}`],
    ['a line feed behind', `${good}\n`],
    ['standard base64', good.replaceAll('-', '+').replaceAll('_', '/') + '/'],
    ['upper case', good.toUpperCase()],
    ['three parts', `${good}.${mac}`],
    ['the cookie itself', 's-victim'],
    ['a plain hash of the session', `${nonce}.${createHmac('sha256', '').update(`${nonce}.s-victim`).digest('base64url')}`],
    ['blanks only', `${'A'.repeat(43)}.${'A'.repeat(43)}`],
    ['a character outside ASCII', `${nonce}.${mac.slice(1)}é`],
    ['a null byte', `${nonce}.${mac.slice(1)}\0`],
    ['five thousand characters', 'A'.repeat(5_000)],
    ['true', true],
    ['a number', 1],
    ['an object', { csrf: good }],
    ['a list', [good]],
  ]

  test.each(wrong)('is refused with %s, and hears the same of each', async (_words, token) => {
    const result = await entering(policy, token === undefined ? {} : { csrf: token })
    expect(result).toEqual(denied('FORBIDDEN'))
    const { id: _, ...said } = result.refusal!
    const { id: __, ...plain } = (await entering(policy, {})).refusal!
    expect(said).toEqual(plain)
    expect(result.refusal?.details).toBeUndefined()
  })

  test.each(wrong.filter(([, token]) => typeof token === 'string' && token !== '' && !/[^\x20-\x7e]/.test(token)))('is refused with %s in the header', async (_words, token) => {
    expect(await entering(policy, {}, { ...browser(victim), 'x-csrf-token': token as string })).toEqual(denied('FORBIDDEN'))
  })

  test('is refused with two different tokens, of which one is right', async () => {
    const headers = (token: string | string[]) => ({ ...browser(victim), 'x-csrf-token': token })
    expect(await entering(policy, { csrf: good }, headers(policy.token('s-other')))).toEqual(denied('FORBIDDEN'))
    expect(await entering(policy, { csrf: policy.token('s-other') }, headers(good))).toEqual(denied('FORBIDDEN'))
    expect(await entering(policy, {}, headers(`${good}, ${good}`))).toEqual(denied('FORBIDDEN'))
    expect(await entering(policy, {}, headers([good, good]))).toEqual(denied('FORBIDDEN'))
    expect(await entering(policy, { csrf: good }, headers(good))).toEqual(admitted())
  })

  test('is refused with a foreign Origin at the connect as well, whatever the token', async () => {
    for (const foreign of [evil, 'null', `${app}.evil.example`]) expect(await entering(policy, { csrf: good }, browser(victim, foreign))).toEqual(denied('ORIGIN_NOT_ALLOWED'))
    expect(await entering(policy, { csrf: good }, browser(victim, 'https://a.team.example'))).toEqual(admitted())
  })

  test('is refused with the cookie twice: which one counts is not for a neighbour on a sub-domain to say', async () => {
    for (const cookie of ['sid=s-victim; sid=s-victim', 'sid=s-victim; sid=s-other', 'sid=s-other; sid=s-victim']) {
      expect(await entering(policy, { csrf: good }, browser(cookie))).toEqual(denied('FORBIDDEN'))
    }
  })

  test('is refused the token of a session that has ended: a login or a logout gives the browser another cookie', async () => {
    const before = policy.tokenFor({ headers: { cookie: 'sid=anonymous' } })
    expect(await entering(policy, { csrf: before }, browser('sid=anonymous'))).toEqual(admitted())
    expect(await entering(policy, { csrf: before }, browser('sid=after-login'))).toEqual(denied('FORBIDDEN'))
    expect(await entering(policy, { csrf: policy.token('after-login') }, browser('sid=after-login'))).toEqual(admitted())
    expect(await entering(policy, { csrf: policy.token('after-login') }, browser('sid=anonymous-again'))).toEqual(denied('FORBIDDEN'))
  })

  test('needs a token for a session of any value, an empty one included', async () => {
    for (const value of ['', ' ', '__proto__', 's%3Aabc.def', '"quoted"', 'ü']) expect(await entering(policy, {}, browser(`sid=${value}`))).toEqual(denied('FORBIDDEN'))
    for (const value of ['__proto__', 's%3Aabc.def', '"quoted"', 'ü']) expect(await entering(policy, { csrf: policy.token(value) }, browser(`sid=${value}`))).toEqual(admitted())
  })

  test('is asked again when a connection is recovered, and not in-band', async () => {
    expect(await entering(policy, {}, browser(victim), 'recover')).toEqual(denied('FORBIDDEN'))
    expect(await entering(policy, { csrf: good }, browser(victim), 'recover')).toEqual(admitted())
    for (const cause of ['refresh', 'reauthorize'] as const) expect(await entering(policy, {}, browser(victim), cause)).toEqual(admitted())
  })

  test('and what is wrong is told to operators only', async () => {
    const probe = harness(policy)
    await probe.connect({ headers: browser(victim), auth: { csrf: 7 } })
    expect(probe.decisions).toMatchObject([{ outcome: 'denied', policy: 'csrf', code: 'FORBIDDEN' }])
    expect(probe.decisions[0]!.error?.cause).toBe('auth.csrf is no text')
  })
})

describe('whoever has no such cookie', () => {
  test.each(['', 'theme=dark', 'SID=s-victim', 'xsid=s-victim', 'sid'])('enters without a token: nothing rides on %j', async (cookie) => {
    expect(await entering(made(), {}, browser(cookie))).toEqual(admitted({ sync: true }))
  })
})

describe('the Origin', () => {
  const ask = (question: Parameters<ReturnType<typeof harness>['request']>[0]) => harness(made()).request(question)
  const later = [{ method: 'POST', opening: false }, { upgrade: true }, { upgrade: true, opening: false }] as const

  test('of the list goes on, on every request', async () => {
    for (const origin of [app, 'https://a.team.example']) {
      for (const question of [{}, ...later]) expect(await ask({ ...question, headers: browser(victim, origin) })).toEqual(admitted({ sync: true }))
    }
  })

  test('that is foreign is refused on every request, with a cookie or without', async () => {
    for (const origin of [evil, 'null', '', `${app}/`, `${app}, ${app}`, app.toUpperCase()]) {
      for (const question of [{}, { opening: false }, ...later]) {
        expect(await ask({ ...question, headers: { origin, cookie: victim } })).toEqual(denied('ORIGIN_NOT_ALLOWED'))
        expect(await ask({ ...question, headers: { origin } })).toEqual(denied('ORIGIN_NOT_ALLOWED'))
      }
    }
  })

  test('that is missing is refused on POST and upgrade where there is a cookie; browsers poll without one', async () => {
    for (const question of later) {
      expect(await ask({ ...question, headers: { cookie: victim } })).toEqual(denied('ORIGIN_NOT_ALLOWED'))
      expect(await ask({ ...question, headers: { cookie: '' } })).toEqual(denied('ORIGIN_NOT_ALLOWED'))
      expect(await ask({ ...question, headers: {} })).toEqual(admitted())
    }
    for (const question of [{}, { opening: false }]) expect(await ask({ ...question, headers: { cookie: victim } })).toEqual(admitted())
  })
})

describe('tokens', () => {
  test('are of one form, each another one, and hold nothing of the session', () => {
    const policy = made()
    const tokens = Array.from({ length: 100 }, () => policy.token('s-victim'))
    expect(new Set(tokens).size).toBe(100)
    for (const token of tokens) expect(token).toMatch(/^[\w-]{43}\.[\w-]{43}$/)
  })

  test('can be made elsewhere: the seal is HMAC-SHA256 over nonce, dot and session', async () => {
    const nonce = randomBytes(32).toString('base64url')
    const token = `${nonce}.${createHmac('sha256', secret).update(`${nonce}.s-victim`).digest('base64url')}`
    expect(await entering(made(), { csrf: token })).toEqual(admitted())
  })

  test('are made for a session, and for nothing else', () => {
    const policy = made()
    for (const value of ['', undefined, null, 7, {}]) expect(() => policy.token(value as string)).toThrow(TypeError)
    for (const cookie of [undefined, '', 'theme=dark', 'sid=']) expect(policy.tokenFor({ headers: { ...(cookie === undefined ? {} : { cookie }) } })).toBeUndefined()
    expect(() => policy.tokenFor({ headers: { cookie: 'sid=a; sid=b' } })).toThrow('Valid credentials are required.')
  })

  test('of an old secret are accepted as long as it is in the list, and new ones are made with the first', async () => {
    const [old, current] = [randomBytes(32), randomBytes(32)]
    const before = made({ secret: old })
    const during = made({ secret: [current, old] })
    const after = made({ secret: [current] })
    const token = before.token('s-victim')
    expect(await entering(during, { csrf: token })).toEqual(admitted())
    expect(await entering(after, { csrf: token })).toEqual(denied('FORBIDDEN'))
    expect(await entering(before, { csrf: during.token('s-victim') })).toEqual(denied('FORBIDDEN'))
    expect(await entering(after, { csrf: during.token('s-victim') })).toEqual(admitted())
  })

  test.each([
    ['text', secret],
    ['bytes', Buffer.from(secret)],
    ['a Uint8Array', new Uint8Array(Buffer.from(secret))],
    ['a KeyObject', createSecretKey(Buffer.from(secret))],
  ])('are made with a secret of %s alike', async (_words, given) => {
    expect(await entering(made({ secret: given }), { csrf: made().token('s-victim') })).toEqual(admitted())
  })

  test('are not made with what the application does to its bytes afterwards', async () => {
    const bytes = Buffer.from(secret)
    const policy = made({ secret: bytes })
    bytes.fill(0)
    expect(await entering(policy, { csrf: made().token('s-victim') })).toEqual(admitted())
  })

  test('may be brought elsewhere', async () => {
    const policy = made({ from: fromAuth('xsrf') })
    expect(await entering(policy, { xsrf: policy.token('s-victim') })).toEqual(admitted())
    expect(await entering(policy, { csrf: policy.token('s-victim') })).toEqual(denied('FORBIDDEN'))
    const both = made({ from: [fromAuth('a'), fromAuth('b')] })
    expect(await entering(both, { b: both.token('s-victim') })).toEqual(admitted())
  })

  test('may be bound to what a reader of the application finds', async () => {
    const reader: CredentialReader = ({ headers }) => /(?:^|; )app=v1~(\w+)/.exec(headers.cookie ?? '')?.[1]
    const policy = made({ session: reader })
    const headers = browser('app=v1~abc')
    expect(await entering(policy, {}, headers)).toEqual(denied('FORBIDDEN'))
    expect(await entering(policy, { csrf: policy.tokenFor({ headers }) }, headers)).toEqual(admitted())
    for (const cause of ['refresh', 'reauthorize'] as const) expect(await entering(policy, {}, headers, cause)).toEqual(admitted())
    const broken = made({ session: () => { throw new Error('broken') } })
    expect(await entering(broken, {}, headers)).toEqual(faulted())
  })

  test('however wrong they are, go through one comparison of equal length for each secret', async () => {
    const crypto = await import('node:crypto')
    const compared: (readonly [number, number])[] = []
    jest.unstable_mockModule('node:crypto', () => ({
      ...crypto,
      timingSafeEqual: (a: Uint8Array, b: Uint8Array) => {
        compared.push([a.byteLength, b.byteLength])
        return crypto.timingSafeEqual(a, b)
      },
    }))
    jest.resetModules()
    const { csrf: watched } = await import('portcullis/policies')
    const { fromCookie: reader } = await import('portcullis')
    const policy = watched({ ...options, session: reader('sid'), secret: [secret, randomBytes(32)] })
    const good = policy.token('s-victim')
    const flipped = (at: number): string => good.slice(0, at) + (good[at] === 'A' ? 'B' : 'A') + good.slice(at + 1)
    for (const token of [undefined, '', 'x', flipped(44), flipped(60), flipped(86), flipped(0), good.slice(1), `${good}A`, policy.token('s-other'), good]) {
      compared.length = 0
      const { outcome } = await entering(policy, token === undefined ? {} : { csrf: token })
      expect(outcome).toBe(token === good ? 'admitted' : 'denied')
      expect(compared).toEqual([[43, 43], [43, 43]])
    }
  })
})

describe('where it stands', () => {
  test('it has request and connect hooks, and can be declared with use', () => {
    expect(Object.keys(made())).toEqual(['name', 'request', 'connect'])
  })

  test('it leaves events, joins and deliveries alone', async () => {
    const probe = harness(made())
    for (const result of [await probe.event('ping'), await probe.join('room'), await probe.deliver('news', 1)]) expect(result).toEqual(admitted())
  })

  test('a gate that only observes reports and lets in', async () => {
    const probe = harness(made(), { mode: 'observe' })
    expect(await probe.connect({ headers: browser(victim) })).toEqual(admitted())
    expect(probe.decisions.filter(({ outcome }) => outcome === 'denied')).toMatchObject([{ policy: 'csrf', code: 'FORBIDDEN', enforced: false }])
  })
})

describe('options', () => {
  const rsa = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  test.each([
    [undefined, /takes options/],
    ['x', /takes options/],
    [{ ...options, cookie: 'sid' }, /unknown option "cookie"\. The options are origins, secret, session, from/],
    [{ ...options, origins: undefined }, /origins is a list/],
    [{ ...options, origins: [] }, /origins is a list/],
    [{ ...options, origins: app }, /origins is a list/],
    [{ ...options, origins: ['*'] }, /^csrf: origins has "\*"/],
    [{ ...options, origins: [`${app}/`] }, /^csrf: origins has .* Write that/],
    [{ ...options, origins: ['null'] }, /^csrf: origins has "null"/],
    [{ ...options, secret: undefined }, /secret is text, bytes/],
    [{ ...options, secret: [] }, /empty list/],
    [{ ...options, secret: 'short' }, /has 5 bytes.*randomBytes\(32\)/],
    [{ ...options, secret: 'x'.repeat(31) }, /has 31 bytes/],
    [{ ...options, secret: new Uint8Array(31) }, /has 31 bytes/],
    [{ ...options, secret: createSecretKey(new Uint8Array(31)) }, /has 31 bytes/],
    [{ ...options, secret: [secret, 'short'] }, /has 5 bytes/],
    [{ ...options, secret: [secret, null] }, /secret is text, bytes/],
    [{ ...options, secret: 32 }, /secret is text, bytes/],
    [{ ...options, secret: rsa.publicKey }, /is a public key/],
    [{ ...options, secret: rsa.privateKey }, /is a private key/],
    [{ ...options, session: undefined }, /session says which cookie/],
    [{ ...options, session: 'sid' }, /session says which cookie/],
    [{ ...options, session: fromBearer() }, /reads what is no cookie/],
    [{ ...options, session: fromAuth('token') }, /reads what is no cookie/],
    [{ ...options, from: 'csrf' }, /from takes/],
    [{ ...options, from: [] }, /from takes/],
  ])('%#: a ConfigError that says what to write', (given, message) => {
    expect(() => csrf(given as never)).toThrow(ConfigError)
    expect(() => csrf(given as never)).toThrow(message)
  })

  test('never says the secret', () => {
    for (const bad of ['hunter2', ['hunter2']]) expect(() => made({ secret: bad })).toThrow(expect.objectContaining({ message: expect.not.stringContaining('hunter2') }))
  })
})
