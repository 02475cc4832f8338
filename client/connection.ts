import { io } from 'socket.io-client'
import type { Socket } from 'socket.io-client'
import type { AnyEvents, ChangedNotice, ClientEvents, ClosingNotice, ExpiringNotice, RenewNotice, ReplyTo, RequestArgs, ServerEvents } from '../lib/contract.ts'
import { ConnectionError, GateError, isRefusal } from './errors.ts'
import { Listeners } from './events.ts'
import type { Closed, ConnectionEvents, Listener, Pause, Refreshed, State } from './events.ts'
import { read } from './options.ts'
import type { AskReason, ConnectOptions } from './options.ts'
import { causeOf, CREDENTIAL_CODES, refusalIn, retryAfter, RETRYABLE_CODES, Spent } from './reading.ts'
import { renewals } from './renewal.ts'

type Heard<T> = unknown extends T ? AnyEvents : ServerEvents<T>
type Sent<T> = unknown extends T ? AnyEvents : ClientEvents<T>

/** The gate's answer to a further factor. */
export interface SteppedUp {
  readonly factor: string
}

/** One connection to one namespace, kept up until it ends for good. */
export interface Connection<T = unknown> {
  /** The stock Socket: listen and emit on it as ever. `connect` and `close` alone connect and disconnect it. */
  readonly socket: Socket<Heard<T>, Sent<T>>
  readonly state: State
  /** @returns what takes the listener off again */
  on<N extends keyof ConnectionEvents>(name: N, listener: Listener<N>): () => void
  /**
   * Puts a new credential in the place of the one in use, without reconnecting. Asks `credentials` for it unless it is given.
   *
   * @throws GateError when the gate refuses it
   * @throws ConnectionError when there is none, or no answer
   */
  refresh(auth?: object): Promise<Refreshed>
  /**
   * Brings a further factor, as `STEP_UP_REQUIRED` asks for. It counts for this connection, until the next reconnect.
   *
   * @throws GateError when the gate refuses it
   * @throws ConnectionError when there is no answer
   */
  stepUp(code: string, options?: { readonly factor?: string }): Promise<SteppedUp>
  /**
   * Sends an event and waits for what its ack brings. Until there is a connection, the event is kept.
   *
   * @throws GateError when the gate refuses it
   * @throws ConnectionError when there is no answer; the server may have had the event all the same
   */
  request<N extends keyof Sent<T> & string>(event: N, ...args: RequestArgs<T, N>): Promise<ReplyTo<T, N>>
  /** Ends it for good. */
  close(): void
}

/**
 * Connects to one namespace, and keeps connected: asks for credentials, renews them before they end, and comes back after a loss
 * as the gate advises, within bounds. A credential that was refused is never sent a second time.
 *
 * @example
 * const connection = connect<typeof chat>('https://api.example/chat', { credentials: async () => ({ ticket: await fetchTicket() }) })
 * connection.socket.on('message', show)
 * await connection.request('message:send', { text: 'hello' })
 * @throws TypeError for options that are wrong
 */
