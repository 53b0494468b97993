import { symlinkSync } from 'node:fs';
import { join } from 'node:path';
import OpenAI, { BadRequestError } from 'openai';
import { newFolder } from '../support/folder.js';
import { demoModel, LIVE_KEY, llamaServer, LiveServer, writeConfig } from '../support/live.js';
import { writeBert } from './bert-model.js';
import { post } from './requests.js';

/**
 * Embeddings, rerank and tokens on real llama.cpp, with the official OpenAI client. The vectors of the demo model mean
 * little, and those of the models of random weights nothing.
 */

const models = newFolder();
let live: LiveServer;
let client: OpenAI;

const model = 'vectors';
const CONTEXT = 256;
const USAGE = { prompt: 0.5, completion: 1 };

beforeAll(async () => {
  await writeBert(join(models, 'bert.gguf'), 'embed');
  await writeBert(join(models, 'judge.gguf'), 'rerank');
  live = await new LiveServer((folder) => ({
    KEYLESS_NETWORKS: '127.0.0.0/8',
    LMSERV_CONFIG: writeConfig(folder, {
      models: {
        chat: demoModel(),
        vectors: demoModel({
          ...{ task: 'embed', slots: 2, context: CONTEXT, matryoshka: true, price: USAGE },
        }),
        bert: { path: join(models, 'bert.gguf'), threads: 1 },
        judge: { path: join(models, 'judge.gguf'), threads: 1 },
      },
    }),
  })).start();
  await live.untilReady(({ workers }) => workers.idle === 2);
  client = new OpenAI({ baseURL: `${live.url}/v1`, apiKey: LIVE_KEY, maxRetries: 0 });
});

afterAll(() => live.stop());

const embed = async (input: string | string[] | number[] | number[][], fields: object = {}) => {
  const { data } = await client.embeddings.create({ model, input, ...fields });
  expect(data.map(({ index }) => index)).toEqual(data.map((_, index) => index));
  return data.map(({ embedding }) => embedding);
};

const lengthOf = (vector: readonly number[]) => Math.hypot(...vector);

/** The cosine of the angle between two vectors. */
const likeness = (a: readonly number[], b: readonly number[]) =>
  a.reduce((sum, number, i) => sum + number * b[i]!, 0) / lengthOf(a) / lengthOf(b);

