import { createMongoAbility, subject, type MongoAbility } from '@casl/ability'
import { describe, expect, jest, test } from '@jest/globals'
import { type Denied, guard, type Principal, type Scheme } from 'portcullis'
import { contract } from 'portcullis/contract'
import { abilities, authenticate, authorize } from 'portcullis/policies'
import type { Server, Socket } from 'socket.io'
import { z } from 'zod'
import { client, entered, heard, Latch, refusal, serve, watch, type Client } from '../support/server.ts'

type Rules = Parameters<typeof createMongoAbility>[0]

/** Names are credentials here: what is proved is not what these tests are about. */
const named: Scheme = {
  name: 'named',
  read: ({ handshake }) => handshake.auth['name'] as unknown,
  verify: (name): Principal => ({ subject: name as string, claims: {}, expiresAtMs: 'never', factors: [] }),
}
const as = (name: string) => ({ auth: { name } })

interface Note {
  readonly owner: string
  readonly text: string
  readonly secret?: boolean | undefined
}
const notes = contract({
  events: {
    'note:write': { data: z.looseObject({ owner: z.string().optional(), text: z.string() }), reply: z.string() },
    'room:enter': { data: z.string() },
    ping: {},
  },
  deliveries: { note: { data: z.object({ owner: z.string(), text: z.string(), secret: z.boolean().optional() }) } },
})
const rooms = new Map([
  ['open', { id: 'open', members: ['alice', 'bob', 'carol'] }],
  ['board', { id: 'board', members: ['alice'] }],
])

/** What the application does. It asks nobody for permission. */
function application(io: Server) {
  const written: unknown[] = []
  const joins: unknown[] = []
  io.on('connection', (socket) => {
    socket.on('note:write', (note: unknown, ack?: (answer: string) => void) => {
      written.push(note)
      ack?.('written')
    })
    socket.on('room:enter', async (id: string, ack?: () => void) => {
      try {
        await socket.join(`room:${id}`)
        joins.push(id)
      } catch (error) {
        joins.push((error as Denied).code)
      }
      ack?.()
    })
    socket.on('ping', (ack: () => void) => ack())
  })
  return { written, joins }
}

const memberOf = (name: string) => [
  { action: 'enter', subject: 'Notes' },
  { action: 'write', subject: 'Note', conditions: { owner: name } },
  { action: 'read', subject: 'Room', conditions: { members: name } },
  { action: 'read', subject: 'Note', conditions: { secret: { $ne: true } } },
]
const rightsOf: Record<string, () => Rules> = {
  alice: () => [...memberOf('alice'), { action: 'read', subject: 'Note' }],
  bob: () => memberOf('bob'),
  carol: () => memberOf('carol'),
  nobody: () => [],
}

/** The application under the gate. `own` are the abilities of peers that are handed over as they are. */
async function start(own: Record<string, MongoAbility> = {}, { resource = ({ data }: { data: Note }): object => data } = {}) {
  let app!: ReturnType<typeof application>
  const asked = jest.fn(resource)
  const host = await serve((io) => {
    app = application(io)
    const gate = guard(io)
      .use(authenticate(named))
      .use(abilities(({ principal }) => own[principal.subject] ?? rightsOf[principal.subject]!()!))
    gate
      .of('/', notes)
      .connect(authorize('enter', 'Notes'))
      .event('note:write', authorize('write', 'Note', ({ data }) => data))
      .event(['room:enter', 'ping'])
      .join('room:{id}', authorize('read', 'Room', ({ params }) => rooms.get(params.id)))
      .deliver('note', authorize('read', 'Note', asked))
    return gate
  })
  return { ...host, ...app, asked, seen: watch(host.gate) }
}

/** Collects what a client hears under a name; `settled` waits until everything sent before has arrived. */
function listen(socket: Client, name: string) {
  const got: any[] = []
  socket.on(name, (data) => got.push(data))
  return { got, settled: () => socket.emitWithAck('ping') }
}

const write = (socket: Client, note: object): Promise<any> => socket.emitWithAck('note:write', note)
const forbidden = { error: { code: 'FORBIDDEN', message: 'This is not allowed.', id: expect.any(String) } }

