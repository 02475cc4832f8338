import { describe, expect, test } from '@jest/globals'
import { connect } from 'portcullis/client'
import { Browser, type Reply } from '../support/browser.ts'
import { farewell } from '../support/credentials.ts'
import { closeAfterTest, until } from '../support/server.ts'
import { closing } from '../support/session-application.ts'
import { atRest, renewal, ROTATE, rotated, type Setting } from '../support/session-rotation.ts'
import { kinds } from '../support/session-stores.ts'

/** A ticket that was refused: no new id, and nothing said of why. */
function expectRefused({ status, body, cookies }: Reply): void {
  expect({ status, body, cookies }).toEqual({ status: 403, body: { error: { code: expect.any(String), message: expect.any(String), id: expect.any(String) } }, cookies: [] })
}

describe.each(kinds)('with sessions in %s, a renewal ticket', (kind) => {
  const told = async (settings: Setting = {}) => {
    const started = await atRest(kind, settings)
    const socket = await started.browser.entered()
    return { ...started, socket, ...(await renewal(socket, started.clock)) }
  }

  test.each<[string, (stranger: Browser) => unknown]>([
    ['nothing', () => {}],
    ['the session of somebody else', (stranger) => stranger.post('/login', { user: 'mallory' })],
    ['another session of the same user', (stranger) => stranger.post('/login', { user: 'alice' })],
  ])('is of no use to who brings %s in the place of the old cookie', async (_what, prepare) => {
    const { app, browser, path, ticket, socket } = await told()
    const [stranger, before] = [new Browser(app), browser.sessionId]
    await prepare(stranger)
    expectRefused(await stranger.post(path, { ticket }))
    expect((await browser.thief().get('/me')).body.cart).toBe(1)
    expect(browser.sessionId).toBe(before)
    expect(await socket.emitWithAck('say', 'still here')).toBe('still here')
  })

  test('is of no use with the preceding id, however long that is served', async () => {
    const { app, clock, browser, kept } = await atRest(kind, { graceMs: 10 * ROTATE })
    const thief = await rotated(browser, clock)
    const socket = await thief.entered()
    const { path, ticket } = await renewal(socket, clock)
    expect(await thief.get('/touch')).toMatchObject({ status: 204, cookies: [] })
    expectRefused(await thief.post(path, { ticket }))
    expect(await thief.get('/me')).toMatchObject({ body: { cart: 1 }, cookies: [] })
    expect(await kept.signedIn()).toEqual([browser.sessionId])
    // Its owner has never been here: the next request is due for another id, and the thief is found out.
    expect((await browser.get('/me')).body.cart).toBe(1)
    const gone = farewell(socket)
    expect((await thief.get('/me')).body.cart).toBe(undefined)
    expect((await gone).closing).toEqual(closing('the session id was used twice', 'after-credential'))
    expect(app.seen.fault).toEqual([])
  })

  test('is good once, on one node', async () => {
    const { browser, other, path, ticket, kept } = await told()
    const copies = Array.from({ length: 8 }, () => browser.thief())
    const replies = await Promise.all(copies.map((copy, index) => copy.post(path, { ticket }, index % 2 === 0 ? copy.home : other)))
    expect(replies.map(({ status }) => status).sort()).toEqual([204, ...Array<number>(7).fill(403)])
    expect(replies.flatMap(({ cookies }) => cookies)).toHaveLength(1)
    const owner = copies.find(({ sessionId }) => sessionId !== browser.sessionId)!
    expectRefused(await browser.thief().post(path, { ticket }))
    expectRefused(await owner.post(path, { ticket }))
    expect(await kept.signedIn()).toEqual([owner.sessionId])
  })

  test('is over with its time, with its session, and with the id it was made for', async () => {
    const late = await told()
    late.clock.advance(late.expiresInMs)
    expectRefused(await late.browser.post(late.path, { ticket: late.ticket }))

    const out = await told()
    const old = out.browser.thief()
    await out.browser.post('/logout')
    expectRefused(await old.post(out.path, { ticket: out.ticket }))

    const replaced = await told()
    await replaced.browser.get('/touch')
    expectRefused(await replaced.browser.post(replaced.path, { ticket: replaced.ticket }))
  })

  test('of another shape is refused, and asked for in another way is none', async () => {
    const { app, browser, path, ticket } = await told()
    const before = browser.sessionId
    for (const body of [{}, { ticket: '' }, { ticket: null }, { ticket: [ticket] }, { ticket: { ticket } }, { ticket: 'x'.repeat(4_000) }, { ticket: `${ticket}.` }, [], { __proto__: null, ticket: '__proto__' }]) expectRefused(await browser.post(path, body))
    for (const body of ['', 'ticket', '{', `"${ticket}"`, 'null', `{"ticket":"${'x'.repeat(1_000_000)}"}`]) {
      const { status, headers } = await browser.fetch(path, { method: 'POST', headers: { 'content-type': 'application/json' }, body })
      expect([status >= 400 && status < 500, headers.getSetCookie()]).toEqual([true, []])
    }
    expect(browser.sessionId).toBe(before)
    expect((await browser.thief().get(`${path}?ticket=${ticket}`)).status).toBe(404)
    expect(browser.sessionId).toBe(before)
    expect(app.seen.fault).toEqual([])
  })

  test.each([
    ['before the handler', { parsing: 'before' }],
    ['after it', { parsing: 'after' }],
  ] as const)('is read where the application reads bodies %s', async (_where, settings) => {
    const { browser, path, ticket } = await told(settings)
    expect((await browser.post(path, { ticket })).status).toBe(204)
  })

  test('is taken to its server by the companion, beside the cookie of its jar', async () => {
    const { app, clock, browser, kept } = await atRest(kind)
    const connection = connect(app.url, { transports: ['websocket'], credentials: () => ({}), extraHeaders: browser.headers, fetch: browser.fetch })
    closeAfterTest(() => connection.close())
    const failed: unknown[] = []
    connection.on('failed', (error) => failed.push(error))
    await until(() => connection.state === 'connected')
    const seen = new Set([browser.sessionId])
    for (let round = 0; round < 3; round++) {
      const renewed = new Promise<void>((resolve) => connection.on('renewed', resolve))
      clock.advance(ROTATE)
      await renewed
      seen.add(browser.sessionId)
      expect(await kept.signedIn()).toEqual([browser.sessionId])
      expect(await connection.request('say', round)).toBe(round)
    }
    expect([seen.size, failed, connection.state]).toEqual([4, [], 'connected'])
  })
})

test('a renewal is taken to wait, not for wrong, while the store of the sessions does not answer', async () => {
  const { app, clock, browser, kept } = await atRest('memory')
  const { path, ticket } = await renewal(await browser.entered(), clock)
  kept.fail('rejects')
  const { status, cookies } = await browser.post(path, { ticket })
  expect([status >= 500, cookies]).toEqual([true, []])
  kept.heal()
  expect((await browser.get('/me')).body.cart).toBe(1)
  expect(app.handled).toEqual([])
})
