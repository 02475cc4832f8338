import { describe, expect, test } from '@jest/globals'
import { deny, guard, memoryStore, type DeliverContext, type Gate, type GuardOptions } from 'portcullis'
import type { Schema } from 'portcullis/contract'
import type { Server, ServerOptions, Socket } from 'socket.io'
import { ClusterAdapter } from 'socket.io-adapter'
import type { Socket as ClientSocket } from 'socket.io-client'
import msgpack from 'socket.io-msgpack-parser'
import { acksOf, bare, guarded, inside, refusalIn, type Handlers } from '../support/application.ts'
import { cluster } from '../support/cluster.ts'
import { client as stock, entered, entry, raw, watch, type RawClient } from '../support/server.ts'

// Section 8 of the facts: what leaves the server, for whom, and as what.

type Answer = (...args: unknown[]) => void
interface Named {
  readonly name: string
}

/** Who a client says it is: enough for a test. */
const named = { name: 'named', connect: (ctx: any, next: (facts: Named) => any) => next({ name: String(ctx.handshake.auth['name']) }) }

/** Alice gets what was sent, Bob gets it masked, Mallory gets nothing. */
const perRecipient = (ctx: DeliverContext<Named>, next: () => undefined): undefined => {
  if (ctx.peer.name === 'mallory') return deny('FORBIDDEN')
  if (ctx.peer.name === 'bob') ctx.data = mask(ctx.data)
  return next()
}
const perAudience = {
  audience: ({ name }: Named) => name,
  hook: (ctx: { audience: string; data: any }, next: () => undefined): undefined => {
    if (ctx.audience === 'mallory') return deny('FORBIDDEN')
    if (ctx.audience === 'bob') ctx.data = mask(ctx.data)
    return next()
  },
}
const mask = (data: any): unknown => ({ ...data, text: '***' })

const people = ['alice', 'bob', 'mallory'] as const

/** Everybody in the room, and what each of them heard; `sender` is a socket that is in no room. */
interface Crowd {
  readonly clients: ClientSocket[]
  readonly sockets: Socket[]
  readonly sender: Socket
  /** Arguments of `secret`, by name, after everything sent before has arrived. */
  heard(): Promise<Record<string, unknown[][]>>
}

async function crowd(host: { io: Server; url: string }, options: object = {}, names: readonly string[] = people): Promise<Crowd> {
  const sockets: Socket[] = []
  host.io.on('connection', (socket) => {
    sockets.push(socket)
    if (socket.handshake.auth['name'] !== 'sender') void socket.join('room')
  })
  const clients: ClientSocket[] = []
  const heard: Record<string, unknown[][]> = {}
  for (const name of [...names, 'sender']) {
    const client = await entered(host, { auth: { name }, ...options })
    const own: unknown[][] = (heard[name] = [])
    client.on('secret', (...args: unknown[]) => own.push(args.filter((arg) => typeof arg !== 'function')))
    clients.push(client)
  }
  const sender = sockets.pop()!
  delete heard['sender']
  return {
    clients,
    sockets,
    sender,
    async heard() {
      await Promise.all(clients.map((client) => client.emitWithAck('ping')))
      const now = structuredClone(heard)
      for (const own of Object.values(heard)) own.length = 0
      return now
    },
  }
}

const open: GuardOptions = { undeclared: { rooms: 'allow' } }

