/** How long the rest of a compilation takes. */
import type { Unit } from './units.js';

export interface Remaining {
  /** Expected work, in milliseconds of the units. */
  readonly done: number;
  readonly total: number;
  readonly filesDone: number;
  readonly files: number;
  readonly secondsLeft: number;
}

type Work = Pick<Unit, 'files' | 'ms'>;

/** What a unit counts for at most until it is done. */
const ALMOST = 0.95;

/** Compares what units were expected to take with what they took. */
export class Estimate {
  readonly #jobs: number;
  readonly #clock: () => number;
  readonly #total: number;
  readonly #files: number;
  /** When the units being compiled were begun. */
  readonly #running = new Map<Work, number>();
  #done = 0;
  #filesDone = 0;
  /** Of the units that were compiled: milliseconds expected and taken. */
  #expected = 0;
  #taken = 0;

  /** @param clock milliseconds */
  constructor(units: readonly Work[], jobs: number, clock: () => number) {
    this.#jobs = jobs;
    this.#clock = clock;
    this.#total = units.reduce((sum, { ms }) => sum + ms, 0);
    this.#files = units.reduce((sum, { files }) => sum + files, 0);
  }

  /** @returns to be called when the unit is done, with whether it had to be compiled */
  begin(unit: Work): (compiled: boolean) => void {
    const began = this.#clock();
    this.#running.set(unit, began);
    return (compiled) => {
      this.#running.delete(unit);
      this.#done += unit.ms;
      this.#filesDone += unit.files;
      if (!compiled) return;
      this.#expected += unit.ms;
      this.#taken += this.#clock() - began;
    };
  }

  now(): Remaining {
    const slowness = this.#taken > 0 ? this.#taken / this.#expected : 1;
    const began = [...this.#running].map(([{ ms }, at]) =>
      Math.min(ALMOST * ms, (this.#clock() - at) / slowness),
    );
    const done = this.#done + began.reduce((sum, ms) => sum + ms, 0);
    const secondsLeft = ((this.#total - done) * slowness) / this.#jobs / 1000;
    return { done, total: this.#total, filesDone: this.#filesDone, files: this.#files, secondsLeft };
  }
}
