import { describe, expect, test } from '@jest/globals'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { deny, observed, unordered } from 'portcullis'
import { connect } from 'portcullis/client'
import { idle } from 'portcullis/policies'
import type { IdleOptions } from 'portcullis/policies'
import type { Socket } from 'socket.io'
import { client, enteredBy, enteredWith, expectedRefusal, farewell, inAuth, join, NOW, record, refresh, refused, say, start, tokenOf, ways } from '../support/credentials.ts'
import type { Set as SetUp, Started } from '../support/credentials.ts'
import { closeAfterTest, entered, entry, eventPacket, heard, raw, until } from '../support/server.ts'
import type { Client } from '../support/server.ts'

const MINUTE = 60_000
const AFTER = 10 * MINUTE
/** Credentials that outlive every test. */
const HOURS = 100 * 3_600
const alice = tokenOf('alice', HOURS)

/** A server whose engine pings much more often than anything happens, and where nothing but silence ends anybody. */
const serving = (options: Partial<IdleOptions> = {}, more: SetUp = {}): Promise<Started> =>
  start({
    ...more,
    terms: { expiringMs: 0 },
    serving: { pingInterval: 20, pingTimeout: 10_000, ...more.serving },
    declare: (gate) => (gate.use(idle({ afterMs: AFTER, ...options })), more.declare?.(gate)),
  })

/** Waits until the engine has pinged so many times, and the client has answered. */
async function pinged(socket: Client, times: number): Promise<void> {
  for (let i = 0; i < times; i++) await heard(socket.io, 'ping')
}

/** What is on the agenda besides the ends of credentials: one for each peer that is watched. */
const watched = (host: Started): number => host.core.agenda.size - host.io.of('/').sockets.size - host.io.of('/admin').sockets.size

describe.each(ways)('a peer that sends nothing, over %s (A18)', (way) => {
  test('is closed at its time with the reason and an advice, pings or not', async () => {
    const host = await serving()
    const socket = await enteredBy(host, way, alice)
    const closings = record(socket, 'gate:closing')
    for (let i = 0; i < 9; i++) {
      host.clock.advance(MINUTE)
      await pinged(socket, 1)
    }
    host.clock.advance(MINUTE - 1)
    await pinged(socket, 2)
    expect([closings, host.io.sockets.sockets.size, host.seen.denied]).toEqual([[], 1, []])
    const gone = farewell(socket)
    host.clock.advance(1)
    expect(await gone).toEqual({ closing: { ...expectedRefusal('IDLE_TIMEOUT'), message: 'Closed after a period without activity.', reconnect: 'never' }, reason: 'io server disconnect' })
    expect(host.seen.denied).toMatchObject([{ stage: 'connect', policy: 'idle', code: 'IDLE_TIMEOUT', subject: 'alice', enforced: true, at: NOW + AFTER }])
    expect(host.seen.fault).toEqual([])
    await until(() => host.core.agenda.size === 0)
  })

  test('is not kept by what it is sent, nor by what it answers to that', async () => {
    const host = await serving()
    const socket = await enteredBy(host, way, alice)
    const news = record(socket, 'news')
    let answers = 0
    socket.on('ask', (ack: () => void) => (answers++, ack()))
    const [own] = host.sockets
    await own!.join('room')
    const gone = farewell(socket)
    for (let i = 0; i < 10; i++) {
      host.io.emit('news', 'all')
      host.io.to('room').emit('news', 'room')
      host.io.except('nobody').emit('news', 'except')
      own!.emit('news', 'socket')
      own!.volatile.emit('news', 'volatile')
      await own!.emitWithAck('ask')
      await host.io.timeout(10_000).emitWithAck('ask')
      host.io.socketsJoin(`room ${i}`)
      expect(host.io.sockets.sockets.size).toBe(1)
      host.clock.advance(MINUTE)
    }
    expect(await gone).toMatchObject({ closing: { code: 'IDLE_TIMEOUT' } })
    expect([answers, news.length >= 40, host.seen.denied.length]).toEqual([20, true, 1])
    await until(() => host.core.agenda.size === 0)
  })

  test('is not kept by messages to the gate itself, nor by a new look at its rights', async () => {
    const host = await serving()
    const socket = await enteredBy(host, way, alice)
    const gone = farewell(socket)
    for (let i = 0; i < 10; i++) {
      expect(await refresh(socket, tokenOf('alice', HOURS + i))).toMatchObject({ expiresAtMs: expect.any(Number) })
      await host.gate.reauthorize({ subject: 'alice' })
      expect(host.io.sockets.sockets.size).toBe(1)
      host.clock.advance(MINUTE)
    }
    expect(await gone).toMatchObject({ closing: { code: 'IDLE_TIMEOUT' } })
    await until(() => host.core.agenda.size === 0)
  })

  test('stays as long as it sends something', async () => {
    const host = await serving()
    const socket = await enteredBy(host, way, alice)
    const closings = record(socket, 'gate:closing')
    for (let i = 0; i < 5; i++) {
      host.clock.advance(AFTER - 1)
      expect(await say(socket, i)).toBe(i)
    }
    host.clock.advance(AFTER - 1)
    expect(await join(socket, 'room')).toBe('joined')
    host.clock.advance(AFTER - 1)
    socket.emit('unheard')
    await until(() => host.seen.admitted.some(({ event }) => event === 'unheard'))
    host.clock.advance(AFTER - 1)
    expect([closings, host.seen.denied, watched(host)]).toEqual([[], [], 1])
    const gone = farewell(socket)
    host.clock.advance(1)
    expect(await gone).toMatchObject({ closing: { code: 'IDLE_TIMEOUT' } })
  })

  test('that comes back after a late timer is refused, and closed', async () => {
    const host = await serving()
    const socket = await enteredBy(host, way, alice)
    const gone = farewell(socket)
    host.clock.set(AFTER)
    expect(await say(socket, 'somebody else')).toEqual(refused('IDLE_TIMEOUT'))
    expect(await gone).toMatchObject({ closing: { code: 'IDLE_TIMEOUT', reconnect: 'never' }, reason: 'io server disconnect' })
    expect([host.handled, host.seen.fault]).toEqual([[], []])
    await until(() => host.core.agenda.size === 0)
  })
})

