import { createServer } from 'node:http'
import { guard, type Code } from 'portcullis'
import { jwt } from 'portcullis/adapters/jwt'
import { contract, type ClientEvents, type HandlerEvents } from 'portcullis/contract'
import { authenticate, rateLimit } from 'portcullis/policies'
import { harness } from 'portcullis/testing'
import { Server } from 'socket.io'
import { io as connect, type Socket } from 'socket.io-client'
import { z } from 'zod'

const chat = contract({ events: { 'message:send': { data: z.object({ text: z.string().trim() }), reply: z.object({ id: z.number() }) } } })

const io = new Server<HandlerEvents<typeof chat>>(createServer())
const gate = guard(io).use(authenticate(jwt({ secret: 'a secret of at least thirty-two bytes', issuer: 'https://id.example', audience: 'consumer' })))

gate.of('/chat', chat).event('message:send', rateLimit({ limit: 10, perMs: 1_000 }), ({ data, peer }, next) => {
  const text: string = data.text
  const subject: string = peer.principal.subject
  // @ts-expect-error -- the schema has no such field
  void data.nope
  void [text, subject]
  return next()
})

io.of('/chat').on('connection', (socket) => {
  socket.on('message:send', (message, ack) => {
    const text: string = message.text
    ack({ id: text.length })
  })
})

const client: Socket<object, ClientEvents<typeof chat>> = connect('https://app.example/chat')
const answer = await client.emitWithAck('message:send', { text: 'hello' })
const outcome: Code | number = 'error' in answer ? answer.error.code : answer.id
void [outcome, harness]
