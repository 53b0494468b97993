import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type BenchContext, type Benchmark, inTurn, measureModels } from './benchmark.js';
import { Conversation, type Turn } from './conversation.js';
import type { BenchModel } from './model/models.js';
import { figure, formatTable, spreadFigure, toFigures } from './report.js';
import { startServer } from './server.js';
import { quantile, ratios, spread } from './statistics.js';
import { WITH_KEY } from './targets/target.js';
import type { ServerProcess } from '../test/harness/server-process.js';
import { ROOT } from '../src/config/root.js';
import { resolveBinary } from '../workers/binary.js';

/** The last turn is measured. */
const TURNS = 10;
const TOKENS = 64;
const SAVE_MB = '1024';

/** What happens before the last turn, and whether slots are saved then. */
interface Way {
  readonly before: 'nothing' | 'recycling' | 'restart';
  readonly saved: boolean;
}

const WAYS: readonly Way[] = [
  { before: 'nothing', saved: false },
  { before: 'recycling', saved: false },
  { before: 'recycling', saved: true },
  { before: 'restart', saved: false },
  { before: 'restart', saved: true },
];

/** What saved slots are worth to a conversation whose worker or server is replaced. */
export const savedSlots: Benchmark = {
  summary: 'the tenth turn of a conversation after a recycling or a restart, with saved slots and without',
  async run(context) {
    const figures = await measureModels(context, (model) => measureModel(model, context));
    return { text: table(figures.rows), figures: toFigures(figures) as object };
  },
};

async function measureModel(model: BenchModel, { options, signal }: BenchContext): Promise<Row[]> {
  const rounds = options.rounds ?? (options.quick ? 1 : 5);
  const tokens = options.tokens ?? TOKENS;
  const binary = await llamaServer();
  const measure = (way: Way) => lastTurn(way, model, binary, tokens, signal);
  const results = await inTurn(`ten turns with ${model.name}`, WAYS, { rounds, uncounted: 1 }, measure);
  return rowsOf(model, results);
}

/** The llama-server beside the llama-cli in use. */
async function llamaServer(): Promise<string> {
  const { LLM_BIN_PATH: configured, PATH: searchPath } = process.env;
  const { path: found } = await resolveBinary({ configured, root: ROOT, searchPath, env: process.env });
  return path.join(path.dirname(found), 'llama-server');
}

/** What was seen of a last turn, and of its slot's file. */
interface Seen extends Turn {
  readonly saveMs: number;
  readonly restoreMs: number;
  readonly mib: number;
}

let held = 0;

async function lastTurn(
  { before, saved }: Way,
  model: BenchModel,
  binary: string,
  tokens: number,
  signal: AbortSignal,
): Promise<Seen> {
  const folder = mkdtempSync(path.join(tmpdir(), 'lmserv-bench-'));
  const settings = {
    LLM_MODEL_PATH: model.path,
    LLM_BIN_PATH: binary,
    LLM_SLOTS: '1',
    LLM_CTX_SIZE: '4096',
    DATA_DIR: folder,
    LOG_LEVEL: 'debug',
    SLOT_SAVE_MB: saved ? SAVE_MB : '0',
    ...(before === 'recycling' && { WORKER_MAX_REQUESTS: String(TURNS - 1) }),
  };
  const servers = [await startServer({ settings, signal })];
  try {
    const conversation = new Conversation(`Caller ${String((held += 1)).padStart(5, '0')}`);
    const turn = () => conversation.turn(toLmserv(servers.at(-1)!), tokens, signal);
    for (let n = 1; n < TURNS; n += 1) await turn();
    if (before === 'recycling') await servers[0]!.until('worker_exit', undefined, signal);
    if (before === 'restart') {
      await servers[0]!.stop();
      servers.push(await startServer({ settings, signal }));
    }
    return { ...(await turn()), ...filesOf(servers) };
  } finally {
    await servers.at(-1)!.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

const toLmserv = ({ url }: ServerProcess) => ({ url: `${url}/v1/chat/completions`, headers: WITH_KEY });

/** What the log says of the slot's file; NaN if it was not saved. */
function filesOf(servers: readonly ServerProcess[]): Omit<Seen, keyof Turn> {
  const first = (event: string): Line | undefined =>
    servers.flatMap((server) => server.logged(event) as Line[])[0];
  const restored = first('slot_restored');
  const { ms = NaN, bytes = NaN } = first('slot_saved') ?? {};
  return { saveMs: ms, restoreMs: restored?.ms ?? NaN, mib: bytes / 2 ** 20 };
}

interface Line {
  readonly ms: number;
  readonly bytes: number;
}

type Row = ReturnType<typeof rowsOf>[number];

/** Medians over the rounds; ratios are those of the same turn with saved slots. Times are milliseconds. */
function rowsOf({ name: model }: BenchModel, results: readonly Seen[][]) {
  return WAYS.map(({ before, saved }, index) => {
    const seen = results[index]!;
    const of = (field: keyof Seen, from = seen) => from.map((each) => each[field]);
    const partner = WAYS.findIndex((way) => way.before === before && way.saved);
    const isCold = before !== 'nothing' && !saved;
    return {
      model,
      before,
      saved,
      firstTokenMs: spread(of('firstTokenMs')),
      promptTokens: quantile(of('promptTokens'), 0.5),
      cachedTokens: quantile(of('cachedTokens'), 0.5),
      saveMs: quantile(of('saveMs'), 0.5),
      restoreMs: quantile(of('restoreMs'), 0.5),
      mib: quantile(of('mib'), 0.5),
      ratio: isCold ? spread(ratios(of('firstTokenMs'), of('firstTokenMs', results[partner]))) : undefined,
    };
  });
}

function table(rows: readonly Row[]): string {
  const head = ['model', 'before the tenth turn', 'slots', 'first token ms', 'cached of prompt'];
  return formatTable(
    [...head, 'save ms', 'restore ms', 'MiB', 'cold / saved'],
    rows.map((row) => [
      row.model,
      row.before,
      row.saved ? 'saved' : '',
      spreadFigure(row.firstTokenMs),
      `${row.cachedTokens} of ${row.promptTokens}`,
      figure(row.saveMs),
      figure(row.restoreMs),
      figure(row.mib),
      row.ratio === undefined ? '' : spreadFigure(row.ratio),
    ]),
  );
}
