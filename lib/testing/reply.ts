import type { Refused } from '../compose.ts'
import { DeliverContext } from '../context.ts'
import type { Context, EventContext } from '../context.ts'
import type { Core } from '../core.ts'
import { PolicyFault } from '../errors.ts'
import type { ReplyPlan } from '../plan.ts'
import type { Refusal } from '../wire.ts'

/** What reaches the client in place of an answer, and why. */
export interface Answer {
  readonly args: unknown[]
  readonly refused?: Refused & { readonly refusal: Refusal }
}

/** What of an answer reaches the client, once the contract and the `reply` items have been asked. */
export async function answerOf(core: Core, context: EventContext, plan: ReplyPlan | undefined, args: unknown[]): Promise<Answer> {
  const spoilt = (error: unknown, policy: string, asked: Context = context): Answer => {
    const refusal = core.refused(asked, { error, policy })
    return { args: core.settings.ackRefusal(refusal), refused: { error, policy, refusal } }
  }
  let given = args
  if (plan?.validate !== undefined) {
    const observing = context.state.plan.mode === 'observe'
    let failure: { readonly error: unknown } | undefined
    try {
      const checked = await plan.validate(args)
      if ('issues' in checked) failure = { error: new PolicyFault('a reply does not match its schema', 'contract', { cause: checked.issues }) }
      else if (!observing) given = checked.args
    } catch (error) {
      failure = { error }
    }
    if (failure !== undefined && !observing) return spoilt(failure.error, 'contract')
    if (failure !== undefined) core.unenforced(context, { ...failure, policy: 'contract' })
  }
  if (plan?.deliver === undefined) return { args: given }
  const outgoing = new DeliverContext(core, context.socket, context.namespace, context.event, given, 'reply', context.state)
  const verdict = plan.deliver.chain(outgoing)
  return verdict === undefined ? { args: [...outgoing.args] } : spoilt(verdict.error, verdict.policy, outgoing)
}
