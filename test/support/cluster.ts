import { randomUUID } from 'node:crypto'
import { setImmediate } from 'node:timers/promises'
import { createAdapter } from '@socket.io/redis-adapter'
import { createClient } from 'redis'
import type { Server, ServerOptions } from 'socket.io'
import { redisUrl } from './redis.ts'
import { closeAfterTest, serve, type Host } from './server.ts'

/** Makes the adapter of one more node; nodes of one test share the key. */
export async function redisAdapter(key: string): Promise<ReturnType<typeof createAdapter>> {
  const publisher = createClient({ url: redisUrl() })
  const subscriber = publisher.duplicate()
  for (const each of [publisher, subscriber]) {
    each.on('error', () => {})
    await each.connect()
    closeAfterTest(() => each.close())
  }
  return createAdapter(publisher, subscriber, { key })
}

/**
 * Starts nodes that share a Redis, and waits until each of them hears the others.
 *
 * @param setUp as in `serve`, for each node; `index` counts them from 0
 */
export async function cluster<G>(size: number, setUp: (io: Server, index: number) => G, options: Partial<ServerOptions> = {}): Promise<Host<G>[]> {
  const key = `portcullis-${randomUUID()}`
  const nodes: Host<G>[] = []
  for (let index = 0; index < size; index++) {
    const adapter = await redisAdapter(key)
    nodes.push(await serve((io) => setUp(io, index), { adapter, ...options }))
  }
  // The count is that of the subscriptions Redis has taken in.
  for (const { io } of nodes) while ((await io.of('/').adapter.serverCount()) < size) await setImmediate()
  return nodes
}
