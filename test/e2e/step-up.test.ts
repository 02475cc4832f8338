import { createHmac } from 'node:crypto'
import { inspect } from 'node:util'
import { describe, expect, test } from '@jest/globals'
import { guard, memoryStore, unordered, when } from 'portcullis'
import type { Decision, EventContext, Factor, Gate, GuardOptions, Principal, Scheme, Store } from 'portcullis'
import { totp } from 'portcullis/adapters/totp'
import { authenticate } from 'portcullis/policies'
import { testClock } from 'portcullis/testing'
import type { Socket } from 'socket.io'
import { stepUp, type StepUpOptions } from '../../policies/step-up.ts'
import { entered, entry, heard, Latch, raw, serve, until, watch, type Client } from '../support/server.ts'

const START = Date.UTC(2025, 0, 1)
const MINUTE = 60_000
const PERIOD = 30_000
const SECRETS: Record<string, Buffer> = { alice: Buffer.from('alice has a secret!!'), bob: Buffer.from('so does bob, another') }

/** RFC 6238 written out: what an authenticator shows. */
function codeOf(subject: string, atMs: number): string {
  const counter = Buffer.alloc(8)
  counter.writeBigUInt64BE(BigInt(Math.floor(atMs / PERIOD)))
  const mac = createHmac('sha1', SECRETS[subject]!).update(counter).digest()
  return String((mac.readUInt32BE(mac.at(-1)! & 0x0f) & 0x7fffffff) % 1_000_000).padStart(6, '0')
}

/** A code that is wrong now, and in the periods around it. */
function wrongCode(subject: string, atMs: number, which = 0): string {
  const right = [-2, -1, 0, 1, 2].map((steps) => codeOf(subject, atMs + steps * PERIOD))
  return Array.from({ length: 1_000 }, (_, index) => String(100_000 + index)).filter((code) => !right.includes(code))[which]!
}

/** Believes what a client says of itself: who it is is not the subject of these tests. */
const word: Scheme<unknown> = {
  name: 'word',
  read: ({ handshake }) => handshake.auth['as'] as unknown,
  verify: (as, { handshake }): Principal => ({ subject: String(as), claims: (handshake.auth['claims'] ?? {}) as Record<string, unknown>, expiresAtMs: 'never', factors: (handshake.auth['factors'] ?? ['pwd']) as string[] }),
}

interface Bank {
  readonly store?: Store
  readonly clock?: ReturnType<typeof testClock>
  readonly factor?: Factor
  readonly terms?: Partial<StepUpOptions>
  readonly guarding?: GuardOptions
  /** Options of `authenticate`. */
  readonly authentication?: object
  readonly serving?: Parameters<typeof serve>[1]
  readonly declare?: (gate: Gate<{ principal: Principal }>, step: ReturnType<typeof stepUp>) => unknown
}

/** A server where a transfer takes a second factor. Clocks stand still unless a test moves them. */
async function bank({ store, clock = testClock(START), factor, terms, guarding = {}, authentication = {}, serving, declare }: Bank = {}) {
  const transfers: unknown[] = []
  const authenticator = factor ?? totp({ secretFor: ({ subject }) => SECRETS[subject] })
  const step = stepUp(authenticator, { maxAgeMs: 5 * MINUTE, ...terms })
  const host = await serve((io) => {
    const gate = guard(io, { clock, store: store ?? memoryStore({ clock }), ...guarding }).use(authenticate(word, authentication as { optional?: false })) as unknown as Gate<{ principal: Principal }>
    if (declare === undefined) gate.event('transfer', step).event('say')
    else declare(gate, step)
    io.on('connection', (socket: Socket) => {
      socket.on('transfer', (amount: unknown, ack?: (answer: string) => void) => {
        transfers.push(amount)
        ack?.('done')
      })
      socket.on('say', (what: unknown, ack?: (answer: unknown) => void) => ack?.(what))
    })
    return gate
  }, serving)
  return { ...host, clock, transfers, seen: watch(host.gate) }
}

const enter = (host: { readonly url: string }, as = 'alice', options: Parameters<typeof entered>[1] = {}) => entered(host, { auth: { as }, ...options })
const transfer = (socket: Client, amount: unknown = 1): Promise<any> => socket.emitWithAck('transfer', amount)
const step = (socket: Client, code: unknown, more: object = {}): Promise<any> => socket.emitWithAck('gate:step-up', { code, ...more })

