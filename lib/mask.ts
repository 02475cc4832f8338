import { types } from 'node:util'

/** What stands in a record where something was taken out. */
export const MASKED = '[masked]'

/** Names whose values are secrets, wherever in a name they stand; case, hyphens, underscores and dots aside. */
const WORDS = ['password', 'passwd', 'passphrase', 'secret', 'token', 'authorization', 'cookie', 'credential', 'apikey', 'accesskey', 'privatekey', 'sessionid', 'jwt', 'bearer', 'csrf', 'xsrf']
/** Names too short to be looked for inside others. */
const SHORT_WORDS = new Set(['sid', 'pwd', 'pass', 'pin', 'otp', 'totp', 'auth', 'session', 'ticket'])

/** Longer texts are cut to so many times their limit before they are searched: a client decides how long a name is, never how long a record takes. */
const RAW_FACTOR = 4
const MAX_TEXT = 1_024
const MAX_KEY = 64
const MAX_DEPTH = 4
const MAX_MEMBERS = 20
const MAX_NODES = 200
const MAX_FRAMES = 10

/** Makes what came from outside fit for a log: no secrets, one line, bounded. Changes nothing of what it is given. */
export interface Mask {
  /** Whether values under this name are secrets. */
  isSecret(name: string): boolean
  /** Free text, such as the message of an error: `password: x` and `password=x` are masked. */
  text(text: string, limit?: number): string
  /** A name, such as that of an event: `password=x` is masked, and `password:change` is left as it is. */
  name(name: string, limit: number): string
  /** Anything, as plain JSON of bounded size. */
  value(value: unknown): unknown
}

/** @param names further names whose values are secrets, found wherever in a name they stand */
export function masker(names: readonly string[]): Mask {
  const words = [...WORDS, ...names.map(plainName)]
  const isSecret = (name: string): boolean => {
    const plain = plainName(name)
    if (words.some((word) => plain.includes(word))) return true
    return name.toLowerCase().split(/[^a-z0-9]+/).some((part) => SHORT_WORDS.has(part))
  }
  const line = (given: string, limit: number, pair: RegExp): string => {
    const cut = given.length > RAW_FACTOR * limit
    let masked = cut ? given.slice(0, RAW_FACTOR * limit) : given
    for (const [pattern, instead] of SHAPES) masked = masked.replace(pattern, instead)
    masked = visible(maskPairs(masked, pair, isSecret))
    // Where so much was masked that the place of the cut comes into sight, half a secret may stand before it.
    if (cut && masked.length <= limit) masked = `${masked.slice(0, masked.lastIndexOf(' ') + 1)}…`
    return masked.length <= limit ? masked : `${masked.slice(0, limit - 1)}…`
  }
  const text = (given: string, limit = MAX_TEXT): string => line(given, limit, PAIR)
  return { isSecret, text, name: (given, limit) => line(given, limit, ASSIGNMENT), value: (value) => new Copy(isSecret, text).of(value, 0) }
}

function plainName(name: string): string {
  return name.toLowerCase().replace(/[^a-z0-9]/g, '')
}

