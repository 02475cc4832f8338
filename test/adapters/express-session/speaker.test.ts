import { describe, expect, test } from '@jest/globals'
import { changeBetween, defaultUser, speakerOf } from '../../../adapters/express-session/speaker.ts'
import type { SessionUser, UserOf } from '../../../adapters/express-session/speaker.ts'
import { PolicyFault } from '../../../lib/errors.ts'

describe('the user of a session, where nobody says who that is', () => {
  test.each<[object, string | undefined]>([
    [{}, undefined],
    [{ user: 'alice' }, 'alice'],
    [{ user: 7 }, '7'],
    [{ user: 0 }, '0'],
    [{ user: { id: 'alice', subject: 'no', sub: 'no' } }, 'alice'],
    [{ user: { id: 0 } }, '0'],
    [{ user: { id: null, subject: 'alice', sub: 'no' } }, 'alice'],
    [{ user: { sub: 'alice' } }, 'alice'],
    [{ user: { name: 'alice' } }, undefined],
    [{ user: { id: { deep: 1 } } }, undefined],
    [{ user: null }, undefined],
    [{ user: true }, undefined],
    [{ passport: { user: 'alice' } }, 'alice'],
    [{ passport: { user: { id: 'alice' } }, user: 'another' }, 'alice'],
    [{ passport: {}, user: 'alice' }, 'alice'],
    [{ passport: null, user: 'alice' }, 'alice'],
    [{ passport: {} }, undefined],
  ])('of %j is %p', (data, subject) => {
    expect(defaultUser(data)).toEqual(subject === undefined ? undefined : { subject })
  })
})

describe('whom a session speaks for', () => {
  const of = (user: unknown): ReturnType<typeof speakerOf> => speakerOf({}, (() => user) as UserOf)

  test('is nobody, or a subject with what that is worth', () => {
    expect(of(undefined)).toBeUndefined()
    expect(of(null)).toBeUndefined()
    expect(of('alice')?.user).toEqual({ subject: 'alice', claims: {}, factors: [] })
    expect(of({ subject: 'alice', issuer: 'https://id.example', claims: { role: 'admin' }, factors: ['otp'] })?.user).toEqual({ subject: 'alice', issuer: 'https://id.example', claims: { role: 'admin' }, factors: ['otp'] })
    expect(of('alice')?.user).not.toHaveProperty('issuer')
  })

  test('has no claim that is undefined, as JSON has none', () => {
    expect(of({ subject: 'alice', claims: { role: undefined, team: 'a' } })?.user.claims).toEqual({ team: 'a' })
    expect(of({ subject: 'alice', claims: undefined, factors: undefined })?.user).toEqual({ subject: 'alice', claims: {}, factors: [] })
  })

  const circle: Record<string, unknown> = {}
  circle['self'] = circle
  test.each([[''], [7], [true], [{}], [{ subject: '' }], [{ subject: 7 }], [[]], [{ subject: 'alice', claims: circle }], [{ subject: 'alice', claims: { n: 5n } }]])('is a fault of whoever has written `user` where that gives %p', (user) => {
    expect(() => of(user)).toThrow(PolicyFault)
  })
})

describe('what changes for a peer', () => {
  const speaker = (user: SessionUser | undefined): ReturnType<typeof speakerOf> => speakerOf({}, () => user)
  const alice = { subject: 'alice', issuer: 'https://id.example', claims: { role: 'user', team: 'a' }, factors: ['pwd'] }

  test.each<[string, SessionUser | undefined, SessionUser | undefined]>([
    ['none', undefined, undefined],
    ['none', alice, { ...alice }],
    ['none', alice, { ...alice, claims: { team: 'a', role: 'user' } }],
    ['none', { subject: 'alice' }, { subject: 'alice', claims: {}, factors: [] }],
    ['signed in', undefined, alice],
    ['signed out', alice, undefined],
    ['another user', alice, { ...alice, subject: 'bob' }],
    ['another user', alice, { ...alice, issuer: 'https://other.example' }],
    ['another user', { subject: 'alice' }, alice],
    ['another user', alice, { subject: 'bob', issuer: 'https://id.example' }],
    ['privileges', alice, { ...alice, claims: { role: 'admin', team: 'a' } }],
    ['privileges', alice, { ...alice, claims: { role: 'user' } }],
    ['privileges', alice, { ...alice, factors: ['pwd', 'otp'] }],
    ['privileges', alice, { ...alice, factors: [] }],
  ])('is %p from %j to %j', (change, before, after) => {
    expect(changeBetween(speaker(before), speaker(after))).toBe(change)
  })

  test('is another user where the names of two run into each other', () => {
    expect(changeBetween(speaker({ subject: 'b', issuer: 'a' }), speaker({ subject: 'a","b' }))).toBe('another user')
    expect(changeBetween(speaker({ subject: 'null' }), speaker({ subject: 'null', issuer: 'null' }))).toBe('another user')
  })
})
