import { describe, expect, jest, test } from '@jest/globals'
import { dangerouslyFromQuery, fromAuth, fromBearer, fromCookie, fromSubprotocol, guard } from 'portcullis'
import { jwt } from 'portcullis/adapters/jwt'
import { authenticate } from 'portcullis/policies'
import { testClock } from 'portcullis/testing'
import { WebSocket } from 'ws'
import { audience, honest, hsWith, issuer, keyed, keyedMutations, mutations, NOW, secret, type Kind } from '../support/mutated-tokens.ts'
import { ask, client, connectPacket, entered, polling, raw, refusal, serve, watch, type Host, type RawClient } from '../support/server.ts'

jest.setTimeout(60_000)

// C13: several hundred changed tokens of four issuers, over the network, wherever a token can stand. None gets in anywhere, and each gets the same answer.

const OTHERS = Object.values(keyed).map(({ issuer: own, publicKey }) => ({ issuer: own, publicKey }))
const HONEST: readonly string[] = [honest, ...Object.values(keyed).map((each) => each.honest)]

/** The one refusal, byte for byte but for its id. */
const REFUSAL = `4${JSON.stringify({ message: 'UNAUTHENTICATED', data: { code: 'UNAUTHENTICATED', message: 'Valid credentials are required.', id: '' } })}`
const anonymous = (packet: string): string => packet.replace(/"id":"[\w-]+"/, '"id":""')

/** A server that looks for a token wherever one can stand, with the subjects that entered. */
async function start() {
  const subjects: (string | undefined)[] = []
  const handled: unknown[] = []
  const from = [fromAuth(), fromBearer(), fromSubprotocol(), fromCookie('token', { dangerouslyWithoutCsrf: true }), dangerouslyFromQuery('token')]
  const host = await serve((io) => {
    const gate = guard(io, { clock: testClock(NOW), undeclared: 'allow', limits: { maxFailedCredentials: 1_000_000 } })
    const typed = gate.use(authenticate(jwt({ issuers: [{ issuer, secret }, ...OTHERS], audience, from }), { failures: { perAddress: false } }))
    io.on('connection', (socket) => {
      subjects.push(typed.peerOf(socket).principal.subject)
      socket.on('say', (what: unknown, ack: (answer: unknown) => void) => {
        handled.push(what)
        ack(typed.peerOf(socket).principal.subject)
      })
    })
    return typed
  })
  return { ...host, subjects, handled, seen: watch(host.gate) }
}

/** Does so for all of them, a few at a time. */
async function forAll<T>(items: readonly T[], what: (item: T) => Promise<void>, lanes = 8): Promise<void> {
  const queue = [...items]
  const work = async () => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await what(item)
  }
  await Promise.all(Array.from({ length: lanes }, work))
}

/** Opens a session by WebSocket, asks to enter, and gives back the answer. */
function answerTo(url: string, { protocols = [], headers = {} }: { readonly protocols?: string[]; readonly headers?: Record<string, string> }): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url, protocols, { headers })
    socket.on('error', reject)
    socket.on('message', (data: Buffer) => {
      const packet = data.toString()
      if (packet.startsWith('0')) socket.send(`4${connectPacket()}`)
      if (!/^4[04]/.test(packet)) return
      expect(socket.protocol).toBe(protocols[0] ?? '')
      socket.terminate()
      resolve(packet.slice(1))
    })
  })
}

const engine = ({ port }: { readonly port: number }, query = ''): string => `ws://127.0.0.1:${port}/socket.io/?EIO=4&transport=websocket${query}`

/** As HTTP can carry it without changing it: no control characters, no blanks at the end, and less than Node takes. */
const fitsHeader = (text: string): boolean => /^[\x20-\x7e\x80-\xff]*$/.test(text) && !/ $/.test(text) && text.length < 12_000

interface Carrier {
  readonly name: string
  /** Whether a token arrives there as it is. */
  fits(text: string): boolean
  answer(host: Host<unknown>, text: string): Promise<string>
}

