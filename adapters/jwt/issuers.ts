import { ConfigError } from '../../lib/errors.ts'
import { describe } from '../../lib/policy.ts'
import { PUBLIC } from './algorithms.ts'
import type { JwtAlgorithm } from './algorithms.ts'
import { mediaType } from './claims.ts'
import type { Expected } from './claims.ts'
import { RemoteKeys } from './jwks.ts'
import type { Cadence } from './jwks.ts'
import { checkedAlgorithms, configuredKey } from './keys.ts'
import type { JwtKey, Keys } from './keys.ts'

/** What is asked of tokens. Beside `issuers` it holds for each of them that says nothing else. */
export interface JwtDemands {
  /** What a token's `aud` must be, or hold: the name of this service at the issuer. Any one of several. */
  readonly audience?: string | readonly string[]
  /** The `typ` a token must have in its header, such as `at+jwt` (RFC 9068). Default: not looked at. */
  readonly typ?: string
  /** How far the issuer's clock may be off, in milliseconds. Added to the end of a token, taken from its beginning. Default 0, at most 300,000. */
  readonly clockToleranceMs?: number
  /** How long after its `iat` a token is taken, in milliseconds, whatever its `exp`. It then needs an `iat`. Default: as long as `exp` says. */
  readonly maxAgeMs?: number
  /** The claim that is the subject. Default `sub`. */
  readonly subjectClaim?: string
  /** With `jwksUri`: the least time between two requests to the key server, in milliseconds. Default 30,000. */
  readonly jwksCooldownMs?: number
  /** With `jwksUri`: how long keys are used without the key server having confirmed them, in milliseconds. Default 600,000. */
  readonly jwksCacheMs?: number
  /** With `jwksUri`: how long the key server may take, in milliseconds. Default 3,000: less than the gate's `deadlineMs`. */
  readonly jwksTimeoutMs?: number
}

/** An issuer of tokens, and the keys that are its own. */
export type JwtIssuer = JwtKey &
  JwtDemands & {
    /** The `iss` of its tokens. */
    readonly issuer: string
    /** Accepted algorithms. Default: HS256 for a secret; for a public key, and for each key of a `jwksUri`, its "alg", else RS256, or the one of its curve. */
    readonly algorithms?: readonly JwtAlgorithm[]
  }

/** One issuer, checked. */
export interface Trusted {
  readonly expected: Expected
  readonly keys: Keys
}

const DEMANDS = ['audience', 'typ', 'clockToleranceMs', 'maxAgeMs', 'subjectClaim', 'jwksCooldownMs', 'jwksCacheMs', 'jwksTimeoutMs'] as const
const OWN = ['issuer', 'secret', 'publicKey', 'jwksUri', 'algorithms'] as const
const SETTINGS = ['from', 'rememberVerified'] as const
const MAX_TOLERANCE_MS = 300_000
const DAY_MS = 86_400_000

type Given = Readonly<Record<string, unknown>>

/** The issuers that are trusted, by their `iss`. @throws ConfigError for an option that is unknown, missing, of a wrong type, or without effect */
export function trustedIssuers(options: Given): ReadonlyMap<unknown, Trusted> {
  checkNames(options, 'jwt', [...OWN, 'issuers', ...DEMANDS, ...SETTINGS])
  const { issuers, ...rest } = options
  if (issuers === undefined) {
    const trusted = trust(options)
    return new Map([[trusted.expected.issuer, trusted]])
  }
  for (const name of OWN) if (rest[name] !== undefined) throw new ConfigError(`jwt: beside issuers there is no ${name}. Write it into the issuer it is for.`)
  return several(issuers, rest)
}

function several(issuers: unknown, shared: Given): ReadonlyMap<unknown, Trusted> {
  if (!Array.isArray(issuers) || issuers.length === 0) throw new ConfigError('jwt: issuers is a list, such as [{ issuer, jwksUri }, { issuer, publicKey }].')
  const all = new Map<unknown, Trusted>()
  const demands = pick(shared, DEMANDS)
  const remote = issuers.some((each: unknown) => isObject(each) && each['jwksUri'] !== undefined)
  for (const each of issuers as readonly unknown[]) {
    if (!isObject(each)) throw new ConfigError(`jwt: each of issuers is an object, such as { issuer, jwksUri }; got ${Array.isArray(each) ? 'an array' : typeof each}.`)
    checkNames(each, 'jwt: an issuer', [...OWN, ...DEMANDS])
    // What is said of key servers beside the list is for those that have one.
    const theirs = remote && each['jwksUri'] === undefined ? pick(demands, DEMANDS.filter((name) => !name.startsWith('jwks'))) : demands
    const trusted = trust({ ...theirs, ...pick(each, Object.keys(each)) })
    const { issuer } = trusted.expected
    if (all.has(issuer)) throw new ConfigError(`jwt: issuers holds ${JSON.stringify(issuer)} twice. Which keys count would be a guess; with \`jwksUri\` an issuer can have several.`)
    all.set(issuer, trusted)
  }
  return all
}

