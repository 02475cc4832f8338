import type { IncomingMessage, ServerResponse } from 'node:http'
import { STATUS_CODES } from 'node:http'
import type { Chain, Refused } from '../compose.ts'
import { RequestContext } from '../context.ts'
import type { Core } from '../core.ts'
import { ConfigError, Denied } from '../errors.ts'
import { httpAnswer } from '../wire.ts'
import type { Refusal } from '../wire.ts'
import type { EngineRequest, RawConnection, RawEngine, RawServer } from './socket-io.ts'

// Seam (Socket.IO 4.8.4, engine.io 6.6): `engine.use`, public. Unlike `allowRequest` it runs for every request of a session.
// `io.bind` is where every way of attaching an engine ends.

/** What the gate remembers of one engine session. */
interface Session {
  /** The first Origin present in the session. */
  origin: string | undefined
}

export class RequestStage {
  readonly #core: Core
  /** The compiled chain of the moment; asked for each request, because declarations may still follow. */
  readonly #chain: () => Chain<RequestContext>
  readonly #sessions = new WeakMap<object, Session>()
  readonly #engines = new WeakSet<RawEngine>()

  constructor(core: Core, chain: () => Chain<RequestContext>) {
    this.#core = core
    this.#chain = chain
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
    this.#engines.add(engine)
    if (engine.constructor.name === 'uServer') {
      this.#allow('uws', 'uWebSockets.js publishes to its clients by topic, past every stage')
      return
    }
    if (engine.opts.allowEIO3 === true) this.#allow('eio3', 'allowEIO3 is on: revision 3 clients enter "/" without a CONNECT, and their socket ids are session secrets')
    if (engine.opts.transports?.includes('webtransport') === true) this.#allow('webtransport', 'WebTransport sessions pass no HTTP request')
    const middleware = (request: EngineRequest, response: unknown, next: (error?: unknown) => void): void => this.#receive(engine, request, response, next)
    engine.use(middleware)
    engine.prependListener('connection', (connection: RawConnection) => {
      const session = connection.request == null ? undefined : this.#sessions.get(connection.request)
      if (session !== undefined) this.#sessions.set(connection, session)
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

  #receive(engine: RawEngine, request: EngineRequest, response: unknown, next: (error?: unknown) => void): void {
    const upgrade = request.res !== response
    // A client that resets an upgrade while a hook is pending would end the process: nobody listens for `error` yet.
    if (upgrade) request.socket.on('error', ignore)

    const { sid, j } = request._query
    const context = new RequestContext(this.#core, request, this.#core.settings.addressOf(request, undefined), sid === undefined || sid === '', upgrade)
    if (j !== undefined) return this.#refuse(context, response, { error: new Denied('ORIGIN_NOT_ALLOWED'), policy: 'jsonp' })
    const pinned = this.#pin(engine, context, sid)
    if (pinned !== undefined) return this.#refuse(context, response, pinned)

    const verdict = this.#chain()(context)
    if (!(verdict instanceof Promise)) return this.#conclude(context, response, next, verdict)
    void verdict.then((late) => {
      if (isGone(request, response, upgrade)) {
        if (upgrade) request.socket.destroy()
        return context.settle({ outcome: 'unacked' })
      }
      this.#conclude(context, response, next, late)
    })
  }

  /** The first Origin present in an engine session is its Origin: another one later is somebody else with its sid. */
  #pin(engine: RawEngine, { request }: RequestContext, sid: string | undefined): Refused | undefined {
    const { origin } = request.headers
    if (sid === undefined || sid === '') {
      this.#sessions.set(request, { origin })
      return undefined
    }
    const connection = Object.hasOwn(engine.clients, sid) ? engine.clients[sid] : undefined
    if (connection === undefined || origin === undefined) return undefined
    let session = this.#sessions.get(connection)
    if (session === undefined) this.#sessions.set(connection, (session = { origin }))
    session.origin ??= origin
    return session.origin === origin ? undefined : { error: new Denied('ORIGIN_NOT_ALLOWED'), policy: 'origin-pin' }
  }

  #conclude(context: RequestContext, response: unknown, next: (error?: unknown) => void, refused: Refused | undefined): void {
    if (refused !== undefined) return this.#refuse(context, response, refused)
    // Each later poll of an admitted session would be a record of its own otherwise.
    if (context.opening) this.#core.admitted(context)
    context.settle({ outcome: 'handled' })
    next()
  }

  #refuse(context: RequestContext, response: unknown, refused: Refused): void {
    const refusal = this.#core.refused(context, refused)
    try {
      if (context.upgrade) answerUpgrade(context.request, refusal)
      else answerRequest(response as ServerResponse, refusal)
    } catch (error) {
      this.#core.fault(context, error, 'wire')
    }
    context.settle({ outcome: 'refused', refusal, error: refused.error })
  }
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
