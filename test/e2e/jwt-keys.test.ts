import { describe, expect, test } from '@jest/globals'
import { generateKeyPairSync } from 'node:crypto'
import { guard } from 'portcullis'
import { jwt } from 'portcullis/adapters/jwt'
import type { JwtOptions } from 'portcullis/adapters/jwt'
import { authenticate } from 'portcullis/policies'
import { testClock } from 'portcullis/testing'
import { KeyServer, publish, tokenBy } from '../support/key-server.ts'
import { attacker, attackerJwk, audience, claims, issuer, NOW, seconds } from '../support/mutated-tokens.ts'
import { client, entered, entry, Latch, raw, refusal, serve, watch } from '../support/server.ts'
import { pairs } from '../support/tokens.ts'

// C17: the keys of an issuer change, are asked for too often, or cannot be had. The key server is a real one, which counts.

const COOLDOWN = 30_000
const CACHE = 600_000
const lasting = { ...claims, exp: seconds + 86_400 }
const fresh = () => generateKeyPairSync('ec', { namedCurve: 'P-256' })
const old = publish('2024', 'ES256', fresh())
const current = publish('2025', 'ES256', fresh())
const forged = publish('forged', 'RS256', attacker)
const stranger = publish('stranger', 'ES256', fresh())

async function start(options: JwtOptions) {
  const clock = testClock(NOW)
  const host = await serve((io) => {
    const gate = guard(io, { clock, undeclared: 'allow', limits: { maxFailedCredentials: 1_000 } }).use(authenticate(jwt(options), { failures: { perAddress: false } }))
    io.on('connection', (socket) => socket.on('who', (ack: (answer: unknown) => void) => ack(gate.peerOf(socket).principal)))
    return gate
  })
  const inAuth = (token: string) => ({ auth: { token } })
  return {
    ...host,
    clock,
    seen: watch(host.gate),
    enter: (token: string) => entered(host, inAuth(token)),
    codeOf: async (token: string) => (await refusal(client(host, inAuth(token)))).message,
  }
}

const remote = ({ uri }: KeyServer, more: object = {}): JwtOptions => ({ jwksUri: uri, issuer, audience, ...more })

test('keys are changed with an overlap: both pass, and the old one is refused once it is gone and the cache time is over', async () => {
  const server = await KeyServer.start(old)
  const { enter, codeOf, clock } = await start(remote(server))
  await enter(tokenBy(old, lasting))
  server.publish(old, current)
  clock.advance(COOLDOWN)
  await enter(tokenBy(current, lasting))
  await enter(tokenBy(old, { ...lasting, n: 1 }))
  expect(server.count).toBe(2)
  server.publish(current)
  clock.advance(CACHE)
  expect(await codeOf(tokenBy(old, lasting))).toBe('UNAUTHENTICATED')
  expect(await codeOf(tokenBy(old, { ...lasting, n: 2 }))).toBe('UNAUTHENTICATED')
  await enter(tokenBy(current, lasting))
  expect(server.count).toBe(3)
})

test('a flood of unknown kids from many connections at once costs one request in each cool-down, and holds up nobody', async () => {
  const server = await KeyServer.start(current)
  const host = await start(remote(server))
  await host.enter(tokenBy(current, lasting))
  for (let round = 1; round <= 3; round++) {
    host.clock.advance(COOLDOWN)
    const flooders = await Promise.all(Array.from({ length: 20 }, () => raw(host)))
    const answers = await Promise.all(
      flooders.map(async (flooder, index) => {
        const messages: unknown[] = []
        for (let n = 0; n < 10; n++) messages.push((await flooder.enter('/', { token: tokenBy(stranger, lasting, { kid: `${round}-${index}-${n}` }) })).message)
        return messages
      }),
    )
    expect(new Set(answers.flat())).toEqual(new Set(['UNAUTHENTICATED']))
    await host.enter(tokenBy(current, { ...lasting, round }))
    expect(server.count).toBe(1 + round)
  }
})

test('no request leaves because of what a token says, and no key comes from it', async () => {
  const server = await KeyServer.start(current)
  const trap = await KeyServer.start(forged)
  const host = await start(remote(server, { algorithms: ['ES256', 'RS256'] }))
  const headers: readonly object[] = [{ jku: trap.uri }, { x5u: trap.uri }, { jwk: attackerJwk }, { jku: trap.uri, kid: '2025' }, { kid: trap.uri }, { crit: ['jku'], jku: trap.uri }, { alg: 'none' }, { alg: 'HS256', kid: '2025' }]
  for (const header of headers) {
    expect(await host.codeOf(tokenBy(forged, lasting, header))).toBe('UNAUTHENTICATED')
    host.clock.advance(COOLDOWN)
  }
  for (const iss of [trap.uri, `${issuer}/`]) expect(await host.codeOf(tokenBy(forged, { ...lasting, iss }))).toBe('UNAUTHENTICATED')
  expect(trap.asked).toEqual([])
  await host.enter(tokenBy(current, lasting, { jku: trap.uri, jwk: attackerJwk }))
  expect(trap.asked).toEqual([])
  expect(new Set(server.asked)).toEqual(new Set(['/keys']))
})

