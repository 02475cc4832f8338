import { describe, expect, test } from '@jest/globals'
import { contract } from '../../lib/contract.ts'
import { ConfigError, deny } from '../../lib/errors.ts'
import type { Gate } from '../../lib/gate.ts'
import { admitted, denied, faulted, harness, testClock } from '../../lib/testing.ts'
import { z } from 'zod'

/** Notes that it was asked, and goes on. */
function tracer() {
  const seen: string[] = []
  const at =
    (name: string) =>
    (_ctx: unknown, next: () => any): any => {
      seen.push(name)
      return next()
    }
  return { seen, at, policy: (name: string, ...stages: string[]) => ({ name, ...Object.fromEntries(stages.map((stage) => [stage, at(name)])) }) as { name: string; event: any } }
}

describe('the order inside an event', () => {
  test('is: use of the gate, use of the namespace, the contract, the items in order of declaration', async () => {
    const { seen, at, policy } = tracer()
    const schema = z.string().transform((text) => {
      seen.push('contract')
      return text
    })
    const probe = harness(
      (gate) => {
        gate.event('say', at('item of the gate, first'))
        const chat = gate.of('/chat', contract({ events: { say: { data: schema } } }))
        chat.event('say', at('item of the namespace'), at('item beside it'))
        chat.use(policy('use of the namespace', 'event'))
        gate.use(policy('use of the gate', 'event'))
        gate.event('s*', at('item of the gate, last'))
      },
      { namespace: '/chat' },
    )
    expect(await probe.event('say', 'hi')).toEqual(admitted())
    expect(seen).toEqual(['use of the gate', 'use of the namespace', 'contract', 'item of the gate, first', 'item of the namespace', 'item beside it', 'item of the gate, last'])
  })

  test('begins with the structural limits, before any hook', async () => {
    const { seen, policy } = tracer()
    const probe = harness(policy('watch', 'event'), { limits: { maxDepth: 2 } })
    expect(await probe.event('x', [[[[]]]])).toEqual(denied('PAYLOAD_TOO_LARGE', { limit: 'maxDepth' }))
    expect(await probe.event('x', JSON.parse('{"__proto__":1}'))).toEqual(denied('INVALID_PAYLOAD', { limit: 'prototype' }))
    expect(seen).toEqual([])
  })

  test('asks nobody about an event that nobody declared', async () => {
    const { seen, policy } = tracer()
    const probe = harness((gate) => gate.use(policy('watch', 'event')).event('known'))
    expect(await probe.event('unknown')).toEqual(denied('UNKNOWN_EVENT'))
    expect(seen).toEqual([])
  })
})

describe('matching', () => {
  test('runs every declaration that matches, and any refusal refuses', async () => {
    const { seen, at } = tracer()
    const probe = harness((gate) =>
      gate
        .event('doc:*', at('prefix'))
        .event('doc:edit', at('exact'), () => deny('FORBIDDEN'))
        .event('*', at('all')),
    )
    expect(await probe.event('doc:read')).toEqual(admitted())
    expect(seen).toEqual(['prefix', 'all'])
    expect(await probe.event('doc:edit')).toEqual(denied('FORBIDDEN'))
    expect(seen).toEqual(['prefix', 'all', 'prefix', 'exact'])
  })

  test('never takes in names of Socket.IO or of the gate', async () => {
    const probe = harness((gate) => gate.event('*'))
    for (const name of ['connect', 'disconnect', 'disconnecting', 'newListener', 'removeListener', 'connect_error', 'gate:denied', 'gate:closing', 'error']) {
      expect(await probe.event(name)).toEqual(denied('UNKNOWN_EVENT'))
    }
  })

  test('of a reserved name is refused where everything undeclared is allowed, too', async () => {
    const probe = harness({ name: 'p', event: (_ctx, next) => next() })
    expect(await probe.event('disconnect')).toEqual(denied('UNKNOWN_EVENT'))
    expect(await probe.event('gate:denied')).toEqual(denied('UNKNOWN_EVENT'))
    expect(await probe.event('anything else')).toEqual(admitted())
  })

  test('of names from clients keeps a bounded memory', async () => {
    const probe = harness((gate) => gate.event('*', (ctx, next) => (ctx.event.endsWith('7') ? deny('FORBIDDEN') : next())))
    for (let i = 0; i < 2_500; i++) expect((await probe.event(`name-${i}`)).outcome).toBe(i % 10 === 7 ? 'denied' : 'admitted')
    expect(await probe.event('x'.repeat(10_000))).toEqual(admitted())
  })

  test('of a room runs the hooks of use, then each pattern that matches, each with its own holes', async () => {
    const seen: unknown[] = []
    const probe = harness((gate) =>
      gate
        .use({ name: 'any', join: (ctx, next) => (seen.push(['any', { ...ctx.params }]), next()) })
        .join('doc:{id}', (ctx, next) => (seen.push(['by id', { ...ctx.params }]), next()))
        .join('doc:{name...}', (ctx, next) => (seen.push(['by name', { ...ctx.params }]), next())),
    )
    expect(await probe.join('doc:7')).toEqual(admitted())
    expect(seen).toEqual([
      ['any', {}],
      ['by id', { id: '7' }],
      ['by name', { name: '7' }],
    ])
    expect(await probe.join('lobby')).toEqual(denied('UNKNOWN_ROOM'))
  })
})

