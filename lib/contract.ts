import type { ReconnectAdvice, Refusal } from './wire.ts'

/** The part of the Standard Schema interface (version 1) the gate uses; zod, valibot, arktype and others implement it. */
export interface Schema<Input = any, Output = any> {
  readonly '~standard': {
    readonly version: 1
    readonly vendor: string
    readonly validate: (value: unknown) => SchemaResult<Output> | Promise<SchemaResult<Output>>
    readonly types?: { readonly input: Input; readonly output: Output } | undefined
  }
}

export type SchemaResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly SchemaIssue[] }

export interface SchemaIssue {
  readonly message: string
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined
}

/** Limits of the payload of one event, in place of those of the gate. */
export interface EventLimits {
  /** Characters of text, bytes of binary data and elements of lists, of all arguments together. */
  readonly maxBytes?: number
  /** Levels of nesting. */
  readonly maxDepth?: number
  /** Object keys, of all arguments together. */
  readonly maxKeys?: number
  readonly maxArgs?: number
  /** Binary values. */
  readonly maxAttachments?: number
}

/** One event a client may send: `data` is its first and only argument, `args` all of them. */
export interface EventShape {
  readonly data?: Schema
  readonly args?: readonly Schema[]
  /** What the ack carries. */
  readonly reply?: Schema
  readonly limits?: EventLimits
}

/** One event the server sends. */
export interface DeliveryShape {
  readonly data?: Schema
  readonly args?: readonly Schema[]
}

export interface ContractShape {
  readonly events?: Readonly<Record<string, EventShape>>
  readonly deliveries?: Readonly<Record<string, DeliveryShape>>
}

/**
 * Declares what goes over one namespace: a plain value that client and server share.
 *
 * @example
 * export const chat = contract({ events: { 'message:send': { data: Message, reply: Receipt } }, deliveries: { message: { data: Stored } } })
 */
export function contract<const C extends ContractShape>(shape: C): C {
  return shape
}

declare const CONTRACT: unique symbol

/** On a gate: the contract its namespace was declared with. Nothing at run time. */
export interface Contracted<C> {
  readonly [CONTRACT]?: C
}

type ContractOf<T> = typeof CONTRACT extends keyof T ? Exclude<T[typeof CONTRACT], undefined> : T

type InputOf<S> = S extends { readonly '~standard': { readonly types?: infer T } } ? (NonNullable<T> extends { readonly input: infer I } ? I : unknown) : unknown
type OutputOf<S> = S extends { readonly '~standard': { readonly types?: infer T } } ? (NonNullable<T> extends { readonly output: infer O } ? O : unknown) : unknown

type Outputs<E> = E extends { readonly args: infer A extends readonly unknown[] } ? { -readonly [K in keyof A]: OutputOf<A[K]> } : E extends { readonly data: infer D } ? [OutputOf<D>] : []
type Inputs<E> = E extends { readonly args: infer A extends readonly unknown[] } ? { -readonly [K in keyof A]: InputOf<A[K]> } : E extends { readonly data: infer D } ? [InputOf<D>] : []

/** Answer of an acked event as the client sees it: the reply, or the refusal. */
export type Answer<Reply> = Reply | { readonly error: Refusal }

type Events<C> = C extends { readonly events: infer E } ? E : Record<never, never>
type Deliveries<C> = C extends { readonly deliveries: infer D } ? D : Record<never, never>

/**
 * What a client may emit, for `Socket<..., ClientEvents<typeof chat>>` of socket.io-client: the schemas' inputs; the ack brings output or refusal.
 * Of a contract, or of the gate of a namespace; a gate without a contract says nothing of its events, so any may be sent.
 */
export type ClientEvents<T> = Typed<T, { [N in keyof Events<ContractOf<T>>]: Emit<Events<ContractOf<T>>[N]> }>

type Emit<E> = E extends { readonly reply: infer R }
  ? (...args: [...Inputs<E>, ack?: (answer: Answer<OutputOf<R>>) => void]) => void
  : (...args: [...Inputs<E>, ack?: (answer?: { readonly error: Refusal }) => void]) => void