test('on the clock of the machine: closed after its time, not before, while pings go on', async () => {
  const now = (): number => performance.timeOrigin + performance.now()
  const after = (ms: number, fn: () => void): { cancel(): void } => {
    const timer = setTimeout(fn, ms)
    return { cancel: () => clearTimeout(timer) }
  }
  const times = { entered: 0, left: 0 }
  const host = await serving(
    { afterMs: 400 },
    {
      guarding: { clock: { now, after } },
      application: (io) =>
        io.on('connection', (socket) => {
          times.entered = now()
          socket.on('disconnect', () => (times.left = now()))
        }),
    },
  )
  const socket = client(host, inAuth(tokenOf('alice', HOURS * 10_000)))
  let pings = 0
  socket.io.on('ping', () => pings++)
  await entry(socket)
  expect(await farewell(socket)).toMatchObject({ closing: { code: 'IDLE_TIMEOUT' } })
  expect(times.left - times.entered).toBeGreaterThanOrEqual(400)
  expect(pings).toBeGreaterThan(0)
})

describe('what counts', () => {
  test('is not an event that was refused: unknown, oversized, by a policy, by a policy that takes its time', async () => {
    const host = await serving(
      {},
      {
        guarding: { undeclared: 'deny', limits: { maxBytes: 1_000 } },
        declare: (gate) =>
          gate
            .of('/')
            .event('say')
            .event('no', () => deny('FORBIDDEN'))
            .event('later', async () => {
              await new Promise((resolve) => setImmediate(resolve))
              deny('FORBIDDEN')
            }),
      },
    )
    const socket = await enteredWith(host, alice)
    const gone = farewell(socket)
    host.clock.advance(AFTER - 1)
    expect(await Promise.all([socket.emitWithAck('unknown'), say(socket, 'x'.repeat(2_000)), socket.emitWithAck('no'), socket.emitWithAck('later')])).toEqual([
      refused('UNKNOWN_EVENT'),
      refused('PAYLOAD_TOO_LARGE', { details: { limit: 'maxBytes' } }),
      refused('FORBIDDEN'),
      refused('FORBIDDEN'),
    ])
    host.clock.advance(1)
    expect(await gone).toMatchObject({ closing: { code: 'IDLE_TIMEOUT' } })
  })

  test('is an event that was admitted, whatever its handler makes of it', async () => {
    const host = await serving({}, { application: (io) => io.on('connection', (socket) => void socket.on('fails', () => deny('FORBIDDEN'))) })
    const socket = await enteredWith(host, alice)
    host.clock.advance(AFTER - 1)
    expect(await socket.emitWithAck('fails')).toEqual(refused('FORBIDDEN'))
    host.clock.advance(AFTER - 1)
    expect(await say(socket, 'here')).toBe('here')
  })

  test('begins when the peer has entered, not while the application still thinks about it', async () => {
    const held: (() => void)[] = []
    const host = await serving({}, { application: (io) => io.use((_socket, next) => void held.push(next)) })
    const socket = client(host, inAuth(alice))
    const came = entry(socket)
    await until(() => held.length === 1)
    host.clock.advance(9_000)
    held[0]!()
    await came
    host.clock.advance(AFTER - 1)
    expect(await say(socket, 'here')).toBe('here')
  })
})

