import { ConnectContext } from '../context.ts'
import type { Core } from '../core.ts'
import type { Denied } from '../errors.ts'
import type { PeerState } from '../peer.ts'
import { Call } from '../presence.ts'
import type { Alarm, Presence } from '../presence.ts'
import type { ReconnectAdvice } from '../wire.ts'
import { PacketType } from './socket-io.ts'
import type { RawSocket } from './socket-io.ts'
import type { TenureStage } from './tenure.ts'

/** Tells policies that have waited for a peer that it is there, and lets them watch over it. */
export class Presences {
  readonly #core: Core
  readonly #tenure: TenureStage
  readonly #renew: (socket: RawSocket, state: PeerState) => Promise<boolean>

  constructor(core: Core, tenure: TenureStage, renew: (socket: RawSocket, state: PeerState) => Promise<boolean>) {
    this.#core = core
    this.#tenure = tenure
    this.#renew = renew
  }

  /** @param decided where the policies were asked: the peer itself, or what has just taken its place */
  greet(socket: RawSocket, state: PeerState, decided: PeerState): void {
    const { entrants } = decided
    if (entrants === undefined) return
    decided.entrants = undefined
    for (const { fn, enforced } of entrants) {
      // One of them, or a listener of the application, may have closed it.
      if (state.gone || state.ended !== undefined) return
      try {
        fn(new SocketPresence(this, socket, state, enforced))
      } catch (error) {
        this.fault(socket, state, error)
      }
    }
  }

  close(socket: RawSocket, state: PeerState, denied: Denied, reconnect: ReconnectAdvice, policy: string, enforced: boolean): void {
    if (state.gone) return
    if (enforced) this.#tenure.close(socket, state, denied, reconnect, policy)
    else this.#core.unenforced(this.#context(socket, state), { error: denied, policy })
  }

  tell(socket: RawSocket, state: PeerState, event: string, data: object): boolean {
    if (!socket.connected || state.ended !== undefined) return false
    try {
      socket.packet({ type: PacketType.EVENT, data: [event, data] })
      return true
    } catch (error) {
      this.fault(socket, state, error)
      return false
    }
  }

  async renew(socket: RawSocket, state: PeerState): Promise<boolean> {
    return !state.gone && state.ended === undefined && this.#renew(socket, state)
  }

  alarm(socket: RawSocket, state: PeerState, fn: (now: number) => void): Alarm {
    const { agenda } = this.#core
    const call = new Call(fn, (error) => this.fault(socket, state, error))
    return {
      set: (atMs) => {
        if (state.gone) return
        if (state.alarms?.includes(call) !== true) (state.alarms ??= []).push(call)
        agenda.set(call, atMs)
      },
      clear: () => agenda.remove(call),
    }
  }

  fault(socket: RawSocket, state: PeerState, error: unknown): void {
    this.#core.fault(this.#context(socket, state), error, 'onEntered')
  }

  #context(socket: RawSocket, state: PeerState): ConnectContext {
    return new ConnectContext(this.#core, state.plan.name, socket.handshake, undefined, 'connect', state)
  }
}

class SocketPresence implements Presence {
  readonly #all: Presences
  readonly #state: PeerState
  readonly #enforced: boolean

  constructor(
    all: Presences,
    readonly socket: RawSocket,
    state: PeerState,
    enforced: boolean,
  ) {
    this.#all = all
    this.#state = state
    this.#enforced = enforced
  }

  get peer(): object {
    return this.#state.facts
  }

  close(denied: Denied, reconnect: ReconnectAdvice, policy: string): void {
    this.#all.close(this.socket, this.#state, denied, reconnect, policy, this.#enforced)
  }

  tell(event: `gate:${string}`, data: object): boolean {
    return this.#all.tell(this.socket, this.#state, event, data)
  }

  renew(): Promise<boolean> {
    return this.#all.renew(this.socket, this.#state)
  }

  alarm(fn: (now: number) => void): Alarm {
    return this.#all.alarm(this.socket, this.#state, fn)
  }
}
