import { jest } from '@jest/globals';
import request from 'supertest';
import { gzipSync } from 'node:zlib';
import type { Caller } from '../../src/contract.js';
import { InFlight } from '../../src/http/in-flight.js';
import { logRequest } from '../../src/http/request-log.js';
import {
  fakeBackends,
  get,
  HEALTHY,
  KEY,
  keptLog,
  keyed,
  post,
  recording,
  saying,
  testApp,
} from '../support/app.js';
import { connection, serving, textUntil } from './serving.js';

describe('open routes', () => {
  test('GET / says that it runs', async () => {
    const response = await request(testApp()).get('/').expect(200);
    expect(response.text).toBe('LMServ is running.');
    expect(response.headers['content-type']).toMatch(/^text\/plain/);
  });

  test('health is plain text with an en dash, and busy is still ok', async () => {
    const response = await request(testApp()).get('/health').set('Accept', '*/*').expect(200);
    expect(response.text).toBe('ok – workers idle: 1');
  });

  test('health is JSON with Accept: application/json, with HEALTH_FORMAT=json, and on /ready', async () => {
    const json = testApp({ healthFormat: 'json' });
    const replies = [
      await request(testApp()).get('/health').set('Accept', 'application/json').expect(200),
      await request(json).get('/health').set('Accept', '*/*'),
      await request(testApp()).get('/ready'),
    ];
    for (const { body } of replies) expect(body).toEqual(HEALTHY);
  });

  test('health in JSON has what is known of GPUs, which health as text does not ask for', async () => {
    const known = {
      gpus: [{ device: 'CUDA0', name: 'NVIDIA H200', total: 9, free: 3 }],
      lackingGpu: ['m#0.1'],
    };
    const gpus = jest.fn(() => known);
    expect((await request(testApp({ gpus })).get('/ready')).body).toEqual({ ...HEALTHY, ...known });
    expect(gpus).toHaveBeenCalledTimes(1);
    await request(testApp({ gpus })).get('/health').set('Accept', '*/*').expect(200);
    expect(gpus).toHaveBeenCalledTimes(1);
  });

  test.each(['starting', 'unavailable', 'draining'] as const)('health is 503 while %s', async (status) => {
    const inFlight = new InFlight();
    if (status === 'draining') await inFlight.drain(0);
    const backends = fakeBackends({ ready: status === 'draining', starting: status === 'starting' });
    const app = testApp({ backends, inFlight });
    expect((await request(app).get('/health').expect(503)).text).toBe(status);
    expect((await request(app).get('/ready').expect(503)).body.status).toBe(status);
  });
});

describe('keys', () => {
  test.each([
    ['no key', {}],
    ['a wrong X-API-Key', { 'X-API-Key': 'nope' }],
    ['a wrong bearer', { Authorization: 'Bearer nope' }],
    ['a key of another length', { 'X-API-Key': `${KEY}x` }],
    ['basic authentication', { Authorization: `Basic ${KEY}` }],
  ])('%s is 401 with one body', async (_name, headers: Record<string, string>) => {
    const response = await request(testApp()).get('/v1/models').set(headers).expect(401);
    expect(response.body.error).toEqual({
      message: 'Bad API key',
      type: 'authentication_error',
      param: null,
      code: 'invalid_api_key',
    });
  });

  test('a key in the query is ignored', async () => {
    await request(testApp()).get(`/v1/models?api_key=${KEY}`).expect(401);
  });

  test('a key is accepted in either header', async () => {
    await request(testApp()).get('/v1/models').set('X-API-Key', KEY).expect(200);
    await request(testApp()).get('/v1/models').set('Authorization', `bearer ${KEY}`).expect(200);
  });

  test('a client of a keyless network needs no key, and any text in place of one does no harm', async () => {
    const app = testApp({ authenticate: keyed(undefined, '127.0.0.0') });
    await request(app).get('/v1/models').expect(200);
    await request(app).get('/v1/models').set('X-API-Key', 'nope').expect(200);
    await request(app).get('/v1/models').set('Authorization', 'Bearer not-needed').expect(200);
    await request(app).get('/usage').set('X-API-Key', 'nope').expect(200);
  });

  test('X-Forwarded-For does not make a client keyless', async () => {
    const app = testApp({ authenticate: keyed(undefined, '10.0.0.0') });
    await request(app).get('/v1/models').set('X-Forwarded-For', '10.1.2.3').expect(401);
  });
});

