import { describe, expect, test } from '@jest/globals'
import { deny, Denied, type EventContext } from 'portcullis'
import type { Socket } from 'socket.io'
import { acksOf, guarded, inside, noticesOf, refusalIn } from '../support/application.ts'
import { ask, client, entered, heard, Latch, raw, refusal, until } from '../support/server.ts'

type EventHook = (ctx: EventContext<any>, next: () => void | Promise<void>) => any

const answers = (socket: Socket) => void socket.on('x', (...args: any[]) => args.at(-1)('handled'))

/** Throws whatever is done with it. */
const hostile = (): object =>
  new Proxy(
    {},
    {
      get: () => {
        throw new Error('looked at')
      },
      getPrototypeOf: () => {
        throw new Error('looked at')
      },
    },
  )

/** A promise whose own `then` was replaced: nobody can wait for it. */
function tampered(): Promise<void> {
  const promise = Promise.resolve()
  void Object.defineProperty(promise, 'then', { value: () => undefined })
  return promise
}

/** A promise that throws when it is looked at. */
function guardedPromise(): Promise<void> {
  const promise = Promise.resolve()
  void Object.defineProperty(promise, 'constructor', {
    get: () => {
      throw new Error('looked at')
    },
  })
  return promise
}

const swallowing = {
  name: 'swallowing',
  event: (_ctx: unknown, next: () => void | Promise<void>) => {
    try {
      return next()
    } catch {
      // As in a policy that only counts.
    }
  },
}

describe('a hook that goes wrong refuses, whatever stands around it', () => {
  const hooks: Record<string, EventHook> = {
    'returns what throws when it is looked at': () => hostile(),
    'returns a promise whose then is not one': () => tampered(),
    'returns a promise that throws when it is looked at': () => guardedPromise(),
    'goes on with something that throws when it is looked at': (_ctx, next) => {
      try {
        ;(next as (facts: unknown) => void)(hostile())
      } catch {
        // Swallowed as well.
      }
    },
    'throws a proxy that throws': () => {
      throw hostile()
    },
    'rejects with a proxy that throws': () => Promise.reject(hostile()),
    'throws a refusal that is frozen': () => {
      throw Object.freeze(new Denied('FORBIDDEN'))
    },
    'throws what claims to be a refusal and cannot be read': () => {
      throw Object.defineProperty({ [Symbol.for('portcullis.error')]: 'denied' }, 'code', {
        get: () => {
          throw new Error('looked at')
        },
      })
    },
    'puts null in place of the arguments': (ctx, next) => {
      ctx.args = null as never
      return next()
    },
    'puts null in place of the arguments, asynchronously': async (ctx, next) => {
      await Promise.resolve()
      ctx.args = null as never
      await next()
    },
    'puts text in place of the arguments after it went on': (ctx, next) => {
      void next()
      ctx.args = 'abc' as never
    },
    'leaves arguments that throw when they are read': (ctx, next) => {
      ctx.args = new Proxy([], {
        get: () => {
          throw new Error('read')
        },
      })
      return next()
    },
    'forgets to return its promise': (_ctx, next) => {
      void Promise.resolve().then(() => next())
    },
  }

  test.each(Object.entries(hooks))('one that %s', async (_title, event) => {
    const seen: unknown[] = []
    const { port } = await guarded(
      (socket) => {
        socket.onAny((name: string) => (name === 'x' ? seen.push(name) : undefined))
        answers(socket)
      },
      (gate) => gate.event('x', swallowing, { name: 'wrong', event }),
    )
    const peer = await inside({ port })
    const answer = await peer.ask(['x', 1])
    expect(['INTERNAL', 'FORBIDDEN']).toContain(refusalIn(answer).code)
    // The lane is free, the process alive, and no rejection is left over.
    expect(await peer.ask(['ping'])).toEqual(['pong'])
    expect(seen).toEqual([])
  })

  test('one that forgets to return its promise is reported once it goes on, and ends nothing', async () => {
    const late = new Latch<unknown>()
    const { port, seen } = await guarded(answers, (gate) =>
      gate.event('x', {
        name: 'forgetful',
        event: (_ctx, next) => {
          void Promise.resolve()
            .then(() => next())
            .then(late.open)
        },
      }),
    )
    const peer = await inside({ port })
    expect(refusalIn(await peer.ask(['x'])).code).toBe('INTERNAL')
    expect(await late.opened).toBeUndefined()
    expect(seen.fault.map(({ error }) => error?.message)).toEqual(['forgetful: neither called next() nor replied', 'forgetful: called next() after the decision was settled'])
  })
})

