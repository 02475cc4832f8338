import { describe, expect, test } from '@jest/globals'
import { lineageOf } from '../../../adapters/express-session/record.ts'
import { sessionIdOf, signedValue } from '../../../adapters/express-session/signed-cookie.ts'
import { failure, rig, SECRET, settled } from './rig.ts'

const terms = { rotateEveryMs: 60_000, graceMs: 10_000 }

describe('when an id is to be replaced', () => {
  test.each<[string, number | undefined, number, boolean]>([
    ['never, where nobody has said how often', undefined, 1_000_000_000, false],
    ['not before its time', 60_000, 59_999, false],
    ['when its time has come', 60_000, 60_000, true],
  ])('%s', async (_when, rotateEveryMs, ageMs, due) => {
    const { rotation, clock } = rig({ rotateEveryMs })
    const sinceMs = clock.now()
    clock.advance(ageMs)
    expect(rotation.isDue({ sinceMs, lineage: 's_x', bornMs: 0 })).toBe(due)
    expect(rotation.dueAt({ sinceMs, lineage: 's_x', bornMs: 0 })).toBe(rotateEveryMs === undefined ? Infinity : sinceMs + rotateEveryMs)
  })

  test.each(['soon', 'cut'] as const)('at once, where it has been said so (%s)', (replace) => {
    const { rotation, clock } = rig({ rotateEveryMs: undefined })
    expect(rotation.isDue({ sinceMs: clock.now(), lineage: 's_x', bornMs: 0, replace })).toBe(true)
  })
})

