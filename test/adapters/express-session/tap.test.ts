import { describe, expect, test } from '@jest/globals'
import session from 'express-session'
import { forwarding, lineageOf } from '../../../adapters/express-session/record.ts'
import { CountedStore, failure, rig, settled } from './rig.ts'
import type { Callback } from './rig.ts'

const closings = (peers: readonly { readonly closed: readonly { readonly details: unknown }[] }[]): unknown[] => peers.map(({ closed }) => closed.map(({ details }) => (details as { reason: string }).reason))

describe('what the application does with the store', () => {
  test('is answered by the callback, later, or by a promise where there is none', async () => {
    const { store, begin } = rig()
    const { sessionID } = await begin({ user: 'alice' })
    const order: string[] = []
    const called = new Promise<unknown>((resolve) =>
      store.get(sessionID!, (error, found) => {
        order.push('answered')
        resolve([error, found])
      }),
    )
    order.push('asked')
    const [error, found] = (await called) as [unknown, any]
    expect([order, error, found.user]).toEqual([['asked', 'answered'], null, 'alice'])
    expect((await (store.get as any)(sessionID)).user).toBe('alice')
    expect(store.destroy(sessionID!, () => {})).toBeUndefined()
  })

  test('finds a mark nowhere, and the store has it', async () => {
    const { store, begin, load, clock } = rig()
    const { sessionID } = await begin({ user: 'alice', cart: [1] })
    expect(store.entry(sessionID!).__portcullis).toEqual({ lineage: lineageOf(sessionID!), sinceMs: clock.now(), bornMs: clock.now() })
    const again = await load(sessionID!)
    expect(Object.keys(again!.session!).sort()).toEqual(['cart', 'cookie', 'user'])
    const all: any = await new Promise((resolve) => store.all((_error, sessions) => resolve(sessions)))
    expect(JSON.stringify(all)).not.toContain('portcullis')
  })

  test('fails with the status an HTTP application answers, where it is refused', async () => {
    const { begin, store } = rig({ concurrent: { limit: 1, full: 'refuse' } })
    await begin({ user: 'alice' })
    const own = failure(begin({ user: 'alice' }))
    expect(await own).toMatchObject({ code: 'TOO_MANY_CONNECTIONS', status: 429 })
    expect((await own).cause.code).toBe('TOO_MANY_CONNECTIONS')
    expect(Object.keys(store.entries).length).toBe(1)
  })

  test('fails with what the store says, where that fails', async () => {
    const { begin, load, store, save } = rig()
    const page = await begin({ user: 'alice' })
    store.trouble = 'rejects'
    expect((await failure(load(page.sessionID!))).message).toBe('the session store is down')
    expect((await failure(save(page))).message).toBe('the session store is down')
  })

  test('asks nothing of the store by an id that is none', async () => {
    const { load, store } = rig()
    for (const id of ['*', 'short', 'x'.repeat(300), '__defineGetter__', 'an id of words    ']) expect(await load(id)).toBeUndefined()
    expect(store.asked).toEqual([])
  })

  test('prolongs the entry, and puts off the end of the peers', async () => {
    const { begin, load, store, lineage, bind, clock } = rig({ freshMs: 1_000_000 })
    const page = await begin({ user: 'alice' })
    const own = await lineage(page.sessionID!)
    bind(own)
    const again = await load(page.sessionID!)
    again!.session!.cookie.expires = new Date(clock.now() + 60_000)
    await (store.touch as any)(page.sessionID, again!.session)
    expect(store.count('touch')).toBe(1)
    clock.advance(59_000)
    expect(own.ready(clock.now())).toBeUndefined()
    // The end is known for the time after that, too: without it, there would be none.
    clock.advance(1_000_000)
    expect(own.ready(clock.now())).toBeInstanceOf(Promise)
    await settled()
  })

  test('lists sessions as they are, without the ids that were replaced', async () => {
    const { begin, store, rotation, load } = rig()
    const page = await begin({ user: 'alice' })
    const other = await begin({ user: 'bob' })
    const again = await load(page.sessionID!)
    await rotation.rotate(again!)
    const all: any = await new Promise((resolve) => store.all((_error, sessions) => resolve(sessions)))
    expect(Object.keys(all).sort()).toEqual([again!.sessionID, other.sessionID].sort())
    expect(Object.keys(store.entries)).toContain(page.sessionID)
  })

  test('lists them also where the store gives a list', async () => {
    class Listing extends CountedStore {
      override all(done: Callback): void {
        super.all((error, sessions) => done(error, Object.values(sessions as object)))
      }
    }
    const { begin, store, rotation } = rig({ store: new Listing() })
    const page = await begin({ user: 'alice' })
    await rotation.rotate(page)
    const all: any = await new Promise((resolve) => store.all((_error, sessions) => resolve(sessions)))
    expect(all).toEqual([{ cookie: expect.anything(), user: 'alice' }])
  })

  test('empties it, and all peers are looked after', async () => {
    const { begin, store, lineage, bind } = rig()
    const peers = [bind(await lineage((await begin({ user: 'alice' })).sessionID!)), bind(await lineage((await begin({})).sessionID!))]
    await new Promise((resolve) => store.clear(resolve as never))
    await settled()
    expect(closings(peers)).toEqual([['the session is gone'], ['the session is gone']])
  })

  test('asks a store for nothing it does not have', () => {
    class Bare extends session.Store {
      override get(_id: string, done: Callback): void {
        done()
      }
      override set(_id: string, _session: object, done?: Callback): void {
        done?.()
      }
      override destroy(_id: string, done?: Callback): void {
        done?.()
      }
    }
    const store = new Bare()
    rig({ store: store as never })
    expect([store.all, store.clear, store.touch]).toEqual([undefined, undefined, undefined])
  })
})

