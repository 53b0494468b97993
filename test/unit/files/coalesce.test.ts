import { coalesce } from '../../../src/files/coalesce.js';

test('calls during a run share the run that follows it', async () => {
  let runs = 0;
  let release!: () => void;
  const held = new Promise<void>((resolve) => (release = resolve));
  const run = coalesce(async () => {
    runs += 1;
    await held;
  });
  const first = run();
  await Promise.resolve();
  await Promise.resolve();
  expect(runs).toBe(1);
  const others = Array.from({ length: 1_000 }, () => run());
  release();
  await Promise.all([first, ...others]);
  expect(runs).toBe(2);
});

test('a failed run rejects the calls it was for, and the next one runs', async () => {
  const outcomes = [() => Promise.reject(new Error('no')), () => Promise.resolve()];
  const run = coalesce(() => outcomes.shift()!());
  await expect(run()).rejects.toThrow('no');
  await expect(run()).resolves.toBeUndefined();
});
