import { join } from 'node:path';
import { Ollama } from 'ollama';
import { newFolder } from '../support/folder.js';
import { demoModel, LIVE_KEY, LiveServer, writeConfig } from '../support/live.js';
import { writeBert } from './bert-model.js';
import { post } from './requests.js';

/** The official Ollama client's embeddings on real llama.cpp: the vectors are those of `/v1/embeddings`. */

const models = newFolder();
let live: LiveServer;
let client: Ollama;

const model = 'vectors';
const CONTEXT = 256;

beforeAll(async () => {
  await writeBert(join(models, 'bert.gguf'), 'embed');
  const vectors = { task: 'embed', context: CONTEXT, matryoshka: true } as const;
  live = await new LiveServer((folder) => ({
    LMSERV_CONFIG: writeConfig(folder, {
      models: {
        chat: demoModel(),
        vectors: demoModel(vectors),
        bert: { path: join(models, 'bert.gguf'), threads: 1 },
        spare: demoModel({ ...vectors, pin: false }),
      },
    }),
  })).start();
  await live.untilReady(({ workers }) => workers.idle === 2);
  client = new Ollama({ host: live.url, headers: { Authorization: `Bearer ${LIVE_KEY}` } });
});

afterAll(() => live.stop());

async function reply(path: string, body: object) {
  const { status, text } = await post(live, path, body);
  expect([status, text]).toEqual([200, text]);
  return JSON.parse(text);
}

/** The vector of one input by OpenAI's route. */
async function vectorOf(input: string | number[], of = model): Promise<number[]> {
  const { data } = await reply('/v1/embeddings', { model: of, input });
  return data[0].embedding;
}

/** The cosine of the angle between two vectors of length 1. */
const likeness = (a: readonly number[], b: readonly number[]) =>
  a.reduce((sum, number, i) => sum + number * b[i]!, 0);

const dish = 'Name a famous Peruvian dish';

test('a text has the same vector on all routes', async () => {
  const expected = await vectorOf(dish);
  const { embeddings, ...others } = await client.embed({ model, input: dish });
  expect(embeddings).toEqual([expected]);
  expect(others).toMatchObject({ model, prompt_eval_count: expect.any(Number) });
  expect(others.total_duration).toBeGreaterThanOrEqual(others.load_duration);
  expect(await client.embeddings({ model, prompt: dish })).toEqual({ embedding: expected });
});

test('texts of a list have the vectors of each alone, in their order', async () => {
  const input = Array.from({ length: 20 }, (_, i) => `${'dish '.repeat(i)}number ${i}`);
  const { embeddings } = await client.embed({ model, input });
  expect(embeddings).toHaveLength(20);
  for (const i of [0, 11, 19]) expect(likeness(embeddings[i]!, await vectorOf(input[i]!))).toBeCloseTo(1, 4);
});

test('a model with the tag latest is found on all routes', async () => {
  const tagged = 'bert:latest';
  const expected = await vectorOf(dish, 'bert');
  expect(expected).toHaveLength(32);
  expect(await vectorOf(dish, tagged)).toEqual(expected);
  expect(await client.embed({ model: tagged, input: dish })).toMatchObject({
    model: tagged,
    embeddings: [expected],
  });
  expect(await client.embeddings({ model: tagged, prompt: dish })).toEqual({ embedding: expected });
});

describe('an input beyond the context', () => {
  const long = 'word '.repeat(400);

  test.each<[string, number]>([
    [model, CONTEXT],
    // With tokens of its own at the beginning and the end.
    ['bert', 128],
  ])('loses its end: %s', async (of, context) => {
    const { tokens } = await reply('/tokenize', { model: of, content: long, add_special: true });
    const plain = await reply('/tokenize', { model: of, content: long });
    const ending = of === 'bert' ? [tokens.at(-1)] : [];
    expect(plain.tokens.at(-1) === tokens.at(-1)).toBe(ending.length === 0);
    const expected = await vectorOf([...tokens.slice(0, context - ending.length), ...ending], of);
    const { embeddings, prompt_eval_count } = await client.embed({ model: of, input: ['short', long, 'b'] });
    expect(embeddings[1]!.length).toBe(expected.length);
    expect(likeness(embeddings[1]!, expected)).toBeCloseTo(1, 4);
    expect(likeness(embeddings[0]!, await vectorOf('short', of))).toBeCloseTo(1, 4);
    expect(prompt_eval_count).toBeGreaterThan(context);
    const { embedding } = await client.embeddings({ model: of, prompt: long });
    expect(likeness(embedding, expected)).toBeCloseTo(1, 4);
  });

  test('is 400 with truncate false, with the numbers', async () => {
    const error = expect.stringMatching(new RegExp(`^input\\.1: has \\d{3} tokens, .* of ${CONTEXT}$`));
    const refused = client.embed({ model, input: ['short', long], truncate: false });
    await expect(refused).rejects.toMatchObject({ name: 'ResponseError', status_code: 400, error });
  });
});

test('dimensions cut the vectors of a model that allows it', async () => {
  const { embeddings } = await client.embed({ model, input: dish, dimensions: 20 });
  expect(embeddings[0]).toHaveLength(20);
  expect(Math.hypot(...embeddings[0]!)).toBeCloseTo(1, 5);
  for (const asked of [
    { model, dimensions: 161 },
    { model: 'bert', dimensions: 16 },
  ]) {
    const error = expect.stringMatching(/^dimensions: /);
    await expect(client.embed({ input: dish, ...asked })).rejects.toMatchObject({ status_code: 400, error });
  }
});

test('without input a model is loaded, and with keep_alive 0 it leaves, also after a reply', async () => {
  const inMemory = async () => (await client.ps()).models.map(({ name }) => name);
  const input: string[] = [];
  expect(await inMemory()).not.toContain('spare:latest');
  expect(await client.embed({ model: 'spare', input })).toMatchObject({ model: 'spare', embeddings: [] });
  expect(await inMemory()).toContain('spare:latest');
  await client.embed({ model: 'spare', input, keep_alive: 0 });
  expect(await inMemory()).not.toContain('spare:latest');

  const unloaded = live.next('model_unloaded', ({ model: id }) => id === 'spare');
  expect(await client.embeddings({ model: 'spare', prompt: '' })).toEqual({ embedding: [] });
  const { embedding } = await client.embeddings({ model: 'spare', prompt: dish, keep_alive: 0 });
  expect(embedding).toHaveLength(160);
  await unloaded;
});

test.each<[string, number, RegExp]>([
  ['chat', 400, /cannot make embeddings; these models can: vectors, bert, spare$/],
  ['nomic-embed-text', 404, /^model not found/],
])('the model %s is %i', async (of, status_code, message) => {
  const error = expect.stringMatching(message);
  for (const refused of [
    client.embed({ model: of, input: 'x' }),
    client.embeddings({ model: of, prompt: 'x' }),
  ])
    await expect(refused).rejects.toMatchObject({ status_code, error });
});

test('an embedding model says what it is for', async () => {
  expect((await client.show({ model })).capabilities).toEqual(['embedding']);
});
