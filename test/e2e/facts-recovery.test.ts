import { describe, expect, test } from '@jest/globals'
import type { Server, Socket } from 'socket.io'
import { deny, guard, type Gate, type JoinContext, type Next, type Policy } from 'portcullis'
import { Latch, raw, serve, until, watch, type Host, type RawClient } from '../support/server.ts'

// Facts of section 4: connection state recovery.

/** The two ways to have it: Socket.IO's default skips the middleware of the application. */
const ways = [[true], [false]] as const
const recovery = (skipMiddlewares = true) => ({ connectionStateRecovery: { skipMiddlewares } })

interface Principal {
  readonly subject: string
  readonly issuer?: string
}

/** Believes what a client says of itself. */
const who: Policy<object, { principal: Principal }> = {
  name: 'who',
  connect({ handshake: { auth } }, next) {
    if (typeof auth['user'] !== 'string') return deny('UNAUTHENTICATED')
    return next({ principal: { subject: auth['user'], ...(auth['issuer'] === undefined ? {} : { issuer: auth['issuer'] }) } })
  },
}

const pause = () => new Promise<void>((resolve) => setImmediate(resolve))
const later = async (_ctx: unknown, next: Next) => {
  await pause()
  await next()
}

/** What a client has to show to be recovered. */
interface Visit {
  readonly sid: string
  readonly pid: string
  readonly offset: string
}

/** A client that enters, hears one packet, and so knows an offset. */
async function arrive(host: Host<unknown>, auth: object = {}): Promise<Visit & { readonly socket: RawClient }> {
  const socket = await raw(host)
  const { sid, pid } = await socket.enter('/', auth)
  host.io.to(sid).emit('welcome')
  const offset = JSON.parse((await socket.next('2["welcome"')).slice(1)).at(-1)
  return { socket, sid, pid, offset }
}

/** Its transport drops. */
async function drop(host: Host<unknown>, { socket, sid }: { readonly socket: RawClient; readonly sid: string }): Promise<void> {
  socket.close()
  await until(() => !host.io.sockets.sockets.has(sid))
}

async function visit(host: Host<unknown>, auth: object = {}): Promise<Visit> {
  const visitor = await arrive(host, auth)
  await drop(host, visitor)
  return visitor
}

const credentials = ({ pid, offset }: Visit, auth: object = {}) => ({ pid, offset, ...auth })

/** Comes back with the pid and the offset of an earlier visit. */
async function comeBack(host: Host<unknown>, earlier: Visit, auth: object = {}): Promise<{ socket: RawClient; answer: any; recovered: boolean }> {
  const socket = await raw(host)
  const answer = await socket.enter('/', credentials(earlier, auth))
  return { socket, answer, recovered: answer.sid === earlier.sid }
}

/** Names and arguments of the events that came, without the offsets. */
const heardBy = (socket: RawClient): unknown[] => socket.events().map((event) => event.slice(0, -1))

/** An application that puts its users into rooms and knows something of them. */
function app(io: Server): Server {
  io.on('connection', (socket: Socket) => {
    socket.on('join', (room, ack) => {
      void Promise.resolve(socket.join(room)).then(() => ack())
    })
    socket.on('ping', (ack) => ack([...socket.rooms].filter((room) => room !== socket.id), socket.data, socket.recovered))
    if (!socket.recovered) socket.data = { card: `card of ${String(socket.handshake.auth['user'])}` }
  })
  return io
}

const everything = (gate: Gate): Gate => gate.event('join').event('ping').join('team:{id}')

