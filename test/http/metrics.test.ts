import request from 'supertest';
import type { Express } from 'express';
import { LMServError } from '../../src/errors.js';
import { InFlight } from '../../src/http/in-flight.js';
import { Metrics } from '../../src/observe/metrics/metrics.js';
import {
  events,
  failing,
  get,
  KEY,
  keyed,
  post,
  recording,
  testApp,
  type TestOptions,
} from '../support/app.js';
import { parseExposition } from '../support/exposition.js';

/** The app with metrics of its own; `ended(n)` resolves when n requests have ended. */
function observed(options: Partial<TestOptions> = {}) {
  const metrics = new Metrics({ version: '1.2.3', models: () => [] });
  const { onRequestDone, ended } = recording();
  const app = testApp({
    metrics,
    onRequestDone: (record) => {
      metrics.requestDone(record);
      onRequestDone(record);
    },
    ...options,
  });
  return { app, ended };
}

const scrape = (app: Express) => get('/metrics', app).expect(200);

describe('access', () => {
  test('without a key or with a wrong one is refused with 401', async () => {
    const { app } = observed();
    const none = await request(app).get('/metrics').expect(401);
    expect(none.body.error.code).toBe('invalid_api_key');
    expect(none.headers['www-authenticate']).toBe('Bearer');
    await get('/metrics', app).set('X-API-Key', 'nope').expect(401);
  });

  test('is granted with any key as Prometheus sends it, and without one in a keyless network', async () => {
    await request(observed().app).get('/metrics').set('Authorization', `Bearer ${KEY}`).expect(200);
    const { app } = observed({ authenticate: keyed(undefined, '127.0.0.0') });
    await request(app).get('/metrics').expect(200);
  });

  test('works while the server starts and drains, and does not count towards the rate limit', async () => {
    const inFlight = new InFlight();
    await inFlight.drain(0);
    const starting = () => Promise.reject(new LMServError('starting'));
    const { app } = observed({ inFlight, rateLimitQps: 0.01, generate: starting });
    for (let i = 0; i < 3; i += 1) await scrape(app);
    await get('/v1/models', app).expect(200);
    await get('/v1/models', app).expect(429);
    await scrape(app);
  });
});

test("the reply has Prometheus' content type and is well-formed", async () => {
  const response = await scrape(observed().app);
  expect(response.headers['content-type']).toBe('text/plain; version=0.0.4; charset=utf-8');
  expect(parseExposition(response.text).value('lmserv_build_info')).toBe(1);
});

test('requests appear in the next scrape', async () => {
  const { app, ended } = observed();
  await post('/chat', { prompt: 'Hi' }, app).expect(200);
  await post('/chat', { prompt: '' }, app).expect(400);
  await ended(2);
  const read = parseExposition((await scrape(app)).text);
  const counted = (outcome: string) => read.value('lmserv_http_requests_total', { route: '/chat', outcome });
  expect([counted('finished'), counted('refused')]).toEqual([1, 1]);
  expect(read.value('lmserv_http_request_errors_total', { code: 'invalid_value' })).toBe(1);
  expect(read.value('lmserv_generations_total', { model: 'test-model', outcome: 'finished' })).toBe(1);
});

test('a reply that breaks is counted as broken, with the code of its error', async () => {
  const { app, ended } = observed({
    generate: failing(new LMServError('generation_failed'), ...events('Hello').slice(0, 2)),
  });
  await expect(post('/chat', { prompt: 'Hi' }, app)).rejects.toThrow();
  await ended(1);
  const read = parseExposition((await scrape(app)).text);
  expect(read.value('lmserv_http_requests_total', { route: '/chat', outcome: 'broken' })).toBe(1);
  expect(read.value('lmserv_http_request_errors_total', { code: 'generation_failed' })).toBe(1);
});

test('labels contain nothing that a client sends', async () => {
  const { app, ended } = observed();
  const canary = 'CANARY';
  const send = (method: 'get' | 'post', path: string) =>
    request(app)[method](path).set('X-API-Key', KEY).set('X-Request-Id', canary).set('User-Agent', canary);
  await send('post', '/chat').send({ prompt: canary, model: canary, [canary]: canary });
  await send('post', '/complete').send({
    ...{ model: canary, tenant_id: canary, messages: [{ role: 'user', content: canary }] },
  });
  await send('get', `/v1/models/${canary}/${canary}`);
  await send('get', `/${canary}?${canary}=${canary}`);
  await get('/v1/models', app).set('X-API-Key', canary).expect(401);
  await ended(5);
  const { text } = await scrape(app);
  expect(text).toContain('route="/v1/models/*id"');
  expect(text).toContain('route="unknown"');
  expect(text).not.toContain(canary);
  expect(text).not.toContain(KEY);
});
