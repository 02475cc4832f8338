import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, describe, expect } from '@jest/globals'
import type { Browser, Page } from 'playwright-core'
import { startWorkroom } from '../../examples/workroom/start.ts'
import { browserTest, launch } from '../support/chromium.ts'

type Workroom = Awaited<ReturnType<typeof startWorkroom>>

const screenshot = fileURLToPath(new URL('../../.artifacts/workroom.png', import.meta.url))

let browser: Browser | undefined
let guarded: Workroom
let bare: Workroom
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

const start = async (withGate: boolean) => startWorkroom({ host: '127.0.0.1', port: await freePort(), guarded: withGate })

beforeAll(async () => {
  guarded = await start(true)
  bare = await start(false)
})

afterEach(async () => {
  const errors = visits.flatMap((visitor) => visitor.errors)
  await Promise.all(visits.map(({ page }) => page.context().close()))
  visits = []
  expect(errors).toEqual([])
})

afterAll(async () => {
  await browser?.close()
  await guarded.close()
  await bare.close()
})

interface Visit {
  readonly page: Page
  /** Everything that has come from Socket.IO, in the order it came. */
  readonly received: string[]
  /** What the page itself broke on; looked at after each test. */
  readonly errors: Error[]
}

/** The workroom's page in a browser context of its own. */
async function visit({ url }: Workroom): Promise<Visit> {
  browser ??= await launch()
  const context = await browser.newContext({ viewport: { width: 1_280, height: 900 } })
  const page = await context.newPage()
  const received: string[] = []
  const errors: Error[] = []
  page.on('pageerror', (error) => errors.push(error))
  page.on('websocket', (socket) => socket.on('framereceived', ({ payload }) => received.push(String(payload))))
  page.on('response', (response) => {
    if (!response.url().includes('transport=polling')) return
    response.text().then(
      (body) => received.push(body),
      // The body of a request the page has given up is gone.
      () => {},
    )
  })
  const visitor = { page, received, errors }
  visits.push(visitor)
  await page.goto(url)
  await page.getByTestId('sign-in-ada').waitFor()
  return visitor
}

async function signIn(page: Page, user: string): Promise<void> {
  await page.getByTestId(`sign-in-${user}`).click()
  await page.getByTestId(`person-${user}`).and(page.locator('[data-online=true]')).waitFor()
}

async function openDocument(page: Page, id: string): Promise<void> {
  await page.getByTestId(`open-${id}`).click()
  await page.locator(`#document[data-open="${id}"]`).waitFor()
}

async function enter(workroom: Workroom, user: string, documentId?: string): Promise<Visit> {
  const visitor = await visit(workroom)
  await signIn(visitor.page, user)
  if (documentId !== undefined) await openDocument(visitor.page, documentId)
  return visitor
}

const refusal = (page: Page, code: string) => page.locator(`[data-testid=refusal][data-code=${code}]`).first()

/** Presses the button of an attack and reads the answer the page shows for it. */
async function attack(page: Page, name: string) {
  await page.getByTestId(`attack-${name}`).click()
  const answer = page.getByTestId(`answer-${name}`)
  await answer.and(page.locator('[data-verdict]:not([data-verdict=pending])')).waitFor()
  return { verdict: await answer.getAttribute('data-verdict'), code: await answer.getAttribute('data-code'), words: await answer.innerText() }
}

