import { randomBytes } from 'node:crypto'
import { systemClock } from '../../lib/clock.ts'
import type { Store } from '../../lib/store.ts'

/** How long another node may hold a lock at most: it may have died with it. */
const HELD_MS = 5_000
const FIRST_PAUSE_MS = 2
const LONGEST_PAUSE_MS = 64
/** After as many pauses the other one has died, or never lets go. */
const TRIES = 40

/** Lets one at a time change a session: here by waiting in a queue, and among nodes by an entry of the store that they share. */
export class Locks {
  readonly #queues = new Map<string, Promise<unknown>>()
  readonly #store: () => Store | undefined

  constructor(store: () => Store | undefined) {
    this.#store = store
  }

  /** @throws whatever `run` does; what the shared store answers where it cannot lock */
  async hold<T>(key: string, run: () => Promise<T>): Promise<T> {
    const before = this.#queues.get(key)
    const turn = (before ?? Promise.resolve()).then(() => this.#locked(key, run))
    const settled = turn.catch(() => {})
    this.#queues.set(key, settled)
    void settled.then(() => {
      if (this.#queues.get(key) === settled) this.#queues.delete(key)
    })
    return turn
  }

  async #locked<T>(key: string, run: () => Promise<T>): Promise<T> {
    const store = this.#store()
    if (store === undefined) return run()
    const entry = `session:lock:${key}`
    const token = randomBytes(12).toString('base64url')
    await take(store, entry, token)
    try {
      return await run()
    } finally {
      try {
        await store.delete(entry, { ifValue: token })
      } catch {
        // One that is left there is over in seconds.
      }
    }
  }
}

async function take(store: Store, entry: string, token: string): Promise<void> {
  let pause = FIRST_PAUSE_MS
  for (let tries = 0; tries < TRIES; tries++) {
    if (await store.set(entry, token, HELD_MS, { ifAbsent: true })) return
    await new Promise<void>((resolve) => void systemClock.after(pause, resolve))
    pause = Math.min(pause * 2, LONGEST_PAUSE_MS)
  }
  throw new Error('the session is locked by another node')
}
