import { describe, expect, test } from '@jest/globals'
import { ConfigError, deny, memoryStore } from 'portcullis'
import type { Rate, Store } from 'portcullis'
import { rateLimit, type RateLimitOptions } from 'portcullis/policies'
import { admitted, denied, faulted, harness, testClock } from 'portcullis/testing'

const alice = { principal: { subject: 'alice', issuer: 'https://id.example' } }
const bob = { principal: { subject: 'bob', issuer: 'https://id.example' } }

const probe = (options: RateLimitOptions, more: object = {}) => harness(rateLimit(options), more)

/** A store that answers as told, and remembers what it was asked. */
function storeThat(answer: (key: string, rate: Rate, now: number) => unknown): Store & { readonly asked: (readonly [string, Rate, number])[] } {
  const asked: (readonly [string, Rate, number])[] = []
  return {
    ...memoryStore(),
    scope: 'node',
    asked,
    close: () => undefined,
    consume(key, rate, now) {
      asked.push([key, rate, now])
      return answer(key, rate, now) as number
    },
  }
}

describe('what a limit admits', () => {
  test('as much as the limit at once, and not one more', async () => {
    const asked = probe({ limit: 3, perMs: 1_000 })
    for (let i = 0; i < 3; i++) expect(await asked.event('ping')).toEqual(admitted())
    for (let i = 0; i < 3; i++) expect(await asked.event('ping')).toEqual(denied('RATE_LIMITED', { retryAfterMs: 334 }))
  })

  /** Each row: at which millisecond, and the answer: 0 for admitted, else how long to wait. */
  const tables: readonly (readonly [string, RateLimitOptions, readonly (readonly [number, number])[]])[] = [
    [
      'three a second: one comes back every 333 1/3 ms',
      { limit: 3, perMs: 1_000 },
      [[0, 0], [0, 0], [0, 0], [0, 334], [100, 234], [333, 1], [334, 0], [334, 333], [666, 1], [667, 0], [999, 1], [1_000, 0], [1_000, 334], [3_000, 0], [3_000, 0], [3_000, 0], [3_000, 334]],
    ],
    ['one a second: no burst at all', { limit: 1, perMs: 1_000 }, [[0, 0], [0, 1_000], [1, 999], [999, 1], [1_000, 0], [1_000, 1_000], [1_999, 1], [2_000, 0]]],
    [
      'the edge of a window is no edge: two bursts do not fit around it',
      { limit: 10, perMs: 1_000 },
      [...Array.from({ length: 10 }, () => [990, 0] as const), [999, 91], [1_000, 90], [1_001, 89], [1_089, 1], [1_090, 0], [1_090, 100], [1_990, 0], ...Array.from({ length: 8 }, () => [1_990, 0] as const), [1_990, 100]],
    ],
    ['spent evenly it never refuses', { limit: 4, perMs: 1_000 }, Array.from({ length: 40 }, (_, i) => [i * 250, 0] as const)],
    ['a cost of two out of five', { limit: 5, perMs: 1_000, cost: 2 }, [[0, 0], [0, 0], [0, 200], [199, 1], [200, 0], [200, 400], [600, 0]]],
    ['a cost of the whole limit', { limit: 5, perMs: 1_000, cost: 5 }, [[0, 0], [0, 1_000], [999, 1], [1_000, 0]]],
    ['a fraction of a millisecond each', { limit: 4_000, perMs: 1_000, cost: 1_000 }, [[0, 0], [0, 0], [0, 0], [0, 0], [0, 250], [249, 1], [250, 0]]],
    ['a long period', { limit: 2, perMs: 86_400_000 }, [[0, 0], [0, 0], [1, 43_199_999], [43_200_000, 0], [43_200_000, 43_200_000]]],
    ['fewer than one in the period, by the cost', { limit: 0.5, perMs: 1_000, cost: 0.25 }, [[0, 0], [0, 0], [0, 500], [500, 0]]],
  ]

  test.each(tables)('%s', async (_words, options, rows) => {
    const clock = testClock()
    const asked = probe(options, { clock })
    let now = 0
    const answers: [number, number][] = []
    for (const [at] of rows) {
      clock.advance(at - now)
      now = at
      const result = await asked.event('ping')
      answers.push([at, result.outcome === 'admitted' ? 0 : result.refusal!.retryAfterMs!])
    }
    expect(answers).toEqual(rows)
  })

  test('waiting as long as the refusal says is enough, and a millisecond less is not', async () => {
    for (const options of [{ limit: 3, perMs: 1_000 }, { limit: 7, perMs: 1_000 }, { limit: 3, perMs: 10 }, { limit: 9, perMs: 999, cost: 4 }]) {
      const clock = testClock()
      const asked = probe(options, { clock })
      let result = await asked.event('ping')
      while (result.outcome === 'admitted') result = await asked.event('ping')
      const wait = result.refusal!.retryAfterMs!
      clock.advance(wait - 1)
      expect(await asked.event('ping')).toEqual(denied('RATE_LIMITED', { retryAfterMs: 1 }))
      clock.advance(1)
      expect(await asked.event('ping')).toEqual(admitted())
    }
  })

  test('a refusal costs nothing: ten thousand of them do not put off the next admission', async () => {
    const clock = testClock()
    const asked = probe({ limit: 2, perMs: 1_000 }, { clock })
    let admissions = 0
    for (let i = 0; i < 10_000; i++) if ((await asked.event('ping')).outcome === 'admitted') admissions++
    expect(admissions).toBe(2)
    clock.advance(500)
    expect(await asked.event('ping')).toEqual(admitted())
    expect(await asked.event('ping')).toEqual(denied('RATE_LIMITED', { retryAfterMs: 500 }))
  })

  test('a clock that is put back holds nobody for longer than one period', async () => {
    const clock = testClock()
    const store = memoryStore({ clock })
    const policy = rateLimit({ limit: 2, perMs: 1_000 })
    await harness(policy, { clock, store }).event('ping')
    const earlier = testClock(clock.now() - 3_600_000)
    const asked = harness(policy, { clock: earlier, store })
    const refused = await asked.event('ping')
    expect(refused).toEqual(denied('RATE_LIMITED'))
    expect(refused.refusal!.retryAfterMs).toBeLessThanOrEqual(1_000)
    earlier.advance(refused.refusal!.retryAfterMs!)
    expect(await asked.event('ping')).toEqual(admitted())
  })

  test('several limits of one decision see one time, however the clock runs', async () => {
    let now = 0
    const clock = { ...testClock(), now: () => ++now }
    const store = storeThat(() => 0)
    await harness([rateLimit({ limit: 9, perMs: 1_000 }), rateLimit({ limit: 8, perMs: 1_000 })], { clock, store }).event('ping')
    expect(new Set(store.asked.map(([, , at]) => at)).size).toBe(1)
  })
})

