import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type RequestListener } from 'node:http'
import { describe, expect, test } from '@jest/globals'
import express, { type ErrorRequestHandler } from 'express'
import { codes, Denied, fromAuth, fromQuery, fromSubprotocol, guard, memoryStore, type CredentialReader, type Decision, type Store } from 'portcullis'
import { tickets, type TicketOptions, type Tickets } from 'portcullis/adapters/ticket'
import { audit, authenticate } from 'portcullis/policies'
import { testClock } from 'portcullis/testing'
import { Server, type ServerOptions, type Socket } from 'socket.io'
import { client, closeAfterTest, entered, entry, heard, listen, polling, refusal, until, type Client } from '../support/server.ts'

const NOW = Date.UTC(2025, 0, 1)
const HOUR = 3_600_000
const SESSIONS: Record<string, string> = { 'sid=of-alice': 'alice', 'sid=of-bob': 'bob' }

/** Who is signed in: what a session middleware would find out. */
const userOf = (request: IncomingMessage): string | undefined => SESSIONS[request.headers.cookie ?? '']

/** The recipe for plain Node. */
const nodeRecipe = (own: Tickets, now: () => number): RequestListener => {
  const respond = async (...[request, response]: Parameters<RequestListener>): Promise<void> => {
    const subject = userOf(request)
    if (request.method !== 'POST' || request.url !== '/ticket' || subject === undefined) return void response.writeHead(403).end()
    try {
      const issued = await own.issue({ subject, expiresAtMs: now() + HOUR }, request)
      response.writeHead(200, { 'Content-Type': 'application/json', 'Cache-Control': 'no-store' }).end(JSON.stringify(issued))
    } catch (error) {
      response.writeHead(error instanceof Denied ? codes[error.code].status : 500).end()
    }
  }
  return (request, response) => void respond(request, response)
}

/** The recipe for Express 5. */
const expressRecipe = (own: Tickets, now: () => number): RequestListener => {
  const app = express()
  app.post('/ticket', async (request, response) => {
    const subject = userOf(request)
    if (subject === undefined) return void response.sendStatus(403)
    const issued = await own.issue({ subject, expiresAtMs: now() + HOUR }, request)
    response.set('Cache-Control', 'no-store').json(issued)
  })
  const refused: ErrorRequestHandler = (error, _request, response, next) => {
    if (error instanceof Denied) response.sendStatus(codes[error.code].status)
    else next(error)
  }
  return app.use(refused)
}

const clocked = () => {
  const own = testClock(NOW)
  let shift = 0
  return { now: () => own.now() + shift, after: (ms: number, fn: () => void) => own.after(ms, fn), advance: (ms: number) => own.advance(ms), turnBack: (ms: number) => void (shift -= ms) }
}

interface Options extends Partial<TicketOptions> {
  readonly recipe?: typeof nodeRecipe
  readonly server?: Partial<ServerOptions>
}

/** A node with its application, its tickets and its gate. Nodes that are given the same store and clock work together. */
async function start({ recipe = nodeRecipe, server = {}, ...options }: Options = {}, shared: { readonly store?: Store; readonly clock?: ReturnType<typeof clocked> } = {}) {
  const clock = shared.clock ?? clocked()
  const store = shared.store ?? memoryStore({ clock })
  const own = tickets({ store, clock, ...options })
  const http = createServer(recipe(own, () => clock.now()))
  const io = new Server(http, { serveClient: false, ...server })
  const records: unknown[] = []
  const decisions: Decision[] = []
  const sockets: Socket[] = []
  const keep = (record: unknown): void => void records.push(record)
  const gate = guard(io, { store, clock, undeclared: 'allow' })
    .use(audit({ info: keep, warn: keep, error: keep }))
    .use(authenticate(own.scheme()))
  for (const outcome of ['admitted', 'denied', 'fault'] as const) gate.on(outcome, (decision) => decisions.push(decision))
  for (const name of ['/', '/chat', '/admin']) {
    io.of(name).on('connection', (socket) => {
      sockets.push(socket)
      socket.on('whoami', (ack: (subject: string) => void) => ack(gate.peerOf(socket).principal.subject))
    })
  }
  const port = await listen(http)
  closeAfterTest(async () => {
    await io.close()
    await gate.close()
  })
  const url = `http://127.0.0.1:${port}`
  return {
    io, url, port, gate, clock, store, own, records, decisions, sockets,
    denied: () => decisions.filter(({ outcome }) => outcome === 'denied'),
    /** Asks the application for a ticket, as a page would. */
    ask: (headers: Record<string, string> = {}) => fetch(`${url}/ticket`, { method: 'POST', headers: { cookie: 'sid=of-alice', ...headers } }),
    ticket: async (headers: Record<string, string> = {}): Promise<string> => {
      const answer = await fetch(`${url}/ticket`, { method: 'POST', headers: { cookie: 'sid=of-alice', ...headers } })
      return ((await answer.json()) as { ticket: string }).ticket
    },
  }
}

