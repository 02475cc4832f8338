import { createMongoAbility } from '@casl/ability'
import { describe, expect, test } from '@jest/globals'
import { audienceOf, decidingAbility, SharedAbilities } from '../../lib/ability.ts'
import { PolicyFault } from '../../lib/errors.ts'

const rules = [{ action: 'read', subject: 'Note' }]
const decides = (ability: unknown) => decidingAbility(ability, 'test')

describe('the ability that decides', () => {
  test('is the one that all with equal rules share', () => {
    const share = new SharedAbilities()
    const shared = share.take(rules, 'test')
    const own = share.take(createMongoAbility(rules), 'test')
    expect(own).not.toBe(shared)
    expect(decides(own)).toBe(shared)
    expect(decides(shared)).toBe(shared)
    expect(audienceOf(own)).toBe(shared)
  })

  test('follows the updates of an ability, also of one behind a proxy', () => {
    const share = new SharedAbilities()
    for (const own of [createMongoAbility(rules), new Proxy(createMongoAbility(rules), {})]) {
      share.take(own, 'test')
      expect(decides(own).can('read', 'Note')).toBe(true)
      own.update([])
      expect(decides(own).can('read', 'Note')).toBe(false)
      expect(audienceOf(own)).toBe(share.take([], 'test'))
    }
  })

  test('follows an update that bypasses the proxy it was handed over in', () => {
    const own = createMongoAbility(rules)
    const proxy = new Proxy(own, {})
    new SharedAbilities().take(proxy, 'test')
    own.update([])
    expect(decides(proxy).can('read', 'Note')).toBe(false)
  })

  test('is itself when nobody has handed it over', () => {
    const own = createMongoAbility(rules)
    expect(decides(own)).toBe(own)
    expect(audienceOf(own)).toBe(own)
  })

  test('is none where there is no ability, or none that is sound', () => {
    const unsound = createMongoAbility([{ action: 'read', subject: 'Note', conditions: { a: undefined } }])
    for (const given of [undefined, null, 1, 'all', [], {}, rules, unsound]) {
      expect(() => decides(given)).toThrow(PolicyFault)
      expect(audienceOf(given)).toBe(given)
    }
  })
})
