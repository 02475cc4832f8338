import type { AnyMongoAbility, Generics, Rule } from '@casl/ability'
import { audienceOf, decidingAbility } from '../lib/ability.ts'
import { isThenable } from '../lib/compose.ts'
import type { SharedDeliverContext } from '../lib/context.ts'
import { ConfigError, Denied, PolicyFault } from '../lib/errors.ts'
import { isPlain } from '../lib/plain.ts'
import { describe } from '../lib/policy.ts'
import type { Awaitable, DeliverNext, Hook, Next } from '../lib/policy.ts'
import { isNothing } from '../lib/rules.ts'

/** A peer that `abilities` has given its ability. */
export interface Able {
  readonly ability: AnyMongoAbility
}

type IsAny<T> = 0 extends 1 & T ? true : false
type AnyClass = abstract new (...args: any) => any
type AbilitiesOf<P extends Able> = Generics<P['ability']>['abilities']
/** The actions that the rules of an ability know. */
export type ActionOf<P extends Able> = IsAny<AbilitiesOf<P>> extends true ? string : AbilitiesOf<P>[0]
/** The types of resource that the rules of an ability know, by name or by class. */
export type TypeOf<P extends Able> = IsAny<AbilitiesOf<P>> extends true ? string | AnyClass : Extract<AbilitiesOf<P>[1], string | AnyClass>

export interface AuthorizeOptions<C = any, M extends boolean = boolean> {
  /** The field that must be permitted. */
  readonly field?: string
  /** The fields that must all be permitted, or a function that names them. */
  readonly fields?: readonly string[] | ((ctx: C) => readonly string[])
  /** On a delivery: takes out each top-level field that the ability does not permit. */
  readonly mask?: M
}

/** What `authorize` makes: `C` is the context of the place where it stands, and `P` what the peer there must have. */
export interface AuthorizePolicy<C, P extends Able, R, M> {
  readonly name: 'authorize'
  readonly connect: Hook<Unmasked<M, C & { readonly peer: P }>>
  readonly event: Hook<Unmasked<M, C & { readonly peer: P }>>
  readonly join: Hook<Unmasked<M, C & { readonly peer: P }>>
  readonly deliver: { readonly audience: (peer: P) => any; readonly hook: (ctx: Immediate<R, C>, next: DeliverNext) => undefined | void }
}

// Contexts that no place has, so that the mistake is named where it is made.
type Unmasked<M, C> = M extends true ? { readonly 'a mask belongs at deliver(...) or reply(...)': never } : C
type Immediate<R, C> = IsAny<R> extends true ? C : [Extract<R, PromiseLike<unknown>>] extends [never] ? C : { readonly 'a delivery is decided at once, and this resource is a promise': never }

/**
 * Goes on only where the ability of the peer permits the action on the resource, as its rules are now.
 *
 * @example
 * gate.of('/chat', chat)
 *   .join('room:{id}', authorize('read', 'Room', ({ params }) => rooms.get(params.id)))
 *   .event('message:send', authorize('create', 'Message', ({ data }) => data))
 *   .deliver('message', authorize('read', 'Message', ({ data }) => data))
 * @param type names the type of the resource; what the resource says of its own type is not listened to
 * @param resource finds what is acted upon; anything but an object is refused. Without it, rules with conditions are a fault
 * @throws ConfigError for a bad argument
 */
export function authorize<C = any, P extends Able = Able, R = unknown, M extends boolean = false>(
  action: NoInfer<ActionOf<P>>,
  type: NoInfer<TypeOf<P>>,
  resource?: (ctx: C) => R,
  options: AuthorizeOptions<NoInfer<C>, M> = {},
): AuthorizePolicy<C, P, R, M> {
  const question = new Question(action, type, resource, options)
  const hook = (ctx: Place, next: Next): Awaitable => {
    const found = question.find(ctx)
    if (isThenable(found)) {
      // The ability is asked after the wait: a right may have been taken away meanwhile.
      return Promise.resolve(found).then((late) => {
        question.ask(abilityOf(ctx.peer), late, ctx)
        return next()
      })
    }
    question.ask(abilityOf(ctx.peer), found, ctx)
    return next()
  }
  const deliver = {
    audience: (peer: object) => audienceOf(abilityOf(peer)),
    hook: (ctx: SharedDeliverContext<unknown>, next: DeliverNext): undefined => {
      const found = question.find(ctx)
      if (isPromise(found)) throw new PolicyFault(`the resource of ${question.what} is a promise, and a delivery is decided at once`, 'authorize')
      question.ask(ctx.audience, found, ctx)
      return next()
    },
  }
  const elsewhere = options.mask === true ? {} : { connect: hook, event: hook, join: hook }
  return { name: 'authorize', ...elsewhere, deliver } as never
}

