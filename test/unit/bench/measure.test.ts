import { cpuPerRequest, cpuPerToken, errorCount, repliesFor, type Sample } from '../../../bench/measure.js';

const sample = (fields: Partial<Sample>): Sample => ({
  ...{ eventsPerSecond: 0, firstTokenP50: 0, firstTokenP99: 0, gapP50: 0, gapP99: 0 },
  ...{ events: 0, errors: {}, replies: 0, cpuMs: 0 },
  ...fields,
});

test('processor time is counted in microseconds for each token and milliseconds for each request', () => {
  const measured = sample({ cpuMs: 200, events: 4000, replies: 50 });
  expect(cpuPerToken(measured)).toBe(50);
  expect(cpuPerRequest(measured)).toBe(4);
});

test('errors of all kinds count', () => {
  expect(errorCount(sample({ errors: { cut: 2, 'status 500': 3 } }))).toBe(5);
});

describe('replies of a measurement', () => {
  it('are at least as many as the events need', () => {
    expect(repliesFor(1, 64, 4096)).toBe(64);
  });

  it('are the same number for each stream', () => {
    expect(repliesFor(8, 64, 1000) % 8).toBe(0);
    expect(repliesFor(128, 64, 4096)).toBe(128);
  });
});
