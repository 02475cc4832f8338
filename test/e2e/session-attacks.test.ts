import { describe, expect, test } from '@jest/globals'
import { memoryStore } from 'portcullis'
import { binding } from 'portcullis/policies'
import { Browser, signedIn } from '../support/browser.ts'
import { expectedRefusal, farewell, say, ways } from '../support/credentials.ts'
import { ask, askUpgrade, connectPacket, eventPacket, Polling, refusal, type Answer, type Client } from '../support/server.ts'
import { application, eventually, peerOf, twoNodes, type Application, type Settings } from '../support/session-application.ts'
import { sign } from '../support/session-cookies.ts'
import { atRest, ROTATE } from '../support/session-rotation.ts'
import { kinds } from '../support/session-stores.ts'

const each = kinds.flatMap((kind) => ways.map((way) => [kind, way] as const))
const AGENT = 'curl/8.5.0'

describe.each(each)('with sessions in %s, over %s, a copied cookie', (kind, way) => {
  const bound = (mode: 'refuse' | 'report' | 'off'): Settings => ({ declare: (gate) => gate.use(binding({ mode })) })

  test('is refused to another browser where it is bound, stays good for its owner, and is reported', async () => {
    const app = await application(kind, bound('refuse'))
    const owner = await signedIn(app)
    const socket = await owner.entered(way)
    const thief = new Browser(app, { agent: AGENT })
    thief.plant(owner.cookie!)
    expect((await refusal(thief.socket(way))).data).toEqual(expectedRefusal('UNAUTHENTICATED'))
    expect(app.seen.denied.map(({ policy, subject }) => ({ policy, subject }))).toEqual([{ policy: 'binding', subject: 'alice' }])
    expect(await say(socket, 'mine')).toBe('mine')
    // It is bound as a session, not as an id: the next id is no other one.
    await owner.post('/regenerate')
    thief.plant(owner.cookie!)
    expect((await refusal(thief.socket(way))).data).toEqual(expectedRefusal('UNAUTHENTICATED'))
    await owner.entered(way)
  })

  test('that is refused can end the session of both, everywhere', async () => {
    const app = await application(kind, bound('refuse'))
    app.gate.on('denied', ({ policy, peer }) => {
      const { session } = peer as { session?: { id: string } }
      if (policy === 'binding' && session) void app.live.end(session.id, { reason: 'used by two clients' })
    })
    const owner = await signedIn(app)
    const gone = farewell(await owner.entered(way))
    const thief = new Browser(app, { agent: AGENT })
    thief.plant(owner.cookie!)
    await refusal(thief.socket(way))
    expect((await gone).closing).toMatchObject({ code: 'REVOKED', details: { reason: 'used by two clients' } })
    for (const browser of [owner, thief]) expect((await browser.get('/me')).body.user).toBe(undefined)
  })

  test.each([
    ['report', 1],
    ['off', 0],
  ] as const)('is let in with mode %s, and reported %i times', async (mode, times) => {
    const app = await application(kind, bound(mode))
    const owner = await signedIn(app)
    await owner.entered(way)
    const thief = new Browser(app, { agent: AGENT })
    thief.plant(owner.cookie!)
    expect((await peerOf(await thief.entered(way))).subject).toBe('alice')
    expect(app.seen.denied.map(({ enforced }) => enforced)).toEqual(Array(times).fill(false))
  })
})

