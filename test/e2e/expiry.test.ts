import { describe, expect, test } from '@jest/globals'
import { unordered } from 'portcullis'
import type { Principal, Scheme } from 'portcullis'
import { client, enteredBy, enteredWith, expectedRefusal, farewell, inAuth, join, NOW, record, refresh, refused, say, start, tokenOf, ways } from '../support/credentials.ts'
import type { Started } from '../support/credentials.ts'
import { entry, heard, Latch, raw, refusal, until } from '../support/server.ts'

const EXPIRED = refused('CREDENTIAL_EXPIRED')
const GRACE = { onExpiry: { graceMs: 4_000 } } as const
const ANONYMOUS = { optional: true, onExpiry: 'anonymous' } as const

/** A policy that is held open until a test says so. */
function held() {
  const [begun, latch] = [new Latch(), new Latch()]
  const hook = async (_ctx: unknown, next: () => void | Promise<void>): Promise<void> => {
    begun.open()
    await latch.opened
    await next()
  }
  return { hook, begun: begun.opened, open: latch.open }
}

const expireBy = (host: Started): void => host.clock.advance(1_000)

describe.each(ways)('a credential that ends, over %s', (way) => {
  test('is warned of, then closes its peer with the reason and an advice', async () => {
    const host = await start()
    const socket = await enteredBy(host, way, tokenOf('alice', 5))
    const expiring = heard(socket, 'gate:expiring')
    host.clock.advance(4_000)
    expect(await expiring).toEqual([{ expiresAtMs: NOW + 5_000, inMs: 1_000 }])
    expect(await say(socket, 'in time')).toBe('in time')
    const gone = farewell(socket)
    host.clock.advance(1_000)
    expect(await gone).toEqual({ closing: { ...expectedRefusal('CREDENTIAL_EXPIRED'), reconnect: 'after-credential' }, reason: 'io server disconnect' })
    expect(host.seen.denied).toMatchObject([{ stage: 'connect', code: 'CREDENTIAL_EXPIRED', subject: 'alice', enforced: true }])
    await until(() => host.core.agenda.size === 0)
  })

  test('is over at its time, however late the timer is: for events, and for every way to send', async () => {
    const host = await start()
    const [alice, bob] = [await enteredBy(host, way, tokenOf('alice', 1)), await enteredWith(host, tokenOf('bob', 3_600))]
    const [news, heardByBob] = [record(alice, 'news'), record(bob, 'news')]
    await Promise.all([join(alice, 'room'), join(bob, 'room')])
    host.clock.set(1_000)
    expect(await say(alice, 'too late')).toEqual(EXPIRED)
    const gone = heard(alice, 'disconnect')
    host.io.emit('news', 'all')
    host.io.to('room').emit('news', 'room')
    host.sockets[1]!.broadcast.emit('news', 'broadcast')
    host.sockets[0]!.emit('news', 'socket')
    host.sockets[0]!.send('news')
    await Promise.all([gone, until(() => heardByBob.length === 2)])
    expect([news, host.handled]).toEqual([[], []])
  })

  test.each(['socket', 'room', 'all', 'ack'] as const)('is over at its time for whatever is sent first (to %s)', async (kind) => {
    const host = await start({ terms: GRACE })
    const socket = await enteredBy(host, way, tokenOf('alice', 1))
    const news = record(socket, 'news')
    await join(socket, 'room')
    const ended = heard(socket, 'gate:expiring')
    host.clock.set(1_000)
    const [one] = host.sockets
    if (kind === 'socket') one!.emit('news', 'x')
    else if (kind === 'room') host.io.to('room').emit('news', 'x')
    else if (kind === 'all') host.io.emit('news', 'x')
    else one!.emit('news', 'x', () => {})
    expect(await ended).toMatchObject([{ inMs: 0 }])
    expect([await say(socket, 'x'), news]).toEqual([EXPIRED, []])
  })

  test('mutes its peer for a grace, in which nothing is admitted and nothing delivered, until it brings a new one', async () => {
    const host = await start({ terms: GRACE })
    const socket = await enteredBy(host, way, tokenOf('alice', 1))
    const news = record(socket, 'news')
    await join(socket, 'room')
    const warned = heard(socket, 'gate:expiring')
    host.clock.advance(900)
    await warned
    const expiring = heard(socket, 'gate:expiring')
    host.clock.advance(100)
    expect(await expiring).toEqual([{ expiresAtMs: NOW + 1_000, inMs: 0, closesInMs: 4_000 }])
    expect(await say(socket, 'muted')).toEqual(EXPIRED)
    expect(await join(socket, 'other')).toEqual(EXPIRED)
    expect(() => host.sockets[0]!.join('by the application')).toThrow(expect.objectContaining({ code: 'CREDENTIAL_EXPIRED' }))
    host.io.socketsJoin('by an operator')
    expect([...host.sockets[0]!.rooms]).toEqual([socket.id, 'room'])
    host.io.emit('news', 'all')
    host.io.to('room').emit('news', 'room')
    host.io.except('nobody').emit('news', 'except')
    host.io.local.emit('news', 'local')
    host.sockets[0]!.emit('news', 'socket')
    host.sockets[0]!.volatile.emit('news', 'volatile')
    expect(await host.io.timeout(5).emitWithAck('news', 'ack').catch((error: Error) => error.message)).toContain('timed out')

    host.clock.advance(3_999)
    expect(await refresh(socket, tokenOf('alice', 3_600))).toEqual({ expiresAtMs: NOW + 3_600_000, lost: { rooms: [], rights: [] } })
    host.io.to('room').emit('news', 'again')
    await until(() => news.length > 0)
    expect([news, await say(socket, 'back'), [...host.sockets[0]!.rooms]]).toEqual([['again'], 'back', [host.sockets[0]!.id, 'room']])
    host.clock.advance(1)
    expect(await say(socket, 'stays')).toBe('stays')
  })

  test('closes its peer when the grace is over', async () => {
    const host = await start({ terms: GRACE })
    const socket = await enteredBy(host, way, tokenOf('alice', 1))
    expireBy(host)
    const gone = farewell(socket)
    host.clock.advance(4_000)
    expect(await gone).toMatchObject({ closing: { code: 'CREDENTIAL_EXPIRED', reconnect: 'after-credential' }, reason: 'io server disconnect' })
    expect(host.handled).toEqual([])
  })

  test('may leave its peer as nobody, out of every room', async () => {
    const seen: unknown[] = []
    const host = await start({ terms: ANONYMOUS, declare: (gate) => gate.event('say', ({ peer }, next) => (seen.push(peer.principal?.subject), next())) })
    const socket = await enteredBy(host, way, tokenOf('alice', 1))
    await join(socket, 'room')
    const [changed, news] = [heard(socket, 'gate:changed'), record(socket, 'news')]
    expireBy(host)
    expect(await changed).toEqual([{ cause: 'expired', expiresAtMs: null, lost: { rooms: ['room'], rights: [] } }])
    host.io.to('room').emit('news', 'for alice')
    host.io.emit('news', 'for all')
    expect([await say(socket, 'as nobody'), seen, news]).toEqual(['as nobody', [undefined], ['for all']])
    expect(host.core.agenda.size).toBe(0)
  })
})

