import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'

/** The repository's root folder, with a slash at its end. */
export const root = fileURLToPath(new URL('../../', import.meta.url))

/** Every file that is or would be committed, as a path from the root with forward slashes. */
export const files: readonly string[] = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '-z'], { cwd: root, encoding: 'utf8' })
  .split('\0')
  .filter((file) => file !== '' && existsSync(join(root, file)))
  .sort()

export const read = (file: string): string => readFileSync(join(root, file), 'utf8')

/** The files directly in a folder that end so, as bare names without that end. */
export function namesIn(folder: string, end: string): string[] {
  return files.filter((file) => dirname(file) === folder && file.endsWith(end)).map((file) => file.slice(folder.length + 1, -end.length))
}

export interface Import {
  readonly specifier: string
  /** Vanishes from the output. */
  readonly typeOnly: boolean
}

export interface Module {
  readonly imports: readonly Import[]
  /** Names exported, `*` for a star export; `default` when there is one. */
  readonly exports: readonly string[]
  /** String values given to a property called `name`. */
  readonly names: readonly string[]
}

const modules = new Map<string, Module>()

/** What a TypeScript file imports and exports, read from its syntax tree. */
export function moduleOf(file: string): Module {
  const known = modules.get(file)
  if (known) return known
  const imports: Import[] = []
  const exports: string[] = []
  const names: string[] = []

  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node) && ts.isStringLiteral(node.moduleSpecifier)) {
      imports.push({ specifier: node.moduleSpecifier.text, typeOnly: node.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword })
    } else if (ts.isExportDeclaration(node)) {
      if (node.moduleSpecifier && ts.isStringLiteral(node.moduleSpecifier)) imports.push({ specifier: node.moduleSpecifier.text, typeOnly: node.isTypeOnly })
      if (node.exportClause && ts.isNamedExports(node.exportClause)) exports.push(...node.exportClause.elements.map((element) => element.name.text))
      else exports.push('*')
    } else if (ts.isExportAssignment(node)) {
      exports.push('default')
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      const [specifier] = node.arguments
      if (specifier && ts.isStringLiteral(specifier)) imports.push({ specifier: specifier.text, typeOnly: false })
    } else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument) && ts.isStringLiteral(node.argument.literal)) {
      imports.push({ specifier: node.argument.literal.text, typeOnly: true })
    } else if (ts.isPropertyAssignment(node) && node.name.getText() === 'name' && ts.isStringLiteral(node.initializer)) {
      names.push(node.initializer.text)
    } else if (ts.canHaveModifiers(node) && ts.getModifiers(node)?.some((modifier) => modifier.kind === ts.SyntaxKind.ExportKeyword)) {
      if (ts.getModifiers(node)?.some((modifier) => modifier.kind === ts.SyntaxKind.DefaultKeyword)) exports.push('default')
      if (ts.isVariableStatement(node)) exports.push(...node.declarationList.declarations.map((declaration) => declaration.name.getText()))
      else if ('name' in node && node.name) exports.push((node.name as ts.Identifier).text)
    }
    ts.forEachChild(node, visit)
  }
  visit(ts.createSourceFile(file, read(file), ts.ScriptTarget.ES2022, true))

  const module = { imports, exports, names }
  modules.set(file, module)
  return module
}

/** The file a relative import leads to, as a path from the root. */
export function target(from: string, specifier: string): string {
  return join(dirname(from), specifier).replaceAll('\\', '/')
}

/** Every file of ours that is loaded with this one, itself included. */
export function closure(entry: string, reached = new Set<string>()): Set<string> {
  if (reached.has(entry)) return reached
  reached.add(entry)
  for (const { specifier } of moduleOf(entry).imports) if (specifier.startsWith('.')) closure(target(entry, specifier), reached)
  return reached
}
