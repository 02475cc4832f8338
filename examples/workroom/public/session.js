import { connect } from '/portcullis/client/index.ts'
import { call, noticed } from './calls.js'

const post = (path, body = {}, headers = {}) =>
  fetch(path, { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify(body) })

/** Who is signed in in this browser: all of its windows have one session. */
export async function whoIsHere() {
  const { user } = await (await fetch('/me')).json()
  return user ?? undefined
}

export async function tokenFor(user) {
  const { token } = await (await post('/token', { user })).json()
  return { token }
}

/** What stands for this account in an HTTP request of a window that has no session. */
export async function bearerFor(user) {
  const { token } = await tokenFor(user)
  return { authorization: `Bearer ${token}` }
}

const settled = () => new Promise((resolve) => setTimeout(resolve, 500))

const bareCredential = async (user) => ({ kind: 'token', auth: await tokenFor(user) })

/** With a session: the cookie goes with everything by itself, and beside it a token that no page of another origin can read. */
async function sessionCredential(user, isLast = false) {
  const response = await fetch('/csrf')
  if (response.status === 404) return bareCredential(user)
  if (response.status === 401) {
    if (isLast) return { kind: 'session', user: undefined }
    // A window that signs in is given its cookie a moment after the others have been closed.
    await settled()
    return sessionCredential(user, true)
  }
  const { user: signedIn, csrf } = await response.json()
  return { kind: 'session', user: signedIn, auth: { csrf } }
}

/** For this window only: a ticket for each connection and each refresh. */
async function ticketCredential(user) {
  const response = await post('/ticket', {}, await bearerFor(user))
  if (response.status === 404) return bareCredential(user)
  if (!response.ok) throw new Error('No ticket: sign in again')
  const { ticket, untilMs } = await response.json()
  return { kind: 'ticket', auth: { ticket }, untilMs }
}

/** What opens one connection as this account. A server without a gate knows neither of them, and gets a token, as it always has. */
export const credentialFor = (user, windowOnly) => (windowOnly ? ticketCredential(user) : sessionCredential(user))

/** Signs in. Where it is not for this window only, nothing comes back but a cookie, which no script can read. */
export async function signIn(user, windowOnly) {
  if (windowOnly) {
    // Its cookie would come with this window as well, and two credentials are one too many.
    if ((await whoIsHere()) !== undefined) throw new Error('this browser has a session: log out first')
    return
  }
  const response = await post('/login', { user })
  if (!response.ok) throw new Error('sign-in failed')
}

export const signOut = () => post('/logout')

/**
 * A connection as this account, and what becomes of its credential: `phase` is `connecting`, `valid`, `expiring`, `grace` or
 * `closed`; `kind` is `session`, `ticket` or `token`. The companion gets new tickets by itself, unless `ending`, and new session
 * ids whenever it is asked to. `changed()` is called whenever any of it changes, and `replaced(user)` when the connection has to
 * be made anew, as whoever is signed in in this browser by now.
 */
export function openSession(account, windowOnly, { changed, replaced }) {
  const session = {
    account,
    windowOnly,
    kind: undefined,
    phase: 'connecting',
    ending: false,
    /** Whether nobody is signed in in this browser any more. */
    signedOut: false,
    /** Why the gate has closed it, or refused it. */
    refusal: undefined,
    /** What the last try to come back failed of, when there will be no other. */
    comingBack: undefined,
    socketId: undefined,
    sinceMs: undefined,
    untilMs: undefined,
    graceUntilMs: undefined,
    refreshedAtMs: undefined,
    renewedAtMs: undefined,
  }
  let offered

  const connection = connect(window.location.origin, {
    async credentials({ reason }) {
      if (session.ending && reason === 'expiring') throw new Error('It is to end')
      offered = await credentialFor(account.id, windowOnly)
      if (offered.kind === 'session' && offered.user !== account.id) giveUp(offered.user)
      return offered.auth
    },
  })
  Object.assign(session, { connection, socket: connection.socket })
  const update = (changes) => {
    Object.assign(session, changes)
    changed(session)
  }

  function giveUp(user) {
    session.signedOut = user === undefined
    connection.close()
    if (user !== undefined) replaced(user)
  }

  connection.on('state', (state) => {
    if (state === 'connecting') update({ phase: 'connecting' })
    if (state !== 'connected') return
    const { kind, untilMs } = offered
    update({ phase: 'valid', kind, refusal: undefined, ending: false, socketId: session.socket.id, sinceMs: Date.now(), untilMs, refreshedAtMs: undefined, renewedAtMs: undefined })
  })
  connection.on('expiring', ({ inMs, closesInMs }) => {
    update(inMs > 0 ? { phase: 'expiring' } : { phase: 'grace', graceUntilMs: Date.now() + closesInMs })
  })
  connection.on('refreshed', ({ expiresAtMs }) => {
    update({ phase: 'valid', untilMs: expiresAtMs, sinceMs: Date.now(), refreshedAtMs: Date.now() })
  })
  connection.on('renewed', () => update({ renewedAtMs: Date.now() }))
  session.socket.on('gate:closing', (refusal) => {
    noticed(refusal, 'closing')
    update({ refusal })
  })
  connection.on('refused', (error) => {
    // The companion tells of a closing as well.
    if (error.id !== session.refusal?.id) noticed(error, session.phase === 'connecting' ? 'enter /' : 'refresh')
    if (session.ending && error.code === 'CREDENTIAL_EXPIRED') connection.close()
    else update({ refusal: session.refusal ?? error })
  })
  connection.on('closed', ({ error }) => {
    update({ phase: 'closed', refusal: session.refusal ?? error, comingBack: error })
    if (error?.code === 'FORBIDDEN' && offered?.kind === 'session') stale(() => replaced(account.id))
  })
  return session
}

let staleAtMs = 0

/** The token belongs to the cookie there was. Another window may have been given a new one a moment before this one connected: with a new token too it will do. */
function stale(again) {
  if (Date.now() - staleAtMs < 10_000) return
  staleAtMs = Date.now()
  void settled().then(again)
}

/** A new ticket, or a new session id, on the same socket. */
export function refreshNow(session) {
  session.ending = false
  if (session.kind === 'session') void call(session.socket, 'session:renew', {})
  // Whatever goes wrong is told to the listeners above.
  else session.connection.refresh().catch(() => {})
}
