/** Server CPU per handshake: upgrade, Engine.IO open, CONNECT with a token, the connection handler, and the end. */
import type { Contestant } from '../field.ts'
import { labels, type Kind } from '../servers/kinds.ts'
import { median, range, ratios } from '../stats.ts'
import { referenceOf, type Table } from '../table.ts'
import { inCycles, type Turn } from './cycles.ts'
import { record, rowsOf, type MeasureRun } from './measure.ts'

const keys = ['bare', 'control', 'verified', 'hand', 'empty', 'full', 'full-seen'] as const
type Key = (typeof keys)[number]

const kindOf = (key: Key): Kind => (key === 'full-seen' ? 'full' : key)
const names: Record<Key, string> = {
  ...labels,
  'full': `${labels.full}, token not seen before`,
  'full-seen': `${labels.full}, token seen before`,
}

async function handshakes({ server, load, port }: Contestant, tokens: 'fresh' | 'repeated', count: number): Promise<Turn> {
  await load.call('prepareHandshakes', { count, tokens })
  const before = await server.call('cpu', undefined)
  await load.call('handshakes', port)
  // What a server does after its client has left belongs to the handshake as well.
  while ((await server.call('connections', undefined)) > 0) await new Promise((resolve) => setTimeout(resolve, 5))
  return { cpu: (await server.call('cpu', undefined)) - before, count }
}

function againstVerified(table: Table): string {
  const verified = table.rows.get('verified')?.values ?? []
  const { median: middle, low, high } = range(ratios(table.rows.get('full')?.values ?? [], verified))
  const more = median(verified) - median(referenceOf(table))
  return `${labels.full}, fresh token, as a ratio to ${labels.verified}: ${middle.toFixed(2)} (${low.toFixed(2)} - ${high.toFixed(2)}); ` +
    `that one costs ${more.toFixed(0)} us more than bare.`
}

export function handshake(): MeasureRun {
  const table: Table = {
    title: 'Server CPU per handshake (JWT HS256; bare and empty verify nothing)',
    unit: 'us',
    rows: rowsOf(keys, names, { 'full': 1.38, 'full-seen': 1.06 }),
    notes: [],
  }
  const kinds = [...new Set(keys.map(kindOf))]
  return {
    kinds,
    table,
    async round({ of }, plan) {
      for (const kind of kinds) await handshakes(of(kind), 'fresh', plan.warmHandshakes)
      const take = (key: Key): Promise<Turn> => handshakes(of(kindOf(key)), key === 'full-seen' ? 'repeated' : 'fresh', plan.handshakes)
      await inCycles(plan, keys, take, (key, us) => record(table, key, us))
      table.notes = [againstVerified(table)]
    },
  }
}
