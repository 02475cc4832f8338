import { guard, type Decision } from 'portcullis'
import { jwt } from 'portcullis/adapters/jwt'
import { abilities, audit, authenticate, authorize, origin, rateLimit, sanitize } from 'portcullis/policies'
import { abilitiesFor, readablePart, type WorkroomAbility } from './abilities.ts'
import { workroom } from './contract.ts'
import type { TeamDocument } from './data.ts'
import type { FeedEntry } from './feed.ts'
import type { WorkroomServer } from './server.ts'
import { tokenSettings } from './tokens.ts'

export interface WorkroomGateOptions {
  /** The key the sign-in signs its tokens with. */
  readonly secret: Uint8Array
  readonly documents: ReadonlyMap<string, TeamDocument>
  /** Where the page comes from. */
  readonly origins: readonly string[]
  readonly onDecision: (entry: FeedEntry) => void
  /** Takes the audit, one line of JSON for each decision. */
  readonly log: (line: string) => void
}

/** Puts the workroom under the gate. Nothing of the server itself changes. */
export function guardWorkroom(io: WorkroomServer, { secret, documents, origins, onDecision, log }: WorkroomGateOptions) {
  const write = (record: object) => log(JSON.stringify(record))

  const gate = guard(io, { undeclared: 'deny' })
    .use(audit({ info: write, warn: write, error: write }))
    .use(origin({ allow: origins }))
    .use(authenticate(jwt({ secret, algorithms: ['HS256'], ...tokenSettings })))
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
    .event(
      'chat:send',
      rateLimit({ limit: 10, perMs: 1_000 }),
      sanitize({ mode: 'strip' }),
      authorize('comment', 'Document', ({ data }) => documents.get(data.id)),
    )
    .event('profile:save', sanitize({ mode: 'strip' }), authorize('update', 'Profile'))
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

  const show = (decision: Decision): void => onDecision(entryOf(decision))
  gate.on('denied', show)
  gate.on('fault', show)
  gate.on('admitted', (decision) => {
    // Polling asks again and again, and one edit is delivered to many: that they pass is of no interest on a page.
    if (decision.stage !== 'request' && decision.stage !== 'deliver') show(decision)
  })
  return gate
}

function entryOf({ at, stage, event, room, namespace, outcome, code, policy, subject, id }: Decision): FeedEntry {
  return {
    at: new Date(at).toISOString(),
    stage,
    what: event ?? room ?? namespace ?? 'HTTP',
    outcome,
    code,
    policy,
    subject,
    id: outcome === 'admitted' ? undefined : id,
  }
}