describe('each peer', () => {
  test('has its own time: in two namespaces of one connection, and among many', async () => {
    const host = await serving()
    const main = await enteredWith(host, alice)
    const admin = main.io.socket('/admin', inAuth(alice))
    closeAfterTest(() => admin.disconnect())
    admin.connect()
    await entry(admin)
    host.clock.advance(AFTER - 1)
    expect(await say(admin, 'here')).toBe('here')
    const gone = farewell(main)
    host.clock.advance(1)
    expect(await gone).toMatchObject({ closing: { code: 'IDLE_TIMEOUT' } })
    expect(await say(admin, 'still here')).toBe('still here')
    expect([host.clients(), watched(host)]).toEqual([1, 1])
    const over = farewell(admin)
    host.clock.advance(AFTER)
    expect(await over).toMatchObject({ closing: { code: 'IDLE_TIMEOUT' } })
  })

  test('may be in a namespace that has a time of its own, or none', async () => {
    const host = await start({ declare: (gate) => gate.of('/admin').use(idle({ afterMs: 1_000, reconnect: 'now' })) })
    const main = await enteredWith(host, alice)
    const admin = await entered(host, { namespace: '/admin', ...inAuth(alice) })
    const gone = farewell(admin)
    host.clock.advance(AFTER)
    expect(await gone).toMatchObject({ closing: { code: 'IDLE_TIMEOUT', reconnect: 'now' } })
    expect(await say(main, 'here')).toBe('here')
  })

  test('of two hundred leaves nothing behind, closed or gone before', async () => {
    const host = await serving({}, { serving: { pingInterval: 25_000 } })
    const sockets = await Promise.all(Array.from({ length: 200 }, () => enteredWith(host, alice)))
    expect(watched(host)).toBe(200)
    const timers = host.clock.pending
    host.clock.advance(AFTER - 1)
    const [quiet, gone, busy] = [sockets.slice(0, 60), sockets.slice(60, 120), sockets.slice(120)]
    for (const [i, socket] of gone.entries()) {
      if (i % 2 === 0) socket.disconnect()
      else socket.io.engine.close()
    }
    // A connection without a namespace is on the agenda, too, until its client has closed it.
    await until(() => host.clients() === 140)
    expect(watched(host)).toBe(140)
    await Promise.all(busy.map((socket) => say(socket, 'here')))
    const farewells = quiet.map(farewell)
    host.clock.advance(1)
    for (const { closing } of await Promise.all(farewells)) expect(closing).toMatchObject({ code: 'IDLE_TIMEOUT' })
    await until(() => host.clients() === 80)
    expect([watched(host), host.io.sockets.sockets.size, host.seen.denied.length, host.clock.pending <= timers]).toEqual([80, 80, 60, true])
    for (const socket of busy) socket.disconnect()
    await until(() => host.clients() === 0)
    expect([host.core.agenda.size, host.seen.fault]).toEqual([0, []])
  })

  test('that is thrown out as it enters leaves nothing behind', async () => {
    const host = await serving({}, { application: (io) => io.on('connection', (socket) => socket.disconnect()) })
    const socket = client(host, inAuth(alice))
    await heard(socket, 'disconnect')
    await until(() => host.clients() === 0)
    expect([host.core.agenda.size, host.seen.fault]).toEqual([0, []])
  })

  test('is forgotten with its socket', async () => {
    const made: WeakRef<Socket>[] = []
    // Nobody else holds on to what has come and gone here: not the records, and not the list of sockets.
    const host = await serving({}, { application: (io) => io.on('connection', (socket) => void made.push(new WeakRef(socket))) })
    for (let i = 0; i < 5; i++) {
      const socket = await enteredWith(host, alice)
      await say(socket, i)
      if (i === 0) {
        const gone = farewell(socket)
        host.clock.advance(AFTER)
        await gone
      } else socket.disconnect()
    }
    await until(() => host.io.sockets.sockets.size === 0)
    host.sockets.length = host.seen.admitted.length = host.seen.denied.length = 0
    setFlagsFromString('--expose-gc')
    const collect = runInNewContext('gc') as () => void
    await until(() => (collect(), made.every((ref) => ref.deref() === undefined)))
    expect(made).toHaveLength(5)
  })
})

