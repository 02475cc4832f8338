import { Agenda } from './agenda.ts'
import { Deadlines } from './clock.ts'
import type { Clock } from './clock.ts'
import type { Ground, Refused } from './compose.ts'
import type { ConnectContext, Context } from './context.ts'
import { Denied, PolicyFault } from './errors.ts'
import { newId } from './ids.ts'
import { Decision, Observers } from './observe.ts'
import type { Settings } from './options.ts'
import { revokedBy } from './revocation.ts'
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
  /** When credentials end, and connections that have not brought any. */
  readonly agenda: Agenda

  constructor(readonly settings: Settings) {
    this.clock = settings.clock
    this.deadlines = new Deadlines(settings.clock, settings.deadlineMs)
    this.acks = new Deadlines(settings.clock, settings.ackWithinMs)
    this.agenda = new Agenda(settings.clock)
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
    // Who has been admitted is told the truth about its credential; at the door everything wrong with one is the same.
    const refusal = isAtTheDoor(context) ? connectRefusalOf(error, id) : refusalOf(error, id)
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

  /** What somebody else was asked, within the time a decision may take. @throws PolicyFault `DEADLINE_EXCEEDED` after that */
  within<T>(answer: Promise<T>, policy = 'gate'): Promise<T> {
    return new Promise((resolve, reject) => {
      const deadline = this.deadlines.add(() => reject(new PolicyFault('no answer within the deadline', policy, { code: 'DEADLINE_EXCEEDED' })))
      answer.finally(() => deadline.cancel()).then(resolve, reject)
    })
  }

  /** Whether what a peer has proved was revoked. @returns the refusal, which is `UNAVAILABLE` where the store cannot say in time */
  revoked(facts: object): Denied | undefined | Promise<Denied | undefined> {
    const answer = revokedBy(this.settings.store, facts)
    if (!(answer instanceof Promise)) return answer
    return this.within(answer, 'revocation').catch((error: unknown) => new Denied('UNAVAILABLE', undefined, error))
  }

  close(): void {
    this.deadlines.clear()
    this.acks.clear()
    // Those who are still here hear nothing after the end of their credential either.
    this.agenda.stop()
  }
}

function isAtTheDoor(context: Context): boolean {
  return context.stage === 'connect' && !(context as ConnectContext).state.established
}

function asFault(error: unknown, policy: string): PolicyFault {
  return error instanceof PolicyFault ? error : new PolicyFault('failed', policy, { cause: error })
}
