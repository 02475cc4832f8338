import type { NamespacePlan } from './plan.ts'
import type { Scope } from './declare.ts'
import type { Mode } from './options.ts'

/** What stands at one place: the names of the policies, in the order in which they run. */
export interface Covered {
  readonly name: string
  readonly policies: readonly string[]
}

/** The part of a {@link Coverage} for one namespace. */
export interface NamespaceCoverage {
  readonly namespace: string
  /** Whether clients may enter. */
  readonly entered: boolean
  readonly mode: Mode
  readonly connect: readonly string[]
  readonly events: readonly Covered[]
  readonly rooms: readonly Covered[]
  readonly deliveries: readonly Covered[]
  readonly replies: readonly Covered[]
  /** What happens to what nothing was declared for. */
  readonly undeclared: { readonly events: 'deny' | 'allow'; readonly rooms: 'deny' | 'allow'; readonly deliveries: 'deny' | 'allow' }
  /** Contract entries nothing was declared for. */
  readonly unusedContract: readonly string[]
  /** Policies whose request hook is not asked: a request belongs to no namespace. */
  readonly unaskedRequests: readonly string[]
  /** Whether a join is, or was seen to be, asynchronous: a handler that does not await it goes on. */
  readonly asynchronousJoins: boolean
}

/** What is covered by which policy, and what is not. Plain JSON. */
export interface Coverage {
  readonly request: readonly string[]
  readonly namespaces: readonly NamespaceCoverage[]
  /** Namespaces declared on the gate that the server does not have. */
  readonly missing: readonly string[]
  readonly sealed: boolean
  /** What weakens the gate, in plain words: opt-outs and gaps. */
  readonly warnings: readonly string[]
}

export function namespaceCoverage(plan: NamespacePlan): NamespaceCoverage {
  const { scopes } = plan
  const used = (stage: 'event' | 'join' | 'deliver'): string[] => scopes.flatMap((scope) => scope[stage].map(({ policy }) => policy))
  const declared = (pick: (scope: Scope) => Scope['events'] | Scope['rooms'] | Scope['deliveries'], before: readonly string[]): Covered[] =>
    scopes.flatMap((scope) => pick(scope).map(({ pattern, items }) => ({ name: pattern.text, policies: [...before, ...items.map(({ policy }) => policy)] })))
  return {
    namespace: plan.name,
    entered: plan.covered,
    mode: plan.mode,
    connect: scopes.flatMap((scope) => scope.connect.map(({ policy }) => policy)),
    events: declared((scope) => scope.events, used('event')),
    rooms: declared((scope) => scope.rooms, used('join')),
    deliveries: declared((scope) => scope.deliveries, used('deliver')),
    replies: declared((scope) => scope.replies, []),
    undeclared: { events: plan.allowsEvents ? 'allow' : 'deny', rooms: plan.allowsRooms ? 'allow' : 'deny', deliveries: plan.allowsDeliveries ? 'allow' : 'deny' },
    unusedContract: plan.undeclaredEntries(),
    unaskedRequests: scopes.filter(({ name }) => name !== undefined).flatMap(({ request }) => request.map(({ policy }) => policy)),
    asynchronousJoins: plan.sawAsynchronousJoin || scopes.some((scope) => [...scope.join, ...scope.rooms.flatMap(({ items }) => items)].some(({ hook }) => isAsynchronous(hook))),
  }
}

/** Only what is declared `async` can be told before it runs. */
function isAsynchronous(hook: unknown): boolean {
  return typeof hook === 'function' && hook.constructor.name === 'AsyncFunction'
}

/** Gaps of one namespace, in plain words. */
export function warningsOf(covered: NamespaceCoverage): string[] {
  const { namespace, entered, mode, undeclared } = covered
  if (!entered) return [`${namespace}: no declaration covers it, so no client can enter. Declare it with gate.of(${JSON.stringify(namespace)}).`]
  const warnings: string[] = []
  if (mode === 'observe') warnings.push(`${namespace}: in observe mode, so nothing but expired credentials is refused.`)
  if (covered.connect.length === 0) warnings.push(`${namespace}: no policy is asked when a client enters.`)
  if (undeclared.events === 'allow') warnings.push(`${namespace}: undeclared events are allowed.`)
  if (undeclared.rooms === 'allow') warnings.push(`${namespace}: undeclared rooms are allowed.`)
  for (const policy of covered.unaskedRequests) warnings.push(`${namespace}: policy "${policy}" has a request hook, which is asked only where the policy is declared on the gate itself.`)
  for (const { name, policies } of covered.events) {
    if (policies.length === 0) warnings.push(`${namespace}: no policy is asked about the event ${JSON.stringify(name)}.`)
  }
  if (covered.asynchronousJoins) warnings.push(`${namespace}: a join is asynchronous, so a handler that does not await socket.join goes on before it is refused.`)
  for (const name of covered.unusedContract) warnings.push(`${namespace}: the contract has ${JSON.stringify(name)}, which no event(...) declares, so it is refused.`)
  return warnings
}
