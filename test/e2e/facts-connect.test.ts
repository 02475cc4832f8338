import { describe, expect, test } from '@jest/globals'
import type { Server, Socket } from 'socket.io'
import { deny, guard, type ConnectContext, type Fate, type Next } from 'portcullis'
import { testClock } from 'portcullis/testing'
import { client, connectPacket, entered, eventPacket, heard, Latch, polling, raw, refusal, serve, until, watch, type Host, type RawClient } from '../support/server.ts'

// Facts of section 3.

const admit = (_ctx: unknown, next: Next) => next()

/** What a server keeps for the sockets of a namespace. */
function traces(io: Server, name = '/'): { sockets: number; pending: number; sids: number; rooms: number } {
  const { sockets, _preConnectSockets, adapter } = io._nsps.get(name) as unknown as { sockets: Map<string, unknown>; _preConnectSockets: Map<string, unknown>; adapter: { sids: Map<string, unknown>; rooms: Map<string, unknown> } }
  return { sockets: sockets.size, pending: _preConnectSockets.size, sids: adapter.sids.size, rooms: adapter.rooms.size }
}

const NOTHING = { sockets: 0, pending: 0, sids: 0, rooms: 0 }
const closed = (host: Host<unknown>) => until(() => host.io.engine.clientsCount === 0)
const fifty = (packet: string) => Array.from({ length: 50 }, () => packet)

