import { isThenable } from './compose.ts'
import { AudienceContext } from './context.ts'
import type { Core } from './core.ts'
import { ConfigError, Denied } from './errors.ts'
import { newId } from './ids.ts'
import { checkRevocation, keyOf, keysOfTarget, lifeOf, recordOf, soughtBy, together } from './revocation.ts'
import type { RevocationOptions, RevocationReceipt, RevocationTarget, Sought } from './revocation.ts'
import type { RenewalStage } from './stages/renewal.ts'
import type { TenureStage } from './stages/tenure.ts'

/** Whose rights are to be looked up anew. */
export type ReauthorizationTarget = { readonly subject: string; readonly issuer?: string }

/** What a reauthorization did on this node. */
export interface ReauthorizationReceipt {
  /** Ids of the sockets that go on, with the rights they have now. */
  readonly kept: readonly string[]
  /** Ids of those that were closed: a policy of the connect stage refuses them now. */
  readonly closed: readonly string[]
}

/** What nodes that share a store tell each other. */
type Message = { readonly from: string; readonly sought: Sought } & ({ readonly kind: 'revoke'; readonly reason: string; readonly issuedBefore?: number | undefined } | { readonly kind: 'reinstate' | 'reauthorize' })

const CHANNEL = 'portcullis:control'

/** What an operator does about peers that are here, on this node and on those that share its store. */
export class Revocations {
  readonly #core: Core
  readonly #gate: { readonly tenure: TenureStage; readonly renewal: RenewalStage } | undefined
  readonly #revoked: (sought: Sought) => Promise<unknown>
  /** Tells the messages of this gate from those of others. */
  readonly #own = newId()
  #unsubscribe: (() => void) | undefined
  #closed = false

