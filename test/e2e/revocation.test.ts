import { describe, expect, test } from '@jest/globals'
import { ConfigError, guard, memoryStore } from 'portcullis'
import type { RevocationTarget } from 'portcullis'
import { client, enteredBy, enteredWith, expectedRefusal, farewell, inAuth, issuer, join, NOW, record, refresh, say, settableClock, start, tokenOf, tokens, troubledStore, ways } from '../support/credentials.ts'
import { connectPacket, entry, heard, Latch, polling, raw, refusal, serve, until } from '../support/server.ts'
import { authenticate } from 'portcullis/policies'

const MARGIN = 360_000
const later = (sub: string, claims?: object): string => tokenOf(sub, 3_600, claims)
const BYE = { ...expectedRefusal('REVOKED', { details: { reason: 'stolen' } }), reconnect: 'after-credential' }
const stolen = { reason: 'stolen' }
const WITHOUT_JTI = later('alice', { sid: 'session-1', jti: undefined, n: 1 })

/** A refusal as it stands on the wire, but for its id. */
const uniform = (packet: string): string => packet.replace(/"id":"[\w-]{16}"/, '"id":""')
const UNIFORM = '4{"message":"UNAUTHENTICATED","data":{"code":"UNAUTHENTICATED","message":"Valid credentials are required.","id":""}}'

describe.each(ways)('what is revoked, over %s', (way) => {
  const own = later('alice', { jti: 'one', sid: 'session-1' })
  const targets: [string, string, RevocationTarget][] = [
    ['a subject', own, { subject: 'alice' }],
    ['a subject of an issuer', own, { subject: 'alice', issuer }],
    ['a token, by its jti', own, { token: 'one' }],
    ['a token, as it is', own, { token: own }],
    ['a token without a jti', WITHOUT_JTI, { token: WITHOUT_JTI }],
    ['a token without a jti, its signature written in another way', WITHOUT_JTI, { token: `${WITHOUT_JTI.slice(0, WITHOUT_JTI.lastIndexOf('.'))}.AAAA` }],
    ['a session', own, { session: 'session-1' }],
  ]

  test.each(targets)('%s is closed with the reason, its next event is refused, and it is kept out', async (_title, token, target) => {
    const host = await start()
    const [socket, other] = [await enteredBy(host, way, token), await enteredWith(host, later('bob', { jti: 'two', sid: 'session-2' }))]
    const id = socket.id
    const gone = farewell(socket)
    const said = say(socket, 'sent before it is known').catch(() => 'disconnected')
    const revoked = host.gate.revoke(target, stolen)
    const next = say(socket, 'the very next').catch(() => 'disconnected')
    expect(await revoked).toEqual({ closed: [{ socket: id, namespace: '/', subject: 'alice' }], untilMs: expect.any(Number) })
    expect(await gone).toEqual({ closing: BYE, reason: 'io server disconnect' })
    await Promise.race([said, next])
    expect(host.handled).toEqual([])
    expect(await refusal(client(host, { ...inAuth(token), transports: way === 'upgraded' ? ['polling', 'websocket'] : [way] }))).toMatchObject({ message: 'UNAUTHENTICATED', data: expectedRefusal('UNAUTHENTICATED') })
    expect([await say(other, 'x'), host.seen.fault]).toEqual(['x', []])
  })

  test('a socket, by its id or as it is, is closed, and may come back', async () => {
    const host = await start()
    for (const by of ['id', 'object'] as const) {
      const socket = await enteredBy(host, way, own)
      const gone = farewell(socket)
      expect(await host.gate.revoke({ socket: by === 'id' ? socket.id! : host.sockets.at(-1)! }, stolen)).toEqual({ closed: [{ socket: socket.id ?? expect.any(String), namespace: '/', subject: 'alice' }], untilMs: undefined })
      expect(await gone).toEqual({ closing: BYE, reason: 'io server disconnect' })
    }
    await enteredBy(host, way, own)
  })
})