describe('a packet on its way out', () => {
  const secret = { text: 'for few', id: 7 }
  const only = { alice: [[secret]], bob: [[{ text: '***', id: 7 }]], mallory: [] }

  const ways: Record<string, (io: Server, sockets: Socket[], sender: Socket) => unknown> = {
    'socket.emit': (_, sockets) => sockets.forEach((socket) => socket.emit('secret', secret)),
    'socket.volatile.emit': (_, sockets) => sockets.forEach((socket) => socket.volatile.emit('secret', secret)),
    'socket.compress.emit': (_, sockets) => sockets.forEach((socket) => socket.compress(false).emit('secret', secret)),
    'socket.timeout.emit with an ack': (_, sockets) => sockets.forEach((socket) => socket.timeout(100).emit('secret', secret, () => {})),
    'io.emit': (io) => io.emit('secret', secret),
    'io.of.emit': (io) => io.of('/').emit('secret', secret),
    'io.to(room)': (io) => io.to('room').emit('secret', secret),
    'io.to(ids)': (io, sockets) => io.to(sockets.map(({ id }) => id)).emit('secret', secret),
    'io.except': (io, _, sender) => io.except(sender.id).emit('secret', secret),
    'io.local': (io) => io.local.emit('secret', secret),
    'io.volatile': (io) => io.volatile.emit('secret', secret),
    'io.compress': (io) => io.compress(true).to('room').emit('secret', secret),
    'io.timeout with an ack': (io) => io.timeout(100).to('room').emit('secret', secret, () => {}),
    'socket.to(room)': (_, __, sender) => sender.to('room').emit('secret', secret),
    'socket.broadcast': (_, __, sender) => sender.broadcast.emit('secret', secret),
    'fetchSockets, then emit': async (io) => (await io.in('room').fetchSockets()).forEach((socket) => socket.emit('secret', secret)),
  }
  const servers: Record<string, [Partial<ServerOptions>, object]> = {
    'over WebSocket': [{}, {}],
    'over polling': [{}, { transports: ['polling'] }],
    'with recovery': [{ connectionStateRecovery: {} }, {}],
    'with msgpack': [{ parser: msgpack }, { parser: msgpack }],
    'compressed': [{ perMessageDeflate: { threshold: 1 } }, { perMessageDeflate: true }],
  }

  test('bare: a listener for everything that goes out sees a packet and cannot stop it, and changing the packet of a broadcast changes nothing', async () => {
    const seen: unknown[] = []
    const host = await bare((socket) => {
      socket.onAnyOutgoing((...event: unknown[]) => seen.push(event))
      const notify = (socket as any).notifyOutgoingListeners
      ;(socket as any).notifyOutgoingListeners = function (packet: { data: unknown[] }) {
        packet.data[1] = { text: '***' }
        notify.call(this, packet)
      }
    })
    const client = await inside(host)
    host.io.emit('secret', { text: 'for few' })
    await client.ask(['ping'])
    expect(seen).toEqual([['secret', { text: '***' }]])
    // The frame was computed before anybody was asked.
    expect(client.events()).toEqual([['secret', { text: 'for few' }]])
  })

  describe.each(Object.entries(servers))('%s', (_, [options, client]) => {
    test.each([
      ['per recipient', perRecipient],
      ['per audience', perAudience],
    ] as [string, any][])('guarded, %s: is dropped for one, rewritten for another, and left alone for a third, however it was sent', async (__, hook) => {
      const host = await guarded(() => {}, (gate) => gate.use(named).deliver('secret', hook), open, options)
      const { sockets, sender, heard } = await crowd(host, client)
      for (const [name, send] of Object.entries(ways)) {
        // What is volatile is lost between two polls, also without a gate.
        if (name.includes('volatile') && 'transports' in client) continue
        await send(host.io, sockets, sender)
        expect([name, withoutOffsets(await heard())]).toEqual([name, only])
      }
      expect(host.seen.fault).toEqual([])
    })
  })

  /** With recovery the last argument a client gets is the offset. */
  const withoutOffsets = (heard: Record<string, unknown[][]>): Record<string, unknown[][]> =>
    Object.fromEntries(Object.entries(heard).map(([name, events]) => [name, events.map((args) => args.slice(0, 1))]))

  test('guarded: a packet from another node is judged where its recipient is', async () => {
    const nodes = await cluster(2, (io) => {
      io.on('connection', (socket) => socket.on('ping', (ack: Answer) => ack('pong')))
      const gate = guard(io, { ...open, store: memoryStore({ dangerouslyPerNode: true }) })
      gate.use(named).event('ping').deliver('secret', perRecipient)
      return gate
    })
    const [first, second] = nodes as [(typeof nodes)[0], (typeof nodes)[0]]
    const { clients, heard } = await crowd(first)
    // Joins and packets go through Redis in their order: when this has come, so has everything before it.
    const arrived = async (): Promise<void> => {
      const last = new Promise((resolve) => clients[0]!.once('last', resolve))
      second.io.emit('last')
      await last
    }
    for (const send of [
      () => second.io.emit('secret', secret),
      () => second.io.to('room').emit('secret', secret),
      () => second.io.except('nowhere').volatile.emit('secret', secret),
      async () => (await second.io.in('room').fetchSockets()).forEach((socket) => socket.emit('secret', secret)),
      () => second.io.timeout(100).to('room').emit('secret', secret, () => {}),
    ]) {
      await send()
      await second.io.fetchSockets()
      await arrived()
      expect(await heard()).toEqual(only)
    }
    expect(await second.io.timeout(200).to('room').emitWithAck('last').catch((error: Error & { responses: unknown[] }) => error.responses)).toEqual([])
  })

  test('guarded: binary data is dropped and rewritten as well, and so is what becomes binary', async () => {
    const host = await guarded(() => {}, (gate) =>
      gate.use(named).deliver('secret', (ctx: DeliverContext<Named>, next) => {
        if (ctx.peer.name === 'mallory') return deny('FORBIDDEN')
        if (ctx.peer.name === 'bob') ctx.data = Buffer.isBuffer(ctx.data) ? 'no bytes' : Buffer.from([9])
        return next()
      }), open)
    const { heard } = await crowd(host)
    host.io.emit('secret', Buffer.from([1, 2]))
    host.io.emit('secret', 'plain')
    expect(await heard()).toEqual({ alice: [[Buffer.from([1, 2])], ['plain']].map(asUint8), bob: [['no bytes'], [Buffer.from([9])]].map(asUint8), mallory: [] })
  })
  const asUint8 = (args: unknown[]): unknown[] => args.map((arg) => (Buffer.isBuffer(arg) ? new Uint8Array(arg) : arg))

  test('guarded: on all children of dynamic namespaces at once, each by its own declarations', async () => {
    const host = await guarded(() => {}, (gate) => {
      gate.use(named)
      gate.of(/^\/d-\d$/).event('ping')
      gate.of('/d-1').deliver('secret', () => deny('FORBIDDEN'))
      gate.of('/d-2').deliver('secret', (ctx, next) => {
        ctx.data = 'rewritten'
        return next()
      })
    }, {}, { connectionStateRecovery: {} })
    const parent = host.io.of(/^\/d-\d$/)
    parent.on('connection', (socket) => socket.on('ping', (ack: Answer) => ack('pong')))
    const heard: unknown[] = []
    const clients = await Promise.all(['/d-1', '/d-2', '/d-3'].map((namespace) => entered(host, { namespace })))
    clients.forEach((client, index) => client.on('secret', (data: unknown) => heard.push([index + 1, data])))
    parent.emit('secret', 'original')
    await Promise.all(clients.map((client) => client.emitWithAck('ping')))
    expect(heard.sort()).toEqual([[2, 'rewritten'], [3, 'original']])
  })

  test('guarded: two namespaces of one connection do not take each other\'s decisions', async () => {
    const host = await guarded(() => {}, (gate) => {
      gate.use(named)
      gate.of('/quiet').deliver('secret', () => deny('FORBIDDEN')).event('ping')
    })
    const quiet = host.io.of('/quiet')
    quiet.on('connection', (socket) => socket.on('ping', (ack: Answer) => ack('pong')))
    const client = await inside(host)
    await client.enter('/quiet')
    for (let n = 0; n < 3; n++) {
      quiet.emit('secret', n)
      host.io.emit('secret', n)
      host.peer().emit('secret', n)
      ;[...quiet.sockets.values()][0]!.emit('secret', n)
      quiet.emit('other', n)
    }
    await client.ask(['ping'])
    expect(client.events()).toEqual([0, 0, 1, 1, 2, 2].map((n) => ['secret', n]))
    expect(client.events('/quiet')).toEqual([0, 1, 2].map((n) => ['other', n]))
  })
})

