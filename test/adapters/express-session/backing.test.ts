import { describe, expect, test } from '@jest/globals'
import { EventEmitter } from 'node:events'
import { inspect } from 'node:util'
import session from 'express-session'
import { Backing, SessionStoreError } from '../../../adapters/express-session/backing.ts'
import { forwarding } from '../../../adapters/express-session/record.ts'
import type { SessionStore } from '../../../adapters/express-session/store.ts'
import { testClock } from '../../../lib/testing.ts'
import { failure, settled } from './rig.ts'
import type { Callback } from './rig.ts'

const ID = 'an-id-of-some-length'
const stored = { cookie: { originalMaxAge: null, expires: null }, user: 'alice' }

/** A store that answers as it is told to. */
class Told extends session.Store {
  readonly asked: unknown[][] = []

  constructor(readonly answer: (done: Callback) => unknown) {
    super()
  }
  override get(...asked: [string, Callback]): any {
    this.asked.push(['get', ...asked])
    return this.answer(asked[1])
  }
  override set(...asked: [string, object, Callback?]): any {
    this.asked.push(['set', ...asked])
    return this.answer(asked[2]!)
  }
  override destroy(...asked: [string, Callback?]): any {
    this.asked.push(['destroy', ...asked])
    return this.answer(asked[1]!)
  }
}

function backing(answer: (done: Callback) => unknown) {
  const clock = testClock()
  const store = new Told(answer)
  return { clock, store, backing: new Backing(store, clock, 2_000) }
}

describe('an entry', () => {
  test.each<[string, (done: Callback) => unknown]>([
    ['at once', (done) => done(null, stored)],
    ['later', (done) => setImmediate(done, null, stored)],
    ['without saying that nothing is wrong', (done) => done(undefined, stored)],
    ['by a promise as well', (done) => (done(null, stored), Promise.resolve('something'))],
    ['twice, the second time with an error', (done) => (done(null, stored), done(new Error('after all')))],
    ['and throws after it', (done) => { done(null, stored); throw new Error('after all') }],
    ['and rejects after it', (done) => (done(null, stored), Promise.reject(new Error('after all')))],
  ])('is had from a store that answers %s', async (_how, answer) => {
    expect(await backing(answer).backing.get(ID)).toMatchObject({ kind: 'session', id: ID, data: { user: 'alice' } })
    await settled()
  })

  test.each<[string, (done: Callback) => unknown]>([
    ['nothing', (done) => done()],
    ['null', (done) => done(null, null)],
    ['false', (done) => done(null, false)],
    ['text', (done) => done(null, 'entry')],
    ['ENOENT', (done) => done(Object.assign(new Error('none'), { code: 'ENOENT' }))],
    ['ENOENT together with something', (done) => done({ code: 'ENOENT' }, stored)],
    ['ENOENT, thrown', () => { throw Object.assign(new Error('none'), { code: 'ENOENT' }) }],
  ])('is none where the store answers %s', async (_what, answer) => {
    expect(await backing(answer).backing.get(ID)).toBeUndefined()
  })

  test('is what leads on, under an id that was replaced', async () => {
    const forward = { lineage: 's_l', to: 'the-next-id-of-that', untilMs: 5 }
    expect(await backing((done) => done(null, forwarding(stored.cookie, forward, 9))).backing.get(ID)).toEqual({ kind: 'forward', id: ID, forward })
  })
})

describe.each(['get', 'set', 'destroy'] as const)('%s', (operation) => {
  const run = (to: Backing): Promise<unknown> => (operation === 'set' ? to.set(ID, stored) : to[operation](ID))

  test.each<[string, (done: Callback) => unknown, string]>([
    ['answers with an error', (done) => done(new Error('down')), 'down'],
    ['throws', () => { throw new Error('down') }, 'down'],
    ['rejects in place of an answer', () => Promise.reject(new Error('down')), 'down'],
    ['says what is no error', (done) => done('down'), 'down'],
    ['says false in place of an error', (done) => done(false), 'false'],
    ['says first that it failed', (done) => (done(new Error('first')), done(null, stored)), 'first'],
  ])('fails where the store %s', async (_how, answer, message) => {
    const { backing: to } = backing(answer)
    const error = await failure(run(to))
    expect(error).toBeInstanceOf(SessionStoreError)
    expect(error.message).toBe(`the session store has failed: ${message}`)
  })

  test('fails when its time is over, also where an answer comes after that', async () => {
    let done: Callback | undefined
    const { backing: to, clock } = backing((given) => void (done = given))
    const failed = failure(run(to))
    clock.advance(1_999)
    const early = await Promise.race([failed, settled().then(() => 'waits')])
    clock.advance(1)
    expect([early, (await failed).message]).toEqual(['waits', 'the session store has failed: it has not answered in time'])
    done?.(null, stored)
    await settled()
  })

  test('leaves no timer behind where the store answers', async () => {
    const { backing: to, clock, store } = backing((done) => done(null, stored))
    await run(to)
    clock.advance(1_999)
    await run(to)
    clock.advance(1)
    expect(clock.pending).toBe(0)
    expect(store.asked.length).toBe(2)
  })

  test('asks nobody while the store says that it is disconnected, as express-session does', async () => {
    const { backing: to, store } = backing((done) => done(null, stored))
    store.emit('disconnect')
    expect((await failure(run(to))).message).toBe('the session store has failed: it is disconnected')
    expect(store.asked).toEqual([])
    store.emit('connect')
    await run(to)
    expect(store.asked.length).toBe(1)
  })
})

