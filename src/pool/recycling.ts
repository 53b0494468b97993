/** The limits at which a healthy worker is replaced; undefined means no limit. */
export interface RecyclingLimits {
  /** Number of requests served. */
  readonly requests?: number | undefined;
  /** Time since its start, milliseconds. */
  readonly ageMs?: number | undefined;
  /** Memory that is not shared with other processes, bytes. */
  readonly memoryBytes?: number | undefined;
}

/** A worker's current figures. */
export interface WorkerUse {
  readonly requests: number;
  readonly ageMs: number;
  /** undefined when the system does not report it. */
  readonly memoryBytes: number | undefined;
}

/** The limit that a worker has reached; undefined when it has reached none. Pure. */
export function recyclingDue(use: WorkerUse, limits: RecyclingLimits): keyof RecyclingLimits | undefined {
  const reached = (value: number | undefined, limit: number | undefined) =>
    value !== undefined && limit !== undefined && value >= limit;
  const names = ['requests', 'ageMs', 'memoryBytes'] as const;
  return names.find((name) => reached(use[name], limits[name]));
}
