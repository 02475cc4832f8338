import { randomBytes } from 'node:crypto'

/** Characters of an id: 96 random bits as base64url. */
const LENGTH = 16
// Encoded together: a conversion for each id costs more than all else about it. Few, because an id that is kept holds its pool.
const IDS = 64
let pool = ''
let offset = 0

/** A correlation id: 16 characters of base64url, unguessable, cheap enough for one in each record. */
export function newId(): string {
  if (offset === pool.length) {
    pool = randomBytes((IDS * LENGTH * 3) / 4).toString('base64url')
    offset = 0
  }
  return pool.slice(offset, (offset += LENGTH))
}
