import { CROSS_SITE } from './carriers.ts'
import { nest } from './compose.ts'
import type { Layer } from './compose.ts'
import type { ConnectContext, Context, DeliverContext, EventContext, JoinContext, RequestContext } from './context.ts'
import { ConfigError, deny, Denied, PolicyFault } from './errors.ts'
import { STEP_UP } from './factor.ts'
import type { At } from './gate.ts'
import { checkPolicy, isAudienceHook, OBSERVED, stages, UNORDERED } from './policy.ts'
import type { AnyPolicy, DeliverNext, Hook, Stage } from './policy.ts'

/** The context of each stage. */
export interface ContextOf {
  readonly request: RequestContext
  readonly connect: ConnectContext<any>
  readonly event: EventContext<any>
  readonly join: JoinContext<any, any>
  readonly deliver: DeliverContext<any>
}

interface Named {
  readonly name: string
}

/** What a policy looks like to a combinator that stands where the context is `C`: it types the callbacks of the policy. */
interface PartAt<C> extends Named {
  readonly connect?: Hook<C>
  readonly event?: Hook<C>
  readonly join?: Hook<C>
  readonly deliver?: ((ctx: C, next: DeliverNext) => undefined | void) | { readonly audience: (peer: PeerIn<C>) => any; readonly hook: (ctx: C, next: DeliverNext) => undefined | void }
}
type PeerIn<C> = C extends { readonly peer: infer P } ? P : object

/** The parts of a combinator. They are taken as they are; that they may also be `PartAt` is what gives their callbacks their types. */
export type Parts<T extends readonly Named[], C> = T | readonly PartAt<NoInfer<C>>[]

/** A combined policy: it has the stages of its parts, and needs what they need together. */
export type Combined<T extends readonly Named[]> = GivesFacts<T[number]> extends true
  ? { readonly 'a combinator takes policies that give no facts: declare those with use(...), one by one': T }
  : Named & { readonly [S in Stage as true extends Has<T[number], S> ? S : never]: Joined<T[number], S> }

type Has<P, S extends Stage> = P extends { readonly [K in S]: unknown } ? true : false
type HookOf<P, S extends Stage> = P extends { readonly [K in S]?: infer H } ? Exclude<H, undefined> : never
type ContextIn<H> = H extends { readonly audience: (peer: infer P) => any; readonly hook: (ctx: infer C, next: any) => any } ? WithoutAudience<C> & { readonly peer: P } : H extends (ctx: infer C, next: any) => any ? C : H
/** A combined delivery is asked for each recipient. */
type WithoutAudience<C> = 0 extends 1 & C ? unknown : Omit<C, 'audience'>
/** One hook for the contexts of all of them together. */
type Joined<P, S extends Stage> = S extends 'deliver' ? (ctx: Together<ContextIn<HookOf<P, S>>>, next: DeliverNext) => undefined | void : Hook<Together<ContextIn<HookOf<P, S>>>>
type Together<U> = (U extends unknown ? (value: U) => void : never) extends (value: infer I) => void ? I : never
type GivesFacts<P> = P extends { readonly connect?: (ctx: any, next: infer N) => any } ? (N extends (...facts: infer F) => any ? (F extends readonly [] ? false : true) : false) : false

type Part = AnyPolicy
type Step = (ctx: Context, next: () => void | Promise<void>) => unknown

/** All of them, in this order: a preset in one name. */
export function every<C = any, const T extends readonly Named[] = readonly Named[]>(...policies: Parts<T, C>): Combined<T> & At<C> {
  return combine('every', policies, (layers) => (ctx, next) => nest(layers, ctx, next, ctx.scene)) as Combined<T> & At<C>
}

/**
 * The first of them that agrees. A refusal lets the next one try; a fault refuses the whole. What stands below runs once, after the choice.
 * When all refuse, the first refusal is the answer.
 */
export function some<C = any, const T extends readonly Named[] = readonly Named[]>(...policies: Parts<T, C>): Combined<T> & At<C> {
  return combine('some', policies, (layers) => (ctx, next) => choose(layers, 0, ctx, next, undefined)) as Combined<T> & At<C>
}

/**
 * The policy where the predicate answers `true`, and nothing elsewhere.
 *
 * @example
 * when(({ peer }) => peer.principal.claims.guest === true, rateLimit({ limit: 1, perMs: 1_000 }))
 */
export function when<C = any, const T extends readonly [Named] = readonly [Named]>(predicate: (ctx: C) => boolean, ...policy: Parts<T, C>): Combined<T> & At<C> {
  if (typeof predicate !== 'function') throw new ConfigError('when takes a predicate and a policy: when((ctx) => boolean, policy).')
  return combine('when', policy, (layers) => (ctx, next) => (decides(predicate(ctx as C)) ? nest(layers, ctx, next, ctx.scene) : next())) as Combined<T> & At<C>
}

/** What `permit` makes: a policy of one stage. */
export type Permit<S extends Stage> = Named & { readonly [K in S]: K extends 'deliver' ? (ctx: ContextOf[K], next: DeliverNext) => undefined | void : Hook<ContextOf[K]> }

