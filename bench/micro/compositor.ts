/** Six empty policies: what it costs to go through a chain in which nobody has anything to say. */
import koaCompose from 'koa-compose'
import type { Composable } from '../../lib/compose.ts'
import { internal } from './internals.ts'
import type { Group } from './timing.ts'

const depth = 6
const six = <T>(item: T): T[] => Array.from({ length: depth }, () => item)

type CallbackHook = (context: object, next: (error?: Error) => void) => void

/** How Socket.IO 4.8 runs `socket.use`: callbacks, no checks. */
function callbackChain(hooks: readonly CallbackHook[]): (context: object, done: (error?: Error) => void) => void {
  return (context, done) => {
    const fns = hooks.slice(0)
    const step = (index: number): void => {
      (fns[index] as CallbackHook)(context, (error) => {
        if (error) done(error)
        else if (fns[index + 1]) step(index + 1)
        else done()
      })
    }
    step(0)
  }
}

class Bare implements Composable {
  readonly replied = false
  accept(): void {}
  reached(): void {}
  shadow(): this {
    return this
  }
}

export async function compositorGroup(): Promise<Group> {
  const { compose } = await internal<typeof import('../../lib/compose.ts')>('./compose.js')
  const { Deadlines, systemClock } = await internal<typeof import('../../lib/clock.ts')>('./clock.js')

  const context = new Bare()
  const ground = { deadlines: new Deadlines(systemClock, 5_000), fault: () => undefined, unenforced: () => undefined }
  const layer = (hook: (ctx: object, next: () => unknown) => unknown): { policy: string; hook: typeof hook; observed: boolean } => ({ policy: 'empty', hook, observed: false })
  const returning = compose(six(layer((_ctx, next) => next())), ground)
  const calling = compose(six(layer((_ctx, next) => {
    next()
  })), ground)
  const asynchronous = compose(six(layer(async (_ctx, next) => {
    await next()
  })), ground)
  const koaAsync = koaCompose(six(async (_ctx: object, next: () => Promise<unknown>) => {
    await next()
  }))
  const koaSync = koaCompose(six((_ctx: object, next: () => Promise<unknown>) => next()))
  const callbacks = callbackChain(six<CallbackHook>((_ctx, next) => next()))
  const done = (error?: Error): void => {
    if (error) throw error
  }

  for (const chain of [returning, calling, asynchronous]) {
    if ((await chain(context)) !== undefined) throw new Error('an empty policy refused')
  }

  return {
    name: `Dispatch of ${depth} empty policies`,
    cases: [
      { name: 'koa-compose, async functions', run: () => koaAsync(context) },
      { name: 'koa-compose, plain functions', run: () => koaSync(context) },
      { name: 'callbacks, as socket.use runs them (no checks)', run: () => callbacks(context, done) },
      { name: 'portcullis, synchronous', run: () => returning(context), budgetNs: 120 },
      { name: 'portcullis, synchronous, next() not returned', run: () => calling(context), budgetNs: 120 },
      { name: 'portcullis, asynchronous', run: () => asynchronous(context) },
    ],
  }
}
