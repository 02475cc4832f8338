import { describe, expect, test } from '@jest/globals'
import { ConfigError, dangerouslyFromQuery, Denied, fromAuth, fromBearer, fromCookie, fromQuery, fromSubprotocol } from 'portcullis'
import type { CredentialReader } from 'portcullis'
import { carriersOf, cookieOf, readFrom, takeOut } from '../../lib/carriers.ts'
import type { Carried, Carrier } from '../../lib/carriers.ts'

interface Handshake {
  auth?: object
  headers?: Record<string, string>
  raw?: string[]
  cause?: string
  carried?: Carried
}

/** What a reader sees of a handshake. */
const read = (reader: CredentialReader, { auth = {}, headers = {}, raw = Object.entries(headers).flat(), cause = 'connect', carried }: Handshake): unknown =>
  reader({ handshake: { auth }, headers, request: { rawHeaders: raw }, cause, carried } as never)

const refusal = (run: () => unknown): string | undefined => {
  try {
    run()
  } catch (error) {
    expect(error).toBeInstanceOf(Denied)
    return (error as Denied).code
  }
  return undefined
}

describe('the auth payload', () => {
  test('is read by its key, own properties only', () => {
    expect(read(fromAuth(), { auth: { token: 'x' } })).toBe('x')
    expect(read(fromAuth('key'), { auth: { key: '', token: 'x' } })).toBe('')
    expect(read(fromAuth('toString'), { auth: {} })).toBeUndefined()
    expect(read(fromAuth('__proto__'), { auth: {} })).toBeUndefined()
    for (const token of [undefined, null]) expect(read(fromAuth(), { auth: { token } })).toBeUndefined()
  })

  test.each([[7], [{}], [[]], [true], [new Uint8Array(1)]])('refuses %p, which is no text', (token) => {
    expect(refusal(() => read(fromAuth(), { auth: { token } }))).toBe('UNAUTHENTICATED')
  })

  test('is the one that counts in a refresh', () => {
    for (const cause of ['connect', 'recover', 'refresh']) expect(read(fromAuth(), { auth: { token: 'x' }, cause })).toBe('x')
  })
})

describe('the Authorization header', () => {
  const bearer = fromBearer()
  test.each([
    ['Bearer x', 'x'],
    ['bearer x', 'x'],
    ['BEARER x', 'x'],
    ['Bearer  x', ' x'],
    ['Bearer', ''],
    ['Bearer ', ''],
    ['Bearer\tx', '\tx'],
    ['Bearerx', undefined],
    ['Basic x', undefined],
    ['', undefined],
    ['x Bearer y', undefined],
  ])('%j holds %p', (authorization, found) => {
    expect(read(bearer, { headers: { authorization } })).toBe(found)
  })

  test('is refused twice, however it is written', () => {
    const headers = { authorization: 'Bearer x' }
    expect(refusal(() => read(bearer, { headers, raw: ['Authorization', 'Bearer x', 'authorization', 'Bearer x'] }))).toBe('UNAUTHENTICATED')
    expect(refusal(() => read(bearer, { headers: { authorization: 'Basic y' }, raw: ['AUTHORIZATION', 'Basic y', 'Authorization', 'Bearer x'] }))).toBe('UNAUTHENTICATED')
    expect(read(bearer, { headers, raw: ['x-authorization', 'y', 'Authorization', 'Bearer x'] })).toBe('x')
  })
})

describe('a cookie', () => {
  const cookie = fromCookie('sid')
  test.each([
    ['sid=x', 'x'],
    ['a=b; sid=x; c=d', 'x'],
    ['a=b;sid=x', 'x'],
    [' sid = x ', 'x'],
    ['sid=', ''],
    ['sid="x"', '"x"'],
    ['sid=a=b', 'a=b'],
    ['SID=x', undefined],
    ['xsid=x', undefined],
    ['sid', undefined],
    ['', undefined],
    ['a=sid=x', undefined],
  ])('of %j is %p', (header, value) => {
    expect(read(cookie, { headers: { cookie: header } })).toBe(value)
  })

  test('that is there twice is refused, also with the same value', () => {
    for (const header of ['sid=a; sid=b', 'sid=a;sid=a', 'sid=; sid=b']) expect(refusal(() => cookieOf(header, 'sid'))).toBe('UNAUTHENTICATED')
  })

  test('has a name that cookies have', () => {
    for (const name of ['', 'a b', 'a;b', 'a=b', 'ä', 7]) expect(() => fromCookie(name as string)).toThrow(ConfigError)
    expect(() => fromCookie('__Host-sid')).not.toThrow()
  })
})

