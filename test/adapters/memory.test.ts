import { describe, expect, test } from '@jest/globals'
import { memoryStore } from '../../adapters/memory.ts'
import { ConfigError } from '../../lib/errors.ts'
import type { Store } from '../../lib/store.ts'
import { testClock } from '../../lib/testing.ts'
import { describeStore } from './store.contract.ts'

describeStore('the store in memory', () => {
  const clock = testClock()
  return { store: memoryStore({ clock }), now: () => clock.now(), pass: (ms) => clock.advance(ms) }
})

describe('its memory is bounded', () => {
  const minute = { limit: 1, perMs: 60_000, cost: 1 }

  test('the oldest value goes when there are too many', () => {
    const store = memoryStore({ clock: testClock(), maxKeys: 3 })
    for (const key of ['a', 'b', 'c', 'd']) void store.set(key, key, 60_000)
    expect(['a', 'b', 'c', 'd'].map((key) => store.get(key))).toEqual([undefined, 'b', 'c', 'd'])
  })

  test('values that are over go first', () => {
    const clock = testClock()
    const store = memoryStore({ clock, maxKeys: 3 })
    void store.set('lasting', 'x', 60_000)
    void store.set('short', 'x', 10)
    clock.advance(10)
    for (const key of ['c', 'd']) void store.set(key, 'x', 60_000)
    expect(['lasting', 'c', 'd'].map((key) => store.get(key))).toEqual(['x', 'x', 'x'])
  })

  test('a flood of rates does not push out values, nor the other way round', () => {
    const clock = testClock()
    const store = memoryStore({ clock, maxKeys: 100 })
    void store.set('revoked', 'x', 60_000)
    for (let i = 0; i < 1_000; i++) void store.consume(`address ${i}`, minute, clock.now())
    expect(store.get('revoked')).toBe('x')

    const other = memoryStore({ clock, maxKeys: 100 })
    void other.consume('me', minute, clock.now())
    for (let i = 0; i < 1_000; i++) void other.set(`key ${i}`, 'x', 60_000)
    expect(other.consume('me', minute, clock.now())).toBeGreaterThan(0)
  })

  test('setting what is there already makes no room for itself', () => {
    const store = memoryStore({ clock: testClock(), maxKeys: 2 })
    void store.set('a', '1', 60_000)
    void store.set('b', '1', 60_000)
    for (let i = 0; i < 10; i++) void store.set('b', `${i}`, 60_000)
    expect([store.get('a'), store.get('b')]).toEqual(['1', '9'])
  })

  test('what is over is dropped in passing, without a timer', () => {
    const clock = testClock()
    const store = memoryStore({ clock, maxKeys: 1_000 })
    for (let round = 0; round < 50; round++) {
      for (let i = 0; i < 100; i++) void store.set(`${round} ${i}`, 'x', 1_000)
      clock.advance(1_000)
    }
    // Had anything been kept, 5,000 keys would have been too many, and this one would be gone with the oldest.
    void store.set('lasting', 'x', 60_000)
    for (let i = 0; i < 800; i++) void store.set(`last ${i}`, 'x', 60_000)
    expect(store.get('lasting')).toBe('x')
    expect(clock.pending).toBe(0)
  })

  test.each([[0], [-1], [1.5], [NaN], [Infinity], ['10'], [null]])('maxKeys %p is refused', (maxKeys) => {
    expect(() => memoryStore({ maxKeys: maxKeys as never })).toThrow(ConfigError)
    expect(() => memoryStore({ maxKeys: maxKeys as never })).toThrow(/maxKeys/)
  })
})

test('it counts for this process, and is accepted on a cluster only in so many words', () => {
  expect(memoryStore()).toMatchObject({ scope: 'node', dangerouslyPerNode: false })
  expect(memoryStore({ dangerouslyPerNode: true })).toMatchObject({ scope: 'node', dangerouslyPerNode: true })
})

test('every operation answers in the same tick', () => {
  const store = memoryStore({ clock: testClock() })
  const answers = [store.consume('k', { limit: 1, perMs: 1, cost: 1 }, 1), store.set('k', 'v', 1), store.get('k'), store.add('n', 1, 1), store.take('k'), store.delete('n'), store.close()]
  expect(answers).toEqual([0, true, 'v', 1, 'v', true, undefined])
})

test('a store that was closed has forgotten everything', () => {
  const store = memoryStore({ clock: testClock() })
  void store.set('k', 'v', 1_000)
  void store.close()
  expect(store.get('k')).toBeUndefined()
})

test.each<[string, (store: Store) => Store]>([
  ['copied', (store) => ({ ...store })],
  ['inherited from', (store) => Object.create(store) as Store],
  ['stood in front of', (store) => new Proxy(store, {})],
])('a store that is %s works as it is', (_, wrapped) => {
  const store = wrapped(memoryStore())
  expect([store.set('a', '1', 1_000), store.getMany(['a', 'b']), store.add('n', 2, 1_000), store.consume('r', { limit: 1, perMs: 1_000, cost: 1 }, 0)]).toEqual([true, ['1', undefined], 2, 0])
})
