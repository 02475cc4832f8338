import { types } from 'node:util'
import type { EventContext } from '../lib/context.ts'
import { ConfigError, Denied } from '../lib/errors.ts'
import { escapeMarkup, hasMarkup, stripMarkup } from '../lib/markup.ts'
import { describe } from '../lib/policy.ts'
import type { AudienceHook, Hook } from '../lib/policy.ts'

/** How text is made safe to put into a page. There is no default: which one is right depends on what the page does with it. */
export type SanitizeOptions =
  | {
      /** `escape` writes special characters as entities, `strip` takes markup out, `reject` refuses what has any. */
      readonly mode: 'escape' | 'strip' | 'reject'
      readonly html?: never
    }
  | {
      /** Cleans HTML that is meant to be HTML: called with each text, synchronously. Its own result must pass it unchanged. */
      readonly html: (text: string) => string
      readonly mode?: never
    }

/** What {@link sanitize} makes: a policy of the event stage (on the way in) and of the deliver stage (on the way out). */
export interface SanitizePolicy {
  readonly name: string
  readonly event: Hook<EventContext<any>>
  readonly deliver: AudienceHook<any>
}

/**
 * Cleans every text in what a client sends and in what clients are sent, at any depth, so that none of it becomes code in a page.
 *
 * @example
 * gate.of('/chat', chat).event('message:send', sanitize({ mode: 'strip' }))
 * @throws ConfigError without a mode
 */
export function sanitize(options: SanitizeOptions): SanitizePolicy {
  const clean = cleanerOf(options)
  return {
    name: 'sanitize',
    event(ctx, next) {
      const args = cleanList(ctx.args, clean, undefined)
      if (args !== ctx.args) ctx.args = args as unknown[]
      return next()
    },
    deliver: {
      // The same for everybody, so a broadcast is cleaned once.
      audience: () => EVERYBODY,
      hook(ctx, next) {
        const packet = ctx as unknown as { args: readonly unknown[] }
        const args = cleanList(packet.args, clean, undefined)
        if (args !== packet.args) packet.args = args
        return next()
      },
    },
  }
}

const EVERYBODY = Symbol('everybody')
/** Far above what clients may send by default, and far below what the stack holds. */
const MAX_DEPTH = 256

type Clean = (text: string) => string

/** The objects on the way to the one being cleaned. */
interface Above {
  readonly value: object
  readonly above: Above | undefined
  readonly depth: number
}

function cleanerOf(options: SanitizeOptions): Clean {
  const example = "Write sanitize({ mode: 'escape' }), 'strip' or 'reject', or sanitize({ html: (text) => string })."
  if (typeof options !== 'object' || options === null) throw new ConfigError(`sanitize: got ${describe(options)}. ${example}`)
  const keys = Object.keys(options)
  if (keys.length !== 1 || (keys[0] !== 'mode' && keys[0] !== 'html')) throw new ConfigError(`sanitize takes a mode or an html function, and nothing else; got ${keys.length === 0 ? 'neither' : keys.join(', ')}. ${example}`)
  const { mode, html } = options
  if (keys[0] === 'html') {
    if (typeof html !== 'function') throw new ConfigError(`sanitize: html is a function (text) => string; got ${describe(html)}.`)
    return (text) => {
      const result: unknown = html(text)
      if (typeof result !== 'string') throw new TypeError(`sanitize: html answered ${describe(result)} and not text`)
      return result
    }
  }
  switch (mode) {
    case 'escape':
      return escapeMarkup
    case 'strip':
      return stripMarkup
    case 'reject':
      return (text) => (hasMarkup(text) ? refuse() : text)
    case undefined:
    default:
      throw new ConfigError(`sanitize: mode is 'escape', 'strip' or 'reject'; got ${describe(mode)}.`)
  }
}

function refuse(): never {
  throw new Denied('INVALID_PAYLOAD', { reason: 'markup' })
}

// Each of these answers its argument itself where nothing had to be changed, and a copy elsewhere: the originals are shared.

