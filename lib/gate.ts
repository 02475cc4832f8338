import type { ConnectContext, DeliverContext, EventContext, JoinContext, RequestContext, SharedDeliverContext } from './context.ts'
import type { Contracted, ContractShape, DeliveryData, EventData } from './contract.ts'
import type { Coverage } from './coverage.ts'
import type { Observer, Outcome } from './observe.ts'
import type { NamespaceOptions } from './options.ts'
import type { Holes } from './pattern.ts'
import type { RevocationOptions, RevocationReceipt, RevocationTarget } from './revocation.ts'
import type { ReauthorizationReceipt, ReauthorizationTarget } from './revocations.ts'
import type { Awaitable, Hook, PLACE, Policy } from './policy.ts'

// What may stand in a declaration. The stage's hook is required here: any function is assignable to an object type whose
// members are all optional, so with an optional hook every wrong one would pass as "a policy without this stage".

/** Tells the combinators that stand in a declaration which context their callbacks have. Nothing at run time. */
export interface At<C> {
  readonly [PLACE]?: (ctx: C) => void
}

/** What may stand in `.request(...)`. */
export type RequestItem = Hook<RequestContext> | { readonly name: string; readonly request: Hook<RequestContext> }

/** What may stand in `.connect(...)`. A policy that gives facts belongs in `.use(...)`, whose type passes them on. */
export type ConnectItem<P extends object> = Hook<ConnectContext<P>> | ConnectPolicy<P>
interface ConnectPolicy<P extends object> extends At<ConnectContext<P>> {
  readonly name: string
  readonly connect: Hook<ConnectContext<P>>
}

/** What may stand in `.event(name, ...)`. */
export type EventItem<P extends object, D> = Hook<EventContext<P, D>> | EventPolicy<P, D>
interface EventPolicy<P extends object, D> extends At<EventContext<P, D>> {
  readonly name: string
  readonly event: Hook<EventContext<P, D>>
}

/** What may stand in `.join(pattern, ...)`. */
export type JoinItem<P extends object, K> = Hook<JoinContext<P, K>> | JoinPolicy<P, K>
interface JoinPolicy<P extends object, K> extends At<JoinContext<P, K>> {
  readonly name: string
  readonly join: Hook<JoinContext<P, K>>
}

/** A deliver hook as a declaration takes it: returning a promise does not compile. */
export type DeliverFunction<P extends object, D> = (ctx: DeliverContext<P, D>, next: () => undefined) => undefined | void
export interface DeliverByAudience<P extends object, D> {
  readonly audience: (peer: P) => any
  readonly hook: (ctx: SharedDeliverContext<any, D>, next: () => undefined) => undefined | void
}

/** What may stand in `.deliver(name, ...)` and `.reply(name, ...)`. */
export type DeliverItem<P extends object, D> =
  | DeliverFunction<P, D>
  | DeliverByAudience<P, D>
  | DeliverPolicy<P, D>
interface DeliverPolicy<P extends object, D> extends At<DeliverContext<P, D>> {
  readonly name: string
  readonly deliver: DeliverFunction<P, D> | DeliverByAudience<P, D>
}

/** What a gate and the gate of one namespace have in common. `P`: the facts a peer has. `C`: the contract. */
export interface Declarations<P extends object, C extends ContractShape> extends Contracted<C> {
  /** Adds hooks that run when a client asks to enter. */
  connect(...items: ConnectItem<P>[]): this
  /** Declares an event, which makes it known, and what is asked of it. */
  event<const N extends string>(name: N | readonly N[], ...items: EventItem<P, EventData<C, N>>[]): this
  /** Declares rooms by a pattern with named holes, and what is asked of a join. */
  join<const N extends string>(pattern: N, ...items: JoinItem<P, Holes<N>>[]): this
  /** Declares what the server sends under a name, and what is asked for each recipient or audience. */
  deliver<const N extends string>(name: N | readonly N[], ...items: DeliverItem<P, DeliveryData<C, N>>[]): this
  /** Declares what is asked of the ack of a client's event. */
  reply<const N extends string>(name: N | readonly N[], ...items: DeliverItem<P, any>[]): this
}

/** The gate of one namespace: adds to, never replaces, what the gate itself does. */
export interface NamespaceGate<P extends object = object, C extends ContractShape = Record<never, never>> extends Declarations<P, C> {
  /** Adds a policy whose needs are met by the facts given above it, each hook at its own stage. */
  use<G extends object>(policy: Policy<P, G>): NamespaceGate<P & G, C>
}

/** The gate of a whole server: every namespace, static, dynamic, present and future. */
export interface Gate<P extends object = object> extends Declarations<P, Record<never, never>> {
  /** Adds a policy, each hook at its own stage, in order of declaration. */
  use<G extends object>(policy: Policy<P, G>): Gate<P & G>
  /** Adds hooks that run on every HTTP request and upgrade. */
  request(...items: RequestItem[]): this
  /** The gate of one namespace, or of those whose name matches. @throws ConfigError for a name no namespace can have, or a bad contract */
  of<const C extends ContractShape = Record<never, never>>(name: string | RegExp, contract?: C, options?: NamespaceOptions): NamespaceGate<P, C>
  /** What policies have proved about the other end of a socket, for the application's own handlers. @throws TypeError for a socket that is not under this gate */
  peerOf(socket: object): P
  /**
   * Ends what a subject, a credential, a session or a socket may do: the very next event is refused, the sockets are closed with the reason, and
   * new and recovered connections are refused, on every node that shares the store.
   *
   * @example
   * await gate.revoke({ subject: 'alice' }, { reason: 'password changed', issuedBefore: Date.now() })
   * @throws ConfigError for anything but one target and a reason; Denied `UNAVAILABLE` when the store has not taken it, with the sockets of this node closed
   */
  revoke(target: RevocationTarget, options: RevocationOptions): Promise<RevocationReceipt>
  /** Takes a revocation back. @returns whether there was one */
  reinstate(target: RevocationTarget): Promise<boolean>
  /** Asks the connect policies of a subject's peers anew, with the credential they have: rights and rooms become what they are now. */
  reauthorize(target: ReauthorizationTarget): Promise<ReauthorizationReceipt>
  /** What is covered by which policy, and what is not. */
  coverage(): Coverage
  on(outcome: Outcome, observer: Observer): this
  off(outcome: Outcome, observer: Observer): this
  /** Ends timers and the store. The server itself is closed by whoever made it. */
  close(): Promise<void>
}

export type { Awaitable }
