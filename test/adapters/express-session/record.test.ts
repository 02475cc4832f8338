import { describe, expect, test } from '@jest/globals'
import { createHash } from 'node:crypto'
import { baseOf, digest, entryOf, expiryOf, forwarding, isForward, isSessionId, lineageOf, marked, merged, unmarked } from '../../../adapters/express-session/record.ts'
import type { SessionData } from '../../../adapters/express-session/record.ts'
import { CountedStore } from './rig.ts'

const ID = 'an-id-of-some-length'
const cookie = { originalMaxAge: null, expires: null, httpOnly: true, path: '/' }

/** As a store of text does with an object. */
const throughJson = <T>(value: T): T => JSON.parse(JSON.stringify(value)) as T

describe('an entry', () => {
  const mark = { lineage: 's_l', sinceMs: 5, bornMs: 3, graceUntilMs: 9 }

  test('comes back as it was, with the mark beside it and not in it', () => {
    const entry = entryOf(ID, throughJson(marked({ cookie, user: 'alice', cart: [1] }, mark)))
    expect(entry).toEqual({ kind: 'session', id: ID, stored: { cookie, user: 'alice', cart: [1] }, data: { user: 'alice', cart: [1] }, mark, expiresAtMs: Infinity })
  })

  test('that nobody has marked is of the lineage of its id, is to have another one soon, and has no grace', () => {
    expect(entryOf(ID, { cookie })).toMatchObject({ kind: 'session', mark: { lineage: lineageOf(ID), sinceMs: 0, bornMs: 0 } })
    expect((entryOf(ID, { cookie }) as { mark: object }).mark).not.toHaveProperty('graceUntilMs')
  })

  test.each([['text'], [null], [7], [[]], [{ lineage: 4, sinceMs: '5', bornMs: NaN, graceUntilMs: 'soon' }], [{ to: 'somewhere' }]])('with %p in the place of the mark is taken for one that nobody has marked', (own) => {
    expect(entryOf(ID, { cookie, user: 'alice', __portcullis: own })).toMatchObject({ kind: 'session', data: { user: 'alice' }, mark: { lineage: lineageOf(ID), sinceMs: 0, bornMs: 0 } })
  })

  test('shows the application no mark', () => {
    expect(unmarked(marked({ cookie, user: 'alice' }, mark))).toEqual({ cookie, user: 'alice' })
  })

  test('without a cookie does not end, and one with a cookie ends when that does', () => {
    expect(entryOf(ID, {} as never)).toMatchObject({ kind: 'session', expiresAtMs: Infinity, data: {} })
    expect(entryOf(ID, { cookie: { expires: '2030-01-01T00:00:00.000Z' } })).toMatchObject({ expiresAtMs: Date.UTC(2030, 0, 1) })
  })

  test.each([
    [new Date(5), 5],
    ['1970-01-01T00:00:00.007Z', 7],
    ['not a date', Infinity],
    [new Date(NaN), Infinity],
    [null, Infinity],
    [undefined, Infinity],
    [true, Infinity],
    [5, Infinity],
  ])('whose cookie expires at %p ends at %p', (expires, at) => {
    expect(expiryOf(expires)).toBe(at)
  })
})

describe('what stands under an id that was replaced', () => {
  const forward = { lineage: 's_l', to: 'the-next-id-of-that', untilMs: 77 }

  test('leads to the next one, holds nothing of the session, and is kept until it is known for what it is no more', () => {
    const stored = forwarding({ ...cookie, originalMaxAge: 60_000 }, forward, 5_000)
    expect(stored).toEqual({ cookie: { ...cookie, originalMaxAge: null, expires: new Date(5_000) }, __portcullis: forward })
    expect(entryOf(ID, throughJson(stored))).toEqual({ kind: 'forward', id: ID, forward })
    expect(isForward(stored)).toBe(true)
  })

  test.each([[{ cookie }], [marked({ cookie }, { lineage: 'x', sinceMs: 1, bornMs: 1 })], [null], [undefined], ['text'], [{ __portcullis: null }]])('is not %p', (stored) => {
    expect(isForward(stored)).toBe(false)
  })

  test('comes back from the memory store of express-session, as a session does', async () => {
    const store = new CountedStore()
    const ask = (id: string): Promise<any> => new Promise((resolve, reject) => store.get(id, (error, found) => (error ? reject(error) : resolve(found))))
    const untilMs = Date.now() + 60_000
    store.set(ID, forwarding(cookie, { ...forward, untilMs }, untilMs) as never)
    store.set('another-id-of-length', marked({ cookie, user: 'alice' }, { lineage: 's_l', sinceMs: 1, bornMs: 2 }) as never)
    expect(entryOf(ID, await ask(ID))).toMatchObject({ kind: 'forward', forward: { ...forward, untilMs } })
    expect(entryOf('another-id-of-length', await ask('another-id-of-length'))).toMatchObject({ kind: 'session', data: { user: 'alice' }, mark: { lineage: 's_l', sinceMs: 1, bornMs: 2 } })
  })
})

