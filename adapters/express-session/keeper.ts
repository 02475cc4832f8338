import { randomInt } from 'node:crypto'
import type { Agenda } from '../../lib/agenda.ts'
import type { Changes } from './changes.ts'
import type { Ending, Engine, Opened, Watcher } from './engine.ts'
import { Lineage } from './lineage.ts'
import type { Care } from './lineage.ts'
import { PeerSession } from './live-session.ts'
import type { SessionEntry } from './record.ts'
import { whoIs } from './speaker.ts'

const STEPS = 1_000_000

/** The sessions that have peers here, and whatever becomes of them. */
export class Keeper implements Watcher {
  readonly engine: Engine
  readonly #care: Care
  readonly #changes: Changes
  readonly #lineages = new Map<string, Lineage>()
  readonly #byId = new Map<string, Lineage>()
  /** Of each gate that is open. Times are kept by the first of them. */
  readonly #agendas: Agenda[] = []

  constructor(engine: Engine, changes: Changes, care: Pick<Care, 'rotation' | 'freshMs' | 'recheckMs' | 'touchEveryMs' | 'renewPath'>) {
    this.engine = engine
    this.#changes = changes
    this.#care = {
      ...care,
      engine,
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

  /** The lineage of a session that was just read. */
  lineage({ entry }: Pick<Opened, 'entry'>): Lineage {
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
    this.#lineages.get(entry.mark.lineage)?.become(entry)
  }

  moved(entry: SessionEntry): void {
    this.#lineages.get(entry.mark.lineage)?.become(entry)
  }

  moving(lineage: string): void {
    this.#lineages.get(lineage)?.moving(true)
  }

  ended(lineage: string, ending: Ending): void {
    this.#lineages.get(lineage)?.end(ending)
  }

  look(lineage: string | undefined): void {
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

  #forget(lineage: Lineage, ids: Iterable<string>, whole: boolean): void {
    if (whole && this.#lineages.get(lineage.id) === lineage) this.#lineages.delete(lineage.id)
    for (const id of ids) if (this.#byId.get(id) === lineage) this.#byId.delete(id)
  }
}
