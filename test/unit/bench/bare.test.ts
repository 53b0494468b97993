import type { RequestListener } from 'node:http';
import { bareServer } from '../../../bench/targets/bare-server.js';
import { serve } from '../../support/fake-server.js';

const WORKER = [
  ': ping\n\n',
  'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":null},"finish_reason":null}],"id":"w"}\n\n',
  'data: {"choices":[{"index":0,"delta":{"content":"é\\n"},"finish_reason":null}],"id":"w","timings":{}}\n\n',
  'data: {"choices":[{"index":0,"delta":{},"finish_reason":"length"}],"id":"w"}\n\n',
  'data: {"choices":[],"usage":{}}\n\n',
  'data: [DONE]\n\n',
].join('');

/** Asks bare in front of this worker. */
async function ask(worker: RequestListener): Promise<Response> {
  const url = await serve(bareServer(`${await serve(worker)}/`));
  return fetch(url, { method: 'POST', body: '{"model":"m"}' });
}

test('bare encodes each event of a worker as LMServ does, no matter where the worker’s bytes are cut', async () => {
  const bytes = Buffer.from(WORKER);
  const at = bytes.indexOf(0xc3) + 1;
  const response = await ask((_, worker) => {
    worker.write(bytes.subarray(0, at), () => setImmediate(() => worker.end(bytes.subarray(at))));
  });
  const reply = await response.text();
  const events = reply.split('\n\n').map((event) => event.replace('data: ', ''));
  expect(events.slice(-2)).toEqual(['[DONE]', '']);
  const chunk = (delta: object, reason: string | null) => ({
    id: expect.stringMatching(/^chatcmpl-/) as string,
    object: 'chat.completion.chunk',
    created: expect.any(Number) as number,
    model: 'm',
    choices: [{ index: 0, delta, logprobs: null, finish_reason: reason }],
  });
  expect(events.slice(0, -2).map((event) => JSON.parse(event) as unknown)).toEqual([
    chunk({ role: 'assistant', content: null }, null),
    chunk({ content: 'é\n' }, null),
    chunk({}, 'length'),
  ]);
});

test('bare breaks off a reply whose worker breaks off', async () => {
  const response = await ask((_, worker) => {
    worker.write('data: {"choices":[{"delta":{"content":"x"},"finish_reason":null}]}\n\n', () =>
      worker.destroy(),
    );
  });
  await expect(response.text()).rejects.toThrow();
});
