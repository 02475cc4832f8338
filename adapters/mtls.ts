import { isThenable } from '../lib/compose.ts'
import type { ConnectContext } from '../lib/context.ts'
import { ConfigError, Denied } from '../lib/errors.ts'
import { describe } from '../lib/policy.ts'
import type { Principal, Scheme } from '../lib/principal.ts'
import { Authorities } from './mtls/authorities.ts'
import type { CertificateSource } from './mtls/authorities.ts'
import { readCertificate } from './mtls/certificate.ts'
import type { ClientCertificate } from './mtls/certificate.ts'
import { LiveCertificates } from './mtls/live.ts'
import { presentedBy, sentWith } from './mtls/presented.ts'
import type { Presented } from './mtls/presented.ts'

export { certificateId } from './mtls/certificate.ts'
export type { CertificateSource } from './mtls/authorities.ts'
export type { ClientCertificate } from './mtls/certificate.ts'

/** Who a certificate is for, where the application decides. */
export interface CertificateIdentity {
  readonly subject: string
  /** Default: that of the certificate, its CA. */
  readonly issuer?: string
  /** Added to those of the certificate, which stay as they are. */
  readonly claims?: Readonly<Record<string, unknown>>
}

export interface MtlsOptions {
  /** The CAs whose clients are let in: PEM, DER or `X509Certificate`, one or several. Intermediate ones may be among them. */
  readonly ca: CertificateSource | readonly CertificateSource[]
  /** What of the certificate is the subject. Default `dn`, the full distinguished name. Of alternative names there has to be exactly one. */
  readonly subject?: 'dn' | 'san-uri' | 'san-dns' | 'san-email'
  /** Says who a certificate is for, in place of `subject`; `undefined` refuses it. */
  readonly identify?: (certificate: ClientCertificate) => CertificateIdentity | undefined | Promise<CertificateIdentity | undefined>
  /** Whether a certificate is revoked: asked at each connect, and by `recheck`. What it throws refuses as `UNAVAILABLE`. */
  readonly isRevoked?: (certificate: ClientCertificate) => boolean | Promise<boolean>
  /** How long a peer is believed, in milliseconds. Default: as long as its certificate is valid. */
  readonly lifetimeMs?: number
  /** Accepts certificates that do not say that they are for clients. */
  readonly dangerouslyAllowAnyPurpose?: boolean
  /** Accepts sessions that are opened by polling: only their first request is known to come from the holder of the key. */
  readonly dangerouslyAllowPolling?: boolean
}

/** What {@link MtlsScheme.recheck} did. */
export interface Recheck {
  /** How many certificates were asked about. */
  readonly checked: number
  /** Those that are revoked. */
  readonly revoked: readonly ClientCertificate[]
}

/** What `recheck` needs of a gate. */
export interface RevokingGate {
  revoke(target: { readonly token: string }, options: { readonly reason: string }): unknown
}

/** The scheme {@link mtls} makes. */
export interface MtlsScheme extends Scheme<Presented> {
  /**
   * Asks `isRevoked` about the certificate of each peer that is here, and revokes those it says `true` of: their sockets are closed, whatever
   * becomes of their TLS connections. Call it when the list has changed.
   *
   * @throws AggregateError when some could not be asked about or revoked; the others are done
   * @throws ConfigError without `isRevoked`
   */
  recheck(gate: RevokingGate): Promise<Recheck>
}

const KNOWN = new Set(['ca', 'subject', 'identify', 'isRevoked', 'lifetimeMs', 'dangerouslyAllowAnyPurpose', 'dangerouslyAllowPolling'])
/** `id-kp-clientAuth` (RFC 5280 4.2.1.12). */
const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2'
const ANY_PURPOSE = '2.5.29.37.0'
/** How many certificates `recheck` asks about at a time. */
const AT_A_TIME = 64

/**
 * A scheme for `authenticate`: the client certificate of the TLS connection (RFC 8446 4.4.2). The HTTPS server has to ask for it, with
 * `requestCert: true` and the same `ca`.
 *
 * @example
 * guard(io).use(authenticate(mtls({ ca, subject: 'san-uri', isRevoked: ({ serialNumber }) => revoked.has(serialNumber) })))
 * @throws ConfigError without the CAs, or for options that contradict each other
 */
