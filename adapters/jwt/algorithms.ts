/** Signature algorithms, by the kind of key they take. */
export const HMAC = ['HS256', 'HS384', 'HS512'] as const
export const RSA = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'] as const
export const EC = { 'P-256': 'ES256', 'P-384': 'ES384', 'P-521': 'ES512' } as const

/** Signature algorithms of RFC 7518 3.1 and RFC 8037 3.1 that can be asked for. `none` is not one of them. */
export type JwtAlgorithm = (typeof HMAC)[number] | (typeof RSA)[number] | (typeof EC)[keyof typeof EC] | 'EdDSA'

/** Those that are checked with a public key. */
export const PUBLIC: readonly JwtAlgorithm[] = [...RSA, ...Object.values(EC), 'EdDSA']
export const ALGORITHMS: readonly JwtAlgorithm[] = [...HMAC, ...PUBLIC]

export function hashBits(algorithm: JwtAlgorithm): number {
  return Number(algorithm.slice(2))
}
