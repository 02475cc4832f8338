import { describe, expect, test } from '@jest/globals'
import { ConfigError, memoryStore } from 'portcullis'
import type { Store } from 'portcullis'
import { applies, canonicalTokenId, checkRevocation, isSought, keyOf, keysOf, keysOfTarget, lifeOf, recordOf, revokedBy, sessionsOf, soughtBy, together } from '../../lib/revocation.ts'
import { base64url } from '../support/tokens.ts'

const DAY = 86_400_000
/** A margin for clocks, and for the five minutes a scheme may tolerate. */
const MARGIN = 360_000
const jws = (payload: object | string, signature = 'c2ln'): string => `${base64url({ alg: 'HS256' })}.${base64url(payload)}.${signature}`
const factsOf = (principal: object, more: object = {}): object => ({ principal: { subject: 'alice', claims: {}, factors: [], expiresAtMs: 'never', ...principal }, ...more })

/** A target as it is looked for first. */
const only = (target: Parameters<typeof soughtBy>[0]) => {
  const { all, expiresAtMs } = soughtBy(target)
  return { ...all[0]!, expiresAtMs }
}

describe('a target', () => {
  test.each([
    [{ subject: 'alice' }, { kind: 'subject', id: 'alice', issuer: undefined }],
    [{ subject: 'alice', issuer: 'idp' }, { kind: 'subject', id: 'alice', issuer: 'idp' }],
    [{ session: 's' }, { kind: 'session', id: 's', issuer: undefined }],
    [{ token: 'jti-1' }, { kind: 'token', id: 'jti-1', issuer: undefined, expiresAtMs: undefined }],
    [{ socket: 'x' }, { kind: 'socket', id: 'x', issuer: undefined }],
    [{ socket: { id: 'x', connected: true } }, { kind: 'socket', id: 'x', issuer: undefined }],
  ])('%j is what it names', (target, sought) => {
    expect(only(target as never)).toEqual({ ...sought, expiresAtMs: undefined })
  })

  test.each([
    [undefined],
    [null],
    ['alice'],
    [{}],
    [{ subject: '' }],
    [{ subject: 7 }],
    [{ subject: null }],
    [{ subject: 'a', token: 'b' }],
    [{ subject: 'a', issuer: '' }],
    [{ subject: 'a', issuer: 7 }],
    [{ token: 'b', issuer: 'idp' }],
    [{ issuer: 'idp' }],
    [{ token: { id: 'x' } }],
    [{ session: '' }],
    [{ socket: {} }],
    [{ socket: null }],
    [{ user: 'alice' }],
    [{ subject: 'alice', sesion: 's' }],
  ])('%j is none', (target) => {
    expect(() => only(target as never)).toThrow(ConfigError)
  })

  test('a whole JWT is its jti, and ends when it says', () => {
    expect(only({ token: jws({ jti: 'one', exp: 1_000 }) })).toMatchObject({ id: 'one', expiresAtMs: 1_000_000 })
  })

  test('a JWT without a jti is what was signed, however its signature is written', () => {
    const [one, other] = [jws({ sub: 'a' }, 'AAAA'), jws({ sub: 'a' }, 'AAAB')]
    expect(only({ token: one })).toMatchObject({ id: canonicalTokenId(one), expiresAtMs: undefined })
    expect(canonicalTokenId(one)).toBe(canonicalTokenId(other))
    expect(canonicalTokenId(one)).not.toBe(canonicalTokenId(jws({ sub: 'b' }, 'AAAA')))
    expect(canonicalTokenId('no dots')).toMatch(/^sha256:[\w-]{43}$/)
  })

  test.each([['a.b.c'], ['a.bnVsbA.c'], [`a.${base64url('[]')}.c`.slice(0, 4)], ['a..c'], ['a.b'], [`${base64url({})}.${base64url({ jti: '' })}.`], ['ünï.cödé.x']])('%s is an id like any other', (token) => {
    expect(only({ token })).toMatchObject({ id: token, expiresAtMs: undefined })
  })

  test.each([[{ jti: 7 }], [{ jti: '' }], [{ jti: null }]])('a JWT whose jti is none (%j) is what was signed', (claims) => {
    const token = jws(claims)
    expect(only({ token })).toMatchObject({ id: canonicalTokenId(token) })
  })

  test('an exp that is no time says nothing', () => {
    for (const exp of ['1000', null, {}]) expect(only({ token: jws({ jti: 'one', exp }) })).toMatchObject({ expiresAtMs: undefined })
  })
})

