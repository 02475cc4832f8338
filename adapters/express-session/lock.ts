import { randomBytes } from 'node:crypto'
import { systemClock } from '../../lib/clock.ts'
import { Denied } from '../../lib/errors.ts'
import type { Store } from '../../lib/store.ts'

/** How long another node may hold a lock at most: it may have died with it. */
const HELD_MS = 5_000
const FIRST_PAUSE_MS = 1
const LONGEST_PAUSE_MS = 16
/** After as many pauses the other one never lets go. */
const TRIES = 400
/** After as many in a row it is another node's turn, which asks every {@link LONGEST_PAUSE_MS}. */
const TURN = 16
const TURN_PAUSE_MS = 20

interface Queue {
  readonly last: Promise<unknown>
  readonly length: number
}

/** Lets one at a time change a session: here by waiting in a queue, and among nodes by an entry of the store that they share. */
export class Locks {
  readonly #queues = new Map<string, Queue>()
  readonly #store: () => Store | undefined
  readonly #failed: (error: unknown) => void

  /** @param failed told where the shared store cannot lock: nobody is kept from changing a session of this node by that */
  constructor(store: () => Store | undefined, failed: (error: unknown) => void) {
    this.#store = store
    this.#failed = failed
  }

  /** @throws whatever `run` does; Denied `UNAVAILABLE` where another node does not let go */
  async hold<T>(key: string, run: () => Promise<T>): Promise<T> {
    const { last, length } = this.#queues.get(key) ?? { last: Promise.resolve(), length: 0 }
    const turn = last.then(() => this.#locked(key, run, length > 0 && length % TURN === 0))
    const settled = turn.then(noop, noop)
    this.#queues.set(key, { last: settled, length: length + 1 })
    void settled.then(() => {
      if (this.#queues.get(key)?.last === settled) this.#queues.delete(key)
    })
    return turn
  }

  async #locked<T>(key: string, run: () => Promise<T>, afterOthers: boolean): Promise<T> {
    const store = this.#store()
    if (store === undefined) return run()
    const entry = `session:lock:${key}`
    const token = randomBytes(12).toString('base64url')
    if (afterOthers) await pause(TURN_PAUSE_MS)
    await this.#take(store, entry, token)
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

  async #take(store: Store, entry: string, token: string): Promise<void> {
    let wait = FIRST_PAUSE_MS
    for (let tries = 0; tries < TRIES; tries++) {
      try {
        if (await store.set(entry, token, HELD_MS, { ifAbsent: true })) return
      } catch (error) {
        return this.#failed(error)
      }
      await pause(wait)
      wait = Math.min(wait * 2, LONGEST_PAUSE_MS)
    }
    throw new Denied('UNAVAILABLE', undefined, 'sessions: another node does not let go of the session')
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => void systemClock.after(ms, resolve))
}

function noop(): void {}
