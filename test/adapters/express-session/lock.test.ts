import { describe, expect, test } from '@jest/globals'
import { Locks } from '../../../adapters/express-session/lock.ts'
import { memoryStore } from '../../../adapters/memory.ts'
import { Denied } from '../../../lib/errors.ts'
import type { Store } from '../../../lib/store.ts'
import { testClock } from '../../../lib/testing.ts'
import { Latch } from '../../support/server.ts'
import { failure, settled } from './rig.ts'

const key = 's_lineage'

/** Nothing is to fail. */
const never = (error: unknown): never => {
  throw error
}

/** What is done one at a time: says who is in, and complains of company. */
function room() {
  const said: string[] = []
  let inside = 0
  let most = 0
  const visit = (name: string, stay: Promise<unknown> = Promise.resolve()) => async (): Promise<string> => {
    said.push(name)
    most = Math.max(most, ++inside)
    await stay
    inside--
    return name
  }
  return { said, visit, most: () => most }
}

/** The store of two nodes, and what it is asked. */
function shared() {
  const clock = testClock()
  const asked: string[] = []
  const store = memoryStore({ clock })
  const proxy = new Proxy(store, {
    get(target, name: keyof Store) {
      const member: unknown = target[name]
      if (typeof member !== 'function') return member
      return async (...args: unknown[]): Promise<unknown> => {
        asked.push(String(name))
        return (member as (...args: unknown[]) => unknown).apply(target, args)
      }
    },
  })
  return { clock, store, proxy, asked }
}

describe.each([
  ['without a store', () => [undefined, undefined]],
  [
    'with a store of its own',
    () => {
      const { proxy } = shared()
      return [proxy, proxy]
    },
  ],
] as const)('a lock on one node, %s', (_where, stores) => {
  const locks = (): Locks => new Locks(() => stores()[0], never)

  test('lets one in at a time, in the order in which they came', async () => {
    const { said, visit, most } = room()
    const own = locks()
    const go = new Latch()
    const all = ['first', 'second', 'third'].map((name) => own.hold(key, visit(name, go.opened)))
    await settled()
    expect(said).toEqual(['first'])
    go.open()
    expect(await Promise.all(all)).toEqual(['first', 'second', 'third'])
    expect(said).toEqual(['first', 'second', 'third'])
    expect(most()).toBe(1)
  })

  test('lets the next one in when somebody fails, whichever way, and tells only the one who did', async () => {
    const { visit } = room()
    const own = locks()
    const failed = own.hold(key, async () => {
      throw new Error('of its own')
    })
    const thrown = own.hold(key, () => {
      throw new Error('at once')
    })
    const after = own.hold(key, visit('after'))
    expect((await failure(failed)).message).toBe('of its own')
    expect((await failure(thrown)).message).toBe('at once')
    expect(await after).toBe('after')
  })

  test('keeps nobody waiting who changes another session', async () => {
    const { said, visit } = room()
    const own = locks()
    const go = new Latch()
    const held = own.hold(key, visit('here', go.opened))
    expect(await own.hold('s_another', visit('there'))).toBe('there')
    expect(said).toEqual(['here', 'there'])
    go.open()
    await held
  })
})

describe('a lock among nodes', () => {
  test('lets one in at a time, of all of them', async () => {
    const { proxy } = shared()
    const nodes = Array.from({ length: 4 }, () => new Locks(() => proxy, never))
    const { visit, most } = room()
    const all = nodes.flatMap((node, index) => [0, 1, 2].map((turn) => node.hold(key, visit(`${index}:${turn}`, settled()))))
    expect(new Set(await Promise.all(all)).size).toBe(12)
    expect(most()).toBe(1)
  })

  test('is let go when somebody fails', async () => {
    const { store, proxy } = shared()
    const [one, other] = [new Locks(() => proxy, never), new Locks(() => proxy, never)]
    await failure(
      one.hold(key, async () => {
        throw new Error('failed')
      }),
    )
    expect(store.get(`session:lock:${key}`)).toBeUndefined()
    expect(await other.hold(key, async () => 'in')).toBe('in')
  })

  test('is over in five seconds where its holder has died, and not before', async () => {
    const { clock, store, proxy } = shared()
    await store.set(`session:lock:${key}`, 'of the dead', 5_000)
    const { said, visit } = room()
    const waiting = new Locks(() => proxy, never).hold(key, visit('in'))
    clock.advance(4_999)
    await settled()
    expect(said).toEqual([])
    clock.advance(1)
    expect(await waiting).toBe('in')
  })

  test('holds for five seconds by itself: who takes longer does not let go of what is another one\'s by then', async () => {
    const { clock, store, proxy } = shared()
    const { visit, said } = room()
    const [slow, quick] = [new Latch(), new Latch()]
    const one = new Locks(() => proxy, never).hold(key, visit('slow', slow.opened))
    await settled()
    clock.advance(5_000)
    const other = new Locks(() => proxy, never).hold(key, visit('quick', quick.opened))
    await settled()
    expect(said).toEqual(['slow', 'quick'])
    const held = store.get(`session:lock:${key}`)
    slow.open()
    await one
    expect(held).toBeDefined()
    expect(store.get(`session:lock:${key}`)).toBe(held)
    quick.open()
    await other
    expect(store.get(`session:lock:${key}`)).toBeUndefined()
  })

  test('that is never let go is not waited for without end', async () => {
    const { store, proxy } = shared()
    // Nobody moves this clock: it stays.
    await store.set(`session:lock:${key}`, 'of somebody', 5_000)
    const { said, visit } = room()
    const error = (await failure(new Locks(() => proxy, never).hold(key, visit('in')))) as Denied
    expect(error).toBeInstanceOf(Denied)
    expect([error.code, error.cause]).toEqual(['UNAVAILABLE', expect.stringContaining('does not let go')])
    expect(said).toEqual([])
    expect(store.get(`session:lock:${key}`)).toBe('of somebody')
  })

  test('asks the store twice where nobody else wants it', async () => {
    const { proxy, asked } = shared()
    await new Locks(() => proxy, never).hold(key, async () => {})
    expect(asked).toEqual(['set', 'delete'])
  })

  test.each([
    ['rejects', () => Promise.reject(new Error('down'))],
    [
      'throws',
      () => {
        throw new Error('down')
      },
    ],
  ])('is done without, and said to have failed, where the store %s: a node is still in order by itself', async (_how, set) => {
    const failed: unknown[] = []
    const locks = new Locks(() => ({ set, delete: set }) as unknown as Store, (error) => void failed.push(error))
    const { visit, most } = room()
    expect(await Promise.all(['a', 'b', 'c'].map((name) => locks.hold(key, visit(name, settled()))))).toEqual(['a', 'b', 'c'])
    expect([most(), failed.map(String)]).toEqual([1, Array(3).fill('Error: down')])
  })

  test('is had by another node in the end, however many wait for it on this one', async () => {
    const { proxy } = shared()
    const [one, other] = [new Locks(() => proxy, never), new Locks(() => proxy, never)]
    const { said, visit } = room()
    const many = Array.from({ length: 200 }, (_, index) => one.hold(key, visit(`one ${index}`)))
    await other.hold(key, visit('other'))
    expect(said.indexOf('other')).toBeLessThan(100)
    await Promise.all(many)
  })

  test('has done what was to be done where only the letting go fails', async () => {
    const { store } = shared()
    const half = new Proxy(store, { get: (target, name) => (name === 'delete' ? () => Promise.reject(new Error('down')) : (Reflect.get(target, name) as unknown)) })
    expect(await new Locks(() => half, never).hold(key, async () => 'done')).toBe('done')
  })
})
