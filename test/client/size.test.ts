import { readFile } from 'node:fs/promises'
import { gzipSync } from 'node:zlib'
import { minify, transform } from '@swc/core'
import { expect, test } from '@jest/globals'
import { moduleOf, target } from '../support/repository.ts'

/** Our files that a page loads with an entry, each after those it needs, and the packages behind them. Types are no files. */
function loaded(entry: string, files = new Set<string>(), packages = new Set<string>()): { readonly files: Set<string>; readonly packages: Set<string> } {
  for (const { specifier, typeOnly } of moduleOf(entry).imports) {
    if (typeOnly) continue
    if (specifier.startsWith('.')) loaded(target(entry, specifier), files, packages)
    else packages.add(specifier)
  }
  files.add(entry)
  return { files, packages }
}

/** What a bundler makes of an entry and all of ours behind it: one module, its names shortened. */
async function bundled(entry: string): Promise<string> {
  const parts = await Promise.all(
    [...loaded(entry).files].map(async (file) => {
      const { code } = await transform(await readFile(new URL(`../../${file}`, import.meta.url), 'utf8'), { jsc: { target: 'es2022', parser: { syntax: 'typescript' } } })
      return code.replaceAll(/^(?:import|export) \{.*\} from ["']\..*$/gm, '').replaceAll(/(^|\*\/ )export (?=class|const|function|async)/gm, '$1')
    }),
  )
  const { code } = await minify(`${parts.join('\n')}\nexport { connect, ConnectionError, GateError, isRefusal };`, { module: true, ecma: 2022, compress: { toplevel: true, passes: 3 }, mangle: { toplevel: true } })
  return code
}

test('nothing but socket.io-client is behind the companion, and nothing of the server', () => {
  const { files, packages } = loaded('client/index.ts')
  expect([...packages]).toEqual(['socket.io-client'])
  expect([...files].filter((file) => !file.startsWith('client/') || file === 'client/pinning.ts')).toEqual([])
})

test('the companion is small: what a page loads of it besides socket.io-client', async () => {
  const code = await bundled('client/index.ts')
  expect(code.match(/\b(?:import|export)\b/g)).toEqual(['import', 'export'])
  expect(code.length).toBeLessThan(8_900)
  expect(gzipSync(code).length).toBeLessThan(4_000)
})
