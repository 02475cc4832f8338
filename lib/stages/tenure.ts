import { Due } from '../agenda.ts'
import { ConnectContext } from '../context.ts'
import type { Core } from '../core.ts'
import { Denied } from '../errors.ts'
import type { PeerState } from '../peer.ts'
import type { Principal } from '../principal.ts'
import { applies, isSought, keyOf, keysOf, keysOfTarget, sessionsOf } from '../revocation.ts'
import type { RevocationReceipt, Sought } from '../revocation.ts'
import { DEFAULT_TERMS, warningAt } from '../terms.ts'
import { bare, CLOSING_EVENT, closingData, EXPIRING_EVENT, OWN_PREFIX } from '../wire.ts'
import type { ReconnectAdvice, Refusal } from '../wire.ts'
import { inherited, PacketType } from './socket-io.ts'
import type { Packet, RawSocket, WriteOptions } from './socket-io.ts'

// How long a peer is who it is: from its admission to the end of its credential, or to its revocation. `packet` of a socket
// whose credential ends is wrapped, so that nothing leaves after that time, however late the timer is.

/** What tenure asks of the other stages. */
export interface Surroundings {
  /** Lets nothing more of the application reach a socket by a broadcast. */
  mute(socket: RawSocket): void
  /** What was decided for the write of a packet is of no use: it is not written. */
  withhold(socket: RawSocket): void
  /** The credential of a peer is over, and it goes on as nobody. */
  anonymise(socket: RawSocket, state: PeerState): void
  /** The sockets of this id, in any namespace. */
  find(id: string): readonly RawSocket[]
  stateOf(socket: RawSocket): PeerState
}

/** The end of one peer's credential. */
class Term extends Due {
  phase: 'valid' | 'warned' | 'grace' = 'valid'

  constructor(
    readonly stage: TenureStage,
    readonly socket: RawSocket,
    readonly state: PeerState,
  ) {
    super()
  }

  override lapse(now: number): void {
    this.stage.lapse(this, now)
  }

  override due(now: number): void {
    this.stage.come(this, now)
  }
}

/** How long a revocation is remembered here besides in the store: longer than a decision that has asked the store before it takes. */
const RECENT_MS = 60_000
const REAUTHORIZED = 'reauthorized:'

export class TenureStage {
  readonly #core: Core
  readonly #around: Surroundings
  readonly #terms = new WeakMap<RawSocket, Term>()
  readonly #subjects = new Index()
  readonly #tokens = new Index()
  readonly #sessions = new Index()
  /** In the order in which they came. */
  readonly #recent = new Map<string, { readonly issuedBefore: number | undefined; readonly at: number }>()
  readonly #packet: (this: RawSocket, packet: Packet, opts?: WriteOptions) => void

