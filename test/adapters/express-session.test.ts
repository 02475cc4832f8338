import { describe, expect, jest, test } from '@jest/globals'
import session from 'express-session'
import { ConfigError, Denied, guard, memoryStore } from 'portcullis'
import type { Gate, Principal, Store } from 'portcullis'
import { secureCookie, sessions } from 'portcullis/adapters/express-session'
import type { LiveSession, SessionsOptions } from 'portcullis/adapters/express-session'
import { authenticate, csrf } from 'portcullis/policies'
import { admitted, denied, harness, testClock } from 'portcullis/testing'
import type { Probe } from 'portcullis/testing'
import { Server } from 'socket.io'
import { failure, settled } from './express-session/rig.ts'
import { CountedStore } from './express-session/rig.ts'
import { entered, serve } from '../support/server.ts'
import { SECRET, sign } from '../support/session-cookies.ts'

type Request = { headers: Record<string, string>; session: any; sessionID: string; res?: unknown }

/** Warnings about the cookies of these tests, which are not what they are about. */
function quietly<T>(run: () => T): T {
  const said = jest.spyOn(process, 'emitWarning').mockImplementation(() => {})
  try {
    return run()
  } finally {
    said.mockRestore()
  }
}

/** The sessions of an application, and a store that counts. */
function setUp(more: Partial<SessionsOptions> & { readonly cookie?: object } = {}) {
  const { cookie = {}, ...terms } = more
  const clock = testClock(Date.now())
  const store = new CountedStore()
  const middleware = session({ store, secret: SECRET, name: 'sid', resave: false, saveUninitialized: false, cookie })
  const live = quietly(() => sessions({ middleware, store, secret: SECRET, name: 'sid', clock, dangerouslyWithoutCsrf: true, recheckMs: 2_000_000_000, ...terms } as SessionsOptions))
  const save = (page: Request): Promise<void> => store.set(page.sessionID, page.session) as unknown as Promise<void>
  const begin = async (data: object = {}): Promise<Request> => {
    const page = { headers: {} } as Request
    ;(store as any).generate(page)
    Object.assign(page.session, data)
    await save(page)
    return page
  }
  const destroy = (page: Request): Promise<void> => store.destroy(page.sessionID) as unknown as Promise<void>
  const load = async (id: string): Promise<Request | undefined> => {
    const found = await (store.get as any)(id)
    if (found === undefined) return undefined
    const page = { headers: {}, sessionID: id } as Request
    store.createSession(page as never, found)
    return page
  }
  return { clock, store, middleware, live, begin, save, destroy, load }
}

type Facts = { readonly principal?: Principal; readonly session?: LiveSession }

/** The same with the policies of a gate, without a server. */
function probed(more: Parameters<typeof setUp>[0] & { readonly optional?: boolean; readonly gate?: { readonly store?: Store } } = {}) {
  const { optional = false, gate = {}, ...terms } = more
  const own = setUp(terms)
  const probe = harness((on: Gate) => on.use(authenticate(own.live.scheme(), { optional } as { optional: true })).use(own.live.policy({ optional })).event('say', (_ctx, next) => next()), { clock: own.clock, undeclared: 'allow', ...gate })
  const connect = (page?: Request | string, more: object = {}) => probe.connect({ headers: page === undefined ? {} : { cookie: `sid=${sign(typeof page === 'string' ? page : page.sessionID)}` }, ...more })
  const enter = async (page: Request): Promise<Facts> => (await connect(page)).facts as Facts
  return { ...own, probe, connect, enter }
}

/** The decisions that ended a peer. */
const endings = (probe: Probe): unknown[] => probe.decisions.filter(({ policy }) => policy === 'sessions').map(({ code, error }: any) => [code, (error as Denied | undefined)?.details ?? undefined])

