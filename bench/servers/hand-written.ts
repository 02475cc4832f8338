/**
 * What a careful team writes without the gate: the same job, step by step, in Socket.IO's own middleware.
 * Every step is synchronous and keeps its state on the socket; nothing is done that the job does not ask for.
 */
import { createMongoAbility, subject, type MongoAbility } from '@casl/ability'
import { jwtVerify } from 'jose'
import type { Server, Socket } from 'socket.io'
import { audience, issuer, Message, rulesOf, secret } from '../job.ts'
import type { CountingSink } from './audit-sink.ts'

const key = new TextEncoder().encode(secret)
const expected = { algorithms: ['HS256'], issuer, audience, requiredClaims: ['exp', 'sub'] }

interface MemberData { subject: string; rooms: string[]; ability: MongoAbility; tokens: number; refilledAt: number }
type MemberSocket = Socket<any, any, any, MemberData>

const burst = 1_000_000
const perMs = 1_000

/** Verifies the token at connect, with nothing else behind it. */
export function verifyTokens(io: Server): void {
  io.use((socket, next) => {
    const token: unknown = socket.handshake.auth.token
    if (typeof token !== 'string') {
      next(new Error('UNAUTHENTICATED'))
      return
    }
    jwtVerify(token, key, expected).then(
      ({ payload }) => {
        const { sub, rooms } = payload
        if (typeof sub !== 'string' || !Array.isArray(rooms)) {
          next(new Error('UNAUTHENTICATED'))
          return
        }
        socket.data.subject = sub
        socket.data.rooms = rooms
        next()
      },
      () => next(new Error('UNAUTHENTICATED')),
    )
  })
}

type Packet = any[]

function refuse(packet: Packet, code: string): void {
  const ack: unknown = packet.at(-1)
  if (typeof ack === 'function') ack({ error: { code } })
}

export function takeToken(data: { tokens: number; refilledAt: number }, now: number): boolean {
  const tokens = Math.min(burst, data.tokens + (now - data.refilledAt) * perMs)
  data.refilledAt = now
  data.tokens = tokens < 1 ? tokens : tokens - 1
  return tokens >= 1
}

const tag = /<[^>]*>/g

/** Drops tags; most texts have none, and are not copied. */
export function stripTags(text: string): string {
  return text.includes('<') ? text.replace(tag, '') : text
}

/** The record of one decision, as a log pipeline wants it. */
export function auditRecord(data: { subject: string }, event: string, address: string, outcome: string, code?: string): object {
  return { time: Date.now(), stage: 'event', event, subject: data.subject, address, outcome, code }
}

export function writeByHand(io: Server, sink: CountingSink): void {
  verifyTokens(io)
  io.use((socket: MemberSocket, next) => {
    socket.data.ability = createMongoAbility(rulesOf(socket.data.rooms))
    socket.data.tokens = burst
    socket.data.refilledAt = Date.now()
    next()
  })
  io.on('connection', (socket: MemberSocket) => {
    const { data } = socket
    const { address } = socket.handshake
    const audit = (packet: Packet, outcome: string, code?: string): void =>
      sink.info(auditRecord(data, packet[0], address, outcome, code))
    const deny = (packet: Packet, code: string): void => {
      audit(packet, 'denied', code)
      refuse(packet, code)
    }

    socket.use((packet, next) => {
      if (takeToken(data, Date.now())) next()
      else deny(packet, 'RATE_LIMITED')
    })
    socket.use((packet, next) => {
      if (packet[0] !== 'message:send') {
        deny(packet, 'UNKNOWN_EVENT')
        return
      }
      const parsed = Message.safeParse(packet[1])
      if (!parsed.success) {
        deny(packet, 'INVALID_PAYLOAD')
        return
      }
      packet[1] = parsed.data
      next()
    })
    socket.use((packet, next) => {
      packet[1].text = stripTags(packet[1].text)
      next()
    })
    socket.use((packet, next) => {
      if (data.ability.can('create', subject('Message', { ...packet[1] }))) next()
      else deny(packet, 'FORBIDDEN')
    })
    socket.use((packet, next) => {
      audit(packet, 'admitted')
      next()
    })
  })
}
