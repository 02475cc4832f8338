import { AbilityBuilder, buildMongoQueryMatcher, createAliasResolver, createMongoAbility, subject, type AnyMongoAbility, type MongoAbility } from '@casl/ability'
import { unpackRules } from '@casl/ability/extra'
import { describe, expect, jest, test } from '@jest/globals'
import { ConfigError, deny, PolicyFault } from 'portcullis'
import { abilities, authorize } from 'portcullis/policies'
import { admitted, denied, faulted, harness } from 'portcullis/testing'

const rules = [
  { action: 'enter', subject: 'Chat' },
  { action: 'read', subject: 'Note', conditions: { owner: { $in: ['alice', 'team'] } } },
]

/** A matcher that was taught one more operator. */
const knowsOr = buildMongoQueryMatcher({ $or: { type: 'compound' } }, { or: (node: any, object: unknown, { interpret }: any) => node.value.some((part: unknown) => interpret(part, object)) })

// structuredClone would make objects of another realm here, which CASL reads as values.
const copy = <T>(value: T): T => JSON.parse(JSON.stringify(value))

/** What a peer with these rights is given, or why it is not. */
const connect = (rights: unknown) => harness(abilities(() => rights as never)).connect()

/** How many decisions one broadcast takes for peers whose rights are these, in this order. */
async function decisionsFor(...rights: readonly unknown[]): Promise<number> {
  const left = [...rights]
  const policy = abilities(() => left.shift() as never)
  const peers: object[] = []
  for (const _ of rights) peers.push((await harness(policy).connect()).facts as object)
  const resource = jest.fn(({ data }: { data: object }) => data)
  const results = await harness(authorize('read', 'Note', resource)).broadcast('note', { owner: 'team' }, peers)
  expect(results.map(({ outcome }) => outcome)).toEqual(rights.map(() => 'admitted'))
  return resource.mock.calls.length
}

async function flawOf(rights: unknown): Promise<string> {
  const result = await connect(rights)
  expect(result).toEqual(faulted('INTERNAL'))
  expect(result.policy).toBe('abilities')
  expect(result.error).toBeInstanceOf(PolicyFault)
  return (result.error as Error).message
}

describe('what a peer is given', () => {
  test('an ability that says what its rules say', async () => {
    const { facts } = await connect(rules)
    expect(facts.ability.can('enter', 'Chat')).toBe(true)
    expect(facts.ability.can('read', subject('Note', { owner: 'alice' }))).toBe(true)
    expect(facts.ability.can('read', subject('Note', { owner: 'bob' }))).toBe(false)
  })

  test('follows from what earlier policies have proved', async () => {
    const proved = { name: 'proved', connect: (_: unknown, next: (facts: object) => void) => next({ principal: { subject: 'bob' } }) }
    const define = ({ principal }: { principal: { subject: string } }) => [{ action: 'read', subject: 'Note', conditions: { owner: principal.subject } }]
    const { facts } = await harness([proved, abilities(define)]).connect()
    expect(facts.ability.rules).toEqual([{ action: 'read', subject: 'Note', conditions: { owner: 'bob' } }])
  })

  test('is there in the same tick when the function is synchronous, and after it when it is not', async () => {
    expect(await connect(rules)).toEqual(admitted({ sync: true }))
    const late = await harness(abilities(async () => rules)).connect()
    expect(late.sync).toBe(false)
    expect(late.facts.ability.can('enter', 'Chat')).toBe(true)
  })

  test('is the very ability that was made, whatever it was made with', async () => {
    const own = createMongoAbility(rules)
    expect((await connect(own)).facts.ability).toBe(own)
  })

  test('nothing, when the function says so, throws or rejects', async () => {
    expect(await harness(abilities(() => deny('STEP_UP_REQUIRED'))).connect()).toEqual(denied('STEP_UP_REQUIRED'))
    expect(await harness(abilities((): never => { throw new Error('no database') })).connect()).toEqual(faulted('INTERNAL'))
    expect(await harness(abilities(async (): Promise<never> => { throw new Error('no database') })).connect()).toEqual(faulted('INTERNAL'))
  })

  test.each<unknown>([undefined, null, true, 'manage all', {}, { rules }, new Map()])('nothing, when the function gives %p', async (given) => {
    expect(await flawOf(given)).toContain('takes CASL rules or a MongoAbility')
  })

  test('no rights at all, when there are no rules', async () => {
    const { facts } = await connect([])
    expect(facts.ability.can('read', 'all')).toBe(false)
  })
})

