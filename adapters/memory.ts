import { systemClock } from '../lib/clock.ts'
import type { Clock } from '../lib/clock.ts'
import { ConfigError } from '../lib/errors.ts'
import type { Rate, Store } from '../lib/store.ts'

export interface MemoryStoreOptions {
  /** Accept it on a server with a cluster adapter, where each node would count and remember for itself. Default false. */
  readonly dangerouslyPerNode?: boolean
  /** Keys kept at most; beyond it those that would be forgotten first go first. Default 1,000,000. */
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
  return new MemoryStore(dangerouslyPerNode, maxKeys, clock)
}

/** How many old entries are looked at for each new one: enough to outrun growth, and a bounded cost. */
const SWEEP_STEP = 4

class MemoryStore implements Store {
  readonly scope = 'node'
  readonly #rates = new Map<string, number>()
  readonly #entries = new Map<string, Entry>()
  #rateCursor: IterableIterator<[string, number]> | undefined
  #entryCursor: IterableIterator<[string, Entry]> | undefined

  constructor(
    readonly dangerouslyPerNode: boolean,
    readonly maxKeys: number,
    readonly clock: Clock,
  ) {}

  consume(key: string, rate: Rate, now: number): number {
    const interval = rate.perMs / rate.limit
    const known = this.#rates.get(key)
    // A clock moved back must not hold a key longer than one period.
    const arrival = known === undefined || known < now ? now : Math.min(known, now + rate.perMs)
    const next = arrival + interval * rate.cost
    const wait = next - rate.perMs - now
    if (wait > 1e-6) return Math.max(1, Math.ceil(wait))
    if (known === undefined) this.#makeRoom(now)
    this.#rates.set(key, next)
    return 0
  }

  get(key: string): string | undefined {
    const entry = this.#live(key)
    return entry === undefined ? undefined : String(entry.value)
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

  delete(key: string): boolean {
    return this.#live(key) !== undefined && this.#entries.delete(key)
  }

  close(): void {
    this.#rates.clear()
    this.#entries.clear()
  }

  #live(key: string): Entry | undefined {
    const entry = this.#entries.get(key)
    if (entry === undefined || entry.expiresAt > this.clock.now()) return entry
    this.#entries.delete(key)
    return undefined
  }

  /** Forgets a few entries that are over, and the oldest ones where there are too many: no timer, and no pause. */
  #makeRoom(now: number): void {
    this.#rateCursor ??= this.#rates.entries()
    for (let step = 0; step < SWEEP_STEP; step++) {
      const { value, done } = this.#rateCursor.next()
      if (done === true) {
        this.#rateCursor = undefined
        break
      }
      if (value[1] <= now) this.#rates.delete(value[0])
    }
    this.#entryCursor ??= this.#entries.entries()
    for (let step = 0; step < SWEEP_STEP; step++) {
      const { value, done } = this.#entryCursor.next()
      if (done === true) {
        this.#entryCursor = undefined
        break
      }
      if (value[1].expiresAt <= now) this.#entries.delete(value[0])
    }
    if (this.#rates.size + this.#entries.size < this.maxKeys) return
    const larger = this.#rates.size > this.#entries.size ? this.#rates : this.#entries
    for (const oldest of larger.keys()) {
      larger.delete(oldest)
      break
    }
  }
}