type Node = Awaited<ReturnType<typeof start>>

const reasons = (node: Node): unknown[] => node.denied().map(({ error }) => error?.cause)
const carry = (ticket: string) => ({ auth: { ticket } })
/** What came of an attempt: the code it was refused with, or `in`. */
const outcome = async (socket: Client): Promise<string> => {
  try {
    await entry(socket)
    return 'in'
  } catch (error) {
    return (error as Error).message
  }
}

const ways = [['polling'], ['websocket'], ['polling', 'websocket']]

describe.each([
  ['plain Node', nodeRecipe],
  ['Express 5', expressRecipe],
])('an application on %s', (_, recipe) => {
  test('issues a ticket to whom it knows, which signs the connection in', async () => {
    const node = await start({ recipe })
    const answer = await node.ask()
    expect(answer.headers.get('cache-control')).toBe('no-store')
    const { ticket, expiresAtMs } = (await answer.json()) as { ticket: string; expiresAtMs: number }
    expect(expiresAtMs).toBe(NOW + 30_000)
    const socket = await entered(node, carry(ticket))
    expect(await socket.emitWithAck('whoami')).toBe('alice')
  })

  test('issues none to whom it does not know', async () => {
    const node = await start({ recipe })
    expect((await node.ask({ cookie: 'sid=of-mallory' })).status).toBe(403)
  })

  test('answers 403 where there is nothing to bind to, and 503 without a store', async () => {
    const bound = await start({ recipe, bind: ['origin'] })
    expect((await bound.ask()).status).toBe(403)
    const node = await start({ recipe })
    Object.assign(node.store, { set: () => Promise.reject(new Error('gone')) })
    expect((await node.ask()).status).toBe(503)
  })
})

