import { beforeAll, describe, expect, test } from '@jest/globals'
import { typeErrors } from '../support/compile.ts'

const prelude = `
import { every, guard } from 'portcullis'
import type { Policy } from 'portcullis'
import { jwt } from 'portcullis/adapters/jwt'
import { abilities, authenticate, authorize, origin } from 'portcullis/policies'
import type { Server } from 'socket.io'
declare const io: Server
const scheme = jwt({ secret: 'a secret of thirty-two characters!', issuer: 'a', audience: 'b' })
`

/** Programs with one mistake each, and what the compiler has to say of it. */
const mistakes: Record<string, readonly [program: string, says: readonly RegExp[]]> = {
  'abilities before authenticate': [`guard(io).use(abilities(({ principal }) => [{ action: 'read', subject: principal.subject }])).use(authenticate(scheme))`, [/principal/]],
  'authorize without abilities': [`guard(io).use(authenticate(scheme)).event('x', authorize('read', 'Doc'))`, [/Property 'ability' is missing/]],
  'authorize without abilities, in a combination': [`guard(io).use(authenticate(scheme)).event('x', every(authorize('read', 'Doc')))`, [/Property 'ability' is missing/]],
  'a policy that needs a fact nobody gave': [`const quota: Policy<{ plan: string }> = { name: 'quota', event: (ctx, next) => next() }\nguard(io).use(quota)`, [/Property 'plan' is missing/]],
  'a fact in a hook that nobody gave': [`guard(io).event('x', (ctx, next) => (ctx.peer.principal ? next() : undefined))`, [/Property 'principal' does not exist/]],
  'a policy at a stage it has no hook for': [`guard(io).event('x', origin({ allow: ['https://app.example'] }))`, [/'event' is missing/]],
  'next without the promised facts': [`const gives: Policy<object, { tenant: string }> = { name: 'gives', connect: (_ctx, next) => next() }`, [/Expected 1 arguments, but got 0/]],
  'an asynchronous delivery': [`guard(io).deliver('x', async (_ctx, next) => next())`, [/Promise/]],
  'facts out of a combination': [`guard(io).use(every(authenticate(scheme)))`, [/a combinator takes policies that give no facts/]],
}

let errors: ReadonlyMap<string, string>
beforeAll(() => {
  const names = Object.keys(mistakes)
  const fileOf = (index: number): string => `test/types/mistake-${index}.ts`
  const found = typeErrors([], new Map(Object.values(mistakes).map(([program], index) => [fileOf(index), `${prelude}${program}\n`])))
  errors = new Map(names.map((name, index) => [name, found.filter((line) => line.startsWith(`${fileOf(index)}(`)).join('\n')]))
}, 60_000)

describe('what the compiler says of a mistake names what is wrong', () => {
  test.each(Object.keys(mistakes))('%s', (name) => {
    for (const says of mistakes[name]![1]) expect(errors.get(name)).toMatch(says)
  })
})
