import { createMongoAbility } from '@casl/ability'
import { describe, expect, test } from '@jest/globals'
import type { Server, Socket } from 'socket.io'
import { ConfigError, deny, guard, type Gate, type Next } from 'portcullis'
import { jwt } from 'portcullis/adapters/jwt'
import { abilities, authenticate, authorize } from 'portcullis/policies'
import { testClock } from 'portcullis/testing'
import { ask, client, entered, heard, raw, refusal, serve, until, watch, type Host } from '../support/server.ts'
import { signer, token } from '../support/tokens.ts'

// Ways round the gate itself. Parts of D4, D5, D6 and D10 speak of features that are tested where they are.

const admit = (_ctx: unknown, next: Next) => next()
const secret = 'a secret of thirty-two characters'
const signed = signer('HS256', secret)
const tokenOf = (subject: string, exp = 4_000_000_000) => token({ alg: 'HS256' }, { sub: subject, iss: 'https://id.example', aud: 'app', exp }, signed)
const byToken = () => authenticate(jwt({ secret, issuer: 'https://id.example', audience: 'app' }))

describe('D1: JSONP polling, read by a script tag of a foreign page', () => {
  /** What a page gets that has a script tag with this address. */
  function readByScript(body: string): string[] {
    const read: string[] = []
    try {
      // eslint-disable-next-line @typescript-eslint/no-implied-eval -- what a browser does with a script
      new Function('___eio', body)([(packet: string) => read.push(packet)])
    } catch {
      // JSON is no script.
    }
    return read
  }

  test('a bare server hands the page a session id', async () => {
    const { body } = await ask(await serve(() => undefined), 'j=0')
    expect(readByScript(body)).toEqual([expect.stringMatching(/^0\{"sid":"/)])
  })

  test('the gate refuses, and there is nothing to read', async () => {
    const host = await serve((io) => guard(io, { undeclared: 'allow' }))
    const { status, body } = await ask(host, 'j=0')
    expect(status).toBe(403)
    expect(readByScript(body)).toEqual([])
    expect(body).not.toContain('sid')
    expect(host.io.engine.clientsCount).toBe(0)
  })
})

interface Draft {
  readonly id: number
  readonly authorId?: string
}

describe('D2: a condition that holds undefined matches what lacks the field', () => {
  const orphan: Draft = { id: 1 }
  /** Rules as people write them; for a visitor who is nobody, `user` is undefined. */
  const rulesFor = (user: string | undefined) => [{ action: 'read', subject: 'Draft', conditions: { authorId: user } }]
  const handlers = (io: Server): Server => {
    io.on('connection', (socket) => socket.on('draft:read', (_id, ack) => ack('the draft of nobody')))
    return io
  }

  test('a bare server with a check of its own shows a draft without an author to a visitor who is nobody', async () => {
    const host = await serve((io) => void handlers(io).on('connection', (socket: Socket) => {
      const ability = createMongoAbility(rulesFor(socket.handshake.auth['user']), { detectSubjectType: () => 'Draft' })
      socket.use((_event, next) => next(ability.can('read', orphan as never) ? undefined : new Error('no')))
    }))
    expect(await (await entered(host)).emitWithAck('draft:read', 1)).toBe('the draft of nobody')
  })

  test('the gate lets nobody in with such a rule: it is a fault', async () => {
    const host = await serve((io) => guard(handlers(io))
      .use({ name: 'user', connect: ({ handshake: { auth } }, next: (facts: { user: string | undefined }) => void | Promise<void>) => next({ user: auth['user'] }) })
      .use(abilities(({ user }) => rulesFor(user)))
      .event('draft:read', authorize('read', 'Draft', () => orphan)))
    const { fault } = watch(host.gate)
    expect((await refusal(client(host))).message).toBe('INTERNAL')
    expect(fault.map(({ policy }) => policy)).toEqual(['abilities'])
    const alice = await entered(host, { auth: { user: 'alice' } })
    expect(await alice.emitWithAck('draft:read', 1)).toMatchObject({ error: { code: 'FORBIDDEN' } })
  })

  const managing = [{ action: 'manage', subject: 'all' }, { action: 'read', subject: 'Draft', inverted: true, conditions: { authorId: 'eve' } }]

  test('a bare server that looks up what is not there asks CASL about undefined, which means everything', async () => {
    const ability = createMongoAbility(managing, { detectSubjectType: () => 'Draft' })
    const host = await serve((io) => void handlers(io).on('connection', (socket: Socket) => {
      socket.use((_event, next) => next(ability.can('read', undefined as never) ? undefined : new Error('no')))
    }))
    expect(await (await entered(host)).emitWithAck('draft:read', 404)).toBe('the draft of nobody')
  })

  test('the gate refuses a resource that is not there', async () => {
    const host = await serve((io) => guard(handlers(io)).use(abilities(() => managing)).event('draft:read', authorize('read', 'Draft', () => undefined)))
    expect(await (await entered(host)).emitWithAck('draft:read', 404)).toMatchObject({ error: { code: 'FORBIDDEN' } })
  })
})

describe('D3: two different abilities share an audience', () => {
  const date = new Date(Date.UTC(2020, 0, 1))
  /** Rules of alice and of bob that differ, and are the same text as JSON. */
  const alike: [string, object, object][] = [
    ['a RegExp', { title: { $regex: /^a/ } }, { title: { $regex: /^b/ } }],
    ['a Date', { at: { $eq: date } }, { at: { $eq: date.toJSON() } }],
  ]
  const notice = { title: 'a plan', at: date }

  test.each(alike)('rules that differ only in %s are one and the same to a cache by their text', (_in, alice, bob) => {
    const textOf = (conditions: object) => JSON.stringify(conditions)
    expect(textOf(alice)).toBe(textOf(bob))
  })

  test.each(alike)('the gate decides for each when they differ in %s', async (_in, alice, bob) => {
    const host = await serve((io) => {
      io.on('connection', (socket) => socket.on('ping', (ack) => ack()))
      return guard(io)
        .use({ name: 'user', connect: ({ handshake: { auth } }, next: (facts: { conditions: object }) => void | Promise<void>) => next({ conditions: auth['user'] === 'alice' ? alice : bob }) })
        .use(abilities(({ conditions }) => createMongoAbility([{ action: 'read', subject: 'Notice', conditions }])))
        .event('ping')
        .deliver('notice', authorize('read', 'Notice', ({ data }) => data))
    })
    const people = await Promise.all(['alice', 'bob'].map(async (user) => {
      const socket = await raw(host)
      await socket.enter('/', { user })
      return socket
    }))
    for (let round = 0; round < 2; round++) host.io.emit('notice', notice)
    for (const socket of people) await socket.ask(['ping'])
    expect(people.map((socket) => socket.events().length)).toEqual([2, 0])
  })

  test('rules with undefined in them decide for nobody', async () => {
    const host = await serve((io) => guard(io).use(abilities(() => [{ action: 'read', subject: 'Notice', conditions: { title: undefined } }])).connect(admit))
    watch(host.gate)
    expect((await refusal(client(host))).message).toBe('INTERNAL')
  })
})

describe('D4: an early answer outlives a right', () => {
  const answers = new Map([['report:get', 'the report']])

  test('a bare server whose first middleware answers from a cache answers whoever asks', async () => {
    const host = await serve((io) => void io.on('connection', (socket) => {
      socket.use(([name, ack], next) => (answers.has(name) ? ack(answers.get(name)) : next()))
      socket.use((_event, next) => next(new Error('no right any more')))
    }))
    expect(await (await entered(host)).emitWithAck('report:get')).toBe('the report')
  })

  test.each([
    ['at once', (_ctx: unknown, next: Next) => (hasRight ? next() : deny('FORBIDDEN'))],
    ['later', async (_ctx: unknown, next: Next) => {
      await new Promise(setImmediate)
      if (!hasRight) deny('FORBIDDEN')
      await next()
    }],
  ])('under the gate the checks below ctx.reply are asked all the same, and refuse %s', async (_when, check) => {
    const handled: string[] = []
    const host = await serve((io) => {
      io.on('connection', (socket) => socket.on('report:get', (ack) => ack(handled.push('report:get'))))
      return guard(io).event('report:get', (ctx) => ctx.reply(answers.get(ctx.event)), check)
    })
    const socket = await raw(host)
    await socket.enter()
    hasRight = true
    expect(await socket.ask(['report:get'])).toEqual(['the report'])
    hasRight = false
    const refused = await socket.ask(['report:get'])
    expect(refused).toEqual([{ error: expect.objectContaining({ code: 'FORBIDDEN' }) }])
    expect(JSON.stringify(refused)).not.toContain('the report')
    expect(handled).toEqual([])
  })

  test('an ability is asked as it is now: a right taken away refuses the next event and the next delivery', async () => {
    const ability = createMongoAbility([{ action: 'read', subject: 'Report' }])
    const host = await serve((io) => {
      io.on('connection', (socket) => socket.on('report:get', (ack) => ack('the report')).on('ping', (ack) => ack()))
      return guard(io).use(abilities(() => ability)).event('ping').event('report:get', (ctx, next) => {
        if (answers.has(ctx.event)) ctx.reply(answers.get(ctx.event))
        return next()
      }, authorize('read', 'Report')).deliver('report', authorize('read', 'Report'))
    })
    const socket = await raw(host)
    await socket.enter()
    expect(await socket.ask(['report:get'])).toEqual(['the report'])
    host.io.emit('report', 1)
    ability.update([])
    host.io.emit('report', 2)
    expect(await socket.ask(['report:get'])).toMatchObject([{ error: { code: 'FORBIDDEN' } }])
    expect(socket.events()).toEqual([['report', 1]])
  })
})
let hasRight = true

describe('D6: the lane waits for itself', () => {
  /** A client that answers a question of the server, and sends more events at once. */
  async function answering(host: Host<unknown>): Promise<{ answers: Promise<unknown[]>; asked: () => number }> {
    const socket = client(host)
    let asked = 0
    socket.on('confirm', (ack) => {
      asked++
      ack('yes')
    })
    await heard(socket, 'connect')
    return { answers: Promise.all(['first', 'second', 'third'].map((name) => socket.emitWithAck('act', name))), asked: () => asked }
  }

  const handlers = (io: Server, handled: string[]): void =>
    void io.on('connection', (socket) => socket.on('act', (name, ack) => {
      handled.push(name)
      ack(name)
    }))

  test('a bare server that queues packets to keep their order waits for an answer that stands in its own queue', async () => {
    const failed: Error[] = []
    const host = await serve((io) => void io.on('connection', (socket) => {
      const own = socket as unknown as { _onpacket(packet: unknown): void }
      const take = own._onpacket
      let last: Promise<unknown> = Promise.resolve()
      own._onpacket = (packet) => {
        last = last.then(() => socket.timeout(50).emitWithAck('confirm')).catch((error: Error) => failed.push(error)).then(() => take.call(own, packet))
      }
    }))
    const { answers } = await answering(host)
    answers.catch(() => undefined)
    await until(() => failed.length > 0)
    expect(failed[0]!.message).toBe('operation has timed out')
  })

  test.each([
    ['the socket', (_io: Server, socket: Socket) => socket.emitWithAck('confirm')],
    ['its room', (io: Server, { id }: Socket) => io.in(id).timeout(60_000).emitWithAck('confirm').then(([answer]: unknown[]) => answer)],
  ])('under the gate a policy may ask the client, by %s, and the events behind it wait for the decision in their order', async (_by, question) => {
    const handled: string[] = []
    const host = await serve((io) => {
      handlers(io, handled)
      return guard(io).event('act', async (ctx, next) => {
        if ((await question(io, ctx.socket as unknown as Socket)) !== 'yes') deny('FORBIDDEN')
        await next()
      })
    })
    const { answers, asked } = await answering(host)
    expect(await answers).toEqual(['first', 'second', 'third'])
    expect(handled).toEqual(['first', 'second', 'third'])
    expect(asked()).toBe(3)
  })

  test('under the gate a DISCONNECT does not wait either: what stands behind the decision is never handled', async () => {
    const handled: string[] = []
    const host = await serve((io) => {
      handlers(io, handled)
      const gate = guard(io).connect(admit)
      gate.of('/').event('act', async (ctx, next) => {
        await (ctx.socket as unknown as Socket).emitWithAck('confirm')
        await next()
      })
      io.of('/other').on('connection', (socket) => socket.on('ping', (ack) => ack()))
      gate.of('/other').event('ping')
      return gate
    })
    const socket = await raw(host)
    await socket.enter()
    await socket.enter('/other')
    socket.emit('act', 'first')
    socket.emit('act', 'second')
    await socket.next('20["confirm"]')
    socket.send('1')
    await socket.ask(['ping'], '/other')
    expect(host.io.sockets.sockets.size).toBe(0)
    expect(handled).toEqual([])
  })
})

describe('D7: a refused join that the handler did not await', () => {
  const room = (io: Server): Server => {
    io.on('connection', (socket) => socket.on('open', (id, ack) => {
      void socket.join(`doc:${id}`)
      ack(`history of ${id}`)
    }))
    return io
  }

  test('a bare server joins whatever is asked for, and answers', async () => {
    expect(await (await entered(await serve((io) => void room(io)))).emitWithAck('open', 7)).toBe('history of 7')
  })

  test('under the gate the handler stops at the join, and its client is told', async () => {
    const host = await serve((io) => guard(room(io)).event('open').join('doc:{id}', ({ params }, next) => (params.id === '7' ? deny('FORBIDDEN') : next())))
    const socket = await entered(host)
    expect(await socket.emitWithAck('open', 7)).toMatchObject({ error: { code: 'FORBIDDEN' } })
    expect(host.io.sockets.adapter.rooms.has('doc:7')).toBe(false)
    expect(await socket.emitWithAck('open', 8)).toBe('history of 8')
  })

  test('an asynchronous policy stops a handler that awaits; one that does not hears nothing of the room, and coverage() warns of it', async () => {
    const host = await serve((io) => {
      room(io).on('connection', (socket) => socket.on('open:awaited', async (id, ack) => {
        await socket.join(`doc:${id}`)
        ack(`history of ${id}`)
      }))
      return guard(io).event('open').event('open:awaited').join('doc:{id}', async () => {
        await new Promise(setImmediate)
        deny('FORBIDDEN')
      })
    })
    const { denied } = watch(host.gate)
    const socket = await entered(host)
    const received: unknown[] = []
    socket.onAny((...event) => received.push(event))
    expect(await socket.emitWithAck('open:awaited', 7)).toMatchObject({ error: { code: 'FORBIDDEN' } })
    await socket.emitWithAck('open', 7)
    await until(() => denied.some(({ stage }) => stage === 'join'))
    host.io.to('doc:7').emit('edit', 'secret')
    await socket.emitWithAck('open:awaited', 7)
    expect(received).toEqual([])
    expect(host.gate.coverage().warnings.join()).toContain('await')
  })
})

describe('D8: a window before the declarations are complete', () => {
  const app = (io: Server): Server => {
    io.on('connection', (socket) => socket.on('ping', (ack) => ack()))
    io.of('/chat')
    return io
  }

  test('between guard and the first declaration nobody enters, in whatever namespace', async () => {
    const host = await serve((io) => guard(app(io)))
    for (const namespace of ['/', '/chat']) expect((await refusal(client(host, { namespace }))).message).toBe('UNKNOWN_NAMESPACE')
  })

  test('policies by use open no namespace but the main one: theirs is declared after them', async () => {
    const host = await serve((io) => guard(app(io)).use({ name: 'first', request: admit, event: admit, join: admit }))
    for (const namespace of ['/', '/chat']) expect((await refusal(client(host, { namespace }))).message).toBe('UNKNOWN_NAMESPACE')
    host.gate.use({ name: 'second', connect: admit })
    expect((await refusal(client(host, { namespace: '/chat' }))).message).toBe('UNKNOWN_NAMESPACE')
    host.gate.use({ name: 'last', connect: () => deny('UNAUTHENTICATED') })
    host.gate.of('/chat')
    for (const namespace of ['/', '/chat']) expect((await refusal(client(host, { namespace }))).message).toBe('UNAUTHENTICATED')
  })

  test('an event that is declared later is refused until then, and a request is judged by what is declared so far', async () => {
    const host = await serve((io) => guard(app(io)).connect(() => deny('UNAVAILABLE')))
    expect((await refusal(client(host))).message).toBe('UNAVAILABLE')
    expect((await ask(host, {})).status).toBe(200)
    host.gate.request(() => deny('FORBIDDEN'))
    expect((await ask(host, {})).status).toBe(403)
  })

  test('the first client that is admitted ends the time of declarations: a later one is an error, never a policy half in force', async () => {
    const host = await serve((io) => guard(app(io)).connect(admit).event('ping'))
    await entered(host)
    const { gate } = host
    const late = [
      () => gate.use({ name: 'late', event: () => deny('FORBIDDEN') }),
      () => gate.connect(() => deny('FORBIDDEN')),
      () => gate.request(() => deny('FORBIDDEN')),
      () => gate.event('ping'),
      () => gate.join('room'),
      () => gate.deliver('news', admit as never),
      () => gate.reply('ping', admit as never),
      () => gate.of('/chat'),
    ]
    for (const declare of late) expect(declare).toThrow(ConfigError)
    expect(() => guard(host.io)).toThrow(ConfigError)
    expect(await (await entered(host)).emitWithAck('ping')).toBeUndefined()
  })
})

describe('D9: two identities on one connection', () => {
  const whoAmI = (io: Server, who: (socket: Socket) => unknown): void => {
    for (const name of ['/', '/admin']) io.of(name).on('connection', (socket) => socket.on('who', (ack) => ack(who(socket))))
  }

  test('a bare server that keeps the user on the request takes one for the other', async () => {
    const userOf = ({ request }: Socket) => (request as unknown as { user?: string }).user
    const host = await serve((io) => {
      for (const name of ['/', '/admin']) io.of(name).use((socket, next) => (Object.assign(socket.request, { user: socket.handshake.auth['user'] }), next()))
      whoAmI(io, userOf)
    })
    const socket = await raw(host)
    await socket.enter('/', { user: 'alice' })
    await socket.enter('/admin', { user: 'bob' })
    expect(await socket.ask(['who'])).toEqual(['bob'])
  })

  test('under the gate they are two peers: facts, events, deliveries and their end', async () => {
    const ended: string[] = []
    const host = await serve((io) => {
      const gate: Gate<any> = guard(io)
      whoAmI(io, (socket) => gate.peerOf(socket).principal.subject)
      gate.use(byToken()).connect((ctx, next) => {
        ctx.onClose(() => ended.push((ctx.peer).principal.subject))
        return next()
      }).event('who', (ctx, next) => {
        ;(ctx.socket as Socket).emit('seen', (ctx.peer).principal.subject)
        return next()
      }).deliver('for', (ctx, next) => (ctx.data === (ctx.peer).principal.subject ? next() : deny('FORBIDDEN')))
      gate.of('/admin', undefined).connect(({ peer }: any, next: Next) => (peer.principal.subject === 'bob' ? next() : deny('FORBIDDEN')))
      return gate
    })
    const socket = await raw(host)
    await socket.enter('/', { token: tokenOf('alice') })
    expect(await socket.enter('/admin', { token: tokenOf('alice') })).toMatchObject({ message: 'FORBIDDEN' })
    expect(await socket.enter('/admin', {})).toMatchObject({ message: 'UNAUTHENTICATED' })
    expect(await socket.enter('/admin', { token: tokenOf('bob') })).toHaveProperty('sid')
    expect([await socket.ask(['who']), await socket.ask(['who'], '/admin')]).toEqual([['alice'], ['bob']])
    for (const name of ['/', '/admin']) for (const user of ['alice', 'bob']) host.io.of(name).emit('for', user)
    await socket.ask(['who'])
    await socket.ask(['who'], '/admin')
    const heardIn = (name: string) => socket.events(name).filter(([event]) => event === 'for').map(([, user]) => user)
    expect([heardIn('/'), heardIn('/admin')]).toEqual([['alice'], ['bob']])
    expect(socket.events().filter(([event]) => event === 'seen').every(([, user]) => user === 'alice')).toBe(true)
    // Twice refused at /admin: those peers are over already.
    expect(ended.splice(0)).toEqual(['alice'])
    socket.send('1/admin,')
    expect(await socket.ask(['who'])).toEqual(['alice'])
    expect(ended).toEqual(['bob'])
  })
})

describe('D10: observe used as a way in', () => {
  test('a bare server that checks a token at the door lets its owner go on when it has expired', async () => {
    let now = 1_000
    const host = await serve((io) => void io.use((socket, next) => next(socket.handshake.auth['exp'] > now ? undefined : new Error('expired'))).on('connection', (socket) => socket.on('read', (ack) => ack('secret'))))
    const socket = await entered(host, { auth: { exp: 2_000 } })
    now = 3_000
    expect(await socket.emitWithAck('read')).toBe('secret')
  })

  test.each(['enforce', 'observe'] as const)('in %s mode an expired credential ends events and joins at once', async (mode) => {
    const clock = testClock()
    const host = await serve((io) => {
      io.on('connection', (socket) => {
        socket.on('read', (ack) => ack('secret'))
        socket.on('join', (ack) => ack(socket.join('team:1')))
      })
      return guard(io, { mode, clock }).use(byToken()).event('read').event('join').join('team:{id}')
    })
    const { denied } = watch(host.gate)
    const socket = await entered(host, { auth: { token: tokenOf('alice', clock.now() / 1_000 + 60) } })
    expect(await socket.emitWithAck('read')).toBe('secret')
    const closing = heard(socket, 'gate:closing')
    clock.advance(60_000)
    expect(await closing).toMatchObject([{ code: 'CREDENTIAL_EXPIRED' }])
    expect(denied.map(({ code, enforced }) => [code, enforced])).toEqual([['CREDENTIAL_EXPIRED', true]])
    // A join that the application makes by itself, with no event before it.
    host.io.socketsJoin('team:1')
    expect(host.io.sockets.adapter.rooms.has('team:1')).toBe(false)
    expect(host.io.sockets.sockets.size).toBe(0)
  })

  test('in observe mode who proves nothing is let in, and is nobody: no fact of a peer is made up', async () => {
    const peers: unknown[] = []
    const host = await serve((io) => {
      const gate = guard(io, { mode: 'observe' }).use(byToken())
      io.on('connection', (socket) => peers.push(gate.peerOf(socket)))
      return gate
    })
    const { denied } = watch(host.gate)
    await entered(host)
    await entered(host, { auth: { token: tokenOf('alice', 1) } })
    expect(peers).toEqual([{}, {}])
    expect(denied.filter(({ code }) => code === 'UNAUTHENTICATED').map(({ enforced }) => enforced)).toEqual([false, false])
  })
})

describe('D11: a pattern hole that spans separators', () => {
  const documents: Record<string, { owner: string }> = { 1: { owner: 'alice' } }
  const open = (io: Server, allowed: (room: string) => boolean): Server => {
    io.on('connection', (socket) => socket.on('open', (room, ack) => ack(allowed(room) ? void socket.join(room) : 'no')))
    return io
  }

  test('a bare server with a pattern of its own takes a room below a document for the document', async () => {
    const host = await serve((io) => void open(io, (room) => documents[/^doc:(\w+)/.exec(room)?.[1] ?? '']?.owner === 'alice'))
    await (await entered(host)).emitWithAck('open', 'doc:1:secret')
    expect(host.io.sockets.adapter.rooms.has('doc:1:secret')).toBe(true)
  })

  test.each(['doc:1:secret', 'doc:1/secret', 'doc:1\n', 'doc:1\u0000', 'doc:', 'xdoc:1', 'doc:1:', `doc:${'1'.repeat(129)}`, 'DOC:1', 'doc:__proto__:x'])('the gate does not take %j for a document', async (room) => {
    const asked: unknown[] = []
    const host = await serve((io) => guard(open(io, () => true)).event('open').join('doc:{id}', ({ params }, next) => {
      asked.push(params)
      return next()
    }))
    expect(await (await entered(host)).emitWithAck('open', room)).toMatchObject({ error: { code: 'UNKNOWN_ROOM' } })
    expect(asked).toEqual([])
    expect(host.io.sockets.adapter.rooms.has(room)).toBe(false)
  })

  test('what a hole holds is a name, never a key of something else', async () => {
    const seen: unknown[] = []
    const host = await serve((io) => guard(open(io, () => true)).event('open').join('doc:{id}', ({ params }, next) => {
      seen.push(Object.getPrototypeOf(params), params.id)
      return next()
    }))
    await (await entered(host)).emitWithAck('open', 'doc:__proto__')
    expect(seen).toEqual([null, '__proto__'])
  })
})

describe('D12: an empty list of rooms means everybody', () => {
  const recipients: string[] = []
  /** Sends to the members of a team, whose list a client could empty. */
  const senders: [string, (io: Server, socket: Socket) => unknown][] = [
    ['io.to', (io) => io.to(recipients).emit('salaries')],
    ['io.in', (io) => io.in(recipients).emit('salaries')],
    ['a namespace', (io) => io.of('/').to(recipients).emit('salaries')],
    ['a chain', (io) => io.local.volatile.to(recipients).except('nobody').emit('salaries')],
    ['socket.to', (_io, socket) => socket.to(recipients).emit('salaries')],
    ['socket.broadcast', (_io, socket) => socket.broadcast.to(recipients).emit('salaries')],
  ]

  async function two(host: Host<unknown>) {
    const people = [await raw(host), await raw(host)] as const
    const [, { sid }] = [await people[0].enter(), await people[1].enter()]
    return { people, socket: host.io.sockets.sockets.get(sid)! }
  }
  const app = (io: Server): Server => {
    io.on('connection', (socket) => socket.on('ping', (ack) => ack()))
    return io
  }

  test.each(senders)('a bare server sends to everybody by %s', async (_by, send) => {
    const host = await serve((io) => void app(io))
    const { people, socket } = await two(host)
    send(host.io, socket)
    await people[0].ask(['ping'])
    expect(people[0].events()).toEqual([['salaries']])
  })

  test.each(senders)('the gate sends to nobody by %s, and reports it', async (_by, send) => {
    const host = await serve((io) => guard(app(io)).connect(admit).event('ping'))
    const { fault, denied } = watch(host.gate)
    const { people, socket } = await two(host)
    send(host.io, socket)
    for (const person of people) await person.ask(['ping'])
    expect(people.map((person) => person.events())).toEqual([[], []])
    expect([...fault, ...denied]).toHaveLength(1)
  })

  test('a bare server throws everybody out, the gate nobody', async () => {
    const bare = await serve((io) => void app(io))
    const outside = await two(bare)
    bare.io.in(recipients).disconnectSockets(true)
    await Promise.all(outside.people.map(({ closed }) => closed))

    const guarded = await serve((io) => guard(app(io)).connect(admit).event('ping').join('team'))
    watch(guarded.gate)
    const inside = await two(guarded)
    guarded.io.in(recipients).disconnectSockets(true)
    guarded.io.in(recipients).socketsJoin('team')
    expect(await guarded.io.in(recipients).fetchSockets()).toEqual([])
    for (const person of inside.people) await person.ask(['ping'])
    expect(guarded.io.sockets.adapter.rooms.has('team')).toBe(false)
  })

  test('other servers of the process are left as they are', async () => {
    const guarded = await serve((io) => guard(app(io)).connect(admit))
    watch(guarded.gate)
    const bare = await serve((io) => void app(io))
    const { people } = await two(bare)
    bare.io.to(recipients).emit('salaries')
    await people[0].ask(['ping'])
    expect(people[0].events()).toEqual([['salaries']])
  })
})

