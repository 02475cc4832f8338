import { describe, expect, test } from '@jest/globals'
import { ConfigError, deny, type Denied, every, fromCookie, fromQuery, observed, PolicyFault } from 'portcullis'
import type { ConnectContext, Principal, Scheme } from 'portcullis'
import { authenticate } from 'portcullis/policies'
import { admitted, denied, faulted, harness, testClock } from 'portcullis/testing'

const alice: Principal = { subject: 'alice', issuer: 'https://id.example', claims: { team: 'blue' }, expiresAtMs: 'never', factors: ['pwd'] }

/** A scheme whose credential stands in `auth[name]`, and who proves what it is told to. */
function scheme(name: string, verify: (credential: any, ctx: ConnectContext) => unknown = () => alice): Scheme & { readonly asked: unknown[] } {
  const asked: unknown[] = []
  return {
    name,
    asked,
    read: ({ handshake }) => handshake.auth[name],
    verify(credential, ctx) {
      asked.push(credential)
      return verify(credential, ctx) as Principal
    },
  }
}

const badge = { badge: 'b-1' }

describe('who proves an identity', () => {
  test('is let in, with the principal among the facts of the peer', async () => {
    const result = await harness(authenticate(scheme('badge'))).connect({ auth: badge })
    expect(result).toEqual(admitted({ facts: { principal: alice } }))
  })

  test('is let in without a promise where the scheme makes none', async () => {
    expect((await harness(authenticate(scheme('badge'))).connect({ auth: badge })).sync).toBe(true)
    const slow = scheme('badge', async () => alice)
    expect(await harness(authenticate(slow)).connect({ auth: badge })).toEqual(admitted({ sync: false, facts: { principal: alice } }))
  })

  test('has a principal that nobody can change, the scheme included', async () => {
    const given = { ...alice, factors: ['pwd'] }
    const { facts } = await harness(authenticate(scheme('badge', () => given))).connect({ auth: badge })
    Object.assign(given, { subject: 'mallory' })
    given.factors.push('otp')
    expect(facts.principal).toEqual(alice)
    expect(Object.isFrozen(facts.principal)).toBe(true)
    expect(() => facts.principal.factors.push('otp')).toThrow(TypeError)
  })

  test('keeps the very principal of a scheme that freezes its own', async () => {
    const own = Object.freeze({ ...alice })
    expect((await harness(authenticate(scheme('badge', () => own))).connect({ auth: badge })).facts.principal).toBe(own)
  })
})

describe('who does not', () => {
  test('is refused without a credential', async () => {
    const result = await harness(authenticate(scheme('badge'))).connect()
    expect(result).toEqual(denied('UNAUTHENTICATED'))
    expect((result.error as Denied).cause).toBe('no credential')
  })

  const failures: [string, () => unknown][] = [
    ['an unknown credential', () => deny('UNAUTHENTICATED')],
    ['details about it', () => deny('UNAUTHENTICATED', { hint: 'wrong key', retryAfterMs: 5 })],
    ['one that has expired', () => deny('CREDENTIAL_EXPIRED')],
    ['one that was revoked', () => deny('REVOKED', { by: 'admin' })],
    ['a late refusal', async () => deny('REVOKED', { by: 'admin' })],
    ['a principal whose time is over', () => ({ ...alice, expiresAtMs: 1 })],
    ['a late principal whose time is over', async () => ({ ...alice, expiresAtMs: 1 })],
  ]
  test.each(failures)('gets the one refusal, and nothing more, for %s', async (_, verify) => {
    const result = await harness(authenticate(scheme('badge', verify))).connect({ auth: badge })
    expect(result.outcome).toBe('denied')
    expect(result.error).toMatchObject({ code: 'UNAUTHENTICATED', details: undefined, retryAfterMs: undefined })
    expect(result.sent).toEqual({ message: 'UNAUTHENTICATED', data: { code: 'UNAUTHENTICATED', message: 'Valid credentials are required.', id: result.refusal!.id } })
  })

  test('tells operators what the scheme has said', async () => {
    const { error } = await harness(authenticate(scheme('badge', () => deny('REVOKED', { by: 'admin' })))).connect({ auth: badge })
    expect((error as Denied).cause).toMatchObject({ code: 'REVOKED', details: { by: 'admin' } })
  })

  test('is told the truth where it is not about the credential', async () => {
    const probe = harness(authenticate(scheme('badge', () => deny('UNAVAILABLE', { retryAfterMs: 500 }))))
    expect(await probe.connect({ auth: badge })).toEqual(denied('UNAVAILABLE', { retryAfterMs: 500 }))
  })

  test.each([
    ['throws', () => { throw new Error('no route to the directory') }],
    ['rejects', () => Promise.reject(new Error('no route to the directory'))],
  ])('is refused by a fault where the scheme %s', async (_, verify) => {
    const result = await harness(authenticate(scheme('badge', verify))).connect({ auth: badge })
    expect(result).toEqual(faulted('INTERNAL'))
    expect(JSON.stringify(result.sent)).not.toContain('directory')
  })

  test('is refused by a fault where reading fails', async () => {
    const broken: Scheme = { ...scheme('badge'), read: () => { throw new TypeError('cannot read') } }
    expect(await harness(authenticate(broken)).connect({ auth: badge })).toEqual(faulted('INTERNAL'))
  })
})

