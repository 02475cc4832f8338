import { createHash, X509Certificate } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { ConfigError } from '../../lib/errors.ts'
import { describe } from '../../lib/policy.ts'
import { distinguishedName, validityOf } from './certificate.ts'

/** A certificate, or in PEM a bundle of several. */
export type CertificateSource = string | Uint8Array | X509Certificate

/**
 * The CAs whose clients are let in. TLS has verified a chain, but does not say which: what it shows is what the client has sent, and a client may
 * send certificates of its own making that bear the name of a CA. So each link is checked here, up to one that was configured.
 */
export class Authorities {
  readonly #trusted: readonly Authority[]

  /** @throws ConfigError for anything but certificates of CAs */
  constructor(ca: unknown) {
    const sources: readonly unknown[] = Array.isArray(ca) ? ca : [ca]
    this.#trusted = sources.flatMap(certificatesIn).map((x509) => new Authority(x509))
    if (this.#trusted.length === 0) fail('it is empty')
    for (const { x509 } of this.#trusted) if (!x509.ca) fail(`${distinguishedName(x509.subject)} is not the certificate of a CA`)
  }

  /**
   * @param sent what the client has sent beside its own
   * @returns who issued the certificate; undefined where that is none of the configured ones, and none that leads to one
   */
  issuerOf(leaf: X509Certificate, sent: readonly X509Certificate[], now: number): string | undefined {
    let issuer: Authority | undefined
    // No chain is longer than what it is made of; one that goes in circles is none.
    for (let child = leaf, depth = 0; depth <= sent.length; depth++) {
      const trusted = this.#trusted.find((authority) => authority.issued(child, now))
      if (trusted !== undefined) return (issuer ?? trusted).name
      const parent = sent.map((x509) => new Authority(x509)).find((authority) => authority.x509.ca && authority.issued(child, now))
      if (parent === undefined) return undefined
      issuer ??= parent
      child = parent.x509
    }
    return undefined
  }
}

class Authority {
  #key: KeyObject | undefined
  #name: string | undefined

  constructor(readonly x509: X509Certificate) {}

  /** By name, key and signature; and it may still do so. */
  issued(child: X509Certificate, now: number): boolean {
    if (!child.checkIssued(this.x509)) return false
    const { from, to } = validityOf(this.x509)
    if (!(now >= from && now < to)) return false
    try {
      return child.verify((this.#key ??= this.x509.publicKey))
    } catch {
      // A key of a kind that could not have signed it.
      return false
    }
  }

  /** Two CAs of one name have two keys. The key, not the certificate: a CA whose certificate is renewed stays who it is. */
  get name(): string {
    return (this.#name ??= `${distinguishedName(this.x509.subject)};key=sha256:${keyDigest(this.x509)}`)
  }
}

function keyDigest({ publicKey }: X509Certificate): string {
  return createHash('sha256').update(publicKey.export({ format: 'der', type: 'spki' })).digest('base64url')
}

const PEM = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g

function certificatesIn(source: unknown): X509Certificate[] {
  if (source instanceof X509Certificate) return [source]
  if (typeof source !== 'string' && !(source instanceof Uint8Array)) return fail(`got ${describe(source)}`)
  const bundle = (typeof source === 'string' ? source : Buffer.from(source).toString('latin1')).match(PEM)
  try {
    return (bundle ?? [source]).map((each) => new X509Certificate(each))
  } catch {
    return fail('one of them cannot be read')
  }
}

function fail(what: string): never {
  throw new ConfigError(`mtls: ca takes the CAs that issue client certificates, in PEM or DER, or a list of them: those the HTTPS server has as its ca. Without them any CA the server trusts would do; ${what}.`)
}
