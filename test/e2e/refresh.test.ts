import { describe, expect, test } from '@jest/globals'
import { dangerouslyFromQuery, fromAuth, fromCookie, fromSubprotocol, guard } from 'portcullis'
import type { Principal, Scheme } from 'portcullis'
import { jwt } from 'portcullis/adapters/jwt'
import { abilities, authorize } from 'portcullis/policies'
import { enteredBy, enteredWith, expectedRefusal, farewell, inAuth, inHeader, join, NOW, record, refresh, refused, say, start, tokenOf, ways, type Identified } from '../support/credentials.ts'
import { client as stockClient, entry, heard, Latch, refusal, serve, until } from '../support/server.ts'

const REFUSED = refused('UNAUTHENTICATED')
const later = (sub: string, claims?: object): string => tokenOf(sub, 3_600, claims)
const RENEWED = { expiresAtMs: NOW + 3_600_000, lost: { rooms: [], rights: [] } }

/** A policy that is held open until a test says so. */
function held(): { readonly hook: (ctx: unknown, next: () => void | Promise<void>) => Promise<void>; readonly begun: Promise<void>; readonly open: () => void } {
  const [begun, latch] = [new Latch(), new Latch()]
  const hook = async (_ctx: unknown, next: () => void | Promise<void>): Promise<void> => {
    begun.open()
    await latch.opened
    await next()
  }
  return { hook, begun: begun.opened, open: () => latch.open() }
}

/** Rights as the token says: rooms and news that are read, things that are said. */
function withRights(gate: Identified): unknown {
  return gate
    .use(abilities(({ principal }) => (principal?.claims['can'] as string[]).map((right) => ({ action: right.split(' ')[0]!, subject: right.split(' ')[1]!, ...(right.split(' ')[2] === undefined ? {} : { conditions: { id: right.split(' ')[2] } }) }))))
    .join('room:{id}', authorize('read', 'Room', ({ params }) => ({ id: params.id })))
    .event('say', authorize('say', 'Things'))
    .event('join')
}
const can = (...rights: string[]): { can: string[] } => ({ can: rights })

describe.each(ways)('a refresh, over %s', (way) => {
  test('takes the place of the credential without a reconnect, also without an ack', async () => {
    const host = await start()
    const socket = await enteredBy(host, way, tokenOf('alice', 2))
    const { id } = socket
    expect(await refresh(socket, later('alice'))).toEqual(RENEWED)
    host.clock.advance(2_000)
    expect([await say(socket, 'on'), socket.id]).toEqual(['on', id])
    const changed = heard(socket, 'gate:changed')
    socket.emit('gate:refresh', { token: tokenOf('alice', 7_200) })
    expect(await changed).toEqual([{ cause: 'refreshed', expiresAtMs: NOW + 7_200_000, lost: { rooms: [], rights: [] } }])
    expect(host.gate.peerOf(host.sockets[0]!).principal).toMatchObject({ subject: 'alice', expiresAtMs: NOW + 7_200_000 })
  })

  test.each([
    ['expired', { token: tokenOf('alice', -1) }],
    ['malformed', { token: 'x.y.z' }],
    ['no text', { token: 7 }],
    ['absent', {}],
    ['of another subject', { token: later('mallory') }],
    ['without an end', { token: later('alice', { exp: undefined }) }],
    ['wrongly signed', { token: `${later('alice').slice(0, -6)}AAAAAA` }],
  ])('with a credential that is %s leaves everything as it was, and says no more than that', async (_title, auth) => {
    const host = await start()
    const socket = await enteredBy(host, way, tokenOf('alice', 2))
    await join(socket, 'room')
    const [id, before] = [socket.id, host.gate.peerOf(host.sockets[0]!)]
    expect(await socket.emitWithAck('gate:refresh', auth)).toEqual(REFUSED)
    const denied = heard(socket, 'gate:denied')
    socket.emit('gate:refresh', auth)
    expect(await denied).toEqual([expectedRefusal('UNAUTHENTICATED', { event: 'gate:refresh' })])
    expect([host.gate.peerOf(host.sockets[0]!), [...host.sockets[0]!.rooms], await say(socket, 'x')]).toEqual([before, [id, 'room'], 'x'])
    const gone = farewell(socket)
    host.clock.advance(2_000)
    expect(await gone).toMatchObject({ closing: { code: 'CREDENTIAL_EXPIRED' } })
  })
})