describe('a session that is destroyed', () => {
  test('closes its peers before anything is asked of any store', async () => {
    const { begin, lineage, bind, destroy, store } = rig()
    const page = await begin({ user: 'alice' })
    const peer = bind(await lineage(page.sessionID!))
    store.asked.length = 0
    const going = destroy(page.sessionID!)
    expect([closings([peer]), store.asked]).toEqual([[['signed out']], []])
    expect(peer.closed[0]).toMatchObject({ reconnect: 'after-credential' })
    await going
    expect(store.entries).toEqual({})
  })

  test('is revoked, for as long as a request may run that had read it', async () => {
    const { begin, destroy, revocations, load, save, store } = rig()
    const page = await begin({ user: 'alice' })
    const slow = await load(page.sessionID!)
    await destroy(page.sessionID!)
    expect(revocations).toEqual([{ target: { session: lineageOf(page.sessionID!) }, reason: 'signed out', forMs: 3_600_000 }])
    slow!.session!['late'] = true
    await save(slow!)
    expect(store.entries).toEqual({})
  })

  test('is gone under its preceding id, too, whichever of them is named', async () => {
    for (const which of ['old', 'new'] as const) {
      const { begin, rotation, destroy, store, lineage, bind } = rig()
      const page = await begin({ user: 'alice' })
      const old = page.sessionID!
      const peer = bind(await lineage(old))
      await rotation.rotate(page)
      await destroy(which === 'old' ? old : page.sessionID!)
      expect([store.entries, closings([peer])]).toEqual([{}, [['signed out']]])
    }
  })

  test('that nobody here knows is gone under both, where the preceding one is named', async () => {
    const { begin, rotation, destroy, store, revocations } = rig()
    const page = await begin({ user: 'alice' })
    const old = page.sessionID!
    await rotation.rotate(page)
    await destroy(old)
    expect(store.entries).toEqual({})
    expect(revocations).toMatchObject([{ target: { session: lineageOf(old) } }])
  })

  test('that is not there leaves others alone, and is taken away all the same', async () => {
    const { begin, destroy, store, revocations } = rig()
    await begin({ user: 'alice' })
    await destroy('an-id-that-is-not-there')
    expect([Object.keys(store.entries).length, revocations, store.count('destroy')]).toEqual([1, [], 1])
  })

  test('where the store cannot take it away says so, and its peers are closed', async () => {
    const { begin, destroy, store, lineage, bind } = rig()
    const page = await begin({ user: 'alice' })
    const peer = bind(await lineage(page.sessionID!))
    store.trouble = 'rejects'
    expect((await failure(destroy(page.sessionID!))).message).toBe('the session store is down')
    expect(closings([peer])).toEqual([['signed out']])
    store.trouble = undefined
    // Whoever asks again gets it done.
    await destroy(page.sessionID!)
    expect(store.entries).toEqual({})
  })
})

