import { hash } from 'node:crypto'
import { readFrom, fromAuth, fromBearer } from '../../lib/carriers.ts'
import { systemClock } from '../../lib/clock.ts'
import type { Clock } from '../../lib/clock.ts'
import type { ConnectContext } from '../../lib/context.ts'
import { ConfigError } from '../../lib/errors.ts'
import type { CredentialReader, Principal, Scheme } from '../../lib/principal.ts'
import { current, proofOf } from './answer.ts'
import type { Expected, Proof } from './answer.ts'
import { Answers } from './answers.ts'
import { Discovery, DISCOVERY_OPTIONS } from './discovery.ts'
import type { DiscoveryOptions } from './discovery.ts'
import { Failure, refusalOf } from './failure.ts'
import { authenticator, Introspector } from './introspect.ts'
import type { ClientCredentials } from './introspect.ts'
import { checkedClock, count, endpointUrl, flag, issuerUrl, known, milliseconds, text, texts } from './options.ts'

/** Whom to ask. With an issuer alone, its metadata say where. */
export type IntrospectionPlace =
  | {
      /** The introspection endpoint. https, or http on the machine itself. */
      readonly endpoint: string
      /** The `iss` of the answers, where they have one. */
      readonly issuer?: string
    }
  | { readonly issuer: string; readonly endpoint?: undefined }

export type IntrospectionOptions = IntrospectionPlace &
  ClientCredentials &
  DiscoveryOptions & {
    /** What the `aud` of an answer must be, or hold; any one of several. Without it a token for any other service of the provider will do. */
    readonly audience?: string | readonly string[]
    /** How long an answer holds at most, in milliseconds: then the credential expires, if `exp` is not earlier. Required where the provider gives no `exp`. From 1,000. */
    readonly expiresInMs?: number
    /** How long an answer serves for other connections with the same token, in milliseconds. Default 10,000, at most 60,000; 0 for never. */
    readonly cacheMs?: number
    /** How many answers are remembered. Default 1,000. */
    readonly maxCached?: number
    /** How long one answer may take, in milliseconds; discovery may take as long again. Default 2,000, at most 60,000. */
    readonly timeoutMs?: number
    /** How many tokens are asked about at once. Default 32. */
    readonly maxConcurrent?: number
    /** How many more may wait. Default 1,000. */
    readonly maxQueued?: number
    /** Takes `username` where an answer has no `sub`. Default false: names are given again, to somebody else. */
    readonly usernameAsSubject?: boolean
    /** How far the provider's clock may be off, in milliseconds. Added to `exp`, taken from `nbf`. Default 0, at most 300,000. */
    readonly clockToleranceMs?: number
    /** Where the token is. Default `[fromAuth(), fromBearer()]`. */
    readonly from?: CredentialReader | readonly CredentialReader[]
    /** Accepts answers without `token_type`. At most providers, whose refresh tokens are active too, those would be taken as well. */
    readonly dangerouslyUntyped?: boolean
    readonly clock?: Clock
  }

const WHERE = 'introspection'
const KNOWN = [
  ...['endpoint', 'issuer', 'clientId', 'clientSecret', 'clientAuth', 'audience', 'expiresInMs', 'cacheMs', 'maxCached', 'timeoutMs', 'maxConcurrent', 'maxQueued'],
  ...['usernameAsSubject', 'clockToleranceMs', 'from', 'dangerouslyUntyped', 'clock'],
  ...DISCOVERY_OPTIONS,
]

/** Longest token that is asked about, in characters: Node takes headers of 16 kB, all of them together. */
const MAX_LENGTH = 16_384
/** RFC 6750 2.1. */
const B64TOKEN = /^[A-Za-z0-9\-._~+/]+=*$/

/**
 * A scheme for `authenticate`: an opaque access token, about which the provider is asked (RFC 7662). Answers are kept for a few seconds.
 *
 * @example
 * authenticate(introspection({ issuer: 'https://id.example', clientId: 'chat', clientSecret, audience: 'chat' }))
 * @throws ConfigError without an endpoint or an issuer, without a credential for it, and for plain http
 */
export function introspection(options: IntrospectionOptions): Scheme<string> {
  known(options, KNOWN, WHERE)
  return new IntrospectionScheme(options)
}

class IntrospectionScheme implements Scheme<string> {
  readonly name = WHERE
  readonly read: CredentialReader
  readonly #endpoint: (now: number) => string | Promise<string>
  readonly #expected: Expected
  readonly #answers: Answers
  readonly #introspector: Introspector
  readonly #pending = new Map<string, Promise<Proof>>()

