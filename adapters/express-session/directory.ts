import type { Clock } from '../../lib/clock.ts'
import { Denied } from '../../lib/errors.ts'
import type { Bound, Member, Store, Stored } from '../../lib/store.ts'
import { ask } from '../../lib/stored.ts'
import { cardOf, cardText, enlistedOf, heldText, isSame, membersOf, ownerKey, ownerOf, ownerText, placeKey, placeOf, placeText, sessionsKey, textOf, textsOf } from './directory-records.ts'
import type { Card, ClientOf, Owner, Place } from './directory-records.ts'
import type { Sealer } from './seal.ts'

/** Who has sessions. */
export interface Who {
  readonly subject: string
  readonly issuer: string | undefined
}

/** One of the sessions of somebody. */
export interface Entry {
  /** Its lineage. */
  readonly id: string
  readonly createdAtMs: number
  readonly seenAtMs: number
  readonly address?: string
  /** As the client says, cut after 256 characters. */
  readonly userAgent?: string
}

/** How many sessions somebody may have, and who has to go when there are as many: whoever comes, or the oldest. */
export interface Concurrent {
  readonly limit: number
  readonly full: 'refuse' | 'end-oldest'
}

/** Where a session is, and whose. */
export interface Whereabouts {
  /** Its session id; undefined where that is not known. */
  readonly sid: string | undefined
  readonly who: Who | undefined
  /** Whether it is about to go on under another id. */
  readonly moving: boolean
}

/** Asks the session store whether an id stands for a session. */
export type IsAlive = (sid: string) => Promise<boolean>

const DAY_MS = 86_400_000
/** A day more than is said: that is how old what is kept may be when the session is seen. */
const TTL_MS = 31 * DAY_MS
/** How long a session may take from its entry here into the session store: it is not taken for dead before. */
const SETTLING_MS = 5_000
/** How long it may take from one session id to the next. */
const MOVING_MS = 30_000
/** From as many sessions on, dead ones are looked for whenever somebody enters: most sessions end without anybody saying so. */
const TIDY = 32
/** How many of them are asked about for one who enters, those first that were not seen for the longest time. And at once, in a list. */
const BATCH = 64
/** Where nobody has said how many sessions somebody may have: a session that cannot be listed cannot be ended. */
const MOST: Bound = { limit: 1_000, full: 'oldest' }

/**
 * Who is signed in where. Kept in the store of the gate until 30 days after a session was last seen: of each session its id, sealed, and
 * whose it is; of everybody the lineages of their sessions. Each method rejects with Denied `UNAVAILABLE` where the store fails, or keeps something else.
 */
export class Directory {
  readonly #store: () => Store
  readonly #sealer: Sealer
  readonly #clock: Clock
  readonly #bound: Bound

  constructor(store: () => Store, sealer: Sealer, clock: Clock, concurrent: Concurrent | undefined) {
    this.#store = store
    this.#sealer = sealer
    this.#clock = clock
    this.#bound = concurrent === undefined ? MOST : { limit: concurrent.limit, full: concurrent.full === 'refuse' ? 'refuse' : 'oldest' }
  }