describe('going on as nobody', () => {
  test('is refused where a policy refuses nobody: then the peer is closed', async () => {
    const host = await start({ terms: ANONYMOUS, declare: (gate) => gate.connect(({ peer }, next) => (peer.principal === undefined ? undefined : next())) })
    const socket = await enteredWith(host, tokenOf('alice', 1))
    const gone = farewell(socket)
    expireBy(host)
    expect(await gone).toMatchObject({ closing: { code: 'CREDENTIAL_EXPIRED', reconnect: 'after-credential' } })
  })

  test('lets the same peer come back, and nobody else', async () => {
    const host = await start({ terms: ANONYMOUS })
    const socket = await enteredWith(host, tokenOf('alice', 1))
    const changed = heard(socket, 'gate:changed')
    expireBy(host)
    await changed
    for (const other of [tokenOf('mallory', 3_600), tokenOf('alice', 0), 'forged']) expect(await refresh(socket, other)).toEqual(refused('UNAUTHENTICATED'))
    expect(host.subjectOf(host.sockets[0]!)).toBeUndefined()
    expect(await refresh(socket, tokenOf('alice', 3_600))).toMatchObject({ expiresAtMs: NOW + 3_600_000 })
    expect(host.subjectOf(host.sockets[0]!)).toBe('alice')
    expect(await refresh(socket, tokenOf('mallory', 3_600))).toEqual(refused('UNAUTHENTICATED'))
  })

  test('never follows a revocation', async () => {
    const host = await start({ terms: ANONYMOUS })
    const socket = await enteredWith(host, tokenOf('alice', 1))
    const gone = farewell(socket)
    await host.gate.revoke({ subject: 'alice' }, { reason: 'fired' })
    expireBy(host)
    expect(await gone).toMatchObject({ closing: { code: 'REVOKED' }, reason: 'io server disconnect' })
  })

  test('a join that was decided about somebody is decided anew about nobody', async () => {
    const slow = held()
    const host = await start({ terms: ANONYMOUS, declare: (gate) => gate.join('secret', slow.hook, ({ peer }, next) => (peer.principal === undefined ? undefined : next())).join('late', ({ peer }, next) => (peer.principal === undefined ? undefined : next()), slow.hook) })
    const socket = await enteredWith(host, tokenOf('alice', 1))
    const joins = [join(socket, 'secret'), join(socket, 'late')]
    await slow.begun
    await until(() => host.seen.admitted.filter(({ event }) => event === 'join').length === 2)
    const changed = heard(socket, 'gate:changed')
    expireBy(host)
    await changed
    slow.open()
    for (const joined of joins) expect(await joined).toHaveProperty('error')
    expect([...host.sockets[0]!.rooms]).toEqual([host.sockets[0]!.id])
  })

  test('an event that was decided about somebody is not handled as of nobody', async () => {
    const slow = held()
    const host = await start({ terms: ANONYMOUS, declare: (gate) => gate.event('say', unordered(), slow.hook) })
    const socket = await enteredWith(host, tokenOf('alice', 1))
    const said = say(socket, 'as alice')
    await slow.begun
    const changed = heard(socket, 'gate:changed')
    expireBy(host)
    await changed
    slow.open()
    expect([await said, host.handled]).toEqual([EXPIRED, []])
  })

  test('waits for a refresh that was under way, which keeps the rooms', async () => {
    const slow = held()
    const host = await start({ terms: ANONYMOUS, declare: (gate) => gate.connect((ctx, next) => (ctx.cause === 'refresh' ? slow.hook(ctx, next) : next())) })
    const socket = await enteredWith(host, tokenOf('alice', 1))
    const changed = record(socket, 'gate:changed')
    await join(socket, 'room')
    const refreshed = refresh(socket, tokenOf('alice', 3_600))
    await slow.begun
    expireBy(host)
    slow.open()
    expect(await refreshed).toEqual({ expiresAtMs: NOW + 3_600_000, lost: { rooms: [], rights: [] } })
    expect([await say(socket, 'still alice'), host.subjectOf(host.sockets[0]!), [...host.sockets[0]!.rooms].length, changed]).toEqual(['still alice', 'alice', 2, []])
  })
})

