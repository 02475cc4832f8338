import { Agent, request, type ClientRequestArgs, type OutgoingHttpHeaders } from 'node:http'
import { connect as tcpConnect } from 'node:net'
import type { Duplex } from 'node:stream'
import { describe, expect, test } from '@jest/globals'
import { Denied, fromAuth, fromCookie, guard, memoryStore } from 'portcullis'
import type { GuardOptions, Principal, Scheme, Store } from 'portcullis'
import { authenticate, binding, origin, type BindingOptions } from 'portcullis/policies'
import { client as stockClient, closeAfterTest, connectPacket, entry, eventPacket, heard, refusal, serve, until, watch, type Client } from '../support/server.ts'

const START = Date.now()
const HERE = '127.0.0.1'
const THERE = '127.0.0.2'
const FIREFOX = 'Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0'
const CURL = 'curl/8.5.0'
const PAGE = 'https://app.example'

/** Sessions by the value of the cookie, or of a token in its place. Each is a credential with an id. */
const cookies: Record<string, string> = { 's-victim': 'alice', 's-thief': 'mallory', 's-next': 'alice' }
const verify = (session: string): Principal => {
  const subject = cookies[session]
  if (subject === undefined) throw new Denied('UNAUTHENTICATED')
  return { subject, claims: {}, expiresAtMs: START + 3_600_000, tokenId: `id of ${session}`, factors: [] }
}
const byCookie: Scheme<string> = { name: 'session', read: fromCookie('sid', { dangerouslyWithoutCsrf: true }), verify }
const byToken: Scheme<string> = { name: 'token', read: fromAuth('token'), verify }

interface Setting {
  readonly bound?: BindingOptions & { readonly credential?: Exclude<BindingOptions['credential'], false> }
  readonly guarding?: GuardOptions
  readonly pages?: boolean
  readonly recovery?: boolean
}

/** A server with a handler that says what it was told. */
async function start({ bound = {}, guarding = {}, pages = false, recovery = false }: Setting = {}) {
  const handled: unknown[] = []
  let entries = 0
  const host = await serve(
    (io) => {
      const gate = guard(io, { undeclared: 'allow', ...guarding })
      if (pages) gate.use(origin({ allow: [PAGE], missing: 'allow' }))
      gate.use(authenticate(byCookie, byToken)).use(binding(bound))
      io.on('connection', (socket) => {
        entries += 1
        socket.on('say', (what: unknown, ack?: (answer: unknown) => void) => {
          handled.push(what)
          ack?.(what)
        })
      })
      return gate
    },
    recovery ? { connectionStateRecovery: {} } : {},
  )
  return { ...host, handled, entries: () => entries, seen: watch(host.gate) }
}
type Place = Awaited<ReturnType<typeof start>>

const headersOf = (cookie: string | undefined, agent: string | undefined = FIREFOX): Record<string, string> => ({
  ...(cookie === undefined ? {} : { cookie: `theme=dark; sid=${cookie}` }),
  ...(agent === '' ? {} : { 'user-agent': agent }),
})

/** Opens its connections from one address, or upgrades from another. */
class From extends Agent {
  constructor(
    readonly polling: string,
    readonly upgrading = polling,
  ) {
    super()
  }
  override createConnection({ port, headers = {} }: ClientRequestArgs): Duplex {
    const upgrades = Object.keys(headers).some((name) => name.toLowerCase() === 'upgrade')
    return tcpConnect({ host: HERE, port: Number(port), localAddress: upgrades ? this.upgrading : this.polling })
  }
}

type Transports = readonly ('polling' | 'websocket')[]

/** A stock client at an address. */
function client(host: Place, { at = HERE, upgradesAt = at, cookie, agent = FIREFOX, transports = ['websocket'], headers = {}, ...options }: { at?: string; upgradesAt?: string; cookie?: string | undefined; agent?: string; transports?: Transports; headers?: Record<string, string>; auth?: object } = {}): Client {
  const socket = stockClient(host, { transports: [...transports], agent: new From(at, upgradesAt) as never, extraHeaders: { ...headersOf(cookie, agent), ...headers }, ...options })
  closeAfterTest(() => {
    const { engine } = socket.io
    if (engine.readyState === 'closed') return undefined
    const closed = new Promise((resolve) => engine.once('close', resolve))
    engine.close()
    return closed
  })
  return socket
}

