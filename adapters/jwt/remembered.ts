import { hash } from 'node:crypto'
import type { Proof } from './claims.ts'

/** Tokens whose signature was checked before. Bounded: those that were not seen for longest go first. */
export class Remembered {
  readonly #proofs = new Map<string, Proof>()
  readonly #max: number

  constructor(max: number) {
    this.#max = max
  }

  /** Under its hash, so that a dump of the memory is no list of tokens. */
  keyOf(token: string): string {
    return hash('sha256', token, 'base64')
  }

  /** @returns what the token proved; whether its time is over is for the caller to ask */
  get(key: string): Proof | undefined {
    const proof = this.#proofs.get(key)
    if (proof === undefined) return undefined
    this.#proofs.delete(key)
    this.#proofs.set(key, proof)
    return proof
  }

  set(key: string, proof: Proof): void {
    if (this.#proofs.size >= this.#max) {
      for (const oldest of this.#proofs.keys()) {
        this.#proofs.delete(oldest)
        break
      }
    }
    this.#proofs.set(key, proof)
  }

  delete(key: string): void {
    this.#proofs.delete(key)
  }
}
