import { beforeAll, describe, expect, test } from '@jest/globals'
import { ConfigError, deny, every, memoryStore, permit } from 'portcullis'
import { admitted, denied, faulted, harness, matchers, replied, testClock } from 'portcullis/testing'
import type { GateMatchers, Result } from 'portcullis/testing'

expect.extend(matchers)
declare module 'expect' {
  interface Matchers<R> extends GateMatchers<R> {}
}

const open = { name: 'open', event: (_ctx: unknown, next: () => any): any => next() }
const shut = { name: 'shut', event: () => deny('RATE_LIMITED', { retryAfterMs: 334, limit: 3 }) }
const broken = {
  name: 'broken',
  event: () => {
    throw new Error('a bug')
  },
}

describe('a probe', () => {
  test('asks one policy, or several in their order', async () => {
    expect(await harness(open).event('x')).toEqual(admitted())
    expect(await harness([open, shut]).event('x')).toEqual(denied('RATE_LIMITED'))
  })

  test('lets through what the policies do not own: they meet every name', async () => {
    const probe = harness(open)
    expect(await probe.request()).toEqual(admitted())
    expect(await probe.connect({ namespace: '/any' })).toEqual(admitted())
    expect(await probe.join('any room')).toEqual(admitted())
    expect(await probe.deliver('any', 1)).toEqual(admitted({ data: 1 }))
  })

  test('holds declarations to what they declare', async () => {
    const probe = harness((gate) => gate.event('known'))
    expect(await probe.event('known')).toEqual(admitted())
    expect(await probe.event('unknown')).toEqual(denied('UNKNOWN_EVENT'))
    expect(await probe.join('unknown')).toEqual(denied('UNKNOWN_ROOM'))
  })

  test('takes the options of guard', async () => {
    expect(await harness(shut, { mode: 'observe' }).event('x')).toEqual(admitted())
    expect(await harness(open, { undeclared: 'deny' }).event('x')).toEqual(denied('UNKNOWN_EVENT'))
    expect(await harness(open, { limits: { maxArgs: 1 } }).event('x', undefined, { args: [1, 2] })).toEqual(denied('PAYLOAD_TOO_LARGE'))
  })

  test('fails as a server would where the set-up is wrong', () => {
    expect(() => harness({ name: 'p', evnt: open.event } as never)).toThrow(ConfigError)
    expect(() => harness(open, { deadlineMs: -1 })).toThrow(ConfigError)
    expect(() => harness((gate) => gate.event('a*b'))).toThrow(ConfigError)
  })

  test('has its own clock and store, unless it is given some', async () => {
    const clock = testClock(7)
    const store = memoryStore({ clock })
    const probe = harness(open, { clock, store })
    expect(probe.clock).toBe(clock)
    expect(probe.store).toBe(store)
    expect(harness(open).store).not.toBe(harness(open).store)
  })
})

describe('who is asked about', () => {
  const whoami = { name: 'whoami', event: (ctx: any) => ctx.reply({ peer: ctx.peer, address: ctx.address, socket: ctx.socket.id, namespace: ctx.namespace, agent: ctx.headers['user-agent'] }) }

  test('is what the options say', async () => {
    const probe = harness(whoami, { peer: { principal: { subject: 'ada' } }, address: '198.51.100.7', headers: { 'User-Agent': 'test/1' }, namespace: '/chat', socketId: 's1' })
    expect((await probe.event('x')).value).toEqual({ peer: { principal: { subject: 'ada' } }, address: '198.51.100.7', socket: 's1', namespace: '/chat', agent: 'test/1' })
  })

  test('is what the question says', async () => {
    const probe = harness(whoami)
    expect((await probe.event('x')).value).toEqual({ peer: {}, address: '203.0.113.7', socket: 'probe', namespace: '/', agent: undefined })
    expect((await probe.event('x', undefined, { peer: { a: 1 }, address: '192.0.2.1', socketId: 's2', namespace: '/other' })).value).toMatchObject({ peer: { a: 1 }, address: '192.0.2.1', socket: 's2', namespace: '/other' })
  })

  test('is the same peer and socket each time, for policies that remember them', async () => {
    const seen = new Set<object>()
    const remembers = { name: 'remembers', event: (ctx: any, next: any) => (seen.add(ctx.peer).add(ctx.socket), next()), join: (ctx: any, next: any) => (seen.add(ctx.peer).add(ctx.socket), next()) }
    const probe = harness(remembers)
    const peer = { principal: 'ada' }
    await probe.event('x', 1, { peer })
    await probe.event('y', 1, { peer })
    await probe.join('r', { peer })
    expect(seen.size).toBe(2)
    await probe.event('x', 1, { peer, socketId: 'other' })
    expect(seen.size).toBe(3)
    await probe.event('x', 1, { peer: { ...peer } })
    expect(seen.size).toBe(5)
  })

  test('cannot be changed by a policy, and stays as the test holds it', async () => {
    const peer = { role: 'guest' }
    const climbs = { name: 'climbs', event: (ctx: any, next: any) => ((ctx.peer.role = 'admin'), next()) }
    expect(await harness(climbs).event('x', 1, { peer })).toEqual(faulted())
    expect(peer).toEqual({ role: 'guest' })
    expect(Object.isFrozen(peer)).toBe(false)
  })

  test('is the peer of a connect, where its facts are given', async () => {
    const probe = harness([{ name: 'auth', connect: (ctx, next) => next({ principal: { subject: ctx.handshake.auth['name'] } }) }, whoami])
    const { facts } = await probe.connect({ auth: { name: 'ada' }, address: '192.0.2.9', headers: { 'User-Agent': 'phone' } })
    const { value } = await probe.event('x', undefined, { peer: facts })
    expect(value).toMatchObject({ peer: { principal: { subject: 'ada' } }, address: '192.0.2.9', agent: 'phone' })
    expect((value as any).peer).toBe(facts)
  })
})