async function entered(...given: Parameters<typeof client>): Promise<Client> {
  const socket = client(...given)
  await entry(socket)
  return socket
}

interface Question {
  readonly at?: string
  readonly headers?: OutgoingHttpHeaders
  readonly method?: string
  readonly body?: string
  readonly upgrade?: boolean
}

/** One request of an engine session, by hand. */
function ask({ port }: Place, sid: string, { at = HERE, headers = {}, method = 'GET', body, upgrade = false }: Question = {}): Promise<{ readonly status: number; readonly body: string }> {
  const upgrading = upgrade ? { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': 'AAECAwQFBgcICQoLDA0ODw==' } : {}
  const path = `/socket.io/?EIO=4&transport=${upgrade ? 'websocket' : 'polling'}${sid === '' ? '' : `&sid=${sid}`}`
  return new Promise((resolve, reject) => {
    const asked = request({ host: HERE, port, path, method, agent: false, localAddress: at, headers: { ...headers, ...upgrading } })
    asked.on('error', reject)
    asked.on('upgrade', (_response, socket) => {
      socket.destroy()
      resolve({ status: 101, body: '' })
    })
    asked.on('response', (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: text }))
    })
    asked.end(body)
  })
}

const say = eventPacket(['say', 'stolen'])
/** What somebody with a stolen engine sid can send. */
const ways: readonly (readonly [string, Question])[] = [
  ['a poll', {}],
  ['a POST', { method: 'POST', body: `4${say}` }],
  ['a POST that closes the session', { method: 'POST', body: '1' }],
  ['an upgrade', { upgrade: true }],
]

const sidOf = (socket: Client): string => socket.io.engine.id
const summary = (decisions: readonly { stage: string; policy: string | undefined; code: string | undefined; enforced: boolean }[]) => decisions.map(({ stage, policy, code, enforced }) => ({ stage, policy, code, enforced }))

/** That the owner of a session is none the worse for it. */
async function stillThere(host: Place, victim: Client): Promise<void> {
  expect(await victim.emitWithAck('say', 'mine')).toBe('mine')
  expect(host.handled.filter((what) => what !== 'mine')).toEqual([])
  expect(victim.connected).toBe(true)
}

describe.each([[['polling']], [['websocket']], [['polling', 'websocket']]] as [Transports][])('a stolen credential, over %p', (transports) => {
  const strangers: readonly (readonly [string, { at?: string; agent?: string }, string])[] = [
    ['another address', { at: THERE }, 'address'],
    ['another user agent', { agent: CURL }, 'user agent'],
    ['no user agent', { agent: '' }, 'user agent'],
  ]

  test.each(strangers)('is refused from %s, is one record with its subject, and goes on for its owner', async (_words, stranger, part) => {
    const host = await start()
    const victim = await entered(host, { cookie: 's-victim', transports })
    const { message, data } = await refusal(client(host, { cookie: 's-victim', transports, ...stranger }))
    expect(message).toBe('UNAUTHENTICATED')
    expect(Object.keys(data).sort()).toEqual(['code', 'id', 'message'])
    expect(summary(host.seen.denied)).toEqual([{ stage: 'connect', policy: 'binding', code: 'UNAUTHENTICATED', enforced: true }])
    expect(host.seen.denied[0]).toMatchObject({ subject: 'alice', id: data.id, peer: { principal: { tokenId: 'id of s-victim' } } })
    expect(host.seen.denied[0]!.error?.cause).toBe(`the credential is bound to another ${part}`)
    expect(host.entries()).toBe(1)
    await stillThere(host, victim)
    await entered(host, { cookie: 's-victim', transports })
  })

  test.each(strangers)('is let in from %s and reported once with mode report, not at all with off', async (_words, stranger) => {
    const reporting = await start({ bound: { mode: 'report' } })
    await entered(reporting, { cookie: 's-victim', transports })
    await entered(reporting, { cookie: 's-victim', transports, ...stranger })
    expect(summary(reporting.seen.denied)).toEqual([{ stage: 'connect', policy: 'binding', code: 'UNAUTHENTICATED', enforced: false }])
    expect(reporting.entries()).toBe(2)

    const off = await start({ bound: { mode: 'off' } })
    await entered(off, { cookie: 's-victim', transports })
    await entered(off, { cookie: 's-victim', transports, ...stranger })
    expect(off.seen.denied).toEqual([])
  })

  test('is the same refusal as a credential that is none', async () => {
    const host = await start()
    await entered(host, { cookie: 's-victim', transports })
    const bound = await refusal(client(host, { cookie: 's-victim', transports, at: THERE }))
    const unknown = await refusal(client(host, { cookie: 's-unknown', transports, at: THERE }))
    expect({ ...bound.data, id: '' }).toEqual({ ...unknown.data, id: '' })
  })
})

