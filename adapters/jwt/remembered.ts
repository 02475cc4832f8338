import { hash } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import type { Proof } from './claims.ts'
import type { Keys } from './keys.ts'

/** A proof, and the key it rests on: it falls with that. */
export interface Memory extends Proof {
  readonly keys: Keys
  readonly key: KeyObject
}

/** Tokens whose signature was checked before. Bounded: those that were not seen for longest go first. */
export class Remembered {
  readonly #memories = new Map<string, Memory>()
  readonly #max: number

  constructor(max: number) {
    this.#max = max
  }

  /** Its hash, so that a dump of the memory is no list of tokens. */
  idOf(token: string): string {
    return hash('sha256', token, 'base64')
  }

  /** @returns what the token proved, while its key counts; whether its time is over is for the caller to ask, who does so once: then it is forgotten */
  get(id: string, now: number): Proof | undefined {
    const memory = this.#memories.get(id)
    if (memory === undefined) return undefined
    this.#memories.delete(id)
    if (!memory.keys.holds(memory.key, now)) return undefined
    if (now < memory.expiresAtMs) this.#memories.set(id, memory)
    return memory
  }

  set(id: string, memory: Memory): void {
    if (this.#memories.size >= this.#max) {
      for (const oldest of this.#memories.keys()) {
        this.#memories.delete(oldest)
        break
      }
    }
    this.#memories.set(id, memory)
  }
}
