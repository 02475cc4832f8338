import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, describe, expect } from '@jest/globals'
import { browserTest } from '../support/chromium.ts'
import { attack, closeBrowser, closeVisits, credential as card, credentialWords as words, enter as enterAs, heard, phase, refusal, say, signIn, socketOf, start, visit, type Visit, type Workroom } from './workroom-page.ts'

/** A browser, and time that has to pass. */
const patientMs = 60_000

let guarded: Workroom
beforeAll(async () => {
  guarded = await start()
})

afterEach(async () => expect(await closeVisits()).toEqual([]))

afterAll(async () => {
  await closeBrowser()
  await guarded.close()
})

const enter = (workroom: Workroom, user: string, documentId?: string): Promise<Visit> => enterAs(workroom, user, documentId, { windowOnly: true })

describe('a ticket', () => {
  browserTest('signs one window in, without a cookie, and nothing that lasts ever meets a URL or a socket', async () => {
    const { page, received, traffic } = await enter(guarded, 'erin', 'acme-roadmap')
    await say(page, 'Signed in by ticket')
    await heard(page, 'Signed in by ticket')

    const seen = [...received, ...traffic].join('\n')
    expect(seen).toMatch(/"ticket":"[\w-]{43}"/)
    expect(traffic.filter((text) => /^(http|ws)/.test(text)).join()).not.toMatch(/[\w-]{43}/)
    // What a JWT begins with. The page is given one over HTTP, for tickets.
    expect([...received, ...traffic].filter((text) => text.includes('eyJ') && !text.startsWith('{"token":'))).toEqual([])
    const kept = await page.evaluate(() => [document.cookie, ...Object.values(localStorage), ...Object.values(sessionStorage)].join(''))
    expect(kept).toBe('')
    expect(await page.context().cookies()).toEqual([])
  })

  browserTest('is given to nobody but for a token of its owner', async () => {
    const { page } = await enter(guarded, 'erin')
    const token = async (user: string): Promise<string> => {
      const response = await page.request.post(`${guarded.url}/token`, { data: { user } })
      return ((await response.json()) as { token: string }).token
    }
    const ask = async (authorization?: string) => {
      const response = await page.request.post(`${guarded.url}/ticket`, authorization === undefined ? {} : { headers: { authorization } })
      return response.status()
    }
    const good = await token('erin')
    expect(await ask(`Bearer ${good}`)).toBe(200)
    expect(await ask()).toBe(401)
    expect(await ask(`Bearer ${good.slice(0, -4)}AAAA`)).toBe(401)
    expect(await ask('Bearer ')).toBe(401)
  })

  browserTest('that was spent opens nothing, and a window for each of two people in one browser stays that of its own', async () => {
    const ada = await enter(guarded, 'ada', 'acme-roadmap')
    const second = await ada.page.context().newPage()
    await second.goto(guarded.url)
    await signIn(second, 'gus', { windowOnly: true })
    await phase(second, 'valid')
    await ada.page.getByTestId('refresh-now').click()
    await ada.page.getByTestId('credential-note').filter({ hasText: 'Refreshed' }).waitFor()
    expect(await words(ada.page)).toContain('Ada Moss')
    expect(await words(second)).toContain('Gus Ortega')
    expect(await attack(ada.page, 'spent-ticket')).toMatchObject({ verdict: 'refused', code: 'UNAUTHENTICATED' })
    expect(await attack(ada.page, 'foreign-refresh')).toMatchObject({ verdict: 'refused', code: 'UNAUTHENTICATED' })
  })
})