const refused = (code: string, more: object = {}) => ({ error: { code, message: expect.any(String), id: expect.any(String), ...more } })
const REQUIRED = refused('STEP_UP_REQUIRED', { details: { factors: ['otp'], maxAgeMs: 5 * MINUTE } })
const WRONG = refused('UNAUTHENTICATED')

const recordsOf = (seen: { denied: Decision[] }, code: string): Decision[] => seen.denied.filter((decision) => decision.code === code && decision.event === 'gate:step-up')

describe.each(['websocket', 'polling'] as const)('a dangerous event, over %s', (transport) => {
  const transports = [transport]

  test('without the factor it is refused, with it it passes, on the same socket', async () => {
    const host = await bank()
    const socket = await enter(host, 'alice', { transports })
    expect(await transfer(socket)).toEqual(REQUIRED)
    expect(host.transfers).toEqual([])
    expect(await step(socket, codeOf('alice', START))).toEqual({ factor: 'otp' })
    expect(await transfer(socket, 7)).toBe('done')
    expect(await transfer(socket, 8)).toBe('done')
    expect(host.transfers).toEqual([7, 8])
    expect(await socket.emitWithAck('say', 'hi')).toBe('hi')
  })

  test('six wrong codes: locked and recorded, and the right one is refused while it is', async () => {
    const host = await bank()
    const socket = await enter(host, 'alice', { transports })
    for (let attempt = 0; attempt < 5; attempt++) expect(await step(socket, wrongCode('alice', START, attempt))).toEqual(WRONG)
    const locked = refused('RATE_LIMITED', { retryAfterMs: 3 * MINUTE })
    expect(await step(socket, wrongCode('alice', START, 5))).toEqual(locked)
    expect(await step(socket, codeOf('alice', START))).toEqual(locked)
    expect(await transfer(socket)).toEqual(REQUIRED)
    expect(host.transfers).toEqual([])

    expect(recordsOf(host.seen, 'UNAUTHENTICATED')).toHaveLength(5)
    const records = recordsOf(host.seen, 'RATE_LIMITED')
    expect(records).toHaveLength(2)
    expect(records[0]).toMatchObject({ outcome: 'denied', stage: 'event', event: 'gate:step-up', subject: 'alice', enforced: true })
    expect(host.seen.fault).toEqual([])

    host.clock.advance(3 * MINUTE)
    expect(await step(socket, codeOf('alice', host.clock.now()))).toEqual({ factor: 'otp' })
    expect(await transfer(socket)).toBe('done')
  })

  test('a code that was used is refused: on the same socket, on another, and on another server that shares the store', async () => {
    const clock = testClock(START)
    const store = memoryStore({ clock })
    const [here, there] = [await bank({ clock, store }), await bank({ clock, store })]
    const [first, second, third] = [await enter(here, 'alice', { transports }), await enter(here, 'alice', { transports }), await enter(there, 'alice', { transports })]
    const code = codeOf('alice', START)
    expect(await step(first, code)).toEqual({ factor: 'otp' })
    for (const socket of [first, second, third]) expect(await step(socket, code)).toEqual(WRONG)
    for (const socket of [second, third]) expect(await transfer(socket)).toEqual(REQUIRED)
    expect(await transfer(first)).toBe('done')
    // Operators can tell a code that was stolen from one that was mistyped.
    for (const { seen } of [here, there]) expect(recordsOf(seen, 'UNAUTHENTICATED').map(({ error }) => String((error as Error).cause))).toContainEqual(expect.stringContaining('used before'))
  })
})

