/**
 * A WebSocket client of the least cost: frames are built once and only counted on arrival. A complete client costs more
 * per message than the server under test, and would be measured instead of it.
 */
import { createConnection, type Socket } from 'node:net'

// Not zero: a server may skip the unmasking of a zero mask, which no browser sends.
const mask = Buffer.from([0x5a, 0x1c, 0xe7, 0x93])

/** One masked text frame (RFC 6455, 5.2). */
export function textFrame(text: string): Buffer {
  const payload = Buffer.from(text)
  const head = payload.length < 126 ? 2 : 4
  if (payload.length > 0xffff) throw new RangeError('a text of more than 65,535 bytes is not part of any measure')
  const frame = Buffer.alloc(head + 4 + payload.length)
  frame[0] = 0x81
  if (head === 2) {
    frame[1] = 0x80 | payload.length
  } else {
    frame[1] = 0x80 | 126
    frame.writeUInt16BE(payload.length, 2)
  }
  mask.copy(frame, head)
  for (let i = 0; i < payload.length; i += 1) frame[head + 4 + i] = (payload[i] as number) ^ (mask[i & 3] as number)
  return frame
}

const pong = textFrame('3')
const none = Buffer.alloc(0)

const upgrade = (port: number): string => [
  'GET /socket.io/?EIO=4&transport=websocket HTTP/1.1',
  `Host: 127.0.0.1:${port}`,
  'Connection: Upgrade',
  'Upgrade: websocket',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: AAECAwQFBgcICQoLDA0ODw==',
  'Origin: https://app.example',
  'User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36',
  'Accept-Language: en-GB,en;q=0.9',
  '', '',
].join('\r\n')

/** `chunk[start..end]` is the text of one Engine.IO packet; it is only valid during the call. */
export type OnPacket = (chunk: Buffer, start: number, end: number) => void

export class Connection {
  onPacket: OnPacket = () => undefined
  onEnd: (reason: string) => void = () => undefined
  readonly #socket: Socket
  #rest: Buffer = none
  #upgraded = false

  constructor(port: number) {
    this.#socket = createConnection({ port, host: '127.0.0.1', noDelay: true })
    this.#socket.once('connect', () => this.#socket.write(upgrade(port)))
    this.#socket.on('data', (chunk) => {
      // One write for all that is sent in answer to what arrived together.
      this.#socket.cork()
      this.#read(chunk)
      this.#socket.uncork()
    })
    this.#socket.on('error', (error) => this.onEnd(error.message))
    this.#socket.on('close', () => this.onEnd('closed'))
  }

  send(frame: Buffer): void {
    this.#socket.write(frame)
  }

  close(): void {
    this.onEnd = () => undefined
    this.#socket.destroy()
  }

  #read(chunk: Buffer): void {
    const data = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk])
    this.#rest = none
    let at = 0
    if (!this.#upgraded) {
      const end = data.indexOf('\r\n\r\n')
      if (end < 0) {
        this.#rest = data
        return
      }
      if (data.toString('latin1', 9, 12) !== '101') {
        this.onEnd(data.toString('latin1', 0, end))
        return
      }
      this.#upgraded = true
      at = end + 4
    }
    while (at + 2 <= data.length) {
      let start = at + 2
      let length = (data[at + 1] as number) & 0x7f
      if (length === 127) throw new RangeError('a server frame of more than 65,535 bytes is not part of any measure')
      if (length === 126) {
        if (at + 4 > data.length) break
        length = data.readUInt16BE(at + 2)
        start = at + 4
      }
      const end = start + length
      if (end > data.length) break
      if (data[at] === 0x81) this.#packet(data, start, end)
      at = end
    }
    if (at < data.length) this.#rest = data.subarray(at)
  }

  #packet(data: Buffer, start: number, end: number): void {
    if (data[start] === 0x32) this.send(pong)
    else this.onPacket(data, start, end)
  }
}

/**
 * Opens a connection and enters the main namespace with the given CONNECT frame.
 *
 * @throws Error with the server's packet when it refuses
 */
export function enter(port: number, connectFrame: Buffer): Promise<Connection> {
  return new Promise((resolve, reject) => {
    const connection = new Connection(port)
    connection.onEnd = (reason) => reject(new Error(`not connected: ${reason}`))
    connection.onPacket = (chunk, start, end) => {
      if (chunk[start] === 0x30) {
        connection.send(connectFrame)
        return
      }
      const text = chunk.toString('utf8', start, end)
      if (text.startsWith('40')) {
        connection.onPacket = () => undefined
        resolve(connection)
      } else {
        connection.close()
        reject(new Error(`not connected: ${text}`))
      }
    }
  })
}
