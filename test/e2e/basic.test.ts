import { createServer as createHttp, type IncomingMessage } from 'node:http'
import { createServer as createHttps } from 'node:https'
import { inspect } from 'node:util'
import { beforeAll, describe, expect, test } from '@jest/globals'
import { guard, type Decision, type GuardOptions } from 'portcullis'
import { basic, type BasicOptions } from 'portcullis/adapters/basic'
import { audit, authenticate } from 'portcullis/policies'
import { testClock } from 'portcullis/testing'
import { Server, type Socket } from 'socket.io'
import { ca, purposes, type Issued } from '../support/certificates.ts'
import { client as stockClient, closeAfterTest, entry, heard, listen, polling, refusal, type Client } from '../support/server.ts'

const NOW = Date.UTC(2025, 0, 1)
const HOUR = 3_600_000
const PASSWORD = 'correct: hörse'
const USERS: Record<string, string> = { alice: PASSWORD, bob: 'bob’s', 'zoë': PASSWORD }

let authority: string
let certificate: Issued
beforeAll(async () => {
  const own = await ca({ dn: [{ CN: 'Servers CA' }] })
  authority = own.cert
  certificate = await own.issue({ dn: [{ CN: 'localhost' }], san: [{ type: 'ip', value: '127.0.0.1' }], eku: [purposes.server] })
})

interface Options extends Partial<BasicOptions> {
  /** Serve over TLS. Default true. */
  readonly tls?: boolean
  readonly trustProxy?: GuardOptions['trustProxy']
}

