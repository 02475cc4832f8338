import { randomBytes } from 'node:crypto'
import type { Express } from 'express'
import { Secret, TOTP } from 'otpauth'
import type { SignIns } from './sign-ins.ts'

const periodMs = 30_000

/**
 * The authenticator apps of everybody in the workroom. A real one is on a phone, and its server shows no code to anybody: here
 * the page has a button for it, since a demonstration comes without a phone.
 */
export class DemoAuthenticators {
  readonly #secrets = new Map<string, Secret>()

  /** The secret that an account shares with its authenticator. */
  secretOf(accountId: string): Secret {
    const secret = this.#secrets.get(accountId) ?? new Secret({ buffer: Uint8Array.from(randomBytes(20)).buffer })
    this.#secrets.set(accountId, secret)
    return secret
  }

  /** Serves what the phone would show, to who is signed in as its owner. */
  serve(app: Express, signIns: SignIns): void {
    app.get('/demo-code/:user', (request, response) => {
      const { user } = request.params
      if (!signIns.has(request, user)) {
        response.status(401).json({ message: 'Sign in first' })
        return
      }
      response.setHeader('cache-control', 'no-store')
      response.json({ code: new TOTP({ secret: this.secretOf(user) }).generate(), nextInMs: periodMs - (Date.now() % periodMs) })
    })
  }
}
