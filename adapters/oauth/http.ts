import { allowInsecureRequests, customFetch } from 'oauth4webapi'
import type { CustomFetchOptions } from 'oauth4webapi'
import { Failure } from './failure.ts'

/** The metadata of large providers are some 10 kB, answers about a token far less. */
const MAX_BYTES = 65_536

/** What the library is given for one request. */
export interface Transport {
  readonly signal: AbortSignal
  /** The addresses were checked when they were given: plain http is left for loopback only. */
  readonly [allowInsecureRequests]: true
  readonly [customFetch]: (url: string, options: Asked) => Promise<Response>
}

type Asked = CustomFetchOptions<string, URLSearchParams | undefined>

/**
 * Hands the library nothing but whole JSON answers of bounded size. No redirect is followed: it would carry the token, and the client's
 * secret, to another place.
 *
 * @param signal ends the request, its body included
 */
export function transport(signal: AbortSignal): Transport {
  return { signal, [allowInsecureRequests]: true, [customFetch]: (url, options) => exchange(url, options, signal) }
}

async function exchange(url: string, { method, headers, body: sent }: Asked, signal: AbortSignal): Promise<Response> {
  const response = await answered(fetch(url, { method, headers, body: sent ?? null, redirect: 'manual', signal }), signal)
  const flaw = flawOf(response)
  if (flaw !== undefined) {
    await response.body?.cancel().catch(() => undefined)
    throw flaw
  }
  const body = await answered(readBounded(response), signal)
  return new Response(body, { headers: { 'content-type': 'application/json' } })
}

function flawOf({ status, headers }: Response): Failure | undefined {
  // The server does not answer now, or not to us (our own credentials, RFC 7662 2.3), which says nothing of what was asked.
  if (status >= 500 || [401, 403, 408, 429].includes(status)) return new Failure('UNAVAILABLE', `answered ${status}`)
  if (status !== 200) return new Failure('UNAUTHENTICATED', `answered ${status}`)
  const [type] = (headers.get('content-type') ?? '').split(';')
  return type!.trim().toLowerCase() === 'application/json' ? undefined : new Failure('UNAUTHENTICATED', 'answered with something other than JSON')
}

async function readBounded({ body }: Response): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = []
  let size = 0
  // Leaving the loop early cancels the body. What was compressed is counted as it unfolds.
  for await (const chunk of (body ?? []) as AsyncIterable<Uint8Array>) {
    size += chunk.byteLength
    if (size > MAX_BYTES) throw new Failure('UNAUTHENTICATED', `answered with more than ${MAX_BYTES} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

async function answered<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  try {
    return await work
  } catch (error) {
    if (error instanceof Failure) throw error
    throw new Failure('UNAVAILABLE', signal.aborted ? 'did not answer in time' : `could not be reached${codeOf(error)}`)
  }
}

/** Such as ECONNREFUSED or CERT_HAS_EXPIRED, which Node keeps in the cause. */
function codeOf(error: unknown): string {
  const code: unknown = (error as { cause?: { code?: unknown } }).cause?.code
  return typeof code === 'string' && /^[A-Z][A-Z0-9_]{2,48}$/.test(code) ? `: ${code}` : ''
}
