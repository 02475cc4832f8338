import { describe, expect, test } from '@jest/globals'
import { ConfigError, type Denied, memoryStore } from 'portcullis'
import type { Policy, Principal, RequestContext, Store } from 'portcullis'
import { binding, type BindingOptions } from 'portcullis/policies'
import { admitted, denied, faulted, harness, testClock } from 'portcullis/testing'

const START = Date.UTC(2025, 0, 1)
const home = { address: '198.51.100.7', headers: { 'user-agent': 'Firefox' } }
const elsewhere = { ...home, address: '203.0.113.9' }
const otherAgent = { ...home, headers: { 'user-agent': 'curl' } }

const alice: Principal = { subject: 'alice', issuer: 'https://id.example', claims: {}, expiresAtMs: START + 600_000, tokenId: 't-1', factors: [] }

/** Stands where `authenticate` would: the auth payload is the principal. */
const proves: Policy<object, { principal: Principal | undefined }> = {
  name: 'proves',
  connect: (ctx, next) => next({ principal: ctx.handshake.auth['nobody'] === true ? undefined : { ...alice, ...ctx.handshake.auth } }),
}

/** Remembers what it was asked, and answers from memory unless told otherwise. */
function storeThat(answer?: (key: string, value: string) => unknown) {
  const values = new Map<string, string>()
  const asked: { readonly key: string; readonly value: string; readonly ttlMs: number }[] = []
  const store: Store = {
    ...memoryStore(),
    scope: 'node',
    close: () => undefined,
    getOrSet(key, value, ttlMs) {
      asked.push({ key, value, ttlMs })
      if (answer !== undefined) return answer(key, value) as string
      if (!values.has(key)) values.set(key, value)
      return values.get(key)!
    },
  }
  return { store, asked }
}

const probe = (options?: BindingOptions & { credential?: Exclude<BindingOptions['credential'], false> }, more: object = {}) => harness([proves, binding(options)], { clock: testClock(START), ...more })

