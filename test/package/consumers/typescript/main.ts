import { createServer } from 'node:http'
import { fromCookie, guard, memoryStore, type Code } from 'portcullis'
import { basic } from 'portcullis/adapters/basic'
import { jwt } from 'portcullis/adapters/jwt'
import { expressMiddleware } from 'portcullis/adapters/middleware'
import { mtls } from 'portcullis/adapters/mtls'
import { introspection, openid } from 'portcullis/adapters/oauth'
import { tickets } from 'portcullis/adapters/ticket'
import { totp } from 'portcullis/adapters/totp'
import { connect as companion } from 'portcullis/client'
import { pinned } from 'portcullis/client/pinning'
import { contract, type ClientEvents, type HandlerEvents } from 'portcullis/contract'
import { authenticate, binding, csrf, rateLimit, stepUp } from 'portcullis/policies'
import { harness } from 'portcullis/testing'
import { Server } from 'socket.io'
import { io as connect, type Socket } from 'socket.io-client'
import { z } from 'zod'

const chat = contract({ events: { 'message:send': { data: z.object({ text: z.string().trim() }), reply: z.object({ id: z.number() }) } } })

const io = new Server<HandlerEvents<typeof chat>>(createServer())
const gate = guard(io).use(authenticate(jwt({ secret: 'a secret of at least thirty-two bytes', issuer: 'https://id.example', audience: 'consumer' })))

const chatGate = gate.of('/chat', chat).event('message:send', rateLimit({ limit: 10, perMs: 1_000 }), ({ data, peer }, next) => {
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

const connection = companion<typeof chatGate>('https://app.example/chat', { credentials: () => ({ token: 'the token' }) })
const receipt = await connection.request('message:send', { text: 'hello' })
const id: number = receipt.id
// @ts-expect-error -- the contract has no such event
void connection.request('message:nope', {})

const entry = tickets({ store: memoryStore() })
const optional = guard(new Server()).use(authenticate(entry.scheme(), { optional: true }))
optional.event('x', ({ peer }, next) => {
  const subject: string | undefined = peer.principal?.subject
  // @ts-expect-error -- there may be nobody
  void peer.principal.subject
  void subject
  return next()
})
void [outcome, id, harness, basic, mtls, introspection, openid, totp, expressMiddleware, pinned, binding, csrf, stepUp, fromCookie]
