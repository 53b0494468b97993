import { writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import path from 'node:path';
import { execa } from 'execa';
import { withLock } from '../../../src/install/early/lock.mjs';
import { emptyFolder } from '../../support/folder.js';

const folder = emptyFolder();
const file = path.join(folder, 'sub/a.lock');

/** The id of a process that has ended. */
async function deadPid(): Promise<number> {
  const child = execa(process.execPath, ['-e', '']);
  await child;
  return child.pid ?? 0;
}

test('tasks take turns', async () => {
  const steps: string[] = [];
  const waited: unknown[] = [];
  let release!: () => void;
  const gate = new Promise<void>((resolve) => (release = resolve));
  const first = withLock(file, {}, async () => {
    steps.push('first begins');
    await gate;
    steps.push('first ends');
  });
  const onWait = (holder: unknown) => {
    waited.push(holder);
    release();
  };
  await Promise.all([first, withLock(file, { onWait }, async () => steps.push('second'))]);
  expect(steps).toEqual(['first begins', 'first ends', 'second']);
  expect(waited).toEqual([process.pid]);
});

test('a failed task gives the lock back', async () => {
  const failure = new Error('no');
  await expect(withLock(file, {}, () => Promise.reject(failure))).rejects.toBe(failure);
  await expect(withLock(file, {}, () => Promise.resolve('yes'))).resolves.toBe('yes');
});

test('the lock of a process that died is taken over, by one of several', async () => {
  await withLock(file, {}, () => Promise.resolve());
  await writeFile(file, JSON.stringify({ pid: await deadPid(), host: hostname() }));
  let inside = 0;
  const most: number[] = [];
  const task = async (): Promise<void> => {
    most.push((inside += 1));
    await new Promise(setImmediate);
    inside -= 1;
  };
  await Promise.all([1, 2, 3, 4].map(() => withLock(file, {}, task)));
  expect(most).toEqual([1, 1, 1, 1]);
});

test('a reused process id is told from the holder by its start time', async () => {
  await withLock(file, {}, () => Promise.resolve());
  await writeFile(file, JSON.stringify({ pid: process.pid, host: hostname(), started: '1' }));
  await expect(withLock(file, {}, () => Promise.resolve('mine'))).resolves.toBe('mine');
});

test('waiting ends when it is aborted', async () => {
  const controller = new AbortController();
  const stop = new Error('stopped');
  await withLock(file, {}, async () => {
    const onWait = () => controller.abort(stop);
    const waiting = withLock(file, { signal: controller.signal, onWait }, () => Promise.resolve());
    await expect(waiting).rejects.toBe(stop);
  });
});