describe('a request', () => {
  const shows = (seen: any[]) => ({ name: 'shows', request: (ctx: any, next: any) => (seen.push(ctx), next()) })

  test('is one of Node, with what the question says', async () => {
    const seen: any[] = []
    const probe = harness(shows(seen), { headers: { Host: 'app.example' } })
    await probe.request()
    await probe.request({ method: 'POST', url: '/socket.io/?EIO=4&transport=polling&sid=abc', headers: { Origin: 'https://app.example' }, address: '192.0.2.1', opening: false, upgrade: true, secure: true })
    expect(seen[0]).toMatchObject({ method: 'GET', address: '203.0.113.7', opening: true, upgrade: false, headers: { host: 'app.example' } })
    expect(seen[1]).toMatchObject({ method: 'POST', address: '192.0.2.1', opening: false, upgrade: true, headers: { host: 'app.example', origin: 'https://app.example' } })
    expect(seen[1].request).toMatchObject({ url: '/socket.io/?EIO=4&transport=polling&sid=abc', _query: { sid: 'abc' }, socket: { encrypted: true, remoteAddress: '192.0.2.1' } })
  })

  test('has the address that trustProxy finds', async () => {
    const seen: any[] = []
    await harness(shows(seen), { trustProxy: 1 }).request({ headers: { 'X-Forwarded-For': '1.2.3.4, 198.51.100.7' } })
    expect(seen[0].address).toBe('198.51.100.7')
  })
})

describe('events of one peer', () => {
  const slowly = () => {
    const waiting: (() => void)[] = []
    const started: string[] = []
    return {
      started,
      release: async () => {
        waiting.shift()?.()
        await new Promise((resolve) => setImmediate(resolve))
      },
      policy: {
        name: 'slow',
        event: async (ctx: any, next: any) => {
          started.push(ctx.event)
          await new Promise<void>((resolve) => waiting.push(resolve))
          await next()
        },
      },
    }
  }

  test('keep their order while one is being decided', async () => {
    const { policy, started, release } = slowly()
    const probe = harness(policy)
    const all = Promise.all([probe.event('a'), probe.event('b'), probe.event('c')])
    expect(started).toEqual(['a'])
    await release()
    expect(started).toEqual(['a', 'b'])
    await release()
    await release()
    expect((await all).map(({ outcome, sync }) => [outcome, sync])).toEqual(Array(3).fill(['admitted', false]))
  })

  test('of different peers do not wait for each other', async () => {
    const { policy, started, release } = slowly()
    const probe = harness(policy)
    const all = Promise.all([probe.event('a', 1, { peer: {} }), probe.event('b', 1, { peer: {} })])
    expect(started).toEqual(['a', 'b'])
    await release()
    await release()
    await all
  })

  test('are refused where too many wait', async () => {
    const { policy, release } = slowly()
    const probe = harness(policy, { lane: { maxPending: 1 } })
    const first = probe.event('a')
    const second = probe.event('b')
    expect(await probe.event('c')).toEqual(denied('OVERLOADED'))
    await release()
    await release()
    expect([await first, await second]).toEqual([admitted(), admitted()])
  })
})

