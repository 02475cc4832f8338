import { describe, expect, test } from '@jest/globals'
import vm from 'node:vm'
import { ConfigError } from '../../lib/errors.ts'
import { ARGS, ATTACHMENTS, breach, BYTES, defaultLimits, DEPTH, KEYS, measure, PROTOTYPE, resolveLimits } from '../../lib/limits.ts'

const check = (args: readonly unknown[], limits: Partial<typeof defaultLimits> = {}): number => measure(args, { ...defaultLimits, ...limits })

const nested = (depth: number): unknown => {
  let value: unknown = 1
  for (let i = 0; i < depth; i++) value = [value]
  return value
}

describe('what is let through', () => {
  test('is measured in characters of text, bytes of binary data and elements of lists', () => {
    expect(check([])).toBe(0)
    expect(check([1, true, null, undefined])).toBe(0)
    expect(check(['abc', { de: 'fg' }, ['h', 1]])).toBe(10)
    expect(check([Buffer.alloc(10), new Uint8Array(5), new ArrayBuffer(3)])).toBe(18)
  })

  test('is what parsers make: plain objects, objects without a prototype, lists, dates, binary data', () => {
    expect(check([{ a: [{ b: 1 }] }, Object.assign(Object.create(null), { c: 1 }), new Date(0), { at: new Date(), file: Buffer.from('x') }])).toBeGreaterThan(0)
  })

  test('may hold an own constructor that is no object', () => {
    expect(check([{ constructor: 'name' }, { constructor: 7 }])).toBeGreaterThan(0)
  })

  test('may hold the same value twice', () => {
    const shared = { a: 1 }
    expect(check([[shared, shared]])).toBeGreaterThanOrEqual(0)
  })
})

describe('depth', () => {
  test('of 10,000 is refused, and costs no stack', () => {
    expect(check([nested(10_000)])).toBe(DEPTH)
    expect(check([JSON.parse('['.repeat(10_000) + ']'.repeat(10_000))])).toBe(DEPTH)
  })

  test('is counted in levels', () => {
    expect(check([nested(3)], { maxDepth: 3 })).toBeGreaterThanOrEqual(0)
    expect(check([nested(4)], { maxDepth: 3 })).toBe(DEPTH)
    expect(check([{ a: { b: {} } }], { maxDepth: 3 })).toBeGreaterThanOrEqual(0)
    expect(check([{ a: { b: { c: {} } } }], { maxDepth: 3 })).toBe(DEPTH)
  })

  test('a binary value is a leaf', () => {
    expect(check([[[Buffer.alloc(1)]]], { maxDepth: 2 })).toBeGreaterThan(0)
    expect(check([[[[]]]], { maxDepth: 2 })).toBe(DEPTH)
  })

  test('a structure that contains itself is refused', () => {
    const circle: unknown[] = []
    circle.push(circle)
    expect(check([circle])).toBe(DEPTH)
  })
})

describe('numbers of things', () => {
  test('100,000 keys are refused', () => {
    expect(check([Object.fromEntries(Array.from({ length: 100_000 }, (_, i) => [`k${i}`, 1]))])).toBe(KEYS)
  })

  test('keys of all arguments are counted together', () => {
    expect(check([{ a: 1 }, { b: 1 }, [{ c: 1 }]], { maxKeys: 3 })).toBeGreaterThan(0)
    expect(check([{ a: 1 }, { b: 1 }, [{ c: 1, d: 1 }]], { maxKeys: 3 })).toBe(KEYS)
  })

  test('elements of lists are bounded by the size, wherever they stand', () => {
    expect(check([Array(1_000).fill(0)], { maxBytes: 1_000 })).toBe(1_000)
    expect(check([Array(1_001).fill(0)], { maxBytes: 1_000 })).toBe(BYTES)
    expect(check([{ a: [Array(500).fill(0), Array(500).fill(0)] }], { maxBytes: 1_000 })).toBe(BYTES)
    expect(check([new Array(4_294_967_295)])).toBe(BYTES)
  })

  test('1,000 arguments are refused', () => {
    expect(check(Array(1_000).fill(0))).toBe(ARGS)
    expect(check([1, 2], { maxArgs: 2 })).toBe(0)
    expect(check([1, 2, 3], { maxArgs: 2 })).toBe(ARGS)
  })

  test('attachments are counted each time they stand there, also when they are one buffer', () => {
    const buffer = Buffer.alloc(1)
    expect(check([Array(10).fill(buffer)])).toBe(20)
    expect(check([Array(11).fill(buffer)])).toBe(ATTACHMENTS)
    expect(check([Array(9).fill(Buffer.alloc(200_000))])).toBe(BYTES)
  })

  test('text is counted wherever it stands', () => {
    const limits = { maxBytes: 10 }
    expect(check(['x'.repeat(11)], limits)).toBe(BYTES)
    expect(check([['x'.repeat(11)]], limits)).toBe(BYTES)
    expect(check([{ a: 'x'.repeat(10) }], limits)).toBe(BYTES)
    expect(check([{ ['x'.repeat(11)]: 1 }], limits)).toBe(BYTES)
    expect(check(['x'.repeat(10)], limits)).toBe(10)
  })
})

