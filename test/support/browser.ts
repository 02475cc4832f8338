import { CookieJar } from 'tough-cookie'
import { client, record, type Way } from './credentials.ts'
import { entry, type Client } from './server.ts'
import { unsign } from './session-cookies.ts'

/** The origin of the application's pages. */
export const PAGE = 'https://app.example'

/** What was answered. */
export interface Reply {
  readonly status: number
  readonly body: any
  /** The `Set-Cookie` headers, as they stand. */
  readonly cookies: readonly string[]
}

type SocketOptions = NonNullable<Parameters<typeof client>[1]>

/** A browser: one cookie jar for its pages and its sockets. Cookies know no ports, so that one jar serves all nodes of an application. */
export class Browser {
  readonly jar = new CookieJar()
  /** What each of its requests carries, as it is now. The stock client reads it for each poll, too. */
  readonly headers: Record<string, string>

  constructor(
    readonly home: { readonly url: string },
    { origin = PAGE, agent = 'Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0' } = {},
  ) {
    this.headers = { origin, 'user-agent': agent }
  }

  /** As `fetch` of a page, cookies included. */
  readonly fetch = async (path: string | URL | Request, init: RequestInit = {}): Promise<Response> => {
    const url = new URL(path instanceof Request ? path.url : path, this.home.url)
    const response = await fetch(url, { ...init, redirect: 'manual', headers: { ...(init.headers as Record<string, string>), ...this.headers } })
    for (const cookie of response.headers.getSetCookie()) this.jar.setCookieSync(cookie, url)
    this.refresh()
    return response
  }

  get(path: string, home = this.home): Promise<Reply> {
    return this.#ask('GET', path, undefined, home)
  }
  post(path: string, body: object = {}, home = this.home): Promise<Reply> {
    return this.#ask('POST', path, body, home)
  }
  delete(path: string): Promise<Reply> {
    return this.#ask('DELETE', path, undefined, this.home)
  }

  /** The value of the session cookie, as it stands in the header. */
  get cookie(): string | undefined {
    return this.jar.getCookiesSync(this.home.url).find(({ key }) => key === 'sid')?.value
  }
  /** The raw session id: what nobody but the browser and the session store may show. */
  get sessionId(): string | undefined {
    return this.cookie === undefined ? undefined : unsign(this.cookie)
  }
  /** Puts a cookie into the jar, as a page of a sister domain or an attacker on the line can. */
  plant(value: string): void {
    this.jar.setCookieSync(`sid=${value}; Path=/; HttpOnly`, this.home.url)
    this.refresh()
  }
  /** Another browser that has copied the cookie of this one. */
  thief(home = this.home): Browser {
    const other = new Browser(home)
    if (this.cookie !== undefined) other.plant(this.cookie)
    return other
  }
  /** Takes over what the jar holds now. */
  refresh(): void {
    const cookie = this.jar.getCookieStringSync(this.home.url)
    if (cookie === '') delete this.headers['cookie']
    else this.headers['cookie'] = cookie
  }

  /** A socket of one of its tabs, which is on its way. */
  socket(way: Way = 'websocket', options: SocketOptions = {}, home = this.home): Client {
    this.refresh()
    return client(home, { transports: way === 'upgraded' ? ['polling', 'websocket'] : [way], extraHeaders: this.headers, ...options })
  }
  /** A socket that has entered, and has been upgraded where it is to be. */
  async entered(way: Way = 'websocket', options: SocketOptions = {}, home = this.home): Promise<Client> {
    const socket = this.socket(way, options, home)
    const upgraded = new Promise((resolve) => socket.io.once('open', () => socket.io.engine.once('upgrade', resolve)))
    await entry(socket)
    if (way === 'upgraded') await upgraded
    return socket
  }

  async #ask(method: string, path: string, body: object | undefined, { url }: { readonly url: string }): Promise<Reply> {
    const response = await this.fetch(new URL(path, url), { method, ...(body === undefined ? {} : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }) })
    const text = await response.text()
    const cookies = response.headers.getSetCookie()
    try {
      return { status: response.status, body: JSON.parse(text), cookies }
    } catch {
      return { status: response.status, body: text, cookies }
    }
  }
}

/** A browser in which somebody has signed in. @throws where that was refused */
export async function signedIn(home: { readonly url: string }, user = 'alice', more: object = {}): Promise<Browser> {
  const browser = new Browser(home)
  const { status } = await browser.post('/login', { user, ...more })
  if (status !== 204) throw new Error(`the sign-in was answered ${status}`)
  return browser
}

/** What a socket is told of its end, from now on. */
export function endings(socket: Client): unknown[] {
  const all = record(socket, 'gate:closing')
  socket.on('disconnect', (reason) => all.push(reason))
  return all
}