describe('what is under way when the credential ends', () => {
  test('an event that waits in the lane, and one whose policy decides, are refused', async () => {
    const slow = held()
    const host = await start({ terms: GRACE, declare: (gate) => gate.event('say', slow.hook) })
    const socket = await enteredWith(host, tokenOf('alice', 1))
    const answers = [say(socket, 'being decided'), say(socket, 'waits'), join(socket, 'waits')]
    await slow.begun
    expireBy(host)
    slow.open()
    expect(await Promise.all(answers)).toEqual([EXPIRED, EXPIRED, EXPIRED])
    expect([host.handled, host.sockets[0]!.rooms.size]).toEqual([[], 1])
  })

  test('a join whose policy decides is refused', async () => {
    const slow = held()
    const host = await start({ terms: GRACE, declare: (gate) => gate.join('room', slow.hook) })
    const socket = await enteredWith(host, tokenOf('alice', 1))
    const joined = join(socket, 'room')
    await slow.begun
    expireBy(host)
    slow.open()
    expect([await joined, host.sockets[0]!.rooms.size]).toEqual([EXPIRED, 1])
  })

  test('an event that was admitted before is answered, and a question of the server is not', async () => {
    const host = await start({ terms: GRACE, application: (io) => io.on('connection', (socket) => socket.on('ask', (ack: () => void) => void asked.open(ack))) })
    const asked = new Latch<(answer: string) => void>()
    const socket = await enteredWith(host, tokenOf('alice', 1))
    const answered = socket.emitWithAck('ask')
    const [answer, question] = [await asked.opened, heard(socket, 'question')]
    let confirmed: unknown = 'nothing'
    host.sockets[0]!.emit('question', (value: unknown) => (confirmed = value))
    const [confirm] = await question
    expireBy(host)
    answer('late')
    expect(await answered).toBe('late')
    confirm('yes')
    expect([await say(socket, 'after it'), confirmed]).toEqual([EXPIRED, 'nothing'])
    expect(host.seen.denied.map(({ code, event }) => [code, event])).toEqual([['CREDENTIAL_EXPIRED', 'ack'], ['CREDENTIAL_EXPIRED', 'say']])
  })

  test.each(['disconnect', 'anonymous', 'grace'] as const)('a client whose entry the application takes its time over is refused (%s)', async (kind) => {
    const slow = held()
    const terms = { ...(kind === 'grace' ? GRACE : kind === 'anonymous' ? ANONYMOUS : {}), withinMs: 60_000 }
    const host = await start({ terms, application: (io) => io.use((_socket, next) => void slow.hook(undefined, () => next())) })
    const socket = client(host, inAuth(tokenOf('alice', 1)))
    const gone = refusal(socket)
    await slow.begun
    expireBy(host)
    slow.open()
    expect(await gone).toMatchObject({ message: 'UNAUTHENTICATED', data: expectedRefusal('UNAUTHENTICATED') })
    expect([host.sockets, host.io.of('/').sockets.size]).toEqual([[], 0])
    // Nothing of it is left behind: it is one that has entered no namespace, once.
    expect(host.core.agenda.size).toBeLessThanOrEqual(1)
    socket.disconnect()
    await until(() => host.clients() === 0)
    expect(host.core.agenda.size).toBe(0)
  })

  test('nothing, once it is over: a clock that is set back brings nobody back', async () => {
    const host = await start({ terms: GRACE })
    const socket = await enteredWith(host, tokenOf('alice', 1))
    expireBy(host)
    host.clock.set(-500)
    expect([await say(socket, 'again'), host.handled]).toEqual([EXPIRED, []])
  })
})

