import { describe, expect, test } from '@jest/globals'
import { ConfigError, deny, observed, when } from 'portcullis'
import { lifetime, type LifetimeOptions } from 'portcullis/policies'
import { admitted, denied, harness, testClock } from 'portcullis/testing'
import type { HarnessOptions, Subject } from 'portcullis/testing'

const MAX = 3_600_000
const options: LifetimeOptions = { maxMs: MAX }

function probing(subject: Subject = lifetime(options), more: HarnessOptions = {}) {
  const clock = testClock()
  const probe = harness(subject, { clock, ...more })
  return {
    clock,
    probe,
    async enter(question: Parameters<typeof probe.connect>[0] = {}) {
      const entered = await probe.connect(question)
      expect(entered).toEqual(admitted())
      const peer = entered.facts as object
      return { close: () => entered.close(), send: () => probe.event('say', 'x', { peer }) }
    },
    ends: () => probe.decisions.filter(({ stage, outcome }) => stage === 'connect' && outcome === 'denied'),
  }
}

describe('a peer', () => {
  test('is closed when its time is over, and not before, however busy it is', async () => {
    const { clock, enter, ends } = probing()
    const { send } = await enter()
    for (let i = 0; i < 3_599; i++) {
      clock.advance(1_000)
      expect(await send()).toEqual(admitted({ sync: true }))
    }
    clock.advance(999)
    expect(await send()).toEqual(admitted())
    expect(ends()).toEqual([])
    clock.advance(1)
    expect(ends()).toMatchObject([{ code: 'LIFETIME_EXCEEDED', policy: 'lifetime', enforced: true, at: clock.now() }])
    expect(await send()).toEqual(denied('LIFETIME_EXCEEDED'))
  })

  test('begins anew when it comes again', async () => {
    const { clock, enter, ends } = probing()
    await enter()
    clock.advance(MAX)
    const { send } = await enter()
    clock.advance(MAX - 1)
    expect([await send(), ends().length]).toEqual([admitted(), 1])
    clock.advance(1)
    expect(ends()).toHaveLength(2)
  })

  test('leaves nothing behind when it is closed, and nothing when it leaves before', async () => {
    const { clock, enter, ends } = probing()
    const { close } = await enter()
    expect(clock.pending).toBe(1)
    close()
    expect(clock.pending).toBe(0)
    await enter()
    clock.advance(10 * MAX)
    expect([ends().length, clock.pending]).toEqual([1, 0])
  })

  test('is not watched where it was refused', async () => {
    const { clock, probe } = probing([lifetime(options), { name: 'refuses', connect: () => deny('FORBIDDEN') }])
    expect(await probe.connect()).toEqual(denied('FORBIDDEN'))
    expect(clock.pending).toBe(0)
  })

  test('in another namespace has a time of its own', async () => {
    const { clock, enter, ends } = probing((gate) => {
      gate.use(lifetime(options))
      gate.of('/', {}, { undeclared: 'allow' })
      gate.of('/chat', {}, { undeclared: 'allow' }).use(lifetime({ maxMs: 1_000 }))
    })
    await enter()
    await enter({ namespace: '/chat' })
    clock.advance(1_000)
    expect(ends()).toMatchObject([{ namespace: '/chat' }])
    clock.advance(MAX)
    expect(ends()).toMatchObject([{ namespace: '/chat' }, { namespace: '/' }])
  })

  test('may have another time than others, by who it is when it enters', async () => {
    const { clock, enter, ends } = probing([
      { name: 'gives', connect: (ctx, next: (facts: object) => void | Promise<void>) => next({ guest: ctx.handshake.auth['guest'] === true }) },
      when(({ peer }) => (peer as { guest: boolean }).guest, lifetime({ maxMs: 1_000 })),
    ])
    await enter()
    await enter({ auth: { guest: true } })
    clock.advance(10 * MAX)
    expect(ends()).toHaveLength(1)
  })
})

describe('a decision about a peer that is here', () => {
  test.each(['refresh', 'reauthorize'] as const)('begins nothing: %s', async (cause) => {
    const { clock, probe } = probing()
    expect(await probe.connect({ cause })).toEqual(admitted())
    expect(clock.pending).toBe(0)
  })

  test('that is a recovery begins anew', async () => {
    const { clock, enter, ends } = probing()
    await enter({ cause: 'recover' })
    clock.advance(MAX)
    expect(ends()).toHaveLength(1)
  })
})

