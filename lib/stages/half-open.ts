import { addressKey } from '../address.ts'
import { Due } from '../agenda.ts'
import type { Core } from '../core.ts'
import { ConnectContext } from '../context.ts'
import { Denied } from '../errors.ts'
import { PeerState } from '../peer.ts'
import type { RawConnection } from './socket-io.ts'

// Connections that have not entered any namespace: whoever opens them has proved nothing. They are counted, and have little time.

/** One connection without a namespace. */
class Silent extends Due {
  /** Whether a CONNECT of it is being decided: then it is not silent, and not counted here. */
  deciding = false
  readonly onClose = (): void => this.registry.forget(this)

  constructor(
    readonly registry: HalfOpen,
    readonly connection: RawConnection,
    readonly address: string,
  ) {
    super()
  }

  override due(): void {
    this.registry.drop(this, 'UNAUTHENTICATED', 'no namespace was entered in time')
  }
}

export class HalfOpen {
  readonly #core: Core
  readonly #withinMs: () => number | undefined
  readonly #of = new WeakMap<RawConnection, Silent>()
  /** By address, in the order in which they came. */
  readonly #byAddress = new Map<string, Set<Silent>>()
  #size = 0

  constructor(core: Core, withinMs: () => number | undefined) {
    this.#core = core
    this.#withinMs = withinMs
  }

  /** A connection was opened, or has left its last namespace. */
  add(connection: RawConnection): void {
    if (connection.readyState !== 'open' || this.#of.has(connection)) return
    const { settings, agenda, clock } = this.#core
    const silent = new Silent(this, connection, addressKey(settings.addressOf(connection.request, connection.remoteAddress)))
    this.#of.set(connection, silent)
    connection.once('close', silent.onClose)
    const withinMs = this.#withinMs()
    if (withinMs !== undefined) agenda.set(silent, clock.now() + withinMs)
    this.#count(silent)
  }

  /** It has entered a namespace, or is gone. */
  remove(connection: RawConnection): void {
    const silent = this.#of.get(connection)
    if (silent !== undefined) this.forget(silent)
  }

  /** Whether a CONNECT of it is being decided: those have a limit of their own. */
  deciding(connection: RawConnection, deciding: boolean): void {
    const silent = this.#of.get(connection)
    if (silent === undefined || silent.deciding === deciding) return
    silent.deciding = deciding
    if (deciding) this.#uncount(silent)
    else this.#count(silent)
  }

  forget(silent: Silent): void {
    if (!this.#of.delete(silent.connection)) return
    silent.connection.removeListener('close', silent.onClose)
    this.#core.agenda.remove(silent)
    if (!silent.deciding) this.#uncount(silent)
  }

  #count(silent: Silent): void {
    const others = this.#byAddress.get(silent.address)
    if (others === undefined) this.#byAddress.set(silent.address, new Set([silent]))
    else others.add(silent)
    this.#size++
    if (this.#size > this.#core.settings.limits.maxPendingConnects) this.#makeRoom()
  }

  #uncount(silent: Silent): void {
    const others = this.#byAddress.get(silent.address)!
    others.delete(silent)
    if (others.size === 0) this.#byAddress.delete(silent.address)
    this.#size--
  }

  /** The slot is free at once, whatever the transport still has to say. */
  drop(silent: Silent, code: 'UNAUTHENTICATED' | 'OVERLOADED', reason: string): void {
    const { connection } = silent
    this.forget(silent)
    const { headers = {}, url = '' } = connection.request ?? {}
    const handshake = { headers, url, time: '', address: silent.address, xdomain: false, secure: false, issued: 0, query: {}, auth: {} }
    const context = new ConnectContext(this.#core, '/', handshake, connection.request ?? undefined, 'connect', new PeerState(silent.address, undefined as never))
    const enforced = this.#core.settings.mode !== 'observe'
    this.#core.refused(context, { error: new Denied(code, undefined, reason), policy: 'gate' }, enforced)
    if (!enforced) return
    try {
      connection.close(true)
    } catch (error) {
      this.#core.fault(context, error, 'engine')
    }
  }

  /** One more than there may be: the oldest of the address that holds most goes, so that a flood pushes out itself first. */
  #makeRoom(): void {
    let busiest: Set<Silent> | undefined
    for (const others of this.#byAddress.values()) if (busiest === undefined || others.size > busiest.size) busiest = others
    for (const oldest of busiest ?? []) return this.drop(oldest, 'OVERLOADED', 'too many connections that have entered no namespace')
  }
}