describe.each(kinds)('with sessions in %s, a stolen engine session', (kind) => {
  const say1 = eventPacket(['say', 'stolen'])
  type Theft = (app: Application, sid: string, headers: Record<string, string>) => Promise<Answer>
  const thefts: [string, Theft][] = [
    ['a poll', (app, sid, headers) => ask(app, { sid }, { headers })],
    ['a POST', (app, sid, headers) => ask(app, { sid }, { method: 'POST', headers, body: `4${say1}` })],
    ['a POST that closes it', (app, sid, headers) => ask(app, { sid }, { method: 'POST', headers, body: '1' })],
    ['an upgrade', (app, sid, headers) => askUpgrade(app, { sid }, headers)],
  ]

  const guards: [string, Settings][] = [
    ['the session', {}],
    ['a binding', { declare: (gate) => gate.use(binding({ cookie: 'sid' })) }],
  ]
  const each = thefts.flatMap(([what, theft]) => guards.map(([by, settings]) => [what, by, theft, settings] as const))

  test.each(each)('is refused to %s by %s with the cookie of the thief, and without one', async (_what, _by, theft, settings) => {
    const app = await application(kind, settings)
    const [owner, thief] = [await signedIn(app), await signedIn(app, 'mallory')]
    for (const way of ways.slice(0, 2)) {
      const socket = await owner.entered(way)
      const { cookie: _, ...without } = thief.headers
      for (const headers of [thief.headers, without]) {
        app.seen.denied.length = 0
        const { status } = await theft(app, socket.io.engine.id, headers)
        expect([status >= 400 && status < 500, app.seen.denied.length]).toEqual([true, 1])
        expect(await say(socket, 'mine')).toBe('mine')
      }
    }
    expect(app.handled.filter((what) => what !== 'mine')).toEqual([])
  })

  test('that was opened with a session is nobody by the time that is over: the cookie is judged when a namespace is entered', async () => {
    const app = await application(kind)
    const owner = await signedIn(app)
    const waiting = await Polling.open(app, { ...owner.headers })
    await owner.post('/logout')
    await waiting.post([connectPacket()])
    expect((await waiting.poll()).body).toContain('UNAUTHENTICATED')
    expect(app.sockets).toEqual([])
  })
})

describe.each(each)('with sessions in %s, over %s, a page of another site', (kind, way) => {
  const asBrowser = (owner: Browser, origin: string): Record<string, string> => ({ ...owner.headers, origin })
  const failed = async (socket: Client): Promise<string> => {
    const error = await refusal(socket)
    return String(error.data?.code ?? error.description?.message ?? error.description)
  }

  test('gets nowhere with the cookie of a visitor: not from its own origin, not without the token of the session, not with that of another', async () => {
    const app = await application(kind, { withCsrf: true })
    const [owner, mallory] = [await signedIn(app), await signedIn(app, 'mallory')]
    const token = (await owner.get('/csrf')).body.token as string
    const foreign = (await mallory.get('/csrf')).body.token as string
    expect(await failed(owner.socket(way, { extraHeaders: asBrowser(owner, 'https://evil.example'), auth: { csrf: token } }))).toMatch(/403$/)
    for (const auth of [{}, { csrf: foreign }, { csrf: '' }]) expect(await failed(owner.socket(way, { auth }))).toBe('FORBIDDEN')
    expect(app.sockets).toEqual([])
    expect((await peerOf(await owner.entered(way, { auth: { csrf: token } }))).subject).toBe('alice')
  })

  test('gets nowhere with a token from before the sign-in, from before a new id, or from after the sign-out', async () => {
    const app = await application(kind, { withCsrf: true, optional: true })
    const browser = new Browser(app)
    await browser.post('/set', { key: 'cart', value: 1 })
    const tokens = [(await browser.get('/csrf')).body.token as string]
    await browser.post('/login', { user: 'alice' })
    tokens.push((await browser.get('/csrf')).body.token as string)
    await browser.post('/regenerate')
    for (const csrf of tokens) expect(await failed(browser.socket(way, { auth: { csrf } }))).toBe('FORBIDDEN')
    const csrf = (await browser.get('/csrf')).body.token as string
    const socket = await browser.entered(way, { auth: { csrf } })
    const gone = farewell(socket)
    const thief = browser.thief()
    await browser.post('/logout')
    await gone
    const left = await thief.entered(way, { auth: { csrf } }).then(peerOf, () => undefined)
    expect(left?.subject ?? null).toBe(null)
    await browser.post('/login', { user: 'alice' })
    expect(await failed(browser.socket(way, { auth: { csrf } }))).toBe('FORBIDDEN')
  })
})

test('a page whose request has given its session another id gets a token for that one', async () => {
  const { browser, clock } = await atRest('memory', { withCsrf: true })
  const before = browser.sessionId
  clock.advance(ROTATE)
  const { token } = (await browser.get('/csrf')).body as { token: string }
  expect(browser.sessionId).not.toBe(before)
  expect((await peerOf(await browser.entered('websocket', { auth: { csrf: token } }))).subject).toBe('alice')
})

