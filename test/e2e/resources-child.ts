import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { deny, guard } from 'portcullis'
import { Server, type Socket } from 'socket.io'
import { RawClient } from '../support/raw-client.ts'

// Run in a process of its own: `close`, which must end by itself once the server is closed, or `cycles`, which prints what is left of many connections.

const http = createServer()
const io = new Server(http, { serveClient: false, connectionStateRecovery: {} })
/** A promise of its own each time: one for all would itself keep everybody who waits for it. */
const never = (): Promise<void> => new Promise(() => {})
const later = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

// Decisions that hang are given up soon; answers that handlers owe are not, so that those of clients who have left must go by another way.
const gate = guard(io, { deadlineMs: 200, ackWithinMs: 60_000 })
  .connect(async (ctx, next) => {
    ctx.onClose(() => {})
    await later()
    if (ctx.handshake.auth['refuse'] === true) return deny('FORBIDDEN')
    if (ctx.handshake.auth['hang'] === true) await never()
    return next()
  })
  .event('ask', async (ctx, next) => {
    ctx.onSettled(() => {})
    await later()
    return next()
  })
  .event('hang', never)
  .event('drop')
  .event(['forget', 'enter'], (ctx, next) => {
    ctx.onSettled(() => {})
    return next()
  })
  .join('room:{id}', (_, next) => next())
  .deliver('news', (ctx, next) => {
    ctx.data = `for ${ctx.socket.id}`
    return next()
  })
gate.on('fault', () => {})

const sockets: WeakRef<Socket>[] = []
const dropped: WeakRef<object>[] = []
io.on('connection', (socket) => {
  sockets.push(new WeakRef(socket))
  socket.on('ask', (ack: (answer: string) => void) => ack('answer'))
  socket.on('forget', () => {})
  socket.on('drop', (data: object) => void dropped.push(new WeakRef(data)))
  socket.on('enter', async (room: string, ack: () => void) => {
    await socket.join(room)
    io.emit('news', 'x')
    ack()
  })
})
await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve))
const place = { port: (http.address() as AddressInfo).port }

/** One connection, with something left open at its end. */
async function connection(n: number): Promise<RawClient> {
  const client = await RawClient.open(place)
  if (n % 5 === 4) {
    client.send('0{"hang":true}')
    return client
  }
  await client.enter('/', { refuse: n % 5 === 3 })
  if (n % 5 === 3) return client
  await client.ask(['ask'])
  await client.ask(['enter', `room:${n % 7}`])
  client.send('2991["forget"]', '2["undeclared"]')
  if (n % 5 === 1) client.send('2992["hang"]', '2993["ask"]', '2994["ask"]')
  if (n % 5 === 2) client.send('1')
  return client
}

/** `gc` is there in a new context only, once the flag is set. */
function collector(): () => void {
  setFlagsFromString('--expose-gc')
  return runInNewContext('gc') as () => void
}

if (process.argv[2] === 'close') {
  await Promise.all([0, 1, 2, 3, 4].map(connection))
  await io.close()
  console.log('closed')
} else {
  const gc = collector()
  const alive = (): number => sockets.filter((each) => each.deref() !== undefined).length

  /** Connections that come and go, and the heap once nothing of them is pending. */
  async function cycles(count: number): Promise<number> {
    for (let n = 0; n < count; n += 50) {
      const clients = await Promise.all(Array.from({ length: 50 }, (_, index) => connection(n + index)))
      for (const [index, client] of clients.entries()) {
        if (index % 2 === 0) client.vanish()
        else client.close()
      }
      while (io.engine.clientsCount > 0) await later()
    }
    // What recovery keeps for two minutes is Socket.IO's.
    const { sessions, packets } = io.of('/').adapter as unknown as { sessions: Map<string, unknown>; packets: unknown[] }
    sessions.clear()
    packets.length = 0
    for (let turn = 0; turn < 100 && (turn < 3 || alive() > 0); turn++) {
      // A turn of its own: what a WeakRef has shown stays until the end of one.
      await new Promise((resolve) => setTimeout(resolve, 10))
      gc()
    }
    return process.memoryUsage().heapUsed
  }
  const heap = [await cycles(600), await cycles(400)]
  const client = await connection(0)
  client.send(...Array.from({ length: 20 }, (_, n) => `2${100 + n}["drop",{"n":${n}}]`))
  await client.ask(['ask'])
  await new Promise((resolve) => setTimeout(resolve, 10))
  gc()
  const { adapter, sockets: entered, _preConnectSockets: entering } = io.of('/') as any
  console.log(JSON.stringify({ made: sockets.length, alive: alive(), left: entered.size + entering.size + adapter.sids.size, sent: dropped.length, kept: dropped.filter((each) => each.deref() !== undefined).length, heap }))
  process.exit(0)
}
