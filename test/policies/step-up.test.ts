import { describe, expect, test } from '@jest/globals'
import { ConfigError, every, memoryStore, observed, some, when } from 'portcullis'
import type { EventContext, Factor, Gate, Principal, Store } from 'portcullis'
import { stepUp, type StepUpOptions } from '../../policies/step-up.ts'
import { admitted, denied, harness, testClock, type TestClock } from 'portcullis/testing'
import { sharedFactorKey, STEP_UP } from '../../lib/factor.ts'
import type { StepUpTerms } from '../../lib/factor.ts'
import { identityOf } from '../../lib/peer.ts'

const MINUTE = 60_000
const START = Date.UTC(2025, 0, 1)

const otp: Factor = { name: 'otp', verify: () => false }
const hardware: Factor = { name: 'hwk', verify: () => false }

const alice = { principal: { subject: 'alice', issuer: 'https://id.example', claims: {}, expiresAtMs: 'never', factors: [] } }
interface Facts {
  readonly principal: Principal
}

const required = denied('STEP_UP_REQUIRED', { factors: ['otp'], maxAgeMs: 5 * MINUTE })

/** Who said when it signed in, and with which factors. */
const signedIn = (atMs: number, ...factors: string[]) => ({ principal: { ...alice.principal, claims: { auth_time: atMs / 1_000 }, factors } })

/** Stands where the gate notes what a socket has proved. */
const proves = (at: () => number | undefined, factor = 'otp') => ({
  name: 'proves',
  event: (ctx: EventContext, next: () => void | Promise<void>) => {
    const time = at()
    if (time !== undefined) (ctx.state.proved ??= new Map()).set(factor, time)
    return next()
  },
})

function probe(options: Partial<StepUpOptions> & { proved?: number; clock?: TestClock; store?: Store; peer?: object } = {}) {
  const { proved, clock = testClock(START), store, peer = alice, ...own } = options
  return harness([proves(() => proved), stepUp(otp, { maxAgeMs: 5 * MINUTE, ...own })], { clock, peer, ...(store === undefined ? {} : { store }) })
}

describe('who has proved the factor', () => {
  test('nobody yet: the client is told which factor, and how fresh', async () => {
    expect(await probe().event('transfer', { amount: 9 }, { ack: true })).toEqual(required)
    const { sent, policy } = await probe().event('transfer', undefined, { ack: true })
    expect(policy).toBe('step-up')
    expect(sent).toEqual([{ error: { code: 'STEP_UP_REQUIRED', message: 'A further authentication factor is required.', id: expect.any(String), details: { factors: ['otp'], maxAgeMs: 5 * MINUTE } } }])
  })

  test('on this socket: it passes, synchronously and with what was sent', async () => {
    expect(await probe({ proved: START }).event('transfer', { amount: 9 })).toEqual(admitted({ data: { amount: 9 }, sync: true }))
  })

  test('for as long as it says, to the millisecond, and then it is asked again', async () => {
    for (const [age, passes] of [[0, true], [1, true], [5 * MINUTE - 1, true], [5 * MINUTE, true], [5 * MINUTE + 1, false], [60 * MINUTE, false]] as const) {
      expect(await probe({ proved: START - age }).event('transfer')).toEqual(passes ? admitted() : required)
    }
  })

  test('while it waits nothing changes, until it is too old', async () => {
    const clock = testClock(START)
    let at = START
    const asked = harness([proves(() => at), stepUp(otp, { maxAgeMs: 5 * MINUTE })], { clock, peer: alice })
    expect(await asked.event('transfer')).toEqual(admitted())
    clock.advance(5 * MINUTE)
    expect(await asked.event('transfer')).toEqual(admitted())
    clock.advance(1)
    expect(await asked.event('transfer')).toEqual(required)
    at = clock.now()
    expect(await asked.event('transfer')).toEqual(admitted())
  })

  test('another factor is not this one', async () => {
    const asked = harness([proves(() => START, 'hwk'), stepUp(otp, { maxAgeMs: 5 * MINUTE })], { clock: testClock(START), peer: alice })
    expect(await asked.event('transfer')).toEqual(required)
  })

  test('where the clock was put back: what lies ahead is asked again', async () => {
    for (const ahead of [10_001, MINUTE, 3_600_000]) expect(await probe({ proved: START + ahead }).event('transfer')).toEqual(required)
  })

  test('a little ahead is not the clock: the proof came while the event waited, or from a node whose clock is fast', async () => {
    expect(await probe({ proved: START + 10_000 }).event('transfer')).toEqual(admitted())
    // Never by more than it may be old.
    expect(await probe({ proved: START + 1_000, maxAgeMs: 1_000 }).event('transfer')).toEqual(admitted())
    expect(await probe({ proved: START + 1_001, maxAgeMs: 1_000 }).event('transfer')).toEqual(denied('STEP_UP_REQUIRED'))
  })

  test('a time that is none proves nothing', async () => {
    for (const proved of [NaN, Infinity, -Infinity]) expect(await probe({ proved }).event('transfer')).toEqual(required)
  })

  test('an earlier policy that takes its time: the proof that comes meanwhile counts', async () => {
    const clock = testClock(START)
    const proof: { at?: number } = {}
    let goOn = (): void => {}
    const slow = {
      name: 'slow',
      event: async (ctx: EventContext, next: () => void | Promise<void>) => {
        expect(ctx.now).toBe(START)
        await new Promise<void>((resolve) => (goOn = resolve))
        await next()
      },
    }
    const asked = harness([slow, proves(() => proof.at), stepUp(otp, { maxAgeMs: 5 * MINUTE })], { clock, peer: alice })
    const waiting = asked.event('transfer')
    clock.advance(4_000)
    proof.at = clock.now()
    goOn()
    expect(await waiting).toEqual(admitted())
  })
})