describe.each(ways.map((transports) => ({ transports })))('over $transports', ({ transports }) => {
  test('a ticket lets in once, and the second use is recorded as one (C1)', async () => {
    const node = await start()
    const ticket = await node.ticket()
    const first = await entered(node, { transports, ...carry(ticket) })
    if (transports.length > 1 && first.io.engine.transport.name !== 'websocket') await heard(first.io.engine, 'upgrade')
    expect(await first.emitWithAck('whoami')).toBe('alice')
    const { message, data } = await refusal(client(node, { transports, ...carry(ticket) }))
    expect(message).toBe('UNAUTHENTICATED')
    expect(data).toEqual({ code: 'UNAUTHENTICATED', message: 'Valid credentials are required.', id: node.denied()[0]!.id })
    expect(reasons(node)).toEqual(['tickets: used before'])
    expect(JSON.stringify(node.records)).toContain('tickets: used before')
  })

  test('it passes ten percent before its end, not ten percent after, and not when the clock was moved back (C2)', async () => {
    for (const [move, expected] of [
      [(node: Node) => node.clock.advance(27_000), 'in'],
      [(node: Node) => node.clock.advance(33_000), 'UNAUTHENTICATED'],
      [(node: Node) => node.clock.turnBack(HOUR), 'UNAUTHENTICATED'],
    ] as const) {
      const node = await start()
      const ticket = await node.ticket()
      move(node)
      expect(await outcome(client(node, { transports, ...carry(ticket) }))).toBe(expected)
    }
  })

  test.each<[string, Options, Record<string, string>, object, object]>([
    ['User-Agent', { bind: ['userAgent'] }, { 'user-agent': 'Browser/1' }, { extraHeaders: { 'user-agent': 'Browser/1' } }, { extraHeaders: { 'user-agent': 'Browser/2' } }],
    ['Origin', { bind: ['origin'] }, { origin: 'https://app.example' }, { extraHeaders: { origin: 'https://app.example' } }, { extraHeaders: { origin: 'https://evil.example' } }],
    ['session', { bind: [{ cookie: 'sid' }] }, {}, { extraHeaders: { cookie: 'sid=of-alice' } }, { extraHeaders: { cookie: 'sid=of-bob' } }],
    ['address', { bind: ['address'] }, {}, {}, { extraHeaders: {} }],
  ])('it is refused with another %s, and spent by that (C3)', async (name, options, asked, right, wrong) => {
    const node = await start({ ...options, ...(name === 'address' ? { trustProxy: 1 } : {}) })
    // The client itself is at the loopback address; the ticket was issued behind a proxy, to somebody else.
    const elsewhere: Record<string, string> = name === 'address' ? { 'x-forwarded-for': '198.51.100.1' } : {}
    await entered(node, { transports, ...right, ...carry(await node.ticket(asked)) })
    const stolen = await node.ticket({ ...asked, ...elsewhere })
    expect(await outcome(client(node, { transports, ...wrong, ...carry(stolen) }))).toBe('UNAUTHENTICATED')
    expect(await outcome(client(node, { transports, ...right, ...carry(stolen) }))).toBe('UNAUTHENTICATED')
    expect(reasons(node)).toEqual([name === 'session' ? 'tickets: bound to another cookie sid' : `tickets: bound to another ${name}`, 'tickets: used before'])
  })

  test('it is refused in another namespace, and spent by that (C3)', async () => {
    const node = await start()
    const request = { headers: {}, socket: { remoteAddress: '127.0.0.1' } } as IncomingMessage
    const issue = async () => (await node.own.issue({ subject: 'alice', expiresAtMs: NOW + HOUR }, request, { namespace: '/chat' })).ticket
    await entered(node, { transports, namespace: '/chat', ...carry(await issue()) })
    const stolen = await issue()
    expect(await outcome(client(node, { transports, namespace: '/admin', ...carry(stolen) }))).toBe('UNAUTHENTICATED')
    expect(await outcome(client(node, { transports, namespace: '/chat', ...carry(stolen) }))).toBe('UNAUTHENTICATED')
    expect(reasons(node)).toEqual(['tickets: bound to another namespace', 'tickets: used before'])
  })

  test('whatever is wrong with it, the refusal is the same but for its id', async () => {
    const node = await start({ bind: ['userAgent'] })
    const right = { 'user-agent': 'Browser/1' }
    const spent = await node.ticket(right)
    await entered(node, { transports, extraHeaders: right, ...carry(spent) })
    const late = await node.ticket(right)
    node.clock.advance(30_000)
    const wrong = [undefined, '', 'x', 'A'.repeat(43), 'A'.repeat(2_000), spent, late, await node.ticket({ 'user-agent': 'Browser/2' })]
    const answers = new Set<string>()
    for (const ticket of wrong) {
      const { data } = await refusal(client(node, { transports, extraHeaders: right, auth: { ticket } }))
      answers.add(JSON.stringify({ ...data, id: '' }))
    }
    expect([...answers]).toEqual([JSON.stringify({ code: 'UNAUTHENTICATED', message: 'Valid credentials are required.', id: '' })])
    expect(node.decisions.filter(({ outcome }) => outcome === 'fault')).toEqual([])
  })
})

test.each([20, 50])('of %i clients at the same time on two nodes that share a store, one gets in (C1)', async (tries) => {
  const clock = clocked()
  const shared = { clock, store: memoryStore({ clock }) }
  const nodes = [await start({}, shared), await start({}, shared)] as const
  const ticket = await nodes[0].ticket()
  const outcomes = await Promise.all(Array.from({ length: tries }, (_, index) => outcome(client(nodes[index % 2]!, { transports: index % 4 < 2 ? ['websocket'] : ['polling'], ...carry(ticket) }))))
  expect(outcomes.filter((each) => each === 'in')).toHaveLength(1)
  expect(outcomes.filter((each) => each === 'UNAUTHENTICATED')).toHaveLength(tries - 1)
  expect(nodes[0].sockets.length + nodes[1].sockets.length).toBe(1)
  const recorded = nodes.flatMap(reasons)
  expect(recorded).toHaveLength(tries - 1)
  expect(new Set(recorded)).toEqual(new Set(['tickets: used before']))
})

test('a ticket of one node is good at another that shares the store, and nowhere else', async () => {
  const clock = clocked()
  const shared = { clock, store: memoryStore({ clock }) }
  const [first, second, stranger] = [await start({}, shared), await start({}, shared), await start({}, { clock })]
  expect(await outcome(client(second, carry(await first.ticket())))).toBe('in')
  expect(await outcome(client(stranger, carry(await first.ticket())))).toBe('UNAUTHENTICATED')
})

