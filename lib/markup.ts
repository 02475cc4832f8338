/**
 * Text on its way into a page, in three readings. Each is a function of the text alone, linear in its length, and changes
 * nothing when it is applied to its own result.
 */

const ENTITIES = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;', '`': '&#96;' }
const OWN_ENTITIES = Object.values(ENTITIES)
/** The entities by character code, as far as the last of them. */
const BY_CODE: readonly (string | undefined)[] = Array.from({ length: 0x61 }, (_, code) => (ENTITIES as Record<string, string>)[String.fromCharCode(code)])

/**
 * Writes `& < > " ' \`` as entities, for element content and quoted attributes. The entities it writes it leaves alone, so that
 * what was escaped on the way in is not escaped again on the way out.
 */
export function escapeMarkup(text: string): string {
  // Six searches for one character each: on clean text they cost less than one walk over it.
  if (!text.includes('<') && !text.includes('&') && !text.includes('>') && !text.includes('"') && !text.includes("'") && !text.includes('`')) return text
  let escaped = ''
  let kept = 0
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at)
    const entity = code < 0x61 ? BY_CODE[code] : undefined
    if (entity === undefined || (code === AMPERSAND && OWN_ENTITIES.some((own) => text.startsWith(own, at)))) continue
    escaped += text.slice(kept, at) + entity
    kept = at + 1
  }
  return kept === 0 ? text : escaped + text.slice(kept)
}

/**
 * Whether text has markup: a `<` before a letter, `/`, `!` or `?`, where an HTML parser leaves text (HTML Standard 13.2.5.6), or
 * before the end, where whatever is put behind the text would decide. Characters that nobody sees do not count in between.
 */
export function hasMarkup(text: string): boolean {
  return text.includes('<') && nextMarkup(text, 0) !== text.length
}

/**
 * Leaves what an HTML parser would leave as text outside of tags: tags, comments, declarations and instructions go, and one
 * that is never closed takes the rest with it. What remains has no markup, also not where two remains meet.
 */
export function stripMarkup(text: string): string {
  if (!text.includes('<')) return text
  let at = nextMarkup(text, 0)
  if (at === text.length) return text
  const remains: string[] = []
  let from = 0
  while (at < text.length) {
    append(remains, text.slice(from, at))
    from = endOfMarkup(text, visible(text, at + 1))
    at = nextMarkup(text, from)
  }
  append(remains, text.slice(from))
  closeOpenings(remains)
  return remains.join('')
}

/** Where markup begins, at or after a position; the length of the text when nowhere. */
function nextMarkup(text: string, from: number): number {
  for (let at = text.indexOf('<', from); at !== -1; at = text.indexOf('<', at + 1)) {
    const next = visible(text, at + 1)
    if (next === text.length || opens(text.charCodeAt(next))) return at
  }
  return text.length
}

/** A remain, put behind the others: a `<` at their end must not become an opening by it. */
function append(remains: string[], text: string): void {
  if (text === '') return
  const first = visible(text, 0)
  if (first < text.length && opens(text.charCodeAt(first))) closeOpenings(remains)
  remains.push(text)
}

/** Takes every `<` from the end, and what is invisible there with it. */
function closeOpenings(remains: string[]): void {
  let last = remains.length - 1
  let end = 0
  let cut: { readonly last: number; readonly end: number } | undefined
  for (; last >= 0; last--) {
    const text = remains[last]!
    for (end = text.length; end > 0; end--) {
      const code = text.charCodeAt(end - 1)
      if (code === LESS_THAN) cut = { last, end: end - 1 }
      else if (!isInvisible(code)) break
    }
    if (end > 0) break
  }
  if (cut === undefined) return
  remains.length = cut.last + 1
  remains[cut.last] = remains[cut.last]!.slice(0, cut.end)
}

/** The first position after markup whose second character, the first after its `<`, is at `at`. */
function endOfMarkup(text: string, at: number): number {
  const code = text.charCodeAt(at)
  if (isLetter(code) || (code === SLASH && isLetter(text.charCodeAt(at + 1)))) return endOfTag(text, at + 1)
  if (text.startsWith('!--', at)) return endOfComment(text, at + 3)
  const end = text.indexOf('>', at)
  return end === -1 ? text.length : end + 1
}

/** A `>` in a quoted value is not the end of its tag. */
function endOfTag(text: string, from: number): number {
  for (let at = from; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (code === GREATER_THAN) return at + 1
    if (code !== EQUALS) continue
    while (isBlank(text.charCodeAt(at + 1))) at++
    const quote = text.charCodeAt(at + 1)
    if (quote !== DOUBLE_QUOTE && quote !== SINGLE_QUOTE) continue
    at = text.indexOf(quote === DOUBLE_QUOTE ? '"' : "'", at + 2)
    if (at === -1) return text.length
  }
  return text.length
}

/** A comment ends with `-->` or `--!>`, and is empty as `<!-->` and `<!--->`. */
function endOfComment(text: string, from: number): number {
  if (text.startsWith('>', from)) return from + 1
  if (text.startsWith('->', from)) return from + 2
  for (let at = text.indexOf('--', from); at !== -1; at = text.indexOf('--', at + 1)) {
    if (text.startsWith('>', at + 2)) return at + 3
    if (text.startsWith('!>', at + 2)) return at + 4
  }
  return text.length
}

/** The first character at or after a position that can be seen. */
function visible(text: string, from: number): number {
  let at = from
  while (at < text.length && isInvisible(text.charCodeAt(at))) at++
  return at
}

const AMPERSAND = 0x26
const LESS_THAN = 0x3c
const GREATER_THAN = 0x3e
const EQUALS = 0x3d
const SLASH = 0x2f
const DOUBLE_QUOTE = 0x22
const SINGLE_QUOTE = 0x27

function opens(code: number): boolean {
  return isLetter(code) || code === SLASH || code === 0x21 || code === 0x3f
}

function isLetter(code: number): boolean {
  return (code >= 0x41 && code <= 0x5a) || (code >= 0x61 && code <= 0x7a)
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09 || code === 0x0a || code === 0x0c || code === 0x0d
}

/** Controls, soft hyphen, zero-width and direction marks: databases, old parsers and normalisers drop them, and what stood around them meets. */
function isInvisible(code: number): boolean {
  if (code < 0x7f) return code < 0x20 && !isBlank(code)
  return code <= 0x9f || code === 0xad || (code >= 0x200b && code <= 0x200f) || (code >= 0x202a && code <= 0x202e) || (code >= 0x2060 && code <= 0x206f) || code === 0xfeff
}
