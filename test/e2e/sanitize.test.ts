import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, afterEach, describe, expect, test } from '@jest/globals'
import { createAdapter } from '@socket.io/redis-adapter'
import type { Browser, Page } from 'playwright-core'
import { guard, memoryStore } from 'portcullis'
import { sanitize, type SanitizeOptions } from 'portcullis/policies'
import { createClient } from 'redis'
import { Server } from 'socket.io'
import { io as connectClient, type Socket as ClientSocket } from 'socket.io-client'
import { browserTest, launch } from '../support/chromium.ts'
import { attacks, plain } from '../support/markup.ts'
import { redisUrl } from '../support/redis.ts'

const closers: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

let browser: Browser | undefined
afterAll(() => browser?.close())

interface Running {
  readonly io: Server
  readonly url: string
  /** What handlers were given. */
  readonly handled: unknown[]
}

/** An application that relays what it is told; without `options` it has no gate. */
async function start(options?: SanitizeOptions): Promise<Running> {
  const http = createServer((_request, response) => response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end('<!doctype html><title>chat</title>'))
  const io = new Server(http)
  if (options !== undefined) {
    const policy = sanitize(options)
    const gate = guard(io, { undeclared: 'allow', store: memoryStore({ dangerouslyPerNode: true }) })
      .use(policy)
      .reply('*', policy)
    closers.push(() => gate.close())
  }
  const handled: unknown[] = []
  io.on('connection', (socket) => {
    void socket.join('room')
    socket.on('say', (what: unknown, ack?: (answer: unknown) => void) => {
      handled.push(what)
      io.emit('said', what)
      ack?.(what)
    })
    // What another part of the application has stored without the gate.
    socket.on('stored', (index: number, ack: (answer: unknown) => void) => ack({ stored: [attacks[index]] }))
  })
  http.listen(0, '127.0.0.1')
  await once(http, 'listening')
  closers.push(() => io.close())
  return { io, url: `http://127.0.0.1:${(http.address() as AddressInfo).port}`, handled }
}

async function enter({ url }: Running): Promise<ClientSocket> {
  const client = connectClient(url, { transports: ['websocket'], reconnection: false, forceNew: true })
  closers.push(() => client.disconnect())
  await new Promise((resolve) => client.once('connect', () => resolve(undefined)))
  return client
}

const next = (client: ClientSocket, event: string): Promise<any[]> => new Promise((resolve) => client.once(event, (...args) => resolve(args)))

const markup = { id: 7, text: '<img src=x onerror=hit()>hello', list: ['<b>bold</b>'], bytes: Buffer.from('<b>') }
const clean = { id: 7, text: 'hello', list: ['bold'], bytes: Buffer.from('<b>') }