describe('one timer', () => {
  const saysSo: Scheme = { name: 'word', read: ({ handshake }) => handshake.auth['ends'], verify: (expiresAtMs): Principal => ({ subject: 'x', claims: {}, expiresAtMs, factors: [] }) }

  test('acts on many peers, each at its own time', async () => {
    const host = await start({ schemes: [saysSo], terms: { withinMs: 1e6, expiringMs: 0 } })
    // Entered in an order that is not that of their ends.
    const ends = Array.from({ length: 60 }, (_, index) => NOW + 1_000 + ((index * 37) % 60) * 100)
    const names = ends.map((_, index) => `/n${index % 20}`)
    for (const name of new Set(names)) host.io.of(name)
    const connections = await Promise.all([0, 1, 2].map(() => raw(host)))
    await Promise.all(ends.map((at, index) => connections[Math.floor(index / 20)]!.enter(names[index], { ends: at })))
    const live = (): number => [...new Set(names)].reduce((sum, name) => sum + host.io.of(name).sockets.size, 0)
    expect([live(), host.core.agenda.size, host.clock.pending]).toEqual([60, 60, 1])
    const asked = host.clock.asked
    host.clock.advance(999)
    for (let left = 60; left > 0; left--) {
      expect(live()).toBe(left)
      host.clock.advance(left === 60 ? 1 : 100)
      expect(live()).toBe(left - 1)
    }
    expect(host.clock.asked - asked).toBeLessThanOrEqual(60)
  })

  test('there is none for a credential that never ends, nor where nobody is left', async () => {
    const host = await start({ schemes: [saysSo] })
    const never = await enteredWith(host, '', { auth: { ends: 'never' } })
    expect([host.core.agenda.size, host.clock.pending]).toEqual([0, 0])
    const socket = await enteredWith(host, '', { auth: { ends: NOW + 60_000 } })
    expect(host.core.agenda.size).toBe(1)
    socket.disconnect()
    await until(() => host.core.agenda.size === 0)
    host.clock.advance(1e9)
    expect(await say(never, 'still here')).toBe('still here')
  })

  test('a thousand that end together, each telling others that it goes, end together', async () => {
    const names = Array.from({ length: 20 }, (_, index) => `/n${index}`)
    const left: string[] = []
    const host = await start({
      application: (io) => names.forEach((name) => io.of(name).on('connection', (socket) => socket.on('disconnect', () => (left.push(socket.id), io.of('/n0').to('watchers').emit('left', socket.id))))),
    })
    for (let index = 0; index < 50; index++) {
      const connection = await raw(host)
      await Promise.all(names.map((name) => connection.enter(name, { token: tokenOf('alice', 1) })))
    }
    host.clock.advance(1_000)
    expect(left).toHaveLength(1_000)
    expect(host.seen.fault).toEqual([])
  })

  test('acts within a moment of real time', async () => {
    const host = await start({ clock: { now: () => Date.now(), after: (ms, fn) => ({ cancel: clearTimeout.bind(undefined, setTimeout(fn, ms).unref()) }) }, schemes: [saysSo] })
    const at = Date.now() + 400
    const socket = await enteredWith(host, '', { auth: { ends: at } })
    const [expiring] = await heard(socket, 'gate:expiring')
    expect(expiring).toEqual({ expiresAtMs: at, inMs: expect.any(Number) })
    expect(await farewell(socket)).toMatchObject({ closing: { code: 'CREDENTIAL_EXPIRED' } })
    expect(Date.now()).toBeGreaterThanOrEqual(at)
  })
})

