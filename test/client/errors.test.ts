import { describe, expect, test } from '@jest/globals'
import { codes } from 'portcullis'
import { ConnectionError, GateError, isRefusal } from 'portcullis/client'
import { CREDENTIAL_CODES, RETRYABLE_CODES, Spent } from '../../client/reading.ts'

test('the client takes for retryable what the table of codes does, and for a matter of credentials what is unauthorized', () => {
  const entries = Object.entries(codes)
  expect([...RETRYABLE_CODES].sort()).toEqual(entries.filter(([, { retryable }]) => retryable).map(([code]) => code).sort())
  expect([...CREDENTIAL_CODES].sort()).toEqual(entries.filter(([, { status }]) => status === 401).map(([code]) => code).sort())
})

describe('isRefusal', () => {
  test.each([[{ code: 'FORBIDDEN', message: '', id: '' }], [{ code: 'OF_LATER', message: 'x', id: 'y', details: {} }], [new GateError({ code: 'REVOKED', message: 'x', id: 'y' })]])('%p is one', (value) => {
    expect(isRefusal(value)).toBe(true)
  })

  test.each([[undefined], [null], ['FORBIDDEN'], [7], [[]], [{}], [{ code: 'FORBIDDEN' }], [{ code: 'forbidden', message: '', id: '' }], [{ code: '', message: '', id: '' }], [{ code: ['FORBIDDEN'], message: '', id: '' }], [{ code: 'FORBIDDEN', message: 7, id: '' }], [{ code: 'FORBIDDEN', message: '' }]])('%p is none', (value) => {
    expect(isRefusal(value)).toBe(false)
  })
})

test('errors are errors, with a name, a text and a cause', () => {
  const cause = new Error('below')
  const error = new ConnectionError('UNREACHABLE', cause)
  expect(error).toBeInstanceOf(Error)
  expect([error.name, error.code, error.message, error.cause]).toEqual(['ConnectionError', 'UNREACHABLE', 'The server could not be reached.', cause])
  expect(String(new GateError({ code: 'REVOKED', message: 'Access has been revoked.', id: 'y' }))).toBe('GateError: Access has been revoked.')
})

describe('refused credentials', () => {
  test('are known again by what would be sent', () => {
    const spent = new Spent()
    spent.add({ a: 1, b: { c: [1, { d: 2, e: 3 }] }, f: undefined })
    expect(spent.has({ b: { c: [1, { e: 3, d: 2 }] }, a: 1 })).toBe(true)
    for (const other of [{}, { a: 1 }, { a: '1', b: { c: [1, { d: 2, e: 3 }] } }, { a: 1, b: { c: [{ d: 2, e: 3 }, 1] } }, { a: 1, b: { c: { 0: 1, 1: { d: 2, e: 3 } } } }]) expect(spent.has(other)).toBe(false)
    spent.add(JSON.parse('{"__proto__":{"x":1}}') as object)
    expect(spent.has({})).toBe(false)
  })

  test('are kept while they are few, the latest ones', () => {
    const spent = new Spent()
    for (let n = 0; n < 20; n++) spent.add({ n })
    expect([spent.has({ n: 3 }), spent.has({ n: 4 }), spent.has({ n: 19 })]).toEqual([false, true, true])
  })
})
