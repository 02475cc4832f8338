import { generateKeyPairSync, sign } from 'node:crypto'
import { base64url, issuers, pairs, pemOf, signer, token } from './tokens.ts'
import type { Part, Signer } from './tokens.ts'

// An issuer, an honest token of it, and several hundred others: each differs in something that matters. None may get in anywhere.

export const NOW = Date.UTC(2025, 0, 1)
export const seconds = NOW / 1_000
export const secret = 'a shared secret of more than thirty-two bytes'
export const issuer = 'https://id.example'
export const audience = 'chat'
export const claims = { iss: issuer, aud: audience, sub: 'alice', exp: seconds + 3_600 }

export const hs = signer('HS256', secret)
export const honest = token({ alg: 'HS256', typ: 'JWT' }, claims, hs)

/** A token in which only what is named is out of order: it is signed as it should be. */
export const hsWith = (changed: object, header: object = {}): string => token({ alg: 'HS256', ...header }, { ...claims, ...changed }, hs)
export const hsText = (payload: Part, header: Part = { alg: 'HS256' }): string => token(header, payload, hs)
export const hsHeader = (header: Part, signed: Signer = hs): string => token(header, claims, signed)
export const without = (name: string): object => ({ [name]: undefined })
/** The claims as text, with more of it behind the first brace. */
const textWith = (more: string): string => JSON.stringify(claims).replace('{', `{${more},`)

/** What may be done to a token. */
export type Mutation = readonly [title: string, text: string]
const [head, body, sig] = honest.split('.') as [string, string, string]
const sameBytes = (part: string): string => {
  // The last character of these parts carries bits that no byte uses.
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  const bytes = Buffer.from(part, 'base64url')
  const other = [...alphabet].map((last) => part.slice(0, -1) + last).find((text) => text !== part && Buffer.from(text, 'base64url').equals(bytes))
  if (other === undefined) throw new Error('no second spelling')
  return other
}
export const parts = (text: string) => text.split('.') as [string, string, string]
/** An honest token one of whose parts has a character in which base64url differs from base64. */
const special = (at: 1 | 2): string => {
  for (let n = 0; ; n++) {
    const text = hsWith({ n: `${n}\u00ff\u00fe~~??>>` })
    if (/[-_]/.test(parts(text)[at])) return text
  }
}
const replaced = (text: string, at: number, change: (part: string) => string): string => text.split('.').map((part, index) => (index === at ? change(part) : part)).join('.')
const base64 = (part: string): string => part.replaceAll('-', '+').replaceAll('_', '/')
export const attacker = generateKeyPairSync('rsa', { modulusLength: 2_048 })
export const attackerJwk = attacker.publicKey.export({ format: 'jwk' })
export const ownHs = signer('HS256', 'the attacker brings a secret of the right length')
const spare = token({ alg: 'HS256' }, { ...claims, sub: 'bob', exp: seconds + 60 }, hs)

const none: readonly Mutation[] = [
  ...['none', 'None', 'NONE', 'nOnE', 'none ', ' none'].map((alg): Mutation => [`algorithm ${JSON.stringify(alg)} and no signature`, `${base64url({ alg })}.${body}.`]),
  ['algorithm none, without the last dot', `${base64url({ alg: 'none' })}.${body}`],
  ['algorithm none, with the honest signature', hsHeader({ alg: 'none' })],
  ['algorithm none, with some signature', `${base64url({ alg: 'none' })}.${body}.AA`],
]

