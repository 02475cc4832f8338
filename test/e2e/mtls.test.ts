import { Agent, createServer, request, type ServerOptions as TlsOptions } from 'node:https'
import { connect as connectTls, type ConnectionOptions } from 'node:tls'
import { describe, expect, test } from '@jest/globals'
import { guard, type Clock, type GuardOptions } from 'portcullis'
import { mtls, type MtlsOptions } from 'portcullis/adapters/mtls'
import { authenticate } from 'portcullis/policies'
import { Server } from 'socket.io'
import { WebSocket } from 'ws'
import { ca, purposes, selfSigned, withOtherSignature, type Issued } from '../support/certificates.ts'
import { client, closeAfterTest, entered, heard, listen, refusal, watch } from '../support/server.ts'

const HOUR_MS = 3_600_000
const web = await ca({ dn: [{ CN: 'Web CA' }] })
const server = await web.issue({ dn: [{ CN: 'localhost' }], eku: [purposes.server], san: [{ type: 'dns', value: 'localhost' }, { type: 'ip', value: '127.0.0.1' }] })
const own = await ca({ dn: [{ O: 'Example' }, { CN: 'Clients CA' }] })
const namesake = await ca({ dn: [{ O: 'Example' }, { CN: 'Clients CA' }] })
const alice = await own.issue({ dn: [{ O: 'Example' }, { CN: 'alice' }] })

/** A server over TLS that asks for certificates and leaves it to the gate to judge them. */
async function start({ clock, trustProxy, tls = {}, ...options }: Partial<MtlsOptions> & Pick<GuardOptions, 'clock' | 'trustProxy'> & { tls?: TlsOptions } = {}) {
  const https = createServer({ cert: server.cert, key: server.key, ca: [own.cert], requestCert: true, rejectUnauthorized: false, ...tls })
  const io = new Server(https, { serveClient: false })
  const scheme = mtls({ ca: own.cert, ...options })
  const gate = guard(io, { undeclared: 'allow', ...(clock === undefined ? {} : { clock }), ...(trustProxy === undefined ? {} : { trustProxy }) }).use(authenticate(scheme))
  const subjects: (string | undefined)[] = []
  io.on('connection', (socket) => {
    subjects.push(gate.peerOf(socket).principal?.subject)
    socket.on('echo', (text: string, ack: (text: string) => void) => ack(text))
  })
  const port = await listen(https)
  closeAfterTest(async () => {
    await io.close()
    await gate.close()
  })
  return { io, https, port, url: `https://127.0.0.1:${port}`, gate, scheme, subjects, seen: watch(gate) }
}

/** How a client shows a certificate, or none. */
const as = (issued: Partial<Issued> = {}, ...above: readonly Issued[]) => ({
  ca: web.cert,
  ...(issued.cert === undefined ? {} : { cert: [issued.cert, ...above.map(({ cert }) => cert)].join('\n'), key: issued.key }),
})

/** The reasons operators were told. */
const reasons = ({ denied }: ReturnType<typeof watch>): string[] => denied.map(({ error }) => String((error as Error | undefined)?.cause))

