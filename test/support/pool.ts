import { EventEmitter, once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { pino, type Logger } from 'pino';
import type { GenerateEvent, GenerateRequest, JsonObject } from '../../src/contract.js';
import { LocalBackend } from '../../src/backends/local/backend.js';
import { Pool, type PoolOptions } from '../../src/pool/pool.js';
import type { WorkerOptions } from '../../workers/options.js';
import { pull, testContext } from './pulled.js';

export { isAlive } from '../harness/processes.js';

/** Stands in for a llama.cpp program. */
export const FAKE = fileURLToPath(new URL('./fake-llama.mjs', import.meta.url));

const pools: TestPool[] = [];

afterEach(async () => {
  for (const { pool } of pools.splice(0)) {
    pool.kill();
    await pool.stop();
  }
});

type Timeouts = WorkerOptions['timeouts'];
type Worker = Partial<Omit<WorkerOptions, 'timeouts'> & { timeouts: Partial<Timeouts> }>;

/** A pool of fake workers until the end of the test, its log lines as events named by their `event` field. */
export class TestPool {
  readonly lines: any[] = [];
  readonly #events = new EventEmitter();
  readonly pool: Pool;
  readonly backend: LocalBackend;
  readonly logger: Logger;
  /** Receives each log line. */
  onLine: (line: any) => void = () => undefined;

  constructor(options: Partial<Omit<PoolOptions, 'worker'>> = {}, { timeouts, ...worker }: Worker = {}) {
    pools.push(this);
    const write = (text: string) => {
      const line = JSON.parse(text);
      this.lines.push(line);
      this.#events.emit(line.event, line);
      this.onLine(line);
    };
    const logger = (this.logger = pino({ level: 'trace' }, { write }));
    this.pool = new Pool({
      name: 'fake',
      workers: 1,
      gpus: [],
      queueLimit: 64,
      queueTimeoutMs: 60_000,
      env: process.env,
      logger,
      ...options,
      worker: {
        binary: { path: FAKE, kind: 'llama-cli' },
        modelPath: '/models/fake.gguf',
        slots: 1,
        ctxSize: 1024,
        cacheRamMb: 0,
        extraArgs: [],
        timeouts: { startMs: 30_000, firstTokenMs: 30_000, tokenMs: 30_000, ...timeouts },
        ...worker,
      },
    });
    this.backend = new LocalBackend(options.name ?? 'fake', this.pool, logger, {
      resume: { enabled: true, timeoutMs: 30_000 },
    });
  }

  /** The next log line of an event. */
  async next(event: string): Promise<any> {
    return (await once(this.#events, event))[0];
  }

  /** The log lines of an event so far. */
  logged(event: string): any[] {
    return this.lines.filter((line) => line.event === event);
  }

  async ready(): Promise<this> {
    this.pool.start();
    while (this.pool.status().workers.idle < this.pool.status().workers.total)
      await this.next('worker_ready');
    return this;
  }

  /** Kills a worker from outside, as the kernel would, and returns the line that its end is logged with. */
  async killOutside(pid = this.pool.pids()[0]!): Promise<any> {
    const exit = this.next('worker_exit');
    process.kill(pid, 'SIGKILL');
    return exit;
  }

  /** Starts a generation with these words as the prompt. */
  ask(content: string, signal: AbortSignal = new AbortController().signal, fields: JsonObject = {}) {
    const body = { messages: [{ role: 'user', content }], ...fields };
    return this.run({ kind: 'chat', n: 1, body }, signal);
  }

  /** Starts a generation that keeps its slot after its first text, until `release()`. */
  async hold(content = '@hold x') {
    const { events, context } = this.ask(content);
    await firstText(events);
    return { events, context, release: () => events.return(undefined) };
  }

  run(request: GenerateRequest, signal: AbortSignal = new AbortController().signal, name = 'test') {
    const caller = { name, admin: false };
    const context = testContext({ requestId: 'r', caller, signal });
    const events = pull(this.backend, request, context);
    return { events, context, text: () => textOf(events) };
  }
}

/** Starts a pool and waits until its workers are ready. */
export const startPool = (...args: ConstructorParameters<typeof TestPool>): Promise<TestPool> =>
  new TestPool(...args).ready();

/** The text of a reply. @throws what the generation throws. */
export async function textOf(events: AsyncIterable<GenerateEvent>): Promise<string> {
  let text = '';
  for await (const event of events) if (event.type === 'text') text += event.text;
  return text;
}

/** Reads until the first text event. */
export async function firstText(events: AsyncIterator<GenerateEvent>): Promise<void> {
  for (;;) {
    const { value, done } = await events.next();
    if (done || value.type === 'text') return;
  }
}
