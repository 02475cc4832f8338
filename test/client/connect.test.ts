import { createServer as createHttpServer } from 'node:http'
import { createServer as createTcpServer } from 'node:net'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { GateError, type Connection, type ConnectionError, type State } from 'portcullis/client'
import { codes } from 'portcullis'
import { closeAfterTest, heard, Latch, listen, until } from '../support/server.ts'
import { cut, HandSchedule, refusal, standIn, watched, type Watched } from './stand-in.ts'

/** Nothing here may be left to the process, whatever happens to a promise. */
const unhandled: unknown[] = []
const note = (reason: unknown): void => void unhandled.push(reason)
beforeEach(() => void process.on('unhandledRejection', note))
afterEach(async () => {
  await new Promise(setImmediate)
  process.off('unhandledRejection', note)
  expect(unhandled.splice(0)).toEqual([])
})

/** Gives one credential after the other, and then the last for ever. */
function inTurn(...auths: object[]): () => object {
  return () => (auths.length > 1 ? auths.shift()! : auths[0]!)
}

/** A place where nobody listens. */
async function nowhere(): Promise<{ readonly url: string }> {
  const server = createHttpServer()
  const port = await listen(server)
  await new Promise((resolve) => server.close(resolve))
  return { url: `http://127.0.0.1:${port}` }
}

/** What goes over the wire when somebody connects the stock Socket by hand, once its engine has opened. */
async function sentByStockConnect({ socket }: Connection): Promise<unknown[]> {
  const opened = heard(socket.io, 'open')
  const sent: unknown[] = []
  socket.connect()
  socket.io.engine.on('packetCreate', ({ type, data }) => type === 'message' && sent.push(data))
  await opened
  await new Promise(setImmediate)
  return sent
}

