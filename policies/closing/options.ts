import type { ConnectContext } from '../../lib/context.ts'
import { ConfigError } from '../../lib/errors.ts'
import { describe } from '../../lib/policy.ts'
import type { ReconnectAdvice } from '../../lib/wire.ts'

// What the policies that close a peer at a time of their own have in common.

/** Node's timers end here: about 24 days. */
const MAX_MS = 2_147_483_647
const ADVICES: readonly unknown[] = ['never', 'now', 'after-credential'] satisfies ReconnectAdvice[]

/** Whether somebody comes, by a first connect or a recovery. A refresh or a new look at the rights of a peer that is here begins nothing. */
export function isNewcomer({ cause }: ConnectContext<any>): boolean {
  return cause === 'connect' || cause === 'recover'
}

/** @throws ConfigError for anything but an object of these options */
export function checkKeys(options: unknown, known: readonly string[], where: string, example: string): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) throw new ConfigError(`${where} takes options such as ${example}; got ${describe(options)}.`)
  const unknown = Object.keys(options).find((key) => !known.includes(key))
  if (unknown !== undefined) throw new ConfigError(`${where}: unknown option "${unknown}". The options are ${known.join(', ')}.`)
}

export function checkDuration(value: unknown, where: string, min = 1): void {
  if (typeof value !== 'number' || !(value >= min && value <= MAX_MS)) throw new ConfigError(`${where} is a number of milliseconds from ${min} to ${MAX_MS}; got ${describe(value)}.`)
}

export function checkAdvice(value: unknown, where: string): void {
  if (!ADVICES.includes(value)) throw new ConfigError(`${where} is 'never', 'now' or 'after-credential'; got ${describe(value)}.`)
}
