import { availableParallelism } from 'node:os';
import { measureModels, type BenchContext, type Benchmark } from './benchmark.js';
import { LoadClient } from './load/client.js';
import { errorCount, measure, repliesFor, type Sample } from './measure.js';
import type { BenchModel } from './model/models.js';
import { anonymousMib, proportionalMib } from './proc.js';
import { withOwned } from './program.js';
import { figure } from './report/format.js';
import { toFigures } from './report/json.js';
import { countSteps } from './report/steps.js';
import { formatTable } from './report/table.js';
import { BenchServer } from './server.js';
import { quantile, sum } from './statistics.js';
import { lmservOpenai } from './targets/lmserv.js';
import { jobFor, nextPrompts } from './targets/target.js';

/** Ways to get eight replies at a time: workers × slots. The cores are shared out among the workers. */
const LAYOUTS = ['1 × 8', '2 × 4', '8 × 1'];

/** Min tokens of one measurement. */
const EVENTS = { demo: 4096, large: 1024 };

/** Few workers with many slots against many workers with few. */
export const slots: Benchmark = {
  summary: 'few workers with many slots against many workers with few',
  async run(context) {
    const figures = await measureModels(context, (model) => measureModel(model, context));
    return { text: table(figures.rows), figures: toFigures(figures) as object };
  },
};

interface Seen {
  readonly layout: string;
  readonly streams: number;
  readonly sample: Sample;
  /** Memory of all workers that belongs to no file, and with their parts of the model's file, MiB. */
  readonly anonymous: number;
  readonly proportional: number;
}

/** Each round starts each layout anew, so that a machine that changes its speed changes all of them. */
async function measureModel(model: BenchModel, context: BenchContext) {
  const rounds = context.options.rounds ?? (context.options.quick ? 2 : 5);
  const seen: Seen[] = [];
  await withOwned(async (own) => {
    const client = own(new LoadClient());
    const steps = own(countSteps(`measuring ${model.name}`, rounds * LAYOUTS.length));
    for (let round = 0; round < rounds; round += 1) {
      for (const layout of LAYOUTS) {
        seen.push(...(await visit(layout, model, client, context)));
        steps.step(layout);
      }
    }
  });
  const streams = [...new Set(seen.map((visit) => visit.streams))];
  return streams.flatMap((count) =>
    LAYOUTS.map((layout) =>
      rowOf(
        model,
        seen.filter((visit) => visit.layout === layout && visit.streams === count),
      ),
    ),
  );
}

function visit(
  layout: string,
  model: BenchModel,
  client: LoadClient,
  { root, options, signal }: BenchContext,
): Promise<Seen[]> {
  const [workers, slotsEach] = layout.split(' × ').map(Number) as [number, number];
  const settings = {
    LLM_MODEL_PATH: model.path,
    LLM_WORKERS: String(workers),
    LLM_SLOTS: String(slotsEach),
    LLM_THREADS: String(Math.max(1, Math.floor(availableParallelism() / workers))),
    LLM_CTX_SIZE: '512',
  };
  return withOwned(async (own) => {
    const server = own(await BenchServer.start({ root, settings, signal }));
    const target = lmservOpenai(server);
    const tokens = options.tokens ?? 64;
    const load = (streams: number, replies: number) =>
      measure(client, jobFor(target, nextPrompts(replies), tokens, streams), target.pids, signal);
    // Each slot has answered once before anything counts.
    await load(8, 8);
    const samples: [number, Sample][] = [];
    const events = EVENTS[model.name] / (options.quick ? 4 : 1);
    for (const streams of options.streams ?? [8, 32])
      samples.push([streams, await load(streams, repliesFor(streams, tokens, events))]);
    const anonymous = anonymousMib(server.workerPids);
    const proportional = proportionalMib(server.workerPids);
    return samples.map(([streams, sample]) => ({ layout, streams, sample, anonymous, proportional }));
  });
}

/** Medians of the rounds. Times are milliseconds. */
function rowOf(model: BenchModel, seen: readonly Seen[]) {
  const median = (pick: (visit: Seen) => number) => quantile(seen.map(pick), 0.5);
  return {
    model: model.name,
    layout: seen[0]!.layout,
    streams: seen[0]!.streams,
    tokensPerSecond: median(({ sample }) => sample.eventsPerSecond),
    firstTokenP50: median(({ sample }) => sample.firstTokenP50),
    firstTokenP99: median(({ sample }) => sample.firstTokenP99),
    anonymousMib: median(({ anonymous }) => anonymous),
    proportionalMib: median(({ proportional }) => proportional),
    errors: sum(seen.map(({ sample }) => errorCount(sample))),
  };
}

function table(rows: readonly ReturnType<typeof rowOf>[]): string {
  const head = ['model', 'workers × slots', 'streams', 'tokens/s', 'first token p50', 'p99 ms'];
  return formatTable(
    [...head, 'RssAnon MiB', 'PSS MiB', 'errors'],
    rows.map(({ model, layout, streams, errors, ...figures }) => [
      model,
      layout,
      String(streams),
      ...Object.values(figures).map(figure),
      String(errors),
    ]),
  );
}