describe('working in rooms', () => {
  browserTest('each kind of user opens a document of the own company, and is refused one of the other', async () => {
    const { page } = await visit(guarded)
    for (const [user, own, foreign] of [
      ['ada', 'acme-roadmap', 'globex-prices'],
      ['erin', 'acme-roadmap', 'globex-prices'],
      ['viktor', 'acme-handbook', 'globex-hiring'],
      ['greta', 'globex-prices', 'acme-roadmap'],
      ['gus', 'globex-hiring', 'acme-handbook'],
    ] as const) {
      await signIn(page, user)
      await openDocument(page, own)
      const before = await page.getByTestId('refusal').count()
      await page.getByTestId(`open-${foreign}`).click()
      await page.getByTestId('refusal').nth(before).waitFor()
      expect(await refusal(page, 'FORBIDDEN').innerText()).toContain('doc:open')
      expect(await page.getByTestId('document').getAttribute('data-open')).toBe(own)
    }
  })

  browserTest('an edit and a chat message reach another browser in the room, and nobody of the other company', async () => {
    const erin = await enter(guarded, 'erin', 'acme-roadmap')
    const ada = await enter(guarded, 'ada', 'acme-roadmap')
    const gus = await enter(guarded, 'gus', 'globex-hiring')

    await erin.page.getByTestId('document-text').fill('Winter: everything works offline.')
    await ada.page.getByTestId('document-note').filter({ hasText: 'Changed by Erin Cole' }).waitFor()
    expect(await ada.page.getByTestId('document-text').inputValue()).toBe('Winter: everything works offline.')

    await ada.page.getByTestId('chat-text').fill('Is winter realistic?')
    await ada.page.getByTestId('chat-send').click()
    await erin.page.getByTestId('chat-message').filter({ hasText: 'Is winter realistic?' }).waitFor()

    // A later packet on the same socket: whatever was sent to Gus before it has arrived by now.
    await gus.page.getByTestId('document-text').fill('Three engineers.')
    await gus.page.getByTestId('document-note').filter({ hasText: 'Saved' }).waitFor()
    expect(gus.received.join()).not.toMatch(/winter/i)
  })

  browserTest("a viewer's edit is refused and taken back, and reaches nobody", async () => {
    const viktor = await enter(guarded, 'viktor', 'acme-handbook')
    const ada = await enter(guarded, 'ada', 'acme-handbook')
    const before = await ada.page.getByTestId('document-text').inputValue()

    await viktor.page.getByTestId('document-text').fill('Meetings are cancelled.')
    await viktor.page.getByTestId('document-note').filter({ hasText: 'Not saved: FORBIDDEN' }).waitFor()
    expect(await viktor.page.getByTestId('document-text').inputValue()).toBe(before)
    // Typing is announced by an event without an ack; its refusal comes as an event of its own.
    await viktor.page.getByTestId('refusal').filter({ hasText: 'doc:typing (no ack)' }).waitFor()

    await viktor.page.getByTestId('chat-text').fill('May I have edit rights?')
    await viktor.page.getByTestId('chat-send').click()
    await ada.page.getByTestId('chat-message').filter({ hasText: 'May I have edit rights?' }).waitFor()
    expect(await ada.page.getByTestId('document-text').inputValue()).toBe(before)
    expect(ada.received.join()).not.toContain('cancelled')
  })
})

describe('who sees what', () => {
  browserTest('an admin sees the hourly rates of the own company', async () => {
    const { page } = await enter(guarded, 'ada')
    expect(await page.getByTestId('rate-viktor').innerText()).toBe('70 €/h')
    expect(await page.getByTestId('person-gus').count()).toBe(0)
  })

  for (const user of ['erin', 'viktor', 'gus']) {
    browserTest(`neither hourly rates nor e-mail addresses ever reach ${user}, nor the people of the other company`, async () => {
      const { page, received } = await enter(guarded, user)
      const rates = page.locator('#roster .rate')
      expect(new Set(await rates.allInnerTexts())).toEqual(new Set(['rate hidden']))
      const tenants = user === 'gus' ? ['Greta Holm', 'Gus Ortega'] : ['Ada Moss', 'Erin Cole', 'Viktor Lund']
      expect(await page.locator('#roster li > span:nth-child(2)').allInnerTexts()).toEqual(tenants)

      const wire = received.join()
      expect(wire).toContain('roster')
      expect(wire).not.toMatch(/hourlyRate|@(acme|globex)/)
      expect(wire).not.toContain(user === 'gus' ? 'Ada Moss' : 'Gus Ortega')
    })
  }
})

