import { call } from './calls.js'
import { byId, el } from './dom.js'
import { state } from './state.js'

/* Where one is signed in. */

const clock = (ms) => new Date(ms).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' })

const among = (names, text) => names.find(([mark]) => text.includes(mark))?.[1]
const browsers = [['Edg/', 'Edge'], ['Firefox/', 'Firefox'], ['Chrome/', 'Chrome'], ['Safari/', 'Safari']]
const systems = [['Android', 'Android'], ['iPhone', 'iOS'], ['Windows', 'Windows'], ['Mac OS', 'macOS'], ['Linux', 'Linux']]

/** Whoever signs in says what browser it is, and may say anything: words for a person to recognise, no proof. */
function browserOf(userAgent = '') {
  const system = among(systems, userAgent)
  return `${among(browsers, userAgent) ?? 'Some browser'}${system === undefined ? '' : ` on ${system}`}`
}

function note(words) {
  byId('sessions-note').textContent = words
}

async function end(id) {
  const { value, refusal } = await call(state.session.socket, 'session:end', { id })
  note(value === undefined ? `Not ended: ${refusal?.code ?? 'no answer'}` : 'Ended.')
}

async function endOthers() {
  const { value, refusal } = await call(state.session.socket, 'session:end-others', {})
  note(value === undefined ? `Not ended: ${refusal?.code ?? 'no answer'}` : `${value.ended} ended.`)
}

function row({ id, createdAtMs, seenAtMs, address, userAgent }, current) {
  const here = id === current
  return el(
    'li',
    { 'data-testid': 'session', 'data-id': id, 'data-here': String(here) },
    el('span', { title: `${userAgent ?? ''} ${address ?? ''}` }, here ? el('b', {}, 'This browser') : browserOf(userAgent)),
    el('span', { class: 'quiet' }, `since ${clock(createdAtMs)}, seen ${clock(seenAtMs)}`),
    here ? '' : el('button', { class: 'link', 'data-testid': 'session-end', onclick: () => void end(id) }, 'End'),
  )
}

function showSessions({ current, sessions }) {
  byId('sessions').replaceChildren(...sessions.map((session) => row(session, current)))
  byId('end-others').disabled = sessions.every(({ id }) => id === current)
}

const explanations = {
  session: '',
  ticket: 'This window has none: it came with a ticket.',
  token: 'Without a gate nobody lists them, and logging out closes nothing.',
}

let shownKind

/** Shows whether there is a session to log out of; which others there are the server says. */
export function showSession(session) {
  const there = session !== undefined && session.phase !== 'closed'
  byId('sign-out').disabled = session === undefined || session.signedOut
  if (!there) {
    byId('sessions').replaceChildren()
    byId('end-others').disabled = true
  }
  if (session === undefined || session.kind !== shownKind) {
    shownKind = session?.kind
    note(session === undefined ? 'Sign in, and there is one.' : (explanations[session.kind] ?? ''))
  }
}

/** `current` wraps a handler so that it is deaf once its socket is not the page's. */
export function listenToSessions(socket, current) {
  socket.on('sessions', current(showSessions))
}

/** `logOut()` is called when the user wants to. */
export function startSessions(logOut) {
  byId('sign-out').addEventListener('click', () => logOut())
  byId('end-others').addEventListener('click', () => void endOthers())
  showSession(undefined)
}