describe('a credential', () => {
  test('is bound to the client that used it first, and refused to any other', async () => {
    const asked = probe()
    expect(await asked.connect(home)).toEqual(admitted({ sync: true }))
    expect(await asked.connect(home)).toEqual(admitted())
    for (const other of [elsewhere, otherAgent, { address: home.address }, { ...home, headers: { 'user-agent': '' } }]) {
      expect(await asked.connect(other)).toEqual(denied('UNAUTHENTICATED'))
    }
    expect(await asked.connect(home)).toEqual(admitted())
  })

  test('that is refused is told to operators with its subject and the reason, and to the client like any other', async () => {
    const asked = probe()
    await asked.connect(home)
    const { refusal, policy } = await asked.connect({ ...elsewhere, headers: {} })
    expect(policy).toBe('binding')
    expect(refusal).toMatchObject({ code: 'UNAUTHENTICATED', message: 'Valid credentials are required.' })
    expect(refusal?.details).toBeUndefined()
    const record = asked.decisions.at(-1)!
    expect(record).toMatchObject({ outcome: 'denied', stage: 'connect', enforced: true, subject: 'alice', policy: 'binding' })
    expect(record.error?.cause).toBe('the credential is bound to another address, user agent')
  })

  test('of another id is another credential, and so is the same id of another issuer', async () => {
    const asked = probe()
    await asked.connect(home)
    for (const auth of [{ tokenId: 't-2' }, { issuer: 'https://other.example' }, { tokenId: undefined, claims: { sid: 't-1' } }, { tokenId: undefined }]) {
      expect(await asked.connect({ ...elsewhere, auth })).toEqual(admitted())
      expect(await asked.connect({ ...home, auth })).toEqual(denied('UNAUTHENTICATED'))
    }
  })

  test('without an id of its own is known by the session it belongs to, else by its subject and issuer', async () => {
    const asked = probe()
    const bySession = { tokenId: undefined, claims: { sid: 's-1' } }
    await asked.connect({ ...home, auth: { ...bySession, subject: 'bob' } })
    expect(await asked.connect({ ...elsewhere, auth: { ...bySession, subject: 'carol' } })).toEqual(denied('UNAUTHENTICATED'))
    expect(await asked.connect({ ...elsewhere, auth: { tokenId: undefined, claims: { sid: 's-2' } } })).toEqual(admitted())

    for (const claims of [{}, { sid: '' }, { sid: 7 }, { sid: ['s-1'] }]) {
      expect(await asked.connect({ ...home, auth: { tokenId: undefined, claims } })).toEqual(admitted())
      expect(await asked.connect({ ...elsewhere, auth: { tokenId: undefined, claims } })).toEqual(denied('UNAUTHENTICATED'))
      expect(await asked.connect({ ...elsewhere, auth: { tokenId: undefined, claims, subject: 'dave' } })).toEqual(admitted())
    }
  })

  test('is told from others as the application says; one it gives no name is not bound', async () => {
    const asked = probe({ credential: ({ claims }) => claims['device'] as string | undefined })
    await asked.connect({ ...home, auth: { claims: { device: 'd-1' } } })
    expect(await asked.connect({ ...elsewhere, auth: { claims: { device: 'd-1' }, tokenId: 't-2' } })).toEqual(denied('UNAUTHENTICATED'))
    expect(await asked.connect({ ...elsewhere, auth: { claims: { device: 'd-2' } } })).toEqual(admitted())
    for (const where of [home, elsewhere, otherAgent]) expect(await asked.connect(where)).toEqual(admitted())
    for (const device of ['', 7, null, {}]) expect(await asked.connect({ ...home, auth: { claims: { device } } })).toEqual(faulted())
  })

  test('is bound until it expires; one that never does for a day after its first use', async () => {
    const clock = testClock(START)
    const { store, asked } = storeThat()
    await probe({}, { clock, store }).connect(home)
    await probe({}, { clock, store }).connect({ ...home, auth: { expiresAtMs: 'never' } })
    await probe({}, { clock, store }).connect({ ...home, auth: { expiresAtMs: START + 0.25 } })
    expect(asked.map(({ ttlMs }) => ttlMs)).toEqual([600_000, 86_400_000, 1])

    const lasting = probe({}, { clock })
    const auth = { expiresAtMs: 'never' }
    await lasting.connect({ ...home, auth })
    clock.advance(86_399_999)
    expect(await lasting.connect({ ...elsewhere, auth })).toEqual(denied('UNAUTHENTICATED'))
    clock.advance(1)
    expect(await lasting.connect({ ...elsewhere, auth })).toEqual(admitted())
    expect(await lasting.connect({ ...home, auth })).toEqual(denied('UNAUTHENTICATED'))
  })

  test('used by fifty at once is bound to one of them', async () => {
    const asked = probe()
    const results = await Promise.all(Array.from({ length: 50 }, (_, index) => asked.connect({ ...home, address: `198.51.100.${index}` })))
    expect(results.filter(({ outcome }) => outcome === 'admitted')).toHaveLength(1)
  })

  test('brought by a refresh is bound anew; one that is bound elsewhere is no refresh', async () => {
    const asked = probe()
    await asked.connect(home)
    expect(await asked.connect({ ...elsewhere, cause: 'refresh', auth: { tokenId: 't-2' } })).toEqual(admitted())
    expect(await asked.connect({ ...home, auth: { tokenId: 't-2' } })).toEqual(denied('UNAUTHENTICATED'))
    expect(await asked.connect({ ...elsewhere, cause: 'refresh' })).toEqual(denied('UNAUTHENTICATED'))
  })

  test('is checked when a connection is recovered, and not when nothing was brought', async () => {
    const { store, asked } = storeThat()
    const policy = probe({}, { store })
    await policy.connect(home)
    expect(await policy.connect({ ...elsewhere, cause: 'recover' })).toEqual(denied('UNAUTHENTICATED'))
    expect(await policy.connect({ ...home, cause: 'recover' })).toEqual(admitted())
    const before = asked.length
    expect(await policy.connect({ ...elsewhere, cause: 'reauthorize' })).toEqual(admitted())
    expect(asked).toHaveLength(before)
  })

  test('is never asked of nobody', async () => {
    const { store, asked } = storeThat()
    expect(await probe({}, { store }).connect({ ...home, auth: { nobody: true } })).toEqual(admitted({ sync: true }))
    expect(asked).toEqual([])
  })
})

