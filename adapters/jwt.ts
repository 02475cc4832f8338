import type { KeyObject } from 'node:crypto'
import { fromAuth, fromBearer, readFrom } from '../lib/carriers.ts'
import type { ConnectContext } from '../lib/context.ts'
import { ConfigError } from '../lib/errors.ts'
import { describe } from '../lib/policy.ts'
import type { CredentialReader, Principal, Scheme } from '../lib/principal.ts'
import type { JwtAlgorithm } from './jwt/algorithms.ts'
import { checkType, current, proofOf } from './jwt/claims.ts'
import { number, trustedIssuers } from './jwt/issuers.ts'
import type { JwtDemands, JwtIssuer, Trusted } from './jwt/issuers.ts'
import { refuse } from './jwt/refuse.ts'
import { Remembered } from './jwt/remembered.ts'
import { isSigned } from './jwt/signature.ts'
import { checkLength, splitToken } from './jwt/token.ts'

export type { JwtAlgorithm } from './jwt/algorithms.ts'
export type { JwtDemands, JwtIssuer } from './jwt/issuers.ts'
export type { JwtKey } from './jwt/keys.ts'

export type JwtOptions = JwtDemands & {
  /** Where the token is. Default `[fromAuth('token'), fromBearer()]`. */
  readonly from?: CredentialReader | readonly CredentialReader[]
  /** How many verified tokens are remembered, so that their signature is not checked again. Default 1,000; 0 for none. */
  readonly rememberVerified?: number
} & (
    | (JwtIssuer & { readonly audience: string | readonly string[]; readonly issuers?: never })
    | {
        /** Several issuers, each with its own keys. The `iss` of a token says whose it has to be. */
        readonly issuers: readonly JwtIssuer[]
        readonly issuer?: never
        readonly secret?: never
        readonly publicKey?: never
        readonly jwksUri?: never
        readonly algorithms?: never
      }
  )

/**
 * A scheme for `authenticate`: a signed JWT (RFC 7519, RFC 8725), by default in `handshake.auth.token` or the header `Authorization: Bearer`.
 *
 * @example
 * authenticate(jwt({ secret, issuer: 'https://id.example', audience: 'chat' }))
 * authenticate(jwt({ jwksUri: 'https://id.example/jwks.json', issuer: 'https://id.example', audience: 'chat' }))
 * @throws ConfigError for a weak secret, a key that does not go with the algorithms, or without an issuer and an audience
 */
export function jwt(options: JwtOptions): Scheme<string> {
  if (typeof options !== 'object' || options === null) throw new ConfigError(`jwt takes an object of options; got ${describe(options)}.`)
  return new JwtScheme(options)
}

class JwtScheme implements Scheme<string> {
  readonly name = 'jwt'
  readonly read: CredentialReader
  readonly #trusted: ReadonlyMap<unknown, Trusted>
  readonly #remembered: Remembered | undefined

  constructor(options: JwtOptions) {
    this.#trusted = trustedIssuers({ ...options })
    this.read = readFrom(options.from, [fromAuth('token'), fromBearer()], 'jwt')
    const max = number(options.rememberVerified ?? 1_000, 'rememberVerified', 0, 1_000_000)
    if (!Number.isInteger(max)) throw new ConfigError('jwt: rememberVerified is a whole number of tokens.')
    this.#remembered = max === 0 ? undefined : new Remembered(max)
  }

  verify(token: string, { now }: ConnectContext): Principal | Promise<Principal> {
    checkLength(token)
    const id = this.#remembered?.idOf(token)
    const proof = id === undefined ? undefined : this.#remembered!.get(id, now)
    return proof === undefined ? this.#verifyAnew(token, id, now) : current(proof, now)
  }

  #verifyAnew(token: string, id: string | undefined, now: number): Principal | Promise<Principal> {
    const unproved = splitToken(token)
    // What a token says of itself only chooses among the issuers that are trusted anyway: it has to be signed with a key of that one.
    const trusted = this.#trusted.get(unproved.claims['iss'])
    if (trusted === undefined) return refuse('another issuer')
    const algorithm = algorithmOf(unproved.header, trusted)
    const { expected, keys } = trusted
    const conclude = (key: KeyObject): Principal => {
      if (!isSigned(algorithm, key, unproved)) refuse('another signature')
      // A refusal is not remembered: only what was admitted, or everybody could fill the memory.
      const proof = proofOf(unproved, expected)
      const principal = current(proof, now)
      if (id !== undefined) this.#remembered!.set(id, { ...proof, keys, key })
      return principal
    }
    const key = keys.find(algorithm, unproved.header['kid'], now)
    return key instanceof Promise ? key.then(conclude) : conclude(key)
  }
}

/** Keys and addresses of keys in a header (`jwk`, `jku`, `x5c`, `x5u`) are never looked at; `kid` chooses among the keys that an issuer has published. */
function algorithmOf({ alg, crit, typ }: Record<string, unknown>, { expected, keys }: Trusted): JwtAlgorithm {
  const algorithm = keys.algorithms.find((accepted) => accepted === alg)
  if (algorithm === undefined) return refuse('an algorithm that is not accepted')
  // No extension is understood here, so what is critical is not (RFC 7515 4.1.11).
  if (crit !== undefined) refuse('a critical extension')
  if (expected.typ !== undefined) checkType(typ, expected.typ)
  return algorithm
}