describe('who signed in with the factor', () => {
  test('lately: it is not asked again', async () => {
    expect(await probe({ peer: signedIn(START - 5 * MINUTE, 'pwd', 'otp') }).event('transfer')).toEqual(admitted({ sync: true }))
  })

  test('too long ago, or with another one: it is', async () => {
    expect(await probe({ peer: signedIn(START - 5 * MINUTE - 1_000, 'pwd', 'otp') }).event('transfer')).toEqual(required)
    expect(await probe({ peer: signedIn(START, 'pwd', 'hwk') }).event('transfer')).toEqual(required)
  })

  test('and does not say when: it is', async () => {
    for (const authTime of [undefined, null, 'now', String(START / 1_000), {}, NaN]) {
      const peer = { principal: { ...alice.principal, claims: { auth_time: authTime }, factors: ['otp'] } }
      expect(await probe({ peer }).event('transfer')).toEqual(required)
    }
  })

  test('a step-up after an old sign-in counts', async () => {
    expect(await probe({ peer: signedIn(START - 60 * MINUTE, 'otp'), proved: START }).event('transfer')).toEqual(admitted())
  })
})

describe('who is nobody', () => {
  test.each([
    ['no principal', {}],
    ['an anonymous one', { principal: undefined }],
    ['a principal that is no principal', { principal: { subject: 7 } }],
  ])('%s: UNAUTHENTICATED, whatever the socket has proved', async (_words, peer) => {
    for (const share of ['socket', 'subject'] as const) expect(await probe({ peer, share, proved: START }).event('transfer')).toEqual(denied('UNAUTHENTICATED'))
  })
})