describe('where it can stand', () => {
  test('at request, connect, event and join, each with a limit of its own', async () => {
    const asked = probe({ limit: 1, perMs: 1_000 })
    const questions = [() => asked.request(), () => asked.connect(), () => asked.event('ping'), () => asked.join('room')]
    for (const question of questions) expect(await question()).toEqual(admitted())
    for (const question of questions) expect(await question()).toEqual(denied('RATE_LIMITED', { retryAfterMs: 1_000 }))
  })

  test('a refused request is answered with 429 and Retry-After in whole seconds', async () => {
    const asked = probe({ limit: 1, perMs: 1_500 })
    await asked.request()
    expect((await asked.request()).sent).toMatchObject({ status: 429, headers: { 'Retry-After': '2' } })
  })

  test('deliveries are not limited', async () => {
    const policy = rateLimit({ limit: 1, perMs: 1_000 })
    expect(Object.keys(policy)).toEqual(['name', 'request', 'connect', 'event', 'join'])
    const asked = harness(policy)
    for (let i = 0; i < 3; i++) expect(await asked.deliver('pong', i)).toEqual(admitted())
  })

  test('one policy object in two places is one limit; two objects of equal options are two', async () => {
    const shared = rateLimit({ limit: 2, perMs: 1_000 })
    const together = harness((gate) => gate.event('a', shared).event('b', shared))
    expect(await together.event('a')).toEqual(admitted())
    expect(await together.event('b')).toEqual(admitted())
    expect(await together.event('a')).toEqual(denied('RATE_LIMITED'))
    expect(await together.event('b')).toEqual(denied('RATE_LIMITED'))

    const apart = harness((gate) => gate.event('a', rateLimit({ limit: 1, perMs: 1_000 })).event('b', rateLimit({ limit: 1, perMs: 1_000 })))
    expect(await apart.event('a')).toEqual(admitted())
    expect(await apart.event('b')).toEqual(admitted())
    expect(await apart.event('a')).toEqual(denied('RATE_LIMITED'))
  })

  test('a list of events has one limit, and so have all namespaces below one use', async () => {
    const listed = harness((gate) => gate.event(['a', 'b'], rateLimit({ limit: 1, perMs: 1_000 })))
    expect(await listed.event('a')).toEqual(admitted())
    expect(await listed.event('b')).toEqual(denied('RATE_LIMITED'))

    const everywhere = probe({ limit: 1, perMs: 1_000 }, { peer: alice })
    expect(await everywhere.event('a', 1, { namespace: '/' })).toEqual(admitted())
    expect(await everywhere.event('a', 1, { namespace: '/admin' })).toEqual(denied('RATE_LIMITED'))
  })

  test('policies of one name and one rate share their counts in one store, of different rates they do not', async () => {
    const store = memoryStore({ clock: testClock() })
    const named = (options: RateLimitOptions) => harness(rateLimit({ ...options, name: 'chat' }), { store })
    expect(await named({ limit: 1, perMs: 1_000 }).event('a')).toEqual(admitted())
    expect(await named({ limit: 1, perMs: 1_000 }).event('a')).toEqual(denied('RATE_LIMITED'))
    expect(await named({ limit: 2, perMs: 1_000 }).event('a')).toEqual(admitted())
    expect(await named({ limit: 1, perMs: 2_000 }).event('a')).toEqual(admitted())
  })
})