/** What a client sends with one event. */
export type RequestArgs<T, N> = N extends keyof Events<ContractOf<T>> ? Inputs<Events<ContractOf<T>>[N]> : any[]

/** What a client is answered to one event that is not refused. */
export type ReplyTo<T, N> = N extends keyof Events<ContractOf<T>> ? (Events<ContractOf<T>>[N] extends { readonly reply: infer R } ? OutputOf<R> : unknown) : any

/** Any event, where nothing declares them. */
export interface AnyEvents {
  [event: string]: (...args: any[]) => void
}

type Typed<T, E> = typeof CONTRACT extends keyof T ? (keyof ContractOf<T> extends never ? AnyEvents : E) : E

/** What a handler gets, for `new Server<HandlerEvents<typeof chat>>()`: the schemas' outputs; the ack takes the reply's input. */
export type HandlerEvents<C> = {
  [N in keyof Events<C>]: Events<C>[N] extends { readonly reply: infer R }
    ? (...args: [...Outputs<Events<C>[N]>, ack: (reply: InputOf<R>) => void]) => void
    : (...args: [...Outputs<Events<C>[N]>, ack?: (...reply: unknown[]) => void]) => void
}

/** What the server delivers, for the second parameter of `Server`: of a contract, or of the gate of a namespace. */
export type DeliveryEvents<T> = Typed<T, { [N in keyof Deliveries<ContractOf<T>>]: (...args: Outputs<Deliveries<ContractOf<T>>[N]>) => void }>

/** All that a client may hear, for the first parameter of socket.io-client's `Socket`: what is delivered, and what the gate itself says. */
export type ServerEvents<T> = DeliveryEvents<T> & GateEvents

/** What the gate itself says to a client. */
export type GateEvents = {
  /** An event without an ack was refused. */
  'gate:denied': (denied: DeniedNotice) => void
  /** The connection is about to be closed. */
  'gate:closing': (closing: ClosingNotice) => void
  /** The credential is about to end. */
  'gate:expiring': (expiring: ExpiringNotice) => void
  /** What the client may do has changed. */
  'gate:changed': (changed: ChangedNotice) => void
  /** The client is to fetch a new session cookie. */
  'gate:renew': (renew: RenewNotice) => void
}

export interface DeniedNotice extends Refusal {
  readonly event: string
}

export interface ClosingNotice extends Refusal {
  readonly reconnect: ReconnectAdvice
}

export interface ExpiringNotice {
  /** Milliseconds since the epoch, by the clock of the server. */
  readonly expiresAtMs: number
  /** The same, in milliseconds from now; 0 when it has ended. */
  readonly inMs: number
  /** After the end, where there is a time of grace: when the connection is closed. */
  readonly closesInMs?: number
}

/** What a client may no longer do. */
export interface Lost {
  /** Rooms it was taken out of. */
  readonly rooms: readonly string[]
  readonly rights: readonly { readonly action: string; readonly subject: string }[]
}

export interface ChangedNotice {
  /** `refreshed`: by a credential that was sent without an ack. `reauthorized`: by the server. `expired`: the credential has ended, and the client goes on as nobody. */
  readonly cause: 'refreshed' | 'reauthorized' | 'expired'
  /** Until when the credential holds, in milliseconds since the epoch; null for nobody. */
  readonly expiresAtMs: number | 'never' | null
  readonly lost: Lost
}

/** The session is to get a new id, and only an HTTP answer can set the cookie: `{ ticket }` is posted to `path`, as JSON and with the cookie of now. */
export interface RenewNotice {
  /** Good for one renewal of this session. */
  readonly ticket: string
  /** An absolute path on the server of this connection. */
  readonly path: string
  /** For how long the ticket holds, in milliseconds from now. */
  readonly expiresInMs: number
}

/** Type of `ctx.data` for one event of a contract. */
export type EventData<C, N extends string> = N extends keyof Events<C> ? (Outputs<Events<C>[N]> extends [infer First, ...unknown[]] ? First : undefined) : unknown

/** Type of `ctx.data` for one delivery of a contract. */
export type DeliveryData<C, N extends string> = N extends keyof Deliveries<C> ? (Outputs<Deliveries<C>[N]> extends [infer First, ...unknown[]] ? First : undefined) : any