describe('a stolen credential', () => {
  test('is refused on another node that shares the store', async () => {
    const store = memoryStore()
    const [one, other] = [await start({ guarding: { store } }), await start({ guarding: { store } })]
    await entered(one, { cookie: 's-victim' })
    expect((await refusal(client(other, { cookie: 's-victim', at: THERE }))).message).toBe('UNAUTHENTICATED')
    await entered(other, { cookie: 's-victim' })
  })

  test('used by twenty at once, at two addresses, is bound to one address', async () => {
    const host = await start()
    const outcomes = await Promise.all(
      Array.from({ length: 20 }, async (_, index) => {
        const at = index % 2 === 0 ? HERE : THERE
        const socket = client(host, { cookie: 's-victim', at })
        return new Promise<string>((resolve) => {
          socket.once('connect', () => resolve(at))
          socket.once('connect_error', () => resolve('refused'))
        })
      }),
    )
    expect(outcomes.filter((outcome) => outcome !== 'refused')).toHaveLength(10)
    expect(new Set(outcomes).size).toBe(2)
  })

  test('together with the id of a connection to be recovered is refused, and leaves that to its owner', async () => {
    const host = await start({ recovery: true })
    const victim = await entered(host, { cookie: 's-victim' })
    const serverSide = [...host.io.of('/').sockets.values()][0]!
    const told = heard(victim, 'news')
    serverSide.emit('news', 1)
    await told
    const { id: sid } = victim
    const { _pid: pid, _lastOffset: offset } = victim as unknown as { _pid: string; _lastOffset: string }
    victim.io.engine.close()
    await until(() => host.io.of('/').sockets.size === 0)
    const auth = { pid, offset }
    expect((await refusal(client(host, { cookie: 's-victim', at: THERE, auth }))).message).toBe('UNAUTHENTICATED')
    const back = await entered(host, { cookie: 's-victim', auth })
    expect(back.id).toBe(sid)
    expect(host.io.of('/').sockets.get(sid!)!.recovered).toBe(true)
  })

  test('brought by a refresh is refused from where it is not bound; a new one is bound to whoever brings it', async () => {
    const host = await start()
    await entered(host, { auth: { token: 's-victim' } })
    // The same subject, on a device of its own.
    const device = await entered(host, { auth: { token: 's-next' }, at: THERE })
    expect(await device.emitWithAck('gate:refresh', { token: 's-victim' })).toMatchObject({ error: { code: 'UNAUTHENTICATED' } })
    expect(await device.emitWithAck('gate:refresh', { token: 's-next' })).toMatchObject({ expiresAtMs: START + 3_600_000 })
    await stillThere(host, device)

    const before = await entered(host, { auth: { token: 's-victim' } })
    cookies['s-refreshed'] = 'alice'
    expect(await before.emitWithAck('gate:refresh', { token: 's-refreshed' })).toMatchObject({ lost: { rooms: [] } })
    expect((await refusal(client(host, { auth: { token: 's-refreshed' }, at: THERE }))).message).toBe('UNAUTHENTICATED')
    await entered(host, { auth: { token: 's-refreshed' } })
  })

  test('can end the session everywhere: an operator revokes what was used twice', async () => {
    const host = await start()
    host.gate.on('denied', ({ policy, peer }) => {
      const { principal } = peer as { principal?: Principal }
      if (policy === 'binding' && principal?.tokenId !== undefined) void host.gate.revoke({ token: principal.tokenId }, { reason: 'used by two clients' })
    })
    const victim = await entered(host, { cookie: 's-victim' })
    const gone = heard(victim, 'disconnect')
    await refusal(client(host, { cookie: 's-victim', at: THERE }))
    await gone
    expect((await refusal(client(host, { cookie: 's-victim' }))).message).toBe('UNAUTHENTICATED')
  })

  test('that the store cannot be asked about is not let in', async () => {
    const broken = Object.assign(memoryStore(), { getOrSet: () => Promise.reject(new Error('down')) }) as Store
    const host = await start({ guarding: { store: broken } })
    expect((await refusal(client(host, { cookie: 's-victim' }))).message).toBe('UNAVAILABLE')
    expect(host.entries()).toBe(0)
  })

  test('of a client that vanishes while the store is asked harms nobody', async () => {
    let answer = (): void => {}
    const slow = memoryStore()
    const bind = slow.getOrSet.bind(slow)
    slow.getOrSet = (...asked) => new Promise((resolve) => (answer = () => resolve(bind(...asked))))
    const host = await start({ guarding: { store: slow } })
    const hasty = client(host, { cookie: 's-victim' })
    const first = answer
    await until(() => answer !== first)
    hasty.io.engine.close()
    await until(() => (host.io as unknown as { engine: { clientsCount: number } }).engine.clientsCount === 0)
    answer()
    slow.getOrSet = bind
    const back = await entered(host, { cookie: 's-victim' })
    await stillThere(host, back)
    expect(host.entries()).toBe(1)
    expect(host.seen.fault).toEqual([])
  })
})

