import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals'
import { ConfigError, Denied, deny, observed } from 'portcullis'
import { audit, type AuditLogger, type AuditOptions, type AuditRecord } from 'portcullis/policies'
import { admitted, denied, faulted, harness, testClock } from 'portcullis/testing'
import * as v from 'valibot'

class Recorder {
  readonly records: (AuditRecord & { readonly level: string })[] = []
  readonly info = this.#at('info')
  readonly warn = this.#at('warn')
  readonly error = this.#at('error')
  #at(level: string): (record: AuditRecord) => void {
    return (record) => void this.records.push({ level, ...record })
  }
  get last(): AuditRecord & { readonly level: string } {
    return this.records.at(-1)!
  }
  /** What a file would hold: each record as a line of JSON. */
  get lines(): string[] {
    return this.records.map((record) => JSON.stringify(record))
  }
}

const failing = (error: unknown) => ({
  name: 'failing',
  event: () => {
    throw error
  },
})
const refusing = (code: Parameters<typeof deny>[0], details?: Parameters<typeof deny>[1], reason?: unknown) => failing(new Denied(code, details, reason))

/** Frozen, as the gate keeps facts. */
const alice = Object.freeze({ principal: { subject: 'alice', issuer: 'https://id.example' } })
const headers = { 'user-agent': 'Test/1.0 (X11; Linux)' }

function setUp(policies: { readonly name: string } | readonly { readonly name: string }[] = [], options?: AuditOptions, more: object = {}) {
  const recorder = new Recorder()
  const clock = testClock(Date.UTC(2026, 1, 3, 4, 5, 6, 7))
  const probe = harness([audit(recorder, options), ...(Array.isArray(policies) ? (policies as { name: string }[]) : [policies as { name: string }])], { clock, peer: alice, headers, address: '192.0.2.1', ...more })
  return { recorder, probe, clock }
}

/** What the record of one refused or broken event says, as the line of a log. */
async function lineOf(error: unknown, options?: AuditOptions): Promise<string> {
  const { recorder, probe } = setUp(failing(error), options)
  await probe.event('say')
  expect(recorder.records).toHaveLength(1)
  return recorder.lines[0]!
}

