import type { IncomingMessage } from 'node:http'

// The part of express-session's contract that is used here (express-session 1.18 and 1.19), so that its types are not needed.

/** A session as its store keeps it: plain data, with the settings of its cookie. */
export interface StoredSession {
  cookie: StoredCookie
  [key: string]: unknown
}

export interface StoredCookie {
  expires?: Date | string | null
  originalMaxAge?: number | null
  [key: string]: unknown
}

/** A session as the application has it on its request. */
export interface LiveSessionObject extends StoredSession {
  readonly id: string
  touch(): unknown
  save(done?: (error?: unknown) => void): unknown
}

/** A request that has been through express-session. */
export interface SessionRequest extends IncomingMessage {
  sessionID?: string
  session?: LiveSessionObject | undefined
  sessionStore?: SessionStore
  res?: SessionResponse
  body?: unknown
  originalUrl?: string
  ip?: string
}

export interface SessionResponse {
  readonly headersSent?: boolean
  once?(event: 'close', listener: () => void): unknown
  writeHead?(...given: any[]): any
}

type Done = (error?: any) => void

/** A store of express-session. */
export interface SessionStore {
  get(id: string, done: (error: any, session?: any) => void): unknown
  set(id: string, session: any, done?: Done): unknown
  destroy(id: string, done?: Done): unknown
  touch?(id: string, session: any, done?: (...args: any[]) => void): unknown
  all?(done: (error: any, sessions?: any) => void): unknown
  clear?(done?: Done): unknown
  regenerate?(request: any, done: Done): unknown
  generate?(request: any): unknown
  createSession?(request: any, session: any): unknown
  on?(event: string, listener: (...args: any[]) => void): unknown
}

/** The middleware express-session makes. */
export type SessionMiddleware = (request: any, response: any, next: (error?: any) => void) => void
