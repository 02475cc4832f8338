import { describe, expect, test } from '@jest/globals'
import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { createServer as createHttps } from 'node:https'
import { createServer } from 'node:net'
import { gzipSync } from 'node:zlib'
import type { Denied } from 'portcullis'
import { jwt } from 'portcullis/adapters/jwt'
import type { JwtOptions } from 'portcullis/adapters/jwt'
import { authenticate } from 'portcullis/policies'
import { admitted, denied, harness, testClock } from 'portcullis/testing'
import { purposes, selfSigned } from '../../support/certificates.ts'
import { KeyServer, publish, tokenBy } from '../../support/key-server.ts'
import { attacker, attackerJwk, audience, claims, issuer, NOW, seconds, secret } from '../../support/mutated-tokens.ts'
import { closeAfterTest, Latch, listen } from '../../support/server.ts'
import { base64url, pairs, pemOf, signer, token } from '../../support/tokens.ts'

const COOLDOWN = 30_000
const CACHE = 600_000

/** 20 kB that stand for 20 MB. */
const bomb = gzipSync(JSON.stringify({ keys: [], more: ' '.repeat(20_000_000) }))

const rsa = publish('r1', 'RS256', pairs.rsa)
const ec = publish('e1', 'ES256', pairs.ec256)
const old = publish('old', 'ES256', generateKeyPairSync('ec', { namedCurve: 'P-256' }))
const own = publish('evil', 'RS256', attacker)
const stranger = publish('stranger', 'ES256', generateKeyPairSync('ec', { namedCurve: 'P-256' }))

function gateOf(server: { readonly uri: string }, options: Partial<JwtOptions> = {}) {
  const clock = testClock(NOW)
  const probe = harness(authenticate(jwt({ jwksUri: server.uri, issuer, audience, ...options } as JwtOptions), { failures: { perAddress: false } }), { clock })
  const connect = (text: string) => probe.connect({ auth: { token: text } })
  return { clock, connect, codeOf: async (text: string) => (await connect(text)).code }
}

describe('a token is checked with a key of the set', () => {
  test('that its kid names, of whatever kind', async () => {
    const okp = publish('o1', 'EdDSA', pairs.ed25519)
    const pss = publish('p1', 'PS512', pairs.rsa)
    const server = await KeyServer.start(rsa, ec, okp, pss)
    const { connect } = gateOf(server)
    for (const key of [rsa, ec, okp, pss]) expect(await connect(tokenBy(key, claims))).toEqual(admitted())
    expect(server.asked).toEqual(['/keys'])
  })

  test('without a promise once the keys are there, and without a request', async () => {
    const server = await KeyServer.start(rsa)
    const { connect } = gateOf(server, { rememberVerified: 0 })
    expect(await connect(tokenBy(rsa, claims))).toEqual(admitted({ sync: false }))
    expect(await connect(tokenBy(rsa, { ...claims, n: 1 }))).toEqual(admitted({ sync: true }))
    expect(server.count).toBe(1)
  })

  test('at an address that is a URL object as well, and that is changed later', async () => {
    const server = await KeyServer.start(rsa)
    const url = new URL(server.uri)
    const { connect } = gateOf(server, { jwksUri: url })
    url.port = '1'
    expect(await connect(tokenBy(rsa, claims))).toEqual(admitted())
  })

  test('that is the only one for its algorithm, where it names none', async () => {
    const server = await KeyServer.start(rsa, ec)
    const { connect, codeOf } = gateOf(server)
    expect(await connect(tokenBy(ec, claims, { kid: undefined }))).toEqual(admitted())
    server.publish(rsa, ec, old)
    const later = gateOf(server)
    expect(await later.codeOf(tokenBy(ec, claims, { kid: undefined }))).toBe('UNAUTHENTICATED')
    expect(await codeOf(tokenBy(old, claims, { kid: undefined }))).toBe('UNAUTHENTICATED')
  })

  test('that is in the set twice; not where two differ', async () => {
    const server = await KeyServer.start(rsa, rsa, publish('r1', 'RS256', pairs.rsa, { x5t: 'other' }))
    expect(await gateOf(server).connect(tokenBy(rsa, claims))).toEqual(admitted())
    server.publish(rsa, publish('r1', 'RS256', attacker))
    expect(await gateOf(server).codeOf(tokenBy(rsa, claims))).toBe('UNAUTHENTICATED')
  })

  test('of another kind that has the same kid', async () => {
    const server = await KeyServer.start(rsa, publish('r1', 'ES256', pairs.ec256))
    const { connect } = gateOf(server)
    expect(await connect(tokenBy(rsa, claims))).toEqual(admitted())
    expect(await connect(tokenBy(ec, claims, { kid: 'r1' }))).toEqual(admitted())
  })

  test('that names no algorithm: of the usual one of its kind, or of those that are configured', async () => {
    const plain = publish('r1', 'RS256', pairs.rsa, { alg: undefined, use: undefined })
    const server = await KeyServer.start(plain)
    const rs384 = tokenBy({ ...plain, alg: 'RS384' }, claims)
    const usual = gateOf(server)
    expect(await usual.connect(tokenBy(plain, claims))).toEqual(admitted())
    expect(await usual.codeOf(rs384)).toBe('UNAUTHENTICATED')
    const configured = gateOf(server, { algorithms: ['RS384', 'ES256'] })
    expect(await configured.connect(rs384)).toEqual(admitted())
    expect(await configured.codeOf(tokenBy(plain, claims))).toBe('UNAUTHENTICATED')
  })

  test('among all that is no key for tokens', async () => {
    const server = await KeyServer.start(rsa)
    server.keys = [
      { kty: 'oct', kid: 'r1', k: base64url(secret) },
      { kty: 'RSA', kid: 'r1', n: 'AQAB', e: 'AQAB' },
      { kty: 'EC', kid: 'r1', crv: 'P-256', x: 'AAAA', y: 'AAAA' },
      { ...rsa.jwk, use: 'enc', kid: 'r2' },
      { kid: 'nothing' },
      { kty: 7 },
      { ...pairs.ec256.privateKey.export({ format: 'jwk' }), kid: 'e1', alg: 'ES256' },
      rsa.jwk,
    ]
    expect(await gateOf(server).connect(tokenBy(rsa, claims))).toEqual(admitted())
  })
})

