import { describe, expect, test } from '@jest/globals'
import { deny, guard, memoryStore, type Denied, type Gate, type JoinContext, type Next } from 'portcullis'
import { Adapter } from 'socket.io-adapter'
import type { Server, Socket } from 'socket.io'
import { acksOf, bare, guarded, inside, refusalIn, type Guarded } from '../support/application.ts'
import { cluster, redisAdapter } from '../support/cluster.ts'
import { heard, Latch, raw, serve, until, watch } from '../support/server.ts'

// Section 7 of the facts: who gets into a room, and whom a broadcast reaches.

type Answer = (...args: unknown[]) => void

const admit = (_: unknown, next: Next) => next()
/** Lets nobody into a room whose last part is `closed`. */
const judge = ({ room }: JoinContext, next: Next) => (room.endsWith('closed') ? deny('FORBIDDEN') : next())
/** The same, a turn of the event loop later. */
const judgeLater = async (ctx: JoinContext, next: Next): Promise<void> => {
  await new Promise((resolve) => setImmediate(resolve))
  return judge(ctx, next)
}

/** An application that puts a client where it asks to be, and tells a secret to those in a room. */
const careless = (socket: Socket): void => {
  socket.on('join', (room: any, ack: Answer) => {
    void socket.join(room)
    ack('history of the room')
  })
  socket.on('join and wait', async (room: any, ack: Answer) => {
    await socket.join(room)
    ack('history of the room')
  })
  socket.on('leave', (room: string, ack: Answer) => {
    void socket.leave(room)
    ack()
  })
}
const events = ['join', 'join and wait', 'leave']

const rooms = (declare: (gate: Gate) => unknown = (gate) => gate.join('doc:{id}', judge)) => (gate: Gate): void => void declare(gate.event(events))
const roomsOf = (host: Pick<Guarded, 'peer'>): unknown[] => [...host.peer().rooms].filter((room) => room !== host.peer().id)

describe('the room of another socket', () => {
  test.each([{}, { connectionStateRecovery: {} }])('bare: who joins it hears what is meant for that socket alone (%j)', async (options) => {
    const host = await bare(careless, options)
    const victim = await inside(host)
    const victimSocket = host.peer()
    const spy = await inside(host)
    await spy.ask(['join', victimSocket.id])
    host.io.to(victimSocket.id).emit('secret', 'by io.to')
    victimSocket.emit('secret', 'by socket.emit')
    await Promise.all([victim.ask(['ping']), spy.ask(['ping'])])
    const secrets = spy.events().map(([, how]) => how)
    // With recovery a unicast is a broadcast to the room of the socket's own id.
    expect(secrets).toEqual('connectionStateRecovery' in options ? ['by io.to', 'by socket.emit'] : ['by io.to'])
  })

  test('guarded: is refused, whatever the room patterns are; the own one passes, also when it is asked for by name', async () => {
    const host = await guarded(careless, rooms((gate) => gate.join('{anything}', admit)))
    const victim = await inside(host)
    const { id } = host.peer()
    const spy = await inside(host)
    expect(refusalIn(await spy.ask(['join', id])).code).toBe('FORBIDDEN')
    expect(refusalIn(await spy.ask(['join', ['fine', id]])).code).toBe('FORBIDDEN')
    expect(await spy.ask(['join', host.peer().id])).toEqual(['history of the room'])
    host.io.to(id).emit('secret')
    host.io.to(host.peer().id).emit('own')
    await Promise.all([victim.ask(['ping']), spy.ask(['ping'])])
    expect([victim.events(), spy.events()]).toEqual([[['secret']], [['own']]])
    expect(roomsOf(host)).toEqual([])
  })

  test('guarded: not even while its owner is away and may come back by recovery', async () => {
    const host = await guarded(careless, rooms((gate) => gate.join('{anything}', admit).connect(admit)), {}, { connectionStateRecovery: {} })
    const victim = await raw(host)
    const { pid } = await victim.enter()
    const away = host.peer()
    host.io.emit('hello')
    const offset = (JSON.parse((await victim.next('2["hello"')).slice(1)) as string[])[1]
    victim.vanish()
    await until(() => !away.connected)
    const spy = await inside(host)
    await spy.ask(['join', away.id])
    const back = await raw(host)
    expect((await back.enter('/', { pid, offset })).sid).toBe(away.id)
    host.peer().emit('secret', 'by socket.emit')
    host.io.to(away.id).emit('secret', 'by io.to')
    await Promise.all([back.ask(['ping']), spy.ask(['ping'])])
    expect(back.events().map(([name]) => name)).toEqual(['secret', 'secret'])
    expect(spy.events()).toEqual([])
  })
})

