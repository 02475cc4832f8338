import { contract } from 'portcullis/contract'
import { z } from 'zod'

const Id = z.string().regex(/^[a-z]+(-[a-z]+)*$/).max(40)
const Name = z.string().max(80)

const ChatMessage = z.object({ id: z.string(), documentId: Id, from: Name, text: z.string(), at: z.iso.datetime() })

const Person = z.object({
  id: Id,
  name: Name,
  tenant: z.string(),
  role: z.string(),
  status: z.string(),
  online: z.boolean(),
  documentId: Id.nullable(),
  email: z.string().optional(),
  hourlyRate: z.number().optional(),
})
export type Person = z.infer<typeof Person>

const Lineage = z.string().regex(/^[\w-]+$/).max(80)

/** Somewhere one is signed in. */
const SignedIn = z.object({
  id: Lineage,
  createdAtMs: z.number(),
  seenAtMs: z.number(),
  address: z.string().optional(),
  userAgent: z.string().optional(),
})

const OpenDocument = z.object({
  id: Id,
  tenant: z.string(),
  title: z.string(),
  text: z.string(),
  version: z.int(),
  messages: z.array(ChatMessage),
})

/** What may be said in the workroom, in both directions. A plain value: a page with a build step could import it too. */
export const workroom = contract({
  events: {
    'doc:open': { data: z.strictObject({ id: Id }), reply: OpenDocument },
    'doc:edit': { data: z.strictObject({ id: Id, text: z.string().max(20_000) }), reply: z.object({ version: z.int() }) },
    'doc:wipe': { data: z.strictObject({ id: Id }), reply: z.object({ version: z.int() }) },
    'doc:typing': { data: z.strictObject({ id: Id }) },
    'chat:send': { data: z.strictObject({ id: Id, text: z.string().min(1).max(500) }), reply: ChatMessage },
    'profile:save': {
      data: z.strictObject({ status: z.string().max(40) }),
      reply: z.object({ id: Id, name: Name, role: z.string(), status: z.string() }),
    },
    'session:renew': { data: z.strictObject({}), reply: z.object({ renewed: z.literal(true) }) },
    'session:end': { data: z.strictObject({ id: Lineage }), reply: z.object({ ended: z.boolean() }) },
    'session:end-others': { data: z.strictObject({}), reply: z.object({ ended: z.int() }) },
    'person:revoke': { data: z.strictObject({ id: Id }), reply: z.object({ closed: z.int() }) },
    'person:reinstate': { data: z.strictObject({ id: Id }), reply: z.object({ reinstated: z.boolean() }) },
  },
  deliveries: {
    'doc:changed': { data: z.object({ id: Id, text: z.string(), version: z.int(), by: Name }) },
    'doc:typing': { data: z.object({ id: Id, by: Name }) },
    'chat:message': { data: ChatMessage },
    sessions: { data: z.object({ of: Id, current: Lineage.optional(), sessions: z.array(SignedIn) }) },
    roster: { data: z.object({ people: z.array(Person) }) },
  },
})
