import { describe, expect, test } from '@jest/globals'
import { entryOf, marked } from '../../../adapters/express-session/record.ts'
import type { SessionEntry } from '../../../adapters/express-session/record.ts'
import { Denied } from '../../../lib/errors.ts'
import { memoryStore } from '../../../adapters/memory.ts'
import { CLIENT, CountedStore, failure, rig, settled } from './rig.ts'

/** A session of alice with one peer, just read. */
async function withPeer({ endsInMs, ...terms }: Parameters<typeof rig>[0] & { readonly endsInMs?: number } = {}, data: object = { user: 'alice' }) {
  const own = rig(terms)
  const page = await own.begin(data)
  const id = page.sessionID!
  if (endsInMs !== undefined) behind(own.store, id, (entry) => (entry.cookie.expires = new Date(own.clock.now() + endsInMs)))
  const lineage = await own.lineage(id)
  const peer = own.bind(lineage)
  own.store.asked.length = 0
  return { ...own, page, id, lineage, peer }
}

/** Changes what is stored, as somebody does whom nobody here sees. */
function behind(store: CountedStore, id: string, change: (entry: any) => void): void {
  const entry = store.entry(id)
  change(entry)
  store.entries[id] = JSON.stringify(entry)
}

/** The first look comes at a random moment within this time: that it is in the first minute is one chance in 30,000. */
const RARELY = 2_000_000_000

const isOver = { code: 'REVOKED', details: { reason: 'the session is gone' }, reconnect: 'after-credential', policy: 'sessions' }

describe('an event of a peer', () => {
  test('asks the store for nothing while the snapshot is fresh, and once when it is not', async () => {
    const { clock, store, lineage } = await withPeer({ freshMs: 5_000, recheckMs: RARELY })
    for (let ms = 0; ms < 5_000; ms += 100) {
      expect(lineage.ready(clock.now())).toBeUndefined()
      clock.advance(100)
    }
    expect(store.asked).toEqual([])
    await lineage.ready(clock.now())
    expect(store.count('get')).toBe(1)
    expect(lineage.readAtMs).toBe(clock.now())
    expect(lineage.ready(clock.now())).toBeUndefined()
  })

  test('shares one question with all that come meanwhile', async () => {
    const { clock, store, lineage } = await withPeer()
    clock.advance(5_000)
    const events = Array.from({ length: 100 }, async () => lineage.ready(clock.now()))
    await Promise.all(events)
    expect(store.asked.length).toBe(1)
  })

  test('waits for an answer also where the clock was turned back', async () => {
    const { clock, lineage } = await withPeer()
    expect(lineage.ready(clock.now() - 1)).toBeInstanceOf(Promise)
    await lineage.ready(clock.now() - 1)
  })

  test('is not decided by a snapshot whose session should be over, fresh as it may be', async () => {
    const { clock, store, lineage } = await withPeer({ freshMs: 60_000, endsInMs: 10_000 })
    clock.advance(9_999)
    expect(lineage.ready(clock.now())).toBeUndefined()
    clock.advance(1)
    // What the store still has is not over: it has been prolonged there.
    await lineage.ready(clock.now())
    expect(store.count('get')).toBe(1)
    expect(lineage.ready(clock.now())).toBeUndefined()
  })

  test('finds out that the entry is gone, and is refused with all of its kind', async () => {
    const { clock, store, lineage, id, bind } = await withPeer()
    const others = [bind(lineage), bind(lineage)]
    delete store.entries[id]
    clock.advance(5_000)
    const error = await failure(lineage.ready(clock.now())!)
    expect([error.code, error.details]).toEqual(['REVOKED', { reason: 'the session is gone' }])
    for (const { closed } of others) expect(closed).toEqual([isOver])
    expect(() => lineage.ready(clock.now())).toThrow(Denied)
  })

  test('is refused while the store does not answer, and its peer stays', async () => {
    const { clock, store, lineage, peer } = await withPeer()
    store.trouble = 'rejects'
    clock.advance(5_000)
    expect((await failure(lineage.ready(clock.now())!)).code).toBe('UNAVAILABLE')
    store.trouble = undefined
    await lineage.ready(clock.now())
    expect(peer.closed).toEqual([])
  })

  test('is refused when a store that hangs has had its time', async () => {
    const { clock, store, lineage, peer } = await withPeer({ timeoutMs: 500 })
    store.trouble = 'hangs'
    clock.advance(5_000)
    const waiting = failure(lineage.ready(clock.now())!)
    await settled()
    clock.advance(500)
    expect((await waiting).code).toBe('UNAVAILABLE')
    expect(peer.closed).toEqual([])
  })

  test('does not take what was read for what has been written meanwhile', async () => {
    const { engine, lineage, page, save } = await withPeer()
    const { current } = engine
    engine.current = async (...asked) => {
      engine.current = current
      const read = await current.apply(engine, asked)
      page.session!['theme'] = 'dark'
      await save(page)
      return read
    }
    await lineage.look()
    expect(lineage.data).toMatchObject({ theme: 'dark' })
  })

  test('sees what was changed elsewhere', async () => {
    const { clock, store, lineage, id } = await withPeer()
    behind(store, id, (entry) => (entry.theme = 'dark'))
    expect(lineage.data).not.toHaveProperty('theme')
    clock.advance(5_000)
    await lineage.ready(clock.now())
    expect(lineage.data).toMatchObject({ theme: 'dark' })
  })
})

