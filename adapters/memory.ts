import { systemClock } from '../lib/clock.ts'
import type { Clock } from '../lib/clock.ts'
import { ConfigError } from '../lib/errors.ts'
import type { Bound, Enlisted, Member, Rate, Store } from '../lib/store.ts'
import { Collections } from './memory/collections.ts'
import { Sweeper } from './memory/sweeper.ts'

export interface MemoryStoreOptions {
  /** Accept it on a server with a cluster adapter, where each node would count and remember for itself. Default false. */
  readonly dangerouslyPerNode?: boolean
  /** Keys and members of collections kept at most; beyond it the oldest go first. Default 1,000,000. */
  readonly maxKeys?: number
  readonly clock?: Clock
}

interface Entry {
  value: string | number
  expiresAt: number
}

/**
 * A store in this process. Every operation is synchronous.
 *
 * @throws ConfigError when `maxKeys` is not a positive integer
 */
export function memoryStore(options: MemoryStoreOptions = {}): Store {
  const { dangerouslyPerNode = false, maxKeys = 1_000_000, clock = systemClock } = options
  if (!Number.isInteger(maxKeys) || maxKeys < 1) throw new ConfigError(`memoryStore: maxKeys must be a positive integer; got ${String(maxKeys)}.`)
  const store = new MemoryStore(dangerouslyPerNode, maxKeys, clock)
  // Functions that need no `this`: an application adds to a store by copying it, inheriting from it, or standing in front of it.
  return {
    scope: store.scope,
    dangerouslyPerNode,
    consume: (key, rate, now) => store.consume(key, rate, now),
    get: (key) => store.get(key),
    getMany: (keys) => store.getMany(keys),
    getOrSet: (key, value, ttlMs) => store.getOrSet(key, value, ttlMs),
    set: (key, value, ttlMs, setting) => store.set(key, value, ttlMs, setting),
    take: (key) => store.take(key),
    add: (key, by, ttlMs) => store.add(key, by, ttlMs),
    delete: (key, condition) => store.delete(key, condition),
    enlist: (key, member, value, ttlMs, bound) => store.enlist(key, member, value, ttlMs, bound),
    members: (key) => store.members(key),
    dismiss: (key, member) => store.dismiss(key, member),
    publish: (channel, message) => store.publish(channel, message),
    subscribe: (channel, listener) => store.subscribe(channel, listener),
    close: () => store.close(),
  }
}

class MemoryStore implements Store {
  readonly scope = 'node'
  /** The theoretical arrival time of each rate, counted from `#start`: small numbers keep their fractions. */
  readonly #rates = new Map<string, number>()
  readonly #entries = new Map<string, Entry>()
  readonly #collections = new Collections()
  readonly #listeners = new Map<string, Set<(message: string) => void>>()
  readonly #start: number
  readonly #oldRates = new Sweeper(this.#rates, (arrival) => arrival + this.#start)
  readonly #oldEntries = new Sweeper(this.#entries, ({ expiresAt }) => expiresAt)

  constructor(
    readonly dangerouslyPerNode: boolean,
    readonly maxKeys: number,
    readonly clock: Clock,
  ) {
    this.#start = clock.now()
  }

  consume(key: string, { limit, perMs, cost }: Rate, time: number): number {
    const now = time - this.#start
    const known = this.#rates.get(key)
    let arrival = known === undefined || known < now ? now : known
    if (arrival > now + perMs) {
      // The clock was moved back: that must not hold a key longer than one period.
      arrival = now + perMs
      this.#rates.set(key, arrival)
    }
    // Arrivals are multiples of 1 / limit. Rounded to them, so that no error adds up to a unit more or less.
    const excess = Math.round((arrival - now - perMs) * limit + perMs * cost)
    if (excess > 0) return Math.ceil(excess / limit)
    if (known === undefined) this.#makeRoom(time)
    this.#rates.set(key, Math.round(arrival * limit + perMs * cost) / limit)
    return 0
  }

  get(key: string): string | undefined {
    const entry = this.#live(key)
    return entry === undefined ? undefined : String(entry.value)
  }

  getMany(keys: readonly string[]): (string | undefined)[] {
    return keys.map((key) => this.get(key))
  }

  getOrSet(key: string, value: string, ttlMs: number): string {
    const known = this.get(key)
    if (known === undefined) this.set(key, value, ttlMs)
    return known ?? value
  }

  set(key: string, value: string, ttlMs: number, options?: { readonly ifAbsent?: boolean }): boolean {
    const known = this.#live(key)
    if (known !== undefined && options?.ifAbsent === true) return false
    const now = this.clock.now()
    if (known === undefined) this.#makeRoom(now)
    this.#entries.set(key, { value, expiresAt: now + ttlMs })
    return true
  }

  take(key: string): string | undefined {
    const entry = this.#live(key)
    if (entry === undefined) return undefined
    this.#entries.delete(key)
    return String(entry.value)
  }

  add(key: string, by: number, ttlMs: number): number {
    const entry = this.#live(key)
    if (entry !== undefined) return (entry.value = Number(entry.value) + by)
    const now = this.clock.now()
    this.#makeRoom(now)
    this.#entries.set(key, { value: by, expiresAt: now + ttlMs })
    return by
  }

  delete(key: string, condition?: { readonly ifValue?: string }): boolean {
    const known = this.get(key)
    if (known === undefined || (condition?.ifValue !== undefined && known !== condition.ifValue)) return false
    return this.#entries.delete(key)
  }

  enlist(key: string, member: string, value: string, ttlMs: number, bound?: Bound): Enlisted {
    const now = this.clock.now()
    return this.#collections.enlist(key, { member, value }, { now, ttlMs }, bound, () => this.#makeRoom(now))
  }

  members(key: string): readonly Member[] {
    return this.#collections.members(key, this.clock.now())
  }

  dismiss(key: string, member: string): boolean {
    return this.#collections.dismiss(key, member, this.clock.now())
  }

  /** At once: whoever shares this store has heard of it before the call returns. */
  publish(channel: string, message: string): void {
    for (const listener of [...(this.#listeners.get(channel) ?? [])]) {
      try {
        listener(message)
      } catch (error) {
        // One listener must not keep the others from hearing it.
        console.error(error)
      }
    }
  }

  subscribe(channel: string, listener: (message: string) => void): () => void {
    // A function of its own: the same listener may subscribe twice.
    const own = (message: string): void => listener(message)
    const listeners = this.#listeners.get(channel) ?? new Set()
    this.#listeners.set(channel, listeners.add(own))
    return () => {
      if (listeners.delete(own) && listeners.size === 0 && this.#listeners.get(channel) === listeners) this.#listeners.delete(channel)
    }
  }

  close(): void {
    this.#rates.clear()
    this.#entries.clear()
    this.#collections.clear()
  }

  #live(key: string): Entry | undefined {
    const entry = this.#entries.get(key)
    if (entry === undefined || entry.expiresAt > this.clock.now()) return entry
    this.#entries.delete(key)
    return undefined
  }

  #makeRoom(now: number): void {
    this.#oldRates.step(now)
    this.#oldEntries.step(now)
    this.#collections.step(now)
    if (this.#rates.size + this.#entries.size + this.#collections.size < this.maxKeys) return
    let largest: { readonly size: number; dropOldest(): void } = this.#oldEntries
    if (this.#oldRates.size > largest.size) largest = this.#oldRates
    if (this.#collections.size > largest.size) largest = this.#collections
    largest.dropOldest()
  }
}
