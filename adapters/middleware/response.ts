import { ServerResponse } from 'node:http'
import type { IncomingMessage } from 'node:http'
import type { Trial } from './trial.ts'

/** What begins or ends an answer, of Node's class and of Express. */
const ANSWERS = ['end', 'write', 'writeHead', 'flushHeaders', 'destroy', 'send', 'json', 'jsonp', 'sendStatus', 'sendFile', 'download', 'redirect', 'render']
/** What prepares one, of Express. */
const PREPARES = ['append', 'attachment', 'clearCookie', 'contentType', 'cookie', 'format', 'header', 'links', 'location', 'set', 'type', 'vary']

/**
 * A response of Node's own class that is connected to nothing. Where a middleware answers, it has not let anybody in: that is a refusal,
 * whatever the status. Nothing of the answer reaches the client.
 */
export function responseFor(request: IncomingMessage, trial: Trial): ServerResponse & Record<string, any> {
  const response = new ServerResponse(request)
  let isAnswered = false
  const members: Record<string, unknown> = {
    req: request,
    locals: {},
    get: (name: string) => response.getHeader(name),
    status(code: number) {
      response.statusCode = code
      return response
    },
  }
  for (const name of ANSWERS) {
    members[name] = (...args: unknown[]) => {
      isAnswered = true
      const status = name === 'sendStatus' || name === 'writeHead' ? args[0] : response.statusCode
      trial.refuse(new Error(`the middleware has answered: response.${name}, status ${String(status)}`))
      return name === 'write' ? true : response
    }
  }
  for (const name of PREPARES) members[name] = () => response
  // Express puts a prototype of its own behind a response: only what the object has itself stays.
  Object.assign(response, members)
  for (const name of ['headersSent', 'writableEnded', 'writableFinished']) Object.defineProperty(response, name, { get: () => isAnswered, configurable: true })
  return response
}
