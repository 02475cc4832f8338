import { isThenable } from '../compose.ts'

/** A middleware of the application, of `engine.use`, `io.use` or `socket.use`. */
export type Middleware<S> = (subject: S, next: (error?: unknown) => void) => unknown

/**
 * The application's own middleware, one after the other, as Socket.IO 4.8.4 runs them; but each `next` counts once, and a
 * throw or a rejection goes to `failed` instead of ending the process.
 *
 * @param failed gives what to pass on, as an error, in place of a throw or a rejection
 * @param late is told of one that came after `next`, when nothing can be changed any more
 */
export function runMiddleware<S>(middlewares: readonly Middleware<S>[], subject: S, failed: (error: unknown) => unknown, late: (error: unknown) => void, done: (error?: unknown) => void): void {
  const step = (index: number): void => {
    const middleware = middlewares[index]
    if (middleware === undefined) return done()
    let called = false
    const next = (error?: unknown): void => {
      if (called) return
      called = true
      if (error) done(error)
      else step(index + 1)
    }
    const contain = (error: unknown): void => (called ? late(error) : next(failed(error)))
    try {
      const returned = middleware(subject, next)
      if (isThenable(returned)) Promise.resolve(returned).catch(contain)
    } catch (error) {
      contain(error)
    }
  }
  step(0)
}
