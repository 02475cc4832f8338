import { describe, expect, test } from '@jest/globals'
import type { Denied } from 'portcullis'
import { rateLimit } from 'portcullis/policies'
import { testClock } from 'portcullis/testing'
import type { ServerOptions, Socket } from 'socket.io'
import type { Socket as ClientSocket } from 'socket.io-client'
import msgpack from 'socket.io-msgpack-parser'
import { bare, deepArray, guarded, inside, noticesOf, refusalIn } from '../support/application.ts'
import { connectPacket, entered, polling, raw, refusal, runChild, client as stock, until } from '../support/server.ts'

// Section 6 of the facts: what a parser lets through, with the parser of Socket.IO and with msgpack.

type Answer = (...args: unknown[]) => void

/** Notes what reaches a handler. */
const notes = (heard: unknown[][]) => (socket: Socket): void => {
  socket.on('x', (...args: unknown[]) => heard.push(args.filter((arg) => typeof arg !== 'function')))
}

const limitOf = ({ error }: { readonly error: unknown }): unknown => (error as Denied).details?.['limit']

// What msgpack encoders would not write, byte by byte (https://github.com/msgpack/msgpack/blob/master/spec.md).
const bytes = (...parts: (number | string | Uint8Array)[]): Buffer => Buffer.concat(parts.map((part) => (typeof part === 'number' ? Buffer.of(part) : Buffer.from(part as string))))
const text = (value: string): Buffer => (value.length < 32 ? bytes(0xa0 | value.length, value) : bytes(0xda, value.length >> 8, value.length & 0xff, value))
const list = (...items: Uint8Array[]): Buffer => (items.length < 16 ? bytes(0x90 | items.length, ...items) : bytes(0xdc, items.length >> 8, items.length & 0xff, ...items))
const map = (...entries: [string, Uint8Array][]): Buffer => bytes(0x80 | entries.length, ...entries.flatMap(([key, value]) => [text(key), value]))
const number = (value: number): Buffer => Buffer.of(value)
/** A date as notepack, the encoder of socket.io-msgpack-parser, writes it: one second after the epoch. */
const secondOne = bytes(0xd7, 0, 0, 0, 0, 0, 0, 0, 0x03, 0xe8)
const deepList = (levels: number): Buffer => bytes(...Array<number>(levels - 1).fill(0x91), 0x90)

/** A packet as msgpack. */
const packed = (type: number, data: Uint8Array, id?: number): Buffer => map(['type', number(type)], ['nsp', text('/')], ['data', data], ...(id === undefined ? [] : ([['id', number(id)]] as [string, Uint8Array][])))

const overMsgpack: Partial<ServerOptions> = { parser: msgpack }
const msgpackClient = (host: { url: string }, options: object = {}): Promise<ClientSocket> => entered(host, { parser: msgpack, ...options })
/** Writes bytes as one message, past the encoder of the client. */
const write = (client: ClientSocket, message: Buffer): void => void client.io.engine.write(message)

describe('one request with many events', () => {
  const flood = Array.from({ length: 10_000 }, (_, n) => `2["x",${n}]`)

  test('bare: a single polling request brings 10,000 events, and all are handled', async () => {
    const heard: unknown[][] = []
    const host = await bare(notes(heard))
    const client = await polling(host)
    await client.post([connectPacket()])
    await client.post(flood)
    await until(() => heard.length === flood.length)
  })

  test('guarded: each of them is judged: a limit of 100 lets 100 be handled', async () => {
    const heard: unknown[][] = []
    const clock = testClock()
    const host = await guarded(notes(heard), (gate) => gate.event('x', rateLimit({ limit: 100, perMs: 1_000 })), { clock })
    const client = await polling(host)
    await client.post([connectPacket()])
    await client.post(flood)
    await until(() => host.seen.denied.length === flood.length - 100)
    await (await inside(host)).ask(['ping'])
    expect(heard).toHaveLength(100)
    expect(new Set(host.seen.denied.map(({ code }) => code))).toEqual(new Set(['RATE_LIMITED']))
  })
})

