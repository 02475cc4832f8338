import { describe, expect, test } from '@jest/globals'
import { createHash } from 'node:crypto'
import { IncomingMessage } from 'node:http'
import { Socket as TcpSocket } from 'node:net'
import { ConfigError, fromAuth, fromQuery, fromSubprotocol, memoryStore } from 'portcullis'
import type { Clock, Denied, Store } from 'portcullis'
import { tickets } from 'portcullis/adapters/ticket'
import type { TicketBinding, TicketOptions, TicketPrincipal } from 'portcullis/adapters/ticket'
import { authenticate } from 'portcullis/policies'
import { admitted, denied, harness, testClock } from 'portcullis/testing'

const NOW = Date.UTC(2025, 0, 1)
const HOUR = 3_600_000
const ADDRESS = '203.0.113.7'
const alice: TicketPrincipal = { subject: 'alice', expiresAtMs: NOW + HOUR }

/** The HTTP request of whom a ticket is issued to. */
function requestFrom(address = ADDRESS, headers: Record<string, string> = {}): IncomingMessage {
  const socket = new TcpSocket()
  Object.defineProperty(socket, 'remoteAddress', { value: address })
  return Object.assign(new IncomingMessage(socket), { headers })
}

/** A store that answers late, and remembers what it was asked of tickets. The gate and `authenticate` ask it as well. */
function lateStore(own: Store): Store & { readonly asked: string[] } {
  const asked: string[] = []
  const late = new Proxy(own, {
    get(target, name: keyof Store) {
      const member: unknown = target[name]
      if (typeof member !== 'function') return member
      return async (...args: unknown[]) => {
        if (String(args[0]).startsWith('ticket')) asked.push(name)
        await new Promise((resolve) => setImmediate(resolve))
        return (member as (...given: unknown[]) => unknown).apply(target, args)
      }
    },
  })
  return Object.assign(Object.create(late) as Store, { asked })
}

/** A clock that can be turned back. */
function clockAt(start = NOW) {
  const own = testClock(start)
  let shift = 0
  return { now: () => own.now() + shift, after: (ms: number, fn: () => void) => own.after(ms, fn), advance: (ms: number) => own.advance(ms), turnBack: (ms: number) => void (shift -= ms) }
}

function setUp(options: Partial<TicketOptions> = {}, more: { store?: (clock: Clock) => Store; trustProxy?: number } = {}) {
  const clock = clockAt()
  const store = more.store?.(clock) ?? memoryStore({ clock })
  const own = tickets({ store, clock, ...options })
  const node = () => harness(authenticate(own.scheme()), { clock, store, address: ADDRESS, ...(more.trustProxy === undefined ? {} : { trustProxy: more.trustProxy }) })
  const gate = node()
  return { clock, store, own, gate, node, enter: (ticket: unknown, question: object = {}) => gate.connect({ auth: { ticket }, ...question }) }
}

const reasonOf = (result: { readonly error?: unknown }): unknown => (result.error as Denied).cause