describe('what is taken out of a request', () => {
  const query: Carrier[] = [{ kind: 'query', name: 'ticket' }]
  const subprotocol: Carrier[] = [{ kind: 'subprotocol', name: 'bearer.' }]
  const requestOf = (url: string, protocols?: string, raw = protocols === undefined ? [] : ['Host', 'x', 'Sec-WebSocket-Protocol', protocols]) => {
    const headers: Record<string, string> = protocols === undefined ? {} : { 'sec-websocket-protocol': protocols }
    return { url, headers, rawHeaders: raw, headersDistinct: protocols === undefined ? {} : { 'sec-websocket-protocol': [protocols] }, _query: Object.fromEntries(new URLSearchParams(url.split('?')[1])) } as any
  }

  test.each([
    ['/s/?a=1&ticket=x&b=2', '/s/?a=1&b=2', ['x']],
    ['/s/?ticket=x', '/s/', ['x']],
    ['/s/?ticket=x&a=1', '/s/?a=1', ['x']],
    ['/s/?ticket', '/s/', ['']],
    ['/s/?ticket=', '/s/', ['']],
    ['/s/?ticket=a&ticket=b', '/s/', ['a', 'b']],
    ['/s/?tick%65t=x&a=%20', '/s/?a=%20', ['x']],
    ['/s/?ticket=a%20b+c%2B', '/s/', ['a b c+']],
    ['/s/?ticket=a=b', '/s/', ['a=b']],
    ['/s/?ticket=%E0%A4%A', '/s/', [expect.any(String)]],
    ['/s/?a=1?ticket=x', '/s/?a=1?ticket=x', undefined],
    ['/s/?Ticket=x&tickets=y&xticket=z', '/s/?Ticket=x&tickets=y&xticket=z', undefined],
    ['/s/', '/s/', undefined],
    ['/s/?', '/s/?', undefined],
  ])('of %s leaves %s', (url, left, values) => {
    const request = requestOf(url)
    expect(takeOut(request, query)?.query.get('ticket')).toEqual(values)
    expect(request.url).toBe(left)
    expect(Object.hasOwn(request._query, 'ticket')).toBe(false)
  })

  test.each([
    ['bearer.x, app.v1', 'app.v1', ['x']],
    ['app.v1, bearer.x', 'app.v1', ['x']],
    ['app.v1,bearer.x,app.v2', 'app.v1, app.v2', ['x']],
    ['bearer.x', undefined, ['x']],
    ['bearer.', undefined, ['']],
    ['bearer.x, bearer.y, app', 'app', ['x', 'y']],
    ['app.v1, Bearer.x', 'app.v1, Bearer.x', undefined],
  ])('of the protocols %s leaves %s', (protocols, left, values) => {
    const request = requestOf('/', protocols)
    expect(takeOut(request, subprotocol)?.subprotocols.get('bearer.')).toEqual(values)
    expect(request.headers['sec-websocket-protocol']).toBe(left)
    const kept = JSON.stringify([request.headers, request.rawHeaders, request.headersDistinct])
    if (values !== undefined) for (const value of values.filter(Boolean)) expect(kept).not.toContain(`bearer.${value}`)
  })

  test('leaves no second raw header either', () => {
    const request = requestOf('/', 'bearer.one, app, bearer.two', ['sec-websocket-protocol', 'bearer.one, app', 'Sec-WebSocket-Protocol', 'bearer.two', 'X', 'bearer.three'])
    takeOut(request, subprotocol)
    expect(request.rawHeaders).toEqual(['sec-websocket-protocol', 'app', 'Sec-WebSocket-Protocol', '', 'X', 'bearer.three'])
  })

  test('is nothing where no carrier asks for it', () => {
    const request = requestOf('/s/?ticket=x', 'bearer.x')
    expect(takeOut(request, [{ kind: 'auth', name: 'ticket' }])).toBeUndefined()
    expect([request.url, request.headers['sec-websocket-protocol']]).toEqual(['/s/?ticket=x', 'bearer.x'])
  })

  test('counts once only, and more than one is refused', () => {
    const carried = (...values: string[]): Carried => ({ query: new Map([['ticket', values]]), subprotocols: new Map([['bearer.', values]]) })
    for (const reader of [fromQuery('ticket'), fromSubprotocol()]) {
      expect(read(reader, { carried: carried('x') })).toBe('x')
      expect(refusal(() => read(reader, { carried: carried('x', 'x') }))).toBe('UNAUTHENTICATED')
      expect(read(reader, {})).toBeUndefined()
      expect(read(reader, { carried: { query: new Map(), subprotocols: new Map() } })).toBeUndefined()
    }
  })
})

