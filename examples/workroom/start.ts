import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { DecisionFeed } from './feed.ts'
import { guardWorkroom } from './gate.ts'
import { createWorkroom } from './server.ts'

export interface StartOptions {
  readonly host: string
  readonly port: number
  /** False runs the application as it was before the gate, to compare. */
  readonly guarded: boolean
  /** Origins the page may come from; by default those of a browser on this machine. */
  readonly origins?: readonly string[]
  /** Where the audit goes: one call per record. */
  readonly log?: (line: string) => void
}

/** Starts the workroom. Rejects when it cannot listen. */
export async function startWorkroom(options: StartOptions): Promise<{ readonly url: string; close(): Promise<void> }> {
  const { host, port, guarded, origins, log = () => {} } = options
  const secret = randomBytes(32)
  const workroom = createWorkroom({ secret })

  if (guarded) {
    const feed = new DecisionFeed()
    workroom.app.get('/feed', feed.handle)
    guardWorkroom(workroom.io, {
      secret,
      documents: workroom.data.documents,
      origins: origins ?? [`http://127.0.0.1:${port}`, `http://localhost:${port}`],
      onDecision: feed.push,
      log,
    })
  }

  workroom.httpServer.listen(port, host)
  await once(workroom.httpServer, 'listening')
  return { url: `http://${host}:${port}`, close: workroom.close }
}
