import { createHash, X509Certificate } from 'node:crypto'

/** A client certificate whose chain was verified, as `identify` and `isRevoked` get it. Frozen. */
export interface ClientCertificate {
  /** Identifies it: the digest of what the CA has signed. The `tokenId` of its principal. */
  readonly id: string
  /** The full distinguished name of its subject (RFC 4514), such as `CN=alice,O=Example`; empty when it has none. */
  readonly subject: string
  /** The CA that issued it: its distinguished name and the digest of its key. */
  readonly issuer: string
  /** Unique within its issuer only. Upper-case hexadecimal. */
  readonly serialNumber: string
  /** Its alternative names (RFC 5280 4.2.1.6) of the kinds that identify a client. */
  readonly uris: readonly string[]
  readonly dnsNames: readonly string[]
  readonly emails: readonly string[]
  /** In milliseconds since the epoch. */
  readonly validFromMs: number
  readonly validToMs: number
  /** All of it in DER, for `new X509Certificate(raw)` of `node:crypto`. Its fingerprint is not fit for a list of what is revoked. */
  readonly raw: Buffer
}

/**
 * The id a client certificate is revoked under: `gate.revoke({ token: certificateId(pem) }, { reason })`. It covers what the CA has signed and
 * leaves out the signature: of an ECDSA signature anybody can make a second one that verifies too, so that a fingerprint can be changed.
 *
 * @param certificate in PEM or DER, or as `node:crypto` has it
 * @throws Error of Node for anything else
 */
export function certificateId(certificate: string | Uint8Array | X509Certificate): string {
  const { raw } = certificate instanceof X509Certificate ? certificate : new X509Certificate(certificate)
  const start = contentStart(raw, 0)
  return `sha256:${createHash('sha256').update(raw.subarray(start, contentEnd(raw, start))).digest('base64url')}`
}

/** Where the content of an element of DER begins (X.690 8.1.3). */
function contentStart(der: Buffer, at: number): number {
  const first = der[at + 1]!
  return at + 2 + (first < 0x80 ? 0 : first & 0x7f)
}

function contentEnd(der: Buffer, at: number): number {
  const first = der[at + 1]!
  return contentStart(der, at) + (first < 0x80 ? first : der.readUIntBE(at + 2, first & 0x7f))
}

/** @returns undefined for one whose names or dates cannot be read without doubt */
export function readCertificate(x509: X509Certificate, issuer: string): ClientCertificate | undefined {
  const names = alternativeNames(x509.subjectAltName)
  const { from, to } = validityOf(x509)
  if (names === undefined || !Number.isFinite(from) || !Number.isFinite(to)) return undefined
  return Object.freeze({
    id: certificateId(x509),
    subject: distinguishedName(x509.subject),
    issuer,
    serialNumber: x509.serialNumber,
    ...names,
    validFromMs: from,
    validToMs: to,
    raw: x509.raw,
  })
}

/** In milliseconds since the epoch. */
export function validityOf({ validFrom, validTo }: X509Certificate): { readonly from: number; readonly to: number } {
  return { from: Date.parse(validFrom), to: Date.parse(validTo) }
}

/**
 * The name in the order and with the separators of RFC 4514. Node has each part on a line of its own, the most general first; within the parts
 * everything is escaped that could be taken for a separator, so that two names are one text only where they are one name.
 */
export function distinguishedName(lines: string | undefined): string {
  if (lines === undefined || lines === '') return ''
  const parts = lines.split('\n').map((part) => part.split(' + ').sort().join('+'))
  return parts.reverse().join(',')
}

type AlternativeNames = Pick<ClientCertificate, 'uris' | 'dnsNames' | 'emails'>

/** One name: its kind, and either a JSON text or one that has no comma. */
const NAME = /([A-Za-z][\w ]*):("(?:[^"\\]|\\.)*"|[^,"]*)(?:, |$)/y
const KINDS: Readonly<Record<string, keyof AlternativeNames>> = { URI: 'uris', DNS: 'dnsNames', email: 'emails' }

/** @param text as Node writes it: what could be mistaken for a separator stands in a JSON text */
export function alternativeNames(text: string | undefined): AlternativeNames | undefined {
  const found = { uris: [] as string[], dnsNames: [] as string[], emails: [] as string[] }
  for (let at = 0; text !== undefined && at < text.length; at = NAME.lastIndex) {
    NAME.lastIndex = at
    const [, kind = '', value = ''] = NAME.exec(text) ?? []
    if (kind === '') return undefined
    const list = Object.hasOwn(KINDS, kind) ? KINDS[kind]! : undefined
    if (list === undefined) continue
    const name = value.startsWith('"') ? unquoted(value) : value
    // A control character is no part of such a name; a NUL once made one pass for another.
    if (name === undefined || name === '' || /\p{Cc}/u.test(name)) return undefined
    // Host names do not differ by case (RFC 5280 7.2).
    found[list].push(list === 'dnsNames' ? name.toLowerCase() : name)
  }
  return { uris: Object.freeze(found.uris), dnsNames: Object.freeze(found.dnsNames), emails: Object.freeze(found.emails) }
}

function unquoted(text: string): string | undefined {
  try {
    return JSON.parse(text) as string
  } catch {
    return undefined
  }
}
