import { once } from 'node:events'
import { createServer, request as httpRequest, type Server as HttpServer } from 'node:http'
import { connect as tcpConnect, type AddressInfo } from 'node:net'
import { afterAll, afterEach, describe, expect, test } from '@jest/globals'
import type { Browser, Page } from 'playwright-core'
import { guard, type Decision } from 'portcullis'
import { origin, type OriginOptions } from 'portcullis/policies'
import { Server } from 'socket.io'
import { io as connectClient, type Socket as ClientSocket } from 'socket.io-client'
import { browserTest, launch } from '../support/chromium.ts'

const closers: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

let browser: Browser | undefined
afterAll(() => browser?.close())

const page = '<!doctype html><title>page</title>'

async function listen(): Promise<{ http: HttpServer; url: string; port: number }> {
  const http = createServer((_request, response) => response.writeHead(200, { 'content-type': 'text/html' }).end(page)).listen(0, '127.0.0.1')
  await once(http, 'listening')
  const { port } = http.address() as AddressInfo
  closers.push(async () => {
    http.closeAllConnections()
    await new Promise((resolve) => http.close(resolve))
  })
  return { http, url: `http://127.0.0.1:${port}`, port }
}

interface Guarded {
  readonly url: string
  readonly port: number
  readonly decisions: Decision[]
  /** Method, transport and Origin of every request that came to the engine. */
  readonly requests: string[]
  /** How many connections handlers have seen, in all. */
  readonly entered: () => number
  readonly received: unknown[]
}

/** A server of an application; without `options` it has no gate. Its CORS setting lets every page read, so that CORS is not what stops one. */
async function start(options?: (url: string) => OriginOptions): Promise<Guarded> {
  const { http, url, port } = await listen()
  const io = new Server(http, { cors: { origin: true, credentials: true } })
  const decisions: Decision[] = []
  const requests: string[] = []
  const received: unknown[] = []
  let entered = 0
  io.engine.use((request: { method: string; _query: Record<string, string>; headers: { origin?: string } }, _response: unknown, next: () => void) => {
    requests.push(`${request.method} ${request._query['transport']} ${request.headers.origin ?? '-'}`)
    next()
  })
  if (options !== undefined) {
    const gate = guard(io, { undeclared: 'allow' }).use(origin(options(url)))
    gate.on('denied', (decision) => decisions.push(decision))
    closers.push(() => gate.close())
  }
  io.on('connection', (socket) => {
    entered += 1
    socket.on('say', (what: unknown, ack?: (answer: unknown) => void) => {
      received.push(what)
      ack?.(what)
    })
  })
  closers.push(() => io.close())
  return { url, port, decisions, requests, entered: () => entered, received }
}

function connectFrom({ url }: Guarded, transport: 'polling' | 'websocket', headers: Record<string, string> = {}): ClientSocket {
  const client = connectClient(url, { transports: [transport], reconnection: false, forceNew: true, extraHeaders: headers })
  closers.push(() => Promise.resolve(client.disconnect()))
  return client
}

/** How a connection attempt ended. */
const ending = (client: ClientSocket): Promise<'connected' | 'refused'> =>
  new Promise((resolve) => {
    client.once('connect', () => resolve('connected'))
    client.once('connect_error', () => resolve('refused'))
  })

interface Answer {
  readonly status: number
  readonly body: string
}

function ask({ port }: Guarded, method: string, query: string, headers: Record<string, string> = {}, body?: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const asked = httpRequest({ host: '127.0.0.1', port, method, path: `/socket.io/?EIO=4&transport=polling${query}`, headers }, (response) => {
      let text = ''
      response.on('data', (chunk) => (text += String(chunk)))
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: text }))
    })
    asked.on('error', reject)
    asked.end(body)
  })
}

const sidOf = ({ body }: Answer): string => (JSON.parse(body.slice(1)) as { sid: string }).sid

/** A request whose header lines are as given, one by one. @returns the status line and the body */
async function raw({ port }: Guarded, path: string, lines: readonly string[]): Promise<string> {
  const socket = tcpConnect(port, '127.0.0.1')
  socket.write(`GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\n${lines.map((line) => `${line}\r\n`).join('')}\r\n`)
  let text = ''
  socket.on('data', (chunk) => (text += String(chunk)))
  const complete = new Promise<void>((resolve) => socket.on('data', () => (/^HTTP\/1\.1 (101|4)/.test(text) || /\r\n\r\n[^]*\}/.test(text) ? resolve() : undefined)))
  await Promise.race([complete, once(socket, 'close')])
  socket.destroy()
  return text
}

const upgradeLines = ['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==']
const upgradePath = '/socket.io/?EIO=4&transport=websocket'

const own = (url: string): OriginOptions => ({ allow: [url] })