const algorithms: readonly Mutation[] = [
  ['HS384, well signed', token({ alg: 'HS384' }, claims, signer('HS384', secret))],
  ['HS512, well signed', token({ alg: 'HS512' }, claims, signer('HS512', secret))],
  ['HS512 cut to the length of HS256', token({ alg: 'HS256' }, claims, (input) => signer('HS512', secret)(input).subarray(0, 32))],
  ['HS1', token({ alg: 'HS1' }, claims, hs)],
  ['RS256 by another key', token({ alg: 'RS256' }, claims, signer('RS256', attacker.privateKey))],
  ['ES256 by another key', token({ alg: 'ES256' }, claims, signer('ES256', pairs.ec256.privateKey))],
  ['EdDSA by another key', token({ alg: 'EdDSA' }, claims, signer('EdDSA', pairs.ed25519.privateKey))],
  ['A128KW', hsHeader({ alg: 'A128KW' })],
  ['dir', hsHeader({ alg: 'dir', enc: 'A256GCM' })],
  ...['hs256', 'Hs256', 'HS256 ', ' HS256', 'HS256\u0000', 'ＨＳ256', 'HS-256', 'HMAC', ''].map((alg): Mutation => [`algorithm ${JSON.stringify(alg)}`, hsHeader({ alg })]),
  ...[null, 256, true, ['HS256'], { HS256: 1 }, {}].map((alg): Mutation => [`algorithm ${JSON.stringify(alg)}`, hsHeader({ alg })]),
  ['no algorithm', hsHeader({ typ: 'JWT' })],
  ['an algorithm that is inherited', hsHeader('{"__proto__":{"alg":"HS256"}}')],
]

const headers: readonly Mutation[] = [
  ['its own key as jwk', token({ alg: 'RS256', jwk: attackerJwk }, claims, signer('RS256', attacker.privateKey))],
  ['its own secret as jwk', hsHeader({ alg: 'HS256', jwk: { kty: 'oct', k: base64url('the attacker brings a secret of the right length') } }, ownHs)],
  ['the address of its own key', token({ alg: 'RS256', jku: 'https://evil.example/keys', kid: 'k1' }, claims, signer('RS256', attacker.privateKey))],
  ['the address of its own certificate', token({ alg: 'RS256', x5u: 'https://evil.example/cert.pem' }, claims, signer('RS256', attacker.privateKey))],
  ['its own certificate', token({ alg: 'RS256', x5c: [attacker.publicKey.export({ format: 'der', type: 'spki' }).toString('base64')] }, claims, signer('RS256', attacker.privateKey))],
  ['the thumbprint of its own certificate', token({ alg: 'RS256', 'x5t#S256': base64url('x'.repeat(32)) }, claims, signer('RS256', attacker.privateKey))],
  ...['/dev/null', '../../../../dev/null', "' UNION SELECT '", '__proto__', 'constructor', '| sleep 10'].map((kid): Mutation => [`kid ${kid} and an empty secret`, hsHeader({ alg: 'HS256', kid }, signer('HS256', ''))]),
  ['kid as an object', hsHeader({ alg: 'HS256', kid: { $ne: null } }, ownHs)],
  ['a critical extension that is unknown', hsHeader({ alg: 'HS256', crit: ['tenant'], tenant: 'blue' })],
  ['a critical claim', hsHeader({ alg: 'HS256', crit: ['exp'], exp: claims.exp })],
  ['a critical parameter that is missing', hsHeader({ alg: 'HS256', crit: ['tenant'] })],
  ['an unencoded payload', hsHeader({ alg: 'HS256', b64: false, crit: ['b64'] })],
  ['critical b64 that changes nothing', hsHeader({ alg: 'HS256', b64: true, crit: ['b64'] })],
  ...[[], null, 'exp', {}, 0, [1], [''], ['alg'], ['crit']].map((crit): Mutation => [`crit ${JSON.stringify(crit)}`, hsHeader({ alg: 'HS256', crit })]),
  ['an algorithm given twice', hsText(claims, '{"alg":"none","alg":"HS256"}')],
  ['an algorithm given twice, once in escapes', hsText(claims, '{"\\u0061lg":"none","alg":"HS256"}')],
  ['a list as header', hsText(claims, '[{"alg":"HS256"}]')],
  ['text as header', hsText(claims, '"HS256"')],
  ['null as header', hsText(claims, 'null')],
  ['an empty object as header', hsText(claims, '{}')],
  ['a header in single quotes', hsText(claims, "{'alg':'HS256'}")],
  ['a header with a comment', hsText(claims, '{"alg":"HS256"/**/}')],
  ['a header with something behind it', hsText(claims, '{"alg":"HS256"}{}')],
  ['a header with a zero byte behind it', hsText(claims, '{"alg":"HS256"}\u0000')],
  ['a header behind a byte order mark', hsText(claims, '\ufeff{"alg":"HS256"}')],
  ['a header that is not UTF-8', hsText(claims, Buffer.from('{"alg":"HS256","x":"\xff"}', 'latin1'))],
  ['a header in UTF-16', hsText(claims, Buffer.from('{"alg":"HS256"}', 'utf16le'))],
  ['a deep header', hsText(claims, `{"alg":"HS256","x":${'['.repeat(100)}${']'.repeat(100)}}`)],
  ['a header with a prototype', hsText(claims, '{"alg":"HS256","__proto__":{"x":1}}')],
  ['claims in the header alone', token({ alg: 'HS256', ...claims }, {}, hs)],
]

