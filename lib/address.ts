import { BlockList, isIP, isIPv4, isIPv6 } from 'node:net'
import type { IncomingMessage } from 'node:http'
import { ConfigError } from './errors.ts'

/** Which proxies in front of the server are believed: how many hops, or their addresses (CIDR). `false` believes nobody. */
export type TrustProxy = false | number | readonly string[]

/** Finds the address of the client of a request. */
export type AddressResolver = (request: IncomingMessage | undefined | null, fallback: string | undefined) => string

const MAPPED = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i

/** One spelling for one address: an IPv4 address mapped into IPv6 becomes IPv4, a zone id goes. */
export function canonicalAddress(address: string | undefined): string {
  if (address === undefined) return ''
  const mapped = MAPPED.exec(address)
  if (mapped) return mapped[1]!
  const zone = address.indexOf('%')
  return zone === -1 ? address : address.slice(0, zone)
}

/** The key under which an address is limited: itself for IPv4, its /64 for IPv6, since one subscriber holds a whole /64. */
export function addressKey(address: string): string {
  if (!isIPv6(address)) return address
  const [head = '', tail] = address.toLowerCase().split('::')
  const left = head === '' ? [] : head.split(':')
  const right = tail === undefined || tail === '' ? [] : tail.split(':')
  const groups = tail === undefined ? left : [...left, ...Array<string>(Math.max(0, 8 - left.length - right.length)).fill('0'), ...right]
  return `${groups.slice(0, 4).map((group) => group.replace(/^0+(?=.)/, '')).join(':')}::/64`
}

/** Compiles the `trustProxy` option. @throws ConfigError on a value that is neither a hop count nor a list of CIDR ranges. */
export function addressResolver(trustProxy: TrustProxy): AddressResolver {
  if (trustProxy === false) return (request, fallback) => canonicalAddress(request?.socket?.remoteAddress ?? fallback)
  const trusts = truster(trustProxy)
  return (request, fallback) => {
    let address = canonicalAddress(request?.socket?.remoteAddress ?? fallback)
    const header = request?.headers['x-forwarded-for']
    if (header === undefined) return address
    const hops = (Array.isArray(header) ? header.join(',') : header).split(',').slice(-32)
    // From the right: each proxy appends the address it saw, so only what a trusted proxy wrote is believed.
    for (let hop = 0; hops.length > 0 && trusts(address, hop); hop++) {
      const claimed = canonicalAddress(hops.pop()!.trim())
      if (isIP(claimed) === 0) break
      address = claimed
    }
    return address
  }
}

/** Compiles whether a request came over TLS: on its own connection, or as the trusted proxy next to the server says (`X-Forwarded-Proto`). */
export function secureResolver(trustProxy: TrustProxy): (request: IncomingMessage | undefined | null) => boolean {
  const trusts = trustProxy === false ? () => false : truster(trustProxy)
  return (request) => {
    if ((request?.socket as { encrypted?: boolean } | undefined)?.encrypted === true) return true
    const header = request?.headers['x-forwarded-proto']
    if (header === undefined || !trusts(canonicalAddress(request?.socket?.remoteAddress), 0)) return false
    // The last one: a proxy that appends leaves what the client wrote in front.
    return String(header).split(',').at(-1)!.trim().toLowerCase() === 'https'
  }
}

function truster(trustProxy: number | readonly string[]): (address: string, hop: number) => boolean {
  if (typeof trustProxy === 'number') {
    if (!Number.isInteger(trustProxy) || trustProxy < 0) throw new ConfigError(`trustProxy: ${trustProxy} is not a hop count. Write the number of proxies in front of the server, such as 1.`)
    return (_address, hop) => hop < trustProxy
  }
  if (!Array.isArray(trustProxy)) throw new ConfigError("trustProxy takes a hop count or a list of CIDR ranges such as ['10.0.0.0/8'].")
  const list = new BlockList()
  for (const range of trustProxy as readonly string[]) addRange(list, range)
  return (address) => isIP(address) !== 0 && list.check(address, isIPv4(address) ? 'ipv4' : 'ipv6')
}

function addRange(list: BlockList, range: string): void {
  const [address = '', prefix, ...rest] = String(range).split('/')
  const family = isIP(address) === 4 ? 'ipv4' : isIP(address) === 6 ? 'ipv6' : undefined
  const bits = prefix === undefined ? (family === 'ipv4' ? 32 : 128) : Number(prefix)
  if (family === undefined || rest.length > 0 || !/^\d{1,3}$/.test(prefix ?? '0') || bits > (family === 'ipv4' ? 32 : 128)) {
    throw new ConfigError(`trustProxy: ${JSON.stringify(range)} is not an address or CIDR range. Write one such as '10.0.0.0/8'.`)
  }
  list.addSubnet(address, bits, family)
}
