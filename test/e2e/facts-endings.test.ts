import { describe, expect, test } from '@jest/globals'
import { deny, type EventContext, type Fate, type Next } from 'portcullis'
import { contract, type Schema } from 'portcullis/contract'
import { testClock } from 'portcullis/testing'
import type { Socket } from 'socket.io'
import { acksOf, bare, guarded, inside, noticesOf, refusalIn } from '../support/application.ts'
import { eventPacket, Latch, until } from '../support/server.ts'

// Section 5 of the facts, second part: how an event ends, and what the client and the policies are told of it.

type Answer = (...args: unknown[]) => void

/** A hook that notes the fate of what it lets through. */
const noting = (fates: Fate[]) => (ctx: EventContext, next: Next) => {
  if (ctx.event !== 'ping') ctx.onSettled((fate) => fates.push(fate))
  return next()
}

describe('the fate of an event', () => {
  test('is told once: refused, replied, acked with its arguments, handled, failed', async () => {
    const fates: Fate[] = []
    const broken = new Error('broken')
    const { seen, ...host } = await guarded(
      (socket) => {
        socket.on('acks', (ack: Answer) => {
          ack('a', 1)
          ack('b')
        })
        socket.on('handles', () => {})
        socket.on('throws', () => { throw broken })
        socket.on('rejects', async (_ack: Answer) => { throw broken })
      },
      (gate) =>
        gate
          .use({ name: 'note', event: noting(fates) })
          .event('refused', () => deny('FORBIDDEN'))
          .event('replied', (ctx) => ctx.reply({ early: true }))
          .event(['acks', 'handles', 'throws', 'rejects', 'nobody']),
    )
    const client = await inside(host)
    const fate = async (packet: string): Promise<Fate> => {
      fates.length = 0
      client.send(packet)
      await client.ask(['ping'])
      expect(fates).toHaveLength(1)
      return fates[0]!
    }
    const refusal = (code: string) => expect.objectContaining({ code })

    expect(await fate('2["refused"]')).toEqual({ outcome: 'refused', refusal: refusal('FORBIDDEN'), error: expect.objectContaining({ code: 'FORBIDDEN' }) })
    expect(await fate('270["refused"]')).toMatchObject({ outcome: 'refused', refusal: { code: 'FORBIDDEN', id: refusalIn(acksOf(client, 70)[0]!).id } })
    expect(await fate('271["replied"]')).toEqual({ outcome: 'replied', value: { early: true } })
    expect(await fate('2["replied"]')).toEqual({ outcome: 'replied', value: { early: true } })
    expect(await fate('272["acks"]')).toEqual({ outcome: 'acked', args: ['a', 1] })
    expect(await fate('2["handles"]')).toEqual({ outcome: 'handled' })
    expect(await fate('2["throws"]')).toEqual({ outcome: 'failed', error: broken })
    expect(await fate('273["throws"]')).toEqual({ outcome: 'failed', error: broken })
    expect(await fate('274["rejects"]')).toEqual({ outcome: 'failed', error: broken })
    expect(await fate('275["nobody"]')).toMatchObject({ outcome: 'refused', refusal: { code: 'UNKNOWN_EVENT' } })
    expect(seen.fault).toHaveLength(3)
  })

  test('is unacked when the client leaves while the handler still owes the ack, and what the handler answers later goes nowhere', async () => {
    const fates: Fate[] = []
    const owed: Answer[] = []
    const host = await guarded(
      (socket) => void socket.on('slow', (ack: Answer) => owed.push(ack)),
      (gate) => gate.event('slow', noting(fates)),
    )
    const client = await inside(host)
    client.send('270["slow"]', '271["slow"]')
    await client.ask(['ping'])
    expect(fates).toEqual([])
    client.vanish()
    await until(() => fates.length > 0)
    expect(fates).toEqual([{ outcome: 'unacked' }, { outcome: 'unacked' }])
    for (const ack of owed) ack('too late')
    await (await inside(host)).ask(['ping'])
    expect(fates).toHaveLength(2)
    expect(host.seen.fault).toEqual([])
  })

  test('is unacked when the client leaves while the event is being decided', async () => {
    const fates: Fate[] = []
    const [begun, latch] = [new Latch(), new Latch()]
    const handled: unknown[] = []
    const host = await guarded(
      (socket) => void socket.on('slow', () => handled.push(1)),
      (gate) =>
        gate.event('slow', noting(fates), async (_, next) => {
          begun.open()
          await latch.opened
          return next()
        }),
    )
    const client = await inside(host)
    client.send('270["slow"]')
    await begun.opened
    client.vanish()
    await until(() => !host.peer().connected)
    latch.open()
    await until(() => fates.length > 0)
    expect([fates, handled]).toEqual([[{ outcome: 'unacked' }], []])
  })

  test('a callback for it that throws is a fault, and changes nothing', async () => {
    const host = await guarded(
      (socket) => void socket.on('x', (ack: Answer) => ack('ok')),
      (gate) =>
        gate.event('x', (ctx, next) => {
          ctx.onSettled(() => { throw new Error('in onSettled') })
          return next()
        }),
    )
    expect(await (await inside(host)).ask(['x'])).toEqual(['ok'])
    expect(host.seen.fault.map(({ policy }) => policy)).toEqual(['onSettled'])
  })
})

