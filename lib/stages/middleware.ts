import { isThenable } from '../compose.ts'

/** A middleware of the application, of `io.use` or `socket.use`. */
export type Middleware<S> = (subject: S, next: (error?: unknown) => void) => unknown

/**
 * The application's own middleware, one after the other, as Socket.IO 4.8.4 runs them; but each `next` counts once, and a
 * throw or a rejection goes to `failed` instead of ending the process.
 *
 * @param failed what to pass on in place of a throw or a rejection; undefined to pass on nothing
 */
export function runMiddleware<S>(middlewares: readonly Middleware<S>[], subject: S, failed: (error: unknown) => unknown, done: (error?: unknown) => void): void {
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
    const contain = (error: unknown): void => next(failed(error))
    try {
      const returned = middleware(subject, next)
      if (isThenable(returned)) Promise.resolve(returned).catch(contain)
    } catch (error) {
      contain(error)
    }
  }
  step(0)
}
