import { join } from 'node:path';
import { createGenerate } from '../../../src/generate/generate.js';
import { logRequest } from '../../../src/http/request-log.js';
import { post, testApp } from '../../support/app.js';
import { newFolder } from '../../support/folder.js';
import { startPool } from '../../support/pool.js';

/** LOG_LEVEL=debug explains one request, from its first attempt to its end. */

const folder = newFolder();

test('each decision about a request has a line with its id, in order, and none holds content', async () => {
  const fake = await startPool();
  const { backend, logger } = fake;
  const member = { model: 'fake', backend, maxTokens: { default: 100, cap: 100 } };
  const app = testApp({
    generate: createGenerate(() => ({ members: [member] }), { logger }),
    onRequestDone: (record) => logRequest(logger, record),
    logger,
  });
  const { release } = await fake.hold();
  const queued = fake.next('generation_queued');
  const messages = [{ role: 'user', content: `@die-once:${join(folder, 'died')} CANARY two three four` }];
  const replied = post('/v1/chat/completions', { messages, stream: true }, app).then((reply) => reply);
  await queued;
  await release();
  const reply = await replied;
  while (fake.logged('request').length === 0) await fake.next('request');

  const requestId = reply.headers['x-request-id'];
  const lines = fake.lines.filter((line) => line.requestId === requestId);
  const [first, second] = fake.logged('worker_ready');
  expect(lines).toMatchObject([
    { event: 'generation_attempt', model: 'fake', backend: 'fake', again: false },
    { event: 'generation_model', state: 'loaded' },
    { event: 'generation_queued', position: 1 },
    { event: 'generation_dequeued' },
    { event: 'generation_started', worker: first.worker, expectedPrefix: 0 },
    { event: 'worker_failed_request', worker: first.worker, kind: 'died', tokens: 2 },
    { event: 'generation_retry', resumed: true },
    { event: 'generation_queued', position: 1 },
    { event: 'generation_dequeued' },
    { event: 'generation_started', worker: second.worker },
    { event: 'generation_end', finishReason: 'stop', completionTokens: 4 },
    { event: 'request', status: 200, outcome: 'finished', worker: second.worker },
  ]);
  expect(reply.text).toContain('CANARY');
  expect(JSON.stringify(lines)).not.toContain('CANARY');
});
