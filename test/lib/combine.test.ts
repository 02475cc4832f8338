import { describe, expect, test } from '@jest/globals'
import { every, observed, permit, some, unordered, when } from '../../lib/combine.ts'
import { ConfigError, deny } from '../../lib/errors.ts'
import { admitted, denied, faulted, harness } from '../../lib/testing.ts'
import type { Hook } from '../../lib/policy.ts'

type Event = Hook<any>
const policy = (name: string, event: Event) => ({ name, event })
const yes = (name = 'yes') => policy(name, (_ctx, next) => next())
const no = (name = 'no') => policy(name, () => deny('FORBIDDEN', { by: name }))
const later = (name: string, decide: Event) =>
  policy(name, async (ctx, next) => {
    await Promise.resolve()
    await decide(ctx, next)
  })
const yesLater = (name = 'yes later') => later(name, (_ctx, next) => next())
const noLater = (name = 'no later') => later(name, () => deny('FORBIDDEN', { by: name }))
const broken = policy('broken', () => {
  throw new Error('a bug')
})
const brokenLater = later('broken', () => {
  throw new Error('a bug')
})
const silent = policy('silent', () => {})
const greedy = policy('greedy', (_ctx, next) => {
  void next()
  void next()
})

/** Counts how often the chain goes on to what stands below. */
function below() {
  const count = { runs: 0 }
  const after = policy('below', (_ctx, next) => {
    count.runs++
    return next()
  })
  return Object.assign(count, { after })
}

const ask = (...policies: { name: string }[]) => harness(policies).event('x', 'data')

describe('every', () => {
  test('agrees when all agree, and goes on once', async () => {
    const count = below()
    expect(await ask(every(yes(), yes('other')), count.after)).toEqual(admitted({ sync: true }))
    expect(count.runs).toBe(1)
  })

  test('refuses when one refuses', async () => {
    const count = below()
    expect(await ask(every(yes(), no(), yes()), count.after)).toEqual(denied('FORBIDDEN', { by: 'no' }))
    expect(await ask(every(yes(), yesLater(), noLater()), count.after)).toEqual(denied('FORBIDDEN', { by: 'no later' }))
    expect(count.runs).toBe(0)
  })

  test('refuses the whole when one is at fault', async () => {
    for (const bad of [broken, brokenLater, silent, greedy]) expect(await ask(every(yes(), bad))).toEqual(faulted('INTERNAL'))
  })

  test('has the stages of its parts together, each hook at its own', async () => {
    const preset = every(permit('a', 'event', ({ event }) => event === 'x'), permit('b', 'join', ({ room }) => room === 'r'))
    const probe = harness(preset)
    expect(await probe.event('x')).toEqual(admitted())
    expect(await probe.event('y')).toEqual(denied('FORBIDDEN'))
    expect(await probe.join('r')).toEqual(admitted())
    expect(await probe.join('s')).toEqual(denied('FORBIDDEN'))
    expect(await probe.connect()).toEqual(admitted())
    expect(Object.keys(preset).sort()).toEqual(['event', 'join', 'name'])
  })

  test('is named after its parts, and so is a refusal', async () => {
    expect(every(yes('a'), yes('b')).name).toBe('every(a, b)')
    expect((await ask(every(yes('a'), no('b')))).policy).toBe('every(a, b)')
  })

  test('runs from the outside in and back out', async () => {
    const order: string[] = []
    const trace = (name: string) =>
      policy(name, async (_ctx, next) => {
        order.push(`${name} in`)
        await next()
        order.push(`${name} out`)
      })
    await ask(every(trace('a'), trace('b')), trace('c'))
    expect(order).toEqual(['a in', 'b in', 'c in', 'c out', 'b out', 'a out'])
  })

  test('tells each observer among its parts', async () => {
    const told: string[] = []
    const watch = (name: string) => ({ ...yes(name), observe: () => void told.push(name) })
    await ask(every(watch('a'), watch('b')))
    expect(told).toEqual(['a', 'b'])
  })

  test('keeps an observed part observed', async () => {
    const probe = harness(every(observed(no()), yes()))
    expect(await probe.event('x')).toEqual(admitted())
    expect(probe.decisions).toMatchObject([{ outcome: 'denied', policy: 'no', enforced: false }, { outcome: 'admitted' }])
  })
})