describe('a burst of CONNECT packets (fact 3.4)', () => {
  /** An application whose middleware waits, and that answers `ping`. */
  function slow(io: Server, latch: Latch): { asked: number; connections: number } {
    const seen = { asked: 0, connections: 0 }
    io.use((_socket, next) => {
      seen.asked++
      void latch.opened.then(() => next())
    })
    io.on('connection', (socket) => {
      seen.connections++
      socket.on('ping', (ack) => ack('pong'))
    })
    return seen
  }

  async function burst(host: Host<unknown>, seen: () => number, latch: Latch): Promise<RawClient> {
    const socket = await raw(host)
    socket.send(...fifty(connectPacket()))
    await until(() => seen() > 0)
    // Taken in after the burst, as it stands behind it on the same connection.
    await socket.enter('/other')
    latch.open()
    await socket.entry()
    return socket
  }

  test('a bare server makes as many sockets, asks its middleware for each, and delivers a broadcast to each', async () => {
    const latch = new Latch()
    const host = await serve((io) => (io.of('/other'), slow(io, latch)))
    const socket = await burst(host, () => host.gate.asked, latch)
    await until(() => host.gate.connections === 50)
    expect(host.gate.asked).toBe(50)
    expect(traces(host.io).sockets).toBe(50)
    host.io.emit('news')
    await socket.ask(['ping'])
    expect(socket.events()).toHaveLength(50)
  })

  test('under the gate one is decided, and the middleware of the application asked once', async () => {
    const latch = new Latch()
    let seen = { asked: 0, connections: 0 }
    const host = await serve((io) => {
      io.of('/other')
      seen = slow(io, latch)
      return guard(io, { undeclared: 'allow' })
    })
    const socket = await burst(host, () => seen.asked, latch)
    host.io.emit('news')
    await socket.ask(['ping'])
    expect(seen).toEqual({ asked: 1, connections: 1 })
    expect(traces(host.io)).toEqual({ sockets: 1, pending: 0, sids: 1, rooms: 1 })
    expect(socket.events()).toEqual([['news']])
    expect(socket.received.filter((packet) => packet.startsWith('0{'))).toHaveLength(1)
  })

  test('an asynchronous connect hook is asked once, also for packets of one POST', async () => {
    const latch = new Latch()
    let asked = 0
    const host = await serve((io) => guard(io).connect(async (_ctx, next) => {
      asked++
      await latch.opened
      await next()
    }))
    const session = await polling(host)
    expect((await session.post(fifty(connectPacket()))).status).toBe(200)
    latch.open()
    const { body } = await session.poll()
    expect(body.split('\u001e')).toEqual([expect.stringMatching(/^40\{"sid"/)])
    expect(asked).toBe(1)
    expect(traces(host.io).sockets).toBe(1)
  })

  test('what is pending in one namespace does not hold up another', async () => {
    const latch = new Latch()
    const host = await serve((io) => {
      const gate = guard(io)
      io.of('/a')
      io.of('/b')
      gate.of('/a').connect(async (_ctx, next) => {
        await latch.opened
        await next()
      })
      gate.of('/b')
      return gate
    })
    const socket = await raw(host)
    socket.send(connectPacket('/a'))
    expect(await socket.enter('/b')).toHaveProperty('sid')
    latch.open()
    expect(await socket.entry('/a')).toHaveProperty('sid')
  })

  test('after a refusal the same connection may ask again', async () => {
    const host = await serve((io) => guard(io).connect(async (ctx, next) => {
      await new Promise(setImmediate)
      if (ctx.handshake.auth['token'] !== 'good') deny('UNAUTHENTICATED')
      await next()
    }))
    const socket = await raw(host)
    for (const token of ['bad', 'worse']) expect(await socket.enter('/', { token })).toMatchObject({ message: 'UNAUTHENTICATED' })
    expect(await socket.enter('/', { token: 'good' })).toHaveProperty('sid')
  })

  /** Two CONNECT packets whose dynamic namespace is looked up at leisure: the second look-up ends when the first client is in. */
  async function twoLookUps(host: Host<unknown>, lookUps: (() => void)[]): Promise<RawClient> {
    const socket = await raw(host)
    socket.send(connectPacket('/tenant'), connectPacket('/tenant'))
    await until(() => lookUps.length === 2)
    lookUps[0]!()
    await socket.entry('/tenant')
    lookUps[1]!()
    await socket.ask(['ping'], '/tenant')
    return socket
  }

  const dynamic = (lookUps: (() => void)[]) => (io: Server) =>
    void io.of((_name, _auth, next) => lookUps.push(() => next(null, true))).on('connection', (socket: Socket) => socket.on('ping', (ack) => ack()))

  test('a bare server lets a client in twice when its function of dynamic namespaces is asynchronous', async () => {
    const lookUps: (() => void)[] = []
    const host = await serve(dynamic(lookUps))
    await twoLookUps(host, lookUps)
    await until(() => traces(host.io, '/tenant').sockets === 2)
  })

  test('the gate lets it in once', async () => {
    const lookUps: (() => void)[] = []
    const host = await serve((io) => {
      dynamic(lookUps)(io)
      return guard(io, { undeclared: 'allow' })
    })
    const socket = await twoLookUps(host, lookUps)
    await socket.ask(['ping'], '/tenant')
    expect(traces(host.io, '/tenant').sockets).toBe(1)
    expect(socket.received.filter((packet) => packet.startsWith('0/tenant,'))).toHaveLength(1)
  })
})

describe('clients that vanish before they have entered (fact 3.1)', () => {
  const endless = (io: Server) => {
    let asked = 0
    const waiting: (() => void)[] = []
    io.use((socket, next) => {
      asked++
      waiting.push(next)
      void socket.join('users')
    })
    return { asked: () => asked, waiting }
  }

  async function twentyVanish(host: Host<unknown>, asked: () => number): Promise<void> {
    const clients = await Promise.all(Array.from({ length: 20 }, () => raw(host)))
    for (const socket of clients) socket.send(connectPacket())
    await until(() => asked() === 20)
    clients.forEach((socket, index) => (index % 2 === 0 ? socket.vanish() : socket.close()))
    await closed(host)
  }

  test('a bare server keeps each of them for ever, rooms included, while its middleware does not answer', async () => {
    const host = await serve(endless)
    await twentyVanish(host, host.gate.asked)
    expect(traces(host.io)).toEqual({ sockets: 0, pending: 20, sids: 20, rooms: 1 })
  })

  test('under the gate nothing of them is left, and an answer that comes later changes nothing', async () => {
    let app!: ReturnType<typeof endless>
    let connections = 0
    const host = await serve((io) => {
      app = endless(io)
      io.on('connection', () => connections++)
      return guard(io, { undeclared: 'allow' })
    })
    await twentyVanish(host, app.asked)
    expect(traces(host.io)).toEqual(NOTHING)
    for (const next of app.waiting) next()
    const honest = raw(host)
    await honest.then((socket) => socket.send(connectPacket()))
    await until(() => app.asked() === 21)
    app.waiting.at(-1)!()
    await (await honest).entry()
    expect(connections).toBe(1)
    expect(traces(host.io).sockets).toBe(1)
  })

  test('during a connect policy no socket exists at all; the policy hears once that they are gone', async () => {
    const latch = new Latch()
    const fates: Fate[] = []
    let asked = 0
    let closers = 0
    let connections = 0
    const host = await serve((io) => {
      io.on('connection', () => connections++)
      return guard(io).connect(async (ctx, next) => {
        asked++
        ctx.onClose(() => closers++)
        ctx.onSettled((fate) => fates.push(fate))
        await latch.opened
        await next()
      })
    })
    const seen = watch(host.gate)
    await twentyVanish(host, () => asked)
    expect(traces(host.io)).toEqual(NOTHING)
    expect(closers).toBe(20)
    latch.open()
    const honest = await raw(host)
    await honest.enter()
    expect(connections).toBe(1)
    expect(fates.filter(({ outcome }) => outcome === 'unacked')).toHaveLength(20)
    expect(seen.admitted.filter(({ stage }) => stage === 'connect')).toHaveLength(1)
    expect(closers).toBe(20)
    honest.close()
    await closed(host)
    expect(closers).toBe(21)
    expect(traces(host.io)).toEqual(NOTHING)
  })

  test.each([
    ['an EVENT', eventPacket(['ping'])],
    ['a DISCONNECT', '1'],
    ['an ACK', '30[]'],
    ['no Socket.IO packet', 'x'],
  ])('a client that sends %s while its CONNECT is pending is cut off, as by Socket.IO, and leaves nothing', async (_what, packet) => {
    const latch = new Latch()
    let asked = 0
    const host = await serve((io) => guard(io).connect(async (_ctx, next) => {
      asked++
      await latch.opened
      await next()
    }))
    const socket = await raw(host)
    socket.send(connectPacket())
    await until(() => asked === 1)
    socket.send(packet)
    await socket.closed
    latch.open()
    await closed(host)
    await (await raw(host)).enter()
    expect(traces(host.io).sockets).toBe(1)
  })

  test('a decision that never comes is refused at its deadline, and is no longer in the way', async () => {
    const clock = testClock()
    let asked = 0
    const host = await serve((io) => guard(io, { clock, deadlineMs: 5_000, limits: { maxPendingConnects: 1 } }).connect(async (_ctx, next) => {
      if (asked++ === 0) await new Promise(() => {})
      await next()
    }))
    const { fault } = watch(host.gate)
    const socket = await raw(host)
    socket.send(connectPacket())
    await until(() => asked === 1)
    clock.advance(4_999)
    expect(await (await raw(host)).enter()).toMatchObject({ message: 'OVERLOADED' })
    clock.advance(1)
    expect(await socket.entry()).toMatchObject({ message: 'DEADLINE_EXCEEDED' })
    expect(fault.map(({ code }) => code)).toEqual(['DEADLINE_EXCEEDED'])
    expect(traces(host.io)).toEqual(NOTHING)
    expect(await socket.enter()).toHaveProperty('sid')
  })

  test('a server that closes while decisions are pending leaves nothing either', async () => {
    const latch = new Latch()
    let asked = 0
    let closers = 0
    const host = await serve((io) => guard(io).connect(async (ctx, next) => {
      asked++
      ctx.onClose(() => closers++)
      await latch.opened
      await next()
    }))
    const socket = await raw(host)
    socket.send(connectPacket())
    await until(() => asked === 1)
    await host.io.close()
    await socket.closed
    await until(() => closers === 1)
    latch.open()
    await new Promise(setImmediate)
    expect(traces(host.io)).toEqual(NOTHING)
  })

  test('a place among the pending is free again when its client vanishes, is refused, or enters', async () => {
    const decisions: Latch<'enter' | 'refuse'>[] = []
    const host = await serve((io) => guard(io, { limits: { maxPendingConnects: 1 } }).connect(async (_ctx, next) => {
      const decision = new Latch<'enter' | 'refuse'>()
      decisions.push(decision)
      if ((await decision.opened) === 'refuse') deny('FORBIDDEN')
      await next()
    }))
    const pending = async (n: number) => {
      const socket = await raw(host)
      socket.send(connectPacket())
      await until(() => decisions.length === n)
      expect(await (await raw(host)).enter()).toMatchObject({ message: 'OVERLOADED' })
      return socket
    }
    const first = await pending(1)
    const before = host.io.engine.clientsCount
    first.vanish()
    await until(() => host.io.engine.clientsCount < before)
    const second = await pending(2)
    decisions[1]!.open('refuse')
    expect(await second.entry()).toMatchObject({ message: 'FORBIDDEN' })
    const third = await pending(3)
    decisions[2]!.open('enter')
    expect(await third.entry()).toHaveProperty('sid')
    expect(decisions).toHaveLength(3)
  })
})

describe('middleware and listeners of the application', () => {
  test('a bare server counts each next of a middleware: two connections for one client', async () => {
    let connections = 0
    const host = await serve((io) => void io.use((_socket, next) => (next(), next())).on('connection', () => connections++))
    await entered(host)
    await until(() => connections === 2)
  })

  test('under the gate one next counts', async () => {
    let connections = 0
    const host = await serve((io) => {
      io.use((_socket, next) => (next(), next()))
      io.on('connection', (socket) => {
        connections++
        socket.on('ping', (ack) => ack())
      })
      return guard(io, { undeclared: 'allow' })
    })
    await (await entered(host)).emitWithAck('ping')
    expect(connections).toBe(1)
  })

  test('a middleware that fails after it went on lets the client in, and is a fault', async () => {
    const host = await serve((io) => {
      io.use((_socket, next): any => {
        next()
        return Promise.reject(new Error('statistics are down'))
      })
      return guard(io, { undeclared: 'allow' })
    })
    const { fault, denied } = watch(host.gate)
    await entered(host)
    await until(() => fault.length === 1)
    expect((fault[0]!.error?.cause as Error).message).toBe('statistics are down')
    expect(denied).toEqual([])
  })

  test('a refusal of its own middleware reaches the client as in Socket.IO, deny as a refusal of the gate', async () => {
    const host = await serve((io) => {
      io.of('/own').use((_socket, next) => next(Object.assign(new Error('closed on sundays'), { data: { opens: 'monday' } })))
      io.of('/denied').use(() => deny('FORBIDDEN', { day: 'sunday' }))
      return guard(io, { undeclared: 'allow' })
    })
    expect(await refusal(client(host, { namespace: '/own' }))).toMatchObject({ message: 'closed on sundays', data: { opens: 'monday' } })
    expect(await refusal(client(host, { namespace: '/denied' }))).toMatchObject({ message: 'FORBIDDEN', data: { code: 'FORBIDDEN', details: { day: 'sunday' }, id: expect.any(String) } })
    expect([traces(host.io, '/own'), traces(host.io, '/denied')]).toEqual([NOTHING, NOTHING])
  })

  test('a connection listener that fails closes its own socket only, and the later ones still run for others', async () => {
    const host = await serve((io) => {
      io.on('connection', (socket) => {
        if (socket.handshake.auth['broken'] === true) throw new Error('broken listener')
      })
      io.on('connection', (socket) => socket.on('ping', (ack) => ack('pong')))
      return guard(io, { undeclared: 'allow' })
    })
    const { fault } = watch(host.gate)
    const honest = await entered(host)
    expect((await heard(client(host, { auth: { broken: true } }), 'disconnect'))[0]).toBe('io server disconnect')
    expect(await honest.emitWithAck('ping')).toBe('pong')
    expect(fault.map(({ policy, stage }) => [stage, policy])).toEqual([['connect', 'connection listener']])
    expect(traces(host.io).sockets).toBe(1)
  })

  test('a connect policy that breaks says nothing of itself, and leaves nothing', async () => {
    const host = await serve((io) => guard(io).connect((ctx) => {
      throw new Error(`no such column for ${String(ctx.handshake.auth['token'])}`)
    }))
    const { fault } = watch(host.gate)
    const error = await refusal(client(host, { auth: { token: 'secret' } }))
    expect(error.message).toBe('INTERNAL')
    expect(error.data).toEqual({ code: 'INTERNAL', message: 'Internal error.', id: fault[0]!.id })
    expect(traces(host.io)).toEqual(NOTHING)
  })

  test('a refusal whose details cannot be encoded is still an answer', async () => {
    const host = await serve((io) => guard(io).connect(() => deny('FORBIDDEN', { limit: 10n })))
    const { fault } = watch(host.gate)
    expect(await refusal(client(host))).toMatchObject({ message: 'INTERNAL' })
    expect(fault).toHaveLength(1)
    // Nothing of the first is pending any more.
    expect(await refusal(client(host))).toMatchObject({ message: 'INTERNAL' })
  })

  test('declarations that contradict each other for a namespace refuse its clients, and end nothing', async () => {
    const schema = { '~standard': { version: 1, vendor: 'test', validate: (value: unknown) => ({ value }) } } as const
    const host = await serve((io) => {
      io.of(/^\/tenant-\d+$/)
      const gate = guard(io).connect(admit)
      gate.of(/^\/tenant-/, { events: { edit: { data: schema } } })
      gate.of('/tenant-1', { events: { edit: { data: schema } } })
      return gate
    })
    const { fault } = watch(host.gate)
    expect(await refusal(client(host, { namespace: '/tenant-1' }))).toMatchObject({ message: 'INTERNAL' })
    expect(String(fault[0]!.error?.cause)).toContain('two contracts')
    expect(host.io._nsps.has('/tenant-1')).toBe(false)
    await entered(host, { namespace: '/tenant-2' })
  })
})

describe('namespaces (facts 3.11, 3.12)', () => {
  test('on a bare server the middleware of the main namespace guards no other one', async () => {
    const host = await serve((io) => {
      io.use((_socket, next) => next(new Error('no')))
      io.of('/admin')
    })
    await entered(host, { namespace: '/admin' })
  })

  test('the gate asks its connect hooks in every namespace: there before it, made later, and dynamic', async () => {
    const asked: string[] = []
    const host = await serve((io) => {
      io.of('/early')
      const gate = guard(io, { undeclared: 'allow' }).connect((ctx) => {
        asked.push(ctx.namespace)
        deny('UNAUTHENTICATED')
      })
      // An application may throw away every listener, `new_namespace` ones among them.
      io.removeAllListeners()
      io.of('/late')
      io.of(/^\/dynamic-\d+$/)
      return gate
    })
    const names = ['/', '/early', '/late', '/dynamic-1']
    for (const namespace of names) expect((await refusal(client(host, { namespace }))).message).toBe('UNAUTHENTICATED')
    host.io.of('/latest')
    expect((await refusal(client(host, { namespace: '/latest' }))).message).toBe('UNAUTHENTICATED')
    expect(asked).toEqual([...names, '/latest'])
  })

  test('the gate lets nobody into a namespace that no declaration covers', async () => {
    const host = await serve((io) => {
      io.of('/admin')
      io.of(/^\/dynamic-\d+$/)
      const gate = guard(io).connect(admit)
      gate.of('/chat')
      return gate
    })
    const { denied } = watch(host.gate)
    expect((await refusal(client(host, { namespace: '/admin' }))).message).toBe('UNKNOWN_NAMESPACE')
    // Socket.IO's own answer for what does not exist.
    expect((await refusal(client(host, { namespace: '/dynamic-1' }))).message).toBe('Invalid namespace')
    expect((await refusal(client(host, { namespace: '/chat' }))).message).toBe('Invalid namespace')
    expect(denied.map(({ code, namespace }) => [code, namespace])).toEqual([['UNKNOWN_NAMESPACE', '/admin'], ['UNKNOWN_NAMESPACE', '/dynamic-1'], ['UNKNOWN_NAMESPACE', '/chat']])
    expect([...host.io._nsps.keys()]).toEqual(['/', '/admin'])
  })

  describe('names that clients make up', () => {
    const names = ['/t-../../x', '/t-*', '/t-[ab]', '/t-a b', '/t-é', '/t-\u0000', '/t-\u202e', '/t-/', '/t-//', '/t-/./', '/t-/..', `/t-${'x'.repeat(50_000)}`]
    const short = (name: string) => JSON.stringify(name).slice(0, 20)

    test.each(names.map((name) => [short(name), name]))('a bare server makes %s', async (_short, name) => {
      const host = await serve((io) => void io.of(/t-/))
      await (await raw(host)).enter(name)
      expect(host.io._nsps.has(name)).toBe(true)
    })

    test.each(names.map((name) => [short(name), name]))('the gate makes nothing for %s, nor asks the application', async (_short, name) => {
      const asked: string[] = []
      const host = await serve((io) => {
        io.of((given, _auth, next) => (asked.push(given), next(null, true)))
        return guard(io, { undeclared: 'allow' })
      })
      expect(await (await raw(host)).enter(name)).toEqual({ message: 'Invalid namespace' })
      expect([...host.io._nsps.keys()]).toEqual(['/'])
      expect(asked).toEqual([])
    })

    test.each(['/t-1', '/t-1/a.b', '/t-user@example', '/t-a:b', '/t-%20+~=_'])('the gate lets %s be made', async (name) => {
      const host = await serve((io) => {
        io.of(/^\/t-/)
        return guard(io, { undeclared: 'allow' })
      })
      expect(await (await raw(host)).enter(name)).toHaveProperty('sid')
    })

    test('in observe mode an odd name is reported, and made as on a bare server', async () => {
      const host = await serve((io) => {
        io.of(/t-/)
        return guard(io, { undeclared: 'allow', mode: 'observe' })
      })
      const { denied } = watch(host.gate)
      expect(await (await raw(host)).enter('/t-a b')).toHaveProperty('sid')
      expect(denied.map(({ code, enforced }) => [code, enforced])).toEqual([['UNKNOWN_NAMESPACE', false]])
    })
  })

  describe('dynamic namespaces nobody entered', () => {
    test('a bare server keeps one for each refused client', async () => {
      const host = await serve((io) => void io.of(/^\/t-\d+$/).use((_socket, next) => next(new Error('no'))))
      const socket = await raw(host)
      for (let n = 0; n < 31; n++) await socket.enter(`/t-${n}`)
      expect(host.io._nsps.size).toBe(32)
    })

    test.each([
      ['at once', () => deny('FORBIDDEN')],
      ['later', async () => {
        await new Promise(setImmediate)
        deny('FORBIDDEN')
      }],
    ])('the gate takes each of them back when its client is refused %s', async (_when, refuse) => {
      const host = await serve((io) => {
        const parent = io.of(/^\/t-\d+$/)
        guard(io, { undeclared: 'allow' }).connect(refuse)
        return { parent }
      })
      const socket = await raw(host)
      for (let n = 0; n < 31; n++) expect(await socket.enter(`/t-${n}`)).toMatchObject({ message: 'FORBIDDEN' })
      expect([...host.io._nsps.keys()]).toEqual(['/'])
      expect((host.gate.parent as unknown as { children: Set<unknown> }).children.size).toBe(0)
    })

    test('the gate takes one back when its only client vanishes', async () => {
      let asked = 0
      const host = await serve((io) => {
        io.of(/^\/t-\d+$/)
        return guard(io, { undeclared: 'allow' }).connect(async () => {
          asked++
          await new Promise(() => {})
        })
      })
      const socket = await raw(host)
      socket.send(connectPacket('/t-1'))
      await until(() => asked === 1)
      expect(host.io._nsps.has('/t-1')).toBe(true)
      socket.vanish()
      await until(() => !host.io._nsps.has('/t-1'))
    })

    test('the gate leaves one in which somebody else is, and one the application has named', async () => {
      const host = await serve((io) => {
        io.of(/^\/t-\w+$/)
        io.of('/t-own').on('connection', (socket) => socket.on('ping', (ack) => ack('own')))
        return guard(io, { undeclared: 'allow' }).connect((ctx, next) => (ctx.handshake.auth['guest'] === true ? deny('FORBIDDEN') : next()))
      }, { cleanupEmptyChildNamespaces: true })
      await entered(host, { namespace: '/t-1' })
      for (const namespace of ['/t-1', '/t-own']) {
        await refusal(client(host, { namespace, auth: { guest: true } }))
        expect(host.io._nsps.has(namespace)).toBe(true)
      }
      expect(await (await entered(host, { namespace: '/t-own' })).emitWithAck('ping')).toBe('own')
    })

    test('with cleanup on, Socket.IO still takes one back when its last client leaves', async () => {
      const host = await serve((io) => {
        io.of(/^\/t-\w+$/)
        return guard(io, { undeclared: 'allow' })
      }, { cleanupEmptyChildNamespaces: true })
      const socket = await entered(host, { namespace: '/t-1' })
      expect(host.io._nsps.has('/t-1')).toBe(true)
      socket.disconnect()
      await until(() => !host.io._nsps.has('/t-1'))
    })
  })
})

describe('a dynamic namespace that is taken back under a pending client (fact 3.13)', () => {
  const options = { cleanupEmptyChildNamespaces: true }

  /** alice waits for the latch, everybody else is refused. */
  const app = (io: Server, latch: Latch): void => {
    io.of(/^\/d-\d+$/).use((socket, next) => {
      if (socket.handshake.auth['name'] === 'alice') void latch.opened.then(() => next())
      else next(new Error('no'))
    })
  }

  async function race(host: Host<unknown>, latch: Latch): Promise<RawClient> {
    const alice = await raw(host)
    alice.send(connectPacket('/d-1', { name: 'alice' }))
    await until(() => host.io._nsps.has('/d-1'))
    await (await raw(host)).enter('/d-1', { name: 'bob' })
    latch.open()
    expect(await alice.entry('/d-1')).toHaveProperty('sid')
    return alice
  }

  test('on a bare server the client ends up in an orphan, and hears no broadcast', async () => {
    const latch = new Latch()
    const host = await serve((io) => app(io, latch), options)
    await race(host, latch)
    expect(host.io._nsps.has('/d-1')).toBe(false)
  })

  test('under the gate it enters the namespace everybody knows', async () => {
    const latch = new Latch()
    const host = await serve((io) => {
      app(io, latch)
      return guard(io, { undeclared: 'allow' })
    }, options)
    const alice = await race(host, latch)
    host.io.of('/d-1').emit('news')
    expect(await alice.next('2/d-1,')).toBe('2/d-1,["news"]')
  })

  test('the same holds while a connect policy decides', async () => {
    const latch = new Latch()
    const host = await serve((io) => {
      io.of(/^\/d-\d+$/)
      return guard(io, { undeclared: 'allow' }).connect(async (ctx, next) => {
        if (ctx.handshake.auth['name'] !== 'alice') deny('FORBIDDEN')
        await latch.opened
        await next()
      })
    }, options)
    const alice = await race(host, latch)
    host.io.of('/d-1').emit('news')
    expect(await alice.next('2/d-1,')).toBe('2/d-1,["news"]')
  })

  test('a middleware that answers for a client long gone does not take away the namespace made since', async () => {
    let answer: (() => void) | undefined
    const host = await serve((io) => {
      io.of(/^\/d-\d+$/).use((socket, next) => {
        if (socket.handshake.auth['name'] === 'alice') answer = () => next()
        else next()
      })
      return guard(io, { undeclared: 'allow' })
    }, options)
    const alice = await raw(host)
    alice.send(connectPacket('/d-1', { name: 'alice' }))
    await until(() => answer !== undefined)
    alice.vanish()
    await until(() => !host.io._nsps.has('/d-1'))
    const bob = await raw(host)
    await bob.enter('/d-1', { name: 'bob' })
    const made = host.io._nsps.get('/d-1')
    answer!()
    // The tick in which Socket.IO cleans up after the answer is over.
    await new Promise(setImmediate)
    expect(host.io._nsps.get('/d-1')).toBe(made)
    host.io.of('/d-1').emit('news')
    expect(await bob.next('2/d-1,')).toBe('2/d-1,["news"]')
  })
})

describe('what a client sends in auth (facts 3.14, 6.3, 6.4)', () => {
  const deep = (depth: number) => `{"a":${'['.repeat(depth)}${']'.repeat(depth)}}`
  const bad: [string, string, object][] = [
    ['900 kB', JSON.stringify({ token: 'x'.repeat(900_000) }), { code: 'PAYLOAD_TOO_LARGE', details: { limit: 'maxAuthBytes' } }],
    ['40,000 keys', `{${Array.from({ length: 40_000 }, (_, n) => `"${n}":0`).join()}}`, { code: 'PAYLOAD_TOO_LARGE', details: { limit: 'maxAuthBytes' } }],
    ['100,000 levels', deep(100_000), { code: 'PAYLOAD_TOO_LARGE', details: { limit: 'maxDepth' } }],
    ['a __proto__ key', '{"user":{"__proto__":{"admin":true}}}', { code: 'INVALID_PAYLOAD', details: { limit: 'prototype' } }],
    ['a constructor that holds an object', '{"constructor":{"prototype":{"admin":true}}}', { code: 'INVALID_PAYLOAD', details: { limit: 'prototype' } }],
  ]

  test.each(bad)('a bare server takes %s', async (_what, auth) => {
    const host = await serve(() => undefined)
    expect(await (await raw(host)).enter('/', auth)).toHaveProperty('sid')
  })

  test.each(bad)('the gate refuses %s before anybody looks at it, also for a namespace that is yet to be made', async (_what, auth, refused) => {
    const asked: string[] = []
    const host = await serve((io) => {
      io.of((name, _auth, next) => (asked.push(name), next(null, true)))
      return guard(io, { undeclared: 'allow' }).connect((ctx, next) => (asked.push(ctx.namespace), next()))
    })
    const { denied } = watch(host.gate)
    const socket = await raw(host)
    expect(await socket.enter('/', auth)).toMatchObject({ message: (refused as { code: string }).code, data: refused })
    expect(await socket.enter('/tenant', auth)).toEqual({ message: 'Invalid namespace' })
    expect(asked).toEqual([])
    expect(denied.map(({ policy }) => policy)).toEqual(['limits', 'limits'])
    expect(await socket.enter('/', { token: 'x' })).toHaveProperty('sid')
    expect(({} as Record<string, unknown>)['admin']).toBeUndefined()
  })

  test('a namespace may have limits of its own, a dynamic one as well', async () => {
    const host = await serve((io) => {
      io.of(/^\/upload-\d+$/)
      const gate = guard(io, { limits: { maxAuthBytes: 100 } }).connect(admit)
      gate.of(/^\/upload-/, undefined, { limits: { maxAuthBytes: 1_000 } })
      return gate
    })
    const auth = { token: 'x'.repeat(500) }
    const socket = await raw(host)
    expect(await socket.enter('/', auth)).toMatchObject({ message: 'PAYLOAD_TOO_LARGE' })
    expect(await socket.enter('/upload-1', auth)).toHaveProperty('sid')
    expect(await socket.enter('/upload-2', { token: 'x'.repeat(1_001) })).toEqual({ message: 'Invalid namespace' })
  })

  test('in observe mode only what would crash a relay is refused', async () => {
    const host = await serve((io) => guard(io, { undeclared: 'allow', mode: 'observe' }))
    const { denied } = watch(host.gate)
    const outcomes: unknown[] = []
    for (const [, auth] of bad) outcomes.push('sid' in (await (await raw(host)).enter('/', auth)))
    expect(outcomes).toEqual([true, true, false, true, true])
    expect(denied.map(({ enforced }) => enforced)).toEqual([false, false, true, false, false])
  })
})

describe('namespaces of one connection', () => {
  const many = (io: Server) => ['/a', '/b', '/c', '/d'].forEach((name) => io.of(name))

  test('a bare server lets one connection into all of them', async () => {
    const host = await serve(many)
    const socket = await raw(host)
    for (const name of ['/', '/a', '/b', '/c', '/d']) expect(await socket.enter(name)).toHaveProperty('sid')
  })

  test('the gate counts those entered and those pending against maxNamespaces', async () => {
    const latch = new Latch()
    const host = await serve((io) => {
      many(io)
      return guard(io, { undeclared: 'allow', limits: { maxNamespaces: 3 } }).connect(async (ctx: ConnectContext, next) => {
        if (ctx.namespace !== '/') await latch.opened
        await next()
      })
    })
    const socket = await raw(host)
    await socket.enter()
    const [connection] = Object.values((host.io.engine as unknown as { clients: Record<string, { listenerCount(name: string): number }> }).clients)
    const listeners = connection!.listenerCount('close')
    socket.send(connectPacket('/a'), connectPacket('/b'), connectPacket('/c'))
    expect(await socket.entry('/c')).toMatchObject({ message: 'TOO_MANY_CONNECTIONS' })
    expect(connection!.listenerCount('close')).toBe(listeners + 1)
    latch.open()
    expect(await socket.entry('/a')).toHaveProperty('sid')
    expect(await socket.entry('/b')).toHaveProperty('sid')
    expect(await socket.enter('/d')).toMatchObject({ message: 'TOO_MANY_CONNECTIONS' })
    expect(connection!.listenerCount('close')).toBe(listeners)
    // Who leaves one may enter another.
    socket.send('1/b,')
    await until(() => traces(host.io, '/b').sockets === 0)
    expect(await socket.enter('/d')).toHaveProperty('sid')
    // The count is one of each connection; and however many are pending, the connection has one listener more.
    expect(await (await raw(host)).enter('/d')).toHaveProperty('sid')
  })
})
