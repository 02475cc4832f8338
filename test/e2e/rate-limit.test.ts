import { once } from 'node:events'
import { createServer, get } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, test } from '@jest/globals'
import { Denied, deny, guard, memoryStore, when, type Gate, type GuardOptions } from 'portcullis'
import { rateLimit } from 'portcullis/policies'
import { Server, type Socket } from 'socket.io'
import { io as connectClient, type Socket as ClientSocket } from 'socket.io-client'

const closers: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

/** So long that nothing comes back while a test runs. */
const hour = 3_600_000

interface Running {
  readonly io: Server
  readonly url: string
}

async function start(declare: (gate: Gate) => unknown, options: GuardOptions = {}): Promise<Running> {
  const http = createServer()
  const io = new Server(http)
  const gate = guard(io, { undeclared: 'allow', ...options })
  declare(gate)
  closers.push(() => gate.close())
  http.listen(0, '127.0.0.1')
  await once(http, 'listening')
  closers.push(() => io.close())
  return { io, url: `http://127.0.0.1:${(http.address() as AddressInfo).port}` }
}

function client({ url }: Running, options: Parameters<typeof connectClient>[1] = {}): ClientSocket {
  const socket = connectClient(url, { transports: ['websocket'], reconnection: false, forceNew: true, ...options })
  closers.push(() => socket.disconnect())
  return socket
}

/** The refusal of a connect; undefined when it was admitted. */
const entering = (socket: ClientSocket): Promise<any> =>
  new Promise((resolve) => {
    const done = (refusal: unknown): void => {
      socket.off('connect')
      socket.off('connect_error')
      resolve(refusal)
    }
    socket.once('connect', () => done(undefined))
    socket.once('connect_error', (error) => done((error as unknown as { data?: unknown }).data ?? error))
  })

async function enter(running: Running, options?: Parameters<typeof connectClient>[1]): Promise<ClientSocket> {
  const socket = client(running, options)
  expect(await entering(socket)).toBeUndefined()
  return socket
}

/** Proves who a peer is by its word: what stands here is not the subject of these tests. */
const proves = { name: 'proves', connect: (ctx: any, next: (facts: { principal: { subject: string } }) => void | Promise<void>) => next({ principal: { subject: String(ctx.handshake.auth.as) } }) }

describe('events', () => {
  test('of a flood as many are handled as the limit says, the others are refused, and another client is served', async () => {
    const running = await start((gate) => gate.event('say', rateLimit({ limit: 100, perMs: hour, key: (ctx) => (ctx.stage === 'event' ? ctx.socket.id : '') })))
    const seen: string[] = []
    running.io.on('connection', (socket) => {
      socket.onAny((event: string) => seen.push(event))
      socket.on('say', (what: unknown, ack: (answer: unknown) => void) => ack(what))
    })
    const [flooding, other] = [await enter(running), await enter(running)]
    const answers = Promise.all(Array.from({ length: 10_000 }, (_, index) => flooding.emitWithAck('say', index)))
    expect(await other.emitWithAck('say', 'hello')).toBe('hello')

    const refusals = (await answers).filter((answer) => typeof answer !== 'number')
    expect(refusals).toHaveLength(9_900)
    expect(refusals[0]).toMatchObject({ error: { code: 'RATE_LIMITED', retryAfterMs: expect.any(Number) } })
    expect(seen).toHaveLength(101)
  })

  test('one without an ack is refused with gate:denied, and reaches no listener', async () => {
    const running = await start((gate) => gate.event('say', rateLimit({ limit: 1, perMs: hour })))
    const seen: unknown[] = []
    running.io.on('connection', (socket) => socket.onAny((...event: unknown[]) => seen.push(event)))
    const socket = await enter(running)
    const notice = new Promise((resolve) => socket.once('gate:denied', resolve))
    socket.emit('say', 1)
    socket.emit('say', 2)
    expect(await notice).toMatchObject({ event: 'say', code: 'RATE_LIMITED' })
    expect(seen).toEqual([['say', 1]])
  })

  test('connecting anew, in another namespace or from another connection, gives a subject nothing back', async () => {
    const limit = rateLimit({ limit: 2, perMs: hour })
    const running = await start((gate) => gate.use(proves).event('say', limit))
    for (const name of ['/', '/other']) running.io.of(name).on('connection', (socket) => socket.on('say', (ack: () => void) => ack()))
    const first = await enter(running, { auth: { as: 'alice' } })
    await first.emitWithAck('say')
    first.disconnect()
    const second = await enter(running, { auth: { as: 'alice' } })
    await second.emitWithAck('say')
    const elsewhere = await enter({ ...running, url: `${running.url}/other` }, { auth: { as: 'alice' } })
    expect(await elsewhere.emitWithAck('say')).toMatchObject({ error: { code: 'RATE_LIMITED' } })
    expect(await (await enter(running, { auth: { as: 'alice' } })).emitWithAck('say')).toMatchObject({ error: { code: 'RATE_LIMITED' } })
    expect(await (await enter(running, { auth: { as: 'bob' } })).emitWithAck('say')).toBeUndefined()
  })

  test('a limit on everything meets each event of a socket', async () => {
    const running = await start((gate) => gate.event('*', rateLimit({ limit: 3, perMs: hour })))
    running.io.on('connection', (socket) => {
      for (const name of ['a', 'b', 'c', 'd']) socket.on(name, (ack: () => void) => ack())
    })
    const socket = await enter(running)
    const answers = []
    for (const name of ['a', 'b', 'c', 'd']) answers.push(await socket.emitWithAck(name))
    expect(answers).toEqual([undefined, undefined, undefined, { error: expect.objectContaining({ code: 'RATE_LIMITED' }) }])
  })
})

