import { describe, expect, test } from '@jest/globals'
import { Denied, deny, guard } from 'portcullis'
import type { ConnectContext, Gate, GuardOptions, Policy, Scheme } from 'portcullis'
import { authenticate } from 'portcullis/policies'
import { testClock } from 'portcullis/testing'
import type { Server, ServerOptions } from 'socket.io'
import type { Presence } from '../../lib/presence.ts'
import { expectedRefusal, record, refused } from '../support/credentials.ts'
import { client, connectPacket, entered, entry, heard, Latch, raw, refusal, serve, until, watch } from '../support/server.ts'

/** Proves whoever is named. `nobody` is refused. */
const named: Scheme<string> = {
  name: 'named',
  read: ({ handshake: { auth } }) => auth['token'] as string,
  verify: (token) => (token === 'nobody' ? deny('UNAUTHENTICATED') : { subject: 'alice', claims: { as: token }, expiresAtMs: 'never', factors: [] }),
}
/** The same, for whoever is asked about again: needs no credential then. */
const lasting: Scheme<string> = { ...named, read: (ctx) => (ctx.cause === 'connect' ? named.read(ctx) : 'again') }
const as = (token: string): { auth: { token: string } } => ({ auth: { token } })

interface Settings {
  readonly scheme?: Scheme<string>
  readonly guarding?: GuardOptions
  readonly serving?: Partial<ServerOptions>
  /** What the policy does with a peer that has entered. */
  readonly greet?: (presence: Presence, ctx: ConnectContext) => void
  /** In the place of one `onEntered`. */
  readonly wait?: (ctx: ConnectContext, seen: Presence[]) => void
  /** Behind it. */
  readonly then?: (gate: Gate) => unknown
  readonly application?: (io: Server) => void
}

/** A server with a policy that waits for peers to be there. */
async function start({ scheme = named, guarding = {}, serving = {}, greet, wait, then, application }: Settings = {}) {
  const seen: { readonly presence: Presence; readonly cause: string; readonly as: unknown; readonly connected: boolean }[] = []
  const presences: Presence[] = []
  const waiting: Policy<{ principal: { claims: any } }> = {
    name: 'waiting',
    connect(ctx, next) {
      if (wait !== undefined) wait(ctx, presences)
      else {
        ctx.onEntered((presence) => {
          presences.push(presence)
          seen.push({ presence, cause: ctx.cause, as: (presence.peer as any).principal?.claims.as, connected: presence.socket.connected })
          greet?.(presence, ctx)
        })
      }
      return next()
    },
  }
  const clock = testClock()
  const handled: unknown[] = []
  const host = await serve((io) => {
    const gate = guard(io, { undeclared: 'allow', clock, ...guarding }).use(authenticate(scheme)).use(waiting)
    then?.(gate)
    io.on('connection', (socket) => socket.on('say', (what: unknown, ack?: (answer: unknown) => void) => (handled.push(what), ack?.(what))))
    application?.(io)
    return gate
  }, serving)
  return { ...host, clock, seen, presences, handled, decided: watch(host.gate) }
}

const socketOf = ({ io }: { readonly io: Server }): any => [...io.of('/').sockets.values()][0]

