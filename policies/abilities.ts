import type { AnyMongoAbility, MongoAbility, SubjectType } from '@casl/ability'
import { SharedAbilities } from '../lib/ability.ts'
import type { AbilityRule } from '../lib/ability.ts'
import { isThenable } from '../lib/compose.ts'
import type { ConnectContext } from '../lib/context.ts'
import { ConfigError } from '../lib/errors.ts'
import { describe } from '../lib/policy.ts'
import type { Awaitable, Policy } from '../lib/policy.ts'

/** What the function given to `abilities` returns: CASL rules, or an ability. */
export type Rights = readonly AbilityRule[] | AnyMongoAbility

/** The ability that a function given to `abilities` leads to: its own type, or one that knows the actions and the types of its rules. */
export type AbilityOf<R> = R extends AnyMongoAbility ? R : R extends readonly (infer Rule)[] ? AbilityOfRules<Rule> : never

type AbilityOfRules<Rule> = [Rule] extends [never]
  ? MongoAbility
  : Rule extends { readonly action: infer A; readonly subject: infer S }
    ? MongoAbility<[Extract<OneOf<A>, string>, Extract<OneOf<S>, SubjectType> | object]>
    : never

type OneOf<T> = T extends readonly (infer Item)[] ? Item : T

/**
 * Gives each peer its CASL ability as `peer.ability`, from what earlier policies have proved about it. Peers with equal rules share one.
 *
 * @example
 * guard(io)
 *   .use(authenticate(jwt({ secret, issuer, audience })))
 *   .use(abilities(({ principal }) => [{ action: 'read', subject: 'Document', conditions: { owner: principal.subject } }]))
 * @throws ConfigError without a function
 */
export function abilities<N extends object, R extends Rights | Promise<Rights>>(define: (peer: N) => R): Policy<N, { ability: AbilityOf<Awaited<R>> }> {
  if (typeof define !== 'function') throw new ConfigError(`abilities takes a function from the facts of a peer to its rules: abilities(({ principal }) => rulesFor(principal)); got ${describe(define)}.`)
  const share = new SharedAbilities()
  type Ability = AbilityOf<Awaited<R>>

  return {
    name: 'abilities',
    connect: (ctx: ConnectContext<N>, next: (facts: { ability: Ability }) => Awaitable) => {
      const give = (rights: unknown): Awaitable => next({ ability: share.take(rights, 'abilities') as Ability })
      const rights: unknown = define(ctx.peer)
      return isThenable(rights) ? Promise.resolve(rights).then(give) : give(rights)
    },
  }
}