// Secrets that can be told by their shape. Each pattern is linear: no part of it can match in two ways, or begin inside another word.
const SHAPES: readonly (readonly [RegExp, string])[] = [
  [/-----BEGIN [A-Z ]*PRIVATE KEY-----[^]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)/g, MASKED],
  // JWS and JWE (the base64url of `{"`), PASETO.
  [/eyJ[\w-]{4,}(?:\.[\w-]*)*/g, MASKED],
  [/(?<![\w.])v[1-4]\.(?:local|public)\.[\w.-]+/g, MASKED],
  // Headers, whose values may have blanks in them: everything up to the end of the line.
  [/(?<![\w-])((?:set-)?cookie2?|(?:proxy-)?authorization)(\\*["']?\s*[:=]\s*)[^\r\n]+/gi, `$1$2${MASKED}`],
  [/(?<!\w)(bearer|dpop)(\s+)[\w.~+/=-]+/gi, `$1$2${MASKED}`],
  [/(?<!\w)([Bb]asic)(\s+)(?=[a-z]*[A-Z0-9+/=])[\w+/=-]{4,}/g, `$1$2${MASKED}`],
  // User and password in a URL.
  [/:\/\/[^\s/?#]*@/g, `://${MASKED}@`],
]

// The name is taken whole by the lookahead, so that a long one is read once; what is behind it decides.
const PAIR = /(?<![\w[\].%-])(?=([\w[\].%-]+))\1\\*["']?\s*(?:=>|[:=])\s*/g
const ASSIGNMENT = /(?<![\w[\].%-])(?=([\w[\].%-]+))\1=/g
const VALUE = /\\*"[^"]*"?|\\*'[^']*'?|\[[^\]]*\]?|[^\s&;,)}"']+/y

/** Masks the value of each `name=value` whose name is a secret's. */
function maskPairs(text: string, pair: RegExp, isSecret: (name: string) => boolean): string {
  let masked = ''
  let kept = 0
  pair.lastIndex = 0
  for (let found = pair.exec(text); found !== null; found = pair.exec(text)) {
    if (!isSecret(found[1]!)) continue
    VALUE.lastIndex = pair.lastIndex
    if (VALUE.exec(text) === null) continue
    masked += text.slice(kept, pair.lastIndex) + MASKED
    pair.lastIndex = kept = VALUE.lastIndex
  }
  return kept === 0 ? text : masked + text.slice(kept)
}

/** Controls, line and paragraph separators, and marks that turn the direction of what follows: they forge lines, or hide parts of one. */
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g

const SHORT_FORMS: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' }

function visible(text: string): string {
  return text.replace(UNSEEN, (character) => SHORT_FORMS[character] ?? `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

/** A failure as Standard Schema reports it, with whatever else its library adds. */
interface Issue {
  readonly message: string
  readonly path?: readonly unknown[] | undefined
}

function isIssue(value: unknown): value is Issue {
  if (typeof value !== 'object' || value === null || value instanceof Error) return false
  const { message, path } = value as { message?: unknown; path?: unknown }
  return typeof message === 'string' && (path === undefined || Array.isArray(path))
}

/** A copy of one value as plain JSON. */
class Copy {
  #nodes = 0

  constructor(
    readonly isSecret: (name: string) => boolean,
    readonly text: (text: string, limit?: number) => string,
  ) {}

  of(value: unknown, depth: number): unknown {
    if (++this.#nodes > MAX_NODES) return '[more]'
    switch (typeof value) {
      case 'string':
        return this.text(value)
      case 'number':
        return Number.isFinite(value) ? value : String(value)
      case 'boolean':
        return value
      case 'bigint':
        return String(value)
      case 'undefined':
        return undefined
      case 'function':
      case 'symbol':
        return `[${typeof value}]`
      case 'object':
        if (value === null) return null
        try {
          return this.#object(value, depth)
        } catch {
          return '[unreadable]'
        }
    }
  }

  #object(value: object, depth: number): unknown {
    if (ArrayBuffer.isView(value) || types.isAnyArrayBuffer(value)) return `[binary, ${value.byteLength} bytes]`
    if (depth >= MAX_DEPTH) return '[deeper]'
    if (value instanceof Error || types.isNativeError(value)) return this.#error(value, depth)
    if (Array.isArray(value)) return this.#list(value, depth)
    if (types.isMap(value) || types.isSet(value)) return `[${value.size} entries]`
    if (typeof (value as { toJSON?: unknown }).toJSON === 'function') return this.of((value as { toJSON(): unknown }).toJSON(), depth + 1)
    const copy = {}
    const keys = Object.keys(value)
    for (const key of keys.slice(0, MAX_MEMBERS)) {
      const member = this.isSecret(key) ? MASKED : this.of((value as Record<string, unknown>)[key], depth + 1)
      Object.defineProperty(copy, this.text(key, MAX_KEY), { value: member, enumerable: true, writable: true, configurable: true })
    }
    return keys.length <= MAX_MEMBERS ? copy : { ...copy, '[more]': keys.length - MAX_MEMBERS }
  }

  #list(list: readonly unknown[], depth: number): unknown[] {
    const first = list.slice(0, MAX_MEMBERS)
    const copy = first.every(isIssue)
      ? first.map((issue) => this.#issue(issue))
      : // Headers come as lists too: a value behind its name.
        first.map((item, index) => (typeof item === 'string' && this.#isSecretName(first[index - 1]) ? MASKED : this.of(item, depth + 1)))
    return list.length <= MAX_MEMBERS ? copy : [...copy, `[${list.length - MAX_MEMBERS} more]`]
  }

  #isSecretName(value: unknown): boolean {
    return typeof value === 'string' && value.length <= MAX_KEY && this.isSecret(value)
  }

  /** What a schema says of a value. Some repeat the value itself beside the message, and in it. */
  #issue({ message, path }: Issue): object {
    const keys = (path ?? []).slice(0, MAX_MEMBERS).map((part) => String(typeof part === 'object' && part !== null ? (part as { key?: unknown }).key : part))
    return { message: keys.some(this.isSecret) ? MASKED : this.text(message), path: keys.map((key) => this.text(key, MAX_KEY)) }
  }

  /** Name, message, code, place and cause. Other members of an error hold requests and responses, and are left out. */
  #error(error: Error, depth: number): object {
    const { code, cause, stack } = error as Error & { readonly code?: unknown }
    const head = `${error.name}: ${error.message}`
    const frames = typeof stack === 'string' ? (stack.startsWith(head) ? stack.slice(head.length) : stack).slice(0, RAW_FACTOR * MAX_TEXT).split('\n').filter((line) => /^\s+at /.test(line)) : []
    return {
      name: this.text(String(error.name), MAX_KEY),
      message: this.text(String(error.message)),
      ...(typeof code === 'string' || typeof code === 'number' ? { code: this.of(code, depth) } : {}),
      ...(frames.length === 0 ? {} : { stack: frames.slice(0, MAX_FRAMES).map((frame) => this.text(frame.trim(), MAX_TEXT / 4)) }),
      ...(cause === undefined ? {} : { cause: this.of(cause, depth + 1) }),
    }
  }
}
