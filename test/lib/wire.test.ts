import { describe, expect, test } from '@jest/globals'
import { codes, Denied, PolicyFault } from '../../lib/errors.ts'
import type { Code } from '../../lib/errors.ts'
import { closingData, connectErrorData, connectRefusalOf, defaultAckRefusal, deniedEventData, httpAnswer, refusal, refusalOf } from '../../lib/wire.ts'

const ID = 'AAAAAAAAAAAAAAAA'

describe('a refusal', () => {
  test('has code, message and id, and nothing else', () => {
    expect(JSON.stringify(refusalOf(new Denied('FORBIDDEN'), ID))).toBe('{"code":"FORBIDDEN","message":"This is not allowed.","id":"AAAAAAAAAAAAAAAA"}')
  })

  test('has retryAfterMs and details where they were given', () => {
    expect(JSON.stringify(refusalOf(new Denied('RATE_LIMITED', { retryAfterMs: 334, limit: 3 }), ID))).toBe(
      '{"code":"RATE_LIMITED","message":"Too many requests.","id":"AAAAAAAAAAAAAAAA","retryAfterMs":334,"details":{"limit":3}}',
    )
    expect(Object.keys(refusalOf(new Denied('RATE_LIMITED', { retryAfterMs: 0 }), ID))).toEqual(['code', 'message', 'id', 'retryAfterMs'])
    expect(Object.keys(refusalOf(new Denied('FORBIDDEN', { a: 1 }), ID))).toEqual(['code', 'message', 'id', 'details'])
  })

  test('shows no reason, whatever an operator may see', () => {
    expect(JSON.stringify(refusalOf(new Denied('FORBIDDEN', undefined, 'user 7 is suspended'), ID))).not.toContain('suspended')
  })

  test('of a fault says nothing of it', () => {
    const said = '{"code":"INTERNAL","message":"Internal error.","id":"AAAAAAAAAAAAAAAA"}'
    for (const error of [new Error('secret'), new PolicyFault('secret', 'secret', { cause: 'secret' }), undefined, null, 'secret', { code: 'FORBIDDEN', message: 'secret' }]) {
      expect(JSON.stringify(refusalOf(error, ID))).toBe(said)
    }
  })

  test('past the deadline says so', () => {
    expect(refusalOf(new PolicyFault('late', 'p', { code: 'DEADLINE_EXCEEDED' }), ID)).toEqual({ code: 'DEADLINE_EXCEEDED', message: 'The decision took too long.', id: ID })
  })
})

describe('at the connect stage', () => {
  test('every failed credential is the same refusal, byte for byte', () => {
    const unauthenticated = '{"code":"UNAUTHENTICATED","message":"Valid credentials are required.","id":"AAAAAAAAAAAAAAAA"}'
    const failures = [
      new Denied('UNAUTHENTICATED'),
      new Denied('UNAUTHENTICATED', { scheme: 'jwt', retryAfterMs: 5 }, 'bad signature'),
      new Denied('CREDENTIAL_EXPIRED', { at: 1 }),
      new Denied('REVOKED', { by: 'admin' }),
    ]
    for (const failure of failures) expect(JSON.stringify(connectRefusalOf(failure, ID))).toBe(unauthenticated)
  })

  test('every other refusal keeps its details', () => {
    expect(connectRefusalOf(new Denied('TOO_MANY_CONNECTIONS', { retryAfterMs: 10, limit: 2 }), ID)).toEqual({
      code: 'TOO_MANY_CONNECTIONS',
      message: 'Too many connections.',
      id: ID,
      retryAfterMs: 10,
      details: { limit: 2 },
    })
  })

  test('the message of connect_error is the code, and its data the refusal', () => {
    expect(JSON.stringify(connectErrorData(refusal('FORBIDDEN', ID)))).toBe(
      '{"message":"FORBIDDEN","data":{"code":"FORBIDDEN","message":"This is not allowed.","id":"AAAAAAAAAAAAAAAA"}}',
    )
  })
})

describe('at the event stage', () => {
  test('an ack gets { error: refusal }', () => {
    expect(JSON.stringify(defaultAckRefusal(refusal('UNKNOWN_EVENT', ID)))).toBe('[{"error":{"code":"UNKNOWN_EVENT","message":"There is no such event.","id":"AAAAAAAAAAAAAAAA"}}]')
  })

  test('without an ack gate:denied names the event', () => {
    expect(JSON.stringify(deniedEventData('say', refusal('FORBIDDEN', ID)))).toBe('{"event":"say","code":"FORBIDDEN","message":"This is not allowed.","id":"AAAAAAAAAAAAAAAA"}')
  })
})

test('before a forced disconnect gate:closing gives advice', () => {
  expect(JSON.stringify(closingData(refusal('REVOKED', ID), 'never'))).toBe('{"code":"REVOKED","message":"Access has been revoked.","id":"AAAAAAAAAAAAAAAA","reconnect":"never"}')
})

describe('at the request stage', () => {
  test('the answer is JSON of the right length that nobody stores', () => {
    const { status, headers, body } = httpAnswer(refusalOf(new Denied('FORBIDDEN', { name: 'ü' }), ID))
    expect(status).toBe(403)
    expect(body).toBe('{"error":{"code":"FORBIDDEN","message":"This is not allowed.","id":"AAAAAAAAAAAAAAAA","details":{"name":"ü"}}}')
    expect(headers).toEqual({ 'Content-Type': 'application/json', 'Content-Length': String(Buffer.byteLength(body)), 'Cache-Control': 'no-store' })
  })

  test('Retry-After is in whole seconds, rounded up', () => {
    const after = (retryAfterMs: number): string | undefined => httpAnswer(refusalOf(new Denied('RATE_LIMITED', { retryAfterMs }), ID)).headers['Retry-After']
    expect([after(1), after(1_000), after(1_001), after(0)]).toEqual(['1', '1', '2', '0'])
    expect(httpAnswer(refusal('RATE_LIMITED', ID)).headers).not.toHaveProperty('Retry-After')
  })

  test('each code has its status', () => {
    for (const code of Object.keys(codes) as Code[]) expect(httpAnswer(refusal(code, ID)).status).toBe(codes[code].status)
  })
})
