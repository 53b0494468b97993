import type { Evaluation, EvaluationRequest, RequestScope, TokenQuestion } from '../../../src/contract.js';
import { LMServError, type ErrorCode } from '../../../src/errors.js';
import { post, recording, testApp, type TestOptions } from '../../support/app.js';
import supertest from 'supertest';

/** Embeddings, rerank and tokens over a fake `evaluate`. */

const PATH = '/v1/embeddings';

/** Gives these vectors and notes what it was asked. */
function giving(...vectors: number[][]) {
  const asked: EvaluationRequest[] = [];
  const evaluate = async (request: EvaluationRequest, { trace }: RequestScope): Promise<Evaluation> => {
    asked.push(request);
    trace.model = 'test-model';
    return { vectors, promptTokens: 3 };
  };
  return { asked, evaluate };
}

const failing = (code: ErrorCode): Partial<TestOptions> => ({
  evaluate: () => Promise.reject(new LMServError(code)),
});

describe('POST /v1/embeddings', () => {
  test('replies with numbers by default', async () => {
    const { evaluate, asked } = giving([0.5, -1]);
    const { body } = await post(PATH, { model: 'm', input: 'Hello', user: 'u' }, { evaluate }).expect(200);
    expect(body).toEqual({
      object: 'list',
      data: [{ object: 'embedding', index: 0, embedding: [0.5, -1] }],
      model: 'test-model',
      usage: { prompt_tokens: 3, total_tokens: 3 },
    });
    expect(asked).toEqual([{ task: 'embed', model: 'm', inputs: ['Hello'] }]);
  });

  test('replies with base64 of little-endian floats if asked to', async () => {
    const { evaluate } = giving([1, -2]);
    const { body } = await post(PATH, { input: 'x', encoding_format: 'base64' }, { evaluate }).expect(200);
    expect(body.data[0].embedding).toBe('AACAPwAAAMA=');
  });

  test.each<[string, unknown, unknown]>([
    ['several texts', ['a', 'b'], ['a', 'b']],
    ['token ids', [1, 2], [[1, 2]]],
    ['several lists of token ids', [[1], [2, 3]], [[1], [2, 3]]],
  ])('takes %s', async (_, input, inputs) => {
    const { evaluate, asked } = giving([1]);
    await post(PATH, { input, dimensions: 8 }, { evaluate }).expect(200);
    expect(asked).toEqual([{ task: 'embed', inputs, dimensions: 8 }]);
  });

  test.each<[string, object]>([
    ['input', {}],
    ['input', { input: '' }],
    ['input', { input: [] }],
    ['input.1', { input: ['a', ''] }],
    ['input.1', { input: ['a', 'b\0'] }],
    ['input.0.1', { input: [[1, -1]] }],
    ['input', { input: Array<string>(2_049).fill('x') }],
    ['input', { input: 'x'.repeat(262_145) }],
    ['encoding_format', { input: 'x', encoding_format: 'int8' }],
    ['dimensions', { input: 'x', dimensions: 0 }],
  ])('refuses a wrong %s with 400', async (param, body) => {
    const reply = await post(PATH, body, { maxBodyBytes: 1_000_000 }).expect(400);
    expect(reply.body.error).toMatchObject({ type: 'invalid_request_error', param, code: 'invalid_value' });
  });

  test.each<[ErrorCode, number]>([
    ['context_length_exceeded', 400],
    ['budget_exceeded', 429],
    ['generation_failed', 500],
    ['invalid_response', 502],
    ['queue_full', 503],
    ['starting', 503],
  ])('%s is %i in OpenAI’s form', async (code, status) => {
    const { body, headers } = await post(PATH, { input: 'x' }, failing(code)).expect(status);
    expect(body).toEqual({
      error: { message: expect.any(String), type: expect.any(String), param: null, code },
    });
    expect('retry-after' in headers).toBe(status === 503);
  });

  test('without a key it is 401, and with a wrong method 405', async () => {
    const app = testApp();
    await supertest(app).post(PATH).send({ input: 'x' }).expect(401);
    await supertest(app).get(PATH).set('X-API-Key', 'test-key').expect(405);
  });

  test('waits behind others with X-Priority: batch', async () => {
    const { evaluate, asked } = giving([1]);
    await post(PATH, { input: 'x' }, { evaluate }).set('X-Priority', 'batch').expect(200);
    expect(asked[0]).toMatchObject({ priority: -1 });
  });

  test('is admitted and recorded as a generation is', async () => {
    const { evaluate } = giving([1]);
    const { onRequestDone, ended } = recording();
    await post(PATH, { input: 'x' }, { evaluate, onRequestDone }).expect(200);
    const [record] = await ended();
    expect(record!.context).toMatchObject({ generated: true, tenant: expect.any(String) });
  });

  test('is found without /v1', async () => {
    await post('/embeddings', { input: 'x' }, giving([1])).expect(200);
  });
});

