import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals'
import { Core } from '../../lib/core.ts'
import { Denied, PolicyFault } from '../../lib/errors.ts'
import { callObserver, Decision, Observers } from '../../lib/observe.ts'
import { resolveOptions } from '../../lib/options.ts'
import type { Policy } from '../../lib/policy.ts'
import { harness, testClock } from '../../lib/testing.ts'

/** What `console.error` was given: the fault that nobody listens to. */
let printed: unknown[]
beforeEach(() => {
  printed = []
  jest.spyOn(console, 'error').mockImplementation((...args) => void printed.push(...args))
})
afterEach(() => void jest.restoreAllMocks())

const decisionOf = (outcome: 'admitted' | 'denied' | 'fault'): Decision => {
  const context = { stage: 'event', now: 5, id: 'id', address: '', headers: {}, peer: {} } as never
  return new Decision(outcome, context, true, 'p', undefined, outcome === 'fault' ? new PolicyFault('failed', 'p') : undefined)
}

describe('observers', () => {
  test('are told of what they asked for, in the order in which they asked', () => {
    const observers = new Observers()
    const told: string[] = []
    observers.on('denied', () => void told.push('first'))
    observers.on('denied', () => void told.push('second'))
    observers.on('admitted', () => void told.push('other'))
    observers.tell(decisionOf('denied'))
    expect(told).toEqual(['first', 'second'])
  })

  test('that were taken off are told no more', () => {
    const observers = new Observers()
    const told: string[] = []
    const observer = (): void => void told.push('x')
    observers.on('denied', observer)
    observers.off('denied', observer)
    observers.tell(decisionOf('denied'))
    expect(told).toEqual([])
    expect(observers.wants('denied')).toBe(false)
  })

  test('that add or take off others do not disturb the round they are in', () => {
    const observers = new Observers()
    const told: string[] = []
    const second = (): void => void told.push('second')
    observers.on('denied', () => {
      told.push('first')
      observers.off('denied', second)
      observers.on('denied', () => void told.push('third'))
    })
    observers.on('denied', second)
    observers.tell(decisionOf('denied'))
    expect(told).toEqual(['first', 'second'])
  })

  test('that throw change nothing for the next one', () => {
    const observers = new Observers()
    const told: string[] = []
    observers.on('denied', () => {
      throw new Error('full disk')
    })
    observers.on('denied', () => void told.push('second'))
    observers.tell(decisionOf('denied'))
    expect(told).toEqual(['second'])
    expect(printed).toEqual([expect.objectContaining({ cause: expect.objectContaining({ message: 'full disk' }) })])
  })

  test('that reject do not end the process', async () => {
    const unhandled: unknown[] = []
    const note = (reason: unknown): void => void unhandled.push(reason)
    process.on('unhandledRejection', note)
    // What a logger written with async amounts to; its type does not show it.
    const rejecting = (): any => Promise.reject(new Error('no network'))
    callObserver(rejecting, decisionOf('denied'))
    await new Promise((resolve) => setImmediate(resolve))
    process.off('unhandledRejection', note)
    expect(unhandled).toEqual([])
    expect(printed).toEqual([expect.objectContaining({ cause: expect.objectContaining({ message: 'no network' }) })])
  })

  test('are wanted only where there are any', () => {
    const observers = new Observers()
    expect(observers.wants('admitted')).toBe(false)
    observers.on('admitted', () => {})
    expect(observers.wants('admitted')).toBe(true)
    expect(observers.wants('denied')).toBe(false)
  })
})

describe('a fault that nobody listens to', () => {
  test('goes to console.error', () => {
    new Observers().tell(decisionOf('fault'))
    expect(printed).toEqual([expect.any(PolicyFault)])
  })

  test('goes nowhere else when somebody does', () => {
    const observers = new Observers()
    observers.on('fault', () => {})
    observers.tell(decisionOf('fault'))
    expect(printed).toEqual([])
  })

  test('is the only outcome that does', () => {
    new Observers().tell(decisionOf('admitted'))
    new Observers().tell(decisionOf('denied'))
    expect(printed).toEqual([])
  })
})

describe('a record', () => {
  const gatekeeper: Policy<object, { principal: object }> = {
    name: 'gatekeeper',
    connect: (ctx, next) => (ctx.handshake.auth['ok'] === true ? next({ principal: { subject: 'ada' } }) : Promise.reject(new Denied('UNAUTHENTICATED', undefined, 'no token'))),
    event: (ctx, next) => {
      if (ctx.event === 'broken') throw new Error('a bug')
      if (ctx.event === 'no') throw new Denied('FORBIDDEN', { why: 'because' })
      return next()
    },
  }

  test('of an admission says who and what', async () => {
    const probe = harness(gatekeeper, { headers: { 'User-Agent': 'test/1' } })
    const { facts } = await probe.connect({ auth: { ok: true }, address: '198.51.100.7' })
    await probe.event('hello', 'x', { peer: facts })
    expect(probe.decisions).toMatchObject([
      { outcome: 'admitted', stage: 'connect', namespace: '/', subject: 'ada', address: '198.51.100.7', userAgent: 'test/1', enforced: true, at: probe.clock.now() },
      { outcome: 'admitted', stage: 'event', event: 'hello', subject: 'ada', address: '198.51.100.7' },
    ])
    expect(probe.decisions[0]).toMatchObject({ policy: undefined, refusal: undefined, error: undefined, code: undefined })
  })

  test('of a refusal says what the client was told, and what only operators see', async () => {
    const probe = harness(gatekeeper)
    const result = await probe.connect()
    expect(probe.decisions).toMatchObject([{ outcome: 'denied', stage: 'connect', policy: 'gatekeeper', code: 'UNAUTHENTICATED', id: result.refusal!.id, error: { cause: 'no token' } }])
  })

  test('of a fault has the original as its cause', async () => {
    const probe = harness(gatekeeper)
    await probe.event('broken')
    expect(probe.decisions).toMatchObject([{ outcome: 'fault', stage: 'event', event: 'broken', policy: 'gatekeeper', code: 'INTERNAL', error: { name: 'PolicyFault', cause: { message: 'a bug' } } }])
  })

  test('of a next() that came too late names the policy that called it', async () => {
    let late!: () => unknown
    const probe = harness({
      name: 'tardy',
      event: (_ctx, next) => {
        late = next
        return next()
      },
    })
    await probe.event('x')
    void late()
    expect(probe.decisions.at(-1)).toMatchObject({ outcome: 'fault', policy: 'tardy', error: { message: 'tardy: called next() twice' } })
  })

  test('of a room names the room', async () => {
    const probe = harness({ name: 'rooms', join: (_ctx, next) => next() })
    await probe.join('lobby')
    expect(probe.decisions).toMatchObject([{ stage: 'join', room: 'lobby', event: undefined }])
  })

  test('in observe mode says that nothing was enforced', async () => {
    const probe = harness(gatekeeper, { mode: 'observe' })
    await probe.event('no')
    expect(probe.decisions).toMatchObject([
      { outcome: 'denied', code: 'FORBIDDEN', enforced: false },
      { outcome: 'admitted', enforced: true },
    ])
  })
})

test('the core makes no record of an admission that nobody wants', () => {
  const core = new Core(resolveOptions({ clock: testClock() }, undefined))
  const context = { get stage(): never { throw new Error('looked at') } }
  expect(() => core.admitted(context as never)).not.toThrow()
  core.close()
})
