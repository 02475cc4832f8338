import { EventEmitter } from 'node:events'
import type { IncomingMessage } from 'node:http'
import type { Carried } from '../carriers.ts'
import { isThenable } from '../compose.ts'
import type { Refused } from '../compose.ts'
import { ConnectContext } from '../context.ts'
import type { Handshake } from '../context.ts'
import type { Core } from '../core.ts'
import { Denied, PolicyFault } from '../errors.ts'
import type { Code } from '../errors.ts'
import { breach, BYTES, DEPTH, measure } from '../limits.ts'
import type { Limits } from '../limits.ts'
import type { Mode } from '../options.ts'
import { isNamespaceName } from '../pattern.ts'
import { PeerState } from '../peer.ts'
import type { NamespacePlan } from '../plan.ts'
import { bare, CLOSING_EVENT, closingData, connectErrorData, refusalOf } from '../wire.ts'
import type { Refusal } from '../wire.ts'
import type { HalfOpen } from './half-open.ts'
import { runMiddleware } from './middleware.ts'
import type { RecoveryStage } from './recovery.ts'
import { inherited, PacketType } from './socket-io.ts'
import type { RawClient, RawConnection, RawNamespace, RawServer, RawSocket } from './socket-io.ts'

// Seam (Socket.IO 4.8.4): in front of `Namespace._add`, where the Socket is made. `_createSocket`, `run`, `_doConnect`,
// `_remove` and `emitReserved` of the namespace are wrapped to attach the peer and to contain the application's own code.
// `Server._checkNamespace` is replaced, so that a name is judged before a dynamic namespace of it exists.

const REJECTION = Symbol.for('nodejs.rejection')
const MAX_SHOWN = 128

/** A CONNECT that is being decided, or whose socket waits for the application's middleware. */
export interface Pending {
  readonly state: PeerState
  readonly context: ConnectContext
  socket: RawSocket | undefined
}

/** All that one client has pending, and one listener for its end: a listener for each namespace would be a warning of Node. */
interface Waiting {
  readonly pending: Map<RawNamespace, Pending>
  readonly unwatch: () => void
}

/** What the connect stage asks of the gate. */
export interface Entrance {
  plan(namespace: RawNamespace): NamespacePlan
  /** Whether clients may enter a namespace of this name, without compiling anything for it. */
  covers(name: string): boolean
  /** What holds for a namespace before it exists, without compiling anything for it. */
  terms(name: string): { readonly limits: Limits; readonly mode: Mode }
  /** Ends the time of declarations. @throws ConfigError when the server cannot be guarded as it is set up */
  seal(): void
  /** Puts the per-socket seams in place. */
  install(socket: RawSocket, state: PeerState): void
  stateOf(socket: RawSocket): PeerState
  /** A socket is given up, entered or not. */
  leave(socket: RawSocket, state: PeerState): void
  /** A socket has entered. */
  entered(socket: RawSocket, state: PeerState): void
  /** What was taken out of the request that opened a connection. */
  carriedBy(connection: RawConnection): Carried | undefined
}

export class ConnectStage {
  readonly #core: Core
  readonly #gate: Entrance
  readonly #recovery: RecoveryStage
  readonly #halfOpen: HalfOpen
  readonly #waiting = new WeakMap<RawClient, Waiting>()
  readonly #pendingOf = new WeakMap<RawNamespace, number>()
  /** Dynamic namespaces that exist because a client named them, and whether the gate has let anybody in. */
  readonly #namedByClients = new WeakMap<RawNamespace, 'unentered' | 'entered'>()
  #pendingConnects = 0
  readonly #cleanup: (this: RawSocket) => void
  readonly #connectError: (this: RawSocket, data: unknown) => void

  /** How many credentials a client has failed with. */
  readonly #failures = new WeakMap<RawClient, number>()

