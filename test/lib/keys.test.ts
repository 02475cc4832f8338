import { expect, test } from '@jest/globals'
import { boundedKey } from '../../lib/keys.ts'

test('a key of usual length stands as it is, under its prefix', () => {
  expect(boundedKey('revoked:token', 'abc')).toBe('revoked:token:abc')
  expect(boundedKey('p', 'x'.repeat(256))).toBe(`p:${'x'.repeat(256)}`)
})

test('a longer one costs a store no more', () => {
  const [a, b] = ['a', 'b'].map((last) => boundedKey('p', `${'x'.repeat(100_000)}${last}`))
  expect(a).toHaveLength('p:sha256:'.length + 43)
  expect(a).not.toBe(b)
  expect(boundedKey('p', `${'x'.repeat(100_000)}a`)).toBe(a)
  expect(boundedKey('q', `${'x'.repeat(100_000)}a`)).not.toBe(a)
})
