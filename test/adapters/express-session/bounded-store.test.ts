import { describe, expect, test } from '@jest/globals'
import { boundedStore } from '../../../adapters/express-session/bounded-store.ts'
import { memoryStore } from '../../../adapters/memory.ts'
import type { Store } from '../../../lib/store.ts'
import { testClock } from '../../../lib/testing.ts'
import { failure, settled } from './rig.ts'

const OPERATIONS: readonly [keyof Store, readonly unknown[]][] = [
  ['consume', ['key', { limit: 1, perMs: 1, cost: 1 }, 0]],
  ['get', ['key']],
  ['getMany', [['key']]],
  ['getOrSet', ['key', 'value', 5]],
  ['set', ['key', 'value', 5, { ifAbsent: true }]],
  ['take', ['key']],
  ['add', ['key', 1, 5]],
  ['delete', ['key', { ifValue: 'value' }]],
  ['enlist', ['key', 'member', 'value', 5, { limit: 1, full: 'refuse' }]],
  ['members', ['key']],
  ['dismiss', ['key', 'member']],
  ['publish', ['channel', 'message']],
]

/** A store that answers each operation with what `answer` gives. */
function answering(answer: (operation: string, given: unknown[]) => unknown) {
  const clock = testClock()
  const own = new Proxy(memoryStore({ clock }), {
    get(target, name) {
      const member: unknown = Reflect.get(target, name)
      return typeof member === 'function' ? (...given: unknown[]) => answer(String(name), given) : member
    },
  })
  return { clock, store: boundedStore(own, clock, 2_000) }
}

const ask = (store: Store, operation: keyof Store, given: readonly unknown[]): unknown => (store[operation] as (...given: readonly unknown[]) => unknown)(...given)

describe.each(OPERATIONS)('%s', (operation, given) => {
  test('is asked as it is, and answers at once where the store does', () => {
    const asked: unknown[] = []
    const { store, clock } = answering((...all) => (asked.push(all), 'answer'))
    expect(ask(store, operation, given)).toBe('answer')
    expect([asked, clock.pending]).toEqual([[[operation, [...given]]], 0])
  })

  test('answers what the store does later, and fails as that does', async () => {
    expect(await ask(answering(async () => 'answer').store, operation, given)).toBe('answer')
    const error = new Error('down')
    expect(await failure(ask(answering(() => Promise.reject(error)).store, operation, given) as Promise<unknown>)).toBe(error)
    expect(() => ask(answering(() => { throw error }).store, operation, given)).toThrow(error)
  })

  test('fails when its time is over', async () => {
    const { store, clock } = answering(() => new Promise(() => {}))
    const failed = failure(ask(store, operation, given) as Promise<unknown>)
    clock.advance(1_999)
    expect(await Promise.race([failed, settled().then(() => 'waits')])).toBe('waits')
    clock.advance(1)
    expect((await failed).message).toBe('the store of the gate has not answered in time')
  })
})

test('an answer that was there in time leaves no time behind', async () => {
  const { store, clock } = answering(async () => 'answer')
  await store.get('key')
  clock.advance(1_999)
  await store.get('key')
  clock.advance(1)
  expect(clock.pending).toBe(0)
})

test('whoever listens does so for longer than that', async () => {
  const heard: string[] = []
  const clock = testClock()
  const own = memoryStore({ clock })
  const store = boundedStore(own, clock, 2_000)
  const stop = await store.subscribe('channel', (message) => void heard.push(message))
  clock.advance(10_000)
  await store.publish('channel', 'one')
  stop()
  await store.publish('channel', 'two')
  expect(heard).toEqual(['one'])
  expect(store.scope).toBe(own.scope)
})

test('closing it closes the store', async () => {
  let closed = 0
  const { store } = answering((operation) => void (closed += operation === 'close' ? 1 : 0))
  await store.close()
  expect(closed).toBe(1)
})
