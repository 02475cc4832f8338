import { isThenable } from './compose.ts'
import type { Denied } from './errors.ts'
import type { Code } from './errors.ts'
import { PolicyFault } from './errors.ts'
import type { Context } from './context.ts'
import { subjectOf } from './peer.ts'
import type { Stage } from './policy.ts'
import type { Refusal } from './wire.ts'

export type Outcome = 'admitted' | 'denied' | 'fault'

/** One decision of the gate, as observers see it. Read it while you are told of it; it is not kept. */
export class Decision {
  readonly outcome: Outcome
  readonly stage: Stage
  /** False in `observe` mode, where a refusal is reported and nothing is refused. */
  readonly enforced: boolean
  /** The policy that refused; undefined for an admission. */
  readonly policy: string | undefined
  /** What the client was told, or would have been; undefined for an admission. */
  readonly refusal: Refusal | undefined
  /** What was thrown: a `Denied`, or a `PolicyFault` with the original as `cause`. For operators only. */
  readonly error: Denied | PolicyFault | undefined
  /** Not for whoever prints a decision: it holds the handshake, credentials and all. */
  readonly #context: Context
  readonly #at: number | undefined

  constructor(outcome: Outcome, context: Context, enforced: boolean, policy?: string, refusal?: Refusal, error?: Denied | PolicyFault, at?: number) {
    this.outcome = outcome
    this.stage = context.stage
    this.#context = context
    this.enforced = enforced
    this.policy = policy
    this.refusal = refusal
    this.error = error
    this.#at = at
  }

  /** @internal */
  get context(): Context {
    return this.#context
  }
  /** When the decision was made, in milliseconds since the epoch. */
  get at(): number {
    return this.#at ?? this.#context.now
  }
  /** Correlation id: the one the client was told. */
  get id(): string {
    return this.refusal?.id ?? this.#context.id
  }
  get code(): Code | undefined {
    return this.refusal?.code
  }
  get namespace(): string | undefined {
    return this.#context.namespace
  }
  /** The event, at the event and deliver stages. */
  get event(): string | undefined {
    return (this.#context as { event?: string }).event
  }
  /** The room, at the join stage. */
  get room(): string | undefined {
    return (this.#context as { room?: string }).room
  }
  /** Why it was decided, where that is not the ordinary reason: `recover`, `refresh`, `reauthorize`, `reply`. */
  get cause(): string | undefined {
    const { cause } = this.#context as { cause?: string }
    return cause === undefined || ORDINARY.has(cause) ? undefined : cause
  }
  /** The subject policies have proved, if any. */
  get subject(): string | undefined {
    return subjectOf(this.#context.peer)
  }
  get address(): string {
    return this.#context.address
  }
  get userAgent(): string | undefined {
    return this.#context.headers['user-agent']
  }
  /** What policies have proved about the peer. */
  get peer(): object {
    return this.#context.peer
  }
}

const ORDINARY: ReadonlySet<string> = new Set(['connect', 'join', 'live'])

export type Observer = (decision: Decision) => void

/** Who is told of decisions. A stage asks `wants` first, so that nobody pays for a record that nobody reads. */
export class Observers {
  readonly #listeners: Record<Outcome, Observer[]> = { admitted: [], denied: [], fault: [] }

  on(outcome: Outcome, observer: Observer): void {
    this.#listeners[outcome] = [...this.#listeners[outcome], observer]
  }

  off(outcome: Outcome, observer: Observer): void {
    this.#listeners[outcome] = this.#listeners[outcome].filter((listener) => listener !== observer)
  }

  wants(outcome: Outcome): boolean {
    return this.#listeners[outcome].length > 0
  }

  tell(decision: Decision): void {
    const listeners = this.#listeners[decision.outcome]
    if (listeners.length === 0) {
      if (decision.outcome === 'fault') print(decision.error as Error)
      return
    }
    for (const listener of listeners) callObserver(listener, decision)
  }
}

/** An observer that throws or rejects must change nothing for the client, nor for the next observer. */
export function callObserver(observer: Observer, decision: Decision): void {
  try {
    const returned: unknown = observer(decision)
    if (isThenable(returned)) Promise.resolve(returned).catch(logObserver)
  } catch (error) {
    logObserver(error)
  }
}

function logObserver(error: unknown): void {
  print(new PolicyFault('an observer of decisions failed', 'gate', { cause: error }))
}

/** What was thrown may throw again when it is printed. */
function print(error: Error): void {
  try {
    console.error(error)
  } catch {
    console.error(error.message)
  }
}