describe('a client certificate', () => {
  test('of the own CA lets in, as its full name', async () => {
    const host = await start()
    await entered(host, as(alice))
    expect(host.subjects).toEqual(['CN=alice,O=Example'])
  })

  test('of an intermediate CA lets in, as one of its own', async () => {
    const host = await start()
    const lower = await own.authority({ dn: [{ CN: 'Lower CA' }] })
    const socket = await entered(host, as(await lower.issue(), lower))
    expect(host.gate.peerOf(host.io.sockets.sockets.get(socket.id!)!).principal?.issuer).toMatch(/^CN=Lower CA;key=sha256:/)
  })

  test('that proves nothing is refused in the same words, whatever is wrong with it', async () => {
    // The namesake is trusted by the HTTPS server, for something else.
    const host = await start({ tls: { ca: [own.cert, namesake.cert] }, isRevoked: ({ serialNumber }) => serialNumber === '4F01' })
    const ends = { notBefore: new Date(Date.now() - HOUR_MS), notAfter: new Date(Date.now() - 1_000) }
    const shown: Record<string, object> = {
      'another CA of the same name': as(await namesake.issue({ dn: [{ O: 'Example' }, { CN: 'alice' }] })),
      'a CA nobody knows': as(await (await ca()).issue()),
      expired: as(await own.issue(ends)),
      'not yet valid': as(await own.issue({ notBefore: new Date(Date.now() + HOUR_MS), notAfter: new Date(Date.now() + 2 * HOUR_MS) })),
      none: as(),
      'self-signed': as(await selfSigned({ dn: [{ O: 'Example' }, { CN: 'alice' }] })),
      'for servers': as(await own.issue({ eku: [purposes.server] })),
      'for nothing in particular': as(await own.issue({ eku: [] })),
      revoked: as(await own.issue({ serialNumber: '4f01' })),
      'a header in its place': { ...as(), extraHeaders: forged },
      'a header beside a bad one': { ...as(await selfSigned()), extraHeaders: forged },
    }
    for (const [what, how] of Object.entries(shown)) {
      const { message, data } = await refusal(client(host, how))
      expect({ what, message, data }).toEqual({ what, message: 'UNAUTHENTICATED', data: { code: 'UNAUTHENTICATED', message: 'Valid credentials are required.', id: expect.any(String) } })
    }
    expect(host.subjects).toEqual([])
    expect(host.seen.fault).toEqual([])
  })

  const der = alice.cert.replaceAll(/-----.*?-----|\s/g, '')
  const forged = {
    'x-client-cert': encodeURIComponent(alice.cert),
    'x-ssl-client-cert': encodeURIComponent(alice.cert),
    'x-ssl-client-verify': 'SUCCESS',
    'x-ssl-client-s-dn': 'CN=alice,O=Example',
    'x-forwarded-client-cert': `Hash=00;Subject="CN=alice,O=Example";Cert="${encodeURIComponent(alice.cert)}"`,
    'client-cert': `:${der}:`,
  }

  test('in a header changes nothing for whoever has one of their own, also where a proxy is trusted', async () => {
    const host = await start({ trustProxy: 1 })
    const bob = await own.issue({ dn: [{ CN: 'bob' }] })
    await entered(host, { ...as(bob), extraHeaders: forged })
    expect(host.subjects).toEqual(['CN=bob'])
  })

  test('is not asked for by a server without requestCert, and nobody gets in', async () => {
    const host = await start({ tls: { requestCert: false } })
    expect((await refusal(client(host, as(alice)))).message).toBe('UNAUTHENTICATED')
  })

  test('is refused before the gate by a server that rejects what it cannot verify', async () => {
    const host = await start({ tls: { rejectUnauthorized: true } })
    await entered(host, as(alice))
    for (const how of [as(), as(await selfSigned())]) expect((await refusal(client(host, how))).message).toBe('websocket error')
    expect(host.subjects).toEqual(['CN=alice,O=Example'])
  })

  /** Opens a session by polling, over connections that are kept alive, and asks to enter. */
  async function poll(port: number): Promise<string> {
    const agent = new Agent({ keepAlive: true, ...as(alice) })
    closeAfterTest(() => agent.destroy())
    const ask = (query: string, body?: string): Promise<string> =>
      new Promise((resolve, reject) => {
        const asked = request({ agent, host: '127.0.0.1', port, path: `/socket.io/?EIO=4&transport=polling${query}`, method: body === undefined ? 'GET' : 'POST' }, (response) => {
          let text = ''
          response.on('data', (chunk: Buffer) => (text += chunk.toString()))
          response.on('end', () => resolve(text))
        })
        asked.on('error', reject)
        asked.end(body)
      })
    const { sid } = JSON.parse((await ask('')).slice(1)) as { sid: string }
    await ask(`&sid=${sid}`, '40')
    return ask(`&sid=${sid}`)
  }

  test('of a session that was opened by polling is refused: who sends its other requests is not known', async () => {
    const host = await start()
    expect(await poll(host.port)).toContain('UNAUTHENTICATED')
    expect(reasons(host.seen)).toEqual([expect.stringContaining('polling')])
    expect((await refusal(client(host, { ...as(alice), transports: ['polling', 'websocket'] }))).message).toBe('UNAUTHENTICATED')
  })

  test('serves a polling session where that was accepted', async () => {
    const host = await start({ dangerouslyAllowPolling: true })
    expect(await poll(host.port)).toMatch(/^40\{"sid"/)
    expect(host.subjects).toEqual(['CN=alice,O=Example'])
  })

  test('is judged for each namespace of a connection', async () => {
    const list = new Set<string>()
    const host = await start({ isRevoked: ({ serialNumber }) => list.has(serialNumber) })
    host.io.of('/admin')
    const socket = await entered(host, as(alice))
    list.add(alice.serialNumber)
    const admin = socket.io.socket('/admin')
    expect((await refusal(admin.connect())).message).toBe('UNAUTHENTICATED')
    admin.disconnect()
  })
})

describe('a TLS session that is resumed', () => {
  /** One connection of TLS, and the ticket the server gave it. */
  function visit(port: number, options: ConnectionOptions): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const socket = connectTls({ port, host: '127.0.0.1', ca: web.cert, ...options })
      socket.on('error', reject)
      socket.once('session', (session: Buffer) => {
        socket.destroy()
        resolve(session)
      })
      socket.write('GET / HTTP/1.1\r\nhost: localhost\r\n\r\n')
      socket.resume()
    })
  }

  /** A CONNECT over a TLS session that is resumed without any certificate at hand: whether it was resumed, and the answer. */
  function resume(port: number, session: Buffer, maxVersion: 'TLSv1.2' | 'TLSv1.3'): Promise<{ isReused: boolean; answer: string }> {
    return new Promise((resolve, reject) => {
      let isReused = false
      const createConnection = (): ReturnType<typeof connectTls> => {
        const socket = connectTls({ port, host: '127.0.0.1', ca: web.cert, session, maxVersion })
        socket.once('secureConnect', () => (isReused = socket.isSessionReused()))
        return socket
      }
      const socket = new WebSocket(`wss://127.0.0.1:${port}/socket.io/?EIO=4&transport=websocket`, { createConnection: createConnection as never })
      closeAfterTest(() => socket.terminate())
      socket.on('error', reject)
      socket.on('message', (data: Buffer) => {
        const text = data.toString()
        if (text.startsWith('0')) socket.send('40')
        else resolve({ isReused, answer: text })
      })
    })
  }

  describe.each(['TLSv1.2', 'TLSv1.3'] as const)('over %s', (maxVersion) => {
    test('is who it was, and refused once the certificate is revoked', async () => {
      const list = new Set<string>()
      const host = await start({ isRevoked: ({ serialNumber }) => list.has(serialNumber) })
      const session = await visit(host.port, { cert: alice.cert, key: alice.key, maxVersion })
      const before = await resume(host.port, session, maxVersion)
      expect(before).toEqual({ isReused: true, answer: expect.stringMatching(/^40\{"sid"/) })
      expect(host.subjects).toEqual(['CN=alice,O=Example'])

      list.add(alice.serialNumber)
      const after = await resume(host.port, session, maxVersion)
      expect(after.isReused).toBe(true)
      expect(after.answer).toContain('UNAUTHENTICATED')
      expect(reasons(host.seen).at(-1)).toContain('revoked')
    })

    test('is refused when the certificate has ended since', async () => {
      let offset = 0
      const clock: Clock = { now: () => Date.now() + offset, after: (ms, fn) => ({ cancel: clearTimeout.bind(undefined, setTimeout(fn, Math.min(ms, 2 ** 31 - 1)).unref()) }) }
      const host = await start({ clock })
      const session = await visit(host.port, { cert: alice.cert, key: alice.key, maxVersion })
      offset = 2 * HOUR_MS
      const { isReused, answer } = await resume(host.port, session, maxVersion)
      expect(isReused).toBe(true)
      expect(answer).toContain('UNAUTHENTICATED')
    })

    test('is nobody when it was begun without a certificate, although Node calls it authorized', async () => {
      const host = await start()
      const authorized: boolean[] = []
      host.https.on('secureConnection', (socket) => authorized.push(socket.authorized))
      const session = await visit(host.port, { maxVersion })
      const { isReused, answer } = await resume(host.port, session, maxVersion)
      expect(isReused).toBe(true)
      expect(answer).toContain('UNAUTHENTICATED')
      expect(authorized).toEqual([false, maxVersion === 'TLSv1.3'])
    })

    test('is nobody when it was begun with a certificate that was not verified', async () => {
      const host = await start()
      const stranger = await selfSigned()
      const session = await visit(host.port, { cert: stranger.cert, key: stranger.key, maxVersion })
      expect((await resume(host.port, session, maxVersion)).answer).toContain('UNAUTHENTICATED')
    })

    test('is refused where the CA is trusted no longer', async () => {
      const host = await start({ tls: { ca: [own.cert, namesake.cert] }, ca: own.cert })
      const former = await namesake.issue()
      const session = await visit(host.port, { cert: former.cert, key: former.key, maxVersion })
      expect((await resume(host.port, session, maxVersion)).answer).toContain('UNAUTHENTICATED')
    })
  })
})