describe('on an idle socket', () => {
  test.each([1, 7])('%i gone entries are found within the recheck time', async (peers) => {
    const { clock, store, lineage, peer, id, bind } = await withPeer({ recheckMs: 10_000 })
    for (let more = 1; more < peers; more++) bind(lineage)
    delete store.entries[id]
    clock.advance(10_000)
    await settled()
    expect(peer.closed).toEqual([isOver])
  })

  test('each session is looked at once in the recheck time, however many peers it has', async () => {
    const { clock, store, lineage, bind } = await withPeer({ recheckMs: 10_000 })
    for (let more = 0; more < 20; more++) bind(lineage)
    clock.advance(10_000)
    await settled()
    store.asked.length = 0
    for (let turn = 0; turn < 50; turn++) {
      clock.advance(2_000)
      await settled()
    }
    expect(store.asked.length).toBe(10)
  })

  test('many sessions are looked at all over that time, each once', async () => {
    const own = rig({ recheckMs: 10_000 })
    const sessions = 200
    for (let index = 0; index < sessions; index++) own.bind(await own.lineage((await own.begin({ user: `user-${index}` })).sessionID!))
    own.store.asked.length = 0
    const counts: number[] = []
    for (let tenth = 0; tenth < 10; tenth++) {
      own.clock.advance(1_000)
      await settled()
      counts.push(own.store.asked.length)
    }
    expect(counts.at(-1)).toBe(sessions)
    // 20 are to be expected in each tenth; 50 at once do not come by chance (less than one in ten billion).
    const tenths = counts.map((count, index) => count - (counts[index - 1] ?? 0))
    expect(Math.max(...tenths)).toBeLessThan(50)
  })

  test('nothing is looked for where the store tells by itself', async () => {
    const { clock, store, agenda } = await withPeer({ recheckMs: Infinity })
    expect(agenda.size).toBe(0)
    clock.advance(86_400_000)
    await settled()
    expect(store.asked).toEqual([])
  })

  test('that the store has told of, the entry is looked at, and the session ends only if that is so', async () => {
    const { store, keeper, peer, id } = await withPeer({ recheckMs: Infinity })
    keeper.gone(id)
    await settled()
    expect(peer.closed).toEqual([])
    delete store.entries[id]
    keeper.gone('another-id-of-length')
    await settled()
    expect(peer.closed).toEqual([])
    keeper.gone(id)
    await settled()
    expect(peer.closed).toEqual([isOver])
  })

  test('nothing is looked for when nobody is there any more', async () => {
    const { clock, store, agenda, lineage, peer, keeper, id } = await withPeer({ recheckMs: 10_000 })
    lineage.unbind(peer.bound!)
    expect([agenda.size, keeper.at(id), keeper.of(lineage.id)]).toEqual([0, undefined, undefined])
    clock.advance(100_000)
    await settled()
    expect(store.asked).toEqual([])
  })

  test('an end that has come is acted on at that time', async () => {
    const { clock, store, peer, id } = await withPeer({ recheckMs: RARELY, endsInMs: 10_000 })
    clock.advance(9_999)
    delete store.entries[id]
    await settled()
    expect(store.asked).toEqual([])
    clock.advance(1)
    await settled()
    expect(peer.closed).toEqual([isOver])
  })

  test('an end that was put off in the meantime is none', async () => {
    const { clock, peer, lineage, store } = await withPeer({ recheckMs: RARELY, endsInMs: 10_000 })
    clock.advance(9_000)
    lineage.touched(clock.now() + 10_000)
    clock.advance(9_000)
    await settled()
    expect(peer.closed).toEqual([])
    expect(store.asked).toEqual([])
  })

  test('a store that does not answer is asked again in a second, where the session should be over', async () => {
    const { clock, store, peer, faults, id } = await withPeer({ recheckMs: 20_000, endsInMs: 10_000 })
    // The first look has come by chance before the end.
    clock.advance(9_999)
    await settled()
    store.trouble = 'rejects'
    clock.advance(1)
    await settled()
    const before = faults.length
    expect(before).toBe(1)
    for (let seconds = 0; seconds < 5; seconds++) {
      clock.advance(1_000)
      await settled()
    }
    expect(faults.length - before).toBe(5)
    expect(peer.closed).toEqual([])
    store.trouble = undefined
    delete store.entries[id]
    clock.advance(1_000)
    await settled()
    expect(peer.closed).toEqual([isOver])
  })

  test('what should be over is not kept open for longer than the recheck time on the word of a store that says nothing', async () => {
    const { clock, store, peer } = await withPeer({ recheckMs: 20_000, endsInMs: 10_000 })
    clock.advance(9_999)
    await settled()
    store.trouble = 'rejects'
    for (let seconds = 0; seconds < 20; seconds++) {
      clock.advance(1_000)
      await settled()
    }
    expect(peer.closed).toEqual([])
    for (let seconds = 0; seconds < 3; seconds++) {
      clock.advance(1_000)
      await settled()
    }
    expect(peer.closed).toEqual([{ code: 'REVOKED', details: { reason: 'the session could not be confirmed' }, reconnect: 'now', policy: 'sessions' }])
  })

  test('what has no end stays open while the store says nothing', async () => {
    const { clock, store, peer, faults } = await withPeer({ recheckMs: 1_000 })
    store.trouble = 'rejects'
    for (let seconds = 0; seconds < 100; seconds++) {
      clock.advance(1_000)
      await settled()
    }
    expect(peer.closed).toEqual([])
    expect(faults.length).toBeGreaterThan(90)
  })
})

