import type { AnyMongoAbility, Rule } from '@casl/ability'
import { canonicalText, isPlain } from './plain.ts'

/** The members of a CASL rule. One that CASL does not know, such as `condition`, would leave the rule without any. */
const MEMBERS = new Set(['action', 'subject', 'fields', 'conditions', 'inverted', 'reason'])
/** Comparisons of whole values: an object or an array among their operands is compared by identity, and so matches nothing that was parsed. */
const BY_VALUE = new Set(['eq', 'ne', 'in', 'nin', 'all'])
/** Deeper conditions than this are refused: nobody writes them, and a circle has no end. */
const MAX_DEPTH = 32

/** @returns what is wrong with the first unsound rule, as CASL would silently take it another way than it was meant; undefined when all are sound */
export function flawInRules(rules: readonly unknown[]): string | undefined {
  return firstFlaw(rules, flawInRule)
}

function flawInRule(rule: unknown): string | undefined {
  if (typeof rule !== 'object' || rule === null) return 'is not an object such as { action, subject }'
  const unknown = Object.keys(rule).find((key) => !MEMBERS.has(key))
  if (unknown !== undefined) return `has a member "${unknown}", which means nothing to CASL. The members of a rule are ${[...MEMBERS].join(', ')}`
  const { action, subject, fields, conditions } = rule as Record<string, unknown>
  if (!isListOf(action, isName)) return '`action` is not a name, nor a list of names'
  if (!isListOf(subject, (type) => isName(type) || typeof type === 'function')) return "`subject` is not a type, nor a list of types. To mean every type, write subject: 'all'"
  if (given(rule, 'fields') && !isListOf(fields, isName)) return '`fields` is not a name, nor a list of names. To mean every field, leave it out'
  if (!given(rule, 'conditions')) return undefined
  if (!isPlain(conditions)) return '`conditions` is not a plain object. To mean every resource, leave it out'
  return flawInValue(conditions, 'conditions', 0)
}

/** A stored rule says `null` for what it does not limit. `undefined` is never said, only missed: the claim it was read from was not there. */
function given(rule: object, member: string): boolean {
  return Object.hasOwn(rule, member) && (rule as Record<string, unknown>)[member] !== null
}

const isName = (value: unknown): boolean => typeof value === 'string' && value !== ''

function isListOf(value: unknown, isOne: (item: unknown) => boolean): boolean {
  return Array.isArray(value) ? value.length > 0 && Array.from(value as unknown[]).every(isOne) : isOne(value)
}

/** What no comparison can hold, at any depth. CASL would take `{ authorId: undefined }` to match whatever lacks the field, and `{ $lt: NaN }` to match everything. */
function flawInValue(value: unknown, path: string, depth: number): string | undefined {
  if (value === undefined) return `${path} is undefined, which would match a resource that lacks the field`
  if (typeof value === 'function' || typeof value === 'symbol') return `${path} is a ${typeof value}, which no field holds`
  if (Number.isNaN(value) || (value instanceof Date && Number.isNaN(value.getTime()))) return `${path} is not a number, or not a date, that anything can be compared with`
  if (!Array.isArray(value) && !isPlain(value)) return undefined
  if (depth === MAX_DEPTH) return `${path} is nested too deeply`
  for (const [key, inner] of Array.isArray(value) ? Array.from(value as unknown[]).entries() : Object.entries(value)) {
    const flaw = flawInValue(inner, `${path}.${key}`, depth + 1)
    if (flaw !== undefined) return flaw
  }
  return undefined
}

/**
 * Looks at what the ability has made of its rules. CASL 7 compares a `$` word it does not know as if it were a field or a value: a `cannot`
 * with such a condition never holds.
 *
 * @param ability one whose rules have no flaw of their own
 */
export function flawInCompiled(ability: AnyMongoAbility): string | undefined {
  const compiled = compiledRules(ability)
  return firstFlaw(ability.rules, (raw) => {
    const rule = compiled.get(raw as object)
    return rule === undefined ? NOT_OBEYED : isNothing(rule.conditions) ? undefined : flawInConditions(rule)
  })
}

/** Whether the ability obeys each rule in its list. One builder that builds two abilities gives both the same list, of which the first obeys a part. */
export function flawInIndex(ability: AnyMongoAbility): string | undefined {
  const compiled = compiledRules(ability)
  return firstFlaw(ability.rules, (raw) => (compiled.has(raw as object) ? undefined : NOT_OBEYED))
}

const NOT_OBEYED = 'this ability does not obey it. Either its list of rules was changed without update(), or an alias does not resolve to itself too'