describe('who has proved it', () => {
  test('is one socket: another one of the same subject is asked, and so is the next connection', async () => {
    const host = await bank()
    const socket = await enter(host)
    const other = await enter(host)
    expect(await step(socket, codeOf('alice', START))).toEqual({ factor: 'otp' })
    expect(await transfer(socket)).toBe('done')
    expect(await transfer(other)).toEqual(REQUIRED)
    socket.disconnect().connect()
    await entry(socket)
    expect(await transfer(socket)).toEqual(REQUIRED)
  })

  test('is one namespace of a connection, unless it is shared', async () => {
    for (const share of ['socket', 'subject'] as const) {
      const clock = testClock(START)
      const host = await serve((io) => {
        const own = stepUp(totp({ secretFor: ({ subject }) => SECRETS[subject] }), { maxAgeMs: 5 * MINUTE, share })
        const gate = guard(io, { clock, store: memoryStore({ clock }) }).use(authenticate(word))
        for (const name of ['/a', '/b']) {
          gate.of(name).event('transfer', own)
          io.of(name).on('connection', (socket) => socket.on('transfer', (_amount, ack: (answer: string) => void) => ack('done')))
        }
        return gate
      })
      const first = await enter(host, 'alice', { namespace: '/a', forceNew: true })
      const second = first.io.socket('/b', { auth: { as: 'alice' } })
      await entry(second.connect())
      expect(await step(first, codeOf('alice', START))).toEqual({ factor: 'otp' })
      expect(await transfer(first)).toBe('done')
      expect(await transfer(second)).toEqual(share === 'subject' ? 'done' : REQUIRED)
    }
  })

  test('with share: subject, all sockets of the subject, also on another server that shares the store, and nobody else', async () => {
    const clock = testClock(START)
    const store = memoryStore({ clock })
    const terms = { share: 'subject' } as const
    const [here, there] = [await bank({ clock, store, terms }), await bank({ clock, store, terms })]
    const [first, second, third, bob] = [await enter(here), await enter(here), await enter(there), await enter(there, 'bob')]
    expect(await step(first, codeOf('alice', START))).toEqual({ factor: 'otp' })
    for (const socket of [first, second, third]) expect(await transfer(socket)).toBe('done')
    expect(await transfer(bob)).toEqual(REQUIRED)
    clock.advance(5 * MINUTE + 1)
    for (const socket of [first, second, third]) expect(await transfer(socket)).toEqual(REQUIRED)
  })

  test('is asked again after the age, and passes again with a new code', async () => {
    const host = await bank()
    const socket = await enter(host)
    await step(socket, codeOf('alice', START))
    host.clock.advance(5 * MINUTE)
    expect(await transfer(socket)).toBe('done')
    host.clock.advance(1)
    expect(await transfer(socket)).toEqual(REQUIRED)
    expect(await step(socket, codeOf('alice', host.clock.now()))).toEqual({ factor: 'otp' })
    expect(await transfer(socket)).toBe('done')
  })

  test('is nobody who comes back: a connection that is recovered is asked', async () => {
    const host = await bank({ serving: { connectionStateRecovery: {} } })
    const socket = await enter(host)
    await step(socket, codeOf('alice', START))
    expect(await transfer(socket)).toBe('done')
    // Only a client that has heard something can say from where on it is to be recovered.
    const note = heard(socket, 'note')
    host.io.emit('note')
    await note
    const gone = heard(socket, 'disconnect')
    socket.io.engine.close()
    await gone
    await entry(socket.connect())
    expect(socket.recovered).toBe(true)
    expect(await transfer(socket)).toEqual(REQUIRED)
  })

  test('need not bring it who has just signed in with it', async () => {
    const host = await bank()
    const lately = await enter(host, '', { auth: { as: 'alice', factors: ['pwd', 'otp'], claims: { auth_time: START / 1_000 - 299 } } })
    const long = await enter(host, '', { auth: { as: 'alice', factors: ['pwd', 'otp'], claims: { auth_time: START / 1_000 - 301 } } })
    expect(await transfer(lately)).toBe('done')
    expect(await transfer(long)).toEqual(REQUIRED)
  })

  test('can bring it also where the credential says of itself what cannot be: that it was signed in with it tomorrow', async () => {
    const host = await bank()
    const socket = await enter(host, '', { auth: { as: 'alice', factors: ['otp'], claims: { auth_time: START / 1_000 + 86_400 } } })
    expect(await transfer(socket)).toEqual(REQUIRED)
    expect(await step(socket, codeOf('alice', START))).toEqual({ factor: 'otp' })
    expect(await transfer(socket)).toBe('done')
  })

  test('stays proved through a refresh of the same subject, and nobody inherits it through a switch', async () => {
    const host = await bank({ authentication: { allowSwitch: true } })
    const socket = await enter(host)
    await step(socket, codeOf('alice', START))
    expect(await socket.emitWithAck('gate:refresh', { as: 'alice' })).toEqual(expect.not.objectContaining({ error: expect.anything() }))
    expect(await transfer(socket)).toBe('done')
    expect(await socket.emitWithAck('gate:refresh', { as: 'bob' })).toEqual(expect.not.objectContaining({ error: expect.anything() }))
    expect(await transfer(socket)).toEqual(REQUIRED)
    expect(await step(socket, codeOf('bob', START))).toEqual({ factor: 'otp' })
    expect(await transfer(socket)).toBe('done')
    // Nor does who it was before.
    await socket.emitWithAck('gate:refresh', { as: 'alice' })
    expect(await transfer(socket)).toEqual(REQUIRED)
  })

  test('is the subject whose code it is', async () => {
    const host = await bank()
    const socket = await enter(host, 'bob')
    expect(await step(socket, codeOf('alice', START))).toEqual(WRONG)
    expect(await transfer(socket)).toEqual(REQUIRED)
    // Alice's own code is not spent by it.
    expect(await step(await enter(host, 'alice'), codeOf('alice', START))).toEqual({ factor: 'otp' })
  })

  test('is not somebody who has no secret', async () => {
    const host = await bank()
    const socket = await enter(host, 'carol')
    expect(await step(socket, '000000')).toEqual(WRONG)
    expect(await transfer(socket)).toEqual(REQUIRED)
  })
})

