import { rowsOf } from '../../../bench/comparison/result.js';
import type { Sample } from '../../../bench/measure.js';
import type { Target } from '../../../bench/targets/target.js';
import { nextPrompts, prompts } from '../../../bench/targets/target.js';

const sample = (eventsPerSecond: number, fields: Partial<Sample> = {}): Sample => ({
  ...{ eventsPerSecond, firstTokenP50: 0, firstTokenP99: 0, gapP50: 0, gapP99: 0 },
  ...{ events: 100, errors: {}, wallMs: 0, cpuMs: 10, clientCpuMs: 1 },
  ...fields,
});

const target = { name: 'nginx' } as Target;

test('a target is compared with the direct rate of its own round', () => {
  const samples = [sample(90), sample(40), sample(80, { errors: { cut: 2 } })];
  const beside = [sample(100), sample(50), sample(80)];
  const [direct, row] = rowsOf('demo', 8, [{ target, samples, beside }]);
  expect(row).toMatchObject({
    target: 'nginx',
    ofDirect: { median: 0.9, min: 0.8, max: 1 },
    eventsPerSecond: { median: 80 },
    cpuPerEvent: 100,
    errors: 2,
    reasons: ['cut'],
  });
  expect(direct).toMatchObject({ target: 'direct', ofDirect: undefined, rates: [100, 50, 80] });
});

test('prompts differ from their first letters on, have one form, and are used once', () => {
  const texts = prompts(998, 4);
  expect(new Set(texts.map((text) => text.slice(0, 7))).size).toBe(4);
  expect(new Set(texts.map((text) => text.split(' ').length)).size).toBe(1);
  const used = [...nextPrompts(5), ...nextPrompts(5)];
  expect(new Set(used).size).toBe(10);
});
