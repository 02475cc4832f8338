// Held by the compiler: each line compiles, unless it is marked, and then it must not.
import { guard } from 'portcullis'
import type { Refusal } from 'portcullis'
import { jwt } from 'portcullis/adapters/jwt'
import { connect, ConnectionError } from 'portcullis/client'
import type { ChangedNotice, ClientEvents, ClosingNotice, Connection, DeliveryEvents, ExpiringNotice, GateError, Refreshed, RenewNotice, ServerEvents, State } from 'portcullis/client'
import { pinned } from 'portcullis/client/pinning'
import { contract } from 'portcullis/contract'
import type { ClientEvents as OfContract } from 'portcullis/contract'
import { authenticate } from 'portcullis/policies'
import type { Server } from 'socket.io'
import type { Socket } from 'socket.io-client'
import { z } from 'zod'

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
declare function check<_T extends true>(): void

declare const io: Server
const chat = contract({
  events: {
    send: { data: z.object({ text: z.string(), at: z.coerce.date<string>() }), reply: z.object({ id: z.string().transform(Number) }) },
    move: { args: [z.number(), z.string()] },
    ping: {},
  },
  deliveries: { message: { data: z.object({ text: z.string() }) } },
})
const gate = guard(io).use(authenticate(jwt({ secret: 'a secret of thirty-two characters!', issuer: 'a', audience: 'b' })))
const inChat = gate.of('/chat', chat).event('send')
const untold = gate.of('/untold')
const credentials = () => ({ token: 'a' })

// The gate of a namespace has the events of its contract, whatever was declared on it.
check<Equal<ClientEvents<typeof inChat>, ClientEvents<typeof chat>>>()
check<Equal<ClientEvents<typeof chat>, OfContract<typeof chat>>>()
check<Equal<DeliveryEvents<typeof inChat>, DeliveryEvents<typeof chat>>>()
check<Equal<keyof ServerEvents<typeof inChat>, 'message' | 'gate:denied' | 'gate:closing' | 'gate:expiring' | 'gate:changed' | 'gate:renew'>>()
check<Equal<keyof ClientEvents<typeof inChat>, 'send' | 'move' | 'ping'>>()

// With the stock client alone.
declare const stock: Socket<ServerEvents<typeof inChat>, ClientEvents<typeof inChat>>
stock.emit('send', { text: 'a', at: '2025-01-01' }, (answer) => ('error' in answer ? answer.error.code : answer.id.toFixed()))
stock.on('gate:closing', ({ code, reconnect, retryAfterMs }: ClosingNotice) => [code, reconnect === 'now', retryAfterMs])
stock.on('gate:renew', ({ ticket, path, expiresInMs }: RenewNotice) => [ticket + path, expiresInMs.toFixed()])
stock.on('gate:denied', ({ event, id }: Refusal & { event: string }) => [event, id])
// @ts-expect-error -- there is no such event of the gate
stock.on('gate:opening', () => {})

// A connection, by the type of the gate or of the contract.
const connection = connect<typeof inChat>('https://example.test/chat', { credentials })
check<Equal<Connection<typeof chat>['socket'], typeof connection.socket>>()
connection.socket.on('message', ({ text }) => text.length)
connection.socket.emit('ping')
connection.request('send', { text: 'a', at: '2025-01-01' }).then(({ id }) => id.toFixed())
connection.request('move', 1, 'left').then((reply) => check<Equal<typeof reply, unknown>>())
connection.request('ping')
connection.refresh().then(({ expiresAtMs, lost }: Refreshed) => [expiresAtMs === 'never', lost.rooms.length])
connection.stepUp('123456', { factor: 'otp' }).then(({ factor }) => factor.length)
// @ts-expect-error -- a field is missing
connection.request('send', { text: 'a' })
// @ts-expect-error -- there is no such event
connection.request('shout')
// @ts-expect-error -- no ack beside a promise
connection.request('ping', () => {})
// @ts-expect-error -- the wrong type
connection.request('move', 'one', 'left')
// @ts-expect-error -- there is no such delivery
connection.socket.on('rumour', () => {})
// @ts-expect-error -- not to be set
connection.state = 'closed'

// What is listened to.
check<Equal<ReturnType<typeof connection.on>, () => void>>()
connection.on('state', (state: State, pause) => [state, pause?.inMs.toFixed(), pause?.attempt.toFixed()])
connection.on('refused', ({ code, retryAfterMs }: GateError) => [code === 'REVOKED', retryAfterMs?.toFixed()])
connection.on('expiring', ({ expiresAtMs, inMs }: ExpiringNotice) => expiresAtMs - inMs)
connection.on('changed', ({ cause, lost }: ChangedNotice) => [cause === 'expired', lost.rights.map(({ action }) => action)])
connection.on('renewed', () => {})
connection.on('failed', (error, attempt) => [error instanceof ConnectionError && error.code === 'RENEWAL', attempt.toFixed()])
connection.on('closed', ({ reason, error }) => [reason === 'pin', error?.message])
// @ts-expect-error -- there is no such event of a connection
connection.on('open', () => {})
// @ts-expect-error -- the wrong listener
connection.on('refused', (count: number) => count)

// Without a contract nothing is known of events, and anything goes.
const any = connect('https://example.test', { credentials })
any.socket.on('anything', (a: number) => a)
any.socket.emit('anything', 1, 2, 3)
any.request('anything', 1, {}).then((reply: string) => reply)
connect<typeof untold>('https://example.test/untold', { credentials }).request('anything', 1)
connect<typeof gate>('https://example.test', { credentials }).socket.emit('anything')

// Options.
connect('https://example.test', { credentials: async ({ reason, attempt, signal }) => ({ ticket: [reason === 'refused', attempt.toFixed(), signal.aborted] }), transports: ['websocket'], maxAttempts: Infinity })
connect('https://example.test', { credentials: () => ({}), fetch: (url, init) => fetch(url, init) })
// @ts-expect-error -- no fetch
connect('https://example.test', { credentials, fetch: 'fetch' })
// @ts-expect-error -- no credentials
connect('https://example.test', {})
// @ts-expect-error -- a token is no payload
connect('https://example.test', { credentials: () => 'token' })
// @ts-expect-error -- connect sees to it
connect('https://example.test', { credentials, reconnection: true })
// @ts-expect-error -- credentials, and nothing beside them
connect('https://example.test', { credentials, auth: {} })
// @ts-expect-error -- there is no such reason
connect('https://example.test', { credentials: ({ reason }) => ({ a: reason === 'bored' }) })
pinned({ pins: ['sha256/a', 'sha256/b'], ca: 'a', match: 'chain' })
// @ts-expect-error -- verification is never off
pinned({ pins: ['sha256/a', 'sha256/b'], rejectUnauthorized: false })
// @ts-expect-error -- no pins
pinned({})
