import { isThenable } from '../../lib/compose.ts'
import { Denied } from '../../lib/errors.ts'
import type { ClientOf } from './directory-records.ts'
import type { Engine } from './engine.ts'
import { baseOf, entryOf, lineageOf, marked, merged } from './record.ts'
import type { Mark, SessionData, SessionEntry } from './record.ts'
import { changeBetween, speakerOf, whoIs } from './speaker.ts'
import type { Speaker } from './speaker.ts'
import type { SessionRequest, StoredSession } from './store.ts'

/** A session whose application has asked for another id: what comes next says whether it is the same session. */
export interface Move {
  readonly from: string
  readonly mark: Mark
  readonly before: Speaker | undefined
  /** Whether it is known what has become of it. */
  settled: boolean
}

/** What becomes of a session when the application, or a handler of a socket, changes it. */
export class Changes {
  readonly #engine: Engine
  /** By the new id. */
  readonly #moves = new Map<string, Move>()

  constructor(engine: Engine) {
    this.#engine = engine
  }

  expect(id: string, move: Move): void {
    this.#moves.set(id, move)
  }

  /** The request that has asked for another id is over. */
  async conclude(id: string, move: Move): Promise<void> {
    this.#moves.delete(id)
    if (move.settled) return
    move.settled = true
    await this.#engine.end(move.mark.lineage, { reason: 'signed out', advice: 'after-credential' }, [], whoIs(move.before))
  }

