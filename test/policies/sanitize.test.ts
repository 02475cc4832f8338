import { describe, expect, test } from '@jest/globals'
import { ConfigError, deny } from 'portcullis'
import { sanitize } from 'portcullis/policies'
import { admitted, denied, faulted, harness } from 'portcullis/testing'
import { escapeMarkup, hasMarkup, stripMarkup } from '../../lib/markup.ts'
import { attacks, plain } from '../support/markup.ts'

const escaping = harness(sanitize({ mode: 'escape' }))
const stripping = harness(sanitize({ mode: 'strip' }))
const rejecting = harness(sanitize({ mode: 'reject' }))

/** A `<` where HTML begins markup, invisible characters aside, or at the very end. */
const opening = /<[\0-\x08\x0b\x0e-\x1f\x7f-\x9f\xad\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]*(?:[A-Za-z/!?]|$)/
/** What could leave element content or a quoted attribute. */
const special = /[<>"'`]|&(?!amp;|lt;|gt;|quot;|#39;|#96;)/

describe('strip', () => {
  test.each(attacks)('leaves no markup of %j, in either direction', async (attack) => {
    const { data } = await stripping.event('say', attack)
    expect(data).not.toMatch(opening)
    expect((await stripping.deliver('said', attack)).data).toBe(data)
    expect((await stripping.deliver('said', data)).data).toBe(data)
  })

  test.each(plain)('leaves %j as it is', async (text) => {
    expect(await stripping.event('say', text)).toEqual(admitted({ data: text }))
    expect(await stripping.deliver('said', text)).toEqual(admitted({ data: text }))
  })

  test.each([
    ['hello <b>world</b>!', 'hello world!'],
    ['<p title="a > b">x</p>', 'x'],
    ["<p title='a > b'>x</p>", 'x'],
    ['<p title = "a > b">x', 'x'],
    ['one<br>two<br/>three', 'onetwothree'],
    ['a <!-- secret --> b', 'a  b'],
    ['a <!-- -- > b --> c', 'a  c'],
    ['<scr<script>ipt>x</scr</script>ipt>', 'ipt>xipt>'],
    ['<<b>script>x', 'script>x'],
    ['<<<b>y', 'y'],
    ['a<</b> b', 'a< b'],
    ['never closed <b and on', 'never closed '],
    ['never closed <!-- and on', 'never closed '],
    ['never closed <a href="> and on', 'never closed '],
    ['a <b it\'s>not a quoted value', 'a not a quoted value'],
    ['< b>c</b', '< b>c'],
    ['a name<', 'a name'],
  ])('makes %j into %j', async (text, left) => {
    expect((await stripping.event('say', text)).data).toBe(left)
  })
})

describe('escape', () => {
  test.each([...attacks, ...plain])('leaves nothing that could leave its place in a page of %j, in either direction', async (text) => {
    const { data } = await escaping.event('say', text)
    expect(data).not.toMatch(special)
    expect((await escaping.deliver('said', text)).data).toBe(data)
  })

  test.each([...attacks, ...plain])('changes %j once, however often it is applied', async (text) => {
    const { data } = await escaping.event('say', text)
    expect((await escaping.deliver('said', data)).data).toBe(data)
    expect((await escaping.event('say', (await escaping.deliver('said', data)).data)).data).toBe(data)
  })

  test.each([
    ['a < b && c > d', 'a &lt; b &amp;&amp; c &gt; d'],
    ['"it\'s" `so`', '&quot;it&#39;s&quot; &#96;so&#96;'],
    ['&lt; &gt; &amp; &quot; &#39; &#96;', '&lt; &gt; &amp; &quot; &#39; &#96;'],
    ['&lt &amp &nbsp; &#60; &#x3c; &', '&amp;lt &amp;amp &amp;nbsp; &amp;#60; &amp;#x3c; &amp;'],
    ['&amp;lt;', '&amp;lt;'],
  ])('makes %j into %j', async (text, escaped) => {
    expect((await escaping.event('say', text)).data).toBe(escaped)
  })
})

describe('reject', () => {
  test.each(attacks)('refuses %j, in either direction', async (attack) => {
    expect(await rejecting.event('say', attack)).toEqual(denied('INVALID_PAYLOAD'))
    expect(await rejecting.deliver('said', attack)).toEqual(denied('INVALID_PAYLOAD'))
  })

  test.each(plain)('admits %j as it is', async (text) => {
    expect(await rejecting.event('say', text)).toEqual(admitted({ data: text }))
    expect(await rejecting.deliver('said', text)).toEqual(admitted({ data: text }))
  })

  test('says that it was markup, and nothing of what was sent', async () => {
    const { refusal } = await rejecting.event('say', '<b>secret</b>')
    expect(refusal).toMatchObject({ code: 'INVALID_PAYLOAD', details: { reason: 'markup' } })
    expect(JSON.stringify(refusal)).not.toContain('secret')
  })
})

describe('html', () => {
  /** Stands for a sanitising library: keeps `<b>`, and nothing else. */
  const onlyBold = (html: string): string => html.replace(/<(?!\/?b>)[^>]*>/g, '')

  test('gives each text to the function, in either direction', async () => {
    const probe = harness(sanitize({ html: onlyBold }))
    expect((await probe.event('say', { text: '<b>x</b><i>y</i>', more: ['<i>z</i>'] })).data).toEqual({ text: '<b>x</b>y', more: ['z'] })
    expect((await probe.deliver('said', '<b>x</b><i>y</i>')).data).toBe('<b>x</b>y')
  })

  test('a function that throws, or answers with anything but text, is a fault', async () => {
    for (const html of [() => undefined, async (text: string) => text, () => null, () => 1, () => ({ toString: () => 'x' })]) {
      const probe = harness(sanitize({ html: html as unknown as (text: string) => string }))
      expect(await probe.event('say', 'x')).toEqual(faulted())
      expect(await probe.deliver('said', 'x')).toEqual(faulted())
    }
    const throwing = harness(
      sanitize({
        html: () => {
          throw new Error('broken')
        },
      }),
    )
    expect(await throwing.event('say', 'x')).toEqual(faulted())
  })

  test('a function may refuse', async () => {
    const probe = harness(sanitize({ html: (text) => (text.length > 3 ? deny('INVALID_PAYLOAD', { reason: 'too long' }) : text) }))
    expect(await probe.event('say', 'long')).toEqual(denied('INVALID_PAYLOAD'))
  })
})

describe('what is cleaned', () => {
  test('every text at any depth, in every argument, and nothing that is no text', async () => {
    const bytes = Buffer.from('<b>binary</b>')
    const when = new Date(0)
    const args = ['<b>a', 1, null, true, undefined, bytes, new Uint8Array(bytes), when, { a: '<b>x', b: [{ c: ['<b>y', 2] }], d: { e: { f: '<b>z' } }, g: bytes, h: null }, [['<b>w']]]
    const { args: cleaned } = await stripping.event('say', undefined, { args })
    expect(cleaned).toEqual(['a', 1, null, true, undefined, bytes, new Uint8Array(bytes), when, { a: 'x', b: [{ c: ['y', 2] }], d: { e: { f: 'z' } }, g: bytes, h: null }, [['w']]])
    expect(cleaned![5]).toBe(bytes)
    expect((cleaned![8] as { g: unknown }).g).toBe(bytes)
    expect((await stripping.deliver('said', undefined, { args })).args).toEqual(cleaned)
  })

  test('the originals are never changed, frozen ones included', async () => {
    const data = Object.freeze({ text: '<b>x</b>', list: Object.freeze(['<i>y</i>']), clean: Object.freeze({ z: 'z' }) })
    const before = JSON.stringify(data)
    for (const probe of [stripping, escaping]) {
      for (const { data: cleaned } of [await probe.event('say', data), await probe.deliver('said', data)]) {
        expect(cleaned).not.toBe(data)
        expect(cleaned.clean).toBe(data.clean)
        expect(JSON.stringify(data)).toBe(before)
      }
    }
  })

  test('what needs no change is not copied', async () => {
    const data = { text: 'x', list: ['y', { z: 'z' }], none: null }
    expect((await stripping.event('say', data)).data).toBe(data)
    expect((await escaping.event('say', data)).data).toBe(data)
    expect((await rejecting.deliver('said', data)).data).toBe(data)
  })

  test('in the same tick', async () => {
    expect(await stripping.event('say', '<b>x')).toMatchObject({ sync: true })
    expect(await stripping.deliver('said', '<b>x')).toMatchObject({ sync: true })
  })

  test('a broadcast once, whatever the recipients are', async () => {
    let calls = 0
    const probe = harness(
      sanitize({
        html: (text) => {
          calls++
          return text
        },
      }),
    )
    await probe.broadcast('said', 'x', [{ a: 1 }, { a: 2 }, { a: 3 }])
    expect(calls).toBe(1)
  })

  test('the answer of a handler, where it stands in reply', async () => {
    const probe = harness((gate) => gate.event('say').reply('say', sanitize({ mode: 'strip' })))
    expect(await (await probe.event('say', 'x', { ack: true })).ack({ text: '<b>y</b>' })).toEqual([{ text: 'y' }])
  })

  test('the data of a contract, after the schema', async () => {
    const text = { '~standard': { version: 1 as const, vendor: 'test', validate: (value: unknown) => ({ value: { text: `<i>${String((value as { text: string }).text)}</i>` } }) } }
    const probe = harness((gate) => gate.of('/', { events: { say: { data: text } } }).event('say', sanitize({ mode: 'strip' })))
    expect((await probe.event('say', { text: '<b>x</b>' })).data).toEqual({ text: 'x' })
  })
})

describe('objects that are not plain', () => {
  test('what an encoder would ask of an object is cleaned', async () => {
    class Stored {
      constructor(readonly text: string) {}
      toJSON(): object {
        return { said: this.text, nested: { toJSON: () => '<i>deep</i>' } }
      }
    }
    expect((await stripping.deliver('said', { message: new Stored('<b>x</b>') })).data).toEqual({ message: { said: 'x', nested: 'deep' } })
    expect((await stripping.deliver('said', { boxed: new String('<b>x</b>') })).data).toEqual({ boxed: 'x' })
    expect((await rejecting.deliver('said', new Stored('<b>x</b>')))).toEqual(denied('INVALID_PAYLOAD'))
  })

  test('an object whose JSON is clean is passed on itself', async () => {
    const data = { at: new Date(0), invalid: new Date(NaN), link: new URL('https://app.example/page') }
    expect((await stripping.deliver('said', data)).data).toBe(data)
  })

  test('an object that answers itself as its JSON is cleaned', async () => {
    const data = {
      text: '<b>x</b>',
      toJSON(): unknown {
        return this
      },
    }
    expect((await stripping.deliver('said', data)).data).toMatchObject({ text: 'x' })
  })

  test('a copy keeps the class, so that handlers find its methods', async () => {
    class Message {
      constructor(public text: string) {}
      shout(): string {
        return this.text.toUpperCase()
      }
    }
    const { data } = await stripping.deliver('said', new Message('<b>x</b>'))
    expect(data).toBeInstanceOf(Message)
    expect(data.shout()).toBe('X')
  })

  test('maps and sets', async () => {
    const { data } = await stripping.deliver('said', { map: new Map([['k', { v: '<b>x' }]]), set: new Set(['<b>x', 1]) })
    expect(data).toEqual({ map: new Map([['k', { v: 'x' }]]), set: new Set(['x', 1]) })
    const clean = { map: new Map([['k', 'v']]), set: new Set(['v']) }
    expect((await stripping.deliver('said', clean)).data).toBe(clean)
    expect(await stripping.deliver('said', new Map([['<b>', 1]]))).toEqual(denied('INVALID_PAYLOAD'))
  })

  test('no prototype, and a member called __proto__', async () => {
    const bare = Object.assign(Object.create(null) as object, { text: '<b>x</b>' })
    expect((await stripping.deliver('said', bare)).data.text).toBe('x')
    const { data } = await stripping.deliver('said', JSON.parse('{"__proto__":"<b>x</b>","a":"<b>y</b>"}'))
    expect(Object.getPrototypeOf(data)).toBe(Object.prototype)
    expect(JSON.stringify(data)).toBe('{"__proto__":"x","a":"y"}')
    expect(({} as { polluted?: unknown }).polluted).toBeUndefined()
  })

  test('members that are inherited do not travel, and are not looked at', async () => {
    const parent = { inherited: '<b>x</b>' }
    const child = Object.assign(Object.create(parent) as object, { own: 'y' })
    expect((await rejecting.deliver('said', child)).data).toBe(child)
  })
})

describe('hostile input', () => {
  test('a key with markup is refused in every mode, and no key is rewritten', async () => {
    for (const probe of [stripping, escaping, rejecting, harness(sanitize({ html: (text) => text }))]) {
      for (const key of ['<img src=x onerror=hit()>', '</script>', 'a<', '<!--']) {
        expect(await probe.event('say', { deep: [{ [key]: 1 }] })).toEqual(denied('INVALID_PAYLOAD'))
        expect(await probe.deliver('said', { [key]: 1 })).toEqual(denied('INVALID_PAYLOAD'))
      }
      for (const key of ["it's", 'R&D', 'a < b', '1 > 0', '"', '日本']) expect(await probe.event('say', { [key]: 1 })).toEqual(admitted({ data: { [key]: 1 } }))
    }
  })

  test('data that contains itself is a fault, and ends', async () => {
    const data: Record<string, unknown> = { text: 'x' }
    data['left'] = data['right'] = [data]
    expect(await stripping.deliver('said', data)).toEqual(faulted())
    const map = new Map<string, unknown>()
    map.set('self', map)
    expect(await stripping.deliver('said', map)).toEqual(faulted())
  })

  test('one object in many places is no circle', async () => {
    const shared = { text: '<b>x</b>' }
    const { data } = await stripping.deliver('said', { list: Array.from({ length: 3 }, () => shared) })
    expect(data).toEqual({ list: [{ text: 'x' }, { text: 'x' }, { text: 'x' }] })
  })

  test('data ten thousand levels deep is refused, and ends', async () => {
    const nested = (wrap: (inner: unknown) => unknown): unknown => {
      let value: unknown = '<b>x'
      for (let depth = 0; depth < 10_000; depth++) value = wrap(value)
      return value
    }
    for (const wrap of [(inner: unknown) => [inner], (inner: unknown) => ({ inner }), (inner: unknown) => new Map([['k', inner]]), (inner: unknown) => ({ toJSON: () => inner })]) {
      expect(await stripping.deliver('said', nested(wrap))).toEqual(denied('PAYLOAD_TOO_LARGE'))
    }
    expect(await stripping.event('say', nested((inner) => [inner]))).toEqual(denied('PAYLOAD_TOO_LARGE'))
  })

  test('a getter that throws is a fault', async () => {
    const data = {
      get text(): string {
        throw new Error('broken')
      },
    }
    expect(await stripping.deliver('said', data)).toEqual(faulted())
  })

  /** Counts what a function asks of a text: each character looked at, and each one searched through. */
  class Counted extends String {
    static steps = 0
    #count(text: string, found: number, from: number): void {
      Counted.steps += (found === -1 ? text.length : found) - from + 1
    }
    override charCodeAt(at: number): number {
      Counted.steps++
      return super.charCodeAt(at)
    }
    override indexOf(what: string, from = 0): number {
      const found = super.indexOf(what, from)
      this.#count(this.valueOf(), found, from)
      return found
    }
    override includes(what: string): boolean {
      return this.indexOf(what) !== -1
    }
    override startsWith(what: string, at = 0): boolean {
      Counted.steps += what.length
      return super.startsWith(what, at)
    }
    override slice(from?: number, to?: number): string {
      const part = super.slice(from, to)
      Counted.steps += part.length
      return new Counted(part) as unknown as string
    }
  }

  const stepsFor = (run: (text: string) => unknown, text: string): number => {
    Counted.steps = 0
    run(new Counted(text) as unknown as string)
    return Counted.steps
  }

  test.each(['<', '<a', '<a ', '<<b>x', '<b>', '</', '<!', '<!--', '<!-- -', '<!--x-->', '<?', '<a b="', "<a b='", '<a b=', '<a = ', '=', '<\0', '\0<b>', '\u200b', '&', '&lt', '&amp;', '"', '>', '-', '<a b="c">', '<a>\0\0\0<'])(
    'fifty thousand characters of %j take steps in proportion to their number',
    (unit) => {
      for (const run of [escapeMarkup, stripMarkup, hasMarkup]) {
        const text = (length: number): string => `<a ${unit.repeat(Math.ceil(length / unit.length))}`
        const [half, whole] = [stepsFor(run, text(25_000)), stepsFor(run, text(50_000))]
        expect(whole).toBeLessThan(2.1 * half + 100)
        expect(whole).toBeLessThan(50_000 * 40)
        const bare = unit.repeat(Math.ceil(50_000 / unit.length))
        expect(stepsFor(run, bare)).toBeLessThan(50_000 * 40)
      }
    },
  )
})

test.each([undefined, null, {}, { mode: undefined }, { mode: 'html' }, { mode: 'STRIP' }, { mode: true }, { html: 'strip' }, { html: undefined }, { mode: 'strip', html: (text: string) => text }, { mode: 'strip', tags: ['b'] }, 'strip'])(
  'sanitize is a ConfigError for the options %p: there is no default',
  (options) => {
    expect(() => sanitize(options as never)).toThrow(ConfigError)
  },
)

test('sanitize does nothing at stages that are not its own', async () => {
  expect(Object.keys(sanitize({ mode: 'reject' }))).toEqual(['name', 'event', 'deliver'])
  expect(await rejecting.request({ headers: { 'user-agent': '<b>' } })).toEqual(admitted())
  expect(await rejecting.connect({ auth: { token: '<b>' } })).toEqual(admitted())
  expect(await rejecting.join('<b>')).toEqual(admitted())
})
