import { describe, expect, test } from '@jest/globals'
import { Denied } from 'portcullis'
import { Browser, endings, signedIn } from '../support/browser.ts'
import { farewell, say, ways } from '../support/credentials.ts'
import { heard, refusal, until, type Client } from '../support/server.ts'
import { application, closing, eventually, peerOf, twoNodes, type Application } from '../support/session-application.ts'
import { kinds } from '../support/session-stores.ts'

const each = kinds.flatMap((kind) => ways.map((way) => [kind, way] as const))

/** Who a cookie is good for, by every way in: what a thief finds out. */
async function worth(app: Application, thief: Browser): Promise<unknown[]> {
  const page = await thief.get('/me', app)
  const who = await Promise.all(
    ways.map(async (way) => {
      const socket = thief.socket(way, {}, app)
      const entered = new Promise<boolean>((resolve) => {
        socket.once('connect', () => resolve(true))
        socket.once('connect_error', () => resolve(false))
      })
      return (await entered) ? (await peerOf(socket)).subject : null
    }),
  )
  return [page.body.user ?? page.body.passport?.user ?? null, ...who]
}
const NOTHING = [null, null, null, null]

describe.each(each)('with sessions in %s, a socket over %s', (kind, way) => {
  test.each(['/login', '/login-carelessly', '/passport/login'])('that an attacker opened on an id planted on its victim is closed when the victim signs in by %s', async (path) => {
    const app = await application(kind, { optional: true, withPassport: true })
    const attacker = new Browser(app)
    await attacker.post('/set', { key: 'planted', value: true })
    const [id, lurking] = [attacker.sessionId!, await attacker.entered(way)]
    expect((await peerOf(lurking)).data).toEqual({ planted: true })
    const victim = attacker.thief()
    const own = await victim.entered(way)
    const ends = Promise.all([farewell(lurking), farewell(own)])
    expect((await victim.post(path, { user: 'alice', password: 'ecila' })).status).toBe(204)
    expect(await ends).toEqual(Array(2).fill({ closing: closing('signed in', 'now'), reason: 'io server disconnect' }))

    expect(victim.sessionId).not.toBe(id)
    expect(await worth(app, attacker)).toEqual(NOTHING)
    expect((await peerOf(await victim.entered(way))).subject).toBe('alice')
    expect((await victim.get('/me')).body.lineage).toEqual(expect.any(String))
    expect(app.seen.fault).toEqual([])
  })

  test('stays when its user gets another id, and goes on with the session of that', async () => {
    const app = await application(kind)
    const browser = await signedIn(app)
    await browser.post('/set', { key: 'cart', value: 1 })
    const [before, socket] = [browser.sessionId, await browser.entered(way)]
    const ends = endings(socket)
    const { id } = await peerOf(socket)
    expect((await browser.post('/regenerate')).status).toBe(204)
    expect(browser.sessionId).not.toBe(before)
    expect(await peerOf(socket)).toMatchObject({ subject: 'alice', id, data: { cart: 1 } })
    expect(await socket.emitWithAck('set', { from: 'the socket' })).toBe('set')
    expect((await browser.get('/me')).body).toMatchObject({ lineage: id, cart: 1, from: 'the socket' })
    expect([await app.backing.signedIn(), ends]).toEqual([[browser.sessionId], []])
    // It is the very session: who signs out ends it.
    const gone = farewell(socket)
    await browser.post('/logout')
    await gone
  })

  test('is closed when another user signs in, and may come back as that one', async () => {
    const app = await application(kind)
    const browser = await signedIn(app)
    const socket = await browser.entered(way)
    const gone = farewell(socket)
    await browser.post('/login', { user: 'bob' })
    expect(await gone).toEqual({ closing: closing('another user', 'now'), reason: 'io server disconnect' })
    expect((await peerOf(await browser.entered(way))).subject).toBe('bob')
  })

  test('is decided about anew where it is when the rights of its user change', async () => {
    const app = await application(kind)
    const browser = await signedIn(app, 'alice', { role: 'user' })
    const socket = await browser.entered(way)
    const ends = endings(socket)
    const changed = heard(socket, 'gate:changed')
    await browser.post('/role', { role: 'admin' })
    await changed
    expect(await peerOf(socket)).toMatchObject({ subject: 'alice', claims: { role: 'admin' }, data: { user: { role: 'admin' } } })
    expect(ends).toEqual([])
  })

  test('is closed when they change together with the id, and may come back with them', async () => {
    const app = await application(kind)
    const browser = await signedIn(app, 'alice', { role: 'user' })
    const socket = await browser.entered(way)
    const gone = farewell(socket)
    await browser.post('/role', { role: 'admin', regenerate: true })
    expect(await gone).toMatchObject({ closing: { code: 'REVOKED', reconnect: 'now' } })
    expect((await peerOf(await browser.entered(way))).claims).toEqual({ role: 'admin' })
  })

  test.each(['/logout', '/logout-by-regenerate', '/forget-user', '/passport/logout'])('is closed by %s, whichever tab that was in, and nothing more of it is handled', async (path) => {
    const app = await application(kind, { withPassport: true })
    const browser = new Browser(app)
    await browser.post(path.startsWith('/passport') ? '/passport/login' : '/login', { user: 'alice', password: 'ecila' })
    const tabs = [await browser.entered(way), await browser.entered(), await browser.entered('polling')]
    const thief = browser.thief()
    const ends = Promise.all(tabs.map(farewell))
    const said = tabs.map((tab) => say(tab, 'before').catch(() => {}))
    const out = browser.post(path)
    app.hooks.destroyed = () => {
      // As if they had been read from the wire in this very moment.
      for (const socket of app.sockets) (socket.conn as unknown as { emit(name: string, data: string): void }).emit('data', '2["say","in the same tick"]')
    }
    expect((await out).status).toBe(204)
    for (const tab of tabs) tab.emit('say', 'after')
    // A tab that polls may be cut off before it has fetched the rest: its cookie is that of another session by now.
    expect((await ends).map((end) => end.closing)).toEqual(Array(3).fill(closing('signed out', 'after-credential')))
    await Promise.race(said)
    expect(app.handled.filter((what) => what !== 'before')).toEqual([])
    expect((await refusal(browser.socket(way))).message).toBe('UNAUTHENTICATED')
    expect(await worth(app, thief)).toEqual(NOTHING)
    expect(app.seen.fault).toEqual([])
  })

  test('is closed when somebody signs out on another node', async () => {
    const [here, there] = await twoNodes(kind)
    const browser = await signedIn(here)
    const sockets = [await browser.entered(way), await browser.entered(way, {}, there)]
    const ends = Promise.all(sockets.map(farewell))
    expect((await browser.post('/logout', {}, there)).status).toBe(204)
    expect(await ends).toEqual(Array(2).fill({ closing: closing('signed out', 'after-credential'), reason: 'io server disconnect' }))
    expect([await worth(here, browser), await worth(there, browser)]).toEqual([NOTHING, NOTHING])
  })

  test('goes on with the new id when its user gets that on another node', async () => {
    const [here, there] = await twoNodes(kind, { live: { freshMs: 20 } })
    const browser = await signedIn(here)
    const socket = await browser.entered(way)
    const { id } = await peerOf(socket)
    await browser.post('/regenerate', {}, there)
    await browser.post('/set', { key: 'since', value: 'then' }, there)
    await eventually(async () => (await peerOf(socket)).data!['since'] === 'then')
    await socket.emitWithAck('set', { from: 'the socket' })
    expect((await browser.get('/me', there)).body).toMatchObject({ lineage: id, since: 'then', from: 'the socket' })
  })

  test.each([
    ['soon, where nothing is said', { recheckMs: 100 }],
    ['at the next event, once what is known is not fresh any more', { freshMs: 1, recheckMs: 3_600_000 }],
  ])('finds that its entry was taken away %s', async (_when, live) => {
    const app = await application(kind, { live })
    const browser = await signedIn(app)
    const socket = await browser.entered(way)
    const gone = farewell(socket)
    await app.backing.remove(browser.sessionId!)
    if ('freshMs' in live) {
      const before = Date.now()
      await until(() => Date.now() > before + 5)
      socket.emit('say', 'is there anybody')
    }
    expect(await gone).toMatchObject({ closing: closing('the session is gone', 'after-credential') })
    expect(app.handled).toEqual([])
  })
})

