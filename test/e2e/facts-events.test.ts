import { AsyncLocalStorage } from 'node:async_hooks'
import { describe, expect, test } from '@jest/globals'
import { deny, Denied, unordered, type EventContext, type Gate, type GuardOptions } from 'portcullis'
import type { Socket } from 'socket.io'
import { acksOf, bare, deepArray, guarded, inside, noticesOf, refusalIn } from '../support/application.ts'
import { entered, eventPacket, Latch, until } from '../support/server.ts'

// Section 5 of the facts: what happens to an event between the parser and the handlers, bare and under the gate.

const refuse = (): never => deny('FORBIDDEN')

describe('a refused event reaches nobody', () => {
  /** Everything of a socket that could see a packet. */
  const curious =
    (saw: unknown[][]) =>
    (socket: Socket): void => {
      socket.onAny((...event: unknown[]) => saw.push(['onAny', ...event]))
      socket.prependAny((...event: unknown[]) => saw.push(['prependAny', ...event]))
      socket.use((event, next) => {
        saw.push(['use', ...event])
        next()
      })
      socket.on('secret', (...args: unknown[]) => saw.push(['handler', ...args]))
    }

  test('bare: onAny hears what socket.use refuses, and before it was cleaned', async () => {
    const saw: unknown[][] = []
    const host = await bare((socket) => {
      curious(saw)(socket)
      socket.use(([event], next) => (event === 'secret' ? next(new Error('no')) : next()))
    })
    const client = await inside(host)
    client.emit('secret', 'dirty')
    await client.ask(['ping'])
    expect(saw).toContainEqual(['onAny', 'secret', 'dirty'])
    expect(saw).not.toContainEqual(['handler', 'dirty'])
  })

  test.each([
    ['a synchronous hook', refuse],
    ['an asynchronous hook', () => Promise.reject(new Denied('FORBIDDEN'))],
    ['a hook that throws', () => { throw new Error('broken') }],
    ['a silent hook', () => undefined],
  ])('guarded, by %s: neither onAny, nor socket.use, nor a listener sees it', async (_, hook) => {
    const saw: unknown[][] = []
    const host = await guarded(curious(saw), (gate) => gate.event('secret', hook))
    const client = await inside(host)
    client.emit('secret', 'dirty')
    await client.ask(['ping'])
    expect(saw.filter((each) => each[1] !== 'ping')).toEqual([])
  })

  test('guarded: not an event that nothing was declared for, and not one over a limit', async () => {
    const saw: unknown[][] = []
    const host = await guarded(curious(saw), (gate) => gate.event('secret'))
    const client = await inside(host)
    client.emit('undeclared', 1)
    client.send('2["secret",{"__proto__":{"admin":true}}]')
    client.emit('secret', ...Array(33).fill(0))
    await client.ask(['ping'])
    expect(saw.filter((each) => each[1] !== 'ping')).toEqual([])
    expect(host.seen.denied.map(({ code }) => code)).toEqual(['UNKNOWN_EVENT', 'INVALID_PAYLOAD', 'PAYLOAD_TOO_LARGE'])
  })

  test('guarded: what is admitted reaches all of them, with the arguments the policies left', async () => {
    const saw: unknown[][] = []
    const host = await guarded(curious(saw), (gate) =>
      gate.event('secret', (ctx, next) => {
        ctx.args = [String(ctx.args[0]).toUpperCase(), 'added']
        return next()
      }),
    )
    const client = await inside(host)
    client.emit('secret', 'dirty')
    await client.ask(['ping'])
    expect(saw.filter((each) => each[1] !== 'ping')).toEqual([
      ['prependAny', 'secret', 'DIRTY', 'added'],
      ['onAny', 'secret', 'DIRTY', 'added'],
      ['use', 'secret', 'DIRTY', 'added'],
      ['handler', 'DIRTY', 'added'],
    ])
  })
})

