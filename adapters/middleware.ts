import type { IncomingMessage } from 'node:http'
import { CARRIERS } from '../lib/carriers.ts'
import type { Carrier } from '../lib/carriers.ts'
import { isThenable } from '../lib/compose.ts'
import type { ConnectContext } from '../lib/context.ts'
import { ConfigError, Denied } from '../lib/errors.ts'
import { describe } from '../lib/policy.ts'
import type { CredentialReader, Principal, Scheme } from '../lib/principal.ts'
import { expressRequest, requestFor } from './middleware/request.ts'
import { responseFor } from './middleware/response.ts'
import { socketFor } from './middleware/socket.ts'
import type { SocketStandIn } from './middleware/socket.ts'
import { Trial } from './middleware/trial.ts'

export type { HandshakeView } from './middleware/request.ts'
export type { SocketStandIn } from './middleware/socket.ts'

/** A request as an Express middleware gets it here, with what it has put there, such as `user` or `session`. */
export type RequestStandIn = IncomingMessage & Record<string, any>

/** A middleware as `io.use` takes it. */
export type SocketMiddleware = (socket: any, next: any) => unknown
/** A middleware as Express takes it, an application or a router among them. */
export type ExpressMiddleware = (request: any, response: any, next: any) => unknown

/** Whom a middleware has let in: a `Principal` whose `claims` and `factors` may be left out. */
export type MappedPrincipal = Omit<Principal, 'claims' | 'factors'> & Partial<Pick<Principal, 'claims' | 'factors'>>

export interface MiddlewareOptions<Source> {
  /**
   * Who was let in, from what the middleware has left behind. Nothing else of it is carried on. `undefined` when that is nobody.
   *
   * @param ctx for its clock, as in `expiresAtMs: ctx.now + 3_600_000`
   */
  readonly principal: (source: Source, ctx: ConnectContext) => MappedPrincipal | undefined | Promise<MappedPrincipal | undefined>
  /**
   * The cookie that signs in, beside which the gate demands `csrf(...)`, and after it those that belong to it, such as its signature. The
   * middleware sees no others. An empty list where none is needed.
   */
  readonly cookies: readonly string[]
  /** Whether there is a credential for the middleware. Default: always, so that no other scheme may stand beside this one. */
  readonly has?: (ctx: ConnectContext) => boolean
  /** Accepts cookies without `csrf(...)`. */
  readonly dangerouslyWithoutCsrf?: boolean
}

/**
 * A scheme for `authenticate`: a middleware that signs in at `io.use`, run before there is a socket. What it reads of one is a stand-in.
 *
 * @example
 * authenticate(socketMiddleware(verifyToken, { cookies: [], principal: ({ data }) => ({ subject: data.user.id, expiresAtMs: data.user.exp * 1_000 }) }))
 * @throws ConfigError for anything but a function `(socket, next)` and its options
 */
export function socketMiddleware(middleware: SocketMiddleware, options: MiddlewareOptions<SocketStandIn>): Scheme<object> {
  checkFunction(middleware, 'socketMiddleware', 2, '(socket, next)', 'expressMiddleware takes (request, response, next).')
  return schemeOf('socketMiddleware', options, () => true, (ctx, cookies) => {
    const trial = new Trial()
    const { strict, lenient } = socketFor(ctx, requestFor(ctx, cookies), trial)
    return after(trial.run((next) => middleware(strict, next)), () => lenient)
  })
}

/**
 * A scheme for `authenticate`: a middleware, a router or an application of Express that signs in by the request. It gets a copy of the one that
 * opened the session, and a response that is connected to nothing: where it answers, it refuses.
 *
 * @example
 * authenticate(expressMiddleware(express.Router().use(session, requireUser), { cookies: ['connect.sid'], principal: ({ session }) => principalOf(session) }))
 * @throws ConfigError for anything but a function `(request, response, next)` and its options
 */
export function expressMiddleware(middleware: ExpressMiddleware, options: MiddlewareOptions<RequestStandIn>): Scheme<object> {
  checkFunction(middleware, 'expressMiddleware', 3, '(request, response, next)', 'socketMiddleware takes (socket, next).')
  // A message brings no request.
  return schemeOf('expressMiddleware', options, ({ cause }) => cause !== 'refresh', (ctx, cookies) => {
    const trial = new Trial()
    const request = expressRequest(ctx, cookies)
    return after(trial.run((next) => middleware(request, responseFor(request, trial), next)), () => request)
  })
}

const KNOWN = new Set(['principal', 'cookies', 'has', 'dangerouslyWithoutCsrf'])
const MEMBERS = new Set(['subject', 'issuer', 'claims', 'expiresAtMs', 'tokenId', 'factors'])

