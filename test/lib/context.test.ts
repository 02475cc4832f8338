import { AsyncLocalStorage } from 'node:async_hooks'
import { describe, expect, test } from '@jest/globals'
import { deny } from '../../lib/errors.ts'
import type { EventContext } from '../../lib/context.ts'
import { admitted, denied, faulted, harness, replied, testClock } from '../../lib/testing.ts'

const event = (hook: (ctx: EventContext<any>, next: () => any) => any) => ({ name: 'p', event: hook })

describe('every context', () => {
  test('has one time and one id for a decision, shared by its policies', async () => {
    const clock = testClock(5_000)
    const seen: unknown[] = []
    const look = event((ctx, next) => {
      seen.push([ctx.now, ctx.id])
      clock.advance(10)
      return next()
    })
    const result = await harness([look, look, event(() => deny('FORBIDDEN'))], { clock }).event('x')
    expect(seen).toEqual([
      [5_000, result.refusal!.id],
      [5_000, result.refusal!.id],
    ])
  })

  test('has the store of the gate', async () => {
    const counts = event(async (ctx, next) => {
      if ((await ctx.store.add('n', 1, 1_000)) > 2) deny('RATE_LIMITED')
      return next()
    })
    const probe = harness(counts)
    expect([(await probe.event('x')).outcome, (await probe.event('x')).outcome, (await probe.event('x')).outcome]).toEqual(['admitted', 'admitted', 'denied'])
    expect(await probe.store.get('n')).toBe('3')
  })
})

describe('onSettled', () => {
  const watching = (fates: unknown[]) => event((ctx, next) => {
    ctx.onSettled((fate) => fates.push(fate))
    return next()
  })

  test('tells the fate of a refusal', async () => {
    const fates: unknown[] = []
    const result = await harness([watching(fates), event(() => deny('FORBIDDEN'))]).event('x')
    expect(fates).toEqual([{ outcome: 'refused', refusal: result.refusal, error: result.error }])
  })

  test('tells the fate of an answer, of an ack, and of a handler', async () => {
    const fates: unknown[] = []
    const probe = harness([watching(fates), event((ctx, next) => (ctx.event === 'ask' ? ctx.reply('here') : next()))])
    await probe.event('ask', undefined, { ack: true })
    await probe.event('ask')
    await (await probe.event('x', undefined, { ack: true })).ack(1, 2)
    ;(await probe.event('x')).settle()
    ;(await probe.event('x')).settle({ outcome: 'failed', error: 'e' })
    expect(fates).toEqual([
      { outcome: 'replied', value: 'here' },
      { outcome: 'replied', value: 'here' },
      { outcome: 'acked', args: [1, 2] },
      { outcome: 'handled' },
      { outcome: 'failed', error: 'e' },
    ])
  })

  test('is called once, and in the order of asking', async () => {
    const calls: number[] = []
    const result = await harness(event((ctx, next) => {
      ctx.onSettled(() => calls.push(1))
      ctx.onSettled(() => calls.push(2))
      return next()
    })).event('x')
    result.settle()
    result.settle()
    expect(calls).toEqual([1, 2])
  })

  test('that throws is reported, and the next one is told all the same', async () => {
    const fates: unknown[] = []
    const probe = harness([event((ctx, next) => {
      ctx.onSettled(() => {
        throw new Error('a bug')
      })
      return next()
    }), watching(fates)])
    ;(await probe.event('x')).settle()
    expect(fates).toEqual([{ outcome: 'handled' }])
    expect(probe.decisions.at(-1)).toMatchObject({ outcome: 'fault', policy: 'onSettled' })
  })
})

describe('onClose', () => {
  const leases = (log: string[]) => ({ name: 'lease', connect: (ctx: any, next: any) => {
    ctx.onClose(() => log.push('closed'))
    return next()
  } })

  test('is called when the peer is gone', async () => {
    const log: string[] = []
    const result = await harness(leases(log)).connect()
    expect(log).toEqual([])
    result.close()
    result.close()
    expect(log).toEqual(['closed'])
  })

  test('is called when the connect was refused', async () => {
    const log: string[] = []
    expect(await harness([leases(log), { name: 'no', connect: () => deny('FORBIDDEN') }]).connect()).toEqual(denied('FORBIDDEN'))
    expect(log).toEqual(['closed'])
  })

  test('that throws is a reported fault', async () => {
    const probe = harness({ name: 'p', connect: (ctx, next) => {
      ctx.onClose(() => {
        throw new Error('a bug')
      })
      return next()
    } })
    ;(await probe.connect()).close()
    expect(probe.decisions.at(-1)).toMatchObject({ outcome: 'fault', policy: 'onClose' })
  })
})

describe('the context of an event', () => {
  test('lets a hook replace the first argument, or all of them', async () => {
    expect(await harness(event((ctx, next) => ((ctx.data = 1), next()))).event('x', 'a', { args: ['a', 'b'] })).toEqual(admitted({ args: [1, 'b'] }))
    expect(await harness(event((ctx, next) => ((ctx.args = [3]), next()))).event('x')).toEqual(admitted({ args: [3] }))
  })

  test('knows whether the client asked for an ack', async () => {
    const probe = harness(event((ctx, next) => (ctx.wantsAck ? next() : deny('FORBIDDEN'))))
    expect(await probe.event('x', 1, { ack: true })).toEqual(admitted())
    expect(await probe.event('x', 1)).toEqual(denied('FORBIDDEN'))
  })

  test('answers in place of the handler, and never in place of the checks below', async () => {
    const answers = event((ctx) => ctx.reply(ctx.data))
    expect(await harness(answers).event('x', 7)).toEqual(replied(7))
    expect(await harness([answers, event(() => deny('FORBIDDEN'))]).event('x', 7)).toEqual(denied('FORBIDDEN'))
    expect(await harness([answers, event(() => {
      throw new Error('a bug')
    })]).event('x', 7)).toEqual(faulted())
  })

  test('keeps the async context of the innermost hook for the handler', async () => {
    const storage = new AsyncLocalStorage<string>()
    let seen: EventContext | undefined
    await harness([event((_ctx, next) => storage.run('request 7', () => next())), event((ctx, next) => ((seen = ctx), next()))]).event('x')
    expect(seen!.resource!.runInAsyncScope(() => storage.getStore())).toBe('request 7')
  })
})

describe('the context of a connect', () => {
  test('takes objects for facts, and nothing else', async () => {
    for (const facts of [null, 7, 'ada']) expect(await harness({ name: 'p', connect: (_ctx, next) => next(facts) }).connect()).toEqual(faulted())
  })

  test('gives facts an own place: names of Object are only names', async () => {
    const result = await harness({ name: 'p', connect: (_ctx, next) => next({ constructor: 'x', toString: 'y' }) }).connect()
    expect(result.facts).toEqual({ constructor: 'x', toString: 'y' })
  })

  test('shows the handshake and why it is asked', async () => {
    let seen: any
    const probe = harness({ name: 'p', connect: (ctx, next) => ((seen = ctx), next()) })
    await probe.connect({ auth: { token: 't' }, headers: { Origin: 'https://a.example' }, cause: 'recover', secure: true, url: '/socket.io/?x=1' })
    expect(seen.handshake).toMatchObject({ auth: { token: 't' }, secure: true, xdomain: true, query: { x: '1' }, url: '/socket.io/?x=1' })
    expect(seen.headers.origin).toBe('https://a.example')
    expect(seen.cause).toBe('recover')
    expect(seen.request.headers.origin).toBe('https://a.example')
  })
})