export function mtls(options: MtlsOptions): MtlsScheme {
  if (typeof options !== 'object' || options === null) throw new ConfigError(`mtls takes an object of options; got ${describe(options)}.`)
  for (const key of Object.keys(options)) {
    if (!KNOWN.has(key)) throw new ConfigError(`mtls: unknown option "${key}". The options are ${[...KNOWN].join(', ')}.`)
  }
  return new CertificateScheme(options)
}

const subjects = {
  dn: ({ subject }) => (subject === '' ? undefined : subject),
  'san-uri': ({ uris }) => only(uris),
  'san-dns': ({ dnsNames }) => only(dnsNames),
  'san-email': ({ emails }) => only(emails),
} satisfies Record<string, (certificate: ClientCertificate) => string | undefined>

class CertificateScheme implements MtlsScheme {
  readonly name = 'mtls'
  readonly #authorities: Authorities
  readonly #identify: NonNullable<MtlsOptions['identify']>
  readonly #isRevoked: MtlsOptions['isRevoked']
  readonly #lifetimeMs: number
  readonly #anyPurpose: boolean
  readonly #polling: boolean
  readonly #live = new LiveCertificates()

  constructor(options: MtlsOptions) {
    const { subject, identify, lifetimeMs = Infinity } = options
    this.#authorities = new Authorities(options.ca)
    this.#isRevoked = fn(options.isRevoked, 'isRevoked')
    this.#anyPurpose = flag(options.dangerouslyAllowAnyPurpose, 'dangerouslyAllowAnyPurpose')
    this.#polling = flag(options.dangerouslyAllowPolling, 'dangerouslyAllowPolling')
    if (subject !== undefined && identify !== undefined) throw new ConfigError('mtls: subject and identify both say who a certificate is for. Take one of them.')
    if (subject !== undefined && !Object.hasOwn(subjects, subject)) throw new ConfigError(`mtls: subject is one of ${Object.keys(subjects).join(', ')}, or write identify(certificate); got ${describe(subject)}.`)
    if (typeof lifetimeMs !== 'number' || !(lifetimeMs > 0)) throw new ConfigError(`mtls: lifetimeMs is a positive number of milliseconds; got ${describe(lifetimeMs)}.`)
    this.#lifetimeMs = lifetimeMs
    const kind = subject ?? 'dn'
    this.#identify =
      fn(identify, 'identify') ??
      ((certificate) => {
        const name = subjects[kind](certificate)
        return name === undefined ? refuse(`not exactly one ${kind} in ${certificate.id}`) : { subject: name }
      })
  }

  /** A certificate belongs to a connection: no message brings another one. */
  readonly read = ({ cause, request }: ConnectContext): Presented | undefined => (cause === 'refresh' || cause === 'reauthorize' ? undefined : presentedBy(request))