describe('sessions', () => {
  test.each<[string, (own: ReturnType<typeof setUp>) => object, RegExp]>([
    ['without a store', () => ({ store: undefined }), /store of express-session/],
    ['with another store than the middleware has', () => ({ store: new session.MemoryStore() }), /not the one that the middleware was made with/],
    ['with an empty secret', () => ({ secret: '' }), /secret is empty/],
    ['without a secret', () => ({ secret: [] }), /secret is an empty list/],
    ['with a name that no cookie has', () => ({ name: 'a b' }), /./],
    ['with an option that there is not', () => ({ reader: 1 }), /unknown option "reader"/],
  ])('%s are an error when they are made', (_what, change, message) => {
    const own = setUp()
    const make = (): unknown => sessions({ middleware: own.middleware, store: own.store, secret: SECRET, ...change(own) } as SessionsOptions)
    expect(make).toThrow(ConfigError)
    expect(make).toThrow(message)
  })

  test('have the name that express-session has by default', async () => {
    const store = new CountedStore()
    const live = quietly(() => sessions({ middleware: session({ store, secret: SECRET, resave: false, saveUninitialized: false }), store, secret: SECRET, dangerouslyWithoutCsrf: true }))
    const read = (cookie: string): unknown => live.cookie({ headers: { cookie }, cause: 'connect', handshake: { headers: { cookie } }, opener: undefined } as never)
    expect(read('connect.sid=x')).toBe('x')
    expect(read('sid=x')).toBeUndefined()
  })

  test('made twice for one store watch it once, if they agree on it', async () => {
    const own = setUp()
    const { get } = own.store
    const terms = { middleware: own.middleware, store: own.store, secret: SECRET, name: 'sid', clock: own.clock, dangerouslyWithoutCsrf: true } as const
    const second = quietly(() => sessions({ ...terms, freshMs: 1 }))
    expect(own.store.get).toBe(get)
    const page = await own.begin({ user: 'alice' })
    expect(second.idOf(page as never)).toBe(own.live.idOf(page as never))
    for (const [name, value] of Object.entries({ graceMs: 1, timeoutMs: 1, rotateEveryMs: 60_000, touchEveryMs: 1, user: () => 'x', secret: 'another', concurrent: { limit: 1, full: 'refuse' }, clock: testClock() })) {
      expect(() => sessions({ ...terms, [name]: value } as SessionsOptions)).toThrow(ConfigError)
      expect(() => sessions({ ...terms, [name]: value } as SessionsOptions)).toThrow(new RegExp(`watched already, with another ${name}`))
    }
  })

  test('made twice serve the gates of both', async () => {
    const one = probed()
    const shared = one.probe.store
    const other = quietly(() => sessions({ middleware: one.middleware, store: one.store, secret: SECRET, name: 'sid', clock: one.clock, dangerouslyWithoutCsrf: true }))
    const probe = harness((on: Gate) => on.use(authenticate(other.scheme())).use(other.policy()), { clock: one.clock, store: shared, undeclared: 'allow' })
    const page = await one.begin({ user: 'alice' })
    await one.enter(page)
    await probe.connect({ headers: { cookie: `sid=${sign(page.sessionID)}` } })
    await one.destroy(page)
    expect([endings(one.probe).length, endings(probe).length]).toEqual([1, 1])
  })

  test('on gates with different stores are an error when they are declared', () => {
    const { live } = setUp()
    const declare = (): unknown => harness((on: Gate) => on.use(authenticate(live.scheme())).use(live.policy()))
    declare()
    expect(declare).toThrow(ConfigError)
    expect(declare).toThrow(/share a store/)
  })
})

