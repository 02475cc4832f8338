// Held by the compiler: each line compiles, unless it is marked, and then it must not.
import { every, guard, observed, permit, some, unordered, when } from 'portcullis'
import { jwt } from 'portcullis/adapters/jwt'
import { contract } from 'portcullis/contract'
import { abilities, authenticate, authorize, origin, rateLimit, sanitize } from 'portcullis/policies'
import { harness } from 'portcullis/testing'
import type { Server } from 'socket.io'
import { z } from 'zod'

declare const io: Server
const credentials = { secret: 'a secret of thirty-two characters!', issuer: 'a', audience: 'b' } as const
const chat = contract({ events: { say: { data: z.object({ text: z.string() }) } }, deliveries: { said: { data: z.object({ text: z.string() }) } } })
const bare = guard(io)
const gate = guard(io)
  .use(authenticate(jwt(credentials)))
  .use(abilities(() => [{ action: 'read', subject: 'Doc' }]))
const inChat = gate.of('/', chat)

const sends = permit('sends', 'event', ({ event }) => event === 'x')
const joins = permit('joins', 'join', ({ room }) => room === 'r')
const receives = permit('receives', 'deliver', ({ data }) => data !== undefined)
const limit = rateLimit({ limit: 1, perMs: 1_000 })

// A preset is one policy.
bare.use(every(origin({ allow: ['https://app.example'] }), limit, sanitize({ mode: 'strip' })))
bare.use(every(sends, joins, receives)).use(some(sends, sends)).use(when(() => true, sends)).use(observed(limit)).use(sends)
bare.event('x', every(sends, limit)).join('r', some(joins, limit)).deliver('x', receives, every(receives, receives)).connect(every(limit))
gate.use(every(authorize('read', 'Doc')))
harness(every(sends, joins))
harness([some(limit, sends), observed(limit), receives])
bare.event('typing', unordered(), limit)

// The callbacks of what is combined have the types of the place.
inChat.event('say', every(limit, authorize('read', 'Doc', ({ data }) => ({ length: data.text.length }))))
inChat.event('say', some(authorize('read', 'Doc', ({ data }) => data), authorize('read', 'Doc', ({ peer }) => peer.principal.claims)))
inChat.event('say', when(({ peer, data }) => peer.principal.subject === data.text, limit))
inChat.event('say', when(() => true, authorize('read', 'Doc', ({ data }) => data)))
inChat.event('say', observed(authorize('read', 'Doc', ({ data }) => data)))
inChat.event('say', every(some(authorize('read', 'Doc', ({ data }) => data), limit), limit))
inChat.join('doc:{id}', some(authorize('read', 'Doc', ({ params }) => ({ id: params.id })), authorize('read', 'Doc', ({ room }) => ({ room }))))
inChat.deliver('said', some(authorize('read', 'Doc', ({ data }) => data)))
inChat.connect(when(({ peer }) => peer.principal.factors.length > 1, limit))
// @ts-expect-error -- no such field
inChat.event('say', every(limit, authorize('read', 'Doc', ({ data }) => data.nope)))
// @ts-expect-error -- no such field
inChat.event('say', some(authorize('read', 'Doc', ({ data }) => data.nope)))
// @ts-expect-error -- no such field
inChat.event('say', when(({ data }) => data.nope, limit))
// @ts-expect-error -- no such field
inChat.event('say', when(() => true, authorize('read', 'Doc', ({ data }) => data.nope)))
// @ts-expect-error -- no such field
inChat.event('say', observed(authorize('read', 'Doc', ({ data }) => data.nope)))
// @ts-expect-error -- no such hole
inChat.join('doc:{id}', some(authorize('read', 'Doc', ({ params }) => ({ id: params.name }))))
// @ts-expect-error -- no such field
inChat.deliver('said', some(authorize('read', 'Doc', ({ data }) => data.nope)))
// @ts-expect-error -- no such fact
bare.event('x', when(({ peer }) => peer.principal, limit))

// What is combined stands where its parts do, and needs what they need together.
// @ts-expect-error -- no event hook among the parts
bare.event('x', every(joins))
// @ts-expect-error -- no join hook
bare.join('r', some(sends, sends))
// @ts-expect-error -- no ability
bare.event('x', every(limit, authorize('read', 'Doc')))
// @ts-expect-error -- no ability
bare.event('x', some(authorize('read', 'Doc')))
// @ts-expect-error -- no ability
bare.use(every(limit, authorize('read', 'Doc')))
// @ts-expect-error -- a combinator takes policies that give nothing
bare.use(every(authenticate(jwt(credentials))))
// @ts-expect-error -- a combinator takes policies that give nothing
bare.use(when(() => true, authenticate(jwt(credentials))))
// @ts-expect-error -- no policies
bare.use(every(7))
// @ts-expect-error -- hooks without a name
bare.event('x', every((_ctx: unknown, next: () => void) => next()))

// A predicate answers true or false.
// @ts-expect-error -- a promise is truthy
when(async () => true, limit)
// @ts-expect-error -- text is truthy
bare.event('x', when(({ event }) => event, limit))
permit('p', 'event', async () => true)
// @ts-expect-error -- deliveries are synchronous
permit('p', 'deliver', async () => true)
// @ts-expect-error -- no stage
permit('p', 'emit', () => true)
// @ts-expect-error -- of another stage
permit('p', 'request', ({ room }) => room === 'r')
// @ts-expect-error -- it is a policy of events
bare.join('r', sends)
