import { describe, expect, test } from '@jest/globals'
import { deny, memoryStore } from 'portcullis'
import type { Principal, Scheme } from 'portcullis'
import type { Server, Socket } from 'socket.io'
import { client, enteredWith, farewell, inAuth, NOW, record, refresh, say, settableClock, start, tokenOf } from '../support/credentials.ts'
import { closeAfterTest, connectPacket, entry, heard, Latch, raw, refusal, until } from '../support/server.ts'

// Ways round the end of a credential that were found by trying.

const stolen = { reason: 'stolen' }
const later = (sub: string): string => tokenOf(sub, 3_600)

/** Ids of those that wait for the application's middleware. */
const waiting = (io: Server): string[] => [...(io.of('/') as unknown as { _preConnectSockets: Map<string, unknown> })._preConnectSockets.keys()]

/** A credential that never ends, and is nothing but a name. */
const named: Scheme<string> = {
  name: 'named',
  read: ({ handshake: { auth } }) => auth['token'] as string | undefined,
  verify: (subject): Principal => ({ subject, claims: {}, expiresAtMs: 'never', factors: [] }),
}

describe('whoever was revoked hears nothing more', () => {
  test.each([['that never ends', named, 'alice'], ['that ends', undefined, later('alice')]] as const)('of what observers and listeners of its end send, with a credential %s', async (_title, scheme, credential) => {
    const host = await start({
      ...(scheme === undefined ? {} : { schemes: [scheme] }),
      application: (io: Server) =>
        io.on('connection', (socket: Socket) => {
          void socket.join('admins')
          socket.on('disconnecting', () => {
            io.to('admins').emit('news', 'of a room, by a listener')
            socket.emit('news', 'of one, by a listener')
          })
        }),
    })
    host.gate.on('denied', () => void host.io.to('admins').emit('news', 'of a room, by an observer'))
    const socket = await raw(host)
    await socket.enter('/', { token: credential })
    await host.gate.revoke({ subject: 'alice' }, stolen)
    await until(() => socket.received.some((packet) => packet.startsWith('41') || packet.startsWith('1')))
    expect(socket.received.filter((packet) => packet.includes('news'))).toEqual([])
    expect(socket.received.filter((packet) => packet.includes('gate:closing'))).toHaveLength(1)
  })

  test('of what it has missed, while the application takes its time over its recovery', async () => {
    const slow = new Latch()
    let recovering = false
    const host = await start({
      schemes: [named],
      serving: { connectionStateRecovery: { skipMiddlewares: false } },
      application: (io: Server) => io.use((_socket, next) => (recovering ? void slow.opened.then(() => next()) : next())),
    })
    const socket = await enteredWith(host, 'alice')
    const first = heard(socket, 'news')
    await host.sockets[0]!.join('room')
    host.io.to('room').emit('news', 'first')
    await first
    const news = record(socket, 'news')
    const gone = heard(socket, 'disconnect')
    socket.io.engine.close()
    await gone
    await until(() => host.io.of('/').sockets.size === 0)
    host.io.to('room').emit('news', 'secret')
    recovering = true
    const refused = refusal(socket.connect())
    await until(() => waiting(host.io).length === 1)
    await host.gate.revoke({ subject: 'alice' }, stolen)
    slow.open()
    expect((await refused).message).toBe('UNAUTHENTICATED')
    expect(news).toEqual([])
  })
})

test('what is withheld from one namespace of a connection is not taken from another', async () => {
  const host = await start({ terms: { onExpiry: { graceMs: 60_000 } } })
  const alice = await enteredWith(host, tokenOf('alice', 1))
  const admin = alice.io.socket('/admin', inAuth(later('ada')))
  await entry(admin)
  const [news, adminNews] = [record(alice, 'news'), record(admin, 'news')]
  host.clock.advance(1_000)
  const here = host.sockets.find(({ nsp }) => nsp.name === '/')!
  here.emit('news', 'withheld')
  host.io.of('/admin').emit('news', 'for admins')
  await until(() => adminNews.length === 1)
  expect([news, adminNews]).toEqual([[], ['for admins']])
})

test('what was withheld from somebody is not recovered by nobody', async () => {
  const slow = new Latch()
  const host = await start({
    terms: { optional: true, onExpiry: 'anonymous' },
    serving: { connectionStateRecovery: {} },
    declare: (gate) => gate.connect(async (ctx, next) => {
      if (ctx.cause === 'reauthorize') await slow.opened
      await next()
    }),
  })
  const socket = client(host, { auth: { token: tokenOf('alice', 1) } })
  await entry(socket)
  const first = heard(socket, 'news')
  host.io.emit('news', 'first')
  await first
  const news = record(socket, 'news')
  host.clock.advance(1_000)
  host.io.emit('news', 'private')
  const changed = heard(socket, 'gate:changed')
  slow.open()
  expect(await changed).toMatchObject([{ cause: 'expired', expiresAtMs: null }])
  const gone = heard(socket, 'disconnect')
  socket.io.engine.close()
  await gone
  await until(() => host.io.of('/').sockets.size === 0)
  socket.auth = {}
  await entry(socket.connect())
  host.io.emit('news', 'for all')
  await until(() => news.includes('for all'))
  expect([socket.recovered, news.includes('private')]).toEqual([false, false])
})

