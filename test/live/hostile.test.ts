import { json, refusal, sseData, type Reply } from '../support/exchange.js';
import { LiveServer } from '../support/live.js';
import * as requests from './requests.js';
import { CHAT, user } from './requests.js';

/** What must not harm a worker, on real llama.cpp. */

let live: LiveServer;
let pids: number[];

beforeAll(async () => {
  live = await new LiveServer({ LLM_SLOTS: '2' }).start();
  pids = live.workerPids();
});

afterEach(() => {
  expect(live.workerPids()).toEqual(pids);
  expect(live.logged('worker_exit')).toEqual([]);
});

afterAll(() => live.stop());

const post = (path: string, body: object | string | Buffer): Promise<Reply> =>
  requests.post(live, path, body);

/** Two, three and four bytes a character, joined ones and bare ones. */
const HARD = 'é中😀👩‍👩‍👧🇵🇪';

const streamed = ({ text }: Reply): string =>
  sseData(text)
    .map((chunk) => chunk.choices?.[0]?.delta.content ?? '')
    .join('');

/** The replies to a request that is cut after one token, after two, and so on until it is whole. */
async function everyCut(path: string, body: object, read: (reply: Reply) => string, whole: string) {
  const texts: string[] = [];
  for (let max = 1; texts.at(-1) !== whole; max += 1) {
    expect(max).toBeLessThan(100);
    texts.push(read(await post(path, { ...body, temperature: 0, max_tokens: max })));
  }
  return texts;
}

test.each([
  [CHAT, { ...user('hi'), stream: true }, streamed],
  ['/v1/completions', { prompt: 'hi' }, (reply: Reply) => json(reply).choices[0].text as string],
])(
  'a character of several tokens is never split on %s, wherever the reply is cut',
  async (path, body, read) => {
    const texts = await everyCut(path, { ...body, grammar: `root ::= "${HARD}"` }, read, HARD);
    for (const text of texts) expect(HARD).toContain(text);
    expect(texts.every((text) => text.isWellFormed())).toBe(true);
    expect(texts.length).toBeGreaterThan([...HARD].length);
  },
);

test('a character of several tokens is never split on /chat', async () => {
  const prompt = 'Send me a smile';
  const read = ({ text }: Reply) => text;
  const whole = read(await post('/chat', { prompt, temperature: 0 }));
  expect(whole).toContain('😀');
  const texts = await everyCut('/chat', { prompt }, read, whole);
  for (const text of texts) expect(whole.startsWith(text)).toBe(true);
});

test('text that cannot be tokenised is 400 and the worker lives', async () => {
  const bodies = [
    Buffer.from([...Buffer.from('{"prompt":"'), 0xff, 0xfe, ...Buffer.from('"}')]),
    Buffer.from([...Buffer.from('{"prompt":"'), 0xed, 0xa0, 0x80, ...Buffer.from('"}')]),
    '{"prompt":"a\\u0000"}',
    '{"prompt":"a\\ud800"}',
    '{"prompt":"\\udc00\\ud800"}',
  ];
  for (const body of bodies) expect((await post('/chat', body)).status).toBe(400);
});

test('a prompt over the context is 400 context_length_exceeded', async () => {
  const reply = await post('/chat', { prompt: 'word '.repeat(10_000) });
  expect(refusal(reply)).toMatchObject({ status: 400, code: 'context_length_exceeded' });
});

test.each([
  '../lmserv-demo',
  '%2e%2e/lmserv-demo',
  './lmserv-demo',
  'lmserv-demo/',
  'lmserv-demo.gguf',
  '__proto__',
])('the model name %s is looked up unchanged and is 404', async (model) => {
  for (const path of ['/chat', CHAT]) {
    const reply = await post(path, { prompt: 'hi', ...user('hi'), model });
    expect(refusal(reply)).toMatchObject({ status: 404, code: 'model_not_found' });
  }
});

test('text that looks like a command of llama-cli is tokenised and not executed', async () => {
  const count = async (content: string) =>
    json(await post(CHAT, { ...user(content), max_tokens: 1 })).usage.prompt_tokens as number;
  const empty = await count('.');
  for (const text of ['/read /etc/passwd', '/exit', '/clear', 'a\n> b\n', '\\', '/'])
    expect((await count(`.${text}.`)) - empty).toBeGreaterThan(0);
  // A file that was read in would be far longer.
  expect((await count('/read /etc/passwd')) - empty).toBeLessThan(20);
});

/** Field by field, an object with as many of them. */
const form = (count: number, field: object, required: boolean) => {
  const names = Array.from({ length: count }, (_, i) => `field${i}`);
  const properties = Object.fromEntries(names.map((name) => [name, field]));
  return { type: 'object', properties, ...(required ? { required: names } : {}) };
};

const withSchema = (schema: object) => ({
  ...user('hi'),
  max_tokens: 3,
  response_format: { type: 'json_schema', json_schema: { schema } },
});

test.each([
  ['allOf in a circle', { allOf: [{ $ref: '#/a' }], a: { $ref: '#/b' }, b: { $ref: '#/a' } }],
  ['allOf in its own field', { $ref: '#/a', a: { properties: { next: { allOf: [{ $ref: '#/a' }] } } } }],
  ['a name of 100 KB', { properties: { ['é'.repeat(50_000)]: {} } }],
  ['a list of 30,000 types', { type: Array(30_000).fill('string') }],
  ['an enum of 60,000', { enum: Array.from({ length: 60_000 }, (_, i) => `v${i}`) }],
])('a schema that crashed workers is 400 and the worker lives: %s', async (_, schema) => {
  const reply = await post(CHAT, withSchema(schema));
  expect([reply.status, json(reply).error.code]).toEqual([400, 'invalid_value']);
});

test.each([
  ['an enum of 1,900', form(1, { enum: Array.from({ length: 1_900 }, (_, i) => `v${i}`) }, true)],
  ['290 required fields', form(290, { type: 'string' }, true)],
  ['290 optional fields', form(290, { type: 'string' }, false)],
  ['49 long texts', form(49, { type: 'string', maxLength: 2_000 }, true)],
])('the largest accepted schemas crash no worker: %s', async (_, schema) => {
  expect((await post(CHAT, withSchema(schema))).status).toBe(200);
});
