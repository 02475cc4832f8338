import { ClientSecretBasic, ClientSecretPost, introspectionRequest, processIntrospectionResponse } from 'oauth4webapi'
import type { AuthorizationServer, ClientAuth } from 'oauth4webapi'
import type { Clock } from '../../lib/clock.ts'
import { ConfigError } from '../../lib/errors.ts'
import { describe } from '../../lib/policy.ts'
import type { Answer } from './answer.ts'
import { within } from './deadline.ts'
import { Failure } from './failure.ts'
import { transport } from './http.ts'
import { text } from './options.ts'
import { Slots } from './slots.ts'

export type { ClientAuth } from 'oauth4webapi'

/** How this server proves to the endpoint who it is. A public endpoint would let anybody try tokens (RFC 7662 4). */
export interface ClientCredentials {
  readonly clientId: string
  /** Required unless `clientAuth` is a function. */
  readonly clientSecret?: string
  /** A method that takes the secret, or a function of oauth4webapi such as `PrivateKeyJwt(key)`. Default `client_secret_basic`. */
  readonly clientAuth?: 'client_secret_basic' | 'client_secret_post' | ClientAuth
}

const METHODS = { client_secret_basic: ClientSecretBasic, client_secret_post: ClientSecretPost } as const
/** A hint only (RFC 7662 2.1); what the token is, the answer has to say. */
const HINT = { token_type_hint: 'access_token' }

/** @throws ConfigError without a secret, or with one that is not used */
export function authenticator({ clientSecret, clientAuth = 'client_secret_basic' }: ClientCredentials, where: string): ClientAuth {
  if (typeof clientAuth === 'function') {
    if (clientSecret !== undefined) throw new ConfigError(`${where}: clientSecret is for client_secret_basic and client_secret_post; the function in clientAuth has a credential of its own.`)
    return clientAuth
  }
  if (!Object.hasOwn(METHODS, clientAuth)) throw new ConfigError(`${where}: clientAuth must be one of ${Object.keys(METHODS).join(', ')}, or a function such as PrivateKeyJwt(key) of oauth4webapi; got ${describe(clientAuth)}.`)
  return METHODS[clientAuth](text(clientSecret, 'clientSecret', where, ' The endpoint is told who asks.'))
}

export interface IntrospectorOptions {
  readonly issuer: string | undefined
  readonly clientId: string
  readonly authenticate: ClientAuth
  readonly timeoutMs: number
  readonly maxConcurrent: number
  readonly maxQueued: number
  readonly clock: Clock
}

/** Asks an introspection endpoint (RFC 7662), for a bounded number of tokens at once. */
export class Introspector {
  readonly #options: IntrospectorOptions
  readonly #slots: Slots

  constructor(options: IntrospectorOptions) {
    this.#options = options
    this.#slots = new Slots(options.maxConcurrent, options.maxQueued)
  }

  /**
   * Waiting for a slot counts towards the time-out: whoever asks has a deadline of their own.
   *
   * @returns what the endpoint says, an object; nothing of it is judged
   * @throws Failure `UNAVAILABLE` when it does not answer, `UNAUTHENTICATED` when that is not an answer
   */
  ask(token: string, endpoint: string): Promise<Answer> {
    const { issuer = endpoint, timeoutMs, clock, clientId, authenticate } = this.#options
    const server: AuthorizationServer = { issuer, introspection_endpoint: endpoint }
    const client = { client_id: clientId }
    return within(timeoutMs, clock, (signal) =>
      this.#slots.run(signal, async () => {
        const response = await introspectionRequest(server, client, authenticate, token, { ...transport(signal), additionalParameters: HINT })
        const body = await response.clone().text()
        try {
          await processIntrospectionResponse(server, client, response)
          // `fetch` may make its objects in another realm than this code runs in, as under Jest, and with other prototypes.
          return JSON.parse(body) as Answer
        } catch {
          // The errors of the library hold the answer.
          throw new Failure('UNAUTHENTICATED', 'answered with something other than an introspection')
        }
      }),
    )
  }
}