function trust(options: Given): Trusted {
  const { subjectClaim = 'sub', clockToleranceMs = 0, maxAgeMs, typ } = options
  const required = ' Without it a token made for another service, or by another issuer with the same key, would do.'
  const expected = {
    issuer: text(options['issuer'], 'issuer', required),
    audiences: audiencesOf(options['audience'], required),
    typ: typ === undefined ? undefined : mediaType(text(typ, 'typ')),
    subjectClaim: text(subjectClaim, 'subjectClaim'),
    clockToleranceMs: number(clockToleranceMs, 'clockToleranceMs', 0, MAX_TOLERANCE_MS),
    maxAgeMs: maxAgeMs === undefined ? undefined : number(maxAgeMs, 'maxAgeMs', 1, Number.MAX_SAFE_INTEGER),
  }
  return { expected, keys: keysOf(options) }
}

function keysOf(options: Given): Keys {
  const { secret, publicKey, jwksUri } = options
  const algorithms = options['algorithms'] as readonly JwtAlgorithm[] | undefined
  if ([secret, publicKey, jwksUri].filter((key) => key !== undefined).length !== 1) {
    throw new ConfigError('jwt takes either `secret`, for HS256, HS384 and HS512, or `publicKey` or `jwksUri`, for all other algorithms: one of them for each issuer.')
  }
  const cadence = { cooldownMs: within(options, 'jwksCooldownMs', 30_000, DAY_MS), cacheMs: within(options, 'jwksCacheMs', 600_000, DAY_MS), timeoutMs: Math.ceil(within(options, 'jwksTimeoutMs', 3_000, 60_000)) }
  if (jwksUri !== undefined) return remoteKeys(urlOf(jwksUri), algorithms, cadence)
  for (const name of ['jwksCooldownMs', 'jwksCacheMs', 'jwksTimeoutMs']) {
    if (options[name] !== undefined) throw new ConfigError(`jwt: ${name} goes with \`jwksUri\`, and changes nothing for a key that is given.`)
  }
  return configuredKey({ secret, publicKey }, algorithms)
}

function remoteKeys(url: URL, algorithms: readonly JwtAlgorithm[] | undefined, cadence: Cadence): Keys {
  if (cadence.cacheMs < cadence.cooldownMs) {
    throw new ConfigError(`jwt: jwksCacheMs (${cadence.cacheMs}) is less than jwksCooldownMs (${cadence.cooldownMs}): keys would be too old before they may be asked for again. Make it at least as long.`)
  }
  const configured = algorithms === undefined ? undefined : checkedAlgorithms(algorithms, PUBLIC, 'a set of public keys', 'HS256, HS384 and HS512 take a `secret`.')
  return new RemoteKeys(url, configured ?? PUBLIC, configured, cadence)
}

/** Whoever can change the answer of a key server can sign as its issuer. */
function urlOf(given: unknown): URL {
  const url = given instanceof URL ? new URL(given.href) : typeof given === 'string' ? parsed(given) : undefined
  if (url === undefined) throw new ConfigError(`jwt: jwksUri is an address, such as 'https://id.example/.well-known/jwks.json'; got ${describe(given)}.`)
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && isLoopback(url.hostname))) throw new ConfigError(`jwt: jwksUri is an https: address, or http: on the loopback; got ${url.protocol}//${url.host}.`)
  if (url.username !== '' || url.password !== '') throw new ConfigError('jwt: jwksUri holds a user name or a password, which are not sent. Keys that are public need none.')
  return url
}

function parsed(text: string): URL | undefined {
  try {
    return new URL(text)
  } catch {
    return undefined
  }
}

/** As `URL` spells them: numbers of an address in their usual form, names in small letters. */
function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '[::1]' || /^127(\.\d+){3}$/.test(host)
}

function audiencesOf(given: unknown, why: string): readonly string[] {
  if (!Array.isArray(given)) return [text(given, 'audience', why)]
  if (given.length === 0) throw new ConfigError(`jwt: audience must be a non-empty string, or a list of them; got an empty list.${why}`)
  return given.map((each: unknown) => text(each, 'audience', why))
}

function isObject(value: unknown): value is Given {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Those that are given. One that is `undefined` is not. */
function pick(from: Given, names: readonly string[]): Given {
  return Object.fromEntries(names.filter((name) => from[name] !== undefined).map((name) => [name, from[name]]))
}

function checkNames(options: Given, where: string, known: readonly string[]): void {
  for (const name of Object.keys(options)) {
    if (!known.includes(name)) throw new ConfigError(`${where}: unknown option "${name}". The options are ${known.join(', ')}.`)
  }
}

function text(value: unknown, name: string, why = ''): string {
  if (typeof value !== 'string' || value === '') throw new ConfigError(`jwt: ${name} must be a non-empty string; got ${describe(value)}.${why}`)
  return value
}

export function number(value: unknown, name: string, min: number, max: number): number {
  if (typeof value !== 'number' || !(value >= min && value <= max)) throw new ConfigError(`jwt: ${name} must be a number from ${min} to ${max}; got ${describe(value)}.`)
  return value
}

function within(options: Given, name: string, fallback: number, max: number): number {
  return number(options[name] ?? fallback, name, 1, max)
}
