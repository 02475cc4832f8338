import { isThenable } from '../../lib/compose.ts'
import { Denied } from '../../lib/errors.ts'

/** What `next` is to a middleware of Socket.IO, and of Express. */
export type Next = (error?: unknown) => void

/** A middleware wanted something that is not there. A mistake of the set-up, and not of whoever wants to enter: it is a fault, not a refusal. */
export class StandInError extends TypeError {
  override readonly name = 'TypeError'
}

/**
 * One run of a middleware. It passes by calling `next()` once, without an error, and by then neither throwing nor rejecting; whatever else it
 * does refuses, and what it does after that is without effect.
 */
export class Trial {
  #failure: { readonly error: Error } | undefined = undefined
  #nexts = 0
  #isRunning = false
  #over = false
  #conclude: (() => void) | undefined = undefined

  /** @returns undefined where it has passed at once. @throws what it refuses with, at once or later */
  run(middleware: (next: Next) => unknown): Promise<void> | undefined {
    let returned: unknown
    this.#isRunning = true
    try {
      returned = middleware(this.#next)
      if (isThenable(returned)) returned = Promise.resolve(returned)
    } catch (error) {
      this.refuse(error)
    }
    this.#isRunning = false
    if (this.#failure !== undefined || (this.#nexts > 0 && !(returned instanceof Promise))) {
      // Refused already; what comes of it now is nobody's.
      if (returned instanceof Promise) returned.catch(() => undefined)
      this.#over = true
      if (this.#failure !== undefined) throw this.#failure.error
      return undefined
    }
    return this.#later(returned instanceof Promise ? returned : undefined)
  }

  /** Ends it: the first failure is the one that counts. */
  refuse(error: unknown): void {
    if (this.#over || this.#failure !== undefined) return
    this.#failure = { error: error instanceof Denied || error instanceof StandInError ? error : new Denied('UNAUTHENTICATED', undefined, error ?? 'the middleware has thrown nothing in particular') }
    this.#conclude?.()
  }

  /**
   * It wanted something that is not there. On its own stack it is told so by a throw; later a throw might be in a callback where nobody catches
   * it, which would end the process, so it gets something that does nothing, and is refused.
   */
  missing(message: string): unknown {
    const error = new StandInError(message)
    if (this.#isRunning) throw error
    this.refuse(error)
    return INERT
  }

  #later(returned: Promise<unknown> | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      let isDone = returned === undefined
      this.#conclude = () => {
        if (this.#over || (this.#failure === undefined && (!isDone || this.#nexts === 0))) return
        this.#over = true
        if (this.#failure === undefined) resolve()
        else reject(this.#failure.error)
      }
      returned?.then(
        () => {
          isDone = true
          this.#conclude?.()
        },
        (error: unknown) => this.refuse(error),
      )
    })
  }

  readonly #next: Next = (error) => {
    this.#nexts++
    if (error) return this.refuse(error)
    if (this.#nexts > 1) return this.refuse(new Error('the middleware has called next() twice'))
    // Not at once: the same callback may still take it back.
    queueMicrotask(() => this.#conclude?.())
  }
}

/** Whatever is asked of it, it does nothing. */
const INERT: unknown = new Proxy(function () {}, {
  get(_target, key) {
    // Not something to wait for.
    if (key === 'then') return undefined
    return key === Symbol.toPrimitive ? () => '' : INERT
  },
  set: () => true,
  deleteProperty: () => true,
  apply: () => INERT,
  construct: () => INERT as object,
})