describe.each(kinds)('with sessions in %s', (kind) => {
  test('an id that means something else to a store is no session, even one that is signed', async () => {
    const asked: string[] = []
    const shared = memoryStore()
    const overheard = new Proxy(shared, {
      get(target, key) {
        const value: unknown = Reflect.get(target, key)
        if (typeof value !== 'function') return value
        return (...args: unknown[]): unknown => (asked.push(JSON.stringify(args)), (value as (...args: unknown[]) => unknown).apply(target, args))
      },
    })
    const app = await application(kind, { guarding: { store: overheard } })
    const owner = await signedIn(app)
    const before = await app.backing.ids()
    const hostile = ['__proto__', 'constructor', 'toString', '*', `${owner.sessionId!.slice(0, 5)}*`, '?'.repeat(32), `[${'a'.repeat(30)}]`, `${owner.sessionId}\n`, `\r\nSET x 1\r\n${'x'.repeat(16)}`, `${owner.sessionId}\0`, `../${owner.sessionId}`, `:${owner.sessionId}`, 'x'.repeat(12_000)]
    asked.length = 0
    for (const id of hostile) {
      for (const cookie of [`sid=${sign(id)}`, `sid=${encodeURIComponent(id)}`, `sid=${encodeURIComponent(`s:${id}`)}`]) {
        for (const way of ways.slice(0, 2)) expect([id, (await refusal(owner.socket(way, { extraHeaders: { ...owner.headers, cookie } }))).message]).toEqual([id, 'UNAUTHENTICATED'])
      }
    }
    const huge = await ask(app, {}, { headers: { ...owner.headers, cookie: `sid=${'x'.repeat(1_000_000)}` } }).catch(() => ({ status: 431 }))
    expect(huge.status).toBe(431)
    expect([await app.backing.ids(), asked.filter((question) => /proto|constructor|\*|x{16}/.test(question))]).toEqual([before, []])
    expect([app.seen.fault, await say(await owner.entered(), 'mine')]).toEqual([[], 'mine'])
  })

  test('twenty sign-ins at once leave no more sessions than there may be, where the oldest has to go', async () => {
    const nodes = await twoNodes(kind, { live: { concurrent: { limit: 3, full: 'end-oldest' } } })
    const browsers = Array.from({ length: 20 }, (_, n) => new Browser(nodes[n % 2]!))
    const first = await signedIn(nodes[0])
    const gone = farewell(await first.entered('websocket', {}, nodes[1]))
    for (const { status } of await Promise.all(browsers.map((browser) => browser.post('/login', { user: 'alice' })))) expect(status).toBe(204)
    expect((await gone).closing).toMatchObject({ code: 'REVOKED', reconnect: 'after-credential' })
    await eventually(async () => (await nodes[0].live.list({ subject: 'alice' })).length === 3 && (await nodes[0].backing.signedIn()).length === 3)
    const alive = (await Promise.all(browsers.map(async (browser) => (await browser.get('/me')).body.user !== undefined && browser))).filter((browser) => browser !== false)
    expect(alive).toHaveLength(3)
    for (const browser of alive) await browser.entered()
    for (const browser of browsers) if (!alive.includes(browser)) expect((await refusal(browser.socket())).message).toBe('UNAUTHENTICATED')
    expect((await (await signedIn(nodes[0], 'bob')).get('/sessions')).body).toHaveLength(1)
  })

  test('twenty sign-ins at once leave no more sessions than there may be, where the new one has to go', async () => {
    const nodes = await twoNodes(kind, { live: { concurrent: { limit: 3, full: 'refuse' } } })
    const first = await signedIn(nodes[0])
    const socket = await first.entered()
    const browsers = Array.from({ length: 20 }, (_, n) => new Browser(nodes[n % 2]!))
    const answers = await Promise.all(browsers.map((browser) => browser.post('/login', { user: 'alice' })))
    expect(answers.filter(({ status }) => status === 204)).toHaveLength(2)
    expect(await nodes[1].live.list({ subject: 'alice' })).toHaveLength(3)
    const inside = await Promise.all(
      browsers.map(async (browser) => {
        const client = browser.socket()
        return new Promise<boolean>((resolve) => {
          client.once('connect', () => resolve(true))
          client.once('connect_error', () => resolve(false))
        })
      }),
    )
    expect(inside.filter(Boolean)).toHaveLength(2)
    expect(await nodes[0].backing.signedIn()).toHaveLength(3)
    expect(await say(socket, 'still here')).toBe('still here')
    // There is room again when one has signed out.
    await first.post('/logout')
    expect((await (await signedIn(nodes[1])).get('/sessions')).body).toHaveLength(3)
  })
})
