import { hash } from 'node:crypto'
import { Denied } from '../../lib/errors.ts'
import { boundedKey } from '../../lib/keys.ts'
import { describe } from '../../lib/policy.ts'
import type { Enlisted, Member } from '../../lib/store.ts'
import type { Who } from './directory.ts'

// What the directory of sessions keeps in a store, and under which keys. Whatever else stands there is a store that cannot be relied on.

/** Where a session is. */
export interface Place {
  /** Since when, in milliseconds since the epoch. */
  readonly atMs: number
  /** The session id, sealed; undefined while the session is on its way to another one. */
  readonly sealed: string | undefined
}

/** Whose a session is. */
export interface Owner {
  readonly atMs: number
  readonly who: Who
}

/** What a collection keeps of one session. */
export interface Card {
  /** When it was last seen, in milliseconds since the epoch. */
  readonly atMs: number
  readonly address?: string
  /** Text of the user's. */
  readonly userAgent?: string
}

/** What is known of the client of a session. */
export interface ClientOf {
  readonly address?: string | undefined
  readonly userAgent?: string | undefined
}

/** An IPv6 address with its zone is shorter. */
const MAX_ADDRESS = 64
const MAX_USER_AGENT = 256

/** The sessions of somebody. How long a subject is, its issuer decides. */
export function sessionsKey({ subject, issuer }: Who): string {
  return `session:of:${hash('sha256', JSON.stringify([issuer ?? null, subject]), 'base64url')}`
}

export function placeKey(lineage: string): string {
  return boundedKey('session:at', lineage)
}

export function ownerKey(lineage: string): string {
  return boundedKey('session:who', lineage)
}

export function isSame(a: Who, b: Who): boolean {
  return a.subject === b.subject && a.issuer === b.issuer
}

export function placeText({ atMs, sealed }: Place): string {
  return JSON.stringify({ atMs, sealed })
}

export function placeOf(text: string): Place
export function placeOf(text: string | undefined): Place | undefined
export function placeOf(text: string | undefined): Place | undefined {
  if (text === undefined) return undefined
  const { atMs, sealed } = objectOf(text)
  if (!isTime(atMs) || !isTextOrNone(sealed)) throw nonsense('where a session is', text)
  return { atMs, sealed }
}

export function ownerText({ atMs, who: { subject, issuer } }: Owner): string {
  return JSON.stringify({ atMs, subject, issuer })
}

export function ownerOf(text: string): Owner
export function ownerOf(text: string | undefined): Owner | undefined
export function ownerOf(text: string | undefined): Owner | undefined {
  if (text === undefined) return undefined
  const { atMs, subject, issuer } = objectOf(text)
  if (!isTime(atMs) || typeof subject !== 'string' || !isTextOrNone(issuer)) throw nonsense('whose a session is', text)
  return { atMs, who: { subject, issuer } }
}

export function cardText(atMs: number, { address, userAgent }: ClientOf): string {
  return JSON.stringify({ atMs, address: address?.slice(0, MAX_ADDRESS), userAgent: userAgent?.slice(0, MAX_USER_AGENT) })
}

export function cardOf(text: string): Card {
  const { atMs, address, userAgent } = objectOf(text)
  if (!isTime(atMs) || !isTextOrNone(address) || !isTextOrNone(userAgent)) throw nonsense('a session', text)
  return { atMs, ...(address === undefined ? {} : { address }), ...(userAgent === undefined ? {} : { userAgent }) }
}

export function textOf(answer: unknown): string | undefined {
  if (!isTextOrNone(answer)) throw nonsense('a text', answer)
  return answer
}

/** @returns what stands there, where something has to */
export function heldText(answer: unknown): string {
  if (typeof answer !== 'string') throw nonsense('a text', answer)
  return answer
}

/** @param count how many were asked for */
export function textsOf(answer: unknown, count: number): readonly (string | undefined)[] {
  if (!Array.isArray(answer) || answer.length !== count || !answer.every(isTextOrNone)) throw nonsense(`${count} texts`, answer)
  return answer
}

export function membersOf(answer: unknown): readonly Member[] {
  if (!Array.isArray(answer) || !answer.every(isMember)) throw nonsense('members', answer)
  return answer
}

export function enlistedOf(answer: unknown): Enlisted {
  const { entered, left } = (answer ?? {}) as Partial<Enlisted>
  if (typeof entered !== 'boolean') throw nonsense('whether a session has entered', answer)
  return { entered, left: membersOf(left) }
}

function isMember(value: unknown): value is Member {
  const { member, value: text, sinceMs } = (value ?? {}) as Partial<Member>
  return typeof member === 'string' && typeof text === 'string' && isTime(sinceMs)
}

function objectOf(text: string): Partial<Record<string, unknown>> {
  try {
    return (JSON.parse(text) ?? {}) as Partial<Record<string, unknown>>
  } catch {
    return {}
  }
}

function isTime(value: unknown): value is number {
  return Number.isFinite(value)
}

function isTextOrNone(value: unknown): value is string | undefined {
  return value === undefined || typeof value === 'string'
}

/** Says nothing of what stands in a text: that is not for logs. */
function nonsense(wanted: string, answer: unknown): Denied {
  const given = typeof answer === 'string' ? 'another text' : describe(answer)
  return new Denied('UNAVAILABLE', undefined, new TypeError(`sessions: the store answered ${given} in place of ${wanted}`))
}
