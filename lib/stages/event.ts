import { EventEmitter } from 'node:events'
import { Deadline } from '../clock.ts'
import { isThenable } from '../compose.ts'
import type { Refused } from '../compose.ts'
import { DeliverContext, EventContext } from '../context.ts'
import type { Core } from '../core.ts'
import { Denied, PolicyFault } from '../errors.ts'
import { Lane } from '../lane.ts'
import { breach, DEPTH, measure } from '../limits.ts'
import { isReservedEvent, isWildcardProof } from '../pattern.ts'
import { identityOf } from '../peer.ts'
import type { Owed, PeerState } from '../peer.ts'
import type { EventPlan, ReplyPlan } from '../plan.ts'
import type { Validated, Validator } from '../schema.ts'
import { bare, DENIED_EVENT, defaultAckRefusal, deniedEventData } from '../wire.ts'
import type { Refusal } from '../wire.ts'
import { isControl } from './control.ts'
import type { ControlStage } from './control.ts'
import { runMiddleware } from './middleware.ts'
import { inherited, PacketType } from './socket-io.ts'
import type { Listener, Packet, RawSocket } from './socket-io.ts'

// Seam (Socket.IO 4.8.4): `_onpacket`, per socket. It runs before `onAny`, `socket.use` and the listeners, so nothing of
// the socket sees a refused event. `dispatch`, `emitReserved`, `onack`, `_onclose` and `registerAckCallback` are wrapped for containment only.

const REJECTION = Symbol.for('nodejs.rejection')
/** Where an ack function keeps the event it answers, so that a rejecting handler can be matched with it. */
const ANSWERS = Symbol('portcullis.answers')

/** Longest event name that is echoed in `gate:denied`. */
const MAX_ECHO = 128

export class EventStage {
  readonly #core: Core
  readonly #peers: WeakMap<object, PeerState>
  readonly #control: ControlStage
  /** The event that is being handed to Socket.IO right now: `onevent` calls `dispatch` before it returns. */
  #current: EventContext | undefined

  readonly #onpacket: (this: RawSocket, packet: Packet) => void
  readonly #dispatch: (this: RawSocket, event: unknown[]) => void
  readonly #rejected: (this: RawSocket, error: unknown, name: string, ...args: unknown[]) => void
  readonly #emitReserved: (this: RawSocket, name: string, ...args: unknown[]) => unknown
  readonly #onclose: (this: RawSocket, ...reason: unknown[]) => unknown
  readonly #registerAck: (this: RawSocket, id: number, ack: Listener) => void
  readonly #anyRejected: (socket: RawSocket, error: unknown, event: unknown[]) => void
  readonly #onAnyOutgoing: (this: RawSocket, listener: Listener) => RawSocket
  readonly #prependAnyOutgoing: (this: RawSocket, listener: Listener) => RawSocket