describe('whose limit it is', () => {
  const one = { limit: 1, perMs: 1_000 }

  test('the subject, wherever it comes from', async () => {
    const asked = probe(one)
    expect(await asked.event('ping', 1, { peer: alice, address: '192.0.2.1', socketId: 'first' })).toEqual(admitted())
    expect(await asked.event('ping', 1, { peer: { ...alice }, address: '192.0.2.2', socketId: 'second' })).toEqual(denied('RATE_LIMITED'))
    expect(await asked.event('ping', 1, { peer: bob, address: '192.0.2.1', socketId: 'third' })).toEqual(admitted())
  })

  test('the subject together with its issuer', async () => {
    const asked = probe(one)
    expect(await asked.event('ping', 1, { peer: { principal: { subject: 'alice', issuer: 'https://a.example' } } })).toEqual(admitted())
    expect(await asked.event('ping', 1, { peer: { principal: { subject: 'alice', issuer: 'https://b.example' } } })).toEqual(admitted())
    expect(await asked.event('ping', 1, { peer: { principal: { subject: 'alice' } } })).toEqual(admitted())
  })

  test('the address, where nobody has proved who it is', async () => {
    const asked = probe(one)
    expect(await asked.event('ping', 1, { address: '192.0.2.1', socketId: 'first' })).toEqual(admitted())
    expect(await asked.event('ping', 1, { address: '192.0.2.1', socketId: 'second' })).toEqual(denied('RATE_LIMITED'))
    expect(await asked.event('ping', 1, { address: '192.0.2.2', socketId: 'third' })).toEqual(admitted())
  })

  test('the address, also where peers that share their facts have several', async () => {
    const asked = probe(one)
    const nobody = Object.freeze({})
    for (const address of ['192.0.2.1', '192.0.2.2']) {
      expect(await asked.event('ping', 1, { peer: nobody, address })).toEqual(admitted())
      expect(await asked.event('ping', 1, { peer: nobody, address })).toEqual(denied('RATE_LIMITED'))
    }
  })

  test('all addresses of an IPv6 /64 together, and IPv4 in either spelling', async () => {
    const asked = probe(one)
    expect(await asked.request({ address: '2001:db8:0:1::1' })).toEqual(admitted())
    expect(await asked.request({ address: '2001:db8:0:1:ffff:ffff:ffff:ffff' })).toEqual(denied('RATE_LIMITED'))
    expect(await asked.request({ address: '2001:0DB8:0000:0001::2' })).toEqual(denied('RATE_LIMITED'))
    expect(await asked.request({ address: '2001:db8:0:2::1' })).toEqual(admitted())
    expect(await asked.request({ address: '192.0.2.1' })).toEqual(admitted())
    expect(await asked.request({ address: '::ffff:192.0.2.1' })).toEqual(denied('RATE_LIMITED'))
  })

  test('at connect the address above authentication, the subject below it', async () => {
    const proves = { name: 'proves', connect: (ctx: any, next: any) => next({ principal: { subject: ctx.handshake.auth.as } }) }
    const above = harness([rateLimit(one), proves])
    expect(await above.connect({ auth: { as: 'alice' } })).toEqual(admitted())
    expect(await above.connect({ auth: { as: 'bob' } })).toEqual(denied('RATE_LIMITED'))
    const under = harness([proves, rateLimit(one)])
    expect(await under.connect({ auth: { as: 'alice' } })).toEqual(admitted())
    expect(await under.connect({ auth: { as: 'bob' } })).toEqual(admitted())
    expect(await under.connect({ auth: { as: 'alice' }, address: '192.0.2.9' })).toEqual(denied('RATE_LIMITED'))
  })

  test('a forged X-Forwarded-For changes nothing unless its proxy is trusted', async () => {
    const asked = probe(one)
    expect(await asked.request({ headers: { 'x-forwarded-for': '198.51.100.1' } })).toEqual(admitted())
    expect(await asked.request({ headers: { 'x-forwarded-for': '198.51.100.2' } })).toEqual(denied('RATE_LIMITED'))
    const proxied = probe(one, { trustProxy: 1 })
    expect(await proxied.request({ headers: { 'x-forwarded-for': '6.6.6.6, 198.51.100.1' } })).toEqual(admitted())
    expect(await proxied.request({ headers: { 'x-forwarded-for': '7.7.7.7, 198.51.100.1' } })).toEqual(denied('RATE_LIMITED'))
    expect(await proxied.request({ headers: { 'x-forwarded-for': '198.51.100.2' } })).toEqual(admitted())
  })

  test('whoever the key says', async () => {
    const asked = probe({ ...one, key: (ctx) => (ctx.stage === 'join' ? ctx.room : ctx.stage) }, { peer: alice })
    expect(await asked.join('a')).toEqual(admitted())
    expect(await asked.join('a', { peer: bob })).toEqual(denied('RATE_LIMITED'))
    expect(await asked.join('b')).toEqual(admitted())
    expect(await asked.event('ping')).toEqual(admitted())
  })

  test('hostile keys and subjects are apart from each other, and of bounded length in the store', async () => {
    const hostile = ['', ' ', '__proto__', 'constructor', 'toString', 'a', 'a:b', 'a\u0000', 'a\nb', '["x","a"]', 'address:192.0.2.1', '192.0.2.1', 'null', '*', '{}', '😀', '\ud800', 'x'.repeat(256), 'x'.repeat(257), 'x'.repeat(100_000), `${'x'.repeat(100_000)}y`]
    const store = storeThat(() => 0)
    const byKey = harness(rateLimit({ ...one, key: (ctx) => (ctx.stage === 'event' ? (ctx.args[0] as string) : '') }), { store })
    const bySubject = harness(rateLimit(one), { store })
    for (const text of hostile) {
      await byKey.event('ping', text)
      await bySubject.event('ping', 1, { peer: { principal: { subject: text } } })
      await bySubject.event('ping', 1, { peer: { principal: { subject: 'a', issuer: text } } })
    }
    await bySubject.event('ping', 1, { peer: {}, address: '192.0.2.1' })
    const keys = store.asked.map(([key]) => key)
    expect(new Set(keys).size).toBe(hostile.length * 3 + 1)
    expect(Math.max(...keys.map((key) => key.length))).toBeLessThan(400)
    expect(({} as { polluted?: unknown }).polluted).toBeUndefined()
  })

  test('a subject that is no text is nobody, and has the limit of its address', async () => {
    const asked = probe(one)
    expect(await asked.event('ping', 1, { peer: { principal: { subject: 7 } } })).toEqual(admitted())
    expect(await asked.event('ping', 1, { peer: { principal: null } })).toEqual(denied('RATE_LIMITED'))
  })

  test.each([undefined, null, 7, {}, ['a'], Promise.resolve('a')])('a key function that answers %p is a fault', async (answer) => {
    expect(await probe({ ...one, key: () => answer as string }).event('ping')).toEqual(faulted())
    expect(await probe({ ...one, key: () => answer as string }).request()).toEqual(faulted())
  })

  test('a key function that throws is a fault, and one that refuses refuses', async () => {
    const throwing = (): string => {
      throw new Error('broken')
    }
    expect(await probe({ ...one, key: throwing }).event('ping')).toEqual(faulted())
    expect(await probe({ ...one, key: () => deny('FORBIDDEN') }).event('ping')).toEqual(denied('FORBIDDEN'))
  })
})

