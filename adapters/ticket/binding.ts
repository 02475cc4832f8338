import { createHmac } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { addressKey } from '../../lib/address.ts'
import { cookieOf } from '../../lib/carriers.ts'
import { ConfigError, Denied } from '../../lib/errors.ts'
import { describe } from '../../lib/policy.ts'
import { refuse } from './refuse.ts'

/** What a ticket may be bound to, so that it is good for nobody who shows anything else. */
export type TicketBinding = 'address' | 'userAgent' | 'origin' | 'namespace' | { readonly cookie: string }

/** What is looked at: of the request a ticket is issued to, and of the handshake that brings it. */
export interface Bearer {
  readonly address: string
  readonly headers: IncomingHttpHeaders
  readonly namespace: string | undefined
}

/** By name of a binding, a seal on its value. */
export type Seals = Readonly<Record<string, string>>

const NAMES = ['address', 'userAgent', 'origin', 'namespace']
const COOKIE = 'cookie:'
const COOKIE_NAME = /^[\w!#$%&'*+.^`|~-]+$/

/** The names of bindings. @throws ConfigError for what is none */
export function bindingNames(bind: readonly TicketBinding[]): readonly string[] {
  if (!Array.isArray(bind)) throw new ConfigError(`tickets: bind is a list such as ['address', 'userAgent']; got ${describe(bind)}. An empty one binds to nothing.`)
  return (bind as readonly unknown[]).map((binding) => {
    if (typeof binding === 'string' && NAMES.includes(binding)) return binding
    const cookie: unknown = typeof binding === 'object' && binding !== null && Object.keys(binding).length === 1 ? (binding as { cookie?: unknown }).cookie : undefined
    if (typeof cookie === 'string' && COOKIE_NAME.test(cookie)) return COOKIE + cookie
    throw new ConfigError(`tickets: bind knows ${NAMES.map((name) => `'${name}'`).join(', ')} and { cookie: 'name' }; got ${describe(binding)}.`)
  })
}

/**
 * Seals what a ticket is bound to. The key of the seals is the ticket itself, which is not kept: who reads the store learns neither
 * the values nor whether two tickets have the same.
 *
 * @throws Denied `FORBIDDEN` where there is nothing to bind to
 */
export function seal(names: readonly string[], ticket: string, bearer: Bearer): Seals {
  return Object.fromEntries(
    names.map((name) => {
      const value = valueOf(name, bearer)
      if (value === undefined) throw new Denied('FORBIDDEN', undefined, `tickets: nothing to bind to: the request has no ${titleOf(name)}`)
      return [name, sealOf(ticket, name, value)]
    }),
  )
}

/** Checks everything a ticket is bound to, and that it is bound to all that is asked for. @throws Denied */
export function checkSeals(seals: Seals, asked: readonly string[], ticket: string, bearer: Bearer): void {
  for (const name of new Set([...asked, ...Object.keys(seals)])) {
    const own = Object.hasOwn(seals, name) ? seals[name] : undefined
    // Issued by a node with other options.
    if (own === undefined) refuse(`bound to no ${titleOf(name)}`)
    const value = valueOf(name, bearer)
    if (value === undefined || sealOf(ticket, name, value) !== own) refuse(`bound to another ${titleOf(name)}`)
  }
}

function valueOf(name: string, { address, headers, namespace }: Bearer): string | undefined {
  if (name === 'address') return address === '' ? undefined : addressKey(address)
  if (name === 'userAgent') return headers['user-agent'] || undefined
  // "null" is what all sandboxed and local pages of the world have in common.
  if (name === 'origin') return headers.origin === 'null' ? undefined : headers.origin
  if (name === 'namespace') return namespace
  return name.startsWith(COOKIE) ? cookieOf(headers.cookie, name.slice(COOKIE.length)) || undefined : undefined
}

function sealOf(ticket: string, name: string, value: string): string {
  return createHmac('sha256', ticket).update(`${name}\0${value}`).digest('base64url')
}

function titleOf(name: string): string {
  if (name === 'userAgent') return 'User-Agent'
  return name === 'origin' ? 'Origin' : name.replace(COOKIE, 'cookie ')
}
