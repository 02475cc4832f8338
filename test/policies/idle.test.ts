import { describe, expect, test } from '@jest/globals'
import { ConfigError, deny, observed, unordered, when } from 'portcullis'
import type { EventContext } from 'portcullis'
import { idle, type IdleOptions } from 'portcullis/policies'
import { admitted, denied, harness, replied, testClock } from 'portcullis/testing'
import type { HarnessOptions, Subject } from 'portcullis/testing'

const AFTER = 10_000
const options: IdleOptions = { afterMs: AFTER }

/** A clock that can be set without anything falling due, and that counts the timers it was asked for. */
function aClock() {
  const clock = testClock()
  const state = { ahead: 0, asked: 0 }
  return {
    now: () => clock.now() + state.ahead,
    after: (ms: number, fn: () => void) => (state.asked++, clock.after(ms, fn)),
    advance: (ms: number) => clock.advance(ms),
    set: (ms: number) => void (state.ahead += ms),
    timers: () => clock.pending,
    asked: () => state.asked,
  }
}

/** A probe with peers that have entered, and what closed them. */
function probing(subject: Subject = idle(options), more: HarnessOptions = {}) {
  const clock = aClock()
  const probe = harness(subject, { clock, ...more })
  return {
    clock,
    probe,
    /** A peer that has entered, and what it does. */
    async enter(question: Parameters<typeof probe.connect>[0] = {}) {
      const entered = await probe.connect(question)
      expect(entered).toEqual(admitted())
      const peer = entered.facts as object
      return { close: () => entered.close(), peer, send: (name = 'say', data: unknown = 'x') => probe.event(name, data, { peer, ...(question.namespace === undefined ? {} : { namespace: question.namespace }) }) }
    },
    ends: () => probe.decisions.filter(({ stage, outcome }) => stage === 'connect' && outcome === 'denied'),
    faults: () => probe.decisions.filter(({ outcome }) => outcome === 'fault'),
  }
}

/** A policy that takes its time, until it is told what to do. */
function slowly() {
  const waiting: { readonly agree: () => void; readonly refuse: () => void; readonly ctx: EventContext }[] = []
  const hook = async (ctx: EventContext, next: () => void | Promise<void>): Promise<void> => {
    if (!(await new Promise<boolean>((resolve) => waiting.push({ ctx, agree: () => resolve(true), refuse: () => resolve(false) })))) deny('FORBIDDEN')
    await next()
  }
  return { policy: { name: 'slowly', event: hook }, waiting }
}

describe('a peer that sends nothing', () => {
  test('is closed when its time is over, and not before', async () => {
    const { clock, enter, ends } = probing()
    const { send } = await enter()
    clock.advance(AFTER - 1)
    expect(ends()).toEqual([])
    clock.advance(1)
    expect(ends()).toMatchObject([{ code: 'IDLE_TIMEOUT', policy: 'idle', enforced: true, at: clock.now() }])
    expect(await send()).toEqual(denied('IDLE_TIMEOUT'))
  })

  test('leaves nothing behind when it is closed, and nothing when it leaves before', async () => {
    const { clock, enter, ends } = probing()
    const first = await enter()
    expect(clock.timers()).toBe(1)
    first.close()
    expect(clock.timers()).toBe(0)
    await enter()
    clock.advance(AFTER)
    expect([clock.timers(), ends().length]).toEqual([0, 1])
    clock.advance(10 * AFTER)
    expect([clock.timers(), ends().length]).toEqual([0, 1])
  })

  test('is one of many, and each has its own time', async () => {
    const { clock, enter, ends } = probing(idle(options), { peer: {} })
    const peers = []
    for (let i = 0; i < 100; i++) {
      peers.push(await enter())
      clock.advance(10)
    }
    for (const { send } of peers.slice(50)) await send()
    clock.advance(AFTER - 1_000 + 490)
    expect(ends().map(({ at }) => at)).toEqual(Array.from({ length: 50 }, (_, i) => clock.now() - 490 + i * 10))
    clock.advance(509)
    expect(ends()).toHaveLength(50)
    clock.advance(1)
    expect([ends().length, clock.timers()]).toEqual([100, 0])
  })

  test('is not watched where it was refused, and where it has never entered', async () => {
    const { clock, probe } = probing([idle(options), { name: 'refuses', connect: () => deny('FORBIDDEN') }])
    expect(await probe.connect()).toEqual(denied('FORBIDDEN'))
    expect(clock.timers()).toBe(0)
    expect(await probing().probe.event('say')).toEqual(admitted({ sync: true }))
  })
})