  constructor(core: Core, peers: WeakMap<object, PeerState>, control: ControlStage) {
    this.#core = core
    this.#peers = peers
    this.#control = control
    // Functions of the stage, not of the socket: each socket only points at them.
    const stage = this
    this.#onpacket = function (packet) {
      if (packet.type === PacketType.EVENT || packet.type === PacketType.BINARY_EVENT) stage.#receive(this, packet)
      else if (packet.type === PacketType.ACK || packet.type === PacketType.BINARY_ACK) stage.#receiveAck(this, packet)
      else inherited(this, '_onpacket').call(this, packet)
    }
    this.#dispatch = function (event) {
      stage.#handle(this, event, stage.#current)
    }
    this.#rejected = function (error, name, ...args) {
      stage.#rejectedHandler(this, error, name, args)
    }
    this.#emitReserved = function (name, ...args) {
      return stage.#contain(this, name, () => inherited(this, 'emitReserved').call(this, name, ...args))
    }
    this.#onclose = function (...reason) {
      const state = stage.#peers.get(this)!
      // A listener for `disconnecting` that disconnects would come back here for as long as there is stack.
      if (state.leaving || !this.connected) return this
      state.leaving = true
      return inherited(this, '_onclose').apply(this, reason)
    }
    this.#anyRejected = (socket, error, [name, ...args]) => this.#rejectedHandler(socket, error, String(name), args)
    const outgoingRejected = (socket: RawSocket, error: unknown, [name]: unknown[]): void => this.#core.fault(this.#unknown(socket, String(name)), error, 'handler')
    const outgoing = (method: 'onAnyOutgoing' | 'prependAnyOutgoing') =>
      function (this: RawSocket, listener: Listener): RawSocket {
        inherited(this, method).call(this, listener)
        containAll(this, this._anyOutgoingListeners!, outgoingRejected)
        return this
      }
    this.#onAnyOutgoing = outgoing('onAnyOutgoing')
    this.#prependAnyOutgoing = outgoing('prependAnyOutgoing')
    this.#registerAck = function (id, ack) {
      inherited(this, 'registerAckCallback').call(this, id, (...args) => {
        stage.#contain(this, 'ack', () => ack.apply(this, args))
      })
    }
  }

  install(socket: RawSocket): void {
    // Rejections of listeners come to this one socket's own handler. The global switch would send the error to the client.
    EventEmitter.call(socket as unknown as EventEmitter, { captureRejections: true })
    const own = socket as unknown as Record<string | symbol, unknown>
    own[REJECTION] = this.#rejected
    own['_onpacket'] = this.#onpacket
    own['dispatch'] = this.#dispatch
    own['emitReserved'] = this.#emitReserved
    own['_onclose'] = this.#onclose
    own['registerAckCallback'] = this.#registerAck
    own['onAnyOutgoing'] = this.#onAnyOutgoing
    own['prependAnyOutgoing'] = this.#prependAnyOutgoing
  }

  #receive(socket: RawSocket, packet: Packet): void {
    const state = this.#peers.get(socket)
    // After a disconnect in the same burst nothing is decided any more.
    if (state === undefined || !socket.connected) return
    const data = payloadOf(packet)
    const name = eventName(data[0])
    data[0] = name
    const args = data.slice(1)
    if (isControl(name)) return this.#control.receive(socket, state, name, args, packet.id ?? undefined)
    const plan = state.plan.event(name)
    const context = new EventContext(this.#core, socket, state.plan.name, name, args, packet.id !== undefined && packet.id !== null, state)

    const size = measure(args, plan.limits)
    if (size < 0 && !this.#overlooks(state, context, { error: breach(size), policy: 'limits' }, size === DEPTH)) return this.#refuse(socket, context, packet, { error: breach(size), policy: 'limits' })
    if (isReservedEvent(name)) return this.#refuse(socket, context, packet, { error: new Denied('UNKNOWN_EVENT'), policy: 'gate' })
    if (!plan.known && !this.#overlooks(state, context, { error: new Denied('UNKNOWN_EVENT'), policy: 'gate' }, false)) {
      return this.#refuse(socket, context, packet, { error: new Denied('UNKNOWN_EVENT'), policy: 'gate' })
    }

    const { lane } = state
    if (lane?.busy === true && !plan.unordered) {
      context.facts = state.facts
      const waits = lane.push(() => this.#decide(socket, state, plan, context, packet), Math.max(size, 0), this.#core.settings.lane)
      if (!waits) this.#refuse(socket, context, packet, { error: new Denied('OVERLOADED'), policy: 'lane' })
      return
    }
    this.#decide(socket, state, plan, context, packet)
  }

  /** In `observe` mode a refusal is reported and overlooked, unless what was sent could crash whoever relays it. */
  #overlooks(state: PeerState, context: EventContext, refused: Refused, crashes: boolean): boolean {
    if (state.plan.mode !== 'observe' || crashes) return false
    this.#core.unenforced(context, refused)
    return true
  }

  #decide(socket: RawSocket, state: PeerState, plan: EventPlan, context: EventContext, packet: Packet): void {
    if (!socket.connected) return
    const barred = state.barred(context)
    if (barred !== undefined) return this.#refuse(socket, context, packet, barred)
    const another = context.facts === undefined ? undefined : changed(state, context)
    if (another !== undefined) return this.#refuse(socket, context, packet, another)
    // A refresh may come while it is being decided: all of its policies see the same peer.
    context.facts = state.facts
    const verdict = plan.chain(context)
    if (!(verdict instanceof Promise)) return this.#conclude(socket, state, plan, context, packet, verdict)

    const lane = plan.unordered ? undefined : (state.lane ??= new Lane())
    if (lane !== undefined) lane.busy = true
    void verdict.then((late) => {
      // The time of its credential may have come while it was being decided.
      if (socket.connected) this.#conclude(socket, state, plan, context, packet, late ?? state.barredBy(this.#core.clock) ?? changed(state, context))
      else context.settle({ outcome: 'unacked' })
      lane?.release()
    })
  }

  #conclude(socket: RawSocket, state: PeerState, plan: EventPlan, context: EventContext, packet: Packet, refused: Refused | undefined): void {
    if (refused !== undefined) return this.#refuse(socket, context, packet, refused)
    const { wantsAck } = context
    if (wantsAck && plan.declared && !context.replied && isUnheard(socket, context.event)) {
      const unheard = { error: new Denied('UNKNOWN_EVENT'), policy: 'gate' }
      if (!this.#overlooks(state, context, unheard, false)) return this.#refuse(socket, context, packet, unheard)
    }
    let event: unknown[]
    try {
      event = [context.event, ...context.args]
    } catch (error) {
      // A policy has left a proxy there that throws when it is read.
      return this.#refuse(socket, context, packet, { error, policy: 'gate' })
    }
    this.#core.admitted(context)
    if (context.awaited) (state.unsettled ??= new Set()).add(context)
    if (wantsAck) {
      const pending = new PendingAck(this.#core, socket, context, packet.id!, plan.reply)
      // An event that nothing was declared for is answered as without a gate: whenever its handler likes.
      if (plan.declared) this.#core.acks.push(pending, context.now)
      state.owe(pending)
      // Until the handler answers the context stays; what the client sent need not, unless somebody waits to be told how it ended.
      if (!context.awaited) context.args = []
      if (context.replied) return pending.reply(context.answer)
      context.owed = pending
      event.push(pending.callback())
    } else if (context.replied) {
      return context.settle({ outcome: 'replied', value: context.answer })
    } else if (context.awaited && socket.fns.length > 0) {
      // `socket.use` may keep it for ever, and somebody waits for its fate.
      const kept = this.#core.acks.add(() => context.settle({ outcome: 'unacked' }))
      context.onSettled(() => kept.cancel())
    }
    packet.id = undefined
    packet.data = event
    this.#hand(socket, context, packet)
  }

  /** Hands an admitted event to Socket.IO, in the async context of the innermost hook. */
  #hand(socket: RawSocket, context: EventContext, packet: Packet): void {
    const outer = this.#current
    if (socket._anyListeners !== undefined) containAll(socket, socket._anyListeners, this.#anyRejected)
    this.#current = context
    try {
      if (context.resource === undefined) socket.onevent(packet)
      else context.resource.runInAsyncScope(socket.onevent, socket, packet)
    } catch (error) {
      this.#failed(socket, context, error, packet.data as unknown[])
    } finally {
      this.#current = outer
    }
  }

  /** In place of `Socket.dispatch`: the same steps, with every throw contained. */
  #handle(socket: RawSocket, event: unknown[], context: EventContext | undefined): void {
    if (socket.fns.length === 0) {
      process.nextTick(this.#emit, this, socket, event, context)
      return
    }
    runMiddleware(
      socket.fns.slice(),
      event,
      (error) => new Failure(error),
      (error) => this.#core.fault(context ?? this.#unknown(socket, String(event[0])), error, 'socket.use'),
      (error) => {
        if (error instanceof Failure) this.#failed(socket, context, error.cause, event)
        else if (error) process.nextTick(() => this.#blocked(socket, event, context, error))
        else process.nextTick(this.#emit, this, socket, event, context)
      },
    )
  }

  #emit(stage: EventStage, socket: RawSocket, event: unknown[], context: EventContext | undefined): void {
    if (!socket.connected) return context?.settle({ outcome: 'unacked' })
    try {
      socket.emitUntyped(...event)
    } catch (error) {
      return stage.#failed(socket, context, error, event)
    }
    if (context?.wantsAck === false) context.settle({ outcome: 'handled' })
  }

  /** A middleware of the application (`socket.use`) said no: as in Socket.IO, and its ack is answered. */
  #blocked(socket: RawSocket, event: unknown[], context: EventContext | undefined, error: unknown): void {
    socket._onerror(error)
    if (context !== undefined) this.#answerFailure(socket, context, error instanceof Denied ? error : new Denied('FORBIDDEN', undefined, error), event, 'socket.use')
  }

  #failed(socket: RawSocket, context: EventContext | undefined, error: unknown, event: unknown[]): void {
    this.#answerFailure(socket, context ?? this.#unknown(socket, String(event[0])), error, event, 'handler')
  }

  #rejectedHandler(socket: RawSocket, error: unknown, name: string, args: unknown[]): void {
    const context = (args.at(-1) as { [ANSWERS]?: PendingAck } | undefined)?.[ANSWERS]?.context
    // Without an ack the event can no longer be told; its name can, unless the listener was one for what Socket.IO itself says.
    const silent = isWildcardProof(name) || !socket.connected
    this.#answerFailure(socket, context ?? this.#unknown(socket, name, silent), error, [name, ...args], 'handler')
  }

  /** A handler failed: its ack, if it still owes one, says so; without one, `gate:denied` does. */
  #answerFailure(socket: RawSocket, context: EventContext, error: unknown, event: readonly unknown[], policy: string): void {
    const refusal = this.#core.refused(context, { error, policy })
    const pending = context.owed ?? (event.at(-1) as { [ANSWERS]?: PendingAck } | undefined)?.[ANSWERS]
    if (pending !== undefined) pending.refuse(refusal)
    else if (!context.wantsAck) this.#notify(socket, context, refusal)
    context.settle({ outcome: 'failed', error })
  }

  #refuse(socket: RawSocket, context: EventContext, packet: Packet, refused: Refused): void {
    const refusal = this.#core.refused(context, refused)
    if (context.wantsAck) sendRefusal(this.#core, socket, context, packet.id!, refusal)
    else this.#notify(socket, context, refusal)
    context.settle({ outcome: 'refused', refusal, error: refused.error })
  }

  #notify(socket: RawSocket, context: EventContext, refusal: Refusal): void {
    if (!this.#core.settings.refusalEvent) return
    if (!context.state.mayNotice(context.now)) return
    const notice = (refused: Refusal): Packet => ({ type: PacketType.EVENT, data: [DENIED_EVENT, deniedEventData(context.event.slice(0, MAX_ECHO), refused)] })
    if (!send(this.#core, socket, context, notice(refusal))) send(this.#core, socket, context, notice(bare(refusal)))
  }

  #receiveAck(socket: RawSocket, packet: Packet): void {
    const state = this.#peers.get(socket)!
    const size = measure(payloadOf(packet), state.plan.limits)
    // An answer says something, too: nobody whose credential is over gives one.
    const barred = state.barredBy(this.#core.clock)
    const refused = barred ?? (size < 0 ? { error: breach(size), policy: 'limits' } : undefined)
    if (refused !== undefined) {
      const context = this.#unknown(socket, 'ack')
      if (barred !== undefined || !this.#overlooks(state, context, refused, size === DEPTH)) {
        this.#core.refused(context, refused)
        return
      }
    }
    this.#contain(socket, 'ack', () => socket.onack(packet))
  }

  #contain(socket: RawSocket, name: string, run: () => unknown): unknown {
    const failed = (error: unknown): void => this.#core.fault(this.#unknown(socket, name), error, 'handler')
    try {
      const returned = run()
      if (isThenable(returned)) Promise.resolve(returned).catch(failed)
      return returned
    } catch (error) {
      failed(error)
      return undefined
    }
  }

  /** A context for records, where something failed outside the event it belongs to. `silent`: nobody but operators is told. */
  #unknown(socket: RawSocket, event: string, silent = true): EventContext {
    const state = this.#peers.get(socket)!
    return new EventContext(this.#core, socket, state.plan.name, event, [], silent, state)
  }
}

