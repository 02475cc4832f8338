import { isThenable } from '../../lib/compose.ts'
import type { GateControls } from '../../lib/attach.ts'
import type { Clock } from '../../lib/clock.ts'
import { ConfigError, Denied } from '../../lib/errors.ts'
import { newId } from '../../lib/ids.ts'
import { keyOf } from '../../lib/revocation.ts'
import type { Sought } from '../../lib/revocation.ts'
import type { Store } from '../../lib/store.ts'
import type { ReconnectAdvice } from '../../lib/wire.ts'
import { Backing } from './backing.ts'
import { boundedStore } from './bounded-store.ts'
import type { Move } from './changes.ts'
import { Directory } from './directory.ts'
import type { Who } from './directory.ts'
import type { ClientOf } from './directory-records.ts'
import { Locks } from './lock.ts'
import { baseOf, digest } from './record.ts'
import type { Forward, Mark, SessionEntry } from './record.ts'
import { sealer } from './seal.ts'
import { speakerOf, whoIs } from './speaker.ts'
import type { Speaker, UserOf } from './speaker.ts'
import type { SessionStore, StoredSession } from './store.ts'

/** Why the peers of a session are closed. */
export interface Ending {
  readonly reason: string
  readonly advice: ReconnectAdvice
}

/** Whoever has peers of sessions: told of every change, before the change is answered for. */
export interface Watcher {
  /** Which lineage has this session id, as far as it is known without asking. */
  lineageAt(id: string): string | undefined
  /** The ids a lineage has, as far as they are known. */
  idsOf(lineage: string): readonly string[]
  /** It is as it stands here now, perhaps under another id. */
  changed(entry: SessionEntry): void
  /** It is about to go on under another id, or to end. */
  moving(lineage: string): void
  ended(lineage: string, ending: Ending): void
  /** Perhaps it has changed elsewhere; every one of them, where none is named. */
  look(lineage: string | undefined): void
  touched(lineage: string, expiresAtMs: number): void
}

/** What is known of a session object that a request has: what it was read from. */
export interface Origin {
  /** The id its changes are written under. */
  readonly target: string
  readonly base: ReadonlyMap<string, string>
  readonly mark: Mark
  /** Whether it was read by the preceding id. */
  readonly inGrace: boolean
  /** Whom it spoke for. */
  readonly speaker: Speaker | undefined
  /** Set where it has signed somebody in: it goes on under an id that nobody has had. */
  readonly next?: { readonly id: string; readonly move: Move }
  /** Whether that could not be kept. */
  readonly refused?: boolean
}

export interface Opened {
  readonly entry: SessionEntry
  readonly origin: Origin
}

export interface EngineOptions {
  readonly store: SessionStore
  readonly userOf: UserOf
  readonly secrets: readonly string[]
  readonly clock: Clock
  readonly timeoutMs: number
  readonly rotateEveryMs: number | undefined
  readonly graceMs: number
  /** How often, at most, it is noted that a session is in use. */
  readonly touchEveryMs: number
  readonly concurrent: { readonly limit: number; readonly full: 'refuse' | 'end-oldest' } | undefined
}

const CHANNEL = 'portcullis:sessions'
/** How long an ended session is remembered: longer than any request that had read it before runs. */
const ENDED_MS = 3_600_000
/** How long after its grace a replaced id is still known for one. */
export const KNOWN_MS = 3_600_000
const MAX_HOPS = 8
const MAX_MARKED = 10_000

type Message = { readonly from: string; readonly kind: 'look'; readonly lineage?: string; readonly replaced?: string } | { readonly from: string; readonly kind: 'ended'; readonly lineage: string; readonly reason: string; readonly advice: ReconnectAdvice }

/** The end of a session, as it is remembered. */
interface Ended {
  readonly atMs: number
  done: Promise<void> | undefined
  /** Whether its entries may be there still. */
  failed: boolean
}