describe('between two events', () => {
  test('those before see who it was, those after it who it is: a refresh does not wait behind any', async () => {
    const seen: unknown[] = []
    const [begun, latch] = [new Latch(), new Latch()]
    const host = await start({
      declare: (gate) =>
        gate.event(
          'say',
          async ({ peer, data }, next) => {
            seen.push(['first', data, peer.principal?.claims['n']])
            begun.open()
            if (data === 'held') await latch.opened
            await next()
          },
          (ctx, next) => (seen.push(['second', ctx.data, ctx.peer.principal?.claims['n']]), next()),
        ),
    })
    const socket = await enteredWith(host, later('alice', { n: 1 }))
    const answers = [say(socket, 'held'), say(socket, 'waits')]
    await begun.opened
    // Answered while the event is held: whoever waits for it there does not wait for itself.
    expect(await refresh(socket, later('alice', { n: 2 }))).toEqual(RENEWED)
    expect(host.gate.peerOf(host.sockets[0]!).principal?.claims['n']).toBe(2)
    latch.open()
    expect(await Promise.all(answers)).toEqual(['held', 'waits'])
    expect(seen).toEqual([['first', 'held', 1], ['second', 'held', 1], ['first', 'waits', 2], ['second', 'waits', 2]])
  })

  test('an event whose policy asks for a new credential gets it, and is decided', async () => {
    const host = await start({ declare: (gate) => gate.event('say', async (_ctx, next) => (await host.sockets[0]!.emitWithAck('renew'), await next())) })
    const socket = await enteredWith(host, tokenOf('alice', 60))
    socket.on('renew', async (ack: (answer: unknown) => void) => ack(await refresh(socket, later('alice'))))
    expect(await say(socket, 'x')).toBe('x')
    expect(host.seen.denied).toEqual([])
  })

  test('somebody else comes when the event that is being decided is done, and what was sent before is not handled as of that one', async () => {
    const slow = held()
    const seen: unknown[] = []
    let asked = false
    const host = await start({
      terms: { allowSwitch: true },
      declare: (gate) => gate.connect((ctx, next) => ((asked = ctx.cause === 'refresh'), next())).event('say', slow.hook, ({ peer, data }, next) => (seen.push(`${String(data)} decided as ${peer.principal?.subject}`), next())),
      application: (io) => io.on('connection', (socket) => socket.on('say', (what: unknown) => seen.push(`${String(what)} handled as ${host.subjectOf(socket)}`))),
    })
    const socket = await enteredWith(host, later('alice'))
    const answers = [say(socket, 1), say(socket, 2), say(socket, 3)]
    await slow.begun
    const switched = refresh(socket, later('bob'))
    await until(() => asked)
    slow.open()
    expect(await switched).toEqual(RENEWED)
    expect((await Promise.all(answers)).slice(1)).toEqual([refused('CREDENTIAL_EXPIRED'), refused('CREDENTIAL_EXPIRED')])
    expect(seen).toEqual(['1 decided as alice', '1 handled as alice'])
    await say(socket, 4)
    expect(seen.slice(2)).toEqual(['4 decided as bob', '4 handled as bob'])
  })
})