test.each([
  ['a gate in observe mode', lifetime(options), { mode: 'observe' }],
  ['an observed policy', observed(lifetime(options)), {}],
] as const)('where it is only observed the peer stays, and is reported once: %s', async (_words, policy, more) => {
  const { clock, enter, ends } = probing(policy, more)
  const { send } = await enter()
  clock.advance(MAX)
  expect(ends()).toMatchObject([{ code: 'LIFETIME_EXCEEDED', policy: 'lifetime', enforced: false }])
  clock.advance(10 * MAX)
  expect([await send(), ends().length, clock.pending]).toEqual([admitted(), 1, 0])
})

describe('a spread', () => {
  test('closes those that came together one after the other, none too late and none much too early', async () => {
    const { clock, enter, ends } = probing(lifetime({ maxMs: MAX, spreadMs: 600_000 }))
    const start = clock.now()
    for (let i = 0; i < 300; i++) await enter()
    clock.advance(MAX - 600_001)
    expect(ends()).toEqual([])
    clock.advance(600_001)
    expect([ends().length, clock.pending]).toEqual([300, 0])
    const times = ends().map(({ at }) => at - start)
    // Of 300 in ten minutes each minute gets some: that one gets none has a chance of less than one in a million million.
    expect(new Set(times.map((at) => Math.min(9, Math.floor((at - MAX + 600_000) / 60_000)))).size).toBe(10)
  })

  test('may be a fraction, or all but everything', async () => {
    for (const spreadMs of [0.5, MAX - 1]) {
      const { clock, enter, ends } = probing(lifetime({ maxMs: MAX, spreadMs }))
      for (let i = 0; i < 50; i++) await enter()
      expect(ends()).toEqual([])
      clock.advance(MAX)
      expect(ends()).toHaveLength(50)
    }
  })
})

describe('options', () => {
  test.each([
    [undefined, 'lifetime takes options such as { maxMs: 43_200_000 }; got undefined.'],
    [null, 'lifetime takes options such as'],
    [43_200_000, 'lifetime takes options such as { maxMs: 43_200_000 }; got number 43200000.'],
    [[], 'lifetime takes options such as'],
    [{}, 'lifetime: maxMs is a number of milliseconds from 1 to 2147483647; got undefined.'],
    ...[0, -1, 0.5, NaN, Infinity, 2_147_483_648, '3600000', null, 1n, {}].map((maxMs) => [{ maxMs }, 'lifetime: maxMs is a number of milliseconds from 1 to 2147483647'] as const),
    ...[-1, NaN, Infinity, 2_147_483_648, '0', null].map((spreadMs) => [{ maxMs: MAX, spreadMs }, 'lifetime: spreadMs is a number of milliseconds from 0 to 2147483647'] as const),
    [{ maxMs: 1_000, spreadMs: 1_000 }, 'lifetime: a spreadMs of 1000 could close a peer as it enters. Write one well below maxMs (1000).'],
    [{ maxMs: 1_000, reconnect: 'later' }, "lifetime: reconnect is 'never', 'now' or 'after-credential'; got string later."],
    [{ maxMs: 1_000, reconnect: null }, "lifetime: reconnect is 'never', 'now' or 'after-credential'"],
    [{ maxMS: 1_000 }, 'lifetime: unknown option "maxMS". The options are maxMs, spreadMs, reconnect.'],
    [{ maxMs: 1_000, afterMs: 1 }, 'lifetime: unknown option "afterMs"'],
  ])('%p is a mistake', (given, message) => {
    expect(() => lifetime(given as never)).toThrow(ConfigError)
    expect(() => lifetime(given as never)).toThrow(message)
  })

  test.each([{ maxMs: 1 }, { maxMs: 2_147_483_647 }, { maxMs: 1_000, spreadMs: undefined, reconnect: undefined }, { maxMs: 1_000, spreadMs: 0, reconnect: 'never' }])('%p is none', (given) => {
    expect(() => lifetime(given as never)).not.toThrow()
  })

  test('it has a hook where clients come, and nowhere else', () => {
    expect(Object.keys(lifetime(options)).sort()).toEqual(['connect', 'name'])
  })
})
