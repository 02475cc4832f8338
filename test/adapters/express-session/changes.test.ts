import { inspect } from 'node:util'
import { describe, expect, test } from '@jest/globals'
import { PeerSession } from '../../../adapters/express-session/live-session.ts'
import { lineageOf } from '../../../adapters/express-session/record.ts'
import { memoryStore } from '../../../adapters/memory.ts'
import { Denied } from '../../../lib/errors.ts'
import { keyOf } from '../../../lib/revocation.ts'
import { Latch } from '../../support/server.ts'
import { failure, rig, settled } from './rig.ts'

const alice = { subject: 'alice', issuer: undefined }

describe('a session that is saved', () => {
  test('keeps what others have changed since it was read', async () => {
    const { begin, load, save, store } = rig()
    const page = await begin({ user: 'alice', cart: [], theme: 'light' })
    const [one, other] = [(await load(page.sessionID!))!, (await load(page.sessionID!))!]
    one.session!['cart'] = [1]
    delete other.session!['theme']
    await Promise.all([save(one), save(other)])
    const { cookie: _cookie, __portcullis: _mark, ...data } = store.entry(page.sessionID!)
    expect(data).toEqual({ user: 'alice', cart: [1] })
  })

  test('twice by one request is merged by what that request has changed in between', async () => {
    const { begin, load, save, store } = rig()
    const page = await begin({ a: 1, b: 1 })
    const slow = (await load(page.sessionID!))!
    slow.session!['a'] = 2
    await save(slow)
    const other = (await load(page.sessionID!))!
    other.session!['a'] = 3
    await save(other)
    slow.session!['b'] = 2
    await save(slow)
    expect(store.entry(page.sessionID!)).toMatchObject({ a: 3, b: 2 })
  })

  test('with what only looks like data is saved as JSON would keep it', async () => {
    const { begin, store } = rig()
    const page = await begin({ when: new Date(5), nothing: undefined, fn: () => 1 })
    const { cookie: _cookie, __portcullis: _mark, ...data } = store.entry(page.sessionID!)
    expect(data).toEqual({ when: '1970-01-01T00:00:00.005Z' })
  })

  test('is known to its peers by the time that is answered', async () => {
    const { begin, save, lineage, bind } = rig()
    const page = await begin({ user: 'alice' })
    const own = await lineage(page.sessionID!)
    bind(own)
    page.session!['theme'] = 'dark'
    await save(page)
    expect(own.data).toEqual({ user: 'alice', theme: 'dark' })
  })

  test('that is gone from the store by then is not brought back', async () => {
    const { begin, load, save, store } = rig()
    const page = await begin({ user: 'alice' })
    const slow = (await load(page.sessionID!))!
    delete store.entries[page.sessionID!]
    await save(slow)
    expect(store.entries).toEqual({})
  })

  test('while it is being ended is not there when both are done', async () => {
    const { begin, load, save, destroy, store } = rig()
    for (let turn = 0; turn < 20; turn++) {
      const page = await begin({ user: 'alice' })
      const slow = (await load(page.sessionID!))!
      slow.session!['late'] = turn
      const saving = save(slow)
      for (let step = 0; step < turn; step++) await new Promise((resolve) => (turn % 2 ? setImmediate(resolve) : process.nextTick(resolve)))
      await Promise.all([saving, destroy(page.sessionID!)])
      expect(store.entries).toEqual({})
    }
  })

  test('that was ended on another node meanwhile is not there either', async () => {
    const { begin, load, save, store, shared } = rig()
    const page = await begin({ user: 'alice' })
    const slow = (await load(page.sessionID!))!
    // The other node has noted it, and is about to take the entry away.
    await shared.set(keyOf({ kind: 'session', id: lineageOf(page.sessionID!), issuer: undefined }, undefined)!, 'x', 60_000)
    slow.session!['late'] = true
    await save(slow)
    expect(store.entries).toEqual({})
  })

  test('is announced to other nodes where it has changed, and not where it is as it was', async () => {
    const shared = memoryStore()
    const heard: any[] = []
    await shared.subscribe('portcullis:sessions', (message) => void heard.push(JSON.parse(message)))
    const { begin, save } = rig({ shared })
    const page = await begin({ user: 'alice' })
    await settled()
    heard.length = 0
    await save(page)
    await settled()
    expect(heard).toEqual([])
    page.session!['theme'] = 'dark'
    await save(page)
    await settled()
    expect(heard).toEqual([{ from: expect.any(String), kind: 'look', lineage: lineageOf(page.sessionID!) }])
    expect(JSON.stringify(heard)).not.toContain(page.sessionID)
  })
})