/** Socket.IO calls a slice of the catch-all listeners, and drops what they return: a rejection of theirs would end the process. */
function containAll(socket: RawSocket, listeners: Listener[], rejected: (socket: RawSocket, error: unknown, event: unknown[]) => void): void {
  if (Object.hasOwn(listeners, 'slice')) return
  const contained = (): Listener[] =>
    Array.from(listeners, (listener) => (...event: unknown[]) => {
      const returned = listener.apply(socket, event)
      if (isThenable(returned)) Promise.resolve(returned).catch((error: unknown) => rejected(socket, error, event))
    })
  Object.defineProperty(listeners, 'slice', { value: contained })
}

/** A middleware of the application that threw, as against one that said no. */
class Failure {
  constructor(readonly cause: unknown) {}
}

/** What somebody has sent, or what was decided about it, is not handled as of another, or of nobody. */
function changed(state: PeerState, { facts }: EventContext): Refused | undefined {
  if (state.facts === facts || identityOf(state.facts) === identityOf(facts!)) return undefined
  return { error: new Denied('CREDENTIAL_EXPIRED', undefined, 'the peer has become somebody else since the event came'), policy: 'gate' }
}

/** The parser lets a packet without any payload through. */
function payloadOf(packet: Packet): unknown[] {
  return (packet.data ??= []) as unknown[]
}