describe('a ticket', () => {
  test('is 256 bits in base64url, and lets its principal in once', async () => {
    const { own, enter } = setUp()
    const full = { ...alice, issuer: 'https://app.example', claims: { team: 'blue', deep: { list: [1, 'two', null] } }, tokenId: 's-1', factors: ['pwd', 'otp'] }
    const { ticket, expiresAtMs } = await own.issue(full, requestFrom())
    expect(ticket).toMatch(/^[\w-]{43}$/)
    expect(expiresAtMs).toBe(NOW + 30_000)
    const { facts } = await enter(ticket)
    expect(facts).toEqual({ principal: full })
    const again = await enter(ticket)
    expect(again).toEqual(denied('UNAUTHENTICATED'))
    expect(reasonOf(again)).toBe('tickets: used before')
  })

  test('gives facts that nobody can change', async () => {
    const { own, enter } = setUp()
    const { ticket } = await own.issue({ ...alice, claims: { roles: ['viewer'] } }, requestFrom())
    const { facts } = await enter(ticket)
    expect(() => facts.principal.claims.roles.push('admin')).toThrow(TypeError)
    expect(() => (facts.principal.claims.role = 'admin')).toThrow(TypeError)
    expect(() => facts.principal.factors.push('otp')).toThrow(TypeError)
  })

  test('is a connection’s beginning and not its end: that is the principal’s', async () => {
    const { own, enter, clock } = setUp()
    const { ticket, expiresAtMs } = await own.issue(alice, requestFrom())
    clock.advance(expiresAtMs - NOW - 1)
    const { facts } = await enter(ticket)
    expect(facts.principal.expiresAtMs).toBe(NOW + HOUR)
  })

  test('ends with its principal, where that comes first', async () => {
    const { own, enter, clock } = setUp()
    const { ticket, expiresAtMs } = await own.issue({ subject: 'alice', expiresAtMs: NOW + 5_000 }, requestFrom())
    expect(expiresAtMs).toBe(NOW + 5_000)
    clock.advance(5_000)
    expect(await enter(ticket)).toEqual(denied('UNAUTHENTICATED'))
  })

  test('may be for a principal that never expires, when that is said', async () => {
    const { own, enter } = setUp()
    const { facts } = await enter((await own.issue({ subject: 'door-7', expiresAtMs: 'never' }, requestFrom())).ticket)
    expect(facts.principal.expiresAtMs).toBe('never')
  })

  test('stays synchronous where the store is', async () => {
    const { own, enter } = setUp()
    const { ticket } = await own.issue(alice, requestFrom())
    expect((await enter(ticket)).sync).toBe(true)
    expect((await enter(ticket)).sync).toBe(true)
  })

  test('is one of 10,000 without a repeat, of which none begins or ends like another', async () => {
    const { own } = setUp()
    const request = requestFrom()
    const issued = await Promise.all(Array.from({ length: 10_000 }, () => own.issue(alice, request)))
    const all = issued.map(({ ticket }) => ticket)
    expect(new Set(all).size).toBe(10_000)
    for (const part of [(ticket: string) => ticket.slice(0, 21), (ticket: string) => ticket.slice(-21)]) expect(new Set(all.map(part)).size).toBe(10_000)
    // Each of the 64 letters stands in the first place about as often as any other: 156 times, with a standard deviation of 12.
    const first = new Map<string, number>()
    for (const ticket of all) first.set(ticket[0]!, (first.get(ticket[0]!) ?? 0) + 1)
    expect(first.size).toBe(64)
    expect(Math.max(...first.values())).toBeLessThan(260)
  })
})

describe('what the store holds', () => {
  test('is a hash of the ticket, and of what it is bound to nothing in clear', async () => {
    const kept: [string, string, number][] = []
    const bind: TicketBinding[] = ['address', 'userAgent', 'origin', 'namespace', { cookie: 'sid' }]
    const { own } = setUp({ bind }, {
      store: (clock) => {
        const store = memoryStore({ clock })
        const set = store.set.bind(store)
        return Object.assign(store, { set: (key: string, value: string, ttlMs: number) => (kept.push([key, value, ttlMs]), set(key, value, ttlMs)) })
      },
    })
    const headers = { 'user-agent': 'Browser/1.0', origin: 'https://app.example', cookie: 'sid=session-secret' }
    const { ticket } = await own.issue(alice, requestFrom('198.51.100.23', headers), { namespace: '/chat' })
    const id = createHash('sha256').update(ticket).digest('base64url')
    expect(kept.map(([key, , ttlMs]) => [key, ttlMs])).toEqual([
      [`ticket:${id}`, 30_000],
      [`ticket-issued:${id}`, 60_000],
    ])
    const text = JSON.stringify(kept)
    for (const secret of [ticket, '198.51.100.23', 'Browser/1.0', 'app.example', 'session-secret', '/chat']) expect(text).not.toContain(secret)
  })

  test('seals equal values differently for each ticket', async () => {
    const values: string[] = []
    const { own } = setUp({}, { store: (clock) => Object.assign(memoryStore({ clock }), { set: (_: string, value: string) => (values.push(value), true) }) })
    for (let i = 0; i < 2; i++) await own.issue(alice, requestFrom())
    const [first, , second] = values as [string, string, string]
    expect(JSON.parse(first).bound.address).not.toBe(JSON.parse(second).bound.address)
  })

  test('is gone with the ticket’s time', async () => {
    const { own, store, clock } = setUp()
    const { ticket } = await own.issue(alice, requestFrom())
    const id = createHash('sha256').update(ticket).digest('base64url')
    clock.advance(30_000)
    expect(store.get(`ticket:${id}`)).toBeUndefined()
    clock.advance(30_000)
    expect(store.get(`ticket-issued:${id}`)).toBeUndefined()
  })
})