describe('who signs in', () => {
  test('is listed with the client of the request', async () => {
    const { begin, engine, clock } = rig()
    const request = { ip: '192.0.2.7', socket: { remoteAddress: '10.0.0.1' }, headers: { 'user-agent': 'Mozilla/5.0' } }
    const page = await begin({ user: 'alice' }, request)
    expect(await engine.directory.list(alice, engine.isAlive)).toEqual([{ id: lineageOf(page.sessionID!), createdAtMs: clock.now(), seenAtMs: clock.now(), address: '192.0.2.7', userAgent: 'Mozilla/5.0' }])
    await begin({ user: 'alice' }, { ...request, ip: undefined })
    expect((await engine.directory.list(alice, engine.isAlive)).map(({ address }) => address)).toEqual(['192.0.2.7', '10.0.0.1'])
  })

  test('is not listed as a visitor', async () => {
    const { begin, save, engine } = rig()
    const page = await begin({ n: 1 })
    expect(await engine.directory.find(lineageOf(page.sessionID!))).toBeUndefined()
    page.session!['user'] = 'alice'
    await save(page)
    expect((await engine.directory.list(alice, engine.isAlive)).length).toBe(1)
  })

  test('in the session that a visitor had goes on under an id that nobody has had, as another session', async () => {
    for (const before of [{ n: 1 }, { n: 1, user: 'bob' }]) {
      const { begin, save, engine, store, lineage, bind, load } = rig()
      const page = await begin(before)
      const planted = page.sessionID!
      const visitor = await lineage(planted)
      const peer = bind(visitor)
      const { session } = page
      page.session!['user'] = 'alice'
      await save(page)
      expect([page.sessionID === planted, page.session === session, engine.careless]).toEqual([false, true, false])
      expect(Object.keys(store.entries)).toEqual([page.sessionID])
      expect(store.entry(page.sessionID!)).toMatchObject({ n: 1, user: 'alice', __portcullis: { lineage: lineageOf(page.sessionID!) } })
      expect(peer.closed).toMatchObject([{ details: { reason: 'user' in before ? 'another user' : 'signed in' }, reconnect: 'now' }])
      expect(await load(planted)).toBeUndefined()
      // What the same request saves later goes there, too.
      page.session!['later'] = 1
      await save(page)
      expect(store.entry(page.sessionID!)).toMatchObject({ later: 1, user: 'alice' })
      expect((await engine.directory.list(alice, engine.isAlive)).length).toBe(1)
    }
  })

  test('keeps what others have changed in the session of the visitor meanwhile', async () => {
    const { begin, save, load, store } = rig()
    const { sessionID } = await begin({ cart: [] })
    const [page, other] = [(await load(sessionID!))!, (await load(sessionID!))!]
    other.session!['cart'] = [1]
    await save(other)
    page.session!['user'] = 'alice'
    await save(page)
    expect(store.entry(page.sessionID!)).toMatchObject({ cart: [1], user: 'alice' })
  })

  test.each<[string, object]>([
    ['whose response is on its way already', { res: { headersSent: true } }],
    ['that is not the session of its request any more', { session: {} }],
  ])('in a session %s keeps the id for now: it is noted, and each who has it goes on in a session of its own', async (_which, more) => {
    const { begin, save, engine, store, rotation, lineage, bind, load } = rig()
    const page = await begin({ n: 1 })
    const planted = page.sessionID!
    const own = page.session
    const peer = bind(await lineage(planted))
    Object.assign(page, more)
    own!['user'] = 'alice'
    await save({ sessionID: planted, session: own } as never)
    expect([engine.careless, store.entry(planted).__portcullis.replace, rotation.isDue(store.entry(planted).__portcullis)]).toEqual([true, 'cut', true])
    expect(peer.closed).toMatchObject([{ details: { reason: 'signed in' } }])
    const next = (await load(planted))!
    expect(await rotation.rotate(next)).toBe(true)
    await save(next)
    expect([Object.keys(store.entries), store.entry(next.sessionID!).__portcullis.lineage]).toEqual([[next.sessionID], lineageOf(next.sessionID!)])
  })

  const byEvent = async () => {
    const own = rig()
    const page = await own.begin({ n: 1 })
    const planted = page.sessionID!
    const lineage = await own.lineage(planted)
    const peer = own.bind(lineage)
    const session = own.keeper.session(lineage)
    PeerSession.enter(session, peer.presence)
    const updating = session.update((data: any) => void (data.user = 'alice'))
    await settled()
    return { ...own, page, planted, peer, updating }
  }

  test('by an event, too, goes on under an id that nobody has had, for which that page alone has the ticket', async () => {
    const { store, planted, peer, updating, rotation, load, save } = await byEvent()
    expect([Object.keys(store.entries), store.entry(planted)]).toEqual([[planted], expect.not.objectContaining({ user: 'alice' })])
    const request = (await load(planted))!
    expect(await rotation.redeem(peer.told[0]!.data.ticket, request)).toBe(true)
    await save(request)
    expect(await updating).toEqual({ n: 1, user: 'alice' })
    expect(Object.keys(store.entries)).toEqual([request.sessionID])
    expect(store.entry(request.sessionID!)).toMatchObject({ n: 1, user: 'alice', __portcullis: { lineage: lineageOf(request.sessionID!) } })
    expect(peer.closed).toMatchObject([{ details: { reason: 'signed in' }, reconnect: 'now' }])
  })

  test('by an event, too, keeps what a page has changed meanwhile', async () => {
    const { store, planted, peer, updating, rotation, load, save } = await byEvent()
    const other = (await load(planted))!
    other.session!['cart'] = [1]
    await save(other)
    const request = (await load(planted))!
    await rotation.redeem(peer.told[0]!.data.ticket, request)
    await save(request)
    await updating
    expect(store.entry(request.sessionID!)).toMatchObject({ user: 'alice', cart: [1] })
  })

  test('by an event whose page does not bring the ticket has not signed in', async () => {
    const { store, planted, updating, clock, peer } = await byEvent()
    const failed = failure(updating)
    clock.advance(10_000)
    expect((await failed).code).toBe('DEADLINE_EXCEEDED')
    expect([Object.keys(store.entries), peer.closed]).toEqual([[planted], []])
    expect(store.entry(planted)).not.toHaveProperty('user')
  })

  test('with other rights is to have another id soon, and that is not noted as careless', async () => {
    const userOf = (data: any): any => data.user && { subject: data.user, claims: { role: data.role } }
    const { begin, save, engine, store, rotation } = rig({ userOf })
    const page = await begin({ user: 'alice', role: 'user' })
    page.session!['role'] = 'admin'
    await save(page)
    const mark = store.entry(page.sessionID!).__portcullis
    expect([engine.careless, mark.replace, rotation.isDue(mark)]).toEqual([false, 'soon', true])
  })

  test('as another one leaves the list of the first, and is in that of the second', async () => {
    const { begin, save, engine } = rig()
    const page = await begin({ user: 'alice' })
    page.session!['user'] = 'bob'
    await save(page)
    expect(await engine.directory.list(alice, engine.isAlive)).toEqual([])
    expect((await engine.directory.list({ subject: 'bob', issuer: undefined }, engine.isAlive)).length).toBe(1)
    delete page.session!['user']
    await save(page)
    expect(await engine.directory.list({ subject: 'bob', issuer: undefined }, engine.isAlive)).toEqual([])
  })

  test('ends the oldest, with its peers, where there are as many as may be', async () => {
    const { begin, lineage, bind, store, clock } = rig({ concurrent: { limit: 2, full: 'end-oldest' } })
    const pages = [await begin({ user: 'alice' }), await begin({ user: 'alice' })]
    const peers = [bind(await lineage(pages[0]!.sessionID!)), bind(await lineage(pages[1]!.sessionID!))]
    clock.advance(1)
    const third = await begin({ user: 'alice' })
    expect(Object.keys(store.entries)).toEqual([pages[1]!.sessionID, third.sessionID])
    expect(peers.map(({ closed }) => closed)).toMatchObject([[{ details: { reason: 'a newer session has taken its place' }, reconnect: 'after-credential' }], []])
  })

  test('is not kept where as many are there as may be, and what was there stays', async () => {
    const { begin, save, store } = rig({ concurrent: { limit: 1, full: 'refuse' } })
    const first = await begin({ user: 'alice' })
    const visitor = await begin({ n: 1 })
    const id = visitor.sessionID!
    visitor.session!['user'] = 'alice'
    expect((await failure(save(visitor))).status).toBe(429)
    expect([Object.keys(store.entries).length, visitor.sessionID]).toEqual([2, id])
    expect(store.entry(id)).not.toHaveProperty('user')
    // The visitor goes on as one.
    delete visitor.session!['user']
    visitor.session!['n'] = 2
    await save(visitor)
    expect(store.entry(id)).toMatchObject({ n: 2 })
    expect(store.entry(first.sessionID!)).toHaveProperty('user', 'alice')
    // Whoever has a place keeps it, whatever is saved.
    first.session!['theme'] = 'dark'
    await save(first)
    expect(store.entry(first.sessionID!)).toHaveProperty('theme', 'dark')
  })

  test('and was pushed out while that was being saved, does so no more when it is saved again', async () => {
    const { request, save, begin, engine, store } = rig({ concurrent: { limit: 1, full: 'end-oldest' } })
    const first = request()
    ;(store as any).generate(first)
    first.session!['user'] = 'alice'
    const { set } = engine.backing
    let second: string | undefined
    engine.backing.set = async (...entry) => {
      engine.backing.set = set
      await set.apply(engine.backing, entry)
      second = (await begin({ user: 'alice' })).sessionID
    }
    await save(first)
    expect(Object.keys(store.entries)).toEqual([second])
    // The response of the first one ends only now, and saves once more.
    await save(first)
    expect(Object.keys(store.entries)).toEqual([second])
    expect((await engine.directory.list(alice, engine.isAlive)).map(({ id }) => id)).toEqual([lineageOf(second!)])
  })

  test('and could not be kept has no place in the list', async () => {
    const { begin, engine } = rig({ concurrent: { limit: 1, full: 'refuse' } })
    const { set } = engine.backing
    engine.backing.set = () => Promise.reject(new Error('down'))
    expect((await failure(begin({ user: 'alice' }))).message).toBe('down')
    engine.backing.set = set
    await begin({ user: 'alice' })
  })

  test('again, with another id and other rights, does not count twice', async () => {
    const userOf = (data: any): any => data.user && { subject: data.user, claims: { role: data.role } }
    const { begin, save, regenerate, engine } = rig({ userOf, concurrent: { limit: 1, full: 'refuse' } })
    const page = await begin({ user: 'alice', role: 'user' })
    await regenerate(page)
    Object.assign(page.session!, { user: 'alice', role: 'admin' })
    await save(page)
    expect((await engine.directory.list(alice, engine.isAlive)).map(({ id }) => id)).toEqual([lineageOf(page.sessionID!)])
  })

  test('is let in where that cannot be written down, and nobody has said how many there may be', async () => {
    for (const concurrent of [undefined, { limit: 1, full: 'refuse' }] as const) {
      const { begin, shared, faults } = rig({ concurrent })
      shared.enlist = () => Promise.reject(new Error('down'))
      const beginning = begin({ user: 'alice' })
      if (concurrent === undefined) await beginning
      else expect((await failure(beginning)).status).toBe(503)
      expect(faults.length).toBe(concurrent === undefined ? 1 : 0)
    }
  })

  test('and was pushed out before that was saved again does not push out another one in its turn', async () => {
    const { begin, engine, store, save } = rig({ concurrent: { limit: 1, full: 'end-oldest' } })
    const first = await begin({ user: 'alice' })
    const second = await begin({ user: 'alice' })
    // The response of the first one ends only now, and saves once more.
    await save(first)
    expect(Object.keys(store.entries)).toEqual([second.sessionID])
    expect((await engine.directory.list(alice, engine.isAlive)).map(({ id }) => id)).toEqual([lineageOf(second.sessionID!)])
  })
})

