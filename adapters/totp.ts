import { createHash } from 'node:crypto'
import { HOTP, Secret, TOTP } from 'otpauth'
import { ConfigError, Denied } from '../lib/errors.ts'
import type { Factor, StepUpContext } from '../lib/factor.ts'
import { identityOf } from '../lib/peer.ts'
import { describe } from '../lib/policy.ts'
import type { Principal } from '../lib/principal.ts'

export type TotpAlgorithm = 'SHA1' | 'SHA256' | 'SHA512'

type SharedSecret = string | Uint8Array | undefined

export interface TotpOptions {
  /** The secret a subject shares with its authenticator, in base32 or as bytes, at least 128 bits; undefined where it has none. */
  readonly secretFor: (principal: Principal) => SharedSecret | Promise<SharedSecret>
  /** How long a code is. Default 6. */
  readonly digits?: 6 | 7 | 8
  /** How long a code is shown, in seconds. Default 30. */
  readonly period?: number
  /** Default SHA1: what most authenticators can do. The weaknesses of SHA-1 are none in an HMAC. */
  readonly algorithm?: TotpAlgorithm
  /** How many codes before and after the current one are accepted, for clocks that differ. Default 1. */
  readonly window?: number
  /** The factor's name, as clients and `step-up` use it. Default `otp` (RFC 8176). */
  readonly name?: string
}

/** RFC 4226, R6. */
const MIN_SECRET_BYTES = 16
const DEFAULTS = { digits: 6, period: 30, algorithm: 'SHA1', window: 1, name: 'otp' } as const

/**
 * A factor for `stepUp`: the time-based code an authenticator shows (TOTP, RFC 6238). Each code works once, on all nodes that share the store.
 *
 * @example
 * stepUp(totp({ secretFor: ({ subject }) => secrets.get(subject) }), { maxAgeMs: 300_000 })
 * @throws ConfigError without `secretFor`, and for parameters no authenticator has, or that make guessing easy
 */
export function totp(options: TotpOptions): Factor {
  checkOptions(options)
  return new TotpFactor({ ...DEFAULTS, ...defined(options) })
}

class TotpFactor implements Factor {
  readonly name: string
  readonly #options: Required<TotpOptions>

  constructor(options: Required<TotpOptions>) {
    this.name = options.name
    this.#options = options
  }

  async verify(code: string, { principal, now, store }: StepUpContext): Promise<boolean> {
    const { digits, period, window } = this.#options
    if (typeof code !== 'string' || code.length !== digits || !/^[0-9]+$/.test(code)) return false
    const secret = secretOf(await this.#options.secretFor(principal))
    const current = TOTP.counter({ period, timestamp: now })
    // Whoever has no secret takes as long as one who has.
    const matched = this.#match(code, secret ?? NO_SECRET, current)
    if (secret === undefined || matched === undefined) return false
    // One more than this node would accept: another one's clock may be faster.
    if (await this.#spend(keyFor(principal, this.name), matched, current + window + 1, store)) return true
    throw new Denied('UNAUTHENTICATED', undefined, `${this.name}: a code that was used before, or is older than one that was`)
  }

  /** The counter the code belongs to. All of the window is looked at, whether it is found early or late. */
  #match(code: string, secret: Secret, current: number): number | undefined {
    const { digits, algorithm, window } = this.#options
    let matched: number | undefined
    for (let counter = current - window; counter <= current + window; counter++) {
      if (HOTP.validate({ token: code, secret, algorithm, digits, counter, window: 0 }) !== null) matched = counter
    }
    return matched
  }

  /**
   * A code works once, and none works that is older than one that did (RFC 6238, 5.2). It is claimed before the newer ones are looked
   * for: of two codes brought at the same time, on whatever nodes, the older one counts only where it came first.
   */
  async #spend(key: string, counter: number, newest: number, store: StepUpContext['store']): Promise<boolean> {
    const { period, window } = this.#options
    // For as long as a code may be accepted, and a period more for that other clock.
    const ttlMs = (2 * window + 2) * period * 1_000
    try {
      if ((await store.set(`${key}:${counter}`, '1', ttlMs, { ifAbsent: true })) !== true) return false
      const newer = Array.from({ length: newest - counter }, (_, index) => `${key}:${counter + 1 + index}`)
      return (await store.getMany(newer)).every((found) => found === undefined)
    } catch (error) {
      throw new Denied('UNAVAILABLE', undefined, error)
    }
  }
}

