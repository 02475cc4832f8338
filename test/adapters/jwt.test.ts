import { describe, expect, test } from '@jest/globals'
import { createHash, createSecretKey, generateKeyPairSync, webcrypto } from 'node:crypto'
import { jwtVerify } from 'jose'
import { ConfigError, fromAuth, fromBearer, type Denied } from 'portcullis'
import type { Clock, ConnectContext } from 'portcullis'
import { jwt } from 'portcullis/adapters/jwt'
import type { JwtOptions } from 'portcullis/adapters/jwt'
import { authenticate } from 'portcullis/policies'
import { admitted, denied, harness, testClock } from 'portcullis/testing'
import { canonicalTokenId } from '../../lib/revocation.ts'
import { audience, claims, groups, honest, hs, hsHeader, hsText, hsWith, issuer, keyed, keyedMutations, mutations, NOW, parts, seconds, secret, without } from '../support/mutated-tokens.ts'
import { base64url, cryptoKeyOf, issuers, pairs, pemOf, secretKeyOf, signer, token } from '../support/tokens.ts'

/** Self-signed, on P-256, good for one day. Nobody has its key. */
const certificate = `-----BEGIN CERTIFICATE-----
MIIBgDCCASWgAwIBAgIUWiiWV421+s8RSYRLfAAV/Pgx05owCgYIKoZIzj0EAwIw
FTETMBEGA1UEAwwKaWQuZXhhbXBsZTAeFw0yNjExMjEwODQ1NDNaFw0yNjExMjIw
ODQ1NDNaMBUxEzARBgNVBAMMCmlkLmV4YW1wbGUwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAT0Sb/YalbkyamgY9uuHtrauE2OuMfsaz8ybo3XXcKiN67fsmJ4yRLG
HR631Vr07mPjkX1FXuW42cRFyLXEp5H2o1MwUTAdBgNVHQ4EFgQU2PW2wcGUYLdg
7heU6ayWfauaBsMwHwYDVR0jBBgwFoAU2PW2wcGUYLdg7heU6ayWfauaBsMwDwYD
VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNJADBGAiEAiR+xKkA5WbCun6kRwQi6
gG3lAbjyRMdKMeaep8r5hCMCIQDK61DRAxRWjQbM9ENk3YHQGFSswxg3WeZ6Laid
gRFWfw==
-----END CERTIFICATE-----`

function gateOf(options: JwtOptions = { secret, issuer, audience }, clock: Clock = testClock(NOW)) {
  // Every test fails more often than an address may.
  return harness(authenticate(jwt(options), { failures: { perAddress: false } }), { clock })
}

const [head, body, sig] = parts(honest)
const inAuth = (text: unknown) => ({ auth: { token: text } })
const inHeader = (text: string) => ({ headers: { authorization: `Bearer ${text}` } })
const carriers = (text: string) => [inAuth(text), inHeader(text)]

