import { PRESETS } from '../../chaos/options.js';
import { catalogue, planOf, type PlanOptions } from '../../chaos/plan.js';
import { Random } from '../../harness/random.js';

const questions = catalogue(new Random(1));
const options: PlanOptions = { seed: 1, mix: PRESETS.mixed.mix, maxTokens: 9, questions };
const plans = Array.from({ length: 2_000 }, (_, index) => planOf(index, options));

test('a request depends only on the seed and its number', () => {
  expect(planOf(1_234, options).call).toEqual(plans[1_234]!.call);
  const others = plans.map((_, index) => planOf(index, { ...options, seed: 2 }).call);
  expect(others).not.toEqual(plans.map(({ call }) => call));
});

test('every actor and every dialect occurs', () => {
  expect(new Set(plans.map(({ actor }) => actor))).toEqual(new Set(Object.keys(options.mix)));
  const paths = new Set(plans.filter(({ actor }) => actor === 'plain').map(({ call }) => call.path));
  expect([...paths].sort()).toEqual(
    [
      '/chat',
      '/complete',
      '/complete/stream',
      '/execute',
      '/llm',
      '/v1/chat/completions',
      '/v1/completions',
    ].sort(),
  );
});

test('questions in flight are all different', () => {
  const asked = plans.map(({ asked }) => asked);
  for (let first = 0; first + 100 <= asked.length; first += 50) {
    const some = asked.slice(first, first + 100).flatMap((one) => ('question' in one ? one.question : []));
    expect(new Set(some).size).toBe(some.length);
  }
});

test('every question has temperature 0 and the allowed length', () => {
  for (const { actor, call } of plans)
    if (actor !== 'bad') {
      expect(call.body).toContain('"temperature":0');
      expect(call.body).toContain('"max_tokens":9');
    }
});

test('another seed gives another order and other names', () => {
  const others = catalogue(new Random(2));
  expect(others).toHaveLength(new Set(others).size);
  expect(others).not.toEqual(questions);
});