describe('one ability for equal rules', () => {
  test('is shared, also when they were written in another order of keys', async () => {
    const policy = abilities(({ which }: { which: number }) => [rules, copy(rules), [rules[0]!, { conditions: rules[1]!.conditions, subject: 'Note', action: 'read' }]][which]!)
    const given: unknown[] = []
    for (const which of [0, 1, 2]) {
      const before = { name: 'which', connect: (_: unknown, next: (facts: object) => void) => next({ which }) }
      given.push((await harness([before, policy]).connect()).facts.ability)
    }
    expect(given[1]).toBe(given[0])
    expect(given[2]).toBe(given[0])
  })

  test('makes one decision for them all', async () => {
    expect(await decisionsFor(rules, copy(rules), [...rules])).toBe(1)
  })

  test('makes one decision for abilities that were made of equal rules, too', async () => {
    expect(await decisionsFor(createMongoAbility(rules), createMongoAbility(copy(rules)), rules)).toBe(1)
  })

  test('is the same whether a member says undefined or is left out, where the two mean the same', async () => {
    expect(await decisionsFor(rules, rules.map((rule) => ({ ...rule, inverted: undefined, reason: undefined })))).toBe(1)
  })

  test('is not affected by a later change to what was handed over', async () => {
    const mine = copy(rules)
    const { facts } = await connect(mine)
    mine[1]!.conditions!.owner.$in.push('mallory')
    mine.push({ action: 'manage', subject: 'all' })
    expect(facts.ability.can('read', subject('Note', { owner: 'mallory' }))).toBe(false)
    expect(facts.ability.can('delete', 'Note')).toBe(false)
  })

  test('can be changed by nobody', async () => {
    const { facts } = await connect(rules)
    expect(() => facts.ability.update([{ action: 'manage', subject: 'all' }])).toThrow(/shared by all peers with equal rules/)
    expect(() => facts.ability.rules.push({ action: 'manage', subject: 'all' })).toThrow(TypeError)
    expect(() => facts.ability.rules[1].conditions.owner.$in.push('mallory')).toThrow(TypeError)
    expect(facts.ability.can('delete', 'Note')).toBe(false)
  })

  test('is forgotten when too many others have come since, and made anew', async () => {
    let turn: unknown = rules
    const policy = abilities(() => turn as never)
    const next = async () => (await harness(policy).connect()).facts.ability as unknown
    const first = await next()
    expect(await next()).toBe(first)
    for (let i = 0; i < 60; i++) {
      turn = [{ action: 'read', subject: `${i}`.padEnd(10_000, '.') }]
      await next()
    }
    turn = rules
    const again = await next()
    expect(again).not.toBe(first)
    expect(await next()).toBe(again)
  })
})