describe('a key of the set is of no use', () => {
  const weak = generateKeyPairSync('rsa', { modulusLength: 1_024 })
  const x25519 = generateKeyPairSync('x25519').publicKey.export({ format: 'jwk' })
  const k256 = generateKeyPairSync('ec', { namedCurve: 'secp256k1' })
  const bad: readonly (readonly [string, object, string])[] = [
    ['a secret, with HS256', { kty: 'oct', k: base64url(secret), kid: 'k', alg: 'HS256' }, token({ alg: 'HS256', kid: 'k' }, claims, signer('HS256', secret))],
    ['a secret that says it is for RS256', { kty: 'oct', k: base64url(secret), kid: 'k', alg: 'RS256' }, token({ alg: 'RS256', kid: 'k' }, claims, signer('HS256', secret))],
    ['a public key as secret', rsa.jwk, token({ alg: 'HS256', kid: 'r1' }, claims, signer('HS256', pemOf(pairs.rsa.publicKey)))],
    ['RSA of 1,024 bits', { ...weak.publicKey.export({ format: 'jwk' }), kid: 'k', alg: 'RS256' }, token({ alg: 'RS256', kid: 'k' }, claims, signer('RS256', weak.privateKey))],
    ['RSA with the exponent 1', { ...rsa.jwk, e: 'AQ' }, tokenBy(rsa, claims)],
    ['RSA for RS512, with RS256', { ...rsa.jwk, alg: 'RS512' }, tokenBy(rsa, claims)],
    ['RSA for encryption', { ...rsa.jwk, use: 'enc' }, tokenBy(rsa, claims)],
    ['RSA for RSA-OAEP', { ...rsa.jwk, alg: 'RSA-OAEP-256' }, tokenBy(rsa, claims)],
    ['RSA for HS256', { ...rsa.jwk, alg: 'HS256' }, tokenBy(rsa, claims)],
    ['RSA for none', { ...rsa.jwk, alg: 'none' }, token({ alg: 'none', kid: 'r1' }, claims, () => Buffer.alloc(1))],
    ['RSA for nothing of the kind', { ...rsa.jwk, alg: 7 }, tokenBy(rsa, claims)],
    ['RSA for signing', { ...rsa.jwk, key_ops: ['sign'] }, tokenBy(rsa, claims)],
    ['RSA for text', { ...rsa.jwk, key_ops: 'verify' }, tokenBy(rsa, claims)],
    ['the private key', { ...pairs.rsa.privateKey.export({ format: 'jwk' }), kid: 'r1', alg: 'RS256' }, tokenBy(rsa, claims)],
    ['EC for RS256', { ...ec.jwk, alg: 'RS256' }, token({ alg: 'RS256', kid: 'e1' }, claims, signer('ES256', pairs.ec256.privateKey))],
    ['EC on another curve than it says', { ...ec.jwk, crv: 'P-384' }, tokenBy(ec, claims)],
    ['EC that is no point', { ...ec.jwk, y: ec.jwk['x'] }, tokenBy(ec, claims)],
    ['secp256k1', { ...k256.publicKey.export({ format: 'jwk' }), kid: 'k' }, token({ alg: 'ES256', kid: 'k' }, claims, signer('ES256', k256.privateKey))],
    ['X25519', { ...x25519, kid: 'k' }, token({ alg: 'EdDSA', kid: 'k' }, claims, signer('EdDSA', pairs.ed25519.privateKey))],
    ['a kid that is a number', { ...rsa.jwk, kid: 1 }, tokenBy(rsa, claims, { kid: 1 })],
    ['a kid that is null', { ...rsa.jwk, kid: null }, tokenBy(rsa, claims, { kid: null })],
    ['no kid, where the token names one', { ...rsa.jwk, kid: undefined }, tokenBy(rsa, claims)],
    ['a kid that differs in its case', { ...rsa.jwk, kid: 'R1' }, tokenBy(rsa, claims)],
  ]
  test.each(bad)('%s', async (_, jwk, text) => {
    const server = await KeyServer.start()
    server.keys = [jwk as Record<string, unknown>]
    const { codeOf } = gateOf(server)
    expect(await codeOf(text)).toBe('UNAUTHENTICATED')
    expect(await codeOf(text)).toBe('UNAUTHENTICATED')
  })

  test('when it is one of an empty set', async () => {
    const server = await KeyServer.start()
    expect(await gateOf(server).codeOf(tokenBy(rsa, claims))).toBe('UNAUTHENTICATED')
  })
})

