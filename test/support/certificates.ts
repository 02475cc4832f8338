import { createPrivateKey, randomBytes, webcrypto } from 'node:crypto'
import type { KeyObject } from 'node:crypto'

// Certificates are made while the tests run: none can be out of date, and no private key is in the repository.

const metadata = new WeakMap<object, Map<unknown, unknown>>()

// What the library's dependency injection asks of `Reflect`, and all of it: the whole polyfill would be a dependency of its own.
Object.assign(Reflect, {
  defineMetadata(key: unknown, value: unknown, target: object): void {
    let own = metadata.get(target)
    if (own === undefined) metadata.set(target, (own = new Map()))
    own.set(key, value)
  },
  getOwnMetadata: (key: unknown, target: object): unknown => metadata.get(target)?.get(key),
  getMetadata(key: unknown, target: object): unknown {
    for (let at: object | null = target; at !== null; at = Object.getPrototypeOf(at) as object | null) {
      const own = metadata.get(at)
      if (own?.has(key) === true) return own.get(key)
    }
    return undefined
  },
})

const x509 = await import('@peculiar/x509')
x509.cryptoProvider.set(webcrypto as never)

/** What a key of a certificate may be used for: the OIDs of RFC 5280 4.2.1.12. */
export const purposes = { client: '1.3.6.1.5.5.7.3.2', server: '1.3.6.1.5.5.7.3.1', any: '2.5.29.37.0' }

/** One relative distinguished name after the other, each with its attributes. */
export type Name = readonly Readonly<Record<string, string>>[]

export interface CertificateOptions {
  /** Default: `CN=client`. */
  readonly dn?: Name
  readonly san?: readonly { readonly type: 'url' | 'dns' | 'email' | 'ip'; readonly value: string }[]
  /** Default: that of a client. Empty: the certificate does not say. */
  readonly eku?: readonly string[]
  /** Default: an hour ago. */
  readonly notBefore?: Date
  /** Default: in an hour. */
  readonly notAfter?: Date
  /** In hexadecimal. Default: by chance. */
  readonly serialNumber?: string
  /** A certificate that may sign others. */
  readonly ca?: boolean
  /** Says that it may sign others, without being a CA. */
  readonly signsOthers?: boolean
  /** Without the identifier of the issuer's key, which tells issuers of one name apart. */
  readonly anonymousIssuer?: boolean
  /** The keys it is for, where it is to share them with another one. */
  readonly keys?: webcrypto.CryptoKeyPair
}

/** A certificate and its private key, as `node:https` takes them. */
export interface Issued {
  readonly cert: string
  readonly key: string
  readonly keys: webcrypto.CryptoKeyPair
  readonly privateKey: KeyObject
  /** As text, in upper case, as Node shows it. */
  readonly serialNumber: string
}

/** One that issues others. */
export interface Authority extends Issued {
  issue(options?: CertificateOptions): Promise<Issued>
  /** An authority below this one. */
  authority(options?: CertificateOptions): Promise<Authority>
}

type Algorithm = webcrypto.EcKeyGenParams & webcrypto.EcdsaParams & webcrypto.RsaHashedKeyGenParams

