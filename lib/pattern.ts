import { ConfigError } from './errors.ts'
import { OWN_PREFIX } from './wire.ts'

/** The holes of a room pattern: `'doc:{id}'` gives `{ id: string }`. */
export type Holes<S extends string> = string extends S ? Readonly<Record<string, string>> : S extends `${string}{${infer Name}}${infer Rest}` ? { readonly [K in HoleName<Name>]: string } & Holes<Rest> : Record<never, never>
type HoleName<S extends string> = S extends `${infer Name}...` ? Name : S

/** Names Socket.IO gives a meaning of its own on a socket, and that are never events of an application. */
const RESERVED_EVENTS: ReadonlySet<string> = new Set(['connect', 'connect_error', 'disconnect', 'disconnecting', 'newListener', 'removeListener'])

/** Names no client may send, whatever its parser lets through. */
export function isReservedEvent(name: string): boolean {
  return RESERVED_EVENTS.has(name) || name.startsWith(OWN_PREFIX)
}

/** Names that exist on every socket: a pattern never matches them. */
export function isWildcardProof(name: string): boolean {
  return name === 'error' || isReservedEvent(name)
}

/** An exact event name, or a prefix followed by one `*`. */
export interface EventPattern {
  readonly text: string
  /** The prefix, when the pattern ends with `*`. */
  readonly prefix: string | undefined
}

export function eventPattern(text: unknown, where: string): EventPattern {
  if (typeof text !== 'string' || text === '') throw new ConfigError(`${where} takes an event name; got ${JSON.stringify(text)}.`)
  const star = text.indexOf('*')
  if (star !== -1 && star !== text.length - 1) throw new ConfigError(`${where}: ${JSON.stringify(text)} has a * before its end. Write an exact name, or a prefix with one * at the end.`)
  if (star === -1 && isWildcardProof(text)) throw new ConfigError(`${where}: ${JSON.stringify(text)} is a name of Socket.IO or of the gate and cannot be an event of the application.`)
  return { text, prefix: star === -1 ? undefined : text.slice(0, -1) }
}

export function matchesEvent(pattern: EventPattern, name: string): boolean {
  if (pattern.prefix === undefined) return pattern.text === name
  return name.startsWith(pattern.prefix) && !isWildcardProof(name)
}

/** A room pattern with named holes. */
export interface RoomPattern {
  readonly text: string
  /** The holes of a room, or undefined where the pattern does not match. */
  readonly match: (room: string) => Readonly<Record<string, string>> | undefined
}

// A hole stops at the characters that structure a room name, so 'doc:{id}' never takes in 'doc:1:secret'.
const HOLE = '[^:/\\u0000-\\u001f\\u007f]{1,128}'
const REST = '[^\\u0000-\\u001f\\u007f]{1,1024}'

export function roomPattern(text: unknown, where: string): RoomPattern {
  if (typeof text !== 'string' || text === '') throw new ConfigError(`${where} takes a room pattern such as 'doc:{id}'; got ${JSON.stringify(text)}.`)
  if (text.startsWith(OWN_PREFIX)) throw new ConfigError(`${where}: rooms that begin with ${OWN_PREFIX} belong to the gate.`)
  const names: string[] = []
  let source = ''
  let rest = text
  let separated = true
  while (rest !== '') {
    const open = rest.indexOf('{')
    const literal = open === -1 ? rest : rest.slice(0, open)
    if (literal.includes('}')) throw new ConfigError(`${where}: ${JSON.stringify(text)} has a } without its {.`)
    if (/[:/]/.test(literal)) separated = true
    source += literal.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')
    if (open === -1) break
    const hole = /^\{([A-Za-z_][A-Za-z0-9_]*)(\.\.\.)?\}/.exec(rest.slice(open))
    if (hole === null) throw new ConfigError(`${where}: ${JSON.stringify(text)} has a hole that is not {name} or {name...}.`)
    const name = hole[1]!
    if (names.includes(name)) throw new ConfigError(`${where}: ${JSON.stringify(text)} names the hole {${name}} twice.`)
    if (!separated) throw new ConfigError(`${where}: ${JSON.stringify(text)} has two holes with no : or / between them, so that a room could be read in two ways.`)
    rest = rest.slice(open + hole[0].length)
    if (hole[2] !== undefined && rest !== '') throw new ConfigError(`${where}: {${name}...} takes everything that follows, so it must stand last.`)
    names.push(name)
    separated = false
    source += hole[2] === undefined ? `(${HOLE})` : `(${REST})`
  }
  const regexp = new RegExp(`^${source}$`, 'u')
  return { text, match: (room) => read(regexp, names, room) }
}

function read(regexp: RegExp, names: readonly string[], room: string): Readonly<Record<string, string>> | undefined {
  const found = regexp.exec(room)
  if (found === null) return undefined
  const params = Object.create(null) as Record<string, string>
  for (let i = 0; i < names.length; i++) params[names[i]!] = found[i + 1]!
  return params
}

const MAX_NAMESPACE_LENGTH = 128

/**
 * Whether a client may have a dynamic namespace of this name made. No globs (they break pattern subscriptions of the
 * Redis adapter), no empty or dotted path segments, bounded length.
 */
export function isNamespaceName(name: unknown): name is string {
  return typeof name === 'string' && name.length <= MAX_NAMESPACE_LENGTH && /^\/[\w.:~@%+,=/-]*$/.test(name) && !/\/(?:\.{0,2})(?:\/|$)/.test(name === '/' ? '' : name)
}
