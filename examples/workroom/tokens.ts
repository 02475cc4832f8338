import { jwtVerify, SignJWT } from 'jose'
import type { Account } from './data.ts'

/** What both sides of a token agree on; the gate is given the same values. */
export const tokenSettings = {
  issuer: 'https://workroom.example',
  audience: 'workroom',
  typ: 'workroom+jwt',
} as const

const lifetime = '15m'

export function issueToken(secret: Uint8Array, account: Account): Promise<string> {
  return new SignJWT({ tenant: account.tenant, role: account.role })
    .setProtectedHeader({ alg: 'HS256', typ: tokenSettings.typ })
    .setSubject(account.id)
    .setIssuer(tokenSettings.issuer)
    .setAudience(tokenSettings.audience)
    .setIssuedAt()
    .setExpirationTime(lifetime)
    .sign(secret)
}

/** @returns the id of the account the token was issued to. Rejects when the token does not verify. */
export async function subjectOf(secret: Uint8Array, token: string): Promise<string | undefined> {
  const { payload } = await jwtVerify(token, secret, { ...tokenSettings, algorithms: ['HS256'] })
  return payload.sub
}
