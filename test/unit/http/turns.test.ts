import type { Response } from 'express';
import { Turns } from '../../../src/http/turns.js';

/** Turns by a clock that only work moves. */
function clocked() {
  let now = 0;
  const done: string[] = [];
  const turns = new Turns(() => now);
  const work = (name: string, ms: number, then?: () => void) =>
    turns.take(() => {
      done.push(name);
      now += ms;
      then?.();
    });
  return { turns, done, work };
}

const iteration = () => new Promise((resolve) => setImmediate(resolve));

test('work runs at once while there is time, and later in order when there is none', async () => {
  const { done, work } = clocked();
  for (const [name, ms] of [
    ['a', 4],
    ['b', 7],
    ['c', 20],
    ['d', 4],
    ['e', 4],
  ] as const)
    work(name, ms);
  expect(done).toEqual(['a', 'b']);
  // The time of the first iteration has been used up before its end.
  await iteration();
  expect(done).toEqual(['a', 'b']);
  await iteration();
  expect(done).toEqual(['a', 'b', 'c']);
  await iteration();
  expect(done).toEqual(['a', 'b', 'c', 'd', 'e']);
});

test('what comes while others wait waits behind them, and each iteration begins with time', async () => {
  const { done, work } = clocked();
  work('a', 50, () => work('b', 50, () => work('c', 1)));
  work('d', 1);
  expect(done).toEqual(['a']);
  for (let count = 0; count < 6; count += 1) await iteration();
  expect(done).toEqual(['a', 'b', 'd', 'c']);
  work('e', 9);
  work('f', 9);
  expect(done.slice(4)).toEqual(['e', 'f']);
});

test('a request whose client has gone meanwhile is dropped', async () => {
  const { turns, done, work } = clocked();
  work('a', 50);
  const responses = [{ destroyed: false }, { destroyed: false }] as { destroyed: boolean }[];
  responses.forEach((response, index) =>
    turns.wait({} as never, response as Response, () => void done.push(`request ${index}`)),
  );
  responses[0]!.destroyed = true;
  for (let count = 0; count < 3; count += 1) await iteration();
  expect(done).toEqual(['a', 'request 1']);
});

test('a source is held back until the next iteration once the time of this one is used up', async () => {
  const { turns, work } = clocked();
  const calls: string[] = [];
  const source = { pause: () => calls.push('pause'), resume: () => calls.push('resume') } as never;
  turns.pace(source);
  work('a', 10);
  expect(calls).toEqual([]);
  turns.pace(source);
  expect(calls).toEqual(['pause']);
  await iteration();
  expect(calls).toEqual(['pause', 'resume']);
  turns.pace(source);
  expect(calls).toEqual(['pause', 'resume']);
});