describe('a join', () => {
  const byId = permit('by-id', 'join', ({ params }) => (params as { id?: string }).id === '7')

  test('has the holes of the pattern it is asked under', async () => {
    const probe = harness(byId)
    expect(await probe.join('doc:7', { pattern: 'doc:{id}' })).toEqual(admitted())
    expect(await probe.join('doc:8', { pattern: 'doc:{id}' })).toEqual(denied('FORBIDDEN'))
    expect(await probe.join('doc:7')).toEqual(denied('FORBIDDEN'))
  })

  test('under a pattern it does not match is a join of an unknown room, where those are denied', async () => {
    expect(await harness(byId, { undeclared: 'deny' }).join('room:7', { pattern: 'doc:{id}' })).toEqual(denied('UNKNOWN_ROOM'))
  })

  test('takes no pattern where declarations have their own', async () => {
    await expect(harness((gate) => gate.join('doc:{id}', byId)).join('doc:7', { pattern: 'doc:{id}' })).rejects.toThrow(TypeError)
  })

  test('of the own id passes, of another socket’s or of the gate’s does not', async () => {
    const probe = harness(open)
    await probe.event('x', 1, { socketId: 'other' })
    expect(await probe.join('probe')).toEqual(admitted())
    expect(await probe.join('other')).toEqual(denied('FORBIDDEN'))
    expect(await probe.join('gate:nowhere')).toEqual(denied('FORBIDDEN'))
  })

  test('counts the rooms a socket is in', async () => {
    const probe = harness(open, { limits: { maxRooms: 2 } })
    expect(await probe.join('a')).toEqual(admitted())
    expect(await probe.join('b')).toEqual(admitted())
    expect(await probe.join('b')).toEqual(admitted())
    expect(await probe.join('c')).toEqual(denied('FORBIDDEN', { limit: 'maxRooms' }))
    expect(await probe.join('c', { socketId: 'other' })).toEqual(admitted())
  })
})

describe('what is sent', () => {
  test('to a client that is refused is in the form of the stage', async () => {
    const all = every(...(['request', 'connect', 'event', 'join', 'deliver'] as const).map((stage) => permit(`no ${stage}`, stage, () => false)))
    const probe = harness(all as never)
    const refusal = { code: 'FORBIDDEN', message: 'This is not allowed.', id: expect.any(String) }
    expect((await probe.request()).sent).toMatchObject({ status: 403, body: expect.stringContaining('"code":"FORBIDDEN"') })
    expect((await probe.connect()).sent).toEqual({ message: 'FORBIDDEN', data: refusal })
    expect((await probe.event('x', 1, { ack: true })).sent).toEqual([{ error: refusal }])
    expect((await probe.event('x', 1)).sent).toEqual(['gate:denied', { event: 'x', ...refusal }])
    expect((await probe.join('r')).sent).toBeUndefined()
    expect((await probe.deliver('x', 1)).sent).toBeUndefined()
  })

  test('follows the options of the gate', async () => {
    expect((await harness(shut, { refusalEvent: false }).event('x')).sent).toBeUndefined()
    expect((await harness(shut, { ackRefusal: ({ code }) => [null, code] }).event('x', 1, { ack: true })).sent).toEqual([null, 'RATE_LIMITED'])
  })

  test('names a long event by its beginning', async () => {
    const { sent } = await harness(shut).event('x'.repeat(10_000))
    expect((sent as [string, { event: string }])[1].event).toHaveLength(128)
  })
})

describe('a result', () => {
  test('says who refused, with what, and whether it was decided in the same tick', async () => {
    const result = await harness([open, shut]).event('x')
    expect(result).toMatchObject({ outcome: 'denied', code: 'RATE_LIMITED', policy: 'shut', sync: true, refusal: { retryAfterMs: 334, details: { limit: 3 } } })
    expect(result.args).toBeUndefined()
    expect((await harness({ name: 'later', event: async (_ctx, next) => next() }).event('x')).sync).toBe(false)
  })

  test('has an ack only where there is one', async () => {
    await expect((await harness(open).event('x')).ack()).rejects.toThrow(TypeError)
    await expect((await harness(shut).event('x', 1, { ack: true })).ack()).rejects.toThrow(TypeError)
    expect(await (await harness(open).event('x', 1, { ack: true })).ack('a', 'b')).toEqual(['a', 'b'])
  })

  test('may be closed or settled where there is nothing to end', async () => {
    const result = await harness(open).join('r')
    expect(() => {
      result.settle()
      result.close()
    }).not.toThrow()
  })
})

