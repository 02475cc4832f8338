import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import type { Rate, Store } from '../../lib/store.ts'

/** A store under test, and time as it sees it. */
export interface StoreUnderTest {
  readonly store: Store
  /** Milliseconds since the epoch. */
  now(): number
  /** Lets time go by, for the store too. */
  pass(ms: number): void | Promise<void>
}

/** GCRA (ITU-T I.371) in whole numbers: what `consume` has to answer. Times are multiplied by the limit, so that nothing is rounded. */
class Reference {
  #arrival: bigint | undefined

  consume({ limit, perMs, cost }: Rate, nowMs: number): number {
    const [units, period, now] = [BigInt(limit), BigInt(perMs), BigInt(nowMs) * BigInt(limit)]
    const arrival = this.#arrival === undefined || this.#arrival < now ? now : this.#arrival
    const next = arrival + period * BigInt(cost)
    const excess = next - period * units - now
    if (excess > 0n) return Number((excess + units - 1n) / units)
    this.#arrival = next
    return 0
  }
}

/**
 * What every store has to do, whatever it is made of.
 *
 * @param make called before each test: an empty store
 */
export function describeStore(name: string, make: () => StoreUnderTest | Promise<StoreUnderTest>): void {
  describe(name, () => {
    let subject: StoreUnderTest
    let store: Store
    beforeEach(async () => {
      subject = await make()
      store = subject.store
    })
    afterEach(async () => {
      await store.close()
    })

    describe('consume', () => {
      const consume = (key: string, limit: number, perMs: number, cost = 1): number | Promise<number> => store.consume(key, { limit, perMs, cost }, subject.now())

      test('gives the whole limit at once, then says how long until there is one more', async () => {
        for (let i = 0; i < 3; i++) expect(await consume('k', 3, 1_000)).toBe(0)
        expect(await consume('k', 3, 1_000)).toBe(334)
      })

      test('gives one more when that time is over, and not before', async () => {
        for (let i = 0; i < 3; i++) await consume('k', 3, 1_000)
        await subject.pass(333)
        expect(await consume('k', 3, 1_000)).toBe(1)
        await subject.pass(1)
        expect(await consume('k', 3, 1_000)).toBe(0)
        expect(await consume('k', 3, 1_000)).toBe(333)
      })

      test('takes nothing where it refuses', async () => {
        for (let i = 0; i < 3; i++) await consume('k', 3, 1_000)
        for (let i = 0; i < 100; i++) expect(await consume('k', 3, 1_000)).toBe(334)
      })

      test('gives the whole limit again after a whole period of rest', async () => {
        for (let i = 0; i < 5; i++) await consume('k', 5, 1_000)
        await subject.pass(1_000)
        for (let i = 0; i < 5; i++) expect(await consume('k', 5, 1_000)).toBe(0)
        expect(await consume('k', 5, 1_000)).toBe(200)
      })

      test('gives no more than the limit after a long rest', async () => {
        await consume('k', 2, 1_000)
        await subject.pass(1_000_000)
        expect(await consume('k', 2, 1_000)).toBe(0)
        expect(await consume('k', 2, 1_000)).toBe(0)
        expect(await consume('k', 2, 1_000)).toBe(500)
      })

      test('spends a cost at a time, all of it or nothing', async () => {
        expect(await consume('k', 10, 1_000, 7)).toBe(0)
        expect(await consume('k', 10, 1_000, 7)).toBe(400)
        expect(await consume('k', 10, 1_000, 3)).toBe(0)
        expect(await consume('k', 10, 1_000, 1)).toBe(100)
      })

      test('never gives what costs more than the limit', async () => {
        expect(await consume('k', 3, 1_000, 4)).toBeGreaterThan(0)
        await subject.pass(1_000_000)
        expect(await consume('k', 3, 1_000, 4)).toBeGreaterThan(0)
        expect(await consume('k', 3, 1_000, 3)).toBe(0)
      })

      test('keeps each key for itself', async () => {
        expect(await consume('a', 1, 1_000)).toBe(0)
        expect(await consume('b', 1, 1_000)).toBe(0)
        expect(await consume('a', 1, 1_000)).toBe(1_000)
      })

      test('is not held up longer than a period by a clock that was set back', async () => {
        const now = subject.now()
        const rate = { limit: 1, perMs: 1_000, cost: 1 }
        await store.consume('k', rate, now)
        expect(await store.consume('k', rate, now - 1_000_000)).toBeLessThanOrEqual(1_000)
        expect(await store.consume('k', rate, now - 1_000_000 + 1_000)).toBe(0)
      })

      test.each([
        [3, 1_000],
        [7, 1_000],
        [10, 60_000],
        [11, 997],
        [1, 1],
        [1_000, 1_000],
        [13, 86_400_000],
      ])('%i in %i ms is exact: no unit more or less than in whole numbers', async (limit, perMs) => {
        const reference = new Reference()
        // Steps of many sizes, from a fixed sequence: bursts, drips and rests.
        const interval = Math.max(1, Math.floor(perMs / limit))
        let state = 1
        for (let i = 0; i < 400; i++) {
          state = (state * 48_271) % 2_147_483_647
          const rate = { limit, perMs, cost: 1 + (state % Math.min(limit, 3)) }
          const now = subject.now()
          expect([i, await store.consume('k', rate, now)]).toEqual([i, reference.consume(rate, now)])
          await subject.pass(state % 3 === 0 ? 0 : state % (interval * 2))
        }
      })

      test('takes back what was not used after all', async () => {
        expect(await consume('k', 3, 1_000, 3)).toBe(0)
        expect(await consume('k', 3, 1_000, 1)).toBe(334)
        expect(await consume('k', 3, 1_000, -1)).toBe(0)
        expect(await consume('k', 3, 1_000, 1)).toBe(0)
        expect(await consume('k', 3, 1_000, 1)).toBe(334)
      })

      test('gives no more than the limit where more is given back than was taken', async () => {
        for (let i = 0; i < 5; i++) expect(await consume('k', 3, 1_000, -1)).toBe(0)
        for (let i = 0; i < 3; i++) expect(await consume('k', 3, 1_000)).toBe(0)
        expect(await consume('k', 3, 1_000)).toBe(334)
      })

      test('gives a limit once, also to many who ask at the same time', async () => {
        const answers = await Promise.all(Array.from({ length: 50 }, async () => consume('k', 10, 60_000)))
        expect(answers.filter((wait) => wait === 0)).toHaveLength(10)
      })
    })

    describe('values', () => {
      test('are got as they were set', async () => {
        for (const value of ['text', '', 'ü😀', '{"a":1}', 'x'.repeat(100_000), 'null', '0']) {
          expect(await store.set('k', value, 1_000)).toBe(true)
          expect(await store.get('k')).toBe(value)
        }
      })

      test('that were never set are undefined', async () => {
        expect(await store.get('k')).toBeUndefined()
        expect(await store.take('k')).toBeUndefined()
        expect(await store.delete('k')).toBe(false)
      })

      test('live as long as was said', async () => {
        await store.set('k', 'v', 1_000)
        await subject.pass(900)
        expect(await store.get('k')).toBe('v')
        await subject.pass(100)
        expect(await store.get('k')).toBeUndefined()
        expect(await store.take('k')).toBeUndefined()
        expect(await store.delete('k')).toBe(false)
      })

      test('live anew when they are set anew', async () => {
        await store.set('k', 'a', 1_000)
        await subject.pass(900)
        await store.set('k', 'b', 1_000)
        await subject.pass(900)
        expect(await store.get('k')).toBe('b')
      })

      test('are not lengthened by being read', async () => {
        await store.set('k', 'v', 1_000)
        await subject.pass(900)
        await store.get('k')
        await subject.pass(100)
        expect(await store.get('k')).toBeUndefined()
      })

      test('are gone when they were deleted', async () => {
        await store.set('k', 'v', 1_000)
        expect(await store.delete('k')).toBe(true)
        expect(await store.get('k')).toBeUndefined()
        expect(await store.delete('k')).toBe(false)
      })

      test('may have keys of any text', async () => {
        const keys = ['', '__proto__', 'constructor', 'a:b:c', 'ü😀', 'line\nbreak', 'x'.repeat(10_000), '*', '{tag}']
        for (const key of keys) await store.set(key, `value of ${key}`, 10_000)
        for (const key of keys) expect(await store.get(key)).toBe(`value of ${key}`)
      })
    })

    describe('set if absent', () => {
      const claim = (ttlMs = 1_000): boolean | Promise<boolean> => store.set('k', 'mine', ttlMs, { ifAbsent: true })

      test('is true for the first, and changes nothing for the next', async () => {
        expect(await claim()).toBe(true)
        expect(await store.set('k', 'yours', 9_000, { ifAbsent: true })).toBe(false)
        expect(await store.get('k')).toBe('mine')
        await subject.pass(1_000)
        expect(await store.get('k')).toBeUndefined()
      })

      test('is true again when the first is over or deleted', async () => {
        await claim()
        await subject.pass(1_000)
        expect(await claim()).toBe(true)
        await store.delete('k')
        expect(await claim()).toBe(true)
      })

      test('is true for one of many who ask at the same time', async () => {
        const answers = await Promise.all(Array.from({ length: 50 }, async () => claim(60_000)))
        expect(answers.filter(Boolean)).toHaveLength(1)
      })
    })

    describe('several values at once', () => {
      test('are got in the order of their keys, also twice, and undefined where there is none', async () => {
        await store.set('a', '1', 1_000)
        await store.set('b', '', 1_000)
        expect([...(await store.getMany(['b', 'x', 'a', '__proto__', 'a']))]).toEqual(['', undefined, '1', undefined, '1'])
        expect([...(await store.getMany([]))]).toEqual([])
      })

      test('live as long as each of them', async () => {
        await store.set('a', '1', 1_000)
        await store.set('b', '2', 2_000)
        await subject.pass(1_000)
        expect([...(await store.getMany(['a', 'b']))]).toEqual([undefined, '2'])
      })

      test('leave out what was deleted or taken', async () => {
        for (const key of ['a', 'b', 'c']) await store.set(key, key, 1_000)
        await store.delete('a')
        await store.take('b')
        expect([...(await store.getMany(['a', 'b', 'c']))]).toEqual([undefined, undefined, 'c'])
      })
    })

    describe('get or set', () => {
      test('is what was there, and else what was given', async () => {
        expect(await store.getOrSet('k', 'first', 1_000)).toBe('first')
        expect(await store.getOrSet('k', 'second', 9_000)).toBe('first')
        expect(await store.get('k')).toBe('first')
      })

      test('does not lengthen what was there', async () => {
        await store.getOrSet('k', 'first', 1_000)
        await subject.pass(900)
        await store.getOrSet('k', 'second', 9_000)
        await subject.pass(100)
        expect(await store.get('k')).toBeUndefined()
        expect(await store.getOrSet('k', 'third', 1_000)).toBe('third')
      })

      test('holds an empty text for one', async () => {
        expect(await store.getOrSet('k', '', 1_000)).toBe('')
        expect(await store.getOrSet('k', 'x', 1_000)).toBe('')
      })

      test('is the same for all who ask at the same time', async () => {
        const answers = await Promise.all(Array.from({ length: 50 }, async (_, index) => store.getOrSet('k', String(index), 60_000)))
        expect(new Set(answers).size).toBe(1)
      })
    })

    describe('a channel', () => {
      /** Waits until a message has gone all the way: another one, behind it. */
      const passed = async (): Promise<void> => {
        const done = new Promise<void>((resolve) => void Promise.resolve(store.subscribe('end', () => resolve())).then(() => store.publish('end', '')))
        await done
      }

      test('tells everybody who listens, in order, the sender too', async () => {
        const heard: string[] = []
        await store.subscribe('c', (message) => heard.push(`1 ${message}`))
        await store.subscribe('c', (message) => heard.push(`2 ${message}`))
        for (const message of ['a', '', 'ü😀\n{"a":1}', 'x'.repeat(100_000)]) await store.publish('c', message)
        await passed()
        for (const who of ['1', '2']) expect(heard.filter((each) => each.startsWith(who))).toEqual([`${who} a`, `${who} `, `${who} ü😀\n{"a":1}`, `${who} ${'x'.repeat(100_000)}`])
      })

      test('tells nobody of another one', async () => {
        const heard: string[] = []
        await store.subscribe('c', (message) => heard.push(message))
        for (const other of ['C', 'c:', 'c*', '']) await store.publish(other, 'no')
        await store.publish('c', 'yes')
        await passed()
        expect(heard).toEqual(['yes'])
      })

      test('is no longer heard by who has left it, and by all others still', async () => {
        const heard: string[] = []
        const listen = (message: string): unknown => heard.push(message)
        const leave = await store.subscribe('c', listen)
        await store.subscribe('c', listen)
        await store.publish('c', 'a')
        await passed()
        leave()
        leave()
        await store.publish('c', 'b')
        await passed()
        expect(heard).toEqual(['a', 'a', 'b'])
      })

      test('keeps nothing for who comes later', async () => {
        const heard: string[] = []
        await store.publish('c', 'early')
        await passed()
        await store.subscribe('c', (message) => heard.push(message))
        await store.publish('c', 'late')
        await passed()
        expect(heard).toEqual(['late'])
      })

      test('is told on where one who listens throws', async () => {
        const heard: string[] = []
        const said: unknown[] = []
        const { error } = console
        console.error = (...args: unknown[]) => said.push(...args)
        try {
          await store.subscribe('c', () => {
            throw new Error('a bug')
          })
          await store.subscribe('c', (message) => heard.push(message))
          await store.publish('c', 'a')
          await passed()
        } finally {
          console.error = error
        }
        expect(heard).toEqual(['a'])
        expect(said).toMatchObject([{ message: 'a bug' }])
      })
    })

    describe('take', () => {
      test('gives the value and deletes it', async () => {
        await store.set('k', 'v', 1_000)
        expect(await store.take('k')).toBe('v')
        expect(await store.take('k')).toBeUndefined()
        expect(await store.get('k')).toBeUndefined()
      })

      test('gives it to one of many who ask at the same time', async () => {
        await store.set('ticket', 'v', 60_000)
        const answers = await Promise.all(Array.from({ length: 50 }, async () => store.take('ticket')))
        expect(answers.filter((answer) => answer !== undefined)).toEqual(['v'])
      })
    })

    describe('add', () => {
      test('counts from 0, up and down', async () => {
        expect(await store.add('n', 1, 1_000)).toBe(1)
        expect(await store.add('n', 5, 1_000)).toBe(6)
        expect(await store.add('n', -2, 1_000)).toBe(4)
        expect(await store.get('n')).toBe('4')
      })

      test('forgets after its time, counted from the first use', async () => {
        await store.add('n', 1, 1_000)
        await subject.pass(900)
        expect(await store.add('n', 1, 1_000)).toBe(2)
        await subject.pass(100)
        expect(await store.add('n', 1, 1_000)).toBe(1)
      })

      test('loses nothing where many add at the same time', async () => {
        const answers = await Promise.all(Array.from({ length: 50 }, async () => store.add('n', 1, 60_000)))
        expect([...answers].sort((a, b) => a - b)).toEqual(Array.from({ length: 50 }, (_, index) => index + 1))
      })

      test('begins anew after take and delete', async () => {
        await store.add('n', 3, 1_000)
        expect(await store.take('n')).toBe('3')
        expect(await store.add('n', 1, 1_000)).toBe(1)
        await store.delete('n')
        expect(await store.add('n', 1, 1_000)).toBe(1)
      })
    })

    test('a rate and a value under one key have nothing to do with each other', async () => {
      await store.set('k', 'v', 60_000)
      expect(await store.consume('k', { limit: 1, perMs: 60_000, cost: 1 }, subject.now())).toBe(0)
      expect(await store.get('k')).toBe('v')
      await store.delete('k')
      expect(await store.consume('k', { limit: 1, perMs: 60_000, cost: 1 }, subject.now())).toBeGreaterThan(0)
    })

    test('says whom it counts for', () => {
      expect(['node', 'cluster']).toContain(store.scope)
    })
  })
}
