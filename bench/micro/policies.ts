/** Each policy alone, by its own hook on a new context (some 30 ns of each figure), beside what one would write by hand. */
import { createHmac } from 'node:crypto'
import { createMongoAbility, subject } from '@casl/ability'
import { jwtVerify } from 'jose'
import { jwt } from 'portcullis/adapters/jwt'
import { abilities, audit, authorize, origin, rateLimit, sanitize } from 'portcullis/policies'
import { audience, issuer, member, Message, rulesOf, secret, signToken, texts } from '../job.ts'
import { CountingSink } from '../servers/audit-sink.ts'
import { neverReached, tokens } from '../servers/guarded.ts'
import { auditRecord, stripTags, takeToken } from '../servers/hand-written.ts'
import { capture, type Captured } from './captured.ts'
import { internal } from './internals.ts'
import type { Group } from './timing.ts'

type AnyHook = (ctx: any, next: (facts?: any) => any) => any

let went = 0
const next = (): undefined => {
  went += 1
  return undefined
}

/** The hook on that context, once it is known to agree: a refusal could be the cheaper answer. */
function agreeing(hook: AnyHook, ctx: () => unknown): () => unknown {
  const before = went
  hook(ctx(), next)
  if (went !== before + 1) throw new Error('the hook did not call next')
  return () => hook(ctx(), next)
}

const who = member(1, 10)
const plain = texts[0] as string
const markup = texts[4] as string
const long = `${plain} `.repeat(16).slice(0, 1_900)
const inRoom = (text: string): { room: string; text: string } => ({ room: who.rooms[0] as string, text })

export async function policyGroups(): Promise<readonly Group[]> {
  const captured = await capture()
  return [
    authenticateGroup(captured), abilitiesGroup(captured), originGroup(captured), rateLimitGroup(captured), await contractGroup(),
    sanitizeGroup(captured), authorizeGroup(captured), auditGroup(captured),
  ]
}

function authenticateGroup({ connect }: Captured): Group {
  const token = signToken(who)
  const raw = new TextEncoder().encode(secret)
  const expected = { algorithms: ['HS256'], issuer, audience, requiredClaims: ['exp', 'sub'] }
  const forgetful = jwt({ ...tokens, rememberVerified: 0 })
  const remembering = jwt(tokens)
  const [input] = /^[^.]+\.[^.]+/.exec(token) as RegExpExecArray
  return {
    name: 'authenticate: one JWT, HS256',
    cases: [
      { name: 'jose by hand, raw secret', run: () => jwtVerify(token, raw, expected) },
      { name: 'jwt(), not seen before', run: () => forgetful.verify(token, connect) },
      { name: 'jwt(), seen before', run: () => remembering.verify(token, connect) },
      { name: 'the HMAC alone, by node:crypto', run: () => createHmac('sha256', raw).update(input).digest('base64url') },
    ],
  }
}

function abilitiesGroup({ connect }: Captured): Group {
  const hook = abilities(() => rulesOf(who.rooms)).connect as AnyHook
  return {
    name: 'abilities: three rules',
    cases: [
      { name: 'createMongoAbility by hand', run: () => createMongoAbility(rulesOf(who.rooms)) },
      { name: 'abilities, rules seen before', run: agreeing(hook, () => connect) },
    ],
  }
}

function originGroup({ request }: Captured): Group {
  const allowed = new Set(['https://app.example', 'https://www.example'])
  const hook = origin({ allow: [...allowed] }).request as AnyHook
  return {
    name: 'origin: at each request',
    cases: [
      { name: 'Set.has by hand', run: () => allowed.has(request.headers.origin ?? '') },
      { name: 'origin', run: agreeing(hook, () => request) },
    ],
  }
}

function rateLimitGroup({ event }: Captured): Group {
  const bucket = { tokens: 1_000_000, refilledAt: Date.now() }
  const hook = rateLimit(neverReached).event as AnyHook
  const data = inRoom(plain)
  return {
    name: 'rateLimit: at an event, in memory',
    cases: [
      { name: 'token bucket by hand', run: () => takeToken(bucket, Date.now()) },
      { name: 'rateLimit', run: agreeing(hook, () => event(data)) },
    ],
  }
}

async function contractGroup(): Promise<Group> {
  const { validator } = await internal<typeof import('../../lib/schema.ts')>('./schema.js')
  const check = validator({ data: Message }, 'bench')
  if (!check) throw new Error('no validator for the contract')
  const args = [inRoom(plain)]
  return {
    name: 'contract: one zod object of two texts',
    cases: [
      { name: 'safeParse by hand', run: () => Message.safeParse(args[0]) },
      { name: 'contract', run: () => check(args) },
    ],
  }
}

function sanitizeGroup({ event }: Captured): Group {
  const strip = sanitize({ mode: 'strip' }).event as AnyHook
  const escape = sanitize({ mode: 'escape' }).event as AnyHook
  const withText = (hook: AnyHook, text: string): (() => unknown) => agreeing(hook, () => event(inRoom(text)))
  return {
    name: 'sanitize: { room, text }',
    cases: [
      { name: `tags stripped by hand, plain ${plain.length}`, run: () => stripTags(inRoom(plain).text) },
      { name: `tags stripped by hand, markup ${markup.length}`, run: () => stripTags(inRoom(markup).text) },
      { name: `strip, plain ${plain.length}`, run: withText(strip, plain) },
      { name: `strip, markup ${markup.length}`, run: withText(strip, markup) },
      { name: `strip, plain ${long.length}`, run: withText(strip, long) },
      { name: `escape, plain ${plain.length}`, run: withText(escape, plain) },
      { name: `escape, markup ${markup.length}`, run: withText(escape, markup) },
    ],
  }
}

function authorizeGroup({ event }: Captured): Group {
  const ability = createMongoAbility(rulesOf(who.rooms))
  const data = inRoom(plain)
  const conditional = authorize('create', 'Message', (ctx: any) => ctx.data).event as AnyHook
  const typeOnly = authorize('enter', 'Chat').event as AnyHook
  const asked = (hook: AnyHook): (() => unknown) => agreeing(hook, () => event(data))
  return {
    name: 'authorize: at an event',
    cases: [
      { name: 'can() with a fresh subject(), $in', run: () => ability.can('create', subject('Message', { ...data })) },
      { name: 'authorize, $in', run: asked(conditional) },
      { name: 'can() of a type', run: () => ability.can('enter', 'Chat') },
      { name: 'authorize, type only', run: asked(typeOnly) },
    ],
  }
}

function auditGroup({ admitted }: Captured): Group {
  const sink = new CountingSink()
  const policy = audit(sink)
  return {
    name: 'audit: one record of an admitted event',
    cases: [
      { name: 'a record by hand', run: () => sink.info(auditRecord(who, 'message:send', '192.0.2.1', 'admitted')) },
      { name: 'audit', run: () => policy.observe?.(admitted) },
    ],
  }
}
