import { describe, expect, test } from '@jest/globals'
import { Lane } from '../../lib/lane.ts'

const limits = { maxPending: 3, maxBytes: 100 }

function laneOf(...names: string[]) {
  const lane = new Lane()
  const started: string[] = []
  lane.busy = true
  for (const name of names) lane.push(() => void started.push(name), 1, limits)
  return { lane, started }
}

test('what waits starts in the order of its arrival', () => {
  const { lane, started } = laneOf('a', 'b', 'c')
  expect(started).toEqual([])
  lane.release()
  expect(started).toEqual(['a', 'b', 'c'])
  expect(lane.busy).toBe(false)
})

test('what becomes asynchronous again holds up those behind it', () => {
  const lane = new Lane()
  const started: string[] = []
  const slow = (name: string) => (): void => {
    started.push(name)
    lane.busy = true
  }
  lane.busy = true
  lane.push(slow('a'), 0, limits)
  lane.push(slow('b'), 0, limits)
  lane.release()
  expect(started).toEqual(['a'])
  lane.release()
  expect(started).toEqual(['a', 'b'])
  lane.release()
  expect(lane.busy).toBe(false)
})

test('what arrives while the lane empties goes to its end', () => {
  const { lane, started } = laneOf()
  lane.push(
    () => {
      started.push('a')
      lane.push(() => void started.push('c'), 0, limits)
    },
    0,
    limits,
  )
  lane.push(() => void started.push('b'), 0, limits)
  lane.release()
  expect(started).toEqual(['a', 'b', 'c'])
})

test('no more than so many may wait', () => {
  const { lane, started } = laneOf('a', 'b', 'c')
  expect(lane.push(() => void started.push('d'), 1, limits)).toBe(false)
  lane.release()
  expect(started).toEqual(['a', 'b', 'c'])
  lane.busy = true
  expect(lane.push(() => {}, 1, limits)).toBe(true)
})

test('nor more than so many bytes', () => {
  const { lane } = laneOf('a')
  expect(lane.push(() => {}, 100, limits)).toBe(false)
  expect(lane.push(() => {}, 99, limits)).toBe(true)
  lane.release()
  lane.busy = true
  expect(lane.push(() => {}, 100, limits)).toBe(true)
})

test('a lane that is cleared forgets what waited, and counts anew', () => {
  const { lane, started } = laneOf('a', 'b', 'c')
  lane.clear()
  expect(lane.push(() => void started.push('d'), 100, limits)).toBe(true)
  lane.release()
  expect(started).toEqual(['d'])
})

test('a lane that is cleared by what it starts goes no further', () => {
  const lane = new Lane()
  const started: string[] = []
  lane.busy = true
  lane.push(
    () => {
      started.push('a')
      lane.clear()
    },
    1,
    limits,
  )
  lane.push(() => void started.push('b'), 1, limits)
  lane.release()
  expect(started).toEqual(['a'])
})

describe('between two events', () => {
  test('is now, where none is being decided', () => {
    const lane = new Lane()
    const done: string[] = []
    lane.between(() => done.push('between'))
    expect(done).toEqual(['between'])
  })

  test('is after the one that is being decided, and before all that wait', () => {
    const { lane, started } = laneOf('a', 'b')
    lane.between(() => started.push('between'))
    lane.between(() => started.push('too'))
    expect(started).toEqual([])
    lane.release()
    expect(started).toEqual(['between', 'too', 'a', 'b'])
    lane.busy = true
    lane.release()
    expect(started).toHaveLength(4)
  })

  test('is before the rest, where one of those that wait takes its time', () => {
    const lane = new Lane()
    const started: string[] = []
    lane.busy = true
    lane.push(() => (started.push('a'), lane.between(() => started.push('between')), (lane.busy = true)), 0, limits)
    lane.push(() => void started.push('b'), 0, limits)
    lane.release()
    expect(started).toEqual(['a', 'between'])
    lane.release()
    expect(started).toEqual(['a', 'between', 'b'])
  })

  test('comes also when the socket is gone: nobody waits for ever', () => {
    const { lane, started } = laneOf('a')
    lane.between(() => started.push('between'))
    lane.clear()
    expect(started).toEqual(['between'])
    lane.release()
    expect(started).toEqual(['between'])
  })
})
