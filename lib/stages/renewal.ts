import { lostRights } from '../ability.ts'
import type { Right } from '../ability.ts'
import { isThenable } from '../compose.ts'
import type { Refused, Verdict } from '../compose.ts'
import { ConnectContext, JoinContext } from '../context.ts'
import type { ConnectCause } from '../context.ts'
import type { Core } from '../core.ts'
import { codes, Denied } from '../errors.ts'
import { identityOf, PeerState } from '../peer.ts'
import type { Principal } from '../principal.ts'
import { CHANGED_EVENT } from '../wire.ts'
import type { Refusal } from '../wire.ts'
import { PacketType } from './socket-io.ts'
import type { RawSocket } from './socket-io.ts'
import type { TenureStage } from './tenure.ts'

// A peer that is here is decided about once more: it has brought a new credential, its rights have changed, or its credential is over.
// The whole connect chain runs beside the peer, which goes on as it was; what comes out takes its place between two of its events.

/** What a peer has lost by it. */
export interface Lost {
  readonly rooms: readonly string[]
  /** Actions it could do to some subject of a type, and cannot do to any now. */
  readonly rights: readonly Right[]
}

/** How it ended. */
export type Renewal = { readonly expiresAtMs: number | 'never' | null; readonly lost: Lost; readonly refusal?: never } | { readonly refusal: Refusal; readonly error: unknown; readonly policy: string }

/** How often rooms that were joined meanwhile are looked at again; those that are undecided after that are left. */
const ROUNDS = 3

export class RenewalStage {
  readonly #core: Core
  readonly #tenure: TenureStage
  readonly #greet: (socket: RawSocket, state: PeerState, decided: PeerState) => void
  /** One at a time for each peer: the second is to see what the first has changed. */
  readonly #running = new WeakMap<PeerState, Promise<unknown>>()

  /** @param greet tells policies that wait for it that what was decided is in force */
  constructor(core: Core, tenure: TenureStage, greet: (socket: RawSocket, state: PeerState, decided: PeerState) => void) {
    this.#core = core
    this.#tenure = tenure
    this.#greet = greet
  }

  /** A peer has sent a new credential. */
  refresh(socket: RawSocket, state: PeerState, auth: Record<string, unknown>): Promise<Renewal> {
    return this.#inTurn(state, () => this.#renew(socket, state, 'refresh', auth, undefined))
  }