describe('time', () => {
  test('bare: an ack that a handler forgets never comes', async () => {
    const host = await bare((socket) => void socket.on('forgets', () => {}))
    const client = await inside(host)
    client.send('270["forgets"]')
    await client.ask(['ping'])
    expect(acksOf(client, 70)).toEqual([])
  })

  test('guarded: an ack that a handler owes for longer than ackWithinMs is answered with DEADLINE_EXCEEDED, once', async () => {
    const clock = testClock()
    const fates: Fate[] = []
    const owed: Answer[] = []
    const host = await guarded(
      (socket) => void socket.on('forgets', (ack: Answer) => owed.push(ack)),
      (gate) => gate.event('forgets', noting(fates)),
      { clock, ackWithinMs: 1_000 },
    )
    const client = await inside(host)
    client.send('270["forgets"]')
    await client.ask(['ping'])
    clock.advance(999)
    await client.ask(['ping'])
    expect(acksOf(client, 70)).toEqual([])
    clock.advance(1)
    owed[0]!('too late')
    await client.ask(['ping'])
    expect(acksOf(client, 70).map((args) => refusalIn(args).code)).toEqual(['DEADLINE_EXCEEDED'])
    expect(fates).toEqual([{ outcome: 'unacked' }])
    expect(host.seen.fault.map(({ policy, code }) => [policy, code])).toEqual([['handler', 'DEADLINE_EXCEEDED']])
  })

  test('guarded: in observe mode that is only reported, and an undeclared event has no such deadline: the handler may answer later', async () => {
    for (const [options, name, reported] of [
      [{ mode: 'observe' }, 'forgets', [['handler', 'DEADLINE_EXCEEDED', false]]],
      [{ undeclared: 'allow' }, 'undeclared', []],
    ] as const) {
      const clock = testClock()
      const owed: Answer[] = []
      const host = await guarded(
        (socket) => void socket.on(name, (ack: Answer) => owed.push(ack)),
        (gate) => gate.event('forgets'),
        { clock, ackWithinMs: 1_000, ...options },
      )
      const client = await inside(host)
      client.send(`270["${name}"]`)
      await client.ask(['ping'])
      clock.advance(60_000)
      await client.ask(['ping'])
      expect(acksOf(client, 70)).toEqual([])
      owed[0]!('at last')
      await client.ask(['ping'])
      expect(acksOf(client, 70)).toEqual([['at last']])
      expect(host.seen.fault.map(({ policy, code, enforced }) => [policy, code, enforced])).toEqual(reported)
    }
  })

  test('guarded: in observe mode an event that nobody listens to is reported, and its ack never comes, as without a gate', async () => {
    const host = await guarded(() => {}, (gate) => gate.event('nobody'), { mode: 'observe' })
    const client = await inside(host)
    client.send('270["nobody"]')
    await client.ask(['ping'])
    expect(acksOf(client, 70)).toEqual([])
    expect(host.seen.denied.map(({ code, enforced }) => [code, enforced])).toEqual([['UNKNOWN_EVENT', false]])
  })

  test('guarded: a decision past deadlineMs is refused, frees the lane, and a next() that comes later does nothing', async () => {
    const clock = testClock()
    const [begun, latch] = [new Latch(), new Latch()]
    const handled: unknown[] = []
    const host = await guarded(
      (socket) => {
        socket.on('hangs', () => handled.push('hangs'))
        socket.on('behind', () => handled.push('behind'))
      },
      (gate) =>
        gate
          .event('hangs', async (_, next) => {
            begun.open()
            await latch.opened
            return next()
          })
          .event('behind'),
      { clock, deadlineMs: 1_000 },
    )
    const client = await inside(host)
    client.send('270["hangs"]')
    client.emit('behind')
    await begun.opened
    clock.advance(1_000)
    await client.ask(['ping'])
    expect(refusalIn(acksOf(client, 70)[0]!).code).toBe('DEADLINE_EXCEEDED')
    expect(handled).toEqual(['behind'])
    latch.open()
    await until(() => host.seen.fault.length === 2)
    await client.ask(['ping'])
    expect(handled).toEqual(['behind'])
    expect(acksOf(client, 70)).toHaveLength(1)
    expect(host.seen.fault.map(({ error }) => error?.message)).toEqual([expect.stringContaining('no decision within the deadline'), expect.stringContaining('called next() after the decision was settled')])
  })
})

