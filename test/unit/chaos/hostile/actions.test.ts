import { ACTIONS, actionsNamed, Dealer } from '../../../chaos/hostile/actions.js';
import { FLOODS } from '../../../chaos/hostile/clients.js';
import { MISBEHAVIOURS } from '../../../chaos/hostile/remote.js';
import { CLASSES } from '../../../chaos/hostile/world.js';
import { Random } from '../../../harness/random.js';

const names = ACTIONS.map(({ name }) => name);

test('every class has actions, and no two share a name', () => {
  expect(new Set(ACTIONS.map(({ cls }) => cls))).toEqual(new Set(CLASSES));
  expect(new Set(names).size).toBe(names.length);
});

test('every misbehaviour of the remote is used, and the floods are actions', () => {
  expect(names).toEqual(expect.arrayContaining(Object.keys(MISBEHAVIOURS).map((name) => `remote: ${name}`)));
  expect(names).toEqual(expect.arrayContaining([...FLOODS]));
});

test.each(CLASSES)('a dealer deals each of the %s once before any repeats', (cls) => {
  const all = names.filter((_, index) => ACTIONS[index]!.cls === cls);
  const dealer = new Dealer(cls, new Random(1));
  for (const round of [1, 2])
    expect([round, all.map(() => dealer.next().name).sort()]).toEqual([round, [...all].sort()]);
});

test('the seed chooses the order', () => {
  const order = (seed: number) => {
    const dealer = new Dealer('clients', new Random(seed));
    return Array.from({ length: 10 }, () => dealer.next().name);
  };
  expect(order(1)).toEqual(order(1));
  expect(order(1)).not.toEqual(order(2));
});

test('actions are found by a part of their name', () => {
  expect(actionsNamed('')).toHaveLength(ACTIONS.length);
  expect(actionsNamed('deep-json').map(({ name }) => name)).toEqual(['remote: deep-json']);
  expect(() => actionsNamed('nothing like it')).toThrow(
    '--only: no action has "nothing like it" in its name',
  );
});
