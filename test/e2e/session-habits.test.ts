import { describe, expect, test } from '@jest/globals'
import type { NextFunction, Request, Response } from 'express'
import { Browser, endings, signedIn } from '../support/browser.ts'
import { say } from '../support/credentials.ts'
import { heard, Latch, until } from '../support/server.ts'
import { application, peerOf, type Application } from '../support/session-application.ts'
import { backing, kinds } from '../support/session-stores.ts'

// What applications do with their sessions, without a thought of sockets.

type Page = (request: Request, response: Response, next: NextFunction) => unknown
const reload = (request: Request): Promise<void> => new Promise((resolve, reject) => void request.session.reload((error: unknown) => (error ? reject(error) : resolve())))
const save = (request: Request): Promise<void> => new Promise((resolve, reject) => void request.session.save((error: unknown) => (error ? reject(error) : resolve())))
const destroy = (request: Request): Promise<void> => new Promise((resolve, reject) => void request.session.destroy((error: unknown) => (error ? reject(error) : resolve())))

/** A page that answers what it gives. */
function page({ app }: Application, path: string, work: Page): void {
  app.get(path, (request, response, next) => {
    Promise.resolve(work(request, response, next)).then((body) => (response.headersSent ? undefined : response.json(body ?? null)), next)
  })
}

/** Gives the session of a browser another id: after a change of rights the next request does. */
async function rotated(browser: Browser): Promise<void> {
  const before = browser.sessionId
  await browser.post('/role', { role: 'editor' })
  await browser.get('/touch')
  expect(browser.sessionId).not.toBe(before)
}

describe.each(kinds)('with sessions in %s, an application that', (kind) => {
  test('reads its session again half-way sees what is new, and is taken for nobody else', async () => {
    const app = await application(kind)
    const browser = await signedIn(app)
    const socket = await browser.entered()
    const [begun, go] = [new Latch(), new Latch()]
    page(app, '/slow', async (request) => {
      begun.open()
      await go.opened
      await reload(request)
      return { user: (request.session as any).user?.id, n: (request.session as any).n }
    })
    const slow = new Browser(app)
    slow.plant(browser.cookie!)
    const reply = slow.get('/slow')
    await begun.opened
    await rotated(browser)
    // The new id is in use by then.
    await browser.post('/set', { key: 'n', value: 7 })
    go.open()
    expect((await reply).body).toEqual({ user: 'alice', n: 7 })
    expect(await say(socket, 'still here')).toBe('still here')
  })

  test('asks its store for an old id by itself ends nothing by that', async () => {
    const app = await application(kind)
    const browser = await signedIn(app)
    const socket = await browser.entered()
    const old = browser.sessionId!
    await rotated(browser)
    await browser.get('/touch')
    expect(await new Promise((resolve) => void app.store.get(old, (_error: unknown, found: unknown) => resolve(found ?? null)))).toBeNull()
    expect(await say(socket, 'still here')).toBe('still here')
    expect((await browser.get('/me')).body.user).toMatchObject({ id: 'alice' })
  })

  test('asks for a new id twice at once is left with one, and its user with the socket', async () => {
    const app = await application(kind)
    const browser = await signedIn(app)
    const socket = await browser.entered()
    await Promise.all([browser.post('/regenerate'), browser.post('/regenerate')])
    expect(await app.backing.signedIn()).toHaveLength(1)
    expect(await say(socket, 'still here')).toBe('still here')
  })

  test('signs somebody in where that is refused leaves the visitor what he had', async () => {
    const app = await application(kind, { live: { concurrent: { limit: 1, full: 'refuse' } }, optional: true })
    await signedIn(app)
    const visitor = new Browser(app)
    await visitor.post('/set', { key: 'cart', value: ['a book'] })
    const before = visitor.sessionId
    expect((await visitor.post('/login-carelessly', { user: 'alice' })).status).toBe(429)
    expect(visitor.sessionId).toBe(before)
    expect((await visitor.get('/me')).body).toMatchObject({ cart: ['a book'] })
    expect((await visitor.get('/me')).body.user).toBeUndefined()
  })

  test('signs somebody in and thinks better of it leaves no session behind', async () => {
    const app = await application(kind)
    page(app, '/second-factor-failed', async (request) => {
      Object.assign(request.session, { user: { id: 'bob' } })
      await save(request)
      await destroy(request)
    })
    const browser = new Browser(app)
    await browser.post('/set', { key: 'cart', value: 1 })
    await browser.get('/second-factor-failed')
    expect(await app.live.list({ subject: 'bob' })).toEqual([])
    expect(await app.backing.signedIn()).toEqual([])
  })

  test('begins to answer before it has signed somebody in gives the new id with the first line', async () => {
    const app = await application(kind)
    page(app, '/streamed', (request, response) => {
      Object.assign(request.session, { user: { id: 'alice' } })
      response.write('welcome')
      response.end('!')
    })
    const browser = new Browser(app)
    await browser.post('/set', { key: 'cart', value: 1 })
    const thief = browser.thief()
    await browser.get('/streamed')
    expect((await browser.get('/me')).body).toMatchObject({ user: { id: 'alice' }, cart: 1 })
    expect((await thief.get('/me')).body.user).toBeUndefined()
  })

  test('signs somebody in by an event has its page bring the new id, and whoever knows the old one gets nothing', async () => {
    const app = await application(kind, { optional: true })
    app.io.on('connection', (socket) => {
      socket.on('sign in', (user: string) => {
        app.gate.peerOf(socket).session!.update((data) => void (data.user = { id: user })).catch(() => {})
      })
    })
    const browser = new Browser(app)
    await browser.post('/set', { key: 'cart', value: 1 })
    const thief = browser.thief()
    const [socket, stolen] = [await browser.entered(), await thief.entered()]
    const [told, toldThief] = [endings(socket), endings(stolen)]
    const asked = heard(socket, 'gate:renew')
    socket.emit('sign in', 'alice')
    const [{ ticket, path }] = (await asked) as [{ ticket: string; path: string }]
    expect((await thief.get('/me')).body.user).toBeUndefined()
    expect((await browser.post(path, { ticket })).status).toBe(204)
    await until(() => told.length === 2 && toldThief.length === 2)
    expect(told[0]).toMatchObject({ code: 'REVOKED', details: { reason: 'signed in' }, reconnect: 'now' })
    expect((await browser.get('/me')).body).toMatchObject({ user: { id: 'alice' }, cart: 1 })
    expect(await peerOf(await browser.entered())).toMatchObject({ subject: 'alice' })
    expect((await thief.get('/me')).body.user).toBeUndefined()
    expect((await peerOf(await thief.entered())).subject).toBeNull()
  })
})

