import { systemClock } from '../../lib/clock.ts'
import type { Clock } from '../../lib/clock.ts'
import { isThenable } from '../../lib/compose.ts'
import type { ConnectContext } from '../../lib/context.ts'
import { ConfigError } from '../../lib/errors.ts'
import type { CredentialReader, Principal, Scheme } from '../../lib/principal.ts'
import { jwt } from '../jwt.ts'
import type { JwtAlgorithm, JwtDemands } from '../jwt.ts'
import { Discovery, DISCOVERY_OPTIONS } from './discovery.ts'
import type { DiscoveryOptions } from './discovery.ts'
import { Failure, refusalOf } from './failure.ts'
import { checkedClock, known, milliseconds } from './options.ts'

export interface OpenidOptions extends DiscoveryOptions, Omit<JwtDemands, 'audience' | 'jwksTimeoutMs'> {
  /** The provider: the `iss` of its tokens, to the letter, and where its metadata are looked for. https, or http on the machine itself. */
  readonly issuer: string
  /** What a token's `aud` must be, or hold: the name of this service at the provider. Any one of several. */
  readonly audience: string | readonly string[]
  /** Accepted algorithms. Default: for each key its "alg", else RS256, or the one of its curve. */
  readonly algorithms?: readonly JwtAlgorithm[]
  /** Where the token is. Default `[fromAuth(), fromBearer()]`. */
  readonly from?: CredentialReader | readonly CredentialReader[]
  /** How many verified tokens are remembered, so that their signature is not checked again. Default 1,000; 0 for none. */
  readonly rememberVerified?: number
  /** How long the provider may take for its metadata, and again for its keys, in milliseconds. Default 2,000, at most 60,000. */
  readonly timeoutMs?: number
  readonly clock?: Clock
}

const WHERE = 'openid'
const KNOWN = [
  ...['issuer', 'audience', 'algorithms', 'typ', 'maxAgeMs', 'clockToleranceMs', 'subjectClaim', 'from', 'rememberVerified', 'timeoutMs', 'jwksCooldownMs', 'jwksCacheMs', 'clock'],
  ...DISCOVERY_OPTIONS,
]

/** Looser than what `jwt` asks of a token: it only spares the provider. */
const COMPACT = /^[\w-]+\.[\w-]+\.[\w-]+$/
const MAX_LENGTH = 16_384

/**
 * A scheme for `authenticate`: a signed JWT of a provider whose metadata (OpenID Connect Discovery 1.0, RFC 8414) name its keys.
 * The provider is asked at first use, so a server starts without it.
 *
 * @example
 * authenticate(openid({ issuer: 'https://id.example', audience: 'chat', typ: 'at+jwt' }))
 * @throws ConfigError without an issuer and an audience, and for an issuer that is no https address
 */
export function openid(options: OpenidOptions): Scheme<string> {
  known(options, KNOWN, WHERE)
  return new OpenidScheme(options)
}

class OpenidScheme implements Scheme<string> {
  readonly name = WHERE
  readonly read: CredentialReader
  readonly #discovery: Discovery
  readonly #schemeOf: (jwksUri: string) => Scheme<string>
  #current: { readonly jwksUri: string; readonly scheme: Scheme<string> } | undefined

  constructor(options: OpenidOptions) {
    const { wellKnown, discoveryCacheMs, discoveryStaleMs, discoveryCooldownMs, timeoutMs = 2_000, clock = systemClock, ...verification } = options
    milliseconds(timeoutMs, 'timeoutMs', WHERE, 1, 60_000)
    this.#discovery = new Discovery(options.issuer, 'jwks_uri', options, timeoutMs, checkedClock(clock, WHERE), WHERE)
    this.#schemeOf = (jwksUri) => jwt({ ...verification, jwksUri, jwksTimeoutMs: timeoutMs })
    // Nothing is asked there: it finds out now, and not at the first connection, what is wrong with the other options.
    this.read = named(() => this.#schemeOf(options.issuer)).read
  }

  verify(token: string, ctx: ConnectContext): Principal | Promise<Principal> {
    // What has not even the form of a token sends nobody to the provider.
    if (this.#current === undefined && !(token.length <= MAX_LENGTH && COMPACT.test(token))) throw refusalOf(new Failure('UNAUTHENTICATED', 'not a compact JWS'), WHERE)
    const jwksUri = this.#discovery.address(ctx.now)
    return isThenable(jwksUri) ? this.#discovered(jwksUri, token, ctx) : this.#verifyAt(jwksUri, token, ctx)
  }

  async #discovered(pending: PromiseLike<string>, token: string, ctx: ConnectContext): Promise<Principal> {
    let jwksUri: string
    try {
      jwksUri = await pending
    } catch (error) {
      throw refusalOf(error, WHERE)
    }
    return this.#verifyAt(jwksUri, token, ctx)
  }

  #verifyAt(jwksUri: string, token: string, ctx: ConnectContext): Principal | Promise<Principal> {
    const proved = this.#at(jwksUri).verify(token, ctx)
    return isThenable(proved) ? proved.then(unbound) : unbound(proved)
  }

  /** The keys, and what they have verified, are kept for as long as they stay at the same address. */
  #at(jwksUri: string): Scheme<string> {
    if (this.#current?.jwksUri !== jwksUri) this.#current = { jwksUri, scheme: this.#schemeOf(jwksUri) }
    return this.#current.scheme
  }
}

/** A token that is bound to a key (RFC 8705, RFC 9449) proves nothing without a proof of that key: taken without, a stolen one would do. */
function unbound(principal: Principal): Principal {
  const { cnf } = principal.claims
  if (cnf !== undefined && cnf !== null) throw refusalOf(new Failure('UNAUTHENTICATED', 'the token is bound to a key, which is not checked here'), WHERE)
  return principal
}

/** A mistake in the options is one of `openid`, whoever finds it. */
function named<T>(make: () => T): T {
  try {
    return make()
  } catch (error) {
    if (error instanceof ConfigError) throw new ConfigError(error.message.replace(/^jwt\b/, WHERE), { cause: error })
    throw error
  }
}
