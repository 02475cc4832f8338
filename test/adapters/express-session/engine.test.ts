import { describe, expect, jest, test } from '@jest/globals'
import { lineageOf } from '../../../adapters/express-session/record.ts'
import { memoryStore } from '../../../adapters/memory.ts'
import { controlsWithoutGate } from '../../../lib/controls.ts'
import { ConfigError } from '../../../lib/errors.ts'
import { keyOf } from '../../../lib/revocation.ts'
import { failure, nodeBeside, rig, settled } from './rig.ts'

const alice = { subject: 'alice', issuer: undefined }
const reasons = ({ closed }: { readonly closed: readonly { readonly details: unknown }[] }): unknown[] => closed.map(({ details }) => (details as { reason: string }).reason)

describe('nodes that share the stores', () => {
  const setUp = async (terms: Parameters<typeof rig>[0] = {}) => {
    const [here, there] = ((one = rig({ recheckMs: Infinity, ...terms })) => [one, nodeBeside(one, { recheckMs: Infinity, ...terms })] as const)()
    const page = await here.begin({ user: 'alice' })
    const id = page.sessionID!
    const lineage = await there.lineage(id)
    const peer = there.bind(lineage)
    return { here, there, page, id, lineage, peer }
  }

  test('hear of an end at once, with its reason and what to do then, and of whom they do not know, too', async () => {
    const { here, id, lineage, peer } = await setUp()
    await here.engine.end(lineage.id, { reason: 'ended by hand', advice: 'never' }, [id])
    await settled()
    expect(peer.closed).toMatchObject([{ details: { reason: 'ended by hand' }, reconnect: 'never' }])
    await here.engine.end('s_nobody', { reason: 'x', advice: 'now' })
  })

  test('hear of a change, and look at once', async () => {
    const { here, page, lineage } = await setUp()
    page.session!['theme'] = 'dark'
    await here.save(page)
    await settled()
    expect(lineage.data).toMatchObject({ theme: 'dark' })
  })

  test('do not look at what they have changed themselves', async () => {
    const { here, page } = await setUp()
    const own = here.bind(await here.lineage(page.sessionID!))
    page.session!['theme'] = 'dark'
    here.store.asked.length = 0
    await here.save(page)
    await settled()
    expect(here.store.count('get')).toBe(1)
    expect(own.closed).toEqual([])
  })

  test('follow a session to another id, and keep the preceding one for what is on its way', async () => {
    const { here, page, id, lineage, peer } = await setUp()
    await here.rotation.rotate(page)
    await settled()
    expect([lineage.currentId, peer.closed]).toEqual([page.sessionID, []])
    expect(lineage.accepts(id, here.clock.now())).toBe(true)
  })

  test('follow one that its application gives another id', async () => {
    const { here, page, lineage, peer } = await setUp()
    await here.regenerate(page)
    page.session!['user'] = 'alice'
    await here.save(page)
    await settled()
    expect([lineage.currentId, peer.closed]).toEqual([page.sessionID, []])
  })

  test('follow that of a visitor, too, also where they have heard nothing', async () => {
    const { here, there } = await setUp()
    const page = await here.begin({ n: 1 })
    const lineage = await there.lineage(page.sessionID!)
    const peer = there.bind(lineage)
    there.part()
    await here.regenerate(page)
    await here.save(page)
    there.engine.attach(controlsWithoutGate(here.shared, here.clock))
    there.clock.advance(5_000)
    await lineage.ready(there.clock.now())
    expect([lineage.currentId, peer.closed]).toEqual([page.sessionID, []])
  })

  test('wait while it has none', async () => {
    const { here, there, page, lineage, peer } = await setUp()
    await here.regenerate(page)
    there.clock.advance(5_000)
    let waits = true
    void lineage.ready(there.clock.now())!.then(() => (waits = false))
    await settled()
    expect([waits, peer.closed]).toEqual([true, []])
    page.session!['user'] = 'alice'
    await here.save(page)
    await settled()
    expect([waits, lineage.currentId]).toEqual([false, page.sessionID])
  })

  test('know together whether an id was used: the preceding one ends it on any of them', async () => {
    const { here, there, page, id, peer } = await setUp()
    await here.rotation.rotate(page)
    await here.load(page.sessionID!)
    expect(await there.load(id)).toBeUndefined()
    expect([reasons(peer), there.store.entries]).toEqual([['the session id was used twice'], {}])
  })

  test('count a socket that is opened with an id as a use of it', async () => {
    const { here, there, page, id, peer } = await setUp()
    await here.rotation.rotate(page)
    expect(await there.engine.open(page.sessionID!)).toBeDefined()
    expect(await here.engine.open(id)).toBeUndefined()
    await settled()
    expect(reasons(peer)).toEqual(['the session id was used twice'])
  })

  test('take the first use for the one that counts: a request that had begun before is no theft', async () => {
    const { here, there, page, id } = await setUp()
    const begunMs = here.clock.now()
    await here.rotation.rotate(page)
    here.clock.advance(100)
    await here.load(page.sessionID!)
    here.clock.advance(100)
    await there.load(page.sessionID!)
    expect(await there.engine.open(id, begunMs)).toMatchObject({ origin: { inGrace: true } })
    expect(await there.engine.open(id, begunMs + 100)).toBeUndefined()
  })

  test('bring back nowhere an id that was replaced on one of them', async () => {
    const { here, there, page, id } = await setUp()
    const slow = (await there.engine.open(id))!
    expect(there.engine.isReplaced(slow.origin)).toBe(false)
    await here.rotation.rotate(page)
    expect(here.engine.isReplaced(slow.origin)).toBe(true)
    await settled()
    expect(there.engine.isReplaced(slow.origin)).toBe(true)
    expect(here.engine.isReplaced((await here.engine.open(page.sessionID!))!.origin)).toBe(false)
  })

  test.each<[string, (own: Awaited<ReturnType<typeof setUp>>) => unknown]>([
    ['by its application', ({ here, page }) => here.regenerate(page)],
    ['by a sign-in', async ({ here, page }) => (Object.assign(page.session!, { user: 'bob' }), here.save(page))],
    [
      'because others may know it',
      async ({ here, page, id }) => {
        here.store.entries[id] = JSON.stringify({ ...here.store.entry(id), __portcullis: { ...here.store.entry(id).__portcullis, replace: 'cut' } })
        await here.rotation.rotate((await here.load(id))!)
        expect(page.sessionID).toBe(id)
      },
    ],
  ])('bring back no id that was replaced %s', async (_how, replace) => {
    const own = await setUp()
    const slow = (await own.here.engine.open(own.id))!
    expect(own.here.engine.isReplaced(slow.origin)).toBe(false)
    await replace(own)
    expect(own.here.engine.isReplaced(slow.origin)).toBe(true)
  })

  test('tell each other nothing that is an id', async () => {
    const { here, page, id, lineage } = await setUp()
    const told: string[] = []
    await here.shared.subscribe('portcullis:sessions', (message) => void told.push(message))
    await here.rotation.rotate(page)
    await here.regenerate(page)
    await here.save(page)
    await here.engine.end(lineage.id, { reason: 'x', advice: 'now' })
    await settled()
    expect(told.length).toBeGreaterThan(1)
    for (const each of [id, page.sessionID!]) expect(told.join()).not.toContain(each)
  })

  test('make nothing of what is no message, but a fault', async () => {
    const { here, there, peer } = await setUp()
    for (const message of ['', '{', 'null', '7']) await here.shared.publish('portcullis:sessions', message)
    for (const message of [{}, { kind: 'ended' }, { kind: 'look', lineage: { toString: 5 } }, { kind: 'ended', lineage: 's_x', reason: 5, advice: 'sometimes' }]) await here.shared.publish('portcullis:sessions', JSON.stringify(message))
    await settled()
    expect(peer.closed).toEqual([])
    expect(there.faults.length).toBeGreaterThan(0)
  })

  test('take advice that is none for the careful one', async () => {
    const { here, lineage, peer } = await setUp()
    await here.shared.publish('portcullis:sessions', JSON.stringify({ from: 'x', kind: 'ended', lineage: lineage.id, reason: 'x', advice: 'sometimes' }))
    await settled()
    expect(peer.closed).toMatchObject([{ reconnect: 'after-credential' }])
  })

  test('hear nothing once they have parted', async () => {
    const { here, there, page, lineage } = await setUp()
    there.part()
    page.session!['theme'] = 'dark'
    await here.save(page)
    await settled()
    expect(lineage.data).not.toHaveProperty('theme')
  })
})