describe('some', () => {
  test('agrees with the first that agrees, and goes on once', async () => {
    const count = below()
    expect(await ask(some(no(), yes(), policy('not asked', () => count.runs++ as never)), count.after)).toEqual(admitted())
    expect(count.runs).toBe(1)
  })

  test('may choose asynchronously', async () => {
    const count = below()
    expect(await ask(some(noLater(), no(), yesLater()), count.after)).toEqual(admitted({ sync: false }))
    expect(count.runs).toBe(1)
  })

  test('refuses with the first refusal when all refuse', async () => {
    expect(await ask(some(no('a'), noLater('b')))).toEqual(denied('FORBIDDEN', { by: 'a' }))
    expect(await ask(some(noLater('a'), no('b')))).toEqual(denied('FORBIDDEN', { by: 'a' }))
  })

  test('refuses the whole when a branch is at fault, though another would agree', async () => {
    const count = below()
    for (const bad of [broken, brokenLater, silent, greedy]) expect(await ask(some(bad, yes()), count.after)).toEqual(faulted('INTERNAL'))
    expect(count.runs).toBe(0)
  })

  test('does not try another branch when what stands below refuses', async () => {
    let asked = 0
    const second = policy('second', (_ctx, next) => (asked++, next()))
    expect(await ask(some(yes(), second), no('below'))).toEqual(denied('FORBIDDEN', { by: 'below' }))
    expect(await ask(some(yesLater(), second), noLater('below'))).toEqual(denied('FORBIDDEN', { by: 'below' }))
    expect(asked).toBe(0)
  })

  test('leaves nothing of a branch that was not chosen', async () => {
    const writes = policy('writes', (ctx) => {
      ctx.data = 'spoilt'
      return deny('FORBIDDEN')
    })
    expect(await ask(some(writes, yes()))).toEqual(admitted({ data: 'data' }))
    const keeps = policy('keeps', (ctx, next) => {
      ctx.data = 'kept'
      return next()
    })
    expect(await ask(some(no(), keeps))).toEqual(admitted({ data: 'kept' }))
    const replies = policy('replies', (ctx) => {
      ctx.reply('too early')
      return deny('FORBIDDEN')
    })
    expect(await ask(some(replies, yes()))).toEqual(admitted())
    expect(await ask(some(replies, silent))).toEqual(faulted())
  })

  test('needs parts of the same stages, or there would be no choice', () => {
    const joins = permit('joins', 'join', () => true)
    expect(() => some(yes('sends'), joins)).toThrow(ConfigError)
    expect(() => some(yes('sends'), joins)).toThrow(/policy "joins" has no event hook and "sends" has one/)
  })

  test('chooses at the deliver stage too, by audience or not', async () => {
    const reads = (level: number) => ({
      name: `level ${level}`,
      deliver: { audience: (peer: { level: number }) => peer.level, hook: (ctx: { audience: number }, next: () => undefined) => (ctx.audience >= level ? next() : deny('FORBIDDEN')) },
    })
    const probe = harness(some(reads(9), reads(5)))
    expect(await probe.deliver('x', 1, { peer: { level: 5 } })).toEqual(admitted())
    expect(await probe.deliver('x', 1, { peer: { level: 4 } })).toEqual(denied('FORBIDDEN'))
  })
})

describe('when', () => {
  test('asks the policy where the predicate is true, and goes on elsewhere', async () => {
    const probe = harness(when(({ event }) => event === 'x', no()))
    expect(await probe.event('x')).toEqual(denied('FORBIDDEN'))
    expect(await probe.event('y')).toEqual(admitted())
  })

  test.each<[string, unknown]>([
    ['a promise', Promise.resolve(false)],
    ['a truthy object', {}],
    ['1', 1],
    ['text', 'yes'],
    ['undefined', undefined],
    ['null', null],
  ])('is at fault where the predicate answers %s', async (_what, answer) => {
    expect(await ask(when(() => answer as boolean, yes()))).toEqual(faulted())
  })

  test('is at fault where the predicate throws', async () => {
    expect(
      await ask(
        when(() => {
          throw new Error('a bug')
        }, yes()),
      ),
    ).toEqual(faulted())
  })

  test('refuses the whole when the policy is at fault', async () => {
    for (const bad of [broken, brokenLater, silent, greedy]) expect(await ask(when(() => true, bad))).toEqual(faulted())
  })

  test('needs a predicate', () => {
    expect(() => when('yes' as never, yes())).toThrow(ConfigError)
  })
})

