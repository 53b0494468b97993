/** What a run learns from the server's log: its workers' lives, and what became of replies whose worker failed. */

/** A worker as the log tells of it. */
export interface LoggedWorker {
  readonly id: string;
  readonly pid: number;
  /** It takes requests. */
  ready: boolean;
}

interface Line {
  readonly level: number;
  readonly time: string;
  readonly event?: string;
  readonly [field: string]: unknown;
}

/** pino's number for an error; warnings are below it. */
const ERROR = 50;

/** Most of the log is a line a request, and nothing of it is needed unless the request was tried again. */
const PLAIN_REQUEST = /"event":"request"(?!.*"attempts":)/;

export class ServerLog {
  port: number | undefined;
  /** Process ids of all workers so far. */
  readonly pids: number[] = [];
  /** Lines of level error or worse. */
  readonly errors: string[] = [];
  /** Replies that another worker went on with, and that finished. */
  resumed = 0;
  /** Requests that were run again before their first token, and that finished. */
  retried = 0;
  readonly #workers = new Map<number, LoggedWorker>();
  /** Requests whose worker failed when some of the reply had been handed on. */
  readonly #begun = new Set<string>();
  readonly #exits = new Map<number, (at: number) => void>();
  readonly #awaited = new Set<{ fits: () => boolean; resolve: () => void }>();

  /** Takes one line of stdout. */
  add(text: string): void {
    if (PLAIN_REQUEST.test(text)) return;
    const line = parse(text);
    if (line === undefined) return;
    if (line.level >= ERROR) this.errors.push(text);
    this.#note(line);
    this.#announce();
  }

  /** Living workers, in the order of their positions. */
  get workers(): LoggedWorker[] {
    return [...this.#workers.values()].sort((a, b) => a.id.localeCompare(b.id));
  }

  /** Calls back with the time at which the server noticed a worker's end, milliseconds since 1970 by its own clock. */
  onExit(pid: number, callback: (at: number) => void): void {
    this.#exits.set(pid, callback);
  }

  /** Resolves once what the log tells fits. */
  until(fits: () => boolean): Promise<void> {
    if (fits()) return Promise.resolve();
    return new Promise((resolve) => this.#awaited.add({ fits, resolve }));
  }

  #note(line: Line): void {
    const pid = line.pid as number;
    switch (line.event) {
      case 'listening':
        this.port = line.port as number;
        break;
      case 'worker_spawn':
        this.pids.push(pid);
        this.#workers.set(pid, { id: line.worker as string, pid, ready: false });
        break;
      case 'worker_ready':
        this.#workers.get(pid)!.ready = true;
        break;
      case 'worker_exit':
        this.#workers.delete(pid);
        this.#exits.get(pid)?.(Date.parse(line.time));
        this.#exits.delete(pid);
        break;
      case 'worker_failed_request':
        if ((line.tokens as number) > 0) this.#begun.add(line.requestId as string);
        break;
      case 'request':
        this.#noteRetried(line);
    }
  }

  #noteRetried({ requestId, outcome }: Line): void {
    const begun = this.#begun.delete(requestId as string);
    if (outcome !== 'finished') return;
    if (begun) this.resumed += 1;
    else this.retried += 1;
  }

  #announce(): void {
    for (const waiter of this.#awaited) {
      if (!waiter.fits()) continue;
      this.#awaited.delete(waiter);
      waiter.resolve();
    }
  }
}

function parse(text: string): Line | undefined {
  try {
    return JSON.parse(text) as Line;
  } catch {
    return undefined;
  }
}
