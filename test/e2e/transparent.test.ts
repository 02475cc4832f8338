import { createServer } from 'node:http'
import { describe, expect, test } from '@jest/globals'
import { deny, guard, memoryStore, type Decision, type Gate, type Next } from 'portcullis'
import { Server, type ServerOptions, type Socket } from 'socket.io'
import type { Socket as ClientSocket } from 'socket.io-client'
import msgpack from 'socket.io-msgpack-parser'
import { cluster } from '../support/cluster.ts'
import { ask, client as stock, closeAfterTest, entered, entry, heard, listen, raw, refusal, serve, until, watch, type Host } from '../support/server.ts'

// The same scenario on a bare server and under gates that let everything pass. What is observed must not differ.

type SetUp = (io: Server, index: number) => unknown
type Answer = (...args: any[]) => void

/** One way of running a scenario. */
interface World {
  start(setUp: SetUp, options?: Partial<ServerOptions>): Promise<Host<unknown>>
  nodes(setUp: SetUp): Promise<Host<unknown>[]>
  /** A gate where there is one: for servers that a scenario makes itself. */
  readonly put: (io: Server) => void
}

function world(before: (io: Server) => unknown, after: (io: Server) => unknown): World {
  const both = (setUp: SetUp) => (io: Server, index = 0): void => {
    before(io)
    setUp(io, index)
    after(io)
  }
  return {
    start: (setUp, options) => serve(both(setUp), options),
    nodes: (setUp) => cluster(2, both(setUp)),
    put: (io) => void (before(io), after(io)),
  }
}

const nothing = (): void => {}
const store = memoryStore({ dangerouslyPerNode: true })
const open = (io: Server): Gate => guard(io, { undeclared: 'allow', store })

/** A gate that is asked at every stage, and always agrees; in the same tick or, where it may, a turn of the event loop later. */
function passing(when: 'now' | 'later'): (io: Server) => Gate {
  const now = (_: unknown, next: Next) => next()
  const later = async (_: unknown, next: Next): Promise<void> => {
    await new Promise((resolve) => setImmediate(resolve))
    return next()
  }
  const hook = when === 'now' ? now : later
  // An asynchronous join changes what an application that does not await it sees.
  return (io) => open(io).use({ name: 'pass', request: hook, connect: hook, event: hook, join: now, deliver: (_, next) => next() })
}

const denyLater = async (): Promise<void> => {
  await new Promise((resolve) => setImmediate(resolve))
  deny('RATE_LIMITED')
}
const never = (): Promise<void> => new Promise(() => {})

/** A gate of which every policy says no, or rewrites, and that only observes. */
function refusing(decisions: Decision[]): (io: Server) => Gate {
  return (io) => {
    const gate = guard(io, { mode: 'observe', store, limits: { maxBytes: 10, maxDepth: 3, maxArgs: 1, maxKeys: 1, maxAttachments: 1, maxRooms: 1, maxNamespaces: 1, maxAuthBytes: 1 } })
      .use({ name: 'no', request: () => deny('FORBIDDEN'), connect: () => deny('UNAUTHENTICATED'), event: () => deny('FORBIDDEN'), join: () => deny('FORBIDDEN'), deliver: () => deny('FORBIDDEN') })
      .use({
        name: 'rewrite',
        event: (ctx, next) => {
          ctx.args = ['rewritten']
          return next()
        },
        deliver: (ctx, next) => {
          ctx.data = 'rewritten'
          return next()
        },
      })
      .use({ name: 'broken', event: () => { throw new Error('broken') }, join: () => { throw new Error('broken') }, deliver: () => { throw new Error('broken') } })
      // What is only observed takes no time from those who are let through.
      .use({ name: 'slow', request: denyLater, event: denyLater, join: denyLater })
      .use({ name: 'hangs', request: never, event: never, join: never })
    const seen = watch(gate)
    for (const list of [seen.denied, seen.fault]) {
      list.push = (...items) => decisions.push(...items)
    }
    return gate
  }
}

/** What an application says for a round trip: `ping`. */
const pong = (socket: Socket): void => void socket.on('ping', (...args: any[]) => (args.at(-1) as Answer)('pong'))
const settled = (...clients: ClientSocket[]): Promise<unknown> => Promise.all(clients.map((client) => client.emitWithAck('ping')))

