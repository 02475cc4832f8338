import { expect, test } from '@jest/globals'
import { newId } from '../../lib/ids.ts'

test('an id is 16 characters that are safe in a URL, a header and a log line', () => {
  for (let i = 0; i < 1_000; i++) expect(newId()).toMatch(/^[A-Za-z0-9_-]{16}$/)
})

test('no two are equal, also after the pool was filled anew', () => {
  const ids = new Set(Array.from({ length: 10_000 }, newId))
  expect(ids.size).toBe(10_000)
})
