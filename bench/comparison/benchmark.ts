import { UserError } from '../../src/errors.js';
import {
  type BenchContext,
  type Benchmark,
  type BenchOptions,
  inTurn,
  describeMachine,
  type Report,
  type Stoppable,
  withOwned,
} from '../benchmark.js';
import { barChart, type Panel } from '../chart.js';
import { goalsTable, judge, type Load, type Pairing, type Row, rowsOf } from './result.js';
import { LoadClient, measure, repliesFor, type Sample } from '../measure.js';
import { type BenchModel, type ModelName, obtainModel } from '../model/models.js';
import { memoryMib } from '../../test/harness/processes.js';
import { figure, formatTable, spreadFigure, toFigures } from '../report.js';
import { startServer } from '../server.js';
import type { ServerProcess } from '../../test/harness/server-process.js';
import { sum, type Spread } from '../statistics.js';
import { bare, nginx, portkey } from '../targets/proxies.js';
import { direct, jobFor, lmservChat, lmservOpenai, nextPrompts, type Target } from '../targets/target.js';

type Start = (server: ServerProcess, signal: AbortSignal) => Promise<Target>;

/** What is compared with the worker's own endpoint, in the table's order. */
const TARGETS: Readonly<Record<string, Start>> = {
  nginx: (server, signal) => nginx(direct(server), signal),
  bare: (server, signal) => bare(direct(server), signal),
  'lmserv-chat': async (server) => lmservChat(server),
  'lmserv-openai': async (server) => lmservOpenai(server),
  portkey: (server, signal) => portkey(direct(server), signal),
};

export const TARGET_NAMES = Object.keys(TARGETS);

interface Started {
  readonly direct: Target;
  readonly others: readonly Target[];
  /** Why targets are left out. */
  readonly missing: readonly string[];
}

/** Starts the requested targets; one that is not available here is left out and named. */
async function startTargets(
  names: readonly string[],
  server: ServerProcess,
  own: <S extends Stoppable>(started: S) => S,
  signal: AbortSignal,
): Promise<Started> {
  const others: Target[] = [];
  const missing: string[] = [];
  for (const name of names) {
    try {
      others.push(own(await TARGETS[name]!(server, signal)));
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      missing.push(`${name} is left out: ${error.message}`);
    }
  }
  return { direct: direct(server), others, missing };
}

/** What is measured with one model. */
interface Plan {
  readonly loads: readonly Load[];
  readonly rounds: number;
}

/** The larger model is slower, so fewer events take as long. `requests` are one-token replies. */
const AMOUNTS: Record<ModelName, { tokens: number; events: number; requests: number }> = {
  demo: { tokens: 128, events: 4096, requests: 200 },
  large: { tokens: 32, events: 1024, requests: 100 },
};

function planFor(model: ModelName, { quick, ...options }: BenchOptions): Plan {
  const { tokens = AMOUNTS[model].tokens, streams = quick ? [1, 8] : [1, 8, 32] } = options;
  const { events, requests } = AMOUNTS[model];
  const share = quick ? 0.5 : 1;
  const replies = streams.map((count) => ({ streams: count, tokens, events: events * share }));
  return {
    loads: [...replies, { streams: 1, tokens: 1, events: requests * share }],
    rounds: options.rounds ?? (quick ? 2 : 5),
  };
}

function measureTarget(
  target: Target,
  { streams, tokens, events }: Load,
  client: LoadClient,
  signal: AbortSignal,
): Promise<Sample> {
  const texts = nextPrompts(repliesFor(streams, tokens, events));
  return measure(client, jobFor(target, texts, tokens, streams), target.pids, signal);
}

// prettier-ignore
const HEAD = [
  'target', 'streams × tokens', 'events/s', 'of direct (min–max)', 'of bare (min–max)', 'first token p50', 'p99 ms',
  'gap p50', 'p99 ms', 'CPU µs/token', 'CPU ms/request', 'of bare (min–max)', 'errors',
];

function comparisonTable(rows: readonly Row[]): string {
  return formatTable(HEAD, rows.map(cells));
}

function cells(row: Row): string[] {
  const direct = row.ofDirect === undefined;
  return [
    row.target,
    `${row.streams} × ${row.tokens}`,
    figure(row.eventsPerSecond.median),
    direct ? '1' : spreadFigure(row.ofDirect),
    row.ofBare ? spreadFigure(row.ofBare.rate) : '–',
    figure(row.firstTokenP50),
    figure(row.firstTokenP99),
    figure(row.gapP50),
    figure(row.gapP99),
    direct || row.tokens === 1 ? '–' : figure(row.cpuPerToken.median),
    direct || row.tokens > 1 ? '–' : figure(row.cpuPerRequest.median),
    row.ofBare ? spreadFigure(row.ofBare.cpu) : '–',
    row.errors === 0 ? '0' : `${row.errors} (${row.reasons.join(', ')})`,
  ];
}

