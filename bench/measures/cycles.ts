import type { Plan } from './plan.ts'

/** What one turn took: CPU microseconds of the server, and how much was done. */
export interface Turn { cpu: number; count: number }

/** The order of one turn: each item gets each place, so that none always follows the same neighbour. */
export function orderOf<T>(items: readonly T[], turn: number): T[] {
  const shift = turn % items.length
  const turned = [...items.slice(shift), ...items.slice(0, shift)]
  return turn % 2 === 0 ? turned : turned.reverse()
}

/** Visits all items in turns, and keeps one value per item and cycle: CPU per unit. */
export async function inCycles<T>(plan: Plan, items: readonly T[], take: (item: T) => Promise<Turn>, keep: (item: T, us: number) => void): Promise<void> {
  for (let cycle = 0; cycle < plan.cycles; cycle += 1) {
    const sums = items.map((item) => ({ item, cpu: 0, count: 0 }))
    for (let turn = 0; turn < plan.turns; turn += 1) {
      for (const sum of orderOf(sums, cycle * plan.turns + turn)) {
        const { cpu, count } = await take(sum.item)
        sum.cpu += cpu
        sum.count += count
      }
    }
    for (const { item, cpu, count } of sums) keep(item, cpu / count)
  }
}