  constructor(core: Core, around: Surroundings) {
    this.#core = core
    this.#around = around
    this.#packet = function (packet, opts) {
      if (isOfApplication(packet)) {
        core.agenda.catchUp()
        if (around.stateOf(this).muted) return around.withhold(this)
      }
      inherited(this, 'packet').call(this, packet, opts)
    }
  }

  /** A peer was admitted. @throws Denied when what it has proved was revoked a moment ago */
  enter(socket: RawSocket, state: PeerState): void {
    if (this.wasRevoked(state)) throw new Denied('REVOKED')
    this.#register(socket, state)
    this.#schedule(socket, state)
  }

  leave(socket: RawSocket, state: PeerState): void {
    this.#unregister(socket, state.facts)
    const term = this.#terms.get(socket)
    if (term !== undefined) this.#core.agenda.remove(term)
    for (const alarm of state.alarms ?? []) this.#core.agenda.remove(alarm)
    state.alarms = undefined
  }

  /** What a peer has proved is about to be replaced. */
  replace(socket: RawSocket, state: PeerState, swap: () => void): void {
    this.#unregister(socket, state.facts)
    swap()
    state.muted = false
    this.#register(socket, state)
    this.#schedule(socket, state)
  }

  #register(socket: RawSocket, { facts }: PeerState): void {
    const { principal } = facts as { readonly principal?: Principal }
    if (typeof principal?.subject === 'string') this.#subjects.add(principal.subject, socket)
    if (typeof principal?.tokenId === 'string') this.#tokens.add(principal.tokenId, socket)
    for (const session of sessionsOf(facts)) this.#sessions.add(session, socket)
  }

  #unregister(socket: RawSocket, facts: object): void {
    const { principal } = facts as { readonly principal?: Principal }
    if (typeof principal?.subject === 'string') this.#subjects.delete(principal.subject, socket)
    if (typeof principal?.tokenId === 'string') this.#tokens.delete(principal.tokenId, socket)
    for (const session of sessionsOf(facts)) this.#sessions.delete(session, socket)
  }

  #schedule(socket: RawSocket, state: PeerState): void {
    const { agenda, clock } = this.#core
    let term = this.#terms.get(socket)
    if (state.endsAt === Infinity) {
      if (term !== undefined) agenda.remove(term)
      return
    }
    if (term === undefined) {
      this.#terms.set(socket, (term = new Term(this, socket, state)))
      socket.packet = this.#packet
    }
    const now = clock.now()
    const warning = warningAt(state.endsAt, now, state.plan.terms ?? DEFAULT_TERMS)
    term.phase = warning === undefined ? 'warned' : 'valid'
    agenda.set(term, warning ?? state.endsAt, now)
  }

  /** Before anything of the application runs: nothing reaches a peer whose time has come. */
  lapse({ socket, state }: Term, now: number): void {
    if (now >= state.endsAt) this.#silence(socket, state)
  }

  /** A time of a term has come. */
  come(term: Term, now: number): void {
    const { socket, state } = term
    try {
      this.#advance(term, now)
    } catch (error) {
      this.#core.fault(new ConnectContext(this.#core, state.plan.name, socket.handshake, undefined, 'connect', state), error, 'gate')
    }
  }

  #advance(term: Term, now: number): void {
    const { socket, state } = term
    const { onExpiry } = state.plan.terms ?? DEFAULT_TERMS
    const { agenda } = this.#core
    if (term.phase === 'grace') return this.close(socket, state, new Denied('CREDENTIAL_EXPIRED'), 'after-credential')
    if (now < state.endsAt) {
      term.phase = 'warned'
      agenda.set(term, state.endsAt, now)
      return this.#tell(socket, EXPIRING_EVENT, { expiresAtMs: state.endsAt, inMs: state.endsAt - now })
    }
    if (typeof onExpiry === 'object') {
      term.phase = 'grace'
      agenda.set(term, now + onExpiry.graceMs, now)
      this.#tell(socket, EXPIRING_EVENT, { expiresAtMs: state.endsAt, inMs: 0, closesInMs: onExpiry.graceMs })
    } else if (onExpiry === 'anonymous') this.#around.anonymise(socket, state)
    else this.close(socket, state, new Denied('CREDENTIAL_EXPIRED'), 'after-credential')
  }

  #silence(socket: RawSocket, state: PeerState): void {
    state.muted = true
    socket.packet = this.#packet
    this.#around.mute(socket)
  }

  /** Ends a peer: nothing of it is admitted from this moment, and its socket is closed with the reason. */
  close(socket: RawSocket, state: PeerState, denied: Denied, reconnect: ReconnectAdvice, policy = 'gate'): void {
    if (state.ended !== undefined) return
    state.ended = denied.code
    // Before anybody is told: observers, and listeners of the end, may send something.
    this.#silence(socket, state)
    const context = new ConnectContext(this.#core, state.plan.name, socket.handshake, undefined, 'connect', state)
    try {
      const refusal = this.#core.refused(context, { error: denied, policy })
      // One that still waits for the application's middleware is refused when it would enter.
      if (!socket.connected) return
      this.#sayGoodbye(socket, refusal, reconnect)
      socket.disconnect()
    } catch (error) {
      this.#core.fault(context, error, 'gate')
    }
  }

  #sayGoodbye(socket: RawSocket, refusal: Refusal, reconnect: ReconnectAdvice): void {
    try {
      this.#tell(socket, CLOSING_EVENT, closingData(refusal, reconnect))
    } catch {
      this.#tell(socket, CLOSING_EVENT, closingData(bare(refusal), reconnect))
    }
  }

  #tell(socket: RawSocket, event: string, data: object): void {
    if (socket.connected) socket.packet({ type: PacketType.EVENT, data: [event, data] })
  }

  /** Closes every peer that is meant, and keeps out those that are being decided about. */
  revoke(sought: Sought, reason: string, issuedBefore: number | undefined): { readonly closed: RevocationReceipt['closed']; readonly ends: readonly (number | 'never')[] } {
    const key = keyOf(sought, issuedBefore)
    if (key !== undefined) this.#remember(key, issuedBefore)
    const closed: RevocationReceipt['closed'][number][] = []
    const ends: (number | 'never')[] = []
    for (const [socket, state] of this.#those(sought, issuedBefore)) {
      const { principal } = state.facts as { readonly principal?: Principal }
      closed.push({ socket: socket.id, namespace: state.plan.name, subject: principal?.subject })
      if (principal !== undefined) ends.push(principal.expiresAtMs)
      this.close(socket, state, new Denied('REVOKED', { reason }), 'after-credential')
    }
    return { closed, ends }
  }

  /** The rights of these peers were looked up anew: whoever is being decided about at this moment is to be asked once more. */
  remember(sought: Sought): void {
    this.#remember(REAUTHORIZED + keyOf(sought, undefined)!, undefined)
  }

  /** Whether the rights of a peer were looked up anew a moment ago: perhaps after the policies had asked for them. */
  wasReauthorized({ facts }: PeerState): boolean {
    return this.#recently(keysOf(facts).map((key) => REAUTHORIZED + key), facts)
  }

  /** Lets those in again who were kept out. */
  reinstate(sought: Sought): void {
    for (const key of keysOfTarget(sought)) this.#recent.delete(key)
  }

  /** The live peers of a target. */
  those(sought: Sought): [RawSocket, PeerState][] {
    return this.#those(sought, undefined)
  }

  #those(sought: Sought, issuedBefore: number | undefined): [RawSocket, PeerState][] {
    const { kind, id } = sought
    const sockets = kind === 'subject' ? this.#subjects.get(id) : kind === 'token' ? this.#tokens.get(id) : kind === 'session' ? this.#sessions.get(id) : this.#around.find(id)
    return sockets.flatMap((socket): [RawSocket, PeerState][] => {
      const state = this.#around.stateOf(socket)
      return isSought(sought, state.facts, socket.id) && applies({ issuedBefore }, state.facts) ? [[socket, state]] : []
    })
  }

  #remember(key: string, issuedBefore: number | undefined): void {
    const now = this.#core.clock.now()
    for (const [old, { at }] of this.#recent) {
      if (at + RECENT_MS > now) break
      this.#recent.delete(old)
    }
    const known = this.#recent.get(key)?.issuedBefore
    this.#recent.delete(key)
    this.#recent.set(key, { issuedBefore: issuedBefore === undefined || known === undefined ? issuedBefore : Math.max(issuedBefore, known), at: now })
  }

  /** Whether what a peer has proved was revoked a moment ago: perhaps after the store was asked. */
  wasRevoked({ facts }: PeerState): boolean {
    return this.#recently(keysOf(facts), facts)
  }

  #recently(keys: readonly string[], facts: object): boolean {
    if (this.#recent.size === 0) return false
    const since = this.#core.clock.now() - RECENT_MS
    return keys.some((key) => {
      const known = this.#recent.get(key)
      return known !== undefined && known.at > since && applies(known, facts)
    })
  }
}

/** Sockets by a name. Most names have one socket, and no set is made for it. */
class Index {
  readonly #sockets = new Map<string, RawSocket | Set<RawSocket>>()

  add(name: string, socket: RawSocket): void {
    const known = this.#sockets.get(name)
    if (known === undefined) this.#sockets.set(name, socket)
    else if (known instanceof Set) known.add(socket)
    else if (known !== socket) this.#sockets.set(name, new Set([known, socket]))
  }

  delete(name: string, socket: RawSocket): void {
    const known = this.#sockets.get(name)
    if (known === socket) this.#sockets.delete(name)
    else if (known instanceof Set && known.delete(socket) && known.size === 0) this.#sockets.delete(name)
  }

  get(name: string): readonly RawSocket[] {
    const known = this.#sockets.get(name)
    return known === undefined ? [] : known instanceof Set ? [...known] : [known]
  }
}

/** What the application sends, as against what the gate itself does, and acks. */
function isOfApplication({ type, data }: Packet): boolean {
  if (type !== PacketType.EVENT && type !== PacketType.BINARY_EVENT) return false
  const name = (data as unknown[])[0]
  return typeof name !== 'string' || !name.startsWith(OWN_PREFIX)
}
