import type { Carried } from '../carriers.ts'
import { AudienceContext } from '../context.ts'
import type { Core } from '../core.ts'
import type { Declared } from '../guard.ts'
import { ConfigError, PolicyFault } from '../errors.ts'
import type { Limits } from '../limits.ts'
import type { Mode } from '../options.ts'
import type { PeerState } from '../peer.ts'
import type { NamespacePlan } from '../plan.ts'
import { ConnectStage } from './connect.ts'
import type { Entrance } from './connect.ts'
import { ControlStage } from './control.ts'
import { DeliverStage } from './deliver.ts'
import { EventStage } from './event.ts'
import { HalfOpen } from './half-open.ts'
import { JoinStage } from './join.ts'
import { guardOperators } from './operators.ts'
import { Presences } from './presences.ts'
import { RecoveryStage } from './recovery.ts'
import { RenewalStage } from './renewal.ts'
import { RequestStage } from './request.ts'
import { inherited } from './socket-io.ts'
import type { RawAdapter, RawConnection, RawNamespace, RawServer, RawSocket } from './socket-io.ts'
import { TenureStage } from './tenure.ts'
import type { Surroundings } from './tenure.ts'

/** Puts the seams of all stages on one server: its engines, its namespaces now and later, their adapters, their sockets. */
export class Wiring implements Entrance, Surroundings {
  /** Everything the gate knows of a socket. */
  readonly peers = new WeakMap<object, PeerState>()
  readonly #core: Core
  readonly #declared: Declared
  readonly #server: RawServer
  readonly #plans = new WeakMap<RawNamespace, NamespacePlan>()
  readonly tenure: TenureStage
  readonly renewal: RenewalStage
  readonly #request: RequestStage
  readonly #connect: ConnectStage
  readonly #recovery: RecoveryStage
  readonly #event: EventStage
  readonly #join: JoinStage
  readonly #deliver: DeliverStage
  readonly #greet: (socket: RawSocket, state: PeerState, decided: PeerState) => void

