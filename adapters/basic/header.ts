import { authorizationOf, CARRIERS } from '../../lib/carriers.ts'
import type { Carrier } from '../../lib/carriers.ts'
import { Denied } from '../../lib/errors.ts'
import type { CredentialReader } from '../../lib/principal.ts'

/** The name of the scheme, which is not the beginning of another one. */
const BASIC = /^basic(?!\S)/i
const CARRIER: Carrier = { kind: 'authorization', name: 'basic' }

/**
 * What follows `Authorization: Basic`, as it stands.
 *
 * @throws Denied `INSECURE_TRANSPORT` where anybody on the way could have read it, before it is looked at
 */
export function basicReader(overPlainTransport: boolean): CredentialReader {
  const read: CredentialReader = (ctx) => {
    const authorization = authorizationOf(ctx)
    if (authorization === undefined || !BASIC.test(authorization)) return undefined
    if (!overPlainTransport && !ctx.secure) throw new Denied('INSECURE_TRANSPORT', undefined, 'basic: a password over a transport that is not secure')
    return authorization.slice('basic'.length).trimStart()
  }
  return Object.assign(read, { [CARRIERS]: [CARRIER] })
}

/** A user and a password, both in Unicode normalisation form C (RFC 7617 2.1). */
export interface UserAndPassword {
  readonly user: string
  readonly password: string
}

const MAX_BYTES = 1_024
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/**
 * Reads a credential as RFC 7617 has it, in UTF-8, in its only spelling.
 *
 * @throws Denied `UNAUTHENTICATED` saying what was wrong, and nothing of what it held
 */
export function parseCredential(credential: string): UserAndPassword {
  const bytes = Buffer.from(credential, 'base64')
  if (credential === '' || bytes.toString('base64') !== credential) refuse('no base64')
  if (bytes.length > MAX_BYTES) refuse(`a credential of more than ${MAX_BYTES} bytes`)
  const text = decode(bytes)
  // The first one: a user has none in its name, a password may (RFC 7617 2).
  const colon = text.indexOf(':')
  if (colon === -1) refuse('no colon')
  if (colon === 0) refuse('no user')
  // To many a directory an empty password is an anonymous bind, which succeeds (RFC 4513 5.1.2).
  if (colon === text.length - 1) refuse('no password')
  if (CONTROL.test(text)) refuse('a control character')
  return { user: text.slice(0, colon).normalize('NFC'), password: text.slice(colon + 1).normalize('NFC') }
}

/** The account a user name stands for, so that ALICE and alice are not two to guess at. */
export function accountOf(user: string): string {
  return user.normalize('NFKC').toLowerCase().trim()
}

function decode(bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes)
  } catch {
    return refuse('no UTF-8')
  }
}

export function refuse(reason: string): never {
  throw new Denied('UNAUTHENTICATED', undefined, `basic: ${reason}`)
}