const encodings: readonly Mutation[] = [
  ...[0, 1, 2].flatMap((at): Mutation[] => [
    [`padding behind part ${at + 1}`, replaced(honest, at, (part) => `${part}=`)],
    [`full padding behind part ${at + 1}`, replaced(honest, at, (part) => part.padEnd(Math.ceil(part.length / 4) * 4 + (part.length % 4 === 0 ? 4 : 0), '='))],
    [`a space in part ${at + 1}`, replaced(honest, at, (part) => `${part.slice(0, 4)} ${part.slice(4)}`)],
    [`a line break in part ${at + 1}`, replaced(honest, at, (part) => `${part.slice(0, 4)}\n${part.slice(4)}`)],
    [`a foreign character in part ${at + 1}`, replaced(honest, at, (part) => `${part.slice(0, 4)}!${part.slice(4)}`)],
    [`an empty part ${at + 1}`, replaced(honest, at, () => '')],
    [`a part ${at + 1} with one character more`, replaced(honest, at, (part) => `${part}A`)],
    [`a part ${at + 1} with one character less`, replaced(honest, at, (part) => part.slice(0, -1))],
  ]),
  ['a payload in base64', replaced(special(1), 1, base64)],
  ['a signature in base64', replaced(special(2), 2, base64)],
  ['another spelling of the signature', `${head}.${body}.${sameBytes(sig)}`],
  ['a well signed second spelling of the payload', spelled(1)],
  ['a well signed second spelling of the header', spelled(0)],
  ...[' ', '\t', '\n', '\r\n', '\u00a0', '\u200b', '\ufeff', '\u0000', '=', '"', ',', ';', '.', '%00', '#', '?', '&x=1'].map((end): Mutation => [`${JSON.stringify(end)} behind it`, honest + end]),
  ...[' ', '\n', '\u00a0', '\u200b', '\ufeff', '\u0000', '.', '"', 'Bearer ', 'bearer:', 'JWT ', 'token='].map((start): Mutation => [`${JSON.stringify(start)} in front of it`, start + honest]),
  ['quotes around it', JSON.stringify(honest)],
  ['two of them, with a comma', `${honest},${honest}`],
  ['two of them, with a space', `${honest} ${honest}`],
  ['four parts', `${honest}.${sig}`],
  ['an encrypted token’s five parts', `${base64url({ alg: 'dir', enc: 'A256GCM' })}..${'A'.repeat(16)}.${body}.${'A'.repeat(22)}`],
  ['an honest token’s parts among five', `${honest}.${body}.${sig}`],
  ['two parts', `${head}.${body}`],
  ['one part', head],
  ['two dots in a row', `${head}..${body}.${sig}`],
  ['nothing but dots', '..'],
  ['nothing', ''],
  ['a space', ' '],
  ...['．', '․', '。', '%2E', '-'].map((dot): Mutation => [`${dot} for a dot`, honest.replaceAll('.', dot)]),
  ['upper case', honest.toUpperCase()],
  ['lower case', honest.toLowerCase()],
  ['reversed', [...honest].reverse().join('')],
  ['encoded once more', base64url(honest)],
  ['escaped for a URL', encodeURIComponent(honest).replaceAll('.', '%2E')],
  ['in wide letters', honest.replace('e', 'ｅ')],
  ['parts in another order', `${body}.${head}.${sig}`],
  ['JSON serialisation, flattened', JSON.stringify({ protected: head, payload: body, signature: sig })],
  ['JSON serialisation, general', JSON.stringify({ payload: body, signatures: [{ protected: head, signature: sig }] })],
  ['an unprotected algorithm in JSON serialisation', JSON.stringify({ header: { alg: 'HS256' }, payload: body, signature: sig })],
  ['more than 8,192 characters', hsWith({ padding: 'x'.repeat(8_192) })],
  ['all that `auth` may hold', `${head}.${'A'.repeat(16_000)}.${sig}`],
  ['[object Object]', '[object Object]'],
  ['undefined', 'undefined'],
  ['null', 'null'],
]

