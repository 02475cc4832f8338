import { describe, expect, jest, test } from '@jest/globals'
import { ConfigError, deny, guard, memoryStore } from 'portcullis'
import { testClock } from 'portcullis/testing'
import { Server } from 'socket.io'
import { Declared } from '../../lib/guard.ts'
import { Core } from '../../lib/core.ts'
import { resolveOptions } from '../../lib/options.ts'

/** A server that nobody can reach: what is looked at here happens before anybody connects. */
const server = (options: object = {}): Server => new Server(options)

describe('guard', () => {
  test.each([[undefined], [null], [{}], ['io'], [() => {}]])('refuses %p in place of a server', (io) => {
    expect(() => guard(io as never)).toThrow(ConfigError)
  })

  test('guards a server once', () => {
    const io = server()
    guard(io)
    expect(() => guard(io)).toThrow(ConfigError)
    expect(() => guard(io)).toThrow(/guarded already/)
  })

  test('refuses a bad option, and leaves the server as it was', () => {
    const io = server()
    expect(() => guard(io, { mode: 'off' as never })).toThrow(ConfigError)
    expect(() => guard(io)).not.toThrow()
  })

  test.each([
    ['eio3', { allowEIO3: true }],
    ['webtransport', { transports: ['polling', 'webtransport'] }],
  ])('refuses a server with %s, which cannot be guarded, unless it is accepted in so many words', (way, options) => {
    const io = server(options)
    expect(() => guard(io)).toThrow(new RegExp(`dangerouslyAllow: \\['${way}'\\]`))
    const gate = guard(io, { dangerouslyAllow: [way as never] })
    expect(gate.coverage().warnings).toContain(`dangerouslyAllow: ${way} cannot be guarded, and is accepted.`)
  })
})

describe('the gate', () => {
  test('declares in any order of calls, each returning what was called', () => {
    const gate = guard(server())
    const pass = (_ctx: unknown, next: () => any): any => next()
    expect(gate.request(pass).connect(pass).event('x', pass).join('r', pass).deliver('x', pass).reply('x', pass)).toBe(gate)
    const chat = gate.of('/chat')
    expect(chat.use({ name: 'p', event: pass })).toBe(chat)
  })

  test('knows no facts of a socket that is not under it', () => {
    expect(() => guard(server()).peerOf({})).toThrow(TypeError)
  })

  test('tells of three outcomes, and of no other', () => {
    const gate = guard(server())
    expect(() => gate.on('refused' as never, () => {})).toThrow(ConfigError)
    expect(() => gate.off('error' as never, () => {})).toThrow(ConfigError)
  })

  test('closes its timers and its store, and not the server', async () => {
    const store = memoryStore({ clock: testClock() })
    const closing = jest.spyOn(store, 'close')
    const io = server()
    await guard(io, { store }).close()
    expect(closing).toHaveBeenCalledTimes(1)
    expect(() => io.of('/still here')).not.toThrow()
  })
})

describe('coverage', () => {
  test('shows namespaces of the server, those it does not have, and what weakens the gate', () => {
    const io = server()
    io.of('/chat')
    const gate = guard(io, { undeclared: { namespaces: 'allow' } })
    gate.request(() => deny('FORBIDDEN'))
    gate.of('/chat').connect((_ctx, next) => next())
    gate.of('/missing')
    const shown = gate.coverage()
    expect(shown.request).toEqual(['request'])
    expect(shown.namespaces.map(({ namespace }) => namespace)).toEqual(['/', '/chat'])
    expect(shown.missing).toEqual(['/missing'])
    expect(shown.sealed).toBe(false)
    expect(shown.warnings).toContain('Undeclared namespaces may be entered.')
    expect(JSON.parse(JSON.stringify(shown))).toEqual(shown)
  })

  test('counts nothing as missing where a dynamic namespace may still be made', () => {
    const io = server()
    io.of(/^\/team-/)
    const gate = guard(io)
    gate.of('/team-7')
    expect(gate.coverage().missing).toEqual([])
  })
})

describe('declarations', () => {
  const declared = (): Declared => new Declared(new Core(resolveOptions({ clock: testClock() }, undefined)), () => {
      throw new Error('nothing is attached here')
    })

  test('have an order', () => {
    const all = declared()
    expect([all.next(), all.next(), all.next()]).toEqual([0, 1, 2])
  })

  test('are over once the gate is sealed', () => {
    const all = declared()
    all.sealed = true
    expect(() => all.next()).toThrow(ConfigError)
    expect(() => all.next()).toThrow(/sealed/)
  })

  test('are compiled once, and anew after another one', () => {
    const all = declared()
    const first = all.plan('/')
    expect(all.plan('/')).toBe(first)
    all.next()
    all.root.addEvent(0, 'x', [])
    expect(all.plan('/')).not.toBe(first)
    expect(all.plan('/').event('x').known).toBe(true)
    const request = all.request()
    expect(all.request()).toBe(request)
    all.next()
    expect(all.request()).not.toBe(request)
  })
})
