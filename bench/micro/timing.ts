/** Times small things in one process: in batches, the cases of a group taking turns, the median of the turns. */
import { median, middleHalf, ratios, type Spread } from '../stats.ts'

export interface Case {
  name: string
  /** One operation, or `units` of them. May return a promise, which is awaited before the next. */
  run: () => unknown
  units?: number
  /** In nanoseconds. */
  budgetNs?: number
}

export interface Group {
  name: string
  /** The first case is what the others are compared with. */
  cases: readonly Case[]
  /** Printed below the figures; gets the median of each case. */
  notes?: (medianNs: (name: string) => number) => string[]
  close?: () => void | Promise<void>
}

export interface Timed { name: string; medianNs: number; ratio: Spread; budgetNs?: number }

export interface Pace { rounds: number; batchMs: number }

// Kept, so that no run can be optimised away.
let kept: unknown

const isPromise = (value: unknown): value is Promise<unknown> => value instanceof Promise

/**
 * Nanoseconds of CPU time of the whole process. Not time on the wall: other processes would be in it, and work that is
 * handed to a thread, as cryptography is, would not be.
 */
async function batch(run: () => unknown, times: number): Promise<number> {
  const begun = process.cpuUsage()
  kept = run()
  if (isPromise(kept)) {
    await kept
    for (let i = 1; i < times; i += 1) await run()
  } else {
    for (let i = 1; i < times; i += 1) kept = run()
  }
  const { user, system } = process.cpuUsage(begun)
  return (user + system) * 1_000
}

/** How often to run for one batch. The best of three decides: the compiler's and the collector's threads spend CPU time when it suits them. */
async function timesFor(run: () => unknown, ms: number): Promise<number> {
  for (let times = 1; ; times *= 2) {
    const ns = Math.min(await batch(run, times), await batch(run, times), await batch(run, times))
    if (ns > ms * 500_000) return Math.max(1, Math.round((times * ms * 1_000_000) / ns))
  }
}

export async function time(group: Group, { rounds, batchMs }: Pace): Promise<Timed[]> {
  const samples = group.cases.map((): number[] => [])
  // Twice: the first finds its way through the interpreter.
  for (const { run } of group.cases) await timesFor(run, batchMs)
  const times: number[] = []
  for (const { run } of group.cases) times.push(await timesFor(run, batchMs))
  for (let round = 0; round < rounds; round += 1) {
    for (const [index, { run, units = 1 }] of group.cases.entries()) {
      const count = times[index] as number
      samples[index]?.push((await batch(run, count)) / count / units)
    }
  }
  const reference = samples[0] ?? []
  return group.cases.map(({ name, budgetNs }, index) => ({
    name,
    medianNs: median(samples[index] ?? []),
    ratio: middleHalf(ratios(samples[index] ?? [], reference)),
    ...(budgetNs !== undefined && { budgetNs }),
  }))
}

export const signed = (ns: number): string => `${ns < 0 ? '' : '+'}${ns.toFixed(0)}`

const figure = (value: number): string => (value >= 100 ? value.toFixed(0) : value.toFixed(1))

export function formatGroup(group: Group, results: readonly Timed[]): string {
  const width = Math.max(...results.map(({ name }) => name.length))
  const lines = [`\n${group.name}`, `  ${''.padEnd(width)}   median ns  ratio   middle half    budget ns`]
  for (const { name, medianNs, ratio, budgetNs } of results) {
    const budget = budgetNs === undefined ? '' : `${budgetNs}${medianNs > budgetNs ? ' miss' : ''}`
    lines.push(`  ${name.padEnd(width)}  ${figure(medianNs).padStart(10)}  ${ratio.median.toFixed(2).padStart(5)}  ${`${ratio.low.toFixed(2)} - ${ratio.high.toFixed(2)}`.padEnd(14)} ${budget}`.trimEnd())
  }
  const medianNs = (name: string): number => results.find((result) => result.name === name)?.medianNs ?? Number.NaN
  for (const note of group.notes?.(medianNs) ?? []) lines.push(`  ${note}`)
  return lines.join('\n')
}
