import { AudienceContext, DeliverContext } from '../context.ts'
import type { Core } from '../core.ts'
import { Denied } from '../errors.ts'
import type { PeerState } from '../peer.ts'
import type { DeliverPlan, NamespacePlan } from '../plan.ts'
import { inherited, PacketType, underlying } from './socket-io.ts'
import type { BroadcastOptions, Packet, RawAdapter, RawClient, RawNamespace, RawSocket, WriteOptions } from './socket-io.ts'

// Seam (Socket.IO 4.8.4): `socket.notifyOutgoingListeners`, which every outgoing event passes, also one from another node,
// followed at once by `client._packet` (one socket) or `client.writeToEngine` (a broadcast), which obeys what was decided.

/** What `notifyOutgoingListeners` has decided for the write that follows it. Names its packet: the encoder may throw in between. */
interface Mark {
  readonly packet: Packet
  /** Undefined to let nothing out. */
  readonly instead: Rewritten | undefined
}

interface Rewritten {
  readonly packet: Packet
  readonly adapter: RawAdapter
  /** Encoded once for everybody who gets the same. */
  encoded: { readonly packets: unknown[]; readonly opts: WriteOptions } | undefined
}

type Outcome = 'pass' | 'drop' | Rewritten

/** The decisions of the packet that is being sent right now; a broadcast asks for many recipients in one go. */
interface Sending {
  readonly packet: Packet
  /** A broadcast on a parent namespace sends one packet through all its children. */
  readonly namespace: NamespacePlan
  readonly plan: DeliverPlan | 'deny'
  readonly name: string
  /** The arguments, without the offset that recovery appends. */
  readonly args: readonly unknown[]
  readonly offset: readonly unknown[]
  readonly outcomes: Map<unknown, unknown>
}

const PASS = 'pass'
const DROP = 'drop'

export class DeliverStage {
  readonly #core: Core
  readonly #peers: WeakMap<object, PeerState>
  readonly #marks = new WeakMap<RawClient, Mark>()
  #sending: Sending | undefined
  /** How many arguments a packet had, its name included, before recovery appended to it. */
  readonly #lengths = new WeakMap<Packet, number>()
  /** The broadcast whose recipients are being visited; known with recovery only. */
  #broadcast: BroadcastOptions | undefined
  readonly #notify: (this: RawSocket, packet: Packet) => void
  readonly #packet: (this: RawClient, packet: Packet, opts?: WriteOptions) => void
  readonly #write: (this: RawClient, encoded: unknown, opts: WriteOptions) => void

