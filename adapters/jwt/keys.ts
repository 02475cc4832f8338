import { createPublicKey, webcrypto } from 'node:crypto'
import type { JsonWebKey, KeyObject } from 'node:crypto'
import { types } from 'node:util'
import { ConfigError } from '../../lib/errors.ts'
import { describe } from '../../lib/policy.ts'

const HMAC = ['HS256', 'HS384', 'HS512'] as const
const RSA = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'] as const
const EC = { 'P-256': 'ES256', 'P-384': 'ES384', 'P-521': 'ES512' } as const

/** Signature algorithms of RFC 7518 3.1 and RFC 8037 3.1 that can be asked for. `none` is not one of them. */
export type JwtAlgorithm = (typeof HMAC)[number] | (typeof RSA)[number] | (typeof EC)[keyof typeof EC] | 'EdDSA'

const ALGORITHMS: readonly string[] = [...HMAC, ...RSA, ...Object.values(EC), 'EdDSA']

/** What the signature of a token is checked with. */
export type JwtKey =
  | {
      /** A secret shared with the issuer: text, bytes, or a secret `KeyObject`. At least as long as the hash: 32, 48 or 64 bytes. */
      readonly secret: string | Uint8Array | KeyObject
      readonly publicKey?: never
    }
  | {
      /** The issuer's public key: JWK, PEM, `KeyObject` or `CryptoKey`. */
      readonly publicKey: JsonWebKey | string | KeyObject | webcrypto.CryptoKey
      readonly secret?: never
    }

/** The algorithms that are accepted, and the key for each. */
export interface Verification {
  readonly algorithms: readonly JwtAlgorithm[]
  keyOf(algorithm: JwtAlgorithm): Promise<webcrypto.CryptoKey> | webcrypto.CryptoKey | KeyObject
}

/** Checks the key against the algorithms, and imports it. @throws ConfigError for a key that is weak, or of another kind than the algorithms */
export function verification({ secret, publicKey }: { readonly secret?: unknown; readonly publicKey?: unknown }, algorithms: readonly JwtAlgorithm[] | undefined): Verification {
  if ((secret === undefined) === (publicKey === undefined)) throw new ConfigError('jwt takes either `secret`, for HS256, HS384 and HS512, or `publicKey`, for all other algorithms.')
  return secret === undefined ? withPublicKey(publicKey, algorithms) : withSecret(secret, algorithms)
}

