import { isThenable } from '../../lib/compose.ts'
import { Denied } from '../../lib/errors.ts'
import type { ClientOf } from './directory-records.ts'
import type { Engine, Origin } from './engine.ts'
import { takeBack } from './sign-in.ts'
import { baseOf, entryOf, isSessionId, lineageOf, marked, merged } from './record.ts'
import type { Mark, SessionData, SessionEntry } from './record.ts'
import { changeBetween, speakerOf, whoIs } from './speaker.ts'
import type { Speaker } from './speaker.ts'
import type { LiveSessionObject, SessionRequest, StoredSession } from './store.ts'

/** A session whose application has asked for another id: what comes next says whether it is the same session. */
export interface Move {
  readonly from: string
  readonly mark: Mark
  readonly before: Speaker | undefined
  /** Whether it is known what has become of it. */
  settled: boolean
  /** Whether it is another session whoever it speaks for: others may know the id. */
  readonly cut: boolean
}

/** How long an application may take to save a session that it has asked a new id for, where the end of its request cannot be seen. */
const MOVING_MS = 10_000

/** What a session is to hold under a new id. */
export interface Staged {
  readonly staged: SessionData
  /** What it held when that was made of it. */
  readonly from: SessionData
}

/** What becomes of a session when the application, or a handler of a socket, changes it. */
export class Changes {
  readonly #engine: Engine
  /** By the new id. */
  readonly #moves = new Map<string, Move>()

  constructor(engine: Engine) {
    this.#engine = engine
  }

  /** The session of a request has got another id, and is to be saved under it before the request is over. */
  expect({ sessionID: id = '', res: response }: SessionRequest, move: Move): void {
    this.#moves.set(id, move)
    const conclude = (): void => void this.#conclude(id, move).catch((error: unknown) => this.#engine.fault(error))
    const timer = this.#engine.options.clock.after(MOVING_MS, conclude)
    response?.once?.('close', () => {
      timer.cancel()
      conclude()
    })
  }

