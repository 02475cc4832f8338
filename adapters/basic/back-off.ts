import { createHash } from 'node:crypto'
import { addressKey } from '../../lib/address.ts'
import { ConfigError, Denied } from '../../lib/errors.ts'
import { describe } from '../../lib/policy.ts'
import type { Store } from '../../lib/store.ts'
import { ask } from '../../lib/stored.ts'

/** How guessing is slowed down. */
export interface BackOffOptions {
  /** Wrong passwords for one account from one address before there is a wait. Default 5, at most 100. */
  readonly attempts?: number
  /** Wrong passwords from one address in an hour, for accounts that never signed in from there, before there is a wait. Default 50, at most 10,000. */
  readonly sourceAttempts?: number
  /** The first wait, in milliseconds. Each further one is twice as long. Default 1,000. */
  readonly firstWaitMs?: number
  /** The longest wait, in milliseconds. Default 900,000, which is also the most. */
  readonly maxWaitMs?: number
}

/** Leave to make one guess. Unless something else is said of it, the guess was wrong. */
export interface Guess {
  /** It was right: the account starts afresh at this address. */
  right(): void
  /** Whether it was right cannot be said: it does not count. */
  unjudged(): void
}

const HOUR_MS = 3_600_000
/** How long wrong guesses at an account are remembered, counted from the first. */
const PAIR_MS = 24 * HOUR_MS
/** How long an account is known at an address after it last signed in there. */
const KNOWN_MS = 30 * 24 * HOUR_MS
const MAX_WAIT_MS = 900_000
const DEFAULTS: Required<BackOffOptions> = { attempts: 5, sourceAttempts: 50, firstWaitMs: 1_000, maxWaitMs: MAX_WAIT_MS }

/**
 * Counts guesses for each account at each address, and for each address, and makes whoever guesses on wait longer and longer. A guess is
 * counted before it is made, so that many at once are no way round. Nothing is counted for an account alone: that would let anybody lock it.
 */
export class BackOff {
  readonly #options: Required<BackOffOptions>

  constructor(options: BackOffOptions = {}) {
    this.#options = resolve(options)
  }

  /** @throws Denied `RATE_LIMITED` while there is a wait, `UNAVAILABLE` when the store does not answer */
  async guess(store: Store, account: string, address: string, now: number): Promise<Guess> {
    const { attempts, sourceAttempts } = this.#options
    const from = addressKey(address)
    const source = `basic:source:${from}`
    const pair = `basic:pair:${createHash('sha256').update(account).digest('base64url')}:${from}`
    const known = `${pair}:known`
    const [pairHeld, sourceHeld, isKnown] = await ask(() => store.getMany([`${pair}:held`, `${source}:held`, known]))
    this.#checkHold(pairHeld, now, PAIR_REASON)
    // Who signed in from here before is not to wait for what a neighbour behind the same address does.
    if (isKnown === undefined) this.#checkHold(sourceHeld, now, SOURCE_REASON)

    // The hour is part of the count: what is taken back later is taken from the one it was added to.
    const sourceCount = `${source}:${Math.floor(now / HOUR_MS)}`
    const ofSource = isKnown === undefined ? await this.#reserve(store, { hold: source, count: sourceCount, ttlMs: 2 * HOUR_MS, free: sourceAttempts, reason: SOURCE_REASON }, now) : undefined
    let ofPair: Reserved
    try {
      ofPair = await this.#reserve(store, { hold: pair, count: pair, ttlMs: PAIR_MS, free: attempts, reason: PAIR_REASON }, now)
    } catch (error) {
      ofSource?.takeBack()
      throw error
    }
    return {
      right() {
        ofSource?.takeBack()
        ofPair.clear()
        later(() => store.set(known, '1', KNOWN_MS))
      },
      unjudged() {
        ofSource?.takeBack()
        ofPair.takeBack()
      },
    }
  }