describe('requests', () => {
  const open = ({ url }: Running): Promise<{ status: number; headers: Record<string, unknown>; body: string }> =>
    new Promise((resolve, reject) => {
      get(`${url}/socket.io/?EIO=4&transport=polling`, (response) => {
        let body = ''
        response.on('data', (chunk) => (body += String(chunk)))
        response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body }))
      }).on('error', reject)
    })

  test('of a flood of connections from one address the limit is opened, half-open ones included, and the rest gets 429', async () => {
    const running = await start((gate) => gate.request(when(({ opening }) => opening, rateLimit({ limit: 50, perMs: hour }))))
    const answers = await Promise.all(Array.from({ length: 200 }, () => open(running)))
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(50)
    const refused = answers.filter(({ status }) => status === 429)
    expect(refused).toHaveLength(150)
    expect(Number(refused[0]!.headers['retry-after'])).toBeGreaterThan(0)
    expect(JSON.parse(refused[0]!.body)).toMatchObject({ error: { code: 'RATE_LIMITED', retryAfterMs: expect.any(Number) } })
    // By a WebSocket as well: the transport makes no difference.
    expect(await entering(client(running))).toBeInstanceOf(Error)
    expect(running.io.engine.clientsCount).toBe(50)
  })

  test('a session that was opened goes on by polling and by an upgrade', async () => {
    const running = await start((gate) => gate.request(when(({ opening }) => opening, rateLimit({ limit: 1, perMs: hour }))))
    running.io.on('connection', (socket) => socket.on('say', (what: unknown, ack: (answer: unknown) => void) => ack(what)))
    const socket = await enter(running, { transports: ['polling', 'websocket'] })
    for (let index = 0; index < 20; index++) expect(await socket.emitWithAck('say', index)).toBe(index)
    expect(await entering(client(running, { transports: ['polling'] }))).toBeInstanceOf(Error)
  })
})

test('credentials tried one after the other on one connection are limited at connect', async () => {
  let asked = 0
  const judge = {
    name: 'judge',
    connect: () => {
      asked++
      deny('UNAUTHENTICATED')
    },
  }
  const running = await start((gate) => gate.connect(rateLimit({ limit: 5, perMs: hour })).connect(judge))
  const socket = client(running, { autoConnect: false })
  const codes: string[] = []
  for (let attempt = 0; attempt < 20; attempt++) {
    socket.auth = { token: `guess-${attempt}` }
    const answer = entering(socket)
    socket.connect()
    codes.push((await answer).code)
  }
  expect(codes).toEqual([...Array<string>(5).fill('UNAUTHENTICATED'), ...Array<string>(15).fill('RATE_LIMITED')])
  expect(asked).toBe(5)
})

test('a join over the limit throws at the handler, which cannot go on', async () => {
  const running = await start((gate) => gate.join('room:{id}', rateLimit({ limit: 2, perMs: hour })))
  running.io.on('connection', (socket: Socket) => {
    socket.on('enter', (id: string, ack: (rooms: unknown) => void) => {
      try {
        void socket.join(`room:${id}`)
        ack([...socket.rooms].filter((room) => room !== socket.id))
      } catch (error) {
        ack(error instanceof Denied ? error.code : 'something else')
      }
    })
  })
  const socket = await enter(running)
  expect(await socket.emitWithAck('enter', 'a')).toEqual(['room:a'])
  expect(await socket.emitWithAck('enter', 'b')).toEqual(['room:a', 'room:b'])
  expect(await socket.emitWithAck('enter', 'c')).toBe('RATE_LIMITED')
})

test('a store that is down admits nobody, tells the client nothing of itself, and serves again when it is back', async () => {
  const memory = memoryStore()
  let down = true
  const store = Object.assign(Object.create(memory) as typeof memory, {
    subscribe: (...args: Parameters<typeof memory.subscribe>) => memory.subscribe(...args),
    scope: 'node' as const,
    close: () => memory.close(),
    consume: async (key: string, rate: Parameters<typeof memory.consume>[1], now: number) => {
      if (down) throw new Error('connect ECONNREFUSED redis://:hunter2@192.0.2.1')
      return memory.consume(key, rate, now)
    },
  })
  const running = await start((gate) => gate.event('say', rateLimit({ limit: 10, perMs: 1_000 })), { store })
  const seen: unknown[] = []
  running.io.on('connection', (socket) => socket.on('say', (what: unknown, ack: (answer: unknown) => void) => (seen.push(what), ack(what))))
  const socket = await enter(running)
  const answers = await Promise.all([1, 2, 3].map((what) => socket.emitWithAck('say', what)))
  for (const answer of answers) expect(answer).toEqual({ error: { code: 'UNAVAILABLE', message: expect.any(String), id: expect.any(String) } })
  expect(seen).toEqual([])
  down = false
  expect(await socket.emitWithAck('say', 4)).toBe(4)
})
