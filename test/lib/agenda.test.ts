import { describe, expect, test } from '@jest/globals'
import { Agenda, Due } from '../../lib/agenda.ts'
import { settableClock } from '../support/credentials.ts'

/** Notes when it was done, and does what it is told to. */
class Note extends Due {
  constructor(
    readonly name: string,
    readonly done: string[],
    readonly then: (now: number) => void = () => {},
  ) {
    super()
  }

  override due(now: number): void {
    this.done.push(this.name)
    this.then(now)
  }
}

function agendaOf() {
  const clock = settableClock(0)
  const done: string[] = []
  const agenda = new Agenda(clock)
  const note = (name: string, at: number, then?: (now: number) => void): Note => {
    const item = new Note(name, done, then)
    agenda.set(item, at)
    return item
  }
  return { clock, done, agenda, note }
}

describe('what is on an agenda', () => {
  test('is done at its time, not before, in the order of the times', () => {
    const { clock, done, note } = agendaOf()
    note('c', 300)
    note('a', 100)
    note('b', 200)
    clock.advance(99)
    expect(done).toEqual([])
    clock.advance(1)
    expect(done).toEqual(['a'])
    clock.advance(200)
    expect(done).toEqual(['a', 'b', 'c'])
  })

  test('is done once, and takes no room after that', () => {
    const { clock, done, agenda, note } = agendaOf()
    note('a', 10)
    clock.advance(1_000)
    expect([done, agenda.size, clock.pending]).toEqual([['a'], 0, 0])
  })

  test('moves when it is set again', () => {
    const { clock, done, agenda, note } = agendaOf()
    const item = note('a', 100)
    agenda.set(item, 500)
    expect(agenda.size).toBe(1)
    clock.advance(499)
    expect(done).toEqual([])
    agenda.set(item, 499)
    clock.advance(1)
    expect(done).toEqual(['a'])
  })

  test('is forgotten when it is removed, also twice, and with the last one the timer goes', () => {
    const { clock, done, agenda, note } = agendaOf()
    const [a, b] = [note('a', 10), note('b', 20)]
    agenda.remove(a)
    agenda.remove(a)
    expect([agenda.size, clock.pending]).toEqual([1, 1])
    agenda.remove(b)
    expect([agenda.size, clock.pending]).toEqual([0, 0])
    clock.advance(1_000)
    expect(done).toEqual([])
  })

  test('may put itself on it again, also for the time that is now', () => {
    const { clock, done, agenda, note } = agendaOf()
    let rounds = 0
    const item: Note = note('a', 10, (now) => {
      if (++rounds < 3) agenda.set(item, now)
    })
    clock.advance(10)
    expect(done).toEqual(['a'])
    clock.advance(2)
    expect(done).toEqual(['a', 'a', 'a'])
  })

  test('that has stopped has no timer, and does what is due when somebody asks', () => {
    const { clock, done, agenda, note } = agendaOf()
    const item = note('a', 10)
    agenda.stop()
    expect(clock.pending).toBe(0)
    clock.advance(10)
    expect(done).toEqual([])
    agenda.catchUp()
    expect(done).toEqual(['a'])
    agenda.set(item, clock.now() + 5)
    expect(clock.pending).toBe(0)
  })

  test('keeps its order among thousands that come, move and go', () => {
    const { clock, done, agenda } = agendaOf()
    let state = 1
    const random = (below: number): number => (state = (state * 48_271) % 2_147_483_647) % below
    const items = Array.from({ length: 3_000 }, (_, index) => new Note(String(index), done))
    for (const item of items) agenda.set(item, 1 + random(1_000_000))
    for (let i = 0; i < 3_000; i++) {
      const item = items[random(items.length)]!
      if (random(3) === 0) agenda.remove(item)
      else agenda.set(item, 1 + random(1_000_000))
    }
    const left = items.filter(({ index }) => index >= 0)
    expect(agenda.size).toBe(left.length)
    clock.advance(1_000_000)
    expect(done).toHaveLength(left.length)
    const times = done.map((name) => items[Number(name)]!.at)
    expect(times).toEqual([...times].sort((a, b) => a - b))
  })
})