describe('namespaces', () => {
  const declare = (gate: Gate): void => {
    gate.event('everywhere')
    gate.of('/chat').event('in chat')
    gate.of(/^\/team-/).event('in teams')
  }

  test('have what was declared on the gate, and what was declared for them', async () => {
    const probe = harness(declare)
    const at = (namespace: string, name: string) => probe.event(name, undefined, { namespace })
    expect(await at('/chat', 'everywhere')).toEqual(admitted())
    expect(await at('/chat', 'in chat')).toEqual(admitted())
    expect(await at('/chat', 'in teams')).toEqual(denied('UNKNOWN_EVENT'))
    expect(await at('/team-7', 'in teams')).toEqual(admitted())
  })

  test('that no declaration covers cannot be entered', async () => {
    const probe = harness(declare)
    expect(await probe.connect({ namespace: '/chat' })).toEqual(admitted())
    expect(await probe.connect({ namespace: '/team-x' })).toEqual(admitted())
    expect(await probe.connect({ namespace: '/other' })).toEqual(denied('UNKNOWN_NAMESPACE'))
    expect(await harness(declare, { undeclared: { namespaces: 'allow' } }).connect({ namespace: '/other' })).toEqual(admitted())
  })

  test('the main one is covered by what is declared on the gate itself', async () => {
    const pass = (_ctx: unknown, next: () => any): any => next()
    expect(await harness((gate) => gate.connect(pass)).connect()).toEqual(admitted())
    expect(await harness((gate) => gate.event('x')).connect()).toEqual(admitted())
    expect(await harness((gate) => gate.join('r')).connect()).toEqual(admitted())
    expect(await harness((gate) => gate.deliver('x')).connect()).toEqual(admitted())
    expect(await harness((gate) => gate.of('/')).connect()).toEqual(admitted())
    expect(await harness((gate) => gate.use({ name: 'enter', connect: pass })).connect()).toEqual(admitted())
    expect(await harness((gate) => gate.use({ name: 'send', event: pass })).connect()).toEqual(denied('UNKNOWN_NAMESPACE'))
    expect(await harness(() => {}).connect()).toEqual(denied('UNKNOWN_NAMESPACE'))
  })

  test('may have limits, a mode and an openness of their own', async () => {
    const probe = harness((gate) => {
      gate.of('/small', undefined, { limits: { maxBytes: 3 }, undeclared: { events: 'allow' } })
      gate.of('/watched', undefined, { mode: 'observe' }).event('x', () => deny('FORBIDDEN'))
      gate.of('/open', undefined, { undeclared: 'allow' })
    })
    expect(await probe.event('x', 'four', { namespace: '/small' })).toEqual(denied('PAYLOAD_TOO_LARGE'))
    expect(await probe.join('r', { namespace: '/small' })).toEqual(denied('UNKNOWN_ROOM'))
    expect(await probe.event('x', 'four', { namespace: '/watched' })).toEqual(admitted())
    expect(await probe.event('x', 'four', { namespace: '/open' })).toEqual(admitted())
    expect(await probe.join('r', { namespace: '/open' })).toEqual(admitted())
  })
})

