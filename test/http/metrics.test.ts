import { BlockList } from 'node:net';
import request from 'supertest';
import type { Express } from 'express';
import { LMServError } from '../../src/errors.js';
import { keyAuth } from '../../src/http/auth.js';
import { InFlight } from '../../src/http/in-flight.js';
import { Metrics } from '../../src/observe/metrics/metrics.js';
import { events, failing, KEY, lookup, testApp, type TestOptions } from '../support/app.js';
import { parseExposition } from '../support/exposition.js';

/** The app with metrics of its own; `done(n)` resolves when n requests have ended. */
function observed(options: Partial<TestOptions> = {}) {
  const metrics = new Metrics({ version: '1.2.3', models: () => [] });
  let ended = 0;
  let tell = () => undefined as void;
  const app = testApp({
    metrics,
    onRequestDone: (record) => {
      metrics.requestDone(record);
      ended += 1;
      tell();
    },
    ...options,
  });
  const done = (wanted: number) =>
    new Promise<void>((resolve) => {
      tell = () => (ended >= wanted ? resolve() : undefined);
      tell();
    });
  return { app, metrics, done };
}

const scrape = (app: Express, key = KEY) => request(app).get('/metrics').set('X-API-Key', key);
const chat = (app: Express, body: object) => request(app).post('/chat').set('X-API-Key', KEY).send(body);

describe('access', () => {
  test('without a key or with a wrong one is refused with 401', async () => {
    const { app } = observed();
    const none = await request(app).get('/metrics').expect(401);
    expect(none.body.error.code).toBe('invalid_api_key');
    expect(none.headers['www-authenticate']).toBe('Bearer');
    await scrape(app, 'nope').expect(401);
  });

  test('is granted with any key as Prometheus sends it, and without one in a keyless network', async () => {
    await request(observed().app).get('/metrics').set('Authorization', `Bearer ${KEY}`).expect(200);
    const keyless = new BlockList();
    keyless.addSubnet('127.0.0.0', 8);
    const { app } = observed({ authenticate: keyAuth({ lookup, open: false, keyless }) });
    await request(app).get('/metrics').expect(200);
  });

  test('works while the server starts and drains, and does not count towards the rate limit', async () => {
    const inFlight = new InFlight();
    await inFlight.drain(0);
    const starting = () => Promise.reject(new LMServError('starting'));
    const { app } = observed({ inFlight, rateLimitQps: 0.01, generate: starting });
    for (let i = 0; i < 3; i += 1) await scrape(app).expect(200);
    await request(app).get('/v1/models').set('X-API-Key', KEY).expect(200);
    await request(app).get('/v1/models').set('X-API-Key', KEY).expect(429);
    await scrape(app).expect(200);
  });
});

test("the reply has Prometheus' content type and is well-formed", async () => {
  const response = await scrape(observed().app).expect(200);
  expect(response.headers['content-type']).toBe('text/plain; version=0.0.4; charset=utf-8');
  expect(parseExposition(response.text).value('lmserv_build_info')).toBe(1);
});

test('requests appear in the next scrape', async () => {
  const { app, done } = observed();
  await chat(app, { prompt: 'Hi' }).expect(200);
  await chat(app, { prompt: '' }).expect(400);
  await done(2);
  const read = parseExposition((await scrape(app)).text);
  const ended = (outcome: string) => read.value('lmserv_http_requests_total', { route: '/chat', outcome });
  expect([ended('finished'), ended('refused')]).toEqual([1, 1]);
  expect(read.value('lmserv_http_request_errors_total', { code: 'invalid_value' })).toBe(1);
  expect(read.value('lmserv_generations_total', { model: 'test-model', outcome: 'finished' })).toBe(1);
});

test('a reply that breaks is counted as broken, with the code of its error', async () => {
  const { app, done } = observed({
    generate: failing(new LMServError('generation_failed'), ...events('Hello').slice(0, 2)),
  });
  await expect(chat(app, { prompt: 'Hi' })).rejects.toThrow();
  await done(1);
  const read = parseExposition((await scrape(app)).text);
  expect(read.value('lmserv_http_requests_total', { route: '/chat', outcome: 'broken' })).toBe(1);
  expect(read.value('lmserv_http_request_errors_total', { code: 'generation_failed' })).toBe(1);
});

test('labels contain nothing that a client sends', async () => {
  const { app, done } = observed();
  const canary = 'CANARY';
  const send = (method: 'get' | 'post', path: string) =>
    request(app)[method](path).set('X-API-Key', KEY).set('X-Request-Id', canary).set('User-Agent', canary);
  await send('post', '/chat').send({ prompt: canary, model: canary, [canary]: canary });
  await send('post', '/complete').send({
    ...{ model: canary, tenant_id: canary, messages: [{ role: 'user', content: canary }] },
  });
  await send('get', `/v1/models/${canary}/${canary}`);
  await send('get', `/${canary}?${canary}=${canary}`);
  await request(app).get('/v1/models').set('X-API-Key', canary).expect(401);
  await done(5);
  const { text } = await scrape(app);
  expect(text).toContain('route="/v1/models/*id"');
  expect(text).toContain('route="unknown"');
  expect(text).not.toContain(canary);
  expect(text).not.toContain(KEY);
});
