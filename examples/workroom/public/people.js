import { call } from './calls.js'
import { byId, el } from './dom.js'
import { state } from './state.js'

/** Whom this page has shut out; the server does not tell. */
const excluded = new Set()
let shown = []

/** What an admin may do about a colleague, where there is a gate to do it. The gate asks again who is an admin. */
function exclusion({ id, name, role }) {
  const { account, kind } = state.session
  if (account.role !== 'admin' || role === 'admin' || kind === 'token') return []
  const out = excluded.has(id)
  const press = async () => {
    const { value } = await call(state.session.socket, out ? 'person:reinstate' : 'person:revoke', { id })
    if (value === undefined) return
    if (out) excluded.delete(id)
    else excluded.add(id)
    showRoster(shown)
  }
  const title = out ? `Takes the revocation of ${name} back` : `Closes every connection of ${name}, and keeps ${name} out`
  return [el('button', { class: 'link', 'data-testid': `${out ? 'reinstate' : 'revoke'}-${id}`, title, onclick: () => void press() }, out ? 'Let in again' : 'End all sessions')]
}

export function showRoster(people) {
  shown = people
  const titleOf = (id) => state.documents.find((document) => document.id === id)?.title
  const rows = people.map((person) => {
    const rate = person.hourlyRate
    const words = rate === undefined ? 'rate hidden' : `${rate} €/h`
    const where = person.online ? (titleOf(person.documentId) ?? 'in the lobby') : 'away'
    return el(
      'li',
      { 'data-testid': `person-${person.id}`, 'data-online': person.online === true, 'data-role': person.role },
      el('span', { class: 'dot' }),
      el('span', {}, person.name),
      el('span', { class: 'rate', 'data-testid': `rate-${person.id}`, 'data-hidden': rate === undefined }, words),
      el('span', { class: 'under' }, `${person.role} · ${person.status} · ${where}`),
      ...exclusion(person),
    )
  })
  byId('roster').replaceChildren(...rows)
}