describe('a gate', () => {
  const gate = (options: Partial<SessionsOptions> = {}) => ({ ...setUp(options), gate: guard(new Server(), { undeclared: 'allow' }) })

  test('with the scheme alone is told to declare the policy, too: nothing would end', () => {
    const { live, gate: own } = gate()
    own.use(authenticate(live.scheme()))
    expect(() => own.coverage()).toThrow(ConfigError)
    expect(() => own.coverage()).toThrow(/use\(live\.policy\(\)\)/)
    own.use(live.policy())
    expect(() => own.coverage()).not.toThrow()
  })

  test('with the policy of other sessions is told so, too', () => {
    const { live, gate: own } = gate()
    expect(() => own.use(authenticate(live.scheme())).use(setUp().live.policy()).coverage()).toThrow(/use\(live\.policy\(\)\)/)
  })

  test('with the policy alone is fine: its peers have sessions, and no principal', () => {
    const { live, gate: own } = gate()
    expect(() => own.use(live.policy()).coverage()).not.toThrow()
  })

  test('without csrf is told that browsers send the cookie, whichever page connects', () => {
    const { live, gate: own } = gate({ dangerouslyWithoutCsrf: false })
    own.use(authenticate(live.scheme())).use(live.policy())
    expect(() => own.coverage()).toThrow(/cookie "sid".*csrf/)
  })

  test('with csrf of that cookie is fine', () => {
    const { live, gate: own } = gate({ dangerouslyWithoutCsrf: false })
    own.use(csrf({ origins: ['https://app.example'], secret: 'a secret of 32 bytes or more, for csrf', session: live.cookie })).use(authenticate(live.scheme())).use(live.policy())
    expect(() => own.coverage()).not.toThrow()
  })

  test('warns of what is weak in the cookie, and of users that sign in under the id of a visitor once one has', async () => {
    const { live, gate: own, begin, save } = gate()
    own.use(live.policy())
    const ours = (): string[] => own.coverage().warnings.filter((warning) => /session/.test(warning))
    expect(ours()).toEqual(expect.arrayContaining([expect.stringMatching(/not Secure/), expect.stringMatching(/__Host-/)]))
    expect(ours().some((warning) => warning.includes('fixation'))).toBe(false)
    const page = await begin({})
    // Too late for another id: the response has its cookie.
    page.res = { headersSent: true }
    page.session.user = 'alice'
    await save(page)
    expect(ours().filter((warning) => warning.includes('fixation')).length).toBe(1)
  })

  test('has nothing to warn of where the cookie is a safe one, and the process is told nothing', () => {
    const said = jest.spyOn(process, 'emitWarning').mockImplementation(() => {})
    const store = new CountedStore()
    const cookie = secureCookie()
    const live = sessions({ middleware: session({ ...cookie, store, secret: SECRET }), store, secret: SECRET, name: cookie.name })
    expect(said).not.toHaveBeenCalled()
    expect(guard(new Server(), { undeclared: 'allow' }).use(live.policy()).coverage().warnings.filter((warning) => warning.includes('session cookie'))).toEqual([])
    sessions({ middleware: session({ store, secret: SECRET, resave: false, saveUninitialized: false, cookie: { httpOnly: false } }), store, secret: SECRET, name: cookie.name })
    expect(said.mock.calls.map(([, options]) => options)).toContainEqual({ code: 'PORTCULLIS_SESSION_COOKIE' })
    said.mockRestore()
  })

  test('that is closed hears of nothing any more, and the sessions go on for HTTP', async () => {
    let stopped = 0
    const { live, gate: own, begin, destroy, clock, store } = gate({ watch: () => () => void stopped++ })
    own.use(live.policy())
    const page = await begin({ user: 'alice' })
    await own.close()
    expect(stopped).toBe(1)
    await destroy(page)
    expect(store.entries).toEqual({})
    clock.advance(10_000_000)
    expect(clock.pending).toBeLessThanOrEqual(1)
  })

  test('is watched once, however often the policy is declared, and until the last one is closed', async () => {
    let watching = 0
    const { live, gate: own } = gate({ watch: () => (watching++, () => void watching--) })
    const policy = live.policy()
    own.use(policy)
    own.of('/chat').use(policy)
    const other = guard(new Server(), { undeclared: 'allow', store: memoryStore() })
    expect(watching).toBe(1)
    expect(() => other.use(live.policy())).toThrow(/share a store/)
    await own.close()
    expect(watching).toBe(0)
  })
})

test('several gates are watched for until the last of them is closed', async () => {
  let watching = 0
  const { live } = setUp({ watch: () => (watching++, () => void watching--) })
  const store = memoryStore()
  const gates = [guard(new Server(), { undeclared: 'allow', store }), guard(new Server(), { undeclared: 'allow', store })]
  for (const gate of gates) gate.use(live.policy())
  expect(watching).toBe(1)
  await gates[0]!.close()
  expect(watching).toBe(1)
  await gates[1]!.close()
  expect(watching).toBe(0)
})