/** The parsers let numbers through as names; tables and listeners are keyed by text. */
function eventName(name: unknown): string {
  return typeof name === 'string' ? name : typeof name === 'number' ? String(name) : ''
}

/** Whether an acked event would reach nobody at all, and its ack never come. */
function isUnheard(socket: RawSocket, event: string): boolean {
  return socket.listenerCount(event) === 0 && socket.fns.length === 0 && (socket._anyListeners === undefined || socket._anyListeners.length === 0)
}

/** The ack of one admitted event: answered once, by the handler, by a failure or by time. */
class PendingAck extends Deadline implements Owed {
  earlier: Owed | undefined = undefined
  later: Owed | undefined = undefined
  #answered = false

  constructor(
    readonly core: Core,
    readonly socket: RawSocket,
    readonly context: EventContext,
    readonly id: number,
    readonly plan: ReplyPlan | undefined,
  ) {
    super()
  }

  callback(): (...args: unknown[]) => void {
    const callback = (...args: unknown[]): void => {
      if (this.#close()) this.#finish(args, { outcome: 'acked', args })
    }
    ;(callback as { [ANSWERS]?: PendingAck })[ANSWERS] = this
    return callback
  }

  reply(value: unknown): void {
    this.#close()
    this.#finish(value === undefined ? [] : [value], { outcome: 'replied', value })
  }

  refuse(refusal: Refusal): void {
    if (this.#close()) sendRefusal(this.core, this.socket, this.context, this.id, refusal)
  }

  giveUp(): void {
    this.#close()
    this.context.settle({ outcome: 'unacked' })
  }

  /** @returns false where it was answered, or given up, before */
  #close(): boolean {
    if (this.#answered) return false
    this.#answered = true
    this.cancel()
    this.context.state.settle(this)
    return true
  }

  override expired(): void {
    const late = { error: new PolicyFault('the handler did not call the ack in time', 'handler', { code: 'DEADLINE_EXCEEDED' }), policy: 'handler' }
    // The handler may still answer: nothing is refused there.
    if (this.context.state.plan.mode === 'observe') return this.core.unenforced(this.context, late)
    if (this.socket.connected) this.refuse(this.core.refused(this.context, late))
    this.context.settle({ outcome: 'unacked' })
  }

  #finish(args: unknown[], fate: { outcome: 'acked'; args: unknown[] } | { outcome: 'replied'; value: unknown }): void {
    const { plan, context } = this
    if (plan === undefined) this.#send(args)
    else if (plan.validate === undefined) this.#deliver(args, plan)
    else this.#check(args, plan, plan.validate)
    context.settle(fate)
  }

  /** The contract of a reply. In `observe` mode it is held against the answer, which goes out as it is. */
  #check(args: unknown[], plan: ReplyPlan, validate: Validator): void {
    const { context, core } = this
    const observing = context.state.plan.mode === 'observe'
    const failed = (error: unknown): void => {
      if (!observing) return this.#spoil(error, 'contract')
      core.unenforced(context, { error, policy: 'contract' })
      this.#deliver(args, plan)
    }
    const conclude = (checked: Validated): void => {
      if ('issues' in checked) failed(new PolicyFault('a reply does not match its schema', 'contract', { cause: checked.issues }))
      else this.#deliver(observing ? args : checked.args, plan)
    }
    try {
      const checked = validate(args)
      if (checked instanceof Promise) void checked.then(conclude, failed)
      else conclude(checked)
    } catch (error) {
      failed(error)
    }
  }

