import { join } from 'node:path';
import { pino } from 'pino';
import { LocalBackend } from '../../src/backends/local/backend.js';
import { continuationOf } from '../../src/backends/local/continuation.js';
import { ReplySoFar } from '../../src/backends/local/reply-so-far.js';
import { ReplyReader } from '../../src/backends/reply-reader.js';
import type { GenerateRequest, JsonObject, ReplyEvent, TokenLogprob } from '../../src/contract.js';
import { ROOT } from '../../src/config/root.js';
import { resolveBinary } from '../../workers/binary.js';
import { newFolder } from '../support/folder.js';
import { TestPool } from '../support/pool.js';
import { pull, testContext } from '../support/pulled.js';
import { Vocabulary, writeModel } from './vocabulary-model.js';

/** The vocabularies of real models, on random weights: their words are nonsense, but their tokens are real. */

const NAMES = [
  ...['qwen2', 'llama-bpe', 'phi-3', 'gemma-4'],
  ...['deepseek-coder', 'deepseek-llm', 'command-r', 'falcon'],
];

/** By chance a reply has no character of several tokens; then the next of these is asked. */
const PROMPTS = [
  'Once upon a time',
  'Tell me a story about a fox.',
  'What is the weather in Lima?',
  'The end',
];

const folder = newFolder();

const TOKENS = 48;
const NEVER = new AbortController().signal;
const settings = { temperature: 0, max_tokens: TOKENS, ignore_eos: true };

/** How many cut points are resumed with the tokens of the reply. */
const figures: string[] = [];

afterAll(() => process.stdout.write(`${figures.join('\n')}\n`));

let fake: TestPool;

test.each(NAMES)(
  '%s',
  async (name) => {
    const vocabulary = new Vocabulary(name);
    const modelPath = join(folder, `${name}.gguf`);
    await writeModel(modelPath, vocabulary);
    const binary = await resolveBinary({ configured: process.env.LLM_BIN_PATH, root: ROOT });
    fake = new TestPool({ workers: 2 }, { binary, modelPath, ctxSize: 4096, threads: 1 });
    await fake.ready();
    await controlTokens(vocabulary);
    const shown = [name];
    for (const ask of [raw, chat]) {
      const { asked, whole } = await telling(ask);
      await characters(asked, whole);
      await stopStrings(asked, whole);
      await logProbabilities(asked, whole);
      shown.push(await resumes(asked, whole));
    }
    figures.push(shown.join(' | '));
  },
  240_000,
);

const raw = (prompt: string): GenerateRequest => ({ kind: 'raw', n: 1, body: { prompt, ...settings } });
const chat = (content: string): GenerateRequest => ({
  ...{ kind: 'chat', n: 1 },
  body: { messages: [{ role: 'user', content }], ...settings },
});
const withFields = (request: GenerateRequest, fields: JsonObject): GenerateRequest => ({
  ...request,
  body: { ...request.body, ...fields },
});

/** A request whose reply has characters of several tokens, which come in one piece. */
async function telling(ask: (prompt: string) => GenerateRequest) {
  for (const prompt of PROMPTS) {
    const asked = ask(prompt);
    const whole = await replyTo(asked);
    if (whole.pieces.length < TOKENS) return { asked, whole };
  }
  throw new Error('no reply has a character of several tokens');
}

interface Whole {
  readonly text: string;
  readonly pieces: readonly string[];
  readonly reason: string | undefined;
  readonly logprobs: readonly TokenLogprob[];
  readonly promptTokens: number;
  readonly completionTokens: number;
  /** How often it was resumed. */
  readonly resumes: number;
}

/** Reads a reply; its worker is killed once so many pieces have come. */
async function replyTo(request: GenerateRequest, killAt = 0, backend = fake.backend): Promise<Whole> {
  const context = testContext();
  const events: ReplyEvent[] = [];
  const pieces: string[] = [];
  for await (const event of pull(backend, request, context)) {
    events.push(event);
    if (event.type !== 'text' || event.text === '') continue;
    if (pieces.push(event.text) !== killAt) continue;
    const worker = fake.pool.workers().find(({ leased }) => leased > 0);
    if (worker) process.kill(worker.pid!, 'SIGKILL');
  }
  const of = <T extends ReplyEvent['type']>(type: T) =>
    events.filter((event): event is Extract<ReplyEvent, { type: T }> => event.type === type);
  const { promptTokens, completionTokens } = of('usage')[0]!.usage;
  return {
    ...{ text: pieces.join(''), pieces, promptTokens, completionTokens },
    reason: of('finish')[0]?.reason,
    logprobs: of('text').flatMap(({ logprobs }) => logprobs ?? []),
    resumes: context.trace.resumes ?? 0,
  };
}

