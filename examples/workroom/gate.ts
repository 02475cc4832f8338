import { randomBytes } from 'node:crypto'
import { guard, memoryStore, permit, when, type Decision, type Principal } from 'portcullis'
import { sessions, type LiveSession } from 'portcullis/adapters/express-session'
import { jwt } from 'portcullis/adapters/jwt'
import { tickets } from 'portcullis/adapters/ticket'
import { totp } from 'portcullis/adapters/totp'
import { abilities, audit, authenticate, authorize, csrf, idle, rateLimit, sanitize, stepUp } from 'portcullis/policies'
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
  /** How long a connection by ticket is good for, until it is refreshed. */
  readonly lifeMs: number
  /** How long one that is over may still be refreshed. */
  readonly graceMs: number
  /** How long a session keeps its id. */
  readonly rotateEveryMs: number
  /** How long a page of a session may do nothing. */
  readonly idleMs: number
  readonly authenticators: DemoAuthenticators
  readonly onDecision: (entry: FeedEntry) => void
  /** Takes the audit, one line of JSON for each decision. */
  readonly log: (line: string) => void
}

/** A session that ends closes its connections at once, and is gone from the list a moment later. */
const settledAfterMs = 200

/** Puts the workroom under the gate. Nothing of the server itself changes. */
export function guardWorkroom({ app, io, data: { accounts, documents }, sessions: own, accountOf }: Workroom, options: WorkroomGateOptions) {
  const { secret, origins, lifeMs, graceMs, rotateEveryMs, idleMs, authenticators, onDecision, log } = options
  const write = (record: object) => log(JSON.stringify(record))
  const store = memoryStore()
  const { issuer } = tokenSettings

  // The sessions of the application as they are. Who somebody is, and may do, is looked up each time: a session keeps no rights.
  const live = sessions({
    ...own,
    user({ user }) {
      const account = accounts.get(user)
      return account && { subject: account.id, issuer, claims: { tenant: account.tenant, role: account.role } }
    },
    rotateEveryMs,
    concurrent: { limit: 5, full: 'end-oldest' },
  })
  app.use(live.handler)
  const sameSite = csrf({ origins, secret: randomBytes(32), session: live.cookie })
  const entry = tickets({ store, ttlMs: 10_000 })
  const authenticator = totp({ secretFor: ({ subject }) => authenticators.secretOf(subject).base32 })

  const gate = guard(io, { undeclared: 'deny', store })
    .use(audit({ info: write, warn: write, error: write }))
    // Programs send no Origin, and no cookie. Whoever comes with one comes from a page of ours, with a token that only such a page can read.
    .use(sameSite)
    .use(
      authenticate(live.scheme(), entry.scheme(), jwt({ secret, algorithms: ['HS256'], ...tokenSettings }), {
        withinMs: 5_000,
        expiringMs: 30_000,
        onExpiry: { graceMs },
      }),
    )
    .use(live.policy({ optional: true }))
    // A program may listen for as long as it likes; a page that nobody uses may be one that somebody has left open.
    .use(when(({ peer }: { peer: { session: LiveSession | undefined } }) => peer.session !== undefined, idle({ afterMs: idleMs })))
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
    .event('session:renew', rateLimit({ limit: 3, perMs: 10_000 }), authorize('renew', 'Session', ({ peer }) => peer.session))
    // Looked for among one's own: somebody else's is as good as none.
    .event(
      'session:end',
      authorize('end', 'Session', async ({ data, peer }) => (await live.list(peer.principal)).find(({ id }) => id === data.id)),
    )
    .event('session:end-others', authorize('end', 'Session'))
    .event(
      ['person:revoke', 'person:reinstate'],
      authorize('exclude', 'Person', ({ data }) => accounts.get(data.id)),
    )
    // Asked again for each packet: a document may have changed hands since somebody joined its room.
    .deliver(['doc:changed', 'doc:typing'], authorize('read', 'Document', ({ data }) => documents.get(data.id)))
    .deliver('chat:message', authorize('read', 'Document', ({ data }) => documents.get(data.documentId)))
    .deliver('sessions', permit('own-sessions', 'deliver', ({ data, peer }) => data.of === (peer as { principal: Principal }).principal.subject))
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

  // What a page of a session brings beside the cookie.
  app.get('/csrf', (request, response) => {
    const { user } = request.session
    response.setHeader('cache-control', 'no-store')
    if (user === undefined) return void response.status(401).json({ message: 'Nobody is signed in in this browser' })
    response.json({ user, csrf: sameSite.tokenFor(request) })
  })

  // For a window without a session: a ticket for a token. It opens one connection, or refreshes one, and is spent.
  app.post('/ticket', async (request, response) => {
    const account = await accountOf(request)
    if (account === undefined) return void response.status(401).json({ message: 'Sign in first' })
    const { id, tenant, role } = account
    const untilMs = Date.now() + lifeMs
    const { ticket } = await entry.issue({ subject: id, issuer, claims: { tenant, role }, expiresAtMs: untilMs }, request)
    response.setHeader('cache-control', 'no-store')
    response.json({ ticket, untilMs })
  })

  /** Tells everybody who is signed in with this account where else it is. What cannot be told is told the next time. */
  const announceSessions = async (of: string) => {
    const signedIn = await live.list({ subject: of, issuer }).catch(() => undefined)
    if (signedIn === undefined) return
    for (const socket of io.sockets.sockets.values()) {
      if (socket.data.user.id !== of) continue
      socket.emit('sessions', { of, current: gate.peerOf(socket).session?.id, sessions: signedIn })
    }
  }

  // Events the application never had: one's own sessions; and an admin ends what a colleague has open, and lets the colleague in again.
  io.on('connection', async (socket) => {
    const { id: self, name } = socket.data.user
    const { session } = gate.peerOf(socket)
    socket.on('disconnect', () => void setTimeout(() => void announceSessions(self), settledAfterMs).unref())
    socket.on('session:renew', async (_nothing: unknown, ack: (done: unknown) => void) => {
      await session!.regenerate()
      ack({ renewed: true })
    })
    socket.on('session:end', async ({ id }: { id: string }, ack: (done: unknown) => void) => {
      ack({ ended: await live.end(id, { reason: 'ended from another browser' }) })
    })
    socket.on('session:end-others', async (_nothing: unknown, ack: (done: unknown) => void) => {
      ack({ ended: await live.endAll({ subject: self, issuer }, { reason: 'ended from another browser', except: session?.id }) })
    })
    socket.on('person:revoke', async ({ id }: { id: string }, ack: (done: unknown) => void) => {
      const reason = `ended by ${name}`
      const ended = await live.endAll({ subject: id, issuer }, { reason })
      // And whatever is no session. It stays out, too: a new sign-in is no way round it.
      const { closed } = await gate.revoke({ subject: id }, { reason })
      ack({ closed: ended + closed.length })
    })
    socket.on('person:reinstate', async ({ id }: { id: string }, ack: (done: unknown) => void) => {
      ack({ reinstated: await gate.reinstate({ subject: id }) })
    })
    await announceSessions(self)
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
