import { createHmac, timingSafeEqual } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { types } from 'node:util'
import { ConfigError } from '../../lib/errors.ts'
import { isSessionId } from './record.ts'

// The cookie of express-session: `s:`, the id, a dot, and base64(HMAC-SHA256(secret, id)) without its padding; percent-encoded.

/** What a session id is signed with: text, bytes, or a secret `KeyObject`. */
export type Secret = string | Uint8Array | KeyObject

/** What `encodeURIComponent` makes of a signed id: no other spelling, and at most some 900 characters. */
const VALUE = /^s%3A((?:[\w\-.~]|%3A|%2B|%2F|%3D){16,256})\.((?:[A-Za-z\d]|%2B|%2F){43})$/

/**
 * The session id of a Cookie header; undefined where there is none that one of the secrets has signed. It is never given what express-session would
 * not take, but it is stricter: a cookie that is there twice, spelled otherwise than express-session spells it, or whose id could mean more to a
 * store than a key, is no session.
 */
export function sessionIdOf(header: string | undefined, name: string, secrets: readonly Secret[]): string | undefined {
  const value = valueOf(header, name)
  const [, encodedId, encodedSignature] = (value !== undefined && VALUE.exec(value)) || []
  if (encodedId === undefined || encodedSignature === undefined) return undefined
  const id = decodeURIComponent(encodedId)
  if (!isSessionId(id)) return undefined
  const signature = Buffer.from(decodeURIComponent(encodedSignature))
  let genuine = false
  // The texts are compared, not their bytes: the last character of base64 has spare bits, and a signature one spelling.
  for (const secret of secrets) if (timingSafeEqual(signature, Buffer.from(sign(id, secret)))) genuine = true
  return genuine ? id : undefined
}

/** What a browser sends for a session id: the value of the cookie, signed and percent-encoded. */
export function signedValue(id: string, secret: Secret): string {
  return encodeURIComponent(`s:${id}.${sign(id, secret)}`)
}

/** The header with one cookie set to that value, once: in its place, or at the end. The others are kept as they stand. */
export function withCookie(header: string | undefined, name: string, value: string): string {
  const kept: string[] = []
  let isSet = false
  const set = (): void => {
    kept.push(`${kept.length === 0 ? '' : ' '}${name}=${value}`)
    isSet = true
  }
  for (const pair of header ? header.split(';') : []) {
    if (keyOf(pair, name) === undefined) kept.push(pair)
    else if (!isSet) set()
  }
  if (!isSet) set()
  return kept.join(';')
}

/**
 * What express-session takes as its `secret`, as a list: the first signs, all are accepted.
 *
 * @throws ConfigError where there is none, or an empty one: express-session would sign with it, and so could anybody
 */
export function secretsOf(secret: unknown, where: string): readonly Secret[] {
  const secrets: readonly unknown[] = Array.isArray(secret) ? secret : [secret]
  if (secrets.length === 0) throw new ConfigError(`${where}: secret is an empty list. Write what the session middleware has: the first of a list signs, and all are accepted.`)
  return secrets.map((each) => secretOf(each, where))
}

function secretOf(secret: unknown, where: string): Secret {
  const isKey = types.isKeyObject(secret)
  if (isKey && secret.type !== 'secret') throw new ConfigError(`${where}: secret is a ${secret.type} key. Write what the session middleware has: text, bytes, or a secret KeyObject.`)
  if (!isKey && typeof secret !== 'string' && !(secret instanceof Uint8Array)) {
    throw new ConfigError(`${where}: secret is the one the session middleware has: text, bytes or a secret KeyObject, or a list of them; got ${secret === null ? 'null' : typeof secret}.`)
  }
  if ((isKey ? secret.symmetricKeySize : secret.length) === 0) throw new ConfigError(`${where}: secret is empty, so anybody could sign a session id. Make one with randomBytes(32).toString('base64'), for the session middleware too.`)
  return secret
}

function sign(id: string, secret: Secret): string {
  return createHmac('sha256', secret).update(id).digest('base64').replace(/=+$/, '')
}

/** The value of the cookie if it is there once, under its very name. */
function valueOf(header: string | undefined, name: string): string | undefined {
  if (typeof header !== 'string') return undefined
  let found: string | undefined
  for (let start = 0; start < header.length; ) {
    const semicolon = header.indexOf(';', start)
    const end = semicolon === -1 ? header.length : semicolon
    // Whatever is shorter cannot hold the name: no text is made for each of a million empty pairs.
    const pair = end - start > name.length ? header.slice(start, end) : ''
    start = end + 1
    const key = keyOf(pair, name)
    if (key === undefined) continue
    if (found !== undefined || (key !== name && key !== ` ${name}`)) return undefined
    found = pair.slice(key.length + 1)
  }
  return found
}

/**
 * The name in front of a value, as it stands, if somebody may take it for the one that is looked for. Browsers keep `\u00a0__Host-sid` without the care
 * that the prefix asks for, and `cookie` before 0.7, which express-session used up to 1.18.0, takes the blank off.
 */
function keyOf(pair: string, name: string): string | undefined {
  const equals = pair.indexOf('=')
  const key = equals === -1 ? undefined : pair.slice(0, equals)
  return key?.trim() === name ? key : undefined
}