/** A server of an application whose users have passwords. */
async function start({ tls = true, trustProxy = false, ...options }: Options = {}) {
  const clock = testClock(NOW)
  const asked: string[] = []
  const limits = { maxHeaderSize: 256_000 }
  const http = tls ? createHttps({ cert: certificate.cert, key: certificate.key, ...limits }) : createHttp(limits)
  const io = new Server(http, { serveClient: false })
  const records: unknown[] = []
  const decisions: Decision[] = []
  const sockets: Socket[] = []
  const keep = (record: unknown): void => void records.push(record)
  const verify = options.verify ?? ((user: string, password: string) => (USERS[user] === password ? { subject: user } : undefined))
  const scheme = basic({
    ...options,
    verify: (user, password, ctx) => {
      asked.push(user)
      return verify(user, password, ctx)
    },
  })
  const gate = guard(io, { clock, trustProxy, undeclared: 'allow' }).use(audit({ info: keep, warn: keep, error: keep })).use(authenticate(scheme))
  for (const outcome of ['admitted', 'denied', 'fault'] as const) gate.on(outcome, (decision) => decisions.push(decision))
  for (const name of ['/', '/admin']) {
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
  return { url: `${tls ? 'https' : 'http'}://127.0.0.1:${port}`, port, io, gate, clock, asked, sockets, decisions, records, denied: () => decisions.filter(({ outcome }) => outcome === 'denied') }
}

type Running = Awaited<ReturnType<typeof start>>

const encode = (text: string | Uint8Array): string => Buffer.from(text as string).toString('base64')
const as = (user: string, password: string, more: Record<string, string> = {}) => ({ extraHeaders: { authorization: `Basic ${encode(`${user}:${password}`)}`, ...more } })
const client = (host: Running, options: Parameters<typeof stockClient>[1]): Client => stockClient(host, { ca: authority, ...options })
async function entered(host: Running, options: Parameters<typeof stockClient>[1]): Promise<Client> {
  const socket = client(host, options)
  await entry(socket)
  return socket
}
/** The code an attempt was refused with, or `in`. */
async function outcome(socket: Client): Promise<string> {
  try {
    await entry(socket)
    return 'in'
  } catch (error) {
    return (error as Error).message
  }
}

describe.each([[['polling']], [['websocket']], [['polling', 'websocket']]])('over TLS and %j', (transports) => {
  test('who knows a password is let in, in each namespace, until the lifetime is over', async () => {
    const host = await start({ lifetimeMs: HOUR })
    const socket = await entered(host, { transports, ...as('alice', PASSWORD) })
    if (transports.length > 1 && socket.io.engine.transport.name !== 'websocket') await heard(socket.io.engine, 'upgrade')
    expect(await socket.emitWithAck('whoami')).toBe('alice')
    const admin = socket.io.socket('/admin')
    await entry(admin)
    expect(await admin.emitWithAck('whoami')).toBe('alice')
    const gone = heard(socket, 'disconnect')
    host.clock.advance(HOUR)
    await gone
  })

  test('a password with several colons, and a user and a password that are not ASCII, in either normal form', async () => {
    const host = await start()
    for (const form of ['NFC', 'NFD'] as const) {
      const socket = await entered(host, { transports, ...as('zoë'.normalize(form), PASSWORD.normalize(form)) })
      expect(await socket.emitWithAck('whoami')).toBe('zoë')
    }
  })

  test('whatever is wrong, the refusal is the same but for its id, and nothing of it is in a record', async () => {
    const host = await start()
    const long = 'x'.repeat(100_000)
    const sent = [
      ['a wrong password', encode('alice:wrong-password')],
      ['an unknown user', encode('mallory:wrong-password')],
      ['no colon', encode('alice-wrong-password')],
      ['an empty user', encode(':wrong-password')],
      ['no base64', 'wrong-password'],
      ['not UTF-8', encode(Buffer.from('zoë:wrong-password', 'latin1'))],
      ['100 kB', encode(`alice:${long}`)],
    ] as const
    const answers = new Set<string>()
    for (const [title, token] of sent) {
      const { message, data } = await refusal(client(host, { transports, extraHeaders: { authorization: `Basic ${token}` } }))
      expect([title, message]).toEqual([title, 'UNAUTHENTICATED'])
      answers.add(JSON.stringify({ ...data, id: '' }))
    }
    const { data } = await refusal(client(host, { transports }))
    answers.add(JSON.stringify({ ...data, id: '' }))
    expect([...answers]).toEqual([JSON.stringify({ code: 'UNAUTHENTICATED', message: 'Valid credentials are required.', id: '' })])
    expect(host.asked).toEqual(['alice', 'mallory'])
    expect(host.sockets.length).toBe(0)
    expect(host.decisions.filter(({ outcome }) => outcome === 'fault')).toHaveLength(0)

    const text = JSON.stringify([host.records, host.decisions.map(({ error }) => inspect(error, { depth: 5, maxStringLength: null }))])
    for (const secret of ['wrong-password', long.slice(0, 100), ...sent.map(([, token]) => token)]) expect(text).not.toContain(secret)
  })
})

test('no record of a good sign-in, nor of one that fails inside, holds the password', async () => {
  const host = await start({ verify: (user, password) => { if (user === 'bob') throw new Error(`the directory does not like ${password}`); return { subject: user } } })
  await entered(host, as('alice', PASSWORD))
  await refusal(client(host, as('bob', PASSWORD)))
  const text = JSON.stringify([host.records, host.decisions.map(({ error }) => inspect(error, { depth: 5 }))])
  expect(text).toContain('withheld')
  for (const form of [PASSWORD, encode(PASSWORD), encode(`alice:${PASSWORD}`), encode(`bob:${PASSWORD}`)]) expect(text).not.toContain(form)
})

describe('a plain transport', () => {
  test.each(['polling', 'websocket'])('is refused over %s before the password is looked at', async (transport) => {
    const host = await start({ tls: false })
    for (const options of [as('alice', PASSWORD), as('alice', 'wrong'), as('alice', PASSWORD, { 'x-forwarded-proto': 'https' })]) {
      const { message, data } = await refusal(client(host, { transports: [transport], ...options }))
      expect(message).toBe('INSECURE_TRANSPORT')
      expect(data).toMatchObject({ code: 'INSECURE_TRANSPORT', message: 'A secure transport is required.' })
    }
    expect(host.asked).toEqual([])
    expect(JSON.stringify(host.records)).not.toContain(encode(`alice:${PASSWORD}`))
  })

  test.each(['polling', 'websocket'])('is the last step behind a trusted proxy that speaks TLS, over %s', async (transport) => {
    const host = await start({ tls: false, trustProxy: ['127.0.0.1'] })
    const transports = [transport]
    expect(await outcome(client(host, { transports, ...as('alice', PASSWORD, { 'x-forwarded-proto': 'https', 'x-forwarded-for': '198.51.100.1' }) }))).toBe('in')
    expect(await outcome(client(host, { transports, ...as('alice', PASSWORD, { 'x-forwarded-proto': 'http', 'x-forwarded-for': '198.51.100.1' }) }))).toBe('INSECURE_TRANSPORT')
    expect(await outcome(client(host, { transports, ...as('alice', PASSWORD, { 'x-forwarded-for': '198.51.100.1' }) }))).toBe('INSECURE_TRANSPORT')
    // What the client wrote in front of what the proxy adds.
    expect(await outcome(client(host, { transports, ...as('alice', PASSWORD, { 'x-forwarded-proto': 'https, http' }) }))).toBe('INSECURE_TRANSPORT')
    expect(host.asked).toEqual(['alice'])
  })
})

describe('50 tries', () => {
  test('at the same time are five guesses; then the right password has to wait, and the wait ends', async () => {
    const host = await start()
    const codes = await Promise.all(Array.from({ length: 50 }, (_, index) => outcome(client(host, as('alice', `guess ${index}`)))))
    expect(host.asked).toHaveLength(5)
    expect(codes.filter((code) => code === 'UNAUTHENTICATED')).toHaveLength(5)
    expect(codes.filter((code) => code === 'RATE_LIMITED')).toHaveLength(45)
    const { message, data } = await refusal(client(host, as('alice', PASSWORD)))
    expect([message, data.retryAfterMs]).toEqual(['RATE_LIMITED', 1_000])
    expect(host.asked).toHaveLength(5)
    host.clock.advance(1_000)
    expect(await outcome(client(host, as('alice', PASSWORD)))).toBe('in')
  })

  test('one after the other are five guesses as well, on one connection or on many', async () => {
    const host = await start()
    for (let index = 0; index < 50; index++) {
      const code = await outcome(client(host, { transports: [index % 2 === 0 ? 'polling' : 'websocket'], ...as('alice', `guess ${index}`) }))
      expect(code).toBe(index < 5 ? 'UNAUTHENTICATED' : 'RATE_LIMITED')
    }
    expect(host.asked).toHaveLength(5)
  })

  test('lock out neither the owner elsewhere nor anybody else', async () => {
    const host = await start({ tls: false, trustProxy: 1 })
    const from = (address: string) => ({ 'x-forwarded-proto': 'https', 'x-forwarded-for': address })
    expect(await outcome(client(host, as('bob', 'bob’s', from('198.51.100.1'))))).toBe('in')
    for (let index = 0; index < 50; index++) await outcome(client(host, as('alice', `guess ${index}`, from('198.51.100.1'))))
    expect(await outcome(client(host, as('alice', PASSWORD, from('198.51.100.1'))))).toBe('RATE_LIMITED')
    expect(await outcome(client(host, as('alice', PASSWORD, from('203.0.113.7'))))).toBe('in')
    expect(await outcome(client(host, as('bob', 'bob’s', from('198.51.100.1'))))).toBe('in')
    expect(await outcome(client(host, as('zoë', PASSWORD, from('198.51.100.1'))))).toBe('in')
  })
})

test('two Authorization headers are refused, also when they are equal', async () => {
  const host = await start({ tls: false, trustProxy: 1 })
  const token = `Basic ${encode(`alice:${PASSWORD}`)}`
  const enter = async (authorization: string | string[]): Promise<string> => {
    const session = await polling(host, { authorization, 'x-forwarded-proto': 'https' } as Record<string, string>)
    await session.post(['0'], {})
    return (await session.poll({})).body
  }
  for (const second of [token, `Basic ${encode('bob:bob’s')}`, 'Bearer x']) expect(await enter([token, second])).toContain('UNAUTHENTICATED')
  expect(host.asked).toEqual([])
  expect(await enter(token)).toMatch(/^40\{"sid"/)
})

test('without a gate, a password is taken over a plain transport, as often as somebody tries', async () => {
  let guesses = 0
  const http = createHttp()
  const io = new Server(http, { serveClient: false })
  io.use(({ request }: { request: IncomingMessage }, next) => {
    const [, password] = Buffer.from(request.headers.authorization!.slice(6), 'base64').toString().split(':')
    guesses++
    next(password === 'guess 49' ? undefined : new Error('no'))
  })
  const port = await listen(http)
  closeAfterTest(() => io.close())
  const outcomes: string[] = []
  for (let index = 0; index < 50; index++) outcomes.push(await outcome(stockClient({ url: `http://127.0.0.1:${port}` }, as('alice', `guess ${index}`))))
  expect(guesses).toBe(50)
  expect(outcomes.at(-1)).toBe('in')
})
