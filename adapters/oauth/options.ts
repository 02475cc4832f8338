import type { Clock } from '../../lib/clock.ts'
import { ConfigError } from '../../lib/errors.ts'
import { describe } from '../../lib/policy.ts'

// What both schemes ask of their options. Everything is a ConfigError that names the scheme and the option.

export function known(options: unknown, names: readonly string[], where: string): void {
  if (typeof options !== 'object' || options === null) throw new ConfigError(`${where} takes an object of options; got ${describe(options)}.`)
  for (const name of Object.keys(options)) {
    if (!names.includes(name)) throw new ConfigError(`${where}: unknown option "${name}". The options are ${names.join(', ')}.`)
  }
}

/** @param why what goes wrong without it */
export function text(value: unknown, name: string, where: string, why = ''): string {
  // Only the type is shown: one of these is a secret.
  if (typeof value !== 'string' || value === '') throw new ConfigError(`${where}: ${name} must be a non-empty string; got ${value === '' ? 'an empty one' : typeof value}.${why}`)
  return value
}

/** One, or a list of them. */
export function texts(value: unknown, name: string, where: string): readonly string[] {
  if (!Array.isArray(value)) return [text(value, name, where)]
  if (value.length === 0) throw new ConfigError(`${where}: ${name} must be a non-empty string, or a list of them; got an empty list.`)
  return value.map((each: unknown) => text(each, name, where))
}

export function milliseconds(value: unknown, name: string, where: string, min: number, max: number): number {
  if (typeof value !== 'number' || !(value >= min && value <= max)) throw new ConfigError(`${where}: ${name} must be a number of milliseconds from ${min} to ${max}; got ${describe(value)}.`)
  return value
}

export function count(value: unknown, name: string, where: string, min: number, max: number): number {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < min || value > max) throw new ConfigError(`${where}: ${name} must be a whole number from ${min} to ${max}; got ${describe(value)}.`)
  return value
}

export function flag(value: unknown, name: string, where: string): boolean {
  if (typeof value !== 'boolean') throw new ConfigError(`${where}: ${name} must be true or false; got ${describe(value)}.`)
  return value
}

export function checkedClock(value: Clock, where: string): Clock {
  const { now, after } = (value ?? {}) as Partial<Record<keyof Clock, unknown>>
  if (typeof now !== 'function' || typeof after !== 'function') throw new ConfigError(`${where}: clock must be a clock, { now(), after(ms, fn) }; got ${describe(value)}.`)
  return value
}

/** An issuer as RFC 8414 2 has it: compared to the letter, and the beginning of an address. */
export function issuerUrl(value: unknown, where: string): URL {
  const issuer = text(value, 'issuer', where)
  const flaw = flawOfUrl(issuer, true) ?? (/[?#]/.test(issuer) ? 'has a query or a fragment (RFC 8414 2)' : undefined)
  if (flaw !== undefined) throw new ConfigError(`${where}: issuer ${flaw}; give it as the provider spells it, such as https://id.example.`)
  return new URL(issuer)
}

export function endpointUrl(value: unknown, where: string): URL {
  const endpoint = text(value, 'endpoint', where)
  const flaw = flawOfUrl(endpoint, true)
  if (flaw !== undefined) throw new ConfigError(`${where}: endpoint ${flaw}; give an address such as https://id.example/introspect.`)
  return new URL(endpoint)
}

/**
 * What keeps tokens and keys from being asked for at an address: anybody on the way could read the one, and replace the other.
 *
 * @param loopback whether plain http will do on the machine itself
 */
export function flawOfUrl(value: string, loopback: boolean): string | undefined {
  if (!URL.canParse(value)) return 'is no address'
  const { protocol, hostname, username, password, hash } = new URL(value)
  if (username !== '' || password !== '') return 'holds a user name or a password'
  if (hash !== '') return 'has a fragment'
  if (protocol === 'https:') return undefined
  if (protocol !== 'http:') return 'is no https address'
  return loopback && isLoopback(hostname) ? undefined : 'is http, which is for addresses of the machine itself only: use https'
}

/** `URL` has brought addresses into their one form by now. */
export function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127(?:\.\d{1,3}){3}$/.test(hostname)
}