describe('what is asked, and how often', () => {
  function counting(io: Server): { count: number } {
    const encoder = (io as any).encoder
    const counter = { count: 0 }
    const { encode } = encoder
    encoder.encode = (packet: { data?: unknown[] }) => {
      if (packet.data?.[0] === 'secret') counter.count++
      return encode.call(encoder, packet)
    }
    return counter
  }
  const teams = ['red', 'red', 'red', 'blue', 'blue', 'green', 'green', 'green', 'green', 'red']
  const byTeam = (asked: string[]) => ({
    audience: ({ name }: Named) => name,
    hook: (ctx: { audience: string; data: any }, next: () => undefined): undefined => {
      asked.push(ctx.audience)
      if (ctx.audience === 'green') return deny('FORBIDDEN')
      if (ctx.audience === 'blue') ctx.data = 'for blue'
      return next()
    },
  })

  test('an audience is asked once for a packet, and each outcome is encoded once', async () => {
    const asked: string[] = []
    const host = await guarded(() => {}, (gate) => gate.use(named).deliver('secret', byTeam(asked)), open)
    const { heard, clients } = await crowd(host, {}, teams)
    const encoded = counting(host.io)
    const got = new Map<ClientSocket, unknown[]>(clients.map((client) => [client, []]))
    for (const [client, own] of got) client.on('secret', (data: unknown) => own.push(data))
    host.io.to('room').emit('secret', 'for red')
    await heard()
    expect([...got.values()].flat()).toEqual(['for red', 'for red', 'for red', 'for blue', 'for blue', 'for red'])
    expect(asked.sort()).toEqual(['blue', 'green', 'red'])
    expect(encoded.count).toBe(2)
    host.io.to('room').emit('secret', 'again')
    await heard()
    expect(asked).toHaveLength(6)
    expect(encoded.count).toBe(4)
  })

  test('several policies with audiences are asked once for each combination', async () => {
    const asked: string[] = []
    const even = { audience: ({ name }: Named) => name.length % 2, hook: (_: object, next: () => undefined) => (asked.push('even'), next()) }
    const host = await guarded(() => {}, (gate) => gate.use(named).deliver('secret', even, byTeam(asked)), open)
    const { heard } = await crowd(host, {}, teams)
    host.io.to('room').emit('secret', 'x')
    await heard()
    expect(asked.sort()).toEqual(['blue', 'even', 'even', 'even', 'green', 'red'])
  })

  test('one policy without an audience has every recipient asked', async () => {
    const asked: string[] = []
    const host = await guarded(() => {}, (gate) => gate.use(named).deliver('secret', byTeam(asked), (_, next) => next()), open)
    const { heard } = await crowd(host, {}, teams)
    host.io.to('room').emit('secret', 'x')
    await heard()
    expect(asked).toHaveLength(teams.length)
  })

  test('an event that nothing was declared for asks nobody, and is encoded once', async () => {
    const asked: string[] = []
    const host = await guarded(() => {}, (gate) => gate.use(named).deliver('other', byTeam(asked)), open)
    const { heard } = await crowd(host, {}, teams)
    const encoded = counting(host.io)
    host.io.to('room').emit('secret', 'x')
    expect((await heard())['red']).toHaveLength(1)
    expect([asked, encoded.count]).toEqual([[], 1])
  })

  test('a packet is decided anew each time it is sent', async () => {
    let allowed = true
    const host = await guarded(() => {}, (gate) => gate.use(named).deliver('secret', { audience: () => 'all', hook: (_: object, next: () => undefined) => (allowed ? next() : deny('FORBIDDEN')) }))
    const client = await inside(host)
    host.io.emit('secret', 1)
    allowed = false
    host.io.emit('secret', 2)
    host.peer().emit('secret', 3)
    await client.ask(['ping'])
    expect(client.events()).toEqual([['secret', 1]])
  })

  test('the arguments are shared: what one recipient gets rewritten, another gets as it was', async () => {
    const host = await guarded(() => {}, (gate) =>
      gate.use(named).deliver('secret', (ctx: DeliverContext<Named>, next) => {
        if (ctx.peer.name === 'alice') ctx.args = [...ctx.args, 'added']
        if (ctx.peer.name === 'bob') ctx.args = []
        if (ctx.peer.name === 'mallory') ctx.data = 'only the first'
        return next()
      }), open)
    const { heard } = await crowd(host)
    host.io.to('room').emit('secret', 'a', 'b')
    expect(await heard()).toEqual({ alice: [['a', 'b', 'added']], bob: [[]], mallory: [['only the first', 'b']] })
  })

  test('listeners for everything that goes out hear what does go out', async () => {
    const out: unknown[] = []
    const host = await guarded((socket) => void socket.onAnyOutgoing((...event: unknown[]) => out.push([socket.handshake.auth['name'], ...event])), (gate) => gate.use(named).deliver('secret', perRecipient), open)
    const { heard } = await crowd(host)
    host.io.to('room').emit('secret', { text: 'x' })
    await heard()
    expect(out).toEqual([['alice', 'secret', { text: 'x' }], ['bob', 'secret', { text: '***' }]])
  })

  test('a packet sent from within such a listener, to the same client, does not let the original of a rewritten one out', async () => {
    const host = await guarded(
      (socket) =>
        void socket.onAnyOutgoing((event: string) => {
          if (event === 'secret') socket.emit('note', 'something is coming')
          if (event === 'secret') host.io.emit('note', 'to all')
        }),
      (gate) => gate.use(named).deliver('secret', perRecipient),
      open,
    )
    const { heard, sockets } = await crowd(host)
    host.io.to('room').emit('secret', { text: 'x' })
    expect(await heard()).toEqual({ alice: [[{ text: 'x' }]], bob: [[{ text: '***' }]], mallory: [] })
    for (const socket of sockets) socket.emit('secret', { text: 'x' })
    expect(await heard()).toEqual({ alice: [[{ text: 'x' }]], bob: [[{ text: '***' }]], mallory: [] })
  })

  test('a policy may send while it decides', async () => {
    const host = await guarded(() => {}, (gate) =>
      gate.use(named).deliver('secret', (ctx: DeliverContext<Named>, next) => {
        ;(ctx.socket as unknown as Socket).emit('note', ctx.peer.name)
        return perRecipient(ctx, next)
      }), open)
    const { heard, clients } = await crowd(host)
    const notes: unknown[] = []
    for (const client of clients) client.on('note', (name: unknown) => notes.push(name))
    host.io.to('room').emit('secret', { text: 'x' })
    expect(await heard()).toEqual({ alice: [[{ text: 'x' }]], bob: [[{ text: '***' }]], mallory: [] })
    expect(notes).toEqual([...people])
  })
})