test('who was revoked is refused byte for byte as who brings nothing, on polling too', async () => {
  const host = await start()
  await host.gate.revoke({ subject: 'alice' }, stolen)
  const wires: string[] = []
  for (const auth of [undefined, { token: later('alice') }, { token: 'x' }]) {
    const socket = await raw(host)
    socket.send(connectPacket('/', auth))
    await until(() => socket.received.length > 0)
    const session = await polling(host)
    await session.post([connectPacket('/', auth)])
    wires.push(...socket.received, (await session.poll()).body.slice(1))
  }
  expect(new Set(wires.map(uniform))).toEqual(new Set([UNIFORM]))
})

test('nothing more is said to who was revoked, nor answered, from that moment', async () => {
  const host = await start({ application: (io) => io.on('connection', (socket) => socket.on('disconnecting', () => socket.emit('news', 'for a friend'))) })
  const socket = await enteredWith(host, later('alice'))
  const news = record(socket, 'news')
  const gone = farewell(socket)
  host.gate.on('denied', () => host.sockets[0]!.emit('news', 'for an observer'))
  void host.gate.revoke({ subject: 'alice' }, stolen)
  host.io.emit('news', 'for all')
  host.sockets[0]!.emit('news', 'for one')
  await gone
  expect([news, host.io.of('/').sockets.size]).toEqual([[], 0])
})

test('another namespace of the same client stays, where it is somebody else there', async () => {
  const host = await start()
  const alice = await enteredWith(host, later('alice'))
  const admin = alice.io.socket('/admin', inAuth(later('root'))).connect()
  await entry(admin)
  const gone = farewell(alice)
  expect((await host.gate.revoke({ subject: 'alice' }, stolen)).closed).toHaveLength(1)
  await gone
  expect(await say(admin, 'still here')).toBe('still here')
})

test('a receipt names every socket that was closed, in whatever namespace, and none of another subject', async () => {
  const host = await start()
  const sockets = await Promise.all([enteredWith(host, later('alice')), enteredWith(host, later('alice'), { namespace: '/admin' }), enteredWith(host, later('bob'))])
  const ids = sockets.map(({ id }) => id)
  const { closed } = await host.gate.revoke({ subject: 'alice' }, stolen)
  expect(closed).toHaveLength(2)
  expect(closed).toEqual(expect.arrayContaining([{ socket: ids[0], namespace: '/', subject: 'alice' }, { socket: ids[1], namespace: '/admin', subject: 'alice' }]))
  expect((await host.gate.revoke({ subject: 'alice' }, stolen)).closed).toEqual([])
})

test('who has refreshed is found by what it has now, not by what it had', async () => {
  const host = await start()
  const socket = await enteredWith(host, later('alice', { jti: 'one', sid: 'first' }))
  expect(await refresh(socket, later('alice', { jti: 'two', sid: 'second' }))).toHaveProperty('expiresAtMs')
  for (const target of [{ token: 'one' }, { session: 'first' }]) expect((await host.gate.revoke(target, stolen)).closed).toEqual([])
  expect(await say(socket, 'still here')).toBe('still here')
  const gone = farewell(socket)
  expect((await host.gate.revoke({ session: 'second' }, stolen)).closed).toHaveLength(1)
  await gone
  const [again, third] = [await enteredWith(host, later('alice', { jti: 'three' })), later('alice', { jti: 'four' })]
  await refresh(again, third)
  const closed = farewell(again)
  expect((await host.gate.revoke({ token: third }, stolen)).closed).toHaveLength(1)
  await closed
})

describe('a recovery', () => {
  test('does not bring back who was revoked while it was away', async () => {
    const host = await start({ serving: { connectionStateRecovery: {} } })
    const socket = await enteredWith(host, later('alice'))
    await join(socket, 'room')
    const news = heard(socket, 'news')
    host.io.to('room').emit('news', 1)
    await news
    const gone = heard(socket, 'disconnect')
    socket.io.engine.close()
    await gone
    await until(() => host.io.of('/').sockets.size === 0)
    const missed = record(socket, 'news')
    host.io.to('room').emit('news', 'secret')
    await host.gate.revoke({ subject: 'alice' }, stolen)
    const refusedAgain = refusal(socket)
    socket.connect()
    expect(await refusedAgain).toMatchObject({ message: 'UNAUTHENTICATED' })
    expect(missed).toEqual([])
  })
})

