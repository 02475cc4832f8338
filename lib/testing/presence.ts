import type { ConnectContext } from '../context.ts'
import type { Core } from '../core.ts'
import type { PeerState } from '../peer.ts'
import { Call } from '../presence.ts'
import type { Presence } from '../presence.ts'
import type { ProbeSocket } from './stand-ins.ts'

/** Lets policies that have waited for a peer watch over it, as on a server: what closes it shows among the decisions. */
export function greet(core: Core, context: ConnectContext, state: PeerState, socket: () => ProbeSocket, close: () => void): void {
  const { entrants = [] } = state
  state.entrants = undefined
  for (const { fn, enforced } of entrants) {
    const presence: Presence = {
      get socket() {
        return socket()
      },
      get peer() {
        return state.facts
      },
      close(denied, _reconnect, policy) {
        if (state.gone || state.ended !== undefined) return
        core.refused(context, { error: denied, policy }, enforced)
        if (!enforced) return
        state.ended = denied.code
        close()
      },
      // Nobody listens at the other end.
      tell: () => !state.gone,
      renew: () => Promise.resolve(!state.gone),
      alarm(due) {
        const call = new Call(due, (error) => core.fault(context, error, 'onEntered'))
        ;(state.alarms ??= []).push(call)
        return { set: (atMs) => (state.gone ? undefined : core.agenda.set(call, atMs)), clear: () => core.agenda.remove(call) }
      },
    }
    try {
      fn(presence)
    } catch (error) {
      core.fault(context, error, 'onEntered')
    }
  }
}
