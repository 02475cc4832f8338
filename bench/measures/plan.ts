/** How long and how often, for a whole run. */
export interface Plan {
  /** Servers are started afresh this many times: how a process happened to be compiled and laid out is one draw per start. */
  rounds: number
  /** Values that each row gets per round. */
  cycles: number
  /** A cycle visits every variant this many times and adds up: the finer the turns, the less the machine's moods matter. */
  turns: number
  warmMs: number
  /** Length of one turn under event load. */
  turnMs: number
  /** A handshake goes through so much code that it takes this many until the server has compiled it. */
  warmHandshakes: number
  /** Handshakes in one turn. */
  handshakes: number
  /** Messages broadcast in one turn. */
  broadcasts: number
  /** Receivers of each broadcast. */
  sockets: number
  /** Idle connections for the heap. */
  idle: number
}

const broadcastsOf = (deliveries: number, sockets: number): number => Math.max(1, Math.ceil(deliveries / sockets))

export const thorough = (sockets: number): Plan =>
  ({ rounds: 3, cycles: 3, turns: 6, warmMs: 1_000, turnMs: 200, warmHandshakes: 2_500, handshakes: 80, broadcasts: broadcastsOf(6_000, sockets), sockets, idle: 2_000 })

export const quick = (sockets: number): Plan =>
  ({ rounds: 1, cycles: 4, turns: 4, warmMs: 800, turnMs: 100, warmHandshakes: 1_000, handshakes: 40, broadcasts: broadcastsOf(3_000, sockets), sockets, idle: 1_000 })
