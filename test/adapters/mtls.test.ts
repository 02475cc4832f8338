import { X509Certificate } from 'node:crypto'
import { describe, expect, test } from '@jest/globals'
import { Denied, type ConnectContext, type Principal, type Scheme } from 'portcullis'
import { certificateId, mtls, type ClientCertificate, type MtlsOptions } from 'portcullis/adapters/mtls'
import { authenticate } from 'portcullis/policies'
import { admitted, denied, faulted, harness, testClock } from 'portcullis/testing'
import { ca, purposes, selfSigned, withOtherSignature, type CertificateOptions, type Issued } from '../support/certificates.ts'

const NOW = Date.UTC(2025, 0, 1)
const DAY_MS = 86_400_000
const validity = { notBefore: new Date(NOW - DAY_MS), notAfter: new Date(NOW + DAY_MS) }
const long = { notBefore: new Date(NOW - 10 * DAY_MS), notAfter: new Date(NOW + 10 * DAY_MS) }

const own = await ca({ dn: [{ O: 'Example' }, { CN: 'Clients CA' }], ...long })
const namesake = await ca({ dn: [{ O: 'Example' }, { CN: 'Clients CA' }], ...long })
const alice = await own.issue({ dn: [{ C: 'DE' }, { O: 'Example' }, { CN: 'alice' }], ...validity })

const issue = (options: CertificateOptions = {}): Promise<Issued> => own.issue({ ...validity, ...options })

/** A connection as Node shows it: what TLS has verified, and what the client has sent. */
function connection({ cert }: { readonly cert: string }, { authorized = true, authorizationError = null, upgrade = true, sent = [] }: Shown = {}): Partial<ConnectContext> {
  const [leaf, ...rest] = [cert, ...sent].map((pem) => new X509Certificate(pem))
  let above: X509Certificate | undefined
  for (const each of rest.reverse()) above = Object.defineProperty(each, 'issuerCertificate', { value: above })
  const socket = { authorized, authorizationError, getPeerX509Certificate: () => Object.defineProperty(leaf!, 'issuerCertificate', { value: above }) }
  return { request: { socket, upgrade } as never }
}

interface Shown {
  readonly authorized?: boolean
  readonly authorizationError?: unknown
  readonly upgrade?: boolean
  readonly sent?: readonly string[]
}

/** The scheme, with connections for the harness. */
function probe(options: Partial<MtlsOptions> = {}, { at = NOW }: { readonly at?: number } = {}) {
  const scheme = mtls({ ca: own.cert, ...options })
  let shown: Partial<ConnectContext> = {}
  const wired: Scheme = { name: scheme.name, read: (ctx) => scheme.read({ cause: ctx.cause, ...shown } as never), verify: (credential, ctx) => scheme.verify(credential, ctx) }
  const clock = testClock(at)
  const asked = harness(authenticate(wired), { clock })
  const connect = (certificate: { readonly cert: string } | undefined, how?: Shown) => {
    shown = certificate === undefined ? {} : connection(certificate, how)
    return asked.connect()
  }
  const principal = async (certificate: { readonly cert: string }, how?: Shown): Promise<Principal> => ((await connect(certificate, how)).facts as { principal: Principal }).principal
  return { scheme, connect, principal, clock, asked }
}

/** Why it was refused, as operators are told. */
const reasonOf = ({ error }: { readonly error?: unknown }): string => String((error as Error).cause)

