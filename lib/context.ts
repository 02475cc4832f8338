import { AsyncResource } from 'node:async_hooks'
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http'
import { cookieOf } from './carriers.ts'
import type { Carried } from './carriers.ts'
import type { Clock } from './clock.ts'
import { isThenable } from './compose.ts'
import type { Ground } from './compose.ts'
import type { PeerState } from './peer.ts'
import type { Stage } from './policy.ts'
import type { Presence } from './presence.ts'
import type { Principal } from './principal.ts'
import type { Store } from './store.ts'
import type { Refusal } from './wire.ts'

/** What has become of an event, a join, a connect or a request once nothing more can happen to it. */
export type Fate =
  | { readonly outcome: 'refused'; readonly refusal: Refusal; readonly error: unknown }
  /** A hook answered with `ctx.reply`. */
  | { readonly outcome: 'replied'; readonly value: unknown }
  /** The handler called the ack, with these arguments. */
  | { readonly outcome: 'acked'; readonly args: readonly unknown[] }
  /** No ack was asked for: the listeners have returned, or the stage has none. */
  | { readonly outcome: 'handled' }
  | { readonly outcome: 'failed'; readonly error: unknown }
  /** The handler did not call the ack in time, or the client left before. */
  | { readonly outcome: 'unacked' }

/** A read-only view of the handshake: that of Socket.IO. */
export interface Handshake {
  readonly headers: IncomingHttpHeaders
  readonly time: string
  readonly address: string
  readonly xdomain: boolean
  readonly secure: boolean
  readonly issued: number
  readonly url: string
  readonly query: Readonly<Record<string, unknown>>
  readonly auth: Readonly<Record<string, any>>
}

/** What a context asks of its gate. */
export interface Scene extends Ground<any> {
  readonly clock: Clock
  readonly newId: () => string
  readonly settings: { readonly store: Store; readonly isSecure: (request: IncomingMessage | undefined) => boolean }
  fault(context: Context, error: unknown, policy?: string): void
}

const NO_HEADERS: IncomingHttpHeaders = Object.freeze({})

/** What the contexts of all stages have in common. */
export abstract class Context<Peer extends object = object> {
  abstract readonly stage: Stage
  abstract readonly namespace: string | undefined
  /** Address of the client, as `trustProxy` finds it. */
  abstract readonly address: string
  abstract readonly headers: IncomingHttpHeaders
  /** What policies have proved about the other end. */
  abstract readonly peer: Peer

  /** @internal */
  readonly scene: Scene
  /** @internal */
  replied = false
  #now = 0
  #id = ''
  #fates: ((fate: Fate) => void)[] | undefined = undefined
  #fate: Fate | undefined = undefined
  /** Set on a shadow. */
  #original: Context | undefined = undefined

  constructor(scene: Scene) {
    this.scene = scene
  }