describe('who is being decided about', () => {
  /** A way in that takes its time. */
  const held = (): { wait: () => Promise<void>; begun: Promise<void>; open: () => void } => {
    const [begun, latch] = [new Latch(), new Latch()]
    return { wait: () => (begun.open(), latch.opened), begun: begun.opened, open: () => latch.open() }
  }

  test.each(['policy', 'io.use', 'store'] as const)('is kept out, when the %s takes its time', async (where) => {
    const slow = held()
    const clock = settableClock()
    const store = memoryStore({ clock })
    const slowStore = Object.create(store, {
      getMany: {
        value: async (keys: string[]) => {
          const records = await store.getMany(keys)
          await slow.wait()
          return records
        },
      },
    }) as typeof store
    for (const key of ['getOrSet', 'set', 'publish', 'subscribe', 'consume', 'close'] as const) Object.defineProperty(slowStore, key, { value: store[key].bind(store) })
    const host = await start({
      clock,
      guarding: { store: where === 'store' ? slowStore : store },
      declare: (gate) => (where === 'policy' ? gate.connect(async (_ctx, next) => (await slow.wait(), next())) : gate),
      application: (io) => (where === 'io.use' ? io.use((_socket, next) => void slow.wait().then(() => next())) : io),
    })
    const socket = await raw(host)
    socket.send(connectPacket('/', { token: later('alice') }))
    await slow.begun
    const { closed } = await host.gate.revoke({ subject: 'alice' }, stolen)
    expect(closed).toHaveLength(where === 'io.use' ? 1 : 0)
    slow.open()
    await until(() => socket.received.length > 0)
    expect(socket.received.map(uniform)).toEqual([UNIFORM])
    expect([host.sockets, host.io.of('/').sockets.size, host.io.of('/').adapter.rooms.size]).toEqual([[], 0, 0])
  })

  test('can be closed as a socket while the application takes its time', async () => {
    const slow = held()
    let id = ''
    const host = await start({ application: (io) => io.use((socket, next) => ((id = socket.id), void slow.wait().then(() => next()))) })
    const socket = client(host, inAuth(later('alice')))
    const gone = refusal(socket)
    await slow.begun
    expect((await host.gate.revoke({ socket: id }, stolen)).closed).toEqual([{ socket: id, namespace: '/', subject: 'alice' }])
    slow.open()
    expect(await gone).toMatchObject({ message: 'UNAUTHENTICATED' })
  })

  test('an event whose policy decides is not handled', async () => {
    const slow = held()
    const host = await start({ declare: (gate) => gate.event('say', async (_ctx, next) => (await slow.wait(), next())) })
    const socket = await enteredWith(host, later('alice'))
    const gone = farewell(socket)
    socket.emit('say', 'too late')
    await slow.begun
    await host.gate.revoke({ subject: 'alice' }, stolen)
    slow.open()
    expect([await gone, host.handled]).toMatchObject([{ closing: { code: 'REVOKED' } }, []])
  })
})

