import { describe, expect, test } from '@jest/globals'
import { type } from 'arktype'
import * as v from 'valibot'
import { z } from 'zod'
import type { Schema } from '../../lib/contract.ts'
import { ConfigError } from '../../lib/errors.ts'
import { validator } from '../../lib/schema.ts'
import type { Shape, Validated } from '../../lib/schema.ts'

const compiled = (shape: Shape) => validator(shape, 'contract event "x"')!
const now = (result: Validated | Promise<Validated>): Validated => {
  if (result instanceof Promise) throw new Error('expected a result in the same tick')
  return result
}

const libraries: [string, Schema][] = [
  ['zod', z.object({ text: z.string().trim(), to: z.string().default('all') })],
  ['valibot', v.object({ text: v.pipe(v.string(), v.trim()), to: v.optional(v.string(), 'all') })],
  ['arktype', type({ text: 'string.trim', to: "string = 'all'", '+': 'delete' })],
]

describe.each(libraries)('a schema of %s', (_name, data) => {
  test('gives its output in place of the argument', () => {
    expect(now(compiled({ data })([{ text: ' hi ', admin: true }]))).toEqual({ args: [{ text: 'hi', to: 'all' }] })
  })

  test('gives its issues for a bad argument', () => {
    for (const args of [[{ text: 7 }], ['text'], [null], [undefined], []]) expect(now(compiled({ data })(args))).toHaveProperty('issues')
  })

  test('refuses arguments the contract does not have', () => {
    expect(now(compiled({ data })([{ text: 'hi' }, 'more']))).toHaveProperty('issues')
    expect(now(compiled({ data })([{ text: 'hi' }, undefined]))).toHaveProperty('issues')
  })
})

describe('an asynchronous schema', () => {
  const later = z.string().refine(async (text) => text !== 'taken')

  test.each<[string, Schema]>([
    ['zod', { '~standard': { ...later['~standard'], validate: (value: unknown) => later['~standard'].validate(value) } } as Schema],
    ['valibot', v.pipeAsync(v.string(), v.checkAsync(async (text) => text !== 'taken'))],
  ])('of %s gives its result later', async (_name, data) => {
    const pending = compiled({ data })(['free'])
    expect(pending).toBeInstanceOf(Promise)
    expect(await pending).toEqual({ args: ['free'] })
    expect(await compiled({ data })(['taken'])).toHaveProperty('issues')
  })

  test('among synchronous ones makes all of them wait', async () => {
    const pending = compiled({ args: [z.number(), later] })([1, 'free'])
    expect(pending).toBeInstanceOf(Promise)
    expect(await pending).toEqual({ args: [1, 'free'] })
  })
})

describe('a list of schemas', () => {
  const two = compiled({ args: [z.coerce.number(), z.string().optional()] })

  test('is all of the arguments', () => {
    expect(now(two(['1', 'a']))).toEqual({ args: [1, 'a'] })
    expect(now(two(['1']))).toEqual({ args: [1, undefined] })
    expect(now(two(['x']))).toHaveProperty('issues')
    expect(now(two([1, 2]))).toHaveProperty('issues')
    expect(now(two([1, 'a', 'b']))).toHaveProperty('issues')
  })

  test('that is empty allows no argument', () => {
    const none = compiled({ args: [] })
    expect(now(none([]))).toEqual({ args: [] })
    expect(now(none([1]))).toHaveProperty('issues')
  })
})

test('a shape that says nothing of arguments checks nothing', () => {
  expect(validator({}, 'x')).toBeUndefined()
})

test('hostile values reach the schema as values, and leave nothing behind', () => {
  const data = z.object({ a: z.string().optional() })
  for (const hostile of [JSON.parse('{"__proto__":{"admin":true}}'), { constructor: { prototype: { admin: true } } }, 'x'.repeat(1_000_000)]) {
    const result = now(compiled({ data })([hostile]))
    expect('args' in result ? result.args : []).not.toContain(hostile)
    expect(({} as { admin?: boolean }).admin).toBeUndefined()
  }
})

describe('what is no schema', () => {
  test.each([[7], ['string'], [null], [{}], [{ '~standard': {} }], [{ parse: () => 1 }], [() => true]])('%p is refused when it is declared', (data) => {
    expect(() => validator({ data: data as never }, 'contract event "x"')).toThrow(ConfigError)
    expect(() => validator({ data: data as never }, 'contract event "x"')).toThrow(/^contract event "x": is not a Standard Schema/)
    expect(() => validator({ args: [data as never] }, 'x')).toThrow(ConfigError)
  })

  test('data together with args is refused', () => {
    expect(() => validator({ data: z.string(), args: [z.string()] }, 'x')).toThrow(/both data and args/)
  })

  test('args that are no list are refused', () => {
    expect(() => validator({ args: z.string() as never }, 'x')).toThrow(/args is an array/)
  })
})