describe('the timer of an agenda', () => {
  test('is one, however much there is on it', () => {
    const { clock, note } = agendaOf()
    for (let at = 1_000; at > 0; at--) note('', at)
    expect(clock.pending).toBe(1)
  })

  test('is asked for once where what comes is later than what is there', () => {
    const { clock, note } = agendaOf()
    for (let at = 1; at <= 1_000; at++) note('', at)
    expect(clock.asked).toBe(1)
  })

  test('does not wake for what is far away more than twice a minute', () => {
    const { clock, done, note } = agendaOf()
    note('a', 3_600_000)
    clock.advance(3_600_000)
    expect(done).toEqual(['a'])
    expect(clock.asked).toBe(120)
  })

  test('finds half a minute later at most that the clock was set forward', () => {
    const { clock, done, note } = agendaOf()
    note('a', 3_600_000)
    clock.set(3_600_000)
    clock.advance(30_000)
    expect(done).toEqual(['a'])
  })

  test('does nothing too early where the clock was set back, and nothing twice', () => {
    const { clock, done, note } = agendaOf()
    note('a', 1_000)
    clock.set(-10_000)
    clock.advance(1_000)
    expect(done).toEqual([])
    clock.advance(9_999)
    expect(done).toEqual([])
    clock.advance(1)
    expect(done).toEqual(['a'])
  })

  test('goes on where what is done throws', () => {
    const { clock, done, note } = agendaOf()
    note('a', 10, () => {
      throw new Error('a bug')
    })
    note('b', 10)
    note('c', 20)
    expect(() => clock.advance(10)).toThrow('a bug')
    clock.advance(10)
    expect(done).toEqual(['a', 'b', 'c'])
  })
})

describe('catching up', () => {
  test('does what is due before the timer does', () => {
    const { clock, done, agenda, note } = agendaOf()
    note('a', 10)
    note('b', 11)
    clock.set(10)
    agenda.catchUp()
    expect(done).toEqual(['a'])
    clock.advance(30_000)
    expect(done).toEqual(['a', 'b'])
  })

  test('reads no clock where there is nothing on it', () => {
    const { clock, agenda } = agendaOf()
    let reads = 0
    const counted = new Agenda({ ...clock, now: () => (reads++, 0) })
    counted.catchUp()
    agenda.catchUp()
    expect(reads).toBe(0)
  })

  test('from within what is done goes no call deeper, and leaves nothing out', () => {
    const { clock, done, agenda, note } = agendaOf()
    let depth = 0
    let deepest = 0
    note('later', 1_000)
    for (let i = 0; i < 20_000; i++) {
      note(String(i), 10, () => {
        deepest = Math.max(deepest, ++depth)
        agenda.catchUp()
        depth--
      })
    }
    clock.advance(10)
    expect([done.length, deepest, agenda.size]).toEqual([20_000, 1, 1])
  })

  test('lets everything lapse that is due before any of it is done', () => {
    const { clock, done, agenda } = agendaOf()
    class Lapsing extends Note {
      override lapse(): void {
        done.push(`${this.name} lapses`)
      }
    }
    for (const name of ['a', 'b']) agenda.set(new Lapsing(name, done), 10)
    clock.advance(10)
    expect(done).toEqual(['a lapses', 'b lapses', 'a', 'b'])
  })

  test('what is due may take off the agenda, or move, what was due with it', () => {
    const { clock, done, agenda, note } = agendaOf()
    const others: Note[] = []
    note('first', 10, (now) => {
      agenda.remove(others[0]!)
      agenda.set(others[1]!, now + 5)
    })
    others.push(note('removed', 10), note('moved', 10))
    clock.advance(10)
    expect(done).toEqual(['first'])
    clock.advance(5)
    expect(done).toEqual(['first', 'moved'])
  })

  test('what is due may stop the agenda: what is due with it is done, and nothing after that', () => {
    const { clock, done, note, agenda } = agendaOf()
    note('first', 10, () => agenda.stop())
    note('second', 10)
    note('third', 20)
    clock.advance(100)
    expect([done, agenda.size, clock.pending]).toEqual([['first', 'second'], 1, 0])
  })

  test('what comes due while something is done is told the later time', () => {
    const { clock, agenda } = agendaOf()
    const times: number[] = []
    agenda.set(
      new Note('a', [], (now) => {
        times.push(now)
        clock.set(50)
        agenda.catchUp()
      }),
      10,
    )
    agenda.set(new Note('b', [], (now) => times.push(now)), 60)
    clock.advance(10)
    expect(times).toEqual([10, 60])
  })
})
