/** Where one request stands: the prompt is being evaluated, or tokens are coming. */
export type Phase = 'prefill' | 'decode';

interface Activity {
  phase: Phase;
  /** Since when the next event is being waited for; undefined while the client is the slow one. */
  waitingSince: number | undefined;
}

export interface ProgressLimits {
  readonly firstTokenMs: number;
  readonly tokenMs: number;
}

/**
 * Judges whether a worker still moves. Progress of any of its slots counts for all, because they are decoded
 * together; a request whose client does not read is not waited for. Pure: the clock is handed in, milliseconds.
 */
export class ProgressWatch {
  readonly #activities = new Set<Activity>();
  #progressAt = -Infinity;

  constructor(private readonly limits: ProgressLimits) {}

  /** A request has been sent to the worker. */
  begin(now: number): Activity {
    const activity: Activity = { phase: 'prefill', waitingSince: now };
    this.#activities.add(activity);
    return activity;
  }

  /** An event arrived for it; nothing is waited for until `wait`. */
  progress(activity: Activity, phase: Phase, now: number): void {
    activity.phase = phase;
    activity.waitingSince = undefined;
    this.#progressAt = now;
  }

  /** The worker has shown otherwise that it moves. */
  alive(now: number): void {
    this.#progressAt = now;
  }

  /** The consumer asks for the next event. */
  wait(activity: Activity, now: number): void {
    activity.waitingSince = now;
  }

  end(activity: Activity): void {
    this.#activities.delete(activity);
  }

  /** Milliseconds until the first request is overdue, 0 or less when one is; undefined when nothing is waited for. */
  dueIn(now: number): number | undefined {
    let due: number | undefined;
    for (const { phase, waitingSince } of this.#activities) {
      if (waitingSince === undefined) continue;
      const limit = phase === 'prefill' ? this.limits.firstTokenMs : this.limits.tokenMs;
      const left = Math.max(waitingSince, this.#progressAt) + limit - now;
      if (due === undefined || left < due) due = left;
    }
    return due;
  }
}