/** A rule in one line: goes on where the predicate answers `true`, and refuses with `FORBIDDEN` elsewhere. */
export function permit<S extends Stage>(name: string, stage: S, predicate: (ctx: ContextOf[S]) => S extends 'deliver' ? boolean : boolean | Promise<boolean>): Permit<S> {
  if (!stages.includes(stage)) throw new ConfigError(`permit: ${JSON.stringify(stage)} is not a stage. The stages are ${stages.join(', ')}.`)
  if (typeof predicate !== 'function') throw new ConfigError('permit takes a name, a stage and a predicate: permit("team-rooms", "join", (ctx) => boolean).')
  const hook: Hook<ContextOf[S]> = (ctx, next) => {
    const answer: unknown = predicate(ctx)
    if (!(answer instanceof Promise)) return decides(answer) ? next() : deny('FORBIDDEN')
    return answer.then((late: unknown) => (decides(late) ? next() : deny('FORBIDDEN')))
  }
  const policy = { name, [stage]: hook }
  checkPolicy(policy, 'permit')
  return policy as unknown as Permit<S>
}

/** The policy with its decisions reported and not enforced: how a new rule is tried on live traffic. */
export function observed<C = any, const T extends readonly [Named] = readonly [Named]>(...policy: Parts<T, C>): T[0] & At<C> {
  const [given] = policy
  checkPolicy(given, 'observed')
  return { ...given, [OBSERVED]: true }
}

/** Among an event's items: takes that event out of the lane, so that it neither waits nor is waited for. */
export function unordered(): { readonly name: 'unordered'; readonly event: Hook<any> } {
  const item = { name: 'unordered' as const, event: (_ctx: unknown, next: () => void | Promise<void>) => next() }
  Object.defineProperty(item, UNORDERED, { value: true })
  return item
}

/** Only `true` and `false` decide: a truthy object, such as a forgotten promise, is a fault. */
function decides(answer: unknown): boolean {
  if (typeof answer !== 'boolean') throw new TypeError(`a predicate answers true or false; this one answered ${answer === null ? 'null' : typeof answer}`)
  return answer
}

function combine(kind: string, given: readonly unknown[], make: (layers: Layer<Context>[]) => Step): unknown {
  if (given.length === 0) throw new ConfigError(`${kind} takes at least one policy.`)
  for (const part of given) checkPolicy(part, kind)
  const parts = given as readonly Part[]
  const combined: Record<string, unknown> = { name: `${kind}(${parts.map(({ name }) => name).join(', ')})` }
  for (const stage of stages) {
    const having = parts.filter((part) => part[stage] !== undefined)
    if (having.length === 0) continue
    if (kind === 'some' && having.length < parts.length) {
      const lacking = parts.find((part) => part[stage] === undefined)!
      throw new ConfigError(`some: policy "${lacking.name}" has no ${stage} hook and "${having[0]!.name}" has one, so at that stage there would be no choice. Combine policies of the same stages.`)
    }
    combined[stage] = make(having.map((part) => layerOf(part, stage)))
  }
  const factors = parts.flatMap((part) => part[STEP_UP] ?? [])
  if (factors.length > 0) Object.assign(combined, { [STEP_UP]: factors })
  // A protection that another branch, or a predicate, can take the place of protects nobody.
  const cookies = kind === 'every' ? parts.flatMap((part) => part[CROSS_SITE] ?? []) : []
  if (cookies.length > 0) Object.assign(combined, { [CROSS_SITE]: cookies })
  const observers = parts.flatMap(({ observe }) => (observe === undefined ? [] : [observe]))
  if (observers.length > 0) combined['observe'] = (decision: never) => observers.forEach((observe) => observe(decision))
  return combined
}

function layerOf(part: Part, stage: Stage): Layer<Context> {
  const hook: unknown = part[stage]
  const own = (isAudienceHook(hook) ? (ctx: DeliverContext, next: never) => {
    ctx.audience = hook.audience(ctx.peer)
    return hook.hook(ctx as never, next)
  } : hook) as Layer<Context>['hook']
  return { policy: part.name, hook: own, observed: part[OBSERVED] === true }
}

/** Tries one branch with nothing below it; what stands below runs once the branch has agreed. */
function choose(layers: readonly Layer<Context>[], index: number, ctx: Context, next: () => void | Promise<void>, first: unknown): void | Promise<void> {
  const layer = layers[index]
  if (layer === undefined) throw first
  const args = (ctx as { args?: unknown[] }).args
  const before = args === undefined ? undefined : [...args]
  const { replied } = ctx
  const refused = (error: unknown): void | Promise<void> => {
    if (!(error instanceof Denied)) throw error instanceof PolicyFault ? error : new PolicyFault('failed', layer.policy, { cause: error })
    // A branch that was not chosen leaves nothing behind.
    if (before !== undefined) (ctx as unknown as { args: unknown[] }).args = before
    ctx.replied = replied
    return choose(layers, index + 1, ctx, next, first ?? error)
  }
  let outcome: void | Promise<void>
  try {
    outcome = nest([layer], ctx, () => undefined, ctx.scene)
  } catch (error) {
    return refused(error)
  }
  return outcome === undefined ? next() : outcome.then(next, refused)
}
