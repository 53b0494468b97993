import {
  AuthenticationError,
  BrokenStreamError,
  ConnectionError,
  createClient,
  type ClientOptions,
} from '../../../src/client/index.js';
import { STUB_REPLY } from '../../../src/client/providers.js';
import {
  completion,
  cutAfter,
  deadUrl,
  delta,
  done,
  errorBody,
  event,
  fakeServer,
  json,
  sse,
  type Reply,
} from '../../support/fake-server.js';
import { collect, drain, failure, failures, KEY } from './helpers.js';

const warnings: string[] = [];
beforeEach(() => void warnings.splice(0));

const clientOf = (options: ClientOptions) =>
  createClient({ apiKey: KEY, warn: (message) => warnings.push(message), ...options });

test('the stub replies when nothing listens, and a warning names the failure', async () => {
  const baseUrl = await deadUrl();
  expect(await clientOf({ baseUrl }).generate('hi')).toBe(STUB_REPLY);
  expect((await collect(clientOf({ baseUrl }).stream('hi'))).join('')).toBe(STUB_REPLY);
  const warning = `lan failed (ConnectionError ECONNREFUSED: no reply from ${baseUrl} (ECONNREFUSED)); stub replies instead`;
  expect(warnings).toEqual([warning, warning]);
});

test.each<[string, Reply]>([
  ['an error status', json(503, errorBody('starting', `Server is starting up ${KEY}`))],
  ['a rejected key', json(401, errorBody('invalid_api_key', `Bad API key ${KEY}`))],
  ['a stream that is cut before its first token', cutAfter(': ping\n\n')],
  ['a role and then an error event', sse(delta(''), event(errorBody('generation_failed', `lost ${KEY}`)))],
  ['a hang', () => undefined],
])('the fallback replies to a stream after %s, without the key in the warning', async (_, reply) => {
  const { url } = await fakeServer(reply);
  const client = clientOf({ baseUrl: url, timeoutSecs: 0.2 });
  expect((await collect(client.stream('hi'))).join('')).toBe(STUB_REPLY);
  expect(warnings).toHaveLength(1);
  expect(warnings[0]).not.toContain(KEY);
});

test('the warning gives the request id, so that the server’s log can be searched for it', async () => {
  const { url } = await fakeServer(json(500, errorBody('generation_failed', 'It broke')));
  await clientOf({ baseUrl: url }).generate('hi');
  expect(warnings).toEqual([
    'lan failed (ServerError generation_failed: It broke, request req-1); stub replies instead',
  ]);
});

describe('the fallback is not used', () => {
  afterEach(() => expect(warnings).toEqual([]));

  test('after the first token: the stream throws', async () => {
    const { url } = await fakeServer(cutAfter(delta('par')));
    const { texts, thrown } = await drain(clientOf({ baseUrl: url }).stream('hi'));
    expect(thrown).toBeInstanceOf(BrokenStreamError);
    expect(texts).toEqual(['par']);
  });

  test('when the caller aborts', async () => {
    const controller = new AbortController();
    const { url } = await fakeServer(() => controller.abort());
    const { signal } = controller;
    for (const error of await failures(clientOf({ baseUrl: url }), { signal }))
      expect(error).toBe(signal.reason);
  });

  test('when an option is invalid', async () => {
    const error = await failure(clientOf({}).generate('hi', { temperature: NaN }));
    expect(error).toMatchObject({ name: 'InvalidOptionError' });
  });

  test('when it is `none`', async () => {
    const client = clientOf({ baseUrl: await deadUrl(), fallback: 'none' });
    for (const error of await failures(client)) expect(error).toBeInstanceOf(ConnectionError);
  });

  test('when it is the first provider itself', async () => {
    const { url, received } = await fakeServer(json(500, errorBody('x', 'y')));
    await failure(clientOf({ baseUrl: url, fallback: 'lan' }).generate('hi'));
    expect(received).toHaveLength(1);
  });
});

test('a fallback from local to lan of the same server keeps its key', async () => {
  const { url, received } = await fakeServer((response, request) =>
    (request.path === '/llm' ? json(500, errorBody('x', 'y')) : completion('ok'))(response, request),
  );
  const client = clientOf({ provider: 'local', baseUrl: url, fallback: 'lan' });
  expect(await client.generate('hi')).toBe('ok');
  expect(received.map(({ path }) => path)).toEqual(['/llm', '/v1/chat/completions']);
  expect(received[1]!.headers.authorization).toBe(`Bearer ${KEY}`);
});

test('another server gets its own key and model, not those of the first', async () => {
  const { url, received } = await fakeServer(completion('from the second'));
  const fallback = { baseUrl: url, apiKey: 'other-key', model: 'fast' };
  const client = clientOf({ baseUrl: await deadUrl(), model: 'quality', fallback });
  expect(await client.generate('hi')).toBe('from the second');
  const headers = { authorization: 'Bearer other-key' };
  expect(received[0]).toMatchObject({ headers, body: { model: 'fast' } });
});

test('another server for which no key is set gets none', async () => {
  const { url, received } = await fakeServer(sse(delta('ok'), done));
  const client = clientOf({ baseUrl: await deadUrl(), fallback: { baseUrl: url } });
  expect(await collect(client.stream('hi'))).toEqual(['ok']);
  expect(received[0]!.headers).not.toHaveProperty('authorization');
});

test('when both fail, the first failure is thrown and the second is in a warning', async () => {
  const { url } = await fakeServer(json(401, errorBody('invalid_api_key', 'Bad API key')));
  const client = clientOf({ baseUrl: url, fallback: { baseUrl: await deadUrl() } });
  for (const error of await failures(client)) expect(error).toBeInstanceOf(AuthenticationError);
  expect(warnings).toHaveLength(4);
  expect(warnings[1]).toMatch(/^the fallback lan failed too \(ConnectionError ECONNREFUSED/);
  expect(warnings[3]).toBe(warnings[1]);
});

test('a fallback that breaks after its first token throws its own failure', async () => {
  const { url } = await fakeServer(cutAfter(delta('par')));
  const client = clientOf({ baseUrl: await deadUrl(), fallback: { baseUrl: url } });
  expect(await failure(collect(client.stream('hi')))).toBeInstanceOf(BrokenStreamError);
});

test('Node emits warnings that no option takes', async () => {
  const emitWarning = process.emitWarning.bind(process);
  const emitted: unknown[][] = [];
  process.emitWarning = (...values: unknown[]) => void emitted.push(values);
  try {
    await createClient({ baseUrl: await deadUrl() }).generate('hi');
  } finally {
    process.emitWarning = emitWarning;
  }
  expect(emitted).toEqual([[expect.stringContaining('stub replies instead'), 'LLMClientWarning']]);
});
