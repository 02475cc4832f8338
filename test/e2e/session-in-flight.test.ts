import { describe, expect, test } from '@jest/globals'
import { Browser, signedIn } from '../support/browser.ts'
import { farewell, say, troubledStore, ways } from '../support/credentials.ts'
import { heard, Latch, refusal, until } from '../support/server.ts'
import { application, closing, peerOf, twoNodes, type Settings } from '../support/session-application.ts'
import { backing, kinds } from '../support/session-stores.ts'

const each = kinds.flatMap((kind) => ways.map((way) => [kind, way] as const))

/** A policy behind those of the session that takes its time. */
function slow(stage: 'connect' | 'event'): Settings & { readonly begun: Promise<void>; readonly open: () => void } {
  const [begun, latch] = [new Latch(), new Latch()]
  const policy = { name: 'slow', [stage]: async (_ctx: unknown, next: () => unknown) => (begun.open(), await latch.opened, next()) }
  return { declare: (gate) => (stage === 'connect' ? gate.use(policy) : gate.event('say', policy as never)), begun: begun.opened, open: () => latch.open() }
}

describe.each(each)('with sessions in %s, over %s', (kind, way) => {
  test.each(['/logout', '/logout-by-regenerate', '/forget-user'])('who is on the way in while the session is ended by %s does not come in', async (path) => {
    for (const index of [0, 1] as const) {
      const held = slow('connect')
      const nodes = await twoNodes(kind, held)
      const [here, node] = [nodes[0], nodes[index]]
      const browser = await signedIn(here)
      const socket = browser.socket(way, {}, node)
      const entered: string[] = []
      socket.on('connect', () => entered.push('connect'))
      const over = Promise.race([heard(socket, 'connect_error'), heard(socket, 'disconnect')])
      await held.begun
      await browser.post(path, {}, here)
      held.open()
      await over
      socket.emit('say', 'am I in')
      expect(node.handled).toEqual([])
    }
  })

  test('who is on the way in as a visitor while signing in comes back as who that is', async () => {
    const held = slow('connect')
    const app = await application(kind, { ...held, optional: true })
    const browser = new Browser(app)
    await browser.post('/set', { key: 'cart', value: 1 })
    const socket = browser.socket(way)
    const over = Promise.race([heard(socket, 'connect_error'), heard(socket, 'disconnect')])
    await held.begun
    await browser.post('/login', { user: 'alice' })
    held.open()
    await over
    expect((await peerOf(await browser.entered(way))).subject).toBe('alice')
  })

  test('an event that is being decided when the session ends is not handled', async () => {
    const held = slow('event')
    const app = await application(kind, held)
    const browser = await signedIn(app)
    const socket = await browser.entered(way)
    const gone = farewell(socket)
    socket.emit('say', 'too late')
    await held.begun
    await browser.post('/logout')
    held.open()
    await gone
    await say(await (await signedIn(app, 'bob')).entered(), 'bob')
    expect(app.handled).toEqual(['bob'])
  })

  test('an event that is being decided when its user changes is not handled as another one', async () => {
    const held = slow('event')
    const app = await application(kind, held)
    const browser = await signedIn(app)
    const socket = await browser.entered(way)
    const gone = farewell(socket)
    socket.emit('say', 'as alice')
    await held.begun
    await browser.post('/login', { user: 'bob' })
    held.open()
    expect((await gone).closing).toEqual(closing('another user', 'now'))
    await say(await browser.entered(way), 'as bob')
    expect(app.handled).toEqual(['as bob'])
  })
})

test.each([
  ['an event', 'update'],
  ['a page', '/set'],
])('what %s is writing when the session ends does not bring it back, however late it is written', async (_who, by) => {
  const kept = await backing('memory')
  const app = await application(kept)
  const browser = await signedIn(app)
  const [socket, late, thief] = [await browser.entered(), browser.thief(), browser.thief()]
  const gone = farewell(socket)
  kept.fail('hangs', 'set')
  const { session } = app.gate.peerOf(app.sockets[0]!)
  const writing = by === 'update' ? expect(session!.update((data) => void (data['n'] = 1))).rejects.toMatchObject({ code: 'REVOKED' }) : late.post(by, { key: 'n', value: 1 })
  await until(() => kept.waiting === 1)
  await browser.post('/logout')
  await gone
  expect(await kept.ids()).toEqual([])
  kept.heal()
  await writing
  expect([await kept.ids(), (await thief.get('/me')).body.user]).toEqual([[], undefined])
})

describe.each(kinds)('with sessions in %s', (kind) => {
  test('a connection that is recovered is of a session that is there', async () => {
    const app = await application(kind, { serving: { connectionStateRecovery: {} } })
    const browser = await signedIn(app)
    for (const [ended, recovered] of [[false, true], [true, false]] as const) {
      const socket = await browser.entered()
      const news = heard(socket, 'news')
      app.io.emit('news', 1)
      await news
      const gone = heard(socket, 'disconnect')
      socket.io.engine.close()
      await gone
      await until(() => app.io.of('/').sockets.size === 0)
      if (ended) await browser.post('/logout')
      else await browser.post('/regenerate')
      browser.refresh()
      const back = new Promise<boolean>((resolve) => (socket.once('connect', () => resolve(socket.recovered)), socket.once('connect_error', () => resolve(false))))
      socket.connect()
      expect([ended, await back]).toEqual([ended, recovered])
      if (recovered) expect((await peerOf(socket)).subject).toBe('alice')
      socket.disconnect()
    }
  })

  test('whoever has another session recovers no connection of this one', async () => {
    const app = await application(kind, { serving: { connectionStateRecovery: {} } })
    const [browser, mallory] = [await signedIn(app), await signedIn(app, 'mallory')]
    const socket = await browser.entered()
    const news = heard(socket, 'news')
    app.sockets[0]!.emit('news', 1)
    await news
    const { id } = socket
    const { _pid: pid, _lastOffset: offset } = socket as unknown as { _pid: string; _lastOffset: string }
    socket.io.engine.close()
    await until(() => app.io.of('/').sockets.size === 0)
    app.io.to(id!).emit('news', 'for alice')
    const heardOf: unknown[] = []
    const thief = mallory.socket('websocket', { auth: { pid, offset } })
    thief.on('news', (what) => heardOf.push(what))
    await Promise.race([heard(thief, 'connect'), heard(thief, 'connect_error')])
    if (thief.connected) expect((await peerOf(thief)).subject).toBe('mallory')
    expect([thief.id === id, thief.recovered, heardOf]).toEqual([false, false, []])
  })

  test.each(['rejects', 'hangs'] as const)('while the store of the gates %s, nobody enters, and who signs out is out', async (trouble) => {
    const store = troubledStore({ now: Date.now, after: (ms, fn) => ({ cancel: clearTimeout.bind(undefined, setTimeout(fn, ms)) }) })
    const app = await application(kind, { guarding: { store }, live: { timeoutMs: 1_000 } })
    const browser = await signedIn(app)
    const thief = browser.thief()
    const tabs = [await browser.entered(), await browser.entered('polling')]
    const gone = Promise.all(tabs.map((tab) => heard(tab, 'disconnect')))
    store.trouble = trouble
    if (trouble === 'rejects') expect((await refusal(thief.socket())).message).toBe('UNAVAILABLE')
    const out = browser.post('/logout')
    await gone
    // What it is answered is not what counts: that it is out, here and from now on.
    await out
    store.trouble = undefined
    expect((await refusal(thief.socket())).message).toBe('UNAUTHENTICATED')
    expect(await app.backing.signedIn()).toEqual([])
    expect(app.handled).toEqual([])
  })
})
