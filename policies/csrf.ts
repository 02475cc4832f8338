import { createHmac, createSecretKey, randomBytes, timingSafeEqual } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { types } from 'node:util'
import { carriersOf, CROSS_SITE, fromAuth, readFrom } from '../lib/carriers.ts'
import type { ConnectContext, RequestContext } from '../lib/context.ts'
import { ConfigError, Denied } from '../lib/errors.ts'
import { describe } from '../lib/policy.ts'
import type { Hook } from '../lib/policy.ts'
import type { CredentialReader } from '../lib/principal.ts'
import { origin } from './origin.ts'
import type { OriginPolicy } from './origin.ts'

/** A secret of the server alone: text, bytes, or a secret `KeyObject`. 32 bytes or more. */
export type CsrfSecret = string | Uint8Array | KeyObject

export interface CsrfOptions {
  /** The origins of your pages, as in `origin({ allow })`. */
  readonly origins: readonly string[]
  /** What tokens are made with. In a list the first makes them, and all are accepted: how a secret is changed. */
  readonly secret: CsrfSecret | readonly CsrfSecret[]
  /** What a token is bound to: the very cookie that is the credential, as `fromCookie('sid')`. */
  readonly session: CredentialReader
  /** Where a client brings its token. Default: `handshake.auth.csrf`, or the header `x-csrf-token`. */
  readonly from?: CredentialReader | readonly CredentialReader[]
}

/** What {@link csrf} makes: a policy, and the tokens it accepts. */
export interface CsrfPolicy {
  readonly name: 'csrf'
  readonly request: Hook<RequestContext>
  readonly connect: Hook<ConnectContext>
  /** @internal */
  readonly [CROSS_SITE]: readonly string[]
  /** A token for the session that has this value, each time another one. @throws TypeError for anything but a non-empty text */
  token(session: string): string
  /** A token for the session of a request to your page; undefined when it has none. @throws Denied when it has two */
  tokenFor(request: { readonly headers: IncomingHttpHeaders }): string | undefined
}

/**
 * Keeps other sites from using a credential that browsers send by themselves: the Origin of every request has to be one of
 * yours, and whoever enters with the cookie has to bring a token that only a page of yours could read
 * (a signed double-submit token, bound to the session).
 *
 * @example
 * const sameSite = csrf({ origins: ['https://app.example'], secret, session: fromCookie('sid') })
 * gate.use(sameSite).use(authenticate(scheme))
 * page.get('/', (request, response) => response.render('page', { csrf: sameSite.tokenFor(request) }))
 * @throws ConfigError for an origin no browser sends, a weak secret, or a session that is not read from a cookie
 */
export function csrf(options: CsrfOptions): CsrfPolicy {
  const { origins, keys, session, from } = checkOptions(options)
  const listed = listedOnly(origins, 'allow')
  const listedAndThere = listedOnly(origins, 'deny')

  const policy: Pick<CsrfPolicy, 'name' | 'request' | 'connect' | typeof CROSS_SITE> = {
    name: 'csrf',
    request(ctx, next) {
      // Without any cookie nothing is sent on a visitor's behalf. That is a client that is no browser, and has no Origin.
      return (ctx.headers.cookie === undefined ? listed : listedAndThere).request(ctx, next)
    },
    connect(ctx, next) {
      const { cause } = ctx
      // By a client that is in already, and not by the cookie: that proves nothing a second time.
      if (cause === 'refresh' || cause === 'reauthorize') return next()
      const value = readOrForbid(session, ctx)
      if (value === undefined) return next()
      // Once more, where only this hook is mounted. With `missing: 'allow'` it reads nothing but the header.
      return listed.request(ctx as unknown as RequestContext, () => {
        if (!isToken(readOrForbid(from, ctx), value, keys)) throw new Denied('FORBIDDEN', undefined, 'csrf: no token of this session')
        return next()
      })
    },
    [CROSS_SITE]: carriersOf(session).map(({ name }) => name),
  }
  const token = (value: string): string => {
    if (typeof value !== 'string' || value === '') throw new TypeError(`csrf: token takes the value of the session, a non-empty text; got ${describe(value)}.`)
    const nonce = randomBytes(NONCE_BYTES).toString('base64url')
    return `${nonce}.${seal(keys[0]!, nonce, value)}`
  }
  const tokenFor = ({ headers }: { readonly headers: IncomingHttpHeaders }): string | undefined => {
    const value = session({ headers, cause: 'connect' } as ConnectContext)
    return value === undefined || value === '' ? undefined : token(value)
  }
  // Not enumerable: they are not hooks.
  return Object.defineProperties(policy, { token: { value: token }, tokenFor: { value: tokenFor } }) as CsrfPolicy
}