  constructor(core: Core, peers: WeakMap<object, PeerState>) {
    this.#core = core
    this.#peers = peers
    const stage = this
    this.#notify = function (packet) {
      stage.#decide(this, packet)
    }
    this.#packet = function (packet, opts) {
      stage.#single(this, packet, opts)
    }
    this.#write = function (encoded, opts) {
      stage.#broadcastWrite(this, encoded, opts)
    }
  }

  install(socket: RawSocket, plan: NamespacePlan): void {
    if (plan.guardsDeliveries) this.#wrap(socket)
  }

  /** From now on its state decides whether anything reaches it. */
  mute(socket: RawSocket): void {
    this.#wrap(socket)
  }

  /** A packet is not written after all: what was decided about it must not meet the next one. */
  withhold({ client }: RawSocket): void {
    this.#marks.delete(client)
  }

  #wrap(socket: RawSocket): void {
    socket.notifyOutgoingListeners = this.#notify
    const { client } = socket
    client._packet = this.#packet
    client.writeToEngine = this.#write
  }

  /** Recovery appends an offset to what it stores: to the arguments, before anybody is asked. */
  guardAdapter(namespace: RawNamespace): void {
    if (namespace.server.opts.connectionStateRecovery === undefined) return
    const { adapter } = namespace
    const [broadcast, apply] = [underlying(adapter, 'broadcast'), underlying(adapter, 'apply')]
    adapter.broadcast = (packet, options) => {
      // A broadcast on a parent namespace comes here once for each child, and each appends an offset of its own.
      if (!this.#lengths.has(packet)) this.#lengths.set(packet, (packet.data as unknown[]).length)
      return broadcast().call(adapter, packet, options)
    }
    adapter.apply = (options, callback) => {
      const outer = this.#broadcast
      this.#broadcast = options
      try {
        return apply().call(adapter, options, callback)
      } finally {
        this.#broadcast = outer
      }
    }
  }

  #decide(socket: RawSocket, packet: Packet): void {
    const state = this.#peers.get(socket)!
    let outcome: Outcome
    try {
      outcome = state.muted ? DROP : this.#outcome(socket, packet, state)
    } catch (error) {
      // Nothing may be thrown here: it would break the loop for the remaining recipients.
      this.#core.fault(this.#context(socket, String((packet.data as unknown[])[0]), [], state), error, 'deliver')
      outcome = DROP
    }
    // The listeners first: one of them may send something itself, and its packet would use up this mark.
    if (outcome !== DROP) inherited(socket, 'notifyOutgoingListeners').call(socket, outcome === PASS ? packet : outcome.packet)
    // Whom a question does not reach cannot answer it: the ids of acks are easily guessed.
    if (outcome === DROP && packet.id !== undefined) socket.acks.delete(packet.id)
    if (outcome === PASS) this.#marks.delete(socket.client)
    else this.#marks.set(socket.client, { packet, instead: outcome === DROP ? undefined : outcome })
  }

  #outcome(socket: RawSocket, packet: Packet, state: PeerState): Outcome {
    const current = this.#sending
    const sending = current !== undefined && current.packet === packet && current.namespace === state.plan ? current : this.#begin(packet, state.plan, socket.adapter)
    if (sending === undefined) return PASS
    const { plan } = sending
    if (plan === 'deny') {
      const enforced = state.plan.mode !== 'observe'
      this.#core.refused(this.#context(socket, sending.name, sending.args, state), { error: new Denied('UNKNOWN_EVENT'), policy: 'gate' }, enforced)
      return enforced ? DROP : PASS
    }
    return plan.shared === undefined ? this.#ask(socket, sending, plan, state) : this.#askAudience(socket, sending, plan.shared, state)
  }

  #begin(packet: Packet, plan: NamespacePlan, adapter: RawAdapter): Sending | undefined {
    const data = packet.data as unknown[]
    const name = String(data[0])
    const deliver = plan.delivery(name)
    if (deliver === undefined) return undefined
    const end = this.#lengths.get(packet) ?? (this.#isStored(packet, adapter) ? data.length - 1 : data.length)
    const sending: Sending = { packet, namespace: plan, plan: deliver, name, args: data.slice(1, end), offset: data.slice(end), outcomes: new Map() }
    if (this.#sending === undefined) queueMicrotask(() => (this.#sending = undefined))
    this.#sending = sending
    return sending
  }

  /** Whether a packet that another node has sent carries an offset, which adapters of clusters append where they receive it. */
  #isStored(packet: Packet, adapter: RawAdapter): boolean {
    return this.#broadcast !== undefined && packet.id === undefined && this.#broadcast.flags?.volatile === undefined && typeof adapter.addOffsetIfNecessary === 'function'
  }

  #ask(socket: RawSocket, sending: Sending, plan: DeliverPlan, state: PeerState): Outcome {
    const context = this.#context(socket, sending.name, sending.args, state)
    const refused = plan.chain(context)
    if (refused !== undefined) {
      const refusal = this.#core.refused(context, refused)
      context.settle({ outcome: 'refused', refusal, error: refused.error })
      return DROP
    }
    this.#core.admitted(context)
    context.settle({ outcome: 'handled' })
    return context.args === sending.args ? PASS : rewrite(sending, context.args, socket.adapter)
  }

  #askAudience(socket: RawSocket, sending: Sending, { audiences, chain }: NonNullable<DeliverPlan['shared']>, state: PeerState): Outcome {
    let branch = sending.outcomes
    const last = audiences.length - 1
    const asked: unknown[] = []
    for (let index = 0; index < last; index++) {
      const audience = audiences[index]!(state.facts)
      asked.push(audience)
      let deeper = branch.get(audience) as Map<unknown, unknown> | undefined
      if (deeper === undefined) branch.set(audience, (deeper = new Map()))
      branch = deeper
    }
    const audience = audiences[last]!(state.facts)
    const known = branch.get(audience) as Outcome | undefined
    if (known !== undefined) return known
    asked.push(audience)

    const context = new AudienceContext(this.#core, state.plan.name, sending.name, sending.args, asked)
    const refused = chain(context)
    let outcome: Outcome
    if (refused === undefined) {
      this.#core.admitted(context)
      outcome = context.args === sending.args ? PASS : rewrite(sending, context.args, socket.adapter)
    } else {
      this.#core.refused(this.#context(socket, sending.name, sending.args, state), refused)
      outcome = DROP
    }
    branch.set(audience, outcome)
    return outcome
  }

  /** One socket: the packet is about to be encoded. */
  #single(client: RawClient, packet: Packet, opts: WriteOptions | undefined): void {
    const mark = this.#marks.get(client)
    if (mark !== undefined) {
      this.#marks.delete(client)
      if (mark.packet === packet) {
        if (mark.instead === undefined) return
        const instead = { ...mark.instead.packet, nsp: packet.nsp! }
        return inherited(client, '_packet').call(client, instead, opts)
      }
    }
    inherited(client, '_packet').call(client, packet, opts)
  }

  /** A broadcast: the packet was encoded for everybody, and this recipient may get another, or none. */
  #broadcastWrite(client: RawClient, encoded: unknown, opts: WriteOptions): void {
    const mark = this.#marks.get(client)
    if (mark === undefined) return inherited(client, 'writeToEngine').call(client, encoded, opts)
    this.#marks.delete(client)
    const { instead } = mark
    if (instead === undefined) return
    if (instead.encoded === undefined) {
      // The frame computed in advance holds the original, and would win over the new packet.
      const { wsPreEncodedFrame: _original, ...own } = opts
      try {
        instead.encoded = { packets: instead.adapter._encode(instead.packet, own), opts: own }
      } catch (error) {
        this.#core.fault(this.#contextOf(client, instead.packet), error, 'deliver')
        return
      }
    }
    inherited(client, 'writeToEngine').call(client, instead.encoded.packets, instead.encoded.opts)
  }

  #contextOf(client: RawClient, packet: Packet): DeliverContext {
    const socket = client.nsps.get(packet.nsp!)!
    return this.#context(socket, String((packet.data as unknown[])[0]), [], this.#peers.get(socket)!)
  }

  #context(socket: RawSocket, name: string, args: readonly unknown[], state: PeerState): DeliverContext {
    return new DeliverContext(this.#core, socket, state.plan.name, name, args, 'live', state)
  }
}

function rewrite({ packet, name, offset }: Sending, args: readonly unknown[], adapter: RawAdapter): Rewritten {
  return { packet: { ...packet, type: PacketType.EVENT, data: [name, ...args, ...offset] }, adapter, encoded: undefined }
}
