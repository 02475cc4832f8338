import type { ConnectCause } from '../context.ts'
import type { Gate } from '../gate.ts'
import type { GuardOptions } from '../options.ts'
import type { AnyPolicy } from '../policy.ts'

/** What is put to the test: one policy, several in their order, or declarations as they would be made on a gate. */
export type Subject = AnyPolicy | readonly AnyPolicy[] | ((gate: Gate) => unknown)

/** Options of `harness`: those of `guard`, and what is true of every question unless the question says otherwise. */
export interface HarnessOptions extends GuardOptions {
  /** What policies have proved about the peer that sends events, joins rooms and receives. Default: nothing. */
  readonly peer?: object
  /** Its address. Default `203.0.113.7`, of a range kept for examples (RFC 5737). */
  readonly address?: string
  readonly headers?: Readonly<Record<string, string | string[]>>
  /** The namespace it is in. Default `/`. */
  readonly namespace?: string
  /** The id of its socket. Default `probe`. */
  readonly socketId?: string
}

/** What a request, and the handshake of a connect, look like. */
interface Presented {
  readonly headers?: Readonly<Record<string, string | string[]>>
  /** The address the connection comes from; `trustProxy` may find another in the headers. */
  readonly address?: string
  /** Whether it came over TLS. Default false. */
  readonly secure?: boolean
  readonly url?: string
}

export interface RequestQuestion extends Presented {
  readonly method?: string
  /** Whether it opens an engine session. Default true. */
  readonly opening?: boolean
  /** Whether it is a WebSocket upgrade. Default false. */
  readonly upgrade?: boolean
  /** Who opened the engine session of a request that does not open one. Default: nobody is known. */
  readonly opener?: { readonly address: string; readonly userAgent?: string; readonly cookie?: string }
}

export interface ConnectQuestion extends Presented {
  readonly auth?: Readonly<Record<string, any>>
  readonly namespace?: string
  readonly cause?: ConnectCause
}

/** Who is asked about. What is left out is as the options of the harness say. */
export interface PeerQuestion {
  /** The facts of the peer: an object, or the `facts` of an admitted connect. The same object is the same peer. */
  readonly peer?: object
  readonly address?: string
  readonly socketId?: string
  readonly namespace?: string
}

export interface EventQuestion extends PeerQuestion {
  /** All arguments, in place of the one. */
  readonly args?: readonly unknown[]
  /** Whether the client asks for an ack. Default false. */
  readonly ack?: boolean
}

export interface JoinQuestion extends PeerQuestion {
  /** A room pattern: the policies are asked as if they stood in `.join(pattern, ...)`, and `ctx.params` has its holes. */
  readonly pattern?: string
  readonly cause?: 'join' | 'recover'
}

export interface DeliverQuestion extends PeerQuestion {
  /** All arguments, in place of the one. */
  readonly args?: readonly unknown[]
  readonly cause?: 'live' | 'recover'
}