describe('credentials', () => {
  test('are asked for before the first connect, and are its auth payload', async () => {
    const host = await standIn()
    const { asks, is, states } = watched(host, () => ({ token: 'a' }))
    expect(asks).toEqual([])
    await is('connected')
    expect(asks).toEqual([{ reason: 'connect', attempt: 1 }])
    expect(host.auths).toEqual([{ token: 'a' }])
    expect(states).toEqual(['connected'])
  })

  test('are asked for at every reconnect: one that can be used once is used once', async () => {
    const host = await standIn()
    let n = 0
    const { asks, is, pause, states } = watched(host, async () => ({ ticket: `t${++n}` }))
    await is('connected')
    for (let i = 0; i < 2; i++) {
      cut(host)
      await pause()
      await is('connected')
    }
    expect(host.auths).toEqual([{ ticket: 't1' }, { ticket: 't2' }, { ticket: 't3' }])
    expect(asks.map(({ reason }) => reason)).toEqual(['connect', 'connect', 'connect'])
    expect(states).toEqual(['connected', 'waiting', 'connecting', 'connected', 'waiting', 'connecting', 'connected'])
  })

  const cycle: { self?: object } = {}
  cycle.self = cycle
  test.each<[what: string, credentials: any]>([
    ['throws', () => { throw new Error('no session') }],
    ['rejects', () => Promise.reject(new Error('no session'))],
    ['gives nothing', () => undefined],
    ['gives null', async () => null],
    ['gives a text', () => 'token'],
    ['gives what cannot be sent', () => cycle],
    ['gives a number too big for JSON', () => ({ token: 10n })],
    ['gives what throws when looked at', () => new Proxy({}, { ownKeys: () => { throw new Error('no') } })],
    ['rejects with nothing', () => Promise.reject()],
  ])('a function that %s is a try that has failed, and no more', async (_, credentials) => {
    const host = await standIn()
    const { asks, pause, is, failed, closed } = watched(host, credentials, { maxAttempts: 3 })
    await pause()
    await pause()
    await is('closed')
    expect(asks.map(({ attempt }) => attempt)).toEqual([1, 2, 3])
    expect(failed.map((error) => [error.name, (error as ConnectionError).code])).toEqual(Array(3).fill(['ConnectionError', 'CREDENTIALS']))
    expect(closed).toEqual([{ reason: 'attempts', error: failed[2] }])
    expect(host.auths).toEqual([])
  })

  test('a function that hangs is aborted, and its late answer goes nowhere', async () => {
    const host = await standIn()
    const late = new Latch<object>()
    const { schedule, asks, signals, failed, is, pause } = watched(host, ({ attempt }) => (attempt === 1 ? late.opened : { token: 'second' }), { credentialsTimeoutMs: 700 })
    await until(() => asks.length === 1)
    schedule.advance(699)
    expect(signals[0]!.aborted).toBe(false)
    schedule.advance(1)
    expect(signals[0]!.aborted).toBe(true)
    await pause()
    late.open({ token: 'late' })
    await is('connected')
    expect(failed).toEqual([expect.objectContaining({ code: 'CREDENTIALS' })])
    expect(host.auths).toEqual([{ token: 'second' }])
  })

  test.each(['UNAUTHENTICATED', 'CREDENTIAL_EXPIRED', 'REVOKED'])('after %s a fresh one is asked for at once, and tried once', async (code) => {
    const host = await standIn(({ token }) => (token === 'fresh' ? undefined : refusal(code)))
    const { asks, is, refused, states } = watched(host, ({ reason }) => ({ token: reason === 'refused' ? 'fresh' : 'stale' }))
    await is('connected')
    expect(host.auths).toEqual([{ token: 'stale' }, { token: 'fresh' }])
    expect(asks).toEqual([{ reason: 'connect', attempt: 1 }, { reason: 'refused', attempt: 2 }])
    expect(refused).toEqual([expect.objectContaining({ name: 'GateError', code, id: `id of ${code}` })])
    expect(states).toEqual(['connected'])
  })

  test('a second refusal is the last', async () => {
    const host = await standIn(() => refusal('UNAUTHENTICATED'))
    let n = 0
    const { asks, is, refused, closed, schedule } = watched(host, () => ({ token: `another ${n++}` }))
    await is('closed')
    expect(host.auths).toHaveLength(2)
    expect(asks).toHaveLength(2)
    expect(refused).toHaveLength(2)
    expect(closed).toEqual([{ reason: 'refused', error: refused[1] }])
    expect(schedule.pending).toBe(0)
  })

  test.each<[what: string, first: object, second: object]>([
    ['the same', { token: 'a' }, { token: 'a' }],
    ['equal, with its keys in another order', { token: 'a', at: { b: 1, c: [1, 2] } }, { at: { c: [1, 2], b: 1 }, token: 'a' }],
    ['equal when it is sent', { token: 'a', at: undefined }, { token: 'a' }],
    ['empty both times', {}, {}],
  ])('a refused one is never sent again: %s', async (_, first, second) => {
    const host = await standIn(() => refusal('UNAUTHENTICATED'))
    const { is, closed, refused } = watched(host, inTurn(first, second))
    await is('closed')
    expect(host.auths).toHaveLength(1)
    expect(closed).toEqual([{ reason: 'refused', error: refused[0] }])
  })

  test('a refused one is not sent at a later reconnect either', async () => {
    const host = await standIn(({ token }) => (token === 'bad' ? refusal('UNAUTHENTICATED') : undefined))
    const { asks, is, pause } = watched(host, inTurn({ token: 'bad' }, { token: 'good' }, { token: 'bad' }, { token: 'better' }))
    await is('connected')
    cut(host)
    await pause()
    await is('connected')
    expect(host.auths).toEqual([{ token: 'bad' }, { token: 'good' }, { token: 'better' }])
    expect(asks.map(({ reason }) => reason)).toEqual(['connect', 'refused', 'connect', 'refused'])
  })

  test('a try that fails for another reason does not make a refused one good', async () => {
    const host = await standIn(({ token }, nth) => (nth === 1 ? refusal('UNAUTHENTICATED') : nth === 2 ? refusal('UNAVAILABLE') : token === 'b' ? undefined : refusal('UNAUTHENTICATED')))
    const { asks, is, pause } = watched(host, inTurn({ token: 'a' }, { token: 'b' }, { token: 'b' }))
    await pause()
    await is('connected')
    expect(asks.map(({ reason }) => reason)).toEqual(['connect', 'refused', 'refused'])
    expect(host.auths).toEqual([{ token: 'a' }, { token: 'b' }, { token: 'b' }])
  })

  test('a refusal that says when is waited for', async () => {
    const host = await standIn((_, nth) => (nth === 1 ? refusal('UNAUTHENTICATED', { retryAfterMs: 4_000 }) : undefined))
    let n = 0
    const { is, pause } = watched(host, () => ({ token: n++ }))
    expect(await pause()).toBeGreaterThanOrEqual(4_000)
    await is('connected')
  })

  test('that arrive while the connection is being closed go nowhere', async () => {
    const host = await standIn()
    for (let hops = 0; hops < 12; hops++) {
      const given = new Latch<object>()
      const { connection, asks, schedule, closed, failed } = watched(host, () => given.opened)
      await until(() => asks.length === 1)
      given.open({ token: 'late' })
      for (let n = 0; n < hops; n++) await Promise.resolve()
      connection.close()
      await new Promise(setImmediate)
      expect([connection.state, schedule.pending, failed, closed]).toEqual(['closed', 0, [], [{ reason: 'asked', error: undefined }]])
    }
    expect(host.auths).toEqual([])
  })

  test('are not given to a connect that somebody else makes', async () => {
    const host = await standIn(() => refusal('UNAVAILABLE'))
    const { connection, is } = watched(host)
    await is('waiting')
    expect(await sentByStockConnect(connection)).toEqual([])
    expect(host.auths).toHaveLength(1)
  })
})

