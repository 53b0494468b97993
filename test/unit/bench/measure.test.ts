import { cpuPerEvent, errorCount, repliesFor, type Sample } from '../../../bench/measure.js';

const sample = (fields: Partial<Sample>): Sample => ({
  ...{ eventsPerSecond: 0, firstTokenP50: 0, firstTokenP99: 0, gapP50: 0, gapP99: 0 },
  ...{ events: 0, errors: {}, wallMs: 0, cpuMs: 0, clientCpuMs: 0 },
  ...fields,
});

test('processor time an event is taken over all rounds, because the kernel counts in coarse steps', () => {
  expect(cpuPerEvent([sample({ cpuMs: 0, events: 100 }), sample({ cpuMs: 10, events: 100 })])).toBe(50);
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
