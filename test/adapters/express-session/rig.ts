import session from 'express-session'
import { Changes } from '../../../adapters/express-session/changes.ts'
import { Engine } from '../../../adapters/express-session/engine.ts'
import type { EngineOptions } from '../../../adapters/express-session/engine.ts'
import { Keeper } from '../../../adapters/express-session/keeper.ts'
import type { Bound, Care, Lineage } from '../../../adapters/express-session/lineage.ts'
import { Rotation } from '../../../adapters/express-session/rotation.ts'
import { defaultUser } from '../../../adapters/express-session/speaker.ts'
import type { SessionRequest } from '../../../adapters/express-session/store.ts'
import { tap } from '../../../adapters/express-session/tap.ts'
import { memoryStore } from '../../../adapters/memory.ts'
import { Agenda } from '../../../lib/agenda.ts'
import { controlsWithoutGate } from '../../../lib/controls.ts'
import type { Denied } from '../../../lib/errors.ts'
import type { Presence } from '../../../lib/presence.ts'
import type { Store } from '../../../lib/store.ts'
import { testClock } from '../../../lib/testing.ts'
import type { TestClock } from '../../../lib/testing.ts'

export const SECRET = 'the secret of the cookies of an application'

export type Callback = (error?: any, value?: any) => void

/** The memory store of express-session, which notes what it is asked, and works until it is told not to. */
export class CountedStore extends session.MemoryStore {
  /** As `operation id`. */
  readonly asked: string[] = []
  trouble: 'rejects' | 'hangs' | undefined
  readonly waiting: (() => void)[] = []
  /** Called before an entry is written. */
  beforeSet: ((id: string) => void) | undefined

  override get(id: string, done: Callback): void {
    this.#run('get', id, done, () => super.get(id, done))
  }
  override set(id: string, data: session.SessionData, done?: Callback): void {
    this.beforeSet?.(id)
    this.#run('set', id, done, () => super.set(id, data, done))
  }
  override destroy(id: string, done?: Callback): void {
    this.#run('destroy', id, done, () => super.destroy(id, done))
  }
  override touch(id: string, data: session.SessionData, done?: () => void): void {
    this.#run('touch', id, done, () => super.touch(id, data, done))
  }

  /** What it keeps, as JSON by id. */
  get entries(): Record<string, string> {
    return (this as unknown as { readonly sessions: Record<string, string> }).sessions
  }
  entry(id: string): any {
    return this.entries[id] === undefined ? undefined : JSON.parse(this.entries[id])
  }
  count(operation: string): number {
    return this.asked.filter((each) => each.startsWith(`${operation} `)).length
  }
  heal(): void {
    this.trouble = undefined
    for (const work of this.waiting.splice(0)) work()
  }

  #run(operation: string, id: string, done: Callback | undefined, work: () => void): void {
    this.asked.push(`${operation} ${id}`)
    if (this.trouble === 'hangs') this.waiting.push(work)
    else if (this.trouble === 'rejects') setImmediate(() => done?.(new Error('the session store is down')))
    else work()
  }
}

/** Lets everything go on that waits for nothing but its turn. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 30; turn++) await new Promise((resolve) => setImmediate(resolve))
}

/** What a promise is rejected with. @throws when it is not */
export async function failure(promise: Promise<unknown>): Promise<any> {
  const outcome = await promise.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  )
  if ('error' in outcome) return outcome.error
  throw new Error(`succeeded with ${JSON.stringify(outcome.value)}`)
}

/** A peer as a lineage has it: what it was told, and how it ended. */
export class StandInPeer {
  readonly closed: { readonly code: string; readonly details: unknown; readonly reconnect: string; readonly policy: string }[] = []
  readonly told: { readonly event: string; readonly data: any }[] = []
  renewals = 0
  renewing: Promise<boolean> = Promise.resolve(true)
  hears = true
  readonly presence: Presence = {
    socket: {} as never,
    peer: {},
    close: (denied: Denied, reconnect, policy) => void this.closed.push({ code: denied.code, details: denied.details, reconnect, policy }),
    tell: (event, data) => {
      if (this.hears) this.told.push({ event, data })
      return this.hears
    },
    renew: () => {
      this.renewals++
      return this.renewing
    },
    alarm: () => ({ set: () => {}, clear: () => {} }),
  }
}

