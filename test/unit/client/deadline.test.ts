import { Deadline } from '../../../src/client/http.js';
import { TimeoutError } from '../../../src/client/index.js';
import { failure } from './helpers.js';

const { jest } = import.meta;

beforeEach(() => void jest.useFakeTimers());
afterEach(() => void jest.useRealTimers());

/** Settles only when the signal does, like fetch. */
const hang = (signal: AbortSignal): Promise<never> =>
  new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)));

test('a deadline does not run while nothing is awaited', async () => {
  const deadline = new Deadline(1000, undefined);
  expect(await deadline.run(async () => 1)).toBe(1);
  jest.advanceTimersByTime(3_600_000);
  expect(await deadline.run(async () => 2)).toBe(2);
  expect(jest.getTimerCount()).toBe(0);
});

test('each wait has the whole timeout', async () => {
  const deadline = new Deadline(1000, undefined);
  await deadline.run(async () => jest.advanceTimersByTime(999));
  await deadline.run(async () => jest.advanceTimersByTime(999));
  const waiting = failure(deadline.run(() => hang(deadline.signal)));
  jest.advanceTimersByTime(1000);
  expect(await waiting).toBeInstanceOf(TimeoutError);
});

test('a fixed end applies however often something arrives', async () => {
  const deadline = new Deadline(1000, undefined);
  deadline.endWithin(1500);
  await deadline.run(async () => jest.advanceTimersByTime(999));
  const waiting = failure(deadline.run(() => hang(deadline.signal)));
  jest.advanceTimersByTime(501);
  expect(await waiting).toBeInstanceOf(TimeoutError);
  deadline.close();
  expect(jest.getTimerCount()).toBe(0);
});

test("a closed deadline no longer listens to the caller's signal", () => {
  const caller = new AbortController();
  const deadline = new Deadline(1000, caller.signal);
  let removed = 0;
  caller.signal.removeEventListener = () => void (removed += 1);
  deadline.close();
  expect(removed).toBe(1);
  expect(deadline.signal.aborted).toBe(true);
});