  async #conclude(id: string, move: Move): Promise<void> {
    this.#moves.delete(id)
    if (move.settled) return
    move.settled = true
    await this.#engine.end(move.mark.lineage, { reason: 'signed out', advice: 'after-credential' }, [move.from], whoIs(move.before))
  }

  /** The application saves the session of a request. What others have changed meanwhile stays changed. */
  async save(id: string, session: StoredSession): Promise<void> {
    if (!isSessionId(id)) throw new Error('sessions: an id of 16 to 256 letters, digits and - . _ ~ : + / = is one that is accepted. See to it that genid gives such.')
    const { cookie, ...mine } = JSON.parse(JSON.stringify(session)) as StoredSession
    const origin = this.#engine.originOf(session)
    if (origin?.next !== undefined) return this.#rename(session, origin, { cookie, ...mine })
    const move = this.#moves.get(id)
    const lineage = origin?.mark.lineage ?? (move === undefined ? lineageOf(id) : move.mark.lineage)
    await this.#engine.locks.hold(lineage, async () => {
      const now = await this.#engine.follow(origin?.target ?? id)
      // It has ended since it was read: what was saved is gone with it, as if it had been saved a moment earlier.
      if (origin !== undefined && now?.mark.lineage !== lineage) return
      const data = origin === undefined || now === undefined ? mine : merged(origin.base, now.data, mine)
      const written = now === undefined ? await this.#begin(id, { cookie, ...data }, move, session) : await this.#replace(now, { cookie, ...data }, session)
      if (written !== undefined) this.#keep(session, written, mine, origin?.inGrace ?? false)
    })
  }

  /** Somebody has signed in, in a session that was there: from now on it is another one. */
  async #rename(session: StoredSession, { next, target, base, mark }: Origin, mine: StoredSession): Promise<void> {
    await this.#engine.locks.hold(mark.lineage, async () => {
      const now = await this.#engine.follow(target)
      const { cookie, ...data } = mine
      let written: SessionEntry | undefined
      try {
        written = await this.#begin(next!.id, { cookie, ...(now?.mark.lineage === mark.lineage ? merged(base, now.data, data) : data) }, next!.move, session)
      } catch (error) {
        // Nobody has signed in: the browser keeps the session it has.
        takeBack(this.#engine, session)
        throw error
      }
      if (written !== undefined) this.#keep(session, written, data, false)
    })
  }

  /** What later changes of it are told by. */
  #keep(session: StoredSession, written: SessionEntry, mine: SessionData, inGrace: boolean): void {
    this.#engine.setOrigin(session, { target: written.id, base: baseOf(mine), mark: written.mark, inGrace, speaker: this.#engine.speakerOf({ data: mine }) })
  }

  /** A handler changes the session of its peer. @returns `moving` where it is about to get another id; `staged` where it signs somebody in, which waits for a new one @throws Denied `REVOKED` where it is no more */
  async update(id: string, lineage: string, change: (data: any) => unknown): Promise<SessionEntry | 'moving' | Staged> {
    return this.#engine.locks.hold(lineage, async () => {
      const now = await this.#engine.current(id, lineage)
      if (now === 'moving') return now
      if (now === undefined) throw new Denied('REVOKED', undefined, 'the session is gone')
      const draft = structuredClone(now.data)
      const given = change(draft)
      if (isThenable(given)) throw new TypeError('session.update takes a synchronous function: find out before what is to be changed.')
      const data: unknown = given ?? draft
      if (typeof data !== 'object' || data === null || Array.isArray(data)) throw new TypeError('session.update: the function changes the data it is given, or returns an object in its place.')
      const { cookie: _cookie, ...plain } = JSON.parse(JSON.stringify(data)) as SessionData
      const meaning = changeBetween(this.#engine.speakerOf(now), this.#engine.speakerOf({ data: plain }))
      if (meaning === 'signed in' || meaning === 'another user') return { staged: plain, from: now.data }
      const written = await this.#replace(now, { ...plain, cookie: now.stored.cookie })
      if (written === undefined) throw new Denied('REVOKED', undefined, 'the session is gone')
      return written
    })
  }

  /** Writes it once more, for a store that keeps no time of its own. */
  async prolong(id: string, lineage: string): Promise<void> {
    await this.#engine.locks.hold(lineage, async () => {
      const now = await this.#engine.current(id, lineage)
      if (typeof now !== 'object') return
      const session = this.#engine.backing.inflate(now.id, now.stored) as LiveSessionObject
      session.touch()
      await this.#engine.write(now.id, marked({ ...now.data, cookie: session.cookie }, now.mark), lineage)
    })
  }

  /** A session that has not been kept before. */
  async #begin(id: string, session: StoredSession, move: Move | undefined, request: StoredSession): Promise<SessionEntry | undefined> {
    const engine = this.#engine
    const after = speakerOf(session, engine.options.userOf)
    const now = engine.options.clock.now()
    const goesOn = move?.settled === false && !move.cut && changeBetween(move.before, after) === 'none'
    const mark: Mark = goesOn ? { lineage: move.mark.lineage, sinceMs: now, bornMs: move.mark.bornMs } : { lineage: lineageOf(id), sinceMs: now, bornMs: now }
    // Pushed out by another one a moment ago, or ended: it is not to push out another one in its turn.
    if (await engine.hasEnded(mark.lineage)) return undefined
    // It does not count beside the one that takes its place.
    if (!goesOn && move?.settled === false && move.before !== undefined && engine.attached) await engine.directory.leave(move.mark.lineage, whoIs(move.before)).catch((error: unknown) => engine.fault(error))
    if (after !== undefined && engine.attached) await this.#enlist(after, mark.lineage, id, request)
    if (!(await this.#written(id, marked(session, mark), mark.lineage, after))) return undefined
    const entry = entryOf(id, marked(session, mark)) as SessionEntry
    if (move === undefined || move.settled) return entry
    move.settled = true
    if (goesOn) {
      await this.#moved(entry, move)
      return entry
    }
    const change = changeBetween(move.before, after)
    const reason = change === 'privileges' ? 'other rights' : change === 'none' ? 'a new session' : change
    // Whoever was there under the old id is not to be who signs in now: it comes back with whatever cookie it has.
    await engine.end(move.mark.lineage, { reason, advice: change === 'signed out' ? 'after-credential' : 'now' }, [move.from], whoIs(move.before))
    return entry
  }

  /** @returns whether it is there; where it is not, its user has one session less again */
  async #written(id: string, session: StoredSession, lineage: string, speaker: Speaker | undefined): Promise<boolean> {
    const engine = this.#engine
    let isThere = false
    try {
      isThere = await engine.write(id, session, lineage)
    } finally {
      if (!isThere && speaker !== undefined && engine.attached) await engine.directory.leave(lineage, whoIs(speaker)).catch((error: unknown) => engine.fault(error))
    }
    return isThere
  }

  async #moved(entry: SessionEntry, move: Move): Promise<void> {
    const engine = this.#engine
    await this.#destroyOthers(entry, move)
    for (const watcher of engine.watchers) watcher.changed(entry)
    if (engine.shared !== undefined) await engine.directory.move(entry.mark.lineage, entry.id)
    engine.announce(entry.mark.lineage, move.from)
  }

  /** Two requests may have asked for a new id at once: the last one is the only one. */
  async #destroyOthers({ id, mark: { lineage } }: SessionEntry, { from }: Move): Promise<void> {
    const engine = this.#engine
    const place = engine.shared === undefined ? undefined : await engine.directory.find(lineage).catch((error: unknown) => engine.fault(error))
    const others = new Set([...[...engine.watchers].flatMap((watcher) => watcher.idsOf(lineage)), ...(place?.sid === undefined ? [] : [place.sid])])
    others.delete(id)
    others.delete(from)
    await Promise.all([...others].map((each) => engine.backing.destroy(each)))
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
    const mark: Mark = change === 'none' ? now.mark : { ...now.mark, replace: (change === 'privileges' || change === 'signed out') && now.mark.replace !== 'cut' ? 'soon' : 'cut' }
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
