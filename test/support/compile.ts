import { dirname, join, relative } from 'node:path'
import ts from 'typescript'
import { root } from './repository.ts'

/** Type-checks files of the repository together with files that exist only here, in one program. Answers one line an error. */
export function typeErrors(checked: readonly string[], virtual: ReadonlyMap<string, string> = new Map(), ambient: readonly string[] = []): string[] {
  const { config, error } = ts.readConfigFile(join(root, 'tsconfig.json'), (file) => ts.sys.readFile(file))
  if (error) throw new Error(ts.flattenDiagnosticMessageText(error.messageText, '\n'))
  const parsed = ts.parseJsonConfigFileContent(config, { ...ts.sys, readDirectory: () => [] }, root)
  // An example may show a name without using it.
  const options = { ...parsed.options, noUnusedLocals: false, noUnusedParameters: false }

  const texts = new Map([...virtual].map(([file, text]) => [join(root, file), text]))
  const folders = new Set([...texts.keys()].map((file) => dirname(file)))
  const disk = ts.createCompilerHost(options)
  const host: ts.CompilerHost = {
    ...disk,
    fileExists: (file) => texts.has(file) || disk.fileExists(file),
    readFile: (file) => texts.get(file) ?? disk.readFile(file),
    directoryExists: (folder) => folders.has(folder) || (disk.directoryExists?.(folder) ?? true),
    getSourceFile(file, target, ...rest) {
      const text = texts.get(file)
      return text === undefined ? disk.getSourceFile(file, target, ...rest) : ts.createSourceFile(file, text, target, true)
    },
  }

  const names = [...checked.map((file) => join(root, file)), ...texts.keys()]
  const program = ts.createProgram([...names, ...ambient.map((file) => join(root, file))], options, host)
  return names.flatMap((name) => {
    const source = program.getSourceFile(name)
    if (!source) return [`${relative(root, name)}: not part of the program`]
    return [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)].map((diagnostic) => {
      const { line } = source.getLineAndCharacterOfPosition(diagnostic.start ?? 0)
      return `${relative(root, name)}(${line + 1}): ${ts.flattenDiagnosticMessageText(diagnostic.messageText, ' ')}`
    })
  })
}
