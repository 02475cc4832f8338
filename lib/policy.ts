import type { ATTACH, Attachment, Beside, BESIDE, GateControls } from './attach.ts'
import type { Carrier, CARRIERS, CROSS_SITE } from './carriers.ts'
import type { ConnectContext, DeliverContext, EventContext, JoinContext, RequestContext, SharedDeliverContext } from './context.ts'
import { ConfigError } from './errors.ts'
import type { STEP_UP, StepUpTerms } from './factor.ts'
import type { Decision } from './observe.ts'
import type { Terms, TERMS } from './terms.ts'

/** What a hook may return: nothing, or a promise of nothing. */
export type Awaitable = void | Promise<void>

/** Goes on to whatever stands below. */
export type Next = () => Awaitable

/** One step of a stage. Going on is a positive act: `next()`; silence refuses. */
export type Hook<Ctx> = (ctx: Ctx, next: Next) => Awaitable

/** A connect hook. One that `Gives` facts passes them on with `next({ ... })`; without them it does not compile. */
export type ConnectHook<Needs extends object = object, Gives extends object = object> = (
  ctx: ConnectContext<Needs>,
  next: keyof Gives extends never ? Next : (facts: Gives) => Awaitable,
) => Awaitable

/** `next` at the deliver stage: always synchronous. */
export type DeliverNext = () => undefined

/** A deliver hook asked once for each recipient. Synchronous: a returned promise is a fault. */
export type RecipientHook<Needs extends object = object, Data = any> = (ctx: DeliverContext<Needs, Data>, next: DeliverNext) => undefined | void

/** A deliver hook asked once for each distinct audience of a packet. */
export interface AudienceHook<Needs extends object = object, Data = any> {
  /** What the decision depends on, compared by identity. */
  readonly audience: (peer: Needs) => unknown
  /** Sees the packet and the audience, and nothing of the single recipient. */
  readonly hook: (ctx: SharedDeliverContext<any, Data>, next: DeliverNext) => undefined | void
}

export type DeliverHook<Needs extends object = object, Data = any> = RecipientHook<Needs, Data> | AudienceHook<Needs, Data>

/** The five stages, in the order in which a connection meets them. */
export const stages = ['request', 'connect', 'event', 'join', 'deliver'] as const
export type Stage = (typeof stages)[number]

/**
 * A named plain object with up to five hooks, one per stage; hooks compose as an onion.
 *
 * @example
 * const office: Policy = { name: 'office', connect: (ctx, next) => (isOffice(ctx.address) ? next() : deny('FORBIDDEN')) }
 */
export interface Policy<Needs extends object = object, Gives extends object = object> {
  readonly name: string
  /** An HTTP request or upgrade reaches the engine. */
  readonly request?: Hook<RequestContext>
  /** A client asks to enter a namespace; may give facts. */
  readonly connect?: ConnectHook<Needs, Gives>
  /** A client sends an event. */
  readonly event?: Hook<EventContext<Needs>>
  /** A socket is about to be put in a room. */
  readonly join?: Hook<JoinContext<Needs>>
  /** A packet is about to leave for one recipient (synchronous). */
  readonly deliver?: DeliverHook<Needs>
  /** Told of each decision after it was made, refusals before any hook included. Not a stage: it decides nothing. */
  readonly observe?: (decision: Decision) => void
}

/** A policy, whatever it needs and gives: what the gate works with after the types have done their part. */
export interface AnyPolicy {
  readonly name: string
  readonly request?: Hook<any>
  readonly connect?: (ctx: any, next: any) => Awaitable
  readonly event?: Hook<any>
  readonly join?: Hook<any>
  readonly deliver?: RecipientHook<any> | { readonly audience: (peer: any) => unknown; readonly hook: (ctx: any, next: any) => undefined | void }
  readonly observe?: (decision: Decision) => void
  /** @internal */
  readonly [UNORDERED]?: boolean
  /** @internal */
  readonly [OBSERVED]?: boolean
  /** @internal */
  readonly [TERMS]?: Terms
  /** @internal */
  readonly [CARRIERS]?: readonly Carrier[]
  /** @internal */
  readonly [CROSS_SITE]?: readonly string[]
  /** @internal */
  readonly [STEP_UP]?: StepUpTerms | readonly StepUpTerms[]
  /** @internal */
  readonly [ATTACH]?: (controls: GateControls) => Attachment
  /** @internal */
  readonly [BESIDE]?: readonly Beside[]
}

/** Marks an item that takes its event out of the lane. */
export const UNORDERED: unique symbol = Symbol.for('portcullis.unordered')
/** Marks a policy whose decisions are reported and not enforced. */
export const OBSERVED: unique symbol = Symbol.for('portcullis.observed')

/** Exists in types only: where a policy stands, for the callbacks of the combinators that stand there. */
export declare const PLACE: unique symbol

const KNOWN = new Set<string>(['name', 'observe', ...stages])

/** Checks the shape of a policy when it is declared. @throws ConfigError naming what is wrong. */
export function checkPolicy(policy: unknown, where: string): asserts policy is AnyPolicy {
  if (typeof policy !== 'object' || policy === null) {
    throw new ConfigError(`${where} takes a policy, an object such as { name, event(ctx, next) }; got ${describe(policy)}.`)
  }
  const { name } = policy as { name?: unknown }
  if (typeof name !== 'string' || name === '') {
    throw new ConfigError(`${where}: a policy needs a non-empty \`name\`, which is what records show.`)
  }
  for (const key of Object.keys(policy)) {
    if (!KNOWN.has(key)) {
      throw new ConfigError(`${where}: policy "${name}" has an unknown member "${key}". Its hooks are ${stages.join(', ')}.`)
    }
  }
  for (const stage of stages) {
    const hook = (policy as AnyPolicy)[stage]
    if (hook === undefined || typeof hook === 'function') continue
    if (stage === 'deliver' && isAudienceHook(hook)) continue
    throw new ConfigError(`${where}: \`${stage}\` of policy "${name}" must be a function (ctx, next)${stage === 'deliver' ? ', or { audience, hook }' : ''}; got ${describe(hook)}.`)
  }
  const { observe } = policy as AnyPolicy
  if (observe !== undefined && typeof observe !== 'function') throw new ConfigError(`${where}: \`observe\` of policy "${name}" must be a function.`)
}

export function isAudienceHook(hook: unknown): hook is AudienceHook {
  return typeof hook === 'object' && hook !== null && typeof (hook as AudienceHook).audience === 'function' && typeof (hook as AudienceHook).hook === 'function'
}

/** The stages a policy has a hook for. */
export function stagesOf(policy: AnyPolicy): Stage[] {
  return stages.filter((stage) => policy[stage] !== undefined)
}

export function describe(value: unknown): string {
  if (value === null || value === undefined) return String(value)
  if (Array.isArray(value)) return 'an array'
  return typeof value === 'object' ? 'an object' : `${typeof value} ${String(value)}`.slice(0, 60)
}
