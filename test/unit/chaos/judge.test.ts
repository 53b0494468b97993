import type { Exchange } from '../../chaos/exchange.js';
import { type Asked, judge, References } from '../../chaos/judge.js';
import { errorCode, type Route, ROUTES } from '../../chaos/routes.js';

/** A whole reply with status 200, except for some fields. */
const seen = (fields: Partial<Exchange> = {}): Exchange => ({
  status: 200,
  body: '',
  complete: true,
  trailers: {},
  gaveUp: undefined,
  failure: undefined,
  ms: 1,
  ...fields,
});

const routeNamed = (name: string): Route => ROUTES.find((route) => route.name === name)!;

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
    ['not JSON\n', true, { end: 'malformed', text: 'Lima' }],
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

const PERU = 'The capital of Peru is Lima.';
const JAPAN = 'The capital of Japan is Tokyo.';

const references = new References();
references.add('bare', 'Peru?', PERU);
references.add('bare', 'Japan?', JAPAN);

const asked: Asked = { kind: 'question', route: routeNamed('/execute'), question: 'Peru?' };
const bad: Asked = { kind: 'bad', status: 415 };

const judged = (fields: Partial<Exchange>, what: Asked = asked) => judge(what, seen(fields), references);
const answered = (content: string) => judged({ body: JSON.stringify({ content }) });
const error = (status: number, code: string) => ({ status, body: JSON.stringify({ error: { code } }) });

test('the undisturbed text is finished and equal', () => {
  expect(answered(PERU)).toEqual({ outcome: 'finished', equal: true });
});

test('another text is finished and unequal', () => {
  const text = 'The capital of Peru is Lime.';
  expect(answered(text)).toEqual({ outcome: 'finished', equal: false, text });
});

test.each(['The capital of', ''])('a clean end after %j is a silent cut', (text) => {
  expect(answered(text)).toEqual({ outcome: 'lost', reason: 'cut silently', text });
});

test.each([JAPAN, `The capital of ${JAPAN}`])('%j belongs to another question', (text) => {
  expect(answered(text)).toEqual({ outcome: 'lost', reason: 'misrouted: Japan?', text });
});

test('a misrouted text is found in a broken reply as well', () => {
  const route = routeNamed('/chat');
  references.add('helpful', 'Peru?', PERU);
  const found = judged({ body: JAPAN, complete: false }, { kind: 'question', route, question: 'Peru?' });
  expect(found).toMatchObject({ outcome: 'lost', reason: 'misrouted: Japan?' });
});

test.each([
  [503, 'queue_full', 'refused'],
  [429, 'rate_limit_exceeded', 'refused'],
  [500, 'generation_failed', 'broken'],
  [500, 'llm_error', 'broken'],
  [500, 'internal_error', 'lost'],
  [502, 'provider_api_error', 'lost'],
  [400, 'invalid_value', 'lost'],
])('a good request that gets %i %s is %s', (status, code, outcome) => {
  expect(judged(error(status, code)).outcome).toBe(outcome);
});

test.each([
  [415, 'refused'],
  [503, 'refused'],
  [400, 'lost'],
  [500, 'lost'],
  [200, 'lost'],
])('a bad request that should get 415 and gets %i is %s', (status, outcome) => {
  expect(judged(error(status, 'c'), bad).outcome).toBe(outcome);
});

test.each([
  [{ gaveUp: 'left' }, { outcome: 'cancelled' }],
  [{ gaveUp: 'hung' }, { outcome: 'lost', reason: 'no end' }],
  [
    { status: undefined, failure: 'ECONNRESET' },
    { outcome: 'broken', reason: 'no reply: ECONNRESET' },
  ],
  [{ complete: false }, { outcome: 'broken', reason: 'connection cut', text: '' }],
] as const)('%j', (fields, verdict) => {
  expect(judged(fields)).toEqual(verdict);
});

describe('an error inside a stream', () => {
  const route = routeNamed('/complete/stream');
  const line = (code: string) => `{"type":"error","message":"m","code":"${code}"}\n`;
  const streamed = (body: string) => judged({ body }, { kind: 'question', route, question: 'Peru?' });

  test('is a refusal when nothing came before it', () => {
    expect(streamed(line('draining')).outcome).toBe('refused');
  });

  test('is a break when something came before it, or when the generation failed', () => {
    expect(streamed(`{"type":"chunk","text":"The"}\n${line('draining')}`).outcome).toBe('broken');
    expect(streamed(line('generation_failed')).outcome).toBe('broken');
  });
});

test('replies that several questions share are not distinct', () => {
  const some = new References();
  for (const question of ['a', 'b']) some.add('raw', question, 'the same');
  some.add('raw', 'c', 'another');
  some.add('bare', 'c', 'another');
  expect([some.size, some.distinct]).toEqual([4, 2]);
});