function spelled(at: 0 | 1): string {
  // Filled up until its last character has bits to spare.
  for (let fill = 'x'; ; fill += 'x') {
    const input = [base64url({ alg: 'HS256', ...(at === 0 ? { fill } : {}) }), base64url({ ...claims, ...(at === 1 ? { fill } : {}) })]
    if (input[at]!.length % 4 === 0) continue
    input[at] = sameBytes(input[at]!)
    return `${input.join('.')}.${hs(input.join('.')).toString('base64url')}`
  }
}

const signatures: readonly Mutation[] = [
  ['of another secret', hsHeader({ alg: 'HS256' }, ownHs)],
  ['of an empty secret', hsHeader({ alg: 'HS256' }, signer('HS256', ''))],
  ['of the secret and a line break', hsHeader({ alg: 'HS256' }, signer('HS256', `${secret}\n`))],
  ['of the secret in upper case', hsHeader({ alg: 'HS256' }, signer('HS256', secret.toUpperCase()))],
  ['of the secret in base64', hsHeader({ alg: 'HS256' }, signer('HS256', Buffer.from(secret, 'base64')))],
  ['of another token', `${head}.${body}.${parts(spare)[2]}`],
  ['under other claims', `${head}.${parts(spare)[1]}.${sig}`],
  ['under another header', `${base64url({ typ: 'JWT', alg: 'HS256' })}.${body}.${sig}`],
  ['of the payload alone', token({ alg: 'HS256' }, claims, (input) => hs(parts(input)[1]))],
  ['of the header alone', token({ alg: 'HS256' }, claims, (input) => hs(parts(input)[0]))],
  ['of what the parts stand for', token({ alg: 'HS256' }, claims, (input) => hs(input.split('.').map((part) => Buffer.from(part, 'base64url').toString()).join('.')))],
  ['in hexadecimal', token({ alg: 'HS256' }, claims, (input) => Buffer.from(hs(input).toString('hex')))],
  ['cut by a byte', token({ alg: 'HS256' }, claims, (input) => hs(input).subarray(0, 31))],
  ['cut to half', token({ alg: 'HS256' }, claims, (input) => hs(input).subarray(0, 16))],
  ['cut to one byte', token({ alg: 'HS256' }, claims, (input) => hs(input).subarray(0, 1))],
  ['with a byte more', token({ alg: 'HS256' }, claims, (input) => Buffer.concat([hs(input), Buffer.alloc(1)]))],
  ['twice over', token({ alg: 'HS256' }, claims, (input) => Buffer.concat([hs(input), hs(input)]))],
  ['of zeros', token({ alg: 'HS256' }, claims, () => Buffer.alloc(32))],
  ['with its first bit flipped', token({ alg: 'HS256' }, claims, flipped(0))],
  ['with its last bit flipped', token({ alg: 'HS256' }, claims, flipped(31))],
]

function flipped(at: number): Signer {
  return (input) => {
    const bytes = hs(input)
    bytes[at]! ^= 1
    return bytes
  }
}

const HUGE = '1e400'
const raw = (name: keyof typeof claims | 'nbf' | 'iat', text: string): string => hsText(`{${Object.entries({ ...claims, [name]: '@' }).map(([key, value]) => `${JSON.stringify(key)}:${value === '@' ? text : JSON.stringify(value)}`).join(',')}}`)

