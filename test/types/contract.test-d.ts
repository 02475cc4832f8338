// Held by the compiler: each line compiles, unless it is marked, and then it must not.
import { contract } from 'portcullis/contract'
import type { ClientEvents, DeliveryEvents, HandlerEvents } from 'portcullis/contract'
import type { Refusal } from 'portcullis'
import { Server } from 'socket.io'
import type { Socket as ClientSocket } from 'socket.io-client'
import { type } from 'arktype'
import * as v from 'valibot'
import { z } from 'zod'

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
declare function check<_T extends true>(): void

const chat = contract({
  events: {
    send: { data: z.object({ text: z.string(), at: z.coerce.date<string>() }), reply: z.object({ id: z.string().transform(Number) }) },
    move: { args: [v.number(), v.optional(v.string(), 'left')] },
    typed: { data: type({ n: 'number' }) },
    ping: {},
    ask: { reply: z.string() },
  },
  deliveries: {
    message: { data: z.object({ text: z.string(), at: z.coerce.date<string>() }) },
    pair: { args: [z.string(), type('number')] },
    tick: {},
  },
})

// What a client may emit: the schemas' inputs; the ack brings the output, or a refusal.
type Client = ClientEvents<typeof chat>
check<Equal<Parameters<Client['send']>[0], { text: string; at: string }>>()
check<Equal<Parameters<NonNullable<Parameters<Client['send']>[1]>>[0], { id: number } | { readonly error: Refusal }>>()
check<Equal<Parameters<Client['typed']>[0], { n: number }>>()
check<Equal<Parameters<NonNullable<Parameters<Client['ask']>[0]>>[0], string | { readonly error: Refusal }>>()
check<Equal<keyof Client, 'send' | 'move' | 'typed' | 'ping' | 'ask'>>()

declare const client: ClientSocket<DeliveryEvents<typeof chat>, ClientEvents<typeof chat>>
client.emit('send', { text: 'hi', at: '2025-01-01' })
client.emit('send', { text: 'hi', at: '2025-01-01' }, (answer) => ('error' in answer ? answer.error.code : answer.id.toFixed()))
client.emit('move', 1, 'right')
client.emit('ping')
client.on('message', ({ text, at }) => [text.length, at.getTime()])
client.on('pair', (word, count) => [word.length, count.toFixed()])
client.on('tick', () => {})
// @ts-expect-error -- a field is missing
client.emit('send', { text: 'hi' })
// @ts-expect-error -- the input of the schema is text
client.emit('move', 'one', 'right')
// @ts-expect-error -- there is no such event
client.emit('shout', 'hi')
// @ts-expect-error -- no argument at all
client.emit('ping', 7)
// @ts-expect-error -- it may be a refusal
client.emit('send', { text: 'hi', at: '2025-01-01' }, (answer) => answer.id)
// @ts-expect-error -- there is no such delivery
client.on('rumour', () => {})

// What a handler gets: the schemas' outputs; its ack takes the input of the reply.
type Handler = HandlerEvents<typeof chat>
check<Equal<Parameters<Handler['send']>[0], { text: string; at: Date }>>()
check<Equal<Parameters<Handler['send']>[1], (reply: { id: string }) => void>>()
check<Equal<Parameters<Handler['move']>[1], string>>()

const io = new Server<HandlerEvents<typeof chat>, DeliveryEvents<typeof chat>>()
io.on('connection', (socket) => {
  socket.on('send', ({ text, at }, ack) => ack({ id: `${text} ${at.getTime()}` }))
  socket.on('move', (x, direction) => [x.toFixed(), direction.length])
  socket.on('ask', (ack) => ack('yes'))
  socket.on('ping', () => {})
  socket.emit('tick')
  // @ts-expect-error -- the reply is text
  socket.on('ask', (ack) => ack(7))
  // @ts-expect-error -- there is no such event
  socket.on('shout', () => {})
  // @ts-expect-error -- there is no such delivery
  socket.emit('rumour')
})

// A contract keeps the types it was written with, and takes nothing else.
check<Equal<keyof (typeof chat)['deliveries'], 'message' | 'pair' | 'tick'>>()
// @ts-expect-error -- a field that a contract does not have
contract({ events: { x: { schema: z.string() } } })
// @ts-expect-error -- no schema
contract({ events: { x: { data: 'string' } } })
// @ts-expect-error -- no such limit
contract({ events: { x: { limits: { maxByte: 1 } } } })