describe('a refusal at the door', () => {
  const later = Object.keys(codes).filter((code) => codes[code as keyof typeof codes].retryable)
  const final = Object.keys(codes).filter((code) => !later.includes(code) && !['UNAUTHENTICATED', 'CREDENTIAL_EXPIRED', 'REVOKED'].includes(code))

  test.each(later)('%s: another try, not before it is said', async (code) => {
    const host = await standIn((_, nth) => (nth === 1 ? refusal(code, { retryAfterMs: 2_500 }) : undefined))
    const { is, pause, failed, refused, schedule, connection } = watched(host)
    await is('waiting')
    schedule.advance(2_500)
    expect(connection.state).toBe('waiting')
    expect(await pause()).toBeGreaterThanOrEqual(2_500)
    await is('connected')
    expect(failed).toEqual([expect.objectContaining({ code, retryAfterMs: 2_500 })])
    expect(refused).toEqual(failed)
  })

  test.each(final)('%s is final', async (code) => {
    const host = await standIn(() => refusal(code, { details: { why: 1 } }))
    const { is, asks, closed, schedule } = watched(host)
    await is('closed')
    expect(host.auths).toHaveLength(1)
    expect(asks).toHaveLength(1)
    expect(closed).toEqual([{ reason: 'refused', error: expect.any(GateError) }])
    expect(closed[0]!.error).toMatchObject({ code, message: `text of ${code}`, details: { why: 1 } })
    expect(schedule.pending).toBe(0)
  })

  test('a code this version does not know is final, unless it says when', async () => {
    expect((await outcome(refusal('OF_LATER'))).closed).toHaveLength(1)
    expect((await outcome(refusal('OF_LATER', { retryAfterMs: 10 }))).pauses).toHaveLength(1)

    async function outcome(refused: object): Promise<Watched> {
      const seen = watched(await standIn(() => refused))
      await until(() => seen.closed.length + seen.pauses.length > 0)
      return seen
    }
  })

  test.each([-1, Number.NaN, '5000', null, {}])('retryAfterMs %p is no time to wait', async (retryAfterMs) => {
    const host = await standIn((_, nth) => (nth === 1 ? refusal('RATE_LIMITED', { retryAfterMs }) : undefined))
    const { is, pause } = watched(host, undefined, { minDelayMs: 100 })
    expect(await pause()).toBe(50)
    await is('connected')
  })

  test('one of the application’s own middleware is final, with its own error', async () => {
    const host = await standIn(() => ({ my: 'reason' }))
    const { is, closed } = watched(host)
    await is('closed')
    expect(closed).toEqual([{ reason: 'refused', error: expect.objectContaining({ data: { my: 'reason' } }) }])
  })

  test.each<[code: string, status: number, reason: string | undefined]>([
    ['FORBIDDEN', 403, 'refused'],
    ['RATE_LIMITED', 429, undefined],
  ])('one over HTTP is read from its body: %s', async (code, status, reason) => {
    const http = createHttpServer((_, response) => response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify({ error: refusal(code, { retryAfterMs: status === 429 ? 3_000 : undefined }) })))
    const port = await listen(http)
    closeAfterTest(() => http.close())
    const seen = watched({ url: `http://127.0.0.1:${port}` }, undefined, { transports: ['polling'] })
    await until(() => seen.closed.length + seen.pauses.length > 0)
    expect(seen.refused).toEqual([expect.objectContaining({ code, id: `id of ${code}` })])
    expect(seen.closed[0]?.reason).toBe(reason)
    if (status === 429) expect(seen.pauses[0]!.inMs).toBeGreaterThanOrEqual(3_000)
  })

  test.each(['', 'null', '{}', '{"error":null}', '{"error":{"code":"x"}}', '<html>'])('an HTTP answer that is none of the gate’s is a try that has failed: %p', async (body) => {
    const http = createHttpServer((_, response) => response.writeHead(403).end(body))
    const port = await listen(http)
    closeAfterTest(() => http.close())
    const { is, failed } = watched({ url: `http://127.0.0.1:${port}` }, undefined, { transports: ['polling'] })
    await is('waiting')
    expect(failed).toEqual([expect.objectContaining({ code: 'UNREACHABLE' })])
  })
})

