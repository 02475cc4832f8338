import { EventEmitter } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { isThenable } from '../compose.ts'
import type { Refused } from '../compose.ts'
import { ConnectContext } from '../context.ts'
import type { Handshake } from '../context.ts'
import type { Core } from '../core.ts'
import { Denied, PolicyFault } from '../errors.ts'
import { breach, DEPTH, measure } from '../limits.ts'
import type { Limits } from '../limits.ts'
import { isNamespaceName } from '../pattern.ts'
import { PeerState } from '../peer.ts'
import type { NamespacePlan } from '../plan.ts'
import { CLOSING_EVENT, closingData, connectErrorData, refusalOf } from '../wire.ts'
import { runMiddleware } from './middleware.ts'
import type { RecoveryStage } from './recovery.ts'
import { inherited, PacketType } from './socket-io.ts'
import type { RawClient, RawNamespace, RawServer, RawSocket } from './socket-io.ts'

// Seam (Socket.IO 4.8.4): in front of `Namespace._add`, where the Socket is made. `_createSocket`, `run`, `_doConnect`,
// `_remove` and `emitReserved` of the namespace are wrapped to attach the peer and to contain the application's own code.
// `Server._checkNamespace` is replaced, so that a name is judged before a dynamic namespace of it exists.

const REJECTION = Symbol.for('nodejs.rejection')

/** A CONNECT that is being decided, or whose socket waits for the application's middleware. */
export interface Pending {
  readonly state: PeerState
  readonly context: ConnectContext
  socket: RawSocket | undefined
  /** Stops watching the connection. */
  unwatch: () => void
}

/** What the connect stage asks of the gate. */
export interface Entrance {
  plan(namespace: RawNamespace): NamespacePlan
  /** Whether clients may enter a namespace of this name, without compiling anything for it. */
  covers(name: string): boolean
  /** Ends the time of declarations. @throws ConfigError when the server cannot be guarded as it is set up */
  seal(): void
  /** Puts the per-socket seams in place. */
  install(socket: RawSocket, state: PeerState): void
  stateOf(socket: RawSocket): PeerState
}

export class ConnectStage {
  readonly #core: Core
  readonly #gate: Entrance
  readonly #recovery: RecoveryStage
  readonly #pending = new WeakMap<RawClient, Map<RawNamespace, Pending>>()
  readonly #pendingOf = new WeakMap<RawNamespace, number>()
  /** Dynamic namespaces that exist because a client named them, and that the gate has let nobody into. */
  readonly #unentered = new WeakSet<RawNamespace>()
  #pendingConnects = 0
  readonly #cleanup: (this: RawSocket) => void