describe('a session that asks for another id', () => {
  const setUp = async (data: object = { user: 'alice' }, terms: Parameters<typeof rig>[0] = {}) => {
    const own = rig(terms)
    const page = await own.begin(data)
    const id = page.sessionID!
    const lineage = await own.lineage(id)
    const peer = own.bind(lineage)
    return { ...own, page, id, own: lineage, peer }
  }

  test.each<[string, object, object, string[], string | undefined]>([
    ['the same user', { user: 'alice' }, { user: 'alice' }, [], undefined],
    ['the same visitor', { n: 1 }, {}, [], undefined],
    ['whoever has signed in', { n: 1 }, { user: 'alice' }, ['signed in'], 'now'],
    ['another user', { user: 'alice' }, { user: 'bob' }, ['another user'], 'now'],
    ['nobody any more', { user: 'alice' }, { n: 1 }, ['signed out'], 'after-credential'],
  ])('for %s: its peers are told what that means for them', async (_whom, before, after, reasons, reconnect) => {
    const { page, id, peer, regenerate, save, store, own, lineage } = await setUp(before)
    await regenerate(page)
    Object.assign(page.session!, after)
    await save(page)
    await settled()
    expect(closings([peer])).toEqual([reasons])
    expect(peer.closed[0]?.reconnect).toBe(reconnect)
    expect(Object.keys(store.entries)).toEqual([page.sessionID])
    expect(page.sessionID).not.toBe(id)
    const now = await lineage(page.sessionID!)
    expect(now.id === own.id).toBe(reasons.length === 0)
  })

  test('with other rights: closed, to come back with them', async () => {
    const userOf = (data: any): any => data.user && { subject: data.user, claims: { role: data.role } }
    const { page, peer, regenerate, save } = await setUp({ user: 'alice', role: 'user' }, { userOf })
    await regenerate(page)
    Object.assign(page.session!, { user: 'alice', role: 'admin' })
    await save(page)
    expect(peer.closed).toMatchObject([{ details: { reason: 'other rights' }, reconnect: 'now' }])
  })

  test('keeps its age and its place in the list, under the new id', async () => {
    const { page, own, regenerate, save, clock, store, engine } = await setUp()
    const bornMs = clock.now()
    clock.advance(1_000)
    await regenerate(page)
    expect((await engine.directory.find(own.id))?.moving).toBe(true)
    page.session!['user'] = 'alice'
    await save(page)
    expect(store.entry(page.sessionID!).__portcullis).toEqual({ lineage: own.id, sinceMs: clock.now(), bornMs })
    expect(await engine.directory.find(own.id)).toMatchObject({ sid: page.sessionID, moving: false })
    expect(await engine.directory.list({ subject: 'alice', issuer: undefined }, engine.isAlive)).toMatchObject([{ id: own.id, createdAtMs: bornMs }])
  })

  test('leaves the old id to nobody, whoever had read it', async () => {
    const { page, id, regenerate, save, load, store } = await setUp()
    const slow = await load(id)
    await regenerate(page)
    page.session!['user'] = 'alice'
    await save(page)
    expect(await load(id)).toBeUndefined()
    slow!.session!['late'] = true
    await save(slow!)
    expect(store.entries[id]).toBeUndefined()
  })

  test('and is not saved by the end of its request has ended', async () => {
    let close = (): void => {}
    const { page, regenerate, peer, clock } = await setUp()
    Object.assign(page, { res: { once: (_event: string, listener: () => void) => (close = listener) } })
    await regenerate(page)
    await settled()
    expect(peer.closed).toEqual([])
    close()
    await settled()
    expect(peer.closed).toMatchObject([{ details: { reason: 'signed out' }, reconnect: 'after-credential' }])
    clock.advance(20_000)
    await settled()
    expect(peer.closed.length).toBe(1)
  })

  test('and was saved before the end of its request goes on', async () => {
    let close = (): void => {}
    const { page, regenerate, save, peer, clock } = await setUp()
    const timers = clock.pending
    Object.assign(page, { res: { once: (_event: string, listener: () => void) => (close = listener) } })
    await regenerate(page)
    page.session!['user'] = 'alice'
    await save(page)
    close()
    expect(clock.pending).toBe(timers)
    clock.advance(20_000)
    await settled()
    expect(peer.closed).toEqual([])
  })

  test('and whose request cannot be seen to end has ten seconds', async () => {
    const { page, regenerate, peer, clock } = await setUp({ user: 'alice' }, { recheckMs: 2_000_000_000 })
    await regenerate(page)
    clock.advance(9_999)
    await settled()
    expect(peer.closed).toEqual([])
    clock.advance(1)
    await settled()
    expect(closings([peer])).toEqual([['signed out']])
  })

  test('that nobody has kept yet is a new one', async () => {
    const { request, store, regenerate, save } = rig()
    const page = request()
    ;(store as any).generate(page)
    const id = page.sessionID!
    await regenerate(page)
    expect(page.sessionID).not.toBe(id)
    await save(page)
    expect(store.entry(page.sessionID!).__portcullis.lineage).toBe(lineageOf(page.sessionID!))
  })

  test('goes on in the store where the directory does not answer', async () => {
    const { page, regenerate, save, shared, faults, store } = await setUp({ n: 1 })
    const { set } = shared
    shared.set = ((key: string, ...rest: [any, any]) => {
      if (key.startsWith('session:at')) throw new Error('down')
      return set.call(shared, key, ...rest)
    }) as never
    await regenerate(page)
    expect(faults.length).toBe(1)
    expect(page.sessionID).toBeDefined()
    shared.set = set
    await save(page)
    expect(Object.keys(store.entries)).toEqual([page.sessionID])
  })
})

