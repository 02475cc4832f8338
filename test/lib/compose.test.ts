import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { Deadlines } from '../../lib/clock.ts'
import { compose, isThenable, nest } from '../../lib/compose.ts'
import type { Composable, Ground, Layer, Refused, Verdict } from '../../lib/compose.ts'
import { Denied, PolicyFault } from '../../lib/errors.ts'
import { testClock } from '../../lib/testing.ts'

/** The smallest thing a chain can run on. */
class Subject implements Composable {
  facts: object = {}
  value = 'given'
  replied = false
  effects = 0
  shadows = 0
  accept(facts: object): void {
    if (Object.hasOwn(facts, 'refused')) throw new TypeError('gives a fact that is refused')
    this.facts = { ...this.facts, ...facts }
  }
  reached(): void {
    this.effects++
  }
  shadow(): this {
    this.shadows++
    const copy = new Subject()
    copy.value = this.value
    return copy as this
  }
}

type Hook = Layer<Subject>['hook']
const DEADLINE_MS = 5_000

function bench(...hooks: (Hook | Layer<Subject>)[]) {
  const clock = testClock()
  const faults: PolicyFault[] = []
  const unenforced: Refused[] = []
  const ground: Ground<Subject> = {
    deadlines: new Deadlines(clock, DEADLINE_MS),
    fault: (_ctx, fault) => void faults.push(fault),
    unenforced: (_ctx, refused) => void unenforced.push(refused),
  }
  const layers = hooks.map((hook, index) => (typeof hook === 'function' ? { policy: `p${index}`, hook, observed: false } : hook))
  const ctx = new Subject()
  return { clock, faults, unenforced, ground, layers, ctx, decide: () => compose(layers, ground)(ctx) }
}

const observed = (hook: Hook, policy = 'watched'): Layer<Subject> => ({ policy, hook, observed: true })
const go: Hook = (_ctx, next) => next()
const goLater: Hook = async (_ctx, next) => {
  await Promise.resolve()
  await next()
}
const refuse: Hook = () => {
  throw new Denied('FORBIDDEN')
}
const refuseLater: Hook = async () => {
  await Promise.resolve()
  throw new Denied('FORBIDDEN')
}
const never = (): Promise<void> => new Promise(() => {})

function refusal(verdict: Verdict | Promise<Verdict>): Refused {
  if (verdict === undefined || verdict instanceof Promise) throw new Error('expected a refusal that was made in the same tick')
  return verdict
}

/** Copies a context the first time it is asked to. */
function shadowOnce(): () => never {
  let asked = 0
  return () => {
    if (asked++ > 0) throw new Error('no copy')
    return new Subject() as never
  }
}

