import { connect, type Ask, type Closed, type Connection, type ConnectOptions, type GateError, type Pause, type Schedule, type State } from 'portcullis/client'
import type { Server, Socket } from 'socket.io'
import { closeAfterTest, serve, until, type Host } from '../support/server.ts'

/** Time and chance in the hands of a test. */
export class HandSchedule implements Schedule {
  #now = 0
  readonly #timers = new Set<{ at: number; run: () => void }>()

  constructor(private readonly chance: () => number = () => 0) {}

  after(ms: number, run: () => void): () => void {
    const timer = { at: this.#now + ms, run }
    this.#timers.add(timer)
    return () => void this.#timers.delete(timer)
  }

  random(): number {
    return this.chance()
  }

  /** Runs what is due, in order of time. */
  advance(ms: number): void {
    const end = this.#now + ms
    for (;;) {
      const due = [...this.#timers].filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0]
      if (due === undefined) break
      this.#now = due.at
      this.#timers.delete(due)
      due.run()
    }
    this.#now = end
  }

  /** How many timers are running. */
  get pending(): number {
    return this.#timers.size
  }
}

/** A refusal, as the gate words it. */
export const refusal = (code: string, more: object = {}) => ({ code, message: `text of ${code}`, id: `id of ${code}`, ...more })

/** What a test says to one CONNECT: nothing to let it in, or a refusal. */
type Judge = (auth: any, nth: number) => object | undefined | void

export interface StandIn extends Host<undefined> {
  /** The auth payload of each CONNECT, in order. */
  readonly auths: unknown[]
  readonly sockets: Socket[]
  /** The latest socket that has entered. */
  readonly last: Socket
  /** Closes a socket as the gate does. */
  dismiss(notice: object): void
}

/** A Socket.IO server that says by hand what a gate says. */
export async function standIn(judge: Judge = () => {}, onSocket: (socket: Socket) => void = () => {}): Promise<StandIn> {
  const auths: unknown[] = []
  const sockets: Socket[] = []
  const host = await serve((io: Server) => {
    io.use((socket, next) => {
      auths.push(socket.handshake.auth)
      const refused = judge(socket.handshake.auth, auths.length)
      if (!refused) return next()
      next(Object.assign(new Error((refused as { code?: string }).code), { data: refused }))
    })
    io.on('connection', (socket) => {
      sockets.push(socket)
      onSocket(socket)
    })
    return undefined
  })
  return {
    ...host,
    auths,
    sockets,
    get last() {
      return sockets.at(-1)!
    },
    dismiss(notice) {
      const socket = sockets.at(-1)!
      socket.emit('gate:closing', notice)
      socket.disconnect(true)
    },
  }
}

/** A connection, and all that was heard of it. */
export interface Watched {
  readonly connection: Connection
  readonly schedule: HandSchedule
  readonly asks: Omit<Ask, 'signal'>[]
  readonly signals: AbortSignal[]
  readonly states: State[]
  readonly pauses: Pause[]
  readonly failed: Error[]
  readonly refused: GateError[]
  readonly closed: Closed[]
  is(state: State): Promise<void>
  /** Waits for a pause and lets it pass. */
  pause(): Promise<number>
}

export function watched({ url }: { readonly url: string }, credentials: ConnectOptions['credentials'] = () => ({ token: 'good' }), options: Partial<ConnectOptions> = {}, schedule = new HandSchedule()): Watched {
  const asks: Omit<Ask, 'signal'>[] = []
  const signals: AbortSignal[] = []
  const connection = connect(url, {
    transports: ['websocket'],
    schedule,
    ...options,
    credentials: ({ signal, ...ask }) => {
      asks.push(ask)
      signals.push(signal)
      return credentials({ signal, ...ask })
    },
  })
  closeAfterTest(() => connection.close())
  const states: State[] = []
  const pauses: Pause[] = []
  const failed: Error[] = []
  const refused: GateError[] = []
  const closed: Closed[] = []
  connection.on('state', (state, pause) => {
    states.push(state)
    if (pause) pauses.push(pause)
  })
  connection.on('failed', (error) => failed.push(error))
  connection.on('refused', (error) => refused.push(error))
  connection.on('closed', (last) => closed.push(last))
  const is = (state: State): Promise<void> => until(() => connection.state === state)
  return {
    connection, schedule, asks, signals, states, pauses, failed, refused, closed, is,
    async pause() {
      await is('waiting')
      const { inMs } = pauses.at(-1)!
      schedule.advance(inMs)
      return inMs
    },
  }
}

/** Drops a connection as a network does. */
export const cut = (host: StandIn): void => void (host.last.conn as any).transport.socket._socket.destroy()
