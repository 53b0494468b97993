import { SlotTable } from '../../../src/slots/slot-table.js';

const NOWHERE = 0;

/** Takes a slot for a prompt and gives it back with the conversation. */
function run(table: SlotTable, owner: string, prefix: number[]): number {
  const { id } = table.take(prefix, NOWHERE)!;
  table.release(id, { owner, prefix });
  return id;
}

test('a prompt takes the slot that has most of it, otherwise the least recently used one', () => {
  const table = new SlotTable(3);
  const [first, second, third] = [run(table, 'a', [1, 2]), run(table, 'a', [5, 6]), run(table, 'a', [8, 9])];
  expect(new Set([first, second, third]).size).toBe(3);
  expect(run(table, 'a', [5, 6, 7])).toBe(second);
  expect(run(table, 'a', [1, 3])).toBe(first);
  expect(run(table, 'a', [4])).toBe(third);
});

test('a slot with as much as can be had elsewhere is left alone', () => {
  const table = new SlotTable(2);
  const first = run(table, 'a', [1, 2, 3]);
  expect(table.take([1, 2, 4], 2)!.id).not.toBe(first);
});

test('a busy slot is not taken, and with all of them busy there is none', () => {
  const table = new SlotTable(2);
  const first = run(table, 'a', [1]);
  expect(table.take([1], NOWHERE)!.id).toBe(first);
  expect(table.take([1], NOWHERE)!.id).not.toBe(first);
  expect(table.take([1], NOWHERE)).toBeUndefined();
});

test('a slot holds the conversation that was evaluated last in it, whoever had it before', () => {
  const table = new SlotTable(1);
  run(table, 'anna', [1, 2]);
  expect(table.held()).toEqual([{ id: 0, owner: 'anna', prefix: [1, 2] }]);
  run(table, 'ben', [1, 3]);
  expect(table.held()).toEqual([{ id: 0, owner: 'ben', prefix: [1, 3] }]);
});

test('a slot whose request runs, or may not have been evaluated, holds no conversation of anybody', () => {
  const table = new SlotTable(1);
  run(table, 'anna', [1, 2]);
  const { id } = table.take([1, 2], NOWHERE)!;
  expect(table.held()).toEqual([]);
  table.release(id);
  expect(table.held()).toEqual([]);
  expect(table.take([1, 2, 3], NOWHERE)).toEqual({ id, blocks: 2 });
});

test('the last used conversations come first', () => {
  const table = new SlotTable(3);
  run(table, 'a', [1]);
  run(table, 'a', [2]);
  run(table, 'a', [3]);
  run(table, 'a', [1, 4]);
  expect(table.held().map(({ prefix }) => prefix)).toEqual([[1, 4], [3], [2]]);
});