test.each(['Host', 'Authorization', 'X-API-Key'])('two %s headers are 400', async (name) => {
  const socket = connection((await serving()).url);
  const header = name === 'Host' ? 'Host: localhost\r\n' : `${name}: ${KEY}\r\n`.repeat(2);
  socket.write(`GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n${header}\r\n`);
  expect(await textUntil(socket)).toMatch(/^HTTP\/1.1 400 /);
});

describe('bodies', () => {
  test.each([
    ['not JSON', '{"prompt":', 400, 'invalid_json'],
    ['an array', '[]', 400, 'invalid_json'],
    ['nothing', '', 400, 'invalid_json'],
    ['200,000 nested arrays', `{"prompt":${'['.repeat(200_000)}`, 413, 'body_too_large'],
    ['nested arrays', `{"prompt":${'['.repeat(4_000)}${']'.repeat(4_000)}}`, 400, 'invalid_json'],
    ['too large', JSON.stringify({ prompt: 'x'.repeat(20_000) }), 413, 'body_too_large'],
    ['no prompt', '{}', 400, 'invalid_value'],
    ['an empty prompt', '{"prompt":""}', 400, 'invalid_value'],
    ['a NUL', '{"prompt":"a\\u0000"}', 400, 'invalid_value'],
  ])('%s is refused', async (_name, body, status, code) => {
    const response = await post('/chat', body).expect(status);
    expect(response.body.error.code).toBe(code);
  });

  test('brackets inside strings do not count as nesting', async () => {
    await post('/chat', { prompt: '["'.repeat(1_000) }).expect(200);
  });

  test('invalid UTF-8 is 400', async () => {
    const bytes = Buffer.concat([Buffer.from('{"prompt":"'), Buffer.from([0xff]), Buffer.from('"}')]);
    const response = await post('/chat', bytes).expect(400);
    expect(response.body.error.message).toBe('The body is not valid UTF-8');
  });

  test('a gzip bomb is 413 by its unpacked size', async () => {
    const bomb = gzipSync(Buffer.alloc(1_000_000, 0x20));
    expect(bomb.length).toBeLessThan(10_000);
    await post('/chat', bomb).set('Content-Encoding', 'gzip').expect(413);
  });

  test.each([
    'application/json; charset=utf-16',
    'text/plain',
    'application/x-www-form-urlencoded',
    'application/jsonp',
  ])('%s is 415', async (type) => {
    await post('/chat', '{}').set('Content-Type', type).expect(415);
  });

  test('a known path with another method is 405, an unknown path 404', async () => {
    expect((await get('/chat').expect(405)).headers.allow).toBe('POST');
    const unknown = await get('/nope').expect(404);
    expect(unknown.body.error.code).toBe('not_found');
  });
});