const times: readonly Mutation[] = [
  ['no exp', hsWith(without('exp'))],
  ...[null, '', String(claims.exp), new Date(claims.exp * 1_000).toISOString(), 'never', true, [claims.exp], {}, { $date: 1 }, -1, -claims.exp, 0, 1, seconds - 1, seconds, claims.exp * 1_000, 253_402_300_800, 1e300].map((exp): Mutation => [`exp ${JSON.stringify(exp)}`, hsWith({ exp })]),
  ...[HUGE, `-${HUGE}`, 'NaN', 'Infinity', '0x7fffffff', '01', '+1'].map((text): Mutation => [`exp ${text}`, raw('exp', text)]),
  ...[seconds + 1, seconds + 0.001, seconds * 1_000, null, '', String(seconds), true, [seconds], {}, -1].map((nbf): Mutation => [`nbf ${JSON.stringify(nbf)}`, hsWith({ nbf })]),
  [`nbf ${HUGE}`, raw('nbf', HUGE)],
  [`nbf -${HUGE}`, raw('nbf', `-${HUGE}`)],
  ...[null, '', 'today', String(seconds), true, [seconds], {}, -1].map((iat): Mutation => [`iat ${JSON.stringify(iat)}`, hsWith({ iat })]),
  [`iat ${HUGE}`, raw('iat', HUGE)],
]

const identities: readonly Mutation[] = [
  ['no iss', hsWith(without('iss'))],
  ...[null, '', 7, true, [issuer], { 0: issuer }, 'https://evil.example', `${issuer}/`, `${issuer} `, ` ${issuer}`, issuer.toUpperCase(), 'http://id.example', 'https://id.example.evil.example', 'https://evil.example#https://id.example', 'id.example', 'https://id.еxample', `${issuer}\u0000`, `${issuer},${issuer}`].map((iss): Mutation => [`iss ${JSON.stringify(iss)}`, hsWith({ iss })]),
  ['no aud', hsWith(without('aud'))],
  ...[null, '', 7, true, [], [''], ['billing'], [7, audience], [audience, null], [[audience]], { 0: audience, length: 1 }, { [audience]: true }, 'Chat', 'chat ', ' chat', 'chats', 'cha', 'chat,billing', 'chat billing', 'сhat', '*'].map((aud): Mutation => [`aud ${JSON.stringify(aud)}`, hsWith({ aud })]),
  ['no sub', hsWith(without('sub'))],
  ...[null, '', ' ', '\t', 7, 0, true, ['alice'], { toString: 'alice' }, {}, 'x'.repeat(256), 'alice\n', 'alice\u0000', '\u001b[2Jalice', 'alice\u0085'].map((sub): Mutation => [`sub ${JSON.stringify(sub).slice(0, 30)}`, hsWith({ sub })]),
  ['a sub that is half a character', hsText(textWith('"x":1').replace('"alice"', '"\\ud800"'))],
  ['a sub that is inherited', hsText(JSON.stringify({ ...claims, sub: undefined }).replace('{', '{"__proto__":{"sub":"alice"},'))],
  ...[null, '', 7, ['t-1'], {}, 'x'.repeat(256), 't\n1'].map((jti): Mutation => [`jti ${JSON.stringify(jti).slice(0, 30)}`, hsWith({ jti })]),
  ...[null, 'otp', [7], [''], [['otp']], {}, Array<string>(33).fill('otp')].map((amr): Mutation => [`amr ${JSON.stringify(amr).slice(0, 30)}`, hsWith({ amr })]),
]

