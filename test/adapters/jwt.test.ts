import { describe, expect, test } from '@jest/globals'
import { generateKeyPairSync, sign, webcrypto } from 'node:crypto'
import { ConfigError, type Denied } from 'portcullis'
import type { Clock, ConnectContext } from 'portcullis'
import { jwt } from 'portcullis/adapters/jwt'
import type { JwtOptions } from 'portcullis/adapters/jwt'
import { authenticate } from 'portcullis/policies'
import { admitted, denied, harness, testClock } from 'portcullis/testing'
import { base64url, cryptoKeyOf, issuers, pairs, pemOf, secretKeyOf, signer, token } from '../support/tokens.ts'
import type { Part, Signer } from '../support/tokens.ts'

const NOW = Date.UTC(2025, 0, 1)
const seconds = NOW / 1_000
const secret = 'a shared secret of more than thirty-two bytes'
const issuer = 'https://id.example'
const audience = 'chat'
const claims = { iss: issuer, aud: audience, sub: 'alice', exp: seconds + 3_600 }

const hs = signer('HS256', secret)
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

const honest = token({ alg: 'HS256', typ: 'JWT' }, claims, hs)

/** A token in which only what is named is out of order: it is signed as it should be. */
const hsWith = (changed: object, header: object = {}): string => token({ alg: 'HS256', ...header }, { ...claims, ...changed }, hs)
const hsText = (payload: Part, header: Part = { alg: 'HS256' }): string => token(header, payload, hs)
const hsHeader = (header: Part, signed: Signer = hs): string => token(header, claims, signed)
const without = (name: string): object => ({ [name]: undefined })
/** The claims as text, with more of it behind the first brace. */
const textWith = (more: string): string => JSON.stringify(claims).replace('{', `{${more},`)