describe('a server that is not there (A26)', () => {
  test.each([0, 0.5, 0.999_999])('is tried five times, with pauses that grow, and then no more (chance %p)', async (chance) => {
    const { pause, is, asks, failed, closed, schedule } = watched(await nowhere(), undefined, {}, new HandSchedule(() => chance))
    const pauses = [await pause(), await pause(), await pause(), await pause()]
    await is('closed')
    for (const [n, base] of [1_000, 2_000, 4_000, 8_000].entries()) {
      expect(pauses[n]).toBeGreaterThanOrEqual(base / 2)
      expect(pauses[n]).toBeLessThan(base)
    }
    expect(asks.map(({ attempt }) => attempt)).toEqual([1, 2, 3, 4, 5])
    expect(failed.map((error) => (error as ConnectionError).code)).toEqual(Array(5).fill('UNREACHABLE'))
    expect(closed).toEqual([{ reason: 'attempts', error: failed[4] }])
    expect((failed[4]!.cause as { code?: string }).code).toBe('ECONNREFUSED')
    expect(schedule.pending).toBe(0)
    schedule.advance(10 ** 9)
    await new Promise(setImmediate)
    expect(asks).toHaveLength(5)
  })

  test('pauses grow whatever chance says, and differ between clients', async () => {
    const chances = [0.999, 0, 0.999, 0]
    const { pause } = watched(await nowhere(), undefined, {}, new HandSchedule(() => chances.shift() ?? 0))
    const pauses = [await pause(), await pause(), await pause(), await pause()]
    expect(pauses).toEqual([...pauses].sort((a, b) => a - b))
    expect(new Set(pauses).size).toBe(4)
  })

  test('the longest pause is bounded', async () => {
    const { pause } = watched(await nowhere(), undefined, { maxAttempts: 2_000, minDelayMs: 10, maxDelayMs: 40 })
    for (let n = 0; n < 12; n++) expect(await pause()).toBe(Math.min(5 * 2 ** n, 20))
  })

  test('a connection that is lost is tried for five times, then it is over', async () => {
    const host = await standIn()
    const { is, pause, closed, asks } = watched(host)
    await is('connected')
    await host.io.close()
    for (let n = 0; n < 5; n++) await pause()
    await is('closed')
    expect(asks).toHaveLength(6)
    expect(closed).toEqual([{ reason: 'attempts', error: expect.objectContaining({ code: 'UNREACHABLE' }) }])
  })

  test('a server that takes the connection and says nothing is a try that has failed', async () => {
    const tcp = createTcpServer(() => {})
    const port = await listen(tcp as never)
    closeAfterTest(() => tcp.close())
    const { schedule, is, failed, connection } = watched({ url: `http://127.0.0.1:${port}` }, undefined, { timeout: 5_000 })
    await until(() => connection.socket.io.engine !== undefined && schedule.pending === 1)
    schedule.advance(5_000)
    await is('waiting')
    expect(failed).toEqual([expect.objectContaining({ code: 'TIMEOUT' })])
  })

  test('an engine that opens and never answers CONNECT is one, too, and its late answer is not heard', async () => {
    const held = new Latch()
    const host = await standIn()
    host.io.use((_, next) => void held.opened.then(() => next()))
    const { schedule, is, failed, connection } = watched(host)
    await until(() => host.auths.length === 1)
    schedule.advance(20_000)
    await is('waiting')
    held.open()
    await until(() => host.io.engine.clientsCount === 0)
    expect(connection.state).toBe('waiting')
    expect(failed).toEqual([expect.objectContaining({ code: 'TIMEOUT' })])
  })

  test('an engine that ends before CONNECT is answered is one, too', async () => {
    const host = await standIn()
    host.io.use(() => {})
    const { is, failed } = watched(host)
    await until(() => host.auths.length === 1)
    host.http.closeAllConnections()
    for (const socket of Object.values<any>((host.io.engine as any).clients)) socket.transport.socket._socket.destroy()
    await is('waiting')
    expect(failed).toEqual([expect.objectContaining({ code: 'DISCONNECTED' })])
  })

  test('what fails during a pause, by a connect of somebody else, is no try', async () => {
    const { connection, is, failed, pauses, closed } = watched(await nowhere())
    await is('waiting')
    const error = heard(connection.socket, 'connect_error')
    connection.socket.connect()
    await error
    expect([failed.length, pauses.length, closed.length, connection.state]).toEqual([1, 1, 0, 'waiting'])
  })

  test('a server that lets everybody in and drops them at once is come back to ever more slowly', async () => {
    const host = await standIn(undefined, (socket) => void setImmediate(() => (socket.conn as any).transport.socket._socket.destroy()))
    const { pause, closed } = watched(host)
    const pauses: number[] = []
    for (let n = 0; n < 7; n++) pauses.push(await pause())
    expect(pauses).toEqual([500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000])
    expect(closed).toEqual([])
  })

  test('a connection that was stable starts from the shortest pause', async () => {
    const host = await standIn()
    const { is, pause, schedule } = watched(host)
    await is('connected')
    cut(host)
    expect(await pause()).toBe(500)
    await is('connected')
    cut(host)
    expect(await pause()).toBe(1_000)
    await is('connected')
    schedule.advance(30_000)
    cut(host)
    expect(await pause()).toBe(500)
  })
})