describe('a process without a gate', () => {
  test('lists and ends sessions by the store that the gates have', async () => {
    const clock = testClock(Date.now())
    const gateStore = memoryStore({ clock })
    const { live, begin, store } = setUp({ clock, gateStore })
    const [one, other] = [await begin({ user: 'alice' }), await begin({ user: 'alice' })]
    const listed = await live.list({ subject: 'alice' })
    expect(listed.map(({ id }) => id)).toEqual([live.idOf(one as never), live.idOf(other as never)])
    expect(await live.end(listed[0]!.id, { reason: 'lost' })).toBe(true)
    expect(Object.keys(store.entries)).toEqual([other.sessionID])
  })

  test('closes sockets of the gates elsewhere', async () => {
    const clock = testClock(Date.now())
    const gateStore = memoryStore({ clock })
    const kept = new Map<string, string>()
    class Shared extends session.Store {
      override get(id: string, done: (error?: any, found?: any) => void): void {
        setImmediate(done, null, kept.has(id) ? JSON.parse(kept.get(id)!) : undefined)
      }
      override set(id: string, data: object, done?: () => void): void {
        kept.set(id, JSON.stringify(data))
        setImmediate(() => done?.())
      }
      override destroy(id: string, done?: () => void): void {
        kept.delete(id)
        setImmediate(() => done?.())
      }
    }
    const node = (more: object) => {
      const store = new Shared()
      const middleware = session({ store, secret: SECRET, name: 'sid', resave: false, saveUninitialized: false })
      return { store, live: quietly(() => sessions({ middleware, store, secret: SECRET, name: 'sid', clock, dangerouslyWithoutCsrf: true, recheckMs: 2_000_000_000, ...more })) }
    }
    const [web, sockets] = [node({ gateStore }), node({})]
    const probe = harness((on: Gate) => on.use(authenticate(sockets.live.scheme())).use(sockets.live.policy()), { clock, store: gateStore, undeclared: 'allow' })
    const page = { headers: {} } as Request
    ;(web.store as any).generate(page)
    page.session.user = 'alice'
    await (web.store.set as any)(page.sessionID, page.session)
    const { facts } = (await probe.connect({ headers: { cookie: `sid=${sign(page.sessionID)}` } })) as { facts: Facts }
    expect(facts.principal?.subject).toBe('alice')
    expect(await web.live.endAll({ subject: 'alice' }, { reason: 'stolen' })).toBe(1)
    await settled()
    expect(endings(probe)).toEqual([['REVOKED', { reason: 'stolen' }]])
    expect(kept.size).toBe(0)
  })

  test('and without a gate store says what is missing, and HTTP works on', async () => {
    const { live, begin, load } = setUp()
    const page = await begin({ user: 'alice' })
    expect((await load(page.sessionID))!.session.user).toBe('alice')
    expect((await failure(live.list({ subject: 'alice' }))).code).toBe('UNAVAILABLE')
    expect((await failure(live.end('s_x', { reason: 'x' }))).code).toBe('UNAVAILABLE')
    expect(await failure(live.list({ subject: 'alice' }))).toMatchObject({ cause: expect.stringContaining('gateStore') })
  })
})

