// Held by the compiler: each line compiles, unless it is marked, and then it must not.
import { guard } from 'portcullis'
import type { ConnectContext, Gate, Hook, NamespaceGate, Policy } from 'portcullis'
import { jwt } from 'portcullis/adapters/jwt'
import { contract } from 'portcullis/contract'
import { abilities, authenticate, authorize, origin, rateLimit, sanitize } from 'portcullis/policies'
import type { Server } from 'socket.io'
import { z } from 'zod'

declare const io: Server
declare function find(id: string): { id: string; owner: string }
type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
declare function check<_T extends true>(): void

const credentials = { secret: 'a secret of thirty-two characters!', issuer: 'a', audience: 'b' } as const
const chat = contract({
  events: {
    'message:send': { data: z.object({ text: z.string(), at: z.coerce.number().default(0) }) },
    move: { args: [z.number(), z.string()] },
    ping: {},
  },
  deliveries: { message: { data: z.object({ text: z.string() }) } },
})

const bare = guard(io)
const known = guard(io).use(authenticate(jwt(credentials)))
const gate = known.use(abilities(({ principal }) => [{ action: 'read', subject: 'Doc', conditions: { owner: principal.subject } }, { action: 'create', subject: 'Message' }]))
const inChat = gate.of('/chat', chat)

// Facts add up along use, and are there for what follows.
gate.connect((ctx, next) => (ctx.peer.principal.subject === '' ? undefined : next()))
gate.event('x', (ctx, next) => (ctx.peer.ability.can('read', 'Doc') ? next() : undefined))
inChat.event('x', (ctx, next) => (ctx.peer.principal.factors.includes('otp') ? next() : undefined))
inChat.use({ name: 'tenant', connect: (ctx, next: (facts: { tenant: string }) => void) => next({ tenant: ctx.peer.principal.subject }) }).event('x', (ctx, next) => (ctx.peer.tenant === '' ? undefined : next()))
const peer = gate.peerOf({})
check<Equal<typeof peer.principal.subject, string>>()

// @ts-expect-error -- no policy has given a principal
bare.event('x', (ctx, next) => (ctx.peer.principal.subject === '' ? undefined : next()))
// @ts-expect-error -- in the wrong order: abilities needs what authenticate gives
bare.use(abilities(({ principal }) => [{ action: 'read', subject: principal.subject }]))
// @ts-expect-error -- no ability
known.event('x', authorize('read', 'Doc'))
// @ts-expect-error -- no ability
known.connect(authorize('read', 'Doc'))
// @ts-expect-error -- no ability
known.of('/chat').join('doc:{id}', authorize('read', 'Doc', ({ params }) => find(params.id)))
// @ts-expect-error -- no ability
known.deliver('message', authorize('read', 'Doc', ({ data }) => data))
// @ts-expect-error -- no ability
bare.use(authorize('read', 'Doc'))
// @ts-expect-error -- a fact of another type
known.use({ name: 'p', connect: (ctx: ConnectContext<{ principal: number }>, next: () => void) => next() } satisfies Policy<{ principal: number }>)
// @ts-expect-error -- facts of a namespace are not known outside it
gate.event('x', (ctx, next) => (ctx.peer.tenant === '' ? undefined : next()))

// A connect hook that promised facts cannot go on without them.
const gives: Policy<object, { tenant: string }> = { name: 'gives', connect: (_ctx, next) => next({ tenant: 'a' }) }
bare.use(gives).event('x', (ctx, next) => (ctx.peer.tenant === '' ? undefined : next()))
// @ts-expect-error -- next() without the facts
const forgets: Policy<object, { tenant: string }> = { name: 'forgets', connect: (_ctx, next) => next() }
// @ts-expect-error -- facts of another shape
const mistakes: Policy<object, { tenant: string }> = { name: 'mistakes', connect: (_ctx, next) => next({ tenant: 7 }) }
// @ts-expect-error -- facts that were not promised
const surprises: Policy = { name: 'surprises', connect: (_ctx, next) => next({ tenant: 'a' }) }
// @ts-expect-error -- facts enter at connect, nowhere else
const late: Policy<object, { tenant: string }> = { name: 'late', event: (_ctx, next) => next({ tenant: 'a' }) }
// @ts-expect-error -- what gives facts belongs in use(...), whose type passes them on
bare.connect(gives)

// Data has the type of the schema's output.
inChat.event('message:send', (ctx, next) => {
  check<Equal<typeof ctx.data, { text: string; at: number }>>()
  return next()
})
inChat.event('move', (ctx, next) => {
  check<Equal<typeof ctx.data, number>>()
  return next()
})
inChat.event('ping', (ctx, next) => {
  check<Equal<typeof ctx.data, undefined>>()
  return next()
})
inChat.event('elsewhere', (ctx, next) => {
  check<Equal<typeof ctx.data, unknown>>()
  return next()
})
inChat.event(['message:send', 'ping'], (ctx, next) => {
  check<Equal<typeof ctx.data, { text: string; at: number } | undefined>>()
  return next()
})
inChat.event('message:send', authorize('create', 'Message', ({ data }) => data))
inChat.event('message:send', rateLimit({ limit: 10, perMs: 1_000 }), sanitize({ mode: 'strip' }), authorize('create', 'Message', ({ data }) => ({ length: data.text.length })))
inChat.deliver('message', authorize('read', 'Doc', ({ data }) => data))
inChat.deliver('message', (ctx, next) => {
  check<Equal<typeof ctx.data, { text: string }>>()
  ctx.data = { text: 'other' }
  return next()
})
inChat.deliver('message', { audience: (to) => to.ability, hook: (ctx, next) => (ctx.data.text === '' ? undefined : next()) })
gate.event('x', authorize('read', 'Doc', ({ event }) => ({ event })))