describe('a proof for every socket of the subject', () => {
  const identity = identityOf(alice)!
  const withProof = async (at: string, by = identity): Promise<Store> => {
    const store = memoryStore()
    await store.set(sharedFactorKey(by, 'otp'), at, 60 * MINUTE)
    return store
  }

  test('is asked of the store, in the same tick where the store answers so', async () => {
    expect(await probe({ share: 'subject', store: await withProof(String(START)) }).event('transfer')).toEqual(admitted({ sync: true }))
    expect(await probe({ share: 'subject' }).event('transfer')).toEqual(required)
  })

  test('holds for as long as any other', async () => {
    for (const [age, passes] of [[0, true], [5 * MINUTE, true], [5 * MINUTE + 1, false], [-10_000, true], [-10_001, false]] as const) {
      expect(await probe({ share: 'subject', store: await withProof(String(START - age)) }).event('transfer')).toEqual(passes ? admitted() : required)
    }
  })

  test('counts only where it was said that it does', async () => {
    const store = await withProof(String(START))
    for (const share of ['socket', undefined] as const) {
      expect(await probe({ ...(share === undefined ? {} : { share }), store: wrapped(store, { get: () => fail() }) }).event('transfer')).toEqual(required)
    }
  })

  test('is that of this subject, of this issuer, and of this factor', async () => {
    for (const other of [{ ...alice.principal, subject: 'bob' }, { ...alice.principal, issuer: 'https://other.example' }, { subject: 'alice' }]) {
      const store = await withProof(String(START), identityOf({ principal: other }))
      expect(await probe({ share: 'subject', store }).event('transfer')).toEqual(required)
    }
    expect(sharedFactorKey(identity, 'otp')).not.toBe(sharedFactorKey(identity, 'hwk'))
  })

  test('costs one question, and none where this socket has proved it', async () => {
    const asked: string[] = []
    const store = memoryStore()
    const counting = wrapped(store, { get: (key) => (asked.push(key), store.get(key)) })
    await probe({ share: 'subject', store: counting, proved: START }).event('transfer')
    expect(asked).toEqual([])
    await probe({ share: 'subject', store: counting }).event('transfer')
    expect(asked).toEqual([sharedFactorKey(identity, 'otp')])
  })

  test('with a store that answers later: the same', async () => {
    for (const [stored, passes] of [[String(START), true], [String(START - 6 * MINUTE), false], [undefined, false]] as const) {
      const store = wrapped(memoryStore(), { get: () => Promise.resolve(stored) })
      expect(await probe({ share: 'subject', store }).event('transfer')).toEqual(passes ? admitted({ sync: false }) : required)
    }
  })

  test.each<[string, Store['get']]>([
    ['throws', () => fail()],
    ['rejects', () => Promise.reject(new Error('down'))],
  ])('with a store that %s: UNAVAILABLE, and operators see why', async (_words, get) => {
    const asked = probe({ share: 'subject', store: wrapped(memoryStore(), { get }) })
    const refused = await asked.event('transfer', undefined, { ack: true })
    expect(refused).toEqual(denied('UNAVAILABLE'))
    expect((refused.error as Error).cause).toEqual(new Error('down'))
    expect(JSON.stringify(refused.sent)).not.toContain('down')
  })

  test('with a store that never answers: the decision ends at the deadline', async () => {
    const clock = testClock(START)
    const asked = probe({ share: 'subject', clock, store: wrapped(memoryStore(), { get: () => new Promise(() => {}) }) })
    const waiting = asked.event('transfer')
    clock.advance(5_000)
    expect((await waiting).code).toBe('DEADLINE_EXCEEDED')
  })

  test.each<[string, unknown]>([
    ['text', 'yes'],
    ['empty text', ''],
    ['a fraction', '1735689600000.5'],
    ['a negative time', '-1'],
    ['an exponent', '1e99'],
    ['a time too long to be one', '9'.repeat(400)],
    ['a number', START],
    ['true', true],
    ['an object', { valueOf: () => START }],
    ['null', null],
  ])('what the store holds and is no time (%s) proves nothing', async (_words, stored) => {
    const store = wrapped(memoryStore(), { get: () => stored as string })
    expect(await probe({ share: 'subject', store }).event('transfer')).toEqual(required)
  })

  test('its key is short, and shows nobody’s name', () => {
    const key = sharedFactorKey(identityOf({ principal: { subject: 'alice'.repeat(10_000) } })!, 'otp')
    expect(key).toMatch(/^factor:[\w-]{43}:otp$/)
  })
})

