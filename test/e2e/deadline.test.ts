import { request } from 'node:http'
import type { Socket as TcpSocket } from 'node:net'
import { describe, expect, test } from '@jest/globals'
import { ConfigError, Denied, guard } from 'portcullis'
import type { Principal, Scheme } from 'portcullis'
import { authenticate } from 'portcullis/policies'
import { client, enteredWith, expectedRefusal, inAuth, NOW, record, refresh, refused, say, settableClock, start, tokenOf, troubledStore, type Started } from '../support/credentials.ts'
import { ask, askUpgrade, closeAfterTest, connectPacket, entry, eventPacket, heard, Latch, polling, raw, refusal, serve, until, watch, type Place } from '../support/server.ts'

const later = (sub: string): string => tokenOf(sub, 3_600)
const LATE = { stage: 'connect', code: 'UNAUTHENTICATED', policy: 'gate' }

/** An upgraded connection, byte by byte. */
function bytes({ port }: Place): Promise<TcpSocket> {
  return new Promise((resolve, reject) => {
    const asked = request({ host: '127.0.0.1', port, path: '/socket.io/?EIO=4&transport=websocket', headers: { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': 'AAECAwQFBgcICQoLDA0ODw==' } })
    asked.on('error', reject)
    asked.on('upgrade', (_response, socket) => {
      closeAfterTest(() => socket.destroy())
      socket.on('error', () => {})
      resolve(socket)
    })
    asked.end()
  })
}

describe('who says nothing', () => {
  test.each(['websocket', 'polling', 'upgraded'] as const)('over %s is closed at the limit, and its place is free at once', async (way) => {
    const host = await start()
    if (way === 'websocket') await raw(host)
    else {
      const session = await polling(host)
      if (way === 'upgraded') await session.upgrade()
    }
    host.clock.advance(9_999)
    expect(host.clients()).toBe(1)
    host.clock.advance(1)
    expect([host.clients(), host.core.agenda.size]).toEqual([0, 0])
    expect(host.seen.denied).toMatchObject([LATE])
  })

  test('has as long as was said', async () => {
    const host = await start({ terms: { withinMs: 500 } })
    await raw(host)
    host.clock.advance(499)
    expect(host.clients()).toBe(1)
    host.clock.advance(1)
    expect(host.clients()).toBe(0)
  })

  test('in real time is closed as well', async () => {
    const host = await start({ clock: { now: () => Date.now(), after: (ms, fn) => ({ cancel: clearTimeout.bind(undefined, setTimeout(fn, ms).unref()) }) }, terms: { withinMs: 50 } })
    const silent = await raw(host)
    await silent.closed
  })

  test('or only bytes of what may never be a packet, is closed at the limit', async () => {
    const host = await start()
    const socket = await bytes(host)
    const closed = heard(socket, 'close')
    // A masked text frame of 100 bytes, which never comes to its end.
    socket.write(Buffer.from([0x81, 0xe4, 1, 2, 3, 4]))
    for (let i = 0; i < 9; i++) {
      socket.write(Buffer.from([0x30]))
      host.clock.advance(1_000)
    }
    expect(host.clients()).toBe(1)
    host.clock.advance(1_000)
    expect(host.clients()).toBe(0)
    socket.resume()
    socket.destroy()
    await closed
  })

  test('but an event is closed at once, and no handler hears it', async () => {
    const host = await start()
    const socket = await raw(host)
    socket.send(eventPacket(['say', 'first']), connectPacket('/', { token: later('alice') }), eventPacket(['say', 'then']))
    await socket.closed
    expect([host.handled, host.sockets, host.clients()]).toEqual([[], [], 0])
  })

  test('where nobody has to prove anything may stay', async () => {
    const clock = settableClock()
    const host = await serve((io) => guard(io, { clock, undeclared: 'allow' }))
    const socket = await raw(host)
    clock.advance(1e9)
    expect(await socket.enter('/')).toHaveProperty('sid')
  })

  test('has entered is not bound by it, nor one that was refused and tries again in time', async () => {
    const host = await start()
    const entered = await enteredWith(host, tokenOf('alice', 7_200))
    const socket = await raw(host)
    host.clock.advance(9_000)
    expect(await socket.enter('/', { token: 'forged' })).toMatchObject({ message: 'UNAUTHENTICATED' })
    expect(await socket.enter('/', { token: later('bob') })).toHaveProperty('sid')
    host.clock.advance(60_000)
    expect([await say(entered, 'x'), socket.isOpen, host.clients()]).toEqual(['x', true, 2])
  })

  test('gets no more time by being refused', async () => {
    const host = await start()
    const socket = await raw(host)
    for (let i = 0; i < 5; i++) {
      await socket.enter('/', { token: 'forged' })
      host.clock.advance(2_000)
    }
    await socket.closed
  })
})

describe('who has left its last namespace', () => {
  test.each(['client', 'server'] as const)('has the same time again (the %s ends it)', async (who) => {
    const host = await start()
    const socket = await raw(host)
    for (const name of ['/', '/admin']) await socket.enter(name, { token: later('alice') })
    host.clock.advance(20_000)
    const leave = (index: number, packet: string): void => (who === 'client' ? socket.send(packet) : void host.sockets[index]!.disconnect())
    leave(0, '1')
    await until(() => host.io.of('/').sockets.size === 0)
    host.clock.advance(20_000)
    expect(socket.isOpen).toBe(true)
    leave(1, '1/admin,')
    await until(() => host.io.of('/admin').sockets.size === 0)
    host.clock.advance(9_999)
    expect(await socket.enter('/', { token: later('alice') })).toHaveProperty('sid')
    host.clock.advance(20_000)
    expect(socket.isOpen).toBe(true)
    leave(2, '1')
    await until(() => host.io.of('/').sockets.size === 0)
    host.clock.advance(10_000)
    await socket.closed
    expect(host.core.agenda.size).toBe(0)
  })
})

describe('a proof that comes at the limit', () => {
  test('and is judged after the connection was closed makes no socket, and leaves nothing behind', async () => {
    const [begun, latch] = [new Latch(), new Latch()]
    const calls: string[] = []
    const host = await start({
      guarding: { deadlineMs: 60_000 },
      declare: (gate) =>
        gate.connect(async (ctx, next) => {
          ctx.onClose(() => calls.push('close'))
          ctx.onSettled(({ outcome }) => calls.push(outcome))
          begun.open()
          await latch.opened
          await next()
          calls.push('agreed')
        }),
    })
    const socket = await raw(host)
    host.clock.advance(9_999)
    socket.send(connectPacket('/', { token: later('alice') }))
    await begun.opened
    host.clock.advance(1)
    await socket.closed
    expect([host.clients(), calls]).toEqual([0, ['unacked', 'close']])
    latch.open()
    await until(() => calls.includes('agreed'))
    expect([host.sockets, host.io.of('/').sockets.size, host.io.of('/').adapter.rooms.size, socket.received, host.core.agenda.size, host.seen.fault]).toEqual([[], 0, 0, [], 0, []])
  })
})

describe('a flood of connections that enter nowhere', () => {
  const silent = (host: Started, many: number): Promise<unknown> => Promise.all(Array.from({ length: many }, (_, index) => (index % 2 === 0 ? askOpen(host) : raw(host).catch(() => undefined))))
  const askOpen = (host: Place): Promise<unknown> => ask(host, {}).then(({ status }) => expect(status).toBe(200))

  test('takes the places it may, and an honest client gets in meanwhile', async () => {
    const host = await start({ guarding: { limits: { maxPendingConnects: 100 } } })
    let most = 0
    host.io.engine.on('connection', () => (most = Math.max(most, host.clients())))
    const flood = silent(host, 500)
    await until(() => host.seen.denied.length > 0)
    const socket = await enteredWith(host, later('alice'))
    expect(await say(socket, 'in')).toBe('in')
    await flood
    expect([100, 101]).toContain(host.clients())
    expect(most).toBeLessThanOrEqual(101)
    expect(host.sockets).toHaveLength(1)
    const news = record(socket, 'news')
    host.io.emit('news', 'for those who are in')
    await until(() => news.length === 1)
    expect(host.seen.denied.every(({ code }) => code === 'OVERLOADED')).toBe(true)
    expect([400, 401]).toContain(host.seen.denied.length)
    host.clock.advance(10_000)
    expect([host.clients(), host.core.agenda.size]).toEqual([1, 1])
  })

  test('pushes out itself first: an address with few keeps them', async () => {
    const host = await start({ guarding: { trustProxy: 1, limits: { maxPendingConnects: 10 } } })
    const honest = await raw(host, { headers: { 'x-forwarded-for': '192.0.2.1' } })
    for (let i = 0; i < 30; i++) await polling(host, { 'x-forwarded-for': `2001:db8::${i}` })
    expect([honest.isOpen, host.clients()]).toEqual([true, 10])
    expect(await honest.enter('/', { token: later('alice') })).toHaveProperty('sid')
  })

  test('does not push out who is being decided about', async () => {
    const latch = new Latch()
    let begun = 0
    const host = await start({ guarding: { limits: { maxPendingConnects: 3 } }, declare: (gate) => gate.connect(async (_ctx, next) => (begun++, await latch.opened, next())) })
    const asking = await Promise.all([0, 1, 2].map(() => raw(host)))
    const answers = asking.map((each) => each.enter('/', { token: later('alice') }))
    await until(() => begun === 3)
    // Those have a limit of their own.
    const [first, ...rest] = [await raw(host), await raw(host), await raw(host), await raw(host)]
    await first.closed
    expect(await rest[0].enter('/', { token: later('alice') })).toMatchObject({ message: 'OVERLOADED' })
    latch.open()
    for (const answer of answers) expect(await answer).toHaveProperty('sid')
    expect([rest.map(({ isOpen }) => isOpen), host.clients()]).toEqual([[true, true, true], 6])
  })
})

describe('failed credentials', () => {
  test('are as many as one connection may bring, and each is answered', async () => {
    const host = await start({ guarding: { limits: { maxFailedCredentials: 3 } } })
    const socket = await raw(host)
    for (let i = 0; i < 3; i++) expect(await socket.enter(i === 1 ? '/admin' : '/', { token: `guess ${i}` })).toMatchObject({ message: 'UNAUTHENTICATED' })
    await socket.closed
    expect(host.clients()).toBe(0)
  })

  test('close a connection that has got in elsewhere, too', async () => {
    const host = await start({ guarding: { limits: { maxFailedCredentials: 2 } } })
    const socket = await raw(host)
    await socket.enter('/', { token: later('alice') })
    for (let i = 0; i < 2; i++) await socket.enter('/admin', { token: 'guess' })
    await socket.closed
    await until(() => host.io.of('/').sockets.size === 0)
  })

  const from = (address: string): object => ({ extraHeaders: { 'x-forwarded-for': address } })

  test('are as many as one address may bring; another one is not held', async () => {
    const host = await start({ guarding: { trustProxy: 1 }, terms: { failures: { perAddress: { limit: 3, perMs: 60_000 } } } })
    const tries = async (token: string, address: string): Promise<string> => {
      const socket = client(host, { ...inAuth(token), ...from(address) })
      const answer = await Promise.race([entry(socket).then(() => 'in', (error: Error) => error.message)])
      socket.disconnect()
      return answer
    }
    for (let i = 0; i < 4; i++) expect(await tries('guess', '192.0.2.1')).toBe('UNAUTHENTICATED')
    // Whatever it brings now is not looked at.
    expect([await tries('guess', '192.0.2.1'), await tries(later('alice'), '192.0.2.1')]).toEqual(['RATE_LIMITED', 'RATE_LIMITED'])
    expect([await tries(later('alice'), '192.0.2.2'), await tries('guess', '192.0.2.2')]).toEqual(['in', 'UNAUTHENTICATED'])
    host.clock.advance(20_000)
    expect(await tries(later('alice'), '192.0.2.1')).toBe('in')
  })

  test('say when to come back', async () => {
    const host = await start({ terms: { failures: { perAddress: { limit: 1, perMs: 60_000 } } } })
    for (let i = 0; i < 2; i++) await refusal(client(host, inAuth('guess')))
    const { data } = await refusal(client(host, inAuth(later('alice'))))
    expect(data).toEqual(expectedRefusal('RATE_LIMITED', { retryAfterMs: 60_000 }))
  })

  test('are counted over a whole /64 of IPv6', async () => {
    const host = await start({ guarding: { trustProxy: 1 }, terms: { failures: { perAddress: { limit: 2, perMs: 60_000 } } } })
    for (let i = 0; i < 3; i++) await refusal(client(host, { ...inAuth('guess'), ...from(`2001:db8::${i}`) }))
    expect(await refusal(client(host, { ...inAuth(later('alice')), ...from('2001:db8::ffff') }))).toMatchObject({ message: 'RATE_LIMITED' })
    await entry(client(host, { ...inAuth(later('alice')), ...from('2001:db8:0:1::1') }))
  })

  test('hold an account by address only: nobody is locked out from elsewhere', async () => {
    const password: Scheme<{ user: string; password: string }> = {
      name: 'password',
      read: ({ handshake }) => handshake.auth as never,
      account: ({ user }) => user,
      verify: ({ user, password }): Principal => (password === 'right' ? { subject: user, claims: {}, expiresAtMs: 'never', factors: ['pwd'] } : refuse()),
    }
    const host = await start({ schemes: [password], guarding: { trustProxy: 1 }, terms: { failures: { perAddress: false, perAccount: { limit: 5, perMs: 60_000 } } } })
    const tries = (user: string, password: string, address: string): Promise<string> => entry(client(host, { auth: { user, password }, ...from(address) })).then(() => 'in', (error: Error) => error.message)
    for (let i = 0; i < 5; i++) expect(await tries('alice', `guess ${i}`, '192.0.2.66')).toBe('UNAUTHENTICATED')
    expect(await tries('alice', 'right', '192.0.2.66')).toBe('RATE_LIMITED')
    expect([await tries('alice', 'right', '192.0.2.1'), await tries('bob', 'right', '192.0.2.66')]).toEqual(['in', 'in'])
    // Who is right has guessed nothing.
    for (let i = 0; i < 12; i++) expect(await tries('carol', 'right', '192.0.2.66')).toBe('in')
  })

  test('in refreshes count as well, for those at the door: a peer that is here does not wait for its neighbours', async () => {
    const host = await start({ terms: { failures: { perAddress: { limit: 2, perMs: 60_000 } } } })
    const socket = await enteredWith(host, later('alice'))
    for (let i = 0; i < 3; i++) expect(await refresh(socket, 'guess')).toEqual(refused('UNAUTHENTICATED'))
    expect(await refresh(socket, later('alice'))).toHaveProperty('expiresAtMs')
    expect(await refusal(client(host, inAuth('guess')))).toMatchObject({ message: 'RATE_LIMITED' })
    expect(await say(socket, 'still in')).toBe('still in')
  })

  test.each(['throws', 'rejects', 'hangs'] as const)('are refused as ever where the store %s', async (trouble) => {
    const clock = settableClock()
    const store = troubledStore(clock)
    const host = await start({ clock, guarding: { store } })
    store.trouble = trouble
    expect(await refusal(client(host, inAuth('guess')))).toMatchObject({ message: 'UNAUTHENTICATED' })
    expect(store.asked).toContain('consume')
  })

  test.each([
    [{ perAddress: { limit: 0, perMs: 1 } }],
    [{ perAddress: { limit: 1.5, perMs: 1 } }],
    [{ perAddress: { limit: 1 } }],
    [{ perAccount: { limit: 1, perMs: -1 } }],
    [{ perAccount: true }],
    [{ perSubject: false }],
    [7],
  ])('cannot be limited by %j', (failures) => {
    expect(() => authenticate({ name: 'x', read: () => undefined, verify: () => ({}) as never }, { failures: failures as never })).toThrow(ConfigError)
  })
})

function refuse(): never {
  throw new Denied('UNAUTHENTICATED')
}

test('in observe mode nobody is closed for having proved nothing: it is reported', async () => {
  const clock = settableClock()
  const host = await serve((io) => guard(io, { clock, mode: 'observe', limits: { maxPendingConnects: 2 } }).use(authenticate({ name: 'x', read: () => undefined, verify: () => ({}) as never })))
  const seen = watch(host.gate)
  const sockets = [await raw(host), await raw(host), await raw(host)]
  clock.advance(10_000)
  expect(seen.denied.map(({ code, enforced }) => [code, enforced])).toEqual([['OVERLOADED', false], ['UNAUTHENTICATED', false], ['UNAUTHENTICATED', false]])
  for (const socket of sockets) expect(await socket.enter('/')).toHaveProperty('sid')
})

test('an upgrade that is never used is no way to stay', async () => {
  const host = await start()
  const session = await polling(host)
  expect((await session.upgrade()).status).toBe(101)
  expect((await askUpgrade(host, {})).status).toBe(101)
  host.clock.advance(10_000)
  await until(() => host.clients() === 0)
  expect(host.clock.now()).toBe(NOW + 10_000)
})