describe('a refused event without an ack', () => {
  test('bare: the client is told nothing', async () => {
    const host = await bare((socket) => void socket.use(([event], next) => (event === 'secret' ? next(new Error('no')) : next())))
    const client = await inside(host)
    client.emit('secret')
    await client.ask(['ping'])
    expect(client.events()).toEqual([])
  })

  test('guarded: is answered by one gate:denied event that names it, with the code and the id of the record', async () => {
    const host = await guarded(
      () => {},
      (gate) => gate.event('secret', () => deny('RATE_LIMITED', { retryAfterMs: 200 })),
    )
    const client = await inside(host)
    client.emit('secret')
    client.emit('n'.repeat(500))
    await client.ask(['ping'])
    expect(noticesOf(client)).toEqual([
      { event: 'secret', code: 'RATE_LIMITED', message: 'Too many requests.', retryAfterMs: 200, id: host.seen.denied[0]!.id },
      { event: 'n'.repeat(128), code: 'UNKNOWN_EVENT', message: 'There is no such event.', id: host.seen.denied[1]!.id },
    ])
  })

  test('guarded: those events are limited themselves: ten at once, then ten a second; every refusal is reported all the same', async () => {
    const clock = testClock()
    const host = await guarded(
      () => {},
      (gate) => gate.event('secret', () => deny('FORBIDDEN')),
      { clock },
    )
    const client = await inside(host)
    const flood = async (): Promise<number> => {
      client.send(...Array<string>(30).fill('2["secret"]'))
      await client.ask(['ping'])
      return noticesOf(client).length
    }
    expect(await flood()).toBe(10)
    clock.advance(100)
    expect(await flood()).toBe(11)
    clock.advance(500)
    expect(await flood()).toBe(16)
    clock.advance(60_000)
    expect(await flood()).toBe(26)
    expect(host.seen.denied).toHaveLength(120)
    // The limit is that of one socket.
    const other = await inside(host)
    other.emit('secret')
    await other.ask(['ping'])
    expect(noticesOf(other)).toHaveLength(1)
  })

  test('guarded: refusalEvent: false turns them off', async () => {
    const host = await guarded(
      (socket) => void socket.on('throws', () => { throw new Error('x') }),
      (gate) => gate.event('secret', () => deny('FORBIDDEN')).event('throws'),
      { refusalEvent: false },
    )
    const client = await inside(host)
    client.send('2["secret"]', '2["throws"]')
    await client.ask(['ping'])
    expect(client.events()).toEqual([])
  })

  test('guarded: goes by the packet, so that recovery does not store it and no deliver policy sees it', async () => {
    const delivered: unknown[] = []
    const host = await guarded(
      () => {},
      (gate) => gate.use({ name: 'see', deliver: (ctx, next) => (delivered.push(ctx.event), next()) }).event('secret', () => deny('FORBIDDEN')),
      {},
      { connectionStateRecovery: {} },
    )
    const client = await inside(host)
    client.emit('secret')
    await client.ask(['ping'])
    expect(noticesOf(client)).toHaveLength(1)
    expect(delivered).toEqual([])
    expect((host.io.of('/').adapter as unknown as { packets: unknown[] }).packets).toEqual([])
  })
})

