import { describe, expect, test } from '@jest/globals'
import { Browser, signedIn } from '../support/browser.ts'
import { expectedRefusal, farewell, record, refused, say } from '../support/credentials.ts'
import { entry, heard, Latch, refusal, until, type Client } from '../support/server.ts'
import { application, closing, eventually, peerOf, twoNodes } from '../support/session-application.ts'
import { backing, kinds } from '../support/session-stores.ts'

/** Reconnects as a page does that was told to. */
async function comeBack(socket: Client): Promise<void> {
  socket.connect()
  await entry(socket)
}

describe.each(kinds)('with sessions in %s', (kind) => {
  test('somebody looks around as a visitor, signs in, and goes on in the same page as who that is', async () => {
    const app = await application(kind, { optional: true })
    const browser = new Browser(app)
    const before = await browser.entered('upgraded')
    expect(await peerOf(before)).toEqual({ subject: null, claims: null, id: null, data: null })
    before.disconnect()

    await browser.post('/set', { key: 'cart', value: ['a book'] })
    const socket = await browser.entered('upgraded')
    expect(await peerOf(socket)).toMatchObject({ subject: null, data: { cart: ['a book'] } })
    const gone = farewell(socket)
    await browser.post('/login', { user: 'alice' })
    expect((await gone).closing).toEqual(closing('signed in', 'now'))
    await comeBack(socket)
    expect(await peerOf(socket)).toMatchObject({ subject: 'alice', data: { user: { id: 'alice' } } })
  })

  test('somebody signs in with passport, which gives another id, and out again', async () => {
    const app = await application(kind, { optional: true, withPassport: true })
    const browser = new Browser(app)
    await browser.post('/set', { key: 'cart', value: 1 })
    const [anonymous, socket] = [browser.sessionId, await browser.entered()]
    expect((await browser.post('/passport/login', { user: 'alice', password: 'wrong' })).status).toBe(401)
    expect(await say(socket, 'still here')).toBe('still here')
    const signedInNow = farewell(socket)
    expect((await browser.post('/passport/login', { user: 'alice', password: 'ecila', role: 'admin' })).status).toBe(204)
    expect((await signedInNow).closing).toEqual(closing('signed in', 'now'))
    expect(browser.sessionId).not.toBe(anonymous)
    await comeBack(socket)
    expect(await peerOf(socket)).toMatchObject({ subject: 'alice', claims: { role: 'admin' } })
    const signedOut = farewell(socket)
    await browser.post('/passport/logout')
    expect((await signedOut).closing).toEqual(closing('signed out', 'after-credential'))
    await comeBack(socket)
    expect((await peerOf(socket)).subject).toBe(null)
    expect(await app.backing.signedIn()).toEqual([])
  })

  test('somebody signs out in tab one, and tabs two and three are closed', async () => {
    const app = await application(kind)
    const [browser, phone] = [await signedIn(app), await signedIn(app)]
    const tabs = [await browser.entered('websocket'), await browser.entered('polling'), await browser.entered('upgraded')]
    const elsewhere = await phone.entered()
    const gone = Promise.all(tabs.slice(1).map(farewell))
    tabs[0]!.emit('end', () => {})
    expect(await gone).toEqual(Array(2).fill({ closing: closing('signed out on a page', 'after-credential'), reason: 'io server disconnect' }))
    expect((await browser.get('/me')).body.user).toBe(undefined)
    expect(await say(elsewhere, 'on another device')).toBe('on another device')
  })

  test('somebody sees where else they are signed in, ends one of those, then all others', async () => {
    const [here, there] = await twoNodes(kind)
    const own = await signedIn(here)
    const others = [await signedIn(here), await signedIn(there), await signedIn(there)]
    const stranger = await signedIn(there, 'bob')
    const [mine, ...theirs] = await Promise.all([own, ...others].map((browser) => browser.entered()))
    const bobs = await stranger.entered()

    const list = (await own.get('/sessions')).body as { id: string; createdAtMs: number; seenAtMs: number }[]
    expect(list).toHaveLength(4)
    expect(list).toEqual([...list].sort((a, b) => a.createdAtMs - b.createdAtMs))
    expect(list[0]).toMatchObject({ id: (await own.get('/me')).body.lineage, createdAtMs: expect.any(Number), seenAtMs: expect.any(Number) })
    for (const browser of [own, ...others]) expect(JSON.stringify(list)).not.toContain(browser.sessionId)

    const first = farewell(theirs[0]!)
    expect((await own.delete(`/sessions/${list[1]!.id}`)).body).toEqual({ ended: true })
    expect((await first).closing).toEqual(closing('ended by its user', 'after-credential'))
    expect((await others[0]!.get('/me')).body.user).toBe(undefined)
    expect((await own.delete(`/sessions/${list[1]!.id}`)).body).toEqual({ ended: false })
    expect((await own.delete(`/sessions/${(await stranger.get('/me')).body.lineage}`)).body).toEqual({ ended: false })

    const rest = Promise.all(theirs.slice(1).map(farewell))
    expect((await own.post('/sessions/end-others')).body).toEqual({ ended: 2 })
    for (const { closing: told } of await rest) expect(told).toEqual(closing('signed out elsewhere', 'after-credential'))
    expect((await own.get('/sessions')).body).toEqual([expect.objectContaining({ id: list[0]!.id })])
    for (const other of others) expect((await refusal(other.socket())).message).toBe('UNAUTHENTICATED')
    expect([await say(mine!, 'me'), await say(bobs, 'bob')]).toEqual(['me', 'bob'])
    expect(await here.backing.signedIn()).toHaveLength(2)
  })

  test('a laptop sleeps until its session has ended, with its socket or without', async () => {
    const app = await application(kind, { session: { cookie: { maxAge: 600_000 } }, live: { freshMs: 1 } })
    const browser = await signedIn(app)
    const [asleep, dropped] = [await browser.entered(), await browser.entered()]
    dropped.disconnect()
    const gone = farewell(asleep)
    await app.backing.expire(browser.sessionId!)
    const since = Date.now()
    await until(() => Date.now() > since + 5)
    asleep.emit('say', 'good morning')
    expect((await gone).closing).toMatchObject({ reconnect: 'after-credential' })
    // Its browser, whose clock is behind, still sends the cookie.
    expect((await refusal(browser.socket('polling'))).data).toEqual(expectedRefusal('UNAUTHENTICATED'))
    expect((await refusal(dropped.connect())).data).toEqual(expectedRefusal('UNAUTHENTICATED'))
    expect(app.handled).toEqual([])
    await browser.post('/login', { user: 'alice' })
    await comeBack(asleep)
  })

  test('a busy page keeps its session alive by what it sends alone, and one that only listens does not', async () => {
    const app = await application(kind, { session: { cookie: { maxAge: 6_000 } }, live: { touchEveryMs: 100, freshMs: 50 }, serving: { pingInterval: 50, pingTimeout: 5_000 } })
    const [busy, quiet] = [await signedIn(app), await signedIn(app, 'bob')]
    const [talking, listening] = [await busy.entered(), await quiet.entered()]
    const told = farewell(listening)
    // What the browser keeps itself is over without a request: what is asked is how long the session is.
    const id = busy.sessionId
    const [since, heardOf] = [Date.now(), record(listening, 'news')]
    await eventually(async () => {
      await say(talking, 'x')
      app.io.emit('news', 1)
      return Date.now() > since + 7_500
    })
    expect(heardOf.length).toBeGreaterThan(0)
    listening.emit('say', 'am I still here')
    expect((await told).closing).toMatchObject({ reconnect: 'after-credential' })
    expect([await app.backing.signedIn(), await say(talking, 'and I am')]).toEqual([[id], 'and I am'])
  })

  test('the store of the sessions dies for a while and comes back: sockets stay, and nothing is decided on old news', async () => {
    const kept = await backing(kind, { mortal: true })
    const app = await application(kept, { live: { freshMs: 300, timeoutMs: 1_000, recheckMs: 100 } })
    const browser = await signedIn(app)
    const socket = await browser.entered()
    const ends = record(socket, 'disconnect')
    kept.fail('hangs')
    await eventually(async () => (await say(socket, 'x')) !== 'x')
    expect(await say(socket, 'while it is down')).toEqual(refused('UNAVAILABLE'))
    expect(await socket.emitWithAck('set', { n: 1 })).toEqual(refused('UNAVAILABLE'))
    expect((await refusal(browser.socket('polling'))).data).toEqual(expectedRefusal('UNAVAILABLE'))
    expect(app.handled).not.toContain('while it is down')
    kept.heal()
    await eventually(async () => (await say(socket, 'back')) === 'back')
    expect(await socket.emitWithAck('set', { since: 'then' })).toBe('set')
    expect((await browser.get('/me')).body).toMatchObject({ user: { id: 'alice' }, since: 'then' })
    expect([ends, socket.connected]).toEqual([[], true])
  })

  test('the session gets another id while twenty events are on their way, and each is handled once', async () => {
    const latch = new Latch()
    const app = await application(kind, { declare: (gate) => gate.event('say', { name: 'slow', event: async (_ctx: unknown, next: () => unknown) => (await latch.opened, next()) } as never) })
    const browser = await signedIn(app)
    const sockets = [await browser.entered('websocket'), await browser.entered('polling')]
    const said = Array.from({ length: 20 }, (_, n) => say(sockets[n % 2]!, n))
    const regenerated = browser.post('/regenerate')
    const changed = Array.from({ length: 20 }, (_, n) => sockets[n % 2]!.emitWithAck('set', { [`n${n}`]: n }))
    await regenerated
    latch.open()
    expect(await Promise.all(said)).toEqual(Array.from({ length: 20 }, (_, n) => n))
    expect(await Promise.all(changed)).toEqual(Array(20).fill('set'))
    expect([...app.handled].sort((a, b) => Number(a) - Number(b))).toEqual(Array.from({ length: 20 }, (_, n) => n))
    expect((await browser.get('/me')).body).toMatchObject({ user: { id: 'alice' }, ...Object.fromEntries(Array.from({ length: 20 }, (_, n) => [`n${n}`, n])) })
    expect(await app.backing.signedIn()).toEqual([browser.sessionId])
  })

  test('sockets and pages change the session at the same time, a thousand times, and no field is lost', async () => {
    const [here, there] = await twoNodes(kind)
    const browser = await signedIn(here)
    const sockets = [await browser.entered(), await browser.entered('websocket', {}, there)]
    const expected: Record<string, number> = {}
    for (let round = 0; round < 100; round++) {
      const replies: Promise<{ status: number }>[] = []
      const acks: Promise<unknown>[] = []
      for (let n = 0; n < 5; n++) {
        // Fields that are there already, and new ones.
        const [page, event] = [`page-${(round * 5 + n) % 50}`, `event-${(round * 5 + n) % 50}`]
        expected[page] = expected[event] = round
        replies.push(browser.post('/set', { key: page, value: round }, n % 2 === 0 ? here : there))
        acks.push(sockets[n % 2]!.emitWithAck('set', { [event]: round }), sockets[(n + 1) % 2]!.emitWithAck('add', 'count'))
      }
      expect((await Promise.all(replies)).every(({ status }) => status === 204)).toBe(true)
      await Promise.all(acks)
      expect((await browser.get('/me')).body).toMatchObject({ ...expected, count: (round + 1) * 5 })
    }
    expect([here.seen.fault, there.seen.fault]).toEqual([[], []])
  })
})

test('an operator is told of weak cookies before anybody uses them', async () => {
  const app = await application('memory')
  expect(app.warned.join()).toMatch(/"sid": not Secure/)
  expect(JSON.stringify(app.gate.coverage())).toMatch(/not Secure/)
})

test('a page that was told to come back may do so at once, on polling too', async () => {
  const app = await application('memory', { optional: true })
  const browser = new Browser(app)
  await browser.post('/set', { key: 'cart', value: 1 })
  const socket = await browser.entered('polling')
  const gone = heard(socket, 'disconnect')
  await browser.post('/login', { user: 'alice' })
  await gone
  await comeBack(socket)
  expect((await peerOf(socket)).subject).toBe('alice')
  await until(() => socket.connected)
})
