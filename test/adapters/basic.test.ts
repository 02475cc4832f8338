import { describe, expect, test } from '@jest/globals'
import { inspect } from 'node:util'
import { ConfigError, Denied, memoryStore } from 'portcullis'
import type { Clock, ConnectContext, Store } from 'portcullis'
import { basic } from 'portcullis/adapters/basic'
import type { BasicIdentity, BasicOptions } from 'portcullis/adapters/basic'
import { authenticate } from 'portcullis/policies'
import { admitted, denied, faulted, harness, testClock } from 'portcullis/testing'

const NOW = Date.UTC(2025, 0, 1)
const HOUR = 3_600_000
const HERE = '203.0.113.7'
const THERE = '198.51.100.9'
const PASSWORD = 'correct horse: battery'

const encode = (text: string | Uint8Array): string => Buffer.from(text as string).toString('base64')
const headerOf = (user: string, password: string): string => `Basic ${encode(`${user}:${password}`)}`

/** A store that answers late, so that questions asked at the same time meet. */
function lateStore(own: Store): Store {
  return new Proxy(own, {
    get(target, name: keyof Store) {
      const member: unknown = target[name]
      if (typeof member !== 'function') return member
      return async (...args: unknown[]) => {
        await new Promise((resolve) => setImmediate(resolve))
        return (member as (...given: unknown[]) => unknown).apply(target, args)
      }
    },
  })
}

interface More {
  readonly store?: (clock: Clock) => Store
  readonly gate?: object
}

/** A gate whose users all have the same password, with what `verify` was asked. */
function setUp(options: Partial<BasicOptions> = {}, { store: makeStore = (clock) => memoryStore({ clock }), gate: gateOptions = {} }: More = {}) {
  const clock = testClock(NOW)
  const asked: [string, string][] = []
  const verify = options.verify ?? ((user, password): BasicIdentity | undefined => (password === PASSWORD ? { subject: user } : undefined))
  const scheme = basic({ ...options, verify: (user, password, ctx) => (asked.push([user, password]), verify(user, password, ctx)) })
  const store = makeStore(clock)
  const node = () => harness(authenticate(scheme), { clock, store, address: HERE, ...gateOptions })
  const gate = node()
  const send = (authorization: string, question: object = {}) => gate.connect({ secure: true, headers: { authorization }, ...question })
  return { clock, asked, store, gate, node, scheme, send, enter: (user = 'alice', password = PASSWORD, question: object = {}) => send(headerOf(user, password), question) }
}

const reasonOf = (result: { readonly error?: unknown }): unknown => (result.error as Denied).cause

describe('a user and a password', () => {
  test('that verify knows are its subject, for eight hours, by password', async () => {
    const { enter, asked } = setUp()
    expect((await enter()).facts).toEqual({ principal: { subject: 'alice', claims: {}, expiresAtMs: NOW + 8 * HOUR, factors: ['pwd'] } })
    expect(asked).toEqual([['alice', PASSWORD]])
  })

  test('that it does not know are nobody', async () => {
    for (const nobody of [undefined, null]) {
      const result = await setUp({ verify: () => nobody }).enter()
      expect(result).toEqual(denied('UNAUTHENTICATED'))
      expect(result.refusal).toEqual({ code: 'UNAUTHENTICATED', message: 'Valid credentials are required.', id: expect.any(String) })
      expect(reasonOf(result)).toBe('basic: no such user, or not this password')
    }
  })

  test('may be verified later, and are whatever verify says of them', async () => {
    const full = { subject: 'u-1', issuer: 'https://app.example', claims: { team: 'blue' }, expiresAtMs: NOW + 1_000, tokenId: 't-1', factors: ['pwd', 'hwk'] }
    expect((await setUp({ verify: () => Promise.resolve(full) }).enter()).facts).toEqual({ principal: full })
  })

  test('hold for lifetimeMs, or for ever when that is said', async () => {
    expect((await setUp({ lifetimeMs: 60_000 }).enter()).facts.principal.expiresAtMs).toBe(NOW + 60_000)
    expect((await setUp({ lifetimeMs: 'never' }).enter()).facts.principal.expiresAtMs).toBe('never')
    expect((await setUp({ lifetimeMs: 'never', verify: () => ({ subject: 'alice', expiresAtMs: NOW + 5 }) }).enter()).facts.principal.expiresAtMs).toBe(NOW + 5)
  })

  test.each([null, NaN, '1'])('whose expiry is %p are a fault of verify, and nobody who never expires', async (expiresAtMs) => {
    expect(await setUp({ verify: () => ({ subject: 'alice', expiresAtMs: expiresAtMs as number }) }).enter()).toEqual(faulted())
  })

  test.each([true, 'alice', {}, { subject: '' }])('that verify answers with %j are a fault of verify', async (answer) => {
    expect(await setUp({ verify: () => answer as BasicIdentity }).enter()).toEqual(faulted())
  })

  test('are asked for with the context of the connect', async () => {
    const seen: ConnectContext[] = []
    await setUp({ verify: (_user, _password, ctx) => void seen.push(ctx) }).enter('alice', 'x', { namespace: '/chat' })
    expect(seen).toMatchObject([{ namespace: '/chat', address: HERE }])
  })
})

