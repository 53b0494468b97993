import {
  AuthenticationError,
  BrokenStreamError,
  ConnectionError,
  createClient,
  type ClientOptions,
} from '../../../src/client/index.js';
import { STUB_ANSWER } from '../../../src/client/providers.js';
import {
  FakeServer,
  collect,
  completion,
  cutAfter,
  deadUrl,
  delta,
  done,
  errorBody,
  event,
  failure,
  json,
  sse,
  stopServers,
  type Answer,
} from './fake-server.js';

afterEach(stopServers);

const KEY = 'canary-key-7';
const warnings: string[] = [];
beforeEach(() => void warnings.splice(0));

const clientOf = (options: ClientOptions) =>
  createClient({ apiKey: KEY, warn: (message) => warnings.push(message), ...options });

test('the stub answers when nobody listens, and a warning names the failure', async () => {
  const baseUrl = await deadUrl();
  expect(await clientOf({ baseUrl }).generate('hi')).toBe(STUB_ANSWER);
  expect((await collect(clientOf({ baseUrl }).stream('hi'))).join('')).toBe(STUB_ANSWER);
  const warning = `lan failed (ConnectionError ECONNREFUSED: no answer from ${baseUrl} (ECONNREFUSED)); stub answers instead`;
  expect(warnings).toEqual([warning, warning]);
});

test.each<[string, Answer]>([
  ['a status', json(503, errorBody('starting', `Server is starting up ${KEY}`))],
  ['a refused key', json(401, errorBody('invalid_api_key', `Bad API key ${KEY}`))],
  ['a stream that is cut before its first token', cutAfter(': ping\n\n')],
  ['a role and then an error event', sse(delta(''), event(errorBody('generation_failed', `lost ${KEY}`)))],
  ['a hang', () => undefined],
])('the fallback answers a stream after %s, with no key in the warning', async (_name, answer) => {
  const { url } = await FakeServer.start(answer);
  const client = clientOf({ baseUrl: url, timeoutSecs: 0.2 });
  expect((await collect(client.stream('hi'))).join('')).toBe(STUB_ANSWER);
  expect(warnings).toHaveLength(1);
  expect(warnings[0]).not.toContain(KEY);
});

test('the warning gives the request id, to be found in the log of the server', async () => {
  const { url } = await FakeServer.start(json(500, errorBody('generation_failed', 'It broke')));
  await clientOf({ baseUrl: url }).generate('hi');
  expect(warnings).toEqual([
    'lan failed (ServerError generation_failed: It broke, request req-1); stub answers instead',
  ]);
});

test('never after the first token: the stream throws', async () => {
  const { url } = await FakeServer.start(cutAfter(delta('par')));
  const texts: string[] = [];
  const all = (async () => {
    for await (const text of clientOf({ baseUrl: url }).stream('hi')) texts.push(text);
  })();
  expect(await failure(all)).toBeInstanceOf(BrokenStreamError);
  expect(texts).toEqual(['par']);
  expect(warnings).toEqual([]);
});

test("never for the caller's own abort", async () => {
  const controller = new AbortController();
  const { url } = await FakeServer.start(() => controller.abort());
  const { signal } = controller;
  expect(await failure(clientOf({ baseUrl: url }).generate('hi', { signal }))).toBe(signal.reason);
  expect(await failure(collect(clientOf({ baseUrl: url }).stream('hi', { signal })))).toBe(signal.reason);
  expect(warnings).toEqual([]);
});

test('never for an option that cannot be used', async () => {
  const error = await failure(clientOf({}).generate('hi', { temperature: NaN }));
  expect(error).toMatchObject({ name: 'InvalidOptionError' });
  expect(warnings).toEqual([]);
});

test('`none` turns it off', async () => {
  const client = clientOf({ baseUrl: await deadUrl(), fallback: 'none' });
  expect(await failure(client.generate('hi'))).toBeInstanceOf(ConnectionError);
  expect(await failure(collect(client.stream('hi')))).toBeInstanceOf(ConnectionError);
});

test('a fallback that is the first provider itself is none', async () => {
  const { url, received } = await FakeServer.start(json(500, errorBody('x', 'y')));
  await failure(clientOf({ baseUrl: url, fallback: 'lan' }).generate('hi'));
  expect(received).toHaveLength(1);
});

test('from local to lan of the same server, with its key', async () => {
  const server = await FakeServer.start((response, received) =>
    received.path === '/llm'
      ? json(500, errorBody('x', 'y'))(response, received)
      : completion('ok')(response, received),
  );
  const client = clientOf({ provider: 'local', baseUrl: server.url, fallback: 'lan' });
  expect(await client.generate('hi')).toBe('ok');
  expect(server.received.map(({ path }) => path)).toEqual(['/llm', '/v1/chat/completions']);
  expect(server.received[1]!.headers.authorization).toBe(`Bearer ${KEY}`);
});

test('another server gets its own key and model, not those of the first', async () => {
  const second = await FakeServer.start(completion('from the second'));
  const fallback = { baseUrl: second.url, apiKey: 'other-key', model: 'fast' };
  const client = clientOf({ baseUrl: await deadUrl(), model: 'quality', fallback });
  expect(await client.generate('hi')).toBe('from the second');
  expect(second.received[0]).toMatchObject({
    headers: { authorization: 'Bearer other-key' },
    body: { model: 'fast' },
  });
});

test('another server without a key of its own gets none', async () => {
  const second = await FakeServer.start(sse(delta('ok'), done));
  const client = clientOf({ baseUrl: await deadUrl(), fallback: { baseUrl: second.url } });
  expect(await collect(client.stream('hi'))).toEqual(['ok']);
  expect(second.received[0]!.headers).not.toHaveProperty('authorization');
});

test('when both fail the first failure is thrown and the second is in a warning', async () => {
  const first = await FakeServer.start(json(401, errorBody('invalid_api_key', 'Bad API key')));
  const options = { baseUrl: first.url, fallback: { baseUrl: await deadUrl() } };
  expect(await failure(clientOf(options).generate('hi'))).toBeInstanceOf(AuthenticationError);
  expect(await failure(collect(clientOf(options).stream('hi')))).toBeInstanceOf(AuthenticationError);
  expect(warnings).toHaveLength(4);
  expect(warnings[1]).toMatch(/^the fallback lan failed too \(ConnectionError ECONNREFUSED/);
  expect(warnings[3]).toBe(warnings[1]);
});

test('a fallback that breaks after its first token throws its own failure', async () => {
  const second = await FakeServer.start(cutAfter(delta('par')));
  const client = clientOf({ baseUrl: await deadUrl(), fallback: { baseUrl: second.url } });
  expect(await failure(collect(client.stream('hi')))).toBeInstanceOf(BrokenStreamError);
});

test('without a place for warnings Node itself emits them', async () => {
  const emitWarning = process.emitWarning.bind(process);
  const emitted: unknown[][] = [];
  process.emitWarning = (...values: unknown[]) => void emitted.push(values);
  try {
    await createClient({ baseUrl: await deadUrl() }).generate('hi');
  } finally {
    process.emitWarning = emitWarning;
  }
  expect(emitted).toEqual([[expect.stringContaining('stub answers instead'), 'LLMClientWarning']]);
});