const NONCE_BYTES = 32
/** The length of 32 bytes in base64url: of the nonce, and of an HMAC-SHA256. */
const LENGTH = 43
const SHAPE = /^[\w-]{43}\.[\w-]{43}$/
const BLANK = 'A'.repeat(LENGTH)

/** The nonce has a fixed length, so no two pairs of nonce and session are one text. */
function seal(key: KeyObject, nonce: string, session: string): string {
  return createHmac('sha256', key).update(`${nonce}.${session}`).digest('base64url')
}

/** A token of any shape takes the same way, and every key is asked: time tells neither how much of it is right nor which key made it. */
function isToken(given: string | undefined, session: string, keys: readonly KeyObject[]): boolean {
  const shaped = given !== undefined && SHAPE.test(given)
  const nonce = shaped ? given.slice(0, LENGTH) : BLANK
  // Compared as text: of the last character of base64url two bits are spare, and one token is to have one spelling.
  const claimed = Buffer.from(shaped ? given.slice(LENGTH + 1) : BLANK, 'latin1')
  let equal = false
  for (const key of keys) {
    if (timingSafeEqual(Buffer.from(seal(key, nonce, session), 'latin1'), claimed)) equal = true
  }
  return equal && shaped
}

/** What is brought twice, or is no text, is forbidden like every other failure here. */
function readOrForbid(read: CredentialReader, ctx: ConnectContext): string | undefined {
  try {
    return read(ctx)
  } catch (error) {
    if (error instanceof Denied) throw new Denied('FORBIDDEN', undefined, error.cause ?? error)
    throw error
  }
}

const HEADER = 'x-csrf-token'

function fromHeader({ headers }: ConnectContext): string | undefined {
  return headers[HEADER]?.toString()
}

const KNOWN = ['origins', 'secret', 'session', 'from']
const MIN_BYTES = 32

function checkOptions(options: CsrfOptions): { origins: readonly string[]; keys: readonly KeyObject[]; session: CredentialReader; from: CredentialReader } {
  if (typeof options !== 'object' || options === null) throw new ConfigError("csrf takes options such as { origins: ['https://app.example'], secret, session: fromCookie('sid') }.")
  const unknown = Object.keys(options).find((key) => !KNOWN.includes(key))
  if (unknown !== undefined) throw new ConfigError(`csrf: unknown option "${unknown}". The options are ${KNOWN.join(', ')}.`)
  const { origins, secret, session, from } = options
  if (!Array.isArray(origins) || origins.length === 0) throw new ConfigError(`csrf: origins is a list of the origins of your pages, such as ['https://app.example']; got ${describe(origins)}.`)
  if (typeof session !== 'function') throw new ConfigError(`csrf: session says which cookie a token is bound to: fromCookie('sid'); got ${describe(session)}.`)
  const carriers = carriersOf(session)
  if (carriers.some(({ kind }) => kind !== 'cookie')) throw new ConfigError("csrf: session reads what is no cookie. Only what browsers send by themselves needs a token beside it: write fromCookie('sid').")
  const secrets: readonly unknown[] = Array.isArray(secret) ? secret : [secret]
  if (secrets.length === 0) throw new ConfigError('csrf: secret is an empty list. The first of a list makes tokens.')
  return { origins, keys: secrets.map(keyOf), session, from: readFrom(from, [fromAuth('csrf'), fromHeader], 'csrf') }
}

function keyOf(secret: unknown): KeyObject {
  if (!types.isKeyObject(secret) && typeof secret !== 'string' && !(secret instanceof Uint8Array)) {
    throw new ConfigError(`csrf: secret is text, bytes or a secret KeyObject, or a list of them; got ${typeof secret}.`)
  }
  if (types.isKeyObject(secret) && secret.type !== 'secret') throw new ConfigError(`csrf: secret is a ${secret.type} key. Make a secret one with randomBytes(${MIN_BYTES}).`)
  const key = types.isKeyObject(secret) ? secret : createSecretKey(Buffer.from(secret as string))
  const bytes = key.symmetricKeySize ?? 0
  if (bytes < MIN_BYTES) throw new ConfigError(`csrf: the secret has ${bytes} bytes, and a token made with fewer than ${MIN_BYTES} can be forged by trying. Make one with randomBytes(${MIN_BYTES}).`)
  return key
}

/** The origin policy, whose complaints name its own option. */
function listedOnly(allow: readonly string[], missing: 'allow' | 'deny'): OriginPolicy {
  try {
    return origin({ allow, missing })
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    throw new ConfigError(error.message.replace(/^origin: allow/, 'csrf: origins'), { cause: error })
  }
}
