import { describe, expect, test } from '@jest/globals'
import { createCipheriv, createHash, hkdfSync, randomBytes } from 'node:crypto'
import { sealer } from '../../../adapters/express-session/seal.ts'
import { ConfigError } from '../../../lib/errors.ts'

const SID = 'Vq9x2mE0t3cYb7LrKp5sNwAoD1hGfJzU'
const own = sealer(['correct horse battery staple'])

describe('what is sealed', () => {
  test.each([[SID], [''], ['ü😀'], ['a\0b\n'], ['__proto__'], ['x'.repeat(100_000)]])('comes back as it was: %#', (text) => {
    expect(own.open(own.seal(text))).toBe(text)
  })

  test('shows nothing of the text', () => {
    for (let i = 0; i < 50; i++) {
      const sealed = own.seal(SID)
      expect(sealed).toMatch(/^1\.[\w-]+$/)
      const bytes = Buffer.from(sealed.slice(2), 'base64url')
      for (const encoding of ['utf8', 'latin1', 'base64url', 'hex'] as const) {
        expect(sealed).not.toContain(Buffer.from(SID).toString(encoding).slice(0, 8))
        expect(bytes.toString('latin1')).not.toContain(Buffer.from(SID).toString(encoding).slice(0, 8))
      }
    }
  })

  test('is sealed differently each time: nobody can tell that two are the same', () => {
    const seals = Array.from({ length: 1_000 }, () => own.seal(SID))
    const nonces = seals.map((sealed) => Buffer.from(sealed.slice(2), 'base64url').subarray(0, 12).toString('hex'))
    expect(new Set(nonces).size).toBe(1_000)
    const bodies = seals.map((sealed) => Buffer.from(sealed.slice(2), 'base64url').subarray(12, 28).toString('hex'))
    expect(new Set(bodies).size).toBe(1_000)
  })

  test('is as long as the text says, and no longer', () => {
    expect(own.seal(SID)).toHaveLength(2 + Math.ceil(((12 + SID.length + 16) * 4) / 3))
  })
})

describe('what does not open', () => {
  test('is each seal that was altered in any one character', () => {
    const sealed = own.seal(SID)
    const alphabet = 'AQgwZ_-09~ ='
    for (let at = 0; at < sealed.length; at++) {
      for (const other of alphabet) {
        if (sealed[at] === other) continue
        expect([at, other, own.open(sealed.slice(0, at) + other + sealed.slice(at + 1))]).toEqual([at, other, undefined])
      }
    }
  })

  test('is each seal that was cut, from either end, or made longer', () => {
    const sealed = own.seal(SID)
    for (let length = 0; length < sealed.length; length++) {
      expect(own.open(sealed.slice(0, length))).toBeUndefined()
      expect(own.open(sealed.slice(sealed.length - length))).toBeUndefined()
      if (length < sealed.length - 2) expect(own.open(`1.${sealed.slice(sealed.length - length)}`)).toBeUndefined()
    }
    for (const more of ['A', 'AA', 'AAAA', '=', ' ', '\n', '.']) {
      expect(own.open(sealed + more)).toBeUndefined()
      expect(own.open(more + sealed)).toBeUndefined()
    }
  })

  test('is another spelling of the same bytes', () => {
    const sealed = Array.from({ length: 200 }, () => own.seal('ab')).find((each) => /[-_]/.test(each))!
    expect(own.open(sealed)).toBe('ab')
    expect(own.open(sealed.replaceAll('-', '+').replaceAll('_', '/'))).toBeUndefined()
    for (const padding of ['=', '==']) expect(own.open(sealed + padding)).toBeUndefined()
    // Its last character carries bits that no byte has.
    const loose = own.seal('a')
    const last = loose.at(-1)!
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
    const next = alphabet[alphabet.indexOf(last) + 1]!
    expect(Buffer.from(loose.slice(2, -1) + next, 'base64url')).toEqual(Buffer.from(loose.slice(2), 'base64url'))
    expect(own.open(loose.slice(0, -1) + next)).toBeUndefined()
  })

  test('is what is spliced from two seals', () => {
    const [a, b] = [own.seal(SID), own.seal(SID)].map((sealed) => Buffer.from(sealed.slice(2), 'base64url')) as [Buffer, Buffer]
    for (const cut of [12, 20, a.length - 16]) {
      const spliced = Buffer.concat([a.subarray(0, cut), b.subarray(cut)])
      expect(own.open(`1.${spliced.toString('base64url')}`)).toBeUndefined()
    }
  })

  test('is what another secret has sealed, or a longer one that begins with it', () => {
    for (const secret of ['another', 'correct horse battery staple!', 'correct horse battery stapl']) {
      expect(sealer([secret]).open(own.seal(SID))).toBeUndefined()
    }
  })

  test('is another version, and what was sealed with the secret itself or for another use of it', () => {
    const sealed = own.seal(SID)
    for (const version of ['', '0.', '2.', '1', '11.', 'v1.', '1..']) expect(own.open(version + sealed.slice(2))).toBeUndefined()
    const secret = 'correct horse battery staple'
    const keys = [createHash('sha256').update(secret).digest(), ...['', 'another use'].map((info) => Buffer.from(hkdfSync('sha256', secret, '', info, 32)))]
    for (const key of keys) {
      const nonce = randomBytes(12)
      const cipher = createCipheriv('aes-256-gcm', key, nonce)
      const bytes = Buffer.concat([nonce, cipher.update(SID), cipher.final(), cipher.getAuthTag()])
      expect(own.open(`1.${bytes.toString('base64url')}`)).toBeUndefined()
    }
  })

  test.each([[undefined], [null], [1], [{}], [[]], [''], ['1.'], ['1.__proto__'], [`1.${'A'.repeat(37)}`], [`1.${'A'.repeat(38)}`], [`1.${'A'.repeat(1_000_000)}`], ['😀'.repeat(40)]])('is anything else: %#', (sealed) => {
    expect(own.open(sealed as string)).toBeUndefined()
  })
})

describe('several secrets', () => {
  test('the first one seals, and all of them open', () => {
    const [old, next] = [sealer(['old']), sealer(['new'])]
    const both = sealer(['new', 'old'])
    expect(both.open(old.seal(SID))).toBe(SID)
    expect(both.open(next.seal(SID))).toBe(SID)
    expect(next.open(both.seal(SID))).toBe(SID)
    expect(old.open(both.seal(SID))).toBeUndefined()
  })

  test('one that was taken out opens nothing any more', () => {
    expect(sealer(['new']).open(sealer(['old', 'new']).seal(SID))).toBeUndefined()
  })
})

test('without a secret, or with an empty one, there is no sealer', () => {
  for (const secrets of [[], [''], ['secret', ''], [undefined as never], [1 as never]]) expect(() => sealer(secrets)).toThrow(ConfigError)
})
