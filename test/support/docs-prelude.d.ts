// Names that examples in the documentation may use without declaring them. A page that needs anything else declares it.
import type { MongoAbility } from '@casl/ability'
import type { Gate, Principal } from 'portcullis'
import type { Server } from 'socket.io'

interface Room {
  readonly id: string
  readonly members: readonly string[]
}

declare global {
  /** The application's Socket.IO server. */
  const io: Server
  /** A gate on which `authenticate` and `abilities` have been declared. */
  const gate: Gate<{ principal: Principal; ability: MongoAbility }>
  const secret: string
  const issuer: string
  const audience: string
  const logger: Record<'info' | 'warn' | 'error', (record: object) => void>
  const rooms: ReadonlyMap<string, Room>
  function abilitiesFor(principal: { readonly subject: string }): MongoAbility
}