describe('POST /v1/rerank', () => {
  const documents = ['a', { text: 'b' }, 'c'];
  const ask = { model: 'm', query: 'q', documents };

  test.each(['/v1/rerank', '/rerank'])('%s gives the best documents first', async (path) => {
    const { evaluate, asked } = giving([0.1], [0.9], [0.5]);
    const { body } = await post(path, ask, { evaluate }).expect(200);
    expect(body).toEqual({
      id: expect.stringMatching(/^rerank-/),
      object: 'list',
      model: 'test-model',
      usage: { prompt_tokens: 3, total_tokens: 3 },
      results: [
        { index: 1, relevance_score: 0.9 },
        { index: 2, relevance_score: 0.5 },
        { index: 0, relevance_score: 0.1 },
      ],
    });
    expect(asked).toEqual([{ task: 'rerank', model: 'm', query: 'q', documents: ['a', 'b', 'c'] }]);
  });

  test('top_n and return_documents', async () => {
    const { evaluate } = giving([0.1], [0.9], [0.5]);
    const body = { ...ask, top_n: 1, return_documents: true };
    const reply = await post('/v1/rerank', body, { evaluate }).expect(200);
    expect(reply.body.results).toEqual([{ index: 1, relevance_score: 0.9, document: { text: 'b' } }]);
  });

  test.each<[string, object]>([
    ['query', { query: '' }],
    ['query', { query: 'x'.repeat(16_385) }],
    ['documents', { documents: [] }],
    ['documents.1', { documents: ['a', { image: 'x' }] }],
    ['documents', { documents: Array<string>(1_001).fill('x') }],
    ['top_n', { top_n: 0 }],
    ['truncation', { truncation: true }],
    ['rank_fields', { rank_fields: ['title'] }],
  ])('refuses a wrong %s with 400', async (param, fields) => {
    const { body } = await post('/v1/rerank', { ...ask, ...fields }, { maxBodyBytes: 1_000_000 }).expect(400);
    expect(body.error).toMatchObject({ param, code: 'invalid_value' });
  });
});

describe('tokens', () => {
  const answering = (answer: any) => {
    const asked: TokenQuestion[] = [];
    const askTokens = async (question: TokenQuestion) => (asked.push(question), answer);
    return { asked, askTokens };
  };

  test('POST /tokenize has llama.cpp’s defaults', async () => {
    const { asked, askTokens } = answering([1, 2]);
    const { body } = await post('/tokenize', { content: 'x' }, { askTokens }).expect(200);
    expect(body).toEqual({ tokens: [1, 2] });
    const options = { addSpecial: false, parseSpecial: true, withPieces: false };
    expect(asked).toEqual([{ about: 'text', text: 'x', ...options }]);
  });

  test('POST /tokenize passes its options on', async () => {
    const { asked, askTokens } = answering([]);
    const flags = { add_special: true, parse_special: false, with_pieces: true };
    await post('/tokenize', { model: 'm', content: '', ...flags }, { askTokens }).expect(200);
    const options = { addSpecial: true, parseSpecial: false, withPieces: true };
    expect(asked).toEqual([{ about: 'text', model: 'm', text: '', ...options }]);
  });

  test('POST /detokenize', async () => {
    const { asked, askTokens } = answering('hello');
    const { body } = await post('/detokenize', { tokens: [1, 2] }, { askTokens }).expect(200);
    expect(body).toEqual({ content: 'hello' });
    expect(asked).toEqual([{ about: 'tokens', tokens: [1, 2] }]);
  });

  test.each<[string, string, object]>([
    ['/tokenize', 'content', { content: 5 }],
    ['/tokenize', 'content', { content: 'x'.repeat(65_537) }],
    ['/tokenize', 'with_pieces', { content: 'x', with_pieces: 'yes' }],
    ['/detokenize', 'tokens', {}],
    ['/detokenize', 'tokens.0', { tokens: ['x'] }],
  ])('%s refuses a wrong %s with 400', async (path, param, body) => {
    const reply = await post(path, body, { maxBodyBytes: 100_000 }).expect(400);
    expect(reply.body.error).toMatchObject({ param });
  });
});
