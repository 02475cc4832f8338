import { describe, expect, jest, test } from '@jest/globals'
import { guard } from 'portcullis'
import type { Principal } from 'portcullis'
import { introspection, openid } from 'portcullis/adapters/oauth'
import { authenticate } from 'portcullis/policies'
import { systemClock } from '../../lib/clock.ts'
import { IdentityProvider, JWT_RESOURCE, OPAQUE_RESOURCE, RESOURCE_SERVER } from '../support/identity-provider.ts'
import { client, entered, refusal, serve, watch } from '../support/server.ts'

/** The system's time, with what a test has added to it. */
function steppedClock() {
  let ahead = 0
  return { now: () => systemClock.now() + ahead, after: systemClock.after, step: (ms: number) => (ahead += ms) }
}

/** A provider, and a server whose clients bring one of its tokens: a signed one to `/`, an opaque one to `/opaque`. */
async function start() {
  // The provider says at its start what it would have in production.
  for (const method of ['info', 'warn'] as const) jest.spyOn(console, method).mockImplementation(() => undefined)
  const provider = await IdentityProvider.start()
  const clock = steppedClock()
  const host = await serve((io) => {
    const gate = guard(io, { clock, undeclared: 'allow' })
    gate.of('/signed').use(authenticate(openid({ issuer: provider.issuer, audience: JWT_RESOURCE, typ: 'at+jwt', algorithms: ['ES256'] })))
    gate.of('/opaque').use(authenticate(introspection({ issuer: provider.issuer, audience: OPAQUE_RESOURCE, ...RESOURCE_SERVER })))
    for (const name of ['/signed', '/opaque']) {
      io.of(name).on('connection', (socket) => {
        socket.on('who', (ack: (principal: Principal) => void) => ack((gate.peerOf(socket) as { principal: Principal }).principal))
      })
    }
    return gate
  })
  return { provider, host, clock, seen: watch(host.gate) }
}

const bringing = (namespace: string, token: string, more: object = {}) => ({ namespace, auth: { token }, ...more })

