import { describe, expect, test } from '@jest/globals'
import { Core } from '../../lib/core.ts'
import { Denied, PolicyFault } from '../../lib/errors.ts'
import type { Decision } from '../../lib/observe.ts'
import { resolveOptions } from '../../lib/options.ts'
import { testClock } from '../../lib/testing.ts'

function coreWith() {
  const clock = testClock()
  const core = new Core(resolveOptions({ clock }, undefined))
  const told: Decision[] = []
  for (const outcome of ['admitted', 'denied', 'fault'] as const) core.observers.on(outcome, (decision) => void told.push(decision))
  let ids = 0
  const context = (stage: string) => ({ stage, id: `id ${++ids}`, now: clock.now(), address: '', headers: {}, peer: {}, state: { established: false } }) as never
  return { clock, core, told, context }
}

describe('a refusal', () => {
  test('is reported once, and told to the client under the same id', () => {
    const { core, told, context } = coreWith()
    const refusal = core.refused(context('event'), { error: new Denied('FORBIDDEN'), policy: 'p' })
    expect(refusal).toEqual({ code: 'FORBIDDEN', message: 'This is not allowed.', id: 'id 1' })
    expect(told).toHaveLength(1)
    expect(told[0]).toMatchObject({ outcome: 'denied', enforced: true, policy: 'p', refusal })
  })

  test('that leaves a handler keeps the id it was given at a join', () => {
    const { core, told, context } = coreWith()
    const error = new Denied('FORBIDDEN')
    error.id = 'of the join'
    expect(core.refused(context('event'), { error, policy: 'handler' }).id).toBe('of the join')
    expect(told[0]!.refusal!.id).toBe('of the join')
    expect(told[0]!.id).toBe('of the join')
  })

  test('that cannot be read is a fault', () => {
    const { core, told, context } = coreWith()
    const trap = Object.defineProperty(new Denied('FORBIDDEN'), 'code', {
      get: () => {
        throw new Error('a trap')
      },
    })
    expect(core.refused(context('event'), { error: trap, policy: 'p' })).toMatchObject({ code: 'INTERNAL' })
    expect(told).toMatchObject([{ outcome: 'fault', policy: 'p' }])
  })

  test('at connect says no more of a credential than that it failed', () => {
    const { core, told, context } = coreWith()
    expect(core.refused(context('connect'), { error: new Denied('REVOKED'), policy: 'p' }).code).toBe('UNAUTHENTICATED')
    expect(core.refused(context('event'), { error: new Denied('REVOKED'), policy: 'p' }).code).toBe('REVOKED')
    expect(told[0]!.error).toMatchObject({ code: 'REVOKED' })
  })

  test('by anything else than a Denied is a fault with the original as its cause', () => {
    const { core, told, context } = coreWith()
    const cause = new Error('a bug')
    expect(core.refused(context('event'), { error: cause, policy: 'p' }).code).toBe('INTERNAL')
    expect(told[0]).toMatchObject({ outcome: 'fault', policy: 'p', error: { name: 'PolicyFault', policy: 'p', cause } })
  })

  test('by a fault is reported as it is', () => {
    const { core, told, context } = coreWith()
    const fault = new PolicyFault('late', 'p', { code: 'DEADLINE_EXCEEDED' })
    expect(core.refused(context('event'), { error: fault, policy: 'p' }).code).toBe('DEADLINE_EXCEEDED')
    expect(told[0]!.error).toBe(fault)
  })

  test('that is only observed says so', () => {
    const { core, told, context } = coreWith()
    core.unenforced(context('event'), { error: new Denied('FORBIDDEN'), policy: 'p' })
    expect(told[0]).toMatchObject({ outcome: 'denied', enforced: false })
  })
})

test('a fault beside a decision is the gate’s own, unless it names a policy', () => {
  const { core, told, context } = coreWith()
  core.fault(context('event'), new Error('a bug'))
  core.fault(context('event'), new PolicyFault('late', 'p'))
  core.fault(context('event'), new Error('a bug'), 'handler')
  expect(told.map(({ outcome, policy }) => [outcome, policy])).toEqual([
    ['fault', 'gate'],
    ['fault', 'p'],
    ['fault', 'handler'],
  ])
})

test('a core that is closed leaves no timer behind', () => {
  const { core, clock } = coreWith()
  core.deadlines.add(() => {})
  core.acks.add(() => {})
  expect(clock.pending).toBe(2)
  core.close()
  expect(clock.pending).toBe(0)
})
