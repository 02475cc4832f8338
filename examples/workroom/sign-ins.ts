import { randomBytes } from 'node:crypto'
import type { Request, Response } from 'express'

const cookie = 'workroom'
const maxBrowsers = 10_000

/**
 * Who is signed in over HTTP: a cookie names the browser, and the rest is kept here. One browser may be signed in as several
 * people, so that a demonstration can have a window for each.
 */
export class SignIns {
  readonly #accounts = new Map<string, ReadonlySet<string>>()

  begin(request: Request, response: Response, accountId: string): void {
    this.#replace(request, response, new Set([...this.#of(request), accountId]))
  }

  has(request: Request, accountId: string): boolean {
    return this.#of(request).has(accountId)
  }

  end(request: Request, response: Response, accountId: string): void {
    this.#replace(request, response, new Set([...this.#of(request)].filter((id) => id !== accountId)))
  }

  #of(request: Request): ReadonlySet<string> {
    return this.#accounts.get(browserOf(request) ?? '') ?? new Set()
  }

  /** Under a new name each time: one that somebody has planted in a browser is worth nothing after a sign-in. */
  #replace(request: Request, response: Response, accountIds: ReadonlySet<string>): void {
    this.#accounts.delete(browserOf(request) ?? '')
    const browser = randomBytes(24).toString('base64url')
    this.#accounts.set(browser, accountIds)
    for (const oldest of this.#accounts.keys()) {
      if (this.#accounts.size <= maxBrowsers) break
      this.#accounts.delete(oldest)
    }
    response.cookie(cookie, browser, { httpOnly: true, sameSite: 'strict' })
  }
}

function browserOf({ headers }: Request): string | undefined {
  return headers.cookie?.split('; ').find((pair) => pair.startsWith(`${cookie}=`))?.slice(cookie.length + 1)
}
