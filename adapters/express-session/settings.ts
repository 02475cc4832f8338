import { HOST_PREFIX } from './secure-cookie.ts'

/** How express-session sets its cookie. */
export interface CookieSettings {
  /** `'auto'`: as the connection is. */
  readonly secure: boolean | 'auto'
  readonly httpOnly: boolean
  /** Undefined: none is set, and each browser has its own default. */
  readonly sameSite: 'strict' | 'lax' | 'none' | undefined
  readonly domain: string | undefined
  readonly path: string | undefined
  readonly maxAgeMs: number | undefined
}

const DAY_MS = 86_400_000
const LONG_MS = 30 * DAY_MS

/** What weakens a session cookie, in plain words; nothing where it is as `secureCookie()` makes it. */
export function cookieWarnings(settings: CookieSettings | undefined, name: string): readonly string[] {
  const isHost = name.startsWith(HOST_PREFIX)
  const found = settings === undefined ? ['its settings cannot be seen from here, so nothing is known of Secure, HttpOnly, SameSite and Domain.'] : weaknesses(settings, name, isHost)
  if (!isHost) found.push(`without the prefix ${HOST_PREFIX} in its name, another host of the same domain can plant a session of its own in a browser.`)
  return found.map((text) => `session cookie ${JSON.stringify(name)}: ${text}`)
}

function weaknesses({ secure, httpOnly, sameSite, domain, path, maxAgeMs }: CookieSettings, name: string, isHost: boolean): string[] {
  const found: string[] = []
  if ((isHost && (secure === false || domain !== undefined || path !== '/')) || (name.startsWith('__Secure-') && secure === false)) {
    found.push(`browsers do not keep it: a name of this kind asks for Secure${isHost ? ', Path=/ and no Domain' : ''}.`)
  }
  if (secure === false) found.push('not Secure, so it is sent over plain http too, where anybody on the way can take it.')
  if (secure === 'auto') found.push('Secure over https only: what is set over plain http is sent there again, where anybody on the way can take it.')
  if (!httpOnly) found.push('not HttpOnly, so any script on the page can take it.')
  if (sameSite === 'none') found.push('SameSite=None, so browsers send it with what other sites request, WebSockets included.')
  if (sameSite === undefined) found.push('no SameSite, so whether it is sent with what other sites request is up to each browser.')
  if (domain !== undefined) found.push(`Domain=${domain}, so every host of that domain is sent it, and can replace it.`)
  if (path !== '/') found.push(`${path === undefined ? 'no Path' : `Path=${path}`}, so it comes with no request outside of it, as those of Socket.IO may be, and is kept from no page of this host.`)
  if (maxAgeMs !== undefined && maxAgeMs > LONG_MS) found.push(`kept by browsers for ${Math.floor(maxAgeMs / DAY_MS)} days, and as long by whoever has copied it.`)
  return found
}

/**
 * The settings in force on a store, without asking the application: express-session gives the store it is made with a function that puts a new session
 * on a request, and stores nothing by that (1.17 to 1.19). It is called with two stand-ins for a request, one over TLS and one not, and so is the
 * application's own `genid`. Where several session middlewares share a store, the settings are those of the newest.
 *
 * @returns undefined where nobody can know: no middleware was made with that store, it throws, or the settings depend on the request
 */
export function settingsOf(store: unknown): CookieSettings | undefined {
  const overTls = newCookie(store, true)
  const overHttp = newCookie(store, false)
  if (overTls === undefined || overHttp === undefined) return undefined
  const { secure, ...settings } = overTls
  const differs = overHttp.httpOnly !== settings.httpOnly || overHttp.domain !== settings.domain || overHttp.path !== settings.path
  return differs ? undefined : { ...settings, secure: secure && !overHttp.secure ? 'auto' : secure }
}

interface Made extends CookieSettings {
  readonly secure: boolean
}

/** Stands in for a request. */
interface StandIn {
  readonly secure: boolean
  readonly connection: object
  readonly headers: object
  /** Put here by express-session. */
  readonly session?: { readonly cookie?: unknown }
}

function newCookie(store: unknown, secure: boolean): Made | undefined {
  try {
    const { generate } = store as { readonly generate?: unknown }
    if (typeof generate !== 'function') return undefined
    let looked = false
    // `genid` is asked before there is a session, and may read what it likes. After it, only settings that are a function look at more than TLS (1.19).
    const look = (): void => void (looked ||= request.session !== undefined)
    const request: StandIn = {
      secure,
      connection: watched(secure ? { encrypted: true } : {}, ['encrypted'], look),
      headers: watched(secure ? { 'x-forwarded-proto': 'https' } : {}, ['x-forwarded-proto'], look),
    }
    generate.call(store, watched(request, ['session', 'sessionID', 'secure', 'connection', 'headers'], look))
    const cookie = request.session?.cookie
    return looked || typeof cookie !== 'object' || cookie === null ? undefined : read(cookie as Readonly<Record<string, unknown>>)
  } catch {
    return undefined
  }
}

/** An object that tells when something is asked of it which express-session itself does not ask for. */
function watched<T extends object>(own: T, known: readonly PropertyKey[], look: () => void): T {
  const see = (key?: PropertyKey): void => {
    if (key === undefined || !known.includes(key)) look()
  }
  return new Proxy(own, {
    get: (target, key): unknown => (see(key), Reflect.get(target, key)),
    has: (target, key) => (see(key), Reflect.has(target, key)),
    getOwnPropertyDescriptor: (target, key) => (see(key), Reflect.getOwnPropertyDescriptor(target, key)),
    ownKeys: (target) => (see(), Reflect.ownKeys(target)),
  })
}

/** As the cookie is written: `cookie` 0.7 leaves out what is falsy, and takes `true` for `Strict`. */
function read({ secure, httpOnly, sameSite, domain, path, originalMaxAge }: Readonly<Record<string, unknown>>): Made {
  const site = sameSite === true ? 'strict' : typeof sameSite === 'string' ? sameSite.toLowerCase() : undefined
  return {
    secure: Boolean(secure),
    httpOnly: Boolean(httpOnly),
    sameSite: site === 'strict' || site === 'lax' || site === 'none' ? site : undefined,
    domain: domain ? String(domain) : undefined,
    path: path ? String(path) : undefined,
    maxAgeMs: typeof originalMaxAge === 'number' ? originalMaxAge : undefined,
  }
}
