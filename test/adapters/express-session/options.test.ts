import { createSecretKey } from 'node:crypto'
import { describe, expect, test } from '@jest/globals'
import session from 'express-session'
import { checkOptions, checkOwner, textsOf } from '../../../adapters/express-session/options.ts'
import { memoryStore } from '../../../adapters/memory.ts'
import { ConfigError } from '../../../lib/errors.ts'

const secret = 'a secret'

function good() {
  const store = new session.MemoryStore()
  return { middleware: session({ store, secret, resave: false, saveUninitialized: false }), store, secret }
}

const check = (more: object): (() => void) => () => checkOptions({ ...good(), ...more } as never)

test.each([
  {},
  { name: 'sid' },
  { user: () => undefined },
  { freshMs: 1, recheckMs: 1, touchEveryMs: 1, timeoutMs: 1, rotateEveryMs: 1, graceMs: 10 },
  { freshMs: 2_147_483_647 },
  { rotateEveryMs: 1_000, graceMs: 10_000 },
  { renewPath: '/a/b-c_d.e~f' },
  { concurrent: { limit: 1, full: 'refuse' } },
  { concurrent: { limit: 3, full: 'end-oldest' } },
  { watch: () => () => {} },
  { gateStore: memoryStore() },
  { dangerouslyWithoutCsrf: true },
])('%p is taken', (more) => {
  expect(check(more)).not.toThrow()
})

test.each<[string, unknown, RegExp]>([
  ['options', undefined, /middleware, store, secret/],
  ['options', null, /middleware, store, secret/],
  ['options', 'text', /middleware, store, secret/],
])('%s that are %p are not', (_what, options, message) => {
  expect(() => checkOptions(options as never)).toThrow(ConfigError)
  expect(() => checkOptions(options as never)).toThrow(message)
})

test.each<[object, RegExp]>([
  [{ cookieName: 'sid' }, /unknown option "cookieName".*middleware, store, secret, name/],
  [{ middleware: undefined }, /middleware is what session/],
  [{ store: undefined }, /new session\.MemoryStore\(\)/],
  [{ store: {} }, /store of express-session/],
  [{ store: memoryStore() }, /store of express-session/],
  [{ store: new session.MemoryStore() }, /not the one that the middleware was made with/],
  [{ user: 'id' }, /user is a function/],
  ...['freshMs', 'recheckMs', 'touchEveryMs', 'timeoutMs', 'rotateEveryMs', 'graceMs'].flatMap((name): [object, RegExp][] => [0, -1, 0.5, NaN, Infinity, 2_147_483_648, '5', null].map((value) => [{ [name]: value }, new RegExp(`${name} is a number of milliseconds`)])),
  [{ rotateEveryMs: 1_000, graceMs: 10_001 }, /graceMs is longer/],
  ...['', '/', 'session/renew', '/a/', '/./a', '/a/../b', '/a//b', '//evil.example/renew', '/a?b', '/a b', '/a#b', '/\u00e9', '/a\n', 7, null].map((renewPath): [object, RegExp] => [{ renewPath }, /renewPath is a path/]),
  ...[null, 3, {}, { limit: 3 }, { full: 'refuse' }, { limit: 0, full: 'refuse' }, { limit: 1.5, full: 'refuse' }, { limit: '3', full: 'refuse' }, { limit: 3, full: 'oldest' }, { limit: 3, full: 'refuse', by: 'user' }].map(
    (concurrent): [object, RegExp] => [{ concurrent }, /concurrent is \{ limit, full \}/],
  ),
  [{ watch: true }, /watch is a function/],
  [{ gateStore: {} }, /gateStore is the store that the gates have/],
  [{ gateStore: null }, /gateStore is the store/],
])('%p is not, and it is said what to write', (more, message) => {
  expect(check(more)).toThrow(ConfigError)
  expect(check(more)).toThrow(message)
})

test.each([{ subject: 'alice' }, { subject: 'alice', issuer: 'https://id.example' }, { subject: 'alice', issuer: undefined }])('%p may have sessions', (owner) => {
  expect(() => checkOwner(owner)).not.toThrow()
})

test.each([undefined, null, 'alice', {}, { subject: '' }, { subject: 7 }, { subject: 'alice', issuer: 7 }, { subject: 'alice', issuer: null }, ['alice']])('%p is nobody', (owner) => {
  expect(() => checkOwner(owner)).toThrow(TypeError)
})

describe('secrets as text', () => {
  test('are the text itself, and the bytes whatever holds them', () => {
    const bytes = Buffer.from([0, 255, 128])
    expect(textsOf(['a secret'])).toEqual(['a secret'])
    expect(new Set(textsOf([bytes, new Uint8Array(bytes), createSecretKey(bytes)])).size).toBe(1)
  })
  test('are not those of other bytes, nor of the text that they look like', () => {
    const texts = textsOf([Buffer.from([0xff]), Buffer.from([0xfe]), '\ufffd', Buffer.from('a'), 'a'])
    expect(new Set(texts).size).toBe(5)
  })
})
