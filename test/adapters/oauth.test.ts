import { createHash } from 'node:crypto'
import { createServer } from 'node:http'
import type { IncomingHttpHeaders } from 'node:http'
import { gzipSync } from 'node:zlib'
import { describe, expect, test } from '@jest/globals'
import { None, PrivateKeyJwt } from 'oauth4webapi'
import { ConfigError, type Denied, fromCookie } from 'portcullis'
import { introspection, openid } from 'portcullis/adapters/oauth'
import type { IntrospectionOptions, OpenidOptions } from 'portcullis/adapters/oauth'
import { authenticate } from 'portcullis/policies'
import { admitted, denied, harness, testClock } from 'portcullis/testing'
import type { TestClock } from 'portcullis/testing'
import { closeAfterTest, Latch, listen, until } from '../support/server.ts'
import { pairs, signer, token } from '../support/tokens.ts'

const NOW = Date.UTC(2025, 0, 1)
const seconds = NOW / 1_000
const clientSecret = 'the secret of this server'
const audience = 'chat'
const opaque = 'opaque-token~of.the/provider+1=='
const active = { active: true, sub: 'alice', exp: seconds + 3_600, token_type: 'Bearer' }

interface Call {
  readonly method: string
  readonly url: string
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

interface Reply {
  readonly status?: number
  readonly type?: string
  readonly headers?: Record<string, string>
  readonly body?: unknown
  /** Answers with the head and the beginning of a body, and no more. */
  readonly halfWay?: true
  readonly reset?: true
  readonly after?: Promise<unknown>
}

/** A provider that answers as it is told, and keeps what it was asked. `reply` may be changed at any time. */
async function provider(reply: (call: Call) => Reply = () => ({ body: active })) {
  const calls: Call[] = []
  const http = createServer((request, response) => {
    let body = ''
    request.setEncoding('utf8').on('data', (chunk: string) => (body += chunk))
    request.on('end', () => {
      const call = { method: request.method!, url: request.url!, headers: request.headers, body }
      calls.push(call)
      const { status = 200, type = 'application/json', headers = {}, body: answer = '', halfWay, reset, after } = own.reply(call)
      const send = (): void => {
        if (reset) return void request.socket.destroy()
        response.writeHead(status, { ...(type === '' ? {} : { 'content-type': type }), ...headers })
        const bytes = typeof answer === 'string' || answer instanceof Uint8Array ? answer : JSON.stringify(answer)
        if (halfWay) response.write(bytes)
        else response.end(bytes)
      }
      if (after === undefined) send()
      else void after.then(send)
    })
  })
  const port = await listen(http)
  const stop = (): Promise<void> => new Promise((resolve) => (http.listening ? http.close(() => resolve()) : resolve()))
  closeAfterTest(stop)
  const url = `http://127.0.0.1:${port}`
  const own = { reply, calls, url, endpoint: `${url}/introspect`, stop, asked: (times: number) => until(() => calls.length >= times) }
  return own
}

type Stub = Awaited<ReturnType<typeof provider>>
/** Options as a test names them: those that exclude each other are for the scheme to refuse. */
type Loose = Partial<Omit<IntrospectionOptions, 'endpoint' | 'issuer'>> & { readonly endpoint?: string; readonly issuer?: string }

/** A gate that asks the stub, with its clock. */
function gateOf({ endpoint }: Stub, options: Loose = {}) {
  const [clock, timers] = [testClock(NOW), testClock(NOW)]
  const scheme = introspection({ ...(options.issuer !== undefined && options.endpoint === undefined ? {} : { endpoint }), clientId: 'portcullis', clientSecret, clock: timers, ...options })
  const probe = harness(authenticate(scheme), { clock, deadlineMs: 60_000 })
  return { clock: bothOf(clock, timers), timers, probe, enter: (text: unknown = opaque) => probe.connect({ auth: { token: text } }) }
}

/** Moves the time of the gate and that of the scheme, whose timers are counted by themselves. */
const bothOf = (...clocks: readonly TestClock[]) => ({ advance: (ms: number) => clocks.forEach((clock) => clock.advance(ms)) })

/** A gate that was given this answer. */
async function answered(reply: Reply, options?: Loose) {
  const stub = await provider(() => reply)
  return gateOf(stub, options).enter()
}

const reasonOf = ({ error }: { readonly error?: unknown }): unknown => (error as Denied).cause

describe('introspection of an active token', () => {
  test('gives the principal the provider speaks of, on both carriers', async () => {
    const answer = { ...active, iss: 'https://id.example', aud: [audience, 'mail'], jti: 't-1', amr: ['pwd', 'otp'], iat: seconds, nbf: seconds, scope: 'read', deep: { team: { id: 7 } } }
    const stub = await provider(() => ({ body: answer }))
    const principal = { subject: 'alice', issuer: 'https://id.example', claims: answer, expiresAtMs: (seconds + 3_600) * 1_000, tokenId: 't-1', factors: ['pwd', 'otp'] }
    const gate = gateOf(stub, { audience })
    expect((await gate.enter()).facts).toEqual({ principal })
    expect((await gateOf(stub).probe.connect({ headers: { authorization: `Bearer ${opaque}` } })).facts).toEqual({ principal })
  })

  test('gives claims that nobody can change', async () => {
    const { facts } = await answered({ body: { ...active, roles: ['viewer'], amr: ['pwd'] } })
    expect(() => facts.principal.claims.roles.push('admin')).toThrow(TypeError)
    expect(() => facts.principal.factors.push('otp')).toThrow(TypeError)
    expect(() => (facts.principal.subject = 'bob')).toThrow(TypeError)
  })

  test('is identified by its hash where the provider gives no id, or the token itself as one', async () => {
    const tokenId = `sha256:${createHash('sha256').update(opaque).digest('base64url')}`
    const without = await answered({ body: active })
    const repeated = await answered({ body: { ...active, jti: opaque } })
    expect([without.facts.principal.tokenId, repeated.facts.principal.tokenId]).toEqual([tokenId, tokenId])
    expect(JSON.stringify(repeated.facts)).not.toContain(opaque)
  })

  test('is of the issuer that is configured, or else of the place that answered, where the answer names none', async () => {
    const stub = await provider()
    expect((await gateOf(stub, { endpoint: stub.endpoint, issuer: 'https://id.example' }).enter()).facts.principal.issuer).toBe('https://id.example')
    expect((await gateOf(stub).enter()).facts.principal.issuer).toBe(stub.url)
  })

  test('is asked about as RFC 7662 says: the token in the body, the caller authenticated', async () => {
    const stub = await provider()
    await gateOf(stub, { clientId: 'a:b c', clientSecret: 'p%q:r' }).enter()
    const [{ method, url, headers, body }] = stub.calls as [Call]
    expect({ method, url, type: headers['content-type'], accept: headers['accept'] }).toEqual({ method: 'POST', url: '/introspect', type: 'application/x-www-form-urlencoded;charset=UTF-8', accept: 'application/json' })
    expect(Object.fromEntries(new URLSearchParams(body))).toEqual({ token: opaque, token_type_hint: 'access_token' })
    // RFC 6749 2.3.1: both halves are form-encoded first.
    expect(headers.authorization).toBe(`Basic ${Buffer.from('a%3Ab+c:p%25q%3Ar').toString('base64')}`)
  })

  test('is asked about with the secret in the body, or by a method of the library, where that is configured', async () => {
    const stub = await provider()
    await gateOf(stub, { clientAuth: 'client_secret_post' }).enter()
    const { privateKey } = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign'])
    await gateOf(stub, { clientAuth: PrivateKeyJwt(privateKey), clientSecret: undefined as never }).enter()
    const [post, assertion] = stub.calls.map(({ body }) => Object.fromEntries(new URLSearchParams(body)))
    expect(post).toMatchObject({ client_id: 'portcullis', client_secret: clientSecret, token: opaque })
    expect(assertion).toMatchObject({ client_id: 'portcullis', client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer' })
    expect(stub.calls.map(({ headers }) => headers.authorization)).toEqual([undefined, undefined])
  })

  const welcome: [string, object, Loose?][] = [
    ['any case of the token type', { token_type: 'bEaReR' }],
    ['one audience of several', { aud: ['mail', audience] }, { audience: [audience, 'other'] }],
    ['an audience that nobody asks for', { aud: 'mail' }],
    ['the issuer that is configured', { iss: 'https://id.example' }, { endpoint: 'given', issuer: 'https://id.example' }],
    ['a name in place of a subject where that is switched on', { sub: undefined, username: 'alice' }, { usernameAsSubject: true }],
    ['no token type where that is switched on', { token_type: undefined }, { dangerouslyUntyped: true }],
    ['an end a little past, within the tolerance', { exp: seconds - 4 }, { clockToleranceMs: 5_000 }],
    ['a beginning a little ahead, within the tolerance', { nbf: seconds + 4 }, { clockToleranceMs: 5_000 }],
    ['marks of an access token', { token_use: 'access_token', typ: 'at+jwt' }],
    ['a binding that is none', { cnf: null }],
    ['a subject in another script', { sub: 'Ålesund/张伟 😀' }],
  ]
  test.each(welcome)('is taken with %s', async (_, changed, { endpoint, ...options } = {}) => {
    const stub = await provider(() => ({ body: { ...active, ...changed } }))
    expect(await gateOf(stub, { ...(endpoint === undefined ? {} : { endpoint: stub.endpoint }), ...options }).enter()).toEqual(admitted())
  })

  test('is taken whatever the media type of the answer says besides JSON', async () => {
    expect(await answered({ type: 'Application/JSON ; charset=UTF-8', body: active })).toEqual(admitted())
  })

  test('is found wherever the scheme is told to look', async () => {
    const stub = await provider()
    const { probe } = gateOf(stub, { from: fromCookie('access', { dangerouslyWithoutCsrf: true }) })
    expect(await probe.connect({ headers: { cookie: `access=${opaque}` } })).toEqual(admitted())
    expect(await probe.connect({ auth: { token: opaque } })).toEqual(denied('UNAUTHENTICATED'))
  })
})

describe('C18: introspection refuses', () => {
  const answer = (changed: object): Reply => ({ body: { ...active, ...changed } })
  const without = (name: string): Reply => answer({ [name]: undefined })
  const refused: [string, Reply, Loose?][] = [
    ['active as text', answer({ active: 'true' })],
    ['active as a number', answer({ active: 1 })],
    ['active as an object', answer({ active: {} })],
    ['active as a list', answer({ active: [true] })],
    ['active as null', answer({ active: null })],
    ['active false', answer({ active: false })],
    ['no active', without('active')],
    ['active under another name', answer({ active: undefined, Active: true, ACTIVE: true })],
    ['an inactive token, and nothing else', { body: { active: false } }],
    ['no object', { body: '[{"active":true}]' }],
    ['true', { body: 'true' }],
    ['null', { body: 'null' }],
    ['text in JSON', { body: JSON.stringify(JSON.stringify(active)) }],
    ['JSON that breaks off', { body: JSON.stringify(active).slice(0, -1) }],
    ['JSON with more behind it', { body: `${JSON.stringify(active)}{}` }],
    ['nothing', { body: '' }],
    ['HTML', { type: 'text/html', body: '<h1>Sign in</h1>' }],
    ['JSON that says it is HTML', { type: 'text/html', body: active }],
    ['JSON that says it is text', { type: 'text/plain', body: active }],
    ['JSON that says nothing', { type: '', body: active }],
    ['a signed answer nobody asked for', { type: 'application/token-introspection+jwt', body: 'e30.e30.e30' }],
    ['another success', { status: 201, body: active }],
    ['no content', { status: 204, type: '' }],
    ['not modified', { status: 304, type: '' }],
    ['400 with an error', { status: 400, body: { error: 'invalid_request' } }],
    ['404', { status: 404, body: active }],
    ['more than an answer may hold', { body: { ...active, filler: 'x'.repeat(70_000) } }],
    ['more than an answer may hold, compressed', { body: gzipSync(JSON.stringify({ ...active, filler: 'x'.repeat(70_000) })), headers: { 'content-encoding': 'gzip' } }],
    ['an answer that is nested without end', { body: `{"active":true,"sub":"alice","exp":${seconds + 60},"token_type":"Bearer","deep":${'['.repeat(20_000)}${']'.repeat(20_000)}}` }],
    ['a prototype', { body: `{"__proto__":{"active":true},${JSON.stringify(active).slice(1)}` }],
    ['no subject', without('sub')],
    ['a name in place of a subject', answer({ sub: undefined, username: 'alice' })],
    ['an empty subject, for all its name', answer({ sub: '', username: 'alice' }), { usernameAsSubject: true }],
    ['neither subject nor name', answer({ sub: undefined }), { usernameAsSubject: true }],
    ['a subject that is no text', answer({ sub: 7 })],
    ['a subject that is null', answer({ sub: null })],
    ['a subject with a line break', answer({ sub: 'alice\nbob' })],
    ['a subject with half a character', answer({ sub: 'alice\ud800' })],
    ['a subject without end', answer({ sub: 'x'.repeat(256) })],
    ['an id that is no text', answer({ jti: {} })],
    ['no end', without('exp')],
    ['an end in the past', answer({ exp: seconds - 1 })],
    ['an end at this moment', answer({ exp: seconds })],
    ['an end as text', answer({ exp: String(seconds + 60) })],
    ['an end that is null', answer({ exp: null })],
    ['an end beyond all numbers', { body: `{"active":true,"sub":"alice","token_type":"Bearer","exp":1e999}` }],
    ['an end in milliseconds', answer({ exp: NOW + 60_000 })],
    ['a negative end', answer({ exp: -1 })],
    ['an end in the past, whatever is configured for a missing one', answer({ exp: seconds - 1 }), { expiresInMs: 60_000 }],
    ['an end as text, whatever is configured for a missing one', answer({ exp: 'never' }), { expiresInMs: 60_000 }],
    ['an end past the tolerance', answer({ exp: seconds - 5 }), { clockToleranceMs: 5_000 }],
    ['a beginning ahead', answer({ nbf: seconds + 1 })],
    ['a beginning past the tolerance', answer({ nbf: seconds + 6 }), { clockToleranceMs: 5_000 }],
    ['a beginning as text', answer({ nbf: '0' })],
    ['a time of issue as text', answer({ iat: 'now' })],
    ['another audience', answer({ aud: 'mail' }), { audience }],
    ['a list without the audience', answer({ aud: ['mail', 'chat2'] }), { audience }],
    ['an audience that only begins like it', answer({ aud: 'chat.example' }), { audience }],
    ['no audience', without('aud'), { audience }],
    ['an empty list of audiences', answer({ aud: [] }), { audience }],
    ['an audience that is no text', answer({ aud: { chat: true } })],
    ['an audience among things that are none', answer({ aud: [audience, 7] }), { audience }],
    ['another issuer', answer({ iss: 'https://evil.example' }), { endpoint: 'given', issuer: 'https://id.example' }],
    ['the issuer, but for a slash', answer({ iss: 'https://id.example/' }), { endpoint: 'given', issuer: 'https://id.example' }],
    ['an issuer that is no text', answer({ iss: 7 })],
    ['no token type', without('token_type')],
    ['a token type that demands a proof', answer({ token_type: 'DPoP' })],
    ['a token type that is no text', answer({ token_type: true })],
    ['a token type that is no bearer, whether or not it has to be there', answer({ token_type: 'refresh_token' }), { dangerouslyUntyped: true }],
    ['a refresh token, as one provider marks it', answer({ token_use: 'refresh_token' })],
    ['a refresh token, as another marks it', answer({ typ: 'Refresh' })],
    ['an ID token', answer({ typ: 'ID' })],
    ['a token that is bound to a certificate', answer({ cnf: { 'x5t#S256': 'abc' } })],
    ['factors that are no list', answer({ amr: 'otp' })],
    ['factors that are no texts', answer({ amr: ['pwd', 7] })],
  ]
  test.each(refused)('%s', async (_, reply, { endpoint, ...options } = {}) => {
    const stub = await provider(() => reply)
    const result = await gateOf(stub, { ...(endpoint === undefined ? {} : { endpoint: stub.endpoint }), ...options }).enter()
    expect(result).toEqual(denied('UNAUTHENTICATED'))
    expect(reasonOf(result)).toMatch(/^introspection: /)
    expect(stub.calls).toHaveLength(1)
  })

  test.each([301, 302, 303, 307, 308])('a redirect (%i), which it does not follow', async (status) => {
    const stub = await provider(({ url }) => (url === '/introspect' ? { status, headers: { location: '/elsewhere' } } : { body: active }))
    expect(await gateOf(stub).enter()).toEqual(denied('UNAUTHENTICATED'))
    expect(stub.calls.map(({ url }) => url)).toEqual(['/introspect'])
  })

  test.each([500, 502, 503, 504, 599, 429, 408, 401, 403])('%i, as unavailable: nothing was said of the token', async (status) => {
    expect(await answered({ status, body: active })).toEqual(denied('UNAVAILABLE'))
  })

  test('an answer that does not come in time, as unavailable', async () => {
    const stub = await provider(() => ({ body: active, after: new Promise(() => undefined) }))
    const { enter, clock, timers } = gateOf(stub, { timeoutMs: 1_500 })
    const entering = enter()
    await stub.asked(1)
    clock.advance(1_499)
    expect(timers.pending).toBeGreaterThan(0)
    clock.advance(1)
    const result = await entering
    expect(result).toEqual(denied('UNAVAILABLE'))
    expect(reasonOf(result)).toBe('introspection: did not answer in time')
    expect(timers.pending).toBe(0)
  })

  test('an answer whose end does not come in time, as unavailable', async () => {
    const stub = await provider(() => ({ body: JSON.stringify(active).slice(0, 20), halfWay: true }))
    const { enter, clock } = gateOf(stub)
    const entering = enter()
    await stub.asked(1)
    clock.advance(2_000)
    expect(await entering).toEqual(denied('UNAVAILABLE'))
  })

  test('a connection that breaks off, and one that is refused, as unavailable', async () => {
    const stub = await provider(() => ({ reset: true }))
    expect(await gateOf(stub).enter()).toEqual(denied('UNAVAILABLE'))
    await stub.stop()
    const result = await gateOf(stub).enter()
    expect(result).toEqual(denied('UNAVAILABLE'))
    expect(reasonOf(result)).toBe('introspection: could not be reached: ECONNREFUSED')
  })

  const strange: [string, unknown][] = [
    ['empty', ''],
    ['with a space', 'a b'],
    ['with a line break', 'a\nb'],
    ['with a null character', 'a\u0000'],
    ['in another script', 'tökén'],
    ['with a sign of its own', 'a,b'],
    ['with padding in its middle', 'a=b'],
    ['of padding alone', '=='],
    ['with a percent sign', 'a%20b'],
    ['longer than any', 'a'.repeat(16_385)],
    ['that is no text', 7],
    ['that is an object', { token: 'a' }],
  ]
  test.each(strange)('a token %s, without asking anybody', async (_, text) => {
    const stub = await provider()
    const { probe } = gateOf(stub)
    const header = typeof text === 'string' ? await probe.connect({ headers: { authorization: `Bearer ${text}` } }) : undefined
    const auth = await harness(authenticate(introspection({ endpoint: stub.endpoint, clientId: 'c', clientSecret })), { limits: { maxAuthBytes: 100_000 } }).connect({ auth: { token: text } })
    expect(auth).toEqual(denied('UNAUTHENTICATED'))
    if (header !== undefined) expect(header).toEqual(denied('UNAUTHENTICATED'))
    expect(stub.calls).toEqual([])
  })

  test('a token of the greatest length is still asked about', async () => {
    const stub = await provider()
    expect(await gateOf(stub).probe.connect({ headers: { authorization: `Bearer ${'a'.repeat(16_384)}` } })).toEqual(admitted())
  })
})

describe('the end of an introspected token', () => {
  test('is that of the configuration where the provider names none', async () => {
    const { facts } = await answered({ body: { ...active, exp: undefined } }, { expiresInMs: 60_000 })
    expect(facts.principal.expiresAtMs).toBe(NOW + 60_000)
  })

  test('is the earlier one where there are two', async () => {
    expect((await answered({ body: active }, { expiresInMs: 60_000 })).facts.principal.expiresAtMs).toBe(NOW + 60_000)
    expect((await answered({ body: { ...active, exp: seconds + 10 } }, { expiresInMs: 60_000 })).facts.principal.expiresAtMs).toBe(NOW + 10_000)
  })
})

describe('answers that are kept', () => {
  test('serve for the cache time, from when they were asked for', async () => {
    const stub = await provider()
    const { enter, clock } = gateOf(stub)
    await enter()
    clock.advance(9_999)
    expect(await enter()).toEqual(admitted({ sync: true }))
    expect(stub.calls).toHaveLength(1)
    clock.advance(1)
    await enter()
    expect(stub.calls).toHaveLength(2)
  })

  test('refuse a token that was revoked, within the cache time', async () => {
    const stub = await provider()
    const { enter, clock } = gateOf(stub, { cacheMs: 4_000 })
    expect(await enter()).toEqual(admitted())
    stub.reply = () => ({ body: { active: false } })
    clock.advance(3_999)
    expect(await enter()).toEqual(admitted())
    clock.advance(1)
    expect(await enter()).toEqual(denied('UNAUTHENTICATED'))
  })

  test('count from the question, however long the answer took', async () => {
    const latch = new Latch()
    const stub = await provider(() => ({ body: active, after: latch.opened }))
    const { enter, clock } = gateOf(stub, { cacheMs: 1_000 })
    const slow = enter()
    await stub.asked(1)
    clock.advance(900)
    latch.open()
    await slow
    clock.advance(100)
    await enter()
    expect(stub.calls).toHaveLength(2)
  })

  test('never outlive the token', async () => {
    const stub = await provider(() => ({ body: { ...active, exp: seconds + 3 } }))
    const { enter, clock } = gateOf(stub)
    await enter()
    clock.advance(2_999)
    expect(await enter()).toEqual(admitted())
    clock.advance(1)
    expect(await enter()).toEqual(denied('UNAUTHENTICATED'))
    expect(stub.calls).toHaveLength(2)
  })

  test('are not kept longer where the clock is set back', async () => {
    const stub = await provider()
    const clock = testClock(NOW)
    let back = 0
    const turned = { now: () => clock.now() - back, after: clock.after }
    const probe = harness(authenticate(introspection({ endpoint: stub.endpoint, clientId: 'c', clientSecret, clock: turned })), { clock: turned })
    await probe.connect({ auth: { token: opaque } })
    back = 60_000
    await probe.connect({ auth: { token: opaque } })
    expect(stub.calls).toHaveLength(2)
  })

  test('are kept of active tokens only', async () => {
    const stub = await provider(() => ({ body: { active: false } }))
    const { enter } = gateOf(stub)
    expect(await enter()).toEqual(denied('UNAUTHENTICATED'))
    stub.reply = () => ({ body: active })
    expect(await enter()).toEqual(admitted())
  })

  test('are none where the cache is off', async () => {
    const stub = await provider()
    const { enter } = gateOf(stub, { cacheMs: 0 })
    await enter()
    await enter()
    expect(stub.calls).toHaveLength(2)
  })

  test('are a bounded number: what was not asked for longest goes first', async () => {
    const stub = await provider()
    const { enter } = gateOf(stub, { maxCached: 2 })
    for (const text of ['a', 'b', 'a', 'c', 'a', 'b']) await enter(text)
    expect(stub.calls.map(({ body }) => new URLSearchParams(body).get('token'))).toEqual(['a', 'b', 'c', 'b'])
  })

  test('belong to one token: a change of one character is another token', async () => {
    const stub = await provider(({ body }) => ({ body: { ...active, active: new URLSearchParams(body).get('token') === 'token-a' } }))
    const { enter } = gateOf(stub)
    expect(await enter('token-a')).toEqual(admitted())
    for (const text of ['token-A', 'token-a=', 'token-a.', 'token-']) expect(await enter(text)).toEqual(denied('UNAUTHENTICATED'))
  })
})

describe('many at once', () => {
  test('with one token cost one question, and each gets the answer', async () => {
    const latch = new Latch()
    const stub = await provider(() => ({ body: active, after: latch.opened }))
    const { enter } = gateOf(stub)
    const entering = Array.from({ length: 50 }, () => enter())
    await stub.asked(1)
    latch.open()
    for (const result of await Promise.all(entering)) expect(result).toEqual(admitted())
    expect(stub.calls).toHaveLength(1)
  })

  test('with one bad token are each refused with a refusal of their own', async () => {
    const stub = await provider(() => ({ body: { active: false } }))
    const { enter } = gateOf(stub)
    const results = await Promise.all([enter(), enter(), enter()])
    expect(stub.calls).toHaveLength(1)
    expect(new Set(results.map(({ error }) => error)).size).toBe(3)
    expect(new Set(results.map(({ refusal }) => refusal!.id)).size).toBe(3)
  })

  test('are asked about a bounded number at a time; a bounded number waits, the others are told to come back', async () => {
    const latches = [new Latch(), new Latch(), new Latch()]
    const stub = await provider(() => ({ body: active, after: latches[stub.calls.length - 1]!.opened }))
    const { enter } = gateOf(stub, { maxConcurrent: 2, maxQueued: 1 })
    const entering = ['a', 'b', 'c', 'd', 'e'].map((text) => enter(text))
    expect(await Promise.all(entering.slice(3))).toEqual([denied('UNAVAILABLE'), denied('UNAVAILABLE')])
    await stub.asked(2)
    expect(stub.calls).toHaveLength(2)
    latches[0]!.open()
    await stub.asked(3)
    latches[1]!.open()
    latches[2]!.open()
    expect(await Promise.all(entering.slice(0, 3))).toEqual([admitted(), admitted(), admitted()])
    expect(await enter('a')).toEqual(admitted())
  })

  test('do not wait longer than a question may take, and leave no place occupied behind them', async () => {
    const stub = await provider(() => ({ body: active, after: new Promise(() => undefined) }))
    const { enter, clock } = gateOf(stub, { maxConcurrent: 1, maxQueued: 5 })
    const entering = ['a', 'b', 'c'].map((text) => enter(text))
    await stub.asked(1)
    clock.advance(2_000)
    expect(await Promise.all(entering)).toEqual([denied('UNAVAILABLE'), denied('UNAVAILABLE'), denied('UNAVAILABLE')])
    expect(stub.calls).toHaveLength(1)
    stub.reply = () => ({ body: active })
    for (const text of ['d', 'e', 'f']) expect(await enter(text)).toEqual(admitted())
  })
})

describe('the token of a client', () => {
  test('stands in no address, no error and no record, whatever the provider makes of it', async () => {
    const echoes: Reply[] = [
      { body: { ...active, jti: opaque, token: opaque } },
      { body: { active: false, reason: opaque } },
      { status: 400, body: { error: opaque, error_description: opaque } },
      { status: 401, body: { error: opaque }, headers: { 'www-authenticate': `Bearer error="${opaque}"` } },
      { status: 302, headers: { location: `/${encodeURIComponent(opaque)}` } },
      { body: opaque },
      { type: 'text/html', body: opaque },
      { body: { active: opaque } },
      { status: 500, body: opaque },
      { reset: true },
    ]
    for (const reply of echoes) {
      const stub = await provider(() => reply)
      const { enter, probe } = gateOf(stub)
      const result = await enter()
      const shown = [result.facts, result.refusal, result.sent, probe.decisions, (result.error as Error | undefined)?.message, (result.error as Denied | undefined)?.cause]
      expect(JSON.stringify(shown, (_, value) => (value instanceof Error ? { ...value, message: value.message, stack: value.stack, cause: value.cause } : value))).not.toContain(opaque.slice(0, 12))
      expect(stub.calls.map(({ url }) => url)).toEqual(['/introspect'])
    }
  })
})

const metadataOf = (url: string, changed: object = {}): object => ({ issuer: url, jwks_uri: `${url}/jwks`, introspection_endpoint: `${url}/introspect`, ...changed })
const DISCOVERY = '/.well-known/openid-configuration'

describe('introspection at an issuer', () => {
  test('finds its endpoint out once, at first use', async () => {
    const stub = await provider(({ url }) => ({ body: url === DISCOVERY ? metadataOf(stub.url) : active }))
    const { enter } = gateOf(stub, { issuer: stub.url, cacheMs: 0 })
    expect(stub.calls).toEqual([])
    expect(await Promise.all([enter('a'), enter('b')])).toEqual([admitted(), admitted()])
    expect((await enter('c')).facts.principal.issuer).toBe(stub.url)
    expect(stub.calls.map(({ url }) => url)).toEqual([DISCOVERY, '/introspect', '/introspect', '/introspect'])
  })

  test('looks where RFC 8414 says, where it is told to', async () => {
    const stub = await provider(({ url }) => ({ body: url === '/.well-known/oauth-authorization-server/tenant' ? metadataOf(`${stub.url}/tenant`, { introspection_endpoint: `${stub.url}/introspect` }) : active }))
    expect(await gateOf(stub, { issuer: `${stub.url}/tenant`, wellKnown: 'oauth-authorization-server' }).enter()).toEqual(admitted())
    expect(stub.calls.map(({ url }) => url)).toEqual(['/.well-known/oauth-authorization-server/tenant', '/introspect'])
  })

  test('is unavailable where the metadata name no endpoint', async () => {
    const stub = await provider(() => ({ body: metadataOf(stub.url, { introspection_endpoint: undefined }) }))
    expect(await gateOf(stub, { issuer: stub.url }).enter()).toEqual(denied('UNAVAILABLE'))
  })
})

const { privateKey, publicKey } = pairs.ec256
const es = signer('ES256', privateKey)
const jwk = { ...publicKey.export({ format: 'jwk' }), kid: 'k1', alg: 'ES256', use: 'sig' }

/** A provider with metadata and keys; both may be changed. */
async function openidProvider() {
  const own = { metadata: (): Reply => ({ body: metadataOf(stub.url) }), keys: [jwk] as object[] }
  const stub = await provider(({ url }) => (url === DISCOVERY ? own.metadata() : { body: { keys: own.keys } }))
  return Object.assign(own, { stub, urls: () => stub.calls.map(({ url }) => url) })
}

function openidGate({ url }: Stub, options: Partial<OpenidOptions> = {}) {
  const [clock, timers] = [testClock(NOW), testClock(NOW)]
  const probe = harness(authenticate(openid({ issuer: url, audience, clock: timers, ...options })), { clock, deadlineMs: 60_000 })
  return {
    clock: bothOf(clock, timers),
    timers,
    probe,
    enter: (changed: object = {}, header: object = {}, signed = es) =>
      probe.connect({ auth: { token: token({ alg: 'ES256', kid: 'k1', ...header }, { iss: url, aud: audience, sub: 'alice', exp: seconds + 10 * 24 * 3_600, ...changed }, signed) } }),
  }
}

describe('openid', () => {
  test('asks nobody before a token comes, then for the metadata and the keys, and for nothing again', async () => {
    const { stub, urls } = await openidProvider()
    const { enter } = openidGate(stub)
    expect(urls()).toEqual([])
    const first = await enter({ jti: 't-1', amr: ['pwd'] })
    expect(first.facts.principal).toMatchObject({ subject: 'alice', issuer: stub.url, tokenId: 't-1', factors: ['pwd'] })
    expect(await enter({ sub: 'bob' })).toEqual(admitted())
    expect(urls()).toEqual([DISCOVERY, '/jwks'])
  })

  test('knows a provider by the very spelling of its issuer, with a slash at the end where it has one', async () => {
    const provider = await openidProvider()
    const issuer = `${provider.stub.url}/`
    provider.metadata = () => ({ body: metadataOf(provider.stub.url, { issuer }) })
    const gate = openidGate(provider.stub, { issuer })
    expect(await gate.enter({ iss: issuer })).toEqual(admitted())
    expect(await gate.enter()).toEqual(denied('UNAUTHENTICATED'))
  })

  test('asks once however many come at once', async () => {
    const { stub, urls } = await openidProvider()
    const { enter } = openidGate(stub)
    const results = await Promise.all(Array.from({ length: 30 }, (_, index) => enter({ sub: `user-${index}` })))
    for (const result of results) expect(result).toEqual(admitted())
    expect(urls()).toEqual([DISCOVERY, '/jwks'])
  })

  const bad: [string, object, object?, typeof es?, Partial<OpenidOptions>?][] = [
    ['of another issuer', { iss: 'https://evil.example' }],
    ['for another audience', { aud: 'mail' }],
    ['that has expired', { exp: seconds }],
    ['without an end', { exp: undefined }],
    ['without a subject', { sub: undefined }],
    ['that is bound to a key', { cnf: { jkt: 'abc' } }],
    ['signed with a key of its own', {}, {}, signer('ES256', pairs.ec384.privateKey)],
    ['signed with the published key as a secret', {}, { alg: 'HS256' }, signer('HS256', publicKey.export({ format: 'pem', type: 'spki' }).toString())],
    ['of no algorithm', {}, { alg: 'none' }, () => Buffer.alloc(0)],
    ['of another type than is asked for', {}, { typ: 'JWT' }, es, { typ: 'at+jwt' }],
    ['of another algorithm than is asked for', {}, {}, es, { algorithms: ['RS256'] }],
    ['older than is asked for', { iat: seconds - 61 }, {}, es, { maxAgeMs: 60_000 }],
  ]
  test.each(bad)('refuses a token %s', async (_, claims, header = {}, signed = es, options = {}) => {
    const { stub } = await openidProvider()
    expect(await openidGate(stub, options).enter(claims, header, signed)).toEqual(denied('UNAUTHENTICATED'))
  })

  test('takes the type, the audience and the tolerance it is told', async () => {
    const { stub } = await openidProvider()
    const gate = openidGate(stub, { typ: 'at+jwt', audience: ['other', 'api'], clockToleranceMs: 5_000, subjectClaim: 'client_id', algorithms: ['ES256'] })
    const { facts } = await gate.enter({ aud: 'api', exp: seconds - 4, client_id: 'robot' }, { typ: 'at+jwt' })
    expect(facts.principal.subject).toBe('robot')
  })

  test('sends nobody to the provider for what is no token at all', async () => {
    const { stub, urls } = await openidProvider()
    const { probe } = openidGate(stub)
    for (const text of ['', 'opaque', 'a.b', 'a.b.c.d', 'a.b.c=', `${'a'.repeat(16_384)}.b.c`]) expect(await probe.connect({ headers: { authorization: `Bearer ${text}` } })).toEqual(denied('UNAUTHENTICATED'))
    expect(urls()).toEqual([])
  })

  const unfit: [string, (url: string) => Reply][] = [
    ['of another issuer', (url) => ({ body: metadataOf(url, { issuer: 'https://evil.example' }) })],
    ['whose issuer is spelled in another way', (url) => ({ body: metadataOf(url, { issuer: `${url}/` }) })],
    ['without an issuer', (url) => ({ body: metadataOf(url, { issuer: undefined }) })],
    ['whose issuer is no text', (url) => ({ body: metadataOf(url, { issuer: [url] }) })],
    ['without keys', (url) => ({ body: metadataOf(url, { jwks_uri: undefined }) })],
    ['whose keys are nowhere', (url) => ({ body: metadataOf(url, { jwks_uri: '/jwks' }) })],
    ['whose keys travel in the open', (url) => ({ body: metadataOf(url, { jwks_uri: 'http://keys.example/jwks' }) })],
    ['whose keys are a file', (url) => ({ body: metadataOf(url, { jwks_uri: 'file:///etc/keys.json' }) })],
    ['whose keys are in the address itself', (url) => ({ body: metadataOf(url, { jwks_uri: 'data:application/json,{"keys":[]}' }) })],
    ['whose keys are behind a password', (url) => ({ body: metadataOf(url, { jwks_uri: 'https://user:pass@keys.example/jwks' }) })],
    ['whose keys are no text', (url) => ({ body: metadataOf(url, { jwks_uri: [`${url}/jwks`] }) })],
    ['that are elsewhere', () => ({ status: 302, headers: { location: '/jwks' } })],
    ['that are a list', (url) => ({ body: [metadataOf(url)] })],
    ['that are HTML', (url) => ({ type: 'text/html', body: metadataOf(url) })],
    ['that are no JSON', () => ({ body: '{' })],
    ['that do not exist', () => ({ status: 404, body: {} })],
    ['that are longer than any', (url) => ({ body: metadataOf(url, { filler: 'x'.repeat(70_000) }) })],
    ['that cannot be had now', () => ({ status: 503 })],
    ['that break off', () => ({ reset: true })],
  ]
  test.each(unfit)('is unavailable with metadata %s', async (_, metadata) => {
    const provider = await openidProvider()
    provider.metadata = () => metadata(provider.stub.url)
    const result = await openidGate(provider.stub).enter()
    expect(result).toEqual(denied('UNAVAILABLE'))
    expect(reasonOf(result)).toMatch(/^openid: discovery at http/)
    expect(provider.urls()).toEqual([DISCOVERY])
  })

  test('is unavailable where the metadata do not come in time', async () => {
    const provider = await openidProvider()
    provider.metadata = () => ({ body: '{', halfWay: true })
    const { enter, clock, timers } = openidGate(provider.stub)
    const entering = enter()
    await provider.stub.asked(1)
    clock.advance(2_000)
    expect(await entering).toEqual(denied('UNAVAILABLE'))
    expect(timers.pending).toBe(0)
  })

  test('leaves a provider that failed alone for a while, and recovers by itself', async () => {
    const provider = await openidProvider()
    const { stub, urls } = provider
    provider.metadata = () => ({ status: 503 })
    const { enter, clock } = openidGate(stub)
    for (let tries = 0; tries < 20; tries++) expect(await enter({ sub: `user-${tries}` })).toEqual(denied('UNAVAILABLE'))
    expect(urls()).toEqual([DISCOVERY])
    provider.metadata = () => ({ body: metadataOf(stub.url) })
    clock.advance(4_999)
    expect(await enter()).toEqual(denied('UNAVAILABLE'))
    clock.advance(1)
    expect(await enter()).toEqual(admitted())
    expect(urls()).toEqual([DISCOVERY, DISCOVERY, '/jwks'])
  })

  test('refreshes the metadata beside the work, and follows the keys to another address', async () => {
    const provider = await openidProvider()
    const { stub, urls } = provider
    const { enter, clock, timers } = openidGate(stub, { discoveryCacheMs: 60_000, jwksCacheMs: 24 * 3_600_000 })
    await enter()
    provider.metadata = () => ({ body: metadataOf(stub.url, { jwks_uri: `${stub.url}/new` }) })
    clock.advance(60_000)
    expect(await enter()).toEqual(admitted())
    await stub.asked(3)
    await until(() => timers.pending === 0)
    expect(await enter()).toEqual(admitted())
    expect(urls()).toEqual([DISCOVERY, '/jwks', DISCOVERY, '/new'])
  })

  test('goes on with what it knows while the provider is away, for a bounded time', async () => {
    const provider = await openidProvider()
    const { stub, urls } = provider
    const hour = 3_600_000
    const { enter, clock } = openidGate(stub, { discoveryCacheMs: hour, discoveryStaleMs: 3 * hour, discoveryCooldownMs: hour })
    await enter()
    provider.metadata = () => ({ status: 500 })
    clock.advance(hour)
    for (let tries = 0; tries < 5; tries++) expect(await enter()).toEqual(admitted())
    await until(() => urls().filter((url) => url === DISCOVERY).length === 2)
    expect(urls().filter((url) => url === DISCOVERY)).toHaveLength(2)
    clock.advance(2 * hour - 1)
    expect(await enter()).toEqual(admitted())
    clock.advance(1)
    expect(await enter()).toEqual(denied('UNAVAILABLE'))
    provider.metadata = () => ({ body: metadataOf(stub.url) })
    clock.advance(hour)
    expect(await enter()).toEqual(admitted())
  })

  test('is unavailable where the keys cannot be had', async () => {
    const { stub, urls } = await openidProvider()
    const { reply } = stub
    stub.reply = (call) => (call.url === '/jwks' ? { status: 500 } : reply(call))
    expect(await openidGate(stub).enter()).toEqual(denied('UNAVAILABLE'))
    expect(urls()).toEqual([DISCOVERY, '/jwks'])
  })

  test('takes the keys of a rotation, the old and the new, until the old one is gone', async () => {
    const provider = await openidProvider()
    const { enter, clock } = openidGate(provider.stub)
    const newSigner = signer('RS256', pairs.rsa.privateKey)
    const renewed = (changed: object = {}) => enter(changed, { alg: 'RS256', kid: 'k2' }, newSigner)
    expect(await enter()).toEqual(admitted())
    provider.keys = [jwk, { ...pairs.rsa.publicKey.export({ format: 'jwk' }), kid: 'k2', alg: 'RS256' }]
    clock.advance(30_000)
    expect([await renewed(), await enter()]).toEqual([admitted(), admitted()])
    provider.keys = provider.keys.slice(1)
    clock.advance(600_000)
    expect([await renewed({ sub: 'bob' }), await enter()]).toEqual([admitted(), denied('UNAUTHENTICATED')])
  })
})

describe('options that make no sense', () => {
  const endpoint = 'https://id.example/introspect'
  const client = { clientId: 'portcullis', clientSecret }
  const wrong: [string, unknown, RegExp][] = [
    ['nothing', undefined, /takes an object of options/],
    ['no place', { ...client }, /an endpoint, or an issuer/],
    ['an unknown one', { endpoint, ...client, audienc: 'x' }, /unknown option "audienc"/],
    ['plain http', { endpoint: 'http://id.example/introspect', ...client }, /endpoint is http/],
    ['a name that only looks like this machine', { endpoint: 'http://localhost.evil.example/', ...client }, /endpoint is http/],
    ['an address that only looks like this machine', { endpoint: 'http://127.0.0.1.evil.example/', ...client }, /endpoint is http/],
    ['another kind of address', { endpoint: 'ftp://id.example/', ...client }, /no https address/],
    ['no address', { endpoint: 'introspect', ...client }, /is no address/],
    ['an address with a password', { endpoint: 'https://a:b@id.example/', ...client }, /user name or a password/],
    ['an address with a fragment', { endpoint: `${endpoint}#x`, ...client }, /fragment/],
    ['an issuer with a query', { issuer: 'https://id.example/?a=b', ...client }, /query or a fragment/],
    ['an issuer in the open beside an endpoint', { endpoint, issuer: 'http://id.example', ...client }, /issuer is http/],
    ['discovery beside an endpoint', { endpoint, ...client, discoveryCacheMs: 60_000 }, /discoveryCacheMs/],
    ['no client', { endpoint, clientSecret }, /clientId/],
    ['no secret', { endpoint, clientId: 'c' }, /clientSecret/],
    ['an empty secret', { endpoint, clientId: 'c', clientSecret: '' }, /clientSecret/],
    ['a secret that is not used', { endpoint, ...client, clientAuth: None() }, /clientSecret is for/],
    ['an unknown way to authenticate', { endpoint, ...client, clientAuth: 'none' }, /clientAuth/],
    ['a cache that is too long', { endpoint, ...client, cacheMs: 60_001 }, /cacheMs/],
    ['a cache without bound', { endpoint, ...client, maxCached: Infinity }, /maxCached/],
    ['a cache of nothing', { endpoint, ...client, maxCached: 0 }, /maxCached/],
    ['no time', { endpoint, ...client, timeoutMs: 0 }, /timeoutMs/],
    ['time without end', { endpoint, ...client, timeoutMs: Infinity }, /timeoutMs/],
    ['nobody at once', { endpoint, ...client, maxConcurrent: 0 }, /maxConcurrent/],
    ['half a place in the queue', { endpoint, ...client, maxQueued: 0.5 }, /maxQueued/],
    ['an end that is text', { endpoint, ...client, expiresInMs: 'never' }, /expiresInMs/],
    ['an end that is no end', { endpoint, ...client, expiresInMs: Infinity }, /expiresInMs/],
    ['too much tolerance', { endpoint, ...client, clockToleranceMs: 300_001 }, /clockToleranceMs/],
    ['a switch that is text', { endpoint, ...client, usernameAsSubject: 'yes' }, /usernameAsSubject/],
    ['another switch that is text', { endpoint, ...client, dangerouslyUntyped: 1 }, /dangerouslyUntyped/],
    ['an empty list of audiences', { endpoint, ...client, audience: [] }, /audience/],
    ['an empty audience', { endpoint, ...client, audience: '' }, /audience/],
    ['a place to read from that is none', { endpoint, ...client, from: 'cookie' }, /introspection: from/],
    ['a clock that is none', { endpoint, ...client, clock: Date }, /clock/],
  ]
  test.each(wrong)('introspection: %s', (_, options, message) => {
    expect(() => introspection(options as IntrospectionOptions)).toThrow(ConfigError)
    expect(() => introspection(options as IntrospectionOptions)).toThrow(message)
  })

  const issuer = 'https://id.example'
  const wrongToo: [string, unknown, RegExp][] = [
    ['nothing', null, /takes an object of options/],
    ['no issuer', { audience }, /openid: issuer/],
    ['no audience', { issuer }, /openid: audience/],
    ['an unknown one', { issuer, audience, jwksUri: 'https://id.example/jwks' }, /unknown option "jwksUri"/],
    ['plain http', { issuer: 'http://id.example', audience }, /issuer is http/],
    ['an issuer with a query', { issuer: 'https://id.example?x', audience }, /query or a fragment/],
    ['an issuer with an empty fragment', { issuer: 'https://id.example#', audience }, /query or a fragment/],
    ['an issuer that is no address', { issuer: 'id.example', audience }, /is no address/],
    ['an unknown place', { issuer, audience, wellKnown: 'jwks' }, /wellKnown/],
    ['a place that every object has', { issuer, audience, wellKnown: 'toString' }, /wellKnown/],
    ['a cache that is too short', { issuer, audience, discoveryCacheMs: 1_000 }, /discoveryCacheMs/],
    ['metadata that are stale before they are not fresh', { issuer, audience, discoveryCacheMs: 120_000, discoveryStaleMs: 60_000 }, /discoveryStaleMs/],
    ['metadata without end', { issuer, audience, discoveryStaleMs: Infinity }, /discoveryStaleMs/],
    ['no pause', { issuer, audience, discoveryCooldownMs: 0 }, /discoveryCooldownMs/],
    ['no time', { issuer, audience, timeoutMs: -1 }, /timeoutMs/],
    ['an algorithm with a secret', { issuer, audience, algorithms: ['HS256'] }, /openid: HS256/],
    ['no algorithm', { issuer, audience, algorithms: ['none'] }, /openid: .*none/],
    ['an empty type', { issuer, audience, typ: '' }, /openid: typ/],
    ['a place to read from that is none', { issuer, audience, from: [] }, /openid: from/],
    ['a clock that is none', { issuer, audience, clock: {} }, /clock/],
  ]
  test.each(wrongToo)('openid: %s', (_, options, message) => {
    expect(() => openid(options as OpenidOptions)).toThrow(ConfigError)
    expect(() => openid(options as OpenidOptions)).toThrow(message)
  })

  test('a secret is shown in no message', () => {
    const shown = (options: object): string => {
      try {
        introspection(options as IntrospectionOptions)
      } catch (error) {
        return String(error)
      }
      return ''
    }
    expect(shown({ endpoint, clientId: 'c', clientSecret: [clientSecret] })).toMatch(/clientSecret must be/)
    for (const options of [{ endpoint: 'x', ...client }, { endpoint, clientId: 'c', clientSecret: [clientSecret] }, { endpoint, ...client, clientAuth: None() }]) expect(shown(options)).not.toContain(clientSecret)
  })

  test('http is for the machine itself', () => {
    for (const host of ['localhost', '127.0.0.1', '127.9.9.9', '[::1]', 'LOCALHOST:8080']) expect(() => introspection({ endpoint: `http://${host}/introspect`, ...client })).not.toThrow()
  })
})
