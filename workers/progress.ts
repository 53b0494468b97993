/** Where one request stands: the prompt is being evaluated, or tokens are coming. */
export type Phase = 'prefill' | 'decode';

/** One request in a worker. Its stream writes these fields as bytes arrive; only `ProgressWatch` reads them. */
export interface Activity {
  phase: Phase;
  /** Since when its next event has been awaited. */
  awaitedSince: number;
  /** When its last event arrived. */
  progressAt: number;
  /** The client reads slowly and holds it back: nothing is awaited. */
  held: boolean;
}

/**
 * Judges whether a worker still makes progress. Progress on any of its slots counts for all of them, because they are
 * decoded together; a request whose client does not read is not awaited. Pure: the clock is passed in, milliseconds.
 */
export class ProgressWatch {
  readonly #limits: Readonly<Record<Phase, number>>;
  readonly #activities = new Set<Activity>();
  #progressAt = -Infinity;

  /** @param limits max times without progress, milliseconds; in the prefill, every batch is progress. */
  constructor(limits: Readonly<Record<Phase, number>>) {
    this.#limits = limits;
  }

  /** A request has been sent to the worker. */
  begin(now: number): Activity {
    const activity: Activity = { phase: 'prefill', awaitedSince: now, progressAt: -Infinity, held: false };
    this.#activities.add(activity);
    return activity;
  }

  /** The worker has shown progress in another way. */
  noteProgress(now: number): void {
    this.#progressAt = now;
  }

  end(activity: Activity): void {
    this.#progressAt = Math.max(this.#progressAt, activity.progressAt);
    this.#activities.delete(activity);
  }

  /** Milliseconds until the first request is overdue, 0 or less when one is; undefined when there is no request. */
  dueIn(now: number): number | undefined {
    if (this.#activities.size === 0) return undefined;
    let progressAt = this.#progressAt;
    for (const activity of this.#activities) progressAt = Math.max(progressAt, activity.progressAt);
    let due = Infinity;
    for (const { phase, awaitedSince, held } of this.#activities) {
      const limit = this.#limits[phase];
      due = Math.min(due, held ? limit : Math.max(awaitedSince, progressAt) + limit - now);
    }
    return due;
  }

  /**
   * Milliseconds until the next look at a request that is due in `dueMs`. Never longer than the shorter limit, because the
   * phase may change meanwhile and tokens reset no timer.
   */
  delay(dueMs: number): number {
    return Math.max(1, Math.min(dueMs, this.#limits.prefill, this.#limits.decode));
  }
}
