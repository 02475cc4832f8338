import type { ConnectContext } from '../lib/context.ts'
import { codes, ConfigError, Denied } from '../lib/errors.ts'
import { describe } from '../lib/policy.ts'
import type { Principal, Scheme } from '../lib/principal.ts'
import { BackOff } from './basic/back-off.ts'
import type { BackOffOptions } from './basic/back-off.ts'
import { accountOf, basicReader, parseCredential, refuse } from './basic/header.ts'
import { withheld } from './basic/withheld.ts'

export type { BackOffOptions } from './basic/back-off.ts'

/** Whom a user and a password belong to: a principal, of which only the subject has to be said. */
export type BasicIdentity = Pick<Principal, 'subject'> & Partial<Principal>

export interface BasicOptions {
  /**
   * Says whom a user and a password belong to; `undefined` when to nobody. Asked for each credential that is well-formed and not held back, also
   * for users that do not exist: let it take as long for them. Both texts are in Unicode normalisation form C.
   *
   * @throws Denied `UNAVAILABLE` when it cannot say: that guess does not count. Anything else thrown counts as a wrong one.
   */
  readonly verify: (user: string, password: string, ctx: ConnectContext) => BasicIdentity | null | undefined | Promise<BasicIdentity | null | undefined>
  /** How long one proof holds, in milliseconds, where `verify` names no `expiresAtMs`. Default 8 hours; `'never'` in so many words. */
  readonly lifetimeMs?: number | 'never'
  readonly backOff?: BackOffOptions
  /** Accept passwords that anybody on the way can read. For tests on the loopback. Default false. */
  readonly dangerouslyOverPlainTransport?: boolean
}

const KNOWN = ['verify', 'lifetimeMs', 'backOff', 'dangerouslyOverPlainTransport']
const HOURS_8 = 8 * 3_600_000
/** RFC 8176 2. */
const FACTORS: readonly string[] = Object.freeze(['pwd'])

/**
 * A scheme for `authenticate`: user and password in the header `Authorization: Basic` (RFC 7617), over TLS only.
 *
 * @example
 * authenticate(basic({ verify: async (user, password) => ((await matches(user, password)) ? { subject: user } : undefined) }))
 * @throws ConfigError without `verify`, and for a lifetime or a back-off that is none
 */
export function basic(options: BasicOptions): Scheme<string> {
  checkOptions(options)
  return new BasicScheme(options)
}

/** It names no `account` to `authenticate`: that counts after a guess, and forgives nothing when the password was right. */
class BasicScheme implements Scheme<string> {
  readonly name = 'basic'
  readonly read: Scheme<string>['read']
  readonly #verify: BasicOptions['verify']
  readonly #lifetimeMs: number | 'never'
  readonly #backOff: BackOff

  constructor({ verify, lifetimeMs = HOURS_8, backOff, dangerouslyOverPlainTransport = false }: BasicOptions) {
    this.read = basicReader(dangerouslyOverPlainTransport)
    this.#verify = verify
    this.#lifetimeMs = lifetimeMs
    this.#backOff = new BackOff(backOff)
  }

  async verify(credential: string, ctx: ConnectContext): Promise<Principal> {
    const { user, password } = parseCredential(credential)
    const guess = await this.#backOff.guess(ctx.store, accountOf(user), ctx.address, ctx.now)
    let identity: BasicIdentity | null | undefined
    try {
      identity = await this.#verify(user, password, ctx)
    } catch (error) {
      if (isUnjudged(error)) guess.unjudged()
      throw withheld(error, password, credential)
    }
    if (identity === undefined || identity === null) return refuse('no such user, or not this password')
    const principal = this.#principalOf(identity, ctx.now)
    guess.right()
    return principal
  }

  #principalOf(identity: BasicIdentity, now: number): Principal {
    if (typeof identity !== 'object') throw new TypeError(`basic: verify answered with a ${typeof identity}. Answer with { subject }, or undefined`)
    const { subject, issuer, claims = {}, expiresAtMs, tokenId, factors = FACTORS } = identity
    const own = this.#lifetimeMs === 'never' ? 'never' : now + this.#lifetimeMs
    return { subject, ...(issuer === undefined ? {} : { issuer }), claims, expiresAtMs: expiresAtMs === undefined ? own : expiresAtMs, ...(tokenId === undefined ? {} : { tokenId }), factors }
  }
}

/** Whether it is said that nothing could be said. A plain error counts: many a `verify` throws one for a wrong password. */
function isUnjudged(error: unknown): boolean {
  return error instanceof Denied && codes[error.code].status === 503
}

function checkOptions(options: BasicOptions): void {
  if (typeof options !== 'object' || options === null) throw new ConfigError(`basic takes options such as { verify: (user, password) => ... }; got ${describe(options)}.`)
  const unknown = Object.keys(options).find((key) => !KNOWN.includes(key))
  if (unknown !== undefined) throw new ConfigError(`basic: unknown option "${unknown}". The options are ${KNOWN.join(', ')}.`)
  const { verify, lifetimeMs, dangerouslyOverPlainTransport } = options as { readonly [Key in keyof BasicOptions]?: unknown }
  if (typeof verify !== 'function') throw new ConfigError(`basic: verify is a function (user, password, ctx) that answers with { subject }, or with undefined; got ${describe(verify)}.`)
  if (lifetimeMs !== undefined && lifetimeMs !== 'never' && !(typeof lifetimeMs === 'number' && Number.isFinite(lifetimeMs) && lifetimeMs > 0)) {
    throw new ConfigError(`basic: lifetimeMs is a positive number of milliseconds, or 'never'; got ${describe(lifetimeMs)}.`)
  }
  if (dangerouslyOverPlainTransport !== undefined && typeof dangerouslyOverPlainTransport !== 'boolean') throw new ConfigError('basic: dangerouslyOverPlainTransport is true or false.')
}