describe('update', () => {
  const setUp = async (terms: Parameters<typeof rig>[0] = {}) => {
    const own = rig(terms)
    const page = await own.begin({ user: 'alice', n: 0, deep: { list: [1] } })
    const lineage = await own.lineage(page.sessionID!)
    const peer = own.bind(lineage)
    return { ...own, page, own: lineage, peer, session: own.keeper.session(lineage) }
  }

  test('is given a copy, and what it returns or has changed is what is there then', async () => {
    const { session, store, page } = await setUp()
    const before = session.data
    expect(await session.update((data: any) => void data.deep.list.push(2))).toEqual({ user: 'alice', n: 0, deep: { list: [1, 2] } })
    expect(before).toMatchObject({ deep: { list: [1] } })
    expect(await session.update((data: any) => ({ user: data.user }))).toEqual({ user: 'alice' })
    expect(session.data).toEqual({ user: 'alice' })
    const { cookie, __portcullis: mark, ...data } = store.entry(page.sessionID!)
    expect([data, cookie.path, mark.lineage]).toEqual([{ user: 'alice' }, '/', session.id])
  })

  test('leaves the cookie alone, whatever is written under its name', async () => {
    const { session, store, page } = await setUp()
    const { cookie } = store.entry(page.sessionID!)
    expect(await session.update((data: any) => void (data.cookie = { maxAge: 5 }))).not.toHaveProperty('cookie')
    expect(store.entry(page.sessionID!).cookie).toEqual(cookie)
  })

  test('a hundred at once lose nothing', async () => {
    const { session, store, page } = await setUp()
    await Promise.all(Array.from({ length: 100 }, () => session.update((data: any) => void data.n++)))
    expect(store.entry(page.sessionID!).n).toBe(100)
  })

  test.each<[string, (data: any) => unknown]>([
    ['an asynchronous function', async () => {}],
    ['one that returns text', () => 'text'],
    ['one that returns a list', () => []],
    ['one that returns what JSON cannot hold', () => ({ n: 5n })],
    ['one that leaves what JSON cannot hold', (data) => void (data.self = data)],
  ])('refuses %s, and nothing is changed', async (_what, change) => {
    const { session, store, page } = await setUp()
    const before = store.entries[page.sessionID!]
    expect(await failure(session.update(change as never))).toBeInstanceOf(TypeError)
    expect(store.entries[page.sessionID!]).toBe(before)
  })

  test.each([undefined, null, {}, 'n'])('refuses %p in place of a function', async (change) => {
    const { session } = await setUp()
    expect(await failure(session.update(change as never))).toBeInstanceOf(TypeError)
  })

  test('fails with what the function throws, as it is', async () => {
    const { session } = await setUp()
    const own = new Error('of the application')
    const fails = failure(
      session.update(() => {
        throw own
      }),
    )
    expect(await fails).toBe(own)
    expect(await session.update((data: any) => void data.n++)).toMatchObject({ n: 1 })
  })

  test('is refused when the session has ended: as REVOKED, without asking anybody', async () => {
    const { session, destroy, page, store } = await setUp()
    await destroy(page.sessionID!)
    store.asked.length = 0
    let called = false
    const error = (await failure(session.update(() => void (called = true)))) as Denied
    expect([error.code, error.details, called, store.asked]).toEqual(['REVOKED', { reason: 'signed out' }, false, []])
  })

  test('is refused where the entry is gone, and brings nothing back', async () => {
    const { session, store, page } = await setUp()
    delete store.entries[page.sessionID!]
    expect((await failure(session.update(() => {}))).code).toBe('REVOKED')
    expect(store.entries).toEqual({})
  })

  test.each(['get', 'set'] as const)('is refused as UNAVAILABLE where the store fails to %s', async (operation) => {
    const { session, store, engine } = await setUp()
    Object.assign(engine.backing, { [operation]: () => Promise.reject(new Error('down')) })
    const error = (await failure(session.update(() => {}))) as Denied
    expect(error).toBeInstanceOf(Denied)
    expect(error.code).toBe('UNAVAILABLE')
    expect(store).toBeDefined()
  })

  test('of what an HTTP request holds half-way is kept, and so is what that changes', async () => {
    const { session, store, page, load, save } = await setUp()
    const slow = (await load(page.sessionID!))!
    slow.session!['theme'] = 'dark'
    await session.update((data: any) => void (data.n = 7))
    await save(slow)
    expect(store.entry(page.sessionID!)).toMatchObject({ n: 7, theme: 'dark' })
  })

  test('of who it is has the consequences of any such change', async () => {
    const { session, peer, engine } = await setUp()
    await session.update((data: any) => void delete data.user)
    expect(peer.closed).toMatchObject([{ details: { reason: 'signed out' } }])
    expect(await engine.directory.list(alice, engine.isAlive)).toEqual([])
  })

  test('waits its turn behind a save', async () => {
    const { session, store, page, save } = await setUp()
    const order: string[] = []
    page.session!['theme'] = 'dark'
    const saving = save(page).then(() => order.push('saved'))
    const updating = session.update((data: any) => void (order.push('changed'), (data.seen = data.theme))).then(() => order.push('updated'))
    await Promise.all([saving, updating])
    expect(order).toEqual(['saved', 'changed', 'updated'])
    expect(store.entry(page.sessionID!).seen).toBe('dark')
  })
})