describe('the ack of a refused event', () => {
  test('bare: next(error) in socket.use never answers it, nor does an event that nobody listens to', async () => {
    const host = await bare((socket) => {
      socket.use(([event], next) => (event === 'secret' ? next(new Error('no')) : next()))
      socket.on('secret', (ack: () => void) => ack())
    })
    const client = await inside(host)
    client.send(eventPacket(['secret'], { id: 70 }), eventPacket(['nobody'], { id: 71 }))
    await client.ask(['ping'])
    expect([...acksOf(client, 70), ...acksOf(client, 71)]).toEqual([])
  })

  test('guarded: is answered exactly once, with a code, a fixed message and an id that operators find', async () => {
    const host = await guarded(
      (socket) => void socket.on('secret', (ack: (...args: unknown[]) => void) => ack('leak')),
      (gate) => gate.event('secret', () => { throw new Error('SELECT * FROM users WHERE token = "abc"') }),
    )
    const client = await inside(host)
    client.send(eventPacket(['secret'], { id: 70 }))
    await client.ask(['ping'])
    const [answer, ...more] = acksOf(client, 70)
    expect(more).toEqual([])
    expect(refusalIn(answer!)).toEqual({ code: 'INTERNAL', message: 'Internal error.', id: host.seen.fault[0]!.id })
    expect(host.seen.fault[0]!.error?.cause).toEqual(new Error('SELECT * FROM users WHERE token = "abc"'))
    expect(noticesOf(client)).toEqual([])
  })

  test('guarded: next(error) of the application in socket.use answers it too, and is still told to the socket as in Socket.IO', async () => {
    const errors: unknown[] = []
    const host = await guarded(
      (socket) => {
        socket.use(([event], next) => (event === 'plain' ? next(new Error('no')) : event === 'coded' ? next(new Denied('STEP_UP_REQUIRED')) : next()))
        socket.on('plain', () => errors.push('reached'))
        socket.on('coded', () => errors.push('reached'))
        socket.on('error', (error) => errors.push((error).message))
      },
      (gate) => gate.event(['plain', 'coded']),
    )
    const client = await inside(host)
    expect(refusalIn(await client.ask(['plain'])).code).toBe('FORBIDDEN')
    expect(refusalIn(await client.ask(['coded'])).code).toBe('STEP_UP_REQUIRED')
    expect(errors).toEqual(['no', 'A further authentication factor is required.'])
  })

  test('guarded: an event that is declared and that nobody listens to answers UNKNOWN_EVENT, unless a catch-all or socket.use may answer it', async () => {
    const host = await guarded(
      () => {},
      (gate) => gate.event(['nobody', 'caught']),
    )
    const client = await inside(host)
    expect(refusalIn(await client.ask(['nobody'])).code).toBe('UNKNOWN_EVENT')
    host.peer().onAny((event: string, ack: (answer: string) => void) => (event === 'caught' ? ack('by the catch-all') : undefined))
    expect(await client.ask(['caught'])).toEqual(['by the catch-all'])
    host.peer().offAny()
    host.peer().use(([event, ack], next) => (event === 'caught' ? (ack as (answer: string) => void)('by socket.use') : next()))
    expect(await client.ask(['caught'])).toEqual(['by socket.use'])
  })

  test('guarded: a handler that answers twice, or answers and then throws, is heard once', async () => {
    const host = await guarded(
      (socket) => {
        socket.on('twice', (ack: (answer: number) => void) => {
          ack(1)
          ack(2)
          throw new Error('late')
        })
      },
      (gate) => gate.event('twice'),
    )
    const client = await inside(host)
    client.send(eventPacket(['twice'], { id: 70 }))
    await client.ask(['ping'])
    expect(acksOf(client, 70)).toEqual([[1]])
    expect(host.seen.fault.map(({ error }) => (error?.cause as Error).message)).toEqual(['late'])
  })

  test('guarded: an ack id that the parser reads loosely is answered to its sender alone', async () => {
    const host = await guarded(
      () => {},
      (gate) => gate.event('secret', refuse),
    )
    const [odd, other] = [await inside(host), await inside(host)]
    odd.send(`2${'9'.repeat(400)}["secret"]`)
    await odd.ask(['ping'])
    await other.ask(['ping'])
    expect(odd.received.filter((packet) => packet.startsWith('3Infinity['))).toHaveLength(1)
    expect(other.received.filter((packet) => packet.startsWith('3'))).toHaveLength(1)
  })

  test('guarded: takes the form that ackRefusal gives it; one that fails is a fault, and the usual form is used', async () => {
    let broken = false
    const host = await guarded(
      () => {},
      (gate) => gate.event('secret', () => deny('RATE_LIMITED', { retryAfterMs: 250, scope: 'room' })),
      {
        ackRefusal: (refusal) => {
          if (broken) throw new Error('envelope')
          return [null, refusal.code, refusal.retryAfterMs]
        },
      },
    )
    const client = await inside(host)
    expect(await client.ask(['secret'])).toEqual([null, 'RATE_LIMITED', 250])
    broken = true
    expect(await client.ask(['secret'])).toEqual([{ error: expect.objectContaining({ code: 'RATE_LIMITED', retryAfterMs: 250, details: { scope: 'room' } }) }])
    expect(host.seen.fault.map(({ policy }) => policy)).toEqual(['ackRefusal'])
  })

  test('guarded: details that cannot be encoded are left out, and the ack comes all the same', async () => {
    const host = await guarded(
      () => {},
      (gate) => gate.event('secret', () => deny('FORBIDDEN', { size: 1n })),
    )
    const client = await inside(host)
    expect(await client.ask(['secret'])).toEqual([{ error: { code: 'FORBIDDEN', message: 'This is not allowed.', id: expect.any(String) } }])
  })
})

