import { createServer } from 'node:http'
import { describe, expect, test } from '@jest/globals'
import { decodeJwt } from 'jose'
import { guard, type Gate, type Principal } from 'portcullis'
import { jwt } from 'portcullis/adapters/jwt'
import { authenticate } from 'portcullis/policies'
import { testClock } from 'portcullis/testing'
import type { Server, Socket } from 'socket.io'
import { client as stockClient, closeAfterTest, connectPacket, entry, heard, listen, polling, raw, refusal, serve, until, watch, type Client } from '../support/server.ts'
import { base64url, pairs, signer, token, type Part } from '../support/tokens.ts'

const NOW = Date.UTC(2025, 0, 1)
const secret = 'a shared secret of more than thirty-two bytes'
const issuer = 'https://id.example'
const audience = 'chat'
const hs = signer('HS256', secret)
const claimsOf = (sub: string, changed: object = {}) => ({ iss: issuer, aud: audience, sub, exp: NOW / 1_000 + 60, ...changed })
const tokenOf = (sub: string, changed?: object, header: Part = { alg: 'HS256' }) => token(header, claimsOf(sub, changed), hs)
const alice = tokenOf('alice')
const bob = tokenOf('bob')
const inAuth = (text: unknown) => ({ auth: { token: text } })
const inHeader = (text: string) => ({ extraHeaders: { authorization: `Bearer ${text}` } })

/** A server of an application, with who entered and what was handled. */
async function start({ mode = 'enforce', recovery = false }: { mode?: 'enforce' | 'observe'; recovery?: boolean } = {}) {
  const clock = testClock(NOW)
  const sockets: Socket[] = []
  const handled: string[] = []
  const host = await serve(
    (io) => {
      const gate = guard(io, { clock, mode, undeclared: 'allow' }).use(authenticate(jwt({ secret, issuer, audience })))
      for (const name of ['/', '/admin']) {
        io.of(name).on('connection', (socket) => {
          sockets.push(socket)
          socket.on('say', (what: string, ack?: (answer: string) => void) => {
            handled.push(what)
            ack?.(what)
          })
        })
      }
      return gate
    },
    recovery ? { connectionStateRecovery: {} } : {},
  )
  return { ...host, clock, sockets, handled, seen: watch(host.gate), subjectOf: (socket: Socket) => host.gate.peerOf(socket).principal?.subject }
}

/** A client whose farewell, which takes requests of its own over polling, does not outlive the test. */
function client(host: { readonly url: string }, options?: Parameters<typeof stockClient>[1]): Client {
  const socket = stockClient(host, options)
  closeAfterTest(() => {
    const { engine } = socket.io
    if (engine.readyState === 'closed') return undefined
    const closed = new Promise((resolve) => engine.once('close', resolve))
    engine.close()
    return closed
  })
  return socket
}

async function entered(host: { readonly url: string }, options?: Parameters<typeof stockClient>[1]): Promise<Client> {
  const socket = client(host, options)
  await entry(socket)
  return socket
}

const answerOf = (socket: Client, what: string): Promise<any> => socket.emitWithAck('say', what)

