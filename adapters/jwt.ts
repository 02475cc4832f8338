import { jwtVerify } from 'jose'
import type { ConnectContext } from '../lib/context.ts'
import { ConfigError, Denied } from '../lib/errors.ts'
import { describe } from '../lib/policy.ts'
import type { Principal, Scheme } from '../lib/principal.ts'
import { bearerToken } from './jwt/bearer.ts'
import { current, proofOf } from './jwt/claims.ts'
import type { Expected } from './jwt/claims.ts'
import { verification } from './jwt/keys.ts'
import type { JwtAlgorithm, JwtKey, Verification } from './jwt/keys.ts'
import { refuse } from './jwt/refuse.ts'
import { Remembered } from './jwt/remembered.ts'
import { checkLength, parsePart, splitToken } from './jwt/token.ts'

export type { JwtAlgorithm, JwtKey } from './jwt/keys.ts'

export type JwtOptions = JwtKey & {
  /** The `iss` a token must have. */
  readonly issuer: string
  /** What a token's `aud` must be, or hold: the name of this service at the issuer. */
  readonly audience: string
  /** Accepted algorithms. Default: HS256 for a secret; for a public key its "alg", else RS256, or the one of its curve. */
  readonly algorithms?: readonly JwtAlgorithm[]
  /** The `typ` a token must have in its header, such as `at+jwt` (RFC 9068). Default: not looked at. */
  readonly typ?: string
  /** How far the issuer's clock may be off, in milliseconds. Added to `exp`, taken from `nbf`. Default 0, at most 300,000. */
  readonly clockToleranceMs?: number
  /** The claim that is the subject. Default `sub`. */
  readonly subjectClaim?: string
  /** How many verified tokens are remembered, so that their signature is not checked again. Default 1,000; 0 for none. */
  readonly rememberVerified?: number
}

const KNOWN = new Set(['secret', 'publicKey', 'issuer', 'audience', 'algorithms', 'typ', 'clockToleranceMs', 'subjectClaim', 'rememberVerified'])
const MAX_TOLERANCE_MS = 300_000

/**
 * A scheme for `authenticate`: a signed JWT (RFC 7519, RFC 8725) in `handshake.auth.token` or the header `Authorization: Bearer`.
 *
 * @example
 * authenticate(jwt({ secret, issuer: 'https://id.example', audience: 'chat' }))
 * @throws ConfigError for a weak secret, a key that does not go with the algorithms, or without an issuer and an audience
 */
export function jwt(options: JwtOptions): Scheme<string> {
  if (typeof options !== 'object' || options === null) throw new ConfigError(`jwt takes an object of options; got ${describe(options)}.`)
  for (const key of Object.keys(options)) {
    if (!KNOWN.has(key)) throw new ConfigError(`jwt: unknown option "${key}". The options are ${[...KNOWN].join(', ')}.`)
  }
  return new JwtScheme(options)
}

class JwtScheme implements Scheme<string> {
  readonly name = 'jwt'
  readonly read = bearerToken
  readonly #keys: Verification
  readonly #expected: Expected
  readonly #typ: string | undefined
  readonly #remembered: Remembered | undefined

  constructor(options: JwtOptions) {
    const { subjectClaim = 'sub', clockToleranceMs = 0, rememberVerified = 1_000, typ } = options
    const required = ' Without it a token made for another service, or by another issuer with the same key, would do.'
    this.#expected = {
      issuer: text(options.issuer, 'issuer', required),
      audience: text(options.audience, 'audience', required),
      subjectClaim: text(subjectClaim, 'subjectClaim'),
      clockToleranceMs: number(clockToleranceMs, 'clockToleranceMs', MAX_TOLERANCE_MS),
    }
    this.#typ = typ === undefined ? undefined : text(typ, 'typ')
    const max = number(rememberVerified, 'rememberVerified', 1_000_000)
    if (!Number.isInteger(max)) throw new ConfigError('jwt: rememberVerified is a whole number of tokens.')
    this.#remembered = max === 0 ? undefined : new Remembered(max)
    this.#keys = verification(options, options.algorithms)
  }

  verify(token: string, { now }: ConnectContext): Principal | Promise<Principal> {
    checkLength(token)
    const remembered = this.#remembered
    if (remembered === undefined) return this.#verifyAnew(token, now, undefined)
    const key = remembered.keyOf(token)
    const proof = remembered.get(key)
    if (proof === undefined) return this.#verifyAnew(token, now, key)
    if (now >= proof.expiresAtMs) remembered.delete(key)
    return current(proof, now)
  }

  #verifyAnew(token: string, now: number, key: string | undefined): Promise<Principal> {
    const { header, payload } = splitToken(token)
    return this.#checkSignature(token, this.#algorithmOf(header), now).then(() => {
      // The claims are those of the strict reading, not of the library's: what is checked is what is used.
      const proof = proofOf(parsePart(payload, 'payload'), this.#expected)
      const principal = current(proof, now)
      if (key !== undefined) this.#remembered!.set(key, proof)
      return principal
    })
  }

  /** Keys and addresses of keys in a header (`jwk`, `jku`, `x5c`, `x5u`, `kid`) are never looked at. */
  #algorithmOf(part: string): JwtAlgorithm {
    const { alg, crit } = parsePart(part, 'header')
    const algorithm = this.#keys.algorithms.find((accepted) => accepted === alg)
    if (algorithm === undefined) return refuse('an algorithm that is not accepted')
    // No extension is understood here, so what is critical is not (RFC 7515 4.1.11).
    if (crit !== undefined) refuse('a critical extension')
    return algorithm
  }

  async #checkSignature(token: string, algorithm: JwtAlgorithm, now: number): Promise<void> {
    const { issuer, audience, clockToleranceMs } = this.#expected
    const options = { algorithms: [algorithm], issuer, audience, clockTolerance: clockToleranceMs / 1_000, currentDate: new Date(now), requiredClaims: ['exp'] }
    try {
      await jwtVerify(token, await this.#keys.keyOf(algorithm), this.#typ === undefined ? options : { ...options, typ: this.#typ })
    } catch (error) {
      // The key was checked when it was given, so whatever fails here is the token's fault. Errors of jose hold the claims: only the text is kept.
      throw new Denied('UNAUTHENTICATED', undefined, `jwt: ${error instanceof Error ? error.message : 'not verified'}`)
    }
  }
}

function text(value: unknown, name: string, why = ''): string {
  if (typeof value !== 'string' || value === '') throw new ConfigError(`jwt: ${name} must be a non-empty string; got ${describe(value)}.${why}`)
  return value
}

function number(value: unknown, name: string, max: number): number {
  if (typeof value !== 'number' || !(value >= 0 && value <= max)) throw new ConfigError(`jwt: ${name} must be a number from 0 to ${max}; got ${describe(value)}.`)
  return value
}
