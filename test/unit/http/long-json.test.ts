import { piecesOf } from '../../../src/http/long-json.js';

const list = (length: number) => Array.from({ length }, (_, index) => ({ index, embedding: [0.5, -1] }));

test.each<[string, object]>([
  ['a long list between other fields', { object: 'list', data: list(40), model: 'm', usage: { n: 1 } }],
  ['a long list of lists', { embeddings: list(16).map(({ embedding }) => embedding) }],
  ['a short list', { data: list(2) }],
  ['an absent field', { model: undefined, data: list(20), last: undefined }],
  ['nothing', {}],
])('%s is written as a whole would be', (_name, value) => {
  expect(JSON.parse([...piecesOf(value)].join(''))).toEqual(JSON.parse(JSON.stringify(value)));
});

test('each item of a long list is a piece', () => {
  const lengths = [...piecesOf({ data: list(1_000) })].map((piece) => piece.length);
  expect(lengths.length).toBeGreaterThan(1_000);
  expect(Math.max(...lengths)).toBeLessThan(100);
});