describe('in a real browser', () => {
  /** A page at the address, with the client of the server loaded into it. */
  async function open(at: string, server: Guarded): Promise<Page> {
    browser ??= await launch()
    const context = await browser.newContext()
    closers.push(() => context.close())
    const opened = await context.newPage()
    await opened.goto(at)
    await opened.addScriptTag({ url: `${server.url}/socket.io/socket.io.js` })
    return opened
  }

  const connectIn = (opened: Page, url: string, options: object): Promise<string> =>
    opened.evaluate(
      ([to, given]) =>
        new Promise<string>((resolve) => {
          const { io } = window as unknown as { io: (url: string, options: object) => any }
          const socket = io(to, { ...(given), reconnection: false, forceNew: true })
          socket.on('connect_error', () => resolve('refused'))
          socket.on('connect', () => {
            const { engine } = socket.io
            const finish = (): void => socket.emit('say', 'hello', (answer: string) => resolve(`${answer} over ${engine.transport.name}`))
            // The upgrade may be done before the namespace is entered.
            if (engine.transport.name === (given as { transports: string[] }).transports.at(-1)) finish()
            else engine.once('upgrade', finish)
          })
        }),
      [url, options] as const,
    )

  const ways = [
    ['polling', { transports: ['polling'] }, 'hello over polling'],
    ['a WebSocket', { transports: ['websocket'] }, 'hello over websocket'],
    ['polling and an upgrade', { transports: ['polling', 'websocket'] }, 'hello over websocket'],
  ] as const

  for (const [words, options, connected] of ways) {
    browserTest(`a page of the own origin connects by ${words}`, async () => {
      const server = await start(own)
      expect(await connectIn(await open(server.url, server), server.url, options)).toBe(connected)
      expect(server.decisions).toEqual([])
    })

    browserTest(`a page of a foreign origin is refused by ${words}, with 403, and no handler sees it`, async () => {
      const server = await start(own)
      const foreign = await listen()
      expect(await connectIn(await open(foreign.url, server), server.url, options)).toBe('refused')
      expect(server.decisions.map(({ stage, policy, code }) => ({ stage, policy, code }))).toEqual([{ stage: 'request', policy: 'origin', code: 'ORIGIN_NOT_ALLOWED' }])
      expect(server.entered()).toBe(0)
    })

    browserTest(`without the policy the foreign page gets in by ${words}, CORS or not`, async () => {
      const server = await start()
      const foreign = await listen()
      expect(await connectIn(await open(foreign.url, server), server.url, options)).toBe(connected)
    })
  }

  browserTest('a page of a listed foreign origin connects', async () => {
    const foreign = await listen()
    const server = await start((url) => ({ allow: [url, foreign.url] }))
    expect(await connectIn(await open(foreign.url, server), server.url, { transports: ['polling', 'websocket'] })).toBe('hello over websocket')
  })

  browserTest('a sandboxed frame of the own page has the Origin null, and is refused', async () => {
    const server = await start(own)
    const opened = await open(server.url, server)
    const answer = await opened.evaluate(
      (url) =>
        new Promise((resolve) => {
          window.addEventListener('message', (event) => resolve(event.data))
          const frame = document.createElement('iframe')
          frame.sandbox.add('allow-scripts')
          frame.srcdoc = `<script src="${url}/socket.io/socket.io.js"></script><script>
            const socket = io(${JSON.stringify(url)}, { transports: ['websocket'], reconnection: false })
            socket.on('connect', () => parent.postMessage('connected', '*'))
            socket.on('connect_error', () => parent.postMessage('refused', '*'))
          </script>`
          document.body.append(frame)
        }),
      server.url,
    )
    expect(answer).toBe('refused')
    expect(server.requests).toEqual(['GET websocket null'])
  })

  browserTest('Chromium sends no Origin when a page polls its own server, and sends one with POST and upgrade', async () => {
    const server = await start(own)
    await connectIn(await open(server.url, server), server.url, { transports: ['polling', 'websocket'] })
    const kinds = new Set(server.requests)
    expect(kinds).toEqual(new Set([`GET polling -`, `POST polling ${server.url}`, `GET websocket ${server.url}`]))
  })
})

