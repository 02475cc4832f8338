import { Denied } from '../../lib/errors.ts'

/** Refuses a ticket. @param reason for operators: says what was wrong, and holds nothing of the ticket */
export function refuse(reason: string): never {
  // In the plural: `audit` would take what follows "ticket:" for a secret, and mask it.
  throw new Denied('UNAUTHENTICATED', undefined, `tickets: ${reason}`)
}