describe('gate:closing', () => {
  test('never: it is over', async () => {
    const host = await standIn()
    const { is, closed, schedule, asks } = watched(host)
    await is('connected')
    host.dismiss(refusal('REVOKED', { reconnect: 'never' }))
    await is('closed')
    expect(closed).toEqual([{ reason: 'advised', error: expect.objectContaining({ name: 'GateError', code: 'REVOKED' }) }])
    expect(schedule.pending).toBe(0)
    expect(asks).toHaveLength(1)
  })

  test('now: back within the shortest pause, later each time it is said to a connection that did not last', async () => {
    const host = await standIn()
    const { is, pause } = watched(host, undefined, {}, new HandSchedule(() => 0.25))
    await is('connected')
    host.dismiss(refusal('LIFETIME_EXCEEDED', { reconnect: 'now' }))
    expect(await pause()).toBe(250)
    await is('connected')
    host.dismiss(refusal('LIFETIME_EXCEEDED', { reconnect: 'now' }))
    expect(await pause()).toBe(1_250)
    await is('connected')
    expect(host.auths).toHaveLength(3)
  })

  test('now, with a time: not before', async () => {
    const host = await standIn()
    const { is, pause } = watched(host)
    await is('connected')
    host.dismiss(refusal('OVERLOADED', { reconnect: 'now', retryAfterMs: 9_000 }))
    expect(await pause()).toBeGreaterThanOrEqual(9_000)
    await is('connected')
  })

  test('after-credential: back with another credential', async () => {
    const host = await standIn()
    const { is, pause, asks, refused } = watched(host, ({ reason }) => ({ token: reason }))
    await is('connected')
    host.dismiss(refusal('CREDENTIAL_EXPIRED', { reconnect: 'after-credential' }))
    await pause()
    await is('connected')
    expect(asks.map(({ reason }) => reason)).toEqual(['connect', 'refused'])
    expect(host.auths).toEqual([{ token: 'connect' }, { token: 'refused' }])
    expect(refused).toEqual([expect.objectContaining({ code: 'CREDENTIAL_EXPIRED' })])
  })

  test('after-credential: the one that was in use is not sent again', async () => {
    const host = await standIn()
    const { is, pause, closed } = watched(host, () => ({ token: 'the only one' }))
    await is('connected')
    host.dismiss(refusal('REVOKED', { reconnect: 'after-credential' }))
    await pause()
    await is('closed')
    expect(host.auths).toHaveLength(1)
    expect(closed).toEqual([{ reason: 'refused', error: expect.objectContaining({ code: 'REVOKED' }) }])
  })

  test('after-credential: where the fresh one is refused as well, it is over', async () => {
    const host = await standIn((_, nth) => (nth === 1 ? undefined : refusal('UNAUTHENTICATED')))
    let n = 0
    const { is, pause, closed } = watched(host, () => ({ token: n++ }))
    await is('connected')
    host.dismiss(refusal('REVOKED', { reconnect: 'after-credential' }))
    await pause()
    await is('closed')
    expect(host.auths).toHaveLength(2)
    expect(closed).toMatchObject([{ reason: 'refused' }])
  })

  test('holds when the connection is cut instead of closed', async () => {
    const host = await standIn()
    const { connection, is, closed } = watched(host)
    await is('connected')
    const told = heard(connection.socket, 'gate:closing')
    host.last.emit('gate:closing', refusal('REVOKED', { reconnect: 'never' }))
    await told
    cut(host)
    await is('closed')
    expect(closed).toMatchObject([{ reason: 'advised' }])
  })

  test('does not hold for the connection after', async () => {
    const host = await standIn()
    const { is, pause, connection } = watched(host)
    await is('connected')
    host.dismiss(refusal('LIFETIME_EXCEEDED', { reconnect: 'now' }))
    await pause()
    await is('connected')
    host.last.disconnect(true)
    await is('closed')
    expect(connection.state).toBe('closed')
  })

  test.each<[what: string, notice: any]>([
    ['nothing', undefined],
    ['a text', 'now'],
    ['advice without a refusal', { reconnect: 'now' }],
    ['advice that is none', refusal('REVOKED', { reconnect: 'sometimes' })],
    ['a refusal without advice', refusal('REVOKED')],
  ])('that says %s is no reason to come back: a server that disconnects means it', async (_, notice) => {
    const host = await standIn()
    const { is, closed } = watched(host)
    await is('connected')
    host.dismiss(notice)
    await is('closed')
    expect(closed).toEqual([{ reason: 'server', error: undefined }])
  })
})