describe('nothing of a key comes from the token', () => {
  const jwks = { keys: [{ ...attackerJwk, kid: 'evil', alg: 'RS256' }] }
  const forged = (header: object) => tokenBy(own, claims, header)

  test('whatever its header says, and only the configured address is asked', async () => {
    const server = await KeyServer.start(rsa)
    const evil = await KeyServer.start(own)
    const { codeOf, connect, clock } = gateOf(server)
    const headers: readonly object[] = [
      { jku: evil.uri },
      { jku: evil.uri, kid: 'r1' },
      { jku: server.uri, kid: 'r1' },
      { x5u: evil.uri },
      { x5u: evil.uri, x5t: 'AAAA' },
      { jwk: attackerJwk },
      { jwk: attackerJwk, kid: 'r1' },
      { jwk: { kty: 'oct', k: base64url(secret) }, kid: 'r1' },
      { jwks },
      { x5c: [attacker.publicKey.export({ format: 'der', type: 'spki' }).toString('base64')], kid: 'r1' },
      { kid: evil.uri },
      { kid: `../../${evil.uri}` },
      { kid: '__proto__' },
      { kid: 'constructor' },
      { kid: '' },
      { kid: null },
      { kid: ['r1'] },
      { kid: { kid: 'r1' } },
      { kid: 7 },
      { iss: evil.uri },
      { crit: ['jku'], jku: evil.uri },
      { crit: ['kid'] },
    ]
    for (const header of headers) {
      expect([header, await codeOf(forged(header))]).toEqual([header, 'UNAUTHENTICATED'])
      clock.advance(COOLDOWN)
    }
    expect(evil.asked).toEqual([])
    expect(new Set(server.asked)).toEqual(new Set(['/keys']))
    expect(await connect(tokenBy(rsa, { ...claims, exp: seconds + 7_200 }, { jku: evil.uri }))).toEqual(admitted())
  })

  test('and what is of no configured issuer or algorithm makes no request at all', async () => {
    const server = await KeyServer.start(rsa)
    const { codeOf } = gateOf(server, { algorithms: ['RS256'] })
    for (const text of [
      tokenBy(own, { ...claims, iss: server.uri }),
      tokenBy(own, { ...claims, iss: undefined }),
      tokenBy(ec, claims),
      token({ alg: 'HS256', kid: 'x' }, claims, signer('HS256', secret)),
      token({ alg: 'none', kid: 'x' }, claims, () => Buffer.alloc(1)),
      tokenBy(own, claims, { crit: ['x'] }),
      tokenBy(own, claims, { kid: { $ne: null } }),
      tokenBy(own, 'nothing'),
      `${tokenBy(own, claims)}=`,
      'a.b.c',
    ]) {
      expect(await codeOf(text)).toBe('UNAUTHENTICATED')
    }
    expect(server.count).toBe(0)
  })
})