describe('guessing', () => {
  test('from many sockets and servers at once gets no more codes looked at than from one', async () => {
    const clock = testClock(START)
    const store = later(memoryStore({ clock }))
    let looked = 0
    const factor: Factor = { name: 'otp', verify: async () => (looked++, await new Promise(setImmediate), false) }
    const hosts = [await bank({ clock, store, factor }), await bank({ clock, store, factor })]
    const sockets = await Promise.all(Array.from({ length: 20 }, (_, index) => enter(hosts[index % 2]!)))
    const answers = await Promise.all(sockets.map((socket) => step(socket, '123456')))
    expect(looked).toBe(5)
    expect(answers.filter(({ error }) => error.code === 'UNAUTHENTICATED')).toHaveLength(5)
    expect(answers.filter(({ error }) => error.code === 'RATE_LIMITED')).toHaveLength(15)
  })

  test('sent in one burst on one socket, and connecting anew, gets no more either', async () => {
    const clock = testClock(START)
    let looked = 0
    const host = await bank({ clock, factor: { name: 'otp', verify: () => (looked++, false) } })
    for (let round = 0; round < 4; round++) {
      const socket = await enter(host)
      const answers = await Promise.all(Array.from({ length: 30 }, () => step(socket, '123456')))
      expect(answers.every(({ error }) => error.code === 'UNAUTHENTICATED' || error.code === 'RATE_LIMITED')).toBe(true)
      socket.disconnect()
    }
    expect(looked).toBeLessThanOrEqual(5)
  })

  test('locks one subject, and no other', async () => {
    const host = await bank({ terms: { maxAttempts: 1 } })
    const [alice, bob] = [await enter(host), await enter(host, 'bob')]
    await step(alice, wrongCode('alice', START))
    expect(await step(alice, codeOf('alice', START))).toEqual(refused('RATE_LIMITED', { retryAfterMs: 15 * MINUTE }))
    expect(await step(bob, codeOf('bob', START))).toEqual({ factor: 'otp' })
  })

  test('a laxer limit in another namespace does not loosen the strict one', async () => {
    const clock = testClock(START)
    const host = await serve((io) => {
      const factor = totp({ secretFor: ({ subject }) => SECRETS[subject] })
      const gate = guard(io, { clock, store: memoryStore({ clock }) }).use(authenticate(word))
      for (const name of ['/strict', '/lax']) io.of(name)
      gate.of('/strict').event('transfer', stepUp(factor, { maxAgeMs: MINUTE, maxAttempts: 2 }))
      gate.of('/lax').event('transfer', stepUp(factor, { maxAgeMs: MINUTE, maxAttempts: 100, attemptsPerMs: 1_000 }))
      return gate
    })
    const [strict, lax] = [await enter(host, 'alice', { namespace: '/strict' }), await enter(host, 'alice', { namespace: '/lax' })]
    for (let attempt = 0; attempt < 2; attempt++) expect(await step(strict, wrongCode('alice', START))).toEqual(WRONG)
    expect(await step(strict, wrongCode('alice', START))).toEqual(refused('RATE_LIMITED', { retryAfterMs: 7.5 * MINUTE }))
    expect(await step(lax, wrongCode('alice', START))).toEqual(WRONG)
    clock.advance(2_000)
    expect(await step(strict, codeOf('alice', START))).toEqual(refused('RATE_LIMITED', { retryAfterMs: 7.5 * MINUTE - 2_000 }))
  })

  test('right codes do not count: whoever needs many is not locked', async () => {
    const host = await bank({ terms: { maxAttempts: 2, attemptsPerMs: 100 * 24 * 60 * MINUTE } })
    const socket = await enter(host)
    for (let round = 0; round < 12; round++) {
      expect(await step(socket, codeOf('alice', host.clock.now()))).toEqual({ factor: 'otp' })
      host.clock.advance(PERIOD)
    }
    expect(await step(socket, wrongCode('alice', host.clock.now()))).toEqual(WRONG)
    expect(await step(socket, codeOf('alice', host.clock.now()))).toEqual({ factor: 'otp' })
    host.clock.advance(PERIOD)
    expect(await step(socket, wrongCode('alice', host.clock.now()))).toEqual(WRONG)
    expect(await step(socket, codeOf('alice', host.clock.now()))).toEqual(refused('RATE_LIMITED', { retryAfterMs: expect.any(Number) }))
  })

  test('the same code from fifty sockets at once proves one of them', async () => {
    const clock = testClock(START)
    const store = later(memoryStore({ clock }))
    const hosts = [await bank({ clock, store, terms: { maxAttempts: 100 } }), await bank({ clock, store, terms: { maxAttempts: 100 } })]
    const sockets = await Promise.all(Array.from({ length: 50 }, (_, index) => enter(hosts[index % 2]!)))
    const code = codeOf('alice', START)
    const answers = await Promise.all(sockets.map((socket) => step(socket, code)))
    expect(answers.filter(({ factor }) => factor === 'otp')).toHaveLength(1)
    const passed = await Promise.all(sockets.map((socket) => transfer(socket)))
    expect(passed.filter((answer) => answer === 'done')).toHaveLength(1)
  })
})

