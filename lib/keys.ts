import { createHash } from 'node:crypto'

/** Longer keys are hashed: a client must not decide how much a store keeps. */
const MAX_KEY = 256

/** A key of a store, of bounded length. */
export function boundedKey(prefix: string, key: string): string {
  return `${prefix}:${key.length <= MAX_KEY ? key : `sha256:${createHash('sha256').update(key).digest('base64url')}`}`
}
