import { jest } from '@jest/globals';
import { logRequest } from '../../src/http/request-log.js';
import { get, KEY, keptLog, post, recording, saying, testApp, type TestOptions } from '../support/app.js';
import { connection, serving, textUntil } from './serving.js';

/** What a client with bad intentions sends. */

const MIB = 2 ** 20;

const send = (path: string, body: object | string, options: Partial<TestOptions> = {}) =>
  post(path, body, { maxBodyBytes: MIB, ...options });

const user = (content: unknown) => ({ messages: [{ role: 'user', content }] });
const CHAT = '/v1/chat/completions';

test.each(['/chat', '/llm', CHAT, '/v1/completions', '/complete', '/complete/stream', '/execute'])(
  'a duplicate key is 400 on %s, however it is written',
  async (path) => {
    for (const body of [
      '{"prompt":"a","prompt":"b"}',
      '{"model":"m","x":{"secret-name":1,"secret\\u002dname":2}}',
    ]) {
      const response = await send(path, body).expect(400);
      const { error } = response.body;
      expect(error.code ?? error).toBe('invalid_json');
      expect(response.text).not.toContain('secret');
    }
  },
);

test('keys such as __proto__ pollute nothing and reach no backend', async () => {
  const generate = saying('x');
  const evil = '"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}';
  await send(CHAT, `{${evil},"messages":[{"role":"user","content":"hi",${evil}}]}`, { generate }).expect(200);
  await send('/llm', `{"task":"classify_email","input":{${evil}},${evil}}`, { generate });
  expect(({} as Record<string, unknown>).polluted).toBeUndefined();
  expect(generate.requests[0]!.body).toEqual(user('hi'));
  for (const { body } of generate.requests)
    expect((body as Record<string, unknown>).polluted).toBeUndefined();
});

describe('a lone surrogate or NUL is 400 anywhere', () => {
  const parameters = (text: string) => ({ type: 'object', properties: { [text]: { enum: [text] } } });
  const tools = (more: object) => ({
    ...user('hi'),
    tools: [{ type: 'function', function: { name: 'f', ...more } }],
  });
  const format = (schema: object) => ({ type: 'json_schema', json_schema: { schema } });
  const bodies: [string, (text: string) => object][] = [
    [CHAT, (text) => user(text)],
    [CHAT, (text) => user([{ type: 'text', text }])],
    [CHAT, (text) => user([{ type: 'image_url', image_url: { url: `data:image/png;base64,${text}` } }])],
    [CHAT, (text) => ({ ...user('hi'), stop: [text] })],
    [CHAT, (text) => tools({ description: text })],
    [CHAT, (text) => tools({ parameters: parameters(text) })],
    [CHAT, (text) => ({ ...user('hi'), response_format: format(parameters(text)) })],
    ['/llm', (text) => ({ task: 'classify_email', input: { a: [{ [text]: 1 }] } })],
    ['/llm', (text) => ({ task: 'classify_email', input: { a: 1 }, schema: parameters(text) })],
    ['/complete', (text) => ({ model: 'm', tenant_id: text, ...user('hi') })],
    ['/execute', (text) => ({ prompt: 'hi', config: { model_name: text } })],
  ];

  test.each(bodies)('%s %#', async (path, make) => {
    for (const bad of ['a\ud800', '\udc00\ud800', 'a\0']) {
      const generate = saying('{}');
      await send(path, make(bad), { generate }).expect(400);
      expect(generate.requests).toEqual([]);
    }
    await send(path, make('a😀'), { generate: saying('{}') }).expect(200);
  });
});

/** Zod makes an issue of each: 350,000 took seconds and hundreds of megabytes, and those below a list its stack. */
describe('only the first invalid element of a list is reported', () => {
  const many = (element: string) => Array(140_000).fill(element).join(',');
  test.each([
    ['messages.0.content.0', CHAT, `{"messages":[{"role":"user","content":[${many('1')}]}]}`],
    ['messages.0.content.0', CHAT, `{"messages":[{"role":"system","content":[${many('1')}]}]}`],
    ['messages.0.tool_calls', CHAT, `{"messages":[{"role":"assistant","tool_calls":[${many('1')}]}]}`],
    ['messages', CHAT, `{"messages":[${many('1')}]}`],
    ['tools', CHAT, `{"messages":[{"role":"user","content":"a"}],"tools":[${many('1')}]}`],
    ['prompt.0', '/v1/completions', `{"prompt":[${many('-1')}]}`],
  ])('%s', async (param, path, body) => {
    const issues = jest.spyOn(Array.prototype, 'push');
    const { body: reply } = await send(path, body).expect(400);
    const pushed = issues.mock.calls.filter(
      ([item]) => (item as { code?: string } | null)?.code !== undefined,
    );
    issues.mockRestore();
    expect(reply.error).toMatchObject({ code: 'invalid_value', param });
    expect(pushed.length).toBeLessThan(100);
  });
});

