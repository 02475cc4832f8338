import type { RequestContext } from '../lib/context.ts'
import { ConfigError, Denied } from '../lib/errors.ts'
import { describe } from '../lib/policy.ts'
import type { Hook } from '../lib/policy.ts'

export interface OriginOptions {
  /** Origins as browsers serialise them: `https://app.example`. `https://*.app.example` stands for exactly one label in place of the star. */
  readonly allow: readonly string[]
  /** What happens to a POST or an upgrade without an Origin, which no browser sends. Default `deny`. */
  readonly missing?: 'deny' | 'allow'
}

/** What {@link origin} makes: a policy of the request stage. */
export interface OriginPolicy {
  readonly name: string
  readonly request: Hook<RequestContext>
}

/**
 * Keeps pages of other origins from opening, or going on with, a session in a visitor's name (CWE-1385, RFC 6455 10.2).
 *
 * @example
 * gate.use(origin({ allow: ['https://app.example'] }))
 * @throws ConfigError for an entry that no browser would ever send, or that would let in more than it says
 */
export function origin(options: OriginOptions): OriginPolicy {
  const { allow, missing } = checkOptions(options)
  const exact = new Set(allow.filter((entry) => !entry.includes('*')))
  const patterns = allow.filter((entry) => entry.includes('*')).map(subdomains)
  return {
    name: 'origin',
    request(ctx, next) {
      const given = ctx.headers.origin
      if (given === undefined) {
        // Browsers send none when a page polls its own server; POST and upgrade always have one (Fetch Standard, 3.2).
        if (missing === 'allow' || (ctx.method === 'GET' && !ctx.upgrade)) return next()
        throw new Denied('ORIGIN_NOT_ALLOWED', undefined, 'no Origin')
      }
      // Two Origin headers arrive as one value with a comma in it, and are no origin.
      if (exact.has(given) || patterns.some((matches) => matches(given))) return next()
      throw new Denied('ORIGIN_NOT_ALLOWED', undefined, `Origin ${given}`)
    },
  }
}

function checkOptions(options: OriginOptions): Required<OriginOptions> {
  if (typeof options !== 'object' || options === null) throw new ConfigError("origin takes options such as { allow: ['https://app.example'] }.")
  const unknown = Object.keys(options).find((key) => key !== 'allow' && key !== 'missing')
  if (unknown !== undefined) throw new ConfigError(`origin: unknown option "${unknown}". The options are allow and missing.`)
  const { allow, missing = 'deny' } = options
  if (missing !== 'deny' && missing !== 'allow') throw new ConfigError(`origin: missing is 'deny' or 'allow'; got ${describe(missing)}.`)
  if (!Array.isArray(allow)) throw new ConfigError(`origin: allow is a list of origins such as ['https://app.example']; got ${describe(allow)}.`)
  if (allow.length === 0 && missing === 'deny') throw new ConfigError("origin: with an empty list and missing: 'deny' nobody could ever connect. List the origins of your pages in allow.")
  for (const entry of allow as readonly unknown[]) checkEntry(entry)
  return { allow, missing }
}

function checkEntry(entry: unknown): void {
  const reject = (why: string): never => {
    throw new ConfigError(`origin: allow has ${typeof entry === 'string' ? JSON.stringify(entry) : describe(entry)}${why}`)
  }
  if (entry instanceof RegExp) reject(". A pattern that is not anchored lets others in; write 'https://app.example', or 'https://*.app.example' for any one label.")
  if (typeof entry !== 'string') return reject(", which is not text. Write an origin such as 'https://app.example'.")
  if (entry === '*') reject(", which would let every page of the world in. List the origins of your pages; write 'https://*.app.example' for any one label.")
  if (entry === 'null') reject(', which is the Origin of every sandboxed frame and of every local file. Serve the page from an origin of its own.')
  if (!entry.includes('*')) return checkExact(entry, entry, reject)
  if (!/^https?:\/\/\*\.[^*]+$/.test(entry)) reject(". A star stands for one whole label, the first: 'https://*.app.example'.")
  // `localhost` is nobody's to register (RFC 6761), so its sub-domains are this machine's own.
  if (!/^[^/]*\/\/\*\.(?:[^.:]+\.[^.:]|localhost(?::|$))/.test(entry)) reject(", which would let in every site below a top-level domain. Name at least two labels, as in 'https://*.app.example'.")
  checkExact(entry.replace('*', 'x'), entry, reject)
}

/** An origin is equal to what its URL says its origin is, or it never matches anything. */
function checkExact(text: string, entry: string, reject: (why: string) => never): void {
  const { origin: serialised, protocol, host, href } = URL.canParse(text) ? new URL(text) : reject(", which is not an origin. Write scheme, host and, unless it is the scheme's own, port: 'https://app.example'.")
  // The scheme of an app or a browser extension: its URL has no origin of its own in the URL Standard, and browsers send it as it is.
  if (serialised === 'null' && protocol !== 'file:' && host !== '' && href === text && /^[\w+.-]+:\/\/[\w.:-]+$/.test(text)) return
  if (protocol === 'ws:' || protocol === 'wss:') reject(`. A page has the origin it was loaded from: write 'http${protocol.slice(2)}//${host}'.`)
  if (serialised === 'null') reject(", which is not an origin. Write one such as 'https://app.example'.")
  if (serialised !== text) reject(`, which no browser sends: it sends ${JSON.stringify(entry === text ? serialised : serialised.replace('//x.', '//*.'))}. Write that.`)
}

const LABEL = /^[a-z0-9_-]{1,63}$/

/** Matches `https://*.app.example` from both ends: one label, and nothing before the scheme or after the port. */
function subdomains(pattern: string): (given: string) => boolean {
  const star = pattern.indexOf('*')
  const scheme = pattern.slice(0, star)
  const rest = pattern.slice(star + 1)
  return (given) => given.startsWith(scheme) && given.endsWith(rest) && LABEL.test(given.slice(scheme.length, given.length - rest.length))
}