  verify(presented: Presented, ctx: ConnectContext): Principal | Promise<Principal> {
    const certificate = this.#judge(presented, ctx.now)
    // Before it is asked about, so that a list that changes meanwhile finds it among the live ones.
    ctx.onClose(this.#live.add(certificate))
    return after(this.#ask(certificate), (revoked) => {
      if (revoked) refuse(`${certificate.id} is revoked`)
      return after(this.#identify(certificate), (identity) => this.#principal(certificate, identity, ctx.now))
    })
  }

  async recheck(gate: RevokingGate): Promise<Recheck> {
    if (this.#isRevoked === undefined) throw new ConfigError('mtls: recheck needs the option isRevoked, which says what is revoked.')
    if (typeof (gate as Partial<RevokingGate> | null)?.revoke !== 'function') throw new ConfigError(`mtls: recheck takes the gate that guard(io) has returned; got ${describe(gate)}.`)
    const certificates = this.#live.all()
    const revoked: ClientCertificate[] = []
    const failures: unknown[] = []
    const check = async (certificate: ClientCertificate): Promise<void> => {
      try {
        if (!(await this.#ask(certificate))) return
        await gate.revoke({ token: certificate.id }, { reason: 'certificate revoked' })
        revoked.push(certificate)
      } catch (error) {
        failures.push(error)
      }
    }
    for (let at = 0; at < certificates.length; at += AT_A_TIME) await Promise.all(certificates.slice(at, at + AT_A_TIME).map(check))
    if (failures.length > 0) throw new AggregateError(failures, `mtls: ${failures.length} of ${certificates.length} certificates could not be checked, or not be revoked`)
    return { checked: certificates.length, revoked }
  }

  /** What can be judged without asking anybody. */
  #judge({ verified, certificate: x509, lasting }: Presented, now: number): ClientCertificate {
    if (!verified) refuse('the chain of the certificate was not verified')
    if (!lasting && !this.#polling) refuse('opened by polling: who sends the other requests of the session is not known')
    if (x509.ca) refuse('the certificate of a CA')
    const issuer = this.#authorities.issuerOf(x509, sentWith(x509), now) ?? refuse('issued by none of the configured CAs')
    const certificate = readCertificate(x509, issuer) ?? refuse('names or dates that cannot be read without doubt')
    // Judged by TLS as well, but of a resumed session only when it was made.
    if (now < certificate.validFromMs) refuse('not valid yet')
    if (now >= certificate.validToMs) refuse('no longer valid')
    if (!this.#isForClients(x509.keyUsage)) refuse('not said to be for clients')
    return certificate
  }

  /**
   * RFC 5280 4.2.1.12 leaves it to applications whether a certificate has to name its purpose, and whether `anyExtendedKeyUsage` names one.
   * Here it has to, and it does not: what a CA makes for servers or for mail must not open a door as well.
   */
  #isForClients(purposes: readonly string[] | undefined): boolean {
    if (purposes?.includes(CLIENT_AUTH) === true) return true
    return this.#anyPurpose && (purposes === undefined || purposes.includes(ANY_PURPOSE))
  }

  /** @throws Denied `UNAVAILABLE` when nobody can say */
  #ask(certificate: ClientCertificate): boolean | Promise<boolean> {
    if (this.#isRevoked === undefined) return false
    const unavailable = (error: unknown): never => {
      throw new Denied('UNAVAILABLE', undefined, error)
    }
    let answer: unknown
    try {
      answer = this.#isRevoked(certificate)
    } catch (error) {
      return unavailable(error)
    }
    return isThenable(answer) ? Promise.resolve(answer).then(yesOrNo, unavailable) : yesOrNo(answer)
  }

  #principal(certificate: ClientCertificate, identity: unknown, now: number): Principal {
    const { subject, issuer = certificate.issuer, claims } = checkIdentity(identity, certificate)
    const { subject: dn, serialNumber, uris, dnsNames, emails } = certificate
    return {
      subject,
      issuer,
      claims: Object.freeze({ ...claims, dn, serialNumber, uris, dnsNames, emails }),
      expiresAtMs: Math.min(certificate.validToMs, now + this.#lifetimeMs),
      tokenId: certificate.id,
      factors: [],
    }
  }
}

const IDENTITY = new Set(['subject', 'issuer', 'claims'])

function checkIdentity(identity: unknown, { id }: ClientCertificate): CertificateIdentity {
  if (identity === undefined) refuse(`${id} is nobody's`)
  if (typeof identity !== 'object' || identity === null) throw new TypeError(`identify returns { subject, issuer?, claims? }, or undefined; got ${describe(identity)}`)
  const unknown = Object.keys(identity).find((key) => !IDENTITY.has(key))
  if (unknown !== undefined) throw new TypeError(`identify returned an unknown member "${unknown}": it returns { subject, issuer?, claims? }`)
  return identity as CertificateIdentity
}

/** A list that answers anything else has not answered. */
function yesOrNo(answer: unknown): boolean {
  if (typeof answer === 'boolean') return answer
  throw new TypeError(`isRevoked returns true or false; got ${describe(answer)}`)
}

/** Synchronous as long as the application is. */
function after<T, R>(value: T | Promise<T>, fn: (value: T) => R | Promise<R>): R | Promise<R> {
  return isThenable(value) ? Promise.resolve(value).then(fn) : fn(value)
}

function only(names: readonly string[]): string | undefined {
  return names.length === 1 ? names[0] : undefined
}

function fn<F extends (...args: never[]) => unknown>(value: F | undefined, name: string): F | undefined {
  if (value !== undefined && typeof value !== 'function') throw new ConfigError(`mtls: ${name} is a function of the certificate; got ${describe(value)}.`)
  return value
}

function flag(value: boolean | undefined, name: string): boolean {
  if (value !== undefined && typeof value !== 'boolean') throw new ConfigError(`mtls: ${name} is true or false; got ${describe(value)}.`)
  return value === true
}

function refuse(reason: string): never {
  throw new Denied('UNAUTHENTICATED', undefined, `mtls: ${reason}`)
}