describe('whose session it is (facts 4.1, 4.2)', () => {
  test('a bare server lets a banned user back in: no middleware is asked', async () => {
    const banned = new Set<string>()
    const host = await serve((io) => app(io).use((socket, next) => next(banned.has(socket.handshake.auth['user']) ? new Error('banned') : undefined)), recovery())
    const alice = await visit(host, { user: 'alice' })
    banned.add('alice')
    expect(await comeBack(host, alice, { user: 'alice' })).toMatchObject({ recovered: true })
  })

  test('a bare server gives a session with its rooms, data and missed packets to whoever has its pid', async () => {
    const host = await serve(app, recovery())
    const alice = await arrive(host, { user: 'alice' })
    await alice.socket.ask(['join', 'team:1'])
    await drop(host, alice)
    host.io.to('team:1').emit('secret', 1)
    const { socket, recovered } = await comeBack(host, alice, { user: 'mallory' })
    expect(recovered).toBe(true)
    expect(await socket.ask(['ping'])).toEqual([['team:1'], { card: 'card of alice' }, true])
    expect(heardBy(socket)).toEqual([['secret', 1]])
  })

  describe.each(ways)('under the gate, with skipMiddlewares %s', (skipMiddlewares) => {
    test('connect policies are asked again, told that it is a recovery, and a banned user stays out', async () => {
      const banned = new Set<string>()
      const causes: string[] = []
      const host = await serve((io) => everything(guard(app(io)).use(who)).connect((ctx, next) => {
        causes.push(ctx.cause)
        return banned.has(ctx.handshake.auth['user']) ? deny('FORBIDDEN') : next()
      }), recovery(skipMiddlewares))
      const alice = await arrive(host, { user: 'alice' })
      await alice.socket.ask(['join', 'team:1'])
      await drop(host, alice)
      host.io.to('team:1').emit('secret', 1)
      banned.add('alice')
      const refused = await comeBack(host, alice, { user: 'alice' })
      expect(refused.answer).toMatchObject({ message: 'FORBIDDEN' })
      expect(refused.socket.received).toHaveLength(1)
      banned.clear()
      const { socket, recovered } = await comeBack(host, alice, { user: 'alice' })
      expect(recovered).toBe(true)
      expect(await socket.ask(['ping'])).toEqual([['team:1'], { card: 'card of alice' }, true])
      expect(heardBy(socket)).toEqual([['secret', 1]])
      expect(causes).toEqual(['connect', 'recover', 'recover'])
    })

    test.each([
      ['another user', { user: 'alice' }, { user: 'mallory' }],
      ['a user of the same name of another issuer', { user: 'alice', issuer: 'https://a.example' }, { user: 'alice', issuer: 'https://b.example' }],
      ['a user of the same name without an issuer', { user: 'alice', issuer: 'https://a.example' }, { user: 'alice' }],
    ])('%s enters anew and gets nothing of it; its owner still finds it', async (_who, owner, other) => {
      const host = await serve((io) => everything(guard(app(io)).use(who)), recovery(skipMiddlewares))
      const alice = await arrive(host, owner)
      await alice.socket.ask(['join', 'team:1'])
      await drop(host, alice)
      host.io.to('team:1').emit('secret', 1)
      host.io.to(alice.sid).emit('secret', 2)

      const thief = await comeBack(host, alice, other)
      expect(thief.answer.pid).not.toBe(alice.pid)
      expect(thief.answer.sid).not.toBe(alice.sid)
      host.io.to('team:1').emit('secret', 3)
      expect(await thief.socket.ask(['ping'])).toEqual([[], { card: `card of ${other.user}` }, false])
      expect(thief.socket.events()).toEqual([])

      const back = await comeBack(host, alice, owner)
      expect(back.recovered).toBe(true)
      expect(await back.socket.ask(['ping'])).toEqual([['team:1'], { card: 'card of alice' }, true])
      expect(heardBy(back.socket)).toEqual([['secret', 1], ['secret', 2], ['secret', 3]])
    })

    test('a session that nobody had proved anything for is not given to somebody who has, nor the other way round', async () => {
      const host = await serve((io) => guard(app(io), { undeclared: 'allow' }).use({
        name: 'optional',
        connect: ({ handshake: { auth } }, next: (facts: object) => void | Promise<void>) => next(auth['user'] === undefined ? {} : { principal: { subject: auth['user'] } }),
      }), recovery(skipMiddlewares))
      const nobody = await visit(host)
      const alice = await visit(host, { user: 'alice' })
      expect((await comeBack(host, nobody, { user: 'alice' })).recovered).toBe(false)
      expect((await comeBack(host, alice)).recovered).toBe(false)
      expect((await comeBack(host, nobody)).recovered).toBe(true)
      expect((await comeBack(host, alice, { user: 'alice' })).recovered).toBe(true)
    })

    test('without any policy everything is as on a bare server', async () => {
      const host = await serve((io) => guard(app(io), { undeclared: 'allow' }), recovery(skipMiddlewares))
      const alice = await arrive(host, { user: 'alice' })
      await alice.socket.ask(['join', 'team:1'])
      await drop(host, alice)
      host.io.to('team:1').emit('news', 1)
      const { socket, recovered } = await comeBack(host, alice)
      expect(recovered).toBe(true)
      expect(await socket.ask(['ping'])).toEqual([['team:1'], { card: 'card of alice' }, true])
      expect(heardBy(socket)).toEqual([['news', 1]])
    })
  })

  test('in observe mode, too, a session is never given to another principal (D10)', async () => {
    const host = await serve((io) => guard(app(io), { mode: 'observe', undeclared: 'allow' }).use(who), recovery())
    const alice = await visit(host, { user: 'alice' })
    expect((await comeBack(host, alice, { user: 'mallory' })).recovered).toBe(false)
    expect((await comeBack(host, alice, {})).recovered).toBe(false)
    expect((await comeBack(host, alice, { user: 'alice' })).recovered).toBe(true)
  })
})