describe('the header', () => {
  test('is Authorization: Basic, in whatever case, and no other place is looked at', async () => {
    const { gate, send } = setUp()
    const token = encode(`alice:${PASSWORD}`)
    for (const text of [`Basic ${token}`, `basic ${token}`, `BASIC  ${token}`]) expect(await send(text)).toEqual(admitted())
    for (const text of [`Bearer ${token}`, `Basicx ${token}`, token]) expect(reasonOf(await send(text))).toBe('no credential')
    expect(await gate.connect({ secure: true, auth: { token, username: 'alice', password: PASSWORD } })).toEqual(denied('UNAUTHENTICATED'))
    expect(await gate.connect({ secure: true, url: `/socket.io/?EIO=4&authorization=Basic%20${token}` })).toEqual(denied('UNAUTHENTICATED'))
  })

  test.each<[string, string]>([
    ['nothing', 'Basic'],
    ['nothing but a space', 'Basic '],
    ['no base64', 'Basic !!!'],
    ['base64 without its padding', 'Basic YWxpY2U6eA'],
    ['base64url', `Basic ${encode('alice:\u00ff?>').replaceAll('/', '_').replaceAll('+', '-')}`],
    ['base64 with a line break inside', `Basic ${encode('alice:x').replace('2', '2\t')}`],
    ['a second credential behind a comma', `Basic ${encode('alice:x')}, Basic ${encode('bob:x')}`],
    ['another spelling of the same bytes', 'Basic YTpiZB=='],
    ['no colon', `Basic ${encode('alice')}`],
    ['an empty user', `Basic ${encode(`:${PASSWORD}`)}`],
    ['an empty password', `Basic ${encode('alice:')}`],
    ['only a colon', `Basic ${encode(':')}`],
    ['a line break in the password', `Basic ${encode('alice:a\nb')}`],
    ['NUL in the user', `Basic ${encode('alice\0:x')}`],
    ['DEL', `Basic ${encode('alice:\u007f')}`],
    ['a C1 control character', `Basic ${encode('alice:\u0085')}`],
    ['ISO 8859-1', `Basic ${encode(Buffer.from('müller:x', 'latin1'))}`],
    ['UTF-8 of a surrogate', `Basic ${encode(new Uint8Array([0x61, 0x3a, 0xed, 0xa0, 0x80]))}`],
    ['UTF-8 that is too long for what it says', `Basic ${encode(new Uint8Array([0x61, 0xc0, 0xba, 0x62]))}`],
    ['1,025 bytes', `Basic ${encode(`a:${'x'.repeat(1_023)}`)}`],
    ['100 kB', `Basic ${encode(`a:${'x'.repeat(100_000)}`)}`],
  ])('with %s is refused like a wrong password, and verify is not asked', async (_, authorization) => {
    const { send, asked } = setUp({ verify: () => ({ subject: 'anybody' }) })
    const result = await send(authorization)
    expect(result.refusal).toEqual({ code: 'UNAUTHENTICATED', message: 'Valid credentials are required.', id: expect.any(String) })
    expect(reasonOf(result)).toMatch(/^basic: /)
    expect(asked).toEqual([])
  })

  test('may hold 1,024 bytes', async () => {
    const { send, asked } = setUp()
    await send(`Basic ${encode(`a:${'x'.repeat(1_022)}`)}`)
    expect(asked).toEqual([['a', 'x'.repeat(1_022)]])
  })

  test('is split at the first of several colons', async () => {
    const { send, asked } = setUp()
    await send(headerOf('alice', ':a::b:'))
    expect(asked).toEqual([['alice', ':a::b:']])
  })

  test('is UTF-8, and comes in one normal form', async () => {
    const { send, asked } = setUp()
    for (const form of ['NFC', 'NFD'] as const) await send(headerOf('Zoë'.normalize(form), 'pässwörd€🗝'.normalize(form)))
    expect(asked).toEqual(Array(2).fill(['Zoë'.normalize('NFC'), 'pässwörd€🗝'.normalize('NFC')]))
  })

  test('keeps a byte order mark: it is part of the user’s name', async () => {
    const { send, asked } = setUp()
    await send(headerOf('\ufeffalice', 'x'))
    expect(asked).toEqual([['\ufeffalice', 'x']])
  })

  test('says nothing at a refresh, whose credential comes in-band', () => {
    const { scheme } = setUp()
    for (const cause of ['refresh', 'reauthorize']) expect(scheme.read({ cause, headers: { authorization: headerOf('alice', PASSWORD) }, secure: true } as never)).toBeUndefined()
  })

  test('next to a credential of another scheme is refused', async () => {
    const other = { name: 'other', read: ({ handshake }: ConnectContext) => handshake.auth['token'] as string, verify: () => ({ subject: 'x', claims: {}, factors: [], expiresAtMs: 'never' as const }) }
    const gate = harness(authenticate(basic({ verify: () => ({ subject: 'alice' }) }), other))
    expect(await gate.connect({ secure: true, headers: { authorization: headerOf('alice', 'x') }, auth: { token: 'y' } })).toEqual(denied('UNAUTHENTICATED'))
  })
})

