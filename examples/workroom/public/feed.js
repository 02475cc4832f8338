import { byId, el, prependBounded } from './dom.js'

let decisions = 0

function showDecision({ at, stage, what, outcome, code, policy, subject, id }) {
  decisions += 1
  byId('decision-count').textContent = String(decisions)
  const words = code ?? outcome
  const row = el(
    'tr',
    { 'data-testid': 'decision', 'data-stage': stage, 'data-what': what, 'data-outcome': outcome, 'data-code': code ?? '', title: id },
    el('td', {}, new Date(at).toLocaleTimeString([], { hour12: false })),
    el('td', {}, stage),
    el('td', { title: what }, what),
    el('td', {}, el('span', { class: `outcome outcome--${outcome}` }, words)),
    el('td', { title: policy }, policy ?? ''),
    el('td', {}, subject ?? ''),
  )
  prependBounded(byId('decisions'), row, 200)
}

/** Follows the server's decisions. A server without a gate has no feed, and the page then says that it is open. */
export function followDecisions() {
  const state = byId('gate-state')
  const say = (words, kind) => {
    state.textContent = words
    state.className = `pill pill--${kind}`
  }
  const source = new EventSource('/feed')
  source.addEventListener('open', () => say('guarded', 'good'))
  source.addEventListener('message', ({ data }) => showDecision(JSON.parse(data)))
  source.addEventListener('error', () => {
    if (source.readyState === EventSource.CLOSED) say('no gate: everything below is open', 'bad')
    else say('feed interrupted', 'quiet')
  })
}
