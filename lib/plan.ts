import { BESIDE } from './attach.ts'
import { CARRIERS, CROSS_SITE } from './carriers.ts'
import { compose, composeSync } from './compose.ts'
import type { Chain, Layer, SyncChain } from './compose.ts'
import type { AudienceContext, ConnectContext, DeliverContext, EventContext, JoinContext } from './context.ts'
import type { DeliveryShape, EventShape } from './contract.ts'
import type { Core } from './core.ts'
import { layerOf } from './declare.ts'
import type { Item, NameDeclaration, Scope } from './declare.ts'
import { ConfigError, Denied, PolicyFault } from './errors.ts'
import { STEP_UP } from './factor.ts'
import type { StepUpTerms } from './factor.ts'
import { resolveLimits } from './limits.ts'
import type { Limits } from './limits.ts'
import { resolveUndeclared } from './options.ts'
import type { Mode } from './options.ts'
import { matchesEvent } from './pattern.ts'
import { isAudienceHook } from './policy.ts'
import type { AnyPolicy, AudienceHook } from './policy.ts'
import { TERMS } from './terms.ts'
import type { Terms } from './terms.ts'
import { validator } from './schema.ts'
import type { Validated, Validator } from './schema.ts'

/** What happens to one event of one namespace. */
export interface EventPlan {
  readonly chain: Chain<EventContext>
  /** Whether clients may send it at all. */
  readonly known: boolean
  /** Whether a declaration covers it, or only `undeclared: 'allow'`. */
  readonly declared: boolean
  readonly unordered: boolean
  readonly limits: Limits
  /** What happens to its ack; undefined where nothing was declared of it. */
  readonly reply: ReplyPlan | undefined
}

/** What happens to a join. */
export interface RoomPlan {
  readonly chain: Chain<JoinContext>
  /** Whether sockets may be put in it at all. */
  readonly known: boolean
}

export interface ReplyPlan {
  readonly validate: Validator | undefined
  readonly deliver: DeliverPlan | undefined
}

/** One step of a delivery, with its audience where it has one. */
export interface DeliverPlan {
  readonly chain: SyncChain<DeliverContext>
  /** Set where every step has an audience: the packet is then asked once for each. */
  readonly shared: { readonly audiences: readonly ((peer: object) => unknown)[]; readonly chain: SyncChain<AudienceContext> } | undefined
}

const EVERYBODY = Symbol('everybody')
/** Names come from clients: more of them than this are matched anew each time. */
const MAX_CACHED_NAMES = 1_000
const MAX_CACHED_LENGTH = 128

/** Everything declared for one namespace, compiled. */
export class NamespacePlan {
  readonly mode: Mode
  readonly limits: Limits
  readonly maxRoomsGiven: boolean
  /** Whether clients may enter at all. */
  readonly covered: boolean
  readonly allowsEvents: boolean
  readonly allowsRooms: boolean
  readonly allowsDeliveries: boolean
  readonly connect: Chain<ConnectContext>
  readonly hasConnect: boolean
  readonly guardsRooms: boolean
  readonly guardsDeliveries: boolean
  /** On what terms peers have a credential; undefined where no policy authenticates. */
  readonly terms: Terms | undefined
  /** What peers may prove in-band, by its name. */
  readonly factors: ReadonlyMap<string, StepUpTerms>
  /** Whether a join was seen to be asynchronous: only then can a handler go on before it is refused. */
  sawAsynchronousJoin = false
  readonly #core: Core
  readonly #scopes: readonly Scope[]
  readonly #events = new Map<string, EventPlan>()
  readonly #deliveries = new Map<string, DeliverPlan | 'deny' | undefined>()
  readonly #joinUse: readonly Item[]

