import { randomBytes } from 'node:crypto'
import { createServer, request, type IncomingMessage, type ServerResponse } from 'node:http'
import { afterAll, describe, expect, test } from '@jest/globals'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { Denied, fromAuth, fromCookie, guard } from 'portcullis'
import type { Principal, Scheme } from 'portcullis'
import { authenticate, csrf, type CsrfOptions } from 'portcullis/policies'
import { browserTest, launch } from '../support/chromium.ts'
import { client as stockClient, closeAfterTest, connectPacket, entry, eventPacket, listen, polling, raw, refusal, serve, watch, type Client } from '../support/server.ts'

const APP = 'https://app.example'
const EVIL = 'https://evil.example'
const secret = randomBytes(32)

/** What a browser sends of its own accord. */
const browserHeaders = (cookie: string | undefined, origin: string | undefined): Record<string, string> => ({
  'user-agent': 'Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0',
  'accept-language': 'en-GB,en;q=0.5',
  'cache-control': 'no-cache',
  'sec-fetch-dest': 'empty',
  'sec-fetch-mode': 'cors',
  'sec-fetch-site': origin === APP ? 'same-origin' : 'cross-site',
  ...(cookie === undefined ? {} : { cookie }),
  ...(origin === undefined ? {} : { origin }),
})

/** An application with pages, sessions and a socket. Its sign-in makes a new session; its sign-out ends it. */
async function start({ guarded = true, more = {} }: { guarded?: boolean; more?: Partial<CsrfOptions> } = {}) {
  /** Who has signed in, by session; undefined for a visitor who has not. */
  const sessions = new Map<string, string | undefined>()
  const entered: string[] = []
  const handled: unknown[] = []
  const byCookie: Scheme<string> = {
    name: 'session',
    read: fromCookie('sid', { dangerouslyWithoutCsrf: !guarded }),
    verify: (session): Principal => {
      const subject = sessions.get(session)
      if (subject === undefined) throw new Denied('UNAUTHENTICATED')
      return { subject, claims: {}, expiresAtMs: 'never', tokenId: session, factors: [] }
    },
  }
  const byToken: Scheme<string> = { name: 'token', read: fromAuth('token'), verify: (token): Principal => ({ subject: `service ${token}`, claims: {}, expiresAtMs: 'never', factors: [] }) }

  // CORS lets every page read what the socket answers: it is not what is tested.
  const host = await serve((io) => guard(io, { undeclared: 'allow' }), { cors: { origin: true, credentials: true }, serveClient: true })
  // Declared once the origin of the own pages is known.
  const sameSite = csrf({ origins: [APP, host.url], secret, session: fromCookie('sid'), ...more })
  const gate = (guarded ? host.gate.use(sameSite) : host.gate).use(authenticate(byCookie, byToken))
  for (const namespace of ['/', '/admin']) {
    host.io.of(namespace).on('connection', (socket) => {
      entered.push(gate.peerOf(socket).principal.subject)
      socket.on('say', (what: unknown, ack?: (answer: unknown) => void) => {
        handled.push(what)
        ack?.(what)
      })
    })
  }

  const cookieOf = (request: IncomingMessage) => /(?:^|; )sid=([^;]*)/.exec(request.headers.cookie ?? '')?.[1]
  const begin = (subject: string | undefined): string => {
    const session = randomBytes(16).toString('hex')
    sessions.set(session, subject)
    return session
  }
  host.http.on('request', (request: IncomingMessage, response: ServerResponse) => {
    if (request.url!.startsWith('/socket.io/')) return
    const known = cookieOf(request)
    const answer = (session: string): void => {
      const body = `<!doctype html><meta name="csrf" content="${sameSite.token(session)}"><title>page</title>`
      response.writeHead(200, { 'content-type': 'text/html', 'cache-control': 'no-store', 'set-cookie': `sid=${session}; Path=/; HttpOnly; SameSite=Lax` }).end(body)
    }
    if (request.url === '/login' || request.url === '/logout') {
      if (known !== undefined) sessions.delete(known)
      return answer(begin(request.url === '/login' ? 'alice' : undefined))
    }
    answer(known !== undefined && sessions.has(known) ? known : begin(undefined))
  })
  return { ...host, sessions, entered, handled, sameSite, begin, seen: watch(host.gate) }
}
type App = Awaited<ReturnType<typeof start>>

type Transports = readonly ('polling' | 'websocket')[]

