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

/** Most of the log is a line for each request; only those that were tried again matter to anybody. */
const PLAIN_REQUEST = /"event":"request"(?!.*"attempts":)/;

/** LMServ's log as it is written. Lines of plain requests are not kept: reading them would disturb what is measured. */
export class ServerLog {
  readonly #lines: LogLine[] = [];
  readonly #added = new EventEmitter().setMaxListeners(0);

  /** Takes a line of output; anything but JSON, such as the greeting or a line cut short, is ignored. */
  readonly add = (text: string): void => {
    if (!text.startsWith('{') || PLAIN_REQUEST.test(text)) return;
    const line = parse(text);
    if (line === undefined) return;
    this.#lines.push(line);
    this.#added.emit('line', line);
  };

  /** Calls back with each line from now on. */
  onLine(callback: (line: LogLine) => void): void {
    this.#added.on('line', callback);
  }

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

function parse(text: string): LogLine | undefined {
  try {
    return JSON.parse(text) as LogLine;
  } catch {
    return undefined;
  }
}