describe.each(['polling', 'websocket'] as const)('over %s', (transport) => {
  const transports = [transport]

  test('an honest token is let in, on both carriers, as its subject', async () => {
    const host = await start()
    for (const carrier of [inAuth(alice), inHeader(bob), { ...inAuth(alice), ...inHeader(alice) }]) await entered(host, { transports, ...carrier })
    expect(host.sockets.map(host.subjectOf)).toEqual(['alice', 'bob', 'alice'])
  })

  const refused: [string, object][] = [
    ['no token', {}],
    ['an empty token', inAuth('')],
    ['a malformed token', inAuth('x.y')],
    ['a token that is no text', inAuth({ alg: 'none' })],
    ['an unknown subject’s unsigned token', inAuth(`${base64url({ alg: 'none' })}.${base64url(claimsOf('mallory'))}.`)],
    ['a token that has expired', inAuth(tokenOf('alice', { exp: NOW / 1_000 - 1 }))],
    ['a token that is not valid yet', inAuth(tokenOf('alice', { nbf: NOW / 1_000 + 10 }))],
    ['a wrongly signed token', inAuth(token({ alg: 'HS256' }, claimsOf('alice'), signer('HS256', secret.toUpperCase())))],
    ['a token of another issuer', inAuth(tokenOf('alice', { iss: 'https://evil.example' }))],
    ['a token for another service', inAuth(tokenOf('alice', { aud: 'billing' }))],
    ['a token without a subject', inAuth(tokenOf('alice', { sub: undefined }))],
    ['a wrongly signed token in the header', inHeader(`${alice.slice(0, -4)}AAAA`)],
    ['an expired token in the header', inHeader(tokenOf('alice', { exp: 1 }))],
    ['a token in the query', { query: { token: alice, access_token: alice, auth: alice } }],
    ['two tokens', { ...inAuth(alice), ...inHeader(bob) }],
  ]

  test('whatever is wrong, the refusal is the same, and no handler hears of it', async () => {
    const host = await start()
    const answers = new Set<string>()
    for (const [title, options] of refused) {
      const { message, data } = await refusal(client(host, { transports, ...options }))
      expect([title, message]).toEqual([title, 'UNAUTHENTICATED'])
      expect(host.seen.denied.at(-1)).toMatchObject({ id: data.id, stage: 'connect', policy: 'authenticate', code: 'UNAUTHENTICATED' })
      answers.add(JSON.stringify({ ...data, id: '' }))
    }
    expect([...answers]).toEqual([JSON.stringify({ code: 'UNAUTHENTICATED', message: 'Valid credentials are required.', id: '' })])
    expect(host.sockets).toEqual([])
    expect(host.seen.fault).toEqual([])
  })

  test('an admitted peer is refused once its token has expired, and may come back with a new one', async () => {
    const host = await start()
    let current = alice
    const socket = client(host, { transports, auth: (give: (auth: object) => void) => give({ token: current }) })
    await entry(socket)
    expect(await answerOf(socket, 'in time')).toBe('in time')

    const closing = heard(socket, 'gate:closing')
    const gone = heard(socket, 'disconnect')
    host.clock.advance(60_000)
    expect(await closing).toEqual([{ code: 'CREDENTIAL_EXPIRED', message: 'The credential has expired.', id: host.seen.denied.at(-1)!.id, reconnect: 'after-credential' }])
    expect(await gone).toEqual(['io server disconnect', undefined])

    await refusal(socket.connect())
    current = tokenOf('alice', { exp: NOW / 1_000 + 3_600 })
    socket.connect()
    await entry(socket)
    expect(await answerOf(socket, 'again')).toBe('again')
  })

  test('nothing is sent to a peer whose token has expired', async () => {
    const host = await start()
    const socket = await entered(host, { transports, ...inAuth(alice) })
    const heardOf: unknown[] = []
    socket.on('news', (...args: unknown[]) => heardOf.push(...args))
    const gone = heard(socket, 'disconnect')
    host.io.emit('news', 'in time')
    host.clock.advance(60_000)
    host.io.emit('news', 'too late')
    host.sockets[0]!.emit('news', 'too late')
    await gone
    expect(heardOf).toEqual(['in time'])
  })
})

test('the refusal is the same to the byte, but for its id', async () => {
  const host = await start()
  const expired = tokenOf('alice', { exp: 1 })
  const wires: string[] = []
  for (const auth of [undefined, {}, { token: 'x' }, { token: expired }, { token: `${alice}A` }, { token: 7 }]) {
    const socket = await raw(host)
    socket.send(connectPacket('/', auth))
    await until(() => socket.received.length > 0)
    wires.push(...socket.received)
  }
  const uniform = wires.map((wire) => wire.replace(/"id":"[\w-]{16}"/, '"id":"0123456789abcdef"'))
  expect([...new Set(uniform)]).toEqual(['44{"message":"UNAUTHENTICATED","data":{"code":"UNAUTHENTICATED","message":"Valid credentials are required.","id":"0123456789abcdef"}}'.slice(1)])
  expect(uniform).toHaveLength(6)
})

