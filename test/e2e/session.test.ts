import { inspect } from 'node:util'
import { describe, expect, jest, test } from '@jest/globals'
import { memoryStore, type Store } from 'portcullis'
import { audit } from 'portcullis/policies'
import { Browser, signedIn } from '../support/browser.ts'
import { expectedRefusal, ways } from '../support/credentials.ts'
import { ask, askUpgrade, heard, Polling, raw, refusal, type Client } from '../support/server.ts'
import { application, eventually, peerOf, twoNodes, type Settings } from '../support/session-application.ts'
import { sign } from '../support/session-cookies.ts'
import { backing, kinds, type Kind } from '../support/session-stores.ts'

const each = kinds.flatMap((kind) => ways.map((way) => [kind, way] as const))

/** An id as express-session gives them, which it has not given. */
const UNKNOWN = 'n'.repeat(32)

const refusedAs = async (socket: Client): Promise<unknown> => (await refusal(socket)).data

describe.each(each)('with sessions in %s, over %s', (kind, way) => {
  test('who has signed in enters as who that is, with the data of the session', async () => {
    const app = await application(kind)
    const browser = await signedIn(app, 'alice', { role: 'admin' })
    await browser.post('/set', { key: 'cart', value: { items: [1] } })
    const socket = await browser.entered(way)
    const page = await browser.get('/me')
    expect(await peerOf(socket)).toEqual({ subject: 'alice', claims: expect.objectContaining({ role: 'admin' }), id: page.body.lineage, data: { user: { id: 'alice', role: 'admin' }, cart: { items: [1] } } })

    const { principal, session } = app.gate.peerOf(app.sockets[0]!)
    expect(principal).toMatchObject({ subject: 'alice', tokenId: session!.id })
    expect(session!.id).not.toContain(browser.sessionId)
    expect(Math.abs(session!.readAtMs - Date.now())).toBeLessThan(60_000)
    for (const part of [session!.data, session!.data.user, session!.data['cart'], (session!.data['cart'] as { items: object }).items]) expect(Object.isFrozen(part)).toBe(true)
    expect(app.seen.fault).toEqual([])
  })

  test('who brings no session is refused as who brings no credential, whatever was brought; and is nobody where that may be', async () => {
    const kept = await backing(kind)
    const [strict, open] = await twoNodes(kept, {}, { optional: true })
    const browser = await signedIn(strict)
    const [id, cookie] = [browser.sessionId!, browser.cookie!]
    const bad: Record<string, string | undefined> = {
      'no cookie': undefined,
      'another cookie': `other=${cookie}`,
      'an empty one': 'sid=',
      'the bare id': `sid=${id}`,
      'the id without a signature': `sid=s%3A${id}`,
      'an empty signature': `sid=s%3A${id}.`,
      'a signature by another secret': `sid=${sign(id, 'another secret')}`,
      'a signature for another id': `sid=${cookie.replace(encodeURIComponent(id), 'x'.repeat(32))}`,
      'a shortened one': `sid=${cookie.slice(0, -1)}`,
      'what cannot be decoded': 'sid=s%3A%E0%A4%A',
      'an id that was never given out': `sid=${sign(UNKNOWN)}`,
      'the name of a prototype': `sid=${sign('__proto__')}`,
      'an empty id': `sid=${sign('')}`,
      'nine thousand letters': `sid=${sign('x'.repeat(9_000))}`,
    }
    const refusals: unknown[] = []
    for (const [what, header] of Object.entries(bad)) {
      const stranger = new Browser(strict)
      const headers = { ...stranger.headers, ...(header === undefined ? {} : { cookie: header }) }
      refusals.push(await refusedAs(stranger.socket(way, { extraHeaders: headers })))
      const nobody = await stranger.entered(way, { extraHeaders: headers }, open)
      expect([what, await peerOf(nobody)]).toEqual([what, { subject: null, claims: null, id: null, data: null }])
    }
    for (const data of refusals) expect(data).toEqual(expectedRefusal('UNAUTHENTICATED'))

    // Which of two the application goes by is not known here.
    const twice = { ...browser.headers, cookie: `sid=${cookie}; sid=${sign(UNKNOWN)}` }
    expect(await refusedAs(browser.socket(way, { extraHeaders: twice }))).toEqual(expectedRefusal('UNAUTHENTICATED'))
    expect(strict.sockets).toEqual([])
    expect([strict.seen.fault, open.seen.fault, await kept.ids()]).toEqual([[], [], [id]])
  })

  test('a visitor who has not signed in has a session and is nobody, or is refused', async () => {
    const [strict, open] = await twoNodes(kind, {}, { optional: true })
    const visitor = new Browser(strict)
    await visitor.post('/set', { key: 'cart', value: 1 })
    expect(await refusedAs(visitor.socket(way))).toEqual(expectedRefusal('UNAUTHENTICATED'))
    const socket = await visitor.entered(way, {}, open)
    expect(await peerOf(socket)).toEqual({ subject: null, claims: null, id: (await visitor.get('/me', open)).body.lineage, data: { cart: 1 } })
  })

  test('connecting makes no session, no entry and no cookie', async () => {
    const kept = await backing(kind)
    // An application that gives each visitor a session at once.
    const app = await application(kept, { optional: true, session: { saveUninitialized: true } })
    const browser = await signedIn(app)
    const cookies: unknown[] = []
    app.io.engine.on('headers', (headers: Record<string, unknown>) => cookies.push(headers['set-cookie'], headers['Set-Cookie']))
    const before = await kept.ids()
    for (const headers of [browser.headers, {}, { cookie: 'sid=x' }, { cookie: `sid=${sign(UNKNOWN)}` }]) {
      await (await browser.entered(way, { extraHeaders: headers })).emitWithAck('say', 1)
      cookies.push((await ask(app, {}, { headers })).headers['set-cookie'], (await askUpgrade(app, {}, headers)).headers['set-cookie'])
    }
    expect(await kept.ids()).toEqual(before)
    expect(cookies.filter((cookie) => cookie !== undefined)).toEqual([])
  })
})

