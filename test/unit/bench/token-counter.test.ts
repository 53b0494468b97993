import type { IncomingMessage } from 'node:http';
import { tokenCounter } from '../../../bench/load/token-counter.js';

const response = (trailers: object = {}) => ({ trailers }) as IncomingMessage;

const token = (text: string) =>
  `data: {"choices":[{"index":0,"delta":{"content":${JSON.stringify(text)}},"finish_reason":null}]}\n\n`;
const role =
  'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n';
const last = 'data: {"choices":[{"index":0,"delta":{},"finish_reason":"length"}]}\n\ndata: [DONE]\n\n';

describe('events', () => {
  const stream = Buffer.from(role + token('Hello') + token(' "delta":{"content":"') + token('é') + last);

  it('are counted once, wherever the stream is cut', () => {
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

  it('without an end are no whole reply', () => {
    const counter = tokenCounter('sse');
    counter.count(Buffer.from(role + token('Hello')));
    expect(counter.isWhole(response())).toBe(false);
  });
});

describe('plain text', () => {
  it('has a token a chunk, and says in a trailer that it is whole', () => {
    const counter = tokenCounter('text');
    expect(counter.count(Buffer.from('Hello'))).toBe(1);
    expect(counter.isWhole(response({ 'x-finish-reason': 'length' }))).toBe(true);
    expect(counter.isWhole(response())).toBe(false);
  });
});
