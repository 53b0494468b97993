import { startProgress } from '../../src/install/progress.js';
import type { Stoppable } from '../program.js';

export interface Steps extends Stoppable {
  /** One more is done. */
  step(detail: string): void;
}

/** Progress of a benchmark that consists of so many steps. */
export function countSteps(label: string, total: number): Steps {
  const progress = startProgress(label, 'percent');
  let done = 0;
  return {
    step: (detail) => progress.update((done += 1), total, detail),
    stop: async () => progress.stop(),
  };
}