const troubles: [Kind, 'rejects' | 'hangs'][] = [
  ['memory', 'rejects'],
  ['memory', 'hangs'],
  ['redis', 'hangs'],
]

describe.each(troubles)('when the store of the sessions, in %s, %s', (kind, how) => {
  test.each(ways)('nobody enters over %s, neither as who they are nor as nobody, until it is back', async (way) => {
    const kept = await backing(kind, { mortal: true })
    const app = await application(kept, { optional: true, live: { timeoutMs: 1_000 } })
    const browser = await signedIn(app)
    kept.fail(how)
    expect(await refusedAs(browser.socket(way))).toEqual(expectedRefusal('UNAVAILABLE'))
    expect(app.sockets).toEqual([])
    kept.heal()
    expect((await peerOf(await browser.entered(way))).subject).toBe('alice')
  })
})

test('a claim that is undefined is none', async () => {
  const app = await application('memory', { live: { user: (data) => (data['user'] === undefined ? undefined : { subject: data['user'].id, claims: { role: data['user'].role, level: 1 } }) } })
  expect((await peerOf(await (await signedIn(app)).entered())).claims).toEqual({ level: 1 })
})

test('the user of a session is where passport and others put it, if nobody says where', async () => {
  const app = await application('memory', { live: { user: undefined as never } })
  expect(await peerOf(await (await signedIn(app)).entered())).toMatchObject({ subject: 'alice', claims: {} })
})

