import { once } from 'node:events'
import { createServer, request as httpRequest } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, expect, jest, test } from '@jest/globals'
import { deny, guard, permit, type Gate, type GuardOptions } from 'portcullis'
import { audit, origin, rateLimit, type AuditLogger, type AuditRecord } from 'portcullis/policies'
import { Server } from 'socket.io'
import { io as connectClient, type Socket as ClientSocket } from 'socket.io-client'

const closers: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
  jest.restoreAllMocks()
})

const canary = 'CANARY-0f1e2d3c'
const jwt = `eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.${canary}`

/** A log file: a line for each record. */
class LogFile implements AuditLogger {
  readonly lines: string[] = []
  readonly #write = (level: string) => (record: AuditRecord) => void this.lines.push(JSON.stringify({ level, ...record }))
  readonly info = this.#write('info')
  readonly warn = this.#write('warn')
  readonly error = this.#write('error')
  get records(): (AuditRecord & { level: string })[] {
    return this.lines.map((line) => JSON.parse(line))
  }
}

interface Running {
  readonly io: Server
  readonly url: string
}

async function start(declare: (gate: Gate) => unknown, options: GuardOptions = {}): Promise<Running> {
  const http = createServer()
  const io = new Server(http)
  const gate = guard(io, options)
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

const settled = (socket: ClientSocket): Promise<unknown> =>
  new Promise((resolve) => {
    socket.once('connect', () => resolve('connected'))
    socket.once('connect_error', (error) => resolve((error as unknown as { data?: unknown }).data ?? 'refused'))
  })

/** Joins that no policy asks about are nobody's decision, and have no record. */
const watched = { name: 'watched', join: (_ctx: unknown, next: () => void | Promise<void>) => next() }

const authenticate = {
  name: 'authenticate',
  connect: (ctx: any, next: (facts: { principal: { subject: string } }) => void | Promise<void>) => {
    const { token } = ctx.handshake.auth as { token?: string }
    if (token !== jwt) throw Object.assign(new Error(`cannot verify ${String(token)}`), { config: { headers: { Authorization: `Bearer ${String(token)}` } } })
    return next({ principal: { subject: 'alice' } })
  },
}

test('each kind of decision is one line, with who, where, what and the id that the client was told', async () => {
  const log = new LogFile()
  const running = await start((gate) => {
    const own = 'https://app.example'
    gate.use(audit(log)).use(origin({ allow: [own] }))
    gate
      .of('/')
      .connect(permit('members', 'connect', ({ handshake }) => handshake.auth['as'] === 'alice'))
      .event('say', rateLimit({ limit: 2, perMs: 3_600_000 }))
      .event('enter')
      .event('break', () => {
        throw new Error('the policy is broken')
      })
      .event('handle')
      .join('room:{id}', permit('own-rooms', 'join', ({ params }) => params['id'] === '1'))
      .deliver('secret', permit('nobody', 'deliver', () => false))
  })
  running.io.on('connection', (socket) => {
    socket.on('say', (ack: () => void) => ack())
    socket.on('enter', (id: string, ack: () => void) => {
      void socket.join(`room:${id}`)
      ack()
    })
    socket.on('handle', () => {
      throw new Error('the handler is broken')
    })
  })

  const extraHeaders = { 'origin': 'https://app.example', 'user-agent': 'e2e/1.0' }
  expect(await settled(client(running, { extraHeaders: { ...extraHeaders, origin: 'https://evil.example' } }))).toBeDefined()
  const refused = await settled(client(running, { extraHeaders, auth: { as: 'mallory' } }))
  const socket = client(running, { extraHeaders, auth: { as: 'alice' } })
  expect(await settled(socket)).toBe('connected')
  await socket.emitWithAck('say')
  await socket.emitWithAck('say')
  const limited = await socket.emitWithAck('say')
  const unknown = await socket.emitWithAck('debug')
  await socket.emitWithAck('enter', '1')
  const foreign = await socket.emitWithAck('enter', '2')
  const broken = await socket.emitWithAck('break')
  const handler = await socket.emitWithAck('handle')
  running.io.emit('secret', 1)

  const { records } = log
  expect(records.map(({ level, stage, outcome, code, policy, event, room }) => [level, stage, outcome, code, policy, event ?? room].filter((part) => part !== undefined).join(' '))).toEqual([
    'warn request denied ORIGIN_NOT_ALLOWED origin',
    'info request admitted',
    'warn connect denied FORBIDDEN members',
    'info request admitted',
    'info connect admitted',
    'info event admitted say',
    'info event admitted say',
    'warn event denied RATE_LIMITED rate-limit say',
    'warn event denied UNKNOWN_EVENT gate debug',
    'info event admitted enter',
    'info join admitted room:1',
    'info event admitted enter',
    'warn join denied FORBIDDEN own-rooms room:2',
    // The refused join left the handler, whose ack says so.
    'warn event denied FORBIDDEN handler enter',
    'error event fault INTERNAL event break',
    'info event admitted handle',
    'error event fault INTERNAL handler handle',
    'warn deliver denied FORBIDDEN nobody secret',
  ])
  for (const { address, userAgent, time, enforced } of records) {
    expect({ address, userAgent, enforced }).toEqual({ address: '127.0.0.1', userAgent: 'e2e/1.0', enforced: true })
    expect(new Date(time).toISOString()).toBe(time)
  }
  // What a handler does is recorded under the time of its event.
  const times = records.filter(({ policy }) => policy !== 'handler').map(({ time }) => time)
  expect(times).toEqual([...times].sort())
  // An event and what became of it in its handler have one id: twice here.
  expect(new Set(records.map(({ id }) => id)).size).toBe(records.length - 2)
  const ids = [refused, limited.error, unknown.error, foreign.error, broken.error, handler.error].map((refusal) => (refusal as { id: string }).id)
  for (const id of ids) expect(records.some((record) => record.id === id)).toBe(true)
  expect(records[0]).toMatchObject({ reason: 'Origin https://evil.example' })
})

test('what a client plants in every place it can reach is in no line, and the client learns nothing of what broke', async () => {
  const consoleError = jest.spyOn(console, 'error')
  const log = new LogFile()
  const running = await start(
    (gate) => {
      gate.use(audit(log, { deliveries: true })).use(authenticate).use(watched)
      gate
        .event('login', (ctx) => {
          throw new Error(`login failed: ${JSON.stringify(ctx.args)}`, { cause: ctx.args[0] })
        })
        .event('store', (ctx) => deny('INVALID_PAYLOAD', ctx.args[0] as Record<string, unknown>))
    },
    { undeclared: 'allow' },
  )
  running.io.on('connection', (socket) => {
    socket.on('enter', (room: string, ack: () => void) => {
      void socket.join(room)
      ack()
    })
    socket.on('fail', (secrets: object) => {
      throw Object.assign(new Error(`SELECT * FROM users WHERE password='${canary}'; postgres://app:${canary}@db.example/app`), { cause: secrets, request: secrets })
    })
  })

  const secrets = {
    password: canary,
    Token: canary,
    nested: [{ API_KEY: canary, deep: { 'Set-Cookie': [canary] } }],
    url: `https://app.example/?access_token=${canary}&x=1`,
    text: `Authorization: Bearer ${canary}`,
    jwt,
    bytes: Buffer.from(canary),
  }
  const extraHeaders = { cookie: `connect.sid=${canary}; theme=dark`, authorization: `Bearer ${canary}`, 'user-agent': `agent token=${canary}`, referer: `https://app.example/?token=${canary}` }
  const options = { extraHeaders, query: { token: canary } }
  expect(await settled(client(running, { ...options, auth: { token: `${jwt}x`, password: canary } }))).toMatchObject({ code: 'INTERNAL' })
  const socket = client(running, { ...options, auth: { token: jwt } })
  expect(await settled(socket)).toBe('connected')

  const answers = [
    await socket.emitWithAck('login', secrets),
    await socket.emitWithAck('fail', secrets),
    await socket.emitWithAck('enter', `session:${canary}`),
    await socket.emitWithAck('store', secrets),
  ]
  for (const event of [`?token=${canary}`, `Cookie: a=${canary}`, jwt, `password=${canary}`]) socket.emit(event, secrets)
  await socket.emitWithAck('enter', jwt)

  expect(log.lines.length).toBeGreaterThan(10)
  for (const line of log.lines) expect(line).not.toContain(canary)
  expect(log.lines.join('\n')).toContain('[masked]')
  expect(consoleError).not.toHaveBeenCalled()
  for (const answer of answers.slice(0, 2)) expect(answer).toEqual({ error: { code: 'INTERNAL', message: expect.any(String), id: expect.any(String) } })
  // The detail is in the log, under the id the client was told.
  const fault = log.records.find(({ id, level }) => level === 'error' && id === (answers[1] as { error: { id: string } }).error.id)
  expect(fault).toMatchObject({ level: 'error', error: { cause: { message: expect.stringContaining('SELECT * FROM users') } } })
})

test('no name, header or subject forges a second line', async () => {
  const log = new LogFile()
  const forged = '{"time":"2026-01-01T00:00:00.000Z","outcome":"admitted","subject":"root"}'
  const breaks = ['\n', '\r\n', '\u2028', '\u2029', '\u0085', '\u001b[2K\u001b[1A', '\u0000', '\u202e']
  const running = await start((gate) => gate.use(audit(log)).use(watched), { undeclared: 'allow' })
  running.io.on('connection', (socket) => {
    socket.on('enter', (room: string, ack: () => void) => {
      void socket.join(room)
      ack()
    })
  })
  // A header cannot hold a line break; the other characters of Latin-1 it can.
  const status = await new Promise((resolve, reject) => {
    httpRequest(`${running.url}/socket.io/?EIO=4&transport=polling`, { headers: { 'user-agent': 'x\u0085\u009b31m' } }, (response) => {
      response.resume()
      resolve(response.statusCode)
    })
      .on('error', reject)
      .end()
  })
  expect(status).toBe(200)
  const socket = client(running)
  expect(await settled(socket)).toBe('connected')
  const before = log.lines.length
  for (const sign of breaks) {
    socket.emit(`name${sign}${forged}`)
    await socket.emitWithAck('enter', `room${sign}${forged}`)
  }
  socket.emit('x'.repeat(100_000))
  await socket.emitWithAck('enter', 'x'.repeat(100_000))

  expect(log.lines.length - before).toBe((breaks.length + 1) * 3)
  for (const line of log.lines) {
     
    expect(line).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202e]/)
    expect(line.length).toBeLessThan(2_000)
    expect(JSON.parse(line)).not.toHaveProperty('subject', 'root')
  }
})

test('a logger that throws, rejects or hangs changes nothing for clients', async () => {
  jest.spyOn(console, 'error').mockImplementation(() => undefined)
  const logger = {
    info: () => {
      throw new Error('disk full')
    },
    warn: () => Promise.reject(new Error('disk full')),
    error: () => new Promise(() => undefined),
  }
  const running = await start((gate) =>
    gate
      .use(audit(logger))
      .event('say')
      .event('no', () => deny('FORBIDDEN'))
      .event('bad', () => {
        throw new Error('broken')
      }),
  )
  running.io.on('connection', (socket) => socket.on('say', (what: unknown, ack: (answer: unknown) => void) => ack(what)))
  const socket = client(running)
  expect(await settled(socket)).toBe('connected')
  for (let index = 0; index < 20; index++) {
    expect(await socket.emitWithAck('say', index)).toBe(index)
    expect(await socket.emitWithAck('no')).toMatchObject({ error: { code: 'FORBIDDEN' } })
    expect(await socket.emitWithAck('bad')).toMatchObject({ error: { code: 'INTERNAL' } })
  }
})