describe('who a refresh may bring', () => {
  test('is the same subject of the same issuer', async () => {
    const issuers = ['https://one.example', 'https://two.example'].map((issuer) => ({ issuer, secret: 'a shared secret of more than thirty-two bytes' }))
    const host = await start({ schemes: [jwt({ issuers, audience: 'chat' })] })
    const of = (sub: string, iss: string): string => later(sub, { iss: `https://${iss}.example` })
    const socket = await enteredWith(host, of('alice', 'one'))
    for (const other of [of('alice', 'two'), of('bob', 'one')]) expect(await refresh(socket, other)).toEqual(REFUSED)
    expect(await refresh(socket, of('alice', 'one'))).toEqual(RENEWED)
  })

  test('may be anybody where that was allowed, and everything is decided for them', async () => {
    const host = await start({ terms: { allowSwitch: true }, declare: withRights })
    const socket = await enteredWith(host, later('alice', can('read Room a', 'say Things')))
    expect(await join(socket, 'room:a')).toBe('joined')
    expect(await refresh(socket, later('bob', can('read Room b')))).toEqual({ ...RENEWED, lost: { rooms: ['room:a'], rights: [{ action: 'say', subject: 'Things' }] } })
    expect(host.subjectOf(host.sockets[0]!)).toBe('bob')
    expect([await say(socket, 'x'), await join(socket, 'room:a'), await join(socket, 'room:b')]).toEqual([refused('FORBIDDEN'), refused('FORBIDDEN'), 'joined'])
  })

  test('may be somebody where there was nobody, and never nobody', async () => {
    const host = await start({ terms: { optional: true } })
    const socket = await enteredWith(host, undefined)
    expect(host.subjectOf(host.sockets[0]!)).toBeUndefined()
    expect(await refresh(socket, later('alice'))).toEqual(RENEWED)
    expect(host.subjectOf(host.sockets[0]!)).toBe('alice')
    for (const token of [undefined, null, '']) expect(await refresh(socket, token)).toEqual(REFUSED)
    expect(host.subjectOf(host.sockets[0]!)).toBe('alice')
  })

  test('never comes without an end by accident', async () => {
    const custom: Scheme = { name: 'custom', read: ({ handshake }) => handshake.auth['as'], verify: (as) => ({ subject: 'alice', claims: {}, factors: [], ...as }) as Principal }
    const host = await start({ schemes: [custom] })
    const socket = await enteredWith(host, '', { auth: { as: { expiresAtMs: NOW + 60_000 } } })
    for (const as of [{}, { expiresAtMs: null }, { expiresAtMs: NaN }, { expiresAtMs: Infinity }, { expiresAtMs: '9e15' }]) expect(await socket.emitWithAck('gate:refresh', { as })).toEqual(refused('INTERNAL'))
    expect(await socket.emitWithAck('gate:refresh', { as: { expiresAtMs: NOW } })).toEqual(REFUSED)
    expect(host.gate.peerOf(host.sockets[0]!).principal?.expiresAtMs).toBe(NOW + 60_000)
    expect(await socket.emitWithAck('gate:refresh', { as: { expiresAtMs: 'never' } })).toEqual({ ...RENEWED, expiresAtMs: 'never' })
    expect(host.core.agenda.size).toBe(0)
  })
})

describe('what is lost by it', () => {
  test('rooms are left before the client is told, and nothing more is delivered there', async () => {
    const host = await start({ declare: withRights })
    const socket = await enteredWith(host, later('alice', can('read Room', 'say Things')))
    for (const room of ['room:a', 'room:b']) await join(socket, room)
    const news = record(socket, 'news')
    expect(await refresh(socket, later('alice', can('read Room b')))).toEqual({ ...RENEWED, lost: { rooms: ['room:a'], rights: [{ action: 'say', subject: 'Things' }] } })
    host.io.to('room:a').emit('news', 'a')
    host.io.to('room:b').emit('news', 'b')
    await until(() => news.length > 0)
    expect([news, await say(socket, 'x')]).toEqual([['b'], refused('FORBIDDEN')])
    expect(await refresh(socket, later('alice', can('read Room', 'say Things')))).toEqual(RENEWED)
    expect([await say(socket, 'y'), await join(socket, 'room:a')]).toEqual(['y', 'joined'])
  })

  test('a room that was joined while it was decided is decided too', async () => {
    const slow = held()
    const host = await start({ declare: (gate) => (withRights(gate), gate.connect((ctx, next) => (ctx.cause === 'refresh' ? slow.hook(ctx, next) : next()))) })
    const socket = await enteredWith(host, later('alice', can('read Room')))
    const refreshed = refresh(socket, later('alice', can('read Room b')))
    await slow.begun
    for (const room of ['room:a', 'room:b']) expect(await join(socket, room)).toBe('joined')
    slow.open()
    expect(await refreshed).toMatchObject({ lost: { rooms: ['room:a'] } })
    expect([...host.sockets[0]!.rooms]).toEqual([socket.id, 'room:b'])
  })

  test('a room that was joined while the others were decided is decided before the refresh takes place', async () => {
    const slow = held()
    const host = await start({ declare: (gate) => gate.join('slow', (ctx, next) => (ctx.cause === 'refresh' ? slow.hook(ctx, next) : next())).join('room:{id}', ({ peer, params }, next) => ((peer.principal?.claims['may'] as string).includes(params.id) ? next() : undefined)) })
    const socket = await enteredWith(host, later('alice', { may: 'ab' }))
    await join(socket, 'slow')
    const refreshed = refresh(socket, later('alice', { may: 'b' }))
    await slow.begun
    for (const room of ['room:a', 'room:b']) expect(await join(socket, room)).toBe('joined')
    slow.open()
    expect(await refreshed).toMatchObject({ lost: { rooms: ['room:a'] } })
    expect([...host.sockets[0]!.rooms].sort()).toEqual([socket.id, 'room:b', 'slow'].sort())
  })

  test('a join that was decided with the rights of before is decided anew', async () => {
    const slow = held()
    const host = await start({ declare: (gate) => (withRights(gate), gate.join('room:{id}', slow.hook)) })
    const socket = await enteredWith(host, later('alice', can('read Room')))
    const joined = join(socket, 'room:a')
    await slow.begun
    expect(await refresh(socket, later('alice', can('read Room b')))).toMatchObject({ lost: { rooms: [] } })
    slow.open()
    expect([await joined, host.sockets[0]!.rooms.size]).toEqual([refused('FORBIDDEN'), 1])
  })
})