describe('what is never one decision', () => {
  const noteOf = (owner: unknown) => [{ action: 'read', subject: 'Note', conditions: { owner } }]
  const pairs: [string, unknown, unknown][] = [
    ['regular expressions', noteOf(/^t/), noteOf(/^te/)],
    ['equal regular expressions', noteOf(/^t/), noteOf(/^t/)],
    ['patterns', noteOf({ $regex: '^t' }), noteOf({ $regex: '^te' })],
    ['equal patterns', noteOf({ $regex: '^t' }), noteOf({ $regex: '^t' })],
    ['dates', [...noteOf('team'), { action: 'x', subject: 'y', conditions: { at: new Date(1) } }], [...noteOf('team'), { action: 'x', subject: 'y', conditions: { at: new Date(2) } }]],
    ['a date and its text', noteOf({ $in: ['team', new Date(0)] }), noteOf({ $in: ['team', new Date(0).toJSON()] })],
    ['instances', noteOf({ $ne: new (class Id { toJSON = () => 'a' })() }), noteOf({ $ne: new (class Id { toJSON = () => 'a' })() })],
    ['an infinite number and null', noteOf({ $ne: Infinity }), noteOf({ $ne: null })],
    ['the two zeros', noteOf({ $ne: -0 }), noteOf({ $ne: 0 })],
    ['big numbers', noteOf({ $ne: 1n }), noteOf({ $ne: 2n })],
    ['types given by class', [...noteOf('team'), { action: 'x', subject: class A {} }], [...noteOf('team'), { action: 'x', subject: class B {} }]],
    ['a hidden property', noteOf(Object.defineProperty({ $eq: 'team' }, 'extra', { value: 1 })), noteOf({ $eq: 'team' })],
    ['a list with more than items', noteOf({ $in: Object.assign(['team'], { extra: 1 }) }), noteOf({ $in: ['team'] })],
    ['what is permitted and what is forbidden', noteOf('team'), [...noteOf('team'), { action: 'read', subject: 'Note', conditions: { owner: 'bob' }, inverted: true }]],
    ['text and what looks like it', noteOf({ $in: ['team', '1'] }), noteOf({ $in: ['team', 1] })],
  ]
  test.each(pairs)('%s', async (_, one, other) => {
    expect(await decisionsFor(one, other)).toBe(2)
    expect(await decisionsFor(createMongoAbility(one as never), createMongoAbility(other as never))).toBe(2)
  })

  const own: [string, AnyMongoAbility][] = [
    ['a fieldMatcher', createMongoAbility(rules, { fieldMatcher: () => () => true })],
    ['a conditionsMatcher', createMongoAbility(rules, { conditionsMatcher: knowsOr })],
    ['a detectSubjectType', createMongoAbility(rules, { detectSubjectType: () => 'Note' })],
    ['a resolveAction', createMongoAbility(rules, { resolveAction: createAliasResolver({ modify: ['read'] }) })],
    ['another anyAction', createMongoAbility(rules, { anyAction: 'everything' })],
    ['another anySubjectType', createMongoAbility(rules, { anySubjectType: 'anything' })],
    ['a class of its own', Object.setPrototypeOf(createMongoAbility(rules), Object.create(Object.getPrototypeOf(createMongoAbility())))],
    ['a method of its own', Object.assign(createMongoAbility(rules), { can: () => false })],
  ]
  test.each(own)('an ability made with %s, and another of equal rules', async (_, ability) => {
    expect(await decisionsFor(createMongoAbility(rules), ability, rules)).toBe(2)
  })

  test('two policies', async () => {
    const [one, other] = [await connect(rules), await connect(rules)]
    expect(one.facts.ability).not.toBe(other.facts.ability)
  })
})

