import { RoutingPolicy, RoutingPolicyError } from '../../../../src/dialects/llm-connect/routing-policy.js';
import type { RoutingPolicyOptions } from '../../../../src/dialects/llm-connect/routing-policy.js';

const rules = [
  { taskType: 'triage', model: 'large', maxCostPer1k: 0.02 },
  { taskType: 'triage', model: 'medium', maxCostPer1k: 0.05 },
  { taskType: 'summary', model: 'small' },
];

function thrownBy(action: () => unknown): unknown {
  try {
    action();
  } catch (error) {
    return error;
  }
  return undefined;
}

describe('resolve', () => {
  const policy = new RoutingPolicy({ rules, fallback: 'cheap' });

  test.each([
    ['the first rule of its type', 'triage', undefined, 'large'],
    ['the first rule within its cap', 'triage', 0.01, 'large'],
    ['a cost equal to the cap', 'triage', 0.02, 'large'],
    ['the next rule when the first one is too dear', 'triage', 0.03, 'medium'],
    ['the fallback above every cap', 'triage', 0.06, 'cheap'],
    ['a rule without a cap at any cost', 'summary', 1e9, 'small'],
    ['nothing is free', 'triage', 0, 'large'],
    ['the fallback for an unknown type', 'poetry', undefined, 'cheap'],
    ['types are compared as they are', 'Triage', 0.01, 'cheap'],
    ['a name of the language itself is an unknown type', '__proto__', undefined, 'cheap'],
  ])('%s', (_name, taskType, cost, model) => {
    expect(policy.resolve(taskType, cost)).toBe(model);
  });

  test('applies a cap of 0 only to a cost of 0', () => {
    const free = new RoutingPolicy({
      rules: [{ taskType: 'a', model: 'free', maxCostPer1k: 0 }],
      fallback: 'paid',
    });
    expect(free.resolve('a', 0)).toBe('free');
    expect(free.resolve('a', 0.001)).toBe('paid');
  });

  test('returns the fallback without rules', () => {
    expect(new RoutingPolicy({ rules: [], fallback: 'cheap' }).resolve('any')).toBe('cheap');
  });

  test.each([
    ['poetry', undefined, 'task type "poetry" has no rule, and there is no fallback'],
    ['triage', 1, 'task type "triage" costs more than its rules allow, and there is no fallback'],
  ])('throws a typed error without a fallback for %s at %s', (taskType, cost, message) => {
    const error = thrownBy(() => new RoutingPolicy({ rules }).resolve(taskType, cost));
    expect(error).toBeInstanceOf(RoutingPolicyError);
    expect(error).toMatchObject({ name: 'RoutingPolicyError', code: 'no_route', message });
  });

  test.each([
    ['', undefined],
    ['  ', undefined],
    [7 as unknown as string, undefined],
    ['triage', NaN],
    ['triage', Infinity],
    ['triage', -1],
    ['triage', '0.1' as unknown as number],
  ])('refuses invalid arguments, with or without a fallback: %j at %s', (taskType, cost) => {
    expect(thrownBy(() => policy.resolve(taskType, cost))).toMatchObject({ code: 'invalid_request' });
  });
});

describe('the rules', () => {
  const of = (value: unknown) => value as RoutingPolicyOptions;

  test.each([
    ['rules', of(undefined)],
    ['rules', of({})],
    ['rules', of({ rules: { taskType: 'a', model: 'b' } })],
    ['rules.0', of({ rules: [null] })],
    ['rules.0.taskType', of({ rules: [{ model: 'b' }] })],
    ['rules.0.taskType', { rules: [{ taskType: ' ', model: 'b' }] }],
    ['rules.1.model', { rules: [rules[0]!, { taskType: 'a', model: '' }] }],
    ['rules.0.maxCostPer1k', { rules: [{ taskType: 'a', model: 'b', maxCostPer1k: NaN }] }],
    ['rules.0.maxCostPer1k', { rules: [{ taskType: 'a', model: 'b', maxCostPer1k: -0.1 }] }],
    ['rules.0.maxCostPer1k', of({ rules: [{ taskType: 'a', model: 'b', maxCostPer1k: '1' }] })],
    ['fallback', { rules, fallback: '' }],
    ['fallback', of({ rules, fallback: 7 })],
  ])('are invalid with the path in the error: %s', (path, options) => {
    const error = thrownBy(() => new RoutingPolicy(options));
    expect(error).toBeInstanceOf(RoutingPolicyError);
    expect(error).toMatchObject({ code: 'invalid_policy' });
    expect(String(error)).toContain(`: ${path} must be `);
  });

  test('are copied and immutable', () => {
    const mine = rules.map((rule) => ({ ...rule }));
    const policy = new RoutingPolicy({ rules: mine });
    mine[0]!.model = 'changed';
    mine.pop();
    expect(policy.resolve('triage')).toBe('large');
    expect(policy.resolve('summary')).toBe('small');
    expect(Object.isFrozen(policy.rules) && Object.isFrozen(policy.rules[0])).toBe(true);
  });
});