describe('names', () => {
  const odd = ['__proto__', 'constructor', 'toString', 'hasOwnProperty', 'valueOf', 'connection', 'error', '', ' ', 'a\u0000b', 'x'.repeat(10_000), 'gate:denied', 'gate:anything']

  test('bare: a number reaches the listener of its text past a table of rules keyed by text, and an error of the client triggers error listeners', async () => {
    const reached: unknown[] = []
    const rules = new Map([['1', 'admin only']])
    const host = await bare((socket) => {
      socket.use(([event], next) => (rules.has(event) ? next(new Error('no')) : next()))
      for (const name of ['1', '1e+21', 'error', '__proto__', 'constructor']) socket.on(name, (what: unknown) => reached.push([name, what]))
    })
    const client = await inside(host)
    client.send('2[1,"a"]', '2[1e21,"b"]', '2["error","c"]', '2["__proto__","d"]', '2["constructor","e"]')
    await client.ask(['ping'])
    expect(reached).toEqual([['1', 'a'], ['1e+21', 'b'], ['error', 'c'], ['__proto__', 'd'], ['constructor', 'e']])
  })

  test('guarded: a number is judged as the text it will be, and arrives as text', async () => {
    const reached: unknown[][] = []
    const asked: unknown[] = []
    const host = await guarded(
      (socket) => {
        socket.onAny((...event: unknown[]) => reached.push(event))
        socket.on('2', () => reached.push(['handler']))
      },
      (gate) => gate.event('1', refuse).event('2', (ctx, next) => (asked.push(ctx.event), next())),
    )
    const client = await inside(host)
    client.send('2[1,"p"]', '2[2,"p"]', '2[1e21,"p"]', '2[-0,"p"]', '2[1.0]')
    await client.ask(['ping'])
    expect(reached.filter(([name]) => name !== 'ping')).toEqual([['2', 'p'], ['handler']])
    expect(asked).toEqual(['2'])
    expect(host.seen.denied.map(({ event, code }) => [event, code])).toEqual([
      ['1', 'FORBIDDEN'],
      ['1e+21', 'UNKNOWN_EVENT'],
      ['0', 'UNKNOWN_EVENT'],
      ['1', 'FORBIDDEN'],
    ])
  })

  test('guarded: names of prototypes, of Socket.IO and of the gate, empty and 10 kB ones are unknown events, also where a pattern takes everything', async () => {
    const reached: unknown[] = []
    const host = await guarded(
      (socket) => {
        for (const name of odd) socket.on(name, () => reached.push(name))
      },
      (gate) => gate.event('a:*'),
    )
    const client = await inside(host)
    for (const name of odd) expect(refusalIn(await client.ask([name])).code).toBe('UNKNOWN_EVENT')
    expect(reached).toEqual([])
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined()

    const open = await guarded(
      (socket) => {
        for (const name of ['error', 'gate:denied', '__proto__']) socket.on(name, () => reached.push(name))
      },
      (gate) => gate.event('*'),
    )
    const guest = await inside(open)
    expect(refusalIn(await guest.ask(['error'])).code).toBe('UNKNOWN_EVENT')
    expect(refusalIn(await guest.ask(['gate:denied'])).code).toBe('UNKNOWN_EVENT')
    guest.emit('__proto__')
    await guest.ask(['ping'])
    expect(reached).toEqual(['__proto__'])
  })

  test('guarded: a name Socket.IO keeps for itself closes the connection, as in Socket.IO, and no listener runs', async () => {
    const reached: unknown[] = []
    const host = await guarded(
      (socket) => {
        for (const name of ['connect', 'connect_error', 'disconnect', 'disconnecting']) socket.on(name, (first: unknown) => (first === 'forged' ? reached.push(name) : undefined))
      },
      (gate) => gate.event('*'),
    )
    for (const name of ['connect', 'connect_error', 'disconnect', 'disconnecting', 'newListener', 'removeListener']) {
      const client = await inside(host)
      client.emit(name, 'forged')
      await client.closed
    }
    await (await inside(host)).ask(['ping'])
    expect(reached).toEqual([])
  })
})

