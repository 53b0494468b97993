import type { Generate } from '../../src/contract.js';
import { LMServError } from '../../src/errors.js';
import { events, post, saying } from '../support/app.js';
import { scripted } from '../support/pulled.js';

/** What a client may set for a generation by header, and the headers that report its wait. */

const ROUTES: [string, object][] = [
  ['/chat', { prompt: 'x' }],
  ['/llm', { prompt: 'x' }],
  ['/v1/chat/completions', { messages: [{ role: 'user', content: 'x' }] }],
  ['/v1/chat/completions', { messages: [{ role: 'user', content: 'x' }], stream: true }],
  ['/v1/completions', { prompt: 'x' }],
  ['/complete', { model: 'm', messages: [{ role: 'user', content: 'x' }], tenant_id: 't' }],
  ['/complete/stream', { model: 'm', messages: [{ role: 'user', content: 'x' }], tenant_id: 't' }],
  ['/execute', { prompt: 'x' }],
];

const ask = (generate: Generate, path: string, body: object, headers: Record<string, string> = {}) =>
  post(path, body, { generate }).set(headers);

/** Waited in the queue, then says hello. */
const waited = (position?: number): Generate =>
  scripted(async function* (_request, { trace }) {
    trace.model = 'test-model';
    trace.queueMs = 12.34;
    if (position !== undefined) trace.queuePosition = position;
    yield* events('Hello');
  });

test.each(ROUTES)('%s takes the priority and whether to resume', async (path, body) => {
  const generate = saying('Hello');
  await ask(generate, path, body, { 'X-Priority': 'Batch', 'X-Reply-Resume': 'off' }).expect(200);
  expect(generate.requests[0]).toMatchObject({ priority: -1, resume: false });
});

test.each([
  ['X-Priority', 'urgent', 'X-Priority: must be interactive or batch'],
  ['X-Reply-Resume', 'maybe', 'X-Reply-Resume: must be on or off'],
])('%s: %s is refused', async (header, value, message) => {
  const generate = saying('Hello');
  const { body } = await ask(generate, '/v1/completions', { prompt: 'x' }, { [header]: value }).expect(400);
  expect(body.error).toMatchObject({ code: 'invalid_value', param: header, message });
  expect(generate.requests).toEqual([]);
});

test("OpenAI's service_tier flex makes a request batch work", async () => {
  const generate = saying('Hello');
  const body = { messages: [{ role: 'user', content: 'x' }], service_tier: 'flex' };
  await ask(generate, '/v1/chat/completions', body).expect(200);
  await ask(generate, '/v1/chat/completions', { ...body, service_tier: 'auto' }).expect(200);
  expect(generate.requests.map(({ priority }) => priority)).toEqual([-1, undefined]);
  expect(generate.requests[0]!.body).not.toHaveProperty('service_tier');
});

test.each(ROUTES)(
  '%s reports how long the request waited, and its first position in the queue',
  async (path, body) => {
    const { headers } = await ask(waited(3), path, body).expect(200);
    expect([headers['x-queue-time-ms'], headers['x-queue-position']]).toEqual(['12.3', '3']);
    const straight = await ask(waited(), path, body).expect(200);
    expect(straight.headers).not.toHaveProperty('x-queue-position');
  },
);

test('a refusal reports how long the request waited', async () => {
  const late = scripted(async function* (_request, { trace }) {
    trace.queueMs = 30_000;
    yield* [];
    throw new LMServError('queue_timeout', undefined, { retryAfter: 7 });
  });
  const { headers } = await ask(late, '/chat', { prompt: 'x' }).expect(503);
  expect([headers['x-queue-time-ms'], headers['retry-after']]).toEqual(['30000.0', '7']);
});