describe('gate:expiring', () => {
  const renewed = { expiresAtMs: 2_000, lost: { rooms: [], rights: [] } }

  /** Answers to `gate:refresh` in turn; the payloads it came with. */
  function refreshes(...answers: unknown[]): { payloads: unknown[]; onSocket: (socket: any) => void } {
    const payloads: unknown[] = []
    return {
      payloads,
      onSocket: (socket) =>
        socket.on('gate:refresh', (auth: unknown, ack: (answer: unknown) => void) => {
          payloads.push(auth)
          const answer = answers.shift()
          if (answer !== undefined) ack(answer)
        }),
    }
  }

  test('a new credential is asked for and sent; the connection stays', async () => {
    const { payloads, onSocket } = refreshes(renewed)
    const host = await standIn(undefined, onSocket)
    const { connection, is, asks, states } = watched(host, ({ reason }) => ({ token: reason }))
    await is('connected')
    const { id } = connection.socket
    const notices: unknown[] = []
    connection.on('expiring', (notice) => notices.push(notice))
    const refreshed = new Promise((resolve) => connection.on('refreshed', resolve))
    host.last.emit('gate:expiring', { expiresAtMs: 1_000, inMs: 500 })
    expect(await refreshed).toEqual(renewed)
    expect(payloads).toEqual([{ token: 'expiring' }])
    expect(asks).toEqual([{ reason: 'connect', attempt: 1 }, { reason: 'expiring', attempt: 1 }])
    expect(notices).toEqual([{ expiresAtMs: 1_000, inMs: 500 }])
    expect(connection.socket.id).toBe(id)
    expect(states).toEqual(['connected'])
  })

  test('the new credential is the one in use: it is the one not to be sent again when the gate wants another', async () => {
    const { onSocket } = refreshes(renewed)
    const host = await standIn(undefined, onSocket)
    const { connection, is, pause } = watched(host, inTurn({ token: 'first' }, { token: 'second' }, { token: 'second' }, { token: 'first' }))
    await is('connected')
    await connection.refresh()
    host.dismiss(refusal('REVOKED', { reconnect: 'after-credential' }))
    await pause()
    await is('closed')
    expect(host.auths).toEqual([{ token: 'first' }])
  })

  test('said twice at once, it is answered once; said again later, again', async () => {
    const { payloads, onSocket } = refreshes(renewed, renewed)
    const host = await standIn(undefined, onSocket)
    let n = 0
    const { connection, is } = watched(host, () => ({ token: n++ }))
    await is('connected')
    let refreshed = 0
    connection.on('refreshed', () => refreshed++)
    for (let i = 0; i < 3; i++) host.last.emit('gate:expiring', { expiresAtMs: 1, inMs: 1 })
    await until(() => refreshed === 1)
    host.last.emit('gate:expiring', { expiresAtMs: 1, inMs: 1 })
    await until(() => refreshed === 2)
    expect(payloads).toEqual([{ token: 1 }, { token: 2 }])
  })

  test('a refused one is followed by one that is fresh, and by no more', async () => {
    const { payloads, onSocket } = refreshes({ error: refusal('UNAUTHENTICATED') }, { error: refusal('UNAUTHENTICATED') })
    const host = await standIn(undefined, onSocket)
    let n = 0
    const { is, asks, refused, failed, connection, schedule } = watched(host, () => ({ token: n++ }))
    await is('connected')
    host.last.emit('gate:expiring', {})
    await until(() => failed.length === 1)
    expect(payloads).toEqual([{ token: 1 }, { token: 2 }])
    expect(asks.map(({ reason }) => reason)).toEqual(['connect', 'expiring', 'refused'])
    expect(refused).toHaveLength(2)
    expect(connection.state).toBe('connected')
    expect(schedule.pending).toBe(1)
  })

  test('a refused one is not sent twice', async () => {
    const { payloads, onSocket } = refreshes({ error: refusal('UNAUTHENTICATED') }, renewed)
    const host = await standIn(undefined, onSocket)
    const { is, failed } = watched(host, inTurn({ token: 'first' }, { token: 'second' }))
    await is('connected')
    host.last.emit('gate:expiring', {})
    await until(() => failed.length === 1)
    expect(payloads).toEqual([{ token: 'second' }])
    expect(failed).toEqual([expect.objectContaining({ code: 'UNAUTHENTICATED' })])
  })

  test('a refusal of another kind is not repeated', async () => {
    const { payloads, onSocket } = refreshes({ error: refusal('FORBIDDEN') }, renewed)
    const host = await standIn(undefined, onSocket)
    const { is, failed, refused } = watched(host, ({ reason }) => ({ token: reason }))
    await is('connected')
    host.last.emit('gate:expiring', {})
    await until(() => failed.length === 1)
    expect(payloads).toHaveLength(1)
    expect(refused).toEqual([expect.objectContaining({ code: 'FORBIDDEN' })])
  })

  test('what may go better later is tried again, when it is said to', async () => {
    const { payloads, onSocket } = refreshes({ error: refusal('UNAVAILABLE', { retryAfterMs: 3_000 }) }, renewed)
    const host = await standIn(undefined, onSocket)
    const { is, failed, schedule, connection } = watched(host, ({ reason }) => ({ token: reason }))
    await is('connected')
    const refreshed = new Promise((resolve) => connection.on('refreshed', resolve))
    host.last.emit('gate:expiring', {})
    await until(() => failed.length === 1 && schedule.pending === 2)
    schedule.advance(3_000)
    expect(payloads).toHaveLength(1)
    schedule.advance(500)
    await refreshed
    expect(payloads).toHaveLength(2)
  })

  test('a function that fails is asked again, within bounds', async () => {
    const host = await standIn()
    const { is, failed, schedule, asks, connection } = watched(host, ({ reason }) => (reason === 'connect' ? { token: 1 } : Promise.reject(new Error('no'))), { maxAttempts: 3 })
    await is('connected')
    for (let n = 0; n < 3; n++) host.last.emit('gate:expiring', {})
    for (let n = 1; n < 3; n++) {
      await until(() => failed.length === n && schedule.pending === 2)
      schedule.advance(2_000)
    }
    await until(() => failed.length === 3)
    expect(asks).toHaveLength(4)
    expect(schedule.pending).toBe(1)
    expect(connection.state).toBe('connected')
  })

  test('an answer that comes after the connection was lost is not sent on the next one', async () => {
    const { payloads, onSocket } = refreshes(renewed)
    const host = await standIn(undefined, onSocket)
    const late = new Latch<object>()
    const { connection, is, pause, asks, signals, failed } = watched(host, ({ reason }) => (reason === 'expiring' ? late.opened : { token: reason }))
    await is('connected')
    host.last.emit('gate:expiring', {})
    await until(() => asks.length === 2)
    cut(host)
    await is('waiting')
    expect(signals[1]!.aborted).toBe(true)
    late.open({ token: 'late' })
    await pause()
    await is('connected')
    // What was sent before its answer has arrived before it.
    connection.socket.on('there?', (ack: () => void) => ack())
    await host.last.emitWithAck('there?')
    expect(payloads).toEqual([])
    expect(failed).toEqual([])
  })

  test('a connection that is lost before the answer asks anew when it is back', async () => {
    const { payloads, onSocket } = refreshes()
    const host = await standIn(undefined, onSocket)
    const { is, pause } = watched(host, ({ reason }) => ({ token: reason }))
    await is('connected')
    host.last.emit('gate:expiring', {})
    await until(() => payloads.length === 1)
    cut(host)
    await pause()
    await is('connected')
    expect(host.auths).toEqual([{ token: 'connect' }, { token: 'connect' }])
    expect(payloads).toHaveLength(1)
  })

  test('by hand: with a credential of one’s own, or that of the function', async () => {
    const { payloads, onSocket } = refreshes(renewed, renewed, { error: refusal('UNAUTHENTICATED') })
    const host = await standIn(undefined, onSocket)
    const { connection, is, asks } = watched(host, ({ reason }) => ({ token: reason }))
    await expect(connection.refresh()).rejects.toMatchObject({ name: 'ConnectionError', code: 'DISCONNECTED' })
    await is('connected')
    expect(await connection.refresh({ token: 'mine' })).toEqual(renewed)
    expect(await Promise.all([connection.refresh(), connection.refresh()])).toEqual([renewed, renewed])
    await expect(connection.refresh({ token: 'bad' })).rejects.toMatchObject({ name: 'GateError', code: 'UNAUTHENTICATED' })
    expect(payloads).toEqual([{ token: 'mine' }, { token: 'expiring' }, { token: 'bad' }])
    expect(asks).toHaveLength(2)
    connection.close()
    await expect(connection.refresh()).rejects.toMatchObject({ code: 'CLOSED' })
  })
})