describe('too many', () => {
  test('at a time are refused, and one is answered', async () => {
    const slow = held()
    const host = await start({ declare: (gate) => gate.connect((ctx, next) => (ctx.cause === 'refresh' ? slow.hook(ctx, next) : next())) })
    const socket = await enteredWith(host, tokenOf('alice', 60))
    const [first, ...rest] = Array.from({ length: 20 }, () => refresh(socket, later('alice')))
    for (const answer of await Promise.all(rest)) expect(answer).toEqual(refused('RATE_LIMITED', { retryAfterMs: 1_000 }))
    slow.open()
    expect([await first, await say(socket, 'x')]).toEqual([RENEWED, 'x'])
  })

  test('in a row are refused, until time has gone by', async () => {
    const host = await start()
    const socket = await enteredWith(host, later('alice'))
    const answers: any[] = []
    for (let i = 0; i < 12; i++) answers.push(await refresh(socket, later('alice')))
    expect(answers.map(({ error }) => error?.code)).toEqual([...Array<undefined>(10).fill(undefined), 'RATE_LIMITED', 'RATE_LIMITED'])
    expect(answers.at(-1).error.retryAfterMs).toBe(1_000)
    host.clock.advance(1_000)
    expect([await refresh(socket, later('alice')), await refresh(socket, later('alice'))]).toMatchObject([RENEWED, { error: { code: 'RATE_LIMITED' } }])
  })

  test('without an ack are told of ten times, or not at all where the application wants no such events', async () => {
    for (const [refusalEvent, told] of [[true, 10], [false, 0]] as const) {
      const host = await start({ guarding: { refusalEvent } })
      const socket = await enteredWith(host, later('alice'))
      const denied = record(socket, 'gate:denied')
      for (let i = 0; i < 50; i++) socket.emit('gate:refresh', 'no object')
      expect(await say(socket, 'after them')).toBe('after them')
      expect(denied).toHaveLength(told)
    }
  })

  test('that prove nothing close the connection of the peer', async () => {
    const host = await start({ guarding: { limits: { maxFailedCredentials: 3 } } })
    const socket = await enteredWith(host, later('alice'))
    const gone = farewell(socket)
    for (let i = 0; i < 3; i++) expect(await refresh(socket, 'guess')).toEqual(REFUSED)
    expect(await gone).toMatchObject({ closing: { code: 'UNAUTHENTICATED', reconnect: 'after-credential' }, reason: 'io server disconnect' })
  })

  test.each([['text'], [7], [null], [[{ token: 'x' }]], [undefined]])('or odd ones (%p) are refused as what they are', async (payload) => {
    const host = await start()
    const socket = await enteredWith(host, later('alice'))
    expect(await socket.emitWithAck('gate:refresh', payload)).toEqual(refused('INVALID_PAYLOAD'))
    expect(await socket.emitWithAck('gate:refresh', { token: 'x'.repeat(20_000) })).toEqual(refused('PAYLOAD_TOO_LARGE', { details: { limit: 'maxBytes' } }))
    expect(await say(socket, 'x')).toBe('x')
  })
})

