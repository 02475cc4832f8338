import { describe, expect, test } from '@jest/globals'
import type { IncomingMessage } from 'node:http'
import { addressKey, addressResolver, canonicalAddress, secureResolver } from '../../lib/address.ts'
import type { TrustProxy } from '../../lib/address.ts'
import { ConfigError } from '../../lib/errors.ts'

const PROXY = '10.0.0.1'
const CLIENT = '198.51.100.7'

/** What is made of a request from `remote` with this X-Forwarded-For. */
function resolved(trustProxy: TrustProxy, header: string | string[] | undefined, remote: string | undefined = PROXY): string {
  const request = { headers: header === undefined ? {} : { 'x-forwarded-for': header }, socket: { remoteAddress: remote } }
  return addressResolver(trustProxy)(request as unknown as IncomingMessage, undefined)
}

describe('nobody is believed unless it is said', () => {
  test('the address is that of the connection', () => {
    expect(resolved(false, undefined, CLIENT)).toBe(CLIENT)
    expect(resolved(false, '1.2.3.4', CLIENT)).toBe(CLIENT)
    expect(resolved(0, '1.2.3.4', CLIENT)).toBe(CLIENT)
    expect(resolved([], '1.2.3.4', CLIENT)).toBe(CLIENT)
  })

  test('without a request it is what the engine knows', () => {
    expect(addressResolver(false)(undefined, '::ffff:192.0.2.1')).toBe('192.0.2.1')
    expect(addressResolver(1)(null, '192.0.2.1')).toBe('192.0.2.1')
    expect(addressResolver(['10.0.0.0/8'])(undefined, undefined)).toBe('')
  })
})

describe('a number of proxies', () => {
  test('takes as many entries from the right', () => {
    expect(resolved(1, CLIENT)).toBe(CLIENT)
    expect(resolved(2, `${CLIENT}, 10.0.0.2`)).toBe(CLIENT)
    expect(resolved(1, `${CLIENT}, 10.0.0.2`)).toBe('10.0.0.2')
  })

  test('believes nothing a client has written before them', () => {
    expect(resolved(1, `1.2.3.4, ${CLIENT}`)).toBe(CLIENT)
    expect(resolved(1, `127.0.0.1, ::1, 10.0.0.9, ${CLIENT}`)).toBe(CLIENT)
  })

  test('takes the leftmost where there are fewer entries', () => {
    expect(resolved(3, CLIENT)).toBe(CLIENT)
    expect(resolved(3, undefined)).toBe(PROXY)
  })
})

describe('a list of proxies', () => {
  const trusted = ['10.0.0.0/8', '2001:db8::/32', '192.0.2.1']

  test('takes the first address from the right that is none of them', () => {
    expect(resolved(trusted, CLIENT)).toBe(CLIENT)
    expect(resolved(trusted, `1.2.3.4, ${CLIENT}, 10.2.3.4`)).toBe(CLIENT)
    expect(resolved(trusted, `${CLIENT}, 2001:db8::5, 192.0.2.1`)).toBe(CLIENT)
  })

  test('believes no header of a connection that comes from elsewhere', () => {
    expect(resolved(trusted, '1.2.3.4', CLIENT)).toBe(CLIENT)
    expect(resolved(trusted, '10.0.0.5', CLIENT)).toBe(CLIENT)
    expect(resolved(trusted, '1.2.3.4', '192.0.2.2')).toBe('192.0.2.2')
  })

  test('sees a proxy through its mapped address', () => {
    expect(resolved(trusted, CLIENT, '::ffff:10.0.0.1')).toBe(CLIENT)
    expect(resolved(trusted, `${CLIENT}, ::ffff:10.9.9.9`)).toBe(CLIENT)
  })
})

describe('a header that was made up', () => {
  test.each([
    'unknown',
    '_hidden',
    'localhost',
    '1.2.3',
    '1.2.3.4.5',
    '999.1.1.1',
    '0x7f.0.0.1',
    '127.1',
    '2130706433',
    '1.2.3.4:80',
    '[::1]',
    '"1.2.3.4"',
    'for=1.2.3.4',
    '1.2.3.4;proto=https',
    '1.2.3.4\u0000',
    "'; DROP TABLE users; --",
    '<script>alert(1)</script>',
    '::ffff:999.1.1.1',
    '',
    ' ',
    '-1',
  ])('as %j leaves the address of the proxy', (header) => {
    expect(resolved(1, header)).toBe(PROXY)
    expect(resolved(1, `${CLIENT}, ${header}`)).toBe(PROXY)
  })

  test('with spaces and empty entries is read as it stands', () => {
    expect(resolved(1, `  ${CLIENT}  `)).toBe(CLIENT)
    expect(resolved(1, `${CLIENT},`)).toBe(PROXY)
    expect(resolved(2, `1.2.3.4,,${CLIENT}`)).toBe(CLIENT)
  })

  test('sent several times counts as one list', () => {
    expect(resolved(1, ['1.2.3.4', CLIENT])).toBe(CLIENT)
    expect(resolved(2, [CLIENT, '10.0.0.2'])).toBe(CLIENT)
  })

  test('of a megabyte is looked at from its end only', () => {
    expect(resolved(1, `${'1.2.3.4,'.repeat(120_000)}${CLIENT}`)).toBe(CLIENT)
    expect(resolved(['0.0.0.0/0'], `9.9.9.9,${'1.2.3.4,'.repeat(1_000)}${CLIENT}`)).toBe('1.2.3.4')
  })
})