describe('with rights of their own', () => {
  test('peers enter, or are told FORBIDDEN and no more', async () => {
    const host = await start()
    await entered(host, as('alice'))
    const error = await refusal(client(host, as('nobody')))
    expect(error.message).toBe('FORBIDDEN')
    expect(error.data).toEqual(forbidden.error)
    expect(host.io.sockets.sockets.size).toBe(1)
  })

  test('peers write what is theirs, and no listener hears of anything else', async () => {
    const host = await start()
    const alice = await entered(host, as('alice'))
    expect(await write(alice, { owner: 'alice', text: 'mine' })).toBe('written')
    expect(await write(alice, { owner: 'bob', text: 'his' })).toEqual(forbidden)
    expect(await write(alice, { text: "nobody's" })).toEqual(forbidden)
    expect(host.written).toEqual([{ owner: 'alice', text: 'mine' }])
    expect((host.seen.denied[0]!.error as Denied).cause).toBe('no rule permits "write" on "Note"')
  })

  test('peers join where they are members, and the code that joins another room cannot go on', async () => {
    const host = await start()
    const bob = await entered(host, as('bob'))
    for (const id of ['open', 'board', 'nowhere', 'constructor']) await bob.emitWithAck('room:enter', id)
    expect(host.joins).toEqual(['open', 'FORBIDDEN', 'FORBIDDEN', 'FORBIDDEN'])
    expect([...host.io.sockets.adapter.rooms.keys()]).toEqual(expect.not.arrayContaining(['room:board']))
  })

  test('peers hear what they may read: one broadcast, one decision for each kind of reader', async () => {
    const host = await start()
    const listeners = await Promise.all(['alice', 'bob', 'bob', 'alice'].map(async (name) => ({ name, ...listen(await entered(host, as(name)), 'note') })))
    host.io.emit('note', { owner: 'alice', text: 'for the board', secret: true })
    expect(host.asked).toHaveBeenCalledTimes(2)
    host.io.emit('note', { owner: 'alice', text: 'for all' })
    expect(host.asked).toHaveBeenCalledTimes(4)
    for (const { name, got, settled } of listeners) {
      await settled()
      expect(got.map(({ text }) => text)).toEqual(name === 'alice' ? ['for the board', 'for all'] : ['for all'])
    }
  })

  test('a packet to one socket is held to the same rule', async () => {
    const host = await start()
    const bob = listen(await entered(host, as('bob')), 'note')
    const [socket] = [...host.io.sockets.sockets.values()]
    socket!.emit('note', { owner: 'alice', text: 'for the board', secret: true })
    socket!.emit('note', { owner: 'alice', text: 'for all' })
    await bob.settled()
    expect(bob.got).toEqual([{ owner: 'alice', text: 'for all' }])
  })
})

describe('a right that is taken away while its owner is connected', () => {
  const without = (action: string, rules: Rules) => rules!.filter((rule) => rule.action !== action)

  test('is gone with the very next event', async () => {
    const ability = createMongoAbility(memberOf('carol'))
    const host = await start({ carol: ability })
    const carol = await entered(host, as('carol'))
    expect(await write(carol, { owner: 'carol', text: 'one' })).toBe('written')
    ability.update(without('write', ability.rules))
    expect(await write(carol, { owner: 'carol', text: 'two' })).toEqual(forbidden)
    ability.update(memberOf('carol'))
    expect(await write(carol, { owner: 'carol', text: 'three' })).toBe('written')
    expect(host.written).toHaveLength(2)
  })

  test('is gone with the very next broadcast, also to a room joined before, and for nobody else', async () => {
    const ability = createMongoAbility(memberOf('carol'))
    const host = await start({ carol: ability, bob: createMongoAbility(memberOf('carol')) })
    const [carol, bob] = [await entered(host, as('carol')), await entered(host, as('bob'))]
    const [hers, his] = [listen(carol, 'note'), listen(bob, 'note')]
    for (const socket of [carol, bob]) await socket.emitWithAck('room:enter', 'open')

    host.io.to('room:open').emit('note', { owner: 'alice', text: 'before' })
    expect(host.asked).toHaveBeenCalledTimes(1)
    ability.update(without('read', ability.rules))
    host.io.to('room:open').emit('note', { owner: 'alice', text: 'after' })
    await Promise.all([hers.settled(), his.settled()])
    expect(hers.got.map(({ text }) => text)).toEqual(['before'])
    expect(his.got.map(({ text }) => text)).toEqual(['before', 'after'])

    await carol.emitWithAck('room:enter', 'open')
    expect(host.joins).toEqual(['open', 'open', 'FORBIDDEN'])
  })

  test('is gone for an event that was being decided when it was taken', async () => {
    const found = new Latch()
    const looked = new Latch()
    const ability = createMongoAbility([{ action: 'write', subject: 'Note' }])
    const handled: unknown[] = []
    const host = await serve((io) => {
      io.on('connection', (socket) => socket.on('note:write', (note) => handled.push(note)))
      const gate = guard(io).use(abilities(() => ability))
      return gate.event('note:write', authorize('write', 'Note', async ({ data }) => {
        looked.open()
        await found.opened
        return data
      }))
    })
    const answer = write(await entered(host), { text: 'late' })
    await looked.opened
    ability.update([])
    found.open()
    expect(await answer).toEqual(forbidden)
    expect(handled).toEqual([])
  })

  test('is gone when the application takes it from the one ability of several connections', async () => {
    const ability = createMongoAbility(memberOf('carol'))
    const host = await start({ carol: ability })
    const sockets = [await entered(host, as('carol')), await entered(host, as('carol'))]
    ability.update([])
    for (const socket of sockets) expect(await write(socket, { owner: 'carol', text: 'one' })).toEqual(forbidden)
  })
})