describe('the modes', () => {
  test('report lets another client in, and reports it once, in the same tick', async () => {
    const asked = probe({ mode: 'report' })
    await asked.connect(home)
    expect(await asked.connect(elsewhere)).toEqual(admitted({ sync: true }))
    const reports = asked.decisions.filter(({ outcome }) => outcome === 'denied')
    expect(reports).toMatchObject([{ policy: 'binding', code: 'UNAUTHENTICATED', enforced: false, subject: 'alice', address: elsewhere.address }])
    expect(reports[0]!.error?.cause).toBe('the credential is bound to another address')
    await asked.connect(home)
    expect(asked.decisions.filter(({ outcome }) => outcome === 'denied')).toHaveLength(1)
  })

  test('off asks nothing, and stores nothing', async () => {
    const { store, asked } = storeThat()
    for (const options of [{ mode: 'off' }, { address: 'off', userAgent: 'off' }] as const) {
      const policy = probe(options, { store })
      for (const where of [home, elsewhere, otherAgent]) expect(await policy.connect(where)).toEqual(admitted({ sync: true }))
    }
    expect(asked).toEqual([])
  })

  test('each part has its own: the stricter one decides', async () => {
    const asked = probe({ address: 'report', userAgent: 'refuse' })
    await asked.connect(home)
    expect(await asked.connect(elsewhere)).toEqual(admitted())
    expect(await asked.connect(otherAgent)).toEqual(denied('UNAUTHENTICATED'))
    expect(await asked.connect({ ...otherAgent, address: elsewhere.address })).toEqual(denied('UNAUTHENTICATED'))
    expect(asked.decisions.filter(({ outcome }) => outcome === 'denied').map(({ enforced }) => enforced)).toEqual([false, true, true])
  })

  test('a part that is off is neither compared nor stored', async () => {
    const { store, asked } = storeThat()
    const policy = probe({ userAgent: 'off' }, { store })
    await policy.connect(home)
    expect(await policy.connect(otherAgent)).toEqual(admitted())
    expect(await policy.connect(elsewhere)).toEqual(denied('UNAUTHENTICATED'))
    expect(asked[0]!.value).toMatch(/^[\w-]{43}$/)
  })

  test('other rules bind anew: what was bound by the old ones says nothing under them', async () => {
    const { store } = storeThat()
    await probe({ userAgent: 'off' }, { store }).connect(home)
    expect(await probe({ userAgent: 'off' }, { store }).connect(elsewhere)).toEqual(denied('UNAUTHENTICATED'))
    expect(await probe({ userAgent: 'off', address: { ipv4Prefix: 24 } }, { store }).connect(elsewhere)).toEqual(admitted())
    expect(await probe({ address: 'off' }, { store }).connect(elsewhere)).toEqual(admitted())
  })

  test('a gate that only observes reports and lets in', async () => {
    const asked = probe({}, { mode: 'observe' })
    await asked.connect(home)
    expect(await asked.connect(elsewhere)).toEqual(admitted())
    expect(asked.decisions.filter(({ outcome }) => outcome === 'denied')).toMatchObject([{ policy: 'binding', enforced: false }])
  })
})