test('in observe mode a credential that is over mutes and closes all the same', async () => {
  const host = await start({ terms: GRACE, guarding: { mode: 'observe' } })
  const socket = await enteredWith(host, tokenOf('alice', 1))
  const news = record(socket, 'news')
  expireBy(host)
  host.io.emit('news', 'no')
  expect([await say(socket, 'no'), await join(socket, 'room'), host.handled, news]).toEqual([EXPIRED, EXPIRED, [], []])
  const gone = farewell(socket)
  host.clock.advance(4_000)
  expect(await gone).toMatchObject({ closing: { code: 'CREDENTIAL_EXPIRED' } })
})

test('the end of one credential is no end of another on the same connection', async () => {
  const host = await start({ terms: GRACE })
  const alice = await enteredWith(host, tokenOf('alice', 1))
  const bob = alice.io.socket('/admin', inAuth(tokenOf('bob', 3_600))).connect()
  await entry(bob)
  const [forAlice, forBob] = [record(alice, 'news'), record(bob, 'news')]
  expireBy(host)
  host.io.emit('news', 1)
  host.io.of('/admin').emit('news', 2)
  expect([await say(alice, 'a'), await say(bob, 'b'), forAlice, forBob]).toEqual([EXPIRED, 'b', [], [2]])
})

test('a token that ends while it is being decided about enters nowhere', async () => {
  const slow = held()
  const host = await start({ declare: (gate) => gate.connect(slow.hook) })
  const socket = client(host, inAuth(tokenOf('alice', 1)))
  const gone = refusal(socket)
  await slow.begun
  host.clock.set(1_000)
  slow.open()
  expect(await gone).toMatchObject({ message: 'UNAUTHENTICATED' })
  expect(host.sockets).toEqual([])
})
