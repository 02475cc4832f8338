import { byId } from './dom.js'
import { refreshNow } from './session.js'

/* How long the credential of the page's connection is good for, and what became of it. */

let current
let again

const clock = (ms) => new Date(ms).toLocaleTimeString([], { hour12: false })
const secondsTo = (ms) => Math.max(0, Math.ceil((ms - Date.now()) / 1_000))
const left = (ms) => `${Math.floor(secondsTo(ms) / 60)}:${String(secondsTo(ms) % 60).padStart(2, '0')}`

const pills = {
  connecting: ['connecting…', 'quiet'],
  valid: ['good', 'good'],
  expiring: ['ends soon', 'warn'],
  grace: ['over: muted', 'bad'],
  closed: ['closed', 'bad'],
}

function wordsFor({ phase, kind, account, windowOnly, untilMs, graceUntilMs, ending, signedOut, refusal, comingBack }) {
  if (phase === 'connecting') return windowOnly ? 'Asking for a ticket…' : 'Connecting…'
  if (phase === 'closed') {
    if (refusal === undefined) return signedOut ? 'Nobody is signed in in this browser.' : (comingBack?.message ?? 'The server has closed it.')
    const reason = refusal.details?.reason === undefined ? '' : ` (${refusal.details.reason})`
    const more = comingBack === undefined || comingBack.id === refusal.id ? '' : ` Coming back: ${comingBack.code ?? comingBack.message}.`
    return `${refusal.code}${reason}.${more}`
  }
  if (kind === 'session') return `The session of ${account.name}, in all windows of this browser, until it is ended.`
  if (kind === 'token') return 'A token. Once the connection is open, nobody looks at it again.'
  if (phase === 'grace') return `Nothing goes out or comes in. ${left(graceUntilMs)} left to refresh, then it is closed.`
  return `A ticket of ${account.name}, good until ${clock(untilMs)}: ${left(untilMs)} left${ending ? ', and then it ends' : ''}.`
}

function noteFor({ phase, socketId, refreshedAtMs, renewedAtMs }) {
  if (phase === 'connecting' || phase === 'closed') return ''
  if (renewedAtMs !== undefined) return `New session id at ${clock(renewedAtMs)}, still socket ${socketId}.`
  return refreshedAtMs === undefined ? `Socket ${socketId}.` : `Refreshed at ${clock(refreshedAtMs)}, still socket ${socketId}.`
}

function show() {
  const card = byId('credential')
  const { phase = 'none', kind = '', sinceMs, untilMs, socketId = '', ending, refreshedAtMs = '', renewedAtMs = '' } = current ?? {}
  const [words, tone] = pills[phase] ?? ['none', 'quiet']
  const timed = current !== undefined && untilMs !== undefined
  Object.assign(card.dataset, { phase, kind, socket: socketId, until: untilMs ?? '', refreshed: refreshedAtMs, renewed: renewedAtMs })
  byId('credential-state').textContent = words
  byId('credential-state').className = `pill pill--${tone}`
  byId('credential-words').textContent = current === undefined ? 'Sign in, and the page gets one.' : wordsFor(current)
  byId('credential-note').textContent = current === undefined ? '' : noteFor(current)
  byId('credential-left').hidden = kind === 'session'
  byId('credential-left').value = timed && phase !== 'closed' ? Math.max(0, (untilMs - Date.now()) / (untilMs - sinceMs)) : 0
  byId('refresh-now').hidden = phase === 'closed'
  byId('refresh-now').disabled = phase === 'connecting' || !(timed || kind === 'session')
  byId('refresh-now').textContent = kind === 'session' ? 'New session id' : 'Refresh now'
  byId('let-it-end').hidden = phase === 'closed' || kind === 'session'
  byId('let-it-end').disabled = byId('refresh-now').disabled || ending || phase === 'grace'
  byId('connect-again').hidden = phase !== 'closed'
}

/** Shows what has become of the credential of this session; of none, when nobody is signed in. */
export function showCredential(session) {
  current = session
  show()
}

/** `connectAgain()` is called when the user wants to come back after the end. */
export function startCredential(connectAgain) {
  again = connectAgain
  byId('refresh-now').addEventListener('click', () => refreshNow(current))
  byId('let-it-end').addEventListener('click', () => {
    current.ending = true
    show()
  })
  byId('connect-again').addEventListener('click', () => again())
  setInterval(show, 250)
  show()
}
