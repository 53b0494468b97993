import type { BenchContext, Benchmark } from '../benchmark.js';
import { BenchError } from '../errors.js';
import { describeMachine } from '../machine.js';
import { obtainModel, type BenchModel } from '../model/models.js';
import { listeningPort } from '../proc.js';
import { withOwned } from '../program.js';
import { toFigures } from '../report/json.js';
import { countSteps } from '../report/steps.js';
import { BenchServer } from '../server.js';
import { converse, type Destination } from './conversation.js';
import { affinityChart, affinityTable, pairOf, type AffinityPair, type Round } from './result.js';

const WORKERS = 4;
const TURNS = 10;
/** Tokens of each reply: as in most conversations answers are longer than questions. */
const TOKENS = 64;
const CONVERSATIONS = [1, 4, 8];
const ROUNDS = { full: 5, quick: 1 };

/** What it is worth that a conversation's next turn goes to the worker that holds it. */
export const affinity: Benchmark = {
  summary: 'conversations of ten turns: LMServ against round robin over the same workers',
  async run(context) {
    const machine = await describeMachine(context.root);
    const pairs: AffinityPair[] = [];
    for (const name of context.options.models)
      pairs.push(...(await measureModel(await obtainModel(name, context.root), context)));
    return {
      text: affinityTable(pairs),
      figures: { machine, quick: context.options.quick, pairs: toFigures(pairs) },
      chart: affinityChart(pairs),
    };
  },
};

function measureModel(model: BenchModel, { root, options, signal }: BenchContext): Promise<AffinityPair[]> {
  const rounds = options.rounds ?? (options.quick ? ROUNDS.quick : ROUNDS.full);
  const counts = options.streams ?? CONVERSATIONS;
  return withOwned(async (own) => {
    const settings = settingsOf(model);
    const server = own(await BenchServer.start({ root, settings, signal }));
    const ways = [() => toLmserv(server), roundRobin(server)] as const;
    const steps = own(countSteps(`talking to ${model.name}`, rounds * counts.length * ways.length));
    const pairs: AffinityPair[] = [];
    for (const count of counts) {
      const seen: [Round[], Round[]] = [[], []];
      for (let round = 0; round < rounds; round += 1) {
        for (const [way, next] of ways.entries()) {
          seen[way]!.push(await holdConversations(count, options.tokens ?? TOKENS, next, signal));
          steps.step(`${count} at a time`);
        }
      }
      pairs.push(pairOf(model.name, count, ...seen));
    }
    return pairs;
  });
}

const settingsOf = (model: BenchModel): Record<string, string> => ({
  LLM_MODEL_PATH: model.path,
  LLM_WORKERS: String(WORKERS),
  LLM_SLOTS: '1',
  LLM_THREADS: '1',
  LLM_CTX_SIZE: '4096',
  // What users get: each worker has a prompt cache for conversations that lost their slot.
  CACHE_RAM_MB: '1024',
});

let held = 0;

/** All at a time, each with names that no other has had. */
function holdConversations(
  count: number,
  tokens: number,
  next: () => Destination,
  signal: AbortSignal,
): Promise<Round> {
  const names = Array.from({ length: count }, () => `Caller ${String((held += 1)).padStart(5, '0')}`);
  return Promise.all(names.map((name) => converse(name, TURNS, tokens, next, signal)));
}

const toLmserv = ({ url, headers }: BenchServer): Destination => ({
  url: `${url}/v1/chat/completions`,
  headers,
});

/** The same workers, asked directly one after the other, whoever asks. */
function roundRobin(server: BenchServer): () => Destination {
  const ports = server.workerPids.map(listeningPort);
  if (ports.includes(undefined)) throw new BenchError('the workers listen on no port: a llama-cli is needed');
  let turn = 0;
  return () => ({
    url: `http://127.0.0.1:${ports[(turn += 1) % ports.length]}/v1/chat/completions`,
    headers: { 'content-type': 'application/json' },
  });
}
