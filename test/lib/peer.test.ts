import { describe, expect, test } from '@jest/globals'
import { identityOf, PeerState, subjectOf } from '../../lib/peer.ts'
import { testClock } from '../../lib/testing.ts'

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

describe('the standing of a peer', () => {
  const until = (expiresAtMs: unknown): PeerState => {
    const peer = state()
    peer.facts = { principal: { subject: 'ada', expiresAtMs } }
    peer.establish()
    return peer
  }

  test('is as long as its credential, to the millisecond', () => {
    const peer = until(1_000)
    expect([peer.standing(999), peer.standing(1_000), peer.standing(5_000)]).toEqual([undefined, 'CREDENTIAL_EXPIRED', 'CREDENTIAL_EXPIRED'])
    expect(peer.barredBy(testClock(999))).toBeUndefined()
    expect(peer.barred({ now: 1_000 })).toMatchObject({ error: { code: 'CREDENTIAL_EXPIRED' }, policy: 'gate' })
  })

  test('has no end where none was said, or nobody is there', () => {
    for (const end of ['never', undefined]) expect(until(end).standing(Number.MAX_VALUE)).toBeUndefined()
    const nobody = state()
    nobody.establish()
    expect(nobody.standing(Number.MAX_VALUE)).toBeUndefined()
  })

  test.each([[NaN], [Infinity], [-Infinity]])('an end of %p is over: it does not stand for never', (end) => {
    expect(until(end).standing(0)).toBe('CREDENTIAL_EXPIRED')
  })

  test('once it is over, it stays over, wherever the clock goes', () => {
    const peer = until(1_000)
    peer.muted = true
    expect(peer.standing(0)).toBe('CREDENTIAL_EXPIRED')
    expect(peer.barred({ now: 0 })).toMatchObject({ error: { code: 'CREDENTIAL_EXPIRED' } })
  })

  test('that was ended says why, whatever the time is', () => {
    const peer = until('never')
    peer.ended = 'REVOKED'
    expect(peer.standing(0)).toBe('REVOKED')
    expect(peer.barred({ now: 0 })).toMatchObject({ error: { code: 'REVOKED' } })
  })

  test('reads no clock where there is no end', () => {
    const clock = { ...testClock(), now: (): never => { throw new Error('the clock was read') } }
    expect(until('never').barredBy(clock)).toBeUndefined()
  })
})

describe('what is proved anew', () => {
  test('takes the place of what was, and what hung on that ends once', () => {
    const calls: string[] = []
    const peer = state()
    peer.facts = { principal: { subject: 'ada', expiresAtMs: 1_000 } }
    peer.establish()
    peer.onClose(() => void calls.push('old'), () => {})
    const next = state()
    next.facts = { principal: { subject: 'ada', expiresAtMs: 2_000 } }
    next.establish()
    next.onClose(() => void calls.push('new'), () => {})
    peer.renew(next, () => {})
    expect(calls).toEqual(['old'])
    expect([peer.facts, peer.endsAt]).toEqual([next.facts, 2_000])
    next.close(() => {})
    expect(calls).toEqual(['old'])
    peer.close(() => {})
    peer.close(() => {})
    expect(calls).toEqual(['old', 'new'])
  })

  test('is fixed: nobody changes the facts of a peer that was admitted', () => {
    const peer = state()
    peer.facts = { principal: undefined }
    peer.establish()
    expect(Object.isFrozen(peer.facts)).toBe(true)
  })
})

test('notices of refusals are a burst of ten, then ten a second, wherever the clock goes', () => {
  const peer = state()
  const count = (now: number): number => Array.from({ length: 100 }, () => peer.mayNotice(now)).filter(Boolean).length
  expect([count(50_000), count(50_000), count(50_100), count(50_500), count(60_000)]).toEqual([10, 0, 1, 4, 10])
  expect(count(1_000)).toBe(10)
})