describe('what goes wrong', () => {
  test('a packet that cannot be encoded throws at who sent it, as in Socket.IO, and the next one arrives', async () => {
    for (const hook of [perRecipient, perAudience] as any[]) {
      const host = await guarded(() => {}, (gate) => gate.use(named).deliver('secret', hook).deliver('rewritten', (ctx: DeliverContext, next) => {
        ctx.data = 1n
        return next()
      }), open)
      const { heard, sockets, clients } = await crowd(host)
      for (const send of [() => sockets[0]!.emit('secret', { big: 1n }), () => sockets[1]!.emit('secret', { big: 1n }), () => host.io.to('room').emit('secret', { big: 1n }), () => sockets[0]!.emit('other', 1n), () => sockets[0]!.emit('rewritten')]) {
        expect(send).toThrow(TypeError)
        for (const socket of sockets) socket.emit('secret', { text: 'next' })
        host.io.to('room').emit('secret', { text: 'next' })
        expect(await heard()).toEqual({ alice: Array(2).fill([{ text: 'next' }]), bob: Array(2).fill([{ text: '***' }]), mallory: [] })
      }
      // What a policy made of it for somebody is not the sender's fault: that recipient gets nothing.
      const got: unknown[] = []
      for (const client of clients) client.on('rewritten', () => got.push(1))
      expect(() => host.io.emit('rewritten')).not.toThrow()
      await heard()
      expect(got).toEqual([])
      expect(host.seen.fault).toHaveLength(4)
    }
  })

  test('a hook that throws, is silent, calls next twice or throws after it drops the packet for that recipient alone, and is reported', async () => {
    const misbehave = (ctx: DeliverContext<Named>, next: () => undefined): any => {
      if (ctx.peer.name === 'bob') throw new Error('broken')
      if (ctx.peer.name === 'mallory') return undefined
      if (ctx.peer.name === 'twice') {
        next()
        next()
      }
      next()
      if (ctx.peer.name === 'late') throw new Error('after next')
    }
    const host = await guarded(() => {}, (gate) => gate.use(named).deliver('secret', misbehave), open)
    const { heard } = await crowd(host, {}, [...people, 'twice', 'late'])
    host.io.to('room').emit('secret', 'x')
    expect(await heard()).toEqual({ alice: [['x']], bob: [], mallory: [], twice: [], late: [] })
    expect(host.seen.fault.map(({ peer, stage, policy, event }) => [(peer as Named).name, stage, policy, event])).toEqual(['bob', 'mallory', 'twice', 'late'].map((name) => [name, 'deliver', 'misbehave', 'secret']))
  })

  test('an audience that throws drops the packet for that recipient alone', async () => {
    const audience = ({ name }: Named): string => {
      if (name === 'bob') throw new Error('no audience')
      return 'all'
    }
    const host = await guarded(() => {}, (gate) => gate.use(named).deliver('secret', { audience, hook: (_: object, next: () => undefined) => next() }), open)
    const { heard } = await crowd(host)
    host.io.to('room').emit('secret', 'x')
    expect(await heard()).toEqual({ alice: [['x']], bob: [], mallory: [['x']] })
    expect(host.seen.fault).toHaveLength(1)
  })

  test.each([
    ['waits', async (_: unknown, next: () => undefined) => { await Promise.resolve(); return next() }],
    ['goes on first', async (_: unknown, next: () => undefined) => next()],
    ['rejects', async () => { throw new Error('rejected') }],
    ['brings a thenable', () => ({ then: (done: () => void) => done() })],
  ])('an asynchronous hook that %s is a fault: nothing goes out, now or later', async (_, hook) => {
    for (const mount of [(gate: Gate) => gate.deliver('secret', hook as any), (gate: Gate) => gate.deliver('secret', { audience: () => 1, hook: hook as any })]) {
      const host = await guarded(() => {}, mount)
      const client = await inside(host)
      host.io.emit('secret', 1)
      host.peer().emit('secret', 2)
      await client.ask(['ping'])
      expect(client.events()).toEqual([])
      expect(host.seen.fault.slice(0, 2).map(({ error }) => error?.message)).toEqual(Array(2).fill(expect.stringContaining('deliveries are synchronous')))
    }
  })

  test('a refused recipient of a broadcast with an ack leaves the sender to its timeout, and cannot answer', async () => {
    const host = await guarded(() => {}, (gate) => gate.use(named).deliver('secret', perRecipient), open)
    const clients: RawClient[] = []
    for (const name of people) {
      const client = await raw(host)
      await client.enter('/', { name })
      clients.push(client)
    }
    const [alice, bob, mallory] = clients as [RawClient, RawClient, RawClient]
    const answered = host.io.timeout(500).emitWithAck('secret', { text: 'x' })
    const id = /^2(\d+)/.exec(await alice.next((packet) => packet.includes('secret')))![1]
    mallory.send(`3${id}["forged"]`)
    await mallory.ask(['ping'])
    alice.send(`3${id}["of alice"]`)
    bob.send(`3${id}["of bob"]`)
    expect(await answered.catch((error: Error & { responses: unknown[] }) => [error.message, error.responses.sort()])).toEqual(['operation has timed out', ['of alice', 'of bob']])
    expect(mallory.events()).toEqual([])
    // Neither does it leave an ack behind for somebody who was never asked.
    host.peer().emit('secret', { text: 'x' }, () => {})
    expect(host.peer().handshake.auth['name']).toBe('mallory')
    expect((host.peer() as any).acks.size).toBe(0)
  })
})

