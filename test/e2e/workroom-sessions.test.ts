import { afterAll, afterEach, beforeAll, describe, expect } from '@jest/globals'
import type { BrowserContext, Page } from 'playwright-core'
import { browserTest } from '../support/chromium.ts'
import { closeBrowser, closeVisits, credential, credentialWords, enter, heard, openDocument, phase, refusal, say, signIn, socketOf, start, visit, type Workroom } from './workroom-page.ts'

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

const cookieOf = async (context: BrowserContext): Promise<string | undefined> => (await context.cookies()).find(({ name }) => name === 'workroom')?.value
/** The id within the cookie: what only the browser and the session store may know. */
const idIn = (cookie: string | undefined): string => /^s:([\w-]{32})\./.exec(decodeURIComponent(cookie ?? ''))![1]!
const renewals = (page: Page): Promise<string | null> => credential(page).getAttribute('data-renewed')
const renewedSince = (page: Page, before: string): Promise<void> => credential(page).and(page.locator(`:not([data-renewed="${before}"])`)).waitFor()
const listed = (page: Page) => page.getByTestId('session')
const here = (page: Page) => page.locator('[data-testid=session][data-here=true]')
const whoIsIn = async (page: Page): Promise<unknown> => (await page.request.get(new URL('/me', page.url()).href)).json()

/** Another window of the same browser. */
async function another(page: Page): Promise<Page> {
  const second = await page.context().newPage()
  await second.goto(page.url())
  return second
}

describe('a session', () => {
  browserTest('signs a whole browser in: a second window is in without being asked', async () => {
    const { page } = await enter(guarded, 'erin', 'acme-roadmap')
    expect(await page.context().cookies()).toMatchObject([{ name: 'workroom', httpOnly: true, sameSite: 'Lax' }])
    expect(await credential(page).getAttribute('data-kind')).toBe('session')

    const second = await another(page)
    await phase(second, 'valid')
    expect(await credentialWords(second)).toContain('The session of Erin Cole')
    await openDocument(second, 'acme-roadmap')
    await say(second, 'From the second window')
    await heard(page, 'From the second window')
    // Two windows, and one session.
    await here(second).waitFor()
    expect(await here(second).getAttribute('data-id')).toBe(await here(page).getAttribute('data-id'))
  }, patientMs)

  browserTest('leaves its id in no script, URL, socket, page, feed or log, before and after it was renewed', async () => {
    const log: string[] = []
    const logged = await start({ log: (line) => log.push(line) })
    const { page, received, traffic } = await enter(logged, 'erin', 'acme-roadmap')
    const cookies = [await cookieOf(page.context())]
    await page.getByTestId('refresh-now').click()
    await renewedSince(page, '')
    cookies.push(await cookieOf(page.context()))
    await say(page, 'Under another id')
    await heard(page, 'Under another id')
    await page.locator('[data-testid=decision][data-what="session:renew"]').first().waitFor()
    await Promise.all([page.waitForResponse('**/logout'), page.getByTestId('sign-out').click()])

    expect(new Set(cookies).size).toBe(2)
    const seen = [...received, ...traffic, ...log, await page.content(), await page.evaluate(() => document.cookie)].join('\n')
    expect(seen).toContain('session:renew')
    for (const cookie of cookies) {
      expect(seen).not.toContain(idIn(cookie))
      expect(seen).not.toContain(cookie)
    }
    expect(log.join()).toContain('"event":"session:renew"')
    await logged.close()
  }, patientMs)

  browserTest('is of one person in one browser: a window that is open follows whoever signs in in another', async () => {
    const { page } = await enter(guarded, 'viktor')
    // It comes back at once: sooner than the other window has its cookie.
    await page.context().addInitScript(() => {
      crypto.getRandomValues = ((values: Uint32Array) => values.fill(0)) as never
    })
    await page.reload()
    await phase(page, 'valid')
    const second = await another(page)
    await phase(second, 'valid')
    await signIn(second, 'gus')
    await page.getByTestId('connection-state').filter({ hasText: 'connected as Gus Ortega' }).waitFor()
    await refusal(page, 'REVOKED').filter({ hasText: 'closing' }).waitFor()
    expect(await page.locator('#roster li > span:nth-child(2)').allInnerTexts()).toEqual(['Greta Holm', 'Gus Ortega'])
    // A window of its own for somebody else is not to be had beside it.
    await page.getByTestId('window-only').check()
    await page.getByTestId('sign-in-ada').click()
    await page.getByTestId('connection-state').filter({ hasText: 'log out first' }).waitFor()
  }, patientMs)
})