describe('who waits for a peer to be there', () => {
  test('is told once, when it is, and who it is', async () => {
    const host = await start()
    await entered(host, as('first'))
    expect(host.seen).toMatchObject([{ cause: 'connect', as: 'first', connected: true }])
    const [presence] = host.presences
    expect(presence!.socket).toBe(socketOf(host))
    expect(presence!.peer).toBe(host.gate.peerOf(socketOf(host)))
  })

  test.each<[string, Settings]>([
    ['a policy behind it refuses', { then: (gate) => gate.connect(() => deny('FORBIDDEN')) }],
    ['a policy behind it fails', { then: (gate) => gate.connect(() => { throw new Error('failed') }) }],
    ['the application refuses', { application: (io) => void io.use((_socket, next) => next(new Error('no'))) }],
    ['the application closes it as it enters', { application: (io) => void io.on('connection', (socket) => socket.disconnect()) }],
  ])('is not told where %s', async (_what, settings) => {
    const host = await start(settings)
    const socket = client(host, as('first'))
    await new Promise((resolve) => socket.once('connect_error', resolve).once('disconnect', resolve))
    // Another one after it: by now it would have been told.
    await until(() => host.io.engine.clientsCount <= 1)
    expect(host.seen).toEqual([])
  })

  test('is not told of a client that has vanished half-way', async () => {
    const [asked, go] = [new Latch(), new Latch()]
    const host = await start({ then: (gate) => gate.connect(async (_ctx, next) => (asked.open(), await go.opened, next())) })
    const vanishing = await raw(host)
    vanishing.send(connectPacket('/', { token: 'first' }))
    await asked.opened
    vanishing.close()
    await until(() => host.io.engine.clientsCount === 0)
    go.open()
    await entered(host, as('second'))
    expect(host.seen).toMatchObject([{ as: 'second' }])
  })

  test('is told again when a refresh has taken its place, and not of one that was refused', async () => {
    const host = await start()
    const socket = await entered(host, as('first'))
    expect(await socket.emitWithAck('gate:refresh', { token: 'nobody' })).toEqual(refused('UNAUTHENTICATED'))
    expect(await socket.emitWithAck('gate:refresh', { token: 'second' })).not.toHaveProperty('error')
    expect(host.seen).toMatchObject([
      { cause: 'connect', as: 'first' },
      { cause: 'refresh', as: 'second' },
    ])
    // What was said first goes on to be about the peer as it is.
    expect((host.presences[0]!.peer as any).principal.claims).toEqual({ as: 'second' })
  })

  test('is told again when it has been decided about anew', async () => {
    const host = await start()
    await entered(host, as('first'))
    await host.gate.reauthorize({ subject: 'alice' })
    expect(host.seen).toMatchObject([{ cause: 'connect' }, { cause: 'reauthorize' }])
  })

  test('is told of a peer that was recovered', async () => {
    const host = await start({ serving: { connectionStateRecovery: { maxDisconnectionDuration: 60_000 } } })
    const socket = await entered(host, { ...as('first'), reconnection: true, reconnectionDelay: 1 })
    host.io.emit('anything')
    await heard(socket, 'anything')
    const back = heard(socket, 'connect')
    socket.io.engine.close()
    await back
    expect(socket.recovered).toBe(true)
    expect(host.seen).toMatchObject([{ cause: 'connect' }, { cause: 'recover', as: 'first' }])
  })

  test('fails alone: that is a fault, others are told, and the peer stays', async () => {
    const told: string[] = []
    const host = await start({
      wait(ctx) {
        ctx.onEntered(() => {
          throw new Error('a mistake')
        })
        ctx.onEntered(() => void told.push('second'))
      },
    })
    const socket = await entered(host, as('first'))
    expect(told).toEqual(['second'])
    expect(host.decided.fault).toMatchObject([{ stage: 'connect', policy: 'onEntered', error: { cause: { message: 'a mistake' } } }])
    expect(await socket.emitWithAck('say', 1)).toBe(1)
  })

  test('is told no more when another one has closed the peer', async () => {
    const told: string[] = []
    const host = await start({
      wait(ctx) {
        ctx.onEntered((presence) => presence.close(new Denied('REVOKED'), 'never', 'first'))
        ctx.onEntered(() => void told.push('second'))
      },
    })
    await heard(client(host, as('first')), 'disconnect')
    expect(told).toEqual([])
  })
})

describe('a peer that is there', () => {
  test('is closed with the reason and what to do then, once; nothing more of it is handled', async () => {
    const host = await start()
    const socket = await entered(host, as('first'))
    const told = record(socket, 'gate:closing')
    const over = heard(socket, 'disconnect')
    // In one packet with what comes behind it.
    await socket.emitWithAck('say', 'before')
    const [presence] = host.presences
    presence!.close(new Denied('REVOKED', { reason: 'x' }), 'now', 'waiting')
    presence!.close(new Denied('FORBIDDEN'), 'never', 'waiting')
    socket.emit('say', 'after')
    await over
    expect(told).toEqual([{ ...expectedRefusal('REVOKED', { details: { reason: 'x' } }), reconnect: 'now' }])
    expect(host.handled).toEqual(['before'])
    expect(host.decided.denied.filter(({ policy }) => policy === 'waiting').map(({ code }) => code)).toEqual(['REVOKED'])
  })

  test('is only reported where the policy is observed, and closed all the same where it has asked to be', async () => {
    for (const enforced of [undefined, true]) {
      const host = await start({ guarding: { mode: 'observe' }, wait: (ctx, presences) => (enforced === undefined ? ctx.onEntered((presence) => void presences.push(presence)) : (ctx as any).onEntered((presence: Presence) => presences.push(presence), enforced)) })
      const socket = await entered(host, as('first'))
      const told = record(socket, 'gate:closing')
      host.presences[0]!.close(new Denied('REVOKED'), 'never', 'waiting')
      if (enforced === undefined) {
        expect(await socket.emitWithAck('say', 1)).toBe(1)
        expect(host.decided.denied).toMatchObject([{ policy: 'waiting', enforced: false }])
      } else {
        await until(() => socket.disconnected)
      }
      expect(told.length).toBe(enforced === undefined ? 0 : 1)
    }
  })

  test('is told what the gate says, and is not once it has gone', async () => {
    const host = await start()
    const socket = await entered(host, as('first'))
    const told = record(socket, 'gate:renew')
    const [presence] = host.presences
    expect(presence!.tell('gate:renew', { ticket: 'x' })).toBe(true)
    await until(() => told.length === 1)
    expect(told).toEqual([{ ticket: 'x' }])
    socket.disconnect()
    await until(() => host.io.of('/').sockets.size === 0)
    expect(presence!.tell('gate:renew', {})).toBe(false)
  })

  test('is told nothing more once it is to be closed', async () => {
    const host = await start()
    const socket = await entered(host, as('first'))
    const told = record(socket, 'gate:renew')
    const over = heard(socket, 'disconnect')
    const [presence] = host.presences
    presence!.close(new Denied('REVOKED'), 'never', 'waiting')
    expect(presence!.tell('gate:renew', {})).toBe(false)
    await over
    expect(told).toEqual([])
  })

  test('is decided about anew, stays with what is proved by then, and is told', async () => {
    let role = 'user'
    const host = await start({ scheme: lasting, then: (gate) => gate.connect((_ctx, next) => (next as any)({ role })) })
    const socket = await entered(host, as('first'))
    const told = heard(socket, 'gate:changed')
    const [presence] = host.presences
    expect(presence!.peer).toMatchObject({ role: 'user' })
    role = 'admin'
    expect(await presence!.renew()).toBe(true)
    expect(await told).toMatchObject([{ cause: 'reauthorized' }])
    expect(presence!.peer).toMatchObject({ role: 'admin', principal: { claims: { as: 'again' } } })
    expect(host.seen).toMatchObject([{ cause: 'connect' }, { cause: 'refresh', as: 'again' }])
  })

  test('is closed where a policy does not agree any more, and where nothing is proved', async () => {
    let isBanned = false
    for (const scheme of [lasting, named]) {
      isBanned = false
      const host = await start({ scheme, then: (gate) => gate.connect((_ctx, next) => (isBanned ? deny('FORBIDDEN') : next())) })
      const socket = await entered(host, as('first'))
      const told = heard(socket, 'gate:closing')
      const [presence] = host.presences
      isBanned = true
      expect(await presence!.renew()).toBe(false)
      expect(await told).toMatchObject([scheme === lasting ? { code: 'FORBIDDEN', reconnect: 'never' } : { code: 'UNAUTHENTICATED', reconnect: 'after-credential' }])
      await until(() => socket.disconnected && host.io.of('/').sockets.size === 0)
      expect(await presence!.renew()).toBe(false)
    }
  })
})

