import { call } from './calls.js'
import { byId, el } from './dom.js'
import { state } from './state.js'
import { stepUp } from './step-up.js'

const text = byId('document-text')
const chatText = byId('chat-text')
const wipeButton = byId('document-wipe')

/** Opens a document; the page keeps the one it has when that is refused. */
export async function openDocument(id) {
  const { value } = await call(state.session.socket, 'doc:open', { id })
  if (value !== undefined) showDocument(value)
}

export function showDocument(document) {
  state.open = document
  byId('document-title').textContent = document?.title ?? 'No document open'
  byId('document').dataset.open = document?.id ?? ''
  text.value = document?.text ?? ''
  for (const field of [text, chatText, byId('chat-send'), wipeButton]) field.disabled = document === undefined
  wipeButton.hidden = state.session?.account.role !== 'admin'
  byId('chat').replaceChildren()
  document?.messages.forEach(addChat)
  showVersion()
  note('')
}

/** Follows what others do in the room. `current` wraps a handler so that it is deaf once its socket is not the page's. */
export function listenToRoom(socket, current) {
  socket.on('chat:message', current((message) => {
    if (message.documentId === state.open?.id) addChat(message)
  }))
  socket.on('doc:typing', current(({ id, by }) => {
    if (id === state.open?.id) note(`${by} is typing`)
  }))
  socket.on('doc:changed', current((change) => {
    if (change.id === state.open?.id) take(change, `Changed by ${change.by}`)
  }))
}

function take({ text: words, version }, said) {
  Object.assign(state.open, { text: words, version })
  text.value = words
  showVersion()
  note(said)
}

function showVersion() {
  byId('document-version').textContent = state.open === undefined ? '' : `version ${state.open.version}`
}

function note(words, bad = false) {
  byId('document-note').textContent = words
  byId('document-note').classList.toggle('note--bad', bad)
}

const reason = (refusal) => refusal?.code ?? 'no answer'

let pendingEdit
let lastTyping = 0

async function save(open) {
  if (open !== state.open) return
  const { value, refusal } = await call(state.session.socket, 'doc:edit', { id: open.id, text: text.value })
  if (open !== state.open) return
  if (value !== undefined) {
    Object.assign(open, { text: text.value, version: value.version })
    showVersion()
    note('Saved')
  } else {
    text.value = open.text
    note(`Not saved: ${reason(refusal)}. The text is back to what the room has.`, true)
  }
}

async function wipe() {
  const { open, session } = state
  const ask = () => call(session.socket, 'doc:wipe', { id: open.id })
  let outcome = await ask()
  if (outcome.refusal?.code === 'STEP_UP_REQUIRED' && (await stepUp())) outcome = await ask()
  if (open !== state.open) return
  if (outcome.value === undefined) note(`Not wiped: ${reason(outcome.refusal)}`, true)
  else take({ text: '', version: outcome.value.version }, 'Wiped')
}

function addChat({ id, from, text: words, at }) {
  const time = el('time', { datetime: at }, new Date(at).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' }))
  const row = el('li', { 'data-testid': 'chat-message', 'data-id': id }, time, el('b', {}, from), String(words))
  byId('chat').append(row)
  row.scrollIntoView({ block: 'nearest' })
}

text.addEventListener('input', () => {
  const { open, session } = state
  if (Date.now() - lastTyping > 1_000) {
    lastTyping = Date.now()
    session.socket.emit('doc:typing', { id: open.id })
  }
  clearTimeout(pendingEdit)
  pendingEdit = setTimeout(() => save(open), 150)
})

wipeButton.addEventListener('click', () => void wipe())

byId('chat-form').addEventListener('submit', async (event) => {
  event.preventDefault()
  if (chatText.value === '') return
  const { value } = await call(state.session.socket, 'chat:send', { id: state.open.id, text: chatText.value })
  if (value !== undefined) chatText.value = ''
})
