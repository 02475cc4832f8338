import { Deadlines } from './clock.ts'
import type { Clock } from './clock.ts'
import type { Ground, Refused } from './compose.ts'
import type { Context } from './context.ts'
import { Denied, PolicyFault } from './errors.ts'
import { newId } from './ids.ts'
import { Decision, Observers } from './observe.ts'
import type { Settings } from './options.ts'
import { connectRefusalOf, refusalOf } from './wire.ts'
import type { Refusal } from './wire.ts'

/** What all stages of one gate share: settings, time, ids, observers, and the one way to report a decision. */
export class Core implements Ground<any> {
  readonly clock: Clock
  readonly newId = newId
  readonly observers = new Observers()
  /** Deadlines of asynchronous decisions. */
  readonly deadlines: Deadlines
  /** Deadlines of acks that handlers owe. */
  readonly acks: Deadlines

  constructor(readonly settings: Settings) {
    this.clock = settings.clock
    this.deadlines = new Deadlines(settings.clock, settings.deadlineMs)
    this.acks = new Deadlines(settings.clock, settings.ackWithinMs)
  }

  admitted(context: Context): void {
    if (this.observers.wants('admitted')) this.observers.tell(new Decision('admitted', context, true))
  }

  /** Reports a refusal, or the fault behind it. @returns what the client is told */
  refused(context: Context, refused: Refused, enforced = true): Refusal {
    try {
      return this.#refused(context, refused, enforced)
    } catch (cause) {
      // It claims to be a refusal and cannot be read as one.
      return this.#refused(context, { error: new PolicyFault('threw what cannot be read', refused.policy, { cause }), policy: refused.policy }, enforced)
    }
  }

  #refused(context: Context, { error, policy }: Refused, enforced: boolean): Refusal {
    // A refused join that leaves its handler is one refusal, told under one id.
    const id = (error instanceof Denied ? error.id : undefined) ?? context.id
    const refusal = context.stage === 'connect' ? connectRefusalOf(error, id) : refusalOf(error, id)
    if (error instanceof Denied) {
      if (this.observers.wants('denied')) this.observers.tell(new Decision('denied', context, enforced, policy, refusal, error, this.clock.now()))
    } else {
      this.observers.tell(new Decision('fault', context, enforced, policy, refusal, asFault(error, policy), this.clock.now()))
    }
    return refusal
  }

  /** Reports what went wrong without changing a decision. */
  fault(context: Context, error: unknown, policy = error instanceof PolicyFault ? error.policy : 'gate'): void {
    this.observers.tell(new Decision('fault', context, true, policy, refusalOf(undefined, context.id), asFault(error, policy), this.clock.now()))
  }

  unenforced(context: Context, refused: Refused): void {
    this.refused(context, refused, false)
  }

  close(): void {
    this.deadlines.clear()
    this.acks.clear()
  }
}

function asFault(error: unknown, policy: string): PolicyFault {
  return error instanceof PolicyFault ? error : new PolicyFault('failed', policy, { cause: error })
}
