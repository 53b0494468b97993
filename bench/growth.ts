import { UserError } from '../src/errors.js';
import { createHash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import {
  type BenchContext,
  type Benchmark,
  inTurn,
  measureModels,
  type Stoppable,
  withOwned,
} from './benchmark.js';
import type { LoadJob } from './load/job.js';
import { cpuPerRequest, cpuPerToken, errorCount, LoadClient, measure, type Sample } from './measure.js';
import { figure, formatTable, spreadFigure, toFigures } from './report.js';
import { startServer } from './server.js';
import type { ServerProcess } from '../test/harness/server-process.js';
import { ratios, spread, type Spread } from './statistics.js';
import { jobFor, lmservOpenai, nextPrompts } from './targets/target.js';

/** How the cost of something may grow with its size. */
type Growth = 'not at all' | 'linearly';

interface Cost {
  readonly size: number;
  readonly cost: number;
}

/** How much rounds differ if nothing grows. */
const NOISE = 1.15;

/**
 * Judges costs by size, the smallest first. A line through the two smallest says what linear growth would cost at the
 * others; with two sizes only, linear growth is at most in proportion to the size.
 */
export function verdictOf(costs: readonly Cost[], allowed: Growth): string {
  const [first, second, ...others] = costs;
  if (first === undefined || second === undefined) return 'one size only';
  const exceeds = (limit: (size: number) => number, points: readonly Cost[]) =>
    points.some(({ size, cost }) => !(cost <= limit(size) * NOISE));
  if (!exceeds(() => first.cost, costs)) return 'does not grow';
  if (allowed === 'not at all') return 'GROWS';
  const slope = Math.max(0, (second.cost - first.cost) / (second.size - first.size));
  const faster =
    others.length > 0
      ? exceeds((size) => first.cost + slope * (size - first.size), others)
      : exceeds((size) => (first.cost * size) / first.size, [second]);
  return faster ? 'GROWS FASTER THAN LINEARLY' : 'grows at most linearly';
}

interface SeriesContext {
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
  /** Starts the servers. @returns the sizes, the smallest first */
  start(context: SeriesContext): Promise<Point[]>;
}

interface Point {
  readonly label: string;
  readonly size: number;
  /** @returns the cost, in the series' unit. @throws UserError if a request fails. */
  measure(): Promise<number>;
}

/** Requests of one measurement. */
const REQUESTS = 500;

const CALLERS = [10, 10_000];

const SERIES: readonly Series[] = [
  {
    name: 'CPU per token by streams',
    backend: 'demo model',
    unit: 'µs',
    allowed: 'not at all',
    async start(context) {
      // 64 replies are generated at a time, the others wait: llama-cli breaks connections if more arrive at once.
      const server = await startOwned(context, { LLM_WORKERS: '8', LLM_SLOTS: '8', QUEUE_LIMIT: '512' });
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
      const server = await startOwned(context, { LLM_SLOTS: String(slots), QUEUE_LIMIT: '1000' });
      // Most of the requests are sent while the queue is full.
      return [0, 1_000].map((waiting) => ({
        label: `${waiting} waiting`,
        size: waiting,
        measure: () => perRequest(server, nextPrompts(3_000), context, slots + waiting),
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
          const server = await startOwned(context, await keysOf(count, context), true);
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
    backend: 'mock',
    unit: 'ms',
    allowed: 'not at all',
    async start(context) {
      const keys = await keysOf(CALLERS.at(-1)!, context);
      const points: Point[] = [];
      for (const count of CALLERS) {
        const server = await startOwned(context, keys, true);
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

/** Prompts of so many thousand characters, in messages of equal length. */
function prompts(name: string, sizes: readonly number[], messages: number): Series {
  return {
    name,
    backend: 'mock',
    unit: 'ms',
    allowed: 'linearly',
    async start(context) {
      const server = await startOwned(context, {}, true);
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

async function startOwned(
  { modelPath, own, signal }: SeriesContext,
  settings: Readonly<Record<string, string>>,
  mock = false,
): Promise<ServerProcess> {
  const all = { LLM_MODEL_PATH: modelPath, LLM_THREADS: '1', LLM_CTX_SIZE: '512', ...settings };
  return own(await startServer({ settings: all, signal, mock }));
}

const oneToken = (server: ServerProcess, texts: readonly string[], streams: number): LoadJob =>
  jobFor(lmservOpenai(server), texts, 1, streams);

async function perRequest(
  server: ServerProcess,
  texts: readonly string[],
  context: SeriesContext,
  streams: number,
  key?: string,
): Promise<number> {
  const keys = key === undefined ? undefined : texts.map(() => key);
  return cpuPerRequest(await load(server, { ...oneToken(server, texts, streams), keys }, context));
}

async function load(server: ServerProcess, job: LoadJob, { client, signal }: SeriesContext): Promise<Sample> {
  const sample = await measure(client, job, [server.pid], signal);
  if (errorCount(sample) > 0) throw new UserError(`requests failed: ${JSON.stringify(sample.errors)}`);
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

interface Row {
  readonly series: string;
  readonly backend: string;
  readonly point: string;
  readonly unit: string;
  readonly cost: Spread;
  /** The cost divided by that of the first point in the same round. */
  readonly ofFirst: Spread;
  /** On the last point of a series. */
  readonly verdict: string;
}

/** How LMServ's cost grows with what grows in use. */
export const growth: Benchmark = {
  summary: "how LMServ's processor time grows with streams, waiting requests, keys, callers and prompts",
  async run(context) {
    const options = { ...context.options, models: ['demo'] as const };
    const figures = await measureModels({ ...context, options }, async ({ path }) => {
      const rows: Row[] = [];
      for (const series of SERIES) rows.push(...(await measureSeries(series, path, context)));
      return rows;
    });
    return { text: growthTable(figures.rows), figures: toFigures(figures) as object };
  },
};

/** All points in turn, round after round; the first round is not counted. */
function measureSeries(series: Series, modelPath: string, context: BenchContext): Promise<Row[]> {
  const { options, signal } = context;
  const rounds = options.rounds ?? (options.quick ? 1 : 3);
  return withOwned(async (own) => {
    const client = own(new LoadClient());
    const points = await series.start({ modelPath, client, own, signal });
    const costs = await inTurn(series.name, points, { rounds, uncounted: 1 }, (point) => point.measure());
    return rowsOf(series, points, costs);
  });
}

function rowsOf(
  { name, backend, unit, allowed }: Series,
  points: readonly Point[],
  costs: number[][],
): Row[] {
  const spreads = costs.map(spread);
  const sizes = points.map(({ size }, index) => ({ size, cost: spreads[index]!.median }));
  return points.map(({ label }, index) => ({
    series: name,
    backend,
    point: label,
    unit,
    cost: spreads[index]!,
    ofFirst: spread(ratios(costs[index]!, costs[0]!)),
    verdict: index === points.length - 1 ? verdictOf(sizes, allowed) : '',
  }));
}

function growthTable(rows: readonly Row[]): string {
  return formatTable(
    ['cost', 'backend', 'at', 'median (min–max)', 'of the first (min–max)', 'verdict'],
    rows.map(({ series, backend, point, unit, cost, ofFirst, verdict }) => [
      series,
      backend,
      point,
      `${figure(cost.median)} (${figure(cost.min)}–${figure(cost.max)}) ${unit}`,
      spreadFigure(ofFirst),
      verdict,
    ]),
  );
}
