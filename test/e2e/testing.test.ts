import { expect, test } from '@jest/globals'
import { deny, guard } from 'portcullis'
import type { Gate } from 'portcullis'
import { contract } from 'portcullis/contract'
import { harness } from 'portcullis/testing'
import { z } from 'zod'
import { client, entered, heard, refusal, serve, watch } from '../support/server.ts'

const chat = contract({
  events: {
    say: { data: z.object({ text: z.string().max(5) }), reply: z.object({ text: z.string() }) },
    limited: { limits: { maxBytes: 3 } },
  },
  deliveries: { news: { data: z.object({ text: z.string() }) } },
})

/** Something of everything: asked of a server and of a harness. */
function declare(gate: Gate): void {
  gate
    .of('/', chat)
    .connect((ctx, next) => (ctx.handshake.auth['ok'] === true ? next() : deny('REVOKED', { secret: 1 })))
    .event('say', (ctx, next) => (ctx.data.text === 'no' ? deny('FORBIDDEN', { why: 'no' }) : next()))
    .event('limited')
    .event('asked', (ctx) => ctx.reply({ got: ctx.data }))
    .event('broken', () => {
      throw new Error('a bug')
    })
    .event('silent', () => {})
    .event('later', async (_ctx, next) => next())
    .join('room:{id}', (ctx, next) => (ctx.params.id === '1' ? next() : deny('FORBIDDEN')))
    .deliver('news', (ctx, next) => {
      ctx.data = { text: `${ctx.data.text}!` }
      return next()
    })
}

/** Everything but the correlation ids. */
const withoutIds = (value: unknown): unknown => JSON.parse(JSON.stringify(value, (key, inner: unknown) => (key === 'id' ? undefined : inner)))

async function bothEnds() {
  const host = await serve((io) => {
    const gate = guard(io)
    declare(gate)
    watch(gate)
    io.on('connection', (socket) => {
      for (const name of ['say', 'limited', 'later']) socket.on(name, (data, ack?: (answer: unknown) => void) => ack?.(data))
    })
    return gate
  })
  return { host, probe: harness(declare) }
}

test('an event with an ack is answered alike by a server and by the harness', async () => {
  const { host, probe } = await bothEnds()
  const socket = await entered(host, { auth: { ok: true } })
  const questions: [string, unknown][] = [
    ['say', { text: 'hi', admin: true }],
    ['say', { text: 'no' }],
    ['say', { text: 'too long' }],
    ['say', 7],
    ['limited', 'abc'],
    ['limited', 'abcd'],
    ['asked', { a: 1 }],
    ['broken', 1],
    ['silent', 1],
    ['later', [1, 2]],
    ['unknown', 1],
    ['gate:denied', 1],
    ['limited', JSON.parse('{"__proto__":{}}')],
    ['later', JSON.parse('['.repeat(100) + ']'.repeat(100))],
  ]
  for (const [name, data] of questions) {
    const result = await probe.event(name, data, { ack: true })
    const expected = result.outcome === 'admitted' ? await result.ack(result.data) : result.sent
    const actual: unknown[] = [await socket.timeout(5_000).emitWithAck(name, data)]
    expect([name, withoutIds(actual)]).toEqual([name, withoutIds(expected)])
  }
})

test('a refused event without an ack is announced alike', async () => {
  const { host, probe } = await bothEnds()
  const socket = await entered(host, { auth: { ok: true } })
  const { sent } = await probe.event('say', { text: 'no' })
  const announced = heard(socket, 'gate:denied')
  socket.emit('say', { text: 'no' })
  expect(withoutIds(['gate:denied', ...(await announced)])).toEqual(withoutIds(sent))
})

test('a refused connect is told alike', async () => {
  const { host, probe } = await bothEnds()
  const { message, data } = await refusal(client(host))
  expect(withoutIds({ message, data })).toEqual(withoutIds((await probe.connect()).sent))
})

test('a join and a delivery come out alike', async () => {
  const { host, probe } = await bothEnds()
  const socket = await entered(host, { auth: { ok: true } })
  const [own] = await host.io.fetchSockets()
  for (const room of ['room:1', 'room:2', 'lobby']) {
    const { code } = await probe.join(room)
    const joining = (): unknown => host.io.sockets.sockets.get(own!.id)!.join(room)
    if (code === undefined) expect(joining).not.toThrow()
    else expect(joining).toThrow(expect.objectContaining({ code }))
  }
  const news = heard(socket, 'news')
  host.io.emit('news', { text: 'hi', draft: true })
  expect(await news).toEqual((await probe.deliver('news', { text: 'hi', draft: true })).args)
})
