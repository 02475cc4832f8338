import { expect, test } from '@jest/globals'
import { DEFAULT_TERMS, warningAt } from '../../lib/terms.ts'

const warned = (left: number, expiringMs: number): number | undefined => {
  const at = warningAt(1_000_000 + left, 1_000_000, { ...DEFAULT_TERMS, expiringMs })
  return at === undefined ? undefined : at - 1_000_000
}

test.each([
  [3_600_000, 60_000, 3_540_000],
  [300_000, 60_000, 240_000],
  [100_000, 60_000, 80_000],
  [10_000, 60_000, 8_000],
  [5, 60_000, 4],
  [1, 60_000, 1],
])('a credential with %i ms left, of which %i are to be warned of, is warned of after %i', (left, expiringMs, at) => {
  expect(warned(left, expiringMs)).toBe(at)
})

test('is not warned of where nobody wants it', () => {
  expect(warned(3_600_000, 0)).toBeUndefined()
})

test('one that is over is not warned of later than now', () => {
  expect(warned(-1_000, 60_000)!).toBeLessThanOrEqual(0)
})

test('where nothing is said, a peer is closed at its end, and cannot become another', () => {
  expect(DEFAULT_TERMS).toEqual({ withinMs: 10_000, onExpiry: 'disconnect', expiringMs: 60_000, allowSwitch: false })
})