  constructor(server: RawServer, core: Core, declared: Declared) {
    this.#server = server
    this.#core = core
    this.#declared = declared
    const halfOpen = new HalfOpen(core, () => declared.withinMs())
    this.#recovery = new RecoveryStage(core, this.peers)
    this.#connect = new ConnectStage(core, this, this.#recovery, halfOpen)
    this.tenure = new TenureStage(core, this)
    const presences = new Presences(core, this.tenure, (socket, state) => this.renewal.reauthorize(socket, state, 'refresh'))
    this.#greet = (socket, state, decided) => presences.greet(socket, state, decided)
    this.renewal = new RenewalStage(core, this.tenure, this.#greet)
    this.#event = new EventStage(core, this.peers, new ControlStage(core, this.renewal, this.tenure))
    this.#join = new JoinStage(core, this.peers, (name) => this.#recovery.isAway(name))
    this.#deliver = new DeliverStage(core, this.peers)
    // First what can refuse the set-up, so that a refused server is left as it was.
    this.#request = new RequestStage(core, declared, halfOpen)
    this.#request.install(server)
    this.#connect.install(server)
    for (const namespace of server._nsps.values()) this.#guard(namespace)
    // The event `new_namespace` is not to be relied on: an application may remove every listener.
    const namespaces = server._nsps
    namespaces.set = (name, namespace) => {
      this.#guard(namespace)
      return inherited(namespaces, 'set').call(namespaces, name, namespace)
    }
    namespaces.delete = (name) => {
      declared.forget(name)
      return inherited(namespaces, 'delete').call(namespaces, name)
    }
    const report = ({ name }: RawNamespace, event: string, fault: PolicyFault, enforced: boolean): void => {
      core.refused(new AudienceContext(core, name, event, [], []), { error: fault, policy: fault.policy }, enforced)
    }
    guardOperators(server, {
      emptyList: (namespace) => {
        // A parent of dynamic namespaces is none itself, and has no plan.
        const { mode } = server._nsps.get(namespace.name) === namespace ? this.plan(namespace) : core.settings
        const enforced = mode !== 'observe'
        report(namespace, '', new PolicyFault('an explicit empty list of rooms means everybody in Socket.IO', 'to([])'), enforced)
        return enforced
      },
      ackFailed: (namespace, event, cause) => report(namespace, event, new PolicyFault('threw', 'broadcast ack', { cause }), true),
    })
  }

  plan(namespace: RawNamespace): NamespacePlan {
    if (!this.#declared.sealed) return this.#declared.plan(namespace.name)
    let plan = this.#plans.get(namespace)
    if (plan === undefined) this.#plans.set(namespace, (plan = this.#declared.plan(namespace.name)))
    return plan
  }

  covers(name: string): boolean {
    if (this.#core.settings.undeclared.namespaces === 'allow' || this.#core.settings.mode === 'observe') return true
    return this.#declared.scopes.some((scope) => scope.matches(name))
  }

  terms(name: string): { readonly limits: Limits; readonly mode: Mode } {
    return this.#declared.terms(name)
  }

  seal(): void {
    if (this.#declared.sealed) return
    const { store } = this.#core.settings
    if (store.scope === 'node' && store.dangerouslyPerNode !== true && [...this.#server._nsps.values()].some(({ adapter }) => isClustered(adapter))) {
      throw new ConfigError('guard: this server has a cluster adapter, and the store of the gate is per process: each node would count and remember for itself. Give guard a shared store, or accept it with memoryStore({ dangerouslyPerNode: true }).')
    }
    this.#declared.sealed = true
  }

  install(socket: RawSocket, state: PeerState): void {
    this.peers.set(socket, state)
    this.#event.install(socket)
    if (state.plan.guardsRooms) this.#join.install(socket)
    this.#deliver.install(socket, state.plan)
    this.tenure.enter(socket, state)
  }

  leave(socket: RawSocket, state: PeerState): void {
    this.tenure.leave(socket, state)
  }

  carriedBy(connection: RawConnection): Carried | undefined {
    return this.#request.carriedBy(connection)
  }

  mute(socket: RawSocket): void {
    this.#deliver.mute(socket)
  }

  withhold(socket: RawSocket): void {
    this.#deliver.withhold(socket)
  }

  entered(socket: RawSocket, state: PeerState): void {
    this.#greet(socket, state, state)
    if (this.tenure.wasReauthorized(state)) void this.renewal.reauthorize(socket, state)
  }

  anonymise(socket: RawSocket, state: PeerState): void {
    void this.renewal.anonymise(socket, state)
  }

  find(id: string): readonly RawSocket[] {
    return [...this.#server._nsps.values()].flatMap(({ sockets, _preConnectSockets }) => sockets.get(id) ?? _preConnectSockets.get(id) ?? [])
  }

  stateOf(socket: RawSocket): PeerState {
    return this.peers.get(socket)!
  }

  #guard(namespace: RawNamespace): void {
    this.#connect.guard(namespace)
    const guardAdapter = (): void => {
      this.#join.guardAdapter(namespace, () => this.plan(namespace))
      this.#deliver.guardAdapter(namespace)
      this.#recovery.guardAdapter(namespace)
    }
    // `io.adapter(...)` replaces the adapter of every namespace, and what was wrapped with it.
    namespace._initAdapter = () => {
      inherited(namespace, '_initAdapter').call(namespace)
      guardAdapter()
    }
    guardAdapter()
  }
}

/** Whether an adapter counts other nodes: it then has a `serverCount` of its own, below the one of the in-memory adapter. */
function isClustered(adapter: RawAdapter): boolean {
  const chain: object[] = []
  for (let prototype = Object.getPrototypeOf(adapter) as object | null; prototype !== null; prototype = Object.getPrototypeOf(prototype) as object | null) chain.push(prototype)
  const owners = chain.filter((prototype) => Object.hasOwn(prototype, 'serverCount'))
  return owners.length > 1
}
