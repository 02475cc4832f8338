import type { IncomingMessage, ServerResponse } from 'node:http'
import { STATUS_CODES } from 'node:http'
import { takeOut } from '../carriers.ts'
import type { Carried, Carrier } from '../carriers.ts'
import { isThenable } from '../compose.ts'
import type { Chain, Refused } from '../compose.ts'
import { Opener, RequestContext } from '../context.ts'
import type { Core } from '../core.ts'
import { ConfigError, Denied } from '../errors.ts'
import { bare, httpAnswer } from '../wire.ts'
import type { Refusal } from '../wire.ts'
import type { HalfOpen } from './half-open.ts'
import { runMiddleware } from './middleware.ts'
import type { EngineRequest, RawConnection, RawEngine, RawServer } from './socket-io.ts'

// Seam (Socket.IO 4.8.4, engine.io 6.6): `engine.use`, public. Unlike `allowRequest` it runs for every request of a session.
// `io.bind` is where every way of attaching an engine ends. `_applyMiddlewares` and `verify` are wrapped for containment only.

/** How engine.io says "forbidden" to a client. */
const FORBIDDEN = 4

/** What the gate remembers of one engine session. */
interface Session {
  /** The first Origin present in the session. */
  origin: string | undefined
  /** The request it began with, where a policy may compare later ones with it. */
  readonly opener?: Opener | undefined
  /** What was taken out of that request. */
  readonly carried?: Carried | undefined
}

/** What is declared about requests, at this moment: declarations may still follow. */
export interface RequestTerms {
  request(): Chain<RequestContext>
  /** Whether any policy is asked about requests. */
  asksRequests(): boolean
  /** Where credentials stand that nobody else is to see. */
  carriers(): readonly Carrier[]
}

export class RequestStage {
  readonly #core: Core
  readonly #declared: RequestTerms
  readonly #halfOpen: HalfOpen
  readonly #sessions = new WeakMap<object, Session>()
  readonly #carried = new WeakMap<IncomingMessage, Carried>()
  readonly #engines = new WeakSet<RawEngine>()

  constructor(core: Core, declared: RequestTerms, halfOpen: HalfOpen) {
    this.#core = core
    this.#declared = declared
    this.#halfOpen = halfOpen
  }

  /** What was taken out of the request that opened a connection. */
  carriedBy(connection: RawConnection): Carried | undefined {
    return this.#sessions.get(connection)?.carried
  }

  /** Guards the engine of a server, and each one attached later. @throws ConfigError for an engine that cannot be guarded */
  install(server: RawServer): void {
    if (server.opts.allowEIO3 === true) this.#allow('eio3', 'allowEIO3 is on: revision 3 clients enter "/" without a CONNECT, and their socket ids are session secrets')
    if (server.opts.transports?.includes('webtransport') === true) this.#allow('webtransport', 'WebTransport sessions pass no HTTP request')
    const bind = server.bind
    server.bind = (engine) => {
      this.#guard(engine)
      return bind.call(server, engine)
    }
    if (server.engine !== undefined) this.#guard(server.engine)
  }

