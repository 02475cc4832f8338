import { describe, expect, test } from '@jest/globals'
import { systemClock } from '../../lib/clock.ts'
import { ConfigError } from '../../lib/errors.ts'
import { defaultLimits } from '../../lib/limits.ts'
import { checkNamespaceOptions, resolveOptions, resolveUndeclared } from '../../lib/options.ts'
import { testClock } from '../../lib/testing.ts'

const resolve = (options: object, maxHttpBufferSize?: number) => resolveOptions(options, maxHttpBufferSize)

describe('the defaults', () => {
  const settings = resolve({})

  test('are the safe ones', () => {
    expect(settings).toMatchObject({
      undeclared: { namespaces: 'deny', events: 'deny', rooms: 'deny', deliveries: 'allow' },
      mode: 'enforce',
      limits: defaultLimits,
      lane: { maxPending: 256, maxBytes: 1_048_576 },
      deadlineMs: 5_000,
      ackWithinMs: 30_000,
      refusalEvent: true,
      clock: systemClock,
    })
    expect(settings.dangerouslyAllow.size).toBe(0)
    expect(settings.store.scope).toBe('node')
  })

  test('put a refusal into an ack as { error }', () => {
    expect(settings.ackRefusal({ code: 'FORBIDDEN', message: 'x', id: 'y' })).toEqual([{ error: { code: 'FORBIDDEN', message: 'x', id: 'y' } }])
  })

  test('take the largest message of the server for the largest payload', () => {
    expect(resolve({}, 4_096).limits.maxBytes).toBe(4_096)
    expect(resolve({ limits: { maxBytes: 10 } }, 4_096).limits.maxBytes).toBe(10)
    expect(resolve({}, 0.5).limits.maxBytes).toBe(1)
  })
})

test('the store of an injected clock lives by it', async () => {
  const clock = testClock()
  const { store } = resolve({ clock })
  await store.set('k', 'v', 100)
  clock.advance(100)
  expect(await store.get('k')).toBeUndefined()
})

describe('undeclared', () => {
  const deny = { namespaces: 'deny', events: 'deny', rooms: 'deny', deliveries: 'allow' } as const

  test('is one word for all, or one for each', () => {
    expect(resolveUndeclared('allow', deny, 'guard')).toEqual({ namespaces: 'allow', events: 'allow', rooms: 'allow', deliveries: 'allow' })
    expect(resolveUndeclared({ rooms: 'allow' }, deny, 'guard')).toEqual({ ...deny, rooms: 'allow' })
    expect(resolveUndeclared({ events: undefined as never }, deny, 'guard')).toEqual(deny)
  })

  test('of a namespace starts from that of the gate', () => {
    const base = resolveUndeclared('allow', deny, 'guard')
    expect(resolveUndeclared(undefined, base, 'gate.of')).toBe(base)
    expect(resolveUndeclared({ rooms: 'deny' }, base, 'gate.of')).toEqual({ ...base, rooms: 'deny' })
  })
})

describe('a bad option of guard is refused, and named', () => {
  test.each<[string, object, RegExp]>([
    ['unknown', { mods: 'observe' }, /unknown option "mods"\. The options are store, undeclared, mode/],
    ['mode', { mode: 'report' }, /mode is 'enforce' or 'observe'; got report/],
    ['undeclared', { undeclared: 'log' }, /undeclared is 'deny', 'allow' or/],
    ['undeclared', { undeclared: 7 }, /undeclared is/],
    ['undeclared', { undeclared: null }, /undeclared is/],
    ['undeclared', { undeclared: { event: 'deny' } }, /undeclared has no "event"; it has namespaces, events, rooms and deliveries/],
    ['undeclared', { undeclared: { events: true } }, /undeclared\.events is 'deny' or 'allow'; got true/],
    ['limits', { limits: { maxByte: 1 } }, /limits: unknown limit "maxByte"/],
    ['limits', { limits: { maxBytes: 0 } }, /maxBytes must be a positive integer; got 0/],
    ['lane', { lane: { pending: 1 } }, /lane: unknown option "pending"/],
    ['lane', { lane: { maxPending: 0 } }, /lane\.maxPending must be a positive number; got 0/],
    ['lane', { lane: { maxBytes: '1MB' } }, /lane\.maxBytes/],
    ['lane', { lane: null }, /lane/],
    ['deadlineMs', { deadlineMs: 0 }, /deadlineMs must be a positive number; got 0/],
    ['deadlineMs', { deadlineMs: Infinity }, /deadlineMs/],
    ['deadlineMs', { deadlineMs: '5s' }, /deadlineMs/],
    ['ackWithinMs', { ackWithinMs: -1 }, /ackWithinMs/],
    ['trustProxy', { trustProxy: true }, /trustProxy/],
    ['refusalEvent', { refusalEvent: 'no' }, /refusalEvent must be true or false; got no/],
    ['ackRefusal', { ackRefusal: 'error' }, /ackRefusal is a function/],
    ['dangerouslyAllow', { dangerouslyAllow: ['udp'] }, /dangerouslyAllow knows uws, webtransport, eio3; got udp/],
  ])('%s: %j', (_name, options, message) => {
    expect(() => resolve(options)).toThrow(ConfigError)
    expect(() => resolve(options)).toThrow(message)
  })

  test.each([[null], [7], ['observe']])('%p in place of options', (options) => {
    expect(() => resolve(options as never)).toThrow(ConfigError)
  })
})

describe('a bad option of gate.of is refused, and named', () => {
  test.each<[string, object, RegExp]>([
    ['unknown', { deadlineMs: 5 }, /gate\.of: unknown option "deadlineMs"\. The options are mode, limits, undeclared/],
    ['mode', { mode: 'off' }, /gate\.of: mode/],
    ['undeclared', { undeclared: 'x' }, /gate\.of: undeclared/],
    ['limits', { limits: { maxKeys: 0 } }, /gate\.of: limits: maxKeys/],
    ['limits', { limits: { keys: 1 } }, /gate\.of: limits: unknown limit "keys"/],
  ])('%s: %j', (_name, options, message) => {
    expect(() => checkNamespaceOptions(options)).toThrow(ConfigError)
    expect(() => checkNamespaceOptions(options)).toThrow(message)
  })
})
