import { EventEmitter, once } from 'node:events';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { pino } from 'pino';
import { ModelSlots } from '../../../src/slots/model-slots.js';
import { SlotStore } from '../../../src/slots/store.js';
import { emptyFolder } from '../../support/folder.js';
import { FAKE, TestPool } from '../../support/pool.js';

/** Workers that do not save or restore their slots as they should. */

const folder = join(emptyFolder(), 'slots');
const HOUR = 3_600_000;

let events: EventEmitter;
let lines: any[];
let store: SlotStore;
beforeEach(() => {
  events = new EventEmitter();
  lines = [];
});
afterEach(() => store.close());

const logged = (event: string) => lines.filter((line) => line.event === event);

/** A pool whose only worker is replaced after each request. */
async function start(extraArgs: string[], saveMs?: number): Promise<TestPool> {
  const write = (text: string) => {
    const line = JSON.parse(text);
    lines.push(line);
    events.emit(line.event, line);
  };
  const logger = pino({ level: 'debug' }, { write });
  store = new SlotStore({ folder, budget: 1e6, lifetimeMs: HOUR, isCurrent: () => true, logger });
  await store.open();
  const slotSaver = new ModelSlots({ name: 'fake', store, ownerOf: ({ name }) => name, logger, saveMs });
  const binary = { path: FAKE, kind: 'llama-server' as const };
  const fake = new TestPool(
    { slotSaver, recycling: { requests: 1 } },
    { binary, slotFolder: folder, extraArgs },
  );
  return fake.ready();
}

/** A turn of one long conversation, after which the worker is replaced. */
async function turn(fake: TestPool): Promise<void> {
  const replaced = fake.next('worker_exit');
  await long(fake);
  await replaced;
}

const long = (fake: TestPool) => fake.ask('word '.repeat(200), undefined, { max_tokens: 2 }).text();

const saved = () => readdirSync(folder).filter((file) => file !== 'lock');

test('after three restores without an effect slots of the model are no longer saved, and those that were are erased', async () => {
  const fake = await start([]);
  await turn(fake);
  expect(saved()).toHaveLength(2);
  await turn(fake);
  await turn(fake);
  expect(logged('slots_given_up')).toEqual([]);
  await turn(fake);
  expect(logged('slots_given_up')).toHaveLength(1);
  await turn(fake);
  expect([logged('slot_saved').length, logged('slot_restored').length]).toEqual([3, 3]);
  expect(saved()).toEqual([]);
});

test('a worker that cannot save its slot ends all the same, and nothing is left', async () => {
  const fake = await start(['--fake-slot-errors']);
  await turn(fake);
  expect(logged('slot_not_saved')[0].reason).toBe('Unable to save or restore slot');
  expect(saved()).toEqual([]);
});

test('a worker that does not finish saving is not waited for longer than the limit', async () => {
  const fake = await start(['--fake-slot-hangs'], 50);
  const notSaved = once(events, 'slot_not_saved');
  await turn(fake);
  await notSaved;
  expect(saved()).toEqual([]);
});

test('a worker that dies while it saves leaves nothing', async () => {
  const fake = await start(['--fake-slot-hangs'], HOUR);
  const [pid] = fake.pool.pids();
  const notSaved = once(events, 'slot_not_saved');
  await long(fake);
  while (saved().length === 0) await new Promise(setImmediate);
  await fake.killOutside(pid);
  await notSaved;
  expect(saved()).toEqual([]);
});

test('a turn that comes while its conversation is being saved waits for it', async () => {
  const fake = await start([]);
  let goOn!: () => void;
  const gate = new Promise<void>((resolve) => (goOn = resolve));
  const other = store.save({ owner: 'x', fits: 'x', prefix: [1] }, () => gate);
  const successor = fake.next('worker_ready');
  await long(fake);
  await successor;
  const next = long(fake);
  while (fake.pool.status().slots.idle > 0) await new Promise(setImmediate);
  goOn();
  await Promise.all([other, next]);
  expect(logged('slot_restored')).toHaveLength(1);
});

test('short conversations are not saved', async () => {
  const fake = await start([]);
  const replaced = fake.next('worker_exit');
  await fake.ask('a few words').text();
  await replaced;
  expect(saved()).toEqual([]);
});
