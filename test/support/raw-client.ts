import { request, type IncomingHttpHeaders, type OutgoingHttpHeaders } from 'node:http'
import { WebSocket } from 'ws'

/** Where a server listens. */
export interface Place {
  readonly port: number
}

/** What an engine answered over HTTP. */
export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

export interface Asked {
  readonly method?: string
  readonly headers?: OutgoingHttpHeaders
  readonly body?: string
}

/** Text is taken as it is, after `EIO=4`. */
type Query = Readonly<Record<string, string>> | string

function path(query: Query, more: Readonly<Record<string, string>> = {}): string {
  const text = new URLSearchParams({ EIO: '4', ...more, ...(typeof query === 'string' ? {} : query) }).toString()
  return `/socket.io/?${text}${typeof query === 'string' ? `&${query}` : ''}`
}

/** One request to the engine, with exactly these headers. An upgrade that succeeds is answered by status 101, and dropped. */
export function ask({ port }: Place, query: Query, { method = 'GET', headers = {}, body }: Asked = {}, transport = 'polling'): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const asked = request({ host: '127.0.0.1', port, path: path(query, { transport }), method, headers, agent: false })
    asked.on('error', reject)
    asked.on('upgrade', ({ statusCode = 0, headers: given }, socket) => {
      socket.destroy()
      resolve({ status: statusCode, headers: given, body: '' })
    })
    asked.on('response', (response) => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => (text += chunk))
      response.on('error', reject)
      response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text }))
    })
    asked.end(body)
  })
}

