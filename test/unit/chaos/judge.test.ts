import type { Exchange } from '../../chaos/exchange.js';
import { judge, type Asked } from '../../chaos/judge.js';
import { References } from '../../chaos/references.js';
import { routeNamed, seen } from './seen.js';

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
  expect(answered(text)).toEqual({ outcome: 'lost', reason: 'cut without a word', text });
});

test.each([JAPAN, `The capital of ${JAPAN}`])('%j belongs to somebody else', (text) => {
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

test('replies that are the same for several questions are not distinct', () => {
  const some = new References();
  for (const question of ['a', 'b']) some.add('raw', question, 'the same');
  some.add('raw', 'c', 'another');
  some.add('bare', 'c', 'another');
  expect([some.size, some.distinct]).toEqual([4, 2]);
});