describe('what hangs on a credential', () => {
  test('ends with it, once, over a thousand refreshes', async () => {
    let [open, most, ended] = [0, 0, 0]
    const host = await start({
      declare: (gate) =>
        gate.connect((ctx, next) => {
          most = Math.max(most, ++open)
          ctx.onClose(() => (open--, ended++))
          return next()
        }),
    })
    const socket = await enteredWith(host, later('alice'))
    for (let i = 0; i < 1_000; i++) {
      if (i % 10 === 9) host.clock.advance(10_000)
      const answer = await refresh(socket, tokenOf('alice', 3_600, { i: i % 3 }))
      if (answer.error !== undefined) throw new Error(JSON.stringify(answer))
    }
    expect([open, most, ended, host.core.agenda.size]).toEqual([1, 2, 1_000, 1])
    socket.disconnect()
    await until(() => open === 0)
    expect(ended).toBe(1_001)
  })

  test('ends at once where it is refused, or where its client goes away half-way', async () => {
    const slow = held()
    const calls: string[] = []
    const host = await start({ declare: (gate) => gate.connect((ctx, next) => (ctx.onClose(() => calls.push(ctx.cause)), ctx.cause === 'refresh' ? slow.hook(ctx, next) : next())) })
    const socket = await enteredWith(host, later('alice'))
    expect(await refresh(socket, 'no')).toEqual(REFUSED)
    socket.emit('gate:refresh', { token: later('alice') })
    await slow.begun
    socket.disconnect()
    await until(() => calls.length === 1)
    slow.open()
    await until(() => calls.length === 2)
    expect(calls).toEqual(['connect', 'refresh'])
    expect(host.seen.fault).toEqual([])
  })
})

describe('the carriers of the handshake', () => {
  test('do not count again: a header and a refresh are not two credentials', async () => {
    const host = await start()
    const socket = stockClient(host, inHeader(tokenOf('alice', 60)))
    await entry(socket)
    expect(await refresh(socket, later('alice'))).toEqual(RENEWED)
    expect(await socket.emitWithAck('gate:refresh', {})).toEqual(REFUSED)
  })

  test.each([
    ['a cookie', (text: string) => ({ extraHeaders: { cookie: `sid=${text}` } })],
    ['a subprotocol', (text: string) => ({ protocols: ['app', `bearer.${text}`] })],
    ['a parameter', (text: string) => ({ query: { access: text } })],
  ])('nor does %s', async (_title, carrying) => {
    const from = [fromAuth(), fromCookie('sid', { dangerouslyWithoutCsrf: true }), fromSubprotocol(), dangerouslyFromQuery('access')]
    const host = await start({ schemes: [jwt({ secret: 'a shared secret of more than thirty-two bytes', issuer: 'https://id.example', audience: 'chat', from })] })
    const socket = stockClient(host, carrying(tokenOf('alice', 60)))
    await entry(socket)
    expect(await refresh(socket, later('alice'))).toEqual(RENEWED)
    expect(await socket.emitWithAck('gate:refresh', {})).toEqual(REFUSED)
  })
})

test('a refresh of who was revoked is refused, and so is a credential that was revoked while it was decided', async () => {
  const slow = held()
  const host = await start({ declare: (gate) => gate.join('slow', (ctx, next) => (ctx.cause === 'refresh' ? slow.hook(ctx, next) : next())) })
  const socket = await enteredWith(host, later('alice', { jti: 'one' }))
  await host.gate.revoke({ token: 'two' }, { reason: 'stolen' })
  expect(await refresh(socket, later('alice', { jti: 'two' }))).toEqual(REFUSED)
  // Also long after: the store remembers, not this node.
  host.clock.advance(600_000)
  expect(await refresh(socket, later('alice', { jti: 'two' }))).toEqual(REFUSED)
  await join(socket, 'slow')
  const refreshed = refresh(socket, later('alice', { jti: 'three' }))
  await slow.begun
  await host.gate.revoke({ token: 'three' }, { reason: 'stolen' })
  slow.open()
  expect(await refreshed).toEqual(REFUSED)
  expect(host.gate.peerOf(host.sockets[0]!).principal?.tokenId).toBe('one')
})

test('a refresh whose credential ends before it takes its place is refused as any other', async () => {
  const slow = held()
  const host = await start({ declare: (gate) => gate.join('slow', (ctx, next) => (ctx.cause === 'refresh' ? slow.hook(ctx, next) : next())) })
  const socket = await enteredWith(host, later('alice'))
  await join(socket, 'slow')
  const refreshed = refresh(socket, tokenOf('alice', 1))
  await slow.begun
  host.clock.advance(1_000)
  slow.open()
  expect([await refreshed, await say(socket, 'x')]).toEqual([REFUSED, 'x'])
})

