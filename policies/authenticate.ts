import { isThenable } from '../lib/compose.ts'
import type { ConnectContext, EventContext, JoinContext } from '../lib/context.ts'
import { ConfigError, deny, Denied, PolicyFault } from '../lib/errors.ts'
import { describe, ENFORCED } from '../lib/policy.ts'
import type { Next, Policy } from '../lib/policy.ts'
import type { Principal, Scheme } from '../lib/principal.ts'

/**
 * Admits only who proves an identity by one of the schemes, and gives it as `peer.principal`. Each event and join of the peer is
 * refused once the credential has expired.
 *
 * @example
 * guard(io).use(authenticate(jwt({ secret, issuer, audience })))
 * @throws ConfigError without a scheme, or for one that is not of the shape `{ name, read, verify }`
 */
export function authenticate(...schemes: readonly Scheme[]): Policy<object, { principal: Principal }> {
  if (schemes.length === 0) throw new ConfigError('authenticate takes at least one scheme, such as jwt({ secret, issuer, audience }).')
  for (const scheme of schemes) checkScheme(scheme)

  const policy = {
    name: 'authenticate',
    connect(ctx: ConnectContext, next: (facts: { principal: Principal }) => void | Promise<void>) {
      const { scheme, credential } = find(schemes, ctx)
      let proved: Principal | Promise<Principal>
      try {
        proved = scheme.verify(credential, ctx)
      } catch (error) {
        throw uniform(error)
      }
      if (!isThenable(proved)) return next({ principal: admissible(proved, scheme, ctx.now) })
      return Promise.resolve(proved).then(
        (principal) => next({ principal: admissible(principal, scheme, ctx.now) }),
        (error: unknown) => {
          throw uniform(error)
        },
      )
    },
    event: admitsProved,
    join: admitsProved,
    // Observing a server means letting in whoever proves nothing, not letting a credential outlive its end.
    [ENFORCED]: { event: admitsUnexpired, join: admitsUnexpired },
  }
  return policy
}

type Later = EventContext | JoinContext

const principalOf = (ctx: Later): Principal | undefined => (ctx.peer as { readonly principal?: Principal }).principal

function admitsProved(ctx: Later, next: Next): void | Promise<void> {
  if (principalOf(ctx) === undefined) deny('UNAUTHENTICATED')
  return admitsUnexpired(ctx, next)
}

function admitsUnexpired(ctx: Later, next: Next): void | Promise<void> {
  const principal = principalOf(ctx)
  if (principal !== undefined && hasExpired(principal, ctx.now)) deny('CREDENTIAL_EXPIRED')
  return next()
}

function hasExpired({ expiresAtMs }: Principal, now: number): boolean {
  return expiresAtMs !== 'never' && now >= expiresAtMs
}

/** The first scheme that finds its credential decides. Every other one is asked too: who brings two credentials is not to choose which one counts. */
function find(schemes: readonly Scheme[], ctx: ConnectContext): { readonly scheme: Scheme; readonly credential: unknown } {
  let found: { readonly scheme: Scheme; readonly credential: unknown } | undefined
  for (const scheme of schemes) {
    const credential: unknown = scheme.read(ctx)
    if (credential === undefined) continue
    if (found === undefined) found = { scheme, credential }
    else if (!Object.is(credential, found.credential)) throw refused(`two credentials: for ${found.scheme.name} and for ${scheme.name}`)
  }
  if (found === undefined) throw refused('no credential')
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
  const { name, read, verify } = (scheme ?? {}) as Partial<Record<keyof Scheme, unknown>>
  if (typeof name !== 'string' || name === '' || typeof read !== 'function' || typeof verify !== 'function') {
    throw new ConfigError(`authenticate takes schemes, objects { name, read(ctx), verify(credential, ctx) }, such as jwt({ ... }); got ${describe(scheme)}.`)
  }
}