test('what the handshake held does not count again when a credential is brought in-band', () => {
  const carried: Carried = { query: new Map([['ticket', ['x']]]), subprotocols: new Map([['bearer.', ['x']]]) }
  const headers = { authorization: 'Bearer x', cookie: 'sid=x' }
  for (const reader of [fromBearer(), fromCookie('sid'), fromSubprotocol(), fromQuery('ticket'), dangerouslyFromQuery('ticket')]) {
    for (const cause of ['connect', 'recover']) expect(read(reader, { carried, headers, cause })).toBe('x')
    for (const cause of ['refresh', 'reauthorize']) expect(read(reader, { carried, headers, cause })).toBeUndefined()
  }
})

describe('several places', () => {
  const both = readFrom([fromAuth(), fromBearer()], [], 'jwt')
  test('hold one credential, or are refused', () => {
    expect(read(both, { auth: { token: 'x' } })).toBe('x')
    expect(read(both, { headers: { authorization: 'Bearer y' } })).toBe('y')
    expect(read(both, { auth: { token: 'x' }, headers: { authorization: 'Bearer x' } })).toBe('x')
    expect(refusal(() => read(both, { auth: { token: 'x' }, headers: { authorization: 'Bearer y' } }))).toBe('UNAUTHENTICATED')
    expect(refusal(() => read(both, { auth: { token: '' }, headers: { authorization: 'Bearer y' } }))).toBe('UNAUTHENTICATED')
    expect(read(both, {})).toBeUndefined()
  })

  test('are known of the reader they make, and of each alone', () => {
    expect(carriersOf(both)).toEqual([
      { kind: 'auth', name: 'token' },
      { kind: 'authorization', name: 'bearer' },
    ])
    expect(carriersOf(readFrom(fromQuery('ticket'), [], 'x'))).toEqual([{ kind: 'query', name: 'ticket', dangerously: false }])
    expect(carriersOf(dangerouslyFromQuery('ticket'))).toEqual([{ kind: 'query', name: 'ticket', dangerously: true }])
    expect(carriersOf(fromCookie('c', { dangerouslyWithoutCsrf: true }))).toEqual([{ kind: 'cookie', name: 'c', dangerously: true }])
    expect(carriersOf(() => undefined)).toEqual([])
  })

  test('are what was said, else what is usual', () => {
    const [own, usual] = [fromAuth('a'), fromAuth('b')]
    expect(readFrom(own, [usual], 'x')).toBe(own)
    expect(readFrom([own], [usual], 'x')).toBe(own)
    expect(readFrom(undefined, [usual], 'x')).toBe(usual)
    for (const from of [[], 'auth', [own, 'auth'], null, {}]) expect(() => readFrom(from as never, [usual], 'x')).toThrow(ConfigError)
  })
})

test('names that cannot be carried are refused when they are said', () => {
  for (const name of ['', 7, undefined, null]) {
    expect(() => fromQuery(name as string)).toThrow(ConfigError)
    if (name !== undefined) for (const make of [fromAuth, fromSubprotocol]) expect(() => make(name as string)).toThrow(ConfigError)
  }
  for (const name of ['sid', 'EIO', 'transport', 't', 'j', 'b64']) expect(() => dangerouslyFromQuery(name)).toThrow(ConfigError)
})