describe('recovery and its offset', () => {
  const rewriting = (got: unknown[][]) => (ctx: DeliverContext, next: () => undefined): undefined => {
    got.push([...ctx.args])
    ctx.data = 'masked'
    return next()
  }

  test('guarded: policies see the arguments without the offset that recovery appends, and the client still gets it', async () => {
    const got: unknown[][] = []
    const host = await guarded(() => {}, (gate) => gate.deliver('secret', rewriting(got)), {}, { connectionStateRecovery: {} })
    const client = await inside(host)
    host.io.emit('secret', 'a', 'b')
    host.peer().emit('secret')
    host.peer().emit('secret', 'unicast')
    await client.ask(['ping'])
    // Not stored, and so without an offset:
    host.io.volatile.emit('secret', 'volatile')
    host.peer().emit('secret', 'with an ack', () => {})
    host.io.timeout(100).emit('secret', 'with acks', () => {})
    await client.ask(['ping'])
    expect(got).toEqual([['a', 'b'], [], ['unicast'], ['volatile'], ['with an ack'], ['with acks']])
    const packets = client.received.filter((packet) => packet.includes('"secret"')).map((packet) => JSON.parse(packet.replace(/^\d+/, '')) as unknown[])
    expect(packets).toEqual([
      ['secret', 'masked', 'b', expect.any(String)],
      ['secret', 'masked', expect.any(String)],
      ['secret', 'masked', expect.any(String)],
      ['secret', 'masked'],
      ['secret', 'masked'],
      ['secret', 'masked'],
    ])
  })

  test('guarded: with recovery asked for and an adapter that appends nothing, they still see every argument, of either node', async () => {
    const got: unknown[][] = []
    const nodes = await cluster(2, (io, index) => {
      const gate = guard(io, { store: memoryStore({ dangerouslyPerNode: true }) })
      gate.deliver('secret', rewriting(got)).event('ping')
      if (index === 0) io.on('connection', (socket) => socket.on('ping', (ack: Answer) => ack('pong')))
      return gate
    }, { connectionStateRecovery: {} })
    const [first, second] = nodes as [(typeof nodes)[0], (typeof nodes)[0]]
    const client = await inside(first)
    first.io.emit('secret', 'here')
    second.io.emit('secret', 'there')
    const arrived = [await client.next('2["secret"'), await client.next('2["secret"')]
    expect(arrived).toEqual(Array(2).fill('2["secret","masked"]'))
    expect(got).toEqual([['here'], ['there']])
  })
})