describe.each(kinds)('with sessions in %s', (kind) => {
  test('what a page changes is what the very next event finds, and soon on another node', async () => {
    const [here, there] = await twoNodes(kind, { live: { freshMs: 20 } })
    const browser = await signedIn(here)
    const [near, far] = [await browser.entered(), await browser.entered('websocket', {}, there)]
    await browser.post('/set', { key: 'theme', value: 'dark' })
    expect((await peerOf(near)).data).toMatchObject({ theme: 'dark' })
    await eventually(async () => (await peerOf(far)).data!['theme'] === 'dark')
  })

  test('what an event changes is what the next page finds, and the entry keeps what else it has', async () => {
    const app = await application(kind)
    const browser = await signedIn(app)
    await browser.post('/set', { key: 'cart', value: 1 })
    const socket = await browser.entered()
    expect(await socket.emitWithAck('set', { theme: 'dark' })).toBe('set')
    expect((await browser.get('/me')).body).toMatchObject({ user: { id: 'alice' }, cart: 1, theme: 'dark' })
    expect((await app.backing.entry(browser.sessionId!)).cookie).toMatchObject({ httpOnly: true })
    expect((await peerOf(socket)).data).toEqual({ user: { id: 'alice' }, cart: 1, theme: 'dark' })
  })

  test('the id of a session is in no log, record, room, socket, error, event or message between gates', async () => {
    const said: unknown[] = []
    for (const level of ['error', 'warn', 'log', 'info'] as const) jest.spyOn(console, level).mockImplementation((...words) => void said.push(...words))
    const keep = (...what: unknown[]): void => void said.push(...what)
    const settings: Settings = {
      live: { rotateEveryMs: 60_000, freshMs: 1, concurrent: { limit: 5, full: 'end-oldest' } },
      guarding: { store: overheard(keep) },
      first: (gate) => gate.use(audit({ info: keep, warn: keep, error: keep }, { deliveries: true })),
    }
    const kept = await backing(kind, { mortal: true })
    const nodes = await twoNodes(kept, settings)
    const ids = new Set<string>()
    for (const app of nodes) for (const outcome of ['admitted', 'denied', 'fault'] as const) app.gate.on(outcome, (decision) => keep(decision, decision.peer, decision.error, inspect(decision, { depth: 8 })))

    const browser = await signedIn(nodes[0])
    const note = (): unknown => ids.add(browser.sessionId!) && ids.add(decodeURIComponent(browser.cookie!).split('.')[1]!)
    note()
    for (const node of nodes) {
      const socket = await browser.entered('websocket', {}, node)
      socket.onAny(keep)
      const byHand = await raw(node, { headers: browser.headers })
      keep(await byHand.enter(), await byHand.ask(['peer']), await byHand.ask(['set', { n: 1 }]), byHand.received)
      await byHand.ask(['say', 'x'])
      const poller = await Polling.open(node, browser.headers)
      await poller.post(['0'])
      keep((await poller.poll()).body)
      const { session } = node.gate.peerOf(node.sockets[0]!)
      keep(session, session!.data, inspect(session, { depth: 8, showHidden: true }), JSON.stringify(session), String(session))
      keep([...node.io.of('/').adapter.rooms.keys()], node.sockets.map(({ data, rooms, id }) => [data, [...rooms], id]), node.gate.coverage(), inspect(node.live, { depth: 6 }))
    }
    await browser.post('/regenerate')
    note()
    keep((await browser.get('/sessions')).body, (await browser.get('/me')).body)
    const socket = await browser.entered()
    socket.onAny(keep)
    const renewed = heard(socket, 'gate:renew')
    const regenerated = socket.emitWithAck('regenerate')
    const [renewal] = await renewed
    keep(renewal, await browser.post(renewal.path, { ticket: 'no such ticket' }))
    const { status, body } = await browser.post(renewal.path, { ticket: renewal.ticket })
    keep(body)
    expect(status).toBe(204)
    note()
    await regenerated
    if (kind === 'memory') {
      kept.fail('rejects')
      keep(await refusal(browser.socket()), await socket.emitWithAck('set', { m: 1 }), (await browser.get('/me')).status)
      kept.heal()
    }
    const gone = heard(socket, 'disconnect')
    await browser.post('/logout')
    await gone
    keep(await refusal(browser.socket()))
    jest.restoreAllMocks()

    const text = said.map((what) => (typeof what === 'string' ? what : `${JSON.stringify(what)}${inspect(what, { depth: 6, maxStringLength: null, maxArrayLength: null })}`)).join('\n')
    expect(text.length).toBeGreaterThan(10_000)
    for (const id of ids) {
      expect(id.length).toBeGreaterThan(20)
      for (const form of [id, encodeURIComponent(id), Buffer.from(id).toString('hex'), Buffer.from(id).toString('base64').slice(0, 40)]) expect(excerpt(text, form)).toBe('')
    }
  })
})

/** Where a text was found, for whoever has to find out why. */
function excerpt(text: string, word: string): string {
  const at = text.indexOf(word)
  return at === -1 ? '' : text.slice(Math.max(0, at - 200), at + 100)
}

/** The store of the gates, whose questions and answers are kept. */
function overheard(keep: (...what: unknown[]) => void): Store {
  const store = memoryStore()
  return new Proxy(store, {
    get(target, key) {
      const value: unknown = Reflect.get(target, key)
      if (typeof value !== 'function') return value
      return (...args: unknown[]): unknown => {
        const answer: unknown = (value as (...args: unknown[]) => unknown).apply(target, args)
        keep(String(key), args, answer)
        return answer
      }
    },
  })
}