describe.each(['at once', 'late'])('with a store that answers %s', (when) => {
  const store = (clock: Clock) => (when === 'late' ? lateStore(memoryStore({ clock })) : memoryStore({ clock }))

  test.each([20, 50])('of %i uses at the same time on two nodes one gets in, and the others are recorded as a second use', async (tries) => {
    const { own, node } = setUp({}, { store })
    const nodes = [node(), node()]
    const { ticket } = await own.issue(alice, requestFrom())
    const results = await Promise.all(Array.from({ length: tries }, (_, index) => nodes[index % 2]!.connect({ auth: { ticket } })))
    const refused = results.filter(({ outcome }) => outcome !== 'admitted')
    expect(refused).toHaveLength(tries - 1)
    expect(new Set(refused.map(reasonOf))).toEqual(new Set(['tickets: used before']))
  })

  test('it passes before its end, and not from then on', async () => {
    for (const [after, outcome] of [[27_000, 'admitted'], [29_999, 'admitted'], [30_000, 'denied'], [33_000, 'denied'], [70_000, 'denied']] as const) {
      const { own, enter, clock } = setUp({}, { store })
      const { ticket } = await own.issue(alice, requestFrom())
      clock.advance(after)
      expect([after, (await enter(ticket)).outcome]).toEqual([after, outcome])
    }
  })

  test('a wrong use spends it', async () => {
    const { own, enter } = setUp({}, { store })
    const { ticket } = await own.issue(alice, requestFrom())
    expect(reasonOf(await enter(ticket, { address: '203.0.113.8' }))).toBe('tickets: bound to another address')
    const owner = await enter(ticket)
    expect(owner).toEqual(denied('UNAUTHENTICATED'))
    expect(reasonOf(owner)).toBe('tickets: used before')
  })
})

test('the good use is one operation of the store', async () => {
  const late = lateStore(memoryStore())
  const { own, enter } = setUp({}, { store: () => late })
  const { ticket } = await own.issue(alice, requestFrom())
  late.asked.length = 0
  expect(await enter(ticket)).toEqual(admitted())
  expect(late.asked).toEqual(['take'])
})

describe('time', () => {
  /** A store that forgets nothing: what a ticket says of itself has to do. */
  const forgetsNothing = () => memoryStore({ clock: testClock(NOW) })

  test('is what the ticket itself says, whatever the store has kept', async () => {
    for (const [after, outcome] of [[27_000, 'admitted'], [30_000, 'denied'], [33_000, 'denied']] as const) {
      const { own, enter, clock } = setUp({}, { store: forgetsNothing })
      const { ticket } = await own.issue(alice, requestFrom())
      clock.advance(after)
      const result = await enter(ticket)
      expect([after, result.outcome]).toEqual([after, outcome])
      if (outcome === 'denied') expect(reasonOf(result)).toBe('tickets: expired')
    }
  })

  test('that was turned back makes no ticket live longer', async () => {
    for (const [back, outcome] of [[0, 'admitted'], [1_000, 'admitted'], [1_001, 'denied'], [30_000, 'denied'], [HOUR, 'denied']] as const) {
      const { own, enter, clock } = setUp({}, { store: forgetsNothing })
      const { ticket } = await own.issue(alice, requestFrom())
      clock.turnBack(back)
      const result = await enter(ticket)
      expect([back, result.outcome]).toEqual([back, outcome])
      if (outcome === 'denied') expect(reasonOf(result)).toBe('tickets: issued in the future: the clock was moved back')
    }
  })

  test('may differ between nodes by what clockToleranceMs says', async () => {
    for (const [back, outcome] of [[0, 'admitted'], [1, 'denied']] as const) {
      const { own, enter, clock } = setUp({ clockToleranceMs: 0 })
      const { ticket } = await own.issue(alice, requestFrom())
      clock.turnBack(back)
      expect((await enter(ticket)).outcome).toBe(outcome)
    }
  })

  test('ttlMs is how long a ticket waits', async () => {
    const { own, enter, clock } = setUp({ ttlMs: 300_000 })
    const { ticket, expiresAtMs } = await own.issue(alice, requestFrom())
    expect(expiresAtMs).toBe(NOW + 300_000)
    clock.advance(299_999)
    expect(await enter(ticket)).toEqual(admitted())
  })

  test('operators can tell a ticket that came too late from one that was never issued', async () => {
    const { own, enter, clock } = setUp()
    const { ticket } = await own.issue(alice, requestFrom())
    clock.advance(31_000)
    expect(reasonOf(await enter(ticket))).toBe('tickets: expired, or used before')
    expect(reasonOf(await enter(`${'A'.repeat(42)}A`))).toBe('tickets: never issued, or long over')
  })
})

