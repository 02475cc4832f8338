import { expect, test } from '@jest/globals'
import { guard, memoryStore, type Gate } from 'portcullis'
import type { Server } from 'socket.io'
import { cluster } from '../support/cluster.ts'
import { entered, until, watch, type Host } from '../support/server.ts'

// Section 9 of the facts, where it is about what handlers do with messages of other nodes. Redis itself is trusted.

const application = (io: Server): void => {
  io.on('throws', (_what: unknown, ack?: (answer: string) => void) => {
    if (ack === undefined) throw new Error('broken listener')
    ack('still here')
  })
  io.on('rejects', async () => {
    throw new Error('rejecting listener')
  })
}

test('bare: a listener that throws does so in the adapter\'s own message handler, where nobody catches it', async () => {
  const [host] = (await cluster(1, application)) as [Host<void>]
  expect(() => (host.io.of('/') as any)._onServerSideEmit(['throws', 1])).toThrow('broken listener')
})

test('guarded: it is contained and reported, and the node goes on listening', async () => {
  const [first, second] = (await cluster(2, (io) => {
    application(io)
    io.on('connection', (socket) => socket.on('ping', (ack: (answer: string) => void) => ack('pong')))
    const gate = guard(io, { store: memoryStore({ dangerouslyPerNode: true }) }).event('ping')
    return Object.assign(gate, { seen: watch(gate) })
  })) as [Host<Gate & { seen: ReturnType<typeof watch> }>, Host<Gate & { seen: ReturnType<typeof watch> }>]
  first.io.serverSideEmit('throws', 1)
  first.io.serverSideEmit('rejects')
  // What Socket.IO itself says on a namespace, as only another node with bad intentions would send it.
  first.io.of('/').adapter.serverSideEmit(['connection', { id: 'forged' }])
  expect(await first.io.serverSideEmitWithAck('throws', 1)).toEqual(['still here'])
  await until(() => second.gate.seen.fault.length === 3)
  expect(second.gate.seen.fault.map(({ policy }) => policy).sort()).toEqual(['namespace listener for connection', 'namespace listener for rejects', 'namespace listener for throws'])
  expect(await (await entered(second)).emitWithAck('ping')).toBe('pong')
})