describe('several schemes', () => {
  test('the one that finds its credential decides', async () => {
    const [first, second] = [scheme('badge'), scheme('ticket', () => ({ ...alice, subject: 'bob' }))]
    const probe = harness(authenticate(first, second))
    expect((await probe.connect({ auth: badge })).facts.principal.subject).toBe('alice')
    expect((await probe.connect({ auth: { ticket: 't-1' } })).facts.principal.subject).toBe('bob')
    expect([first.asked, second.asked]).toEqual([['b-1'], ['t-1']])
  })

  test('two credentials are refused before either is looked at', async () => {
    const [first, second] = [scheme('badge'), scheme('ticket')]
    const result = await harness(authenticate(first, second)).connect({ auth: { badge: 'b-1', ticket: 't-1' } })
    expect(result).toEqual(denied('UNAUTHENTICATED'))
    expect((result.error as Denied).cause).toBe('two credentials: for badge and for ticket')
    expect([first.asked, second.asked]).toEqual([[], []])
  })

  test('a failure of one does not fall through to the next', async () => {
    const first = scheme('badge', () => deny('UNAUTHENTICATED'))
    const second: Scheme = { ...scheme('again'), read: ({ handshake }) => handshake.auth['badge'] }
    expect(await harness(authenticate(first, second)).connect({ auth: badge })).toEqual(denied('UNAUTHENTICATED'))
  })

  test('two that read the very same value have one credential between them', async () => {
    const second: Scheme = { ...scheme('again', () => ({ ...alice, subject: 'bob' })), read: ({ handshake }) => handshake.auth['badge'] }
    const { facts } = await harness(authenticate(scheme('badge'), second)).connect({ auth: badge })
    expect(facts.principal.subject).toBe('alice')
  })
})

describe('a scheme that breaks its word is a fault', () => {
  const without = (key: keyof Principal): object => Object.fromEntries(Object.entries(alice).filter(([name]) => name !== key))
  const principals: [string, unknown][] = [
    ['nothing', undefined],
    ['null', null],
    ['a text', 'alice'],
    ['no subject', without('subject')],
    ['an empty subject', { ...alice, subject: '' }],
    ['a number as subject', { ...alice, subject: 7 }],
    ['a list as subject', { ...alice, subject: ['alice'] }],
    ['an object as subject', { ...alice, subject: { toString: () => 'alice' } }],
    ['a number as issuer', { ...alice, issuer: 7 }],
    ['an empty issuer', { ...alice, issuer: '' }],
    ['no claims', without('claims')],
    ['null as claims', { ...alice, claims: null }],
    ['a list as claims', { ...alice, claims: [] }],
    ['no expiry', without('expiresAtMs')],
    ['NaN as expiry', { ...alice, expiresAtMs: NaN }],
    ['Infinity as expiry', { ...alice, expiresAtMs: Infinity }],
    ['a date as expiry', { ...alice, expiresAtMs: new Date() }],
    ['another text as expiry', { ...alice, expiresAtMs: 'soon' }],
    ['null as expiry', { ...alice, expiresAtMs: null }],
    ['a number as token id', { ...alice, tokenId: 7 }],
    ['an empty token id', { ...alice, tokenId: '' }],
    ['no factors', without('factors')],
    ['a text as factors', { ...alice, factors: 'pwd' }],
    ['numbers as factors', { ...alice, factors: [1] }],
  ]
  test.each(principals)('when it gives %s', async (_, principal) => {
    for (const verify of [() => principal, async () => principal]) {
      const result = await harness(authenticate(scheme('badge', verify))).connect({ auth: badge })
      expect(result).toEqual(faulted('INTERNAL'))
      expect(result.error).toBeInstanceOf(PolicyFault)
    }
  })
})