const binding = (bind: TicketBinding[], headers: Record<string, string> = {}) => ({ bind, headers })
const browser = { 'user-agent': 'Browser/1.0' }
const site = { origin: 'https://app.example' }
const session = { cookie: 'theme=dark; sid=abc' }

describe('what a ticket is bound to', () => {
  test.each([
    ['another address', binding(['address']), {}, { address: '203.0.113.8' }],
    ['another /64', binding(['address']), { address: '2001:db8:0:1::7' }, { address: '2001:db8:0:2::7' }],
    ['another User-Agent', binding(['userAgent'], browser), { headers: browser }, { headers: { 'user-agent': 'Browser/1.1' } }],
    ['no User-Agent', binding(['userAgent'], browser), { headers: browser }, { headers: {} }],
    ['another Origin', binding(['origin'], site), { headers: site }, { headers: { origin: 'https://evil.example' } }],
    ['no Origin', binding(['origin'], site), { headers: site }, { headers: {} }],
    ['the Origin of a sandboxed page', binding(['origin'], site), { headers: site }, { headers: { origin: 'null' } }],
    ['another namespace', binding(['namespace']), { namespace: '/chat' }, { namespace: '/admin' }],
    ['another session', binding([{ cookie: 'sid' }], session), { headers: session }, { headers: { cookie: 'sid=xyz' } }],
    ['no session', binding([{ cookie: 'sid' }], session), { headers: session }, { headers: { cookie: 'theme=dark' } }],
    ['two sessions', binding([{ cookie: 'sid' }], session), { headers: session }, { headers: { cookie: 'sid=abc; sid=abc' } }],
    ['the right address with another User-Agent', binding(['address', 'userAgent'], browser), { headers: browser }, { headers: { 'user-agent': 'x' } }],
  ] as const)('%s is refused, and spends it', async (_, { bind, headers }, right, wrong) => {
    const { own, enter } = setUp({ bind })
    const issue = async () => (await own.issue(alice, requestFrom((right as { address?: string }).address, headers), bind.includes('namespace') ? { namespace: '/chat' } : {})).ticket
    expect(await enter(await issue(), right)).toEqual(admitted())

    const stolen = await issue()
    const thief = await enter(stolen, { ...right, ...wrong })
    expect(thief).toEqual(denied('UNAUTHENTICATED'))
    expect(thief.refusal).toEqual({ code: 'UNAUTHENTICATED', message: 'Valid credentials are required.', id: expect.any(String) })
    expect(reasonOf(await enter(stolen, right))).toBe('tickets: used before')
  })

  test('is the address, unless something else is said', async () => {
    const { own, enter } = setUp()
    expect(await enter((await own.issue(alice, requestFrom())).ticket, { address: '198.51.100.1' })).toEqual(denied('UNAUTHENTICATED'))
    const free = setUp({ bind: [] })
    expect(await free.enter((await free.own.issue(alice, requestFrom())).ticket, { address: '198.51.100.1' })).toEqual(admitted())
  })

  test('is one address however it is spelt, and for IPv6 its /64', async () => {
    for (const [issued, used] of [['::ffff:203.0.113.7', '203.0.113.7'], ['2001:db8::1', '2001:DB8:0:0:ffff::2'], ['fe80::1%eth0', 'fe80::1%eth1']] as const) {
      const { own, enter } = setUp()
      expect(await enter((await own.issue(alice, requestFrom(issued))).ticket, { address: used })).toEqual(admitted())
    }
  })

  test('is the address the trusted proxy names, on both sides', async () => {
    const { own, enter } = setUp({ trustProxy: 1 }, { trustProxy: 1 })
    const behind = (client: string) => requestFrom('10.0.0.1', { 'x-forwarded-for': client })
    const at = (client: string) => ({ address: '10.0.0.1', headers: { 'x-forwarded-for': client } })
    expect(await enter((await own.issue(alice, behind('198.51.100.1'))).ticket, at('198.51.100.1'))).toEqual(admitted())
    expect(await enter((await own.issue(alice, behind('198.51.100.1'))).ticket, at('198.51.100.2'))).toEqual(denied('UNAUTHENTICATED'))
  })

  test('is not the address a client claims for itself', async () => {
    const { own, enter } = setUp()
    const { ticket } = await own.issue(alice, requestFrom('198.51.100.9', { 'x-forwarded-for': ADDRESS }))
    expect(await enter(ticket, { address: ADDRESS })).toEqual(denied('UNAUTHENTICATED'))
  })

  test('is the namespace whenever one is named', async () => {
    const { own, enter } = setUp()
    const issue = async () => (await own.issue(alice, requestFrom(), { namespace: '/chat' })).ticket
    expect(await enter(await issue(), { namespace: '/chat' })).toEqual(admitted())
    expect(reasonOf(await enter(await issue(), { namespace: '/' }))).toBe('tickets: bound to another namespace')
  })

  test('has to be all that this node asks for, whatever the node that issued it asked for', async () => {
    const clock = testClock(NOW)
    const store = memoryStore({ clock })
    const lax = tickets({ store, clock, bind: [] })
    const strict = tickets({ store, clock, bind: ['address'] })
    const gates = [lax, strict].map((own) => harness(authenticate(own.scheme()), { clock, store }))
    const brought = await gates[1]!.connect({ auth: { ticket: (await lax.issue(alice, requestFrom())).ticket } })
    expect(reasonOf(brought)).toBe('tickets: bound to no address')
    // And the other way round: what it was bound to is asked for by whoever takes it.
    expect(await gates[0]!.connect({ auth: { ticket: (await strict.issue(alice, requestFrom())).ticket }, address: '198.51.100.1' })).toEqual(denied('UNAUTHENTICATED'))
  })

  test.each([
    ['userAgent', {}],
    ['origin', {}],
    ['origin', { origin: 'null' }],
    [{ cookie: 'sid' }, { cookie: 'other=1' }],
  ] as const)('has to be there: %j', async (bind, headers) => {
    const { own } = setUp({ bind: [bind] })
    await expect(own.issue(alice, requestFrom(ADDRESS, headers))).rejects.toMatchObject({ code: 'FORBIDDEN', cause: expect.stringContaining('nothing to bind to') })
  })
})