describe('prototypes', () => {
  test('an own __proto__ key, as JSON.parse makes it, is refused at any depth', () => {
    expect(check([JSON.parse('{"__proto__":{"admin":true}}')])).toBe(PROTOTYPE)
    expect(check([JSON.parse('{"__proto__":1}')])).toBe(PROTOTYPE)
    expect(check([JSON.parse('{"a":[{"b":{"__proto__":null}}]}')])).toBe(PROTOTYPE)
  })

  test('a changed prototype is refused', () => {
    expect(check([Object.setPrototypeOf({}, { admin: true })])).toBe(PROTOTYPE)
    expect(check([{ a: Object.create({ admin: true }) }])).toBe(PROTOTYPE)
    expect(check([{ __proto__: { admin: true } }])).toBe(PROTOTYPE)
  })

  test('a constructor that holds an object is refused', () => {
    expect(check([JSON.parse('{"constructor":{"prototype":{"admin":true}}}')])).toBe(PROTOTYPE)
    expect(check([{ a: { constructor: [] } }])).toBe(PROTOTYPE)
  })

  test('an instance of a class is refused', () => {
    class Forged {
      toJSON = (): unknown => ({})
    }
    for (const value of [new Forged(), new Map(), new Set(), /x/, new Error('x'), Promise.resolve()]) expect(check([value])).toBe(PROTOTYPE)
  })

  test('nothing of the payload is called or assigned', () => {
    const trap = { get value(): never { throw new Error('read twice') } }
    expect(() => check([{ toString: 1, valueOf: null, then: 1, toJSON: 'x' }])).not.toThrow()
    expect(Object.keys(trap)).toEqual(['value'])
    expect(({} as { admin?: boolean }).admin).toBeUndefined()
  })

  test('an object from another realm is refused: no parser makes one', () => {
    expect(check([vm.runInNewContext('({ a: 1 })')])).toBe(PROTOTYPE)
  })
})

describe('what is said of a breach', () => {
  test.each([
    [BYTES, 'PAYLOAD_TOO_LARGE', 'maxBytes'],
    [DEPTH, 'PAYLOAD_TOO_LARGE', 'maxDepth'],
    [KEYS, 'PAYLOAD_TOO_LARGE', 'maxKeys'],
    [ARGS, 'PAYLOAD_TOO_LARGE', 'maxArgs'],
    [ATTACHMENTS, 'PAYLOAD_TOO_LARGE', 'maxAttachments'],
    [PROTOTYPE, 'INVALID_PAYLOAD', 'prototype'],
  ])('%i is %s by %s', (result, code, limit) => {
    expect(breach(result)).toMatchObject({ code, details: { limit } })
  })
})

describe('the option', () => {
  test('replaces what it names', () => {
    expect(resolveLimits({ maxKeys: 7 }, defaultLimits, 'guard')).toEqual({ ...defaultLimits, maxKeys: 7 })
    expect(resolveLimits(undefined, defaultLimits, 'guard')).toBe(defaultLimits)
  })

  test.each([[{ maxKey: 1 }], [{ maxKeys: 0 }], [{ maxKeys: -1 }], [{ maxKeys: 1.5 }], [{ maxKeys: NaN }], [{ maxKeys: Infinity }], [{ maxKeys: '10' }]])('%j is refused, and named', (given) => {
    const resolve = (): unknown => resolveLimits(given as never, defaultLimits, 'guard: limits')
    expect(resolve).toThrow(ConfigError)
    expect(resolve).toThrow(new RegExp(`^guard: limits: .*${Object.keys(given)[0]}`))
  })
})
