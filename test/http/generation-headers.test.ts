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
  ['X-Queue-Events', 'yes', 'X-Queue-Events: must be on or off'],
])('%s: %s is refused', async (header, value, message) => {
  const generate = saying('Hello');
  const { body } = await ask(generate, '/v1/completions', { prompt: 'x' }, { [header]: value }).expect(400);
  expect(body.error).toMatchObject({ code: 'invalid_value', param: header, message });
  expect(generate.requests).toEqual([]);
});

describe('a client that asks how its wait goes on', () => {
  const waiting: Generate = scripted(async function* (_request, { trace, onWait }) {
    trace.model = 'test-model';
    trace.modelState = 'unloaded';
    onWait?.({ type: 'loading' });
    onWait?.({ type: 'queued', position: 3 });
    onWait?.({ type: 'loading', percent: 40 });
    yield* events('Hello');
  });
  const stream = { messages: [{ role: 'user', content: 'x' }], stream: true };

  test('gets comments in a stream of events', async () => {
    const { text, headers } = await ask(waiting, '/v1/chat/completions', stream, { 'X-Queue-Events': 'on' });
    expect(text).toMatch(/^: loading\n\n: queued 3\n\n: loading 40 %\n\ndata: \{/);
    expect(headers['x-model-state']).toBe('unloaded');
  });

  test.each([
    ['/v1/chat/completions', stream, {}],
    ['/v1/chat/completions', stream, { 'X-Queue-Events': 'off' }],
    ['/chat', { prompt: 'x' }, { 'X-Queue-Events': 'on' }],
    ['/v1/completions', { prompt: 'x' }, { 'X-Queue-Events': 'on' }],
  ])('and another, or one that gets no events, does not: %s %j %j', async (path, body, headers) => {
    const { text } = await ask(waiting, path, body, headers as Record<string, string>).expect(200);
    expect(text).not.toContain('loading');
  });

  test('gets a failure after a comment inside the stream, because the status is sent', async () => {
    const failing: Generate = async (_request, { onWait }) => {
      onWait?.({ type: 'loading' });
      throw new LMServError('queue_timeout');
    };
    const { status, text } = await ask(failing, '/v1/chat/completions', stream, { 'X-Queue-Events': 'on' });
    expect(status).toBe(200);
    expect(text).toMatch(/^: loading\n\ndata: \{"error":\{.*"code":"queue_timeout"/);
    expect(text).not.toContain('[DONE]');
    await ask(failing, '/v1/chat/completions', stream).expect(503);
  });
});

test.each(ROUTES)('%s reports the state of the model on arrival', async (path, body) => {
  const unloaded: Generate = scripted(async function* (_request, { trace }) {
    trace.model = 'test-model';
    trace.modelState = 'unloaded';
    yield* events('Hello');
  });
  const { headers } = await ask(unloaded, path, body).expect(200);
  expect(headers['x-model-state']).toBe('unloaded');
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
