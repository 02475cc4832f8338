/** The client process of one server: apart from it, so that no server pays for its clients. */
import { member, secret, signToken, texts } from '../job.ts'
import { serve } from '../ipc.ts'
import { enter, textFrame } from './connection.ts'
import { connectFrame, Group, inParallel } from './group.ts'

const groups = new Map<number, Group>()
let opened = 0

function groupOf(id: number): Group {
  const group = groups.get(id)
  if (!group) throw new Error(`no group ${id}`)
  return group
}

/** What one server does with good and bad input: checked before it is measured, or the measure means nothing. */
export interface Findings {
  accepts: boolean
  strips: boolean
  refusesForeignRoom: boolean
  refusesMalformed: boolean
  refusesForged: boolean
}

async function probe(port: number): Promise<Findings> {
  const who = member(1, 10)
  const forged = signToken(who, `${secret}?`)
  const refusesForged = await enter(port, connectFrame(forged)).then(
    (connection) => {
      connection.close()
      return false
    },
    () => true,
  )
  const connection = await enter(port, connectFrame(signToken(who)))
  const ask = (data: unknown): Promise<{ ok?: boolean; length?: number; error?: unknown }> =>
    new Promise((resolve, reject) => {
      connection.onEnd = (reason) => reject(new Error(`disconnected while being checked: ${reason}`))
      connection.onPacket = (chunk, start, end) => {
        const text = chunk.toString('utf8', start, end)
        if (text.startsWith('431')) resolve((JSON.parse(text.slice(3)) as [object])[0])
      }
      connection.send(textFrame(`421${JSON.stringify(['message:send', data])}`))
    })
  const room = who.rooms[0]
  const plain = await ask({ room, text: texts[0] })
  const markup = await ask({ room, text: texts[4] })
  const foreign = await ask({ room: 'team-2:general', text: texts[0] })
  const malformed = await ask({ room, text: ['an', 'array'] })
  connection.close()
  return {
    accepts: plain.ok === true && plain.length === texts[0]?.length,
    strips: (markup.length ?? 0) < (texts[4] as string).length,
    refusesForeignRoom: foreign.error !== undefined,
    refusesMalformed: malformed.error !== undefined,
    refusesForged,
  }
}

const operations = {
  async open({ port, count, teams }: { port: number; count: number; teams: number }): Promise<number> {
    opened += 1
    groups.set(opened, await Group.open(port, count, teams))
    return opened
  },
  close(group: number): void {
    groupOf(group).close()
    groups.delete(group)
  },
  probe: (port: number) => probe(port),
  saturate: ({ group, window, ms }: { group: number; window: number; ms: number }) => groupOf(group).saturate(window, ms),
  pace: ({ group, perSecond, ms }: { group: number; perSecond: number; ms: number }) => groupOf(group).pace(perSecond, ms),
  awaitBroadcasts: ({ group, total }: { group: number; total: number }) => groupOf(group).awaitBroadcasts(total),
  received: (group: number) => groupOf(group).received(),
  nextEvents: (group: number) => groupOf(group).nextEvents(),

  /** CONNECT frames are signed beforehand: what the client computes is not to compete with the server for the machine. */
  prepareHandshakes({ count, tokens }: { count: number; tokens: 'fresh' | 'repeated' }): void {
    const repeated = tokens === 'repeated' ? connectFrame(signToken(member(0, 10))) : undefined
    prepared = Array.from({ length: count }, (_, index) => repeated ?? connectFrame(signToken(member(index, 10))))
  },
  async handshakes(port: number): Promise<number> {
    await inParallel(prepared.length, 8, async (index) => {
      const connection = await enter(port, prepared[index] as Buffer)
      connection.close()
    })
    return prepared.length
  },
}

let prepared: Buffer[] = []

export type LoadOperations = typeof operations
serve(operations)
