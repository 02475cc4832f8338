import { isThenable } from '../lib/compose.ts'
import { ConfigError, PolicyFault } from '../lib/errors.ts'
import type { Code } from '../lib/errors.ts'
import { masker, MASKED } from '../lib/mask.ts'
import type { Decision, Outcome } from '../lib/observe.ts'
import { describe } from '../lib/policy.ts'
import type { Stage } from '../lib/policy.ts'

/** One decision, as plain JSON without line breaks. What does not apply is undefined, which JSON leaves out. */
export interface AuditRecord {
  /** When it was made: UTC, ISO 8601, milliseconds. */
  readonly time: string
  readonly stage: Stage
  readonly outcome: Outcome
  /** False in `observe` mode, where nothing is refused. */
  readonly enforced: boolean
  /** Correlation id: the one the client was told. */
  readonly id: string
  readonly namespace: string | undefined
  readonly event: string | undefined
  readonly room: string | undefined
  /** Why it was decided, where that is not the ordinary reason: `recover`, `refresh`, `reauthorize`, `reply`. */
  readonly cause: string | undefined
  readonly subject: string | undefined
  readonly address: string
  readonly userAgent: string | undefined
  /** Of a refusal: its code. */
  readonly code?: Code | undefined
  /** Of a refusal: the policy that refused. */
  readonly policy?: string | undefined
  readonly retryAfterMs?: number | undefined
  /** What the client was told beside the code, masked. */
  readonly details?: unknown
  /** Why it was refused, for operators only, masked. */
  readonly reason?: unknown
  /** Of a fault: name, message, place and causes of what was thrown, masked. */
  readonly error?: unknown
}

/** Where records go: any logger that takes an object, such as pino. What it returns is not waited for. */
export interface AuditLogger {
  /** Admissions. */
  info(record: AuditRecord): unknown
  /** Refusals. */
  warn(record: AuditRecord): unknown
  /** Faults. */
  error(record: AuditRecord): unknown
}

export interface AuditOptions {
  /** Further names whose values are masked; `subject`, `address` and `userAgent` mask those of the record. */
  readonly mask?: readonly string[]
  /** Whether admitted deliveries are recorded as well, each recipient for itself. Default false. */
  readonly deliveries?: boolean
}

/** What {@link audit} makes: it observes, and decides nothing. */
export interface AuditPolicy {
  readonly name: string
  readonly observe: (decision: Decision) => void
}

/**
 * Writes one structured record of each decision, with secrets masked and nothing in it that could forge a line of a log.
 *
 * @example
 * gate.use(audit(pino()))
 * @throws ConfigError for a logger without `info`, `warn` and `error`
 */
export function audit(logger: AuditLogger, options: AuditOptions = {}): AuditPolicy {
  checkLogger(logger)
  const { mask = [], deliveries = false } = checkOptions(options)
  const write = writer(logger)
  const describing = describer(mask)
  return {
    name: 'audit',
    observe(decision) {
      const { outcome, stage } = decision
      if (outcome !== 'admitted') write(outcome === 'denied' ? 'warn' : 'error', describing.refusal(decision))
      else if (stage !== 'deliver' || deliveries) write('info', describing.admission(decision))
    },
  }
}

const MAX_NAME = 128
const MAX_WHO = 256
/** Names that are remembered with what they look like in a record; they come from clients, so they are bounded. */
const MAX_KNOWN_NAMES = 1_000
/** How long a failing logger is not complained about again. */
const QUIET_MS = 60_000

/** Who it was, as records show it. */
interface Who {
  readonly rawAddress: string
  readonly rawUserAgent: string | undefined
  readonly subject: string | undefined
  readonly address: string
  readonly userAgent: string | undefined
}

