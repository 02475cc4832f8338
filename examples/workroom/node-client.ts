// A colleague at a terminal: connects with a token (JWT), says every line that is typed, and prints what the room says.
//   node --import ./scripts/typescript.js examples/workroom/node-client.ts erin acme-roadmap
import { createInterface } from 'node:readline'
import { connect, GateError } from 'portcullis/client'
import type { workroom } from './contract.ts'

const [user = 'erin', id = 'acme-roadmap'] = process.argv.slice(2)
const url = process.env.WORKROOM_URL ?? 'http://127.0.0.1:3000'

async function tokenFor(account: string, signal: AbortSignal): Promise<string> {
  const response = await fetch(`${url}/token`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ user: account }), signal })
  if (!response.ok) throw new Error(`No token for ${account}: ${response.status}`)
  const { token } = (await response.json()) as { token: string }
  return token
}

// Asked for each connection, and again before a token ends: whoever stays for hours is still somebody.
const connection = connect<typeof workroom>(url, { credentials: async ({ signal }) => ({ token: await tokenFor(user, signal) }) })
const lines = createInterface({ input: process.stdin })
const complain = (error: unknown): void => console.error(error instanceof GateError ? `${error.code} (${error.id})` : String(error))

connection.socket.on('chat:message', ({ from, text }) => console.log(`${from}: ${text}`))
connection.on('failed', complain)
connection.on('refused', complain)
connection.on('refreshed', () => console.log('(a new token, the same connection)'))
connection.on('closed', ({ reason }) => {
  if (reason !== 'asked') process.exitCode = 1
  lines.close()
})
// The room is the connection's, not the user's: a new connection opens it again.
connection.socket.on('connect', () => {
  connection.request('doc:open', { id }).then(({ title }) => {
    console.log(`${user} is in "${title}"`)
    lines.resume()
  }, complain)
})

let said: Promise<unknown> = Promise.resolve()
lines.pause()
lines.on('line', (text) => {
  said = connection.request('chat:send', { id, text }).catch(complain)
})
// Not before the last line has got there.
lines.on('close', () => void said.then(() => connection.close()))
