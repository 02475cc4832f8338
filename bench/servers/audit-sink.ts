/** A logger that keeps nothing: what is measured is the making of the record, not the writing of it. */
export class CountingSink {
  records = 0
  last: unknown

  readonly #take = (record: unknown): void => {
    this.records += 1
    this.last = record
  }

  readonly info = this.#take
  readonly warn = this.#take
  readonly error = this.#take
}
