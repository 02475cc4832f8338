import { describe, expect, test } from '@jest/globals'
import { isBuiltin } from 'node:module'
import { publicNames } from '../scripts/public-names.js'
import { typeErrors } from './support/compile.ts'
import { examplesIn } from './support/examples.ts'
import { closure, files, moduleOf, namesIn, read, target } from './support/repository.ts'

const published = files.filter((file) => /^(lib|policies|adapters|client)\/.*\.ts$/.test(file))
const typescript = files.filter((file) => file.endsWith('.ts') && !file.startsWith('test/package/'))
const pages = files.filter((file) => file === 'README.md' || /^docs\/.*\.md$/.test(file))
const policies = namesIn('policies', '.ts').filter((name) => name !== 'index')
const adapters = namesIn('adapters', '.ts')

/** The only file of ours outside `lib` that `lib` may use: `guard` needs a store when none is given. */
const DEFAULT_STORE = 'adapters/memory.ts'

const manifest = JSON.parse(read('package.json')) as {
  exports: Record<string, unknown>
  dependencies?: object
  optionalDependencies?: object
  bundleDependencies?: unknown
  peerDependencies: Record<string, string>
  peerDependenciesMeta: Record<string, { optional?: boolean }>
}
const peers = Object.keys(manifest.peerDependencies)
const optionalPeers = peers.filter((name) => manifest.peerDependenciesMeta[name]?.optional)

const packageOf = (specifier: string): string => specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/')
const camelCase = (name: string): string => name.replace(/-([a-z0-9])/g, (_, letter: string) => letter.toUpperCase())

/** Each import as `file -> what it leads to`, for those that break a rule. */
function offences(of: readonly string[], allowed: (file: string, leadsTo: string, relative: boolean) => boolean): string[] {
  return of.flatMap((file) =>
    moduleOf(file).imports.flatMap(({ specifier }) => {
      const relative = specifier.startsWith('.')
      const leadsTo = relative ? target(file, specifier) : specifier
      return allowed(file, leadsTo, relative) ? [] : [`${file} -> ${leadsTo}`]
    }),
  )
}

/** Lines that match, as `file:line`. */
function lines(of: readonly string[], pattern: RegExp): string[] {
  return of.flatMap((file) =>
    read(file)
      .split('\n')
      .flatMap((line, index) => (pattern.test(line) ? [`${file}:${index + 1}`] : [])),
  )
}

