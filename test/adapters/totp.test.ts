import { createHmac } from 'node:crypto'
import { inspect } from 'node:util'
import { describe, expect, test } from '@jest/globals'
import { ConfigError, Denied, memoryStore } from 'portcullis'
import type { Principal, StepUpContext, Store } from 'portcullis'
import { totp, type TotpOptions } from 'portcullis/adapters/totp'
import { testClock } from 'portcullis/testing'

/** RFC 4226 and RFC 6238 written out once more, so that the library is not measured by itself. */
function codeAt(secret: Uint8Array, atMs: number, { digits = 6, period = 30, algorithm = 'sha1' } = {}): string {
  const counter = Buffer.alloc(8)
  counter.writeBigUInt64BE(BigInt(Math.floor(atMs / 1_000 / period)))
  const mac = createHmac(algorithm, secret).update(counter).digest()
  const offset = mac.at(-1)! & 0x0f
  return String((mac.readUInt32BE(offset) & 0x7fffffff) % 10 ** digits).padStart(digits, '0')
}

/** The secret of the examples in RFC 4226 and RFC 6238. */
const SECRET = Buffer.from('12345678901234567890')
const BASE32 = 'GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ'
const START = Date.UTC(2025, 0, 1)
const PERIOD = 30_000

const principal = (subject = 'alice', issuer?: string): Principal => ({ subject, ...(issuer === undefined ? {} : { issuer }), claims: {}, expiresAtMs: 'never', factors: ['pwd'] })

/** Whoever brings codes to a factor, at a time that the test sets. */
function bearer(store: Store = memoryStore(), who = principal()) {
  return (now: number): StepUpContext => ({ principal: who, namespace: '/', address: '203.0.113.7', now, store, id: 'id', peer: { principal: who } })
}

const factor = (options: Partial<TotpOptions> = {}) => totp({ secretFor: () => SECRET, ...options })

/** What came of a code: true, false, or the reason that only operators see. */
async function outcome(verdict: boolean | Promise<boolean>): Promise<unknown> {
  try {
    return await verdict
  } catch (error) {
    if (!(error instanceof Denied)) throw error
    return [error.code, error.details, error.cause]
  }
}
const SPENT = ['UNAUTHENTICATED', undefined, 'otp: a code that was used before, or is older than one that was']