/** For each model the event rate, and the processor time of a token. */
function comparisonChart(rows: readonly Row[]): string {
  const models = [...new Set(rows.map(({ model }) => model))];
  const others = rows.filter(({ target, tokens }) => target !== 'direct' && tokens > 1);
  const panels = models.flatMap((model) => {
    const mine = others.filter((row) => row.model === model);
    const kept = `${model} model: event rate, direct = 1, by number of streams`;
    return [
      { ...panel(kept, mine, ({ ofDirect }) => ofDirect), reference: 1 },
      panel(
        `${model} model: processor time of the server in between, µs for each token`,
        mine,
        ({ cpuPerToken }) => cpuPerToken,
      ),
    ];
  });
  return barChart('What a server in front of llama.cpp costs', panels);
}

function panel(title: string, rows: readonly Row[], pick: (row: Row) => Spread | undefined): Panel {
  const streams = [...new Set(rows.map((row) => row.streams))];
  const targets = [...new Set(rows.map((row) => row.target))];
  const valueOf = (name: string, count: number) => {
    const row = rows.find(({ target, streams: its }) => target === name && its === count);
    return row && pick(row);
  };
  return {
    title,
    groups: streams.map(String),
    series: targets.map((name) => ({ name, values: streams.map((count) => valueOf(name, count)) })),
  };
}

/** One worker that decodes eight replies together on one thread: the other core is for servers and load. */
const WORKER = { LLM_WORKERS: '1', LLM_SLOTS: '8', LLM_THREADS: '1', LLM_CTX_SIZE: '512' };

/** Memory of a server in between that belongs to no file, MiB. */
interface Memory {
  readonly model: string;
  readonly target: string;
  readonly idle: number;
  /** The max after a measurement. */
  loaded: number;
}

interface Measured {
  readonly rows: readonly Row[];
  readonly memory: readonly Memory[];
  readonly missing: readonly string[];
}

/** What LMServ and other servers cost in front of a llama.cpp worker. */
export const comparison: Benchmark = {
  summary:
    "LMServ, plain node:http, nginx and Portkey's gateway in front of a worker, against the worker itself",
  async run(context) {
    const machine = await describeMachine();
    const measured: Measured[] = [];
    for (const name of context.options.models) {
      measured.push(await measureModel(await obtainModel(name), context));
    }
    return report(measured, { machine, worker: WORKER, quick: context.options.quick });
  },
};

async function measureModel(model: BenchModel, context: BenchContext): Promise<Measured> {
  const { options, signal } = context;
  const plan = planFor(model.name, options);
  return withOwned(async (own) => {
    const settings = { ...WORKER, LLM_MODEL_PATH: model.path };
    const server = own(await startServer({ settings, signal }));
    const started = await startTargets(options.targets ?? TARGET_NAMES, server, own, signal);
    for (const line of started.missing) process.stderr.write(`${line}\n`);
    const client = own(new LoadClient());
    const memory = started.others.map((target) => idleMemory(model.name, target));
    const rows: Row[] = [];
    for (const load of plan.loads) {
      const label = `measuring ${model.name}, ${load.streams} × ${load.tokens}`;
      // Direct, target, direct, next target …
      const pairs = await inTurn(
        label,
        started.others,
        { rounds: plan.rounds, uncounted: 1 },
        async (target) => {
          const beside = await measureTarget(started.direct, load, client, signal);
          const sample = await measureTarget(target, load, client, signal);
          noteLoaded(memory, target);
          return { beside, sample };
        },
      );
      const pairings = started.others.map((target, index): Pairing => ({
        target,
        samples: pairs[index]!.map(({ sample }) => sample),
        beside: pairs[index]!.map(({ beside }) => beside),
      }));
      rows.push(...rowsOf(model.name, load, pairings));
    }
    return { rows, memory, missing: started.missing };
  });
}

function idleMemory(model: string, target: Target): Memory {
  const idle = anonymousMib(target);
  return { model, target: target.name, idle, loaded: idle };
}

const anonymousMib = ({ pids }: Target): number => sum(pids.map((pid) => memoryMib(pid, 'RssAnon')));

function noteLoaded(memory: readonly Memory[], target: Target): void {
  const entry = memory.find(({ target: name }) => name === target.name)!;
  entry.loaded = Math.max(entry.loaded, anonymousMib(target));
}

function report(measured: readonly Measured[], settings: object): Report {
  const rows = measured.flatMap((part) => part.rows);
  const memory = measured.flatMap((part) => part.memory);
  const missing = [...new Set(measured.flatMap((part) => part.missing))];
  const tables = measured.map((part) => `${part.rows[0]?.model} model\n${comparisonTable(part.rows)}`);
  const lines = memory.map(
    ({ model, target, idle, loaded }) =>
      `${target} (${model}): ${idle.toFixed(0)} MiB idle, ${loaded.toFixed(0)} MiB loaded`,
  );
  const goals = judge(rows);
  return {
    text: [...tables, goalsTable(goals), `Memory (RssAnon)\n${lines.join('\n')}`, ...missing].join('\n\n'),
    figures: { ...settings, ...(toFigures({ rows, goals, memoryMib: memory }) as object), missing },
    chart: comparisonChart(rows),
  };
}
