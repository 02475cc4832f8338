import { noticed } from './calls.js'
import { byId } from './dom.js'
import { bearerFor } from './session.js'
import { state } from './state.js'

const dialog = byId('step-up')
const code = byId('step-up-code')
const say = (words, bad = false) => {
  byId('step-up-note').textContent = words
  byId('step-up-note').classList.toggle('note--bad', bad)
}

/** Asks for the six digits until the gate takes them, or the user has had enough. Resolves with whether it was proved. */
export function stepUp() {
  code.value = ''
  say('')
  dialog.returnValue = ''
  dialog.showModal()
  return new Promise((resolve) => dialog.addEventListener('close', () => resolve(dialog.returnValue === 'proved'), { once: true }))
}

byId('step-up-form').addEventListener('submit', async (event) => {
  event.preventDefault()
  try {
    await state.session.connection.stepUp(code.value)
    dialog.close('proved')
  } catch (error) {
    noticed(error, 'gate:step-up')
    say(error.code === 'UNAUTHENTICATED' ? 'UNAUTHENTICATED: wrong, or used before.' : (error.code ?? error.message), true)
  }
})

byId('step-up-cancel').addEventListener('click', () => dialog.close())

byId('step-up-show').addEventListener('click', async () => {
  const { account, windowOnly } = state.session
  const answer = await (await fetch('/demo-code', { headers: windowOnly ? await bearerFor(account.id) : {} })).json()
  say(answer.code === undefined ? answer.message : `It shows ${answer.code}. Good once; next in ${Math.ceil(answer.nextInMs / 1_000)} s.`)
})
