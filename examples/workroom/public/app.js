import { attacks } from './attacks.js'
import { noticed, onRefusal } from './calls.js'
import { showCredential, startCredential } from './credential.js'
import { listenToRoom, openDocument, showDocument } from './document.js'
import { byId, el, prependBounded } from './dom.js'
import { followDecisions } from './feed.js'
import { showRoster } from './people.js'
import { credentialFor, openSession, signIn, signOut } from './session.js'
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
  try {
    await signIn(account.id)
  } catch (error) {
    return setConnection(error.message, 'bad')
  }
  leave()
  connectAs(account)
}

function connectAs(account) {
  const open = state.open?.id
  state.session = openSession(account, (session) => {
    if (session === state.session) sessionChanged(session, open)
  })
  listen(state.session)
  showDocument(undefined)
  sessionChanged(state.session)
  render()
}

function leave() {
  const { session } = state
  state.session = undefined
  session?.connection.close()
  byId('roster').replaceChildren()
  showDocument(undefined)
  showCredential(undefined)
  setConnection('signed out', 'quiet')
  render()
}

let entered

/** Also when a connection was lost and the companion has made a new one: what was open is opened again. */
function sessionChanged(session, before) {
  showCredential(session)
  const { phase, socketId, account, refusal } = session
  if (phase === 'connecting') setConnection('connecting…', 'quiet')
  else if (phase === 'closed') setConnection(refusal === undefined ? 'closed' : `closed: ${refusal.code}`, 'bad')
  else setConnection(`connected as ${account.name}`, 'good')
  if (phase !== 'valid' || socketId === entered) return
  entered = socketId
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
    credential: async () => (await credentialFor(account.id)).auth,
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
  byId('sign-out').hidden = session === undefined
  for (const attack of attacks) {
    const missing = (attack.needsSession && session === undefined) || (attack.needsRoom && open === undefined)
    const button = byId(`attack-${attack.id}`)
    button.disabled = missing
    button.title = missing ? 'Sign in and open a document first' : ''
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
  byId('sign-out').addEventListener('click', () => {
    void signOut(state.session.account.id)
    leave()
  })
  onRefusal(showRefusal)
  followDecisions()
  startCredential(() => connectAs(state.session.account))
  const [accounts, documents] = await Promise.all(['/accounts', '/documents'].map(async (url) => (await fetch(url)).json()))
  Object.assign(state, { accounts, documents })
  render()
}

await start()