describe('where it can stand', () => {
  test('at one event: others are not asked', async () => {
    const asked = harness((gate) => (gate as unknown as Gate<Facts>).event('transfer', stepUp(otp, { maxAgeMs: MINUTE })).event('say'), { peer: alice })
    expect(await asked.event('transfer')).toEqual(denied('STEP_UP_REQUIRED'))
    expect(await asked.event('say')).toEqual(admitted())
  })

  test('in use(...): every event is asked', async () => {
    const asked = harness((gate) => (gate as unknown as Gate<Facts>).use(stepUp(otp, { maxAgeMs: MINUTE })).event('say'), { peer: alice })
    expect(await asked.event('say')).toEqual(denied('STEP_UP_REQUIRED'))
  })

  test('not where nobody has said who a peer is: that does not compile, and admits nobody', async () => {
    // @ts-expect-error: a gate without a policy that gives `principal`
    const asked = harness((gate) => gate.event('transfer', stepUp(otp, { maxAgeMs: MINUTE })))
    expect(await asked.event('transfer')).toEqual(denied('UNAUTHENTICATED'))
  })

  test('also where a peer may be nobody', async () => {
    const asked = harness((gate) => (gate as unknown as Gate<{ principal: Principal | undefined }>).event('transfer', stepUp(otp, { maxAgeMs: MINUTE })), { peer: { principal: undefined } })
    expect(await asked.event('transfer')).toEqual(denied('UNAUTHENTICATED'))
  })

  test('in every(...), some(...) and when(...)', async () => {
    const clock = testClock(START)
    const one = stepUp(otp, { maxAgeMs: MINUTE })
    const two = stepUp(hardware, { maxAgeMs: MINUTE })
    const ask = (policy: { name: string }, data?: unknown) => harness([proves(() => START, 'hwk'), policy], { clock, peer: alice }).event('transfer', data)
    expect(await ask(every(two))).toEqual(admitted())
    expect(await ask(every(two, one))).toEqual(denied('STEP_UP_REQUIRED', { factors: ['otp'] }))
    expect(await ask(some(one, two))).toEqual(admitted())
    const large = when((ctx: EventContext<any, any>) => ctx.data.amount > 100, one)
    expect(await ask(large, { amount: 100 })).toEqual(admitted())
    expect(await ask(large, { amount: 101 })).toEqual(denied('STEP_UP_REQUIRED', { factors: ['otp'] }))
  })

  test('only observed: it is reported, and nothing is refused', async () => {
    const asked = harness(observed(stepUp(otp, { maxAgeMs: MINUTE })) as never, { peer: alice })
    expect(await asked.event('transfer')).toEqual(admitted())
    expect(asked.decisions).toContainEqual(expect.objectContaining({ outcome: 'denied', enforced: false, code: 'STEP_UP_REQUIRED', policy: 'step-up' }))
  })

  test('it does nothing at the other stages', async () => {
    const asked = harness(stepUp(otp, { maxAgeMs: MINUTE }), { peer: alice })
    expect(await asked.request()).toEqual(admitted())
    expect(await asked.connect()).toEqual(admitted())
    expect(await asked.join('room')).toEqual(admitted())
    expect(await asked.deliver('message', 1)).toEqual(admitted())
  })

  test('two of them at one event are both asked, each with its own age', async () => {
    const clock = testClock(START)
    const both = [proves(() => START - 2 * MINUTE), stepUp(otp, { maxAgeMs: 3 * MINUTE }), stepUp(otp, { maxAgeMs: MINUTE })]
    expect(await harness(both as never, { clock, peer: alice }).event('transfer')).toEqual(denied('STEP_UP_REQUIRED', { factors: ['otp'], maxAgeMs: MINUTE }))
  })
})