test('two Authorization headers are refused, also when they are equal: another reader may take the other', async () => {
  const host = await start()
  for (const second of [alice, bob]) {
    const session = await polling(host, { authorization: [`Bearer ${alice}`, `Bearer ${second}`] as unknown as string })
    await session.post([connectPacket()], {})
    expect((await session.poll({})).body).toContain('UNAUTHENTICATED')
  }
  const one = await polling(host, { authorization: `Bearer ${alice}` })
  await one.post([connectPacket()], {})
  expect((await one.poll({})).body).toMatch(/^40\{"sid"/)
})

test('addresses of keys in a header are never followed', async () => {
  let asked = 0
  const http = createServer((_request, response) => {
    asked += 1
    response.end(JSON.stringify({ keys: [pairs.rsa.publicKey.export({ format: 'jwk' })] }))
  })
  const url = `http://127.0.0.1:${await listen(http)}`
  closeAfterTest(() => new Promise((resolve) => http.close(resolve)))
  const host = await start()
  for (const alg of ['RS256', 'HS256']) {
    const text = token({ alg, jku: `${url}/keys`, x5u: `${url}/cert`, jwk: pairs.rsa.publicKey.export({ format: 'jwk' }), kid: `${url}/kid` }, claimsOf('mallory'), signer('RS256', pairs.rsa.privateKey))
    expect((await refusal(client(host, inAuth(text)))).message).toBe('UNAUTHENTICATED')
  }
  expect(asked).toBe(0)
})

describe('two identities on one connection', () => {
  type Identified = { user?: string }

  test('without a gate, what is kept on the connection becomes the other one', async () => {
    const seen: (string | undefined)[] = []
    const identify = (socket: Socket, next: () => void): void => {
      ;(socket.request as Identified).user = decodeJwt((socket.handshake.auth as { token: string }).token).sub!
      next()
    }
    const host = await serve((io: Server) => {
      for (const name of ['/', '/admin']) io.of(name).use(identify)
      io.on('connection', (socket) => socket.on('who', (ack: () => void) => (seen.push((socket.request as Identified).user), ack())))
    })
    const user = await entered(host, inAuth(alice))
    await entry(user.io.socket('/admin', inAuth(bob)).connect())
    await user.emitWithAck('who')
    expect(seen).toEqual(['bob'])
  })

  test('under the gate they are two peers, and neither has the facts of the other', async () => {
    const host = await start()
    const user = await entered(host, inAuth(alice))
    const admin = user.io.socket('/admin', inAuth(bob)).connect()
    await entry(admin)
    const [first, second] = host.sockets as [Socket, Socket]
    expect([first.conn === second.conn, host.subjectOf(first), host.subjectOf(second)]).toEqual([true, 'alice', 'bob'])
    expect(host.gate.peerOf(first)).not.toBe(host.gate.peerOf(second))

    await answerOf(user, 'as alice')
    await answerOf(admin, 'as bob')
    expect(host.seen.admitted.filter(({ stage }) => stage === 'event').map(({ namespace, subject }) => [namespace, subject])).toEqual([
      ['/', 'alice'],
      ['/admin', 'bob'],
    ])
  })

  test('one that is refused does not end the other', async () => {
    const host = await start()
    const user = await entered(host, inAuth(alice))
    const admin = user.io.socket('/admin', inAuth('forged')).connect()
    expect((await refusal(admin)).message).toBe('UNAUTHENTICATED')
    expect(await answerOf(user, 'still alice')).toBe('still alice')
  })

  test('each ends at its own time', async () => {
    const host = await start()
    const user = await entered(host, inAuth(alice))
    const admin = user.io.socket('/admin', inAuth(tokenOf('bob', { exp: NOW / 1_000 + 600 }))).connect()
    await entry(admin)
    const closing = heard(user, 'gate:closing')
    host.clock.advance(60_000)
    expect(await closing).toMatchObject([{ code: 'CREDENTIAL_EXPIRED' }])
    expect(await answerOf(admin, 'y')).toBe('y')
  })

  test('a token in the header of the connection does not mix with another one of a namespace', async () => {
    const host = await start()
    const user = await entered(host, inHeader(alice))
    const admin = user.io.socket('/admin', inAuth(bob)).connect()
    expect((await refusal(admin)).message).toBe('UNAUTHENTICATED')
  })
})

describe('in observe mode', () => {
  test('who proves nothing is let in, without an identity, and reported', async () => {
    const host = await start({ mode: 'observe' })
    const nobody = await entered(host)
    expect(await answerOf(nobody, 'hello')).toBe('hello')
    expect((host.gate as Gate<{ principal?: Principal }>).peerOf(host.sockets[0]!)).toEqual({})
    expect(host.seen.denied).toMatchObject([{ stage: 'connect', code: 'UNAUTHENTICATED', enforced: false }])
  })

  test('a credential that has expired ends the peer all the same', async () => {
    const host = await start({ mode: 'observe' })
    const socket = await entered(host, inAuth(alice))
    const closing = heard(socket, 'gate:closing')
    host.clock.advance(60_000)
    expect(await closing).toMatchObject([{ code: 'CREDENTIAL_EXPIRED' }])
    await until(() => !socket.connected)
    expect(host.seen.denied.map(({ enforced }) => enforced)).toEqual([true])
  })

  test('an expired token restores no earlier connection', async () => {
    const host = await start({ mode: 'observe', recovery: true })
    const socket = await entered(host, inAuth(alice))
    await host.sockets[0]!.join('news')
    const news = heard(socket, 'news')
    // A packet after which the client knows where to go on.
    host.io.to('news').emit('news', 1)
    await news
    const again = async (): Promise<boolean> => {
      const gone = heard(socket, 'disconnect')
      socket.io.engine.close()
      await gone
      await until(() => host.io.of('/').sockets.size === 0)
      socket.connect()
      await entry(socket)
      return socket.recovered
    }
    expect(await again()).toBe(true)
    expect(host.sockets.at(-1)!.rooms.has('news')).toBe(true)
    host.clock.advance(60_000)
    expect(await again()).toBe(false)
    expect(host.sockets.at(-1)!.rooms.has('news')).toBe(false)
    expect((host.gate as Gate<{ principal?: Principal }>).peerOf(host.sockets.at(-1)!)).toEqual({})
  })
})

test('without a gate, a token that was checked at connect is good for ever', async () => {
  let now = NOW
  const handled: string[] = []
  const host = await serve((io: Server) => {
    io.use((socket, next) => {
      const { exp } = decodeJwt((socket.handshake.auth as { token: string }).token)
      next(now < exp! * 1_000 ? undefined : new Error('expired'))
    })
    io.on('connection', (socket) => socket.on('say', (what: string, ack: () => void) => (handled.push(what), ack())))
  })
  const socket = await entered(host, inAuth(alice))
  now += 3_600_000
  await answerOf(socket, 'long after')
  expect(handled).toEqual(['long after'])
})