describe('what a record says', () => {
  test('of an admitted event: time, stage, place, outcome, subject, address, user agent and id, at info', async () => {
    const { recorder, probe } = setUp()
    await probe.event('say', { text: 'hello' })
    const [decision] = probe.decisions
    expect(recorder.records).toEqual([
      {
        level: 'info',
        time: '2026-02-03T04:05:06.007Z',
        stage: 'event',
        outcome: 'admitted',
        enforced: true,
        id: decision!.id,
        namespace: '/',
        event: 'say',
        subject: 'alice',
        address: '192.0.2.1',
        userAgent: 'Test/1.0 (X11; Linux)',
      },
    ])
  })

  test('of a refused event: code, policy, details and reason as well, with the id the client was told, at warn', async () => {
    const { recorder, probe } = setUp(refusing('RATE_LIMITED', { retryAfterMs: 500, limit: 'chat' }, new Error('over')))
    const { refusal } = await probe.event('say')
    expect(recorder.records).toHaveLength(1)
    expect(recorder.last).toMatchObject({
      level: 'warn',
      outcome: 'denied',
      code: 'RATE_LIMITED',
      policy: 'failing',
      id: refusal!.id,
      retryAfterMs: 500,
      details: { limit: 'chat' },
      reason: { name: 'Error', message: 'over' },
    })
    expect(recorder.last).not.toHaveProperty('error')
  })

  test('of a fault: what was thrown, with where and why, at error', async () => {
    const { recorder, probe } = setUp(failing(new TypeError('broken', { cause: Object.assign(new Error('refused'), { code: 'ECONNREFUSED' }) })))
    const { refusal } = await probe.event('say')
    expect(recorder.last).toMatchObject({
      level: 'error',
      outcome: 'fault',
      code: 'INTERNAL',
      policy: 'failing',
      id: refusal!.id,
      error: { name: 'PolicyFault', cause: { name: 'TypeError', message: 'broken', stack: expect.arrayContaining([expect.stringMatching(/^at .*audit\.test\.ts/)]), cause: { message: 'refused', code: 'ECONNREFUSED' } } },
    })
  })

  test('of each stage, its own place', async () => {
    const { recorder, probe } = setUp()
    await probe.request()
    await probe.connect()
    await probe.event('say')
    await probe.join('room:1')
    expect(recorder.records.map(({ stage, namespace, event, room }) => ({ stage, namespace, event, room }))).toEqual([
      { stage: 'request' },
      { stage: 'connect', namespace: '/' },
      { stage: 'event', namespace: '/', event: 'say' },
      { stage: 'join', namespace: '/', room: 'room:1' },
    ])
    for (const record of recorder.records) expect(record).toMatchObject({ address: '192.0.2.1', userAgent: 'Test/1.0 (X11; Linux)', outcome: 'admitted', level: 'info' })
  })

  test('of refusals before any hook was asked', async () => {
    const recorder = new Recorder()
    const probe = harness((gate) => gate.use(audit(recorder)).event('known'))
    await probe.event('unknown')
    expect(recorder.last).toMatchObject({ level: 'warn', code: 'UNKNOWN_EVENT', event: 'unknown', policy: 'gate' })
  })

  test('of what is only observed, that nothing was refused', async () => {
    const { recorder, probe } = setUp(observed(refusing('FORBIDDEN')))
    expect(await probe.event('say')).toEqual(admitted())
    expect(recorder.records.map(({ level, outcome, enforced, code }) => ({ level, outcome, enforced, code }))).toEqual([
      { level: 'warn', outcome: 'denied', enforced: false, code: 'FORBIDDEN' },
      { level: 'info', outcome: 'admitted', enforced: true },
    ])
  })

  test('is plain JSON: reading it back gives the same', async () => {
    const { recorder, probe } = setUp(refusing('FORBIDDEN', { list: [1, 'two', { three: null }] }, { nested: { deep: [true] } }))
    await probe.event('say')
    expect(JSON.parse(recorder.lines[0]!)).toEqual(recorder.records[0])
  })

  test('the time, whatever the clock does', async () => {
    const { recorder, probe, clock } = setUp()
    const expected: string[] = []
    for (const ms of [0, 1, 992, 1, 59_000, 3_600_000, 86_400_000 * 365, 999]) {
      clock.advance(ms)
      await probe.event('say')
      expected.push(new Date(clock.now()).toISOString())
    }
    const early = setUp([], {}, { clock: testClock(-1) })
    await early.probe.event('say')
    expect([...recorder.records, ...early.recorder.records].map(({ time }) => time)).toEqual([...expected, '1969-12-31T23:59:59.999Z'])
  })

  test('who it is, also where one address, agent or subject follows another', async () => {
    const { recorder, probe } = setUp()
    await probe.event('say', 1, { peer: alice, address: '192.0.2.1' })
    await probe.event('say', 1, { peer: alice, address: '192.0.2.2' })
    await probe.event('say', 1, { peer: { principal: { subject: 'bob' } } })
    await probe.event('say', 1, { peer: {} })
    expect(recorder.records.map(({ subject, address }) => [subject, address])).toEqual([
      ['alice', '192.0.2.1'],
      ['alice', '192.0.2.2'],
      ['bob', '192.0.2.1'],
      [undefined, '192.0.2.1'],
    ])
  })
})

