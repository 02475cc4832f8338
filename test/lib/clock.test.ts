import { afterEach, describe, expect, jest, test } from '@jest/globals'
import { Deadline, Deadlines, systemClock } from '../../lib/clock.ts'
import { testClock } from '../../lib/testing.ts'

describe('deadlines of one duration', () => {
  const clockAnd = (ms: number) => {
    const clock = testClock()
    const expired: string[] = []
    const deadlines = new Deadlines(clock, ms)
    return { clock, expired, deadlines, add: (name: string) => deadlines.add(() => void expired.push(name)) }
  }

  test('expire after it, in the order in which they were added', () => {
    const { clock, expired, add } = clockAnd(100)
    add('a')
    clock.advance(50)
    add('b')
    clock.advance(49)
    expect(expired).toEqual([])
    clock.advance(1)
    expect(expired).toEqual(['a'])
    clock.advance(50)
    expect(expired).toEqual(['a', 'b'])
  })

  test('stand behind a single timer', () => {
    const { clock, add } = clockAnd(100)
    for (let i = 0; i < 1_000; i++) add(`${i}`)
    expect(clock.pending).toBe(1)
    clock.advance(100)
    expect(clock.pending).toBe(0)
  })

  test('that are cancelled do not expire, wherever they stand', () => {
    const { clock, expired, add } = clockAnd(100)
    const [a, b, c, d] = ['a', 'b', 'c', 'd'].map(add)
    a!.cancel()
    c!.cancel()
    c!.cancel()
    clock.advance(100)
    expect(expired).toEqual(['b', 'd'])
    b!.cancel()
    d!.cancel()
  })

  test('are not held up by a clock that was turned back', () => {
    let now = 1_000_000
    let fire = (): void => {}
    let wait = 0
    const after = (ms: number, fn: () => void) => {
      wait = ms
      fire = fn
      return { cancel: () => {} }
    }
    const deadlines = new Deadlines({ now: () => now, after }, 100)
    const expired: string[] = []
    deadlines.add(() => void expired.push('before'))
    now -= 500_000
    deadlines.add(() => void expired.push('after'))
    now += 100
    fire()
    // When the first began is not known any more: it begins again.
    expect(expired).toEqual([])
    expect(wait).toBe(100)
    now += 100
    fire()
    expect(expired).toEqual(['before', 'after'])
  })

  test('may be added while others expire', () => {
    const { clock, expired, deadlines } = clockAnd(100)
    deadlines.add(() => {
      expired.push('a')
      deadlines.add(() => void expired.push('b'))
    })
    clock.advance(100)
    expect(expired).toEqual(['a'])
    clock.advance(100)
    expect(expired).toEqual(['a', 'b'])
  })

  test('may cancel each other while they expire', () => {
    const { clock, expired, deadlines, add } = clockAnd(100)
    deadlines.add(() => {
      expired.push('a')
      b.cancel()
    })
    const b = add('b')
    add('c')
    clock.advance(100)
    expect(expired).toEqual(['a', 'c'])
    add('d')
    clock.advance(100)
    expect(expired).toEqual(['a', 'c', 'd'])
  })

  test('count from the time they are given', () => {
    const { clock, expired, deadlines } = clockAnd(100)
    class Named extends Deadline {
      override expired(): void {
        expired.push('named')
      }
    }
    const entry = deadlines.push(new Named(), clock.now() - 60)
    clock.advance(100)
    expect(expired).toEqual(['named'])
    expect(entry.list).toBeUndefined()
  })

  test('all go when they are cleared', () => {
    const { clock, expired, deadlines, add } = clockAnd(100)
    add('a')
    deadlines.clear()
    expect(clock.pending).toBe(0)
    clock.advance(200)
    expect(expired).toEqual([])
    add('b')
    clock.advance(100)
    expect(expired).toEqual(['b'])
  })

  test('of another list are left alone', () => {
    const one = clockAnd(100)
    const other = clockAnd(100)
    const entry = one.add('a')
    other.deadlines.remove(entry)
    one.clock.advance(100)
    expect(one.expired).toEqual(['a'])
  })
})

describe('the clock of the system', () => {
  test('tells the time in milliseconds since the epoch', () => {
    const before = Date.now()
    const now = systemClock.now()
    expect(now).toBeGreaterThanOrEqual(before)
    expect(now).toBeLessThanOrEqual(Date.now())
  })

  test('calls once, and not when it was cancelled', async () => {
    const called: string[] = []
    systemClock.after(0, () => void called.push('cancelled')).cancel()
    await new Promise<void>((resolve) => {
      // Its timers do not keep the process alive, and need not: the test does.
      systemClock.after(1, () => {
        called.push('once')
        resolve()
      })
    })
    expect(called).toEqual(['once'])
  })
})

describe('a wait that is longer than a timer of Node can be', () => {
  afterEach(() => void jest.useRealTimers())
  const DAY = 86_400_000

  test('ends when it should, and not at once', () => {
    jest.useFakeTimers()
    const called: number[] = []
    const begin = Date.now()
    systemClock.after(60 * DAY, () => called.push(Date.now() - begin))
    jest.advanceTimersByTime(60 * DAY - 1)
    expect(called).toEqual([])
    jest.advanceTimersByTime(1)
    expect(called).toEqual([60 * DAY])
  })

  test('can be cancelled in any of its parts', () => {
    jest.useFakeTimers()
    const called: string[] = []
    const timer = systemClock.after(60 * DAY, () => called.push('late'))
    jest.advanceTimersByTime(50 * DAY)
    timer.cancel()
    jest.advanceTimersByTime(50 * DAY)
    expect(called).toEqual([])
    expect(jest.getTimerCount()).toBe(0)
  })
})

describe('the clock of tests', () => {
  test('stands still', () => {
    const clock = testClock(1_000)
    expect([clock.now(), clock.now()]).toEqual([1_000, 1_000])
    clock.advance(5)
    expect(clock.now()).toBe(1_005)
  })

  test('calls what falls due on the way, each at its own time', () => {
    const clock = testClock(0)
    const calls: [string, number][] = []
    clock.after(30, () => calls.push(['late', clock.now()]))
    clock.after(10, () => {
      calls.push(['early', clock.now()])
      clock.after(10, () => calls.push(['between', clock.now()]))
    })
    clock.after(10, () => calls.push(['second', clock.now()]))
    clock.advance(100)
    expect(calls).toEqual([
      ['early', 10],
      ['second', 10],
      ['between', 20],
      ['late', 30],
    ])
    expect(clock.now()).toBe(100)
  })

  test('counts its timers', () => {
    const clock = testClock()
    const timer = clock.after(10, () => {})
    clock.after(20, () => {})
    expect(clock.pending).toBe(2)
    timer.cancel()
    expect(clock.pending).toBe(1)
    clock.advance(20)
    expect(clock.pending).toBe(0)
  })

  test('does not go back', () => {
    expect(() => testClock().advance(-1)).toThrow(RangeError)
    expect(() => testClock().advance(NaN)).toThrow(RangeError)
  })
})