describe('who a certificate is for', () => {
  test('is its full name, by the issuer and its key, until it ends', async () => {
    const principal = await probe().principal(alice)
    expect(principal).toEqual({
      subject: 'CN=alice,O=Example,C=DE',
      issuer: expect.stringMatching(/^CN=Clients CA,O=Example;key=sha256:[\w-]{43}$/),
      claims: { dn: 'CN=alice,O=Example,C=DE', serialNumber: alice.serialNumber, uris: [], dnsNames: [], emails: [] },
      expiresAtMs: NOW + DAY_MS,
      tokenId: certificateId(alice.cert),
      factors: [],
    })
    expect(Object.isFrozen(principal.claims)).toBe(true)
  })

  test('is another identity under another CA of the same name', async () => {
    const theirs = await namesake.issue({ dn: [{ C: 'DE' }, { O: 'Example' }, { CN: 'alice' }], ...validity })
    const { principal } = probe({ ca: [own.cert, namesake.cert] })
    const [mine, other] = [await principal(alice), await principal(theirs)]
    expect(other.subject).toBe(mine.subject)
    expect(other.issuer).not.toBe(mine.issuer)
  })

  test('is the same identity when the certificate of the CA is renewed for the same key', async () => {
    const renewed = await ca({ dn: [{ O: 'Example' }, { CN: 'Clients CA' }], keys: own.keys, ...long })
    expect((await probe({ ca: renewed.cert }).principal(alice)).issuer).toBe((await probe().principal(alice)).issuer)
  })

  test('is the alternative name of the kind that was asked for', async () => {
    const service = await issue({
      san: [
        { type: 'url', value: 'spiffe://example.org/ns/a,b"c\\d' },
        { type: 'dns', value: 'Worker.Example.ORG' },
        { type: 'email', value: "o'Neil@example.org" },
        { type: 'ip', value: '10.0.0.1' },
      ],
    })
    const subjectBy = async (subject: NonNullable<MtlsOptions['subject']>) => (await probe({ subject }).principal(service)).subject
    expect(await subjectBy('san-uri')).toBe('spiffe://example.org/ns/a,b"c\\d')
    expect(await subjectBy('san-dns')).toBe('worker.example.org')
    expect(await subjectBy('san-email')).toBe("o'Neil@example.org")
    expect(await subjectBy('dn')).toBe('CN=client')
  })

  test.each(['san-uri', 'san-dns', 'san-email'] as const)('is nobody where %s is missing, or there twice', async (subject) => {
    const type = { 'san-uri': 'url', 'san-dns': 'dns', 'san-email': 'email' } as const
    const name = (value: string) => ({ type: type[subject], value })
    const { connect } = probe({ subject })
    expect(await connect(alice)).toEqual(denied('UNAUTHENTICATED'))
    expect(await connect(await issue({ san: [name('a@b.example'), name('c@d.example')] }))).toEqual(denied('UNAUTHENTICATED'))
    expect(await connect(await issue({ san: [name('a@b.example')] }))).toEqual(admitted())
  })

  test('is nobody without a name', async () => {
    expect(reasonOf(await probe().connect(await issue({ dn: [] })))).toContain('not exactly one dn')
  })

  test('is nobody where an alternative name hides another one behind a NUL', async () => {
    const forged = await issue({ san: [{ type: 'dns', value: 'admin.example\u0000.evil.example' }] })
    expect(await probe({ subject: 'san-dns' }).connect(forged)).toEqual(denied('UNAUTHENTICATED'))
  })

  test('cannot be made to look like another name', async () => {
    const names = [
      [{ O: 'Example' }, { CN: 'alice' }],
      [{ CN: 'alice,O=Example' }],
      [{ CN: 'alice\nO=Example' }],
      [{ CN: 'alice + O=Example' }],
      [{ CN: 'alice+O=Example' }],
      [{ CN: 'alice', O: 'Example' }],
      [{ CN: 'alice' }, { O: 'Example' }],
      [{ CN: 'alice\u0000,O=Example' }],
      [{ CN: 'alice\\,O=Example' }],
      [{ CN: 'alice' }, { O: 'Example ' }],
      [{ CN: ' alice' }, { O: 'Example' }],
      [{ CN: '#alice' }, { O: 'Example' }],
      [{ CN: 'älice' }, { O: 'Example' }],
      [{ CN: 'alice' }, { OU: 'Example' }],
    ]
    const subjects: string[] = []
    const { principal } = probe()
    for (const dn of names) subjects.push((await principal(await issue({ dn }))).subject)
    expect(new Set(subjects).size).toBe(names.length)
    expect(subjects.slice(0, 6)).toEqual(['CN=alice,O=Example', 'CN=alice\\,O=Example', 'CN=alice\\0AO=Example', 'CN=alice \\+ O=Example', 'CN=alice\\+O=Example', 'CN=alice+O=Example'])
  })

  test('is who the application says, with its claims beside those of the certificate', async () => {
    const seen: ClientCertificate[] = []
    const identify = async (certificate: ClientCertificate) => {
      seen.push(certificate)
      return certificate.serialNumber === alice.serialNumber ? { subject: 'user-1', issuer: 'https://id.example', claims: { role: 'admin', serialNumber: 'forged' } } : undefined
    }
    const { principal, connect } = probe({ identify })
    expect(await principal(alice)).toMatchObject({ subject: 'user-1', issuer: 'https://id.example', claims: { role: 'admin', serialNumber: alice.serialNumber } })
    expect(await connect(await issue())).toEqual(denied('UNAUTHENTICATED'))
    expect(Object.isFrozen(seen[0])).toBe(true)
    expect(new X509Certificate(seen[0]!.raw).serialNumber).toBe(alice.serialNumber)
  })

  test.each([
    ['null', null],
    ['a text', 'alice'],
    ['a misspelt member', { subject: 'alice', claim: {} }],
    ['no subject', { claims: {} }],
  ])('is a fault where the application answers with %s', async (_, answer) => {
    expect(await probe({ identify: () => answer as never }).connect(alice)).toEqual(faulted())
  })

  test('is decided in the same tick as long as the application is synchronous', async () => {
    expect((await probe({ isRevoked: () => false }).connect(alice)).sync).toBe(true)
  })
})

