import { describe, expect, test } from '@jest/globals'
import { canonicalText, isPlain } from '../../lib/plain.ts'

describe('a canonical text', () => {
  test('is the same for equal values, and is JSON', () => {
    const value = { b: [1, 'two', null, true, { d: {}, c: [] }], a: -0.5, '"': '"' }
    const text = canonicalText(value)
    expect(text).toBe(canonicalText({ '"': '"', a: -0.5, b: [1, 'two', null, true, { c: [], d: {} }] }))
    expect(JSON.parse(text!)).toEqual(value)
  })

  test.each<[unknown, unknown]>([
    [1, '1'],
    [null, 'null'],
    [[1, 2], [2, 1]],
    [[[1], 2], [1, [2]]],
    [{ a: 1 }, { a: '1' }],
    [{ a: { b: 1 } }, { 'a.b': 1 }],
    ['a","b', ['a', 'b']],
    ['\ud800', '\udfff'],
  ])('of %j is another than that of %j', (one, other) => {
    expect(canonicalText(one)).not.toBe(canonicalText(other))
  })

  test('keeps a key that would change a prototype', () => {
    const text = canonicalText(JSON.parse('{"__proto__":{"a":1}}'))
    expect(text).toBe('{"__proto__":{"a":1}}')
  })

  const circle: unknown[] = []
  circle.push(circle)
  test.each<[string, unknown]>([
    ['undefined', undefined],
    ['a number that JSON does not have', NaN],
    ['an infinite one', -Infinity],
    ['the negative zero', -0],
    ['a big number', 1n],
    ['a function', () => 1],
    ['a symbol', Symbol('a')],
    ['a date', new Date(0)],
    ['a regular expression', /a/],
    ['a map', new Map()],
    ['an instance', new (class {})()],
    ['an object without a prototype', Object.create(null)],
    ['a list with a hole', Array(1)],
    ['a list with more than items', Object.assign([1], { extra: 1 })],
    ['a list of a class of its own', new (class extends Array {})()],
    ['an object with a symbol', { [Symbol('a')]: 1 }],
    ['an object with a hidden property', Object.defineProperty({}, 'a', { value: 1 })],
    ['a circle', circle],
  ])('does not exist for %s, nor for what contains it', (_, value) => {
    expect(canonicalText(value)).toBeUndefined()
    expect(canonicalText([{ a: value }])).toBeUndefined()
  })
})

test('a plain object is one that a literal or JSON makes', () => {
  for (const value of [{}, { a: 1 }, Object.create(null), JSON.parse('{"__proto__":1}')]) expect(isPlain(value)).toBe(true)
  for (const value of [undefined, null, 1, 'a', [], new Date(), new Map(), new (class {})(), Object.create({}), () => 1]) expect(isPlain(value)).toBe(false)
})