describe('the lane', () => {
  test('a step-up sent behind an event that is being decided is answered at once, and counts for it', async () => {
    const latch = new Latch()
    let waiting = false
    const slow = {
      name: 'slow',
      event: async (_ctx: EventContext, next: () => void | Promise<void>) => {
        waiting = true
        await latch.opened
        await next()
      },
    }
    const host = await bank({ declare: (gate, own) => gate.event('transfer', slow, own).event('say') })
    const socket = await enter(host)
    const order: string[] = []
    const first = transfer(socket, 1).then((answer: unknown) => (order.push('transfer'), answer))
    const second = socket.emitWithAck('say', 'behind').then((answer: unknown) => (order.push('say'), answer))
    const proof = step(socket, codeOf('alice', START)).then((answer: unknown) => (order.push('step-up'), answer))
    expect(await proof).toEqual({ factor: 'otp' })
    expect(waiting).toBe(true)
    expect(order).toEqual(['step-up'])
    latch.open()
    expect(await first).toBe('done')
    expect(await second).toBe('behind')
    expect(order).toEqual(['step-up', 'transfer', 'say'])
  })

  test('events go on while a code is being looked at', async () => {
    const latch = new Latch<boolean>()
    const host = await bank({ factor: { name: 'otp', verify: () => latch.opened } })
    const socket = await enter(host)
    const proof = step(socket, '123456')
    expect(await socket.emitWithAck('say', 'meanwhile')).toBe('meanwhile')
    expect(await transfer(socket)).toEqual(REQUIRED)
    latch.open(true)
    expect(await proof).toEqual({ factor: 'otp' })
    expect(await transfer(socket)).toBe('done')
  })
})

