import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import type { Browser, Page } from 'playwright-core'
import { startWorkroom, type StartOptions } from '../../examples/workroom/start.ts'
import { launch } from '../support/chromium.ts'

export type Workroom = Awaited<ReturnType<typeof startWorkroom>>

export interface Visit {
  readonly page: Page
  /** Everything that has come from Socket.IO, in the order it came. */
  readonly received: string[]
  /** Everything else the page has been told or has said: URLs, bodies, what went out over WebSockets. */
  readonly traffic: string[]
  /** What the page itself broke on; looked at after each test. */
  readonly errors: Error[]
}

let browser: Browser | undefined
/** Visits of the test that is running. */
let visits: Visit[] = []

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

export async function start(options: Partial<StartOptions> = {}): Promise<Workroom> {
  return startWorkroom({ host: '127.0.0.1', port: await freePort(), guarded: true, ...options })
}

/** The workroom's page in a browser context of its own. */
export async function visit({ url }: Workroom): Promise<Visit> {
  browser ??= await launch()
  const context = await browser.newContext({ viewport: { width: 1_280, height: 900 } })
  const page = await context.newPage()
  const received: string[] = []
  const traffic: string[] = []
  const errors: Error[] = []
  page.on('pageerror', (error) => errors.push(error))
  page.on('websocket', (socket) => {
    traffic.push(socket.url())
    socket.on('framereceived', ({ payload }) => received.push(String(payload)))
    socket.on('framesent', ({ payload }) => traffic.push(String(payload)))
  })
  page.on('request', (request) => traffic.push(request.url(), request.postData() ?? ''))
  page.on('response', (response) => {
    const kept = response.url().includes('transport=polling') ? received : traffic
    // The feed of decisions never ends.
    if (response.url().endsWith('/feed')) return
    response.text().then(
      (body) => kept.push(body),
      // The body of a request the page has given up is gone.
      () => {},
    )
  })
  const visitor = { page, received, traffic, errors }
  visits.push(visitor)
  await page.goto(url)
  await page.getByTestId('sign-in-ada').waitFor()
  return visitor
}

/** Keeps the pages of this test open for the next one; whoever calls it looks at their errors. */
export function keepOpen(): void {
  visits = []
}

/** @returns what the pages of this test broke on */
export async function closeVisits(): Promise<readonly Error[]> {
  const errors = visits.flatMap((visitor) => visitor.errors)
  await Promise.all(visits.map(({ page }) => page.context().close()))
  visits = []
  return errors
}

export async function closeBrowser(): Promise<void> {
  await browser?.close()
}

/** How somebody signs in: with a session of the browser, unless for one window only, which then connects by ticket. */
export interface SignIn {
  readonly windowOnly?: boolean
}

export async function signIn(page: Page, user: string, { windowOnly = false }: SignIn = {}): Promise<void> {
  await page.getByTestId('window-only').setChecked(windowOnly)
  await page.getByTestId(`sign-in-${user}`).click()
  await page.getByTestId(`person-${user}`).and(page.locator('[data-online=true]')).waitFor()
}

export async function openDocument(page: Page, id: string): Promise<void> {
  await page.getByTestId(`open-${id}`).click()
  await page.locator(`#document[data-open="${id}"]`).waitFor()
}

export async function enter(workroom: Workroom, user: string, documentId?: string, how?: SignIn): Promise<Visit> {
  const visitor = await visit(workroom)
  await signIn(visitor.page, user, how)
  if (documentId !== undefined) await openDocument(visitor.page, documentId)
  return visitor
}

export async function say(page: Page, words: string): Promise<void> {
  await page.getByTestId('chat-text').fill(words)
  await page.getByTestId('chat-send').click()
}

export const heard = (page: Page, words: string): Promise<void> => page.getByTestId('chat-message').filter({ hasText: words }).waitFor()

export const refusal = (page: Page, code: string) => page.locator(`[data-testid=refusal][data-code=${code}]`).first()

/** What the page shows of its connection: `data-phase`, `data-kind`, `data-socket`, `data-refreshed`, `data-renewed`. */
export const credential = (page: Page) => page.getByTestId('credential')
export const phase = (page: Page, name: string): Promise<void> => credential(page).and(page.locator(`[data-phase=${name}]`)).waitFor()
export const socketOf = (page: Page): Promise<string | null> => credential(page).getAttribute('data-socket')
export const credentialWords = (page: Page): Promise<string> => page.getByTestId('credential-words').innerText()

/** Presses the button of an attack and reads the answer the page shows for it. */
export async function attack(page: Page, name: string) {
  await page.getByTestId(`attack-${name}`).click()
  const answer = page.getByTestId(`answer-${name}`)
  await answer.and(page.locator('[data-verdict]:not([data-verdict=pending])')).waitFor()
  return { verdict: await answer.getAttribute('data-verdict'), code: await answer.getAttribute('data-code'), words: await answer.innerText() }
}
