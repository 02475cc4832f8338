// Builds and packs the package, installs the tarball beside empty ESM, CommonJS and TypeScript projects, and uses it there.
import { execFile } from 'node:child_process'
import { cp, mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { examplesIn } from '../test/support/examples.ts'
import { root } from '../test/support/repository.ts'
import { publicNames } from './public-names.js'

const COMPILERS = { 'typescript-5.9': '~5.9.3', 'typescript-6.0': '~6.0.3', 'typescript-7.0': '~7.0.2' }
const PUBLISHED = /^(?:dist\/(?:esm|cjs)\/.+|LICENSE|README\.md|CHANGELOG\.md|package\.json)$/

const run = promisify(execFile)
let failures = 0

interface Manifest {
  devDependencies: Record<string, string>
  peerDependencies: Record<string, string>
  peerDependenciesMeta: Record<string, { optional?: boolean }>
}
const manifest = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as Manifest
const optionalPeers = Object.keys(manifest.peerDependencies).filter((name) => manifest.peerDependenciesMeta[name]?.optional)

/** Runs one check to its end and reports it; a failed one does not stop the others, so that one run shows all. */
async function check(title: string, work: () => Promise<unknown>): Promise<void> {
  const began = performance.now()
  try {
    await work()
    console.log(`ok    ${title} (${((performance.now() - began) / 1_000).toFixed(1)} s)`)
  } catch (error) {
    failures++
    const { stdout = '', stderr = '', message } = error as Error & { stdout?: string; stderr?: string }
    console.log(`FAIL  ${title}\n${`${stdout}${stderr}` || message}`)
  }
}

const node = (cwd: string, ...args: string[]): Promise<unknown> =>
  run(process.execPath, ['--disable-warning=ExperimentalWarning', ...args], { cwd, maxBuffer: 1 << 26, timeout: 120_000 })

const npm = (cwd: string, ...args: string[]): Promise<{ stdout: string }> =>
  run('npm', [...args, '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'], { cwd, maxBuffer: 1 << 26 })

async function pack(folder: string): Promise<string> {
  await node(root, 'scripts/build.js')
  const { stdout } = await npm(root, 'pack', '--json', '--pack-destination', folder)
  const [packed] = JSON.parse(stdout) as [{ filename: string; files: { path: string }[] }]
  const paths = packed.files.map(({ path }) => path)
  const surplus = paths.filter((path) => !PUBLISHED.test(path))
  if (surplus.length > 0) throw new Error(`The tarball holds what should not be published: ${surplus.join(', ')}`)
  const missing = ['LICENSE', 'README.md', 'CHANGELOG.md', 'dist/cjs/package.json'].filter((path) => !paths.includes(path))
  if (missing.length > 0) throw new Error(`The tarball lacks ${missing.join(', ')}`)
  return join(folder, packed.filename)
}

/** The consumer projects, and the README's own examples among them, with the tarball and its peers above them. */
async function install(folder: string, tarball: string): Promise<void> {
  await cp(join(root, 'test/package/consumers'), folder, { recursive: true })
  await cp(join(root, 'test/support/docs-prelude.d.ts'), join(folder, 'typescript/docs-prelude.d.ts'))
  for (const [path, code] of examplesIn('README.md')) {
    const file = join(folder, 'typescript', path)
    await mkdir(dirname(file), { recursive: true })
    await writeFile(file, code)
  }
  await writeFile(join(folder, 'package.json'), '{ "private": true }\n')
  // The required peers are left to npm, as they are for a user who types `npm install portcullis`.
  const used = ['@types/node', 'zod', ...optionalPeers].map((name) => `${name}@${manifest.devDependencies[name]}`)
  const compilers = Object.entries(COMPILERS).map(([alias, range]) => `${alias}@npm:typescript@${range}`)
  await npm(folder, 'install', '--prefer-offline', '--no-package-lock', tarball, ...used, ...compilers)
}

async function withoutOptionalPeers(folder: string): Promise<void> {
  for (const name of optionalPeers) await rename(join(folder, 'node_modules', name), join(folder, `without-${name.replace('/', '-')}`))
  const names = [...publicNames.keys()].filter((name) => !/^portcullis\/(?:adapters|client)/.test(name))
  await node(join(folder, 'esm'), '--input-type=module', '-e', names.map((name) => `await import('${name}')`).join('\n'))
  await node(join(folder, 'cjs'), '-e', names.map((name) => `require('${name}')`).join('\n'))
}

const folder = await mkdtemp(join(tmpdir(), 'portcullis-package-'))
try {
  let tarball = ''
  await check('builds and packs, with nothing surplus', async () => (tarball = await pack(folder)))
  if (tarball) {
    await Promise.all([
      check('publint', () => node(root, 'node_modules/publint/src/cli.js', 'run', tarball, '--strict')),
      check('are the types wrong?', () => node(root, 'node_modules/@arethetypeswrong/cli/dist/index.js', tarball, '--profile', 'node16')),
      check('installs into an empty project', () => install(folder, tarball)),
    ])
    await Promise.all([
      check('ESM consumer', () => node(join(folder, 'esm'), 'smoke.js')),
      check('CommonJS consumer', () => node(join(folder, 'cjs'), 'smoke.js')),
      ...Object.keys(COMPILERS).map((alias) =>
        check(`TypeScript consumer and README, ${alias}`, () => node(join(folder, 'typescript'), join(folder, 'node_modules', alias, 'bin/tsc'), '-p', '.')),
      ),
    ])
    await check(`works without the optional peers (${optionalPeers.join(', ')})`, () => withoutOptionalPeers(folder))
  }
} finally {
  await rm(folder, { recursive: true, force: true })
}
if (failures > 0) process.exitCode = 1
