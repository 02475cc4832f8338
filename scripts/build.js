// Two plain compiler runs, one per module system. They share nothing but the sources, so they run side by side.
import { spawn } from 'node:child_process'
import { rm, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../', import.meta.url))

/**
 * @param {string} project
 * @returns {Promise<number | null>} the compiler's exit code; it has printed its own errors
 */
function compile(project) {
  const child = spawn(process.execPath, ['node_modules/typescript/bin/tsc', '-p', project], { cwd: root, stdio: 'inherit' })
  return new Promise((resolve, reject) => child.once('error', reject).once('close', resolve))
}

await rm(new URL('../dist', import.meta.url), { recursive: true, force: true })
const codes = await Promise.all([compile('tsconfig.esm.json'), compile('tsconfig.cjs.json')])
if (codes.some((code) => code !== 0)) process.exit(1)
// The nearest package.json says how Node reads a .js file; without this one the CommonJS half would be read as ESM.
await writeFile(new URL('../dist/cjs/package.json', import.meta.url), '{"type":"commonjs"}\n')
