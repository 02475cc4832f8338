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

/**
 * Counts credentials that proved nothing. A success costs nothing: only a failure asks the store, and what it answers is remembered here until
 * the wait is over.
 */
export class Failures {
  readonly #address: FailureLimit | undefined
  readonly #account: FailureLimit | undefined
  /** By key, until when it has to wait. */
  readonly #held = new Map<string, number>()

  constructor(limits: FailureLimits | undefined) {
    const { perAddress, perAccount } = check(limits)
    this.#address = perAddress === false ? undefined : (perAddress ?? DEFAULT_ADDRESS)
    this.#account = perAccount === false ? undefined : (perAccount ?? DEFAULT_ACCOUNT)
  }

  /** @throws Denied `RATE_LIMITED` for whoever has failed too often: whatever it brings now is not looked at */
  hold(ctx: ConnectContext, account: string | undefined): void {
    if (this.#held.size === 0) return
    const until = this.#held.get(keyOf(ctx, account))
    if (until === undefined || until <= ctx.now) return
    throw new Denied('RATE_LIMITED', { retryAfterMs: Math.ceil(until - ctx.now) }, 'too many failed credentials')
  }

  /** Counts a failure, where it is one. @returns the error as it was, or a promise that rejects with it once it is counted */
  count(ctx: ConnectContext, account: string | undefined, error: unknown): unknown {
    if (!(error instanceof Denied) || error.code !== 'UNAUTHENTICATED') return error
    if (this.#address !== undefined) this.#consume(ctx, keyOf(ctx, undefined), this.#address)
    if (this.#account !== undefined && account !== undefined) this.#consume(ctx, keyOf(ctx, account), this.#account)
    return error
  }

  #consume(ctx: ConnectContext, key: string, { limit, perMs }: FailureLimit): void {
    const { now } = ctx
    const hold = (wait: number): void => {
      if (wait > 0) this.#remember(key, now + wait, now)
    }
    // Whoever failed is refused anyway: nobody waits for the count, and a store that cannot count changes nothing.
    const failed = (error: unknown): void => ctx.scene.fault(ctx, error, 'authenticate')
    try {
      const wait = ctx.store.consume(key, { limit, perMs, cost: 1 }, now)
      if (isThenable(wait)) Promise.resolve(wait).then(hold).catch(failed)
      else hold(wait)
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

function keyOf({ address }: ConnectContext, account: string | undefined): string {
  const source = addressKey(address)
  return account === undefined ? `failures:address:${source}` : boundedKey('failures:account', JSON.stringify([account, source]))
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