describe('what comes before the decision (fact 4.4)', () => {
  test('a bare server writes missed packets before its middleware refuses', async () => {
    const banned = new Set<string>()
    const host = await serve((io) => io.use((socket, next) => next(banned.has(socket.handshake.auth['user']) ? new Error('banned') : undefined)), recovery(false))
    const alice = await visit(host, { user: 'alice' })
    host.io.emit('classified', 1)
    banned.add('alice')
    const { socket, answer } = await comeBack(host, alice, { user: 'alice' })
    expect(answer).toEqual({ message: 'banned' })
    expect(heardBy(socket)).toEqual([['classified', 1]])
  })

  test('under the gate a refusal of that middleware is all the client gets, and the session stays', async () => {
    const banned = new Set<string>()
    const host = await serve((io) => {
      app(io).use((socket, next) => next(banned.has(socket.handshake.auth['user']) ? Object.assign(new Error('banned'), { data: { until: 'monday' } }) : undefined))
      return everything(guard(io).use(who))
    }, recovery(false))
    const alice = await visit(host, { user: 'alice' })
    host.io.emit('classified', 1)
    banned.add('alice')
    const { socket, answer } = await comeBack(host, alice, { user: 'alice' })
    expect(answer).toEqual({ message: 'banned', data: { until: 'monday' } })
    expect(socket.received).toHaveLength(1)
    banned.clear()
    expect((await comeBack(host, alice, { user: 'alice' })).recovered).toBe(true)
  })
})

describe('events of a recovered socket (fact 4.3)', () => {
  const onlyPing = ([name]: unknown[], next: (error?: Error) => void) => next(name === 'ping' ? undefined : new Error('no'))

  test('a bare server forgets the socket middleware that was attached in io.use', async () => {
    const deleted: string[] = []
    const host = await serve((io) => app(io).use((socket, next) => next(void socket.use(onlyPing))).on('connection', (socket) => socket.on('delete', (what, ack) => ack(deleted.push(what)))), recovery())
    const { socket, recovered } = await comeBack(host, await visit(host))
    expect(recovered).toBe(true)
    await socket.ask(['delete', 'everything'])
    expect(deleted).toEqual(['everything'])
  })

  test('the policies of the gate hold for it', async () => {
    const deleted: string[] = []
    const host = await serve((io) => {
      app(io).on('connection', (socket) => socket.on('delete', (what, ack) => ack(deleted.push(what))))
      return everything(guard(io).use(who)).event('delete', () => deny('FORBIDDEN'))
    }, recovery())
    const { socket, recovered } = await comeBack(host, await visit(host, { user: 'alice' }), { user: 'alice' })
    expect(recovered).toBe(true)
    expect(await socket.ask(['delete', 'everything'])).toMatchObject([{ error: { code: 'FORBIDDEN' } }])
    expect(await socket.ask(['undeclared'])).toMatchObject([{ error: { code: 'UNKNOWN_EVENT' } }])
    expect(deleted).toEqual([])
    expect(host.gate.peerOf(host.io.sockets.sockets.values().next().value!)).toEqual({ principal: { subject: 'alice' } })
  })
})