describe('who does not play along', () => {
  test('a burst after a late timer: nothing of it is handled, and the peer is closed once', async () => {
    const host = await serving()
    const socket = await raw(host)
    await socket.enter('/', { token: alice })
    host.clock.set(AFTER)
    socket.send(...Array.from({ length: 200 }, (_, i) => eventPacket(['say', i], { id: i })), eventPacket(['gate:refresh', { token: alice }], { id: 200 }), eventPacket(['say', 'without an ack']))
    await until(() => host.io.sockets.sockets.size === 0)
    expect([host.handled, host.seen.fault]).toEqual([[], []])
    expect(host.seen.denied.map(({ stage, code }) => `${stage} ${code}`)).toEqual(['event IDLE_TIMEOUT', 'connect IDLE_TIMEOUT'])
  })

  test('a late timer, and a policy above that takes its time: no event of the burst is handled', async () => {
    const later = async (_ctx: unknown, next: () => void | Promise<void>): Promise<void> => {
      await new Promise((resolve) => setImmediate(resolve))
      await next()
    }
    const host = await start({ terms: { expiringMs: 0 }, declare: (gate) => gate.use({ name: 'later', event: later }).use(idle({ afterMs: AFTER })).event('say', unordered()) })
    const socket = await raw(host)
    await socket.enter('/', { token: alice })
    host.clock.set(AFTER)
    socket.send(...Array.from({ length: 200 }, (_, i) => eventPacket(['say', i], { id: i })))
    await until(() => host.io.sockets.sockets.size === 0)
    await until(() => host.clients() === 1)
    expect([host.handled, host.seen.fault, host.seen.denied.filter(({ stage }) => stage === 'connect').length]).toEqual([[], [], 1])
  })

  test('a client that stays after it was closed: it is not heard any more, and its connection ends', async () => {
    const host = await serving()
    const socket = await raw(host)
    await socket.enter('/', { token: alice })
    host.clock.advance(AFTER)
    await socket.next('1')
    expect(socket.events().map(([name, data]) => [name, data.code])).toEqual([['gate:closing', 'IDLE_TIMEOUT']])
    socket.emit('say', 'still here')
    host.clock.advance(10_000)
    await until(() => host.clients() === 0)
    expect([host.handled, host.core.agenda.size, host.seen.fault]).toEqual([[], 0, []])
  })

  test('clients that vanish as their time comes', async () => {
    const host = await serving()
    const sockets = await Promise.all(Array.from({ length: 20 }, () => raw(host)))
    for (const socket of sockets) await socket.enter('/', { token: alice })
    host.clock.advance(AFTER - 1)
    for (const socket of sockets) socket.vanish()
    host.clock.advance(1)
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
    host.clock.advance(AFTER - 1)
    socket.io.engine.close()
    await until(() => host.io.sockets.sockets.size === 0)
    socket.connect()
    await entry(socket)
    expect([socket.recovered, host.sockets.at(-1)!.recovered]).toEqual([true, true])
    host.clock.advance(AFTER - 1)
    expect(host.io.sockets.sockets.size).toBe(1)
    const gone = farewell(socket)
    host.clock.advance(1)
    await gone
    socket.connect()
    await entry(socket)
    expect([socket.recovered, host.sockets.at(-1)!.recovered]).toEqual([false, false])
  })

  test('is what the companion does as it is advised: not by itself', async () => {
    const host = await serving()
    const connection = connect(host.url, { transports: ['websocket'], credentials: () => ({ token: alice }) })
    closeAfterTest(() => connection.close())
    await heard(connection.socket, 'connect')
    const closed = new Promise<{ readonly reason: string; readonly error?: Error | undefined }>((resolve) => connection.on('closed', resolve))
    host.clock.advance(AFTER)
    expect(await closed).toMatchObject({ reason: 'advised', error: { code: 'IDLE_TIMEOUT' } })
  })

  test('is what the companion does at once, where it is told to', async () => {
    const host = await serving({ reconnect: 'now' })
    const connection = connect(host.url, { transports: ['websocket'], minDelayMs: 1, credentials: () => ({ token: alice }) })
    closeAfterTest(() => connection.close())
    await heard(connection.socket, 'connect')
    const back = heard(connection.socket, 'connect')
    host.clock.advance(AFTER)
    await back
    expect(host.sockets).toHaveLength(2)
  })
})

test.each([
  ['a gate in observe mode', { guarding: { mode: 'observe' }, declare: (gate: any) => gate.use(idle({ afterMs: AFTER })) }],
  ['an observed policy', { declare: (gate: any) => gate.use(observed(idle({ afterMs: AFTER }))) }],
] as const)('where it is only observed the peer stays, hears nothing of it, and is reported once: %s', async (_words, setUp) => {
  const host = await start({ terms: { expiringMs: 0 }, ...setUp })
  const socket = await enteredWith(host, alice)
  const closings = record(socket, 'gate:closing')
  host.clock.advance(5 * AFTER)
  expect(host.seen.denied).toMatchObject([{ policy: 'idle', code: 'IDLE_TIMEOUT', enforced: false, subject: 'alice' }])
  expect(await say(socket, 'here')).toBe('here')
  host.clock.advance(5 * AFTER)
  expect([await say(socket, 'still here'), closings, host.seen.denied.length, watched(host)]).toEqual(['still here', [], 1, 0])
})