describe('a session as its peer has it', () => {
  const setUp = async () => {
    const own = rig()
    const page = await own.begin({ user: 'alice' })
    const lineage = await own.lineage(page.sessionID!)
    return { ...own, page, own: lineage, session: own.keeper.session(lineage) }
  }

  test('says nothing of its id', async () => {
    const { session, page } = await setUp()
    expect(session.id).toBe(lineageOf(page.sessionID!))
    for (const text of [JSON.stringify(session), inspect(session, { depth: 9, showHidden: true }), JSON.stringify(Object.entries(session))]) expect(text).not.toContain(page.sessionID)
    expect(JSON.stringify(session)).toBe(JSON.stringify({ id: session.id }))
  })

  test('ends everywhere, with a reason', async () => {
    const { session, own, bind, store, engine } = await setUp()
    const peer = bind(own)
    await session.end('done for today')
    expect(peer.closed).toMatchObject([{ details: { reason: 'done for today' }, reconnect: 'after-credential' }])
    expect(store.entries).toEqual({})
    expect(await engine.directory.list(alice, engine.isAlive)).toEqual([])
  })

  test('cannot have another id before its peer has entered, after it has ended, and where the page does not answer', async () => {
    const { session, own, bind, clock } = await setUp()
    expect((await failure(session.regenerate())).code).toBe('UNAVAILABLE')
    const peer = bind(own)
    PeerSession.enter(session, peer.presence)
    const waiting = failure(session.regenerate())
    await settled()
    expect(peer.told).toMatchObject([{ event: 'gate:renew' }])
    clock.advance(10_000)
    expect((await waiting).code).toBe('DEADLINE_EXCEEDED')
    // Nothing waits on.
    const ending = failure(session.regenerate())
    await settled()
    await session.end()
    expect([(await ending).code, (await ending).details]).toEqual(['REVOKED', { reason: 'signed out' }])
    expect((await failure(session.regenerate())).code).toBe('REVOKED')
  })

  test('has another id when its page has brought the ticket', async () => {
    const { session, own, bind, rotation, page, clock } = await setUp()
    const peer = bind(own)
    PeerSession.enter(session, peer.presence)
    let done = false
    const timers = clock.pending
    const waiting = session.regenerate().then(() => (done = true))
    await settled()
    expect(done).toBe(false)
    expect(await rotation.redeem(peer.told[0]!.data.ticket, page)).toBe(true)
    await waiting
    expect([own.currentId, clock.pending]).toEqual([page.sessionID, timers])
  })

  test('says why its peer cannot be told', async () => {
    const { session, own, bind, store, page } = await setUp()
    const peer = bind(own)
    PeerSession.enter(session, peer.presence)
    peer.hears = false
    expect((await failure(session.regenerate())).code).toBe('UNAVAILABLE')
    delete store.entries[page.sessionID!]
    expect((await failure(session.regenerate())).code).toBe('REVOKED')
  })
})

test('a session that is held up holds up no other one', async () => {
  const { begin, save, engine, store } = rig()
  const [one, other] = [await begin({ user: 'alice' }), await begin({ user: 'bob' })]
  const held = new Latch()
  const holding = engine.locks.hold(lineageOf(one.sessionID!), () => held.opened)
  one.session!['n'] = 1
  other.session!['n'] = 1
  const saving = save(one)
  await save(other)
  expect([store.entry(one.sessionID!).n, store.entry(other.sessionID!).n]).toEqual([undefined, 1])
  held.open()
  await Promise.all([holding, saving])
  expect(store.entry(one.sessionID!).n).toBe(1)
})
