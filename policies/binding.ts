import { createHash, createHmac } from 'node:crypto'
import { isIPv4, isIPv6 } from 'node:net'
import { cookieOf } from '../lib/carriers.ts'
import { isThenable } from '../lib/compose.ts'
import type { ConnectContext, RequestContext } from '../lib/context.ts'
import { ConfigError, Denied } from '../lib/errors.ts'
import { describe } from '../lib/policy.ts'
import type { Awaitable, Hook, Next } from '../lib/policy.ts'
import type { Principal } from '../lib/principal.ts'

/** What another client leads to: nothing, a report, or a refusal. */
export type BindingMode = 'off' | 'report' | 'refuse'

export interface BindingOptions {
  /** What holds for each part that does not say otherwise. Default `refuse`. */
  readonly mode?: BindingMode
  /** The network of the client. Default: the whole IPv4 address, and the /64 of an IPv6 address. */
  readonly address?: BindingMode | { readonly mode?: BindingMode; readonly ipv4Prefix?: number; readonly ipv6Prefix?: number }
  /** The User-Agent header. That there is none is a value too. */
  readonly userAgent?: BindingMode
  /** The cookie that is the credential: every request of an engine session has to have the one its first request had. Default: none. */
  readonly cookie?: string | { readonly name: string; readonly mode?: BindingMode }
  /**
   * What tells one credential from another, or `false` to bind engine sessions only. Default: the `tokenId`, else the claim `sid`, else
   * subject and issuer. A credential for which it answers `undefined` is not bound.
   */
  readonly credential?: false | ((principal: Principal) => string | undefined)
}

/** What {@link binding} makes for engine sessions alone. */
export interface SessionBindingPolicy {
  readonly name: 'binding'
  readonly request: Hook<RequestContext>
}

/** What {@link binding} makes. */
export interface BindingPolicy extends SessionBindingPolicy {
  readonly connect: Hook<ConnectContext<Known>>
}

/** A peer of which `authenticate` has said who it is, or that it is nobody. */
interface Known {
  readonly principal: Principal | undefined
}

/**
 * Holds an engine session to the client that opened it, and a credential to the client that used it first: another address or
 * user agent with a stolen session id, cookie or token is refused, or reported.
 *
 * @example
 * gate.use(authenticate(jwt({ secret, issuer, audience }))).use(binding({ address: { mode: 'report', ipv4Prefix: 24 }, userAgent: 'refuse' }))
 * @throws ConfigError for an unknown mode, or a prefix that no address has
 */
export function binding(options: BindingOptions & { readonly credential: false }): SessionBindingPolicy
export function binding(options?: BindingOptions): BindingPolicy
export function binding(options: BindingOptions = {}): SessionBindingPolicy | BindingPolicy {
  const terms = checkOptions(options)
  const policy: SessionBindingPolicy = { name: 'binding', request: sessionHook(terms) }
  const { credential = idOf } = options
  return credential === false ? policy : { ...policy, connect: credentialHook(terms, credential) }
}

type Part = 'address' | 'user agent' | 'cookie'

interface Terms {
  readonly modes: Readonly<Record<Part, BindingMode>>
  readonly ipv4Prefix: number
  readonly ipv6Prefix: number
  readonly cookie: string | undefined
}

/** More different clients in one engine session are one swarm: nobody is helped by a report of each. */
const MAX_REPORTS = 8

function sessionHook(terms: Terms): Hook<RequestContext> {
  const { modes, cookie } = terms
  /** Who has been reported, by the engine session: each poll of a stranger would be a record of its own otherwise. */
  const reported = new WeakMap<object, Set<string>>()

  return (ctx, next) => {
    const { opener, address, headers } = ctx
    if (opener === undefined) return next()
    const others: Part[] = []
    if (modes.address !== 'off' && address !== opener.address && network(address, terms) !== network(opener.address, terms)) others.push('address')
    if (modes['user agent'] !== 'off' && agent(headers['user-agent']) !== agent(opener.userAgent)) others.push('user agent')
    const crumb = cookie === undefined ? undefined : crumbOf(() => cookieOf(headers.cookie, cookie))
    if (cookie !== undefined && crumb !== crumbOf(() => opener.cookie(cookie))) others.push('cookie')
    if (others.length === 0) return next()

    const denied = new Denied('FORBIDDEN', undefined, `the session was opened with another ${others.join(', ')}`)
    if (others.some((part) => modes[part] === 'refuse')) throw denied
    const known = reported.get(opener) ?? new Set()
    reported.set(opener, known)
    const client = digest(JSON.stringify([address, headers['user-agent'], crumb]))
    if (known.size < MAX_REPORTS && !known.has(client)) {
      known.add(client)
      report(ctx, denied)
    }
    return next()
  }
}