  constructor(
    core: Core,
    readonly name: string,
    root: Scope,
    scopes: readonly Scope[],
  ) {
    this.#core = core
    this.#scopes = [root, ...scopes]
    let undeclared = core.settings.undeclared
    let limits = core.settings.limits
    let mode = core.settings.mode
    let maxRoomsGiven = core.settings.maxRoomsGiven
    for (const { options } of scopes) {
      undeclared = resolveUndeclared(options.undeclared, undeclared, 'gate.of')
      limits = resolveLimits(options.limits, limits, 'gate.of: limits')
      maxRoomsGiven ||= options.limits?.maxRooms !== undefined
      mode = options.mode ?? mode
    }
    this.mode = mode
    this.limits = limits
    this.maxRoomsGiven = maxRoomsGiven
    this.allowsEvents = undeclared.events === 'allow'
    this.allowsRooms = undeclared.rooms === 'allow'
    this.allowsDeliveries = undeclared.deliveries === 'allow'
    this.covered = core.settings.undeclared.namespaces === 'allow' || scopes.length > 0 || (name === '/' && declaresMain(root))

    const policies = this.#scopes.flatMap((scope) => scope.policies)
    this.terms = policies.findLast((policy) => policy[TERMS] !== undefined)?.[TERMS]
    this.factors = factorsOf(name, policies)
    checkCookies(name, policies)
    checkBeside(name, policies)

    const connect = this.#collect((scope) => scope.connect)
    this.hasConnect = connect.length > 0
    this.connect = compose(this.#layers(connect), core)
    this.#joinUse = this.#collect((scope) => scope.join)
    this.guardsRooms = this.terms !== undefined || !this.allowsRooms || maxRoomsGiven || this.#joinUse.length > 0 || this.#scopes.some((scope) => scope.rooms.length > 0)
    this.guardsDeliveries =
      !this.allowsDeliveries || this.#scopes.some((scope) => scope.deliver.length > 0 || scope.deliveries.length > 0 || Object.keys(scope.contract?.deliveries ?? {}).length > 0)

    // What is wrong with a contract shows here, and not in the middle of a client's first packet.
    for (const event of [...this.#declaredNames((scope) => scope.events), ...this.#contractNames('events')]) this.event(event)
    for (const event of [...this.#declaredNames((scope) => scope.deliveries), ...this.#contractNames('deliveries')]) this.delivery(event)
  }

  event(name: string): EventPlan {
    return this.#events.get(name) ?? remember(this.#events, name, this.#compileEvent(name))
  }

  room(room: string): RoomPlan {
    const layers = this.#layers<JoinContext>(this.#joinUse)
    let declared = false
    for (const { pattern, items } of this.#matching((scope) => scope.rooms)) {
      const params = pattern.match(room)
      if (params === undefined) continue
      declared = true
      for (const layer of this.#layers<JoinContext>(items)) {
        layers.push({
          ...layer,
          hook: (ctx, next) => {
            ctx.params = params
            return layer.hook(ctx, next)
          },
        })
      }
    }
    return { known: declared || this.allowsRooms, chain: compose(layers, this.#core) }
  }

  /** What happens to a delivery: undefined for nothing, `'deny'` where it is refused as undeclared. */
  delivery(name: string): DeliverPlan | 'deny' | undefined {
    if (!this.#deliveries.has(name)) {
      const refused = !this.allowsDeliveries && !this.#declaresDelivery(name)
      return remember(this.#deliveries, name, refused ? 'deny' : this.#compileDelivery(name))
    }
    return this.#deliveries.get(name)
  }

  #compileEvent(name: string): EventPlan {
    const declarations = this.#matching((scope) => scope.events).filter(({ pattern }) => matchesEvent(pattern, name))
    const declared = declarations.length > 0
    const shape = this.#shape<EventShape>('events', name)
    const layers = this.#layers<EventContext>(this.#collect((scope) => scope.event))
    const check = shape === undefined ? undefined : validator(shape, `contract event ${JSON.stringify(name)}`)
    if (check !== undefined) layers.push({ policy: 'contract', observed: this.mode === 'observe', hook: contractHook(check) })
    for (const { items } of declarations) layers.push(...this.#layers<EventContext>(items))
    return {
      chain: compose(layers, this.#core),
      known: declared || this.allowsEvents,
      declared,
      unordered: declarations.some(({ unordered }) => unordered),
      limits: shape?.limits === undefined ? this.limits : resolveLimits(shape.limits, this.limits, `contract event ${JSON.stringify(name)}: limits`),
      reply: this.#compileReply(name, shape),
    }
  }

  #compileReply(name: string, shape: EventShape | undefined): ReplyPlan | undefined {
    const validate = shape?.reply === undefined ? undefined : validator({ data: shape.reply }, `contract reply of ${JSON.stringify(name)}`)
    const items = this.#named((scope) => scope.replies, name)
    const deliver = items.length === 0 ? undefined : this.#deliverPlan(items)
    return validate === undefined && deliver === undefined ? undefined : { validate, deliver }
  }

  #compileDelivery(name: string): DeliverPlan | undefined {
    const items: Item[] = [...this.#collect((scope) => scope.deliver)]
    const shape = this.#shape<DeliveryShape>('deliveries', name)
    const check = shape === undefined ? undefined : validator(shape, `contract delivery ${JSON.stringify(name)}`)
    if (check !== undefined) items.push({ policy: 'contract', hook: contractDelivery(check), observed: false })
    items.push(...this.#named((scope) => scope.deliveries, name))
    return items.length === 0 ? undefined : this.#deliverPlan(items)
  }

  #deliverPlan(items: readonly Item[]): DeliverPlan {
    const layers = this.#layers<DeliverContext>(items).map((layer) => (isAudienceHook(layer.hook) ? { ...layer, hook: perRecipient(layer.hook as unknown as AudienceHook) } : layer))
    const chain = composeSync(layers, this.#core)
    if (!items.every(({ hook }) => isAudienceHook(hook))) return { chain, shared: undefined }
    const hooks = items.map(({ hook }) => hook as AudienceHook)
    const sharedLayers = this.#layers<AudienceContext>(items).map((layer, index) => ({ ...layer, hook: perAudience(hooks[index]!, index) }))
    return { chain, shared: { audiences: hooks.map((hook) => (peer: object) => hook.audience(peer)), chain: composeSync(sharedLayers, this.#core) } }
  }

  #declaresDelivery(name: string): boolean {
    return this.#scopes.some((scope) => scope.deliveries.some(({ pattern }) => matchesEvent(pattern, name)))
  }

  /** Contract entries nothing was declared for, and so nobody can use. */
  undeclaredEntries(): string[] {
    const entries = this.#scopes.flatMap((scope) => Object.keys(scope.contract?.events ?? {}))
    return entries.filter((name) => !this.#scopes.some((scope) => scope.events.some(({ pattern }) => matchesEvent(pattern, name))))
  }

  get scopes(): readonly Scope[] {
    return this.#scopes
  }

  #shape<S>(side: 'events' | 'deliveries', name: string): S | undefined {
    const shapes = this.#scopes.flatMap(({ contract }) => {
      const entries = contract?.[side]
      return entries !== undefined && Object.hasOwn(entries, name) ? [entries[name] as S] : []
    })
    if (shapes.length > 1) throw new ConfigError(`gate.of: two contracts of namespace ${this.name} both have ${JSON.stringify(name)}. Give each name to one contract.`)
    return shapes[0]
  }

  #named(pick: (scope: Scope) => readonly NameDeclaration[], name: string): readonly Item[] {
    return this.#matching(pick)
      .filter(({ pattern }) => matchesEvent(pattern, name))
      .flatMap(({ items }) => items)
  }

  #matching<D extends { readonly order: number }>(pick: (scope: Scope) => readonly D[]): D[] {
    return this.#scopes.flatMap(pick).sort((a, b) => a.order - b.order)
  }

  #collect(pick: (scope: Scope) => readonly Item[]): Item[] {
    return this.#scopes.flatMap(pick)
  }

  #layers<C>(items: readonly Item[]): Layer<C>[] {
    return items.map((item) => layerOf<C>(item, this.mode === 'observe'))
  }

  #contractNames(side: 'events' | 'deliveries'): string[] {
    return this.#scopes.flatMap(({ contract }) => Object.keys(contract?.[side] ?? {}))
  }

  #declaredNames(pick: (scope: Scope) => readonly NameDeclaration[]): string[] {
    return this.#scopes.flatMap(pick).flatMap(({ pattern }) => (pattern.prefix === undefined ? [pattern.text] : []))
  }
}

function factorsOf(name: string, policies: readonly AnyPolicy[]): ReadonlyMap<string, StepUpTerms> {
  const factors = new Map<string, StepUpTerms>()
  for (const terms of policies.flatMap((policy) => policy[STEP_UP] ?? [])) {
    const known = factors.get(terms.factor.name)
    if (known !== undefined && known.factor !== terms.factor) throw new ConfigError(`namespace ${name}: two factors are named ${JSON.stringify(terms.factor.name)}. Make one of them, and give it to each stepUp(...).`)
    // One factor in several places: attempts are limited by the strictest, and shared with other sockets where one place asks for it.
    factors.set(terms.factor.name, known === undefined ? terms : together(known, terms))
  }
  return factors
}

function together(a: StepUpTerms, b: StepUpTerms): StepUpTerms {
  const stricter = b.limit / b.perMs < a.limit / a.perMs ? b : a
  return { ...stricter, shared: a.shared || b.shared, sharedForMs: Math.max(a.sharedForMs, b.sharedForMs) }
}

/** A browser sends its cookies with whatever page connects: they prove who it is, not that its user wants it. */
function checkCookies(name: string, policies: readonly AnyPolicy[]): void {
  const covered = policies.flatMap((policy) => policy[CROSS_SITE] ?? [])
  const cookie = policies.flatMap((policy) => policy[CARRIERS] ?? []).find((carrier) => carrier.kind === 'cookie' && carrier.dangerously !== true && !covered.includes(carrier.name))
  if (cookie === undefined) return
  throw new ConfigError(
    `namespace ${name}: a credential is read from the cookie ${JSON.stringify(cookie.name)}, which browsers send whichever page connects. Declare use(csrf({ session: fromCookie(${JSON.stringify(cookie.name)}), ... })), or decline it where the cookie is named, with dangerouslyWithoutCsrf: true.`,
  )
}

/** Some policies do only half of their work alone. */
function checkBeside(name: string, policies: readonly AnyPolicy[]): void {
  const all = policies.flatMap((policy) => policy[BESIDE] ?? [])
  const missing = all.find(({ needs }) => needs !== undefined && !all.some(({ is }) => is === needs))
  if (missing !== undefined) throw new ConfigError(`namespace ${name}: ${missing.instead}`)
}

function declaresMain(root: Scope): boolean {
  return root.connect.length > 0 || root.events.length > 0 || root.rooms.length > 0 || root.deliveries.length > 0
}

function remember<T>(cache: Map<string, T>, name: string, plan: T): T {
  if (name.length > MAX_CACHED_LENGTH) return plan
  if (cache.size >= MAX_CACHED_NAMES) cache.clear()
  cache.set(name, plan)
  return plan
}

/** The contract as a step of the chain: the schema's output replaces the arguments. */
function contractHook(check: Validator): Layer<EventContext>['hook'] {
  const apply = (ctx: EventContext, result: Validated): void => {
    if ('issues' in result) throw new Denied('INVALID_PAYLOAD', undefined, result.issues)
    ctx.args = result.args
  }
  return (ctx, next) => {
    const result = check(ctx.args)
    if (!(result instanceof Promise)) {
      apply(ctx, result)
      return next()
    }
    return result.then((late) => {
      apply(ctx, late)
      return next()
    })
  }
}

/** What the server sends is the same for everybody as far as the contract goes: checked once a packet. */
function contractDelivery(check: Validator): AudienceHook {
  return {
    audience: () => EVERYBODY,
    hook: (ctx, next) => {
      const context = ctx as unknown as { args: readonly unknown[] }
      const result = check(context.args)
      if (result instanceof Promise) throw new PolicyFault('the schema of a delivery is asynchronous, and deliveries are not', 'contract')
      if ('issues' in result) throw new PolicyFault('a delivery does not match its schema', 'contract', { cause: result.issues })
      context.args = result.args
      return next()
    },
  }
}

function perRecipient(own: AudienceHook): Layer<DeliverContext>['hook'] {
  return (ctx, next) => {
    ctx.audience = own.audience(ctx.peer)
    return own.hook(ctx as never, next as () => undefined)
  }
}

function perAudience(own: AudienceHook, index: number): Layer<AudienceContext>['hook'] {
  return (ctx, next) => {
    ctx.audience = ctx.audiences[index]
    return own.hook(ctx as never, next as () => undefined)
  }
}
