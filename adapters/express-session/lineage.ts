import type { Agenda } from '../../lib/agenda.ts'
import { Denied } from '../../lib/errors.ts'
import { Call } from '../../lib/presence.ts'
import type { Presence } from '../../lib/presence.ts'
import type { ClientOf } from './directory-records.ts'
import type { Staged } from './changes.ts'
import type { Ending, Engine } from './engine.ts'
import type { RenewalTicket, Rotation } from './rotation.ts'
import type { SessionData, SessionEntry } from './record.ts'
import { changeBetween } from './speaker.ts'
import type { Speaker } from './speaker.ts'
import type { StoredSession } from './store.ts'

/** What all sessions of one gate have in common. */
export interface Care {
  readonly engine: Engine
  readonly rotation: Rotation
  readonly agenda: () => Agenda | undefined
  readonly freshMs: number
  /** `Infinity` where the store tells by itself. */
  readonly recheckMs: number
  readonly touchEveryMs: number
  readonly renewPath: string
  /** Prolongs a session in a store that cannot by itself. */
  readonly prolong: (id: string, lineage: string) => Promise<void>
  /** Spreads what many sessions do over time: at least 0 and less than 1. */
  readonly random: () => number
  /** Told which ids a lineage has, for whoever has only an id. */
  readonly known: (lineage: Lineage, id: string) => void
  readonly forget: (lineage: Lineage, ids: Iterable<string>, whole: boolean) => void
}

/** How soon it is asked again after the store has not said whether a session that should be over is. */
const RETRY_MS = 1_000
/** How soon another page of the same browser is asked to renew, where the one that was asked has not. */
const ASK_AGAIN_MS = 15_000
/** Pages that never do are asked ever less often. */
const MAX_ASK_AGAIN_MS = 600_000
const POLICY = 'sessions'
/** The response that brings the new cookie is on its way: whoever comes back sooner still has the old one. */
const ANSWERED_MS = 500
/** After a stall, within which part of the time between two looks all sessions are looked at. */
const SOON = 0.25
/** A node that has begun to give a session another id, and has not done so by then, will not. */
const LONGEST_MOVE_MS = 15_000
const GONE: Ending = { reason: 'the session is gone', advice: 'after-credential' }

/** One peer that is bound to a session. */
export interface Bound {
  readonly presence: Presence
  readonly client: ClientOf
  lastActiveMs: number
}

/** One session as the peers of this node see it, under whatever id it is. */
export class Lineage {
  readonly id: string
  /** Goes up with each change of who it speaks for. */
  version = 0
  ended: Ending | undefined
  readonly #care: Care
  #entry: SessionEntry
  #data: SessionData | undefined
  #speaker: Speaker | undefined
  #readAtMs: number
  #expiresAtMs: number
  #prolongedToMs = 0
  /** By id, until when it is served. */
  readonly #ids = new Map<string, number>()
  readonly #peers = new Set<Bound>()
  #holds = 0
  #reading: Promise<void> | undefined
  /** Goes up with whatever happens to it here: what was read before is old then. */
  #epoch = 0
  #renewing: Promise<unknown> | undefined
  #moving: { readonly over: Promise<void>; readonly settle: () => void; readonly sinceMs: number; readonly isHere: boolean } | undefined
  #touchedAtMs = -Infinity
  #nextCheckMs = Infinity
  #askAtMs = 0
  #asked = 0
  readonly #moves = new Set<() => void>()
  readonly #alarm: Call

  constructor(care: Care, entry: SessionEntry) {
    this.#care = care
    this.id = entry.mark.lineage
    this.#entry = entry
    this.#speaker = care.engine.speakerOf(entry)
    this.#readAtMs = this.#now()
    this.#expiresAtMs = entry.expiresAtMs
    this.#alarm = new Call((now) => this.#due(now), (error) => care.engine.fault(error))
    this.#known(entry.id, Infinity)
  }