describe('which codes are right', () => {
  /** RFC 6238, appendix B. */
  const vectors: readonly (readonly [number, string, string, string])[] = [
    [59, '94287082', '46119246', '90693936'],
    [1_111_111_109, '07081804', '68084774', '25091201'],
    [1_111_111_111, '14050471', '67062674', '99943326'],
    [1_234_567_890, '89005924', '91819424', '93441116'],
    [2_000_000_000, '69279037', '90698825', '38618901'],
    [20_000_000_000, '65353130', '77737706', '47863826'],
  ]
  const secrets = {
    SHA1: SECRET,
    SHA256: Buffer.from('12345678901234567890123456789012'),
    SHA512: Buffer.from('1234567890123456789012345678901234567890123456789012345678901234'),
  }

  test.each(vectors)('at %d seconds those of RFC 6238', async (seconds, ...codes) => {
    for (const [index, algorithm] of (['SHA1', 'SHA256', 'SHA512'] as const).entries()) {
      const eight = totp({ secretFor: () => secrets[algorithm], algorithm, digits: 8, window: 0 })
      expect(await eight.verify(codes[index]!, bearer()(seconds * 1_000))).toBe(true)
      expect(await eight.verify(codes[(index + 1) % 3]!, bearer()(seconds * 1_000))).toBe(false)
    }
  })

  test.each([
    ['base32', BASE32],
    ['base32 in small letters and in groups, as it is shown to people', 'gezd gnbv gy3t qojq gezd gnbv gy3t qojq'],
    ['bytes', new Uint8Array(SECRET)],
    ['a view of a larger memory', Buffer.concat([Buffer.alloc(7, 1), SECRET, Buffer.alloc(9, 2)]).subarray(7, 27)],
    ['a promise', Promise.resolve(BASE32)],
  ])('the secret may be %s', async (_words, secret) => {
    expect(await totp({ secretFor: () => secret }).verify(codeAt(SECRET, START), bearer()(START))).toBe(true)
  })

  test('base32 may be padded', async () => {
    const short = Buffer.from('0123456789abcdef')
    for (const text of ['GAYTEMZUGU3DOOBZMFRGGZDFMY======', 'GAYTEMZUGU3DOOBZMFRGGZDFMY']) {
      expect(await totp({ secretFor: () => text }).verify(codeAt(short, START), bearer()(START))).toBe(true)
    }
  })

  test.each([6, 7, 8] as const)('of %d digits, and not a prefix or a longer one', async (digits) => {
    const code = codeAt(SECRET, START, { digits })
    const asked = factor({ digits })
    for (const wrong of [code.slice(0, -1), code.slice(1), `${code}0`, `0${code}`]) expect(await asked.verify(wrong, bearer()(START))).toBe(false)
    expect(await asked.verify(code, bearer()(START))).toBe(true)
  })

  test('one that begins with zeros is brought with them', async () => {
    let at = START
    while (!codeAt(SECRET, at).startsWith('00')) at += PERIOD
    const code = codeAt(SECRET, at)
    expect(await factor().verify(String(Number(code)), bearer()(at))).toBe(false)
    expect(await factor().verify(code, bearer()(at))).toBe(true)
  })

  test('the current one, and one before and after it', async () => {
    for (const [steps, right] of [[-2, false], [-1, true], [0, true], [1, true], [2, false]] as const) {
      expect(await factor().verify(codeAt(SECRET, START + steps * PERIOD), bearer()(START))).toBe(right)
    }
  })

  test('as many around the current one as the window says', async () => {
    for (const window of [0, 1, 3, 5]) {
      for (let steps = -7; steps <= 7; steps++) {
        expect(await factor({ window }).verify(codeAt(SECRET, START + steps * PERIOD), bearer()(START))).toBe(Math.abs(steps) <= window)
      }
    }
  })

  test('a code is good from the first to the last millisecond of its period', async () => {
    const exact = factor({ window: 0, period: 60 })
    const code = codeAt(SECRET, START, { period: 60 })
    for (const [at, right] of [[START - 1, false], [START, true], [START + 59_999, true], [START + 60_000, false]] as const) {
      expect(await exact.verify(code, bearer()(at))).toBe(right)
    }
  })

  test('at the beginning of time, too', async () => {
    expect(await factor().verify(codeAt(SECRET, 0), bearer()(0))).toBe(true)
    expect(await factor().verify('000000', bearer()(0))).toBe(false)
  })

  test('each subject has its own secret', async () => {
    const secrets: Record<string, Buffer> = { alice: SECRET, bob: Buffer.from('another secret of 24 byte') }
    const asked = totp({ secretFor: ({ subject }) => secrets[subject] })
    expect(await asked.verify(codeAt(SECRET, START), bearer(undefined, principal('bob'))(START))).toBe(false)
    expect(await asked.verify(codeAt(SECRET, START), bearer(undefined, principal('alice'))(START))).toBe(true)
  })

  test('who has no secret has no right code, not that of an empty secret either', async () => {
    const asked = totp({ secretFor: () => undefined })
    for (const bytes of [0, 16, 20]) expect(await asked.verify(codeAt(Buffer.alloc(bytes), START), bearer()(START))).toBe(false)
  })

  test('the time is that of the attempt', async () => {
    const asked = factor()
    expect(await asked.verify(codeAt(SECRET, START), bearer()(START + 3_600_000))).toBe(false)
    expect(await asked.verify(codeAt(SECRET, START), bearer()(START))).toBe(true)
  })
})

describe('what is no code', () => {
  const right = codeAt(SECRET, START)
  const fullWidth = [...right].map((digit) => String.fromCodePoint(0xff10 + Number(digit))).join('')
  const arabic = [...right].map((digit) => String.fromCodePoint(0x0660 + Number(digit))).join('')

  test.each<[string, unknown]>([
    ['empty', ''],
    ['a space before it', ` ${right}`],
    ['a space after it', `${right} `],
    ['a new line after it', `${right}\n`],
    ['a new line in place of a digit', `${right.slice(0, 5)}\n`],
    ['in groups', `${right.slice(0, 3)} ${right.slice(3)}`],
    ['with a sign', `+${right.slice(1)}`],
    ['an exponent', '1e0000'],
    ['hexadecimal', '0x1234'],
    ['full-width digits', fullWidth],
    ['Arabic digits', arabic],
    ['letters', 'abcdef'],
    ['a zero byte', `${right.slice(0, 5)}\0`],
    ['a megabyte of digits', '1'.repeat(1_000_000)],
    ['a number', Number(right)],
    ['an array', [right]],
    ['an array of digits', [...right]],
    ['an object that says it is one', { length: 6, toString: () => right }],
    ['null', null],
    ['undefined', undefined],
  ])('%s', async (_words, code) => {
    let asked = 0
    const counting = totp({ secretFor: () => (asked++, SECRET) })
    expect(await counting.verify(code as string, bearer()(START))).toBe(false)
    // It is not even looked at: nobody is asked for a secret because of it.
    expect(asked).toBe(0)
  })
})

