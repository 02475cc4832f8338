/** The value below which `share` of the values lie, interpolated; NaN for no values. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  const place = (sorted.length - 1) * share
  const below = sorted[Math.floor(place)] ?? Number.NaN
  const above = sorted[Math.ceil(place)] ?? Number.NaN
  return below + (above - below) * (place - Math.floor(place))
}

export const median = (values: readonly number[]): number => quantile(values, 0.5)

export interface Spread { median: number; low: number; high: number }

/** For few values: everything that was seen. */
export function range(values: readonly number[]): Spread {
  return { median: median(values), low: Math.min(...values), high: Math.max(...values) }
}

/** For many short values, of which a few always met another process: the middle half. */
export function middleHalf(values: readonly number[]): Spread {
  return { median: median(values), low: quantile(values, 0.25), high: quantile(values, 0.75) }
}

/** Element by element, so that what drifts on the machine within a run cancels out. */
export function ratios(values: readonly number[], reference: readonly number[]): number[] {
  return values.map((value, index) => value / (reference[index] ?? Number.NaN))
}

export function means(first: readonly number[], second: readonly number[]): number[] {
  return first.map((value, index) => (value + (second[index] ?? Number.NaN)) / 2)
}
