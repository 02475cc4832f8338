import type { Layer } from './compose.ts'
import type { ContractShape } from './contract.ts'
import { ConfigError } from './errors.ts'
import type { NamespaceOptions } from './options.ts'
import { eventPattern, roomPattern } from './pattern.ts'
import type { EventPattern, RoomPattern } from './pattern.ts'
import { checkPolicy, describe, isAudienceHook, OBSERVED, stagesOf, UNORDERED } from './policy.ts'
import type { AnyPolicy, Stage } from './policy.ts'

/** One hook as it was declared, with the name it is reported under. */
export interface Item {
  readonly policy: string
  readonly hook: any
  readonly observed: boolean
}

/** The layer of a hook, in a place where decisions are observed or enforced. */
export function layerOf<C>(item: Item, observing: boolean): Layer<C> {
  return { policy: item.policy, hook: item.hook as Layer<C>['hook'], observed: item.observed || observing }
}

interface Declared {
  /** Position among all declarations of the gate. */
  readonly order: number
  readonly items: readonly Item[]
}

export interface EventDeclaration extends Declared {
  readonly pattern: EventPattern
  readonly unordered: boolean
}
export interface RoomDeclaration extends Declared {
  readonly pattern: RoomPattern
}
export interface NameDeclaration extends Declared {
  readonly pattern: EventPattern
}

/** What has been declared on the gate itself, or on one namespace. */
export class Scope {
  /** Undefined for the gate itself. */
  readonly name: string | RegExp | undefined
  readonly contract: ContractShape | undefined
  readonly options: NamespaceOptions
  /** Those that stand in `use`, and in the declarations of any stage. */
  readonly policies: AnyPolicy[] = []
  /** Hooks of `use` and of the stage methods, by stage, in order of declaration. */
  readonly request: Item[] = []
  readonly connect: Item[] = []
  readonly event: Item[] = []
  readonly join: Item[] = []
  readonly deliver: Item[] = []
  readonly events: EventDeclaration[] = []
  readonly rooms: RoomDeclaration[] = []
  readonly deliveries: NameDeclaration[] = []
  readonly replies: NameDeclaration[] = []

  constructor(name: string | RegExp | undefined, contract: ContractShape | undefined, options: NamespaceOptions) {
    this.name = name
    this.contract = contract
    this.options = options
  }

  matches(namespace: string): boolean {
    return this.name === undefined || (typeof this.name === 'string' ? this.name === namespace : this.name.test(namespace))
  }

  use(policy: unknown): void {
    checkPolicy(policy, 'use')
    const own = stagesOf(policy)
    if (own.length === 0 && policy.observe === undefined) throw new ConfigError(`use: policy "${policy.name}" has no hook. Give it one of request, connect, event, join, deliver.`)
    if (this.name !== undefined && own.length === 1 && own[0] === 'request') {
      throw new ConfigError(`use: policy "${policy.name}" has only a request hook, and a request belongs to no namespace. Declare it on the gate itself.`)
    }
    this.policies.push(policy)
    for (const stage of own) this[stage].push(item(policy, stage))
  }

  add(stage: 'request' | 'connect', items: readonly unknown[]): void {
    this[stage].push(...items.map((given) => this.#itemOf(given, stage, stage)))
  }

  addEvent(order: number, names: unknown, items: readonly unknown[]): void {
    const unordered = items.some((given) => isMarked(given, UNORDERED))
    const hooks = items.filter((given) => !isMarked(given, UNORDERED)).map((given) => this.#itemOf(given, 'event', 'event'))
    for (const name of list(names, 'event')) this.events.push({ order, pattern: eventPattern(name, 'event'), items: hooks, unordered })
  }

  addRoom(order: number, pattern: unknown, items: readonly unknown[]): void {
    this.rooms.push({ order, pattern: roomPattern(pattern, 'join'), items: items.map((given) => this.#itemOf(given, 'join', 'join')) })
  }

  addDelivery(kind: 'deliver' | 'reply', order: number, names: unknown, items: readonly unknown[]): void {
    const hooks = items.map((given) => this.#itemOf(given, 'deliver', kind))
    const declarations = kind === 'deliver' ? this.deliveries : this.replies
    for (const name of list(names, kind)) declarations.push({ order, pattern: eventPattern(name, kind), items: hooks })
  }

  #itemOf(given: unknown, stage: Stage, where: string): Item {
    const made = itemOf(given, stage, where)
    if (typeof given === 'object') this.policies.push(given as AnyPolicy)
    return made
  }
}

function list(names: unknown, where: string): readonly unknown[] {
  const all: readonly unknown[] = Array.isArray(names) ? names : [names]
  if (all.length === 0) throw new ConfigError(`${where}: takes a name or a list of names; got an empty list.`)
  return all
}

function isMarked(given: unknown, mark: symbol): boolean {
  return typeof given === 'object' && given !== null && (given as Record<symbol, unknown>)[mark] === true
}

function item(policy: AnyPolicy, stage: Stage): Item {
  return { policy: policy.name, hook: policy[stage], observed: policy[OBSERVED] === true }
}

/** A bare hook, or a policy at one of its stages. */
function itemOf(given: unknown, stage: Stage, where: string): Item {
  if (typeof given === 'function') return { policy: given.name === '' ? where : given.name, hook: given, observed: false }
  if (stage === 'deliver' && isAudienceHook(given)) return { policy: where, hook: given, observed: false }
  if (typeof given !== 'object' || given === null) throw new ConfigError(`${where} takes policies and hooks (ctx, next); got ${describe(given)}.`)
  checkPolicy(given, where)
  if (given[stage] !== undefined) return item(given, stage)
  const own = stagesOf(given)
  const belongs = own.length === 0 ? (given.observe === undefined ? 'It has no hook at all.' : 'It observes decisions: declare it with use(...).') : `It belongs at ${own.map((name) => `.${name}(...)`).join(' or ')}, or in use(...).`
  throw new ConfigError(`${where}: policy "${given.name}" has no ${stage} hook. ${belongs}`)
}
