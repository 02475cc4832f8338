import { describe, expect, test } from '@jest/globals'
import { identityOf, PeerState, subjectOf } from '../../lib/peer.ts'

const state = (): PeerState => new PeerState('192.0.2.1', undefined as never)

describe('a peer that is gone', () => {
  test('ends what was waiting on it, once', () => {
    const peer = state()
    const calls: string[] = []
    peer.closers = [() => void calls.push('a'), () => void calls.push('b')]
    peer.close(() => {})
    peer.close(() => {})
    expect(calls).toEqual(['a', 'b'])
  })

  test('ends what was added after it had gone, when it is closed again', () => {
    const peer = state()
    const calls: string[] = []
    peer.close(() => {})
    peer.closers = [() => void calls.push('late')]
    peer.close(() => {})
    expect(calls).toEqual(['late'])
  })

  test('ends the rest where one of them fails', () => {
    const peer = state()
    const calls: string[] = []
    const failures: unknown[] = []
    peer.closers = [
      () => {
        throw new Error('a bug')
      },
      () => void calls.push('b'),
    ]
    peer.close((error) => failures.push(error))
    expect(calls).toEqual(['b'])
    expect(failures).toMatchObject([{ message: 'a bug' }])
  })

  test('tells events that were never acked', () => {
    const peer = state()
    const fates: unknown[] = []
    peer.unsettled = new Set([{ settle: (fate: unknown) => fates.push(fate) } as never])
    peer.close(() => {})
    expect(fates).toEqual([{ outcome: 'unacked' }])
  })
})

describe('the identity of a peer', () => {
  test('is its subject within its issuer', () => {
    expect(identityOf({ principal: { subject: 'ada', issuer: 'idp' } })).toBe('["idp","ada"]')
    expect(identityOf({ principal: { subject: 'ada' } })).toBe('[null,"ada"]')
  })

  test('cannot be made up by a subject that looks like one', () => {
    expect(identityOf({ principal: { subject: 'a","b', issuer: 'x' } })).not.toBe(identityOf({ principal: { subject: 'b', issuer: 'x","a' } }))
  })

  test('is unknown where no policy has proved it', () => {
    for (const facts of [{}, { principal: undefined }, { principal: {} }, { principal: { subject: 7 } }]) {
      expect(identityOf(facts)).toBeUndefined()
      expect(subjectOf(facts)).toBeUndefined()
    }
    expect(subjectOf({ principal: { subject: 'ada' } })).toBe('ada')
  })
})
