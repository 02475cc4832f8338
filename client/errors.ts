import type { Code } from '../lib/errors.ts'
import type { Refusal } from '../lib/wire.ts'

/** The gate has refused: what it says of it. */
export class GateError extends Error {
  override readonly name = 'GateError'
  readonly code: Code
  /** Correlation id: the operator's record has the same one. */
  readonly id: string
  /** How long to wait before trying again, in milliseconds. */
  readonly retryAfterMs: number | undefined
  readonly details: Readonly<Record<string, unknown>> | undefined

  constructor({ code, message, id, retryAfterMs, details }: Refusal) {
    super(message)
    this.code = code
    this.id = id
    // What would make a timer fire at once is no time to wait.
    this.retryAfterMs = typeof retryAfterMs === 'number' && retryAfterMs >= 0 ? retryAfterMs : undefined
    this.details = details
  }
}

/** Why there is no answer of the gate: a closed list, with the text of each. */
const REASONS = {
  UNREACHABLE: 'The server could not be reached.',
  DISCONNECTED: 'There is no connection any more.',
  TIMEOUT: 'There was no answer in time.',
  CREDENTIALS: 'No credential was given.',
  RENEWAL: 'The session cookie was not renewed.',
  CLOSED: 'The connection is closed.',
}

export type ConnectionErrorCode = keyof typeof REASONS

/** There was no answer of the gate; `cause` is what the transport, the `credentials` function or the renewal of the session cookie failed with. */
export class ConnectionError extends Error {
  override readonly name = 'ConnectionError'

  constructor(
    readonly code: ConnectionErrorCode,
    cause?: unknown,
  ) {
    super(REASONS[code], { cause })
  }
}

/** Whether a value is a refusal of the gate, as an ack brings it under `error`. */
export function isRefusal(value: unknown): value is Refusal {
  const { code, message, id } = (value ?? {}) as Record<string, unknown>
  return typeof code === 'string' && /^[A-Z_]+$/.test(code) && typeof message === 'string' && typeof id === 'string'
}
