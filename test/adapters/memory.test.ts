import { describe, expect, test } from '@jest/globals'
import { memoryStore } from '../../adapters/memory.ts'
import { ConfigError } from '../../lib/errors.ts'
import type { Member, Store } from '../../lib/store.ts'
import { testClock } from '../../lib/testing.ts'
import { describeStore } from './store.contract.ts'

function ofCollection(store: Store, key: string): string[] {
  return (store.members(key) as readonly Member[]).map(({ member }) => member)
}

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

  test('collections that are over go before values that are not', () => {
    const clock = testClock()
    const store = memoryStore({ clock, maxKeys: 6 })
    for (const member of ['1', '2']) void store.enlist('short', member, 'x', 10)
    clock.advance(10)
    for (const key of ['a', 'b', 'c', 'd', 'e']) void store.set(key, 'x', 60_000)
    expect(store.getMany(['a', 'b', 'c', 'd', 'e'])).toEqual(['x', 'x', 'x', 'x', 'x'])
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

  test('a collection counts by its members', () => {
    const store = memoryStore({ clock: testClock(), maxKeys: 4 })
    void store.set('a', 'x', 60_000)
    for (const member of ['1', '2', '3', '4']) void store.enlist('c', member, 'x', 60_000)
    expect([store.get('a'), ofCollection(store, 'c')]).toEqual(['x', ['2', '3', '4']])
    for (const key of ['b', 'c', 'd']) void store.set(key, 'x', 60_000)
    expect([store.get('a'), ofCollection(store, 'c')]).toEqual([undefined, ['3', '4']])
  })

  test('the oldest member of the oldest collection goes first, and with its last one the collection', () => {
    const store = memoryStore({ clock: testClock(), maxKeys: 3 })
    for (const member of ['1', '2']) void store.enlist('old', member, 'x', 60_000)
    for (const member of ['3', '4', '5']) void store.enlist('new', member, 'x', 60_000)
    expect([ofCollection(store, 'old'), ofCollection(store, 'new')]).toEqual([[], ['3', '4', '5']])
    void store.enlist('new', '6', 'x', 60_000)
    expect(ofCollection(store, 'new')).toEqual(['4', '5', '6'])
  })

  test('a collection whose last member makes room for its next one goes on', () => {
    const store = memoryStore({ clock: testClock(), maxKeys: 1 })
    for (const member of ['1', '2', '3']) {
      expect(store.enlist('c', member, 'x', 60_000)).toEqual({ entered: true, left: [] })
      expect(ofCollection(store, 'c')).toEqual([member])
    }
  })

  test('a flood of members does not push out values or rates, nor one of values members', () => {
    const clock = testClock()
    const store = memoryStore({ clock, maxKeys: 100 })
    void store.set('revoked', 'x', 60_000)
    void store.consume('me', minute, clock.now())
    for (let i = 0; i < 1_000; i++) void store.enlist(`c${i % 7}`, `${i}`, 'x', 60_000)
    expect(store.get('revoked')).toBe('x')
    expect(store.consume('me', minute, clock.now())).toBeGreaterThan(0)

    const other = memoryStore({ clock, maxKeys: 100 })
    void other.enlist('c', 'me', 'x', 60_000)
    for (let i = 0; i < 1_000; i++) void other.set(`key ${i}`, 'x', 60_000)
    expect(ofCollection(other, 'c')).toEqual(['me'])
  })

  test('members that leave, go, or are over make room again', () => {
    const clock = testClock()
    const store = memoryStore({ clock, maxKeys: 100 })
    void store.set('first', 'x', 600_000)
    const many = Array.from({ length: 50 }, (_, index) => `${index}`)
    for (let round = 0; round < 20; round++) {
      for (const member of many) void store.enlist('dismissed', member, 'x', 1_000)
      for (const member of many) void store.dismiss('dismissed', member)
      for (const member of many) void store.enlist('bounded', member, 'x', 1_000, { limit: 3, full: 'oldest' })
      for (const member of many) void store.enlist('over', member, 'x', 10)
      clock.advance(10)
      expect(ofCollection(store, 'over')).toEqual([])
    }
    // A member that was still counted would leave too little room for these, and the oldest of them would be gone.
    for (let i = 0; i < 96; i++) void store.set(`key ${i}`, 'x', 60_000)
    expect([store.get('first'), store.get('key 0'), ofCollection(store, 'bounded').length]).toEqual(['x', 'x', 3])
  })

  test('collections that are over are dropped in passing, with all their members', () => {
    const clock = testClock()
    const store = memoryStore({ clock, maxKeys: 1_000 })
    for (let round = 0; round < 50; round++) {
      for (let i = 0; i < 100; i++) void store.enlist(`${round} ${i % 20}`, `${i}`, 'x', 1_000)
      clock.advance(1_000)
    }
    // Had anything been kept, or were it still counted, the first of these would have to make room for the last.
    for (let i = 0; i < 900; i++) void store.enlist('lasting', `${i}`, 'x', 60_000)
    expect(ofCollection(store, 'lasting')).toHaveLength(900)
    expect(clock.pending).toBe(0)
  })

  test('who is refused, or there already, makes no room for itself', () => {
    const store = memoryStore({ clock: testClock(), maxKeys: 3 })
    void store.set('a', '1', 60_000)
    void store.set('b', '1', 60_000)
    void store.enlist('c', '1', 'x', 60_000)
    for (let i = 0; i < 10; i++) void store.enlist('c', '1', `${i}`, 60_000)
    for (let i = 0; i < 10; i++) void store.enlist('c', '2', 'x', 60_000, { limit: 1, full: 'refuse' })
    for (let i = 0; i < 10; i++) void store.enlist('c', `${i}`, 'x', 60_000, { limit: 1, full: 'oldest' })
    expect([store.get('a'), store.get('b'), ofCollection(store, 'c')]).toEqual(['1', '1', ['9']])
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
  const answers = [store.consume('k', { limit: 1, perMs: 1, cost: 1 }, 1), store.set('k', 'v', 1), store.get('k'), store.add('n', 1, 1), store.take('k'), store.delete('n', { ifValue: '1' })]
  expect(answers).toEqual([0, true, 'v', 1, 'v', true])
  expect([store.enlist('c', 'm', 'v', 1), store.members('c'), store.dismiss('c', 'm'), store.close()]).toMatchObject([{ entered: true }, [{ member: 'm' }], true, undefined])
})

test('a store that was closed has forgotten everything', () => {
  const store = memoryStore({ clock: testClock() })
  void store.set('k', 'v', 1_000)
  void store.enlist('c', 'm', 'v', 1_000)
  void store.close()
  expect([store.get('k'), ofCollection(store, 'c')]).toEqual([undefined, []])
})

test.each<[string, (store: Store) => Store]>([
  ['copied', (store) => ({ ...store })],
  ['inherited from', (store) => Object.create(store) as Store],
  ['stood in front of', (store) => new Proxy(store, {})],
])('a store that is %s works as it is', (_, wrapped) => {
  const store = wrapped(memoryStore())
  expect([store.set('a', '1', 1_000), store.getMany(['a', 'b']), store.add('n', 2, 1_000), store.consume('r', { limit: 1, perMs: 1_000, cost: 1 }, 0)]).toEqual([true, ['1', undefined], 2, 0])
  expect([store.delete('a', { ifValue: '2' }), store.enlist('c', 'm', 'v', 1_000), store.dismiss('c', 'm'), store.members('c')]).toEqual([false, { entered: true, left: [] }, true, []])
})