describe('expiry', () => {
  const clock = testClock()
  const end = clock.now() + 1_000
  const passing = { ...alice, expiresAtMs: end }

  async function peerOf(principal: Principal, options: object = {}) {
    const own = testClock()
    const probe = harness(authenticate(scheme('badge', () => principal)), { clock: own, ...options })
    const { facts } = await probe.connect({ auth: badge })
    return { probe, peer: facts, clock: own }
  }

  test('a credential admits until its end, and no longer', async () => {
    const at = async (now: number) => harness(authenticate(scheme('badge', () => passing)), { clock: testClock(now) }).connect({ auth: badge })
    expect(await at(end - 1)).toEqual(admitted())
    expect(await at(end)).toEqual(denied('UNAUTHENTICATED'))
  })

  test('events and joins of an admitted peer are refused from that moment on', async () => {
    const { probe, peer, clock } = await peerOf(passing)
    clock.advance(999)
    expect(await probe.event('ping', 1, { peer })).toEqual(admitted({ sync: true }))
    expect(await probe.join('doc:1', { peer })).toEqual(admitted({ sync: true }))
    clock.advance(1)
    expect(await probe.event('ping', 1, { peer })).toEqual(denied('CREDENTIAL_EXPIRED'))
    expect(await probe.join('doc:1', { peer })).toEqual(denied('CREDENTIAL_EXPIRED'))
    expect((await probe.event('ping', 1, { peer })).sync).toBe(true)
  })

  test('a credential without an end has none', async () => {
    const { probe, peer, clock } = await peerOf(alice)
    clock.advance(10 * 365 * 86_400_000)
    expect(await probe.event('ping', 1, { peer })).toEqual(admitted())
  })

  test('requests and deliveries are none of its business', async () => {
    const { probe, peer, clock } = await peerOf(passing)
    clock.advance(5_000)
    expect(await probe.request()).toEqual(admitted())
    expect(await probe.deliver('news', 'x', { peer })).toEqual(admitted())
  })
})

describe('where it is only observed', () => {
  const clockAndEnd = () => {
    const clock = testClock()
    return { clock, passing: { ...alice, expiresAtMs: clock.now() + 1_000 } }
  }
  // To the combinators' types it gives facts, which they do not take; what is asked here is what happens all the same.
  type Declare = (policy: { readonly name: string }) => { readonly name: string }
  const ways: [string, Declare, object][] = [
    ['the gate is in observe mode', (policy) => policy, { mode: 'observe' }],
    ['the policy is', (policy) => observed(policy), {}],
    ['it stands in a preset of a gate in observe mode', (policy) => every(policy), { mode: 'observe' }],
    ['it stands in an observed preset', (policy) => observed(every(policy)), {}],
    ['it is observed within a preset', (policy) => every(observed(policy)), {}],
  ]

  test.each(ways)('an expired credential is refused all the same: %s', async (_, declare, options) => {
    const { clock, passing } = clockAndEnd()
    const peer = { principal: passing }
    const probe = harness(declare(authenticate(scheme('badge', () => passing))), { clock, ...options })
    expect(await probe.event('ping', 1, { peer })).toEqual(admitted())
    clock.advance(1_000)
    expect(await probe.event('ping', 1, { peer })).toEqual(denied('CREDENTIAL_EXPIRED'))
    expect(await probe.join('doc:1', { peer })).toEqual(denied('CREDENTIAL_EXPIRED'))
    expect(probe.decisions.at(-1)).toMatchObject({ outcome: 'denied', stage: 'join', code: 'CREDENTIAL_EXPIRED', enforced: true })
  })

  test.each(ways.slice(0, 4))('who proves nothing is reported and let in, and may send: %s', async (_, declare, options) => {
    const probe = harness(declare(authenticate(scheme('badge', () => deny('UNAUTHENTICATED')))), options)
    for (const auth of [{}, badge]) {
      const result = await probe.connect({ auth })
      expect(result).toEqual(admitted({ facts: {} }))
      expect(await probe.event('ping', 1, { peer: result.facts })).toEqual(admitted())
      expect(await probe.join('doc:1', { peer: result.facts })).toEqual(admitted())
    }
    const refusals = probe.decisions.filter(({ outcome }) => outcome === 'denied')
    expect(refusals.map(({ stage, code, enforced }) => [stage, code, enforced])).toEqual([
      ['connect', 'UNAUTHENTICATED', false],
      ['connect', 'UNAUTHENTICATED', false],
    ])
  })

  test('who proves an identity has it', async () => {
    const probe = harness(authenticate(scheme('badge')), { mode: 'observe' })
    expect(await probe.connect({ auth: badge })).toEqual(admitted({ facts: { principal: alice } }))
  })
})