describe('a session that is given another id', () => {
  test('is what it was, under both, with the time and the age it had', async () => {
    const { begin, rotation, store, clock, load } = rig({ ...terms, cookie: { maxAge: 3_600_000 } })
    const bornMs = clock.now()
    const page = await begin({ user: 'alice', deep: { list: [1] } })
    const old = page.sessionID!
    const { expires } = store.entry(old).cookie
    clock.advance(60_000)
    expect(await rotation.rotate(page)).toBe(true)
    expect(page.sessionID).not.toBe(old)
    expect(page.session).toMatchObject({ id: page.sessionID, user: 'alice', deep: { list: [1] } })
    expect(store.entry(page.sessionID!)).toMatchObject({ user: 'alice', cookie: { expires }, __portcullis: { lineage: lineageOf(old), sinceMs: clock.now(), bornMs, graceUntilMs: clock.now() + 10_000 } })
    expect(page.session!.cookie.expires).toEqual(new Date(expires))
    const forward = store.entry(old)
    expect(forward.__portcullis).toEqual({ lineage: lineageOf(old), to: page.sessionID, untilMs: clock.now() + 10_000 })
    // It is still known for what it is when it is no longer served.
    expect(forward.cookie.expires).toBe(new Date(clock.now() + 10_000 + 3_600_000).toISOString())
    expect(Object.keys(forward).sort()).toEqual(['__portcullis', 'cookie'])
    expect((await load(old))!.session).toMatchObject({ user: 'alice' })
  })

  test('has the cookie that the application has made for this one', async () => {
    const { begin, rotation, save, store, load } = rig({ ...terms, cookie: { maxAge: 3_600_000 } })
    const { sessionID } = await begin({ user: 'alice' })
    const page = (await load(sessionID!))!
    Object.assign(page.session!.cookie, { maxAge: 60_000, sameSite: 'strict' })
    await rotation.rotate(page)
    await save(page)
    for (const cookie of [page.session!.cookie, store.entry(page.sessionID!).cookie]) expect(cookie).toMatchObject({ originalMaxAge: 60_000, sameSite: 'strict' })
  })

  test('has it in the header of the request, for whoever reads the cookie after that', async () => {
    const { begin, rotation } = rig(terms)
    const page = await begin({ user: 'alice' })
    const header = `theme=dark; sid=${signedValue(page.sessionID!, SECRET)}; lang=en`
    page.headers.cookie = header
    await rotation.rotate(page)
    expect(sessionIdOf(page.headers.cookie, 'sid', [SECRET])).toBe(page.sessionID)
    expect(page.headers.cookie).toMatch(/^theme=dark; sid=[^;]+; lang=en$/)
  })

  test('has no cookie in the header where there was none', async () => {
    const { begin, rotation } = rig(terms)
    const page = await begin({ user: 'alice' })
    await rotation.rotate(page)
    expect(page.headers).toEqual({})
  })

  test('is known to its peers, to the list, and to other nodes by then', async () => {
    const { begin, rotation, lineage, bind, engine, keeper, shared } = rig(terms)
    const page = await begin({ user: 'alice' })
    const old = page.sessionID!
    const own = await lineage(old)
    const peer = bind(own)
    const heard: any[] = []
    await shared.subscribe('portcullis:sessions', (message) => void heard.push(JSON.parse(message)))
    await rotation.rotate(page)
    expect([own.currentId, keeper.at(page.sessionID!), keeper.at(old)]).toEqual([page.sessionID, own, own])
    expect((await engine.directory.find(own.id))?.sid).toBe(page.sessionID)
    await settled()
    expect(heard).toEqual([{ from: expect.any(String), kind: 'look', lineage: own.id, replaced: expect.any(String) }])
    expect(JSON.stringify(heard)).not.toContain(old)
    expect([peer.closed, peer.renewals]).toEqual([[], 0])
  })

  test('keeps what events have written since the request has read it, and what the request writes', async () => {
    const { begin, rotation, load, save, store, lineage, bind, keeper } = rig(terms)
    const page = await begin({ user: 'alice', n: 1 })
    const own = await lineage(page.sessionID!)
    bind(own)
    const slow = (await load(page.sessionID!))!
    await keeper.session(own).update((data: any) => void Object.assign(data, { byEvent: 1, n: 2 }))
    slow.session!['before'] = 1
    await rotation.rotate(slow)
    slow.session!['after'] = 1
    await save(slow)
    expect(store.entry(slow.sessionID!)).toMatchObject({ user: 'alice', byEvent: 1, n: 2, before: 1, after: 1 })
  })

  test('is given one, however many requests are there', async () => {
    const { begin, rotation, load, store } = rig(terms)
    const { sessionID: old } = await begin({ user: 'alice' })
    const pages = await Promise.all([load(old!), load(old!), load(old!)])
    expect((await Promise.all(pages.map((page) => rotation.rotate(page!)))).filter(Boolean).length).toBe(1)
    expect(Object.keys(store.entries).length).toBe(2)
    expect(pages.filter((page) => page!.sessionID === old).length).toBe(2)
  })

  test('is not, where the request came with the preceding id, or with none', async () => {
    const { begin, rotation, load, request, store } = rig(terms)
    const page = await begin({ user: 'alice' })
    const old = page.sessionID!
    await rotation.rotate(page)
    const late = await load(old)
    expect(await rotation.rotate(late!)).toBe(false)
    expect(await rotation.rotate(request())).toBe(false)
    expect(await rotation.rotate(request({ session: {} }))).toBe(false)
    expect(Object.keys(store.entries).length).toBe(2)
  })

  test('is not, where it has ended meanwhile, and the request keeps what it has', async () => {
    const { begin, rotation, load, destroy, store } = rig(terms)
    const { sessionID: old } = await begin({ user: 'alice' })
    const slow = (await load(old!))!
    await destroy(old!)
    expect(await rotation.rotate(slow)).toBe(false)
    expect([slow.sessionID, store.entries]).toEqual([old, {}])
  })

  test.each([1, 2])('is as it was where the store fails at the %i. of two entries', async (which) => {
    const { begin, rotation, store, engine, load, save } = rig(terms)
    const page = await begin({ user: 'alice' })
    const old = page.sessionID!
    const { set } = engine.backing
    let written = 0
    engine.backing.set = (...entry) => (++written === which ? Promise.reject(new Error('down')) : set.apply(engine.backing, entry))
    expect((await failure(rotation.rotate(page))).message).toBe('down')
    engine.backing.set = set
    expect([page.sessionID, page.session!.id, Object.keys(store.entries)]).toEqual([old, old, [old]])
    page.session!['more'] = 1
    await save(page)
    expect((await load(old))!.session).toMatchObject({ user: 'alice', more: 1 })
  })

  test('is over under both ids, where somebody ends it at that moment', async () => {
    const { begin, rotation, store, engine } = rig(terms)
    const page = await begin({ user: 'alice' })
    const old = page.sessionID!
    const { set } = engine.backing
    engine.backing.set = async (...entry) => {
      engine.backing.set = set
      await set.apply(engine.backing, entry)
      await engine.end(lineageOf(old), { reason: 'ended', advice: 'never' }, [old])
    }
    expect((await failure(rotation.rotate(page))).code).toBe('REVOKED')
    expect(store.entries).toEqual({})
  })
})

