/** The processes of one round: for each variant a server and a process of clients. */
import type { LoadOperations, Findings } from './load/main.ts'
import type { ServerOperations } from './servers/main.ts'
import { start, type Child } from './ipc.ts'
import { audiencesOf, type Kind } from './servers/kinds.ts'

export type Load = Child<LoadOperations>

export interface Contestant {
  kind: Kind
  server: Child<ServerOperations>
  port: number
  load: Load
}

export interface Field {
  of(kind: Kind): Contestant
  stop(): Promise<void>
}

const refusals: Partial<Record<Kind, Partial<Findings>>> = {
  verified: { refusesForged: true },
  hand: { refusesForged: true, strips: true, refusesForeignRoom: true, refusesMalformed: true },
  full: { refusesForged: true, strips: true, refusesForeignRoom: true, refusesMalformed: true },
}

/** A variant that does not do its job must not be measured: it would look fast. */
async function check({ kind, server, port, load }: Contestant): Promise<void> {
  if (audiencesOf(kind) !== undefined) return
  const expected: Findings = {
    accepts: true, strips: false, refusesForeignRoom: false, refusesMalformed: false, refusesForged: false, ...refusals[kind],
  }
  const before = await server.call('audited', undefined)
  const found = await load.call('probe', port)
  const after = await server.call('audited', undefined)
  for (const [name, value] of Object.entries(expected)) {
    if (found[name as keyof Findings] !== value) {
      throw new Error(`the ${kind} server is not what it should be: ${name} is ${!value} (found ${JSON.stringify(found)})`)
    }
  }
  const audits = kind === 'hand' || kind === 'full'
  if (after.records - before.records >= 4 !== audits) {
    throw new Error(`the ${kind} server wrote ${after.records - before.records} audit records for four events: ${after.last}`)
  }
}

export async function startField(kinds: readonly Kind[], execArgvOf: (kind: Kind) => readonly string[]): Promise<Field> {
  const contestants = new Map<Kind, Contestant>()
  const children: { stop(): Promise<void> }[] = []
  const stop = async (): Promise<void> => {
    await Promise.all(children.map((child) => child.stop()))
  }
  try {
    for (const kind of kinds) {
      const server = await start<ServerOperations>(new URL('./servers/main.js', import.meta.url), [kind], execArgvOf(kind))
      children.push(server)
      const load = await start<LoadOperations>(new URL('./load/main.js', import.meta.url), [])
      children.push(load)
      const contestant = { kind, server, load, port: await server.call('port', undefined) }
      contestants.set(kind, contestant)
      await check(contestant)
    }
  } catch (error) {
    await stop()
    throw error
  }
  return {
    stop,
    of(kind) {
      const contestant = contestants.get(kind)
      if (!contestant) throw new Error(`${kind} was not started`)
      return contestant
    },
  }
}
