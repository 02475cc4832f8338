/** A number of connected clients of one server, and the ways they load it. */
import { member, signToken, texts } from '../job.ts'
import { enter, textFrame, type Connection } from './connection.ts'

export const connectFrame = (token: string): Buffer => textFrame(`40${JSON.stringify({ token })}`)

/** Runs `task` for 0..count-1, at most `width` at a time. */
export async function inParallel(count: number, width: number, task: (index: number) => Promise<void>): Promise<void> {
  let next = 0
  const worker = async (): Promise<void> => {
    while (next < count) {
      const index = next
      next += 1
      await task(index)
    }
  }
  await Promise.all(Array.from({ length: Math.min(width, count) }, worker))
}

const four = 0x34
const two = 0x32
const three = 0x33
const digit = (byte: number | undefined): number => (byte ?? 0) - 0x30

/** Ids below this are used again and again, so that every frame can be built beforehand. */
const ids = 64

export class Group {
  /** Set while a load runs, so that a failure anywhere ends it. */
  #fail: (error: Error) => void = () => undefined
  #received = 0
  #awaited = Number.POSITIVE_INFINITY
  #onReceived: () => void = () => undefined
  readonly #frames = new Map<string, Buffer[][]>()

  private constructor(readonly members: { connection: Connection; frames: Buffer[][] }[]) {}

  static async open(port: number, count: number, teams: number): Promise<Group> {
    const group = new Group([])
    await inParallel(count, 32, async (index) => {
      const who = member(index, teams)
      const connection = await enter(port, connectFrame(signToken(who)))
      connection.onEnd = (reason) => group.#fail(new Error(`a client was disconnected: ${reason}`))
      group.members.push({ connection, frames: group.#framesOf(who.rooms[0] as string) })
    })
    return group
  }

  close(): void {
    for (const { connection } of this.members) connection.close()
  }

  #framesOf(room: string): Buffer[][] {
    let frames = this.#frames.get(room)
    if (!frames) {
      frames = Array.from({ length: ids }, (_, id) =>
        texts.map((text) => textFrame(`42${id}${JSON.stringify(['message:send', { room, text }])}`)))
      this.#frames.set(room, frames)
    }
    return frames
  }

  /** Keeps `window` events of every client in flight for `ms` milliseconds, and returns how many were acked. */
  saturate(window: number, ms: number): Promise<number> {
    return new Promise((resolve, reject) => {
      let acked = 0
      let open = 0
      let stopping = false
      let sequence = 0
      const settle = (): void => {
        if (stopping && open === 0) this.#finish(() => resolve(acked))
      }
      this.#fail = reject
      const timer = setTimeout(() => {
        stopping = true
        settle()
      }, ms)
      for (const { connection, frames } of this.members) {
        const sendNext = (id: number): void => {
          open += 1
          sequence += 1
          connection.send((frames[id] as Buffer[])[sequence % texts.length] as Buffer)
        }
        connection.onPacket = (chunk, start, end) => {
          const id = this.#ackId(chunk, start, end, (error) => {
            clearTimeout(timer)
            reject(error)
          })
          if (id < 0) return
          acked += 1
          open -= 1
          if (stopping) settle()
          else sendNext(id)
        }
        for (let id = 0; id < window; id += 1) sendNext(id)
      }
    })
  }

  /** Sends `perSecond` events spread over all clients for `ms` milliseconds; resolves when every one is acked. */
  pace(perSecond: number, ms: number): Promise<{ acked: number; tookMs: number }> {
    return new Promise((resolve, reject) => {
      const total = Math.round((perSecond * ms) / 1_000)
      const begun = performance.now()
      let sent = 0
      let acked = 0
      let timer: NodeJS.Timeout | undefined
      const failed = (error: Error): void => {
        clearTimeout(timer)
        reject(error)
      }
      this.#fail = failed
      for (const { connection } of this.members) {
        connection.onPacket = (chunk, start, end) => {
          if (this.#ackId(chunk, start, end, failed) < 0) return
          acked += 1
          if (acked === total) this.#finish(() => resolve({ acked, tookMs: performance.now() - begun }))
        }
      }
      const tick = (): void => {
        const due = Math.min(total, Math.floor(((performance.now() - begun) * perSecond) / 1_000))
        while (sent < due) {
          const { connection, frames } = this.members[sent % this.members.length] as Group['members'][number]
          connection.send((frames[sent % ids] as Buffer[])[sent % texts.length] as Buffer)
          sent += 1
        }
        if (sent < total) timer = setTimeout(tick, 1)
      }
      tick()
    })
  }

  /** Begins to count the events that the server sends; `received()` resolves when all `total` are there. */
  awaitBroadcasts(total: number): void {
    this.#received = 0
    this.#awaited = total
    const onPacket = (chunk: Buffer, start: number): void => {
      if (chunk[start] !== four || chunk[start + 1] !== two) return
      this.#received += 1
      if (this.#received === this.#awaited) this.#onReceived()
    }
    for (const { connection } of this.members) connection.onPacket = onPacket
  }

  received(): Promise<void> {
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => {
        reject(new Error(`${this.#received} of ${this.#awaited} broadcast messages arrived within 30 s`))
      }, 30_000)
      this.#fail = reject
      this.#onReceived = () => {
        clearTimeout(late)
        this.#finish(resolve)
      }
      if (this.#received === this.#awaited) this.#onReceived()
    })
  }

  /** The next event each client receives, as text: for the checks before a measurement. */
  nextEvents(): Promise<string[]> {
    return Promise.all(this.members.map(({ connection }) =>
      new Promise<string>((resolve) => {
        connection.onPacket = (chunk, start, end) => {
          if (chunk[start] === four && chunk[start + 1] === two) resolve(chunk.toString('utf8', start, end))
        }
      })))
  }

  #finish(then: () => void): void {
    this.#fail = () => undefined
    this.#onReceived = () => undefined
    then()
  }

  /** The id of an ack that says the message was taken, or -1 for what is no ack; anything else fails the load. */
  #ackId(chunk: Buffer, start: number, end: number, failed: (error: Error) => void): number {
    if (chunk[start] !== four || chunk[start + 1] !== three) {
      failed(new Error(`unexpected packet under load: ${chunk.toString('utf8', start, end)}`))
      return -1
    }
    let at = start + 2
    let id = 0
    while (chunk[at] !== 0x5b) {
      id = id * 10 + digit(chunk[at])
      at += 1
    }
    // Every accepted message is answered `[{"ok":true,...`; the byte looked at is the `o`.
    if (chunk[at + 3] !== 0x6f) {
      failed(new Error(`refused under load: ${chunk.toString('utf8', start, end)}`))
      return -1
    }
    return id
  }
}