describe('observe mode', () => {
  const refusing = {
    name: 'refusing',
    connect: () => deny('FORBIDDEN'),
    event: (ctx: any) => {
      ctx.data = 'rewritten'
      return deny('FORBIDDEN')
    },
    join: () => deny('FORBIDDEN'),
    deliver: (ctx: any) => {
      ctx.data = 'rewritten'
      return deny('FORBIDDEN')
    },
    request: () => deny('FORBIDDEN'),
  }

  test('decides and reports everything, refuses nothing, rewrites nothing', async () => {
    const probe = harness(refusing, { mode: 'observe', undeclared: 'deny' })
    expect(await probe.request()).toEqual(admitted())
    expect(await probe.connect()).toEqual(admitted())
    expect(await probe.event('x', 'data')).toEqual(admitted({ data: 'data' }))
    expect(await probe.join('r')).toEqual(admitted())
    expect(await probe.deliver('x', 'data')).toEqual(admitted({ data: 'data' }))
    const unenforced = probe.decisions.filter(({ enforced }) => !enforced).map(({ stage, code }) => `${stage} ${code}`)
    expect(unenforced).toEqual([
      'request FORBIDDEN',
      'connect FORBIDDEN',
      'event UNKNOWN_EVENT',
      'event FORBIDDEN',
      'join UNKNOWN_ROOM',
      'join FORBIDDEN',
      'deliver FORBIDDEN',
    ])
  })

  test('reports what the contract would refuse, and hands over what was sent', async () => {
    const probe = harness((gate) => gate.of('/', contract({ events: { n: { data: z.coerce.number() } } })).event('n'), { mode: 'observe' })
    expect(await probe.event('n', '7')).toEqual(admitted({ data: '7' }))
    expect(await probe.event('n', 'x')).toEqual(admitted({ data: 'x' }))
    expect(probe.decisions.filter(({ enforced }) => !enforced)).toMatchObject([{ code: 'INVALID_PAYLOAD', policy: 'contract' }])
  })

  test('still contains what could crash whoever relays it', async () => {
    const probe = harness(refusing, { mode: 'observe' })
    expect(await probe.event('x', JSON.parse('['.repeat(5_000) + ']'.repeat(5_000)))).toEqual(denied('PAYLOAD_TOO_LARGE', { limit: 'maxDepth' }))
    expect(await probe.event('x', 'x'.repeat(2_000_000))).toEqual(admitted())
  })
})

describe('connecting', () => {
  test('collects the facts of each policy, frozen', async () => {
    const probe = harness([
      { name: 'one', connect: (_ctx, next) => next({ principal: 'ada' }) },
      { name: 'two', connect: (ctx, next) => next({ ability: `of ${ctx.peer.principal}` }) },
    ])
    const result = await probe.connect()
    expect(result.facts).toEqual({ principal: 'ada', ability: 'of ada' })
    expect(Object.isFrozen(result.facts)).toBe(true)
  })

  test('refuses a fact that another policy has given already', async () => {
    const gives = (name: string) => ({ name, connect: (_ctx: unknown, next: any) => next({ principal: name }) })
    const result = await harness([gives('one'), gives('two')]).connect()
    expect(result).toEqual(faulted())
    expect(result.policy).toBe('two')
  })

  test('leaves no facts of a refused decision', async () => {
    const probe = harness([{ name: 'gives', connect: (_ctx, next) => next({ principal: 'ada' }) }, { name: 'no', connect: () => deny('FORBIDDEN') }])
    expect((await probe.connect()).facts).toBeUndefined()
  })

  test('limits the size of auth, before any hook', async () => {
    const { seen, policy } = tracer()
    const probe = harness(policy('watch', 'connect'))
    expect(await probe.connect({ auth: { token: 'x'.repeat(16_385) } })).toEqual(denied('PAYLOAD_TOO_LARGE', { limit: 'maxBytes' }))
    expect(await probe.connect({ auth: JSON.parse('{"__proto__":{}}') })).toEqual(denied('INVALID_PAYLOAD'))
    expect(seen).toEqual([])
  })

  test('takes facts at this stage only', async () => {
    expect(await harness({ name: 'p', event: (_ctx, next: any) => next({ principal: 'mallory' }) }).event('x')).toEqual(faulted())
  })
})

