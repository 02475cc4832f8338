import { createSecretKey, generateKeyPairSync } from 'node:crypto'
import { Agent, createServer, request } from 'node:http'
import { describe, expect, test } from '@jest/globals'
import express from 'express'
import session from 'express-session'
import { ConfigError } from 'portcullis'
import { secretsOf, sessionIdOf, signedValue, withCookie, type Secret } from '../../../adapters/express-session/signed-cookie.ts'
import { closeAfterTest, listen } from '../../support/server.ts'

const NAME = '__Host-sid'
const SECRET = 'what the cookies of the application are signed with'
const OTHER = 'what the cookies of somebody else are signed with'
const ID = 'N1d_xZ-0aBcDeFgHiJkLmNoPqRsTuVwX'
const ID_2 = 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'

const honest = signedValue(ID, SECRET)
const header = (value: string): string => `${NAME}=${value}`
const take = (cookies: string | undefined, secrets: readonly Secret[] = [SECRET]): string | undefined => sessionIdOf(cookies, NAME, secrets)

/** A store that notes which ids express-session has asked it for: what it took out of a cookie. */
class Asked extends session.MemoryStore {
  readonly ids: string[] = []
  override get(id: string, callback: (error: unknown, data?: session.SessionData | null) => void): void {
    this.ids.push(id)
    super.get(id, callback)
  }
}

/** The real express-session, and what it makes of a Cookie header. */
async function sessionServer(options: Partial<session.SessionOptions> = {}) {
  const store = new Asked()
  const app = express()
  app.use(session({ name: NAME, secret: SECRET, store, resave: false, saveUninitialized: true, ...options }))
  app.get('/', (asked, response) => void response.send(asked.sessionID))
  const http = createServer(app)
  const port = await listen(http)
  closeAfterTest(() => http.close())
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  closeAfterTest(() => agent.destroy())
  const ask = (cookie?: string): Promise<{ id: string; taken: string | undefined; set: string | undefined }> => {
    store.ids.length = 0
    return new Promise((resolve, reject) => {
      const asking = request({ port, host: '127.0.0.1', agent, headers: cookie === undefined ? {} : { cookie } }, (response) => {
        let id = ''
        response.setEncoding('utf8').on('data', (text: string) => (id += text)).on('end', () => resolve({ id, taken: store.ids[0], set: response.headers['set-cookie']?.[0]?.split(';')[0] }))
      })
      asking.on('error', reject).end()
    })
  }
  return { ask, store }
}

/** The same texts in every run. */
function chance(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below
  }
}

describe('what the real express-session has set', () => {
  test('is the id of its session, for any id it makes', async () => {
    const { ask } = await sessionServer()
    for (let n = 0; n < 50; n++) {
      const { id, set } = await ask()
      expect(take(set)).toBe(id)
      expect(set).toBe(header(signedValue(id, SECRET)))
      expect((await ask(set)).id).toBe(id)
    }
  })

  test('is it among other cookies, too', async () => {
    const { ask } = await sessionServer()
    const { id, set } = await ask()
    for (const cookies of [`theme=dark; ${set}`, `${set}; theme=dark`, `a=1; ${set}; b="2"; c`, `sid=x; ${set}; x__Host-sid=y; __Host-sid2=z`, `;;${set};;`]) expect(take(cookies)).toBe(id)
  })

  test('is it with ids of the application’s own making', async () => {
    for (const own of ['tenant-7:01JD/ab+cd==', '0123456789abcdef', 'f47ac10b-58cc-4372-a567-0e02b2c3d479', 'a.b.c.d.e.f.g.h.i', '~'.repeat(256), 'w'.repeat(256), ':'.repeat(256)]) {
      const { ask } = await sessionServer({ genid: () => own })
      const { set } = await ask()
      expect(take(set)).toBe(own)
      expect((await ask(header(signedValue(own, SECRET)))).taken).toBe(own)
    }
  })

  test('is it with each of several secrets while they are changed, and signed with the first', async () => {
    const { set, id } = await (await sessionServer()).ask()
    const changed = await sessionServer({ secret: [OTHER, SECRET] })
    expect(take(set, [OTHER, SECRET])).toBe(id)
    expect((await changed.ask(set)).taken).toBe(id)
    const next = await changed.ask()
    expect(next.set).toBe(header(signedValue(next.id, OTHER)))
    expect(take(next.set, [OTHER])).toBe(next.id)
    expect(take(next.set, [SECRET])).toBeUndefined()
    expect(take(set, [OTHER])).toBeUndefined()
  })

  test('is it with secrets that are bytes or a key', async () => {
    for (const secret of [Buffer.from([0, 255, 128, 7]), createSecretKey(Buffer.from('key'))]) {
      const { set, id } = await (await sessionServer({ secret })).ask()
      expect(take(set, secretsOf(secret, 'sessions'))).toBe(id)
    }
  })
})