async function controlTokens({ control }: Vocabulary): Promise<void> {
  const strict = new LocalBackend('strict', fake.pool, pino({ level: 'silent' }), {
    rejectSpecialTokens: true,
  });
  const once = { max_tokens: 1 };
  const count = async (text: string) => (await replyTo(withFields(raw(text), once))).promptTokens;
  const plain = await count('Hello');
  expect(control.length).toBeGreaterThan(0);
  for (const token of control.slice(0, 8)) {
    expect([token, (await count(`Hello${token}`)) - plain]).toEqual([token, 1]);
    for (const asked of [raw(`Hello${token}`), chat(`a${token}b`), chat(token)])
      await expect(replyTo(withFields(asked, once), 0, strict)).rejects.toMatchObject({
        code: 'special_token',
      });
    const inner = `Hello ${token.slice(0, -1)} there`;
    expect((await replyTo(withFields(raw(inner), once), 0, strict)).completionTokens).toBe(1);
  }
}

/** No half character is sent, wherever the reply ends. */
async function characters(asked: GenerateRequest, whole: Whole): Promise<void> {
  expect(whole.completionTokens).toBe(TOKENS);
  expect(whole.reason).toBe('length');
  for (const piece of whole.pieces) expect(piece.isWellFormed() && !piece.includes('\ufffd')).toBe(true);
  for (let max_tokens = 1; max_tokens < 12; max_tokens += 1) {
    const { text, completionTokens } = await replyTo(withFields(asked, { max_tokens }));
    expect(whole.text.startsWith(text)).toBe(true);
    expect(completionTokens).toBe(max_tokens);
  }
}

/** A stop string never appears, nothing before it is lost, and text that only looked like one is sent. */
async function stopStrings(asked: GenerateRequest, whole: Whole): Promise<void> {
  for (let at = 4; at + 3 < whole.pieces.length; at += 12) {
    const [first, second, third] = whole.pieces.slice(at) as [string, string, string];
    const stop = [...first].at(-1)! + second + [...third][0]!;
    const expected = whole.text.slice(0, whole.text.indexOf(stop));
    for (const killAt of at === 4 ? [0, 2] : [0]) {
      const { text, reason } = await replyTo(withFields(asked, { stop: [stop] }), killAt);
      expect({ stop, text, reason }).toEqual({ stop, text: expected, reason: 'stop' });
    }
    const never = await replyTo(withFields(asked, { stop: [`${stop}\u0007`] }));
    expect({ stop, text: never.text, reason: never.reason }).toEqual({
      ...{ stop, text: whole.text, reason: 'length' },
    });
  }
}

/** The bytes of the log probabilities are those of the text. */
async function logProbabilities(asked: GenerateRequest, whole: Whole): Promise<void> {
  const fields = asked.kind === 'raw' ? { logprobs: 5 } : { logprobs: true, top_logprobs: 5 };
  const { text, logprobs } = await replyTo(withFields(asked, fields));
  expect(text).toBe(whole.text);
  expect(Buffer.from(logprobs.flatMap(({ bytes }) => bytes as number[])).toString('latin1')).toBe(
    Buffer.from(text).toString('latin1'),
  );
  expect(logprobs.map(({ token }) => token as string).join('')).toBe(text);
  for (const { top_logprobs: tops } of logprobs)
    for (const { token, bytes } of tops as { token: string; bytes: number[] }[]) {
      const text = token.replace(/\\x(..)/g, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)));
      const encoding = text === token ? 'utf8' : 'latin1';
      expect([token, ...Buffer.from(text, encoding)]).toEqual([token, ...bytes]);
    }
}

/** A reply is cut at every point; at some of them by the end of its worker. */
async function resumes(asked: GenerateRequest, whole: Whole): Promise<string> {
  const worker = fake.pool.workers().find(({ state }) => state === 'ready')!;
  const prompt =
    asked.kind === 'raw'
      ? asked.body.prompt!
      : ((await worker.fetch('POST', '/apply-template', { messages: asked.body.messages! }, NEVER)) as any)
          .prompt;
  const body = { prompt, ...settings, n_predict: TOKENS, return_tokens: true };
  const said = (await worker.fetch('POST', '/completion', body, NEVER)) as { tokens: number[] };
  const ids: boolean[] = [];
  for (let cut = 1; cut < whole.pieces.length; cut += 1) {
    const reader = new ReplyReader(asked.body, { event: () => undefined }, () => undefined);
    for (const text of whole.pieces.slice(0, cut)) reader.event({ type: 'text', index: 0, text });
    const { body: resumed } = await continuationOf(new ReplySoFar(asked, reader), worker, NEVER);
    const [before, ...given] = Array.isArray(resumed.prompt) ? resumed.prompt : [];
    ids.push(before === prompt && given.every((id, i) => id === said.tokens[i]));
  }
  let equal = 0;
  const cuts = [1, Math.floor(whole.pieces.length / 2), whole.pieces.length - 2];
  for (const cut of cuts) {
    let resumed = await replyTo(asked, cut);
    // A worker may have written the whole reply before the kill.
    while (resumed.resumes === 0) resumed = await replyTo(asked, cut);
    expect(resumed).toMatchObject({ completionTokens: TOKENS, reason: 'length' });
    if (ids[cut - 1]) expect(resumed.text).toBe(whole.text);
    if (resumed.text === whole.text) equal += 1;
  }
  const exact = ids.filter(Boolean).length;
  return `${exact} of ${ids.length} by ids, ${equal} of ${cuts.length} killed`;
}