describe('rules that CASL would take another way than they are meant', () => {
  const read = (conditions: unknown) => ({ action: 'read', subject: 'Note', conditions })
  const unsound: [string, unknown, RegExp][] = [
    ['a claim that is missing', read({ owner: undefined }), /rule 1: conditions\.owner is undefined/],
    ['one compared by an operator', read({ owner: { $eq: undefined } }), /conditions\.owner\.\$eq is undefined/],
    ['one among several', read({ owner: { $in: ['a', undefined] } }), /conditions\.owner\.\$in\.1 is undefined/],
    ['a hole in a list', read({ owner: { $in: [, 'a'] } }), /conditions\.owner\.\$in\.0 is undefined/],
    ['one that must not be equal', read({ owner: { $ne: undefined } }), /undefined/],
    ['one deep inside', read({ parts: { $elemMatch: { author: { $eq: undefined } } } }), /undefined/],
    ['conditions that are missing as a whole', { action: 'read', subject: 'Note', conditions: undefined }, /`conditions` is not a plain object/],
    ['fields that are missing', { action: 'read', subject: 'Note', fields: undefined }, /`fields` is not a name/],
    ['a field without a name', { action: 'read', subject: 'Note', fields: ['a', ''] }, /`fields` is not a name/],
    ['no fields at all', { action: 'read', subject: 'Note', fields: [] }, /`fields` is not a name/],
    ['a type that is missing', { action: 'read', subject: undefined }, /write subject: 'all'/],
    ['a rule about nothing in particular', { action: 'read' }, /write subject: 'all'/],
    ['no types at all', { action: 'read', subject: [] }, /`subject` is not a type/],
    ['an action that is missing', { subject: 'Note' }, /`action` is not a name/],
    ['no actions at all', { action: [], subject: 'Note' }, /`action` is not a name/],
    ['a slip of the pen that frees a rule of its conditions', { action: 'read', subject: 'Note', condition: { owner: 'a' } }, /unknown|means nothing to CASL/],
    ['what is not a number', read({ size: { $lt: NaN } }), /not a number/],
    ['what is not a date', read({ at: { $lte: new Date('never') } }), /not a date/],
    ['a function', read({ owner: () => 'a' }), /is a function/],
    ['a symbol', read({ owner: Symbol('a') }), /is a symbol/],
    ['conditions that are a list', read([{ owner: 'a' }]), /`conditions` is not a plain object/],
    ['conditions that are text', read('{"owner":"a"}'), /`conditions` is not a plain object/],
    ['no rule', null, /is not an object/],
    ['$or', read({ $or: [{ owner: 'a' }, { team: 'b' }] }), /"\$or" is no operator/],
    ['$and', read({ $and: [{ owner: 'a' }] }), /"\$and" is no operator/],
    ['$nor', read({ $nor: [{ owner: 'a' }] }), /"\$nor" is no operator/],
    ['$not', read({ owner: { $not: { $eq: 'a' } } }), /"\$not" is no operator/],
    ['$where', read({ $where: 'true' }), /"\$where" is no operator/],
    ['a misspelt operator', read({ owner: { $inn: ['a'] } }), /"\$inn" is no operator/],
    ['one deep inside another', read({ parts: { $elemMatch: { author: { $equals: 'a' } } } }), /"\$equals" is no operator/],
    ['one at the top of another', read({ parts: { $elemMatch: { $or: [{ author: 'a' }] } } }), /"\$or" is no operator/],
    ['one in a path', read({ 'owner.$or': 'a' }), /"\$or" is no operator/],
    ['one beside a known one', read({ owner: { $ne: 'a', $foo: 1 } }), /cannot be read/],
    ['one among values', read({ owner: { $in: [{ $foo: 1 }] } }), /"\$foo" is no operator/],
    ['a whole object as a value', read({ author: { id: 7 } }), /compares a whole object/],
    ['an object among values', read({ author: { $in: [{ id: 7 }] } }), /compares a whole object/],
    ['a whole list as a value', read({ tags: ['a', 'b'] }), /compares a whole list/],
    ['an operand of the wrong kind', read({ owner: { $in: 'a' } }), /cannot be read/],
    ['options without a pattern', read({ owner: { $options: 'i' } }), /say nothing/],
  ]
  describe.each(['can', 'cannot'])('in a `%s`', (kind) => {
    test.each(unsound)('%s', async (_, rule, message) => {
      const given = [rules[0], kind === 'can' || rule === null ? rule : { ...(rule as object), inverted: true }]
      expect(await flawOf(given)).toMatch(message)
    })
  })

  test.each(unsound)('%s, in an ability', async (_, rule, message) => {
    let ability
    try {
      ability = createMongoAbility([rules[0], rule] as never)
    } catch {
      return // CASL refuses a few by itself, where the ability is made.
    }
    expect(await flawOf(ability)).toMatch(message)
  })

  test('are refused each time, remembered or not', async () => {
    const policy = abilities(() => [read({ $or: [{ owner: 'a' }] })])
    expect(await harness(policy).connect()).toEqual(faulted())
    expect(await harness(policy).connect()).toEqual(faulted())
  })

  test('do not pass for the rules they would be taken for', async () => {
    const rights = [[{ action: 'read', subject: 'Note' }], [{ action: 'read', subject: 'Note', conditions: undefined }]]
    const policy = abilities(() => rights.shift() as never)
    expect(await harness(policy).connect()).toEqual(admitted())
    expect(await harness(policy).connect()).toEqual(faulted())
  })

  test('are refused when they go round in a circle', async () => {
    const owner: Record<string, unknown> = {}
    owner['$elemMatch'] = owner
    expect(await flawOf([read({ owner })])).toMatch(/nested too deeply/)
  })

  test('a missing claim in a builder leaves a rule about everything, which is refused', async () => {
    const { can, build } = new AbilityBuilder<MongoAbility>(createMongoAbility)
    ;(can as (action: string, subject: unknown) => unknown)('read', undefined)
    expect(await flawOf(build())).toContain("write subject: 'all'")
  })

  test('a builder that has gone on leaves an ability with rules it does not obey, which is refused', async () => {
    const { can, build } = new AbilityBuilder<MongoAbility>(createMongoAbility)
    can('read', 'Note')
    const reader = build()
    can('manage', 'all')
    expect(reader.can('delete', 'Note')).toBe(false)
    expect(await flawOf(reader)).toMatch(/rule 1: this ability does not obey it/)
  })

  test('an ability whose conditions are functions cannot be checked, and is refused', async () => {
    const ability = createMongoAbility([read({ owner: 'a' }) as never], { conditionsMatcher: () => () => true })
    expect(await flawOf(ability)).toMatch(/no syntax tree/)
  })
})

