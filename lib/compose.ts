import { Denied, PolicyFault } from './errors.ts'
import type { Deadlines } from './clock.ts'

/** One hook with the name it is reported under. */
export interface Layer<C> {
  readonly policy: string
  readonly hook: (ctx: C, next: (facts?: object) => void | Promise<void>) => unknown
  /** Decide and report, but never refuse or rewrite. */
  readonly observed: boolean
}

/** Why a chain refused: whatever was thrown first, and by which policy. */
export interface Refused {
  readonly error: unknown
  readonly policy: string
}

/** `undefined` when every layer agreed. */
export type Verdict = Refused | undefined

/** A compiled chain. A chain of synchronous hooks answers in the same tick and makes no promise. */
export type Chain<C> = (ctx: C) => Verdict | Promise<Verdict>

/** What the compositor asks of a context. */
export interface Composable {
  /** Takes over the facts of a positive act. */
  accept(facts: object): void
  /** Whether a hook has answered in place of the handler, which is a positive act too. */
  readonly replied: boolean
  /** Called in the async context of the innermost hook. */
  reached(): void
  /** A copy whose changes reach nobody. */
  shadow(): this
  /** Where it exists, nothing waits for an observed layer that takes its time; called when there is one. */
  overtake?(): void
}

/** Where the compositor reports what does not change the decision. */
export interface Ground<C> {
  readonly deadlines: Deadlines
  /** A hook misbehaved after its decision was settled, or on the way out of a refused one. */
  fault(ctx: C, fault: PolicyFault): void
  /** An observed layer would have refused. */
  unenforced(ctx: C, refused: Refused): void
}

const noop = (): void => {}

/** Compiles layers into a chain. */
export function compose<C extends Composable>(layers: readonly Layer<C>[], ground: Ground<C>): Chain<C> {
  if (layers.length === 0) return () => undefined
  return (ctx) => new Run(layers, ctx, ground, undefined).decide()
}

/** A chain that answers in the same tick. */
export type SyncChain<C> = (ctx: C) => Verdict

/** Compiles layers that have no time to wait: a returned promise is a fault of its layer, and what it brings later changes nothing. */
export function composeSync<C extends Composable>(layers: readonly Layer<C>[], ground: Ground<C>): SyncChain<C> {
  return compose(layers.map((layer) => ({ ...layer, hook: synchronous(layer) })), ground) as SyncChain<C>
}

function synchronous<C>({ hook, policy }: Layer<C>): Layer<C>['hook'] {
  return (ctx, next) => {
    const returned = hook(ctx, next)
    if (!isThenable(returned)) return returned
    Promise.resolve(returned).catch(noop)
    throw new PolicyFault('returned a promise, and deliveries are synchronous', policy)
  }
}

/** The same chain inside one hook: what stands below the hook runs as its innermost step. */
export function nest<C extends Composable>(layers: readonly Layer<C>[], ctx: C, next: () => void | Promise<void>, ground: Ground<C>): void | Promise<void> {
  return new Run(layers, ctx, ground, next).enter(0)
}

class Run<C extends Composable> {
  failed = false
  error: unknown = undefined
  policy = ''
  closed = false
  late: unknown = undefined
  observing = 0
  reached = 0
  wake: ((verdict: Verdict) => void) | undefined = undefined

  constructor(
    readonly layers: readonly Layer<C>[],
    readonly ctx: C,
    readonly ground: Ground<C>,
    readonly last: (() => void | Promise<void>) | undefined,
  ) {}

  decide(): Verdict | Promise<Verdict> {
    let outcome: void | Promise<void> = undefined
    try {
      outcome = this.enter(0)
    } catch (error) {
      this.#stray(error)
    }
    if (outcome === undefined || this.failed) return this.close()
    return this.#later(outcome)
  }

  close(): Verdict {
    this.closed = true
    return this.failed ? { error: this.error, policy: this.policy } : undefined
  }

