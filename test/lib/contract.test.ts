import { describe, expect, test } from '@jest/globals'
import { type } from 'arktype'
import * as v from 'valibot'
import { z } from 'zod'
import { ConfigError } from '../../lib/errors.ts'
import { contract } from '../../lib/contract.ts'
import { admitted, denied, faulted, harness, replied } from '../../lib/testing.ts'
import type { ContractShape } from '../../lib/contract.ts'

const under = (shape: ContractShape, declare: (gate: any) => unknown) => harness((gate) => declare(gate.of('/', shape)))

test('a contract is the value it was given', () => {
  const shape = { events: { say: { data: z.string() } } }
  expect(contract(shape)).toBe(shape)
})

describe('an event with a contract', () => {
  const chat = contract({ events: { say: { data: z.object({ text: z.string().max(5) }) }, move: { args: [type('number'), v.number()] }, ping: {} } })
  const probe = under(chat, (gate) => gate.event(['say', 'move', 'ping']))

  test('hands over what the schema made of it, and never a field it did not let through', async () => {
    expect(await probe.event('say', { text: 'hi', role: 'admin' })).toEqual(admitted({ args: [{ text: 'hi' }], sync: true }))
    expect(await probe.event('move', undefined, { args: [1, 2] })).toEqual(admitted({ args: [1, 2] }))
  })

  test('refuses what the schema refuses, and says nothing of why', async () => {
    const result = await probe.event('say', { text: 'too long' })
    expect(result).toEqual(denied('INVALID_PAYLOAD'))
    expect(result.policy).toBe('contract')
    expect(result.refusal).not.toHaveProperty('details')
    expect(result.error).toMatchObject({ cause: [expect.objectContaining({ path: ['text'] })] })
  })

  test('refuses surplus arguments', async () => {
    expect(await probe.event('say', undefined, { args: [{ text: 'hi' }, 'more'] })).toEqual(denied('INVALID_PAYLOAD'))
    expect(await probe.event('move', undefined, { args: [1, 2, 3] })).toEqual(denied('INVALID_PAYLOAD'))
  })

  test('that says nothing of arguments leaves them alone', async () => {
    expect(await probe.event('ping', 'anything')).toEqual(admitted({ data: 'anything' }))
  })

  test('is checked before its own items, and after those of use', async () => {
    const seen: unknown[] = []
    const watch = (where: string) => (ctx: { data: unknown }, next: () => void): void => {
      seen.push([where, ctx.data])
      return next()
    }
    const ordered = under(contract({ events: { n: { data: z.coerce.number() } } }), (gate) => gate.use({ name: 'used', event: watch('used') }).event('n', watch('own')))
    await ordered.event('n', '7')
    expect(seen).toEqual([
      ['used', '7'],
      ['own', 7],
    ])
  })

  test('whose schema throws is refused as a fault', async () => {
    const broken = { '~standard': { version: 1 as const, vendor: 'own', validate: () => { throw new Error('in the schema') } } }
    expect(await under(contract({ events: { x: { data: broken } } }), (gate) => gate.event('x')).event('x', 1)).toEqual(faulted('INTERNAL'))
  })

  test('whose schema is asynchronous is decided later', async () => {
    const later = v.pipeAsync(v.string(), v.transformAsync(async (text) => text.toUpperCase()))
    const result = await under(contract({ events: { x: { data: later } } }), (gate) => gate.event('x')).event('x', 'hi')
    expect(result).toEqual(admitted({ data: 'HI', sync: false }))
  })

  test('has limits of its own', async () => {
    const file = contract({ events: { upload: { limits: { maxBytes: 10 } }, other: {} } })
    const limited = under(file, (gate) => gate.event(['upload', 'other']))
    expect(await limited.event('upload', 'x'.repeat(11))).toEqual(denied('PAYLOAD_TOO_LARGE', { limit: 'maxBytes' }))
    expect(await limited.event('upload', 'x'.repeat(10))).toEqual(admitted())
    expect(await limited.event('other', 'x'.repeat(11))).toEqual(admitted())
  })

  test('has to be declared, or nobody may send it', async () => {
    expect(await under(chat, (gate) => gate.event('say')).event('move', undefined, { args: [1, 2] })).toEqual(denied('UNKNOWN_EVENT'))
  })

  test('named like a member of Object is only a name', async () => {
    const odd = under(contract({ events: {} }), (gate) => gate.event(['constructor', 'toString']))
    expect(await odd.event('constructor', 1)).toEqual(admitted({ data: 1 }))
    expect(await odd.event('hasOwnProperty')).toEqual(denied('UNKNOWN_EVENT'))
    expect(await odd.event('__proto__')).toEqual(denied('UNKNOWN_EVENT'))
  })
})

