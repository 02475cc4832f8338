import type { ClientCertificate } from './certificate.ts'

interface Use {
  readonly certificate: ClientCertificate
  peers: number
}

/** The certificates of who is here, or about to be: what is asked again when a list of revocations has changed. */
export class LiveCertificates {
  readonly #uses = new Map<string, Use>()

  /** @returns how to take it back, once */
  add(certificate: ClientCertificate): () => void {
    const { id } = certificate
    const use = this.#uses.get(id) ?? { certificate, peers: 0 }
    use.peers++
    this.#uses.set(id, use)
    return () => {
      if (--use.peers === 0) this.#uses.delete(id)
    }
  }

  all(): ClientCertificate[] {
    return [...this.#uses.values()].map(({ certificate }) => certificate)
  }
}
