/** `micro`: the parts, in one process. */
import type { Options } from '../options.ts'
import { formatGroup, time, type Group } from './timing.ts'

const groups: Record<string, () => Promise<readonly Group[]>> = {
  compositor: async () => [await (await import('./compositor.ts')).compositorGroup()],
  policies: async () => (await import('./policies.ts')).policyGroups(),
  steps: async () => [await (await import('./steps.ts')).stepsGroup()],
  events: async () => [await (await import('./events.ts')).eventGroup()],
  handshake: async () => [await (await import('./handshake.ts')).handshakeGroup()],
  deliver: async () => [await (await import('./deliver.ts')).deliverGroup()],
}

export async function runMicro({ quick, only }: Options): Promise<unknown> {
  const chosen = Object.keys(groups).filter((name) => only.length === 0 || only.includes(name))
  const unknown = only.filter((name) => !Object.hasOwn(groups, name))
  if (unknown.length > 0) throw new Error(`unknown group: ${unknown.join(', ')}; there are ${Object.keys(groups).join(', ')}`)
  const results: unknown[] = []
  for (const name of chosen) {
    for (const group of await (groups[name] as (typeof groups)[string])()) {
      const timed = await time(group, quick ? { rounds: 9, batchMs: 20 } : { rounds: 25, batchMs: 40 })
      console.log(formatGroup(group, timed))
      results.push({ group: group.name, cases: timed })
      await group.close?.()
    }
  }
  console.log('\nRatios are to the first line of each group, turn by turn.')
  return results
}