describe('which certificate is none', () => {
  const refusals: [string, (options: Partial<MtlsOptions>) => Promise<unknown>, string][] = [
    ['one whose chain TLS has not verified', (options) => probe(options).connect(alice, { authorized: false }), 'not verified'],
    ['one that failed at a renegotiation', (options) => probe(options).connect(alice, { authorizationError: 'SELF_SIGNED_CERT' }), 'not verified'],
    ['one over polling', (options) => probe(options).connect(alice, { upgrade: false }), 'polling'],
    ['one of another CA of the same name', async (options) => probe(options).connect(await namesake.issue(validity)), 'none of the configured'],
    ['one of another CA that leaves out whose key has signed it', async (options) => probe(options).connect(await namesake.issue({ ...validity, anonymousIssuer: true })), 'none of the configured'],
    ['one of a trusted CA, shown with a CA of its own', async (options) => probe(options).connect(await namesake.issue(validity), { sent: [namesake.cert] }), 'none of the configured'],
    ['one that vouches for itself', async (options) => probe(options).connect(await selfSigned(validity)), 'none of the configured'],
    ['one whose end has come', async (options) => probe(options).connect(await issue({ notBefore: new Date(NOW - DAY_MS), notAfter: new Date(NOW) })), 'no longer valid'],
    ['one that is not valid yet', async (options) => probe(options).connect(await issue({ notBefore: new Date(NOW + 1_000) })), 'not valid yet'],
    ['one for servers', async (options) => probe(options).connect(await issue({ eku: [purposes.server] })), 'for clients'],
    ['the one of a CA', (options) => probe(options).connect(own), 'of a CA'],
    ['none', (options) => probe(options).connect(undefined), 'no credential'],
  ]

  test.each(refusals)('%s is refused in the same words, and operators are told why', async (_, connect, reason) => {
    const result = (await connect({ dangerouslyAllowAnyPurpose: true })) as Awaited<ReturnType<ReturnType<typeof probe>['connect']>>
    expect(result).toEqual(denied('UNAUTHENTICATED'))
    expect(result.refusal).toEqual({ code: 'UNAUTHENTICATED', message: 'Valid credentials are required.', id: expect.any(String) })
    expect(reasonOf(result)).toContain(reason)
  })

  test.each([
    ['says nothing of its purpose', []],
    ['is for any purpose', [purposes.any]],
  ])('one that %s is refused unless that is accepted in so many words', async (_, eku) => {
    const vague = await issue({ eku })
    expect(await probe().connect(vague)).toEqual(denied('UNAUTHENTICATED'))
    expect(await probe({ dangerouslyAllowAnyPurpose: true }).connect(vague)).toEqual(admitted())
  })

  test('polling is accepted where that was said in so many words', async () => {
    expect(await probe({ dangerouslyAllowPolling: true }).connect(alice, { upgrade: false })).toEqual(admitted())
  })

  test('one that names another issuer than the one whose key has signed it is refused', async () => {
    const renamed = await ca({ dn: [{ CN: 'Another name' }], keys: own.keys, ...long })
    expect(await probe({ ca: renamed.cert }).connect(alice)).toEqual(denied('UNAUTHENTICATED'))
  })

  test('a CA whose own time is over vouches for nobody', async () => {
    const old = await ca({ dn: [{ CN: 'Old CA' }], notBefore: new Date(NOW - 2 * DAY_MS), notAfter: new Date(NOW) })
    expect(await probe({ ca: old.cert }).connect(await old.issue(validity))).toEqual(denied('UNAUTHENTICATED'))
  })

  test.each(['connect', 'recover', 'refresh', 'reauthorize'] as const)('for the cause %s it is looked for only where a connection has just been made', (cause) => {
    const scheme = mtls({ ca: own.cert })
    expect(scheme.read({ ...connection(alice), cause } as never) !== undefined).toBe(cause === 'connect' || cause === 'recover')
  })

  test.each([
    ['no request', { request: undefined }],
    ['no TLS', { request: { socket: { authorized: true }, upgrade: true } }],
    ['a TLS session that was resumed without a certificate', { request: { socket: { authorized: true, getPeerX509Certificate: () => undefined }, upgrade: true } }],
  ])('%s is no credential', (_, shown) => {
    expect(mtls({ ca: own.cert }).read({ cause: 'connect', ...shown } as never)).toBeUndefined()
  })
})

