/** One acked event, from the transport's hands to the engine's, without a network. */
import type { Server } from 'socket.io'
import { member, signToken, texts } from '../job.ts'
import { CountingSink } from '../servers/audit-sink.ts'
import { guardEmpty, guardFully } from '../servers/guarded.ts'
import { writeByHand } from '../servers/hand-written.ts'
import { MemoryServer, type MemoryClient } from './memory-server.ts'
import { signed, type Case, type Group } from './timing.ts'

const clients = 8
const batch = 64
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

async function eventCase(name: string, install: (io: Server) => void): Promise<Case & { close(): Promise<void> }> {
  const server = new MemoryServer(install)
  const inputs: { client: MemoryClient; packets: string[] }[] = []
  for (let i = 0; i < clients; i += 1) {
    const who = member(i, 10)
    const room = who.rooms[0]
    inputs.push({
      client: await server.connect(signToken(who)),
      packets: texts.map((text, index) => `2${index}${JSON.stringify(['message:send', { room, text }])}`),
    })
  }
  const run = async (): Promise<void> => {
    const before = server.written
    for (let i = 0; i < batch; i += 1) {
      const { client, packets } = inputs[i % clients] as (typeof inputs)[number]
      client.feed(packets[i % texts.length] as string)
    }
    await turn()
    if (server.written - before !== batch || !server.last.includes('"ok":true')) {
      throw new Error(`${name}: ${server.written - before} of ${batch} events answered, the last with ${server.last}`)
    }
  }
  return { name, run, units: batch, close: () => server.close() }
}

export async function eventGroup(): Promise<Group> {
  const sink = new CountingSink()
  const cases = [
    await eventCase('bare', () => undefined),
    await eventCase('bare, second copy', () => undefined),
    await eventCase('hand-written', (io) => writeByHand(io, sink)),
    await eventCase('guarded, no policies', (io) => guardEmpty(io)),
    await eventCase('guarded, full job', (io) => guardFully(io, sink)),
  ]
  return {
    name: 'One acked event in process (no network, engine write is a no-op)',
    cases,
    notes: (ns) => {
      const more = (name: string, than: string): string => signed(ns(name) - ns(than))
      return [
        `Empty gate: ${more('guarded, no policies', 'bare')} ns over bare (budget 700).`,
        `Full job: ${more('guarded, full job', 'bare')} ns over bare, of which ${more('guarded, full job', 'guarded, no policies')} over the empty gate;` +
        ` by hand: ${more('hand-written', 'bare')} ns over bare.`,
      ]
    },
    close: async () => {
      for (const { close } of cases) await close()
    },
  }
}