describe('where something is missing', () => {
  test('a client that leaves while its code is looked at leaves nothing behind', async () => {
    const latch = new Latch<boolean>()
    let looking = false
    const clock = testClock(START)
    const store = memoryStore({ clock })
    const host = await bank({ clock, store, terms: { share: 'subject' }, factor: { name: 'otp', verify: () => ((looking = true), latch.opened) } })
    const socket = await enter(host)
    socket.emit('gate:step-up', { code: '123456' }, () => undefined)
    await until(() => looking)
    socket.disconnect()
    await until(() => host.io.sockets.sockets.size === 0)
    latch.open(true)
    const next = await enter(host)
    expect(await transfer(next)).toEqual(REQUIRED)
    expect(host.seen.fault).toEqual([])
  })

  test.each<[string, Partial<Store>]>([
    ['throws when attempts are counted', { consume: () => fail() }],
    ['rejects when attempts are counted', { consume: () => Promise.reject(new Error('down')) }],
    ['rejects when the code is marked as used', { set: () => Promise.reject(new Error('down')) }],
    ['rejects when newer codes are looked for', { getMany: (keys) => (keys[0]?.startsWith('totp') === true ? Promise.reject(new Error('down')) : keys.map(() => undefined)) }],
    ['rejects when the attempt is given back', { consume: (_key, { cost }) => (cost < 0 ? Promise.reject(new Error('down')) : 0) }],
    ['rejects when the proof is shared', { set: (key) => (key.startsWith('factor:') ? Promise.reject(new Error('down')) : true) }],
  ])('a store that %s: UNAVAILABLE, and nothing is proved', async (_words, parts) => {
    const clock = testClock(START)
    const host = await bank({ clock, store: wrapped(memoryStore({ clock }), parts), terms: { share: 'subject' } })
    const socket = await enter(host)
    expect(await step(socket, codeOf('alice', START))).toEqual(refused('UNAVAILABLE'))
    expect(await transfer(socket)).toEqual(REQUIRED)
    expect(host.transfers).toEqual([])
    expect(host.seen.fault).toEqual([])
  })

  test('a store that cannot say whether another socket has proved it: UNAVAILABLE', async () => {
    const clock = testClock(START)
    let down = false
    const store = memoryStore({ clock })
    const host = await bank({ clock, store: wrapped(store, { get: (key) => (down ? Promise.reject(new Error('down')) : store.get(key)) }), terms: { share: 'subject' } })
    const [first, second] = [await enter(host), await enter(host)]
    await step(first, codeOf('alice', START))
    down = true
    expect(await transfer(second)).toEqual(refused('UNAVAILABLE'))
    // Who has proved it on its own socket does not need the store.
    expect(await transfer(first)).toBe('done')
  })

  test('a factor that never answers ends at the deadline, and its late answer proves nothing', async () => {
    const latch = new Latch<boolean>()
    let looking = false
    const host = await bank({ factor: { name: 'otp', verify: () => ((looking = true), latch.opened) } })
    const socket = await enter(host)
    const proof = step(socket, '123456')
    await until(() => looking)
    host.clock.advance(5_000)
    expect(await proof).toEqual(refused('DEADLINE_EXCEEDED'))
    latch.open(true)
    await latch.opened
    expect(await transfer(socket)).toEqual(REQUIRED)
  })

  test.each<[string, () => unknown]>([
    ['throws', () => fail()],
    ['rejects', () => Promise.reject(new Error('down'))],
  ])('a factor that %s is a fault, and proves nothing', async (_words, verify) => {
    const host = await bank({ factor: { name: 'otp', verify: verify as Factor['verify'] } })
    const socket = await enter(host)
    expect(await step(socket, '123456')).toEqual(refused('INTERNAL'))
    expect(host.seen.fault).toHaveLength(1)
    expect(await transfer(socket)).toEqual(REQUIRED)
  })

  test.each([1, 'yes', {}, [], 'true', null, undefined])('a factor that answers %p, and not true, proves nothing', async (answer) => {
    const host = await bank({ factor: { name: 'otp', verify: () => answer as boolean } })
    const socket = await enter(host)
    expect(await step(socket, '123456')).toEqual(WRONG)
    expect(await transfer(socket)).toEqual(REQUIRED)
  })

  test('who is nobody has nothing to prove', async () => {
    const host = await bank({ authentication: { optional: true } })
    const socket = await entered(host)
    expect(await step(socket, codeOf('alice', START))).toEqual(refused('UNAUTHENTICATED'))
    expect(await transfer(socket)).toEqual(refused('UNAUTHENTICATED'))
  })

  test('where no event demands a factor, there is none to bring', async () => {
    const host = await bank({ declare: (gate) => gate.event('transfer') })
    const socket = await enter(host)
    expect((await step(socket, '123456')).error).toBeDefined()
    expect(await transfer(socket)).toBe('done')
  })
})

