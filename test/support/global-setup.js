import { findChromium, missingChromium } from './executables.js'
import { startRedis } from './redis-server.js'

/** The handle that the teardown needs; both run in Jest's parent process. @type {{ redis?: import('./redis-server.js').RedisServer }} */
export const started = {}

export default async function globalSetup() {
  if (!findChromium()) console.warn(`\n${missingChromium}`)
  if (process.env.REDIS_URL) return
  started.redis = await startRedis()
  process.env.REDIS_URL = started.redis.url
}
