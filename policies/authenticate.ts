import { BESIDE } from '../lib/attach.ts'
import { CARRIERS, carriersOf } from '../lib/carriers.ts'
import { isThenable } from '../lib/compose.ts'
import type { ConnectContext } from '../lib/context.ts'
import { ConfigError, Denied, PolicyFault } from '../lib/errors.ts'
import { describe } from '../lib/policy.ts'
import type { Awaitable, Policy } from '../lib/policy.ts'
import { NOBODY } from '../lib/principal.ts'
import type { Principal, Scheme as SchemeOf } from '../lib/principal.ts'
import { DEFAULT_TERMS, TERMS } from '../lib/terms.ts'
import type { OnExpiry, Terms } from '../lib/terms.ts'
import { Failures } from './authenticate/failures.ts'
import type { Attempt, FailureLimits } from './authenticate/failures.ts'

export type { FailureLimits } from './authenticate/failures.ts'

export interface AuthenticateOptions {
  /** Let in who brings no credential, as nobody: `peer.principal` is then undefined. A credential that proves nothing is refused all the same. Default false. */
  readonly optional?: boolean
  /** How long a connection may stay open before it has entered a namespace, in milliseconds. Default 10,000. */
  readonly withinMs?: number
  /** What becomes of a peer when its credential ends. `anonymous` needs `optional: true`. Default `disconnect`. */
  readonly onExpiry?: OnExpiry
  /** How long before the end a peer is told by `gate:expiring`, in milliseconds; at most a fifth of what is left then. Default 60,000; 0 for not at all. */
  readonly expiringMs?: number
  /** Whether a refresh may bring another subject, or another issuer. Default false. */
  readonly allowSwitch?: boolean
  /** How many failed credentials are too many. */
  readonly failures?: FailureLimits
}

/** One that may find that a genuine credential is nobody's. */
type Scheme = SchemeOf<any, Principal | typeof NOBODY>

/** What {@link authenticate} makes. */
export type Authentication<P> = Policy<object, { principal: P }>

/**
 * Admits only who proves an identity by one of the schemes, and gives it as `peer.principal`. The gate holds on to it: after the end of the
 * credential nothing of the peer is admitted, and nothing is delivered to it (ASVS 5.0 7.3.2, 7.4.1).
 *
 * @example
 * guard(io).use(authenticate(jwt({ secret, issuer, audience })))
 * @example
 * guard(io).use(authenticate(tickets.scheme(), jwt({ secret, issuer, audience }), { onExpiry: { graceMs: 30_000 } }))
 * @throws ConfigError without a scheme, for one that is not of the shape `{ name, read, verify }`, or for a bad option
 */
export function authenticate(...schemes: readonly Scheme[]): Authentication<Principal>
export function authenticate(...schemesAndOptions: readonly [...Scheme[], AuthenticateOptions & { readonly optional: true }]): Authentication<Principal | undefined>
export function authenticate(...schemesAndOptions: readonly [...Scheme[], AuthenticateOptions & { readonly optional?: false }]): Authentication<Principal>
export function authenticate(...given: readonly unknown[]): Authentication<any> {
  const options = isOptions(given.at(-1)) ? given.at(-1) : undefined
  const schemes = (options === undefined ? given : given.slice(0, -1)) as readonly Scheme[]
  if (schemes.length === 0) throw new ConfigError('authenticate takes at least one scheme, such as jwt({ secret, issuer, audience }).')
  for (const scheme of schemes) checkScheme(scheme)
  const { optional, failures: limits, terms } = resolve(options as AuthenticateOptions | undefined)
  const failures = new Failures(limits)

  return {
    name: 'authenticate',
    connect(ctx: ConnectContext, next: (facts: { principal: Principal | undefined }) => Awaitable) {
      // Nothing new was brought: the peer is who it was, or nobody any more.
      if (ctx.cause === 'reauthorize') return keep(ctx, next, optional)
      failures.hold(ctx)
      const failed = (error: unknown): unknown => failures.count(ctx, uniform(error))
      let found: Found | undefined
      try {
        found = find(schemes, ctx)
      } catch (error) {
        throw failed(error)
      }
      if (found === undefined) {
        if (optional && ctx.cause !== 'refresh') return next({ principal: undefined })
        throw failed(refused('no credential'))
      }
      const { scheme, credential } = found
      const prove = (attempt: Attempt): Principal | undefined | Promise<Principal | undefined> => {
        const ended = (error: unknown): never => {
          const uniformly = uniform(error)
          attempt(uniformly)
          throw failures.count(ctx, uniformly)
        }
        const accept = (principal: Principal | typeof NOBODY): Principal | undefined => {
          if (principal === NOBODY && !optional) throw refused(`${scheme.name}: nobody's`)
          const accepted = principal === NOBODY ? undefined : admissible(principal, scheme, ctx.now)
          attempt()
          return accepted
        }
        try {
          const proved = scheme.verify(credential, ctx)
          return isThenable(proved) ? Promise.resolve(proved).then(accept).catch(ended) : accept(proved)
        } catch (error) {
          return ended(error)
        }
      }
      const attempt = failures.reserve(ctx, scheme.account?.(credential))
      const proved = isThenable(attempt) ? attempt.then(prove) : prove(attempt)
      return isThenable(proved) ? proved.then((principal) => next({ principal })) : next({ principal: proved })
    },
    [TERMS]: terms,
    [CARRIERS]: schemes.flatMap(({ read }) => carriersOf(read)),
    [BESIDE]: schemes.flatMap((scheme) => scheme[BESIDE] ?? []),
  } as Authentication<any>
}