describe('names', () => {
  test('of a lineage and of an id say nothing of the id, and are not each other', () => {
    expect(lineageOf(ID)).toMatch(/^s_[\w-]{43}$/)
    expect(digest(ID)).toMatch(/^[\w-]{43}$/)
    expect(new Set([lineageOf(ID), `s_${digest(ID)}`, lineageOf(`${ID}.`), `s_${createHash('sha256').update(ID).digest('base64url')}`]).size).toBe(4)
    expect(lineageOf(ID)).toBe(lineageOf(ID))
  })

  test.each(['sixteen-letters.', 'A-Za-z0-9_-.~:+/=', 'x'.repeat(256)])('%p may be an id', (id) => {
    expect(isSessionId(id)).toBe(true)
  })

  test.each(['fifteen-letters', 'x'.repeat(257), 'with a blank in it', 'with-a-star-in-it*', 'with\n-a-line-in-it', 'with-a-line-behind\n', '__defineGetter__', 'hasOwnProperty-\u00e9', '', undefined, null, ['sixteen-letters.']])('%p may not', (id) => {
    expect(isSessionId(id)).toBe(false)
  })
})

describe('two who have changed the same session', () => {
  const merge = (before: SessionData, now: SessionData, mine: SessionData): object => merged(baseOf(before), now, mine)

  test.each<[string, SessionData, SessionData, SessionData, SessionData]>([
    ['each another field', { a: 1, b: 1 }, { a: 2, b: 1 }, { a: 1, b: 2 }, { a: 2, b: 2 }],
    ['each a new field', {}, { a: 1 }, { b: 1 }, { a: 1, b: 1 }],
    ['one took a field away that the other left alone', { a: 1, b: 1 }, { a: 1, b: 1 }, { b: 1 }, { b: 1 }],
    ['the other took one away that this one left alone', { a: 1, b: 1 }, { b: 1 }, { a: 1, b: 1 }, { b: 1 }],
    ['both took one away', { a: 1 }, {}, {}, {}],
    ['this one changed what the other took away', { a: 1 }, {}, { a: 2 }, { a: 2 }],
    ['this one took away what the other changed', { a: 1 }, { a: 2 }, {}, {}],
    ['both changed the same: the last one', { a: 1 }, { a: 2 }, { a: 3 }, { a: 3 }],
    ['something deep inside', { a: { x: [1] } }, { a: { x: [1] }, b: 1 }, { a: { x: [2] } }, { a: { x: [2] }, b: 1 }],
    ['to nothing: null is a value', { a: 1 }, { a: 1 }, { a: null }, { a: null }],
  ])('%s', (_what, before, now, mine, both) => {
    expect(merge(before, now, mine)).toEqual(both)
  })

  /** Data of few fields with few values, so that all that can happen does. */
  const random = (() => {
    let state = 42
    return (below: number): number => {
      state = (state * 48_271) % 2_147_483_647
      return state % below
    }
  })()
  const VALUES = [0, 1, null, '', 'x', [], [1], {}, { deep: 1 }]
  const FIELDS = ['a', 'b', 'c', 'd', 'constructor', 'toString']
  const some = (): SessionData => Object.fromEntries(FIELDS.filter(() => random(3) > 0).map((field) => [field, VALUES[random(VALUES.length)]]))
  const trials = Array.from({ length: 500 }, () => [some(), some(), some()] as const)

  test('whoever changes nothing undoes nothing', () => {
    for (const [before, now] of trials) expect(merge(before, now, throughJson(before))).toEqual(now)
  })
  test('alone, gets what it wrote', () => {
    for (const [before, , mine] of trials) expect(merge(before, throughJson(before), mine)).toEqual(mine)
  })
  test('what nobody has touched stays; what one has touched is as that one has it; of what both have, the last counts', () => {
    const differs = (a: SessionData, b: SessionData, field: string): boolean => JSON.stringify(Object.hasOwn(a, field) ? a[field] : undefined) !== JSON.stringify(Object.hasOwn(b, field) ? b[field] : undefined)
    for (const [before, now, mine] of trials) {
      const both = merge(before, now, mine) as SessionData
      for (const field of FIELDS) {
        const source = differs(before, mine, field) ? mine : now
        expect([field, differs(both, source, field)]).toEqual([field, false])
      }
    }
  })
  test('whatever they read stays as it was', () => {
    const [before, now, mine] = [{ a: 1, b: 2 }, Object.freeze({ a: 1, b: 3 }), Object.freeze({ a: 2 })]
    merge(before, now, mine)
    expect([before, now, mine]).toEqual([{ a: 1, b: 2 }, { a: 1, b: 3 }, { a: 2 }])
  })

  test('a field that is called as what every object has is a field', () => {
    const mine = JSON.parse('{ "__proto__": { "admin": true }, "b": 1 }') as SessionData
    const both = merge({}, {}, mine) as Record<string, unknown>
    expect(JSON.stringify(both)).toBe('{"__proto__":{"admin":true},"b":1}')
    expect(both['admin']).toBeUndefined()
    expect(Object.getPrototypeOf(both)).toBe(Object.prototype)
  })
})