describe('what the gate is told', () => {
  test('the factor, how many wrong codes, and how far a proof reaches', () => {
    expect(stepUp(otp, { maxAgeMs: MINUTE })[STEP_UP]).toEqual({ factor: otp, limit: 5, perMs: 900_000, shared: false, sharedForMs: MINUTE })
    const terms: StepUpTerms = stepUp(hardware, { maxAgeMs: 7, maxAttempts: 3, attemptsPerMs: 1_000, share: 'subject' })[STEP_UP]
    expect(terms).toEqual({ factor: hardware, limit: 3, perMs: 1_000, shared: true, sharedForMs: 7 })
    expect(terms.factor).toBe(hardware)
  })

  test('also through combinators, each of its parts', () => {
    const [one, two] = [stepUp(otp, { maxAgeMs: MINUTE }), stepUp(hardware, { maxAgeMs: MINUTE })]
    const termsOf = (policy: unknown) => [(policy as { [STEP_UP]?: StepUpTerms | StepUpTerms[] })[STEP_UP]].flat()
    for (const policy of [every(one, two), some(one, two), every(when(() => true, one), observed(two)), observed(every(one, two))]) {
      expect(termsOf(policy)).toEqual([one[STEP_UP], two[STEP_UP]])
    }
  })

  test('it does not show among the members of the policy', () => {
    expect(Object.keys(stepUp(otp, { maxAgeMs: MINUTE }))).toEqual(['name', 'event'])
  })
})

describe('a mistake is refused at start-up', () => {
  test.each<[RegExp, unknown, unknown]>([
    [/takes a factor first/, undefined, { maxAgeMs: 1 }],
    [/takes a factor first/, null, { maxAgeMs: 1 }],
    [/takes a factor first/, 'otp', { maxAgeMs: 1 }],
    [/takes a factor first/, {}, { maxAgeMs: 1 }],
    [/takes a factor first/, { name: 'otp' }, { maxAgeMs: 1 }],
    [/takes a factor first/, { name: 7, verify: () => true }, { maxAgeMs: 1 }],
    [/name of a factor/, { name: '', verify: () => true }, { maxAgeMs: 1 }],
    [/name of a factor/, { name: 'a b', verify: () => true }, { maxAgeMs: 1 }],
    [/name of a factor/, { name: 'a:b', verify: () => true }, { maxAgeMs: 1 }],
    [/name of a factor/, { name: 'x'.repeat(65), verify: () => true }, { maxAgeMs: 1 }],
    [/takes options second/, otp, undefined],
    [/takes options second/, otp, 60_000],
    [/unknown option "maxAge"/, otp, { maxAge: 60 }],
    [/maxAgeMs is a positive number/, otp, {}],
    [/maxAgeMs is a positive number/, otp, { maxAgeMs: 0 }],
    [/maxAgeMs is a positive number/, otp, { maxAgeMs: -1 }],
    [/maxAgeMs is a positive number/, otp, { maxAgeMs: NaN }],
    [/maxAgeMs is a positive number/, otp, { maxAgeMs: Infinity }],
    [/maxAgeMs is a positive number/, otp, { maxAgeMs: '60000' }],
    [/maxAttempts is a whole number/, otp, { maxAgeMs: 1, maxAttempts: 0 }],
    [/maxAttempts is a whole number/, otp, { maxAgeMs: 1, maxAttempts: 1.5 }],
    [/maxAttempts .* can be guessed/, otp, { maxAgeMs: 1, maxAttempts: 101 }],
    [/maxAttempts .* can be guessed/, otp, { maxAgeMs: 1, maxAttempts: Infinity }],
    [/attemptsPerMs is a positive number/, otp, { maxAgeMs: 1, attemptsPerMs: 0 }],
    [/attemptsPerMs is a positive number/, otp, { maxAgeMs: 1, attemptsPerMs: Infinity }],
    [/share is 'socket' or 'subject'/, otp, { maxAgeMs: 1, share: 'user' }],
    [/share is 'socket' or 'subject'/, otp, { maxAgeMs: 1, share: true }],
  ])('%s', (message, factor, options) => {
    const make = (): unknown => stepUp(factor as Factor, options as StepUpOptions)
    expect(make).toThrow(message)
    expect(make).toThrow(ConfigError)
  })

  test('at a stage where it has no hook: the gate says where it belongs', () => {
    expect(() => harness((gate) => gate.join('room:{id}', stepUp(otp, { maxAgeMs: 1 }) as never))).toThrow(/belongs at \.event\(\.\.\.\)/)
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