describe('list, end and endAll', () => {
  test.each([undefined, null, 'alice', {}, { subject: '' }, { subject: 7 }, { subject: 'alice', issuer: 7 }])('take no %p for somebody', async (owner) => {
    const { live } = probed()
    expect(await failure(Promise.resolve().then(() => live.list(owner as never)))).toBeInstanceOf(TypeError)
    expect(await failure(Promise.resolve().then(() => live.endAll(owner as never, { reason: 'x' })))).toBeInstanceOf(TypeError)
  })

  test('show those of one user, oldest first, without anything to steal', async () => {
    const { live, begin, clock } = probed()
    const pages = []
    for (const user of ['alice', 'bob', 'alice']) {
      pages.push(await begin({ user }))
      clock.advance(1_000)
    }
    const listed = await live.list({ subject: 'alice' })
    expect(listed.map(({ id }) => id)).toEqual([pages[0], pages[2]].map((page) => live.idOf(page as never)))
    for (const { sessionID } of pages) expect(JSON.stringify(listed)).not.toContain(sessionID)
    expect(await live.list({ subject: 'alice', issuer: 'https://id.example' })).toEqual([])
  })

  test('end one, some or all, with their sockets, and say how many', async () => {
    const { live, begin, enter, probe, store } = probed()
    const pages = [await begin({ user: 'alice' }), await begin({ user: 'alice' }), await begin({ user: 'alice' }), await begin({ user: 'bob' })]
    for (const page of pages) await enter(page)
    const [one, two, three] = pages.map((page) => live.idOf(page as never)!)
    expect(await live.end(one!, { reason: 'the laptop was lost' })).toBe(true)
    expect(await live.end('s_nobody', { reason: 'x' })).toBe(false)
    expect(await live.endAll({ subject: 'alice' }, { reason: 'all others', except: two })).toBe(1)
    expect(Object.keys(store.entries)).toEqual([pages[1]!.sessionID, pages[3]!.sessionID])
    expect(endings(probe)).toEqual([['REVOKED', { reason: 'the laptop was lost' }], ['REVOKED', { reason: 'all others' }]])
    expect(await live.endAll({ subject: 'alice' }, { reason: 'all' })).toBe(1)
    expect(await live.endAll({ subject: 'alice' }, { reason: 'all' })).toBe(0)
    expect(three).toBeDefined()
  })

  test('end the session of a visitor who is here', async () => {
    const { live, begin, connect, store } = probed({ optional: true })
    const page = await begin({ n: 1 })
    const { facts } = await connect(page)
    expect(await live.end((facts as Facts).session!.id, { reason: 'x' })).toBe(true)
    expect(store.entries).toEqual({})
  })
})

describe('idOf', () => {
  test('is the lineage of the session that a request has, and stays when the id changes', async () => {
    const { live, begin, store, save, load } = setUp()
    const page = await begin({ user: 'alice' })
    const id = live.idOf(page as never)
    expect(id).toMatch(/^s_[\w-]{43}$/)
    expect(live.idOf((await load(page.sessionID)) as never)).toBe(id)
    await (store.regenerate as any)(page)
    expect(live.idOf(page as never)).toBeUndefined()
    page.session.user = 'alice'
    await save(page)
    expect(live.idOf(page as never)).toBe(id)
  })

  test('is undefined where there is none, or none that is kept', () => {
    const { live, store } = setUp()
    const page = { headers: {} } as Request
    ;(store as any).generate(page)
    for (const request of [page, {}, { session: undefined }, { session: null }, { session: 'text' }]) expect(live.idOf(request as never)).toBeUndefined()
  })
})