describe('keys are changed', () => {
  test('with an overlap: old and new pass; when the old one is gone it is refused after the cache time, also for a token that was seen', async () => {
    const server = await KeyServer.start(old)
    const { connect, codeOf, clock } = gateOf(server)
    const lasting = { ...claims, exp: seconds + 86_400 }
    const before = tokenBy(old, lasting)
    expect(await connect(before)).toEqual(admitted())

    server.publish(old, ec)
    clock.advance(COOLDOWN)
    const after = tokenBy(ec, lasting)
    expect(await connect(after)).toEqual(admitted())
    expect(await connect(before)).toEqual(admitted())
    expect(server.count).toBe(2)

    server.publish(ec)
    clock.advance(CACHE)
    expect(await codeOf(before)).toBe('UNAUTHENTICATED')
    expect(await codeOf(tokenBy(old, { ...lasting, n: 1 }))).toBe('UNAUTHENTICATED')
    expect(await connect(after)).toEqual(admitted())
    expect(server.count).toBe(3)
  })

  test('under the same kid: the new one counts from the next time the server was asked', async () => {
    const first = publish('k', 'ES256', pairs.ec256)
    const second = publish('k', 'ES256', generateKeyPairSync('ec', { namedCurve: 'P-256' }))
    const server = await KeyServer.start(first)
    const { connect, codeOf, clock } = gateOf(server)
    expect(await connect(tokenBy(first, claims))).toEqual(admitted())
    server.publish(second)
    expect(await codeOf(tokenBy(second, claims))).toBe('UNAUTHENTICATED')
    clock.advance(CACHE)
    expect(await codeOf(tokenBy(first, claims))).toBe('UNAUTHENTICATED')
    expect(await connect(tokenBy(second, claims))).toEqual(admitted())
  })

  test.each([
    ['a new token', (_: string) => tokenBy(ec, { ...claims, n: 2 })],
    // No other may ever come.
    ['a token that was seen before', (seen: string) => seen],
  ])('once half of the cache time is over, %s has the server asked beside the work, and does not wait for it', async (_, next) => {
    const server = await KeyServer.start(ec)
    const { connect, clock } = gateOf(server)
    expect(await connect(tokenBy(ec, claims))).toEqual(admitted())
    const seen = tokenBy(ec, { ...claims, n: 1 })
    clock.advance(CACHE / 2 - 1)
    expect(await connect(seen)).toEqual(admitted({ sync: true }))
    expect(server.count).toBe(1)
    clock.advance(1)
    const answered = new Latch()
    server.answer = (_request, response) => {
      response.once('close', () => answered.open())
      server.sendKeys(response)
    }
    expect(await connect(next(seen))).toEqual(admitted({ sync: true }))
    await answered.opened
    expect(server.count).toBe(2)
  })

  test('a token that was seen stays known while its key stays in the set', async () => {
    const server = await KeyServer.start(ec)
    const { connect, clock } = gateOf(server)
    const text = tokenBy(ec, claims)
    const { principal } = (await connect(text)).facts
    server.publish(rsa, ec)
    clock.advance(COOLDOWN)
    expect(await connect(tokenBy(rsa, claims))).toEqual(admitted())
    expect((await connect(text)).facts.principal).toBe(principal)
  })

  test('a clock that is set far back leaves no key in use for longer', async () => {
    const server = await KeyServer.start(old)
    let now = NOW
    const probe = harness(authenticate(jwt({ jwksUri: server.uri, issuer, audience })), { clock: { ...testClock(), now: () => now } })
    const codeOf = async (text: string) => (await probe.connect({ auth: { token: text } })).code
    expect(await codeOf(tokenBy(old, claims))).toBeUndefined()
    server.publish(ec)
    now -= 86_400_000
    expect(await codeOf(tokenBy(old, claims))).toBe('UNAUTHENTICATED')
    expect(await codeOf(tokenBy(ec, claims))).toBeUndefined()
    expect(server.count).toBe(2)
  })
})