describe('a transport that is not secure', () => {
  test.each(['Basic', 'Basic !!!', headerOf('alice', PASSWORD)])('is refused before %j is looked at', async (authorization) => {
    const { send, asked } = setUp()
    expect(await send(authorization, { secure: false })).toEqual(denied('INSECURE_TRANSPORT'))
    expect(asked).toEqual([])
  })

  test('is not made secure by what a client says', async () => {
    const { send } = setUp()
    expect(await send('Basic x', { secure: false, headers: { authorization: headerOf('alice', PASSWORD), 'x-forwarded-proto': 'https' } })).toEqual(denied('INSECURE_TRANSPORT'))
  })

  test('is secure as far as the trusted proxy says', async () => {
    const { gate } = setUp({}, { gate: { trustProxy: 1 } })
    const through = (proto: string) => gate.connect({ secure: false, headers: { authorization: headerOf('alice', PASSWORD), 'x-forwarded-proto': proto, 'x-forwarded-for': THERE } })
    expect(await through('https')).toEqual(admitted())
    expect(await through('http')).toEqual(denied('INSECURE_TRANSPORT'))
  })

  test('may be accepted in so many words', async () => {
    const { enter } = setUp({ dangerouslyOverPlainTransport: true })
    expect(await enter('alice', PASSWORD, { secure: false })).toEqual(admitted())
  })

  test('is no matter to who brings no password', async () => {
    const { gate } = setUp()
    expect(await gate.connect({ secure: false })).toEqual(denied('UNAUTHENTICATED'))
  })
})

/** Guesses wrongly until there is a wait, and says how many guesses were made. */
async function guessUntilHeld(own: ReturnType<typeof setUp>, user = 'alice', question: object = {}): Promise<number> {
  for (let guesses = 0; ; guesses++) {
    const { code } = await own.enter(user, `wrong ${guesses}`, question)
    if (code === 'RATE_LIMITED') return guesses
    if (guesses > 200) throw new Error('nobody was held')
  }
}