describe('imports', () => {
  test('lib imports nothing of ours outside lib, but for the default store', () => {
    const lib = published.filter((file) => file.startsWith('lib/'))
    expect(offences(lib, (_, leadsTo, relative) => !relative || leadsTo.startsWith('lib/') || leadsTo === DEFAULT_STORE)).toEqual([])
  })

  test('policies import lib and each other, and no adapter', () => {
    const those = published.filter((file) => file.startsWith('policies/'))
    expect(offences(those, (_, leadsTo, relative) => !relative || /^(lib|policies)\//.test(leadsTo))).toEqual([])
  })

  test('adapters import lib and each other, and no policy', () => {
    const those = published.filter((file) => file.startsWith('adapters/'))
    expect(offences(those, (_, leadsTo, relative) => !relative || /^(lib|adapters)\//.test(leadsTo))).toEqual([])
  })

  test('only lib/stages imports Socket.IO, types included, and only the companion its client', () => {
    expect(offences(published, (file, leadsTo) => file.startsWith('lib/stages/') || !/^(socket|engine)\.io(?!-client)/.test(leadsTo))).toEqual([])
    expect(offences(published, (file, leadsTo) => file.startsWith('client/') || !/^(socket|engine)\.io-client/.test(leadsTo))).toEqual([])
  })

  test('the companion imports of lib types only, and nobody imports the companion', () => {
    const companion = published.filter((file) => file.startsWith('client/'))
    const values = companion.flatMap((file) => moduleOf(file).imports.flatMap(({ specifier, typeOnly }) => (specifier.startsWith('.') && !typeOnly ? [target(file, specifier)] : [])))
    expect(values.filter((file) => !file.startsWith('client/'))).toEqual([])
    expect(offences(published, (file, leadsTo) => file.startsWith('client/') || !leadsTo.startsWith('client/'))).toEqual([])
  })

  test('the companion can be imported by a browser: no Node module behind it', () => {
    expect(offences([...closure('client/index.ts')].filter((file) => file.startsWith('client/')), (_, leadsTo) => !isBuiltin(leadsTo))).toEqual([])
  })

  test('published code uses nothing but Node and its declared peers', () => {
    expect(offences(published, (_, leadsTo, relative) => relative || isBuiltin(leadsTo) || peers.includes(packageOf(leadsTo)))).toEqual([])
  })

  test.each(['lib/index.ts', 'lib/testing.ts', 'policies/index.ts'])('nothing behind %s needs an optional peer', (entry) => {
    expect(offences([...closure(entry)], (_, leadsTo) => !optionalPeers.includes(packageOf(leadsTo)))).toEqual([])
  })

  test('a contract can be imported by a browser: no package and no Node module behind it', () => {
    expect(offences([...closure('lib/contract.ts')], (_, __, relative) => relative)).toEqual([])
  })

  test('there is no circle of imports in lib, types excepted', () => {
    const circles: string[] = []
    const done = new Set<string>()
    const walk = (file: string, path: readonly string[]): void => {
      const start = path.indexOf(file)
      if (start >= 0) circles.push([...path.slice(start), file].join(' -> '))
      if (start >= 0 || done.has(file)) return
      for (const { specifier, typeOnly } of moduleOf(file).imports) {
        if (specifier.startsWith('.') && !typeOnly) walk(target(file, specifier), [...path, file])
      }
      done.add(file)
    }
    for (const file of published) walk(file, [])
    expect(circles).toEqual([])
  })

  test('a relative import names the very file it means', () => {
    expect(offences(typescript, (_, leadsTo, relative) => !relative || (/\.(ts|js|json)$/.test(leadsTo) && files.includes(leadsTo)))).toEqual([])
  })

  test('there is no default export', () => {
    expect(typescript.filter((file) => moduleOf(file).exports.includes('default'))).toEqual([])
  })
})

describe('the catalogue', () => {
  test.each(policies)('policy %s has its page, its test, its export and its name', (name) => {
    expect(files).toContain(`docs/policies/${name}.md`)
    expect(files).toContain(`test/policies/${name}.test.ts`)
    expect(moduleOf('policies/index.ts').exports).toContain(camelCase(name))
    expect(moduleOf(`policies/${name}.ts`).names).toContain(name)
  })

  test.each(adapters)('adapter %s has its page and its test', (name) => {
    expect(files).toContain(`docs/adapters/${name}.md`)
    expect(files).toContain(`test/adapters/${name}.test.ts`)
  })

  test('each page and each test belongs to a policy or an adapter', () => {
    const strays = (names: readonly string[], owners: readonly string[]): string[] => names.filter((name) => !owners.includes(name))
    expect(strays(namesIn('docs/policies', '.md'), policies)).toEqual([])
    expect(strays(namesIn('test/policies', '.test.ts'), policies)).toEqual([])
    expect(strays(namesIn('docs/adapters', '.md'), adapters)).toEqual([])
    expect(strays(namesIn('test/adapters', '.test.ts'), adapters)).toEqual([])
  })

  test.each(namesIn('docs/policies', '.md'))('the page of %s has the headings of every policy page', (name) => {
    const prose = read(`docs/policies/${name}.md`).replace(/^```.*?^```/gms, '')
    expect([...prose.matchAll(/^## (.+)$/gm)].map(([, heading]) => heading)).toEqual([
      'What it stops',
      'Use',
      'Options',
      'Refusals',
      'What it does not protect against',
    ])
  })

  test('the page of codes shows each code with its message, and no other', async () => {
    const { codes } = await import('../lib/errors.ts')
    const rows = read('docs/reference/codes.md').split('\n').filter((line) => /^\| *`[A-Z_]+`/.test(line))
    expect(rows.map((row) => /`([A-Z_]+)`/.exec(row)?.[1]).sort()).toEqual(Object.keys(codes).sort())
    for (const [code, { message }] of Object.entries(codes)) {
      expect(rows.find((row) => row.includes(`\`${code}\``))).toContain(message)
    }
  })
})

describe('the package', () => {
  test('has no runtime dependencies', () => {
    expect([manifest.dependencies, manifest.optionalDependencies, manifest.bundleDependencies]).toEqual([undefined, undefined, undefined])
  })

  test('publishes each adapter under its own name, and the default store with the index', () => {
    const expected = files.filter((file) => /^adapters\/[^/]+\.ts$/.test(file) && file !== DEFAULT_STORE)
    expect([...publicNames.values()].filter((file) => file.startsWith('adapters/')).sort()).toEqual(expected)
  })

  test('exports only what has a source, in both module systems with types', () => {
    for (const [name, source] of publicNames) {
      expect(files).toContain(source)
      const output = source.replace(/\.ts$/, '')
      expect(manifest.exports[name.replace(/^portcullis/, '.')]).toEqual({
        import: { types: `./dist/esm/${output}.d.ts`, default: `./dist/esm/${output}.js` },
        require: { types: `./dist/cjs/${output}.d.ts`, default: `./dist/cjs/${output}.js` },
      })
    }
  })

  test('is type-checked under the names it is published with', () => {
    const config = read('tsconfig.json')
    for (const [name, source] of publicNames) {
      const general = [`"${name}": ["./${source}"]`, `"${name.replace(/[^/]+$/, '*')}": ["./${source.replace(/[^/]+\.ts$/, '*.ts')}"]`]
      expect(general.some((line) => config.includes(line))).toBe(true)
    }
  })

  test('keeps its types whole: @internal hides members, never a declaration that other published types name', () => {
    expect(lines(published, /^(?:\/\*\*| \*).*@internal/)).toEqual([])
  })

  test('locks versions without naming a registry', () => {
    expect(lines(['package-lock.json'], /"resolved": "https?:/)).toEqual([])
  })
})

describe('the text', () => {
  const text = files.filter((file) => !/\.(png|ico|woff2?)$/.test(file))

  test('names no folder of anyone’s machine', () => {
    expect(lines(text, /(?<![\w.~-])\/(?:root|home|Users|work)\/[\w.-]/)).toEqual([])
  })

  test('names no package registry', () => {
    const hosts = ['registry\\.npmjs\\.\\w+', 'registry\\.yarnpkg\\.\\w+']
    const own = process.env['npm_config_registry']
    if (own) hosts.push(new URL(own).host.replaceAll('.', '\\.'))
    expect(lines(text, new RegExp(hosts.join('|').replaceAll('registry', '[r]egistry')))).toEqual([])
  })

  test('holds nothing back for later, and no test that runs alone or not at all', () => {
    const sources = text.filter((file) => /\.(ts|js|cjs|mjs|md|html|css|json)$/.test(file) && file !== 'package-lock.json')
    expect(lines(sources, /\b(?:TO[D]O|FIX[M]E|XX[X])\b|\.onl[y]\(|\b[xf](?:it|test|describe)\(/)).toEqual([])
  })
})

describe('what is written compiles', () => {
  test('type tests: good orders compile, and each marked line fails', () => {
    const typeTests = files.filter((file) => /^test\/types\/.*\.test-d\.ts$/.test(file))
    expect(typeTests).not.toEqual([])
    expect(typeErrors(typeTests)).toEqual([])
  })

  test('each ts block of the documentation', () => {
    const examples = new Map(pages.flatMap((page) => [...examplesIn(page)]))
    expect(typeErrors([], examples, ['test/support/docs-prelude.d.ts'])).toEqual([])
  })
})
