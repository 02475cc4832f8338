import type { ChangedNotice, ExpiringNotice, Lost } from '../lib/contract.ts'
import type { ConnectionError, GateError } from './errors.ts'

/** `connecting`: asks for a credential or for entry. `waiting`: for the time of the next try. `closed` is final. */
export type State = 'connecting' | 'connected' | 'waiting' | 'closed'

/** The pause before the next try. */
export interface Pause {
  readonly inMs: number
  readonly attempt: number
}

/** The gate's answer to a new credential. */
export interface Refreshed {
  /** Until when it holds, in milliseconds since the epoch; null for nobody. */
  readonly expiresAtMs: number | 'never' | null
  readonly lost: Lost
}

/**
 * Why a connection has ended for good. `asked`: this end wanted it. `refused`: the server did not let it in, or took no credential.
 * `advised`: the gate said not to come back. `server`: the server disconnected it without a word. `attempts`: too many tries failed.
 * `pin`: the server has a key that is not pinned.
 */
export interface Closed {
  readonly reason: 'asked' | 'refused' | 'advised' | 'server' | 'attempts' | 'pin'
  readonly error?: GateError | ConnectionError | Error | undefined
}

/** What a listener of a connection is given. */
export interface ConnectionEvents {
  state: [state: State, pause?: Pause]
  /** A try has failed; another may follow. With the code `RENEWAL` it was one to renew the session cookie; its number is 0 where nothing could be sent. */
  failed: [error: Error, attempt: number]
  /** The gate has refused entry, or a credential. */
  refused: [error: GateError]
  /** The credential ends soon; a new one is being asked for. */
  expiring: [notice: ExpiringNotice]
  /** A new credential has taken the place of the old. */
  refreshed: [answer: Refreshed]
  /** The session has a new cookie, as the gate has asked for. */
  renewed: []
  /** What this client may do has changed. */
  changed: [notice: ChangedNotice]
  /** Once, and the last of all. */
  closed: [closed: Closed]
}

export type Listener<N extends keyof ConnectionEvents> = (...args: ConnectionEvents[N]) => void

type AnyListener = (...args: unknown[]) => void

/** Listeners that cannot harm who calls them: what one throws is reported as uncaught, and the others are still called. */
export class Listeners {
  readonly #all = new Map<string, Set<AnyListener>>()

  on<N extends keyof ConnectionEvents>(name: N, listener: Listener<N>): () => void {
    const those = this.#all.get(name) ?? new Set()
    // Of its own, so that the same function may listen twice.
    const one: AnyListener = (...args) => (listener as unknown as AnyListener)(...args)
    this.#all.set(name, those.add(one))
    return () => void those.delete(one)
  }

  tell<N extends keyof ConnectionEvents>(name: N, ...args: ConnectionEvents[N]): void {
    for (const listener of [...(this.#all.get(name) ?? [])]) {
      try {
        listener(...args)
      } catch (error) {
        queueMicrotask(() => {
          throw error
        })
      }
    }
  }
}
