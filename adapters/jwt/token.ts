import { isUtf8 } from 'node:buffer'
import { defaultLimits, measure } from '../../lib/limits.ts'
import { refuse } from './refuse.ts'

/** Longest token that is looked at, in characters: Node takes headers of 16 kB, all of them together. */
const MAX_LENGTH = 8_192

/** Compact serialisation of a JWS (RFC 7515 7.1): three parts in base64url, none of them empty. */
const COMPACT = /^[\w-]+\.[\w-]+\.[\w-]+$/
/** JSON strings, told apart by whether a colon follows: those are the names of members. */
const STRINGS = /"(?:[^"\\]|\\.)*"(\s*:)?/g

/** What a token in its only spelling says. Nothing of it is proved. */
export interface Unproved {
  readonly token: string
  readonly header: Record<string, unknown>
  readonly claims: Record<string, unknown>
  /** What was signed: header and payload, with the dot between them. */
  readonly input: string
  readonly signature: Uint8Array
}

/** To be asked before anything else looks at a token. */
export function checkLength(token: string): void {
  if (token.length > MAX_LENGTH) refuse(`longer than ${MAX_LENGTH} characters`)
}

/** @throws Denied for anything that is not one compact JWS of two JSON objects */
export function splitToken(token: string): Unproved {
  if (!COMPACT.test(token)) refuse('not a compact JWS')
  const [header, payload, signature] = token.split('.') as [string, string, string]
  return {
    token,
    header: parsePart(header, 'header'),
    claims: parsePart(payload, 'payload'),
    input: token.slice(0, token.lastIndexOf('.')),
    signature: decode(signature, 'signature'),
  }
}

/**
 * The object a part stands for.
 *
 * @throws Denied when it is not canonical base64url, UTF-8 and JSON, holds a name twice (RFC 7519 4), or is deeper or wider than a payload may be
 */
function parsePart(part: string, what: string): Record<string, unknown> {
  const bytes = decode(part, what)
  if (!isUtf8(bytes)) refuse(`the ${what} is not UTF-8`)
  const text = bytes.toString('utf8')
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return refuse(`the ${what} is not JSON`)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) refuse(`the ${what} is no object`)
  if (measure([value], defaultLimits) < 0) refuse(`the ${what} is too deep, too wide, or holds a prototype`)
  if (namesIn(text) !== membersOf(value)) refuse(`the ${what} holds a name twice`)
  return value as Record<string, unknown>
}

/** Buffer decodes leniently; a token that has two spellings has two hashes, so only the canonical one passes. */
function decode(part: string, what: string): Buffer {
  const bytes = Buffer.from(part, 'base64url')
  if (bytes.toString('base64url') !== part) refuse(`the ${what} is not canonical base64url`)
  return bytes
}

/** Members as the text spells them. */
function namesIn(text: string): number {
  let names = 0
  for (const [, colon] of text.matchAll(STRINGS)) if (colon !== undefined) names++
  return names
}

/** Members that are left after parsing, which keeps the last of each name. */
function membersOf(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0
  const members = Object.values(value)
  let count = Array.isArray(value) ? 0 : members.length
  for (const member of members) count += membersOf(member)
  return count
}