describe('what has ended', () => {
  test('is not opened again where the store could not take it away', async () => {
    const { begin, engine, store, load, clock } = rig()
    const page = await begin({ user: 'alice' })
    store.trouble = 'rejects'
    expect((await failure(engine.end(lineageOf(page.sessionID!), { reason: 'x', advice: 'now' }, [page.sessionID!]))).message).toMatch(/down/)
    store.trouble = undefined
    expect(await load(page.sessionID!)).toBeUndefined()
    await settled()
    expect(store.entries).toEqual({})
    // It is remembered for as long as a request may run that had read it.
    clock.advance(3_600_000 - 1)
    expect(await engine.hasEnded(lineageOf(page.sessionID!))).toBe(true)
    clock.advance(1)
    expect(await engine.hasEnded(lineageOf(page.sessionID!))).toBe(false)
  })

  test('ends once, and each who asks gets its own id taken away', async () => {
    const { begin, engine, store, revocations, lineage, bind } = rig()
    const page = await begin({ user: 'alice' })
    const peer = bind(await lineage(page.sessionID!))
    store.entries['another-id-of-length'] = store.entries[page.sessionID!]!
    await Promise.all([engine.end(lineageOf(page.sessionID!), { reason: 'first', advice: 'now' }), engine.end(lineageOf(page.sessionID!), { reason: 'second', advice: 'now' }, ['another-id-of-length'])])
    expect([reasons(peer), revocations.length, store.entries]).toEqual([['first'], 1, {}])
  })

  test('ends here whatever else fails, and that is reported', async () => {
    const { begin, engine, store, shared, faults, lineage, bind } = rig()
    const page = await begin({ user: 'alice' })
    const peer = bind(await lineage(page.sessionID!))
    const down = (): Promise<never> => Promise.reject(new Error('down'))
    Object.assign(shared, { publish: down, getOrSet: down, get: down, dismiss: down })
    await engine.end(lineageOf(page.sessionID!), { reason: 'x', advice: 'now' })
    expect([reasons(peer), store.entries, faults.length > 1]).toEqual([['x'], {}, true])
  })

  test('by a revocation is gone wherever it is, known here or not, and once', async () => {
    for (const isHere of [true, false]) {
      const { begin, engine, store, lineage, bind } = rig()
      const page = await begin({ user: 'alice' })
      const peer = isHere ? bind(await lineage(page.sessionID!)) : undefined
      const sought = { kind: 'session', id: lineageOf(page.sessionID!), issuer: undefined } as const
      await Promise.all([engine.revoked(sought), engine.revoked(sought)])
      expect(store.entries).toEqual({})
      expect(await engine.directory.list(alice, engine.isAlive)).toEqual([])
      if (peer !== undefined) expect(reasons(peer)).toEqual(['revoked'])
    }
  })

  test('by a revocation of something else is nothing of it', async () => {
    const { begin, engine, store } = rig()
    const page = await begin({ user: 'alice' })
    await engine.revoked({ kind: 'subject', id: lineageOf(page.sessionID!), issuer: undefined })
    await engine.revoked({ kind: 'session', id: 's_nobody', issuer: undefined })
    expect(Object.keys(store.entries)).toEqual([page.sessionID])
  })

  test('is known to have where only the other nodes know', async () => {
    const { engine, shared, faults } = rig()
    expect(await engine.hasEnded('s_x')).toBe(false)
    await shared.set(keyOf({ kind: 'session', id: 's_x', issuer: undefined }, undefined)!, 'x', 60_000)
    expect(await engine.hasEnded('s_x')).toBe(true)
    shared.get = () => Promise.reject(new Error('down'))
    expect([await engine.hasEnded('s_y'), faults.length]).toEqual([false, 1])
  })

  test('is known to have here, whatever the others say', async () => {
    const { engine, shared, clock } = rig()
    await engine.end('s_x', { reason: 'x', advice: 'now' })
    shared.get = () => undefined
    expect(await engine.hasEnded('s_x')).toBe(true)
    clock.advance(3_600_000)
    expect(await engine.hasEnded('s_x')).toBe(false)
  })

  test('with a failure is ended by whoever tries again, and told to others once more', async () => {
    const { begin, engine, revocations } = rig()
    const page = await begin({ user: 'alice' })
    const end = (): Promise<void> => engine.end(lineageOf(page.sessionID!), { reason: 'x', advice: 'now' }, [page.sessionID!])
    const { destroy } = engine.backing
    engine.backing.destroy = () => Promise.reject(new Error('down'))
    const [first, second] = [failure(end()), failure(end())]
    expect([(await first).message, (await second).message]).toEqual(['down', 'down'])
    engine.backing.destroy = destroy
    await end()
    await end()
    expect(revocations.length).toBe(2)
  })

  test('with a failure that is not of one who asked for another id is done for that one', async () => {
    const { engine } = rig()
    engine.backing.destroy = (id) => (id === 'an-id-that-fails' ? Promise.reject(new Error('down')) : Promise.resolve())
    const first = failure(engine.end('s_x', { reason: 'x', advice: 'now' }, ['an-id-that-fails']))
    await engine.end('s_x', { reason: 'x', advice: 'now' }, ['an-id-that-does-not'])
    expect((await first).message).toBe('down')
  })
})

