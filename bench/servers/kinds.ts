/** The server variants. Each runs in a process of its own. */
export const kinds = ['bare', 'control', 'verified', 'hand', 'empty', 'full', 'masked-1', 'masked-10', 'masked-100'] as const
export type Kind = (typeof kinds)[number]

export const labels: Record<Kind, string> = {
  'bare': 'bare',
  'control': 'bare, second copy (control)',
  'verified': 'bare, jose by hand at connect',
  'hand': 'hand-written middleware',
  'empty': 'guarded, no policies',
  'full': 'guarded, full job',
  'masked-1': 'guarded, masked, 1 audience',
  'masked-10': 'guarded, masked, 10 audiences',
  'masked-100': 'guarded, masked, 100 audiences',
}

/** How many distinct abilities the clients of a masking variant have among them. */
export function audiencesOf(kind: Kind): number | undefined {
  return kind.startsWith('masked-') ? Number(kind.slice('masked-'.length)) : undefined
}
