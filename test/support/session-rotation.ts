import { expect } from '@jest/globals'
import { memoryStore } from 'portcullis'
import { signedIn, type Browser } from './browser.ts'
import { settableClock, type SettableClock } from './credentials.ts'
import { heard, type Client } from './server.ts'
import { application, type Settings } from './session-application.ts'
import { backing, type Kind } from './session-stores.ts'

/** How often a session gets another id, and for how long the one before is served. */
export const ROTATE = 60_000
export const GRACE = 20_000
/** Time that jumps ahead must not make what is under way too slow. */
const PATIENT = 3_600_000

export interface Setting extends Settings {
  readonly graceMs?: number
}

/** Two nodes whose time stands still, and somebody who has signed in. */
export async function atRest(kind: Kind, { graceMs = GRACE, ...settings }: Setting = {}) {
  const clock = settableClock(Date.now())
  const shared: Settings = { ...settings, live: { clock, rotateEveryMs: ROTATE, graceMs, timeoutMs: PATIENT, ...settings.live }, guarding: { clock, store: memoryStore({ clock }), ...settings.guarding } }
  const kept = await backing(kind)
  const app = await application(kept, shared)
  const other = await application(kept, shared)
  const browser = await signedIn(app)
  await browser.post('/set', { key: 'cart', value: 1 })
  return { app, other, clock, browser, kept }
}

/** Its id is changed by a page. @returns a browser that has not heard of it */
export async function rotated(browser: Browser, clock: SettableClock): Promise<Browser> {
  const [late, before] = [browser.thief(), browser.sessionId]
  clock.advance(ROTATE)
  expect((await browser.get('/touch')).cookies).toEqual([expect.stringMatching(/^sid=s%3A.*HttpOnly.*SameSite=Lax/)])
  expect(browser.sessionId).not.toBe(before)
  return late
}

/** Its id is changed for a page that makes no requests of its own. */
export async function renewal(socket: Client, clock: SettableClock): Promise<{ ticket: string; path: string; expiresInMs: number }> {
  const told = heard(socket, 'gate:renew')
  clock.advance(ROTATE)
  return (await told)[0] as { ticket: string; path: string; expiresInMs: number }
}