describe('an adapter of a cluster that supports recovery', () => {
  /** Nodes of one process, which pass messages as any cluster adapter does, and append an offset where a packet is received. */
  function bus(): new (nsp: any) => ClusterAdapter {
    const nodes: ClusterAdapter[] = []
    let offset = 0
    const publish = (message: unknown): string => {
      offset++
      for (const node of nodes) (node as any).onMessage(structuredClone(message), String(offset))
      return String(offset)
    }
    return class extends ClusterAdapter {
      constructor(nsp: any) {
        super(nsp)
        nodes.push(this)
      }
      protected override doPublish = (message: unknown) => Promise.resolve(publish(message)) as never
      protected override doPublishResponse = (_: unknown, response: unknown) => Promise.resolve(void publish(response))
    }
  }

  test('guarded: policies see what was sent, of either node, stored or not, and every client gets its offset', async () => {
    const got: unknown[][] = []
    const adapter = bus() as never
    const [near, far] = [
      await guarded(() => {}, (gate) => gate.deliver('secret', (ctx, next) => {
        got.push([...ctx.args])
        ctx.data = 'masked'
        return next()
      }), {}, { adapter, connectionStateRecovery: {} }),
      await guarded(() => {}, undefined, {}, { adapter, connectionStateRecovery: {} }),
    ]
    const client = await inside(near)
    for (const { io } of [near, far]) {
      io.emit('secret', 'stored', 'too')
      io.volatile.emit('secret', 'lost')
      await client.ask(['ping'])
      await client.ask(['ping'])
    }
    near.io.local.emit('secret', 'of this node')
    expect(await client.ask(['ping'])).toEqual(['pong'])
    expect(new Set(got.map((args) => JSON.stringify(args)))).toEqual(new Set(['["stored","too"]', '["lost"]', '["of this node"]']))
    expect(client.events().filter(([, , ...rest]) => rest.length > 0)).toEqual(Array(2).fill(['secret', 'masked', 'too', expect.any(String)]))
  })
})

