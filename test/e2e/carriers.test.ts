import { createServer, type IncomingMessage } from 'node:http'
import { inspect } from 'node:util'
import { describe, expect, test } from '@jest/globals'
import { ConfigError, dangerouslyFromQuery, fromAuth, fromBearer, fromCookie, fromQuery, fromSubprotocol, guard } from 'portcullis'
import type { CredentialReader, Principal, Scheme } from 'portcullis'
import { jwt } from 'portcullis/adapters/jwt'
import { authenticate } from 'portcullis/policies'
import type { Server } from 'socket.io'
import { WebSocket } from 'ws'
import { client, inAuth, issuer, say, settableClock, start, tokenOf } from '../support/credentials.ts'
import { ask, askUpgrade, closeAfterTest, connectPacket, entry, heard, listen, polling, raw, refusal, serve, until, watch, type Place } from '../support/server.ts'

const later = (sub: string, claims?: object): string => tokenOf(sub, 3_600, claims)
const [alice, bob] = [later('alice'), later('bob')]
const reading = (...from: CredentialReader[]): Scheme => jwt({ secret: 'a shared secret of more than thirty-two bytes', issuer, audience: 'chat', from })

/** Each carrier: how it is read, and how a client brings a credential by it. */
const carriers = {
  auth: { from: fromAuth(), bring: (token: string): object => inAuth(token) },
  header: { from: fromBearer(), bring: (token: string): object => ({ extraHeaders: { authorization: `Bearer ${token}` } }) },
  cookie: { from: fromCookie('sid', { dangerouslyWithoutCsrf: true }), bring: (token: string): object => ({ extraHeaders: { cookie: `a=b; sid=${token}` } }) },
  subprotocol: { from: fromSubprotocol(), bring: (token: string): object => ({ protocols: ['app.v1', `bearer.${token}`] }) },
  query: { from: dangerouslyFromQuery('access'), bring: (token: string): object => ({ query: { access: token, other: 'kept' } }) },
} as const
type Carrier = keyof typeof carriers
const names = Object.keys(carriers) as Carrier[]

const subjects = (host: Awaited<ReturnType<typeof start>>): unknown[] => host.sockets.map(host.subjectOf)
const answerOf = (socket: ReturnType<typeof client>): Promise<string> => entry(socket).then(() => 'in', (error: Error) => error.message)

describe.each(names)('a credential by %s', (name) => {
  const { from, bring } = carriers[name]

  test('proves who it is where that is switched on', async () => {
    const host = await start({ schemes: [reading(from)] })
    expect(await answerOf(client(host, bring(alice)))).toBe('in')
    for (const bad of ['x.y.z', later('alice', { aud: 'other' }), tokenOf('alice', -1), `${alice.slice(0, -6)}AAAAAA`]) expect(await answerOf(client(host, bring(bad)))).toBe('UNAUTHENTICATED')
    expect([subjects(host), host.seen.fault]).toEqual([['alice'], []])
  })

  test('proves nothing where another one is', async () => {
    for (const other of names.filter((each) => each !== name)) {
      const host = await start({ schemes: [reading(carriers[other].from)] })
      expect([other, await answerOf(client(host, bring(alice)))]).toEqual([other, 'UNAUTHENTICATED'])
    }
  })

  test('beside another one by any other carrier is refused, and the same by both is one', async () => {
    for (const other of names.filter((each) => each !== name)) {
      const host = await start({ schemes: [reading(from, carriers[other].from)] })
      const both = (second: string): object => {
        const [a, b] = [bring(alice), carriers[other].bring(second)] as Record<string, any>[]
        return { ...a, ...b, extraHeaders: { ...a!['extraHeaders'], ...b!['extraHeaders'] } }
      }
      expect([other, await answerOf(client(host, both(bob))), await answerOf(client(host, both(alice)))]).toEqual([other, 'UNAUTHENTICATED', 'in'])
      expect(subjects(host)).toEqual(['alice'])
    }
  })

  test('of one scheme beside that of another one is refused, in either order', async () => {
    const opaque: Scheme<string> = { name: 'opaque', read: ({ handshake }) => handshake.auth['key'] as string | undefined, verify: (): Principal => ({ subject: 'service', claims: {}, expiresAtMs: 'never', factors: [] }) }
    for (const schemes of [[reading(from), opaque], [opaque, reading(from)]]) {
      const host = await start({ schemes })
      const given = bring(alice) as { auth?: object }
      expect(await answerOf(client(host, { ...given, auth: { ...given.auth, key: 'k' } }))).toBe('UNAUTHENTICATED')
      expect([await answerOf(client(host, given)), await answerOf(client(host, { auth: { key: 'k' } }))]).toEqual(['in', 'in'])
      expect(subjects(host)).toEqual(['alice', 'service'])
    }
  })
})

