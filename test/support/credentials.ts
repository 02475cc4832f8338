import { guard, memoryStore } from 'portcullis'
import type { Clock, Gate, GuardOptions, Principal, Scheme, Store } from 'portcullis'
import { jwt } from 'portcullis/adapters/jwt'
import { authenticate } from 'portcullis/policies'
import type { AuthenticateOptions } from 'portcullis/policies'
import { testClock } from 'portcullis/testing'
import type { TestClock } from 'portcullis/testing'
import type { Server, Socket } from 'socket.io'
import { client as stockClient, closeAfterTest, entry, heard, serve, watch, type Client } from './server.ts'
import { signer, token } from './tokens.ts'

export const NOW = Date.UTC(2025, 0, 1)
export const issuer = 'https://id.example'
const secret = 'a shared secret of more than thirty-two bytes'
const audience = 'chat'
const signed = signer('HS256', secret)

export const tokens = jwt({ secret, issuer, audience })

/** A token that ends so many seconds after {@link NOW}. */
export function tokenOf(sub: string, seconds = 60, claims: object = {}): string {
  return token({ alg: 'HS256' }, { iss: issuer, aud: audience, sub, iat: NOW / 1_000, exp: NOW / 1_000 + seconds, ...claims }, signed)
}

export const inAuth = (text: unknown): { auth: { token: unknown } } => ({ auth: { token: text } })
export const inHeader = (text: string): { extraHeaders: { authorization: string } } => ({ extraHeaders: { authorization: `Bearer ${text}` } })

/** The form of a refusal, whatever its id. */
export const refused = (code: string, more: object = {}): object => ({ error: expectedRefusal(code, more) })
export const expectedRefusal = (code: string, more: object = {}): object => ({ code, message: TEXT, id: TEXT, ...more })
const TEXT = { asymmetricMatch: (value: unknown) => typeof value === 'string' && value !== '', toString: () => 'a text' }

/** A test clock that can be set, forward or back, without anything falling due, and that counts the timers it was asked for. */
export interface SettableClock extends TestClock {
  /** Moves the time a reader sees, and no timer. */
  set(byMs: number): void
  readonly asked: number
}

export function settableClock(startMs = NOW): SettableClock {
  const clock = testClock(startMs)
  let ahead = 0
  let asked = 0
  return {
    now: () => clock.now() + ahead,
    after: (ms, fn) => {
      asked++
      return clock.after(ms, fn)
    },
    advance: (ms) => clock.advance(ms),
    set: (byMs) => void (ahead += byMs),
    get pending() {
      return clock.pending
    },
    get asked() {
      return asked
    },
  }
}

export type Identified = Gate<{ principal: Principal | undefined }>

export interface Set {
  readonly clock?: Clock & Partial<SettableClock>
  readonly schemes?: readonly Scheme[]
  readonly terms?: AuthenticateOptions
  readonly guarding?: GuardOptions
  readonly serving?: Parameters<typeof serve>[1]
  readonly declare?: (gate: Identified) => unknown
  /** Of the application, before its handlers. */
  readonly application?: (io: Server) => unknown
}

/** A server of an application where clients say things and enter rooms, with who came and what was handled. */
export async function start({ clock: given, schemes = [tokens], terms = {}, guarding = {}, serving, declare, application }: Set = {}) {
  const clock = (given ?? settableClock()) as SettableClock
  const sockets: Socket[] = []
  const handled: unknown[] = []
  const host = await serve((io) => {
    const gate = guard(io, { clock, undeclared: 'allow', ...guarding }).use(authenticate(...schemes, terms as { optional: true })) as Identified
    declare?.(gate)
    application?.(io)
    for (const name of ['/', '/admin']) {
      io.of(name).on('connection', (socket) => {
        sockets.push(socket)
        socket.on('say', (what: unknown, ack?: (answer: unknown) => void) => {
          handled.push(what)
          ack?.(what)
        })
        socket.on('join', async (room: string, ack?: (answer: unknown) => void) => {
          await socket.join(room)
          ack?.('joined')
        })
      })
    }
    return gate
  }, serving)
  const seen = watch(host.gate)
  return {
    ...host,
    clock,
    sockets,
    handled,
    seen,
    subjectOf: (socket: Socket) => host.gate.peerOf(socket).principal?.subject,
    clients: () => Object.keys((host.io.engine as unknown as { clients: object }).clients).length,
    /** The core of the gate, for what cannot be seen from outside: how much it keeps. */
    core: (host.gate as unknown as { core: { agenda: { size: number } } }).core,
  }
}