describe('attachments', () => {
  const placeholder = '{"_placeholder":true,"num":0}'

  test('bare: one attachment may be named 1,000 times, and every handler argument is the same buffer', async () => {
    const heard: unknown[][] = []
    const host = await bare(notes(heard))
    const client = await inside(host)
    client.send(`51-["x",${Array(1_000).fill(placeholder).join()}]`)
    client.attach(Buffer.alloc(1_000))
    await client.ask(['ping'])
    expect(heard[0]).toHaveLength(1_000)
    expect(new Set(heard[0]).size).toBe(1)
  })

  test('guarded: it counts each time it is named, in arguments and inside them', async () => {
    const heard: unknown[][] = []
    const host = await guarded(notes(heard), (gate) => gate.event('x'), { limits: { maxBytes: 50_000 } })
    const client = await inside(host)
    const send = async (args: string, size = 10): Promise<void> => {
      client.send(`51-["x",${args}]`)
      client.attach(Buffer.alloc(size))
      await client.ask(['ping'])
    }
    await send(Array(1_000).fill(placeholder).join())
    await send(`[${Array(11).fill(placeholder).join()}]`)
    await send(`{"a":[${Array(6).fill(placeholder).join()}],"b":[${Array(6).fill(placeholder).join()}]}`)
    await send(`[${Array(6).fill(placeholder).join()}]`, 10_000)
    await send(placeholder)
    expect(host.seen.denied.map(limitOf)).toEqual(['maxArgs', 'maxAttachments', 'maxAttachments', 'maxBytes'])
    expect(heard).toEqual([[Buffer.alloc(10)]])
  })

  test('guarded: binary events and acks within the limits arrive unchanged', async () => {
    const host = await guarded(
      (socket) => void socket.on('x', (data: Buffer, ack: Answer) => ack({ echo: Buffer.concat([data, data]) })),
      (gate) => gate.event('x'),
    )
    const client = await entered(host)
    expect(await client.emitWithAck('x', Buffer.from([1, 2]))).toEqual({ echo: Buffer.from([1, 2, 1, 2]) })
  })

  test('bare: the msgpack parser has no limit of attachments', async () => {
    const heard: unknown[][] = []
    const host = await bare(notes(heard), overMsgpack)
    const client = await msgpackClient(host)
    client.emit('x', Array(5_000).fill(Buffer.from([1])))
    await client.emitWithAck('ping')
    expect(heard[0]![0]).toHaveLength(5_000)
  })

  test('guarded: with msgpack they are counted as well', async () => {
    const heard: unknown[][] = []
    const host = await guarded(notes(heard), (gate) => gate.event('x'), {}, overMsgpack)
    const client = await msgpackClient(host)
    expect(refusalIn([await client.emitWithAck('x', Array(5_000).fill(Buffer.from([1])))])).toMatchObject({ code: 'PAYLOAD_TOO_LARGE', details: { limit: 'maxAttachments' } })
    client.emit('x', Buffer.from([1]))
    await client.emitWithAck('ping')
    expect(heard).toEqual([[Buffer.from([1])]])
  })

  test('bare and guarded: more than ten attachments, or a packet in the middle of them, close that connection alone', async () => {
    for (const host of [await bare(() => {}), await guarded(() => {})]) {
      const [many, between, other] = [await inside(host), await inside(host), await inside(host)]
      many.send('511-["x"]')
      between.send('510-["x"]')
      between.attach(Buffer.alloc(100_000))
      between.send('2["ping"]')
      await Promise.all([many.closed, between.closed])
      expect(await other.ask(['ping'])).toEqual(['pong'])
    }
  })
})

