/** Ways to share one machine out among workers and their slots. */
export interface Layout {
  readonly workers: number;
  readonly slots: number;
}

/** Eight replies at a time in each. */
export const LAYOUTS: readonly Layout[] = [
  { workers: 1, slots: 8 },
  { workers: 2, slots: 4 },
  { workers: 8, slots: 1 },
];

export const nameOf = ({ workers, slots }: Layout): string => `${workers} × ${slots}`;

/** @param cores are shared out among the workers, one thread each at least */
export function settingsOf({ workers, slots }: Layout, cores: number): Record<string, string> {
  return {
    LLM_WORKERS: String(workers),
    LLM_SLOTS: String(slots),
    LLM_THREADS: String(Math.max(1, Math.floor(cores / workers))),
    LLM_CTX_SIZE: '512',
  };
}
