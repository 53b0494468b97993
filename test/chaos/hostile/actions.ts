import { ChaosError } from '../errors.js';
import type { Random } from '../random.js';
import { CLIENTS } from './clients.js';
import { CLOCKS } from './clocks.js';
import { FILES } from './files.js';
import { REMOTES } from './remotes.js';
import type { Action, Class } from './world.js';

/** Everything hostile that a run does. */
export const ACTIONS: readonly Action[] = [...CLIENTS, ...REMOTES, ...FILES, ...CLOCKS];

/** The actions whose name contains a text. @throws ChaosError when there are none. */
export function actionsNamed(text: string): Action[] {
  const found = ACTIONS.filter(({ name }) => name.includes(text));
  if (found.length === 0) throw new ChaosError(`--only: no action has ${JSON.stringify(text)} in its name`);
  return found;
}

/** Deals the actions of a class: each once in an order of the seed's, then all again in another. */
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
