/** One server variant: an ordinary application, with or without something in front of it. */
import type { Profiler } from 'node:inspector'
import { Session } from 'node:inspector/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Server } from 'socket.io'
import { serve } from '../ipc.ts'
import { broadcastMessage, type Message } from '../job.ts'
import { CountingSink } from './audit-sink.ts'
import { kinds, type Kind } from './kinds.ts'

const kind = process.argv[2] as Kind
if (!kinds.includes(kind)) throw new Error(`unknown server variant: ${kind}`)

const http = createServer()
// Pings are put off, so that none falls into one measurement and not into another.
const io = new Server(http, { serveClient: false, pingInterval: 3_600_000, pingTimeout: 3_600_000 })
const sink = new CountingSink()

async function install(): Promise<void> {
  switch (kind) {
    case 'bare':
    case 'control':
      return
    case 'verified':
      return (await import('./hand-written.ts')).verifyTokens(io)
    case 'hand':
      return (await import('./hand-written.ts')).writeByHand(io, sink)
    case 'empty':
      return (await import('./guarded.ts')).guardEmpty(io)
    case 'full':
      (await import('./guarded.ts')).guardFully(io, sink)
      return
    case 'masked-1':
    case 'masked-10':
    case 'masked-100':
      return (await import('./guarded.ts')).guardDeliveries(io)
  }
}

await install()

io.on('connection', (socket) => {
  socket.on('message:send', (message: Message, ack: (answer: { ok: true; length: number }) => void) => {
    ack({ ok: true, length: message.text.length })
  })
})

await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve))

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

const inspector = new Session()

const operations = {
  port: () => (http.address() as AddressInfo).port,
  /** CPU time of this process so far, user and system, in microseconds. */
  cpu: () => {
    const { user, system } = process.cpuUsage()
    return user + system
  },
  /** Bytes of live heap, after collections until it no longer shrinks. */
  async heap(): Promise<number> {
    if (!globalThis.gc) throw new Error('started without --expose-gc')
    let used = Number.POSITIVE_INFINITY
    for (let i = 0; i < 10; i += 1) {
      globalThis.gc()
      await turn()
      const now = process.memoryUsage().heapUsed
      if (now > used - 4_096) break
      used = now
    }
    return used
  },
  async startProfile(intervalUs: number): Promise<void> {
    inspector.connect()
    await inspector.post('Profiler.enable')
    await inspector.post('Profiler.setSamplingInterval', { interval: intervalUs })
    await inspector.post('Profiler.start')
  },
  async stopProfile(): Promise<Profiler.Profile> {
    const { profile } = await inspector.post('Profiler.stop')
    inspector.disconnect()
    return profile
  },
  connections: () => io.engine.clientsCount,
  audited: () => ({ records: sink.records, last: JSON.stringify(sink.last) }),
  async broadcast(messages: number): Promise<void> {
    for (let i = 0; i < messages; i += 1) {
      io.emit('message', broadcastMessage(i))
      await turn()
    }
  },
}

export type ServerOperations = typeof operations
serve(operations)