describe('embeddings', () => {
  test('have length 1, are the same in both encodings, and are counted', async () => {
    const input = 'Name a famous Peruvian dish';
    const float = await client.embeddings.create({ model, input, encoding_format: 'float' });
    // The client asks for base64 by itself, and decodes it.
    const [packed] = await embed(input);
    const { embedding } = float.data[0]!;
    expect(embedding).toHaveLength(160);
    expect(lengthOf(embedding)).toBeCloseTo(1, 5);
    expect(Array.from(packed!)).toEqual(embedding);
    const tokens = JSON.parse((await post(live, '/tokenize', { model, content: input })).text).tokens;
    expect(float).toMatchObject({ object: 'list', model, usage: { prompt_tokens: tokens.length } });
  });

  test('of many texts are those of each alone, in their order', async () => {
    const texts = Array.from({ length: 100 }, (_, i) => `${'dish '.repeat(i % 40)}number ${i}`);
    const all = await embed(texts);
    expect(all).toHaveLength(100);
    for (const i of [0, 39, 99]) {
      const [alone] = await embed(texts[i]!);
      expect(likeness(all[i]!, alone!)).toBeCloseTo(1, 4);
      expect(likeness(all[i]!, all[(i + 7) % 100]!)).toBeLessThan(0.999);
    }
  });

  test('of token ids are those of their text', async () => {
    const content = 'Hello there';
    const { tokens } = JSON.parse((await post(live, '/tokenize', { model, content })).text);
    const [ofText] = await embed(content);
    const [ofIds] = await embed(tokens as number[]);
    const [ofLists] = await embed([tokens, tokens] as number[][]);
    expect(likeness(ofText!, ofIds!)).toBeCloseTo(1, 5);
    expect(likeness(ofText!, ofLists!)).toBeCloseTo(1, 4);
  });

  test('are cut where the configuration says that they may be', async () => {
    const [whole] = await embed('a dish');
    const [short] = await embed('a dish', { dimensions: 20 });
    expect(short).toHaveLength(20);
    expect(lengthOf(short!)).toBeCloseTo(1, 5);
    expect(likeness(short!, whole!.slice(0, 20))).toBeCloseTo(1, 5);
  });

  test('of a model that says in its file that it makes them need no setting', async () => {
    const { data } = await client.embeddings.create({ model: 'bert', input: ['a', 'b'] });
    expect(data.map(({ embedding }) => embedding.length)).toEqual([32, 32]);
  });

  test('survive the death of the worker', async () => {
    const texts = Array.from({ length: 600 }, (_, i) => `text ${i} ${'dish '.repeat(20)}`);
    const reply = embed(texts);
    await live.untilReady(({ workers }) => workers.busy > 0);
    for (const { id, pid } of live.workers) if (id.startsWith('vectors')) process.kill(pid, 'SIGKILL');
    expect(await reply).toHaveLength(600);
    expect(await live.until('request', ({ attempts }) => attempts > 1)).toMatchObject({ status: 200 });
  });

  test('of a single text do not wait for the end of another caller’s long list', async () => {
    const texts = Array.from({ length: 1_000 }, (_, i) => `text ${i} ${'dish '.repeat(20)}`);
    const list = embed(texts);
    await live.untilReady(({ workers }) => workers.busy > 0);
    // Without a key it is another caller.
    const alone = post(live, '/v1/embeddings', { model, input: 'alone' }, {});
    expect(await Promise.race([list.then(() => 'list'), alone])).toMatchObject({ status: 200 });
    await list;
  });

  test('are billed as prompt tokens', async () => {
    const before = live.logged('request').length;
    await embed(['one', 'two']);
    const line = live.logged('request').slice(before).at(-1);
    expect(line).toMatchObject({ route: '/v1/embeddings', model, backend: model, completionTokens: 0 });
    expect(line.promptTokens).toBeGreaterThan(1);
    const report = await fetch(`${live.url}/usage`, { headers: { 'X-API-Key': LIVE_KEY } });
    const { rows = [], ...others } = (await report.json()) as { rows?: unknown[] };
    expect(JSON.stringify([rows, others])).toContain('"vectors"');
  });
});

describe('a clear 400', () => {
  const refusal = async (request: Promise<unknown>) => {
    const error = await request.then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(error).toBeInstanceOf(BadRequestError);
    const { code, param, message } = error as BadRequestError;
    return { code, param, message };
  };
  const long = 'x '.repeat(400);

  test.each([
    ['input', long],
    ['input.1', ['short', long, 'short']],
    ['input.1', [[676], Array<number>(300).fill(676)]],
  ])('for %s beyond the context, with the numbers', async (param, input) => {
    const { message, ...error } = await refusal(client.embeddings.create({ model, input }));
    expect(error).toEqual({ code: 'context_length_exceeded', param });
    expect(message).toMatch(new RegExp(`has \\d{3} tokens, .* of ${CONTEXT}$`));
  });

  test('for ids that the model does not have, naming the input', async () => {
    const request = client.embeddings.create({ model, input: [[676], [1_999_999]] });
    expect(await refusal(request)).toMatchObject({ code: 'invalid_value', param: 'input.1' });
  });

  test('for sizes that the vectors cannot have', async () => {
    for (const [name, dimensions] of [
      ['vectors', 161],
      ['bert', 16],
    ] as const) {
      const request = client.embeddings.create({ model: name, input: 'x', dimensions });
      expect(await refusal(request)).toMatchObject({ param: 'dimensions' });
    }
  });

  test('for a model of another kind, naming those that can', async () => {
    const messages = [{ role: 'user', content: 'x' }] as const;
    const chat = client.chat.completions.create({ model, messages: [...messages] });
    expect(await refusal(chat)).toMatchObject({
      param: 'model',
      message: expect.stringMatching(/can: chat$/),
    });
    const vector = client.embeddings.create({ model: 'chat', input: 'x' });
    expect((await refusal(vector)).message).toMatch(/can: vectors, bert$/);
    const rated = await post(live, '/v1/rerank', { model, query: 'x', documents: ['y'] });
    expect([rated.status, rated.text]).toEqual([400, expect.stringContaining('these models can: judge')]);
  });
});