describe('depth', () => {
  test('bare: 100,000 levels pass the parser, in an event, in an ack and in auth', async () => {
    const heard: unknown[][] = []
    const answers: unknown[] = []
    const host = await bare((socket) => {
      notes(heard)(socket)
      socket.emit('question', (answer: unknown) => answers.push(answer))
    })
    const client = await inside(host)
    client.send(`2["x",${deepArray(100_000)}]`, `30[${deepArray(100_000)}]`)
    await client.ask(['ping'])
    expect([heard.length, answers.length]).toEqual([1, 1])
    expect(await (await raw(host)).enter('/', `{"deep":${deepArray(100_000)}}`)).toMatchObject({ sid: expect.any(String) })
  })

  test('guarded: a level over maxDepth refuses an event, and no handler meets it', async () => {
    const heard: unknown[][] = []
    const host = await guarded(notes(heard), (gate) => gate.event('x'))
    const client = await inside(host)
    for (const args of [deepArray(33), deepArray(10_000), deepArray(400_000), `1,${'{"a":'.repeat(10_000)}1${'}'.repeat(10_000)}`, `{"fine":1,"deep":${deepArray(50)}}`]) client.send(`2["x",${args}]`)
    client.send(`270["x",${deepArray(10_000)}]`, `2["x",${deepArray(32)}]`)
    await client.ask(['ping'])
    expect(heard).toHaveLength(1)
    expect(host.seen.denied.map(limitOf)).toEqual(Array(6).fill('maxDepth'))
    expect(noticesOf(client)).toHaveLength(5)
  })

  test('guarded: binary data is a leaf, however deep it stands; a structure around it is not', async () => {
    const heard: unknown[][] = []
    const host = await guarded(notes(heard), (gate) => gate.event('x'), { limits: { maxDepth: 3 } })
    const client = await entered(host)
    client.emit('x', [[[Buffer.from([7])]]])
    client.emit('x', [[[[Buffer.from([7])]]]])
    await client.emitWithAck('ping')
    expect(heard).toEqual([[[[[Buffer.from([7])]]]]])
    expect(host.seen.denied.map(limitOf)).toEqual(['maxDepth'])
  })

  test('guarded: an ack that is too deep never reaches the callback', async () => {
    const answers: unknown[] = []
    const host = await guarded((socket) => void socket.emit('question', (answer: unknown) => answers.push(answer)))
    const client = await inside(host)
    client.send(`30[${deepArray(10_000)}]`)
    await client.ask(['ping'])
    expect(answers).toEqual([])
    expect(host.seen.denied.map(limitOf)).toEqual(['maxDepth'])
  })

  test('guarded: auth that is too deep is refused before any policy, on a namespace that exists and on one that would be created', async () => {
    const asked: string[] = []
    const host = await guarded(
      () => {},
      (gate) => gate.use({ name: 'ask', connect: (ctx, next) => (asked.push(ctx.namespace), next()) }).of(/^\/room-\d$/),
    )
    host.io.of(/^\/room-\d$/)
    const client = await raw(host)
    const auth = `{"token":${deepArray(10_000)}}`
    expect((await client.enter('/', auth)).data).toMatchObject({ code: 'PAYLOAD_TOO_LARGE', details: { limit: 'maxDepth' } })
    expect(await client.enter('/room-1', auth)).toEqual({ message: 'Invalid namespace' })
    expect(asked).toEqual([])
    expect(host.io._nsps.has('/room-1')).toBe(false)
    expect(await client.enter('/room-1')).toMatchObject({ sid: expect.any(String) })
    expect((await client.enter('/', auth)).data).toMatchObject({ code: 'PAYLOAD_TOO_LARGE' })
    expect(asked).toEqual(['/room-1'])
  })

  test('bare: over msgpack, too', async () => {
    const heard: unknown[][] = []
    const host = await bare(notes(heard), overMsgpack)
    const client = await msgpackClient(host)
    write(client, packed(2, list(text('x'), deepList(1_000))))
    await client.emitWithAck('ping')
    expect(heard).toHaveLength(1)
  })

  test('guarded: over msgpack, too: refused where the decoder takes it, and closed where it does not', async () => {
    const heard: unknown[][] = []
    const host = await guarded(notes(heard), (gate) => gate.event('x'), {}, overMsgpack)
    const [client, other] = [await msgpackClient(host), await msgpackClient(host)]
    write(client, packed(2, list(text('x'), deepList(1_000))))
    write(client, packed(2, list(text('x'), deepList(32))))
    await client.emitWithAck('ping')
    expect(heard).toHaveLength(1)
    expect(host.seen.denied.map(limitOf)).toEqual(['maxDepth'])
    const closed = new Promise((resolve) => client.once('disconnect', resolve))
    write(client, packed(2, list(text('x'), deepList(60_000))))
    expect(await closed).toBe('transport close')
    await other.emitWithAck('ping')
    expect(heard).toHaveLength(1)
  })

  test('guarded: an application that passes on what it gets survives a deep payload, in observe mode as well', async () => {
    for (const mode of ['enforce', 'observe'] as const) {
      const host = await guarded(
        (socket) => {
          socket.on('relay', (what: unknown) => socket.broadcast.emit('relayed', what))
          socket.on('echo', (what: unknown, ack: Answer) => ack(what))
        },
        (gate) => gate.event(['relay', 'echo']),
        { mode },
      )
      const [client, other] = [await inside(host), await inside(host)]
      client.send(`2["relay",${deepArray(10_000)}]`, `270["echo",${deepArray(10_000)}]`, `2["relay",${deepArray(32)}]`)
      await client.ask(['ping'])
      await other.ask(['ping'])
      expect(other.events()).toEqual([['relayed', JSON.parse(deepArray(32))]])
      expect(host.seen.denied.map(({ code, enforced }) => [code, enforced])).toEqual(Array(2).fill(['PAYLOAD_TOO_LARGE', true]))
    }
  })
})

