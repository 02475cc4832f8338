/** The same server under the gate: empty, with the whole job, and with a decision about every delivery. */
import type { Server } from 'socket.io'
import { guard, type Gate } from 'portcullis'
import { jwt } from 'portcullis/adapters/jwt'
import { contract } from 'portcullis/contract'
import { abilities, audit, authenticate, authorize, rateLimit, sanitize } from 'portcullis/policies'
import { audience, issuer, maskedRulesOf, Message, rulesOf, secret } from '../job.ts'
import type { CountingSink } from './audit-sink.ts'

export const chat = contract({ events: { 'message:send': { data: Message } } })

/** As an application sets it up; how many verified tokens are remembered is left at its default. */
export const tokens = { secret, issuer, audience, algorithms: ['HS256'] as const }

/** So high that it never refuses, and coming back so slowly that a count outlives the pause between two events, as it does in use. */
export const neverReached = { limit: 10_000_000, perMs: 60_000_000 }

const roomsOf = (claims: Readonly<Record<string, unknown>>): string[] => claims.rooms as string[]

export function guardEmpty(io: Server): void {
  guard(io, { undeclared: 'allow' })
}

export function guardFully(io: Server, sink: CountingSink): Gate {
  const gate = guard(io)
    .use(audit(sink))
    .use(authenticate(jwt(tokens)))
    .use(abilities(({ principal }) => rulesOf(roomsOf(principal.claims))))
  gate.of('/', chat).event('message:send',
    rateLimit(neverReached),
    sanitize({ mode: 'strip' }),
    authorize('create', 'Message', ({ data }) => data))
  return gate
}

/** Every delivery is decided, once per distinct ability, and one field is taken out. */
export function guardDeliveries(io: Server): void {
  guard(io, { undeclared: 'allow' })
    .use(authenticate(jwt(tokens)))
    .use(abilities(({ principal }) => maskedRulesOf(roomsOf(principal.claims))))
    .deliver('message', authorize('read', 'Message', ({ data }) => data, { mask: true }))
}

/** One hook that has nothing to say, asked for each recipient. */
export function guardWithHook(io: Server): void {
  guard(io, { undeclared: 'allow' }).deliver('message', (_ctx, next) => next())
}
