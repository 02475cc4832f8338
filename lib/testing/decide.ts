import type { Refused, Verdict } from '../compose.ts'
import type { Context } from '../context.ts'
import type { Core } from '../core.ts'
import { Denied } from '../errors.ts'
import type { Lane } from '../lane.ts'
import type { NamespacePlan } from '../plan.ts'
import type { Refusal } from '../wire.ts'
import { Result } from './result.ts'
import type { Ends, ResultParts } from './result.ts'

/** How a decision looks at its stage. */
export interface Forms {
  /** What travels to the client with a refusal. */
  refused(refusal: Refusal): unknown
  /** What is done, and shown, once everything has agreed. */
  admitted(): Partial<ResultParts>
  readonly ends?: Ends
  /** Set where the decision has waited for an earlier one. */
  readonly waited?: boolean
}

/** Asks a chain, unless something before it has refused already, and concludes as the stages of the gate do. */
export async function decide<C extends Context>(core: Core, context: C, what: Refused | ((context: C) => Verdict | Promise<Verdict>), forms: Forms, lane?: Lane): Promise<Result> {
  const verdict = typeof what === 'function' ? what(context) : what
  if (!(verdict instanceof Promise)) return conclude(core, context, verdict, forms, forms.waited !== true)
  if (lane !== undefined) lane.busy = true
  const result = conclude(core, context, await verdict, forms, false)
  lane?.release()
  return result
}

function conclude(core: Core, context: Context, verdict: Verdict, forms: Forms, sync: boolean): Result {
  if (verdict !== undefined) return refuse(core, context, verdict, sync, (refusal) => forms.refused(refusal))
  core.admitted(context)
  return new Result({ outcome: 'admitted', sync, ...forms.admitted() }, forms.ends)
}

/** Reports a refusal, and shows what the client is told of it. */
export function refuse(core: Core, context: Context, refused: Refused, sync: boolean, form: (refusal: Refusal) => unknown): Result {
  const { error, policy } = refused
  const refusal = core.refused(context, refused)
  context.settle({ outcome: 'refused', refusal, error })
  return new Result({ outcome: error instanceof Denied ? 'denied' : 'fault', sync, refusal, policy, error, sent: form(refusal) })
}

/** What refuses before any hook. In `observe` mode it is reported and overlooked, unless it could crash whoever relays it. */
export function bar(core: Core, context: Context, plan: NamespacePlan, error: Denied | undefined, policy = 'gate', crashes = false): Refused | undefined {
  if (error === undefined) return undefined
  const refused = { error, policy }
  if (plan.mode !== 'observe' || crashes) return refused
  core.unenforced(context, refused)
  return undefined
}
