import { describe, expect, test } from '@jest/globals'
import { deny, guard } from 'portcullis'
import { testClock } from 'portcullis/testing'
import type { Socket } from 'socket.io'
import { bare, guarded, inside } from '../support/application.ts'
import { connectPacket, entered, heard, Latch, polling, raw, runChild, serve, until, watch } from '../support/server.ts'

// Section 10 of the facts, as far as it is the gate's: what it keeps, for how long, and that it goes when everything goes.

type Answer = (...args: unknown[]) => void

const child = 'test/e2e/resources-child.ts'

describe('when the server is closed', () => {
  test('nothing keeps the process: not a decision that hangs, not an ack that is owed, not a deadline, a lane or a lost client', async () => {
    expect(await runChild(child, ['close'])).toEqual({ code: 0, output: 'closed\n', errors: '' })
  })

  test('what was pending is ended: fates and onClose callbacks are called once, and no fault is reported', async () => {
    const ended: string[] = []
    const begun = [new Latch(), new Latch()] as const
    const host = await guarded(
      (socket) => {
        socket.on('slow', () => ended.push('handled'))
        socket.on('owed', () => {})
      },
      (gate) =>
        gate
          .connect((ctx, next) => {
            ctx.onClose(() => ended.push('closed'))
            if (ctx.handshake.auth['hang'] !== true) return next()
            begun[0].open()
            return new Promise(() => {})
          })
          .event('slow', (ctx) => {
            ctx.onSettled(({ outcome }) => ended.push(`slow ${outcome}`))
            begun[1].open()
            return new Promise(() => {})
          })
          .event('owed', (ctx, next) => {
            ctx.onSettled(({ outcome }) => ended.push(`owed ${outcome}`))
            return next()
          }),
      { deadlineMs: 50 },
    )
    const [client, hanging] = [await inside(host), await raw(host)]
    hanging.send(connectPacket('/', { hang: true }))
    await client.ask(['ping'])
    client.send('270["owed"]')
    await client.ask(['ping'])
    client.send('271["slow"]', '272["slow"]')
    await Promise.all(begun.map(({ opened }) => opened))
    await host.io.close()
    await Promise.all([client.closed, hanging.closed])
    await until(() => ended.length === 4)
    expect(ended.sort()).toEqual(['closed', 'closed', 'owed unacked', 'slow unacked'])
    expect(host.seen.fault).toEqual([])
  })
})

describe('when clients come and go', () => {
  test('nothing of 1,000 connections stays, admitted, refused, left half-way or with answers owed; and little of what those who stay have sent', async () => {
    const { code, output, errors } = await runChild(child, ['cycles'])
    expect([code, errors]).toEqual([0, ''])
    const { heap, ...counts } = JSON.parse(output) as { heap: [number, number] }
    // `kept`: what a client that is still there has sent with acks that no handler has given.
    expect(counts).toEqual({ made: 601, alive: 1, left: 2, sent: 20, kept: 0 })
    // After 400 connections more; one kept socket is about 10 kB.
    expect(heap[1] - heap[0]).toBeLessThan(1_000_000)
  })

  test('a client that has entered is watched by no more listeners than on a bare server', async () => {
    const count = ({ conn }: Socket): number[] => ['close', 'error', 'data', 'packet'].map((name) => (conn as any).listenerCount(name))
    const plain = await bare(() => {})
    await inside(plain)
    const host = await guarded(() => {}, (gate) => gate.connect(async (_, next) => next()))
    const client = await inside(host)
    expect(count(host.peer())).toEqual(count(plain.peer()))
    // Also after namespaces were refused, and entered and left.
    host.io.of('/other')
    host.io.of('/refused')
    for (const namespace of ['/refused', '/nowhere', '/refused']) await client.enter(namespace)
    expect(count(host.peer())).toEqual(count(plain.peer()))
  })

  test('timers end with what they were for', async () => {
    const clock = testClock()
    const host = await guarded(
      (socket) => {
        socket.on('x', (ack: Answer) => ack())
        socket.on('forgets', () => {})
      },
      (gate) => gate.event(['x', 'forgets'], async (_, next) => next()),
      { clock },
    )
    const client = await inside(host)
    for (let n = 0; n < 20; n++) await client.ask(['x'])
    client.send('299["forgets"]')
    await client.ask(['ping'])
    // One for all decisions and one for all acks, however many there were.
    expect(clock.pending).toBeLessThanOrEqual(2)
    clock.advance(60_000)
    expect(clock.pending).toBe(0)
    client.send('298["forgets"]')
    await client.ask(['ping'])
    expect(clock.pending).toBeGreaterThan(0)
    await host.gate.close()
    expect(clock.pending).toBe(0)
  })
})

describe('a client that does not read', () => {
  test('bare: whatever the server says to it piles up', async () => {
    const host = await bare((socket) => void socket.on('x', () => socket.emit('told')))
    const client = await polling(host)
    await client.post([connectPacket()])
    await client.post(Array<string>(1_000).fill('2["x"]'))
    await until(() => (host.peer().conn as any).writeBuffer.length >= 1_000)
  })

  test('guarded: what the gate says to it of its own accord does not', async () => {
    const clock = testClock()
    const host = await guarded(() => {}, (gate) => gate.event('x', () => deny('FORBIDDEN')), { clock })
    const client = await polling(host)
    await client.post([connectPacket()])
    await client.post(Array<string>(1_000).fill('2["x"]'))
    await until(() => host.seen.denied.length === 1_000)
    // The CONNECT and ten `gate:denied`.
    expect((host.peer().conn as any).writeBuffer.length).toBeLessThanOrEqual(11)
  })
})

test('a gate that was closed lets a server be closed afterwards, and the other way round', async () => {
  for (const first of ['gate', 'io'] as const) {
    const host = await serve((io) => {
      io.on('connection', (socket) => socket.on('ping', (ack: Answer) => ack('pong')))
      return guard(io).event('ping')
    })
    const seen = watch(host.gate)
    const client = await entered(host)
    const left = heard(client, 'disconnect')
    await client.emitWithAck('ping')
    if (first === 'gate') await host.gate.close()
    await host.io.close()
    await left
    await host.gate.close()
    expect(seen.fault).toEqual([])
  }
})
