import { addressKey } from '../../lib/address.ts'
import { isThenable } from '../../lib/compose.ts'
import type { ConnectContext } from '../../lib/context.ts'
import { ConfigError, Denied } from '../../lib/errors.ts'
import { boundedKey } from '../../lib/keys.ts'
import { describe } from '../../lib/policy.ts'

/** How many failures in how many milliseconds. */
export interface FailureLimit {
  readonly limit: number
  readonly perMs: number
}

/** How many failed credentials are too many; `false` for no limit. How many one connection may bring is `limits.maxFailedCredentials` of `guard`. */
export interface FailureLimits {
  /** From one address (IPv6: one /64). Many people may share it. Default 1,000 a minute. */
  readonly perAddress?: FailureLimit | false
  /** For one account from one address, where the scheme knows which account a credential names: nobody is locked out from elsewhere. Default 10 in a quarter of an hour. */
  readonly perAccount?: FailureLimit | false
}

const DEFAULT_ADDRESS: FailureLimit = { limit: 1_000, perMs: 60_000 }
const DEFAULT_ACCOUNT: FailureLimit = { limit: 10, perMs: 900_000 }
/** Who is held is looked up without the store. The oldest go first. */
const MAX_HELD = 10_000

/** How an attempt ended: what was reserved for it is kept for a failure, and given back otherwise. */
export type Attempt = (error?: unknown) => void

const NOTHING: Attempt = () => undefined

/**
 * Counts credentials that proved nothing. By address a failure is counted when it has happened, so that a success costs nothing. A credential
 * that names an account is a guess: those are counted before they are looked at, so that parallel ones are not more of them.
 */
export class Failures {
  readonly #address: FailureLimit | undefined
  readonly #account: FailureLimit | undefined
  /** Addresses that have to wait, and until when: looked up without the store. */
  readonly #held = new Map<string, number>()

  constructor(limits: FailureLimits | undefined) {
    const { perAddress, perAccount } = check(limits)
    this.#address = perAddress === false ? undefined : (perAddress ?? DEFAULT_ADDRESS)
    this.#account = perAccount === false ? undefined : (perAccount ?? DEFAULT_ACCOUNT)
  }

  /** @throws Denied `RATE_LIMITED` for an address that has failed too often: whatever it brings now is not looked at */
  hold({ address, cause, now }: ConnectContext): void {
    // A peer that is here has a limit of its own, and is not to suffer for its neighbours.
    if (this.#held.size === 0 || cause === 'refresh') return
    const key = addressKey(address)
    const wait = (this.#held.get(key) ?? 0) - now
    if (wait <= 0) return
    // The clock was set back.
    if (wait > this.#address!.perMs) this.#held.delete(key)
    else throw tooMany(wait)
  }

  /** Takes one guess from an account, as seen from an address. @throws Denied `RATE_LIMITED` where there is none left, `UNAVAILABLE` where the store cannot say */
  reserve(ctx: ConnectContext, account: string | undefined): Attempt | Promise<Attempt> {
    const limit = this.#account
    if (limit === undefined || account === undefined) return NOTHING
    const key = boundedKey('failures:account', JSON.stringify([account, addressKey(ctx.address)]))
    const take = (wait: number): Attempt => {
      if (typeof wait !== 'number' || !(wait >= 0)) throw new Denied('UNAVAILABLE', undefined, 'the store has not counted the attempt')
      if (wait > 0) throw tooMany(wait)
      return (error) => {
        if (!isFailure(error)) this.#consume(ctx, key, limit, -1, () => undefined)
      }
    }
    const failed = (error: unknown): never => {
      throw error instanceof Denied ? error : new Denied('UNAVAILABLE', undefined, error)
    }
    try {
      const wait = ctx.store.consume(key, { ...limit, cost: 1 }, ctx.now)
      return isThenable(wait) ? Promise.resolve(wait).then(take).catch(failed) : take(wait)
    } catch (error) {
      return failed(error)
    }
  }

  /** Counts a failure, where it is one. @returns the error as it was */
  count(ctx: ConnectContext, error: unknown): unknown {
    const limit = this.#address
    if (limit === undefined || !isFailure(error)) return error
    const key = addressKey(ctx.address)
    const { now } = ctx
    this.#consume(ctx, `failures:address:${key}`, limit, 1, (wait) => {
      if (wait > 0) this.#remember(key, now + wait, now)
    })
    return error
  }

  /** Nobody waits for the count, and a store that cannot count changes nothing about what was decided. */
  #consume(ctx: ConnectContext, key: string, { limit, perMs }: FailureLimit, cost: number, then: (wait: number) => void): void {
    const failed = (error: unknown): void => ctx.scene.fault(ctx, error, 'authenticate')
    try {
      const wait = ctx.store.consume(key, { limit, perMs, cost }, ctx.now)
      if (isThenable(wait)) Promise.resolve(wait).then(then).catch(failed)
      else then(wait)
    } catch (error) {
      failed(error)
    }
  }

  #remember(key: string, until: number, now: number): void {
    this.#held.delete(key)
    for (const [old, end] of this.#held) {
      if (end > now && this.#held.size < MAX_HELD) break
      this.#held.delete(old)
    }
    this.#held.set(key, until)
  }
}

function isFailure(error: unknown): boolean {
  return error instanceof Denied && error.code === 'UNAUTHENTICATED'
}

function tooMany(wait: number): Denied {
  return new Denied('RATE_LIMITED', { retryAfterMs: Math.ceil(wait) }, 'too many failed credentials')
}

function check(limits: FailureLimits = {}): FailureLimits {
  if (typeof limits !== 'object' || limits === null) throw new ConfigError(`authenticate: failures is { perAddress, perAccount }; got ${describe(limits)}.`)
  for (const [name, given] of Object.entries(limits) as [string, unknown][]) {
    if (name !== 'perAddress' && name !== 'perAccount') throw new ConfigError(`authenticate: failures has no "${name}"; it has perAddress and perAccount.`)
    if (given === undefined || given === false) continue
    const { limit, perMs } = (given ?? {}) as Partial<Record<keyof FailureLimit, unknown>>
    if (![limit, perMs].every((each) => typeof each === 'number' && Number.isFinite(each) && each > 0) || !Number.isInteger(limit)) {
      throw new ConfigError(`authenticate: failures.${name} is { limit, perMs }, such as { limit: 10, perMs: 60_000 }, or false; got ${describe(given)}.`)
    }
  }
  return limits
}
