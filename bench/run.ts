import { writeFile } from 'node:fs/promises'
import { parseOptions, type Command, type Options } from './options.ts'
import { runServers } from './servers.ts'

const runs: Record<Command, (options: Options) => Promise<unknown>> = {
  servers: runServers,
  micro: async (options) => (await import('./micro/main.ts')).runMicro(options),
  expiry: async (options) => (await import('./expiry.ts')).runExpiry(options),
  sessions: async (options) => (await import('./sessions.ts')).runSessions(options),
  profile: async (options) => (await import('./profile.ts')).runProfile(options),
}

let options: Options
try {
  options = parseOptions(process.argv.slice(2))
} catch (error) {
  console.error((error as Error).message)
  process.exit(2)
}
const results = await runs[options.command](options)
if (options.json !== undefined) {
  await writeFile(options.json, `${JSON.stringify({ node: process.version, command: options.command, results }, undefined, 2)}\n`)
}