describe('one session, one socket (fact 4.5)', () => {
  async function threeAtOnce(host: Host<unknown>, auth: object): Promise<string[]> {
    const alice = await visit(host, auth)
    const backs = await Promise.all([1, 2, 3].map(() => comeBack(host, alice, auth)))
    return backs.map(({ recovered }) => (recovered ? 'recovered' : 'new')).sort()
  }

  test('a bare server recovers one session three times at once: three connections with one socket id', async () => {
    const host = await serve(app, recovery())
    expect(await threeAtOnce(host, {})).toEqual(['recovered', 'recovered', 'recovered'])
    expect(host.io.sockets.sockets.size).toBe(1)
  })

  test.each([
    ['synchronous', (_ctx: unknown, next: Next) => next()],
    ['asynchronous', later],
  ])('the gate recovers it once, with %s hooks', async (_kind, hook) => {
    for (const skipMiddlewares of [true, false]) {
      const host = await serve((io) => everything(guard(app(io)).use(who).connect(hook)), recovery(skipMiddlewares))
      expect(await threeAtOnce(host, { user: 'alice' })).toEqual(['new', 'new', 'recovered'])
      expect(host.io.sockets.sockets.size).toBe(3)
    }
  })

  test('the gate does not recover a socket that is there, whoever asks', async () => {
    const host = await serve((io) => everything(guard(app(io)).use(who)), recovery())
    const alice = await visit(host, { user: 'alice' })
    const back = await comeBack(host, alice, { user: 'alice' })
    expect(back.recovered).toBe(true)
    expect((await comeBack(host, alice, { user: 'alice' })).recovered).toBe(false)
    expect((await comeBack(host, alice, { user: 'mallory' })).recovered).toBe(false)
    expect(await back.socket.ask(['ping'])).toEqual([[], { card: 'card of alice' }, true])
  })

  async function thrownOutAfterRecovery(host: Host<unknown>): Promise<boolean> {
    const auth = { user: 'alice' }
    const alice = await visit(host, auth)
    const { socket } = await comeBack(host, alice, auth)
    host.io.sockets.sockets.get(alice.sid)!.disconnect(true)
    await socket.closed
    return (await comeBack(host, alice, auth)).recovered
  }

  test('a bare server recovers a session again after its socket was thrown out', async () => {
    expect(await thrownOutAfterRecovery(await serve(app, recovery()))).toBe(true)
  })

  test.each(ways)('under the gate, with skipMiddlewares %s, who is thrown out is out', async (skipMiddlewares) => {
    expect(await thrownOutAfterRecovery(await serve((io) => everything(guard(app(io)).use(who)), recovery(skipMiddlewares)))).toBe(false)
  })

  test('under the gate a session may be recovered again and again, each time where it was left', async () => {
    const host = await serve((io) => everything(guard(app(io)).use(who)), recovery())
    let alice: Visit = await visit(host, { user: 'alice' })
    for (let round = 1; round <= 3; round++) {
      host.io.emit('news', round)
      const { socket, recovered } = await comeBack(host, alice, { user: 'alice' })
      expect(recovered).toBe(true)
      expect(heardBy(socket)).toEqual([['news', round]])
      alice = { ...alice, offset: socket.events().at(-1)!.at(-1) }
      await drop(host, { socket, sid: alice.sid })
    }
  })
})