describe('what a change does to the peers', () => {
  const changed = async (own: Awaited<ReturnType<typeof withPeer>>, change: (entry: any) => void): Promise<void> => {
    behind(own.store, own.id, change)
    own.clock.advance(5_000)
    await Promise.resolve(own.lineage.ready(own.clock.now())).catch(() => {})
    await settled()
  }

  test('whoever signs out is told to sign in, whoever becomes another one to come back', async () => {
    for (const [data, change, reason, reconnect] of [
      [{ user: 'alice' }, (entry: any) => delete entry.user, 'signed out', 'after-credential'],
      [{ user: 'alice' }, (entry: any) => (entry.user = 'bob'), 'another user', 'now'],
      [{}, (entry: any) => (entry.user = 'bob'), 'signed in', 'now'],
    ] as const) {
      const own = await withPeer({}, data)
      await changed(own, change)
      expect(own.peer.closed).toEqual([{ code: 'REVOKED', details: { reason }, reconnect, policy: 'sessions' }])
    }
  })

  test('other rights are asked about anew, in place: events wait for that', async () => {
    const userOf = (data: any): any => ({ subject: data.user, claims: { role: data.role } })
    const own = await withPeer({ userOf }, { user: 'alice', role: 'user' })
    let agree!: (stays: boolean) => void
    own.peer.renewing = new Promise((resolve) => (agree = resolve))
    behind(own.store, own.id, (entry) => (entry.role = 'admin'))
    own.clock.advance(5_000)
    let done = false
    void own.lineage.ready(own.clock.now())!.then(() => (done = true))
    await settled()
    expect([own.peer.renewals, done, own.peer.closed]).toEqual([1, false, []])
    // Those that come meanwhile wait, too, though the snapshot is fresh.
    expect(own.lineage.ready(own.clock.now())).toBeInstanceOf(Promise)
    agree(true)
    await settled()
    expect(done).toBe(true)
    expect(own.lineage.ready(own.clock.now())).toBeUndefined()
  })

  test('a renewal that fails is reported, and keeps no event waiting for good', async () => {
    const userOf = (data: any): any => ({ subject: data.user, claims: { role: data.role } })
    const own = await withPeer({ userOf }, { user: 'alice', role: 'user' })
    own.peer.renewing = Promise.reject(new Error('a policy failed'))
    await changed(own, (entry) => (entry.role = 'admin'))
    expect(own.faults.map(String)).toContain('Error: a policy failed')
    expect(own.lineage.ready(own.clock.now())).toBeUndefined()
  })

  test('no change of who it is changes nothing', async () => {
    const own = await withPeer()
    const { version } = own.lineage
    await changed(own, (entry) => (entry.cart = [1]))
    expect([own.lineage.version, own.peer.closed, own.peer.renewals]).toEqual([version, [], 0])
  })
})

