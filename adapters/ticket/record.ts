import { hash } from 'node:crypto'
import type { Principal } from '../../lib/principal.ts'
import type { Seals } from './binding.ts'
import { flawOf } from './principal.ts'

/** What the store keeps of a ticket: everything but the ticket. */
export interface TicketRecord {
  readonly principal: Principal
  readonly issuedAtMs: number
  readonly expiresAtMs: number
  readonly bound: Seals
}

/** 256 bits in base64url have one spelling of 43 characters, whose last one carries four bits. */
const SHAPE = /^[\w-]{42}[AEIMQUYcgkosw048]$/

export function isTicket(text: unknown): text is string {
  return typeof text === 'string' && SHAPE.test(text)
}

/** The keys of a ticket: of its record, which the first use takes, and of the mark that it was ever issued. */
export function keysOf(ticket: string): { readonly record: string; readonly issued: string } {
  const id = hash('sha256', ticket, 'base64url')
  return { record: `ticket:${id}`, issued: `ticket-issued:${id}` }
}

/** @returns undefined for what is no record of a ticket */
export function readRecord(text: string): TicketRecord | undefined {
  let record: unknown
  try {
    record = JSON.parse(text)
  } catch {
    return undefined
  }
  const { principal, issuedAtMs, expiresAtMs, bound } = (record ?? {}) as Partial<Record<keyof TicketRecord, unknown>>
  if (flawOf(principal) !== undefined || !Number.isFinite(issuedAtMs) || !Number.isFinite(expiresAtMs) || typeof bound !== 'object' || bound === null) return undefined
  return freeze(record as TicketRecord)
}

/** The facts of a peer are not for handlers to change. How deep it goes was bounded when it was issued. */
function freeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null) return value
  for (const member of Object.values(value)) freeze(member)
  return Object.freeze(value)
}