/** How a handler asks CASL by itself. */
const byHand = (ability: MongoAbility, action: string, about: (note: any) => any) => (io: Server) =>
  io.on('connection', (socket) => socket.on('note:write', (note: object, ack: (answer: string) => void) => ack(ability.can(action, about(note)) ? 'written' : 'refused')))

/** The same under the gate, as a client sees it. */
async function underGate(rules: Rules, resource?: (ctx: { data: any }) => any) {
  const host = await serve((io) => {
    io.on('connection', (socket: Socket) => socket.on('note:write', (_: object, ack: (answer: string) => void) => ack('written')))
    return guard(io).use(abilities(() => createMongoAbility(rules))).event('note:write', authorize('write', 'Note', resource))
  })
  return { ...host, seen: watch(host.gate) }
}

describe('what CASL by itself lets through', () => {
  test('D2: a condition whose value is missing holds for whatever lacks the field', async () => {
    const claims: { id?: string } = {}
    const rules = [{ action: 'write', subject: 'Note', conditions: { owner: claims.id } }] as Rules
    const bare = await serve(byHand(createMongoAbility(rules), 'write', (note) => subject('Note', { ...note })))
    expect(await write(await entered(bare), { text: "nobody's" })).toBe('written')

    const host = await underGate(rules, ({ data }) => data)
    expect((await refusal(client(host))).message).toBe('INTERNAL')
    expect(host.seen.fault[0]!.error!.message).toContain('conditions.owner is undefined')
  })

  test('D2: nothing to act upon is anything to whoever may do everything', async () => {
    const rules = [{ action: 'manage', subject: 'all' }]
    const find = ({ id }: { id: string }) => new Map<string, object>().get(id)
    const bare = await serve(byHand(createMongoAbility(rules), 'write', find))
    expect(await write(await entered(bare), { id: 'not there' })).toBe('written')

    const host = await underGate(rules, ({ data }) => find(data))
    expect(await write(await entered(host), { id: 'not there' })).toEqual(forbidden)
  })

  test('a payload that names its own type', async () => {
    const rules = [{ action: 'write', subject: 'Draft' }, { action: 'write', subject: 'Note', conditions: { owner: 'alice' } }]
    const payload = { __caslSubjectType__: 'Draft', owner: 'bob' }
    const bare = await serve(byHand(createMongoAbility(rules), 'write', (note) => note))
    expect(await write(await entered(bare), payload)).toBe('written')

    const host = await underGate(rules, ({ data }) => data)
    expect(await write(await entered(host), payload)).toEqual(forbidden)
  })

  test('an operator that nobody knows, in a rule that forbids', async () => {
    const rules = [{ action: 'write', subject: 'Note' }, { action: 'write', subject: 'Note', inverted: true, conditions: { $or: [{ owner: 'bob' }, { locked: true }] } }] as Rules
    const bare = await serve(byHand(createMongoAbility(rules), 'write', (note) => subject('Note', { ...note })))
    expect(await write(await entered(bare), { owner: 'bob' })).toBe('written')

    const host = await underGate(rules, ({ data }) => data)
    expect((await refusal(client(host))).message).toBe('INTERNAL')
    expect(host.seen.fault[0]!.error!.message).toContain('"$or" is no operator')
  })

  test('a question about a type that only some of its instances answer', async () => {
    const rules = [{ action: 'write', subject: 'Note', conditions: { owner: 'alice' } }]
    const bare = await serve(byHand(createMongoAbility(rules), 'write', () => 'Note'))
    expect(await write(await entered(bare), { owner: 'bob' })).toBe('written')

    const host = await underGate(rules)
    expect(await write(await entered(host), { owner: 'bob' })).toEqual({ error: { code: 'INTERNAL', message: 'Internal error.', id: expect.any(String) } })
    expect(host.seen.fault[0]!.error!.message).toContain('depends on the resource')
  })
})