describe('an intermediate CA', () => {
  const link = async () => {
    const lower = await own.authority({ dn: [{ CN: 'Lower CA' }], ...long })
    return { lower, leaf: await lower.issue(validity) }
  }

  test('that the client sends is who has issued the certificate, where it leads to a configured one', async () => {
    const { lower, leaf } = await link()
    expect((await probe().principal(leaf, { sent: [lower.cert] })).issuer).toMatch(/^CN=Lower CA;key=/)
    expect(await probe().connect(leaf)).toEqual(denied('UNAUTHENTICATED'))
  })

  test('may be configured itself, so that nothing need be sent', async () => {
    const { lower, leaf } = await link()
    const configured = await probe({ ca: `${own.cert}\n${lower.cert}` }).principal(leaf)
    expect(configured.issuer).toBe((await probe().principal(leaf, { sent: [lower.cert] })).issuer)
  })

  test('that a client has made itself is none, also where it bears the name and the key of a real one', async () => {
    const { lower, leaf } = await link()
    const forged = await ca({ dn: [{ CN: 'Lower CA' }], keys: lower.keys, ...long })
    const strangers = await ca({ dn: [{ CN: 'Lower CA' }], ...long })
    expect(await probe().connect(leaf, { sent: [forged.cert] })).toEqual(denied('UNAUTHENTICATED'))
    expect(await probe().connect(leaf, { sent: [strangers.cert] })).toEqual(denied('UNAUTHENTICATED'))
    expect((await probe().principal(leaf, { sent: [strangers.cert, lower.cert] })).issuer).toMatch(/^CN=Lower CA;key=/)
  })

  test('that leads to a CA nobody has configured vouches for nobody', async () => {
    const lower = await namesake.authority({ dn: [{ CN: 'Lower CA' }], ...long })
    const leaf = await lower.issue(validity)
    for (const sent of [[lower.cert], [lower.cert, namesake.cert], [lower.cert, own.cert]]) expect(await probe().connect(leaf, { sent })).toEqual(denied('UNAUTHENTICATED'))
  })

  test('that is no CA vouches for nobody: a client cannot sign others in', async () => {
    for (const signsOthers of [false, true]) {
      const client = await own.issue({ dn: [{ CN: 'Lower CA' }], signsOthers, ...validity })
      const pretender = await ca({ dn: [{ CN: 'Lower CA' }], keys: client.keys, ...long })
      expect(await probe().connect(await pretender.issue(validity), { sent: [client.cert] })).toEqual(denied('UNAUTHENTICATED'))
    }
  })

  test('may have others above it, but none that go in circles', async () => {
    let lowest = await own.authority({ dn: [{ CN: 'CA 0' }], ...long })
    const sent = [lowest.cert]
    for (let depth = 1; depth < 5; depth++) {
      lowest = await lowest.authority({ dn: [{ CN: `CA ${depth}` }], ...long })
      sent.unshift(lowest.cert)
    }
    const leaf = await lowest.issue(validity)
    expect((await probe().principal(leaf, { sent })).issuer).toMatch(/^CN=CA 4;key=/)

    const [a, b] = [await ca({ dn: [{ CN: 'A' }], ...long }), await ca({ dn: [{ CN: 'B' }], ...long })]
    const circle = [await b.authority({ dn: [{ CN: 'A' }], keys: a.keys, ...long }), await a.authority({ dn: [{ CN: 'B' }], keys: b.keys, ...long })]
    expect(await probe().connect(await a.issue(validity), { sent: circle.map(({ cert }) => cert) })).toEqual(denied('UNAUTHENTICATED'))
  })
})

