import { randomBytes } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { addressResolver } from '../lib/address.ts'
import type { TrustProxy } from '../lib/address.ts'
import { fromAuth, readFrom } from '../lib/carriers.ts'
import { systemClock } from '../lib/clock.ts'
import type { Clock } from '../lib/clock.ts'
import type { ConnectContext } from '../lib/context.ts'
import { ConfigError } from '../lib/errors.ts'
import { describe } from '../lib/policy.ts'
import type { CredentialReader, Principal, Scheme } from '../lib/principal.ts'
import type { Store, Stored } from '../lib/store.ts'
import { ask, whenStored } from '../lib/stored.ts'
import { bindingNames, checkSeals, seal } from './ticket/binding.ts'
import type { TicketBinding } from './ticket/binding.ts'
import { keptPrincipal } from './ticket/principal.ts'
import type { TicketPrincipal } from './ticket/principal.ts'
import { isTicket, keysOf, readRecord } from './ticket/record.ts'
import { refuse } from './ticket/refuse.ts'

export type { TicketBinding } from './ticket/binding.ts'
export type { TicketPrincipal } from './ticket/principal.ts'

export interface TicketOptions {
  /** Where tickets are kept. Nodes that are to accept each other's tickets share it; the gate's own store will do. */
  readonly store: Store
  /** How long a ticket may wait for its use, in milliseconds. Default 30,000, at most 300,000. */
  readonly ttlMs?: number
  /** What whoever brings a ticket must have in common with whom it was issued to. Default `['address']`; `[]` for nothing. */
  readonly bind?: readonly TicketBinding[]
  /** Where a ticket stands in a handshake. Default `fromAuth('ticket')`. */
  readonly from?: CredentialReader | readonly CredentialReader[]
  /** Which proxies are believed about the address of whom a ticket is issued to. Give the gate's own value. Default `false`: nobody. */
  readonly trustProxy?: TrustProxy
  /** How far the clocks of nodes may differ, in milliseconds: a ticket from that far in the future is accepted. Default 1,000, at most 60,000. */
  readonly clockToleranceMs?: number
  readonly clock?: Clock
}

/** What else a ticket is issued for. */
export interface TicketUse {
  /** The only namespace it is good for. */
  readonly namespace?: string
}

export interface IssuedTicket {
  /** 256 bits of chance in 43 characters of base64url. Nobody can tell it to the client a second time. */
  readonly ticket: string
  /** Until when it has to be used, in milliseconds since the epoch. */
  readonly expiresAtMs: number
}

export interface Tickets {
  /**
   * Issues a ticket to whoever sent an authenticated HTTP request.
   *
   * @param principal who the connection will be, and until when: its own `expiresAtMs` bounds the connection, not the ticket's
   * @throws TypeError (rejects) for a principal of a wrong shape, of more than 16 kB, or whose time is over
   * @throws Denied (rejects) `FORBIDDEN` where the request lacks what tickets are bound to; `UNAVAILABLE` when the store does not answer
   */
  issue(principal: TicketPrincipal, request: IncomingMessage, use?: TicketUse): Promise<IssuedTicket>
  /** The scheme for `authenticate` that accepts these tickets. */
  scheme(): Scheme<string>
}

const KNOWN = ['store', 'ttlMs', 'bind', 'from', 'trustProxy', 'clockToleranceMs', 'clock']
const MAX_TTL_MS = 300_000
const MAX_TOLERANCE_MS = 60_000
const TICKET_BYTES = 32

/**
 * Tickets: single-use credentials that live for seconds. An HTTP handler that knows its user issues one; the page brings it when it connects.
 *
 * @example
 * const own = tickets({ store })
 * app.post('/ticket', signedIn, async (request, response) => response.json(await own.issue(principalOf(request), request)))
 * guard(io, { store }).use(authenticate(own.scheme()))
 * @throws ConfigError without a store, and for a time to live that is none or too long
 */
