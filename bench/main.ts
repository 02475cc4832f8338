/**
 * What `npm run bench` starts. The library is measured as it is published: built by the compiler, imported by its own
 * name. So this file brings both the build and the compiled benches up to date, and leaves the rest to plain Node.
 */
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'

const root = fileURLToPath(new URL('../', import.meta.url))
const compiled = join(root, '.artifacts', 'bench')

async function sourcesIn(folder: string): Promise<string[]> {
  const entries = await readdir(join(root, folder), { recursive: true })
  return entries.filter((name) => name.endsWith('.ts')).map((name) => join(root, folder, name))
}

async function newest(files: readonly string[]): Promise<number> {
  const times = await Promise.all(files.map(async (file) => (await stat(file)).mtimeMs))
  return Math.max(...times)
}

async function run(args: readonly string[]): Promise<number> {
  const child = spawn(process.execPath, args, { cwd: root, stdio: 'inherit' })
  return new Promise((resolve, reject) => {
    child.once('error', reject).once('close', (code) => resolve(code ?? 1))
  })
}

async function buildLibrary(): Promise<void> {
  const built = join(root, 'dist', 'esm', 'lib', 'index.js')
  const sources = (await Promise.all(['lib', 'policies', 'adapters'].map(sourcesIn))).flat()
  if (existsSync(built) && (await stat(built)).mtimeMs > (await newest(sources))) return
  if ((await run(['scripts/build.js'])) !== 0) throw new Error('the library does not build')
}

async function compileBenches(): Promise<void> {
  await rm(compiled, { recursive: true, force: true })
  for (const file of await sourcesIn('bench')) {
    const { outputText } = ts.transpileModule(await readFile(file, 'utf8'), {
      fileName: file,
      compilerOptions: {
        target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext, verbatimModuleSyntax: true, rewriteRelativeImportExtensions: true,
      },
    })
    const target = join(compiled, relative(join(root, 'bench'), file).replace(/\.ts$/, '.js'))
    await mkdir(dirname(target), { recursive: true })
    await writeFile(target, outputText)
  }
}

await buildLibrary()
await compileBenches()
process.exitCode = await run(['--expose-gc', join(compiled, 'run.js'), ...process.argv.slice(2)])
