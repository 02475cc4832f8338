import type { IncomingMessage } from 'node:http'
import { addressResolver, secureResolver } from './address.ts'
import type { AddressResolver, TrustProxy } from './address.ts'
import { memoryStore } from '../adapters/memory.ts'
import { systemClock } from './clock.ts'
import type { Clock } from './clock.ts'
import { ConfigError } from './errors.ts'
import type { LaneLimits } from './lane.ts'
import { defaultLimits, resolveLimits } from './limits.ts'
import type { Limits } from './limits.ts'
import type { Store } from './store.ts'
import { defaultAckRefusal } from './wire.ts'
import type { Refusal } from './wire.ts'

export type Allowance = 'deny' | 'allow'

/** What happens to what no declaration covers, one by one. */
export interface Undeclared {
  readonly namespaces?: Allowance
  readonly events?: Allowance
  readonly rooms?: Allowance
  readonly deliveries?: Allowance
}

export type Mode = 'enforce' | 'observe'

/** Ways into a Socket.IO server that the gate cannot guard. */
export const unguardable = ['uws', 'webtransport', 'eio3'] as const
export type Unguardable = (typeof unguardable)[number]

export interface GuardOptions {
  /** What policies remember beyond one connection. Default `memoryStore()`. */
  readonly store?: Store
  /** Default: events, rooms and namespaces that no declaration covers are denied; deliveries are allowed. */
  readonly undeclared?: Allowance | Undeclared
  /** `observe` makes and reports every decision and refuses nothing. Default `enforce`. */
  readonly mode?: Mode
  readonly limits?: Partial<Limits>
  /** Bounds of what may wait behind an asynchronous decision, for one socket. Default 256 events and 1 MiB. */
  readonly lane?: Partial<LaneLimits>
  /** How long one decision may take, in milliseconds. Default 5,000. */
  readonly deadlineMs?: number
  /** How long a handler may take to call an ack, in milliseconds; then the client is told `DEADLINE_EXCEEDED`. Default 30,000. */
  readonly ackWithinMs?: number
  readonly clock?: Clock
  /** Which proxies are believed about the client's address. Default `false`: nobody. */
  readonly trustProxy?: TrustProxy
  /** Whether a refused event without an ack is answered by one `gate:denied` event. Default true. */
  readonly refusalEvent?: boolean
  /** How a refusal is put into an ack. Default `(refusal) => [{ error: refusal }]`. */
  readonly ackRefusal?: (refusal: Refusal) => unknown[]
  /** Ways in that cannot be guarded, accepted in so many words. */
  readonly dangerouslyAllow?: readonly Unguardable[]
}

/** Options of `gate.of`. */
export interface NamespaceOptions {
  readonly mode?: Mode
  readonly limits?: Partial<Limits>
  readonly undeclared?: Allowance | Omit<Undeclared, 'namespaces'>
}

/** The options of `guard`, checked and complete. */
export interface Settings {
  readonly store: Store
  readonly undeclared: Required<Undeclared>
  readonly mode: Mode
  readonly limits: Limits
  readonly maxRoomsGiven: boolean
  readonly lane: LaneLimits
  readonly deadlineMs: number
  readonly ackWithinMs: number
  readonly clock: Clock
  readonly addressOf: AddressResolver
  readonly isSecure: (request: IncomingMessage | undefined | null) => boolean
  readonly refusalEvent: boolean
  readonly ackRefusal: (refusal: Refusal) => unknown[]
  readonly dangerouslyAllow: ReadonlySet<Unguardable>
}

const DENY: Required<Undeclared> = { namespaces: 'deny', events: 'deny', rooms: 'deny', deliveries: 'allow' }

const KNOWN = new Set(['store', 'undeclared', 'mode', 'limits', 'lane', 'deadlineMs', 'ackWithinMs', 'clock', 'trustProxy', 'refusalEvent', 'ackRefusal', 'dangerouslyAllow'])
const KNOWN_OF = new Set(['mode', 'limits', 'undeclared'])

