import { connect as tcp } from 'node:net'
import type { Server } from 'socket.io'
import { ask, RawClient, type Place } from '../support/raw-client.ts'

/** What ends the process of a bare server, and the least a client has to do for it. */
export interface Crash {
  /** Part of what the process of a bare server says when it ends. */
  readonly lastWords: string
  /** An application as people write them; nothing in it knows of a gate. */
  app(io: Server): void
  /** What a client does. @returns what it is told, which a bare server never gets to */
  attack(place: Place): Promise<unknown>
}

const throwing = (what: string) => (): never => {
  throw new Error(`broken ${what}`)
}
const rejecting = (what: string) => (): any => Promise.reject(new Error(`broken ${what}`))

const onEvent = (handler: (...args: any[]) => unknown) => (io: Server) => void io.on('connection', (socket) => socket.on('x', handler))

async function enter(place: Place): Promise<RawClient> {
  const client = await RawClient.open(place)
  await client.enter()
  return client
}

const askX = async (place: Place, ...args: unknown[]): Promise<unknown> => (await (await enter(place)).ask(['x', ...args]))[0]
const tryToEnter = async (place: Place): Promise<unknown> => (await RawClient.open(place)).enter()
const deep = (depth: number): string => `${'['.repeat(depth)}${']'.repeat(depth)}`

function circular(): object {
  const value: { self?: object } = {}
  value.self = value
  return value
}

/** Opens a WebSocket by hand and resets the connection when the server has begun to decide. */
async function resetDuringUpgrade({ port }: Place, pending: Promise<unknown>): Promise<void> {
  const socket = tcp(port, '127.0.0.1')
  socket.on('error', () => {})
  socket.write('GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAECAwQFBgcICQoLDA0ODw==\r\n\r\n')
  await pending
  socket.resetAndDestroy()
}

/** A decision of the application that is begun and never made. */
function undecided(): { readonly begun: Promise<unknown>; begin: () => void } {
  let begin!: () => void
  const begun = new Promise<void>((resolve) => (begin = resolve))
  return { begun, begin }
}

const middleware = undecided()
const allowance = undecided()

/** Answers the question of a server wrongly; a later round trip shows that the answer was taken in. */
const answerWrongly = async (place: Place): Promise<unknown> => {
  const client = await enter(place)
  const id = /^2(\d+)/.exec(await client.next('2'))![1]
  client.send(`3${id}[]`)
  return (await client.ask(['x']))[0]
}

/** Leaves one namespace; an answer in another, on the same connection, shows that this was taken in. */
const leave = async (place: Place): Promise<unknown> => {
  const client = await enter(place)
  await client.enter('/other')
  client.send('1')
  return (await client.ask(['x'], '/other'))[0]
}

const withOther = (listener: () => unknown) => (io: Server): void => {
  io.of('/other').on('connection', (socket) => socket.on('x', (ack) => ack('alive')))
  io.on('connection', (socket) => socket.on('disconnect', listener))
}

