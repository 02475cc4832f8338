import { memoryStore } from '../../adapters/memory.ts'
import type { Clock } from '../clock.ts'
import type { Refused } from '../compose.ts'
import { ConnectContext, EventContext, JoinContext, Opener, RequestContext } from '../context.ts'
import type { Context } from '../context.ts'
import { Core } from '../core.ts'
import { Denied } from '../errors.ts'
import type { Gate } from '../gate.ts'
import { DeclaringGate } from '../guard.ts'
import { Lane } from '../lane.ts'
import { breach, DEPTH, measure } from '../limits.ts'
import type { Limits } from '../limits.ts'
import { resolveOptions } from '../options.ts'
import { isReservedEvent } from '../pattern.ts'
import { PeerState } from '../peer.ts'
import type { EventPlan, NamespacePlan } from '../plan.ts'
import type { AnyPolicy } from '../policy.ts'
import type { Store } from '../store.ts'
import { connectErrorData, DENIED_EVENT, deniedEventData, httpAnswer, OWN_PREFIX } from '../wire.ts'
import type { Refusal } from '../wire.ts'
import { testClock } from './clock.ts'
import { bar, decide } from './decide.ts'
import { Delivery } from './delivery.ts'
import { Parties } from './parties.ts'
import type { ConnectQuestion, DeliverQuestion, EventQuestion, HarnessOptions, JoinQuestion, RequestQuestion, Subject } from './questions.ts'
import { greet } from './presence.ts'
import { answerOf } from './reply.ts'
import { record, Result } from './result.ts'
import type { RecordedDecision } from './result.ts'
import { handshakeOf, requestOf } from './stand-ins.ts'

/**
 * Puts policies to the test in this process: the plans, chains, limits and forms of refusal of a guarded server, without a server.
 * Nothing is mocked and nothing waits: time is an injected clock.
 *
 * Policies given alone meet every name (`undeclared` is `'allow'`); a function that declares is held to what it declares, as on a server.
 * What only a server has is not part of it: engine sessions and their pinned Origin, recovery, other nodes, the application's own middleware.
 *
 * @example
 * const probe = harness(rateLimit({ limit: 3, perMs: 1_000 }))
 * for (let i = 0; i < 3; i++) expect(await probe.event('ping')).toEqual(admitted())
 * expect(await probe.event('ping')).toEqual(denied('RATE_LIMITED', { retryAfterMs: 334 }))
 *
 * @example
 * const probe = harness((gate) => gate.of('/chat', chat).event('message:send', sanitize({ mode: 'strip' })), { namespace: '/chat' })
 * @throws ConfigError where the same declarations would throw on a server
 */
export function harness(subject: Subject, options: HarnessOptions = {}): Probe {
  return new Probe(subject, options)
}

const ADDRESS = '203.0.113.7'
const URL = '/socket.io/?EIO=4&transport=websocket'
const HANDLED = { outcome: 'handled' } as const
/** Longest event name that is echoed in `gate:denied`. */
const MAX_ECHO = 128

/** The other end of a gate: asks it what a client, a handler or a broadcast would. Made by {@link harness}. */
export class Probe {
  readonly clock: Clock
  readonly store: Store
  /** What observers were told, so far. */
  readonly decisions: RecordedDecision[] = []
  readonly #core: Core
  readonly #gate: DeclaringGate
  /** Undefined where the subject has declared for itself. */
  readonly #policies: readonly AnyPolicy[] | undefined
  readonly #patterned = new Map<string, DeclaringGate>()
  readonly #parties: Parties