describe('a peer', () => {
  test('enters as the user of its session, and has that', async () => {
    const { enter, begin, live, clock } = probed()
    const page = await begin({ user: { id: 'alice' }, theme: 'dark' })
    const { principal, session: own } = await enter(page)
    expect(principal).toEqual({ subject: 'alice', claims: {}, expiresAtMs: 'never', tokenId: live.idOf(page as never), factors: [] })
    expect([own!.id, own!.data, own!.readAtMs]).toEqual([live.idOf(page as never), { user: { id: 'alice' }, theme: 'dark' }, clock.now()])
  })

  test('has the issuer, the claims and the factors that the application says', async () => {
    const { enter, begin } = probed({ user: (data) => ({ subject: data['user'] as string, issuer: 'https://id.example', claims: { role: 'admin' }, factors: ['otp'] }) })
    expect((await enter(await begin({ user: 'alice' }))).principal).toMatchObject({ subject: 'alice', issuer: 'https://id.example', claims: { role: 'admin' }, factors: ['otp'] })
  })

  test('reads its session once for both policies', async () => {
    const { connect, begin, store } = probed()
    const page = await begin({ user: 'alice' })
    store.asked.length = 0
    await connect(page)
    expect(store.asked).toEqual([`get ${page.sessionID}`])
  })

  test.each([
    ['without a cookie', undefined],
    ['with an id that is not there', 'an-id-that-is-not-there'],
  ])('%s is refused, or is nobody', async (_what, cookie) => {
    expect(await probed().connect(cookie)).toEqual(denied('UNAUTHENTICATED'))
    const own = probed({ optional: true })
    expect(await own.connect(cookie)).toEqual(admitted())
    expect(((await own.connect(cookie)).facts as Facts).session).toBeUndefined()
  })

  test('that is a visitor is refused, or is nobody with a session', async () => {
    const strict = probed()
    expect(await strict.connect(await strict.begin({ n: 1 }))).toEqual(denied('UNAUTHENTICATED'))
    const own = probed({ optional: true })
    const { facts } = await own.connect(await own.begin({ n: 1 }))
    expect([(facts as Facts).principal, (facts as Facts).session?.data]).toEqual([undefined, { n: 1 }])
  })

  test('is refused as UNAVAILABLE, also where nobody may enter, while the store does not answer', async () => {
    for (const optional of [false, true]) {
      const { connect, begin, store } = probed({ optional })
      const page = await begin({ user: 'alice' })
      store.trouble = 'rejects'
      expect(await connect(page)).toEqual(denied('UNAVAILABLE'))
    }
  })

  test('is not asked about again for each event, and is once the snapshot is old', async () => {
    const { enter, begin, probe, store, clock } = probed({ freshMs: 5_000 })
    const peer = await enter(await begin({ user: 'alice' }))
    await probe.event('say', 1, { peer })
    await settled()
    store.asked.length = 0
    for (let index = 0; index < 50; index++) expect(await probe.event('say', index, { peer })).toEqual(admitted())
    expect(store.asked).toEqual([])
    clock.advance(5_000)
    expect(await probe.event('say', 1, { peer })).toEqual(admitted())
    expect(store.asked.length).toBe(1)
  })

  test('that only sends what is refused does not keep its session alive', async () => {
    const own = setUp()
    const probe = harness(
      (on: Gate) =>
        on
          .use(authenticate(own.live.scheme()))
          .use(own.live.policy())
          .event('say', () => {
            throw new Denied('FORBIDDEN')
          })
          .event('later', async () => {
            await settled()
            throw new Denied('FORBIDDEN')
          })
          .event('fine', async (_ctx, next) => {
            await settled()
            return next()
          }),
      { clock: own.clock, undeclared: 'allow' },
    )
    const page = await own.begin({ user: 'alice' })
    const peer = (await probe.connect({ headers: { cookie: `sid=${sign(page.sessionID)}` } })).facts as Facts
    expect(await probe.event('say', 1, { peer })).toEqual(denied('FORBIDDEN'))
    expect(await probe.event('later', 1, { peer })).toEqual(denied('FORBIDDEN'))
    await settled()
    expect(own.store.count('touch')).toBe(0)
    expect(await probe.event('fine', 1, { peer })).toEqual(admitted())
    await settled()
    expect(own.store.count('touch')).toBe(1)
  })

  test('is refused in its very next event when its session has been ended', async () => {
    const { enter, begin, probe, destroy } = probed()
    const page = await begin({ user: 'alice' })
    const peer = await enter(page)
    const ending = destroy(page)
    expect(endings(probe)).toEqual([['REVOKED', { reason: 'signed out' }]])
    await ending
    expect(await failure(probe.event('say', 1, { peer }).then((result) => (result.outcome === 'denied' ? Promise.reject(new Error(result.code)) : result)))).toMatchObject({ message: 'REVOKED' })
  })

  test('is refused without a session by the policy alone, too', async () => {
    const { live, begin } = setUp()
    const probe = harness(live.policy())
    expect(await probe.connect()).toEqual(denied('UNAUTHENTICATED'))
    const page = await begin({ n: 1 })
    expect(await probe.connect({ headers: { cookie: `sid=${sign(page.sessionID)}` } })).toEqual(admitted())
  })

  test('is closed with its session also where policies are only observed: who a peer is holds there, too', async () => {
    const { live, begin, destroy, clock } = setUp()
    const probe = harness([authenticate(live.scheme()), live.policy()], { clock, mode: 'observe' })
    const page = await begin({ user: 'alice' })
    await probe.connect({ headers: { cookie: `sid=${sign(page.sessionID)}` } })
    await destroy(page)
    expect(probe.decisions.filter(({ policy }) => policy === 'sessions')).toMatchObject([{ code: 'REVOKED', enforced: true }])
  })

  test('keeps nothing in the process when it has gone', async () => {
    const { begin, connect, probe, clock, store } = probed()
    const page = await begin({ user: 'alice' })
    const result = await connect(page)
    result.close()
    store.asked.length = 0
    clock.advance(2_000_000_000)
    await settled()
    expect([store.asked, endings(probe)]).toEqual([[], []])
  })
})

