import { describe, expect, test } from '@jest/globals'
import { every, permit, unordered } from '../../lib/combine.ts'
import { Scope } from '../../lib/declare.ts'
import { ConfigError } from '../../lib/errors.ts'
import { harness } from '../../lib/testing.ts'

const hook = (): void => {}
const root = (): Scope => new Scope(undefined, undefined, {})
const inChat = (): Scope => new Scope('/chat', undefined, {})

describe('use', () => {
  test('puts each hook of a policy at its own stage, in order of declaration', () => {
    const scope = root()
    scope.use({ name: 'a', connect: hook, event: hook })
    scope.use({ name: 'b', event: hook, deliver: hook, observe: hook })
    const names = (stage: 'request' | 'connect' | 'event' | 'join' | 'deliver'): string[] => scope[stage].map(({ policy }) => policy)
    expect([names('request'), names('connect'), names('event'), names('join'), names('deliver')]).toEqual([[], ['a'], ['a', 'b'], [], ['b']])
  })

  test('takes a policy that only observes', () => {
    expect(() => root().use({ name: 'log', observe: hook })).not.toThrow()
  })

  test('refuses a policy that does nothing at all', () => {
    expect(() => root().use({ name: 'idle' })).toThrow(/policy "idle" has no hook\. Give it one of request, connect, event, join, deliver/)
  })

  test('refuses a bare hook: its stage cannot be known', () => {
    expect(() => root().use(hook)).toThrow(ConfigError)
  })

  test('refuses a request policy in a namespace, and says where it belongs', () => {
    const policy = { name: 'origin', request: hook }
    expect(() => inChat().use(policy)).toThrow(/policy "origin" has only a request hook.*Declare it on the gate itself/)
    expect(() => root().use(policy)).not.toThrow()
  })
})

describe('a policy at a stage it has no hook for is refused, and told where it belongs', () => {
  const joins = { name: 'rooms', join: hook }
  const both = { name: 'both', connect: hook, deliver: hook }
  test.each<[string, (scope: Scope) => void, RegExp]>([
    ['event', (scope) => scope.addEvent(0, 'x', [joins]), /^event: policy "rooms" has no event hook\. It belongs at \.join\(\.\.\.\), or in use/],
    ['join', (scope) => scope.addRoom(0, 'r', [both]), /^join: policy "both" has no join hook\. It belongs at \.connect\(\.\.\.\) or \.deliver\(\.\.\.\), or in use/],
    ['deliver', (scope) => scope.addDelivery('deliver', 0, 'x', [joins]), /^deliver: policy "rooms" has no deliver hook/],
    ['reply', (scope) => scope.addDelivery('reply', 0, 'x', [joins]), /^reply: policy "rooms" has no deliver hook/],
    ['connect', (scope) => scope.add('connect', [joins]), /^connect: policy "rooms" has no connect hook/],
    ['request', (scope) => scope.add('request', [joins]), /^request: policy "rooms" has no request hook/],
    ['an observer', (scope) => scope.add('connect', [{ name: 'log', observe: hook }]), /"log" has no connect hook\. It observes decisions: declare it with use/],
    ['no hook', (scope) => scope.add('connect', [{ name: 'idle' }]), /It has no hook at all/],
    ['a combination', (scope) => scope.addEvent(0, 'x', [every(permit('a', 'join', () => true))]), /"every\(a\)" has no event hook\. It belongs at \.join/],
    ['unordered', (scope) => scope.addRoom(0, 'r', [unordered()]), /"unordered" has no join hook/],
  ])('%s', (_where, declare, message) => {
    expect(() => declare(root())).toThrow(ConfigError)
    expect(() => declare(root())).toThrow(message)
  })
})

describe('items', () => {
  test('may be bare hooks, reported by their name or by their place', () => {
    const scope = root()
    scope.addEvent(0, 'x', [function sameTenant() {}, () => {}])
    expect(scope.events[0]!.items.map(({ policy }) => policy)).toEqual(['sameTenant', 'event'])
  })

  test('may be a hook by audience, at deliver', () => {
    const scope = root()
    scope.addDelivery('deliver', 0, 'x', [{ audience: hook, hook }])
    expect(scope.deliveries[0]!.items.map(({ policy }) => policy)).toEqual(['deliver'])
    expect(() => root().addEvent(0, 'x', [{ audience: hook, hook }])).toThrow(ConfigError)
  })

  test.each([[undefined], [null], [7], ['origin'], [[hook]]])('%p is none', (item) => {
    expect(() => root().addEvent(0, 'x', [item])).toThrow(ConfigError)
    expect(() => root().add('connect', [item])).toThrow(ConfigError)
    expect(() => root().addDelivery('deliver', 0, 'x', [item])).toThrow(ConfigError)
  })
})

describe('names', () => {
  test('may be a list, and each is declared', () => {
    const scope = root()
    scope.addEvent(3, ['a', 'b:*'], [hook])
    expect(scope.events.map(({ pattern, order }) => [pattern.text, order])).toEqual([
      ['a', 3],
      ['b:*', 3],
    ])
  })

  test('must be there', () => {
    for (const names of [[], undefined, '', [''], ['a', 7]]) {
      expect(() => root().addEvent(0, names, [])).toThrow(ConfigError)
      expect(() => root().addDelivery('deliver', 0, names, [])).toThrow(ConfigError)
    }
    expect(() => root().addRoom(0, undefined, [])).toThrow(ConfigError)
  })
})

describe('a scope', () => {
  test('of the gate itself holds everywhere; one of a namespace there', () => {
    expect(root().matches('/anything')).toBe(true)
    expect(inChat().matches('/chat')).toBe(true)
    expect(inChat().matches('/chat/x')).toBe(false)
    expect(new Scope(/^\/tenant-\d+$/, undefined, {}).matches('/tenant-7')).toBe(true)
  })
})

describe('of', () => {
  const of = (name: unknown) => () => harness((gate) => gate.of(name as string))

  test.each([[''], [undefined], [7], [{}], [/x/g], [/x/y]])('%p is no name of a namespace', (name) => {
    expect(of(name)).toThrow(ConfigError)
  })

  test('takes a name without its slash, as Socket.IO does', async () => {
    const probe = harness((gate) => gate.of('chat').event('x'))
    expect((await probe.event('x', undefined, { namespace: '/chat' })).outcome).toBe('admitted')
  })
})
