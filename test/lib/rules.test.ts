import { createMongoAbility } from '@casl/ability'
import { describe, expect, test } from '@jest/globals'
import { flawInCompiled, flawInIndex, flawInRules, isNothing, textOfRules } from '../../lib/rules.ts'

// What is a flaw is shown one by one in the tests of the policy `abilities`.

const sound = [{ action: 'read', subject: 'Note', conditions: { owner: { $in: ['a'] } } }]

describe('a flaw', () => {
  test('is none where there is none', () => {
    expect(flawInRules(sound)).toBeUndefined()
    expect(flawInCompiled(createMongoAbility(sound))).toBeUndefined()
    expect(flawInIndex(createMongoAbility(sound))).toBeUndefined()
  })

  test('is told with the number of its rule', () => {
    expect(flawInRules([...sound, ...sound, { action: 'read' }])).toMatch(/^rule 2: `subject`/)
    expect(flawInCompiled(createMongoAbility([...sound, { action: 'read', subject: 'Note', conditions: { a: { $b: 1 } } }]))).toMatch(/^rule 1: "\$b"/)
  })

  test('is a rule in the list that the ability does not obey', () => {
    const ability = createMongoAbility([...sound])
    ability.rules.push({ action: 'delete', subject: 'Note' })
    expect(flawInIndex(ability)).toMatch(/^rule 1: this ability does not obey it/)
    ability.update(ability.rules)
    expect(flawInIndex(ability)).toBeUndefined()
  })
})

describe('the text of rules', () => {
  test('leaves out the members for which undefined is the same as absent, and no others', () => {
    const rule = { action: 'read', subject: 'Note' }
    expect(textOfRules([{ ...rule, inverted: undefined, reason: undefined }])).toBe(textOfRules([rule]))
    for (const member of ['conditions', 'fields', 'subject', 'action', 'else']) expect(textOfRules([{ ...rule, [member]: undefined }])).toBeUndefined()
  })

  test('does not exist where a rule has a pattern, and does where a value only looks like one', () => {
    expect(textOfRules([{ action: 'read', subject: 'Note', conditions: { a: { $regex: 'b' } } }])).toBeUndefined()
    expect(textOfRules([{ action: 'read', subject: 'Note', conditions: { a: '"$regex":' } }])).toBeDefined()
  })
})

test('conditions limit nothing when they are absent or empty', () => {
  for (const conditions of [undefined, null, {}]) expect(isNothing(conditions)).toBe(true)
  for (const conditions of [{ a: null }, () => true, new (class {})()]) expect(isNothing(conditions)).toBe(false)
})
