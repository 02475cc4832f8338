import type { IncomingMessage } from 'node:http'
import { unescape } from 'node:querystring'
import type { ConnectContext } from './context.ts'
import { ConfigError, Denied } from './errors.ts'
import { describe } from './policy.ts'
import type { CredentialReader } from './principal.ts'

// Where in a handshake a credential stands. What stands where logs and other code would see it (the query, the WebSocket
// subprotocol) is taken out of the request before anybody else sees that, and kept beside it.

/** One place a reader looks at. */
export interface Carrier {
  readonly kind: 'auth' | 'authorization' | 'cookie' | 'subprotocol' | 'query'
  /** The key, the cookie, the prefix, the parameter. */
  readonly name: string
  /** Set where a safeguard was declined in so many words. */
  readonly dangerously?: boolean
}

/** On a reader: the carriers it looks at. */
export const CARRIERS: unique symbol = Symbol.for('portcullis.carriers')
/** On a policy: the cookies it protects, which browsers send by themselves. */
export const CROSS_SITE: unique symbol = Symbol.for('portcullis.cross-site')

export function carriersOf(reader: unknown): readonly Carrier[] {
  return (reader as { readonly [CARRIERS]?: readonly Carrier[] })[CARRIERS] ?? []
}

/** The text `handshake.auth[key]`: the first message of a client, which no log and no proxy sees. */
export function fromAuth(key = 'token'): CredentialReader {
  checkName(key, 'fromAuth', 'the key of the auth payload')
  return carrying([{ kind: 'auth', name: key }], ({ handshake: { auth } }) => {
    const value: unknown = Object.hasOwn(auth, key) ? auth[key] : undefined
    // What a client reads from an empty storage: it has no credential.
    if (value === undefined || value === null) return undefined
    return typeof value === 'string' ? value : refuse(`auth.${key} is no text`)
  })
}

/** The name of the scheme, which is not the beginning of another one. */
const BEARER = /^bearer(?!\S)/i

/** The token of the header `Authorization: Bearer` (RFC 6750 2.1), which Node, Deno and other clients that are no browser can send. */
export function fromBearer(): CredentialReader {
  return carrying([{ kind: 'authorization', name: 'bearer' }], (ctx) => {
    const authorization = authorizationOf(ctx)
    if (authorization === undefined || !BEARER.test(authorization)) return undefined
    const rest = authorization.slice('bearer'.length)
    return rest.startsWith(' ') ? rest.slice(1) : rest
  })
}

/**
 * The one Authorization header of the handshake; `undefined` for a credential that is brought in-band.
 *
 * @throws Denied `UNAUTHENTICATED` for two: Node keeps the first, and a proxy in front may have judged the other one
 */
export function authorizationOf(ctx: ConnectContext): string | undefined {
  if (isInBand(ctx)) return undefined
  const { authorization } = ctx.headers
  if (authorization !== undefined && countHeaders(ctx.request, 'authorization') > 1) refuse('more than one Authorization header')
  return authorization
}

/**
 * The value of one cookie, as it stands. Browsers send cookies whichever page connects: the gate demands `csrf(...)` beside it.
 *
 * @param options `dangerouslyWithoutCsrf` declines that demand
 */