export const crashes = {
  'a handler throws': {
    lastWords: 'Error: broken handler',
    app: onEvent(throwing('handler')),
    attack: askX,
  },
  'an asynchronous handler rejects': {
    lastWords: 'Error: broken handler',
    app: onEvent(rejecting('handler')),
    attack: askX,
  },
  'a client leaves out the ack its handler calls': {
    lastWords: 'TypeError: ack is not a function',
    app: onEvent((ack: () => void) => ack()),
    async attack(place) {
      const client = await enter(place)
      client.emit('x')
      return JSON.parse((await client.next('2["gate:denied"')).slice(1))
    },
  },
  'a client sends something else in place of the ack': {
    lastWords: 'TypeError: ack is not a function',
    app: onEvent((_data: unknown, ack: () => void) => ack()),
    async attack(place) {
      const client = await enter(place)
      client.emit('x', 1, 2)
      return JSON.parse((await client.next('2["gate:denied"')).slice(1))
    },
  },
  'a handler answers with what cannot be encoded': {
    lastWords: 'TypeError: Do not know how to serialize a BigInt',
    app: onEvent((ack: (answer: unknown) => void) => ack(10n)),
    attack: askX,
  },
  'a handler relays an array 20,000 levels deep': {
    lastWords: 'RangeError: Maximum call stack size exceeded',
    app: (io) => void io.on('connection', (socket) => socket.on('x', (data, ack) => ack(io.emit('x', data)))),
    async attack(place) {
      const client = await enter(place)
      client.send(`27["x",${deep(20_000)}]`)
      return JSON.parse((await client.next('37[')).slice(2))[0]
    },
  },
  'a middleware of a namespace throws': {
    lastWords: 'Error: broken middleware',
    app: (io) => void io.use(throwing('middleware')),
    attack: tryToEnter,
  },
  'an asynchronous middleware of a namespace rejects': {
    lastWords: 'Error: broken middleware',
    app: (io) => void io.use(rejecting('middleware')),
    attack: tryToEnter,
  },
  'a middleware of a namespace throws after another went on later': {
    lastWords: 'Error: broken middleware',
    app: (io) => void io.use((_socket, next) => setImmediate(next)).use(throwing('middleware')),
    attack: tryToEnter,
  },
  'a middleware of a namespace refuses with data that cannot be encoded': {
    lastWords: 'TypeError: Converting circular structure to JSON',
    app: (io) => void io.use((_socket, next) => next(Object.assign(new Error('closed today'), { data: circular() }))),
    attack: tryToEnter,
  },
  'a connection listener throws': {
    lastWords: 'Error: broken listener',
    app: (io) => void io.on('connection', throwing('listener')),
    attack: thrownOut,
  },
  'an asynchronous connection listener rejects': {
    lastWords: 'Error: broken listener',
    app: (io) => void io.on('connection', rejecting('listener')),
    attack: thrownOut,
  },
  'a disconnect listener throws': {
    lastWords: 'Error: broken listener',
    app: withOther(throwing('listener')),
    attack: leave,
  },
  'an asynchronous disconnect listener rejects': {
    lastWords: 'Error: broken listener',
    app: withOther(rejecting('listener')),
    attack: leave,
  },
  'the function of dynamic namespaces rejects': {
    lastWords: 'Error: broken function',
    app: (io) => void io.of((rejecting('function')) as never),
    attack: async (place) => (await RawClient.open(place)).enter('/tenant'),
  },
  'a middleware of a socket throws': {
    lastWords: 'Error: broken middleware',
    app: (io) => void io.on('connection', (socket) => socket.use(throwing('middleware'))),
    attack: askX,
  },
  'an asynchronous middleware of a socket rejects': {
    lastWords: 'Error: broken middleware',
    app: (io) => void io.on('connection', (socket) => socket.use(rejecting('middleware'))),
    attack: askX,
  },
  'a middleware of a socket says no and all listeners of the socket were removed': {
    lastWords: 'Error: closed today',
    app: (io) => void io.on('connection', (socket) => socket.removeAllListeners().use((_event, next) => next(new Error('closed today')))),
    attack: askX,
  },
  'a client sends an event named error and all listeners of the socket were removed': {
    lastWords: "Unhandled error. ('x')",
    app: (io) => void io.on('connection', (socket) => socket.removeAllListeners()),
    async attack(place) {
      const client = await enter(place)
      client.emit('error', 'x')
      return JSON.parse((await client.next('2["gate:denied"')).slice(1))
    },
  },
  'a catch-all listener throws': {
    lastWords: 'Error: broken listener',
    app: (io) => void io.on('connection', (socket) => socket.onAny(throwing('listener'))),
    attack: askX,
  },
  'an asynchronous catch-all listener rejects': {
    lastWords: 'Error: broken listener',
    app: (io) => void io.on('connection', (socket) => socket.onAny(rejecting('listener'))),
    attack: askX,
  },
  'the callback for the answer of a client throws': {
    lastWords: "Cannot destructure property 'answer'",
    app: (io) => void io.on('connection', (socket) => socket.on('x', (ack) => ack('alive')).emit('question', ({ answer }: { answer: unknown }) => answer)),
    attack: answerWrongly,
  },
  'the asynchronous callback for the answer of a client rejects': {
    lastWords: "(reading 'answer')",
    app: (io) => void io.on('connection', (socket) => socket.on('x', (ack) => ack('alive')).emit('question', (...args: unknown[]): any => Promise.resolve(args).then(([{ answer }]: any) => answer))),
    attack: answerWrongly,
  },
  'the callback for the answers to a broadcast rejects': {
    lastWords: "Cannot destructure property 'text'",
    app: (io) => void io.on('connection', (socket) => {
      socket.on('x', (ack) => ack('alive'))
      io.timeout(60_000).emit('question', (_error: unknown, [answer]: any): any => Promise.resolve(answer).then(({ text }) => text))
    }),
    attack: answerWrongly,
  },
  'an engine middleware throws': {
    lastWords: 'Error: broken middleware',
    app: (io) => void io.engine.use(throwing('middleware')),
    attack: (place) => ask(place, {}),
  },
  'an asynchronous engine middleware rejects': {
    lastWords: 'Error: broken middleware',
    app: (io) => void io.engine.use(rejecting('middleware')),
    attack: (place) => ask(place, {}),
  },
  'an engine middleware throws after another went on later': {
    lastWords: 'Error: broken middleware',
    app(io) {
      io.engine.use((_request: unknown, _response: unknown, next: () => void) => setImmediate(next))
      io.engine.use(throwing('middleware'))
    },
    attack: (place) => ask(place, {}),
  },
  'an engine middleware refuses after it has begun to answer': {
    lastWords: 'ERR_HTTP_HEADERS_SENT',
    app: (io) => void io.engine.use((_request: unknown, response: { writeHead(status: number): void }, next: (error: Error) => void) => {
      response.writeHead(200)
      next(new Error('closed today'))
    }),
    attack: (place) => ask(place, {}).catch((error: Error) => error.message),
  },
  'allowRequest throws': {
    lastWords: 'Error: broken allowRequest',
    app(io) {
      io.engine.opts.allowRequest = throwing('allowRequest')
    },
    attack: (place) => ask(place, {}),
  },
  'an asynchronous allowRequest rejects': {
    lastWords: 'Error: broken allowRequest',
    app(io) {
      io.engine.opts.allowRequest = rejecting('allowRequest')
    },
    attack: (place) => ask(place, {}),
  },
  'a client resets an upgrade that an engine middleware is deciding': {
    lastWords: 'ECONNRESET',
    app: (io) => void io.engine.use((request: { headers: { upgrade?: string } }, _response: unknown, next: () => void) => (request.headers.upgrade === undefined ? next() : middleware.begin())),
    async attack(place) {
      await resetDuringUpgrade(place, middleware.begun)
      return (await ask(place, {})).status
    },
  },
  'a client resets an upgrade that allowRequest is deciding': {
    lastWords: 'ECONNRESET',
    app(io) {
      io.engine.opts.allowRequest = (request, done) => (request.headers.upgrade === undefined ? done(null, true) : allowance.begin())
    },
    async attack(place) {
      await resetDuringUpgrade(place, allowance.begun)
      return (await ask(place, {})).status
    },
  },
} satisfies Record<string, Crash>

export type CrashName = keyof typeof crashes

/** Enters, and is thrown out again. @returns why */
async function thrownOut(place: Place): Promise<unknown> {
  const client = await enter(place)
  await client.next((packet) => packet === '1')
  return client.events()
}