function gateOf(options: JwtOptions = { secret, issuer, audience }, clock: Clock = testClock(NOW)) {
  return harness(authenticate(jwt(options)), { clock })
}

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

  test('has no factors and no id where it names none', async () => {
    const { facts } = await gateOf().connect(inAuth(honest))
    expect(facts.principal.factors).toEqual([])
    expect('tokenId' in facts.principal).toBe(false)
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

/** What may be done to a token. Each is refused by a gate that takes the honest one of the same issuer. */
type Mutation = readonly [title: string, text: string]
const [head, body, sig] = honest.split('.') as [string, string, string]
const sameBytes = (part: string): string => {
  // The last character of these parts carries bits that no byte uses.
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  const bytes = Buffer.from(part, 'base64url')
  const other = [...alphabet].map((last) => part.slice(0, -1) + last).find((text) => text !== part && Buffer.from(text, 'base64url').equals(bytes))
  if (other === undefined) throw new Error('no second spelling')
  return other
}
const parts = (text: string) => text.split('.') as [string, string, string]
/** An honest token one of whose parts has a character in which base64url differs from base64. */
const special = (at: 1 | 2): string => {
  for (let n = 0; ; n++) {
    const text = hsWith({ n: `${n}\u00ff\u00fe~~??>>` })
    if (/[-_]/.test(parts(text)[at])) return text
  }
}
const replaced = (text: string, at: number, change: (part: string) => string): string => text.split('.').map((part, index) => (index === at ? change(part) : part)).join('.')
const base64 = (part: string): string => part.replaceAll('-', '+').replaceAll('_', '/')
const attacker = generateKeyPairSync('rsa', { modulusLength: 2_048 })
const attackerJwk = attacker.publicKey.export({ format: 'jwk' })
const ownHs = signer('HS256', 'the attacker brings a secret of the right length')
const spare = token({ alg: 'HS256' }, { ...claims, sub: 'bob', exp: seconds + 60 }, hs)

const none: readonly Mutation[] = [
  ...['none', 'None', 'NONE', 'nOnE', 'none ', ' none'].map((alg): Mutation => [`algorithm ${JSON.stringify(alg)} and no signature`, `${base64url({ alg })}.${body}.`]),
  ['algorithm none, without the last dot', `${base64url({ alg: 'none' })}.${body}`],
  ['algorithm none, with the honest signature', hsHeader({ alg: 'none' })],
  ['algorithm none, with some signature', `${base64url({ alg: 'none' })}.${body}.AA`],
]

const algorithms: readonly Mutation[] = [
  ['HS384, well signed', token({ alg: 'HS384' }, claims, signer('HS384', secret))],
  ['HS512, well signed', token({ alg: 'HS512' }, claims, signer('HS512', secret))],
  ['HS512 cut to the length of HS256', token({ alg: 'HS256' }, claims, (input) => signer('HS512', secret)(input).subarray(0, 32))],
  ['HS1', token({ alg: 'HS1' }, claims, hs)],
  ['RS256 by another key', token({ alg: 'RS256' }, claims, signer('RS256', attacker.privateKey))],
  ['ES256 by another key', token({ alg: 'ES256' }, claims, signer('ES256', pairs.ec256.privateKey))],
  ['EdDSA by another key', token({ alg: 'EdDSA' }, claims, signer('EdDSA', pairs.ed25519.privateKey))],
  ['A128KW', hsHeader({ alg: 'A128KW' })],
  ['dir', hsHeader({ alg: 'dir', enc: 'A256GCM' })],
  ...['hs256', 'Hs256', 'HS256 ', ' HS256', 'HS256\u0000', 'ＨＳ256', 'HS-256', 'HMAC', ''].map((alg): Mutation => [`algorithm ${JSON.stringify(alg)}`, hsHeader({ alg })]),
  ...[null, 256, true, ['HS256'], { HS256: 1 }, {}].map((alg): Mutation => [`algorithm ${JSON.stringify(alg)}`, hsHeader({ alg })]),
  ['no algorithm', hsHeader({ typ: 'JWT' })],
  ['an algorithm that is inherited', hsHeader('{"__proto__":{"alg":"HS256"}}')],
]

const headers: readonly Mutation[] = [
  ['its own key as jwk', token({ alg: 'RS256', jwk: attackerJwk }, claims, signer('RS256', attacker.privateKey))],
  ['its own secret as jwk', hsHeader({ alg: 'HS256', jwk: { kty: 'oct', k: base64url('the attacker brings a secret of the right length') } }, ownHs)],
  ['the address of its own key', token({ alg: 'RS256', jku: 'https://evil.example/keys', kid: 'k1' }, claims, signer('RS256', attacker.privateKey))],
  ['the address of its own certificate', token({ alg: 'RS256', x5u: 'https://evil.example/cert.pem' }, claims, signer('RS256', attacker.privateKey))],
  ['its own certificate', token({ alg: 'RS256', x5c: [attacker.publicKey.export({ format: 'der', type: 'spki' }).toString('base64')] }, claims, signer('RS256', attacker.privateKey))],
  ['the thumbprint of its own certificate', token({ alg: 'RS256', 'x5t#S256': base64url('x'.repeat(32)) }, claims, signer('RS256', attacker.privateKey))],
  ...['/dev/null', '../../../../dev/null', "' UNION SELECT '", '__proto__', 'constructor', '| sleep 10'].map((kid): Mutation => [`kid ${kid} and an empty secret`, hsHeader({ alg: 'HS256', kid }, signer('HS256', ''))]),
  ['kid as an object', hsHeader({ alg: 'HS256', kid: { $ne: null } }, ownHs)],
  ['a critical extension that is unknown', hsHeader({ alg: 'HS256', crit: ['tenant'], tenant: 'blue' })],
  ['a critical claim', hsHeader({ alg: 'HS256', crit: ['exp'], exp: claims.exp })],
  ['a critical parameter that is missing', hsHeader({ alg: 'HS256', crit: ['tenant'] })],
  ['an unencoded payload', hsHeader({ alg: 'HS256', b64: false, crit: ['b64'] })],
  ['critical b64 that changes nothing', hsHeader({ alg: 'HS256', b64: true, crit: ['b64'] })],
  ...[[], null, 'exp', {}, 0, [1], [''], ['alg'], ['crit']].map((crit): Mutation => [`crit ${JSON.stringify(crit)}`, hsHeader({ alg: 'HS256', crit })]),
  ['an algorithm given twice', hsText(claims, '{"alg":"none","alg":"HS256"}')],
  ['an algorithm given twice, once in escapes', hsText(claims, '{"\\u0061lg":"none","alg":"HS256"}')],
  ['a list as header', hsText(claims, '[{"alg":"HS256"}]')],
  ['text as header', hsText(claims, '"HS256"')],
  ['null as header', hsText(claims, 'null')],
  ['an empty object as header', hsText(claims, '{}')],
  ['a header in single quotes', hsText(claims, "{'alg':'HS256'}")],
  ['a header with a comment', hsText(claims, '{"alg":"HS256"/**/}')],
  ['a header with something behind it', hsText(claims, '{"alg":"HS256"}{}')],
  ['a header with a zero byte behind it', hsText(claims, '{"alg":"HS256"}\u0000')],
  ['a header behind a byte order mark', hsText(claims, '\ufeff{"alg":"HS256"}')],
  ['a header that is not UTF-8', hsText(claims, Buffer.from('{"alg":"HS256","x":"\xff"}', 'latin1'))],
  ['a header in UTF-16', hsText(claims, Buffer.from('{"alg":"HS256"}', 'utf16le'))],
  ['a deep header', hsText(claims, `{"alg":"HS256","x":${'['.repeat(100)}${']'.repeat(100)}}`)],
  ['a header with a prototype', hsText(claims, '{"alg":"HS256","__proto__":{"x":1}}')],
  ['claims in the header alone', token({ alg: 'HS256', ...claims }, {}, hs)],
]

const encodings: readonly Mutation[] = [
  ...[0, 1, 2].flatMap((at): Mutation[] => [
    [`padding behind part ${at + 1}`, replaced(honest, at, (part) => `${part}=`)],
    [`full padding behind part ${at + 1}`, replaced(honest, at, (part) => part.padEnd(Math.ceil(part.length / 4) * 4 + (part.length % 4 === 0 ? 4 : 0), '='))],
    [`a space in part ${at + 1}`, replaced(honest, at, (part) => `${part.slice(0, 4)} ${part.slice(4)}`)],
    [`a line break in part ${at + 1}`, replaced(honest, at, (part) => `${part.slice(0, 4)}\n${part.slice(4)}`)],
    [`a foreign character in part ${at + 1}`, replaced(honest, at, (part) => `${part.slice(0, 4)}!${part.slice(4)}`)],
    [`an empty part ${at + 1}`, replaced(honest, at, () => '')],
    [`a part ${at + 1} with one character more`, replaced(honest, at, (part) => `${part}A`)],
    [`a part ${at + 1} with one character less`, replaced(honest, at, (part) => part.slice(0, -1))],
  ]),
  ['a payload in base64', replaced(special(1), 1, base64)],
  ['a signature in base64', replaced(special(2), 2, base64)],
  ['another spelling of the signature', `${head}.${body}.${sameBytes(sig)}`],
  ['a well signed second spelling of the payload', spelled(1)],
  ['a well signed second spelling of the header', spelled(0)],
  ...[' ', '\t', '\n', '\r\n', '\u00a0', '\u200b', '\ufeff', '\u0000', '=', '"', ',', ';', '.', '%00', '#', '?', '&x=1'].map((end): Mutation => [`${JSON.stringify(end)} behind it`, honest + end]),
  ...[' ', '\n', '\u00a0', '\u200b', '\ufeff', '\u0000', '.', '"', 'Bearer ', 'bearer:', 'JWT ', 'token='].map((start): Mutation => [`${JSON.stringify(start)} in front of it`, start + honest]),
  ['quotes around it', JSON.stringify(honest)],
  ['two of them, with a comma', `${honest},${honest}`],
  ['two of them, with a space', `${honest} ${honest}`],
  ['four parts', `${honest}.${sig}`],
  ['an encrypted token’s five parts', `${base64url({ alg: 'dir', enc: 'A256GCM' })}..${'A'.repeat(16)}.${body}.${'A'.repeat(22)}`],
  ['an honest token’s parts among five', `${honest}.${body}.${sig}`],
  ['two parts', `${head}.${body}`],
  ['one part', head],
  ['two dots in a row', `${head}..${body}.${sig}`],
  ['nothing but dots', '..'],
  ['nothing', ''],
  ['a space', ' '],
  ...['．', '․', '。', '%2E', '-'].map((dot): Mutation => [`${dot} for a dot`, honest.replaceAll('.', dot)]),
  ['upper case', honest.toUpperCase()],
  ['lower case', honest.toLowerCase()],
  ['reversed', [...honest].reverse().join('')],
  ['encoded once more', base64url(honest)],
  ['escaped for a URL', encodeURIComponent(honest).replaceAll('.', '%2E')],
  ['in wide letters', honest.replace('e', 'ｅ')],
  ['parts in another order', `${body}.${head}.${sig}`],
  ['JSON serialisation, flattened', JSON.stringify({ protected: head, payload: body, signature: sig })],
  ['JSON serialisation, general', JSON.stringify({ payload: body, signatures: [{ protected: head, signature: sig }] })],
  ['an unprotected algorithm in JSON serialisation', JSON.stringify({ header: { alg: 'HS256' }, payload: body, signature: sig })],
  ['more than 8,192 characters', hsWith({ padding: 'x'.repeat(8_192) })],
  ['all that `auth` may hold', `${head}.${'A'.repeat(16_000)}.${sig}`],
  ['[object Object]', '[object Object]'],
  ['undefined', 'undefined'],
  ['null', 'null'],
]

function spelled(at: 0 | 1): string {
  // Filled up until its last character has bits to spare.
  for (let fill = 'x'; ; fill += 'x') {
    const input = [base64url({ alg: 'HS256', ...(at === 0 ? { fill } : {}) }), base64url({ ...claims, ...(at === 1 ? { fill } : {}) })]
    if (input[at]!.length % 4 === 0) continue
    input[at] = sameBytes(input[at]!)
    return `${input.join('.')}.${hs(input.join('.')).toString('base64url')}`
  }
}

const signatures: readonly Mutation[] = [
  ['of another secret', hsHeader({ alg: 'HS256' }, ownHs)],
  ['of an empty secret', hsHeader({ alg: 'HS256' }, signer('HS256', ''))],
  ['of the secret and a line break', hsHeader({ alg: 'HS256' }, signer('HS256', `${secret}\n`))],
  ['of the secret in upper case', hsHeader({ alg: 'HS256' }, signer('HS256', secret.toUpperCase()))],
  ['of the secret in base64', hsHeader({ alg: 'HS256' }, signer('HS256', Buffer.from(secret, 'base64')))],
  ['of another token', `${head}.${body}.${parts(spare)[2]}`],
  ['under other claims', `${head}.${parts(spare)[1]}.${sig}`],
  ['under another header', `${base64url({ typ: 'JWT', alg: 'HS256' })}.${body}.${sig}`],
  ['of the payload alone', token({ alg: 'HS256' }, claims, (input) => hs(parts(input)[1]))],
  ['of the header alone', token({ alg: 'HS256' }, claims, (input) => hs(parts(input)[0]))],
  ['of what the parts stand for', token({ alg: 'HS256' }, claims, (input) => hs(input.split('.').map((part) => Buffer.from(part, 'base64url').toString()).join('.')))],
  ['in hexadecimal', token({ alg: 'HS256' }, claims, (input) => Buffer.from(hs(input).toString('hex')))],
  ['cut by a byte', token({ alg: 'HS256' }, claims, (input) => hs(input).subarray(0, 31))],
  ['cut to half', token({ alg: 'HS256' }, claims, (input) => hs(input).subarray(0, 16))],
  ['cut to one byte', token({ alg: 'HS256' }, claims, (input) => hs(input).subarray(0, 1))],
  ['with a byte more', token({ alg: 'HS256' }, claims, (input) => Buffer.concat([hs(input), Buffer.alloc(1)]))],
  ['twice over', token({ alg: 'HS256' }, claims, (input) => Buffer.concat([hs(input), hs(input)]))],
  ['of zeros', token({ alg: 'HS256' }, claims, () => Buffer.alloc(32))],
  ['with its first bit flipped', token({ alg: 'HS256' }, claims, flipped(0))],
  ['with its last bit flipped', token({ alg: 'HS256' }, claims, flipped(31))],
]

function flipped(at: number): Signer {
  return (input) => {
    const bytes = hs(input)
    bytes[at]! ^= 1
    return bytes
  }
}

const HUGE = '1e400'
const raw = (name: keyof typeof claims | 'nbf' | 'iat', text: string): string => hsText(`{${Object.entries({ ...claims, [name]: '@' }).map(([key, value]) => `${JSON.stringify(key)}:${value === '@' ? text : JSON.stringify(value)}`).join(',')}}`)

const times: readonly Mutation[] = [
  ['no exp', hsWith(without('exp'))],
  ...[null, '', String(claims.exp), new Date(claims.exp * 1_000).toISOString(), 'never', true, [claims.exp], {}, { $date: 1 }, -1, -claims.exp, 0, 1, seconds - 1, seconds, claims.exp * 1_000, 253_402_300_800, 1e300].map((exp): Mutation => [`exp ${JSON.stringify(exp)}`, hsWith({ exp })]),
  ...[HUGE, `-${HUGE}`, 'NaN', 'Infinity', '0x7fffffff', '01', '+1'].map((text): Mutation => [`exp ${text}`, raw('exp', text)]),
  ...[seconds + 1, seconds + 0.001, seconds * 1_000, null, '', String(seconds), true, [seconds], {}, -1].map((nbf): Mutation => [`nbf ${JSON.stringify(nbf)}`, hsWith({ nbf })]),
  [`nbf ${HUGE}`, raw('nbf', HUGE)],
  [`nbf -${HUGE}`, raw('nbf', `-${HUGE}`)],
  ...[null, '', 'today', String(seconds), true, [seconds], {}, -1].map((iat): Mutation => [`iat ${JSON.stringify(iat)}`, hsWith({ iat })]),
  [`iat ${HUGE}`, raw('iat', HUGE)],
]

const identities: readonly Mutation[] = [
  ['no iss', hsWith(without('iss'))],
  ...[null, '', 7, true, [issuer], { 0: issuer }, 'https://evil.example', `${issuer}/`, `${issuer} `, ` ${issuer}`, issuer.toUpperCase(), 'http://id.example', 'https://id.example.evil.example', 'https://evil.example#https://id.example', 'id.example', 'https://id.еxample', `${issuer}\u0000`, `${issuer},${issuer}`].map((iss): Mutation => [`iss ${JSON.stringify(iss)}`, hsWith({ iss })]),
  ['no aud', hsWith(without('aud'))],
  ...[null, '', 7, true, [], [''], ['billing'], [7, audience], [audience, null], [[audience]], { 0: audience, length: 1 }, { [audience]: true }, 'Chat', 'chat ', ' chat', 'chats', 'cha', 'chat,billing', 'chat billing', 'сhat', '*'].map((aud): Mutation => [`aud ${JSON.stringify(aud)}`, hsWith({ aud })]),
  ['no sub', hsWith(without('sub'))],
  ...[null, '', ' ', '\t', 7, 0, true, ['alice'], { toString: 'alice' }, {}, 'x'.repeat(256), 'alice\n', 'alice\u0000', '\u001b[2Jalice', 'alice\u0085'].map((sub): Mutation => [`sub ${JSON.stringify(sub).slice(0, 30)}`, hsWith({ sub })]),
  ['a sub that is half a character', hsText(textWith('"x":1').replace('"alice"', '"\\ud800"'))],
  ['a sub that is inherited', hsText(JSON.stringify({ ...claims, sub: undefined }).replace('{', '{"__proto__":{"sub":"alice"},'))],
  ...[null, '', 7, ['t-1'], {}, 'x'.repeat(256), 't\n1'].map((jti): Mutation => [`jti ${JSON.stringify(jti).slice(0, 30)}`, hsWith({ jti })]),
  ...[null, 'otp', [7], [''], [['otp']], {}, Array<string>(33).fill('otp')].map((amr): Mutation => [`amr ${JSON.stringify(amr).slice(0, 30)}`, hsWith({ amr })]),
]

const payloads: readonly Mutation[] = [
  ...['sub', 'iss', 'aud', 'exp', 'role'].map((name): Mutation => [`${name} given twice`, hsText(`${JSON.stringify({ ...claims, role: 'viewer' }).slice(0, -1)},${JSON.stringify(name)}:${JSON.stringify({ ...claims, role: 'admin' }[name as 'sub'])}}`)]),
  ['sub given twice, once in escapes', hsText(textWith('"s\\u0075b":"bob"'))],
  ['a name given twice further down', hsText(textWith('"realm":{"roles":["viewer"],"roles":["admin"]}'))],
  ['a name given twice in a list', hsText(textWith('"x":[{"a":1,"a":2}]'))],
  ['a name given twice, with spaces before the colon', hsText(textWith('"sub" \n :"bob"'))],
  ['an empty object', hsText('{}')],
  ['a list', hsText([claims])],
  ['text', hsText(JSON.stringify(JSON.stringify(claims)))],
  ['a number', hsText('7')],
  ['null', hsText('null')],
  ['true', hsText('true')],
  ['another token', hsText(spare)],
  ['another token, announced', token({ alg: 'HS256', cty: 'JWT' }, honest, hs)],
  ['JSON with a comma too many', hsText(JSON.stringify(claims).replace(/}$/, ',}'))],
  ['JSON with something behind it', hsText(`${JSON.stringify(claims)}x`)],
  ['JSON with a zero byte behind it', hsText(`${JSON.stringify(claims)}\u0000`)],
  ['JSON behind a byte order mark', hsText(`\ufeff${JSON.stringify(claims)}`)],
  ['JSON that is not UTF-8', hsText(Buffer.from(JSON.stringify({ ...claims, x: '\xff' }), 'latin1'))],
  ['JSON with an overlong sequence', hsText(Buffer.from(JSON.stringify({ ...claims, x: '\xc0\xaf' }), 'latin1'))],
  ['JSON in UTF-16', hsText(Buffer.from(JSON.stringify(claims), 'utf16le'))],
  ['a prototype', hsText(textWith('"__proto__":{"admin":true}'))],
  ['a prototype further down', hsText(textWith('"x":{"__proto__":{"admin":true}}'))],
  ['a constructor that is an object', hsText(textWith('"constructor":{"prototype":{"admin":true}}'))],
  ['forty levels', hsText(textWith(`"x":${'{"x":'.repeat(40)}1${'}'.repeat(40)}`))],
  ['two thousand levels', hsText(textWith(`"x":${'['.repeat(2_000)}${']'.repeat(2_000)}`))],
]

const groups: readonly [string, readonly Mutation[]][] = [
  ['the algorithm none', none],
  ['another algorithm', algorithms],
  ['a header with', headers],
  ['another encoding', encodings],
  ['a signature', signatures],
  ['a time', times],
  ['an identity', identities],
  ['a payload of', payloads],
]

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
  const rsaPem = pemOf(pairs.rsa.publicKey)
  const ecPem = pemOf(pairs.ec256.publicKey)
  const asSecret = (key: string | Uint8Array): string => token({ alg: 'HS256' }, claims, signer('HS256', key))
  const signed = (alg: string) => issuers.find((each) => each.alg === alg)!.signed
  const rs = token({ alg: 'RS256' }, claims, signed('RS256'))
  const es = token({ alg: 'ES256' }, claims, signed('ES256'))
  const order = Buffer.from('FFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551', 'hex')

  const mutations: readonly (readonly [string, 'rsa' | 'ec256' | 'ed25519', string])[] = [
    ['HS256 with the PEM as secret', 'rsa', asSecret(rsaPem)],
    ['HS256 with the PEM without its last line break', 'rsa', asSecret(rsaPem.trim())],
    ['HS256 with the PEM in Windows line breaks', 'rsa', asSecret(rsaPem.replaceAll('\n', '\r\n'))],
    ['HS256 with the PEM in one line', 'rsa', asSecret(rsaPem.replaceAll('\n', ''))],
    ['HS256 with the PKCS #1 PEM', 'rsa', asSecret(pairs.rsa.publicKey.export({ format: 'pem', type: 'pkcs1' }).toString())],
    ['HS256 with the DER', 'rsa', asSecret(pairs.rsa.publicKey.export({ format: 'der', type: 'spki' }))],
    ['HS256 with the JWK', 'rsa', asSecret(JSON.stringify(pairs.rsa.publicKey.export({ format: 'jwk' })))],
    ['HS256 with the modulus', 'rsa', asSecret(Buffer.from(pairs.rsa.publicKey.export({ format: 'jwk' }).n!, 'base64url'))],
    ['HS256 with nothing', 'rsa', asSecret('')],
    ['none', 'rsa', `${base64url({ alg: 'none' })}.${parts(rs)[1]}.`],
    ['RS384 by the right key', 'rsa', token({ alg: 'RS384' }, claims, signed('RS384'))],
    ['PS256 by the right key', 'rsa', token({ alg: 'PS256' }, claims, signed('PS256'))],
    ['RS256 that is PS256', 'rsa', token({ alg: 'RS256' }, claims, signed('PS256'))],
    ['RS256 by another key', 'rsa', token({ alg: 'RS256' }, claims, signer('RS256', attacker.privateKey))],
    ['RS256 by another key of the same kid, given along', 'rsa', token({ alg: 'RS256', kid: 'k1', jwk: attackerJwk }, claims, signer('RS256', attacker.privateKey))],
    ['RS256 that is the number one', 'rsa', token({ alg: 'RS256' }, claims, () => Buffer.concat([Buffer.alloc(255), Buffer.from([1])]))],
    ['RS256 that is zero', 'rsa', token({ alg: 'RS256' }, claims, () => Buffer.alloc(256))],
    ['RS256 with a byte more', 'rsa', token({ alg: 'RS256' }, claims, (input) => Buffer.concat([Buffer.alloc(1), signed('RS256')(input)]))],
    ['RS256 with another subject', 'rsa', `${parts(rs)[0]}.${base64url({ ...claims, sub: 'bob' })}.${parts(rs)[2]}`],
    ['HS256 with the PEM as secret', 'ec256', asSecret(ecPem)],
    ['HS256 with the DER', 'ec256', asSecret(pairs.ec256.publicKey.export({ format: 'der', type: 'spki' }))],
    ['HS256 with the JWK', 'ec256', asSecret(JSON.stringify(pairs.ec256.publicKey.export({ format: 'jwk' })))],
    ['none', 'ec256', `${base64url({ alg: 'none' })}.${parts(es)[1]}.`],
    ['ES256 in DER', 'ec256', token({ alg: 'ES256' }, claims, (input) => sign('sha256', Buffer.from(input), pairs.ec256.privateKey))],
    ['ES256 of zeros', 'ec256', token({ alg: 'ES256' }, claims, () => Buffer.alloc(64))],
    ['ES256 of the order of the curve', 'ec256', token({ alg: 'ES256' }, claims, () => Buffer.concat([order, order]))],
    ['ES256 cut by a byte', 'ec256', token({ alg: 'ES256' }, claims, (input) => signed('ES256')(input).subarray(0, 63))],
    ['ES256 by another key', 'ec256', token({ alg: 'ES256' }, claims, signer('ES256', generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey))],
    ['ES256 on another curve', 'ec256', token({ alg: 'ES256' }, claims, signer('ES256', generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).privateKey))],
    ['ES384 by the right key', 'ec256', token({ alg: 'ES384' }, claims, signer('ES384', pairs.ec256.privateKey))],
    ['ES512 by its own key', 'ec256', token({ alg: 'ES512' }, claims, signed('ES512'))],
    ['HS256 with the PEM as secret', 'ed25519', asSecret(pemOf(pairs.ed25519.publicKey))],
    ['HS256 with the raw key', 'ed25519', asSecret(Buffer.from(pairs.ed25519.publicKey.export({ format: 'jwk' }).x!, 'base64url'))],
    ['none', 'ed25519', `${base64url({ alg: 'none' })}.${body}.`],
    ['EdDSA of zeros', 'ed25519', token({ alg: 'EdDSA' }, claims, () => Buffer.alloc(64))],
    ['EdDSA by another key', 'ed25519', token({ alg: 'EdDSA' }, claims, signer('EdDSA', generateKeyPairSync('ed25519').privateKey))],
    ['EdDSA on another curve', 'ed25519', token({ alg: 'EdDSA' }, claims, signer('EdDSA', generateKeyPairSync('ed448').privateKey))],
    ['ES256 by another issuer', 'ed25519', es],
  ]
  const gates = { rsa: gateOf({ publicKey: rsaPem, issuer, audience }), ec256: gateOf({ publicKey: ecPem, issuer, audience }), ed25519: gateOf({ publicKey: pairs.ed25519.publicKey, issuer, audience }) }
  const honestOnes = { rsa: rs, ec256: es, ed25519: token({ alg: 'EdDSA' }, claims, signed('EdDSA')) }

  test.each(mutations)('%s (%s)', async (_, kind, text) => {
    await expectRefused(gates[kind], text)
    expect(await gates[kind].connect(inAuth(honestOnes[kind]))).toEqual(admitted())
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

  test('times beyond the tolerance', async () => {
    const gate = gateOf({ secret, issuer, audience, clockToleranceMs: 5_000 })
    await expectRefused(gate, hsWith({ exp: seconds - 5 }))
    await expectRefused(gate, hsWith({ nbf: seconds + 6 }))
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
    expect([first.sync, second.sync]).toEqual([false, true])
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
    await expect(at(NOW + 3_600_000)).rejects.toMatchObject({ code: 'UNAUTHENTICATED', cause: 'jwt: expired' })
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
    const syncs = async (...texts: string[]) => {
      const seen: boolean[] = []
      for (const text of texts) seen.push((await gate.connect(inAuth(text))).sync)
      return seen
    }
    expect(await syncs(honest, bob, honest, carol)).toEqual([false, false, true, false])
    expect(await syncs(honest, carol, bob)).toEqual([true, true, false])
    expect(await syncs(honest)).toEqual([false])
  })

  test('is verified each time where none is remembered', async () => {
    const gate = gateOf({ secret, issuer, audience, rememberVerified: 0 })
    expect((await gate.connect(inAuth(honest))).sync).toBe(false)
    expect((await gate.connect(inAuth(honest))).sync).toBe(false)
  })

  test('is not shared between two gates', async () => {
    expect((await gateOf().connect(inAuth(honest))).sync).toBe(false)
    expect(await gateOf({ secret, issuer, audience: 'billing' }).connect(inAuth(honest))).toEqual(denied('UNAUTHENTICATED'))
  })
})

test('what an operator is told holds nothing of the token', async () => {
  const gate = gateOf()
  for (const [, mutations] of groups) {
    for (const [, text] of mutations.slice(0, 20)) {
      const { cause } = (await gate.connect(inAuth(text))).error as Denied
      expect(cause).toEqual(expect.stringMatching(/^jwt: .{3,120}$/))
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
    ['a list as audience', { secret, issuer, audience: [audience] }, /audience must be/],
    ['an unknown option', { ...base, secret, aud: audience }, /unknown option "aud"/],
    ['an address of keys', { ...base, secret, jwksUri: 'https://id.example/keys' }, /unknown option "jwksUri"/],
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
