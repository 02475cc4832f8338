import { Deadlines } from '../../lib/clock.ts'
import type { Clock } from '../../lib/clock.ts'
import { isThenable } from '../../lib/compose.ts'
import { entryOf } from './record.ts'
import type { Entry } from './record.ts'
import type { SessionStore, StoredSession } from './store.ts'

type Answered<T> = (error?: {} | null, value?: T) => void

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
    const stored = await this.#ask<StoredSession>(id, (done) => this.#own.get(id, done))
    return typeof stored === 'object' && stored !== null ? entryOf(id, stored) : undefined
  }

  async set(id: string, session: StoredSession): Promise<void> {
    await this.#ask(id, (done) => this.#own.set(id, this.inflate(id, session), done))
  }

  async destroy(id: string): Promise<void> {
    await this.#ask(id, (done) => this.#own.destroy(id, done))
  }

  /** Prolongs an entry. @returns false where the store keeps no time of its own */
  async touch(id: string, session: unknown): Promise<boolean> {
    if (this.#own.touch === undefined) return false
    await this.#ask(id, (done) => this.#own.touch?.(id, session, done))
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

  /** @throws SessionStoreError, also after the time it may take */
  async #ask<T>(id: string, run: (done: Answered<T>) => unknown): Promise<T | undefined> {
    if (!this.#connected) throw new SessionStoreError(id, new Error('it is disconnected'))
    try {
      return await promised<T>(run, (reject) => this.#deadlines.add(() => reject(new Error('it has not answered in time'))))
    } catch (error) {
      if (isMissing(error)) return undefined
      throw new SessionStoreError(id, error)
    }
  }
}

/** Asks what answers by a callback, by a promise, or by throwing. The first answer counts. */
export function promised<T>(run: (done: Answered<T>) => unknown, limit?: (reject: (error: Error) => void) => { cancel(): void }): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const fail: (error: unknown) => void = reject
    const deadline = limit?.(reject)
    const done: Answered<T> = (error, value) => {
      deadline?.cancel()
      if (error === undefined || error === null) resolve(value)
      // As it is: whoever asked may know what it means.
      else fail(error)
    }
    try {
      const returned = run(done)
      if (isThenable(returned)) Promise.resolve(returned).catch(done)
    } catch (error) {
      done(error)
    }
  })
}

/** What a session store has failed with, without the session id that it may name: this is for records of the gate. */
export class SessionStoreError extends Error {
  readonly code: unknown
  readonly #original: unknown

  constructor(id: string, original: unknown) {
    const { message = String(original), code } = (original ?? {}) as { readonly message?: unknown; readonly code?: unknown }
    super(`the session store has failed: ${String(message).replaceAll(id, '***').replaceAll(encodeURIComponent(id), '***')}`)
    this.name = 'SessionStoreError'
    this.code = code
    this.#original = original
  }

  /** For the application, whose store it is. */
  static originalOf(error: SessionStoreError): unknown {
    return error.#original
  }
}

/** As express-session takes it: there is none. */
function isMissing(error: unknown): boolean {
  return (error as { readonly code?: unknown } | null)?.code === 'ENOENT'
}
