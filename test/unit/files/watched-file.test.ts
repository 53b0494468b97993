import { setImmediate } from 'node:timers/promises';
import { WatchedFile } from '../../../src/files/watched-file.js';

/** A watched file in memory, with a clock that only moves by `step` and `look`. */
function setUp(apply: (text: string) => void | Promise<void> = () => undefined) {
  const file = { text: 'first' as string | Error, reads: 0 };
  const applied: string[] = [];
  const errors: string[] = [];
  const waiting: { ms: number; end: () => void }[] = [];
  const watched = new WatchedFile({
    text: 'first',
    read: async () => {
      file.reads += 1;
      if (file.text instanceof Error) throw file.text;
      return { text: file.text, mode: 0o600 };
    },
    apply: async ({ text }) => {
      await apply(text);
      applied.push(text);
    },
    onError: (error) => errors.push(String(error)),
    wait: (ms) => new Promise((end) => waiting.push({ ms, end })),
  });
  /** How long the watcher waits now, in milliseconds. */
  const waits = async (): Promise<number> => {
    while (waiting.length === 0) await setImmediate();
    return waiting[0]!.ms;
  };
  /** Ends the wait; resolves at the next one, with its milliseconds. */
  const step = async (): Promise<number> => {
    await waits();
    waiting.shift()!.end();
    return waits();
  };
  /** Steps through a whole check, to the wait before the next. */
  const look = async (): Promise<void> => {
    while ((await step()) !== 1_000);
  };
  return { file, applied, errors, watched, step, look, waiting };
}

test('a change is applied once', async () => {
  const { file, applied, watched, look } = setUp();
  watched.watch();
  await look();
  file.text = 'second';
  await look();
  await look();
  expect(applied).toEqual(['second']);
});

test('a file that is being written is applied once it is complete', async () => {
  const { file, applied, errors, watched, step, look } = setUp();
  watched.watch();
  expect(await step()).toBe(1_000);
  for (const text of ['', 'half', 'half and half']) {
    file.text = text;
    expect(await step()).toBe(100);
    expect(applied).toEqual([]);
  }
  await look();
  expect(applied).toEqual(['half and half']);
  expect(errors).toEqual([]);
});

test('a file that keeps changing is applied anyway', async () => {
  const { file, applied, watched, step } = setUp();
  watched.watch();
  await step();
  for (let version = 1; applied.length === 0; version += 1) {
    file.text = `version ${version}`;
    await step();
    expect(version).toBeLessThan(10);
  }
});

test('a file that cannot be read is reported once and applied when it is readable again, even with the same text', async () => {
  const { file, applied, errors, watched, look } = setUp();
  watched.watch();
  for (const reason of ['EACCES', 'EACCES', 'ENOENT']) {
    file.text = new Error(reason);
    await look();
  }
  expect(errors).toEqual(['Error: EACCES', 'Error: ENOENT']);
  file.text = 'first';
  await look();
  await look();
  expect(applied).toEqual(['first']);
});

test('a file that cannot be applied is reported once, until it changes', async () => {
  const { file, applied, errors, watched, look } = setUp((text) => {
    if (text === 'bad') throw new Error('no memory');
  });
  watched.watch();
  file.text = 'bad';
  await look();
  await look();
  expect(errors).toEqual(['Error: no memory']);
  file.text = 'good';
  await look();
  expect(applied).toEqual(['good']);
});

test('an error handler that throws does not stop the checks', async () => {
  const { file, applied, errors, watched, look } = setUp();
  errors.push = () => {
    throw new Error('the log is full');
  };
  watched.watch();
  file.text = new Error('EIO');
  await look();
  file.text = 'second';
  await look();
  expect(applied).toEqual(['second']);
});

test('reload applies even an unchanged file, and does not wait for it to be complete', async () => {
  const { file, applied, errors, watched } = setUp();
  await watched.reload();
  file.text = 'second';
  await watched.reload();
  file.text = new Error('ENOENT');
  await watched.reload();
  await watched.reload();
  expect(applied).toEqual(['first', 'second']);
  expect(errors).toEqual(['Error: ENOENT', 'Error: ENOENT']);
});

test('a thousand reloads at once run the check twice, and the last version is in effect', async () => {
  const running: string[] = [];
  let release!: () => void;
  const held = new Promise<void>((resolve) => (release = resolve));
  const { file, applied, watched } = setUp(async (text) => {
    expect(running).toEqual([]);
    running.push(text);
    await held;
    running.pop();
  });
  const first = watched.reload();
  while (running.length === 0) await setImmediate();
  const others = Array.from({ length: 1_000 }, (_, index) => {
    file.text = `version ${index}`;
    return watched.reload();
  });
  release();
  await Promise.all([first, ...others]);
  expect(applied).toEqual(['first', 'version 999']);
  expect(file.reads).toBe(2);
});

test('nothing is read or applied after close', async () => {
  const { file, applied, watched, step, waiting } = setUp();
  watched.watch();
  await step();
  file.text = 'second';
  expect(await step()).toBe(100);
  watched.close();
  expect(await step()).toBe(1_000);
  const { reads } = file;
  waiting.shift()!.end();
  for (let turn = 0; turn < 10; turn += 1) await setImmediate();
  expect(file.reads).toBe(reads);
  expect(applied).toEqual([]);
  expect(waiting).toEqual([]);
});
