import { judge, rowsOf } from '../../../bench/comparison/result.js';
import type { Sample } from '../../../bench/measure.js';
import { nextPrompts, prompts, type Target } from '../../../bench/targets/target.js';

const sample = (eventsPerSecond: number, fields: Partial<Sample> = {}): Sample => ({
  ...{ eventsPerSecond, firstTokenP50: 0, firstTokenP99: 0, gapP50: 0, gapP99: 0 },
  ...{ events: 100, errors: {}, replies: 10, cpuMs: 10 },
  ...fields,
});

const target = { name: 'nginx' } as Target;

test('a target is compared with the direct rate of its own round', () => {
  const samples = [sample(90), sample(40), sample(80, { errors: { cut: 2 } })];
  const beside = [sample(100), sample(50), sample(80)];
  const [direct, row] = rowsOf('demo', { streams: 8, tokens: 10 }, [{ target, samples, beside }]);
  expect(row).toMatchObject({
    target: 'nginx',
    ofDirect: { median: 0.9, min: 0.8, max: 1 },
    eventsPerSecond: { median: 80 },
    cpuPerToken: { median: 100 },
    cpuPerRequest: { median: 1 },
    ofBare: undefined,
    errors: 2,
    reasons: ['cut'],
  });
  expect(direct).toMatchObject({ target: 'direct', ofDirect: undefined, rates: [100, 50, 80] });
});

/** Rows of LMServ beside the direct endpoint and bare, one round. */
function rows(load: { streams: number; tokens: number }, lmserv: Sample, name = 'lmserv-openai') {
  const beside = [sample(100, { firstTokenP50: 5 })];
  return rowsOf('demo', load, [
    { target: { name: 'bare' } as Target, samples: [sample(90)], beside },
    { target: { name } as Target, samples: [lmserv], beside },
  ]);
}

test('a target is compared with bare in its own round, and its first token with the direct one', () => {
  const row = rows({ streams: 8, tokens: 128 }, sample(45, { cpuMs: 15, firstTokenP50: 7 })).at(-1);
  expect(row).toMatchObject({
    ofBare: { rate: { median: 0.5 }, cpu: { median: 1.5 } },
    firstTokenLater: { median: 2 },
  });
});

describe('goals', () => {
  const verdicts = (...args: Parameters<typeof rows>) =>
    judge(rows(...args)).map(({ goal, met }) => `${goal}: ${met}`);

  it('are met at their limits', () => {
    const lmserv = sample(0.97 * 90, { cpuMs: 12, firstTokenP50: 6 });
    expect(verdicts({ streams: 1, tokens: 128 }, lmserv)).toEqual([
      'CPU per token / bare: true',
      'event rate / bare: true',
      'first token after direct, p50 ms: true',
    ]);
  });

  it('are missed beyond their limits', () => {
    const lmserv = sample(0.96 * 90, { cpuMs: 12.1, firstTokenP50: 8.1 });
    expect(verdicts({ streams: 8, tokens: 128 }, lmserv)).toEqual([
      'CPU per token / bare: false',
      'event rate / bare: false',
      'first token after direct, p50 ms: false',
    ]);
  });

  it('judge the cost of a request by one-token replies alone', () => {
    expect(verdicts({ streams: 1, tokens: 1 }, sample(1, { cpuMs: 20 }))).toEqual([
      'CPU per request / bare: true',
    ]);
    expect(verdicts({ streams: 1, tokens: 1 }, sample(1, { cpuMs: 21 }))).toEqual([
      'CPU per request / bare: false',
    ]);
  });

  it('are for the route that bare imitates alone', () => {
    expect(verdicts({ streams: 1, tokens: 128 }, sample(1), 'nginx')).toEqual([]);
  });

  it('are missed where nothing was measured', () => {
    expect(verdicts({ streams: 32, tokens: 128 }, sample(NaN))).toEqual(['event rate / bare: false']);
  });
});

test('prompts differ from their first letters on, have one form, and are used once', () => {
  const texts = prompts(998, 4);
  expect(new Set(texts.map((text) => text.slice(0, 7))).size).toBe(4);
  expect(new Set(texts.map((text) => text.split(' ').length)).size).toBe(1);
  const used = [...nextPrompts(5), ...nextPrompts(5)];
  expect(new Set(used).size).toBe(10);
});
