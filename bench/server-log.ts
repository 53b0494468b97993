import { EventEmitter, once } from 'node:events';

/** One line of LMServ's log. */
export interface LogLine {
  readonly event: string;
  /** ISO 8601, to the millisecond. */
  readonly time: string;
  readonly port?: number;
  readonly pid?: number;
  readonly [field: string]: unknown;
}

/** LMServ's log as it is written. */
export class ServerLog {
  readonly #lines: LogLine[] = [];
  readonly #added = new EventEmitter().setMaxListeners(0);

  /** Takes a line of output; what is not JSON, such as the greeting, is passed over. */
  readonly add = (text: string): void => {
    if (!text.startsWith('{')) return;
    this.#lines.push(JSON.parse(text) as LogLine);
    this.#added.emit('line');
  };

  of(event: string): LogLine[] {
    return this.#lines.filter((line) => line.event === event);
  }

  get first(): LogLine | undefined {
    return this.#lines[0];
  }

  /** The first `count` lines of an event, once there are so many. @throws the signal's reason when it aborts. */
  async until(event: string, signal: AbortSignal, count = 1): Promise<LogLine[]> {
    while (this.of(event).length < count) {
      signal.throwIfAborted();
      await once(this.#added, 'line', { signal }).catch(() => undefined);
    }
    return this.of(event).slice(0, count);
  }
}
