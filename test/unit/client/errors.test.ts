import {
  AuthenticationError,
  BadRequestError,
  ConnectionError,
  LLMClientError,
  RateLimitError,
  ServerError,
  TimeoutError,
  UnavailableError,
  createClient,
} from '../../../src/client/index.js';
import type { Client } from '../../../src/client/index.js';
import {
  FakeServer,
  collect,
  completion,
  deadUrl,
  errorBody,
  failure,
  json,
  stopServers,
} from './fake-server.js';
import type { Answer } from './fake-server.js';

afterEach(stopServers);

const KEY = 'canary-key-7';

async function clientOf(answer: Answer, timeoutSecs = 30): Promise<Client> {
  const { url } = await FakeServer.start(answer);
  return createClient({ baseUrl: url, apiKey: KEY, timeoutSecs, fallback: 'none' });
}

const STATUSES = [
  [400, BadRequestError],
  [401, AuthenticationError],
  [403, AuthenticationError],
  [404, BadRequestError],
  [408, TimeoutError],
  [413, BadRequestError],
  [421, BadRequestError],
  [429, RateLimitError],
  [500, ServerError],
  [502, ServerError],
  [503, UnavailableError],
  [504, TimeoutError],
] as const;

test.each(STATUSES)('status %i is its typed error, whole and streamed', async (status, type) => {
  const client = await clientOf(json(status, errorBody('some_code', 'What went wrong')));
  for (const attempt of [() => client.generate('hi'), () => collect(client.stream('hi'))]) {
    const error = await failure(attempt());
    expect(error).toBeInstanceOf(type);
    expect(error).toBeInstanceOf(LLMClientError);
    expect(error).toMatchObject({
      name: type.name,
      status,
      code: 'some_code',
      message: 'What went wrong',
      requestId: 'req-1',
    });
  }
});

test.each([
  [429, { 'retry-after': '7' }, 7],
  [503, { 'retry-after': '1' }, 1],
  [503, { 'retry-after': '9', 'retry-after-ms': '250' }, 0.25],
  [429, { 'retry-after': 'Thu, 01 Jan 1970 00:00:00 GMT' }, 0],
  [429, { 'retry-after': 'soon' }, undefined],
  [503, {}, undefined],
])('status %i with %j says when to come again: %s s', async (status, headers, retryAfter) => {
  const client = await clientOf(json(status, errorBody('busy', 'Later'), headers));
  expect(await failure(client.generate('hi'))).toMatchObject({ status, retryAfter });
});

test.each([
  ['a bare string', { error: 'All providers unavailable' }, 'http_503', 'All providers unavailable'],
  ['a flat object', { error: 'llm_error', message: 'It broke', type: 'X' }, 'llm_error', 'It broke'],
  ['a code that is a number', { error: { message: 'm', code: 503 } }, '503', 'm'],
  [
    'no JSON',
    '<html>Bad gateway</html>',
    'http_503',
    expect.stringMatching(/^http:\/\/127.0.0.1:\d+ answered 503$/),
  ],
  ['nothing', '', 'http_503', expect.stringMatching(/answered 503$/)],
])('reads an error of other servers: %s', async (_name, body, code, message) => {
  const client = await clientOf(json(503, body));
  expect(await failure(client.generate('hi'))).toMatchObject({ code, message });
});

test('a message is one bounded line without the key', async () => {
  const noisy = `bad key ${KEY}\r\n\u001b[31mred\u001b[0m ${'x'.repeat(2000)}`;
  const client = await clientOf(json(401, errorBody(`code-${KEY}`, noisy)));
  const error = (await failure(client.generate('hi'))) as LLMClientError;
  expect(error.message).toMatch(/^bad key \[redacted\] \[31mred \[0m x+…$/);
  expect(error.message.length).toBeLessThanOrEqual(501);
  expect(error.code).toBe('code-[redacted]');
});

test('nobody listens', async () => {
  const url = await deadUrl();
  const client = createClient({ baseUrl: url, apiKey: KEY, fallback: 'none' });
  for (const attempt of [() => client.generate('hi'), () => collect(client.stream('hi'))]) {
    const error = await failure(attempt());
    expect(error).toBeInstanceOf(ConnectionError);
    expect(error).toMatchObject({
      code: 'ECONNREFUSED',
      status: undefined,
      message: `no answer from ${url} (ECONNREFUSED)`,
    });
  }
});

test('the connection is cut before any answer', async () => {
  const client = await clientOf((response) => void response.destroy());
  expect(await failure(client.generate('hi'))).toBeInstanceOf(ConnectionError);
});

test('the connection is cut within a whole answer', async () => {
  const client = await clientOf((response) => {
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': '100' });
    response.write('{"choices":', () => response.destroy());
  });
  expect(await failure(client.generate('hi'))).toBeInstanceOf(ConnectionError);
});

test('no answer in time', async () => {
  const client = await clientOf(() => undefined, 0.05);
  const error = await failure(client.generate('hi'));
  expect(error).toBeInstanceOf(TimeoutError);
  expect(error).toMatchObject({ code: 'timeout', message: 'no answer within 0.05 s (LLM_TIMEOUT_SECS)' });
});

test('headers in time but a body that hangs', async () => {
  const client = await clientOf((response) => {
    response.writeHead(200, { 'content-type': 'application/json' });
    response.write('{"choices":');
  }, 0.1);
  expect(await failure(client.generate('hi'))).toBeInstanceOf(TimeoutError);
});

test.each([301, 302, 307, 308])(
  'a redirect %i is not followed, so the key goes nowhere else',
  async (status) => {
    const other = await FakeServer.start(completion('stolen'));
    const client = await clientOf((response) => {
      response.writeHead(status, { location: `${other.url}/v1/chat/completions` });
      response.end();
    });
    for (const attempt of [() => client.generate('hi'), () => collect(client.stream('hi'))]) {
      const error = await failure(attempt());
      expect(error).toBeInstanceOf(ConnectionError);
      expect(error).toMatchObject({ status, code: 'redirect' });
    }
    expect(other.received).toHaveLength(0);
  },
);
