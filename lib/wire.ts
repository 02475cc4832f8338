import { codes, Denied, PolicyFault } from './errors.ts'
import type { Code } from './errors.ts'

/** What a client learns of a refusal, at every stage. */
export interface Refusal {
  readonly code: Code
  /** The fixed text of the code. */
  readonly message: string
  /** Correlation id: the same one is in the operator's record. */
  readonly id: string
  /** How long to wait before trying again, in milliseconds. */
  readonly retryAfterMs?: number
  readonly details?: Readonly<Record<string, unknown>>
}

/** What the client should do after a forced disconnect. */
export type ReconnectAdvice = 'never' | 'now' | 'after-credential'

/** Names that begin with this belong to the gate, in both directions. */
export const OWN_PREFIX = 'gate:'
export const DENIED_EVENT = 'gate:denied'
export const CLOSING_EVENT = 'gate:closing'
/** A credential will end: `{ expiresAtMs, inMs }`. */
export const EXPIRING_EVENT = 'gate:expiring'
/** What a peer may do has changed: `{ cause, expiresAtMs, lost }`. */
export const CHANGED_EVENT = 'gate:changed'
/** The client is to fetch a new session cookie: `{ ticket, path, expiresInMs }`. */
export const RENEW_EVENT = 'gate:renew'
/** Of a client: a new credential. */
export const REFRESH_EVENT = 'gate:refresh'
/** Of a client: a further factor. */
export const STEP_UP_EVENT = 'gate:step-up'

export function refusal(code: Code, id: string): Refusal {
  return { code, message: codes[code].message, id }
}

/** The safe form of whatever refused. Anything but a `Denied` is a fault, and says nothing of itself. */
export function refusalOf(error: unknown, id: string): Refusal {
  if (!(error instanceof Denied)) return refusal(error instanceof PolicyFault ? error.code : 'INTERNAL', id)
  const { code, message, retryAfterMs, details } = error
  if (retryAfterMs === undefined && details === undefined) return { code, message, id }
  return { code, message, id, ...(retryAfterMs === undefined ? {} : { retryAfterMs }), ...(details === undefined ? {} : { details }) }
}

/** A refusal without what the application put into it, where that could not be encoded. */
export function bare({ code, message, id }: Refusal): Refusal {
  return { code, message, id }
}

/** The one refusal of the connect stage for a credential that did not prove anything, whatever was wrong with it. */
const CREDENTIAL_CODES: ReadonlySet<Code> = new Set<Code>(['UNAUTHENTICATED', 'CREDENTIAL_EXPIRED', 'REVOKED'])

export function connectRefusalOf(error: unknown, id: string): Refusal {
  const full = refusalOf(error, id)
  return CREDENTIAL_CODES.has(full.code) ? refusal('UNAUTHENTICATED', id) : full
}

/** CONNECT_ERROR payload: `err.message` is the code, `err.data` the refusal. */
export function connectErrorData(refused: Refusal): { message: Code; data: Refusal } {
  return { message: refused.code, data: refused }
}

/** Arguments of the ack of a refused event. */
export function defaultAckRefusal(refused: Refusal): unknown[] {
  return [{ error: refused }]
}

/** Payload of `gate:denied`. */
export function deniedEventData(event: string, refused: Refusal): Refusal & { event: string } {
  return { event, ...refused }
}

/** Payload of `gate:closing`. */
export function closingData(refused: Refusal, reconnect: ReconnectAdvice): Refusal & { reconnect: ReconnectAdvice } {
  return { ...refused, reconnect }
}

export interface HttpAnswer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

/** The HTTP answer of a refused request. */
export function httpAnswer(refused: Refusal): HttpAnswer {
  const body = JSON.stringify({ error: refused })
  const headers: Record<string, string> = { 'Content-Type': 'application/json', 'Content-Length': String(Buffer.byteLength(body)), 'Cache-Control': 'no-store' }
  if (refused.retryAfterMs !== undefined) headers['Retry-After'] = String(Math.ceil(refused.retryAfterMs / 1_000))
  return { status: codes[refused.code].status, headers, body }
}