describe('deliveries', () => {
  test('admitted ones are recorded only where the option says so', async () => {
    const pass = { name: 'pass', deliver: (_ctx: unknown, next: () => undefined) => next() }
    const silent = setUp(pass)
    expect(await silent.probe.deliver('said', 1)).toEqual(admitted())
    expect(silent.probe.decisions).toHaveLength(1)
    expect(silent.recorder.records).toEqual([])
    const recorder = new Recorder()
    const probe = harness([audit(recorder, { deliveries: true }), pass])
    await probe.broadcast('said', 1, [{ a: 1 }, { a: 2 }])
    expect(recorder.records.map(({ stage, event, outcome }) => ({ stage, event, outcome }))).toEqual(Array(2).fill({ stage: 'deliver', event: 'said', outcome: 'admitted' }))
  })

  test('refused and broken ones are recorded always', async () => {
    for (const error of [new Denied('FORBIDDEN'), new Error('broken')]) {
      const { recorder, probe } = setUp({
        name: 'closed',
        deliver: () => {
          throw error
        },
      } as { name: string })
      await probe.deliver('said', 1)
      expect(recorder.last).toMatchObject({ stage: 'deliver', event: 'said', policy: 'closed', subject: 'alice' })
    }
  })
})

describe('secrets', () => {
  const canary = 'CANARY-9f8e7d'
  const jwt = `eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIke2NhbmFyeX0ifQ.${canary}`
  const basic = Buffer.from(`user:${canary}`).toString('base64')

  const texts: readonly (readonly [string, string])[] = [
    ['a token', `invalid token: ${canary}`],
    ['a token in a query', `GET /socket.io/?EIO=4&token=${canary}&x=1`],
    ['a token in mixed case', `ToKeN=${canary}`],
    ['an access token in a fragment', `https://app.example/#access_token=${canary}&state=1`],
    ['an engine session', `/socket.io/?EIO=4&transport=polling&sid=${canary}`],
    ['a session cookie', `connect.sid=s%3A${canary}.signature`],
    ['a Cookie header', `Cookie: theme=dark; connect.sid=${canary}; lang=en`],
    ['a Cookie header between others', `Host: x\r\nCOOKIE: a=1; b=${canary}\r\nAccept: */*`],
    ['a Set-Cookie header', `Set-Cookie: id=${canary}; HttpOnly`],
    ['an Authorization header', `Authorization: Bearer ${canary}`],
    ['an Authorization header of an own kind', `authorization: Custom key ${canary}`],
    ['a bearer token', `sent bearer ${canary} to it`],
    ['basic credentials', `sent Basic ${basic} to it`],
    ['a password', `password=${canary}`],
    ['a password with a colon', `Password : ${canary}`],
    ['a password in a URL', `redis://:${canary}@redis.example:6379/0`],
    ['a user and a password in a URL', `connect to postgres://app:${canary}@db.example/app failed`],
    ['a password with an at sign in a URL', `amqp://app:p@${canary}@mq.example`],
    ['a password in a form', `user=alice&user[password]=${canary}&remember=1`],
    ['a password in an encoded form', `user%5Bpassword%5D=${canary}`],
    ['a password in JSON', `{"user":"alice","password":"my ${canary} word","age":3}`],
    ['a password in JSON within JSON', JSON.stringify(JSON.stringify({ password: `my ${canary}` }))],
    ['a password in quotes', `pwd='my ${canary} word'`],
    ['a secret of a name with a hyphen', `client-secret: ${canary}`],
    ['an API key', `x-api-key: ${canary}`],
    ['an API key in camel case', `apiKey => ${canary}`],
    ['a list of tokens', `refreshTokens: ["${canary}", "${canary}"]`],
    ['a JWT', `cannot verify ${jwt} at all`],
    ['a JWT inside a word', `prefix_${jwt}`],
    ['an encrypted JWT', `eyJhbGciOiJkaXIifQ..${canary}.${canary}.${canary}`],
    ['a PASETO', `v4.local.${canary}`],
    ['a private key', `-----BEGIN PRIVATE KEY-----\n${canary}\n-----END PRIVATE KEY-----`],
    ['a private key without its end', `-----BEGIN EC PRIVATE KEY-----\n${canary}`],
    ['a one-time password', `otp: ${canary}`],
    ['a CSRF token', `x-csrf-token=${canary}`],
  ]

  test.each(texts)('%s is masked in the message of an error, of its cause, in a reason and in details', async (_words, text) => {
    const lines = [
      await lineOf(new Error(text)),
      await lineOf(new Error('outer', { cause: new Error('inner', { cause: new Error(text) }) })),
      await lineOf(new Error('outer', { cause: { note: [text] } })),
      await lineOf(text),
      await lineOf(new Denied('FORBIDDEN', undefined, text)),
      await lineOf(new Denied('FORBIDDEN', undefined, new Error(text))),
      await lineOf(new Denied('FORBIDDEN', { note: text, deep: { list: [text] } })),
      await lineOf(Object.assign(new Error('x'), { name: text, code: text })),
    ]
    for (const line of lines) {
      expect(line).not.toContain(canary)
      expect(line).not.toContain(basic)
      expect(line).toContain('[masked]')
    }
  })

  test.each(['token', 'Token', 'ACCESS_TOKEN', 'refreshToken', 'password', 'passWord', 'Password2', 'user_password', 'passwd', 'pwd', 'secret', 'clientSecret', 'Authorization', 'proxy-authorization', 'cookie', 'Set-Cookie', 'sid', 'connect.sid', 'SID', 'sessionId', 'session', 'apiKey', 'X-API-Key', 'private_key', 'credentials', 'jwt', 'csrfToken', 'otp', 'pin', 'auth'])(
    'what stands under the name %s is masked at any depth, whatever it is',
    async (name) => {
      for (const value of [canary, [canary], { value: canary }, { [name]: { deep: [canary] } }]) {
        const line = await lineOf(new Denied('FORBIDDEN', { a: { b: [{ [name]: value }] } }, { [name]: value, list: ['x', { [name]: value }] }))
        expect(line).not.toContain(canary)
        expect(line).toContain('[masked]')
      }
    },
  )

  test('headers given as a flat list are masked too', async () => {
    const line = await lineOf(new Denied('FORBIDDEN', undefined, { rawHeaders: ['Host', 'app.example', 'Cookie', `id=${canary}`, 'X-Token', canary] }))
    expect(line).not.toContain(canary)
    expect(line).toContain('app.example')
  })

  test('binary data, functions, maps and what cannot be read are named and not shown', async () => {
    const reason = {
      buffer: Buffer.from(canary),
      array: new Uint8Array(3),
      bare: new ArrayBuffer(2),
      map: new Map([['x', canary]]),
      call: () => canary,
      symbol: Symbol(canary),
      get broken(): never {
        throw new Error(canary)
      },
      big: 12n,
      nothing: undefined,
      none: NaN,
      when: new Date(0),
      link: new URL(`https://app.example/?token=${canary}`),
    }
    const { recorder, probe } = setUp(refusing('FORBIDDEN', undefined, { ...Object.fromEntries(Object.entries(Object.getOwnPropertyDescriptors(reason)).filter(([key]) => key !== 'broken').map(([key, { value }]) => [key, value])), unreadable: reason }))
    await probe.event('say')
    expect(recorder.lines[0]).not.toContain(canary)
    expect(recorder.last.reason).toEqual({
      buffer: '[binary, 13 bytes]',
      array: '[binary, 3 bytes]',
      bare: '[binary, 2 bytes]',
      map: '[1 entries]',
      call: '[function]',
      symbol: '[symbol]',
      big: '12',
      none: 'NaN',
      when: '1970-01-01T00:00:00.000Z',
      link: 'https://app.example/?token=[masked]',
      unreadable: '[unreadable]',
    })
  })

  test('what a schema says of a value is kept, and the value it repeats is not', async () => {
    const Login = v.object({ name: v.string(), password: v.pipe(v.string(), v.email()) })
    const recorder = new Recorder()
    const probe = harness((gate) => gate.use(audit(recorder)).of('/', { events: { login: { data: Login } } }).event('login'))
    expect(await probe.event('login', { name: 7, password: canary })).toEqual(denied('INVALID_PAYLOAD'))
    expect(recorder.lines[0]).not.toContain(canary)
    expect(recorder.last.reason).toEqual([
      { message: expect.stringContaining('Expected string'), path: ['name'] },
      { message: '[masked]', path: ['password'] },
    ])
  })

  test('names of events, rooms and namespaces, subjects and user agents are masked where they hold a secret', async () => {
    const { recorder, probe } = setUp()
    await probe.event(`?token=${canary}`)
    await probe.event(jwt)
    await probe.join(`session:${canary}`)
    await probe.join(`room/${jwt}`)
    await probe.event('say', 1, { peer: { principal: { subject: jwt } } })
    await probe.request({ headers: { 'user-agent': `curl Bearer ${canary}` } })
    for (const line of recorder.lines) {
      expect(line).not.toContain(canary)
      expect(line).toContain('[masked]')
    }
  })

  test('names that only speak of secrets are left as they are', async () => {
    const { recorder, probe } = setUp()
    for (const name of ['password:change', 'token.refresh', 'session:start', 'auth/login', 'message:send']) {
      await probe.event(name)
      expect(recorder.last.event).toBe(name)
    }
    await probe.join('doc:1')
    expect(recorder.last.room).toBe('doc:1')
    await probe.request({ headers: { 'user-agent': 'Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0' } })
    expect(recorder.last.userAgent).toBe('Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0')
    await probe.request({ address: '2001:db8::1' })
    expect(recorder.last.address).toBe('2001:db8::1')
  })

  test('further names are masked as the option says, those of the record included', async () => {
    const reason = { email: 'a@b.example', 'E-Mail': 'a@b.example', userEmail: 'a@b.example', phone: '1' }
    const line = await lineOf(new Denied('FORBIDDEN', undefined, reason), { mask: ['e-mail'] })
    expect(line).not.toContain('b.example')
    expect(line).toContain('"phone":"1"')
    const { recorder, probe } = setUp(refusing('FORBIDDEN'), { mask: ['Address', 'subject', 'userAgent'] })
    await probe.event('say')
    expect(recorder.last).toMatchObject({ subject: '[masked]', address: '[masked]', userAgent: '[masked]', event: 'say', namespace: '/' })
  })

  test('masking changes nothing of what it is given', async () => {
    const reason = Object.freeze({ token: canary, deep: Object.freeze({ list: Object.freeze([`password=${canary}`]) }) })
    const error = new Error(`token=${canary}`, { cause: reason })
    const before = JSON.stringify([reason, error.message])
    await lineOf(error)
    await lineOf(new Denied('FORBIDDEN', reason, error))
    expect(JSON.stringify([reason, error.message])).toBe(before)
  })

  test('a secret that is cut by a limit is not shown in part', async () => {
    for (let length = 3_900; length < 4_200; length += 7) {
      expect(await lineOf(new Error(`${'x '.repeat(length / 2)}redis://:${canary}@host`))).not.toMatch(/CANARY/)
      expect(await lineOf(new Error(`eyJ${'a'.repeat(length)}.${canary} and redis://:${canary}@host`))).not.toMatch(/CANARY/)
    }
  })
})