describe('what is no ticket', () => {
  test.each([
    ['', 'empty'],
    ['x', 'short'],
    ['A'.repeat(42), 'one character short'],
    ['A'.repeat(44), 'one too many'],
    [`${'A'.repeat(42)}B`, 'no spelling of 256 bits'],
    [`${'A'.repeat(42)}=`, 'padded'],
    [`${'A'.repeat(41)}+A`, 'base64'],
    [`${'A'.repeat(42)}A\n`, 'with a line break'],
    [` ${'A'.repeat(42)}A`, 'with a space'],
    ['é'.repeat(43), 'not ASCII'],
    ['A'.repeat(2_000), 'long'],
  ])('is refused without asking the store: %#', async (text) => {
    const late = lateStore(memoryStore())
    const { enter } = setUp({}, { store: () => late })
    const result = await enter(text)
    expect(reasonOf(result)).toBe('tickets: not of the shape of one')
    expect(late.asked).toEqual([])
  })

  test.each([[42], [{}], [['A'.repeat(43)]], [true]])('is refused when it is no text: %j', async (value) => {
    expect(await setUp().enter(value)).toEqual(denied('UNAUTHENTICATED'))
  })

  test.each(['', 'null', '[]', '7', '{', '{"principal":{}}', JSON.stringify({ principal: alice, issuedAtMs: NOW, expiresAtMs: NOW + 1, bound: {} }), JSON.stringify({ principal: { ...alice, claims: {}, factors: [] }, issuedAtMs: NOW, expiresAtMs: 'x', bound: {} }), JSON.stringify({ principal: { ...alice, claims: {}, factors: [] }, issuedAtMs: NOW, expiresAtMs: NOW + 1 })])(
    'is refused when its record is damaged: %s',
    async (text) => {
      const { own, store, enter } = setUp()
      const { ticket } = await own.issue(alice, requestFrom())
      await store.set(`ticket:${createHash('sha256').update(ticket).digest('base64url')}`, text, HOUR)
      expect(reasonOf(await enter(ticket))).toBe('tickets: its record is damaged')
    },
  )

  test('is another one’s signature: nothing but what was issued is one', async () => {
    const { own, enter } = setUp()
    const { ticket } = await own.issue(alice, requestFrom())
    const swapped = ticket.replace(/[a-zA-Z]/, (letter) => (letter === letter.toLowerCase() ? letter.toUpperCase() : letter.toLowerCase()))
    expect(await enter(swapped)).toEqual(denied('UNAUTHENTICATED'))
    expect(await enter(ticket)).toEqual(admitted())
  })
})