function firstFlaw(rules: readonly unknown[], find: (rule: unknown) => string | undefined): string | undefined {
  for (let index = 0; index < rules.length; index++) {
    const flaw = find(rules[index])
    if (flaw !== undefined) return `rule ${index}: ${flaw}`
  }
  return undefined
}

/** CASL shows a compiled rule only to who asks for its action and its subject. */
function compiledRules(ability: AnyMongoAbility): Map<object, Rule<any, any>> {
  const found = new Map<object, Rule<any, any>>()
  for (const raw of ability.rules) {
    if (found.has(raw)) continue
    const [action, subject] = [raw.action, raw.subject].map((value: unknown) => (Array.isArray(value) ? (value[0] as unknown) : value))
    for (const rule of ability.possibleRulesFor(action, subject) as readonly Rule<any, any>[]) found.set(rule.origin, rule)
  }
  return found
}

function flawInConditions(rule: Rule<any, any>): string | undefined {
  let tree: unknown
  try {
    tree = rule.ast
  } catch (error) {
    return `its conditions cannot be read: ${(error as Error).message}`
  }
  if (!isNode(tree)) return 'its conditions cannot be checked: the conditionsMatcher of this ability shows no syntax tree. Build the ability with createMongoAbility or buildMongoQueryMatcher'
  return isEmpty(tree) ? 'its conditions say nothing, and so hold for every resource' : flawInTree(tree)
}

/** A node of the syntax tree of a condition: a comparison has a field, a compound one has nodes for its value. */
interface Node {
  readonly operator: string
  readonly value: unknown
  readonly field?: string
}

function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null && !isPlain(value) && typeof (value as Node).operator === 'string' && 'value' in value
}

function isEmpty({ operator, value }: Node): boolean {
  return operator === 'and' && Array.isArray(value) && value.length === 0
}

function flawInTree({ operator, value, field }: Node): string | undefined {
  const word = field?.split('.').find((part) => part.startsWith('$'))
  if (word !== undefined) return unknownOperator(word)
  if (isNode(value)) return flawInTree(value)
  if (field === undefined) return Array.isArray(value) ? first(value, (inner) => (isNode(inner) ? flawInTree(inner) : undefined)) : undefined
  const listed = Array.isArray(value) && operator !== 'eq' && operator !== 'ne'
  return listed ? first(value, (item) => flawInOperand(operator, item, field)) : flawInOperand(operator, value, field)
}

function flawInOperand(operator: string, value: unknown, field: string): string | undefined {
  if (isPlain(value)) {
    const word = Object.keys(value).find((key) => key.startsWith('$'))
    if (word !== undefined) return unknownOperator(word)
  }
  if (BY_VALUE.has(operator) && (isPlain(value) || Array.isArray(value))) {
    return `the condition on "${field}" compares a whole ${Array.isArray(value) ? 'list' : 'object'}, which CASL does by identity and so never matches. Name its parts, as in { 'author.id': 7 }, or use $in or $all`
  }
  return undefined
}

function unknownOperator(word: string): string {
  return `"${word}" is no operator of this ability, and CASL would compare it as a value. Write "or" as two rules, "and" as one condition with both fields, "not" as a \`cannot\` rule; or build the ability with a conditionsMatcher that knows "${word}"`
}

function first<T>(items: readonly T[], find: (item: T) => string | undefined): string | undefined {
  for (const item of items) {
    const found = find(item)
    if (found !== undefined) return found
  }
  return undefined
}

/** Whether conditions limit nothing: absent, or `{}`, which since CASL 7 means the same. */
export function isNothing(conditions: unknown): boolean {
  return !conditions || (isPlain(conditions) && Object.keys(conditions).length === 0)
}

/**
 * One text for all equal rules; undefined when there is none. Rules with a `$regex` count as having none: a pattern is never shared.
 * Rules of which one has a flaw never have the text of rules without.
 */
export function textOfRules(rules: readonly unknown[]): string | undefined {
  const text = canonicalText(rules.some(saysNothing) ? rules.map(withoutSilence) : rules)
  return text?.includes('"$regex":') === true ? undefined : text
}

// In these two members, and in no other, `undefined` is the same as absent.
function saysNothing(rule: unknown): boolean {
  return isPlain(rule) && (('inverted' in rule && rule['inverted'] === undefined) || ('reason' in rule && rule['reason'] === undefined))
}

function withoutSilence(rule: unknown): unknown {
  if (!saysNothing(rule)) return rule
  const { inverted, reason, ...rest } = rule as Record<string, unknown>
  return { ...rest, ...(inverted === undefined ? {} : { inverted }), ...(reason === undefined ? {} : { reason }) }
}