describe('a peer that enters', () => {
  test('when the session has ended since it was decided about is closed with the reason', async () => {
    const { lineage, bind } = await withPeer()
    lineage.end({ reason: 'signed out', advice: 'after-credential' })
    const late = bind(lineage)
    expect(late.bound).toBeUndefined()
    expect(late.closed).toEqual([{ code: 'REVOKED', details: { reason: 'signed out' }, reconnect: 'after-credential', policy: 'sessions' }])
  })

  test('as who the session no longer speaks for is closed, and may come back', async () => {
    const { lineage, peer, page, save } = await withPeer()
    const { version } = lineage
    // Too late for another id: the response is on its way.
    Object.assign(page, { res: { headersSent: true } })
    page.session!['user'] = 'bob'
    await save(page)
    expect(lineage.bind(peer.presence, version, CLIENT)).toBeUndefined()
    expect(peer.closed.at(-1)).toMatchObject({ details: { reason: 'the session has changed' }, reconnect: 'now' })
  })
})

describe('a session that ends', () => {
  test('says so once, to all, and nothing wakes it', async () => {
    const { lineage, peer, bind, clock, store, id } = await withPeer()
    const other = bind(lineage)
    lineage.end({ reason: 'first', advice: 'never' })
    lineage.end({ reason: 'second', advice: 'now' })
    expect([peer.closed, other.closed]).toEqual(Array(2).fill([{ code: 'REVOKED', details: { reason: 'first' }, reconnect: 'never', policy: 'sessions' }]))
    lineage.become(entryOf(id, marked({ cookie: {}, user: 'mallory' }, { lineage: lineage.id, sinceMs: 0, bornMs: 0 })) as SessionEntry)
    lineage.moving(true)
    lineage.touched(clock.now() + 5)
    expect(lineage.data).toMatchObject({ user: 'alice' })
    expect(lineage.accepts(id, clock.now())).toBe(false)
    clock.advance(100_000)
    await settled()
    expect(store.asked).toEqual([])
  })

  test('is forgotten when its last peer has gone and no decision about another is under way', async () => {
    const { lineage, peer, keeper } = await withPeer()
    const [letGo, letGoToo] = [lineage.hold(), lineage.hold()]
    lineage.unbind(peer.bound!)
    expect(keeper.of(lineage.id)).toBe(lineage)
    letGo()
    letGo()
    expect(keeper.of(lineage.id)).toBe(lineage)
    letGoToo()
    expect(keeper.of(lineage.id)).toBeUndefined()
  })

  test('is another one\'s business when it was forgotten meanwhile', async () => {
    const { lineage, peer, keeper, id, lineage: old } = await withPeer()
    const letGo = old.hold()
    old.end({ reason: 'x', advice: 'now' })
    old.unbind(peer.bound!)
    letGo()
    expect(keeper.of(lineage.id)).toBeUndefined()
    expect(keeper.at(id)).toBeUndefined()
  })
})

