export type Role = 'admin' | 'editor' | 'viewer'
export type Tenant = 'acme' | 'globex'

export interface Account {
  readonly id: string
  readonly name: string
  readonly tenant: Tenant
  readonly role: Role
  readonly email: string
  /** Euro per hour. Inside a company only its admins are meant to see it. */
  readonly hourlyRate: number
  status: string
}

export interface TeamDocument {
  readonly id: string
  readonly tenant: Tenant
  readonly title: string
  text: string
  version: number
}

export interface ChatMessage {
  readonly id: string
  readonly documentId: string
  readonly from: string
  readonly text: string
  readonly at: string
}

export interface WorkroomData {
  readonly accounts: Map<string, Account>
  readonly documents: Map<string, TeamDocument>
  readonly messages: ChatMessage[]
}

const byId = <Item extends { readonly id: string }>(items: readonly Item[]): Map<string, Item> =>
  new Map(items.map((item) => [item.id, { ...item }]))

const accounts: readonly Account[] = [
  { id: 'ada', name: 'Ada Moss', tenant: 'acme', role: 'admin', email: 'ada@acme.example', hourlyRate: 140, status: 'Planning' },
  { id: 'erin', name: 'Erin Cole', tenant: 'acme', role: 'editor', email: 'erin@acme.example', hourlyRate: 95, status: 'Writing' },
  { id: 'viktor', name: 'Viktor Lund', tenant: 'acme', role: 'viewer', email: 'viktor@acme.example', hourlyRate: 70, status: 'Reading' },
  { id: 'greta', name: 'Greta Holm', tenant: 'globex', role: 'admin', email: 'greta@globex.example', hourlyRate: 155, status: 'Pricing' },
  { id: 'gus', name: 'Gus Ortega', tenant: 'globex', role: 'editor', email: 'gus@globex.example', hourlyRate: 88, status: 'Drafting' },
]

const documents: readonly TeamDocument[] = [
  {
    id: 'acme-roadmap',
    tenant: 'acme',
    title: 'Product roadmap',
    text: 'Spring: the new editor reaches every team.\nSummer: offline drafts.\nAutumn: import from the old tool.\n',
    version: 1,
  },
  {
    id: 'acme-handbook',
    tenant: 'acme',
    title: 'Team handbook',
    text: 'We write things down.\nWe answer within a day.\nMeetings have an agenda or do not happen.\n',
    version: 1,
  },
  {
    id: 'globex-prices',
    tenant: 'globex',
    title: 'Price list (draft)',
    text: 'Starter 9, Team 29, Company 99.\nNot to leave the building before the announcement.\n',
    version: 1,
  },
  {
    id: 'globex-hiring',
    tenant: 'globex',
    title: 'Hiring plan',
    text: 'Two engineers, one designer, one person for support.\n',
    version: 1,
  },
]

/** A fresh copy of the demo data; it lives in memory and ends with the process. */
export function createData(): WorkroomData {
  return { accounts: byId(accounts), documents: byId(documents), messages: [] }
}