describe.each(kinds)('with sessions in %s, a session that is over stays over', (kind) => {
  test.each(['/logout', '/passport/logout'])('when a page that was loaded before %s is saved after it', async (path) => {
    const app = await application(kind, { withPassport: true, optional: true })
    const browser = new Browser(app)
    await browser.post('/passport/login', { user: 'alice', password: 'ecila' })
    const [thief, late, old] = [browser.thief(), browser.thief(), browser.sessionId]
    const slow = late.post('/slow-set', { key: 'cart', value: 1 })
    await app.hold.begun.opened
    await browser.post(path)
    app.hold.go.open()
    await slow
    expect(await app.backing.ids()).not.toContain(old)
    expect([await worth(app, thief), await worth(app, late)]).toEqual([NOTHING, NOTHING])
  })

  test('when a page that was loaded before the user got another id is saved after it', async () => {
    const app = await application(kind)
    const browser = await signedIn(app)
    const late = browser.thief()
    const slow = late.post('/slow-set', { key: 'cart', value: 1 })
    await app.hold.begun.opened
    await browser.post('/regenerate')
    app.hold.go.open()
    await slow
    expect(await app.backing.signedIn()).toEqual([browser.sessionId])
    expect((await browser.get('/me')).body.user).toEqual({ id: 'alice' })
  })

  test('when a socket would change it', async () => {
    const [here, there] = await twoNodes(kind)
    const browser = await signedIn(here)
    const socket = await browser.entered()
    const { session } = here.gate.peerOf(here.sockets[0]!)
    const gone = heard(socket, 'disconnect')
    await browser.post('/logout', {}, there)
    await gone
    await expect(session!.update((data) => void (data['cart'] = 1))).rejects.toThrow(Denied)
    await expect(session!.update((data) => void (data['cart'] = 1))).rejects.toMatchObject({ code: 'REVOKED' })
    await expect(session!.regenerate()).rejects.toMatchObject({ code: 'REVOKED' })
    expect(await here.backing.signedIn()).toEqual([])
  })

  test('when sockets and pages change it in the very moment', async () => {
    const [here, there] = await twoNodes(kind)
    for (let round = 0; round < 30; round++) {
      const browser = await signedIn(here)
      const late = browser.thief()
      const near = await browser.entered()
      await browser.entered('websocket', {}, there)
      const [one, other] = [here.gate.peerOf(here.sockets.at(-1)!).session!, there.gate.peerOf(there.sockets.at(-1)!).session!]
      const gone = heard(near, 'disconnect')
      const change = (data: Record<string, unknown>): void => void (data['n'] = Number(data['n'] ?? 0) + 1)
      const left = Array.from({ length: 3 }, () => [one.update(change), other.update(change)]).flat()
      const pages = [late.post('/set', { key: 'cart', value: round }), browser.post('/logout', {}, round % 2 === 0 ? here : there), late.post('/set', { key: 'cart', value: -round }, there)]
      const right = Array.from({ length: 3 }, () => [one.update(change), other.update(change)]).flat()
      const outcomes = await Promise.allSettled([...left, ...right])
      await Promise.all([...pages, gone])
      for (const outcome of outcomes) if (outcome.status === 'rejected') expect(outcome.reason).toMatchObject({ code: 'REVOKED' })
      // A page that comes after it begins an anonymous session of its own.
      expect(await here.backing.signedIn()).toEqual([])
    }
  })

  test('when it was ended on a socket, by somebody else, or by a revocation', async () => {
    const app = await application(kind)
    const by: [string, (browser: Browser, socket: Client) => unknown, object][] = [
      ['its own socket', (_, socket) => socket.emit('end', () => {}), { details: { reason: 'signed out on a page' } }],
      ['an operator', async (browser) => app.live.end((await browser.get('/me')).body.lineage, { reason: 'asked for' }), { details: { reason: 'asked for' } }],
      ['a revocation', async (browser) => app.gate.revoke({ session: (await browser.get('/me')).body.lineage }, { reason: 'stolen' }), { details: { reason: 'stolen' } }],
    ]
    for (const [who, end, told] of by) {
      const browser = await signedIn(app)
      const thief = browser.thief()
      const socket = await browser.entered()
      const gone = farewell(socket)
      await end(browser, socket)
      expect([who, (await gone).closing]).toEqual([who, expect.objectContaining({ code: 'REVOKED', reconnect: 'after-credential', ...told })])
      expect([who, await worth(app, thief), await app.backing.signedIn()]).toEqual([who, NOTHING, []])
    }
  })
})
