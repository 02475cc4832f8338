/** Server CPU per acked event: as many as the server can take, and at a fixed rate it can take easily. */
import type { Contestant, Field, Load } from '../field.ts'
import { labels, type Kind } from '../servers/kinds.ts'
import { median } from '../stats.ts'
import type { Table } from '../table.ts'
import { inCycles } from './cycles.ts'
import { record, rowsOf, type MeasureRun } from './measure.ts'
import type { Plan } from './plan.ts'

const kinds = ['bare', 'control', 'hand', 'empty', 'full'] as const satisfies readonly Kind[]
const clients = 32
const window = 8
const perSecond = 5_000
/** A turn that took this much longer than planned did not keep its rate. */
const tolerance = 1.25

interface Entry { contestant: Contestant; group: number }
type Loading = (load: Load, group: number, ms: number) => Promise<number>

async function round(field: Field, plan: Plan, table: Table, busy: number[], loading: Loading): Promise<void> {
  const entries: Entry[] = []
  for (const kind of kinds) {
    const contestant = field.of(kind)
    const { load, port } = contestant
    const group = await load.call('open', { port, count: clients, teams: 10 })
    await load.call('saturate', { group, window, ms: plan.warmMs })
    entries.push({ contestant, group })
  }
  const take = async ({ contestant: { server, load }, group }: Entry): Promise<{ cpu: number; count: number }> => {
    const before = await server.call('cpu', undefined)
    const begun = performance.now()
    const count = await loading(load, group, plan.turnMs)
    const tookMs = performance.now() - begun
    const cpu = (await server.call('cpu', undefined)) - before
    busy.push(cpu / 1_000 / tookMs)
    return { cpu, count }
  }
  await inCycles(plan, entries, take, ({ contestant: { kind } }, us) => record(table, kind, us))
  for (const { contestant: { load }, group } of entries) await load.call('close', group)
  table.notes = [`The servers were busy ${(median(busy) * 100).toFixed(0)}% of the time they were under load.`]
}

export function events(): MeasureRun {
  const table: Table = {
    title: `Server CPU per acked event, saturated (${clients} clients, ${window} events in flight each)`,
    unit: 'us',
    rows: rowsOf(kinds, labels, { empty: 1.05, full: 1.25 }),
    notes: [],
  }
  const busy: number[] = []
  return {
    kinds,
    table,
    round: (field, plan) => round(field, plan, table, busy, (load, group, ms) => load.call('saturate', { group, window, ms })),
  }
}

export function rate(): MeasureRun {
  const table: Table = {
    title: `Server CPU per acked event, at ${perSecond} events a second (${clients} clients)`,
    unit: 'us',
    rows: rowsOf(kinds, labels, { full: 1.15 }),
    notes: [],
  }
  const busy: number[] = []
  let late = 0
  let turns = 0
  return {
    kinds,
    table,
    async round(field, plan) {
      await round(field, plan, table, busy, async (load, group, ms) => {
        const { acked, tookMs } = await load.call('pace', { group, perSecond, ms })
        turns += 1
        if (tookMs > ms * tolerance) late += 1
        return acked
      })
      if (late > 0) table.notes.push(`${late} of ${turns} turns did not keep the rate; if they are many, read this table as saturated.`)
    },
  }
}
