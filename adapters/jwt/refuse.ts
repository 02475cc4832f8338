import { Denied } from '../../lib/errors.ts'

/** Refuses a token. @param reason for operators: says what was wrong, and holds nothing of the token */
export function refuse(reason: string): never {
  throw new Denied('UNAUTHENTICATED', undefined, `jwt: ${reason}`)
}
