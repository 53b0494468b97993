import fc from 'fast-check';
import { Heap } from '../../../src/pool/heap.js';

interface Item {
  rank: number;
  readonly id: number;
}

/** A heap that counts its comparisons. */
function counting() {
  const counter = { comparisons: 0 };
  const heap = new Heap<Item>((a, b) => {
    counter.comparisons += 1;
    return a.rank === b.rank ? a.id < b.id : a.rank < b.rank;
  });
  return { heap, counter };
}

test('the first item ranks before all others after any sequence of puts, moves and deletes', () => {
  const step = fc.record({ id: fc.nat(15), rank: fc.nat(5), gone: fc.boolean() });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
      const { heap } = counting();
      const items = Array.from({ length: 16 }, (_, id): Item => ({ id, rank: 0 }));
      const inside = new Set<Item>();
      for (const { id, rank, gone } of steps) {
        const item = items[id]!;
        if (gone) {
          heap.delete(item);
          inside.delete(item);
        } else {
          item.rank = rank;
          heap.put(item);
          inside.add(item);
        }
        const [first] = [...inside].sort((a, b) => a.rank - b.rank || a.id - b.id);
        expect(heap.first).toBe(first);
      }
    }),
  );
});

test('an operation on 10,000 items takes at most two comparisons per level of the 14', () => {
  const { heap, counter } = counting();
  const items = Array.from({ length: 10_000 }, (_, id): Item => ({ id, rank: (id * 7919) % 10_007 }));
  const move = (item: Item) => {
    item.rank = (item.rank * 31) % 9973;
    heap.put(item);
  };
  for (const operation of [(item: Item) => heap.put(item), move, (item: Item) => heap.delete(item)]) {
    for (const item of items) {
      counter.comparisons = 0;
      operation(item);
      expect(counter.comparisons).toBeLessThanOrEqual(2 * 14 + 2);
    }
  }
  expect(heap.first).toBeUndefined();
});
