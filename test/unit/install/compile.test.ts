import { Estimate } from '../../../src/install/llama/estimate.js';
import { unitsOf } from '../../../src/install/llama/units.js';

describe('units', () => {
  const models = Array.from({ length: 25 }, (_, n) => ({
    file: `tools/mtmd/models/m${n}.cpp`,
    bytes: 1_000,
  }));
  const units = unitsOf([
    { file: 'tools/mtmd/clip.cpp', bytes: 320_000 },
    { file: 'tools/mtmd/mtmd-cli.cpp', bytes: 20_000 },
    { file: 'tools/server/main.cpp', bytes: 100 },
    { file: 'tools/server/server-context.cpp', bytes: 226_000 },
    ...models,
  ]);

  test('are the files that the programs need, small ones of a folder together', () => {
    expect(units.map(({ name, files }) => [name, files])).toEqual([
      ['tools-server-server-context', 1],
      ['tools-mtmd-clip', 1],
      ['tools-mtmd-models-m0', 12],
      ['tools-mtmd-models-m12', 12],
      ['tools-mtmd-models-m24', 1],
    ]);
  });

  test('include their files', () => {
    expect(units.at(-1)!.text).toBe('#include "tools/mtmd/models/m24.cpp"\n');
  });
});

describe('the estimate', () => {
  const unit = (ms: number) => ({ ms, files: 2 });
  let now = 0;
  beforeEach(() => (now = 0));
  const [one, two, three] = [unit(1_000), unit(1_000), unit(2_000)];
  const estimate = () => new Estimate([one, two, three], 2, () => now);

  test('begins with what was measured elsewhere, over all jobs', () => {
    expect(estimate().now()).toEqual({ done: 0, total: 4_000, filesDone: 0, files: 6, secondsLeft: 2 });
  });

  test('follows the speed of this machine, and counts what is being compiled', () => {
    const slow = estimate();
    const finish = slow.begin(one);
    now = 2_000;
    finish(true);
    expect(slow.now()).toMatchObject({ done: 1_000, filesDone: 2, secondsLeft: 3 });
    slow.begin(two);
    now = 3_000;
    expect(slow.now()).toMatchObject({ done: 1_500, filesDone: 2, secondsLeft: 2.5 });
  });

  test('does not count what an earlier run compiled as fast', () => {
    const resumed = estimate();
    resumed.begin(one)(false);
    expect(resumed.now()).toMatchObject({ filesDone: 2, secondsLeft: 1.5 });
  });
});