describe('how long it holds', () => {
  test('as long as the certificate, or as lifetimeMs says, whichever ends first', async () => {
    expect((await probe({ lifetimeMs: 60_000 }).principal(alice)).expiresAtMs).toBe(NOW + 60_000)
    expect((await probe({ lifetimeMs: 60_000 }, { at: NOW + DAY_MS - 1_000 }).principal(alice)).expiresAtMs).toBe(NOW + DAY_MS)
  })

  test('a peer is nobody from the moment its certificate ends', async () => {
    const { connect, clock } = probe()
    clock.advance(DAY_MS - 1)
    expect(await connect(alice)).toEqual(admitted())
    clock.advance(1)
    expect(await connect(alice)).toEqual(denied('UNAUTHENTICATED'))
  })
})

describe('the id of a certificate', () => {
  test('is the same for its PEM, its DER, and what Node makes of it', () => {
    const x509 = new X509Certificate(alice.cert)
    expect(certificateId(alice.cert)).toMatch(/^sha256:[\w-]{43}$/)
    expect([certificateId(x509.raw), certificateId(x509)]).toEqual([certificateId(alice.cert), certificateId(alice.cert)])
    expect(certificateId(own.cert)).not.toBe(certificateId(alice.cert))
  })

  test('is the same under the other signature that anybody can make, while the fingerprint is another one', async () => {
    const other = withOtherSignature(alice.cert)
    expect(new X509Certificate(other).verify(new X509Certificate(own.cert).publicKey)).toBe(true)
    expect(new X509Certificate(other).fingerprint256).not.toBe(new X509Certificate(alice.cert).fingerprint256)
    expect(certificateId(other)).toBe(certificateId(alice.cert))
    expect((await probe().principal({ cert: other })).tokenId).toBe(certificateId(alice.cert))
  })

  test('covers all that was signed, also of a certificate that is long', async () => {
    const uri = `urn:x:${'y'.repeat(70_000)}`
    const [first, second] = [await issue({ san: [{ type: 'url', value: uri }], serialNumber: '41' }), await issue({ san: [{ type: 'url', value: uri }], serialNumber: '41' })]
    expect(certificateId(first.cert)).not.toBe(certificateId(second.cert))
  })
})

describe('revocation', () => {
  const gateOf = () => {
    const revoked: [string, string][] = []
    return { revoked, revoke: async ({ token }: { token: string }, { reason }: { reason: string }) => void revoked.push([token, reason]) }
  }

  test('refuses what the list names, and asks it at every connect', async () => {
    const list = new Set<string>()
    const { connect } = probe({ isRevoked: ({ serialNumber }) => list.has(serialNumber) })
    expect(await connect(alice)).toEqual(admitted())
    list.add(alice.serialNumber)
    const refused = await connect(alice)
    expect(refused).toEqual(denied('UNAUTHENTICATED'))
    expect(reasonOf(refused)).toContain('revoked')
  })

  test.each<[string, MtlsOptions['isRevoked']]>([
    ['throws', () => { throw new Error('down') }],
    ['rejects', () => Promise.reject(new Error('down'))],
  ])('lets nobody in while the list %s', async (_, isRevoked) => {
    expect(await probe({ isRevoked: isRevoked! }).connect(alice)).toEqual(denied('UNAVAILABLE'))
  })

  test.each([undefined, null, 0, 'false', {}])('takes the answer %p for none', async (answer) => {
    expect(await probe({ isRevoked: () => answer as never }).connect(alice)).toEqual(faulted())
    expect(await probe({ isRevoked: async () => answer as never }).connect(alice)).toEqual(faulted())
  })

  test('rechecks who is here, and nobody else', async () => {
    const list = new Set<string>()
    const asked: string[] = []
    const isRevoked = async (certificate: ClientCertificate) => {
      asked.push(certificate.serialNumber)
      return list.has(certificate.serialNumber)
    }
    const { scheme, connect } = probe({ isRevoked })
    const [bob, gone, refused] = [await issue(), await issue(), await issue({ eku: [purposes.server] })]
    await connect(alice)
    const second = await connect(alice)
    await connect(bob)
    ;(await connect(gone)).close()
    await connect(refused)
    second.close()
    asked.length = 0
    for (const { serialNumber } of [alice, bob, gone]) list.add(serialNumber)

    const gate = gateOf()
    const { checked, revoked } = await scheme.recheck(gate)
    expect(asked.sort()).toEqual([alice.serialNumber, bob.serialNumber].sort())
    expect(gate.revoked.sort()).toEqual([[certificateId(alice.cert), 'certificate revoked'], [certificateId(bob.cert), 'certificate revoked']].sort())
    expect([checked, revoked.map(({ serialNumber }) => serialNumber).sort()]).toEqual([2, asked])
  })

  test('rechecks who is still being asked about', async () => {
    let answer = (_revoked: boolean): void => {}
    const { scheme, connect } = probe({ isRevoked: () => new Promise((resolve) => (answer = resolve)) })
    const connecting = connect(alice)
    const letIn = answer
    const gate = gateOf()
    const rechecking = scheme.recheck(gate)
    answer(true)
    await rechecking
    letIn(false)
    expect(await connecting).toEqual(admitted())
    expect(gate.revoked).toEqual([[certificateId(alice.cert), 'certificate revoked']])
  })

  test('goes on with the others where one cannot be asked about, and says so', async () => {
    const bob = await issue()
    let isReloaded = false
    const { scheme, connect } = probe({
      isRevoked: ({ serialNumber }) => {
        if (!isReloaded) return false
        if (serialNumber === bob.serialNumber) return true
        throw new Error('down')
      },
    })
    await connect(alice)
    await connect(bob)
    isReloaded = true
    const gate = gateOf()
    await expect(scheme.recheck(gate)).rejects.toThrow('1 of 2 certificates')
    expect(gate.revoked).toEqual([[certificateId(bob.cert), 'certificate revoked']])
    const broken = { revoke: () => Promise.reject(new Error('no store')) }
    await expect(scheme.recheck(broken)).rejects.toBeInstanceOf(AggregateError)
  })

  test('cannot recheck without a list, or without a gate', async () => {
    await expect(mtls({ ca: own.cert }).recheck(gateOf())).rejects.toThrow('isRevoked')
    await expect(mtls({ ca: own.cert, isRevoked: () => false }).recheck({} as never)).rejects.toThrow('gate')
  })

  test('remembers nobody who has left or was refused', async () => {
    const { scheme, connect } = probe({ isRevoked: () => false, identify: () => undefined })
    await connect(alice)
    expect(await scheme.recheck(gateOf())).toEqual({ checked: 0, revoked: [] })
  })
})

