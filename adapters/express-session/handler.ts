import type { IncomingMessage, ServerResponse } from 'node:http'
import { codes, Denied } from '../../lib/errors.ts'
import { newId } from '../../lib/ids.ts'
import { httpAnswer, refusalOf } from '../../lib/wire.ts'
import type { Engine } from './engine.ts'
import type { Rotation } from './rotation.ts'
import { beforeHeaders } from './sign-in.ts'
import type { SessionMiddleware, SessionRequest } from './store.ts'

/** Middleware of Express, Connect and the like. */
export type SessionHandler = (request: IncomingMessage, response: ServerResponse, next: (error?: any) => void) => void

/** A ticket, and the JSON around it. */
const MAX_BODY = 1_024

/** Gives pages their new ids: with whatever they request, or for a renewal ticket. */
export function sessionHandler(engine: Engine, rotation: Rotation, middleware: SessionMiddleware, renewPath: string): SessionHandler {
  const renew = async (request: SessionRequest, response: ServerResponse): Promise<void> => {
    // Express-session goes on without one where its store is not connected.
    if (request.session === undefined) throw new Denied('UNAVAILABLE', undefined, 'sessions: no session could be read')
    if (engine.originOf(request.session) === undefined) throw new Denied('FORBIDDEN', undefined, 'sessions: no session')
    const { ticket } = await bodyOf(request)
    if (!(await rotation.redeem(ticket, request))) throw new Denied('FORBIDDEN', undefined, 'sessions: no ticket for this session')
    response.writeHead(204, { 'cache-control': 'no-store' })
    response.end()
  }
  const refuse = (request: IncomingMessage, response: ServerResponse, error: unknown): void => {
    if (request.destroyed && !request.complete) return
    const denied = error instanceof Denied ? error : new Denied('UNAVAILABLE', undefined, error)
    if (denied.code !== 'FORBIDDEN') engine.fault(error)
    if (response.headersSent) return
    const { headers, body } = httpAnswer(refusalOf(denied, newId()))
    response.writeHead(codes[denied.code].status, headers)
    response.end(body)
  }
  const handle = (request: SessionRequest, response: ServerResponse, next: (error?: unknown) => void): void => {
    if (request.res === undefined) {
      // Express sets it; others have only just been asked for a session.
      request.res = response
      if (engine.originOf(request.session) !== undefined) beforeHeaders(engine, request)
    }
    if (request.method === 'POST' && pathOf(request) === renewPath) {
      renew(request, response).catch((error: unknown) => refuse(request, response, error))
      return
    }
    const origin = engine.originOf(request.session)
    if (origin === undefined || origin.inGrace || !rotation.isDue(origin.mark)) return next()
    // A page must not fail because its session could not be given another id: it keeps the one it has for now.
    rotation.rotate(request).then(
      () => next(),
      (error: unknown) => {
        engine.fault(error)
        next()
      },
    )
  }
  return (request, response, next) => {
    middleware(request, response, (error) => (error === undefined || error === null ? handle(request, response, next) : next(error)))
  }
}

function pathOf({ originalUrl, url = '' }: SessionRequest): string {
  return (originalUrl ?? url).split('?', 1)[0]!
}

/** The JSON of a request, which a parser in front may have read. */
async function bodyOf(request: SessionRequest): Promise<{ readonly ticket?: unknown }> {
  if (request.body !== undefined) return asObject(request.body)
  const chunks: Buffer[] = []
  let size = 0
  // A request that is given up half-way is still to be answered.
  for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > MAX_BODY) return {}
    chunks.push(chunk)
  }
  try {
    return asObject(JSON.parse(Buffer.concat(chunks).toString()))
  } catch {
    return {}
  }
}

function asObject(value: unknown): { readonly ticket?: unknown } {
  return typeof value === 'object' && value !== null ? value : {}
}
