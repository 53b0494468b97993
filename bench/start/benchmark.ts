import type { BenchContext, Benchmark } from '../benchmark.js';
import { describeMachine } from '../machine.js';
import { obtainModel, type BenchModel } from '../model/models.js';
import { withOwned } from '../program.js';
import { toFigures } from '../report/json.js';
import { countSteps } from '../report/steps.js';
import type { ServerOptions } from '../server.js';
import { stagesOf, startChart, startTable, type StartRow } from './result.js';
import { timeStart, type StartTimes } from './start.js';

const ROUNDS = { full: 7, quick: 2 };

/** A way to start LMServ. */
interface Way {
  readonly name: string;
  readonly workers: number;
  /** What is run; undefined is the compiled command line itself. */
  readonly command: ((root: string) => readonly [string, ...string[]]) | undefined;
}

const npmStart: Way['command'] = (root) => ['npm', '--prefix', root, 'start'];

const WAYS: readonly Way[] = [
  { name: 'lmserv', workers: 1, command: undefined },
  { name: 'npm start', workers: 1, command: npmStart },
  { name: 'npm start', workers: 4, command: npmStart },
];

/** How long a start takes where everything has been installed and built, and has just been read from the disk. */
export const start: Benchmark = {
  summary: 'from `npm start` to the first token, stage by stage',
  async run(context) {
    const machine = await describeMachine(context.root);
    const rows: StartRow[] = [];
    for (const name of context.options.models)
      rows.push(...(await measureModel(await obtainModel(name, context.root), context)));
    return {
      text: `milliseconds since the command: median (lowest–highest)\n${startTable(rows)}`,
      figures: { machine, quick: context.options.quick, rows: toFigures(rows) },
      chart: startChart(rows),
    };
  },
};

/** All ways in turn, round after round; the first round warms the disk's cache and is not counted. */
function measureModel(model: BenchModel, { root, options, signal }: BenchContext): Promise<StartRow[]> {
  const rounds = options.rounds ?? (options.quick ? ROUNDS.quick : ROUNDS.full);
  return withOwned(async (own) => {
    const steps = own(countSteps(`starting with ${model.name}`, (rounds + 1) * WAYS.length));
    const runs = WAYS.map((): StartTimes[] => []);
    for (let round = 0; round <= rounds; round += 1) {
      for (const [index, way] of WAYS.entries()) {
        const times = await timeStart(optionsOf(way, model, root, signal));
        if (round > 0) runs[index]!.push(times);
        steps.step(way.name);
      }
    }
    return WAYS.map(({ name, workers }, index) => ({
      ...{ model: model.name, way: name, workers },
      stages: stagesOf(runs[index]!),
    }));
  });
}

function optionsOf(way: Way, model: BenchModel, root: string, signal: AbortSignal): ServerOptions {
  const settings = {
    LLM_MODEL_PATH: model.path,
    LLM_WORKERS: String(way.workers),
    LLM_SLOTS: '1',
    LLM_CTX_SIZE: '512',
  };
  return { root, settings, signal, ...(way.command ? { command: way.command(root) } : {}) };
}
