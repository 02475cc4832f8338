import { randomBytes } from 'node:crypto'
import { Secret, TOTP } from 'otpauth'
import type { Workroom } from './server.ts'

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
  serve({ app, accountOf }: Pick<Workroom, 'app' | 'accountOf'>): void {
    app.get('/demo-code', async (request, response) => {
      const account = await accountOf(request)
      response.setHeader('cache-control', 'no-store')
      if (account === undefined) return void response.status(401).json({ message: 'Sign in first' })
      const code = new TOTP({ secret: this.secretOf(account.id) }).generate()
      response.json({ code, nextInMs: periodMs - (Date.now() % periodMs) })
    })
  }
}