describe('a cost that depends', () => {
  test('is asked for each decision', async () => {
    const asked = probe({ limit: 100, perMs: 1_000, cost: (ctx) => (ctx.stage === 'event' ? String(ctx.args[0]).length : 1) })
    expect(await asked.event('say', 'x'.repeat(60))).toEqual(admitted())
    expect(await asked.event('say', 'x'.repeat(60))).toEqual(denied('RATE_LIMITED', { retryAfterMs: 200 }))
    expect(await asked.event('say', 'x'.repeat(40))).toEqual(admitted())
  })

  test('nothing is free of charge without asking the store', async () => {
    const store = storeThat(() => 1_000)
    expect(await probe({ limit: 1, perMs: 1_000, cost: () => 0 }, { store }).event('ping')).toEqual(admitted())
    expect(store.asked).toEqual([])
  })

  test('above the limit is refused with no time to wait, and charges nothing', async () => {
    const asked = probe({ limit: 5, perMs: 1_000, cost: (ctx) => (ctx.stage === 'event' ? (ctx.args[0] as number) : 1) })
    const refused = await asked.event('say', 6)
    expect(refused).toEqual(denied('RATE_LIMITED'))
    expect(refused.refusal).not.toHaveProperty('retryAfterMs')
    expect(await asked.event('say', Infinity)).toEqual(denied('RATE_LIMITED'))
    expect(await asked.event('say', 5)).toEqual(admitted())
  })

  test.each([-1, NaN, '1', undefined, null, Promise.resolve(1)])('%p is a fault', async (answer) => {
    expect(await probe({ limit: 5, perMs: 1_000, cost: () => answer as unknown as number }).event('say')).toEqual(faulted())
  })
})