describe('a session that is in use', () => {
  test('is noted now and then, with the client that uses it', async () => {
    const { begin, engine, clock, lineage, bind } = rig({ touchEveryMs: 60_000 })
    const page = await begin({ user: 'alice' })
    const begunMs = clock.now()
    clock.advance(60_000)
    bind(await lineage(page.sessionID!))
    await settled()
    const list = () => engine.directory.list(alice, engine.isAlive)
    expect(await list()).toMatchObject([{ createdAtMs: begunMs, seenAtMs: begunMs + 60_000, address: '192.0.2.1', userAgent: 'Mozilla/5.0' }])
    clock.advance(59_999)
    bind(await lineage(page.sessionID!))
    await settled()
    expect(await list()).toMatchObject([{ seenAtMs: begunMs + 60_000 }])
    clock.advance(1)
    bind(await lineage(page.sessionID!))
    await settled()
    expect(await list()).toMatchObject([{ seenAtMs: begunMs + 120_000 }])
  })

  test('by events is noted, too, and so is one by requests', async () => {
    const { begin, engine, clock, lineage, bind, load, store } = rig({ touchEveryMs: 60_000 })
    const page = await begin({ user: 'alice' })
    const own = await lineage(page.sessionID!)
    const peer = bind(own)
    const begunMs = clock.now()
    const seenAt = async (): Promise<number> => {
      await settled()
      return (await engine.directory.list(alice, engine.isAlive))[0]!.seenAtMs - begunMs
    }
    clock.advance(60_000)
    own.active(peer.bound!, clock.now())
    expect(await seenAt()).toBe(60_000)
    clock.advance(60_000)
    await (store.touch as any)(page.sessionID, (await load(page.sessionID!))!.session)
    expect(await seenAt()).toBe(120_000)
  })

  test('that cannot be noted is a fault, and nothing else', async () => {
    const { begin, clock, lineage, bind, shared, faults } = rig()
    const page = await begin({ user: 'alice' })
    shared.enlist = () => Promise.reject(new Error('down'))
    clock.advance(60_000)
    const peer = bind(await lineage(page.sessionID!))
    await settled()
    expect([faults.length, peer.closed]).toEqual([1, []])
  })
})

