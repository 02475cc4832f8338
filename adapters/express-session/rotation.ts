import { createHash, randomBytes } from 'node:crypto'
import { Denied } from '../../lib/errors.ts'
import { KNOWN_MS } from './engine.ts'
import type { Changes, Staged } from './changes.ts'
import type { Engine, Origin } from './engine.ts'
import { baseOf, digest, entryOf, forwarding, marked, merged } from './record.ts'
import type { Mark, SessionEntry } from './record.ts'
import { signedValue, withCookie } from './signed-cookie.ts'
import type { Secret } from './signed-cookie.ts'
import type { LiveSessionObject, SessionRequest } from './store.ts'

/** What a client is given to ask for a new id with. */
export interface RenewalTicket {
  readonly ticket: string
  readonly expiresInMs: number
}

/** Gives sessions new ids. */
export class Rotation {
  readonly #engine: Engine
  readonly #changes: Changes
  readonly #cookie: { readonly name: string; readonly secret: Secret }

  constructor(engine: Engine, changes: Changes, cookie: { readonly name: string; readonly secret: Secret }) {
    this.#engine = engine
    this.#changes = changes
    this.#cookie = cookie
  }

  /** Whether the id of this session has been in use for long enough. */
  isDue(mark: Mark): boolean {
    return this.#engine.options.clock.now() >= this.dueAt(mark)
  }

  dueAt({ sinceMs, replace }: Mark): number {
    const { rotateEveryMs } = this.#engine.options
    if (replace !== undefined) return 0
    return rotateEveryMs === undefined ? Infinity : sinceMs + rotateEveryMs
  }

  /** A ticket that is good for one new id, together with the cookie there is now. @param staged what the session is to hold then, where that signs somebody in */
  async ticketFor(id: string, lineage: string, staged?: Staged): Promise<RenewalTicket> {
    const { shared, options } = this.#engine
    if (shared === undefined) throw new Denied('UNAVAILABLE', undefined, 'sessions: no store of a gate')
    const ticket = randomBytes(32).toString('base64url')
    try {
      await shared.set(ticketKey(ticket), JSON.stringify({ lineage, id: digest(id), ...staged }), options.graceMs)
    } catch (error) {
      throw new Denied('UNAVAILABLE', undefined, error)
    }
    return { ticket, expiresInMs: options.graceMs }
  }

  /** Takes a ticket, and gives the session of the request a new id for it. @returns whether the ticket was good for that */
  async redeem(ticket: unknown, request: SessionRequest): Promise<boolean> {
    const { shared } = this.#engine
    const origin = this.#engine.originOf(request.session)
    if (typeof ticket !== 'string' || !/^[\w-]{43}$/.test(ticket) || shared === undefined) return false
    // Spent first, whatever else is wrong with its use.
    const taken = await shared.take(ticketKey(ticket))
    if (taken === undefined || origin === undefined || origin.inGrace) return false
    const { lineage, id, staged, from } = JSON.parse(taken) as { readonly lineage?: unknown; readonly id?: unknown } & Partial<Staged>
    if (lineage !== origin.mark.lineage || id !== digest(origin.target)) return false
    return staged === undefined || from === undefined ? this.rotate(request) : this.#cut(request, request.session!, origin, { staged, from })
  }

  /** Gives the session of a request a new id. The response sets the cookie, as for any session whose id has changed. @returns false where another request was faster */
  async rotate(request: SessionRequest): Promise<boolean> {
    const engine = this.#engine
    const { store, clock, graceMs } = engine.options
    const old = request.session
    const origin = engine.originOf(old)
    if (old === undefined || origin === undefined || origin.inGrace || store.generate === undefined) return false
    if (origin.mark.replace === 'cut') return this.#cut(request, old, origin)
    const { lineage } = origin.mark
    const moved = await engine.locks.hold(lineage, async () => {
      const before = await engine.backing.get(origin.target)
      if (before?.kind !== 'session' || before.mark.lineage !== lineage || before.mark.sinceMs !== origin.mark.sinceMs) return undefined
      const now = clock.now()
      store.generate!(request)
      const fresh = request.session!
      try {
        const mark: Mark = { lineage, sinceMs: now, bornMs: before.mark.bornMs, graceUntilMs: now + graceMs }
        await this.#put(before, fresh.id, mark)
        adopt(fresh, old)
        // What others have written since this request has read it is not what this request has changed.
        engine.setOrigin(fresh, { target: fresh.id, base: origin.base, mark, inGrace: false, speaker: origin.speaker })
        return entryOf(fresh.id, marked(before.stored, mark)) as SessionEntry
      } catch (error) {
        request.session = old
        request.sessionID = old.id
        throw error
      }
    })
    if (moved === undefined) return false
    engine.noteReplaced(origin.target)
    this.#renameCookie(request, moved.id)
    for (const watcher of engine.watchers) watcher.changed(moved)
    if (engine.shared !== undefined) await engine.directory.move(lineage, moved.id).catch((error: unknown) => engine.fault(error))
    engine.announce(lineage, origin.target)
    return true
  }

  /** Others may know the id: who has this request goes on in a session of its own, and nobody else. */
  #cut(request: SessionRequest, old: LiveSessionObject, { target, mark, speaker }: Origin, change?: Staged): boolean {
    this.#engine.options.store.generate!(request)
    const { cookie, ...data } = old
    // What pages have changed meanwhile stays changed.
    adopt(request.session!, { ...(change === undefined ? data : merged(baseOf(change.from), data, change.staged)), cookie })
    this.#engine.noteReplaced(target)
    this.#changes.expect(request, { from: target, mark, before: speaker, settled: false, cut: true })
    this.#renameCookie(request, request.sessionID!)
    return true
  }

  /** Whoever reads the cookie of this request later reads what the browser will have. */
  #renameCookie({ headers }: SessionRequest, id: string): void {
    if (headers.cookie !== undefined) headers.cookie = withCookie(headers.cookie, this.#cookie.name, signedValue(id, this.#cookie.secret))
  }

  /** The session under its new id, and where to find that under the old one: both, or neither. */
  async #put(before: SessionEntry, id: string, mark: Mark): Promise<void> {
    const { backing } = this.#engine
    if (!(await this.#engine.write(id, marked(before.stored, mark), mark.lineage))) throw new Denied('REVOKED', undefined, 'the session has ended')
    try {
      const untilMs = mark.graceUntilMs!
      await backing.set(before.id, forwarding(before.stored.cookie, { lineage: mark.lineage, to: id, untilMs }, untilMs + KNOWN_MS))
    } catch (error) {
      await backing.destroy(id)
      throw error
    }
  }
}

/** Makes the session of a new id what the one of the old id was, with the time it has left. */
function adopt(fresh: Record<string, any>, old: Record<string, any>): void {
  for (const [field, value] of Object.entries(old)) {
    if (field === 'cookie') Object.assign(fresh['cookie'] as object, value)
    else fresh[field] = value as unknown
  }
}

function ticketKey(ticket: string): string {
  return `session:renewal:${createHash('sha256').update(ticket).digest('base64url')}`
}