describe('the store', () => {
  const stages = (asked: ReturnType<typeof harness>) => [() => asked.request(), () => asked.connect(), () => asked.event('ping'), () => asked.join('room')]

  test('one that answers at once makes no promise', async () => {
    const asked = probe({ limit: 1, perMs: 1_000 })
    for (const question of stages(asked)) expect(await question()).toMatchObject({ sync: true, outcome: 'admitted' })
    for (const question of stages(asked)) expect(await question()).toMatchObject({ sync: true, outcome: 'denied' })
  })

  test('one that answers later is waited for', async () => {
    const memory = memoryStore({ clock: testClock() })
    const store = storeThat(async (key, rate, now) => memory.consume(key, rate, now))
    const asked = probe({ limit: 1, perMs: 1_000 }, { store })
    for (const question of stages(asked)) expect(await question()).toMatchObject({ sync: false, outcome: 'admitted' })
    for (const question of stages(asked)) expect(await question()).toEqual(denied('RATE_LIMITED', { retryAfterMs: 1_000 }))
  })

  test('is asked with the rate, the cost and the time of the decision', async () => {
    const store = storeThat(() => 0)
    const clock = testClock(5_000)
    await probe({ limit: 10, perMs: 2_000, cost: 3, name: 'chat' }, { store, clock, peer: alice }).event('ping')
    expect(store.asked).toEqual([['rate:chat:10/2000:event:subject:["https://id.example","alice"]', { limit: 10, perMs: 2_000, cost: 3 }, 5_000]])
  })

  const failures: readonly (readonly [string, () => unknown])[] = [
    [
      'throws',
      () => {
        throw new Error('redis://:hunter2@store.example is down')
      },
    ],
    ['rejects', () => Promise.reject(new Error('redis://:hunter2@store.example is down'))],
    ['answers nothing', () => undefined],
    ['answers later with nothing', () => Promise.resolve()],
    ['answers NaN', () => NaN],
    ['answers a negative number', () => -1],
    ['answers infinity', () => Infinity],
    ['answers true', () => true],
    ['answers text', () => Promise.resolve('0')],
  ]

  test.each(failures)('one that %s admits nobody', async (_words, answer) => {
    const asked = probe({ limit: 1, perMs: 1_000 }, { store: storeThat(answer) })
    for (const question of stages(asked)) {
      const result = await question()
      expect(result).toEqual(denied('UNAVAILABLE'))
      expect(JSON.stringify(result.sent ?? {})).not.toContain('hunter2')
    }
  })

  test('one that never answers is given up at the deadline', async () => {
    const clock = testClock()
    const asked = probe({ limit: 1, perMs: 1_000 }, { clock, store: storeThat(() => new Promise(() => undefined)) })
    const decision = asked.event('ping')
    clock.advance(5_000)
    expect(await decision).toEqual(faulted('DEADLINE_EXCEEDED'))
  })

  test('operators see why it could not be asked', async () => {
    const error = new Error('down')
    const result = await probe({ limit: 1, perMs: 1_000 }, { store: storeThat(() => Promise.reject(error)) }).event('ping')
    expect(result.error).toMatchObject({ code: 'UNAVAILABLE', cause: error })
  })
})

