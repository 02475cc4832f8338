import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import {
  allowInsecureRequests,
  authorizationCodeGrantRequest,
  calculatePKCECodeChallenge,
  ClientSecretBasic,
  discoveryRequest,
  generateRandomCodeVerifier,
  generateRandomState,
  processAuthorizationCodeResponse,
  processDiscoveryResponse,
  processRefreshTokenResponse,
  processRevocationResponse,
  refreshTokenGrantRequest,
  revocationRequest,
  validateAuthResponse,
  type AuthorizationServer,
} from 'oauth4webapi'
import type { Provider } from 'oidc-provider'
import { closeAfterTest, listen } from './server.ts'

/** What a user who signed in holds. */
export interface Tokens {
  readonly accessToken: string
  readonly refreshToken: string
}

/** A resource at the provider: its access tokens are JWT, or opaque. */
export const JWT_RESOURCE = 'urn:chat:signed'
export const OPAQUE_RESOURCE = 'urn:chat:opaque'

/** The server of this library at the provider. It has no login of its own: it only asks about tokens. */
export const RESOURCE_SERVER = { clientId: 'portcullis', clientSecret: randomBytes(32).toString('base64url') }

const SIGNED = { id_token_signed_response_alg: 'ES256' } as const
const APPLICATION = { client_id: 'application', ...SIGNED }
const APPLICATION_SECRET = randomBytes(32).toString('base64url')
const CALLBACK = 'http://127.0.0.1/callback'
const SCOPE = 'openid offline_access chat'
const insecure = { [allowInsecureRequests]: true } as const

/** A real OpenID provider on the loopback, and the HTTP side of an application that signs users in there. */
export class IdentityProvider {
  readonly issuer: string
  readonly #stop: () => void
  #server: AuthorizationServer | undefined

  private constructor(issuer: string, stop: () => void) {
    this.issuer = issuer
    this.#stop = stop
  }

  static async start(): Promise<IdentityProvider> {
    const http = createServer()
    const issuer = `http://127.0.0.1:${await listen(http)}`
    const provider = await providerOf(issuer)
    const answer = provider.callback()
    http.on('request', (request, response) => void (request.url!.startsWith('/interaction/') ? interact(provider, request, response) : answer(request, response)))
    const stop = (): void => void http.close()
    closeAfterTest(stop)
    return new IdentityProvider(issuer, stop)
  }

  /** From here on nobody answers. */
  stop(): void {
    this.#stop()
  }

  /** The authorization code flow with PKCE, as a browser and the application's HTTP side go through it. */
  async signIn(user: string, resource: string): Promise<Tokens> {
    const server = await this.#discover()
    const verifier = generateRandomCodeVerifier()
    const state = generateRandomState()
    const parameters = { client_id: APPLICATION.client_id, redirect_uri: CALLBACK, response_type: 'code', scope: SCOPE, prompt: 'consent', resource, state, login_hint: user, code_challenge: await calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256' }
    const landed = await browse(new URL(`${server.authorization_endpoint!}?${new URLSearchParams(parameters).toString()}`))
    const code = validateAuthResponse(server, APPLICATION, landed, state)
    const response = await authorizationCodeGrantRequest(server, APPLICATION, ClientSecretBasic(APPLICATION_SECRET), code, CALLBACK, verifier, { ...insecure, additionalParameters: { resource } })
    return tokensOf(await processAuthorizationCodeResponse(server, APPLICATION, response))
  }

  async refresh(refreshToken: string, resource: string): Promise<Tokens> {
    const server = await this.#discover()
    const response = await refreshTokenGrantRequest(server, APPLICATION, ClientSecretBasic(APPLICATION_SECRET), refreshToken, { ...insecure, additionalParameters: { resource } })
    return tokensOf(await processRefreshTokenResponse(server, APPLICATION, response))
  }

  async revoke(token: string): Promise<void> {
    const server = await this.#discover()
    await processRevocationResponse(await revocationRequest(server, APPLICATION, ClientSecretBasic(APPLICATION_SECRET), token, insecure))
  }

  async #discover(): Promise<AuthorizationServer> {
    const issuer = new URL(this.issuer)
    return (this.#server ??= await processDiscoveryResponse(issuer, await discoveryRequest(issuer, insecure)))
  }
}

async function providerOf(issuer: string): Promise<Provider> {
  // It writes on the console when it is loaded, which a test may want to keep off it.
  const { Provider } = await import('oidc-provider')
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return new Provider(issuer, {
    clients: [
      { ...APPLICATION, client_secret: APPLICATION_SECRET, redirect_uris: [CALLBACK], grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'] },
      { ...SIGNED, client_id: RESOURCE_SERVER.clientId, client_secret: RESOURCE_SERVER.clientSecret, redirect_uris: [], grant_types: [], response_types: [] },
    ],
    // `chat` is a scope of the resources, not of the provider.
    scopes: ['openid', 'offline_access'],
    cookies: { keys: [randomBytes(32).toString('base64url')] },
    jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), kid: 'first', alg: 'ES256', use: 'sig' }] },
    pkce: { required: () => true },
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    interactions: { url: (_, { uid }) => `/interaction/${uid}` },
    ttl: { AccessToken: 600, AuthorizationCode: 60, Grant: 3_600, IdToken: 600, Interaction: 600, RefreshToken: 3_600, Session: 3_600 },
    rotateRefreshToken: true,
    features: {
      devInteractions: { enabled: false },
      introspection: { enabled: true, allowedPolicy: (_, client) => client.clientId === RESOURCE_SERVER.clientId },
      revocation: { enabled: true, allowedPolicy: (_, client, token) => client.clientId === token.clientId },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_, resource) => ({ scope: 'chat', audience: resource, accessTokenTTL: 600, accessTokenFormat: resource === JWT_RESOURCE ? 'jwt' : 'opaque', jwt: { sign: { alg: 'ES256' } } }),
      },
    },
  })
}

/** What a page with a form would do: takes the user at their word, and grants what is asked for. */
async function interact(provider: Provider, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { prompt, params, session } = await provider.interactionDetails(request, response)
  if (prompt.name === 'login') return provider.interactionFinished(request, response, { login: { accountId: params['login_hint'] as string } })
  const grant = new provider.Grant({ accountId: session!.accountId, clientId: params['client_id'] as string })
  grant.addOIDCScope('openid offline_access')
  grant.addResourceScope(params['resource'] as string, 'chat')
  return provider.interactionFinished(request, response, { consent: { grantId: await grant.save() } })
}

/** Follows redirects with the cookies of one browser, until it comes back to the application. */
async function browse(start: URL): Promise<URL> {
  const cookies = new Map<string, string>()
  let url = start
  for (let hops = 0; hops < 10; hops++) {
    const response = await fetch(url, { redirect: 'manual', headers: { cookie: [...cookies].map((pair) => pair.join('=')).join('; ') } })
    await response.body?.cancel()
    for (const cookie of response.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(cookie)!
      if (value === '') cookies.delete(name!)
      else cookies.set(name!, value!)
    }
    const location = response.headers.get('location')
    if (location === null) throw new Error(`${url.pathname} answered ${response.status}`)
    url = new URL(location, url)
    if (url.href.startsWith(CALLBACK)) return url
  }
  throw new Error('does not come back')
}

function tokensOf({ access_token, refresh_token }: { readonly access_token: string; readonly refresh_token?: string }): Tokens {
  if (refresh_token === undefined) throw new Error('no refresh token')
  return { accessToken: access_token, refreshToken: refresh_token }
}
