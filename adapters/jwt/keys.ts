import { createPublicKey, createSecretKey, KeyObject } from 'node:crypto'
import type { JsonWebKey, webcrypto } from 'node:crypto'
import { types } from 'node:util'
import { ConfigError } from '../../lib/errors.ts'
import { describe } from '../../lib/policy.ts'
import { ALGORITHMS, EC, hashBits, HMAC, RSA } from './algorithms.ts'
import type { JwtAlgorithm } from './algorithms.ts'

/** What the signature of a token is checked with. */
export type JwtKey =
  | {
      /** A secret shared with the issuer: text, bytes, or a secret `KeyObject`. At least as long as the hash: 32, 48 or 64 bytes. */
      readonly secret: string | Uint8Array | KeyObject
      readonly publicKey?: never
      readonly jwksUri?: never
    }
  | {
      /** The issuer's public key: JWK, PEM, `KeyObject` or `CryptoKey`. */
      readonly publicKey: JsonWebKey | string | KeyObject | webcrypto.CryptoKey
      readonly secret?: never
      readonly jwksUri?: never
    }
  | {
      /** Where the issuer publishes its public keys (RFC 7517 5): `https:`, or `http:` on the loopback. */
      readonly jwksUri: string | URL
      readonly secret?: never
      readonly publicKey?: never
    }

/** The keys of one issuer. What a token is checked with comes from here alone, never from the token. */
export interface Keys {
  /** The algorithms that are accepted. */
  readonly algorithms: readonly JwtAlgorithm[]
  /**
   * The key for a token of this algorithm; a promise while the issuer is being asked.
   *
   * @throws Denied when there is none, or when the issuer does not answer
   */
  find(algorithm: JwtAlgorithm, kid: unknown, now: number): KeyObject | Promise<KeyObject>
  /** Whether a key that was found earlier still counts. */
  holds(key: KeyObject, now: number): boolean
}

/** A key and what it is fit for. The first algorithm is the usual one of its kind. */
export interface FitKey {
  readonly key: KeyObject
  readonly algorithms: readonly JwtAlgorithm[]
}

/** Checks the key against the algorithms, and imports it. @throws ConfigError for a key that is weak, or of another kind than the algorithms */
export function configuredKey({ secret, publicKey }: { readonly secret?: unknown; readonly publicKey?: unknown }, algorithms: readonly JwtAlgorithm[] | undefined): Keys {
  return secret === undefined ? withPublicKey(publicKey, algorithms) : withSecret(secret, algorithms)
}

function withSecret(secret: unknown, given: readonly JwtAlgorithm[] | undefined): Keys {
  const bytes = secretBytes(secret)
  const algorithms = chosen(given, HMAC, 'a secret', 'With RS, PS, ES and EdDSA give the issuer’s `publicKey`.')
  for (const algorithm of algorithms) {
    const needed = hashBits(algorithm) / 8
    if (bytes.byteLength < needed) {
      throw new ConfigError(`jwt: the secret has ${bytes.byteLength} bytes, and ${algorithm} needs at least ${needed} (RFC 7518 3.2). Make one with randomBytes(${needed}).`)
    }
  }
  return only(createSecretKey(bytes), algorithms)
}

function secretBytes(secret: unknown): Uint8Array {
  if (types.isKeyObject(secret)) {
    if (secret.type !== 'secret') throw new ConfigError(`jwt: \`secret\` is a ${secret.type} key. Give the issuer’s public key as \`publicKey\`.`)
    return secret.export()
  }
  if (secret instanceof Uint8Array) return secret
  if (typeof secret !== 'string') throw new ConfigError(`jwt: \`secret\` is text, bytes or a secret KeyObject; got ${describeKey(secret)}.`)
  // A public key used as the secret: everybody who has it could sign (RFC 8725 2.1).
  if (/-----BEGIN /.test(secret)) throw new ConfigError('jwt: `secret` looks like a key in PEM. Give the issuer’s public key as `publicKey`.')
  return Buffer.from(secret, 'utf8')
}

