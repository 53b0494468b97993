import type { Evaluation, EvaluationRequest, GenerateContext, Sink } from '../../../src/contract.js';
import { LMServError, type ErrorCode } from '../../../src/errors.js';
import { createEvaluate } from '../../../src/generate/generate.js';
import type { MemberFailure } from '../../../src/generate/fallback.js';
import { context, FakeBackend } from './helpers.js';

const ask: EvaluationRequest = { task: 'embed', model: 'm', inputs: ['a'] };
const done: Evaluation = { vectors: [[1]], promptTokens: 5 };

/** A backend that evaluates as a function says. */
const able = (name: string, evaluate: (request: EvaluationRequest, sink: Sink) => Evaluation) =>
  Object.assign(new FakeBackend(name), {
    evaluate: async (request: EvaluationRequest, _: GenerateContext, sink: Sink) => evaluate(request, sink),
  });

const failing = (name: string, code: ErrorCode, tokens = 0) =>
  able(name, (_, sink) => {
    sink.event({ type: 'prefill', promptTokens: tokens });
    throw new LMServError(code);
  });

const evaluate = (backends: FakeBackend[], onFailure: (failure: MemberFailure) => void = () => undefined) => {
  const asked: unknown[] = [];
  const run = createEvaluate(
    (...names) => {
      asked.push(names);
      const limits = { default: undefined, cap: 1 };
      return { members: backends.map((backend) => ({ model: backend.name, backend, maxTokens: limits })) };
    },
    { onFailure },
  );
  return { run, asked };
};

test('a model is asked that can, and the trace says what was done', async () => {
  const scope = context();
  const { run, asked } = evaluate([able('a', () => done)]);
  expect(await run(ask, scope)).toBe(done);
  expect(asked).toEqual([['m', undefined, undefined, 'embed']]);
  expect(scope.trace).toMatchObject({ model: 'a', promptTokens: 5, completionTokens: 0, attempts: 1 });
});

test('another member evaluates all of it after a failure', async () => {
  const scope = context();
  const failures: string[] = [];
  const backends = [failing('a', 'generation_failed', 3), able('b', () => done)];
  const { run } = evaluate(backends, ({ model }) => void failures.push(model));
  expect(await run(ask, scope)).toBe(done);
  expect(scope.trace).toMatchObject({ model: 'b', promptTokens: 5, attempts: 2 });
  expect(failures).toEqual(['a']);
});

test('what was evaluated before a failure is counted', async () => {
  const scope = context();
  const { run } = evaluate([failing('a', 'generation_failed', 3)]);
  await expect(run(ask, scope)).rejects.toMatchObject({ code: 'generation_failed' });
  expect(scope.trace.promptTokens).toBe(3);
});