describe('a session that goes on under another id', () => {
  test('keeps its events waiting from the moment it is known, until the new one is there', async () => {
    const { lineage, clock, page, regenerate, save, id, peer } = await withPeer()
    const going = regenerate(page)
    const event = lineage.ready(clock.now())
    expect(event).toBeInstanceOf(Promise)
    await going
    page.session!['user'] = 'alice'
    const saving = save(page)
    await Promise.all([event, saving])
    expect(lineage.currentId).toBe(page.sessionID)
    expect(lineage.currentId).not.toBe(id)
    expect(peer.closed).toEqual([])
  })

  test('accepts the id before for its grace, on connections that are open, and none before that one', async () => {
    const { lineage, clock, page, regenerate, save } = await withPeer({ graceMs: 30_000 })
    const ids = [page.sessionID!]
    for (let turn = 0; turn < 2; turn++) {
      await regenerate(page)
      page.session!['user'] = 'alice'
      await save(page)
      ids.push(page.sessionID!)
    }
    const accepted = (): boolean[] => ids.map((id) => lineage.accepts(id, clock.now()))
    expect(accepted()).toEqual([false, true, true])
    clock.advance(29_999)
    expect(accepted()).toEqual([false, true, true])
    clock.advance(1)
    expect(accepted()).toEqual([false, false, true])
    expect(lineage.ids).toEqual(expect.arrayContaining(ids.slice(1)))
  })

  test('of a node that has died with it is over when that has had its time', async () => {
    const { lineage, clock, peer, page, shared, engine, store, id } = await withPeer({ recheckMs: 30_000 })
    // Another node has taken the id away, has said that it is on its way, and is no more.
    await engine.directory.move(lineage.id, undefined)
    delete store.entries[id]
    expect(shared).toBeDefined()
    clock.advance(5_000)
    let waits = true
    void Promise.resolve(lineage.ready(clock.now())).catch(() => {}).then(() => (waits = false))
    await settled()
    expect([waits, peer.closed]).toEqual([true, []])
    for (let seconds = 0; seconds < 15; seconds++) {
      clock.advance(1_000)
      await settled()
    }
    expect(peer.closed).toEqual([])
    for (let seconds = 0; seconds < 3; seconds++) {
      clock.advance(1_000)
      await settled()
    }
    expect(peer.closed).toEqual([isOver])
    expect(waits).toBe(false)
    expect(page).toBeDefined()
  })

  test('is not gone while it is between two, also where no store of a gate says so', async () => {
    const { lineage, page, regenerate, save, peer, part } = await withPeer({ recheckMs: RARELY })
    part()
    await regenerate(page)
    await lineage.look()
    expect(peer.closed).toEqual([])
    page.session!['user'] = 'alice'
    await save(page)
    expect([lineage.currentId, peer.closed]).toEqual([page.sessionID, []])
  })

  test('on another node is found there', async () => {
    const shared = memoryStore()
    const store = new CountedStore()
    const own = rig({ store, shared })
    const page = await own.begin({ user: 'alice' })
    const lineage = await own.lineage(page.sessionID!)
    const peer = own.bind(lineage)
    // The entry has moved behind everybody's back, and the directory says where to.
    const entry = store.entry(page.sessionID!)
    delete store.entries[page.sessionID!]
    store.entries['the-new-id-elsewhere'] = JSON.stringify(entry)
    await own.engine.directory.move(lineage.id, 'the-new-id-elsewhere')
    own.clock.advance(5_000)
    await lineage.ready(own.clock.now())
    expect([lineage.currentId, peer.closed]).toEqual(['the-new-id-elsewhere', []])
  })
})

