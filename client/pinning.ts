import { createHash, createPublicKey, KeyObject, X509Certificate } from 'node:crypto'
import { Agent } from 'node:https'
import type { AgentOptions, RequestOptions } from 'node:https'
import type { Duplex } from 'node:stream'
import { checkServerIdentity } from 'node:tls'
import type { TLSSocket } from 'node:tls'

/** The server has proved who it is by a key that is not pinned. Nothing was sent to it. */
export class PinError extends Error {
  override readonly name = 'PinError'
  /** For `connect`, which does not try again. */
  readonly code = 'PIN_MISMATCH'

  constructor(
    readonly host: string,
    /** The pin of the key the server has, to compare with those it should have. */
    readonly pin: string | undefined,
  ) {
    super(`${host} has a key that is not pinned: ${pin ?? 'one that cannot be read'}.`)
  }
}

/** Options of an `https.Agent`, such as `ca`, `cert` and `key`, but for what would weaken it. */
export interface PinningOptions extends Omit<AgentOptions, 'rejectUnauthorized' | 'checkServerIdentity' | 'maxCachedSessions' | 'session'> {
  /** Which keys the server may have: `sha256/` and the Base64 of the SHA-256 of the SubjectPublicKeyInfo (as in RFC 7469, section 2.4). Two or more: one is the spare. */
  readonly pins: readonly string[]
  /** Whose key it is: that of the server's certificate, or of any certificate in its chain, such as the CA's. Default `leaf`. */
  readonly match?: 'leaf' | 'chain'
}

const PIN = /^sha256\/[A-Za-z0-9+/]{43}=$/
const FORBIDDEN = ['rejectUnauthorized', 'checkServerIdentity', 'maxCachedSessions', 'session'] as const
/** Where the request or the agent has no `timeout`. As long as that of socket.io-client: a handshake that goes nowhere must not outlive the try it belongs to. */
const HANDSHAKE_MS = 20_000

/**
 * An agent for `connect` in Node that talks to servers with a pinned key only. The key is looked at before anything is sent:
 * no header, no credential. The certificate is verified as well, as ever.
 *
 * @example
 * connect('https://api.example', { agent: pinned({ pins: [current, spare] }), credentials })
 * @throws TypeError for options that are wrong
 */
export function pinned(options: PinningOptions): Agent {
  return new PinningAgent(options)
}

/** The pin of a certificate or a public key, given as PEM, DER (certificates only) or a `KeyObject`. */
export function pinOf(source: string | Buffer | X509Certificate | KeyObject): string {
  const key = source instanceof KeyObject ? source : source instanceof X509Certificate ? source.publicKey : keyIn(source)
  const spki = (key.type === 'private' ? createPublicKey(key.export({ type: 'pkcs8', format: 'pem' })) : key).export({ type: 'spki', format: 'der' })
  return `sha256/${createHash('sha256').update(spki).digest('base64')}`
}

function keyIn(source: string | Buffer): KeyObject {
  return /-----BEGIN (?!CERTIFICATE)/.test(source.toString('latin1')) ? createPublicKey(source) : new X509Certificate(source).publicKey
}

class PinningAgent extends Agent {
  readonly #pins: ReadonlySet<string>
  readonly #chain: boolean

  constructor({ pins, match = 'leaf', ...options }: PinningOptions) {
    const wrong = pins?.find?.((pin) => !PIN.test(pin))
    if (wrong !== undefined) throw new TypeError(`pinned: ${JSON.stringify(wrong)} is no pin. Write sha256/ and 44 characters of Base64, as pinOf() gives them.`)
    if (!Array.isArray(pins) || new Set(pins).size < 2) throw new TypeError('pinned: pins has two pins or more. Keep the key of one offline: without a spare, a lost key locks every client out.')
    if (match !== 'leaf' && match !== 'chain') throw new TypeError("pinned: match is 'leaf' or 'chain'.")
    for (const name of FORBIDDEN) {
      if (name in options) throw new TypeError(`pinned: ${name} is not an option: the certificate is always verified, at each connection. Use ca for a certificate authority of your own.`)
    }
    // A resumed session brings no certificate to look at.
    super({ ...options, maxCachedSessions: 0 })
    this.#pins = new Set(pins)
    this.#chain = match === 'chain'
  }

  /** Hands the connection out when its key is known for a pinned one; until then nobody has anything to write to. */
  override createConnection(options: RequestOptions, callback?: (error: Error | null, stream: Duplex) => void): undefined {
    // Asked of the agent last, so that neither the environment nor a request can turn verification off.
    const socket = super.createConnection({ ...options, rejectUnauthorized: true, checkServerIdentity }) as TLSSocket
    const { timeout } = options
    let done = false
    const settle = (error: Error | null): void => {
      if (done) return
      done = true
      socket.setTimeout(timeout ?? 0)
      if (error) socket.destroy()
      callback?.(error, socket)
    }
    socket.once('secureConnect', () => settle(this.#mismatch(socket, options)))
    // Stays: an error between here and the request that gets the socket has another listener to go to.
    socket.on('error', settle)
    socket.setTimeout(timeout ?? HANDSHAKE_MS, () => settle(new Error('The TLS handshake has taken too long.')))
    return undefined
  }

  #mismatch(socket: TLSSocket, { host, servername }: RequestOptions): PinError | null {
    let pin: string | undefined
    try {
      for (const certificate of certificates(socket, this.#chain)) {
        const next = pinOf(certificate)
        if (this.#pins.has(next)) return null
        pin ??= next
      }
    } catch {
      // A key or a signature of a kind that Node does not read is nobody's.
    }
    return new PinError(servername || host || 'The server', pin)
  }
}

/** The server's certificate and, if asked for, those above it, each of which has signed the one before: what a server merely sends along counts for nothing. */
function certificates(socket: TLSSocket, all: boolean): X509Certificate[] {
  let sent = socket.getPeerCertificate(true)
  const chain: X509Certificate[] = []
  // At its end a chain that ends in itself, or nothing.
  for (const seen = new Set<object>(); sent?.raw && !seen.has(sent); sent = sent.issuerCertificate) {
    seen.add(sent)
    const certificate = new X509Certificate(sent.raw)
    const last = chain.at(-1)
    // Node goes by names when it strings them together, and OpenSSL may have found another issuer of that name.
    if (last !== undefined && !(all && last.verify(certificate.publicKey))) break
    chain.push(certificate)
  }
  return chain
}