describe('a refused join', () => {
  test('bare: a name that a client chose is joined as it is', async () => {
    const host = await bare(careless)
    const client = await inside(host)
    expect(await client.ask(['join', 'doc:closed'])).toEqual(['history of the room'])
    expect(roomsOf(host)).toEqual(['doc:closed'])
  })

  test('guarded: throws at the handler, which goes no further; its ack carries the refusal, with the id of the record', async () => {
    const host = await guarded(careless, rooms())
    const client = await inside(host)
    const answer = await client.ask(['join', 'doc:closed'])
    expect(host.seen.denied.map(({ stage, room, policy }) => [stage, room, policy])).toEqual([['join', 'doc:closed', 'judge'], ['event', undefined, 'handler']])
    expect(refusalIn(answer)).toEqual({ code: 'FORBIDDEN', message: 'This is not allowed.', id: host.seen.denied[1]!.id })
    expect(await client.ask(['join', 'doc:1'])).toEqual(['history of the room'])
    expect(roomsOf(host)).toEqual(['doc:1'])
  })

  test('guarded: rooms that no declaration covers, that span separators or begin like those of the gate are refused', async () => {
    const host = await guarded(careless, rooms((gate) => gate.join('doc:{id}', judge).join('team/{team}/{rest...}', admit)))
    const client = await inside(host)
    for (const room of ['lobby', 'doc:', 'doc:1:secret', 'doc:1/2', 'doc:1\n', `doc:${'x'.repeat(129)}`, 'xdoc:1', 'DOC:1', 'team/a', 'team//b', '', 0, 1.5, null, true, {}, ['doc:1', 'lobby'], ['lobby', 'doc:1'], [['doc:1']].concat(['nope'] as never)]) {
      expect([room, refusalIn(await client.ask(['join', room])).code]).toEqual([room, 'UNKNOWN_ROOM'])
    }
    expect(refusalIn(await client.ask(['join', 'gate:nowhere'])).code).toBe('FORBIDDEN')
    expect(roomsOf(host)).toEqual([])
    for (const room of ['doc:1', 'team/a/b/c:d']) expect(await client.ask(['join', room])).toEqual(['history of the room'])
  })

  test('guarded: one refused room of a call refuses the call', async () => {
    const fates: string[] = []
    const host = await guarded(
      careless,
      rooms((gate) =>
        gate
          .use({ name: 'note', join: (ctx, next) => (ctx.onSettled(({ outcome }) => fates.push(`${ctx.room} ${outcome}`)), next()) })
          .join('doc:{id}', judge),
      ),
    )
    const client = await inside(host)
    expect(refusalIn(await client.ask(['join', ['doc:1', 'doc:closed', 'doc:2']])).code).toBe('FORBIDDEN')
    expect(roomsOf(host)).toEqual([])
    expect(fates).toEqual(['doc:1 refused', 'doc:closed refused'])
    expect(await client.ask(['join', ['doc:1', 'doc:2']])).toEqual(['history of the room'])
    expect(roomsOf(host)).toEqual(['doc:1', 'doc:2'])
    expect(fates.slice(2)).toEqual(['doc:1 handled', 'doc:2 handled'])
  })

  test('guarded: an asynchronous one rejects for who awaits it, and harms nobody who does not', async () => {
    const host = await guarded(careless, rooms((gate) => gate.join('doc:{id}', judgeLater)))
    const client = await inside(host)
    expect(refusalIn(await client.ask(['join and wait', 'doc:closed'])).code).toBe('FORBIDDEN')
    // What an application that does not wait must know: the page of the join stage says so, and coverage() warns.
    expect(await client.ask(['join', 'doc:closed'])).toEqual(['history of the room'])
    await until(() => host.seen.denied.filter(({ stage }) => stage === 'join').length === 2)
    expect(await client.ask(['join and wait', ['doc:1', 'doc:closed']])).toEqual([{ error: expect.objectContaining({ code: 'FORBIDDEN' }) }])
    expect(roomsOf(host)).toEqual([])
    expect(await client.ask(['join and wait', ['doc:1', 'doc:2']])).toEqual(['history of the room'])
    expect(roomsOf(host)).toEqual(['doc:1', 'doc:2'])
    expect(host.seen.denied.flatMap(({ room }) => room ?? [])).toEqual(['doc:closed', 'doc:closed', 'doc:closed'])
    expect(host.gate.coverage().warnings.join()).toContain('asynchronous')
  })

  test('guarded: a client that leaves while its join is decided is in no room afterwards', async () => {
    const [begun, latch] = [new Latch(), new Latch()]
    const fates: unknown[] = []
    const host = await guarded(
      careless,
      rooms((gate) =>
        gate.join('doc:{id}', async (ctx, next) => {
          ctx.onSettled(({ outcome }) => fates.push(outcome))
          begun.open()
          await latch.opened
          return next()
        }),
      ),
    )
    const client = await inside(host)
    client.send('2["join","doc:1",1]')
    await begun.opened
    const socket = host.peer()
    client.vanish()
    await until(() => !socket.connected)
    latch.open()
    await until(() => fates.length > 0)
    expect(fates).toEqual(['unacked'])
    const { adapter } = host.io.of('/')
    expect([[...adapter.rooms.keys()], [...adapter.sids.keys()]]).toEqual([[], []])
  })

  test('guarded: a policy that breaks refuses with INTERNAL, and tells the handler no more', async () => {
    let thrown: Denied | undefined
    const host = await guarded(
      (socket) => {
        socket.on('join', (room: string, ack: Answer) => {
          try {
            void socket.join(room)
          } catch (error) {
            thrown = error as Denied
            throw error
          }
          ack('history')
        })
      },
      (gate) => gate.event('join').join('doc:{id}', () => { throw new Error('connect to db-3 refused') }),
    )
    const answer = await (await inside(host)).ask(['join', 'doc:1'])
    expect(refusalIn(answer).code).toBe('INTERNAL')
    expect(JSON.stringify(answer)).not.toContain('db-3')
    expect(thrown).toMatchObject({ code: 'INTERNAL', id: host.seen.fault[0]!.id })
  })

  test('guarded: in a connection listener it closes that socket with its code', async () => {
    const host = await guarded((socket) => void socket.join('doc:closed'), rooms())
    const client = await inside(host)
    const [, closing] = JSON.parse((await client.next('2["gate:closing"')).slice(1)) as [string, object]
    expect(closing).toMatchObject({ code: 'FORBIDDEN' })
    expect(await client.next('1')).toBe('1')
  })

  test('guarded: after a right was taken the next join is refused, also one of a room that was left', async () => {
    let allowed = true
    const host = await guarded(careless, rooms((gate) => gate.join('doc:{id}', (_, next) => (allowed ? next() : deny('FORBIDDEN')))))
    const client = await inside(host)
    await client.ask(['join', 'doc:1'])
    await client.ask(['leave', 'doc:1'])
    allowed = false
    expect(refusalIn(await client.ask(['join', 'doc:1'])).code).toBe('FORBIDDEN')
    expect(roomsOf(host)).toEqual([])
  })

  test('guarded: the number of rooms is bounded, over calls and within one; rooms a socket is in already cost nothing', async () => {
    const host = await guarded(careless, rooms((gate) => gate.join('doc:{id}', admit).join('late:{id}', judgeLater)), { limits: { maxRooms: 3 } })
    const client = await inside(host)
    const limit = { code: 'FORBIDDEN', details: { limit: 'maxRooms' } }
    expect(refusalIn(await client.ask(['join', ['doc:1', 'doc:2', 'doc:3', 'doc:4']]))).toMatchObject(limit)
    expect(await client.ask(['join', ['doc:1', 'doc:2']])).toEqual(['history of the room'])
    expect(await client.ask(['join', ['doc:1', 'doc:2', 'doc:2', 'doc:3']])).toEqual(['history of the room'])
    expect(refusalIn(await client.ask(['join', 'doc:4']))).toMatchObject(limit)
    expect(await client.ask(['join', 'doc:2'])).toEqual(['history of the room'])
    await client.ask(['leave', 'doc:1'])
    // Two that are decided at the same time, with room for one.
    client.send('270["join and wait","late:1"]', '271["join and wait","late:2"]')
    await until(() => acksOf(client, 70).length + acksOf(client, 71).length === 2)
    expect(refusalIn(acksOf(client, 71)[0]!)).toMatchObject(limit)
    expect(roomsOf(host)).toEqual(['doc:2', 'doc:3', 'late:1'])
  })

  test('guarded: with undeclared rooms allowed and nothing declared, a limit of rooms still holds', async () => {
    const host = await guarded(careless, (gate) => gate, { undeclared: 'allow', limits: { maxRooms: 1 } })
    const client = await inside(host)
    expect(await client.ask(['join', 'a'])).toEqual(['history of the room'])
    expect(refusalIn(await client.ask(['join', 'b'])).code).toBe('FORBIDDEN')
  })
})

