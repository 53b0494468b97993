import type { EvaluationRequest, GenerateEvent } from '../../../../src/contract.js';
import type { RemoteOptions } from '../../../../src/backends/remote/options.js';
import { testContext } from '../../../support/pulled.js';
import { answering, backend, refuses, type Answer } from './helpers.js';

/** Answers with a vector or score for each input, the last first. */
const evaluating: Answer = ({ body, response }) => {
  const inputs = (body.input ?? body.documents) as string[];
  const items = inputs.map((_, index) => ({ index, embedding: [index + 1], relevance_score: index / 2 }));
  const usage = { prompt_tokens: inputs.length, total_tokens: inputs.length };
  response.end(JSON.stringify({ data: items.toReversed(), results: items.toReversed(), usage }));
};

const embed = (...inputs: string[]): EvaluationRequest => ({ task: 'embed', inputs });

async function asking(request: EvaluationRequest, answers: Answer[], more: Partial<RemoteOptions> = {}) {
  const server = await answering(...answers);
  const { backend: far } = backend(server.url, { task: request.task, ...more });
  const events: GenerateEvent[] = [];
  const evaluation = far.evaluate(request, testContext(), { event: (event) => void events.push(event) });
  return { server, far, events, evaluation };
}

test('embeddings are asked for in base64 and come in their order', async () => {
  const { server, evaluation, far } = await asking({ task: 'embed', inputs: ['a', 'b'], dimensions: 2 }, [
    evaluating,
  ]);
  expect(await evaluation).toEqual({
    vectors: [new Float32Array([1]), new Float32Array([2])],
    promptTokens: 2,
  });
  const body = { model: 'their-model', input: ['a', 'b'], encoding_format: 'base64', dimensions: 2 };
  expect(server.asked).toMatchObject([{ path: '/v1/embeddings', body }]);
  expect(far.facts()).toEqual({ capabilities: ['embed'] });
});

test('documents are rated', async () => {
  const request: EvaluationRequest = { task: 'rerank', query: 'q', documents: ['a', 'b'] };
  const { server, evaluation } = await asking(request, [evaluating]);
  expect((await evaluation).vectors).toEqual([[0], [0.5]]);
  const body = { model: 'their-model', query: 'q', documents: ['a', 'b'], top_n: 2 };
  expect(server.asked).toMatchObject([{ path: '/v1/rerank', body }]);
});

test('many inputs are sent in pieces and put together', async () => {
  const inputs = Array.from({ length: 300 }, (_, i) => `text ${i}`);
  const { server, evaluation, events } = await asking(embed(...inputs), [evaluating]);
  const { vectors, promptTokens } = await evaluation;
  expect(server.asked.map(({ body }) => (body.input as string[]).length)).toEqual([128, 128, 44]);
  expect([vectors.length, vectors[127]![0], vectors[128]![0], promptTokens]).toEqual([300, 128, 1, 300]);
  expect(events).toMatchObject([{ promptTokens: 128 }, { promptTokens: 256 }, { promptTokens: 300 }]);
});

test('a server that does not know base64 is asked without', async () => {
  const refusal = refuses(400, {
    error: { message: 'Unknown parameter: encoding_format', param: 'encoding_format' },
  });
  const { server, evaluation } = await asking(embed('a'), [refusal, evaluating]);
  expect((await evaluation).vectors).toHaveLength(1);
  expect(server.asked[1]!.body).toEqual({ model: 'their-model', input: ['a'] });
});

test.each<[string, Answer, object]>([
  [
    'an input that is too long',
    refuses(400, { error: { message: 'too long', code: 'context_length_exceeded' } }),
    { code: 'context_length_exceeded', param: 'input' },
  ],
  ['a reply that is not JSON', ({ response }) => response.end('<html>'), { code: 'generation_failed' }],
  [
    'a reply that breaks off',
    ({ response }) => response.write('{', () => response.destroy()),
    { code: 'generation_failed' },
  ],
  ['a reply without vectors', refuses(200, { data: [] }), { code: 'generation_failed' }],
  [
    'numbers that are not finite',
    refuses(200, { data: [{ embedding: [null] }] }),
    { code: 'invalid_response' },
  ],
  [
    'an error with status 200',
    refuses(200, { error: { message: 'no such model', code: 500 } }),
    { status: 502 },
  ],
  ['a full server', refuses(429, {}), { code: 'provider_rate_limited' }],
])('%s is an error that does not quote the input', async (_, answer, error) => {
  const { evaluation } = await asking(embed('the secret plan'), [answer]);
  const thrown = await evaluation.catch((reason: unknown) => reason);
  expect(thrown).toMatchObject(error);
  expect((thrown as Error).message).not.toContain('secret');
});
