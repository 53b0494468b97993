/** A wall clock that is set while the server runs. Monotonic clocks go on, as a system's do. */
import { setTimeout as sleep } from 'node:timers/promises';
import { HANG_MS, signalWorker, type Action, type World } from './world.js';

const HOUR_MS = 3_600_000;

/** How far the end of a worker may lag behind its limit on a busy machine, milliseconds. */
const LAG_MS = 4_000;

const setClock = (world: World, shiftMs: number) => world.server.tell({ shiftMs });

/** Sets the clock, stops a worker that has work, and waits for its end. */
const stopAt = (name: string, shiftMs: number): Action => ({
  name: `clock: ${name} while a worker hangs`,
  cls: 'clocks',
  run: async (world, random) => {
    const workers = world.workersOf('demo');
    if (workers.length === 0) return;
    const worker = random.pick(workers);
    const body = { messages: [{ role: 'user', content: 'Tell me a story' }], max_tokens: 300 };
    const ask = () => [1, 2, 3, 4].map(() => world.chat({ ...body, ignore_eos: true }));
    const asked = ask();
    await sleep(random.int(0, 300));
    let ended = false;
    world.server.log.onExit(worker.pid, () => (ended = true));
    if (!signalWorker(worker, 'SIGSTOP')) return;
    // A worker without work is checked every 10 s only; these are more than the other one can take.
    asked.push(...ask());
    await sleep(random.int(0, 500));
    setClock(world, shiftMs);
    if (!(await world.within(HANG_MS + LAG_MS, () => ended))) {
      world.problem(`a hung worker is not replaced within ${HANG_MS + LAG_MS} ms, the clock set ${name}`);
      signalWorker(worker, 'SIGKILL');
    }
    setClock(world, 0);
    await Promise.all(asked);
  },
});

export const CLOCKS: readonly Action[] = [
  stopAt('back', -HOUR_MS),
  stopAt('ahead', HOUR_MS),
  {
    name: 'clock: back and ahead again and again',
    cls: 'clocks',
    run: async (world, random) => {
      const asked = world.chat({
        messages: [{ role: 'user', content: 'hi' }],
        max_tokens: 100,
        ignore_eos: true,
      });
      for (let step = 0; step < 20; step += 1) {
        setClock(world, random.int(-HOUR_MS, HOUR_MS));
        await sleep(random.int(10, 150));
      }
      setClock(world, 0);
      await asked;
    },
  },
];