  /** @internal */
  constructor(subject: Subject, options: HarnessOptions) {
    const { peer = {}, address = ADDRESS, headers = {}, namespace = '/', socketId = 'probe', ...guarding } = options
    this.clock = guarding.clock ?? testClock()
    this.store = guarding.store ?? memoryStore({ clock: this.clock })
    const alone = typeof subject === 'function' ? {} : { undeclared: 'allow' as const }
    this.#core = new Core(resolveOptions({ ...alone, ...guarding, clock: this.clock, store: this.store }, undefined))
    for (const outcome of ['admitted', 'denied', 'fault'] as const) this.#core.observers.on(outcome, (decision) => void this.decisions.push(record(decision)))
    this.#gate = new DeclaringGate(this.#core)
    this.#parties = new Parties({ peer, address, headers, namespace, socketId }, (name) => this.#gate.declared.plan(name), () => this.clock.now())
    if (typeof subject === 'function') {
      subject(this.#gate as unknown as Gate)
      return
    }
    this.#policies = Array.isArray(subject) ? (subject as readonly AnyPolicy[]) : [subject as AnyPolicy]
    for (const policy of this.#policies) this.#gate.use(policy)
  }

  /** An HTTP request, or an upgrade, reaches the engine. */
  async request(question: RequestQuestion = {}): Promise<Result> {
    const { defaults } = this.#parties
    const { method = 'GET', url = URL, headers, address = defaults.address, opener, opening = opener === undefined, upgrade = false, secure = false } = question
    const request = requestOf({ url, address, secure, auth: {}, headers: { ...defaults.headers, ...headers } }, method)
    const context = new RequestContext(this.#core, request, this.#core.settings.addressOf(request, undefined), opening, upgrade, opener && new Opener(opener.address, opener.userAgent, opener.cookie))
    return decide(this.#core, context, this.#gate.declared.request(), { refused: httpAnswer, admitted: () => handled(context) })
  }

  /** A client asks to enter a namespace. The result's `facts` are what the policies gave; `close()` ends the peer. */
  async connect(question: ConnectQuestion = {}): Promise<Result> {
    const { defaults } = this.#parties
    const { auth = {}, headers, address = defaults.address, namespace = defaults.namespace, cause = 'connect', secure = false, url = URL } = question
    const presence = { auth, address, secure, url, headers: { ...defaults.headers, ...headers } }
    const request = requestOf(presence, 'GET')
    const handshake = handshakeOf(presence, this.clock.now())
    const plan = this.#gate.declared.plan(namespace)
    const state = new PeerState(this.#core.settings.addressOf(request, address), plan)
    const context = new ConnectContext(this.#core, namespace, handshake, request, cause, state)
    const barred = this.#barOversized(context, plan, [auth], { ...plan.limits, maxBytes: plan.limits.maxAuthBytes }) ?? this.#bar(context, plan, plan.covered ? undefined : 'UNKNOWN_NAMESPACE')

    let leave = (): void => {}
    const close = (): void => {
      leave()
      for (const alarm of state.alarms ?? []) this.#core.agenda.remove(alarm)
      state.close((error) => this.#core.fault(context, error, 'onClose'))
    }
    const admitted = (): { facts: object } => {
      state.establish()
      leave = this.#parties.enter(state, handshake, address)
      context.settle(HANDLED)
      greet(this.#core, context, state, () => this.#parties.find({ peer: state.facts, namespace }).socket, close)
      return { facts: state.facts }
    }
    const result = await decide(this.#core, context, barred ?? plan.connect, { refused: connectErrorData, admitted, ends: { close } })
    if (result.outcome !== 'admitted') close()
    return result
  }

  /**
   * A client sends an event. Events of one peer keep their order, as on a server: one that is asked while an earlier one is being
   * decided waits for it, unless it is declared `unordered()`.
   */
  async event(name: string, data?: unknown, question: EventQuestion = {}): Promise<Result> {
    const { state, socket } = this.#parties.find(question)
    const { plan } = state
    const event = plan.event(name)
    const args = argsOf(data, question.args)
    const context = new EventContext(this.#core, socket, plan.name, name, args, question.ack === true, state)
    const barred =
      this.#barOversized(context, plan, args, event.limits) ??
      (isReservedEvent(name) ? { error: new Denied('UNKNOWN_EVENT'), policy: 'gate' } : undefined) ??
      this.#bar(context, plan, event.known ? undefined : 'UNKNOWN_EVENT') ??
      state.barred(context)
    if (barred !== undefined) return this.#conclude(context, event, barred, undefined, false)

    if (event.unordered) return this.#conclude(context, event, event.chain, undefined, false)
    const lane = (state.lane ??= new Lane())
    if (!lane.busy) return this.#conclude(context, event, event.chain, lane, false)
    return new Promise((resolve) => {
      const start = (): void => resolve(this.#conclude(context, event, event.chain, lane, true))
      const waits = lane.push(start, Math.max(measure(args, event.limits), 0), this.#core.settings.lane)
      if (!waits) resolve(this.#conclude(context, event, { error: new Denied('OVERLOADED'), policy: 'lane' }, undefined, false))
    })
  }

  /** A socket is about to be put in a room, by the server's own code. */
  async join(room: string, question: JoinQuestion = {}): Promise<Result> {
    const { state, socket } = this.#parties.find(question)
    if (room === socket.id) return new Result({ outcome: 'admitted', sync: true })
    const plan = question.pattern === undefined ? state.plan : this.#under(question.pattern).declared.plan(state.plan.name)
    const context = new JoinContext(this.#core, socket, plan.name, room, question.cause ?? 'join', state)
    const { known, chain } = plan.room(room)
    const foreign = room.startsWith(OWN_PREFIX) || this.#parties.isSocket(plan.name, room)
    const full = socket.rooms.size > plan.limits.maxRooms && !socket.rooms.has(room)
    const barred =
      state.barred(context) ??
      this.#bar(context, plan, foreign ? 'FORBIDDEN' : undefined) ??
      bar(this.#core, context, plan, full ? new Denied('FORBIDDEN', { limit: 'maxRooms' }) : undefined, 'limits') ??
      this.#bar(context, plan, known ? undefined : 'UNKNOWN_ROOM')
    const admitted = (): object => {
      socket.rooms.add(room)
      return handled(context)
    }
    return decide(this.#core, context, barred ?? chain, { refused: () => undefined, admitted })
  }

  /** A packet is about to leave for one recipient. */
  async deliver(name: string, data?: unknown, question: DeliverQuestion = {}): Promise<Result> {
    const { state, socket } = this.#parties.find(question)
    return new Delivery(this.#core, name, argsOf(data, question.args), question.cause ?? 'live').to(state, socket)
  }

  /**
   * One packet is about to leave for several recipients. Hooks that have an audience are asked once for each distinct one.
   *
   * @param peers the facts of each recipient
   * @returns a result for each recipient, in this order
   */
  async broadcast(name: string, data: unknown, peers: readonly object[]): Promise<Result[]> {
    const delivery = new Delivery(this.#core, name, argsOf(data, undefined), 'live')
    return peers.map((peer, index) => {
      const { state, socket } = this.#parties.find({ peer, socketId: `${this.#parties.defaults.socketId}-${index}` })
      return delivery.to(state, socket)
    })
  }

  /** Decides an event, and answers it where a hook has called `ctx.reply`. */
  async #conclude(context: EventContext, event: EventPlan, what: Refused | EventPlan['chain'], lane: Lane | undefined, waited: boolean): Promise<Result> {
    const { settings } = this.#core
    const refused = (refusal: Refusal): unknown => {
      if (context.wantsAck) return settings.ackRefusal(refusal)
      return settings.refusalEvent ? [DENIED_EVENT, deniedEventData(context.event.slice(0, MAX_ECHO), refusal)] : undefined
    }
    const ack = async (args: unknown[]): Promise<readonly unknown[]> => {
      const answer = await answerOf(this.#core, context, event.reply, args)
      context.settle({ outcome: 'acked', args })
      return answer.args
    }
    const settle = context.settle.bind(context)
    const result = await decide(this.#core, context, what, { refused, admitted: () => ({ args: context.args }), ends: context.wantsAck ? { settle, ack } : { settle }, waited }, lane)
    if (result.outcome !== 'admitted' || !context.replied) return result

    const { sync } = result
    const value = context.answer
    if (!context.wantsAck) {
      context.settle({ outcome: 'replied', value })
      return new Result({ outcome: 'replied', sync, value })
    }
    const { args, refused: spoilt } = await answerOf(this.#core, context, event.reply, value === undefined ? [] : [value])
    context.settle({ outcome: 'replied', value })
    if (spoilt === undefined) return new Result({ outcome: 'replied', sync, value, sent: args })
    return new Result({ outcome: spoilt.error instanceof Denied ? 'denied' : 'fault', sync, sent: args, ...spoilt })
  }

  #barOversized(context: Context, plan: NamespacePlan, args: readonly unknown[], limits: Limits): Refused | undefined {
    const size = measure(args, limits)
    return size < 0 ? bar(this.#core, context, plan, breach(size), 'limits', size === DEPTH) : undefined
  }

  #bar(context: Context, plan: NamespacePlan, code: 'UNKNOWN_NAMESPACE' | 'UNKNOWN_EVENT' | 'UNKNOWN_ROOM' | 'FORBIDDEN' | undefined): Refused | undefined {
    return bar(this.#core, context, plan, code === undefined ? undefined : new Denied(code))
  }

  /** The gate on which the policies stand in one `.join(pattern, ...)`. */
  #under(pattern: string): DeclaringGate {
    if (this.#policies === undefined) throw new TypeError('join: `pattern` is for policies that are tested alone; declarations have patterns of their own.')
    let gate = this.#patterned.get(pattern)
    if (gate === undefined) {
      gate = new DeclaringGate(this.#core)
      gate.join(pattern, ...this.#policies.filter(({ join }) => join !== undefined))
      this.#patterned.set(pattern, gate)
    }
    return gate
  }
}

function argsOf(data: unknown, args: readonly unknown[] | undefined): unknown[] {
  if (args !== undefined) return [...args]
  return data === undefined ? [] : [data]
}

function handled(context: Context): object {
  context.settle(HANDLED)
  return {}
}