const UPGRADE = { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': 'AAECAwQFBgcICQoLDA0ODw==' }

/** One upgrade request, of a session when `sid` is in the query, and its status. */
export function askUpgrade(place: Place, query: Query = {}, headers: OutgoingHttpHeaders = {}): Promise<Answer> {
  return ask(place, query, { headers: { ...UPGRADE, ...headers } }, 'websocket')
}

/** A client that polls, by hand. */
export class Polling {
  constructor(
    readonly place: Place,
    readonly sid: string,
    readonly headers: OutgoingHttpHeaders,
  ) {}

  static async open(place: Place, headers: OutgoingHttpHeaders = {}): Promise<Polling> {
    const { status, body } = await ask(place, {}, { headers })
    if (status !== 200) throw new Error(`the polling handshake was answered ${status}: ${body}`)
    return new Polling(place, (JSON.parse(body.slice(1)) as { sid: string }).sid, headers)
  }

  poll(headers: OutgoingHttpHeaders = this.headers): Promise<Answer> {
    return ask(this.place, { sid: this.sid }, { headers })
  }

  /** Posts Socket.IO packets in one request. */
  post(packets: readonly string[], headers: OutgoingHttpHeaders = this.headers): Promise<Answer> {
    const body = packets.map((packet) => `4${packet}`).join('\u001e')
    return ask(this.place, { sid: this.sid }, { method: 'POST', headers: { 'content-type': 'text/plain', ...headers }, body })
  }

  upgrade(headers: OutgoingHttpHeaders = this.headers): Promise<Answer> {
    return askUpgrade(this.place, { sid: this.sid }, headers)
  }
}

const inNamespace = (namespace: string): string => (namespace === '/' ? '' : `${namespace},`)

/** A CONNECT packet as text. */
export function connectPacket(namespace = '/', auth?: object | string): string {
  return `0${inNamespace(namespace)}${auth === undefined ? '' : typeof auth === 'string' ? auth : JSON.stringify(auth)}`
}

/** An EVENT packet as text, with an ack when there is an id. */
export function eventPacket(event: readonly unknown[], { id, namespace = '/' }: { readonly id?: number | undefined; readonly namespace?: string } = {}): string {
  return `2${inNamespace(namespace)}${id ?? ''}${JSON.stringify(event)}`
}

interface Waiting {
  readonly matches: (packet: string) => boolean
  readonly resolve: (packet: string) => void
  readonly reject: (error: Error) => void
}

export interface RawOptions {
  readonly headers?: Readonly<Record<string, string>>
  readonly query?: Query
}

/**
 * A Socket.IO client that speaks the protocol by hand over one WebSocket, for what a stock client would never do.
 * Packets are the text of Socket.IO packets: `0{...}` CONNECT, `1` DISCONNECT, `2[...]` EVENT, `3...` ACK, `4{...}` CONNECT_ERROR.
 */
export class RawClient {
  /** Every Socket.IO packet that came, in the order it came. */
  readonly received: string[] = []
  /** Resolves when the connection is over, whoever ended it. */
  readonly closed: Promise<void>
  sid = ''
  readonly #socket: WebSocket
  readonly #untaken: string[] = []
  readonly #waiting: Waiting[] = []
  #nextId = 0

  private constructor({ port }: Place, { headers = {}, query = {} }: RawOptions) {
    this.#socket = new WebSocket(`ws://127.0.0.1:${port}${path(query, { transport: 'websocket' })}`, { headers })
    this.closed = new Promise((resolve) => this.#socket.once('close', () => resolve()))
    void this.closed.then(() => {
      for (const { reject } of this.#waiting.splice(0)) reject(new Error(`the connection was closed; until then came ${JSON.stringify(this.received)}`))
    })
  }

  static open(place: Place, options: RawOptions = {}): Promise<RawClient> {
    const client = new RawClient(place, options)
    return new Promise((resolve, reject) => {
      client.#socket.on('error', reject)
      client.#socket.on('message', (data: Buffer) => {
        const text = data.toString()
        if (text.startsWith('0')) {
          client.sid = (JSON.parse(text.slice(1)) as { sid: string }).sid
          resolve(client)
        } else if (text === '2') client.#socket.send('3')
        else if (text.startsWith('4')) client.#take(text.slice(1))
      })
    })
  }

  get isOpen(): boolean {
    return this.#socket.readyState === WebSocket.OPEN
  }

  /** Sends Socket.IO packets in one burst. */
  send(...packets: readonly string[]): void {
    for (const packet of packets) this.#socket.send(`4${packet}`)
  }

  /** Sends one binary attachment, for a packet that has announced it. */
  attach(data: Uint8Array): void {
    this.#socket.send(data)
  }

  /** The next packet, not yet taken, that begins so or that the function accepts. */
  next(wanted: string | ((packet: string) => boolean)): Promise<string> {
    const matches = typeof wanted === 'function' ? wanted : (packet: string) => packet.startsWith(wanted)
    const index = this.#untaken.findIndex(matches)
    if (index !== -1) return Promise.resolve(this.#untaken.splice(index, 1)[0]!)
    return new Promise((resolve, reject) => {
      if (this.#socket.readyState === WebSocket.CLOSED) reject(new Error('the connection is closed'))
      else this.#waiting.push({ matches, resolve, reject })
    })
  }

  /** Sends a CONNECT and waits for its answer: `{ sid, pid? }`, or `{ message, data? }` when it is refused. */
  async enter(namespace = '/', auth?: object | string): Promise<any> {
    this.send(connectPacket(namespace, auth))
    return this.entry(namespace)
  }

  /** Waits for the answer to a CONNECT. */
  async entry(namespace = '/'): Promise<any> {
    const prefixes = [`0${inNamespace(namespace)}`, `4${inNamespace(namespace)}`]
    const isOurs = (packet: string) => prefixes.some((prefix) => packet.startsWith(`${prefix}{`))
    const answer = await this.next(isOurs)
    return JSON.parse(answer.slice(prefixes[0]!.length))
  }

  emit(...event: readonly unknown[]): void {
    this.send(eventPacket(event))
  }

  /** Emits with an ack and waits for its arguments. Whatever was sent before has been taken in by then. */
  async ask(event: readonly unknown[], namespace = '/'): Promise<any[]> {
    const id = this.#nextId++
    this.send(eventPacket(event, { id, namespace }))
    const prefix = `3${inNamespace(namespace)}${id}[`
    return JSON.parse((await this.next(prefix)).slice(prefix.length - 1)) as unknown[]
  }

  /** The events received so far: `[name, ...arguments]`. */
  events(namespace = '/'): any[][] {
    const prefix = `2${inNamespace(namespace)}`
    return this.received.filter((packet) => packet.startsWith(`${prefix}[`)).map((packet) => JSON.parse(packet.slice(prefix.length)) as unknown[])
  }

  /** Resets the TCP connection, as a client does that vanishes. */
  vanish(): void {
    ;(this.#socket as unknown as { _socket: { resetAndDestroy(): void } })._socket.resetAndDestroy()
  }

  close(): void {
    this.#socket.terminate()
  }

  #take(packet: string): void {
    this.received.push(packet)
    const index = this.#waiting.findIndex(({ matches }) => matches(packet))
    if (index === -1) this.#untaken.push(packet)
    else this.#waiting.splice(index, 1)[0]!.resolve(packet)
  }
}
