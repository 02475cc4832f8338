import { AbilityBuilder, createMongoAbility, subject, type MongoAbility } from '@casl/ability'
import { permittedFieldsOf } from '@casl/ability/extra'
import { z } from 'zod'

type Action = 'enter' | 'read' | 'comment' | 'update' | 'wipe' | 'exclude' | 'renew' | 'end'
type Subject = 'Workroom' | 'Document' | 'Person' | 'Profile' | 'Session'
export type WorkroomAbility = MongoAbility<[Action, Subject | object]>

const Claims = z.object({ tenant: z.enum(['acme', 'globex']), role: z.enum(['admin', 'editor', 'viewer']) })

const publicFields = ['id', 'name', 'tenant', 'role', 'status', 'online', 'documentId']

/** What somebody with these claims may do. Claims that do not say who and what they are give no rights at all. */
export function abilitiesFor(claims: unknown): WorkroomAbility {
  const { can, build } = new AbilityBuilder<WorkroomAbility>(createMongoAbility)
  const known = Claims.safeParse(claims)
  if (!known.success) return build()

  const { tenant, role } = known.data
  can('enter', 'Workroom')
  can('update', 'Profile')
  can(['renew', 'end'], 'Session')
  can(['read', 'comment'], 'Document', { tenant })
  if (role !== 'viewer') can('update', 'Document', { tenant })
  if (role !== 'admin') {
    can('read', 'Person', publicFields, { tenant })
    return build()
  }
  // Without a list of fields the rule covers all of them: e-mail and hourly rate too.
  can('read', 'Person', { tenant })
  can('wipe', 'Document', { tenant })
  // Nobody is left to let in an admin who was shut out.
  can('exclude', 'Person', { tenant, role: { $ne: 'admin' } })
  return build()
}

/** The part of a person that this ability may read; undefined when it may not know of the person at all. */
export function readablePart<P extends object>(ability: WorkroomAbility, person: P): P | undefined {
  const resource = subject('Person', { ...person })
  if (!ability.can('read', resource)) return undefined
  const fields = permittedFieldsOf(ability, 'read', resource, { fieldsFrom: (rule) => rule.fields ?? Object.keys(person) })
  return Object.fromEntries(Object.entries(person).filter(([field]) => fields.includes(field))) as P
}
