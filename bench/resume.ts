import { availableParallelism } from 'node:os';
import { pino } from 'pino';
import { type BenchContext, type Benchmark, countSteps, measureModels, withOwned } from './benchmark.js';
import type { BenchModel, ModelName } from './model/models.js';
import { formatTable } from './report.js';
import { LocalBackend } from '../src/backends/local/backend.js';
import type { GenerateContext, GenerateRequest, JsonObject } from '../src/contract.js';
import { ReplyFlow } from '../src/generate/flow.js';
import { ROOT } from '../src/config/root.js';
import { resolveBinary, type ResolvedBinary } from '../workers/binary.js';
import { Pool } from '../src/pool/pool.js';

/**
 * How exactly a broken reply is resumed: each prompt gets one undisturbed reply at temperature 0, then one for each cut
 * point, where the worker gets SIGKILL after that many pieces of text and another worker resumes.
 */

const PROMPTS: readonly JsonObject[] = [
  { messages: [{ role: 'user', content: 'Tell me a story about a fox.' }] },
  { messages: [{ role: 'user', content: 'Tell me a story about a lighthouse.' }] },
  { messages: [{ role: 'user', content: 'Name a famous Peruvian dish' }] },
  { prompt: 'Once upon a time' },
];

const TOKENS = 96;
const CUTS = { full: 20, quick: 3 };

interface Cut {
  readonly prompt: number;
  readonly at: number;
  readonly equal: boolean;
}

/** How many resumed replies equal the undisturbed reply. */
export const resume: Benchmark = {
  summary: 'replies whose worker is killed at many points, against the undisturbed ones',
  async run(context) {
    const figures = await measureModels(context, (model) => measureModel(model, context));
    return { text: resumeTable(figures.rows), figures };
  },
};

async function measureModel(model: BenchModel, { options, signal }: BenchContext): Promise<ResumeRow[]> {
  const count = options.quick ? CUTS.quick : CUTS.full;
  const tokens = options.tokens ?? TOKENS;
  const { LLM_BIN_PATH: configured, PATH: searchPath } = process.env;
  const binary = await resolveBinary({ configured, root: ROOT, searchPath, env: process.env });
  const pool = poolOf(model.path, binary);
  pool.start();
  return withOwned(async (own) => {
    own({ stop: () => pool.stop() });
    await pool.firstReady;
    const steps = own(countSteps(`breaking replies of ${model.name}`, PROMPTS.length * count));
    const backend = new LocalBackend('resume', pool, SILENT, { resume: true });
    const cuts = await allCuts(backend, pool, tokens, count, signal, () => steps.step());
    return PROMPTS.map((_, prompt) => rowOf(model.name, prompt, cuts));
  });
}

const SILENT = pino({ level: 'silent' });

function poolOf(modelPath: string, binary: ResolvedBinary): Pool {
  return new Pool({
    name: 'resume',
    workers: 2,
    worker: {
      binary,
      modelPath,
      slots: 1,
      ctxSize: 2048,
      threads: Math.max(1, Math.floor(availableParallelism() / 2)),
      cacheRamMb: 0,
      extraArgs: [],
      timeouts: { startMs: 120_000, firstTokenMs: 60_000, tokenMs: 15_000 },
    },
    gpus: [],
    queueLimit: 8,
    queueTimeoutMs: 60_000,
    resumeTimeoutMs: 60_000,
    env: process.env,
    logger: SILENT,
  });
}

async function allCuts(
  backend: LocalBackend,
  pool: Pool,
  tokens: number,
  count: number,
  signal: AbortSignal,
  onCut: () => void,
): Promise<Cut[]> {
  const cuts: Cut[] = [];
  for (const [prompt, asked] of PROMPTS.entries()) {
    const body = { ...asked, temperature: 0, max_tokens: tokens, ignore_eos: true };
    const undisturbed = await reply(backend, body, signal);
    for (let n = 0; n < count; n += 1) {
      const at = 1 + Math.floor((n * (undisturbed.length - 2)) / count);
      const pieces = await reply(backend, body, signal, (seen, worker) => {
        if (seen === at) process.kill(pool.workers().find(({ id }) => id === worker)!.pid!, 'SIGKILL');
      });
      onCut();
      cuts.push({ prompt, at, equal: pieces.join('') === undisturbed.join('') });
    }
  }
  return cuts;
}

/** The pieces of a reply; `onPiece` gets their number so far and their worker. */
async function reply(
  backend: LocalBackend,
  body: JsonObject,
  signal: AbortSignal,
  onPiece: (seen: number, worker: string | undefined) => void = () => undefined,
): Promise<string[]> {
  const request: GenerateRequest = { kind: 'prompt' in body ? 'raw' : 'chat', n: 1, body };
  const context: GenerateContext = {
    requestId: 'bench',
    caller: { name: 'bench', admin: false },
    signal,
    flow: new ReplyFlow(),
  };
  const pieces: string[] = [];
  let worker: string | undefined;
  const { done } = await backend.open(request, context, {
    event: (event) => {
      if (event.type === 'started') ({ worker } = event);
      if (event.type === 'text') onPiece(pieces.push(event.text), worker);
    },
  });
  await done;
  return pieces;
}

/** The results of one prompt. */
interface ResumeRow {
  readonly model: ModelName;
  readonly prompt: number;
  readonly cuts: number;
  readonly equal: number;
  /** Cut points after which the rest was different. */
  readonly differentAfter: readonly number[];
}

function rowOf(model: ModelName, prompt: number, cuts: readonly Cut[]): ResumeRow {
  const own = cuts.filter((cut) => cut.prompt === prompt);
  const others = own.filter((cut) => !cut.equal);
  return {
    model,
    prompt: prompt + 1,
    cuts: own.length,
    equal: own.length - others.length,
    differentAfter: others.map(({ at }) => at),
  };
}

function resumeTable(rows: readonly ResumeRow[]): string {
  const cells = rows.map(({ model, prompt, cuts, equal, differentAfter }) => [
    model,
    String(prompt),
    String(cuts),
    String(equal),
    differentAfter.join(', '),
  ]);
  return formatTable(['model', 'prompt', 'cut points', 'equal', 'different after'], cells);
}
