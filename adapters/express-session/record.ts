import { createHash } from 'node:crypto'
import type { StoredSession } from './store.ts'

// What the gate keeps of a session beside what the application has put into it: in the same entry, so that both are there or neither is.

const MARK = '__portcullis'

/** What sockets are bound to is not the session id, which changes, but its lineage. */
export interface Mark {
  readonly lineage: string
  /** When this id was given, in milliseconds since the epoch; 0 for one that is older than this mark. */
  readonly sinceMs: number
  /** Set where it is to be replaced by the next request: `cut` where others may know it, who are not to be served any more then. */
  readonly replace?: 'soon' | 'cut'
  /** When the session began. */
  readonly bornMs: number
  /** Until when the preceding id is served; undefined where there is none. */
  readonly graceUntilMs?: number
}

/** What stands under an id that has been replaced. */
export interface Forward {
  readonly lineage: string
  readonly to: string
  /** Until when it is served. */
  readonly untilMs: number
}

/** What the application has put into a session: without the cookie, and without our mark. */
export type SessionData = Readonly<Record<string, any>>

export type Entry =
  | { readonly kind: 'session'; readonly id: string; readonly stored: StoredSession; readonly data: SessionData; readonly mark: Mark; readonly expiresAtMs: number }
  | { readonly kind: 'forward'; readonly id: string; readonly forward: Forward }

export type SessionEntry = Extract<Entry, { readonly kind: 'session' }>

/** The lineage of a session that has always had this id. Nobody can tell the id from it. */
export function lineageOf(id: string): string {
  return `s_${digest(`lineage:${id}`)}`
}

/** Whether a text may stand for an id in the keys of a store: what could mean more to one than a key is none. */
export function isSessionId(id: unknown): id is string {
  return typeof id === 'string' && /^[\w\-.~:+/=]{16,256}$/.test(id) && !(id in Object.prototype)
}

/** What stands for a session id where the id itself must not stand. */
export function digest(id: string): string {
  return createHash('sha256').update(`portcullis:session:${id}`).digest('base64url')
}

/** Reads an entry of the session store. Whatever else stands under our name is taken for nothing. */
export function entryOf(id: string, stored: StoredSession): Entry {
  const { [MARK]: own, ...session } = stored
  const mark = (typeof own === 'object' && own !== null ? own : {}) as Partial<Mark & Forward>
  if (typeof mark.to === 'string' && typeof mark.lineage === 'string') return { kind: 'forward', id, forward: { lineage: mark.lineage, to: mark.to, untilMs: Number(mark.untilMs) } }
  const { cookie, ...data } = session
  return {
    kind: 'session',
    id,
    stored: session,
    data,
    mark: {
      lineage: typeof mark.lineage === 'string' ? mark.lineage : lineageOf(id),
      sinceMs: numberOr(mark.sinceMs, 0),
      bornMs: numberOr(mark.bornMs, 0),
      ...(mark.replace === 'soon' || mark.replace === 'cut' ? { replace: mark.replace } : {}),
      ...(typeof mark.graceUntilMs === 'number' ? { graceUntilMs: mark.graceUntilMs } : {}),
    },
    expiresAtMs: expiryOf(cookie?.expires),
  }
}

/** The entry as it is kept. */
export function marked(session: StoredSession, mark: Mark): StoredSession {
  return { ...session, [MARK]: mark }
}

export function forwarding(cookie: StoredSession['cookie'], forward: Forward, keptUntilMs: number): StoredSession {
  return { cookie: { ...cookie, expires: new Date(keptUntilMs), originalMaxAge: null }, [MARK]: forward }
}

/** Whether an entry stands for an id that was replaced: lists of sessions are to be without. */
export function isForward(stored: unknown): boolean {
  return typeof stored === 'object' && stored !== null && typeof (stored as Record<string, Partial<Forward> | undefined>)[MARK]?.to === 'string'
}

/** The entry as the application is to see it. */
export function unmarked(stored: StoredSession): StoredSession {
  const { [MARK]: _own, ...session } = stored
  return session
}

/** When it ends, as its cookie says; `Infinity` where that says nothing. */
export function expiryOf(expires: unknown): number {
  const at = expires instanceof Date ? expires.getTime() : typeof expires === 'string' ? Date.parse(expires) : NaN
  return Number.isNaN(at) ? Infinity : at
}

/**
 * What two who have changed the same session make of it together, field by field: what this one has changed since it read it, and
 * everything else as it stands now.
 *
 * @param base what it had read, each field as JSON
 */
export function merged(base: ReadonlyMap<string, string>, now: SessionData, mine: SessionData): Record<string, unknown> {
  const result: Record<string, unknown> = { ...now }
  for (const [field, value] of Object.entries(mine)) {
    if (JSON.stringify(value) !== base.get(field)) define(result, field, value)
  }
  for (const field of base.keys()) {
    if (!Object.hasOwn(mine, field)) delete result[field]
  }
  return result
}

/** Each field as JSON: what later changes are told by. */
export function baseOf(data: SessionData): ReadonlyMap<string, string> {
  return new Map(Object.entries(data).map(([field, value]) => [field, JSON.stringify(value)]))
}

/** Not by assignment: a field may be called `__proto__`. */
function define(target: object, field: string, value: unknown): void {
  Object.defineProperty(target, field, { value, writable: true, enumerable: true, configurable: true })
}

function numberOr(value: unknown, otherwise: number): number {
  return typeof value === 'number' && Number.isFinite(value) ? value : otherwise
}