describe('a reply with a contract', () => {
  const asks = contract({ events: { ask: { data: z.string(), reply: z.object({ answer: z.number() }) } } })

  test('reaches the client as the schema makes it', async () => {
    const result = await under(asks, (gate) => gate.event('ask')).event('ask', 'x', { ack: true })
    expect(await result.ack({ answer: 42, internal: true })).toEqual([{ answer: 42 }])
  })

  test('that does not match is a fault of the server, and the client is told no more', async () => {
    const probe = under(asks, (gate) => gate.event('ask'))
    const result = await probe.event('ask', 'x', { ack: true })
    expect(await result.ack('secret')).toEqual([{ error: expect.objectContaining({ code: 'INTERNAL' }) }])
    expect(probe.decisions.at(-1)).toMatchObject({ outcome: 'fault', policy: 'contract' })
  })

  test('is checked also when a hook gives it', async () => {
    const replying = (value: unknown) => under(asks, (gate) => gate.event('ask', (ctx: any) => void ctx.reply(value))).event('ask', 'x', { ack: true })
    const good = await replying({ answer: 1, internal: true })
    expect(good).toEqual(replied({ answer: 1, internal: true }))
    expect(good.sent).toEqual([{ answer: 1 }])
    expect(await replying({ answer: 'one' })).toEqual(faulted('INTERNAL'))
  })
})

describe('a delivery with a contract', () => {
  const news = contract({ deliveries: { news: { data: z.object({ title: z.string() }) } } })
  const probe = under(news, (gate) => gate)

  test('reaches the recipient as the schema makes it', async () => {
    expect(await probe.deliver('news', { title: 'x', author: 'secret' })).toEqual(admitted({ data: { title: 'x' } }))
  })

  test('that does not match is a fault of the server, and reaches nobody', async () => {
    expect(await probe.deliver('news', { title: 7 })).toEqual(faulted())
    expect(await probe.deliver('other', { title: 7 })).toEqual(admitted({ data: { title: 7 } }))
  })

  test('with an asynchronous schema is a fault: deliveries are synchronous', async () => {
    const later = contract({ deliveries: { x: { data: v.pipeAsync(v.string(), v.checkAsync(async () => true)) } } })
    expect(await under(later, (gate) => gate).deliver('x', 'a')).toEqual(faulted())
  })
})

describe('a bad contract', () => {
  test.each<[string, unknown, RegExp]>([
    ['an unknown side', { event: {} }, /events and deliveries; got "event"/],
    ['no schema', { events: { x: { data: {} } } }, /contract event "x": is not a Standard Schema/],
    ['no schema for a reply', { events: { x: { reply: 7 } } }, /contract reply of "x"/],
    ['no schema for a delivery', { deliveries: { x: { data: 7 } } }, /contract delivery "x"/],
    ['an unknown limit', { events: { x: { limits: { maxByte: 1 } } } }, /contract event "x": limits: unknown limit "maxByte"/],
    ['data and args', { events: { x: { data: z.string(), args: [] } } }, /both data and args/],
  ])('with %s is refused when it is declared', (_what, shape, message) => {
    expect(() => under(shape as ContractShape, (gate) => gate)).toThrow(ConfigError)
    expect(() => under(shape as ContractShape, (gate) => gate)).toThrow(message)
  })

  test('that shares a name with another one of its namespace is refused before any client sends', async () => {
    const shape = contract({ events: { 'doc:edit': {} } })
    const probe = harness((gate) => {
      gate.of('/', shape).event('doc:*')
      gate.of(/^\/$/, shape)
    })
    await expect(probe.connect()).rejects.toThrow(ConfigError)
    await expect(probe.connect()).rejects.toThrow(/both have "doc:edit"/)
  })
})
