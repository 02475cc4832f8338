import { isThenable } from './compose.ts'
import { Denied } from './errors.ts'
import type { Stored } from './store.ts'

/**
 * Asks a store, at once where it answers at once.
 *
 * @throws Denied `UNAVAILABLE`, or rejects with it: whoever cannot be looked up is not let in
 */
export function ask<T>(operation: () => Stored<T>): Stored<T> {
  let answer: Stored<T>
  try {
    answer = operation()
  } catch (error) {
    throw unavailable(error)
  }
  if (!isThenable(answer)) return answer
  return Promise.resolve(answer).catch((error: unknown) => {
    throw unavailable(error)
  })
}

/** Goes on with an answer: in the same tick, where it is there already. */
export function whenStored<T, R>(answer: Stored<T>, go: (value: T) => Stored<R>): Stored<R> {
  return isThenable(answer) ? Promise.resolve(answer).then(go) : go(answer)
}

function unavailable(error: unknown): Denied {
  return new Denied('UNAVAILABLE', undefined, error)
}
