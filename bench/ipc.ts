/** Calls between the measuring process and its children, over the channel that `fork` opens. */
import { fork } from 'node:child_process'

// `any` in the parameter only: a table of functions with different arguments has no other common type.
export type Operations = Record<string, (argument: any) => unknown>

type Argument<F> = F extends (argument: infer A) => unknown ? A : never
type Result<F> = F extends (argument: never) => infer R ? Awaited<R> : never

interface Call { id: number; operation: string; argument: unknown }
interface Answer { id: number; result?: unknown; error?: string }

const ready = 0

/** In a child: answer the parent's calls, and end with it. */
export function serve(operations: Operations): void {
  const answer = (message: Answer): void => {
    process.send?.(message)
  }
  process.on('message', (call: Call) => {
    const operation = operations[call.operation]
    void Promise.resolve()
      .then(() => {
        if (!operation) throw new Error(`no operation ${call.operation}`)
        return operation(call.argument)
      })
      .then(
        (result) => answer({ id: call.id, result }),
        (error: unknown) => answer({ id: call.id, error: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
      )
  })
  process.once('disconnect', () => process.exit(0))
  answer({ id: ready })
}

export interface Child<T extends Operations> {
  call<N extends keyof T & string>(operation: N, argument: Argument<T[N]>): Promise<Result<T[N]>>
  stop(): Promise<void>
}

/** In the parent: start a child and wait until it serves. */
export async function start<T extends Operations>(script: URL, args: readonly string[], execArgv: readonly string[] = []): Promise<Child<T>> {
  const child = fork(script, [...args], { execArgv: [...execArgv], stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  const waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>()
  let calls = ready
  const answerOf = (id: number): Promise<unknown> =>
    new Promise((resolve, reject) => {
      waiting.set(id, { resolve, reject })
    })

  child.on('message', (message: Answer) => {
    const call = waiting.get(message.id)
    waiting.delete(message.id)
    if (message.error === undefined) call?.resolve(message.result)
    else call?.reject(new Error(message.error))
  })
  const exited = new Promise<void>((resolve) => {
    child.once('exit', (code) => {
      for (const call of waiting.values()) call.reject(new Error(`${script.pathname} ${args.join(' ')} ended with ${code}`))
      waiting.clear()
      resolve()
    })
  })
  await answerOf(ready)

  return {
    call(operation, argument) {
      calls += 1
      const answered = answerOf(calls)
      child.send({ id: calls, operation, argument } satisfies Call)
      return answered as Promise<never>
    },
    async stop() {
      if (child.connected) child.disconnect()
      await exited
    },
  }
}
