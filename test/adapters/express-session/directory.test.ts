import { describe, expect, test } from '@jest/globals'
import { memoryStore } from '../../../adapters/memory.ts'
import { sessionsKey } from '../../../adapters/express-session/directory-records.ts'
import { Directory } from '../../../adapters/express-session/directory.ts'
import type { Concurrent, Who } from '../../../adapters/express-session/directory.ts'
import { sealer } from '../../../adapters/express-session/seal.ts'
import { ConfigError, Denied } from '../../../lib/errors.ts'
import type { Member, Store } from '../../../lib/store.ts'
import { testClock } from '../../../lib/testing.ts'
import { troubledStore } from '../../support/credentials.ts'

const alice: Who = { subject: 'alice', issuer: 'https://id.example' }
const bob: Who = { subject: 'bob', issuer: 'https://id.example' }
const SECRET = 'correct horse battery staple'
const DAY_MS = 86_400_000
/** Longer than a session that begins is given to get into the session store. */
const SETTLED_MS = 5_000
const client = { address: '192.0.2.1', userAgent: 'Mozilla/5.0' }

/** What a store was asked, as `operation key`, with everything that went into it. */
function recorded(own: Store) {
  const asked: string[] = []
  const given: unknown[] = []
  const store = new Proxy(own, {
    get(target, name: keyof Store) {
      const member: unknown = target[name]
      if (typeof member !== 'function') return member
      return (...args: unknown[]): unknown => {
        asked.push(`${name} ${String(args[0]).split(':').slice(0, 2).join(':')}`)
        given.push(args)
        return (member as (...args: unknown[]) => unknown).apply(target, args)
      }
    },
  })
  return { store, asked, given, forget: () => (asked.length = given.length = 0) }
}

/** A store as over a network: each question takes its time, and so does each answer. */
function network(own: Store): Store {
  let state = 7
  const turns = async (): Promise<void> => {
    state = (state * 48_271) % 2_147_483_647
    for (let turn = state % 4; turn >= 0; turn--) await new Promise((resolve) => setImmediate(resolve))
  }
  return new Proxy(own, {
    get(target, name: keyof Store) {
      const member: unknown = target[name]
      if (typeof member !== 'function') return member
      return async (...args: unknown[]) => {
        await turns()
        const answer: unknown = (member as (...args: unknown[]) => unknown).apply(target, args)
        await turns()
        return answer
      }
    },
  })
}