describe('a code works once', () => {
  test('at the same time and later, while it would still be right', async () => {
    const clock = testClock(START)
    const at = bearer(memoryStore({ clock }))
    const asked = factor()
    const code = codeAt(SECRET, START + PERIOD)
    expect(await outcome(asked.verify(code, at(clock.now())))).toBe(true)
    for (const ms of [0, 1, 29_999, 30_000, 29_999]) {
      clock.advance(ms)
      expect(await outcome(asked.verify(code, at(clock.now())))).toEqual(SPENT)
    }
    clock.advance(1)
    expect(await outcome(asked.verify(code, at(clock.now())))).toBe(false)
  })

  test('on all nodes that share a store', async () => {
    const at = bearer()
    const code = codeAt(SECRET, START)
    expect(await outcome(factor().verify(code, at(START)))).toBe(true)
    expect(await outcome(factor().verify(code, at(START)))).toEqual(SPENT)
  })

  test('on a node whose clock is a period late as well', async () => {
    const clock = testClock(START)
    const at = bearer(memoryStore({ clock }))
    // As early as any node takes it.
    const code = codeAt(SECRET, START + PERIOD)
    expect(await outcome(factor().verify(code, at(START)))).toBe(true)
    // As late as the late one takes it, a period after all others.
    clock.advance(3 * PERIOD + PERIOD - 1)
    expect(await outcome(factor().verify(code, at(clock.now() - PERIOD)))).toEqual(SPENT)
  })

  test('of fifty at once one is taken', async () => {
    const at = bearer(slow(memoryStore()))
    const code = codeAt(SECRET, START)
    const outcomes = await Promise.all(Array.from({ length: 50 }, () => outcome(factor().verify(code, at(START)))))
    expect(outcomes.filter((one) => one === true)).toHaveLength(1)
    expect(outcomes.filter((one) => one !== true)).toEqual(Array.from({ length: 49 }, () => SPENT))
  })

  test('the next code is another one', async () => {
    const at = bearer()
    for (let now = START; now < START + 20 * PERIOD; now += PERIOD) expect(await outcome(factor().verify(codeAt(SECRET, now), at(now)))).toBe(true)
  })

  test('one that is older than the last one used is not taken, though it never was', async () => {
    const [before, current, after] = [-PERIOD, 0, PERIOD].map((ms) => codeAt(SECRET, START + ms))
    for (const [first, then] of [[current, before], [after, current], [after, before]] as const) {
      const at = bearer()
      expect(await outcome(factor().verify(first!, at(START)))).toBe(true)
      expect(await outcome(factor().verify(then!, at(START)))).toEqual(SPENT)
    }
  })

  test('also where the last one was taken by a node whose clock is a period fast', async () => {
    const at = bearer()
    expect(await outcome(factor().verify(codeAt(SECRET, START + 2 * PERIOD), at(START + PERIOD)))).toBe(true)
    expect(await outcome(factor().verify(codeAt(SECRET, START), at(START)))).toEqual(SPENT)
  })

  test('of an older and a newer one at once, the older one counts only where it came first', async () => {
    for (let round = 0; round < 20; round++) {
      const at = bearer(slow(memoryStore()))
      const order: string[] = []
      const bring = async (name: string, ms: number) => {
        if ((await outcome(factor().verify(codeAt(SECRET, START + ms), at(START)))) === true) order.push(name)
      }
      await Promise.all([bring('newer', PERIOD), bring('older', 0)])
      expect(order.at(-1)).toBe('newer')
    }
  })

  test('a wrong code spends none', async () => {
    const at = bearer()
    const right = codeAt(SECRET, START)
    const wrong = String((Number(right) + 1) % 1_000_000).padStart(6, '0')
    expect(await outcome(factor().verify(wrong, at(START)))).toBe(false)
    expect(await outcome(factor().verify(right, at(START)))).toBe(true)
  })

  test('of one subject with one name: others with the same code are not in its way', async () => {
    const store = memoryStore()
    const code = codeAt(SECRET, START)
    for (const who of [principal('alice'), principal('bob'), principal('alice', 'https://id.example'), principal('alice","x')]) {
      expect(await outcome(factor().verify(code, bearer(store, who)(START)))).toBe(true)
    }
    expect(await outcome(factor({ name: 'backup' }).verify(code, bearer(store)(START)))).toBe(true)
    expect(await outcome(factor({ name: 'backup' }).verify(code, bearer(store)(START)))).toEqual(['UNAUTHENTICATED', undefined, expect.stringContaining('backup')])
  })

  test('what is kept of it is short-lived, and names neither the subject nor the code', async () => {
    const kept: [string, string, number][] = []
    const store = memoryStore()
    const recording: Store = wrapped(store, { set: (key, value, ttlMs, options) => (kept.push([key, value, ttlMs]), store.set(key, value, ttlMs, options)) })
    const code = codeAt(SECRET, START)
    await factor().verify(code, bearer(recording, principal('alice'.repeat(1_000)))(START))
    expect(kept).toEqual([[expect.stringMatching(/^totp-used:[\w-]{43}:otp:\d+$/), '1', 120_000]])
    expect(JSON.stringify(kept)).not.toContain(code)
  })
})