describe('joins that no handler of the socket makes', () => {
  const byName = ({ peer }: JoinContext<{ name: string }>, next: Next) => (peer.name === 'mallory' ? deny('FORBIDDEN') : next())
  const named = { name: 'named', connect: (ctx: any, next: (facts: { name: string }) => any) => next({ name: String(ctx.handshake.auth['name']) }) }

  async function crowd(place: { port: number }) {
    const clients = []
    for (const name of ['alice', 'mallory', 'bob']) {
      const client = await raw(place)
      await client.enter('/', { name })
      clients.push(client)
    }
    return clients
  }

  async function hearing(io: { to(room: string): { emit(event: string): unknown } }, clients: Awaited<ReturnType<typeof crowd>>): Promise<boolean[]> {
    io.to('team:1').emit('secret')
    await Promise.all(clients.map((client) => client.ask(['ping'])))
    return clients.map((client) => client.events().some(([name]) => name === 'secret'))
  }

  test.each([
    ['synchronous', byName],
    ['asynchronous', async (ctx: JoinContext<{ name: string }>, next: Next) => (await Promise.resolve(), byName(ctx, next))],
  ])('guarded: io.socketsJoin passes a %s policy for each socket, and goes on after one that is refused', async (_, hook) => {
    const host = await guarded(() => {}, (gate) => gate.use(named).join('team:{id}', hook))
    const clients = await crowd(host)
    host.io.socketsJoin('team:1')
    await until(() => host.seen.denied.length === 1)
    expect(await hearing(host.io, clients)).toEqual([true, false, true])
    expect(host.seen.denied.map(({ stage, peer }) => [stage, peer])).toEqual([['join', { name: 'mallory' }]])
    expect(() => host.io.socketsJoin('undeclared')).not.toThrow()
  })

  test('guarded: io.socketsJoin on another node is decided on the node of the socket', async () => {
    const [first, second] = (await cluster(2, (io) => {
      io.on('connection', (socket) => socket.on('ping', (ack: Answer) => ack('pong')))
      const gate = guard(io, { store: memoryStore({ dangerouslyPerNode: true }) })
      const seen = watch(gate)
      gate.use(named).event('ping').join('team:{id}', byName)
      return { close: () => gate.close(), seen }
    })) as [any, any]
    const clients = await crowd(first)
    second.io.socketsJoin(['team:1', 'team:2'])
    // One more round over Redis: everything before it has arrived.
    const sockets = (await second.io.fetchSockets()) as { rooms: Set<string>; handshake: { auth: { name: string } } }[]
    expect(sockets.map(({ rooms: joined, handshake }) => [handshake.auth.name, joined.has('team:1')])).toEqual([['alice', true], ['mallory', false], ['bob', true]])
    second.io.to('team:1').emit('secret')
    await Promise.all(clients.filter((_, index) => index !== 1).map((client) => client.next('2["secret"')))
    expect(await hearing(first.io, clients)).toEqual([true, false, true])
    expect(first.gate.seen.denied).toHaveLength(1)
    expect(second.gate.seen.denied).toHaveLength(0)
  })

  test('guarded: the adapter itself keeps what is refused out, room by room', async () => {
    const host = await guarded(careless, rooms())
    await inside(host)
    const { adapter } = host.io.of('/')
    const { id } = host.peer()
    void adapter.addAll(id, new Set(['doc:1', 'doc:closed', 'undeclared', 'gate:x', id]))
    void adapter.addAll('nobody', new Set(['doc:1']))
    expect(roomsOf(host)).toEqual(['doc:1'])
    expect(adapter.rooms.get('doc:1')).toEqual(new Set([id]))
    expect(host.seen.denied.map(({ room, code }) => [room, code])).toEqual([['doc:closed', 'FORBIDDEN'], ['undeclared', 'UNKNOWN_ROOM'], ['gate:x', 'FORBIDDEN']])
  })

  test('guarded: an asynchronous policy cannot answer there, and refuses as a fault', async () => {
    const host = await guarded(careless, rooms((gate) => gate.join('doc:{id}', judgeLater)))
    await inside(host)
    void host.io.of('/').adapter.addAll(host.peer().id, new Set(['doc:1']))
    expect(roomsOf(host)).toEqual([])
    expect(host.seen.fault.map(({ error }) => error?.message)).toEqual([expect.stringContaining('use socket.join')])
  })

  test('guarded: joins in io.use are decided as well, and a refused one refuses the client', async () => {
    const joined: unknown[] = []
    const host = await serve((io) => {
      io.use((socket, next) => {
        void socket.join(String(socket.handshake.auth['room']))
        next()
      })
      io.on('connection', (socket) => void joined.push([...socket.rooms].length))
      return guard(io).connect(admit).join('doc:{id}', judge)
    })
    const client = await raw(host)
    expect(await client.enter('/', { room: 'doc:closed' })).toMatchObject({ message: 'FORBIDDEN', data: { code: 'FORBIDDEN' } })
    expect(await (await raw(host)).enter('/', { room: 'doc:1' })).toMatchObject({ sid: expect.any(String) })
    expect(joined).toEqual([2])
    expect([...host.io.of('/').adapter.rooms.keys()].filter((room) => room.startsWith('doc:'))).toEqual(['doc:1'])
  })
})