function describer(names: readonly string[]): { admission(decision: Decision): AuditRecord; refusal(decision: Decision): AuditRecord } {
  const mask = masker(names)
  // The record's own fields are hidden by the given names only: `address` is no secret unless somebody says so.
  const hidden = (field: string): boolean => names.some((name) => field.toLowerCase().includes(name.toLowerCase()))
  const [hidesSubject, hidesAddress, hidesUserAgent] = [hidden('subject'), hidden('address'), hidden('userAgent')]
  const known = new Map<string, string>()
  const peers = new WeakMap<object, Who>()
  const time = clockFace()

  const nameOf = (raw: string | undefined): string | undefined => {
    if (raw === undefined) return undefined
    const found = known.get(raw)
    if (found !== undefined) return found
    const name = mask.name(raw, MAX_NAME)
    if (raw.length > MAX_NAME) return name
    if (known.size >= MAX_KNOWN_NAMES) known.clear()
    known.set(raw, name)
    return name
  }

  const text = (raw: string, hides: boolean): string => (hides && raw !== '' ? MASKED : mask.text(raw, MAX_WHO))
  const whoOf = (decision: Decision): Who => {
    const { peer, address: rawAddress, userAgent: rawUserAgent } = decision
    const own = peers.get(peer)
    if (own !== undefined && own.rawAddress === rawAddress && own.rawUserAgent === rawUserAgent) return own
    const { subject } = decision
    const who = {
      rawAddress,
      rawUserAgent,
      subject: subject === undefined ? undefined : text(subject, hidesSubject),
      address: text(rawAddress, hidesAddress),
      userAgent: rawUserAgent === undefined ? undefined : text(rawUserAgent, hidesUserAgent),
    }
    peers.set(peer, who)
    return who
  }

  const admission = (decision: Decision): AuditRecord => {
    const { subject, address, userAgent } = whoOf(decision)
    const { room } = decision
    return {
      time: time(decision.at),
      stage: decision.stage,
      outcome: decision.outcome,
      enforced: decision.enforced,
      id: decision.id,
      namespace: nameOf(decision.namespace),
      event: nameOf(decision.event),
      // Rooms are data more than names: `session:...` holds what it says.
      room: room === undefined ? undefined : mask.text(room, MAX_NAME),
      cause: decision.cause,
      subject,
      address,
      userAgent,
    }
  }
  return {
    admission,
    refusal(decision) {
      const { code, policy, refusal, error, outcome } = decision
      return {
        ...admission(decision),
        code,
        policy: nameOf(policy),
        retryAfterMs: refusal?.retryAfterMs,
        details: mask.value(refusal?.details),
        ...(outcome === 'fault' ? { error: mask.value(error) } : { reason: mask.value(error?.cause) }),
      }
    },
  }
}

const MILLISECONDS: readonly string[] = Array.from({ length: 1_000 }, (_, ms) => `${String(ms).padStart(3, '0')}Z`)

/** ISO 8601 of a time. Formatting a date costs more than the rest of a record, so that is done once for each second. */
function clockFace(): (at: number) => string {
  let second = NaN
  let face = ''
  return (at) => {
    const ms = Math.floor(at)
    const current = Math.floor(ms / 1_000)
    if (current !== second) {
      face = new Date(current * 1_000).toISOString().slice(0, -4)
      second = current
    }
    return face + MILLISECONDS[ms - current * 1_000]!
  }
}

/** A logger that throws or rejects changes nothing, and is complained about now and then only. */
function writer(logger: AuditLogger): (level: 'info' | 'warn' | 'error', record: AuditRecord) => void {
  const mask = masker([])
  let quietUntil = -Infinity
  const failed = (error: unknown, record: AuditRecord): void => {
    const now = Date.parse(record.time)
    if (now < quietUntil && quietUntil - now <= QUIET_MS) return
    quietUntil = now + QUIET_MS
    // The error of a logger may hold its whole configuration.
    console.error(new PolicyFault(`the logger failed: ${mask.text(error instanceof Error ? error.message : describe(error))}`, 'audit'))
  }
  return (level, record) => {
    try {
      const returned = logger[level](record)
      if (isThenable(returned)) Promise.resolve(returned).catch((error: unknown) => failed(error, record))
    } catch (error) {
      failed(error, record)
    }
  }
}

function checkLogger(logger: unknown): asserts logger is AuditLogger {
  const example = 'audit takes a logger such as pino(), or { info, warn, error }: three functions that take a record.'
  if ((typeof logger !== 'object' && typeof logger !== 'function') || logger === null) throw new ConfigError(`audit: got ${describe(logger)}. ${example}`)
  for (const level of ['info', 'warn', 'error']) {
    if (typeof (logger as Record<string, unknown>)[level] !== 'function') throw new ConfigError(`audit: the logger has no function \`${level}\`. ${example}`)
  }
}

function checkOptions(options: AuditOptions): AuditOptions {
  if (typeof options !== 'object' || options === null) throw new ConfigError(`audit: options are { mask, deliveries }; got ${describe(options)}.`)
  const unknown = Object.keys(options).find((key) => key !== 'mask' && key !== 'deliveries')
  if (unknown !== undefined) throw new ConfigError(`audit: unknown option "${unknown}". The options are mask and deliveries.`)
  const { mask, deliveries } = options
  if (mask !== undefined && (!Array.isArray(mask) || !mask.every((name) => typeof name === 'string' && /[a-z0-9]/i.test(name)))) {
    throw new ConfigError("audit: mask is a list of names such as ['email'], each with a letter or a digit in it.")
  }
  if (deliveries !== undefined && typeof deliveries !== 'boolean') throw new ConfigError(`audit: deliveries is true or false; got ${describe(deliveries)}.`)
  return options
}
