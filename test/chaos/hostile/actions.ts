import { UserError } from '../../../src/errors.js';
import { setTimeout as sleep } from 'node:timers/promises';
import { CLIENTS } from './clients.js';
import { FILES } from './files.js';
import { MISBEHAVIOURS } from './remote.js';
import { type Action, type Class, HANG_MS, signalWorker, type World } from './world.js';
import type { Random } from '../../harness/random.js';

const HOUR_MS = 3_600_000;

/** How late the end of a worker may be on a busy machine, milliseconds. */
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
    void world.server.next('worker_exit', ({ pid }) => pid === worker.pid).then(() => (ended = true));
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

const CLOCKS: readonly Action[] = [
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

const ask = (model: string) => (world: World) =>
  Promise.all(
    [true, false].map((stream) => world.chat({ model, stream, messages: [{ role: 'user', content: 'hi' }] })),
  );

const REMOTES: readonly Action[] = [
  ...Object.keys(MISBEHAVIOURS).map((name): Action => ({
    name: `remote: ${name}`,
    cls: 'remotes',
    run: ask(name),
  })),
  {
    name: 'remote: bad certificate',
    cls: 'remotes',
    run: async (world) => {
      if (world.remote.tlsUrl === undefined)
        return world.skip('remote: bad certificate: there is no openssl');
      const answers = await ask('bad-certificate')(world);
      if (answers.some(({ status }) => status === 200))
        world.problem('an untrusted certificate was accepted');
    },
  },
];

/** All attacks of a run. */
export const ACTIONS: readonly Action[] = [...CLIENTS, ...REMOTES, ...FILES, ...CLOCKS];

/** The actions whose names contain a text. @throws UserError if there are none. */
export function actionsNamed(text: string): Action[] {
  const found = ACTIONS.filter(({ name }) => name.includes(text));
  if (found.length === 0) throw new UserError(`--only: no action has ${JSON.stringify(text)} in its name`);
  return found;
}

/** Deals the actions of a class: each once in an order drawn from the seed, then all again in another. */
export class Dealer {
  readonly #actions: readonly Action[];
  readonly #random: Random;
  #left: Action[] = [];

  constructor(cls: Class, random: Random, actions = ACTIONS) {
    this.#actions = actions.filter((action) => action.cls === cls);
    this.#random = random;
  }

  next(): Action {
    if (this.#left.length === 0) this.#left = this.#random.shuffled(this.#actions);
    return this.#left.pop()!;
  }
}