function withPublicKey(given: unknown, algorithms: readonly JwtAlgorithm[] | undefined): Keys {
  const { key, algorithms: possible } = publicKeyOf(given)
  return only(key, chosen(algorithms, possible, 'this public key', 'HS256, HS384 and HS512 take a `secret`.'))
}

/** One key for all tokens, whatever `kid` they name. */
function only(key: KeyObject, algorithms: readonly JwtAlgorithm[]): Keys {
  return { algorithms, find: () => key, holds: () => true }
}

/** The algorithms as given, where the key is fit for all of them; by default the first it is fit for. */
function chosen(given: readonly JwtAlgorithm[] | undefined, possible: readonly JwtAlgorithm[], key: string, instead: string): readonly JwtAlgorithm[] {
  return given === undefined ? [possible[0]!] : checkedAlgorithms(given, possible, key, instead)
}

/** @throws ConfigError for what is no list of algorithms, or for one that is not possible */
export function checkedAlgorithms(given: readonly JwtAlgorithm[], possible: readonly JwtAlgorithm[], key: string, instead: string): readonly JwtAlgorithm[] {
  if (!isList(given) || given.length === 0) throw new ConfigError("jwt: `algorithms` is a list, such as ['HS256']. Leave it out for the usual algorithm of the key.")
  for (const algorithm of given) {
    if (!ALGORITHMS.includes(algorithm)) throw new ConfigError(`jwt: unknown algorithm ${JSON.stringify(algorithm)}. The algorithms are ${ALGORITHMS.join(', ')}.`)
    if (!possible.includes(algorithm)) throw new ConfigError(`jwt: ${algorithm} does not go with ${key}, which is for ${possible.join(', ')}. ${instead}`)
  }
  return [...given]
}

/** The type says so already; a caller in JavaScript does not know it. */
function isList(value: readonly JwtAlgorithm[]): boolean {
  return Array.isArray(value)
}

/** Imports a public key in any of its forms. @throws ConfigError for one that is private, weak, or not for signatures */
export function publicKeyOf(given: unknown): FitKey {
  if (types.isCryptoKey(given)) return fitCryptoKey(given)
  const key = imported(given)
  const algorithms = algorithmsOf(key)
  const alg: unknown = isJwk(given) ? given['alg'] : undefined
  if (alg === undefined) return { key, algorithms }
  const named = algorithms.find((algorithm) => algorithm === alg)
  if (named === undefined) throw new ConfigError(`jwt: \`publicKey\` is a JWK whose "alg" is ${JSON.stringify(alg)}, which is none of ${algorithms.join(', ')}.`)
  return { key, algorithms: [named] }
}

function imported(given: unknown): KeyObject {
  if (types.isKeyObject(given)) {
    if (given.type !== 'public') throw new ConfigError(`jwt: \`publicKey\` is a ${given.type} key. ${given.type === 'secret' ? 'Give it as `secret`.' : NOT_PRIVATE}`)
    return given
  }
  if (isJwk(given)) {
    checkJwk(given)
    return read(() => createPublicKey({ key: given, format: 'jwk' }))
  }
  if (typeof given !== 'string') throw new ConfigError(`jwt: \`publicKey\` is a JWK, PEM, KeyObject or CryptoKey; got ${describeKey(given)}.`)
  if (/PRIVATE KEY-----/.test(given)) throw new ConfigError(`jwt: \`publicKey\` is a private key. ${NOT_PRIVATE}`)
  return read(() => createPublicKey(given))
}

const NOT_PRIVATE = 'Give the public one: who only checks signatures has no use for what makes them.'

function read(make: () => KeyObject): KeyObject {
  try {
    return make()
  } catch (cause) {
    throw new ConfigError('jwt: `publicKey` cannot be read. It is a JWK, or PEM that begins with -----BEGIN PUBLIC KEY-----.', { cause })
  }
}

