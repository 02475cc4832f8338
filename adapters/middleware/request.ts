import { IncomingMessage } from 'node:http'
import type { IncomingHttpHeaders } from 'node:http'
import { Socket as TcpSocket } from 'node:net'
import { cookieOf } from '../../lib/carriers.ts'
import type { ConnectContext } from '../../lib/context.ts'

/** The handshake of a socket stand-in. */
export interface HandshakeView {
  headers: IncomingHttpHeaders
  time: string
  address: string
  xdomain: boolean
  secure: boolean
  issued: number
  url: string
  query: Record<string, any>
  auth: Record<string, any>
  /** What a middleware has put there, such as `session`. */
  [member: string]: any
}

/** Headers that say where something comes from, and prove nobody: of the first request, a refresh shows these only. */
const HARMLESS = new Set(['accept-language', 'forwarded', 'host', 'origin', 'referer', 'user-agent', 'x-forwarded-for', 'x-forwarded-host', 'x-forwarded-proto', 'x-real-ip'])

/** Whether a peer that is here already has brought a new credential: what its first request once held does not count again. */
const isInBand = ({ cause }: ConnectContext): boolean => cause === 'refresh' || cause === 'reauthorize'

/**
 * A copy of the request that opened the session, of Node's own class, as `request.socket`, `request.session` and `request.user` are used to.
 * A copy, because two namespaces of one client are decided at the same time over the same request.
 *
 * @param cookies the ones the middleware may see
 * @throws Denied for one of these that is there twice
 */
export function requestFor(ctx: ConnectContext, cookies: readonly string[]): IncomingMessage {
  const { request: real } = ctx
  const inBand = isInBand(ctx)
  const view = new IncomingMessage(real === undefined || inBand ? new TcpSocket() : real.socket)
  const isKept = (name: string): boolean => name !== 'cookie' && (!inBand || HARMLESS.has(name))
  view.method = real?.method ?? 'GET'
  view.url = inBand ? pathOf(real?.url ?? '/') : (real?.url ?? '/')
  view.headers = Object.fromEntries(Object.entries(ctx.headers).filter(([name]) => isKept(name)))
  view.rawHeaders = rawPairs(real?.rawHeaders ?? []).flatMap(([name, value]) => (isKept(name.toLowerCase()) ? [name, value] : []))
  const cookie = inBand ? '' : onlyThese(ctx.headers.cookie, cookies)
  if (cookie !== '') {
    view.headers.cookie = cookie
    view.rawHeaders.push('Cookie', cookie)
  }
  view.complete = true
  // It has no body, and to destroy it is not to destroy the client's connection.
  view.push(null)
  view._destroy = (_error, done) => done()
  if (real !== undefined && !inBand) carryOver(real, view)
  return view
}

export function handshakeFor(ctx: ConnectContext, request: IncomingMessage): HandshakeView {
  const { time, address, xdomain, secure, issued, query, auth } = ctx.handshake
  const inBand = isInBand(ctx)
  return { headers: request.headers, time, address, xdomain, secure, issued, url: request.url ?? '', query: inBand ? {} : { ...query }, auth: { ...auth } }
}

/** What the application's `io.engine.use` has put on the request. */
function carryOver(real: IncomingMessage, view: IncomingMessage): void {
  for (const key of Object.keys(real)) {
    // The answer and the connection are the engine's; what Node's class has by itself is there already.
    if (key !== 'res' && key !== 'websocket' && !(key in view)) (view as unknown as Record<string, unknown>)[key] = (real as unknown as Record<string, unknown>)[key]
  }
}

function rawPairs(raw: readonly string[]): [string, string][] {
  return raw.flatMap((name, index) => (index % 2 === 0 ? [[name, raw[index + 1] ?? ''] as [string, string]] : []))
}

function onlyThese(header: string | undefined, names: readonly string[]): string {
  if (header === undefined) return ''
  return names
    .flatMap((name) => {
      const value = cookieOf(header, name)
      return value === undefined ? [] : `${name}=${value}`
    })
    .join('; ')
}

function pathOf(url: string): string {
  return url.split('?', 1)[0]!
}

/** What Express adds to a request, as far as it means anything here. */
export function expressRequest(ctx: ConnectContext, cookies: readonly string[]): IncomingMessage & Record<string, any> {
  const request = requestFor(ctx, cookies)
  const { headers, url = '/' } = request
  const get = (name: string): string | string[] | undefined => {
    const key = name.toLowerCase()
    return key === 'referrer' ? headers.referer : headers[key]
  }
  return Object.assign(request, {
    originalUrl: url,
    baseUrl: '',
    path: pathOf(url),
    query: { ...ctx.handshake.query },
    params: {},
    ip: ctx.address,
    ips: [],
    secure: ctx.secure,
    protocol: ctx.secure ? 'https' : 'http',
    hostname: headers.host?.replace(/:\d+$/, ''),
    get,
    header: get,
  })
}
