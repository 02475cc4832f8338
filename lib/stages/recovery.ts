import { isThenable } from '../compose.ts'
import type { Core } from '../core.ts'
import { ConnectContext, DeliverContext, JoinContext } from '../context.ts'
import { Denied } from '../errors.ts'
import { identityOf, PeerState } from '../peer.ts'
import { inherited, PacketType, underlying } from './socket-io.ts'
import type { RawAdapter, RawClient, RawNamespace, RawSession, RawSocket, RestoredSession, StoredPacket } from './socket-io.ts'

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
      // Whoever has become somebody else must not be given what was kept from it before.
      if (state?.hasChanged === true) return
      const subject = state === undefined ? session.subject : identityOf(state.facts)
      this.#expect(session.sid, connectionStateRecovery.maxDisconnectionDuration ?? DEFAULT_AWAY_MS)
      this.#contain(namespace, () => persist().call(adapter, subject === undefined ? session : { ...session, subject }))
    }
  }

  /** What an adapter does over a network may fail, and nobody waits for it. */
  #contain(namespace: RawNamespace, run: () => unknown): void {
    const failed = (error: unknown): void => this.#core.fault(this.#context(namespace.name), error, 'recovery')
    try {
      const returned = run()
      if (isThenable(returned)) Promise.resolve(returned).catch(failed)
    } catch (error) {
      failed(error)
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
    const isTaken = namespace.sockets.has(session.sid) || this.#restoring.has(session.sid)
    if (session.subject !== identityOf(state.facts)) {
      // Some adapters hand a session out once: it stays there for its owner, unless the owner has it already.
      if (!isTaken) keep(adapter, session)
      return false
    }
    if (isTaken) return false
    if (client.conn.readyState !== 'open') {
      keep(adapter, session)
      return true
    }
    this.#restoring.add(session.sid)
    try {
      return await this.#rebuild(namespace, client, auth, resumption, session, state, adopt, done)
    } catch (error) {
      keep(adapter, session)
      throw error
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
      const error = await this.#middleware(namespace, socket, state)
      if (error) {
        keep(adapter, session)
        socket._cleanup()
        const { message, data } = error as Error & { data?: unknown }
        socket._error({ message, data })
        return true
      }
    }
    // What was sent while joins and middlewares were pending is missed as well: look again, and only in rooms the peer may still be in.
    keep(adapter, { ...session, rooms })
    const stored = adapter.packets?.length
    const latest = await this.#restore(adapter, resumption, state)
    if (client.conn.readyState !== 'open') {
      keep(adapter, session)
      socket._cleanup()
      return true
    }
    const over = state.standing(this.#core.clock.now())
    if (over !== undefined) throw new Denied(over)
    if (latest === undefined) throw new Denied('UNAVAILABLE', undefined, 'the adapter has lost the session while it was being restored')
    const missedPackets = [...latest.missedPackets, ...storedSince(adapter, stored, rooms)]
    // The in-memory adapter would hand the same session out again, also after a deliberate disconnect.
    ;(adapter as { sessions?: Map<string, unknown> }).sessions?.delete(session.pid)
    if (rooms.length > 0) this.#contain(namespace, () => inherited(adapter, 'addAll').call(adapter, socket.id, new Set(rooms)))
    for (const packet of missedPackets) this.#replay(socket, state, packet)
    namespace._doConnect(socket, done)
    this.#away.delete(socket.id)
    return true
  }

  /** The application's `io.use`. @returns what it refused with, or undefined; also when the client is gone before it has answered */
  #middleware(namespace: RawNamespace, socket: RawSocket, state: PeerState): Promise<unknown> {
    return new Promise((resolve) => {
      namespace._preConnectSockets.set(socket.id, socket)
      state.onClose(() => resolve(undefined), noop)
      if (!state.gone) namespace.run(socket, resolve)
    })
  }

  /** An adapter that cannot answer has nothing to restore: the client enters anew, as in Socket.IO. */
  async #restore(adapter: RawAdapter, { pid, offset }: Resumption, state: PeerState): Promise<RestoredSession | undefined> {
    try {
      return (await adapter.restoreSession(pid, offset)) ?? undefined
    } catch (error) {
      this.#core.fault(this.#context(state.plan.name, state), error, 'recovery')
      return undefined
    }
  }

  #context(namespace: string, state = new PeerState('', undefined as never)): ConnectContext {
    const handshake = { headers: {}, time: '', address: state.address, xdomain: false, secure: false, issued: 0, url: '', query: {}, auth: {} }
    return new ConnectContext(this.#core, namespace, handshake, undefined, 'recover', state)
  }

  /** The rooms of the session the peer may still be in. */
  async #rooms(namespace: RawNamespace, socket: RawSocket, state: PeerState, session: RawSession): Promise<unknown[]> {
    const { plan } = state
    if (!plan.guardsRooms) return session.rooms
    const decide = async (room: unknown): Promise<boolean> => {
      if (room === session.sid) return true
      const { known, chain } = plan.room(String(room))
      const context = new JoinContext(this.#core, socket, namespace.name, String(room), 'recover', state)
      const refused = await chain(context)
      if (refused === undefined && (known || plan.mode === 'observe')) {
        this.#core.admitted(context)
        context.settle({ outcome: 'handled' })
        return true
      }
      const reason = refused ?? { error: new Denied('UNKNOWN_ROOM'), policy: 'gate' }
      context.settle({ outcome: 'refused', refusal: this.#core.refused(context, reason), error: reason.error })
      return false
    }
    const kept = await Promise.all(session.rooms.map(decide))
    return session.rooms.filter((_room, index) => kept[index])
  }

  /** Sends a missed packet, past the deliver stage. Its last argument is the offset the client will bring next time. */
  #replay(socket: RawSocket, state: PeerState, packet: unknown[]): void {
    const { plan } = state
    const name = String(packet[0])
    const deliver = plan.guardsDeliveries ? plan.delivery(name) : undefined
    if (deliver === undefined) return this.#write(socket, state, packet)
    const context = new DeliverContext(this.#core, socket, plan.name, name, packet.slice(1, -1), 'recover', state)
    const refused = deliver === 'deny' ? { error: new Denied('UNKNOWN_EVENT'), policy: 'gate' } : deliver.chain(context)
    if (refused !== undefined) {
      const enforced = plan.mode !== 'observe'
      const refusal = this.#core.refused(context, refused, enforced)
      if (enforced) return context.settle({ outcome: 'refused', refusal, error: refused.error })
    }
    context.settle({ outcome: 'handled' })
    this.#write(socket, state, [name, ...context.args, packet.at(-1)])
  }

  /** Adapters store a packet before it is encoded: one that cannot be must not keep its recipients out. */
  #write(socket: RawSocket, state: PeerState, packet: unknown[]): void {
    try {
      socket.packet({ type: PacketType.EVENT, data: packet })
    } catch (error) {
      this.#core.fault(new DeliverContext(this.#core, socket, state.plan.name, String(packet[0]), packet.slice(1, -1), 'recover', state), error, 'recovery')
    }
  }
}

const NOBODY = {}
function noop(): void {}
/** As long as Socket.IO keeps a session where nothing else is said. */
const DEFAULT_AWAY_MS = 2 * 60 * 1000

/** What the in-memory adapter has stored while its own answer was on the way: a few microtasks, in which promises of the application may send. */
function storedSince({ packets }: RawAdapter, stored: number | undefined, rooms: readonly unknown[]): unknown[][] {
  if (packets === undefined || stored === undefined) return []
  const isFor = ({ opts }: StoredPacket): boolean => (opts.rooms.size === 0 || rooms.some((room) => opts.rooms.has(room))) && !rooms.some((room) => opts.except?.has(room))
  return packets.slice(stored).filter(isFor).map(({ data }) => data)
}

function keep(adapter: RawAdapter, session: RawSession): void {
  const { sid, pid, rooms, data, subject } = session
  adapter.persistSession({ sid, pid, rooms, data, ...(subject === undefined ? {} : { subject }) })
}