describe('the options', () => {
  test.each([
    [undefined],
    [null],
    [{}],
    [{ reason: '' }],
    [{ reason: 7 }],
    [{ reason: 'x'.repeat(257) }],
    [{ reason: 'x', forMs: 0 }],
    [{ reason: 'x', forMs: -1 }],
    [{ reason: 'x', forMs: NaN }],
    [{ reason: 'x', forMs: Infinity }],
    [{ reason: 'x', forMs: '60' }],
    [{ reason: 'x', issuedBefore: NaN }],
    [{ reason: 'x', issuedBefore: new Date() }],
    [{ reason: 'x', until: 1 }],
  ])('%j are refused', (options) => {
    expect(() => checkRevocation(options as never)).toThrow(ConfigError)
  })

  test('a reason and times are taken', () => {
    expect(() => checkRevocation({ reason: 'x'.repeat(256), forMs: 1, issuedBefore: 0 })).not.toThrow()
  })
})

describe('who is meant', () => {
  test('a subject of any issuer, or of one', () => {
    const facts = factsOf({ issuer: 'idp' })
    expect(isSought({ kind: 'subject', id: 'alice', issuer: undefined }, facts, 's')).toBe(true)
    expect(isSought({ kind: 'subject', id: 'alice', issuer: 'idp' }, facts, 's')).toBe(true)
    expect(isSought({ kind: 'subject', id: 'alice', issuer: 'other' }, facts, 's')).toBe(false)
    expect(isSought({ kind: 'subject', id: 'bob', issuer: undefined }, facts, 's')).toBe(false)
    expect(isSought({ kind: 'subject', id: 'alice', issuer: 'idp' }, factsOf({}), 's')).toBe(false)
  })

  test('a token, a session, a socket', () => {
    const facts = factsOf({ tokenId: 't', claims: { sid: 'sess' } })
    expect(isSought({ kind: 'token', id: 't', issuer: undefined }, facts, 's')).toBe(true)
    expect(isSought({ kind: 'token', id: 's', issuer: undefined }, facts, 's')).toBe(false)
    expect(isSought({ kind: 'session', id: 'sess', issuer: undefined }, facts, 's')).toBe(true)
    expect(isSought({ kind: 'session', id: 't', issuer: undefined }, facts, 's')).toBe(false)
    expect(isSought({ kind: 'socket', id: 's', issuer: undefined }, facts, 's')).toBe(true)
    expect(isSought({ kind: 'socket', id: 't', issuer: undefined }, facts, 's')).toBe(false)
  })

  test('never somebody without a name', () => {
    for (const facts of [{}, { principal: undefined }, { principal: null }]) {
      expect(isSought({ kind: 'subject', id: 'undefined', issuer: undefined }, facts, 's')).toBe(false)
      expect(isSought({ kind: 'token', id: 'undefined', issuer: undefined }, facts, 's')).toBe(false)
      expect(keysOf(facts)).toEqual([])
    }
  })

  test('the session of an adapter, and that of the identity provider', () => {
    expect(sessionsOf(factsOf({ claims: { sid: 'theirs' } }))).toEqual(['theirs'])
    expect(sessionsOf(factsOf({ claims: { sid: 'theirs' } }, { session: { id: 'ours' } }))).toEqual(['ours', 'theirs'])
    expect(sessionsOf(factsOf({ claims: { sid: 'one' } }, { session: { id: 'one' } }))).toEqual(['one'])
    expect(sessionsOf(factsOf({ claims: { sid: 7 } }, { session: null }))).toEqual([])
    expect(sessionsOf({})).toEqual([])
  })

  test('a token may be given as it is known, or whole', () => {
    const whole = jws({ jti: 'one' })
    expect(soughtBy({ token: whole }).all.map(({ id }) => id)).toEqual(['one', canonicalTokenId(whole)])
    expect(soughtBy({ token: 'opaque.text' }).all.map(({ id }) => id)).toEqual(['opaque.text', canonicalTokenId('opaque.text')])
    expect(canonicalTokenId('opaque.text')).not.toBe(canonicalTokenId('opaque.other'))
  })

  test('what is kept names no token', () => {
    for (const key of soughtBy({ token: 'an-opaque-token' }).all.flatMap(keysOfTarget)) expect(key).not.toContain('opaque')
  })

  test('every key a target may be kept under is one that a peer it means is looked up by', () => {
    const facts = factsOf({ issuer: 'idp', tokenId: 't', claims: { sid: 'sess' } })
    const keys = keysOf(facts)
    for (const target of [{ subject: 'alice' }, { subject: 'alice', issuer: 'idp' }, { token: 't' }, { session: 'sess' }]) {
      const sought = only(target)
      expect(keysOfTarget(sought)).toEqual([keyOf(sought, undefined), keyOf(sought, 5)])
      for (const key of keysOfTarget(sought)) expect(keys).toContain(key)
    }
    expect(keys).toHaveLength(new Set(keys).size)
    expect(keysOfTarget(only({ socket: 's' }))).toEqual([])
  })

  test('no two targets share a key, whatever they are named', () => {
    const targets = [{ subject: 'a' }, { subject: 'a', issuer: 'b' }, { subject: 'b', issuer: 'a' }, { subject: '["b","a"]' }, { subject: 'a","b' }, { token: 'a' }, { session: 'a' }, { token: 'subject:a' }]
    const keys = targets.flatMap((target) => keysOfTarget(only(target)))
    expect(new Set(keys).size).toBe(keys.length)
  })

  test('who signed in after it may be spared, by what its credential says of that', () => {
    expect(applies({ issuedBefore: undefined }, factsOf({ claims: { iat: 9e9 } }))).toBe(true)
    expect(applies({ issuedBefore: 5_000 }, factsOf({ claims: { iat: 4 } }))).toBe(true)
    expect(applies({ issuedBefore: 5_000 }, factsOf({ claims: { iat: 4.999 } }))).toBe(true)
    expect(applies({ issuedBefore: 5_000 }, factsOf({ claims: { iat: 5 } }))).toBe(false)
    for (const iat of [undefined, '9', NaN, null]) expect(applies({ issuedBefore: 5_000 }, factsOf({ claims: { iat } }))).toBe(true)
  })
})