describe('an honest token', () => {
  test('is the principal, on both carriers', async () => {
    const full = { ...claims, jti: 't-1', amr: ['pwd', 'otp'], iat: seconds, nbf: seconds, roles: ['editor'], deep: { team: { id: 7 } } }
    const text = hsText(full)
    for (const carrier of carriers(text)) {
      const { facts } = await gateOf().connect(carrier)
      expect(facts).toEqual({ principal: { subject: 'alice', issuer, claims: full, expiresAtMs: (seconds + 3_600) * 1_000, tokenId: 't-1', factors: ['pwd', 'otp'] } })
    }
  })

  test('gives claims that nobody can change', async () => {
    const { facts } = await gateOf().connect(inAuth(hsWith({ roles: ['viewer'], amr: ['pwd'] })))
    expect(() => facts.principal.claims.roles.push('admin')).toThrow(TypeError)
    expect(() => facts.principal.factors.push('otp')).toThrow(TypeError)
    expect(() => (facts.principal.claims.role = 'admin')).toThrow(TypeError)
  })

  test('has no factors where it names none', async () => {
    expect((await gateOf().connect(inAuth(honest))).facts.principal.factors).toEqual([])
  })

  test('without a jti is known by what was signed, whatever is done to its signature', async () => {
    const idOf = async (gate: ReturnType<typeof gateOf>, text: string): Promise<string> => (await gate.connect(inAuth(text))).facts.principal.tokenId
    const id = await idOf(gateOf(), honest)
    expect(id).toBe(`sha256:${createHash('sha256').update(`${head}.${body}`).digest('base64url')}`)
    expect(id).toBe(canonicalTokenId(honest))
    expect(await idOf(gateOf(), hsWith({ n: 1 }))).not.toBe(id)

    // Of each ECDSA signature everybody can make a second one that is right as well.
    const { publicKey, issuer: own, honest: text } = keyed.ec
    const gate = gateOf({ publicKey, issuer: own, audience })
    const [first, second, signature] = parts(text)
    const bytes = Buffer.from(signature, 'base64url')
    const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n
    const s = order - BigInt(`0x${bytes.subarray(32).toString('hex')}`)
    const other = `${first}.${second}.${Buffer.concat([bytes.subarray(0, 32), Buffer.from(s.toString(16).padStart(64, '0'), 'hex')]).toString('base64url')}`
    expect(other).not.toBe(text)
    expect(await idOf(gate, other)).toBe(await idOf(gate, text))
  })

  test.each(issuers)('of $alg is taken with its key as JWK, PEM, KeyObject and CryptoKey', async ({ alg, publicKey, signed }) => {
    const text = token({ alg }, claims, signed)
    const keys = [publicKey.export({ format: 'jwk' }), { ...publicKey.export({ format: 'jwk' }), alg, use: 'sig', key_ops: ['verify'], kid: 'k1' }, pemOf(publicKey), publicKey, await cryptoKeyOf(alg, publicKey)]
    for (const key of keys) {
      const gate = gateOf({ publicKey: key, algorithms: [alg as 'RS256'], issuer, audience })
      for (const carrier of carriers(text)) expect(await gate.connect(carrier)).toEqual(admitted())
    }
  })

  test.each(['HS256', 'HS384', 'HS512'] as const)('of %s is taken with its secret as text, bytes and KeyObject', async (alg) => {
    const own = secret.repeat(2)
    const text = token({ alg }, claims, signer(alg, own))
    for (const key of [own, Buffer.from(own), new Uint8Array(Buffer.from(own)), secretKeyOf(own)]) {
      expect(await gateOf({ secret: key, algorithms: [alg], issuer, audience }).connect(inAuth(text))).toEqual(admitted())
    }
  })

  test('is of one algorithm unless more are named: HS256, RS256, that of the curve, or the "alg" of a JWK', async () => {
    expect(await gateOf().connect(inAuth(honest))).toEqual(admitted())
    for (const { alg, publicKey, signed } of issuers) {
      const verdict = await gateOf({ publicKey, issuer, audience }).connect(inAuth(token({ alg }, claims, signed)))
      expect(verdict).toEqual(/^(RS(384|512)|PS)/.test(alg) ? denied('UNAUTHENTICATED') : admitted())
      const jwk = { ...publicKey.export({ format: 'jwk' }), alg }
      expect(await gateOf({ publicKey: jwk, issuer, audience }).connect(inAuth(token({ alg }, claims, signed)))).toEqual(admitted())
    }
  })

  test('may be of any of several algorithms that go with the key', async () => {
    const gate = gateOf({ publicKey: pairs.rsa.publicKey, algorithms: ['RS256', 'PS512'], issuer, audience })
    for (const { alg, signed } of issuers.slice(0, 6)) {
      const verdict = await gate.connect(inAuth(token({ alg }, claims, signed)))
      expect(verdict).toEqual(alg === 'RS256' || alg === 'PS512' ? admitted() : denied('UNAUTHENTICATED'))
    }
  })

  const welcome: [string, string, Partial<JwtOptions>][] = [
    ['several audiences', hsWith({ aud: ['billing', audience] }), {}],
    ['fractions of a second', hsWith({ exp: seconds + 0.5, iat: seconds - 0.5 }), {}],
    ['a subject in another script', hsWith({ sub: 'Ålesund/张伟 😀' }), {}],
    ['a subject as long as may be', hsWith({ sub: 'x'.repeat(255) }), {}],
    ['members of the same name in different objects', hsWith({ a: { id: 1 }, b: { id: 2 }, id: 3 }), {}],
    ['text that looks like JSON', hsWith({ bio: 'he said: "sub": "bob", \\"iss\\": 1 {', '": "': 1 }), {}],
    ['spaces between the claims', hsText(JSON.stringify(claims, null, 4)), {}],
    ['a header that names a key of its own, which is overlooked', hsHeader({ alg: 'HS256', kid: 'k1', jku: 'https://evil.example/keys', x5u: 'https://evil.example/cert', jwk: pairs.rsa.publicKey.export({ format: 'jwk' }) }), {}],
    ['the type that is asked for', hsHeader({ alg: 'HS256', typ: 'at+jwt' }), { typ: 'at+jwt' }],
    ['the type in its long form (RFC 9068 2.1)', hsHeader({ alg: 'HS256', typ: 'application/AT+JWT' }), { typ: 'at+jwt' }],
    ['no type where none is asked for', hsHeader({ alg: 'HS256' }), {}],
    ['a subject in a claim of its own', hsWith({ ...without('sub'), client_id: 'alice' }), { subjectClaim: 'client_id' }],
    ['a time that has come within the tolerance', hsWith({ nbf: seconds + 5 }), { clockToleranceMs: 5_000 }],
    ['an end within the tolerance', hsWith({ exp: seconds - 4 }), { clockToleranceMs: 5_000 }],
    ['any of several audiences', hsWith({ aud: 'chat-eu' }), { audience: ['chat-us', 'chat-eu'] }],
    ['one of several audiences among its own', hsWith({ aud: ['billing', 'chat-eu'] }), { audience: ['chat-us', 'chat-eu'] }],
    ['the greatest age', hsWith({ iat: seconds - 59.999 }), { maxAgeMs: 60_000 }],
    ['an age within the tolerance', hsWith({ iat: seconds - 64 }), { maxAgeMs: 60_000, clockToleranceMs: 5_000 }],
    ['been made in a future within the tolerance', hsWith({ iat: seconds + 5 }), { maxAgeMs: 60_000, clockToleranceMs: 5_000 }],
    ['been made at any time where its age is not asked for', hsWith({ iat: seconds + 86_400 }), {}],
    ['a type among others that are asked for by their long name', hsHeader({ alg: 'HS256', typ: 'at+jwt' }), { typ: 'application/at+jwt' }],
  ]
  test.each(welcome)('may have %s', async (_, text, options) => {
    const gate = gateOf({ secret, issuer, audience, ...options } as JwtOptions)
    for (const carrier of carriers(text)) expect(await gate.connect(carrier)).toEqual(admitted())
  })

  test('is taken from the header whatever the case of the scheme, and never from the query', async () => {
    for (const name of ['bearer', 'BEARER', 'Bearer']) expect(await gateOf().connect({ headers: { authorization: `${name} ${honest}` } })).toEqual(admitted())
    for (const name of ['token', 'access_token', 'auth', 'jwt']) expect(await gateOf().connect({ url: `/socket.io/?EIO=4&transport=polling&${name}=${honest}` })).toEqual(denied('UNAUTHENTICATED'))
    expect(await gateOf().connect({ headers: { cookie: `token=${honest}` } })).toEqual(denied('UNAUTHENTICATED'))
    expect(await gateOf().connect({ auth: { Token: honest, access_token: honest, nested: { token: honest } } })).toEqual(denied('UNAUTHENTICATED'))
  })

  test('may be on both carriers, if it is the same', async () => {
    expect(await gateOf().connect({ ...inAuth(honest), ...inHeader(honest) })).toEqual(admitted())
    const other = hsWith({ sub: 'bob' })
    for (const both of [{ ...inAuth(honest), ...inHeader(other) }, { ...inAuth(other), ...inHeader(honest) }, { ...inAuth(honest), ...inHeader('') }, { ...inAuth(7), ...inHeader(honest) }, { ...inAuth(''), ...inHeader(honest) }]) {
      expect(await gateOf().connect(both)).toEqual(denied('UNAUTHENTICATED'))
    }
    expect(await gateOf().connect({ ...inAuth(honest), headers: { authorization: `Bearer\t${honest}` } })).toEqual(denied('UNAUTHENTICATED'))
  })

  test('is not disturbed by a credential of another kind in the header, nor by an empty field', async () => {
    expect(await gateOf().connect({ ...inAuth(honest), headers: { authorization: 'Basic c3RhZ2luZzpwYXNz' } })).toEqual(admitted())
    expect(await gateOf().connect({ ...inAuth(null), ...inHeader(honest) })).toEqual(admitted())
  })
})

