import type { X509Certificate } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { TLSSocket } from 'node:tls'

/** What the TLS connection of a request shows of its client. Nothing of it comes from a header. */
export interface Presented {
  /** Whether TLS has verified the chain. */
  readonly verified: boolean
  readonly certificate: X509Certificate
  /** Whether all of the session runs over this very connection: it was opened by a WebSocket. */
  readonly lasting: boolean
}

/**
 * Node says `authorized` of a TLS 1.3 session that was resumed without any certificate as well: without one, nothing is presented.
 *
 * @returns undefined where there is no certificate, no TLS, or nothing left of the connection
 */
export function presentedBy(request: IncomingMessage | undefined): Presented | undefined {
  const socket = request?.socket as Partial<TLSSocket> | undefined
  // A connection of another kind has no such method.
  const certificate = socket?.getPeerX509Certificate?.()
  if (certificate === undefined) return undefined
  // After a renegotiation that failed Node says both.
  const verified = socket?.authorized === true && (socket.authorizationError ?? null) === null
  return { verified, certificate, lasting: (request as { readonly upgrade?: unknown }).upgrade === true }
}

/** More than any sensible chain has. */
const MAX_SENT = 10

/** The certificates the client has sent beside its own, in its order; none where a TLS session was resumed. */
export function sentWith(certificate: X509Certificate): X509Certificate[] {
  const sent: X509Certificate[] = []
  for (let next = certificate.issuerCertificate; next !== undefined && sent.length < MAX_SENT; next = next.issuerCertificate) sent.push(next)
  return sent
}