describe('forged lines', () => {
  const forgeries = [
    'a\nb',
    'a\r\nb',
    'a\rb',
    'a\u2028b',
    'a\u2029b',
    'a\u0085b',
    'a\u000bb\u000cb',
    'a\u0000b',
    'a\u001b[2J\u001b[31mb',
    'a\u009b31mb',
    'a\u0008\u0008\u007fb',
    'a\u202eb\u2066c',
    'a\u200bb\ufeffc',
    'x","outcome":"admitted","y":"',
    '{"time":"2026-01-01T00:00:00.000Z","outcome":"admitted"}',
  ]
   
  const unseen = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/

  const all = (value: unknown): string[] =>
    typeof value === 'string' ? [value] : typeof value === 'object' && value !== null ? Object.entries(value).flatMap(([key, item]) => [key, ...all(item)]) : []

  test.each(forgeries)('%j in any place stays one line, with no character that is not seen', async (forgery) => {
    const { recorder, probe } = setUp(failing(new Denied('FORBIDDEN', { [forgery]: forgery }, new Error(forgery, { cause: { [forgery]: [forgery] } }))))
    await probe.event(forgery)
    await probe.join(forgery)
    await probe.event('say', 1, { peer: { principal: { subject: forgery } } })
    await probe.request({ headers: { 'user-agent': forgery } })
    await probe.connect({ namespace: `/${forgery}`, headers: { 'user-agent': forgery } })
    const broken = setUp(failing(Object.assign(new Error(forgery), { name: forgery, code: forgery, stack: `Error\n    at ${forgery}` })))
    await broken.probe.event(forgery)
    const records = [...recorder.records, ...broken.recorder.records]
    expect(records.length).toBe(6)
    for (const record of records) {
      for (const text of all(record)) expect(text).not.toMatch(unseen)
      const line = JSON.stringify(record)
      expect(line.split(/[\r\n\u2028\u2029\u0085]/)).toHaveLength(1)
      expect(JSON.parse(line)).toEqual(JSON.parse(JSON.stringify(record)))
    }
  })

  test('a megabyte in any place is cut', async () => {
    const long = 'x'.repeat(1_000_000)
    const wide = Object.fromEntries(Array.from({ length: 10_000 }, (_, index) => [`key-${index}`, long]))
    let deep: object = { long }
    for (let depth = 0; depth < 10_000; depth++) deep = { deep }
    const { recorder, probe } = setUp(failing(new Denied('FORBIDDEN', { long, list: Array(10_000).fill(long) }, { wide, deep, [long]: long })))
    await probe.event(long, 1, { peer: { principal: { subject: long } } })
    await probe.join(long)
    await probe.request({ headers: { 'user-agent': long } })
    const broken = setUp(failing(Object.assign(new Error(long, { cause: deep }), { name: long })))
    await broken.probe.event('say')
    for (const line of [...recorder.lines, ...broken.recorder.lines]) expect(line.length).toBeLessThan(64_000)
    expect(recorder.records[0]).toMatchObject({ event: `${'x'.repeat(127)}…`, subject: `${'x'.repeat(255)}…` })
  })

  test('what contains itself is cut off', async () => {
    const reason: Record<string, unknown> = { a: 1 }
    reason['self'] = reason
    reason['list'] = [reason, reason, reason]
    const error = new Error('circular', { cause: reason })
    error.cause = error
    expect((await lineOf(new Denied('FORBIDDEN', undefined, reason))).length).toBeLessThan(64_000)
    expect(await lineOf(error)).toContain('[deeper]')
  })

  test('a key called __proto__ stays a key', async () => {
    const line = await lineOf(new Denied('FORBIDDEN', undefined, JSON.parse('{"__proto__":{"polluted":true}}')))
    expect(line).toContain('"__proto__":{"polluted":true}')
    expect(({} as { polluted?: unknown }).polluted).toBeUndefined()
  })

  test('thousands of different names keep their own, however many there were', async () => {
    const { recorder, probe } = setUp()
    for (let index = 0; index < 2_500; index++) await probe.event(`event-${index}`)
    expect(recorder.records.map(({ event }) => event)).toEqual(Array.from({ length: 2_500 }, (_, index) => `event-${index}`))
  })
})

