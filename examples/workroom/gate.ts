import { guard, memoryStore, type Decision } from 'portcullis'
import { jwt } from 'portcullis/adapters/jwt'
import { tickets } from 'portcullis/adapters/ticket'
import { totp } from 'portcullis/adapters/totp'
import { abilities, audit, authenticate, authorize, origin, rateLimit, sanitize, stepUp } from 'portcullis/policies'
import { abilitiesFor, readablePart, type WorkroomAbility } from './abilities.ts'
import type { DemoAuthenticators } from './authenticators.ts'
import { workroom } from './contract.ts'
import { entryOf, type FeedEntry } from './feed.ts'
import type { Workroom } from './server.ts'
import { tokenSettings } from './tokens.ts'

export interface WorkroomGateOptions {
  /** The key tokens are signed with. */
  readonly secret: Uint8Array
  /** Where the page comes from. */
  readonly origins: readonly string[]
  /** How long a connection of the page is good for, until it is refreshed. */
  readonly lifeMs: number
  /** How long one that is over may still be refreshed. */
  readonly graceMs: number
  readonly authenticators: DemoAuthenticators
  readonly onDecision: (entry: FeedEntry) => void
  /** Takes the audit, one line of JSON for each decision. */
  readonly log: (line: string) => void
}

/** Puts the workroom under the gate. Nothing of the server itself changes. */
export function guardWorkroom({ app, io, data: { accounts, documents }, signIns }: Workroom, options: WorkroomGateOptions) {
  const { secret, origins, lifeMs, graceMs, authenticators, onDecision, log } = options
  const write = (record: object) => log(JSON.stringify(record))
  const store = memoryStore()
  const entry = tickets({ store, ttlMs: 10_000 })
  const authenticator = totp({ secretFor: ({ subject }) => authenticators.secretOf(subject).base32 })

  const gate = guard(io, { undeclared: 'deny', store })
    .use(audit({ info: write, warn: write, error: write }))
    // Programs send no Origin. No cookie opens a connection here, so there is nothing a foreign page could borrow.
    .use(origin({ allow: origins, missing: 'allow' }))
    .use(
      authenticate(entry.scheme(), jwt({ secret, algorithms: ['HS256'], ...tokenSettings }), {
        withinMs: 5_000,
        expiringMs: 30_000,
        onExpiry: { graceMs },
      }),
    )
    .use(abilities(({ principal }): WorkroomAbility => abilitiesFor(principal.claims)))

  // Nothing is declared about /ops, so nobody enters it.
  gate
    .of('/', workroom)
    .connect(rateLimit({ limit: 30, perMs: 10_000 }), authorize('enter', 'Workroom'))
    .join('doc:{id}', authorize('read', 'Document', ({ params }) => documents.get(params.id)))
    .event('doc:open', rateLimit({ limit: 20, perMs: 1_000 }))
    .event(
      ['doc:edit', 'doc:typing'],
      rateLimit({ limit: 20, perMs: 1_000 }),
      authorize('update', 'Document', ({ data }) => documents.get(data.id)),
    )
    // What cannot be taken back asks for more than a connection that somebody has left open.
    .event(
      'doc:wipe',
      authorize('wipe', 'Document', ({ data }) => documents.get(data.id)),
      stepUp(authenticator, { maxAgeMs: 60_000 }),
    )
    .event(
      'chat:send',
      rateLimit({ limit: 10, perMs: 1_000 }),
      sanitize({ mode: 'strip' }),
      authorize('comment', 'Document', ({ data }) => documents.get(data.id)),
    )
    .event('profile:save', sanitize({ mode: 'strip' }), authorize('update', 'Profile'))
    .event(
      ['person:revoke', 'person:reinstate'],
      authorize('exclude', 'Person', ({ data }) => accounts.get(data.id)),
    )
    // Asked again for each packet: a document may have changed hands since somebody joined its room.
    .deliver(['doc:changed', 'doc:typing'], authorize('read', 'Document', ({ data }) => documents.get(data.id)))
    .deliver('chat:message', authorize('read', 'Document', ({ data }) => documents.get(data.documentId)))
    // The server sends everybody everything. Each kind of reader gets the people and the fields it may read.
    .deliver('roster', {
      name: 'readable-people',
      deliver: {
        audience: (peer) => peer.ability,
        hook(ctx, next) {
          ctx.data = { people: ctx.data.people.flatMap((person) => readablePart(ctx.audience, person) ?? []) }
          return next()
        },
      },
    })

  // Whoever is signed in over HTTP gets a ticket: it opens one connection, or refreshes one, and is spent.
  app.post('/ticket', async (request, response) => {
    const { user } = (request.body ?? {}) as { user?: unknown }
    const account = typeof user === 'string' && signIns.has(request, user) ? accounts.get(user) : undefined
    if (account === undefined) return void response.status(401).json({ message: 'Sign in first' })
    const { id, tenant, role } = account
    const untilMs = Date.now() + lifeMs
    const { ticket } = await entry.issue({ subject: id, issuer: tokenSettings.issuer, claims: { tenant, role }, expiresAtMs: untilMs }, request)
    response.setHeader('cache-control', 'no-store')
    response.json({ ticket, untilMs })
  })

  // Two events the application never had: an admin ends what a colleague has open, and lets the colleague in again.
  io.on('connection', (socket) => {
    const { name } = socket.data.user
    socket.on('person:revoke', async ({ id }: { id: string }, ack: (done: unknown) => void) => {
      const { closed } = await gate.revoke({ subject: id }, { reason: `ended by ${name}` })
      ack({ closed: closed.length })
    })
    socket.on('person:reinstate', async ({ id }: { id: string }, ack: (done: unknown) => void) => {
      ack({ reinstated: await gate.reinstate({ subject: id }) })
    })
  })

  const show = (decision: Decision): void => onDecision(entryOf(decision))
  gate.on('denied', show)
  gate.on('fault', show)
  gate.on('admitted', (decision) => {
    // Polling asks again and again, and one edit is delivered to many: that they pass is of no interest on a page.
    if (decision.stage !== 'request' && decision.stage !== 'deliver') show(decision)
  })
  return gate
}