function isJwk(given: unknown): given is JsonWebKey {
  return typeof given === 'object' && given !== null && typeof (given as JsonWebKey).kty === 'string'
}

function checkJwk(jwk: JsonWebKey): void {
  if (jwk.kty === 'oct') throw new ConfigError('jwt: `publicKey` is a JWK of a secret ("oct"). Give its bytes as `secret`.')
  if (jwk.d !== undefined) throw new ConfigError(`jwt: \`publicKey\` is a private key. ${NOT_PRIVATE}`)
  if (jwk['use'] !== undefined && jwk['use'] !== 'sig') throw new ConfigError(`jwt: \`publicKey\` is a JWK for another use, ${JSON.stringify(jwk['use'])}. Give one for signatures.`)
  const operations = jwk['key_ops']
  if (operations !== undefined && !(Array.isArray(operations) && operations.includes('verify'))) throw new ConfigError('jwt: `publicKey` is a JWK whose "key_ops" do not include "verify".')
}

function algorithmsOf(key: KeyObject): readonly JwtAlgorithm[] {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = key
  if (type === 'rsa') {
    checkRsa(details?.modulusLength, details?.publicExponent)
    return RSA
  }
  if (type === 'ec') return [curve({ prime256v1: 'P-256', secp384r1: 'P-384', secp521r1: 'P-521' }[details?.namedCurve ?? ''] ?? details?.namedCurve)]
  if (type === 'ed25519') return ['EdDSA']
  throw new ConfigError(`jwt: \`publicKey\` is of type ${type}. Give an RSA, EC (P-256, P-384, P-521) or Ed25519 key.`)
}

/** A CryptoKey is bound to one algorithm when it is made. */
function fitCryptoKey(given: webcrypto.CryptoKey): FitKey {
  if (given.type !== 'public') throw new ConfigError(`jwt: \`publicKey\` is a ${given.type} key. ${given.type === 'secret' ? 'Give it as `secret`.' : NOT_PRIVATE}`)
  if (!given.usages.includes('verify')) throw new ConfigError('jwt: `publicKey` is a CryptoKey whose usages do not include "verify".')
  const { name, hash } = given.algorithm as { name: string; hash?: { name: string } }
  const key = KeyObject.from(given)
  const algorithms = algorithmsOf(key)
  if (hash === undefined) return { key, algorithms }
  const bits = hash.name.replace('SHA-', '')
  const algorithm = algorithms.find((each) => each === `${name === 'RSA-PSS' ? 'PS' : 'RS'}${bits}`)
  if (algorithm === undefined) throw new ConfigError(`jwt: \`publicKey\` is a CryptoKey for ${name} with SHA-${bits}, which is not for tokens.`)
  return { key, algorithms: [algorithm] }
}

function curve(name: string | undefined): JwtAlgorithm {
  const algorithm = name !== undefined && Object.hasOwn(EC, name) ? EC[name as keyof typeof EC] : undefined
  if (algorithm === undefined) throw new ConfigError(`jwt: \`publicKey\` is on the curve ${name}. Give one on P-256, P-384 or P-521.`)
  return algorithm
}

/** RFC 7518 3.3 and 3.5. With the exponent 1 everybody can sign. */
function checkRsa(bits: number | undefined, exponent: bigint | undefined): void {
  if (bits === undefined || bits < 2_048) throw new ConfigError(`jwt: \`publicKey\` is an RSA key of ${bits} bits. It takes at least 2,048.`)
  if (exponent === undefined || exponent < 3n) throw new ConfigError(`jwt: \`publicKey\` is an RSA key whose exponent is ${exponent}, which protects nothing. It is 65,537 in almost every key.`)
}

/** Says what was given, and nothing of what it holds. */
function describeKey(value: unknown): string {
  return typeof value === 'object' ? describe(value) : typeof value
}