describe('the id of a session', () => {
  browserTest('is renewed time and again while the sockets stay, and no event is lost or comes twice', async () => {
    const brisk = await start({ rotateEveryMs: 1_500 })
    const ada = await enter(brisk, 'ada', 'acme-roadmap')
    const { page, received } = await enter(brisk, 'erin', 'acme-roadmap')
    const second = await another(page)
    await phase(second, 'valid')
    const sockets = [await socketOf(page), await socketOf(second)]
    const cookies = new Set<string | undefined>()
    let said = 0
    while (cookies.size < 4) {
      said += 1
      await say(said % 2 === 0 ? ada.page : page, `message ${said}.`)
      await heard(page, `message ${said}.`)
      cookies.add(await cookieOf(page.context()))
    }

    const chat = received.filter((frame) => frame.includes('"chat:message"')).join('\n')
    for (let n = 1; n <= said; n++) expect(chat.split(`message ${n}.`)).toHaveLength(2)
    expect([await socketOf(page), await socketOf(second)]).toEqual(sockets)
    expect([...(await Promise.all([page, second].map(renewals)))].some((renewed) => renewed !== '')).toBe(true)
    for (const each of [page, second]) expect(await each.getByTestId('connection-state').innerText()).toBe('connected as Erin Cole')
    await brisk.close()
  }, patientMs)

  browserTest('is another one when the page asks for it, on the same sockets in all windows, which still work and can come back', async () => {
    const { page } = await enter(guarded, 'erin', 'acme-handbook')
    const second = await another(page)
    await phase(second, 'valid')
    const [socket, other, before] = [await socketOf(page), await socketOf(second), await cookieOf(page.context())]
    await page.getByTestId('refresh-now').click()
    await page.getByTestId('credential-note').filter({ hasText: `still socket ${socket}` }).and(page.locator(':has-text("New session id")')).waitFor()
    expect(idIn(await cookieOf(page.context()))).not.toBe(idIn(before))

    await openDocument(second, 'acme-handbook')
    await say(second, 'Under the new id')
    await heard(page, 'Under the new id')
    expect([await socketOf(page), await socketOf(second)]).toEqual([socket, other])
    await page.reload()
    await phase(page, 'valid')
    expect(await refusal(second, 'REVOKED').count()).toBe(0)
  }, patientMs)

  browserTest('may be renewed by one window while another is about to connect: that one is in all the same', async () => {
    const { page } = await enter(guarded, 'erin')
    const second = await another(page)
    await phase(second, 'valid')
    // The token is fetched for one cookie, and the connection made with the next.
    await page.route('**/csrf', async (route) => {
      const response = await route.fetch()
      await second.getByTestId('refresh-now').click()
      await renewedSince(second, '')
      await route.fulfill({ response })
    }, { times: 1 })
    await page.reload()
    await phase(page, 'valid')
    expect(await page.getByTestId('connection-state').innerText()).toBe('connected as Erin Cole')
  }, patientMs)
})

describe('the list of sessions', () => {
  browserTest('shows each browser and marks this one; ending another one closes its windows and signs it out', async () => {
    const room = await start()
    const { page } = await enter(room, 'erin', 'acme-roadmap')
    const laptop = await enter(room, 'erin', 'acme-roadmap')
    const laptopWindow = await another(laptop.page)
    await phase(laptopWindow, 'valid')
    // Somebody else's sessions are none of hers.
    const ada = await enter(room, 'ada')

    await listed(page).nth(1).waitFor()
    expect(await listed(page).count()).toBe(2)
    expect(await here(page).innerText()).toContain('This browser')
    expect(await page.locator('[data-testid=session][data-here=false]').innerText()).toContain('Chrome on Linux')
    expect(await here(page).getAttribute('data-id')).not.toBe(await here(laptop.page).getAttribute('data-id'))
    expect(await listed(ada.page).count()).toBe(1)

    await page.getByTestId('session-end').click()
    for (const closed of [laptop.page, laptopWindow]) {
      await phase(closed, 'closed')
      expect(await credentialWords(closed)).toBe('REVOKED (ended from another browser).')
    }
    await page.getByTestId('sessions-note').filter({ hasText: 'Ended.' }).waitFor()
    expect(await whoIsIn(laptop.page)).toEqual({ user: null })
    expect(await whoIsIn(page)).toEqual({ user: 'erin' })
    await page.locator('#sessions:not(:has([data-here=false]))').waitFor()
    expect(await here(page).count()).toBe(1)
    expect(await page.getByTestId('connection-state').innerText()).toBe('connected as Erin Cole')
    await room.close()
  }, patientMs)

  browserTest('ends all but this one at once, and those of nobody else', async () => {
    const room = await start()
    const { page } = await enter(room, 'ada', 'acme-roadmap')
    const others = await Promise.all([enter(room, 'ada'), enter(room, 'ada')])
    const erin = await enter(room, 'erin', 'acme-roadmap')
    await listed(page).nth(2).waitFor()
    await page.getByTestId('end-others').click()
    for (const other of others) {
      await phase(other.page, 'closed')
      expect(await whoIsIn(other.page)).toEqual({ user: null })
    }
    await page.getByTestId('sessions-note').filter({ hasText: '2 ended.' }).waitFor()
    await say(page, 'Only here now')
    await heard(erin.page, 'Only here now')
    await room.close()
  }, patientMs)

  browserTest('is asked in vain to end a session of somebody else', async () => {
    const ada = await enter(guarded, 'ada')
    const { page } = await enter(guarded, 'erin')
    await here(ada.page).waitFor()
    const hers = await here(ada.page).getAttribute('data-id')
    const code = await page.evaluate(async (id) => {
      const [{ call }, { state }] = await Promise.all(['/calls.js', '/state.js'].map((path) => import(path)))
      return (await call(state.session.socket, 'session:end', { id })).refusal?.code
    }, hers)
    expect(code).toBe('FORBIDDEN')
    expect(await whoIsIn(ada.page)).toEqual({ user: 'ada' })
  }, patientMs)

  browserTest('has an end: whoever signs in once more than may be ends the oldest', async () => {
    const room = await start()
    const { page } = await enter(room, 'gus')
    for (let n = 0; n < 5; n++) {
      await fetch(`${room.url}/login`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ user: 'gus' }) })
    }
    await phase(page, 'closed')
    expect(await credentialWords(page)).toBe('REVOKED (a newer session has taken its place).')
    await room.close()
  }, patientMs)
})

