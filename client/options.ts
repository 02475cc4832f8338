import type { ManagerOptions, SocketOptions } from 'socket.io-client'

/** Why a credential is asked for. `connect`: to connect. `expiring`: the one in use ends soon. `refused`: the last one was refused, so another is needed. */
export type AskReason = 'connect' | 'expiring' | 'refused'

export interface Ask {
  readonly reason: AskReason
  /** Which try this is, from 1. */
  readonly attempt: number
  /** Aborted when the answer has come too late to be of use. */
  readonly signal: AbortSignal
}

/** Time and chance, so that a test need not wait. */
export interface Schedule {
  /** Calls `run` after so many milliseconds, unless the returned function is called before. */
  after(ms: number, run: () => void): () => void
  /** At least 0 and less than 1. */
  random(): number
}

type Owned = 'auth' | 'autoConnect' | 'forceNew' | 'multiplex' | 'reconnection' | 'reconnectionAttempts' | 'reconnectionDelay' | 'reconnectionDelayMax' | 'randomizationFactor' | 'retries'

/** Options of socket.io-client, but for those that `connect` sees to, and what `connect` itself asks. */
export interface ConnectOptions extends Omit<Partial<ManagerOptions & SocketOptions>, Owned | 'agent'> {
  /** Gives the auth payload, such as `{ token }` or `{ ticket }`: for every try to connect, and whenever the gate wants a new one. */
  readonly credentials: (ask: Ask) => object | Promise<object>
  /** How long `credentials` may take, in milliseconds. Default 10,000. */
  readonly credentialsTimeoutMs?: number
  /** How many tries may fail in a row. Default 5. */
  readonly maxAttempts?: number
  /** The pause before the second try, in milliseconds; it doubles with every further one. Default 1,000. */
  readonly minDelayMs?: number
  /** The longest pause, in milliseconds; a connection that has lived as long is taken for a stable one. Default 30,000. */
  readonly maxDelayMs?: number
  /** How long an answer to `request`, `refresh` and `stepUp` may take, in milliseconds. Default 20,000. */
  readonly requestTimeoutMs?: number
  readonly schedule?: Schedule
  /**
   * What a session cookie is renewed with; in Node, one that has a cookie jar. Default: that of the platform, but none beside an `agent`,
   * of which it would know nothing.
   */
  readonly fetch?: typeof globalThis.fetch | undefined
  /** In Node: the `https.Agent` to connect with, such as that of `pinned`. */
  readonly agent?: object
}

/** What connect sees to itself, and the option to write instead, where there is one. */
const OWNED: Readonly<Record<Owned, string>> = {
  auth: 'credentials',
  autoConnect: '',
  forceNew: '',
  multiplex: '',
  reconnection: 'maxAttempts',
  reconnectionAttempts: 'maxAttempts',
  reconnectionDelay: 'minDelayMs',
  reconnectionDelayMax: 'maxDelayMs',
  randomizationFactor: 'schedule',
  retries: 'request()',
}

const LONGEST = 2 ** 31 - 1

function realTime(autoUnref = false): Schedule {
  return {
    after(ms, run) {
      // A longer time would make the timer fire at once.
      const timer = setTimeout(run, Math.min(ms, LONGEST))
      if (autoUnref) timer.unref?.()
      return () => clearTimeout(timer)
    },
    random: () => crypto.getRandomValues(new Uint32Array(1))[0]! / 2 ** 32,
  }
}

function wrong(name: string, instead: string): never {
  throw new TypeError(`connect: ${name} ${instead}`)
}

type Timed = 'credentialsTimeoutMs' | 'maxAttempts' | 'minDelayMs' | 'maxDelayMs' | 'requestTimeoutMs' | 'timeout' | 'schedule'

/** The options with every default in its place. */
export type Settings = ConnectOptions & { readonly [K in Timed]-?: NonNullable<ConnectOptions[K]> }

/** @throws TypeError that says which option is wrong and what to write instead */
export function read(options: ConnectOptions): Settings {
  const numbers = { credentialsTimeoutMs: 10_000, maxAttempts: 5, minDelayMs: 1_000, maxDelayMs: 30_000, requestTimeoutMs: 20_000, timeout: 20_000 }
  const given = Object.fromEntries(Object.entries(options ?? {}).filter(([, value]) => value !== undefined)) as unknown as ConnectOptions
  const settings = { ...numbers, schedule: realTime(given.autoUnref), fetch: given.agent ? undefined : globalThis.fetch, ...given }
  if (typeof settings.credentials !== 'function') wrong('credentials', 'is a function that gives the auth payload, such as { token }.')
  for (const [name, instead] of Object.entries(OWNED)) {
    if (name in settings) wrong(name, `is not an option.${instead && ` Use ${instead}.`}`)
  }
  for (const name of Object.keys(numbers) as (keyof typeof numbers)[]) {
    if (!(settings[name] > 0)) wrong(name, 'is a positive number.')
  }
  if (given.fetch && typeof given.fetch !== 'function') wrong('fetch', 'is a function, such as the fetch of the platform.')
  const { options: tls } = (settings.agent ?? {}) as { readonly options?: { readonly rejectUnauthorized?: boolean } }
  if (settings.rejectUnauthorized === false || tls?.rejectUnauthorized === false) wrong('rejectUnauthorized: false', 'lets anybody be the server. Use ca.')
  return settings
}
