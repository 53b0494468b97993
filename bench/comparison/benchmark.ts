import type { BenchContext, Benchmark, Report } from '../benchmark.js';
import { LoadClient } from '../load/client.js';
import { describeMachine } from '../machine.js';
import { obtainModel, type BenchModel } from '../model/models.js';
import { anonymousMib } from '../proc.js';
import { withOwned } from '../program.js';
import { toFigures } from '../report/json.js';
import { countSteps } from '../report/steps.js';
import { BenchServer } from '../server.js';
import type { Target } from '../targets/target.js';
import { goalsTable, judge } from './goals.js';
import { planFor, type Plan } from './plan.js';
import { comparisonChart, comparisonTable } from './present.js';
import { rowsOf, type Row } from './result.js';
import { measureRounds } from './rounds.js';
import { startTargets, TARGET_NAMES } from './targets.js';

/** One worker that decodes eight replies together, on one thread: the other core is left to the servers and the load. */
const WORKER = { LLM_WORKERS: '1', LLM_SLOTS: '8', LLM_THREADS: '1', LLM_CTX_SIZE: '512' };

/** Memory of what stands in between, MiB that belong to no file. */
interface Memory {
  readonly model: string;
  readonly target: string;
  readonly idle: number;
  /** The most that was seen after a measurement. */
  loaded: number;
}

interface Measured {
  readonly rows: readonly Row[];
  readonly memory: readonly Memory[];
  readonly missing: readonly string[];
}

/** What LMServ and other servers cost in front of a llama.cpp worker, against the worker asked directly. */
export const comparison: Benchmark = {
  summary:
    "LMServ, plain node:http, nginx and Portkey's gateway in front of a worker, against the worker itself",
  async run(context) {
    const machine = await describeMachine(context.root);
    const measured: Measured[] = [];
    for (const name of context.options.models) {
      measured.push(await measureModel(await obtainModel(name, context.root), context));
    }
    return report(measured, { machine, worker: WORKER, quick: context.options.quick });
  },
};

async function measureModel(model: BenchModel, context: BenchContext): Promise<Measured> {
  const { root, options, signal } = context;
  const plan = planFor(model.name, options);
  return withOwned(async (own) => {
    const settings = { ...WORKER, LLM_MODEL_PATH: model.path };
    const server = own(await BenchServer.start({ root, settings, signal }));
    const started = await startTargets(options.targets ?? TARGET_NAMES, server, own, signal);
    for (const line of started.missing) process.stderr.write(`${line}\n`);
    const client = own(new LoadClient());
    const memory = started.others.map((target) => idleMemory(model.name, target));
    const rows: Row[] = [];
    const progress = own(countSteps(`measuring ${model.name}`, pairsOf(plan, started.others.length)));
    for (const load of plan.loads) {
      const onPair = () => {
        progress.step(`${load.streams} × ${load.tokens}`);
        noteLoaded(memory, started.others);
      };
      const options = { client, load, rounds: plan.rounds, signal, onPair };
      rows.push(...rowsOf(model.name, load, await measureRounds(started, options)));
    }
    return { rows, memory, missing: started.missing };
  });
}

const pairsOf = ({ loads, rounds }: Plan, targets: number): number => loads.length * (rounds + 1) * targets;

function idleMemory(model: string, target: Target): Memory {
  const idle = anonymousMib(target.pids);
  return { model, target: target.name, idle, loaded: idle };
}

function noteLoaded(memory: readonly Memory[], targets: readonly Target[]): void {
  targets.forEach((target, index) => {
    const entry = memory[index]!;
    entry.loaded = Math.max(entry.loaded, anonymousMib(target.pids));
  });
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
