import { describe, expect, test } from '@jest/globals'
import { contract } from '../../lib/contract.ts'
import { Core } from '../../lib/core.ts'
import { namespaceCoverage, warningsOf } from '../../lib/coverage.ts'
import type { NamespaceCoverage } from '../../lib/coverage.ts'
import type { Gate } from '../../lib/gate.ts'
import { DeclaringGate } from '../../lib/guard.ts'
import { resolveOptions } from '../../lib/options.ts'
import type { GuardOptions } from '../../lib/options.ts'
import { testClock } from '../../lib/testing.ts'

const pass = (_ctx: unknown, next: () => any): any => next()
const policy = (name: string, ...stages: string[]) => ({ name, ...Object.fromEntries(stages.map((stage) => [stage, pass])) }) as never

function covered(declare: (gate: Gate) => unknown, namespace = '/', options: GuardOptions = {}): NamespaceCoverage {
  const gate = new DeclaringGate(new Core(resolveOptions({ clock: testClock(), ...options }, undefined)))
  declare(gate as unknown as Gate)
  return namespaceCoverage(gate.declared.plan(namespace))
}

test('shows what stands where, in the order in which it runs', () => {
  const shown = covered(
    (gate) => {
      gate.use(policy('audit', 'connect', 'event', 'join', 'deliver')).use(policy('authenticate', 'connect'))
      gate.event('ping', policy('rate-limit', 'event'))
      const chat = gate.of('/chat', contract({ events: { say: {}, forgotten: {} } }))
      chat.use(policy('tenant', 'event')).connect(policy('enter', 'connect'))
      chat.event('say', policy('sanitize', 'event'), policy('authorize', 'event')).join('room:{id}', policy('authorize', 'join'))
      chat.deliver('message', policy('authorize', 'deliver')).reply('say', policy('mask', 'deliver'))
    },
    '/chat',
  )
  expect(shown).toEqual({
    namespace: '/chat',
    entered: true,
    mode: 'enforce',
    connect: ['audit', 'authenticate', 'enter'],
    events: [
      { name: 'ping', policies: ['audit', 'tenant', 'rate-limit'] },
      { name: 'say', policies: ['audit', 'tenant', 'sanitize', 'authorize'] },
    ],
    rooms: [{ name: 'room:{id}', policies: ['audit', 'authorize'] }],
    deliveries: [{ name: 'message', policies: ['audit', 'authorize'] }],
    replies: [{ name: 'say', policies: ['mask'] }],
    undeclared: { events: 'deny', rooms: 'deny', deliveries: 'allow' },
    unusedContract: ['forgotten'],
    unaskedRequests: [],
    asynchronousJoins: false,
  })
})

test('is plain JSON', () => {
  const shown = covered((gate) => gate.event('x', pass))
  expect(JSON.parse(JSON.stringify(shown))).toEqual(shown)
})

describe('warnings say in plain words what is not covered', () => {
  const warnings = (declare: (gate: Gate) => unknown, options?: GuardOptions): string[] => warningsOf(covered(declare, '/', options))

  test('nothing where everything is', () => {
    expect(warnings((gate) => gate.connect(pass).event('x', pass))).toEqual([])
  })

  test('a namespace nobody can enter', () => {
    expect(warnings(() => {})).toEqual(['/: no declaration covers it, so no client can enter. Declare it with gate.of("/").'])
  })

  test('a namespace anybody can enter, with an event that is not asked about', () => {
    expect(warnings((gate) => gate.event('x'))).toEqual(['/: no policy is asked when a client enters.', '/: no policy is asked about the event "x".'])
  })

  test('what is allowed undeclared', () => {
    expect(warnings((gate) => gate.connect(pass), { undeclared: 'allow' })).toEqual(['/: undeclared events are allowed.', '/: undeclared rooms are allowed.'])
  })

  test('observe mode', () => {
    expect(warnings((gate) => gate.connect(pass), { mode: 'observe' })).toEqual(['/: in observe mode, so nothing but expired credentials is refused.'])
  })

  test('a join that a handler may forget to await', () => {
    expect(warnings((gate) => gate.connect(pass).join('r', async (_ctx, next) => next()))).toEqual(['/: a join is asynchronous, so a handler that does not await socket.join goes on before it is refused.'])
  })

  test('a contract entry that nothing declares', () => {
    expect(warnings((gate) => gate.of('/', contract({ events: { say: {} } })).connect(pass))).toEqual(['/: the contract has "say", which no event(...) declares, so it is refused.'])
  })
})