describe('permit', () => {
  test('goes on where the predicate is true, and refuses elsewhere', async () => {
    const probe = harness(permit('short', 'event', ({ event }) => event.length === 1))
    expect(await probe.event('x')).toEqual(admitted({ sync: true }))
    const refused = await probe.event('xyz')
    expect(refused).toEqual(denied('FORBIDDEN'))
    expect(refused.policy).toBe('short')
  })

  test('may answer later', async () => {
    const probe = harness(permit('short', 'event', async ({ event }) => event.length === 1))
    expect(await probe.event('x')).toEqual(admitted({ sync: false }))
    expect(await probe.event('xyz')).toEqual(denied('FORBIDDEN'))
  })

  test.each<[string, unknown]>([
    ['a truthy object', {}],
    ['a promise of a truthy object', Promise.resolve({})],
    ['1', 1],
    ['nothing', undefined],
    ['a thenable that is no promise', { then: () => {} }],
  ])('is at fault where the predicate answers %s', async (_what, answer) => {
    expect(await ask(permit('p', 'event', () => answer as boolean))).toEqual(faulted())
  })

  test('stands at any stage', async () => {
    for (const stage of ['request', 'connect', 'event', 'join', 'deliver'] as const) {
      const rule = permit('rule', stage, () => false)
      expect(Object.keys(rule)).toEqual(['name', stage])
      const probe = harness(rule)
      const results = { request: await probe.request(), connect: await probe.connect(), event: await probe.event('x'), join: await probe.join('r'), deliver: await probe.deliver('x') }
      for (const [where, result] of Object.entries(results)) expect(result).toEqual(where === stage ? denied('FORBIDDEN') : admitted())
    }
  })

  test('at deliver is a fault where it answers with a promise', async () => {
    expect(await harness(permit('p', 'deliver', (async () => true) as never)).deliver('x')).toEqual(faulted())
  })

  test('is refused without a stage, a name or a predicate', () => {
    expect(() => permit('p', 'emit' as never, (() => true) as never)).toThrow(/"emit" is not a stage\. The stages are request, connect, event, join, deliver/)
    expect(() => permit('', 'event', () => true)).toThrow(ConfigError)
    expect(() => permit('p', 'event', 'yes' as never)).toThrow(ConfigError)
  })
})

describe('observed', () => {
  test('is decided and reported, and refuses nothing', async () => {
    const probe = harness([observed(no()), yes()])
    expect(await probe.event('x')).toEqual(admitted())
    expect(probe.decisions).toMatchObject([
      { outcome: 'denied', policy: 'no', enforced: false },
      { outcome: 'admitted', enforced: true },
    ])
  })

  test('rewrites nothing', async () => {
    const rewrites = policy('rewrites', (ctx, next) => {
      ctx.data = 'other'
      ctx.args.push('more')
      return next()
    })
    expect(await ask(observed(rewrites))).toEqual(admitted({ args: ['data'] }))
  })

  test('leaves the policy it was given as it is', async () => {
    const rule = no()
    observed(rule)
    expect(await ask(rule)).toEqual(denied('FORBIDDEN'))
  })

  test('takes a policy', () => {
    expect(() => observed((() => {}) as never)).toThrow(ConfigError)
  })

  test('hears of the fate of what it watched', async () => {
    const fates: string[] = []
    const watching = policy('watching', (ctx, next) => {
      ctx.onSettled(({ outcome }: { outcome: string }) => void fates.push(outcome))
      return next()
    })
    const result = await ask(observed(watching))
    expect(fates).toEqual([])
    result.settle()
    expect(fates).toEqual(['handled'])
  })

  test('knows the decision by the same id and time', async () => {
    const seen: unknown[] = []
    const looks = (name: string) => policy(name, (ctx, next) => (seen.push([ctx.id, ctx.now]), next()))
    await ask(observed(looks('a')), looks('b'))
    expect(seen[0]).toEqual(seen[1])
  })

  test('answers for nobody: a reply it would give is not given', async () => {
    const replies = policy('replies', (ctx) => void ctx.reply('here'))
    expect(await ask(observed(replies))).toEqual(admitted())
  })
})

describe('unordered', () => {
  test('takes its event out of the lane, and no other', async () => {
    let release!: () => void
    const gate = new Promise<void>((resolve) => (release = resolve))
    const slow: Event = async (_ctx, next) => {
      await gate
      await next()
    }
    const finished: string[] = []
    const probe = harness((under) => under.event('slow', slow).event('typing', unordered(), yes()).event('say', yes()))
    const note = (name: string) => probe.event(name).then(() => void finished.push(name))
    const all = [note('slow'), note('say'), note('typing')]
    await all[2]
    expect(finished).toEqual(['typing'])
    release()
    await Promise.all(all)
    expect(finished).toEqual(['typing', 'slow', 'say'])
  })

  test('asks nothing itself', async () => {
    const probe = harness((under) => under.event('typing', unordered(), no()))
    expect(await probe.event('typing')).toEqual(denied('FORBIDDEN'))
  })
})

test.each([
  ['every', () => every()],
  ['some', () => some()],
  ['every', () => every('p' as never)],
  ['some', () => some({ name: 'p', evnt: () => {} } as never)],
  ['when', () => when(() => true, undefined as never)],
])('%s refuses what is no policy', (name, combine) => {
  expect(combine).toThrow(ConfigError)
  expect(combine).toThrow(new RegExp(`^${name}`))
})