describe('gate:changed', () => {
  test('is passed on', async () => {
    const host = await standIn()
    const { connection, is } = watched(host)
    await is('connected')
    const changed = new Promise((resolve) => connection.on('changed', resolve))
    const notice = { cause: 'reauthorize', lost: { rooms: ['room:1'], rights: [] } }
    host.last.emit('gate:changed', notice)
    expect(await changed).toEqual(notice)
  })
})

describe('request', () => {
  const answering = (socket: any): void => {
    socket.on('add', (a: number, b: number, ack: (sum: number) => void) => ack(a + b))
    socket.on('refused', (ack: (answer: unknown) => void) => ack({ error: refusal('RATE_LIMITED', { retryAfterMs: 7, details: { limit: 1 } }) }))
    socket.on('other', (ack: (answer: unknown) => void) => ack({ error: 'of the application' }))
    socket.on('nothing', (ack: () => void) => ack())
    socket.on('null', (ack: (answer: null) => void) => ack(null))
    socket.on('silent', () => {})
  }

  test('gives what the ack brings', async () => {
    const { connection, is } = watched(await standIn(undefined, answering))
    await is('connected')
    expect(await connection.request('add', 1, 2)).toBe(3)
    expect(await connection.request('other')).toEqual({ error: 'of the application' })
    expect(await connection.request('nothing')).toBe(undefined)
    expect(await connection.request('null')).toBe(null)
  })

  test('throws a refusal as it is', async () => {
    const { connection, is } = watched(await standIn(undefined, answering))
    await is('connected')
    const error = await connection.request('refused').catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(GateError)
    expect(error).toBeInstanceOf(Error)
    expect(error).toMatchObject({ name: 'GateError', message: 'text of RATE_LIMITED', code: 'RATE_LIMITED', id: 'id of RATE_LIMITED', retryAfterMs: 7, details: { limit: 1 } })
  })

  test('is kept until there is a connection', async () => {
    const { connection } = watched(await standIn(undefined, answering))
    expect(await connection.request('add', 1, 2)).toBe(3)
  })

  test('throws when the connection is lost, when there is no answer, and when it is closed', async () => {
    const host = await standIn(undefined, answering)
    const { connection, is } = watched(host, undefined, { requestTimeoutMs: 30 })
    await is('connected')
    await expect(connection.request('silent')).rejects.toMatchObject({ name: 'ConnectionError', code: 'TIMEOUT' })
    const lost = connection.request('silent')
    cut(host)
    await expect(lost).rejects.toMatchObject({ code: 'DISCONNECTED' })
    const kept = connection.request('add', 1, 2)
    connection.close()
    await expect(kept).rejects.toMatchObject({ code: 'CLOSED' })
    await expect(connection.request('add', 1, 2)).rejects.toMatchObject({ code: 'CLOSED' })
  })

  test('what cannot be sent is thrown, and does no harm to the next', async () => {
    const { connection, is } = watched(await standIn(undefined, answering))
    await is('connected')
    await expect(connection.request('disconnect')).rejects.toThrow('reserved')
    const cycle: { self?: object } = {}
    cycle.self = cycle
    await expect(connection.request('add', cycle)).rejects.toThrow()
    const plain = await new Promise((resolve) => connection.socket.emit('add', 1, 2, (...answer: unknown[]) => resolve(answer)))
    expect(plain).toEqual([3])
  })
})