describe('read-only routes', () => {
  const open = ['/', '/health', '/ready'];
  const keyed = ['/metrics', '/v1/models', '/v1/models/test-model', '/usage'];

  test.each([...open, ...keyed])('%s serves GET and HEAD, and any other method is 405', async (path) => {
    await request(testApp()).head(path).set('X-API-Key', KEY).expect(200);
    for (const method of ['post', 'put', 'delete', 'options'] as const) {
      const refused = await request(testApp())[method](path).set('X-API-Key', KEY).expect(405);
      expect(refused.headers.allow).toBe('GET, HEAD');
      expect(refused.body.error.code).toBe('method_not_allowed');
    }
  });

  test('the key is checked before the method', async () => {
    for (const path of open) await request(testApp()).post(path).expect(405);
    for (const path of keyed) await request(testApp()).post(path).expect(401);
  });

  test('a preflight of an allowed origin needs no key', async () => {
    const app = testApp({ corsOrigins: ['https://good.example'] });
    const preflight = request(app).options('/v1/models').set('Origin', 'https://good.example');
    await preflight.set('Access-Control-Request-Method', 'GET').expect(204);
  });

  test('a path that cannot be decoded is not valid HTTP, whatever its body', async () => {
    const response = await get('/v1/models/%E0%A4').expect(400);
    expect(response.body.error).toMatchObject({
      code: 'invalid_http',
      message: 'The path cannot be decoded',
    });
  });
});

describe('hosts and origins', () => {
  test.each(['evil.example', 'evil.example:8000', 'localhost.evil.example'])(
    'Host %s is 421',
    async (host) => {
      const response = await request(testApp()).get('/health').set('Host', host).expect(421);
      expect(response.body.error.code).toBe('misdirected_request');
    },
  );

  test.each(['localhost', 'LOCALHOST:8000', '192.168.1.7:8000', '[::1]:8000', 'llm.example'])(
    'Host %s is served',
    async (host) => {
      const app = testApp({ allowedHosts: ['llm.example'] });
      await request(app).get('/health').set('Host', host).expect(200);
    },
  );

  test('only a listed origin gets a CORS header', async () => {
    const good = 'https://good.example';
    const allowed = async (origin: string, corsOrigins: string[]) =>
      (await request(testApp({ corsOrigins })).get('/health').set('Origin', origin)).headers[
        'access-control-allow-origin'
      ];
    expect(await allowed('https://bad.example', [good])).toBeUndefined();
    expect(await allowed(good, [good])).toBe(good);
    expect(await allowed(good, [])).toBeUndefined();
  });
});

test('the rate limit applies per caller and replies 429 with Retry-After', async () => {
  const callers: Record<string, Caller> = {
    a: { name: 'a', admin: false },
    b: { name: 'b', admin: false },
    free: { name: 'free', admin: false, rateLimitQps: 0 },
  };
  const app = testApp({ rateLimitQps: 0.01, authenticate: keyed((key) => callers[key]) });
  const by = (key: string) => get('/v1/models', app).set('X-API-Key', key);
  await by('a').expect(200);
  const limited = await by('a').expect(429);
  expect(limited.headers['retry-after']).toBe('100');
  expect(limited.body.error.code).toBe('rate_limit_exceeded');
  await by('b').expect(200);
  await by('free').expect(200);
  await by('free').expect(200);
});

test('models are listed and shown, and an unknown one is 404 whatever its path looks like', async () => {
  const list = await get('/v1/models').expect(200);
  const entry = { id: 'test-model', object: 'model', created: 1_700_000_000, owned_by: 'lmserv' };
  expect(list.body).toEqual({ object: 'list', data: [entry] });
  expect((await get('/v1/models/test-model')).body).toEqual(entry);
  for (const path of ['nope', '..%2ftest-model', '%2e%2e/x']) await get(`/v1/models/${path}`).expect(404);
});

test('log lines contain neither key nor prompt, but all required fields', async () => {
  const { logger, lines } = keptLog('trace');
  const { onRequestDone, ended } = recording();
  const app = testApp({ generate: saying('SECRET-REPLY'), logger, onRequestDone });
  await post('/chat', { prompt: 'SECRET-PROMPT' }, app).expect(200);
  logRequest(logger, (await ended())[0]!);
  const all = lines.join('');
  for (const secret of ['SECRET', KEY]) expect(all).not.toContain(secret);
  expect(JSON.parse(lines.at(-1)!)).toMatchObject({
    event: 'request',
    route: '/chat',
    status: 200,
    caller: 'default',
    model: 'test-model',
    outcome: 'finished',
  });
});