describe('how long it is remembered', () => {
  const isOut = async (host: { readonly url: string }, token: string): Promise<boolean> => {
    const socket = client(host, inAuth(token))
    try {
      await entry(socket)
      return false
    } catch {
      return true
    } finally {
      socket.disconnect()
    }
  }

  test.each([['jti'], [undefined]])('a token (jti: %s) as long as it would have lasted', async (jti) => {
    const host = await start()
    const token = tokenOf('alice', 3_600, { jti })
    await enteredWith(host, token)
    expect((await host.gate.revoke({ token: jti ?? token }, stolen)).untilMs).toBe(NOW + 3_600_000 + MARGIN)
    host.clock.advance(3_599_999)
    expect(await isOut(host, token)).toBe(true)
    // After that it is refused for itself; nothing of it is kept any more.
    host.clock.advance(MARGIN + 1)
    const again = await start({ clock: host.clock })
    expect(await isOut(again, token)).toBe(true)
    expect(await host.gate.reinstate({ token: jti ?? token })).toBe(false)
  })

  test('as long as was said', async () => {
    const host = await start()
    expect((await host.gate.revoke({ subject: 'alice' }, { ...stolen, forMs: 600_000 })).untilMs).toBe(NOW + 600_000)
    host.clock.advance(599_999)
    expect(await isOut(host, later('alice'))).toBe(true)
    host.clock.advance(1)
    expect(await isOut(host, later('alice'))).toBe(false)
  })

  test('until it is taken back', async () => {
    const host = await start()
    await host.gate.revoke({ subject: 'alice' }, stolen)
    expect([await isOut(host, later('alice')), await host.gate.reinstate({ subject: 'alice' })]).toEqual([true, true])
    expect([await isOut(host, later('alice')), await host.gate.reinstate({ subject: 'alice' })]).toEqual([false, false])
  })

  test('for who signed in before it only, where that was said, and without lifting what spares nobody', async () => {
    const host = await start()
    const at = (seconds: number, claims: object = {}): string => later('alice', { iat: NOW / 1_000 + seconds, ...claims })
    const [before, after] = [await enteredWith(host, at(-10)), await enteredWith(host, at(10))]
    const gone = farewell(before)
    expect((await host.gate.revoke({ subject: 'alice' }, { ...stolen, issuedBefore: NOW })).closed).toHaveLength(1)
    await gone
    expect(await say(after, 'x')).toBe('x')
    expect(await Promise.all([at(-1), at(0), at(10), later('alice', { iat: undefined })].map((token) => isOut(host, token)))).toEqual([true, false, false, true])
    await host.gate.revoke({ subject: 'alice' }, { reason: 'banned' })
    await host.gate.revoke({ subject: 'alice' }, { ...stolen, issuedBefore: NOW })
    expect(await isOut(host, at(10))).toBe(true)
  })
})

test.each([[{}], [{ subject: 7 }], [{ user: 'alice' }], [{ subject: 'a', token: 'b' }], [undefined], [{ socket: {} }]])('%j is nobody: nothing is done', async (target) => {
  const host = await start()
  const socket = await enteredWith(host, later('alice'))
  await expect(host.gate.revoke(target as never, stolen)).rejects.toThrow(ConfigError)
  await expect(host.gate.revoke({ subject: 'alice' }, {} as never)).rejects.toThrow(ConfigError)
  expect(await say(socket, 'x')).toBe('x')
})

describe.each(['throws', 'rejects', 'hangs'] as const)('a store that %s', (trouble) => {
  test('lets nobody in, closes who is meant here all the same, and ends nothing else', async () => {
    const clock = settableClock()
    const store = troubledStore(clock)
    const host = await start({ clock, guarding: { store }, terms: { withinMs: 1e6, failures: { perAddress: false, perAccount: false } } })
    const [alice, bob] = [await enteredWith(host, later('alice')), await enteredWith(host, later('bob'))]
    store.trouble = trouble
    const gone = farewell(alice)
    const revoked = host.gate.revoke({ subject: 'alice' }, stolen).catch((error: unknown) => error)
    expect(await gone).toMatchObject({ closing: BYE })
    const [comes, asked] = [client(host, inAuth(later('carol'))), store.asked.length]
    const out = refusal(comes)
    await until(() => store.asked.length > asked)
    clock.advance(5_000)
    expect(await revoked).toMatchObject({ code: 'UNAVAILABLE' })
    expect(await out).toMatchObject({ message: 'UNAVAILABLE' })
    expect(await say(bob, 'still here')).toBe('still here')

    store.trouble = undefined
    await enteredWith(host, later('carol'))
    // Nobody remembers it but this node, for a while.
    expect(await refusal(client(host, inAuth(later('alice'))))).toMatchObject({ message: 'UNAUTHENTICATED' })
  })
})

