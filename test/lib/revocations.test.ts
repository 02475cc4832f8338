import { describe, expect, test } from '@jest/globals'
import { Denied } from '../../lib/errors.ts'
import { Core } from '../../lib/core.ts'
import { memoryStore } from '../../adapters/memory.ts'
import { resolveOptions } from '../../lib/options.ts'
import { keyOf, soughtBy } from '../../lib/revocation.ts'
import { Revocations } from '../../lib/revocations.ts'
import type { Store } from '../../lib/store.ts'
import { NOW, settableClock, troubledStore } from '../support/credentials.ts'

const MARGIN = 360_000
const DAY = 86_400_000

/** What is asked of the sockets of one gate, without any socket. */
function gateOf(store: Store, clock = settableClock(), ends: (number | 'never')[] = []) {
  const core = new Core(resolveOptions({ store, clock }, undefined))
  const faults: unknown[] = []
  core.observers.on('fault', ({ error }) => void faults.push(error))
  const asked: unknown[] = []
  const tenure = {
    revoke: (...args: unknown[]) => (asked.push(['revoke', ...args]), { closed: [{ socket: 's', namespace: '/', subject: 'alice' }], ends }),
    remember: () => undefined,
    reinstate: (...args: unknown[]) => void asked.push(['reinstate', ...args]),
    those: (...args: unknown[]) => (asked.push(['those', ...args]), [[{ id: 'stays' }, {}], [{ id: 'goes' }, {}]]),
  }
  const renewal = { reauthorize: async ({ id }: { id: string }) => id === 'stays' }
  return { revocations: new Revocations(core, { tenure, renewal } as never), asked, faults, core, clock, store }
}

const subject = { kind: 'subject', id: 'alice', issuer: undefined }

describe('a revocation', () => {
  test('closes here first, then is remembered, and told to all others, with a receipt', async () => {
    const store = memoryStore({ clock: settableClock() })
    const [one, two] = [gateOf(store), gateOf(store)]
    const receipt = await one.revocations.revoke({ subject: 'alice' }, { reason: 'left' })
    expect(receipt).toEqual({ closed: [{ socket: 's', namespace: '/', subject: 'alice' }], untilMs: NOW + 30 * DAY })
    expect(one.asked).toEqual([['revoke', subject, 'left', undefined]])
    expect(two.asked).toEqual([['revoke', subject, 'left', undefined]])
    expect(await store.get(keyOf(soughtBy({ subject: 'alice' }).all[0]!, undefined)!)).toBe(JSON.stringify({ reason: 'left', untilMs: NOW + 30 * DAY }))
  })

  test.each([
    ['a token that is here, as long as it lasts', { token: 't' }, {}, [NOW + 5_000], 5_000 + MARGIN],
    ['a token that is nowhere, for a month', { token: 't' }, {}, [], 30 * DAY],
    ['anything, as long as was said', { token: 't' }, { forMs: 7 }, ['never'], 7],
    ['a session, for a month', { session: 't' }, {}, [NOW + 5_000], 30 * DAY],
  ] as const)('is remembered: %s', async (_title, target, options, ends, life) => {
    const { revocations, store, clock } = gateOf(memoryStore({ clock: settableClock() }), settableClock(), [...ends])
    expect((await revocations.revoke(target, { reason: 'x', ...options })).untilMs).toBe(clock.now() + life)
    expect(await store.get(keyOf(soughtBy(target).all[0]!, undefined)!)).toBeDefined()
  })

  test('of a socket is told, and not remembered', async () => {
    const clock = settableClock()
    const store = troubledStore(clock)
    const { revocations } = gateOf(store, clock)
    store.asked = []
    expect((await revocations.revoke({ socket: 's' }, { reason: 'x' })).untilMs).toBeUndefined()
    expect(store.asked).toEqual(['publish'])
  })

  test.each(['throws', 'rejects', 'hangs'] as const)('of which a store that %s knows nothing is UNAVAILABLE, with the sockets here closed', async (trouble) => {
    const clock = settableClock()
    const store = troubledStore(clock)
    const { revocations, asked } = gateOf(store, clock)
    store.trouble = trouble
    const revoked = revocations.revoke({ subject: 'alice' }, { reason: 'left' })
    const said = revoked.catch((error: unknown) => error)
    expect(asked).toHaveLength(1)
    clock.advance(5_000)
    expect(await said).toBeInstanceOf(Denied)
    expect(await said).toMatchObject({ code: 'UNAVAILABLE' })
  })

  test('of nobody, or for no reason, does nothing', async () => {
    const { revocations, asked } = gateOf(memoryStore())
    await expect(revocations.revoke({} as never, { reason: 'x' })).rejects.toThrow('revoke takes one of')
    await expect(revocations.revoke({ subject: 'a' }, {} as never)).rejects.toThrow('reason')
    await expect(revocations.reauthorize({} as never)).rejects.toThrow('takes one of')
    await expect(revocations.reinstate({ subject: 7 } as never)).rejects.toThrow('subject')
    expect(asked).toEqual([])
  })
})

