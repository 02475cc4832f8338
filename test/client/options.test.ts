import { Agent } from 'node:https'
import { describe, expect, test } from '@jest/globals'
import { connect } from 'portcullis/client'
import { closeAfterTest, until } from '../support/server.ts'
import { refusal, standIn } from './stand-in.ts'

const credentials = (): object => ({ token: 'a' })

describe('options', () => {
  test.each<[what: string, options: any, message: string]>([
    ['none', undefined, 'connect: credentials is a function that gives the auth payload, such as { token }.'],
    ['no credentials', {}, 'connect: credentials is a function that gives the auth payload, such as { token }.'],
    ['a token instead of a function', { credentials: { token: 'a' } }, 'connect: credentials is a function that gives the auth payload, such as { token }.'],
    ['auth', { credentials, auth: { token: 'a' } }, 'connect: auth is not an option. Use credentials.'],
    ['reconnection', { credentials, reconnection: false }, 'connect: reconnection is not an option. Use maxAttempts.'],
    ['reconnectionAttempts', { credentials, reconnectionAttempts: 3 }, 'connect: reconnectionAttempts is not an option. Use maxAttempts.'],
    ['reconnectionDelay', { credentials, reconnectionDelay: 3 }, 'connect: reconnectionDelay is not an option. Use minDelayMs.'],
    ['reconnectionDelayMax', { credentials, reconnectionDelayMax: 3 }, 'connect: reconnectionDelayMax is not an option. Use maxDelayMs.'],
    ['randomizationFactor', { credentials, randomizationFactor: 0 }, 'connect: randomizationFactor is not an option. Use schedule.'],
    ['retries', { credentials, retries: 3 }, 'connect: retries is not an option. Use request().'],
    ['forceNew', { credentials, forceNew: false }, 'connect: forceNew is not an option.'],
    ['multiplex', { credentials, multiplex: true }, 'connect: multiplex is not an option.'],
    ['autoConnect', { credentials, autoConnect: false }, 'connect: autoConnect is not an option.'],
    ['no try at all', { credentials, maxAttempts: 0 }, 'connect: maxAttempts is a positive number.'],
    ['a number that is none', { credentials, minDelayMs: Number.NaN }, 'connect: minDelayMs is a positive number.'],
    ['a number as text', { credentials, maxDelayMs: '1s' }, 'connect: maxDelayMs is a positive number.'],
    ['a negative time', { credentials, credentialsTimeoutMs: -1 }, 'connect: credentialsTimeoutMs is a positive number.'],
    ['no time for an answer', { credentials, requestTimeoutMs: null }, 'connect: requestTimeoutMs is a positive number.'],
    ['no time for a connect', { credentials, timeout: 0 }, 'connect: timeout is a positive number.'],
    ['a fetch that is none', { credentials, fetch: 'fetch' }, 'connect: fetch is a function, such as the fetch of the platform.'],
    ['TLS without verification', { credentials, rejectUnauthorized: false }, 'connect: rejectUnauthorized: false lets anybody be the server. Use ca.'],
    ['an agent without verification', { credentials, agent: new Agent({ rejectUnauthorized: false }) }, 'connect: rejectUnauthorized: false lets anybody be the server. Use ca.'],
  ])('%s is a TypeError that says what to write', (_, options, message) => {
    expect(() => connect('http://127.0.0.1:9', options)).toThrow(new TypeError(message))
  })

  test('one that is undefined is not there', async () => {
    const { url } = await standIn()
    const connection = connect(url, { credentials, maxAttempts: undefined, schedule: undefined, auth: undefined, transports: undefined } as never)
    closeAfterTest(() => connection.close())
    await until(() => connection.state === 'connected')
  })

  test('those of socket.io-client are passed on', async () => {
    const host = await standIn()
    const connection = connect(host.url, { credentials, transports: ['websocket'], query: { a: '1' }, extraHeaders: { 'x-b': '2' } })
    closeAfterTest(() => connection.close())
    await until(() => connection.state === 'connected')
    const { query, headers } = host.last.handshake
    expect(connection.socket.io.reconnection()).toBe(false)
    expect([query['transport'], query['a'], headers['x-b']]).toEqual(['websocket', '1', '2'])
  })

  test('without a schedule, time is real, and a time too long for a timer is long', async () => {
    const host = await standIn((_, nth) => (nth === 1 ? refusal('UNAVAILABLE', { retryAfterMs: 10 ** 15 }) : undefined))
    const connection = connect(host.url, { credentials, transports: ['websocket'], minDelayMs: 1 })
    closeAfterTest(() => connection.close())
    await until(() => connection.state === 'waiting')
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect(connection.state).toBe('waiting')
    expect(host.auths).toHaveLength(1)
  })

  test('each connect has a connection of its own: namespaces of one server do not share one', async () => {
    const host = await standIn()
    host.io.of('/other')
    const both = [connect(host.url, { credentials }), connect(`${host.url}/other`, { credentials })]
    for (const connection of both) closeAfterTest(() => connection.close())
    await until(() => both.every(({ state }) => state === 'connected'))
    expect(host.io.engine.clientsCount).toBe(2)
  })
})