describe('rooms', () => {
  /** alice in two teams, a packet to each while she is away, and the right to the second one gone. */
  async function awayFromTeams(host: Host<unknown>, lost: Set<string>): Promise<{ socket: RawClient; recovered: boolean }> {
    const alice = await arrive(host, { user: 'alice' })
    await alice.socket.ask(['join', 'team:1'])
    await alice.socket.ask(['join', 'team:2'])
    await drop(host, alice)
    lost.add('team:2')
    host.io.to('team:1').emit('plan', 'of team 1')
    host.io.to('team:2').emit('plan', 'of team 2')
    host.io.to(['team:1', 'team:2']).emit('plan', 'of both')
    host.io.emit('plan', 'of all')
    const back = await comeBack(host, alice, { user: 'alice' })
    host.io.to('team:2').emit('plan', 'of team 2, live')
    return back
  }

  test('a bare server restores all of them', async () => {
    const { socket } = await awayFromTeams(await serve(app, recovery()), new Set())
    expect((await socket.ask(['ping']))[0]).toEqual(['team:1', 'team:2'])
    expect(heardBy(socket)).toEqual([['plan', 'of team 1'], ['plan', 'of team 2'], ['plan', 'of both'], ['plan', 'of all'], ['plan', 'of team 2, live']])
  })

  test.each([
    ['at once', (lost: Set<string>) => (ctx: JoinContext<any, any>, next: Next) => (lost.has(ctx.room) ? deny('FORBIDDEN') : next())],
    ['later', (lost: Set<string>) => async (ctx: JoinContext<any, any>, next: Next) => {
      await pause()
      if (lost.has(ctx.room)) deny('FORBIDDEN')
      await next()
    }],
  ])('the gate restores those the join policies agree to, decided %s, with the packets of those only', async (_when, policy) => {
    for (const skipMiddlewares of [true, false]) {
      const lost = new Set<string>()
      const causes: string[] = []
      const host = await serve((io) => guard(app(io)).use(who).event('join').event('ping').join('team:{id}', (ctx, next) => {
        causes.push(ctx.cause)
        return next()
      }, policy(lost)), recovery(skipMiddlewares))
      const { denied } = watch(host.gate)
      const { socket, recovered } = await awayFromTeams(host, lost)
      expect(recovered).toBe(true)
      expect((await socket.ask(['ping']))[0]).toEqual(['team:1'])
      expect(heardBy(socket)).toEqual([['plan', 'of team 1'], ['plan', 'of both'], ['plan', 'of all']])
      expect(causes).toEqual(['join', 'join', 'recover', 'recover'])
      expect(denied.map(({ stage, room, subject }) => [stage, room, subject])).toEqual([['join', 'team:2', 'alice']])
    }
  })

  test('a room that is not declared any more is not restored', async () => {
    const options = recovery()
    const host = await serve((io) => everything(guard(app(io)).use(who)), options)
    const alice = await arrive(host, { user: 'alice' })
    // As an earlier version of the application, or an adapter shared with one, would have left it.
    const { adapter } = host.io.sockets as unknown as { adapter: { persistSession(session: object): void } }
    await drop(host, alice)
    adapter.persistSession({ sid: alice.sid, pid: alice.pid, rooms: [alice.sid, 'staff', 'team:1'], data: {}, subject: JSON.stringify([null, 'alice']) })
    host.io.to('staff').emit('secret', 1)
    const { socket, recovered } = await comeBack(host, alice, { user: 'alice' })
    expect(recovered).toBe(true)
    expect((await socket.ask(['ping']))[0]).toEqual(['team:1'])
    expect(socket.events()).toEqual([])
  })

  test('a session that keeps the right to no room keeps its own id', async () => {
    const host = await serve((io) => everything(guard(app(io)).use(who)), recovery())
    const alice = await visit(host, { user: 'alice' })
    const { socket } = await comeBack(host, alice, { user: 'alice' })
    host.io.to(alice.sid).emit('private', 1)
    await socket.ask(['ping'])
    expect(heardBy(socket)).toEqual([['private', 1]])
  })
})

