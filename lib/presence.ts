import { Due } from './agenda.ts'
import type { PeerSocket } from './context.ts'
import type { Denied } from './errors.ts'
import type { ReconnectAdvice } from './wire.ts'

/** A peer that is there, for a policy that watches over it beyond the decisions it is asked for. Of no use once the peer is gone: nothing it is told has an effect then. */
export interface Presence {
  readonly socket: PeerSocket
  /** What policies have proved about it, as it is now. */
  readonly peer: object
  /** Ends it: nothing of it is admitted from this moment, and its socket is closed with the reason. @param policy who says so, for records */
  close(denied: Denied, reconnect: ReconnectAdvice, policy: string): void
  /** Sends a message of the gate itself. @returns false where it could not be sent */
  tell(event: `gate:${string}`, data: object): boolean
  /** Asks the policies of the connect stage anew, with no new credential. A peer that is refused is closed. @returns whether it may stay */
  renew(): Promise<boolean>
  /** A place on the gate's one timer. Cleared when the peer is gone. */
  alarm(fn: (now: number) => void): Alarm
}

export interface Alarm {
  /** Puts it at a time, in milliseconds since the epoch, in the place of an earlier one. */
  set(atMs: number): void
  clear(): void
}

/** Calls a function when its time has come. */
export class Call extends Due {
  constructor(
    readonly fn: (now: number) => void,
    readonly failed: (error: unknown) => void,
  ) {
    super()
  }

  override due(now: number): void {
    try {
      this.fn(now)
    } catch (error) {
      this.failed(error)
    }
  }
}
