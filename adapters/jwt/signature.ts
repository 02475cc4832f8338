import { constants, createHmac, timingSafeEqual, verify } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { hashBits } from './algorithms.ts'
import type { JwtAlgorithm } from './algorithms.ts'
import type { Unproved } from './token.ts'

/** How a signature is to be read (RFC 7518 3.3 to 3.5): a salt as long as the hash, and r and s one after the other, not in DER. */
const FORMS = {
  RS: { padding: constants.RSA_PKCS1_PADDING },
  PS: { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST },
  ES: { dsaEncoding: 'ieee-p1363' },
} as const

/**
 * Whether the signature of a compact JWS is right (RFC 7515 5.2, RFC 7518 3, RFC 8037 3.1). The key was found fit for the algorithm before.
 * Synchronous: WebCrypto, which jose goes through, takes its answer round the thread pool, and twenty times as long.
 */
export function isSigned(algorithm: JwtAlgorithm, key: KeyObject, { input, signature }: Pick<Unproved, 'input' | 'signature'>): boolean {
  if (algorithm === 'EdDSA') return verify(null, Buffer.from(input), key, signature)
  const hash = `sha${hashBits(algorithm)}`
  const family = algorithm.slice(0, 2) as 'HS' | keyof typeof FORMS
  if (family !== 'HS') return verify(hash, Buffer.from(input), { key, ...FORMS[family] }, signature)
  const expected = createHmac(hash, key).update(input).digest()
  return expected.byteLength === signature.byteLength && timingSafeEqual(expected, signature)
}
