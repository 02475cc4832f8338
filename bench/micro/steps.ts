/** All steps of the job, one after the other, without Socket.IO around them. */
import { createMongoAbility, subject } from '@casl/ability'
import type { Gate } from 'portcullis'
import { member, Message, rulesOf, signToken, texts } from '../job.ts'
import { CountingSink } from '../servers/audit-sink.ts'
import { guardFully } from '../servers/guarded.ts'
import { auditRecord, stripTags, takeToken } from '../servers/hand-written.ts'
import { MemoryServer } from './memory-server.ts'
import type { Group } from './timing.ts'

const who = member(1, 10)
const inputs = texts.map((text) => ({ room: who.rooms[0] as string, text }))
let turn = 0
const input = (): (typeof inputs)[number] => inputs[(turn += 1) % inputs.length] as (typeof inputs)[number]

function byHand(): () => unknown {
  const ability = createMongoAbility(rulesOf(who.rooms))
  const bucket = { tokens: 1_000_000, refilledAt: Date.now() }
  const sink = new CountingSink()
  return () => {
    if (!takeToken(bucket, Date.now())) throw new Error('rate limited')
    const parsed = Message.safeParse(input())
    if (!parsed.success) throw new Error('invalid')
    parsed.data.text = stripTags(parsed.data.text)
    if (!ability.can('create', subject('Message', { ...parsed.data }))) throw new Error('forbidden')
    sink.info(auditRecord(who, 'message:send', '192.0.2.1', 'admitted'))
    return parsed.data
  }
}

/** The compiled chain of the event and the report of its decision: what the event stage does between Socket.IO and the handler. */
async function byTheGate(): Promise<{ run: () => unknown; close: () => Promise<void> }> {
  const sink = new CountingSink()
  let seen: any
  const keep = (decision: any): void => {
    if (decision.stage === 'event') seen = decision.context
  }
  let gate: Gate | undefined
  const server = new MemoryServer((io) => {
    gate = guardFully(io, sink).on('admitted', keep)
  })
  const client = await server.connect(signToken(who))
  client.feed(`21${JSON.stringify(['message:send', input()])}`)
  await new Promise((resolve) => setImmediate(resolve))
  gate?.off('admitted', keep)

  const { constructor: EventContext, scene: core, socket, namespace, event, state } = seen
  const plan = state.plan.event(event)
  const run = (): unknown => {
    const ctx = new EventContext(core, socket, namespace, event, [input()], true, state)
    if (plan.chain(ctx) !== undefined) throw new Error('not admitted at once')
    core.admitted(ctx)
    return ctx.data
  }
  const before = sink.records
  run()
  if (sink.records !== before + 1) throw new Error('no audit record')
  return { run, close: () => server.close() }
}

export async function stepsGroup(): Promise<Group> {
  const gate = await byTheGate()
  return {
    name: 'The whole job in process: limit, contract, sanitize, authorize, audit',
    cases: [
      { name: 'by hand', run: byHand() },
      { name: 'by hand, second copy', run: byHand() },
      { name: 'by the gate', run: gate.run, budgetNs: 1_000 },
    ],
    close: gate.close,
  }
}