describe('adapters', () => {
  test('guarded: what the adapter returns from a join is what the caller gets', async () => {
    class Slow extends Adapter {
      override addAll(id: string, names: Set<string>): Promise<void> {
        void super.addAll(id, names)
        return Promise.resolve()
      }
    }
    const host = await guarded(careless, rooms(), {}, { adapter: Slow as never })
    await inside(host)
    const joined = host.peer().join('doc:1')
    expect(joined).toBeInstanceOf(Promise)
    await joined
    expect(roomsOf(host)).toEqual(['doc:1'])
  })

  test('guarded: methods that an adapter has of its own are kept', async () => {
    const calls: string[] = []
    const host = await guarded(careless, rooms(), {}, {
      adapter: function (nsp: any) {
        const adapter = new Adapter(nsp)
        const { addAll, apply } = adapter as unknown as { addAll: any; apply: any }
        Object.assign(adapter, {
          addAll(id: string, names: Set<string>) {
            calls.push('addAll')
            return addAll.call(adapter, id, names)
          },
          apply(...args: unknown[]) {
            calls.push('apply')
            return apply.apply(adapter, args)
          },
        })
        return adapter
      } as never,
    })
    const client = await inside(host)
    await client.ask(['join', 'doc:1'])
    host.io.emit('x')
    expect(calls).toEqual(['addAll', 'addAll', 'apply'])
    expect(refusalIn(await client.ask(['join', 'doc:closed'])).code).toBe('FORBIDDEN')
  })

  test('bare: io.adapter(...) later takes away what was put on the adapter before; guarded: not what the gate has put there', async () => {
    const replace = (io: Server): void => {
      class Other extends Adapter {}
      io.adapter(Other as never)
    }
    const host = await bare(careless)
    const patched: unknown[] = []
    const { adapter } = host.io.of('/')
    const { addAll } = adapter
    adapter.addAll = (id, names) => (patched.push(...names), addAll.call(adapter, id, names))
    replace(host.io)
    await (await inside(host)).ask(['join', 'doc:closed'])
    expect(patched).toEqual([])

    const under = await guarded(careless, (gate) => rooms()(gate.deliver('secret', () => deny('FORBIDDEN'))))
    replace(under.io)
    const client = await inside(under)
    expect(refusalIn(await client.ask(['join', 'doc:closed'])).code).toBe('FORBIDDEN')
    void under.io.of('/').adapter.addAll(under.peer().id, new Set(['doc:closed']))
    under.io.socketsJoin('doc:closed')
    expect(roomsOf(under)).toEqual([])
    under.io.emit('secret')
    await client.ask(['ping'])
    expect(client.events()).toEqual([])
  })

  test('guarded: io.adapter(...) with a cluster adapter before the first client is seen when the gate is sealed', async () => {
    const host = await guarded(careless, rooms())
    host.io.adapter(await redisAdapter('portcullis-late'))
    const client = await raw(host)
    expect(await client.enter()).toMatchObject({ message: 'INTERNAL' })
    expect(host.seen.fault.map(({ error }) => (error?.cause as Error).message)).toEqual([expect.stringContaining('dangerouslyPerNode')])
  })
})

