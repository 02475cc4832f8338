import { describe, expect, jest, test } from '@jest/globals'
import { memoryStore } from 'portcullis'
import { testClock } from 'portcullis/testing'
import { controlsOf, controlsWithoutGate } from '../../lib/controls.ts'
import { Core } from '../../lib/core.ts'
import { resolveOptions } from '../../lib/options.ts'
import { keyOf } from '../../lib/revocation.ts'
import { Revocations } from '../../lib/revocations.ts'

describe('controls of a gate', () => {
  test('are its store, its clock and its agenda', () => {
    const [clock, store] = [testClock(), memoryStore()]
    const core = new Core(resolveOptions({ clock, store }, undefined))
    const controls = controlsOf(core, new Revocations(core))
    expect(controls.clock).toBe(clock)
    expect(controls.store).toBe(store)
    expect(controls.agenda).toBe(core.agenda)
  })

  test('report what went wrong to whoever listens, and to nobody else', () => {
    const core = new Core(resolveOptions({ clock: testClock(), store: memoryStore() }, undefined))
    const told: any[] = []
    core.observers.on('fault', (decision) => void told.push(decision))
    const error = new Error('a mistake')
    controlsOf(core, new Revocations(core)).fault(error)
    expect(told).toMatchObject([{ outcome: 'fault', policy: 'gate', error: { cause: error } }])
  })
})

describe('controls of a process without a gate', () => {
  test('revoke for the gates that share its store: it is remembered there, and they are told', async () => {
    const clock = testClock()
    const store = memoryStore({ clock })
    const told: string[] = []
    await store.subscribe('portcullis:control', (message) => void told.push(message))
    const controls = controlsWithoutGate(store, clock)
    expect([controls.store === store, controls.clock === clock]).toEqual([true, true])
    const receipt = await controls.revoke({ session: 's_1' }, { reason: 'x', forMs: 60_000 })
    expect([receipt.closed, told.length]).toEqual([[], 1])
    expect(await store.get(keyOf({ kind: 'session', id: 's_1', issuer: undefined }, undefined)!)).toBeDefined()
    clock.advance(60_000)
    expect(await store.get(keyOf({ kind: 'session', id: 's_1', issuer: undefined }, undefined)!)).toBeUndefined()
  })

  test('fail to where faults go that nobody listens for', () => {
    const said = jest.spyOn(console, 'error').mockImplementation(() => {})
    const warned = jest.spyOn(process, 'emitWarning').mockImplementation(() => {})
    controlsWithoutGate(memoryStore(), testClock()).fault(new Error('a mistake'))
    expect(said.mock.calls.length + warned.mock.calls.length).toBeGreaterThan(0)
    said.mockRestore()
    warned.mockRestore()
  })

})
