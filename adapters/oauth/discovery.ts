import { discoveryRequest, processDiscoveryResponse } from 'oauth4webapi'
import type { AuthorizationServer } from 'oauth4webapi'
import type { Clock } from '../../lib/clock.ts'
import { ConfigError } from '../../lib/errors.ts'
import { describe } from '../../lib/policy.ts'
import { within } from './deadline.ts'
import { Failure } from './failure.ts'
import { transport } from './http.ts'
import { flawOfUrl, issuerUrl, milliseconds } from './options.ts'

/** Where a provider publishes what it offers: OpenID Connect Discovery 1.0, or RFC 8414 3. */
export type WellKnown = 'openid-configuration' | 'oauth-authorization-server'

/** What discovery can be told, by both schemes. */
export interface DiscoveryOptions {
  /** Default `openid-configuration`. Providers without OpenID Connect have `oauth-authorization-server` only. */
  readonly wellKnown?: WellKnown
  /** How long metadata are fresh, in milliseconds. After that they are asked for again, in the background. Default 3,600,000 (an hour), from 60,000. */
  readonly discoveryCacheMs?: number
  /** How long metadata are used at most while the provider does not answer, in milliseconds. Default 86,400,000 (a day), at most a week. */
  readonly discoveryStaleMs?: number
  /** How long the provider is left alone after a failure, in milliseconds. Default 5,000, from 1,000. */
  readonly discoveryCooldownMs?: number
}

export const DISCOVERY_OPTIONS: readonly (keyof DiscoveryOptions)[] = ['wellKnown', 'discoveryCacheMs', 'discoveryStaleMs', 'discoveryCooldownMs']

const ALGORITHMS = { 'openid-configuration': 'oidc', 'oauth-authorization-server': 'oauth2' } as const
const HOUR_MS = 3_600_000
const WEEK_MS = 7 * 24 * HOUR_MS

/** What a scheme needs to know of a provider. */
export type Address = 'jwks_uri' | 'introspection_endpoint'

/** Finds out, at first use, an address that a provider publishes, and remembers it. However many ask, one request is on its way. */
export class Discovery {
  readonly #issuer: string
  readonly #url: URL
  readonly #wanted: Address
  readonly #algorithm: 'oidc' | 'oauth2'
  readonly #cacheMs: number
  readonly #staleMs: number
  readonly #cooldownMs: number
  readonly #timeoutMs: number
  readonly #clock: Clock
  #known: { readonly address: string; readonly at: number } | undefined
  #failed: { readonly reason: string; readonly at: number } | undefined
  #pending: Promise<string> | undefined

  /** @throws ConfigError for an issuer that is no https address, or a bound that is out of range */
  constructor(issuer: string, wanted: Address, options: DiscoveryOptions, timeoutMs: number, clock: Clock, where: string) {
    const { wellKnown = 'openid-configuration', discoveryCacheMs = HOUR_MS, discoveryCooldownMs = 5_000 } = options
    this.#url = issuerUrl(issuer, where)
    this.#issuer = issuer
    this.#wanted = wanted
    if (!Object.hasOwn(ALGORITHMS, wellKnown)) throw new ConfigError(`${where}: wellKnown must be one of ${Object.keys(ALGORITHMS).join(', ')}; got ${describe(wellKnown)}.`)
    this.#algorithm = ALGORITHMS[wellKnown]
    this.#cacheMs = milliseconds(discoveryCacheMs, 'discoveryCacheMs', where, 60_000, WEEK_MS)
    this.#staleMs = milliseconds(options.discoveryStaleMs ?? Math.max(24 * HOUR_MS, this.#cacheMs), 'discoveryStaleMs', where, this.#cacheMs, WEEK_MS)
    this.#cooldownMs = milliseconds(discoveryCooldownMs, 'discoveryCooldownMs', where, 1_000, HOUR_MS)
    this.#timeoutMs = timeoutMs
    this.#clock = clock
  }

  /** @throws Failure `UNAVAILABLE` where nothing is known, and the provider does not say */
  address(now: number): string | Promise<string> {
    const known = this.#known
    // A clock that was set back must not make it fresh for ever.
    const age = known === undefined ? Infinity : Math.abs(now - known.at)
    if (known === undefined || age >= this.#staleMs) return this.#ask(now)
    // Nobody waits for a fresh one while there is an old one, nor fails with it.
    if (age >= this.#cacheMs) this.#ask(now).catch(() => undefined)
    return known.address
  }

  #ask(now: number): Promise<string> {
    if (this.#pending !== undefined) return this.#pending
    const failed = this.#failed
    if (failed !== undefined && Math.abs(now - failed.at) < this.#cooldownMs) return Promise.reject(new Failure('UNAVAILABLE', `${failed.reason}; it is asked again after a pause`))
    const asking = this.#fetch().then(
      (address) => {
        this.#known = { address, at: now }
        this.#failed = undefined
        return address
      },
      (error: unknown) => {
        // Whatever a provider answers in place of its metadata, no token was judged.
        const reason = `discovery at ${this.#issuer}: ${error instanceof Failure ? error.message : 'answered with no metadata'}`
        this.#failed = { reason, at: now }
        throw new Failure('UNAVAILABLE', reason)
      },
    )
    this.#pending = asking.finally(() => (this.#pending = undefined))
    return this.#pending
  }

  #fetch(): Promise<string> {
    return within(this.#timeoutMs, this.#clock, async (signal) => {
      const response = await discoveryRequest(this.#url, { ...transport(signal), algorithm: this.#algorithm })
      return this.#addressIn(await processDiscoveryResponse(this.#url, response))
    })
  }

  #addressIn(metadata: AuthorizationServer): string {
    // The library compares addresses, the specifications compare text: so does what checks the `iss` of a token.
    if (metadata.issuer !== this.#issuer) throw new Failure('UNAVAILABLE', 'the metadata are of another issuer, or spell it in another way')
    const address = metadata[this.#wanted]
    if (typeof address !== 'string') throw new Failure('UNAVAILABLE', `the metadata have no ${this.#wanted}`)
    const flaw = flawOfUrl(address, this.#url.protocol === 'http:')
    if (flaw !== undefined) throw new Failure('UNAVAILABLE', `the ${this.#wanted} of the metadata ${flaw}`)
    return address
  }
}
