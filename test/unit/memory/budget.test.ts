import { totalmem } from 'node:os';
import { FixedBudget, MachineBudget } from '../../../src/memory/budget.js';

const GIB = 2 ** 30;
const held = { held: {}, anonymous: 0, settled: true };

test('one number counts everything together, and leaves a margin for growth', async () => {
  const budget = new FixedBudget(100);
  expect(await budget.capacity()).toEqual({ budget: { all: 100 }, margin: { all: 5 } });
  expect(budget.count({ host: 1, CUDA0: 2 })).toEqual({ all: 3 });
});

describe('the budget of a machine', () => {
  test('is the main memory that would be available without our models, but for a margin', async () => {
    const budget = new MachineBudget(undefined, () => 70 * GIB);
    expect(await budget.capacity({ ...held, anonymous: 30 * GIB })).toEqual({
      budget: { host: 95 * GIB },
      margin: { host: 5 * GIB },
    });
    expect(budget.count({ host: 1, CUDA0: 2 })).toEqual({ host: 1, CUDA0: 2 });
  });

  test('keeps at least 256 MiB of each kind', async () => {
    const budget = new MachineBudget(
      async () => ({ CUDA0: GIB }),
      () => GIB,
    );
    expect(await budget.capacity(held)).toMatchObject({ budget: { host: 0.75 * GIB, CUDA0: 0.75 * GIB } });
  });

  test('has what devices have free and what models hold there, as it was when nothing was being loaded', async () => {
    let free = 30 * GIB;
    const budget = new MachineBudget(
      async () => ({ CUDA0: free }),
      () => GIB,
    );
    const onDevice = { ...held, held: { CUDA0: 10 * GIB } };
    expect(await budget.capacity(onDevice)).toMatchObject({ budget: { CUDA0: 38 * GIB } });
    free = 22 * GIB;
    expect(await budget.capacity({ ...onDevice, settled: false })).toMatchObject({
      budget: { CUDA0: 38 * GIB },
    });
    expect(await budget.capacity(onDevice)).toMatchObject({ budget: { CUDA0: 30.4 * GIB } });
  });

  test('is three quarters of the memory where the system does not tell', async () => {
    const { budget, margin } = await new MachineBudget(undefined, () => undefined).capacity(held);
    expect(budget.host! + margin.host!).toBe(Math.floor(totalmem() * 0.75));
  });
});
