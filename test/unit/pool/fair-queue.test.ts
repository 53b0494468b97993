import fc from 'fast-check';
import { FairQueue, type FairOptions } from '../../../src/pool/fair-queue.js';

/** A queue whose jobs have names; `next` starts the next job and returns its name. */
class Named {
  readonly queue = new FairQueue();
  readonly #names = new Map<unknown, { name: string; caller: string }>();

  /** The jobs that were evicted. */
  readonly refused: string[] = [];

  add(name: string, caller: string, priority = 0, more: Partial<FairOptions> = {}): this {
    const run = async () => undefined;
    const refuse = () => {
      this.refused.push(name);
      this.queue.remove(name);
    };
    this.#names.set(run, { name, caller });
    this.queue.enqueue(run, { id: name, caller, priority, refuse, ...more });
    return this;
  }

  /** Adds a job to a queue of at most `limit` requests; `refused` then contains the evicted one. */
  addTo(limit: number, name: string, caller: string, priority = 0): this {
    const full = this.queue.requests >= limit;
    if (!full || this.queue.makeRoom(caller, priority)) return this.add(name, caller, priority);
    this.refused.push(name);
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

test('the jobs of one caller run in order of arrival', () => {
  expect(new Named().add('1', 'a').add('2', 'a').add('3', 'a').all()).toEqual(['1', '2', '3']);
});

test('callers take turns', () => {
  const named = new Named().add('a1', 'a').add('a2', 'a').add('a3', 'a').add('b1', 'b').add('b2', 'b');
  expect(named.all()).toEqual(['a1', 'b1', 'a2', 'b2', 'a3']);
});

test('a caller with one request is next, however many requests of another caller wait', () => {
  const named = new Named();
  for (let i = 0; i < 100; i += 1) named.add(`g${i}`, 'greedy');
  named.next();
  named.add('m', 'modest');
  expect(named.next()).toBe('m');
});

test('the caller with the fewest running jobs is next, so slots are shared evenly', () => {
  const named = new Named().add('g1', 'greedy').add('g2', 'greedy').add('g3', 'greedy');
  named.next();
  named.next();
  named.add('m1', 'modest').add('m2', 'modest');
  expect([named.next(), named.next()]).toEqual(['m1', 'm2']);
  named.queue.finished('greedy');
  named.queue.finished('greedy');
  expect(named.next()).toBe('g3');
});

test('a caller that keeps returning does not overtake one that has been waiting', () => {
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

test('a resumed request runs first and batch work last, whichever caller they belong to', () => {
  const named = new Named().add('batch', 'a', -1).add('normal', 'a').add('b', 'b');
  named.add('resumed', 'c', -1, { resumed: true });
  expect(named.all()).toEqual(['resumed', 'normal', 'b', 'batch']);
});

test('an urgent request overtakes its own caller’s requests, but no other caller’s', () => {
  const named = new Named().add('m1', 'modest').add('m2', 'modest').add('g1', 'greedy');
  for (const name of ['u1', 'u2', 'u3']) named.add(name, 'greedy', 1);
  expect(named.all()).toEqual(['m1', 'u1', 'm2', 'u2', 'u3', 'g1']);
});

test('a caller that only sends urgent requests does not starve others', () => {
  const named = new Named();
  for (let i = 0; i < 50; i += 1) named.add(`u${i}`, 'greedy', 1);
  const order: string[] = [];
  for (let i = 0; i < 8; i += 1) {
    if (i === 1) named.add('m1', 'modest').add('m2', 'modest').add('m3', 'modest');
    const name = named.next()!;
    order.push(name);
    named.queue.finished(name.startsWith('u') ? 'greedy' : 'modest');
  }
  expect(order).toEqual(['u0', 'm1', 'u1', 'm2', 'u2', 'm3', 'u3', 'u4']);
});

test('a removed job never runs', () => {
  const named = new Named().add('1', 'a').add('2', 'a').add('3', 'b');
  named.queue.remove('1');
  named.queue.remove('3');
  named.queue.remove('unknown');
  expect([named.queue.size, named.all()]).toEqual([1, ['2']]);
});

test('a caller without jobs leaves no state behind', () => {
  const named = new Named();
  for (let i = 0; i < 1000; i += 1) {
    named.add('x', `caller ${i}`);
    named.next();
    named.queue.finished(`caller ${i}`);
  }
  // If a share were kept, `new` would run first; without one the order is that of arrival.
  expect(named.add('1', 'caller 0').add('2', 'new').all()).toEqual(['1', '2']);
});

test('filter lists the jobs of a priority, and setPriority throws', () => {
  const { queue } = new Named().add('1', 'a').add('2', 'b').add('3', 'a', 5);
  expect([queue.filter({ priority: 0 }).length, queue.filter({ priority: 5 }).length]).toEqual([2, 1]);
  expect(() => queue.setPriority()).toThrow('does not change');
});

test('the reported position is the order in which a job starts when no others arrive', () => {
  const fresh = fc.array(fc.constantFrom('a', 'b', 'c', 'd'), { maxLength: 40 });
  fc.assert(
    fc.property(fresh, fc.constantFrom('a', 'b', 'c', 'd'), (waiting, last) => {
      const named = new Named();
      waiting.forEach((caller, index) => named.add(String(index), caller));
      const reported = named.queue.positionOf(last, 0);
      named.add('last', last);
      // Among callers with the same number of turns the order of arrival decides, and this job is the last.
      const place = named.all().indexOf('last') + 1;
      expect(place).toBeLessThanOrEqual(reported);
      expect(reported - place).toBeLessThan(4);
    }),
  );
});

test('the position of batch work counts all other jobs, that of an urgent request none of its caller’s normal ones', () => {
  const { queue } = new Named().add('1', 'a', 1).add('2', 'b').add('3', 'b').add('4', 'c', -1);
  const positions = (caller: string) => [1, 0, -1].map((priority) => queue.positionOf(caller, priority));
  expect(positions('b')).toEqual([2, 4, 5]);
  expect(positions('x')).toEqual([3, 3, 5]);
});

describe('a full queue', () => {
  /** A queue of at most 4 requests, filled with these. */
  const full = (...jobs: [name: string, caller: string, priority?: number][]) => {
    const named = new Named();
    for (const [name, caller, priority] of jobs) named.addTo(4, name, caller, priority);
    expect(named.queue.requests).toBe(4);
    return named;
  };

  test('evicts the newest request of the caller with the most, until all have equal shares', () => {
    const named = full(['a1', 'a'], ['a2', 'a'], ['a3', 'a'], ['a4', 'a']);
    for (const name of ['b1', 'b2', 'b3', 'b4']) named.addTo(4, name, 'b');
    named.addTo(4, 'a5', 'a').addTo(4, 'c1', 'c');
    expect(named.refused).toEqual(['a4', 'a3', 'b3', 'b4', 'a5', 'b2']);
    expect(named.all()).toEqual(['a1', 'b1', 'c1', 'a2']);
  });

  test('refuses the new request when every caller has one', () => {
    const named = full(['a1', 'a'], ['b1', 'b'], ['c1', 'c'], ['d1', 'd']);
    named.addTo(4, 'e1', 'e').addTo(4, 'a2', 'a').addTo(4, 'e2', 'e', 1);
    expect(named.refused).toEqual(['e1', 'a2', 'e2']);
  });

  test('evicts batch work first, even of a caller with fewer requests, and never evicts others for batch work', () => {
    const named = full(['a1', 'a'], ['a2', 'a'], ['b1', 'b', -1], ['b2', 'b', -1]);
    named.addTo(4, 'c1', 'c', -1).addTo(4, 'a3', 'a').addTo(4, 'a4', 'a').addTo(4, 'c2', 'c', -1);
    expect(named.refused).toEqual(['b2', 'c1', 'b1', 'c2']);
  });

  test('evicts the batch work of the caller with the most of it', () => {
    const named = full(['a1', 'a', -1], ['a2', 'a', -1], ['a3', 'a', -1], ['b1', 'b', -1]);
    expect(named.addTo(4, 'c1', 'c', -1).refused).toEqual(['a3']);
  });

  test('evicts a request of the same caller for an urgent one', () => {
    const named = full(['a1', 'a'], ['u1', 'a', 1], ['a2', 'a'], ['u2', 'a', 1]);
    for (const name of ['u3', 'u4', 'u5']) named.addTo(4, name, 'a', 1);
    expect(named.refused).toEqual(['a2', 'a1', 'u5']);
    named.addTo(4, 'b1', 'b');
    expect(named.refused).toEqual(['a2', 'a1', 'u5', 'u4']);
  });

  test('neither evicts nor counts begun and resumed requests', () => {
    const named = new Named().add('r', 'a', 0, { resumed: true }).add('s', 'a', 0, { slots: { held: 1 } });
    expect([named.queue.size, named.queue.requests]).toEqual([2, 0]);
    expect(named.queue.makeRoom('b', 0)).toBe(false);
    expect(named.refused).toEqual([]);
  });
});

describe('the choices of one request', () => {
  test('share one place in the queue and are evicted together', () => {
    const slots = { held: 0 };
    const named = new Named().add('1', 'a').add('2a', 'a', 0, { slots }).add('2b', 'a', 0, { slots });
    expect([named.queue.size, named.queue.requests, named.queue.has(slots)]).toEqual([3, 2, true]);
    named.addTo(2, 'm', 'b');
    expect(named.refused).toEqual(['2a', '2b']);
    expect([named.queue.has(slots), named.all()]).toEqual([false, ['1', 'm']]);
  });

  test('follow the first choice and are no longer evicted', () => {
    const slots = { held: 0 };
    const named = new Named().add('1a', 'a', 0, { slots }).add('1b', 'a', 0, { slots }).add('2', 'a');
    expect(named.next()).toBe('1a');
    expect([named.queue.size, named.queue.requests]).toEqual([2, 1]);
    named.addTo(1, 'u', 'a', 1);
    expect(named.refused).toEqual(['2']);
    expect(named.all()).toEqual(['1b', 'u']);
  });

  test('of batch work stay behind all other requests', () => {
    const slots = { held: 0 };
    const named = new Named().add('1a', 'a', -1, { slots }).add('1b', 'a', -1, { slots });
    named.next();
    expect(named.add('m', 'b').all()).toEqual(['m', '1b']);
  });
});

const step = fc.oneof(
  fc.record({ caller: fc.constantFrom('a', 'b', 'c', 'd'), priority: fc.constantFrom(-1, 0, 1) }),
  fc.constantFrom('next' as const, 'finish' as const),
);

test('a full queue loses no job and refuses no caller with fewer requests than another, whatever happens', () => {
  const limit = 5;
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const named = new Named();
      const running: string[] = [];
      const out: string[] = [];
      const added: string[] = [];
      const waiting = () => added.filter((name) => !out.includes(name) && !named.refused.includes(name));
      for (const [index, now] of steps.entries()) {
        if (now === 'next') {
          const name = named.next();
          if (name) running.push(name.split('/')[1]!);
          if (name) out.push(name);
        } else if (now === 'finish') {
          const caller = running.shift();
          if (caller) named.queue.finished(caller);
        } else {
          const name = `${index}/${now.caller}/${now.priority < 0 ? 'batch' : 'interactive'}/${now.priority}`;
          const before = [...waiting(), name];
          added.push(name);
          named.addTo(limit, name, now.caller, now.priority);
          if (before.length > limit) expectFair(before, named.refused.at(-1)!);
        }
        expect(named.queue.requests).toBe(waiting().length);
        expect(waiting().length).toBeLessThanOrEqual(limit);
      }
      const rest = waiting();
      expect(named.all().sort()).toEqual(rest.sort());
    }),
  );
});

/** Checks a refusal: batch work first, and no caller that has fewer of that kind waiting than another. */
function expectFair(requests: readonly string[], refused: string): void {
  const kindOf = (name: string) => name.split('/')[2];
  const ofCaller = (caller: string) =>
    requests.filter((name) => name.split('/')[1] === caller && kindOf(name) === kindOf(refused)).length;
  if (requests.some((name) => kindOf(name) === 'batch')) expect(kindOf(refused)).toBe('batch');
  const most = Math.max(...['a', 'b', 'c', 'd'].map(ofCaller));
  expect(ofCaller(refused.split('/')[1]!)).toBe(most);
}

test('the requests of one caller and priority never overtake each other', () => {
  const job = fc.record({ caller: fc.constantFrom('a', 'b', 'c', 'd'), priority: fc.constantFrom(-1, 0, 1) });
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

describe('a queue in which only requests that have begun may run', () => {
  const begun = { held: 1 };

  test('runs those, whoever is next otherwise', () => {
    const named = new Named();
    named.add('plain', 'a').add('urgent', 'a', 1);
    named.add('choice', 'b', 0, { slots: begun }).add('resumed', 'c', 0, { resumed: true });
    named.add('batch choice', 'd', -1, { slots: { held: 1 } });
    named.queue.onlyBegun = true;
    expect([named.queue.size, named.queue.begun, named.queue.waiting]).toEqual([3, 3, 5]);
    expect(named.all()).toEqual(['resumed', 'choice', 'batch choice']);
    expect(named.next()).toBeUndefined();
    named.queue.onlyBegun = false;
    expect(named.all()).toEqual(['urgent', 'plain']);
  });

  test('knows a request that begins while its other choices wait', () => {
    const named = new Named();
    const slots = { held: 0 };
    named.add('one', 'a', 0, { slots }).add('two', 'a', 0, { slots }).add('three', 'a', 0, { slots });
    expect(named.next()).toBe('one');
    named.queue.onlyBegun = true;
    expect(named.queue.begun).toBe(2);
    named.queue.remove('three');
    expect(named.all()).toEqual(['two']);
    expect(named.queue.begun).toBe(0);
  });
});