type AnyRule = Rule<any, any>

interface Place {
  readonly peer: object
  data?: unknown
}

const abilityOf = (peer: object): unknown => (peer as { readonly ability?: unknown }).ability

/** In place of a resource where none is looked for: the type as a whole. */
const TYPE = Symbol('type')

/** What one `authorize` asks of an ability. */
class Question {
  /** A function of the context, or the one answer that none is looked for. */
  readonly find: (ctx: any) => unknown
  /** For records and faults. */
  readonly what: string
  readonly #action: string
  readonly #type: string
  readonly #fields: readonly string[] | ((ctx: any) => readonly string[]) | undefined
  readonly #mask: boolean

  constructor(action: unknown, type: unknown, resource: unknown, options: AuthorizeOptions) {
    if (!isName(action)) throw new ConfigError(`authorize takes an action first, such as 'read'; got ${describe(action)}.`)
    if (!isName(type) && typeof type !== 'function') throw new ConfigError(`authorize: the second argument is the type of the resource, a name or a class; got ${describe(type)}.`)
    if (resource !== undefined && typeof resource !== 'function') {
      throw new ConfigError(`authorize: the third argument is a function from the context to the resource, such as ({ data }) => data; got ${describe(resource)}.`)
    }
    this.#action = action
    // A type may be a class; CASL's own parameters say no more than this about either.
    this.#type = type as string
    this.what = `"${action}" on "${typeof type === 'function' ? type.name : type}"`
    this.find = resource === undefined ? () => TYPE : (resource as (ctx: any) => unknown)
    this.#fields = fieldsOf(options)
    this.#mask = options.mask === true
  }

