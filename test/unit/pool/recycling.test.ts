import { recyclingDue } from '../../../src/pool/recycling.js';
import { ServiceTime } from '../../../src/pool/service-time.js';

const use = { requests: 10, ageMs: 1000, memoryBytes: 500 };

test('a worker without limits is never due for recycling', () => {
  expect(recyclingDue(use, {})).toBeUndefined();
});

test.each([
  [{ requests: 10 }, 'requests'],
  [{ requests: 11 }, undefined],
  [{ ageMs: 1000 }, 'ageMs'],
  [{ ageMs: 1001 }, undefined],
  [{ memoryBytes: 400 }, 'memoryBytes'],
  [{ memoryBytes: 501 }, undefined],
])('a worker with the limits %j is due because of %s', (limits, due) => {
  expect(recyclingDue(use, limits)).toBe(due);
});

test('the memory limit is ignored when the system does not report memory', () => {
  expect(recyclingDue({ ...use, memoryBytes: undefined }, { memoryBytes: 1 })).toBeUndefined();
});

describe('the estimated wait', () => {
  test('is one second before any request has ended', () => expect(new ServiceTime().waitFor(100, 1)).toBe(1));

  test('is the mean time that a slot is held, times the position, divided by the number of slots', () => {
    const time = new ServiceTime();
    time.note(2000);
    expect([time.waitFor(1, 1), time.waitFor(10, 1), time.waitFor(10, 4)]).toEqual([2, 20, 5]);
  });

  test('follows recent requests and is five minutes at most', () => {
    const time = new ServiceTime();
    time.note(1000);
    for (let i = 0; i < 100; i += 1) time.note(10_000);
    expect([time.waitFor(1, 1), time.waitFor(1000, 1)]).toEqual([10, 300]);
  });
});
