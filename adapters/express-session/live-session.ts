import { Denied } from '../../lib/errors.ts'
import type { Presence } from '../../lib/presence.ts'
import type { Changes, Staged } from './changes.ts'
import { endedBy } from './lineage.ts'
import type { Lineage } from './lineage.ts'
import type { SessionData } from './record.ts'

/** The session a peer is bound to: `peer.session`. */
export interface LiveSession<Data extends SessionData = SessionData> {
  /** Its lineage: stays the same when the session id changes, and says nothing of that. What `gate.revoke({ session })` takes. */
  readonly id: string
  /** What it held when it was read last, without the cookie. Frozen. */
  readonly data: Readonly<Data>
  /** When that was, in milliseconds since the epoch. */
  readonly readAtMs: number
  /**
   * Changes it: `change` is given a fresh copy, and may be called at any time. What HTTP requests change meanwhile is kept.
   *
   * One that signs somebody in, or somebody else, takes effect under a new id: this page is sent `gate:renew`, and once it has brought the ticket the
   * sockets of the old session are closed, to come back as who that is.
   *
   * @returns what it holds then
   * @throws Denied `DEADLINE_EXCEEDED` where the page does not bring the ticket, `REVOKED` where it has ended, `UNAVAILABLE` where a store does not answer; TypeError for what is not plain data, and for an asynchronous function
   */
  update(change: (data: Data) => void | Data): Promise<Readonly<Data>>
  /**
   * Gives the session a new id, as after a sign-in or before something dangerous: this peer is sent `gate:renew`, and its page brings the ticket over HTTP.
   *
   * @throws Denied `DEADLINE_EXCEEDED` where the page does not, `REVOKED` where the session has ended, `UNAVAILABLE` where a store does not answer
   */
  regenerate(): Promise<void>
  /** Ends it, everywhere: the HTTP session, and every socket of it. */
  end(reason?: string): Promise<void>
}

/** How long a page may take to bring its ticket. */
const RENEWED_WITHIN_MS = 10_000

export class PeerSession implements LiveSession {
  readonly #lineage: Lineage
  readonly #changes: Changes
  readonly #end: (reason: string) => Promise<void>
  readonly #after: (ms: number, fn: () => void) => { cancel(): void }
  #presence: Presence | undefined

  constructor(lineage: Lineage, changes: Changes, end: (reason: string) => Promise<void>, after: (ms: number, fn: () => void) => { cancel(): void }) {
    this.#lineage = lineage
    this.#changes = changes
    this.#end = end
    this.#after = after
  }

  /** @internal */
  static lineageOf(session: unknown): Lineage | undefined {
    return typeof session === 'object' && session !== null && #lineage in session ? session.#lineage : undefined
  }

  /** @internal */
  static enter(session: PeerSession, presence: Presence): void {
    session.#presence = presence
  }

  get id(): string {
    return this.#lineage.id
  }
  get data(): SessionData {
    return this.#lineage.data
  }
  get readAtMs(): number {
    return this.#lineage.readAtMs
  }

  async update(change: (data: any) => unknown): Promise<SessionData> {
    if (typeof change !== 'function') throw new TypeError('session.update takes a function that changes the data it is given.')
    const lineage = this.#lineage
    if (lineage.ended !== undefined) throw endedBy(lineage.ended)
    // The application is between the old id and the new one: what is written then is written to the new one.
    await lineage.still()
    // A mistake of the function is the caller's own; whatever else goes wrong is the store's.
    let thrown: { readonly error: unknown } | undefined
    try {
      const apply = (data: unknown): unknown => {
        try {
          return change(data)
        } catch (error) {
          thrown = { error }
          throw error
        }
      }
      for (;;) {
        const done = await this.#changes.update(lineage.currentId, lineage.id, apply)
        if (done === 'moving') {
          lineage.moving(false)
          await lineage.still()
          if (lineage.ended !== undefined) throw endedBy(lineage.ended)
        } else if ('staged' in done) {
          // Whoever signs in gets an id that nobody has had, and only this page is told how.
          await this.#renewed(done)
          return done.staged
        } else return lineage.data
      }
    } catch (error) {
      if (thrown !== undefined || error instanceof TypeError || error instanceof Denied) throw error
      throw new Denied('UNAVAILABLE', undefined, error)
    }
  }

  async regenerate(): Promise<void> {
    await this.#renewed(undefined)
    if (this.#lineage.ended !== undefined) throw endedBy(this.#lineage.ended)
  }

  /** Waits until the page has brought its ticket, by which the session has moved or, where that signs somebody in, has made room for another one. */
  async #renewed(staged: Staged | undefined): Promise<void> {
    const lineage = this.#lineage
    const presence = this.#presence
    if (lineage.ended !== undefined) throw endedBy(lineage.ended)
    if (presence === undefined) throw new Denied('UNAVAILABLE', undefined, 'the peer has not entered yet')
    let stop = (): void => {}
    try {
      await new Promise<void>((resolve, reject) => {
        const stopWaiting = lineage.onMoved(resolve)
        const deadline = this.#after(RENEWED_WITHIN_MS, () => reject(new Denied('DEADLINE_EXCEEDED', undefined, 'the page has not renewed its session')))
        stop = () => {
          stopWaiting()
          deadline.cancel()
        }
        lineage.offer(presence, staged).then((told) => (told ? undefined : this.#whyGone().then(reject, reject)), reject)
      })
    } finally {
      stop()
    }
  }

  /** Why the peer is not there any more. */
  async #whyGone(): Promise<Denied> {
    await this.#lineage.look()
    const { ended } = this.#lineage
    return ended === undefined ? new Denied('UNAVAILABLE', undefined, 'the peer is gone') : endedBy(ended)
  }

  end(reason = 'signed out'): Promise<void> {
    return this.#end(reason)
  }

  /** Nothing that is printed, or sent, shows more than this. */
  toJSON(): object {
    return { id: this.id }
  }
}