describe('what is no step-up', () => {
  const deep = (() => {
    let value: unknown = 1
    for (let level = 0; level < 200; level++) value = [value]
    return value
  })()

  test.each<[string, unknown]>([
    ['nothing', undefined],
    ['null', null],
    ['a number', 123456],
    ['text', '123456'],
    ['true', true],
    ['an array', ['123456']],
    ['an empty object', {}],
    ['a code that is a number', { code: 123456 }],
    ['a code that is null', { code: null }],
    ['a code in an array', { code: ['123456'] }],
    ['a code in an object', { code: { length: 6 } }],
    ['an empty code', { code: '' }],
    ['a factor that nobody demands', { factor: 'hwk', code: '123456' }],
    ['a factor that every object has', { factor: 'constructor', code: '123456' }],
    ['a factor that is an array', { factor: ['otp'], code: '123456' }],
    ['a factor that is null', { factor: null, code: '123456' }],
    ['a code of 1 MB', { code: '1'.repeat(900_000) }],
    ['a factor of 100 kB', { factor: 'o'.repeat(100_000), code: '123456' }],
    ['two hundred levels', { code: deep }],
    ['bytes', Buffer.from('123456')],
    ['a code of bytes', { code: Buffer.from('123456') }],
  ])('%s is refused, and costs no attempt', async (_words, payload) => {
    const host = await bank({ terms: { maxAttempts: 1 } })
    const socket = await enter(host)
    const answer: any = await socket.emitWithAck('gate:step-up', payload)
    expect(['INVALID_PAYLOAD', 'PAYLOAD_TOO_LARGE']).toContain(answer.error?.code)
    expect(await step(socket, codeOf('alice', START))).toEqual({ factor: 'otp' })
    expect(host.seen.fault).toEqual([])
  })

  test.each(['{"__proto__":{"code":"123456"}}', '{"code":"123456","__proto__":{"factor":"otp"}}', '{"constructor":{"prototype":{}},"code":"123456"}'])('a payload that reaches for prototypes, %s, is refused', async (text) => {
    const host = await bank({ factor: { name: 'otp', verify: () => true } })
    const socket = await raw(host)
    await socket.enter('/', { as: 'alice' })
    socket.send(`27["gate:step-up",${text}]`)
    expect(JSON.parse((await socket.next('37[')).slice(2))).toEqual([refused('INVALID_PAYLOAD', { details: { limit: 'prototype' } })])
    expect(({} as { factor?: unknown }).factor).toBeUndefined()
  })

  test('without an ack it is judged all the same, and a refusal comes as gate:denied', async () => {
    const host = await bank()
    const socket = await enter(host)
    const told = heard(socket, 'gate:denied')
    socket.emit('gate:step-up', { code: wrongCode('alice', START) })
    expect(await told).toEqual([{ event: 'gate:step-up', code: 'UNAUTHENTICATED', message: expect.any(String), id: expect.any(String) }])
    socket.emit('gate:step-up', { code: codeOf('alice', START) })
    await until(() => host.seen.admitted.some(({ event }) => event === 'gate:step-up'))
    expect(await transfer(socket)).toBe('done')
  })

  test('no listener of the application hears of it, and none can answer it', async () => {
    const host = await bank({ declare: (gate, own) => gate.event('*').event('transfer', own) })
    const seen: unknown[] = []
    host.io.on('connection', (socket) => {
      socket.onAny((...event: unknown[]) => seen.push(event))
      socket.use((event, next) => (seen.push(event), next()))
      socket.on('gate:step-up', (...event: unknown[]) => seen.push(event))
    })
    const socket = await enter(host)
    expect(await step(socket, codeOf('alice', START))).toEqual({ factor: 'otp' })
    expect(seen).toEqual([])
  })

  test('a code is in no record, whatever becomes of it', async () => {
    const host = await bank()
    const shown: string[] = []
    for (const outcome of ['admitted', 'denied', 'fault'] as const) {
      host.gate.on(outcome, (decision) => {
        const { error, refusal, peer, subject, event, policy } = decision
        shown.push(inspect({ error, refusal, peer, subject, event, policy, args: (decision as unknown as { context: { args?: unknown } }).context.args }, { depth: 6, showHidden: true }))
      })
    }
    const socket = await enter(host)
    const [right, wrong] = [codeOf('alice', START), wrongCode('alice', START)]
    await step(socket, wrong)
    await step(socket, right)
    await step(socket, right)
    await step(socket, right, { factor: 'hwk' })
    await step(socket, [right])
    expect(shown.length).toBeGreaterThanOrEqual(5)
    for (const record of shown) {
      expect(record).not.toContain(right)
      expect(record).not.toContain(wrong)
      expect(record).not.toContain(SECRETS['alice']!.toString())
    }
  })
})

