import { BadRemote, type Fault } from '../support/bad-remote.js';
import { chunkTexts, json, lines, refusal, sseData, type Reply } from '../support/exchange.js';
import { demoModel, LiveServer, writeConfig } from '../support/live.js';
import { CHAT, DISH, messages, post } from './requests.js';

/** Groups whose first member misbehaves, in front of real llama.cpp; and what clients see when all of them do. */

/** A key that must never come back: the remotes repeat it in all their replies. */
const CANARY = 'canary-0123456789-abcdefghij';

const FAULTS: Fault[] = ['refuses', 'fails', 'limits', 'hangs', 'dies'];
const prompt = DISH;

let remote: BadRemote;
let live: LiveServer;
const replies: Reply[] = [];

const backend = (fault: Fault, firstTokenSecs: number) => ({
  ...{ baseUrl: remote.url(fault), model: 'x', apiKeyEnv: 'LMSERV_TEST_CANARY' },
  timeouts: { connectSecs: 1, firstTokenSecs },
  retries: { attempts: 1, budgetSecs: 1 },
});

beforeAll(async () => {
  process.env.LMSERV_TEST_CANARY = CANARY;
  remote = await new BadRemote().start();
  const first = FAULTS.map((fault) => [`${fault}-first`, { members: [fault, 'demo'] }] as const);
  live = await new LiveServer((folder) => ({
    LMSERV_CONFIG: writeConfig(folder, {
      models: { demo: demoModel({ slots: 2 }), small: demoModel({ slots: 1, context: 256 }) },
      remotes: {
        ...Object.fromEntries(FAULTS.map((fault) => [fault, backend(fault, 0.2)])),
        // It gives up in a day: only the group's own limit can end it.
        stuck: backend('hangs', 86_400),
      },
      groups: {
        ...Object.fromEntries(first),
        'all-fail': { members: FAULTS },
        'two-groups': { members: ['refuses'], fallback: ['worse', 'local'] },
        worse: { members: ['fails', 'dies'] },
        'small-first': { members: ['small', 'demo'] },
        local: { members: ['demo'] },
        'all-stuck': { members: ['stuck', 'demo'], firstTokenSecs: 0.5 },
      },
    }),
  })).start();
});

afterAll(async () => {
  await live.stop();
  await remote.stop();
  delete process.env.LMSERV_TEST_CANARY;
});

async function ask(path: string, body: object): Promise<Reply> {
  const reply = await post(live, path, body);
  replies.push(reply);
  return reply;
}

const completion = ({ text }: Reply): string =>
  sseData(text)
    .map((chunk) => chunk.choices?.[0]?.delta.content ?? '')
    .join('');

/** Every route, and where its answer is. */
const ROUTES: [path: string, body: (model: string) => object, answer: (reply: Reply) => string][] = [
  ['/chat', (model) => ({ model, prompt }), (reply) => reply.text],
  ['/complete', (model) => ({ model, messages }), (reply) => json(reply).content],
  ['/complete/stream', (model) => ({ model, messages }), (reply) => chunkTexts(reply).join('')],
  [
    '/execute',
    (model) => ({ prompt, config: { model_name: model, temperature: 0 } }),
    (reply) => json(reply).content,
  ],
  [CHAT, (model) => ({ model, messages }), (reply) => json(reply).choices[0].message.content],
  [CHAT, (model) => ({ model, messages, stream: true }), completion],
  ['/llm', (model) => ({ model, task: 'chat_completion', input: { prompt } }), (reply) => json(reply).result],
];

describe.each(FAULTS)('a first member that %s', (fault) => {
  test.each(ROUTES)('%s is served by the next', async (path, body, answer) => {
    const reply = await ask(path, { temperature: 0, ...body(`${fault}-first`) });
    expect(reply).toMatchObject({ status: 200, cut: false });
    expect(answer(reply)).toMatch(/ceviche/i);
  });

  test('the log says which member failed', () => {
    const failed = live.logged('backend_failed').filter(({ backend }) => backend === fault);
    expect(failed.length).toBeGreaterThanOrEqual(ROUTES.length);
    if (fault !== 'refuses') expect(new Set(remote.asked[fault])).toEqual(new Set([`Bearer ${CANARY}`]));
  });
});

