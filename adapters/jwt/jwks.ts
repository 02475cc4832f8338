import type { KeyObject } from 'node:crypto'
import { createRemoteJWKSet, customFetch } from 'jose'
import type { JWK } from 'jose'
import { ConfigError, Denied } from '../../lib/errors.ts'
import type { JwtAlgorithm } from './algorithms.ts'
import { publicKeyOf } from './keys.ts'
import type { FitKey, Keys } from './keys.ts'
import { refuse } from './refuse.ts'

/** How often the key server is asked, in milliseconds. */
export interface Cadence {
  readonly cooldownMs: number
  readonly cacheMs: number
  readonly timeoutMs: number
}

interface RemoteKey extends FitKey {
  readonly kid: unknown
  /** The key as it was published: while that stays the same, so does the key here, and what it has verified. */
  readonly text: string
}

/** A set holds a handful of keys of some hundred bytes, and may hold the certificates of each. */
const MAX_BYTES = 262_144
const MAX_KEYS = 100

/**
 * The keys an issuer publishes. They are asked for when a token needs them: after half of the cache time beside the work, after all
 * of it before anything else is decided, and for an unknown `kid`; never more than once in the cool-down, whatever came of the last time.
 * All times are those of the decisions (`ctx.now`): the clock of the gate.
 */
export class RemoteKeys implements Keys {
  readonly algorithms: readonly JwtAlgorithm[]
  readonly #configured: readonly JwtAlgorithm[] | undefined
  readonly #cadence: Cadence
  readonly #remote: ReturnType<typeof createRemoteJWKSet>
  #keys: readonly RemoteKey[] = []
  #loadedAt = -Infinity
  #askedAt = -Infinity
  #asking: Promise<void> | undefined
  /** Why the last answer was none. */
  #failure: unknown

  /** @param algorithms those that are accepted; `configured` where they were named, which then also holds for a key that names none itself */
  constructor(url: URL, algorithms: readonly JwtAlgorithm[], configured: readonly JwtAlgorithm[] | undefined, cadence: Cadence) {
    this.algorithms = algorithms
    this.#configured = configured
    this.#cadence = cadence
    // jose fetches, with a time limit and without following redirects, and checks the form of the set. When to ask is decided here: jose
    // counts from the last success, so that a server that is down would be asked for each token.
    this.#remote = createRemoteJWKSet(url, { cooldownDuration: Infinity, cacheMaxAge: Infinity, timeoutDuration: cadence.timeoutMs, [customFetch]: boundedFetch })
  }

  find(algorithm: JwtAlgorithm, kid: unknown, now: number): KeyObject | Promise<KeyObject> {
    if (kid !== undefined && typeof kid !== 'string') return refuse('kid is no text')
    const known = this.#pick(algorithm, kid, now)
    if (known !== undefined) {
      this.#renew(now)
      return known
    }
    const asking = this.#ask(now)
    if (asking === undefined) return this.#missing(now)
    return asking.then(() => this.#pick(algorithm, kid, now) ?? this.#missing(now))
  }

  holds(key: KeyObject, now: number): boolean {
    if (!this.#isFresh(now) || !this.#keys.some((each) => each.key === key)) return false
    this.#renew(now)
    return true
  }

  #isFresh(now: number): boolean {
    return within(this.#loadedAt, now, this.#cadence.cacheMs)
  }

  /** The key of this id that is fit for the algorithm. It has to be the only one: which of several is meant would be a guess. */
  #pick(algorithm: JwtAlgorithm, kid: unknown, now: number): KeyObject | undefined {
    if (!this.#isFresh(now)) return undefined
    const [first, ...others] = this.#keys.filter((key) => key.algorithms.includes(algorithm) && (kid === undefined || key.kid === kid))
    return others.every(({ key }) => key.equals(first!.key)) ? first?.key : undefined
  }

  #missing(now: number): never {
    if (this.#failure === undefined && this.#isFresh(now)) return refuse('no key of the issuer for this kid and algorithm')
    throw new Denied('UNAVAILABLE', undefined, this.#failure ?? 'jwt: the keys of the issuer are too old, and were asked for a moment ago')
  }

  #renew(now: number): void {
    if (!within(this.#loadedAt, now, this.#cadence.cacheMs / 2)) void this.#ask(now)
  }

  /** Asks the key server, unless it was asked within the cool-down. The promise never rejects. */
  #ask(now: number): Promise<void> | undefined {
    if (this.#asking !== undefined) return this.#asking
    if (within(this.#askedAt, now, this.#cadence.cooldownMs)) return undefined
    this.#askedAt = now
    this.#asking = this.#load(now).then(
      () => {
        this.#asking = this.#failure = undefined
      },
      (cause: unknown) => {
        this.#asking = undefined
        this.#failure = new Error('jwt: the key server of the issuer gives no keys', { cause })
      },
    )
    return this.#asking
  }

  async #load(now: number): Promise<void> {
    await this.#remote.reload()
    const published = this.#remote.jwks()!.keys
    if (published.length > MAX_KEYS) throw new Error(`more than ${MAX_KEYS} keys`)
    this.#keys = published.flatMap((jwk) => this.#imported(jwk))
    this.#loadedAt = now
  }

  /** Nothing for a key that no token may be checked with: secret, private, weak, or for another use. Sets may hold such. */
  #imported(jwk: JWK): readonly RemoteKey[] {
    const text = JSON.stringify(jwk)
    const known = this.#keys.find((key) => key.text === text)
    if (known !== undefined) return [known]
    try {
      const { key, algorithms } = publicKeyOf(jwk)
      const named = this.#configured ?? algorithms.slice(0, 1)
      return [{ key, algorithms: algorithms.filter((algorithm) => named.includes(algorithm)), kid: jwk.kid, text }]
    } catch (error) {
      if (error instanceof ConfigError) return []
      throw error
    }
  }
}

/** Whether a moment is less than so long ago. A clock that was set far back makes it long ago: what is asked once too often does less harm than keys that stay. */
function within(moment: number, now: number, ms: number): boolean {
  return Math.abs(now - moment) < ms
}

/** `fetch` that reads no more of an answer than a set of keys can need. */
async function boundedFetch(url: string, init: RequestInit): Promise<Response> {
  const response = await fetch(url, init)
  if (response.status !== 200 || response.body === null) {
    // jose refuses it by its status, a redirect among them; what else it says is of no use to anybody.
    await response.body?.cancel()
    return response
  }
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
    bytes += chunk.byteLength
    // Leaving the loop cancels the rest.
    if (bytes > MAX_BYTES) throw new Error(`more than ${MAX_BYTES} bytes`)
    chunks.push(chunk)
  }
  return new Response(Buffer.concat(chunks), { status: 200 })
}