describe('the matchers', () => {
  let ok: Result
  let no: Result
  let bad: Result
  let answer: Result
  beforeAll(async () => {
    ok = await harness(open).event('x', undefined, { args: [{ a: [1, { b: 2 }] }, 'two'] })
    no = await harness(shut).event('x')
    bad = await harness(broken).event('x')
    answer = await harness({ name: 'r', event: (ctx) => ctx.reply({ n: 1 }) }).event('x')
  })

  test('admitted: the outcome, and each part that is named', () => {
    expect(ok).toEqual(admitted())
    expect(ok).toEqual(admitted({ data: { a: [1, { b: 2 }] } }))
    expect(ok).toEqual(admitted({ args: [{ a: expect.any(Array) }, expect.stringMatching(/tw/)], sync: true }))
    for (const other of [admitted({ data: { a: [1] } }), admitted({ data: { a: [1, { b: 2 }], c: 3 } }), admitted({ args: [1] }), admitted({ data: undefined }), denied(), faulted(), replied()]) expect(ok).not.toEqual(other)
  })

  test('denied: the code, and the details that are named, as deny takes them', () => {
    expect(no).toEqual(denied())
    expect(no).toEqual(denied('RATE_LIMITED'))
    expect(no).toEqual(denied('RATE_LIMITED', { retryAfterMs: 334 }))
    expect(no).toEqual(denied('RATE_LIMITED', { limit: 3 }))
    expect(no).toEqual(denied('RATE_LIMITED', { retryAfterMs: expect.any(Number) as never, limit: 3 }))
    for (const other of [denied('FORBIDDEN'), denied('RATE_LIMITED', { retryAfterMs: 1 }), denied('RATE_LIMITED', { limit: 4 }), denied('RATE_LIMITED', { other: 1 }), admitted(), faulted()]) expect(no).not.toEqual(other)
  })

  test('faulted: that a policy broke, which a refusal is not', () => {
    expect(bad).toEqual(faulted())
    expect(bad).toEqual(faulted('INTERNAL'))
    for (const other of [faulted('DEADLINE_EXCEEDED'), denied(), denied('INTERNAL'), admitted()]) expect(bad).not.toEqual(other)
  })

  test('replied: that a hook answered, and with what', () => {
    expect(answer).toEqual(replied())
    expect(answer).toEqual(replied({ n: 1 }))
    for (const other of [replied({ n: 2 }), replied(undefined), admitted(), denied()]) expect(answer).not.toEqual(other)
  })

  test('may stand in any structure', () => {
    expect([ok, { no }]).toEqual([admitted(), { no: denied() }])
  })

  test('match nothing but results', () => {
    for (const other of [undefined, null, {}, { outcome: 'admitted' }, 'admitted']) expect(other).not.toEqual(admitted())
  })

  test('compare dates, buffers and maps by their content', async () => {
    const result = await harness(open).event('x', undefined, { args: [new Date(5), Buffer.from('ab')] })
    expect(result).toEqual(admitted({ args: [new Date(5), Buffer.from('ab')] }))
    expect(result).not.toEqual(admitted({ args: [new Date(6), Buffer.from('ab')] }))
    expect(result).not.toEqual(admitted({ args: [new Date(5), Buffer.from('ac')] }))
  })

  test('say in a failure what was expected and what came', () => {
    expect(() => expect(no).toEqual(admitted({ data: 1 }))).toThrow(/Expected: .*admitted\(\{"data":1\}\)/)
    expect(String(denied('RATE_LIMITED', { retryAfterMs: 334 }))).toBe('denied({"code":"RATE_LIMITED","retryAfterMs":334})')
  })

  test('are there as matchers of their own', () => {
    expect(ok).toBeAdmitted()
    expect(ok).toBeAdmitted({ args: [expect.anything(), 'two'] })
    expect(ok).not.toBeDenied()
    expect(no).toBeDenied('RATE_LIMITED', { limit: 3 })
    expect(no).not.toBeDenied('FORBIDDEN')
    expect(bad).toBeFault('INTERNAL')
    expect(no).not.toBeFault()
    expect(() => expect(no).toBeAdmitted()).toThrow('expected admitted(), got denied({"code":"RATE_LIMITED","policy":"shut","retryAfterMs":334,"details":{"limit":3}})')
    expect(() => expect(no).not.toBeDenied()).toThrow('expected anything but denied()')
    expect(() => expect(7).toBeAdmitted()).toThrow('got number')
  })
})