describe('missed packets (facts 4.6, 4.7)', () => {
  interface Note {
    readonly for?: string
    readonly text: string
    readonly pin?: number
  }
  const notes: Note[] = [{ for: 'alice', text: 'yours', pin: 1 }, { for: 'bob', text: 'not yours', pin: 2 }, { text: 'everybody' }]

  test('a bare server delivers on recovery what a filter had withheld live', async () => {
    const host = await serve((io) => app(io).on('connection', (socket) => {
      // The usual way to filter, for lack of another: each packet on its way out of the socket.
      const { client } = socket as unknown as { client: { writeToEngine(packets: string[], ...rest: unknown[]): void } }
      const write = client.writeToEngine
      client.writeToEngine = function (packets, ...rest) {
        if (!String(packets[0]).includes('not yours')) write.call(this, packets, ...rest)
      }
    }), recovery())
    const alice = await arrive(host)
    for (const note of notes) host.io.emit('note', note)
    await alice.socket.ask(['ping'])
    expect(heardBy(alice.socket)).toEqual([['welcome'], ['note', notes[0]], ['note', notes[2]]])
    await drop(host, alice)
    const { socket } = await comeBack(host, alice)
    expect(heardBy(socket)).toEqual(notes.map((note) => ['note', note]))
  })

  test('the gate asks its deliver policies again: nothing withheld live comes back, and what is rewritten is rewritten', async () => {
    const seen: unknown[] = []
    const host = await serve((io) => everything(guard(app(io)).use(who)).deliver('note', (ctx, next) => {
      const { data, cause, args, peer } = ctx as unknown as { data: Note; cause: string; args: unknown[]; peer: { principal: Principal } }
      seen.push([cause, args.length])
      if (data.for !== undefined && data.for !== peer.principal.subject) deny('FORBIDDEN')
      const { pin: _pin, ...visible } = data
      ctx.data = visible
      return next()
    }), recovery())
    const { denied } = watch(host.gate)
    const alice = await arrive(host, { user: 'alice' })
    for (const note of notes) host.io.emit('note', note)
    await alice.socket.ask(['ping'])
    await drop(host, alice)
    const { socket, recovered } = await comeBack(host, alice, { user: 'alice' })
    expect(recovered).toBe(true)
    const visible = [['note', { for: 'alice', text: 'yours' }], ['note', { text: 'everybody' }]]
    expect(heardBy(alice.socket)).toEqual([['welcome'], ...visible])
    expect(heardBy(socket)).toEqual(visible)
    // The offset that Socket.IO appends is no argument to a policy, and still reaches the client.
    expect(seen).toEqual([['live', 1], ['live', 1], ['live', 1], ['recover', 1], ['recover', 1], ['recover', 1]])
    expect(socket.events().map((event) => event.length)).toEqual([3, 3])
    expect(denied.map(({ stage, code }) => [stage, code])).toEqual([['deliver', 'FORBIDDEN'], ['deliver', 'FORBIDDEN']])
  })

  test('a deliver policy by audience and a contract are asked again as well', async () => {
    const text = { '~standard': { version: 1, vendor: 'test', validate: (value: any) => (typeof value?.text === 'string' ? { value: { text: value.text } } : { issues: [{ message: 'no text' }] }) } } as const
    const host = await serve((io) => {
      const gate = everything(guard(app(io)).use(who))
      gate.of('/', { deliveries: { note: { data: text } } }).deliver('note', {
        audience: (peer: any) => peer.principal.subject,
        hook: ({ audience, data }, next) => (audience === 'alice' && (data as Note).text === 'not yours' ? deny('FORBIDDEN') : next()),
      })
      return gate
    }, recovery())
    watch(host.gate)
    const alice = await visit(host, { user: 'alice' })
    for (const note of [...notes, { text: 17 }]) host.io.emit('note', note)
    const { socket } = await comeBack(host, alice, { user: 'alice' })
    expect(heardBy(socket)).toEqual([['note', { text: 'yours' }], ['note', { text: 'everybody' }]])
  })

  test('a packet that cannot be encoded, and was stored all the same, does not keep a client out', async () => {
    const host = await serve((io) => everything(guard(app(io)).use(who)), recovery())
    const { fault } = watch(host.gate)
    const alice = await visit(host, { user: 'alice' })
    expect(() => host.io.emit('amount', 10n)).toThrow(TypeError)
    host.io.emit('news', 1)
    const { socket, recovered } = await comeBack(host, alice, { user: 'alice' })
    expect(recovered).toBe(true)
    expect(heardBy(socket)).toEqual([['news', 1]])
    expect(fault.map(({ stage, event }) => [stage, event])).toEqual([['deliver', 'amount']])
  })
})

