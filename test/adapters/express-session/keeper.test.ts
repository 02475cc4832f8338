import { describe, expect, test } from '@jest/globals'
import { lineageOf } from '../../../adapters/express-session/record.ts'
import { Agenda } from '../../../lib/agenda.ts'
import { failure, rig, settled } from './rig.ts'

/** The recheck is not what these are about. */
const terms = { recheckMs: 2_000_000_000 }

describe('a session that is read', () => {
  test('is the one that is here already, as it stands now', async () => {
    const { begin, lineage, bind, store } = rig(terms)
    const page = await begin({ user: 'alice' })
    const own = await lineage(page.sessionID!)
    bind(own)
    store.entries[page.sessionID!] = JSON.stringify({ ...store.entry(page.sessionID!), theme: 'dark' })
    expect(await lineage(page.sessionID!)).toBe(own)
    expect(own.data).toMatchObject({ theme: 'dark' })
  })

  test('is read once more where it has changed meanwhile: what was read may be old', async () => {
    const { begin, engine, keeper, save } = rig(terms)
    const page = await begin({ user: 'alice' })
    let reads = 0
    const own = await keeper.read(async () => {
      const opened = await engine.open(page.sessionID!)
      if (++reads === 1) {
        page.session!['user'] = 'bob'
        Object.assign(page, { res: { headersSent: true } })
        await save(page)
      }
      return opened?.entry
    })
    expect([reads, own?.speaker?.user.subject]).toEqual([2, 'bob'])
  })

  test('is gone where it has ended meanwhile', async () => {
    const { begin, engine, keeper, destroy } = rig(terms)
    const page = await begin({ user: 'alice' })
    let reads = 0
    const own = await keeper.read(async () => {
      const opened = await engine.open(page.sessionID!)
      if (++reads === 1) await destroy(page.sessionID!)
      return opened?.entry
    })
    expect([reads, own]).toEqual([2, undefined])
  })

  test('is not read for ever', async () => {
    const { begin, engine, keeper } = rig(terms)
    const page = await begin({ user: 'alice' })
    let reads = 0
    const error = await failure(
      keeper.read(async () => {
        reads++
        const opened = await engine.open(page.sessionID!)
        keeper.moving(opened!.entry.mark.lineage)
        return opened?.entry
      }),
    )
    expect([error.code, error.retryAfterMs]).toEqual(['UNAVAILABLE', expect.any(Number)])
    expect(reads).toBeLessThan(10)
  })

  test('is not held up by what happens to others', async () => {
    const { begin, engine, keeper, save } = rig(terms)
    const [page, other] = [await begin({ user: 'alice' }), await begin({ user: 'bob' })]
    let reads = 0
    await keeper.read(async () => {
      reads++
      other.session!['n'] = reads
      await save(other)
      return (await engine.open(page.sessionID!))?.entry
    })
    expect(reads).toBe(1)
  })

  test('fails as the read does, and nothing is left of that', async () => {
    const { keeper } = rig(terms)
    const error = new Error('down')
    expect(await failure(keeper.read(() => Promise.reject(error)))).toBe(error)
  })
})

test('a lineage is known by its ids, as long as somebody is bound to it', async () => {
  const { begin, keeper, lineage, bind, rotation } = rig(terms)
  const page = await begin({ user: 'alice' })
  const old = page.sessionID!
  const own = await lineage(old)
  const peer = bind(own)
  await rotation.rotate(page)
  expect([keeper.lineageAt(old), keeper.lineageAt(page.sessionID!), keeper.idsOf(own.id)]).toEqual([own.id, own.id, [old, page.sessionID]])
  own.unbind(peer.bound!)
  expect([keeper.lineageAt(old), keeper.lineageAt(page.sessionID!), keeper.idsOf(own.id), keeper.of(own.id)]).toEqual([undefined, undefined, [], undefined])
  expect(own.id).toBe(lineageOf(old))
})

test('an id that a later lineage has is not forgotten with an earlier one', async () => {
  const { begin, keeper, lineage, bind } = rig(terms)
  const { sessionID } = await begin({ user: 'alice' })
  const first = await lineage(sessionID!)
  first.unbind(bind(first).bound!)
  const second = await lineage(sessionID!)
  bind(second)
  expect(second).not.toBe(first)
  first.hold()()
  expect([keeper.at(sessionID!), keeper.of(second.id)]).toEqual([second, second])
})

test('times go on with the next gate when the one that kept them is closed, and nowhere when that was the last', async () => {
  const { begin, keeper, lineage, bind, clock, store, agenda, partTimes } = rig({ recheckMs: 10_000 })
  const another = new Agenda(clock)
  const partToo = keeper.attach(another)
  const page = await begin({ user: 'alice' })
  const own = await lineage(page.sessionID!)
  const peer = bind(own)
  expect([agenda.size, another.size]).toEqual([1, 0])
  expect(partTimes()).toBe(false)
  expect([agenda.size, another.size]).toEqual([0, 1])
  delete store.entries[page.sessionID!]
  clock.advance(10_000)
  await settled()
  expect(peer.closed.length).toBe(1)
  own.unbind(peer.bound!)
  bind(await lineage((await begin({ user: 'bob' })).sessionID!))
  expect(another.size).toBe(1)
  expect(partToo()).toBe(true)
  expect(another.size).toBe(0)
})