describe('an event', () => {
  /** Each row: when events are sent, and when the peer is closed. */
  test.each([
    [[], 10_000],
    [[0], 10_000],
    [[1], 10_001],
    [[9_999], 19_999],
    [[5_000, 9_000, 9_001], 19_001],
    [[9_000, 18_000, 27_000, 36_999], 46_999],
    [Array.from({ length: 500 }, (_, i) => i * 100), 59_900],
  ])('begins the time anew: sent at %j, closed at %d', async (times, end) => {
    const { clock, enter, ends } = probing()
    const start = clock.now()
    const { send } = await enter()
    for (const at of times) {
      clock.advance(start + at - clock.now())
      expect(await send()).toEqual(admitted({ sync: true }))
    }
    clock.advance(start + end - 1 - clock.now())
    expect(ends()).toEqual([])
    clock.advance(1)
    expect(ends()).toHaveLength(1)
  })

  test('costs no timer', async () => {
    const { clock, enter } = probing()
    const { send } = await enter()
    const before = clock.asked()
    for (let i = 0; i < 1_000; i++) expect(await send()).toEqual(admitted({ sync: true }))
    expect([clock.asked(), clock.timers()]).toEqual([before, 1])
  })

  test('counts when everything below has agreed, and not when it was refused', async () => {
    const slow = slowly()
    const answers: Record<string, () => void> = { throws: () => deny('FORBIDDEN'), breaks: () => void JSON.parse('{'), silent: () => undefined }
    const refuses = { name: 'refuses', event: (ctx: EventContext, next: () => void | Promise<void>) => (ctx.event in answers ? answers[ctx.event]!() : next()) }
    const { clock, enter, ends } = probing([idle(options), refuses, { name: 'slow', event: (ctx, next) => (ctx.event === 'slow' ? slow.policy.event(ctx, next) : next()) }])
    const { send } = await enter()
    clock.advance(6_000)
    for (const name of Object.keys(answers)) expect((await send(name)).outcome).not.toBe('admitted')
    const late = send('slow')
    slow.waiting[0]!.refuse()
    expect(await late).toEqual(denied('FORBIDDEN'))
    clock.advance(3_999)
    expect(ends()).toEqual([])
    clock.advance(1)
    expect(ends()).toHaveLength(1)
  })

  test('counts from when its decision began, however long that takes', async () => {
    const slow = slowly()
    const { clock, enter, ends } = probing([idle(options), slow.policy])
    const { send } = await enter()
    clock.advance(3_000)
    const sent = send()
    clock.advance(2_000)
    slow.waiting[0]!.agree()
    expect(await sent).toEqual(admitted({ sync: false }))
    clock.advance(7_999)
    expect(ends()).toEqual([])
    clock.advance(1)
    expect(ends()).toHaveLength(1)
  })

  test('that was sent before another one and agreed to after it takes nothing from it', async () => {
    const slow = slowly()
    const { clock, enter, ends } = probing((gate) => gate.use(idle(options)).event('slow', unordered(), slow.policy).event('say', ({ now }, next) => (now > 0 ? next() : undefined)))
    const { send } = await enter()
    clock.advance(1_000)
    const first = send('slow')
    clock.advance(3_000)
    expect(await send()).toEqual(admitted())
    slow.waiting[0]!.agree()
    expect(await first).toEqual(admitted())
    clock.advance(9_999)
    expect(ends()).toEqual([])
    clock.advance(1)
    expect(ends()).toHaveLength(1)
  })

  test('that is still being decided does not hold the end up', async () => {
    const slow = slowly()
    const { clock, enter, ends } = probing([idle(options), slow.policy])
    const { send } = await enter()
    clock.advance(AFTER - 1)
    const sent = send()
    clock.advance(1)
    expect(ends()).toHaveLength(1)
    slow.waiting[0]!.agree()
    await sent
    clock.advance(10 * AFTER)
    expect(ends()).toHaveLength(1)
  })

  test('counts where a policy has answered it', async () => {
    const { clock, enter, ends } = probing([idle(options), { name: 'answers', event: (ctx) => ctx.reply('pong') }])
    const { send } = await enter()
    clock.advance(AFTER - 1)
    expect(await send()).toEqual(replied('pong'))
    clock.advance(AFTER - 1)
    expect(ends()).toEqual([])
  })

  test('of another peer does not count, nor of the same client in another namespace', async () => {
    const { clock, enter, ends } = probing((gate) => {
      gate.use(idle(options))
      for (const name of ['/', '/chat']) gate.of(name, {}, { undeclared: 'allow' })
    })
    const [one, two, chat] = [await enter(), await enter(), await enter({ namespace: '/chat' })]
    clock.advance(AFTER - 1)
    expect(await chat.send()).toEqual(admitted())
    expect(await two.send()).toEqual(admitted())
    clock.advance(1)
    expect(ends()).toMatchObject([{ namespace: '/' }])
    expect([await one.send(), await two.send(), await chat.send()]).toEqual([denied('IDLE_TIMEOUT'), admitted(), admitted()])
  })

  test('that a predicate leaves out does not count', async () => {
    const { clock, enter, ends } = probing(when((ctx) => ctx.stage !== 'event' || ctx.event !== 'heartbeat', idle(options)))
    const { send } = await enter()
    for (let i = 0; i < 9; i++) {
      clock.advance(1_000)
      expect(await send('heartbeat')).toEqual(admitted())
    }
    clock.advance(1_000)
    expect(ends()).toMatchObject([{ code: 'IDLE_TIMEOUT' }])
  })
})

