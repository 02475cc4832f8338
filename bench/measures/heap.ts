/** Live heap of the server per idle connection. */
import { labels, type Kind } from '../servers/kinds.ts'
import { median } from '../stats.ts'
import { referenceOf, type Table } from '../table.ts'
import { record, rowsOf, type MeasureRun } from './measure.ts'

const kinds = ['bare', 'control', 'hand', 'empty', 'full'] as const satisfies readonly Kind[]

async function emptied(connections: () => Promise<number>): Promise<void> {
  while ((await connections()) > 0) await new Promise((resolve) => setTimeout(resolve, 20))
}

export function heap(): MeasureRun {
  const table: Table = { title: 'Heap per idle connection, after a full collection', unit: 'kB', rows: rowsOf(kinds, labels, { full: 1.12 }), notes: [] }
  return {
    kinds,
    table,
    async round({ of }, plan) {
      for (const kind of kinds) {
        const { server, load, port } = of(kind)
        const connections = (): Promise<number> => server.call('connections', undefined)
        // Once beforehand: what the first connections leave behind for good belongs to none of them.
        await load.call('close', await load.call('open', { port, count: plan.idle, teams: 10 }))
        await emptied(connections)
        const before = await server.call('heap', undefined)
        const group = await load.call('open', { port, count: plan.idle, teams: 10 })
        record(table, kind, ((await server.call('heap', undefined)) - before) / plan.idle / 1_000)
        await load.call('close', group)
        await emptied(connections)
      }
      const bare = median(referenceOf(table))
      const more = (kind: Kind): string => `${labels[kind]} ${((median(table.rows.get(kind)?.values ?? []) - bare) * 1_000).toFixed(0)} bytes`
      table.notes = [`More than bare, per connection: ${more('hand')}; ${more('empty')}; ${more('full')}.`]
    },
  }
}