describe.each([[['polling']], [['websocket']]] as [Transports][])('a stolen engine session over %p', (transports) => {
  const thieves: readonly (readonly [string, Question, BindingOptions & { credential?: never }])[] = [
    ['from another address, with the cookie of the victim', { at: THERE, headers: headersOf('s-victim') }, {}],
    ['from another address, without a cookie', { at: THERE, headers: headersOf(undefined) }, {}],
    ['from another address that claims to be the first', { at: THERE, headers: { ...headersOf('s-victim'), 'x-forwarded-for': HERE, forwarded: `for=${HERE}`, 'x-real-ip': HERE } }, {}],
    ['with another user agent', { headers: headersOf('s-victim', CURL) }, {}],
    ['with no user agent', { headers: headersOf('s-victim', '') }, {}],
    ['with a cookie of the thief', { headers: headersOf('s-thief') }, { cookie: 'sid' }],
    ['with no cookie', { headers: headersOf(undefined) }, { cookie: 'sid' }],
    ['with both cookies', { headers: { ...headersOf('s-victim'), cookie: 'sid=s-victim; sid=s-thief' } }, { cookie: 'sid' }],
  ]

  describe.each(thieves)('%s', (_words, thief, bound) => {
    test.each(ways)('is refused to %s with 403, is one record, and goes on for its owner', async (_way, how) => {
      const host = await start({ bound })
      const victim = await entered(host, { cookie: 's-victim', transports })
      const answer = await ask(host, sidOf(victim), { ...thief, ...how })
      expect(answer.status).toBe(403)
      expect(JSON.parse(answer.body)).toMatchObject({ error: { code: 'FORBIDDEN' } })
      expect(summary(host.seen.denied)).toEqual([{ stage: 'request', policy: 'binding', code: 'FORBIDDEN', enforced: true }])
      await stillThere(host, victim)
    })
  })
})