describe('prototypes', () => {
  const forged = '{"__proto__":{"isAdmin":true},"name":"guest"}'

  test('bare: an own __proto__ key of a JSON payload becomes a prototype where an application merges it', async () => {
    const heard: unknown[][] = []
    const host = await bare(notes(heard))
    const client = await inside(host)
    client.send(`2["x",${forged}]`)
    await client.ask(['ping'])
    const [[payload]] = heard as [[{ isAdmin?: boolean }]]
    expect(payload.isAdmin).toBeUndefined()
    expect(Object.assign({ role: 'guest' }, payload)).toHaveProperty('isAdmin', true)
  })

  test('bare: over msgpack it is a prototype already, which no check of own keys sees', async () => {
    const heard: unknown[][] = []
    const host = await bare(notes(heard), overMsgpack)
    const client = await msgpackClient(host)
    client.emit('x', JSON.parse(forged))
    await client.emitWithAck('ping')
    const [[payload]] = heard as [[{ isAdmin?: boolean }]]
    expect(Object.keys(payload)).toEqual(['name'])
    expect(payload.isAdmin).toBe(true)
  })

  test.each([
    ['the key __proto__', forged],
    ['the key, nested in lists', `[[${forged}]]`],
    ['the key, escaped', '{"\\u005f_proto__":{"isAdmin":true}}'],
    ['the key with no object in it', '{"__proto__":1}'],
    ['a constructor that holds an object', '{"constructor":{"prototype":{"isAdmin":true}}}'],
    ['a constructor that holds a list', '{"constructor":[]}'],
  ])('guarded: %s is refused in events, acks and auth', async (_, payload) => {
    const heard: unknown[][] = []
    const host = await guarded(
      (socket) => {
        notes(heard)(socket)
        socket.emit('question', (...answer: unknown[]) => heard.push(answer))
      },
      (gate) => gate.event('x'),
    )
    const client = await inside(host)
    client.send(`2["x",${payload}]`, `2["x","first",${payload}]`, `30[${payload}]`)
    await client.ask(['ping'])
    expect(heard).toEqual([])
    expect(host.seen.denied.map(limitOf)).toEqual(Array(3).fill('prototype'))
    expect((await (await raw(host)).enter('/', `{"token":${payload}}`)).data).toMatchObject({ code: 'INVALID_PAYLOAD' })
    expect(({} as { isAdmin?: boolean }).isAdmin).toBeUndefined()
  })

  test('guarded: in a packet with attachments as well', async () => {
    const heard: unknown[][] = []
    const host = await guarded(notes(heard), (gate) => gate.event('x'))
    const client = await inside(host)
    client.send(`51-["x",{"__proto__":{"isAdmin":true},"file":{"_placeholder":true,"num":0}}]`)
    client.attach(Buffer.alloc(3))
    await client.ask(['ping'])
    expect(heard).toEqual([])
    expect(host.seen.denied.map(limitOf)).toEqual(['prototype'])
  })

  test('guarded: names that only look like it pass unchanged', async () => {
    const heard: unknown[][] = []
    const host = await guarded(notes(heard), (gate) => gate.event('x'))
    const client = await inside(host)
    const fine = { constructor: 'Ford', prototype: { doors: 5 }, proto: 1, ['__proto']: 2, toString: 'text', $ne: 1, hasOwnProperty: null }
    client.emit('x', fine, null, [null, 0, '', false])
    await client.ask(['ping'])
    expect(heard).toEqual([[fine, null, [null, 0, '', false]]])
  })

  test.each([
    ['an object', map(['__proto__', map(['isAdmin', number(1)])], ['name', text('guest')])],
    ['a list', map(['__proto__', list(text('a'))])],
    ['a date', map(['__proto__', secondOne])],
    ['bytes', map(['__proto__', bytes(0xc4, 1, 7)])],
    ['an object, nested', list(map(['a', map(['__proto__', map(['isAdmin', number(1)])])]))],
  ])('guarded: over msgpack, a prototype that is %s is refused in events, acks and auth', async (_, payload) => {
    const heard: unknown[][] = []
    const host = await guarded(
      (socket) => {
        notes(heard)(socket)
        socket.emit('question', (...answer: unknown[]) => heard.push(answer))
      },
      (gate) => gate.event('x').connect((ctx, next) => (ctx.handshake.auth['isAdmin'] === 1 ? heard.push(['auth']) : undefined, next())),
      {},
      overMsgpack,
    )
    const client = await msgpackClient(host)
    write(client, packed(2, list(text('x'), payload)))
    write(client, packed(3, list(payload), 0))
    await client.emitWithAck('ping')
    expect(heard).toEqual([])
    expect(host.seen.denied.map(limitOf)).toEqual(['prototype', 'prototype'])

    // A stock client whose own CONNECT never comes.
    const other = stock(host, { parser: msgpack, auth: () => {} })
    other.io.engine.once('open', () => write(other, packed(0, payload[0] === 0x91 ? map(['token', payload]) : payload)))
    expect((await refusal(other)).data).toMatchObject({ code: 'INVALID_PAYLOAD' })
    expect(heard).toEqual([])
  })

  // Reading a property that is a getter of the forged prototype throws: `offset` is one of Buffer's, and recovery reads it.
  const trap = packed(0, map(['__proto__', bytes(0xc4, 1, 7)]))

  test('bare: over msgpack and with recovery, auth with a forged prototype ends the process', async () => {
    const harmless = await runChild('test/e2e/forged-auth-child.ts', [packed(0, map()).toString('hex')])
    expect(harmless).toMatchObject({ code: 0, errors: '' })
    const { code, errors } = await runChild('test/e2e/forged-auth-child.ts', [trap.toString('hex')])
    expect(code).toBe(1)
    expect(errors).toContain('called on incompatible receiver')
  })

  test.each(['enforce', 'observe'] as const)('guarded, in %s mode: it is a refusal', async (mode) => {
    const host = await guarded(() => {}, undefined, { mode }, { ...overMsgpack, connectionStateRecovery: {} })
    const client = stock(host, { parser: msgpack, auth: () => {} })
    client.io.engine.once('open', () => write(client, trap))
    expect((await refusal(client)).message).toBe(mode === 'observe' ? 'INTERNAL' : 'INVALID_PAYLOAD')
    expect(await (await msgpackClient(host)).emitWithAck('ping')).toBe('pong')
  })

  test('guarded: dates, binary data and objects without a prototype are what msgpack brings, and pass', async () => {
    const heard: unknown[][] = []
    const host = await guarded(notes(heard), (gate) => gate.event('x'), {}, overMsgpack)
    const client = await msgpackClient(host)
    write(client, packed(2, list(text('x'), secondOne, bytes(0xc4, 1, 7), bytes(0xc7, 2, 0, 1, 2), map(['__proto__', bytes(0xc0)], ['a', number(1)]))))
    await client.emitWithAck('ping')
    const [[date, buffer, arrayBuffer, plain]] = heard as [[Date, Buffer, ArrayBuffer, object]]
    expect(date.getTime()).toBe(1_000)
    expect([...buffer, ...new Uint8Array(arrayBuffer)]).toEqual([7, 1, 2])
    expect(Object.getPrototypeOf(plain)).toBeNull()
  })
})

