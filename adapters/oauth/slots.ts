import { Failure } from './failure.ts'

/** Lets a bounded number through at once, and a bounded number wait. */
export class Slots {
  #free: number
  readonly #maxWaiting: number
  readonly #waiting = new Set<() => void>()

  constructor(max: number, maxWaiting: number) {
    this.#free = max
    this.#maxWaiting = maxWaiting
  }

  /** @throws Failure `UNAVAILABLE` when too many wait, or when the signal comes first */
  async run<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    await this.#take(signal)
    try {
      return await work()
    } finally {
      this.#give()
    }
  }

  #take(signal: AbortSignal): Promise<void> | undefined {
    if (this.#free > 0) {
      this.#free--
      return undefined
    }
    if (this.#waiting.size >= this.#maxWaiting) throw new Failure('UNAVAILABLE', 'too many tokens wait to be introspected')
    return new Promise((resolve, reject) => {
      const enter = (): void => {
        signal.removeEventListener('abort', leave)
        resolve()
      }
      const leave = (): void => {
        this.#waiting.delete(enter)
        reject(new Failure('UNAVAILABLE', 'waited too long to be introspected'))
      }
      this.#waiting.add(enter)
      signal.addEventListener('abort', leave, { once: true })
    })
  }

  #give(): void {
    for (const enter of this.#waiting) {
      this.#waiting.delete(enter)
      return enter()
    }
    this.#free++
  }
}
