import {
  AuthenticationError,
  BadRequestError,
  ConnectionError,
  createClient,
  LLMClientError,
  RateLimitError,
  ServerError,
  TimeoutError,
  UnavailableError,
} from '../../../src/client/index.js';
import { completion, deadUrl, errorBody, fakeServer, json, type Reply } from '../../support/fake-server.js';
import { clientOf as clientAndServer, failure, failures, KEY } from './helpers.js';

const clientOf = async (reply: Reply, timeoutSecs = 30) =>
  (await clientAndServer(reply, { apiKey: KEY, timeoutSecs })).client;

test.each([
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
])('status %i has its own error type, for generate and stream', async (status, type) => {
  const client = await clientOf(json(status, errorBody('some_code', 'What went wrong')));
  for (const error of await failures(client)) {
    expect(error).toBeInstanceOf(type);
    expect(error).toBeInstanceOf(LLMClientError);
    const fields = { name: type.name, code: 'some_code', message: 'What went wrong', requestId: 'req-1' };
    expect(error).toMatchObject({ status, ...fields });
  }
});

test.each([
  [429, { 'retry-after': '7' }, 7],
  [503, { 'retry-after': '1' }, 1],
  [503, { 'retry-after': '9', 'retry-after-ms': '250' }, 0.25],
  [429, { 'retry-after': 'Thu, 01 Jan 1970 00:00:00 GMT' }, 0],
  [429, { 'retry-after': 'soon' }, undefined],
  [503, {}, undefined],
])('the error of status %i with %j says to retry after %s s', async (status, headers, retryAfter) => {
  const client = await clientOf(json(status, errorBody('busy', 'Later'), headers));
  expect(await failure(client.generate('hi'))).toMatchObject({ status, retryAfter });
});

test.each([
  ['a bare string', { error: 'All providers unavailable' }, 'http_503', 'All providers unavailable'],
  ['a flat object', { error: 'llm_error', message: 'It broke', type: 'X' }, 'llm_error', 'It broke'],
  ['a code that is a number', { error: { message: 'm', code: 503 } }, '503', 'm'],
  [
    'a page that is not JSON',
    '<html>Bad gateway</html>',
    'http_503',
    expect.stringMatching(/^http:\/\/127.0.0.1:\d+ answered 503$/),
  ],
  ['an empty body', '', 'http_503', expect.stringMatching(/answered 503$/)],
])('the error of another server is understood: %s', async (_, body, code, message) => {
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

test('an address where nothing listens is a ConnectionError that names it', async () => {
  const baseUrl = await deadUrl();
  for (const error of await failures(createClient({ baseUrl, apiKey: KEY, fallback: 'none' }))) {
    expect(error).toBeInstanceOf(ConnectionError);
    const message = `no reply from ${baseUrl} (ECONNREFUSED)`;
    expect(error).toMatchObject({ code: 'ECONNREFUSED', status: undefined, message });
  }
});

test.each<[string, Reply]>([
  ['before any reply', (response) => void response.destroy()],
  [
    'within a reply that is not streamed',
    (response) => {
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': '100' });
      response.write('{"choices":', () => response.destroy());
    },
  ],
])('a connection that is cut %s is a ConnectionError', async (_, reply) => {
  const client = await clientOf(reply);
  expect(await failure(client.generate('hi'))).toBeInstanceOf(ConnectionError);
});

test('a server that does not reply in time is a TimeoutError', async () => {
  const client = await clientOf(() => undefined, 0.05);
  const error = await failure(client.generate('hi'));
  expect(error).toBeInstanceOf(TimeoutError);
  expect(error).toMatchObject({ code: 'timeout', message: 'no reply within 0.05 s (LLM_TIMEOUT_SECS)' });
});

test('a body that hangs after its headers is a TimeoutError', async () => {
  const client = await clientOf((response) => {
    response.writeHead(200, { 'content-type': 'application/json' });
    response.write('{"choices":');
  }, 0.1);
  expect(await failure(client.generate('hi'))).toBeInstanceOf(TimeoutError);
});

test.each([301, 302, 307, 308])('a redirect %i is not followed, so the key stays here', async (status) => {
  const other = await fakeServer(completion('stolen'));
  const location = `${other.url}/v1/chat/completions`;
  const client = await clientOf((response) => void response.writeHead(status, { location }).end());
  for (const error of await failures(client)) {
    expect(error).toBeInstanceOf(ConnectionError);
    expect(error).toMatchObject({ status, code: 'redirect' });
  }
  expect(other.received).toHaveLength(0);
});