describe('rights that are looked up anew', () => {
  test('reach whoever is being decided about at that moment', async () => {
    const slow = new Latch()
    const asked = new Latch()
    let role = 'admin'
    const host = await start({
      declare: (gate) => gate.use({
        name: 'roles',
        connect: async ({ cause }, next: (facts: { role: string }) => void | Promise<void>) => {
          const found = role
          asked.open()
          if (cause === 'connect') await slow.opened
          await next({ role: found })
        },
      }),
    })
    const socket = client(host, inAuth(later('alice')))
    await asked.opened
    role = 'guest'
    expect(await host.gate.reauthorize({ subject: 'alice' })).toEqual({ kept: [], closed: [] })
    const changed = heard(socket, 'gate:changed')
    slow.open()
    await changed
    expect(host.gate.peerOf(host.sockets[0]!)).toMatchObject({ role: 'guest' })
  })

  test('leave alone whoever waits for the application', async () => {
    const slow = new Latch()
    const host = await start({ application: (io: Server) => io.use((_socket, next) => void slow.opened.then(() => next())) })
    const socket = client(host, inAuth(later('alice')))
    await until(() => waiting(host.io).length === 1)
    const [id] = waiting(host.io)
    expect(await host.gate.reauthorize({ subject: 'alice' })).toEqual({ kept: [id], closed: [] })
    slow.open()
    await entry(socket)
    expect(await say(socket, 'here')).toBe('here')
  })
})

test('a weaker revocation lifts no stronger one', async () => {
  const clock = settableClock()
  const host = await start({ clock })
  const token = later('alice')
  await host.gate.revoke({ subject: 'alice' }, { ...stolen, issuedBefore: NOW + 1_000 })
  await host.gate.revoke({ subject: 'alice' }, { ...stolen, issuedBefore: NOW - 1_000 })
  expect((await refusal(client(host, inAuth(token)))).message).toBe('UNAUTHENTICATED')
  clock.advance(120_000)
  expect((await refusal(client(host, inAuth(token)))).message).toBe('UNAUTHENTICATED')

  await host.gate.revoke({ subject: 'bob' }, { ...stolen, forMs: 3_000_000 })
  await host.gate.revoke({ subject: 'bob' }, { ...stolen, forMs: 1_000 })
  clock.advance(120_000)
  expect((await refusal(client(host, inAuth(later('bob'))))).message).toBe('UNAUTHENTICATED')
})

test('whatever is sent over the channel of the gates that is none of their messages is reported, and nothing else', async () => {
  const store = memoryStore()
  const host = await start({ clock: settableClock(), guarding: { store } })
  const socket = await enteredWith(host, later('alice'))
  await host.gate.revoke({ subject: 'bob' }, stolen)
  const nonsense = ['', '{', 'null', '7', '[]', '{}', '{"kind":"reauthorize"}', '{"kind":"revoke"}', '{"kind":"revoke","sought":{}}', '{"kind":"lift","sought":{"kind":"subject","id":"bob"}}', '{"kind":"reinstate","sought":{"kind":"everybody","id":"bob"}}']
  for (const text of nonsense) await store.publish('portcullis:control', text)
  expect(host.seen.fault).toHaveLength(nonsense.length)
  expect(await say(socket, 'here')).toBe('here')
  expect((await refusal(client(host, inAuth(later('bob'))))).message).toBe('UNAUTHENTICATED')
})

test('nothing is delivered after the end of a credential where the gate was closed before the server', async () => {
  const host = await start()
  const socket = await enteredWith(host, tokenOf('alice', 1))
  const news = record(socket, 'news')
  const gone = farewell(socket)
  await host.gate.close()
  host.clock.advance(1_000)
  host.io.emit('news', 'of all')
  host.sockets[0]!.emit('news', 'of one')
  await gone
  expect(news).toEqual([])
})

test('what a policy hangs on a refresh that is over already ends with the peer', async () => {
  const ended: string[] = []
  const slow = new Latch()
  const host = await start({
    declare: (gate) => gate.connect((ctx, next) => {
      const { cause } = ctx
      void slow.opened.then(() => ctx.onClose(() => void ended.push(cause)))
      return next()
    }),
  })
  const socket = await enteredWith(host, later('alice'))
  await refresh(socket, later('alice'))
  slow.open()
  await new Promise((resolve) => setImmediate(resolve))
  socket.disconnect()
  await until(() => ended.length === 2)
  expect(ended.sort()).toEqual(['connect', 'refresh'])
})

test('one connection does not go on guessing while its address waits', async () => {
  const host = await start({ terms: { failures: { perAddress: { limit: 1, perMs: 60_000 } } } })
  const socket = await raw(host)
  closeAfterTest(() => socket.close())
  for (let attempt = 0; attempt < 10; attempt++) {
    const before = socket.received.length
    socket.send(connectPacket('/', { token: 'guess' }))
    await until(() => socket.received.length > before)
  }
  await socket.closed
  expect(host.clients()).toBe(0)
})

test('a policy that refuses a refresh leaves the peer as it was', async () => {
  const host = await start({ declare: (gate) => gate.connect(({ cause }, next) => (cause === 'refresh' ? deny('FORBIDDEN') : next())) })
  const socket = await enteredWith(host, later('alice'))
  expect(await refresh(socket, later('alice'))).toMatchObject({ error: { code: 'FORBIDDEN' } })
  expect(await say(socket, 'here')).toBe('here')
})
