import { UserError } from '../src/errors.js';
import { type BenchContext, type Benchmark, inTurn, measureModels, withOwned } from './benchmark.js';
import { fetchReply } from './load/job.js';
import type { BenchModel } from './model/models.js';
import { figure, formatTable, toFigures } from './report.js';
import type { LogLine, ServerProcess } from '../test/harness/server-process.js';
import { ROOT } from '../src/config/root.js';
import { spawnServer, type BenchServerOptions } from './server.js';
import { spread } from './statistics.js';
import { jobFor, lmservOpenai, nextPrompts } from './targets/target.js';

/** `lmserv` is the compiled command line itself. */
const WAYS = [
  { command: 'lmserv', workers: 1 },
  { command: 'npm start', workers: 1 },
  { command: 'npm start', workers: 4 },
] as const;

const STAGES = ['code runs', 'listens', 'a worker is ready', 'first token', 'all are ready'];

/** Between two attempts of the first request, milliseconds. */
const RETRY_MS = 2;

/** How long a start takes where everything has been installed and built, and has just been read from the disk. */
export const start: Benchmark = {
  summary: 'from `npm start` to the first token, stage by stage',
  async run(context) {
    const figures = await measureModels(context, (model) => measureModel(model, context));
    const rows = figures.rows.map(({ model, command, workers, stages }) => [
      command,
      model,
      String(workers),
      ...stages.map(({ median, min, max }) => `${figure(median)} (${figure(min)}–${figure(max)})`),
    ]);
    const table = formatTable(['command', 'model', 'workers', ...STAGES], rows);
    return {
      text: `milliseconds since the command: median (min–max)\n${table}`,
      figures: { stages: STAGES, ...(toFigures(figures) as object) },
    };
  },
};

/** All ways in turn, round after round; the first round warms the disk's cache and is not counted. */
async function measureModel(model: BenchModel, { options, signal }: BenchContext) {
  const rounds = options.rounds ?? (options.quick ? 2 : 7);
  const timed = await inTurn(`starting with ${model.name}`, WAYS, { rounds, uncounted: 1 }, (way) => {
    const settings = {
      LLM_MODEL_PATH: model.path,
      LLM_WORKERS: String(way.workers),
      LLM_CTX_SIZE: '512',
      LLM_THREADS: undefined,
    };
    const npm = { command: ['npm', '--prefix', ROOT, 'start'] as const };
    return timeStart({ settings, ...(way.command === 'npm start' ? npm : {}) }, way.workers, signal);
  });
  return WAYS.map((way, index) => ({
    model: model.name,
    ...way,
    stages: STAGES.map((_, stage) => spread(timed[index]!.map((times) => times[stage]!))),
  }));
}

/** Starts LMServ, sends a request as soon as it listens until there is a reply. @returns the time of each stage, ms. */
function timeStart(options: BenchServerOptions, workers: number, signal: AbortSignal): Promise<number[]> {
  return withOwned(async (own) => {
    const began = Date.now();
    const server = own(spawnServer(options));
    await server.untilStarted(0, signal);
    const firstToken = await untilFirstToken(server, signal);
    await server.untilStarted(workers, signal);
    const since = (line: LogLine | undefined) => Date.parse(line!.time) - began;
    const of = (name: string) => server.lines.filter(({ event }) => event === name);
    const ready = of('worker_ready');
    return [
      since(server.lines[0]),
      since(of('listening')[0]),
      since(ready[0]),
      firstToken - began,
      since(ready.at(-1)),
    ];
  });
}

/** As an impatient client: again and again while the status is 503. @returns the time, as Date.now tells it. */
async function untilFirstToken(server: ServerProcess, signal: AbortSignal): Promise<number> {
  const job = jobFor(lmservOpenai(server), nextPrompts(1), 8, 1);
  for (;;) {
    signal.throwIfAborted();
    const asked = Date.now();
    const { tokens, error } = await fetchReply(job, job.bodies[0]!);
    if (error === undefined) return asked + tokens[0]!;
    if (error !== 'status 503') throw new UserError(`the first request failed: ${error}`);
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}
