export { startRedis, type RedisServer } from './redis-server.js'

/** The Redis that Jest's global set-up found or started. It is shared by all test files: prefix your keys. */
export function redisUrl(): string {
  const url = process.env['REDIS_URL']
  if (!url) throw new Error('REDIS_URL is not set: run the tests through `npm test`, whose set-up starts a Redis.')
  return url
}