describe('the end of a credential', () => {
  browserTest('is counted down, and put off on the same socket while the work goes on', async () => {
    const short = await start({ lifeMs: 4_000 })
    const { page } = await enter(short, 'erin', 'acme-roadmap')
    const socket = await socketOf(page)
    const until = Number(await card(page).getAttribute('data-until'))
    expect(until).toBeGreaterThan(0)
    expect(await words(page)).toMatch(/A ticket of Erin Cole, good until [\d:]+: 0:0\d left/)

    for (let seen = '', round = 0; round < 2; round++) {
      await card(page).and(page.locator(`:not([data-refreshed="${seen}"])`)).waitFor()
      seen = (await card(page).getAttribute('data-refreshed')) ?? ''
    }
    await say(page, 'Still the same socket')
    await heard(page, 'Still the same socket')
    expect(Number(await card(page).getAttribute('data-until'))).toBeGreaterThan(until + 4_000)
    expect(await socketOf(page)).toBe(socket)
    expect(await page.getByTestId('credential-note').innerText()).toContain(`still socket ${socket}`)
    expect(await page.getByTestId('document').getAttribute('data-open')).toBe('acme-roadmap')
    expect(await page.getByTestId('refusal').count()).toBe(0)
    await short.close()
  }, patientMs)

  browserTest('mutes a page that lets it come, and closes it with the reason; a new ticket brings it back', async () => {
    const short = await start({ lifeMs: 4_000, graceMs: 6_000 })
    const ada = await enter(short, 'ada', 'acme-roadmap')
    const { page, received } = await enter(short, 'erin', 'acme-roadmap')
    const socket = await socketOf(page)
    await page.getByTestId('let-it-end').click()
    await phase(page, 'grace')

    await say(page, 'Can you hear me?')
    await refusal(page, 'CREDENTIAL_EXPIRED').filter({ hasText: 'chat:send' }).waitFor()
    await say(ada.page, 'Erin must not see this yet')
    await heard(ada.page, 'Erin must not see this yet')

    await phase(page, 'closed')
    expect(await words(page)).toContain('CREDENTIAL_EXPIRED')
    expect(await page.getByTestId('connection-state').innerText()).toBe('closed: CREDENTIAL_EXPIRED')
    expect(received.join()).not.toContain('Erin must not see this yet')
    expect(await ada.page.getByTestId('chat-message').filter({ hasText: 'Can you hear me?' }).count()).toBe(0)

    await page.getByTestId('connect-again').click()
    await heard(page, 'Erin must not see this yet')
    expect(await socketOf(page)).not.toBe(socket)
    await short.close()
  }, patientMs)

  browserTest('can be turned back in the time of grace', async () => {
    const short = await start({ lifeMs: 4_000, graceMs: 30_000 })
    const { page } = await enter(short, 'viktor', 'acme-roadmap')
    const socket = await socketOf(page)
    await page.getByTestId('let-it-end').click()
    await phase(page, 'grace')
    await page.getByTestId('refresh-now').click()
    await phase(page, 'valid')
    await say(page, 'Here again')
    await heard(page, 'Here again')
    expect(await socketOf(page)).toBe(socket)
    await short.close()
  }, patientMs)
})

describe('an admin', () => {
  browserTest('ends what a colleague has open, who cannot come back until let in again', async () => {
    const ada = await enter(guarded, 'ada', 'acme-roadmap')
    const { page } = await enter(guarded, 'erin', 'acme-roadmap')
    await ada.page.getByTestId('revoke-erin').click()

    await phase(page, 'closed')
    expect(await words(page)).toBe('REVOKED (ended by Ada Moss). Coming back: UNAUTHENTICATED.')
    await ada.page.getByTestId('person-erin').and(ada.page.locator(':not([data-online])')).waitFor()

    // A new sign-in is no way round it, in this window or with a session in another browser.
    await page.getByTestId('sign-in-erin').click()
    await page.getByTestId('credential-words').filter({ hasText: 'UNAUTHENTICATED' }).waitFor()
    const other = await visit(guarded)
    await other.page.getByTestId('sign-in-erin').click()
    await phase(other.page, 'closed')

    await ada.page.getByTestId('reinstate-erin').click()
    await ada.page.getByTestId('revoke-erin').waitFor()
    await page.getByTestId('connect-again').click()
    await phase(page, 'valid')
    await ada.page.getByTestId('person-erin').and(ada.page.locator('[data-online=true]')).waitFor()
  }, patientMs)

  browserTest('has buttons for colleagues of the own company, and nobody else has any', async () => {
    const { page } = await enter(guarded, 'greta')
    expect(await page.locator('#roster button').allInnerTexts()).toEqual(['End all sessions'])
    const { page: editors } = await enter(guarded, 'erin')
    expect(await editors.locator('#roster button').count()).toBe(0)
  })
})