/** Lets everything that waits for a promise go on. */
const settled = async (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

describe('a chain of synchronous hooks', () => {
  test('agrees with undefined, in the same tick and without a promise', () => {
    const { decide, ctx } = bench(go, go, go)
    expect(decide()).toBeUndefined()
    expect(ctx.effects).toBe(1)
  })

  test('refuses in the same tick, and names the policy', () => {
    const { decide } = bench(go, refuse, go)
    const { error, policy } = refusal(decide())
    expect(error).toMatchObject({ code: 'FORBIDDEN' })
    expect(policy).toBe('p1')
  })

  test('starts no timer', () => {
    const { decide, clock } = bench(go, refuse)
    void decide()
    expect(clock.pending).toBe(0)
  })

  test('runs from the outside in and back out', () => {
    const order: string[] = []
    const trace = (name: string): Hook => (_ctx, next) => {
      order.push(`${name} in`)
      void next()
      order.push(`${name} out`)
    }
    void bench(trace('a'), trace('b')).decide()
    expect(order).toEqual(['a in', 'b in', 'b out', 'a out'])
  })

  test('that has no hook agrees', () => {
    expect(bench().decide()).toBeUndefined()
  })
})

describe('a chain with an asynchronous hook', () => {
  test('agrees through a promise', async () => {
    const { decide, ctx } = bench(go, goLater, go)
    const verdict = decide()
    expect(verdict).toBeInstanceOf(Promise)
    expect(await verdict).toBeUndefined()
    expect(ctx.effects).toBe(1)
  })

  test('refuses through a promise that does not reject', async () => {
    const { decide } = bench(go, refuseLater)
    expect(await decide()).toMatchObject({ error: { code: 'FORBIDDEN' }, policy: 'p1' })
  })

  test('leaves no deadline behind when it has decided', async () => {
    const { decide, clock, faults } = bench(goLater)
    expect(await decide()).toBeUndefined()
    clock.advance(DEADLINE_MS * 2)
    expect(faults).toEqual([])
  })

  test('takes any thenable for a promise', async () => {
    const thenable: Hook = (_ctx, next) => ({
      then(resolve: () => void) {
        void next()
        resolve()
      },
    })
    const { decide, ctx } = bench(thenable)
    expect(await decide()).toBeUndefined()
    expect(ctx.effects).toBe(1)
  })
})

describe('the verdict comes once, after the outermost hook has settled', () => {
  test('a hook sees that everything below has agreed, before the verdict', async () => {
    let release!: () => void
    const slow: Hook = async (_ctx, next) => {
      await next()
      await new Promise<void>((resolve) => (release = resolve))
    }
    const { decide } = bench(slow, go)
    let done = false
    const verdict = Promise.resolve(decide()).then(() => (done = true))
    await settled()
    expect(done).toBe(false)
    release()
    await verdict
    expect(done).toBe(true)
  })

  test('a throw after next() refuses', () => {
    const { decide } = bench((_ctx, next) => {
      void next()
      throw new Denied('FORBIDDEN')
    }, go)
    expect(refusal(decide())).toMatchObject({ error: { code: 'FORBIDDEN' }, policy: 'p0' })
  })

  test('a rejection after an awaited next() refuses', async () => {
    const { decide } = bench(async (_ctx, next) => {
      await next()
      throw new Error('on the way out')
    }, goLater)
    expect(await decide()).toMatchObject({ error: { message: 'on the way out' }, policy: 'p0' })
  })
})

describe('silence', () => {
  test('refuses, as a fault', () => {
    const { error, policy } = refusal(bench(() => {}).decide())
    expect(error).toBeInstanceOf(PolicyFault)
    expect((error as PolicyFault).message).toMatch(/neither called next\(\) nor replied/)
    expect(policy).toBe('p0')
  })

  test('refuses when it is asynchronous, too', async () => {
    const verdict = await bench(async () => {}).decide()
    expect(verdict?.error).toBeInstanceOf(PolicyFault)
  })

  test('followed by a late next() stays refused, reaches nothing below, and is reported', () => {
    let late!: () => unknown
    const { decide, ctx, faults } = bench((_ctx, next) => void (late = next), go)
    expect(refusal(decide()).error).toBeInstanceOf(PolicyFault)
    late()
    expect(ctx.effects).toBe(0)
    expect(faults.map(({ message }) => message)).toEqual(['p0: called next() after the decision was settled'])
  })

  test('is positive where the context was replied to, and the checks below still run', () => {
    const reply: Hook = (ctx) => void (ctx.replied = true)
    expect(bench(reply, go).decide()).toBeUndefined()
    expect(refusal(bench(reply, refuse).decide())).toMatchObject({ error: { code: 'FORBIDDEN' }, policy: 'p1' })
  })
})

describe('a second next()', () => {
  test('makes the decision a fault', () => {
    const { decide } = bench((_ctx, next) => {
      void next()
      void next()
    }, go)
    const { error, policy } = refusal(decide())
    expect((error as PolicyFault).message).toMatch(/called next\(\) twice/)
    expect(policy).toBe('p0')
  })

  test('does not run what stands below again', () => {
    let runs = 0
    const { decide } = bench(
      (_ctx, next) => {
        void next()
        try {
          void next()
        } catch {
          // A hook that hides its mistake.
        }
      },
      (_ctx, next) => {
        runs++
        return next()
      },
    )
    expect(refusal(decide()).error).toBeInstanceOf(PolicyFault)
    expect(runs).toBe(1)
  })

  test('refuses an asynchronous decision at once', async () => {
    const { decide } = bench(async (_ctx, next) => {
      const below = next()
      void next()
      await below
    }, goLater)
    expect((await decide())?.error).toBeInstanceOf(PolicyFault)
  })
})

describe('a decision that has settled is closed', () => {
  test('a late next() after an agreement is reported, and changes nothing', async () => {
    let late!: () => unknown
    const { decide, ctx, faults } = bench((_ctx, next) => {
      late = next
      return next()
    })
    expect(decide()).toBeUndefined()
    // Nothing is rejected: where it stands in a promise that the hook did not return, nobody would catch it.
    expect(late()).toBeUndefined()
    expect(ctx.effects).toBe(1)
    expect(faults).toHaveLength(1)
  })

  test('a fault that follows a refusal is reported, and the first refusal stays', () => {
    const { decide, faults } = bench((_ctx, next) => {
      try {
        void next()
      } catch {
        throw new Error('while cleaning up')
      }
    }, refuse)
    expect(refusal(decide())).toMatchObject({ error: { code: 'FORBIDDEN' }, policy: 'p1' })
    expect(faults.map(({ cause }) => (cause as Error).message)).toEqual(['while cleaning up'])
  })

  test('a refusal that follows a refusal is no news', () => {
    const { decide, faults } = bench((_ctx, next) => {
      try {
        void next()
      } catch {
        throw new Denied('RATE_LIMITED')
      }
    }, refuse)
    expect(refusal(decide()).error).toMatchObject({ code: 'FORBIDDEN' })
    expect(faults).toEqual([])
  })

  test('facts of a late next() are not taken over', () => {
    let late!: (facts?: object) => unknown
    const { decide, ctx } = bench((_ctx, next) => void (late = next))
    void decide()
    late({ principal: 'mallory' })
    expect(ctx.facts).toEqual({})
  })
})

describe('a refusal can be observed, not swallowed', () => {
  test('by a synchronous catch', () => {
    let seen: unknown
    const { decide } = bench((_ctx, next) => {
      try {
        void next()
      } catch (error) {
        seen = error
      }
    }, refuse)
    expect(refusal(decide())).toMatchObject({ error: { code: 'FORBIDDEN' }, policy: 'p1' })
    expect(seen).toBeInstanceOf(Denied)
  })

  test('by an asynchronous one', async () => {
    let seen: unknown
    const { decide } = bench(async (_ctx, next) => {
      try {
        await next()
      } catch (error) {
        seen = error
      }
    }, refuseLater)
    expect(await decide()).toMatchObject({ error: { code: 'FORBIDDEN' } })
    // The refusal stands at once; whoever observes it hears of it a little later.
    await settled()
    expect(seen).toBeInstanceOf(Denied)
  })

  test('by one that catches and calls next() again', () => {
    const { decide, ctx } = bench((_ctx, next) => {
      try {
        void next()
      } catch {
        void next()
      }
    }, refuse)
    expect(refusal(decide())).toMatchObject({ error: { code: 'FORBIDDEN' }, policy: 'p1' })
    expect(ctx.effects).toBe(0)
  })
})

describe('nothing a hook does ends the process', () => {
  const unhandled: unknown[] = []
  const note = (reason: unknown): void => void unhandled.push(reason)
  beforeEach(() => {
    unhandled.length = 0
    process.on('unhandledRejection', note)
  })
  afterEach(() => void process.off('unhandledRejection', note))

  test('an un-awaited next() above an asynchronous refusal is no unhandled rejection', async () => {
    const { decide } = bench((_ctx, next) => {
      void next()
    }, refuseLater)
    expect(await decide()).toMatchObject({ error: { code: 'FORBIDDEN' } })
    await settled()
    expect(unhandled).toEqual([])
  })

  test('nor is one in an asynchronous hook that is long done', async () => {
    const { decide } = bench(
      async (_ctx, next) => {
        void next()
      },
      goLater,
      refuseLater,
    )
    expect(await decide()).toMatchObject({ error: { code: 'FORBIDDEN' }, policy: 'p2' })
    await settled()
    expect(unhandled).toEqual([])
  })

  test('nor is one in a hook that throws for a reason of its own', async () => {
    const { decide } = bench((_ctx, next) => {
      void next()
      throw new Error('its own')
    }, refuseLater)
    expect(await decide()).toMatchObject({ error: { message: 'its own' } })
    await settled()
    expect(unhandled).toEqual([])
  })

  test('a callback-style hook above a synchronous refusal neither crashes nor hangs the decision', async () => {
    const { decide, clock } = bench(
      (_ctx, next) =>
        new Promise<void>((resolve, reject) => {
          // Calls next() from a callback, where nobody can catch, and settles only by what it returned.
          clock.after(10, () => void Promise.resolve(next()).then(resolve, reject))
        }),
      refuse,
    )
    const verdict = decide()
    clock.advance(10)
    expect(await verdict).toMatchObject({ error: { code: 'FORBIDDEN' }, policy: 'p1' })
    await settled()
    expect(unhandled).toEqual([])
  })

  test('a callback-style hook that forgets to settle cannot keep a refusal open', async () => {
    const { decide, clock } = bench((_ctx, next) => {
      clock.after(10, () => void next())
      return never()
    }, refuse)
    const verdict = decide()
    clock.advance(10)
    expect(await verdict).toMatchObject({ error: { code: 'FORBIDDEN' }, policy: 'p1' })
    await settled()
    expect(unhandled).toEqual([])
  })

  test('a next() called late by a timer returns a rejection that is already handled', async () => {
    const { decide, clock, faults } = bench((_ctx, next) => {
      clock.after(10, () => void next())
    }, go)
    expect(refusal(decide()).error).toBeInstanceOf(PolicyFault)
    expect(() => clock.advance(10)).not.toThrow()
    await settled()
    expect(unhandled).toEqual([])
    expect(faults).toHaveLength(1)
  })

  test('a hook that returns what throws when it is looked at refuses', async () => {
    const trap = (): object => Object.defineProperty({}, 'then', { get: () => { throw new Error('a trap') } })
    expect(refusal(bench(trap).decide())).toMatchObject({ error: { message: 'a trap' }, policy: 'p0' })
    expect(refusal(bench((_ctx, next) => (void next(), trap()), go).decide()).error).toMatchObject({ message: 'a trap' })
    expect(await bench(goLater, trap).decide()).toMatchObject({ error: { message: 'a trap' } })
    const replies: Hook = async (ctx) => void (ctx.replied = true)
    expect(await bench(replies, trap).decide()).toMatchObject({ error: { message: 'a trap' } })
  })

  test('a context that cannot be copied for an observed layer refuses', async () => {
    class Uncopied extends Subject {
      override shadow(): this {
        throw new Error('no copy')
      }
    }
    const { layers, ground } = bench(observed(go))
    expect(refusal(compose(layers, ground)(new Uncopied())).error).toMatchObject({ message: 'no copy' })
    const late = bench(observed(goLater), observed(go))
    expect(await compose(late.layers, late.ground)(Object.assign(new Subject(), { shadow: shadowOnce() }))).toMatchObject({ error: { message: 'no copy' } })
  })

  test('a hook that throws what is no error refuses all the same', () => {
    for (const thrown of [undefined, null, 0, 'text', { code: 'FORBIDDEN' }]) {
      const verdict = refusal(
        bench(() => {
          throw thrown
        }).decide(),
      )
      expect(verdict).toEqual({ error: thrown, policy: 'p0' })
    }
  })
})

describe('the deadline', () => {
  test('refuses a hook that never settles', async () => {
    const { decide, clock } = bench(go, never)
    const verdict = decide()
    clock.advance(DEADLINE_MS - 1)
    let done = false
    void Promise.resolve(verdict).then(() => (done = true))
    await settled()
    expect(done).toBe(false)
    clock.advance(1)
    const refused = await verdict
    expect(refused?.policy).toBe('p1')
    expect(refused?.error).toBeInstanceOf(PolicyFault)
    expect((refused?.error as PolicyFault).code).toBe('DEADLINE_EXCEEDED')
  })

  test('makes a next() that comes after it a reported no-op', async () => {
    let late!: () => unknown
    const { decide, clock, ctx, faults } = bench((_ctx, next) => {
      late = next
      return never()
    }, go)
    const verdict = decide()
    clock.advance(DEADLINE_MS)
    await verdict
    late()
    await settled()
    expect(ctx.effects).toBe(0)
    expect(faults.map(({ message }) => message)).toEqual(['p0: called next() after the decision was settled'])
  })

  test('stands over the whole decision, and not over each hook', async () => {
    const slow = (ms: number): Hook => async (_ctx, next) => {
      await new Promise<void>((resolve) => clock.after(ms, resolve))
      await next()
    }
    const { decide, clock } = bench(slow(3_000), slow(3_000))
    const verdict = decide()
    clock.advance(3_000)
    await settled()
    clock.advance(2_000)
    expect(await verdict).toMatchObject({ error: { code: 'DEADLINE_EXCEEDED' }, policy: 'p1' })
  })
})

describe('facts', () => {
  test('enter by next(facts)', () => {
    const { decide, ctx } = bench((_ctx, next) => next({ principal: 'ada' }), (_ctx, next) => next({ ability: 'all' }))
    expect(decide()).toBeUndefined()
    expect(ctx.facts).toEqual({ principal: 'ada', ability: 'all' })
  })

  test('are there for what stands below', () => {
    let seen: unknown
    void bench(
      (_ctx, next) => next({ principal: 'ada' }),
      (ctx, next) => {
        seen = ctx.facts
        return next()
      },
    ).decide()
    expect(seen).toEqual({ principal: 'ada' })
  })

  test('that the context does not take are a fault of the policy that gave them', () => {
    const { error, policy } = refusal(bench(go, (_ctx, next) => next({ refused: true })).decide())
    expect(error).toBeInstanceOf(PolicyFault)
    expect(policy).toBe('p1')
  })
})

describe('an observed layer', () => {
  test('is asked, reported and overruled', () => {
    const { decide, unenforced, ctx } = bench(observed(refuse), go)
    expect(decide()).toBeUndefined()
    expect(unenforced).toMatchObject([{ error: { code: 'FORBIDDEN' }, policy: 'watched' }])
    expect(ctx.effects).toBe(1)
  })

  test('changes nothing: what it writes stays in a copy', () => {
    const { decide, ctx } = bench(
      observed((copy, next) => {
        copy.value = 'rewritten'
        return next()
      }),
    )
    void decide()
    expect(ctx.value).toBe('given')
    expect(ctx.shadows).toBe(1)
  })

  test('that breaks is reported, and the decision goes on', () => {
    const { decide, unenforced } = bench(
      observed(() => {
        throw new Error('broken')
      }),
      observed(() => {}, 'silent'),
    )
    expect(decide()).toBeUndefined()
    expect(unenforced.map(({ policy }) => policy)).toEqual(['watched', 'silent'])
  })

  test('does not weaken the layers around it', () => {
    expect(refusal(bench(observed(refuse), refuse).decide()).policy).toBe('p1')
    expect(refusal(bench(refuse, observed(go)).decide()).policy).toBe('p0')
  })

  test('may be asynchronous', async () => {
    const { decide, unenforced, ctx } = bench(observed(refuseLater), go)
    expect(await decide()).toBeUndefined()
    expect(unenforced).toHaveLength(1)
    expect(ctx.effects).toBe(1)
  })

  test('that hangs is reported at its deadline, and the decision goes on', async () => {
    const { decide, clock, unenforced } = bench(observed(never), go)
    const verdict = decide()
    clock.advance(DEADLINE_MS)
    await settled()
    clock.advance(DEADLINE_MS)
    expect(await verdict).toBeUndefined()
    expect(unenforced).toMatchObject([{ error: { code: 'DEADLINE_EXCEEDED' } }])
  })
})

describe('a chain inside a hook', () => {
  const within = (layers: Layer<Subject>[], ground: Ground<Subject>): Hook => (ctx, next) => nest(layers, ctx, next, ground)

  test('goes on below the hook it stands in, once', () => {
    const inner = bench(go, go)
    const outer = bench(within(inner.layers, inner.ground), go)
    expect(outer.decide()).toBeUndefined()
    expect(outer.ctx.effects).toBe(1)
  })

  test('refuses the whole, with a reason nobody can mistake', () => {
    const inner = bench(go, refuse)
    const outer = bench(within(inner.layers, inner.ground), go)
    expect(refusal(outer.decide()).error).toMatchObject({ code: 'FORBIDDEN' })
    expect(outer.ctx.effects).toBe(0)
  })
})

test('a thenable is whatever has a then', () => {
  expect([Promise.resolve(), { then() {} }, Object.assign(() => {}, { then() {} })].map(isThenable)).toEqual([true, true, true])
  expect([undefined, null, 1, 'then', {}, { then: 1 }].map(isThenable)).toEqual([false, false, false, false, false, false])
})

describe('what next() returns', () => {
  test('may be dropped, and so may what is derived from it, above an asynchronous refusal', async () => {
    const unhandled: unknown[] = []
    const listener = (reason: unknown): void => void unhandled.push(reason)
    process.on('unhandledRejection', listener)
    const careless: Hook = (_ctx, next) => {
      const below = next() as Promise<void>
      void below.finally(() => {})
      void below.then(() => 'unused')
      return below
    }
    expect(await bench(careless, refuseLater).decide()).toMatchObject({ error: { code: 'FORBIDDEN' } })
    await new Promise((resolve) => setImmediate(resolve))
    process.off('unhandledRejection', listener)
    expect(unhandled).toEqual([])
  })
})