describe('order', () => {
  test('bare: an asynchronous socket.use lets a later event overtake an earlier one', async () => {
    const order: string[] = []
    const first = new Latch()
    const host = await bare((socket) => {
      socket.use(([event], next) => (event === 'first' ? void first.opened.then(() => next()) : next()))
      for (const name of ['first', 'second']) socket.on(name, () => order.push(name))
    })
    const client = await inside(host)
    client.emit('first')
    client.emit('second')
    await client.ask(['ping'])
    first.open()
    await until(() => order.length === 2)
    expect(order).toEqual(['second', 'first'])
  })

  /** A gate whose event `slow` waits for a latch. */
  async function withSlow(declare: (gate: Gate) => unknown = () => {}, options: GuardOptions = {}) {
    const order: string[] = []
    const asked: string[] = []
    const latch = new Latch()
    const begun = new Latch()
    const note = (ctx: EventContext, next: () => void | Promise<void>) => (asked.push(`${ctx.event}${String(ctx.args[0] ?? '')}`), next())
    const host = await guarded(
      (socket) => {
        for (const name of ['slow', 'quick', 'free']) socket.on(name, (what: unknown, ack?: unknown) => {
          order.push(`${name}${typeof what === 'number' ? what : ''}`)
          const answer = typeof what === 'function' ? what : ack
          if (typeof answer === 'function') answer(name)
        })
      },
      (gate) => {
        gate
          .event('slow', note, async (_, next) => {
            begun.open()
            await latch.opened
            return next()
          })
          .event('quick', note)
          .event('free', note, unordered())
        declare(gate)
      },
      options,
    )
    return { ...host, order, asked, latch, begun }
  }

  test('guarded: events of one socket are handled in the order they came, while other sockets go on', async () => {
    const { order, asked, latch, begun, ...host } = await withSlow()
    const [client, other] = [await inside(host), await inside(host)]
    client.emit('slow', 1)
    client.emit('quick', 2)
    client.emit('slow', 3)
    client.emit('quick', 4)
    await begun.opened
    expect(await other.ask(['quick', 9])).toEqual(['quick'])
    expect(order).toEqual(['quick9'])
    // Nothing is decided before its turn: what an earlier event changes, a later decision sees.
    expect(asked).toEqual(['slow1', 'quick9'])
    latch.open()
    await client.ask(['ping'])
    expect(order).toEqual(['quick9', 'slow1', 'quick2', 'slow3', 'quick4'])
  })

  test('guarded: an event that waits may still be refused, in its turn', async () => {
    let allowed = true
    const { latch, begun, ...host } = await withSlow((gate) => gate.event('later', (_, next) => (allowed ? next() : deny('FORBIDDEN'))))
    const client = await inside(host)
    client.emit('slow')
    const later = client.ask(['later'])
    await begun.opened
    await (await inside(host)).ask(['ping'])
    allowed = false
    latch.open()
    expect(refusalIn(await later).code).toBe('FORBIDDEN')
  })

  test('guarded: beyond the bound of the lane an event is refused with OVERLOADED at once', async () => {
    const { order, latch, begun, ...host } = await withSlow(undefined, { lane: { maxPending: 2 } })
    const client = await inside(host)
    client.emit('slow', 1)
    await begun.opened
    client.emit('quick', 2)
    client.emit('quick', 3)
    expect(refusalIn(await client.ask(['quick', 4])).code).toBe('OVERLOADED')
    expect(order).toEqual([])
    latch.open()
    await client.ask(['ping'])
    expect(order).toEqual(['slow1', 'quick2', 'quick3'])
    expect(host.seen.denied.map(({ policy, code }) => [policy, code])).toEqual([['lane', 'OVERLOADED']])
  })

  test('guarded: what waits is bounded in bytes as well, and a place that is free again is used', async () => {
    const { latch, begun, ...host } = await withSlow(undefined, { lane: { maxBytes: 100 } })
    const client = await inside(host)
    client.emit('slow')
    await begun.opened
    client.emit('quick', 'x'.repeat(60))
    expect(refusalIn(await client.ask(['quick', 'x'.repeat(60)])).code).toBe('OVERLOADED')
    const small = client.ask(['quick', 'x'.repeat(30)])
    latch.open()
    expect(await small).toEqual(['quick'])
    expect(await client.ask(['quick', 'x'.repeat(60)])).toEqual(['quick'])
  })

  test('guarded: a disconnect empties the lane: what waited is never decided, what was being decided has no effect', async () => {
    const { order, asked, latch, begun, ...host } = await withSlow()
    const client = await inside(host)
    const left = new Promise<unknown>((resolve) => host.peer().once('disconnect', resolve))
    client.emit('slow', 1)
    client.emit('quick', 2)
    await begun.opened
    client.send('1')
    // DISCONNECT does not wait behind the event that is being decided.
    expect(await left).toBe('client namespace disconnect')
    latch.open()
    await (await inside(host)).ask(['quick', 9])
    expect(asked).toEqual(['slow1', 'quick9'])
    expect(order).toEqual(['quick9'])
    expect(client.received.filter((packet) => packet.startsWith('2') || packet.startsWith('3'))).toEqual([])
  })

  test('guarded: an ACK does not wait: a policy may ask the client itself', async () => {
    const host = await guarded(
      (socket) => void socket.on('transfer', (amount: number, ack: (answer: string) => void) => ack(`moved ${amount}`)),
      (gate) =>
        gate.event('transfer', async (ctx, next) => {
          const answer: unknown = await (ctx.socket as unknown as Socket).timeout(2_000).emitWithAck('confirm', ctx.data)
          return answer === 'yes' ? next() : deny('STEP_UP_REQUIRED')
        }),
    )
    const client = await entered(host)
    client.on('confirm', (amount: number, ack: (answer: string) => void) => ack(amount < 100 ? 'yes' : 'no'))
    const answers = [client.emitWithAck('transfer', 5), client.emitWithAck('transfer', 500), client.emitWithAck('transfer', 6)]
    expect(await Promise.all(answers)).toEqual(['moved 5', { error: expect.objectContaining({ code: 'STEP_UP_REQUIRED' }) }, 'moved 6'])
  })

  test('guarded: an event declared with unordered() neither waits nor is waited for', async () => {
    const { order, latch, begun, ...host } = await withSlow()
    const client = await inside(host)
    client.emit('slow', 1)
    await begun.opened
    expect(await client.ask(['free', 2])).toEqual(['free'])
    expect(order).toEqual(['free2'])
    latch.open()
    await client.ask(['ping'])
    expect(order).toEqual(['free2', 'slow1'])
  })

  test('guarded: a disconnect by a policy suppresses that event and those that follow', async () => {
    const reached: unknown[] = []
    const host = await guarded(
      (socket) => void socket.on('x', (what: unknown) => reached.push(what)),
      (gate) =>
        gate.event('x', (ctx, next) => {
          if (ctx.data === 1) (ctx.socket as unknown as Socket).disconnect(true)
          return next()
        }),
    )
    const client = await inside(host)
    client.send('2["x",1]', '2["x",2]', '2["x",3]')
    await client.closed
    await (await inside(host)).ask(['ping'])
    expect(reached).toEqual([])
  })

  test('guarded: an admitted event whose handler has not run yet when the client leaves is dropped, as in Socket.IO', async () => {
    const fates: unknown[] = []
    const host = await guarded(
      (socket) => void socket.on('x', () => fates.push('handled')),
      (gate) => gate.event('x', (ctx, next) => (ctx.onSettled(({ outcome }) => fates.push(outcome)), next())),
    )
    const client = await inside(host)
    host.peer().use((_, next) => {
      host.peer().disconnect()
      next()
    })
    client.emit('x')
    await (await inside(host)).ask(['ping'])
    expect(fates).toEqual(['unacked'])
  })
})