describe('a flood of unknown kids', () => {
  const flood = (round: number) => Array.from({ length: 50 }, (_, n) => tokenBy(stranger, claims, { kid: `${round}-${n}` }))

  test('costs one request in each cool-down, one after another and all at once', async () => {
    const server = await KeyServer.start(ec)
    const { codeOf, connect, clock } = gateOf(server)
    for (let round = 1; round <= 3; round++) {
      expect(new Set(await Promise.all(flood(round).map(codeOf)))).toEqual(new Set(['UNAUTHENTICATED']))
      for (const text of flood(-round).slice(0, 20)) expect(await codeOf(text)).toBe('UNAUTHENTICATED')
      expect(await connect(tokenBy(ec, claims))).toEqual(admitted())
      expect(server.count).toBe(round)
      clock.advance(COOLDOWN - 1)
      expect(await codeOf(tokenBy(own, claims))).toBe('UNAUTHENTICATED')
      expect(server.count).toBe(round)
      clock.advance(1)
    }
  })

  test('is not let through by decisions that were begun earlier', async () => {
    const server = await KeyServer.start(ec)
    const scheme = jwt({ jwksUri: server.uri, issuer, audience })
    for (const now of [NOW, NOW - 4_000, NOW - 1, NOW + 4_000]) await Promise.resolve(scheme.verify(tokenBy(ec, claims), { now } as never))
    for (const now of [NOW - 4_000, NOW, NOW + 20_000]) await Promise.resolve().then(() => scheme.verify(tokenBy(own, claims), { now } as never)).catch(() => undefined)
    expect(server.count).toBe(1)
  })

  const broken: readonly (readonly [string, (server: KeyServer) => void])[] = [
    ['drops connections', (server) => server.goDown()],
    ['redirects', (server) => (server.answer = ({ url }, response) => (url === '/keys' ? response.writeHead(302, { location: '/elsewhere' }).end() : server.sendKeys(response)))],
    ['redirects for good', (server) => (server.answer = ({ url }, response) => (url === '/keys' ? response.writeHead(308, { location: `http://localhost:${server.port}/elsewhere` }).end() : server.sendKeys(response)))],
    ['answers HTML', (server) => (server.answer = (_, response) => response.setHeader('content-type', 'text/html').end('<!doctype html><title>Sign in</title>'))],
    ['answers with an error', (server) => (server.answer = (_, response) => response.writeHead(500).end(JSON.stringify({ keys: [ec.jwk] })))],
    ['answers with nothing', (server) => (server.answer = (_, response) => response.writeHead(204).end())],
    ['answers not modified', (server) => (server.answer = (_, response) => response.writeHead(304).end())],
    ['answers with an empty body', (server) => (server.answer = (_, response) => response.end())],
    ['answers with a list', (server) => (server.answer = (_, response) => response.end(JSON.stringify([ec.jwk])))],
    ['answers with a key alone', (server) => (server.answer = (_, response) => response.end(JSON.stringify(ec.jwk)))],
    ['answers with keys by name', (server) => (server.answer = (_, response) => response.end(JSON.stringify({ keys: { e1: ec.jwk } })))],
    ['answers with keys that are none', (server) => (server.answer = (_, response) => response.end(JSON.stringify({ keys: [null, 7, ec.jwk] })))],
    ['answers with null', (server) => (server.answer = (_, response) => response.end('null'))],
    ['answers with half a set', (server) => (server.answer = (_, response) => response.end(JSON.stringify({ keys: [ec.jwk] }).slice(0, -1)))],
    ['breaks off', (server) => (server.answer = (_, response) => response.writeHead(200, { 'content-length': '1000' }).write('{', () => response.destroy()))],
    ['answers with more keys than anybody has', (server) => (server.answer = (_, response) => response.end(JSON.stringify({ keys: Array.from({ length: 101 }, (_, n) => ({ ...ec.jwk, kid: `k${n}` })) })))],
    ['answers with a huge set', (server) => (server.answer = (_, response) => response.end(JSON.stringify({ keys: [{ ...ec.jwk, x: 'A'.repeat(300_000) }, ec.jwk] })))],
    ['answers with a small body that grows', (server) => (server.answer = (_, response) => response.setHeader('content-encoding', 'gzip').end(bomb))],
    ['answers with what is not compressed as it says', (server) => (server.answer = (_, response) => response.setHeader('content-encoding', 'gzip').end(JSON.stringify({ keys: [ec.jwk] })))],
    ['fails without end', (server) => (server.answer = (_, response) => response.writeHead(500).write(' '.repeat(1_000_000)))],
    ['answers with JSON that is nested without end', (server) => (server.answer = (_, response) => response.end(`{"keys":[{"kty":"EC","x":${'['.repeat(100_000)}${']'.repeat(100_000)}}]}`))],
  ]
  test.each(broken)('at a server that %s is the same, and says that a service is missing', async (_, breakIt) => {
    const server = await KeyServer.start(ec)
    breakIt(server)
    const { codeOf, connect, clock } = gateOf(server)
    for (let round = 1; round <= 2; round++) {
      expect(new Set(await Promise.all(flood(round).map(codeOf)))).toEqual(new Set(['UNAVAILABLE']))
      expect(await codeOf(tokenBy(ec, claims))).toBe('UNAVAILABLE')
      expect(server.asked).toEqual(Array<string>(round).fill('/keys'))
      clock.advance(COOLDOWN)
    }
    server.recover()
    expect(await connect(tokenBy(ec, claims))).toEqual(admitted())
    expect(await codeOf(tokenBy(own, claims))).toBe('UNAUTHENTICATED')
  })

  test('at a server that never answers costs one request, and what waits for it is told in time', async () => {
    const server = await KeyServer.start(ec)
    server.answer = () => undefined
    const { codeOf } = gateOf(server, { jwksTimeoutMs: 1_000 })
    expect(new Set(await Promise.all(flood(1).map(codeOf)))).toEqual(new Set(['UNAVAILABLE']))
    expect(server.count).toBe(1)
  })

  test.each<[string, string]>([
    ['a body that trickles', ' '],
    ['a body without end', ' '.repeat(65_536)],
  ])('at a server with %s is cut off', async (_, chunk) => {
    const server = await KeyServer.start(ec)
    let sent = 0
    const over = new Latch()
    server.answer = (_request, response) => {
      const more = setInterval(() => (sent += response.write(chunk) ? chunk.length : 0), 1)
      response.once('close', () => {
        clearInterval(more)
        over.open()
      })
    }
    const { codeOf } = gateOf(server, { jwksTimeoutMs: 200 })
    expect(await codeOf(tokenBy(ec, claims))).toBe('UNAVAILABLE')
    await over.opened
    expect(sent).toBeLessThan(10_000_000)
  })

  test('while one request is on its way waits for that one', async () => {
    const server = await KeyServer.start(ec)
    const asked = new Latch()
    const release = new Latch()
    server.answer = (_, response) => {
      asked.open()
      void release.opened.then(() => server.sendKeys(response))
    }
    const { connect, codeOf, clock } = gateOf(server, { jwksCooldownMs: 1_000 })
    const first = connect(tokenBy(ec, claims))
    await asked.opened
    clock.advance(1_000)
    const others = flood(1).map(codeOf)
    const honest = connect(tokenBy(ec, { ...claims, n: 1 }))
    release.open()
    expect([await first, await honest]).toEqual([admitted(), admitted()])
    expect(new Set(await Promise.all(others))).toEqual(new Set(['UNAUTHENTICATED']))
    expect(server.count).toBe(1)
  })
})