describe('rules that are sound', () => {
  const sound: [string, unknown][] = [
    ['every operator of CASL', { action: 'read', subject: 'Note', conditions: { a: { $eq: 1, $ne: 2 }, b: { $lt: 1, $lte: 1, $gt: 0, $gte: 0 }, c: { $in: [1], $nin: [2] }, d: { $all: [1] }, e: { $size: 1 }, f: { $regex: 'a', $options: 'i' }, g: { $exists: false }, h: { $elemMatch: { i: 1, j: { $gt: 2 } } }, k: { $elemMatch: { $gt: 1 } } } }],
    ['no conditions, in each way to say so', [{ action: 'read', subject: 'A', conditions: {} }, { action: 'read', subject: 'B', conditions: null, fields: null, inverted: false, reason: null }]],
    ['null as a value', { action: 'read', subject: 'Note', conditions: { deletedAt: null } }],
    ['dotted paths', { action: 'read', subject: 'Note', conditions: { 'author.id': 7 } }],
    ['lists of actions, types and fields', { action: ['read', 'update'], subject: ['Note', 'Room'], fields: ['title', 'author.*'] }],
    ['dates, patterns and identifiers', { action: 'read', subject: 'Note', conditions: { at: { $gt: new Date(0) }, name: /^a/, id: new (class Id { toJSON = () => 'a' })(), big: 1n } }],
  ]
  test.each(sound)('%s', async (_, rule) => {
    const list = Array.isArray(rule) ? rule : [rule]
    expect(await connect(list)).toEqual(admitted())
    expect(await connect(createMongoAbility(list as never))).toEqual(admitted())
  })

  test('packed rules, once unpacked', async () => {
    expect(await connect(unpackRules([['read', 'Note', { owner: 'a' }, 1, 'title', 'because']] as never))).toEqual(admitted())
  })

  test('an operator that the ability was made to know', async () => {
    const conditionsMatcher = knowsOr
    const ability = createMongoAbility([{ action: 'read', subject: 'Note', conditions: { $or: [{ owner: 'a' }, { team: 'b' }] } }], { conditionsMatcher })
    expect((await connect(ability)).facts.ability).toBe(ability)
    const mistaken = createMongoAbility([{ action: 'read', subject: 'Note', conditions: { $or: [{ $nor: [{ owner: 'a' }] }] } }], { conditionsMatcher })
    expect(await flawOf(mistaken)).toMatch(/"\$nor" is no operator/)
  })

  test('aliases, as long as they resolve to themselves too', async () => {
    const modify = [{ action: 'modify', subject: 'Note' }]
    expect(await connect(createMongoAbility(modify, { resolveAction: createAliasResolver({ modify: ['update', 'delete'] }) }))).toEqual(admitted())
    expect(await flawOf(createMongoAbility(modify, { resolveAction: () => ['update', 'delete'] }))).toMatch(/alias/)
  })
})

describe('the policy itself', () => {
  test.each([undefined, null, rules, createMongoAbility([])])('is not made of %p', (given) => {
    expect(() => abilities(given as never)).toThrow(ConfigError)
  })

  test('does nothing but give an ability at connect', async () => {
    expect(Object.keys(abilities(() => rules))).toEqual(['name', 'connect'])
    expect(abilities(() => rules).name).toBe('abilities')
    expect(await harness(abilities(() => rules)).event('anything')).toEqual(admitted())
  })
})
