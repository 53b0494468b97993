import fc from 'fast-check';
import { FairQueue } from '../../../src/pool/fair-queue.js';

/** A queue whose jobs are known by name, and the name of the next one, which is begun. */
class Named {
  readonly queue = new FairQueue();
  readonly #names = new Map<unknown, { name: string; caller: string }>();

  add(name: string, caller: string, priority = 0): this {
    const run = async () => undefined;
    this.#names.set(run, { name, caller });
    this.queue.enqueue(run, { id: name, caller, priority });
    return this;
  }

  next(): string | undefined {
    const job = this.#names.get(this.queue.dequeue());
    if (job) this.queue.started(job.caller);
    return job?.name;
  }

  all(): string[] {
    return Array.from({ length: this.queue.size }, () => this.next()!);
  }
}

test('one caller: first come, first served', () => {
  expect(new Named().add('1', 'a').add('2', 'a').add('3', 'a').all()).toEqual(['1', '2', '3']);
});

test('callers take turns', () => {
  const named = new Named().add('a1', 'a').add('a2', 'a').add('a3', 'a').add('b1', 'b').add('b2', 'b');
  expect(named.all()).toEqual(['a1', 'b1', 'a2', 'b2', 'a3']);
});

test('a modest caller who comes late is next, however many of a greedy one wait', () => {
  const named = new Named();
  for (let i = 0; i < 100; i += 1) named.add(`g${i}`, 'greedy');
  named.next();
  named.add('m', 'modest');
  expect(named.next()).toBe('m');
});

test('who has fewest running goes first, so slots are shared out evenly', () => {
  const named = new Named().add('g1', 'greedy').add('g2', 'greedy').add('g3', 'greedy');
  named.next();
  named.next();
  named.add('m1', 'modest').add('m2', 'modest');
  expect([named.next(), named.next()]).toEqual(['m1', 'm2']);
  named.queue.finished('greedy');
  named.queue.finished('greedy');
  expect(named.next()).toBe('g3');
});

test('who comes back again and again does not go ahead of who has waited since', () => {
  const named = new Named().add('x1', 'x').add('z1', 'z').add('z2', 'z').add('z3', 'z');
  const order: string[] = [];
  for (let round = 0; round < 6; round += 1) {
    const name = named.next()!;
    order.push(name);
    named.queue.finished(name[0]!);
    if (name.startsWith('x')) named.add(`x${round + 2}`, 'x');
  }
  expect(order.filter((name) => name.startsWith('z'))).toEqual(['z1', 'z2', 'z3']);
});

test('a higher priority goes first, whoever it is', () => {
  const named = new Named().add('batch', 'a', -1).add('normal', 'a').add('resumed', 'a', 1000).add('b', 'b');
  expect(named.all()).toEqual(['resumed', 'b', 'normal', 'batch']);
});

test('what is removed is never run', () => {
  const named = new Named().add('1', 'a').add('2', 'a').add('3', 'b');
  named.queue.remove('1');
  named.queue.remove('3');
  named.queue.remove('unknown');
  expect([named.queue.size, named.all()]).toEqual([1, ['2']]);
});

test('callers that have nothing here leave nothing behind', () => {
  const named = new Named();
  for (let i = 0; i < 1000; i += 1) {
    named.add('x', `caller ${i}`);
    named.next();
    named.queue.finished(`caller ${i}`);
  }
  // A share kept would make the newcomer wait behind it; one forgotten lets the order be that of arrival.
  expect(named.add('1', 'caller 0').add('2', 'new').all()).toEqual(['1', '2']);
});

test('p-queue can list a class, and nothing changes a priority', () => {
  const { queue } = new Named().add('1', 'a').add('2', 'b').add('3', 'a', 5);
  expect([queue.filter({ priority: 0 }).length, queue.filter({ priority: 5 }).length]).toEqual([2, 1]);
  expect(() => queue.setPriority()).toThrow('does not change');
});

const job = fc.record({
  caller: fc.constantFrom('a', 'b', 'c', 'd'),
  priority: fc.constantFrom(-1, 0, 1),
});

test('the position told is the place in which it is started, when nobody else comes', () => {
  const fresh = fc.array(fc.constantFrom('a', 'b', 'c', 'd'), { maxLength: 40 });
  fc.assert(
    fc.property(fresh, fc.constantFrom('a', 'b', 'c', 'd'), (waiting, last) => {
      const named = new Named();
      waiting.forEach((caller, index) => named.add(String(index), caller));
      const told = named.queue.positionOf(last, 0);
      named.add('last', last);
      // Among callers that have had the same number of turns, the order of arrival decides: it is the later one.
      const place = named.all().indexOf('last') + 1;
      expect(place).toBeLessThanOrEqual(told);
      expect(told - place).toBeLessThan(4);
    }),
  );
});

test('a higher class counts as ahead, a lower one does not', () => {
  const { queue } = new Named().add('1', 'a', 1).add('2', 'b', 1).add('3', 'c', -1).add('4', 'd', 0);
  expect([queue.positionOf('x', 0), queue.positionOf('x', 1), queue.positionOf('x', -1)]).toEqual([4, 3, 5]);
});

test('none is lost, and none of a caller overtakes another of its own class', () => {
  fc.assert(
    fc.property(fc.array(job, { maxLength: 60 }), (waiting) => {
      const named = new Named();
      waiting.forEach(({ caller, priority }, index) =>
        named.add(`${index}/${caller}/${priority}`, caller, priority),
      );
      const order = named.all();
      expect(new Set(order).size).toBe(waiting.length);
      const seen = new Map<string, number>();
      for (const name of order) {
        const [index, ...own] = name.split('/');
        expect(Number(index)).toBeGreaterThan(seen.get(own.join()) ?? -1);
        seen.set(own.join(), Number(index));
      }
    }),
  );
});