test('an id that was replaced serves whoever comes with it until its time is over', async () => {
  const { begin, rotation, load, clock, save, store } = rig({ graceMs: 10_000 })
  const page = await begin({ user: 'alice' })
  const old = page.sessionID!
  await rotation.rotate(page)
  const late = await load(old)
  expect(late!.session!['user']).toBe('alice')
  late!.session!['late'] = true
  await save(late!)
  store.asked.length = 0
  await (store.touch as any)(old, late!.session)
  expect(store.asked.filter((asked) => asked.startsWith('touch'))).toEqual([`touch ${page.sessionID}`])
  // Under the id it has now, and not under the one it was read by.
  expect(store.entry(page.sessionID!).late).toBe(true)
  expect(store.entry(old)).toMatchObject({ __portcullis: { to: page.sessionID } })
  clock.advance(9_999)
  expect(await load(old)).toBeDefined()
  clock.advance(1)
  expect(await load(old)).toBeUndefined()
  expect(store.entry(page.sessionID!)).toBeDefined()
})

test('an id that was replaced ends the session where the next one was used, also when its own time is over', async () => {
  for (const laterMs of [0, 60_000, 3_600_000 - 1]) {
    const { begin, rotation, load, lineage, bind, store, clock } = rig({ graceMs: 10_000, recheckMs: Infinity })
    const page = await begin({ user: 'alice' })
    const old = page.sessionID!
    const peer = bind(await lineage(old))
    await rotation.rotate(page)
    await load(page.sessionID!)
    clock.advance(laterMs)
    expect(await load(old)).toBeUndefined()
    expect([closings([peer]), store.entries]).toEqual([[['the session id was used twice']], {}])
  }
})

test('what leads to an id that leads on ends the session, with all of them', async () => {
  const { begin, rotation, load, store } = rig()
  const page = await begin({ user: 'alice' })
  const ids = [page.sessionID!]
  await rotation.rotate(page)
  ids.push(page.sessionID!)
  // Nobody has come with the second one.
  await rotation.rotate(page)
  expect(new Set([...ids, page.sessionID]).size).toBe(3)
  expect(await load(ids[0]!)).toBeUndefined()
  expect(store.entries).toEqual({})
})

test('what leads to nothing, or to somebody else, is nothing', async () => {
  const { begin, load, store, clock } = rig()
  const page = await begin({ user: 'alice' })
  const untilMs = clock.now() + 60_000
  const leading = (to: string, lineage: string): string => JSON.stringify(forwarding({}, { lineage, to, untilMs }, untilMs))
  store.entries['leads-to-nothing-at-all'] = leading('nothing-to-be-found-here', 's_x')
  store.entries['leads-to-somebody-else'] = leading(page.sessionID!, 's_x')
  expect(await load('leads-to-nothing-at-all')).toBeUndefined()
  expect(await load('leads-to-somebody-else')).toBeUndefined()
  expect(store.entry(page.sessionID!)).toBeDefined()
})