describe('ctx.reply', () => {
  const cached = (ctx: EventContext) => ctx.reply({ from: 'the policy' })

  test('answers in place of the handler, which does not run; without an ack nothing is sent', async () => {
    const handled: unknown[] = []
    const host = await guarded(
      (socket) => {
        socket.onAny((event: string) => (event === 'ping' ? undefined : handled.push(event)))
        socket.on('x', () => handled.push('x'))
      },
      (gate) => gate.event('x', cached).event('later', async (ctx) => ctx.reply()),
    )
    const client = await inside(host)
    expect(await client.ask(['x'])).toEqual([{ from: 'the policy' }])
    expect(await client.ask(['later'])).toEqual([])
    client.emit('x')
    await client.ask(['ping'])
    expect(handled).toEqual([])
    expect(client.events()).toEqual([])
  })

  test('the checks below it still run, and a refusal of theirs wins', async () => {
    let asked = 0
    const host = await guarded(
      (socket) => void socket.on('x', (ack: Answer) => ack('handler')),
      (gate) =>
        gate.event('x', cached, (ctx, next) => {
          asked++
          return ctx.data === 'forbidden' ? deny('FORBIDDEN') : next()
        }),
    )
    const client = await inside(host)
    expect(await client.ask(['x', 'fine'])).toEqual([{ from: 'the policy' }])
    expect(refusalIn(await client.ask(['x', 'forbidden'])).code).toBe('FORBIDDEN')
    expect(asked).toBe(2)
  })

  test('an answer, of a policy or of a handler, that cannot be encoded is INTERNAL, and the next answer is not lost', async () => {
    const loop: Record<string, unknown> = {}
    loop['loop'] = loop
    const host = await guarded(
      (socket) => {
        socket.on('bigint', (ack: Answer) => ack(1n))
        socket.on('loop', (ack: Answer) => ack(loop))
      },
      (gate) => gate.event(['bigint', 'loop']).event('reply', (ctx) => ctx.reply(1n)),
    )
    const client = await inside(host)
    for (const name of ['bigint', 'loop', 'reply']) {
      expect(refusalIn(await client.ask([name])).code).toBe('INTERNAL')
      expect(await client.ask(['ping'])).toEqual(['pong'])
    }
    expect(host.seen.fault).toHaveLength(3)
  })
})

