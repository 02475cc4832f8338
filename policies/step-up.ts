import { isThenable } from '../lib/compose.ts'
import type { EventContext } from '../lib/context.ts'
import { ConfigError, deny, Denied } from '../lib/errors.ts'
import { sharedFactorKey, STEP_UP } from '../lib/factor.ts'
import type { Factor, StepUpTerms } from '../lib/factor.ts'
import { identityOf } from '../lib/peer.ts'
import { describe } from '../lib/policy.ts'
import type { Awaitable, Hook } from '../lib/policy.ts'

export interface StepUpOptions {
  /** How old a proof of the factor may be, in milliseconds. */
  readonly maxAgeMs: number
  /** How many wrong codes a subject may bring, on however many sockets, before it has to wait. Default 5, at most 100. */
  readonly maxAttempts?: number
  /** In how many milliseconds all of those come back, bit by bit. Default 900,000: 15 minutes. */
  readonly attemptsPerMs?: number
  /** Whether a proof counts for the one socket it was brought on, or for every socket of its subject. Default `'socket'`. */
  readonly share?: 'socket' | 'subject'
}

/** What {@link stepUp} makes. */
export interface StepUpPolicy {
  readonly name: 'step-up'
  readonly event: Hook<EventContext<Known>>
  readonly [STEP_UP]: StepUpTerms
}

/** A peer of which `authenticate` has said who it is, or that it is nobody. */
interface Known {
  readonly principal: { readonly subject: string } | undefined
}

/**
 * Demands of an event that its peer has proved a further factor, and not long ago. Where it has not, the client is told
 * `STEP_UP_REQUIRED` with `{ factors, maxAgeMs }`, and brings a code with `gate:step-up` on the same socket.
 *
 * @example
 * gate.event('transfer', stepUp(totp({ secretFor }), { maxAgeMs: 300_000 }))
 * @throws ConfigError for what is no factor, and without an age
 */
export function stepUp(factor: Factor, options: StepUpOptions): StepUpPolicy {
  checkFactor(factor)
  checkOptions(options)
  const { maxAgeMs, maxAttempts = 5, attemptsPerMs = 900_000, share = 'socket' } = options
  const { name } = factor
  const shared = share === 'subject'

  const required = (): never => deny('STEP_UP_REQUIRED', { factors: [name], maxAgeMs })
  return {
    name: 'step-up',
    event(ctx, next) {
      const identity = identityOf(ctx.peer)
      if (identity === undefined) deny('UNAUTHENTICATED')
      const { now } = ctx
      if (isRecent(ctx.provedAt(name), now, maxAgeMs)) return next()
      return shared ? askStore(ctx, sharedFactorKey(identity, name), (at) => (isRecent(at, now, maxAgeMs) ? next() : required())) : required()
    },
    [STEP_UP]: { factor, limit: maxAttempts, perMs: attemptsPerMs, shared, sharedForMs: maxAgeMs },
  }
}

/** A proof may lie this far ahead: it came while its event waited for a policy above, or from a node whose clock is a little fast. */
const AHEAD_MS = 10_000

/** What lies further ahead was proved before the clock was put back: nobody knows how long ago. */
function isRecent(at: number | undefined, now: number, maxAgeMs: number): boolean {
  return at !== undefined && now - at <= maxAgeMs && at - now <= Math.min(maxAgeMs, AHEAD_MS)
}

function askStore(ctx: EventContext<Known>, key: string, decide: (at: number | undefined) => Awaitable): Awaitable {
  const failed = (error: unknown): never => {
    throw new Denied('UNAVAILABLE', undefined, error)
  }
  let found: unknown
  try {
    found = ctx.store.get(key)
  } catch (error) {
    return failed(error)
  }
  return isThenable(found) ? Promise.resolve(found).then((late) => decide(timeOf(late)), failed) : decide(timeOf(found))
}

function timeOf(stored: unknown): number | undefined {
  return typeof stored === 'string' && /^\d{1,16}$/.test(stored) ? Number(stored) : undefined
}

function checkFactor(factor: unknown): asserts factor is Factor {
  const { name, verify } = (factor ?? {}) as Partial<Record<keyof Factor, unknown>>
  if (typeof name !== 'string' || typeof verify !== 'function') {
    throw new ConfigError(`stepUp takes a factor first, an object { name, verify(code, ctx) }, such as totp({ secretFor }); got ${describe(factor)}.`)
  }
  if (!/^[\w.-]{1,64}$/.test(name)) throw new ConfigError(`stepUp: the name of a factor is 1 to 64 letters, digits, dots, hyphens or underscores, such as 'otp' (RFC 8176); got ${JSON.stringify(name.slice(0, 80))}.`)
}

const KNOWN = ['maxAgeMs', 'maxAttempts', 'attemptsPerMs', 'share']

function checkOptions(options: StepUpOptions): void {
  if (typeof options !== 'object' || options === null) throw new ConfigError(`stepUp takes options second, such as { maxAgeMs: 300_000 }; got ${describe(options)}.`)
  const unknown = Object.keys(options).find((key) => !KNOWN.includes(key))
  if (unknown !== undefined) throw new ConfigError(`stepUp: unknown option "${unknown}". The options are ${KNOWN.join(', ')}.`)
  const { maxAgeMs, maxAttempts, attemptsPerMs, share } = options
  if (!isPositive(maxAgeMs)) throw new ConfigError(`stepUp: maxAgeMs is a positive number of milliseconds; got ${describe(maxAgeMs)}. Write { maxAgeMs: 300_000 } for a proof that is good for five minutes.`)
  if (maxAttempts !== undefined && !(Number.isInteger(maxAttempts) && maxAttempts >= 1 && maxAttempts <= 100)) {
    throw new ConfigError(`stepUp: maxAttempts is a whole number from 1 to 100; got ${describe(maxAttempts)}. With more, a code of six digits can be guessed.`)
  }
  if (attemptsPerMs !== undefined && !isPositive(attemptsPerMs)) throw new ConfigError(`stepUp: attemptsPerMs is a positive number of milliseconds; got ${describe(attemptsPerMs)}. Write 900_000 for 15 minutes.`)
  if (share !== undefined && share !== 'socket' && share !== 'subject') throw new ConfigError(`stepUp: share is 'socket' or 'subject'; got ${describe(share)}.`)
}

function isPositive(value: unknown): boolean {
  return typeof value === 'number' && Number.isFinite(value) && value > 0
}