  constructor(options: IntrospectionOptions) {
    const { cacheMs = 10_000, maxCached = 1_000, maxConcurrent = 32, maxQueued = 1_000, clock = systemClock, audience } = options
    const timeoutMs = milliseconds(options.timeoutMs ?? 2_000, 'timeoutMs', WHERE, 1, 60_000)
    checkedClock(clock, WHERE)
    this.read = readFrom(options.from, [fromAuth(), fromBearer()], WHERE)
    this.#endpoint = endpointOf(options, timeoutMs, clock)
    this.#answers = new Answers(count(maxCached, 'maxCached', WHERE, 1, 1_000_000), milliseconds(cacheMs, 'cacheMs', WHERE, 0, 60_000))
    this.#introspector = new Introspector({
      issuer: options.issuer,
      clientId: text(options.clientId, 'clientId', WHERE),
      authenticate: authenticator(options, WHERE),
      timeoutMs,
      maxConcurrent: count(maxConcurrent, 'maxConcurrent', WHERE, 1, 10_000),
      maxQueued: count(maxQueued, 'maxQueued', WHERE, 0, 1_000_000),
      clock,
    })
    this.#expected = {
      issuer: options.issuer,
      origin: new URL(options.endpoint ?? options.issuer).origin,
      audiences: audience === undefined ? undefined : texts(audience, 'audience', WHERE),
      expiresInMs: options.expiresInMs === undefined ? undefined : milliseconds(options.expiresInMs, 'expiresInMs', WHERE, 1_000, 365 * 24 * 3_600_000),
      usernameAsSubject: flag(options.usernameAsSubject ?? false, 'usernameAsSubject', WHERE),
      untyped: flag(options.dangerouslyUntyped ?? false, 'dangerouslyUntyped', WHERE),
      clockToleranceMs: milliseconds(options.clockToleranceMs ?? 0, 'clockToleranceMs', WHERE, 0, 300_000),
    }
  }

  verify(token: string, { now }: ConnectContext): Principal | Promise<Principal> {
    try {
      checkToken(token)
      // Under its hash, so that a dump of the memory is no list of tokens.
      const key = hash('sha256', token, 'base64url')
      const proof = this.#answers.get(key, now)
      if (proof !== undefined) return current(proof, now)
      return this.#wait(this.#pending.get(key) ?? this.#start(token, key, now), now)
    } catch (error) {
      throw refusalOf(error, WHERE)
    }
  }

  async #wait(pending: Promise<Proof>, now: number): Promise<Principal> {
    try {
      return current(await pending, now)
    } catch (error) {
      throw refusalOf(error, WHERE)
    }
  }

  /** However many connections bring a token at once, it is asked about once. */
  #start(token: string, key: string, now: number): Promise<Proof> {
    const pending = this.#ask(token, key, now).finally(() => this.#pending.delete(key))
    this.#pending.set(key, pending)
    return pending
  }

  async #ask(token: string, key: string, now: number): Promise<Proof> {
    const answer = await this.#introspector.ask(token, await this.#endpoint(now))
    const proof = proofOf(answer, token, now, this.#expected)
    // It counts from the question: revoked meanwhile, a token is found out no later than the cache time says.
    this.#answers.set(key, proof, now)
    return proof
  }
}

function endpointOf(options: IntrospectionOptions, timeoutMs: number, clock: Clock): (now: number) => string | Promise<string> {
  const { endpoint, issuer } = options
  if (endpoint === undefined) {
    if (issuer === undefined) throw new ConfigError(`${WHERE} takes an endpoint, or an issuer whose metadata name one.`)
    const discovery = new Discovery(issuer, 'introspection_endpoint', options, timeoutMs, clock, WHERE)
    return (now) => discovery.address(now)
  }
  const idle = DISCOVERY_OPTIONS.find((name) => options[name] !== undefined)
  if (idle !== undefined) throw new ConfigError(`${WHERE}: ${idle} is for finding the endpoint out; leave one of the two out.`)
  if (issuer !== undefined) issuerUrl(issuer, WHERE)
  const { href } = endpointUrl(endpoint, WHERE)
  return () => href
}

/** @throws Failure `UNAUTHENTICATED` for what no provider would have issued: it is not asked about */
function checkToken(token: string): void {
  if (token.length > MAX_LENGTH) throw new Failure('UNAUTHENTICATED', `longer than ${MAX_LENGTH} characters`)
  if (!B64TOKEN.test(token)) throw new Failure('UNAUTHENTICATED', 'holds characters that no bearer token has (RFC 6750 2.1)')
}