test('a request that names no model gets the first that can', async () => {
  const { text } = await post(live, '/v1/embeddings', { input: 'x' });
  expect(JSON.parse(text)).toMatchObject({ model: 'vectors' });
});

test('documents are rated in one request as they are alone, the best first', async () => {
  const documents = ['Lima is in Peru', { text: 'a dish of fish' }, 'nothing'];
  const body = { query: 'Peru', documents, return_documents: true };
  const { text, status } = await post(live, '/rerank', body);
  expect(status).toBe(200);
  const { results, model: by, usage } = JSON.parse(text);
  expect(by).toBe('judge');
  expect(usage.total_tokens).toBeGreaterThan(10);
  const scores = results.map(({ relevance_score: score }: any) => score);
  expect(scores).toEqual([...scores].sort((a, b) => b - a));
  expect(results.map(({ index }: any) => index).sort()).toEqual([0, 1, 2]);
  for (const { index, relevance_score: score, document } of results) {
    expect(document.text).toBe(['Lima is in Peru', 'a dish of fish', 'nothing'][index]);
    const alone = await post(live, '/v1/rerank', { query: 'Peru', documents: [documents[index]] });
    expect(JSON.parse(alone.text).results[0].relevance_score).toBeCloseTo(score, 2);
  }
});

test('a document beyond the context is refused by its number', async () => {
  const body = { query: 'Peru', documents: ['short', 'word '.repeat(200)] };
  const { status, text } = await post(live, '/v1/rerank', body);
  expect(status).toBe(400);
  expect(JSON.parse(text).error).toMatchObject({ code: 'context_length_exceeded', param: 'documents.1' });
});

test('a text becomes tokens and a text again', async () => {
  const content = 'Name a dish <|im_end|>';
  const asked = { model: 'chat', content, with_pieces: true };
  const { tokens } = JSON.parse((await post(live, '/tokenize', asked)).text);
  expect(tokens.map(({ piece }: any) => piece).join('')).toBe(content);
  const ids = tokens.map(({ id }: any) => id);
  const back = await post(live, '/detokenize', { model: 'chat', tokens: ids });
  expect(JSON.parse(back.text)).toEqual({ content });
  const plain = JSON.parse(
    (await post(live, '/tokenize', { model: 'chat', content, parse_special: false })).text,
  );
  expect(plain.tokens.length).toBeGreaterThan(ids.length);
  const unknown = await post(live, '/detokenize', { model: 'chat', tokens: [1_999_999] });
  expect(unknown.status).toBe(400);
});

test('a model that does not write does not start without a llama-server', async () => {
  symlinkSync((await llamaServer()).replace(/llama-server$/, 'llama-cli'), join(models, 'llama-cli'));
  const alone = new LiveServer({ LLM_BIN_PATH: join(models, 'llama-cli'), LLM_TASK: 'embed' });
  await expect(alone.start()).rejects.toThrow(/needs a llama-server, and there is no .*llama-server/);
  await alone.stop();
});

test('models say what they are for', async () => {
  const capabilities = new Map<string, unknown>();
  for await (const entry of client.models.list()) capabilities.set(entry.id, (entry as any).capabilities);
  expect(capabilities.get('vectors')).toEqual(['embed']);
  expect(capabilities.get('bert')).toEqual(['embed']);
  expect(capabilities.get('judge')).toEqual(['rerank']);
  expect(capabilities.get('chat')).toContain('chat');
});
