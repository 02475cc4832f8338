import { ATTACH } from './attach.ts'
import type { Attachment, GateControls } from './attach.ts'
import { CARRIERS } from './carriers.ts'
import type { Carrier } from './carriers.ts'
import { compose } from './compose.ts'
import type { Chain } from './compose.ts'
import { EventContext } from './context.ts'
import type { RequestContext } from './context.ts'
import type { ContractShape } from './contract.ts'
import { controlsOf } from './controls.ts'
import { Core } from './core.ts'
import { namespaceCoverage, warningsOf } from './coverage.ts'
import type { Coverage } from './coverage.ts'
import { layerOf, Scope } from './declare.ts'
import { ConfigError } from './errors.ts'
import type { Gate, NamespaceGate } from './gate.ts'
import { defaultLimits, resolveLimits } from './limits.ts'
import type { Limits } from './limits.ts'
import type { Observer, Outcome } from './observe.ts'
import { checkNamespaceOptions, resolveOptions } from './options.ts'
import type { GuardOptions, Mode, NamespaceOptions } from './options.ts'
import { NamespacePlan } from './plan.ts'
import type { AnyPolicy } from './policy.ts'
import type { RevocationOptions, RevocationReceipt, RevocationTarget } from './revocation.ts'
import { Revocations } from './revocations.ts'
import type { ReauthorizationReceipt, ReauthorizationTarget } from './revocations.ts'
import { validator } from './schema.ts'
import { TERMS } from './terms.ts'
import { Wiring } from './stages/wiring.ts'
import type { AnyServer, RawServer } from './stages/socket-io.ts'

const GUARDED = Symbol.for('portcullis.gate')

/**
 * Puts an existing Socket.IO server under a gate: every namespace, present and future. Nothing about the server changes.
 *
 * @example
 * const gate = guard(io).use(origin({ allow: ['https://app.example'] })).use(authenticate(jwt({ secret, issuer, audience })))
 * @throws ConfigError for a bad option, a server that is guarded already, or one that cannot be guarded
 */
export function guard(io: AnyServer, options: GuardOptions = {}): Gate {
  const server = io as unknown as RawServer
  if (typeof server !== 'object' || server === null || !(server._nsps instanceof Map)) throw new ConfigError('guard takes the Server of socket.io 4.8.')
  if (GUARDED in server) throw new ConfigError('guard: this server is guarded already. Pass its gate around instead; `Gate<Facts>` types it.')
  const settings = resolveOptions(options, server.opts.maxHttpBufferSize)
  const gate = new GuardedServer(server, new Core(settings))
  Object.defineProperty(server, GUARDED, { value: true })
  return gate as unknown as Gate
}

/** Everything that has been declared, compiled when it is first needed and fixed once the gate is sealed. */
export class Declared {
  readonly root = new Scope(undefined, undefined, {})
  readonly scopes: Scope[] = []
  readonly #plans = new Map<string, NamespacePlan>()
  #request: Chain<RequestContext> | undefined
  #carriers: readonly Carrier[] | undefined
  #withinMs: number | undefined
  #order = 0
  readonly #attached = new Map<AnyPolicy, Attachment>()
  sealed = false

  /** @param controls what policies may do that are attached to the gate */
  constructor(
    readonly core: Core,
    readonly controls: () => GateControls,
  ) {}

  get attachments(): Iterable<Attachment> {
    return this.#attached.values()
  }

