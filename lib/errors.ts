/** What a code means to a client, and how it travels over HTTP. One row a code: the only such table. */
export interface CodeInfo {
  /** The fixed text a client sees. Never built from input. */
  readonly message: string
  /** Whether the same request may succeed later without anything being changed. */
  readonly retryable: boolean
  /** HTTP status when the refusal happens at the request stage (RFC 9110). */
  readonly status: number
}

const define = <const T extends Record<string, CodeInfo>>(table: T): Readonly<Record<keyof T, CodeInfo>> => Object.freeze(table)

/** Every code a refusal can carry. */
export const codes = define({
  ORIGIN_NOT_ALLOWED: { message: 'This origin is not allowed.', retryable: false, status: 403 },
  INSECURE_TRANSPORT: { message: 'A secure transport is required.', retryable: false, status: 403 },
  UNAUTHENTICATED: { message: 'Valid credentials are required.', retryable: false, status: 401 },
  CREDENTIAL_EXPIRED: { message: 'The credential has expired.', retryable: false, status: 401 },
  REVOKED: { message: 'Access has been revoked.', retryable: false, status: 401 },
  STEP_UP_REQUIRED: { message: 'A further authentication factor is required.', retryable: false, status: 403 },
  FORBIDDEN: { message: 'This is not allowed.', retryable: false, status: 403 },
  UNKNOWN_NAMESPACE: { message: 'There is no such namespace.', retryable: false, status: 403 },
  UNKNOWN_EVENT: { message: 'There is no such event.', retryable: false, status: 403 },
  UNKNOWN_ROOM: { message: 'There is no such room.', retryable: false, status: 403 },
  INVALID_PAYLOAD: { message: 'The payload is not valid.', retryable: false, status: 403 },
  PAYLOAD_TOO_LARGE: { message: 'The payload exceeds a limit.', retryable: false, status: 403 },
  RATE_LIMITED: { message: 'Too many requests.', retryable: true, status: 429 },
  TOO_MANY_CONNECTIONS: { message: 'Too many connections.', retryable: true, status: 429 },
  REPLAYED: { message: 'This message was already used.', retryable: false, status: 403 },
  IDLE_TIMEOUT: { message: 'Closed after a period without activity.', retryable: true, status: 403 },
  LIFETIME_EXCEEDED: { message: 'The connection reached its maximum lifetime.', retryable: true, status: 403 },
  SLOW_CONSUMER: { message: 'The client reads too slowly.', retryable: true, status: 503 },
  OVERLOADED: { message: 'The server is busy.', retryable: true, status: 503 },
  DEADLINE_EXCEEDED: { message: 'The decision took too long.', retryable: true, status: 503 },
  UNAVAILABLE: { message: 'A required service is unavailable.', retryable: true, status: 503 },
  INTERNAL: { message: 'Internal error.', retryable: false, status: 503 },
})

/** The closed union of refusal codes. */
export type Code = keyof typeof codes

/** Details a refusal may carry to the client; `retryAfterMs` travels in its own field. */
export interface RefusalDetails {
  readonly retryAfterMs?: number
  readonly [key: string]: unknown
}

const BRAND = Symbol.for('portcullis.error')

function branded(value: unknown, kind: string): boolean {
  try {
    return typeof value === 'object' && value !== null && (value as Record<symbol, unknown>)[BRAND] === kind
  } catch {
    // A proxy may throw when it is looked at.
    return false
  }
}

// `Denied` is an Error by prototype only: a refusal under flood must not pay for a stack trace.
const Stackless = function Stackless() {} as unknown as new () => Error
Object.defineProperty(Stackless, 'prototype', { value: Error.prototype })

/**
 * An expected refusal: coded, and safe to show to the client. Throw it with {@link deny}, in a policy or in a handler.
 * Captures no stack. `instanceof` also recognises one made by another copy of this package (ESM next to CommonJS).
 */
export class Denied extends Stackless {
  readonly code: Code
  readonly details: Readonly<Record<string, unknown>> | undefined
  /** How long to wait before trying again, in milliseconds. */
  readonly retryAfterMs: number | undefined
  /** Set where the gate throws it into server code, as at `socket.join`: the id of the record. A handler it leaves answers with the same id. */
  id: string | undefined

  /** @param reason seen by operators only (the `cause` of the record), never by the client. */
  constructor(code: Code, details?: RefusalDetails, reason?: unknown) {
    super()
    if (!Object.hasOwn(codes, code)) throw new TypeError(`Denied: unknown code ${JSON.stringify(code)}. Use one of the keys of \`codes\`.`)
    this.code = code
    this.message = codes[code].message
    this.id = undefined
    this.retryAfterMs = details?.retryAfterMs
    this.details = withoutRetry(details)
    if (reason !== undefined) this.cause = reason
  }

  static override [Symbol.hasInstance](value: unknown): boolean {
    return branded(value, 'denied')
  }
}
Object.defineProperty(Denied.prototype, 'name', { value: 'Denied', configurable: true, writable: true })
Object.defineProperty(Denied.prototype, BRAND, { value: 'denied' })

function withoutRetry(details: RefusalDetails | undefined): Readonly<Record<string, unknown>> | undefined {
  if (details === undefined) return undefined
  const { retryAfterMs, ...rest } = details
  return Object.keys(rest).length === 0 ? undefined : rest
}

/**
 * Refuses, in a policy or in an event handler.
 *
 * @example
 * if (room.closed) deny('FORBIDDEN', { reason: 'closed' })
 * @param details shown to the client; `retryAfterMs` (milliseconds) goes into the refusal's own field
 * @throws Denied always
 */
export function deny(code: Code, details?: RefusalDetails): never {
  throw new Denied(code, details)
}

/** A policy broke: it threw something else, was silent, called `next` twice, or passed its deadline. The client learns `code` only. */
export class PolicyFault extends Error {
  /** What the client is told: `INTERNAL`, or `DEADLINE_EXCEEDED`. */
  readonly code: Code
  /** The policy (or the part of the gate) at fault. */
  readonly policy: string

  constructor(message: string, policy: string, options: { cause?: unknown; code?: Code } = {}) {
    super(`${policy}: ${message}`, 'cause' in options ? { cause: options.cause } : undefined)
    this.code = options.code ?? 'INTERNAL'
    this.policy = policy
  }

  static override [Symbol.hasInstance](value: unknown): boolean {
    return branded(value, 'fault')
  }
}
Object.defineProperty(PolicyFault.prototype, 'name', { value: 'PolicyFault', configurable: true, writable: true })
Object.defineProperty(PolicyFault.prototype, BRAND, { value: 'fault' })

/** A mistake in the set-up, thrown while the server starts: says what is wrong, which option, and what to write instead. */
export class ConfigError extends Error {
  constructor(message: string, options?: { cause?: unknown }) {
    super(message, options)
  }

  static override [Symbol.hasInstance](value: unknown): boolean {
    return branded(value, 'config')
  }
}
Object.defineProperty(ConfigError.prototype, 'name', { value: 'ConfigError', configurable: true, writable: true })
Object.defineProperty(ConfigError.prototype, BRAND, { value: 'config' })
