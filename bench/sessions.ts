/**
 * `sessions`: what live sockets cost that agree with the sessions of express-session. How often the session store is asked about many idle peers and
 * how evenly, what the policy adds to an event and `sessions()` to an HTTP request.
 */
import { EventEmitter } from 'node:events'
import { ServerResponse, type IncomingMessage } from 'node:http'
import { Writable } from 'node:stream'
import { setTimeout } from 'node:timers/promises'
import express from 'express'
import session from 'express-session'
import type { Server } from 'socket.io'
import { guard, type Scheme } from 'portcullis'
import { sessions } from 'portcullis/adapters/express-session'
import { authenticate } from 'portcullis/policies'
import { texts } from './job.ts'
import { MemoryServer, type MemoryClient } from './micro/memory-server.ts'
import { formatGroup, time, type Case, type Group, type Timed } from './micro/timing.ts'
import type { Options } from './options.ts'

const peers = 5_000
const recheckMs = 10_000
const recheckedTimes = 3
const tenths = 10
const secret = 'a secret for measurements only'
const clients = 8
const batch = 64
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** The memory store of express-session, which notes when it is read. */
class CountingStore extends session.MemoryStore {
  readonly readAt: number[] = []

  override get(id: string, done: (error: unknown, found?: session.SessionData | null) => void): void {
    this.readAt.push(performance.now())
    super.get(id, done)
  }
}

interface Application {
  store: CountingStore
  middleware: express.RequestHandler
  live: ReturnType<typeof sessions>
  /** A session with a user in it. @returns the Cookie header of its browser */
  signIn(user: string): Promise<string>
}

function application(more: object = {}): Application {
  const store = new CountingStore()
  const middleware = session({ store, secret, resave: false, saveUninitialized: false, cookie: { secure: true, httpOnly: true, sameSite: 'lax' }, name: '__Host-sid' })
  const live = sessions({ middleware, store, secret, name: '__Host-sid', recheckMs, dangerouslyWithoutCsrf: true, ...more })
  return { store, middleware, live, signIn: (user) => signIn(middleware, { user, theme: 'dark', cart: [1, 2, 3] }) }
}

/** A request that nobody has sent: all that express and express-session look at. */
function request(cookie: string | undefined): IncomingMessage {
  const socket = Object.assign(new EventEmitter(), { remoteAddress: '192.0.2.1', encrypted: true })
  const headers = { host: 'app.example', 'user-agent': 'bench', ...(cookie === undefined ? {} : { cookie }) }
  return Object.assign(new EventEmitter(), { method: 'GET', url: '/', headers, socket, connection: socket }) as unknown as IncomingMessage
}

/** A response whose bytes go nowhere. */
function response(to: IncomingMessage): { response: ServerResponse; done: Promise<void> } {
  const own = new ServerResponse(to)
  const done = new Promise<void>((resolve) => own.once('finish', resolve))
  own.assignSocket(new Writable({ write: (_chunk, _encoding, next) => next() }) as never)
  return { response: own, done }
}

/** What is asked of an application, without a network. */
async function ask(app: (request: any, response: any) => unknown, cookie: string | undefined): Promise<ServerResponse> {
  const asked = request(cookie)
  const { response: answer, done } = response(asked)
  Object.assign(asked, { res: answer })
  app(asked, answer)
  await done
  return answer
}

async function signIn(middleware: express.RequestHandler, data: object): Promise<string> {
  const answer = await ask((asked, own) => middleware(asked, own, () => {
    Object.assign(asked.session, data)
    own.end()
  }), undefined)
  const [cookie] = [answer.getHeader('set-cookie')].flat()
  if (typeof cookie !== 'string') throw new Error('no session cookie was set')
  return cookie.split(';')[0] as string
}

const guarded = ({ live }: Application) => (io: Server): void => {
  guard(io, { undeclared: 'allow' }).use(authenticate(live.scheme())).use(live.policy())
}

interface Reads {
  name: string
  /** Of the session store, for each peer and recheck interval. */
  perPeer: number
  /** The largest share of one interval's reads in a tenth of it. 0.1 is perfectly even. */
  largestShare: number
  cpuMsPerSecond: number
}

/** Peers that do nothing, over a few intervals. */
async function idle(name: string, more: object): Promise<Reads> {
  process.stderr.write(`${name}\n`)
  const own = application(more)
  const cookies: string[] = []
  for (let index = 0; index < peers; index += 1) cookies.push(await own.signIn(`user-${index}`))
  own.store.readAt.length = 0
  const server = new MemoryServer(guarded(own))
  const connected: MemoryClient[] = []
  for (const cookie of cookies) connected.push(await server.connect('', { cookie }))
  // By then each has been looked at once, at its own time, and goes on from that.
  await setTimeout(recheckMs * 1.1)
  own.store.readAt.length = 0
  const begun = performance.now()
  const before = process.cpuUsage()
  await setTimeout(recheckMs * recheckedTimes)
  const { user, system } = process.cpuUsage(before)
  const shares = Array.from({ length: recheckedTimes }, (_, interval) => {
    const from = begun + interval * recheckMs
    const counts = Array.from({ length: tenths }, (_tenth, index) => {
      const since = from + (index * recheckMs) / tenths
      return own.store.readAt.filter((at) => at >= since && at < since + recheckMs / tenths).length
    })
    const all = counts.reduce((sum, count) => sum + count, 0)
    return all === 0 ? 0 : Math.max(...counts) / all
  })
  const reads = own.store.readAt.length
  for (const client of connected) client.leave()
  await server.close()
  return { name, perPeer: reads / peers / recheckedTimes, largestShare: Math.max(...shares), cpuMsPerSecond: (user + system) / (recheckMs * recheckedTimes) }
}

