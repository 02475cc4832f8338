/** How many old entries are looked at for each new one: enough to outrun growth, and a bounded cost. */
const SWEEP_STEP = 4

/** Walks a map round and round, a few entries at a time, and drops those that are over: no timer, and no pause. */
export class Sweeper<V> {
  #cursor: MapIterator<[string, V]> | undefined

  /** @param dropped told of each that was over */
  constructor(
    readonly map: Map<string, V>,
    readonly endOf: (value: V) => number,
    readonly dropped?: (value: V) => void,
  ) {}

  get size(): number {
    return this.map.size
  }

  step(now: number): void {
    if (this.map.size === 0) return
    this.#cursor ??= this.map.entries()
    for (let step = 0; step < SWEEP_STEP; step++) {
      const entry = this.#cursor.next()
      if (entry.done === true) {
        this.#cursor = undefined
        return
      }
      const [key, value] = entry.value
      if (this.endOf(value) > now) continue
      this.map.delete(key)
      this.dropped?.(value)
    }
  }

  dropOldest(): void {
    for (const key of this.map.keys()) {
      this.map.delete(key)
      return
    }
  }
}
