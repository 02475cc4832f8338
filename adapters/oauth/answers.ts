import type { Proof } from './answer.ts'

interface Entry {
  readonly proof: Proof
  readonly at: number
}

/** Answers of a short while ago. Bounded: those that were not asked for longest go first. */
export class Answers {
  readonly #entries = new Map<string, Entry>()
  readonly #max: number
  readonly #cacheMs: number

  constructor(max: number, cacheMs: number) {
    this.#max = max
    this.#cacheMs = cacheMs
  }

  get(key: string, now: number): Proof | undefined {
    const entry = this.#entries.get(key)
    if (entry === undefined) return undefined
    this.#entries.delete(key)
    if (this.#isOver(entry, now)) return undefined
    this.#entries.set(key, entry)
    return entry.proof
  }

  /** @param at when it was asked for: the answer may be older than its arrival */
  set(key: string, proof: Proof, at: number): void {
    if (this.#cacheMs === 0) return
    this.#entries.delete(key)
    // What was not asked for longest stands first, and whatever is over by now with it.
    for (const [oldest, entry] of this.#entries) {
      if (this.#entries.size < this.#max && !this.#isOver(entry, at)) break
      this.#entries.delete(oldest)
    }
    this.#entries.set(key, { proof, at })
  }

  /** Also an answer from the future is over: a clock that was set back must not keep it for longer. */
  #isOver({ proof, at }: Entry, now: number): boolean {
    return Math.abs(now - at) >= this.#cacheMs || now >= proof.expiresAtMs
  }
}