describe('names over msgpack', () => {
  const listening = (heard: string[]) => (socket: Socket): void => {
    for (const name of ['disconnect', 'disconnecting', 'connect', 'error', 'undefined', 'null', 'disconnect,', '[object Object]', '']) socket.on(name, (...args: unknown[]) => heard.push(`${name}: ${args.map(String).join()}`))
  }
  const name = { disconnect: text('disconnect'), 'a list that reads as disconnect': list(text('disconnect')), 'an object': map(), nil: bytes(0xc0), 'nothing at all': undefined }

  test('bare: a client raises disconnect with a reason of its own while it is connected', async () => {
    const heard: string[] = []
    const host = await bare(listening(heard), overMsgpack)
    const client = await msgpackClient(host)
    write(client, packed(2, list(text('disconnect'), text('forged reason'))))
    await client.emitWithAck('ping')
    expect(heard).toEqual(['disconnect: forged reason'])
  })

  test.each(Object.entries(name))('guarded: %s as a name is an unknown event, whatever else is declared or allowed', async (_, forged) => {
    for (const options of [{}, { undeclared: 'allow' }, { mode: 'observe' }] as const) {
      const heard: string[] = []
      const host = await guarded(listening(heard), (gate) => gate.event('*'), options, overMsgpack)
      const client = await msgpackClient(host)
      write(client, packed(2, forged === undefined ? list() : list(forged, text('forged reason'))))
      await client.emitWithAck('ping')
      const isText = forged !== undefined && forged[0] === 0xaa
      // A name that is no text counts as the empty one, which an application may allow.
      expect(heard.filter((each) => isText || !each.startsWith(':'))).toEqual([])
      if (isText) expect(host.seen.denied.map(({ code }) => code)).toEqual(['UNKNOWN_EVENT'])
    }
  })

  test('bare and guarded: auth that is null closes that connection alone', async () => {
    for (const host of [await bare(() => {}, overMsgpack), await guarded(() => {}, undefined, {}, overMsgpack)]) {
      const client = stock(host, { parser: msgpack })
      const closed = new Promise((resolve) => client.io.engine.once('close', resolve))
      client.io.engine.once('open', () => write(client, packed(0, bytes(0xc0))))
      await closed
      expect(await (await msgpackClient(host)).emitWithAck('ping')).toBe('pong')
    }
  })
})

