import type { Engine } from './engine.ts'
import { changeBetween } from './speaker.ts'
import type { LiveSessionObject, SessionRequest, StoredSession } from './store.ts'

/**
 * Whoever signs in gets an id that nobody has had before, also where the application puts the user into the session of a visitor: somebody else may
 * have planted that in the browser (session fixation, ASVS 5.0 7.2.4). The response is to bring it, so it is given before the headers are written.
 */
export function renameForSignIn(engine: Engine, session: StoredSession): void {
  const origin = engine.originOf(session)
  const { req: request } = session as { readonly req?: SessionRequest }
  if (origin === undefined || origin.next !== undefined || origin.refused === true || request === undefined || request.session !== session || request.res?.headersSent !== false) return
  const { cookie: _cookie, ...data } = session
  const change = changeBetween(origin.speaker, engine.speakerOf({ data }))
  if (change !== 'signed in' && change !== 'another user') return
  const { mark, speaker, target } = origin
  engine.options.store.generate?.(request)
  const id = request.sessionID!
  // The session itself stays: it is the application's, and has what it was given. Express-session names the cookie by the request.
  request.session = session as LiveSessionObject
  engine.noteReplaced(target)
  // It cannot be told its new id, and goes by the one it knows.
  Object.defineProperty(session, 'destroy', {
    configurable: true,
    writable: true,
    value(this: unknown, done?: (error?: unknown) => void) {
      delete request.session
      engine.options.store.destroy(id, done)
      return this
    },
  })
  engine.setOrigin(session, { ...origin, next: { id, move: { from: target, mark, before: speaker, settled: false, cut: true } } })
}

/** It could not be kept. */
export function takeBack(engine: Engine, session: StoredSession): void {
  const { req: request } = session as { readonly req?: SessionRequest }
  const { next, ...origin } = engine.originOf(session)!
  engine.setOrigin(session, { ...origin, refused: true })
  if (request !== undefined && request.sessionID === next?.id && request.res?.headersSent === false) request.sessionID = origin.target
}

/**
 * Sees to it also where the headers are written before the session is saved. And a response to a request that came with an id which has been replaced
 * sets no cookie, as express-session would with `rolling`, or for a change where the cookie has an age: it may be the last one to arrive.
 */
export function beforeHeaders(engine: Engine, request: SessionRequest): void {
  const { res: response } = request
  const writeHead = response?.writeHead?.bind(response) as ((...given: unknown[]) => unknown) | undefined
  if (response === undefined || writeHead === undefined) return
  response.writeHead = (...given: unknown[]): unknown => {
    response.writeHead = writeHead
    try {
      if (request.session !== undefined) renameForSignIn(engine, request.session)
    } catch (error) {
      // Whom it speaks for cannot be said: it cannot be saved either, and the application is told then.
      engine.fault(error)
    }
    const { sessionID: id, session } = request
    const origin = engine.originOf(session)
    if (origin === undefined || origin.next !== undefined || !engine.isReplaced(origin)) return writeHead(...given)
    // Without an id express-session writes no cookie.
    delete request.sessionID
    try {
      return writeHead(...given)
    } finally {
      if (id !== undefined) request.sessionID = id
    }
  }
}