describe('guessing at one account from one address', () => {
  test('is held after five, also with the right password, and verify is not asked', async () => {
    const own = setUp()
    expect(await guessUntilHeld(own)).toBe(5)
    own.asked.length = 0
    const right = await own.enter()
    expect(right).toEqual(denied('RATE_LIMITED', { retryAfterMs: 1_000 }))
    expect(reasonOf(right)).toBe('basic: too many wrong passwords for this account from this address')
    expect(own.asked).toEqual([])
  })

  test('has to wait twice as long after each further guess, up to a quarter of an hour', async () => {
    const own = setUp()
    await guessUntilHeld(own)
    const waits: number[] = []
    for (let index = 0; index < 13; index++) {
      const { refusal } = await own.enter()
      waits.push(refusal!.retryAfterMs!)
      own.clock.advance(refusal!.retryAfterMs! - 1)
      expect(await own.enter()).toEqual(denied('RATE_LIMITED', { retryAfterMs: 1 }))
      own.clock.advance(1)
      expect(await own.enter('alice', 'wrong')).toEqual(denied('UNAUTHENTICATED'))
    }
    expect(waits).toEqual([1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900].map((seconds) => seconds * 1_000))
  })

  test('does not hold the account anywhere else, nor another account here', async () => {
    const own = setUp()
    await guessUntilHeld(own)
    expect(await own.enter('alice', PASSWORD, { address: THERE })).toEqual(admitted())
    expect(await own.enter('bob')).toEqual(admitted())
    expect(await own.enter('alice')).toEqual(denied('RATE_LIMITED'))
  })

  test('from two thousand addresses does not hold its owner', async () => {
    const own = setUp()
    for (let index = 0; index < 2_000; index++) await own.enter('alice', 'wrong', { address: `10.${index >> 8}.${index & 255}.1` })
    expect(await own.enter()).toEqual(admitted())
  })

  test('goes on for the owner when the wait is over, and afresh once the password was right', async () => {
    const own = setUp()
    await guessUntilHeld(own)
    own.clock.advance(1_000)
    expect(await own.enter()).toEqual(admitted())
    expect(await guessUntilHeld(own)).toBe(5)
  })

  test('is not held where the password is right now and then', async () => {
    const own = setUp()
    for (let index = 0; index < 100; index++) {
      for (let wrong = 0; wrong < 4; wrong++) expect((await own.enter('alice', 'wrong')).code).toBe('UNAUTHENTICATED')
      expect(await own.enter()).toEqual(admitted())
    }
  })

  test('is forgotten a day later', async () => {
    const own = setUp()
    await guessUntilHeld(own)
    own.clock.advance(24 * HOUR)
    expect(await guessUntilHeld(own)).toBe(5)
    expect((await own.enter()).refusal!.retryAfterMs).toBe(1_000)
  })

  test('is guessing at one account, however its name is spelt', async () => {
    const own = setUp()
    for (const spelling of ['alice', 'ALICE', 'Alice', ' alice ', 'ａｌｉｃｅ']) await own.enter(spelling, 'wrong')
    expect(await own.enter('aLiCe')).toEqual(denied('RATE_LIMITED'))
  })

  test('is held no differently where there is no such account', async () => {
    const own = setUp({ verify: (user, password) => (user === 'alice' && password === PASSWORD ? { subject: 'alice' } : undefined) })
    const answers = async (user: string) => {
      const all = []
      for (let index = 0; index < 8; index++) all.push({ ...(await own.enter(user, 'wrong')).refusal, id: '' })
      return all
    }
    expect(await answers('alice')).toEqual(await answers('nobody'))
    expect(own.asked.filter(([user]) => user === 'nobody')).toHaveLength(5)
  })

  test('cannot be hidden in a /64, nor behind an address that the client claims', async () => {
    const own = setUp()
    for (let index = 0; index < 5; index++) await own.send(headerOf('alice', 'wrong'), { address: `2001:db8::${index}`, headers: { authorization: headerOf('alice', 'wrong'), 'x-forwarded-for': `192.0.2.${index}` } })
    expect(await own.enter('alice', PASSWORD, { address: '2001:db8::ffff' })).toEqual(denied('RATE_LIMITED'))
    expect(await own.enter('alice', PASSWORD, { address: '2001:db8:0:1::1' })).toEqual(admitted())
  })

  test('is not held longer because the clock was moved back', async () => {
    const own = setUp()
    await guessUntilHeld(own)
    const held = { getMany: () => [String(NOW + 10 * HOUR), undefined, undefined] }
    Object.assign(own.store, held)
    expect((await own.enter()).refusal!.retryAfterMs).toBe(900_000)
  })
})

