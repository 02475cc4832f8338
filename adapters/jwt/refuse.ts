import { Denied } from '../../lib/errors.ts'

/** Refuses a token. @param reason for operators: says what was wrong, and holds nothing of the token */
export function refuse(reason: string): never {
  // Without a colon: a log that masks secrets would take what follows for one.
  throw new Denied('UNAUTHENTICATED', undefined, `JWT refused (${reason})`)
}