describe('an empty list of rooms', () => {
  const ways: Record<string, (socket: Socket, io: Server) => unknown> = {
    'io.to([])': (_, io) => io.to([]).emit('heard'),
    'io.in([])': (_, io) => io.in([]).emit('heard'),
    'io.local.to([])': (_, io) => io.local.to([]).emit('heard'),
    'io.volatile.to([])': (_, io) => io.volatile.to([]).emit('heard'),
    'io.compress(false).to([])': (_, io) => io.compress(false).to([]).emit('heard'),
    'io.except(x).to([])': (_, io) => io.except('x').to([]).emit('heard'),
    'io.of(x).to([])': (_, io) => io.of('/').to([]).emit('heard'),
    'socket.to([])': (socket) => socket.to([]).emit('heard'),
    'socket.in([])': (socket) => socket.in([]).emit('heard'),
    'socket.broadcast.to([])': (socket) => socket.broadcast.to([]).emit('heard'),
    'io.in([]).disconnectSockets': (_, io) => io.in([]).disconnectSockets(),
    'io.in([]).socketsLeave': (_, io) => io.in([]).socketsLeave('everybody'),
    'io.in([]).socketsJoin': (_, io) => io.in([]).socketsJoin('reached'),
  }
  /** How a way of naming nobody shows at somebody it has reached. */
  const reached = async (socket: Socket, client: Awaited<ReturnType<typeof inside>>): Promise<boolean> => {
    if (socket.connected) await client.ask(['ping'])
    return !socket.connected || !socket.rooms.has('everybody') || socket.rooms.has('reached') || client.events().some(([name]) => name === 'heard')
  }
  const inEverybody = (socket: Socket): void => void socket.join('everybody')

  test.each(Object.entries(ways))('bare: %s reaches everybody', async (_, way) => {
    const host = await bare(inEverybody)
    const client = await inside(host)
    const socket = host.peer()
    await inside(host)
    way(host.peer(), host.io)
    expect(await reached(socket, client)).toBe(true)
  })

  test.each(Object.entries(ways))('guarded: %s reaches nobody, and is reported', async (_, way) => {
    const host = await guarded(inEverybody, (gate) => gate.join('everybody').join('reached'))
    const client = await inside(host)
    const socket = host.peer()
    await inside(host)
    way(host.peer(), host.io)
    expect(await reached(socket, client)).toBe(false)
    expect(host.seen.fault.map(({ stage, namespace, policy, enforced }) => [stage, namespace, policy, enforced])).toEqual([['deliver', '/', 'to([])', true]])
  })

  test('guarded: fetchSockets finds nobody; other rooms named beside an empty list are reached, and no others', async () => {
    const host = await guarded(inEverybody, (gate) => gate.join('everybody').join('few'))
    const [client, other] = [await inside(host), await inside(host)]
    void host.peer().join('few')
    expect(await host.io.in([]).fetchSockets()).toEqual([])
    host.io.to([]).to('few').emit('heard')
    host.io.to('few').to([]).emit('heard')
    await Promise.all([client.ask(['ping']), other.ask(['ping'])])
    expect([client.events(), other.events()]).toEqual([[], [['heard'], ['heard']]])
  })

  test('guarded: except([]) excepts nobody, as in Socket.IO, and no list at all still means everybody', async () => {
    const host = await guarded(() => {})
    const client = await inside(host)
    host.io.except([]).emit('heard')
    host.io.emit('heard')
    host.io.to(undefined as never).emit('heard')
    await client.ask(['ping'])
    expect(client.events()).toEqual([['heard'], ['heard']])
    expect(host.seen.fault).toEqual([])
  })

  test('in observe mode it means everybody, as before the gate, and is reported; the mode is that of the namespace', async () => {
    const host = await guarded(() => {}, (gate) => gate.of('/trial', undefined, { mode: 'observe' }))
    host.io.of('/trial')
    const [client, trial] = [await inside(host), await inside(host, '/trial')]
    host.io.to([]).emit('heard')
    host.io.of('/trial').to([]).emit('heard')
    await trial.next('2/trial,["heard"]')
    await client.ask(['ping'])
    expect(client.events()).toEqual([])
    expect(host.seen.fault.map(({ namespace, enforced }) => [namespace, enforced])).toEqual([['/', true], ['/trial', false]])

    const observing = await guarded(() => {}, undefined, { mode: 'observe' })
    const everybody = await inside(observing)
    observing.io.to([]).emit('heard')
    expect(await everybody.next('2["heard"]')).toBeDefined()
    expect(observing.seen.fault.map(({ enforced }) => enforced)).toEqual([false])
  })

  test('on all children of dynamic namespaces at once as well', async () => {
    const host = await guarded(() => {}, (gate) => gate.of(/^\/d-\d$/).event('ping'))
    const parent = host.io.of(/^\/d-\d$/)
    parent.on('connection', (socket) => socket.on('ping', (ack: Answer) => ack('pong')))
    const client = await inside(host, '/d-1')
    parent.to([]).emit('heard')
    await client.ask(['ping'], '/d-1')
    expect(client.events('/d-1')).toEqual([])
    expect(host.seen.fault).toHaveLength(1)
  })

  test('another server of the same process, which has no gate, is left as it was', async () => {
    await guarded(() => {})
    const host = await bare(() => {})
    const client = await inside(host)
    host.io.to([]).emit('heard')
    await client.ask(['ping'])
    expect(client.events()).toEqual([['heard']])
  })
})

test('guarded: a broadcast reaches those whose join was admitted and nobody else, from the handler that joined as well', async () => {
  const host = await guarded(
    (socket) => {
      socket.on('enter', (room: string, ack: Answer) => {
        void socket.join(room)
        socket.to(room).emit('came', room)
        host.io.to(room).emit('all', room)
        ack()
      })
    },
    (gate) => gate.event('enter').join('doc:{id}', judge),
  )
  const [first, second, third] = [await inside(host), await inside(host), await inside(host)]
  await first.ask(['enter', 'doc:1'])
  await second.ask(['enter', 'doc:1'])
  expect(refusalIn(await third.ask(['enter', 'doc:closed'])).code).toBe('FORBIDDEN')
  const came = heard(host.peer(), 'disconnect')
  third.send('1')
  await came
  expect(first.events()).toEqual([['all', 'doc:1'], ['came', 'doc:1'], ['all', 'doc:1']])
  expect(second.events()).toEqual([['all', 'doc:1']])
  expect(third.events()).toEqual([])
})
