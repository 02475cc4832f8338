import { parseArgs } from 'node:util'

export const measures = ['events', 'rate', 'handshake', 'broadcast', 'heap'] as const
export type Measure = (typeof measures)[number]
export const profiledLoads = ['events', 'handshake', 'broadcast'] as const
export type ProfiledLoad = (typeof profiledLoads)[number]
export const commands = ['servers', 'micro', 'profile', 'expiry', 'sessions'] as const
export type Command = (typeof commands)[number]

export interface Options {
  command: Command
  /** `servers`: the measures to run. */
  measures: readonly Measure[]
  /** `profile`: the loads under which profiles are taken. */
  profiled: readonly ProfiledLoad[]
  /** `micro`: run only these groups; none means all. */
  only: readonly string[]
  quick: boolean
  /** Sockets that receive each broadcast. */
  sockets: number
  /** Where to write all figures as JSON. */
  json: string | undefined
}

export const usage = `npm run bench -- [servers | micro | profile | expiry | sessions] [options]

  servers (default)  server processes under load, as ratios to a bare server
  micro              the library's parts in one process
  expiry             5,000 peers whose credentials end: how late each is acted on, and what they cost meanwhile
  sessions           sessions of express-session: reads of the store, cost of an event and of an HTTP request
  profile            where the CPU time of the bare, hand-written and guarded servers goes

  --quick            fewer and shorter cycles (about a minute)
  --only NAME        may be repeated
                       servers: ${measures.join(', ')}
                       micro:   compositor, policies, steps, events, handshake, deliver
                       sessions: events, requests, idle
                       profile: ${profiledLoads.join(', ')} (default events)
  --sockets N        receivers of each broadcast (default 1000)
  --json FILE        also write every figure to FILE`

const among = <T extends string>(names: readonly T[], name: string): name is T => (names as readonly string[]).includes(name)

/** @throws Error with the usage when the command line is not understood */
export function parseOptions(argv: readonly string[]): Options {
  try {
    return readOptions(argv)
  } catch (error) {
    throw new Error(`${error instanceof Error ? error.message : String(error)}\n\n${usage}`, { cause: error })
  }
}

function all<T extends string>(known: readonly T[], names: readonly string[]): T[] {
  return names.map((name) => {
    if (!among(known, name)) throw new Error(`--only ${name}: there are ${known.join(', ')}`)
    return name
  })
}

function readOptions(argv: readonly string[]): Options {
  const { values, positionals } = parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: {
      quick: { type: 'boolean', default: false },
      only: { type: 'string', multiple: true, default: [] },
      sockets: { type: 'string', default: '1000' },
      json: { type: 'string' },
    },
  })
  const [command = 'servers', surplus] = positionals
  if (!among(commands, command) || surplus !== undefined) throw new Error(`unknown command: ${positionals.join(' ')}`)
  const sockets = Number(values.sockets)
  if (!Number.isInteger(sockets) || sockets < 1) throw new Error(`--sockets must be a positive integer, not ${values.sockets}`)
  return {
    command,
    measures: command === 'servers' && values.only.length > 0 ? all(measures, values.only) : measures,
    profiled: command === 'profile' && values.only.length > 0 ? all(profiledLoads, values.only) : ['events'],
    only: values.only,
    quick: values.quick,
    sockets,
    json: values.json,
  }
}
