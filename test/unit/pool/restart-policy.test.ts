import { RestartPolicy } from '../../../src/pool/restart-policy.js';

/** A policy without jitter, which means the longest delays. */
const policy = () => new RestartPolicy(() => 1);

const exits = (subject: RestartPolicy, times: number[], served = false) =>
  times.map((at) => subject.exited(at, served));

test('the first workers that exit are replaced immediately', () => {
  expect(exits(policy(), [0, 1, 2, 3])).toEqual([0, 0, 0, 0]);
});

test('five exits without service in 30 s start a crash loop, whose delay doubles from 0.25 s to 30 s', () => {
  const subject = policy();
  const times = Array.from({ length: 14 }, (_, i) => i);
  expect(exits(subject, times).slice(4)).toEqual([
    250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000,
  ]);
  expect(subject.open).toBe(true);
});

test('exits without service that are further apart do not start a crash loop', () => {
  const subject = policy();
  expect(exits(subject, [0, 10_000, 20_000, 30_000, 40_000, 50_000])).toEqual([0, 0, 0, 0, 0, 0]);
  expect(subject.open).toBe(false);
});

test('exits of workers that have served do not count', () => {
  const subject = policy();
  expect(exits(subject, [0, 1, 2, 3, 4, 5, 6, 7], true).every((delay) => delay === 0)).toBe(true);
  expect(subject.open).toBe(false);
});

test('a worker that serves a request ends the crash loop', () => {
  const subject = policy();
  exits(subject, [0, 1, 2, 3, 4]);
  subject.served();
  expect(subject.open).toBe(false);
  expect(subject.exited(5, false)).toBe(0);
});

test('jitter shortens the delay by half at most', () => {
  const subject = new RestartPolicy(() => 0);
  expect(exits(subject, [0, 1, 2, 3, 4]).at(-1)).toBe(125);
});

test('a crash loop ends after five minutes without an exit, even without requests', () => {
  const subject = policy();
  exits(subject, [0, 1, 2, 3, 4, 5, 6, 7]);
  expect(subject.open).toBe(true);
  expect(subject.exited(5 * 60_000 + 8, false)).toBe(0);
  expect(subject.open).toBe(false);
});
