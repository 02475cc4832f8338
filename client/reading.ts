import type { Code } from '../lib/errors.ts'
import type { Refusal } from '../lib/wire.ts'
import { isRefusal } from './errors.ts'
import type { GateError } from './errors.ts'

/** Refusals that another credential may turn. */
export const CREDENTIAL_CODES: readonly Code[] = ['UNAUTHENTICATED', 'CREDENTIAL_EXPIRED', 'REVOKED']

/** Refusals that time may turn: the codes that `codes` calls retryable. */
export const RETRYABLE_CODES: readonly Code[] = [
  'RATE_LIMITED',
  'TOO_MANY_CONNECTIONS',
  'IDLE_TIMEOUT',
  'LIFETIME_EXCEEDED',
  'SLOW_CONSUMER',
  'OVERLOADED',
  'DEADLINE_EXCEEDED',
  'UNAVAILABLE',
]

/** What socket.io-client (4.8) puts on the error of `connect_error`. */
interface StockError extends Error {
  /** Of the server's CONNECT_ERROR packet: there, if only as undefined, whenever the server has spoken. */
  readonly data?: unknown
  /** Of a WebSocket in Node: the event of `ws`, with what failed under `error`. */
  readonly description?: unknown
  /** Of polling: the request, with the answer's body; in Node `statusText` is the error it failed with. */
  readonly context?: { readonly responseText?: unknown; readonly statusText?: unknown }
}

/** The refusal a failed connect carries, if it is one of the gate's: in the CONNECT_ERROR packet, or in the body of the HTTP answer. */
export function refusalIn({ data, context }: Partial<StockError>): Refusal | undefined {
  if (isRefusal(data)) return data
  try {
    const { error } = JSON.parse(context?.responseText as string) as { error?: unknown }
    return isRefusal(error) ? error : undefined
  } catch {
    return undefined
  }
}

/** What a connect failed of, below the transports. */
export function causeOf(error: StockError): Error {
  const causes = [(error.description as { error?: unknown } | null | undefined)?.error, error.context?.statusText] as (Error | undefined)[]
  return causes.find((cause) => cause?.message) ?? error
}

/** How long to wait at least before trying again, in milliseconds. */
export function retryAfter(error: Error): number {
  return (error as Partial<GateError>).retryAfterMs ?? 0
}

/** The same for equal values, in whatever order their keys stand. */
function canonical(value: object): string {
  return JSON.stringify(value, (_, each: unknown) => (typeof each === 'object' && each !== null && !Array.isArray(each) ? Object.fromEntries(Object.entries(each).sort()) : each))
}

/** As many refused credentials as anybody has at a time; they are secrets, and not kept for longer than needed. */
const MAX_SPENT = 16

/** Credentials that were refused, so that none is sent a second time. */
export class Spent {
  readonly #texts: string[] = []

  add(auth: object): void {
    if (this.has(auth)) return
    this.#texts.push(canonical(auth))
    if (this.#texts.length > MAX_SPENT) this.#texts.shift()
  }

  has(auth: object): boolean {
    return this.#texts.includes(canonical(auth))
  }
}