describe('where it stands', () => {
  test('is handshake.auth.ticket unless from says otherwise', async () => {
    const { own, gate } = setUp()
    const { ticket } = await own.issue(alice, requestFrom())
    for (const auth of [{}, { token: ticket }, { Ticket: ticket }]) expect(await gate.connect({ auth })).toEqual(denied('UNAUTHENTICATED'))
    for (const headers of [{ authorization: `Bearer ${ticket}` }, { cookie: `ticket=${ticket}` }]) expect(await gate.connect({ headers })).toEqual(denied('UNAUTHENTICATED'))
    expect(await gate.connect({ url: `/socket.io/?EIO=4&ticket=${ticket}` })).toEqual(denied('UNAUTHENTICATED'))
    expect(await gate.connect({ auth: { ticket } })).toEqual(admitted())
  })

  test('may be the query, because it is spent by its first use', () => {
    const own = tickets({ store: memoryStore(), from: [fromAuth('ticket'), fromQuery('ticket'), fromSubprotocol('ticket.')] })
    expect(own.scheme()).toMatchObject({ name: 'ticket', singleUse: true })
    expect(() => authenticate(own.scheme())).not.toThrow()
  })
})

describe('other causes of a decision', () => {
  test('a recovered connection brings a new one: the spent one is refused', async () => {
    const { own, enter } = setUp()
    const { ticket } = await own.issue(alice, requestFrom())
    expect(await enter(ticket)).toEqual(admitted())
    expect(await enter(ticket, { cause: 'recover' })).toEqual(denied('UNAUTHENTICATED'))
    expect(await enter((await own.issue(alice, requestFrom())).ticket, { cause: 'recover' })).toEqual(admitted())
  })

  test('a refresh brings a new one in-band, under the same bindings', async () => {
    const { own } = setUp()
    const refresh = async (from: string) => {
      const { ticket } = await own.issue(alice, requestFrom(from))
      const ctx = { cause: 'refresh', handshake: { auth: { ticket } }, headers: {}, address: ADDRESS, namespace: '/', now: NOW } as never
      const { read, verify } = own.scheme()
      return () => verify(read(ctx)!, ctx)
    }
    expect((await refresh(ADDRESS))()).toMatchObject({ subject: 'alice' })
    expect(await refresh('198.51.100.1')).toThrow(expect.objectContaining({ code: 'UNAUTHENTICATED' }))
  })
})

describe('a store that fails', () => {
  const failing = [
    ['throws', () => { throw new Error('no store') }],
    ['rejects', () => Promise.reject(new Error('no store'))],
  ] as const

  test.each(failing)('and %s issues no ticket', async (_, set) => {
    const { own } = setUp({}, { store: (clock) => Object.assign(memoryStore({ clock }), { set }) })
    await expect(own.issue(alice, requestFrom())).rejects.toMatchObject({ code: 'UNAVAILABLE', cause: expect.objectContaining({ message: 'no store' }) })
  })

  test.each(failing)('and %s lets nobody in', async (_, fail) => {
    for (const operation of ['take', 'get'] as const) {
      const { own, store, enter } = setUp()
      const { ticket } = await own.issue(alice, requestFrom())
      if (operation === 'get') expect(await enter(ticket)).toEqual(admitted())
      Object.assign(store, { [operation]: fail })
      expect(await enter(ticket)).toEqual(denied('UNAVAILABLE'))
    }
  })
})

