import { attacks } from './attacks.js'
import { call, noticed, onRefusal } from './calls.js'
import { byId, el, prependBounded } from './dom.js'
import { followDecisions } from './feed.js'

const state = { accounts: [], documents: [], account: undefined, token: undefined, socket: undefined, open: undefined }
const text = byId('document-text')
const chatText = byId('chat-text')

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

/* Signing in. */

async function signIn(account) {
  const response = await fetch('/login', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ user: account.id }),
  })
  if (!response.ok) return setConnection('sign-in failed', 'bad')
  const { token } = await response.json()
  signOut()
  Object.assign(state, { account, token, socket: window.io({ auth: { token }, forceNew: true }) })
  listen(state.socket)
  render()
}

function signOut() {
  state.socket?.close()
  Object.assign(state, { account: undefined, token: undefined, socket: undefined, open: undefined })
  byId('roster').replaceChildren()
  showDocument(undefined)
  setConnection('signed out', 'quiet')
  render()
}

function setConnection(words, kind) {
  const pill = byId('connection-state')
  pill.textContent = words
  pill.className = `pill pill--${kind}`
}

function listen(socket) {
  const current = (handler) => (payload) => socket === state.socket && handler(payload)
  socket.on('connect', current(() => setConnection(`connected as ${state.account.name}`, 'good')))
  socket.on('disconnect', current((reason) => setConnection(`disconnected: ${reason}`, 'bad')))
  socket.on('connect_error', current((error) => {
    noticed(error.data, 'enter /')
    setConnection(`not connected: ${error.message}`, 'bad')
  }))
  socket.on('gate:denied', current((refusal) => noticed(refusal, `${refusal.event} (no ack)`)))
  socket.on('gate:closing', current((refusal) => noticed(refusal, 'closing')))
  socket.on('roster', current(({ people }) => showRoster(people)))
  socket.on('chat:message', current((message) => {
    if (message.documentId === state.open?.id) addChat(message)
  }))
  socket.on('doc:typing', current(({ id, by }) => {
    if (id === state.open?.id) note(`${by} is typing`)
  }))
  socket.on('doc:changed', current((change) => {
    if (change.id !== state.open?.id) return
    Object.assign(state.open, { text: change.text, version: change.version })
    text.value = change.text
    showVersion()
    note(`Changed by ${change.by}`)
  }))
}

/* Documents. */

async function openDocument(id) {
  const { value } = await call(state.socket, 'doc:open', { id })
  if (value !== undefined) showDocument(value)
  render()
}

function showDocument(document) {
  state.open = document
  byId('document-title').textContent = document?.title ?? 'No document open'
  byId('document').dataset.open = document?.id ?? ''
  text.value = document?.text ?? ''
  for (const field of [text, chatText, byId('chat-send')]) field.disabled = document === undefined
  byId('chat').replaceChildren()
  document?.messages.forEach(addChat)
  showVersion()
  note('')
}

function showVersion() {
  byId('document-version').textContent = state.open === undefined ? '' : `version ${state.open.version}`
}

function note(words, bad = false) {
  byId('document-note').textContent = words
  byId('document-note').classList.toggle('note--bad', bad)
}

let pendingEdit
let lastTyping = 0

text.addEventListener('input', () => {
  const { open, socket } = state
  if (Date.now() - lastTyping > 1_000) {
    lastTyping = Date.now()
    socket.emit('doc:typing', { id: open.id })
  }
  clearTimeout(pendingEdit)
  pendingEdit = setTimeout(() => save(open), 150)
})

async function save(open) {
  if (open !== state.open) return
  const { value, refusal } = await call(state.socket, 'doc:edit', { id: open.id, text: text.value })
  if (open !== state.open) return
  if (value !== undefined) {
    Object.assign(open, { text: text.value, version: value.version })
    showVersion()
    note('Saved')
  } else {
    text.value = open.text
    note(refusal === undefined ? 'Not saved: no answer' : `Not saved: ${refusal.code}. The text is back to what the room has.`, true)
  }
}

/* Chat and roster. */

function addChat({ id, from, text: words, at }) {
  const time = el('time', { datetime: at }, new Date(at).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' }))
  const row = el('li', { 'data-testid': 'chat-message', 'data-id': id }, time, el('b', {}, from), String(words))
  byId('chat').append(row)
  row.scrollIntoView({ block: 'nearest' })
}

byId('chat-form').addEventListener('submit', async (event) => {
  event.preventDefault()
  if (chatText.value === '') return
  const { value } = await call(state.socket, 'chat:send', { id: state.open.id, text: chatText.value })
  if (value !== undefined) chatText.value = ''
})

function showRoster(people) {
  const title = (id) => state.documents.find((document) => document.id === id)?.title
  const rows = people.map((person) => {
    const rate = person.hourlyRate
    const shown = rate === undefined ? 'rate hidden' : `${rate} €/h`
    const where = person.online ? (title(person.documentId) ?? 'in the lobby') : 'away'
    return el(
      'li',
      { 'data-testid': `person-${person.id}`, 'data-online': person.online === true, 'data-role': person.role },
      el('span', { class: 'dot' }),
      el('span', {}, person.name),
      el('span', { class: 'rate', 'data-testid': `rate-${person.id}`, 'data-hidden': rate === undefined }, shown),
      el('span', { class: 'under' }, `${person.role} · ${person.status} · ${where}`),
    )
  })
  byId('roster').replaceChildren(...rows)
}

/* Attacks. */

const verdictWords = { refused: 'refused', cleaned: 'cleaned', through: 'got through', silent: 'silence', closed: 'closed' }

async function runAttack(attack) {
  const { account, token, socket, open, documents } = state
  const foreignDocument = documents.find(({ tenant }) => tenant !== (account?.tenant ?? ''))
  const answer = byId(`answer-${attack.id}`)
  answer.replaceChildren('…')
  answer.dataset.verdict = 'pending'
  const { verdict, refusal, note: words } = await attack.run({ account, token, socket, openId: open?.id, foreignDocument })
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
  const { accounts, documents, account, open } = state
  byId('accounts').replaceChildren(
    ...accounts.map((person) =>
      choice({
        testid: `sign-in-${person.id}`,
        label: person.name,
        detail: person.role,
        tenant: person.tenant,
        pressed: person.id === account?.id,
        onclick: () => void signIn(person),
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
        disabled: account === undefined,
        onclick: () => void openDocument(document.id),
      }),
    ),
  )
  byId('sign-out').hidden = account === undefined
  for (const attack of attacks) {
    const missing = (attack.needsSession && account === undefined) || (attack.needsRoom && open === undefined)
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
  byId('sign-out').addEventListener('click', signOut)
  onRefusal(showRefusal)
  followDecisions()
  const [accounts, documents] = await Promise.all(['/accounts', '/documents'].map(async (url) => (await fetch(url)).json()))
  Object.assign(state, { accounts, documents })
  render()
}

await start()