describe('the options', () => {
  test.each<[string, unknown, string]>([
    ['no object', undefined, 'an object of options'],
    ['no CA', {}, 'ca takes the CAs'],
    ['an empty list of CAs', { ca: [] }, 'it is empty'],
    ['what is no certificate', { ca: 'nonsense' }, 'cannot be read'],
    ['a number for a CA', { ca: [7] }, 'got number 7'],
    ['a certificate that is of no CA', { ca: [own.cert, alice.cert] }, 'CN=alice,O=Example,C=DE is not the certificate of a CA'],
    ['an unknown option', { ca: own.cert, cert: '' }, 'unknown option "cert"'],
    ['a subject that is none', { ca: own.cert, subject: 'cn' }, 'subject is one of dn, san-uri'],
    ['two ways to say who', { ca: own.cert, subject: 'dn', identify: () => undefined }, 'Take one of them'],
    ['an identify that is no function', { ca: own.cert, identify: 'dn' }, 'identify is a function'],
    ['an isRevoked that is no function', { ca: own.cert, isRevoked: new Set() }, 'isRevoked is a function'],
    ['a lifetime of nothing', { ca: own.cert, lifetimeMs: 0 }, 'lifetimeMs is a positive'],
    ['a lifetime that is no number', { ca: own.cert, lifetimeMs: NaN }, 'lifetimeMs is a positive'],
    ['a flag that is none', { ca: own.cert, dangerouslyAllowAnyPurpose: 'yes' }, 'true or false'],
    ['another flag that is none', { ca: own.cert, dangerouslyAllowPolling: 1 }, 'true or false'],
  ])('%s is a mistake', (_, options, message) => {
    expect(() => mtls(options as never)).toThrow(message)
  })

  test('takes CAs as PEM, as a bundle, as bytes, as Node has them, and several', () => {
    const x509 = new X509Certificate(own.cert)
    for (const given of [own.cert, `${own.cert}\n# and another\n${namesake.cert}`, Buffer.from(own.cert), x509.raw, x509, [own.cert, namesake.cert]]) expect(mtls({ ca: given }).name).toBe('mtls')
  })

  test('what the application throws stays what it is', async () => {
    const identify = () => { throw new Denied('FORBIDDEN') }
    expect(await probe({ identify }).connect(alice)).toEqual(denied('FORBIDDEN'))
    expect(await probe({ identify: () => { throw new Error('broken') } }).connect(alice)).toEqual(faulted())
  })
})
