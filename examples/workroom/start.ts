import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { DemoAuthenticators } from './authenticators.ts'
import { serveCompanion } from './companion.ts'
import { DecisionFeed } from './feed.ts'
import { guardWorkroom } from './gate.ts'
import { createWorkroom, type WorkroomSocket } from './server.ts'

export interface StartOptions {
  readonly host: string
  readonly port: number
  /** False runs the application as it was before the gate, to compare. */
  readonly guarded: boolean
  /** Origins the page may come from; by default those of a browser on this machine. */
  readonly origins?: readonly string[]
  /** How long a ticket of the page is good for, until it is refreshed. Default two minutes, so that it can be watched. */
  readonly lifeMs?: number
  /** How long a connection that is over may still be refreshed. Default 20 seconds. */
  readonly graceMs?: number
  /** How long a session keeps its id. Default one minute, so that it can be watched. */
  readonly rotateEveryMs?: number
  /** How long a page of a session may do nothing. Default 15 minutes. */
  readonly idleMs?: number
  /** Where the audit goes: one call per record. */
  readonly log?: (line: string) => void
}

/** Starts the workroom. Rejects when it cannot listen. */
export async function startWorkroom(options: StartOptions): Promise<{ readonly url: string; close(): Promise<void> }> {
  const { host, port, guarded, origins, lifeMs = 120_000, graceMs = 20_000, rotateEveryMs = 60_000, idleMs = 15 * 60_000, log = () => {} } = options
  const secret = randomBytes(32)
  const sessionSecret = randomBytes(32).toString('base64')
  // Under the gate, who somebody is has been proved by the time the application asks.
  const identify = (socket: WorkroomSocket): string => gate!.peerOf(socket).principal.subject
  const workroom = createWorkroom({ secret, sessionSecret, identify: guarded ? identify : undefined })
  const gate = guarded ? putUnderGate() : undefined
  serveCompanion(workroom.app)

  function putUnderGate() {
    const feed = new DecisionFeed()
    const authenticators = new DemoAuthenticators()
    workroom.app.get('/feed', feed.handle)
    authenticators.serve(workroom)
    return guardWorkroom(workroom, {
      secret,
      origins: origins ?? [`http://127.0.0.1:${port}`, `http://localhost:${port}`],
      lifeMs,
      graceMs,
      rotateEveryMs,
      idleMs,
      authenticators,
      onDecision: feed.push,
      log,
    })
  }

  workroom.httpServer.listen(port, host)
  await once(workroom.httpServer, 'listening')
  const close = async () => {
    await workroom.close()
    await gate?.close()
  }
  return { url: `http://${host}:${port}`, close }
}
