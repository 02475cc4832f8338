/** An object as a literal or as JSON makes it. */
export function isPlain(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}

/** Nothing of this depth is written by hand, and a circle has no end. */
const MAX_DEPTH = 64

/** One JSON text for all equal values; undefined when part of the value is not plain JSON, so that a text would not tell it from another. */
export function canonicalText(value: unknown, depth = 0): string | undefined {
  if (value === null || typeof value === 'boolean' || typeof value === 'string') return JSON.stringify(value)
  if (typeof value === 'number') return Number.isFinite(value) && !Object.is(value, -0) ? String(value) : undefined
  if (typeof value !== 'object' || depth > MAX_DEPTH) return undefined
  const list = Array.isArray(value)
  if (Object.getPrototypeOf(value) !== (list ? Array.prototype : Object.prototype)) return undefined
  const keys = Object.keys(value)
  // A hole, a symbol or a hidden property is something that the text would not show.
  if (Reflect.ownKeys(value).length !== keys.length + (list ? 1 : 0) || (list && keys.length !== value.length)) return undefined
  if (!list) keys.sort()
  const parts: string[] = []
  for (const key of keys) {
    const text = canonicalText((value as Record<string, unknown>)[key], depth + 1)
    if (text === undefined) return undefined
    parts.push(list ? text : `${JSON.stringify(key)}:${text}`)
  }
  return list ? `[${parts.join()}]` : `{${parts.join()}}`
}