describe('an engine', () => {
  test('without a gate knows by itself whether an id was used', async () => {
    const { part, begin, rotation, load, store } = rig()
    part()
    const page = await begin({ user: 'alice' })
    const old = page.sessionID!
    await rotation.rotate(page)
    await load(page.sessionID!)
    expect(await load(old)).toBeUndefined()
    expect(store.entries).toEqual({})
  })

  test('takes no other session for one that is looked for', async () => {
    const { engine, begin } = rig()
    const page = await begin({ user: 'alice' })
    expect((await engine.current(page.sessionID!, lineageOf(page.sessionID!))) as object).toMatchObject({ id: page.sessionID })
    expect(await engine.current(page.sessionID!, 's_another')).toBeUndefined()
    await engine.directory.move('s_another', page.sessionID)
    expect(await engine.current('an-id-that-is-not-there', 's_another')).toBeUndefined()
  })

  test('without a gate goes by the session store alone, and says what fails as a warning of the process', async () => {
    const { part, begin, engine, destroy, store, save } = rig()
    part()
    expect([engine.attached, engine.shared]).toEqual([false, undefined])
    const page = await begin({ user: 'alice' })
    page.session!['n'] = 1
    await save(page)
    await destroy(page.sessionID!)
    expect(store.entries).toEqual({})
    const said = jest.spyOn(process, 'emitWarning').mockImplementation(() => {})
    engine.fault(new Error('a mistake'))
    expect(said.mock.calls.map(([text]) => text)).toEqual(['sessions: Error: a mistake'])
    said.mockRestore()
  })

  test('takes another gate of the same store, and goes on with it when the first is closed', async () => {
    const { engine, shared, clock, part, begin, bind, lineage } = rig()
    const faults: unknown[] = []
    const partToo = engine.attach({ ...controlsWithoutGate(shared, clock), fault: (error) => void faults.push(error) })
    expect(() => engine.attach(controlsWithoutGate(memoryStore(), clock))).toThrow(ConfigError)
    part()
    engine.fault(new Error('a mistake'))
    expect([engine.attached, faults.length]).toEqual([true, 1])
    const page = await begin({ user: 'alice' })
    const peer = bind(await lineage(page.sessionID!))
    await shared.publish('portcullis:sessions', JSON.stringify({ from: 'x', kind: 'ended', lineage: lineageOf(page.sessionID!), reason: 'x', advice: 'now' }))
    await settled()
    expect(reasons(peer)).toEqual(['x'])
    partToo()
    expect(engine.attached).toBe(false)
  })

  test.each([
    ['rejects', () => Promise.reject(new Error('down'))],
    ['throws', () => { throw new Error('down') }],
  ])('that cannot listen, as the store %s, says so and works on', async (_how, subscribe) => {
    const shared = memoryStore()
    shared.subscribe = subscribe
    const { begin, faults } = rig({ shared })
    await settled()
    expect(faults.map(String)).toEqual(['Error: down'])
    await begin({ user: 'alice' })
  })

  test('that has parted before it listens does not listen', async () => {
    let stopped = 0
    let go!: (stop: () => void) => void
    const shared = memoryStore()
    shared.subscribe = () => new Promise((resolve) => (go = resolve))
    const { part } = rig({ shared })
    part()
    go(() => void stopped++)
    await settled()
    expect(stopped).toBe(1)
  })

  test('goes on from id to id, and not for ever', async () => {
    const { engine, store } = rig()
    const cookie = {}
    const leads = (from: number, to: number): void => void (store.entries[`an-id-of-length-${from}`] = JSON.stringify({ cookie, __portcullis: { lineage: 's_x', to: `an-id-of-length-${to}`, untilMs: 0 } }))
    for (let index = 0; index < 3; index++) leads(index, index + 1)
    store.entries['an-id-of-length-3'] = JSON.stringify({ cookie, user: 'alice' })
    expect((await engine.follow('an-id-of-length-0'))?.id).toBe('an-id-of-length-3')
    leads(3, 0)
    expect(await engine.follow('an-id-of-length-0')).toBeUndefined()
  })
})