const algorithms = {
  ec: { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as Algorithm,
  rsa: { name: 'RSASSA-PKCS1-v1_5', modulusLength: 2_048, publicExponent: new Uint8Array([1, 0, 1]), hash: 'SHA-256' } as Algorithm,
}
/** What the key of a certificate, and with it what it signs, is made with. */
export type KeyKind = keyof typeof algorithms

interface Signing {
  readonly name: Name
  readonly keys: webcrypto.CryptoKeyPair
}

const HOUR_MS = 3_600_000

async function make(options: CertificateOptions, signer: Signing | undefined, kind: KeyKind): Promise<Authority> {
  const { dn = [{ CN: 'client' }], san = [], eku = [purposes.client], ca = false, signsOthers = false, anonymousIssuer = false } = options
  const keys = options.keys ?? (await webcrypto.subtle.generateKey(algorithms[kind], true, ['sign', 'verify']))
  const signing = signer ?? { name: dn, keys }
  // A first byte below 0x80 and above 0: Node shows neither a sign nor leading zeros.
  const serialNumber = (options.serialNumber ?? `4f${randomBytes(8).toString('hex')}`).toUpperCase()
  const { KeyUsageFlags: flags } = x509
  const extensions: InstanceType<typeof x509.Extension>[] = [
    new x509.BasicConstraintsExtension(ca, undefined, true),
    new x509.KeyUsagesExtension(ca || signsOthers ? flags.keyCertSign | flags.cRLSign : flags.digitalSignature, true),
    await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
  ]
  if (!anonymousIssuer) extensions.push(await x509.AuthorityKeyIdentifierExtension.create(signing.keys.publicKey as never))
  if (!ca && eku.length > 0) extensions.push(new x509.ExtendedKeyUsageExtension([...eku]))
  if (san.length > 0) extensions.push(new x509.SubjectAlternativeNameExtension(san.map(({ type, value }) => ({ type, value }))))
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber,
    subject: nameOf(dn),
    issuer: nameOf(signing.name),
    notBefore: options.notBefore ?? new Date(Date.now() - HOUR_MS),
    notAfter: options.notAfter ?? new Date(Date.now() + HOUR_MS),
    publicKey: keys.publicKey as never,
    signingKey: signing.keys.privateKey,
    signingAlgorithm: { name: signing.keys.privateKey.algorithm.name, hash: 'SHA-256' },
    extensions,
  })
  const privateKey = createPrivateKey({ key: Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey)), format: 'der', type: 'pkcs8' })
  const own: Signing = { name: dn, keys }
  return {
    cert: certificate.toString('pem'),
    key: privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
    keys,
    privateKey,
    serialNumber,
    issue: (wanted = {}) => make(wanted, own, 'ec'),
    authority: (wanted = {}) => make({ dn: [{ CN: 'Lower CA' }], ...wanted, ca: true }, own, 'ec'),
  }
}

/** Text as it is: the library's own reading of names takes quotes and signs for syntax. */
function nameOf(name: Name): InstanceType<typeof x509.Name> {
  return new x509.Name(name.map((parts) => Object.fromEntries(Object.entries(parts).map(([type, value]) => [type, [{ utf8String: value }]]))))
}

/** An authority that nobody stands above. */
export function ca(options: CertificateOptions = {}, kind: KeyKind = 'ec'): Promise<Authority> {
  return make({ dn: [{ CN: 'Clients CA' }], ...options, ca: true }, undefined, kind)
}

/** A certificate that vouches for itself. */
export function selfSigned(options: CertificateOptions = {}): Promise<Issued> {
  return make(options, undefined, 'ec')
}

const P256_ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n

/**
 * The same certificate with the other one of the two signatures that ECDSA allows for it, (r, n - s): anybody can make it from the first, it
 * verifies as well, and its fingerprint is another one.
 */
export function withOtherSignature(pem: string): string {
  const [signed, algorithm, bits] = elements(Buffer.from(new x509.X509Certificate(pem).rawData)) as [Buffer, Buffer, Buffer]
  // A BIT STRING without unused bits, which holds a SEQUENCE of two INTEGERs.
  const [r, s] = elements(contentOf(bits).subarray(1)) as [Buffer, Buffer]
  const other = integer(P256_ORDER - BigInt(`0x${contentOf(s).toString('hex')}`))
  const signature = tlv(0x03, Buffer.from([0]), tlv(0x30, r, other))
  return new x509.X509Certificate(new Uint8Array(tlv(0x30, signed, algorithm, signature))).toString('pem')
}

/** The elements of a SEQUENCE, each with its tag and length. */
function elements(der: Buffer): Buffer[] {
  const found: Buffer[] = []
  for (let rest = contentOf(der); rest.length > 0; ) {
    const { end } = extent(rest)
    found.push(rest.subarray(0, end))
    rest = rest.subarray(end)
  }
  return found
}

function contentOf(der: Buffer): Buffer {
  const { start, end } = extent(der)
  return der.subarray(start, end)
}

/** Where the content of an element begins and ends (X.690 8.1.3). */
function extent(der: Buffer): { readonly start: number; readonly end: number } {
  const first = der[1]!
  const start = first < 0x80 ? 2 : 2 + (first & 0x7f)
  const length = first < 0x80 ? first : der.readUIntBE(2, first & 0x7f)
  return { start, end: start + length }
}

function integer(value: bigint): Buffer {
  const digits = value.toString(16)
  const bytes = Buffer.from(digits.length % 2 === 0 ? digits : `0${digits}`, 'hex')
  return tlv(0x02, bytes[0]! >= 0x80 ? Buffer.concat([Buffer.from([0]), bytes]) : bytes)
}

function tlv(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(parts)
  const { length } = content
  const head = length < 0x80 ? [tag, length] : length < 0x100 ? [tag, 0x81, length] : [tag, 0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from(head), content])
}