test('what the server does is no activity: rooms, deliveries, replies, requests', async () => {
  const { clock, probe, enter, ends } = probing()
  const { peer } = await enter()
  for (let i = 0; i < 10; i++) {
    clock.advance(999)
    await probe.request()
    await probe.join('room', { peer })
    for (const cause of ['live', 'recover'] as const) await probe.deliver('news', 'x', { peer, cause })
    await probe.broadcast('news', 'x', [peer])
  }
  expect(ends()).toEqual([])
  clock.advance(10)
  expect(ends()).toHaveLength(1)
})

describe('a decision about a peer that is here', () => {
  test.each(['refresh', 'reauthorize'] as const)('begins nothing: %s', async (cause) => {
    const { clock, probe } = probing()
    expect(await probe.connect({ cause })).toEqual(admitted())
    expect(clock.timers()).toBe(0)
  })

  test('that is a recovery begins anew', async () => {
    const { clock, enter, ends } = probing()
    await enter({ cause: 'recover' })
    clock.advance(AFTER)
    expect(ends()).toHaveLength(1)
  })
})

describe('a late timer', () => {
  test('lets nobody go on: the event is refused, and the peer closed', async () => {
    const { clock, enter, ends, faults } = probing()
    const { send } = await enter()
    clock.advance(1_000)
    await send()
    clock.set(AFTER - 1)
    expect(await send()).toEqual(admitted())
    clock.set(AFTER)
    expect(await send()).toEqual(denied('IDLE_TIMEOUT'))
    expect(ends()).toMatchObject([{ code: 'IDLE_TIMEOUT', policy: 'idle' }])
    expect(await send()).toEqual(denied('IDLE_TIMEOUT'))
    clock.advance(AFTER)
    expect([ends().length, faults(), clock.timers()]).toEqual([1, [], 0])
  })

  test('of a clock that was set back makes no silence longer than the time from then on', async () => {
    const { clock, enter, ends } = probing()
    const { send } = await enter()
    clock.set(3_600_000)
    expect(await send()).toEqual(denied('IDLE_TIMEOUT'))

    const other = await enter()
    clock.advance(5_000)
    await other.send()
    clock.set(-3_600_000)
    clock.advance(3_600_000 + 5_000 + AFTER)
    expect(ends()).toHaveLength(2)
  })

  test('of a clock that was ahead for a moment does not keep its peer for as long', async () => {
    const { clock, enter, ends } = probing()
    const { send } = await enter()
    for (let i = 0; i < 5; i++) {
      clock.set(AFTER - 1)
      expect(await send()).toEqual(admitted())
    }
    clock.set(5 * (1 - AFTER))
    clock.advance(AFTER)
    expect(ends()).toEqual([])
    clock.advance(AFTER)
    expect(ends()).toHaveLength(1)
  })
})