describe('rateLimit is a ConfigError', () => {
  test.each([
    [undefined],
    [{}],
    [{ limit: 10 }],
    [{ perMs: 1_000 }],
    [{ limit: 0, perMs: 1_000 }],
    [{ limit: -1, perMs: 1_000 }],
    [{ limit: NaN, perMs: 1_000 }],
    [{ limit: Infinity, perMs: 1_000 }],
    [{ limit: '10', perMs: 1_000 }],
    [{ limit: 10, perMs: 0 }],
    [{ limit: 10, perMs: Infinity }],
    [{ limit: 10, perMs: '1s' }],
    [{ limit: 0.5, perMs: 1_000 }],
    [{ limit: 10, perMs: 1_000, cost: 0 }],
    [{ limit: 10, perMs: 1_000, cost: -1 }],
    [{ limit: 10, perMs: 1_000, cost: NaN }],
    [{ limit: 10, perMs: 1_000, cost: 11 }],
    [{ limit: 10, perMs: 1_000, cost: '1' }],
    [{ limit: 10, perMs: 1_000, key: 'subject' }],
    [{ limit: 10, perMs: 1_000, name: '' }],
    [{ limit: 10, perMs: 1_000, name: 'a:b' }],
    [{ limit: 10, perMs: 1_000, name: 'x'.repeat(65) }],
    [{ limit: 10, perMs: 1_000, points: 3 }],
  ])('for the options %p', (options) => {
    expect(() => rateLimit(options as never)).toThrow(ConfigError)
  })

  test('and says what to write for less than one in a period', () => {
    expect(() => rateLimit({ limit: 0.5, perMs: 1_000 })).toThrow('{ limit: 1, perMs: 2000 }')
  })
})