describe('what is one client', () => {
  const first = async (options: BindingOptions & { credential?: never }, a: string, b: string) => {
    const asked = harness([proves, binding({ userAgent: 'off', ...options })], { clock: testClock(START) })
    await asked.connect({ address: a })
    return (await asked.connect({ address: b })).outcome === 'admitted'
  }

  test.each([
    [{}, '198.51.100.7', '198.51.100.7', true],
    [{}, '198.51.100.7', '198.51.100.6', false],
    [{ ipv4Prefix: 31 }, '198.51.100.7', '198.51.100.6', true],
    [{ ipv4Prefix: 31 }, '198.51.100.7', '198.51.100.8', false],
    [{ ipv4Prefix: 24 }, '198.51.100.7', '198.51.100.250', true],
    [{ ipv4Prefix: 24 }, '198.51.100.7', '198.51.101.7', false],
    [{ ipv4Prefix: 20 }, '198.51.96.1', '198.51.111.254', true],
    [{ ipv4Prefix: 20 }, '198.51.96.1', '198.51.112.1', false],
    [{ ipv4Prefix: 1 }, '1.1.1.1', '127.255.255.255', true],
    [{ ipv4Prefix: 1 }, '1.1.1.1', '128.0.0.0', false],
    [{ ipv4Prefix: 24 }, '::ffff:198.51.100.7', '198.51.100.9', true],
    [{ ipv4Prefix: 32 }, '::ffff:c633:6407', '198.51.100.7', true],
    [{ ipv4Prefix: 32 }, '::ffff:c633:6407', '198.51.100.8', false],
    [{}, '2001:db8:1:2::1', '2001:db8:1:2:ffff:ffff:ffff:ffff', true],
    [{}, '2001:db8:1:2::1', '2001:db8:1:3::1', false],
    [{}, '2001:DB8:0001:0002:0:0:0:1', '2001:db8:1:2::9', true],
    [{}, '2001:db8::', '2001:db8:0:0:1::', true],
    [{}, '::1', '::2', true],
    [{}, '::1', '0:0:0:1::1', false],
    [{}, '2001:db8:1:2:3:4:192.0.2.1', '2001:db8:1:2:9:9:9:9', true],
    [{ ipv6Prefix: 128 }, '2001:db8:1:2:3:4:192.0.2.1', '2001:db8:1:2:3:4:c000:201', true],
    [{ ipv6Prefix: 128 }, '2001:db8::1', '2001:db8::2', false],
    [{ ipv6Prefix: 56 }, '2001:db8:1:200::1', '2001:db8:1:2ff::1', true],
    [{ ipv6Prefix: 56 }, '2001:db8:1:200::1', '2001:db8:1:300::1', false],
    [{ ipv6Prefix: 1 }, '2001:db8::1', '7fff::', true],
    [{}, 'fe80::1%eth0', 'fe80::1%eth1', true],
    [{}, '198.51.100.7', '2001:db8::1', false],
    [{ ipv4Prefix: 1, ipv6Prefix: 1 }, '1.1.1.1', '::', false],
    [{}, '', '', true],
    [{}, '', '198.51.100.7', false],
  ])('with %j, %s and %s: %p', async (address, a, b, one) => {
    expect(await first({ address }, a, b)).toBe(one)
    expect(await first({ address }, b, a)).toBe(one)
  })

  test('a forwarded address counts where a proxy is trusted, and nowhere else', async () => {
    const forwarded = (address: string) => ({ address: '10.0.0.1', headers: { 'x-forwarded-for': address } })
    const behind = probe({}, { trustProxy: ['10.0.0.0/8'] })
    await behind.connect(forwarded('198.51.100.7'))
    expect(await behind.connect(forwarded('198.51.100.7'))).toEqual(admitted())
    expect(await behind.connect(forwarded('203.0.113.9'))).toEqual(denied('UNAUTHENTICATED'))

    const direct = probe()
    await direct.connect(home)
    expect(await direct.connect({ ...home, headers: { ...home.headers, 'x-forwarded-for': '203.0.113.9' } })).toEqual(admitted())
    expect(await direct.connect({ ...elsewhere, headers: { ...home.headers, 'x-forwarded-for': home.address } })).toEqual(denied('UNAUTHENTICATED'))
  })

  test('the user agent is compared to the letter; the stock client in Node has one on polling and none on a WebSocket', async () => {
    const asked = probe({ address: 'off' })
    const of = (agent?: string) => ({ headers: agent === undefined ? {} : { 'user-agent': agent } })
    await asked.connect(of('node-XMLHttpRequest'))
    expect(await asked.connect(of())).toEqual(admitted())
    for (const agent of ['node', 'node-xmlhttprequest', 'node-XMLHttpRequest ', 'x'.repeat(50_000)]) expect(await asked.connect(of(agent))).toEqual(denied('UNAUTHENTICATED'))

    await asked.connect({ ...of('x'.repeat(50_000)), auth: { tokenId: 'long' } })
    expect(await asked.connect({ ...of(`${'x'.repeat(49_999)}y`), auth: { tokenId: 'long' } })).toEqual(denied('UNAUTHENTICATED'))
  })
})

