import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto'
import { ConfigError } from '../../lib/errors.ts'

/** Keeps text where others may read it. */
export interface Sealer {
  /** Twice the same text is sealed twice differently. Well-formed text comes back as it was. */
  seal(text: string): string
  /** @returns undefined for whatever was not sealed with one of the secrets, or not left as it was */
  open(sealed: string): string | undefined
}

const VERSION = '1.'
const CIPHER = 'aes-256-gcm'
const KEY_BYTES = 32
/** The nonce that GCM takes as it is (NIST SP 800-38D). By chance, it is good for 2^32 seals with one secret. */
const NONCE_BYTES = 12
const TAG_BYTES = 16
/** The secrets sign cookies as well: what is derived for one use says nothing about another (RFC 5869). */
const INFO = 'portcullis express-session seal 1'

/**
 * Seals with AES-256-GCM. A seal is as strong as the secret: nobody guesses 32 random bytes.
 *
 * @param secrets the first one seals, all of them open
 * @throws ConfigError without a secret, or for an empty one
 */
export function sealer(secrets: readonly string[]): Sealer {
  const keys = secrets.map((secret) => {
    if (typeof secret !== 'string' || secret === '') throw new ConfigError('sessions: secret is a text, or a list of texts, none of them empty.')
    return Buffer.from(hkdfSync('sha256', secret, '', INFO, KEY_BYTES))
  })
  const [own] = keys
  if (own === undefined) throw new ConfigError('sessions: secret is a text, or a list with at least one.')

  return {
    seal(text) {
      const nonce = randomBytes(NONCE_BYTES)
      const cipher = createCipheriv(CIPHER, own, nonce)
      const sealed = [nonce, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()]
      return VERSION + Buffer.concat(sealed).toString('base64url')
    },
    open(sealed) {
      const bytes = bytesOf(sealed)
      if (bytes === undefined) return undefined
      for (const key of keys) {
        const text = opened(bytes, key)
        if (text !== undefined) return text
      }
      return undefined
    },
  }
}

function bytesOf(sealed: unknown): Buffer | undefined {
  if (typeof sealed !== 'string' || !sealed.startsWith(VERSION)) return undefined
  const encoded = sealed.slice(VERSION.length)
  const bytes = Buffer.from(encoded, 'base64url')
  // Buffers overlook what is not base64url, and there is to be one spelling.
  return bytes.length >= NONCE_BYTES + TAG_BYTES && bytes.toString('base64url') === encoded ? bytes : undefined
}

function opened(bytes: Buffer, key: Buffer): string | undefined {
  try {
    const decipher = createDecipheriv(CIPHER, key, bytes.subarray(0, NONCE_BYTES), { authTagLength: TAG_BYTES })
    decipher.setAuthTag(bytes.subarray(-TAG_BYTES))
    const text = decipher.update(bytes.subarray(NONCE_BYTES, -TAG_BYTES), undefined, 'utf8')
    return text + decipher.final('utf8')
  } catch {
    return undefined
  }
}