describe('issue', () => {
  const circle: Record<string, unknown> = {}
  circle['self'] = circle

  test.each<[string, unknown]>([
    ['principal is undefined', undefined],
    ['principal is null', null],
    ['principal is string', 'alice'],
    ['subject', {}],
    ['subject', { ...alice, subject: '' }],
    ['subject', { ...alice, subject: 7 }],
    ['issuer', { ...alice, issuer: '' }],
    ['tokenId', { ...alice, tokenId: 7 }],
    ['expiresAtMs', { subject: 'alice' }],
    ['expiresAtMs', { ...alice, expiresAtMs: NaN }],
    ['expiresAtMs', { ...alice, expiresAtMs: Infinity }],
    ['expiresAtMs', { ...alice, expiresAtMs: null }],
    ['expiresAtMs', { ...alice, expiresAtMs: new Date(NOW + HOUR) }],
    ['expired', { ...alice, expiresAtMs: NOW }],
    ['expired', { ...alice, expiresAtMs: NOW - 1 }],
    // Seconds, where milliseconds are meant.
    ['expired', { ...alice, expiresAtMs: (NOW + HOUR) / 1_000 }],
    ['claims', { ...alice, claims: 'admin' }],
    ['claims', { ...alice, claims: [] }],
    ['JSON', { ...alice, claims: { at: new Date() } }],
    ['JSON', { ...alice, claims: { email: undefined } }],
    ['JSON', { ...alice, claims: { score: NaN } }],
    ['JSON', { ...alice, claims: { roles: new Set(['admin']) } }],
    ['JSON', { ...alice, claims: circle }],
    ['__proto__', { ...alice, claims: JSON.parse('{"__proto__":{"admin":true}}') }],
    ['factors', { ...alice, factors: 'pwd' }],
    ['factors', { ...alice, factors: [''] }],
    ['unknown member "password"', { ...alice, password: 'hunter2' }],
    ['larger than 16384 bytes', { ...alice, claims: { text: 'x'.repeat(16_384) } }],
    ['larger than 16384 bytes', { ...alice, subject: 'é'.repeat(8_192) }],
  ])('takes no principal with a flaw, and names it: %s, %#', async (named, principal) => {
    const { own, store } = setUp({}, { store: (clock) => lateStore(memoryStore({ clock })) })
    const issued = own.issue(principal as TicketPrincipal, requestFrom())
    await expect(issued).rejects.toThrow(TypeError)
    await expect(issued).rejects.toThrow(named)
    expect((store as ReturnType<typeof lateStore>).asked).toEqual([])
  })

  test('takes a principal of just under 16 kB', async () => {
    const { own, enter } = setUp()
    const { facts } = await enter((await own.issue({ ...alice, claims: { text: 'x'.repeat(16_000) } }, requestFrom())).ticket)
    expect(facts.principal.claims.text).toHaveLength(16_000)
  })

  test('needs the request, and a namespace that is one', async () => {
    const { own } = setUp()
    for (const request of [undefined, null, {}, 'request']) await expect(own.issue(alice, request as never)).rejects.toThrow('the HTTP request')
    for (const namespace of ['chat', '', 7]) await expect(own.issue(alice, requestFrom(), { namespace } as never)).rejects.toThrow('namespace is a name')
    await expect(own.issue(alice, requestFrom(), { nsp: '/chat' } as never)).rejects.toThrow('"nsp"')
    await expect(setUp({ bind: ['namespace'] }).own.issue(alice, requestFrom())).rejects.toThrow("{ namespace: '/chat' }")
  })
})

describe('options', () => {
  const store = memoryStore()
  test.each<[string, unknown]>([
    ['takes options', undefined],
    ['needs a store', {}],
    ['needs a store', { store: {} }],
    ['needs a store', { store: null }],
    ['unknown option "ttl"', { store, ttl: 30 }],
    ['ttlMs', { store, ttlMs: 0 }],
    ['ttlMs', { store, ttlMs: 300_001 }],
    ['ttlMs', { store, ttlMs: 1.5 }],
    ['ttlMs', { store, ttlMs: Infinity }],
    ['ttlMs', { store, ttlMs: '30000' }],
    ['clockToleranceMs', { store, clockToleranceMs: -1 }],
    ['clockToleranceMs', { store, clockToleranceMs: 60_001 }],
    ['bind', { store, bind: 'address' }],
    ['bind', { store, bind: ['ip'] }],
    ['bind', { store, bind: [{ cookie: 'a b' }] }],
    ['bind', { store, bind: [{ cookie: 'a', header: 'b' }] }],
    ['bind', { store, bind: [null] }],
    ['from', { store, from: 'ticket' }],
    ['from', { store, from: [] }],
    ['trustProxy', { store, trustProxy: true }],
    ['trustProxy', { store, trustProxy: ['proxy'] }],
    ['clock', { store, clock: {} }],
  ])('that make no sense are a ConfigError that says so: %s, %#', (named, options) => {
    const make = () => tickets(options as TicketOptions)
    expect(make).toThrow(ConfigError)
    expect(make).toThrow(named)
  })
})