describe('a session that began well', () => {
  test('is refused at the very request that has another Origin, and goes on for its owner', async () => {
    const server = await start(own)
    const client = connectFrom(server, 'polling', { origin: server.url })
    expect(await ending(client)).toBe('connected')
    const sid = client.io.engine.id

    const evil = { origin: 'https://evil.example' }
    expect(await ask(server, 'POST', `&sid=${sid}`, evil, '42["say","stolen"]')).toMatchObject({ status: 403 })
    expect(await ask(server, 'GET', `&sid=${sid}`, evil)).toMatchObject({ status: 403 })
    expect(await raw(server, `${upgradePath}&sid=${sid}`, [...upgradeLines, 'Origin: https://evil.example'])).toMatch(/^HTTP\/1\.1 403 /)

    expect(await client.emitWithAck('say', 'mine')).toBe('mine')
    expect(server.received).toEqual(['mine'])
    expect(server.decisions.map(({ code }) => code)).toEqual(['ORIGIN_NOT_ALLOWED', 'ORIGIN_NOT_ALLOWED', 'ORIGIN_NOT_ALLOWED'])
  })

  test('is refused at a POST or an upgrade without an Origin', async () => {
    const server = await start(own)
    const sid = sidOf(await ask(server, 'GET', '', { origin: server.url }))
    expect(await ask(server, 'POST', `&sid=${sid}`, {}, '40')).toMatchObject({ status: 403 })
    expect(await raw(server, `${upgradePath}&sid=${sid}`, upgradeLines)).toMatch(/^HTTP\/1\.1 403 /)
    expect(server.entered()).toBe(0)
  })

  test('that opened without an Origin, as a polling page does, cannot enter a namespace without one', async () => {
    const server = await start(own)
    const sid = sidOf(await ask(server, 'GET', ''))
    expect(await ask(server, 'POST', `&sid=${sid}`, {}, '40')).toMatchObject({ status: 403 })
    expect(await ask(server, 'POST', `&sid=${sid}`, { origin: 'https://evil.example' }, '40')).toMatchObject({ status: 403 })
    expect(server.entered()).toBe(0)
  })

  test('opened without an Origin enters with an allowed one', async () => {
    const server = await start(own)
    const sid = sidOf(await ask(server, 'GET', ''))
    expect(await ask(server, 'POST', `&sid=${sid}`, { origin: server.url }, '40')).toMatchObject({ status: 200 })
    expect(await ask(server, 'GET', `&sid=${sid}`)).toMatchObject({ status: 200, body: expect.stringMatching(/^40\{"sid":/) })
    expect(server.entered()).toBe(1)
  })
})

describe('clients that are no browsers', () => {
  for (const transport of ['polling', 'websocket'] as const) {
    test(`are refused by ${transport} without an Origin, unless missing: 'allow' says otherwise`, async () => {
      expect(await ending(connectFrom(await start(own), transport))).toBe('refused')
      expect(await ending(connectFrom(await start((url) => ({ allow: [url], missing: 'allow' })), transport))).toBe('connected')
    })

    test(`are refused by ${transport} with a wrong Origin, also with missing: 'allow'`, async () => {
      const server = await start((url) => ({ allow: [url], missing: 'allow' }))
      expect(await ending(connectFrom(server, transport, { origin: 'null' }))).toBe('refused')
      expect(server.entered()).toBe(0)
    })
  }
})

describe('spellings, on the wire', () => {
  const refusals: readonly (readonly [string, (url: string) => string[]])[] = [
    ['two Origin headers', (url) => [`Origin: ${url}`, 'Origin: https://evil.example']],
    ['two Origin headers, the right one last', (url) => ['Origin: https://evil.example', `Origin: ${url}`]],
    ['the same Origin header twice', (url) => [`Origin: ${url}`, `Origin: ${url}`]],
    ['two Origin headers of different case', (url) => [`origin: ${url}`, 'ORIGIN: https://evil.example']],
    ['a list', (url) => [`Origin: ${url} https://evil.example`]],
    ['null', () => ['Origin: null']],
    ['an empty value', () => ['Origin:']],
    ['a trailing slash', (url) => [`Origin: ${url}/`]],
    ['an upper case scheme', (url) => [`Origin: ${url.toUpperCase()}`]],
    ['a wrong Origin with a right Referer and Host', (url) => ['Origin: https://evil.example', `Referer: ${url}/`]],
  ]

  for (const [words, lines] of refusals) {
    test(`${words}: 403 on polling and on an upgrade`, async () => {
      const server = await start(own)
      const polling = await raw(server, '/socket.io/?EIO=4&transport=polling', lines(server.url))
      expect(polling).toMatch(/^HTTP\/1\.1 403 /)
      expect(polling).toContain('"code":"ORIGIN_NOT_ALLOWED"')
      expect(polling).not.toContain('sid')
      expect(await raw(server, upgradePath, [...upgradeLines, ...lines(server.url)])).toMatch(/^HTTP\/1\.1 403 /)
      expect(server.entered()).toBe(0)
    })
  }

  test('blanks around the value are not part of it (RFC 9110 5.5)', async () => {
    const server = await start(own)
    expect(await raw(server, upgradePath, [...upgradeLines, `Origin:   ${server.url}  `])).toMatch(/^HTTP\/1\.1 101 /)
  })
})
