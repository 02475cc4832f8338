import { createHmac } from 'node:crypto'

/** What the application signs its cookies with. */
export const SECRET = 'the secret of the cookies of an application'

/** A session cookie's value for an id, as express-session writes it. */
export function sign(id: string, secret = SECRET): string {
  return encodeURIComponent(`s:${id}.${createHmac('sha256', secret).update(id).digest('base64').replace(/=+$/, '')}`)
}

/** The id in the value of a session cookie. */
export function unsign(value: string): string {
  const signed = decodeURIComponent(value)
  return signed.slice(2, signed.lastIndexOf('.'))
}
