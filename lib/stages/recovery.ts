import type { Core } from '../core.ts'
import { ConnectContext, DeliverContext, JoinContext } from '../context.ts'
import { Denied } from '../errors.ts'
import { identityOf } from '../peer.ts'
import type { PeerState } from '../peer.ts'
import { inherited, PacketType, underlying } from './socket-io.ts'
import type { RawAdapter, RawClient, RawNamespace, RawSession, RawSocket, RestoredSession } from './socket-io.ts'

// Seam (Socket.IO 4.8.4): connection state recovery happens in `_createSocket` and in the Socket constructor, before any
// middleware. Here the constructor sees nothing to restore; the connect stage decides first, and rooms and missed packets
// are put back at the moment the socket connects, each past its own stage. `persistSession` is wrapped to keep the subject.

/** What a client brings to have its earlier connection restored. */
export interface Resumption {
  readonly pid: string
  readonly offset: string
}

export class RecoveryStage {
  readonly #core: Core
  readonly #peers: WeakMap<object, PeerState>
  /** Socket ids that are being restored right now. */
  readonly #restoring = new Set<string>()
  /** Ids of sockets that may come back, and until when: in the order in which that ends. */
  readonly #away = new Map<string, number>()

  constructor(core: Core, peers: WeakMap<object, PeerState>) {
    this.#core = core
    this.#peers = peers
  }

  /** Keeps whose session it is with the session. */
  guardAdapter(namespace: RawNamespace): void {
    const { adapter } = namespace
    const { connectionStateRecovery } = namespace.server.opts
    if (connectionStateRecovery === undefined || typeof adapter.persistSession !== 'function') return
    const persist = underlying(adapter, 'persistSession')
    adapter.persistSession = (session) => {
      const state = this.#peers.get(namespace.sockets.get(session.sid) ?? NOBODY)
      const subject = state === undefined ? session.subject : identityOf(state.facts)
      this.#expect(session.sid, connectionStateRecovery.maxDisconnectionDuration ?? DEFAULT_AWAY_MS)
      persist().call(adapter, subject === undefined ? session : { ...session, subject })
    }
  }

  /** Whether a name is the id of a socket that may come back. Nobody else may take a room of that name meanwhile. */
  isAway(name: unknown): boolean {
    const until = this.#away.get(name as string)
    return until !== undefined && until > this.#core.clock.now()
  }

