import { createMongoAbility } from '@casl/ability'
import type { AnyMongoAbility } from '@casl/ability'
import { PolicyFault } from './errors.ts'
import { describe } from './policy.ts'
import { flawInCompiled, flawInIndex, flawInRules, textOfRules } from './rules.ts'

/** A rule as CASL takes it. */
export interface AbilityRule {
  readonly action: string | readonly string[]
  readonly subject: any
  readonly fields?: string | readonly string[] | null
  readonly conditions?: any
  readonly inverted?: boolean | null
  /** Seen by operators when the rule refuses; never by the client. */
  readonly reason?: string | null
}

/** Characters of rules that one `abilities` policy remembers, so that peers with equal rules share one ability. The least recently used go first. */
const MAX_SHARED_CHARACTERS = 500_000

/** What is known of an ability. Kept beside it, so that its owner may use it as before. */
interface Standing {
  /** What is asked in its place: one that all with equal rules share, or itself. */
  readonly asked: AnyMongoAbility
  /** Why it can decide nothing. */
  readonly flaw: string | undefined
}

const standings = new WeakMap<object, Standing>()

/** The abilities of one `abilities` policy. Peers with equal rules share one, as long as every value in the rules is plain JSON. */
export class SharedAbilities {
  readonly #byText = new Map<string, Standing>()
  #characters = 0

  /**
   * Takes over rules, or an ability.
   *
   * @returns the ability for these rules; or the ability given, whose owner may `update` it later
   * @throws PolicyFault for rules that CASL would not take as they are meant
   */
  take(given: unknown, policy: string): AnyMongoAbility {
    if (!Array.isArray(given) && !isAbility(given)) throw new PolicyFault(`takes CASL rules or a MongoAbility; its function gave ${describe(given)}`, policy)
    const { flaw, asked } = Array.isArray(given) ? this.#ofRules(given) : standingOf(given, this)
    if (flaw !== undefined) throw new PolicyFault(flaw, policy)
    return Array.isArray(given) ? asked : given
  }

  #ofRules(rules: readonly unknown[]): Standing {
    const text = textOfRules(rules)
    if (text !== undefined) return this.shared(text)
    const flaw = flawInRules(rules)
    return flaw === undefined ? standingOf(createMongoAbility([...rules] as never), undefined) : { asked: NOTHING, flaw }
  }

  /** The one ability of these rules, from now on. */
  shared(text: string): Standing {
    let standing = this.#byText.get(text)
    if (standing === undefined) {
      standing = sealed(JSON.parse(text) as unknown[])
      this.#characters += text.length
    } else this.#byText.delete(text)
    this.#byText.set(text, standing)
    if (this.#characters > MAX_SHARED_CHARACTERS) this.#forget()
    return standing
  }

  #forget(): void {
    for (const oldest of this.#byText.keys()) {
      if (this.#characters <= MAX_SHARED_CHARACTERS) return
      this.#byText.delete(oldest)
      this.#characters -= oldest.length
    }
  }
}

const NOTHING: AnyMongoAbility = createMongoAbility([])

/** An ability that nobody can change: that would change the rights of others. */
function sealed(rules: readonly unknown[]): Standing {
  const unsound = flawInRules(rules)
  if (unsound !== undefined) return { asked: NOTHING, flaw: unsound }
  freeze(rules)
  const ability: AnyMongoAbility = createMongoAbility(rules as never)
  Object.defineProperty(ability, 'update', { value: refuseUpdate })
  const standing = { asked: ability, flaw: flawInCompiled(ability) }
  standings.set(ability, standing)
  return standing
}

function refuseUpdate(): never {
  throw new TypeError('This ability is shared by all peers with equal rules. To change the rights of one peer, let abilities(...) return an ability, made with createMongoAbility, and update that.')
}

/**
 * The ability that decides for a peer, as its rules are now.
 *
 * @param ability the fact `peer.ability`, or what {@link audienceOf} made of it
 * @throws PolicyFault when there is none, or when its rules are not sound
 */
export function decidingAbility(ability: unknown, policy: string): AnyMongoAbility {
  const standing = standings.get(ability as object) ?? firstStanding(ability)
  if (standing === undefined) throw new PolicyFault(`needs the fact peer.ability, a CASL MongoAbility, and found ${describe(ability)}. Declare use(abilities(...)) above it`, policy)
  if (standing.flaw !== undefined) throw new PolicyFault(standing.flaw, policy)
  return standing.asked
}

