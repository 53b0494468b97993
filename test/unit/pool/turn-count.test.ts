import fc from 'fast-check';
import { TurnCount } from '../../../src/pool/turn-count.js';

test('within() is the number of jobs that callers have run after a number of turns', () => {
  const change = fc.record({ caller: fc.nat(4), more: fc.boolean() });
  fc.assert(
    fc.property(fc.array(change, { maxLength: 200 }), (changes) => {
      const count = new TurnCount();
      const jobs = [0, 0, 0, 0, 0];
      for (const { caller, more } of changes) {
        if (more) count.grew((jobs[caller]! += 1));
        else if (jobs[caller]! > 0) count.shrank(jobs[caller]!--);
      }
      for (const turns of [0, 1, 2, 3, 10, 1000]) {
        const run = jobs.reduce((sum, own) => sum + Math.min(own, turns), 0);
        expect(count.within(turns)).toBe(run);
      }
    }),
  );
});