describe('order and completeness on the wire', () => {
  /** CONNECT and the first argument of each event, in the order in which they came. */
  const order = (socket: RawClient): unknown[] => socket.received.flatMap((packet) => (packet.startsWith('0') ? ['CONNECT'] : packet.startsWith('2') ? [JSON.parse(packet.slice(1))[1]] : []))

  test('a bare server sends what was missed, then CONNECT, then what is live', async () => {
    const host = await serve((io) => app(io).on('connection', (socket) => socket.emit('news', 'live')), recovery())
    const alice = await visit(host)
    host.io.emit('news', 'missed 1')
    host.io.emit('news', 'missed 2')
    const { socket } = await comeBack(host, alice)
    await socket.ask(['ping'])
    expect(order(socket)).toEqual(['missed 1', 'missed 2', 'CONNECT', 'live'])
  })

  test('a bare server loses what is sent while its asynchronous middleware is pending, without skipMiddlewares', async () => {
    const latch = new Latch()
    let asked = 0
    const host = await serve((io) => app(io).use((_socket, next) => {
      if (asked++ === 0) next()
      else void latch.opened.then(() => next())
    }), recovery(false))
    const alice = await visit(host)
    const back = comeBack(host, alice)
    await until(() => asked === 2)
    host.io.emit('news', 'meanwhile')
    latch.open()
    const { socket, recovered } = await back
    host.io.emit('news', 'live')
    await socket.ask(['ping'])
    expect(recovered).toBe(true)
    expect(heardBy(socket)).toEqual([['news', 'live']])
  })

  const hooks = {
    'synchronous hooks': { connect: false, join: false },
    'an asynchronous connect hook': { connect: true, join: false },
    'an asynchronous join hook': { connect: false, join: true },
    'asynchronous connect and join hooks': { connect: true, join: true },
  }

  describe.each(Object.entries(hooks))('the gate, with %s,', (_kind, asynchronous) => {
    test.each(ways)('keeps the order and loses nothing, with skipMiddlewares %s', async (skipMiddlewares) => {
      const recovering = { on: false }
      let sent = 0
      const host = await serve((io) => {
        const send = () => {
          if (recovering.on) io.to(sent % 2 === 0 ? 'team:1' : 'team:2').emit('news', ++sent)
        }
        // Something is sent before, during and after each decision of the recovery.
        const hook = (isAsynchronous: boolean) => (_ctx: unknown, next: Next): void | Promise<void> => {
          send()
          if (!isAsynchronous) return next()
          return pause().then(async () => {
            send()
            await pause()
            send()
            return next()
          })
        }
        app(io).on('connection', send).use((_socket, next) => {
          send()
          setImmediate(() => {
            send()
            next()
            send()
          })
        })
        return guard(io).use(who).event('join').event('ping').connect(hook(asynchronous.connect)).join('team:{id}', hook(asynchronous.join)).on('admitted', send)
      }, recovery(skipMiddlewares))
      const alice = await arrive(host, { user: 'alice' })
      await alice.socket.ask(['join', ['team:1', 'team:2']])
      await drop(host, alice)
      recovering.on = true
      host.io.to('team:1').emit('news', ++sent)
      const { socket, recovered } = await comeBack(host, alice, { user: 'alice' })
      recovering.on = false
      await socket.ask(['ping'])
      expect(recovered).toBe(true)
      const received = order(socket)
      expect(received.filter((what) => what !== 'CONNECT')).toEqual(Array.from({ length: sent }, (_, n) => n + 1))
      // Only what a connection listener sends is live.
      expect(received.indexOf('CONNECT')).toBe(sent - 1)
    })
  })

  test('the gate loses nothing to a sender that never rests', async () => {
    const latch = new Latch()
    let asked = 0
    const host = await serve((io) => guard(app(io)).use(who).event('join').event('ping').join('team:{id}', async ({ cause }, next) => {
      asked++
      if (cause === 'recover') await latch.opened
      await next()
    }), recovery())
    const alice = await arrive(host, { user: 'alice' })
    await alice.socket.ask(['join', 'team:1'])
    await drop(host, alice)
    let entered = false
    host.io.once('connection', () => (entered = true))
    let sent = 0
    const back = comeBack(host, alice, { user: 'alice' })
    await until(() => asked === 2)
    // Within one turn of the event loop, step by step with what the recovery itself awaits.
    for (latch.open(); !entered || sent < 30; await Promise.resolve()) host.io.to('team:1').emit('news', ++sent)
    const { socket, recovered } = await back
    await socket.ask(['ping'])
    expect(recovered).toBe(true)
    expect(heardBy(socket)).toEqual(Array.from({ length: sent }, (_, n) => ['news', n + 1]))
  })
})