describe('D3: rules that only look equal', () => {
  const readNotesOf = (owner: unknown) => [{ action: 'read', subject: 'Note', conditions: { owner } }] as Rules
  const readNotesAt = (at: Date) => [{ action: 'read', subject: 'Note', conditions: { at: { $lt: at } } }] as Rules

  test.each<[string, Rules, Rules, object]>([
    ['a regular expression', readNotesOf(/^ali/), readNotesOf(/^bob/), { owner: 'alice' }],
    ['a pattern', readNotesOf({ $regex: '^ali' }), readNotesOf({ $regex: '^bob' }), { owner: 'alice' }],
    ['a date', readNotesAt(new Date(2_000)), readNotesAt(new Date(0)), { at: 1_000 }],
    ['a date, and its text', readNotesAt(new Date(2_000)), readNotesOf(new Date(2_000).toJSON()), { at: 1_000 }],
    ['an infinite number, and null', readNotesOf({ $lt: Infinity }), readNotesOf(null), { owner: 7 }],
  ])('are two decisions about one broadcast: %s', async (_, one, other, note) => {
    const asked = jest.fn(({ data }: { data: any }): object => data)
    const host = await serve((io) => {
      const gate = guard(io, { undeclared: 'allow' }).use(authenticate(named)).use(abilities(({ principal }) => (principal.subject === 'one' ? one! : other!)))
      io.on('connection', (socket) => socket.on('ping', (ack: () => void) => ack()))
      return gate.deliver('note', authorize('read', 'Note', asked))
    })
    const [first, second] = [listen(await entered(host, as('one')), 'note'), listen(await entered(host, as('other')), 'note')]
    host.io.emit('note', note)
    expect(asked).toHaveBeenCalledTimes(2)
    await Promise.all([first.settled(), second.settled()])
    expect(first.got).toEqual([note])
    expect(second.got).toEqual([])
  })
})

describe('fields that only some may read', () => {
  const person = { name: 'Ann', tenant: 'acme', rate: 90 }
  const rules: Record<string, Rules> = {
    staff: [{ action: 'read', subject: 'Person', fields: ['name', 'tenant'], conditions: { tenant: 'acme' } }],
    admin: [{ action: 'read', subject: 'Person', conditions: { tenant: 'acme' } }],
    globex: [{ action: 'read', subject: 'Person', conditions: { tenant: 'globex' } }],
  }

  test('are taken out of one broadcast, of a reply and of a packet to one socket, for each reader as its rules say', async () => {
    const host = await serve((io) => {
      io.on('connection', (socket) => {
        socket.on('ping', (ack: () => void) => ack())
        socket.on('person:get', (ack: (person: object) => void) => ack(person))
        socket.on('person:push', () => socket.emit('person', person))
      })
      const masked = authorize('read', 'Person', ({ data }) => data as object, { mask: true })
      return guard(io).use(authenticate(named)).use(abilities(({ principal }) => rules[principal.subject]!)).event(['ping', 'person:get', 'person:push']).deliver('person', masked).reply('person:get', masked)
    })
    const { rate, ...rest } = person
    for (const [name, expected] of [['staff', rest], ['admin', person], ['globex', undefined]] as const) {
      const socket = await entered(host, as(name))
      const { got, settled } = listen(socket, 'person')
      host.io.emit('person', person)
      socket.emit('person:push')
      await settled()
      expect(got).toEqual(expected === undefined ? [] : [expected, expected])
      const answer: unknown = await socket.emitWithAck('person:get')
      expect(answer).toEqual(expected ?? forbidden)
    }
    expect(person.rate).toBe(rate)
  })
})

test('without abilities above it, nothing is permitted, at any stage', async () => {
  const handled: unknown[] = []
  const host = await serve((io) => {
    io.on('connection', (socket) => {
      socket.on('note:write', (note) => handled.push(note))
      socket.on('ping', (ack: () => void) => ack())
      socket.on('room:enter', async (id: string, ack: (answer: string) => void) => {
        await Promise.resolve(id).then((room) => socket.join(`room:${room}`)).then(() => ack('in'), ({ code }: Denied) => ack(code))
      })
    })
    const everything = authorize('read', 'Note') as never
    return guard(io).event(['ping', 'room:enter']).event('note:write', everything).join('room:{id}', everything).deliver('note', everything)
  })
  const seen = watch(host.gate)
  const socket = await entered(host)
  const { got, settled } = listen(socket, 'note')
  expect(await write(socket, { text: 'one' })).toMatchObject({ error: { code: 'INTERNAL' } })
  expect(await socket.emitWithAck('room:enter', 'open')).toBe('INTERNAL')
  host.io.emit('note', { text: 'two' })
  await settled()
  expect([handled, got]).toEqual([[], []])
  expect(seen.fault.map(({ error }) => error!.message)).toEqual(Array(3).fill(expect.stringContaining('Declare use(abilities(...)) above it')))
})

test('a refused event without an ack is told in one notice', async () => {
  const host = await start()
  const bob = await entered(host, as('bob'))
  const notice = heard(bob, 'gate:denied')
  bob.emit('note:write', { owner: 'alice', text: 'hers' })
  expect(await notice).toEqual([{ event: 'note:write', ...forbidden.error }])
})