type Run<Source> = (ctx: ConnectContext, cookies: readonly string[]) => Source | Promise<Source>

const names = { socketMiddleware: 'socket-middleware', expressMiddleware: 'express-middleware' }

function schemeOf<Source>(where: keyof typeof names, options: MiddlewareOptions<Source>, reads: (ctx: ConnectContext) => boolean, run: Run<Source>): Scheme<object> {
  const { principal, cookies, has, dangerously } = checkOptions(options, where)
  const read: CredentialReader<object> = (ctx) => {
    if (ctx.cause === 'reauthorize' || !reads(ctx) || (has !== undefined && !has(ctx))) return undefined
    // Equal to no other credential.
    return {}
  }
  const carriers: readonly Carrier[] = cookies.slice(0, 1).map((cookie) => ({ kind: 'cookie', name: cookie, dangerously }))
  return {
    name: names[where],
    read: Object.assign(read, { [CARRIERS]: carriers }),
    verify: (_credential, ctx) => after(run(ctx, cookies), (source) => after(principal(source, ctx), toPrincipal)),
  }
}

/** @throws Denied for nobody */
function toPrincipal(mapped: MappedPrincipal | undefined): Principal {
  if (mapped === undefined || mapped === null) throw new Denied('UNAUTHENTICATED', undefined, 'the mapping has found nobody')
  if (typeof mapped !== 'object') throw new TypeError(`principal returns { subject, expiresAtMs, ... }, or undefined; got ${describe(mapped)}`)
  const unknown = Object.keys(mapped).find((key) => !MEMBERS.has(key))
  if (unknown !== undefined) throw new TypeError(`principal returned an unknown member "${unknown}": it returns { ${[...MEMBERS].join(', ')} }`)
  return { ...mapped, claims: mapped.claims ?? {}, factors: mapped.factors ?? [] }
}

/** Synchronous as long as the application is. */
function after<T, R>(value: T | Promise<T>, fn: (value: T) => R | Promise<R>): R | Promise<R> {
  return isThenable(value) ? Promise.resolve(value).then(fn) : fn(value)
}

function checkFunction(middleware: unknown, where: string, takes: number, form: string, other: string): void {
  if (typeof middleware !== 'function') throw new ConfigError(`${where} takes a middleware ${form} and its options; got ${describe(middleware)}. Several are put into one, as by express.Router().`)
  if (middleware.length === 4) throw new ConfigError(`${where}: a function of four parameters handles errors in Express, and lets nobody in.`)
  // Fewer may be hidden behind a rest parameter; what can never call `next` shows when it is run.
  const isOther = takes === 2 ? middleware.length === 3 : middleware.length === 2
  if (isOther) throw new ConfigError(`${where} takes a middleware ${form}; this one has ${middleware.length} parameters. ${other}`)
}

interface Checked<Source> extends Pick<MiddlewareOptions<Source>, 'principal' | 'cookies'> {
  readonly has: MiddlewareOptions<Source>['has']
  readonly dangerously: boolean
}

function checkOptions<Source>(options: MiddlewareOptions<Source>, where: string): Checked<Source> {
  if (typeof options !== 'object' || options === null) throw new ConfigError(`${where} takes options { principal, cookies }; got ${describe(options)}.`)
  const unknown = Object.keys(options).find((key) => !KNOWN.has(key))
  if (unknown !== undefined) throw new ConfigError(`${where}: unknown option "${unknown}". The options are ${[...KNOWN].join(', ')}.`)
  const { principal, cookies, has, dangerouslyWithoutCsrf: dangerously } = options
  if (typeof principal !== 'function') throw new ConfigError(`${where}: principal is a function that says who was let in: (source, ctx) => ({ subject, expiresAtMs }); got ${describe(principal)}.`)
  if (!Array.isArray(cookies) || cookies.some((cookie) => typeof cookie !== 'string' || !/^[\w!#$%&'*+.^`|~-]+$/.test(cookie))) {
    throw new ConfigError(`${where}: cookies names the cookie that signs in, and those that belong to it, as ['connect.sid'], or none: []. Browsers send them whichever page connects, so the gate has to know; got ${describe(cookies)}.`)
  }
  if (has !== undefined && typeof has !== 'function') throw new ConfigError(`${where}: has is a function (ctx) => boolean; got ${describe(has)}.`)
  if (dangerously !== undefined && typeof dangerously !== 'boolean') throw new ConfigError(`${where}: dangerouslyWithoutCsrf is true or false; got ${describe(dangerously)}.`)
  return { principal, cookies: [...(cookies as readonly string[])], has, dangerously: dangerously === true }
}
