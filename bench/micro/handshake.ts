/** One client that connects, enters with a token, and leaves, without a network. */
import type { Server } from 'socket.io'
import { member, signToken } from '../job.ts'
import { CountingSink } from '../servers/audit-sink.ts'
import { guardEmpty, guardFully } from '../servers/guarded.ts'
import { verifyTokens, writeByHand } from '../servers/hand-written.ts'
import { MemoryServer } from './memory-server.ts'
import { signed, type Case, type Group } from './timing.ts'

/** More than a scheme remembers by default, so that by the time one comes round again it has been forgotten. */
const fresh = Array.from({ length: 4_096 }, (_, index) => signToken(member(index, 10)))
const seen = [signToken(member(0, 10))]

function handshakeCase(name: string, tokens: readonly string[], install: (io: Server) => void): Case & { close(): Promise<void> } {
  const server = new MemoryServer(install)
  let turn = 0
  const run = async (): Promise<void> => {
    turn += 1
    const client = await server.connect(tokens[turn % tokens.length] as string)
    client.leave()
    if (client.socket.connected) throw new Error(`${name}: still connected after leaving`)
  }
  return { name, run, close: () => server.close() }
}

export async function handshakeGroup(): Promise<Group> {
  const sink = new CountingSink()
  const cases = [
    handshakeCase('bare', fresh, () => undefined),
    handshakeCase('bare, second copy', fresh, () => undefined),
    handshakeCase('jose by hand', fresh, verifyTokens),
    handshakeCase('hand-written', fresh, (io) => writeByHand(io, sink)),
    handshakeCase('guarded, no policies', fresh, guardEmpty),
    handshakeCase('guarded, full job, token not seen before', fresh, (io) => {
      guardFully(io, sink)
    }),
    handshakeCase('guarded, full job, token seen before', seen, (io) => {
      guardFully(io, sink)
    }),
  ]
  return {
    name: 'One handshake in process, from the first request to the end (no network)',
    cases,
    notes: (ns) => [
      `Over bare: empty gate ${signed(ns('guarded, no policies') - ns('bare'))} ns, hand-written ${signed(ns('hand-written') - ns('bare'))} ns, ` +
      `full job ${signed(ns('guarded, full job, token not seen before') - ns('bare'))} ns, with a token seen before ${signed(ns('guarded, full job, token seen before') - ns('bare'))} ns.`,
    ],
    close: async () => {
      for (const { close } of cases) await close()
    },
  }
}