  #deliver(args: unknown[], plan: ReplyPlan): void {
    if (plan.deliver === undefined) return this.#send(args)
    const { socket, context } = this
    const outgoing = new DeliverContext(this.core, socket, context.namespace, context.event, args, 'reply', context.state)
    const verdict = plan.deliver.chain(outgoing)
    if (verdict === undefined) {
      this.#send(outgoing.args as unknown[])
      return outgoing.settle({ outcome: 'handled' })
    }
    const refusal = this.core.refused(outgoing, verdict)
    sendRefusal(this.core, socket, context, this.id, refusal)
    outgoing.settle({ outcome: 'refused', refusal, error: verdict.error })
  }

  #send(args: unknown[]): void {
    try {
      this.socket.packet({ type: PacketType.ACK, id: this.id, data: args })
    } catch (error) {
      // What the handler answered cannot be encoded (a BigInt, a structure too deep): the client still gets its ack.
      this.#spoil(error, 'handler')
    }
  }

  #spoil(error: unknown, policy: string): void {
    sendRefusal(this.core, this.socket, this.context, this.id, this.core.refused(this.context, { error, policy }))
  }
}

function sendRefusal(core: Core, socket: RawSocket, context: EventContext, id: number, refusal: Refusal): void {
  let data: unknown[]
  try {
    data = core.settings.ackRefusal(refusal)
    if (!Array.isArray(data)) throw new TypeError('ackRefusal must return an array, the arguments of the ack')
  } catch (error) {
    core.fault(context, error, 'ackRefusal')
    data = defaultAckRefusal(refusal)
  }
  if (send(core, socket, context, { type: PacketType.ACK, id, data })) return
  send(core, socket, context, { type: PacketType.ACK, id, data: defaultAckRefusal(bare(refusal)) })
}

/** Writes a packet of the gate itself. @returns false when it could not be encoded */
function send(core: Core, socket: RawSocket, context: EventContext, packet: Packet): boolean {
  try {
    socket.packet(packet)
    return true
  } catch (error) {
    core.fault(context, error, 'wire')
    return false
  }
}