  /**
   * A session of somebody begins, or goes on under another session id.
   *
   * @returns lineages that have to end for it, oldest first
   * @throws Denied `TOO_MANY_CONNECTIONS` where nobody has to, and there are as many as may be
   */
  async enter(who: Who, lineage: string, sid: string, client: ClientOf, isAlive: IsAlive): Promise<readonly string[]> {
    const store = this.#store()
    const key = sessionsKey(who)
    const now = this.#clock.now()
    const card = cardText(now, client)
    const place = this.#placing(store, who, lineage, sid, now)
    const enlist = ({ limit, full }: Bound) => () => store.enlist(key, lineage, card, TTL_MS, { limit, full })
    const { limit, full } = this.#bound
    const mayBeRefused = full === 'refuse'
    // Whoever is sent away by the next one has to be found by then. Whoever is refused leaves everything as it was.
    const first = await together([...(mayBeRefused ? [] : place), enlist({ limit: Math.min(limit, TIDY), full: 'refuse' })])
    let { entered, left } = enlistedOf(first.at(-1))
    if (!entered) {
      await this.#tidy(store, who, now, isAlive)
      ;({ entered, left } = enlistedOf(await ask(enlist(this.#bound))))
    }
    if (!entered) throw new Denied('TOO_MANY_CONNECTIONS', { limit }, 'sessions: as many sessions as one subject may have')
    if (mayBeRefused) await together(place)
    return left.map(({ member }) => member)
  }

  /** @returns undefined for a lineage that is not known */
  async find(lineage: string): Promise<Whereabouts | undefined> {
    const store = this.#store()
    const [placed, owned] = textsOf(await ask(() => store.getMany([placeKey(lineage), ownerKey(lineage)])), 2)
    const place = placeOf(placed)
    const owner = ownerOf(owned)
    if (place === undefined && owner === undefined) return undefined
    return { sid: this.#sidAt(place), who: owner?.who, moving: isMoving(place, this.#clock.now()) }
  }

  /** The session goes on under another id; without one, it is about to. */
  async move(lineage: string, sid: string | undefined): Promise<void> {
    const store = this.#store()
    const sealed = sid === undefined ? undefined : this.#sealer.seal(sid)
    await ask(() => store.set(placeKey(lineage), placeText({ atMs: this.#clock.now(), sealed }), TTL_MS))
  }

  /**
   * A session was seen where it is: what has been forgotten of it is remembered again, and nothing that is known is overwritten.
   * One round trip and one write, and once a day another one.
   *
   * @param who undefined for the session of a visitor
   * @returns false where it is not in the list of its owner: there are as many as may be, or it is somebody else's by now
   */
  async seen(who: Who | undefined, lineage: string, sid: string, client: ClientOf): Promise<boolean> {
    const store = this.#store()
    const now = this.#clock.now()
    const place = placeText({ atMs: now, sealed: this.#sealer.seal(sid) })
    const look = (): Stored<string> => store.getOrSet(placeKey(lineage), place, TTL_MS)
    if (who === undefined) {
      const [placed] = await together([look])
      await together(this.#renewing(store, lineage, { placed: heldText(placed), place, sid, now }))
      return true
    }
    const key = sessionsKey(who)
    const owner = ownerText({ atMs: now, who })
    const [placed, owned, enlisted] = await together([
      look,
      () => store.getOrSet(ownerKey(lineage), owner, TTL_MS),
      // Who has been sent away is not to come back by this.
      () => store.enlist(key, lineage, cardText(now, client), TTL_MS, { limit: this.#bound.limit, full: 'refuse' }),
    ])
    const known = ownerOf(heldText(owned))
    if (!isSame(known.who, who)) {
      await ask(() => store.dismiss(key, lineage))
      return false
    }
    const renewing = this.#renewing(store, lineage, { placed: heldText(placed), place, sid, now })
    if (now - known.atMs >= DAY_MS) renewing.push(() => store.set(ownerKey(lineage), owner, TTL_MS))
    await together(renewing)
    return enlistedOf(enlisted).entered
  }

  /** A session has ended, or is no longer somebody's: then it stays where it is, if it is another one's by now. */
  async leave(lineage: string, who?: Who): Promise<void> {
    const store = this.#store()
    const owner = ownerOf(textOf(await ask(() => store.get(ownerKey(lineage)))))
    const person = who ?? owner?.who
    const isOthers = owner !== undefined && !isSame(owner.who, person!)
    await together([
      ...(person === undefined ? [] : [() => store.dismiss(sessionsKey(person), lineage)]),
      ...(isOthers ? [] : [() => store.delete(placeKey(lineage)), () => store.delete(ownerKey(lineage))]),
    ])
  }

  /** The sessions of somebody, oldest first: without dead ones, which are taken out on the way. */
  async list(who: Who, isAlive: IsAlive): Promise<readonly Entry[]> {
    const store = this.#store()
    const now = this.#clock.now()
    const listed = await this.#placed(store, await this.#carded(store, who))
    const entries: Entry[] = []
    for (let from = 0; from < listed.length; from += BATCH) {
      const batch = listed.slice(from, from + BATCH)
      const fates = await this.#fates(batch, who, now, isAlive)
      await this.#drop(store, who, batch.filter((_, index) => fates[index] === 'gone'))
      for (const [index, { member, card }] of batch.entries()) {
        const { atMs: seenAtMs, ...client } = card
        if (fates[index] === 'here') entries.push({ id: member.member, createdAtMs: member.sinceMs, seenAtMs, ...client })
      }
    }
    return entries
  }

  #placing(store: Store, who: Who, lineage: string, sid: string, atMs: number): readonly Operation[] {
    const place = placeText({ atMs, sealed: this.#sealer.seal(sid) })
    return [() => store.set(placeKey(lineage), place, TTL_MS), () => store.set(ownerKey(lineage), ownerText({ atMs, who }), TTL_MS)]
  }

  /** Only where it has been in one place for long: what is written is not what another one writes at the same moment. */
  #renewing(store: Store, lineage: string, { placed, place, sid, now }: { readonly placed: string; readonly place: string; readonly sid: string; readonly now: number }): Operation[] {
    const known = placeOf(placed)
    const knownSid = this.#sidAt(known)
    // One that was on its way and has not arrived is still where it was.
    const isLost = knownSid === undefined && !isMoving(known, now)
    return isLost || (knownSid === sid && now - known.atMs >= DAY_MS) ? [() => store.set(placeKey(lineage), place, TTL_MS)] : []
  }

  /** Takes out dead sessions of somebody, of those that were not seen for the longest time. */
  async #tidy(store: Store, who: Who, now: number, isAlive: IsAlive): Promise<void> {
    const carded = await this.#carded(store, who)
    const oldest = await this.#placed(store, carded.sort((a, b) => a.card.atMs - b.card.atMs).slice(0, BATCH))
    const fates = await this.#fates(oldest, who, now, isAlive)
    await this.#drop(store, who, oldest.filter((_, index) => fates[index] === 'gone'))
  }

  async #carded(store: Store, who: Who): Promise<Carded[]> {
    const members = membersOf(await ask(() => store.members(sessionsKey(who))))
    return members.map((member) => ({ member, card: cardOf(member.value) }))
  }

  async #placed(store: Store, carded: readonly Carded[]): Promise<readonly Listed[]> {
    if (carded.length === 0) return []
    const keys = carded.flatMap(({ member: { member } }) => [placeKey(member), ownerKey(member)])
    const texts = textsOf(await ask(() => store.getMany(keys)), keys.length)
    return carded.map((each, index) => {
      const placed = texts[2 * index]
      return { ...each, placed, place: placeOf(placed), owner: ownerOf(texts[2 * index + 1]) }
    })
  }

  async #fates(listed: readonly Listed[], who: Who, now: number, isAlive: IsAlive): Promise<readonly Fate[]> {
    try {
      return await Promise.all(listed.map((each) => this.#fateOf(each, who, now, isAlive)))
    } catch (error) {
      throw error instanceof Denied ? error : new Denied('UNAVAILABLE', undefined, error)
    }
  }

  async #fateOf({ card, place, owner }: Listed, who: Who, now: number, isAlive: IsAlive): Promise<Fate> {
    const isNew = isWithin(SETTLING_MS, card.atMs, now)
    if (owner !== undefined && !isSame(owner.who, who)) return isNew ? 'elsewhere' : 'gone'
    if (isNew || isMoving(place, now) || (place?.sealed !== undefined && isWithin(SETTLING_MS, place.atMs, now))) return 'here'
    const sid = this.#sidAt(place)
    return sid !== undefined && (await isAlive(sid)) ? 'here' : 'gone'
  }

  async #drop(store: Store, who: Who, dead: readonly Listed[]): Promise<void> {
    const key = sessionsKey(who)
    await Promise.all(
      dead.map(async ({ member: { member }, placed, owner }) => {
        const isOthers = owner !== undefined && !isSame(owner.who, who)
        // One that has gone on since it was looked for is not dead.
        if (!isOthers && placed !== undefined && !(await ask(() => store.delete(placeKey(member), { ifValue: placed })))) return
        await together([() => store.dismiss(key, member), ...(isOthers ? [] : [() => store.delete(ownerKey(member))])])
      }),
    )
  }

  /** Sealed with a secret that is no longer in use, it cannot be had any more: nor does its cookie open a session then. */
  #sidAt(place: Place | undefined): string | undefined {
    return place?.sealed === undefined ? undefined : this.#sealer.open(place.sealed)
  }
}

type Operation = () => Stored<unknown>

/** One of the sessions of somebody. */
interface Carded {
  readonly member: Member
  readonly card: Card
}

/** The same, with where it is and whose. */
interface Listed extends Carded {
  readonly placed: string | undefined
  readonly place: Place | undefined
  readonly owner: Owner | undefined
}

/** What has become of it. `elsewhere`: it has only just become another one's, or is becoming this one's. */
type Fate = 'here' | 'elsewhere' | 'gone'

function isMoving(place: Place | undefined, now: number): boolean {
  return place !== undefined && place.sealed === undefined && isWithin(MOVING_MS, place.atMs, now)
}

/** Clocks of other nodes may be ahead, and clocks may be turned back. */
function isWithin(ms: number, atMs: number, now: number): boolean {
  return Math.abs(now - atMs) < ms
}

/** One after the other on the wire, without waiting in between. */
async function together<T extends readonly unknown[]>(operations: readonly [...{ readonly [K in keyof T]: () => Stored<T[K]> }]): Promise<T>
async function together(operations: readonly Operation[]): Promise<unknown[]>
async function together(operations: readonly Operation[]): Promise<unknown[]> {
  return Promise.all(operations.map(async (operation) => ask(operation)))
}
