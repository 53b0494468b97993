import { readEvaluation } from '../../../src/backends/evaluation-reply.js';
import { BadReply } from '../../../src/wire/bad-reply.js';

const base64 = (...numbers: number[]) => Buffer.from(new Float32Array(numbers).buffer).toString('base64');
const usage = { prompt_tokens: 7, total_tokens: 7 };

test('vectors come in the order of the inputs, whatever their order in the reply and their encoding', () => {
  const data = [
    { index: 1, embedding: [0, 1] },
    { index: 0, embedding: base64(0.5, -2) },
  ];
  const { vectors, promptTokens } = readEvaluation('embed', { data, usage }, 2);
  expect(vectors.map((vector) => Array.from(vector))).toEqual([
    [0.5, -2],
    [0, 1],
  ]);
  expect(promptTokens).toBe(7);
});

test('without indexes the vectors are in order', () => {
  const data = [{ embedding: [1] }, { embedding: [2] }];
  expect(readEvaluation('embed', { data }, 2)).toEqual({
    vectors: [new Float32Array([1]), new Float32Array([2])],
    promptTokens: 0,
  });
});

test('scores come in the order of the documents', () => {
  const results = [
    { index: 1, relevance_score: 0.9 },
    { index: 0, relevance_score: -3 },
  ];
  const reply = { results, usage: { total_tokens: 4 } };
  expect(readEvaluation('rerank', reply, 2)).toEqual({ vectors: [[-3], [0.9]], promptTokens: 4 });
});

test.each<[string, unknown]>([
  ['null, which stands for NaN', { data: [{ embedding: [1, null] }] }],
  ['NaN', { data: [{ embedding: base64(1, NaN) }] }],
  ['infinite', { data: [{ embedding: base64(Infinity) }] }],
  ['too large for a float', { data: [{ embedding: [1e39] }] }],
  ['nothing but zeros', { data: [{ embedding: [0, 0] }] }],
])('a vector that is %s is an error', (_, reply) => {
  expect(() => readEvaluation('embed', reply, 1)).toThrow(
    expect.objectContaining({ code: 'invalid_response' }),
  );
});

test.each([null, -1e6])('a score that is %s is an error', (relevance_score) => {
  const reply = { results: [{ index: 0, relevance_score }] };
  expect(() => readEvaluation('rerank', reply, 1)).toThrow(
    expect.objectContaining({ code: 'invalid_response' }),
  );
});

test.each<[string, unknown]>([
  ['no object', []],
  ['without vectors', {}],
  ['with too few vectors', { data: [{ embedding: [1] }] }],
  ['with an index twice', { data: [1, 1].map((index) => ({ index, embedding: [1] })) }],
  ['with an index beyond', { data: [0, 2].map((index) => ({ index, embedding: [1] })) }],
  ['with an empty vector', { data: [0, 1].map((index) => ({ index, embedding: [] })) }],
  ['with half a number', { data: [0, 1].map((index) => ({ index, embedding: 'AAAA' })) }],
])('a reply %s is none', (_, reply) => {
  expect(() => readEvaluation('embed', reply, 2)).toThrow(BadReply);
});
