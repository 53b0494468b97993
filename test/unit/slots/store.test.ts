import { appendFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { jest } from '@jest/globals';
import { pino } from 'pino';
import { SlotStore, type Conversation, type SlotStoreOptions } from '../../../src/slots/store.js';
import { fakeTimeouts } from '../../support/clock.js';
import { emptyFolder, modeOf } from '../../support/folder.js';

const root = emptyFolder();
const folder = join(root, 'slots');
const stores: SlotStore[] = [];
const HOUR = 3_600_000;

let lines: any[] = [];
let onLine: (line: any) => void;
let revoked = new Set<string>();
let now = 0;

beforeEach(() => {
  lines = [];
  onLine = () => undefined;
  revoked = new Set();
  now = 1_700_000_000_000;
});

afterEach(async () => {
  for (const store of stores.splice(0)) await store.close();
});

const write = (text: string) => {
  const line = JSON.parse(text);
  lines.push(line);
  onLine(line);
};

async function open(options: Partial<SlotStoreOptions> = {}): Promise<SlotStore> {
  const store = new SlotStore({
    folder,
    budget: 1000,
    lifetimeMs: HOUR,
    isCurrent: (owner) => !revoked.has(owner),
    logger: pino({ level: 'trace' }, { write }),
    now: () => now,
    ...options,
  });
  stores.push(store);
  await store.open();
  return store;
}

/** The same files, after an end in good order. */
async function reopen(store: SlotStore, options: Partial<SlotStoreOptions> = {}): Promise<SlotStore> {
  await store.close();
  return open(options);
}

const conversation = (owner = 'anna', prefix = [1, 2, 3, 4], fits = 'model'): Conversation => ({
  owner,
  fits,
  prefix,
});

const save = (store: SlotStore, of: Conversation, content = 'state') =>
  store.save(of, (name) => writeFile(join(folder, name), content));

/** What a restore reads; undefined if nothing is found or it is refused. */
async function restored(store: SlotStore, of: Conversation): Promise<string | undefined> {
  const found = store.find(of);
  let content: string | undefined;
  if (found)
    await store.restore(
      found.saved,
      async (name) => void (content = readFileSync(join(folder, name), 'utf8')),
    );
  return content;
}

/** The files but for the lock. */
const files = () => readdirSync(folder).filter((file) => file !== 'lock');

test('a saved slot is found by the next turn of its conversation, once', async () => {
  const store = await open();
  await save(store, conversation());
  expect(await restored(store, conversation('anna', [1, 2, 3, 4, 5, 6]))).toBe('state');
  expect(store.find(conversation())).toBeUndefined();
  expect(files()).toEqual([]);
});

test('it is found by the next process', async () => {
  const store = await open();
  await save(store, conversation());
  expect(await restored(await reopen(store), conversation())).toBe('state');
});

test('it is not found for another caller, another model or another conversation', async () => {
  const store = await open();
  await save(store, conversation());
  expect(store.find(conversation('ben'))).toBeUndefined();
  expect(store.find(conversation('anna', [1, 2, 3, 4], 'other'))).toBeUndefined();
  expect(store.find(conversation('anna', [1, 9, 9, 9]))).toBeUndefined();
  expect(store.find(conversation('anna', [1, 2, 9]))?.blocks).toBe(2);
});

test('of several the one with most of the prompt is found, the latest of equals', async () => {
  const store = await open();
  for (const prefix of [
    [1, 2],
    [1, 2, 3, 4],
    [1, 2, 3, 4],
  ]) {
    await save(store, conversation('anna', prefix));
    now += 1;
  }
  const { saved, blocks } = store.find(conversation('anna', [1, 2, 3, 4, 5]))!;
  expect([blocks, saved.saved]).toEqual([4, now - 1]);
});

test('folder and files are private, and names say nothing', async () => {
  mkdirSync(folder, { mode: 0o755 });
  const store = await open();
  let whileWriting: string | undefined;
  await store.save(conversation(), async (name) => {
    whileWriting = modeOf(join(folder, name));
    writeFileSync(join(folder, name), 'state');
  });
  await save(store, conversation());
  expect([whileWriting, modeOf(folder)]).toEqual(['600', '700']);
  expect(files()).toHaveLength(4);
  for (const file of files()) {
    expect(modeOf(join(folder, file))).toBe('600');
    expect(file).toMatch(/^[0-9a-f]{32}\.(slot|json)$/);
  }
});

test('over the budget the oldest go, also when a smaller budget is configured', async () => {
  const store = await open({ budget: 100 });
  for (const owner of ['a', 'b', 'c']) {
    await save(store, conversation(owner), 'x'.repeat(40));
    now += 1;
  }
  expect(['a', 'b', 'c'].map((owner) => store.find(conversation(owner)) !== undefined)).toEqual([
    false,
    true,
    true,
  ]);
  expect(files()).toHaveLength(4);
  const next = await reopen(store, { budget: 40 });
  expect(next.find(conversation('b'))).toBeUndefined();
  expect(await restored(next, conversation('c'))).toBe('x'.repeat(40));
});

test('a file larger than the budget is not kept and costs no other its place', async () => {
  const store = await open({ budget: 100 });
  await save(store, conversation('a'));
  expect(await save(store, conversation('b'), 'x'.repeat(101))).toBeUndefined();
  expect(store.find(conversation('a'))).toBeDefined();
  expect(files()).toHaveLength(2);
});

test('without a budget everything is erased', async () => {
  const store = await open();
  await save(store, conversation());
  await reopen(store, { budget: 0 });
  expect(files()).toEqual([]);
});

test('an expired slot is not found and is erased, and so is one from the future', async () => {
  const store = await open();
  await save(store, conversation('a'));
  now += HOUR;
  expect(store.find(conversation('a'))).toBeUndefined();
  await save(store, conversation('b'));
  expect(files()).toHaveLength(2);
  now -= 2 * HOUR;
  await reopen(store);
  expect(files()).toEqual([]);
});

test('an expired slot is erased while the server runs, whether or not anybody asks for it', async () => {
  fakeTimeouts();
  const store = await open();
  await save(store, conversation());
  now += HOUR;
  jest.advanceTimersByTime(60_000);
  while (files().length > 0) await new Promise(setImmediate);
});

test('slots of a revoked key are erased and no more are kept', async () => {
  const store = await open();
  await save(store, conversation('anna'));
  await save(store, conversation('ben'));
  revoked.add('anna');
  await store.eraseRevoked();
  expect(files()).toHaveLength(2);
  expect(await save(store, conversation('anna'))).toBeUndefined();
  expect(await restored(store, conversation('ben'))).toBe('state');
});

test('slots of a key that was revoked while no server ran are erased by the next one', async () => {
  const store = await open();
  await save(store, conversation('anna'));
  await store.close();
  revoked.add('anna');
  await open();
  expect(files()).toEqual([]);
});

test('a key that is revoked while its slot is written leaves nothing', async () => {
  const store = await open();
  await store.save(conversation('anna'), async (name) => {
    await writeFile(join(folder, name), 'state');
    revoked.add('anna');
    await store.eraseRevoked();
  });
  expect(files()).toEqual([]);
});

test('what a crash left of a save or a restore is erased by the next process', async () => {
  const store = await open();
  await save(store, conversation('whole'));
  const name = 'f'.repeat(32);
  for (const file of [name, `${name.replace(/f/g, 'e')}.slot`, `${name.replace(/f/g, 'd')}.json`])
    writeFileSync(join(folder, file), '{}');
  const next = await reopen(store);
  expect(files()).toHaveLength(2);
  expect(await restored(next, conversation('whole'))).toBe('state');
});

test('while a slot is written or restored, its file is none that the next process would restore', async () => {
  const store = await open();
  const whole = () => files().filter((file) => file.endsWith('.slot')).length;
  const seen: number[] = [];
  await store.save(conversation(), async () => void seen.push(whole()));
  seen.push(whole());
  await store.restore(store.find(conversation())!.saved, async () => void seen.push(whole()));
  expect(seen).toEqual([0, 1, 0]);
});

test('a slot that cannot be written or read leaves nothing', async () => {
  const store = await open();
  const broken = async () => {
    throw new Error('broken');
  };
  await expect(store.save(conversation(), broken)).rejects.toThrow('broken');
  expect(files()).toEqual([]);
  await save(store, conversation());
  await expect(store.restore(store.find(conversation())!.saved, broken)).rejects.toThrow('broken');
  expect(files()).toEqual([]);
});

test.each([
  ['longer', (file: string) => appendFileSync(file, 'more')],
  ['different', (file: string) => writeFileSync(file, 'statE')],
])('a file that has become %s is erased and not restored', async (_, damage) => {
  const store = await open();
  await save(store, conversation());
  damage(
    join(
      folder,
      files().find((file) => file.endsWith('.slot'))!,
    ),
  );
  expect(await restored(store, conversation())).toBeUndefined();
  expect(files()).toEqual([]);
  expect(lines.filter(({ event }) => event === 'slot_damaged')).toHaveLength(1);
});

test.each(['not JSON', '{}', '{"owner":"anna","fits":"model"}'])(
  'a file with the note %j is erased',
  async (note) => {
    const store = await open();
    await save(store, conversation());
    writeFileSync(
      join(
        folder,
        files().find((file) => file.endsWith('.json'))!,
      ),
      note,
    );
    const next = await reopen(store);
    expect(next.find(conversation())).toBeUndefined();
    expect(files()).toEqual([]);
  },
);

test('files with other names are left alone', async () => {
  mkdirSync(folder);
  writeFileSync(join(folder, 'mine.slot'), 'x');
  await open();
  expect(files()).toEqual(['mine.slot']);
});

test('a second process keeps nothing until the first has ended, and then has its files', async () => {
  const first = await open();
  await save(first, conversation('a'));
  const second = await open();
  expect(lines.filter(({ event }) => event === 'slots_wait')).toHaveLength(1);
  expect(second.find(conversation('a'))).toBeUndefined();
  expect(await save(second, conversation('b'))).toBeUndefined();
  const taken = new Promise((resolve) => (onLine = resolve));
  await first.close();
  await taken;
  expect(await restored(second, conversation('a'))).toBe('state');
});