describe('a session whose id is to be changed from time to time', () => {
  const terms = { rotateEveryMs: 60_000, graceMs: 10_000, recheckMs: RARELY }

  test('asks the peer that was active last, once, when its time has come', async () => {
    const { clock, lineage, bind, peer } = await withPeer(terms)
    const active = bind(lineage)
    clock.advance(59_999)
    lineage.active(active.bound!, clock.now())
    await settled()
    expect([peer.told, active.told]).toEqual([[], []])
    clock.advance(1)
    await settled()
    expect(peer.told).toEqual([])
    expect(active.told).toEqual([{ event: 'gate:renew', data: { ticket: expect.stringMatching(/^[\w-]{43}$/), path: '/session/renew', expiresInMs: 10_000 } }])
  })

  test('asks another one when that one has not answered for a while, and goes on until somebody has', async () => {
    const { clock, lineage, bind, peer } = await withPeer(terms)
    const active = bind(lineage)
    lineage.active(active.bound!, clock.now())
    clock.advance(60_000)
    await settled()
    clock.advance(14_999)
    await settled()
    expect([active.told.length, peer.told.length]).toEqual([1, 0])
    clock.advance(1)
    await settled()
    expect([active.told.length, peer.told.length]).toEqual([1, 1])
    // Less and less often.
    for (const [afterMs, asked] of [[29_999, 2], [1, 3], [59_999, 3], [1, 4]] as const) {
      clock.advance(afterMs)
      await settled()
      expect(active.told.length + peer.told.length).toBe(asked)
    }
  })

  test('asks nobody where ids are not changed, unless one is to be as soon as possible', async () => {
    const userOf = (data: any): any => ({ subject: data.user, claims: { role: data.role } })
    const { clock, peer, agenda, keeper, lineage } = await withPeer({ ...terms, userOf, recheckMs: Infinity, rotateEveryMs: undefined })
    clock.advance(86_400_000)
    await settled()
    expect([peer.told, agenda.size]).toEqual([[], 0])
    await keeper.session(lineage).update((data: any) => void (data.role = 'admin'))
    clock.advance(1)
    await settled()
    expect(peer.told.length).toBe(1)
  })

  test('asks again for the time after that when the id has changed', async () => {
    const { clock, page, rotation, peer, request, load } = await withPeer(terms)
    clock.advance(60_000)
    await settled()
    const of = await load(page.sessionID!)
    expect(request).toBeDefined()
    expect(await rotation.rotate(of!)).toBe(true)
    clock.advance(59_999)
    await settled()
    expect(peer.told.length).toBe(1)
    clock.advance(1)
    await settled()
    expect(peer.told.length).toBe(2)
  })

  test('asks in time for the one after that, however long nobody has answered', async () => {
    const { clock, page, rotation, peer, load } = await withPeer(terms)
    for (const afterMs of [60_000, 15_000, 30_000, 60_000, 120_000]) {
      clock.advance(afterMs)
      await settled()
    }
    expect(peer.told.length).toBe(5)
    expect(await rotation.rotate((await load(page.sessionID!))!)).toBe(true)
    clock.advance(60_000)
    await settled()
    expect(peer.told.length).toBe(6)
  })

  test('says that it has failed where the ticket cannot be kept, and asks again', async () => {
    const { clock, peer, faults, shared } = await withPeer(terms)
    const { set } = shared
    shared.set = () => {
      throw new Error('down')
    }
    clock.advance(60_000)
    await settled()
    expect([faults.map((error: any) => error.code), peer.told]).toEqual([['UNAVAILABLE'], []])
    shared.set = set
    clock.advance(15_000)
    await settled()
    expect(peer.told.length).toBe(1)
  })
})

