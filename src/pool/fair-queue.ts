import type { Queue, QueueAddOptions } from 'p-queue';

/** How p-queue hands a waiting job over, with whose it is. */
export interface FairOptions extends QueueAddOptions {
  /** Whose job it is. */
  readonly caller: string;
}

type Run = () => Promise<unknown>;

interface Waiting {
  readonly id: string | undefined;
  readonly run: Run;
}

/** The jobs of one caller that run now, and when one was last given to it. */
interface Share {
  running: number;
  /** Count of the turn at which it was last served; 0 for never. */
  lastTurn: number;
}

/**
 * The order in which waiting jobs are run: higher priority first; within one the caller with the fewest jobs running,
 * then the one served longest ago; within a caller first come first served. So a caller with one request waits for at
 * most one of a caller with a thousand. Pure: p-queue decides when, this decides who.
 */
export class FairQueue implements Queue<Run, FairOptions> {
  /** Priority → caller → its jobs in order. */
  readonly #classes = new Map<number, Map<string, Waiting[]>>();
  readonly #shares = new Map<string, Share>();
  #turns = 0;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  enqueue(run: Run, { priority = 0, caller = '', id }: Partial<FairOptions> = {}): void {
    const callers = this.#classes.get(priority) ?? new Map<string, Waiting[]>();
    this.#classes.set(priority, callers);
    const jobs = callers.get(caller) ?? [];
    callers.set(caller, jobs);
    jobs.push({ id, run });
    this.#size += 1;
  }

  /** Takes the next job out. */
  dequeue(): Run | undefined {
    const priority = this.#highest();
    if (priority === undefined) return undefined;
    const callers = this.#classes.get(priority)!;
    const caller = this.#next(callers.keys());
    const { run } = callers.get(caller)![0]!;
    this.#take(priority, caller, 0);
    return run;
  }

  /** A job of that caller's has begun; `finished` must follow. */
  started(caller: string): void {
    const share = this.#shares.get(caller) ?? { running: 0, lastTurn: 0 };
    this.#shares.set(caller, share);
    share.running += 1;
    share.lastTurn = this.#turns += 1;
  }

  /** A job of that caller's has ended. */
  finished(caller: string): void {
    const share = this.#shares.get(caller);
    if (!share) return;
    share.running -= 1;
    this.#forget();
  }

  remove(id: string): void {
    for (const [priority, callers] of this.#classes)
      for (const [caller, jobs] of callers) {
        const position = jobs.findIndex((job) => job.id === id);
        if (position >= 0) return this.#take(priority, caller, position);
      }
  }

  /** How many jobs will have been started when one that this caller adds now is: 1 is next. */
  positionOf(caller: string, priority: number): number {
    let ahead = 0;
    for (const [other, callers] of this.#classes) {
      if (other > priority) for (const jobs of callers.values()) ahead += jobs.length;
    }
    const callers = this.#classes.get(priority);
    const own = callers?.get(caller)?.length ?? 0;
    for (const [name, jobs] of callers ?? []) {
      ahead += name === caller ? own : Math.min(jobs.length, own + 1);
    }
    return ahead + 1;
  }

  filter({ priority = 0 }: Readonly<Partial<FairOptions>>): Run[] {
    const callers = this.#classes.get(priority);
    return [...(callers?.values() ?? [])].flatMap((jobs) => jobs.map(({ run }) => run));
  }

  /** Not offered: the pool adds each job with the priority it keeps. */
  setPriority(): never {
    throw new Error('the priority of a waiting job does not change');
  }

  #highest(): number | undefined {
    let best: number | undefined;
    for (const priority of this.#classes.keys()) if (best === undefined || priority > best) best = priority;
    return best;
  }

  #next(callers: Iterable<string>): string {
    let best: string | undefined;
    for (const caller of callers) if (best === undefined || this.#isBefore(caller, best)) best = caller;
    return best!;
  }

  #isBefore(a: string, b: string): boolean {
    const none = { running: 0, lastTurn: 0 };
    const { running, lastTurn } = this.#shares.get(a) ?? none;
    const other = this.#shares.get(b) ?? none;
    return running === other.running ? lastTurn < other.lastTurn : running < other.running;
  }

  #take(priority: number, caller: string, position: number): void {
    const callers = this.#classes.get(priority)!;
    const jobs = callers.get(caller)!;
    jobs.splice(position, 1);
    if (jobs.length === 0) callers.delete(caller);
    if (callers.size === 0) this.#classes.delete(priority);
    this.#size -= 1;
  }

  /**
   * Who has nothing here is forgotten, so that a thousand passing callers leave nothing behind; but not while somebody
   * waits who was served before: coming back as a newcomer would be going ahead of him.
   */
  #forget(): void {
    let longest = Infinity;
    for (const callers of this.#classes.values())
      for (const caller of callers.keys())
        longest = Math.min(longest, this.#shares.get(caller)?.lastTurn ?? 0);
    for (const [caller, { running, lastTurn }] of this.#shares)
      if (running <= 0 && lastTurn < longest && !this.#waits(caller)) this.#shares.delete(caller);
  }

  #waits(caller: string): boolean {
    for (const callers of this.#classes.values()) if (callers.has(caller)) return true;
    return false;
  }
}