describe('a key server that', () => {
  test('is down refuses nobody whose key is known, and is not said to be the fault of the others', async () => {
    const server = await KeyServer.start(current)
    const { enter, codeOf, clock, seen } = await start(remote(server))
    const peer = await enter(tokenBy(current, lasting))
    server.goDown()
    clock.advance(CACHE - COOLDOWN)
    await enter(tokenBy(current, { ...lasting, n: 1 }))
    clock.advance(COOLDOWN)
    for (let n = 0; n < 20; n++) expect(await codeOf(tokenBy(current, { ...lasting, n }))).toBe('UNAVAILABLE')
    expect(server.count).toBe(3)
    // Who is in stays in: a refresh that cannot be judged changes nothing.
    expect((await peer.emitWithAck('gate:refresh', { token: tokenBy(current, { ...lasting, n: 2 }) })).error.code).toBe('UNAVAILABLE')
    expect((await peer.emitWithAck('who')).subject).toBe('alice')
    server.recover()
    clock.advance(COOLDOWN)
    await enter(tokenBy(current, { ...lasting, n: 3 }))
    expect((await peer.emitWithAck('gate:refresh', { token: tokenBy(current, { ...lasting, n: 2 }) })).expiresAtMs).toBe(lasting.exp * 1_000)
    expect(seen.fault).toEqual([])
  })

  test('is slow keeps only those waiting whose key is not known, and forgets who went away', async () => {
    const server = await KeyServer.start(current)
    const { enter, clock, seen, ...host } = await start(remote(server))
    await enter(tokenBy(current, lasting))
    clock.advance(COOLDOWN)
    const asked = new Latch()
    const release = new Latch()
    server.answer = (_, response) => {
      asked.open()
      void release.opened.then(() => server.sendKeys(response))
    }
    const waiting = client(host, { auth: { token: tokenBy(old, lasting) } })
    const leaving = await raw(host)
    leaving.send(`0${JSON.stringify({ token: tokenBy(old, { ...lasting, n: 1 }) })}`)
    await asked.opened
    leaving.vanish()
    await enter(tokenBy(current, { ...lasting, n: 1 }))
    server.publish(old, current)
    release.open()
    await entry(waiting)
    expect(server.count).toBe(2)
    expect(seen.fault).toEqual([])
  })

  test.each<[string, (server: KeyServer) => void]>([
    ['redirects', (server) => (server.answer = ({ url }, response) => (url === '/keys' ? response.writeHead(302, { location: '/elsewhere' }).end() : server.sendKeys(response)))],
    ['answers HTML', (server) => (server.answer = (_, response) => response.end('<!doctype html>'))],
    ['answers without end', (server) => (server.answer = (_, response) => response.write(' '.repeat(1_000_000)))],
  ])('%s gives no keys, and is asked once', async (_, breakIt) => {
    const server = await KeyServer.start(current)
    breakIt(server)
    const { codeOf } = await start(remote(server))
    expect(new Set(await Promise.all(Array.from({ length: 20 }, (_each, n) => codeOf(tokenBy(current, { ...lasting, n })))))).toEqual(new Set(['UNAVAILABLE']))
    expect(server.asked).toEqual(['/keys'])
  })
})

test('several issuers have keys of their own, also where the keys have the same name', async () => {
  const mine = publish('k', 'ES256', fresh())
  const theirs = publish('k', 'RS256', pairs.rsa)
  const [a, b] = [await KeyServer.start(mine), await KeyServer.start(theirs)]
  const { enter, codeOf } = await start({ issuers: [{ issuer: 'https://a.example', jwksUri: a.uri }, { issuer: 'https://b.example', jwksUri: b.uri }], audience })
  const by = (key: typeof mine, iss: string) => tokenBy(key, { ...lasting, iss })
  expect((await (await enter(by(mine, 'https://a.example'))).emitWithAck('who')).issuer).toBe('https://a.example')
  expect((await (await enter(by(theirs, 'https://b.example'))).emitWithAck('who')).issuer).toBe('https://b.example')
  for (const text of [by(mine, 'https://b.example'), by(theirs, 'https://a.example'), by(mine, 'https://c.example')]) expect(await codeOf(text)).toBe('UNAUTHENTICATED')
})