describe('mistakes in the set-up are found when it is declared', () => {
  test.each<[string, () => unknown]>([
    ['no scheme', () => authenticate()],
    ['something that is none', () => authenticate({ name: 'x' } as never)],
    ['a function', () => authenticate((() => alice) as never)],
    ['null', () => authenticate(null as never)],
    ['a nameless scheme', () => authenticate({ ...scheme('badge'), name: '' })],
    ['a bad one behind a good one', () => authenticate(scheme('badge'), undefined as never)],
  ])('%s', (_, make) => {
    expect(make).toThrow(ConfigError)
  })
})

describe('options', () => {
  const own = scheme('badge')
  const without = { auth: {} }

  test('optional: who brings nothing is nobody, and who brings something bad is refused', async () => {
    const probe = harness(authenticate(scheme('badge', (badge) => (badge === 'good' ? alice : deny('UNAUTHENTICATED'))), { optional: true }))
    expect(await probe.connect(without)).toEqual(admitted({ facts: { principal: undefined } }))
    expect(await probe.connect({ auth: { badge: 'bad' } })).toEqual(denied('UNAUTHENTICATED'))
    expect((await probe.connect({ auth: { badge: 'good' } })).facts.principal).toEqual(alice)
  })

  test('optional: a refresh without a credential is no way to become nobody', async () => {
    const probe = harness(authenticate(own, { optional: true }))
    expect(await probe.connect({ auth: {}, cause: 'refresh' })).toEqual(denied('UNAUTHENTICATED'))
  })

  test('a reauthorization without a principal is refused, unless nobody is let in', async () => {
    expect(await harness(authenticate(own)).connect({ auth: badge, cause: 'reauthorize' })).toEqual(denied('UNAUTHENTICATED'))
    expect(await harness(authenticate(own, { optional: true })).connect({ auth: badge, cause: 'reauthorize' })).toEqual(admitted({ facts: { principal: undefined } }))
  })

  test('failures: an address that has failed too often waits, whatever it brings then', async () => {
    const clock = testClock()
    const probe = harness(authenticate(scheme('badge', (badge) => (badge === 'good' ? alice : deny('UNAUTHENTICATED'))), { failures: { perAddress: { limit: 3, perMs: 3_000 } } }), { clock })
    const ask = (name: string, address = '198.51.100.1') => probe.connect({ auth: { badge: name }, address })
    for (let attempt = 0; attempt < 4; attempt++) expect(await ask('bad')).toEqual(denied('UNAUTHENTICATED'))
    expect(await ask('good')).toEqual(denied('RATE_LIMITED', { retryAfterMs: 1_000 }))
    expect(await ask('good', '198.51.100.2')).toEqual(admitted())
    clock.advance(1_000)
    expect(await ask('good')).toEqual(admitted())
  })

  test('failures: an account is held for the address it failed from, and for no other', async () => {
    const named = { ...scheme('badge', (badge) => (badge === 'alice:good' ? alice : deny('UNAUTHENTICATED'))), account: (badge: string) => badge.split(':')[0] }
    const probe = harness(authenticate(named, { failures: { perAccount: { limit: 1, perMs: 1_000 } } }))
    const ask = (name: string, address = '198.51.100.1') => probe.connect({ auth: { badge: name }, address })
    expect(await ask('alice:bad')).toEqual(denied('UNAUTHENTICATED'))
    expect(await ask('alice:good')).toEqual(denied('RATE_LIMITED', { retryAfterMs: 1_000 }))
    expect(await ask('alice:good', '198.51.100.2')).toEqual(admitted())
    expect(await ask('bob:bad')).toEqual(denied('UNAUTHENTICATED'))
  })

  test('failures: guesses that come at once are no more guesses', async () => {
    let asked = 0
    const slow = { ...scheme('badge', async () => (asked++, deny('UNAUTHENTICATED'))), account: () => 'alice' }
    const probe = harness(authenticate(slow, { failures: { perAccount: { limit: 5, perMs: 60_000 } } }))
    const results = await Promise.all(Array.from({ length: 50 }, () => probe.connect({ auth: badge })))
    expect(asked).toBe(5)
    expect(results.filter(({ code }) => code === 'RATE_LIMITED')).toHaveLength(45)
  })

  test('failures: a guess that was right, or that nobody could judge, is given back', async () => {
    const answers: Record<string, () => unknown> = { good: () => alice, down: () => deny('UNAVAILABLE'), slow: async () => alice }
    const named = { ...scheme('badge', (badge) => answers[badge]!()), account: () => 'alice' }
    const probe = harness(authenticate(named, { failures: { perAccount: { limit: 1, perMs: 60_000 } } }))
    for (const way of ['good', 'down', 'slow', 'good']) expect((await probe.connect({ auth: { badge: way } })).code).toBe(way === 'down' ? 'UNAVAILABLE' : undefined)
  })

  test('failures: a peer that is here does not wait for its neighbours', async () => {
    const probe = harness(authenticate(scheme('badge', (badge) => (badge === 'good' ? alice : deny('UNAUTHENTICATED'))), { failures: { perAddress: { limit: 1, perMs: 60_000 } } }))
    for (let attempt = 0; attempt < 2; attempt++) await probe.connect({ auth: { badge: 'bad' } })
    expect(await probe.connect({ auth: { badge: 'good' } })).toEqual(denied('RATE_LIMITED'))
    expect(await probe.connect({ auth: { badge: 'good' }, cause: 'refresh' })).toEqual(admitted())
  })

  test('failures: a clock that is set back holds nobody for longer', async () => {
    let now = 10_000_000
    const clock = { ...testClock(), now: () => now }
    const probe = harness(authenticate(scheme('badge', (badge) => (badge === 'good' ? alice : deny('UNAUTHENTICATED'))), { failures: { perAddress: { limit: 1, perMs: 60_000 } } }), { clock: clock })
    for (let attempt = 0; attempt < 2; attempt++) await probe.connect({ auth: { badge: 'bad' } })
    now -= 3_600_000
    expect(await probe.connect({ auth: { badge: 'good' } })).toEqual(admitted())
  })

  test('failures: a success costs nothing', async () => {
    const probe = harness(authenticate(own, { failures: { perAddress: { limit: 1, perMs: 1_000 } } }))
    for (let attempt = 0; attempt < 10; attempt++) expect(await probe.connect({ auth: badge })).toEqual(admitted())
  })

  test.each<[string, () => unknown]>([
    ['only options', () => authenticate({ optional: true } as never)],
    ['an unknown option', () => authenticate(own, { timeout: 5 } as never)],
    ['optional that is no flag', () => authenticate(own, { optional: 'yes' } as never)],
    ['a time that is none', () => authenticate(own, { withinMs: 0 })],
    ['a time beyond any timer', () => authenticate(own, { withinMs: Infinity })],
    ['an end that is none', () => authenticate(own, { onExpiry: 'close' as never })],
    ['an end with something more', () => authenticate(own, { onExpiry: { graceMs: 5, then: 'anonymous' } as never })],
    ['a grace that is none', () => authenticate(own, { onExpiry: { graceMs: -1 } })],
    ['anonymous where nobody may be', () => authenticate(own, { onExpiry: 'anonymous' })],
    ['limits that are none', () => authenticate(own, { failures: { perAddress: { limit: 0, perMs: 5 } } })],
    ['limits of something else', () => authenticate(own, { failures: { perMinute: 5 } as never })],
    ['a credential that lasts in the query', () => authenticate({ ...own, read: fromQuery('token') })],
  ])('are checked when it is declared: %s', (_, make) => {
    expect(make).toThrow(ConfigError)
  })

  test('a credential that is spent at once may stand in the query', () => {
    expect(() => authenticate({ ...own, read: fromQuery('ticket'), singleUse: true })).not.toThrow()
  })

  test('a cookie proves nothing beside the page that connects: it is not taken without a protection', async () => {
    const read = fromCookie('id')
    await expect(harness((gate) => gate.use(authenticate({ ...own, read })).of('/')).connect()).rejects.toThrow(ConfigError)
    const declined = fromCookie('id', { dangerouslyWithoutCsrf: true })
    expect(await harness(authenticate({ ...own, read: declined })).connect({ headers: { cookie: 'id=1' } })).toEqual(admitted())
  })
})
