import { describe, expect, test } from '@jest/globals'
import { memoryStore } from 'portcullis'
import { endings, signedIn } from '../support/browser.ts'
import { farewell, say } from '../support/credentials.ts'
import { application, closing, peerOf, type Settings } from '../support/session-application.ts'
import { sign } from '../support/session-cookies.ts'
import { atRest, GRACE, rotated } from '../support/session-rotation.ts'
import { backing, kinds } from '../support/session-stores.ts'

// What else applications tell express-session, which is not to matter.

const settings: [string, Settings][] = [
  ['that sends its cookie with each answer', { session: { rolling: true, cookie: { maxAge: 600_000 } } }],
  ['that sends its cookie with each change', { session: { cookie: { maxAge: 600_000 } } }],
  ['that saves whatever was loaded', { session: { resave: true } }],
  ['that gives each visitor a session', { session: { saveUninitialized: true } }],
  ['that destroys what is unset', { session: { unset: 'destroy' } }],
  ['whose middleware is called by the handler', { handlerAlone: true }],
  ['that has a newer secret', { session: { secret: ['a newer secret of the cookies', 'the secret of the cookies of an application'] }, live: { secret: ['a newer secret of the cookies', 'the secret of the cookies of an application'] } }],
]

describe.each(kinds.flatMap((kind) => settings.map(([what, setting]) => [kind, what, setting] as const)))('with sessions in %s, an application %s', (kind, _what, setting) => {
  test('has its sessions go on under another id, the preceding one served in its grace and answered with no cookie at all', async () => {
    const { app, clock, browser, kept } = await atRest(kind, setting)
    const socket = await browser.entered('polling')
    const ends = endings(socket)
    const [before, late] = [browser.sessionId, browser.thief()]
    clock.advance(60_000)
    const all = await Promise.all(Array.from({ length: 10 }, (_, n) => browser.post('/set', { key: `n${n}`, value: n })))
    const given = all.flatMap(({ cookies }) => cookies.map((cookie) => cookie.split(';')[0]))
    expect([all.map(({ status }) => status), new Set(given).size, browser.sessionId === before]).toEqual([Array(10).fill(204), 1, false])
    expect((await late.post('/set', { key: 'late', value: 1 })).cookies).toEqual([])
    expect((await late.get('/touch')).cookies).toEqual([])
    const { body } = await browser.get('/me')
    expect(body).toMatchObject({ user: { id: 'alice' }, cart: 1, late: 1, ...Object.fromEntries(all.map((_, n) => [`n${n}`, n])) })
    expect((await peerOf(socket)).id).toBe(body.lineage)
    expect(await kept.signedIn()).toEqual([browser.sessionId])
    expect([ends, app.seen.fault]).toEqual([[], []])
  })

  test('has a session stay over that was ended while a page took its time', async () => {
    const app = await application(kind, setting)
    const browser = await signedIn(app)
    const [late, thief] = [browser.thief(), browser.thief()]
    const gone = farewell(await browser.entered())
    const slow = late.post('/slow-set', { key: 'cart', value: 1 })
    await app.hold.begun.opened
    await browser.post('/logout')
    expect((await gone).closing).toEqual(closing('signed out', 'after-credential'))
    app.hold.go.open()
    await slow
    expect(await app.backing.signedIn()).toEqual([])
    for (const each of [late, thief]) expect((await each.get('/me')).body.user).toBe(undefined)
  })
})

describe.each(kinds)('with sessions in %s', (kind) => {
  test('unsetting a session signs out where it destroys it', async () => {
    const app = await application(kind, { session: { unset: 'destroy' } })
    const browser = await signedIn(app)
    const gone = farewell(await browser.entered())
    await browser.post('/logout-by-null')
    expect((await gone).closing).toEqual(closing('signed out', 'after-credential'))
    expect(await app.backing.ids()).toEqual([])
  })

  test('a cookie that was signed with an older secret is good until that is taken out', async () => {
    const kept = await backing(kind)
    const app = await application(kept, { session: { secret: ['a newer secret', 'an older secret'] }, live: { secret: ['a newer secret', 'an older secret'] } })
    const browser = await signedIn(app)
    const id = browser.sessionId!
    for (const [secret, subject] of [['a newer secret', 'alice'], ['an older secret', 'alice'], ['no secret of it', undefined]] as const) {
      const socket = browser.socket('websocket', { extraHeaders: { ...browser.headers, cookie: `sid=${sign(id, secret)}` } })
      const entered = new Promise<boolean>((resolve) => (socket.once('connect', () => resolve(true)), socket.once('connect_error', () => resolve(false))))
      expect([secret, (await entered) ? (await peerOf(socket)).subject : undefined]).toEqual([secret, subject])
    }
  })

  test('an application that lists what is in its store sees its own sessions, and nothing of ours', async () => {
    const { app, clock, browser } = await atRest(kind)
    await rotated(browser, clock)
    const all = await new Promise<object>((resolve, reject) => app.store.all!((error, sessions) => (error ? reject(error) : resolve(sessions as object))))
    const sessions = Object.values(all) as object[]
    expect(sessions).toHaveLength(1)
    expect(sessions[0]).toMatchObject({ user: { id: 'alice' }, cart: 1 })
    expect(Object.keys(sessions[0]!).sort()).toEqual(kind === 'memory' ? ['cart', 'cookie', 'user'] : ['cart', 'cookie', 'id', 'user'])
    clock.advance(GRACE)
  })

  test('what a client has the application put under our own name means nothing', async () => {
    const app = await application(kind)
    const [victim, mallory] = [await signedIn(app), await signedIn(app, 'mallory')]
    const { lineage } = (await victim.get('/me')).body
    const socket = await mallory.entered()
    for (const value of [{ lineage, to: victim.sessionId, untilMs: 1e15 }, { lineage, sinceMs: 0, bornMs: 0 }, null, 'x', [1]]) {
      await mallory.post('/set', { key: '__portcullis', value })
      await socket.emitWithAck('set', { __portcullis: value })
      expect((await mallory.get('/me')).body).toMatchObject({ user: { id: 'mallory' }, lineage: expect.not.stringMatching(lineage) })
      expect(await peerOf(socket)).toMatchObject({ subject: 'mallory', id: (await mallory.get('/me')).body.lineage })
    }
    expect(await say(await victim.entered(), 'mine')).toBe('mine')
  })

  test('a web server without sockets ends sessions of the servers that have them', async () => {
    const [kept, shared] = [await backing(kind), memoryStore()]
    const sockets = await application(kept, { guarding: { store: shared } })
    const pages = await application(kept, { withoutGate: true, live: { gateStore: shared } })
    const browser = await signedIn(pages)
    const [socket, { id }] = await browser.entered('websocket', {}, sockets).then(async (entered) => [entered, await peerOf(entered)] as const)
    await browser.post('/regenerate')
    expect((await peerOf(socket)).id).toBe(id)
    expect((await browser.get('/sessions')).body).toEqual([expect.objectContaining({ id })])
    const gone = farewell(socket)
    await browser.post('/logout')
    expect((await gone).closing).toEqual(closing('signed out', 'after-credential'))
  })
})