describe('handlers', () => {
  const failures: Record<string, (...args: any[]) => unknown> = {
    throws: () => { throw new Error('secret of the handler') },
    rejects: async () => { throw new Error('secret of the handler') },
    'throws undefined': () => { throw undefined },
    denies: () => deny('STEP_UP_REQUIRED', { factor: 'totp' }),
    'denies later': async () => deny('STEP_UP_REQUIRED', { factor: 'totp' }),
  }

  test('guarded: what leaves a handler answers its ack: Denied with its own code, anything else with INTERNAL and a fault', async () => {
    const host = await guarded(
      (socket) => {
        for (const [name, handler] of Object.entries(failures)) socket.on(name, handler)
      },
      (gate) => gate.event(Object.keys(failures)),
    )
    const client = await inside(host)
    const internal = { code: 'INTERNAL', message: 'Internal error.', id: expect.any(String) }
    const stepUp = { code: 'STEP_UP_REQUIRED', message: 'A further authentication factor is required.', id: expect.any(String), details: { factor: 'totp' } }
    for (const name of ['throws', 'rejects', 'throws undefined']) expect(await client.ask([name])).toEqual([{ error: internal }])
    for (const name of ['denies', 'denies later']) expect(await client.ask([name])).toEqual([{ error: stepUp }])
    expect(host.seen.fault.map(({ event, policy }) => [event, policy])).toEqual([['throws', 'handler'], ['rejects', 'handler'], ['throws undefined', 'handler']])
    expect(host.seen.denied.map(({ event, policy }) => [event, policy])).toEqual([['denies', 'handler'], ['denies later', 'handler']])
    expect(host.seen.fault[0]!.error?.cause).toEqual(new Error('secret of the handler'))
  })

  test('guarded: without an ack the client is told by gate:denied, and the connection stays', async () => {
    const host = await guarded(
      (socket) => {
        for (const [name, handler] of Object.entries(failures)) socket.on(name, handler)
      },
      (gate) => gate.event(Object.keys(failures)),
    )
    const client = await inside(host)
    for (const name of Object.keys(failures)) {
      client.emit(name)
      await client.ask(['ping'])
    }
    expect(noticesOf(client).map(({ event, code }) => [event, code])).toEqual([
      ['throws', 'INTERNAL'],
      ['rejects', 'INTERNAL'],
      ['throws undefined', 'INTERNAL'],
      ['denies', 'STEP_UP_REQUIRED'],
      ['denies later', 'STEP_UP_REQUIRED'],
    ])
  })

  test('guarded: a handler that calls an ack the client did not ask for ends nothing', async () => {
    const host = await guarded(
      (socket) => void socket.on('save', (_: unknown, ack: () => void) => ack()),
      (gate) => gate.event('save'),
    )
    const client = await inside(host)
    client.emit('save', 1)
    expect(await client.ask(['ping'])).toEqual(['pong'])
    expect(noticesOf(client)).toEqual([{ event: 'save', code: 'INTERNAL', message: 'Internal error.', id: host.seen.fault[0]!.id }])
  })

  test('guarded: onAny, socket.use and once handlers that throw or reject are contained as well', async () => {
    const host = await guarded(
      (socket) => {
        // Listeners that reject are what this is about.
        // eslint-disable-next-line @typescript-eslint/no-misused-promises
        socket.onAny(async (event: string) => {
          if (event === 'any') throw new Error('rejecting onAny')
        })
        // eslint-disable-next-line @typescript-eslint/no-misused-promises
        socket.use(async ([event], next) => {
          if (event === 'use') throw new Error('rejecting use')
          next()
        })
        socket.on('any', (ack?: (answer: string) => void) => ack?.('handled'))
        socket.once('once', async () => { throw new Error('rejecting once') })
      },
      (gate) => gate.event(['any', 'use', 'once']),
    )
    const client = await inside(host)
    expect(await client.ask(['any'])).toEqual(['handled'])
    expect(refusalIn(await client.ask(['use'])).code).toBe('INTERNAL')
    expect(refusalIn(await client.ask(['once'])).code).toBe('INTERNAL')
    expect(await client.ask(['ping'])).toEqual(['pong'])
    expect(host.seen.fault.map(({ error }) => (error?.cause as Error).message)).toEqual(['rejecting onAny', 'rejecting use', 'rejecting once'])
  })

  test('guarded: so are listeners for everything that goes out, of one socket and of a broadcast, also after they were replaced', async () => {
    const failing = (name: string): any => async (event: string) => {
      throw new Error(`${name}: ${event}`)
    }
    const host = await guarded((socket) => void socket.onAnyOutgoing(failing('first')).prependAnyOutgoing(() => {}))
    const client = await inside(host)
    host.peer().emit('told')
    host.io.emit('told to all')
    host.peer().offAnyOutgoing()
    host.peer().onAnyOutgoing(failing('second'))
    host.io.emit('told again')
    await client.ask(['ping'])
    expect(client.events()).toEqual([['told'], ['told to all'], ['told again']])
    expect(host.seen.fault.map(({ error }) => (error?.cause as Error).message)).toEqual(['first: told', 'first: told to all', 'second: told again'])
  })

  test('guarded: an application that removes every listener loses neither the gate nor the process', async () => {
    const host = await guarded(
      (socket) => void socket.on('secret', () => { throw new Error('reached') }),
      (gate) => gate.event('secret', refuse).event('failing', () => { throw new Error('x') }),
      { undeclared: { events: 'allow' } },
    )
    const client = await inside(host)
    host.peer().removeAllListeners()
    expect(refusalIn(await client.ask(['secret'])).code).toBe('FORBIDDEN')
    expect(refusalIn(await client.ask(['failing'])).code).toBe('INTERNAL')
    // An `error` event without a listener throws in an emitter.
    expect(refusalIn(await client.ask(['error', 'payload'])).code).toBe('INTERNAL')
    host.peer().on('ping', (ack: (answer: string) => void) => ack('still here'))
    expect(await client.ask(['ping'])).toEqual(['still here'])
  })

  test('guarded: the flags an application has set for its next emit are not used up by the gate', async () => {
    const host = await guarded(
      () => {},
      (gate) => gate.event('secret', refuse),
    )
    const client = await inside(host)
    void host.peer().volatile.timeout(1_234)
    client.emit('secret')
    await client.next('2["gate:denied"')
    expect((host.peer() as unknown as { flags: object }).flags).toEqual({ volatile: true, timeout: 1_234 })
  })

  test('guarded: the handler runs in the asynchronous context of the innermost hook', async () => {
    const tenant = new AsyncLocalStorage<string>()
    const found: Record<string, unknown> = {}
    const note = (where: string): unknown => (found[where] = tenant.getStore() ?? 'outside')
    const within = (name: string) => (_: unknown, next: () => void | Promise<void>) => tenant.run(`${tenant.getStore() ?? ''}${name}`, next)
    const late = async (_: unknown, next: () => void | Promise<void>): Promise<void> => {
      await new Promise((resolve) => setImmediate(resolve))
      return tenant.run(`${tenant.getStore()}+late`, next)
    }
    const host = await guarded(
      (socket) => {
        socket.onAny((event: string) => note(`onAny ${event}`))
        socket.use(([event], next) => (note(`use ${event}`), next()))
        socket.on('sync', () => note('sync'))
        socket.on('late', async () => {
          await Promise.resolve()
          note('late')
        })
        socket.on('none', () => note('none'))
      },
      (gate) => gate.event(['sync', 'behind'], within('a'), within('b')).event('late', within('a'), late).event('none'),
    )
    host.io.on('connection', (socket) => socket.on('behind', () => note('behind')))
    const client = await inside(host)
    client.send('2["sync"]', '2["late"]', '2["behind"]', '2["none"]')
    await client.ask(['ping'])
    expect(found).toEqual({
      'onAny sync': 'ab',
      'use sync': 'ab',
      sync: 'ab',
      'onAny late': 'a+late',
      'use late': 'a+late',
      late: 'a+late',
      'onAny behind': 'ab',
      'use behind': 'ab',
      behind: 'ab',
      'onAny none': 'outside',
      'use none': 'outside',
      none: 'outside',
      'onAny ping': 'outside',
      'use ping': 'outside',
    })
  })
})

