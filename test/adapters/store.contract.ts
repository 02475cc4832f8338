import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import type { Bound, Enlisted, Rate, Store } from '../../lib/store.ts'

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

/** What text there is that something may trip over. */
const TEXTS = ['', '__proto__', 'constructor', 'a:b:c', 'ü😀', 'line\nbreak', 'x'.repeat(10_000), '*', '{tag}']

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
        const keys = TEXTS
        for (const key of keys) await store.set(key, `value of ${key}`, 10_000)
        for (const key of keys) expect(await store.get(key)).toBe(`value of ${key}`)
      })
    })

    describe('delete if it has a value', () => {
      test('deletes what has that value, and leaves what has another', async () => {
        await store.set('k', 'v', 1_000)
        expect(await store.delete('k', { ifValue: 'V' })).toBe(false)
        expect(await store.delete('k', { ifValue: '' })).toBe(false)
        expect(await store.get('k')).toBe('v')
        expect(await store.delete('k', { ifValue: 'v' })).toBe(true)
        expect(await store.get('k')).toBeUndefined()
        expect(await store.delete('k', { ifValue: 'v' })).toBe(false)
      })

      test('holds an empty text for a value, and no value for none', async () => {
        expect(await store.delete('k', { ifValue: '' })).toBe(false)
        await store.set('k', '', 1_000)
        expect(await store.delete('k', { ifValue: '' })).toBe(true)
        await store.set('k', 'v', 1_000)
        expect(await store.delete('k', {})).toBe(true)
      })

      test('finds nothing that is over', async () => {
        await store.set('k', 'v', 1_000)
        await subject.pass(1_000)
        expect(await store.delete('k', { ifValue: 'v' })).toBe(false)
      })

      test('compares a counter by its number', async () => {
        await store.add('n', 7, 1_000)
        expect(await store.delete('n', { ifValue: '8' })).toBe(false)
        expect(await store.delete('n', { ifValue: '7' })).toBe(true)
      })

      test('lets go of what one holds, and never of what has become of it since', async () => {
        await store.set('lock', 'mine', 60_000)
        const answers = await Promise.all([store.delete('lock', { ifValue: 'mine' }), store.set('lock', 'yours', 60_000, { ifAbsent: true }), store.delete('lock', { ifValue: 'mine' })])
        expect(answers).toEqual([true, true, false])
        expect(await store.get('lock')).toBe('yours')
      })

      test('is true for one of many who ask at the same time', async () => {
        await store.set('k', 'v', 60_000)
        const answers = await Promise.all(Array.from({ length: 50 }, async () => store.delete('k', { ifValue: 'v' })))
        expect(answers.filter(Boolean)).toHaveLength(1)
      })
    })

    describe('a collection', () => {
      const enlist = async (member: string, { value = `value of ${member}`, ttlMs = 60_000, ...bound }: { value?: string; ttlMs?: number } & Partial<Bound> = {}): Promise<Enlisted> =>
        store.enlist('c', member, value, ttlMs, 'limit' in bound ? (bound as Bound) : undefined)
      const names = async (key = 'c'): Promise<string[]> => (await store.members(key)).map(({ member }) => member)

      test('has its members in the order in which they came, with their values and since when', async () => {
        const start = subject.now()
        const members = ['b', 'a', '10', '9']
        for (const member of members) {
          expect(await enlist(member)).toEqual({ entered: true, left: [] })
          await subject.pass(10)
        }
        const found = await store.members('c')
        expect(found.map(({ member, value }) => [member, value])).toEqual(members.map((member) => [member, `value of ${member}`]))
        for (const [index, { sinceMs }] of found.entries()) {
          expect(Number.isInteger(sinceMs)).toBe(true)
          expect(sinceMs).toBeGreaterThanOrEqual(index === 0 ? start : found[index - 1]!.sinceMs)
        }
      })

      test('that nobody entered is empty', async () => {
        expect([...(await store.members('c'))]).toEqual([])
        expect(await store.dismiss('c', 'a')).toBe(false)
      })

      test('keeps the order of members that come within one millisecond', async () => {
        const members = Array.from({ length: 30 }, (_, index) => `${(index * 7) % 30}`)
        for (const member of members) await enlist(member)
        expect(await names()).toEqual(members)
      })

      test('leaves a member in its place that comes again: another value, and since when it was', async () => {
        for (const member of ['a', 'b']) await enlist(member)
        const [first] = await store.members('c')
        await subject.pass(100)
        expect(await enlist('a', { value: 'another' })).toEqual({ entered: true, left: [] })
        expect(await store.members('c')).toMatchObject([{ ...first, value: 'another' }, { member: 'b', value: 'value of b' }])
      })

      test('puts a member last that comes back after it has left', async () => {
        for (const member of ['a', 'b']) await enlist(member)
        const since = (await store.members('c'))[0]!.sinceMs
        await store.dismiss('c', 'a')
        await subject.pass(100)
        await enlist('a')
        expect(await names()).toEqual(['b', 'a'])
        expect((await store.members('c'))[1]!.sinceMs).toBeGreaterThan(since)
      })

      test('is without who was dismissed, which is true once', async () => {
        for (const member of ['a', 'b', 'c']) await enlist(member)
        expect(await store.dismiss('c', 'b')).toBe(true)
        expect(await store.dismiss('c', 'b')).toBe(false)
        expect(await store.dismiss('c', 'x')).toBe(false)
        expect(await names()).toEqual(['a', 'c'])
        for (const member of ['a', 'c']) expect(await store.dismiss('c', member)).toBe(true)
        expect(await names()).toEqual([])
      })

      test('is forgotten as a whole when its time after the last one is over', async () => {
        await enlist('a', { ttlMs: 1_000 })
        await subject.pass(900)
        await enlist('b', { ttlMs: 1_000 })
        await subject.pass(900)
        expect(await names()).toEqual(['a', 'b'])
        await enlist('a', { ttlMs: 1_000 })
        await subject.pass(900)
        expect(await names()).toEqual(['a', 'b'])
        await subject.pass(100)
        expect(await names()).toEqual([])
        expect(await store.dismiss('c', 'a')).toBe(false)
      })

      test('begins anew when its time was over', async () => {
        await enlist('a', { ttlMs: 1_000 })
        await subject.pass(1_000)
        expect(await enlist('b', { ttlMs: 1_000, limit: 1, full: 'refuse' })).toEqual({ entered: true, left: [] })
        expect(await names()).toEqual(['b'])
      })

      test('is not kept longer by being read, by who leaves, or by who is refused', async () => {
        for (const member of ['a', 'b']) await enlist(member, { ttlMs: 1_000 })
        await subject.pass(900)
        await names()
        await store.dismiss('c', 'b')
        expect(await enlist('x', { ttlMs: 60_000, limit: 1, full: 'refuse' })).toEqual({ entered: false, left: [] })
        await subject.pass(100)
        expect(await names()).toEqual([])
      })

      test('is kept for itself', async () => {
        await store.enlist('c', 'a', '1', 1_000)
        await store.enlist('d', 'a', '2', 60_000)
        await store.dismiss('c', 'a')
        expect(await store.members('d')).toMatchObject([{ member: 'a', value: '2' }])
        expect(await names('C')).toEqual([])
      })

      test('may have keys, members and values of any text', async () => {
        for (const text of TEXTS) await store.enlist(text, text, text, 60_000)
        for (const text of TEXTS) expect(await store.members(text)).toMatchObject([{ member: text, value: text }])
        for (const text of TEXTS) await enlist(text, { value: text })
        expect((await store.members('c')).map(({ member, value }) => [member, value])).toEqual(TEXTS.map((text) => [text, text]))
        for (const text of TEXTS) expect(await store.dismiss('c', text)).toBe(true)
        expect(await names()).toEqual([])
      })

      test('gives copies: what is done to them changes nothing', async () => {
        await enlist('a')
        const [found] = await store.members('c')
        Object.assign(found!, { value: 'changed' })
        expect(await store.members('c')).toMatchObject([{ member: 'a', value: 'value of a' }])
      })

      describe('with a limit that refuses', () => {
        const refuse = { limit: 2, full: 'refuse' } as const

        test('takes no more than that, and whoever is in it as often as it comes', async () => {
          for (const member of ['a', 'b']) expect(await enlist(member, refuse)).toEqual({ entered: true, left: [] })
          expect(await enlist('c', refuse)).toEqual({ entered: false, left: [] })
          expect(await enlist('a', { ...refuse, value: 'another' })).toEqual({ entered: true, left: [] })
          expect(await store.members('c')).toMatchObject([{ member: 'a', value: 'another' }, { member: 'b' }])
        })

        test('takes another one when one has left', async () => {
          for (const member of ['a', 'b']) await enlist(member, refuse)
          await store.dismiss('c', 'a')
          expect(await enlist('c', refuse)).toEqual({ entered: true, left: [] })
          expect(await names()).toEqual(['b', 'c'])
        })

        test('that was lowered sends nobody away', async () => {
          for (const member of ['a', 'b', 'c']) await enlist(member)
          expect(await enlist('d', { limit: 1, full: 'refuse' })).toEqual({ entered: false, left: [] })
          expect(await enlist('c', { limit: 1, full: 'refuse' })).toEqual({ entered: true, left: [] })
          expect(await names()).toEqual(['a', 'b', 'c'])
        })

        test('takes that many of those who come at the same time', async () => {
          const answers = await Promise.all(Array.from({ length: 50 }, async (_, index) => enlist(`${index}`, { limit: 10, full: 'refuse' })))
          expect(answers.filter(({ entered }) => entered)).toHaveLength(10)
          expect(await names()).toHaveLength(10)
        })
      })

      describe('with a limit at which the oldest go', () => {
        test('sends away the first who came, however often it came since, and says who that was', async () => {
          for (const member of ['a', 'b']) await enlist(member, { limit: 2, full: 'oldest' })
          await enlist('a', { limit: 2, full: 'oldest', value: 'another' })
          const [first] = await store.members('c')
          expect(await enlist('c', { limit: 2, full: 'oldest' })).toEqual({ entered: true, left: [first] })
          expect(first).toMatchObject({ member: 'a', value: 'another' })
          expect(await names()).toEqual(['b', 'c'])
        })

        test('sends nobody away for one that is in it', async () => {
          for (const member of ['a', 'b', 'c']) await enlist(member)
          expect(await enlist('c', { limit: 1, full: 'oldest' })).toEqual({ entered: true, left: [] })
          expect(await names()).toEqual(['a', 'b', 'c'])
        })

        test('that was lowered sends away as many as it takes, the oldest first', async () => {
          for (const member of ['a', 'b', 'c', 'd']) await enlist(member)
          const { entered, left } = await enlist('e', { limit: 2, full: 'oldest' })
          expect([entered, left.map(({ member }) => member)]).toEqual([true, ['a', 'b', 'c']])
          expect(await names()).toEqual(['d', 'e'])
        })

        test('of one keeps who came last', async () => {
          for (const member of ['a', 'b', 'c']) await enlist(member, { limit: 1, full: 'oldest' })
          expect(await names()).toEqual(['c'])
        })

        test('sends away each one once, where many come at the same time', async () => {
          const answers = await Promise.all(Array.from({ length: 50 }, async (_, index) => enlist(`${index}`, { limit: 10, full: 'oldest' })))
          const left = answers.flatMap((answer) => answer.left.map(({ member }) => member))
          expect(new Set(left).size).toBe(left.length)
          expect([...left, ...(await names())].sort()).toEqual(Array.from({ length: 50 }, (_, index) => `${index}`).sort())
          expect(await names()).toHaveLength(10)
        })
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

    test('a rate, a value and a collection under one key have nothing to do with each other', async () => {
      await store.set('k', 'v', 60_000)
      await store.enlist('k', 'm', 'w', 60_000)
      expect(await store.consume('k', { limit: 1, perMs: 60_000, cost: 1 }, subject.now())).toBe(0)
      expect(await store.get('k')).toBe('v')
      await store.delete('k')
      expect(await store.consume('k', { limit: 1, perMs: 60_000, cost: 1 }, subject.now())).toBeGreaterThan(0)
      expect(await store.members('k')).toMatchObject([{ member: 'm', value: 'w' }])
      await store.dismiss('k', 'm')
      expect(await store.consume('k', { limit: 1, perMs: 60_000, cost: 1 }, subject.now())).toBeGreaterThan(0)
    })

    test('says whom it counts for', () => {
      expect(['node', 'cluster']).toContain(store.scope)
    })
  })
}
