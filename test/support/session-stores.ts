import { randomUUID } from 'node:crypto'
import session from 'express-session'
import { RedisStore } from 'connect-redis'
import { createClient } from 'redis'
import { redisUrl, startRedis } from './redis.ts'
import { closeAfterTest } from './server.ts'

export const kinds = ['memory', 'redis'] as const
export type Kind = (typeof kinds)[number]

/** Where an application keeps its sessions, seen from below: what no middleware and no adapter has put in front of it. */
export interface Backing {
  readonly kind: Kind
  /** The store as one process has it: a client of its own of the same Redis, or the one memory store. */
  store(): Promise<session.Store>
  /** The ids that have an entry. */
  ids(): Promise<string[]>
  /** The entry of an id, as it is stored. */
  entry(id: string): Promise<any>
  /** The ids whose entries say who has signed in. */
  signedIn(): Promise<string[]>
  /** Takes an entry away behind everybody's back. */
  remove(id: string): Promise<void>
  /** Has the time of an entry come, as if it had been slept away. */
  expire(id: string): Promise<void>
  /**
   * Ends its answers until it is healed, or those to writes alone. `rejects`: an error each time. `hangs`: nothing, and what was asked is done when
   * it is healed.
   */
  fail(how: 'rejects' | 'hangs', only?: 'set'): void
  heal(): void
  /** How much of what was asked has not been done; in memory only. */
  readonly waiting?: number
}

/** A store of its own for this test. `mortal`: with a server of its own, that may be stopped. */
export async function backing(kind: Kind, { mortal = false } = {}): Promise<Backing> {
  const kept = kind === 'memory' ? inMemory() : await inRedis(mortal)
  return Object.assign(kept, {
    async signedIn() {
      const ids = await kept.ids()
      const entries = await Promise.all(ids.map((id) => kept.entry(id)))
      return ids.filter((_, index) => (entries[index]?.user ?? entries[index]?.passport?.user) !== undefined)
    },
  })
}

type Callback = (error?: any, value?: any) => void

/** The memory store of express-session, which works until it is told not to. */
class MortalStore extends session.MemoryStore {
  trouble: 'rejects' | 'hangs' | undefined
  onlyWrites = false
  readonly waiting: (() => void)[] = []

  override get(id: string, done: Callback): void {
    this.#run(done, () => super.get(id, done))
  }
  override set(id: string, data: session.SessionData, done?: Callback): void {
    this.#run(done, () => super.set(id, data, done), true)
  }
  override destroy(id: string, done?: Callback): void {
    this.#run(done, () => super.destroy(id, done))
  }
  override touch(id: string, data: session.SessionData, done?: () => void): void {
    this.#run(done, () => super.touch(id, data, done))
  }

  #run(done: Callback | undefined, work: () => void, writes = false): void {
    if (this.onlyWrites && !writes) work()
    else if (this.trouble === 'hangs') this.waiting.push(work)
    else if (this.trouble === 'rejects') setImmediate(() => done?.(new Error('the session store is down')))
    else work()
  }
}

function inMemory(): Omit<Backing, 'signedIn'> {
  const store = new MortalStore()
  const { sessions } = store as unknown as { readonly sessions: Record<string, string> }
  return {
    kind: 'memory',
    store: () => Promise.resolve(store),
    ids: () => Promise.resolve(Object.keys(sessions)),
    entry: (id) => Promise.resolve(sessions[id] === undefined ? undefined : JSON.parse(sessions[id])),
    remove: (id) => Promise.resolve(void delete sessions[id]),
    async expire(id) {
      const entry = JSON.parse(sessions[id]!) as { cookie: object }
      sessions[id] = JSON.stringify({ ...entry, cookie: { ...entry.cookie, expires: new Date(0) } })
    },
    fail: (how, only) => void Object.assign(store, { trouble: how, onlyWrites: only === 'set' }),
    get waiting() {
      return store.waiting.length
    },
    heal() {
      store.trouble = undefined
      for (const work of store.waiting.splice(0)) work()
    },
  }
}

async function inRedis(mortal: boolean): Promise<Omit<Backing, 'signedIn'>> {
  const server = mortal ? await startRedis() : undefined
  const url = server?.url ?? redisUrl()
  const prefix = `sessions:${randomUUID()}:`
  if (server) closeAfterTest(() => server.stop())
  const connect = async () => {
    const client = createClient({ url })
    // Whoever asks is told; a client without a listener would end the process.
    client.on('error', () => {})
    await client.connect()
    closeAfterTest(() => {
      server?.child.kill('SIGCONT')
      return client.close()
    })
    return client
  }
  const own = await connect()
  closeAfterTest(async () => {
    const keys = await own.keys(`${prefix}*`)
    if (keys.length > 0) await own.del(keys)
  })
  return {
    kind: 'redis',
    store: async () => new RedisStore({ client: await connect(), prefix }),
    ids: async () => (await own.keys(`${prefix}*`)).map((key) => key.slice(prefix.length)),
    entry: async (id) => JSON.parse((await own.get(prefix + id)) ?? 'null') ?? undefined,
    remove: async (id) => void (await own.del(prefix + id)),
    expire: async (id) => void (await own.pExpireAt(prefix + id, 1)),
    fail(how, only) {
      if (only || how !== 'hangs' || server === undefined) throw new Error('A Redis of its own can be stopped, and does nothing else on demand.')
      server.child.kill('SIGSTOP')
    },
    heal: () => void server?.child.kill('SIGCONT'),
  }
}