export function fromCookie(name: string, options: { readonly dangerouslyWithoutCsrf?: boolean } = {}): CredentialReader {
  if (typeof name !== 'string' || !/^[\w!#$%&'*+.^`|~-]+$/.test(name)) throw new ConfigError(`fromCookie takes the name of a cookie (RFC 6265 4.1.1); got ${describe(name)}.`)
  return carrying([{ kind: 'cookie', name, dangerously: options.dangerouslyWithoutCsrf === true }], (ctx) => (isInBand(ctx) ? undefined : cookieOf(ctx.headers.cookie, name)))
}

/**
 * A token offered as a WebSocket subprotocol beside the application's own: `new WebSocket(url, ['app.v1', 'bearer.' + token])`. The gate takes
 * it out of the request, so the reply names the application's protocol only; a client that offers nothing else is refused (RFC 6455 1.9).
 * It is there when a session opens by WebSocket (`transports: ['websocket']`), not on the upgrade of a polling one.
 */
export function fromSubprotocol(prefix = 'bearer.'): CredentialReader {
  checkName(prefix, 'fromSubprotocol', 'what the carrier begins with')
  return carrying([{ kind: 'subprotocol', name: prefix }], (ctx) => onlyOne(ctx, (carried) => carried.subprotocols.get(prefix), 'the subprotocol'))
}

/** A parameter of the URL, for credentials that are spent by their first use. The gate takes it out of the URL before the application sees that. */
export function fromQuery(name: string): CredentialReader {
  return query(name, 'fromQuery', false)
}

/** {@link fromQuery} for a credential that outlives its first use: what stands in a URL ends in the logs of proxies, and in histories. */
export function dangerouslyFromQuery(name: string): CredentialReader {
  return query(name, 'dangerouslyFromQuery', true)
}

const ENGINE = new Set(['EIO', 'transport', 'sid', 't', 'j', 'b64'])

function query(name: string, where: string, dangerously: boolean): CredentialReader {
  checkName(name, where, 'the name of a parameter')
  if (ENGINE.has(name)) throw new ConfigError(`${where}: "${name}" is a parameter of the engine itself. Take another name.`)
  return carrying([{ kind: 'query', name, dangerously }], (ctx) => onlyOne(ctx, (carried) => carried.query.get(name), 'the query'))
}

/**
 * What the `from` option of a scheme means: all readers are asked, and two that find different credentials refuse.
 *
 * @throws ConfigError for anything but a reader, or a list of them
 */
export function readFrom(from: CredentialReader | readonly CredentialReader[] | undefined, fallback: readonly CredentialReader[], where: string): CredentialReader {
  const readers: readonly unknown[] = from === undefined ? fallback : Array.isArray(from) ? from : [from]
  if (readers.length === 0 || readers.some((reader) => typeof reader !== 'function')) {
    throw new ConfigError(`${where}: from takes a place to read from, or a list of them, such as fromAuth('token') or [fromBearer(), fromSubprotocol()].`)
  }
  const own = readers as readonly CredentialReader[]
  if (own.length === 1) return own[0]!
  return carrying(own.flatMap(carriersOf), (ctx) => {
    let found: string | undefined
    for (const reader of own) {
      const value = reader(ctx)
      if (value === undefined || value === found) continue
      if (found !== undefined) refuse('two places hold different credentials')
      found = value
    }
    return found
  })
}

/** What was taken out of the request that opened an engine session. */
export interface Carried {
  /** By parameter, each value it was given. */
  readonly query: ReadonlyMap<string, readonly string[]>
  /** By prefix, what followed it. */
  readonly subprotocols: ReadonlyMap<string, readonly string[]>
}

/** @returns what was taken out; undefined where there was nothing */
export function takeOut(request: IncomingMessage, carriers: readonly Carrier[]): Carried | undefined {
  const parameters = carriers.filter(({ kind }) => kind === 'query').map(({ name }) => name)
  const prefixes = carriers.filter(({ kind }) => kind === 'subprotocol').map(({ name }) => name)
  const query = parameters.length === 0 ? NOTHING : takeQuery(request, parameters)
  const subprotocols = prefixes.length === 0 ? NOTHING : takeSubprotocols(request, prefixes)
  return query.size === 0 && subprotocols.size === 0 ? undefined : { query, subprotocols }
}

const NOTHING: ReadonlyMap<string, string[]> = new Map()

function takeQuery(request: IncomingMessage, parameters: readonly string[]): Map<string, string[]> {
  const taken = new Map<string, string[]>()
  const { url = '' } = request
  const start = url.indexOf('?')
  if (start === -1) return taken
  const kept: string[] = []
  for (const pair of url.slice(start + 1).split('&')) {
    const equals = pair.indexOf('=')
    const name = decode(equals === -1 ? pair : pair.slice(0, equals))
    if (parameters.includes(name)) put(taken, name, equals === -1 ? '' : decode(pair.slice(equals + 1)))
    else kept.push(pair)
  }
  if (taken.size === 0) return taken
  request.url = kept.length === 0 ? url.slice(0, start) : `${url.slice(0, start)}?${kept.join('&')}`
  const { _query: parsed } = request as { _query?: Record<string, unknown> }
  for (const name of taken.keys()) delete parsed?.[name]
  return taken
}

/** As `node:querystring` reads it, which is what the engine does. */
function decode(text: string): string {
  return unescape(text.replaceAll('+', ' '))
}

const PROTOCOLS = 'sec-websocket-protocol'

function takeSubprotocols(request: IncomingMessage, prefixes: readonly string[]): Map<string, string[]> {
  const taken = new Map<string, string[]>()
  const offered = request.headers[PROTOCOLS]
  if (offered === undefined) return taken
  const kept: string[] = []
  for (const protocol of offered.split(',').map(unpadded)) {
    const prefix = prefixes.find((each) => protocol.startsWith(each))
    if (prefix === undefined) kept.push(protocol)
    else put(taken, prefix, protocol.slice(prefix.length))
  }
  if (taken.size === 0) return taken
  const rest = kept.join(', ')
  if (rest === '') delete request.headers[PROTOCOLS]
  else request.headers[PROTOCOLS] = rest
  scrub(request, PROTOCOLS, rest)
  return taken
}

/** The header as it came must not keep what the parsed one has lost. */
function scrub({ rawHeaders, headersDistinct }: IncomingMessage, name: string, rest: string): void {
  delete headersDistinct[name]
  let first = true
  for (let index = 0; index < rawHeaders.length; index += 2) {
    if (rawHeaders[index]!.toLowerCase() !== name) continue
    rawHeaders[index + 1] = first ? rest : ''
    first = false
  }
}

function put(map: Map<string, string[]>, key: string, value: string): void {
  const values = map.get(key)
  if (values === undefined) map.set(key, [value])
  else values.push(value)
}

/**
 * The value of a cookie as it stands; undefined where there is none.
 *
 * @throws Denied `UNAUTHENTICATED` when it is there twice: which of the two counts would be for an attacker to choose
 */
export function cookieOf(header: string | undefined, name: string): string | undefined {
  if (header === undefined) return undefined
  let found: string | undefined
  for (const pair of header.split(';')) {
    const equals = pair.indexOf('=')
    if (equals === -1 || unpadded(pair.slice(0, equals)) !== name) continue
    if (found !== undefined) refuse(`the cookie ${name} twice`)
    found = unpadded(pair.slice(equals + 1))
  }
  return found
}

/** Without the blanks that HTTP allows around a value (RFC 9110 5.6.3). `trim` would take bytes that belong to it: the same credential would have a second spelling. */
function unpadded(text: string): string {
  let start = 0
  let end = text.length
  while (start < end && isBlank(text.charCodeAt(start))) start++
  while (end > start && isBlank(text.charCodeAt(end - 1))) end--
  return text.slice(start, end)
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09
}

/** A credential that is refreshed comes as a message; what the handshake once held does not count again. */
function isInBand({ cause }: ConnectContext): boolean {
  return cause === 'refresh' || cause === 'reauthorize'
}

function onlyOne(ctx: ConnectContext, pick: (carried: Carried) => readonly string[] | undefined, where: string): string | undefined {
  if (isInBand(ctx) || ctx.carried === undefined) return undefined
  const values = pick(ctx.carried)
  if (values === undefined) return undefined
  return values.length === 1 ? values[0] : refuse(`more than one credential in ${where}`)
}

function countHeaders(request: IncomingMessage | undefined, name: string): number {
  let count = 0
  const names = request?.rawHeaders ?? []
  for (let index = 0; index < names.length; index += 2) if (names[index]!.length === name.length && names[index]!.toLowerCase() === name) count++
  return count
}

function carrying(carriers: readonly Carrier[], read: CredentialReader): CredentialReader {
  return Object.assign(read, { [CARRIERS]: carriers })
}

function checkName(name: unknown, where: string, what: string): void {
  if (typeof name !== 'string' || name === '') throw new ConfigError(`${where} takes ${what}, a non-empty text; got ${describe(name)}.`)
}

function refuse(reason: string): never {
  throw new Denied('UNAUTHENTICATED', undefined, reason)
}