describe('taking one back', () => {
  test('says whether there was one, whichever it was, and tells all others', async () => {
    const store = memoryStore()
    const [one, two] = [gateOf(store), gateOf(store)]
    for (const options of [{ reason: 'x' }, { reason: 'x', issuedBefore: 5 }]) {
      await one.revocations.revoke({ subject: 'alice' }, options)
      two.asked.length = 0
      expect(await one.revocations.reinstate({ subject: 'alice' })).toBe(true)
      expect(two.asked).toEqual([['reinstate', subject]])
      expect(await one.revocations.reinstate({ subject: 'alice' })).toBe(false)
    }
    expect(await one.revocations.reinstate({ socket: 's' })).toBe(false)
  })
})

describe('asking anew', () => {
  test('says who stays and who goes, here, and asks the others to do the same', async () => {
    const store = memoryStore()
    const [one, two] = [gateOf(store), gateOf(store)]
    expect(await one.revocations.reauthorize({ subject: 'alice' })).toEqual({ kept: ['stays'], closed: ['goes'] })
    expect(two.asked).toEqual([['those', subject]])
  })

  test('is done here also where nobody else can be told', async () => {
    const clock = settableClock()
    const store = troubledStore(clock)
    const { revocations, asked } = gateOf(store, clock)
    store.trouble = 'rejects'
    await expect(revocations.reauthorize({ subject: 'alice' })).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    expect(asked).toEqual([['those', subject]])
  })
})

describe('what is heard', () => {
  test('and cannot be read is a fault, and ends nothing', async () => {
    const store = memoryStore()
    const { asked, faults } = gateOf(store)
    for (const nonsense of ['', 'x', 'null', '{"kind":"revoke"']) await store.publish('portcullis:control', nonsense)
    expect(asked).toEqual([])
    expect(faults).toHaveLength(4)
  })

  test('after the gate was closed is not listened to, also where the store was slow to begin', async () => {
    const real = memoryStore()
    let begin!: () => void
    const slow = new Proxy(real, {
      get: (target, key) => (key === 'subscribe' ? (...args: [string, () => void]) => new Promise((resolve) => (begin = () => resolve(real.subscribe(...args)))) : (Reflect.get(target, key) as () => unknown).bind(target)),
    })
    const one = gateOf(real)
    const two = gateOf(slow)
    two.revocations.close()
    begin()
    await Promise.resolve()
    await new Promise((resolve) => setImmediate(resolve))
    const three = gateOf(real)
    three.revocations.close()
    await one.revocations.revoke({ subject: 'alice' }, { reason: 'x' })
    expect([two.asked, three.asked]).toEqual([[], []])
  })

  test.each(['throws', 'rejects'] as const)('nothing, where the store %s: a fault', async (trouble) => {
    const clock = settableClock()
    const store = troubledStore(clock)
    store.trouble = trouble
    const faults: unknown[] = []
    const core = new Core(resolveOptions({ store, clock }, undefined))
    core.observers.on('fault', ({ error }) => void faults.push(error))
    new Revocations(core, {} as never)
    await new Promise((resolve) => setImmediate(resolve))
    expect(faults).toHaveLength(1)
  })
})