describe('logging out', () => {
  browserTest('closes every window of the browser with the reason, and none comes back', async () => {
    const { page } = await enter(guarded, 'erin', 'acme-roadmap')
    const second = await another(page)
    await phase(second, 'valid')
    const otherBrowser = await enter(guarded, 'erin')
    await page.getByTestId('sign-out').click()

    await phase(second, 'closed')
    expect(await credentialWords(second)).toBe('REVOKED (signed out).')
    expect(await second.getByTestId('connection-state').innerText()).toBe('closed: REVOKED')
    await second.getByTestId('connect-again').click()
    await second.getByTestId('credential-words').filter({ hasText: 'Nobody is signed in in this browser.' }).waitFor()
    expect(await page.getByTestId('connection-state').innerText()).toBe('signed out')
    expect(await otherBrowser.page.getByTestId('connection-state').innerText()).toBe('connected as Erin Cole')
  }, patientMs)

  browserTest('is done when it is answered: the very next event of a socket that was open is not handled', async () => {
    const ada = await enter(guarded, 'ada', 'acme-roadmap')
    const { page } = await enter(guarded, 'erin', 'acme-roadmap')
    const outcome = await page.evaluate(async () => {
      const [{ call }, { state }] = await Promise.all(['/calls.js', '/state.js'].map((path) => import(path)))
      await fetch('/logout', { method: 'POST' })
      return call(state.session.socket, 'chat:send', { id: 'acme-roadmap', text: 'Said after logging out' })
    })
    expect(outcome).not.toHaveProperty('value')
    await say(ada.page, 'Is Erin gone?')
    await heard(ada.page, 'Is Erin gone?')
    expect(ada.received.join()).not.toContain('Said after logging out')
    await phase(page, 'closed')
  }, patientMs)
})

browserTest('an admin who ends the sessions of a colleague signs the colleague out everywhere, and it takes a new sign-in to come back', async () => {
  const ada = await enter(guarded, 'ada')
  const { page } = await enter(guarded, 'viktor')
  await ada.page.getByTestId('revoke-viktor').click()
  await phase(page, 'closed')
  expect(await credentialWords(page)).toBe('REVOKED (ended by Ada Moss).')
  expect(await whoIsIn(page)).toEqual({ user: null })

  await page.getByTestId('sign-in-viktor').click()
  await page.getByTestId('credential-words').filter({ hasText: 'UNAUTHENTICATED' }).waitFor()
  await ada.page.getByTestId('reinstate-viktor').click()
  await ada.page.getByTestId('revoke-viktor').waitFor()
  await signIn(page, 'viktor')
}, patientMs)

browserTest('a page that nobody uses is closed, and its session is still there for whoever comes back', async () => {
  const sleepy = await start({ idleMs: 3_000 })
  const { page } = await enter(sleepy, 'erin')
  // What comes for it does not count as use.
  const ada = await visit(sleepy)
  await signIn(ada.page, 'ada', { windowOnly: true })
  await phase(page, 'closed')
  expect(await page.getByTestId('connection-state').innerText()).toBe('closed: IDLE_TIMEOUT')
  // A window by ticket has an end of another kind.
  expect(await credential(ada.page).getAttribute('data-phase')).toBe('valid')
  await page.getByTestId('connect-again').click()
  await phase(page, 'valid')
  await sleepy.close()
}, patientMs)