describe('the store', () => {
  test('is told neither credential, subject, address nor user agent, and is asked once', async () => {
    const { store, asked } = storeThat()
    await probe({}, { store }).connect(home)
    await probe({}, { store }).connect({ ...home, auth: { tokenId: 't'.repeat(5_000) } })
    expect(asked).toHaveLength(2)
    for (const { key, value } of asked) {
      expect(key).toMatch(/^binding:[\w-]{43}$/)
      expect(value).toMatch(/^[\w-]{43} [\w-]{43}$/)
    }
    const [one, other] = asked
    // Salted with the credential: two of one client have nothing in common.
    expect(one!.value.split(' ').filter((part) => other!.value.includes(part))).toEqual([])
    expect(new Set([...one!.value.split(' '), ...other!.value.split(' ')]).size).toBe(4)
  })

  test('that answers later is waited for', async () => {
    const { store } = storeThat()
    const late: Store = { ...store, getOrSet: async (...asked) => store.getOrSet(...asked) }
    const asked = probe({}, { store: late })
    expect(await asked.connect(home)).toEqual(admitted({ sync: false }))
    expect(await asked.connect(elsewhere)).toEqual(denied('UNAUTHENTICATED'))
  })

  test.each([
    ['throws', () => { throw new Error('down') }],
    ['rejects', () => Promise.reject(new Error('down'))],
    ['answers nothing', () => undefined],
    ['answers later with nothing', () => Promise.resolve(null)],
    ['answers with a number', () => 7],
  ])('that %s refuses, in either mode', async (_words, answer) => {
    for (const mode of ['report', 'refuse'] as const) {
      const { store } = storeThat(answer)
      expect(await probe({ mode }, { store }).connect(home)).toEqual(denied('UNAVAILABLE'))
    }
  })

  test.each(['', ' ', 'x', 'a b c', '-', `${'a'.repeat(43)} ${'b'.repeat(43)}`, '__proto__ constructor'])('that holds %j, which nobody has bound, admits nobody', async (held) => {
    const { store } = storeThat(() => held)
    expect(await probe({}, { store }).connect(home)).toEqual(denied('UNAUTHENTICATED'))
  })
})

describe('an engine session', () => {
  const opener = { address: home.address, userAgent: 'Firefox', cookie: (name: string): string | undefined => (name === 'sid' ? 's-1' : undefined) }
  const owner = { address: home.address, headers: { 'user-agent': 'Firefox', cookie: 'theme=dark; sid=s-1' } }

  /** Asks the request hook alone about a later request of a session. */
  function ask(options: BindingOptions, later: object, by: object | 'nobody' = opener): (readonly [string, string, unknown])[] {
    const seen: [string, string, unknown][] = []
    const scene = { unenforced: (_ctx: unknown, { error, policy }: { error: Denied; policy: string }) => seen.push([policy, error.code, error.cause]) }
    const policy = binding(options)
    for (let again = 0; again < 2; again++) {
      try {
        void policy.request({ ...owner, ...later, opener: by === 'nobody' ? undefined : by, scene } as unknown as RequestContext, () => void seen.push(['next', '', '']))
      } catch (error) {
        seen.push(['refused', (error as Denied).code, (error as Denied).cause])
      }
    }
    return seen
  }
  const passed = [['next', '', ''], ['next', '', '']]
  const refused = (what: string) => Array(2).fill(['refused', 'FORBIDDEN', `the session was opened with another ${what}`])

  test('goes on for the client that opened it, and opens for anybody', () => {
    expect(ask({ cookie: 'sid' }, {})).toEqual(passed)
    expect(ask({ cookie: 'sid' }, elsewhere, 'nobody')).toEqual(passed)
  })

  test.each([
    ['address', { address: '203.0.113.9' }],
    ['user agent', { headers: { ...owner.headers, 'user-agent': 'curl' } }],
    ['user agent', { headers: { cookie: owner.headers.cookie } }],
    ['cookie', { headers: { 'user-agent': 'Firefox', cookie: 'sid=s-2' } }],
    ['cookie', { headers: { 'user-agent': 'Firefox' } }],
    ['cookie', { headers: { 'user-agent': 'Firefox', cookie: 'sid=s-1; sid=s-1' } }],
    ['cookie', { headers: { 'user-agent': 'Firefox', cookie: 'SID=s-1' } }],
    ['address, user agent, cookie', { address: '203.0.113.9', headers: {} }],
  ])('is refused with another %s', (what, later) => {
    expect(ask({ cookie: 'sid' }, later)).toEqual(refused(what))
  })

  test('opened without the cookie goes on without it only', () => {
    const bare = { ...opener, cookie: () => undefined }
    expect(ask({ cookie: 'sid' }, { headers: { 'user-agent': 'Firefox', cookie: 'theme=dark' } }, bare)).toEqual(passed)
    expect(ask({ cookie: 'sid' }, {}, bare)).toEqual(refused('cookie'))
    expect(ask({ cookie: 'sid' }, { headers: { 'user-agent': 'Firefox', cookie: 'sid=a; sid=b' } }, bare)).toEqual(refused('cookie'))
  })

  test('opened with the cookie twice goes on with it twice only', () => {
    const twice = { ...opener, cookie: () => { throw new Error('twice') } }
    expect(ask({ cookie: 'sid' }, { headers: { 'user-agent': 'Firefox', cookie: 'sid=a; sid=b' } }, twice)).toEqual(passed)
    for (const cookie of ['sid=a', 'theme=dark']) expect(ask({ cookie: 'sid' }, { headers: { 'user-agent': 'Firefox', cookie } }, twice)).toEqual(refused('cookie'))
  })

  test('knows no cookie unless it is named', () => {
    expect(ask({}, { headers: { 'user-agent': 'Firefox', cookie: 'sid=s-2' } })).toEqual(passed)
    expect(ask({ cookie: { name: 'sid', mode: 'off' } }, { headers: { 'user-agent': 'Firefox', cookie: 'sid=s-2' } })).toEqual(passed)
  })

  test('in report mode goes on, and a stranger is reported once', () => {
    const other = { address: '203.0.113.9' }
    expect(ask({ mode: 'report' }, other)).toEqual([['binding', 'FORBIDDEN', 'the session was opened with another address'], ['next', '', ''], ['next', '', '']])
  })

  test('reports eight strangers at most', () => {
    let reports = 0
    const policy = binding({ mode: 'report' })
    const scene = { unenforced: () => reports++ }
    for (let index = 1; index <= 100; index++) void policy.request({ ...owner, address: `203.0.113.${index}`, opener, scene } as unknown as RequestContext, () => undefined)
    expect(reports).toBe(8)
  })

  test('refuses where one part is to be refused, and reports nothing besides', () => {
    expect(ask({ address: 'report', cookie: { name: 'sid', mode: 'refuse' }, userAgent: 'off' }, { address: '203.0.113.9', headers: {} })).toEqual(refused('address, cookie'))
  })

  test('is not compared at all when everything is off', () => {
    expect(ask({ mode: 'off', cookie: 'sid' }, { address: '203.0.113.9', headers: {} })).toEqual(passed)
  })
})

