import { ConfigError } from '../../lib/errors.ts'
import { describe } from '../../lib/policy.ts'

export interface SecureCookieOptions {
  /** What follows the prefix `__Host-` in the name of the cookie. Default `'sid'`. */
  readonly name?: string
  /** How long browsers keep the cookie, in milliseconds, counted from the last change of the session. Default: until the browser is closed. */
  readonly maxAgeMs?: number
  /**
   * Whether browsers send it when a link of another site leads here: `'lax'` does, `'strict'` does not. Neither is sent with anything else that
   * another site starts, WebSockets included. Default `'lax'`: with `'strict'` whoever comes back from a sign-in elsewhere comes without a session.
   */
  readonly sameSite?: 'lax' | 'strict'
  /** For development over plain http, where browsers keep no cookie of this kind: a name without the prefix, and no `Secure`. Default false. */
  readonly dangerouslyOverHttp?: boolean
}

/** Options of express-session, for its own to be put beside. Of our own making: the types of express-session are not needed to read them. */
export interface SecureCookie {
  readonly name: string
  readonly cookie: {
    readonly httpOnly: true
    readonly secure: boolean
    readonly sameSite: 'lax' | 'strict'
    readonly path: '/'
    readonly maxAge?: number
  }
  readonly resave: false
  readonly saveUninitialized: false
}

/** A name that begins with it is kept by browsers only with `Secure`, `Path=/` and no `Domain`, and from https only (RFC 6265bis 4.1.3.2). */
export const HOST_PREFIX = '__Host-'

const KNOWN = ['name', 'maxAgeMs', 'sameSite', 'dangerouslyOverHttp']
/** RFC 6265bis 4.1.1, with a bound: name and value together have 4,096 bytes. */
const NAME = /^[\w!#$%&'*+.^`|~-]{1,128}$/
const PREFIX = /^__(?:Host|Secure|Http)-/i
/** `Expires` counts in seconds. */
const MIN_AGE_MS = 1_000
/** Browsers keep no cookie longer (RFC 6265bis 5.5). */
const MAX_AGE_MS = 400 * 86_400_000

/**
 * Options for express-session that make its cookie one which is sent over TLS only, with nothing another site starts but a link, is read by no script and set by no other host
 * (ASVS 5.0 3.3.1 to 3.3.4), and that store no session nobody has changed.
 *
 * @example
 * app.use(session({ ...secureCookie(), store, secret }))
 * @throws ConfigError for a name that is none or brings a prefix of its own, and for an age that no browser keeps
 */
export function secureCookie(options: SecureCookieOptions = {}): SecureCookie {
  checkOptions(options)
  const { name = 'sid', maxAgeMs, sameSite = 'lax', dangerouslyOverHttp = false } = options
  return {
    name: dangerouslyOverHttp ? name : HOST_PREFIX + name,
    cookie: { httpOnly: true, secure: !dangerouslyOverHttp, sameSite, path: '/', ...(maxAgeMs === undefined ? {} : { maxAge: maxAgeMs }) },
    // What nobody has changed is not written: else a request that takes long writes a session back that was ended meanwhile, and each visitor without a cookie fills the store.
    resave: false,
    saveUninitialized: false,
  }
}

function checkOptions(options: SecureCookieOptions): void {
  if (typeof options !== 'object' || options === null) throw new ConfigError(`secureCookie takes options such as { maxAgeMs: 28_800_000 }, or none; got ${describe(options)}.`)
  const unknown = Object.keys(options).find((key) => !KNOWN.includes(key))
  if (unknown !== undefined) throw new ConfigError(`secureCookie: unknown option "${unknown}". The options are ${KNOWN.join(', ')}.`)
  const { name, maxAgeMs, sameSite, dangerouslyOverHttp } = options as { readonly [Key in keyof SecureCookieOptions]?: unknown }
  if (name !== undefined) checkName(name)
  if (maxAgeMs !== undefined && !(typeof maxAgeMs === 'number' && maxAgeMs >= MIN_AGE_MS && maxAgeMs <= MAX_AGE_MS)) {
    throw new ConfigError(`secureCookie: maxAgeMs is a number of milliseconds, from ${MIN_AGE_MS} to ${MAX_AGE_MS} (400 days, longer than which no browser keeps a cookie); got ${describe(maxAgeMs)}.`)
  }
  if (sameSite !== undefined && sameSite !== 'lax' && sameSite !== 'strict') {
    throw new ConfigError(`secureCookie: sameSite is 'lax' or 'strict': with any other, requests of other sites may carry the session; got ${describe(sameSite)}.`)
  }
  if (dangerouslyOverHttp !== undefined && typeof dangerouslyOverHttp !== 'boolean') throw new ConfigError(`secureCookie: dangerouslyOverHttp is true or false; got ${describe(dangerouslyOverHttp)}.`)
}

function checkName(name: unknown): void {
  if (typeof name === 'string' && PREFIX.test(name)) {
    throw new ConfigError(`secureCookie: name is what follows the prefix, which is put in front of it: write ${JSON.stringify(name.replace(PREFIX, '') || 'sid')}.`)
  }
  // express-session looks the cookie up in a plain object: `constructor` is always there, and is no text.
  if (typeof name !== 'string' || !NAME.test(name) || name in Object.prototype) {
    throw new ConfigError(`secureCookie: name is one that a cookie can have (RFC 6265 4.1.1), such as 'sid'; got ${describe(name)}.`)
  }
}