/** How long a credential that never expires is bound to the client that used it first. */
const DAY_MS = 86_400_000

function credentialHook(terms: Terms, credential: (principal: Principal) => string | undefined): Hook<ConnectContext<Known>> {
  const { modes, ipv4Prefix, ipv6Prefix } = terms
  const parts = (['address', 'user agent'] as const).filter((part) => modes[part] !== 'off')
  if (parts.length === 0) return (_ctx, next) => next()
  // Part of the key: what was bound by other rules cannot be compared.
  const rules = JSON.stringify([parts, ipv4Prefix, ipv6Prefix])

  const conclude = (ctx: ConnectContext, bound: unknown, own: string, next: Next): Awaitable => {
    if (bound === own) return next()
    if (typeof bound !== 'string') throw unavailable(new TypeError(`the store answered ${describe(bound)} in place of what is bound`))
    const first = bound.split(' ')
    const mine = own.split(' ')
    const others = parts.filter((_, index) => first[index] !== mine[index])
    const denied = new Denied('UNAUTHENTICATED', undefined, `the credential is bound to another ${others.join(', ')}`)
    if (others.some((part) => modes[part] === 'refuse')) throw denied
    report(ctx, denied)
    return next()
  }

  return (ctx, next) => {
    const { principal } = ctx.peer
    if (principal === undefined) return unlessProvedBelow(ctx, next)
    // Nobody has brought anything: the peer is the one that was let in.
    if (ctx.cause === 'reauthorize') return next()
    const id = credential(principal)
    if (id === undefined) return next()
    if (typeof id !== 'string' || id === '') throw new TypeError(`binding: credential answered ${describe(id)}, and not a non-empty text`)

    const values = { address: network(ctx.address, terms), 'user agent': agent(ctx.headers['user-agent']) }
    // The id of the credential is not in the store, so whoever reads the store cannot find the address by trying all of them.
    const own = parts.map((part) => createHmac('sha256', id).update(`${part} ${values[part]}`).digest('base64url')).join(' ')
    const ttlMs = principal.expiresAtMs === 'never' ? DAY_MS : Math.max(1, principal.expiresAtMs - ctx.now)
    let bound: unknown
    try {
      bound = ctx.store.getOrSet(`binding:${digest(`${rules} ${id}`)}`, own, ttlMs)
    } catch (error) {
      throw unavailable(error)
    }
    if (!isThenable(bound)) return conclude(ctx, bound, own, next)
    return Promise.resolve(bound).then(
      (late) => conclude(ctx, late, own, next),
      (error: unknown) => {
        throw unavailable(error)
      },
    )
  }
}

function report(ctx: RequestContext | ConnectContext, error: Denied): void {
  ctx.scene.unenforced(ctx, { error, policy: 'binding' })
}

/** In JavaScript nothing else tells that it stands above the policy that proves who a peer is, where it would bind nobody. */
function unlessProvedBelow(ctx: ConnectContext<Known>, next: Next): Awaitable {
  const check = (): void => {
    if (ctx.peer.principal !== undefined) throw new TypeError('binding stands above authenticate, and knows no credential there. Declare it below.')
  }
  const below = next()
  return below === undefined ? check() : below.then(check)
}

function unavailable(error: unknown): Denied {
  return new Denied('UNAVAILABLE', undefined, error)
}

function idOf({ tokenId, claims: { sid }, issuer, subject }: Principal): string {
  const [kind, id] = tokenId !== undefined ? ['token', tokenId] : typeof sid === 'string' && sid !== '' ? ['sid', sid] : ['subject', subject]
  return JSON.stringify([kind, issuer ?? null, id])
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('base64url')
}

/** What the stock client of Node sends when it polls; on a WebSocket it sends none. It is one client, and has not said what it is. */
const STOCK_NODE = 'node-XMLHttpRequest'

function agent(header: string | undefined): string {
  return header === undefined || header === STOCK_NODE ? '' : header
}

/** The value of a cookie. One that is there twice is like no other value: which of the two counts is not for a client to say. */
function crumbOf(read: () => string | undefined): string | null | undefined {
  try {
    return read()
  } catch {
    return null
  }
}