  /** @throws Denied `FORBIDDEN`, or PolicyFault where the ability has no answer to the question as it was asked */
  ask(given: unknown, resource: unknown, ctx: { data?: unknown }): void {
    const ability = decidingAbility(given, 'authorize')
    if (resource !== TYPE && !isResource(resource)) this.#refuse(undefined, `the resource being ${describe(resource)}`)
    const rules = ability.possibleRulesFor(this.#action, this.#type) as readonly AnyRule[]
    if (this.#mask) this.#keep(rules, resource, ctx)
    else if (this.#fields === undefined) this.#whole(rules, resource)
    else for (const field of this.#named(ctx)) this.#one(rules, resource, field)
  }

  /** The action on all of the resource. CASL itself says yes as soon as any field of it is permitted. */
  #whole(rules: readonly AnyRule[], resource: unknown): void {
    let some = false
    let except = false
    let decisive: AnyRule | undefined
    for (const rule of rules) {
      if (!this.#applies(rule, resource)) continue
      if (rule.fields === undefined) {
        decisive = rule
        break
      }
      if (rule.inverted) except = true
      else some = true
    }
    const permitted = decisive !== undefined && !decisive.inverted
    if (permitted && !except) return
    if (!permitted && !some) this.#refuse(decisive)
    this.#fault('is limited to some fields by the rules of this peer. Name those at stake with { field } or { fields }, or let a delivery through in part with { mask: true }')
  }

  #one(rules: readonly AnyRule[], resource: unknown, field: string): void {
    for (const rule of rules) {
      if (!covers(rule, field) || !this.#applies(rule, resource)) continue
      return rule.inverted ? this.#refuse(rule, field) : undefined
    }
    this.#refuse(undefined, field)
  }

  /** Leaves in what is delivered the fields that are permitted. The original belongs to other recipients too, and is not touched. */
  #keep(rules: readonly AnyRule[], resource: unknown, ctx: { data?: unknown }): void {
    const { data } = ctx
    // What has a prototype or a `toJSON` of its own is sent as something else than its fields.
    if (!isPlain(data) || typeof data['toJSON'] === 'function') this.#fault('is to be masked, and what is delivered is no plain object. Mask lists and instances in a deliver hook of your own')
    const applying = rules.filter((rule) => this.#applies(rule, resource))
    const nested = applying.find((rule) => rule.inverted && rule.fields?.some((field) => field.includes('.')))
    if (nested !== undefined) this.#fault(`is to be masked, and a rule forbids the nested ${nested.fields?.join()}, while a mask knows top-level fields only`)
    const fields = Object.entries(data)
    const kept = fields.filter(([field]) => applying.find((rule) => covers(rule, field))?.inverted === false)
    if (kept.length === 0) this.#refuse(undefined)
    if (kept.length < fields.length) ctx.data = Object.fromEntries(kept)
  }

  #applies(rule: AnyRule, resource: unknown): boolean {
    if (resource !== TYPE) return rule.matchesConditions(resource)
    if (isNothing(rule.conditions)) return true
    // CASL itself says yes here: to some resource of this type.
    return this.#fault('depends on the resource by the rules of this peer. Give authorize a function that finds it')
  }

  #named(ctx: unknown): readonly string[] {
    if (typeof this.#fields === 'object') return this.#fields
    const fields: unknown = this.#fields?.(ctx)
    if (isPromise(fields) || !Array.isArray(fields) || fields.some((field) => typeof field !== 'string')) this.#fault(`asks for fields, and the function that names them gave ${describe(fields)}: a list of names is wanted`)
    if (fields.length === 0) this.#refuse(undefined, 'no field')
    return fields as string[]
  }

  #refuse(rule: AnyRule | undefined, field?: string): never {
    const what = field === undefined ? this.what : `${this.what}, ${field}`
    throw new Denied('FORBIDDEN', undefined, rule?.reason ?? (rule === undefined ? `no rule permits ${what}` : `a rule forbids ${what}`))
  }

  #fault(what: string): never {
    throw new PolicyFault(`${this.what} ${what}`, 'authorize')
  }

}

/** Whether it is a promise, where there may be none: nobody will wait for it, so its rejection is taken care of. */
function isPromise(value: unknown): boolean {
  if (!isThenable(value)) return false
  Promise.resolve(value).catch(() => {})
  return true
}

const isName = (value: unknown): value is string => typeof value === 'string' && value !== ''

const isResource = (value: unknown): boolean => typeof value === 'object' && value !== null && !Array.isArray(value)

/** CASL takes an empty name for none, and a client can send a field of that name. */
function covers(rule: AnyRule, field: string): boolean {
  return rule.fields === undefined || (field !== '' && rule.matchesField(field))
}

function fieldsOf(options: AuthorizeOptions): readonly string[] | ((ctx: any) => readonly string[]) | undefined {
  if (!isPlain(options as unknown)) throw new ConfigError(`authorize: the options are an object { field }, { fields } or { mask: true }; got ${describe(options)}.`)
  const given = Object.keys(options)
  const unknown = given.find((key) => key !== 'field' && key !== 'fields' && key !== 'mask')
  if (unknown !== undefined) throw new ConfigError(`authorize: there is no option "${unknown}". The options are field, fields and mask.`)
  if (given.length > 1) throw new ConfigError(`authorize: takes one of field, fields and mask; got ${given.join(' and ')}.`)
  const { field, fields, mask }: AuthorizeOptions = options
  if ('mask' in options && typeof mask !== 'boolean') throw new ConfigError(`authorize: \`mask\` is true or false; got ${describe(mask)}.`)
  if ('field' in options) {
    if (!isName(field)) throw new ConfigError(`authorize: \`field\` is the name of a field; got ${describe(field)}.`)
    return [field]
  }
  if (!('fields' in options) || typeof fields === 'function') return fields
  if (!Array.isArray(fields) || fields.length === 0 || !fields.every(isName)) throw new ConfigError(`authorize: \`fields\` is a list of at least one name, or a function that gives one; got ${describe(fields)}.`)
  return [...fields]
}
