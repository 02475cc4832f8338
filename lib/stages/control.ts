import { EventContext } from '../context.ts'
import type { Core } from '../core.ts'
import { Denied, PolicyFault } from '../errors.ts'
import { sharedFactorKey } from '../factor.ts'
import type { StepUpTerms } from '../factor.ts'
import { boundedKey } from '../keys.ts'
import { breach, measure } from '../limits.ts'
import { identityOf } from '../peer.ts'
import type { Control, PeerState } from '../peer.ts'
import type { Principal } from '../principal.ts'
import { bare, CHANGED_EVENT, DENIED_EVENT, deniedEventData, REFRESH_EVENT, STEP_UP_EVENT } from '../wire.ts'
import type { Refusal } from '../wire.ts'
import type { RenewalStage } from './renewal.ts'
import { PacketType } from './socket-io.ts'
import type { Packet, RawSocket } from './socket-io.ts'
import type { TenureStage } from './tenure.ts'

// Messages of a client to the gate itself. They pass by the lane: a step-up that waited behind the event that needs it, or a
// refresh behind one that is being decided, would wait for itself.

/** Messages one peer may send: a burst of ten, then one a second. */
const INTERVAL_MS = 1_000
const BURST_MS = 10_000
const MAX_CODE = 256

export function isControl(event: string): boolean {
  return event === REFRESH_EVENT || event === STEP_UP_EVENT
}

export class ControlStage {
  readonly #core: Core
  readonly #renewal: RenewalStage
  readonly #tenure: TenureStage

  constructor(core: Core, renewal: RenewalStage, tenure: TenureStage) {
    this.#core = core
    this.#renewal = renewal
    this.#tenure = tenure
  }

  /** @param id of the ack the client wants; undefined where it wants none */
  receive(socket: RawSocket, state: PeerState, event: string, args: unknown[], id: number | undefined): void {
    const { limits } = state.plan
    // What was sent is a secret, or about to be one: no record gets to see it.
    const context = new EventContext(this.#core, socket, state.plan.name, event, [], id !== undefined, state)
    this.#core.agenda.catchUp()
    if (!socket.connected || state.ended !== undefined) return
    const size = measure(args, { ...limits, maxBytes: limits.maxAuthBytes })
    const control = (state.control ??= { busy: false, failures: 0, at: 0 })
    const barred = size < 0 ? breach(size) : this.#limit(control, context.now)
    if (barred !== undefined) return this.#refuse(socket, context, id, barred)
    control.busy = true
    const done = (event === REFRESH_EVENT ? this.#refresh(socket, state, context, args[0], id) : this.#stepUp(socket, state, context, args[0], id)).catch((error: unknown) => {
      if (socket.connected) this.#refuse(socket, context, id, error)
    })
    void done.then(() => (control.busy = false))
  }