  #allow(way: 'uws' | 'webtransport' | 'eio3', why: string): void {
    if (!this.#core.settings.dangerouslyAllow.has(way)) {
      throw new ConfigError(`guard: ${why}, so the gate cannot guard them. Turn it off, or accept it with dangerouslyAllow: ['${way}'].`)
    }
  }

  #guard(engine: RawEngine): void {
    if (this.#engines.has(engine)) return
    if (engine.constructor.name === 'uServer') return this.#allow('uws', 'uWebSockets.js publishes to its clients by topic, past every stage')
    if (engine.opts.allowEIO3 === true) this.#allow('eio3', 'allowEIO3 is on: revision 3 clients enter "/" without a CONNECT, and their socket ids are session secrets')
    if (engine.opts.transports?.includes('webtransport') === true) this.#allow('webtransport', 'WebTransport sessions pass no HTTP request')
    this.#engines.add(engine)
    this.#contain(engine)
    const middleware = (request: EngineRequest, response: unknown, next: (error?: unknown) => void): void => this.#receive(engine, request, response, next)
    engine.use(middleware)
    engine.prependListener('connection', (connection: RawConnection) => {
      const session = connection.request == null ? undefined : this.#sessions.get(connection.request)
      if (session !== undefined) this.#sessions.set(connection, session)
      this.#halfOpen.add(connection)
    })
    const open = engine.onWebTransportSession
    if (open !== undefined && this.#core.settings.dangerouslyAllow.has('webtransport')) {
      // The engine closes every WebTransport session when it has any middleware, and looks synchronously.
      engine.onWebTransportSession = (session) => {
        const { middlewares } = engine
        engine.middlewares = middlewares.filter((own) => own !== middleware)
        try {
          return open.call(engine, session)
        } finally {
          engine.middlewares = middlewares
        }
      }
    }
  }

  /** The application's own `engine.use` and `allowRequest`: whatever they throw or reject with refuses that request, and ends nothing else. */
  #contain(engine: RawEngine): void {
    const { verify } = engine
    engine._applyMiddlewares = (request, response, done) => {
      const carried = takeOut(request, this.#declared.carriers())
      if (carried !== undefined) this.#carried.set(request, carried)
      const upgrade = request.res !== response
      // A client that resets an upgrade before ws has taken it over would end the process: nobody listens for `error` yet.
      if (upgrade) request.socket.on('error', ignore)
      const report = (error: unknown): void => this.#core.fault(this.#context(request, upgrade), error, 'engine.use')
      const failed = (error: unknown): unknown => {
        report(error)
        return new Error('engine.use', { cause: error })
      }
      const steps = engine.middlewares.map((middleware) => (_request: unknown, next: (error?: unknown) => void) => middleware(request, response, next))
      runMiddleware(steps, request, failed, report, (error) => {
        // The engine would answer 400, and fail at it where the middleware has begun an answer of its own.
        if (error && (response as ServerResponse).headersSent) request.socket.destroy()
        else done(error)
      })
    }
    engine.verify = (request, upgrade, done) => {
      let answered = false
      const once = (code?: number, context?: unknown): void => {
        if (answered) return
        answered = true
        done(code, context)
      }
      const failed = (error: unknown): void => {
        this.#core.fault(this.#context(request, upgrade), error, 'allowRequest')
        once(FORBIDDEN, { message: 'Forbidden' })
      }
      try {
        const returned = verify.call(engine, request, upgrade, once)
        if (isThenable(returned)) Promise.resolve(returned).catch(failed)
      } catch (error) {
        failed(error)
      }
    }
  }

  #context(request: EngineRequest, upgrade: boolean, opener?: Opener): RequestContext {
    const { sid } = request._query
    return new RequestContext(this.#core, request, this.#core.settings.addressOf(request, undefined), sid === undefined || sid === '', upgrade, opener)
  }

  #receive(engine: RawEngine, request: EngineRequest, response: unknown, next: (error?: unknown) => void): void {
    const upgrade = request.res !== response
    const { sid, j } = request._query
    const context = this.#context(request, upgrade, this.#sessionOf(engine, sid)?.opener)
    if (j !== undefined) return this.#refuse(context, response, { error: new Denied('ORIGIN_NOT_ALLOWED'), policy: 'jsonp' })
    if (this.#isForeign(engine, context, sid)) return this.#refuse(context, response, foreign())

    // A reply has to name a protocol that was offered (RFC 6455 4.1), and the carrier is not to be named.
    if (upgrade && (this.#carried.get(request)?.subprotocols.size ?? 0) > 0 && request.headers['sec-websocket-protocol'] === undefined) {
      return this.#refuse(context, response, { error: new Denied('UNAUTHENTICATED', undefined, 'a subprotocol that carries a credential, and none of the application'), policy: 'gate' })
    }

    const verdict = this.#declared.request()(context)
    if (!(verdict instanceof Promise)) return this.#conclude(engine, context, response, next, verdict)
    void verdict.then((late) => {
      if (isGone(request, response, upgrade)) {
        if (upgrade) request.socket.destroy()
        return context.settle({ outcome: 'unacked' })
      }
      this.#conclude(engine, context, response, next, late)
    })
  }

  /** The first Origin present in an engine session is its Origin: another one later is somebody else with its sid. */
  #isForeign(engine: RawEngine, { request }: RequestContext, sid: string | undefined): boolean {
    const { origin } = request.headers
    const pinned = this.#sessionOf(engine, sid)?.origin
    return pinned !== undefined && origin !== undefined && origin !== pinned
  }

  /** Only a request that is admitted pins its Origin: with a refused one a thief could lock the owner out. */
  #pin(engine: RawEngine, { request, opening, address }: RequestContext): void {
    const { origin, cookie, 'user-agent': userAgent } = request.headers
    if (opening) {
      const carried = this.#carried.get(request)
      this.#sessions.set(request, { origin, ...(this.#declared.asksRequests() ? { opener: new Opener(address, userAgent, cookie) } : {}), ...(carried === undefined ? {} : { carried }) })
      return
    }
    const session = this.#sessionOf(engine, (request as EngineRequest)._query.sid)
    if (session !== undefined) session.origin ??= origin
  }

  #sessionOf(engine: RawEngine, sid: string | undefined): Session | undefined {
    const connection = sid !== undefined && Object.hasOwn(engine.clients, sid) ? engine.clients[sid] : undefined
    if (connection === undefined) return undefined
    let session = this.#sessions.get(connection)
    // Opened before there was a gate.
    if (session === undefined) this.#sessions.set(connection, (session = { origin: undefined }))
    return session
  }

  #conclude(engine: RawEngine, context: RequestContext, response: unknown, next: (error?: unknown) => void, refused: Refused | undefined): void {
    if (refused !== undefined) return this.#refuse(context, response, refused)
    // Another request may have pinned an Origin while this one was being decided.
    if (this.#isForeign(engine, context, (context.request as EngineRequest)._query.sid)) return this.#refuse(context, response, foreign())
    this.#pin(engine, context)
    // Each later poll of an admitted session would be a record of its own otherwise.
    if (context.opening) this.#core.admitted(context)
    context.settle({ outcome: 'handled' })
    next()
  }

  #refuse(context: RequestContext, response: unknown, refused: Refused): void {
    const refusal = this.#core.refused(context, refused)
    const write = (refused: Refusal): void => {
      if (context.upgrade) answerUpgrade(context.request, refused)
      else answerRequest(response as ServerResponse, refused)
    }
    try {
      write(refusal)
    } catch (error) {
      // Details that cannot be encoded: the client is answered all the same.
      this.#core.fault(context, error, 'wire')
      write(bare(refusal))
    }
    context.settle({ outcome: 'refused', refusal, error: refused.error })
  }
}

function foreign(): Refused {
  return { error: new Denied('ORIGIN_NOT_ALLOWED'), policy: 'origin-pin' }
}

function ignore(): void {}

function isGone(request: EngineRequest, response: unknown, upgrade: boolean): boolean {
  return request.socket.destroyed || (!upgrade && (response as ServerResponse).closed)
}

function answerRequest(response: ServerResponse, refusal: Refusal): void {
  if (response.headersSent) return
  const { status, headers, body } = httpAnswer(refusal)
  response.writeHead(status, headers)
  response.end(body)
}

/** The engine's stand-in response of an upgrade cannot carry a status, so the answer goes to the socket itself. */
function answerUpgrade({ socket }: IncomingMessage, refusal: Refusal): void {
  const { status, headers, body } = httpAnswer(refusal)
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
  if (!socket.writable) return void socket.destroy()
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nConnection: close\r\n${lines.join('')}\r\n${body}`, () => socket.destroy())
}