test('an event that has waited for other rights is decided by those', async () => {
  const own = setUp({ user: (data) => ({ subject: data['user'] as string, claims: { role: data['role'] } }) })
  const seen: unknown[] = []
  const host = await serve(
    (io) =>
      guard(io, { undeclared: 'allow', clock: own.clock })
        .use(authenticate(own.live.scheme()))
        .use(own.live.policy())
        .event('say', ({ peer }, next) => {
          seen.push((peer as unknown as Facts).principal?.claims['role'])
          return next()
        }),
  )
  host.io.on('connection', (socket) => socket.on('say', (ack: () => void) => ack()))
  const page = await own.begin({ user: 'alice', role: 'user' })
  const socket = await entered(host, { extraHeaders: { cookie: `sid=${sign(page.sessionID)}` } })
  await socket.emitWithAck('say')
  // On a node that does not tell.
  own.store.entries[page.sessionID] = JSON.stringify({ ...own.store.entry(page.sessionID), role: 'admin' })
  own.clock.advance(5_000)
  await socket.emitWithAck('say')
  expect(seen).toEqual(['user', 'admin'])
})

describe('a later request of a connection', () => {
  const later = (probe: Probe, opened: string | undefined, now: string | undefined, more: object = {}) =>
    probe.request({ opener: { address: '203.0.113.7', ...(opened === undefined ? {} : { cookie: `sid=${sign(opened)}` }) }, headers: now === undefined ? {} : { cookie: `sid=${sign(now)}` }, ...more })

  test('comes with the session it was opened with, and no other', async () => {
    const { probe, begin, enter } = probed()
    const [page, other] = [await begin({ user: 'alice' }), await begin({ user: 'bob' })]
    await enter(page)
    expect(await later(probe, page.sessionID, page.sessionID)).toEqual(admitted())
    expect(await later(probe, page.sessionID, other.sessionID)).toEqual(denied('FORBIDDEN'))
    expect(await later(probe, page.sessionID, undefined)).toEqual(denied('FORBIDDEN'))
  })

  test('of one that was opened without a session may come with any', async () => {
    const { probe, begin } = probed()
    const page = await begin({ user: 'alice' })
    expect(await later(probe, undefined, page.sessionID)).toEqual(admitted())
    expect(await later(probe, undefined, undefined)).toEqual(admitted())
  })

  test('that comes before its peer has entered comes with the same id', async () => {
    const { probe, begin } = probed()
    const page = await begin({ user: 'alice' })
    expect(await later(probe, page.sessionID, page.sessionID)).toEqual(admitted())
    expect(await later(probe, page.sessionID, (await begin({})).sessionID)).toEqual(denied('FORBIDDEN'))
  })
})

describe('what is revoked by its lineage', () => {
  test('is gone from the store of the sessions, too, before that is answered', async () => {
    const { live, begin, store } = setUp()
    const gate = guard(new Server(), { undeclared: 'allow' }).use(live.policy())
    const page = await begin({ user: 'alice' })
    await gate.revoke({ session: live.idOf(page as never)! }, { reason: 'stolen' })
    expect(store.entries).toEqual({})
    expect(await live.list({ subject: 'alice' })).toEqual([])
    await gate.revoke({ session: 's_nobody' }, { reason: 'x' })
    await gate.revoke({ subject: 'bob' }, { reason: 'x' })
    await gate.close()
  })
})
