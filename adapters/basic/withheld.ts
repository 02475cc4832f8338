import { Denied } from '../../lib/errors.ts'

const FRAME = /^ +at /

/**
 * What a function that was given a password has thrown, made anew without whatever could hold the password: properties, causes, and
 * any text in which it stands, as it is or in a usual encoding.
 */
export function withheld(thrown: unknown, password: string, credential: string): Error {
  const spellings = [password, JSON.stringify(password).slice(1, -1), encodeURIComponent(password), ...encodings(Buffer.from(password)), ...encodings(Buffer.from(credential, 'base64'))]
  const tells = (text: string): boolean => spellings.some((spelling) => text.includes(spelling))
  if (!(thrown instanceof Denied)) return bareError(thrown, tells)
  const { code, details, retryAfterMs, cause } = thrown
  const kept = details !== undefined && !tells(textOf(details)) ? details : {}
  return new Denied(code, retryAfterMs === undefined ? kept : { ...kept, retryAfterMs }, reasonOf(cause, tells))
}

function encodings(bytes: Buffer): string[] {
  return [bytes.toString('base64').replace(/=+$/, ''), bytes.toString('base64url'), bytes.toString('hex')]
}

function reasonOf(cause: unknown, tells: (text: string) => boolean): unknown {
  if (cause === undefined) return undefined
  return typeof cause === 'string' && !tells(cause) ? cause : bareError(cause, tells)
}

function bareError(thrown: unknown, tells: (text: string) => boolean): Error {
  const { name, message, stack } = shown(thrown)
  const head = `${name}: ${message}`
  const bare = new Error(tells(head) ? 'basic: verify threw, and its message is withheld because the password stands in it' : `basic: verify threw ${head}`)
  const frames = stack.split('\n').filter((line) => FRAME.test(line) && !tells(line))
  if (frames.length > 0) bare.stack = [`Error: ${bare.message}`, ...frames].join('\n')
  return bare
}

function shown(thrown: unknown): { readonly name: string; readonly message: string; readonly stack: string } {
  const nothing = { name: 'something', message: 'that is no Error', stack: '' }
  try {
    if (!(thrown instanceof Error)) return nothing
    return { name: String(thrown.name), message: String(thrown.message), stack: String(thrown.stack ?? '') }
  } catch {
    return nothing
  }
}

function textOf(details: object): string {
  try {
    return JSON.stringify(details)
  } catch {
    return ''
  }
}
