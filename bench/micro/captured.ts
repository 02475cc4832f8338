/** Contexts as the gate makes them, kept for calling hooks on them again and again. */
import type { Server } from 'socket.io'
import { guard, type ConnectContext, type Decision, type EventContext, type RequestContext } from 'portcullis'
import { jwt } from 'portcullis/adapters/jwt'
import { abilities, authenticate } from 'portcullis/policies'
import type { MongoAbility } from '@casl/ability'
import { member, rulesOf, signToken, texts } from '../job.ts'
import { chat, tokens } from '../servers/guarded.ts'
import { MemoryServer } from './memory-server.ts'

interface Facts { principal: { subject: string; claims: Readonly<Record<string, unknown>> }; ability: MongoAbility }

export interface Captured {
  request: RequestContext
  connect: ConnectContext<Facts>
  /** A new one each time: contexts read the clock once, and remember. */
  event: (data: unknown) => EventContext<Facts>
  admitted: Decision
}

export async function capture(): Promise<Captured> {
  const who = member(1, 10)
  const seen: { request?: RequestContext; connect?: ConnectContext<Facts>; event?: any; admitted?: Decision } = {}
  const server = new MemoryServer((io: Server) => {
    const gate = guard(io)
      .use(authenticate(jwt(tokens)))
      .use(abilities(() => rulesOf(who.rooms)))
      .request((ctx, next) => {
        seen.request = ctx
        return next()
      })
      .connect((ctx, next) => {
        seen.connect = ctx
        return next()
      })
      .on('admitted', (decision) => {
        seen.admitted = decision
      })
    gate.of('/', chat).event('message:send', (ctx, next) => {
      seen.event = ctx
      return next()
    })
  })
  const client = await server.connect(signToken(who))
  client.feed(`21${JSON.stringify(['message:send', { room: who.rooms[0], text: texts[0] }])}`)
  await new Promise((resolve) => setImmediate(resolve))
  const { request, connect, event, admitted } = seen
  if (!request || !connect || !event || admitted?.stage !== 'event') throw new Error('a context was not captured')
  const { constructor: EventContext, scene, socket, namespace, event: name, state } = event
  return { request, connect, admitted, event: (data) => new EventContext(scene, socket, namespace, name, [data], true, state) }
}
