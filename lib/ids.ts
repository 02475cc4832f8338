import { randomFillSync } from 'node:crypto'

const BYTES = 12
const pool = Buffer.alloc(BYTES * 256)
let offset = pool.length

/** A correlation id: 96 random bits as 16 characters of base64url, from a pool because one is made for each recorded event. */
export function newId(): string {
  if (offset === pool.length) {
    randomFillSync(pool)
    offset = 0
  }
  return pool.toString('base64url', offset, (offset += BYTES))
}