  #later(outcome: Promise<void>): Promise<Verdict> {
    return new Promise((resolve) => {
      const { deadlines } = this.ground
      const expire = (): void => {
        if (this.observing > 0) {
          deadline = deadlines.add(expire)
          return
        }
        const policy = this.layers[this.reached]?.policy ?? ''
        this.refuse(new PolicyFault('no decision within the deadline', policy, { code: 'DEADLINE_EXCEEDED' }), policy)
      }
      let deadline = deadlines.add(expire)
      // A refusal anywhere settles the decision at once: an outer hook that never returns cannot keep it open.
      this.wake = (verdict) => {
        this.wake = undefined
        deadline.cancel()
        resolve(verdict)
      }
      const settle = (): void => this.wake?.(this.close())
      outcome.then(settle, (error: unknown) => {
        this.#stray(error)
        settle()
      })
    })
  }

  /** Records a refusal. The first one decides; a different fault after it is only reported. */
  refuse(error: unknown, policy: string): void {
    if (!this.failed && !this.closed) {
      this.failed = true
      this.error = error
      this.policy = policy
      this.wake?.(this.close())
    } else if (error !== this.error && error !== this.late && !(error instanceof Denied)) {
      // The hook that is told of it by a late `next()` usually passes it on: one report is enough.
      this.late = error
      this.ground.fault(this.ctx, error instanceof PolicyFault ? error : new PolicyFault('threw after its decision was settled', policy, { cause: error }))
    }
  }

  /** What left the chain was recorded where it was thrown; anything else (a `then` that throws when it is looked at) must not admit. */
  #stray(error: unknown): void {
    if (!this.failed) this.refuse(error, this.layers[this.reached]?.policy ?? '')
  }

  enter(index: number): void | Promise<void> {
    const layer = this.layers[index]
    if (layer === undefined) return this.last === undefined ? this.ctx.reached() : this.last()
    this.reached = index
    if (layer.observed) return this.#observe(layer, index)

    let called = false
    let onStack = true
    let done = false
    let below: void | Promise<void> = undefined

    const next = (facts?: object): void | Promise<void> => {
      if (called || this.failed || this.closed) return this.#misuse(layer, called, onStack, done)
      called = true
      try {
        if (facts !== undefined) this.#accept(facts, layer)
        below = this.enter(index + 1)
      } catch (error) {
        // The hook may swallow it: whatever was not recorded where it was thrown must refuse all the same.
        this.#stray(error)
        // Thrown only while the hook's own call is on the stack; a timer or a promise callback has nobody to catch it.
        if (onStack) throw error
        below = rejected(error)
      }
      return below === undefined ? undefined : quiet(below)
    }

    let own: unknown
    try {
      own = layer.hook(this.ctx, next)
    } catch (error) {
      onStack = false
      done = true
      this.refuse(error, layer.policy)
      throw error
    }
    onStack = false
    if (own === undefined && called && !this.failed) {
      done = true
      return below
    }
    const leave = (): void | Promise<void> => {
      done = true
      return this.#leave(layer, index, called, below)
    }
    const failed = (error: unknown): never => {
      done = true
      this.refuse(error, layer.policy)
      throw error
    }
    return this.#wait(own, leave, failed) ?? leave()
  }

  /** @returns undefined where there is nothing to wait for */
  #wait(own: unknown, leave: () => void | Promise<void>, failed: (error: unknown) => never): Promise<void> | undefined {
    try {
      if (!isThenable(own)) return undefined
      const settled = Promise.resolve(own).then(leave, failed)
      settled.catch(noop)
      return settled
    } catch (error) {
      // A `then` that throws when it is looked at, or a promise that was tampered with.
      return failed(error)
    }
  }

  /** After a hook is done: what it left undone, or the result of what stands below. */
  #leave(layer: Layer<C>, index: number, called: boolean, below: void | Promise<void>): void | Promise<void> {
    if (this.failed) throw this.error
    if (called) return below
    // `ctx.reply` answers in place of the handler, never in place of the checks that stand below.
    if (this.ctx.replied) return this.enter(index + 1)
    const fault = new PolicyFault('neither called next() nor replied', layer.policy)
    this.refuse(fault, layer.policy)
    throw fault
  }

  #misuse(layer: Layer<C>, called: boolean, onStack: boolean, done: boolean): void | Promise<void> {
    const fault = new PolicyFault(called ? 'called next() twice' : 'called next() after the decision was settled', layer.policy)
    this.refuse(fault, layer.policy)
    if (onStack) throw fault
    // A hook that is done has left this call behind, often in a promise it did not return: a rejection would end the process there.
    return done ? undefined : quiet(rejected(fault))
  }

  #accept(facts: unknown, layer: Layer<C>): void {
    // In Express, `next(error)` refuses; here it must not pass for a set of facts.
    if (facts instanceof Error) throw facts
    try {
      this.ctx.accept(facts as object)
    } catch (cause) {
      throw new PolicyFault((cause as Error).message, layer.policy, { cause })
    }
  }

  #observe(layer: Layer<C>, index: number): void | Promise<void> {
    const shadow = this.ctx.shadow()
    const ground: Ground<C> = { ...this.ground, fault: noop }
    const verdict = new Run([{ ...layer, observed: false }], shadow, ground, undefined).decide()
    if (!(verdict instanceof Promise)) {
      if (verdict !== undefined) this.ground.unenforced(this.ctx, verdict)
      return this.enter(index + 1)
    }
    if (this.ctx.overtake !== undefined) {
      this.ctx.overtake()
      void verdict.then((late) => (late === undefined ? undefined : this.ground.unenforced(this.ctx, late)))
      return this.enter(index + 1)
    }
    this.observing++
    const settled = verdict.then((late) => {
      this.observing--
      if (late !== undefined) this.ground.unenforced(this.ctx, late)
      if (!this.failed) return this.enter(index + 1)
    })
    settled.catch(noop)
    return settled
  }
}

export function isThenable(value: unknown): value is PromiseLike<unknown> {
  return value !== undefined && value !== null && (typeof value === 'object' || typeof value === 'function') && typeof (value as { then?: unknown }).then === 'function'
}

/**
 * What `next()` returns for something asynchronous. A hook may drop it, or a promise it derived from it (`next().finally(...)`), and a
 * client can make it reject: nobody but the gate needs to hear of that, and the process must not end by it. An own `then` and no
 * subclass: `await` takes a plain promise the short way.
 */
function quiet<T>(promise: Promise<T>): Promise<T> {
  void Promise.prototype.then.call(promise, undefined, noop)
  promise.then = quietThen
  return promise
}

function quietThen<T>(this: Promise<T>, ...handlers: Parameters<Promise<T>['then']>): Promise<any> {
  return quiet(Promise.prototype.then.apply(this, handlers as []))
}

async function rejected(error: unknown): Promise<never> {
  throw error
}