interface Found {
  readonly scheme: Scheme
  readonly credential: unknown
}

function keep(ctx: ConnectContext, next: (facts: { principal: Principal | undefined }) => Awaitable, optional: boolean): Awaitable {
  const { current, now } = ctx
  if (current === undefined && !optional) throw refused('no credential')
  if (current !== undefined && hasExpired(current, now)) throw refused('the credential has expired')
  return next({ principal: current })
}

function hasExpired({ expiresAtMs }: Principal, now: number): boolean {
  return expiresAtMs !== 'never' && now >= expiresAtMs
}

/** The first scheme that finds its credential decides. Every other one is asked too: who brings two credentials is not to choose which one counts. */
function find(schemes: readonly Scheme[], ctx: ConnectContext): Found | undefined {
  let found: Found | undefined
  for (const scheme of schemes) {
    const credential: unknown = scheme.read(ctx)
    if (credential === undefined) continue
    if (found === undefined) found = { scheme, credential }
    else if (!Object.is(credential, found.credential)) throw refused(`two credentials: for ${found.scheme.name} and for ${scheme.name}`)
  }
  return found
}

function refused(reason: unknown): Denied {
  return new Denied('UNAUTHENTICATED', undefined, reason)
}

/** Whatever was wrong with a credential is one and the same refusal. What is not about the credential, such as `UNAVAILABLE`, stays what it is. */
function uniform(error: unknown): unknown {
  if (!(error instanceof Denied)) return error
  const { code, details, retryAfterMs } = error
  if (code !== 'UNAUTHENTICATED' && code !== 'CREDENTIAL_EXPIRED' && code !== 'REVOKED') return error
  return code === 'UNAUTHENTICATED' && details === undefined && retryAfterMs === undefined ? error : refused(error)
}

/** What a scheme has proved, checked, frozen, and not over yet. */
function admissible(principal: Principal, scheme: Scheme, now: number): Principal {
  const wrong = flawOf(principal)
  if (wrong !== undefined) throw new PolicyFault(`scheme "${scheme.name}" gave a principal ${wrong}`, 'authenticate')
  if (hasExpired(principal, now)) throw refused(`${scheme.name}: the credential has expired`)
  return Object.isFrozen(principal) ? principal : Object.freeze({ ...principal, factors: Object.freeze([...principal.factors]) })
}

