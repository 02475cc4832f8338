import { addressKey } from '../lib/address.ts'
import type { ConnectContext, Context, EventContext, JoinContext, RequestContext } from '../lib/context.ts'
import { ConfigError, Denied } from '../lib/errors.ts'
import { boundedKey } from '../lib/keys.ts'
import { identityOf } from '../lib/peer.ts'
import { describe } from '../lib/policy.ts'
import type { Awaitable, Hook, Next } from '../lib/policy.ts'
import type { Rate } from '../lib/store.ts'

/** The context of any of the stages that can be limited; `ctx.stage` tells which. */
export type LimitedContext = RequestContext | ConnectContext<any> | EventContext<any> | JoinContext<any>

export interface RateLimitOptions {
  /** How much may be spent at once. */
  readonly limit: number
  /** In how many milliseconds all of it comes back, bit by bit. */
  readonly perMs: number
  /** What one request, connect, event or join spends. Default 1. A function may answer 0 for what is free. */
  readonly cost?: number | ((ctx: LimitedContext) => number)
  /** Whose limit it is. Default: the principal with its issuer, else the address (IPv6: its /64). */
  readonly key?: (ctx: LimitedContext) => string
  /** Under which name a shared store counts. Default: the position among all limits of the program, equal on nodes that run the same one. */
  readonly name?: string
}

/** What {@link rateLimit} makes. Each stage it stands at has a limit of its own. */
export interface RateLimitPolicy {
  readonly name: string
  readonly request: Hook<RequestContext>
  readonly connect: Hook<ConnectContext<any>>
  readonly event: Hook<EventContext<any>>
  readonly join: Hook<JoinContext<any>>
}

/**
 * Lets everybody spend `limit` at once and `limit` in `perMs` in the long run: what was spent comes back evenly, so there is no
 * window to wait for the edge of (GCRA, ITU-T I.371). One policy object that stands in several places is one limit for all of them.
 *
 * @example
 * gate.of('/chat', chat).event('message:send', rateLimit({ limit: 10, perMs: 1_000 }))
 * @throws ConfigError for a rate that would admit nothing, or everything
 */
export function rateLimit(options: RateLimitOptions): RateLimitPolicy {
  checkOptions(options)
  const { limit, perMs, cost = 1, key, name = String(++made) } = options
  // The rate is part of the key: two rates that met under one name would each spoil the other's count.
  const prefix = `rate:${name}:${limit}/${perMs}`
  return {
    name: 'rate-limit',
    // At the request stage there is nobody yet, only an address, and each request is a new object.
    request: limiter(`${prefix}:request`, limit, perMs, cost, key ?? ((ctx) => addressKey(ctx.address))),
    connect: limiter(`${prefix}:connect`, limit, perMs, cost, key),
    event: limiter(`${prefix}:event`, limit, perMs, cost, key),
    join: limiter(`${prefix}:join`, limit, perMs, cost, key),
  }
}

/** How many limits without a name of their own there are. */
let made = 0

function limiter<C extends LimitedContext>(prefix: string, limit: number, perMs: number, cost: number | ((ctx: C) => number), key: ((ctx: C) => string) | undefined): Hook<C> {
  const fixed: Rate | undefined = typeof cost === 'number' ? { limit, perMs, cost } : undefined
  const keyOf = key === undefined ? ownKey(prefix) : (ctx: C) => givenKey(prefix, key(ctx))
  return (ctx, next) => {
    const rate = fixed ?? { limit, perMs, cost: checkCost((cost as (ctx: C) => number)(ctx)) }
    if (rate.cost === 0) return next()
    // More than all there ever is: no wait would help.
    if (rate.cost > limit) throw new Denied('RATE_LIMITED')
    const whose = keyOf(ctx)
    let wait: number | Promise<number>
    try {
      wait = ctx.store.consume(whose, rate, ctx.now)
    } catch (error) {
      throw unavailable(error)
    }
    return typeof wait === 'number' ? conclude(wait, next) : late(wait, next)
  }
}

async function late(waiting: Promise<number>, next: Next): Promise<void> {
  let wait: number
  try {
    wait = await waiting
  } catch (error) {
    throw unavailable(error)
  }
  return conclude(wait, next)
}

function conclude(wait: number, next: Next): Awaitable {
  if (wait === 0) return next()
  if (typeof wait !== 'number' || !(wait > 0 && wait < Infinity)) throw unavailable(new TypeError(`the store answered ${String(wait)} in place of a time to wait`))
  throw new Denied('RATE_LIMITED', { retryAfterMs: Math.ceil(wait) })
}

/** Whoever cannot be counted is not let through. */
function unavailable(error: unknown): Denied {
  return new Denied('UNAVAILABLE', undefined, error)
}

/** The key of the peer. It depends on its facts and its address only, so it is made once for each. */
function ownKey(prefix: string): (ctx: Context) => string {
  const known = new WeakMap<object, { readonly address: string; readonly key: string }>()
  return ({ peer, address }) => {
    const own = known.get(peer)
    if (own?.address === address) return own.key
    const identity = identityOf(peer)
    const key = boundedKey(prefix, identity === undefined ? `address:${addressKey(address)}` : `subject:${identity}`)
    known.set(peer, { address, key })
    return key
  }
}

function givenKey(prefix: string, key: unknown): string {
  if (typeof key !== 'string') throw new TypeError(`rate-limit: key answered ${describe(key)} and not text`)
  return boundedKey(prefix, `key:${key}`)
}

function checkCost(cost: unknown): number {
  if (typeof cost !== 'number' || !(cost >= 0)) throw new TypeError(`rate-limit: cost answered ${describe(cost)} and not a number from 0`)
  return cost
}

const KNOWN = ['limit', 'perMs', 'cost', 'key', 'name']

function checkOptions(options: RateLimitOptions): void {
  if (typeof options !== 'object' || options === null) throw new ConfigError('rateLimit takes options such as { limit: 10, perMs: 1_000 }.')
  const unknown = Object.keys(options).find((key) => !KNOWN.includes(key))
  if (unknown !== undefined) throw new ConfigError(`rateLimit: unknown option "${unknown}". The options are ${KNOWN.join(', ')}.`)
  const { limit, perMs, cost, key, name } = options
  for (const [option, value] of [['limit', limit], ['perMs', perMs]] as const) {
    if (typeof value !== 'number' || !Number.isFinite(value) || value <= 0) throw new ConfigError(`rateLimit: ${option} is a positive number; got ${describe(value)}. Write { limit: 10, perMs: 1_000 } for ten a second.`)
  }
  if (cost !== undefined && typeof cost !== 'function') {
    if (typeof cost !== 'number' || !Number.isFinite(cost) || cost <= 0) throw new ConfigError(`rateLimit: cost is a positive number or a function (ctx) => number; got ${describe(cost)}.`)
    if (cost > limit) throw new ConfigError(`rateLimit: a cost of ${cost} above the limit of ${limit} would never be admitted.`)
  } else if (cost === undefined && limit < 1) {
    throw new ConfigError(`rateLimit: a limit of ${limit} would never admit the default cost of 1. Write a longer perMs instead: { limit: 1, perMs: ${perMs / limit} }.`)
  }
  if (key !== undefined && typeof key !== 'function') throw new ConfigError(`rateLimit: key is a function (ctx) => string; got ${describe(key)}.`)
  if (name !== undefined && (typeof name !== 'string' || !/^[\w.-]{1,64}$/.test(name))) throw new ConfigError(`rateLimit: name is 1 to 64 letters, digits, dots, hyphens or underscores; got ${describe(name)}.`)
}
