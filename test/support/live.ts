import { EventEmitter, once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { createServer, type CreateServerOptions } from '../../src/create-server.js';
import { ROOT } from '../../src/root.js';
import type { LMServ } from '../../src/server.js';

export const LIVE_KEY = 'live-test-key';
export const DEMO_MODEL = join(ROOT, 'models/lmserv-demo.gguf');

/** A whole LMServ on real llama.cpp and the demo model, in this process, on a free port. */
export class LiveServer {
  readonly lines: any[] = [];
  readonly #events = new EventEmitter();
  readonly server: LMServ;
  readonly dataDir = mkdtempSync(join(tmpdir(), 'lmserv-live-'));

  constructor(env: Record<string, string> = {}, options: CreateServerOptions = {}) {
    const write = (text: string) => {
      const line = JSON.parse(text);
      this.lines.push(line);
      this.#events.emit(line.event, line);
    };
    this.server = createServer({
      port: 0,
      apiKey: LIVE_KEY,
      host: '127.0.0.1',
      env: { LLM_MODEL_PATH: DEMO_MODEL, CACHE_RAM_MB: '0', DATA_DIR: this.dataDir, ...env },
      logger: pino({ level: 'info' }, { write }),
      ...options,
    });
  }

  async start(): Promise<this> {
    await this.server.start();
    await this.server.ready;
    return this;
  }

  /** Ends the server and removes what it wrote. */
  async stop(): Promise<void> {
    await this.server.stop();
    rmSync(this.dataDir, { recursive: true, force: true });
  }

  get url(): string {
    return `http://127.0.0.1:${this.server.port}`;
  }

  /** The next log line of an event. */
  async next(event: string): Promise<any> {
    return (await once(this.#events, event))[0];
  }

  /** Log lines of an event so far. */
  logged(event: string): any[] {
    return this.lines.filter((line) => line.event === event);
  }

  /** Resolves once every slot is free, as /ready tells it. */
  async untilIdle(): Promise<void> {
    for (;;) {
      const { slots } = (await (await fetch(`${this.url}/ready`)).json()) as {
        slots: { total: number; idle: number };
      };
      if (slots.idle === slots.total) return;
    }
  }

  post(path: string, body: object, init: RequestInit = {}): Promise<Response> {
    return fetch(this.url + path, {
      method: 'POST',
      headers: { 'X-API-Key': LIVE_KEY, 'Content-Type': 'application/json' },
      body: JSON.stringify(body),
      ...init,
    });
  }
}