describe('what cannot be taken back', () => {
  browserTest('asks for a second factor, refuses a wrong code, and is done with the right one', async () => {
    const { page } = await enter(guarded, 'ada', 'acme-handbook')
    const erin = await enter(guarded, 'erin', 'acme-handbook')
    const wipe = page.getByTestId('document-wipe')
    const code = page.getByTestId('step-up-code')
    const note = page.getByTestId('step-up-note')

    await wipe.click()
    await refusal(page, 'STEP_UP_REQUIRED').waitFor()
    await page.getByTestId('step-up-cancel').click()
    await page.getByTestId('document-note').filter({ hasText: 'Not wiped: STEP_UP_REQUIRED' }).waitFor()

    await wipe.click()
    await page.getByTestId('step-up-show').click()
    const shown = /shows (\d{6})/.exec(await note.filter({ hasText: 'shows' }).innerText())![1]!
    await code.fill(String((Number(shown) + 1) % 1_000_000).padStart(6, '0'))
    await page.getByTestId('step-up-prove').click()
    await note.filter({ hasText: 'UNAUTHENTICATED' }).waitFor()
    expect(await erin.page.getByTestId('document-text').inputValue()).not.toBe('')

    await code.fill(shown)
    await page.getByTestId('step-up-prove').click()
    await page.getByTestId('document-note').filter({ hasText: 'Wiped' }).waitFor()
    await erin.page.getByTestId('document-note').filter({ hasText: 'Changed by Ada Moss' }).waitFor()
    expect(await erin.page.getByTestId('document-text').inputValue()).toBe('')

    // For a minute this connection need not be asked again; another one of hers has proved nothing.
    await wipe.click()
    await page.getByTestId('document-version').filter({ hasText: 'version 3' }).waitFor()
    expect(await attack(page, 'unproved-wipe')).toMatchObject({ verdict: 'refused', code: 'STEP_UP_REQUIRED' })
  }, patientMs)

  browserTest('is not offered to who may not do it', async () => {
    const { page } = await enter(guarded, 'erin', 'acme-roadmap')
    expect(await page.getByTestId('document-wipe').isVisible()).toBe(false)
  })
})

browserTest('a Node client with a token is in the same room as the page, and the admin ends it the same way', async () => {
  const { page } = await enter(guarded, 'ada', 'acme-roadmap')
  const root = fileURLToPath(new URL('../../', import.meta.url))
  const child = spawn(process.execPath, ['--import', './scripts/typescript.js', 'examples/workroom/node-client.ts', 'viktor', 'acme-roadmap'], {
    cwd: root,
    env: { ...process.env, WORKROOM_URL: guarded.url },
  })
  try {
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
    const next = async (): Promise<unknown> => (await lines.next()).value
    expect(await next()).toBe('viktor is in "Product roadmap"')
    child.stdin.write('Greetings from a terminal\n')
    await heard(page, 'Greetings from a terminal')
    expect(await next()).toBe('Viktor Lund: Greetings from a terminal')
    await say(page, 'Hello, terminal')
    expect(await next()).toBe('Ada Moss: Hello, terminal')

    const ended = once(child, 'exit')
    const complaints = createInterface({ input: child.stderr })[Symbol.asyncIterator]()
    await page.getByTestId('revoke-viktor').click()
    expect((await complaints.next()).value).toMatch(/^REVOKED/)
    expect((await complaints.next()).value).toMatch(/^UNAUTHENTICATED/)
    expect(await ended).toEqual([1, null])
  } finally {
    child.kill()
  }
}, patientMs)