  constructor(core: Core, gate: Entrance, recovery: RecoveryStage, halfOpen: HalfOpen) {
    this.#core = core
    this.#gate = gate
    this.#recovery = recovery
    this.#halfOpen = halfOpen
    const stage = this
    // Socket.IO calls it whenever it gives up a socket. A listener would not do: applications remove them all.
    this.#cleanup = function () {
      stage.#leave(this)
    }
    this.#connectError = function (data) {
      stage.#tell(this.nsp, this.client, stage.#contextOf(this), data)
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
    // Called where a message of another node comes in: a listener that throws would end the process there.
    own._onServerSideEmit = (event) => {
      try {
        inherited(namespace, '_onServerSideEmit').call(namespace, event)
      } catch (error) {
        this.#listenerFailed(namespace, String(event[0]), error, [])
      }
    }
    own._add = (client, auth, done) => this.#add(namespace, client, auth, done)
    own._createSocket = async (client, auth) => {
      const socket = await inherited(namespace, '_createSocket').call(namespace, client, auth)
      const pending = this.#pendingAt(client, namespace)
      if (pending === undefined) throw new Error('a socket was made for a client that was not admitted, or is gone')
      this.#adopt(pending, socket)
      return socket
    }
    own.run = (socket, done) => this.#run(namespace, socket, done)
    own._doConnect = (socket, done) => {
      // The application's middleware took its time: what was proved may be over, or revoked.
      const state = this.#gate.stateOf(socket)
      const code = state.standing(this.#core.clock.now())
      if (code !== undefined) return this.#turnAway(socket, code)
      this.#halfOpen.remove(socket.client.conn)
      this.#forget(socket.client, namespace)
      inherited(namespace, '_doConnect').call(namespace, socket, done)
      this.#gate.entered(socket, state)
    }
    // Own already where Socket.IO cleans up empty children. It does so by name, which may stand for another child by now.
    const remove = namespace._remove
    own._remove = (socket) => {
      const isLive = namespace.server._nsps.get(namespace.name) === namespace
      if (!isLive || (this.#pendingOf.get(namespace) ?? 0) > 0) inherited(namespace, '_remove').call(namespace, socket)
      else remove.call(namespace, socket)
    }
  }

  async #add(namespace: RawNamespace, client: RawClient, given: unknown, done?: (socket: RawSocket) => void): Promise<void> {
    // A burst of CONNECT packets is one question, and gets one answer; also where the function of a dynamic namespace took its time over some.
    if (this.#pendingAt(client, namespace) !== undefined || client.nsps.has(namespace.name)) return
    const auth = (given ?? {}) as Record<string, unknown>
    const plan = this.#planOf(namespace, client)
    if (plan === undefined) return
    const resumes = this.#recovery.resumes(namespace, auth)
    const request = client.request ?? undefined
    const handshake = new ConnectHandshake(client, request, auth, this.#core.clock.now())
    const state = new PeerState(this.#core.settings.addressOf(request, client.conn.remoteAddress), plan)
    const context = new ConnectContext(this.#core, namespace.name, handshake, request, resumes === undefined ? 'connect' : 'recover', state, this.#gate.carriedBy(client.conn))
    const pending: Pending = { state, context, socket: undefined }

    const barred = this.#bar(client, plan, context, auth)
    this.#remember(client, namespace, pending)
    if (barred !== undefined) return this.#refuse(namespace, client, pending, barred)
    try {
      const verdict = plan.connect(context)
      const answer = (verdict instanceof Promise ? await verdict : verdict) ?? this.#revoked(state)
      const refused = answer instanceof Promise ? await answer : answer
      if (client.conn.readyState !== 'open') return this.#vanished(namespace, client, pending)
      if (refused !== undefined) return this.#refuse(namespace, client, pending, refused)
      this.#gate.seal()
      this.#core.admitted(context)
      if (resumes === undefined || !(await this.#recovery.resume(namespace, client, auth, resumes, state, (socket) => this.#adopt(pending, socket), done))) {
        await inherited(namespace, '_add').call(namespace, client, resumes === undefined ? auth : this.#recovery.fresh(auth), done)
      }
      context.settle({ outcome: 'handled' })
    } catch (error) {
      if (pending.socket?.connected === true) return this.#core.fault(context, error)
      if (client.conn.readyState !== 'open') return this.#vanished(namespace, client, pending)
      pending.socket?._cleanup()
      // It is still at the door, whatever was proved.
      state.established = false
      this.#refuse(namespace, client, pending, { error, policy: 'gate' })
    }
  }

  /** Declarations that contradict each other for a namespace show when its first client comes. @returns undefined when the client was refused */
  #planOf(namespace: RawNamespace, client: RawClient): NamespacePlan | undefined {
    try {
      return this.#gate.plan(namespace)
    } catch (error) {
      const context = this.#blank(namespace.name)
      this.#tell(namespace, client, context, connectErrorData(this.#core.refused(context, { error, policy: 'gate' })))
      this.#discardIfUnused(namespace)
      return undefined
    }
  }

  /** What is refused before any hook is asked. */
  #bar(client: RawClient, plan: NamespacePlan, context: ConnectContext, auth: unknown): Refused | undefined {
    const { limits } = plan
    if (this.#pendingConnects >= limits.maxPendingConnects) return { error: new Denied('OVERLOADED'), policy: 'limits' }
    if (client.nsps.size + (this.#waiting.get(client)?.pending.size ?? 0) >= limits.maxNamespaces) return { error: new Denied('TOO_MANY_CONNECTIONS'), policy: 'limits' }
    const size = measureAuth(auth, limits)
    const refused: Refused | undefined =
      size < 0 ? { error: authBreach(size), policy: 'limits' } : plan.covered ? undefined : { error: new Denied('UNKNOWN_NAMESPACE'), policy: 'gate' }
    if (refused === undefined || plan.mode !== 'observe' || size === DEPTH) return refused
    this.#core.unenforced(context, refused)
    return undefined
  }

  /** Whoever was revoked is kept out in either mode: identity is never only observed. */
  #revoked(state: PeerState): Refused | undefined | Promise<Refused | undefined> {
    const answer = this.#core.revoked(state.facts)
    const refused = (error: Denied | undefined): Refused | undefined => (error === undefined ? undefined : { error, policy: 'revocation' })
    return answer instanceof Promise ? answer.then(refused) : refused(answer)
  }

  #adopt(pending: Pending, socket: RawSocket): void {
    pending.socket = socket
    pending.state.establish()
    // From here on the namespace is the application's: what its own middleware refuses is as in Socket.IO.
    if (this.#namedByClients.has(socket.nsp)) this.#namedByClients.set(socket.nsp, 'entered')
    Object.assign(socket, { _cleanup: this.#cleanup, _error: this.#connectError })
    this.#gate.install(socket, pending.state)
  }

  /** A socket is given up, entered or not. */
  #leave(socket: RawSocket): void {
    const { client, nsp } = socket
    const pending = this.#pendingAt(client, nsp)
    const entered = pending?.socket !== socket
    if (!entered) this.#forget(client, nsp)
    inherited(socket, '_cleanup').call(socket)
    const state = this.#gate.stateOf(socket)
    this.#gate.leave(socket, state)
    this.#close(state, this.#contextOf(socket))
    if (!entered) this.#discardIfUnused(nsp)
    // Without a namespace it is as one that has just been opened. Socket.IO takes this one off its list a moment later.
    else if (client.nsps.size === (client.nsps.get(nsp.name) === socket ? 1 : 0)) this.#halfOpen.add(client.conn)
  }

  #close(state: PeerState, context: ConnectContext): void {
    state.close((error) => this.#core.fault(context, error, 'onClose'))
  }

  #refuse(namespace: RawNamespace, client: RawClient, pending: Pending, refused: Refused): void {
    const { context } = pending
    const refusal = this.#core.refused(context, refused)
    this.#forget(client, namespace)
    this.#tell(namespace, client, context, client.conn.protocol === 3 ? refusal : connectErrorData(refusal))
    context.settle({ outcome: 'refused', refusal, error: refused.error })
    this.#close(pending.state, context)
    this.#discardIfUnused(namespace)
    if (refusal.code === 'UNAUTHENTICATED' || refusal.code === 'RATE_LIMITED') this.#countFailure(client)
  }

  /** Whoever tries one credential after the other opens a connection for each few. */
  #countFailure(client: RawClient): void {
    const failures = (this.#failures.get(client) ?? 0) + 1
    this.#failures.set(client, failures)
    if (failures >= this.#core.settings.limits.maxFailedCredentials) client.conn.close()
  }

  /** Refuses a socket that the application's middleware has let pass, and whose credential did not last until then. */
  #turnAway(socket: RawSocket, code: Code): void {
    const context = this.#contextOf(socket)
    const { state } = context
    state.established = false
    const data = connectErrorData(this.#core.refused(context, { error: new Denied(code), policy: 'gate' }))
    socket._cleanup()
    this.#tell(socket.nsp, socket.client, context, data)
  }

  /** Writes a CONNECT_ERROR. Details that cannot be encoded must not end the process, nor leave the client without an answer. */
  #tell(namespace: RawNamespace, client: RawClient, context: ConnectContext, data: unknown): void {
    const write = (refusal: unknown): void => client._packet({ type: PacketType.CONNECT_ERROR, nsp: namespace.name, data: refusal })
    try {
      write(data)
    } catch (error) {
      const refusal = this.#core.refused(context, { error, policy: 'wire' })
      write(client.conn.protocol === 3 ? refusal : connectErrorData(refusal))
    }
  }

  /** The client went away before it had entered. */
  #vanished(namespace: RawNamespace, client: RawClient, pending: Pending): void {
    const { context, state, socket } = pending
    if (this.#pendingAt(client, namespace) === pending) {
      if (socket === undefined) this.#forget(client, namespace)
      else socket._cleanup()
      this.#discardIfUnused(namespace)
    }
    context.settle({ outcome: 'unacked' })
    this.#close(state, context)
  }

  #pendingAt(client: RawClient, namespace: RawNamespace): Pending | undefined {
    return this.#waiting.get(client)?.pending.get(namespace)
  }

  #remember(client: RawClient, namespace: RawNamespace, pending: Pending): void {
    let waiting = this.#waiting.get(client)
    if (waiting === undefined) this.#waiting.set(client, (waiting = this.#watch(client)))
    waiting.pending.set(namespace, pending)
    this.#halfOpen.deciding(client.conn, true)
    this.#pendingConnects++
    this.#pendingOf.set(namespace, (this.#pendingOf.get(namespace) ?? 0) + 1)
  }

  #watch(client: RawClient): Waiting {
    const pending = new Map<RawNamespace, Pending>()
    const onClose = (): void => {
      for (const [namespace, each] of [...pending]) this.#vanished(namespace, client, each)
    }
    client.conn.once('close', onClose)
    return { pending, unwatch: () => client.conn.removeListener('close', onClose) }
  }

  #forget(client: RawClient, namespace: RawNamespace): void {
    const waiting = this.#waiting.get(client)
    if (waiting === undefined || !waiting.pending.delete(namespace)) return
    if (waiting.pending.size === 0) {
      this.#waiting.delete(client)
      this.#halfOpen.deciding(client.conn, false)
      waiting.unwatch()
    }
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
    const write = (refused: Refusal): void => socket.packet({ type: PacketType.EVENT, data: [CLOSING_EVENT, closingData(refused, 'now')] })
    const refusal = refusalOf(report, context.id)
    try {
      write(refusal)
    } catch (cause) {
      this.#core.fault(context, cause, 'wire')
      write(bare(refusal))
    }
    socket.disconnect()
  }

  #contextOf(socket: RawSocket): ConnectContext {
    const { client, nsp } = socket
    const pending = this.#pendingAt(client, nsp)
    return pending?.context ?? new ConnectContext(this.#core, nsp.name, socket.handshake, undefined, 'connect', this.#gate.stateOf(socket))
  }

  #blank(namespace: string): ConnectContext {
    return new ConnectContext(this.#core, namespace, NO_HANDSHAKE, undefined, 'connect', new PeerState('', undefined as never))
  }

  /** The steps of Socket.IO's own method, with the name judged first and the application's functions contained. */
  #checkNamespace(server: RawServer, name: string, auth: unknown, done: (namespace: RawNamespace | false) => void): void {
    if (!this.#gate.covers(name)) return this.#unknownNamespace(name, done)
    const { limits, mode } = this.#gate.terms(name)
    if (!isNamespaceName(name)) {
      if (mode !== 'observe') return this.#unknownNamespace(name, done)
      this.#core.unenforced(this.#blank(shown(name)), { error: new Denied('UNKNOWN_NAMESPACE'), policy: 'gate' })
    }
    const size = measureAuth(auth, limits)
    if (size < 0 && (mode !== 'observe' || size === DEPTH)) {
      this.#core.refused(this.#blank(shown(name)), { error: authBreach(size), policy: 'limits' })
      return done(false)
    }
    const parents = [...server.parentNsps]
    const ask = (index: number): void => {
      const entry = parents[index]
      if (entry === undefined) return this.#unknownNamespace(name, done)
      const [matcher, parent] = entry
      let answered = false
      const answer = (error: unknown, allow: unknown): void => {
        if (answered) return
        answered = true
        if (error || !allow) return ask(index + 1)
        const existing = server._nsps.get(name)
        if (existing !== undefined) return done(existing)
        const child = parent.createChild(name)
        this.#namedByClients.set(child, 'unentered')
        done(child)
      }
      const failed = (error: unknown): void => {
        this.#core.fault(this.#blank(shown(name)), error, 'namespace function')
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

  #unknownNamespace(name: string, done: (namespace: false) => void): void {
    this.#core.refused(this.#blank(shown(name)), { error: new Denied('UNKNOWN_NAMESPACE'), policy: 'gate' })
    done(false)
  }

  /** Takes back a dynamic namespace that exists only because refused clients named it. */
  #discardIfUnused(namespace: RawNamespace): void {
    if ((this.#pendingOf.get(namespace) ?? 0) > 0 || namespace.sockets.size > 0 || namespace._preConnectSockets.size > 0) return
    const { server } = namespace
    const named = this.#namedByClients.get(namespace)
    if (named === undefined || (named === 'entered' && server.opts.cleanupEmptyChildNamespaces !== true)) return
    for (const parent of server.parentNsps.values()) {
      if (!parent.children.delete(namespace)) continue
      this.#closeAdapter(namespace)
      if (server._nsps.get(namespace.name) === namespace) server._nsps.delete(namespace.name)
    }
  }

  #closeAdapter({ name, adapter }: RawNamespace): void {
    const failed = (error: unknown): void => this.#core.fault(this.#blank(name), error, 'adapter')
    try {
      Promise.resolve(adapter.close()).catch(failed)
    } catch (error) {
      failed(error)
    }
  }
}

function measureAuth(auth: unknown, limits: Limits): number {
  return measure([auth], { ...limits, maxBytes: limits.maxAuthBytes })
}

function authBreach(result: number): Denied {
  return result === BYTES ? new Denied('PAYLOAD_TOO_LARGE', { limit: 'maxAuthBytes' }) : breach(result)
}

/** A name a client made up, as records show it. */
function shown(name: string): string {
  return name.slice(0, MAX_SHOWN)
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

const NO_HANDSHAKE: Handshake = { headers: {}, time: '', address: '', xdomain: false, secure: false, issued: 0, url: '', query: {}, auth: {} }