const payloads: readonly Mutation[] = [
  ...['sub', 'iss', 'aud', 'exp', 'role'].map((name): Mutation => [`${name} given twice`, hsText(`${JSON.stringify({ ...claims, role: 'viewer' }).slice(0, -1)},${JSON.stringify(name)}:${JSON.stringify({ ...claims, role: 'admin' }[name as 'sub'])}}`)]),
  ['sub given twice, once in escapes', hsText(textWith('"s\\u0075b":"bob"'))],
  ['a name given twice further down', hsText(textWith('"realm":{"roles":["viewer"],"roles":["admin"]}'))],
  ['a name given twice in a list', hsText(textWith('"x":[{"a":1,"a":2}]'))],
  ['a name given twice, with spaces before the colon', hsText(textWith('"sub" \n :"bob"'))],
  ['an empty object', hsText('{}')],
  ['a list', hsText([claims])],
  ['text', hsText(JSON.stringify(JSON.stringify(claims)))],
  ['a number', hsText('7')],
  ['null', hsText('null')],
  ['true', hsText('true')],
  ['another token', hsText(spare)],
  ['another token, announced', token({ alg: 'HS256', cty: 'JWT' }, honest, hs)],
  ['JSON with a comma too many', hsText(JSON.stringify(claims).replace(/}$/, ',}'))],
  ['JSON with something behind it', hsText(`${JSON.stringify(claims)}x`)],
  ['JSON with a zero byte behind it', hsText(`${JSON.stringify(claims)}\u0000`)],
  ['JSON behind a byte order mark', hsText(`\ufeff${JSON.stringify(claims)}`)],
  ['JSON that is not UTF-8', hsText(Buffer.from(JSON.stringify({ ...claims, x: '\xff' }), 'latin1'))],
  ['JSON with an overlong sequence', hsText(Buffer.from(JSON.stringify({ ...claims, x: '\xc0\xaf' }), 'latin1'))],
  ['JSON in UTF-16', hsText(Buffer.from(JSON.stringify(claims), 'utf16le'))],
  ['a prototype', hsText(textWith('"__proto__":{"admin":true}'))],
  ['a prototype further down', hsText(textWith('"x":{"__proto__":{"admin":true}}'))],
  ['a constructor that is an object', hsText(textWith('"constructor":{"prototype":{"admin":true}}'))],
  ['forty levels', hsText(textWith(`"x":${'{"x":'.repeat(40)}1${'}'.repeat(40)}`))],
  ['two thousand levels', hsText(textWith(`"x":${'['.repeat(2_000)}${']'.repeat(2_000)}`))],
]

/** Changed tokens of the issuer with a secret. */
export const groups: readonly [string, readonly Mutation[]][] = [
  ['the algorithm none', none],
  ['another algorithm', algorithms],
  ['a header with', headers],
  ['another encoding', encodings],
  ['a signature', signatures],
  ['a time', times],
  ['an identity', identities],
  ['a payload of', payloads],
]

/** Issuers with a public key, and an honest token of each. */
export type Kind = 'rsa' | 'ec' | 'okp'
const claimsOf = (kind: Kind) => ({ ...claims, iss: `https://${kind}.example` })
const signed = (alg: string): Signer => issuers.find((each) => each.alg === alg)!.signed
const rs = token({ alg: 'RS256' }, claimsOf('rsa'), signed('RS256'))
const es = token({ alg: 'ES256' }, claimsOf('ec'), signed('ES256'))
const ed = token({ alg: 'EdDSA' }, claimsOf('okp'), signed('EdDSA'))
export const keyed = {
  rsa: { issuer: claimsOf('rsa').iss, publicKey: pairs.rsa.publicKey, honest: rs },
  ec: { issuer: claimsOf('ec').iss, publicKey: pairs.ec256.publicKey, honest: es },
  okp: { issuer: claimsOf('okp').iss, publicKey: pairs.ed25519.publicKey, honest: ed },
} as const

const rsaPem = pemOf(pairs.rsa.publicKey)
const ecPem = pemOf(pairs.ec256.publicKey)
const asSecret = (kind: Kind, key: string | Uint8Array): string => token({ alg: 'HS256' }, claimsOf(kind), signer('HS256', key))
const by = (kind: Kind, alg: string, with_: Signer = signed(alg), header: object = {}): string => token({ alg, ...header }, claimsOf(kind), with_)
const cut = (made: Signer, length: number): Signer => (input) => made(input).subarray(0, length)
const longer = (made: Signer): Signer => (input) => Buffer.concat([made(input), Buffer.alloc(1)])
const fixed = (...bytes: readonly Uint8Array[]): Signer => () => Buffer.concat(bytes)
/** Of P-256: what r and s of a signature must be less than. */
const ORDER = Buffer.from('FFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551', 'hex')
const one = Buffer.concat([Buffer.alloc(31), Buffer.from([1])])
const jwkText = (kind: Kind): string => JSON.stringify(keyed[kind].publicKey.export({ format: 'jwk' }))