export const CLIENT = { address: '192.0.2.1', userAgent: 'Mozilla/5.0' }

type Terms = Partial<Omit<EngineOptions, 'clock'>> & Partial<Pick<Care, 'freshMs' | 'recheckMs' | 'touchEveryMs' | 'renewPath'>> & { readonly store?: CountedStore; readonly shared?: Store; readonly cookie?: object; readonly clock?: TestClock }

/** Sessions over a store in memory, as one process has them: with the engine in front of it, without HTTP and without sockets. */
export function rig({ freshMs = 5_000, recheckMs = 30_000, touchEveryMs = 60_000, renewPath = '/session/renew', shared: given, cookie = {}, clock = testClock(Date.now()), ...terms }: Terms = {}) {
  const store = terms.store ?? new CountedStore()
  // As an application does, so that the store has what express-session puts on it.
  session({ store, secret: SECRET, resave: false, saveUninitialized: false, cookie })
  const shared = given ?? memoryStore({ clock })
  const engine = new Engine({ userOf: defaultUser, secrets: [SECRET], clock, timeoutMs: 1_000_000_000, rotateEveryMs: undefined, graceMs: 30_000, touchEveryMs, concurrent: undefined, ...terms, store })
  const changes = new Changes(engine)
  tap(store, engine, changes)
  const rotation = new Rotation(engine, changes, { name: 'sid', secret: SECRET })
  const keeper = new Keeper(engine, changes, { rotation, freshMs, recheckMs, touchEveryMs, renewPath })
  engine.watchers.add(keeper)
  const agenda = new Agenda(clock)
  const partTimes = keeper.attach(agenda)
  const faults: unknown[] = []
  const own = controlsWithoutGate(shared, clock)
  const revocations: unknown[] = []
  const part = engine.attach({
    ...own,
    agenda,
    fault: (error) => void faults.push(error),
    revoke: (target, options) => {
      revocations.push({ target, ...options })
      return own.revoke(target, options)
    },
  })

  /** A request with nothing but what express-session looks at. */
  const request = (more: object = {}): SessionRequest => ({ headers: {}, res: { headersSent: false }, ...more }) as unknown as SessionRequest
  const save = (of: SessionRequest): Promise<void> => store.set(of.sessionID!, of.session as never) as unknown as Promise<void>
  /** A visitor comes, and has this put into the session. */
  const begin = async (data: object = {}, more: object = {}): Promise<SessionRequest> => {
    const of = request(more)
    ;(store as unknown as { generate(request: unknown): void }).generate(of)
    Object.assign(of.session!, data)
    await save(of)
    return of
  }
  /** Another request with this session id. @returns undefined where it is given a session of its own */
  const load = async (id: string): Promise<SessionRequest | undefined> => {
    const found = await (store.get as unknown as (id: string) => Promise<object | undefined>)(id)
    const of = request({ sessionID: id })
    if (found === undefined) {
      ;(store as unknown as { generate(request: unknown): void }).generate(of)
      await settled()
      return undefined
    }
    store.createSession(of as never, found as never)
    return of
  }
  const destroy = (id: string): Promise<void> => store.destroy(id) as unknown as Promise<void>
  const regenerate = (of: SessionRequest): Promise<void> => (store.regenerate as unknown as (of: SessionRequest) => Promise<void>)(of)
  const lineage = async (id: string): Promise<Lineage> => (await keeper.read(async () => (await engine.open(id))?.entry))!
  /** A peer that has entered with a lineage. */
  const bind = (to: Lineage): StandInPeer & { readonly bound: Bound | undefined } => {
    const peer = new StandInPeer()
    return Object.assign(peer, { bound: to.bind(peer.presence, to.version, CLIENT) })
  }
  return { clock, store, shared, engine, changes, rotation, keeper, agenda, faults, revocations, part, partTimes, request, save, begin, load, destroy, regenerate, lineage, bind }
}

export type Rig = ReturnType<typeof rig>

/** Another node of the same application: an engine of its own, over the same entries and the same store of the gates. */
export function nodeBeside({ store, shared, clock }: Rig, terms: Terms = {}): Rig {
  const own = new CountedStore()
  ;(own as unknown as { sessions: object }).sessions = store.entries
  return rig({ clock, shared, store: own, ...terms })
}
