import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { inspect } from 'node:util'
import { Server } from 'socket.io'
import { guard, type Decision } from 'portcullis'
import { crashes, type Crash, type CrashName } from './crashes.ts'

// Run in a process of its own: `bare` or `guarded`, and the name of one crash or nothing for all of them.

/** What became of one attack. */
export interface Report {
  readonly name: CrashName
  /** What would have ended the process. */
  readonly lastWords?: string
  readonly told?: any
  /** What operators learn: `[outcome, policy, message of the cause]`. */
  readonly decisions: readonly (readonly [string, string | undefined, string | undefined])[]
}

const [kind, only] = process.argv.slice(2)

/** Listening to it keeps the process alive; a process that does not listen ends here. */
function uncaught(): Promise<unknown> {
  return new Promise((resolve) => process.once('uncaughtException', resolve))
}

async function run(name: CrashName, crash: Crash): Promise<Report> {
  const http = createServer((_request, response) => response.end())
  const io = new Server(http, { serveClient: false })
  crash.app(io)
  const decisions: [string, string | undefined, string | undefined][] = []
  if (kind === 'guarded') {
    const gate = guard(io, { undeclared: 'allow' })
    const note = ({ outcome, policy, error }: Decision) => decisions.push([outcome, policy, (error?.cause as Error | undefined)?.message])
    gate.on('denied', note).on('fault', note)
  }
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve))
  const place = { port: (http.address() as AddressInfo).port }
  const attack = async (): Promise<Report> => {
    const told = await crash.attack(place)
    // Whatever was thrown on a later tick has been thrown before this is answered.
    await fetch(`http://127.0.0.1:${place.port}/`)
    return { name, told, decisions }
  }
  if (kind === 'guarded' || only !== undefined) return attack()
  const ended = uncaught().then((error) => ({ name, lastWords: inspect(error), decisions }))
  // A client whose server is gone waits for ever, or fails.
  return Promise.race([ended, attack().catch(() => ended)])
}

for (const [name, crash] of Object.entries(crashes) as [CrashName, Crash][]) {
  if (only === undefined || only === name) console.log(JSON.stringify(await run(name, crash)))
}
process.exit(0)