describe('a stolen engine session', () => {
  test('tried a hundred times at once goes on for its owner, while it is being upgraded too', async () => {
    const host = await start()
    const victim = client(host, { cookie: 's-victim', transports: ['polling', 'websocket'] })
    await new Promise<void>((resolve) => victim.io.engine.once('open', resolve))
    const sid = sidOf(victim)
    const upgraded = new Promise((resolve) => victim.io.engine.once('upgrade', resolve))
    const tries = Array.from({ length: 100 }, (_, index) => ask(host, sid, { at: THERE, headers: headersOf('s-victim'), ...ways[index % ways.length]![1] }))
    expect(new Set((await Promise.all(tries)).map(({ status }) => status))).toEqual(new Set([403]))
    await Promise.all([entry(victim), upgraded])
    await stillThere(host, victim)
    expect(host.seen.denied).toHaveLength(100)
  })

  test('with mode report goes to the thief, and is reported once for each thief', async () => {
    const host = await start({ bound: { mode: 'report' } })
    const { body } = await ask(host, '', { headers: headersOf('s-victim') })
    const { sid } = JSON.parse(body.slice(1)) as { sid: string }
    for (let index = 0; index < 5; index++) {
      expect((await ask(host, sid, { at: THERE, headers: headersOf('s-victim'), method: 'POST', body: '3' })).status).toBe(200)
      expect((await ask(host, sid, { headers: headersOf('s-victim', CURL), method: 'POST', body: '3' })).status).toBe(200)
    }
    expect(summary(host.seen.denied)).toEqual(Array(2).fill({ stage: 'request', policy: 'binding', code: 'FORBIDDEN', enforced: false }))
    expect(host.seen.denied.map(({ error }) => error?.cause)).toEqual(['the session was opened with another address', 'the session was opened with another user agent'])
  })

  test('with mode off goes to the thief, and nobody hears of it', async () => {
    const host = await start({ bound: { mode: 'off' } })
    const { body } = await ask(host, '', { headers: headersOf('s-victim') })
    const { sid } = JSON.parse(body.slice(1)) as { sid: string }
    expect((await ask(host, sid, { at: THERE, method: 'POST', body: `4${connectPacket()}` })).status).toBe(200)
    expect(host.seen.denied).toEqual([])
    expect(host.entries()).toBe(1)
  })

  test('that is none is the answer of the engine, as without a gate', async () => {
    const host = await start()
    for (const sid of ['unknown', '__proto__', 'constructor', '%00']) {
      const answer = await ask(host, sid, { headers: headersOf('s-thief') })
      expect([answer.status, JSON.parse(answer.body)]).toEqual([400, { code: 1, message: 'Session ID unknown' }])
    }
    expect(host.seen.denied).toEqual([])
  })

  test('bound for itself alone lets one credential be used on several devices', async () => {
    const host = await serve((io) => guard(io, { undeclared: 'allow' }).use(authenticate(byCookie)).use(binding({ credential: false })))
    const victim = await entered(host as never, { cookie: 's-victim', transports: ['polling'] })
    await entered(host as never, { cookie: 's-victim', at: THERE, agent: CURL })
    expect((await ask(host as never, sidOf(victim), { at: THERE, headers: headersOf('s-victim') })).status).toBe(403)
  })
})

