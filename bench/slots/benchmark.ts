import { availableParallelism } from 'node:os';
import type { BenchContext, Benchmark } from '../benchmark.js';
import { LoadClient } from '../load/client.js';
import { describeMachine } from '../machine.js';
import { measure, repliesFor, type Sample } from '../measure.js';
import { obtainModel, type BenchModel } from '../model/models.js';
import { anonymousMib, proportionalMib } from '../proc.js';
import { withOwned } from '../program.js';
import { toFigures } from '../report/json.js';
import { countSteps } from '../report/steps.js';
import { BenchServer } from '../server.js';
import { lmservOpenai } from '../targets/lmserv.js';
import { jobFor, nextPrompts } from '../targets/target.js';
import { LAYOUTS, settingsOf, type Layout } from './layouts.js';
import { rowOf, slotsChart, slotsTable, type SlotsRow, type Visit } from './result.js';

/** How much is measured: least tokens of one measurement, by model. */
const EVENTS = { demo: 4096, large: 1024 };
const TOKENS = 64;
const STREAMS = [8, 32];
const ROUNDS = { full: 5, quick: 2 };

/** What one process with many slots and many processes with one slot each cost and bring. */
export const slots: Benchmark = {
  summary: 'few workers with many slots against many workers with few',
  async run(context) {
    const machine = await describeMachine(context.root);
    const rows: SlotsRow[] = [];
    for (const name of context.options.models)
      rows.push(...(await measureModel(await obtainModel(name, context.root), context)));
    return {
      text: slotsTables(rows),
      figures: { machine, quick: context.options.quick, rows: toFigures(rows) },
      chart: slotsChart(rows),
    };
  },
};

function slotsTables(rows: readonly SlotsRow[]): string {
  const models = [...new Set(rows.map(({ model }) => model))];
  return models
    .map((model) => `${model} model\n${slotsTable(rows.filter((row) => row.model === model))}`)
    .join('\n\n');
}

/** Each round starts each layout anew, so that a machine whose speed changes changes it for all. */
async function measureModel(model: BenchModel, context: BenchContext): Promise<SlotsRow[]> {
  const { options } = context;
  const rounds = options.rounds ?? (options.quick ? ROUNDS.quick : ROUNDS.full);
  const visits = await withOwned(async (own) => {
    const client = own(new LoadClient());
    const steps = own(countSteps(`measuring ${model.name}`, rounds * LAYOUTS.length));
    const found: Visit[] = [];
    for (let round = 0; round < rounds; round += 1) {
      for (const layout of LAYOUTS) {
        found.push(await visit(layout, model, client, context));
        steps.step(`${layout.workers} × ${layout.slots}`);
      }
    }
    return found;
  });
  const streams = options.streams ?? STREAMS;
  return streams.flatMap((count) => LAYOUTS.map((layout) => rowOf(model.name, layout, count, visits)));
}

function visit(
  layout: Layout,
  model: BenchModel,
  client: LoadClient,
  { root, options, signal }: BenchContext,
): Promise<Visit> {
  return withOwned(async (own) => {
    const settings = { ...settingsOf(layout, availableParallelism()), LLM_MODEL_PATH: model.path };
    const server = own(await BenchServer.start({ root, settings, signal }));
    const target = lmservOpenai(server);
    const tokens = options.tokens ?? TOKENS;
    const events = options.quick ? EVENTS[model.name] / 4 : EVENTS[model.name];
    const load = (streams: number, replies: number) =>
      measure(client, jobFor(target, nextPrompts(replies), tokens, streams), target.pids, signal);
    // Each slot has answered once before anything counts.
    await load(layout.workers * layout.slots, layout.workers * layout.slots);
    const samples = new Map<number, Sample>();
    for (const streams of options.streams ?? STREAMS)
      samples.set(streams, await load(streams, repliesFor(streams, tokens, events)));
    const memory = {
      anonymous: anonymousMib(server.workerPids),
      proportional: proportionalMib(server.workerPids),
    };
    return { layout, samples, memory };
  });
}
