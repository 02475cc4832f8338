import { createHmac, createSecretKey, generateKeyPairSync, sign, webcrypto } from 'node:crypto'
import type { KeyObject } from 'node:crypto'

/** Bytes, text or a value, as one part of a token. Text is taken as it is, so that what no library would make can be forged. */
export type Part = string | Uint8Array | object

export const base64url = (part: Part): string => Buffer.from(typeof part === 'string' || part instanceof Uint8Array ? part : JSON.stringify(part)).toString('base64url')

/** Makes the signature of what stands before the second dot. */
export type Signer = (input: string) => Buffer

const hash = (alg: string): string => `sha${alg.slice(2)}`

/** Signs as RFC 7518 says, with any key: also the wrong one. */
export function signer(alg: string, key: KeyObject | string | Uint8Array): Signer {
  if (alg.startsWith('HS')) return (input) => createHmac(hash(alg), key).update(input).digest()
  const own = key as KeyObject
  if (alg.startsWith('RS')) return (input) => sign(hash(alg), Buffer.from(input), own)
  if (alg.startsWith('PS')) return (input) => sign(hash(alg), Buffer.from(input), { key: own, padding: 6, saltLength: Number(alg.slice(2)) / 8 })
  if (alg.startsWith('ES')) return (input) => sign(hash(alg), Buffer.from(input), { key: own, dsaEncoding: 'ieee-p1363' })
  return (input) => sign(null, Buffer.from(input), own)
}

export function token(header: Part, payload: Part, signed: Signer): string {
  const input = `${base64url(header)}.${base64url(payload)}`
  return `${input}.${signed(input).toString('base64url')}`
}

/** An issuer with one key, and what checks its tokens. */
export interface Issuer {
  readonly alg: string
  readonly signed: Signer
  readonly privateKey: KeyObject
  readonly publicKey: KeyObject
}

export const pairs = {
  rsa: generateKeyPairSync('rsa', { modulusLength: 2_048 }),
  ec256: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  ec384: generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  ec521: generateKeyPairSync('ec', { namedCurve: 'P-521' }),
  ed25519: generateKeyPairSync('ed25519'),
}

/** The algorithms that take a public key, with a key for each. */
export const issuers: readonly Issuer[] = (
  [
    ...['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'].map((alg) => [alg, pairs.rsa] as const),
    ['ES256', pairs.ec256] as const,
    ['ES384', pairs.ec384] as const,
    ['ES512', pairs.ec521] as const,
    ['EdDSA', pairs.ed25519] as const,
  ] as const
).map(([alg, { privateKey, publicKey }]) => ({ alg, privateKey, publicKey, signed: signer(alg, privateKey) }))

/** A public key as WebCrypto holds it: bound to one algorithm. */
export function cryptoKeyOf(alg: string, key: KeyObject): Promise<webcrypto.CryptoKey> {
  const sha = `SHA-${alg.slice(2)}`
  const namedCurve = { ES256: 'P-256', ES384: 'P-384', ES512: 'P-521' }[alg]
  const algorithm = alg.startsWith('RS') ? { name: 'RSASSA-PKCS1-v1_5', hash: sha } : alg.startsWith('PS') ? { name: 'RSA-PSS', hash: sha } : alg === 'EdDSA' ? { name: 'Ed25519' } : { name: 'ECDSA', namedCurve: namedCurve! }
  return webcrypto.subtle.importKey('spki', key.export({ format: 'der', type: 'spki' }), algorithm, true, ['verify'])
}

export const pemOf = (key: KeyObject): string => key.export({ format: 'pem', type: 'spki' }).toString()

export const secretKeyOf = (secret: string): KeyObject => createSecretKey(Buffer.from(secret))
