/**
 * The work every server variant does, stated once: what a client sends, who it is, and what it may do.
 * Nothing here knows Socket.IO or the gate, so that no variant is favoured by what it can import.
 */
import { createHmac } from 'node:crypto'
import { z } from 'zod'

export const secret = 'a-secret-for-measurements-only-never-for-a-server-0123456789abcdef'
export const issuer = 'https://bench.example'
export const audience = 'bench'

export const Message = z.object({ room: z.string().min(1).max(64), text: z.string().min(1).max(2_000) })
export type Message = z.infer<typeof Message>

/** What a verified token says about its bearer, as the application uses it. */
export interface Member {
  subject: string
  team: string
  rooms: string[]
}

export function member(index: number, teams: number): Member {
  const team = `team-${index % teams}`
  return { subject: `user-${index}`, team, rooms: [`${team}:general`, `${team}:random`] }
}

export interface Rule {
  action: 'enter' | 'read' | 'create'
  subject: 'Chat' | 'Message'
  fields?: string[]
  conditions?: { room: { $in: string[] } }
}

/** Three rules, one of them with a condition: what a small application has. */
export function rulesOf(rooms: readonly string[]): Rule[] {
  return [
    { action: 'enter', subject: 'Chat' },
    { action: 'read', subject: 'Message' },
    { action: 'create', subject: 'Message', conditions: { room: { $in: [...rooms] } } },
  ]
}

/** The same, for somebody who is not to see the address in a message. */
export function maskedRulesOf(rooms: readonly string[]): Rule[] {
  return rulesOf(rooms).map((rule) => (rule.action === 'read' ? { ...rule, fields: ['id', 'room', 'text', 'author'] } : rule))
}

/** About 120 characters each; the last of the five carries markup. */
export const texts: readonly string[] = [
  'The minutes of the last meeting are in the usual place; please read section four before we meet again on Thursday noon.',
  'I moved the release to next week, because the migration of the old rooms took three hours longer than it did on the copy.',
  'Could somebody look at the second draft? The table of prices is still the old one and the summary does not mention the refund.',
  'Lunch is at half past twelve today, in the small room on the second floor, since the large one is taken by the new starters.',
  'Please look at <b>the new draft</b> before noon: the second half of <i>section four</i> has changed a lot since Monday evening.',
]

/** What is broadcast. Where a variant masks, nobody gets the address. */
export function broadcastMessage(sequence: number): { id: number; room: string; text: string; author: string; address: string } {
  return { id: sequence, room: 'everyone', text: texts[sequence % 4] as string, author: 'user-7', address: '192.0.2.7' }
}

const base64url = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')
const header = base64url({ alg: 'HS256', typ: 'JWT' })
let tokensMade = 0

/** A token that no server has seen before: each carries an id of its own. */
export function signToken(who: Member, key: string = secret): string {
  const now = Math.floor(Date.now() / 1_000)
  tokensMade += 1
  const payload = base64url({
    sub: who.subject, team: who.team, rooms: who.rooms,
    iss: issuer, aud: audience, iat: now, exp: now + 3_600, jti: `${process.pid}-${tokensMade}`,
  })
  const signature = createHmac('sha256', key).update(`${header}.${payload}`).digest('base64url')
  return `${header}.${payload}.${signature}`
}
