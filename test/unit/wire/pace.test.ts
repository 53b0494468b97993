import { jest } from '@jest/globals';
import { Pace } from '../../../src/wire/pace.js';

let now: number;
let held: boolean;
let calls: string[];
let pace: Pace;

beforeEach(() => {
  now = 0;
  held = false;
  calls = [];
  jest.spyOn(performance, 'now').mockImplementation(() => now);
  const stream = { pause: () => calls.push('pause'), resume: () => calls.push('resume') };
  pace = new Pace(stream, () => held);
});
afterEach(() => jest.restoreAllMocks());

/** Works on a chunk for so long. */
const chunk = (ms: number) => {
  const began = now;
  now += ms;
  pace.note(began);
};
const nextIteration = () => new Promise((resolve) => setImmediate(resolve));

test('a stream whose chunks take long together rests until the next iteration', async () => {
  chunk(5);
  expect(calls).toEqual([]);
  chunk(5);
  expect(calls).toEqual(['pause']);
  await nextIteration();
  expect(calls).toEqual(['pause', 'resume']);
});

test('a stream that its reader holds back stays paused', async () => {
  chunk(9);
  held = true;
  await nextIteration();
  expect(calls).toEqual(['pause']);
});

test('chunks with time between them never pause the stream', () => {
  for (let count = 0; count < 100; count += 1) {
    chunk(1);
    now += 1;
  }
  expect(calls).toEqual([]);
});