function flawOf(principal: unknown): string | undefined {
  if (typeof principal !== 'object' || principal === null) return `that is ${describe(principal)}, not an object`
  const { subject, issuer, claims, expiresAtMs, tokenId, factors } = principal as Record<keyof Principal, unknown>
  if (typeof subject !== 'string' || subject === '') return 'without a subject: a non-empty string'
  if (issuer !== undefined && (typeof issuer !== 'string' || issuer === '')) return 'whose issuer is not a non-empty string'
  if (typeof claims !== 'object' || claims === null || Array.isArray(claims)) return 'without claims: an object'
  if (expiresAtMs !== 'never' && !(typeof expiresAtMs === 'number' && Number.isFinite(expiresAtMs))) return "without expiresAtMs: milliseconds since the epoch, or 'never'"
  if (tokenId !== undefined && (typeof tokenId !== 'string' || tokenId === '')) return 'whose tokenId is not a non-empty string'
  if (!Array.isArray(factors) || factors.some((factor) => typeof factor !== 'string')) return 'without factors: an array of strings, empty when nothing is known of them'
  return undefined
}

function checkScheme(scheme: unknown): asserts scheme is Scheme {
  const { name, read, verify, singleUse } = (scheme ?? {}) as Partial<Record<keyof Scheme, unknown>>
  if (typeof name !== 'string' || name === '' || typeof read !== 'function' || typeof verify !== 'function') {
    throw new ConfigError(`authenticate takes schemes, objects { name, read(ctx), verify(credential, ctx) }, such as jwt({ ... }); got ${describe(scheme)}.`)
  }
  const exposed = carriersOf(read).find(({ kind, dangerously }) => kind === 'query' && dangerously !== true)
  if (exposed !== undefined && singleUse !== true) {
    throw new ConfigError(`authenticate: scheme "${name}" reads the query parameter "${exposed.name}", which ends in the logs of proxies, and its credential outlives its first use. Use tickets, or dangerouslyFromQuery(${JSON.stringify(exposed.name)}).`)
  }
}

function isOptions(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !('read' in value) && !('verify' in value) && !('name' in value)
}

const KNOWN = ['optional', 'withinMs', 'onExpiry', 'expiringMs', 'allowSwitch', 'failures']
/** Node's timers, and patience, end before. */
const MAX_MS = 2_147_483_647

function resolve(options: AuthenticateOptions = {}): { readonly optional: boolean; readonly failures: FailureLimits | undefined; readonly terms: Terms } {
  const unknown = Object.keys(options).find((key) => !KNOWN.includes(key))
  if (unknown !== undefined) throw new ConfigError(`authenticate: unknown option "${unknown}". The options are ${KNOWN.join(', ')}.`)
  const optional = flag(options.optional, 'optional')
  const onExpiry = options.onExpiry ?? DEFAULT_TERMS.onExpiry
  if (typeof onExpiry === 'object') {
    const other = onExpiry === null || Array.isArray(onExpiry) ? '' : Object.keys(onExpiry).find((key) => key !== 'graceMs')
    if (other !== undefined) throw badExpiry(onExpiry)
    duration(onExpiry.graceMs, 'onExpiry.graceMs', 1)
  } else if (onExpiry !== 'disconnect' && onExpiry !== 'anonymous') throw badExpiry(onExpiry)
  if (onExpiry === 'anonymous' && !optional) throw new ConfigError("authenticate: onExpiry 'anonymous' makes a peer nobody, which only optional: true lets in. Set both, or neither.")
  return {
    optional,
    failures: options.failures,
    terms: {
      withinMs: duration(options.withinMs ?? DEFAULT_TERMS.withinMs, 'withinMs', 1),
      onExpiry: typeof onExpiry === 'object' ? { graceMs: onExpiry.graceMs } : onExpiry,
      expiringMs: duration(options.expiringMs ?? DEFAULT_TERMS.expiringMs, 'expiringMs', 0),
      allowSwitch: flag(options.allowSwitch, 'allowSwitch'),
    },
  }
}

function badExpiry(value: unknown): ConfigError {
  return new ConfigError(`authenticate: onExpiry is 'disconnect', 'anonymous' or { graceMs }; got ${describe(value)}.`)
}

function flag(value: unknown, name: string): boolean {
  if (value !== undefined && typeof value !== 'boolean') throw new ConfigError(`authenticate: ${name} is true or false; got ${describe(value)}.`)
  return value === true
}

function duration(value: unknown, name: string, min: number): number {
  if (typeof value !== 'number' || !(value >= min && value <= MAX_MS)) throw new ConfigError(`authenticate: ${name} is a number of milliseconds from ${min} to ${MAX_MS}; got ${describe(value)}.`)
  return value
}