describe('the ways to bring one (C4)', () => {
  const readers: Record<string, CredentialReader | undefined> = { 'the default': undefined, auth: fromAuth('ticket'), subprotocol: fromSubprotocol('ticket.'), query: fromQuery('ticket') }
  const carriers: Record<string, (ticket: string) => object> = {
    auth: (ticket) => ({ auth: { ticket } }),
    subprotocol: (ticket) => ({ protocols: ['app.v1', `ticket.${ticket}`] }),
    query: (ticket) => ({ query: { ticket } }),
  }

  test.each(Object.keys(readers))('by %s: that one works, and no other', async (switchedOn) => {
    const from = readers[switchedOn]
    const node = await start(from === undefined ? {} : { from })
    for (const [name, carrier] of Object.entries(carriers)) {
      const expected = name === (from === undefined ? 'auth' : switchedOn) ? 'in' : 'UNAUTHENTICATED'
      expect([name, await outcome(client(node, carrier(await node.ticket())))]).toEqual([name, expected])
    }
  })

  test('all of them, where all are switched on; two different tickets at once are refused', async () => {
    const node = await start({ from: Object.values(readers).filter((reader) => reader !== undefined) })
    for (const carrier of Object.values(carriers)) expect(await outcome(client(node, carrier(await node.ticket())))).toBe('in')
    const both = { ...carriers['auth']!(await node.ticket()), ...carriers['query']!(await node.ticket()) }
    expect(await outcome(client(node, both))).toBe('UNAUTHENTICATED')
  })

  /** Everything of a connection that an application might write into a log, as text. */
  const visible = ({ handshake, request, conn }: Socket): string => {
    const { url, headers, rawHeaders } = request
    const { query, url: own, headers: theirs } = handshake
    const { url: first, headers: firstHeaders, rawHeaders: firstRaw } = conn.request
    return JSON.stringify([url, headers, rawHeaders, query, own, theirs, first, firstHeaders, firstRaw, (request as { _query?: unknown })._query])
  }

  test.each(ways.map((transports) => ({ transports })))('the query value is nowhere the application could see it, over $transports', async ({ transports }) => {
    const node = await start({ from: fromQuery('ticket') })
    const seen: string[] = []
    node.io.engine.use((request: IncomingMessage & { _query?: unknown }, _response: unknown, next: () => void) => {
      seen.push(JSON.stringify([request.url, request._query]))
      next()
    })
    const ticket = await node.ticket()
    const socket = await entered(node, { transports, query: { ticket, room: 'blue' } })
    if (transports.length > 1 && socket.io.engine.transport.name !== 'websocket') await heard(socket.io.engine, 'upgrade')
    expect(await socket.emitWithAck('whoami')).toBe('alice')
    expect(node.sockets[0]!.handshake.query['room']).toBe('blue')
    expect(visible(node.sockets[0]!)).not.toContain(ticket)
    // A second use, which is refused and recorded.
    await refusal(client(node, { transports, query: { ticket } }))
    expect(seen.length).toBeGreaterThan(1)
    expect(seen.join()).not.toContain(ticket)
    expect(node.denied()).toHaveLength(1)
    expect(JSON.stringify([node.records, node.decisions.map(({ refusal, error }) => [refusal, error, error?.cause])])).not.toContain(ticket)
  })

  test('the subprotocol is neither echoed nor left in the request', async () => {
    const node = await start({ from: fromSubprotocol('ticket.') })
    const ticket = await node.ticket()
    await entered(node, { protocols: [`ticket.${ticket}`, 'app.v1'] })
    expect(node.sockets[0]!.request.headers['sec-websocket-protocol']).toBe('app.v1')
    expect(visible(node.sockets[0]!)).not.toContain(ticket)
    expect(JSON.stringify(node.records)).not.toContain(ticket)
  })

  test('no record holds a ticket, however it was brought and whatever came of it', async () => {
    const node = await start({ from: Object.values(readers).filter((reader) => reader !== undefined) })
    const used: string[] = []
    for (const carrier of Object.values(carriers)) {
      for (const headers of [{}, { 'x-again': '1' }]) {
        const ticket = await node.ticket(headers)
        used.push(ticket)
        await outcome(client(node, carrier(ticket)))
        await outcome(client(node, carrier(ticket)))
      }
    }
    expect(node.denied()).toHaveLength(6)
    const text = JSON.stringify(node.records)
    for (const ticket of used) expect(text).not.toContain(ticket)
  })
})

