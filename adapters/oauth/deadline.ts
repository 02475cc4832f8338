import type { Clock } from '../../lib/clock.ts'

/** Runs something that takes a signal, and aborts it after `ms` milliseconds of the clock. */
export async function within<T>(ms: number, clock: Clock, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController()
  const timer = clock.after(ms, () => controller.abort())
  try {
    return await work(controller.signal)
  } finally {
    timer.cancel()
  }
}
