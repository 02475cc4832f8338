import { describe, expect, test } from '@jest/globals'
import { createSecretKey, generateKeyPairSync, sign } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { compactVerify, CompactSign } from 'jose'
import { ALGORITHMS } from '../../../adapters/jwt/algorithms.ts'
import type { JwtAlgorithm } from '../../../adapters/jwt/algorithms.ts'
import { isSigned } from '../../../adapters/jwt/signature.ts'
import { issuers, pairs, signer } from '../../support/tokens.ts'

// Two implementations that share no code of ours, and the same answer from both, for signatures that are right and for what is made of them.

const secret = createSecretKey(Buffer.alloc(64, 'secret'))
const schemes: readonly { readonly alg: JwtAlgorithm; readonly signing: KeyObject; readonly verifying: KeyObject; readonly others: readonly KeyObject[] }[] = [
  ...(['HS256', 'HS384', 'HS512'] as const).map((alg) => ({ alg, signing: secret, verifying: secret, others: [createSecretKey(Buffer.alloc(64, 'another'))] })),
  ...issuers.map(({ alg, privateKey, publicKey }) => ({ alg: alg as JwtAlgorithm, signing: privateKey, verifying: publicKey, others: [similarTo(publicKey)] })),
]

function similarTo({ asymmetricKeyType: type, asymmetricKeyDetails: details }: KeyObject): KeyObject {
  if (type === 'rsa') return generateKeyPairSync('rsa', { modulusLength: 2_048 }).publicKey
  return type === 'ec' ? generateKeyPairSync('ec', { namedCurve: details!.namedCurve! }).publicKey : generateKeyPairSync('ed25519').publicKey
}

const header = (alg: string): string => Buffer.from(JSON.stringify({ alg })).toString('base64url')
const ours = (alg: JwtAlgorithm, key: KeyObject, input: string, signature: Uint8Array): boolean => isSigned(alg, key, { input, signature })

async function joses(alg: string, key: KeyObject, input: string, signature: Uint8Array): Promise<boolean> {
  try {
    await compactVerify(`${input}.${Buffer.from(signature).toString('base64url')}`, key, { algorithms: [alg] })
    return true
  } catch {
    return false
  }
}

/** Everything that is easily done to a signature. */
function mutated(signature: Buffer): Buffer[] {
  const { length } = signature
  const flips = Array.from({ length }, (_, at) => {
    const bytes = Buffer.from(signature)
    bytes[at]! ^= 1 << (at % 8)
    return bytes
  })
  const lengths = [0, 1, 2, 16, 31, 32, 33, 48, 63, 64, 65, 66, 96, 127, 128, 132, 133, 255, 256, 257, length - 1, length + 1, length * 2]
  return [
    ...flips,
    ...lengths.filter((each) => each !== length).flatMap((each) => [signature.subarray(0, each), Buffer.alloc(each), Buffer.alloc(each, 0xff), Buffer.concat([signature, Buffer.alloc(each)]), Buffer.concat([Buffer.alloc(each), signature])]),
    Buffer.alloc(length),
    Buffer.alloc(length, 0xff),
    Buffer.from(signature).reverse(),
    Buffer.concat([signature.subarray(length / 2), signature.subarray(0, length / 2)]),
  ].filter((bytes) => !bytes.equals(signature))
}

test('every algorithm is put to the test', () => {
  expect(schemes.map(({ alg }) => alg).sort()).toEqual([...ALGORITHMS].sort())
})

describe.each(schemes)('$alg', ({ alg, signing, verifying, others }) => {
  const input = `${header(alg)}.${Buffer.from('{"sub":"alice"}').toString('base64url')}`
  const signature = signer(alg, signing)(input)

  test('a right signature is right for both, whichever of the two made it', async () => {
    expect([ours(alg, verifying, input, signature), await joses(alg, verifying, input, signature)]).toEqual([true, true])
    const made = await new CompactSign(Buffer.from('{"sub":"alice"}')).setProtectedHeader({ alg }).sign(signing)
    expect(made.slice(0, made.lastIndexOf('.'))).toBe(input)
    expect(ours(alg, verifying, input, Buffer.from(made.slice(made.lastIndexOf('.') + 1), 'base64url'))).toBe(true)
  })

  test('a changed signature is wrong for both', async () => {
    for (const bytes of mutated(signature)) {
      expect([bytes.toString('hex'), ours(alg, verifying, input, bytes)]).toEqual([bytes.toString('hex'), false])
    }
    // jose takes its time: a sample of them.
    for (const bytes of mutated(signature).filter((_, index) => index % 5 === 0)) expect(await joses(alg, verifying, input, bytes)).toBe(false)
  })

  test('a right signature of something else, or of another key, is wrong for both', async () => {
    for (const [key, text] of [[verifying, `${input}A`], [verifying, input.slice(0, -1)], [verifying, `${input.split('.')[0]}.`], ...others.map((each) => [each, input] as const)] as const) {
      expect([ours(alg, key, text, signature), await joses(alg, key, text, signature)]).toEqual([false, false])
    }
  })

  test('a right signature of any other algorithm is wrong for both', async () => {
    for (const other of schemes.filter((each) => each.alg !== alg)) {
      const made = signer(other.alg, other.signing)(input)
      expect([other.alg, ours(alg, verifying, input, made), await joses(alg, verifying, input, made)]).toEqual([other.alg, false, false])
    }
  })
})

test('a PSS signature with a salt of another length is wrong for both (RFC 7518 3.5)', async () => {
  const input = `${header('PS256')}.e30`
  for (const saltLength of [0, 20, 31, 33, 64, 222]) {
    const signature = sign('sha256', Buffer.from(input), { key: pairs.rsa.privateKey, padding: 6, saltLength })
    expect([saltLength, ours('PS256', pairs.rsa.publicKey, input, signature), await joses('PS256', pairs.rsa.publicKey, input, signature)]).toEqual([saltLength, false, false])
  }
})
