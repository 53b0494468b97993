import type { OpenReply } from '../contract.js';

/**
 * Runs a reply and resolves as soon as `run` calls `begun`, which it does with the first token; a run that ends before
 * resolves then.
 *
 * @throws what `run` throws before it has begun; later failures are those of `done`.
 */
export function opening(run: (begun: () => void) => Promise<void>): Promise<OpenReply> {
  return new Promise((resolve, reject) => {
    const done = run(() => resolve({ done }));
    done.then(() => resolve({ done }), reject);
  });
}
