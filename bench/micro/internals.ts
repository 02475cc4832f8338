/** A part of the library that is not exported, out of the very build that is measured. `file` is relative to `lib/`. */
export async function internal<T>(file: string): Promise<T> {
  return (await import(new URL(file, import.meta.resolve('portcullis')).href)) as T
}