describe('only observed', () => {
  test.each([
    ['a gate in observe mode', idle(options), { mode: 'observe' }],
    ['an observed policy', observed(idle(options)), {}],
  ] as const)('a peer stays, and is reported once: %s', async (_words, policy, more) => {
    const { clock, enter, ends } = probing(policy, more)
    const { send } = await enter()
    clock.advance(5_000)
    await send()
    clock.advance(AFTER - 1)
    expect(ends()).toEqual([])
    clock.advance(1)
    expect(ends()).toMatchObject([{ code: 'IDLE_TIMEOUT', policy: 'idle', enforced: false }])
    expect(await send()).toEqual(admitted())
    clock.advance(10 * AFTER)
    expect(await send()).toEqual(admitted())
    expect([ends().length, clock.timers()]).toEqual([1, 0])
  })

  test('an event after a late timer is admitted', async () => {
    const { clock, probe, enter, ends } = probing(observed(idle(options)))
    const { send } = await enter()
    clock.set(AFTER)
    const late = [await send(), await send()]
    expect(late).toEqual([admitted(), admitted()])
    for (const event of late) event.settle()
    for (let i = 0; i < 3; i++) expect(await send()).toEqual(admitted())
    clock.advance(10 * AFTER)
    expect(ends()).toMatchObject([{ enforced: false }])
    expect(clock.timers()).toBe(0)
    expect(probe.decisions.filter(({ stage, outcome }) => stage === 'event' && outcome === 'denied')).toMatchObject(late.map(() => ({ code: 'IDLE_TIMEOUT', enforced: false })))
  })
})

describe('several', () => {
  test('the shortest closes', async () => {
    const { clock, enter, ends } = probing([idle({ afterMs: 30_000 }), idle({ afterMs: 10_000 }), idle({ afterMs: 20_000 })])
    await enter()
    clock.advance(10_000)
    expect(ends()).toHaveLength(1)
    clock.advance(60_000)
    expect([ends().length, clock.timers()]).toEqual([1, 0])
  })

  test('one policy that stands twice is one', async () => {
    const twice = idle(options)
    const { clock, enter, ends } = probing((gate) => {
      gate.use(twice)
      gate.of('/', {}, { undeclared: 'allow' }).use(twice)
    })
    const { send } = await enter()
    clock.advance(AFTER - 1)
    expect(await send()).toEqual(admitted())
    clock.advance(AFTER - 1)
    expect(ends()).toEqual([])
    clock.advance(1)
    expect([ends().length, clock.timers()]).toEqual([1, 0])
  })
})

describe('options', () => {
  test.each([
    [undefined, 'idle takes options such as { afterMs: 900_000 }; got undefined.'],
    [null, 'idle takes options such as'],
    [900_000, 'idle takes options such as { afterMs: 900_000 }; got number 900000.'],
    [[], 'idle takes options such as'],
    [{}, 'idle: afterMs is a number of milliseconds from 1 to 2147483647; got undefined.'],
    ...[0, -1, 0.5, NaN, Infinity, 2_147_483_648, '900000', null, 1n, {}].map((afterMs) => [{ afterMs }, 'idle: afterMs is a number of milliseconds from 1 to 2147483647'] as const),
    [{ afterMs: 1_000, reconnect: 'later' }, "idle: reconnect is 'never', 'now' or 'after-credential'; got string later."],
    [{ afterMs: 1_000, reconnect: null }, "idle: reconnect is 'never', 'now' or 'after-credential'"],
    [{ afterMs: 1_000, reconnect: true }, "idle: reconnect is 'never', 'now' or 'after-credential'"],
    [{ afterMs: 1_000, reconnect: ['now'] }, "idle: reconnect is 'never', 'now' or 'after-credential'"],
    [{ afterMS: 1_000 }, 'idle: unknown option "afterMS". The options are afterMs, reconnect.'],
    [{ afterMs: 1_000, maxMs: 1 }, 'idle: unknown option "maxMs"'],
  ])('%p is a mistake', (given, message) => {
    expect(() => idle(given as never)).toThrow(ConfigError)
    expect(() => idle(given as never)).toThrow(message)
  })

  test.each([{ afterMs: 1 }, { afterMs: 2_147_483_647 }, { afterMs: 1_000, reconnect: undefined }, { afterMs: 1_000, reconnect: 'now' }])('%p is none', (given) => {
    expect(() => idle(given as never)).not.toThrow()
  })

  test('it has hooks where clients come and where they send, and nowhere else', () => {
    expect(Object.keys(idle(options)).sort()).toEqual(['connect', 'event', 'name'])
  })
})