describe('answers to the server', () => {
  test('bare: an answer passes no middleware, and what it carries is the client\'s choice', async () => {
    const host = await bare((socket) => {
      socket.use((_, next) => next(new Error('everything is refused')))
      socket.on('ping', () => {})
    })
    const answered = new Promise<unknown>((resolve) => host.io.on('connection', (socket) => socket.emit('question', resolve)))
    const client = await inside(host)
    client.send('30[{"__proto__":{"admin":true}}]')
    const answer = await answered
    expect(Object.hasOwn(answer as object, '__proto__')).toBe(true)
  })

  test('guarded: an answer over a limit or with a forged prototype never reaches the callback; a proper one still does', async () => {
    const answers: unknown[] = []
    const host = await guarded(
      (socket) => void socket.emit('question', (...answer: unknown[]) => answers.push(answer)),
      () => {},
    )
    const client = await inside(host)
    const id = Number(/^2(\d+)/.exec(await client.next((packet) => packet.includes('question')))![1])
    client.send(`3${id}[{"__proto__":{"admin":true}}]`, `3${id}[${deepArray(10_000)}]`, `3${id}[${'0,'.repeat(200)}0]`)
    await client.ask(['ping'])
    expect(answers).toEqual([])
    expect(host.seen.denied.map(({ code, error }) => [code, (error as Denied).details])).toEqual([
      ['INVALID_PAYLOAD', { limit: 'prototype' }],
      ['PAYLOAD_TOO_LARGE', { limit: 'maxDepth' }],
      ['PAYLOAD_TOO_LARGE', { limit: 'maxArgs' }],
    ])
    client.send(`3${id}["fine"]`, `3${id}["again"]`)
    await client.ask(['ping'])
    expect(answers).toEqual([['fine']])
  })

  test('guarded: callbacks that throw or reject are contained, of one socket and of a broadcast, answered and timed out', async () => {
    const host = await guarded(
      () => {},
      () => {},
    )
    const client = await inside(host)
    const fail = (): never => { throw new Error('callback') }
    host.peer().emit('q', fail)
    host.peer().emit('q', async () => fail())
    host.peer().timeout(5_000).emit('q', fail)
    host.peer().timeout(1).emit('silent', fail)
    host.io.timeout(1).emit('silent', fail)
    host.io.timeout(5_000).emit('q', fail)
    host.io.timeout(5_000).emit('q', async () => fail())
    for (let asked = 0; asked < 5; asked++) {
      const packet = await client.next((each) => each.includes('"q"'))
      client.send(`3${/^2(\d+)/.exec(packet)![1]}["answer"]`)
    }
    await client.ask(['ping'])
    await until(() => host.seen.fault.length === 7)
    expect(host.seen.fault.map(({ error }) => (error?.cause as Error).message)).toEqual(Array(7).fill('callback'))
    expect(host.seen.fault.map(({ policy }) => policy).sort()).toEqual(['broadcast ack', 'broadcast ack', 'broadcast ack', 'handler', 'handler', 'handler', 'handler'])
  })
})
