import { createHash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { BenchError } from '../errors.js';
import type { LoadClient } from '../load/client.js';
import type { LoadJob } from '../load/job.js';
import { cpuPerRequest, cpuPerToken, errorCount, measure, type Sample } from '../measure.js';
import type { Stoppable } from '../program.js';
import { BenchServer } from '../server.js';
import { lmservOpenai } from '../targets/lmserv.js';
import { jobFor, nextPrompts } from '../targets/target.js';
import type { Growth } from './verdict.js';

export interface SeriesContext {
  /** The checkout. */
  readonly root: string;
  readonly modelPath: string;
  readonly client: LoadClient;
  /** Stops what it is given when the series is over. */
  readonly own: <S extends Stoppable>(started: S) => S;
  readonly signal: AbortSignal;
}

/** One cost of LMServ by one kind of size. */
export interface Series {
  readonly name: string;
  readonly backend: 'demo model' | 'mock';
  readonly unit: 'µs' | 'ms';
  readonly allowed: Growth;
  /** Starts what is needed. The smallest size comes first. */
  start(context: SeriesContext): Promise<Point[]>;
}

export interface Point {
  readonly label: string;
  readonly size: number;
  /** @returns the cost, in the series' unit. @throws BenchError when a request fails. */
  measure(): Promise<number>;
}

/** Requests of one measurement. */
const REQUESTS = 500;

const CALLERS = [10, 10_000];

export const SERIES: readonly Series[] = [
  {
    name: 'CPU per token by streams',
    backend: 'demo model',
    unit: 'µs',
    allowed: 'not at all',
    async start(context) {
      // 64 replies are generated at a time, the others wait: llama-cli breaks connections when more arrive at once.
      const server = await startServer(context, { LLM_WORKERS: '8', LLM_SLOTS: '8', QUEUE_LIMIT: '512' });
      return [1, 8, 64, 512].map((streams) => ({
        label: `${streams} streams`,
        size: streams,
        measure: async () => {
          const job = jobFor(lmservOpenai(server), nextPrompts(Math.max(32, streams)), 128, streams);
          return cpuPerToken(await load(server, job, context));
        },
      }));
    },
  },
  {
    name: 'CPU per request by waiting requests',
    backend: 'demo model',
    unit: 'ms',
    allowed: 'not at all',
    async start(context) {
      const slots = 8;
      const server = await startServer(context, { LLM_SLOTS: String(slots), QUEUE_LIMIT: '1000' });
      // Most of the requests are sent while the queue is full.
      return [0, 1_000].map((waiting) => ({
        label: `${waiting} waiting`,
        size: waiting,
        measure: () => perRequest(server, nextPrompts(4_000), context, slots + waiting),
      }));
    },
  },
  {
    name: 'CPU per request by keys',
    backend: 'mock',
    unit: 'ms',
    allowed: 'not at all',
    start: (context) =>
      Promise.all(
        CALLERS.map(async (count) => {
          const server = await startServer(context, await keysOf(count, context), true);
          const last = keyOf(count - 1);
          return {
            label: `${count} keys`,
            size: count,
            measure: () => perRequest(server, nextPrompts(REQUESTS), context, 1, last),
          };
        }),
      ),
  },
  {
    name: 'CPU per request by callers seen before',
    backend: 'demo model',
    unit: 'ms',
    allowed: 'not at all',
    async start(context) {
      const keys = await keysOf(CALLERS.at(-1)!, context);
      const points: Point[] = [];
      for (const count of CALLERS) {
        const server = await startServer(context, keys);
        await load(server, { ...oneToken(server, nextPrompts(count), 8), keys: allKeys(count) }, context);
        points.push({
          label: `${count} callers`,
          size: count,
          measure: () => perRequest(server, nextPrompts(REQUESTS), context, 1, keyOf(0)),
        });
      }
      return points;
    },
  },
  prompts('CPU per request by length of a prompt in one message', [1, 100, 900], 1),
  prompts('CPU per request by length of a prompt in 900 messages', [1, 100, 900], 900),
];

/** Prompts of so many thousand characters, in messages of one length. */
function prompts(name: string, sizes: readonly number[], messages: number): Series {
  return {
    name,
    backend: 'mock',
    unit: 'ms',
    allowed: 'linearly',
    async start(context) {
      const server = await startServer(context, {}, true);
      return sizes.map((size) => {
        const content = 'word '.repeat(size * 200).slice(0, (size * 1000) / messages);
        const asked = {
          model: 'bench',
          stream: true,
          max_tokens: 1,
          messages: Array.from({ length: messages }, (_, index) => ({
            role: (messages - index) % 2 === 1 ? 'user' : 'assistant',
            content,
          })),
        };
        const bodies = Array<string>(200).fill(JSON.stringify(asked));
        return {
          label: `${size} KB`,
          size,
          measure: async () =>
            cpuPerRequest(await load(server, { ...oneToken(server, [], 1), bodies }, context)),
        };
      });
    },
  };
}

async function startServer(
  { root, modelPath, own, signal }: SeriesContext,
  settings: Readonly<Record<string, string>>,
  mock = false,
): Promise<BenchServer> {
  const all = { LLM_MODEL_PATH: modelPath, LLM_THREADS: '1', LLM_CTX_SIZE: '512', ...settings };
  return own(await BenchServer.start({ root, settings: all, signal, mock }));
}

const oneToken = (server: BenchServer, texts: readonly string[], streams: number): LoadJob =>
  jobFor(lmservOpenai(server), texts, 1, streams);

async function perRequest(
  server: BenchServer,
  texts: readonly string[],
  context: SeriesContext,
  streams: number,
  key?: string,
): Promise<number> {
  const keys = key === undefined ? undefined : texts.map(() => key);
  return cpuPerRequest(await load(server, { ...oneToken(server, texts, streams), keys }, context));
}

async function load(server: BenchServer, job: LoadJob, { client, signal }: SeriesContext): Promise<Sample> {
  const sample = await measure(client, job, [server.pid], signal);
  if (errorCount(sample) > 0) throw new BenchError(`requests failed: ${JSON.stringify(sample.errors)}`);
  return sample;
}

const keyOf = (index: number): string => `bench-key-${index}`;

const allKeys = (count: number): string[] => Array.from({ length: count }, (_, index) => keyOf(index));

/** Writes a file of so many keys. @returns the setting that names it. */
async function keysOf(count: number, { own }: SeriesContext): Promise<Record<string, string>> {
  const folder = await mkdtemp(path.join(tmpdir(), 'lmserv-bench-'));
  own({ stop: () => rm(folder, { recursive: true, force: true }) });
  const file = path.join(folder, 'keys.json');
  const keys = allKeys(count).map((key, index) => ({
    name: `caller-${index}`,
    sha256: createHash('sha256').update(key).digest('hex'),
  }));
  await writeFile(file, JSON.stringify({ keys }), { mode: 0o600 });
  return { API_KEYS_FILE: file };
}
