import { playing, post, saying } from '../../support/app.js';
import { sseData } from '../../support/exchange.js';

/** `prompt` of /v1/completions: one or several, as texts or token ids. */

const RAW = '/v1/completions';

test.each<[unknown, unknown]>([
  ['a', 'a'],
  [['a'], 'a'],
  [
    [1, 2],
    [1, 2],
  ],
  [[[1, 2]], [1, 2]],
])('%j is one prompt', async (prompt, sent) => {
  const generate = saying('x');
  await post(RAW, { prompt }, { generate }).expect(200);
  expect(generate.requests).toEqual([{ kind: 'raw', n: 1, body: { prompt: sent } }]);
});

test.each<[unknown[], number]>([
  [['a', 'b'], 1],
  [['a', [1, 2]], 1],
  [[[1], [2], [3]], 2],
])('%j are several, each with %d choices, in the order of the prompts', async (prompt, n) => {
  const total = prompt.length * n;
  const script = playing(
    Array.from({ length: total }, (_, index) => [
      { type: 'text' as const, index, text: `t${index}` },
      { type: 'finish' as const, index, reason: 'stop' as const },
    ]).flat(),
  );
  const { body } = await post(RAW, { prompt, n }, { generate: script }).expect(200);
  expect(body.choices.map((choice: any) => [choice.index, choice.text])).toEqual(
    Array.from({ length: total }, (_, index) => [index, `t${index}`]),
  );
  expect(script.requests).toEqual([{ kind: 'raw', n: total, prompts: prompt, body: {} }]);
  const streamed = sseData((await post(RAW, { prompt, n, stream: true }, { generate: script })).text).slice(
    0,
    -1,
  );
  expect(new Set(streamed.map((chunk) => chunk.choices[0].index)).size).toBe(total);
});

test.each<[string, unknown, object?]>([
  ['prompt', undefined],
  ['prompt', null],
  ['prompt', ''],
  ['prompt', []],
  ['prompt', {}],
  ['prompt', 5],
  ['prompt.0', ['']],
  ['prompt.1', ['a', '']],
  ['prompt.1', ['a', null]],
  ['prompt.0', [[]]],
  ['prompt.1.0', [[1], ['a']]],
  ['prompt.1', [1, 'a']],
  ['prompt.0', [-1]],
  ['prompt.1', ['a', 'b\0']],
  ['prompt', Array(129).fill('a')],
  ['prompt', Array(9).fill('a'), { n: 16 }],
])('400 names %s: %j', async (param, prompt, more = {}) => {
  const { body } = await post(RAW, { prompt, ...more }).expect(400);
  expect(body.error).toMatchObject({ code: 'invalid_value', param });
});