describe('a certificate that is revoked while its holder is here', () => {
  const revocable = async () => {
    const list = new Set<string>()
    return { list, host: await start({ isRevoked: ({ serialNumber }) => list.has(serialNumber) }) }
  }

  test('drops each of its sockets when the list is reloaded, and no other', async () => {
    const { list, host } = await revocable()
    const bob = await own.issue({ dn: [{ CN: 'bob' }] })
    const [one, two, other] = [await entered(host, as(alice)), await entered(host, as(alice)), await entered(host, as(bob))]
    const closing = [one, two].map((socket) => heard(socket, 'gate:closing'))
    const dropped = [one, two].map((socket) => heard(socket, 'disconnect'))

    list.add(alice.serialNumber)
    expect(await one.emitWithAck('echo', 'still here')).toBe('still here')
    expect(await host.scheme.recheck(host.gate)).toMatchObject({ checked: 2, revoked: [{ serialNumber: alice.serialNumber }] })
    for (const [told] of await Promise.all(closing)) expect(told).toMatchObject({ code: 'REVOKED' })
    await Promise.all(dropped)

    expect(await other.emitWithAck('echo', 'still here')).toBe('still here')
    expect((await refusal(client(host, as(alice)))).message).toBe('UNAUTHENTICATED')
    expect(await host.scheme.recheck(host.gate)).toMatchObject({ checked: 1, revoked: [] })
  })

  test('is revoked under the other signature its holder can make, too', async () => {
    const { host } = await revocable()
    const other = { ...as(alice), cert: withOtherSignature(alice.cert) }
    const socket = await entered(host, other)
    const dropped = heard(socket, 'disconnect')
    const tokenId = host.gate.peerOf(host.io.sockets.sockets.get(socket.id!)!).principal.tokenId!
    await host.gate.revoke({ token: tokenId }, { reason: 'the laptop was stolen' })
    await dropped
    for (const how of [other, as(alice)]) expect((await refusal(client(host, how))).message).toBe('UNAUTHENTICATED')
  })
})
