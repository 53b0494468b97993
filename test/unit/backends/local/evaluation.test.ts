import type { EvaluationRequest, JsonObject } from '../../../../src/contract.js';
import { cut, cutBody, partRefusal, partsOf, singlesOf } from '../../../../src/backends/local/evaluation.js';
import { ChildRefusal } from '../../../../workers/child-http.js';

const embed = (...inputs: (string | number[])[]): EvaluationRequest => ({ task: 'embed', inputs });
const rerank = (query: string, ...documents: string[]): EvaluationRequest => ({
  ...{ task: 'rerank', query, documents },
});

/** The positions of the inputs in each part. */
const positions = (request: EvaluationRequest, context: number) =>
  partsOf(request, context).map(({ first, prompts }) => prompts.map((_, offset) => first + offset));

test('inputs share a part while they are together no longer than one may be', () => {
  expect(positions(embed('12345', '12345', '1', [1, 2]), 10)).toEqual([
    [0, 1],
    [2, 3],
  ]);
});

test('an input that is longer is alone', () => {
  expect(positions(embed('1', 'x'.repeat(11), '1'), 10)).toEqual([[0], [1], [2]]);
});

test('a part has at most 16 inputs', () => {
  const parts = partsOf(embed(...Array<string>(40).fill('x')), 1_000);
  expect(parts.map(({ prompts }) => prompts.length)).toEqual([16, 16, 8]);
});

test('documents count with their query', () => {
  expect(positions(rerank('1234', '1', '2', '3'), 10)).toEqual([[0, 1], [2]]);
});

test('a worker gets the texts and ids as they came', () => {
  expect(partsOf(embed('a', [1, 2]), 10)).toMatchObject([
    { path: '/v1/embeddings', body: { input: ['a', [1, 2]] }, params: ['input.0', 'input.1'] },
  ]);
  expect(partsOf(embed('a'), 10)).toMatchObject([{ params: ['input'] }]);
  expect(partsOf(rerank('q', 'd'), 10)).toMatchObject([
    { path: '/v1/rerank', body: { query: 'q', documents: ['d'] }, params: ['documents.0'] },
  ]);
});

test('a part can be divided into its inputs', () => {
  const request = embed('a', 'b');
  const [part] = partsOf(request, 10);
  expect(singlesOf(request, part!)).toMatchObject([
    { first: 0, body: { input: ['a'] }, params: ['input.0'] },
    { first: 1, body: { input: ['b'] }, params: ['input.1'] },
  ]);
});

describe('the reason of a refusal', () => {
  const [part] = partsOf(embed('a'), 10);
  const [document] = partsOf(rerank('q', 'd'), 10);
  const refusal = (message: string, status = 500, type = 'server_error') =>
    new ChildRefusal(status, type, message);

  test.each([
    [
      'input (401 tokens) is too large to process. increase the physical batch size (current batch size: 256)',
      256,
    ],
    ['input (401 tokens) is larger than the max context size (256 tokens). skipping', 256],
    ['request (401 tokens) exceeds the available context size (256 tokens), try increasing it', 255],
  ])('has the numbers: %s', (message, max) => {
    const words = `input: has 401 tokens, beyond the model's maximum context length of ${max}`;
    expect(partRefusal(refusal(message), part!)).toMatchObject({
      ...{ code: 'context_length_exceeded', param: 'input', message: words },
    });
  });

  test('says that a query counts', () => {
    const message = 'input (9 tokens) is larger than the max context size (8 tokens). skipping';
    expect(partRefusal(refusal(message), document!).message).toMatch(/^documents\.0: has, with the query, 9/);
  });

  test('of ids that the model does not have', () => {
    const error = partRefusal(refusal('Prompt contains invalid tokens', 400), part!);
    expect(error).toMatchObject({ code: 'invalid_value', message: expect.stringMatching(/vocabulary$/) });
  });

  test('of the worker itself is not passed on', () => {
    expect(partRefusal(refusal('out of memory at 0x0'), part!)).toMatchObject({
      code: 'generation_failed',
      message: expect.not.stringContaining('memory'),
    });
  });
});

describe('a text that is too long', () => {
  const tooLong = 'request (9 tokens) exceeds the available context size (6 tokens), try increasing it';
  const cutOf = async (request: EvaluationRequest, message = tooLong, ends = [102]) => {
    const [part] = partsOf(request, 100);
    // One token for each letter, and what the model expects around a text.
    const post = async (path: string, { content, add_special: special }: JsonObject) => {
      expect(path).toBe('/tokenize');
      const letters = Array.from(content as string, (letter) => letter.charCodeAt(0));
      return { tokens: special === true ? [101, ...letters, ...ends] : letters };
    };
    return (await cutBody(part!, new ChildRefusal(400, 'exceed_context_size_error', message), post))?.input;
  };
  const texts = (...inputs: string[]): EvaluationRequest => ({ task: 'embed', inputs, truncate: true });

  test('loses its end, but not what the model expects there', async () => {
    expect(await cutOf(texts('abcxxxx'))).toEqual([[101, 97, 98, 99, 102]]);
    expect(await cutOf(texts('abcdxxxx'), tooLong, [])).toEqual([[101, 97, 98, 99, 100]]);
  });

  test.each<[string, EvaluationRequest, string]>([
    ['that may not be cut', embed('abcxxxx'), tooLong],
    ['among others', texts('abcxxxx', 'b'), tooLong],
    ['that is refused for another reason', texts('abcxxxx'), 'out of memory'],
    ['that is a document', rerank('q', 'abcxxxx'), tooLong],
  ])('is not cut: one %s', async (_, request, message) => {
    expect(await cutOf(request, message)).toBeUndefined();
  });
});

test('a vector that is cut has length 1', () => {
  expect(Array.from(cut([3, 4, 12], 2))).toEqual([Math.fround(0.6), Math.fround(0.8)]);
});
