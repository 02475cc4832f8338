import { describe, expect, test } from '@jest/globals'
import { observed } from 'portcullis'
import { connect } from 'portcullis/client'
import { lifetime } from 'portcullis/policies'
import type { LifetimeOptions } from 'portcullis/policies'
import { client, enteredBy, enteredWith, expectedRefusal, farewell, inAuth, join, NOW, record, refresh, say, start, tokenOf, ways } from '../support/credentials.ts'
import type { Set as SetUp, Started } from '../support/credentials.ts'
import { closeAfterTest, entered, entry, heard, refusal, until } from '../support/server.ts'

const MINUTE = 60_000
const MAX = 60 * MINUTE
/** Credentials that outlive every test. */
const HOURS = 100 * 3_600
const alice = tokenOf('alice', HOURS)

const serving = (options: Partial<LifetimeOptions> = {}, more: SetUp = {}): Promise<Started> =>
  start({ ...more, terms: { expiringMs: 0, ...more.terms }, declare: (gate) => (gate.use(lifetime({ maxMs: MAX, ...options })), more.declare?.(gate)) })

/** What is on the agenda besides the ends of credentials: one for each peer that is watched. */
const watched = (host: Started): number => host.core.agenda.size - host.io.of('/').sockets.size

describe.each(ways)('a peer, over %s (A19)', (way) => {
  test('is closed at its time however busy it is, with the reason and an advice, and has to authenticate anew', async () => {
    const host = await serving()
    const socket = await enteredBy(host, way, alice)
    const [closings, news] = [record(socket, 'gate:closing'), record(socket, 'news')]
    await join(socket, 'room')
    for (let i = 1; i < 60; i++) {
      host.clock.advance(MINUTE)
      host.io.to('room').emit('news', i)
      expect(await say(socket, i)).toBe(i)
    }
    host.clock.advance(MINUTE - 1)
    expect(await say(socket, 'the last')).toBe('the last')
    expect([closings, host.seen.denied]).toEqual([[], []])

    const gone = farewell(socket)
    const handled = host.handled.length
    host.clock.advance(1)
    // Sent before the client can know.
    socket.emit('say', 'too late')
    host.io.to('room').emit('news', 'too late')
    host.sockets[0]!.emit('news', 'too late')
    expect(await gone).toEqual({ closing: { ...expectedRefusal('LIFETIME_EXCEEDED'), message: 'The connection reached its maximum lifetime.', reconnect: 'after-credential' }, reason: 'io server disconnect' })
    expect(host.seen.denied).toMatchObject([{ stage: 'connect', policy: 'lifetime', code: 'LIFETIME_EXCEEDED', subject: 'alice', enforced: true, at: NOW + MAX }])
    await until(() => host.clients() === 0)
    expect([host.handled.length, news.includes('too late'), host.core.agenda.size, host.seen.fault]).toEqual([handled, false, 0, []])

    for (const credential of [{}, inAuth('forged'), inAuth(tokenOf('alice', MAX / 1_000))]) {
      expect(await refusal(client(host, credential))).toMatchObject({ data: { code: 'UNAUTHENTICATED' } })
    }
    const again = await enteredBy(host, way, alice)
    host.clock.advance(MAX - 1)
    expect(await say(again, 'anew')).toBe('anew')
    const over = farewell(again)
    host.clock.advance(1)
    expect(await over).toMatchObject({ closing: { code: 'LIFETIME_EXCEEDED' } })
  })

  test('is not kept by a refresh, nor by a new look at its rights', async () => {
    const host = await serving()
    const socket = await enteredBy(host, way, alice)
    const gone = farewell(socket)
    for (let i = 0; i < 60; i++) {
      expect(await refresh(socket, tokenOf('alice', HOURS + i))).toMatchObject({ expiresAtMs: expect.any(Number) })
      await host.gate.reauthorize({ subject: 'alice' })
      expect([watched(host), host.io.sockets.sockets.size]).toEqual([1, 1])
      host.clock.advance(MINUTE)
    }
    expect(await gone).toMatchObject({ closing: { code: 'LIFETIME_EXCEEDED' } })
    await until(() => host.core.agenda.size === 0)
  })

  test('that goes on as nobody has no other time', async () => {
    const host = await serving({}, { terms: { optional: true, onExpiry: 'anonymous' } })
    const socket = await enteredBy(host, way, tokenOf('alice', 30 * 60))
    const changed = heard(socket, 'gate:changed')
    host.clock.advance(MAX / 2)
    await changed
    host.clock.advance(MAX / 2 - 1)
    expect(await say(socket, 'nobody')).toBe('nobody')
    const gone = farewell(socket)
    host.clock.advance(1)
    expect(await gone).toMatchObject({ closing: { code: 'LIFETIME_EXCEEDED' } })
  })
})