  /**
   * @param gate absent where no peers are: it is only remembered then, and told to others
   * @param revoked what else is to be done on this node
   */
  constructor(core: Core, gate?: { readonly tenure: TenureStage; readonly renewal: RenewalStage }, revoked: (sought: Sought) => Promise<unknown> = () => Promise.resolve()) {
    this.#core = core
    this.#gate = gate
    this.#revoked = revoked
    if (gate === undefined) return
    const subscribed = (unsubscribe: () => void): void => {
      if (this.#closed) this.#end(unsubscribe)
      else this.#unsubscribe = unsubscribe
    }
    try {
      const given = core.settings.store.subscribe(CHANNEL, (message) => this.#hear(message))
      if (isThenable(given)) Promise.resolve(given).then(subscribed, (error: unknown) => this.#failed(error))
      else subscribed(given)
    } catch (error) {
      this.#failed(error)
    }
  }

  /** @throws ConfigError for a target that is none; Denied `UNAVAILABLE` when the store has not taken it: sockets of this node are closed all the same */
  async revoke(target: RevocationTarget, options: RevocationOptions): Promise<RevocationReceipt> {
    const { all, expiresAtMs } = soughtBy(target)
    checkRevocation(options)
    const { reason, issuedBefore, forMs } = options
    const { store, clock } = this.#core.settings
    const here = all.flatMap((sought) => this.#gate?.tenure.revoke(sought, reason, issuedBefore) ?? [])
    const beside = Promise.all(all.map((sought) => this.#revoked(sought)))
    beside.catch(noop)
    const now = clock.now()
    const until = now + lifeOf(all[0]!, [expiresAtMs, ...here.flatMap(({ ends }) => ends)], now, forMs)
    const keys = all.flatMap((sought) => keyOf(sought, issuedBefore) ?? [])
    const record = recordOf(options, until)
    const told = all.map((sought) => () => store.publish(CHANNEL, JSON.stringify({ from: this.#own, kind: 'revoke', sought, reason, issuedBefore } satisfies Message)))
    // One after the other on the wire, without waiting in between.
    const known = (await this.#all([...keys.map((key) => () => store.getOrSet(key, record, until - now)), ...told])) as (string | undefined)[]
    // An earlier one that says more stays what it was.
    const kept = keys.map((key, index) => ({ key, isNew: known[index] === record, ...together(options, until, known[index]) }))
    const changed = kept.filter(({ isNew }) => !isNew)
    if (changed.length > 0) await this.#all(changed.map((each) => () => store.set(each.key, recordOf(each.options, each.untilMs), each.untilMs - now)))
    await beside
    return { closed: here.flatMap(({ closed }) => closed), untilMs: keys.length === 0 ? undefined : Math.max(...kept.map(({ untilMs }) => untilMs)) }
  }

  /** Takes a revocation back. @returns whether there was one */
  async reinstate(target: RevocationTarget): Promise<boolean> {
    const { all } = soughtBy(target)
    const keys = all.flatMap(keysOfTarget)
    if (keys.length === 0) return false
    const { store } = this.#core.settings
    for (const sought of all) this.#gate?.tenure.reinstate(sought)
    const told = all.map((sought) => () => store.publish(CHANNEL, JSON.stringify({ from: this.#own, kind: 'reinstate', sought } satisfies Message)))
    const known = await this.#all([...keys.map((key) => () => store.delete(key)), ...told])
    return known.slice(0, keys.length).includes(true)
  }

  async reauthorize(target: ReauthorizationTarget): Promise<ReauthorizationReceipt> {
    const [sought] = soughtBy(target).all as [Sought]
    if (sought.kind !== 'subject') throw new ConfigError('reauthorize takes { subject, issuer? }.')
    const published = this.#all([() => this.#core.settings.store.publish(CHANNEL, JSON.stringify({ from: this.#own, kind: 'reauthorize', sought } satisfies Message))])
    published.catch(noop)
    const receipt = await this.#reauthorize(sought)
    await published
    return receipt
  }

  close(): void {
    this.#closed = true
    const unsubscribe = this.#unsubscribe
    this.#unsubscribe = undefined
    if (unsubscribe !== undefined) this.#end(unsubscribe)
  }

  async #reauthorize(sought: Sought): Promise<ReauthorizationReceipt> {
    const kept: string[] = []
    const closed: string[] = []
    if (this.#gate === undefined) return { kept, closed }
    const { tenure, renewal } = this.#gate
    tenure.remember(sought)
    await Promise.all(tenure.those(sought).map(async ([socket, state]) => ((await renewal.reauthorize(socket, state)) ? kept : closed).push(socket.id)))
    return { kept, closed }
  }

  #hear(text: string): void {
    try {
      const message = readMessage(text)
      if (message.from === this.#own || this.#gate === undefined) return
      if (message.kind === 'revoke') this.#gate.tenure.revoke(message.sought, message.reason, message.issuedBefore)
      else if (message.kind === 'reauthorize') this.#reauthorize(message.sought).catch((error: unknown) => this.#failed(error))
      else this.#gate.tenure.reinstate(message.sought)
    } catch (error) {
      this.#failed(error)
    }
  }

  #end(unsubscribe: () => unknown): void {
    try {
      Promise.resolve(unsubscribe()).catch((error: unknown) => this.#failed(error))
    } catch (error) {
      this.#failed(error)
    }
  }

  async #all(operations: readonly (() => unknown)[]): Promise<unknown[]> {
    const asked = operations.map((operation) => {
      try {
        return Promise.resolve(operation())
      } catch (error) {
        return Promise.reject(error instanceof Error ? error : new Error('the store threw', { cause: error }))
      }
    })
    try {
      return await this.#core.within(Promise.all(asked), 'store')
    } catch (error) {
      throw new Denied('UNAVAILABLE', undefined, error)
    } finally {
      for (const each of asked) each.catch(noop)
    }
  }

  #failed(error: unknown): void {
    this.#core.fault(new AudienceContext(this.#core, '/', '', [], []), error, 'store')
  }
}

/** A channel is shared with whoever can write to it: what is none of our messages is reported, and done nothing about. */
function readMessage(text: string): Message {
  const message = JSON.parse(text) as Partial<Message> | null
  const { kind, sought } = message ?? {}
  const isKnown = kind === 'revoke' || kind === 'reauthorize' || kind === 'reinstate'
  if (!isKnown || typeof sought?.id !== 'string' || !['subject', 'token', 'session', 'socket'].includes(sought.kind)) throw new TypeError('not a message of a gate')
  if (kind !== 'revoke' && sought.kind === 'socket') throw new TypeError('not a message of a gate')
  return message as Message
}

function noop(): void {}