function withSecret(secret: unknown, given: readonly JwtAlgorithm[] | undefined): Verification {
  const bytes = secretBytes(secret)
  const algorithms = chosen(given, HMAC, 'a secret', 'With RS, PS, ES and EdDSA give the issuer’s `publicKey`.')
  for (const algorithm of algorithms) {
    const needed = hashBits(algorithm) / 8
    if (bytes.byteLength < needed) {
      throw new ConfigError(`jwt: the secret has ${bytes.byteLength} bytes, and ${algorithm} needs at least ${needed} (RFC 7518 3.2). Make one with randomBytes(${needed}).`)
    }
  }
  const keys = new Map(algorithms.map((algorithm) => [algorithm, importSecret(bytes, algorithm)]))
  return { algorithms, keyOf: (algorithm) => keys.get(algorithm)! }
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

/** jose would import the bytes of a secret again for each token. */
function importSecret(bytes: Uint8Array, algorithm: JwtAlgorithm): Promise<webcrypto.CryptoKey> {
  return webcrypto.subtle.importKey('raw', bytes, { name: 'HMAC', hash: `SHA-${hashBits(algorithm)}` }, false, ['verify'])
}

function hashBits(algorithm: JwtAlgorithm): number {
  return Number(algorithm.slice(2))
}

function withPublicKey(given: unknown, algorithms: readonly JwtAlgorithm[] | undefined): Verification {
  if (types.isCryptoKey(given)) return withKey(given, algorithmsOfCryptoKey(given), algorithms)
  const jwk = isJwk(given) ? given : undefined
  const key = publicKeyOf(given)
  let possible = algorithmsOfKey(key)
  if (jwk?.['alg'] !== undefined) {
    const alg = possible.find((algorithm) => algorithm === jwk['alg'])
    if (alg === undefined) throw new ConfigError(`jwt: \`publicKey\` is a JWK whose "alg" is ${JSON.stringify(jwk['alg'])}, which is none of ${possible.join(', ')}.`)
    possible = [alg]
  }
  return withKey(key, possible, algorithms)
}

function withKey(key: KeyObject | webcrypto.CryptoKey, possible: readonly JwtAlgorithm[], given: readonly JwtAlgorithm[] | undefined): Verification {
  const algorithms = chosen(given, possible, 'this public key', 'HS256, HS384 and HS512 take a `secret`.')
  // jose imports a KeyObject once for each algorithm, and remembers what came of it.
  return { algorithms, keyOf: () => key }
}

/** The algorithms as given, where the key is fit for all of them; by default the first it is fit for. */
function chosen(given: readonly JwtAlgorithm[] | undefined, possible: readonly JwtAlgorithm[], key: string, instead: string): readonly JwtAlgorithm[] {
  if (given === undefined) return [possible[0]!]
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

function publicKeyOf(given: unknown): KeyObject {
  if (types.isKeyObject(given)) {
    if (given.type !== 'public') throw new ConfigError(`jwt: \`publicKey\` is a ${given.type} key. ${given.type === 'secret' ? 'Give it as `secret`.' : NOT_PRIVATE}`)
    return given
  }
  if (isJwk(given)) {
    checkJwk(given)
    return imported(() => createPublicKey({ key: given, format: 'jwk' }))
  }
  if (typeof given !== 'string') throw new ConfigError(`jwt: \`publicKey\` is a JWK, PEM, KeyObject or CryptoKey; got ${describeKey(given)}.`)
  if (/PRIVATE KEY-----/.test(given)) throw new ConfigError(`jwt: \`publicKey\` is a private key. ${NOT_PRIVATE}`)
  return imported(() => createPublicKey(given))
}

const NOT_PRIVATE = 'Give the public one: who only checks signatures has no use for what makes them.'

function imported(make: () => KeyObject): KeyObject {
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

function algorithmsOfKey(key: KeyObject): readonly JwtAlgorithm[] {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = key
  if (type === 'rsa') {
    checkModulus(details?.modulusLength)
    return RSA
  }
  if (type === 'ec') return [curve({ prime256v1: 'P-256', secp384r1: 'P-384', secp521r1: 'P-521' }[details?.namedCurve ?? ''] ?? details?.namedCurve)]
  if (type === 'ed25519') return ['EdDSA']
  throw new ConfigError(`jwt: \`publicKey\` is of type ${type}. Give an RSA, EC (P-256, P-384, P-521) or Ed25519 key.`)
}

/** A CryptoKey is bound to one algorithm when it is made. */
function algorithmsOfCryptoKey(key: webcrypto.CryptoKey): readonly JwtAlgorithm[] {
  if (key.type !== 'public') throw new ConfigError(`jwt: \`publicKey\` is a ${key.type} key. ${key.type === 'secret' ? 'Give it as `secret`.' : NOT_PRIVATE}`)
  if (!key.usages.includes('verify')) throw new ConfigError('jwt: `publicKey` is a CryptoKey whose usages do not include "verify".')
  const { name, hash, namedCurve, modulusLength } = key.algorithm as { name: string; hash?: { name: string }; namedCurve?: string; modulusLength?: number }
  if (name === 'ECDSA') return [curve(namedCurve)]
  if (name === 'Ed25519') return ['EdDSA']
  const bits = hash?.name.replace('SHA-', '')
  const algorithm = RSA.find((each) => each === `${name === 'RSA-PSS' ? 'PS' : 'RS'}${bits}`)
  if ((name !== 'RSA-PSS' && name !== 'RSASSA-PKCS1-v1_5') || algorithm === undefined) throw new ConfigError(`jwt: \`publicKey\` is a CryptoKey for ${name}${bits === undefined ? '' : ` with SHA-${bits}`}, which is not for tokens.`)
  checkModulus(modulusLength)
  return [algorithm]
}

function curve(name: string | undefined): JwtAlgorithm {
  const algorithm = name !== undefined && Object.hasOwn(EC, name) ? EC[name as keyof typeof EC] : undefined
  if (algorithm === undefined) throw new ConfigError(`jwt: \`publicKey\` is on the curve ${name}. Give one on P-256, P-384 or P-521.`)
  return algorithm
}

/** RFC 7518 3.3 and 3.5. */
function checkModulus(bits: number | undefined): void {
  if (bits === undefined || bits < 2_048) throw new ConfigError(`jwt: \`publicKey\` is an RSA key of ${bits} bits. It takes at least 2,048.`)
}

/** Says what was given, and nothing of what it holds. */
function describeKey(value: unknown): string {
  return typeof value === 'object' ? describe(value) : typeof value
}