export function connect<T = unknown>(url: string, options: ConnectOptions): Connection<T> {
  const settings = read(options)
  const { credentials, credentialsTimeoutMs, maxAttempts, minDelayMs, maxDelayMs, requestTimeoutMs, schedule, fetch: _, ...stock } = settings
  const listeners = new Listeners()
  const spent = new Spent()
  /** Of the round: timers to be stopped and questions to be withdrawn when it is over. */
  const open = new Set<() => void>()
  /** What answers are waited for by. */
  const waiting = new Set<(error: Error) => void>()

  let state: State = 'connecting'
  /** Each try, connection and pause is a round of its own, so that what comes late is known for that. */
  let round = 0
  let tries = 0
  let pauses = 0
  let need: AskReason = 'connect'
  /** For the CONNECT packet of this try: given out once. */
  let offered: object | undefined
  /** What was sent last. */
  let present: object = {}
  let refusedWith: GateError | undefined
  let advice: ClosingNotice | undefined
  let refreshing: Promise<Refreshed> | undefined
  let keeping = false

  const socket: Socket<any, any> = io(url, {
    // Their type does not know that the agent of Node's transports is an object.
    ...(stock as Omit<typeof stock, 'agent'>),
    autoConnect: false,
    forceNew: true,
    reconnection: false,
    auth: (give) => {
      if (offered) give(offered)
      offered = undefined
    },
  })
  const renewal = renewals(
    settings,
    // What `url` has become with the help of the page, where it had no host. Private in the type of the Manager.
    () => new URL((socket.io as unknown as { readonly uri: string }).uri.replace(/^ws/, 'http')).origin,
    pauseMs,
    (...told) => state !== 'closed' && listeners.tell(...told),
  )

  /** Begins a round. @returns whether it still is the one that runs: a listener may have closed */
  function enter(next: State, pause?: Pause): boolean {
    for (const end of open) end()
    open.clear()
    offered = undefined
    const mine = ++round
    const changed = state !== next || pause
    state = next
    if (changed) listeners.tell('state', next, pause)
    return mine === round
  }

  /** Runs in this round, or not at all. */
  function later(ms: number, run: () => void): () => void {
    const stop = schedule.after(ms, () => {
      open.delete(stop)
      run()
    })
    open.add(stop)
    return () => {
      open.delete(stop)
      stop()
    }
  }

  /** @throws ConnectionError when there is none in time, or the round has ended */
  async function ask(reason: AskReason, attempt: number): Promise<object> {
    const control = new AbortController()
    const { signal } = control
    const abort = (): void => control.abort()
    open.add(abort)
    const stop = later(credentialsTimeoutMs, abort)
    try {
      return await new Promise<object>((resolve, reject) => {
        signal.addEventListener('abort', () => reject(new ConnectionError('TIMEOUT')))
        // On a later tick, so that whoever connects can listen first.
        Promise.resolve()
          .then(() => credentials({ reason, attempt, signal }))
          .then((auth: unknown) => {
            if (typeof auth !== 'object' || auth === null) throw new TypeError('credentials gives an object, such as { token }.')
            // What cannot be sent fails here.
            spent.has(auth)
            resolve(auth)
          })
          .catch(reject)
      })
    } catch (cause) {
      throw new ConnectionError('CREDENTIALS', cause)
    } finally {
      stop()
      open.delete(abort)
    }
  }

  async function attempt(): Promise<void> {
    advice = undefined
    tries++
    if (!enter('connecting')) return
    const mine = round
    // What belongs to the cookie, such as a CSRF token, would be refused beside the next one.
    if (renewal.running()) await renewal.running()
    if (mine !== round) return
    try {
      let auth = await ask(need, tries)
      if (mine === round && need !== 'refused' && spent.has(auth)) {
        need = 'refused'
        auth = await ask(need, tries)
      }
      if (mine !== round) return
      if (spent.has(auth)) return finish('refused', refusedWith)
      present = offered = auth
      later(stock.timeout, () => fail(new ConnectionError('TIMEOUT')))
      socket.connect()
    } catch (error) {
      if (mine === round) fail(error as Error)
    }
  }

  /** One half of it is certain, so that each pause is longer than the one before; the other is chance, so that clients do not come back all at once. */
  function pauseMs(n: number): number {
    const longest = Math.min(maxDelayMs, minDelayMs * 2 ** n)
    return (longest + schedule.random() * longest) / 2
  }

  function pause(ms: number): void {
    pauses++
    if (enter('waiting', { inMs: ms, attempt: tries + 1 })) later(ms, () => void attempt())
  }

  function fail(error: Error): void {
    socket.disconnect()
    listeners.tell('failed', error, tries)
    if (state === 'closed') return
    if (tries >= maxAttempts) finish('attempts', error)
    else pause(retryAfter(error) + pauseMs(pauses))
  }

  /** From now on only another credential will do. */
  function spend(auth: object, error: GateError): void {
    spent.add(auth)
    refusedWith = error
  }

  function refused(error: GateError): void {
    const last = need === 'refused'
    const another = CREDENTIAL_CODES.includes(error.code)
    if (another) {
      spend(present, error)
      need = 'refused'
    }
    listeners.tell('refused', error)
    if (state === 'closed') return
    if (another && !last) {
      if (error.retryAfterMs) pause(error.retryAfterMs + pauseMs(pauses))
      else void attempt()
    } else if (!another && (error.retryAfterMs !== undefined || RETRYABLE_CODES.includes(error.code))) fail(error)
    else finish('refused', error)
  }

  function lost(why: string): void {
    if (why === 'io client disconnect') return finish('asked')
    if (!advice) return why === 'io server disconnect' ? finish('server') : pause(pauseMs(pauses))
    const error = new GateError(advice)
    if (advice.reconnect === 'never') return finish('advised', error)
    if (advice.reconnect === 'after-credential') {
      spend(present, error)
      need = 'refused'
      listeners.tell('refused', error)
      if (state === 'closed') return
    }
    pause(retryAfter(error) + (pauses === 0 ? schedule.random() * minDelayMs : pauseMs(pauses)))
  }

  function finish(reason: Closed['reason'], error?: Error): void {
    if (state === 'closed') return
    enter('closed')
    renewal.leave(true)
    socket.disconnect()
    for (const reject of waiting) reject(new ConnectionError('CLOSED'))
    waiting.clear()
    listeners.tell('closed', { reason, error })
  }

  function ready(whenever: boolean): void {
    if (state === 'closed') throw new ConnectionError('CLOSED')
    if (!whenever && state !== 'connected') throw new ConnectionError('DISCONNECTED')
  }

  function send(event: string, args: readonly unknown[], whenever: boolean): Promise<any> {
    return new Promise((resolve, reject) => {
      ready(whenever)
      try {
        socket.timeout(requestTimeoutMs).emit(event, ...args, (error: Error | null, answer?: { error?: unknown } | null) => {
          waiting.delete(reject)
          if (error) reject(new ConnectionError(error.message === 'operation has timed out' ? 'TIMEOUT' : 'DISCONNECTED', error))
          else if (isRefusal(answer?.error)) reject(new GateError(answer.error))
          else resolve(answer)
        })
        waiting.add(reject)
      } catch (error) {
        // An emit that throws leaves its flag to the next one.
        socket.timeout(undefined as never)
        throw error
      }
    })
  }

  async function replace(auth: object): Promise<Refreshed> {
    try {
      const answer = (await send('gate:refresh', [auth], false)) as Refreshed
      present = auth
      listeners.tell('refreshed', answer)
      return answer
    } catch (error) {
      if (error instanceof GateError) {
        if (CREDENTIAL_CODES.includes(error.code)) spend(auth, error)
        listeners.tell('refused', error)
      }
      throw error
    }
  }

  async function renew(): Promise<Refreshed> {
    for (const reason of ['expiring', 'refused'] as const) {
      const auth = await ask(reason, 1)
      if (spent.has(auth)) continue
      try {
        return await replace(auth)
      } catch (error) {
        if (!spent.has(auth)) throw error
      }
    }
    throw refusedWith!
  }

  async function refresh(auth?: object): Promise<Refreshed> {
    ready(false)
    return auth ? replace(auth) : (refreshing ??= renew().finally(() => (refreshing = undefined)))
  }

  /** Renews what is about to end, for as long as this connection lives. What fails may be tried again, but for a refusal. */
  async function keep(): Promise<void> {
    if (keeping) return
    keeping = true
    const mine = round
    for (let n = 0; mine === round; n++) {
      try {
        await refresh()
        break
      } catch (error) {
        if (mine !== round) break
        listeners.tell('failed', error as Error, n + 1)
        if (n + 1 >= maxAttempts || (error instanceof GateError && !RETRYABLE_CODES.includes(error.code))) break
        await new Promise<void>((resolve) => {
          open.add(resolve)
          later(retryAfter(error as Error) + pauseMs(n), resolve)
        })
      }
    }
    keeping = false
  }

  socket.on('connect', () => {
    tries = 0
    need = 'connect'
    if (enter('connected')) later(maxDelayMs, () => (pauses = 0))
  })
  socket.on('connect_error', (error: Error) => {
    if (state !== 'connecting') return
    const refusal = refusalIn(error)
    if (refusal) return refused(new GateError(refusal))
    // Whoever else has refused has done so for good: the stock client does not come back either.
    if ('data' in error) return finish('refused', error)
    const cause = causeOf(error)
    if ((cause as { code?: unknown }).code === 'PIN_MISMATCH') finish('pin', cause)
    else fail(new ConnectionError('UNREACHABLE', cause))
  })
  socket.on('disconnect', (why: string) => {
    if (state === 'connected') lost(why)
    else if (state === 'connecting') fail(new ConnectionError('DISCONNECTED'))
  })
  socket.on('gate:closing', (notice?: ClosingNotice) => {
    if (isRefusal(notice) && ['never', 'now', 'after-credential'].includes(notice.reconnect)) advice = notice
  })
  socket.on('gate:expiring', (notice: ExpiringNotice) => {
    listeners.tell('expiring', notice)
    void keep()
  })
  socket.on('gate:changed', (notice: ChangedNotice) => listeners.tell('changed', notice))
  socket.on('gate:renew', (notice: RenewNotice) => {
    open.add(renewal.leave)
    renewal.take(notice)
  })

  void attempt()

  return {
    socket: socket as Connection<T>['socket'],
    get state() {
      return state
    },
    on: (name, listener) => listeners.on(name, listener),
    refresh,
    stepUp: (code, { factor } = {}) => send('gate:step-up', [{ ...(factor === undefined ? {} : { factor }), code }], false),
    request: (event, ...args) => send(event, args, true),
    close: () => finish('asked'),
  }
}