/** The one refusal, byte for byte but for its id. */
const REFUSAL = JSON.stringify({ message: 'UNAUTHENTICATED', data: { code: 'UNAUTHENTICATED', message: 'Valid credentials are required.', id: '' } })

async function expectRefused(gate: ReturnType<typeof gateOf>, text: string): Promise<void> {
  for (const carrier of carriers(text)) {
    const result = await gate.connect(carrier)
    expect(result).toEqual(denied('UNAUTHENTICATED'))
    expect(JSON.stringify(result.sent).replace(/"id":"[^"]+"/, '"id":""')).toBe(REFUSAL)
    expect(typeof (result.error as Denied).cause).toBe('string')
  }
}

describe.each(groups)('a changed token: %s', (_, mutations) => {
  const gate = gateOf()
  test.each(mutations)('%s', async (_title, text) => {
    await expectRefused(gate, text)
    // Nor does it get in a second time, and the honest one still does.
    await expectRefused(gate, text)
    expect(await gate.connect(inAuth(honest))).toEqual(admitted())
  })
})

test('the tables hold what they promise: more than three hundred different tokens', () => {
  expect(new Set(groups.flatMap(([, mutations]) => mutations.map(([, text]) => text))).size).toBeGreaterThan(300)
})

test('no token with a single character changed gets in', async () => {
  const gate = gateOf()
  for (let at = 0; at < honest.length; at++) {
    const other = honest[at] === 'A' ? 'B' : 'A'
    const result = await gate.connect(inAuth(honest.slice(0, at) + other + honest.slice(at + 1)))
    expect([at, result.code]).toEqual([at, 'UNAUTHENTICATED'])
  }
})

describe('a changed token of an issuer with a public key', () => {
  const gates = Object.fromEntries(Object.entries(keyed).map(([kind, each]) => [kind, gateOf({ publicKey: each.publicKey, issuer: each.issuer, audience })]))

  test.each(keyedMutations)('%s: %s', async (kind, _, text) => {
    await expectRefused(gates[kind]!, text)
    expect(await gates[kind]!.connect(inAuth(keyed[kind].honest))).toEqual(admitted())
  })
})

describe('a changed token where more is asked for', () => {
  const typed = (typ: unknown) => hsHeader({ alg: 'HS256', typ })
  test.each([undefined, null, '', 'JWT', 'at+jw', 'at+jwts', 'at+jwt ', 7, ['at+jwt'], { 0: 'at+jwt' }, 'application/at+jwt;v=1', 'text/at+jwt', 'ａt+jwt'])('type %j', async (typ) => {
    const gate = gateOf({ secret, issuer, audience, typ: 'at+jwt' })
    await expectRefused(gate, typed(typ))
    expect(await gate.connect(inAuth(typed('at+jwt')))).toEqual(admitted())
  })

  test.each<[string, object]>([
    ['no such claim', {}],
    ['a number', { client_id: 7 }],
    ['an empty one', { client_id: '' }],
    ['a bad sub beside it', { client_id: 'c-1', sub: 7 }],
  ])('subject from another claim: %s', async (_, changed) => {
    await expectRefused(gateOf({ secret, issuer, audience, subjectClaim: 'client_id' }), hsWith(changed))
  })

  test.each(['__proto__', 'constructor', 'toString'])('subject from %s, which everything has', async (subjectClaim) => {
    await expectRefused(gateOf({ secret, issuer, audience, subjectClaim }), honest)
  })

  test.each(['chat', ['chat'], 'chat-us,chat-eu', [], ['chat-us', 7], null])('audience %j, where one of two others is meant', async (aud) => {
    await expectRefused(gateOf({ secret, issuer, audience: ['chat-us', 'chat-eu'] }), hsWith({ aud }))
  })

  test.each<[string, object]>([
    ['none', {}],
    ['null', { iat: null }],
    ['text', { iat: String(seconds) }],
    ['too long ago', { iat: seconds - 60 }],
    ['zero', { iat: 0 }],
    ['in the future', { iat: seconds + 0.001 }],
    ['in the far future', { iat: seconds + 86_400 }],
    ['in milliseconds', { iat: NOW }],
  ])('iat, where the age is limited: %s', async (_, changed) => {
    await expectRefused(gateOf({ secret, issuer, audience, maxAgeMs: 60_000 }), hsWith(changed))
  })

  test('times beyond the tolerance', async () => {
    const gate = gateOf({ secret, issuer, audience, clockToleranceMs: 5_000 })
    await expectRefused(gate, hsWith({ exp: seconds - 5 }))
    await expectRefused(gate, hsWith({ nbf: seconds + 6 }))
    const young = gateOf({ secret, issuer, audience, clockToleranceMs: 5_000, maxAgeMs: 60_000 })
    await expectRefused(young, hsWith({ iat: seconds - 65 }))
    await expectRefused(young, hsWith({ iat: seconds + 5.001 }))
  })
})

test.each<[string, unknown]>([
  ['a number', 7],
  ['true', true],
  ['an object', {}],
  ['a list of one', [honest]],
  ['an object that turns into one', { toString: () => honest }],
  ['the parts in an object', { protected: head, payload: body, signature: sig }],
  ['bytes', Buffer.from(honest)],
  ['a String', new String(honest)],
])('what is no text is refused: %s', async (_, value) => {
  const result = await gateOf().connect({ auth: { token: value } })
  expect(['UNAUTHENTICATED', 'INVALID_PAYLOAD']).toContain(result.code)
})

describe('a token that was seen before', () => {
  const bob = hsWith({ sub: 'bob' })
  const carol = hsWith({ sub: 'carol' })

  test('is not verified again, and is the same principal', async () => {
    const gate = gateOf()
    const first = await gate.connect(inAuth(honest))
    const second = await gate.connect(inHeader(honest))
    expect(second.facts.principal).toBe(first.facts.principal)
  })

  test('is refused all the same once it has expired', async () => {
    const clock = testClock(NOW)
    const gate = gateOf({ secret, issuer, audience }, clock)
    expect(await gate.connect(inAuth(honest))).toEqual(admitted())
    clock.advance(3_599_999)
    expect(await gate.connect(inAuth(honest))).toEqual(admitted({ sync: true }))
    clock.advance(1)
    await expectRefused(gate, honest)
  })

  test('is refused by the scheme itself, whoever asks it', async () => {
    const scheme = jwt({ secret, issuer, audience })
    const at = (now: number) => Promise.resolve().then(() => scheme.verify(honest, { now } as ConnectContext))
    expect((await at(NOW)).subject).toBe('alice')
    await expect(at(NOW + 3_600_000)).rejects.toMatchObject({ code: 'UNAUTHENTICATED', cause: 'JWT refused (expired)' })
    await expect(at(NOW + 3_600_000)).rejects.toMatchObject({ code: 'UNAUTHENTICATED' })
  })

  test('is refused all the same before its time, where the clock was set back', async () => {
    let now = NOW
    const gate = gateOf({ secret, issuer, audience }, { ...testClock(), now: () => now })
    const text = hsWith({ nbf: seconds })
    expect(await gate.connect(inAuth(text))).toEqual(admitted())
    now -= 1
    await expectRefused(gate, text)
    now += 1
    expect(await gate.connect(inAuth(text))).toEqual(admitted({ sync: true }))
  })

  test('makes no other token welcome: not one that differs in its signature, nor one that was refused', async () => {
    const gate = gateOf()
    expect(await gate.connect(inAuth(honest))).toEqual(admitted())
    await expectRefused(gate, `${head}.${body}.${parts(bob)[2]}`)
    await expectRefused(gate, `${head}.${body}.${parts(bob)[2]}`)
  })

  test('is forgotten when there are more of them than are remembered: the one that was not seen for longest', async () => {
    const gate = gateOf({ secret, issuer, audience, rememberVerified: 2 })
    const seen = new Set<unknown>()
    const remembered = async (...texts: string[]) => {
      const answers: boolean[] = []
      for (const text of texts) {
        const { principal } = (await gate.connect(inAuth(text))).facts
        answers.push(seen.has(principal))
        seen.add(principal)
      }
      return answers
    }
    expect(await remembered(honest, bob, honest, carol)).toEqual([false, false, true, false])
    expect(await remembered(honest, carol, bob)).toEqual([true, true, false])
    expect(await remembered(honest)).toEqual([false])
  })

  test('is verified each time where none is remembered', async () => {
    const gate = gateOf({ secret, issuer, audience, rememberVerified: 0 })
    const { facts } = await gate.connect(inAuth(honest))
    expect((await gate.connect(inAuth(honest))).facts.principal).not.toBe(facts.principal)
  })

  test('is not shared between two gates', async () => {
    expect(await gateOf().connect(inAuth(honest))).toEqual(admitted())
    expect(await gateOf({ secret, issuer, audience: 'billing' }).connect(inAuth(honest))).toEqual(denied('UNAUTHENTICATED'))
  })

  test('ends at its greatest age as well', async () => {
    const clock = testClock(NOW)
    const gate = gateOf({ secret, issuer, audience, maxAgeMs: 60_000 }, clock)
    const text = hsWith({ iat: seconds })
    expect((await gate.connect(inAuth(text))).facts.principal.expiresAtMs).toBe(NOW + 60_000)
    clock.advance(59_999)
    expect(await gate.connect(inAuth(text))).toEqual(admitted())
    clock.advance(1)
    await expectRefused(gate, text)
    expect((await gateOf({ secret, issuer, audience, maxAgeMs: 86_400_000 }).connect(inAuth(text))).facts.principal.expiresAtMs).toBe(claims.exp * 1_000)
  })
})

test.each([
  ['HS256', { secret, issuer, audience }, honest],
  ['RS256', { publicKey: keyed.rsa.publicKey, issuer: keyed.rsa.issuer, audience }, keyed.rsa.honest],
  ['ES256', { publicKey: keyed.ec.publicKey, issuer: keyed.ec.issuer, audience }, keyed.ec.honest],
  ['EdDSA', { publicKey: keyed.okp.publicKey, issuer: keyed.okp.issuer, audience }, keyed.okp.honest],
] satisfies [string, JwtOptions, string][])('a token of %s is verified at once, without a promise', async (_, options, text) => {
  expect(await gateOf(options).connect(inAuth(text))).toEqual(admitted({ sync: true }))
})

describe('several issuers', () => {
  const all = [{ issuer, secret }, ...Object.values(keyed).map((each) => ({ issuer: each.issuer, publicKey: each.publicKey }))]
  const gate = gateOf({ issuers: all, audience })

  test('each has its tokens taken, with its own keys', async () => {
    for (const [text, own] of [[honest, issuer], ...Object.values(keyed).map((each) => [each.honest, each.issuer])] as [string, string][]) {
      const { facts } = await gate.connect(inAuth(text))
      expect([facts.principal.subject, facts.principal.issuer]).toEqual(['alice', own])
    }
  })

  test.each(mutations)('none of them is fooled by %s', async (_, text) => {
    await expectRefused(gate, text)
  })

  test('a token that one issuer has signed in the name of another one is refused, though each key is trusted', async () => {
    const signers = { [issuer]: ['HS256', hs], [keyed.rsa.issuer]: ['RS256', signer('RS256', pairs.rsa.privateKey)], [keyed.ec.issuer]: ['ES256', signer('ES256', pairs.ec256.privateKey)], [keyed.okp.issuer]: ['EdDSA', signer('EdDSA', pairs.ed25519.privateKey)] } as const
    for (const [iss] of Object.entries(signers)) {
      for (const [own, [alg, signed]] of Object.entries(signers)) {
        const text = token({ alg }, { ...claims, iss }, signed)
        if (iss === own) expect(await gate.connect(inAuth(text))).toEqual(admitted())
        else await expectRefused(gate, text)
      }
    }
  })

  test.each(['https://c.example', '', undefined, null, 0, [issuer], { 0: issuer }, '__proto__', 'constructor', 'undefined'])('an issuer that is none of them: %j', async (iss) => {
    await expectRefused(gate, hsWith({ iss }))
  })

  test('each has its own demands, and those beside the list where it makes none', async () => {
    const strict = gateOf({
      issuers: [{ issuer, secret, audience: 'admin', typ: 'at+jwt', maxAgeMs: 1_000, subjectClaim: 'client_id' }, { issuer: keyed.rsa.issuer, publicKey: keyed.rsa.publicKey }],
      audience,
      maxAgeMs: 60_000,
    })
    const own = { aud: 'admin', client_id: 'c-1', iat: seconds }
    expect((await strict.connect(inAuth(hsWith(own, { typ: 'at+jwt' })))).facts.principal.subject).toBe('c-1')
    await expectRefused(strict, hsWith(own))
    await expectRefused(strict, hsWith({ ...own, aud: audience }, { typ: 'at+jwt' }))
    await expectRefused(strict, hsWith({ ...own, iat: seconds - 1 }, { typ: 'at+jwt' }))
    await expectRefused(strict, hsWith({ ...own, client_id: undefined }, { typ: 'at+jwt' }))
    const rs = (changed: object) => token({ alg: 'RS256' }, { ...claims, iss: keyed.rsa.issuer, ...changed }, signer('RS256', pairs.rsa.privateKey))
    expect(await strict.connect(inAuth(rs({ iat: seconds - 59 })))).toEqual(admitted())
    await expectRefused(strict, rs({}))
    await expectRefused(strict, rs({ iat: seconds - 60 }))
    await expectRefused(strict, rs({ iat: seconds, aud: 'admin' }))
  })
})

test('jose admits whatever is admitted here, when it is asked for the same', async () => {
  const gate = gateOf({ secret, issuer, audience, typ: 'at+jwt', clockToleranceMs: 5_000, maxAgeMs: 60_000, rememberVerified: 0 })
  const options = { issuer, audience, typ: 'at+jwt', clockTolerance: 5, maxTokenAge: 60, currentDate: new Date(NOW), algorithms: ['HS256'], requiredClaims: ['exp', 'sub'] }
  const around = [-66, -65, -60, -6, -5, -1, 0, 1, 5, 6].map((offset) => seconds + offset)
  const key = createSecretKey(Buffer.from(secret))
  const counts = { admitted: 0, refused: 0 }
  for (const exp of [...around, undefined, '7', null]) {
    for (const iat of [...around, undefined]) {
      for (const nbf of [seconds - 1, seconds + 5, seconds + 6, undefined]) {
        for (const typ of ['at+jwt', 'application/AT+JWT', 'JWT']) {
          const text = hsWith({ exp, iat, nbf }, { typ })
          const joses = await jwtVerify(text, key, options).then(
            () => true,
            () => false,
          )
          const ours = (await gate.connect(inAuth(text))).outcome === 'admitted'
          if (ours && !joses) throw new Error(`only admitted here: exp ${exp}, iat ${iat}, nbf ${nbf}, typ ${typ}`)
          counts[ours ? 'admitted' : 'refused']++
        }
      }
    }
  }
  // So that the comparison says something.
  expect(counts.admitted).toBeGreaterThan(100)
  expect(counts.refused).toBeGreaterThan(100)
})

describe('where the token is', () => {
  const gate = (from: JwtOptions['from']) => gateOf({ secret, issuer, audience, from } as JwtOptions)

  test('is for `from` to say, and nowhere else is looked', async () => {
    expect(await gate(fromAuth('jwt')).connect({ auth: { jwt: honest } })).toEqual(admitted())
    expect(await gate(fromAuth('jwt')).connect(inAuth(honest))).toEqual(denied('UNAUTHENTICATED'))
    expect(await gate(fromAuth()).connect(inHeader(honest))).toEqual(denied('UNAUTHENTICATED'))
    expect(await gate([fromBearer()]).connect(inAuth(honest))).toEqual(denied('UNAUTHENTICATED'))
    expect(await gate([fromBearer()]).connect(inHeader(honest))).toEqual(admitted())
    expect(await gate((ctx) => ctx.headers['x-token'] as string | undefined).connect({ headers: { 'x-token': honest } })).toEqual(admitted())
  })

  test('two places that differ refuse', async () => {
    const both = gate([fromAuth('a'), fromAuth('b')])
    expect(await both.connect({ auth: { a: honest, b: honest } })).toEqual(admitted())
    expect(await both.connect({ auth: { a: honest, b: hsWith({ sub: 'bob' }) } })).toEqual(denied('UNAUTHENTICATED'))
  })

  test.each([[[]], ['token'], [[fromAuth(), 'token']], [null], [7]])('is no %j', (from) => {
    expect(() => jwt({ secret, issuer, audience, from: from as never })).toThrow(ConfigError)
  })
})

test('what an operator is told holds nothing of the token', async () => {
  const gate = gateOf()
  for (const [, mutations] of groups) {
    for (const [, text] of mutations.slice(0, 20)) {
      const { cause } = (await gate.connect(inAuth(text))).error as Denied
      expect(cause).toEqual(expect.stringMatching(/^JWT refused \(.{3,120}\)$/))
      expect(cause).not.toContain('alice')
      if (text.length > 20) expect(cause).not.toContain(text.slice(0, 20))
    }
  }
})

describe('mistakes in the set-up are found when it is made', () => {
  const base = { issuer, audience }
  const jwk = pairs.rsa.publicKey.export({ format: 'jwk' })
  const weakRsa = generateKeyPairSync('rsa', { modulusLength: 1_024 })
  const wrong: readonly (readonly [string, unknown, RegExp])[] = [
    ['no options', undefined, /object of options/],
    ['null', null, /object of options/],
    ['a secret alone', { secret }, /issuer must be/],
    ['no key', base, /either `secret`/],
    ['two keys', { ...base, secret, publicKey: jwk }, /either `secret`/],
    ['no issuer', { secret, audience }, /issuer must be/],
    ['no audience', { secret, issuer }, /audience must be/],
    ['an empty issuer', { secret, issuer: '', audience }, /issuer must be/],
    ['a list as issuer', { secret, issuer: [issuer], audience }, /issuer must be/],
    ['an empty audience', { secret, issuer, audience: '' }, /audience must be/],
    ['an empty list as audience', { secret, issuer, audience: [] }, /audience must be .* empty list/],
    ['an empty audience in a list', { secret, issuer, audience: [audience, ''] }, /audience must be/],
    ['a number in a list of audiences', { secret, issuer, audience: [7] }, /audience must be/],
    ['an unknown option', { ...base, secret, aud: audience }, /unknown option "aud"/],
    ['a secret and an address of keys', { ...base, secret, jwksUri: 'https://id.example/keys' }, /either `secret`/],
    ['a public key and an address of keys', { ...base, publicKey: jwk, jwksUri: 'https://id.example/keys' }, /either `secret`/],
    ...['keys', '', '/keys', 7, null, {}, ['https://id.example/keys']].map((jwksUri): [string, object, RegExp] => [`${JSON.stringify(jwksUri)} as address of keys`, { ...base, jwksUri }, /jwksUri is an address/]),
    ...['http://id.example/keys', 'http://127.0.0.1.id.example/keys', 'http://localhost.id.example/', 'http://10.0.0.1/', 'http://[::2]/', 'http://0.0.0.0/', 'file:///etc/keys', 'data:application/json,{}', 'ftp://id.example/keys', 'javascript:1'].map((jwksUri): [string, object, RegExp] => [
      `${jwksUri} as address of keys`,
      { ...base, jwksUri },
      /an https: address/,
    ]),
    ['an address of keys with a password', { ...base, jwksUri: 'https://user:pass@id.example/keys' }, /user name or a password/],
    ['an address of keys for HS256', { ...base, jwksUri: 'https://id.example/keys', algorithms: ['RS256', 'HS256'] }, /HS256 does not go with a set of public keys/],
    ['an address of keys without algorithms', { ...base, jwksUri: 'https://id.example/keys', algorithms: [] }, /`algorithms` is a list/],
    ['no cool-down', { ...base, jwksUri: 'https://id.example/keys', jwksCooldownMs: 0 }, /jwksCooldownMs must be/],
    ['an endless cache', { ...base, jwksUri: 'https://id.example/keys', jwksCacheMs: Infinity }, /jwksCacheMs must be/],
    ['a cache that is shorter than the cool-down', { ...base, jwksUri: 'https://id.example/keys', jwksCacheMs: 20_000 }, /less than jwksCooldownMs/],
    ['endless waiting for a key server', { ...base, jwksUri: 'https://id.example/keys', jwksTimeoutMs: 120_000 }, /jwksTimeoutMs must be/],
    ...['jwksCooldownMs', 'jwksCacheMs', 'jwksTimeoutMs'].map((name): [string, object, RegExp] => [`${name} with a secret`, { ...base, secret, [name]: 60_000 }, new RegExp(`${name} goes with`)]),
    ['no greatest age', { ...base, secret, maxAgeMs: 0 }, /maxAgeMs must be/],
    ['text as greatest age', { ...base, secret, maxAgeMs: '1h' }, /maxAgeMs must be/],
    ['no issuers', { audience, issuers: [] }, /issuers is a list/],
    ['issuers by name', { audience, issuers: { a: { secret } } }, /issuers is a list/],
    ['an issuer that is text', { audience, issuers: [issuer] }, /each of issuers is an object/],
    ['an issuer without a name', { audience, issuers: [{ secret }] }, /issuer must be/],
    ['an issuer without a key', { audience, issuers: [{ issuer }] }, /either `secret`/],
    ['an issuer without an audience', { issuers: [{ issuer, secret }] }, /audience must be/],
    ['an issuer with an unknown option', { audience, issuers: [{ issuer, secret, aud: audience }] }, /an issuer: unknown option "aud"/],
    ['an issuer with a place of its own', { audience, issuers: [{ issuer, secret, from: fromAuth() }] }, /an issuer: unknown option "from"/],
    ['an issuer in the list twice', { audience, issuers: [{ issuer, secret }, { issuer, publicKey: jwk }] }, /holds "https:\/\/id.example" twice/],
    ['an issuer beside the list', { ...base, issuers: [{ issuer, secret }] }, /beside issuers there is no issuer/],
    ['a secret beside the list', { audience, secret, issuers: [{ issuer, secret }] }, /beside issuers there is no secret/],
    ['algorithms beside the list', { audience, algorithms: ['HS256'], issuers: [{ issuer, secret }] }, /beside issuers there is no algorithms/],
    ['a cool-down beside issuers whose keys are all given', { audience, jwksCooldownMs: 1_000, issuers: [{ issuer, secret }] }, /jwksCooldownMs goes with/],
    ['an RSA key whose exponent is one', { ...base, publicKey: { ...jwk, e: 'AQ' } }, /exponent is 1/],
    ['a secret of 16 bytes', { ...base, secret: 'x'.repeat(16) }, /16 bytes, and HS256 needs at least 32/],
    ['a secret of 31 bytes', { ...base, secret: new Uint8Array(31) }, /31 bytes/],
    ['an empty secret', { ...base, secret: '' }, /0 bytes/],
    ['a secret KeyObject of 16 bytes', { ...base, secret: secretKeyOf('x'.repeat(16)) }, /16 bytes/],
    ['a secret of 47 bytes for HS384', { ...base, secret: 'x'.repeat(47), algorithms: ['HS384'] }, /HS384 needs at least 48/],
    ['a secret of 63 bytes for HS512', { ...base, secret: 'x'.repeat(63), algorithms: ['HS512'] }, /HS512 needs at least 64/],
    ['a secret too weak for one of its algorithms', { ...base, secret: 'x'.repeat(32), algorithms: ['HS256', 'HS512'] }, /HS512 needs at least 64/],
    ['a public key as secret, in PEM', { ...base, secret: pemOf(pairs.rsa.publicKey) }, /looks like a key in PEM/],
    ['a public key as secret', { ...base, secret: pairs.rsa.publicKey }, /is a public key/],
    ['a number as secret', { ...base, secret: 7 }, /text, bytes or a secret KeyObject/],
    ['a JWK as secret', { ...base, secret: { kty: 'oct', k: 'x' } }, /text, bytes or a secret KeyObject/],
    ['HS256 with a public key', { ...base, publicKey: jwk, algorithms: ['HS256'] }, /HS256 does not go with this public key/],
    ['HS256 among the algorithms of a public key', { ...base, publicKey: jwk, algorithms: ['RS256', 'HS256'] }, /HS256 does not go with/],
    ['RS256 with a secret', { ...base, secret, algorithms: ['RS256'] }, /RS256 does not go with a secret/],
    ['ES256 with an RSA key', { ...base, publicKey: jwk, algorithms: ['ES256'] }, /ES256 does not go with/],
    ['RS256 with an EC key', { ...base, publicKey: pairs.ec256.publicKey, algorithms: ['RS256'] }, /RS256 does not go with/],
    ['ES384 with a key on P-256', { ...base, publicKey: pairs.ec256.publicKey, algorithms: ['ES384'] }, /ES384 does not go with/],
    ['EdDSA with an EC key', { ...base, publicKey: pairs.ec256.publicKey, algorithms: ['EdDSA'] }, /EdDSA does not go with/],
    ['RS512 with a JWK for RS256', { ...base, publicKey: { ...jwk, alg: 'RS256' }, algorithms: ['RS512'] }, /RS512 does not go with/],
    ['a JWK for another algorithm', { ...base, publicKey: { ...jwk, alg: 'RSA-OAEP' } }, /whose "alg" is "RSA-OAEP"/],
    ['a JWK whose algorithm is that of a secret', { ...base, publicKey: { ...jwk, alg: 'HS256' } }, /whose "alg" is "HS256"/],
    ['a JWK for encryption', { ...base, publicKey: { ...jwk, use: 'enc' } }, /for another use/],
    ['a JWK for signing', { ...base, publicKey: { ...jwk, key_ops: ['sign'] } }, /do not include "verify"/],
    ['a JWK of a secret', { ...base, publicKey: { kty: 'oct', k: base64url(secret) } }, /JWK of a secret/],
    ['a JWK that is incomplete', { ...base, publicKey: { kty: 'RSA', e: 'AQAB' } }, /cannot be read/],
    ['a JWK of an unknown type', { ...base, publicKey: { kty: 'XYZ' } }, /cannot be read/],
    ['a private JWK', { ...base, publicKey: pairs.rsa.privateKey.export({ format: 'jwk' }) }, /is a private key/],
    ['a private PEM', { ...base, publicKey: pairs.rsa.privateKey.export({ format: 'pem', type: 'pkcs8' }).toString() }, /is a private key/],
    ['a private KeyObject', { ...base, publicKey: pairs.rsa.privateKey }, /is a private key/],
    ['a secret KeyObject as public key', { ...base, publicKey: secretKeyOf(secret) }, /is a secret key/],
    ['text that is no PEM', { ...base, publicKey: 'ssh-rsa AAAA' }, /cannot be read/],
    ['bytes as public key', { ...base, publicKey: new Uint8Array(32) }, /JWK, PEM, KeyObject or CryptoKey/],
    ['a list of keys', { ...base, publicKey: [jwk] }, /JWK, PEM, KeyObject or CryptoKey/],
    ['an RSA key of 1,024 bits', { ...base, publicKey: weakRsa.publicKey }, /RSA key of 1024 bits/],
    ['a key on secp256k1', { ...base, publicKey: generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).publicKey }, /on the curve secp256k1/],
    ['an Ed448 key', { ...base, publicKey: generateKeyPairSync('ed448').publicKey }, /of type ed448/],
    ['an X25519 key', { ...base, publicKey: generateKeyPairSync('x25519').publicKey }, /of type x25519/],
    ['the algorithm none', { ...base, secret, algorithms: ['none'] }, /unknown algorithm "none"/],
    ['an algorithm in lower case', { ...base, secret, algorithms: ['hs256'] }, /unknown algorithm "hs256"/],
    ['no algorithms', { ...base, secret, algorithms: [] }, /`algorithms` is a list/],
    ['text as algorithms', { ...base, secret, algorithms: 'HS256' }, /`algorithms` is a list/],
    ['an empty type', { ...base, secret, typ: '' }, /typ must be/],
    ['a number as type', { ...base, secret, typ: 7 }, /typ must be/],
    ['an empty subject claim', { ...base, secret, subjectClaim: '' }, /subjectClaim must be/],
    ['a tolerance below zero', { ...base, secret, clockToleranceMs: -1 }, /clockToleranceMs must be/],
    ['a tolerance of an hour', { ...base, secret, clockToleranceMs: 3_600_000 }, /clockToleranceMs must be/],
    ['a tolerance that is no number', { ...base, secret, clockToleranceMs: '5s' }, /clockToleranceMs must be/],
    ['NaN as tolerance', { ...base, secret, clockToleranceMs: NaN }, /clockToleranceMs must be/],
    ['half a remembered token', { ...base, secret, rememberVerified: 0.5 }, /rememberVerified is a whole number/],
    ['endless memory', { ...base, secret, rememberVerified: Infinity }, /rememberVerified must be/],
  ]
  test.each(wrong)('%s', (_, options, message) => {
    expect(() => jwt(options as JwtOptions)).toThrow(ConfigError)
    expect(() => jwt(options as JwtOptions)).toThrow(message)
  })

  test('a CryptoKey that is private, secret, for another algorithm or for another use', async () => {
    const { subtle } = webcrypto
    const rsaPrivate = await subtle.importKey('pkcs8', pairs.rsa.privateKey.export({ format: 'der', type: 'pkcs8' }), { name: 'RSA-PSS', hash: 'SHA-256' }, false, ['sign'])
    const mac = await subtle.importKey('raw', Buffer.from(secret), { name: 'HMAC', hash: 'SHA-256' }, false, ['verify'])
    const oaep = await subtle.importKey('spki', pairs.rsa.publicKey.export({ format: 'der', type: 'spki' }), { name: 'RSA-OAEP', hash: 'SHA-256' }, true, ['encrypt'])
    const sha1 = await subtle.importKey('spki', pairs.rsa.publicKey.export({ format: 'der', type: 'spki' }), { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-1' }, true, ['verify'])
    const weak = await cryptoKeyOf('RS256', weakRsa.publicKey)
    const expected: [webcrypto.CryptoKey, RegExp][] = [
      [rsaPrivate, /is a private key/],
      [mac, /is a secret key/],
      [oaep, /do not include "verify"/],
      [sha1, /with SHA-1, which is not for tokens/],
      [weak, /RSA key of 1024 bits/],
    ]
    for (const [publicKey, message] of expected) expect(() => jwt({ publicKey, issuer, audience })).toThrow(message)
    const rs256 = await cryptoKeyOf('RS256', pairs.rsa.publicKey)
    expect(() => jwt({ publicKey: rs256, algorithms: ['RS512'], issuer, audience })).toThrow(/RS512 does not go with/)
  })

  test('no message shows anything of a secret', () => {
    for (const given of ['hunter2', Buffer.from('hunter2'), ['hunter2'], { k: 'hunter2' }, 1234567]) {
      try {
        jwt({ secret: given as string, issuer, audience })
        throw new Error('accepted')
      } catch (error) {
        expect((error as Error).message).not.toMatch(/hunter2|1234567/)
      }
    }
  })

  test('bytes that are changed later change nothing', async () => {
    const bytes = Buffer.from(secret)
    const gate = gateOf({ secret: bytes, issuer, audience })
    bytes.fill(0)
    expect(await gate.connect(inAuth(honest))).toEqual(admitted())
  })

  test('a key in PKCS #1 or in a certificate is read, whatever the dates of the certificate', async () => {
    const pem = pairs.rsa.publicKey.export({ format: 'pem', type: 'pkcs1' }).toString()
    expect(await gateOf({ publicKey: pem, issuer, audience }).connect(inAuth(token({ alg: 'RS256' }, claims, signer('RS256', pairs.rsa.privateKey))))).toEqual(admitted())
    expect(() => jwt({ publicKey: certificate, algorithms: ['ES256'], issuer, audience })).not.toThrow()
    expect(() => jwt({ publicKey: certificate, algorithms: ['RS256'], issuer, audience })).toThrow(/RS256 does not go with/)
  })
})