test('an application that signs out has each entry taken away once', async () => {
  const kept = await backing('memory')
  const store = await kept.store()
  const destroy = store.destroy.bind(store)
  const gone: string[] = []
  store.destroy = (id, callback) => {
    gone.push(id)
    destroy(id, callback)
  }
  const app = await application(Object.assign(kept, { store: () => Promise.resolve(store) }))
  const browser = await signedIn(app)
  await browser.entered()
  const id = browser.sessionId!
  gone.length = 0
  await browser.post('/logout')
  expect(gone).toEqual([id])
})

test('an application whose session store fails at a sign-out closes the sockets, says so, and goes on', async () => {
  const kept = await backing('memory')
  const store = await kept.store()
  const destroy = store.destroy.bind(store)
  let isDown = false
  store.destroy = (id, callback) => (isDown ? setImmediate(() => callback?.(new Error('the disk is full'))) : destroy(id, callback))
  const app = await application(Object.assign(kept, { store: () => Promise.resolve(store) }))
  const [browser, other] = [await signedIn(app), await signedIn(app, 'bob')]
  const [socket, his] = [await browser.entered(), await other.entered()]
  const told = endings(socket)
  const unhandled: unknown[] = []
  const note = (error: unknown): void => void unhandled.push(error)
  process.on('unhandledRejection', note)
  isDown = true
  expect((await browser.post('/logout')).status).toBe(500)
  await until(() => told.length === 2)
  isDown = false
  // The entry is there, and stands for nothing.
  expect((await browser.get('/me')).body.user).toBeUndefined()
  expect(await say(his, 'still here')).toBe('still here')
  process.off('unhandledRejection', note)
  expect(unhandled).toEqual([])
})
