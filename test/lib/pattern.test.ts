import { describe, expect, test } from '@jest/globals'
import { ConfigError } from '../../lib/errors.ts'
import { eventPattern, isNamespaceName, isReservedEvent, matchesEvent, roomPattern } from '../../lib/pattern.ts'

describe('event names', () => {
  const matches = (text: string, name: string): boolean => matchesEvent(eventPattern(text, 'event'), name)

  test('match exactly', () => {
    expect(matches('message:send', 'message:send')).toBe(true)
    for (const name of ['message:sen', 'message:send ', 'Message:send', 'message:send:x', '']) expect(matches('message:send', name)).toBe(false)
  })

  test('match by prefix where they end with *', () => {
    expect(matches('doc:*', 'doc:')).toBe(true)
    expect(matches('doc:*', 'doc:1:edit')).toBe(true)
    expect(matches('doc:*', 'do')).toBe(false)
    expect(matches('*', 'anything')).toBe(true)
    expect(matches('*', '')).toBe(true)
  })

  test('hold no other pattern: what looks like one is text', () => {
    expect(matches('a.c', 'abc')).toBe(false)
    expect(matches('(a+)+$', '(a+)+$')).toBe(true)
    expect(matches('doc:{id}', 'doc:1')).toBe(false)
  })

  test('of Socket.IO and of the gate are never matched by a prefix', () => {
    for (const name of ['error', 'connect', 'connect_error', 'disconnect', 'disconnecting', 'newListener', 'removeListener', 'gate:denied', 'gate:']) {
      expect(matches('*', name)).toBe(false)
    }
    expect(matches('g*', 'gate:closing')).toBe(false)
    expect(matches('g*', 'gated')).toBe(true)
  })

  test.each([[''], [undefined], [7], [null], ['a*b'], ['**'], ['*:send'], ['error'], ['disconnect'], ['gate:denied']])('%j is refused when it is declared', (name) => {
    expect(() => eventPattern(name, 'event')).toThrow(ConfigError)
  })

  test('no client may send are those with a meaning of their own, and all of the gate', () => {
    expect(['disconnecting', 'gate:x', 'connect'].map(isReservedEvent)).toEqual([true, true, true])
    // Socket.IO passes `error` to an application's own listeners.
    expect(['error', 'gate', 'message', '__proto__'].map(isReservedEvent)).toEqual([false, false, false, false])
  })
})

describe('room patterns', () => {
  const holes = (pattern: string, room: string): object | undefined => {
    const found = roomPattern(pattern, 'join').match(room)
    return found === undefined ? undefined : { ...found }
  }

  test('without holes match exactly', () => {
    expect(holes('lobby', 'lobby')).toEqual({})
    expect(holes('lobby', 'lobby2')).toBeUndefined()
    expect(holes('lobby', 'the lobby')).toBeUndefined()
  })

  test('give what stands in their holes', () => {
    expect(holes('doc:{id}', 'doc:42')).toEqual({ id: '42' })
    expect(holes('team:{team}:doc:{doc}', 'team:a b:doc:ü')).toEqual({ team: 'a b', doc: 'ü' })
    expect(holes('{tenant}/{room}', 't1/r1')).toEqual({ tenant: 't1', room: 'r1' })
  })

  test('a hole never matches a separator or a control character, nor nothing', () => {
    for (const room of ['doc:', 'doc:1:secret', 'doc:1/secret', 'doc:1\n', 'doc:\u0000', 'doc:1\u007f', 'doc:\r\nx', ' doc:1', 'xdoc:1']) {
      expect(holes('doc:{id}', room)).toBeUndefined()
    }
  })

  test('a hole is at most 128 characters long', () => {
    expect(holes('doc:{id}', `doc:${'x'.repeat(128)}`)).toBeDefined()
    expect(holes('doc:{id}', `doc:${'x'.repeat(129)}`)).toBeUndefined()
  })

  test('a greedy hole takes separators too, and still no control character', () => {
    expect(holes('files:{path...}', 'files:a/b:c')).toEqual({ path: 'a/b:c' })
    expect(holes('files:{path...}', 'files:')).toBeUndefined()
    expect(holes('files:{path...}', 'files:a\nb')).toBeUndefined()
    expect(holes('files:{path...}', `files:${'x'.repeat(1_025)}`)).toBeUndefined()
  })

  test('match no lone surrogate as two rooms', () => {
    expect(holes('doc:{id}', 'doc:😀')).toEqual({ id: '😀' })
  })

  test('hold no other pattern: what looks like one is text', () => {
    expect(holes('a.c', 'abc')).toBeUndefined()
    expect(holes('a|b', 'a')).toBeUndefined()
    expect(holes('a(b)+[c]?^$\\-{x}', 'a(b)+[c]?^$\\-1')).toEqual({ x: '1' })
  })

  test('holes named like members of Object are only names', () => {
    const params = roomPattern('doc:{__proto__}', 'join').match('doc:1')!
    expect(Object.getPrototypeOf(params)).toBeNull()
    expect(Object.keys(params)).toEqual(['__proto__'])
    expect(params['constructor']).toBeUndefined()
  })

  test('decide quickly about a room that nearly matches', () => {
    const pattern = roomPattern('{a}:{b}:{c}:{d}:{rest...}', 'join')
    expect(pattern.match(`${'x'.repeat(100)}:`.repeat(3) + '\n')).toBeUndefined()
  })

  test.each([[''], [undefined], [{}], ['doc:{}'], ['doc:{id'], ['doc:id}'], ['doc:{1d}'], ['doc:{id}:{id}'], ['{a}{b}'], ['{a}-{b}'], ['{rest...}:x'], ['gate:{x}']])(
    '%j is refused when it is declared',
    (pattern) => {
      expect(() => roomPattern(pattern, 'join')).toThrow(ConfigError)
    },
  )
})

describe('names of dynamic namespaces', () => {
  test.each(['/', '/chat', '/tenant-1/chat', '/a.b', '/v1.2/x_y', '/@user', '/a:b', '/a%20b'])('%s may be made', (name) => {
    expect(isNamespaceName(name)).toBe(true)
  })

  test.each([[''], ['chat'], ['/a*'], ['/a?'], ['/[a]'], ['/a b'], ['/a\n'], ['//'], ['/a//b'], ['/../a'], ['/a/..'], ['/./a'], ['/a/'], ['/ü'], ['/a\u0000'], [`/${'x'.repeat(128)}`], [undefined], [7], [['/a']]])(
    '%j may not',
    (name) => {
      expect(isNamespaceName(name)).toBe(false)
    },
  )
})
