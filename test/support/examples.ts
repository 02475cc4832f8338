import { read } from './repository.ts'

/**
 * The `ts` blocks of a Markdown page, each a module of its own, in a folder named as the page. A block that begins with
 * `// file.ts` is that file, so that other blocks of the page can import it; the others are named after their line.
 */
export function examplesIn(page: string): Map<string, string> {
  const blocks = new Map<string, string>()
  const lines = read(page).split('\n')
  for (let start = 0; start < lines.length; start++) {
    const fence = /^(\s*)```(?:ts|typescript)\b/.exec(lines[start] ?? '')
    if (!fence) continue
    let end = start + 1
    while (end < lines.length && lines[end]?.trim() !== '```') end++
    const code = lines.slice(start + 1, end)
    const named = /^\s*\/\/ ((?:[\w-]+\/)*[\w.-]+\.ts)\b/.exec(code[0] ?? '')?.[1]
    const name = named ?? `line-${start + 1}.ts`
    if (blocks.has(`${page}/${name}`)) throw new Error(`${page}: two blocks are called ${name}`)
    // Blank lines in front, so that a reported line is the line of the page.
    blocks.set(`${page}/${name}`, '\n'.repeat(start + 1) + code.join('\n'))
    start = end
  }
  return blocks
}
