import { errorCode } from '../../chaos/reply.js';
import { routeNamed, seen } from './seen.js';

const chunk = (content: string) => `data: {"choices":[{"delta":{"content":${JSON.stringify(content)}}}]}\n\n`;
const usage = 'data: {"choices":[],"usage":{}}\n\n';
const DONE = 'data: [DONE]\n\n';

describe('server-sent events', () => {
  const { read } = routeNamed('/v1/chat/completions, streamed');

  test('are whole with [DONE]', () => {
    const body = `: ping\n\n${chunk('Li')}${chunk('ma')}${usage}${DONE}`;
    expect(read(seen({ body }))).toEqual({ end: 'whole', text: 'Lima' });
  });

  test('are malformed when they end cleanly without it', () => {
    expect(read(seen({ body: chunk('Li') }))).toEqual({ end: 'malformed', text: 'Li' });
  });

  test.each([
    ['without it', chunk('Li')],
    ['in the middle of an event', `${chunk('Li')}data: {"choi`],
    ['before the end of the connection', chunk('Li') + DONE],
  ])('are cut when the connection breaks %s', (_, body) => {
    expect(read(seen({ body, complete: false }))).toEqual({ end: 'cut', text: 'Li' });
  });

  test('may end with an error', () => {
    const body = `${chunk('Li')}data: {"error":{"message":"m","code":"generation_failed"}}\n\n`;
    expect(read(seen({ body }))).toEqual({ end: 'error', text: 'Li', code: 'generation_failed' });
  });
});

describe('lines of JSON', () => {
  const { read } = routeNamed('/complete/stream');
  const lines = '{"type":"chunk","text":"Li"}\n{"type":"chunk","text":"ma"}\n';

  test.each([
    ['{"type":"done"}\n', true, { end: 'whole', text: 'Lima' }],
    ['{"type":"done"}\n', false, { end: 'cut', text: 'Lima' }],
    [
      '{"type":"error","message":"m","code":"draining"}\n',
      true,
      { end: 'error', text: 'Lima', code: 'draining' },
    ],
    ['{"type":"chu', false, { end: 'cut', text: 'Lima' }],
    ['', true, { end: 'malformed', text: 'Lima' }],
    ['no JSON\n', true, { end: 'malformed', text: 'Lima' }],
  ])('end with %j, complete: %j', (end, complete, expected) => {
    expect(read(seen({ body: lines + end, complete }))).toEqual(expected);
  });
});

describe('plain text', () => {
  const { read } = routeNamed('/chat');

  test.each([
    [true, { 'x-finish-reason': 'stop' }, 'whole'],
    [true, {}, 'malformed'],
    [false, {}, 'cut'],
  ])('complete: %j with the trailers %j', (complete, trailers, end) => {
    expect(read(seen({ body: 'Lima', complete, trailers }))).toEqual({ end, text: 'Lima' });
  });
});

describe('one JSON document', () => {
  const { read } = routeNamed('/execute');

  test.each([
    ['{"content":"Lima"}', true, { end: 'whole', text: 'Lima' }],
    ['{"content":"Li', false, { end: 'cut', text: '' }],
    ['{"content":"Li', true, { end: 'malformed', text: '{"content":"Li' }],
    ['{}', true, { end: 'malformed', text: '{}' }],
  ])('%s, complete: %j', (body, complete, expected) => {
    expect(read(seen({ body, complete }))).toEqual(expected);
  });
});

test.each([
  ['{"error":{"code":"queue_full"}}', 'queue_full'],
  ['{"error":"llm_error","message":"m"}', 'llm_error'],
  ['<html>', 'unknown'],
])('the code of %s', (body, code) => {
  expect(errorCode(body)).toBe(code);
});