describe('clients that vanish while they are recovered', () => {
  const stages = ['connect', 'join', 'io.use'] as const

  test.each(stages)('during %s: nothing is left of them, and the session is there for the next attempt', async (stage) => {
    const latch = new Latch()
    let hold = false
    let held = 0
    const holding = (at: string) => async (): Promise<void> => {
      if (!hold || at !== stage) return
      held++
      await latch.opened
    }
    const hook = (at: string) => async (_ctx: unknown, next: Next) => {
      await holding(at)()
      await next()
    }
    const host = await serve((io) => {
      app(io).use((_socket, next) => void holding('io.use')().then(() => next()))
      return guard(io).use(who).event('join').event('ping').connect(hook('connect')).join('team:{id}', hook('join'))
    }, recovery(false))
    const alice = await arrive(host, { user: 'alice' })
    await alice.socket.ask(['join', 'team:1'])
    await drop(host, alice)
    hold = true
    const first = await raw(host)
    first.send(`0${JSON.stringify(credentials(alice, { user: 'alice' }))}`)
    await until(() => held === 1)
    first.vanish()
    await until(() => host.io.engine.clientsCount === 0)
    hold = false
    host.io.to('team:1').emit('news', 1)
    latch.open()
    await pause()
    const { adapter, _preConnectSockets } = host.io.sockets as unknown as { adapter: { sids: Map<string, unknown>; rooms: Map<string, unknown> }; _preConnectSockets: Map<string, unknown> }
    await until(() => _preConnectSockets.size === 0)
    expect([adapter.sids.size, adapter.rooms.size, host.io.sockets.sockets.size]).toEqual([0, 0, 0])
    const { socket, recovered } = await comeBack(host, alice, { user: 'alice' })
    expect(recovered).toBe(true)
    expect((await socket.ask(['ping']))[0]).toEqual(['team:1'])
    expect(heardBy(socket)).toEqual([['news', 1]])
  })
})

describe('an adapter that cannot answer', () => {
  test.each([
    ['rejects', () => Promise.reject(new Error('the store is down'))],
    ['throws', () => {
      throw new Error('the store is down')
    }],
    ['knows nothing', () => Promise.resolve(null)],
  ])('and %s lets the client enter anew', async (_how, restoreSession) => {
    const host = await serve((io) => everything(guard(app(io)).use(who)), recovery())
    watch(host.gate)
    const alice = await visit(host, { user: 'alice' })
    Object.assign(host.io.sockets.adapter, { restoreSession })
    const { answer, recovered } = await comeBack(host, alice, { user: 'alice' })
    expect(recovered).toBe(false)
    expect(answer).toHaveProperty('sid')
  })
})
