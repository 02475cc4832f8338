import { io } from '/socket.io/socket.io.esm.min.js'

const answerWithinMs = 4_000

/** As the gate words it: `{ code, message, id, ... }`. */
const isRefusal = (value) => typeof value?.code === 'string' && typeof value?.id === 'string'

const watchers = []

/** Has `watcher(refusal, how)` told of every refusal, whichever way it came. */
export function onRefusal(watcher) {
  watchers.push(watcher)
}

/** Tells the watchers, if it is one, and hands it back. */
export function noticed(refusal, how) {
  if (!isRefusal(refusal)) return undefined
  for (const watcher of watchers) watcher(refusal, how)
  return refusal
}

function readAnswer(answer, how) {
  const refusal = noticed(answer?.error, how)
  return refusal === undefined ? { value: answer } : { refusal }
}

/** Sends an event and resolves with `{ value }`, `{ refusal }` or, when nobody answers, `{ silent: true }`. */
export function call(socket, event, payload) {
  return new Promise((resolve) => {
    socket.timeout(answerWithinMs).emit(event, payload, (error, answer) => {
      resolve(error === null ? readAnswer(answer, event) : { silent: true })
    })
  })
}

/** Sends an event without asking for an ack, and resolves with the refusal that comes as an event of its own, if one does. */
export function callWithoutAck(socket, event, payload) {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve({ silent: true }), answerWithinMs)
    const finish = (outcome) => {
      clearTimeout(timer)
      resolve(outcome)
    }
    socket.on('gate:denied', (refusal) => {
      if (refusal.event === event) finish({ refusal: noticed(refusal, `${event} (no ack)`) })
    })
    socket.once('disconnect', () => finish({ closed: true }))
    socket.emit(event, payload)
  })
}

/** Opens a separate connection and resolves once it is admitted or refused. The caller closes `socket`. */
export function connect(namespace, auth) {
  const socket = io(namespace, { auth, forceNew: true, reconnection: false })
  return new Promise((resolve) => {
    socket.once('connect', () => resolve({ socket, admitted: true }))
    socket.once('connect_error', (error) => {
      const refusal = noticed(error.data, `enter ${namespace}`)
      resolve({ socket, admitted: false, refusal, message: error.message })
    })
  })
}

/**
 * Sends one hand-written Socket.IO frame over a WebSocket of its own, as an attacker's script would: the client library
 * would give up on such a payload before it left the browser. `frame` is what follows the packet type and the ack number.
 */
export function sendRaw(auth, frame) {
  return new Promise((resolve) => {
    const url = new URL('/socket.io/?EIO=4&transport=websocket', window.location.href)
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'
    const socket = new WebSocket(url)
    const finish = (outcome) => {
      clearTimeout(timer)
      resolve(outcome)
      socket.close()
    }
    const timer = setTimeout(() => finish({ silent: true }), answerWithinMs)
    socket.addEventListener('close', () => finish({ closed: true }))
    socket.addEventListener('message', ({ data }) => {
      if (data.startsWith('0')) socket.send(`40${JSON.stringify(auth)}`)
      else if (data.startsWith('40')) socket.send(`421${frame}`)
      else if (data.startsWith('44')) finish({ refusal: noticed(JSON.parse(data.slice(2)).data, 'raw frame') })
      else if (data.startsWith('431')) finish(readAnswer(JSON.parse(data.slice(3))[0], 'raw frame'))
      else if (data === '2') socket.send('3')
    })
  })
}