const carriers: readonly Carrier[] = [
  {
    name: 'the Authorization header',
    fits: fitsHeader,
    answer: (host, text) => answerTo(engine(host), { headers: { authorization: `Bearer ${text}` } }),
  },
  {
    name: 'a cookie',
    fits: (text) => fitsHeader(text) && !text.includes(';') && !text.startsWith(' '),
    answer: (host, text) => answerTo(engine(host), { headers: { cookie: `theme=dark; token=${text}` } }),
  },
  {
    name: 'the subprotocol',
    // What a WebSocket client can offer (RFC 6455 4.1).
    fits: (text) => /^[\w!#$%&'*+.^`|~-]*$/.test(text) && text.length < 12_000,
    answer: (host, text) => answerTo(engine(host), { protocols: ['app.v1', `bearer.${text}`] }),
  },
  {
    name: 'the query',
    fits: (text) => !/\p{Surrogate}/u.test(text) && encodeURIComponent(text).length < 12_000,
    answer: (host, text) => answerTo(engine(host, `&token=${encodeURIComponent(text)}`), {}),
  },
  {
    name: 'the Authorization header of a client that polls',
    fits: fitsHeader,
    answer: async (host, text) => {
      const session = await polling(host, { authorization: `Bearer ${text}` })
      await session.post([connectPacket()])
      const { body } = await session.poll()
      await ask(host, { sid: session.sid }, { method: 'POST', body: '1', headers: { 'content-type': 'text/plain' } })
      return body.slice(1)
    },
  },
]

describe('none of several hundred changed tokens gets in, the honest ones do', () => {
  test('in the auth payload, one after another on the same connections', async () => {
    const host = await start()
    const clients: RawClient[] = []
    for (let n = 0; n < 8; n++) clients.push(await raw(host))
    await forAll([...mutations], async ([title, text]) => {
      const own = clients.pop()!
      own.send(connectPacket('/', { token: text }))
      expect([title, anonymous(await own.next('4'))]).toEqual([title, REFUSAL])
      clients.push(own)
    })
    expect(host.subjects).toEqual([])
    // The same connections enter with a token that is honest.
    for (const [index, text] of HONEST.entries()) expect(await clients[index]!.enter('/', { token: text })).toHaveProperty('sid')
    expect(host.subjects).toEqual(['alice', 'alice', 'alice', 'alice'])
    expect(host.seen.fault).toEqual([])
  })

  test.each(carriers)('in $name', async ({ fits, answer }) => {
    const host = await start()
    const carried = mutations.filter(([, text]) => fits(text))
    expect(carried.length).toBeGreaterThan(350)
    await forAll(carried, async ([title, text]) => {
      expect([title, anonymous(await answer(host, text))]).toEqual([title, REFUSAL])
    })
    expect(host.subjects).toEqual([])
    for (const text of HONEST) expect(await answer(host, text)).toMatch(/^0\{"sid":/)
    expect(host.subjects).toEqual(['alice', 'alice', 'alice', 'alice'])
    expect(host.seen.fault).toEqual([])
  })

  test('in the message that refreshes a credential: the peer stays who it is, and a token of its own subject is taken', async () => {
    const host = await start()
    const table: readonly (readonly [kind: Kind | 'hs', title: string, text: string])[] = [...mutations.slice(0, mutations.length - keyedMutations.length).map(([title, text]) => ['hs', title, text] as const), ...keyedMutations]
    const own = { hs: honest, rsa: keyed.rsa.honest, ec: keyed.ec.honest, okp: keyed.okp.honest }
    // Each peer may send a burst of ten.
    const bursts: (typeof table)[] = []
    for (const kind of ['hs', 'rsa', 'ec', 'okp'] as const) {
      const those = table.filter((each) => each[0] === kind)
      for (let at = 0; at < those.length; at += 9) bursts.push(those.slice(at, at + 9))
    }
    await forAll(bursts, async (burst) => {
      const kind = burst[0]![0]
      const peer = await raw(host)
      expect(await peer.enter('/', { token: own[kind] })).toHaveProperty('sid')
      for (const [, title, text] of burst) {
        const [answer] = await peer.ask(['gate:refresh', { token: text }])
        expect([title, { ...answer, error: { ...answer.error, id: '' } }]).toEqual([title, { error: { code: 'UNAUTHENTICATED', message: 'Valid credentials are required.', id: '' } }])
      }
      expect(await peer.ask(['say', kind])).toEqual(['alice'])
      expect((await peer.ask(['gate:refresh', { token: own[kind] }]))[0]).toHaveProperty('expiresAtMs')
      peer.close()
    })
    expect(host.handled).toHaveLength(bursts.length)
    expect(host.seen.fault).toEqual([])
  })
})

describe('stock clients', () => {
  const placed: readonly (readonly [name: string, place: (text: string) => object, transports: readonly string[]])[] = [
    ['auth', (token) => ({ auth: { token } }), ['websocket', 'polling']],
    ['Authorization', (text) => ({ extraHeaders: { authorization: `Bearer ${text}` } }), ['websocket', 'polling']],
    ['cookie', (text) => ({ extraHeaders: { cookie: `token=${text}` } }), ['websocket', 'polling']],
    ['query', (token) => ({ query: { token } }), ['websocket', 'polling']],
    ['subprotocol', (text) => ({ protocols: ['app.v1', `bearer.${text}`] }), ['websocket']],
  ]
  const sample = mutations.filter(([, text]) => /^[\w.-]+$/.test(text) && text.length < 4_000).filter((_, index) => index % 25 === 0)

  test.each(placed)('with their token in %s: the same for all', async (_, place, transports) => {
    const host = await start()
    for (const transport of transports) {
      for (const [title, text] of sample) {
        const socket = client(host, { ...place(text), transports: [transport] as never })
        const { message, data } = await refusal(socket)
        expect([title, message, { ...data, id: '' }]).toEqual([title, 'UNAUTHENTICATED', { code: 'UNAUTHENTICATED', message: 'Valid credentials are required.', id: '' }])
        socket.disconnect()
      }
      const socket = await entered(host, { ...place(honest), transports: [transport] as never })
      expect(await socket.emitWithAck('say', 'hello')).toBe('alice')
    }
  })

  test('an honest token beside another honest one is refused: nobody chooses which of the two counts', async () => {
    const host = await start()
    const bob = hsWith({ sub: 'bob' })
    for (const [, place] of placed.slice(1)) {
      const { message } = await refusal(client(host, { auth: { token: bob }, ...place(honest) }))
      expect(message).toBe('UNAUTHENTICATED')
    }
    expect(host.subjects).toEqual([])
  })
})
