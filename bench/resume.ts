import { availableParallelism } from 'node:os';
import path from 'node:path';
import { pino } from 'pino';
import type { GenerateContext, GenerateRequest, JsonObject } from '../src/contract.js';
import { LocalBackend } from '../src/backends/local/backend.js';
import { ReplyFlow } from '../src/generate/flow.js';
import { Pool } from '../src/pool/pool.js';
import { measureModels, type BenchContext, type Benchmark } from './benchmark.js';
import type { BenchModel, ModelName } from './model/models.js';
import { withOwned } from './program.js';
import { countSteps } from './report/steps.js';
import { formatTable } from './report/table.js';

/**
 * How exact the continuation of a broken reply is: each prompt is answered once undisturbed at temperature 0, then once
 * for each cut point, where the worker gets SIGKILL after that many pieces of text and another goes on.
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

/** How many continuations of broken replies equal the undisturbed reply. */
export const resume: Benchmark = {
  summary: 'replies whose worker is killed at many points, against the undisturbed ones',
  async run(context) {
    const figures = await measureModels(context, (model) => measureModel(model, context));
    return { text: resumeTable(figures.rows), figures };
  },
};

async function measureModel(
  model: BenchModel,
  { root, options, signal }: BenchContext,
): Promise<ResumeRow[]> {
  const count = options.quick ? CUTS.quick : CUTS.full;
  const tokens = options.tokens ?? TOKENS;
  const pool = poolOf(model.path, path.join(root, 'vendor/llama.cpp/build/bin/llama-cli'));
  pool.start();
  return withOwned(async (own) => {
    own({ stop: () => pool.stop() });
    await pool.firstReady;
    const steps = own(countSteps(`breaking replies of ${model.name}`, PROMPTS.length * count));
    const backend = new LocalBackend('resume', pool, SILENT, {
      resume: { enabled: true, timeoutMs: 60_000 },
    });
    const cuts = await allCuts(backend, pool, tokens, count, signal, () => steps.step(model.name));
    return PROMPTS.map((_, prompt) => rowOf(model.name, prompt, cuts));
  });
}

const SILENT = pino({ level: 'silent' });

function poolOf(modelPath: string, binary: string): Pool {
  return new Pool({
    name: 'resume',
    workers: 2,
    worker: {
      binary: { path: binary, kind: 'llama-cli' },
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

/** The pieces of a reply; `onPiece` is told how many there are and whose they are. */
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

/** What came of one prompt. */
interface ResumeRow {
  readonly model: ModelName;
  readonly prompt: number;
  readonly cuts: number;
  readonly equal: number;
  /** Pieces after which the reply was cut and the rest was another. */
  readonly otherAfter: readonly number[];
}

function rowOf(model: ModelName, prompt: number, cuts: readonly Cut[]): ResumeRow {
  const own = cuts.filter((cut) => cut.prompt === prompt);
  const others = own.filter((cut) => !cut.equal);
  return {
    model,
    prompt: prompt + 1,
    cuts: own.length,
    equal: own.length - others.length,
    otherAfter: others.map(({ at }) => at),
  };
}

function resumeTable(rows: readonly ResumeRow[]): string {
  const cells = rows.map(({ model, prompt, cuts, equal, otherAfter }) => [
    model,
    String(prompt),
    String(cuts),
    String(equal),
    otherAfter.join(', '),
  ]);
  return formatTable(['model', 'prompt', 'cut points', 'equal', 'another rest after'], cells);
}