  /** Counts one guess. Beyond the free ones, whoever sets the hold may make it, and nobody else until that is over. */
  async #reserve(store: Store, { hold, count, ttlMs, free, reason }: Ladder, now: number): Promise<Reserved> {
    const held = `${hold}:held`
    const level = `${count}:level`
    const counted = await ask(() => store.add(count, 1, ttlMs))
    const clear = (): void => {
      later(() => store.delete(count))
      // Only a guess beside this one can have set them, if this is the first.
      if (counted > 1) later(() => Promise.all([store.delete(held), store.delete(level)]))
    }
    if (counted < free) return { takeBack: () => later(() => takeFrom(store, count, ttlMs)), clear }

    const { firstWaitMs } = this.#options
    const isOurs = await ask(() => store.set(held, String(now + firstWaitMs), firstWaitMs, { ifAbsent: true }))
    if (!isOurs) {
      const until = await ask(() => store.get(held))
      this.#checkHold(until, now, reason)
      throw new Denied('RATE_LIMITED', { retryAfterMs: firstWaitMs }, reason)
    }
    const waitMs = this.#waitOf(await ask(() => store.add(level, 1, ttlMs)))
    await ask(() => store.set(held, String(now + waitMs), waitMs))
    const takeBack = (): void => later(() => Promise.all([takeFrom(store, count, ttlMs), takeFrom(store, level, ttlMs), store.delete(held)]))
    return { takeBack, clear }
  }

  #waitOf(level: number): number {
    const { firstWaitMs, maxWaitMs } = this.#options
    return Math.min(maxWaitMs, firstWaitMs * 2 ** Math.min(level - 1, 30))
  }

  #checkHold(until: string | undefined, now: number, reason: string): void {
    const left = until === undefined ? 0 : Number(until) - now
    // Were the clock moved back, the wait would seem longer than any is.
    if (left > 0) throw new Denied('RATE_LIMITED', { retryAfterMs: Math.min(left, this.#options.maxWaitMs) }, reason)
  }
}

/** Where guesses of one kind are counted, and how many are free. */
interface Ladder {
  readonly hold: string
  readonly count: string
  readonly ttlMs: number
  readonly free: number
  readonly reason: string
}

interface Reserved {
  takeBack(): void
  clear(): void
}

const PAIR_REASON = 'basic: too many wrong passwords for this account from this address'
const SOURCE_REASON = 'basic: too many wrong passwords from this address'

/** A count that was cleared in the meantime must not fall below nothing: that would be a guess more. */
async function takeFrom(store: Store, count: string, ttlMs: number): Promise<void> {
  if ((await store.add(count, -1, ttlMs)) < 0) await store.delete(count)
}

/** Nobody waits for it. Where the store fails, what should have been forgotten is forgotten with its time. */
function later(operation: () => unknown): void {
  void Promise.resolve().then(operation).catch(() => {})
}

function resolve(options: BackOffOptions): Required<BackOffOptions> {
  if (typeof options !== 'object' || options === null) throw new ConfigError(`basic: backOff takes options such as { attempts: 5 }; got ${describe(options)}.`)
  const unknown = Object.keys(options).find((key) => !Object.hasOwn(DEFAULTS, key))
  if (unknown !== undefined) throw new ConfigError(`basic: unknown option "backOff.${unknown}". There are ${Object.keys(DEFAULTS).join(', ')}.`)
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
  const complete = { ...DEFAULTS, ...given }
  check(complete.attempts, 'attempts', 100)
  check(complete.sourceAttempts, 'sourceAttempts', 10_000)
  check(complete.maxWaitMs, 'maxWaitMs', MAX_WAIT_MS)
  check(complete.firstWaitMs, 'firstWaitMs', complete.maxWaitMs)
  return complete
}

function check(value: unknown, name: string, max: number): void {
  if (!Number.isInteger(value) || (value as number) < 1 || (value as number) > max) throw new ConfigError(`basic: backOff.${name} is a whole number from 1 to ${max}; got ${describe(value)}.`)
}