export type Started = Awaited<ReturnType<typeof start>>

/** A client whose farewell, which takes requests of its own over polling, does not outlive the test. */
export function client(host: { readonly url: string }, options?: Parameters<typeof stockClient>[1]): Client {
  const socket = stockClient(host, options)
  closeAfterTest(() => {
    const { engine } = socket.io
    if (engine.readyState === 'closed') return undefined
    const closed = new Promise((resolve) => engine.once('close', resolve))
    engine.close()
    return closed
  })
  return socket
}

/** A client that has entered with this token. */
export async function enteredWith(host: { readonly url: string }, text: unknown, options: Parameters<typeof stockClient>[1] = {}): Promise<Client> {
  const socket = client(host, { ...inAuth(text), ...options })
  await entry(socket)
  return socket
}

/** The ways a stock client may be connected by the time it has entered. */
export const ways = ['polling', 'websocket', 'upgraded'] as const
export type Way = (typeof ways)[number]

/** A client that has entered with this token, connected in one of the {@link ways}. */
export async function enteredBy(host: { readonly url: string }, way: Way, text: unknown, options: Parameters<typeof stockClient>[1] = {}): Promise<Client> {
  const socket = client(host, { ...inAuth(text), transports: way === 'upgraded' ? ['polling', 'websocket'] : [way], ...options })
  const upgraded = new Promise((resolve) => socket.io.once('open', () => socket.io.engine.once('upgrade', resolve)))
  await entry(socket)
  if (way === 'upgraded') await upgraded
  return socket
}

export const say = (socket: Client, what: unknown): Promise<any> => socket.emitWithAck('say', what)
export const join = (socket: Client, room: string): Promise<any> => socket.emitWithAck('join', room)
export const refresh = (socket: Client, text: unknown): Promise<any> => socket.emitWithAck('gate:refresh', { token: text })

/** Everything a client hears of this name, from now on. */
export function record(socket: Client, name: string): unknown[] {
  const all: unknown[] = []
  socket.on(name, (...args: unknown[]) => all.push(...args))
  return all
}

/** What a client is told when it is closed, and how Socket.IO says it. */
export async function farewell(socket: Client): Promise<{ closing: any; reason: string }> {
  const [[closing], [reason]] = await Promise.all([heard(socket, 'gate:closing'), heard(socket, 'disconnect')])
  return { closing, reason: reason as string }
}

export type Trouble = 'throws' | 'rejects' | 'hangs'

/** A store that works until it is told not to. */
export function troubledStore(clock: Clock): Store & { trouble: Trouble | undefined; asked: string[] } {
  const store = memoryStore({ clock })
  const state = { trouble: undefined as Trouble | undefined, asked: [] as string[] }
  return new Proxy(store, {
    get(target, key) {
      if (key === 'trouble' || key === 'asked') return state[key]
      const value: unknown = Reflect.get(target, key)
      if (typeof value !== 'function') return value
      return (...args: unknown[]): unknown => {
        state.asked.push(String(key))
        if (key !== 'close') {
          if (state.trouble === 'throws') throw new Error('the store throws')
          if (state.trouble === 'rejects') return Promise.reject(new Error('the store rejects'))
          if (state.trouble === 'hangs') return new Promise(() => {})
        }
        return (value as (...args: unknown[]) => unknown).apply(target, args)
      }
    },
    set(_target, key, value) {
      Object.assign(state, { [key]: value })
      return true
    },
  }) as never
}
