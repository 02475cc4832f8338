import type { ConnectContext, EventContext, PeerSocket } from '../lib/context.ts'
import { Denied } from '../lib/errors.ts'
import type { Hook } from '../lib/policy.ts'
import type { Alarm, Presence } from '../lib/presence.ts'
import type { ReconnectAdvice } from '../lib/wire.ts'
import { checkAdvice, checkDuration, checkKeys, isNewcomer } from './closing/options.ts'

export interface IdleOptions {
  /** How long a peer may send no event, in milliseconds. */
  readonly afterMs: number
  /** What a client that was closed is advised to do. Default `never`: a page that nobody uses is not to come back by itself. */
  readonly reconnect?: ReconnectAdvice
}

/** What {@link idle} makes. Only `use` declares both of its hooks. */
export interface IdlePolicy {
  readonly name: string
  readonly connect: Hook<ConnectContext<any>>
  readonly event: Hook<EventContext<any>>
}

/**
 * Closes a peer that has sent no event for `afterMs` (ASVS 5.0 7.3.1). An event counts when everything below has agreed to it; pings of the
 * engine, deliveries, acks and the gate's own messages do not.
 *
 * @example
 * gate.use(idle({ afterMs: 15 * 60_000 }))
 * @throws ConfigError for a bad option
 */
export function idle(options: IdleOptions): IdlePolicy {
  checkKeys(options, ['afterMs', 'reconnect'], 'idle', '{ afterMs: 900_000 }')
  const { afterMs, reconnect = 'never' } = options
  checkDuration(afterMs, 'idle: afterMs')
  checkAdvice(reconnect, 'idle: reconnect')
  const watches = new WeakMap<PeerSocket, Watch>()

  return {
    name: 'idle',
    connect(ctx, next) {
      if (isNewcomer(ctx)) {
        ctx.onEntered((presence) => {
          // Where the same policy stands twice, two watches would each see half of it.
          if (!watches.has(presence.socket)) watches.set(presence.socket, new Watch(presence, afterMs, reconnect, ctx.scene.clock.now()))
        })
      }
      return next()
    },
    event(ctx, next) {
      const watch = watches.get(ctx.socket)
      if (watch === undefined) return next()
      const { now } = ctx
      // The timer is late (the machine has slept): whoever has come back to it must not go on where somebody else has left.
      if (watch.isOver(now)) {
        ctx.onSettled(() => watch.end())
        throw new Denied('IDLE_TIMEOUT')
      }
      const below = next()
      return below === undefined ? watch.heard(now) : below.then(() => watch.heard(now))
    },
  }
}

/** How long one peer has been silent. An event writes down its time; the alarm finds out when it fires, and is set again for what is left. */
class Watch {
  readonly #presence: Presence
  readonly #afterMs: number
  readonly #reconnect: ReconnectAdvice
  readonly #alarm: Alarm
  #heardAt: number
  #ended = false

  constructor(presence: Presence, afterMs: number, reconnect: ReconnectAdvice, now: number) {
    this.#presence = presence
    this.#afterMs = afterMs
    this.#reconnect = reconnect
    this.#heardAt = now
    this.#alarm = presence.alarm((then) => this.#due(then))
    this.#alarm.set(now + afterMs)
  }

  heard(at: number): void {
    // Of two events the later one may have been decided first.
    if (at > this.#heardAt) this.#heardAt = at
  }

  isOver(now: number): boolean {
    return !this.#ended && now - this.#heardAt >= this.#afterMs
  }

  end(): void {
    if (this.#ended) return
    // Where it is only observed the peer stays, and was reported.
    this.#ended = true
    this.#alarm.clear()
    this.#presence.close(new Denied('IDLE_TIMEOUT'), this.#reconnect, 'idle')
  }

  #due(now: number): void {
    // A clock that was set back must not make the silence longer.
    this.#heardAt = Math.min(this.#heardAt, now)
    if (this.isOver(now)) this.end()
    else this.#alarm.set(this.#heardAt + this.#afterMs)
  }
}