test('where nobody authenticates there is nothing to refresh', async () => {
  const host = await serve((io) => guard(io, { undeclared: 'allow' }))
  const socket = stockClient(host)
  await entry(socket)
  expect(await refresh(socket, later('alice'))).toEqual(refused('UNKNOWN_EVENT'))
})

describe('in observe mode', () => {
  test('a refresh works, and a bad one leaves the peer with what it had', async () => {
    const host = await start({ guarding: { mode: 'observe' } })
    const socket = await enteredWith(host, tokenOf('alice', 60))
    expect(await refresh(socket, later('alice'))).toEqual(RENEWED)
    for (const token of [later('mallory'), 'forged']) {
      expect(await refresh(socket, token)).toHaveProperty('error')
      expect(host.subjectOf(host.sockets[0]!)).toBe('alice')
    }
  })
})

describe('reauthorize', () => {
  const rights = new Map<string, string[]>()
  const declare = (gate: Identified): unknown =>
    gate
      .use(abilities(async ({ principal }) => (await Promise.resolve(rights.get(principal!.subject)) ?? []).map((subject) => ({ action: 'read', subject }))))
      .connect(({ peer }, next) => (rights.has(peer.principal!.subject) ? next() : undefined))
      .join('room', authorize('read', 'Room'))

  test('takes what was withdrawn, from every socket of a subject and nobody else, and tells it', async () => {
    rights.set('alice', ['Room', 'Other']).set('bob', ['Room'])
    const host = await start({ declare })
    const [alice, again, bob] = [await enteredWith(host, later('alice')), await enteredWith(host, later('alice')), await enteredWith(host, later('bob'))]
    for (const socket of [alice, again, bob]) expect(await join(socket, 'room')).toBe('joined')
    rights.set('alice', ['Other'])
    const changed = [heard(alice, 'gate:changed'), heard(again, 'gate:changed')]
    const receipt = await host.gate.reauthorize({ subject: 'alice' })
    expect(receipt).toEqual({ kept: expect.arrayContaining([alice.id, again.id]), closed: [] })
    for (const each of changed) expect(await each).toEqual([{ cause: 'reauthorized', expiresAtMs: NOW + 3_600_000, lost: { rooms: ['room'], rights: [{ action: 'read', subject: 'Room' }] } }])
    expect([await join(alice, 'room'), host.sockets[2]!.rooms.has('room')]).toEqual([refused('FORBIDDEN'), true])
    expect(await host.gate.reauthorize({ subject: 'alice', issuer: 'https://other.example' })).toEqual({ kept: [], closed: [] })
  })

  test('closes whom a policy refuses now', async () => {
    rights.set('alice', [])
    const host = await start({ declare })
    const socket = await enteredWith(host, later('alice'))
    rights.delete('alice')
    const gone = farewell(socket)
    expect(await host.gate.reauthorize({ subject: 'alice' })).toEqual({ kept: [], closed: [socket.id] })
    expect(await gone).toMatchObject({ closing: { code: 'INTERNAL' }, reason: 'io server disconnect' })
  })

  test('and a refresh at the same time come one after the other, and the later one is not lost', async () => {
    const slow = held()
    const host = await start({ declare: (gate) => gate.connect((ctx, next) => (ctx.cause === 'refresh' ? slow.hook(ctx, next) : next())) })
    const socket = await enteredWith(host, tokenOf('alice', 60))
    const refreshed = refresh(socket, later('alice', { n: 2 }))
    await slow.begun
    const asked = host.gate.reauthorize({ subject: 'alice' })
    slow.open()
    expect([await refreshed, await asked]).toEqual([RENEWED, { kept: [socket.id], closed: [] }])
    expect(host.gate.peerOf(host.sockets[0]!).principal).toMatchObject({ claims: { n: 2 }, expiresAtMs: NOW + 3_600_000 })
  })
})

test('whoever is refused at the door cannot refresh', async () => {
  const host = await start()
  const socket = stockClient(host, inAuth('forged'))
  expect(await refusal(socket)).toMatchObject({ message: 'UNAUTHENTICATED' })
})