// @ts-expect-error -- no such field
inChat.event('message:send', (ctx, next) => (ctx.data.nope ? next() : undefined))
// @ts-expect-error -- no such field
inChat.event('message:send', authorize('create', 'Message', ({ data }) => data.nope))
// @ts-expect-error -- no such field
inChat.deliver('message', authorize('read', 'Doc', ({ data }) => data.nope))
// @ts-expect-error -- a contract of another shape
gate.of('/chat', { event: {} })
// @ts-expect-error -- what is sent has to keep the type
inChat.deliver('message', (ctx, next) => ((ctx.data = 7), next()))
// @ts-expect-error -- without a contract nothing is known of the data
gate.event('x', (ctx, next) => (ctx.data.text ? next() : undefined))

// Params are the holes of the pattern.
gate.join('doc:{id}', authorize('read', 'Doc', ({ params }) => find(params.id)))
gate.join('team:{team}:{rest...}', (ctx, next) => {
  check<Equal<typeof ctx.params.team, string>>()
  check<Equal<typeof ctx.params.rest, string>>()
  return next()
})
// @ts-expect-error -- no such hole
gate.join('doc:{id}', (ctx, next) => (find(ctx.params.name).id ? next() : undefined))
// @ts-expect-error -- no such hole
gate.join('doc:{id}', authorize('read', 'Doc', ({ params }) => find(params.name)))
// @ts-expect-error -- no hole at all
gate.join('lobby', (ctx, next) => (find(ctx.params.id).id ? next() : undefined))

// A policy stands only where it has a hook.
bare.use(origin({ allow: ['https://app.example'] }))
bare.request(origin({ allow: ['https://app.example'] }))
// @ts-expect-error -- origin decides requests and connects
gate.event('x', origin({ allow: ['https://app.example'] }))
// @ts-expect-error -- origin decides requests and connects
gate.deliver('x', origin({ allow: ['https://app.example'] }))
// @ts-expect-error -- a limit does not stand at deliveries
gate.deliver('x', rateLimit({ limit: 1, perMs: 1 }))
// @ts-expect-error -- nor does what authenticates stand at events
gate.event('x', authenticate(jwt(credentials)))
// @ts-expect-error -- a hook of another stage
gate.event('x', (ctx: ConnectContext, next: () => void) => next())
// @ts-expect-error -- a request belongs to no namespace
inChat.request(origin({ allow: ['https://app.example'] }))
// @ts-expect-error -- no policy at all
gate.event('x', { name: 'nothing' })
// @ts-expect-error -- a name is what records show
gate.use({ event: (_ctx: unknown, next: () => void) => next() })

// Deliveries are synchronous.
// @ts-expect-error -- a promise
gate.deliver('x', async (_ctx, next) => next())
// @ts-expect-error -- a promise
gate.deliver('x', (_ctx, next) => Promise.resolve().then(next))
// @ts-expect-error -- a promise
gate.deliver('x', { audience: () => 0, hook: async (_ctx, next) => next() })
// @ts-expect-error -- a promise
const slow: Policy = { name: 'slow', deliver: async (_ctx, next) => next() }
// @ts-expect-error -- a resource that has to be waited for
gate.deliver('x', authorize('read', 'Doc', async ({ data }) => ({ data })))
// @ts-expect-error -- a hook asked for an audience sees nothing of the single recipient
gate.deliver('x', { audience: () => 0, hook: (ctx, next) => (ctx.peer ? next() : undefined) })
gate.reply('x', (_ctx, next) => next())
// @ts-expect-error -- replies are deliveries
gate.reply('x', async (_ctx, next) => next())

// Elsewhere a hook may be asynchronous.
gate.event('x', async (_ctx, next) => next())
gate.join('x', async (_ctx, next) => next())
gate.connect(async (_ctx, next) => next())
gate.request(async (_ctx, next) => next())

// Declarations may live in several modules: a gate with more facts does for one with fewer.
declare function declareDocs(gate: Gate<{ principal: { readonly subject: string } }>): void
declare function declareChat(gate: NamespaceGate<{ principal: { readonly subject: string } }, typeof chat>): void
declareDocs(gate)
declareDocs(known)
declareChat(inChat)
// @ts-expect-error -- the facts it needs are not there
declareDocs(bare)
const typed: Hook<ConnectContext<{ principal: { subject: string } }>> = (ctx, next) => (ctx.peer.principal.subject === '' ? undefined : next())
gate.connect(typed)
// @ts-expect-error -- the facts it needs are not there
bare.connect(typed)

// Methods of the gate itself are not those of a namespace.
// @ts-expect-error -- only the whole gate has an end
inChat.close()
// @ts-expect-error -- a namespace has no namespaces
inChat.of('/other')
gate.use(sanitize({ mode: 'reject' })).event('a').event(['b', 'c:*']).join('r').deliver('d').reply('b')
// @ts-expect-error -- how text is cleaned has no default
gate.use(sanitize({}))