/** Checks the options of `guard`. @throws ConfigError naming the option and what to write instead. */
export function resolveOptions(options: GuardOptions, maxHttpBufferSize: number | undefined): Settings {
  checkKeys(options, KNOWN, 'guard')
  const clock = options.clock ?? systemClock
  const base = maxHttpBufferSize === undefined ? defaultLimits : { ...defaultLimits, maxBytes: Math.max(1, Math.ceil(maxHttpBufferSize)) }
  return {
    clock,
    store: options.store ?? memoryStore({ clock }),
    undeclared: resolveUndeclared(options.undeclared, DENY, 'guard'),
    mode: resolveMode(options.mode, 'enforce', 'guard'),
    limits: resolveLimits(options.limits, base, 'guard: limits'),
    maxRoomsGiven: options.limits?.maxRooms !== undefined,
    lane: resolveLane(options.lane),
    deadlineMs: positive(options.deadlineMs, 5_000, 'deadlineMs'),
    ackWithinMs: positive(options.ackWithinMs, 30_000, 'ackWithinMs'),
    addressOf: addressResolver(options.trustProxy ?? false),
    isSecure: secureResolver(options.trustProxy ?? false),
    refusalEvent: boolean(options.refusalEvent, true, 'refusalEvent'),
    ackRefusal: resolveAckRefusal(options.ackRefusal),
    dangerouslyAllow: resolveAllowed(options.dangerouslyAllow),
  }
}

/** Checks the options of `gate.of`. @throws ConfigError naming the option */
export function checkNamespaceOptions(options: NamespaceOptions): void {
  checkKeys(options, KNOWN_OF, 'gate.of')
  resolveMode(options.mode, 'enforce', 'gate.of')
  resolveUndeclared(options.undeclared, DENY, 'gate.of')
  resolveLimits(options.limits, defaultLimits, 'gate.of: limits')
}

export function resolveUndeclared(given: Allowance | Undeclared | undefined, base: Required<Undeclared>, where: string): Required<Undeclared> {
  if (given === undefined) return base
  if (given === 'deny') return { ...DENY }
  if (given === 'allow') return { namespaces: 'allow', events: 'allow', rooms: 'allow', deliveries: 'allow' }
  if (typeof given !== 'object' || given === null) throw new ConfigError(`${where}: undeclared is 'deny', 'allow' or { namespaces, events, rooms, deliveries }; got ${String(given)}.`)
  for (const [key, value] of Object.entries(given) as [string, unknown][]) {
    if (!Object.hasOwn(DENY, key)) throw new ConfigError(`${where}: undeclared has no "${key}"; it has namespaces, events, rooms and deliveries.`)
    if (value !== undefined && value !== 'deny' && value !== 'allow') throw new ConfigError(`${where}: undeclared.${key} is 'deny' or 'allow'; got ${String(value)}.`)
  }
  const set = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined))
  return { ...base, ...set }
}

function resolveMode(mode: unknown, fallback: Mode, where: string): Mode {
  if (mode === undefined) return fallback
  if (mode !== 'enforce' && mode !== 'observe') throw new ConfigError(`${where}: mode is 'enforce' or 'observe'; got ${String(mode)}.`)
  return mode
}

function resolveLane(lane: Partial<LaneLimits> | undefined): LaneLimits {
  if (lane !== undefined) checkKeys(lane, new Set(['maxPending', 'maxBytes']), 'guard: lane')
  return { maxPending: positive(lane?.maxPending, 256, 'lane.maxPending'), maxBytes: positive(lane?.maxBytes, 1_048_576, 'lane.maxBytes') }
}

function resolveAckRefusal(given: GuardOptions['ackRefusal']): Settings['ackRefusal'] {
  if (given === undefined) return defaultAckRefusal
  if (typeof given !== 'function') throw new ConfigError('guard: ackRefusal is a function (refusal) => unknown[], the arguments of the ack.')
  return given
}

function resolveAllowed(given: readonly Unguardable[] | undefined): ReadonlySet<Unguardable> {
  const allowed = new Set(given ?? [])
  for (const way of allowed) {
    if (!unguardable.includes(way)) throw new ConfigError(`guard: dangerouslyAllow knows ${unguardable.join(', ')}; got ${String(way)}.`)
  }
  return allowed
}

function positive(value: unknown, fallback: number, name: string): number {
  if (value === undefined) return fallback
  if (typeof value !== 'number' || !Number.isFinite(value) || value <= 0) throw new ConfigError(`guard: ${name} must be a positive number; got ${String(value)}.`)
  return value
}

function boolean(value: unknown, fallback: boolean, name: string): boolean {
  if (value === undefined) return fallback
  if (typeof value !== 'boolean') throw new ConfigError(`guard: ${name} must be true or false; got ${String(value)}.`)
  return value
}

function checkKeys(options: object, known: ReadonlySet<string>, where: string): void {
  if (typeof options !== 'object' || options === null) throw new ConfigError(`${where} takes an object of options; got ${String(options)}.`)
  for (const key of Object.keys(options)) {
    if (!known.has(key)) throw new ConfigError(`${where}: unknown option "${key}". The options are ${[...known].join(', ')}.`)
  }
}
