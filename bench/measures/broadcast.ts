/** Server CPU per delivered message of a broadcast. */
import type { Contestant } from '../field.ts'
import { audiencesOf, labels, type Kind } from '../servers/kinds.ts'
import type { Table } from '../table.ts'
import { inCycles, type Turn } from './cycles.ts'
import { record, rowsOf, type MeasureRun } from './measure.ts'

const kinds = ['bare', 'control', 'hand', 'empty', 'full', 'masked-1', 'masked-10', 'masked-100'] as const satisfies readonly Kind[]

interface Entry { contestant: Contestant; group: number }

/** Everybody gets the message, and its address where the variant does not mask. */
function checkMasking(kind: Kind, received: readonly string[]): void {
  const masked = received.filter((text) => !text.includes('192.0.2.7')).length
  const wrong = audiencesOf(kind) === undefined ? masked > 0 : masked < received.length
  if (wrong || received.some((text) => !text.includes('user-7'))) {
    throw new Error(`${kind}: ${masked} of ${received.length} clients received the message without its address, the first one ${received[0]}`)
  }
}

export function broadcast(sockets: number): MeasureRun {
  const table: Table = {
    title: `Server CPU per delivered message, broadcast to ${sockets}`,
    unit: 'us',
    rows: rowsOf(kinds, labels, { 'empty': 1.03, 'full': 1.03, 'masked-1': 1.15, 'masked-10': 1.2, 'masked-100': 1.4 }),
    notes: [],
  }
  return {
    kinds,
    table,
    async round({ of }, plan) {
      const entries: Entry[] = []
      for (const kind of kinds) {
        const contestant = of(kind)
        const { load, port } = contestant
        const group = await load.call('open', { port, count: plan.sockets, teams: audiencesOf(kind) ?? 10 })
        entries.push({ contestant, group })
        const [received] = await Promise.all([load.call('nextEvents', group), contestant.server.call('broadcast', 1)])
        checkMasking(kind, received)
      }
      const count = plan.broadcasts * plan.sockets
      const take = async ({ contestant: { server, load }, group }: Entry): Promise<Turn> => {
        await load.call('awaitBroadcasts', { group, total: count })
        const before = await server.call('cpu', undefined)
        await Promise.all([load.call('received', group), server.call('broadcast', plan.broadcasts)])
        return { cpu: (await server.call('cpu', undefined)) - before, count }
      }
      for (const entry of entries) for (let i = 0; i < plan.turns; i += 1) await take(entry)
      await inCycles(plan, entries, take, ({ contestant: { kind } }, us) => record(table, kind, us))
      for (const { contestant: { load }, group } of entries) await load.call('close', group)
    },
  }
}