test.each([
  ['the next member takes a prompt that is too long for the first', 1_000, 200, 'demo'],
  ['a prompt that fits stays at the first member', 10, 200, 'small'],
  ['a prompt that is too long for all is 400', 10_000, 400, undefined],
])('%s', async (_, words, status, model) => {
  const long = [{ role: 'user', content: 'word '.repeat(words) }];
  const reply = await ask('/v1/chat/completions', { model: 'small-first', messages: long, max_tokens: 2 });
  expect(reply.status).toBe(status);
  expect(json(reply).model).toBe(model);
  if (status === 400) expect(json(reply).error.code).toBe('context_length_exceeded');
});

test('a member that only refuses a request has not failed', () => {
  const small = ({ backend: name }: { backend: string }) => name === 'small';
  expect(live.logged('backend_refused').filter(small)).toHaveLength(2);
  expect(live.logged('backend_failed').filter(small)).toEqual([]);
});

test('an image that no member takes is 400', async () => {
  const content = [{ type: 'image_url', image_url: { url: 'data:image/png;base64,iVBORw0KGgo=' } }];
  const reply = await ask('/v1/chat/completions', {
    model: 'small-first',
    messages: [{ role: 'user', content }],
  });
  expect(reply.status).toBe(400);
  expect(json(reply).error.message).toBe('messages: the model small does not take images');
});

test('the fallback groups are tried in turn when all members fail', async () => {
  const { length } = live.logged('backend_failed');
  const reply = await ask('/complete', { model: 'two-groups', messages, temperature: 0 });
  expect(json(reply)).toMatchObject({ content: expect.stringMatching(/ceviche/i), model: 'two-groups' });
  const failed = live.logged('backend_failed').slice(length);
  expect(failed.map(({ backend }) => backend)).toEqual(['refuses', 'fails', 'dies']);
});

describe.each(['all-fail', 'all-stuck'])('the group %s fails with each contract’s own error', (model) => {
  const timedOut = model === 'all-stuck';
  const [status, code] = timedOut ? [504, 'provider_timeout'] : [503, 'unavailable'];

  test('/complete', async () => {
    const reply = await ask('/complete', { model, messages });
    expect([reply.status, json(reply)]).toEqual([503, { error: 'All providers unavailable' }]);
  });

  test('/complete/stream', async () => {
    const reply = await ask('/complete/stream', { model, messages });
    expect(reply.status).toBe(200);
    expect(lines(reply)).toEqual([{ type: 'error', message: 'All providers unavailable' }]);
  });

  test('/execute', async () => {
    const reply = await ask('/execute', { prompt, config: { model_name: model } });
    expect(reply.status).toBe(status);
    expect(json(reply)).toMatchObject(
      timedOut
        ? { error: 'provider_timeout', type: 'LLMTimeoutError' }
        : { error: 'provider_api_error', type: 'LLMAPIError' },
    );
  });

  test.each([
    [CHAT, { messages }],
    [CHAT, { messages, stream: true }],
    ['/v1/completions', { prompt }],
    ['/chat', { prompt }],
    ['/llm', { prompt }],
  ])('%s has its own status and OpenAI’s error: %j', async (path, body) => {
    const reply = await ask(path, { ...body, model });
    expect(refusal(reply)).toMatchObject({ status: status, code, message: expect.any(String), param: null });
    expect(reply.headers['content-type']).toMatch(/^application\/json/);
  });
});

test('replies and log lines do not contain the providers’ key', () => {
  expect(replies.length).toBeGreaterThan(40);
  const told = JSON.stringify([replies, live.lines]);
  // The providers’ own words were passed on, and it is only the key that is missing in them.
  expect(told).toContain('boom');
  expect(told).toContain('[redacted]');
  expect(told).not.toContain(CANARY);
});
