import { codes, Denied } from '../../lib/errors.ts'
import { clientOf } from './changes.ts'
import type { Changes } from './changes.ts'
import type { Engine } from './engine.ts'
import { promised, SessionStoreError } from './backing.ts'
import { beforeHeaders, renameForSignIn } from './sign-in.ts'
import { baseOf, expiryOf, isForward, isSessionId, unmarked } from './record.ts'
import type { SessionRequest, SessionStore, StoredSession } from './store.ts'

// Seam (express-session 1.18 and 1.19): the methods of the store object. Whatever the application does with a session, it does through them.

type Done = ((error?: any, value?: any) => void) | undefined

/** Watches a session store: everything the application does there goes through the engine from now on. */
export function tap(store: SessionStore, engine: Engine, changes: Changes): void {
  const { backing } = engine
  const own: Partial<SessionStore> = {
    get: (id, done: Done) => answer(done, () => read(engine, id)),
    set: (id, session: StoredSession, done: Done) =>
      answer(done, () => {
        renameForSignIn(engine, session)
        return changes.save(id, session)
      }),
    destroy: (id, done: Done) => answer(done, () => destroy(engine, id)),
    createSession(request: SessionRequest, stored: StoredSession) {
      const origin = engine.originOf(stored)
      // Express-session reads the session of a cookie before the request has any.
      const bringsIt = request.session === undefined && request.headers !== undefined
      const session = backing.createSession(request, stored) as object
      if (origin === undefined) return session
      engine.setOrigin(session, origin)
      Object.defineProperty(session, 'reload', { configurable: true, writable: true, value: reloadOf(store, engine, request, session) })
      if (!bringsIt) return session
      if (!origin.inGrace) engine.noteUse({ id: origin.target, mark: origin.mark })
      beforeHeaders(engine, request)
      return session
    },
    regenerate: (request: SessionRequest, done: Done) => answer(done, () => regenerate(store, engine, changes, request)),
  }
  if (store.touch !== undefined) own.touch = (id, session: StoredSession, done: Done) => answer(done, () => touch(engine, id, session))
  const before: Pick<SessionStore, 'all' | 'clear'> = { ...(store.all && { all: store.all.bind(store) }), ...(store.clear && { clear: store.clear.bind(store) }) }
  if (before.all !== undefined) {
    own.all = (done) => answer(done, async () => visible(await promised((answered) => before.all?.(answered))))
  }
  if (before.clear !== undefined) {
    own.clear = (done) =>
      answer(done, async () => {
        await promised((answered) => before.clear?.(answered))
        for (const watcher of engine.watchers) watcher.look(undefined)
        engine.announce(undefined)
      })
  }
  Object.assign(store, own)
  judgeStrangers(store, engine)
}

/** Express-session gives a new session to whoever has brought an id that stands for nothing. Whether it was somebody's is judged then. */
function judgeStrangers(store: SessionStore, engine: Engine): void {
  let generate = store.generate?.bind(store)
  const judging = (request: SessionRequest): void => {
    const { sessionID: brought, session } = request
    generate?.(request)
    if (session === undefined && typeof brought === 'string') engine.judge(brought).catch((error: unknown) => engine.fault(error))
  }
  // Each middleware that is made with a store puts its own there.
  Object.defineProperty(store, 'generate', {
    configurable: true,
    enumerable: true,
    get: () => (generate === undefined ? undefined : judging),
    set: (given: typeof generate) => {
      if (given !== judging) generate = given
    },
  })
}

/** As it stands now, under whatever id: what the request came with is no news. */
function reloadOf(store: SessionStore, engine: Engine, request: SessionRequest, session: object) {
  return function (this: unknown, done: (error?: unknown) => void): unknown {
    const origin = engine.originOf(session)
    void answer(
      (error) => done(error ?? undefined),
      async () => {
        const entry = origin === undefined ? undefined : await engine.follow(origin.target)
        if (entry === undefined || entry.mark.lineage !== origin?.mark.lineage) throw new Error('failed to load session')
        engine.setOrigin(entry.stored, { ...origin, target: entry.id, base: baseOf(entry.data), mark: entry.mark, speaker: engine.speakerOf(entry) })
        store.createSession!(request, entry.stored)
      },
    )
    return this
  }
}

