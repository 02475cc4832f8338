import { isDeepStrictEqual } from 'node:util'
import type { Code, RefusalDetails } from '../errors.ts'
import { Result } from './result.ts'

/** A matcher for `toEqual` of jest, vitest and others that ask `asymmetricMatch`. */
export interface ResultMatcher {
  asymmetricMatch(received: unknown): boolean
  toString(): string
  toAsymmetricMatcher(): string
}

/** Parts of an admitted result that a test may name. */
export interface AdmittedParts {
  readonly data?: unknown
  readonly args?: readonly unknown[]
  readonly facts?: unknown
  readonly sync?: boolean
}

/**
 * Matches a result that was admitted and, where parts are named, has just these.
 *
 * @example
 * expect(await probe.event('say', ' hi ')).toEqual(admitted({ data: 'hi' }))
 */
export function admitted(parts: AdmittedParts = {}): ResultMatcher {
  return matcher('admitted', parts, (result) => result.outcome === 'admitted' && has(result, parts))
}

/**
 * Matches a refusal: written like the `deny` that makes it. Details that are not named are not compared.
 *
 * @example
 * expect(await probe.event('ping')).toEqual(denied('RATE_LIMITED', { retryAfterMs: 334 }))
 */
export function denied(code?: Code, details: RefusalDetails = {}): ResultMatcher {
  const { retryAfterMs, ...rest } = details
  return matcher('denied', code === undefined ? {} : { code, ...details }, (result) => {
    if (result.outcome !== 'denied' || (code !== undefined && result.code !== code)) return false
    return (retryAfterMs === undefined || matches(retryAfterMs, result.refusal?.retryAfterMs)) && has(result.refusal?.details ?? {}, rest)
  })
}

/** Matches a refusal because a policy broke. The client is told `INTERNAL`, or `DEADLINE_EXCEEDED` for a decision that took too long. */
export function faulted(code?: Code): ResultMatcher {
  return matcher('faulted', code === undefined ? {} : { code }, (result) => result.outcome === 'fault' && (code === undefined || result.code === code))
}

/** Matches an event that a hook has answered in place of the handler. Without a value: whatever the answer was. */
export function replied(...value: readonly [] | readonly [unknown]): ResultMatcher {
  return matcher('replied', value.length === 0 ? {} : { value: value[0] }, (result) => result.outcome === 'replied' && (value.length === 0 || matches(value[0], result.value)))
}

/** What a matcher of `expect.extend` returns. */
export interface Match {
  readonly pass: boolean
  readonly message: () => string
}

/**
 * The same questions as matchers of their own, for `expect.extend(matchers)`.
 *
 * @example
 * expect.extend(matchers)
 * expect(await probe.connect()).toBeDenied('UNAUTHENTICATED')
 */
export const matchers = {
  toBeAdmitted: (received: unknown, parts?: AdmittedParts): Match => judge(received, admitted(parts)),
  toBeDenied: (received: unknown, code?: Code, details?: RefusalDetails): Match => judge(received, denied(code, details)),
  toBeFault: (received: unknown, code?: Code): Match => judge(received, faulted(code)),
}

/** Their types, for a declaration merged into the test framework's own. */
export interface GateMatchers<R = unknown> {
  toBeAdmitted(parts?: AdmittedParts): R
  toBeDenied(code?: Code, details?: RefusalDetails): R
  toBeFault(code?: Code): R
}

function judge(received: unknown, expected: ResultMatcher): Match {
  const pass = expected.asymmetricMatch(received)
  return { pass, message: () => `expected ${pass ? 'anything but ' : ''}${expected.toString()}, got ${received instanceof Result ? describeResult(received) : typeof received}` }
}

function describeResult({ outcome, code, refusal, policy, error, args, value }: Result): string {
  const shown = { code, policy, retryAfterMs: refusal?.retryAfterMs, details: refusal?.details, error: outcome === 'fault' ? String(error) : undefined, args, value }
  const parts = Object.entries(shown).filter(([, part]) => part !== undefined)
  return name(outcome, Object.fromEntries(parts))
}

function name(kind: string, parts: object): string {
  return `${kind}(${Object.keys(parts).length === 0 ? '' : JSON.stringify(parts, printable)})`
}

function printable(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' || typeof value === 'symbol' || typeof value === 'function' ? String(value) : value
}

function matcher(kind: string, parts: object, match: (result: Result) => boolean): ResultMatcher {
  const shown = (): string => name(kind, parts)
  return {
    // What pretty-printers of test frameworks recognise a matcher by.
    ...({ $$typeof: Symbol.for('jest.asymmetricMatcher') } as object),
    asymmetricMatch: (received) => received instanceof Result && match(received),
    toString: shown,
    toAsymmetricMatcher: shown,
  }
}

/** Whether each named part is as expected. */
function has(actual: object, parts: object): boolean {
  return Object.entries(parts).every(([key, expected]) => matches(expected, (actual as Record<string, unknown>)[key]))
}

/** Deep equality in which a matcher may stand anywhere. */
function matches(expected: unknown, actual: unknown): boolean {
  if (typeof expected !== 'object' || expected === null) return Object.is(expected, actual)
  if (typeof (expected as ResultMatcher).asymmetricMatch === 'function') return (expected as ResultMatcher).asymmetricMatch(actual)
  if (typeof actual !== 'object' || actual === null) return false
  if (Array.isArray(expected)) return Array.isArray(actual) && expected.length === actual.length && expected.every((item, index) => matches(item, actual[index]))
  const prototype: unknown = Object.getPrototypeOf(expected)
  if (prototype !== Object.prototype && prototype !== null) return isDeepStrictEqual(expected, actual)
  const defined = (value: object): string[] => Object.keys(value).filter((key) => (value as Record<string, unknown>)[key] !== undefined)
  return defined(expected).length === defined(actual).length && has(actual, expected)
}