/** What is forgotten after a sign-in, nobody waits for. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve))
}

describe.each(['at once', 'late'])('at the same time, with a store that answers %s', (when) => {
  const store = (clock: Clock) => (when === 'late' ? lateStore(memoryStore({ clock })) : memoryStore({ clock }))

  test('50 tries on two nodes are five guesses', async () => {
    const own = setUp({ verify: () => new Promise((resolve) => setImmediate(() => resolve(undefined))) }, { store })
    const nodes = [own.node(), own.node()]
    const tries = (from: number) => Promise.all(Array.from({ length: 50 }, (_, index) => nodes[index % 2]!.connect({ secure: true, headers: { authorization: headerOf('alice', `wrong ${from + index}`) } })))
    const codes = (await tries(0)).map(({ code }) => code)
    expect(own.asked).toHaveLength(5)
    expect(codes.filter((code) => code === 'UNAUTHENTICATED')).toHaveLength(5)
    expect(codes.filter((code) => code === 'RATE_LIMITED')).toHaveLength(45)
    // The next ones are one guess for each wait, and a burst makes no wait longer than it is.
    for (const waitMs of [1_000, 2_000, 4_000]) {
      expect((await own.enter()).refusal!.retryAfterMs).toBe(waitMs)
      own.clock.advance(waitMs)
      own.asked.length = 0
      await tries(100)
      expect(own.asked).toHaveLength(1)
    }
  })

  test('the tries that are no guesses do not count against their address', async () => {
    const own = setUp({}, { store })
    await Promise.all(Array.from({ length: 50 }, (_, index) => own.enter('alice', `wrong ${index}`)))
    for (let index = 0; index < 45; index++) expect((await own.enter(`user-${index}`, 'wrong')).code).toBe('UNAUTHENTICATED')
    expect((await own.enter('user-45', 'wrong')).code).toBe('RATE_LIMITED')
  })

  test('a guess that is taken back after the account was cleared is no guess more', async () => {
    let fail!: (error: unknown) => void
    const own = setUp({ verify: (user, password) => (password === 'slow' ? new Promise((_, reject) => (fail = reject)) : password === PASSWORD ? { subject: user } : undefined) }, { store })
    const slow = own.enter('alice', 'slow')
    while ((fail as unknown) === undefined) await new Promise((resolve) => setImmediate(resolve))
    expect(await own.enter()).toEqual(admitted())
    await settled()
    fail(new Denied('UNAVAILABLE'))
    expect(await slow).toEqual(denied('UNAVAILABLE'))
    await settled()
    expect(await guessUntilHeld(own)).toBe(5)
  })

  test('sign-ins that are right do not get in each other’s way', async () => {
    const own = setUp({}, { store })
    for (let round = 0; round < 20; round++) {
      const results = await Promise.all([1, 2, 3, 4].map(() => own.enter()))
      expect(results.map(({ outcome }) => outcome)).toEqual(Array(4).fill('admitted'))
      await settled()
    }
  })
})

describe('guessing from one address at many accounts', () => {
  test('is held after fifty, longer and longer', async () => {
    const own = setUp()
    for (let index = 0; index < 50; index++) expect((await own.enter(`user-${index}`, 'wrong')).code).toBe('UNAUTHENTICATED')
    const waits: number[] = []
    for (let index = 0; index < 4; index++) {
      const held = await own.enter(`user-${100 + index}`, 'wrong')
      expect(reasonOf(held)).toBe('basic: too many wrong passwords from this address')
      waits.push(held.refusal!.retryAfterMs!)
      own.clock.advance(held.refusal!.retryAfterMs!)
      await own.enter(`user-${100 + index}`, 'wrong')
    }
    expect(waits).toEqual([1_000, 2_000, 4_000, 8_000])
    expect(own.asked).toHaveLength(54)
  })

  test('does not hold other addresses, nor whoever has signed in from this one before', async () => {
    const own = setUp()
    expect(await own.enter('neighbour')).toEqual(admitted())
    for (let index = 0; index < 51; index++) await own.enter(`user-${index}`, 'wrong')
    expect(await own.enter('stranger')).toEqual(denied('RATE_LIMITED'))
    expect(await own.enter('neighbour')).toEqual(admitted())
    expect(await own.enter('stranger', PASSWORD, { address: THERE })).toEqual(admitted())
    // Being known is no licence to guess.
    own.asked.length = 0
    expect(await guessUntilHeld(own, 'neighbour')).toBe(5)
  })

  test('is not what an office does that signs in', async () => {
    const own = setUp()
    for (let index = 0; index < 500; index++) expect(await own.enter(`user-${index}`)).toEqual(admitted())
  })

  test('is not made up for by an account of one’s own', async () => {
    const own = setUp()
    for (let index = 0; index < 49; index++) {
      await own.enter(`user-${index}`, 'wrong')
      expect(await own.enter(`own-${index}`)).toEqual(admitted())
    }
    await own.enter('user-49', 'wrong')
    expect(await own.enter('user-50')).toEqual(denied('RATE_LIMITED'))
  })

  test('at the same time is fifty guesses', async () => {
    const own = setUp({}, { store: (clock) => lateStore(memoryStore({ clock })) })
    await Promise.all(Array.from({ length: 120 }, (_, index) => own.enter(`user-${index}`, 'wrong')))
    expect(own.asked).toHaveLength(50)
  })

  test('begins anew with the next hour', async () => {
    const own = setUp()
    for (let index = 0; index < 51; index++) await own.enter(`user-${index}`, 'wrong')
    own.clock.advance(HOUR)
    own.asked.length = 0
    for (let index = 0; index < 50; index++) await own.enter(`user-${index}`, 'wrong')
    expect(own.asked).toHaveLength(50)
  })
})

describe('what counts as a guess', () => {
  test('backOff says how many are free, and how long the waits are', async () => {
    const own = setUp({ backOff: { attempts: 2, firstWaitMs: 10, maxWaitMs: 15 } })
    expect(await guessUntilHeld(own)).toBe(2)
    const waits = []
    for (let index = 0; index < 3; index++) {
      waits.push((await own.enter()).refusal!.retryAfterMs)
      own.clock.advance(15)
      await own.enter('alice', 'wrong')
    }
    expect(waits).toEqual([10, 15, 15])
  })

  test('verify that says it cannot tell is none', async () => {
    const own = setUp({ verify: () => { throw new Denied('UNAVAILABLE') } })
    for (let index = 0; index < 100; index++) expect(await own.enter()).toEqual(denied('UNAVAILABLE'))
    expect(own.asked).toHaveLength(100)
  })

  test('nor when it says so in the only turn there is', async () => {
    let down = false
    const own = setUp({ verify: () => { if (down) throw new Denied('UNAVAILABLE') } })
    await guessUntilHeld(own)
    own.clock.advance(1_000)
    down = true
    expect(await own.enter()).toEqual(denied('UNAVAILABLE'))
    down = false
    expect(await own.enter()).toEqual(denied('UNAUTHENTICATED'))
    expect(await own.enter()).toEqual(denied('RATE_LIMITED', { retryAfterMs: 2_000 }))
  })

  test.each([
    ['an error', () => new Error('no'), 'INTERNAL'],
    ['a refusal', () => new Denied('UNAUTHENTICATED'), 'UNAUTHENTICATED'],
    ['another refusal', () => new Denied('FORBIDDEN'), 'FORBIDDEN'],
    ['no Error', () => 'no', 'INTERNAL'],
  ])('verify that throws %s is one', async (_, thrown, code) => {
    const own = setUp({ verify: () => { throw thrown() as Error } })
    for (let index = 0; index < 5; index++) expect((await own.enter()).code).toBe(code)
    expect(await own.enter()).toEqual(denied('RATE_LIMITED'))
  })

  test('what is malformed is none: it names nobody', async () => {
    const own = setUp()
    for (let index = 0; index < 100; index++) await own.send('Basic !!!')
    expect(await own.enter()).toEqual(admitted())
  })

  test('a guess whose end nobody waits for is one', async () => {
    const own = setUp({ verify: () => new Promise(() => {}) }, { gate: { deadlineMs: 10 } })
    for (let index = 0; index < 5; index++) {
      const pending = own.enter()
      await new Promise((resolve) => setImmediate(resolve))
      own.clock.advance(10)
      expect(await pending).toEqual(faulted('DEADLINE_EXCEEDED'))
    }
    expect(await own.enter()).toEqual(denied('RATE_LIMITED'))
  })
})

describe('a store that fails', () => {
  test.each(['getMany', 'add', 'set'] as const)('at %s lets nobody guess', async (operation) => {
    for (const fail of [() => Promise.reject(new Error('gone')), () => { throw new Error('gone') }]) {
      const own = setUp()
      for (let index = 0; index < 4; index++) await own.enter('alice', 'wrong')
      own.asked.length = 0
      Object.assign(own.store, { [operation]: fail })
      expect(await own.enter()).toEqual(denied('UNAVAILABLE'))
      expect(own.asked).toEqual([])
    }
  })

  test('only afterwards lets in whose password was right', async () => {
    const own = setUp()
    Object.assign(own.store, { delete: () => Promise.reject(new Error('gone')) })
    expect(await own.enter()).toEqual(admitted())
  })
})

describe('the password', () => {
  const secret = 'hünter"2 \\ top:secret'
  // Not of a length that makes the password stand by itself in the base64 of both.
  const user = 'alices'
  const forms = [secret, inspect(secret).slice(1, -1), JSON.stringify(secret).slice(1, -1), encodeURIComponent(secret), Buffer.from(secret).toString('base64'), Buffer.from(secret).toString('hex'), Buffer.from(`${user}:${secret}`).toString('base64')]

  const thrown: [string, (user: string, password: string, ctx: ConnectContext) => unknown][] = [
    ['in a message', (_, password) => new Error(`no match for ${password}`)],
    ['as JSON in a message', (_, password) => new Error(`parameters: ${JSON.stringify([password])}`)],
    ['in base64 in a message', (_, password) => new Error(`sent ${Buffer.from(password).toString('base64url')}`)],
    ['in hexadecimal in a message', (_, password) => new Error(`sent ${Buffer.from(password).toString('hex')}`)],
    ['with its user in base64 in a message', (user, password) => new Error(`sent ${Buffer.from(`${user}:${password}`).toString('base64')}`)],
    ['in a URL in a message', (_, password) => new Error(`GET /check?password=${encodeURIComponent(password)}`)],
    ['in a name', (_, password) => Object.assign(new Error('x'), { name: password })],
    ['in a property', (_, password) => Object.assign(new Error('query failed'), { parameters: [password] })],
    ['in a cause', (_, password) => new Error('query failed', { cause: { password } })],
    ['in a stack', (_, password) => Object.assign(new Error('x'), { stack: `Error: x\n    at check (${password})` })],
    ['in an AggregateError', (_, password) => new AggregateError([new Error(password)], 'all failed')],
    ['as what was thrown', (_, password) => password],
    ['in an object that is no error', (_, password) => ({ password })],
    ['in the reason of a refusal', (_, password) => new Denied('UNAUTHENTICATED', undefined, `wrong: ${password}`)],
    ['in an error that is the reason of a refusal', (_, password) => new Denied('UNAVAILABLE', undefined, Object.assign(new Error(password), { password }))],
    ['in the details of a refusal', (_, password) => new Denied('FORBIDDEN', { tried: password })],
    ['in the context', (_user, _password, ctx) => Object.assign(new Error('x'), { ctx })],
  ]

  test.each(thrown)('%s is in no record and in nothing that is thrown', async (_, make) => {
    for (const verify of [(...given: Parameters<typeof make>) => { throw make(...given) as Error }, (...given: Parameters<typeof make>) => Promise.reject(make(...given))]) {
      const own = setUp({ verify: verify })
      const result = await own.enter(user, secret)
      expect(result.outcome).not.toBe('admitted')
      const text = inspect([result.error, result.refusal, result.sent, own.gate.decisions], { depth: Infinity, showHidden: true, maxStringLength: null, maxArrayLength: null })
      for (const form of forms) expect(text).not.toContain(form)
    }
  })

  test('is in no refusal of a guess, right or wrong, held or malformed', async () => {
    const own = setUp()
    for (let index = 0; index < 7; index++) await own.enter(user, secret)
    await own.send(`Basic ${encode(secret)}=`)
    await own.enter(user, `${secret}\0`)
    const text = inspect(own.gate.decisions, { depth: Infinity, maxStringLength: null })
    for (const form of forms) expect(text).not.toContain(form)
  })

  test('is not in the store', async () => {
    const kept: unknown[] = []
    const own = setUp({}, { store: (clock) => new Proxy(memoryStore({ clock }), { get: (target, name: keyof Store) => (typeof target[name] !== 'function' ? target[name] : (...args: unknown[]) => (kept.push(args), (target[name] as (...given: unknown[]) => unknown).apply(target, args))) }) })
    for (let index = 0; index < 7; index++) await own.enter(user, secret)
    const text = inspect(kept, { depth: Infinity })
    expect(text).toContain('basic:pair:')
    for (const form of [...forms, user]) expect(text).not.toContain(form)
  })

  test('hides what an error says, and nothing else is hidden', async () => {
    const told = async (message: string) => String((await setUp({ verify: () => { throw new RangeError(message) } }).enter('alice', secret)).error)
    expect(await told('connect ECONNREFUSED 10.0.0.1:5432')).toBe('Error: basic: verify threw RangeError: connect ECONNREFUSED 10.0.0.1:5432')
    expect(await told(`no ${secret}`)).toBe('Error: basic: verify threw, and its message is withheld because the password stands in it')
  })

  test('does not keep the place of an error from its operator', async () => {
    const own = setUp({ verify: function checkTheDirectory() { throw new Error('down') } })
    expect(((await own.enter()).error as Error).stack).toMatch(/basic\.test\.ts/)
  })
})

describe('options', () => {
  const verify = () => undefined
  test.each<[string, unknown]>([
    ['takes options', undefined],
    ['takes options', verify],
    ['verify is a function', {}],
    ['verify is a function', { verify: 'yes' }],
    ['unknown option "realm"', { verify, realm: 'x' }],
    ['lifetimeMs', { verify, lifetimeMs: 0 }],
    ['lifetimeMs', { verify, lifetimeMs: Infinity }],
    ['lifetimeMs', { verify, lifetimeMs: 'forever' }],
    ['backOff', { verify, backOff: false }],
    ['backOff.tries', { verify, backOff: { tries: 5 } }],
    ['backOff.attempts', { verify, backOff: { attempts: 0 } }],
    ['backOff.attempts', { verify, backOff: { attempts: 101 } }],
    ['backOff.attempts', { verify, backOff: { attempts: Infinity } }],
    ['backOff.sourceAttempts', { verify, backOff: { sourceAttempts: 10_001 } }],
    ['backOff.maxWaitMs', { verify, backOff: { maxWaitMs: 900_001 } }],
    ['backOff.firstWaitMs', { verify, backOff: { firstWaitMs: 2_000, maxWaitMs: 1_000 } }],
    ['dangerouslyOverPlainTransport', { verify, dangerouslyOverPlainTransport: 'yes' }],
  ])('that make no sense are a ConfigError that says so: %s, %#', (named, options) => {
    const make = () => basic(options as BasicOptions)
    expect(make).toThrow(ConfigError)
    expect(make).toThrow(named)
  })
})
