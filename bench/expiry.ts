/** `expiry`: many peers whose credentials end at different times. How late each is acted on, and what they cost while nothing ends. */
import { setTimeout } from 'node:timers/promises'
import type { Server } from 'socket.io'
import { guard, type Scheme } from 'portcullis'
import { authenticate } from 'portcullis/policies'
import { MemoryServer, type MemoryClient } from './micro/memory-server.ts'
import type { Options } from './options.ts'

const peers = 5_000
const promisedMs = 250
const idleMs = 5_000
const spreadMs = 5_000

/** A credential that is nothing but its own end. */
const ending: Scheme<string> = {
  name: 'ending',
  read: ({ handshake: { auth } }) => auth['token'] as string,
  verify: (token) => ({ subject: `user-${token}`, claims: {}, expiresAtMs: token === 'never' ? 'never' : Number(token), factors: [] }),
}

async function filled(install: (io: Server) => void, tokenOf: (index: number) => string): Promise<{ server: MemoryServer; clients: MemoryClient[] }> {
  const server = new MemoryServer(install)
  const clients: MemoryClient[] = []
  for (let index = 0; index < peers; index += 1) clients.push(await server.connect(tokenOf(index)))
  return { server, clients }
}

/** CPU of the whole process, in milliseconds a second, while nothing is asked of the server. */
async function idleCpu(): Promise<number> {
  globalThis.gc?.()
  await setTimeout(500)
  const before = process.cpuUsage()
  await setTimeout(idleMs)
  const { user, system } = process.cpuUsage(before)
  return (user + system) / idleMs
}

function heapUsed(): number {
  globalThis.gc?.()
  globalThis.gc?.()
  return process.memoryUsage().heapUsed
}

async function idle(name: string, install: (io: Server) => void, tokenOf: () => string): Promise<{ name: string; cpuMsPerSecond: number; heapPerPeer: number; connectMs: number }> {
  process.stderr.write(`${name}\n`)
  const before = heapUsed()
  const begun = performance.now()
  const { server, clients } = await filled(install, tokenOf)
  const connectMs = performance.now() - begun
  const heapPerPeer = (heapUsed() - before) / clients.length
  const cpuMsPerSecond = await idleCpu()
  for (const client of clients) client.leave()
  await server.close()
  return { name, cpuMsPerSecond, heapPerPeer, connectMs }
}

function percentile(sorted: readonly number[], part: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] as number
}

/** @param leadMs long enough for everybody to connect before the first end */
async function lateness(leadMs: number): Promise<{ median: number; p99: number; max: number; tooLate: number; acted: number }> {
  const late: number[] = []
  const ends = new Map<string, number>()
  const first = Date.now() + leadMs
  const { server } = await filled(
    (io) => {
      guard(io, { undeclared: 'allow' })
        .use(authenticate(ending, { expiringMs: 0 }))
        .on('denied', ({ subject, code }) => {
          if (code === 'CREDENTIAL_EXPIRED') late.push(Date.now() - (ends.get(subject as string) as number))
        })
    },
    (index) => {
      // Each end is its peer's own, and they come in no order.
      const end = first + ((index * 2_617) % peers) * (spreadMs / peers)
      ends.set(`user-${end}`, end)
      return String(end)
    },
  )
  if (Date.now() >= first) throw new Error('this machine was too slow to connect everybody before the first end')
  await setTimeout(first + spreadMs + 1_000 - Date.now())
  await server.close()
  late.sort((a, b) => a - b)
  return { median: percentile(late, 0.5), p99: percentile(late, 0.99), max: late.at(-1) as number, tooLate: late.filter((ms) => ms > promisedMs).length, acted: late.length }
}

export async function runExpiry(_options: Options): Promise<unknown> {
  const inAnHour = String(Date.now() + 3_600_000)
  const guarded = (io: Server): void => {
    guard(io, { undeclared: 'allow' }).use(authenticate(ending))
  }
  const idles = []
  // The first one pays for what the compiler keeps.
  await idle('warm-up', guarded, () => inAnHour)
  idles.push(await idle('bare', () => undefined, () => inAnHour))
  idles.push(await idle('guarded, never ending', guarded, () => 'never'))
  idles.push(await idle('guarded, each with an end', guarded, () => inAnHour))
  idles.push(await idle('bare, again', () => undefined, () => inAnHour))
  process.stderr.write('ends\n')
  const acted = await lateness(2_000 + 3 * Math.max(...idles.map(({ connectMs }) => connectMs)))
  console.log(`\n${peers} peers in one process`)
  for (const { name, cpuMsPerSecond, heapPerPeer } of idles) {
    console.log(`  ${name.padEnd(28)} idle: ${cpuMsPerSecond.toFixed(2)} ms CPU a second; heap ${(heapPerPeer / 1_000).toFixed(2)} kB a connection`)
  }
  console.log(`  ends within ${spreadMs / 1_000} s: ${acted.acted} of ${peers} acted on; late by ${acted.median} ms (median), ${acted.p99} ms (99 of 100), ${acted.max} ms (worst); later than ${promisedMs} ms: ${acted.tooLate}`)
  if (acted.acted !== peers) throw new Error('not every peer was acted on')
  return { idles, acted }
}