describe('deliveries that nothing was declared for', () => {
  test('guarded: go out, unless undeclared: { deliveries: "deny" } was given; then nobody gets them, and it is reported', async () => {
    const app: Handlers = (socket) => {
      socket.on('x', (ack: Answer) => ack('an ack is no delivery'))
    }
    const host = await guarded(app, (gate) => gate.event('x').deliver('known:*'), { undeclared: { deliveries: 'deny' } })
    const client = await inside(host)
    host.io.emit('known:1')
    host.io.emit('unknown')
    host.peer().emit('unknown')
    expect(await client.ask(['x'])).toEqual(['an ack is no delivery'])
    expect(client.events()).toEqual([['known:1']])
    expect(host.seen.denied.map(({ stage, event, code }) => [stage, event, code])).toEqual(Array(2).fill(['deliver', 'unknown', 'UNKNOWN_EVENT']))
    // The messages of the gate itself are none of these.
    client.emit('nonsense')
    expect(await client.next('2["gate:denied"')).toContain('nonsense')
  })
})

describe('a contract of what is delivered', () => {
  let validated = 0
  const message: Schema = {
    '~standard': {
      version: 1,
      vendor: 'test',
      validate: (value) => {
        validated++
        const { text } = (value ?? {}) as { text?: unknown }
        return typeof text === 'string' ? { value: { text } } : { issues: [{ message: 'no text' }] }
      },
    },
  }

  test('guarded: recipients get the output of the schema; what does not match goes to nobody, and is a fault; it is checked once a packet', async () => {
    const host = await guarded(() => {}, (gate) => {
      gate.use(named).of('/', { deliveries: { secret: { data: message } } }).deliver('secret', perAudience)
    }, open)
    const { heard } = await crowd(host, {}, ['alice', 'alice2', 'alice3', 'bob', 'mallory'])
    validated = 0
    host.io.to('room').emit('secret', { text: 'x', internal: true })
    expect(await heard()).toEqual({ alice: [[{ text: 'x' }]], alice2: [[{ text: 'x' }]], alice3: [[{ text: 'x' }]], bob: [[{ text: '***' }]], mallory: [] })
    // Once for each audience of the rule that stands below it.
    expect(validated).toBe(5)
    host.io.to('room').emit('secret', { nothing: 1 })
    host.io.to('room').emit('secret', { text: 'x' }, 'surplus')
    expect(await heard()).toEqual({ alice: [], alice2: [], alice3: [], bob: [], mallory: [] })
    expect(new Set(host.seen.fault.map(({ policy }) => policy))).toEqual(new Set(['contract']))
  })

  test('guarded: alone it is checked once a packet, however many get it', async () => {
    const host = await guarded(() => {}, (gate) => {
      gate.use(named)
      gate.of('/', { deliveries: { secret: { data: message } } })
    }, open)
    const { heard } = await crowd(host, {}, ['a', 'b', 'c', 'd'])
    validated = 0
    host.io.to('room').emit('secret', { text: 'x' })
    await heard()
    expect(validated).toBe(1)
  })
})

