import { describe, expect, test } from '@jest/globals'
import { codes, ConfigError, Denied, deny, PolicyFault } from '../../lib/errors.ts'
import type { Code } from '../../lib/errors.ts'

const thrownBy = (run: () => unknown): unknown => {
  try {
    run()
  } catch (error) {
    return error
  }
  throw new Error('expected a throw')
}

describe('the table of codes', () => {
  test('cannot be changed', () => {
    expect(Object.isFrozen(codes)).toBe(true)
  })

  test('gives each code a fixed sentence and a status of the request stage', () => {
    for (const [code, { message, retryable, status }] of Object.entries(codes)) {
      expect(code).toMatch(/^[A-Z]+(_[A-Z]+)*$/)
      expect(message).toMatch(/^[A-Z].*\.$/)
      expect(typeof retryable).toBe('boolean')
      expect([401, 403, 429, 503]).toContain(status)
    }
  })

  test('says 401 only of credentials, and 429 only of what may be tried again', () => {
    const having = (status: number): string[] => Object.entries(codes).flatMap(([code, info]) => (info.status === status ? [code] : []))
    expect(having(401)).toEqual(['UNAUTHENTICATED', 'CREDENTIAL_EXPIRED', 'REVOKED'])
    expect(having(429)).toEqual(['RATE_LIMITED', 'TOO_MANY_CONNECTIONS'])
    for (const code of having(429)) expect(codes[code as Code].retryable).toBe(true)
  })
})

describe('a refusal', () => {
  test('is thrown by deny, with the fixed sentence of its code', () => {
    const error = thrownBy(() => deny('FORBIDDEN'))
    expect(error).toBeInstanceOf(Denied)
    expect(error).toMatchObject({ name: 'Denied', code: 'FORBIDDEN', message: 'This is not allowed.', details: undefined, retryAfterMs: undefined, id: undefined })
  })

  test('carries details, with retryAfterMs in a field of its own', () => {
    expect(thrownBy(() => deny('RATE_LIMITED', { retryAfterMs: 334, limit: 3 }))).toMatchObject({ retryAfterMs: 334, details: { limit: 3 } })
    expect(new Denied('RATE_LIMITED', { retryAfterMs: 334 }).details).toBeUndefined()
    expect(new Denied('RATE_LIMITED', {}).details).toBeUndefined()
  })

  test('keeps the reason for operators in its cause', () => {
    expect(new Denied('UNAUTHENTICATED', undefined, 'bad signature').cause).toBe('bad signature')
    expect(Object.hasOwn(new Denied('UNAUTHENTICATED'), 'cause')).toBe(false)
  })

  test('captures no stack', () => {
    expect(new Denied('RATE_LIMITED').stack).toBeUndefined()
  })

  test('is an Error by prototype', () => {
    expect(new Denied('FORBIDDEN')).toBeInstanceOf(Error)
    expect(String(new Denied('FORBIDDEN'))).toBe('Denied: This is not allowed.')
  })

  test('with a code that is not in the table is a mistake in the code', () => {
    expect(() => deny('NOPE' as never)).toThrow(TypeError)
    expect(() => deny('toString' as never)).toThrow(/unknown code "toString"/)
    expect(() => deny('__proto__' as never)).toThrow(TypeError)
  })
})

describe('instanceof', () => {
  test('recognises an error of another copy of this package', () => {
    const brand = Symbol.for('portcullis.error')
    const foreign = (kind: string): Error => Object.assign(new Error(), { [brand]: kind })
    expect(foreign('denied')).toBeInstanceOf(Denied)
    expect(foreign('fault')).toBeInstanceOf(PolicyFault)
    expect(foreign('config')).toBeInstanceOf(ConfigError)
  })

  test('tells the kinds apart', () => {
    const errors = [new Denied('FORBIDDEN'), new PolicyFault('broke', 'p'), new ConfigError('wrong'), new Error('other')]
    expect(errors.map((error) => [error instanceof Denied, error instanceof PolicyFault, error instanceof ConfigError])).toEqual([
      [true, false, false],
      [false, true, false],
      [false, false, true],
      [false, false, false],
    ])
  })

  test('is not taken in by text: a payload cannot forge an error', () => {
    for (const value of [JSON.parse('{"portcullis.error":"denied"}'), null, undefined, 'denied', 7, () => {}]) {
      expect(value instanceof Denied).toBe(false)
      expect(value instanceof PolicyFault).toBe(false)
    }
  })
})

test('a fault names its policy, keeps what was thrown, and tells the client nothing of it', () => {
  const cause = new Error('SELECT * FROM users')
  const fault = new PolicyFault('failed', 'authorize', { cause })
  expect(fault).toMatchObject({ name: 'PolicyFault', message: 'authorize: failed', policy: 'authorize', code: 'INTERNAL', cause })
  expect(fault.stack).toContain('PolicyFault')
  expect(Object.hasOwn(new PolicyFault('failed', 'p'), 'cause')).toBe(false)
  expect(new PolicyFault('late', 'p', { code: 'DEADLINE_EXCEEDED' }).code).toBe('DEADLINE_EXCEEDED')
})

test('a mistake in the set-up is an error with a stack', () => {
  const error = new ConfigError('guard: wrong', { cause: 'why' })
  expect(error).toMatchObject({ name: 'ConfigError', message: 'guard: wrong', cause: 'why' })
  expect(error.stack).toContain('errors.test')
})