/** Whoever has the cookie is somebody: what `authenticate` costs is in both. */
const cookieOnly: Scheme<string> = {
  name: 'cookie',
  read: ({ headers }) => headers.cookie,
  verify: (cookie) => ({ subject: cookie, claims: {}, expiresAtMs: 'never', factors: [] }),
}

async function eventCase(name: string, install: (io: Server) => void, cookieOf: (index: number) => Promise<string>): Promise<Case & { close(): Promise<void> }> {
  const server = new MemoryServer(install)
  const connected: MemoryClient[] = []
  for (let index = 0; index < clients; index += 1) connected.push(await server.connect('', { cookie: await cookieOf(index) }))
  const packet = `20${JSON.stringify(['message:send', { room: 'general', text: texts[0] }])}`
  const run = async (): Promise<void> => {
    const before = server.written
    for (let index = 0; index < batch; index += 1) (connected[index % clients] as MemoryClient).feed(packet)
    await turn()
    // What is asked of the store now and then takes some turns more.
    for (let waited = 0; server.written - before < batch && waited < 100; waited += 1) await turn()
    if (server.written - before !== batch || !server.last.includes('"ok":true')) throw new Error(`${name}: ${server.written - before} of ${batch} events answered, the last with ${server.last}`)
  }
  return { name, run, units: batch, close: () => server.close() }
}

async function eventGroup(): Promise<Group> {
  const [one, never] = [application(), application({ freshMs: 2_147_483_647, recheckMs: 2_147_483_647, touchEveryMs: 2_147_483_647 })]
  const without = (io: Server): void => {
    guard(io, { undeclared: 'allow' }).use(authenticate(cookieOnly))
  }
  const cookie = async (index: number): Promise<string> => `anything=${index}`
  const cases = [
    await eventCase('the gate without it', without, cookie),
    await eventCase('the same, second copy', without, cookie),
    await eventCase('sessions, always fresh', guarded(never), (index) => never.signIn(`user-${index}`)),
    await eventCase('sessions, as it is by default', guarded(one), (index) => one.signIn(`user-${index}`)),
  ]
  return { name: 'One acked event in process, behind authenticate', cases, close: async () => void (await Promise.all(cases.map(({ close }) => close()))) }
}

async function requestGroup(): Promise<Group> {
  const page = (asked: express.Request, answer: express.Response): void => {
    answer.end(String((asked.session as { user?: unknown }).user))
  }
  const change = (asked: express.Request, answer: express.Response): void => {
    const own = asked.session as { visits?: number }
    own.visits = (own.visits ?? 0) + 1
    answer.end(String((own as { user?: unknown }).user))
  }
  const bare = async (name: string, handler: typeof page): Promise<Case> => {
    const middleware = session({ store: new session.MemoryStore(), secret, resave: false, saveUninitialized: false, cookie: { secure: true }, name: '__Host-sid' })
    const cookie = await signIn(middleware, { user: 'user-1', theme: 'dark', cart: [1, 2, 3] })
    return requestCase(name, express().use(middleware).use(handler), cookie)
  }
  const ours = async (name: string, handler: typeof page): Promise<Case> => {
    const own = application()
    // Sessions have a gate; it has no peers here.
    guard(new MemoryServer(() => undefined).io, { undeclared: 'allow' }).use(own.live.policy())
    return requestCase(name, express().use(own.middleware).use(own.live.handler).use(handler), await own.signIn('user-1'))
  }
  return {
    name: 'One HTTP request to an Express application with express-session and its memory store, in process',
    cases: [
      await bare('a page that reads its session', page),
      await bare('the same, second copy', page),
      await ours('with sessions()', page),
      await bare('a page that changes it', change),
      await ours('with sessions(), changes it', change),
    ],
    notes: (ns) => [`A page that changes its session: ${(ns('with sessions(), changes it') / ns('a page that changes it')).toFixed(2)} times as long with sessions().`],
  }
}

function requestCase(name: string, app: express.Express, cookie: string): Case {
  const run = async (): Promise<void> => {
    const answer = await ask(app, cookie)
    if (answer.statusCode !== 200) throw new Error(`${name}: answered ${answer.statusCode}`)
  }
  return { name, run }
}

async function timed(group: Group, quick: boolean): Promise<Timed[]> {
  process.stderr.write(`${group.name}\n`)
  const results = await time(group, { rounds: quick ? 15 : 60, batchMs: quick ? 20 : 40 })
  await group.close?.()
  console.log(formatGroup(group, results))
  return results
}

export async function runSessions({ quick, only }: Options): Promise<unknown> {
  const isAsked = (name: string): boolean => only.length === 0 || only.includes(name)
  const events = isAsked('events') ? await timed(await eventGroup(), quick) : []
  const requests = isAsked('requests') ? await timed(await requestGroup(), quick) : []
  if (!isAsked('idle')) return { events, requests }
  const reads = [
    await idle('looked after', {}),
    await idle('with a store that tells by itself', { watch: () => () => undefined }),
  ]
  console.log(`\n${peers} idle peers, each with a session of its own, over ${recheckedTimes} intervals of recheckMs (${recheckMs / 1_000} s here)`)
  for (const { name, perPeer, largestShare, cpuMsPerSecond } of reads) {
    const spread = perPeer === 0 ? '' : `; most in a tenth of an interval: ${(largestShare * 100).toFixed(1)} %`
    console.log(`  ${name.padEnd(40)} ${perPeer.toFixed(3)} reads of the session store a peer and interval${spread}; ${cpuMsPerSecond.toFixed(2)} ms CPU a second`)
  }
  return { events, requests, reads }
}