describe('one spelling', () => {
  test('for an IPv4 address mapped into IPv6, and for one with a zone', () => {
    expect(canonicalAddress('::ffff:192.0.2.1')).toBe('192.0.2.1')
    expect(canonicalAddress('::FFFF:192.0.2.1')).toBe('192.0.2.1')
    expect(canonicalAddress('fe80::1%eth0')).toBe('fe80::1')
    expect(canonicalAddress('192.0.2.1')).toBe('192.0.2.1')
    expect(canonicalAddress(undefined)).toBe('')
  })
})

describe('the key of an address', () => {
  test('is an IPv4 address itself', () => {
    expect(addressKey('192.0.2.1')).toBe('192.0.2.1')
    expect(addressKey('')).toBe('')
  })

  test('is the /64 of an IPv6 address, however it is written', () => {
    const key = '2001:db8:1:2::/64'
    for (const address of ['2001:db8:1:2::1', '2001:0db8:0001:0002:0:0:0:1', '2001:DB8:1:2:ffff:ffff:ffff:ffff', '2001:db8:1:2::', '2001:db8:1:2:3::4']) expect(addressKey(address)).toBe(key)
    expect(addressKey('2001:db8:1:3::1')).not.toBe(key)
    expect(addressKey('::1')).toBe('0:0:0:0::/64')
    expect(addressKey('2001:db8::1')).toBe('2001:db8:0:0::/64')
    expect(addressKey('::')).toBe('0:0:0:0::/64')
  })

  test('takes an IPv4 address at the end of an IPv6 address as part of the lower half', () => {
    expect(addressKey('64:ff9b::192.0.2.1')).toBe('64:ff9b:0:0::/64')
  })
})

describe('a connection', () => {
  const request = (proto: string | undefined, { encrypted = false, remoteAddress = '10.0.0.1' } = {}): never =>
    ({ socket: { encrypted, remoteAddress }, headers: proto === undefined ? {} : { 'x-forwarded-proto': proto } }) as never

  test('is secure by its own TLS, whoever is trusted', () => {
    for (const trust of [false, 0, 1, ['10.0.0.0/8']] as const) expect(secureResolver(trust)(request(undefined, { encrypted: true }))).toBe(true)
    expect(secureResolver(1)(request('http', { encrypted: true }))).toBe(true)
  })

  test.each([
    [false, 'https', false],
    [0, 'https', false],
    [1, 'https', true],
    [1, 'HTTPS ', true],
    [1, 'http', false],
    [1, '', false],
    [1, undefined, false],
    [1, 'https, http', false],
    [1, 'http, https', true],
    [1, 'wss', false],
    [1, 'xhttps', false],
    [['10.0.0.0/8'], 'https', true],
    [['192.168.0.0/16'], 'https', false],
  ] as const)('with trustProxy %j and the header %j: %p', (trust, proto, secure) => {
    expect(secureResolver(trust)(request(proto))).toBe(secure)
  })

  test('is not, where nothing is known of it', () => {
    for (const trust of [false, 1, ['10.0.0.0/8']] as const) for (const unknown of [undefined, null]) expect(secureResolver(trust)(unknown)).toBe(false)
    expect(secureResolver(['10.0.0.0/8'])(request('https', { remoteAddress: '::ffff:10.0.0.9' }))).toBe(true)
  })
})

describe('the option', () => {
  test.each([[-1], [1.5], [NaN], [Infinity], [true], ['10.0.0.0/8'], [{}], [['10.0.0.0/33']], [['10.0.0/8']], [['example.com']], [['10.0.0.0/-1']], [['::/129']], [['10.0.0.0/8/8']], [['10.0.0.0/']], [[7]], [['']]])(
    '%j is refused',
    (trustProxy) => {
      expect(() => addressResolver(trustProxy as never)).toThrow(ConfigError)
      expect(() => addressResolver(trustProxy as never)).toThrow(/^trustProxy/)
    },
  )
})