describe('two gates that share one store', () => {
  test('close and keep out together, and let in together', async () => {
    const clock = settableClock()
    const store = memoryStore({ clock })
    const [here, there] = [await start({ clock, guarding: { store } }), await start({ clock, guarding: { store } })]
    const [mine, theirs, bob] = [await enteredWith(here, later('alice')), await enteredWith(there, later('alice')), await enteredWith(there, later('bob'))]
    const gone = [farewell(mine), farewell(theirs)]
    expect((await here.gate.revoke({ subject: 'alice' }, stolen)).closed).toHaveLength(1)
    for (const each of gone) expect(await each).toEqual({ closing: BYE, reason: 'io server disconnect' })
    expect(await refusal(client(there, inAuth(later('alice'))))).toMatchObject({ message: 'UNAUTHENTICATED' })
    expect(await say(bob, 'x')).toBe('x')
    expect(await here.gate.reinstate({ subject: 'alice' })).toBe(true)
    await enteredWith(there, later('alice'))
  })

  test('hear of a socket of the other one, too', async () => {
    const store = memoryStore()
    const [here, there] = [await start({ guarding: { store } }), await start({ guarding: { store } })]
    const socket = await enteredWith(there, later('alice'))
    const gone = farewell(socket)
    expect((await here.gate.revoke({ socket: socket.id! }, stolen)).closed).toEqual([])
    expect(await gone).toMatchObject({ closing: BYE })
  })

  test('ask anew together', async () => {
    const store = memoryStore()
    let allowed = true
    const declare = (gate: any): unknown => gate.connect((_ctx: unknown, next: () => void) => (allowed ? next() : undefined))
    const [here, there] = [await start({ guarding: { store } }), await start({ guarding: { store }, declare })]
    const socket = await enteredWith(there, later('alice'))
    allowed = false
    const gone = farewell(socket)
    await here.gate.reauthorize({ subject: 'alice' })
    expect((await gone).reason).toBe('io server disconnect')
  })
})

test('in observe mode it is enforced all the same', async () => {
  const host = await start({ guarding: { mode: 'observe' } })
  const socket = await enteredWith(host, later('alice'))
  const gone = farewell(socket)
  await host.gate.revoke({ subject: 'alice' }, stolen)
  expect(await gone).toMatchObject({ closing: BYE })
  expect(await refusal(client(host, inAuth(later('alice'))))).toMatchObject({ message: 'UNAUTHENTICATED' })
  expect(host.seen.denied.map(({ code, enforced }) => [code, enforced])).toEqual([['REVOKED', true], ['UNAUTHENTICATED', true]])
})

test('operators learn the reason, and who was revoked while it was away does not', async () => {
  const host = await start()
  await host.gate.revoke({ token: 'one' }, { reason: 'found in a paste' })
  await refusal(client(host, inAuth(later('alice', { jti: 'one' }))))
  const [denied] = host.seen.denied
  expect(denied).toMatchObject({ policy: 'revocation', subject: 'alice' })
  expect(JSON.stringify([denied!.error?.cause, denied!.error?.message])).toContain('found in a paste')
})

test('without a gate nothing of this is there: a token that was checked is good for ever', async () => {
  const host = await serve((io) => {
    io.on('connection', (socket) => socket.on('say', (what: unknown, ack: (answer: unknown) => void) => ack(what)))
  })
  const socket = client(host, inAuth(later('alice')))
  await entry(socket)
  expect(await say(socket, 'x')).toBe('x')
})

test('a server that is revoked from before anybody has come keeps them out', async () => {
  const host = await serve((io) => guard(io, { clock: settableClock(), undeclared: 'allow' }).use(authenticate(tokens)))
  await host.gate.revoke({ subject: 'alice' }, stolen)
  expect(await refusal(client(host, inAuth(later('alice'))))).toMatchObject({ message: 'UNAUTHENTICATED' })
})