test('a client that polls by hand spends its ticket with the first CONNECT, in whatever namespace', async () => {
  const node = await start()
  const ticket = await node.ticket()
  const session = await polling(node)
  await session.post([`0${JSON.stringify({ ticket })}`, `0/chat,${JSON.stringify({ ticket })}`])
  let body = ''
  while (!body.includes('0/chat,') && !body.includes('4/chat,')) body += (await session.poll()).body
  expect(body).toMatch(/40\{"sid"/)
  expect(body).toMatch(/44\/chat,\{"message":"UNAUTHENTICATED"/)
})

describe('a connection that goes on', () => {
  test('lives as long as its principal, not as its ticket', async () => {
    const node = await start()
    const socket = await entered(node, carry(await node.ticket()))
    node.clock.advance(HOUR - 1)
    expect(await socket.emitWithAck('whoami')).toBe('alice')
    const gone = heard(socket, 'disconnect')
    node.clock.advance(1)
    await gone
  })

  const drop = async (node: Node, socket: Client): Promise<void> => {
    const gone = heard(socket, 'disconnect')
    socket.io.engine.close()
    await gone
    await until(() => node.io.of('/').sockets.size === 0)
  }

  const recovery = { server: { connectionStateRecovery: {} } }

  /** A packet after which the client knows where to go on. */
  const news = async (node: Node, socket: Client): Promise<void> => {
    const heardOf = heard(socket, 'news')
    node.io.emit('news')
    await heardOf
  }

  test('is recovered with a fresh ticket, which a function fetches', async () => {
    const node = await start(recovery)
    const socket = client(node, { auth: (give: (auth: object) => void) => void node.ticket().then((ticket) => give({ ticket })) })
    await entry(socket)
    await news(node, socket)
    await drop(node, socket)
    socket.connect()
    await entry(socket)
    expect(socket.recovered).toBe(true)
    expect(await socket.emitWithAck('whoami')).toBe('alice')
  })

  test('is not recovered with the ticket that it spent', async () => {
    const node = await start(recovery)
    const socket = await entered(node, carry(await node.ticket()))
    await news(node, socket)
    await drop(node, socket)
    expect((await refusal(socket.connect())).message).toBe('UNAUTHENTICATED')
    expect(reasons(node)).toEqual(['tickets: used before'])
  })

  test('is refreshed with a fresh ticket, and not with a spent one or another’s', async () => {
    const node = await start()
    const spent = await node.ticket()
    const socket = await entered(node, carry(spent))
    node.clock.advance(60_000)
    expect(await socket.emitWithAck('gate:refresh', { ticket: spent })).toMatchObject({ error: { code: 'UNAUTHENTICATED' } })
    expect(await socket.emitWithAck('gate:refresh', { ticket: await node.ticket({ cookie: 'sid=of-bob' }) })).toMatchObject({ error: expect.anything() })
    expect(await socket.emitWithAck('gate:refresh', { ticket: await node.ticket() })).toMatchObject({ expiresAtMs: NOW + 60_000 + HOUR })
    expect(await socket.emitWithAck('whoami')).toBe('alice')
  })
})

test('a ticket of somebody who was revoked in the meantime is refused', async () => {
  const node = await start()
  const ticket = await node.ticket()
  await node.gate.revoke({ subject: 'alice' }, { reason: 'account disabled' })
  expect((await refusal(client(node, carry(ticket)))).data).toEqual({ code: 'UNAUTHENTICATED', message: 'Valid credentials are required.', id: node.denied()[0]!.id })
  expect(await outcome(client(node, carry(await node.ticket({ cookie: 'sid=of-bob' }))))).toBe('in')
})

test('a client that vanishes while its ticket is looked up has spent it', async () => {
  const clock = clocked()
  const store = memoryStore({ clock })
  const take = store.take.bind(store)
  let asked: (() => void) | undefined
  const node = await start({}, { clock, store: Object.assign(store, { take: (key: string) => new Promise<string | undefined>((resolve) => (asked = () => resolve(take(key)))) }) })
  const ticket = await node.ticket()
  const socket = client(node, carry(ticket))
  await until(() => asked !== undefined)
  const closed = new Promise((resolve) => socket.io.engine.once('close', resolve))
  socket.io.engine.close()
  await closed
  await until(() => node.io.engine.clientsCount === 0)
  asked!()
  await until(() => node.store.get(`ticket:${createHash('sha256').update(ticket).digest('base64url')}`) === undefined)
  expect(node.sockets.length).toBe(0)
  const again = client(node, carry(ticket))
  asked = undefined
  await until(() => asked !== undefined)
  ;(asked as unknown as () => void)()
  expect((await refusal(again)).message).toBe('UNAUTHENTICATED')
})