describe('a lifetime', () => {
  test('ends no other one: whoever came later has its own, and so has a namespace', async () => {
    const host = await serving({}, { declare: (gate) => gate.of('/admin').use(lifetime({ maxMs: MAX / 2, reconnect: 'never' })) })
    const first = await enteredWith(host, alice)
    host.clock.advance(MINUTE)
    const [second, admin] = [await enteredWith(host, alice), await entered(host, { namespace: '/admin', ...inAuth(alice) })]
    const ends: string[] = []
    for (const [name, socket] of Object.entries({ first, second, admin })) socket.on('gate:closing', ({ reconnect }) => ends.push(`${name} ${reconnect}`))
    host.clock.advance(MAX / 2)
    await until(() => ends.length === 1)
    host.clock.advance(MAX / 2 - MINUTE)
    await until(() => ends.length === 2)
    expect(await say(second, 'here')).toBe('here')
    host.clock.advance(MINUTE)
    await until(() => ends.length === 3)
    expect(ends).toEqual(['admin never', 'first after-credential', 'second after-credential'])
  })

  test('ends one namespace of a connection, and leaves the others', async () => {
    const host = await start({ declare: (gate) => gate.of('/admin').use(lifetime({ maxMs: 1_000 })) })
    const main = await enteredWith(host, alice)
    const admin = main.io.socket('/admin', inAuth(alice))
    closeAfterTest(() => admin.disconnect())
    admin.connect()
    await entry(admin)
    const gone = farewell(admin)
    host.clock.advance(1_000)
    expect(await gone).toMatchObject({ closing: { code: 'LIFETIME_EXCEEDED' } })
    expect([await say(main, 'here'), host.clients()]).toEqual(['here', 1])
  })

  test('begins when the peer has entered', async () => {
    const held: (() => void)[] = []
    const host = await serving({}, { application: (io) => io.use((_socket, next) => void held.push(next)) })
    const socket = client(host, inAuth(alice))
    const came = entry(socket)
    await until(() => held.length === 1)
    host.clock.advance(9_000)
    held[0]!()
    await came
    host.clock.advance(MAX - 1)
    expect(await say(socket, 'here')).toBe('here')
  })

  test('of two hundred leaves nothing behind, over or not', async () => {
    const host = await serving({ spreadMs: 10 * MINUTE })
    const sockets = await Promise.all(Array.from({ length: 200 }, () => enteredWith(host, alice)))
    expect(watched(host)).toBe(200)
    const leaving = sockets.splice(0, 50)
    for (const socket of leaving) socket.disconnect()
    await until(() => host.clients() === 150)
    expect(watched(host)).toBe(150)
    const farewells = sockets.map(farewell)
    host.clock.advance(50 * MINUTE - 1)
    expect([host.seen.denied, watched(host)]).toEqual([[], 150])
    host.clock.advance(10 * MINUTE + 1)
    for (const { closing } of await Promise.all(farewells)) expect(closing).toMatchObject({ code: 'LIFETIME_EXCEEDED' })
    await until(() => host.clients() === 0)
    // Ten minutes in one step: connections that had lost their last namespace were closed on the way.
    const over = host.seen.denied.filter(({ code }) => code === 'LIFETIME_EXCEEDED')
    expect([host.core.agenda.size, host.clock.pending, over.length, host.seen.fault]).toEqual([0, 0, 150, []])
    expect(new Set(over.map(({ at }) => at)).size).toBeGreaterThan(10)
  })

  test('of one that is thrown out as it enters leaves nothing behind', async () => {
    const host = await serving({}, { application: (io) => io.on('connection', (socket) => socket.disconnect()) })
    const socket = client(host, inAuth(alice))
    await heard(socket, 'disconnect')
    await until(() => host.clients() === 0)
    expect([host.core.agenda.size, host.seen.fault]).toEqual([0, []])
  })
})