describe('what an attacker would try', () => {
  const refused: readonly (readonly [attack: string, code: string, stage: string, what: string])[] = [
    ['foreign-room', 'FORBIDDEN', 'join', 'doc:globex-prices'],
    ['undeclared-event', 'UNKNOWN_EVENT', 'event', 'debug:dump'],
    ['flood', 'RATE_LIMITED', 'event', 'chat:send'],
    ['forged-role', 'FORBIDDEN', 'event', 'doc:edit'],
    ['extra-field', 'INVALID_PAYLOAD', 'event', 'profile:save'],
    ['deep-json', 'PAYLOAD_TOO_LARGE', 'event', 'chat:send'],
    ['missing-ack', 'INTERNAL', 'event', 'doc:open'],
    ['unknown-namespace', 'UNKNOWN_NAMESPACE', 'connect', '/ops'],
    ['forged-token', 'UNAUTHENTICATED', 'connect', '/'],
  ]

  // A workroom and a page of their own, so that what the feed shows is their doing.
  let target: Workroom
  let erin: Visit | undefined
  beforeAll(async () => {
    target = await start(true)
  })
  afterAll(() => target.close())

  browserTest.each(refused)('%s is refused with %s, and shown with its id and in the feed of decisions', async (name, code, stage, what) => {
    erin ??= await enter(target, 'erin', 'acme-roadmap')
    const { page, errors } = erin
    visits = []
    expect(await attack(page, name)).toMatchObject({ verdict: 'refused', code })

    const id = await refusal(page, code).locator('.id').innerText()
    await page.locator(`[data-testid=decision][title="${id}"][data-code=${code}]`).first().waitFor()
    await page.locator(`[data-testid=decision][data-stage=${stage}][data-what="${what}"][data-code=${code}]`).first().waitFor()
    expect(await page.getByTestId('connection-state').innerText()).toBe('connected as Erin Cole')
    expect(errors).toEqual([])
  })

  browserTest('a flood is let through up to its limit and no further', async () => {
    const { page } = await enter(guarded, 'gus', 'globex-hiring')
    const { words } = await attack(page, 'flood')
    const count = Number(/(\d+) of 30 refused/.exec(words)?.[1])
    const arrived = await page.getByTestId('chat-message').filter({ hasText: 'flood' }).count()
    expect(count).toBeGreaterThan(0)
    expect(arrived + count).toBe(30)
  })

  browserTest('markup in chat reaches everybody as clean text', async () => {
    const viktor = await enter(guarded, 'viktor', 'acme-handbook')
    const ada = await enter(guarded, 'ada', 'acme-handbook')
    expect(await attack(viktor.page, 'markup')).toMatchObject({ verdict: 'cleaned', code: '' })
    await ada.page.getByTestId('chat-message').filter({ hasText: 'Hello' }).waitFor()
    expect(ada.received.join()).not.toMatch(/onerror|<img|<b>/)
  })

  browserTest('a forged role changes neither the role shown nor the document aimed at', async () => {
    const viktor = await enter(guarded, 'viktor', 'acme-handbook')
    const greta = await enter(guarded, 'greta', 'globex-prices')
    await attack(viktor.page, 'forged-role')
    await attack(viktor.page, 'extra-field')
    expect(await viktor.page.getByTestId('person-viktor').getAttribute('data-role')).toBe('viewer')
    expect(await greta.page.getByTestId('document-text').inputValue()).toContain('Starter 9')
    expect(greta.received.join()).not.toContain('somebody else')
  })

  browserTest('without the gate the same page gets all of it through, so the refusals are the doing of the gate', async () => {
    const { page } = await enter(bare, 'viktor', 'acme-roadmap')
    // Deep JSON and a missing ack are left out: they end a bare server's process, which here is the process of this test.
    for (const name of ['foreign-room', 'undeclared-event', 'markup', 'flood', 'forged-role', 'extra-field', 'unknown-namespace']) {
      expect({ name, ...(await attack(page, name)) }).toMatchObject({ name, verdict: 'through' })
    }
    await page.locator('[data-testid=person-viktor][data-role=admin]').waitFor()
    expect(await page.getByTestId('rate-gus').innerText()).toBe('88 €/h')
    expect(await page.getByTestId('gate-state').innerText()).toContain('no gate')
  })
})

browserTest('the page shows work, refusals and decisions side by side, and a screenshot of it is kept', async () => {
  const fresh = await start(true)
  const erin = await enter(fresh, 'erin', 'acme-roadmap')
  const { page } = await enter(fresh, 'ada', 'acme-roadmap')
  await erin.page.getByTestId('chat-text').fill('I moved offline drafts to summer. Fine with you?')
  await erin.page.getByTestId('chat-send').click()
  await page.getByTestId('chat-message').filter({ hasText: 'offline drafts' }).waitFor()
  await page.getByTestId('chat-text').fill('Yes, and I told the customers.')
  await page.getByTestId('chat-send').click()
  for (const name of ['markup', 'flood', 'undeclared-event', 'forged-role', 'extra-field', 'deep-json', 'missing-ack', 'unknown-namespace', 'forged-token', 'foreign-room']) {
    await attack(page, name)
  }
  await erin.page.getByTestId('document-text').fill('Spring: the new editor reaches every team.\nSummer: offline drafts, for everybody.\nAutumn: import from the old tool.\n')
  await page.getByTestId('document-note').filter({ hasText: 'Changed by Erin Cole' }).waitFor()

  expect(await page.getByTestId('gate-state').innerText()).toBe('guarded')
  expect(Number(await page.getByTestId('refusal-count').innerText())).toBeGreaterThanOrEqual(7)
  expect(await page.getByTestId('decision').count()).toBeGreaterThan(0)
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth)
  expect(overflow).toBeLessThanOrEqual(0)
  await page.screenshot({ path: screenshot })
  await fresh.close()
})
