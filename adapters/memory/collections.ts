import type { Bound, Enlisted, Member } from '../../lib/store.ts'
import { Sweeper } from './sweeper.ts'

interface Collection {
  /** In the order in which they came: another value leaves a key of a map where it is. */
  readonly members: Map<string, { value: string; readonly sinceMs: number }>
  expiresAt: number
}

/** The collections of a store in memory. They are as many as their members. */
export class Collections {
  readonly #all = new Map<string, Collection>()
  readonly #old = new Sweeper(this.#all, ({ expiresAt }) => expiresAt, ({ members }) => (this.#size -= members.size))
  #size = 0

  get size(): number {
    return this.#size
  }

  /** @param makeRoom called before there is one member more */
  enlist(key: string, { member, value }: Pick<Member, 'member' | 'value'>, times: { readonly now: number; readonly ttlMs: number }, bound: Bound | undefined, makeRoom: () => void): Enlisted {
    const { now, ttlMs } = times
    const collection: Collection = this.#live(key, now) ?? { members: new Map(), expiresAt: 0 }
    const { members } = collection
    const own = members.get(member)
    const left: Member[] = []
    if (own === undefined) {
      if (bound !== undefined && !(members.size < bound.limit)) {
        if (bound.full === 'refuse') return { entered: false, left }
        for (const [name, oldest] of members) {
          if (members.size < bound.limit) break
          this.#remove(members, name)
          left.push({ member: name, ...oldest })
        }
      } else makeRoom()
      members.set(member, { value, sinceMs: now })
      this.#size++
      // Where it is new, or making room has taken the last of it.
      this.#all.set(key, collection)
    } else own.value = value
    collection.expiresAt = now + ttlMs
    return { entered: true, left }
  }

  members(key: string, now: number): readonly Member[] {
    return Array.from(this.#live(key, now)?.members ?? [], ([member, { value, sinceMs }]) => ({ member, value, sinceMs }))
  }

  dismiss(key: string, member: string, now: number): boolean {
    const members = this.#live(key, now)?.members
    if (members === undefined || !this.#remove(members, member)) return false
    if (members.size === 0) this.#all.delete(key)
    return true
  }

  step(now: number): void {
    this.#old.step(now)
  }

  /** One member goes, the oldest of the oldest collection: others of it may be all that is known of who is there. */
  dropOldest(): void {
    for (const [key, { members }] of this.#all) {
      for (const member of members.keys()) {
        this.#remove(members, member)
        if (members.size === 0) this.#all.delete(key)
        return
      }
    }
  }

  clear(): void {
    this.#all.clear()
    this.#size = 0
  }

  #remove(members: Collection['members'], member: string): boolean {
    const isGone = members.delete(member)
    if (isGone) this.#size--
    return isGone
  }

  #live(key: string, now: number): Collection | undefined {
    const collection = this.#all.get(key)
    if (collection === undefined || collection.expiresAt > now) return collection
    this.#all.delete(key)
    this.#size -= collection.members.size
    return undefined
  }
}