/** Notes the events of clients, each under its own name. */
function notes(clients: Record<string, ClientSocket>): Record<string, unknown[]> {
  const seen: Record<string, unknown[]> = {}
  for (const [name, client] of Object.entries(clients)) {
    const own: unknown[] = (seen[name] = [])
    client.onAny((...event: unknown[]) => own.push(event.filter((part) => typeof part !== 'function')))
  }
  return seen
}

const message = (error: Error): string => error.message

const scenarios: Record<string, (world: World) => Promise<unknown>> = {
  async 'acks, both ways'({ start }) {
    const host = await start((io) => {
      io.on('connection', (socket) => {
        socket.on('none', (ack: Answer) => ack())
        socket.on('several', (a: number, b: object, ack: Answer) => ack(a, b, undefined, null))
        socket.on('twice', (ack: Answer) => (ack(1), ack(2)))
        socket.on('later', async (ack: Answer) => {
          await Promise.resolve()
          ack('later')
        })
        socket.on('back', async (ack: Answer) => {
          const answers: unknown[] = [await socket.emitWithAck('question', 1), await socket.timeout(5_000).emitWithAck('question', 2)]
          answers.push(await socket.timeout(5).emitWithAck('silence').catch(message))
          answers.push(await new Promise((resolve) => socket.timeout(5_000).emit('question', 3, (...args: unknown[]) => resolve(args))))
          ack(answers)
        })
      })
    })
    const client = await entered(host)
    client.on('question', (n: number, ack: Answer) => ack(n * 2))
    const several = new Promise((resolve) => client.emit('several', 1, { two: 2 }, (...args: unknown[]) => resolve(args)))
    return [
      await client.emitWithAck('none'),
      await several,
      await client.emitWithAck('twice'),
      await client.emitWithAck('later'),
      await client.emitWithAck('back'),
      await client.timeout(20).emitWithAck('nobody listens').catch(message),
    ]
  },

  async 'values of every kind, text and binary'({ start }) {
    const host = await start((io) => {
      io.on('connection', (socket) => {
        socket.on('echo', (...args: any[]) => (args.pop() as Answer)(...args))
        socket.on('bytes', (data: Buffer, ack: Answer) => ack(Buffer.isBuffer(data), data.length, { nested: [data.subarray(0, 2)] }))
      })
    })
    const client = await entered(host)
    const echo = (...args: unknown[]): Promise<unknown[]> => new Promise((resolve) => client.emit('echo', ...args, (...back: unknown[]) => resolve(back)))
    return [
      await echo(),
      await echo(0, -1.5, '', 'text', true, null, undefined, [], {}, [[]], { a: { b: [1, { c: null }] } }),
      await echo(new Date(0), NaN, Infinity, { constructor: 'x', toJSON: 1 }),
      await echo(Buffer.from([1, 2, 3]), { file: new Uint8Array([4]), list: [Buffer.alloc(0)] }),
      await new Promise((resolve) => client.emit('bytes', Buffer.from([7, 8, 9]), (...back: unknown[]) => resolve(back))),
      await echo('x'.repeat(100_000)),
      await echo(...Array(20).keys()),
    ]
  },

  async 'rooms and broadcasts'({ start }) {
    const host = await start((io) => {
      io.on('connection', (socket) => {
        pong(socket)
        void socket.join(['all', `own-${String(socket.handshake.auth['name'])}`])
        socket.on('say', (what: string, ack: Answer) => {
          socket.to('all').emit('to', what)
          socket.in(['all', 'own-a']).emit('in', what)
          socket.broadcast.emit('broadcast', what)
          socket.except('own-b').emit('except', what)
          socket.local.emit('local', what)
          socket.compress(false).emit('uncompressed', what)
          socket.send(what, 'message')
          ack()
        })
        socket.on('leave', async (ack: Answer) => {
          await socket.leave('all')
          ack([...socket.rooms].filter((room) => room !== socket.id))
        })
      })
    })
    const clients = { a: await entered(host, { auth: { name: 'a' } }), b: await entered(host, { auth: { name: 'b' } }), c: await entered(host, { auth: { name: 'c' } }) }
    const seen = notes(clients)
    await clients.a.emitWithAck('say', 'hello')
    host.io.emit('everybody', 1)
    host.io.to('own-a').to('own-b').emit('two', 2)
    host.io.in('all').except(['own-c']).emit('some', 3)
    host.io.except('all').emit('nobody')
    host.io.local.to('all').emit('here', 4)
    await settled(...Object.values(clients))
    host.io.volatile.emit('volatile', 5)
    host.io.compress(true).emit('compressed', 6)
    host.io.send('server message')
    host.io.of('/').write('another')
    await settled(...Object.values(clients))
    const left = await clients.b.emitWithAck('leave')
    host.io.to('all').emit('after')
    const answers: unknown = await host.io.timeout(20).to('own-a').emitWithAck('unanswered').catch((error: Error & { responses: unknown }) => [error.message, error.responses])
    await settled(...Object.values(clients))
    return { seen, left, answers }
  },

  async 'broadcasts with acks'({ start }) {
    const host = await start((io) => void io.on('connection', pong))
    const clients = [await entered(host), await entered(host)]
    clients.forEach((client, index) => client.on('question', (n: number, ack: Answer) => ack(n + index)))
    return [
      ((await host.io.timeout(5_000).emitWithAck('question', 10)) as number[]).sort(),
      await new Promise((resolve) => host.io.timeout(5_000).emit('question', 20, (error: unknown, answers: number[]) => resolve([error, answers.sort()]))),
      await host.io.to('nowhere').timeout(5_000).emitWithAck('question', 30),
    ]
  },

  async 'fetchSockets, socketsJoin, socketsLeave, disconnectSockets'({ start }) {
    const host = await start((io) => {
      io.on('connection', (socket) => {
        pong(socket)
        socket.data.name = socket.handshake.auth['name']
        void socket.join(socket.data.name === 'a' ? 'first' : 'second')
      })
    })
    const clients = { a: await entered(host, { auth: { name: 'a' } }), b: await entered(host, { auth: { name: 'b' } }) }
    const seen = notes(clients)
    const fetched = async (): Promise<unknown> => (await host.io.fetchSockets()).map(({ id, data, rooms, handshake }) => [data, [...rooms].filter((room) => room !== id), handshake.auth]).sort()
    const results: unknown[] = [await fetched()]
    host.io.in('first').socketsJoin(['joined', 'also'])
    host.io.socketsJoin('all')
    results.push(await fetched())
    host.io.to('joined').emit('for the joined')
    host.io.in('first').socketsLeave(['also', 'first'])
    results.push(await fetched())
    for (const socket of await host.io.in('joined').fetchSockets()) socket.emit('by the list')
    await settled(...Object.values(clients))
    const reasons = Promise.all(Object.values(clients).map((client) => heard(client, 'disconnect')))
    host.io.in('joined').disconnectSockets()
    host.io.in('second').disconnectSockets(true)
    results.push((await reasons).map(([reason]) => reason), await fetched(), seen)
    return results
  },

  async 'namespaces, static and dynamic'({ start }) {
    const order: string[] = []
    const host = await start((io) => {
      io.on('new_namespace', ({ name }) => order.push(`new ${name}`))
      io.of('/static').use((_, next) => (order.push('static'), next())).on('connection', (socket) => pong(socket))
      io.of(/^\/dynamic-\d+$/)
        .use((socket, next) => (order.push(`dynamic ${socket.nsp.name}`), next()))
        .on('connection', (socket) => {
          pong(socket)
          socket.emit('hello', socket.nsp.name)
          socket.nsp.emit('all of', socket.nsp.name)
        })
      io.of((name, auth, next) => (order.push(`function ${name}`), next(null, auth['token'] === 'ok'))).on('connection', (socket) => pong(socket))
    })
    const main = await entered(host)
    const seen = notes({ main })
    const dynamic = stock(host, { namespace: '/dynamic-1' })
    Object.assign(seen, notes({ dynamic }))
    await entry(dynamic)
    const others = [await entered(host, { namespace: '/static' }), await entered(host, { namespace: '/by-function', auth: { token: 'ok' } }), await entered(host, { namespace: '/dynamic-1' })]
    const refused = [await refusal(stock(host, { namespace: '/nowhere' })), await refusal(stock(host, { namespace: '/by-function-2', auth: { token: 'no' } })), await refusal(stock(host, { namespace: '/dynamic-x' }))].map(({ message: text, data }) => [text, data])
    host.io.of(/^\/dynamic-\d+$/).emit('from the parent', 1)
    await settled(dynamic, ...others)
    return { order, seen, refused, names: [...host.io._nsps.keys()].sort() }
  },

  async 'the order of middleware, and what it refuses'({ start }) {
    const order: unknown[] = []
    const host = await start((io) => {
      io.use((socket, next) => {
        order.push('first', socket.connected)
        setImmediate(next)
      })
      io.use((socket, next) => {
        order.push('second')
        const { refuse } = socket.handshake.auth
        next(refuse === undefined ? undefined : Object.assign(new Error(String(refuse)), refuse === 'with data' ? { data: { code: 42 } } : {}))
      })
      io.on('connect', () => order.push('connect'))
      io.on('connection', (socket) => {
        order.push('connection', socket.connected)
        socket.onAny((...event) => order.push(['onAny', event.length, event[0]]))
        socket.use((event, next) => {
          order.push(['use', event[0]])
          if (event[0] === 'blocked') return next(new Error('blocked'))
          if (event[0] === 'renamed') event[0] = 'target'
          if (typeof event[1] === 'string') event[1] = `${event[1]}!`
          next()
        })
        socket.on('error', (error: Error) => order.push(['error', error.message]))
        socket.on('target', (what: unknown, ack?: Answer) => (order.push(['target', what]), ack?.(what)))
        socket.once('once', () => order.push('once'))
        socket.prependListener('once', () => order.push('before once'))
        socket.on('disconnecting', (reason) => order.push(['disconnecting', reason, socket.rooms.size]))
        socket.on('disconnect', (reason) => order.push(['disconnect', reason, socket.rooms.size]))
        pong(socket)
      })
    })
    const client = await entered(host)
    const refused = [await refusal(stock(host, { auth: { refuse: 'plain' } })), await refusal(stock(host, { auth: { refuse: 'with data' } }))].map(({ message: text, data }) => [text, data])
    // One at a time: how the steps of several interleave is nobody's promise.
    const step = (name: string, done: () => boolean): Promise<void> => (client.emit(name), until(done))
    await step('blocked', () => order.some((each) => Array.isArray(each) && each[0] === 'error'))
    await step('once', () => order.includes('once'))
    await step('once', () => order.filter((each) => each === 'before once').length === 2)
    const renamed = await client.emitWithAck('renamed', 'text')
    await settled(client)
    client.disconnect()
    await until(() => order.some((each) => Array.isArray(each) && each[0] === 'disconnect'))
    return { order, refused, renamed }
  },

  async 'the handshake'({ start }) {
    const host = await start((io) => {
      io.on('connection', (socket) => {
        socket.on('who', (ack: Answer) => {
          const { headers, time, issued, address, xdomain, secure, url, query, auth } = socket.handshake
          ack({ agent: headers['x-agent'], time: typeof time, issued: typeof issued, address, xdomain, secure, path: url.split('?')[0], query: { ...query, t: undefined }, auth, transport: socket.conn.transport.name, rooms: socket.rooms.size, recovered: socket.recovered })
        })
      })
    }, { path: '/custom/', cors: { origin: 'https://app.example' } })
    const options = { path: '/custom/', auth: { token: 'x', nested: { a: [1] } }, query: { q: '1' }, extraHeaders: { 'x-agent': 'test', origin: 'https://app.example' } }
    const client = await entered(host, options)
    const polling = await entered(host, { ...options, transports: ['polling'] })
    return [await client.emitWithAck('who'), await polling.emitWithAck('who')]
  },

  async 'polling, and the upgrade from it'({ start }) {
    const requests: string[] = []
    const host = await start((io) => {
      io.on('connection', pong)
      io.engine.use((request: any, _: unknown, next: () => void) => (requests.push(`${request.method} ${request._query.transport}`), next()))
      io.engine.on('headers', (headers: Record<string, string>) => (headers['x-own'] = 'yes'))
    }, { cors: { origin: 'https://app.example', credentials: true } })
    const { headers, status } = await ask(host, { transport: 'polling' }, { headers: { origin: 'https://app.example' } })
    const client = stock(host, { transports: ['polling', 'websocket'] })
    await entry(client)
    await until(() => client.io.engine.transport.name === 'websocket')
    await settled(client)
    return { status, headers: [headers['access-control-allow-origin'], headers['access-control-allow-credentials'], headers['x-own'], headers['content-type']], transport: client.io.engine.transport.name, methods: [...new Set(requests)].sort(), count: host.io.engine.clientsCount }
  },

  async 'requests that the engine or the application refuses'({ start }) {
    const host = await start(nothing, { allowRequest: (request, done) => done(request.headers['x-refuse'] === undefined ? null : 'not today', request.headers['x-refuse'] === undefined) })
    const answers = [await ask(host, { transport: 'polling' }, { headers: { 'x-refuse': '1' } }), await ask(host, { transport: 'nothing' }), await ask(host, { transport: 'polling', sid: 'unknown' }), await ask(host, { transport: 'polling' }, { method: 'PUT' })]
    return answers.map(({ status, body }) => [status, body])
  },

  async 'recovery of a connection'({ start }) {
    const results: unknown[] = []
    for (const skipMiddlewares of [true, false]) {
      const used: string[] = []
      const host = await start((io) => {
        io.use((socket, next) => (used.push(socket.recovered ? 'again' : 'first'), next()))
        io.on('connection', (socket) => {
          used.push(`connection ${socket.recovered} ${JSON.stringify(socket.data)} ${[...socket.rooms].filter((room) => room !== socket.id).join()}`)
          if (socket.recovered) return
          socket.data.count = 1
          void socket.join('room')
        })
      }, { connectionStateRecovery: { skipMiddlewares } })
      const lost = await raw(host)
      const { sid, pid } = await lost.enter()
      host.io.emit('before')
      const offset = (JSON.parse((await lost.next('2["before"')).slice(1)) as string[]).at(-1)
      const socket = host.io.sockets.sockets.get(sid)!
      lost.vanish()
      await until(() => !socket.connected)
      host.io.to('room').emit('missed', 1, { two: 2 })
      host.io.volatile.emit('volatile')
      host.io.to('other').emit('not for it')
      const back = await raw(host)
      const again = await back.enter('/', { pid, offset })
      host.io.to('room').emit('live')
      await back.next('2["live"')
      const stranger = await raw(host)
      const fresh = await stranger.enter('/', { pid: 'unknown', offset })
      results.push({ used, same: [again.sid === sid, again.pid === pid, fresh.sid === sid], received: back.received.map((packet) => packet.replace(/"(?:sid|pid)":"[^"]*"/g, '').replace(/,"[\w.-]{7,}"\]/, ']')) })
    }
    return results
  },

  async 'the msgpack parser'({ start }) {
    const host = await start((io) => {
      io.on('connection', (socket) => {
        pong(socket)
        socket.on('echo', (...args: any[]) => (args.pop() as Answer)(...args))
        void socket.join('room')
        socket.emit('hello', { bytes: Buffer.from([1]), date: new Date(0), n: 1.5 })
      })
    }, { parser: msgpack })
    const client = stock(host, { parser: msgpack })
    const seen = notes({ client })
    await entry(client)
    const echoed = await new Promise((resolve) => client.emit('echo', 1, 'a', [new Date(5)], Buffer.from([1, 2]), { a: null }, (...back: unknown[]) => resolve(back)))
    host.io.to('room').emit('room', [1, { a: Buffer.from([3]) }])
    await settled(client)
    return { echoed, seen }
  },

  async 'a server that is attached later, and to two ports'({ put }) {
    const io = new Server({ serveClient: false })
    put(io)
    io.on('connection', pong)
    const results: unknown[] = []
    for (let n = 0; n < 2; n++) {
      const http = createServer()
      io.attach(http)
      const port = await listen(http)
      closeAfterTest(() => void http.close())
      results.push(await (await entered({ url: `http://127.0.0.1:${port}` })).emitWithAck('ping'))
    }
    closeAfterTest(() => io.close())
    return [results, io.sockets.sockets.size]
  },

  async 'the end: by the client, by the server, by io.close'({ start }) {
    const reasons: unknown[] = []
    const host = await start((io) => {
      io.of('/other')
      io.on('connection', (socket) => {
        pong(socket)
        const name: unknown = socket.handshake.auth['name']
        socket.on('disconnect', (reason) => reasons.push([name, reason]))
        socket.on('leave', (close: boolean) => socket.disconnect(close))
      })
    })
    const clients = await Promise.all(['by itself', 'soft', 'hard', 'vanishes', 'stays'].map((name) => entered(host, { auth: { name } })))
    const told: unknown[] = []
    clients.forEach((client) => client.on('disconnect', (reason) => told.push([(client.auth as { name: string }).name, reason])))
    clients[0]!.disconnect()
    clients[1]!.emit('leave', false)
    clients[2]!.emit('leave', true)
    ;(clients[3]!.io.engine as any).transport.ws._socket?.destroy()
    await until(() => reasons.length === 4 && told.length === 4)
    await settled(clients[4]!)
    const sockets = host.io.sockets.sockets.size
    await new Promise<void>((resolve, reject) => void host.io.close((error) => (error ? reject(error) : resolve())))
    await until(() => told.length === 5)
    return { reasons: reasons.sort(), told: told.sort(), sockets, listening: host.http.listening, refused: await ask(host, { transport: 'polling' }).then(() => 'answered', () => 'refused') }
  },

  async 'events and errors of the emitters'({ start }) {
    const seen: unknown[] = []
    const host = await start((io) => {
      for (const name of ['create-room', 'join-room', 'leave-room', 'delete-room']) io.of('/').adapter.on(name, (room: string) => (room.length === 20 ? undefined : seen.push([name, room])))
      io.on('connection', (socket) => {
        pong(socket)
        socket.onAnyOutgoing((...event) => seen.push(['out', ...event]))
        void socket.join('a')
        void socket.join(['a', 'b'])
        void socket.leave('b')
        for (const name of ['connect', 'disconnect', 'disconnecting', 'newListener', 'connect_error']) {
          try {
            socket.emit(name)
          } catch (error) {
            seen.push((error as Error).message)
          }
        }
        socket.on('7', (what: unknown) => seen.push(['number', what]))
        socket.on('error', (what: unknown) => seen.push(['error', what]))
        socket.emit('out', 1)
        io.emit('out', 2)
        seen.push([socket.listeners('ping').length, socket.eventNames().length, socket.listenersAny().length])
      })
    })
    const client = await raw(host)
    await client.enter()
    client.send('2[7,"x"]', '2["error","y"]')
    await client.ask(['ping'])
    client.send('1')
    await until(() => seen.some((each) => Array.isArray(each) && each[0] === 'delete-room' && each[1] === 'a'))
    return [seen, client.events()]
  },

  async 'several nodes: broadcasts, serverSideEmit and what is known of remote sockets'({ nodes }) {
    const said: unknown[] = []
    const [first, second] = (await nodes((io, index) => {
      io.on('connection', (socket) => {
        pong(socket)
        socket.data = { node: index }
        void socket.join('room')
        socket.on('question', (n: number, ack: Answer) => ack(n))
      })
      io.on('hello', (...args: any[]) => {
        const last: unknown = args.at(-1)
        said.push([index, ...args.filter((arg) => typeof arg !== 'function')])
        if (typeof last === 'function') (last as Answer)(`from ${index}`)
      })
    })) as [Host<unknown>, Host<unknown>]
    const clients = { one: await entered(first), two: await entered(second) }
    for (const client of Object.values(clients)) client.on('question', (n: number, ack: Answer) => ack(n * 2))
    const seen = notes(clients)
    const fetched = (await first.io.fetchSockets()).map(({ data, rooms }) => [data, rooms.size]).sort()
    first.io.serverSideEmit('hello', { a: 1 })
    const answered = await second.io.serverSideEmitWithAck('hello', 'with an ack')
    const both = ((await first.io.timeout(500).emitWithAck('question', 21)) as number[]).sort()
    second.io.socketsJoin('joined')
    await second.io.fetchSockets()
    first.io.to('joined').emit('to all')
    first.io.local.emit('only here')
    await until(() => seen['two']!.some((event) => (event as string[])[0] === 'to all') && seen['one']!.some((event) => (event as string[])[0] === 'only here'))
    await settled(...Object.values(clients))
    first.io.disconnectSockets(true)
    await Promise.all(Object.values(clients).filter(({ connected }) => connected).map((client) => heard(client, 'disconnect')))
    return { fetched, answered, both, seen, said: said.sort() }
  },
}

describe.each(Object.entries(scenarios))('%s', (_, scenario) => {
  const bare = world(nothing, nothing)
  let expected: unknown

  test('happens on a bare server', async () => {
    expected = await scenario(bare)
    expect(expected).toBeDefined()
  })

  test('is the same under a gate that allows everything, declared after the application', async () => {
    expect(await scenario(world(nothing, open))).toEqual(expected)
  })

  test('is the same under a gate that allows everything, declared before it', async () => {
    expect(await scenario(world(open, nothing))).toEqual(expected)
  })

  test.each(['now', 'later'] as const)('is the same under a gate that is asked at all five stages and agrees %s', async (when) => {
    expect(await scenario(world(nothing, passing(when)))).toEqual(expected)
  })

  test('is the same under a gate that would refuse everything and only observes; every refusal is reported', async () => {
    const decisions: Decision[] = []
    expect(await scenario(world(nothing, refusing(decisions)))).toEqual(expected)
    expect(decisions.length).toBeGreaterThan(0)
    // What does not exist is refused by Socket.IO itself, and some by the application's own middleware.
    expect(decisions.filter(({ enforced, code, policy }) => enforced && code !== 'UNKNOWN_NAMESPACE' && policy !== 'socket.use').map(({ stage, policy, code }) => [stage, policy, code])).toEqual([])
  })
})
