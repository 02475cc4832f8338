/** `profile`: where the CPU time of a saturated server goes, by layer, and by function within the library. */
import type { Profiler } from 'node:inspector'
import { startField, type Contestant } from './field.ts'
import { orderOf } from './measures/cycles.ts'
import type { Options, ProfiledLoad } from './options.ts'
import { labels, type Kind } from './servers/kinds.ts'

const kindsOf: Record<ProfiledLoad, readonly Kind[]> = {
  events: ['bare', 'hand', 'empty', 'full'],
  handshake: ['bare', 'hand', 'empty', 'full'],
  broadcast: ['bare', 'empty', 'masked-1', 'masked-100'],
}
const clients = 32
const window = 8

type CpuProfile = Profiler.Profile

/** Which layer a function belongs to. */
function layerOf(name: string, url: string): string {
  // `dispatch` without a file is the inspector, answering the calls that start and stop the profile.
  if (name === '(idle)' || (name === 'dispatch' && url === '')) return 'idle'
  if (name === '(garbage collector)') return 'garbage collection'
  if (url === '') return name === '' || name.startsWith('(') ? 'other native code' : name
  if (url.startsWith('node:')) return 'node'
  const dependency = /\/node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(url)?.[1]
  if (dependency !== undefined) return dependency
  return url.includes('/dist/esm/') ? 'portcullis' : 'application'
}

interface Costs { layers: Map<string, number>; functions: Map<string, number> }

function add(map: Map<string, number>, key: string, value: number): void {
  map.set(key, (map.get(key) ?? 0) + value)
}

/** Adds the self time of each function and layer, in microseconds. */
function addCosts(costs: Costs, { nodes, samples, timeDeltas }: CpuProfile): void {
  const frames = new Map(nodes.map(({ id, callFrame }) => [id, callFrame]))
  for (const [index, id] of (samples ?? []).entries()) {
    const frame = frames.get(id)
    const us = timeDeltas?.[index] ?? 0
    if (!frame) continue
    const layer = layerOf(frame.functionName, frame.url)
    if (layer === 'idle') continue
    add(costs.layers, layer, us)
    const file = frame.url.replace(/^.*?\/(?=node_modules\/|dist\/esm\/|bench\/)/, '')
    add(costs.functions, `${layer}\t${frame.functionName || '(anonymous)'} ${file}:${frame.lineNumber + 1}`, us)
  }
}

interface Found { costs: Costs; units: number }

/** A way to load one server. `begin` is called once, `turn` each time a profile is taken; it returns how much was done. */
interface Load {
  unit: string
  begin(contestant: Contestant): Promise<number>
  turn(contestant: Contestant, group: number): Promise<number>
}

function loadsOf(sockets: number): Record<ProfiledLoad, Load> {
  const open = ({ load, port }: Contestant, count: number): Promise<number> => load.call('open', { port, count, teams: 10 })
  return {
    events: {
      unit: 'acked event',
      async begin(contestant) {
        const group = await open(contestant, clients)
        await contestant.load.call('saturate', { group, window, ms: 1_500 })
        return group
      },
      turn: ({ load }, group) => load.call('saturate', { group, window, ms: 400 }),
    },
    handshake: {
      unit: 'handshake',
      async begin({ load, port }) {
        await load.call('prepareHandshakes', { count: 2_000, tokens: 'fresh' })
        return load.call('handshakes', port)
      },
      async turn({ load, port }) {
        await load.call('prepareHandshakes', { count: 300, tokens: 'fresh' })
        return load.call('handshakes', port)
      },
    },
    broadcast: {
      unit: 'delivered message',
      async begin(contestant) {
        const group = await open(contestant, sockets)
        await this.turn(contestant, group)
        return group
      },
      async turn({ server, load }, group) {
        const total = 20 * sockets
        await load.call('awaitBroadcasts', { group, total })
        await Promise.all([load.call('received', group), server.call('broadcast', 20)])
        return total
      },
    },
  }
}

async function profiles(kinds: readonly Kind[], name: ProfiledLoad, { quick, sockets }: Options): Promise<{ found: Map<Kind, Found>; unit: string }> {
  const found = new Map<Kind, Found>(kinds.map((kind) => [kind, { costs: { layers: new Map(), functions: new Map() }, units: 0 }]))
  const field = await startField(kinds, () => [])
  try {
    const load = loadsOf(sockets)[name]
    const groups: [Kind, number][] = []
    for (const kind of kinds) groups.push([kind, await load.begin(field.of(kind))])
    for (let turn = 0; turn < (quick ? 4 : 12); turn += 1) {
      for (const [kind, group] of orderOf(groups, turn)) {
        const contestant = field.of(kind)
        const entry = found.get(kind) as Found
        await contestant.server.call('startProfile', 200)
        entry.units += await load.turn(contestant, group)
        addCosts(entry.costs, await contestant.server.call('stopProfile', undefined))
      }
    }
    return { found, unit: load.unit }
  } finally {
    await field.stop()
  }
}

export async function runProfile(options: Options): Promise<unknown> {
  const results: unknown[] = []
  for (const name of options.profiled) results.push(await report(name, options))
  return results
}

async function report(name: ProfiledLoad, options: Options): Promise<unknown> {
  const kinds = kindsOf[name]
  const { found, unit } = await profiles(kinds, name, options)
  const perEvent = (kind: Kind, map: keyof Costs, key: string): number => {
    const entry = found.get(kind)
    return entry ? (entry.costs[map].get(key) ?? 0) / entry.units : 0
  }
  const print = (title: string, map: keyof Costs, keys: readonly string[]): void => {
    console.log(`\n${title}, us per ${unit}\n${kinds.map((kind) => kind.padStart(12)).join('')}`)
    for (const key of keys) {
      console.log(`${kinds.map((kind) => perEvent(kind, map, key).toFixed(2).padStart(12)).join('')}  ${key.split('\t').at(-1)}`)
    }
  }
  const keysOf = (map: keyof Costs): string[] => {
    const most = new Map<string, number>()
    for (const kind of kinds) for (const key of found.get(kind)?.costs[map].keys() ?? []) most.set(key, Math.max(most.get(key) ?? 0, perEvent(kind, map, key)))
    return [...most].sort((a, b) => b[1] - a[1]).map(([key]) => key)
  }
  print('Self time by layer', 'layers', keysOf('layers').slice(0, 20))
  const functions = keysOf('functions')
  const ours = functions.filter((key) => key.startsWith('portcullis\t'))
  print('Functions of the library', 'functions', ours.slice(0, 25))
  const last = kinds.at(-1) as Kind
  const growth = (key: string): number => perEvent(last, 'functions', key) - perEvent('bare', 'functions', key)
  print(`Functions of others that cost more under "${labels[last]}" than under bare`, 'functions',
    functions.filter((key) => !ours.includes(key)).sort((a, b) => growth(b) - growth(a)).slice(0, 15))
  return { load: name, kinds: [...found].map(([kind, { costs, units }]) => ({ kind, units, layers: Object.fromEntries(costs.layers), functions: Object.fromEntries(costs.functions) })) }
}
