import { randomInt } from 'node:crypto'
import type { ConnectContext } from '../lib/context.ts'
import { ConfigError, Denied } from '../lib/errors.ts'
import type { Hook } from '../lib/policy.ts'
import type { ReconnectAdvice } from '../lib/wire.ts'
import { checkAdvice, checkDuration, checkKeys, isNewcomer } from './closing/options.ts'

export interface LifetimeOptions {
  /** How long a peer may stay, in milliseconds. */
  readonly maxMs: number
  /** Up to how much earlier each peer is closed, by chance, in milliseconds: those that came together do not all come back together. Default 0. */
  readonly spreadMs?: number
  /** What a client that was closed is advised to do. Default `after-credential`. */
  readonly reconnect?: ReconnectAdvice
}

/** What {@link lifetime} makes. */
export interface LifetimePolicy {
  readonly name: string
  readonly connect: Hook<ConnectContext<any>>
}

/**
 * Closes a peer `maxMs` after it has entered its namespace, however busy it is (ASVS 5.0 7.3.2). No refresh and no look at its rights
 * prolongs that.
 *
 * @example
 * gate.use(lifetime({ maxMs: 12 * 60 * 60_000, spreadMs: 10 * 60_000 }))
 * @throws ConfigError for a bad option
 */
export function lifetime(options: LifetimeOptions): LifetimePolicy {
  checkKeys(options, ['maxMs', 'spreadMs', 'reconnect'], 'lifetime', '{ maxMs: 43_200_000 }')
  const { maxMs, spreadMs = 0, reconnect = 'after-credential' } = options
  checkDuration(maxMs, 'lifetime: maxMs')
  checkDuration(spreadMs, 'lifetime: spreadMs', 0)
  if (spreadMs >= maxMs) throw new ConfigError(`lifetime: a spreadMs of ${spreadMs} could close a peer as it enters. Write one well below maxMs (${maxMs}).`)
  checkAdvice(reconnect, 'lifetime: reconnect')

  return {
    name: 'lifetime',
    connect(ctx, next) {
      if (isNewcomer(ctx)) {
        ctx.onEntered((presence) => {
          const end = presence.alarm(() => presence.close(new Denied('LIFETIME_EXCEEDED'), reconnect, 'lifetime'))
          end.set(ctx.scene.clock.now() + maxMs - randomInt(Math.floor(spreadMs) + 1))
        })
      }
      return next()
    },
  }
}