describe('a contract', () => {
  const schema = (accepts: (value: unknown) => unknown): Schema => ({
    '~standard': {
      version: 1,
      vendor: 'test',
      validate: (value) => {
        const output = accepts(value)
        return output === undefined ? { issues: [{ message: `not accepted: ${JSON.stringify(value)}` }] } : { value: output }
      },
    },
  })
  const text = schema((value) => (typeof (value as { text?: unknown })?.text === 'string' ? { text: (value as { text: string }).text } : undefined))
  const shape = contract({ events: { say: { data: text, reply: text }, pair: { args: [text, text] } } })

  const talks = (heard: unknown[][]) => (socket: Socket): void => {
    socket.on('say', (message: unknown, ack?: Answer) => {
      heard.push([message])
      ack?.(message === undefined || (message as { text: string }).text === 'bad' ? { wrong: true } : { text: 'said', secret: 'of the server' })
    })
    socket.on('pair', (...args: unknown[]) => heard.push(args))
  }

  test('guarded: the handler gets the output of the schema and nothing else; what does not match, and surplus arguments, are refused', async () => {
    const heard: unknown[][] = []
    const host = await guarded(talks(heard), (gate) => gate.of('/', shape).event(['say', 'pair']))
    const client = await inside(host)
    expect(await client.ask(['say', { text: 'hi', isAdmin: true }])).toEqual([{ text: 'said' }])
    expect(refusalIn(await client.ask(['say', { text: 1 }])).code).toBe('INVALID_PAYLOAD')
    expect(refusalIn(await client.ask(['say', { text: 'hi' }, 'surplus'])).code).toBe('INVALID_PAYLOAD')
    expect(refusalIn(await client.ask(['say'])).code).toBe('INVALID_PAYLOAD')
    client.emit('pair', { text: 'a', x: 1 }, { text: 'b' })
    client.emit('pair', { text: 'a' })
    await client.ask(['ping'])
    expect(heard).toEqual([[{ text: 'hi' }], [{ text: 'a' }, { text: 'b' }]])
  })

  test('guarded: the client learns nothing of why; operators do', async () => {
    const host = await guarded(talks([]), (gate) => gate.of('/', shape).event('say'))
    const refused = await (await inside(host)).ask(['say', { text: 1 }])
    expect(JSON.stringify(refused)).not.toContain('not accepted')
    expect(host.seen.denied[0]!.error?.cause).toEqual([{ message: 'not accepted: {"text":1}' }])
  })

  test('guarded: a reply that does not match is INTERNAL; in observe mode it is reported and goes out as it is', async () => {
    const host = await guarded(talks([]), (gate) => gate.of('/', shape).event('say'))
    expect(refusalIn(await (await inside(host)).ask(['say', { text: 'bad' }])).code).toBe('INTERNAL')
    expect(host.seen.fault.map(({ policy, enforced }) => [policy, enforced])).toEqual([['contract', true]])

    const trial = await guarded(talks([]), (gate) => gate.of('/', shape, { mode: 'observe' }).event('say'))
    const client = await inside(trial)
    expect(await client.ask(['say', { text: 'bad' }])).toEqual([{ wrong: true }])
    expect(await client.ask(['say', { text: 'good' }])).toEqual([{ text: 'said', secret: 'of the server' }])
    expect(trial.seen.fault.map(({ policy, enforced }) => [policy, enforced])).toEqual([['contract', false]])
  })
})

test('guarded: a burst of acked events is answered one by one, each with its own answer', async () => {
  const host = await guarded(
    (socket) => void socket.on('n', (n: number, ack: Answer) => ack(n)),
    (gate) => gate.event('n', ({ args }, next) => (Number(args[0]) % 3 === 0 ? deny('FORBIDDEN') : Number(args[0]) % 3 === 1 ? next() : Promise.resolve().then(next))),
  )
  const client = await inside(host)
  client.send(...Array.from({ length: 200 }, (_, n) => eventPacket(['n', n], { id: 1_000 + n })))
  await client.ask(['ping'])
  for (let n = 0; n < 200; n++) {
    const answers = acksOf(client, 1_000 + n)
    expect(answers).toHaveLength(1)
    if (n % 3 === 0) expect(refusalIn(answers[0]!).code).toBe('FORBIDDEN')
    else expect(answers).toEqual([[n]])
  }
})
