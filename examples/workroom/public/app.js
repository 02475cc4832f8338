import { attacks } from './attacks.js'
import { noticed, onRefusal } from './calls.js'
import { showCredential, startCredential } from './credential.js'
import { listenToRoom, openDocument, showDocument } from './document.js'
import { byId, el, prependBounded } from './dom.js'
import { followDecisions } from './feed.js'
import { showRoster } from './people.js'
import { credentialFor, openSession, signIn, signOut, whoIsHere } from './session.js'
import { listenToSessions, showSession, startSessions } from './sessions.js'
import { state } from './state.js'

/* Refusals: one list, whichever way they came. */

let refusals = 0

function showRefusal(refusal, how) {
  refusals += 1
  byId('refusal-count').textContent = String(refusals)
  const row = el(
    'li',
    { 'data-testid': 'refusal', 'data-code': refusal.code },
    el('span', { class: 'code' }, refusal.code),
    el('span', { title: `${how}: ${refusal.message}` }, el('span', { class: 'quiet' }, how, ' '), refusal.message),
    el('span', { class: 'id', title: 'The id under which the operators find this decision' }, refusal.id),
  )
  prependBounded(byId('refusals'), row, 200)
}

/* Who is here, and the connection. */

async function enter(account) {
  const windowOnly = byId('window-only').checked
  leave()
  try {
    await signIn(account.id, windowOnly)
  } catch (error) {
    return setConnection(error.message, 'bad')
  }
  connectAs(account, windowOnly)
}

function connectAs(account, windowOnly) {
  const open = state.open?.id
  state.session?.connection.close()
  const made = openSession(account, windowOnly, {
    changed: (session) => session === state.session && sessionChanged(session, open),
    replaced: (user) => made === state.session && connectAs(accountOf(user), false),
  })
  state.session = made
  listen(made)
  showDocument(undefined)
  sessionChanged(made)
  render()
}

const accountOf = (user) => state.accounts.find(({ id }) => id === user)

function leave() {
  const { session } = state
  state.session = undefined
  session?.connection.close()
  byId('roster').replaceChildren()
  showDocument(undefined)
  showCredential(undefined)
  showSession(undefined)
  setConnection('signed out', 'quiet')
  render()
}

/** Of a session: in all windows of this browser. The gate closes their connections, and this window's is closed at once. */
function logOut() {
  const { windowOnly } = state.session
  leave()
  if (!windowOnly) void signOut()
}

let entered

/** Also when a connection was lost and the companion has made a new one: what was open is opened again. */
function sessionChanged(session, before) {
  showCredential(session)
  showSession(session)
  const { phase, socketId, account, refusal } = session
  if (phase === 'connecting') setConnection('connecting…', 'quiet')
  else if (phase === 'closed') setConnection(refusal === undefined ? 'closed' : `closed: ${refusal.code}`, 'bad')
  else setConnection(`connected as ${account.name}`, 'good')
  if (phase !== 'valid' || socketId === entered) return
  entered = socketId
  renderAttacks()
  const id = state.open?.id ?? before
  if (id !== undefined) void openDocument(id).then(render)
}

function setConnection(words, kind) {
  const pill = byId('connection-state')
  pill.textContent = words
  pill.className = `pill pill--${kind}`
}

function listen(session) {
  const current = (handler) => (payload) => session === state.session && handler(payload)
  session.socket.on('gate:denied', current((refusal) => noticed(refusal, `${refusal.event} (no ack)`)))
  session.socket.on('roster', current(({ people }) => showRoster(people)))
  listenToRoom(session.socket, current)
  listenToSessions(session.socket, current)
}

/* Attacks. */

const verdictWords = { refused: 'refused', cleaned: 'cleaned', through: 'got through', silent: 'silence', closed: 'closed' }

async function runAttack(attack) {
  const { session, open, accounts, documents } = state
  const account = session?.account
  const answer = byId(`answer-${attack.id}`)
  answer.replaceChildren('…')
  answer.dataset.verdict = 'pending'
  const { verdict, refusal, note: words } = await attack.run({
    account,
    socket: session?.socket,
    credential: async () => (await credentialFor(account.id, session.windowOnly)).auth,
    openId: open?.id,
    colleague: accounts.find(({ id, tenant }) => id !== account?.id && tenant === account?.tenant),
    foreignDocument: documents.find(({ tenant }) => tenant !== account?.tenant),
  })
  answer.dataset.verdict = verdict
  answer.dataset.code = refusal?.code ?? ''
  answer.replaceChildren(
    el('span', { class: `verdict verdict--${verdict}` }, refusal?.code ?? verdictWords[verdict]),
    el('span', { title: words }, words),
  )
}

/* What there is to press. */

function choice({ testid, label, detail, tenant, pressed, disabled, onclick }) {
  const words = el('span', {}, label, ' ', el('small', {}, detail))
  const attributes = { class: 'choice', 'data-testid': testid, 'aria-pressed': String(pressed), disabled: disabled ? '' : undefined, onclick }
  return el('button', attributes, words, el('span', { class: `tag tag--${tenant}` }, tenant))
}

function render() {
  const { accounts, documents, session, open } = state
  byId('accounts').replaceChildren(
    ...accounts.map((person) =>
      choice({
        testid: `sign-in-${person.id}`,
        label: person.name,
        detail: person.role,
        tenant: person.tenant,
        pressed: person.id === session?.account.id,
        onclick: () => void enter(person),
      }),
    ),
  )
  byId('documents').replaceChildren(
    ...documents.map((document) =>
      choice({
        testid: `open-${document.id}`,
        label: document.title,
        detail: '',
        tenant: document.tenant,
        pressed: document.id === open?.id,
        disabled: session === undefined,
        onclick: () => void openDocument(document.id).then(render),
      }),
    ),
  )
  renderAttacks()
}

const kindWords = { session: 'with a session', ticket: 'for this window only' }

function renderAttacks() {
  const { session, open } = state
  for (const attack of attacks) {
    const missing = (attack.needsSession && session === undefined) || (attack.needsRoom && open === undefined)
    const other = attack.needsKind !== undefined && ![attack.needsKind, 'token'].includes(session?.kind)
    const button = byId(`attack-${attack.id}`)
    button.disabled = missing || other
    button.title = missing ? 'Sign in and open a document first' : other ? `Sign in ${kindWords[attack.needsKind]} first` : ''
  }
}

async function start() {
  byId('attacks').replaceChildren(
    ...attacks.map((attack) =>
      el(
        'li',
        {},
        el('button', { id: `attack-${attack.id}`, 'data-testid': `attack-${attack.id}`, onclick: () => void runAttack(attack) }, attack.label),
        el('span', { id: `answer-${attack.id}`, class: 'answer', 'data-testid': `answer-${attack.id}` }),
      ),
    ),
  )
  onRefusal(showRefusal)
  followDecisions()
  startCredential(() => connectAs(state.session.account, state.session.windowOnly))
  startSessions(logOut)
  const [accounts, documents] = await Promise.all(['/accounts', '/documents'].map(async (url) => (await fetch(url)).json()))
  Object.assign(state, { accounts, documents })
  render()
  const user = await whoIsHere()
  if (user !== undefined && state.session === undefined) connectAs(accountOf(user), false)
}

await start()
