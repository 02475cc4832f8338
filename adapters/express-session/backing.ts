import { Deadlines } from '../../lib/clock.ts'
import type { Clock } from '../../lib/clock.ts'
import { isThenable } from '../../lib/compose.ts'
import { entryOf } from './record.ts'
import type { Entry } from './record.ts'
import type { SessionStore, StoredSession } from './store.ts'

type Answered<T> = (error?: unknown, value?: T) => void

/** The session store as it was before it was watched, with promises and within a time. Rejects with whatever the store says. */
export class Backing {
  readonly #store: SessionStore
  readonly #own: Pick<SessionStore, 'get' | 'set' | 'destroy' | 'touch' | 'createSession'>
  readonly #deadlines: Deadlines
  #connected = true

  constructor(store: SessionStore, clock: Clock, timeoutMs: number) {
    this.#own = {
      get: store.get.bind(store),
      set: store.set.bind(store),
      destroy: store.destroy.bind(store),
      ...(store.touch && { touch: store.touch.bind(store) }),
      ...(store.createSession && { createSession: store.createSession.bind(store) }),
    }
    this.#store = store
    this.#deadlines = new Deadlines(clock, timeoutMs)
    // As express-session itself takes them.
    store.on?.('disconnect', () => (this.#connected = false))
    store.on?.('connect', () => (this.#connected = true))
  }

  async get(id: string): Promise<Entry | undefined> {
    const stored = await this.#ask<StoredSession>((done) => this.#own.get(id, done))
    return typeof stored === 'object' && stored !== null ? entryOf(id, stored) : undefined
  }

  async set(id: string, session: StoredSession): Promise<void> {
    await this.#ask((done) => this.#own.set(id, this.inflate(id, session), done))
  }

  async destroy(id: string): Promise<void> {
    await this.#ask((done) => this.#own.destroy(id, done))
  }

  /** Prolongs an entry. @returns false where the store keeps no time of its own */
  async touch(id: string, session: unknown): Promise<boolean> {
    if (this.#own.touch === undefined) return false
    await this.#ask((done) => this.#own.touch?.(id, session, done))
    return true
  }

  /** The session object express-session would make of it: stores ask its cookie for more than is kept. */
  inflate(id: string, session: StoredSession): StoredSession {
    const made = this.#own.createSession?.({ sessionID: id, sessionStore: this.#store }, { ...session, cookie: { ...session.cookie } })
    return made === undefined ? session : (made as StoredSession)
  }

  createSession(request: unknown, session: unknown): unknown {
    return this.#own.createSession?.(request, session)
  }

  /** @throws what the store answers; an Error after the time it may take */
  #ask<T>(run: (done: Answered<T>) => unknown): Promise<T | undefined> {
    return new Promise((resolve, reject) => {
      if (!this.#connected) return reject(new Error('the session store is disconnected'))
      const deadline = this.#deadlines.add(() => reject(new Error('the session store has not answered in time')))
      const done: Answered<T> = (error, value) => {
        deadline.cancel()
        if (error === undefined || error === null || isMissing(error)) resolve(error === undefined || error === null ? value : undefined)
        else reject(error instanceof Error ? error : new Error('the session store has failed', { cause: error }))
      }
      try {
        const returned = run(done)
        // Some stores answer both ways, and some throw after they have been asked for a callback.
        if (isThenable(returned)) Promise.resolve(returned).catch(done)
      } catch (error) {
        done(error)
      }
    })
  }
}

/** As express-session takes it: there is none. */
function isMissing(error: unknown): boolean {
  return (error as { readonly code?: unknown } | null)?.code === 'ENOENT'
}
