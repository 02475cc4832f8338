import { readFileSync } from 'node:fs'

/** @type {{ exports: Record<string, string | { import: { default: string } }> }} */
const manifest = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))

/**
 * What a user imports, and the source file behind it: 'portcullis/policies' -> 'policies/index.ts'.
 * Read from the exports map, so that tests, examples and benches use the very names that are published.
 * @type {ReadonlyMap<string, string>}
 */
export const publicNames = new Map(
  Object.entries(manifest.exports).flatMap(([path, target]) =>
    typeof target === 'string'
      ? []
      : [[path.replace(/^\./, 'portcullis'), target.import.default.replace(/^\.\/dist\/esm\/(.*)\.js$/, '$1.ts')]],
  ),
)