/** What a delivery to this peer depends on, equal for equal rules. Never throws: what is wrong with an ability is said where it is to decide. */
export function audienceOf(ability: unknown): unknown {
  const standing = standings.get(ability as object) ?? firstStanding(ability)
  return standing === undefined || standing.flaw !== undefined ? ability : standing.asked
}

/** An action on a type of subject. */
export interface Right {
  readonly action: string
  readonly subject: string
}

/** As many as a client is told of. */
const MAX_TOLD = 100

/** What a peer with the ability `before` could do to some subject of a type, and with `after` cannot do to any. */
export function lostRights(before: unknown, after: unknown): readonly Right[] {
  if (before === after || !isAbility(before)) return []
  const lost = new Map<string, Right>()
  for (const { inverted, action, subject } of before.rules) {
    if (inverted === true) continue
    const actions: readonly string[] = [action].flat()
    const types = [subject].flat() as readonly (string | { readonly name?: string })[]
    for (const [each, type] of actions.flatMap((one) => types.map((other) => [one, other] as const))) {
      const name = typeof type === 'string' ? type : type.name
      if (name === undefined || lost.size >= MAX_TOLD || !before.can(each, type) || (isAbility(after) && after.can(each, type))) continue
      lost.set(JSON.stringify([each, name]), { action: each, subject: name })
    }
  }
  return [...lost.values()]
}

function firstStanding(ability: unknown): Standing | undefined {
  return isAbility(ability) ? standingOf(ability, undefined) : undefined
}

function standingOf(ability: AnyMongoAbility, share: SharedAbilities | undefined): Standing {
  const known = standings.get(ability)
  if (known !== undefined) return known
  const standing = weigh(ability, share)
  standings.set(ability, standing)
  if (!Object.isFrozen(ability)) {
    // An update that throws half-way leaves rules of which nobody knows which hold.
    ability.on('update', () => void standings.set(ability, { asked: ability, flaw: 'the last update() of this ability did not finish' }))
    ability.on('updated', () => void standings.set(ability, weigh(ability, share)))
  }
  return standing
}

/** Never throws: the code that calls `update` has nothing to do with the gate. */
function weigh(ability: AnyMongoAbility, share: SharedAbilities | undefined): Standing {
  try {
    const text = share === undefined ? undefined : textOfRules(ability.rules)
    const twin = text === undefined ? undefined : share?.shared(text)
    if (twin !== undefined && isBuiltLike(ability, twin.asked)) return { asked: twin.asked, flaw: twin.flaw ?? flawInIndex(ability) }
    return { asked: ability, flaw: flawInRules(ability.rules) ?? flawInCompiled(ability) }
  } catch (error) {
    return { asked: ability, flaw: `its rules cannot be read: ${String(error)}` }
  }
}

function isAbility(value: unknown): value is AnyMongoAbility {
  const { rules, possibleRulesFor, on } = (typeof value === 'object' && value !== null ? value : {}) as Partial<Record<keyof AnyMongoAbility, unknown>>
  return Array.isArray(rules) && typeof possibleRulesFor === 'function' && typeof on === 'function'
}

function freeze(value: unknown): void {
  if (typeof value !== 'object' || value === null) return
  Object.values(value).forEach(freeze)
  Object.freeze(value)
}

/**
 * Whether an ability with the same rules was made with the same options: none. CASL 7 keeps them in private members whose names change with
 * each build, so all members are compared. Anything unexpected answers no, which costs time and nothing else.
 */
function isBuiltLike(ability: object, twin: object): boolean {
  if (Object.getPrototypeOf(ability) !== Object.getPrototypeOf(twin)) return false
  return Reflect.ownKeys(ability).every((key) => isAlike((ability as Record<PropertyKey, unknown>)[key], (twin as Record<PropertyKey, unknown>)[key]))
}

function isAlike(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true
  // The rules, which are equal; the index made of them; and listeners, of which the twin may have none.
  if (Array.isArray(a)) return Array.isArray(b)
  if (a instanceof Map) return b === undefined || b instanceof Map
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false
  const keys = Reflect.ownKeys(a)
  return keys.length === Reflect.ownKeys(b).length && keys.every((key) => Object.is((a as Record<PropertyKey, unknown>)[key], (b as Record<PropertyKey, unknown>)[key]))
}