function cleanValue(value: unknown, clean: Clean, above: Above): unknown {
  if (typeof value === 'string') return clean(value)
  return typeof value === 'object' && value !== null ? cleanObject(value, clean, above) : value
}

function cleanObject(value: object, clean: Clean, above: Above | undefined): unknown {
  for (let each = above; each !== undefined; each = each.above) {
    if (each.value === value) throw new TypeError('sanitize: the data contains itself')
  }
  if (above !== undefined && above.depth >= MAX_DEPTH) throw new Denied('PAYLOAD_TOO_LARGE', { limit: 'maxDepth' })
  if (Array.isArray(value)) return cleanList(value, clean, above)
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype !== Object.prototype) {
    if (ArrayBuffer.isView(value) || types.isAnyArrayBuffer(value)) return value
    if (types.isStringObject(value)) return clean(String(value))
    if (types.isMap(value)) return cleanMap(value, clean, above)
    if (types.isSet(value)) return cleanSet(value, clean, above)
  }
  if (typeof (value as { toJSON?: unknown }).toJSON === 'function') return cleanJson(value as { toJSON(): unknown }, clean, above)
  return cleanMembers(value as Record<string, unknown>, clean, above)
}

function cleanList(list: readonly unknown[], clean: Clean, above: Above | undefined): readonly unknown[] {
  let copy: unknown[] | undefined
  let own: Above | undefined
  for (let index = 0; index < list.length; index++) {
    const item = list[index]
    let cleaned: unknown
    if (typeof item === 'string') cleaned = clean(item)
    else if (typeof item === 'object' && item !== null) cleaned = cleanObject(item, clean, (own ??= below(list, above)))
    else continue
    if (cleaned !== item) (copy ??= list.slice())[index] = cleaned
  }
  return copy ?? list
}

function cleanMembers(value: Record<string, unknown>, clean: Clean, above: Above | undefined): object {
  let copy: object | undefined
  let own: Above | undefined
  for (const key in value) {
    if (!Object.hasOwn(value, key)) continue
    checkKey(key)
    const item = value[key]
    let cleaned: unknown
    if (typeof item === 'string') cleaned = clean(item)
    else if (typeof item === 'object' && item !== null) cleaned = cleanObject(item, clean, (own ??= below(value, above)))
    else continue
    // Defined and not assigned: a key may be `__proto__`, or a setter of a class.
    if (cleaned !== item) Object.defineProperty((copy ??= copyOf(value)), key, { value: cleaned, enumerable: true, writable: true, configurable: true })
  }
  return copy ?? value
}

function cleanMap(map: Map<unknown, unknown>, clean: Clean, above: Above | undefined): object {
  const own = below(map, above)
  const entries = [...map].map(([key, item]) => {
    if (typeof key === 'string') checkKey(key)
    return [key, cleanValue(item, clean, own)] as const
  })
  return entries.every(([key, item]) => item === map.get(key)) ? map : new Map(entries)
}

function cleanSet(set: Set<unknown>, clean: Clean, above: Above | undefined): object {
  const own = below(set, above)
  const items = [...set].map((item) => cleanValue(item, clean, own))
  return items.every((item) => set.has(item)) ? set : new Set(items)
}

/** What the encoder will ask for in place of the object: a text there would come past everybody. */
function cleanJson(value: { toJSON(): unknown }, clean: Clean, above: Above | undefined): unknown {
  const json = value.toJSON()
  if (json === value) return cleanMembers(value, clean, above)
  const cleaned = cleanValue(json, clean, below(value, above))
  return cleaned === json ? value : cleaned
}

/** Keys are names that code relies on, so they are never rewritten. One with markup is nobody's name, and is refused in every mode. */
function checkKey(key: string): void {
  if (hasMarkup(key)) refuse()
}

function copyOf(value: object): object {
  const prototype = Object.getPrototypeOf(value) as object | null
  return prototype === Object.prototype ? { ...value } : (Object.create(prototype, Object.getOwnPropertyDescriptors(value)) as object)
}

function below(value: object, above: Above | undefined): Above {
  return { value, above, depth: above === undefined ? 1 : above.depth + 1 }
}