function client(app: App, { cookie, origin, transports = ['websocket'], headers = {}, ...options }: { cookie?: string; origin?: string; transports?: Transports; headers?: Record<string, string>; auth?: object; namespace?: string }): Client {
  const socket = stockClient(app, { transports: [...transports], extraHeaders: { ...browserHeaders(cookie, origin), ...headers }, ...options })
  closeAfterTest(() => {
    const { engine } = socket.io
    if (engine.readyState === 'closed') return undefined
    const closed = new Promise((resolve) => engine.once('close', resolve))
    engine.close()
    return closed
  })
  return socket
}

/** A visit to a page of the application, as a browser that keeps its cookie. */
function visit({ port }: App, path: string, session?: string): Promise<{ readonly session: string; readonly token: string }> {
  return new Promise((resolve, reject) => {
    const asked = request({ host: '127.0.0.1', port, path, agent: false, headers: browserHeaders(session === undefined ? undefined : `sid=${session}`, undefined) }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
      response.on('end', () => resolve({ session: /sid=([^;]*)/.exec(response.headers['set-cookie']![0]!)![1]!, token: /content="([^"]*)"/.exec(text)![1]! }))
    })
    asked.on('error', reject)
    asked.end()
  })
}

const said = ({ data }: { data?: any }) => ({ ...data, id: '' }) as object

describe.each([[['polling']], [['websocket']], [['polling', 'websocket']]] as [Transports][])("the victim's cookie, over %p", (transports) => {
  test('from a foreign page is refused before a session opens, whatever token it brings', async () => {
    const app = await start()
    const { session, token } = await visit(app, '/login')
    for (const origin of [EVIL, 'null', `${APP}.evil.example`]) {
      app.seen.denied.length = 0
      const error = await refusal(client(app, { cookie: `sid=${session}`, origin, transports, auth: { csrf: token } }))
      expect(String(error.description?.message ?? error.description)).toMatch(/403$/)
      expect(app.seen.denied.map(({ stage, policy, code }) => ({ stage, policy, code }))).toEqual([{ stage: 'request', policy: 'csrf', code: 'ORIGIN_NOT_ALLOWED' }])
    }
    expect(app.entered).toEqual([])
  })

  test('is refused without a token, with one of another session, with one of another server, and lets in with its own', async () => {
    const app = await start()
    const { session, token } = await visit(app, '/login')
    const thief = await visit(app, '/login')
    const elsewhere = await start({ more: { secret: randomBytes(32) } })
    const from = { cookie: `theme=dark; sid=${session}`, origin: APP, transports }
    const refusals: object[] = []
    for (const auth of [{}, { csrf: '' }, { csrf: thief.token }, { csrf: elsewhere.sameSite.token(session) }, { csrf: token.slice(0, -1) }, { csrf: [token] }]) {
      app.seen.denied.length = 0
      const error = await refusal(client(app, { ...from, auth }))
      expect(error.message).toBe('FORBIDDEN')
      expect(app.seen.denied.map(({ stage, policy, code }) => ({ stage, policy, code }))).toEqual([{ stage: 'connect', policy: 'csrf', code: 'FORBIDDEN' }])
      refusals.push(said(error))
    }
    expect(new Set(refusals.map((refused) => JSON.stringify(refused))).size).toBe(1)
    expect(app.entered).toEqual([])

    const socket = client(app, { ...from, auth: { csrf: token } })
    const upgraded = transports.length === 1 ? undefined : new Promise((resolve) => socket.io.engine.once('upgrade', resolve))
    await Promise.all([entry(socket), upgraded])
    expect(await socket.emitWithAck('say', 'hello')).toBe('hello')
    expect(app.entered).toEqual(['alice'])
    expect(app.seen.denied).toHaveLength(1)
  })

  test('without a token is the same refusal, whether the cookie is worth anything or not', async () => {
    const app = await start()
    const { session } = await visit(app, '/login')
    const refusals = await Promise.all([session, 'made-up', '', app.begin(undefined)].map(async (value) => said(await refusal(client(app, { cookie: `sid=${value}`, origin: APP, transports })))))
    for (const refused of refusals) expect(refused).toEqual(refusals[0])
  })

  test('a token of a session that is none is no credential', async () => {
    const app = await start()
    const cookie = 'sid=made-up'
    expect((await refusal(client(app, { cookie, origin: APP, transports, auth: { csrf: app.sameSite.token('made-up') } }))).message).toBe('UNAUTHENTICATED')
  })

  test('the token of before a login, of before a logout, and after it, is refused', async () => {
    const app = await start()
    const enter = (session: string, token: string) => client(app, { cookie: `sid=${session}`, origin: APP, transports, auth: { csrf: token } })
    const visitor = await visit(app, '/')
    expect((await refusal(enter(visitor.session, visitor.token))).message).toBe('UNAUTHENTICATED')

    const user = await visit(app, '/login', visitor.session)
    expect(user.session).not.toBe(visitor.session)
    expect((await refusal(enter(user.session, visitor.token))).message).toBe('FORBIDDEN')
    expect((await refusal(enter(visitor.session, visitor.token))).message).toBe('UNAUTHENTICATED')
    await entry(enter(user.session, user.token))
    const again = await visit(app, '/', user.session)
    await entry(enter(user.session, again.token))

    const after = await visit(app, '/logout', user.session)
    expect((await refusal(enter(user.session, user.token))).message).toBe('UNAUTHENTICATED')
    expect((await refusal(enter(after.session, user.token))).message).toBe('FORBIDDEN')
    expect((await refusal(enter(after.session, after.token))).message).toBe('UNAUTHENTICATED')
    expect(app.entered).toHaveLength(2)
  })

  test('a client that is no browser, with a token of its own and neither cookie nor Origin, needs none of this', async () => {
    const app = await start()
    const socket = client(app, { transports, auth: { token: 'billing' } })
    const upgraded = transports.length === 1 ? undefined : new Promise((resolve) => socket.io.engine.once('upgrade', resolve))
    await Promise.all([entry(socket), upgraded])
    expect(app.entered).toEqual(['service billing'])
    expect(app.seen.denied).toEqual([])
  })

  test('the right Origin without any credential is refused: it is none', async () => {
    const app = await start()
    expect((await refusal(client(app, { origin: APP, transports }))).message).toBe('UNAUTHENTICATED')
    expect(app.entered).toEqual([])
  })
})