describe('coming back', () => {
  test('with connection state recovery begins anew, and one that was closed is not recovered', async () => {
    const host = await serving({}, { serving: { connectionStateRecovery: {} } })
    const socket = await enteredWith(host, alice)
    const news = heard(socket, 'news')
    host.io.emit('news', 'an offset')
    await news
    host.clock.advance(MAX - 1)
    socket.io.engine.close()
    await until(() => host.io.sockets.sockets.size === 0)
    socket.connect()
    await entry(socket)
    expect(socket.recovered).toBe(true)
    host.clock.advance(MAX - 1)
    expect(await say(socket, 'here')).toBe('here')
    const gone = farewell(socket)
    host.clock.advance(1)
    await gone
    socket.connect()
    await entry(socket)
    expect([socket.recovered, host.sockets.at(-1)!.recovered]).toEqual([false, false])
  })

  test('is what the companion does with another credential', async () => {
    const host = await serving()
    let asked = 0
    const reasons: string[] = []
    const connection = connect(host.url, {
      transports: ['websocket'],
      minDelayMs: 1,
      credentials: ({ reason }) => {
        reasons.push(reason)
        return { token: tokenOf('alice', HOURS + asked++) }
      },
    })
    closeAfterTest(() => connection.close())
    await heard(connection.socket, 'connect')
    const back = heard(connection.socket, 'connect')
    host.clock.advance(MAX)
    await back
    expect([host.sockets.length, host.io.sockets.sockets.size, reasons.length >= 2]).toEqual([2, 1, true])
    expect(await connection.request('say', 'back')).toBe('back')
  })

  test('is not what the companion does with the same one', async () => {
    const host = await serving()
    const connection = connect(host.url, { transports: ['websocket'], minDelayMs: 1, credentials: () => ({ token: alice }) })
    closeAfterTest(() => connection.close())
    await heard(connection.socket, 'connect')
    const closed = new Promise((resolve) => connection.on('closed', resolve))
    host.clock.advance(MAX)
    expect(await closed).toMatchObject({ error: { code: 'LIFETIME_EXCEEDED' } })
    expect(host.sockets).toHaveLength(1)
  })
})

test.each([
  ['a gate in observe mode', { guarding: { mode: 'observe' }, declare: (gate: any) => gate.use(lifetime({ maxMs: MAX })) }],
  ['an observed policy', { declare: (gate: any) => gate.use(observed(lifetime({ maxMs: MAX }))) }],
] as const)('where it is only observed the peer stays, hears nothing of it, and is reported once: %s', async (_words, setUp) => {
  const host = await start({ terms: { expiringMs: 0 }, ...setUp })
  const socket = await enteredWith(host, alice)
  const closings = record(socket, 'gate:closing')
  host.clock.advance(5 * MAX)
  expect(host.seen.denied).toMatchObject([{ policy: 'lifetime', code: 'LIFETIME_EXCEEDED', enforced: false, subject: 'alice' }])
  expect([await say(socket, 'here'), closings, watched(host)]).toEqual(['here', [], 0])
})

test('a revocation comes first, and the lifetime finds nobody', async () => {
  const host = await serving()
  const socket = await enteredWith(host, alice)
  const gone = farewell(socket)
  host.clock.advance(MAX - 1)
  await host.gate.revoke({ subject: 'alice' }, { reason: 'left' })
  host.clock.advance(1)
  expect(await gone).toMatchObject({ closing: { code: 'REVOKED' } })
  expect(host.seen.denied.map(({ code }) => code)).toEqual(['REVOKED'])
})
