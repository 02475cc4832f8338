/** One broadcast, per recipient, without a network. */
import type { Server } from 'socket.io'
import { broadcastMessage, member, signToken } from '../job.ts'
import { guardEmpty, guardWithHook } from '../servers/guarded.ts'
import { MemoryServer } from './memory-server.ts'
import { signed, type Case, type Group } from './timing.ts'

// Few enough to stay in the processor's cache: with 1,000, two copies of the same server differ by a third.
const recipients = 200

async function deliverCase(name: string, install: (io: Server) => void): Promise<Case & { close(): Promise<void> }> {
  const server = new MemoryServer(install)
  for (let i = 0; i < recipients; i += 1) await server.connect(signToken(member(i, 10)))
  const run = (): void => {
    const before = server.written
    server.io.emit('message', broadcastMessage(1))
    if (server.written - before !== recipients) throw new Error(`${name}: ${server.written - before} of ${recipients} delivered`)
  }
  return { name, run, units: recipients, close: () => server.close() }
}

export async function deliverGroup(): Promise<Group> {
  const cases = [
    await deliverCase('bare', () => undefined),
    await deliverCase('bare, second copy', () => undefined),
    await deliverCase('guarded, no deliver policy', guardEmpty),
    await deliverCase('guarded, one synchronous hook', guardWithHook),
  ]
  return {
    name: `One message of a broadcast to ${recipients}, per recipient, in process`,
    cases,
    notes: (ns) => [
      `Over bare: no deliver policy ${signed(ns('guarded, no deliver policy') - ns('bare'))} ns (budget 0); ` +
      `one hook ${signed(ns('guarded, one synchronous hook') - ns('bare'))} ns (budget 150).`,
    ],
    close: async () => {
      for (const { close } of cases) await close()
    },
  }
}