describe('stepUp', () => {
  test('brings a code, and gives the answer or throws the refusal', async () => {
    const payloads: unknown[] = []
    const host = await standIn(undefined, (socket) =>
      socket.on('gate:step-up', (payload: { code: string }, ack: (answer: unknown) => void) => {
        payloads.push(payload)
        ack(payload.code === '123456' ? { factor: 'otp' } : { error: refusal('STEP_UP_REQUIRED') })
      }),
    )
    const { connection, is } = watched(host)
    await expect(connection.stepUp('123456')).rejects.toMatchObject({ code: 'DISCONNECTED' })
    await is('connected')
    expect(await connection.stepUp('123456')).toEqual({ factor: 'otp' })
    await expect(connection.stepUp('0', { factor: 'otp' })).rejects.toMatchObject({ name: 'GateError', code: 'STEP_UP_REQUIRED' })
    expect(payloads).toEqual([{ code: '123456' }, { factor: 'otp', code: '0' }])
  })
})

describe('close', () => {
  test('is final, said once, and leaves nothing behind, at whatever time', async () => {
    const host = await standIn()
    const before = watched(host)
    before.connection.close()
    before.connection.close()
    expect(before.closed).toEqual([{ reason: 'asked', error: undefined }])

    const asking = watched(host, () => new Promise(() => {}))
    await until(() => asking.asks.length === 1)
    asking.connection.close()
    expect(asking.signals[0]!.aborted).toBe(true)

    const waiting = watched(await nowhere())
    await waiting.is('waiting')
    waiting.connection.close()

    const connected = watched(host)
    await connected.is('connected')
    connected.connection.close()
    connected.connection.close()

    await until(() => host.io.engine.clientsCount === 0)
    for (const { closed, connection, schedule, states } of [before, asking, waiting, connected]) {
      expect(closed).toEqual([{ reason: 'asked', error: undefined }])
      expect(connection.state).toBe('closed')
      expect(schedule.pending).toBe(0)
      expect(states.at(-1)).toBe('closed')
    }
  })

  test.each(['state', 'failed', 'refused'] as const)('may be asked for by a listener of %s', async (name) => {
    const host = await standIn(() => refusal(name === 'refused' ? 'UNAUTHENTICATED' : 'UNAVAILABLE'))
    let n = 0
    const { connection, closed, schedule, is } = watched(host, () => ({ token: n++ }))
    connection.on(name, () => connection.close())
    await is('closed')
    await until(() => host.io.engine.clientsCount === 0)
    expect(closed).toEqual([{ reason: 'asked', error: undefined }])
    expect(schedule.pending).toBe(0)
    expect(host.auths).toHaveLength(1)
  })

  test('the stock disconnect is one, too', async () => {
    const { connection, is, closed } = watched(await standIn())
    await is('connected')
    connection.socket.disconnect()
    expect(closed).toEqual([{ reason: 'asked', error: undefined }])
  })

  test('a stock connect afterwards comes to nothing', async () => {
    const host = await standIn()
    const { connection, is } = watched(host)
    await is('connected')
    connection.close()
    expect(await sentByStockConnect(connection)).toEqual([])
    expect(host.auths).toHaveLength(1)
    expect(connection.socket.connected).toBe(false)
    connection.socket.disconnect()
  })
})

describe('listeners', () => {
  test('are taken off by what on() gives, each by its own', async () => {
    const { connection, is } = watched(await standIn())
    const heardOf: string[] = []
    const listener = (state: State): void => void heardOf.push(state)
    const offs = [connection.on('state', listener), connection.on('state', listener)]
    await is('connected')
    offs[0]!()
    offs[0]!()
    connection.close()
    expect(heardOf).toEqual(['connected', 'connected', 'closed'])
  })

  test('one that throws is reported as uncaught, and stops nobody', async () => {
    const host = await standIn()
    const { connection, is, states } = watched(host)
    const uncaught: unknown[] = []
    const queue = globalThis.queueMicrotask
    globalThis.queueMicrotask = (run) => queue(() => {
      try { run() } catch (error) { uncaught.push(error) }
    })
    closeAfterTest(() => (globalThis.queueMicrotask = queue))
    const off = connection.on('state', () => { throw new Error('of the application') })
    const later: State[] = []
    connection.on('state', (state) => later.push(state))
    await is('connected')
    off()
    await until(() => uncaught.length === 1)
    expect(uncaught).toEqual([new Error('of the application')])
    expect(later).toEqual(states)
  })
})
