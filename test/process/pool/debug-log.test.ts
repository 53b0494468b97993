import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import supertest from 'supertest';
import { createGenerate } from '../../../src/generate/generate.js';
import { logRequest } from '../../../src/http/request-log.js';
import { KEY, testApp } from '../../support/app.js';
import { firstText, TestPool } from '../../support/pool.js';

/** LOG_LEVEL=debug explains one request, from its first attempt to its end. */

test('each decision about a request has a line with its id, in order, and none holds content', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'lmserv-test-'));
  const fake = await new TestPool().ready();
  const { backend, logger } = fake;
  const member = { model: 'fake', backend, maxTokens: { default: 100, cap: 100 } };
  const app = testApp({
    generate: createGenerate(() => ({ members: [member] }), { logger }),
    onRequestDone: (record) => logRequest(logger, record),
    logger,
  });
  const held = fake.ask('@hold x').events;
  await firstText(held);
  const queued = fake.next('generation_queued');
  const request = supertest(app).post('/v1/chat/completions').set('X-API-Key', KEY);
  const messages = [{ role: 'user', content: `@die-once:${join(folder, 'died')} CANARY two three four` }];
  const replied = request.send({ messages, stream: true }).then((reply) => reply);
  await queued;
  await held.return(undefined);
  const reply = await replied;
  while (!fake.lines.some(({ event }) => event === 'request')) await fake.next('request');

  const requestId = reply.headers['x-request-id'];
  const lines = fake.lines.filter((line) => line.requestId === requestId);
  const [first, second] = fake.lines.filter(({ event }) => event === 'worker_ready');
  expect(lines).toMatchObject([
    { event: 'generation_attempt', model: 'fake', backend: 'fake', again: false },
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
  await fake.pool.stop();
  rmSync(folder, { recursive: true });
});