describe('a user of a real identity provider', () => {
  test('signs in by the authorization code flow, and enters with a signed token', async () => {
    const { provider, host } = await start()
    const { accessToken } = await provider.signIn('alice', JWT_RESOURCE)
    for (const transports of [['websocket'], ['polling', 'websocket']]) {
      const socket = await entered(host, bringing('/signed', accessToken, { transports }))
      const principal = (await socket.emitWithAck('who')) as Principal
      expect(principal).toMatchObject({ subject: 'alice', issuer: provider.issuer, claims: { aud: JWT_RESOURCE, scope: 'chat', client_id: 'application' } })
      expect(principal.expiresAtMs).toBe((principal.claims['exp'] as number) * 1_000)
      expect(principal.tokenId).toBe(principal.claims['jti'])
    }
  })

  test('enters with an opaque token, about which the provider is asked', async () => {
    const { provider, host } = await start()
    const { accessToken } = await provider.signIn('alice', OPAQUE_RESOURCE)
    const socket = await entered(host, bringing('/opaque', accessToken))
    const principal = (await socket.emitWithAck('who')) as Principal
    expect(principal).toMatchObject({ subject: 'alice', issuer: provider.issuer, claims: { active: true, aud: OPAQUE_RESOURCE, token_type: 'Bearer' } })
    expect(principal.tokenId).toMatch(/^sha256:/)
    expect(JSON.stringify(principal)).not.toContain(accessToken)
  })

  test('stays when the access token is renewed, in-band and without reconnecting', async () => {
    const { provider, host } = await start()
    for (const [namespace, resource] of [['/signed', JWT_RESOURCE], ['/opaque', OPAQUE_RESOURCE]] as const) {
      const first = await provider.signIn('alice', resource)
      const socket = await entered(host, bringing(namespace, first.accessToken))
      const { id } = socket
      const before = (await socket.emitWithAck('who')) as Principal
      const second = await provider.refresh(first.refreshToken, resource)
      expect(second.accessToken).not.toBe(first.accessToken)
      const answer = await socket.emitWithAck('gate:refresh', { token: second.accessToken })
      expect(answer).toMatchObject({ expiresAtMs: expect.any(Number), lost: { rooms: [], rights: [] } })
      const after = (await socket.emitWithAck('who')) as Principal
      expect(after.tokenId).not.toBe(before.tokenId)
      expect({ id: socket.id, subject: after.subject }).toEqual({ id, subject: 'alice' })
    }
  })

  test('does not become somebody else by a refresh', async () => {
    const { provider, host } = await start()
    const alice = await provider.signIn('alice', JWT_RESOURCE)
    const bob = await provider.signIn('bob', JWT_RESOURCE)
    const socket = await entered(host, bringing('/signed', alice.accessToken))
    expect(await socket.emitWithAck('gate:refresh', { token: bob.accessToken })).toMatchObject({ error: { code: 'UNAUTHENTICATED' } })
    expect(await socket.emitWithAck('who')).toMatchObject({ subject: 'alice' })
  })

  test('is refused within the cache time once the token was revoked at the provider', async () => {
    const { provider, host, clock } = await start()
    const { accessToken } = await provider.signIn('alice', OPAQUE_RESOURCE)
    await entered(host, bringing('/opaque', accessToken))
    clock.step(10_000)
    await entered(host, bringing('/opaque', accessToken))
    await provider.revoke(accessToken)
    clock.step(10_000)
    expect((await refusal(client(host, bringing('/opaque', accessToken)))).message).toBe('UNAUTHENTICATED')
  })

  test('does not enter with a token for something else: a refresh token, one for another resource, one of the other kind', async () => {
    const { provider, host, seen } = await start()
    const signed = await provider.signIn('alice', JWT_RESOURCE)
    const opaque = await provider.signIn('alice', OPAQUE_RESOURCE)
    const tried: [string, string][] = [
      ['/opaque', opaque.refreshToken],
      ['/opaque', signed.accessToken],
      ['/opaque', signed.refreshToken],
      ['/opaque', `${opaque.accessToken}x`],
      ['/signed', opaque.accessToken],
      ['/signed', signed.refreshToken],
      ['/signed', `${signed.accessToken}x`],
    ]
    for (const [namespace, token] of tried) expect((await refusal(client(host, bringing(namespace, token)))).message).toBe('UNAUTHENTICATED')
    expect(seen.fault).toEqual([])
  })

  test('whose refresh token the provider calls active is refused even without an audience', async () => {
    const { provider } = await start()
    const host = await serve((io) => guard(io, { undeclared: 'allow' }).use(authenticate(introspection({ issuer: provider.issuer, ...RESOURCE_SERVER }))))
    const { accessToken, refreshToken } = await provider.signIn('alice', OPAQUE_RESOURCE)
    await entered(host, bringing('/', accessToken))
    expect((await refusal(client(host, bringing('/', refreshToken)))).message).toBe('UNAUTHENTICATED')
  })

  test('is let in without the provider where its keys are known, and told to come back where it has to be asked', async () => {
    const { provider, host } = await start()
    const signed = await provider.signIn('alice', JWT_RESOURCE)
    const another = await provider.signIn('alice', JWT_RESOURCE)
    const opaque = await provider.signIn('alice', OPAQUE_RESOURCE)
    await entered(host, bringing('/signed', signed.accessToken))
    provider.stop()
    await entered(host, bringing('/signed', another.accessToken))
    const unaware = await serve((io) => guard(io, { undeclared: 'allow' }).use(authenticate(openid({ issuer: provider.issuer, audience: JWT_RESOURCE }))))
    expect((await refusal(client(unaware, bringing('/', another.accessToken)))).message).toBe('UNAVAILABLE')
    const error = await refusal(client(host, bringing('/opaque', opaque.accessToken)))
    expect(error.message).toBe('UNAVAILABLE')
    expect(JSON.stringify(error.data)).not.toContain(opaque.accessToken)
  })
})