describe('a logger that fails', () => {
  let complaints: unknown[][]
  beforeEach(() => {
    complaints = []
    jest.spyOn(console, 'error').mockImplementation((...args) => void complaints.push(args))
  })
  afterEach(() => void jest.restoreAllMocks())

  const loggers: readonly (readonly [string, () => unknown])[] = [
    [
      'throws',
      () => {
        throw new Error('disk full, token=CANARY')
      },
    ],
    ['rejects', () => Promise.reject(new Error('disk full, token=CANARY'))],
    ['throws no error', () => {
      throw 'disk full'  
    }],
  ]

  test.each(loggers)('because it %s changes nothing, and is complained about once a minute', async (_words, log) => {
    const clock = testClock()
    const outcomes: string[] = []
    const probe = harness([audit({ info: log, warn: log, error: log }), { name: 'mixed', event: (ctx: any, next: () => void) => (ctx.event === 'no' ? deny('FORBIDDEN') : ctx.event === 'bad' ? JSON.parse('{') : next()) }], { clock })
    for (const event of ['yes', 'no', 'bad', 'yes']) outcomes.push((await probe.event(event)).outcome)
    await new Promise((resolve) => setImmediate(resolve))
    expect(outcomes).toEqual(['admitted', 'denied', 'fault', 'admitted'])
    expect(complaints).toHaveLength(1)
    expect(String(complaints[0]![0])).toMatch(/audit: the logger failed: .*disk full/)
    expect(String(complaints[0]![0])).not.toContain('CANARY')

    clock.advance(60_000)
    await probe.event('yes')
    await new Promise((resolve) => setImmediate(resolve))
    expect(complaints).toHaveLength(2)
  })

  test('because it never answers is not waited for', async () => {
    const never = (): Promise<never> => new Promise(() => undefined)
    const probe = harness(audit({ info: never, warn: never, error: never }))
    expect(await probe.event('say')).toMatchObject({ outcome: 'admitted', sync: true })
  })
})