type Mutation = readonly [title: string, cookies: string]

const [encodedId, encodedSignature] = [honest.slice('s%3A'.length, honest.lastIndexOf('.')), honest.slice(honest.lastIndexOf('.') + 1)]
const plain = decodeURIComponent(honest)
const signature = decodeURIComponent(encodedSignature)
const BASE64 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'
const percent = (text: string): string => [...Buffer.from(text)].map((byte) => `%${byte.toString(16).padStart(2, '0').toUpperCase()}`).join('')
const each = (change: (at: number) => string): string[] => Array.from(honest, (_, at) => change(at))
const titled = (title: string, values: readonly string[]): Mutation[] => values.map((value, at) => [`${title} ${at}`, header(value)])

const oneCharacter: readonly Mutation[] = [
  ...titled('flipped at', each((at) => honest.slice(0, at) + (honest[at] === 'A' ? 'B' : 'A') + honest.slice(at + 1))),
  ...titled('cut to', each((at) => honest.slice(0, at))),
  ...titled('without', each((at) => honest.slice(0, at) + honest.slice(at + 1))),
  ...titled('doubled at', each((at) => honest.slice(0, at + 1) + honest.slice(at))),
  ...titled('with its neighbour swapped at', each((at) => honest.slice(0, at) + honest.slice(at, at + 2).split('').reverse().join('') + honest.slice(at + 2)).filter((value) => value !== honest)),
  ...titled('encoded without need at', [...plain].map((_, at) => encodeURIComponent(plain.slice(0, at)) + percent(plain[at]!) + encodeURIComponent(plain.slice(at + 1))).filter((value) => value !== honest)),
  ...titled('not encoded at', [...plain].map((char, at) => encodeURIComponent(plain.slice(0, at)) + char + encodeURIComponent(plain.slice(at + 1))).filter((value) => value !== honest)),
]

const spellings: readonly Mutation[] = [
  ['not encoded', header(plain)],
  ['encoded twice', header(encodeURIComponent(honest))],
  ['encoded all over', header(percent(plain))],
  ['in lower-case hexadecimal', header(honest.replaceAll(/%../g, (code) => code.toLowerCase()))],
  ['in quotes', header(`"${honest}"`)],
  ['in encoded quotes', header(`%22${honest}%22`)],
  ['with a quote in front', header(`"${honest}`)],
  ...[...BASE64].filter((last) => last !== signature.at(-1)).map((last): Mutation => [`the signature ending in ${last}`, header(`s%3A${encodedId}.${encodeURIComponent(signature.slice(0, -1) + last)}`)]),
  ['the signature with its padding', header(`${honest}=`)],
  ['the signature with its padding, encoded', header(`${honest}%3D`)],
  ['the signature in hexadecimal', header(`s%3A${encodedId}.${Buffer.from(signature, 'base64').toString('hex')}`)],
  ['overlong UTF-8 for a dot', header(`s%3A${encodedId}%C0%AE${encodedSignature}`)],
  ['overlong UTF-8 for the colon', header(`s%C0%BA${encodedId}.${encodedSignature}`)],
  ['three bytes of overlong UTF-8', header(`s%E0%80%BA${encodedId}.${encodedSignature}`)],
  ['an encoding of IIS', header(`s%u003A${encodedId}.${encodedSignature}`)],
  ['a plus for a blank', header(honest.replace('.', '+.'))],
  ['in upper case', header(honest.toUpperCase())],
  ['in lower case', header(honest.toLowerCase())],
  ['another prefix', header(honest.replace('s%3A', 'j%3A'))],
  ['the prefix twice', header(honest.replace('s%3A', 's%3As%3A'))],
  ['without the prefix', header(honest.slice('s%3A'.length))],
]

