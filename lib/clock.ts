/** Time as the gate sees it. Injected everywhere, so that a test never sleeps. */
export interface Clock {
  /** Milliseconds since the epoch. */
  now(): number
  /** Calls `fn` once after `ms` milliseconds, without keeping the process alive. */
  after(ms: number, fn: () => void): Timer
}

export interface Timer {
  cancel(): void
}

/** Node's timers hold 31 bits: a longer one would fire at once. */
const LONGEST = 2_147_483_647

export const systemClock: Clock = {
  now: () => Date.now(),
  after(ms, fn) {
    let handle: NodeJS.Timeout
    const wait = (left: number): void => {
      handle = setTimeout(() => (left > LONGEST ? wait(left - LONGEST) : fn()), Math.min(left, LONGEST))
      handle.unref()
    }
    wait(ms)
    return { cancel: () => clearTimeout(handle) }
  },
}

/** One pending deadline, linked into its {@link Deadlines} list. */
export abstract class Deadline {
  at = 0
  prev: Deadline | undefined = undefined
  next: Deadline | undefined = undefined
  list: Deadlines | undefined = undefined

  abstract expired(): void

  cancel(): void {
    this.list?.remove(this)
  }
}

class Callback extends Deadline {
  constructor(override readonly expired: () => void) {
    super()
  }
}

/** Many deadlines of one duration behind a single timer: they expire in the order they were added, so adding and cancelling are O(1). */
export class Deadlines {
  #first: Deadline | undefined
  #last: Deadline | undefined
  #timer: Timer | undefined
  readonly #clock: Clock
  readonly #ms: number

  constructor(clock: Clock, ms: number) {
    this.#clock = clock
    this.#ms = ms
  }

  add(expired: () => void): Deadline {
    return this.push(new Callback(expired), this.#clock.now())
  }

  /** Adds an entry that begins at `now`, for callers that have read the clock already. */
  push(entry: Deadline, now: number): Deadline {
    entry.at = now + this.#ms
    entry.list = this
    entry.prev = this.#last
    if (this.#last === undefined) this.#first = entry
    else this.#last.next = entry
    this.#last = entry
    this.#timer ??= this.#clock.after(this.#ms, () => this.#sweep())
    return entry
  }

  remove(entry: Deadline): void {
    if (entry.list !== this) return
    if (entry.prev === undefined) this.#first = entry.next
    else entry.prev.next = entry.next
    if (entry.next === undefined) this.#last = entry.prev
    else entry.next.prev = entry.prev
    entry.list = entry.prev = entry.next = undefined
  }

  /** Forgets everything that is pending, without calling it. */
  clear(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    // Each one: cancelling one that was forgotten must not touch those that came later.
    while (this.#first !== undefined) this.remove(this.#first)
  }

  /** A clock that was turned back would hold every entry up by as much: what seems to have begun in the future begins now. */
  #rebase(now: number): void {
    const latest = now + this.#ms
    for (let entry = this.#first; entry !== undefined && entry.at > latest; entry = entry.next) entry.at = latest
  }

  #sweep(): void {
    this.#timer = undefined
    const now = this.#clock.now()
    this.#rebase(now)
    // Only what was there when the sweep began: an expiry may add a new entry that is due at once.
    const last = this.#last
    for (let entry = this.#first; entry !== undefined && entry.at <= now; entry = this.#first) {
      const stop = entry === last
      this.remove(entry)
      entry.expired()
      if (stop) break
    }
    if (this.#first !== undefined) {
      this.#timer = this.#clock.after(Math.max(1, this.#first.at - now), () => this.#sweep())
    }
  }
}