test.each([
  ['150000 values', `{"x":[${'1,'.repeat(150_000)}1]}`],
  ['150000 values', `{"x":[${'[],'.repeat(75_000)}1]}`],
  ['20000 keys', `{${Array.from({ length: 20_001 }, (_, i) => `"k${i}":1`).join()}}`],
  ['20000 keys', `{"x":[${Array(20_001).fill('{"a":1}').join()}]}`],
])('a body of more than %s is 400 %#', async (what, body) => {
  const { body: reply } = await send(CHAT, body).expect(400);
  expect(reply.error).toMatchObject({ code: 'invalid_json', message: `The body has more than ${what}` });
});

test('a key as long as the body is not in the error', async () => {
  for (const fields of [
    { logit_bias: { ['x'.repeat(500_000)]: 1 } },
    { logit_bias: { ['1'.repeat(9)]: 'x' } },
  ]) {
    const { text } = await send(CHAT, { ...user('hi'), ...fields }).expect(400);
    expect(text.length).toBeLessThan(500);
  }
});

/** Each of these ended or stopped a worker of llama.cpp 0.5.0, or would take it minutes. */
describe('input that would crash a worker is 400', () => {
  const calling = (json: string) => ({
    messages: [
      {
        role: 'assistant',
        tool_calls: [{ id: 'c', type: 'function', function: { name: 'f', arguments: json } }],
      },
    ],
  });
  const nested = (depth: number) => '['.repeat(depth) + ']'.repeat(depth);
  const pattern = { type: 'string', pattern: '^(((a{0,999}){0,999}){0,999}){0,999}$' };
  const format = { type: 'json_schema', json_schema: { schema: { anyOf: [pattern] } } };

  test.each<[string, string, object]>([
    ['grammar', CHAT, { ...user('hi'), grammar: `root ::= ${'('.repeat(30_000)}` }],
    ['response_format.json_schema.schema', CHAT, { ...user('hi'), response_format: format }],
    ['schema', '/llm', { task: 'classify_email', input: {}, schema: { properties: { a: pattern } } }],
    ['messages', CHAT, { messages: Array(2_049).fill({ role: 'user', content: 'a' }) }],
    ['messages.0.tool_calls.0.function.arguments', CHAT, calling(nested(100_000))],
    ['prompt.0', '/v1/completions', { prompt: [4_294_967_296] }],
  ])('naming %s', async (param, path, body) => {
    const response = await send(path, body).expect(400);
    expect(response.body.error).toMatchObject({ code: 'invalid_value', param });
  });

  test('JSON arguments are passed on unchanged, and no arguments as an empty object', async () => {
    const generate = saying('x');
    for (const given of ['{"a": 1}', '', nested(100)])
      await send(CHAT, calling(given), { generate }).expect(200);
    const sent = generate.requests.map(
      ({ body }) => (body.messages as any)[0].tool_calls[0].function.arguments,
    );
    expect(sent).toEqual(['{"a": 1}', '{}', nested(100)]);
  });
});

test.each(['image_url', 'video_url', 'input_audio', 'file', 'input_image'])(
  'a URL in a part of type %s is 400, so that nothing is fetched for a client',
  async (type) => {
    for (const url of ['http://127.0.0.1:1/x', 'file:///etc/passwd', '//host/x', 'data:text/html,x']) {
      const part = { type, [type]: { url, data: url, file_id: url, format: 'wav' } };
      await send(CHAT, user([part])).expect(400);
    }
  },
);

test('a body with too large a Content-Length is refused before it is sent', async () => {
  const socket = connection((await serving()).url);
  socket.write(
    `POST /chat HTTP/1.1\r\nHost: localhost\r\nX-API-Key: ${KEY}\r\n` +
      'Content-Type: application/json\r\nContent-Length: 10000000\r\n\r\n',
  );
  expect(await textUntil(socket, '\r\n')).toMatch(/^HTTP\/1.1 413 /);
});

test('a key in the query is ignored and not logged', async () => {
  const { logger, lines } = keptLog('trace');
  const { onRequestDone, ended } = recording();
  const app = testApp({ logger, onRequestDone });
  for (const path of [`/v1/models?api_key=${KEY}`, `/chat?key=${KEY}`, `/${KEY}?X-API-Key=${KEY}`]) {
    const response = await post(path, {}, app).unset('X-API-Key').expect(401);
    expect(JSON.stringify([response.text, response.headers])).not.toContain(KEY);
  }
  for (const record of await ended(3)) logRequest(logger, record);
  expect(lines.length).toBeGreaterThanOrEqual(3);
  expect(lines.join('')).not.toContain(KEY);
});

test('X-Forwarded-For does not change the rate limit of a key', async () => {
  const app = testApp({ rateLimitQps: 0.01 });
  const from = (address: string) => get('/v1/models', app).set('X-Forwarded-For', address);
  await from('10.0.0.1').expect(200);
  for (const address of ['10.0.0.2', '10.0.0.3, 10.0.0.4', '::1', 'x']) await from(address).expect(429);
});

test('requests with wrong keys count towards no limit, and their bodies are not read', async () => {
  const app = testApp({ rateLimitQps: 0.01 });
  const chat = (key: string) => post('/chat', '{"not": json', app).set('X-API-Key', key);
  for (let n = 0; n < 20; n += 1) await chat(`wrong ${n}`).expect(401);
  await get('/v1/models', app).expect(200);
  await chat(KEY).expect(429);
});