describe('where it stands', () => {
  test('it has request and connect hooks; for engine sessions alone only the first', () => {
    expect(Object.keys(binding())).toEqual(['name', 'request', 'connect'])
    expect(Object.keys(binding({ credential: false }))).toEqual(['name', 'request'])
  })

  test('above the policy that proves who a peer is, it refuses and says where it belongs', async () => {
    const misplaced = harness([binding(), proves])
    const { outcome, error } = await misplaced.connect(home)
    expect(outcome).toBe('fault')
    expect(String((error as Error).message)).toMatch(/above authenticate/)
  })

  test('it leaves events, joins and deliveries alone', async () => {
    const asked = probe()
    for (const result of [await asked.event('ping'), await asked.join('room'), await asked.deliver('news', 1)]) expect(result).toEqual(admitted())
  })
})

describe('options', () => {
  test.each([
    [{ mode: 'alert' }, /mode is 'off', 'report' or 'refuse'; got string alert/],
    [{ mode: true }, /mode is/],
    [{ address: 'on' }, /address is 'off'/],
    [{ address: false }, /address is 'off'/],
    [{ address: null }, /address takes an object/],
    [{ address: { prefix: 24 } }, /no option "prefix"\. The options are mode, ipv4Prefix, ipv6Prefix/],
    [{ address: { ipv4Prefix: 0 } }, /from 1 to 32; got number 0\. To leave the address out write address: 'off'/],
    [{ address: { ipv4Prefix: 33 } }, /from 1 to 32/],
    [{ address: { ipv4Prefix: 24.5 } }, /whole number/],
    [{ address: { ipv4Prefix: '24' } }, /whole number/],
    [{ address: { ipv6Prefix: 129 } }, /from 1 to 128/],
    [{ address: { ipv6Prefix: NaN } }, /from 1 to 128/],
    [{ userAgent: 'yes' }, /userAgent is/],
    [{ cookie: '' }, /the name of the cookie/],
    [{ cookie: 'a b' }, /the name of the cookie/],
    [{ cookie: null }, /cookie takes an object/],
    [{ cookie: ['sid'] }, /cookie takes an object/],
    [{ cookie: {} }, /the name of the cookie/],
    [{ cookie: { name: 'sid', mode: 'on' } }, /cookie\.mode is/],
    [{ credential: true }, /credential is a function/],
    [{ credential: 'jti' }, /credential is a function/],
    [{ ip: 'refuse' }, /no option "ip"/],
    [null, /takes an object/],
    ['refuse', /takes an object/],
    [['refuse'], /takes an object/],
  ])('%j is a ConfigError', (options, message) => {
    expect(() => binding(options as never)).toThrow(ConfigError)
    expect(() => binding(options as never)).toThrow(message)
  })
})
