import { availableParallelism } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { pino } from 'pino';
import type { GenerateContext, GenerateRequest, JsonObject } from '../../src/contract.js';
import { LocalBackend } from '../../src/backends/local.js';
import { newTrace } from '../../src/generate/trace.js';
import { Pool } from '../../src/pool/pool.js';

/**
 * How exact the continuation of a broken reply is: each prompt is answered once undisturbed at temperature 0, then once
 * for each cut point, where the worker gets SIGKILL after that many pieces of text and another goes on.
 */

const USAGE = `npm run bench -- resume [options]
  --model FILE    a GGUF model; the demo model by default
  --binary FILE   llama-cli; the built one by default
  --tokens N      length of a reply, 96 by default
  --cuts N        cut points a prompt, 20 by default`;

const OPTIONS = {
  model: { type: 'string' },
  binary: { type: 'string' },
  tokens: { type: 'string', default: '96' },
  cuts: { type: 'string', default: '20' },
  help: { type: 'boolean', default: false },
} as const;

const PROMPTS: readonly JsonObject[] = [
  { messages: [{ role: 'user', content: 'Tell me a story about a fox.' }] },
  { messages: [{ role: 'user', content: 'Tell me a story about a lighthouse.' }] },
  { messages: [{ role: 'user', content: 'Name a famous Peruvian dish' }] },
  { prompt: 'Once upon a time' },
];

interface Cut {
  readonly prompt: number;
  readonly at: number;
  readonly equal: boolean;
}

export async function main(args: readonly string[], { root }: { root: string }): Promise<void> {
  const { values } = parseArgs({ args: [...args], options: OPTIONS });
  if (values.help) return void process.stdout.write(`${USAGE}\n`);
  const model = values.model ?? path.join(root, 'models/lmserv-demo.gguf');
  const binary = values.binary ?? path.join(root, 'vendor/llama.cpp/build/bin/llama-cli');
  const pool = poolOf(path.resolve(model), path.resolve(binary));
  pool.start();
  try {
    await pool.firstReady;
    const backend = new LocalBackend('resume', pool, SILENT, {
      resume: { enabled: true, timeoutMs: 60_000 },
    });
    const cuts = await allCuts(backend, pool, Number(values.tokens), Number(values.cuts));
    process.stdout.write(`${report(cuts)}\n`);
  } finally {
    await pool.stop(0);
  }
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

async function allCuts(backend: LocalBackend, pool: Pool, tokens: number, count: number): Promise<Cut[]> {
  const cuts: Cut[] = [];
  for (const [prompt, asked] of PROMPTS.entries()) {
    const body = { ...asked, temperature: 0, max_tokens: tokens, ignore_eos: true };
    const undisturbed = await reply(backend, body);
    for (let n = 0; n < count; n += 1) {
      const at = 1 + Math.floor((n * (undisturbed.length - 2)) / count);
      const pieces = await reply(backend, body, (seen, worker) => {
        if (seen === at) process.kill(pool.workers().find(({ id }) => id === worker)!.pid!, 'SIGKILL');
      });
      cuts.push({ prompt, at, equal: pieces.join('') === undisturbed.join('') });
    }
  }
  return cuts;
}

/** The pieces of a reply; `onPiece` is told how many there are and whose they are. */
async function reply(
  backend: LocalBackend,
  body: JsonObject,
  onPiece: (seen: number, worker: string | undefined) => void = () => undefined,
): Promise<string[]> {
  const request: GenerateRequest = { kind: 'prompt' in body ? 'raw' : 'chat', n: 1, body };
  const context: GenerateContext = {
    requestId: 'bench',
    caller: { name: 'bench', admin: false },
    signal: new AbortController().signal,
    trace: newTrace(),
  };
  const pieces: string[] = [];
  for await (const event of backend.generate(request, context)) {
    if (event.type !== 'text') continue;
    pieces.push(event.text);
    onPiece(pieces.length, context.trace.worker);
  }
  return pieces;
}

function report(cuts: readonly Cut[]): string {
  const lines = PROMPTS.map((_, prompt) => {
    const own = cuts.filter((cut) => cut.prompt === prompt);
    const equal = own.filter((cut) => cut.equal).length;
    const other = own.filter((cut) => !cut.equal).map(({ at }) => at);
    return `prompt ${prompt}: ${equal} of ${own.length} equal${other.length ? `; not after ${other.join(', ')} pieces` : ''}`;
  });
  const equal = cuts.filter((cut) => cut.equal).length;
  return [...lines, `in all: ${equal} of ${cuts.length} continuations equal the undisturbed reply`].join(
    '\n',
  );
}
