/** When a worker is replaced although nothing is wrong with it; undefined leaves that out. */
export interface RecyclingLimits {
  /** Requests served. */
  readonly requests?: number | undefined;
  /** Milliseconds since its start. */
  readonly ageMs?: number | undefined;
  /** Memory it has to itself, bytes. */
  readonly memoryBytes?: number | undefined;
}

/** What is known of a worker. */
export interface WorkerUse {
  readonly requests: number;
  readonly ageMs: number;
  /** undefined where the system does not tell. */
  readonly memoryBytes: number | undefined;
}

/** Why a worker is due for replacement; undefined when it is not. Pure. */
export function recyclingDue(use: WorkerUse, limits: RecyclingLimits): keyof RecyclingLimits | undefined {
  const reached = (value: number | undefined, limit: number | undefined) =>
    value !== undefined && limit !== undefined && value >= limit;
  const names = ['requests', 'ageMs', 'memoryBytes'] as const;
  return names.find((name) => reached(use[name], limits[name]));
}
