import { createHash, createPublicKey, generateKeyPairSync, X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { createServer as createPlainServer, type IncomingMessage } from 'node:http'
import { createServer, get } from 'node:https'
import { createServer as createTcpServer, type AddressInfo } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { afterEach, beforeAll, describe, expect, test } from '@jest/globals'
import { connect, type Closed, type Connection } from 'portcullis/client'
import { PinError, pinned, pinOf } from 'portcullis/client/pinning'
import { Server } from 'socket.io'
import { ca as authority, purposes, type Authority, type Issued } from '../support/certificates.ts'
import { closeAfterTest, listen } from '../support/server.ts'

const here = { dn: [{ CN: 'here' }], san: [{ type: 'ip', value: '127.0.0.1' }], eku: [purposes.server] } as const

let root: Authority
/** Three keys, each in a certificate of the same authority. */
let k1: Issued, k2: Issued, k3: Issued
let pins: string[]

beforeAll(async () => {
  root = await authority({ dn: [{ CN: 'Root' }] })
  ;[k1, k2, k3] = await Promise.all([root.issue(here), root.issue(here), root.issue(here)])
  pins = [pinOf(k1.cert), pinOf(k2.cert)]
})

let open: Connection[] = []
afterEach(() => {
  for (const connection of open) connection.close()
  open = []
})

interface SecureServer {
  readonly url: string
  /** Whatever came after a TLS handshake, decrypted. */
  readonly received: Buffer[]
  readonly auths: unknown[]
}

/** A Socket.IO server with a certificate. */
async function secure({ cert, key }: { cert: string; key: string }): Promise<SecureServer> {
  const https = createServer({ cert, key })
  const io = new Server(https, { serveClient: false })
  const received: Buffer[] = []
  const auths: unknown[] = []
  https.on('secureConnection', (socket: TLSSocket) => socket.on('data', (data) => received.push(data)))
  io.on('connection', (socket) => auths.push(socket.handshake.auth))
  const port = await listen(https)
  closeAfterTest(() => io.close())
  return { url: `https://127.0.0.1:${port}`, received, auths }
}

const bundle = (...certificates: string[]): string => certificates.join('\n')

/** Connects with a secret in the header and in the auth payload; how it ends. */
async function attempt(url: string, agent: ReturnType<typeof pinned>, transports: string[], more: object = {}): Promise<Closed | 'connected'> {
  const connection = connect(url, {
    agent,
    transports,
    extraHeaders: { authorization: 'Bearer of the secret' },
    credentials: () => ({ token: 'the secret' }),
    maxAttempts: 1,
    ...more,
  })
  open.push(connection)
  return new Promise((resolve) => {
    connection.on('closed', resolve)
    connection.on('state', (state) => state === 'connected' && resolve('connected'))
  })
}

const carriers: [name: string, transports: string[]][] = [
  ['polling', ['polling']],
  ['WebSocket', ['websocket']],
  ['polling and its upgrade', ['polling', 'websocket']],
]

describe.each(carriers)('over %s (A4)', (_, transports) => {
  test('a server with the pinned key, or with the spare, is connected to', async () => {
    for (const pair of [k1, k2]) {
      const server = await secure(pair)
      expect(await attempt(server.url, pinned({ pins, ca: root.cert }), transports)).toBe('connected')
      expect(server.auths).toEqual([{ token: 'the secret' }])
    }
  })

  test('a server with another key of the same authority gets nothing: no request line, no header, no credential', async () => {
    const server = await secure(k3)
    const closed = await attempt(server.url, pinned({ pins, ca: root.cert }), transports)
    expect(closed).toEqual({ reason: 'pin', error: expect.any(PinError) })
    expect((closed as Closed).error).toMatchObject({ code: 'PIN_MISMATCH', host: '127.0.0.1', pin: pinOf(k3.cert) })
    expect(Buffer.concat(server.received).toString()).toBe('')
    expect(server.auths).toEqual([])
  })

  test('a pinned key does not stand in for a certificate that is not valid: unknown authority, another host, out of date', async () => {
    const other = await authority({ dn: [{ CN: 'Root' }] })
    const bad = [
      await other.issue({ ...here, keys: k1.keys }),
      await root.issue({ ...here, keys: k1.keys, san: [{ type: 'ip', value: '127.0.0.2' }] }),
      await root.issue({ ...here, keys: k1.keys, notAfter: new Date(Date.now() - 60_000) }),
    ]
    for (const pair of bad) {
      expect(pinOf(pair.cert)).toBe(pins[0])
      const server = await secure(pair)
      expect(await attempt(server.url, pinned({ pins, ca: root.cert }), transports)).toMatchObject({ reason: 'attempts', error: { code: 'UNREACHABLE' } })
      expect(Buffer.concat(server.received).toString()).toBe('')
    }
  })

  test('without TLS there is no connection', async () => {
    const http = createPlainServer()
    const received: unknown[] = []
    http.on('connection', (socket) => socket.on('data', (data) => received.push(data)))
    const port = await listen(http)
    closeAfterTest(() => http.close())
    expect(await attempt(`http://127.0.0.1:${port}`, pinned({ pins }), transports, { timeout: 500 })).toMatchObject({ reason: 'attempts' })
    expect(received).toEqual([])
  })
})

test('each connection of an agent is looked at: no session is resumed, and another key is found', async () => {
  const server = createServer({ cert: k1.cert, key: k1.key }, (_, response) => response.end())
  const resumed: boolean[] = []
  server.on('secureConnection', (socket: TLSSocket) => resumed.push(socket.isSessionReused()))
  const port = await listen(server)
  closeAfterTest(() => server.close())
  const agent = pinned({ pins, ca: root.cert })
  for (let n = 0; n < 3; n++) {
    const [response] = (await once(get(`https://127.0.0.1:${port}`, { agent }), 'response')) as [IncomingMessage]
    await once(response.resume(), 'end')
  }
  expect(resumed).toEqual([false, false, false])
  server.setSecureContext({ cert: k3.cert, key: k3.key })
  await expect(once(get(`https://127.0.0.1:${port}`, { agent }), 'response')).rejects.toBeInstanceOf(PinError)
})

test('a request cannot turn verification off', async () => {
  const other = await authority({ dn: [{ CN: 'Root' }] })
  const unknown = await secure(await other.issue({ ...here, keys: k1.keys }))
  const elsewhere = await secure(await root.issue({ ...here, keys: k1.keys, san: [{ type: 'ip', value: '127.0.0.2' }] }))
  const agent = pinned({ pins, ca: root.cert })
  await expect(once(get(unknown.url, { agent, rejectUnauthorized: false }), 'response')).rejects.toThrow(/certificate|signature/)
  await expect(once(get(elsewhere.url, { agent, checkServerIdentity: () => undefined }), 'response')).rejects.toThrow(/altnames/)
})

describe('match: chain', () => {
  test('takes a pinned authority for its certificates, whatever their keys', async () => {
    const lower = await root.authority({ dn: [{ CN: 'Lower' }] })
    const { cert, key } = await lower.issue(here)
    const server = await secure({ key, cert: bundle(cert, lower.cert) })
    for (const pinnedTo of [lower, root]) {
      expect(await attempt(server.url, pinned({ pins: [pinOf(pinnedTo.cert), pinOf(k2.cert)], ca: root.cert, match: 'chain' }), ['websocket'])).toBe('connected')
    }
    expect(await attempt(server.url, pinned({ pins: [pinOf(root.cert), pinOf(k2.cert)], ca: root.cert }), ['websocket'])).toMatchObject({ reason: 'pin' })
  })

  test('is not taken in by a pinned certificate that is sent along and has signed nothing', async () => {
    // Of the name of the one that has: names are all that Node goes by when it shows who has issued what.
    const bystander = await authority({ dn: [{ CN: 'Root' }] })
    const leaf = await root.issue({ ...here, anonymousIssuer: true })
    const server = await secure({ key: leaf.key, cert: bundle(leaf.cert, bystander.cert) })
    const chain = pinned({ pins: [pinOf(bystander.cert), pinOf(k2.cert)], ca: root.cert, match: 'chain' })
    expect(await attempt(server.url, chain, ['websocket'])).toMatchObject({ reason: 'pin' })
    expect(server.received).toEqual([])
  })
})

describe('a handshake that comes to nothing', () => {
  async function tcp(onConnection: (socket: import('node:net').Socket) => void): Promise<string> {
    const server = createTcpServer(onConnection).listen(0, '127.0.0.1')
    await once(server, 'listening')
    closeAfterTest(() => server.close())
    return `https://127.0.0.1:${(server.address() as AddressInfo).port}`
  }

  test('ends the request when the other end hangs up', async () => {
    const url = await tcp((socket) => socket.once('data', () => socket.end()))
    const request = get(url, { agent: pinned({ pins }) })
    await expect(once(request, 'response')).rejects.toThrow(/closed|disconnected|reset/i)
  })

  test('ends the request when the other end says nothing for as long as the agent waits', async () => {
    const url = await tcp(() => {})
    const request = get(url, { agent: pinned({ pins, timeout: 50 }) })
    await expect(once(request, 'response')).rejects.toThrow('The TLS handshake has taken too long.')
  })

  test('ends the request when the other end speaks something else', async () => {
    const url = await tcp((socket) => socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\n\r\n')))
    const request = get(url, { agent: pinned({ pins }) })
    await expect(once(request, 'response')).rejects.toThrow()
  })
})

describe('options', () => {
  const pin = 'sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA='
  const spare = 'sha256/BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA='

  test.each<[what: string, options: any, message: RegExp]>([
    ['no options', {}, /two pins or more/],
    ['no pins', { pins: [] }, /two pins or more/],
    ['one pin without a spare', { pins: [pin] }, /spare/],
    ['the same pin twice', { pins: [pin, pin] }, /spare/],
    ['a text for a list', { pins: pin }, /two pins or more/],
    ['a pin without its algorithm', { pins: [pin, spare.slice(7)] }, /is no pin/],
    ['a hash in hexadecimal', { pins: [pin, `sha256/${'a'.repeat(64)}`] }, /is no pin/],
    ['a pin that is no text', { pins: [pin, 7] }, /is no pin/],
    ['verification off', { pins: [pin, spare], rejectUnauthorized: false }, /rejectUnauthorized is not an option/],
    ['a check of names of its own', { pins: [pin, spare], checkServerIdentity: () => undefined }, /checkServerIdentity is not an option/],
    ['resumed sessions', { pins: [pin, spare], maxCachedSessions: 10 }, /maxCachedSessions is not an option/],
    ['a match of another kind', { pins: [pin, spare], match: 'root' }, /match is 'leaf' or 'chain'/],
  ])('%s is a TypeError that says what to write', (_, options, message) => {
    expect(() => pinned(options)).toThrow(message)
    expect(() => pinned(options)).toThrow(TypeError)
  })
})

describe('pinOf', () => {
  test.each([
    ['rsa', generateKeyPairSync('rsa', { modulusLength: 2_048 })],
    ['ec', generateKeyPairSync('ec', { namedCurve: 'P-256' })],
    ['ed25519', generateKeyPairSync('ed25519')],
  ] as const)('is the hash of the SubjectPublicKeyInfo of a key: %s', (_, { publicKey, privateKey }) => {
    const expected = `sha256/${createHash('sha256').update(publicKey.export({ type: 'spki', format: 'der' })).digest('base64')}`
    expect(pinOf(publicKey)).toBe(expected)
    expect(pinOf(privateKey)).toBe(expected)
    expect(pinOf(publicKey.export({ type: 'spki', format: 'pem' }).toString())).toBe(expected)
    expect(pinOf(privateKey.export({ type: 'pkcs8', format: 'pem' }).toString())).toBe(expected)
  })

  test('reads a certificate as PEM, as DER and as an object, and finds the very bytes that stand in it', () => {
    const certificate = new X509Certificate(k1.cert)
    expect([pinOf(k1.cert), pinOf(certificate.raw), pinOf(certificate), pinOf(createPublicKey(k1.key))]).toEqual(Array(4).fill(pins[0]))
    const spki = createPublicKey(k1.key).export({ type: 'spki', format: 'der' })
    expect(certificate.raw.includes(spki)).toBe(true)
  })
})