  constructor(core: Core, gate: Entrance, recovery: RecoveryStage) {
    this.#core = core
    this.#gate = gate
    this.#recovery = recovery
    const stage = this
    // Socket.IO calls it whenever it gives up a socket. A listener would not do: applications remove them all.
    this.#cleanup = function () {
      stage.#leave(this)
    }
  }

  install(server: RawServer): void {
    server._checkNamespace = (name, auth, done) => this.#checkNamespace(server, name, auth, done)
  }

  guard(namespace: RawNamespace): void {
    const own = namespace as { -readonly [K in keyof RawNamespace]: RawNamespace[K] } & Record<symbol, unknown>
    EventEmitter.call(namespace as unknown as EventEmitter, { captureRejections: true })
    own[REJECTION] = (error: unknown, name: string, ...args: unknown[]) => this.#listenerFailed(namespace, name, error, args)
    own.emitReserved = (name, ...args) => {
      try {
        return inherited(namespace, 'emitReserved').call(namespace, name, ...args)
      } catch (error) {
        this.#listenerFailed(namespace, name, error, args)
        return true
      }
    }
    own._add = (client, auth, done) => this.#add(namespace, client, auth, done)
    own._createSocket = async (client, auth) => {
      const socket = await inherited(namespace, '_createSocket').call(namespace, client, auth)
      const pending = this.#pending.get(client)?.get(namespace)
      if (pending !== undefined) this.#adopt(pending, socket)
      return socket
    }
    own.run = (socket, done) => this.#run(namespace, socket, done)
    own._doConnect = (socket, done) => {
      this.#forget(socket.client, namespace)
      inherited(namespace, '_doConnect').call(namespace, socket, done)
    }
    // Own already where Socket.IO cleans up empty children.
    const remove = namespace._remove
    own._remove = (socket) => {
      if ((this.#pendingOf.get(namespace) ?? 0) > 0) inherited(namespace, '_remove').call(namespace, socket)
      else remove.call(namespace, socket)
    }
  }

  async #add(namespace: RawNamespace, client: RawClient, given: unknown, done?: (socket: RawSocket) => void): Promise<void> {
    // A burst of CONNECT packets is one question, and gets one answer.
    if (this.#pending.get(client)?.has(namespace) === true) return
    const auth = (given ?? {}) as Record<string, unknown>
    const plan = this.#gate.plan(namespace)
    const resumes = this.#recovery.resumes(namespace, auth)
    const request = client.request ?? undefined
    const handshake = new ConnectHandshake(client, request, auth, this.#core.clock.now())
    const state = new PeerState(this.#core.settings.addressOf(request, client.conn.remoteAddress), plan)
    const context = new ConnectContext(this.#core, namespace.name, handshake, request, resumes === undefined ? 'connect' : 'recover', state)
    const pending: Pending = { state, context, socket: undefined, unwatch: noop }

    const barred = this.#bar(client, plan, context, auth)
    this.#remember(client, namespace, pending)
    if (barred !== undefined) return this.#refuse(namespace, client, pending, barred)
    const onClose = (): void => this.#vanished(namespace, client, pending)
    pending.unwatch = () => client.conn.removeListener('close', onClose)
    client.conn.once('close', onClose)
    try {
      const verdict = plan.connect(context)
      const refused = verdict instanceof Promise ? await verdict : verdict
      if (client.conn.readyState !== 'open') return this.#vanished(namespace, client, pending)
      if (refused !== undefined) return this.#refuse(namespace, client, pending, refused)
      this.#gate.seal()
      Object.freeze(state.facts)
      this.#core.admitted(context)
      if (resumes === undefined || !(await this.#recovery.resume(namespace, client, auth, resumes, state, (socket) => this.#adopt(pending, socket), done))) {
        await inherited(namespace, '_add').call(namespace, client, resumes === undefined ? auth : this.#recovery.fresh(auth), done)
      }
      context.settle({ outcome: 'handled' })
    } catch (error) {
      if (pending.socket === undefined) this.#refuse(namespace, client, pending, { error, policy: 'gate' })
      else this.#core.fault(context, error)
    }
  }

  /** What is refused before any hook is asked. */
  #bar(client: RawClient, plan: NamespacePlan, context: ConnectContext, auth: unknown): Refused | undefined {
    const { limits } = plan
    if (this.#pendingConnects >= limits.maxPendingConnects) return { error: new Denied('OVERLOADED'), policy: 'limits' }
    if (client.nsps.size + (this.#pending.get(client)?.size ?? 0) >= limits.maxNamespaces) return { error: new Denied('TOO_MANY_CONNECTIONS'), policy: 'limits' }
    const size = measureAuth(auth, limits)
    const refused: Refused | undefined =
      size < 0 ? { error: breach(size), policy: 'limits' } : plan.covered ? undefined : { error: new Denied('UNKNOWN_NAMESPACE'), policy: 'gate' }
    if (refused === undefined || plan.mode !== 'observe' || size === DEPTH) return refused
    this.#core.unenforced(context, refused)
    return undefined
  }

  #adopt(pending: Pending, socket: RawSocket): void {
    pending.socket = socket
    // From here on the namespace is the application's: what its own middleware refuses is as in Socket.IO.
    this.#unentered.delete(socket.nsp)
    ;(socket as { _cleanup: () => void })._cleanup = this.#cleanup
    this.#gate.install(socket, pending.state)
  }

  /** A socket is given up, entered or not. */
  #leave(socket: RawSocket): void {
    const { client, nsp } = socket
    const pending = this.#pending.get(client)?.get(nsp)
    const entered = pending?.socket !== socket
    if (!entered) this.#forget(client, nsp)
    inherited(socket, '_cleanup').call(socket)
    this.#close(this.#gate.stateOf(socket), this.#contextOf(socket))
    if (!entered) this.#discardIfUnused(nsp)
  }

  #close(state: PeerState, context: ConnectContext): void {
    state.close((error) => this.#core.fault(context, error, 'onClose'))
  }

  #refuse(namespace: RawNamespace, client: RawClient, pending: Pending, refused: Refused): void {
    const { context } = pending
    const refusal = this.#core.refused(context, refused)
    this.#forget(client, namespace)
    const { protocol } = client.conn
    client._packet({ type: PacketType.CONNECT_ERROR, nsp: namespace.name, data: protocol === 3 ? refusal : connectErrorData(refusal) })
    context.settle({ outcome: 'refused', refusal, error: refused.error })
    this.#close(pending.state, context)
    this.#discardIfUnused(namespace)
  }

  /** The client went away before it had entered. */
  #vanished(namespace: RawNamespace, client: RawClient, pending: Pending): void {
    const { context, state, socket } = pending
    if (this.#pending.get(client)?.get(namespace) === pending) {
      if (socket === undefined) this.#forget(client, namespace)
      else socket._cleanup()
      this.#discardIfUnused(namespace)
    }
    context.settle({ outcome: 'unacked' })
    this.#close(state, context)
  }

  #remember(client: RawClient, namespace: RawNamespace, pending: Pending): void {
    let own = this.#pending.get(client)
    if (own === undefined) this.#pending.set(client, (own = new Map<RawNamespace, Pending>()))
    own.set(namespace, pending)
    this.#pendingConnects++
    this.#pendingOf.set(namespace, (this.#pendingOf.get(namespace) ?? 0) + 1)
  }

  #forget(client: RawClient, namespace: RawNamespace): void {
    const own = this.#pending.get(client)
    const pending = own?.get(namespace)
    if (own === undefined || pending === undefined) return
    own.delete(namespace)
    if (own.size === 0) this.#pending.delete(client)
    pending.unwatch()
    this.#pendingConnects--
    this.#pendingOf.set(namespace, this.#pendingOf.get(namespace)! - 1)
  }

  /** In place of `Namespace.run`: the application's `io.use`. */
  #run(namespace: RawNamespace, socket: RawSocket, done: (error?: unknown) => void): void {
    const failed = (error: unknown): unknown => {
      const { message, data } = connectErrorData(this.#core.refused(this.#contextOf(socket), { error, policy: 'io.use' }))
      return Object.assign(new Error(message), { data })
    }
    const late = (error: unknown): void => this.#core.fault(this.#contextOf(socket), error, 'io.use')
    runMiddleware(namespace._fns.slice(), socket, failed, late, done)
  }

  /** A listener of the application for `connection` failed: its socket is closed, and nobody else notices. */
  #listenerFailed(namespace: RawNamespace, name: string, error: unknown, args: readonly unknown[]): void {
    const socket = args[0] as RawSocket | undefined
    if ((name !== 'connect' && name !== 'connection') || typeof socket?.disconnect !== 'function') {
      this.#core.fault(this.#blank(namespace.name), error, `namespace listener for ${name}`)
      return
    }
    const context = this.#contextOf(socket)
    const policy = `${name} listener`
    const report = error instanceof Denied ? error : new PolicyFault('threw', policy, { cause: error })
    this.#core.refused(context, { error: report, policy })
    socket.packet({ type: PacketType.EVENT, data: [CLOSING_EVENT, closingData(refusalOf(report, context.id), 'now')] })
    socket.disconnect()
  }

  #contextOf(socket: RawSocket): ConnectContext {
    const { client, nsp } = socket
    const pending = this.#pending.get(client)?.get(nsp)
    if (pending !== undefined) return pending.context
    return this.#blank(nsp.name, socket.handshake)
  }

  #blank(namespace: string, handshake: Handshake = NO_HANDSHAKE): ConnectContext {
    return new ConnectContext(this.#core, namespace, handshake, undefined, 'connect', new PeerState(handshake.address, undefined as never))
  }

  /** The steps of Socket.IO's own method, with the name judged first and the application's functions contained. */
  #checkNamespace(server: RawServer, name: string, auth: unknown, done: (namespace: RawNamespace | false) => void): void {
    if (!isNamespaceName(name) || !this.#gate.covers(name)) {
      this.#unknownNamespace(String(name).slice(0, 128))
      return done(false)
    }
    const size = measureAuth(auth, this.#core.settings.limits)
    if (size < 0) {
      this.#core.refused(this.#blank(name), { error: breach(size), policy: 'limits' })
      return done(false)
    }
    const parents = [...server.parentNsps]
    const ask = (index: number): void => {
      const entry = parents[index]
      if (entry === undefined) {
        this.#unknownNamespace(name)
        return done(false)
      }
      const [matcher, parent] = entry
      let answered = false
      const answer = (error: unknown, allow: unknown): void => {
        if (answered) return
        answered = true
        if (error || !allow) return ask(index + 1)
        const existing = server._nsps.get(name)
        if (existing !== undefined) return done(existing)
        const child = parent.createChild(name)
        this.#unentered.add(child)
        done(child)
      }
      const failed = (error: unknown): void => {
        this.#core.fault(this.#blank(name), error, 'namespace function')
        answer(undefined, false)
      }
      try {
        const returned = matcher(name, auth, answer)
        if (isThenable(returned)) Promise.resolve(returned).catch(failed)
      } catch (error) {
        failed(error)
      }
    }
    ask(0)
  }

  #unknownNamespace(name: string): void {
    this.#core.refused(this.#blank(name), { error: new Denied('UNKNOWN_NAMESPACE'), policy: 'gate' })
  }

  /** Takes back a dynamic namespace that exists only because refused clients named it. */
  #discardIfUnused(namespace: RawNamespace): void {
    if ((this.#pendingOf.get(namespace) ?? 0) > 0 || namespace.sockets.size > 0 || namespace._preConnectSockets.size > 0) return
    const { server } = namespace
    if (!this.#unentered.has(namespace) && server.opts.cleanupEmptyChildNamespaces !== true) return
    for (const parent of server.parentNsps.values()) {
      if (!parent.children.delete(namespace)) continue
      namespace.adapter.close()
      if (server._nsps.get(namespace.name) === namespace) server._nsps.delete(namespace.name)
    }
  }
}

function measureAuth(auth: unknown, limits: Limits): number {
  return measure([auth], { ...limits, maxBytes: limits.maxAuthBytes })
}

/** The handshake as Socket.IO will build it for the socket; `time` is formatted only when somebody reads it. */
class ConnectHandshake implements Handshake {
  readonly headers: Handshake['headers']
  readonly address: string
  readonly xdomain: boolean
  readonly secure: boolean
  readonly issued: number
  readonly url: string
  readonly query: Handshake['query']

  constructor(
    client: RawClient,
    request: IncomingMessage | undefined,
    readonly auth: Record<string, unknown>,
    now: number,
  ) {
    this.issued = now
    this.headers = request?.headers ?? {}
    this.address = client.conn.remoteAddress ?? ''
    this.xdomain = this.headers.origin !== undefined
    this.secure = request === undefined || (request.socket as { encrypted?: boolean } | undefined)?.encrypted === true
    this.url = request?.url ?? ''
    this.query = (request as { _query?: Handshake['query'] } | undefined)?._query ?? {}
  }

  get time(): string {
    return new Date(this.issued).toString()
  }
}

function noop(): void {}

const NO_HANDSHAKE: Handshake = { headers: {}, time: '', address: '', xdomain: false, secure: false, issued: 0, url: '', query: {}, auth: {} }