  get data(): SessionData {
    return (this.#data ??= frozen(this.#entry.data))
  }

  get readAtMs(): number {
    return this.#readAtMs
  }

  get speaker(): Speaker | undefined {
    return this.#speaker
  }

  get ids(): readonly string[] {
    return [...this.#ids.keys()]
  }

  /** Where it stands now. */
  get currentId(): string {
    return this.#entry.id
  }

  /** Whether requests of its peers may come with this id. */
  accepts(id: string, now: number): boolean {
    const untilMs = this.#ids.get(id)
    return this.ended === undefined && untilMs !== undefined && now < untilMs
  }

  /** Keeps it for somebody who is about to be bound to it. @returns how to let go */
  hold(): () => void {
    this.#holds++
    let held = true
    return () => {
      if (!held) return
      held = false
      this.#holds--
      this.#rest()
    }
  }

  /** A peer has entered that was decided about with the session as it was at `version`. */
  bind(presence: Presence, version: number, client: ClientOf): Bound | undefined {
    if (this.ended !== undefined) {
      this.#close(presence, this.ended)
      return undefined
    }
    if (version !== this.version) {
      // Who it speaks for has changed between the decision and the entry.
      this.#close(presence, { reason: 'the session has changed', advice: 'now' })
      return undefined
    }
    const bound: Bound = { presence, client, lastActiveMs: 0 }
    this.#peers.add(bound)
    this.#care.engine.seen(this.#entry, this.#speaker, client)
    if (this.#nextCheckMs === Infinity) this.#planCheck(this.#now(), this.#care.random())
    this.arm()
    return bound
  }

  unbind(bound: Bound): void {
    this.#peers.delete(bound)
    this.#rest()
  }

  /**
   * Whether an event may be decided by what is known of the session.
   *
   * @returns undefined where it may; else what to wait for
   * @throws Denied, or rejects with it: `REVOKED` where it has ended, `UNAVAILABLE` where the store does not say
   */
  ready(now: number): Promise<void> | undefined {
    if (this.ended !== undefined) throw endedBy(this.ended)
    if (this.#moving !== undefined) return this.#moving.over.then(() => this.#settledAt(now))
    if (this.#renewing !== undefined) return this.#renewing.then(() => {})
    return now - this.#readAtMs < this.#care.freshMs && now >= this.#readAtMs && now < this.#expiresAtMs ? undefined : this.look().then(() => this.#settledAt(now))
  }

  #settledAt(now: number): Promise<void> | undefined {
    if (this.ended !== undefined) throw endedBy(this.ended)
    return this.#moving === undefined ? this.#renewing?.then(() => {}) : this.ready(now)
  }

  /** Reads it again: once, however many ask. @throws Denied `UNAVAILABLE` where the store does not say */
  look(): Promise<void> {
    return (this.#reading ??= this.#look().finally(() => (this.#reading = undefined)))
  }

  async #look(): Promise<void> {
    const { engine } = this.#care
    let entry: SessionEntry | 'moving' | undefined
    let epoch: number
    do {
      epoch = this.#epoch
      try {
        entry = await engine.current(this.#entry.id, this.id)
      } catch (error) {
        throw error instanceof Denied ? error : new Denied('UNAVAILABLE', undefined, error)
      }
      if (this.ended !== undefined) return
    } while (epoch !== this.#epoch)
    if (typeof entry === 'object') return this.become(entry)
    if (entry === 'moving') this.moving(false)
    // Of one that is moved here, news will come.
    else if (this.#moving?.isHere !== true) this.end(GONE)
    if (this.#moving !== undefined && this.#now() - this.#moving.sinceMs > LONGEST_MOVE_MS) this.end(GONE)
  }

  /** It has just been changed to what stands here. */
  change(entry: SessionEntry): void {
    this.#epoch++
    this.become(entry)
  }

  /** It is as it stands here now. */
  become(entry: SessionEntry): void {
    if (this.ended !== undefined) return
    const { engine } = this.#care
    const before = this.#speaker
    const isMoved = entry.id !== this.#entry.id
    if (isMoved) {
      this.#askAtMs = this.#asked = 0
      // Also where the application has changed it: requests of connections that are open may be on their way.
      this.#ids.set(this.#entry.id, entry.mark.graceUntilMs ?? this.#now() + engine.options.graceMs)
      for (const [id, untilMs] of this.#ids) if (id !== this.#entry.id && untilMs !== Infinity) this.#drop(id)
      this.#known(entry.id, Infinity)
    }
    this.#entry = entry
    this.#data = undefined
    this.#readAtMs = this.#now()
    // A store may prolong an entry without writing into it: what is there is not over.
    this.#expiresAtMs = Math.max(entry.expiresAtMs, this.#prolongedToMs)
    if (this.#expiresAtMs <= this.#readAtMs) this.#expiresAtMs = this.#readAtMs + this.#care.recheckMs
    this.#speaker = engine.speakerOf(entry)
    this.#settleMove()
    if (isMoved) for (const moved of [...this.#moves]) moved()
    this.#apply(changeBetween(before, this.#speaker))
    this.arm()
  }

  #apply(change: ReturnType<typeof changeBetween>): void {
    if (change === 'none') return
    this.version++
    if (change === 'privileges') {
      const renewing = Promise.all([...this.#peers].map(({ presence }) => presence.renew())).finally(() => {
        if (this.#renewing === renewing) this.#renewing = undefined
      })
      this.#renewing = renewing
      renewing.catch((error: unknown) => this.#care.engine.fault(error))
      return
    }
    for (const { presence } of [...this.#peers]) this.#close(presence, { reason: change, advice: change === 'signed out' ? 'after-credential' : 'now' })
  }

  /** The application is about to say under which id it goes on. Events wait for that. */
  moving(isHere: boolean): void {
    if (this.ended !== undefined || this.#moving !== undefined) return
    let settle!: () => void
    const over = new Promise<void>((resolve) => (settle = resolve))
    this.#epoch++
    const now = this.#now()
    this.#moving = { over, settle, sinceMs: now, isHere }
    this.#nextCheckMs = now + RETRY_MS
    this.arm()
  }

  /** Waits until it is known under which id it goes on. */
  async still(): Promise<void> {
    await this.#moving?.over
  }

  #settleMove(): void {
    const moving = this.#moving
    this.#moving = undefined
    moving?.settle()
  }

  end(ending: Ending): void {
    if (this.ended !== undefined) return
    this.ended = ending
    for (const { presence } of [...this.#peers]) this.#close(presence, ending)
    this.#settleMove()
    for (const moved of [...this.#moves]) moved()
    this.#rest()
  }

  touched(expiresAtMs: number): void {
    this.#touchedAtMs = this.#now()
    this.#prolongedToMs = Math.max(this.#prolongedToMs, expiresAtMs)
    this.#expiresAtMs = Math.max(this.#expiresAtMs, expiresAtMs)
    this.arm()
  }

  /** A peer has sent something that was admitted. */
  active(bound: Bound, now: number): void {
    bound.lastActiveMs = now
    if (now - this.#touchedAtMs < this.#care.touchEveryMs && now >= this.#touchedAtMs) return
    this.#touchedAtMs = now
    this.#touch(bound.client).catch((error: unknown) => this.#care.engine.fault(error))
  }

  async #touch(client: ClientOf): Promise<void> {
    const { engine } = this.#care
    const { backing } = engine
    engine.seen(this.#entry, this.#speaker, client)
    const session = backing.inflate(this.#entry.id, this.#entry.stored) as StoredSession & { touch?(): void }
    session.touch?.()
    if (!(await backing.touch(this.#entry.id, session))) await this.#care.prolong(this.#entry.id, this.id)
    const expires = session.cookie.expires
    if (expires instanceof Date) this.touched(expires.getTime())
  }

  /** A ticket for a new id, to be brought over HTTP by a page that has the cookie. */
  ticket(staged?: Staged): Promise<RenewalTicket> {
    return this.#care.rotation.ticketFor(this.#entry.id, this.id, staged)
  }

  /** Calls `fn` when it goes on under another id. @returns how to stop waiting */
  onMoved(fn: () => void): () => void {
    this.#moves.add(fn)
    return () => void this.#moves.delete(fn)
  }

  /** Some time has come: to look whether the entry is there, to see it end, or to renew its id. */
  #due(now: number): void {
    if (this.ended !== undefined || this.#peers.size === 0) return
    if (now >= this.#nextCheckMs || now >= this.#expiresAtMs) this.#check(now)
    const dueAt = this.#care.rotation.dueAt(this.#entry.mark)
    if (now >= Math.max(dueAt, this.#askAtMs)) this.#askToRenew(now)
    this.arm()
  }

  #check(now: number): void {
    const overdueMs = now - this.#expiresAtMs
    // The process was held up, and all sessions with it: not all are to ask at once, now and ever after.
    if (overdueMs < 0 && now - this.#nextCheckMs > this.#care.recheckMs) return this.#planCheck(now, this.#care.random() * SOON)
    this.#planCheck(now, 1)
    // Where the store does not say, it is asked again; what should be over is not left open for long on its word.
    if (overdueMs >= 0 || this.#moving !== undefined) this.#nextCheckMs = now + RETRY_MS
    this.look().catch((error: unknown) => {
      this.#care.engine.fault(error)
      if (overdueMs > this.#patienceMs()) this.end({ reason: 'the session could not be confirmed', advice: 'now' })
    })
  }

  #patienceMs(): number {
    return Math.min(this.#care.recheckMs, 30_000)
  }

  #planCheck(now: number, part: number): void {
    this.#nextCheckMs = this.#care.recheckMs === Infinity ? Infinity : now + Math.ceil(this.#care.recheckMs * part)
  }

  #askToRenew(now: number): void {
    this.#askAtMs = now + Math.min(ASK_AGAIN_MS * 2 ** this.#asked++, MAX_ASK_AGAIN_MS)
    const bound = [...this.#peers].sort((a, b) => b.lastActiveMs - a.lastActiveMs)[0]
    if (bound === undefined) return
    // Whoever does not answer is asked after the others.
    bound.lastActiveMs = 0
    this.offer(bound.presence).catch((error: unknown) => this.#care.engine.fault(error))
  }

  /** Lets one page renew the id. @param staged what the session is to hold under the new one */
  async offer(presence: Presence, staged?: Staged): Promise<boolean> {
    const { ticket, expiresInMs } = await this.ticket(staged)
    return presence.tell('gate:renew', { ticket, path: this.#care.renewPath, expiresInMs })
  }

  #close(presence: Presence, { reason, advice }: Ending): void {
    presence.close(new Denied('REVOKED', { reason, ...(advice === 'now' ? { retryAfterMs: ANSWERED_MS } : {}) }), advice, POLICY)
  }

  /** Puts its next time on the agenda there is. */
  arm(): void {
    const agenda = this.#care.agenda()
    if (agenda === undefined || this.ended !== undefined || this.#peers.size === 0) return
    const dueAt = this.#care.rotation.dueAt(this.#entry.mark)
    const at = Math.min(this.#nextCheckMs, this.#expiresAtMs > this.#now() ? this.#expiresAtMs : Infinity, Math.max(dueAt, this.#askAtMs))
    if (at === Infinity) agenda.remove(this.#alarm)
    else agenda.set(this.#alarm, at)
  }

  /** Nobody is bound to it any more. */
  #rest(): void {
    if (this.#peers.size > 0 || this.#holds > 0) return
    this.#care.agenda()?.remove(this.#alarm)
    this.#nextCheckMs = Infinity
    this.#care.forget(this, this.#ids.keys(), true)
  }

  #known(id: string, untilMs: number): void {
    this.#ids.set(id, untilMs)
    this.#care.known(this, id)
  }

  #drop(id: string): void {
    this.#ids.delete(id)
    this.#care.forget(this, [id], false)
  }

  /** Takes its time off the agenda. */
  rest(): void {
    this.#care.agenda()?.remove(this.#alarm)
  }

  #now(): number {
    return this.#care.engine.options.clock.now()
  }
}

export function endedBy({ reason }: Ending): Denied {
  return new Denied('REVOKED', { reason })
}

function frozen(data: SessionData): SessionData {
  return deepFreeze(JSON.parse(JSON.stringify(data))) as SessionData
}

function deepFreeze(value: unknown): unknown {
  if (typeof value === 'object' && value !== null) {
    for (const each of Object.values(value)) deepFreeze(each)
    Object.freeze(value)
  }
  return value
}
