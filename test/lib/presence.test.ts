import { describe, expect, test } from '@jest/globals'
import { Denied } from 'portcullis'
import type { ConnectContext } from 'portcullis'
import { admitted, denied, harness, testClock } from 'portcullis/testing'
import { Agenda } from '../../lib/agenda.ts'
import { Call } from '../../lib/presence.ts'
import type { Presence } from '../../lib/presence.ts'

describe('a call', () => {
  test('is made when its time has come, with that time, and once for each time it is set', () => {
    const clock = testClock()
    const agenda = new Agenda(clock)
    const made: number[] = []
    const call = new Call((now) => void made.push(now), () => {})
    const begin = clock.now()
    agenda.set(call, begin + 10)
    clock.advance(50)
    agenda.set(call, begin + 60)
    clock.advance(50)
    expect(made).toEqual([begin + 10, begin + 60])
  })

  test('that fails says so to whoever has made it, and holds up no other', () => {
    const clock = testClock()
    const agenda = new Agenda(clock)
    const [failed, made]: [unknown[], number[]] = [[], []]
    const error = new Error('a mistake')
    agenda.set(
      new Call(
        () => {
          throw error
        },
        (given) => void failed.push(given),
      ),
      clock.now() + 10,
    )
    agenda.set(new Call((now) => void made.push(now), () => {}), clock.now() + 10)
    clock.advance(10)
    expect([failed, made.length]).toEqual([[error], 1])
  })
})

describe('a peer in the harness', () => {
  const presences: Presence[] = []
  const probe = (mode: 'enforce' | 'observe' = 'enforce', wait = (ctx: ConnectContext): unknown => ctx.onEntered((presence) => void presences.push(presence))) => {
    presences.length = 0
    return harness([{ name: 'waiting', connect: (ctx: ConnectContext, next: any) => (wait(ctx), next({ role: 'user' })) }], { mode })
  }

  test('is there once it has entered, with its facts, and hears', async () => {
    const own = probe()
    const { facts } = await own.connect()
    expect(presences.length).toBe(1)
    expect([presences[0]!.peer, presences[0]!.tell('gate:renew', {}), await presences[0]!.renew()]).toEqual([facts, true, true])
    expect(presences[0]!.socket.connected).toBe(true)
  })

  test('is not where it was refused', async () => {
    const own = probe('enforce', (ctx) => {
      ctx.onEntered((presence) => void presences.push(presence))
      throw new Denied('FORBIDDEN')
    })
    expect(await own.connect()).toEqual(denied('FORBIDDEN'))
    expect(presences).toEqual([])
  })

  test('is closed for good, and that is a decision', async () => {
    const own = probe()
    const result = await own.connect()
    const peer = result.facts as object
    expect(await own.event('say', 1, { peer })).toEqual(admitted())
    presences[0]!.close(new Denied('REVOKED'), 'never', 'waiting')
    presences[0]!.close(new Denied('REVOKED'), 'never', 'waiting')
    expect(own.decisions.filter(({ policy }) => policy === 'waiting').map(({ outcome, code }) => [outcome, code])).toEqual([['denied', 'REVOKED']])
    expect([presences[0]!.tell('gate:renew', {}), await presences[0]!.renew()]).toEqual([false, false])
  })

  test('stays where the policy is only observed', async () => {
    const own = probe('observe')
    const peer = (await own.connect()).facts as object
    presences[0]!.close(new Denied('REVOKED'), 'never', 'waiting')
    expect(await own.event('say', 1, { peer })).toEqual(admitted())
    expect(own.decisions.filter(({ policy }) => policy === 'waiting').length).toBe(1)
  })

  test('has times of its own, which end with it', async () => {
    const own = probe()
    const result = await own.connect()
    const rang: number[] = []
    const alarm = presences[0]!.alarm((now) => void rang.push(now))
    const clock = own.clock as ReturnType<typeof testClock>
    alarm.set(clock.now() + 10)
    clock.advance(10)
    alarm.set(clock.now() + 10)
    result.close()
    clock.advance(10)
    alarm.set(clock.now() + 10)
    clock.advance(10)
    expect(rang.length).toBe(1)
  })

  test.each(['at once', 'at its time'])('whose policy fails %s is a fault, and it stays', async (when) => {
    const own = probe('enforce', (ctx) =>
      ctx.onEntered((presence) => {
        const fail = (): never => {
          throw new Error('a mistake')
        }
        if (when === 'at once') fail()
        presence.alarm(fail).set(own.clock.now() + 10)
      }),
    )
    const peer = (await own.connect()).facts as object
    ;(own.clock as ReturnType<typeof testClock>).advance(10)
    expect(own.decisions.filter(({ outcome }) => outcome === 'fault').map(({ policy }) => policy)).toEqual(['onEntered'])
    expect(await own.event('say', 1, { peer })).toEqual(admitted())
  })
})
