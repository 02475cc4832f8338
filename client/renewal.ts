import type { RenewNotice } from '../lib/contract.ts'
import { ConnectionError, GateError } from './errors.ts'
import type { Listeners } from './events.ts'
import type { Settings } from './options.ts'
import { refusalIn, retryAfter, RETRYABLE_CODES } from './reading.ts'

/** As long as a ticket may be. */
const MAX_LENGTH = 2_048

/** A server event takes a ticket to its own server alone, and to the very path it names. @throws TypeError */
function urlOf({ ticket, path, expiresInMs }: RenewNotice, origin: string): string {
  const types = [ticket, path, expiresInMs].map((value) => typeof value).join()
  const { href } = new URL(path, origin)
  if (
    types !== 'string,string,number' ||
    !(ticket && ticket.length <= MAX_LENGTH && expiresInMs > 0) ||
    // What the parser of URLs changes is another host or another folder. Servers may do the same to what is encoded.
    href !== origin + path ||
    /#|%(2e|2f|5c)/i.test(path)
  ) {
    throw new TypeError('gate:renew has no ticket, or no path of this server.')
  }
  return href
}

interface Errand {
  readonly ticket: string
  readonly url: string
  readonly control: AbortController
}

export interface Renewals {
  take(this: void, notice: RenewNotice): void
  /** The connection is lost: nothing is sent any more, but the answer to what was may be the new cookie. Where it is over for good, that is not waited for. */
  leave(this: void, over?: boolean): void
  /** While a ticket is on its way. Never rejects. */
  running(this: void): Promise<void> | undefined
}

/** Uses the tickets that a connection is given, one at a time; of those that come meanwhile, the last. */
export function renewals({ fetch, maxAttempts, requestTimeoutMs, schedule }: Settings, origin: () => string, pauseMs: (n: number) => number, tell: Listeners['tell']): Renewals {
  let running: Promise<void> | undefined
  /** The only one that may be sent. It stays when the server has decided about it: told twice, it is sent once. */
  let latest: Errand | undefined
  let abort: (() => void) | undefined
  /** Ends the pause before another try. */
  let wake: (() => void) | undefined

  function failed(cause: unknown, attempt: number): void {
    tell('failed', new ConnectionError('RENEWAL', cause), attempt)
  }

  /** @returns what came of it, unless it went well @throws what the request failed with */
  async function post({ ticket, url, control: { signal } }: Errand): Promise<Error | undefined> {
    signal.throwIfAborted()
    const init = {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ ticket }),
      credentials: 'include',
      redirect: 'error',
      cache: 'no-store',
      // The cookie arrives, though the visitor may have left the page.
      keepalive: true,
      signal,
    } as const
    const response = await fetch!(url, init)
    if (response.ok) return
    const refusal = refusalIn({ context: { responseText: await response.text() } })
    return refusal ? new GateError(refusal) : new Error(`HTTP ${response.status}`)
  }

  async function use(one: Errand): Promise<void> {
    const { control } = one
    const { signal } = control
    abort = () => control.abort()
    for (let n = 1; one === latest; n++) {
      const error = await new Promise<Error | undefined>((resolve, reject) => {
        // Not every fetch listens to its signal.
        signal.addEventListener('abort', reject)
        post(one).then(resolve, reject)
      }).catch((cause: unknown) => new ConnectionError(signal.aborted ? 'TIMEOUT' : 'UNREACHABLE', cause))
      if (!error) return tell('renewed')
      failed(error, n)
      if (!(error instanceof ConnectionError || RETRYABLE_CODES.includes((error as GateError).code)) || one !== latest) return
      if (signal.aborted || n >= maxAttempts) latest = undefined
      else {
        await new Promise<void>((resolve) => {
          const stop = schedule.after(retryAfter(error) + pauseMs(n - 1), resolve)
          wake = () => {
            stop()
            resolve()
          }
        })
      }
    }
  }

  function leave(over?: boolean): void {
    latest = undefined
    wake?.()
    if (over) abort?.()
  }

  return {
    take(notice) {
      try {
        const url = urlOf(notice, origin())
        if (!fetch) throw new TypeError('There is no fetch.')
        const { ticket, expiresInMs } = notice
        if (ticket === latest?.ticket) return
        leave()
        const control = new AbortController()
        const one = (latest = { ticket, url, control })
        const stop = schedule.after(Math.min(expiresInMs, requestTimeoutMs), () => control.abort())
        running = Promise.resolve(running)
          .then(() => use(one))
          .then(stop)
      } catch (cause) {
        failed(cause, 0)
      }
    },
    leave,
    running: () => running,
  }
}
