// One real server under the gate and two real clients, with whatever copy of the package the caller has loaded.
const assert = require('node:assert/strict')
const { randomBytes } = require('node:crypto')
const { once } = require('node:events')
const { createServer } = require('node:http')

const text = {
  '~standard': {
    version: 1,
    vendor: 'consumer',
    validate: (value) =>
      typeof value?.text === 'string' ? { value: { text: value.text } } : { issues: [{ message: 'text is required' }] },
  },
}

exports.scenario = async function scenario({ Server, connect, SignJWT, portcullis, contract, policies, jwt, testing, denyOfTheOtherCopy }) {
  assert.equal(typeof testing.harness, 'function')
  assert.equal(portcullis.codes.FORBIDDEN.retryable, false)

  const secret = randomBytes(32)
  const issuer = 'https://id.example'
  const audience = 'consumer'
  const http = createServer()
  const io = new Server(http)
  const gate = portcullis.guard(io).use(policies.authenticate(jwt({ secret, issuer, audience })))
  gate
    .of('/chat', contract({ events: { 'message:send': { data: text } } }))
    .event('message:send', policies.rateLimit({ limit: 10, perMs: 1_000 }))
    .event('forbidden', () => denyOfTheOtherCopy('FORBIDDEN'))
  io.of('/chat').on('connection', (socket) => {
    socket.on('message:send', (message, ack) => ack({ received: message }))
    socket.on('undeclared', (ack) => ack({ received: true }))
  })

  http.listen(0, '127.0.0.1')
  await once(http, 'listening')
  const url = `http://127.0.0.1:${http.address().port}/chat`
  const token = await new SignJWT({}).setProtectedHeader({ alg: 'HS256', typ: 'JWT' }).setSubject('ada').setIssuer(issuer)
    .setAudience(audience).setIssuedAt().setExpirationTime('5 min').sign(secret)
  const member = connect(url, { auth: { token }, forceNew: true })
  const stranger = connect(url, { forceNew: true, reconnection: false })
  try {
    const [refused] = await once(stranger, 'connect_error')
    assert.equal(refused.message, 'UNAUTHENTICATED')

    const ask = (...args) => member.timeout(5_000).emitWithAck(...args)
    assert.deepEqual(await ask('message:send', { text: 'hello', surplus: 1 }), { received: { text: 'hello' } })
    assert.equal((await ask('message:send', { text: 1 })).error.code, 'INVALID_PAYLOAD')
    assert.equal((await ask('undeclared')).error.code, 'UNKNOWN_EVENT')
    // A refusal made by the other module system's copy of the package is still a refusal, not a fault.
    assert.equal((await ask('forbidden')).error.code, 'FORBIDDEN')
  } finally {
    member.close()
    stranger.close()
    await io.close()
  }
}