describe('in a page that puts every message into its HTML', () => {
  /** A page that shows each `said` in three ways a careless page would, and counts what runs. */
  async function open({ url }: Running): Promise<Page> {
    browser ??= await launch()
    const context = await browser.newContext()
    closers.push(() => context.close())
    const page = await context.newPage()
    await page.goto(url)
    await page.addScriptTag({ url: `${url}/socket.io/socket.io.js` })
    await page.evaluate(
      () =>
        new Promise((resolve) => {
          const own = window as unknown as { io: () => any; hits: number; hit: () => void; shown: HTMLElement[][] }
          own.hits = 0
          own.hit = () => (own.hits += 1)
          own.shown = []
          const socket = own.io()
          const show = (html: string): HTMLElement => {
            const place = document.createElement('div')
            document.body.append(place)
            place.innerHTML = html
            return place
          }
          socket.on('said', (text: string) => {
            own.shown.push([show(text), show(`<p>${text}${text}</p>`), show(`<p title="${text}" class='${text}'></p>`)])
          })
          socket.on('connect', resolve)
        }),
    )
    return page
  }

  interface Shown {
    readonly hits: number
    /** For each message: what its elements, comments and texts are in each of the places. */
    readonly messages: readonly { readonly text: string; readonly marks: number; readonly within: string; readonly attributes: string }[]
  }

  async function say(running: Running, page: Page, texts: readonly string[]): Promise<Shown> {
    const client = await enter(running)
    for (const text of texts) client.emit('say', text)
    await page.waitForFunction((count) => (window as unknown as { shown: unknown[] }).shown.length === count, texts.length)
    return page.evaluate(() => {
      const { hits, shown } = window as unknown as { hits: number; shown: HTMLElement[][] }
      const messages = shown.map(([text, within, attributes]) => {
        const outline = (place: HTMLElement): string => [...place.querySelectorAll('*')].map((element) => `${element.localName}[${[...element.attributes].map(({ name }) => name).join()}]`).join(' ')
        return {
          text: text!.textContent,
          marks: [...text!.childNodes].filter(({ nodeType }) => nodeType !== Node.TEXT_NODE).length,
          within: outline(within!),
          attributes: outline(attributes!),
        }
      })
      return { hits, messages }
    })
  }

  /** A parser of HTML drops null characters, and makes every line break the same. */
  const parsed = (text: string): string => text.replace(/\0/g, '').replace(/\r\n?/g, '\n')

  browserTest('without the policy it runs', async () => {
    const running = await start()
    const page = await open(running)
    const { messages } = await say(running, page, ['<img src=x onerror=hit()>'])
    expect(messages[0]).toMatchObject({ marks: 1 })
    await page.waitForFunction(() => (window as unknown as { hits: number }).hits > 0)
  })

  browserTest('strip leaves a text and no element, alone and beside other text, and plain text as it was', async () => {
    const running = await start({ mode: 'strip' })
    const { hits, messages } = await say(running, await open(running), [...attacks, ...plain])
    const marked = messages.filter(({ marks, within }) => marks !== 0 || within !== 'p[]')
    expect(marked).toEqual([])
    expect(hits).toBe(0)
    expect(running.handled.slice(attacks.length)).toEqual(plain)
  })

  browserTest('escape shows every text as it was sent, in elements and in quoted attributes, and runs none', async () => {
    const running = await start({ mode: 'escape' })
    const texts = [...attacks, ...plain]
    const { hits, messages } = await say(running, await open(running), texts)
    expect(messages.filter(({ marks, within, attributes }) => marks !== 0 || within !== 'p[]' || attributes !== 'p[title,class]')).toEqual([])
    expect(hits).toBe(0)
    for (const [index, { text }] of messages.entries()) {
      const sent = texts[index]!
      // What was typed as an entity of escape's own is shown as the character: the price of escaping once only.
      if (!/&(?:amp|lt|gt|quot|#39|#96);/.test(sent)) expect(text).toBe(parsed(sent))
    }
  })

  browserTest('reject lets nothing with markup reach it', async () => {
    const running = await start({ mode: 'reject' })
    const client = await enter(running)
    for (const attack of attacks) expect(await client.emitWithAck('say', attack)).toMatchObject({ error: { code: 'INVALID_PAYLOAD' } })
    const { messages } = await say(running, await open(running), plain)
    expect(messages.map(({ marks }) => marks)).toEqual(plain.map(() => 0))
    expect(running.handled).toEqual(plain)
  })
})

describe('on the way out', () => {
  const ways: readonly (readonly [string, (io: Server, id: string) => void])[] = [
    ['socket.emit', (io, id) => io.sockets.sockets.get(id)!.emit('said', markup)],
    ['an emit with an ack', (io, id) => io.sockets.sockets.get(id)!.emit('said', markup, () => undefined)],
    ['io.emit', (io) => io.emit('said', markup)],
    ['a room', (io) => io.to('room').emit('said', markup)],
    ['the namespace', (io) => io.of('/').emit('said', markup)],
    ['a volatile emit', (io) => io.volatile.emit('said', markup)],
    ['a local emit', (io) => io.local.emit('said', markup)],
    ['send, whose event is message', (io) => io.send(markup)],
  ]

  for (const [words, emit] of ways) {
    test(`what was stored by another path is cleaned: ${words}`, async () => {
      const running = await start({ mode: 'strip' })
      const client = await enter(running)
      const received = next(client, words.startsWith('send') ? 'message' : 'said')
      emit(running.io, client.id!)
      expect((await received)[0]).toEqual(clean)
    })
  }

  test('a broadcast from one socket to the others', async () => {
    const running = await start({ mode: 'strip' })
    const [sender, recipient] = [await enter(running), await enter(running)]
    const received = next(recipient, 'said')
    running.io.sockets.sockets.get(sender.id!)!.broadcast.emit('said', markup)
    expect((await received)[0]).toEqual(clean)
  })

  test('the ack of a handler, where reply says so', async () => {
    const running = await start({ mode: 'strip' })
    const client = await enter(running)
    for (const index of attacks.keys()) {
      const { stored } = (await client.emitWithAck('stored', index)) as { stored: [string] }
      expect(stored[0]).not.toMatch(/<[a-z/!?]/i)
    }
  })

  test('a packet from another node, which has no gate', async () => {
    const running = await start({ mode: 'strip' })
    const http = createServer().listen(0, '127.0.0.1')
    await once(http, 'listening')
    const other = new Server(http)
    closers.push(() => other.close())
    for (const io of [running.io, other]) {
      const [pub, sub] = [createClient({ url: redisUrl() }), createClient({ url: redisUrl() })]
      await Promise.all([pub.connect(), sub.connect()])
      // The adapters unsubscribe when their servers are closed, so that has to come first.
      closers.unshift(() => Promise.all([pub.close(), sub.close()]))
      io.adapter(createAdapter(pub, sub, { key: 'sanitize-e2e' }))
    }
    const client = await enter(running)
    while ((await other.of('/').adapter.serverCount()) < 2) await new Promise((resolve) => setImmediate(resolve))
    const received = next(client, 'said')
    other.emit('said', markup)
    expect((await received)[0]).toEqual(clean)
  })

  test('a packet with markup is not sent at all with reject, and later ones are', async () => {
    const running = await start({ mode: 'reject' })
    const client = await enter(running)
    const received = next(client, 'said')
    running.io.emit('said', markup)
    running.io.emit('said', clean)
    expect((await received)[0]).toEqual(clean)
  })
})

test('handlers are given the cleaned arguments, and a refused event reaches none', async () => {
  const running = await start({ mode: 'strip' })
  const client = await enter(running)
  expect(await client.emitWithAck('say', markup)).toEqual(clean)
  expect(await client.emitWithAck('say', { '<b>': 1 })).toMatchObject({ error: { code: 'INVALID_PAYLOAD' } })
  expect(running.handled).toEqual([clean])
})