describe('a ticket', () => {
  const setUp = async () => {
    const own = rig(terms)
    const page = await own.begin({ user: 'alice' })
    const { ticket, expiresInMs } = await own.rotation.ticketFor(page.sessionID!, lineageOf(page.sessionID!))
    return { ...own, page, old: page.sessionID!, ticket, expiresInMs }
  }

  test('is good for one other id, within its time', async () => {
    const { rotation, page, ticket, expiresInMs, old, load } = await setUp()
    expect([ticket, expiresInMs]).toEqual([expect.stringMatching(/^[\w-]{43}$/), 10_000])
    expect(await rotation.redeem(ticket, page)).toBe(true)
    expect(page.sessionID).not.toBe(old)
    expect(await rotation.redeem(ticket, (await load(page.sessionID!))!)).toBe(false)
  })

  test('is over after it', async () => {
    const { rotation, page, ticket, clock, old } = await setUp()
    clock.advance(10_000)
    expect(await rotation.redeem(ticket, page)).toBe(false)
    expect(page.sessionID).toBe(old)
  })

  test.each<[string, (ticket: string) => unknown]>([
    ['cut', (ticket) => ticket.slice(1)],
    ['longer', (ticket) => `${ticket}A`],
    ['another one', (ticket) => (ticket.startsWith('A') ? 'B' : 'A') + ticket.slice(1)],
    ['in a list', (ticket) => [ticket]],
    ['none', () => undefined],
  ])('that is %s is none, and the real one is not spent by it', async (_what, change) => {
    const { rotation, page, ticket } = await setUp()
    expect(await rotation.redeem(change(ticket), page)).toBe(false)
    expect(await rotation.redeem(ticket, page)).toBe(true)
  })

  test('is of no use with the cookie of somebody else, and is spent by that', async () => {
    const { rotation, page, ticket, begin } = await setUp()
    const other = await begin({ user: 'mallory' })
    expect(await rotation.redeem(ticket, other)).toBe(false)
    expect(await rotation.redeem(ticket, page)).toBe(false)
  })

  test('is of no use without a session, or with the preceding id', async () => {
    const first = await setUp()
    expect(await first.rotation.redeem(first.ticket, first.request())).toBe(false)
    const { rotation, page, ticket, old, load } = await setUp()
    await rotation.rotate(page)
    expect(await rotation.redeem(ticket, (await load(old))!)).toBe(false)
  })

  test('is of no use when the id has been replaced since it was made', async () => {
    const { rotation, page, ticket, load } = await setUp()
    await rotation.rotate(page)
    expect(await rotation.redeem(ticket, (await load(page.sessionID!))!)).toBe(false)
  })

  test('is nowhere in the store, and nor is an id', async () => {
    const { ticket, old, shared, rotation } = await setUp()
    const kept: unknown[] = []
    const { set } = shared
    shared.set = ((...all: Parameters<typeof set>) => (kept.push(all), set.apply(shared, all)))
    const second = await rotation.ticketFor(old, lineageOf(old))
    expect(kept.length).toBe(1)
    for (const secret of [second.ticket, ticket, old]) expect(JSON.stringify(kept)).not.toContain(secret)
  })

  test('cannot be had without a store of a gate, or from one that does not answer', async () => {
    const own = rig(terms)
    own.shared.set = () => Promise.reject(new Error('down'))
    expect((await failure(own.rotation.ticketFor('an-id-of-some-length', 's_x'))).code).toBe('UNAVAILABLE')
    own.part()
    expect((await failure(own.rotation.ticketFor('an-id-of-some-length', 's_x'))).code).toBe('UNAVAILABLE')
  })
})
