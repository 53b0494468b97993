import type { IncomingMessage, RequestListener } from 'node:http';
import { runJob, tokenCounter } from '../../../bench/load/job.js';
import { serve } from '../../support/fake-server.js';

const EVENT = 'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n';
const END = 'data: {"choices":[{"index":0,"delta":{},"finish_reason":"length"}]}\n\n';

/** Runs a job of that many replies against a fake server. */
async function load(answer: RequestListener, replies: number, streams: number) {
  const bodies = Array.from({ length: replies }, (_, index) => `body ${index}`);
  return runJob({ url: `${await serve(answer)}/`, headers: {}, bodies, streams, format: 'sse' });
}

test('as many replies run at a time as there are streams, and each body is sent once', async () => {
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

test('each body is sent with its own key', async () => {
  const seen: string[] = [];
  const listener: RequestListener = (request, response) => {
    request
      .setEncoding('utf8')
      .on('data', (text: string) => seen.push(`${text} ${String(request.headers['x-api-key'])}`));
    request.on('end', () => response.end(EVENT + END));
  };
  const url = `${await serve(listener)}/`;
  await runJob({
    url,
    headers: { 'x-api-key': 'all' },
    bodies: ['a', 'b'],
    keys: ['1', '2'],
    streams: 1,
    format: 'sse',
  });
  expect(seen).toEqual(['a 1', 'b 2']);
});

test('a reply that is refused, cut or broken counts only as an error', async () => {
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

const response = (trailers: object = {}) => ({ trailers }) as IncomingMessage;

const token = (text: string) =>
  `data: {"choices":[{"index":0,"delta":{"content":${JSON.stringify(text)}},"finish_reason":null}]}\n\n`;
const role =
  'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n';
const last = 'data: {"choices":[{"index":0,"delta":{},"finish_reason":"length"}]}\n\ndata: [DONE]\n\n';

describe('events', () => {
  const stream = Buffer.from(role + token('Hello') + token(' "delta":{"content":"') + token('é') + last);

  it('are counted once, no matter where the stream is cut', () => {
    for (let at = 0; at <= stream.length; at += 1) {
      const counter = tokenCounter('sse');
      expect(counter.count(stream.subarray(0, at)) + counter.count(stream.subarray(at))).toBe(3);
      expect(counter.isWhole(response())).toBe(true);
    }
  });

  it('are counted byte by byte', () => {
    const counter = tokenCounter('sse');
    const counts = Array.from(stream, (byte) => counter.count(Buffer.of(byte)));
    expect(counts.reduce((sum, count) => sum + count)).toBe(3);
    expect(counter.isWhole(response())).toBe(true);
  });

  it('without an end are not a whole reply', () => {
    const counter = tokenCounter('sse');
    counter.count(Buffer.from(role + token('Hello')));
    expect(counter.isWhole(response())).toBe(false);
  });
});

describe('plain text', () => {
  it('has one token per chunk, and is whole if a trailer says so', () => {
    const counter = tokenCounter('text');
    expect(counter.count(Buffer.from('Hello'))).toBe(1);
    expect(counter.isWhole(response({ 'x-finish-reason': 'length' }))).toBe(true);
    expect(counter.isWhole(response())).toBe(false);
  });
});