describe('what cannot be judged', () => {
  const broken: readonly (readonly [string, Partial<Store>])[] = [
    ['throws', { set: () => fail() }],
    ['rejects', { set: () => Promise.reject(new Error('down')) }],
    ['cannot be read', { getMany: () => Promise.reject(new Error('down')) }],
    ['answers nonsense', { getMany: () => 'what?' as never }],
  ]
  test.each(broken)('a store that %s: UNAVAILABLE, and nothing is proved', async (_words, parts) => {
    const at = bearer(wrapped(memoryStore(), parts))
    expect(await outcome(factor().verify(codeAt(SECRET, START), at(START)))).toEqual(['UNAVAILABLE', undefined, expect.any(Error)])
  })

  test('a store that does not say that the key was absent: nothing is proved', async () => {
    const at = bearer(wrapped(memoryStore(), { set: () => undefined as never }))
    expect(await outcome(factor().verify(codeAt(SECRET, START), at(START)))).toEqual(SPENT)
  })

  test('a wrong code is wrong without the store', async () => {
    const at = bearer(wrapped(memoryStore(), { set: () => fail(), getMany: () => fail() }))
    expect(await outcome(factor().verify(codeAt(SECRET, START + 9 * PERIOD), at(START)))).toBe(false)
  })

  test('a refusal of secretFor stays what it is, and anything else it throws is a fault', async () => {
    const refusing = totp({ secretFor: () => Promise.reject(new Denied('UNAVAILABLE')) })
    expect(await outcome(refusing.verify('123456', bearer()(START)))).toEqual(['UNAVAILABLE', undefined, undefined])
    const failing = totp({ secretFor: () => fail() })
    await expect(failing.verify('123456', bearer()(START))).rejects.toThrow('down')
  })

  test.each<[string, unknown]>([
    ['no base32', 'GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJ1'],
    ['base32 with a dotless i, which is an I in capitals', 'GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJ\u0131'],
    ['cut base32', `${BASE32}A`],
    ['padding in the middle', 'GEZDGNBV====GY3TQOJQGEZDGNBVGY3TQOJQ'],
    ['hexadecimal', SECRET.toString('hex')],
    ['an address of otpauth', `otpauth://totp/alice?secret=${BASE32}`],
    ['empty', ''],
    ['only padding', '========'],
    ['too short', 'GEZDGNBVGY3TQOJQGEZDGNBV'],
    ['too few bytes', SECRET.subarray(0, 15)],
    ['no bytes', new Uint8Array()],
    ['null', null],
    ['a number', 12345678901234567890n],
    ['an array', [...SECRET]],
    ['an object', { secret: BASE32 }],
    ['an ArrayBuffer', new ArrayBuffer(20)],
  ])('a secret that is %s is a fault that does not show it', async (_words, secret) => {
    const verdict = totp({ secretFor: () => secret as string }).verify('123456', bearer()(START))
    const error = await Promise.resolve(verdict).then(() => undefined, (thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(TypeError)
    expect((error as Error).message).toMatch(/^totp: secretFor answered /)
    const shown = inspect(error, { depth: 9, showHidden: true }).split('\n')[0]!
    for (const part of ['GEZDGNBV', '3132333435', '12345678901', 'otpauth://']) expect(shown).not.toContain(part)
    expect((error as Error).cause).toBeUndefined()
  })

  test('neither a code nor a secret is in a refusal', async () => {
    const at = bearer()
    const code = codeAt(SECRET, START)
    await factor().verify(code, at(START))
    const error: unknown = await Promise.resolve(factor().verify(code, at(START))).catch((thrown: unknown) => thrown)
    const shown = inspect(error, { depth: 9, showHidden: true })
    for (const part of [code, BASE32, SECRET.toString('hex')]) expect(shown).not.toContain(part)
  })

  test('nor is the secret where the factor itself is shown', () => {
    const shown = inspect(totp({ secretFor: () => BASE32 }), { depth: 9, showHidden: true })
    expect(shown).not.toContain(BASE32)
  })
})

describe('how it is made', () => {
  test('its name is otp, or the one it is given', () => {
    expect(factor().name).toBe('otp')
    expect(factor({ name: 'authenticator-2' }).name).toBe('authenticator-2')
  })

  test('an option that is undefined is one that was left out', async () => {
    const asked = totp({ secretFor: () => SECRET, digits: undefined, period: undefined, algorithm: undefined, window: undefined, name: undefined } as never)
    expect(asked.name).toBe('otp')
    expect(await asked.verify(codeAt(SECRET, START), bearer()(START))).toBe(true)
  })

  test.each<[RegExp, unknown]>([
    [/takes options/, undefined],
    [/takes options/, BASE32],
    [/secretFor is a function/, {}],
    [/secretFor is a function/, { secretFor: BASE32 }],
    [/secretFor is a function/, { secretFor: SECRET }],
    [/unknown option "secret"/, { secretFor: () => SECRET, secret: BASE32 }],
    [/unknown option "issuer"/, { secretFor: () => SECRET, issuer: 'Example' }],
    [/digits is 6, 7 or 8/, { secretFor: () => SECRET, digits: 4 }],
    [/digits is 6, 7 or 8/, { secretFor: () => SECRET, digits: 10 }],
    [/digits is 6, 7 or 8/, { secretFor: () => SECRET, digits: '6' }],
    [/period/, { secretFor: () => SECRET, period: 0 }],
    [/period/, { secretFor: () => SECRET, period: -30 }],
    [/period/, { secretFor: () => SECRET, period: 0.5 }],
    [/period is a whole number of seconds/, { secretFor: () => SECRET, period: 30_000 }],
    [/period/, { secretFor: () => SECRET, period: NaN }],
    [/algorithm is 'SHA1', 'SHA256' or 'SHA512'/, { secretFor: () => SECRET, algorithm: 'MD5' }],
    [/algorithm/, { secretFor: () => SECRET, algorithm: 'sha1' }],
    [/window/, { secretFor: () => SECRET, window: -1 }],
    [/window/, { secretFor: () => SECRET, window: 6 }],
    [/window/, { secretFor: () => SECRET, window: Infinity }],
    [/name/, { secretFor: () => SECRET, name: '' }],
    [/name/, { secretFor: () => SECRET, name: 'a:b' }],
    [/name/, { secretFor: () => SECRET, name: 'x'.repeat(65) }],
  ])('a mistake is refused at start-up: %s', (message, options) => {
    const make = (): unknown => totp(options as TotpOptions)
    expect(make).toThrow(message)
    expect(make).toThrow(ConfigError)
    try {
      make()
    } catch (error) {
      expect((error as Error).message).not.toContain(BASE32)
    }
  })
})

function fail(): never {
  throw new Error('down')
}

/** A store that answers as another one does, but for some operations. */
function wrapped(store: Store, parts: Partial<Store>): Store {
  return new Proxy(store, {
    get(target, name) {
      const own: unknown = (parts as Record<PropertyKey, unknown>)[name] ?? Reflect.get(target, name)
      return typeof own === 'function' ? own.bind(target) : own
    },
  })
}

/** A store as over a network: it answers later, in the order in which it was asked. */
function slow(store: Store): Store {
  const later = (name: 'set' | 'getMany') => async (...args: unknown[]) => {
    await new Promise((resolve) => setImmediate(resolve))
    return (store[name] as (...given: unknown[]) => never)(...args)
  }
  return wrapped(store, { set: later('set'), getMany: later('getMany') })
}
