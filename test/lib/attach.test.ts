import { describe, expect, test } from '@jest/globals'
import { ConfigError, guard, memoryStore } from 'portcullis'
import type { Policy } from 'portcullis'
import { authenticate } from 'portcullis/policies'
import { harness, testClock } from 'portcullis/testing'
import { Server } from 'socket.io'
import { ATTACH, BESIDE } from '../../lib/attach.ts'
import type { Attachment, Beside, GateControls } from '../../lib/attach.ts'
import { watch } from '../support/server.ts'

const pass = (_ctx: unknown, next: () => any): any => next()

/** A policy with work of its own, and the gates it has been attached to. */
function attached(attachment: Attachment = {}, name = 'working') {
  const to: GateControls[] = []
  const policy = { name, connect: pass, [ATTACH]: (controls: GateControls) => (to.push(controls), attachment) } as unknown as Policy
  return { policy, to }
}

const gateOf = (options: object = {}) => guard(new Server(), { undeclared: 'allow', ...options })

describe('a policy with work of its own', () => {
  test('is attached when it is declared, to the store and the clock of the gate, and once however often that is', () => {
    const { policy, to } = attached()
    const [clock, store] = [testClock(), memoryStore()]
    const gate = gateOf({ clock, store })
    gate.use(policy)
    expect(to.length).toBe(1)
    expect([to[0]!.clock, to[0]!.store]).toEqual([clock, store])
    gate.connect(policy as never)
    gate.of('/chat').use(policy)
    expect(to.length).toBe(1)
  })

  test('is attached where it is declared for a namespace only, or as a hook of one stage', () => {
    for (const declare of [(gate: any, policy: Policy) => gate.of('/chat').use(policy), (gate: any, policy: Policy) => gate.connect(policy), (gate: any, policy: Policy) => gate.of('/chat').connect(policy)]) {
      const { policy, to } = attached()
      declare(gateOf(), policy)
      expect(to.length).toBe(1)
    }
  })

  test('is attached to each gate it is declared on', () => {
    const { policy, to } = attached()
    const gates = [gateOf(), gateOf()]
    for (const gate of gates) gate.use(policy)
    expect(to.length).toBe(2)
    expect(to[0]!.store).not.toBe(to[1]!.store)
  })

  test('is attached in the harness, too', () => {
    const { policy, to } = attached()
    harness([policy])
    expect(to.length).toBe(1)
  })

  test('says what weakens it each time it is asked', () => {
    const warnings: string[] = []
    const gate = gateOf().use(attached({ warnings: () => warnings }).policy)
    expect(gate.coverage().warnings).not.toContain('weak')
    warnings.push('weak')
    expect(gate.coverage().warnings).toContain('weak')
  })

  test('is told of each revocation, and that waits for what it does', async () => {
    const told: unknown[] = []
    let go!: () => void
    const gate = gateOf().use(attached({ revoked: (sought) => (told.push(sought), new Promise<void>((resolve) => (go = resolve))) }).policy)
    let done = false
    const revoking = gate.revoke({ session: 's_1' }, { reason: 'x' }).then((receipt) => ((done = true), receipt))
    await new Promise((resolve) => setImmediate(resolve))
    expect([told, done]).toEqual([[{ kind: 'session', id: 's_1', issuer: undefined }], false])
    go()
    expect(await revoking).toMatchObject({ closed: [] })
  })

  test('that fails when it is told of one says so to whoever revokes, and the revocation stays', async () => {
    for (const revoked of [() => Promise.reject(new Error('down')), (): never => { throw new Error('down') }]) {
      const gate = gateOf().use(attached({ revoked }).policy)
      await expect(gate.revoke({ subject: 'alice' }, { reason: 'x' })).rejects.toThrow('down')
      expect(await gate.reinstate({ subject: 'alice' })).toBe(true)
    }
  })

  test('is told when the gate is closed', async () => {
    let closed = 0
    const gate = gateOf().use(attached({ close: () => void closed++ }).policy)
    expect(closed).toBe(0)
    await gate.close()
    expect(closed).toBe(1)
  })

  test('can be attached to nothing', async () => {
    const gate = gateOf().use(attached().policy)
    expect(() => gate.coverage()).not.toThrow()
    await gate.revoke({ subject: 'alice' }, { reason: 'x' })
    await gate.close()
  })

  test('may revoke, and report what went wrong', async () => {
    const { policy, to } = attached()
    const clock = testClock()
    const gate = gateOf({ clock }).use(policy)
    const { fault } = watch(gate)
    const error = new Error('a mistake')
    to[0]!.fault(error)
    expect(fault).toMatchObject([{ policy: 'gate', error: { cause: error } }])
    await to[0]!.revoke({ subject: 'alice' }, { reason: 'x' })
    expect(await gate.reinstate({ subject: 'alice' })).toBe(true)
  })

  test('has the one timer of the gate', () => {
    const { policy, to } = attached()
    const clock = testClock()
    gateOf({ clock }).use(policy)
    expect(to[0]!.agenda.size).toBe(0)
  })
})

describe('a policy that asks for another one beside it', () => {
  const own = {}
  const beside = (...those: Beside[]): Policy => ({ name: 'one', connect: pass, [BESIDE]: those }) as unknown as Policy
  const asking = beside({ needs: own, instead: 'Declare the other one behind it.' })
  const other = beside({ is: own })

  test('says what to write where that is missing', () => {
    const gate = gateOf().use(asking)
    expect(() => gate.coverage()).toThrow(ConfigError)
    expect(() => gate.coverage()).toThrow('namespace /: Declare the other one behind it.')
  })

  test('has nothing to say where it is there, in whatever order, once or twice', () => {
    for (const policies of [
      [asking, other],
      [other, asking],
      [other, asking, asking, other],
      [beside({ is: own }, { needs: own, instead: 'x' })],
    ]) {
      const gate = gateOf()
      for (const policy of policies) gate.use(policy)
      expect(() => gate.coverage()).not.toThrow()
    }
  })

  test('asks for that very one, and not for one like it', () => {
    const gate = gateOf().use(asking).use(beside({ is: {} })).use(beside({}))
    expect(() => gate.coverage()).toThrow(ConfigError)
  })

  test('finds it in the same namespace, or for all of them, and nowhere else', () => {
    const io = new Server()
    io.of('/chat')
    io.of('/news')
    const there = guard(io, { undeclared: 'allow' }).use(other)
    there.of('/chat').use(asking)
    expect(() => there.coverage()).not.toThrow()

    const another = new Server()
    another.of('/chat')
    another.of('/news')
    const gate = guard(another, { undeclared: 'allow' })
    gate.of('/chat').use(asking)
    gate.of('/news').use(other)
    expect(() => gate.coverage()).toThrow('namespace /chat: Declare')
  })

  test('may be a scheme of authenticate', () => {
    const scheme = { name: 'mine', read: () => undefined, verify: () => undefined as never, [BESIDE]: [{ needs: own, instead: 'Declare the other one.' }] }
    expect(() => gateOf().use(authenticate(scheme)).coverage()).toThrow('Declare the other one.')
    expect(() => gateOf().use(authenticate(scheme)).use(other).coverage()).not.toThrow()
  })
})
