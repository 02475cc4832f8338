import { Deadlines } from '../../lib/clock.ts'
import type { Clock } from '../../lib/clock.ts'
import { isThenable } from '../../lib/compose.ts'
import type { Store, Stored } from '../../lib/store.ts'

/** The store of the gates, whose answers are waited for so long: clients of Redis keep what they are asked until they are connected again, and HTTP is not to wait for that. */
export function boundedStore(store: Store, clock: Clock, timeoutMs: number): Store {
  const deadlines = new Deadlines(clock, timeoutMs)
  /** One that has kept somebody waiting is not asked for as long again: a request asks it several times, and would wait for each. */
  let silentUntilMs = 0
  const within = <T>(ask: () => Stored<T>): Stored<T> => {
    const now = clock.now()
    if (now < silentUntilMs && now >= silentUntilMs - timeoutMs) return Promise.reject(new Error('the store of the gate has not answered a moment ago'))
    const answer = ask()
    if (!isThenable(answer)) return answer
    return new Promise<T>((resolve, reject) => {
      const deadline = deadlines.add(() => {
        silentUntilMs = clock.now() + timeoutMs
        reject(new Error('the store of the gate has not answered in time'))
      })
      Promise.resolve(answer)
        .finally(() => deadline.cancel())
        .then(resolve, reject)
    })
  }
  return {
    scope: store.scope,
    consume: (...given) => within(() => store.consume(...given)),
    get: (...given) => within(() => store.get(...given)),
    getMany: (...given) => within(() => store.getMany(...given)),
    getOrSet: (...given) => within(() => store.getOrSet(...given)),
    set: (...given) => within(() => store.set(...given)),
    take: (...given) => within(() => store.take(...given)),
    add: (...given) => within(() => store.add(...given)),
    delete: (...given) => within(() => store.delete(...given)),
    enlist: (...given) => within(() => store.enlist(...given)),
    members: (...given) => within(() => store.members(...given)),
    dismiss: (...given) => within(() => store.dismiss(...given)),
    publish: (...given) => within(() => store.publish(...given)),
    subscribe: (...given) => store.subscribe(...given),
    close: () => store.close(),
  }
}