describe('a key server that is down', () => {
  test('leaves the keys in use for the cache time; then nothing is admitted, and the client is told that it is not its fault', async () => {
    const server = await KeyServer.start(ec)
    const { connect, codeOf, clock } = gateOf(server)
    const lasting = { ...claims, exp: seconds + 86_400 }
    const seen = tokenBy(ec, lasting)
    expect(await connect(seen)).toEqual(admitted())
    server.goDown()
    for (let elapsed = 0; elapsed + COOLDOWN < CACHE; elapsed += COOLDOWN) {
      clock.advance(COOLDOWN)
      expect([elapsed, (await connect(tokenBy(ec, { ...lasting, elapsed }))).code]).toEqual([elapsed, undefined])
      expect(await connect(seen)).toEqual(admitted())
      // Of a key that may be new nothing can be said; of a signature that is wrong it can.
      expect(await codeOf(tokenBy(rsa, lasting))).toBe('UNAVAILABLE')
      expect(await codeOf(tokenBy({ ...ec, privateKey: old.privateKey }, lasting))).toBe('UNAUTHENTICATED')
    }
    clock.advance(COOLDOWN)
    expect(await codeOf(seen)).toBe('UNAVAILABLE')
    expect(await codeOf(tokenBy(ec, { ...lasting, n: 1 }))).toBe('UNAVAILABLE')

    server.recover()
    clock.advance(COOLDOWN)
    expect(await connect(seen)).toEqual(admitted())
  })

  test('tells operators why, and the client nothing of it', async () => {
    const server = await KeyServer.start(ec)
    server.answer = (_, response) => response.writeHead(503).end()
    const result = await gateOf(server).connect(tokenBy(ec, claims))
    expect(result).toEqual(denied('UNAVAILABLE'))
    expect(JSON.stringify(result.sent)).not.toMatch(/127\.0\.0\.1|key server|503/)
    const { cause } = result.error as Denied
    expect(String((cause as Error).message)).toBe('jwt: the key server of the issuer gives no keys')
    expect(String((cause as { cause: Error }).cause)).toMatch(/Expected 200/)
  })

  test('where nothing listens is down as well', async () => {
    const socket = createServer().listen(0, '127.0.0.1')
    await once(socket, 'listening')
    const { port } = socket.address() as { port: number }
    await new Promise((resolve) => socket.close(resolve))
    expect(await gateOf({ uri: `http://127.0.0.1:${port}/keys` }).codeOf(tokenBy(ec, claims))).toBe('UNAVAILABLE')
  })

  test('where something listens that speaks no HTTP', async () => {
    const socket = createServer((each) => each.on('error', () => undefined).resume().end('SSH-2.0-OpenSSH_9.2\r\n')).listen(0, '127.0.0.1')
    closeAfterTest(() => new Promise((resolve) => socket.close(resolve)))
    await once(socket, 'listening')
    const { port } = socket.address() as { port: number }
    expect(await gateOf({ uri: `http://127.0.0.1:${port}/keys` }).codeOf(tokenBy(ec, claims))).toBe('UNAVAILABLE')
  })

  test('whose certificate nobody vouches for is not asked', async () => {
    const { cert, key } = await selfSigned({ san: [{ type: 'dns', value: 'localhost' }], eku: [purposes.server] })
    let asked = 0
    const https = createHttps({ cert, key }, (_, response) => {
      asked++
      response.end(JSON.stringify({ keys: [ec.jwk] }))
    })
    const port = await listen(https)
    closeAfterTest(() => new Promise((resolve) => https.close(resolve)))
    expect(await gateOf({ uri: `https://localhost:${port}/keys` }).codeOf(tokenBy(ec, claims))).toBe('UNAVAILABLE')
    expect(asked).toBe(0)
  })

  test('of one issuer is no matter for the others', async () => {
    const down = await KeyServer.start(rsa)
    down.goDown()
    const up = await KeyServer.start(ec)
    const gate = gateOf(up, { jwksUri: undefined, issuer: undefined, issuers: [{ issuer: 'https://down.example', jwksUri: down.uri }, { issuer: 'https://up.example', jwksUri: up.uri }, { issuer, secret }] } as never)
    expect(await gate.codeOf(tokenBy(rsa, { ...claims, iss: 'https://down.example' }))).toBe('UNAVAILABLE')
    expect(await gate.connect(tokenBy(ec, { ...claims, iss: 'https://up.example' }))).toEqual(admitted())
    expect(await gate.codeOf(tokenBy(rsa, { ...claims, iss: 'https://up.example' }))).toBe('UNAUTHENTICATED')
    expect(await gate.connect(token({ alg: 'HS256' }, claims, signer('HS256', secret)))).toEqual(admitted())
  })
})