describe('deliveries', () => {
  const shared = (name: string, calls: string[]) => ({
    name,
    deliver: {
      audience: (peer: { level?: number }) => peer.level,
      hook: (ctx: { audience: number; data: any }, next: () => undefined) => {
        calls.push(`${name} ${ctx.audience}`)
        if (ctx.audience < 5) deny('FORBIDDEN')
        ctx.data = { ...ctx.data, for: ctx.audience }
        return next()
      },
    },
  })

  test('ask a hook with an audience once for each distinct one', async () => {
    const calls: string[] = []
    const probe = harness(shared('a', calls))
    const results = await probe.broadcast('news', { n: 1 }, [{ level: 9 }, { level: 1 }, { level: 9 }, { level: 5 }, { level: 1 }])
    expect(calls).toEqual(['a 9', 'a 1', 'a 5'])
    expect(results).toEqual([admitted({ data: { n: 1, for: 9 } }), denied('FORBIDDEN'), admitted({ data: { n: 1, for: 9 } }), admitted({ data: { n: 1, for: 5 } }), denied('FORBIDDEN')])
  })

  test('are decided anew for each packet', async () => {
    const calls: string[] = []
    const probe = harness(shared('a', calls))
    await probe.deliver('news', {}, { peer: { level: 9 } })
    await probe.deliver('news', {}, { peer: { level: 9 } })
    expect(calls).toEqual(['a 9', 'a 9'])
  })

  test('ask per recipient where any hook has no audience', async () => {
    const calls: string[] = []
    const each = { name: 'each', deliver: (ctx: { peer: { level: number } }, next: () => undefined) => (calls.push(`each ${ctx.peer.level}`), next()) }
    const probe = harness([shared('a', calls), each])
    await probe.broadcast('news', {}, [{ level: 9 }, { level: 9 }])
    expect(calls).toEqual(['a 9', 'each 9', 'a 9', 'each 9'])
  })

  test('are refused as undeclared where deliveries are', async () => {
    const probe = harness((gate) => gate.deliver('news*'), { undeclared: { deliveries: 'deny' } })
    expect(await probe.deliver('newsletter', 1)).toEqual(admitted())
    expect(await probe.deliver('other', 1)).toEqual(denied('UNKNOWN_EVENT'))
  })

  test('by an asynchronous hook are a fault, and reach nobody', async () => {
    const result = await harness({ name: 'slow', deliver: (async (_ctx: unknown, next: () => void) => next()) as never }).deliver('x', 1)
    expect(result).toEqual(faulted('INTERNAL'))
  })

  test('leave what other recipients share as it is', async () => {
    const packet = { text: 'hi' }
    const probe = harness({ name: 'tag', deliver: (ctx: any, next) => ((ctx.data = { ...ctx.data, tag: ctx.peer.tag }), next()) })
    const results = await probe.broadcast('x', packet, [{ tag: 1 }, { tag: 2 }])
    expect(results.map(({ data }) => data)).toEqual([
      { text: 'hi', tag: 1 },
      { text: 'hi', tag: 2 },
    ])
    expect(packet).toEqual({ text: 'hi' })
  })
})

describe('replies', () => {
  test('are asked by the reply items of that event, and by no delivery', async () => {
    const probe = harness((gate) =>
      gate
        .event('ask')
        .reply('ask', (ctx, next) => ((ctx.data = `${ctx.data}!`), next()))
        .deliver('ask', () => deny('FORBIDDEN')),
    )
    const result = await probe.event('ask', 'x', { ack: true })
    expect(await result.ack('yes')).toEqual(['yes!'])
  })

  test('that are refused tell the client so', async () => {
    const probe = harness((gate) => gate.event('ask').reply('ask', () => deny('FORBIDDEN')))
    const result = await probe.event('ask', 'x', { ack: true })
    expect(await result.ack('secret')).toEqual([{ error: expect.objectContaining({ code: 'FORBIDDEN' }) }])
  })
})

describe('a decision past its deadline', () => {
  test('is refused with DEADLINE_EXCEEDED', async () => {
    const clock = testClock()
    const probe = harness({ name: 'hangs', event: () => new Promise(() => {}) }, { clock, deadlineMs: 100 })
    const decision = probe.event('x')
    clock.advance(100)
    expect(await decision).toEqual(faulted('DEADLINE_EXCEEDED'))
    expect(probe.decisions).toMatchObject([{ outcome: 'fault', policy: 'hangs', code: 'DEADLINE_EXCEEDED' }])
  })
})

test('a bad limit of a namespace is refused when it is declared', () => {
  expect(() => harness((gate) => gate.of('/', undefined, { limits: { maxKeys: -1 } }))).toThrow(ConfigError)
})