describe('sizes', () => {
  test('bare: auth of 900 kB is kept with the socket', async () => {
    const host = await bare(() => {})
    expect(await (await raw(host)).enter('/', { token: 'x'.repeat(900_000) })).toMatchObject({ sid: expect.any(String) })
    expect(host.peer().handshake.auth['token']).toHaveLength(900_000)
  })

  test('guarded: auth over maxAuthBytes is refused before any policy', async () => {
    let asked = 0
    const host = await guarded(
      () => {},
      (gate) => gate.connect((_, next) => (asked++, next())),
    )
    expect((await (await raw(host)).enter('/', { token: 'x'.repeat(17_000) })).data).toMatchObject({ code: 'PAYLOAD_TOO_LARGE', details: { limit: 'maxAuthBytes' } })
    expect((await (await raw(host)).enter('/', { list: Array(17_000).fill(0) })).data).toMatchObject({ code: 'PAYLOAD_TOO_LARGE', details: { limit: 'maxAuthBytes' } })
    expect(asked).toBe(0)
    expect(await (await raw(host)).enter('/', { token: 'x'.repeat(16_000) })).toMatchObject({ sid: expect.any(String) })
  })

  test('guarded: too much text, too many keys, elements or arguments are refused, and an event may have limits of its own', async () => {
    const heard: unknown[][] = []
    const host = await guarded(notes(heard), (gate) => gate.of('/', { events: { x: { limits: { maxBytes: 200_000, maxArgs: 2 } }, y: {} } }).event(['x', 'y']), { limits: { maxBytes: 1_000 } }, { maxHttpBufferSize: 3e6 })
    const client = await inside(host)
    client.emit('y', 'x'.repeat(1_001))
    client.emit('y', { ['k'.repeat(1_001)]: 1 })
    client.emit('x', 'x'.repeat(2_000_000))
    client.emit('x', Array(200_001).fill(0))
    client.emit('x', Object.fromEntries(Array.from({ length: 50_001 }, (_, n) => [n, 0])))
    client.emit('x', 1, 2, 3)
    client.emit('x', 'x'.repeat(100_000), 2)
    await client.ask(['ping'])
    expect(host.seen.denied.map(limitOf)).toEqual(['maxBytes', 'maxBytes', 'maxBytes', 'maxBytes', 'maxKeys', 'maxArgs'])
    expect(heard).toHaveLength(1)
  })

  test('guarded: a message over maxHttpBufferSize closes that connection alone, as in Socket.IO', async () => {
    const host = await guarded(() => {}, undefined, {}, { maxHttpBufferSize: 10_000 })
    const [big, other] = [await inside(host), await inside(host)]
    big.emit('ping', 'x'.repeat(10_001))
    await big.closed
    expect(await other.ask(['ping'])).toEqual(['pong'])
  })

  test('guarded: packets that are no packets close that connection alone', async () => {
    const host = await guarded(() => {})
    const other = await inside(host)
    for (const packet of ['2', '2[]', '2{}', '2["a"', '2[null]', '2[{}]', '2[["disconnect"]]', '9', '', '51-["x",{"_placeholder":true,"num":7}]', '5["x"]', '3', '30{}', '4"x"', '2/unentered,["x"]', '0', '2["connect"]', '1[]']) {
      const client = await inside(host)
      client.send(packet)
      if (packet.startsWith('51-')) client.attach(Buffer.alloc(1))
      client.send('2["disconnect"]')
      await client.closed
    }
    expect(await other.ask(['ping'])).toEqual(['pong'])
    expect(host.seen.fault).toEqual([])
  })
})
