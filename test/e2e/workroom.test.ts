import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, describe, expect } from '@jest/globals'
import { browserTest } from '../support/chromium.ts'
import { attack, closeBrowser, closeVisits, enter, heard, keepOpen, openDocument, refusal, say, signIn, start, visit, type Visit, type Workroom } from './workroom-page.ts'

const screenshot = fileURLToPath(new URL('../../.artifacts/workroom.png', import.meta.url))

let guarded: Workroom
let bare: Workroom

beforeAll(async () => {
  guarded = await start()
  bare = await start({ guarded: false })
})

afterEach(async () => expect(await closeVisits()).toEqual([]))

afterAll(async () => {
  await closeBrowser()
  await guarded.close()
  await bare.close()
})

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

    await say(ada.page, 'Is winter realistic?')
    await heard(erin.page, 'Is winter realistic?')

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

    await say(viktor.page, 'May I have edit rights?')
    await heard(ada.page, 'May I have edit rights?')
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
  const refused: readonly (readonly [attack: string, by: 'session' | 'ticket', code: string, stage: string, what: string])[] = [
    ['foreign-room', 'session', 'FORBIDDEN', 'join', 'doc:globex-prices'],
    ['undeclared-event', 'session', 'UNKNOWN_EVENT', 'event', 'debug:dump'],
    ['flood', 'session', 'RATE_LIMITED', 'event', 'chat:send'],
    ['forged-role', 'session', 'FORBIDDEN', 'event', 'doc:edit'],
    ['extra-field', 'session', 'INVALID_PAYLOAD', 'event', 'profile:save'],
    ['deep-json', 'session', 'PAYLOAD_TOO_LARGE', 'event', 'chat:send'],
    ['missing-ack', 'session', 'INTERNAL', 'event', 'doc:open'],
    ['unknown-namespace', 'session', 'UNKNOWN_NAMESPACE', 'connect', '/ops'],
    ['foreign-page', 'session', 'FORBIDDEN', 'connect', '/'],
    ['forged-token', 'ticket', 'UNAUTHENTICATED', 'connect', '/'],
    ['spent-ticket', 'ticket', 'UNAUTHENTICATED', 'connect', '/'],
    ['foreign-refresh', 'session', 'UNAUTHENTICATED', 'connect', '/'],
    ['foreign-refresh', 'ticket', 'UNAUTHENTICATED', 'connect', '/'],
    ['unproved-wipe', 'session', 'FORBIDDEN', 'event', 'doc:wipe'],
  ]

  // A workroom and a page of their own, so that what the feed shows is their doing.
  let target: Workroom
  const erins = new Map<string, Visit>()
  beforeAll(async () => {
    target = await start()
  })
  afterAll(() => target.close())

  browserTest.each(refused)('%s of who has come by %s is refused with %s, and shown with its id and in the feed of decisions', async (name, by, code, stage, what) => {
    const erin = erins.get(by) ?? (await enter(target, 'erin', 'acme-roadmap', { windowOnly: by === 'ticket' }))
    erins.set(by, erin)
    const { page, errors } = erin
    keepOpen()
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
    await heard(ada.page, 'Hello')
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
    for (const name of ['foreign-room', 'undeclared-event', 'markup', 'flood', 'forged-role', 'extra-field', 'unknown-namespace', 'spent-ticket', 'unproved-wipe']) {
      expect({ name, ...(await attack(page, name)) }).toMatchObject({ name, verdict: 'through' })
    }
    await page.locator('[data-testid=person-viktor][data-role=admin]').waitFor()
    expect(await page.getByTestId('rate-gus').innerText()).toBe('88 €/h')
    expect(await page.getByTestId('gate-state').innerText()).toContain('no gate')
  })
})

browserTest('the page shows work, refusals and decisions side by side, and a screenshot of it is kept', async () => {
  const fresh = await start()
  const erin = await enter(fresh, 'erin', 'acme-roadmap')
  await enter(fresh, 'ada')
  const { page } = await enter(fresh, 'ada', 'acme-roadmap')
  await say(erin.page, 'I moved offline drafts to summer. Fine with you?')
  await heard(page, 'offline drafts')
  await say(page, 'Yes, and I told the customers.')
  for (const name of ['markup', 'flood', 'undeclared-event', 'forged-role', 'extra-field', 'deep-json', 'missing-ack', 'unknown-namespace', 'foreign-page', 'forged-token', 'foreign-refresh', 'unproved-wipe', 'foreign-room']) {
    await attack(page, name)
  }
  await erin.page.getByTestId('document-text').fill('Spring: the new editor reaches every team.\nSummer: offline drafts, for everybody.\nAutumn: import from the old tool.\n')
  await page.getByTestId('document-note').filter({ hasText: 'Changed by Erin Cole' }).waitFor()

  await page.getByTestId('refresh-now').click()
  await page.getByTestId('credential-note').filter({ hasText: 'New session id' }).waitFor()

  expect(await page.getByTestId('gate-state').innerText()).toBe('guarded')
  expect(Number(await page.getByTestId('refusal-count').innerText())).toBeGreaterThanOrEqual(7)
  expect(await page.getByTestId('decision').count()).toBeGreaterThan(0)
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth)
  expect(overflow).toBeLessThanOrEqual(0)
  await page.screenshot({ path: screenshot })
  await fresh.close()
}, 60_000)