describe('how long it is remembered', () => {
  const token = only({ token: 't' })
  const subject = only({ subject: 'alice' })
  test.each([
    ['as long as was said', token, [9_000], 5, 5],
    ['a token until it ends, and a little longer', token, [1_000_000, undefined, 500_000], undefined, 1_000_000 - 1_000 + MARGIN],
    ['a token that is over for a little while', token, [10], undefined, MARGIN],
    ['a token of which nothing is known for a month', token, [], undefined, 30 * DAY],
    ['a token that never ends for ten years', token, ['never', 5], undefined, 3_650 * DAY],
    ['a subject for a month, whatever ends earlier', subject, [2_000], undefined, 30 * DAY],
    ['a subject as long as the longest of its credentials', subject, [90 * DAY, 2_000], undefined, 90 * DAY - 1_000 + MARGIN],
    ['a subject with a credential that never ends for ten years', subject, ['never'], undefined, 3_650 * DAY],
  ] as const)('%s', (_title, sought, ends, forMs, life) => {
    expect(lifeOf(sought, ends, 1_000, forMs)).toBe(life)
  })
})

describe('a second revocation', () => {
  const first = (options: { reason: string; issuedBefore?: number }, untilMs: number): string => recordOf(options, untilMs)

  test('takes nothing back of the first', () => {
    expect(together({ reason: 'b', issuedBefore: 5 }, 100, first({ reason: 'a', issuedBefore: 9 }, 50))).toEqual({ options: { reason: 'b', issuedBefore: 9 }, untilMs: 100 })
    expect(together({ reason: 'b', issuedBefore: 9 }, 10, first({ reason: 'a', issuedBefore: 5 }, 50))).toEqual({ options: { reason: 'b', issuedBefore: 9 }, untilMs: 50 })
    expect(together({ reason: 'b' }, 10, first({ reason: 'a' }, 50))).toEqual({ options: { reason: 'b' }, untilMs: 50 })
  })

  test('is the only one where there was none, or none that can be read', () => {
    expect(together({ reason: 'b' }, 10, undefined)).toEqual({ options: { reason: 'b' }, untilMs: 10 })
    expect(together({ reason: 'b' }, 10, 'x')).toEqual({ options: { reason: 'b' }, untilMs: 10 })
  })
})

