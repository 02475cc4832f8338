import { Denied } from '../../lib/errors.ts'

/**
 * Why a provider's word could not be had, or does not count. Several connections may wait for one answer: each gets a refusal of its own.
 * The reason is for operators; it holds nothing of a token, nor of what the provider wrote.
 */
export class Failure extends Error {
  constructor(
    /** `UNAVAILABLE` where nothing was said about the token. */
    readonly code: 'UNAUTHENTICATED' | 'UNAVAILABLE',
    reason: string,
  ) {
    super(reason)
  }
}

/** @returns what to refuse with; anything but a failure is a fault, and passes as it is */
export function refusalOf(error: unknown, scheme: string): unknown {
  return error instanceof Failure ? new Denied(error.code, undefined, `${scheme}: ${error.message}`) : error
}