/** One session store under watch: what sessions are, who they speak for, and what becomes of them. */
export class Engine {
  readonly options: EngineOptions
  readonly backing: Backing
  readonly locks: Locks
  readonly directory: Directory
  readonly watchers = new Set<Watcher>()
  /** Whether a user was seen to sign in under the id that a visitor had. */
  careless = false
  readonly #own = newId()
  /** Of each gate it is declared on. All of them share a store. */
  readonly #gates: GateControls[] = []
  #unsubscribe: (() => unknown) | undefined
  readonly #origins = new WeakMap<object, Origin>()
  /** Lineages that have ended here, oldest first. */
  readonly #ended = new Map<string, Ended>()
  /** Preceding ids of sessions whose new one was used, until it is known who has asked. */
  readonly #suspects = new Map<string, { readonly lineage: string; readonly ids: readonly string[] }>()
  /** Ids that others have taken the place of: digests of them, oldest first. */
  readonly #replaced = new Set<string>()
  /** Ids that are known to have been used, and since when. */
  readonly #used = new Map<string, number>()
  readonly #bounded = new WeakMap<Store, Store>()
  /** When a lineage was noted to be in use. */
  readonly #seen = new Map<string, number>()

  constructor(options: EngineOptions) {
    const { store, clock, timeoutMs, secrets, concurrent } = options
    this.options = options
    this.backing = new Backing(store, clock, timeoutMs)
    this.locks = new Locks(
      () => this.shared,
      (error) => this.fault(error),
    )
    this.directory = new Directory(() => this.#store(), sealer(secrets), clock, concurrent)
  }

  /** Two that watch one store do the same with it. @throws ConfigError for another option */
  checkSame(options: EngineOptions): void {
    for (const name of Object.keys(options) as (keyof EngineOptions)[]) {
      const isSame = typeof options[name] === 'object' && name !== 'clock' && name !== 'store' ? JSON.stringify(options[name]) === JSON.stringify(this.options[name]) : options[name] === this.options[name]
      if (isSame) continue
      throw new ConfigError(`sessions: this store is watched already, with another ${name === 'userOf' ? 'user' : name === 'secrets' ? 'secret' : name}. Make sessions(...) once, and declare live.policy() on each gate.`)
    }
  }

  get attached(): boolean {
    return this.#gates.length > 0
  }

  /** The store of the gates; undefined while there is none. */
  get shared(): Store | undefined {
    const store = this.#gates[0]?.store
    if (store === undefined) return undefined
    let bounded = this.#bounded.get(store)
    if (bounded === undefined) this.#bounded.set(store, (bounded = boundedStore(store, this.options.clock, this.options.timeoutMs)))
    return bounded
  }

  /** @returns how to part again @throws ConfigError where gates over one session store have different stores of their own */
  attach(controls: GateControls): () => void {
    const [first] = this.#gates
    if (first !== undefined && first.store !== controls.store) throw new ConfigError('sessions: the gates over one session store share a store: guard(io, { store }), with the same store for each.')
    this.#gates.push(controls)
    if (first === undefined) this.#subscribe(controls.store)
    return () => {
      this.#gates.splice(this.#gates.indexOf(controls), 1)
      if (this.attached) return
      this.#unsubscribe?.()
      this.#unsubscribe = undefined
    }
  }

  #subscribe(store: Store): void {
    const subscribed = (unsubscribe: () => unknown): void => {
      if (this.attached) this.#unsubscribe = unsubscribe
      else unsubscribe()
    }
    try {
      const given = store.subscribe(CHANNEL, (message) => this.#hear(message))
      if (isThenable(given)) Promise.resolve(given).then(subscribed, (error: unknown) => this.fault(error))
      else subscribed(given)
    } catch (error) {
      this.fault(error)
    }
  }

  fault(error: unknown): void {
    const [gate] = this.#gates
    if (gate === undefined) process.emitWarning(`sessions: ${String(error)}`)
    else gate.fault(error)
  }

  speakerOf({ data }: Pick<SessionEntry, 'data'>): Speaker | undefined {
    return speakerOf(data, this.options.userOf)
  }

  originOf(session: unknown): Origin | undefined {
    return typeof session === 'object' && session !== null ? this.#origins.get(session) : undefined
  }

  setOrigin(session: object, origin: Origin): void {
    this.#origins.set(session, origin)
  }

  /** A session is in use: noted now and then, for lists. Nobody waits for it. */
  seen({ id, mark: { lineage } }: Pick<SessionEntry, 'id' | 'mark'>, speaker: Speaker | undefined, client: ClientOf): void {
    if (!this.attached) return
    const now = this.options.clock.now()
    const last = this.#seen.get(lineage)
    if (last !== undefined && now - last < this.options.touchEveryMs && now >= last) return
    // The oldest are noted once more than they need be.
    this.#seen.delete(lineage)
    this.#seen.set(lineage, now)
    for (const oldest of this.#seen.keys()) {
      if (this.#seen.size <= MAX_MARKED) break
      this.#seen.delete(oldest)
    }
    this.directory.seen(whoIs(speaker), lineage, id, client).catch((error: unknown) => this.fault(error))
  }

  /** An id has been replaced. Responses to requests that came with it are not to bring it back to the browser. */
  noteReplaced(id: string): void {
    this.#noteReplaced(digest(id))
  }

  #noteReplaced(digested: string): void {
    this.#replaced.add(digested)
    for (const oldest of this.#replaced) {
      if (this.#replaced.size <= MAX_MARKED) break
      this.#replaced.delete(oldest)
    }
  }

  /** Whether a session was read by an id that is not its id any more. */
  isReplaced({ target, inGrace }: Origin): boolean {
    return inGrace || (this.#replaced.size > 0 && this.#replaced.has(digest(target)))
  }

  /** Whether an id stands for a session that is there. */
  readonly isAlive = async (id: string): Promise<boolean> => (await this.follow(id)) !== undefined

  /** Somebody brings a session id in a cookie. @param atMs when @returns undefined where it stands for nothing, or not any more */
  async open(id: string, atMs?: number): Promise<Opened | undefined> {
    const opened = await this.read(id, atMs)
    if (opened === undefined) await this.judge(id)
    else if (!opened.origin.inGrace) this.noteUse(opened.entry)
    return opened
  }

  /** Whoever was given nothing for this id has brought it in a cookie: where it was used twice, the session ends. */
  async judge(id: string): Promise<void> {
    const suspect = this.#suspects.get(id)
    this.#suspects.delete(id)
    // Its owner has the new one. Whoever comes with the old one has a copy, and nobody can say who of the two is the owner.
    if (suspect !== undefined) await this.end(suspect.lineage, { reason: 'the session id was used twice', advice: 'after-credential' }, suspect.ids)
  }

  /** Reads what an id stands for. Nothing is concluded from that: also the application reads. */
  async read(id: string, atMs = this.options.clock.now()): Promise<Opened | undefined> {
    const entry = await this.backing.get(id)
    if (entry === undefined) return undefined
    if (entry.kind === 'forward') return this.#readPreceding(id, entry.forward, atMs)
    if (this.#endOf(entry.mark.lineage) !== undefined) {
      // The store was not there when it ended.
      this.backing.destroy(id).catch((error: unknown) => this.fault(error))
      return undefined
    }
    return this.#opened(entry, false)
  }

  async #readPreceding(id: string, forward: Forward, atMs: number): Promise<Opened | undefined> {
    const { lineage, to, untilMs } = forward
    if (this.#endOf(lineage) !== undefined) return undefined
    const entry = await this.backing.get(to)
    const usedAtMs = entry?.kind === 'forward' ? 0 : entry === undefined ? Infinity : await this.#usedAt(to)
    if (usedAtMs <= atMs) {
      if (this.#suspects.size >= MAX_MARKED) this.#suspects.clear()
      this.#suspects.set(id, { lineage, ids: [id, to, ...(entry?.kind === 'forward' ? [entry.forward.to] : [])] })
      return undefined
    }
    if (entry?.kind !== 'session' || this.options.clock.now() >= untilMs || entry.mark.lineage !== lineage) return undefined
    return this.#opened(entry, true)
  }

  #opened(entry: SessionEntry, inGrace: boolean): Opened {
    return { entry, origin: { target: entry.id, base: baseOf(entry.data), mark: entry.mark, inGrace, speaker: this.speakerOf(entry) } }
  }

  /** An id that others may still have the preceding one of has come in a cookie. */
  noteUse({ id, mark }: Pick<SessionEntry, 'id' | 'mark'>): void {
    if (mark.graceUntilMs === undefined || this.#used.has(id) || this.options.clock.now() >= mark.graceUntilMs + KNOWN_MS) return
    const now = this.options.clock.now()
    if (this.#used.size >= MAX_MARKED) this.#used.clear()
    this.#used.set(id, now)
    void this.#told([() => this.shared?.getOrSet(usedKey(id), String(now), this.options.graceMs + KNOWN_MS)])
  }

  /** @returns since when; `Infinity` for never */
  async #usedAt(id: string): Promise<number> {
    const here = this.#used.get(id) ?? Infinity
    const there = await this.shared?.get(usedKey(id))
    return there === undefined ? here : Math.min(here, Number(there))
  }

  /** The session as it stands now, under whatever id. @returns `moving` where it is about to get another one */
  async current(id: string, lineage: string): Promise<SessionEntry | 'moving' | undefined> {
    const entry = await this.follow(id)
    if (entry !== undefined) return entry.mark.lineage === lineage ? entry : undefined
    if (this.shared === undefined) return undefined
    const place = await this.directory.find(lineage)
    if (place?.moving === true) return 'moving'
    if (place?.sid === undefined || place.sid === id) return undefined
    const moved = await this.follow(place.sid)
    return moved?.mark.lineage === lineage ? moved : undefined
  }

  /** Goes on from id to id to where the session is now. */
  async follow(id: string): Promise<SessionEntry | undefined> {
    let entry = await this.backing.get(id)
    for (let hops = 0; entry?.kind === 'forward' && hops < MAX_HOPS; hops++) entry = await this.backing.get(entry.forward.to)
    return entry?.kind === 'session' ? entry : undefined
  }

  /** Writes a session, unless it has ended meanwhile. @returns whether it is there now */
  async write(id: string, session: StoredSession, lineage: string): Promise<boolean> {
    await this.backing.set(id, session)
    // Whoever ends a session notes it before taking the entry away: one of the two sees the other.
    if (!(await this.hasEnded(lineage))) return true
    await this.backing.destroy(id)
    return false
  }

  async hasEnded(lineage: string): Promise<boolean> {
    if (this.#endOf(lineage) !== undefined) return true
    try {
      return (await this.shared?.get(keyOf(soughtSession(lineage), undefined)!)) !== undefined
    } catch (error) {
      this.fault(error)
      return false
    }
  }

  /** Ends a session everywhere. @param ids under which it stands @throws what the session store says where it has kept the entry */
  end(lineage: string, ending: Ending, ids: readonly string[] = [], who?: Who): Promise<void> {
    const known = this.#endOf(lineage)
    // Whoever has ended it first was told what went wrong. Where that has failed it may be tried again.
    if (known !== undefined && !known.failed) return Promise.all([known.done?.catch(() => {}), ...ids.map((id) => this.backing.destroy(id))]).then(() => {})
    const all = new Set([...ids, ...[...this.watchers].flatMap((watcher) => watcher.idsOf(lineage))])
    // First of all: what is told now comes back here as a revocation.
    const ended = this.#note(lineage)
    for (const watcher of this.watchers) watcher.ended(lineage, ending)
    return (ended.done = failing(ended, this.#end(lineage, ending, all, who)))
  }

  /** From this moment it has ended, whether or not its entries can be taken away. */
  #note(lineage: string): Ended {
    const atMs = this.options.clock.now()
    for (const [old, { atMs: since }] of this.#ended) {
      if (atMs < since + ENDED_MS) break
      this.#ended.delete(old)
    }
    const ended: Ended = { atMs, done: undefined, failed: false }
    this.#ended.delete(lineage)
    this.#ended.set(lineage, ended)
    return ended
  }

  #endOf(lineage: string): Ended | undefined {
    const known = this.#ended.get(lineage)
    return known !== undefined && this.options.clock.now() < known.atMs + ENDED_MS ? known : undefined
  }

  async #end(lineage: string, ending: Ending, ids: ReadonlySet<string>, who: Who | undefined): Promise<void> {
    // Noted first: a request that is about to save it looks after it has.
    await this.#told([
      // Before the revocation, which closes whoever is left without any other advice.
      () => this.publish({ kind: 'ended', lineage, ...ending }),
      () => this.#gates[0]?.revoke({ session: lineage }, { reason: ending.reason, forMs: ENDED_MS }),
    ])
    const left = this.#told([() => (this.shared === undefined ? undefined : this.directory.leave(lineage, who))])
    const destroyed = await Promise.allSettled([...ids].map((id) => this.backing.destroy(id)))
    await left
    for (const each of destroyed) if (each.status === 'rejected') throw each.reason
  }

  /** What cannot be told must not keep a session from ending here. */
  async #told(tasks: readonly (() => unknown)[]): Promise<void> {
    await Promise.all(
      tasks.map(async (task) => {
        try {
          await task()
        } catch (error) {
          this.fault(error)
        }
      }),
    )
  }

  /** An operator has revoked somebody: where that is a session, nothing of it is left. */
  async revoked({ kind, id: lineage }: Sought): Promise<void> {
    if (kind !== 'session' || this.#endOf(lineage) !== undefined) return
    const ids = new Set([...this.watchers].flatMap((watcher) => watcher.idsOf(lineage)))
    const place = await this.directory.find(lineage)
    if (place?.sid !== undefined) ids.add(place.sid)
    if (ids.size === 0 && place === undefined) return
    const ended = this.#note(lineage)
    for (const watcher of this.watchers) watcher.ended(lineage, { reason: 'revoked', advice: 'after-credential' })
    const taken = Promise.all([...ids].map((id) => this.backing.destroy(id))).then(() => this.directory.leave(lineage, place?.who))
    await (ended.done = failing(ended, taken))
  }

  /** Tells other nodes. What they do not hear they find when they look. */
  async publish(message: { readonly kind: 'look'; readonly lineage?: string; readonly replaced?: string } | { readonly kind: 'ended'; readonly lineage: string; readonly reason: string; readonly advice: ReconnectAdvice }): Promise<void> {
    await this.shared?.publish(CHANNEL, JSON.stringify({ from: this.#own, ...message }))
  }

  /** The same, where nobody waits for it. @param replaced the id that it had */
  announce(lineage: string | undefined, replaced?: string): void {
    this.publish({ kind: 'look', ...(lineage === undefined ? {} : { lineage }), ...(replaced === undefined ? {} : { replaced: digest(replaced) }) }).catch((error: unknown) => this.fault(error))
  }

  #hear(text: string): void {
    try {
      const message = JSON.parse(text) as Message
      if (message.from === this.#own) return
      if (message.kind === 'ended') {
        const advice = message.advice === 'now' || message.advice === 'never' ? message.advice : 'after-credential'
        for (const watcher of this.watchers) watcher.ended(String(message.lineage), { reason: String(message.reason), advice })
      } else {
        if (typeof message.replaced === 'string') this.#noteReplaced(message.replaced)
        for (const watcher of this.watchers) watcher.look(message.lineage === undefined ? undefined : String(message.lineage))
      }
    } catch (error) {
      this.fault(error)
    }
  }

  #store(): Store {
    const store = this.shared
    if (store === undefined) throw new Denied('UNAVAILABLE', undefined, 'sessions: declare live.policy() on a gate, or give gateStore')
    return store
  }
}

/** Notes that the store could not take an entry away. */
function failing(ended: Ended, done: Promise<void>): Promise<void> {
  return done.catch((error: unknown) => {
    ended.failed = true
    throw error
  })
}

export function soughtSession(lineage: string): Sought {
  return { kind: 'session', id: lineage, issuer: undefined }
}

function usedKey(id: string): string {
  return `session:used:${digest(id)}`
}
