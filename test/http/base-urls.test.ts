import request from 'supertest';
import { KEY, testApp } from '../support/app.js';

/** Base URLs as people write them. */

const chat = { messages: [{ role: 'user', content: 'hi' }] };
const raw = { prompt: 'hi' };
const input = { input: 'hi' };

test.each<[string, object]>([
  ['//v1/chat/completions', chat],
  ['///v1/chat/completions', chat],
  ['/v1//chat/completions', chat],
  ['/v1/v1/chat/completions', chat],
  ['//v1//v1/chat/completions', chat],
  ['/chat/completions', chat],
  ['//chat/completions', chat],
  ['/chat/completions/', chat],
  ['/chat/completions?x=1', chat],
  ['/V1/V1/Chat/Completions', chat],
  ['//v1/completions', raw],
  ['/v1/v1/completions', raw],
  ['/completions', raw],
  ['/responses', input],
  ['/v1/v1/responses', input],
  ['//chat', raw],
  ['//llm', raw],
])('POST %s is served', async (path, body) => {
  const app = testApp();
  await request(app).post(path).set('X-API-Key', KEY).send(body).expect(200);
  await request(app).post(path).send(body).expect(401);
});

test.each([
  '//v1/models',
  '/v1/v1/models',
  '/models',
  '//models',
  '/models/test-model',
  '/v1/v1/models/test-model',
])('GET %s is served', async (path) => {
  const { body } = await request(testApp()).get(path).set('X-API-Key', KEY).expect(200);
  expect(body.data?.[0].id ?? body.id).toBe('test-model');
  await request(testApp()).get(path).expect(401);
});

test.each(['/v1', '/v1/', '/v2/models', '/modelsx', '/v1/completions/x', '/v1/chat', '/x//v1/models'])(
  '%s is 404 and says what a base URL looks like',
  async (path) => {
    const { body } = await request(testApp()).get(path).set('X-API-Key', KEY).expect(404);
    expect(body.error).toMatchObject({
      code: 'not_found',
      message: expect.stringContaining('http://HOST:PORT/v1'),
    });
  },
);

test('below /api it says so in Ollama’s form', async () => {
  const { body } = await request(testApp()).get('/api/v1/models').set('X-API-Key', KEY).expect(404);
  expect(body).toEqual({ error: expect.stringContaining('http://HOST:PORT/v1') });
});