const around: readonly Mutation[] = [
  ...['x', '=', '.', '%', '%2', '%00', '%0A', '%0D%0A', '%20', ' ', '\t', '\n', '\r\n', '\0', ',', '"', '\\', '\u00a0', '\u2028', '\ufeff', 'ä', '😀', '\ud800', `.${signature}`, `,${honest}`].flatMap((more): Mutation[] => [
    [`with ${JSON.stringify(more)} behind it`, header(honest + more)],
    [`with ${JSON.stringify(more)} behind it, and more cookies`, `${header(honest + more)}; b=2`],
    [`with ${JSON.stringify(more)} in front of it`, header(more + honest)],
    [`with ${JSON.stringify(more)} in the id`, header(honest.slice(0, 10) + more + honest.slice(10))],
    [`with ${JSON.stringify(more)} for the signature`, header(`s%3A${encodedId}.${more}`)],
  ]),
]

const foreign: readonly Mutation[] = [
  ['of another secret', header(signedValue(ID, OTHER))],
  ['of an empty secret', header(signedValue(ID, ''))],
  ['of the secret and a line end', header(signedValue(ID, `${SECRET}\n`))],
  ['the signature of another id', header(`s%3A${encodedId}.${signedValue(ID_2, SECRET).split('.')[1]}`)],
  ['another id with this signature', header(`s%3A${ID_2}.${encodedSignature}`)],
  ['swapped', header(`s%3A${encodedSignature}.${encodedId}`)],
  ['no signature', header(`s%3A${encodedId}`)],
  ['an empty signature', header(`s%3A${encodedId}.`)],
  ['a plain id', header(ID)],
  ['of another name', `connect.sid=${honest}`],
  ['of a longer name', `x${header(honest)}`],
  ['of the name in another case', `__host-sid=${honest}`],
  ['in the name', `${NAME}${honest}=1`],
  ['without a name', honest],
  ['as the value of a nameless cookie', `=${header(honest)}`],
  ['with a blank of Unicode in front of the name', `\u00a0${header(honest)}`],
  ['with a blank of Unicode behind the name', `${NAME}\u2009=${honest}`],
  ['with a line end in front of the name', `\n${header(honest)}`],
  ['with a blank behind the name', `${NAME} =${honest}`],
  ['with two blanks in front of the name', `a=1;  ${header(honest)}`],
  ['with a comma for the semicolon', `a=1, ${header(honest)}`],
  ['empty', header('')],
  ['only the prefix', header('s%3A')],
  ['only a dot', header('s%3A.')],
]

const twice: readonly Mutation[] = [
  ['the same', `${header(honest)}; ${header(honest)}`],
  ['a stranger’s behind it', `${header(honest)}; ${header(signedValue(ID_2, SECRET))}`],
  ['a stranger’s in front of it', `${header(signedValue(ID_2, SECRET))}; ${header(honest)}`],
  ['an empty one in front of it', `${header('')}; ${header(honest)}`],
  ['an empty one behind it', `${header(honest)};${NAME}=`],
  ['far behind it', `${header(honest)}; ${'a=1; '.repeat(100)}${header('x')}`],
  ...['\u00a0', '\u2000', '\u3000', '\ufeff', '\v', '\f', '\n', '\r', '\t', '  '].flatMap((blank): Mutation[] => [
    [`one named with ${JSON.stringify(blank)} in front of it`, `${blank}${header(signedValue(ID_2, SECRET))}; ${header(honest)}`],
    [`one named with ${JSON.stringify(blank)} behind it`, `${header(honest)}; ${NAME}${blank}=${signedValue(ID_2, SECRET)}`],
  ]),
]

