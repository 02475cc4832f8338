import type { Clock, Timer } from './clock.ts'

/** Something with a time of its own on an {@link Agenda}. */
export abstract class Due {
  /** When, in milliseconds since the epoch. Changed by the agenda only. */
  at = 0
  /** @internal Position in the heap, or one of the two below. */
  index = OFF

  /** Its time has come: what has to hold before any other one is done. Calls nothing of the application. */
  lapse(_now: number): void {}

  /** Its time has come. It is off the agenda by then, and may be put on it again. */
  abstract due(now: number): void
}

/** On no agenda. */
const OFF = -1
/** Its time has come, and it waits for those before it. */
const READY = -2

/** A clock may be set, and a machine may sleep: the timer never waits longer than this for a time that may have passed meanwhile. */
const LONGEST_WAIT_MS = 30_000

/**
 * Times of any number of things behind a single timer: a binary heap, so that adding, moving and removing cost O(log n), and nothing
 * is done while nothing is due. With nothing on it there is no timer.
 */
export class Agenda {
  readonly #heap: Due[] = []
  /** Those whose time has come, in order. */
  #ready: Due[] = []
  #now = 0
  #running = false
  #stopped = false
  readonly #clock: Clock
  #timer: Timer | undefined
  /** When the timer fires. */
  #fires = Infinity

  constructor(clock: Clock) {
    this.#clock = clock
  }

  get size(): number {
    return this.#heap.length
  }

  /** Puts it on the agenda, or moves it there. */
  set(item: Due, at: number, now = this.#clock.now()): void {
    if (item.index >= 0) this.#take(item.index)
    item.at = at
    item.index = this.#heap.length
    this.#heap.push(item)
    this.#up(item.index)
    if (item.index === 0) this.#arm(now)
  }

  remove(item: Due): void {
    if (item.index < 0) item.index = OFF
    else {
      this.#take(item.index)
      if (this.#heap.length === 0) this.#disarm()
    }
  }

  /** Does what is due by now, without waiting for the timer: asked before something that must not come too late. */
  catchUp(): void {
    if (this.#heap.length > 0) this.#run(this.#clock.now())
  }

  /** Ends the timer for good. What is due is done when somebody asks to catch up. */
  stop(): void {
    this.#stopped = true
    this.#disarm()
  }

  #disarm(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    this.#fires = Infinity
  }

  #run(now: number): void {
    this.#now = now
    for (let first = this.#heap[0]; first !== undefined && first.at <= now; first = this.#heap[0]) {
      this.#take(0)
      first.index = READY
      this.#ready.push(first)
      first.lapse(now)
    }
    // What is done here may ask to catch up in its turn, and so on: that must not go one call deeper for each.
    if (this.#running) return
    this.#running = true
    try {
      for (let next = 0; next < this.#ready.length; next++) {
        const item = this.#ready[next]!
        if (item.index !== READY) continue
        item.index = OFF
        item.due(this.#now)
      }
    } finally {
      this.#running = false
      const left = this.#ready.filter(({ index }) => index === READY)
      this.#ready = []
      for (const item of left) this.set(item, item.at, now)
    }
  }

  #arm(now: number): void {
    const first = this.#heap[0]
    if (first === undefined || this.#stopped) return
    const wait = Math.min(Math.max(1, first.at - now), LONGEST_WAIT_MS)
    if (now + wait >= this.#fires) return
    this.#timer?.cancel()
    this.#fires = now + wait
    this.#timer = this.#clock.after(wait, () => {
      this.#timer = undefined
      this.#fires = Infinity
      const later = this.#clock.now()
      try {
        this.#run(later)
      } finally {
        this.#arm(later)
      }
    })
  }

  #take(index: number): void {
    const heap = this.#heap
    const item = heap[index]!
    item.index = OFF
    const last = heap.pop()!
    if (last === item) return
    heap[index] = last
    last.index = index
    this.#up(index)
    this.#down(last.index)
  }

  #up(index: number): void {
    const heap = this.#heap
    const item = heap[index]!
    while (index > 0) {
      const parent = (index - 1) >> 1
      if (heap[parent]!.at <= item.at) break
      this.#put(heap[parent]!, index)
      index = parent
    }
    this.#put(item, index)
  }

  #down(index: number): void {
    const heap = this.#heap
    const item = heap[index]!
    for (;;) {
      let child = 2 * index + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && heap[child + 1]!.at < heap[child]!.at) child++
      if (heap[child]!.at >= item.at) break
      this.#put(heap[child]!, index)
      index = child
    }
    this.#put(item, index)
  }

  #put(item: Due, index: number): void {
    this.#heap[index] = item
    item.index = index
  }
}
