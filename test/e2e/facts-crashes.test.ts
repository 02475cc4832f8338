import { beforeAll, describe, expect, test } from '@jest/globals'
import { runChild } from '../support/server.ts'
import type { Report } from './crash-child.ts'
import { crashes, type CrashName } from './crashes.ts'

// Facts of section 2, and what else a client can end a process with. Attacks are made in processes of their own.

const child = 'test/e2e/crash-child.ts'
const refusal = (code: string) => ({ code, message: expect.any(String), id: expect.any(String) })
const internal = refusal('INTERNAL')
const inAck = { error: internal }
const byEvent = (event: string) => ['gate:denied', { event, ...internal }]
const atConnect = { message: 'INTERNAL', data: internal }
const badRequest = expect.objectContaining({ status: 400, body: '{"code":3,"message":"Bad request"}' })
const forbidden = expect.objectContaining({ status: 403, body: '{"code":4,"message":"Forbidden"}' })
const closing = [['gate:closing', { ...internal, reconnect: 'now' }]]
const fault = (policy: string, cause: unknown) => ['fault', policy, cause]

/** What the client is told under the gate, and what operators learn. */
const contained: Record<CrashName, { told: unknown; decisions?: unknown[] }> = {
  'a handler throws': { told: inAck, decisions: [fault('handler', 'broken handler')] },
  'an asynchronous handler rejects': { told: inAck, decisions: [fault('handler', 'broken handler')] },
  'a client leaves out the ack its handler calls': { told: byEvent('x'), decisions: [fault('handler', 'ack is not a function')] },
  'a client sends something else in place of the ack': { told: byEvent('x'), decisions: [fault('handler', 'ack is not a function')] },
  'a handler answers with what cannot be encoded': { told: inAck, decisions: [fault('handler', 'Do not know how to serialize a BigInt')] },
  'a handler relays an array 20,000 levels deep': { told: { error: { ...refusal('PAYLOAD_TOO_LARGE'), details: { limit: 'maxDepth' } } }, decisions: [['denied', 'limits', null]] },
  'a middleware of a namespace throws': { told: atConnect, decisions: [fault('io.use', 'broken middleware')] },
  'an asynchronous middleware of a namespace rejects': { told: atConnect, decisions: [fault('io.use', 'broken middleware')] },
  'a middleware of a namespace throws after another went on later': { told: atConnect, decisions: [fault('io.use', 'broken middleware')] },
  'a middleware of a namespace refuses with data that cannot be encoded': { told: atConnect, decisions: [fault('wire', expect.stringContaining('circular'))] },
  'a connection listener throws': { told: closing, decisions: [fault('connection listener', 'broken listener')] },
  'an asynchronous connection listener rejects': { told: closing, decisions: [fault('connection listener', 'broken listener')] },
  'a disconnect listener throws': { told: 'alive', decisions: [fault('handler', 'broken listener')] },
  'an asynchronous disconnect listener rejects': { told: 'alive', decisions: [fault('handler', 'broken listener')] },
  'the function of dynamic namespaces rejects': { told: { message: 'Invalid namespace' }, decisions: [fault('namespace function', 'broken function'), ['denied', 'gate', null]] },
  'a middleware of a socket throws': { told: inAck, decisions: [fault('handler', 'broken middleware')] },
  'an asynchronous middleware of a socket rejects': { told: inAck, decisions: [fault('handler', 'broken middleware')] },
  'a middleware of a socket says no and all listeners of the socket were removed': { told: { error: refusal('FORBIDDEN') } },
  'a client sends an event named error and all listeners of the socket were removed': { told: byEvent('error'), decisions: [fault('handler', expect.stringContaining('Unhandled error'))] },
  'a catch-all listener throws': { told: inAck, decisions: [fault('handler', 'broken listener')] },
  'an asynchronous catch-all listener rejects': { told: inAck, decisions: [fault('handler', 'broken listener')] },
  'the callback for the answer of a client throws': { told: 'alive', decisions: [fault('handler', expect.stringContaining("'answer'"))] },
  'the asynchronous callback for the answer of a client rejects': { told: 'alive', decisions: [fault('handler', expect.stringContaining("'answer'"))] },
  'the callback for the answers to a broadcast rejects': { told: 'alive', decisions: [fault('broadcast ack', expect.stringContaining("'text'"))] },
  'an engine middleware throws': { told: badRequest, decisions: [fault('engine.use', 'broken middleware')] },
  'an asynchronous engine middleware rejects': { told: badRequest, decisions: [fault('engine.use', 'broken middleware')] },
  'an engine middleware throws after another went on later': { told: badRequest, decisions: [fault('engine.use', 'broken middleware')] },
  'an engine middleware refuses after it has begun to answer': { told: 'socket hang up', decisions: [] },
  'allowRequest throws': { told: forbidden, decisions: [fault('allowRequest', 'broken allowRequest')] },
  'an asynchronous allowRequest rejects': { told: forbidden, decisions: [fault('allowRequest', 'broken allowRequest')] },
  'a client resets an upgrade that an engine middleware is deciding': { told: 200, decisions: [] },
  'a client resets an upgrade that allowRequest is deciding': { told: 200, decisions: [] },
}

const bare = new Map<string, Report>()
const guarded = new Map<string, Report>()

beforeAll(async () => {
  const attack = async (kind: string, reports: Map<string, Report>): Promise<void> => {
    const { output } = await runChild(child, [kind])
    for (const line of output.trim().split('\n')) {
      const report = JSON.parse(line) as Report
      reports.set(report.name, report)
    }
  }
  await Promise.all([attack('bare', bare), attack('guarded', guarded)])
})

describe.each(Object.entries(crashes))('when %s', (name, { lastWords }) => {
  test('the process of a bare server ends', () => {
    expect(bare.get(name)?.lastWords).toContain(lastWords)
  })

  test('the gate contains it: the client gets a fixed answer, operators the cause', () => {
    const { told, decisions } = contained[name as CrashName]
    const report = guarded.get(name)
    expect(report?.told).toEqual(told)
    if (decisions !== undefined) expect(report?.decisions).toEqual(decisions)
  })
})

test('a bare server exits with status 1 when a client leaves out an ack', async () => {
  const { code, errors } = await runChild(child, ['bare', 'a client leaves out the ack its handler calls'])
  expect(code).toBe(1)
  expect(errors).toContain('TypeError: ack is not a function')
})