describe('a time that a policy has set for a peer', () => {
  const withAlarm = async (fn: (now: number) => void) => {
    const host = await start()
    const socket = await entered(host, as('first'))
    const alarm = host.presences[0]!.alarm(fn)
    return { ...host, socket, alarm }
  }

  test('comes once, may be put off, and may be taken back', async () => {
    const rang: number[] = []
    const { alarm, clock } = await withAlarm((now) => void rang.push(now))
    const begin = clock.now()
    alarm.set(begin + 100)
    alarm.set(begin + 300)
    clock.advance(200)
    expect(rang).toEqual([])
    clock.advance(100)
    clock.advance(1_000)
    expect(rang).toEqual([begin + 300])
    alarm.set(clock.now() + 100)
    alarm.clear()
    clock.advance(1_000)
    expect(rang.length).toBe(1)
    alarm.set(clock.now() + 100)
    clock.advance(100)
    expect(rang.length).toBe(2)
  })

  test('is over with the peer, and cannot be set after that', async () => {
    const rang: number[] = []
    const { alarm, clock, socket, io } = await withAlarm((now) => void rang.push(now))
    alarm.set(clock.now() + 100)
    socket.disconnect()
    await until(() => io.of('/').sockets.size === 0)
    clock.advance(1_000)
    alarm.set(clock.now() + 100)
    clock.advance(1_000)
    expect(rang).toEqual([])
  })

  test('stays when the credential of the peer is refreshed', async () => {
    const rang: number[] = []
    const { alarm, clock, socket } = await withAlarm((now) => void rang.push(now))
    alarm.set(clock.now() + 100)
    await socket.emitWithAck('gate:refresh', { token: 'second' })
    clock.advance(100)
    expect(rang.length).toBe(1)
  })

  test('that fails is a fault, and the peer and other times stay', async () => {
    const { alarm, clock, presences, decided, socket } = await withAlarm(() => {
      throw new Error('a mistake')
    })
    const rang: number[] = []
    const other = presences[0]!.alarm((now) => void rang.push(now))
    alarm.set(clock.now() + 100)
    other.set(clock.now() + 101)
    clock.advance(200)
    expect(rang.length).toBe(1)
    expect(decided.fault).toMatchObject([{ policy: 'onEntered', error: { cause: { message: 'a mistake' } } }])
    expect(await socket.emitWithAck('say', 1)).toBe(1)
  })
})

test('a client that is refused is refused as ever, whoever waits for it', async () => {
  const host = await start()
  expect((await refusal(client(host, as('nobody')))).message).toBe('UNAUTHENTICATED')
  const socket = client(host, as('first'))
  await entry(socket)
  expect(host.seen.length).toBe(1)
})