  /** To be called after each declaration. */
  attach({ policies }: Scope): void {
    for (const policy of policies) {
      if (policy[ATTACH] !== undefined && !this.#attached.has(policy)) this.#attached.set(policy, policy[ATTACH](this.controls()))
    }
  }

  /** To be called before each declaration. @returns its position */
  next(): number {
    if (this.sealed) throw new ConfigError('The gate is sealed: it has admitted a connection, so nothing can be declared any more. Declare everything before clients connect.')
    this.#plans.clear()
    this.#request = undefined
    this.#carriers = undefined
    this.#withinMs = undefined
    return this.#order++
  }

  observe(policy: AnyPolicy, scope: Scope): void {
    const { observe } = policy
    if (observe === undefined) return
    const observer: Observer =
      scope.name === undefined ? observe : (decision) => (decision.namespace !== undefined && scope.matches(decision.namespace) ? observe(decision) : undefined)
    for (const outcome of ['admitted', 'denied', 'fault'] as const) this.core.observers.on(outcome, observer)
  }

  plan(name: string): NamespacePlan {
    let plan = this.#plans.get(name)
    if (plan === undefined) this.#plans.set(name, (plan = this.compile(name)))
    return plan
  }

  compile(name: string): NamespacePlan {
    return new NamespacePlan(
      this.core,
      name,
      this.root,
      this.scopes.filter((scope) => scope.matches(name)),
    )
  }

  /** Plans are kept, and names come from clients: this is known of a namespace before anything is kept for it. */
  terms(name: string): { readonly limits: Limits; readonly mode: Mode } {
    let { limits, mode } = this.core.settings
    for (const { options } of this.scopes.filter((scope) => scope.matches(name))) {
      limits = resolveLimits(options.limits, limits, 'gate.of: limits')
      mode = options.mode ?? mode
    }
    return { limits, mode }
  }

  /** Where credentials may stand that nobody else is to see, in any namespace. */
  carriers(): readonly Carrier[] {
    return (this.#carriers ??= this.#policies().flatMap((policy) => policy[CARRIERS] ?? []))
  }

  /** How long a connection may stay without having entered a namespace; undefined where no policy authenticates. */
  withinMs(): number | undefined {
    this.#withinMs ??= Math.min(...this.#policies().flatMap((policy) => policy[TERMS]?.withinMs ?? []))
    return this.#withinMs === Infinity ? undefined : this.#withinMs
  }

  #policies(): readonly AnyPolicy[] {
    return [this.root, ...this.scopes].flatMap(({ policies }) => policies)
  }

  asksRequests(): boolean {
    return this.root.request.length > 0
  }

  forget(name: string): void {
    this.#plans.delete(name)
  }

  request(): Chain<RequestContext> {
    return (this.#request ??= compose(
      this.root.request.map((item) => layerOf(item, this.core.settings.mode === 'observe')),
      this.core,
    ))
  }
}

/** The methods that declare: the gate itself and the gate of a namespace differ only in their scope. */
class Declaring {
  constructor(
    readonly declared: Declared,
    readonly scope: Scope,
  ) {}

  use(policy: AnyPolicy): this {
    this.declared.next()
    this.scope.use(policy)
    this.declared.observe(policy, this.scope)
    this.declared.attach(this.scope)
    return this
  }
  connect(...items: unknown[]): this {
    this.declared.next()
    this.scope.add('connect', items)
    this.declared.attach(this.scope)
    return this
  }
  event(names: unknown, ...items: unknown[]): this {
    this.scope.addEvent(this.declared.next(), names, items)
    return this
  }
  join(pattern: unknown, ...items: unknown[]): this {
    this.scope.addRoom(this.declared.next(), pattern, items)
    return this
  }
  deliver(names: unknown, ...items: unknown[]): this {
    this.scope.addDelivery('deliver', this.declared.next(), names, items)
    return this
  }
  reply(names: unknown, ...items: unknown[]): this {
    this.scope.addDelivery('reply', this.declared.next(), names, items)
    return this
  }
}

/** The part of a gate that needs no server: the test harness declares with it too. */
export class DeclaringGate extends Declaring {
  readonly core: Core

  constructor(core: Core) {
    const declared = new Declared(core, () => this.controls())
    super(declared, declared.root)
    this.core = core
  }

  /** Without a server there are no peers: a revocation is remembered. */
  protected controls(): GateControls {
    return controlsOf(this.core, new Revocations(this.core))
  }

  request(...items: unknown[]): this {
    this.declared.next()
    this.scope.add('request', items)
    this.declared.attach(this.scope)
    return this
  }

  of(name: unknown, contract?: ContractShape, options: NamespaceOptions = {}): NamespaceGate {
    this.declared.next()
    checkNamespaceOptions(options)
    if (contract !== undefined) checkContract(contract)
    const scope = new Scope(namespaceName(name), contract, options)
    this.declared.scopes.push(scope)
    return new Declaring(this.declared, scope)
  }

