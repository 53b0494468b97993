import { availableParallelism } from 'node:os';
import { type BenchContext, type Benchmark, inTurn, measureModels, withOwned } from './benchmark.js';
import { errorCount, LoadClient, measure, repliesFor, type Sample } from './measure.js';
import type { BenchModel } from './model/models.js';
import { memoryMib } from '../test/harness/processes.js';
import { figure, formatTable, toFigures } from './report.js';
import { startServer } from './server.js';
import { quantile, sum } from './statistics.js';
import { jobFor, lmservOpenai, nextPrompts } from './targets/target.js';

/** Ways to get eight replies at a time: workers × slots. The cores are divided among the workers. */
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
  /** Memory of all workers without files, and with their shares of the model's file, MiB. */
  readonly anonymous: number;
  readonly proportional: number;
}

/** Each round starts each layout again, so that changes in the machine's speed affect all of them. */
async function measureModel(model: BenchModel, context: BenchContext) {
  const rounds = context.options.rounds ?? (context.options.quick ? 2 : 5);
  const client = new LoadClient();
  const label = `measuring ${model.name}`;
  const visits = await inTurn(label, LAYOUTS, { rounds }, (layout) =>
    visit(layout, model, client, context),
  ).finally(() => client.stop());
  const streams = visits[0]![0]!.map((seen) => seen.streams);
  return streams.flatMap((_, nth) =>
    visits.map((rounds) =>
      rowOf(
        model,
        rounds.map((seen) => seen[nth]!),
      ),
    ),
  );
}

function visit(
  layout: string,
  model: BenchModel,
  client: LoadClient,
  { options, signal }: BenchContext,
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
    const server = own(await startServer({ settings, signal }));
    const target = lmservOpenai(server);
    const tokens = options.tokens ?? 64;
    const load = (streams: number, replies: number) =>
      measure(client, jobFor(target, nextPrompts(replies), tokens, streams), target.pids, signal);
    // Each slot warms up with one reply.
    await load(8, 8);
    const samples: [number, Sample][] = [];
    const events = EVENTS[model.name] / (options.quick ? 4 : 1);
    for (const streams of options.streams ?? [8, 32])
      samples.push([streams, await load(streams, repliesFor(streams, tokens, events))]);
    const memory = (field: 'RssAnon' | 'Pss') => sum(server.workerPids().map((pid) => memoryMib(pid, field)));
    const [anonymous, proportional] = [memory('RssAnon'), memory('Pss')];
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
