import type { ConnectContext } from '../../lib/context.ts'
import { refuse } from './refuse.ts'

/** The name of the scheme, which is not the beginning of another one. */
const BEARER = /^bearer(?!\S)/i

/**
 * The token of `handshake.auth.token`, or of the header `Authorization: Bearer` (RFC 6750 2.1). Never of the query, which ends in logs.
 *
 * @throws Denied `UNAUTHENTICATED` when there are two that differ, or what stands in `auth.token` is no text
 */
export function bearerToken(ctx: ConnectContext): string | undefined {
  const own = authToken(ctx)
  const header = headerToken(ctx)
  if (own !== undefined && header !== undefined && own !== header) refuse('auth.token and the Authorization header hold different tokens')
  return own ?? header
}

function authToken({ handshake: { auth } }: ConnectContext): string | undefined {
  const token: unknown = Object.hasOwn(auth, 'token') ? auth['token'] : undefined
  // What a client reads from an empty storage: it has no token.
  if (token === undefined || token === null) return undefined
  if (typeof token !== 'string') refuse('auth.token is no text')
  return token
}

function headerToken(ctx: ConnectContext): string | undefined {
  const { authorization } = ctx.headers
  if (authorization === undefined) return undefined
  // Node keeps the first header of that name and drops the others; a proxy in front may have judged another one.
  if (authorizationHeaders(ctx) > 1) refuse('more than one Authorization header')
  if (!BEARER.test(authorization)) return undefined
  const rest = authorization.slice('bearer'.length)
  return rest.startsWith(' ') ? rest.slice(1) : rest
}

function authorizationHeaders({ request }: ConnectContext): number {
  let count = 0
  const names = request?.rawHeaders ?? []
  for (let index = 0; index < names.length; index += 2) if (names[index]!.length === 13 && names[index]!.toLowerCase() === 'authorization') count++
  return count
}