/** A directory over a store in memory, and the session ids that stand for a session. */
function setUp(concurrent?: Concurrent, { secrets = [SECRET], standIn = (store: Store): Store => store } = {}) {
  const clock = testClock()
  const memory = memoryStore({ clock })
  const { store, ...said } = recorded(standIn(memory))
  const alive = new Set<string>()
  const asked: string[] = []
  const isAlive = async (sid: string): Promise<boolean> => (asked.push(sid), alive.has(sid))
  const node = (...own: string[]) => new Directory(() => store, sealer(own.length > 0 ? own : secrets), clock, concurrent)
  const directory = node()
  /** A session begins, and is kept. */
  const signIn = async (who: Who, lineage: string, more = client): Promise<readonly string[]> => {
    const left = await directory.enter(who, lineage, `sid-of-${lineage}`, more, isAlive)
    alive.add(`sid-of-${lineage}`)
    return left
  }
  const ids = async (who = alice): Promise<string[]> => (await directory.list(who, isAlive)).map(({ id }) => id)
  /** The lineages that the store has of somebody, dead or not. */
  const kept = (who = alice): string[] => (memory.members(sessionsKey(who)) as readonly Member[]).map(({ member }) => member)
  const refused = async (entering: Promise<unknown>): Promise<Denied> => {
    const error: unknown = await entering.then(() => undefined, (thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(Denied)
    return error as Denied
  }
  return { clock, memory, store, said, alive, asked, isAlive, node, directory, signIn, ids, kept, refused }
}

describe('the list', () => {
  test('has the sessions of somebody, oldest first, with when they began, were last seen, and from where', async () => {
    const { directory, signIn, isAlive, clock } = setUp()
    const start = clock.now()
    await signIn(alice, 'one')
    clock.advance(1_000)
    await signIn(bob, 'other')
    await signIn(alice, 'two', { address: '2001:db8::1', userAgent: 'curl/8' })
    clock.advance(60_000)
    await directory.seen(alice, 'one', 'sid-of-one', { address: '192.0.2.7', userAgent: 'Mozilla/6.0' })
    expect(await directory.list(alice, isAlive)).toEqual([
      { id: 'one', createdAtMs: start, seenAtMs: start + 61_000, address: '192.0.2.7', userAgent: 'Mozilla/6.0' },
      { id: 'two', createdAtMs: start + 1_000, seenAtMs: start + 1_000, address: '2001:db8::1', userAgent: 'curl/8' },
    ])
    expect(await directory.list({ ...alice, subject: 'nobody' }, isAlive)).toEqual([])
  })

  test('says of address and user agent what is known, and no more of them than that', async () => {
    const { directory, isAlive, alive } = setUp()
    alive.add('s')
    await directory.enter(alice, 'a', 's', {}, isAlive)
    expect(Object.keys((await directory.list(alice, isAlive))[0]!).sort()).toEqual(['createdAtMs', 'id', 'seenAtMs'])
    await directory.enter(alice, 'a', 's', { address: 'x'.repeat(1_000_000), userAgent: 'y'.repeat(1_000_000) }, isAlive)
    expect((await directory.list(alice, isAlive))[0]).toMatchObject({ address: 'x'.repeat(64), userAgent: 'y'.repeat(256) })
  })

  test('tells apart who has the same name with another issuer, or none', async () => {
    const { signIn, ids } = setUp({ limit: 1, full: 'refuse' })
    const people: Who[] = [alice, { ...alice, issuer: undefined }, { ...alice, issuer: '' }, { ...alice, issuer: 'null' }, { ...alice, issuer: 'undefined' }, { ...alice, issuer: 'a,b' }, { subject: 'b,alice', issuer: 'a' }, { subject: 'https://id.example', issuer: 'alice' }, { subject: 'https://id.example,alice', issuer: undefined }]
    for (const [index, who] of people.entries()) await signIn(who, `session ${index}`)
    for (const [index, who] of people.entries()) expect(await ids(who)).toEqual([`session ${index}`])
    await signIn({ ...alice, issuer: 'https://other.example' }, 'session 0')
    expect(await ids(alice)).toEqual([])
  })

  test('is without dead sessions, which are forgotten on the way', async () => {
    const { signIn, ids, alive, clock, memory, asked, directory } = setUp()
    for (const lineage of ['a', 'b', 'c']) await signIn(alice, lineage)
    clock.advance(SETTLED_MS)
    alive.delete('sid-of-b')
    expect(await ids()).toEqual(['a', 'c'])
    expect(asked.sort()).toEqual(['sid-of-a', 'sid-of-b', 'sid-of-c'])
    expect(await directory.find('b')).toBeUndefined()
    asked.length = 0
    expect(await ids()).toEqual(['a', 'c'])
    expect(asked.sort()).toEqual(['sid-of-a', 'sid-of-c'])
    alive.clear()
    expect(await ids()).toEqual([])
    expect([memory.get('session:at:a'), memory.get('session:who:a')]).toEqual([undefined, undefined])
  })

  test('has a session that begins before it is kept, for a moment, and no longer', async () => {
    const { directory, ids, isAlive, clock, asked } = setUp()
    await directory.enter(alice, 'a', 's', client, isAlive)
    expect([await ids(), asked]).toEqual([['a'], []])
    clock.advance(SETTLED_MS - 1)
    expect([await ids(), asked]).toEqual([['a'], []])
    clock.advance(1)
    expect(await ids()).toEqual([])
  })

  test('has a session on its way from one id to the next, and is without it when it never arrives', async () => {
    const { directory, signIn, ids, alive, clock } = setUp()
    await signIn(alice, 'a')
    clock.advance(60_000)
    await directory.move('a', undefined)
    alive.clear()
    clock.advance(29_999)
    expect(await ids()).toEqual(['a'])
    clock.advance(1)
    expect(await ids()).toEqual([])
  })

  test('has a session under whatever id it is now', async () => {
    const { directory, signIn, ids, alive, clock, asked } = setUp()
    await signIn(alice, 'a')
    clock.advance(60_000)
    await directory.move('a', undefined)
    await directory.move('a', 'next')
    alive.clear()
    expect(await ids()).toEqual(['a'])
    alive.add('next')
    clock.advance(SETTLED_MS)
    expect([await ids(), asked]).toEqual([['a'], ['next']])
  })

  test('keeps a session that goes on while it is taken for dead', async () => {
    const { directory, signIn, ids, alive, clock, isAlive } = setUp()
    await signIn(alice, 'a')
    clock.advance(SETTLED_MS)
    alive.clear()
    const listed = await directory.list(alice, async () => {
      await directory.move('a', 'next')
      return false
    })
    expect(listed).toEqual([])
    alive.add('next')
    clock.advance(SETTLED_MS)
    expect(await ids()).toEqual(['a'])
    expect(await directory.find('a')).toMatchObject({ sid: 'next', who: alice })
    expect(await directory.list(alice, isAlive)).toHaveLength(1)
  })

  test('is without a session that has become another one’s', async () => {
    const { directory, signIn, ids, clock, kept } = setUp()
    await signIn(alice, 'a')
    await signIn(bob, 'a')
    expect([await ids(alice), await ids(bob)]).toEqual([[], ['a']])
    clock.advance(SETTLED_MS)
    expect([await ids(alice), await ids(bob)]).toEqual([[], ['a']])
    // Taken out of hers on the way, and left alone otherwise.
    expect([kept(alice), kept(bob)]).toEqual([[], ['a']])
    expect(await directory.find('a')).toEqual({ sid: 'sid-of-a', who: bob, moving: false })
  })

  test('is longer than a handful, and asks for a few of them at a time', async () => {
    const { directory, signIn, clock, alive } = setUp()
    const all = Array.from({ length: 200 }, (_, index) => `session ${index}`)
    for (const lineage of all) await signIn(alice, lineage)
    clock.advance(SETTLED_MS)
    let [running, most] = [0, 0]
    const listed = await directory.list(alice, async (sid) => {
      most = Math.max(most, ++running)
      await new Promise((resolve) => setImmediate(resolve))
      running--
      return alive.has(sid)
    })
    expect(listed.map(({ id }) => id)).toEqual(all)
    expect(most).toBeLessThanOrEqual(64)
  })
})

describe('where a lineage is', () => {
  test('is found from whichever node, with whose it is', async () => {
    const { node, signIn } = setUp()
    await signIn(alice, 'a')
    await signIn({ subject: 'carol', issuer: undefined }, 'c')
    expect(await node().find('a')).toEqual({ sid: 'sid-of-a', who: alice, moving: false })
    expect(await node().find('c')).toEqual({ sid: 'sid-of-c', who: { subject: 'carol', issuer: undefined }, moving: false })
  })

  test('is not known of a lineage that was never there, whatever its name', async () => {
    const { directory, said } = setUp()
    for (const lineage of ['x', '', '__proto__', 'constructor', '*', 'a\nb', 'x'.repeat(1_000_000)]) expect(await directory.find(lineage)).toBeUndefined()
    for (const keys of said.given as [string[]][]) for (const key of keys[0]) expect(key.length).toBeLessThan(300)
  })

  test('is on its way from when it is about to move until it has arrived, and for half a minute at most', async () => {
    const { directory, signIn, clock } = setUp()
    await signIn(alice, 'a')
    await directory.move('a', undefined)
    expect(await directory.find('a')).toEqual({ sid: undefined, who: alice, moving: true })
    clock.advance(29_999)
    expect(await directory.find('a')).toMatchObject({ moving: true })
    clock.advance(1)
    expect(await directory.find('a')).toEqual({ sid: undefined, who: alice, moving: false })
    await directory.move('a', 'next')
    expect(await directory.find('a')).toEqual({ sid: 'next', who: alice, moving: false })
  })

  test('is known of the session of a visitor too, once it has moved or was seen', async () => {
    const { directory, ids } = setUp()
    await directory.move('moved', 's')
    expect(await directory.seen(undefined, 'visited', 't', client)).toBe(true)
    expect(await directory.find('moved')).toEqual({ sid: 's', who: undefined, moving: false })
    expect(await directory.find('visited')).toEqual({ sid: 't', who: undefined, moving: false })
    expect(await ids()).toEqual([])
  })

  test('is where it entered again, under another id', async () => {
    const { directory, signIn, isAlive, clock } = setUp()
    await signIn(alice, 'a')
    const createdAtMs = (await directory.list(alice, isAlive))[0]!.createdAtMs
    clock.advance(60_000)
    await directory.enter(alice, 'a', 'next', client, isAlive)
    expect(await directory.find('a')).toMatchObject({ sid: 'next' })
    expect(await directory.list(alice, isAlive)).toMatchObject([{ id: 'a', createdAtMs, seenAtMs: createdAtMs + 60_000 }])
  })

  test('is not known any more when it has ended, with or without its owner being named', async () => {
    const { directory, signIn, ids } = setUp()
    for (const lineage of ['a', 'b', 'c']) await signIn(alice, lineage)
    await directory.move('visitor', 's')
    await directory.leave('a', alice)
    await directory.leave('b')
    await directory.leave('visitor')
    await directory.leave('nobody')
    for (const lineage of ['a', 'b', 'visitor', 'nobody']) expect(await directory.find(lineage)).toBeUndefined()
    expect(await ids()).toEqual(['c'])
    await directory.leave('c', alice)
    expect(await ids()).toEqual([])
  })

  test('stays known when it is no longer of one but of another', async () => {
    const { directory, signIn, ids } = setUp()
    await signIn(alice, 'a')
    await signIn(bob, 'a')
    await directory.leave('a', alice)
    expect(await directory.find('a')).toEqual({ sid: 'sid-of-a', who: bob, moving: false })
    expect([await ids(alice), await ids(bob)]).toEqual([[], ['a']])
  })

  test('is known under a secret that was replaced, and lost with one that was taken out', async () => {
    const { node, signIn, ids, clock, isAlive } = setUp()
    await signIn(alice, 'a')
    expect(await node('new', SECRET).find('a')).toMatchObject({ sid: 'sid-of-a' })
    expect(await node('new').find('a')).toEqual({ sid: undefined, who: alice, moving: false })
    clock.advance(SETTLED_MS)
    expect(await node('new', SECRET).list(alice, isAlive)).toHaveLength(1)
    expect(await node('new').list(alice, isAlive)).toEqual([])
    expect(await ids()).toEqual([])
  })
})

describe('a session that is seen', () => {
  test('is known until 30 days after that, and forgotten in the end', async () => {
    const { directory, signIn, ids, clock } = setUp()
    for (const lineage of ['a', 'b']) await signIn(alice, lineage)
    await directory.seen(undefined, 'visitor', 'v', client)
    // As often as may be, and then now and then.
    for (const days of [0.1, 0.4, 0.6, 0.5, 1, 20, 29, 30, 30, 30]) {
      clock.advance(days * DAY_MS)
      expect(await directory.find('a')).toEqual({ sid: 'sid-of-a', who: alice, moving: false })
      expect(await directory.find('visitor')).toEqual({ sid: 'v', who: undefined, moving: false })
      expect(await ids()).toContain('a')
      expect(await directory.seen(alice, 'a', 'sid-of-a', client)).toBe(true)
      await directory.seen(undefined, 'visitor', 'v', client)
    }
    expect(await ids()).toEqual(['a'])
    clock.advance(31 * DAY_MS)
    expect(await ids()).toEqual([])
    for (const lineage of ['a', 'visitor']) expect(await directory.find(lineage)).toBeUndefined()
  })

  test('is remembered again by a store that has lost everything', async () => {
    const { directory, signIn, ids, memory, clock } = setUp({ limit: 2, full: 'refuse' })
    await signIn(alice, 'a')
    clock.advance(60_000)
    void memory.close()
    expect(await ids()).toEqual([])
    expect(await directory.seen(alice, 'a', 'sid-of-a', client)).toBe(true)
    clock.advance(SETTLED_MS)
    expect(await ids()).toEqual(['a'])
    expect(await directory.find('a')).toEqual({ sid: 'sid-of-a', who: alice, moving: false })
  })

  test('costs one write in one round trip', async () => {
    const { directory, signIn, said } = setUp()
    await signIn(alice, 'a')
    said.forget()
    for (let i = 0; i < 3; i++) await directory.seen(alice, 'a', 'sid-of-a', client)
    expect(said.asked.sort()).toEqual([...Array<string>(3).fill('enlist session:of'), ...Array<string>(3).fill('getOrSet session:at'), ...Array<string>(3).fill('getOrSet session:who')])
  })

  test('by who has not heard of its new id does not bring the old one back', async () => {
    const { directory, signIn, clock } = setUp()
    await signIn(alice, 'a')
    await directory.move('a', 'next')
    await directory.seen(alice, 'a', 'sid-of-a', client)
    expect(await directory.find('a')).toMatchObject({ sid: 'next' })
    clock.advance(20 * DAY_MS)
    await directory.seen(alice, 'a', 'sid-of-a', client)
    expect(await directory.find('a')).toMatchObject({ sid: 'next' })
    await directory.move('a', undefined)
    await directory.seen(alice, 'a', 'sid-of-a', client)
    expect(await directory.find('a')).toMatchObject({ sid: undefined, moving: true })
  })

  test('is where it is seen, when it was on its way and has not arrived', async () => {
    const { directory, signIn, clock, ids } = setUp()
    await signIn(alice, 'a')
    await directory.move('a', undefined)
    clock.advance(30_000)
    await directory.seen(alice, 'a', 'sid-of-a', client)
    expect(await directory.find('a')).toEqual({ sid: 'sid-of-a', who: alice, moving: false })
    clock.advance(SETTLED_MS)
    expect(await ids()).toEqual(['a'])
  })

  test('by who has not heard of its new owner stays with that one', async () => {
    const { directory, signIn, ids, clock, kept } = setUp()
    await signIn(alice, 'a')
    await signIn(bob, 'a')
    await directory.leave('a', alice)
    for (let i = 0; i < 3; i++) {
      expect(await directory.seen(alice, 'a', 'sid-of-a', client)).toBe(false)
      expect([kept(alice), await ids(alice), await ids(bob)]).toEqual([[], [], ['a']])
      expect(await directory.find('a')).toMatchObject({ who: bob })
      clock.advance(7 * DAY_MS)
    }
  })

  test.each(['refuse', 'end-oldest'] as const)('after it was sent away does not come back by that: %s', async (full) => {
    const { directory, signIn, ids, clock } = setUp({ limit: 2, full })
    for (const lineage of ['a', 'b']) await signIn(alice, lineage)
    if (full === 'end-oldest') expect(await signIn(alice, 'c')).toEqual(['a'])
    else await directory.leave('a', alice).then(() => signIn(alice, 'c'))
    expect(await directory.seen(alice, 'a', 'sid-of-a', client)).toBe(false)
    clock.advance(SETTLED_MS)
    expect(await ids()).toEqual(['b', 'c'])
    expect(await directory.seen(alice, 'b', 'sid-of-b', client)).toBe(true)
  })
})

describe('as many as may be', () => {
  test('are let in, and the next one is refused, and told how many that is', async () => {
    const { signIn, refused, ids, clock, directory } = setUp({ limit: 3, full: 'refuse' })
    for (const lineage of ['a', 'b', 'c']) expect(await signIn(alice, lineage)).toEqual([])
    clock.advance(60_000)
    expect(await refused(signIn(alice, 'd'))).toMatchObject({ code: 'TOO_MANY_CONNECTIONS', details: { limit: 3 } })
    expect(await directory.find('d')).toBeUndefined()
    expect(await signIn(bob, 'e')).toEqual([])
    expect(await ids()).toEqual(['a', 'b', 'c'])
    await directory.leave('b', alice)
    expect(await signIn(alice, 'd')).toEqual([])
    expect(await ids()).toEqual(['a', 'c', 'd'])
  })

  test('are not one more for a session that goes on', async () => {
    const { signIn, directory, isAlive, ids } = setUp({ limit: 1, full: 'refuse' })
    await signIn(alice, 'a')
    for (const sid of ['x', 'y', 'z']) expect(await directory.enter(alice, 'a', sid, client, isAlive)).toEqual([])
    expect([await ids(), await directory.find('a')]).toEqual([['a'], { sid: 'z', who: alice, moving: false }])
  })

  test('leave the session of a visitor what it was, whose sign-in is refused', async () => {
    const { signIn, directory, isAlive, refused } = setUp({ limit: 1, full: 'refuse' })
    await signIn(alice, 'a')
    await directory.move('visitor', 's')
    await refused(directory.enter(alice, 'visitor', 't', client, isAlive))
    expect(await directory.find('visitor')).toEqual({ sid: 's', who: undefined, moving: false })
  })

  test('or the oldest has to go, which can be found to be ended', async () => {
    const { signIn, directory, ids, clock } = setUp({ limit: 3, full: 'end-oldest' })
    for (const lineage of ['a', 'b', 'c']) expect(await signIn(alice, lineage)).toEqual([])
    clock.advance(60_000)
    await directory.seen(alice, 'a', 'sid-of-a', client)
    expect(await signIn(alice, 'd')).toEqual(['a'])
    expect(await directory.find('a')).toEqual({ sid: 'sid-of-a', who: alice, moving: false })
    expect(await ids()).toEqual(['b', 'c', 'd'])
  })

  test('after the limit was lowered: as many go as it takes', async () => {
    const { signIn, store, clock, isAlive, ids } = setUp({ limit: 5, full: 'end-oldest' })
    for (const lineage of ['a', 'b', 'c', 'd', 'e']) await signIn(alice, lineage)
    clock.advance(60_000)
    const stricter = new Directory(() => store, sealer([SECRET]), clock, { limit: 2, full: 'end-oldest' })
    expect(await stricter.enter(alice, 'f', 's', client, isAlive)).toEqual(['a', 'b', 'c', 'd'])
    expect(await ids()).toEqual(['e', 'f'])
  })

  test.each(['refuse', 'end-oldest'] as const)('do not count dead ones: nobody is refused or has to go for them: %s', async (full) => {
    const { signIn, alive, clock, ids, directory } = setUp({ limit: 3, full })
    for (const lineage of ['a', 'b', 'c']) await signIn(alice, lineage)
    clock.advance(SETTLED_MS)
    alive.delete('sid-of-b')
    expect(await signIn(alice, 'd')).toEqual([])
    expect(await ids()).toEqual(['a', 'c', 'd'])
    expect(await directory.find('b')).toBeUndefined()
  })

  test.each(['refuse', 'end-oldest'] as const)('count those on their way to another id, and those that only just began: %s', async (full) => {
    const { directory, signIn, alive, clock, isAlive, refused } = setUp({ limit: 2, full })
    await signIn(alice, 'moving')
    clock.advance(60_000)
    await directory.move('moving', undefined)
    alive.clear()
    await directory.enter(alice, 'new', 'not kept yet', client, isAlive)
    const next = directory.enter(alice, 'next', 's', client, isAlive)
    if (full === 'refuse') expect(await refused(next)).toMatchObject({ code: 'TOO_MANY_CONNECTIONS' })
    else expect(await next).toEqual(['moving'])
  })

  /** A directory whose node has let a session in, and has not yet noted where it is. */
  const half = async (run: (own: ReturnType<typeof setUp> & { readonly begin: (who: Who, sid: string) => Promise<void> }) => Promise<void>): Promise<void> => {
    const own = setUp({ limit: 1, full: 'refuse' })
    let go = (): void => {}
    const held = new Promise<void>((resolve) => (go = resolve))
    const store: Store = { ...own.memory, set: async (...asked) => held.then(() => own.memory.set(...asked)) }
    const slow = new Directory(() => store, sealer([SECRET]), own.clock, { limit: 1, full: 'refuse' })
    let entering: Promise<unknown> | undefined
    const begin = async (who: Who, sid: string): Promise<void> => {
      entering = slow.enter(who, 'a', sid, client, own.isAlive)
      await new Promise((resolve) => setImmediate(resolve))
    }
    await run({ ...own, begin })
    go()
    await entering
  }

  test('count one that was let in just now, before it is known where it is', () =>
    half(async ({ begin, directory, isAlive, refused }) => {
      await begin(alice, 's')
      expect(await refused(directory.enter(alice, 'b', 't', client, isAlive))).toMatchObject({ code: 'TOO_MANY_CONNECTIONS' })
    }))

  test('count one that goes on, before it is known where that is', () =>
    half(async ({ begin, directory, signIn, alive, clock, isAlive, refused, kept }) => {
      await signIn(alice, 'a')
      clock.advance(60_000)
      alive.clear()
      await begin(alice, 'next')
      expect(await refused(directory.enter(alice, 'b', 't', client, isAlive))).toMatchObject({ code: 'TOO_MANY_CONNECTIONS' })
      expect(kept()).toEqual(['a'])
    }))

  test('count one that becomes another one’s, before it is known whose it is', () =>
    half(async ({ begin, directory, signIn, clock, isAlive, refused, kept }) => {
      await signIn(alice, 'a')
      clock.advance(60_000)
      await begin(bob, 'next')
      expect(await refused(directory.enter(bob, 'b', 't', client, isAlive))).toMatchObject({ code: 'TOO_MANY_CONNECTIONS' })
      expect(kept(bob)).toEqual(['a'])
    }))

  test.each([
    ['refuse', 1, false],
    ['refuse', 3, false],
    ['refuse', 3, true],
    ['end-oldest', 1, false],
    ['end-oldest', 3, false],
    ['end-oldest', 3, true],
  ] as const)('are left of 20 who come at the same time to three nodes: %s, %i, some dead: %p', async (full, limit, withDead) => {
    const { node, alive, isAlive, clock, ids, signIn, directory } = setUp({ limit, full }, { standIn: network })
    if (withDead) {
      for (const lineage of ['dead 1', 'dead 2']) await signIn(alice, lineage)
      clock.advance(SETTLED_MS)
      alive.clear()
    }
    const nodes = [node(), node(), node()]
    const ended = new Set<string>()
    const refusals: unknown[] = []
    const all = Array.from({ length: 20 }, (_, index) => `session ${index}`)
    await Promise.all(
      all.map(async (lineage, index) => {
        const own = nodes[index % 3]!
        let left: readonly string[]
        try {
          left = await own.enter(alice, lineage, `sid of ${lineage}`, client, isAlive)
        } catch (error) {
          refusals.push((error as Denied).code)
          return
        }
        // Only now it is kept, as with express-session: when the response ends. Not where it had to go meanwhile.
        await Promise.all([
          new Promise((resolve) => setImmediate(resolve)).then(() => ended.has(lineage) || alive.add(`sid of ${lineage}`)),
          ...left.map(async (each) => {
            const { sid, who } = (await own.find(each))!
            expect([sid, who]).toEqual([`sid of ${each}`, alice])
            ended.add(each)
            alive.delete(sid!)
            await own.leave(each, who)
          }),
        ])
      }),
    )
    const known = await ids()
    expect(known).toHaveLength(limit)
    expect([...alive].sort()).toEqual(known.map((each) => `sid of ${each}`).sort())
    if (full === 'refuse') expect([ended.size, refusals]).toEqual([0, Array(20 - limit).fill('TOO_MANY_CONNECTIONS')])
    else expect([refusals, [...ended, ...known].sort()]).toEqual([[], [...all].sort()])
    clock.advance(SETTLED_MS)
    expect(await ids()).toEqual(known)
    expect((await directory.list(alice, isAlive)).length).toBe(limit)
  })
})

describe('without a limit', () => {
  test('dead sessions do not pile up: they go when there are a few dozen', async () => {
    const { signIn, alive, clock, kept } = setUp()
    const counts: number[] = []
    for (let day = 0; day < 500; day++) {
      expect(await signIn(alice, `day ${day}`)).toEqual([])
      clock.advance(DAY_MS)
      alive.clear()
      counts.push(kept().length)
    }
    expect(Math.max(...counts)).toBe(32)
  })

  test('living ones are all let in, and who enters waits for a bounded number of questions', async () => {
    const { signIn, asked, clock, ids } = setUp()
    for (let i = 0; i < 100; i++) {
      asked.length = 0
      expect(await signIn(alice, `session ${i}`)).toEqual([])
      expect(asked.length).toBeLessThanOrEqual(64)
      clock.advance(SETTLED_MS)
    }
    expect(await ids()).toHaveLength(100)
  })

  test('those that were not seen for the longest time are asked about first', async () => {
    const { directory, signIn, alive, clock, isAlive, asked, said } = setUp()
    for (let i = 0; i < 100; i++) await signIn(alice, `session ${i}`)
    clock.advance(60_000)
    // All but the last ten are seen again.
    for (let i = 0; i < 90; i++) await directory.seen(alice, `session ${i}`, `sid-of-session ${i}`, client)
    clock.advance(60_000)
    for (let i = 90; i < 100; i++) alive.delete(`sid-of-session ${i}`)
    asked.length = 0
    said.forget()
    await directory.enter(alice, 'next', 's', client, isAlive)
    expect(asked).toHaveLength(64)
    expect((said.given[said.asked.findIndex((each) => each.startsWith('getMany'))] as [string[]])[0]).toHaveLength(128)
    expect(asked).toEqual(expect.arrayContaining(Array.from({ length: 10 }, (_, index) => `sid-of-session ${90 + index}`)))
    expect(await directory.find('session 95')).toBeUndefined()
  })

  test('the thousand-and-first living session of one subject ends the first: one that is not listed could not be ended', async () => {
    const { directory, signIn, alive, clock, ids } = setUp()
    for (let i = 0; i < 1_000; i++) {
      alive.add(`sid ${i}`)
      await directory.seen(alice, `session ${i}`, `sid ${i}`, client)
    }
    clock.advance(SETTLED_MS)
    expect(await signIn(alice, 'next')).toEqual(['session 0'])
    expect(await ids()).toHaveLength(1_000)
  })
})

describe('what stands in the store', () => {
  test('has no session id in it, in keys or values, whatever is done', async () => {
    const { directory, signIn, said, isAlive, ids, alive, clock, refused } = setUp({ limit: 2, full: 'refuse' })
    const sids = ['sid-of-a', 'sid-of-b', 'sid-of-c', 'moved-on', 'entered-on', 'of-a-visitor']
    for (const lineage of ['a', 'b']) await signIn(alice, lineage)
    await refused(signIn(alice, 'c'))
    await directory.move('a', undefined)
    await directory.move('a', 'moved-on')
    await directory.enter(alice, 'a', 'entered-on', client, isAlive)
    await directory.seen(alice, 'b', 'sid-of-b', client)
    await directory.seen(undefined, 'v', 'of-a-visitor', client)
    clock.advance(20 * DAY_MS)
    await directory.seen(alice, 'b', 'sid-of-b', client)
    alive.clear()
    clock.advance(SETTLED_MS)
    await ids()
    await directory.leave('v')
    const everything = JSON.stringify(said.given)
    expect(everything).toContain('Mozilla/5.0')
    for (const sid of sids) {
      for (const encoding of ['utf8', 'base64', 'base64url', 'hex'] as const) expect(everything).not.toContain(Buffer.from(sid).toString(encoding).slice(0, 8))
    }
  })

  test('has keys that nobody decides the length of', async () => {
    const { directory, said, isAlive } = setUp()
    const long = 'x'.repeat(1_000_000)
    await directory.enter({ subject: long, issuer: long }, long, 's', {}, isAlive)
    await directory.move(long, 't')
    await directory.seen({ subject: long, issuer: long }, long, 't', {})
    expect(await directory.find(long)).toMatchObject({ sid: 't' })
    expect(await directory.list({ subject: long, issuer: long }, isAlive)).toHaveLength(1)
    await directory.leave(long)
    for (const [key] of said.given as [string | string[]][]) for (const each of [key].flat()) expect(each.length).toBeLessThan(300)
  })

  test('is found whatever the names are', async () => {
    const { directory, isAlive } = setUp()
    const names = ['__proto__', 'constructor', 'toString', '', '*', 'a\nb', 'ü😀', '{"a":1}', ':']
    for (const name of names) {
      await directory.enter({ subject: name, issuer: name }, name, name, { userAgent: name }, isAlive)
      expect(await directory.find(name)).toEqual({ sid: name, who: { subject: name, issuer: name }, moving: false })
      expect(await directory.list({ subject: name, issuer: name }, isAlive)).toMatchObject([{ id: name, userAgent: name }])
    }
  })
})

describe('how often the store is asked', () => {
  const count = async (said: { asked: string[]; forget(): void }, run: () => Promise<unknown>): Promise<string[]> => {
    said.forget()
    await run()
    return [...said.asked]
  }

  test('once, at the same time, for whoever enters where there is room, and is not refused', async () => {
    const { directory, said, isAlive } = setUp({ limit: 3, full: 'end-oldest' })
    expect(await count(said, () => directory.enter(alice, 'a', 's', client, isAlive))).toEqual(['set session:at', 'set session:who', 'enlist session:of'])
  })

  test('once for where a lineage is, and once for where it goes', async () => {
    const { directory, said, signIn } = setUp()
    await signIn(alice, 'a')
    expect(await count(said, () => directory.find('a'))).toHaveLength(1)
    expect(await count(said, () => directory.move('a', 'next'))).toHaveLength(1)
    expect(await count(said, () => directory.move('a', undefined))).toHaveLength(1)
  })

  test('twice for a list, however long', async () => {
    const { directory, said, signIn, isAlive } = setUp()
    for (let i = 0; i < 100; i++) await signIn(alice, `${i}`)
    expect((await count(said, () => directory.list(alice, isAlive))).map((each) => each.split(' ')[0])).toEqual(['members', 'getMany'])
  })
})

describe('where the store', () => {
  type Run = (directory: Directory, isAlive: (sid: string) => Promise<boolean>) => Promise<unknown>
  const operations: readonly (readonly [string, Run])[] = [
    ['enter', (directory, isAlive) => directory.enter(alice, 'b', 's', client, isAlive)],
    ['find', (directory) => directory.find('a')],
    ['move', (directory) => directory.move('a', 's')],
    ['seen', (directory) => directory.seen(alice, 'a', 's', client)],
    ['seen, of a visitor', (directory) => directory.seen(undefined, 'a', 's', client)],
    ['leave', (directory) => directory.leave('a', alice)],
    ['leave, of anybody', (directory) => directory.leave('a')],
    ['list', (directory, isAlive) => directory.list(alice, isAlive)],
  ]

  test.each((['throws', 'rejects'] as const).flatMap((trouble) => operations.map(([name, run]) => [trouble, name, run] as const)))('%s, nobody is told that all is well: %s', async (trouble, _name, run) => {
    const clock = testClock()
    const store = troubledStore(clock)
    const isAlive = async (): Promise<boolean> => true
    for (const concurrent of [undefined, { limit: 1, full: 'refuse' }, { limit: 1, full: 'end-oldest' }] as const) {
      store.trouble = undefined
      const directory = new Directory(() => store, sealer([SECRET]), clock, concurrent)
      await directory.leave('b', alice)
      await directory.enter(alice, 'a', 's', client, isAlive)
      store.trouble = trouble
      await expect(run(directory, isAlive)).rejects.toMatchObject({ code: 'UNAVAILABLE', cause: { message: `the store ${trouble}` } })
    }
  })

  test.each(operations)('fails at any one question, nobody is told that all is well, and nothing is left unheard: %s', async (_name, run) => {
    const unheard: unknown[] = []
    const hear = (error: unknown): unknown => unheard.push(error)
    process.on('unhandledRejection', hear)
    try {
      for (const how of [() => Promise.reject(new Error('down')), () => { throw new Error('down') }]) {
        for (const concurrent of [undefined, { limit: 1, full: 'refuse' }, { limit: 1, full: 'end-oldest' }] as const) {
          for (let failing = 0, failed = true; failed; failing++) {
            const clock = testClock()
            const memory = memoryStore({ clock })
            const isAlive = async (): Promise<boolean> => false
            await new Directory(() => memory, sealer([SECRET]), clock, concurrent).enter(alice, 'a', 's', client, isAlive)
            // Old enough to be renewed, or to be taken for dead.
            clock.advance(20 * DAY_MS)
            let count = 0
            failed = false
            const store = new Proxy(memory, {
              get(target, key) {
                const member: unknown = Reflect.get(target, key)
                if (typeof member !== 'function') return member
                return (...args: unknown[]): unknown => {
                  if (count++ !== failing) return (member as (...args: unknown[]) => unknown)(...args)
                  failed = true
                  return how()
                }
              },
            })
            const outcome = await run(new Directory(() => store, sealer([SECRET]), clock, concurrent), isAlive).then(() => 'well', (error: unknown) => (error as Denied).code)
            expect([failing, failed, outcome]).toEqual([failing, failed, failed ? 'UNAVAILABLE' : 'well'])
          }
        }
      }
      await new Promise((resolve) => setImmediate(resolve))
    } finally {
      process.off('unhandledRejection', hear)
    }
    expect(unheard).toEqual([])
  })

  test('rejects one question and throws at the next, nothing is left unheard', async () => {
    const unheard: unknown[] = []
    const hear = (error: unknown): unknown => unheard.push(error)
    process.on('unhandledRejection', hear)
    try {
      for (const [, run] of operations) {
        let count = 0
        const store = new Proxy(memoryStore(), {
          get: () => () => {
            if (count++ % 2 === 0) return Promise.reject(new Error('down'))
            throw new Error('down')
          },
        })
        await expect(run(new Directory(() => store, sealer([SECRET]), testClock(), undefined), async () => true)).rejects.toMatchObject({ code: 'UNAVAILABLE' })
      }
      await new Promise((resolve) => setImmediate(resolve))
    } finally {
      process.off('unhandledRejection', hear)
    }
    expect(unheard).toEqual([])
  })

  const nobody: never[] = []
  const nonsense = [undefined, null, 0, 'text', true, {}, nobody, [undefined], [1], [{}], [null], { entered: true }, { entered: 'yes', left: [] }, { entered: true, left: [{}] }, [{ member: 'a', value: 1, sinceMs: 1 }], [{ member: 'a', value: '{}', sinceMs: 'now' }], [{ member: 'a', value: 'x', sinceMs: 1 }], ['{}', '{}'], ['[', 'x']]
  test.each([
    ['enter', 'enlist', 'none', operations[0]![1]],
    ['enter, when it is full', 'members', nobody, operations[0]![1]],
    ['enter, when it is full', 'getMany', 'none', operations[0]![1]],
    ['find', 'getMany', 'none', operations[1]![1]],
    ['seen', 'enlist', 'none', operations[3]![1]],
    ['seen', 'getOrSet', 'none', operations[3]![1]],
    ['leave', 'get', undefined, operations[5]![1]],
    ['list', 'members', nobody, operations[7]![1]],
    ['list', 'getMany', 'none', operations[7]![1]],
  ] as const)('gives nonsense, nobody is told that all is well: %s, %s', async (_name, operation, sensible, run) => {
    for (const answer of nonsense) {
      if (answer === sensible) continue
      for (const later of [false, true]) {
        const clock = testClock()
        const memory = memoryStore({ clock })
        const isAlive = async (): Promise<boolean> => true
        const limited = { limit: 1, full: 'refuse' } as const
        await new Directory(() => memory, sealer([SECRET]), clock, limited).enter(alice, 'a', 's', client, isAlive)
        const directory = new Directory(() => ({ ...memory, [operation]: () => (later ? Promise.resolve(answer) : answer) }), sealer([SECRET]), clock, limited)
        const outcome = await run(directory, isAlive).then((value) => ['well', value], (error: unknown) => [(error as Denied).code])
        expect([answer, ...outcome]).toEqual([answer, 'UNAVAILABLE'])
      }
    }
  })

  test('keeps something else under our keys, nobody is told that all is well, nor what it is', async () => {
    const secret = 'a text that is none of ours'
    for (const text of [secret, '', 'null', '0', '[]', '{}', '{"atMs":"1"}', '{"atMs":1,"sealed":1}', '{"atMs":1,"subject":1}', '{"atMs":"1","subject":"alice"}', '{"atMs":null,"subject":"alice"}', '{"atMs":1,"subject":"a","issuer":1}']) {
      for (const key of ['session:at:a', 'session:who:a']) {
        // Each of them is something that the other key may well have.
        if (key === 'session:at:a' && text.includes('subject')) continue
        const { directory, signIn, memory, refused, isAlive } = setUp()
        await signIn(alice, 'a')
        void memory.set(key, text, 60_000)
        for (const run of [() => directory.find('a'), () => directory.list(alice, isAlive), () => directory.seen(alice, 'a', 's', client)]) {
          const denied = await refused(run())
          expect([text, key, denied.code]).toEqual([text, key, 'UNAVAILABLE'])
          expect(String(denied.cause)).not.toContain(secret)
        }
      }
    }
  })

  test('is not there yet, it is said why', async () => {
    const directory = new Directory(() => { throw new ConfigError('no store') }, sealer([SECRET]), testClock(), undefined)
    for (const [, run] of operations) await expect(run(directory, async () => true)).rejects.toBeInstanceOf(ConfigError)
  })
})

describe('where the session store fails', () => {
  test.each([
    ['rejects', () => Promise.reject(new Error('down'))],
    ['throws', () => { throw new Error('down') }],
  ] as const)('%s: nobody is refused, taken for dead, or sent away for it', async (_how, isAlive) => {
    const { directory, signIn, clock, ids, refused } = setUp({ limit: 2, full: 'end-oldest' })
    for (const lineage of ['a', 'b']) await signIn(alice, lineage)
    clock.advance(SETTLED_MS)
    for (const run of [() => directory.list(alice, isAlive), () => directory.enter(alice, 'c', 's', client, isAlive)]) {
      expect(await refused(run())).toMatchObject({ code: 'UNAVAILABLE', cause: { message: 'down' } })
    }
    expect(await ids()).toEqual(['a', 'b'])
  })

  test('with a refusal of its own, that is the refusal', async () => {
    const { directory, signIn, clock, refused } = setUp()
    await signIn(alice, 'a')
    clock.advance(SETTLED_MS)
    expect(await refused(directory.list(alice, () => Promise.reject(new Denied('OVERLOADED'))))).toMatchObject({ code: 'OVERLOADED' })
  })
})