/** Changed tokens of the issuers with a public key. */
export const keyedMutations: readonly (readonly [kind: Kind, title: string, text: string])[] = [
  ['rsa', 'HS256 with the PEM as secret', asSecret('rsa', rsaPem)],
  ['rsa', 'HS256 with the PEM without its last line break', asSecret('rsa', rsaPem.trim())],
  ['rsa', 'HS256 with the PEM in Windows line breaks', asSecret('rsa', rsaPem.replaceAll('\n', '\r\n'))],
  ['rsa', 'HS256 with the PEM in one line', asSecret('rsa', rsaPem.replaceAll('\n', ''))],
  ['rsa', 'HS256 with the PKCS #1 PEM', asSecret('rsa', pairs.rsa.publicKey.export({ format: 'pem', type: 'pkcs1' }).toString())],
  ['rsa', 'HS256 with the DER', asSecret('rsa', pairs.rsa.publicKey.export({ format: 'der', type: 'spki' }))],
  ['rsa', 'HS256 with the JWK', asSecret('rsa', jwkText('rsa'))],
  ['rsa', 'HS256 with the modulus', asSecret('rsa', Buffer.from(pairs.rsa.publicKey.export({ format: 'jwk' }).n!, 'base64url'))],
  ['rsa', 'HS256 with nothing', asSecret('rsa', '')],
  ['rsa', 'none', `${base64url({ alg: 'none' })}.${parts(rs)[1]}.`],
  ...['RS384', 'RS512', 'PS256', 'PS384', 'PS512'].flatMap((alg): (readonly [Kind, string, string])[] => [
    ['rsa', `${alg} by the right key`, by('rsa', alg)],
    ['rsa', `RS256 that is ${alg}`, by('rsa', 'RS256', signed(alg))],
  ]),
  ['rsa', 'RS256 by another key', by('rsa', 'RS256', signer('RS256', attacker.privateKey))],
  ['rsa', 'RS256 by another key of the same kid, given along', by('rsa', 'RS256', signer('RS256', attacker.privateKey), { kid: 'k1', jwk: attackerJwk })],
  ['rsa', 'RS256 by another key, and where to find it', by('rsa', 'RS256', signer('RS256', attacker.privateKey), { jku: 'https://evil.example/keys', x5u: 'https://evil.example/cert.pem' })],
  ['rsa', 'RS256 that is the number one', by('rsa', 'RS256', fixed(Buffer.alloc(255), Buffer.from([1])))],
  ['rsa', 'RS256 that is zero', by('rsa', 'RS256', fixed(Buffer.alloc(256)))],
  ['rsa', 'RS256 of a single byte', by('rsa', 'RS256', fixed(Buffer.from([1])))],
  ['rsa', 'RS256 with a byte before', by('rsa', 'RS256', (input) => Buffer.concat([Buffer.alloc(1), signed('RS256')(input)]))],
  ['rsa', 'RS256 with a byte more', by('rsa', 'RS256', longer(signed('RS256')))],
  ['rsa', 'RS256 with a byte less', by('rsa', 'RS256', cut(signed('RS256'), 255))],
  ['rsa', 'RS256 twice over', by('rsa', 'RS256', (input) => Buffer.concat([signed('RS256')(input), signed('RS256')(input)]))],
  ['rsa', 'RS256 with a critical extension', by('rsa', 'RS256', signed('RS256'), { crit: ['b64'], b64: false })],
  ['rsa', 'RS256 with another subject', `${parts(rs)[0]}.${base64url({ ...claimsOf('rsa'), sub: 'bob' })}.${parts(rs)[2]}`],
  ['rsa', 'a second spelling of its signature', `${parts(rs).slice(0, 2).join('.')}.${sameBytes(parts(rs)[2])}`],
  ['ec', 'HS256 with the PEM as secret', asSecret('ec', ecPem)],
  ['ec', 'HS256 with the DER', asSecret('ec', pairs.ec256.publicKey.export({ format: 'der', type: 'spki' }))],
  ['ec', 'HS256 with the JWK', asSecret('ec', jwkText('ec'))],
  ['ec', 'none', `${base64url({ alg: 'none' })}.${parts(es)[1]}.`],
  ['ec', 'ES256 in DER', by('ec', 'ES256', (input) => sign('sha256', Buffer.from(input), pairs.ec256.privateKey))],
  ['ec', 'ES256 of zeros', by('ec', 'ES256', fixed(Buffer.alloc(64)))],
  ['ec', 'ES256 of ones', by('ec', 'ES256', fixed(one, one))],
  ['ec', 'ES256 of the order of the curve', by('ec', 'ES256', fixed(ORDER, ORDER))],
  ['ec', 'ES256 whose r is zero', by('ec', 'ES256', (input) => Buffer.concat([Buffer.alloc(32), signed('ES256')(input).subarray(32)]))],
  ['ec', 'ES256 cut by a byte', by('ec', 'ES256', cut(signed('ES256'), 63))],
  ['ec', 'ES256 with a byte more', by('ec', 'ES256', longer(signed('ES256')))],
  ['ec', 'ES256 by another key', by('ec', 'ES256', signer('ES256', generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey))],
  ['ec', 'ES256 on another curve', by('ec', 'ES256', signer('ES256', generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).privateKey))],
  ['ec', 'ES256 with another hash', by('ec', 'ES256', signer('ES384', pairs.ec256.privateKey))],
  ['ec', 'ES256K by the right key', by('ec', 'ES256K', signed('ES256'))],
  ['ec', 'ES384 by the right key', by('ec', 'ES384', signer('ES384', pairs.ec256.privateKey))],
  ['ec', 'ES384 by its own key', by('ec', 'ES384')],
  ['ec', 'ES512 by its own key', by('ec', 'ES512')],
  ['okp', 'HS256 with the PEM as secret', asSecret('okp', pemOf(pairs.ed25519.publicKey))],
  ['okp', 'HS256 with the raw key', asSecret('okp', Buffer.from(pairs.ed25519.publicKey.export({ format: 'jwk' }).x!, 'base64url'))],
  ['okp', 'none', `${base64url({ alg: 'none' })}.${base64url(claimsOf('okp'))}.`],
  ['okp', 'EdDSA of zeros', by('okp', 'EdDSA', fixed(Buffer.alloc(64)))],
  ['okp', 'EdDSA with a byte more', by('okp', 'EdDSA', longer(signed('EdDSA')))],
  ['okp', 'EdDSA by another key', by('okp', 'EdDSA', signer('EdDSA', generateKeyPairSync('ed25519').privateKey))],
  ['okp', 'EdDSA on another curve', by('okp', 'EdDSA', signer('EdDSA', generateKeyPairSync('ed448').privateKey))],
  ['okp', 'EdDSA by an algorithm of the same signature', by('okp', 'Ed25519', signed('EdDSA'))],
  // Of one issuer by its word, and of another one by its signature.
  ['rsa', 'RS256 signed as ES256 by another issuer', by('rsa', 'RS256', signed('ES256'))],
  ['rsa', 'ES256 by another issuer', by('rsa', 'ES256')],
  ['rsa', 'EdDSA by another issuer', by('rsa', 'EdDSA')],
  ['rsa', 'HS256 by another issuer', by('rsa', 'HS256', hs)],
  ['ec', 'RS256 by another issuer', by('ec', 'RS256')],
  ['ec', 'EdDSA by another issuer', by('ec', 'EdDSA')],
  ['ec', 'HS256 by another issuer', by('ec', 'HS256', hs)],
  ['okp', 'RS256 by another issuer', by('okp', 'RS256')],
  ['okp', 'ES256 by another issuer', by('okp', 'ES256')],
  ['okp', 'HS256 by another issuer', by('okp', 'HS256', hs)],
]

/** All of them: what no gate lets in that trusts the four issuers. */
export const mutations: readonly Mutation[] = [...groups.flatMap(([group, those]) => those.map(([title, text]): Mutation => [`${group}: ${title}`, text])), ...keyedMutations.map(([kind, title, text]): Mutation => [`${kind}: ${title}`, text])]