  /** Its rights are looked up anew, or who it is as well. A peer that is refused is closed. @returns whether it may stay */
  async reauthorize(socket: RawSocket, state: PeerState, cause: 'reauthorize' | 'refresh' = 'reauthorize'): Promise<boolean> {
    const renewal = await this.#inTurn(state, () =>
      cause === 'refresh' ? this.#renew(socket, state, cause, {}, undefined) : this.#renew(socket, state, cause, socket.handshake.auth, principalOf(state.facts)),
    )
    if (renewal.refusal === undefined) {
      this.#tell(socket, state, 'reauthorized', renewal)
      return true
    }
    const { code, details } = renewal.refusal
    this.#tenure.close(socket, state, new Denied(code, details), code === 'UNAUTHENTICATED' ? 'after-credential' : codes[code].retryable ? 'now' : 'never')
    return false
  }

  /** Its credential is over: it leaves every room, and goes on as nobody where the policies agree. */
  async anonymise(socket: RawSocket, state: PeerState): Promise<void> {
    let rooms: readonly string[] = []
    const renewal = await this.#inTurn(state, async () => {
      // A refresh that was under way has come first.
      if (!state.muted) return undefined
      rooms = roomsOf(socket)
      this.#leave(socket, state, rooms)
      state.fence = state.plan.terms?.allowSwitch === true ? undefined : identityOf(state.facts)
      return this.#renew(socket, state, 'reauthorize', {}, undefined, true)
    })
    if (renewal === undefined) return
    if (renewal.refusal !== undefined) this.#tenure.close(socket, state, new Denied('CREDENTIAL_EXPIRED'), 'after-credential')
    else this.#tell(socket, state, 'expired', { ...renewal, lost: { ...renewal.lost, rooms } })
  }

  #inTurn<T>(state: PeerState, run: () => Promise<T>): Promise<T> {
    const before = this.#running.get(state)
    const turn = before === undefined ? run() : before.then(run)
    this.#running.set(state, turn)
    return turn.finally(() => {
      if (this.#running.get(state) === turn) this.#running.delete(state)
    })
  }

  /** Never rejects. */
  async #renew(socket: RawSocket, state: PeerState, cause: ConnectCause, auth: Record<string, unknown>, current: Principal | undefined, asNobody = false): Promise<Renewal> {
    const { plan } = state
    const next = new PeerState(state.address, plan)
    const before = asNobody ? undefined : state.facts
    const context = new ConnectContext(this.#core, plan.name, { ...socket.handshake, auth }, socket.client.request ?? undefined, cause, next, undefined, current, before)
    const failed = (error: unknown): void => this.#core.fault(context, error, 'onClose')
    const refuse = ({ error, policy }: Refused): Renewal => {
      // Whatever is wrong with a new credential is one and the same refusal.
      next.established = false
      const refusal = this.#core.refused(context, { error, policy })
      context.settle({ outcome: 'refused', refusal, error })
      next.close(failed)
      return { refusal, error, policy }
    }
    try {
      const refused = (await plan.connect(context)) ?? this.#bar(state, next, cause) ?? (await this.#revoked(next))
      if (refused !== undefined) return refuse(refused)
      next.establish()
      for (let round = 1; ; round++) {
        const verdicts = await this.#rooms(socket, next)
        const swap = (): Renewal | Refused | undefined => this.#swap(socket, state, next, verdicts, round === ROUNDS, failed)
        // An event that is being decided may wait for this very refresh; to its policies the peer stays who it was. Somebody else waits for its end.
        const atOnce = cause === 'refresh' && identityOf(next.facts) === identityOf(state.facts)
        const renewal = atOnce ? swap() : await this.#between(state, swap)
        if (renewal === undefined) continue
        if ('error' in renewal) return refuse(renewal)
        this.#core.admitted(context)
        context.settle({ outcome: 'handled' })
        return renewal
      }
    } catch (error) {
      return refuse({ error, policy: 'gate' })
    }
  }

  /** What is refused whatever the policies have agreed to. */
  #bar(state: PeerState, next: PeerState, cause: ConnectCause): Verdict {
    const before = state.fence ?? identityOf(state.facts)
    if (cause !== 'refresh' || before === undefined || state.plan.terms?.allowSwitch === true) return undefined
    return identityOf(next.facts) === before ? undefined : { error: new Denied('UNAUTHENTICATED', undefined, 'a refresh brings the same subject of the same issuer'), policy: 'gate' }
  }

  async #revoked({ facts }: PeerState): Promise<Verdict> {
    const error = await this.#core.revoked(facts)
    return error === undefined ? undefined : { error, policy: 'revocation' }
  }

  #between<T>(state: PeerState, run: () => T): Promise<T> | T {
    if (state.lane === undefined) return run()
    const { lane } = state
    return new Promise((resolve, reject) => {
      lane.between(() => {
        // The handler of the event before begins on the next tick, and is to see who sent that.
        lane.busy = true
        process.nextTick(() => {
          try {
            resolve(run())
          } catch (error) {
            reject(error instanceof Error ? error : new Error('failed', { cause: error }))
          }
          lane.release()
        })
      })
    })
  }

  /** Whether the peer may stay in its rooms, with what it has proved now. */
  async #rooms(socket: RawSocket, next: PeerState): Promise<Map<string, Verdict>> {
    const verdicts = new Map<string, Verdict>()
    const decided = roomsOf(socket).map(async (room) => {
      verdicts.set(room, await this.#mayStay(socket, next, room))
    })
    await Promise.all(decided)
    return verdicts
  }

  #mayStay(socket: RawSocket, next: PeerState, room: string): Verdict | Promise<Verdict> {
    const { plan } = next
    if (!plan.guardsRooms) return undefined
    const { known, chain } = plan.room(room)
    if (!known && plan.mode !== 'observe') return { error: new Denied('UNKNOWN_ROOM'), policy: 'gate' }
    const context = new JoinContext(this.#core, socket, plan.name, room, 'refresh', next)
    const conclude = (refused: Verdict): Verdict => {
      if (refused === undefined) context.settle({ outcome: 'handled' })
      else context.settle({ outcome: 'refused', refusal: this.#core.refused(context, refused), error: refused.error })
      return refused
    }
    const verdict = chain(context)
    return isThenable(verdict) ? verdict.then(conclude) : conclude(verdict)
  }

  /** @returns undefined where rooms were joined that nobody has decided about */
  #swap(socket: RawSocket, state: PeerState, next: PeerState, verdicts: ReadonlyMap<string, Verdict>, last: boolean, failed: (error: unknown) => void): Renewal | Refused | undefined {
    if (state.gone || state.ended !== undefined) return { error: new Denied(state.ended ?? 'UNAUTHENTICATED', undefined, 'the peer is gone'), policy: 'gate' }
    const standing = next.standing(this.#core.clock.now())
    if (standing !== undefined) return { error: new Denied(standing), policy: 'gate' }
    // While its rooms were being decided, or an event.
    if (this.#tenure.wasRevoked(next)) return { error: new Denied('REVOKED'), policy: 'revocation' }
    const rooms = roomsOf(socket)
    if (!last && rooms.some((room) => !verdicts.has(room))) return undefined
    const lost = rooms.filter((room) => !verdicts.has(room) || verdicts.get(room) !== undefined)
    const before = state.facts as { readonly ability?: unknown }
    const isAnother = identityOf(before) !== identityOf(next.facts)
    // The application's middleware is still looking at who it was.
    if (isAnother && !socket.connected) return { error: new Denied('UNAUTHENTICATED', undefined, 'the peer has changed before it has entered'), policy: 'gate' }
    const rights = lostRights(before.ability, (next.facts as { readonly ability?: unknown }).ability)
    this.#tenure.replace(socket, state, () => state.renew(next, failed))
    this.#greet(socket, state, next)
    if (isAnother) {
      state.proved = undefined
      state.hasChanged = true
    }
    this.#leave(socket, state, lost)
    const { principal } = state.facts as { readonly principal?: Principal }
    if (principal !== undefined) state.fence = undefined
    return { expiresAtMs: principal?.expiresAtMs ?? null, lost: { rooms: lost, rights } }
  }

  #leave(socket: RawSocket, state: PeerState, rooms: readonly string[]): void {
    for (const room of rooms) {
      const failed = (error: unknown): void => this.#core.fault(new JoinContext(this.#core, socket, state.plan.name, room, 'refresh', state), error, 'adapter')
      try {
        const left = socket.leave(room)
        if (isThenable(left)) Promise.resolve(left).catch(failed)
      } catch (error) {
        failed(error)
      }
    }
  }

  #tell(socket: RawSocket, state: PeerState, cause: 'reauthorized' | 'expired', { expiresAtMs, lost }: { readonly expiresAtMs: number | 'never' | null; readonly lost: Lost }): void {
    if (!socket.connected) return
    try {
      socket.packet({ type: PacketType.EVENT, data: [CHANGED_EVENT, { cause, expiresAtMs, lost }] })
    } catch (error) {
      this.#core.fault(new ConnectContext(this.#core, state.plan.name, socket.handshake, undefined, 'reauthorize', state), error, 'wire')
    }
  }
}

function principalOf(facts: object): Principal | undefined {
  return (facts as { readonly principal?: Principal }).principal
}

/** The rooms of a socket, its own not counted. */
function roomsOf(socket: RawSocket): string[] {
  return [...socket.rooms].filter((room) => room !== socket.id).map(String)
}
