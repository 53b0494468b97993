import { UserError } from '../src/errors.js';
import { type BenchContext, type Benchmark, inTurn, measureModels, withOwned } from './benchmark.js';
import { Conversation, type Destination, type Turn } from './conversation.js';
import type { BenchModel } from './model/models.js';
import { listeningPort } from '../test/harness/processes.js';
import { figure, formatTable, spreadFigure, toFigures } from './report.js';
import { startServer } from './server.js';
import type { ServerProcess } from '../test/harness/server-process.js';
import { WITH_KEY } from './targets/target.js';
import { quantile, ratios, spread, sum } from './statistics.js';

const WORKERS = 4;
const TURNS = 10;
/** Tokens of each reply: as in most conversations, replies are longer than questions. */
const TOKENS = 64;
const CONVERSATIONS = [1, 4, 8];

/** What it is worth that a conversation's next turn goes to the worker that holds it. */
export const affinity: Benchmark = {
  summary: 'conversations of ten turns: LMServ against round robin over the same workers',
  async run(context) {
    const figures = await measureModels(context, (model) => measureModel(model, context));
    return { text: table(figures.rows), figures: toFigures(figures) as object };
  },
};

function measureModel(model: BenchModel, { options, signal }: BenchContext) {
  const rounds = options.rounds ?? (options.quick ? 1 : 5);
  const counts = options.streams ?? CONVERSATIONS;
  const settings = {
    LLM_MODEL_PATH: model.path,
    LLM_WORKERS: String(WORKERS),
    LLM_SLOTS: '1',
    LLM_THREADS: '1',
    LLM_CTX_SIZE: '4096',
    // The default: each worker has a prompt cache for conversations that lost their slot.
    CACHE_RAM_MB: '1024',
  };
  return withOwned(async (own) => {
    const server = own(await startServer({ settings, signal }));
    const ways = [() => toLmserv(server), roundRobin(server)] as const;
    const rows: Row[] = [];
    for (const count of counts) {
      const label = `${count} conversations at a time with ${model.name}`;
      const hold = (next: () => Destination) =>
        holdConversations(count, options.tokens ?? TOKENS, next, signal);
      const [lmserv, robin] = await inTurn(label, ways, { rounds }, hold);
      rows.push(...rowsOf(model, count, lmserv!, robin!));
    }
    return rows;
  });
}

const toLmserv = ({ url }: ServerProcess): Destination => ({
  url: `${url}/v1/chat/completions`,
  headers: WITH_KEY,
});

/** The same workers, one after the other, without LMServ. */
function roundRobin(server: ServerProcess): () => Destination {
  const ports = server.workerPids().map(listeningPort);
  if (ports.includes(undefined)) throw new UserError('the workers listen on no port: a llama-cli is needed');
  let turn = 0;
  return () => ({
    url: `http://127.0.0.1:${ports[(turn += 1) % ports.length]}/v1/chat/completions`,
    headers: { 'content-type': 'application/json' },
  });
}

let held = 0;

/** All at a time, each with a name that no other has had. First turns, which no cache can know, are left out. */
async function holdConversations(
  count: number,
  tokens: number,
  next: () => Destination,
  signal: AbortSignal,
): Promise<Turn[]> {
  const names = Array.from({ length: count }, () => `Caller ${String((held += 1)).padStart(5, '0')}`);
  const all = await Promise.all(names.map((name) => converse(name, tokens, next, signal)));
  return all.flatMap((turns) => turns.slice(1));
}

/** Each turn is sent where `next` says. */
async function converse(name: string, tokens: number, next: () => Destination, signal: AbortSignal) {
  const conversation = new Conversation(name);
  const seen: Turn[] = [];
  for (let turn = 1; turn <= TURNS; turn += 1) seen.push(await conversation.turn(next(), tokens, signal));
  return seen;
}

type Row = ReturnType<typeof rowsOf>[number];

/** Medians over the rounds. Times are milliseconds. */
function rowsOf({ name: model }: BenchModel, conversations: number, lmserv: Turn[][], robin: Turn[][]) {
  const row = (way: string, rounds: Turn[][]) => {
    const turns = rounds.flat();
    return {
      model,
      way,
      conversations,
      firstTokenP50: spread(rounds.map(p50)),
      firstTokenP99: quantile(times(turns), 0.99),
      hitRate: sum(turns.map((turn) => turn.cachedTokens)) / sum(turns.map((turn) => turn.promptTokens)),
    };
  };
  const ratio = spread(ratios(robin.map(p50), lmserv.map(p50)));
  return [
    { ...row('LMServ', lmserv), ratio },
    { ...row('round robin', robin), ratio: undefined },
  ];
}

const times = (turns: readonly Turn[]): number[] => turns.map(({ firstTokenMs }) => firstTokenMs);
const p50 = (turns: readonly Turn[]): number => quantile(times(turns), 0.5);

function table(rows: readonly Row[]): string {
  const head = ['model', 'way', 'conversations', 'first token p50 ms', 'p99 ms', 'cached'];
  return formatTable(
    [...head, 'round robin / LMServ'],
    rows.map(({ model, way, conversations, firstTokenP50, firstTokenP99, hitRate, ratio }) => [
      model,
      way,
      String(conversations),
      figure(firstTokenP50.median),
      figure(firstTokenP99),
      `${(hitRate * 100).toFixed(1)} %`,
      ratio === undefined ? '' : spreadFigure(ratio),
    ]),
  );
}
