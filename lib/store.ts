/** A rate: `limit` units at once, regained evenly over `perMs` milliseconds, spent `cost` at a time. A negative cost gives back. */
export interface Rate {
  readonly limit: number
  readonly perMs: number
  readonly cost: number
}

/** What a store operation returns: at once in memory, later over a network. */
export type Stored<T> = T | Promise<T>

/** One of a collection. */
export interface Member {
  readonly member: string
  readonly value: string
  /** When it came, in milliseconds since the epoch, by the clock of the store. */
  readonly sinceMs: number
}

/** How many a collection may have, and who has to go when it is full: whoever comes, or the oldest. */
export interface Bound {
  readonly limit: number
  readonly full: 'refuse' | 'oldest'
}

/** What became of a member that was to enter a collection. */
export interface Enlisted {
  readonly entered: boolean
  /** Those that had to go for it, oldest first. */
  readonly left: readonly Member[]
}

/**
 * What policies remember beyond one connection. Each operation is atomic and one round trip; keys are text, values are text,
 * and everything has a time to live. Implementations refuse by rejecting: a policy that cannot ask does not admit.
 */
export interface Store {
  /** `node`: this process only. `cluster`: shared by all nodes. */
  readonly scope: 'node' | 'cluster'
  /** Whether a store of scope `node` was accepted on a cluster in so many words. */
  readonly dangerouslyPerNode?: boolean
  /** Takes from a rate by GCRA. @returns 0 when there was enough, else the milliseconds until there will be */
  consume(key: string, rate: Rate, now: number): Stored<number>
  get(key: string): Stored<string | undefined>
  /** Reads several keys at once. @returns their values in this order */
  getMany(keys: readonly string[]): Stored<readonly (string | undefined)[]>
  /** Sets a value for `ttlMs` milliseconds where there is none. @returns the value that is there now */
  getOrSet(key: string, value: string, ttlMs: number): Stored<string>
  /** Sets a value for `ttlMs` milliseconds. @returns false when `ifAbsent` was asked and the key was there */
  set(key: string, value: string, ttlMs: number, options?: { readonly ifAbsent?: boolean }): Stored<boolean>
  /** Reads and deletes in one step: whoever gets the value is the only one. */
  take(key: string): Stored<string | undefined>
  /** Adds to a counter, which begins at 0 and is forgotten `ttlMs` after its first use. @returns the new value */
  add(key: string, by: number, ttlMs: number): Stored<number>
  /** @returns whether it was there; with `ifValue`, it stays where it has another value */
  delete(key: string, options?: { readonly ifValue?: string }): Stored<boolean>
  /**
   * Puts a member into a collection, or another value in the place of its own: it then keeps its place in the order. The collection
   * is forgotten `ttlMs` milliseconds after the last one was put in.
   */
  enlist(key: string, member: string, value: string, ttlMs: number, bound?: Bound): Stored<Enlisted>
  /** @returns the members of a collection, in the order in which they came */
  members(key: string): Stored<readonly Member[]>
  /** Takes a member out of a collection. @returns whether it was there */
  dismiss(key: string, member: string): Stored<boolean>
  /** Tells everybody who has subscribed, on every node that shares the store. */
  publish(channel: string, message: string): Stored<void>
  /** Listens to a channel. @returns how to stop */
  subscribe(channel: string, listener: (message: string) => void): Stored<() => void>
  close(): Stored<void>
}
