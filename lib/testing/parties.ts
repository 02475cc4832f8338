import type { Handshake } from '../context.ts'
import { PeerState } from '../peer.ts'
import type { NamespacePlan } from '../plan.ts'
import type { HarnessOptions, PeerQuestion } from './questions.ts'
import { handshakeOf, ProbeSocket } from './stand-ins.ts'

/** What is true of a question that does not say otherwise. */
export type Defaults = Required<Pick<HarnessOptions, 'peer' | 'address' | 'headers' | 'namespace' | 'socketId'>>

/** One peer as the gate keeps it, with the sockets it has shown itself by. */
interface Party {
  readonly address: string
  readonly state: PeerState
  readonly handshake: Handshake
  readonly sockets: Map<string, ProbeSocket>
}

/** The other ends of the gate: whoever is asked about twice has one state and one socket, as on a server. */
export class Parties {
  readonly #known = new WeakMap<object, Party[]>()
  readonly #ids = new Set<string>()

  constructor(
    readonly defaults: Defaults,
    readonly plan: (namespace: string) => NamespacePlan,
    readonly now: () => number,
  ) {}

  /** Remembers a peer that has entered. @returns how it leaves */
  enter(state: PeerState, handshake: Handshake, address: string): () => void {
    const { sockets } = this.#add({ address, state, handshake, sockets: new Map() })
    return () => {
      for (const socket of sockets.values()) {
        socket.connected = false
        this.#ids.delete(idIn(state.plan.name, socket.id))
      }
    }
  }

  find({ peer = this.defaults.peer, address, socketId = this.defaults.socketId, namespace = this.defaults.namespace }: PeerQuestion): { readonly state: PeerState; readonly socket: ProbeSocket } {
    const known = this.#known.get(peer)?.find((party) => party.state.plan.name === namespace && (address === undefined || address === party.address))
    const { state, handshake, sockets } = known ?? this.#introduce(peer, address ?? this.defaults.address, namespace)
    let socket = sockets.get(socketId)
    if (socket === undefined) {
      sockets.set(socketId, (socket = new ProbeSocket(socketId, handshake)))
      this.#ids.add(idIn(namespace, socketId))
    }
    return { state, socket }
  }

  /** Whether a room is named like a socket that is here: nobody but that socket may be in it. */
  isSocket(namespace: string, room: string): boolean {
    return this.#ids.has(idIn(namespace, room))
  }

  #introduce(peer: object, address: string, namespace: string): Party {
    const state = new PeerState(address, this.plan(namespace))
    // What policies see is frozen, as on a server; what the test holds stays as it is.
    state.facts = Object.isFrozen(peer) ? peer : { ...peer }
    state.establish()
    const handshake = handshakeOf({ auth: {}, address, secure: false, url: '/socket.io/', headers: this.defaults.headers }, this.now())
    return this.#add({ address, state, handshake, sockets: new Map() }, peer)
  }

  #add(party: Party, peer: object = party.state.facts): Party {
    const known = this.#known.get(peer)
    if (known === undefined) this.#known.set(peer, [party])
    else known.push(party)
    return party
  }
}

function idIn(namespace: string, id: string): string {
  return `${namespace} ${id}`
}
