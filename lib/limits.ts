import type { EventLimits } from './contract.ts'
import { ConfigError, Denied } from './errors.ts'

/** Structural limits, checked iteratively before anything else looks at what a client sent. */
export interface Limits extends Required<EventLimits> {
  /** Characters of text plus bytes of binary data of the `auth` payload. */
  readonly maxAuthBytes: number
  /** Namespaces one connection may be in, or be entering. */
  readonly maxNamespaces: number
  /** Rooms one socket may be in, its own not counted. */
  readonly maxRooms: number
  /** CONNECT decisions pending at one time in the whole gate, and connections that have not entered a namespace. */
  readonly maxPendingConnects: number
  /** Credentials one connection may fail with, in CONNECTs and in refreshes; then it is closed. */
  readonly maxFailedCredentials: number
}

export const defaultLimits: Limits = {
  maxBytes: 1_000_000,
  maxDepth: 32,
  maxKeys: 50_000,
  maxArgs: 32,
  maxAttachments: 10,
  maxAuthBytes: 16_384,
  maxNamespaces: 20,
  maxRooms: 1_000,
  maxPendingConnects: 10_000,
  maxFailedCredentials: 10,
}

/** @throws ConfigError on an unknown limit or one that is not a positive integer. */
export function resolveLimits(given: Partial<Limits> | undefined, base: Limits, where: string): Limits {
  if (given === undefined) return base
  for (const [key, value] of Object.entries(given)) {
    if (!Object.hasOwn(defaultLimits, key)) throw new ConfigError(`${where}: unknown limit "${key}". The limits are ${Object.keys(defaultLimits).join(', ')}.`)
    if (value === undefined) continue
    if (!Number.isInteger(value) || value < 1) throw new ConfigError(`${where}: ${key} must be a positive integer; got ${String(value)}.`)
  }
  const set = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined))
  return { ...base, ...set }
}

/** What a payload broke. Negative results of {@link measure} are indexes into this list. */
const BREACHES = [
  undefined,
  ['PAYLOAD_TOO_LARGE', 'maxBytes'],
  ['PAYLOAD_TOO_LARGE', 'maxDepth'],
  ['PAYLOAD_TOO_LARGE', 'maxKeys'],
  ['PAYLOAD_TOO_LARGE', 'maxArgs'],
  ['PAYLOAD_TOO_LARGE', 'maxAttachments'],
  ['INVALID_PAYLOAD', 'prototype'],
] as const

export const BYTES = -1
export const DEPTH = -2
export const KEYS = -3
export const ARGS = -4
export const ATTACHMENTS = -5
export const PROTOTYPE = -6

/** The refusal for a negative result of {@link measure}. Says which limit, never what was sent. */
export function breach(result: number): Denied {
  const [code, limit] = BREACHES[-result]!
  return new Denied(code, { limit })
}

/**
 * Walks arguments as a parser produced them. Iterative, so that depth costs no stack.
 * Refuses what validators and merges are blind to: own `__proto__` keys, changed prototypes, a `constructor` that holds an object.
 *
 * @returns the size (characters of text plus bytes of binary data), or the negative index of what it broke
 */
export function measure(args: readonly unknown[], limits: EventLimits & { readonly maxBytes: number; readonly maxDepth: number; readonly maxKeys: number; readonly maxArgs: number; readonly maxAttachments: number }): number {
  if (args.length > limits.maxArgs) return ARGS
  const { maxBytes, maxDepth, maxKeys, maxAttachments } = limits
  let bytes = 0
  let keys = 0
  let attachments = 0
  let depth = 0
  let level: readonly unknown[] | undefined
  let below: unknown[] | undefined

  for (let i = 0; i < args.length; i++) {
    const value = args[i]
    if (typeof value === 'string') bytes += value.length
    else if (typeof value === 'object' && value !== null) {
      if (below === undefined) below = [value]
      else below.push(value)
    }
  }
  if (bytes > maxBytes) return BYTES

  while (below !== undefined) {
    level = below
    below = undefined
    if (++depth > maxDepth) {
      // A binary value is a leaf, however deep it stands.
      for (const value of level) if (binarySize(value as object) < 0) return DEPTH
    }
    for (let i = 0; i < level.length; i++) {
      const value = level[i] as Record<string, unknown>
      if (Array.isArray(value)) {
        // An element counts as a byte, so that a list is bounded by the size of what holds it, however small its elements.
        bytes += value.length
        if (bytes > maxBytes) return BYTES
        for (let j = 0; j < value.length; j++) {
          const item: unknown = value[j]
          if (typeof item === 'string') bytes += item.length
          else if (typeof item === 'object' && item !== null) {
            if (below === undefined) below = [item]
            else below.push(item)
          }
        }
      } else {
        const prototype: unknown = Object.getPrototypeOf(value)
        if (prototype !== Object.prototype && prototype !== null) {
          const size = binarySize(value)
          if (size >= 0) {
            bytes += size
            if (++attachments > maxAttachments) return ATTACHMENTS
            if (bytes > maxBytes) return BYTES
            continue
          }
          // msgpack brings dates; anything else with a prototype of its own was forged.
          if (prototype === Date.prototype) continue
          return PROTOTYPE
        }
        for (const key in value) {
          if (key === '__proto__') return PROTOTYPE
          if (++keys > maxKeys) return KEYS
          const item = value[key]
          bytes += key.length
          if (typeof item === 'string') bytes += item.length
          else if (typeof item === 'object' && item !== null) {
            if (key === 'constructor') return PROTOTYPE
            if (below === undefined) below = [item]
            else below.push(item)
          }
        }
      }
      if (bytes > maxBytes) return BYTES
    }
  }
  return bytes
}

/** Bytes of a binary value; -1 for anything else. */
function binarySize(value: object): number {
  if (ArrayBuffer.isView(value)) return value.byteLength
  if (value instanceof ArrayBuffer) return value.byteLength
  return -1
}