describe('what a peer does', () => {
  test('keeps the session alive, at most once in the time for that', async () => {
    const { clock, store, lineage, peer } = await withPeer({ touchEveryMs: 60_000, cookie: { maxAge: 3_600_000 } })
    const act = async (): Promise<number> => {
      lineage.active(peer.bound!, clock.now())
      await settled()
      return store.count('touch')
    }
    expect([await act(), await act()]).toEqual([1, 1])
    clock.advance(59_999)
    expect(await act()).toBe(1)
    clock.advance(1)
    expect([await act(), await act()]).toEqual([2, 2])
  })

  test('puts its end off, in the store and here', async () => {
    const { clock, lineage, peer, store } = await withPeer({ freshMs: 86_400_000, recheckMs: RARELY, endsInMs: 10_000 })
    // express-session has a clock of its own, and makes the new end by that.
    lineage.active(peer.bound!, clock.now())
    await settled()
    expect(store.count('touch')).toBe(1)
    lineage.touched(clock.now() + 20_000)
    clock.advance(19_999)
    expect(lineage.ready(clock.now())).toBeUndefined()
    clock.advance(1)
    expect(lineage.ready(clock.now())).toBeInstanceOf(Promise)
  })

  test('puts it off by the age that its cookie has', async () => {
    const { clock, lineage, peer, store, id } = await withPeer({ freshMs: RARELY, recheckMs: RARELY, endsInMs: 5_000, cookie: { maxAge: 3_600_000 } })
    lineage.active(peer.bound!, clock.now())
    await settled()
    clock.advance(5_000)
    expect(lineage.ready(clock.now())).toBeUndefined()
    expect(Date.parse(store.entry(id).cookie.expires)).toBeGreaterThan(clock.now() + 3_000_000)
  })

  test('stays put off where the store prolongs an entry without writing into it', async () => {
    const { clock, lineage } = await withPeer({ freshMs: RARELY, recheckMs: RARELY, endsInMs: 10_000 })
    lineage.touched(clock.now() + 60_000)
    await lineage.look()
    clock.advance(59_999)
    expect(lineage.ready(clock.now())).toBeUndefined()
    clock.advance(1)
    expect(lineage.ready(clock.now())).toBeInstanceOf(Promise)
    await settled()
  })

  test('that cannot be noted is reported, and the peer stays', async () => {
    const { clock, lineage, peer, store, faults } = await withPeer({ timeoutMs: 2_000 })
    store.trouble = 'hangs'
    lineage.active(peer.bound!, clock.now())
    clock.advance(2_000)
    await settled()
    expect([faults.map(String), peer.closed]).toEqual([['SessionStoreError: the session store has failed: it has not answered in time'], []])
  })
})

describe('the data', () => {
  test('is a copy, frozen all through, without cookie and mark, and the same object until it is read again', async () => {
    const { lineage, page, clock } = await withPeer({}, { user: { id: 'alice', roles: ['a'] } })
    const { data } = lineage
    expect(data).toEqual({ user: { id: 'alice', roles: ['a'] } })
    expect(lineage.data).toBe(data)
    expect(() => (data['user'].roles as string[]).push('b')).toThrow(TypeError)
    expect(() => Object.assign(data, { admin: true })).toThrow(TypeError)
    clock.advance(5_000)
    await lineage.ready(clock.now())
    expect(lineage.data).not.toBe(data)
    expect(Object.isFrozen(page.session!['user'])).toBe(false)
  })
})