describe('the query', () => {
  /** All that an application can see of requests and handshakes. */
  async function watched() {
    const seen: string[] = []
    const show = (where: string, { url, headers, rawHeaders, _query }: IncomingMessage & { _query?: unknown }): void => void seen.push(JSON.stringify([where, url, headers, rawHeaders, _query]))
    const host = await start({
      schemes: [reading(dangerouslyFromQuery('access'))],
      declare: (gate) => gate.connect((ctx, next) => (seen.push(inspect(ctx, { depth: 4, showHidden: true })), next())),
      serving: { allowRequest: (request, done) => (show('allowRequest', request), done(null, true)) },
      application: (io) => {
        io.engine.use((request: IncomingMessage, _response: unknown, next: () => void) => (show('engine.use', request), next()))
        io.engine.on('initial_headers', (_headers: unknown, request: IncomingMessage) => show('initial_headers', request))
        io.engine.on('connection_error', ({ req, context }: { req: IncomingMessage; context: unknown }) => (show('connection_error', req), seen.push(JSON.stringify(context))))
        io.use((socket, next) => (show('io.use', socket.request), seen.push(JSON.stringify(socket.handshake)), next()))
        io.on('connection', (socket) => {
          show('connection', socket.request)
          seen.push(JSON.stringify([socket.handshake, socket.conn.request.url]))
        })
      },
    })
    return { host, seen }
  }

  test.each([[['websocket']], [['polling']], [['polling', 'websocket']]])('keeps its secret from whatever the application sees (%j), and all else stays', async (transports) => {
    const { host, seen } = await watched()
    const socket = client(host, { transports, ...carriers.query.bring(alice) })
    const upgraded = new Promise((resolve) => socket.io.once('open', () => (transports.length > 1 ? socket.io.engine.once('upgrade', resolve) : resolve(undefined))))
    await entry(socket)
    await upgraded
    await say(socket, 'x')
    await refusal(client(host, { transports, ...carriers.query.bring(later('alice', { aud: 'other' })) }))
    const all = [...seen, ...Object.values(host.seen).flat().map((decision) => inspect(decision, { depth: Infinity, showHidden: true }) + JSON.stringify(decision))].join('\n')
    expect(seen.length).toBeGreaterThan(5)
    for (const secret of [alice, alice.split('.')[1]!, 'access']) expect(all).not.toContain(secret)
    expect(host.sockets[0]!.handshake.query).toMatchObject({ EIO: '4', other: 'kept' })
    expect(host.sockets[0]!.handshake.url).toContain('other=kept')
  })

  test('may be written in ways that mean the same', async () => {
    const { host, seen } = await watched()
    for (const query of [`acc%65ss=${alice}`, `%61%63%63%65%73%73=${alice.replaceAll('.', '%2E')}`, `a=1&&access=${alice}&`]) {
      const socket = await raw(host, { query: `transport=websocket&${query}` })
      expect(await socket.enter('/')).toHaveProperty('sid')
    }
    expect(seen.join('\n')).not.toContain(alice.split('.')[1])
  })

  test('twice is refused, and gone all the same', async () => {
    const { host, seen } = await watched()
    for (const query of [`access=${alice}&access=${alice}`, `access=${alice}&access=`, `access=${bob}&acces%73=${alice}`]) {
      const socket = await raw(host, { query: `transport=websocket&${query}` })
      expect(await socket.enter('/')).toMatchObject({ message: 'UNAUTHENTICATED' })
    }
    for (const token of [alice, bob]) expect(seen.join('\n')).not.toContain(token)
  })

  test('of the request that opens a session is what counts, not of a later one', async () => {
    const host = await start({ schemes: [reading(dangerouslyFromQuery('access'))] })
    const session = await polling(host)
    await ask(host, { sid: session.sid, access: alice }, { method: 'POST', body: `4${connectPacket()}` })
    expect((await session.poll()).body).toContain('UNAUTHENTICATED')
    const opened = await ask(host, { access: alice })
    const { sid } = JSON.parse(opened.body.slice(1)) as { sid: string }
    await ask(host, { sid, access: bob }, { method: 'POST', body: `4${connectPacket()}` })
    expect((await ask(host, { sid })).body).toMatch(/^40\{"sid"/)
    expect(subjects(host)).toEqual(['alice'])
  })

  test('holds what is spent by its first use only, unless that was declined in so many words', () => {
    const long: Scheme<string> = { name: 'long', read: fromQuery('ticket'), verify: () => ({}) as never }
    expect(() => authenticate(long)).toThrow(ConfigError)
    expect(() => authenticate(long)).toThrow(/dangerouslyFromQuery\("ticket"\)/)
    expect(() => authenticate(reading(fromAuth(), fromQuery('ticket')))).toThrow(ConfigError)
    expect(() => authenticate({ ...long, singleUse: true })).not.toThrow()
    expect(() => authenticate(reading(dangerouslyFromQuery('ticket')))).not.toThrow()
  })
})

describe('the subprotocol', () => {
  const offer = (host: Place, ...protocols: string[]): Promise<{ protocol: string; answer: IncomingMessage | undefined; socket: WebSocket }> =>
    new Promise((resolve, reject) => {
      const socket = new WebSocket(`ws://127.0.0.1:${host.port}/socket.io/?EIO=4&transport=websocket`, protocols)
      closeAfterTest(() => socket.terminate())
      let answer: IncomingMessage | undefined
      socket.on('upgrade', (response) => (answer = response))
      socket.on('open', () => resolve({ protocol: socket.protocol, answer, socket }))
      socket.on('unexpected-response', (_request, response) => (response.resume(), resolve({ protocol: `refused ${response.statusCode}`, answer: response, socket })))
      socket.on('error', reject)
    })
  const carrier = `bearer.${alice}`
  const echoes = ({ answer }: { answer: IncomingMessage | undefined }): boolean => JSON.stringify([answer!.headers, answer!.rawHeaders]).includes(alice)

  test.each([
    ['before', [carrier, 'app.v1'], 'app.v1'],
    ['behind', ['app.v1', carrier], 'app.v1'],
    ['between', ['app.v1', carrier, 'app.v2'], 'app.v1'],
  ])('%s that of the application is taken out: the answer names the other one only', async (_title, protocols, named) => {
    const host = await start({ schemes: [reading(fromSubprotocol())] })
    const offered = await offer(host, ...protocols)
    expect([offered.protocol, echoes(offered)]).toEqual([named, false])
    offered.socket.send(`4${connectPacket()}`)
    await until(() => host.sockets.length === 1)
    const { headers, rawHeaders } = host.sockets[0]!.request
    expect(JSON.stringify([headers, rawHeaders, host.sockets[0]!.request.headersDistinct, host.sockets[0]!.handshake])).not.toContain(alice)
    expect(subjects(host)).toEqual(['alice'])
  })

  test('alone is refused, before there is a session', async () => {
    const host = await start({ schemes: [reading(fromSubprotocol())] })
    for (const protocols of [[carrier], [carrier, `bearer.${bob}`]]) {
      const offered = await offer(host, ...protocols)
      expect([offered.protocol, echoes(offered)]).toEqual(['refused 401', false])
    }
    expect(host.clients()).toBe(0)
    expect(host.seen.denied).toMatchObject([{ stage: 'request', code: 'UNAUTHENTICATED' }, { stage: 'request', code: 'UNAUTHENTICATED' }])
  })

  test('twice is refused when it is to prove something', async () => {
    const host = await start({ schemes: [reading(fromSubprotocol())] })
    const socket = client(host, { protocols: ['app', carrier, `bearer.${bob}`] })
    expect(await answerOf(socket)).toBe('UNAUTHENTICATED')
  })

  test('stays what it is where nobody reads it', async () => {
    const host = await start()
    const offered = await offer(host, carrier, 'app.v1')
    expect(offered.protocol).toBe(carrier)
  })

  test('may have another name', async () => {
    const host = await start({ schemes: [reading(fromSubprotocol('authorization.'))] })
    expect((await offer(host, `authorization.${alice}`, 'app')).protocol).toBe('app')
    expect(await answerOf(client(host, { protocols: ['app', `authorization.${alice}`] }))).toBe('in')
  })

  test('is read by the gate when the server listens again, and on an engine that is attached anew', async () => {
    const host = await start({ schemes: [reading(fromSubprotocol())] })
    await new Promise<void>((resolve) => host.http.close(() => resolve()))
    const port = await listen(host.http)
    expect((await offer({ port }, 'app.v1', carrier)).protocol).toBe('app.v1')

    const clock = settableClock()
    const again = await serve((io: Server) => guard(io, { clock, undeclared: 'allow' }).use(authenticate(reading(fromSubprotocol()))))
    const other = createServer()
    again.io.attach(other, { serveClient: false })
    const place = { port: await listen(other) }
    expect((await offer(place, carrier, 'app.v1')).protocol).toBe('app.v1')
    expect((await offer(place, carrier)).protocol).toBe('refused 401')
    expect(await answerOf(client({ url: `http://127.0.0.1:${place.port}` }, { protocols: ['app', carrier] }))).toBe('in')
  })

  test('of an upgrade proves nothing: it is not the request that opened the session', async () => {
    const host = await start({ schemes: [reading(fromSubprotocol())] })
    const session = await polling(host)
    const upgraded = await askUpgrade(host, { sid: session.sid }, { 'sec-websocket-protocol': `app, ${carrier}` })
    expect([upgraded.status, upgraded.headers['sec-websocket-protocol']]).toEqual([101, 'app'])
    await session.post([connectPacket()])
    expect((await session.poll()).body).toContain('UNAUTHENTICATED')
  })
})

describe('a cookie', () => {
  test('is no credential without protection against other pages: that shows before anybody comes', async () => {
    const host = await serve((io) => guard(io, { undeclared: 'allow' }).use(authenticate(reading(fromAuth(), fromCookie('sid')))))
    const seen = watch(host.gate)
    expect(() => host.gate.coverage()).toThrow(ConfigError)
    expect(() => host.gate.coverage()).toThrow(/csrf/)
    expect(await answerOf(client(host, { extraHeaders: { cookie: `sid=${alice}` } }))).toBe('INTERNAL')
    expect(seen.fault[0]!.error?.cause ?? seen.fault[0]!.error).toBeInstanceOf(ConfigError)
  })

  test('that is there twice is refused', async () => {
    const host = await start({ schemes: [reading(carriers.cookie.from)] })
    for (const cookie of [`sid=${alice}; sid=${bob}`, `sid=${alice}; a=b; sid=${alice}`]) expect(await answerOf(client(host, { extraHeaders: { cookie } }))).toBe('UNAUTHENTICATED')
  })
})

describe('several namespaces on one connection', () => {
  test.each(names.filter((name) => name !== 'auth'))('share what came by %s, and do not mix it with another one', async (name) => {
    const host = await start({ schemes: [reading(fromAuth(), carriers[name].from)] })
    const main = client(host, carriers[name].bring(alice))
    await entry(main)
    const admin = main.io.socket('/admin', {}).connect()
    await entry(admin)
    expect(subjects(host)).toEqual(['alice', 'alice'])
    admin.disconnect()
    await until(() => host.io.of('/admin').sockets.size === 0)
    admin.auth = { token: bob }
    const refused = refusal(admin)
    admin.connect()
    expect(await refused).toMatchObject({ message: 'UNAUTHENTICATED' })
    expect(await say(main, 'still in')).toBe('still in')
  })

  test('read it where one of them only is told to: from the others it is hidden all the same', async () => {
    const clock = settableClock()
    const urls: string[] = []
    const host = await serve((io) => {
      const gate = guard(io, { clock, undeclared: 'allow' })
      gate.of('/admin').use(authenticate(reading(dangerouslyFromQuery('access'))))
      for (const name of ['/', '/admin']) io.of(name).on('connection', (socket) => urls.push(JSON.stringify(socket.handshake)))
      return gate
    })
    const main = client(host, carriers.query.bring(alice))
    await entry(main)
    await entry(main.io.socket('/admin', {}).connect())
    expect(urls).toHaveLength(2)
    expect(urls.join()).not.toContain(alice)
    expect(await answerOf(client(host, { namespace: '/admin' }))).toBe('UNAUTHENTICATED')
  })
})

test('a header that is there twice is refused, whichever of the two is good', async () => {
  const host = await start()
  const session = await polling(host, { authorization: [`Bearer ${alice}`, 'Bearer x'] as unknown as string })
  await session.post([connectPacket()], {})
  expect((await session.poll({})).body).toContain('UNAUTHENTICATED')
})

test('a peer is told nothing of what was taken out when it is closed', async () => {
  const host = await start({ schemes: [reading(dangerouslyFromQuery('access'))] })
  const socket = client(host, carriers.query.bring(alice))
  await entry(socket)
  const closing = heard(socket, 'gate:closing')
  await host.gate.revoke({ subject: 'alice' }, { reason: 'left' })
  expect(JSON.stringify(await closing)).not.toContain(alice)
})
