import { AudienceContext, DeliverContext } from '../context.ts'
import type { PeerSocket } from '../context.ts'
import type { Core } from '../core.ts'
import { Denied } from '../errors.ts'
import type { PeerState } from '../peer.ts'
import type { DeliverPlan } from '../plan.ts'
import { bar, refuse } from './decide.ts'
import { Result } from './result.ts'

/** One packet on its way to one or many. */
export class Delivery {
  /** Results by audience, one level for each step that has one. */
  readonly #outcomes = new Map<unknown, unknown>()

  constructor(
    readonly core: Core,
    readonly name: string,
    readonly args: readonly unknown[],
    readonly cause: 'live' | 'recover',
  ) {}

  to(state: PeerState, socket: PeerSocket): Result {
    const { core, args } = this
    const context = new DeliverContext(core, socket, state.plan.name, this.name, args, this.cause, state)
    const plan = state.plan.delivery(this.name)
    if (plan === 'deny') {
      const barred = bar(core, context, state.plan, new Denied('UNKNOWN_EVENT'))
      return barred === undefined ? pass(args) : refuse(core, context, barred, true, nothing)
    }
    if (plan === undefined) return pass(args)
    if (plan.shared !== undefined) return this.#toAudience(plan.shared, context)
    const verdict = plan.chain(context)
    if (verdict !== undefined) return refuse(core, context, verdict, true, nothing)
    core.admitted(context)
    context.settle({ outcome: 'handled' })
    return pass(context.args)
  }

  #toAudience({ audiences, chain }: NonNullable<DeliverPlan['shared']>, recipient: DeliverContext): Result {
    const { core } = this
    const asked = audiences.map((audience) => audience(recipient.peer))
    let branch = this.#outcomes
    for (const audience of asked.slice(0, -1)) {
      if (!branch.has(audience)) branch.set(audience, new Map())
      branch = branch.get(audience) as Map<unknown, unknown>
    }
    const known = branch.get(asked.at(-1)) as Result | undefined
    if (known !== undefined) return known

    const context = new AudienceContext(core, recipient.namespace, this.name, this.args, asked)
    const verdict = chain(context)
    if (verdict === undefined) core.admitted(context)
    const result = verdict === undefined ? pass(context.args) : refuse(core, recipient, verdict, true, nothing)
    branch.set(asked.at(-1), result)
    return result
  }
}

function pass(args: readonly unknown[]): Result {
  return new Result({ outcome: 'admitted', sync: true, args })
}

/** A recipient that is refused a packet hears nothing of it. */
function nothing(): undefined {}
