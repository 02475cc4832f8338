import { connect } from '/portcullis/client/index.ts'
import { noticed } from './calls.js'

const post = (path, body) =>
  fetch(path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })

/**
 * What opens one connection as somebody this browser is signed in as: a ticket. A server without a gate knows no tickets, and
 * gets a token, as it always has.
 */
export async function credentialFor(user) {
  const response = await post('/ticket', { user })
  if (response.status === 404) return { auth: await tokenFor(user) }
  if (!response.ok) throw new Error('No ticket: sign in again')
  const { ticket, untilMs } = await response.json()
  return { auth: { ticket }, untilMs }
}

export async function tokenFor(user) {
  const { token } = await (await post('/token', { user })).json()
  return { token }
}

/** Signs in over HTTP. Nothing comes back but a cookie, which no script can read. */
export async function signIn(user) {
  const response = await post('/login', { user })
  if (!response.ok) throw new Error('Sign-in failed')
}

export const signOut = (user) => post('/logout', { user })

/**
 * A connection as this account, and what becomes of its credential: `phase` is `connecting`, `valid`, `expiring`, `grace` or
 * `closed`. The companion gets new tickets by itself, unless `ending`. `changed()` is called whenever any of it changes.
 */
export function openSession(account, changed) {
  const session = {
    account,
    phase: 'connecting',
    ending: false,
    /** Why the gate has closed it, or refused it. */
    refusal: undefined,
    /** What the last try to come back failed of, when there will be no other. */
    comingBack: undefined,
    socketId: undefined,
    sinceMs: undefined,
    untilMs: undefined,
    graceUntilMs: undefined,
    refreshedAtMs: undefined,
  }
  let offered

  const connection = connect(window.location.origin, {
    async credentials({ reason }) {
      if (session.ending && reason === 'expiring') throw new Error('It is to end')
      offered = await credentialFor(account.id)
      return offered.auth
    },
  })
  Object.assign(session, { connection, socket: connection.socket })
  const update = (changes) => {
    Object.assign(session, changes)
    changed(session)
  }

  connection.on('state', (state) => {
    if (state === 'connecting') update({ phase: 'connecting' })
    if (state !== 'connected') return
    update({ phase: 'valid', refusal: undefined, ending: false, socketId: session.socket.id, sinceMs: Date.now(), untilMs: offered.untilMs, refreshedAtMs: undefined })
  })
  connection.on('expiring', ({ inMs, closesInMs }) => {
    update(inMs > 0 ? { phase: 'expiring' } : { phase: 'grace', graceUntilMs: Date.now() + closesInMs })
  })
  connection.on('refreshed', ({ expiresAtMs }) => {
    update({ phase: 'valid', untilMs: expiresAtMs, sinceMs: Date.now(), refreshedAtMs: Date.now() })
  })
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
  connection.on('closed', ({ error }) => update({ phase: 'closed', refusal: session.refusal ?? error, comingBack: error }))
  return session
}

export function refreshNow(session) {
  session.ending = false
  // Whatever goes wrong is told to the listeners above.
  session.connection.refresh().catch(() => {})
}