describe('an address that changes half-way', () => {
  const transports: Transports = ['polling', 'websocket']

  test('is refused at the upgrade, and the client goes on polling where it was', async () => {
    const host = await start()
    const socket = client(host, { cookie: 's-victim', upgradesAt: THERE, transports })
    const failed = new Promise((resolve) => socket.io.engine.once('upgradeError', resolve))
    await Promise.all([entry(socket), failed])
    expect(summary(host.seen.denied)).toEqual([{ stage: 'request', policy: 'binding', code: 'FORBIDDEN', enforced: true }])
    expect(socket.io.engine.transport.name).toBe('polling')
    await stillThere(host, socket)
  })

  test.each([
    ['report', 1],
    ['off', 0],
  ] as const)('with mode %s is upgraded, and reported %i times', async (mode, times) => {
    const host = await start({ bound: { mode } })
    const socket = client(host, { cookie: 's-victim', upgradesAt: THERE, transports })
    const upgraded = new Promise((resolve) => socket.io.engine.once('upgrade', resolve))
    await Promise.all([entry(socket), upgraded])
    await stillThere(host, socket)
    expect(host.seen.denied).toHaveLength(times)
    expect(host.seen.denied.every(({ enforced }) => !enforced)).toBe(true)
  })

  test('within the prefix is the same', async () => {
    const host = await start({ bound: { address: { ipv4Prefix: 30 } } })
    const socket = client(host, { cookie: 's-victim', upgradesAt: THERE, transports })
    const upgraded = new Promise((resolve) => socket.io.engine.once('upgrade', resolve))
    await Promise.all([entry(socket), upgraded])
    await entered(host, { cookie: 's-victim', at: '127.0.0.3' })
    expect(host.seen.denied).toEqual([])
    expect((await refusal(client(host, { cookie: 's-victim', at: '127.0.0.5' }))).message).toBe('UNAUTHENTICATED')
  })

  test('in a forged header is none, and hides none', async () => {
    const host = await start()
    const { body } = await ask(host, '', { headers: { ...headersOf('s-victim'), 'x-forwarded-for': '198.51.100.1' } })
    const { sid } = JSON.parse(body.slice(1)) as { sid: string }
    const post = (at: string, forwarded: string) => ask(host, sid, { at, headers: { ...headersOf('s-victim'), 'x-forwarded-for': forwarded }, method: 'POST', body: '3' })
    expect((await post(HERE, '203.0.113.2')).status).toBe(200)
    expect((await post(THERE, '198.51.100.1')).status).toBe(403)
    expect((await post(THERE, HERE)).status).toBe(403)
  })

  test('in the header of a proxy that is trusted is one', async () => {
    const host = await start({ guarding: { trustProxy: [`${HERE}/32`] } })
    const { body } = await ask(host, '', { headers: { ...headersOf('s-victim'), 'x-forwarded-for': '198.51.100.1' } })
    const { sid } = JSON.parse(body.slice(1)) as { sid: string }
    const post = (forwarded: string) => ask(host, sid, { headers: { ...headersOf('s-victim'), 'x-forwarded-for': forwarded }, method: 'POST', body: '3' })
    expect((await post('198.51.100.1')).status).toBe(200)
    expect((await post('203.0.113.2')).status).toBe(403)
  })
})

describe('an honest client raises no alarm', () => {
  const honest: readonly (readonly [string, Parameters<typeof client>[1]])[] = [
    ['a browser', { cookie: 's-victim' }],
    ['a stock client in Node, which has a user agent when it polls and none on a WebSocket', { agent: '', auth: { token: 's-victim' } }],
  ]

  test.each(honest)('%s polls, posts, upgrades and comes again', async (_words, options) => {
    const host = await start({ bound: { cookie: 'sid' } })
    for (const transports of [['polling', 'websocket'], ['polling'], ['websocket']] as Transports[]) {
      const socket = client(host, { ...options, transports })
      const upgraded = transports.length === 1 ? undefined : new Promise((resolve) => socket.io.engine.once('upgrade', resolve))
      await Promise.all([entry(socket), upgraded])
      for (let index = 0; index < 5; index++) expect(await socket.emitWithAck('say', index)).toBe(index)
      expect(socket.io.engine.transport.name).toBe(transports.at(-1))
      socket.disconnect()
    }
    expect(host.seen.denied).toEqual([])
    expect(host.seen.fault).toEqual([])
  })
})

describe('the Origin of a session', () => {
  test.each(ways)('that was the right one is refused to %s with another, and the session goes on for its owner', async (_way, how) => {
    const host = await start({ pages: true, bound: { cookie: 'sid' } })
    const victim = await entered(host, { cookie: 's-victim', transports: ['polling'], headers: { origin: PAGE } })
    const answer = await ask(host, sidOf(victim), { headers: { ...headersOf('s-victim'), origin: 'https://evil.example' }, ...how })
    expect(answer.status).toBe(403)
    expect(host.seen.denied.map(({ stage, code }) => ({ stage, code }))).toEqual([{ stage: 'request', code: 'ORIGIN_NOT_ALLOWED' }])
    await stillThere(host, victim)
  })

  test('is pinned without an origin policy as well', async () => {
    const host = await start()
    const victim = await entered(host, { cookie: 's-victim', transports: ['polling'], headers: { origin: PAGE } })
    for (const [, how] of ways) expect((await ask(host, sidOf(victim), { headers: { ...headersOf('s-victim'), origin: 'https://evil.example' }, ...how })).status).toBe(403)
    await stillThere(host, victim)
    expect(new Set(host.seen.denied.map(({ policy }) => policy))).toEqual(new Set(['origin-pin']))
  })
})