  /** The time of this decision in milliseconds since the epoch: one clock read, shared by every policy. */
  get now(): number {
    if (this.#original !== undefined) return this.#original.now
    return this.#now === 0 ? (this.#now = this.scene.clock.now()) : this.#now
  }

  /** The gate's store: what policies remember beyond one connection. */
  get store(): Store {
    return this.scene.settings.store
  }

  /** Correlation id of this decision: the client is told it with a refusal, operators find it in the record. */
  get id(): string {
    if (this.#original !== undefined) return this.#original.id
    return this.#id === '' ? (this.#id = this.scene.newId()) : this.#id
  }

  /** Calls `fn` once with the final fate of what is being decided; at once, where a late hook asks after that. A throw in it is a reported fault. */
  onSettled(fn: (fate: Fate) => void): void {
    if (this.#original !== undefined) this.#original.onSettled(fn)
    else if (this.#fate !== undefined) this.#tell(fn, this.#fate)
    else if (this.#fates === undefined) this.#fates = [fn]
    else this.#fates.push(fn)
  }

  /** @internal */
  get awaited(): boolean {
    return this.#fates !== undefined
  }

  /** @internal */
  settle(fate: Fate): void {
    if (this.#fate !== undefined) return
    this.#fate = fate
    const fates = this.#fates
    if (fates === undefined) return
    this.#fates = undefined
    for (const fn of fates) this.#tell(fn, fate)
  }

  #tell(fn: (fate: Fate) => unknown, fate: Fate): void {
    const failed = (error: unknown): void => this.scene.fault(this, error, 'onSettled')
    try {
      const returned = fn(fate)
      if (isThenable(returned)) Promise.resolve(returned).catch(failed)
    } catch (error) {
      failed(error)
    }
  }

  /** @internal Facts exist at the connect stage only. */
  accept(_facts: object): void {
    throw new TypeError('next() takes no argument at this stage')
  }

  /** @internal Called where every hook has agreed, in the async context of the innermost one. */
  reached(): void {}

  /** @internal Whether what is decided with it is only observed. */
  get isShadow(): boolean {
    return this.#original !== undefined
  }

  /** @internal A copy whose changes reach nobody: the same decision, settled together with it. */
  shadow(): this {
    const copy = this.copy()
    copy.#original = this
    return copy
  }

  protected abstract copy(): this
}

/** The request that opened an engine session: what later ones of the session are compared with. */
export class Opener {
  readonly #cookies: string | undefined

  constructor(
    readonly address: string,
    readonly userAgent: string | undefined,
    cookies: string | undefined,
  ) {
    this.#cookies = cookies
  }

  /** The value of one of its cookies. @throws Denied when it was there twice */
  cookie(name: string): string | undefined {
    return cookieOf(this.#cookies, name)
  }
}

/** An HTTP request, or an upgrade, on its way to the engine. */
export class RequestContext extends Context {
  override readonly stage = 'request'
  override readonly namespace = undefined
  override readonly peer: object = Object.freeze({})
  constructor(
    scene: Scene,
    /** The request; `request.res` is not to be written to: refuse instead. */
    readonly request: IncomingMessage,
    override readonly address: string,
    /** True for the request that opens an engine session. */
    readonly opening: boolean,
    /** True for a WebSocket upgrade, opening or not. */
    readonly upgrade: boolean,
    /** Who opened the engine session this request belongs to; undefined for the request that opens one. */
    readonly opener?: Opener,
  ) {
    super(scene)
  }

  /** Whether it came over TLS: on its own connection, or as a trusted proxy says. */
  get secure(): boolean {
    return this.scene.settings.isSecure(this.request)
  }

  get method(): string {
    return this.request.method ?? ''
  }
  override get headers(): IncomingHttpHeaders {
    return this.request.headers
  }
  /** @internal */
  overtake(): void {}
  protected override copy(): this {
    return new RequestContext(this.scene, this.request, this.address, this.opening, this.upgrade, this.opener) as this
  }
}

export type ConnectCause = 'connect' | 'recover' | 'refresh' | 'reauthorize'

/** A client asking to enter a namespace. There is no socket yet. */
export class ConnectContext<Peer extends object = object> extends Context<Peer> {
  override readonly stage = 'connect'
  /** Whoever prints a context prints no secret of the URL with it. */
  readonly #carried: Carried | undefined
  constructor(
    scene: Scene,
    override readonly namespace: string,
    readonly handshake: Handshake,
    /** The first request of the connection, when there is one and the application has not dropped it. */
    readonly request: IncomingMessage | undefined,
    /**
     * Why this is decided: a first entry, the recovery of an earlier connection, a new credential of a peer that is here (`handshake.auth`
     * is what it has sent), or the same peer once more (`gate.reauthorize`).
     */
    readonly cause: ConnectCause,
    /** @internal */
    readonly state: PeerState,
    carried?: Carried,
    /** @internal Who the peer is already, where it is decided about once more. */
    readonly current?: Principal,
    /** What policies have proved about the peer so far, where it is decided about once more; undefined for a peer that is to become nobody. */
    readonly before?: object,
  ) {
    super(scene)
    this.#carried = carried
  }

  /** @internal What was taken out of the request that opened the session. */
  get carried(): Carried | undefined {
    return this.#carried
  }

  /** Whether the connection came over TLS: its own, or as a trusted proxy says. */
  get secure(): boolean {
    return this.scene.settings.isSecure(this.request)
  }

  override get address(): string {
    return this.state.address
  }
  override get headers(): IncomingHttpHeaders {
    return this.handshake.headers
  }
  override get peer(): Peer {
    return this.state.facts as Peer
  }

  /**
   * Calls `fn` once when what is decided here is over: the peer is gone, also when the connect is refused or the client vanishes half-way, or
   * a refresh has taken its place. At once, where a late hook asks after that.
   */
  onClose(fn: () => void): void {
    this.state.onClose(fn, (error) => this.scene.fault(this, error, 'onClose'))
  }

  /**
   * Calls `fn` once the peer is there: it has entered its namespace or, with cause `refresh` or `reauthorize`, what is decided here has taken the
   * place of what was. Not called where that never comes.
   *
   * @param enforced @internal whether what is done then is done in `observe` mode, too
   */
  onEntered(fn: (presence: Presence) => void, enforced = !this.isShadow): void {
    ;(this.state.entrants ??= []).push({ fn, enforced })
  }

  /** @internal */
  override accept(facts: object): void {
    if (typeof facts !== 'object' || facts === null) throw new TypeError('next() takes an object of facts, such as next({ principal })')
    for (const key of Object.keys(facts)) {
      if (Object.hasOwn(this.state.facts, key)) throw new TypeError(`gives the fact "${key}", which another policy has already given`)
    }
    this.state.facts = { ...this.state.facts, ...facts }
  }

  /** Shares the peer: in `observe` mode, too, later policies need the facts of earlier ones. */
  protected override copy(): this {
    return new ConnectContext(this.scene, this.namespace, this.handshake, this.request, this.cause, this.state, this.carried, this.current, this.before) as this
  }
}

/** The part of a Socket.IO socket that policies may use. */
export interface PeerSocket {
  readonly id: string
  readonly connected: boolean
  readonly handshake: Handshake
  readonly rooms: ReadonlySet<string>
  readonly data: any
}

/** An event a client has sent. */
export class EventContext<Peer extends object = object, Data = any> extends Context<Peer> {
  override readonly stage = 'event'
  #args: unknown[]
  /** @internal */
  answer: unknown = undefined
  /** @internal The async context the handler is to run in. */
  resource: AsyncResource | undefined = undefined
  /** @internal Who the peer was when its decision began. */
  facts: object | undefined = undefined
  /** @internal The ack the handler owes, whatever the application has wrapped it in. */
  owed: { refuse(refusal: Refusal): void } | undefined = undefined

  constructor(
    scene: Scene,
    readonly socket: PeerSocket,
    override readonly namespace: string,
    readonly event: string,
    args: unknown[],
    /** Whether the client asked for an ack. */
    readonly wantsAck: boolean,
    /** @internal */
    readonly state: PeerState,
  ) {
    super(scene)
    this.#args = args
  }

  override get peer(): Peer {
    return (this.facts ?? this.state.facts) as Peer
  }
  override get address(): string {
    return this.state.address
  }
  override get headers(): IncomingHttpHeaders {
    return this.socket.handshake.headers
  }
  get handshake(): Handshake {
    return this.socket.handshake
  }

  /** The arguments, without the ack. Replace them, or their elements, to change what the handler gets. */
  get args(): unknown[] {
    return this.#args
  }
  set args(args: unknown[]) {
    this.#args = checkedArgs(args)
  }
  /** The first argument. Assigning to it changes what the handler gets. */
  get data(): Data {
    return this.#args[0] as Data
  }
  set data(value: Data) {
    this.#args[0] = value
  }

  /** @internal The rest of its policies see who the peer is now. */
  rebase(): void {
    this.facts = this.state.facts
  }

  /** @internal An AsyncResource rather than a snapshot: on Node 20 it costs a hundredth of one. */
  override reached(): void {
    this.resource = new AsyncResource('PORTCULLIS')
  }

  /**
   * When the peer last proved a factor, in milliseconds since the epoch: by a step-up on this socket, or when it signed in, as its credential
   * says (`amr` with `auth_time`). Undefined when it never did.
   */
  provedAt(factor: string): number | undefined {
    return this.state.provedAt(factor, this.now)
  }

  /** Answers in place of the handler. The checks below still run, and a refusal of theirs wins over this answer. */
  reply(value?: unknown): void {
    this.replied = true
    this.answer = value
  }

  /** @internal */
  override settle(fate: Fate): void {
    this.state.unsettled?.delete(this)
    super.settle(fate)
  }

  /** @internal What is only observed must not hold up the events behind it. */
  overtake(): void {}

  protected override copy(): this {
    const copy = new EventContext(this.scene, this.socket, this.namespace, this.event, [...this.args], this.wantsAck, this.state)
    copy.facts = this.facts
    return copy as this
  }
}

/** A socket on its way into a room. */
export class JoinContext<Peer extends object = object, Params = Readonly<Record<string, string>>> extends Context<Peer> {
  override readonly stage = 'join'
  /** The holes of the pattern of the declaration this hook stands in. */
  params: Params = EMPTY_PARAMS as Params

  constructor(
    scene: Scene,
    readonly socket: PeerSocket,
    override readonly namespace: string,
    readonly room: string,
    /** `recover` when connection state recovery puts the socket back, `refresh` when it is decided anew whether it may stay. */
    readonly cause: 'join' | 'recover' | 'refresh',
    /** @internal */
    readonly state: PeerState,
  ) {
    super(scene)
  }

  override get peer(): Peer {
    return this.state.facts as Peer
  }
  override get address(): string {
    return this.state.address
  }
  override get headers(): IncomingHttpHeaders {
    return this.socket.handshake.headers
  }
  get handshake(): Handshake {
    return this.socket.handshake
  }
  /** @internal What is only observed must not make a join asynchronous; once it is enforced, it will be. */
  overtake(): void {
    this.state.plan.sawAsynchronousJoin = true
  }

  protected override copy(): this {
    const copy = new JoinContext(this.scene, this.socket, this.namespace, this.room, this.cause, this.state)
    copy.params = this.params as never
    return copy as this
  }
}

const EMPTY_PARAMS = Object.freeze(Object.create(null)) as Readonly<Record<string, string>>

/** A packet about to leave for one recipient. */
export class DeliverContext<Peer extends object = object, Data = any> extends Context<Peer> {
  override readonly stage = 'deliver'
  #args: readonly unknown[]
  /** @internal The audience of the layer being asked, when the packet is asked per recipient. */
  audience: unknown = undefined

  constructor(
    scene: Scene,
    readonly socket: PeerSocket,
    override readonly namespace: string,
    readonly event: string,
    args: readonly unknown[],
    /** `reply` for the ack of a client's event, `recover` for a packet that was missed. */
    readonly cause: 'live' | 'recover' | 'reply',
    /** @internal */
    readonly state: PeerState,
  ) {
    super(scene)
    this.#args = args
  }

  override get peer(): Peer {
    return this.state.facts as Peer
  }
  override get address(): string {
    return this.state.address
  }
  override get headers(): IncomingHttpHeaders {
    return this.socket.handshake.headers
  }
  get handshake(): Handshake {
    return this.socket.handshake
  }

  /** The arguments. Replace them rather than change them: other recipients share the originals. */
  get args(): readonly unknown[] {
    return this.#args
  }
  set args(args: readonly unknown[]) {
    this.#args = checkedArgs(args)
  }
  /** The first argument. Assigning to it changes what this recipient gets. */
  get data(): Data {
    return this.args[0] as Data
  }
  set data(value: Data) {
    this.args = [value, ...this.args.slice(1)]
  }
  protected override copy(): this {
    return new DeliverContext(this.scene, this.socket, this.namespace, this.event, this.args, this.cause, this.state) as this
  }
}

/** What a hook asked once for an audience sees: the packet and the audience, nothing of the single recipient. */
export interface SharedDeliverContext<Audience = any, Data = any> {
  readonly event: string
  /** The first argument. Assigning to it changes what the whole audience gets. */
  data: Data
  readonly audience: Audience
}

/** The context behind a {@link SharedDeliverContext}. */
export class AudienceContext extends Context implements SharedDeliverContext {
  override readonly stage = 'deliver'
  override readonly peer: object = NOBODY
  args: readonly unknown[]
  audience: unknown = undefined

  constructor(
    scene: Scene,
    override readonly namespace: string,
    readonly event: string,
    args: readonly unknown[],
    /** One for each step that has one. */
    readonly audiences: readonly unknown[],
  ) {
    super(scene)
    this.args = args
  }
  override get address(): string {
    return ''
  }
  override get headers(): IncomingHttpHeaders {
    return NO_HEADERS
  }
  get data(): any {
    return this.args[0]
  }
  set data(value: unknown) {
    this.args = [value, ...this.args.slice(1)]
  }
  protected override copy(): this {
    return new AudienceContext(this.scene, this.namespace, this.event, this.args, this.audiences) as this
  }
}

const NOBODY = Object.freeze({})

/** Anything else would fail where a packet is made of it, far from the policy that assigned it. */
function checkedArgs<T extends readonly unknown[]>(args: T): T {
  if (!Array.isArray(args)) throw new TypeError('ctx.args takes an array')
  return args
}
