import { measureModels, type BenchContext, type Benchmark } from './benchmark.js';
import { BenchError } from './errors.js';
import { fetchReply } from './load/reply.js';
import type { BenchModel } from './model/models.js';
import { withOwned } from './program.js';
import { figure } from './report/format.js';
import { toFigures } from './report/json.js';
import { countSteps } from './report/steps.js';
import { formatTable } from './report/table.js';
import { BenchServer, type ServerOptions } from './server.js';
import type { LogLine } from './server-log.js';
import { spread } from './statistics.js';
import { lmservOpenai } from './targets/lmserv.js';
import { jobFor, nextPrompts } from './targets/target.js';

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
function measureModel(model: BenchModel, { root, options, signal }: BenchContext) {
  const rounds = options.rounds ?? (options.quick ? 2 : 7);
  return withOwned(async (own) => {
    const steps = own(countSteps(`starting with ${model.name}`, (rounds + 1) * WAYS.length));
    const runs = WAYS.map((): number[][] => []);
    for (let round = 0; round <= rounds; round += 1) {
      for (const [index, { command, workers }] of WAYS.entries()) {
        const settings = {
          LLM_MODEL_PATH: model.path,
          LLM_WORKERS: String(workers),
          LLM_SLOTS: '1',
          LLM_CTX_SIZE: '512',
        };
        const npm = { command: ['npm', '--prefix', root, 'start'] as const };
        const server = { root, settings, signal, ...(command === 'lmserv' ? {} : npm) };
        const times = await timeStart(server, workers);
        if (round > 0) runs[index]!.push(times);
        steps.step(command);
      }
    }
    return WAYS.map((way, index) => ({
      model: model.name,
      ...way,
      stages: STAGES.map((_, stage) => spread(runs[index]!.map((times) => times[stage]!))),
    }));
  });
}

/** Starts LMServ, sends a request as soon as it listens until there is a reply. @returns the time of each stage, ms. */
function timeStart(options: ServerOptions, workers: number): Promise<number[]> {
  return withOwned(async (own) => {
    const began = Date.now();
    const server = own(await BenchServer.spawn(options));
    await server.until('listening', options.signal);
    const firstToken = await untilFirstToken(server, options.signal);
    await server.until('worker_ready', options.signal, workers);
    const since = (line: LogLine | undefined) => Date.parse(line!.time) - began;
    const ready = server.log.of('worker_ready');
    const listening = server.log.of('listening')[0];
    return [
      since(server.log.first),
      since(listening),
      since(ready[0]),
      firstToken - began,
      since(ready.at(-1)),
    ];
  });
}

/** As an impatient client: again and again while the status is 503. @returns the time, as Date.now tells it. */
async function untilFirstToken(server: BenchServer, signal: AbortSignal): Promise<number> {
  const job = jobFor(lmservOpenai(server), nextPrompts(1), 8, 1);
  for (;;) {
    signal.throwIfAborted();
    const asked = Date.now();
    const { tokens, error } = await fetchReply(job, job.bodies[0]!);
    if (error === undefined) return asked + tokens[0]!;
    if (error !== 'status 503') throw new BenchError(`the first request failed: ${error}`);
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}
