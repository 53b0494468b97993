import { once } from 'node:events';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { runJob } from '../../../bench/load/run-job.js';

const EVENT = 'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n';
const END = 'data: {"choices":[{"index":0,"delta":{},"finish_reason":"length"}]}\n\n';

/** Runs a job of that many replies against a server of our own. */
async function load(answer: RequestListener, replies: number, streams: number) {
  const bodies = Array.from({ length: replies }, (_, index) => `body ${index}`);
  return withServer(createServer(answer), (url) =>
    runJob({ url, headers: {}, bodies, streams, format: 'sse' }),
  );
}

async function withServer<T>(server: Server, task: (url: string) => Promise<T>): Promise<T> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    return await task(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
  } finally {
    await new Promise((resolve) => server.close(resolve));
  }
}

test('as many replies run at a time as there are streams, each body once', async () => {
  const seen: string[] = [];
  let open = 0;
  let most = 0;
  const result = await load(
    (request, response) => {
      most = Math.max(most, (open += 1));
      request.setEncoding('utf8').on('data', (text: string) => seen.push(text));
      request.on('end', () => {
        open -= 1;
        response.end(EVENT + EVENT + END);
      });
    },
    9,
    3,
  );
  expect(most).toBeLessThanOrEqual(3);
  expect(seen.sort()).toEqual(Array.from({ length: 9 }, (_, index) => `body ${index}`));
  expect(result).toMatchObject({ replies: 9, events: 18, errors: {} });
  expect(result.firstTokenMs).toHaveLength(9);
  expect(result.gapMs).toHaveLength(9);
});

test('each body goes with its own key', async () => {
  const seen: string[] = [];
  const server = createServer((request, response) => {
    request
      .setEncoding('utf8')
      .on('data', (text: string) => seen.push(`${text} ${String(request.headers['x-api-key'])}`));
    request.on('end', () => response.end(EVENT + END));
  });
  await withServer(server, (url) =>
    runJob({
      url,
      headers: { 'x-api-key': 'all' },
      bodies: ['a', 'b'],
      keys: ['1', '2'],
      streams: 1,
      format: 'sse',
    }),
  );
  expect(seen).toEqual(['a 1', 'b 2']);
});

test('a reply that is refused, cut or broken is an error and nothing else', async () => {
  let asked = 0;
  const result = await load(
    (_, response) => {
      asked += 1;
      if (asked === 1) response.writeHead(503).end(EVENT + END);
      else if (asked === 2) response.end(EVENT);
      else if (asked === 3) response.write(EVENT, () => response.destroy());
      else response.end(EVENT + END);
    },
    4,
    1,
  );
  expect(result).toMatchObject({ replies: 1, events: 1, errors: { 'status 503': 1, cut: 1, ECONNRESET: 1 } });
});