/** Signed as they should be, by somebody who has the secret: a `genid` of which the application did not think well. */
const unfit: readonly Mutation[] = [
  '__proto__',
  '__defineGetter__',
  '__defineSetter__',
  '__lookupGetter__',
  '__lookupSetter__',
  'propertyIsEnumerable',
  'constructor',
  'hasOwnProperty',
  '*',
  '*'.repeat(32),
  `${ID}*`,
  `${ID}?`,
  `sess:[a-z]${ID}`,
  `${ID}\n`,
  `\n${ID}`,
  `${ID}\r\nSET x y`,
  `${ID}\0`,
  `${ID} ${ID}`,
  `${ID};${ID}`,
  `${ID}%00`,
  `${ID}"`,
  `${ID}'`,
  `${ID}\\`,
  `${ID}|{}`,
  `${ID}$where`,
  `${ID}ü`,
  `${ID}\u{1f600}`,
  '１２３４５６７８９０１２３４５６',
  '',
  'short',
  'w'.repeat(15),
  'w'.repeat(257),
  ':'.repeat(257),
  'w'.repeat(5_000),
  'w'.repeat(1_048_576),
].flatMap((id): Mutation[] => {
  const title = `an id that is ${JSON.stringify(id.slice(0, 40))}, of ${id.length}`
  const value = signedValue(id, SECRET)
  return [[title, header(value)], [`${title}, encoded all over`, header(`s%3A${percent(id)}${value.slice(value.lastIndexOf('.'))}`)]]
})

const huge: readonly Mutation[] = [
  ['1 MB behind it', header(honest + 'A'.repeat(1_048_576))],
  ['1 MB in the id', header(`s%3A${'A'.repeat(1_048_576)}.${encodedSignature}`)],
  ['1 MB of dots', header(`s%3A${'.'.repeat(1_048_576)}`)],
  ['1 MB of percent signs', header('%'.repeat(1_048_576))],
  ['1 MB of it', `${header(honest)};`.repeat(10_000)],
  ['1 MB of semicolons and nothing', ';'.repeat(1_048_576)],
  ['1 MB of equals signs', '='.repeat(1_048_576)],
  ['1 MB of blanks', `${' '.repeat(1_048_576)}${header(honest)}`],
  ['4,097 characters', header(honest.padEnd(4_097, 'A'))],
]

const groups = { oneCharacter, spellings, around, foreign, twice, unfit, huge }
const all = Object.values(groups).flat()

describe('a cookie that is not quite that', () => {
  test('is one of more than 700 different ones, and none is the honest one', () => {
    const texts = new Set(all.map(([, cookies]) => cookies))
    expect(texts.size).toBeGreaterThan(700)
    expect(texts.has(header(honest))).toBe(false)
    expect(take(header(honest))).toBe(ID)
  })

  test.each(Object.entries(groups))('is no session: %s', (_, mutations) => {
    expect(mutations.filter(([, cookies]) => take(cookies) !== undefined).map(([title]) => title)).toEqual([])
  })

  test('is no session with several secrets either', () => {
    expect(all.filter(([, cookies]) => take(cookies, ['new', SECRET, 'old']) !== undefined).map(([title]) => title)).toEqual([])
  })

  test.each([undefined, null, '', ';', 7, [header(honest)], { toString: () => header(honest) }])('is no session where there is no text: %p', (cookies) => {
    expect(take(cookies as string)).toBeUndefined()
  })

  test('is no session where nothing signs', () => {
    expect(take(header(honest), [])).toBeUndefined()
  })

  test('is in a header that may hold 1 MB of other things', () => {
    for (const more of [';'.repeat(1_048_576), `${'a=b; '.repeat(200_000)}`, `x=${'y'.repeat(1_048_576)};`, '='.repeat(1_048_576) + ';']) expect(take(`${more}${header(honest)}`)).toBe(ID)
  })
})

describe('beside the real express-session', () => {
  /** What Node's own client can send, and a server takes: the rest cannot come this far. */
  const sendable = all.filter(([, cookies]) => /^[\t\x20-\x7e\x80-\xff]+$/.test(cookies) && cookies.length < 12_000 && cookies === cookies.trim())

  test('what it takes from any of these is taken here, or nothing is', async () => {
    const { ask } = await sessionServer({ saveUninitialized: false })
    const takenOnlyThere: string[] = []
    for (const [title, cookies] of [...sendable, ['the honest one', header(honest)] as const]) {
      const { taken } = await ask(cookies)
      const own = take(cookies)
      expect([title, own ?? taken]).toEqual([title, taken])
      if (taken !== own) takenOnlyThere.push(title)
    }
    // It is more lenient indeed: else this would compare nothing.
    expect(sendable.length).toBeGreaterThan(500)
    expect(takenOnlyThere).toEqual(expect.arrayContaining(['not encoded', 'in quotes', 'the same', 'a stranger’s in front of it']))
  })

  test('it takes the id that a header was given, whatever else stands in it', async () => {
    const { ask } = await sessionServer({ saveUninitialized: false })
    for (const [title, cookies] of sendable) expect([title, (await ask(withCookie(cookies, NAME, signedValue(ID_2, SECRET)))).taken]).toEqual([title, ID_2])
  })
})