describe('what somebody waits for comes also late', () => {
  test('onClose and onSettled of a hook that runs on past its deadline are called at once', async () => {
    const slow = new Latch()
    const told: string[] = []
    const { url, seen } = await guarded(
      () => {},
      (gate) =>
        gate.connect({
          name: 'lease',
          connect: async (ctx, next) => {
            await slow.opened
            ctx.onClose(() => told.push('closed'))
            ctx.onSettled(({ outcome }) => told.push(outcome))
            await next()
          },
        }),
      { deadlineMs: 20 },
    )
    expect((await refusal(client({ url }))).message).toBe('DEADLINE_EXCEEDED')
    slow.open()
    await until(() => seen.fault.length > 1)
    expect(told).toEqual(['closed', 'refused'])
  })

  test('the fate of an event that socket.use keeps to itself is unacked: in time, or when its socket is gone', async () => {
    const fates: string[] = []
    const { port } = await guarded(
      (socket) => socket.use(([name], next) => (name === 'x' ? undefined : next())),
      (gate) => gate.event('x', { name: 'lease', event: (ctx, next) => (ctx.onSettled(({ outcome }) => fates.push(`${String(ctx.data)} ${outcome}`)), next()) }),
      { ackWithinMs: 50 },
    )
    const peer = await inside({ port })
    peer.emit('x', 'in time')
    await until(() => fates.length === 1)
    peer.emit('x', 'gone')
    await peer.ask(['ping'])
    peer.close()
    await until(() => fates.length === 2)
    expect(fates).toEqual(['in time unacked', 'gone unacked'])
  })

  test('callbacks for it that reject are faults', async () => {
    const { port, seen } = await guarded(answers, (gate) =>
      gate
        .use({ name: 'leave', connect: (ctx, next) => (ctx.onClose(((): any => Promise.reject(new Error('at the end')))), next()) })
        .event('x', { name: 'fate', event: (ctx, next) => (ctx.onSettled(((): any => Promise.reject(new Error('of its fate')))), next()) }),
    )
    const peer = await inside({ port })
    expect(await peer.ask(['x'])).toEqual(['handled'])
    peer.close()
    await until(() => seen.fault.length === 2)
    expect(seen.fault.map(({ error }) => (error?.cause as Error).message)).toEqual(['of its fate', 'at the end'])
  })
})

describe('an application that misbehaves', () => {
  test('a handler that fails after socket.use has wrapped its ack is answered at once', async () => {
    const { port } = await guarded(
      (socket) => {
        socket.use((event, next) => {
          const ack = event.at(-1) as unknown
          if (typeof ack === 'function') event[event.length - 1] = (...args: unknown[]) => void (ack as (...args: unknown[]) => void)(...args)
          next()
        })
        socket.on('x', () => {
          throw new Error('wrapped')
        })
      },
      (gate) => gate.event('x'),
    )
    const peer = await inside({ port })
    expect(refusalIn(await peer.ask(['x'])).code).toBe('INTERNAL')
    await peer.ask(['ping'])
    expect(acksOf(peer, 0)).toHaveLength(1)
  })

  test('a listener that disconnects while its socket is disconnecting is called once', async () => {
    const told: string[] = []
    const { port } = await guarded(
      (socket) => {
        socket.on('disconnecting', () => {
          told.push('disconnecting')
          socket.disconnect()
        })
        socket.on('disconnect', () => told.push('disconnect'))
        socket.on('x', () => socket.disconnect())
      },
      (gate) => gate.event('x'),
    )
    const peer = await inside({ port })
    peer.emit('x')
    await peer.next('1')
    await until(() => told.includes('disconnect'))
    expect(told).toEqual(['disconnecting', 'disconnect'])
  })

  test('a join that was kept for later leaves nothing behind once the socket is gone', async () => {
    const { port, io } = await guarded(
      (socket) => {
        const join = socket.join.bind(socket)
        socket.on('disconnect', () => void join(['room:1', 'room:2']))
      },
      (gate) => gate.join('room:{id}'),
    )
    const peer = await inside({ port })
    const { adapter, sockets } = io.of('/')
    peer.close()
    await until(() => sockets.size === 0)
    expect([...adapter.sids.keys()]).toEqual([])
    expect([...adapter.rooms.keys()]).toEqual([])
  })

  test('what a delivery policy rewrote goes out, also where a listener for what goes out sends something itself', async () => {
    const { url, peer } = await guarded(
      (socket) => {
        socket.onAnyOutgoing((name: string) => (name === 'record' ? socket.emit('copied') : undefined))
      },
      (gate) => gate.deliver('record', { name: 'redact', deliver: (ctx, next) => ((ctx.data = { secret: undefined }), next()) }),
    )
    const receiver = await entered({ url })
    const first = heard(receiver, 'record')
    peer().emit('record', { secret: 'of one' })
    expect(await first).toEqual([{}])
    const second = heard(receiver, 'record')
    peer().nsp.emit('record', { secret: 'of all' })
    expect(await second).toEqual([{}])
  })

  test('details that cannot be encoded are left out: of a request, of gate:denied, of gate:closing', async () => {
    const unencodable = (): never => deny('FORBIDDEN', { amount: 1n })
    const { port } = await guarded(
      (socket) => {
        if (socket.handshake.auth['fail'] === true) unencodable()
      },
      (gate) =>
        gate
          .request({ name: 'door', request: (ctx, next) => (ctx.headers['x-knock'] === undefined ? next() : unencodable()) })
          .event('x', { name: 'no', event: unencodable }),
    )
    const { status, body } = await ask({ port }, {}, { headers: { 'x-knock': '1' } })
    expect([status, JSON.parse(body)]).toEqual([403, { error: { code: 'FORBIDDEN', message: expect.any(String), id: expect.any(String) } }])

    const peer = await inside({ port })
    peer.emit('x')
    await peer.ask(['ping'])
    expect(noticesOf(peer)).toEqual([{ event: 'x', code: 'FORBIDDEN', message: expect.any(String), id: expect.any(String) }])

    const failing = await raw({ port })
    await failing.enter('/', { fail: true })
    expect(JSON.parse((await failing.next('2["gate:closing"')).slice(1))).toEqual(['gate:closing', { code: 'FORBIDDEN', message: expect.any(String), id: expect.any(String), reconnect: 'now' }])
  })
})
