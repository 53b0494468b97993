import { writeSync } from 'node:fs';

/** Max bytes of lines that wait to be written. */
const BACKLOG = 1024 * 1024;

/** How often writing is retried, milliseconds. */
const RETRY_MS = 100;

/** How long a process that exits keeps retrying, milliseconds. */
const EXIT_WAIT_MS = 250;
const EXIT_STEP_MS = 10;

/** Writes bytes without blocking and returns how many; throws the system's error. */
export type WriteBytes = (bytes: Uint8Array) => number;

/**
 * The output of the log. A line is written at once, so that the last one before a crash is not lost. Lines that cannot
 * be written (disk full, a pipe whose reader is slow or gone) wait in a bounded backlog; lines beyond that are dropped and
 * counted. Nothing is thrown and nothing blocks.
 *
 * pino's own destination would throw on a full disk, stop for good after a broken pipe, and retry for ever at exit.
 */
export class LogOutput {
  /** Called with the number of dropped lines once the backlog is written. */
  onRecovered: (dropped: number) => void = () => undefined;
  readonly #writeBytes: WriteBytes;
  readonly #backlog: Uint8Array[] = [];
  #waiting = 0;
  #dropped = 0;
  #droppedInAll = 0;
  #retry: NodeJS.Timeout | undefined;

  constructor(writeBytes: WriteBytes) {
    this.#writeBytes = writeBytes;
  }

  /** Lines dropped since the start. */
  get droppedInAll(): number {
    return this.#droppedInAll;
  }

  /** Takes one line, including its line break. */
  write(line: string): void {
    const bytes = Buffer.from(line);
    if (!this.#flush()) this.#hold(bytes);
    else this.#keep(this.#attempt(bytes));
  }

  /** Writes as much as it can and returns the rest. */
  #attempt(bytes: Uint8Array): Uint8Array {
    let rest = bytes;
    try {
      while (rest.length > 0) rest = rest.subarray(this.#writeBytes(rest));
    } catch {
      // There is nowhere to report it; writing is retried.
    }
    return rest;
  }

  #hold(line: Uint8Array): void {
    if (this.#waiting + line.length <= BACKLOG) return this.#keep(line);
    this.#dropped += 1;
    this.#droppedInAll += 1;
  }

  #keep(rest: Uint8Array): void {
    if (rest.length === 0) return;
    this.#backlog.push(rest);
    this.#waiting += rest.length;
    if (this.#retry) return;
    this.#retry = setInterval(() => this.#flush(), RETRY_MS).unref();
    process.on('exit', this.#flushAtExit);
  }

  /** Writes as much of the backlog as it can; true when nothing is left. */
  #flush(): boolean {
    while (this.#backlog.length > 0) {
      const rest = this.#attempt(this.#backlog[0]!);
      this.#waiting -= this.#backlog[0]!.length - rest.length;
      this.#backlog[0] = rest;
      if (rest.length > 0) return false;
      this.#backlog.shift();
    }
    if (this.#retry) this.#recover();
    return true;
  }

  #recover(): void {
    clearInterval(this.#retry);
    this.#retry = undefined;
    process.off('exit', this.#flushAtExit);
    const dropped = this.#dropped;
    this.#dropped = 0;
    if (dropped > 0) this.onRecovered(dropped);
  }

  readonly #flushAtExit = (): void => {
    for (let waited = 0; !this.#flush() && waited < EXIT_WAIT_MS; waited += EXIT_STEP_MS) pause(EXIT_STEP_MS);
  };
}

/** The process's own stdout. */
export function stdoutOutput(): LogOutput {
  // Naming process.stdout puts a pipe or socket in non-blocking mode; a blocked write would stop the whole server.
  const { fd } = process.stdout;
  return new LogOutput((bytes) => writeSync(fd, bytes));
}

/** Blocks the thread; only for a process that is exiting. */
function pause(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}
