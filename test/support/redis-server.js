import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { findExecutable } from './executables.js'

const READY_WITHIN_MS = 10_000
const INSTALL = 'apt-get update && apt-get install -y redis-server'

/**
 * @typedef {object} RedisServer
 * @property {string} url
 * @property {import('node:child_process').ChildProcess} child for outage tests: SIGKILL, SIGSTOP, SIGCONT
 * @property {() => Promise<void>} stop
 */

const findRedis = () => findExecutable(['redis-server', 'valkey-server'])

/** A Redis server program: found on PATH, else installed where that may be done without asking, else an error with the line to type. */
export function redisProgram() {
  const found = findRedis()
  if (found) return found
  if (process.getuid?.() !== 0 || !findExecutable(['apt-get'])) {
    throw new Error(
      'The tests need a real Redis, and there is no redis-server or valkey-server on PATH.\n' +
        `Install one (Debian, Ubuntu: sudo sh -c '${INSTALL}'; macOS: brew install redis), or point REDIS_URL at a server made for tests.`,
    )
  }
  console.log(`No redis-server on PATH; running as root on a Debian system, so installing it: ${INSTALL}`)
  const { status, stdout, stderr } = spawnSync('sh', ['-c', INSTALL], {
    encoding: 'utf8',
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  })
  const installed = findRedis()
  if (status !== 0 || !installed) throw new Error(`Could not install redis-server:\n${stdout}${stderr}`)
  console.log(`Installed ${installed}.`)
  return installed
}

/** @returns {Promise<number>} */
function freePort() {
  return new Promise((resolve, reject) => {
    const probe = createServer()
    probe.once('error', reject)
    probe.listen(0, '127.0.0.1', () => {
      const address = probe.address()
      const port = typeof address === 'object' && address ? address.port : 0
      probe.close(() => resolve(port))
    })
  })
}

/**
 * @param {number} port
 * @returns {Promise<boolean>}
 */
function answersPing(port) {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => socket.write('PING\r\n'))
    socket.setTimeout(500, () => socket.destroy())
    socket.once('data', (data) => {
      resolve(data.toString().startsWith('+PONG'))
      socket.destroy()
    })
    socket.once('error', () => resolve(false))
    socket.once('close', () => resolve(false))
  })
}

/**
 * A Redis of our own on a free loopback port, which keeps nothing on disk.
 * @param {string} [program]
 * @returns {Promise<RedisServer>}
 */
export async function startRedis(program = redisProgram()) {
  const port = await freePort()
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-redis-'))
  const child = spawn(
    program,
    ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', folder],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  )
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output = `${output}${chunk}`.slice(-4_000)))
  /** @type {Promise<void>} */
  const closed = new Promise((resolve) => {
    child.once('error', (error) => {
      output += String(error)
      resolve()
    })
    child.once('close', () => resolve())
  })
  let running = true
  void closed.then(() => (running = false))
  // A test run that ends early must not leave a server behind.
  const kill = () => {
    child.kill('SIGKILL')
    rmSync(folder, { recursive: true, force: true })
  }
  process.once('exit', kill)

  const stop = async () => {
    process.off('exit', kill)
    kill()
    await closed
  }

  const giveUpAt = Date.now() + READY_WITHIN_MS
  while (!(await answersPing(port))) {
    if (!running || Date.now() > giveUpAt) {
      await stop()
      throw new Error(`${program} did not come up on port ${port}:\n${output}`)
    }
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  return { url: `redis://127.0.0.1:${port}`, child, stop }
}
