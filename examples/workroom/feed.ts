import type { Request, Response } from 'express'
import type { Decision } from 'portcullis'

/** One decision of the gate, as the page shows it. */
export interface FeedEntry {
  readonly at: string
  readonly stage: string
  /** The event, room or namespace that was decided on. */
  readonly what: string
  readonly outcome: 'admitted' | 'denied' | 'fault'
  readonly code?: string | undefined
  readonly policy?: string | undefined
  readonly subject?: string | undefined
  readonly id?: string | undefined
}

export function entryOf({ at, stage, event, room, namespace, outcome, code, policy, subject, id }: Decision): FeedEntry {
  return {
    at: new Date(at).toISOString(),
    stage,
    what: event ?? room ?? namespace ?? 'HTTP',
    outcome,
    code,
    policy,
    subject,
    id: outcome === 'admitted' ? undefined : id,
  }
}

const maxKept = 100
const maxText = 80
const maxBehindBytes = 256 * 1_024

/**
 * The last decisions, kept in a ring and streamed as Server-Sent Events, so that the page sees them before it has signed
 * in. It is open to whoever can reach the page: a real product would show it to its operators only.
 */
export class DecisionFeed {
  readonly #kept: string[] = []
  readonly #readers = new Set<Response>()

  readonly push = (entry: FeedEntry): void => {
    // Names come from clients and may be any length.
    const frame = `data: ${JSON.stringify(entry, (_key, value: unknown) => (typeof value === 'string' ? value.slice(0, maxText) : value))}\n\n`
    this.#kept.push(frame)
    if (this.#kept.length > maxKept) this.#kept.shift()
    for (const reader of this.#readers) {
      // A reader that does not keep up is let go instead of being remembered for.
      if (reader.writableLength > maxBehindBytes) reader.destroy()
      else reader.write(frame)
    }
  }

  readonly handle = (_request: Request, response: Response): void => {
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
    response.write(`: the last ${this.#kept.length} decisions, then each new one\n\n${this.#kept.join('')}`)
    this.#readers.add(response)
    response.on('close', () => this.#readers.delete(response))
  }
}