describe('what a store says of a failure', () => {
  test('is told without the session id, however it is written', async () => {
    const id = 's:id/with+signs==of-some-length'
    const own = Object.assign(new Error(`GET sess:${id} and ${encodeURIComponent(id)} of ${id}: no such key`), { code: 'ECONNRESET' })
    const error = (await failure(backing((done) => done(own)).backing.get(id))) as SessionStoreError
    expect([error.message, error.code]).toEqual(['the session store has failed: GET sess:*** and *** of ***: no such key', 'ECONNRESET'])
    for (const text of [inspect(error, { depth: 9, showHidden: true }), error.stack!, JSON.stringify(error)]) expect(text).not.toContain(id)
    expect(SessionStoreError.originalOf(error)).toBe(own)
  })

  test.each([[7, '7'], ['text', 'text'], [{}, '[object Object]'], [{ message: 5 }, '5']])('is told whatever it is (%p)', async (thrown, text) => {
    expect((await failure(backing((done) => done(thrown)).backing.get(ID))).message).toBe(`the session store has failed: ${text}`)
  })
})

test('what is put over the store later is not asked', async () => {
  const { backing: to, store } = backing((done) => done(null, stored))
  const trap = (): never => {
    throw new Error('asked')
  }
  Object.assign(store, { get: trap, set: trap, destroy: trap, createSession: trap })
  await to.get(ID)
  await to.set(ID, stored)
  await to.destroy(ID)
  expect(store.asked.map(([operation]) => operation)).toEqual(['get', 'set', 'destroy'])
})

test('a store is given the session object that express-session makes: some ask its cookie for more than is kept', async () => {
  const { backing: to, store } = backing((done) => done())
  const cookie = { originalMaxAge: 60_000, expires: new Date(Date.now() + 60_000).toISOString() }
  await to.set(ID, { ...stored, cookie })
  const given = store.asked[0]?.[2] as { id: string; cookie: { maxAge: number }; user: string; touch(): void }
  expect(given).toBeInstanceOf(session.Session)
  expect([given.id, given.user]).toEqual([ID, 'alice'])
  expect(given.cookie.maxAge).toBeGreaterThan(0)
  expect(cookie.expires).toEqual(expect.any(String))
})

test('a store that makes no session objects is given what there is', async () => {
  const asked: unknown[] = []
  const store = Object.assign(new EventEmitter(), {
    get: (_id: string, done: Callback) => done(),
    set: (_id: string, session: unknown, done: Callback) => (asked.push(session), done()),
    destroy: (_id: string, done: Callback) => done(),
  }) as unknown as SessionStore
  await new Backing(store, testClock(), 2_000).set(ID, stored)
  expect(asked).toEqual([stored])
})

describe('to prolong an entry', () => {
  test('is asked of a store that can', async () => {
    const touched: unknown[] = []
    const store = Object.assign(new Told((done) => done()), { touch: (id: string, _session: unknown, done: Callback) => (touched.push(id), done()) })
    expect(await new Backing(store, testClock(), 2_000).touch(ID, stored)).toBe(true)
    expect(touched).toEqual([ID])
  })
  test('is not asked of one that keeps no time', async () => {
    expect(await new Backing(new Told((done) => done()), testClock(), 2_000).touch(ID, stored)).toBe(false)
  })
  test('fails where the store does', async () => {
    const store = Object.assign(new Told((done) => done()), { touch: (_id: string, _session: unknown, done: Callback) => done(new Error('down')) })
    expect((await failure(new Backing(store, testClock(), 2_000).touch(ID, stored))).message).toBe('the session store has failed: down')
  })
})