/** Answers both ways, as stores do: by the callback, or else by the promise. */
function answer<T>(done: Done, run: () => Promise<T>): Promise<T> | undefined {
  const answered = begun(run).catch((error: unknown) => {
    throw publicly(error)
  })
  if (typeof done !== 'function') return answered
  // Not within the promise: what the application throws in its callback is its own.
  answered.then(
    (value) => process.nextTick(done, null, value),
    (error: unknown) => process.nextTick(done, error),
  )
  return undefined
}

/** Runs it at once: what throws there rejects like the rest. */
function begun<T>(run: () => Promise<T>): Promise<T> {
  try {
    return run()
  } catch (error) {
    return Promise.reject(error instanceof Error ? error : new Error('sessions', { cause: error }))
  }
}

/** A refusal as HTTP applications know errors, with the status to answer. */
function publicly(error: unknown): unknown {
  // What its store says of a session is the application's own.
  if (error instanceof SessionStoreError) return SessionStoreError.originalOf(error)
  if (!(error instanceof Denied)) return error
  const { code, message } = error
  return Object.assign(new Error(message, { cause: error }), { code, status: codes[code].status })
}

async function read(engine: Engine, id: string): Promise<StoredSession | undefined> {
  if (!isSessionId(id)) return undefined
  const opened = await engine.read(id)
  if (opened === undefined) return undefined
  const { entry, origin } = opened
  engine.setOrigin(entry.stored, origin)
  return entry.stored
}

async function destroy(engine: Engine, id: string): Promise<void> {
  const signedOut = { reason: 'signed out', advice: 'after-credential' } as const
  for (const watcher of engine.watchers) {
    const lineage = watcher.lineageAt(id)
    // Known without asking: its sockets are closed before anything else happens.
    if (lineage !== undefined) return engine.end(lineage, signedOut, [id])
  }
  const entry = await engine.backing.get(id)
  if (entry === undefined) return engine.backing.destroy(id)
  if (entry.kind === 'session') return engine.end(entry.mark.lineage, signedOut, [id])
  const now = await engine.follow(entry.forward.to)
  return engine.end(entry.forward.lineage, signedOut, now === undefined ? [id] : [id, now.id])
}

async function touch(engine: Engine, id: string, session: StoredSession): Promise<void> {
  const origin = engine.originOf(session)
  await engine.backing.touch(origin?.target ?? id, session)
  if (origin === undefined) return
  const { cookie: _cookie, ...data } = session
  engine.seen({ id: origin.target, mark: origin.mark }, engine.speakerOf({ data }), clientOf(session))
  const expiresAtMs = expiryOf(session.cookie.expires)
  for (const watcher of engine.watchers) watcher.touched(origin.mark.lineage, expiresAtMs)
}

/** The application asks for another id: to sign somebody in, or out, or to be on the safe side. Which of them shows when it saves. */
async function regenerate(store: SessionStore, engine: Engine, changes: Changes, request: SessionRequest): Promise<void> {
  const { session, sessionID: from = '' } = request
  const origin = engine.originOf(session)
  if (origin === undefined) {
    await destroy(engine, from)
    store.generate?.(request)
    return
  }
  const { mark, target } = origin
  engine.noteReplaced(target)
  for (const watcher of engine.watchers) watcher.moving(mark.lineage)
  if (engine.shared !== undefined) await engine.directory.move(mark.lineage, undefined).catch((error: unknown) => engine.fault(error))
  const now = await engine.follow(target)
  // Where another request was faster, what this one has read tells whom the session speaks for.
  const before = now?.mark.lineage === mark.lineage ? engine.speakerOf(now) : origin.speaker
  await Promise.all([...new Set([from, target, ...(now === undefined ? [] : [now.id])])].map((id) => engine.backing.destroy(id)))
  store.generate?.(request)
  changes.expect(request, { from: target, mark, before, settled: false, cut: false })
}

function visible(sessions: unknown): unknown {
  if (typeof sessions !== 'object' || sessions === null) return sessions
  if (Array.isArray(sessions)) return sessions.filter((each) => !isForward(each)).map((each) => unmarked(each as StoredSession))
  return Object.fromEntries(Object.entries(sessions).flatMap(([id, each]) => (isForward(each) ? [] : [[id, unmarked(each as StoredSession)]])))
}