  #expect(sid: string, ms: number): void {
    const now = this.#core.clock.now()
    for (const [id, until] of this.#away) {
      if (until > now) break
      this.#away.delete(id)
    }
    this.#away.delete(sid)
    this.#away.set(sid, now + ms)
  }

  resumes({ server }: RawNamespace, auth: Record<string, unknown>): Resumption | undefined {
    // Own properties only: this is read before anything was measured, and a getter of a forged prototype throws.
    if (server.opts.connectionStateRecovery === undefined || !Object.hasOwn(auth, 'pid') || !Object.hasOwn(auth, 'offset')) return undefined
    const { pid, offset } = auth
    return typeof pid === 'string' && typeof offset === 'string' ? { pid, offset } : undefined
  }

  /** The same credentials without what would restore a session. */
  fresh({ pid: _pid, offset: _offset, ...auth }: Record<string, unknown>): Record<string, unknown> {
    return auth
  }

  /**
   * Restores an earlier connection for a peer the connect stage has admitted.
   * @returns false where there is nothing to restore for this principal, and the client enters anew
   */
  async resume(
    namespace: RawNamespace,
    client: RawClient,
    auth: Record<string, unknown>,
    resumption: Resumption,
    state: PeerState,
    adopt: (socket: RawSocket) => void,
    done: ((socket: RawSocket) => void) | undefined,
  ): Promise<boolean> {
    const { adapter } = namespace
    const session = await this.#restore(adapter, resumption, state)
    if (session === undefined) return false
    if (session.subject !== identityOf(state.facts)) {
      // Some adapters hand a session out once: it stays there for its owner.
      keep(adapter, session)
      return false
    }
    if (namespace.sockets.has(session.sid) || this.#restoring.has(session.sid)) return false
    if (client.conn.readyState !== 'open') {
      keep(adapter, session)
      return true
    }
    this.#restoring.add(session.sid)
    try {
      return await this.#rebuild(namespace, client, auth, resumption, session, state, adopt, done)
    } finally {
      this.#restoring.delete(session.sid)
    }
  }

  async #rebuild(
    namespace: RawNamespace,
    client: RawClient,
    auth: Record<string, unknown>,
    resumption: Resumption,
    session: RestoredSession,
    state: PeerState,
    adopt: (socket: RawSocket) => void,
    done: ((socket: RawSocket) => void) | undefined,
  ): Promise<boolean> {
    const { adapter } = namespace
    const socket = await inherited(namespace, '_createSocket').call(namespace, client, this.fresh(auth))
    Object.assign(socket, { id: session.sid, pid: session.pid, data: session.data, recovered: true })
    Object.assign(socket.handshake, { auth })
    adopt(socket)
    const rooms = await this.#rooms(namespace, socket, state, session)
    if (namespace.server.opts.connectionStateRecovery?.skipMiddlewares !== true) {
      namespace._preConnectSockets.set(socket.id, socket)
      const error = await new Promise<unknown>((resolve) => namespace.run(socket, resolve))
      if (error) {
        keep(adapter, session)
        socket._cleanup()
        const { message, data } = error as Error & { data?: unknown }
        client._packet({ type: PacketType.CONNECT_ERROR, nsp: namespace.name, data: { message, data } })
        return true
      }
    }
    // What was sent while joins and middlewares were pending is missed as well: look again.
    keep(adapter, session)
    const latest = (await this.#restore(adapter, resumption, state)) ?? session
    if (client.conn.readyState !== 'open') {
      keep(adapter, latest)
      socket._cleanup()
      return true
    }
    // The in-memory adapter would hand the same session out again, also after a deliberate disconnect.
    ;(adapter as { sessions?: Map<string, unknown> }).sessions?.delete(session.pid)
    if (rooms.length > 0) inherited(adapter, 'addAll').call(adapter, socket.id, new Set(rooms))
    for (const packet of latest.missedPackets) this.#replay(socket, state, packet)
    namespace._doConnect(socket, done)
    this.#away.delete(socket.id)
    return true
  }

  /** An adapter that cannot answer has nothing to restore: the client enters anew, as in Socket.IO. */
  async #restore(adapter: RawAdapter, { pid, offset }: Resumption, state: PeerState): Promise<RestoredSession | undefined> {
    try {
      return (await adapter.restoreSession(pid, offset)) ?? undefined
    } catch (error) {
      const handshake = { headers: {}, time: '', address: state.address, xdomain: false, secure: false, issued: 0, url: '', query: {}, auth: {} }
      this.#core.fault(new ConnectContext(this.#core, state.plan.name, handshake, undefined, 'recover', state), error, 'recovery')
      return undefined
    }
  }

  /** The rooms of the session the peer may still be in. */
  async #rooms(namespace: RawNamespace, socket: RawSocket, state: PeerState, session: RawSession): Promise<unknown[]> {
    const { plan } = state
    if (!plan.guardsRooms) return session.rooms
    const rooms: unknown[] = []
    for (const room of session.rooms) {
      if (room === session.sid) {
        rooms.push(room)
        continue
      }
      const { known, chain } = plan.room(String(room))
      const context = new JoinContext(this.#core, socket, namespace.name, String(room), 'recover', state)
      const verdict = chain(context)
      const refused = verdict instanceof Promise ? await verdict : verdict
      if (refused === undefined && (known || plan.mode === 'observe')) {
        this.#core.admitted(context)
        context.settle({ outcome: 'handled' })
        rooms.push(room)
        continue
      }
      const reason = refused ?? { error: new Denied('UNKNOWN_ROOM'), policy: 'gate' }
      context.settle({ outcome: 'refused', refusal: this.#core.refused(context, reason), error: reason.error })
    }
    return rooms
  }

  /** Sends a missed packet, past the deliver stage. Its last argument is the offset the client will bring next time. */
  #replay(socket: RawSocket, state: PeerState, packet: unknown[]): void {
    const { plan } = state
    const name = String(packet[0])
    const deliver = plan.guardsDeliveries ? plan.delivery(name) : undefined
    if (deliver === undefined) return socket.packet({ type: PacketType.EVENT, data: packet })
    const context = new DeliverContext(this.#core, socket, plan.name, name, packet.slice(1, -1), 'recover', state)
    const refused = deliver === 'deny' ? { error: new Denied('UNKNOWN_EVENT'), policy: 'gate' } : deliver.chain(context)
    if (refused !== undefined) {
      const enforced = plan.mode !== 'observe'
      const refusal = this.#core.refused(context, refused, enforced)
      if (enforced) return context.settle({ outcome: 'refused', refusal, error: refused.error })
    }
    context.settle({ outcome: 'handled' })
    socket.packet({ type: PacketType.EVENT, data: [name, ...context.args, packet.at(-1)] })
  }
}

const NOBODY = {}
/** As long as Socket.IO keeps a session where nothing else is said. */
const DEFAULT_AWAY_MS = 2 * 60 * 1000

function keep(adapter: RawAdapter, session: RawSession): void {
  const { sid, pid, rooms, data, subject } = session
  adapter.persistSession({ sid, pid, rooms, data, ...(subject === undefined ? {} : { subject }) })
}