describe('a session that began well', () => {
  test('is refused to a POST and an upgrade of a foreign page, or without an Origin, and enters with the right one', async () => {
    const app = await start()
    const { session, token } = await visit(app, '/login')
    const headers = (origin?: string) => browserHeaders(`sid=${session}`, origin)
    // As a page that polls its own server: without an Origin.
    const poller = await polling(app, headers())
    const connect = [connectPacket('/', { csrf: token })]
    for (const origin of [EVIL, undefined, 'null']) {
      expect((await poller.post(connect, headers(origin))).status).toBe(403)
      expect((await poller.upgrade(headers(origin))).status).toBe(403)
    }
    expect((await poller.poll(headers(EVIL))).status).toBe(403)
    expect(app.entered).toEqual([])

    expect((await poller.post(connect, headers(APP))).status).toBe(200)
    expect((await poller.poll(headers())).body).toMatch(/^40\{/)
    expect((await poller.post([eventPacket(['say', 'stolen'])], headers(EVIL))).status).toBe(403)
    expect((await poller.upgrade(headers(EVIL))).status).toBe(403)
    expect((await poller.post([eventPacket(['say', 'mine'])], headers(APP))).status).toBe(200)
    expect(app.handled).toEqual(['mine'])
  })

  test('needs the token again for every further namespace', async () => {
    const app = await start()
    const { session, token } = await visit(app, '/login')
    const socket = await raw(app, { headers: browserHeaders(`sid=${session}`, APP) })
    expect(await socket.enter('/', { csrf: token })).toMatchObject({ sid: expect.any(String) })
    expect(await socket.enter('/admin')).toMatchObject({ message: 'FORBIDDEN' })
    expect(await socket.enter('/admin', { csrf: token })).toMatchObject({ sid: expect.any(String) })
  })

  test('takes the token in a header where a client can send one', async () => {
    const app = await start()
    const { session, token } = await visit(app, '/login')
    const from = { cookie: `sid=${session}`, origin: APP, transports: ['polling'] as const }
    await entry(client(app, { ...from, headers: { 'x-csrf-token': token } }))
    expect((await refusal(client(app, { ...from, headers: { 'x-csrf-token': app.sameSite.token('other') } }))).message).toBe('FORBIDDEN')
    expect((await refusal(client(app, { ...from, headers: { 'x-csrf-token': token }, auth: { csrf: app.sameSite.token('other') } }))).message).toBe('FORBIDDEN')
  })

  test('with forged, nested and oversized tokens is refused, and the server goes on', async () => {
    const app = await start()
    const { session, token } = await visit(app, '/login')
    const auths = ['{"csrf":{"toString":"x"}}', '{"csrf":["a"]}', `{"csrf":"${'A'.repeat(7_000)}"}`, '{"csrf":null}', '{"csrf":1e999}', '{"csrf":"\\u0000"}', '{"csrf":"\\ud800"}']
    for (const auth of auths) {
      const socket = await raw(app, { headers: browserHeaders(`sid=${session}`, APP) })
      expect(await socket.enter('/', auth)).toMatchObject({ message: 'FORBIDDEN' })
    }
    const results = await Promise.all(Array.from({ length: 30 }, async (_, index) => (await raw(app, { headers: browserHeaders(`sid=${session}`, APP) })).enter('/', { csrf: index % 2 === 0 ? token : app.sameSite.token(`s-${index}`) })))
    expect(results.map(({ message }: { message?: string }) => message)).toEqual(Array.from({ length: 30 }, (_, index) => (index % 2 === 0 ? undefined : 'FORBIDDEN')))
    expect(app.seen.fault).toEqual([])
  })

  test('may be refreshed without a token: what comes in-band comes from who is there already', async () => {
    const app = await start()
    const { session, token } = await visit(app, '/login')
    const socket = client(app, { cookie: `sid=${session}`, origin: APP, auth: { csrf: token } })
    await entry(socket)
    const answer = await socket.emitWithAck('gate:refresh', { token: 'billing' })
    // Somebody else's credential, and not a missing token, is what is wrong with it.
    expect(answer).toMatchObject({ error: { code: 'UNAUTHENTICATED' } })
  })
})

describe('in a real browser', () => {
  let browser: Browser | undefined
  afterAll(() => browser?.close())

  async function visitor(): Promise<BrowserContext> {
    browser ??= await launch()
    const context = await browser.newContext()
    closeAfterTest(() => context.close())
    return context
  }

  async function open(context: BrowserContext, at: string, { url }: App): Promise<Page> {
    const page = await context.newPage()
    await page.goto(at)
    await page.addScriptTag({ url: `${url}/socket.io/socket.io.js` })
    return page
  }

  /** A page of another origin of the same site: cookies know no ports, so the browser sends it the victim's. */
  async function foreignPage(): Promise<string> {
    const http = createServer((_request, response) => response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><title>elsewhere</title>'))
    const port = await listen(http)
    closeAfterTest(() => new Promise((resolve) => http.close(resolve)))
    return `http://127.0.0.1:${port}`
  }

  const connectIn = (page: Page, url: string, transports: Transports, withToken: boolean): Promise<string> =>
    page.evaluate(
      ([to, over, token]) =>
        new Promise<string>((resolve) => {
          const { io } = window as unknown as { io: (url: string, options: object) => any }
          const csrf = document.querySelector('meta[name=csrf]')?.getAttribute('content')
          const socket = io(to, { transports: over, reconnection: false, forceNew: true, withCredentials: true, ...(token ? { auth: { csrf } } : {}) })
          socket.on('connect', () => resolve('connected'))
          socket.on('connect_error', (error: { data?: { code: string } }) => resolve(error.data?.code ?? 'refused'))
        }),
      [url, transports, withToken] as const,
    )

  for (const transports of [['websocket'], ['polling', 'websocket']] as Transports[]) {
    browserTest(`the own page enters with its token and not without, and a foreign page does not, over ${transports.join(' and ')}`, async () => {
      const app = await start()
      const context = await visitor()
      const own = await open(context, `${app.url}/login`, app)
      expect(await connectIn(own, app.url, transports, true)).toBe('connected')
      expect(await connectIn(own, app.url, transports, false)).toBe('FORBIDDEN')
      const foreign = await open(context, await foreignPage(), app)
      expect(await connectIn(foreign, app.url, transports, false)).toBe('refused')
      // It cannot read the token either.
      expect(await foreign.evaluate((url) => fetch(url, { credentials: 'include' }).then(() => 'read', () => 'unreadable'), app.url)).toBe('unreadable')
      expect(app.entered).toHaveLength(1)
    })

    browserTest(`without the policy the foreign page enters as the victim, over ${transports.join(' and ')}`, async () => {
      const app = await start({ guarded: false })
      const context = await visitor()
      await open(context, `${app.url}/login`, app)
      const foreign = await open(context, await foreignPage(), app)
      expect(await connectIn(foreign, app.url, transports, false)).toBe('connected')
      expect(app.entered).toEqual(['alice'])
    })
  }
})