  #limit(control: Control, now: number): Denied | undefined {
    if (control.busy) return new Denied('RATE_LIMITED', { retryAfterMs: INTERVAL_MS }, 'an earlier message is being answered')
    const at = control.at > now + BURST_MS ? now : Math.max(control.at, now)
    if (at + INTERVAL_MS - now > BURST_MS) return new Denied('RATE_LIMITED', { retryAfterMs: Math.ceil(at + INTERVAL_MS - now - BURST_MS) })
    control.at = at + INTERVAL_MS
    return undefined
  }

  async #refresh(socket: RawSocket, state: PeerState, context: EventContext, auth: unknown, id: number | undefined): Promise<void> {
    if (state.plan.terms === undefined) throw new Denied('UNKNOWN_EVENT')
    if (typeof auth !== 'object' || auth === null || Array.isArray(auth)) throw new Denied('INVALID_PAYLOAD', undefined, 'a refresh brings an object, as handshake.auth is one')
    const renewal = await this.#renewal.refresh(socket, state, auth as Record<string, unknown>)
    if (!socket.connected) return
    if (renewal.refusal === undefined) {
      const { expiresAtMs, lost } = renewal
      if (id === undefined) this.#send(socket, context, { type: PacketType.EVENT, data: [CHANGED_EVENT, { cause: 'refreshed', expiresAtMs, lost }] })
      else this.#send(socket, context, { type: PacketType.ACK, id, data: [{ expiresAtMs, lost }] })
      return
    }
    // The renewal has reported it already.
    this.#answerRefusal(socket, context, id, renewal.refusal)
    if (renewal.refusal.code !== 'UNAUTHENTICATED') return
    const control = state.control!
    if (++control.failures >= state.plan.limits.maxFailedCredentials) this.#tenure.close(socket, state, new Denied('UNAUTHENTICATED', undefined, 'too many refreshes that proved nothing'), 'after-credential')
  }

  async #stepUp(socket: RawSocket, state: PeerState, context: EventContext, payload: unknown, id: number | undefined): Promise<void> {
    const { terms, code } = this.#asked(state, payload)
    const { principal } = state.facts as { readonly principal?: Principal }
    const identity = identityOf(state.facts)
    if (state.standing(context.now) !== undefined) throw new Denied('CREDENTIAL_EXPIRED')
    if (principal === undefined || identity === undefined) throw new Denied('UNAUTHENTICATED')

    const { factor, limit, perMs, shared, sharedForMs } = terms
    const { store, now } = context
    // The rate is part of the key: where namespaces differ, each counts for itself, and none loosens another's limit.
    const attempts = boundedKey(`step-up:${factor.name}:${limit}/${perMs}`, identity)
    // Counted before the code is looked at, and given back for a right one: parallel sockets get no further guesses.
    const wait = await this.#ask(() => store.consume(attempts, { limit, perMs, cost: 1 }, now))
    if (typeof wait !== 'number' || !(wait >= 0)) throw new Denied('UNAVAILABLE', undefined, 'the store has not counted the attempt')
    if (wait > 0) throw new Denied('RATE_LIMITED', { retryAfterMs: Math.ceil(wait) }, `too many codes for the factor ${factor.name}`)
    const giveBack = (): Promise<unknown> => this.#ask(() => store.consume(attempts, { limit, perMs, cost: -1 }, now))
    let proved: unknown
    try {
      proved = await this.#core.within(Promise.resolve(factor.verify(code, { principal, namespace: state.plan.name, address: state.address, now, store, id: context.id, peer: state.facts })))
    } catch (error) {
      // Nothing was said of the code.
      if (error instanceof Denied && error.code === 'UNAVAILABLE') await giveBack()
      throw error
    }
    if (proved !== true) throw new Denied('UNAUTHENTICATED', undefined, `a wrong code for the factor ${factor.name}`)
    this.#checkSame(socket, state, identity)
    await giveBack()
    if (shared) await this.#ask(() => store.set(sharedFactorKey(identity, factor.name), String(now), sharedForMs))
    this.#checkSame(socket, state, identity)
    // Last: whoever is told that it could not be recorded has proved nothing.
    ;(state.proved ??= new Map()).set(factor.name, now)
    this.#core.admitted(context)
    if (id !== undefined && socket.connected) this.#send(socket, context, { type: PacketType.ACK, id, data: [{ factor: factor.name }] })
    context.settle({ outcome: 'handled' })
  }

  /** What was proved was proved by whoever the peer was then. */
  #checkSame(socket: RawSocket, state: PeerState, identity: string): void {
    if (!socket.connected || state.ended !== undefined || identityOf(state.facts) !== identity) throw new Denied('UNAUTHENTICATED', undefined, 'the peer has changed meanwhile')
  }

  #asked(state: PeerState, payload: unknown): { readonly terms: StepUpTerms; readonly code: string } {
    const { factors } = state.plan
    if (factors.size === 0) throw new Denied('UNKNOWN_EVENT')
    const { factor, code } = (typeof payload === 'object' && payload !== null ? payload : {}) as { readonly factor?: unknown; readonly code?: unknown }
    if (typeof code !== 'string' || code === '' || code.length > MAX_CODE) throw new Denied('INVALID_PAYLOAD', undefined, 'a step-up brings { factor?, code }')
    const terms = factor === undefined && factors.size === 1 ? [...factors.values()][0] : typeof factor === 'string' ? factors.get(factor) : undefined
    if (terms === undefined) throw new Denied('INVALID_PAYLOAD', { factors: [...factors.keys()] })
    return { terms, code }
  }

  async #ask<T>(operation: () => T | Promise<T>): Promise<T> {
    try {
      return await this.#core.within(Promise.resolve(operation()))
    } catch (error) {
      throw new Denied('UNAVAILABLE', undefined, error)
    }
  }

  #refuse(socket: RawSocket, context: EventContext, id: number | undefined, error: unknown): void {
    const refusal = this.#core.refused(context, { error: error instanceof Denied || error instanceof PolicyFault ? error : new PolicyFault('threw', 'step-up', { cause: error }), policy: 'gate' })
    this.#answerRefusal(socket, context, id, refusal)
    context.settle({ outcome: 'refused', refusal, error })
  }

  #answerRefusal(socket: RawSocket, context: EventContext, id: number | undefined, refusal: Refusal): void {
    if (id === undefined && !(this.#core.settings.refusalEvent && context.state.mayNotice(context.now))) return
    const form = (refused: Refusal): Packet =>
      id === undefined ? { type: PacketType.EVENT, data: [DENIED_EVENT, deniedEventData(context.event, refused)] } : { type: PacketType.ACK, id, data: [{ error: refused }] }
    if (!this.#send(socket, context, form(refusal))) this.#send(socket, context, form(bare(refusal)))
  }

  #send(socket: RawSocket, context: EventContext, packet: Packet): boolean {
    try {
      socket.packet(packet)
      return true
    } catch (error) {
      this.#core.fault(context, error, 'wire')
      return false
    }
  }
}
