import { describe, expect, test } from '@jest/globals'
import { endings, type Browser, type Reply } from '../support/browser.ts'
import { expectedRefusal, farewell, ways } from '../support/credentials.ts'
import { entry, heard, refusal } from '../support/server.ts'
import { closing, peerOf, type Application } from '../support/session-application.ts'
import { atRest, GRACE, renewal, ROTATE, rotated } from '../support/session-rotation.ts'
import { kinds } from '../support/session-stores.ts'

const each = kinds.flatMap((kind) => ways.map((way) => [kind, way] as const))
const TWICE = 'the session id was used twice'

/** Comes with a cookie that is good for nothing any more. */
async function refusedTo(browser: Browser, home: Application): Promise<void> {
  const { body, cookies } = await browser.get('/me', home)
  expect([body.user, body.cart, body.lineage, cookies]).toEqual([undefined, undefined, undefined, []])
  for (const way of ways) expect((await refusal(browser.socket(way, {}, home))).data).toEqual(expectedRefusal('UNAUTHENTICATED'))
}

describe.each(each)('with sessions in %s, over %s', (kind, way) => {
  test('a page that makes requests gets its new id there, and its sockets go on', async () => {
    const { app, other, clock, browser, kept } = await atRest(kind)
    const sockets = [await browser.entered(way), await browser.entered(way, {}, other)]
    const ends = sockets.map(endings)
    const { id } = await peerOf(sockets[0]!)
    const seen = new Set([browser.sessionId])
    const said: number[] = []
    for (let round = 0; round < 5; round++) {
      await rotated(browser, clock)
      seen.add(browser.sessionId)
      for (const [index, socket] of sockets.entries()) {
        for (const n of [0, 1]) said.push(await socket.emitWithAck('say', round * 4 + index * 2 + n))
        expect(await peerOf(socket)).toMatchObject({ subject: 'alice', id, data: { cart: 1 } })
      }
      expect((await browser.get('/me')).body).toMatchObject({ lineage: id, cart: 1, user: { id: 'alice' } })
      expect(await kept.signedIn()).toEqual([browser.sessionId])
    }
    expect([seen.size, said, ends]).toEqual([6, Array.from({ length: 20 }, (_, n) => n), [[], []]])
    expect([...app.handled, ...other.handled].sort((a, b) => Number(a) - Number(b))).toEqual(said)
    expect([app.seen.fault, other.seen.fault]).toEqual([[], []])
  })

  test('a page that only holds a socket is told, and gets its new id for the ticket', async () => {
    const { clock, browser, app, kept } = await atRest(kind, { live: { renewPath: '/renew' } })
    const socket = await browser.entered(way)
    const ends = endings(socket)
    const { id } = await peerOf(socket)
    for (let round = 0; round < 3; round++) {
      const before = browser.sessionId
      const told = await renewal(socket, clock)
      expect(told).toEqual({ ticket: expect.stringMatching(/^[\w.~-]{20,}$/), path: '/renew', expiresInMs: expect.any(Number) })
      const { status, body, cookies } = await browser.post('/renew', { ticket: told.ticket })
      expect({ status, body, cookies }).toEqual({ status: 204, body: '', cookies: [expect.stringMatching(/^sid=s%3A.*HttpOnly.*SameSite=Lax/)] })
      expect(browser.sessionId).not.toBe(before)
      expect(await kept.signedIn()).toEqual([browser.sessionId])
      expect(await socket.emitWithAck('set', { round })).toBe('set')
      expect((await browser.get('/me')).body).toMatchObject({ lineage: id, cart: 1, round })
    }
    expect([ends, app.seen.fault]).toEqual([[], []])
  })

  test('an event handler can ask for a new id, and goes on when it is there', async () => {
    const { clock, browser, kept, app } = await atRest(kind)
    const socket = await browser.entered(way)
    const before = browser.sessionId
    const told = heard(socket, 'gate:renew')
    const done = socket.emitWithAck('regenerate')
    const [{ ticket, path }] = await told
    expect((await browser.post(path, { ticket })).status).toBe(204)
    expect(await done).toBe('regenerated')
    expect(browser.sessionId).not.toBe(before)
    expect(await kept.signedIn()).toEqual([browser.sessionId])

    const ignored = heard(socket, 'gate:renew')
    const never = socket.emitWithAck('regenerate')
    const [{ expiresInMs }] = await ignored
    clock.advance(expiresInMs)
    expect(await never).toEqual({ error: expectedRefusal('DEADLINE_EXCEEDED') })
    expect(app.seen.fault).toEqual([])
  })

  test('a request that still carries the preceding id is served, and is not told the new one', async () => {
    const { app, other, clock, browser, kept } = await atRest(kind)
    const late = await rotated(browser, clock)
    const old = late.sessionId
    for (const home of [app, other]) {
      const { body, cookies } = await late.get('/me', home)
      expect({ user: body.user, cart: body.cart, cookies }).toEqual({ user: { id: 'alice' }, cart: 1, cookies: [] })
      const cookiesOfEngine: unknown[] = []
      home.io.engine.on('headers', (headers: Record<string, unknown>) => cookiesOfEngine.push(headers['set-cookie'], headers['Set-Cookie']))
      const socket = await late.entered(way, {}, home)
      expect(await peerOf(socket)).toMatchObject({ subject: 'alice', data: { cart: 1 } })
      expect(cookiesOfEngine.filter((cookie) => cookie !== undefined)).toEqual([])
    }
    // What it writes is written where the session is now.
    expect(await late.post('/set', { key: 'late', value: true })).toMatchObject({ status: 204, cookies: [] })
    expect(late.sessionId).toBe(old)
    expect(await kept.signedIn()).toEqual([browser.sessionId])
    expect((await browser.get('/me')).body).toMatchObject({ user: { id: 'alice' }, cart: 1, late: true })
  })

  test('another namespace that is entered later, on a connection that is open, is that of the session as it is then', async () => {
    const { app, clock, browser } = await atRest(kind)
    const socket = await browser.entered(way)
    const { id } = await peerOf(socket)
    await rotated(browser, clock)
    // Whatever was on its way with the old cookie has arrived.
    await peerOf(socket)
    clock.advance(GRACE)
    const admin = socket.io.socket('/admin')
    await entry(admin)
    expect(await peerOf(admin)).toMatchObject({ subject: 'alice', id, data: { cart: 1 } })
    const gone = Promise.all([farewell(socket), farewell(admin)])
    await browser.post('/logout')
    for (const end of await gone) expect(end.closing).toEqual(closing('signed out', 'after-credential'))
    expect(app.seen.fault).toEqual([])
  })

  test('the preceding id is refused once its time is over, by every way in and on every node', async () => {
    const { app, other, clock, browser } = await atRest(kind)
    const late = await rotated(browser, clock)
    clock.advance(GRACE)
    await refusedTo(late, app)
    await refusedTo(late, other)
  })

  test('an id before the preceding one has no grace', async () => {
    const { app, clock, browser } = await atRest(kind, { graceMs: 10 * ROTATE })
    const oldest = await rotated(browser, clock)
    await rotated(browser, clock)
    await refusedTo(oldest, app)
  })

  test('the preceding id that comes when the new one was used ends the session, whoever has it', async () => {
    const { app, other, clock, browser, kept } = await atRest(kind)
    const sockets = [await browser.entered(way), await browser.entered(way, {}, other)]
    const late = await rotated(browser, clock)
    expect((await browser.get('/me')).body.cart).toBe(1)
    const ends = Promise.all(sockets.map(farewell))
    const { body, cookies } = await late.get('/me', other)
    expect([body.user, body.cart, cookies]).toEqual([undefined, undefined, []])
    expect(await ends).toEqual(Array(2).fill({ closing: closing(TWICE, 'after-credential'), reason: 'io server disconnect' }))
    for (const home of [app, other]) {
      await refusedTo(late, home)
      await refusedTo(browser, home)
    }
    expect(await kept.signedIn()).toEqual([])
  })

  test('so does a socket that is opened with it, and one that was opened with the new one counts as its use', async () => {
    const { app, other, clock, browser } = await atRest(kind)
    const late = await rotated(browser, clock)
    const socket = await browser.entered(way)
    const gone = farewell(socket)
    expect((await refusal(late.socket(way, {}, other))).data).toEqual(expectedRefusal('UNAUTHENTICATED'))
    expect(await gone).toEqual({ closing: closing(TWICE, 'after-credential'), reason: 'io server disconnect' })
    await refusedTo(browser, app)
  })

  const endsBy: [string, (given: { app: Application; browser: Browser; late: Browser; id: string }) => unknown][] = [
    ['who signs out with the new id', ({ browser }) => browser.post('/logout')],
    ['who signs out with the preceding id', ({ late }) => late.post('/logout')],
    ['a revocation', ({ app, id }) => app.gate.revoke({ session: id }, { reason: 'stolen' })],
    ['an operator', ({ app, id }) => app.live.end(id, { reason: 'asked for' })],
  ]
  test.each(endsBy)('%s ends the preceding id too', async (_who, end) => {
    const { app, other, clock, browser, kept } = await atRest(kind)
    const { lineage } = (await browser.get('/me')).body
    const socket = await browser.entered(way, {}, other)
    const late = await rotated(browser, clock)
    const again = late.thief()
    const gone = heard(socket, 'disconnect')
    await end({ app, browser: browser.thief(), late, id: lineage })
    await gone
    for (const home of [app, other]) {
      await refusedTo(again, home)
      await refusedTo(browser, home)
    }
    expect(await kept.signedIn()).toEqual([])
  })

  test('fifty requests and events at the moment of change lose nothing, and leave one id', async () => {
    const { app, other, clock, browser, kept } = await atRest(kind)
    const sockets = [await browser.entered(way), await browser.entered(way, {}, other)]
    const ends = sockets.map(endings)
    const expected: Record<string, number> = {}
    for (let round = 0; round < 3; round++) {
      const before = browser.sessionId
      clock.advance(ROTATE)
      const replies: Promise<Reply>[] = []
      const acks: Promise<unknown>[] = []
      for (let n = 0; n < 25; n++) {
        expected[`page-${round}-${n}`] = expected[`event-${round}-${n}`] = n
        replies.push(browser.post('/set', { key: `page-${round}-${n}`, value: n }, n % 2 === 0 ? app : other))
        acks.push(sockets[n % 2]!.emitWithAck('set', { [`event-${round}-${n}`]: n }))
      }
      expect(await Promise.all(acks)).toEqual(Array(25).fill('set'))
      const answered = await Promise.all(replies)
      expect(answered.map(({ status }) => status)).toEqual(Array(25).fill(204))
      expect(new Set(answered.flatMap(({ cookies }) => cookies.map((cookie) => cookie.split(';')[0]))).size).toBe(1)
      expect(browser.sessionId).not.toBe(before)
      expect((await browser.get('/me')).body).toMatchObject({ user: { id: 'alice' }, cart: 1, ...expected })
      expect(await kept.signedIn()).toEqual([browser.sessionId])
      // What polls with the old cookie has arrived before time goes on.
      for (const socket of sockets) await peerOf(socket)
    }
    expect([ends, app.seen.fault, other.seen.fault]).toEqual([[[], []], [], []])
  })
})