describe('the ack of a client\'s event', () => {
  test('guarded: passes the items of reply(...), which may refuse or rewrite it, also where a policy answers', async () => {
    const host = await guarded(
      (socket) => {
        socket.on('read', (ack: Answer) => ack({ text: 'x', owner: 'y' }, 'second'))
        socket.on('list', (ack: Answer) => ack([1, 2]))
      },
      (gate) =>
        gate
          .use(named)
          .event(['read', 'list'])
          .event('cached', (ctx) => ctx.reply({ text: 'cached' }))
          .reply(['read', 'cached'], perRecipient),
    )
    const as = async (name: string): Promise<RawClient> => {
      const client = await raw(host)
      await client.enter('/', { name })
      return client
    }
    expect(await (await as('alice')).ask(['read'])).toEqual([{ text: 'x', owner: 'y' }, 'second'])
    expect(await (await as('bob')).ask(['read'])).toEqual([{ text: '***', owner: 'y' }, 'second'])
    expect(await (await as('bob')).ask(['cached'])).toEqual([{ text: '***' }])
    const mallory = await as('mallory')
    mallory.send('270["read"]')
    expect(await mallory.ask(['list'])).toEqual([[1, 2]])
    expect(acksOf(mallory, 70).map((args) => refusalIn(args).code)).toEqual(['FORBIDDEN'])
  })

  test('guarded: an asynchronous item of reply(...) is a fault, and the client is told INTERNAL', async () => {
    const host = await guarded(
      (socket) => void socket.on('read', (ack: Answer) => ack('x')),
      (gate) => gate.event('read').reply('read', (async (_: unknown, next: () => undefined) => next()) as any),
    )
    expect(refusalIn(await (await inside(host)).ask(['read'])).code).toBe('INTERNAL')
    expect(host.seen.fault).toHaveLength(1)
  })
})

test('guarded: what is sent to a socket on its way in is judged as well', async () => {
  const host = await guarded(() => {}, (gate) => gate.use(named).deliver('secret', perRecipient))
  host.io.use((socket, next) => {
    socket.emit('secret', { text: 'early' })
    next()
  })
  host.io.on('connection', (socket) => socket.emit('secret', { text: 'first' }))
  const got: unknown[] = []
  for (const name of people) {
    const client = await raw(host)
    await client.enter('/', { name })
    await client.ask(['ping'])
    got.push(client.events().map(([, data]) => data.text))
  }
  expect(got).toEqual([['early', 'first'], ['***', '***'], []])
})

test('guarded: decisions of one delivery are the records of a packet, one for each recipient or audience', async () => {
  const host = await guarded(() => {}, (gate) => gate.use(named).deliver('secret', perRecipient), open)
  const seen = watch(host.gate)
  const { heard } = await crowd(host)
  for (const list of [seen.admitted, seen.denied]) list.length = 0
  host.io.to('room').emit('secret', { text: 'x' })
  await heard()
  const records = [...seen.admitted, ...seen.denied].filter(({ stage }) => stage === 'deliver')
  expect(records.map(({ outcome, event, peer }) => [outcome, event, (peer as Named).name])).toEqual([['admitted', 'secret', 'alice'], ['admitted', 'secret', 'bob'], ['denied', 'secret', 'mallory']])
})

test('guarded: a client that leaves in the middle of a broadcast disturbs nobody', async () => {
  const host = await guarded(
    (socket) => {
      socket.onAnyOutgoing(() => {
        if (socket.handshake.auth['name'] === 'bob') socket.disconnect(true)
      })
    },
    (gate) => gate.use(named).deliver('secret', perRecipient),
    open,
  )
  const clients = people.map((name) => stock(host, { auth: { name } }))
  const got: unknown[] = []
  for (const client of clients) {
    await entry(client)
    client.on('secret', () => got.push((client.auth as Named).name))
  }
  const carol = await entered(host, { auth: { name: 'carol' } })
  carol.on('secret', () => got.push('carol'))
  host.io.emit('secret', { text: 'x' })
  await carol.emitWithAck('ping')
  expect(got.filter((name) => name !== 'bob').sort()).toEqual(['alice', 'carol'])
  expect(host.seen.fault).toEqual([])
})
