import type { Clock } from '../clock.ts'

/** A clock that stands still until it is told to go on. */
export interface TestClock extends Clock {
  /** Moves time forward by `ms` milliseconds, and calls what falls due on the way, in its order. */
  advance(ms: number): void
  /** Timers that are running. Zero when everything was cancelled: how a test finds a timer that was left behind. */
  readonly pending: number
}

interface Due {
  readonly at: number
  readonly fn: () => void
}

/**
 * Makes a {@link TestClock}. Give the same one to the harness and to everything that takes a `clock`.
 *
 * @param startMs its time at first, in milliseconds since the epoch; by default the beginning of 2025
 * @example
 * const clock = testClock()
 * const decision = harness(slowPolicy, { clock }).event('ping')
 * clock.advance(5_000)
 * expect(await decision).toEqual(faulted('DEADLINE_EXCEEDED'))
 */
export function testClock(startMs: number = Date.UTC(2025, 0, 1)): TestClock {
  let now = startMs
  // A Set keeps the order of insertion, which decides between timers that are due at one time.
  const timers = new Set<Due>()

  const earliest = (until: number): Due | undefined => {
    let first: Due | undefined
    for (const timer of timers) if (timer.at <= until && (first === undefined || timer.at < first.at)) first = timer
    return first
  }

  return {
    now: () => now,
    after(ms, fn) {
      const timer: Due = { at: now + Math.max(0, ms), fn }
      timers.add(timer)
      return { cancel: () => void timers.delete(timer) }
    },
    advance(ms) {
      if (!(ms >= 0)) throw new RangeError(`advance takes milliseconds, zero or more; got ${ms}.`)
      const until = now + ms
      for (let due = earliest(until); due !== undefined; due = earliest(until)) {
        timers.delete(due)
        now = Math.max(now, due.at)
        due.fn()
      }
      now = until
    },
    get pending() {
      return timers.size
    },
  }
}