/** The network an address is in. What is no IP address, such as the path of a socket, is a network of its own. */
function network(address: string, { ipv4Prefix, ipv6Prefix }: Terms): string {
  const bytes = isIPv4(address) ? address.split('.').map(Number) : isIPv6(address) ? bytesOf(address) : undefined
  if (bytes === undefined) return address
  const prefix = bytes.length === 4 ? ipv4Prefix : ipv6Prefix
  return bytes.map((byte, index) => byte & (0xff00 >> Math.min(8, Math.max(0, prefix - 8 * index)))).join('.')
}

/** Of an IPv6 address; of the IPv4 address that is mapped into one. */
function bytesOf(address: string): number[] {
  // The URL Standard has one spelling for each, without dots.
  const { hostname } = new URL(`http://[${address}]`)
  const [left = [], right = []] = hostname.slice(1, -1).split('::').map((part) => part.split(':').filter((group) => group !== '').map((group) => parseInt(group, 16)))
  const groups = [...left, ...Array<number>(8 - left.length - right.length).fill(0), ...right]
  const bytes = groups.flatMap((group) => [group >> 8, group & 0xff])
  const isMapped = groups.slice(0, 6).join() === '0,0,0,0,0,65535'
  return isMapped ? bytes.slice(12) : bytes
}

const KNOWN = ['mode', 'address', 'userAgent', 'cookie', 'credential']

function checkOptions(options: BindingOptions): Terms {
  checkKeys(options, KNOWN, '')
  const { address, userAgent, cookie, credential } = options
  const mode = modeOf(options.mode, 'refuse', 'mode')
  if (credential !== undefined && credential !== false && typeof credential !== 'function') {
    throw new ConfigError(`binding: credential is a function (principal) => string that tells one credential from another, or false; got ${describe(credential)}.`)
  }
  const place = typeof address === 'object' ? address : {}
  checkKeys(place, ['mode', 'ipv4Prefix', 'ipv6Prefix'], 'address')
  const jar = typeof cookie === 'object' ? cookie : cookie === undefined ? undefined : { name: cookie }
  if (jar !== undefined) {
    checkKeys(jar, ['name', 'mode'], 'cookie')
    if (typeof jar.name !== 'string' || !/^[\w!#$%&'*+.^`|~-]+$/.test(jar.name)) throw new ConfigError(`binding: cookie is the name of the cookie that is the credential, such as 'sid'; got ${describe(jar.name)}.`)
  }
  const modes = {
    address: modeOf(typeof address === 'object' ? place.mode : address, mode, 'address'),
    'user agent': modeOf(userAgent, mode, 'userAgent'),
    cookie: modeOf(jar?.mode, mode, 'cookie.mode'),
  }
  return {
    modes,
    ipv4Prefix: prefixOf(place.ipv4Prefix, 32, 32, 'ipv4Prefix'),
    ipv6Prefix: prefixOf(place.ipv6Prefix, 64, 128, 'ipv6Prefix'),
    cookie: modes.cookie === 'off' ? undefined : jar?.name,
  }
}

function checkKeys(given: object, known: readonly string[], option: string): void {
  const where = option === '' ? 'binding' : `binding: ${option}`
  if (typeof given !== 'object' || given === null || Array.isArray(given)) throw new ConfigError(`${where} takes an object of ${known.join(', ')}; got ${describe(given)}.`)
  const unknown = Object.keys(given).find((key) => !known.includes(key))
  if (unknown !== undefined) throw new ConfigError(`${where} has no option "${unknown}". The options are ${known.join(', ')}.`)
}

function modeOf(mode: unknown, fallback: BindingMode, option: string): BindingMode {
  if (mode === undefined) return fallback
  if (mode !== 'off' && mode !== 'report' && mode !== 'refuse') throw new ConfigError(`binding: ${option} is 'off', 'report' or 'refuse'; got ${describe(mode)}.`)
  return mode
}

function prefixOf(prefix: unknown, fallback: number, bits: number, option: string): number {
  if (prefix === undefined) return fallback
  if (typeof prefix !== 'number' || !Number.isInteger(prefix) || prefix < 1 || prefix > bits) {
    throw new ConfigError(`binding: address.${option} is a whole number of bits from 1 to ${bits}; got ${describe(prefix)}. To leave the address out write address: 'off'.`)
  }
  return prefix
}
