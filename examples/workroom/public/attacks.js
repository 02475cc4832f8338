import { call, callWithoutAck, connect, sendRaw } from './calls.js'
import { tokenFor } from './session.js'

const base64url = (value) => btoa(JSON.stringify(value)).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')

const unsignedToken = () => {
  const now = Math.floor(Date.now() / 1_000)
  const claims = { sub: 'ada', tenant: 'acme', role: 'admin', iss: 'https://workroom.example', aud: 'workroom', iat: now, exp: now + 3_600 }
  return `${base64url({ alg: 'none', typ: 'workroom+jwt' })}.${base64url(claims)}.`
}

const refused = (refusal, note) => ({ verdict: 'refused', refusal, note: note ?? refusal.message })
const through = (note) => ({ verdict: 'through', note })
const silent = () => ({ verdict: 'silent', note: 'No answer ever came' })

function judge(outcome, whatGotThrough) {
  if (outcome.refusal !== undefined) return refused(outcome.refusal)
  if (outcome.silent) return silent()
  if (outcome.closed) return { verdict: 'closed', note: 'The connection broke: the server is gone?' }
  return through(whatGotThrough(outcome.value))
}

/** Runs an attack on a connection of its own, so that what it reaches does not disturb the page's. */
async function apart(auth, attack) {
  const { socket, admitted, refusal, message } = await connect('/', auth)
  try {
    if (admitted) return await attack(socket)
    return refusal === undefined ? { verdict: 'refused', note: message } : refused(refusal)
  } finally {
    socket.close()
  }
}

/**
 * Each attack does what somebody without this page's good manners would do, and says what came back. It is given
 * `{ account, socket, credential, openId, colleague, foreignDocument }`; `credential()` gets what opens one connection as the
 * account. Those that need no session work before signing in too; `needsKind` says how one must have signed in, where it matters.
 */
export const attacks = [
  {
    id: 'foreign-room',
    label: 'Join a foreign room',
    needsSession: true,
    run: async ({ credential, foreignDocument }) =>
      apart(await credential(), async (socket) => {
        const outcome = await call(socket, 'doc:open', { id: foreignDocument.id })
        return judge(outcome, (document) => `Read "${document.title}" of ${document.tenant}`)
      }),
  },
  {
    id: 'undeclared-event',
    label: 'Call a forgotten event',
    needsSession: true,
    async run({ socket }) {
      const outcome = await call(socket, 'debug:dump', {})
      return judge(outcome, (dump) => `Got all ${dump.accounts.length} accounts, rates too`)
    },
  },
  {
    id: 'markup',
    label: 'Send markup in chat',
    needsSession: true,
    needsRoom: true,
    async run({ socket, openId }) {
      const sent = 'Hello <img src=x onerror="alert(1)"><b>team</b>'
      const outcome = await call(socket, 'chat:send', { id: openId, text: sent })
      const text = outcome.value?.text
      if (typeof text === 'string' && !text.includes('<')) return { verdict: 'cleaned', note: `Everybody got: ${text}` }
      return judge(outcome, () => 'Relayed to the room as it was')
    },
  },
  {
    id: 'flood',
    label: 'Flood: 30 messages',
    needsSession: true,
    needsRoom: true,
    async run({ socket, openId }) {
      const outcomes = await Promise.all(
        Array.from({ length: 30 }, (_, index) => call(socket, 'chat:send', { id: openId, text: `flood ${index + 1}` })),
      )
      const refusals = outcomes.flatMap(({ refusal }) => refusal ?? [])
      if (refusals.length === 0) return judge(outcomes[0], () => 'All 30 reached the room')
      const wait = Math.max(...refusals.map(({ retryAfterMs }) => retryAfterMs ?? 0))
      return refused(refusals.at(-1), `${refusals.length} of 30 refused, retry in ${wait} ms`)
    },
  },
  {
    id: 'forged-role',
    label: 'Connect as role: admin',
    needsSession: true,
    run: async ({ credential, foreignDocument }) =>
      apart({ ...(await credential()), role: 'admin', tenant: foreignDocument.tenant, isAdmin: true }, async (socket) => {
        const outcome = await call(socket, 'doc:edit', { id: foreignDocument.id, text: 'Written by somebody else.\n' })
        return judge(outcome, () => `Overwrote "${foreignDocument.title}"`)
      }),
  },
  {
    id: 'extra-field',
    label: 'Slip in isAdmin: true',
    needsSession: true,
    async run({ socket }) {
      const outcome = await call(socket, 'profile:save', { status: 'Promoted', isAdmin: true, role: 'admin' })
      return judge(outcome, ({ role }) => `The server now says: role ${role}`)
    },
  },
  {
    id: 'deep-json',
    label: 'Nest 10,000 arrays',
    needsSession: true,
    needsRoom: true,
    async run({ credential, openId }) {
      const deep = '['.repeat(10_000) + ']'.repeat(10_000)
      const outcome = await sendRaw(await credential(), `["chat:send",{"id":${JSON.stringify(openId)},"text":${deep}}]`)
      return judge(outcome, () => 'Stored and relayed')
    },
  },
  {
    id: 'missing-ack',
    label: 'Leave out the ack',
    needsSession: true,
    needsRoom: true,
    run: async ({ credential, openId }) =>
      apart(await credential(), async (socket) => judge(await callWithoutAck(socket, 'doc:open', { id: openId }), () => 'Handled')),
  },
  {
    id: 'unknown-namespace',
    label: 'Connect to /ops',
    needsSession: false,
    async run() {
      const { socket, admitted, refusal, message } = await connect('/ops', {})
      socket.close()
      if (admitted) return through('Shown all sessions, tokens too')
      return refusal === undefined ? { verdict: 'refused', note: message } : refused(refusal)
    },
  },
  {
    id: 'forged-token',
    label: 'Sign in with alg: none',
    needsSession: false,
    run: () => apart({ token: unsignedToken() }, async () => through('Admitted as Ada')),
  },
  {
    id: 'foreign-page',
    label: 'Bring the cookie alone',
    needsSession: true,
    needsKind: 'session',
    // The browser sends it along, whichever page connects.
    run: () => apart({}, async () => through('What any other site can do to a visitor of it')),
  },
  {
    id: 'spent-ticket',
    label: 'Use a ticket twice',
    needsSession: true,
    needsKind: 'ticket',
    async run({ credential }) {
      const auth = await credential()
      const first = await apart(auth, async () => through('Connected'))
      if (first.verdict !== 'through') return first
      return apart(auth, async () => through('The same credential opened a second connection'))
    },
  },
  {
    id: 'foreign-refresh',
    label: 'Refresh as a colleague',
    needsSession: true,
    run: async ({ credential, colleague }) =>
      apart(await credential(), async (socket) => {
        const stolen = await tokenFor(colleague.id)
        const outcome = await call(socket, 'gate:refresh', stolen)
        return judge(outcome, () => `The connection is now that of ${colleague.name}`)
      }),
  },
  {
    id: 'unproved-wipe',
    label: 'Skip the second factor',
    needsSession: true,
    needsRoom: true,
    run: async ({ credential, openId }) =>
      apart(await credential(), async (socket) => judge(await call(socket, 'doc:wipe', { id: openId }), () => 'The document is empty now')),
  },
]
