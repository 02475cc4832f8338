/** Bounds of the lane of one socket. */
export interface LaneLimits {
  /** Events that may wait behind the one being decided. */
  readonly maxPending: number
  /** Their size together: characters of text plus bytes of binary data. */
  readonly maxBytes: number
}

interface Waiting {
  readonly start: () => void
  readonly bytes: number
}

/**
 * Keeps the arrival order of one socket's events while policies are asynchronous. Only events wait in it:
 * acks, disconnects and the gate's own messages pass by, or `emitWithAck` inside a policy would wait for itself.
 */
export class Lane {
  busy = false
  #queue: Waiting[] = []
  #head = 0
  #bytes = 0
  #between: (() => void)[] | undefined

  /** Runs `fn` between two events: now, unless one is being decided. */
  between(fn: () => void): void {
    if (this.busy) (this.#between ??= []).push(fn)
    else fn()
  }

  /** Puts an event behind those that wait. @returns false when a bound is reached, and the event was not taken */
  push(start: () => void, bytes: number, limits: LaneLimits): boolean {
    if (this.#queue.length - this.#head >= limits.maxPending || this.#bytes + bytes > limits.maxBytes) return false
    this.#queue.push({ start, bytes })
    this.#bytes += bytes
    return true
  }

  /** The event being decided is done: starts those that wait, until one of them is asynchronous again. */
  release(): void {
    this.busy = false
    this.#fill()
    while (!this.busy && this.#head < this.#queue.length) {
      const { start, bytes } = this.#queue[this.#head]!
      this.#queue[this.#head++] = undefined as never
      this.#bytes -= bytes
      start()
    }
    if (this.#head === this.#queue.length) this.#reset()
  }

  /** Its socket is gone: no event waits any more, and whoever waited for a gap between two has one. */
  clear(): void {
    this.#reset()
    this.#fill()
  }

  #reset(): void {
    if (this.#queue.length > 0) this.#queue = []
    this.#head = 0
    this.#bytes = 0
  }

  #fill(): void {
    const between = this.#between
    this.#between = undefined
    for (const fn of between ?? []) fn()
  }
}