describe('a header with another value for one cookie', () => {
  const value = signedValue(ID_2, SECRET)

  test('is the same header but for that', () => {
    expect(withCookie(`a=1; ${header(honest)}; b=2`, NAME, value)).toBe(`a=1; ${header(value)}; b=2`)
    expect(withCookie(`${header(honest)};b="2 ; c"`, NAME, value)).toBe(`${header(value)};b="2 ; c"`)
    expect(withCookie(header(honest), NAME, value)).toBe(header(value))
  })

  test('has that cookie once, also under names that pass for it', () => {
    expect(withCookie(`a=1; ${NAME}=x; b=2; ${NAME}=y; \u00a0${NAME}=z; c; ${NAME} =w`, NAME, value)).toBe(`a=1; ${header(value)}; b=2; c`)
  })

  test('has it at the end where it was not there', () => {
    expect(withCookie(undefined, NAME, value)).toBe(header(value))
    expect(withCookie('', NAME, value)).toBe(header(value))
    expect(withCookie(`a=1; x${NAME}=2`, NAME, value)).toBe(`a=1; x${NAME}=2; ${header(value)}`)
  })
})

describe('random headers', () => {
  const pieces = [NAME, honest, '=', ';', '; ', '%', '%3A', 's%3A', '.', '"', ' ', '\t', '\0', '\n', 'a', '\u00a0', '\ud800', '😀', '__proto__', header(honest), encodeURIComponent(ID)]
  const random = (below: (n: number) => number): string => {
    const length = below(24)
    let text = ''
    for (let n = 0; n < length; n++) text += below(3) === 0 ? String.fromCharCode(below(below(2) === 0 ? 256 : 65_536)) : pieces[below(pieces.length)]!
    return text
  }

  test('throw nothing, and are no session but the honest one', () => {
    const below = chance(7)
    const taken = new Set(Array.from({ length: 30_000 }, () => take(random(below))))
    expect(taken).toEqual(new Set([undefined, ID]))
  })

  test('hold the session they are given', () => {
    const below = chance(11)
    const value = signedValue(ID_2, SECRET)
    const lost = Array.from({ length: 10_000 }, () => random(below)).filter((cookies) => take(withCookie(cookies, NAME, value)) !== ID_2)
    expect(lost).toEqual([])
  })

  test('of bytes throw nothing', () => {
    const below = chance(13)
    const bytes = Array.from({ length: 5_000 }, () => Buffer.from(Array.from({ length: below(200) }, () => below(256))))
    const texts = bytes.flatMap((each) => [each.toString('latin1'), each.toString('utf8')])
    expect(texts.filter((text) => take(text) !== undefined || take(header(text)) !== undefined)).toEqual([])
  })
})

describe('the secret', () => {
  test('is text, bytes or a key, or a list of them', () => {
    const key = createSecretKey(Buffer.from('key'))
    const bytes = Buffer.from('bytes')
    expect(secretsOf('text', 'sessions')).toEqual(['text'])
    expect(secretsOf(bytes, 'sessions')).toEqual([bytes])
    expect(secretsOf(key, 'sessions')).toEqual([key])
    expect(secretsOf(['new', bytes, key], 'sessions')).toEqual(['new', bytes, key])
  })

  test('is one that nobody else can sign with', () => {
    const { privateKey } = generateKeyPairSync('ed25519')
    for (const [secret, words] of [
      ['', /^sessions: secret is empty, so anybody could sign/],
      [['new', ''], /secret is empty/],
      [Buffer.alloc(0), /secret is empty/],
      [createSecretKey(Buffer.alloc(0)), /secret is empty/],
      [[], /secret is an empty list/],
      [undefined, /text, bytes or a secret KeyObject.*got undefined/],
      [null, /got null/],
      [7, /got number/],
      [{}, /got object/],
      [[['nested']], /got object/],
      [privateKey, /secret is a private key/],
    ] as const) {
      expect(() => secretsOf(secret, 'sessions')).toThrow(ConfigError)
      expect(() => secretsOf(secret, 'sessions')).toThrow(words)
    }
  })
})
