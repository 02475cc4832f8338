/** `servers`: every variant in a process of its own, interleaved in one run. */
import { startField } from './field.ts'
import { broadcast } from './measures/broadcast.ts'
import { events, rate } from './measures/events.ts'
import { handshake } from './measures/handshake.ts'
import { heap } from './measures/heap.ts'
import type { MeasureRun } from './measures/measure.ts'
import { quick, thorough } from './measures/plan.ts'
import type { Measure, Options } from './options.ts'
import { kinds } from './servers/kinds.ts'
import { format, toJson } from './table.ts'

const makers: Record<Measure, (sockets: number) => MeasureRun> = { events, rate, handshake, broadcast, heap }

export async function runServers(options: Options): Promise<unknown> {
  const plan = (options.quick ? quick : thorough)(options.sockets)
  const runs = options.measures.map((name) => makers[name](options.sockets))
  const needed = kinds.filter((kind) => runs.some((run) => run.kinds.includes(kind)))
  for (let round = 0; round < plan.rounds; round += 1) {
    const field = await startField(needed, () => ['--expose-gc'])
    try {
      for (const [index, run] of runs.entries()) {
        process.stderr.write(`round ${round + 1} of ${plan.rounds}: ${options.measures[index]}\n`)
        await run.round(field, plan)
      }
    } finally {
      await field.stop()
    }
  }
  for (const { table } of runs) console.log(format(table))
  console.log('\nRatios are to the mean of the two bare servers of the same cycle; the control line is one bare server against the other.')
  console.log('A difference no larger than the spread of the control is no finding.')
  return runs.map(({ table }) => toJson(table))
}