  /** The application saves the session of a request. What others have changed meanwhile stays changed. */
  async save(id: string, session: StoredSession): Promise<void> {
    const { cookie, ...mine } = JSON.parse(JSON.stringify(session)) as StoredSession
    const origin = this.#engine.originOf(session)
    const move = this.#moves.get(id)
    const lineage = origin?.mark.lineage ?? (move === undefined ? lineageOf(id) : move.mark.lineage)
    await this.#engine.locks.hold(lineage, async () => {
      const now = await this.#engine.follow(origin?.target ?? id)
      // It has ended since it was read: what was saved is gone with it, as if it had been saved a moment earlier.
      if (origin !== undefined && now?.mark.lineage !== lineage) return
      const data = origin === undefined || now === undefined ? mine : merged(origin.base, now.data, mine)
      const written = now === undefined ? await this.#begin(id, { cookie, ...data }, move, session) : await this.#replace(now, { cookie, ...data }, session)
      if (written !== undefined) this.#engine.setOrigin(session, { target: written.id, base: baseOf(mine), mark: written.mark, inGrace: origin?.inGrace ?? false })
    })
  }

  /** A handler changes the session of its peer. @throws Denied `REVOKED` where it is no more */
  async update(id: string, lineage: string, change: (data: any) => unknown): Promise<SessionEntry> {
    return this.#engine.locks.hold(lineage, async () => {
      const now = await this.#engine.current(id, lineage)
      if (now === 'moving' || now === undefined) throw new Denied('REVOKED', undefined, 'the session is gone')
      const draft = structuredClone(now.data)
      const given = change(draft)
      if (isThenable(given)) throw new TypeError('session.update takes a synchronous function: find out before what is to be changed.')
      const data: unknown = given ?? draft
      if (typeof data !== 'object' || data === null || Array.isArray(data)) throw new TypeError('session.update: the function changes the data it is given, or returns an object in its place.')
      const { cookie: _cookie, ...plain } = JSON.parse(JSON.stringify(data)) as SessionData
      const written = await this.#replace(now, { ...plain, cookie: now.stored.cookie })
      if (written === undefined) throw new Denied('REVOKED', undefined, 'the session is gone')
      return written
    })
  }

  /** A session that has not been kept before. */
  async #begin(id: string, session: StoredSession, move: Move | undefined, request: StoredSession): Promise<SessionEntry | undefined> {
    const engine = this.#engine
    const after = speakerOf(session, engine.options.userOf)
    const now = engine.options.clock.now()
    const goesOn = move?.settled === false && changeBetween(move.before, after) === 'none'
    const mark: Mark = goesOn ? { lineage: move.mark.lineage, sinceMs: now, bornMs: move.mark.bornMs } : { lineage: lineageOf(id), sinceMs: now, bornMs: now }
    // Pushed out by another one a moment ago, or ended: it is not to push out another one in its turn.
    if (await engine.hasEnded(mark.lineage)) return undefined
    if (after !== undefined && engine.attached) await this.#enlist(after, mark.lineage, id, request)
    if (!(await engine.write(id, marked(session, mark), mark.lineage))) return undefined
    const entry = entryOf(id, marked(session, mark)) as SessionEntry
    if (move === undefined || move.settled) return entry
    move.settled = true
    if (goesOn) {
      await this.#moved(entry, move)
      return entry
    }
    const change = changeBetween(move.before, after)
    const reason = change === 'privileges' ? 'other rights' : change
    // Whoever was there under the old id is not to be who signs in now: it comes back with whatever cookie it has.
    await engine.end(move.mark.lineage, { reason, advice: change === 'signed out' ? 'after-credential' : 'now' }, [], whoIs(move.before))
    return entry
  }

  async #moved(entry: SessionEntry, move: Move): Promise<void> {
    const engine = this.#engine
    for (const watcher of engine.watchers) watcher.moved(entry, move.from, 0)
    if (engine.shared !== undefined) await engine.directory.move(entry.mark.lineage, entry.id)
    engine.announce(entry.mark.lineage)
  }

  /** A session in the place of what was kept of it. @returns undefined where it has ended meanwhile */
  async #replace(now: SessionEntry, session: StoredSession, request?: StoredSession): Promise<SessionEntry | undefined> {
    const engine = this.#engine
    const before = engine.speakerOf(now)
    const after = speakerOf(session, engine.options.userOf)
    const change = changeBetween(before, after)
    const { lineage } = now.mark
    if (change === 'signed in' || change === 'another user') {
      if (engine.attached) await this.#enlist(after!, lineage, now.id, request)
      engine.careless = true
    }
    // An id that somebody may have planted before is not to be one for long.
    const mark: Mark = change === 'none' ? now.mark : { ...now.mark, sinceMs: 0 }
    if (!(await engine.write(now.id, marked(session, mark), lineage))) return undefined
    if (engine.attached && before !== undefined && (change === 'signed out' || change === 'another user')) await engine.directory.leave(lineage, whoIs(before))
    const entry = entryOf(now.id, marked(session, mark)) as SessionEntry
    for (const watcher of engine.watchers) watcher.changed(entry)
    // What is written as it was is no news: `resave` does so with each request.
    if (JSON.stringify(now.data) !== JSON.stringify(entry.data)) engine.announce(lineage)
    return entry
  }

  async #outnumbered(speaker: Speaker, lineage: string, id: string, session: StoredSession | undefined): Promise<readonly string[]> {
    const { directory, isAlive, options } = this.#engine
    try {
      return await directory.enter(whoIs(speaker), lineage, id, clientOf(session), isAlive)
    } catch (error) {
      // Where nobody has said how many there may be, nobody is kept from signing in because it cannot be written down.
      if (options.concurrent !== undefined) throw error
      this.#engine.fault(error)
      return []
    }
  }

  /** @throws Denied `TOO_MANY_CONNECTIONS` where its user has as many sessions as anybody may have */
  async #enlist(speaker: Speaker, lineage: string, id: string, session: StoredSession | undefined): Promise<void> {
    const outnumbered = await this.#outnumbered(speaker, lineage, id, session)
    await Promise.all(
      outnumbered.map(async (each) => {
        const place = await this.#engine.directory.find(each)
        await this.#engine.end(each, { reason: 'a newer session has taken its place', advice: 'after-credential' }, place?.sid === undefined ? [] : [place.sid], place?.who)
      }),
    )
  }
}

/** Who has a session, as far as its request tells. */
export function clientOf(session: StoredSession | undefined): ClientOf {
  const { req: request } = (session ?? {}) as { readonly req?: SessionRequest }
  // Express knows the client behind a proxy that it was told to trust.
  return { address: request?.ip ?? request?.socket?.remoteAddress, userAgent: request?.headers?.['user-agent'] }
}
