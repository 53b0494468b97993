import supertest from 'supertest';
import type { Evaluation, EvaluationRequest, GenerateRequest, RequestScope } from '../../../src/contract.js';
import { LMServError, type ErrorCode } from '../../../src/errors.js';
import { get, post, testApp, type TestOptions } from '../../support/app.js';

/** Ollama's embeddings over a fake `evaluate`. */

const EMBED = '/api/embed';
const OLDER = '/api/embeddings';

/** Gives these vectors and notes what it was asked, and what is asked of the residence. */
function giving(...vectors: number[][]) {
  const asked: EvaluationRequest[] = [];
  const wishes: unknown[][] = [];
  const evaluate = async (request: EvaluationRequest, { trace }: RequestScope): Promise<Evaluation> => {
    asked.push(request);
    trace.model = 'test-model';
    return { vectors, promptTokens: 3 };
  };
  const residence = {
    load: async ({ model }: Pick<GenerateRequest, 'model'>) => void wishes.push(['load', model]),
    keep: async (...wish: unknown[]) => void wishes.push([wish[0], wish[3]]),
  };
  return { asked, wishes, evaluate, residence };
}

const failing = (error: LMServError): Partial<TestOptions> => ({ evaluate: () => Promise.reject(error) });

describe('POST /api/embed', () => {
  test('replies with vectors and numbers, and names the model as the client did', async () => {
    const to = giving([0.5, -1]);
    const { body } = await post(EMBED, { model: 'm:latest', input: 'Hello' }, to).expect(200);
    expect(body).toEqual({
      model: 'm:latest',
      embeddings: [[0.5, -1]],
      total_duration: expect.any(Number),
      load_duration: expect.any(Number),
      prompt_eval_count: 3,
    });
    expect(body.total_duration).toBeGreaterThanOrEqual(1);
    expect(body.load_duration).toBeGreaterThanOrEqual(1);
    expect(to.asked).toEqual([{ task: 'embed', model: 'm:latest', inputs: ['Hello'], truncate: true }]);
  });

  test('takes several texts, and says which model replied if none is named', async () => {
    const to = giving([1], [2]);
    const { body } = await post(EMBED, { input: ['a', 'b'] }, to).expect(200);
    expect(body).toMatchObject({ model: 'test-model', embeddings: [[1], [2]] });
    expect(to.asked).toEqual([{ task: 'embed', inputs: ['a', 'b'], truncate: true }]);
  });

  test.each<[object, object]>([
    [{ truncate: false }, { truncate: false }],
    [{ truncate: null, dimensions: null, keep_alive: null, options: null }, { truncate: true }],
    [{ dimensions: 8 }, { truncate: true, dimensions: 8 }],
    [{ dimensions: 0 }, { truncate: true }],
    [{ options: { num_ctx: 9_999, num_gpu: 1, temperature: 9 } }, { truncate: true }],
  ])('%j becomes %j', async (fields, request) => {
    const to = giving([1]);
    await post(EMBED, { input: 'x', ...fields }, to).expect(200);
    expect(to.asked).toEqual([{ task: 'embed', inputs: ['x'], ...request }]);
  });

  test.each<[object, RegExp]>([
    [{ input: 7 }, /^input: .*expected string/],
    [{ input: [1, 2] }, /^input\.0: /],
    [{ input: ['a', ''] }, /^input\.1: /],
    [{ input: 'a\0' }, /^input: must not contain NUL/],
    [{ input: 'x'.repeat(262_145) }, /^input: .*262144/],
    [{ input: Array<string>(2_049).fill('x') }, /^input: must have at most 2048 elements/],
    [{ input: 'x', dimensions: -1 }, /^dimensions: /],
    [{ input: 'x', truncate: 'no' }, /^truncate: /],
    [{ input: 'x', keep_alive: 'soon' }, /^keep_alive: /],
  ])('refuses what is wrong with 400: %#', async (body, message) => {
    const to = { ...giving([1]), maxBodyBytes: 1_000_000 };
    const reply = await post(EMBED, body, to).expect(400);
    expect(reply.body).toEqual({ error: expect.stringMatching(message) });
    expect(to.asked).toEqual([]);
  });
});

describe('POST /api/embeddings, the older form', () => {
  test('has one text and one vector', async () => {
    const to = giving([0.5, -1]);
    const { body } = await post(OLDER, { model: 'm', prompt: 'Hello', options: { num_ctx: 1 } }, to).expect(
      200,
    );
    expect(body).toEqual({ embedding: [0.5, -1] });
    expect(to.asked).toEqual([{ task: 'embed', model: 'm', inputs: ['Hello'], truncate: true }]);
  });

  test.each([{ prompt: ['a'] }, { prompt: 'x'.repeat(262_145) }])(
    'refuses a wrong prompt: %#',
    async (body) => {
      const reply = await post(OLDER, body, { maxBodyBytes: 1_000_000 }).expect(400);
      expect(reply.body.error).toMatch(/^prompt: /);
    },
  );
});

describe('the model', () => {
  test.each<[string, object, object]>([
    [EMBED, { input: '' }, { model: 'm', embeddings: [] }],
    [EMBED, { input: [] }, { model: 'm', embeddings: [] }],
    [EMBED, {}, { model: 'm', embeddings: [] }],
    [OLDER, { prompt: '' }, { embedding: [] }],
    [OLDER, {}, { embedding: [] }],
  ])('is only loaded by %s %j, and with keep_alive 0 unloaded', async (path, fields, reply) => {
    const to = giving();
    for (const keep_alive of [undefined, 0]) {
      const { body } = await post(path, { model: 'm', ...fields, keep_alive }, to).expect(200);
      expect(body).toEqual(reply);
    }
    expect(to.wishes).toEqual([
      ['load', 'm'],
      ['unload', undefined],
    ]);
    expect(to.asked).toEqual([]);
  });

  test.each([EMBED, OLDER])('leaves after the reply to %s with keep_alive 0', async (path) => {
    const to = giving([1]);
    await post(path, { input: 'x', prompt: 'x', keep_alive: 0 }, to).expect(200);
    expect(to.wishes).toEqual([['unload', 'test-model']]);
  });
});

describe.each([EMBED, OLDER])('an error of %s has Ollama’s form', (path) => {
  const asked = { input: 'x', prompt: 'x' };

  test.each<[ErrorCode, number]>([
    ['context_length_exceeded', 400],
    ['budget_exceeded', 429],
    ['generation_failed', 500],
    ['invalid_response', 502],
    ['queue_full', 503],
    ['starting', 503],
  ])('%s: %i', async (code, status) => {
    const { body, headers } = await post(path, asked, failing(new LMServError(code, 'why'))).expect(status);
    expect(body).toEqual({ error: 'why' });
    expect('retry-after' in headers).toBe(status === 503);
  });

  test('an unknown model: 404', async () => {
    const { body } = await post(path, asked, failing(new LMServError('model_not_found'))).expect(404);
    expect(body).toEqual({ error: expect.stringMatching(/^model not found/) });
  });

  test('no key: 401, another method: 405', async () => {
    const app = testApp();
    const { body } = await supertest(app).post(path).send(asked).expect(401);
    expect(body).toEqual({ error: 'Bad API key' });
    expect((await get(path, app).expect(405)).body).toEqual({ error: expect.any(String) });
  });

  test('none for curl, which declares no JSON', async () => {
    const type = 'application/x-www-form-urlencoded';
    await post(path, JSON.stringify(asked), giving([1]))
      .set('Content-Type', type)
      .expect(200);
  });
});
