import type { Beside, BESIDE } from './attach.ts'
import type { ConnectContext } from './context.ts'

/** Who a peer is, as a verified credential says. Frozen, and possibly shared by peers that brought the same credential. */
export interface Principal {
  /** Who. Unique within its issuer only. */
  readonly subject: string
  /** Who says so: with the subject, the identity. Absent where a scheme has only one issuer, the application itself. */
  readonly issuer?: string
  /** Everything else the credential says. Its shape is the issuer's: check what you use. */
  readonly claims: Readonly<Record<string, unknown>>
  /** Until when the credential proves anything, in milliseconds since the epoch; `never` has to be said in so many words. */
  readonly expiresAtMs: number | 'never'
  /** Identifies the credential itself, such as the `jti` of a token. */
  readonly tokenId?: string
  /** How the subject was authenticated, as the credential says (RFC 8176), such as `pwd` and `otp`. Empty when it does not say. */
  readonly factors: readonly string[]
}

/** What a scheme gives for a credential that is genuine and speaks for nobody, such as the session of a visitor: as if there were none. */
export const NOBODY: unique symbol = Symbol.for('portcullis.nobody')

/**
 * Finds the credential of one kind in a handshake; `undefined` when there is none. A malformed one is found all the same,
 * so that it is refused and not overlooked.
 */
export type CredentialReader<Credential = string> = (ctx: ConnectContext) => Credential | undefined

/** A way to prove who a peer is, for `authenticate(...)`. */
export interface Scheme<Credential = any, Proved extends Principal | typeof NOBODY = Principal> {
  /** For operators; clients never see it. */
  readonly name: string
  /** Finds the credential. Two that read the very same value are not two credentials. */
  readonly read: CredentialReader<Credential>
  /** Set where its first use spends a credential: only such a one may stand in the query (`fromQuery`). */
  readonly singleUse?: true
  /** The account a credential names, before anything is proved: failures are counted for it, by address. */
  account?(credential: Credential): string | undefined
  /** @internal What has to stand beside it on the gate. */
  readonly [BESIDE]?: readonly Beside[]
  /**
   * Proves who the credential speaks for.
   * @throws Denied `UNAUTHENTICATED` when it proves nothing. Anything else thrown is a fault, and refuses as well.
   */
  verify(credential: Credential, ctx: ConnectContext): Proved | Promise<Proved>
}