describe('several factors', () => {
  const hardware: Factor = { name: 'hwk', verify: (code) => code === 'touched' }

  test('each is its own proof, and the client says which one it brings', async () => {
    const host = await bank({
      declare: (gate, own) => gate.event('transfer', own).event('say', stepUp(hardware, { maxAgeMs: MINUTE }), unordered()),
    })
    const socket = await enter(host)
    expect(await step(socket, codeOf('alice', START))).toEqual(refused('INVALID_PAYLOAD', { details: { factors: ['otp', 'hwk'] } }))
    expect(await step(socket, 'touched', { factor: 'hwk' })).toEqual({ factor: 'hwk' })
    expect(await socket.emitWithAck('say', 'hi')).toBe('hi')
    expect(await transfer(socket)).toEqual(REQUIRED)
    expect(await step(socket, codeOf('alice', START), { factor: 'otp' })).toEqual({ factor: 'otp' })
    expect(await transfer(socket)).toBe('done')
  })

  test('wrong codes of one do not lock the other', async () => {
    const host = await bank({ declare: (gate, own) => gate.event('transfer', own).event('say', stepUp(hardware, { maxAgeMs: MINUTE })) })
    const socket = await enter(host)
    for (let attempt = 0; attempt < 6; attempt++) await step(socket, 'untouched', { factor: 'hwk' })
    expect(await step(socket, 'touched', { factor: 'hwk' })).toEqual(refused('RATE_LIMITED', { retryAfterMs: expect.any(Number) }))
    expect(await step(socket, codeOf('alice', START), { factor: 'otp' })).toEqual({ factor: 'otp' })
  })

  test('inside a combinator it can be brought as well', async () => {
    const host = await bank({ declare: (gate, own) => gate.event('transfer', when((ctx: EventContext<{ principal: Principal }, any>) => Number(ctx.data) > 100, own)) })
    const socket = await enter(host)
    expect(await transfer(socket, 100)).toBe('done')
    expect(await transfer(socket, 101)).toEqual(REQUIRED)
    expect(await step(socket, codeOf('alice', START))).toEqual({ factor: 'otp' })
    expect(await transfer(socket, 101)).toBe('done')
  })
})

function fail(): never {
  throw new Error('down')
}

/** A store that answers as another one does, but for some operations. */
function wrapped(store: Store, parts: Partial<Store>): Store {
  return new Proxy(store, {
    get(target, name) {
      const own: unknown = (parts as Record<PropertyKey, unknown>)[name] ?? Reflect.get(target, name)
      return typeof own === 'function' ? own.bind(target) : own
    },
  })
}

/** A store as over a network: each operation answers later. */
function later(store: Store): Store {
  const delayed = (name: 'consume' | 'set' | 'get' | 'getMany' | 'getOrSet') => async (...args: unknown[]) => {
    await new Promise((resolve) => setImmediate(resolve))
    return (store[name] as (...given: unknown[]) => never)(...args)
  }
  return wrapped(store, { consume: delayed('consume'), set: delayed('set'), get: delayed('get'), getMany: delayed('getMany'), getOrSet: delayed('getOrSet') })
}
