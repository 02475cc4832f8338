import { isThenable } from './compose.ts'
import type { Schema, SchemaResult } from './contract.ts'
import { ConfigError } from './errors.ts'

/** What one side of a contract entry says: the first argument, or all of them. */
export interface Shape {
  readonly data?: Schema | undefined
  readonly args?: readonly Schema[] | undefined
}

/** Validated arguments, or the issues, for operators. */
export type Validated = { readonly args: unknown[] } | { readonly issues: unknown }

/** Validates a list of arguments: at once where every schema is synchronous. Surplus arguments are an issue. */
export type Validator = (args: readonly unknown[]) => Validated | Promise<Validated>

const SURPLUS: Validated = { issues: 'more arguments than the contract has' }

/** Compiles a shape. @returns undefined where it says nothing of arguments */
export function validator(shape: Shape, where: string): Validator | undefined {
  const schemas = schemasOf(shape, where)
  if (schemas === undefined) return undefined
  if (schemas.length === 1) {
    const standard = schemas[0]!['~standard']
    return (args) => {
      if (args.length > 1) return SURPLUS
      const result = standard.validate(args[0])
      return isThenable(result) ? Promise.resolve(result).then(one) : one(result)
    }
  }
  return (args) => {
    if (args.length > schemas.length) return SURPLUS
    const results = schemas.map((schema, index) => schema['~standard'].validate(args[index]))
    return results.some(isThenable) ? Promise.all(results as Promise<SchemaResult<unknown>>[]).then(all) : all(results as SchemaResult<unknown>[])
  }
}

function one(result: SchemaResult<unknown>): Validated {
  return result.issues === undefined ? { args: [result.value] } : { issues: result.issues }
}

function all(results: readonly SchemaResult<unknown>[]): Validated {
  const args: unknown[] = []
  for (const result of results) {
    if (result.issues !== undefined) return { issues: result.issues }
    args.push(result.value)
  }
  return { args }
}

function schemasOf({ data, args }: Shape, where: string): readonly Schema[] | undefined {
  if (data !== undefined && args !== undefined) throw new ConfigError(`${where}: has both data and args; \`data\` is the first and only argument, \`args\` is all of them.`)
  const schemas = args ?? (data === undefined ? undefined : [data])
  if (schemas === undefined) return undefined
  if (!Array.isArray(args ?? [])) throw new ConfigError(`${where}: args is an array of schemas.`)
  for (const schema of schemas) checkSchema(schema, where)
  return schemas
}

/** ArkType's schemas are functions, those of others objects. */
function checkSchema(schema: unknown, where: string): void {
  const standard = (typeof schema === 'object' || typeof schema === 'function') && schema !== null ? (schema as Schema)['~standard'] : undefined
  if (typeof standard?.validate !== 'function') throw new ConfigError(`${where}: is not a Standard Schema. Use one of zod, valibot, arktype or another library that implements it.`)
}
