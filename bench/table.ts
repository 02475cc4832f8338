/** What a measure found, and how it is printed. */
import { means, median, range, ratios } from './stats.ts'

export interface Row {
  label: string
  /** One value a cycle, in the table's unit. */
  values: number[]
  /** What `docs` promises as a ratio to the reference, if anything. */
  budget?: number
}

export interface Table {
  title: string
  unit: string
  /** Keyed; `bare` and `control` together are the reference of all others. */
  rows: Map<string, Row>
  notes: string[]
}

/** Cycle by cycle, the mean of the two bare servers. */
export function referenceOf(table: Table): number[] {
  const bare = table.rows.get('bare')
  const control = table.rows.get('control')
  if (!bare || !control) throw new Error(`${table.title}: no control pair`)
  return means(bare.values, control.values)
}

/** The ratios of a row: the control against bare, everything else against the mean of the two. */
export function ratiosOf(table: Table, key: string): number[] {
  const row = table.rows.get(key)
  const bare = table.rows.get('bare')
  if (!row || !bare) return []
  return ratios(row.values, key === 'bare' || key === 'control' ? bare.values : referenceOf(table))
}

const two = (value: number): string => value.toFixed(2)
const figure = (value: number): string => (value >= 1_000 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : two(value))

export function format(table: Table): string {
  const width = Math.max(...[...table.rows.values()].map((row) => row.label.length))
  const lines = [`\n${table.title}`]
  lines.push(`  ${''.padEnd(width)}  ratio   min - max     budget   median here`)
  for (const [key, row] of table.rows) {
    if (row.values.length === 0) continue
    const { median: middle, low, high } = range(ratiosOf(table, key))
    const budget = row.budget === undefined ? '' : two(row.budget) + (middle > row.budget ? ' miss' : '')
    lines.push(`  ${row.label.padEnd(width)}  ${two(middle).padStart(5)}  ${`${two(low)} - ${two(high)}`.padEnd(13)} ${budget.padEnd(9)} ${figure(median(row.values)).padStart(7)} ${table.unit}`)
  }
  for (const note of table.notes) lines.push(`  ${note}`)
  return lines.join('\n')
}

export function toJson(table: Table): unknown {
  return {
    title: table.title,
    unit: table.unit,
    rows: [...table.rows].map(([key, row]) => ({ key, ...row, ratio: range(ratiosOf(table, key)) })),
    notes: table.notes,
  }
}