const NO_SECRET = new Secret({ buffer: new ArrayBuffer(MIN_SECRET_BYTES) })

function keyFor(principal: Principal, name: string): string {
  return `totp-used:${createHash('sha256').update(identityOf({ principal })!).digest('base64url')}:${name}`
}

/** Errors of the library hold characters of the secret, so it is checked before the library sees it, and no error of ours shows any. */
function secretOf(given: unknown): Secret | undefined {
  if (given === undefined) return undefined
  // A copy: a Buffer is a view of memory it may share with others, and the library would take all of it.
  const secret = typeof given === 'string' ? fromBase32(given) : given instanceof Uint8Array ? new Secret({ buffer: Uint8Array.from(given).buffer }) : undefined
  if (secret === undefined) throw new TypeError('totp: secretFor answered neither base32 text nor bytes; undefined says that there is no secret')
  if (secret.bytes.length < MIN_SECRET_BYTES) throw new TypeError(`totp: secretFor answered a secret of fewer than ${MIN_SECRET_BYTES * 8} bits (RFC 4226, R6)`)
  return secret
}

/** Authenticators show it in groups, in either case, with padding or without. */
function fromBase32(text: string): Secret {
  const bare = text.replace(/ /g, '').replace(/=+$/, '')
  if (!/^[A-Za-z2-7]+$/.test(bare) || [1, 3, 6].includes(bare.length % 8)) throw new TypeError('totp: secretFor answered text that is not base32 (RFC 4648)')
  return Secret.fromBase32(bare)
}

const KNOWN = ['secretFor', 'digits', 'period', 'algorithm', 'window', 'name']

/** What may be a secret given in the wrong place is not repeated. */
function checkOptions(options: TotpOptions): void {
  if (typeof options !== 'object' || options === null) throw new ConfigError(`totp takes options such as { secretFor: (principal) => secret }; got ${typeof options}.`)
  const unknown = Object.keys(options).find((key) => !KNOWN.includes(key))
  if (unknown !== undefined) throw new ConfigError(`totp: unknown option "${unknown}". The options are ${KNOWN.join(', ')}.`)
  const { secretFor, digits, period, algorithm, window, name } = { ...DEFAULTS, ...defined(options) }
  if (typeof secretFor !== 'function') throw new ConfigError(`totp: secretFor is a function from a principal to the secret it shares with its authenticator; got ${typeof secretFor}.`)
  if (![6, 7, 8].includes(digits)) throw new ConfigError(`totp: digits is 6, 7 or 8 (RFC 4226); got ${describe(digits)}.`)
  if (!Number.isInteger(period) || period < 1 || period > 120) throw new ConfigError(`totp: period is a whole number of seconds from 1 to 120; got ${describe(period)}. Authenticators use 30.`)
  if (!['SHA1', 'SHA256', 'SHA512'].includes(algorithm)) throw new ConfigError(`totp: algorithm is 'SHA1', 'SHA256' or 'SHA512'; got ${describe(algorithm)}.`)
  if (!Number.isInteger(window) || window < 0 || window > 5) throw new ConfigError(`totp: window is a whole number from 0 to 5; got ${describe(window)}. Each one more accepts two more codes at a time, and makes guessing easier.`)
  if (typeof name !== 'string' || !/^[\w.-]{1,64}$/.test(name)) throw new ConfigError(`totp: name is 1 to 64 letters, digits, dots, hyphens or underscores, such as 'otp' (RFC 8176); got ${describe(name)}.`)
}

/** An option that is given as `undefined` is not given. */
function defined<T extends object>(options: T): T {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T
}
