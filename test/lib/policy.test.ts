import { describe, expect, test } from '@jest/globals'
import { ConfigError } from '../../lib/errors.ts'
import { checkPolicy, describe as describeValue, isAudienceHook, stages, stagesOf } from '../../lib/policy.ts'

const hook = (): void => {}

describe('the shape of a policy', () => {
  test('takes any of the five hooks, an observer, and a name', () => {
    expect(() => checkPolicy({ name: 'all', request: hook, connect: hook, event: hook, join: hook, deliver: hook, observe: hook }, 'use')).not.toThrow()
    expect(() => checkPolicy({ name: 'none' }, 'use')).not.toThrow()
  })

  test('takes a deliver hook by audience', () => {
    expect(() => checkPolicy({ name: 'shared', deliver: { audience: hook, hook } }, 'use')).not.toThrow()
  })

  test.each([
    ['a function', hook, /use takes a policy.*got function/],
    ['undefined', undefined, /got undefined/],
    ['null', null, /got null/],
    ['text', 'origin', /got string origin/],
    ['no name', { event: hook }, /non-empty `name`/],
    ['an empty name', { name: '', event: hook }, /non-empty `name`/],
    ['a misspelt hook', { name: 'p', events: hook }, /policy "p" has an unknown member "events".*request, connect, event, join, deliver/],
    ['a hook that is no function', { name: 'p', event: {} }, /`event` of policy "p" must be a function \(ctx, next\); got an object/],
    ['a hook that is a list', { name: 'p', join: [hook] }, /got an array/],
    ['half an audience', { name: 'p', deliver: { hook } }, /`deliver` of policy "p" must be a function \(ctx, next\), or \{ audience, hook \}/],
    ['an audience elsewhere', { name: 'p', event: { audience: hook, hook } }, /`event` of policy "p" must be a function/],
    ['an observer that is no function', { name: 'p', observe: true }, /`observe` of policy "p" must be a function/],
  ])('refuses %s', (_what, policy, message) => {
    expect(() => checkPolicy(policy, 'use')).toThrow(ConfigError)
    expect(() => checkPolicy(policy, 'use')).toThrow(message)
  })

  test('says where the mistake was made', () => {
    expect(() => checkPolicy({}, 'every')).toThrow(/^every: /)
  })
})

test('the stages of a policy come in the order in which a connection meets them', () => {
  expect(stages).toEqual(['request', 'connect', 'event', 'join', 'deliver'])
  expect(stagesOf({ name: 'p', deliver: hook as never, connect: hook, observe: hook })).toEqual(['connect', 'deliver'])
  expect(stagesOf({ name: 'p' })).toEqual([])
})

test('a hook by audience is an object with both its functions', () => {
  expect(isAudienceHook({ audience: hook, hook })).toBe(true)
  for (const other of [hook, null, undefined, {}, { audience: hook }, { hook }, { audience: 1, hook }]) expect(isAudienceHook(other)).toBe(false)
})

test('a value in a message is short', () => {
  expect(describeValue('x'.repeat(1_000)).length).toBeLessThanOrEqual(60)
  expect([describeValue(null), describeValue([]), describeValue({}), describeValue(7)]).toEqual(['null', 'an array', 'an object', 'number 7'])
})