describe('asking the store', () => {
  const facts = factsOf({ tokenId: 't', issuer: 'idp' })

  test('is one operation, and in memory answers at once', async () => {
    const asked: string[] = []
    const store = new Proxy(memoryStore(), { get: (target, key) => (...args: unknown[]) => (asked.push(String(key)), (Reflect.get(target, key) as (...all: unknown[]) => unknown).apply(target, args)) })
    expect(revokedBy(store, facts)).toBeUndefined()
    await store.set(keyOf(only({ token: 't' }), undefined)!, recordOf({ reason: 'stolen' }, 1_000), 1_000)
    expect(revokedBy(store, facts)).toMatchObject({ code: 'REVOKED', cause: 'stolen', details: undefined })
    expect(asked).toEqual(['getMany', 'set', 'getMany'])
  })

  test('is not done for nobody', () => {
    const store = {} as Store
    expect(revokedBy(store, {})).toBeUndefined()
  })

  test('what spares who came later lifts nothing that does not', async () => {
    const store = memoryStore()
    const late = factsOf({ claims: { iat: 10 } })
    const sought = only({ subject: 'alice' })
    await store.set(keyOf(sought, 5_000)!, recordOf({ reason: 'password changed', issuedBefore: 5_000 }, 1_000), 1_000)
    expect(revokedBy(store, late)).toBeUndefined()
    expect(revokedBy(store, factsOf({}))).toMatchObject({ code: 'REVOKED' })
    await store.set(keyOf(sought, undefined)!, recordOf({ reason: 'banned' }, 1_000), 1_000)
    expect(revokedBy(store, late)).toMatchObject({ code: 'REVOKED', cause: 'banned' })
  })

  test('whatever stands under the key stands for a revocation', async () => {
    for (const record of ['', 'x', '{', 'null', '7', '[]', '{"issuedBefore":"never"}']) {
      const store = memoryStore()
      await store.set(keyOf(only({ token: 't' }), undefined)!, record, 1_000)
      expect([record, revokedBy(store, facts)]).toMatchObject([record, { code: 'REVOKED' }])
    }
  })

  test('a store that cannot say refuses', async () => {
    const broken = (getMany: () => unknown): Store => ({ getMany }) as unknown as Store
    const throws = broken(() => {
      throw new Error('down')
    })
    expect(revokedBy(throws, facts)).toMatchObject({ code: 'UNAVAILABLE' })
    expect(await revokedBy(broken(async () => Promise.reject(new Error('down'))), facts)).toMatchObject({ code: 'UNAVAILABLE' })
    for (const nonsense of ['nonsense', [], [undefined], {}, 7, null]) expect(await revokedBy(broken(async () => nonsense), facts)).toMatchObject({ code: 'UNAVAILABLE' })
    expect(await revokedBy(broken(async () => undefined), facts)).toMatchObject({ code: 'UNAVAILABLE' })
  })
})
