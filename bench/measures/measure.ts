import type { Field } from '../field.ts'
import type { Kind } from '../servers/kinds.ts'
import type { Row, Table } from '../table.ts'
import type { Plan } from './plan.ts'

/** One table of the report. `round` is called once per round and adds one value per cycle to each row. */
export interface MeasureRun {
  readonly kinds: readonly Kind[]
  readonly table: Table
  round(field: Field, plan: Plan): Promise<void>
}

export function rowsOf<K extends string>(keys: readonly K[], labels: Readonly<Record<K, string>>, budgets: Readonly<Partial<Record<K, number>>>): Map<string, Row> {
  return new Map(keys.map((key) => {
    const budget = budgets[key]
    return [key, { label: labels[key], values: [], ...(budget !== undefined && { budget }) }]
  }))
}

export function record(table: Table, key: string, value: number): void {
  const row = table.rows.get(key)
  if (!row) throw new Error(`${table.title}: no row ${key}`)
  row.values.push(value)
}