  on(outcome: Outcome, observer: Observer): this {
    checkOutcome(outcome)
    this.core.observers.on(outcome, observer)
    return this
  }
  off(outcome: Outcome, observer: Observer): this {
    checkOutcome(outcome)
    this.core.observers.off(outcome, observer)
    return this
  }
}

/** What `guard` returns; its types are those of `Gate`. */
export class GuardedServer extends DeclaringGate {
  readonly #server: RawServer
  readonly #wiring: Wiring
  readonly #revocations: Revocations

  constructor(server: RawServer, core: Core) {
    super(core)
    this.#server = server
    this.#wiring = new Wiring(server, core, this.declared)
    this.#revocations = new Revocations(core, this.#wiring, async (sought) => {
      await Promise.all([...this.declared.attachments].map(async (each) => each.revoked?.(sought)))
    })
  }

  protected override controls(): GateControls {
    return controlsOf(this.core, this.#revocations)
  }

  peerOf(socket: object): object {
    const state = this.#wiring.peers.get(socket)
    if (state === undefined) throw new TypeError('peerOf: this socket is not under this gate.')
    return state.facts
  }

  coverage(): Coverage {
    const { declared } = this
    const names = [...this.#server._nsps.keys()]
    const namespaces = names.map((name) => namespaceCoverage(declared.plan(name)))
    const { dangerouslyAllow, undeclared } = this.core.settings
    const matched = (scope: Scope): boolean => names.some((name) => scope.matches(name)) || this.#server.parentNsps.size > 0
    return {
      request: declared.root.request.map(({ policy }) => policy),
      namespaces,
      missing: declared.scopes.filter((scope) => !matched(scope)).map(({ name }) => String(name)),
      sealed: declared.sealed,
      warnings: [
        ...[...dangerouslyAllow].map((way) => `dangerouslyAllow: ${way} cannot be guarded, and is accepted.`),
        ...(undeclared.namespaces === 'allow' ? ['Undeclared namespaces may be entered.'] : []),
        ...namespaces.flatMap(warningsOf),
        ...[...declared.attachments].flatMap((each) => each.warnings?.() ?? []),
      ],
    }
  }

  revoke(target: RevocationTarget, options: RevocationOptions): Promise<RevocationReceipt> {
    return this.#revocations.revoke(target, options)
  }

  reinstate(target: RevocationTarget): Promise<boolean> {
    return this.#revocations.reinstate(target)
  }

  reauthorize(target: ReauthorizationTarget): Promise<ReauthorizationReceipt> {
    return this.#revocations.reauthorize(target)
  }

  async close(): Promise<void> {
    this.#revocations.close()
    for (const each of this.declared.attachments) each.close?.()
    this.core.close()
    await this.core.settings.store.close()
  }
}

function checkOutcome(outcome: unknown): void {
  if (outcome !== 'admitted' && outcome !== 'denied' && outcome !== 'fault') throw new ConfigError(`gate.on: takes 'admitted', 'denied' or 'fault'; got ${String(outcome)}.`)
}

function namespaceName(name: unknown): string | RegExp {
  if (name instanceof RegExp) {
    if (name.global || name.sticky) throw new ConfigError('gate.of: a regular expression with the g or y flag keeps a position between tests. Leave the flag out.')
    return name
  }
  if (typeof name !== 'string' || name === '') throw new ConfigError("gate.of takes a name such as '/chat', or a regular expression.")
  return name.startsWith('/') ? name : `/${name}`
}

function checkContract(contract: ContractShape): void {
  for (const key of Object.keys(contract)) {
    if (key !== 'events' && key !== 'deliveries') throw new ConfigError(`gate.of: a contract has events and deliveries; got ${JSON.stringify(key)}.`)
  }
  for (const [name, shape] of Object.entries(contract.events ?? {})) {
    validator(shape, `contract event ${JSON.stringify(name)}`)
    resolveLimits(shape.limits, defaultLimits, `contract event ${JSON.stringify(name)}: limits`)
    if (shape.reply !== undefined) validator({ data: shape.reply }, `contract reply of ${JSON.stringify(name)}`)
  }
  for (const [name, shape] of Object.entries(contract.deliveries ?? {})) validator(shape, `contract delivery ${JSON.stringify(name)}`)
}

export { EventContext }