export function tickets(options: TicketOptions): Tickets {
  checkOptions(options)
  const { store, ttlMs = 30_000, bind = ['address'], from, trustProxy = false, clockToleranceMs = 1_000, clock = systemClock } = options
  const names = bindingNames(bind)
  const addressOf = addressResolver(trustProxy)
  const read = readFrom(from, [fromAuth('ticket')], 'tickets')

  const issue = async (given: TicketPrincipal, request: IncomingMessage, use: TicketUse = {}): Promise<IssuedTicket> => {
    const namespace = checkUse(request, use, names)
    const issuedAtMs = clock.now()
    const principal = keptPrincipal(given, issuedAtMs)
    const ticket = randomBytes(TICKET_BYTES).toString('base64url')
    const bearer = { address: addressOf(request, undefined), headers: request.headers, namespace }
    const bound = seal(namespace === undefined ? names : [...names, 'namespace'], ticket, bearer)
    const expiresAtMs = Math.min(issuedAtMs + ttlMs, principal.expiresAtMs === 'never' ? Infinity : principal.expiresAtMs)
    const keys = keysOf(ticket)
    await Promise.all([
      ask(() => store.set(keys.record, JSON.stringify({ principal, issuedAtMs, expiresAtMs, bound }), ttlMs)),
      // Stays when the record is taken, so that operators can tell a ticket that was used before from one that never was.
      ask(() => store.set(keys.issued, String(expiresAtMs), 2 * ttlMs)),
    ])
    return { ticket, expiresAtMs }
  }

  const verify = (ticket: string, ctx: ConnectContext): Stored<Principal> => {
    if (!isTicket(ticket)) return refuse('not of the shape of one')
    const keys = keysOf(ticket)
    // Taken before anything else is judged: whatever is wrong with its use, there is no second one.
    return whenStored(ask(() => store.take(keys.record)), (taken) => {
      if (taken === undefined) return whenStored(ask(() => store.get(keys.issued)), (issued) => refuse(missing(issued, ctx.now)))
      const record = readRecord(taken)
      if (record === undefined) return refuse('its record is damaged')
      if (ctx.now >= record.expiresAtMs) refuse('expired')
      if (ctx.now < record.issuedAtMs - clockToleranceMs) refuse('issued in the future: the clock was moved back')
      checkSeals(record.bound, names, ticket, ctx)
      return record.principal
    })
  }

  const scheme: Scheme<string> = { name: 'ticket', singleUse: true, read, verify }
  return { issue, scheme: () => scheme }
}

/** Why a ticket has no record. */
function missing(expiresAt: string | undefined, now: number): string {
  if (expiresAt === undefined) return 'never issued, or long over'
  return now < Number(expiresAt) ? 'used before' : 'expired, or used before'
}

/** @returns the namespace the ticket is for. @throws TypeError for what is a mistake of the caller, and not of the client */
function checkUse(request: unknown, use: TicketUse, names: readonly string[]): string | undefined {
  const { headers } = (request ?? {}) as { headers?: unknown }
  if (typeof headers !== 'object' || headers === null) throw new TypeError('issue takes, as its second argument, the HTTP request of whom the ticket is for.')
  const { namespace, ...rest } = use as { readonly namespace?: unknown }
  const unknown = Object.keys(rest)[0]
  if (unknown !== undefined) throw new TypeError(`issue: a ticket cannot be issued for "${unknown}". Write { namespace: '/chat' }.`)
  if (namespace === undefined) {
    if (names.includes('namespace')) throw new TypeError("issue: these tickets are bound to a namespace. Write issue(principal, request, { namespace: '/chat' }).")
    return undefined
  }
  if (typeof namespace !== 'string' || !namespace.startsWith('/')) throw new TypeError(`issue: namespace is a name such as '/chat'; got ${describe(namespace)}.`)
  return namespace
}

function checkOptions(options: TicketOptions): void {
  if (typeof options !== 'object' || options === null) throw new ConfigError(`tickets takes options such as { store: memoryStore() }; got ${describe(options)}.`)
  const unknown = Object.keys(options).find((key) => !KNOWN.includes(key))
  if (unknown !== undefined) throw new ConfigError(`tickets: unknown option "${unknown}". The options are ${KNOWN.join(', ')}.`)
  const { store, ttlMs, clockToleranceMs, clock } = options as { readonly [Key in keyof TicketOptions]?: unknown }
  if (!(['set', 'get', 'take'] as const).every((operation) => typeof (store as Partial<Store> | undefined)?.[operation] === 'function')) {
    throw new ConfigError('tickets needs a store, the one that the gate has: const store = memoryStore(), then tickets({ store }) and guard(io, { store }).')
  }
  checkMs(ttlMs, 'ttlMs', 1, MAX_TTL_MS)
  checkMs(clockToleranceMs, 'clockToleranceMs', 0, MAX_TOLERANCE_MS)
  const { now } = (clock === undefined ? systemClock : (clock ?? {})) as { readonly now?: unknown }
  if (typeof now !== 'function') throw new ConfigError('tickets: clock is an object with now(), such as testClock().')
}

function checkMs(value: unknown, name: string, min: number, max: number): void {
  if (value === undefined) return
  if (!Number.isInteger(value) || (value as number) < min || (value as number) > max) throw new ConfigError(`tickets: ${name} is a whole number of milliseconds from ${min} to ${max}; got ${describe(value)}.`)
}
