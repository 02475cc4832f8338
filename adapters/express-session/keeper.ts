import { randomInt } from 'node:crypto'
import type { Agenda } from '../../lib/agenda.ts'
import { Denied } from '../../lib/errors.ts'
import type { Changes } from './changes.ts'
import type { Ending, Engine, Watcher } from './engine.ts'
import { Lineage } from './lineage.ts'
import type { Care } from './lineage.ts'
import { PeerSession } from './live-session.ts'
import type { SessionEntry } from './record.ts'
import { whoIs } from './speaker.ts'

const STEPS = 1_000_000
const TRIES = 5
const RETRY_MS = 1_000

/** The sessions that have peers here, and whatever becomes of them. */
export class Keeper implements Watcher {
  readonly engine: Engine
  readonly #care: Care
  readonly #changes: Changes
  readonly #lineages = new Map<string, Lineage>()
  readonly #byId = new Map<string, Lineage>()
  /** What has changed since, for each read that is under way: what it brings may be old. */
  readonly #reads = new Set<Set<string>>()
  /** Of each gate that is open. Times are kept by the first of them. */
  readonly #agendas: Agenda[] = []

  constructor(engine: Engine, changes: Changes, care: Pick<Care, 'rotation' | 'freshMs' | 'recheckMs' | 'touchEveryMs' | 'renewPath'>) {
    this.engine = engine
    this.#changes = changes
    this.#care = {
      ...care,
      engine,
      prolong: (id, lineage) => changes.prolong(id, lineage),
      agenda: () => this.#agendas[0],
      random: () => randomInt(STEPS) / STEPS,
      known: (lineage, id) => void this.#byId.set(id, lineage),
      forget: (lineage, ids, whole) => this.#forget(lineage, ids, whole),
    }
  }

  /** @returns how to part again: true when nobody is left */
  attach(agenda: Agenda): () => boolean {
    this.#agendas.push(agenda)
    return () => {
      for (const lineage of this.#lineages.values()) lineage.rest()
      this.#agendas.splice(this.#agendas.indexOf(agenda), 1)
      for (const lineage of this.#lineages.values()) lineage.arm()
      return this.#agendas.length === 0
    }
  }

  /** Reads a session. What is changed meanwhile is read once more. @throws Denied `UNAVAILABLE` where that does not end */
  async read(read: () => Promise<SessionEntry | undefined>): Promise<Lineage | undefined> {
    for (let tries = 1; ; tries++) {
      const changed = new Set<string>()
      this.#reads.add(changed)
      try {
        const entry = await read()
        if (entry === undefined || !changed.has(entry.mark.lineage)) return entry === undefined ? undefined : this.#lineage(entry)
        if (tries === TRIES) throw new Denied('UNAVAILABLE', { retryAfterMs: RETRY_MS }, 'sessions: the session is changed all the time')
      } finally {
        this.#reads.delete(changed)
      }
    }
  }

  /** In the tick in which the store has answered: nothing has happened since. */
  #lineage(entry: SessionEntry): Lineage {
    const known = this.#lineages.get(entry.mark.lineage)
    if (known !== undefined) {
      known.become(entry)
      return known
    }
    const lineage = new Lineage(this.#care, entry)
    this.#lineages.set(lineage.id, lineage)
    return lineage
  }

  of(lineage: string): Lineage | undefined {
    return this.#lineages.get(lineage)
  }

  at(id: string): Lineage | undefined {
    return this.#byId.get(id)
  }

  session(lineage: Lineage): PeerSession {
    const end = (reason: string): Promise<void> => this.engine.end(lineage.id, { reason, advice: 'after-credential' }, lineage.ids, whoIs(lineage.speaker))
    return new PeerSession(lineage, this.#changes, end, (ms, fn) => this.engine.options.clock.after(ms, fn))
  }

  lineageAt(id: string): string | undefined {
    return this.#byId.get(id)?.id
  }

  idsOf(lineage: string): readonly string[] {
    return this.#lineages.get(lineage)?.ids ?? []
  }

  changed(entry: SessionEntry): void {
    this.#note(entry.mark.lineage)
    this.#lineages.get(entry.mark.lineage)?.change(entry)
  }

  moving(lineage: string): void {
    this.#note(lineage)
    this.#lineages.get(lineage)?.moving(true)
  }

  ended(lineage: string, ending: Ending): void {
    this.#note(lineage)
    this.#lineages.get(lineage)?.end(ending)
  }

  look(lineage: string | undefined): void {
    if (lineage !== undefined) this.#note(lineage)
    const those = lineage === undefined ? [...this.#lineages.values()] : [this.#lineages.get(lineage)]
    for (const each of those) each?.look().catch((error: unknown) => this.engine.fault(error))
  }

  touched(lineage: string, expiresAtMs: number): void {
    this.#lineages.get(lineage)?.touched(expiresAtMs)
  }

  /** An entry has gone from the store, which has told so. */
  gone(id: string): void {
    // It is looked at all the same: what was told may be old.
    const lineage = this.#byId.get(id)
    if (lineage !== undefined) this.look(lineage.id)
  }

  #note(lineage: string): void {
    for (const changed of this.#reads) changed.add(lineage)
  }

  #forget(lineage: Lineage, ids: Iterable<string>, whole: boolean): void {
    if (whole && this.#lineages.get(lineage.id) === lineage) this.#lineages.delete(lineage.id)
    for (const id of ids) if (this.#byId.get(id) === lineage) this.#byId.delete(id)
  }
}