test('a logger keeps its own `this`', async () => {
  class Own {
    #count = 0
    info(): void {
      this.#count++
    }
    warn(): void {}
    error(): void {}
    get count(): number {
      return this.#count
    }
  }
  const own = new Own()
  await harness(audit(own)).event('say')
  expect(own.count).toBe(1)
})

describe('audit is a ConfigError', () => {
  const silent = (): void => {}
  const logger: AuditLogger = { info: silent, warn: silent, error: silent }

  test.each([undefined, null, {}, { info: silent }, { ...logger, warn: 'x' }, silent, 'console'])('for the logger %p', (given) => {
    expect(() => audit(given as never)).toThrow(ConfigError)
  })

  test.each([null, 'token', { mask: 'token' }, { mask: [7] }, { mask: [''] }, { mask: ['--'] }, { deliveries: 'yes' }, { level: 'info' }])('for the options %p', (options) => {
    expect(() => audit(logger, options as never)).toThrow(ConfigError)
  })
})

test('audit decides nothing at any stage', async () => {
  expect(Object.keys(audit(new Recorder()))).toEqual(['name', 'observe'])
  const { probe } = setUp()
  for (const result of [await probe.request(), await probe.connect(), await probe.event('say', 1), await probe.join('room'), await probe.deliver('said', 1)]) expect(result).toEqual(admitted())
  const broken = setUp(failing(new Error('x')))
  expect(await broken.probe.event('say')).toEqual(faulted())
})

test('a record says why something was decided, where that is not the ordinary reason', async () => {
  const { recorder, probe } = setUp({ name: 'open', connect: (_ctx: unknown, next: () => void) => next() } as { name: string })
  for (const cause of ['connect', 'recover', 'refresh', 'reauthorize'] as const) await probe.connect({ cause })
  await probe.join('doc:1')
  expect(recorder.records.map(({ stage, cause }) => [stage, cause])).toEqual([
    ['connect', undefined],
    ['connect', 'recover'],
    ['connect', 'refresh'],
    ['connect', 'reauthorize'],
    ['join', undefined],
  ])
})
